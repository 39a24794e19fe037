/* Connections and listeners: what arrives, in which order, and how everything ends. */
#include "loop/tcp.h"

#include "loop_test.h"
#include "mem/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* --- one end of a connection --- */

enum {
    PEER_CHUNK = 256 * 1024
};

struct peer {
    struct tcp_conn conn;
    struct tcp_send_req req;
    struct iovec iov;
    uint64_t received;
    uint64_t sent; /* bytes of finished sends of flood() */
    uint64_t to_send;
    uint8_t *block;
    enum err connect_err;
    enum err recv_err;
    enum err send_err;
    int sends_done;
    int recv_calls;
    bool connected;
    bool ended; /* on_recv was called for the last time */
    bool closed;
    bool echo;
};

/* The byte at a place of the test stream: no short period, so that a lost or swapped part shows. */
static uint8_t stream_byte(uint64_t at)
{
    return (uint8_t)(at ^ at >> 8 ^ at >> 16);
}

static void on_closed(struct tcp_conn *conn)
{
    struct peer *peer = CONTAINER_OF(conn, struct peer, conn);
    assert_false(peer->closed);
    peer->closed = true;
}

static void on_connect(struct tcp_conn *conn, enum err err)
{
    struct peer *peer = CONTAINER_OF(conn, struct peer, conn);
    assert_false(peer->connected);
    peer->connected = true;
    peer->connect_err = err;
}

static void on_sent(struct tcp_send_req *req, enum err err)
{
    struct peer *peer = CONTAINER_OF(req, struct peer, req);
    peer->send_err = err;
    peer->sends_done++;
}

static void send_text(struct peer *peer, const char *text)
{
    peer->iov = (struct iovec){.iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text)};
    tcp_send(&peer->conn, &peer->req, &peer->iov, 1, on_sent);
}

static void on_bytes(struct tcp_conn *conn, enum err err, struct bytes data)
{
    struct peer *peer = CONTAINER_OF(conn, struct peer, conn);
    assert_false(peer->ended);
    assert_false(tcp_is_closing(conn));
    peer->recv_calls++;
    if (err != ERR_OK || data.len == 0) {
        peer->ended = true;
        peer->recv_err = err;
        return;
    }
    for (size_t i = 0; i < data.len; i++) {
        if (data.data[i] != stream_byte(peer->received + i)) {
            fail_msg("byte %llu is wrong", (unsigned long long)peer->received + i);
        }
    }
    peer->received += data.len;
}

/* Sends the test stream in blocks until to_send bytes have gone. */
static void flood_next(struct peer *peer);

static void on_flood_sent(struct tcp_send_req *req, enum err err)
{
    struct peer *peer = CONTAINER_OF(req, struct peer, req);
    peer->sends_done++;
    peer->send_err = err;
    if (err == ERR_OK) {
        peer->sent += PEER_CHUNK;
        flood_next(peer);
    }
}

static void flood_next(struct peer *peer)
{
    if (peer->sent >= peer->to_send) {
        return;
    }
    for (size_t i = 0; i < PEER_CHUNK; i++) {
        peer->block[i] = stream_byte(peer->sent + i);
    }
    peer->iov = (struct iovec){.iov_base = peer->block, .iov_len = PEER_CHUNK};
    tcp_send(&peer->conn, &peer->req, &peer->iov, 1, on_flood_sent);
}

static void flood(struct peer *peer, uint64_t size)
{
    assert_int_equal(size % PEER_CHUNK, 0);
    peer->block = mem_alloc(PEER_CHUNK);
    peer->to_send = size;
    flood_next(peer);
}

/* --- a pair of connected peers on one loop --- */

struct pair {
    struct loop *loop;
    struct tcp_listener listener;
    struct net_addr addr;
    int accepted_fd;
    bool listener_closed;
    struct peer client;
    struct peer server;
};

static void on_accept(struct tcp_listener *listener, int fd)
{
    struct pair *pair = CONTAINER_OF(listener, struct pair, listener);
    assert_int_equal(pair->accepted_fd, -1);
    pair->accepted_fd = fd;
}

static void on_listener_closed(struct tcp_listener *listener)
{
    struct pair *pair = CONTAINER_OF(listener, struct pair, listener);
    pair->listener_closed = true;
}

