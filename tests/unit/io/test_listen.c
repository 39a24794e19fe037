/* Listeners and crowds: many connections, few descriptors, few chunks, no allocations. */
#include "loop/tcp.h"

#include "loop_test.h"
#include "mem/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* Counted by the linker's --wrap: every allocation of the loop goes through these. */
void *__real_mem_alloc(size_t size);
void *__wrap_mem_alloc(size_t size);
void *__real_mem_resize(void *old, size_t size);
void *__wrap_mem_resize(void *old, size_t size);

static size_t allocations;

void *__wrap_mem_alloc(size_t size)
{
    allocations++;
    return __real_mem_alloc(size);
}

void *__wrap_mem_resize(void *old, size_t size)
{
    allocations++;
    return __real_mem_resize(old, size);
}

enum {
    CROWD = 1000,
    MESSAGE = 64
};

struct member {
    struct tcp_conn conn;
    struct tcp_send_req req;
    struct iovec iov;
    uint8_t bytes[MESSAGE];
    size_t got; /* of the current message */
    size_t messages;
    bool sending;
    bool connected;
    bool closed;
    bool ended;
};

struct crowd {
    struct loop *loop;
    struct tcp_listener listener;
    struct net_addr addr;
    struct member *clients;
    struct member *servers;
    size_t accepted;
    size_t connected;
    size_t answers;
    size_t closed;
    size_t ended;
    bool listener_closed;
};

static struct crowd crowd;

static void on_closed(struct tcp_conn *conn)
{
    struct member *member = CONTAINER_OF(conn, struct member, conn);
    assert_false(member->closed);
    member->closed = true;
    crowd.closed++;
}

static void on_sent(struct tcp_send_req *req, enum err err)
{
    struct member *member = CONTAINER_OF(req, struct member, req);
    assert_true(err == ERR_OK || err == ERR_CANCELED);
    member->sending = false;
}

static void member_send(struct member *member)
{
    assert_false(member->sending);
    member->sending = true;
    member->iov = (struct iovec){.iov_base = member->bytes, .iov_len = MESSAGE};
    tcp_send(&member->conn, &member->req, &member->iov, 1, on_sent);
}

/* Collects one message; true when it is complete. */
static bool member_collect(struct member *member, enum err err, struct bytes data)
{
    if (err != ERR_OK || data.len == 0) {
        member->ended = true;
        crowd.ended++;
        return false;
    }
    member->got += data.len;
    if (member->got < MESSAGE) {
        return false;
    }
    assert_int_equal(member->got, MESSAGE);
    member->got = 0;
    member->messages++;
    return true;
}

static void on_question(struct tcp_conn *conn, enum err err, struct bytes data)
{
    struct member *member = CONTAINER_OF(conn, struct member, conn);
    if (member_collect(member, err, data)) {
        member_send(member);
    }
}

static void on_answer(struct tcp_conn *conn, enum err err, struct bytes data)
{
    struct member *member = CONTAINER_OF(conn, struct member, conn);
    if (member_collect(member, err, data)) {
        crowd.answers++;
    }
}

static void on_connect(struct tcp_conn *conn, enum err err)
{
    struct member *member = CONTAINER_OF(conn, struct member, conn);
    assert_int_equal(err, ERR_OK);
    member->connected = true;
    crowd.connected++;
    tcp_recv_start(conn, on_answer);
}

static void on_accept(struct tcp_listener *listener, int fd)
{
    (void)listener;
    assert_true(crowd.accepted < CROWD);
    struct member *member = &crowd.servers[crowd.accepted++];
    tcp_open(&member->conn, crowd.loop, fd);
    tcp_recv_start(&member->conn, on_question);
}

static void on_listener_closed(struct tcp_listener *listener)
{
    (void)listener;
    crowd.listener_closed = true;
}

static struct net_addr loopback(uint16_t port)
{
    struct net_addr addr;
    assert_int_equal(net_addr_make(BYTES_LITERAL("127.0.0.1"), port, &addr), ERR_OK);
    return addr;
}

static void crowd_open(struct loop *loop)
{
    memset(&crowd, 0, sizeof(crowd));
    crowd.loop = loop;
    crowd.clients = mem_alloc_array(CROWD, sizeof(*crowd.clients));
    crowd.servers = mem_alloc_array(CROWD, sizeof(*crowd.servers));
    struct net_addr any = loopback(0);
    assert_int_equal(tcp_listen(&crowd.listener, loop, &any, false, on_accept, NULL), ERR_OK);
    crowd.addr = tcp_listener_addr(&crowd.listener);
    loop_turn(loop, 0);
}

static void crowd_connect(size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        tcp_connect(&crowd.clients[i].conn, crowd.loop, &crowd.addr, CLK_S(30), on_connect);
    }
    LOOP_UNTIL(crowd.loop, crowd.connected == to && crowd.accepted == to);
}

static void crowd_done(void)
{
    if (!crowd.listener_closed) {
        tcp_listener_close(&crowd.listener, on_listener_closed);
    }
    LOOP_UNTIL(crowd.loop, loop_active_count(crowd.loop) == 0);
    assert_true(crowd.listener_closed);
    mem_free(crowd.clients);
    mem_free(crowd.servers);
    loop_free(crowd.loop);
}

