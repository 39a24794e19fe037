/* The HTTP server, spoken to by raw sockets: requests, answers, pipelines, long polls, the end. */
#include "http_test.h"

/* --- requests and answers --- */

static void request_is_answered_and_the_connection_lives_on(void **state)
{
    (void)state;
    web_open();
    struct raw raw = raw_open();
    raw_say(&raw, "GET /a%20b?x=1&y HTTP/1.1\r\nHost: h\r\n\r\n");
    raw_wait(&raw, "GET /a%20b?x=1&y 0:");
    assert_non_null(strstr(raw.text, "HTTP/1.1 200 OK\r\nDate: "));
    assert_non_null(strstr(raw.text, "\r\nContent-Type: text/plain\r\nX-Test: yes\r\n"));
    assert_non_null(strstr(raw.text, "\r\nContent-Length: 19\r\n\r\nGET"));
    assert_null(strstr(raw.text, "Connection:"));
    raw_say(&raw, "PUT /kv HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello");
    raw_wait(&raw, "PUT /kv? 5:hello");
    assert_int_equal(metric_get(&web.server.stats.connections), 1);
    assert_int_equal(metric_get(&web.server.stats.requests), 2);
    raw_close(&raw);
    web_close();
}

/* Date differs from run to run: cut out for comparing. */
static void drop_dates(char *text)
{
    char *date;
    while ((date = strstr(text, "Date: ")) != NULL) {
        char *end = strstr(date, "\r\n");
        assert_non_null(end);
        memmove(date, end + 2, strlen(end + 2) + 1);
    }
}

static const char cut_requests[] =
    "GET /one?a=b HTTP/1.1\r\nHost: h\r\n\r\n"
    "POST /two HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody"
    "\r\nPUT /three HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    "3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nTrail: er\r\n\r\n"
    "HEAD /four HTTP/1.1\r\nHost: h\r\n\r\n"
    "OPTIONS * HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";

/* Sends the requests with a pause at each multiple of step from start on; returns all answers. */
static void ask_in_parts(size_t first, size_t step, char *dest, size_t dest_size)
{
    struct raw raw = raw_open();
    size_t len = sizeof(cut_requests) - 1;
    size_t at = 0;
    size_t part = first;
    while (at < len) {
        part = part < len - at ? part : len - at;
        raw_send(&raw, cut_requests + at, part);
        at += part;
        part = step;
        loop_turn(web.loop, 0);
        loop_turn(web.loop, 0);
    }
    raw_wait_end(&raw);
    assert_false(raw.reset);
    drop_dates(raw.text);
    assert_true(raw.len < dest_size);
    memcpy(dest, raw.text, strlen(raw.text) + 1);
    raw_close(&raw);
}

static void answers_do_not_depend_on_the_cuts(void **state)
{
    (void)state;
    static char whole[8192];
    static char parts[8192];
    web_open();
    size_t len = sizeof(cut_requests) - 1;
    ask_in_parts(len, len, whole, sizeof(whole));
    assert_non_null(strstr(whole, "GET /one?a=b 0:"));
    assert_non_null(strstr(whole, "POST /two? 4:body"));
    assert_non_null(strstr(whole, "PUT /three? 5:abcde"));
    assert_non_null(strstr(whole, "Content-Length: 14\r\n\r\nHTTP/1.1 200"));
    assert_non_null(strstr(whole, "Connection: close\r\n\r\nOPTIONS *? 0:"));
    for (size_t cut = 1; cut < len; cut++) {
        ask_in_parts(cut, len, parts, sizeof(parts));
        assert_string_equal(parts, whole);
    }
    ask_in_parts(1, 1, parts, sizeof(parts));
    assert_string_equal(parts, whole);
    web_close();
}

static void request_header_is_found_without_case(void **state)
{
    (void)state;
    web_open();
    struct raw raw = raw_open();
    raw_say(&raw, "GET /header?name=x-consul-token HTTP/1.1\r\nHost: h\r\n"
                  "X-Consul-Token:  secret \r\n\r\n");
    raw_wait(&raw, "\r\n\r\nsecret");
    raw_say(&raw, "GET /header?name=x-other HTTP/1.1\r\nHost: h\r\n\r\n");
    raw_wait(&raw, "HTTP/1.1 404 ");
    raw_close(&raw);
    web_close();
}

