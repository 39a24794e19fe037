/* The gateway's test rig: sockets, waiting, tables. */
#include "gateway_rig.h"

#include "mem/mem.h"
#include "route/route.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

struct rig rig;

/* --- sockets --- */

static void peer_open(struct peer *peer, int fd)
{
    assert_true(fd >= 0);
    *peer = (struct peer){.fd = fd, .text = mem_alloc(RIG_TEXT_MAX + 1)};
}

static void peer_done(struct peer *peer)
{
    if (peer->fd >= 0) {
        assert_int_equal(close(peer->fd), 0);
        peer->fd = -1;
    }
}

static void peer_take(struct peer *peer, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        peer->sum += (peer->total + i + 1) * data[i];
    }
    peer->total += len;
    size_t keep = RIG_TEXT_MAX - peer->len;
    keep = keep < len ? keep : len;
    memcpy(peer->text + peer->len, data, keep);
    peer->len += keep;
    peer->text[peer->len] = '\0';
}

static void peer_poll(struct peer *peer)
{
    static uint8_t data[65536];
    while (peer->fd >= 0 && !peer->ended && !peer->reset && !peer->paused) {
        ssize_t n = recv(peer->fd, data, sizeof(data), MSG_DONTWAIT);
        if (n > 0) {
            peer_take(peer, data, (size_t)n);
        } else if (n == 0) {
            peer->ended = true;
        } else if (errno == EAGAIN) {
            return;
        } else {
            assert_true(errno == ECONNRESET || errno == EPIPE);
            peer->reset = true;
        }
    }
}

static void origin_poll(struct origin *origin)
{
    while (origin->fd >= 0) {
        int fd = accept4(origin->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            break;
        }
        assert_true(origin->count < RIG_CONNS_MAX);
        peer_open(&origin->conns[origin->count++], fd);
    }
    for (size_t i = 0; i < origin->count; i++) {
        peer_poll(&origin->conns[i]);
    }
}

void rig_poll(void)
{
    for (size_t i = 0; i < RIG_ORIGINS; i++) {
        origin_poll(&rig.origins[i]);
    }
    for (size_t i = 0; i < rig.client_count; i++) {
        peer_poll(&rig.clients[i]);
    }
}