static void close_members(struct member *members, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        tcp_close(&members[i].conn, on_closed);
    }
}

static void thousand_connections_ask_and_are_answered(void **state)
{
    (void)state;
    crowd_open(test_loop_with(4, 512)); /* and no more than four chunks for all of them */
    crowd_connect(0, CROWD);
    for (size_t round = 1; round <= 3; round++) {
        for (size_t i = 0; i < CROWD; i++) {
            member_send(&crowd.clients[i]);
        }
        LOOP_UNTIL(crowd.loop, crowd.answers == round * CROWD);
        LOOP_UNTIL(crowd.loop, !crowd.clients[CROWD - 1].sending);
        for (size_t i = 0; i < CROWD; i++) {
            assert_int_equal(crowd.clients[i].messages, round);
            assert_false(crowd.clients[i].ended);
        }
    }
    close_members(crowd.clients, CROWD);
    LOOP_UNTIL(crowd.loop, crowd.closed == CROWD && crowd.ended == CROWD);
    close_members(crowd.servers, CROWD);
    LOOP_UNTIL(crowd.loop, crowd.closed == 2 * CROWD);
    crowd_done();
}

static void everything_closed_at_once_ends_once(void **state)
{
    (void)state;
    crowd_open(test_loop());
    crowd_connect(0, 200);
    for (size_t i = 0; i < 200; i++) {
        member_send(&crowd.clients[i]);
    }
    /* Connects, receives and sends are all under way. */
    for (size_t i = 200; i < 220; i++) {
        tcp_connect(&crowd.clients[i].conn, crowd.loop, &crowd.addr, CLK_S(30), on_connect);
    }
    loop_turn(crowd.loop, 0);
    size_t accepted = crowd.accepted;
    close_members(crowd.clients, 200);
    close_members(crowd.servers, accepted);
    tcp_listener_close(&crowd.listener, on_listener_closed);
    LOOP_UNTIL(crowd.loop, crowd.closed == 200 + accepted && crowd.connected == 220);
    close_members(crowd.clients + 200, 20);
    close_members(crowd.servers + accepted, crowd.accepted - accepted);
    crowd_done();
}

static void warm_turns_allocate_nothing(void **state)
{
    (void)state;
    crowd_open(test_loop());
    crowd_connect(0, 10);
    size_t before = 0;
    for (size_t round = 1; round <= 500; round++) {
        for (size_t i = 0; i < 10; i++) {
            member_send(&crowd.clients[i]);
        }
        LOOP_UNTIL(crowd.loop, crowd.answers == round * 10);
        LOOP_UNTIL(crowd.loop, !crowd.clients[9].sending);
        if (round == 10) {
            before = allocations;
        }
    }
    assert_true(before > 0);
    assert_int_equal(allocations, before);
    close_members(crowd.clients, 10);
    close_members(crowd.servers, 10);
    crowd_done();
}

/* --- few descriptors --- */

enum {
    FILLERS = 64
};

/* Takes all descriptors that are left under a lowered limit. io_uring looks at the limit when
 * accepting begins, so it is lowered before the listener is made. */
struct shortage {
    struct rlimit old;
    int fds[FILLERS];
    int count;
};

static void shortage_prepare(struct shortage *shortage)
{
    shortage->count = 0;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &shortage->old), 0);
    int next = fcntl(0, F_DUPFD_CLOEXEC, 3);
    assert_true(next >= 0);
    assert_int_equal(close(next), 0);
    struct rlimit low = {.rlim_cur = (rlim_t)(next + FILLERS), .rlim_max = shortage->old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
}

static void shortage_begin(struct shortage *shortage)
{
    int fd;
    while ((fd = fcntl(0, F_DUPFD_CLOEXEC, 3)) >= 0) {
        assert_true(shortage->count < FILLERS);
        shortage->fds[shortage->count++] = fd;
    }
    assert_int_equal(errno, EMFILE);
}

static void shortage_end(struct shortage *shortage)
{
    while (shortage->count > 0) {
        assert_int_equal(close(shortage->fds[--shortage->count]), 0);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &shortage->old), 0);
}

static void accept_without_descriptors_waits_and_does_not_spin(void **state)
{
    (void)state;
    struct shortage shortage;
    shortage_prepare(&shortage);
    crowd_open(test_loop());
    crowd_connect(0, 1);
    /* A connection from outside the loop, whose acceptance finds no free descriptor. */
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    shortage_begin(&shortage);
    int rc = connect(fd, &crowd.addr.sa.any, crowd.addr.len);
    assert_true(rc == 0 || errno == EINPROGRESS);
    LOOP_UNTIL(crowd.loop, loop_stats(crowd.loop).accept_failures > 0);
    struct loop_stats before = loop_stats(crowd.loop);
    clk_ns start = loop_now(crowd.loop);
    while (loop_now(crowd.loop) < start + CLK_MS(250)) {
        loop_turn(crowd.loop, CLK_MS(250));
    }
    struct loop_stats after = loop_stats(crowd.loop);
    assert_true(after.turns - before.turns < 30);
    assert_true(after.accept_failures - before.accept_failures <= 4);
    assert_int_equal(crowd.accepted, 1);
    shortage_end(&shortage);
    LOOP_UNTIL(crowd.loop, crowd.accepted == 2);
    assert_int_equal(close(fd), 0);
    close_members(crowd.clients, 1);
    close_members(crowd.servers, 2);
    crowd_done();
}