static struct net_addr loopback(uint16_t port)
{
    struct net_addr addr;
    assert_int_equal(net_addr_make(BYTES_LITERAL("127.0.0.1"), port, &addr), ERR_OK);
    return addr;
}

static void pair_listen(struct pair *pair, struct loop *loop)
{
    memset(pair, 0, sizeof(*pair));
    pair->loop = loop;
    pair->accepted_fd = -1;
    struct net_addr any = loopback(0);
    struct err_note note = {0};
    enum err err = tcp_listen(&pair->listener, loop, &any, false, on_accept, &note);
    if (err != ERR_OK) {
        fail_msg("%s", note.text);
    }
    pair->addr = tcp_listener_addr(&pair->listener);
}

static void pair_open_with(struct pair *pair, struct loop *loop)
{
    pair_listen(pair, loop);
    tcp_connect(&pair->client.conn, pair->loop, &pair->addr, CLK_S(10), on_connect);
    LOOP_UNTIL(pair->loop, pair->client.connected && pair->accepted_fd >= 0);
    assert_int_equal(pair->client.connect_err, ERR_OK);
    tcp_open(&pair->server.conn, pair->loop, pair->accepted_fd);
}

static void pair_open(struct pair *pair)
{
    pair_open_with(pair, test_loop());
}

static void peer_close(struct peer *peer)
{
    if (peer->conn.loop != NULL && !peer->closed && !tcp_is_closing(&peer->conn)) {
        tcp_close(&peer->conn, on_closed);
    }
}

static void pair_done(struct pair *pair)
{
    peer_close(&pair->client);
    peer_close(&pair->server);
    tcp_listener_close(&pair->listener, on_listener_closed);
    LOOP_UNTIL(pair->loop, loop_active_count(pair->loop) == 0);
    assert_true(pair->listener_closed);
    assert_true(pair->client.closed || pair->client.conn.loop == NULL);
    assert_true(pair->server.closed || pair->server.conn.loop == NULL);
    mem_free(pair->client.block);
    mem_free(pair->server.block);
    loop_free(pair->loop);
}

/* A blocking socket outside the loop, as a peer that misbehaves. */
static int raw_connect(struct pair *pair)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, &pair->addr.sa.any, pair->addr.len), 0);
    LOOP_UNTIL(pair->loop, pair->accepted_fd >= 0);
    tcp_open(&pair->server.conn, pair->loop, pair->accepted_fd);
    return fd;
}

static void raw_reset(int fd)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
    assert_int_equal(close(fd), 0);
}

/* --- data --- */

static void on_text(struct tcp_conn *conn, enum err err, struct bytes data)
{
    struct peer *peer = CONTAINER_OF(conn, struct peer, conn);
    if (err != ERR_OK || data.len == 0) {
        peer->ended = true;
        peer->recv_err = err;
        return;
    }
    assert_true(bytes_eq_str(data, "ping"));
    peer->received += data.len;
    if (peer->echo) {
        send_text(peer, "ping");
    }
}

static void bytes_go_there_and_back(void **state)
{
    (void)state;
    struct pair pair;
    pair_open(&pair);
    pair.server.echo = true;
    tcp_recv_start(&pair.server.conn, on_text);
    tcp_recv_start(&pair.client.conn, on_text);
    for (int i = 1; i <= 100; i++) {
        send_text(&pair.client, "ping");
        assert_int_equal(pair.client.sends_done, i - 1); /* never inside tcp_send */
        LOOP_UNTIL(pair.loop,
                   pair.client.received == 4 * (uint64_t)i && pair.client.sends_done == i);
    }
    LOOP_UNTIL(pair.loop, pair.server.sends_done == 100);
    assert_int_equal(pair.client.send_err, ERR_OK);
    assert_int_equal(tcp_unsent(&pair.client.conn), 0);
    pair_done(&pair);
}

