/* For tests of the HTTP doors: see doors.h. */
#include "doors.h"

#include "loop_test.h"
#include "mem/mem.h"
#include "net/net.h"

#include <errno.h>
#include <ftw.h>
#include <poll.h>
#include <semaphore.h>
#include <time.h>
#include <unistd.h>

enum {
    DEADLINE_S = 30,
    REPLY_MAX = 4 * 1024 * 1024
};

/* ---- calls on edge 0 ------------------------------------------------------------------------- */

struct edge_call {
    void (*fn)(struct edge_call *call); /* ends in finish */
    struct doors_node *node;
    sem_t done;
};

static void finish(void *self)
{
    struct edge_call *call = self;
    (void)sem_post(&call->done);
}

static void run_call(void *self)
{
    struct edge_call *call = self;
    call->fn(call);
}

static void on_edge(struct doors_node *node, void (*fn)(struct edge_call *call))
{
    struct edge_call call = {.fn = fn, .node = node};
    struct timespec until;
    (void)sem_init(&call.done, 0, 0);
    assert_int_equal(node_edge_post(node_edge_at(node->node, 0), run_call, &call), ERR_OK);
    assert_int_equal(clock_gettime(CLOCK_REALTIME, &until), 0);
    until.tv_sec += DEADLINE_S;
    int rc = 0;
    while ((rc = sem_timedwait(&call.done, &until)) != 0 && errno == EINTR) {
    }
    assert_int_equal(rc, 0);
    (void)sem_destroy(&call.done);
}

/* ---- life ------------------------------------------------------------------------------------ */

static uint16_t free_port(void)
{
    struct net_addr addr;
    struct net_addr bound;
    struct err_note note;
    int fd = -1;
    assert_int_equal(net_addr_make(BYTES_LITERAL("127.0.0.1"), 0, &addr), ERR_OK);
    assert_int_equal(net_listen(&addr, false, &fd, &note), ERR_OK);
    assert_int_equal(net_local_addr(fd, &bound), ERR_OK);
    (void)close(fd);
    return net_addr_port(&bound);
}

static void open_doors(struct edge_call *call)
{
    struct doors_node *node = call->node;
    struct net_addr addr;
    struct err_note note = {0};
    web_open(&node->web, node_edge_at(node->node, 0), &WEB_CONFIG_DEFAULT);
    web_metrics(&node->web, node_metrics(node->node));
    consul_mount(&node->consul, &node->web);
    api_mount(&node->api, &node->web);
    CHECK(net_addr_make(BYTES_LITERAL("127.0.0.1"), node->port, &addr) == ERR_OK);
    CHECK(http_server_listen(&node->web.server, &addr, false, &note) == ERR_OK);
    CHECK(health_start(node->node, &node->health) == ERR_OK);
    CHECK(members_start(node->node, "0.0.1", &node->members) == ERR_OK);
    finish(call);
}

static void start_node(struct doors *doors, uint32_t number)
{
    struct doors_node *node = &doors->nodes[number];
    struct err_note note = {0};
    struct node_cfg cfg = {
        .id = number + 1,
        .peer_count = doors->size,
        .edge_count = 1,
        .loop_backend = (int)test_backend(),
        .wal_segment_bytes = 16u * 1024 * 1024,
        .datacenter = "dc1",
    };
    (void)snprintf(cfg.name, sizeof(cfg.name), "n%u", number + 1);
    (void)snprintf(cfg.data_dir, sizeof(cfg.data_dir), "%s/n%u", doors->dir, number + 1);
    (void)snprintf(cfg.http_addr, sizeof(cfg.http_addr), "127.0.0.1:%u", node->port);
    for (uint32_t i = 0; i < doors->size; i++) {
        cfg.peers[i].id = i + 1;
        (void)snprintf(cfg.peers[i].peer_addr, sizeof(cfg.peers[i].peer_addr), "127.0.0.1:%u",
                       doors->nodes[i].peer_port);
    }
    memcpy(cfg.peer_addr, cfg.peers[number].peer_addr, sizeof(cfg.peer_addr));
    if (node_start(&cfg, &node->node, &note) != ERR_OK) {
        fail_msg("node %u: %s", number + 1, note.text);
    }
    on_edge(node, open_doors);
}

void doors_open(struct doors *doors, uint32_t size)
{
    *doors = (struct doors){.size = size};
    (void)snprintf(doors->dir, sizeof(doors->dir), "/tmp/flotilla-doors-XXXXXX");
    assert_non_null(mkdtemp(doors->dir));
    for (uint32_t i = 0; i < size; i++) {
        doors->nodes[i].peer_port = free_port();
        doors->nodes[i].port = free_port();
    }
    for (uint32_t i = 0; i < size; i++) {
        start_node(doors, i);
    }
    for (uint32_t i = 0; i < size; i++) {
        for (uint32_t n = 0; n < size; n++) {
            char part[32];
            (void)snprintf(part, sizeof(part), "\"Node\":\"n%u\"", n + 1);
            doors_until(doors, i, "/v1/catalog/nodes?stale", part);
        }
    }
}

static struct edge_call *closing;

static void on_closed(struct web *web)
{
    (void)web;
    finish(closing);
}

static void close_web(struct edge_call *call)
{
    closing = call;
    web_close(&call->node->web, on_closed);
}

static void stop_health(struct edge_call *call)
{
    health_stop(call->node->health, finish, call);
}

static void stop_members(struct edge_call *call)
{
    members_stop(call->node->members, finish, call);
}