static void http10_closes_unless_asked_to_keep(void **state)
{
    (void)state;
    web_open();
    struct raw raw = raw_open();
    raw_say(&raw, "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    raw_wait(&raw, "GET /a? 0:");
    assert_non_null(strstr(raw.text, "\r\nConnection: keep-alive\r\n"));
    raw_say(&raw, "GET /b HTTP/1.0\r\n\r\n");
    raw_wait_end(&raw);
    assert_non_null(strstr(raw.text, "GET /b? 0:"));
    assert_non_null(strstr(raw.text, "\r\nConnection: close\r\n"));
    raw_close(&raw);
    web_close();
}

static void answers_without_body_have_none(void **state)
{
    (void)state;
    web_open();
    struct raw raw = raw_open();
    raw_say(&raw, "GET /status?code=204 HTTP/1.1\r\nHost: h\r\n\r\n");
    raw_wait(&raw, "\r\n\r\n");
    assert_null(strstr(raw.text, "Content-Length"));
    raw_say(&raw, "GET /status?code=304 HTTP/1.1\r\nHost: h\r\n\r\n");
    raw_wait(&raw, "HTTP/1.1 304 Not Modified");
    raw_say(&raw, "HEAD /status?code=200 HTTP/1.1\r\nHost: h\r\n\r\n");
    raw_wait(&raw, "\r\nContent-Length: 4\r\n\r\n");
    raw_say(&raw, "GET /status?code=200 HTTP/1.1\r\nHost: h\r\n\r\n");
    raw_wait_count(&raw, "HTTP/1.1 200", 2);
    raw_wait(&raw, "\r\n\r\ntext");
    assert_int_equal(count_text(raw.text, "text"), 1);
    raw_close(&raw);
    web_close();
}

static void continue_is_sent_to_those_who_wait(void **state)
{
    (void)state;
    web_open();
    struct raw raw = raw_open();
    raw_say(&raw,
            "PUT /a HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    raw_wait(&raw, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_int_equal(strlen(raw.text), 25);
    raw_say(&raw, "abc");
    raw_wait(&raw, "PUT /a? 3:abc");
    raw_close(&raw);
    web_close();
}

static void big_bodies_go_both_ways(void **state)
{
    (void)state;
    web_open();
    struct raw raw = raw_open();
    static char body[1024 * 1024];
    memset(body, 'x', sizeof(body));
    raw_say(&raw, "PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1048576\r\n\r\n");
    raw_send(&raw, body, sizeof(body));
    RAW_UNTIL(&raw, raw.len > sizeof(body) + 100);
    assert_non_null(strstr(raw.text, "PUT /a? 1048576:xxxx"));
    raw_say(&raw, "GET /big?len=3000000 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    raw_wait_end(&raw);
    char *answer = strstr(raw.text, "Content-Length: 3000000\r\n");
    assert_non_null(answer);
    answer = strstr(answer, "\r\n\r\n") + 4;
    assert_int_equal(strspn(answer, "b"), 3000000);
    assert_int_equal(strlen(answer), 3000000);
    raw_close(&raw);
    web_close();
}

static void malformed_field_of_an_answer_becomes_500(void **state)
{
    (void)state;
    web_open();
    struct raw raw = raw_open();
    raw_say(&raw, "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
    RAW_UNTIL(&raw, web.held_count == 1);
    struct http_field field = {BYTES_LITERAL("X-Split"), BYTES_LITERAL("a\r\nb: c")};
    struct http_answer answer = {.status = 204, .fields = &field, .field_count = 1};
    http_respond(web.held[0], &answer);
    web.held_count = 0;
    raw_wait(&raw, "answer_malformed: a field is malformed\n");
    assert_int_equal(strncmp(raw.text, "HTTP/1.1 500 ", 13), 0);
    assert_null(strstr(raw.text, "X-Split"));
    raw_close(&raw);
    web_close();
}

/* --- refusals --- */

static const struct {
    const char *request;
    const char *status;
    const char *reason;
} refusals[] = {
    {"GET / HTTP/1.1\r\n\r\n", "400", "host_missing"},
    {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400", "host_repeated"},
    {"GET / HTTP/1.1\nHost: a\r\n\r\n", "400", "bare_lf"},
    {"GET / HTTP/2.0\r\nHost: a\r\n\r\n", "505", "version_unsupported"},
    {"GET /\r\n\r\n", "400", "version_missing"},
    {"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", "400", "method_invalid"},
    {"GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n", "400", "field_name_invalid"},
    {"GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", "417", "expect_unsupported"},
    {"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", "501",
     "transfer_encoding_unsupported"},
    {"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "400",
     "length_and_encoding"},
    {"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999\r\n\r\n", "413", "body_too_large"},
    {"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n", "413",
     "body_too_large"},
    {"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffff\r\n", "413",
     "body_too_large"},
    {"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", "400",
     "chunk_data_end"},
    {"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", "501", "connect_unsupported"},
    {"\x16\x03\x01\x02 TLS, perhaps\r\n\r\n", "400", "control_byte"},
};

static void refused_request_gets_status_and_reason_and_the_end(void **state)
{
    (void)state;
    web_open();
    for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
        char line[128];
        struct raw raw = raw_open();
        raw_say(&raw, refusals[i].request);
        raw_wait_end(&raw);
        assert_false(raw.reset);
        (void)snprintf(line, sizeof(line), "HTTP/1.1 %s ", refusals[i].status);
        if (strncmp(raw.text, line, strlen(line)) != 0) {
            fail_msg("%s: %s", refusals[i].request, raw.text);
        }
        (void)snprintf(line, sizeof(line), "\r\n\r\n%s: ", refusals[i].reason);
        if (strstr(raw.text, line) == NULL) {
            fail_msg("%s: %s", refusals[i].reason, raw.text);
        }
        assert_non_null(strstr(raw.text, "\r\nConnection: close\r\n"));
        raw_close(&raw);
    }
    assert_int_equal(metric_get(&web.server.stats.requests), 0);
    assert_int_equal(metric_get(&web.server.stats.refused[HTTP1_REASON_BODY_TOO_LARGE]), 3);
    web_close();
}

static void large_heads_are_refused(void **state)
{
    (void)state;
    web_open();
    char line[128];
    struct raw raw = raw_open();
    raw_say(&raw, "GET / HTTP/1.1\r\nHost: h\r\n");
    for (int i = 0; i < 101; i++) {
        (void)snprintf(line, sizeof(line), "F%d: v\r\n", i);
        raw_say(&raw, line);
    }
    raw_wait(&raw, "too_many_fields: ");
    assert_int_equal(strncmp(raw.text, "HTTP/1.1 431 ", 13), 0);
    raw_close(&raw);
    raw = raw_open();
    static char target[16 * 1024];
    memset(target, 'a', sizeof(target));
    raw_say(&raw, "GET /");
    raw_send(&raw, target, sizeof(target));
    raw_wait(&raw, "start_line_too_long: ");
    assert_int_equal(strncmp(raw.text, "HTTP/1.1 414 ", 13), 0);
    raw_close(&raw);
    web_close();
}

/* The answer must survive although the client goes on sending for a while (RFC 9112 9.6). */
static void refusal_arrives_though_the_body_is_still_coming(void **state)
{
    (void)state;
    web_open();
    struct raw raw = raw_open();
    static char body[1024 * 1024];
    raw_say(&raw, "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 4194304\r\n\r\n");
    for (int i = 0; i < 4; i++) {
        raw_send(&raw, body, sizeof(body));
    }
    raw_wait_end(&raw);
    assert_false(raw.reset);
    assert_non_null(strstr(raw.text, "body_too_large: "));
    raw_close(&raw);
    web_close();
}

static void pipelined_requests_before_a_bad_one_are_answered(void **state)
{
    (void)state;
    web_open();
    struct raw raw = raw_open();
    raw_say(&raw, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\nGET / "
                  "HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\nHost: h\r\n\r\n");
    raw_wait_end(&raw);
    assert_non_null(strstr(raw.text, "GET /1? 0:"));
    assert_non_null(strstr(raw.text, "GET /2? 0:"));
    assert_non_null(strstr(raw.text, "host_missing: "));
    assert_null(strstr(raw.text, "GET /3"));
    raw_close(&raw);
    web_close();
}

/* --- pipelines and long polls --- */

static void pipelined_requests_are_handled_one_at_a_time_in_order(void **state)
{
    (void)state;
    web_open();
    struct raw raw = raw_open();
    raw_say(&raw, "GET /hold?1 HTTP/1.1\r\nHost: h\r\n\r\nPUT /hold?2 HTTP/1.1\r\nHost: "
                  "h\r\nContent-Length: 2\r\n\r\nxyGET /now HTTP/1.1\r\nHost: h\r\n\r\n");
    RAW_UNTIL(&raw, web.held_count == 1);
    for (int i = 0; i < 5; i++) {
        loop_turn(web.loop, CLK_MS(1));
    }
    assert_int_equal(web.held_count, 1);
    assert_true(bytes_eq_str(web.held[0]->query, "1"));
    http_respond_text(web.held[0], 200, "first;");
    web.held_count = 0;
    RAW_UNTIL(&raw, web.held_count == 1);
    assert_true(bytes_eq_str(web.held[0]->query, "2"));
    assert_true(bytes_eq_str(web.held[0]->body, "xy"));
    http_respond_text(web.held[0], 200, "second;");
    web.held_count = 0;
    raw_wait(&raw, "GET /now? 0:");
    assert_true(strstr(raw.text, "first;") < strstr(raw.text, "second;"));
    assert_true(strstr(raw.text, "second;") < strstr(raw.text, "GET /now"));
    raw_close(&raw);
    web_close();
}

enum {
    MANY = 20000
};

/* Sends one request again and again until the socket takes no more, at most max times. */
static size_t say_until_stuck(struct raw *raw, const char *request, size_t max)
{
    size_t len = strlen(request);
    size_t total = 0;
    int stuck = 0;
    while (total < max * len && stuck < 50) {
        size_t offset = total % len;
        ssize_t n = send(raw->fd, request + offset, len - offset, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n > 0) {
            total += (size_t)n;
            stuck = 0;
        } else {
            assert_int_equal(errno, EAGAIN);
            stuck++;
            loop_turn(web.loop, CLK_MS(1));
        }
    }
    return total;
}

static void requests_sent_ahead_stay_with_the_client(void **state)
{
    (void)state;
    web_open();
    struct raw raw = raw_open();
    static const char request[] =
        "GET /n HTTP/1.1\r\nHost: h\r\nX-Filler: 0123456789012345678901234"
        "56789012345678901234567890123456789\r\n\r\n";
    int small = 16 * 1024; /* else the kernel takes megabytes */
    assert_int_equal(setsockopt(raw.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    raw_say(&raw, "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
    RAW_UNTIL(&raw, web.held_count == 1);
    size_t sent = say_until_stuck(&raw, request, (size_t)MANY * 10);
    assert_true(sent < (size_t)MANY * 10 * strlen(request));
    http_respond_text(web.held[0], 200, "held");
    web.held_count = 0;
    size_t rest = (strlen(request) - sent % strlen(request)) % strlen(request);
    raw_send(&raw, request + strlen(request) - rest, rest);
    size_t count = (sent + rest) / strlen(request);
    RAW_UNTIL(&raw, metric_get(&web.server.stats.requests) == count + 1);
    raw_wait_count(&raw, "GET /n? 0:", count);
    raw_close(&raw);
    web_close();
}

enum {
    SLOW_REQUESTS = 300,
    SLOW_LEN = 100000
};

static void reader_that_is_slow_stops_the_answers(void **state)
{
    (void)state;
    web_open();
    struct raw raw = raw_open();
    for (int i = 0; i < SLOW_REQUESTS; i++) {
        raw_say(&raw, "GET /big?len=100000 HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    for (int i = 0; i < 100; i++) {
        loop_turn(web.loop, CLK_MS(1));
    }
    /* The kernel's buffers take some ten megabytes; the rest is not even made. */
    assert_true(metric_get(&web.server.stats.requests) < SLOW_REQUESTS * 2 / 3);
    static char sink[65536];
    size_t total = 0;
    clk_ns end = loop_now(web.loop) + CLK_S(20);
    while (total < (size_t)SLOW_REQUESTS * SLOW_LEN) {
        ssize_t n = recv(raw.fd, sink, sizeof(sink), MSG_DONTWAIT);
        total += n > 0 ? (size_t)n : 0;
        loop_turn(web.loop, n > 0 ? 0 : CLK_MS(1));
        assert_true(loop_now(web.loop) < end);
    }
    LOOP_UNTIL(web.loop, metric_get(&web.server.stats.requests) == SLOW_REQUESTS);
    raw_close(&raw);
    web_close();
}

/* A few answers are enough when they are large. */
static void large_answers_are_not_made_ahead(void **state)
{
    (void)state;
    web_open();
    struct raw raw = raw_open();
    for (int i = 0; i < 12; i++) {
        raw_say(&raw, "GET /big?len=3000000 HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    for (int i = 0; i < 50; i++) {
        loop_turn(web.loop, CLK_MS(1));
    }
    assert_true(metric_get(&web.server.stats.requests) < 9);
    raw_close(&raw);
    web_close();
}

static void client_that_leaves_during_a_long_poll_is_noticed(void **state)
{
    (void)state;
    web_open();
    for (int i = 0; i < 2; i++) {
        struct raw raw = raw_open();
        raw_say(&raw, "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
        LOOP_UNTIL(web.loop, web.held_count == 1);
        if (i == 1) {
            const struct linger now = {.l_onoff = 1, .l_linger = 0}; /* a reset, not a FIN */
            assert_int_equal(setsockopt(raw.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
        }
        raw_close(&raw);
        LOOP_UNTIL(web.loop, web.gone_count == i + 1);
    }
    LOOP_UNTIL(web.loop, metric_gauge_get(&web.server.stats.open) == 0);
    assert_int_equal(metric_get(&web.server.stats.gone), 2);
    web_close();
}

static void request_outlives_its_connection(void **state)
{
    (void)state;
    web_open();
    struct raw raw = raw_open();
    raw_say(&raw, "PUT /stream HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody");
    LOOP_UNTIL(web.loop, web.held_count == 1);
    const struct linger now = {.l_onoff = 1, .l_linger = 0};
    assert_int_equal(setsockopt(raw.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
    raw_close(&raw);
    LOOP_UNTIL(web.loop, metric_gauge_get(&web.server.stats.open) == 0);
    assert_true(web.held[0]->gone);
    assert_true(bytes_eq_str(web.held[0]->body, "body"));
    assert_int_equal(http_request_peer(web.held[0]).len, 0);
    http_respond_text(web.held[0], 200, "nobody reads this");
    web_close();
}

static void half_closed_client_gets_its_answers(void **state)
{
    (void)state;
    web_open();
    web.answer_on_gone = true;
    struct raw raw = raw_open();
    raw_say(&raw, "GET /hold HTTP/1.1\r\nHost: h\r\n\r\nGET /next HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_int_equal(shutdown(raw.fd, SHUT_WR), 0);
    raw_wait_end(&raw);
    assert_non_null(strstr(raw.text, "late"));
    assert_non_null(strstr(raw.text, "GET /next? 0:"));
    raw_close(&raw);
    raw = raw_open();
    raw_say(&raw, "PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf");
    assert_int_equal(shutdown(raw.fd, SHUT_WR), 0);
    raw_wait_end(&raw);
    assert_non_null(strstr(raw.text, "body_truncated: "));
    raw_close(&raw);
    web_close();
}

static void cancelled_request_closes_the_connection(void **state)
{
    (void)state;
    web_open();
    struct raw raw = raw_open();
    raw_say(&raw, "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
    LOOP_UNTIL(web.loop, web.held_count == 1);
    http_request_cancel(web.held[0]);
    raw_wait_end(&raw);
    assert_int_equal(raw.len, 0);
    assert_int_equal(web.gone_count, 0);
    raw_close(&raw);
    web_close();
}

int main(void)
{
    test_skip_without_backend();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_is_answered_and_the_connection_lives_on),
        cmocka_unit_test(answers_do_not_depend_on_the_cuts),
        cmocka_unit_test(request_header_is_found_without_case),
        cmocka_unit_test(http10_closes_unless_asked_to_keep),
        cmocka_unit_test(answers_without_body_have_none),
        cmocka_unit_test(continue_is_sent_to_those_who_wait),
        cmocka_unit_test(big_bodies_go_both_ways),
        cmocka_unit_test(malformed_field_of_an_answer_becomes_500),
        cmocka_unit_test(refused_request_gets_status_and_reason_and_the_end),
        cmocka_unit_test(large_heads_are_refused),
        cmocka_unit_test(refusal_arrives_though_the_body_is_still_coming),
        cmocka_unit_test(pipelined_requests_before_a_bad_one_are_answered),
        cmocka_unit_test(pipelined_requests_are_handled_one_at_a_time_in_order),
        cmocka_unit_test(requests_sent_ahead_stay_with_the_client),
        cmocka_unit_test(reader_that_is_slow_stops_the_answers),
        cmocka_unit_test(large_answers_are_not_made_ahead),
        cmocka_unit_test(client_that_leaves_during_a_long_poll_is_noticed),
        cmocka_unit_test(request_outlives_its_connection),
        cmocka_unit_test(half_closed_client_gets_its_answers),
        cmocka_unit_test(cancelled_request_closes_the_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