static void streams_in_both_directions_arrive_whole(void **state)
{
    (void)state;
    const uint64_t size = 8 * 1024 * 1024;
    struct pair pair;
    pair_open_with(&pair, test_loop_with(8, 4096));
    tcp_recv_start(&pair.server.conn, on_bytes);
    tcp_recv_start(&pair.client.conn, on_bytes);
    flood(&pair.client, size);
    flood(&pair.server, size);
    LOOP_UNTIL(pair.loop, pair.client.received == size && pair.server.received == size);
    LOOP_UNTIL(pair.loop, pair.client.sent == size && pair.server.sent == size);
    pair_done(&pair);
}

enum {
    MANY_SENDS = 300,
    MANY_IOVS = 7
};

struct many_sends {
    struct tcp_send_req reqs[MANY_SENDS];
    struct iovec iovs[MANY_SENDS][MANY_IOVS];
    uint8_t *bytes;
    int next;
    enum err expected;
};

static struct many_sends many;

static void on_one_of_many(struct tcp_send_req *req, enum err err)
{
    assert_ptr_equal(req, &many.reqs[many.next]);
    assert_int_equal(err, many.expected);
    many.next++;
}

/* Queues MANY_SENDS sends of MANY_IOVS slices; returns the bytes in all. */
static uint64_t queue_many(struct tcp_conn *conn, size_t slice)
{
    memset(&many, 0, sizeof(many));
    size_t total = (size_t)MANY_SENDS * MANY_IOVS * slice;
    many.bytes = mem_alloc(total);
    for (size_t i = 0; i < total; i++) {
        many.bytes[i] = stream_byte(i);
    }
    size_t at = 0;
    for (int i = 0; i < MANY_SENDS; i++) {
        for (int k = 0; k < MANY_IOVS; k++) {
            size_t len = k == 3 ? 0 : slice; /* an empty slice among them */
            many.iovs[i][k] = (struct iovec){.iov_base = many.bytes + at, .iov_len = len};
            at += len;
        }
        tcp_send(conn, &many.reqs[i], many.iovs[i], MANY_IOVS, on_one_of_many);
    }
    return at;
}

static void queued_sends_leave_and_complete_in_order(void **state)
{
    (void)state;
    struct pair pair;
    pair_open(&pair);
    tcp_recv_start(&pair.server.conn, on_bytes);
    uint64_t total = queue_many(&pair.client.conn, 1000);
    LOOP_UNTIL(pair.loop, pair.server.received == total && many.next == MANY_SENDS);
    mem_free(many.bytes);
    pair_done(&pair);
}

static void empty_send_completes(void **state)
{
    (void)state;
    struct pair pair;
    pair_open(&pair);
    pair.client.iov = (struct iovec){0};
    tcp_send(&pair.client.conn, &pair.client.req, &pair.client.iov, 1, on_sent);
    LOOP_UNTIL(pair.loop, pair.client.sends_done == 1);
    assert_int_equal(pair.client.send_err, ERR_OK);
    pair_done(&pair);
}

static void sends_before_the_connect_is_done_leave_after_it(void **state)
{
    (void)state;
    struct pair pair;
    pair_listen(&pair, test_loop());
    tcp_connect(&pair.client.conn, pair.loop, &pair.addr, CLK_NEVER, on_connect);
    send_text(&pair.client, "ping");
    tcp_recv_start(&pair.client.conn, on_text);
    tcp_shutdown(&pair.client.conn);
    LOOP_UNTIL(pair.loop, pair.accepted_fd >= 0);
    tcp_open(&pair.server.conn, pair.loop, pair.accepted_fd);
    tcp_recv_start(&pair.server.conn, on_text);
    send_text(&pair.server, "ping");
    LOOP_UNTIL(pair.loop, pair.server.received == 4 && pair.client.received == 4);
    assert_true(pair.client.connected);
    LOOP_UNTIL(pair.loop, pair.server.ended); /* the FIN came after the bytes */
    pair_done(&pair);
}

static void addresses_of_both_ends_agree(void **state)
{
    (void)state;
    struct pair pair;
    pair_open(&pair);
    struct net_addr local;
    struct net_addr peer;
    assert_int_equal(tcp_local_addr(&pair.client.conn, &local), ERR_OK);
    assert_int_equal(tcp_peer_addr(&pair.server.conn, &peer), ERR_OK);
    assert_true(net_addr_eq(&local, &peer));
    assert_int_equal(tcp_peer_addr(&pair.client.conn, &peer), ERR_OK);
    assert_true(net_addr_eq(&peer, &pair.addr));
    pair_done(&pair);
}

