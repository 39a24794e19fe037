/* The gateway on a real node: its tables follow the registry and the routes, on every edge. */
#include "gateway/gateway.h"
#include "loop_test.h"
#include "mem/mem.h"
#include "metrics/metrics.h"
#include "node_test.h"
#include "registry/registry.h"
#include "route/route.h"

#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum {
    EDGES = 2,
    DEADLINE_MS = 20000
};

static struct {
    struct test_cluster cluster;
    struct node *node;
    struct gateway *gateway;
    int origin;
    struct net_addr origin_addr;
    sem_t stopped;
} world;

/* --- proposals --- */

struct proposing {
    struct node_proposal proposal;
    uint16_t kind;
    struct buf body;
    enum err err;
    sem_t done;
};

static void on_result(struct node_proposal *proposal, enum err err,
                      const struct node_result *result)
{
    struct proposing *p = CONTAINER_OF(proposal, struct proposing, proposal);
    p->err = err == ERR_OK ? result->verdict.err : err;
    (void)sem_post(&p->done);
}

static void start_proposal(void *self)
{
    struct proposing *p = self;
    const struct node_call who = {.principal = BYTES_LITERAL("test")};
    p->proposal.done = on_result;
    enum err err =
        node_propose(node_edge_at(world.node, 0), &who, p->kind, buf_bytes(&p->body), &p->proposal);
    if (err != ERR_OK) {
        p->err = err;
        (void)sem_post(&p->done);
    }
}

static void propose(struct proposing *p)
{
    (void)sem_init(&p->done, 0, 0);
    assert_int_equal(node_edge_post(node_edge_at(world.node, 0), start_proposal, p), ERR_OK);
    assert_int_equal(sem_wait(&p->done), 0);
    assert_int_equal(p->err, ERR_OK);
    (void)sem_destroy(&p->done);
    buf_done(&p->body);
}

static struct proposing proposing(uint16_t kind)
{
    struct proposing p = {.kind = kind};
    buf_init(&p.body, 65536);
    return p;
}

static void put_route(const char *path, const char *service)
{
    const struct route route = {
        .id = BYTES_LITERAL("r"), .path = bytes_of_str(path), .service = bytes_of_str(service)};
    struct proposing p = proposing(ROUTE_CMD_PUT);
    assert_int_equal(route_put_encode(&route, &p.body), ERR_OK);
    propose(&p);
}

static void register_instance(const char *address, enum registry_status status)
{
    const struct registry_instance instance = {.service = BYTES_LITERAL("Web"),
                                               .id = BYTES_LITERAL("web-1"),
                                               .node = 1,
                                               .address = bytes_of_str(address),
                                               .port = net_addr_port(&world.origin_addr),
                                               .weight_passing = 1,
                                               .weight_warning = 1,
                                               .origin = REGISTRY_ORIGIN_CONSUL};
    const struct registry_check check = {
        .type = REGISTRY_CHECK_TTL, .status = status, .def = {.ttl_ms = 3600000}};
    const struct registry_register reg = {
        .instance = &instance, .checks = &check, .check_count = 1, .replace_checks = true};
    struct proposing p = proposing(REGISTRY_CMD_SERVICE_REGISTER);
    assert_int_equal(registry_register_encode(&reg, &p.body), ERR_OK);
    propose(&p);
}

static void set_status(enum registry_status status)
{
    const struct registry_update update = {.node = 1,
                                           .check_id = BYTES_LITERAL("service:web-1"),
                                           .status = status,
                                           .output = BYTES_LITERAL("test")};
    struct proposing p = proposing(REGISTRY_CMD_CHECK_UPDATE);
    assert_int_equal(registry_update_encode(&update, &p.body), ERR_OK);
    propose(&p);
}

static void deregister(void)
{
    struct proposing p = proposing(REGISTRY_CMD_SERVICE_DEREGISTER);
    assert_int_equal(registry_deregister_encode(1, BYTES_LITERAL("web-1"), &p.body), ERR_OK);
    propose(&p);
}

/* --- requests --- */

static void limit_waiting(int fd)
{
    const struct timeval limit = {.tv_sec = DEADLINE_MS / 1000};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
}

/* The instance: answers one request when it comes to it; another process, so that the test may
 * wait for the gateway. */
static pid_t start_origin(void)
{
    pid_t pid = fork();
    if (pid != 0) {
        assert_true(pid > 0);
        return pid;
    }
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails must not leave it behind */
    static const char answer[] =
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    for (;;) {
        char text[4096];
        int fd = accept(world.origin, NULL, NULL);
        if (fd >= 0 && recv(fd, text, sizeof(text), 0) > 0) {
            (void)!write(fd, answer, sizeof(answer) - 1);
        }
        (void)close(fd);
    }
}

/* The status and the reason of one request over a connection of its own. */
static int request(char reason[64])
{
    static const char text[] = "GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    char answer[4096] = {0};
    size_t len = 0;
    struct net_addr addr = gateway_addr(world.gateway);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, &addr.sa.any, addr.len), 0);
    limit_waiting(fd);
    assert_int_equal(send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL), sizeof(text) - 1);
    ssize_t n;
    while ((n = recv(fd, answer + len, sizeof(answer) - 1 - len, 0)) > 0) {
        len += (size_t)n;
    }
    assert_int_equal(close(fd), 0);
    reason[0] = '\0';
    const char *at = strstr(answer, "X-Flotilla-Reason: ");
    if (at != NULL) {
        assert_int_equal(sscanf(at, "X-Flotilla-Reason: %63s", reason), 1);
    }
    int status = 0;
    assert_int_equal(sscanf(answer, "HTTP/1.1 %d", &status), 1);
    return status;
}