size_t peer_try(struct peer *peer, const void *data, size_t len)
{
    ssize_t n = send(peer->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    return n > 0 ? (size_t)n : 0;
}

void peer_send(struct peer *peer, const void *data, size_t len)
{
    const uint8_t *at = data;
    clk_ns end = loop_now(rig.loop) + CLK_S(20);
    while (len > 0) {
        size_t sent = peer_try(peer, at, len);
        at += sent;
        len -= sent;
        if (sent == 0) {
            loop_turn(rig.loop, CLK_MS(1));
            rig_poll();
            if (peer->reset || loop_now(rig.loop) > end) {
                return; /* the test looks at the answer */
            }
        }
    }
}

void peer_say(struct peer *peer, const char *text)
{
    peer_send(peer, text, strlen(text));
}

void peer_close(struct peer *peer)
{
    peer_done(peer);
}

void peer_reset(struct peer *peer)
{
    const struct linger now = {.l_onoff = 1, .l_linger = 0};
    assert_int_equal(setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
    peer_done(peer);
}

void peer_clear(struct peer *peer)
{
    peer->len = 0;
    peer->text[0] = '\0';
}

static size_t count_text(const char *text, const char *part)
{
    size_t count = 0;
    for (const char *at = strstr(text, part); at != NULL; at = strstr(at + 1, part)) {
        count++;
    }
    return count;
}

void peer_wait_count(struct peer *peer, const char *text, size_t count)
{
    loop_turn(rig.loop, 0);
    clk_ns end = loop_now(rig.loop) + CLK_S(20);
    rig_poll();
    while (count_text(peer->text, text) < count) {
        loop_turn(rig.loop, CLK_MS(5));
        rig_poll();
        if (loop_now(rig.loop) > end) {
            fail_msg("'%s' did not come %zu times (ended %d, reset %d): %s", text, count,
                     peer->ended, peer->reset, peer->text);
        }
    }
}

void peer_wait(struct peer *peer, const char *text)
{
    peer_wait_count(peer, text, 1);
}

void peer_wait_end(struct peer *peer)
{
    RIG_UNTIL(peer->ended || peer->reset);
}

void peer_is(struct peer *peer, const char *text)
{
    RIG_UNTIL(peer->len >= strlen(text) || peer->ended || peer->reset);
    assert_string_equal(peer->text, text);
}

bool peer_has(const struct peer *peer, const char *text)
{
    return strstr(peer->text, text) != NULL;
}

struct peer *rig_client(void)
{
    assert_true(rig.client_count < RIG_CLIENTS_MAX);
    struct peer *peer = &rig.clients[rig.client_count++];
    peer_open(peer, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    assert_int_equal(connect(peer->fd, &rig.addr.sa.any, rig.addr.len), 0);
    return peer;
}

struct peer *origin_conn(size_t number, size_t n)
{
    struct origin *origin = &rig.origins[number];
    RIG_UNTIL(origin->count > n);
    return &origin->conns[n];
}

struct peer *origin_request(size_t number, size_t n, const char *until)
{
    struct peer *conn = origin_conn(number, n);
    peer_wait(conn, until);
    return conn;
}

static void origin_up(struct origin *origin)
{
    struct net_addr any = {0};
    struct err_note note = {0};
    assert_int_equal(net_addr_parse(BYTES_LITERAL("127.0.0.1:0"), &any), ERR_OK);
    assert_int_equal(net_listen(&any, false, &origin->fd, &note), ERR_OK);
    assert_int_equal(net_local_addr(origin->fd, &origin->addr), ERR_OK);
}

void origin_down(size_t number)
{
    assert_int_equal(close(rig.origins[number].fd), 0);
    rig.origins[number].fd = -1;
}

/* --- tables --- */

void rig_routes(const char *const *triples)
{
    struct table_mem *mem = table_mem_new();
    struct table_txn txn;
    table_txn_init(&txn, table_mem_backend(), mem, 1, false);
    struct buf body;
    struct buf record;
    buf_init(&body, 8192);
    buf_init(&record, 8192);
    for (uint64_t i = 0; triples[0] != NULL; i++, triples += 3) {
        char id = (char)('a' + (char)i);
        const struct route route = {.id = bytes_of(&id, 1),
                                    .hosts = {bytes_of_str(triples[0])},
                                    .host_count = 1,
                                    .path = bytes_of_str(triples[1]),
                                    .service = bytes_of_str(triples[2])};
        struct apply_result result = {0};
        struct apply apply = {
            .txn = &txn, .index = i + 1, .time_ms = 1, .record = &record, .result = &result};
        buf_clear(&body);
        assert_int_equal(route_put_encode(&route, &body), ERR_OK);
        assert_int_equal(route_apply(&apply, ROUTE_CMD_PUT, buf_bytes(&body)), ERR_OK);
        assert_int_equal(result.err, ERR_OK);
    }
    struct route_table *table = NULL;
    assert_int_equal(route_table_build(&txn, &table), ERR_OK);
    gateway_edge_set_routes(rig.edge, table);
    buf_done(&body);
    buf_done(&record);
    table_mem_free(mem);
}

void rig_service(const char *name, const size_t *numbers, size_t count)
{
    static const char *const ids[RIG_ORIGINS] = {"i0", "i1", "i2"};
    struct gateway_endpoint_def endpoints[RIG_ORIGINS];
    for (size_t i = 0; i < count; i++) {
        endpoints[i] = (struct gateway_endpoint_def){.id = bytes_of_str(ids[numbers[i]]),
                                                     .addr = rig.origins[numbers[i]].addr};
    }
    gateway_edge_set_service(rig.edge, bytes_of_str(name), endpoints, count);
}

/* --- the rig --- */

void rig_open_with(const struct gateway_limits *limits, size_t endpoints)
{
    static const size_t numbers[RIG_ORIGINS] = {0, 1, 2};
    static const char *const all[] = {"*", "/", "web", NULL};
    memset(&rig, 0, sizeof(rig));
    rig.loop = test_loop();
    rig.log_fd = memfd_create("log", MFD_CLOEXEC);
    assert_true(rig.log_fd >= 0);
    const struct gateway_edge_cfg cfg = {
        .loop = rig.loop, .limits = limits, .log_fd = rig.log_fd, .number = 7};
    rig.edge = gateway_edge_new(&cfg);
    for (size_t i = 0; i < RIG_ORIGINS; i++) {
        origin_up(&rig.origins[i]);
    }
    rig_routes(all);
    rig_service("web", numbers, endpoints);
    struct net_addr any = {0};
    struct err_note note = {0};
    assert_int_equal(net_addr_parse(BYTES_LITERAL("127.0.0.1:0"), &any), ERR_OK);
    assert_int_equal(gateway_edge_listen(rig.edge, &any, false, &note), ERR_OK);
    rig.addr = gateway_edge_addr(rig.edge);
}

void rig_open(size_t endpoints)
{
    rig_open_with(NULL, endpoints);
}

static void on_stopped(void *self)
{
    *(bool *)self = true;
}

void rig_stop(void)
{
    rig.stopping = true;
    gateway_edge_stop(rig.edge, on_stopped, &rig.stopped);
}

void rig_close(void)
{
    /* A reset, so that nobody waits for answers that tests have left open. */
    for (size_t i = 0; i < rig.client_count; i++) {
        if (rig.clients[i].fd >= 0) {
            peer_reset(&rig.clients[i]);
        }
    }
    if (!rig.stopping) {
        rig_stop();
    }
    LOOP_UNTIL(rig.loop, rig.stopped);
    struct gateway_stats stats = rig_stats();
    assert_int_equal(stats.buffers, 0);
    assert_int_equal(stats.clients, 0);
    assert_int_equal(stats.upstreams, 0);
    gateway_edge_free(rig.edge);
    assert_int_equal(loop_active_count(rig.loop), 0);
    loop_free(rig.loop);
    for (size_t i = 0; i < rig.client_count; i++) {
        mem_free(rig.clients[i].text);
    }
    for (size_t i = 0; i < RIG_ORIGINS; i++) {
        struct origin *origin = &rig.origins[i];
        for (size_t n = 0; n < origin->count; n++) {
            peer_done(&origin->conns[n]);
            mem_free(origin->conns[n].text);
        }
        if (origin->fd >= 0) {
            assert_int_equal(close(origin->fd), 0);
        }
    }
    assert_int_equal(close(rig.log_fd), 0);
}

void rig_settle(void)
{
    for (int i = 0; i < 20; i++) {
        loop_turn(rig.loop, CLK_MS(1));
        rig_poll();
    }
}

const char *rig_log(void)
{
    static char text[RIG_TEXT_MAX];
    loop_turn(rig.loop, 0);
    ssize_t len = pread(rig.log_fd, text, sizeof(text) - 1, 0);
    assert_true(len >= 0);
    text[len] = '\0';
    return text;
}

struct gateway_stats rig_stats(void)
{
    return gateway_edge_stats(rig.edge);
}