/* --- back-pressure --- */

static void stopped_receiver_slows_the_sender_down(void **state)
{
    (void)state;
    const uint64_t size = 64 * 1024 * 1024;
    struct pair pair;
    pair_open(&pair);
    tcp_recv_start(&pair.server.conn, on_bytes);
    flood(&pair.client, size);
    LOOP_UNTIL(pair.loop, pair.server.received > 0);
    tcp_recv_stop(&pair.server.conn);
    uint64_t at_stop = pair.server.received;
    uint64_t sent = 0;
    int calm = 0;
    while (calm < 20) { /* until the kernel's buffers are full */
        loop_turn(pair.loop, CLK_MS(5));
        calm = pair.client.sent == sent ? calm + 1 : 0;
        sent = pair.client.sent;
    }
    assert_int_equal(pair.server.received, at_stop);
    assert_true(sent < size);
    assert_true(tcp_unsent(&pair.client.conn) > 0);
    tcp_recv_start(&pair.server.conn, on_bytes);
    LOOP_UNTIL(pair.loop, pair.server.received == size);
    LOOP_UNTIL(pair.loop, pair.client.sent == size);
    pair_done(&pair);
}

static void on_bytes_then_stop(struct tcp_conn *conn, enum err err, struct bytes data)
{
    tcp_recv_stop(conn);
    on_bytes(conn, err, data);
}

static void slow_reader_gets_every_byte_once(void **state)
{
    (void)state;
    const uint64_t size = 2 * 1024 * 1024;
    struct pair pair;
    pair_open_with(&pair, test_loop_with(4, 8192));
    flood(&pair.client, size);
    clk_ns end = loop_now(pair.loop) + CLK_S(60);
    for (int i = 0; pair.server.received < size; i++) {
        int before = pair.server.recv_calls;
        tcp_recv_start(&pair.server.conn, on_bytes_then_stop);
        while (pair.server.recv_calls == before) {
            loop_turn(pair.loop, CLK_MS(1));
            assert_true(loop_now(pair.loop) < end);
        }
        assert_int_equal(pair.server.recv_calls, before + 1); /* none after the stop */
        loop_turn(pair.loop, 0);
        assert_int_equal(pair.server.recv_calls, before + 1);
    }
    LOOP_UNTIL(pair.loop, pair.client.sent == size);
    pair_done(&pair);
}

static void end_of_stream_waits_for_a_stopped_receiver(void **state)
{
    (void)state;
    struct pair pair;
    pair_open(&pair);
    tcp_recv_start(&pair.server.conn, on_bytes);
    loop_turn(pair.loop, 0);
    tcp_recv_stop(&pair.server.conn);
    flood(&pair.client, PEER_CHUNK);
    LOOP_UNTIL(pair.loop, pair.client.sends_done == 1);
    tcp_shutdown(&pair.client.conn);
    for (int i = 0; i < 20; i++) {
        loop_turn(pair.loop, CLK_MS(1));
    }
    assert_int_equal(pair.server.recv_calls, 0);
    tcp_recv_start(&pair.server.conn, on_bytes);
    LOOP_UNTIL(pair.loop, pair.server.ended);
    assert_int_equal(pair.server.recv_err, ERR_OK);
    assert_int_equal(pair.server.received, PEER_CHUNK);
    pair_done(&pair);
}

static struct {
    struct tcp_chunk *chunks[16];
    struct bytes bytes[16];
    int kept;
    int refused;
} keeper;

static void on_keep(struct tcp_conn *conn, enum err err, struct bytes data)
{
    if (err != ERR_OK || data.len == 0) {
        on_bytes(conn, err, data);
        return;
    }
    struct tcp_chunk *chunk = keeper.kept < 16 ? tcp_recv_keep(conn) : NULL;
    if (chunk == NULL) {
        keeper.refused++;
    } else {
        keeper.chunks[keeper.kept] = chunk;
        keeper.bytes[keeper.kept++] = data;
    }
    on_bytes(conn, err, data);
}

