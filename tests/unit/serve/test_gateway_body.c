/* Bodies: large ones in both directions and framings, whole, in order, in bounded memory. */
#include "gateway_rig.h"

#include "http1/http1_body.h"

#include <string.h>
#include <sys/socket.h>

enum {
    BIG = 10 * 1024 * 1024,
    PIECE = 64 * 1024,
    STALL_TURNS = 100,
    /* Two directions of GW_UNSENT_HIGH, what one event may add, and the request's head. */
    BUFFERS_MAX = 16
};

static uint8_t pattern[PIECE];

static int fill_pattern(void **state)
{
    struct rnd rnd;
    (void)state;
    rnd_init(&rnd, 42);
    for (size_t i = 0; i < PIECE; i++) {
        pattern[i] = (uint8_t)rnd_u64(&rnd);
    }
    return 0;
}

/* The sum of the first len bytes of the repeated pattern, by place, as peer.sum. */
static uint64_t pattern_sum(uint64_t len)
{
    uint64_t sum = 0;
    for (uint64_t i = 0; i < len; i++) {
        sum += (i + 1) * pattern[i % PIECE];
    }
    return sum;
}

/* Sends a large body while the other side is polled; chunked in chunks of PIECE. */
static void send_big(struct peer *from, bool chunked)
{
    for (size_t sent = 0; sent < BIG; sent += PIECE) {
        if (chunked) {
            peer_say(from, "10000\r\n");
        }
        peer_send(from, pattern, PIECE);
        if (chunked) {
            peer_say(from, "\r\n");
        }
        rig_poll();
    }
    if (chunked) {
        peer_say(from, "0\r\n\r\n");
    }
}

/* Begins to count anew after the head. */
static void after_head(struct peer *peer)
{
    peer_wait(peer, "\r\n\r\n");
    const char *end = strstr(peer->text, "\r\n\r\n") + 4;
    assert_true(end == peer->text + peer->len);
    peer_clear(peer);
    peer->total = 0;
    peer->sum = 0;
}

static void large_bodies_with_a_length_pass_both_ways(void **state)
{
    (void)state;
    rig_open(1);
    struct peer *client = rig_client();
    peer_say(client, "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 10485760\r\n\r\n");
    struct peer *conn = origin_conn(0, 0);
    after_head(conn);
    send_big(client, false);
    RIG_UNTIL(conn->total == BIG);
    assert_true(conn->sum == pattern_sum(BIG));
    peer_say(conn, "HTTP/1.1 200 OK\r\nContent-Length: 10485760\r\n\r\n");
    after_head(client);
    send_big(conn, false);
    RIG_UNTIL(client->total == BIG);
    assert_true(client->sum == pattern_sum(BIG));
    assert_in_range(rig_stats().buffers_peak, 1, BUFFERS_MAX);
    peer_clear(conn);
    peer_say(client, "GET /again HTTP/1.1\r\nHost: h\r\n\r\n");
    peer_wait(conn, "/again");
    rig_close();
}