static int64_t now_ms(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Many connections in a row, so that all edges are asked. */
static void wait_status(int status, const char *reason)
{
    int64_t end = now_ms() + DEADLINE_MS;
    for (int hits = 0; hits < 24;) {
        char seen[64];
        int got = request(seen);
        hits = got == status && strcmp(seen, reason) == 0 ? hits + 1 : 0;
        if (now_ms() > end) {
            fail_msg("wanted %d %s, still %d %s", status, reason, got, seen);
        }
    }
}

/* --- the world --- */

static void start_node(void)
{
    struct node_cfg cfg = {.id = 1,
                           .name = "n1",
                           .http_addr = "127.0.0.1:8500",
                           .datacenter = "dc1",
                           .peer_count = 1,
                           .edge_count = EDGES,
                           .loop_backend = (int)test_backend(),
                           .wal_segment_bytes = 16u * 1024 * 1024};
    struct err_note note = {{0}};
    (void)test_cluster_dir(&world.cluster, 0, cfg.data_dir, sizeof(cfg.data_dir));
    (void)snprintf(cfg.peer_addr, sizeof(cfg.peer_addr), "127.0.0.1:%u", world.cluster.ports[0]);
    cfg.peers[0].id = 1;
    memcpy(cfg.peers[0].peer_addr, cfg.peer_addr, sizeof(cfg.peer_addr));
    if (node_start(&cfg, &world.node, &note) != ERR_OK) {
        fail_msg("%s", note.text);
    }
    world.cluster.nodes[0] = world.node;
}

static void world_open(void)
{
    memset(&world, 0, sizeof(world));
    test_cluster_init(&world.cluster, 1);
    struct net_addr any = {0};
    struct err_note note = {{0}};
    assert_int_equal(net_addr_parse(BYTES_LITERAL("127.0.0.1:0"), &any), ERR_OK);
    world.origin = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(world.origin, &any.sa.any, any.len), 0);
    assert_int_equal(listen(world.origin, 64), 0);
    assert_int_equal(net_local_addr(world.origin, &world.origin_addr), ERR_OK);
    start_node();
    const struct gateway_cfg cfg = {.addr = any, .log_fd = -1};
    if (gateway_start(world.node, &cfg, &world.gateway, &note) != ERR_OK) {
        fail_msg("%s", note.text);
    }
}

static void on_stopped(void *self)
{
    (void)sem_post(self);
}

static void world_close(void)
{
    (void)sem_init(&world.stopped, 0, 0);
    gateway_stop(world.gateway, on_stopped, &world.stopped);
    assert_int_equal(sem_wait(&world.stopped), 0);
    (void)sem_destroy(&world.stopped);
    test_cluster_done(&world.cluster);
    gateway_free(world.gateway);
    assert_int_equal(close(world.origin), 0);
}

static void the_tables_follow_the_registry_and_the_routes(void **state)
{
    (void)state;
    world_open();
    pid_t origin = start_origin();
    wait_status(404, "no_route");
    put_route("/", "web");
    wait_status(503, "no_endpoint");
    register_instance("127.0.0.1", REGISTRY_CRITICAL);
    wait_status(503, "no_endpoint");
    set_status(REGISTRY_PASSING);
    wait_status(200, "");
    set_status(REGISTRY_CRITICAL);
    wait_status(503, "no_endpoint");
    set_status(REGISTRY_PASSING);
    wait_status(200, "");
    put_route("/elsewhere", "web");
    wait_status(404, "no_route");
    put_route("/", "WEB");
    wait_status(200, "");
    deregister();
    wait_status(503, "no_endpoint");
    register_instance("localhost", REGISTRY_PASSING);
    wait_status(200, "");
    /* Names are not looked up. */
    register_instance("web.internal", REGISTRY_PASSING);
    wait_status(503, "no_endpoint");
    (void)kill(origin, SIGKILL);
    world_close();
}

static void a_port_in_use_is_named_and_leaves_nothing(void **state)
{
    (void)state;
    world_open();
    const struct gateway_cfg cfg = {.addr = gateway_addr(world.gateway), .log_fd = -1};
    struct gateway *second = NULL;
    struct err_note note = {{0}};
    assert_int_equal(gateway_start(world.node, &cfg, &second, &note), ERR_IN_USE);
    assert_null(second);
    char port[16];
    (void)snprintf(port, sizeof(port), "%u", net_addr_port(&cfg.addr));
    assert_non_null(strstr(note.text, "gateway: "));
    assert_non_null(strstr(note.text, port));
    world_close();
}

static void the_metrics_are_those_of_every_edge(void **state)
{
    (void)state;
    world_open();
    wait_status(404, "no_route");
    struct buf text;
    buf_init(&text, 1024u * 1024);
    assert_int_equal(metrics_print(node_metrics(world.node), &text), ERR_OK);
    char *copy = mem_dup_bytes(buf_bytes(&text));
    for (int edge = 0; edge < EDGES; edge++) {
        char name[96];
        (void)snprintf(name, sizeof(name), "flotilla_gateway_requests_total{edge=\"%d\"} ", edge);
        assert_non_null(strstr(copy, name));
        (void)snprintf(name, sizeof(name),
                       "flotilla_gateway_reasons_total{edge=\"%d\",reason=\"no_route\"} ", edge);
        assert_non_null(strstr(copy, name));
    }
    mem_free(copy);
    buf_done(&text);
    world_close();
}

int main(void)
{
    test_skip_without_backend();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_tables_follow_the_registry_and_the_routes),
        cmocka_unit_test(a_port_in_use_is_named_and_leaves_nothing),
        cmocka_unit_test(the_metrics_are_those_of_every_edge),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