static void kept_bytes_stay_valid_and_half_of_the_chunks_at_most(void **state)
{
    (void)state;
    memset(&keeper, 0, sizeof(keeper));
    struct pair pair;
    pair_open_with(&pair, test_loop_with(8, 4096));
    tcp_recv_start(&pair.server.conn, on_keep);
    flood(&pair.client, PEER_CHUNK);
    LOOP_UNTIL(pair.loop, pair.server.received == PEER_CHUNK);
    LOOP_UNTIL(pair.loop, pair.client.sends_done == 1);
    assert_int_equal(keeper.kept, 4);
    assert_true(keeper.refused > 0);
    peer_close(&pair.server);
    LOOP_UNTIL(pair.loop, pair.server.closed);
    uint64_t at = 0;
    for (int i = 0; i < keeper.kept; i++) {
        for (size_t k = 0; k < keeper.bytes[i].len; k++) {
            assert_int_equal(keeper.bytes[i].data[k], stream_byte(at + k));
        }
        at += keeper.bytes[i].len;
        tcp_chunk_release(pair.loop, keeper.chunks[i]);
    }
    pair_done(&pair);
}

/* --- ends --- */

static void half_closed_connection_still_sends(void **state)
{
    (void)state;
    struct pair pair;
    pair_open(&pair);
    tcp_recv_start(&pair.server.conn, on_bytes);
    tcp_recv_start(&pair.client.conn, on_bytes);
    flood(&pair.client, PEER_CHUNK);
    tcp_shutdown(&pair.client.conn); /* queued bytes leave first */
    LOOP_UNTIL(pair.loop, pair.server.ended);
    assert_int_equal(pair.server.recv_err, ERR_OK);
    assert_int_equal(pair.server.received, PEER_CHUNK);
    flood(&pair.server, 4 * PEER_CHUNK);
    LOOP_UNTIL(pair.loop, pair.client.received == 4 * PEER_CHUNK);
    LOOP_UNTIL(pair.loop, pair.server.sent == 4 * PEER_CHUNK);
    pair_done(&pair);
}

static void send_after_shutdown_fails(void **state)
{
    (void)state;
    struct pair pair;
    pair_open(&pair);
    tcp_shutdown(&pair.client.conn);
    send_text(&pair.client, "ping");
    LOOP_UNTIL(pair.loop, pair.client.sends_done == 1);
    assert_int_equal(pair.client.send_err, ERR_CLOSED);
    pair_done(&pair);
}

static void reset_by_the_peer_ends_receiving(void **state)
{
    (void)state;
    struct pair pair;
    pair_listen(&pair, test_loop());
    int fd = raw_connect(&pair);
    tcp_recv_start(&pair.server.conn, on_bytes);
    loop_turn(pair.loop, 0);
    raw_reset(fd);
    LOOP_UNTIL(pair.loop, pair.server.ended);
    assert_int_equal(pair.server.recv_err, ERR_CLOSED);
    pair_done(&pair);
}

static void reset_by_the_peer_fails_the_pending_sends_in_order(void **state)
{
    (void)state;
    struct pair pair;
    pair_listen(&pair, test_loop());
    int fd = raw_connect(&pair);
    pair.server.to_send = 1ull << 40;
    pair.server.block = mem_alloc(PEER_CHUNK);
    flood_next(&pair.server);
    for (int i = 0; i < 50; i++) {
        loop_turn(pair.loop, CLK_MS(1));
    }
    assert_int_equal(pair.server.send_err, ERR_OK);
    raw_reset(fd);
    LOOP_UNTIL(pair.loop, pair.server.send_err != ERR_OK);
    assert_int_equal(pair.server.send_err, ERR_CLOSED);
    int done = pair.server.sends_done;
    send_text(&pair.server, "late");
    LOOP_UNTIL(pair.loop, pair.server.sends_done == done + 1);
    assert_int_equal(pair.server.send_err, ERR_CLOSED);
    pair_done(&pair);
}

static void close_cancels_queued_sends_in_order_then_reports(void **state)
{
    (void)state;
    struct pair pair;
    pair_open(&pair);
    /* The server does not read: most of these cannot leave. */
    (void)queue_many(&pair.client.conn, 20000);
    for (int i = 0; i < 50; i++) {
        loop_turn(pair.loop, CLK_MS(1));
    }
    assert_true(many.next < MANY_SENDS);
    int left_before = many.next;
    many.expected = ERR_CANCELED;
    tcp_close(&pair.client.conn, on_closed);
    assert_int_equal(many.next, left_before);
    LOOP_UNTIL(pair.loop, pair.client.closed);
    assert_int_equal(many.next, MANY_SENDS);
    mem_free(many.bytes);
    pair_done(&pair);
}