static void large_chunked_bodies_pass_both_ways(void **state)
{
    (void)state;
    rig_open(1);
    struct peer *client = rig_client();
    peer_say(client, "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    struct peer *conn = origin_conn(0, 0);
    after_head(conn);
    send_big(client, true);
    /* Framing adds less than one part in a hundred. */
    RIG_UNTIL(conn->total > BIG);
    peer_say(client, "GET /next HTTP/1.1\r\nHost: h\r\n\r\n");
    peer_say(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    after_head(client);
    send_big(conn, true);
    RIG_UNTIL(client->total > BIG);
    RIG_UNTIL(rig_stats().requests == 1);
    assert_in_range(conn->total, BIG, BIG + BIG / 50);
    assert_in_range(client->total, BIG, BIG + BIG / 50);
    assert_in_range(rig_stats().buffers_peak, 1, BUFFERS_MAX);
    rig_close();
}

/* Chunked content is the same after the gateway has framed it anew, whatever the chunks were. */
static void chunks_of_any_size_carry_the_same_content(void **state)
{
    (void)state;
    static char body[48 * 1024];
    static uint8_t content[32 * 1024];
    struct rnd rnd;
    rnd_init(&rnd, 7);
    rig_open(1);
    struct peer *client = rig_client();
    for (size_t round = 0; round < 20; round++) {
        size_t len = 0;
        size_t total = 0;
        size_t most = round % 4 == 0 ? 3 : round % 4 == 1 ? 60 : round % 4 == 2 ? 3000 : 12000;
        while (total + most < sizeof(content) && len + most + 64 < sizeof(body)) {
            size_t size = (size_t)rnd_range(&rnd, 1, most);
            len += (size_t)snprintf(body + len, 64, "%zx%s\r\n", size, total < 100 ? ";x=y" : "");
            memcpy(body + len, pattern + total, size);
            memcpy(body + len + size, "\r\n", 2);
            len += size + 2;
            total += size;
        }
        memcpy(body + len, "0\r\n\r\n", 5);
        len += 5;
        peer_clear(client);
        peer_say(client, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
        struct peer *conn = origin_conn(0, 0);
        peer_wait_count(conn, "\r\n\r\n", round + 1);
        peer_say(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        peer_send(conn, body, len);
        RIG_UNTIL(rig_stats().requests == round + 1 && rig_stats().buffers == 0);
        rig_settle();

        const char *at = strstr(client->text, "\r\n\r\n") + 4;
        struct bytes rest = bytes_of(at, client->len - (size_t)(at - client->text));
        struct http1_body decoder;
        http1_body_init_framing(&decoder, HTTP1_FRAMING_CHUNKED, 0, &HTTP1_LIMITS_DEFAULT);
        size_t got = 0;
        while (!decoder.done) {
            size_t used = 0;
            struct bytes run;
            assert_true(rest.len > 0);
            assert_int_equal(http1_body_feed(&decoder, rest, &used, &run), ERR_OK);
            memcpy(content + got, run.data, run.len);
            got += run.len;
            rest = bytes_from(rest, used);
        }
        assert_int_equal(got, total);
        assert_memory_equal(content, pattern, total);
        assert_int_equal(rest.len, 0);
    }
    rig_close();
}

/* Sends until nothing more is taken for a while; how much was taken. */
static size_t send_until_stalled(struct peer *from)
{
    size_t sent = 0;
    int still = 0;
    while (still < STALL_TURNS) {
        size_t n = peer_try(from, pattern + sent % PIECE, PIECE - sent % PIECE);
        sent += n;
        still = n > 0 ? 0 : still + 1;
        loop_turn(rig.loop, CLK_MS(1));
        rig_poll();
        assert_true(sent < 64u * 1024 * 1024);
    }
    return sent;
}

/* Then lets it flow: sends the rest up to `total`. */
static void send_rest(struct peer *from, size_t sent, size_t total)
{
    while (sent < total) {
        size_t left = total - sent;
        size_t part = PIECE - sent % PIECE;
        part = part < left ? part : left;
        peer_send(from, pattern + sent % PIECE, part);
        sent += part;
    }
}

static void a_slow_instance_slows_the_client_down(void **state)
{
    (void)state;

    enum {
        TOTAL = 66 * 1024 * 1024
    };

    rig_open(1);
    struct peer *client = rig_client();
    peer_say(client, "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 69206016\r\n\r\n");
    struct peer *conn = origin_conn(0, 0);
    after_head(conn);
    conn->paused = true;
    size_t sent = send_until_stalled(client);
    assert_in_range(rig_stats().buffers_peak, 1, BUFFERS_MAX);
    conn->paused = false;
    send_rest(client, sent, TOTAL);
    RIG_UNTIL(conn->total == TOTAL);
    assert_true(conn->sum == pattern_sum(TOTAL));
    peer_say(conn, OK_ANSWER);
    peer_wait(client, "\r\n\r\nok");
    rig_close();
}

static void a_slow_client_slows_the_instance_down(void **state)
{
    (void)state;

    enum {
        TOTAL = 66 * 1024 * 1024
    };

    rig_open(1);
    struct peer *client = rig_client();
    peer_say(client, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
    struct peer *conn = origin_request(0, 0, "\r\n\r\n");
    peer_say(conn, "HTTP/1.1 200 OK\r\nContent-Length: 69206016\r\n\r\n");
    after_head(client);
    client->paused = true;
    size_t sent = send_until_stalled(conn);
    assert_in_range(rig_stats().buffers_peak, 1, BUFFERS_MAX);
    client->paused = false;
    send_rest(conn, sent, TOTAL);
    RIG_UNTIL(client->total == TOTAL);
    assert_true(client->sum == pattern_sum(TOTAL));
    /* The connection that was stopped is as good as before. */
    peer_clear(conn);
    peer_say(client, "GET /again HTTP/1.1\r\nHost: h\r\n\r\n");
    peer_wait(conn, "/again");
    assert_int_equal(rig_stats().connects, 1);
    rig_close();
}

static void a_client_that_takes_nothing_is_given_up(void **state)
{
    (void)state;
    struct gateway_limits limits = GATEWAY_LIMITS_DEFAULT;
    limits.body_timeout = CLK_MS(300);
    rig_open_with(&limits, 1);
    struct peer *client = rig_client();
    peer_say(client, "GET /x HTTP/1.1\r\nHost: h\r\n\r\n");
    struct peer *conn = origin_request(0, 0, "\r\n\r\n");
    peer_say(conn, "HTTP/1.1 200 OK\r\nContent-Length: 69206016\r\n\r\n");
    after_head(client);
    client->paused = true;
    RIG_UNTIL((peer_try(conn, pattern, PIECE), conn->ended || conn->reset));
    assert_non_null(strstr(rig_log(), "\"reason\":\"client_stalled\""));
    rig_close();
}

static void an_instance_that_takes_nothing_is_given_up(void **state)
{
    (void)state;
    struct gateway_limits limits = GATEWAY_LIMITS_DEFAULT;
    limits.body_timeout = CLK_MS(300);
    rig_open_with(&limits, 1);
    struct peer *client = rig_client();
    peer_say(client, "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 69206016\r\n\r\n");
    struct peer *conn = origin_conn(0, 0);
    after_head(conn);
    conn->paused = true;
    RIG_UNTIL((peer_try(client, pattern, PIECE), peer_has(client, "response_timeout")));
    rig_close();
}

static void a_body_waits_for_its_instance(void **state)
{
    (void)state;
    rig_open(1);
    struct peer *client = rig_client();
    peer_say(client, "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 10485760\r\n\r\n");
    send_big(client, false); /* it comes with its head, before the connection is up */
    struct peer *conn = origin_conn(0, 0);
    RIG_UNTIL(conn->total > BIG);
    size_t head = (size_t)(strstr(conn->text, "\r\n\r\n") + 4 - conn->text);
    RIG_UNTIL(conn->total == BIG + head);
    assert_memory_equal(conn->text + head, pattern, 1000);
    rig_close();
}

static void content_passes_both_ways_at_once(void **state)
{
    (void)state;
    rig_open(1);
    struct peer *client = rig_client();
    peer_say(client, "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    struct peer *conn = origin_request(0, 0, "\r\n\r\n");
    peer_say(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    peer_wait(client, "Connection: close\r\n\r\n");
    for (size_t i = 1; i <= 50; i++) {
        peer_say(client, "3\r\nask\r\n");
        peer_wait_count(conn, "3\r\nask\r\n", i);
        peer_say(conn, "4\r\ntold\r\n");
        peer_wait_count(client, "4\r\ntold\r\n", i);
    }
    peer_say(client, "0\r\n\r\n");
    peer_wait(conn, "\r\n0\r\n\r\n");
    peer_say(conn, "0\r\n\r\n");
    peer_wait(client, "\r\n0\r\n\r\n");
    peer_wait_end(client);
    rig_close();
}

int main(void)
{
    test_skip_without_backend();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(large_bodies_with_a_length_pass_both_ways),
        cmocka_unit_test(large_chunked_bodies_pass_both_ways),
        cmocka_unit_test(chunks_of_any_size_carry_the_same_content),
        cmocka_unit_test(a_slow_instance_slows_the_client_down),
        cmocka_unit_test(a_slow_client_slows_the_instance_down),
        cmocka_unit_test(a_client_that_takes_nothing_is_given_up),
        cmocka_unit_test(an_instance_that_takes_nothing_is_given_up),
        cmocka_unit_test(a_body_waits_for_its_instance),
        cmocka_unit_test(content_passes_both_ways_at_once),
    };
    return cmocka_run_group_tests(tests, fill_pattern, NULL);
}