void doors_stop_node(struct doors *doors, uint32_t number)
{
    struct doors_node *node = &doors->nodes[number];
    if (node->node == NULL) {
        return;
    }
    on_edge(node, close_web);
    on_edge(node, stop_members);
    on_edge(node, stop_health);
    node_stop(node->node);
    node->node = NULL;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void doors_close(struct doors *doors)
{
    for (uint32_t i = 0; i < doors->size; i++) {
        doors_stop_node(doors, i);
    }
    (void)nftw(doors->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static struct node_status seen;

static void get_status(struct edge_call *call)
{
    node_status_get(node_edge_at(call->node->node, 0), &seen);
    finish(call);
}

uint32_t doors_leader(struct doors *doors)
{
    for (int tries = 0; tries < DEADLINE_S * 100; tries++) {
        for (uint32_t i = 0; i < doors->size; i++) {
            if (doors->nodes[i].node == NULL) {
                continue;
            }
            on_edge(&doors->nodes[i], get_status);
            if (seen.meta.role == RAFT_LEADER && seen.meta.leads_safely) {
                return i;
            }
        }
        (void)usleep(10000);
    }
    fail_msg("no leader");
    return 0;
}

uint32_t doors_other(const struct doors *doors, uint32_t number)
{
    for (uint32_t i = 0; i < doors->size; i++) {
        if (i != number && doors->nodes[i].node != NULL) {
            return i;
        }
    }
    fail_msg("no other node runs");
    return 0;
}

/* ---- the client ------------------------------------------------------------------------------ */

static void send_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n <= 0) {
            return; /* the server has answered and closed */
        }
        data += n;
        len -= (size_t)n;
    }
}

struct asked doors_ask(const struct doors *doors, uint32_t number, const char *method,
                       const char *path, const char *body)
{
    struct net_addr addr;
    char head[4096];
    size_t body_len = body == NULL ? 0 : strlen(body);
    struct asked asked = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    assert_int_equal(net_addr_make(BYTES_LITERAL("127.0.0.1"), doors->nodes[number].port, &addr),
                     ERR_OK);
    assert_int_equal(connect(asked.fd, &addr.sa.any, addr.len), 0);
    int len = snprintf(head, sizeof(head),
                       "%s %s HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: "
                       "%zu\r\n\r\n",
                       method, path, body_len);
    assert_true(len > 0 && (size_t)len < sizeof(head));
    send_all(asked.fd, head, (size_t)len);
    send_all(asked.fd, body, body_len);
    return asked;
}

bool doors_answers_within(const struct asked *asked, int ms)
{
    struct pollfd fd = {.fd = asked->fd, .events = POLLIN};
    return poll(&fd, 1, ms) > 0;
}

struct reply doors_reply(struct asked *asked)
{
    struct reply reply = {.text = mem_alloc(REPLY_MAX)};
    size_t used = 0;
    for (;;) {
        if (!doors_answers_within(asked, DEADLINE_S * 1000)) {
            fail_msg("no answer within %d s", DEADLINE_S);
        }
        ssize_t n = recv(asked->fd, reply.text + used, REPLY_MAX - 1 - used, 0);
        if (n <= 0) {
            break;
        }
        used += (size_t)n;
    }
    doors_hang_up(asked);
    reply.body = strstr(reply.text, "\r\n\r\n");
    if (reply.body == NULL || used < strlen("HTTP/1.1 200")) {
        fail_msg("no answer: %s", reply.text);
    }
    reply.body += strlen("\r\n\r\n");
    reply.status = (int)strtol(reply.text + strlen("HTTP/1.1 "), NULL, 10);
    return reply;
}

void doors_hang_up(struct asked *asked)
{
    (void)close(asked->fd);
    asked->fd = -1;
}

struct reply doors_call(const struct doors *doors, uint32_t number, const char *method,
                        const char *path, const char *body)
{
    struct asked asked = doors_ask(doors, number, method, path, body);
    return doors_reply(&asked);
}

void reply_done(struct reply *reply)
{
    mem_free(reply->text);
    reply->text = NULL;
}

unsigned long long reply_index(const struct reply *reply)
{
    const char *at = strstr(reply->text, "X-Consul-Index: ");
    return at == NULL ? 0 : strtoull(at + strlen("X-Consul-Index: "), NULL, 10);
}

void doors_expect(const struct doors *doors, uint32_t number, const char *request, int status,
                  const char *body)
{
    char method[16] = "";
    char path[3072] = "";
    int at = 0;
    assert_int_equal(sscanf(request, "%15s %3071s%n", method, path, &at), 2);
    const char *content = request[at] == ' ' ? request + at + 1 : NULL;
    struct reply reply = doors_call(doors, number, method, path, content);
    if (reply.status != status || (body != NULL && strstr(reply.body, body) == NULL)) {
        fail_msg("%s\nwanted: %d %s\ngot: %d %s", request, status, body == NULL ? "" : body,
                 reply.status, reply.body);
    }
    if (body != NULL && body[0] == '\0') {
        assert_string_equal(reply.body, "");
    }
    reply_done(&reply);
}

void doors_until(const struct doors *doors, uint32_t number, const char *path, const char *part)
{
    struct reply reply = {0};
    for (int tries = 0; tries < DEADLINE_S * 50; tries++) {
        reply = doors_call(doors, number, "GET", path, NULL);
        bool found = strstr(reply.body, part) != NULL;
        if (found) {
            reply_done(&reply);
            return;
        }
        if (tries + 1 < DEADLINE_S * 50) {
            reply_done(&reply);
        }
        (void)usleep(20000);
    }
    fail_msg("GET %s never had %s: %s", path, part, reply.text);
}