static void send_on_a_closing_connection_is_cancelled(void **state)
{
    (void)state;
    struct pair pair;
    pair_open(&pair);
    tcp_close(&pair.client.conn, on_closed);
    send_text(&pair.client, "ping");
    LOOP_UNTIL(pair.loop, pair.client.closed);
    assert_int_equal(pair.client.sends_done, 1);
    assert_int_equal(pair.client.send_err, ERR_CANCELED);
    pair_done(&pair);
}

static void on_bytes_then_close(struct tcp_conn *conn, enum err err, struct bytes data)
{
    on_bytes(conn, err, data);
    tcp_close(conn, on_closed);
}

static void close_inside_on_recv_is_the_last_of_it(void **state)
{
    (void)state;
    struct pair pair;
    pair_open_with(&pair, test_loop_with(8, 512));
    flood(&pair.client, PEER_CHUNK);
    tcp_recv_start(&pair.server.conn, on_bytes_then_close);
    LOOP_UNTIL(pair.loop, pair.server.closed);
    assert_int_equal(pair.server.recv_calls, 1);
    /* The client's flood meets the closed socket, one way or the other. */
    LOOP_UNTIL(pair.loop, pair.client.sends_done == 1);
    pair_done(&pair);
}

static void close_with_a_receive_pending_gives_no_bytes(void **state)
{
    (void)state;
    struct pair pair;
    pair_open(&pair);
    tcp_recv_start(&pair.server.conn, on_bytes);
    loop_turn(pair.loop, 0);
    flood(&pair.client, PEER_CHUNK);
    loop_turn(pair.loop, 0);
    int before = pair.server.recv_calls;
    tcp_close(&pair.server.conn, on_closed);
    LOOP_UNTIL(pair.loop, pair.server.closed);
    assert_int_equal(pair.server.recv_calls, before);
    pair_done(&pair);
}

static void close_reaches_the_peer_as_end_and_abort_as_reset(void **state)
{
    (void)state;
    for (int abort_it = 0; abort_it <= 1; abort_it++) {
        struct pair pair;
        pair_open(&pair);
        tcp_recv_start(&pair.server.conn, on_bytes);
        loop_turn(pair.loop, 0);
        if (abort_it) {
            tcp_abort(&pair.client.conn, on_closed);
        } else {
            tcp_close(&pair.client.conn, on_closed);
        }
        LOOP_UNTIL(pair.loop, pair.server.ended && pair.client.closed);
        assert_int_equal(pair.server.recv_err, abort_it ? ERR_CLOSED : ERR_OK);
        pair_done(&pair);
    }
}

/* --- connecting --- */

static void connect_to_a_closed_port_is_refused(void **state)
{
    (void)state;
    struct pair pair;
    pair_listen(&pair, test_loop());
    tcp_listener_close(&pair.listener, on_listener_closed);
    LOOP_UNTIL(pair.loop, pair.listener_closed);
    tcp_connect(&pair.client.conn, pair.loop, &pair.addr, CLK_S(10), on_connect);
    send_text(&pair.client, "ping");
    tcp_recv_start(&pair.client.conn, on_bytes);
    assert_false(pair.client.connected);
    LOOP_UNTIL(pair.loop, pair.client.connected && pair.client.sends_done == 1);
    assert_int_equal(pair.client.connect_err, ERR_REFUSED);
    assert_int_equal(pair.client.send_err, ERR_REFUSED);
    assert_int_equal(pair.client.recv_calls, 0);
    tcp_close(&pair.client.conn, on_closed);
    LOOP_UNTIL(pair.loop, pair.client.closed);
    assert_int_equal(loop_active_count(pair.loop), 0);
    loop_free(pair.loop);
}

/* A listener whose backlog is full: further connects stay unanswered. */
struct full_listener {
    int listener;
    int fillers[3];
    struct net_addr addr;
};