static void on_no_descriptor(struct tcp_conn *conn, enum err err)
{
    struct member *member = CONTAINER_OF(conn, struct member, conn);
    assert_int_equal(err, ERR_FULL);
    member->connected = true;
}

static void connect_without_descriptors_fails_as_full(void **state)
{
    (void)state;
    struct shortage shortage;
    shortage_prepare(&shortage);
    crowd_open(test_loop());
    shortage_begin(&shortage);
    struct member *client = &crowd.clients[0];
    tcp_connect(&client->conn, crowd.loop, &crowd.addr, CLK_S(30), on_no_descriptor);
    LOOP_UNTIL(crowd.loop, client->connected);
    shortage_end(&shortage);
    close_members(client, 1);
    crowd_done();
}

/* --- listeners --- */

static void paused_listener_leaves_connections_in_the_backlog(void **state)
{
    (void)state;
    crowd_open(test_loop());
    tcp_listener_pause(&crowd.listener);
    tcp_listener_pause(&crowd.listener);
    for (int i = 0; i < 3; i++) {
        loop_turn(crowd.loop, 0);
    }
    for (size_t i = 0; i < 5; i++) {
        tcp_connect(&crowd.clients[i].conn, crowd.loop, &crowd.addr, CLK_S(30), on_connect);
    }
    LOOP_UNTIL(crowd.loop, crowd.connected == 5);
    for (int i = 0; i < 5; i++) {
        loop_turn(crowd.loop, CLK_MS(1));
    }
    assert_int_equal(crowd.accepted, 0);
    tcp_listener_resume(&crowd.listener);
    LOOP_UNTIL(crowd.loop, crowd.accepted == 5);
    /* Paused and resumed in one turn, it goes on as if nothing had been. */
    tcp_listener_pause(&crowd.listener);
    tcp_listener_resume(&crowd.listener);
    crowd_connect(5, 8);
    close_members(crowd.clients, 8);
    close_members(crowd.servers, 8);
    crowd_done();
}

static void listening_twice_names_the_port_in_use(void **state)
{
    (void)state;
    crowd_open(test_loop());
    struct tcp_listener second;
    struct err_note note = {0};
    char expected[64];
    (void)snprintf(expected, sizeof(expected), "port %u is in use", net_addr_port(&crowd.addr));
    enum err err = tcp_listen(&second, crowd.loop, &crowd.addr, false, on_accept, &note);
    assert_int_equal(err, ERR_IN_USE);
    assert_non_null(strstr(note.text, expected));
    assert_non_null(strstr(note.text, "127.0.0.1"));
    crowd_done();
}

static void address_is_free_again_after_on_closed(void **state)
{
    (void)state;
    crowd_open(test_loop());
    crowd_connect(0, 3);
    tcp_listener_close(&crowd.listener, on_listener_closed);
    LOOP_UNTIL(crowd.loop, crowd.listener_closed);
    struct err_note note = {0};
    enum err err = tcp_listen(&crowd.listener, crowd.loop, &crowd.addr, false, on_accept, &note);
    assert_int_equal(err, ERR_OK);
    crowd.listener_closed = false;
    crowd_connect(3, 4);
    close_members(crowd.clients, 4);
    close_members(crowd.servers, 4);
    crowd_done();
}

static void two_listeners_share_a_port_when_both_ask_for_it(void **state)
{
    (void)state;
    memset(&crowd, 0, sizeof(crowd));
    crowd.loop = test_loop();
    struct net_addr addr = loopback(0);
    struct tcp_listener second;
    assert_int_equal(tcp_listen(&crowd.listener, crowd.loop, &addr, true, on_accept, NULL), ERR_OK);
    addr = tcp_listener_addr(&crowd.listener);
    assert_int_equal(tcp_listen(&second, crowd.loop, &addr, true, on_accept, NULL), ERR_OK);
    tcp_listener_close(&second, on_listener_closed);
    LOOP_UNTIL(crowd.loop, crowd.listener_closed);
    crowd.listener_closed = false;
    crowd_done();
}

int main(void)
{
    test_skip_without_backend();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(thousand_connections_ask_and_are_answered),
        cmocka_unit_test(everything_closed_at_once_ends_once),
        cmocka_unit_test(warm_turns_allocate_nothing),
        cmocka_unit_test(accept_without_descriptors_waits_and_does_not_spin),
        cmocka_unit_test(connect_without_descriptors_fails_as_full),
        cmocka_unit_test(paused_listener_leaves_connections_in_the_backlog),
        cmocka_unit_test(listening_twice_names_the_port_in_use),
        cmocka_unit_test(address_is_free_again_after_on_closed),
        cmocka_unit_test(two_listeners_share_a_port_when_both_ask_for_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