static void full_listener_open(struct full_listener *full)
{
    full->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct net_addr any = loopback(0);
    assert_int_equal(bind(full->listener, &any.sa.any, any.len), 0);
    assert_int_equal(listen(full->listener, 0), 0);
    assert_int_equal(net_local_addr(full->listener, &full->addr), ERR_OK);
    for (int i = 0; i < 3; i++) {
        full->fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        int rc = connect(full->fillers[i], &full->addr.sa.any, full->addr.len);
        assert_true(rc == 0 || errno == EINPROGRESS);
        struct pollfd wait = {.fd = full->fillers[i], .events = POLLOUT};
        (void)poll(&wait, 1, i == 0 ? 1000 : 100);
    }
}

static void full_listener_close(struct full_listener *full)
{
    for (int i = 0; i < 3; i++) {
        assert_int_equal(close(full->fillers[i]), 0);
    }
    assert_int_equal(close(full->listener), 0);
}

static void unanswered_connect_times_out(void **state)
{
    (void)state;
    struct loop *loop = test_loop();
    struct full_listener full;
    full_listener_open(&full);
    struct peer client = {0};
    clk_ns start = loop_now(loop);
    tcp_connect(&client.conn, loop, &full.addr, CLK_MS(30), on_connect);
    LOOP_UNTIL(loop, client.connected);
    assert_int_equal(client.connect_err, ERR_TIMEOUT);
    assert_true(loop_now(loop) - start >= CLK_MS(30));
    tcp_close(&client.conn, on_closed);
    LOOP_UNTIL(loop, client.closed);
    full_listener_close(&full);
    loop_free(loop);
}

static void close_while_connecting_cancels_the_connect(void **state)
{
    (void)state;
    for (int turns = 0; turns <= 1; turns++) {
        struct loop *loop = test_loop();
        struct full_listener full;
        full_listener_open(&full);
        struct peer client = {0};
        tcp_connect(&client.conn, loop, &full.addr, CLK_S(100), on_connect);
        send_text(&client, "ping");
        for (int i = 0; i < turns; i++) {
            loop_turn(loop, CLK_MS(1));
        }
        tcp_close(&client.conn, on_closed);
        assert_false(client.connected);
        LOOP_UNTIL(loop, client.closed);
        assert_true(client.connected);
        assert_int_equal(client.connect_err, ERR_CANCELED);
        assert_int_equal(client.send_err, ERR_CANCELED);
        assert_int_equal(client.sends_done, 1);
        full_listener_close(&full);
        loop_free(loop);
    }
}

int main(void)
{
    test_skip_without_backend();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_go_there_and_back),
        cmocka_unit_test(streams_in_both_directions_arrive_whole),
        cmocka_unit_test(queued_sends_leave_and_complete_in_order),
        cmocka_unit_test(empty_send_completes),
        cmocka_unit_test(sends_before_the_connect_is_done_leave_after_it),
        cmocka_unit_test(addresses_of_both_ends_agree),
        cmocka_unit_test(stopped_receiver_slows_the_sender_down),
        cmocka_unit_test(slow_reader_gets_every_byte_once),
        cmocka_unit_test(end_of_stream_waits_for_a_stopped_receiver),
        cmocka_unit_test(kept_bytes_stay_valid_and_half_of_the_chunks_at_most),
        cmocka_unit_test(half_closed_connection_still_sends),
        cmocka_unit_test(send_after_shutdown_fails),
        cmocka_unit_test(reset_by_the_peer_ends_receiving),
        cmocka_unit_test(reset_by_the_peer_fails_the_pending_sends_in_order),
        cmocka_unit_test(close_cancels_queued_sends_in_order_then_reports),
        cmocka_unit_test(send_on_a_closing_connection_is_cancelled),
        cmocka_unit_test(close_inside_on_recv_is_the_last_of_it),
        cmocka_unit_test(close_with_a_receive_pending_gives_no_bytes),
        cmocka_unit_test(close_reaches_the_peer_as_end_and_abort_as_reset),
        cmocka_unit_test(connect_to_a_closed_port_is_refused),
        cmocka_unit_test(unanswered_connect_times_out),
        cmocka_unit_test(close_while_connecting_cancels_the_connect),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
