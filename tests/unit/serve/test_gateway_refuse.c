/* What the gateway refuses or breaks off, with which code, and that nothing of it is forwarded. */
#include "gateway_rig.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define GET "GET /x HTTP/1.1\r\nHost: h\r\nX-Request-Id: id-1\r\n\r\n"

static struct gateway_limits quick(void)
{
    struct gateway_limits limits = GATEWAY_LIMITS_DEFAULT;
    limits.connect_timeout = CLK_MS(50);
    limits.response_timeout = CLK_MS(50);
    limits.body_timeout = CLK_MS(50);
    limits.header_timeout = CLK_MS(50);
    limits.keep_alive_timeout = CLK_MS(50);
    return limits;
}

/* The answer has this status and code, in header, body and log. */
static void refused(struct peer *client, const char *status, const char *code)
{
    char expected[160];
    (void)snprintf(expected, sizeof(expected), "HTTP/1.1 %s ", status);
    peer_wait(client, expected);
    (void)snprintf(expected, sizeof(expected), "\r\nX-Flotilla-Reason: %s\r\n", code);
    peer_wait(client, expected);
    (void)snprintf(expected, sizeof(expected), "\r\n\r\n{\"error\":\"%s\",\"detail\":\"", code);
    peer_wait(client, expected);
    peer_wait(client, "}\n");
    (void)snprintf(expected, sizeof(expected), "\"status\":%s,\"reason\":\"%s\"", status, code);
    assert_non_null(strstr(rig_log(), expected));
}

/* --- requests that nobody gets --- */

static void a_refusal_says_why_in_one_form(void **state)
{
    (void)state;
    static const char *const routes[] = {"*", "/api", "web", NULL};
    rig_open(1);
    rig_routes(routes);
    struct peer *client = rig_client();
    peer_say(client, GET);
    refused(client, "404", "no_route");
    peer_wait(client, "{\"error\":\"no_route\",\"detail\":\"no route matches this host and path\","
                      "\"service\":null,\"request_id\":\"id-1\"}\n");
    assert_true(peer_has(client, "\r\nContent-Type: application/json\r\nContent-Length: "));
    assert_true(peer_has(client, "\r\nX-Request-Id: id-1\r\n"));
    assert_false(peer_has(client, "Connection: close"));
    /* The connection goes on. */
    peer_say(client, "GET /api HTTP/1.1\r\nHost: h\r\n\r\n");
    (void)origin_request(0, 0, "\r\n\r\n");
    rig_close();
}

static void a_refused_head_request_gets_no_body(void **state)
{
    (void)state;
    rig_open(0);
    struct peer *client = rig_client();
    peer_say(client, "HEAD /x HTTP/1.1\r\nHost: h\r\n\r\n");
    peer_wait(client, "X-Flotilla-Reason: no_endpoint\r\n");
    peer_wait(client, "\r\n\r\n");
    rig_settle();
    assert_false(peer_has(client, "{"));
    rig_close();
}

static void services_without_instances_are_told_apart_from_unknown_ones(void **state)
{
    (void)state;
    static const char *const routes[] = {"*", "/", "web", "*", "/none", "none", NULL};
    rig_open(0);
    rig_routes(routes);
    struct peer *client = rig_client();
    peer_say(client, GET);
    refused(client, "503", "no_endpoint");
    assert_true(peer_has(client, "\"service\":\"web\""));
    assert_true(peer_has(client, "Retry-After: 1\r\n"));
    peer_clear(client);
    peer_say(client, "GET /none HTTP/1.1\r\nHost: h\r\n\r\n");
    refused(client, "503", "no_endpoint");
    assert_true(peer_has(client, "\"service\":\"none\""));
    peer_clear(client);
    peer_say(client, "GET /x HTTP/1.1\r\nHost: h\r\nX-Service: None\r\n\r\n");
    refused(client, "404", "no_service");
    assert_true(peer_has(client, "\"service\":\"None\""));
    gateway_edge_drop_service(rig.edge, BYTES_LITERAL("web"));
    peer_clear(client);
    peer_say(client, "GET /x HTTP/1.1\r\nHost: h\r\nX-Service: web\r\n\r\n");
    refused(client, "404", "no_service");
    rig_close();
}

static void a_small_rest_of_a_refused_body_is_dropped(void **state)
{
    (void)state;
    rig_open(0);
    struct peer *client = rig_client();
    peer_say(client, "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc");
    refused(client, "503", "no_endpoint");
    peer_clear(client);
    peer_say(client, "defGET /y HTTP/1.1\r\nHost: h\r\n\r\n");
    refused(client, "503", "no_endpoint");
    /* A large one, one of unknown size, and one that may not come at all, are not waited for. */
    static const char *const heads[] = {"Content-Length: 70000", "Transfer-Encoding: chunked",
                                        "Expect: 100-continue\r\nContent-Length: 6"};
    for (size_t i = 0; i < 3; i++) {
        client = rig_client();
        peer_say(client, "POST /x HTTP/1.1\r\nHost: h\r\n");
        peer_say(client, heads[i]);
        peer_say(client, "\r\n\r\n");
        peer_wait(client, "Connection: close\r\n");
        peer_wait_end(client);
        assert_true(client->ended);
        assert_false(peer_has(client, "100 Continue"));
    }
    rig_close();
}

static void tunnels_and_upgrades_are_refused(void **state)
{
    (void)state;
    rig_open(1);
    struct peer *client = rig_client();
    peer_say(client,
             "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\nGET /y HTTP/1.1\r\nHost: h\r\n\r\n");
    refused(client, "501", "connect_unsupported");
    peer_wait_end(client);
    client = rig_client();
    peer_say(client,
             "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
             "GET /y HTTP/1.1\r\nHost: h\r\n\r\n");
    refused(client, "501", "upgrade_unsupported");
    peer_wait_end(client);
    assert_int_equal(rig.origins[0].count, 0);
    /* h2c is ignored, as RFC 9110 section 7.8 allows, and never forwarded. */
    client = rig_client();
    peer_say(client, "GET /h2c HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\n"
                     "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n");
    struct peer *conn = origin_request(0, 0, "\r\n\r\n");
    assert_false(peer_has(conn, "pgrade") || peer_has(conn, "HTTP2-Settings"));
    peer_say(conn,
             "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n");
    refused(client, "502", "upstream_bad_response");
    rig_close();
}

static const struct {
    const char *request;
    const char *status;
    const char *code;
} malformed[] = {
    /* CL.TE and TE.CL */
    {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\nTransfer-Encoding: "
     "chunked\r\n\r\n0\r\n\r\nG",
     "400", "length_and_encoding"},
    {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: "
     "4\r\n\r\n5c\r\n",
     "400", "length_and_encoding"},
    /* TE.TE */
    {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: "
     "cow\r\n\r\n",
     "400", "transfer_encoding_repeated"},
    {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "400",
     "transfer_encoding_list"},
    {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n", "501",
     "transfer_encoding_unsupported"},
    {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\x0b"
     "chunked\r\n\r\n",
     "400", "control_byte"},
    {"POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n", "400",
     "transfer_encoding_in_http10"},
    {"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n", "400",
     "field_name_invalid"},
    /* lengths */
    {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", "400",
     "content_length_repeated"},
    {"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\n", "400", "content_length_invalid"},
    /* lines */
    {"GET / HTTP/1.1\r\nHost: h\r\n Content-Length: 5\r\n\r\n", "400", "obs_fold"},
    {"GET / HTTP/1.1\nHost: h\n\n", "400", "bare_lf"},
    {"GET / HTTP/1.1\r\nHost: h\r\nA: b\rX: y\r\n\r\n", "400", "bare_cr"},
    {"GET / HTTP/1.1\r\nHost: h\r\nA\r\n\r\n", "400", "field_colon_missing"},
    {"GET /\r\n\r\n", "400", "version_missing"},
    {"GET / HTTP/2.0\r\nHost: h\r\n\r\n", "505", "version_unsupported"},
    {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505", "version_unsupported"},
    {"\x16\x03\x01\x02 garbage\r\n\r\n", "400", "control_byte"},
    /* hosts */
    {"GET / HTTP/1.1\r\n\r\n", "400", "host_missing"},
    {"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400", "host_repeated"},
    {"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", "400", "host_userinfo"},
    {"GET / HTTP/1.1\r\nHost: h\r\nConnection: host\r\n\r\n", "400", "connection_protected"},
    {"GET / HTTP/1.1\r\nHost: h\r\nConnection: content-length\r\nContent-Length: 5\r\n\r\n", "400",
     "connection_protected"},
    /* expectations, paths */
    {"POST / HTTP/1.1\r\nHost: h\r\nExpect: magic\r\nContent-Length: 1\r\n\r\n", "417",
     "expect_unsupported"},
    {"GET /a/%00 HTTP/1.1\r\nHost: h\r\n\r\n", "400", "path_nul"},
    {"GET /../../etc HTTP/1.1\r\nHost: h\r\n\r\n", "400", "path_traversal"},
    {"GET /a/..%2fb HTTP/1.1\r\nHost: h\r\n\r\n", "400", "path_traversal"},
    {"GET /%c0%ae HTTP/1.1\r\nHost: h\r\n\r\n", "400", "path_overlong"},
    {"GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n", "400", "path_escape_invalid"},
};

static void malformed_requests_are_refused_and_not_forwarded(void **state)
{
    (void)state;
    rig_open(1);
    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++) {
        struct peer *client = rig_client();
        peer_say(client, malformed[i].request);
        peer_say(client, "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n");
        refused(client, malformed[i].status, malformed[i].code);
        assert_true(peer_has(client, "Connection: close\r\n"));
        peer_wait_end(client);
        const char *first = strstr(client->text, "X-Flotilla-Reason");
        assert_null(strstr(first + 1, "X-Flotilla-Reason"));
    }
    assert_int_equal(rig.origins[0].count, 0);
    rig_close();
}

static void limits_of_heads_have_their_own_statuses(void **state)
{
    (void)state;
    static char text[HTTP1_HEAD_MAX + 100];
    rig_open(1);
    struct peer *client = rig_client();
    memset(text, 'a', sizeof(text) - 1);
    memcpy(text, "GET /", 5);
    peer_send(client, text, HTTP1_START_LINE_MAX + 10);
    refused(client, "414", "start_line_too_long");
    client = rig_client();
    peer_say(client, "GET / HTTP/1.1\r\nHost: h\r\nA: ");
    peer_send(client, text + 5, HTTP1_FIELD_BLOCK_MAX);
    refused(client, "431", "fields_too_large");
    client = rig_client();
    peer_say(client, "GET / HTTP/1.1\r\nHost: h\r\n");
    for (int i = 0; i < HTTP1_FIELD_COUNT_MAX; i++) {
        peer_say(client, "A: b\r\n");
    }
    refused(client, "431", "too_many_fields");
    /* The largest that is allowed passes. */
    client = rig_client();
    peer_say(client, "GET / HTTP/1.1\r\nHost: h\r\nA: ");
    peer_send(client, text + 5, HTTP1_FIELD_BLOCK_MAX - 100);
    peer_say(client, "\r\n\r\n");
    struct peer *conn = origin_request(0, 0, "\r\n\r\n");
    peer_say(conn, "HTTP/1.1 200 OK\r\nB: ");
    peer_send(conn, text + 5, HTTP1_FIELD_BLOCK_MAX - 100);
    peer_say(conn, "\r\nContent-Length: 2\r\n\r\nok");
    peer_wait(client, "\r\n\r\nok");
    rig_close();
}

static void a_malformed_body_is_cut_off_on_both_sides(void **state)
{
    (void)state;

    static const struct {
        const char *body;
        const char *code;
    } corpus[] = {
        {"5\r\nabcdeX", "chunk_data_end"},
        {"zz\r\n", "chunk_size_invalid"},
        {"0x5\r\n", "chunk_size_invalid"},
        {"5 \r\nabcde", "chunk_size_invalid"},
        {"5\nabcde", "chunk_line_end"},
        {"8000000000000000\r\n", "chunk_size_overflow"},
        {"5;a=\"\nX\"\r\n", "chunk_extension_invalid"},
        {"0\r\nA\nb\r\n\r\n", "bare_lf"},
    };

    rig_open(1);
    for (size_t i = 0; i < sizeof(corpus) / sizeof(corpus[0]); i++) {
        struct peer *client = rig_client();
        peer_say(client,
                 "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
        struct peer *conn = origin_request(0, i, "3\r\nabc\r\n");
        peer_say(client, corpus[i].body);
        refused(client, "400", corpus[i].code);
        peer_wait_end(client);
        peer_wait_end(conn);
        assert_false(peer_has(conn, "\r\n0\r\n"));
    }
    rig_close();
}

/* --- instances that fail --- */

static void an_instance_that_refuses_connections_is_told(void **state)
{
    (void)state;
    rig_open(1);
    origin_down(0);
    struct peer *client = rig_client();
    peer_say(client, GET);
    refused(client, "502", "connect_failed");
    rig_close();
}

/* A listener whose queue is full answers nothing at all. */
static void an_instance_that_does_not_answer_connecting_is_told(void **state)
{
    (void)state;
    struct gateway_limits limits = quick();
    rig_open_with(&limits, 0);
    struct net_addr addr = {0};
    int fillers[4];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(net_addr_parse(BYTES_LITERAL("127.0.0.1:0"), &addr), ERR_OK);
    assert_int_equal(bind(fd, &addr.sa.any, addr.len), 0);
    assert_int_equal(listen(fd, 0), 0);
    assert_int_equal(net_local_addr(fd, &addr), ERR_OK);
    for (size_t i = 0; i < 4; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(fillers[i], &addr.sa.any, addr.len);
    }
    const struct gateway_endpoint_def endpoint = {.id = BYTES_LITERAL("x"), .addr = addr};
    gateway_edge_set_service(rig.edge, BYTES_LITERAL("web"), &endpoint, 1);
    struct peer *client = rig_client();
    peer_say(client, GET);
    refused(client, "504", "connect_timeout");
    for (size_t i = 0; i < 4; i++) {
        (void)close(fillers[i]);
    }
    (void)close(fd);
    rig_close();
}

static void an_instance_that_closes_without_an_answer_is_told(void **state)
{
    (void)state;
    rig_open(1);
    struct peer *client = rig_client();
    peer_say(client, GET);
    peer_close(origin_request(0, 0, "\r\n\r\n"));
    refused(client, "502", "upstream_closed");
    peer_clear(client);
    peer_say(client, GET);
    struct peer *conn = origin_request(0, 1, "\r\n\r\n");
    peer_say(conn, "HTTP/1.1 200 OK\r\nContent-");
    rig_settle();
    peer_reset(conn);
    refused(client, "502", "upstream_closed");
    assert_int_equal(rig_stats().retries, 0);
    rig_close();
}

static void answers_that_are_not_correct_are_not_passed_on(void **state)
{
    (void)state;
    static const char *const corpus[] = {
        "garbage\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\n A: b\r\n\r\n",
        "HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\nabcde",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 102 A\r\n\r\nHTTP/1.1 102 A\r\n\r\nHTTP/1.1 102 A\r\n\r\nHTTP/1.1 102 A\r\n\r\n"
        "HTTP/1.1 102 A\r\n\r\nHTTP/1.1 102 A\r\n\r\nHTTP/1.1 102 A\r\n\r\nHTTP/1.1 102 A\r\n\r\n"
        "HTTP/1.1 102 A\r\n\r\n",
    };
    rig_open(1);
    struct peer *client = rig_client();
    for (size_t i = 0; i < sizeof(corpus) / sizeof(corpus[0]); i++) {
        peer_clear(client);
        peer_say(client, GET);
        struct peer *conn = origin_request(0, i, "\r\n\r\n");
        peer_say(conn, corpus[i]);
        refused(client, "502", "upstream_bad_response");
        peer_wait_end(conn);
    }
    rig_close();
}

static void an_instance_that_does_not_answer_is_told(void **state)
{
    (void)state;
    struct gateway_limits limits = quick();
    limits.body_timeout = CLK_S(100);
    limits.keep_alive_timeout = CLK_S(100);
    rig_open_with(&limits, 1);
    struct peer *client = rig_client();
    peer_say(client, GET);
    struct peer *conn = origin_request(0, 0, "\r\n\r\n");
    refused(client, "504", "response_timeout");
    peer_wait_end(conn);
    rig_close();
}

static void answers_that_break_off_cut_the_client_off(void **state)
{
    (void)state;
    static const char *const heads[] = {"Content-Length: 10\r\n\r\nabc",
                                        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"};
    struct gateway_limits limits = quick();
    limits.keep_alive_timeout = CLK_S(100);
    rig_open_with(&limits, 1);
    for (size_t i = 0; i < 6; i++) {
        struct peer *client = rig_client();
        peer_say(client, GET);
        struct peer *conn = origin_request(0, i, "\r\n\r\n");
        peer_say(conn, "HTTP/1.1 200 OK\r\n");
        peer_say(conn, heads[i % 2]);
        peer_wait(client, "abc");
        if (i < 2) {
            peer_close(conn);
        } else if (i < 4) {
            peer_reset(conn);
        } /* else it just stops */
        peer_wait_end(client);
        assert_true(client->reset);
        assert_false(peer_has(client, "\r\n0\r\n"));
    }
    assert_non_null(strstr(rig_log(), "\"status\":200,\"reason\":\"upstream_broken\""));
    assert_non_null(strstr(rig_log(), "\"status\":200,\"reason\":\"upstream_stalled\""));
    rig_close();
}

static void a_bad_chunk_in_an_answer_that_has_begun_cuts_the_client_off(void **state)
{
    (void)state;
    rig_open(1);
    struct peer *client = rig_client();
    peer_say(client, GET);
    struct peer *conn = origin_request(0, 0, "\r\n\r\n");
    peer_say(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    peer_wait(client, "abc\r\n");
    peer_say(conn, "3\r\nabcX");
    peer_wait_end(client);
    assert_true(client->reset);
    peer_wait_end(conn);
    assert_non_null(strstr(rig_log(), "\"status\":200,\"reason\":\"upstream_bad_response\""));
    rig_close();
}

/* --- clients that stall --- */

static void slow_clients_are_given_up(void **state)
{
    (void)state;
    struct gateway_limits limits = quick();
    rig_open_with(&limits, 1);
    struct peer *idle = rig_client();
    struct peer *head = rig_client();
    struct peer *body = rig_client();
    peer_say(head, "GET / HTTP/1.1\r\nHo");
    peer_say(body, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc");
    refused(head, "408", "header_timeout");
    refused(body, "408", "body_timeout");
    peer_wait_end(head);
    peer_wait_end(body);
    peer_wait_end(idle);
    assert_int_equal(idle->len, 0);
    rig_close();
}

static void a_kept_connection_is_closed_when_it_idles(void **state)
{
    (void)state;
    struct gateway_limits limits = quick();
    limits.response_timeout = CLK_S(100);
    rig_open_with(&limits, 1);
    struct peer *client = rig_client();
    peer_say(client, GET);
    peer_say(origin_request(0, 0, "\r\n\r\n"), OK_ANSWER);
    peer_wait(client, "ok");
    peer_wait_end(client);
    assert_true(client->ended);
    rig_close();
}

/* --- limits --- */

static void connections_over_the_limit_are_refused(void **state)
{
    (void)state;
    struct gateway_limits limits = GATEWAY_LIMITS_DEFAULT;
    limits.clients_max = 2;
    rig_open_with(&limits, 1);
    struct peer *first = rig_client();
    struct peer *second = rig_client();
    rig_settle();
    struct peer *third = rig_client();
    peer_say(third, GET);
    refused(third, "503", "overload");
    peer_wait_end(third);
    peer_close(third);
    peer_say(first, GET);
    peer_say(origin_request(0, 0, "\r\n\r\n"), OK_ANSWER);
    peer_wait(first, "ok");
    peer_close(second);
    rig_settle();
    third = rig_client();
    peer_say(third, GET);
    peer_wait_count(origin_conn(0, 0), "\r\n\r\n", 2);
    rig_close();
}

static void upstream_connections_are_limited_per_endpoint(void **state)
{
    (void)state;
    struct gateway_limits limits = GATEWAY_LIMITS_DEFAULT;
    limits.upstreams_max = 1;
    rig_open_with(&limits, 1);
    struct peer *first = rig_client();
    struct peer *second = rig_client();
    peer_say(first, GET);
    struct peer *conn = origin_request(0, 0, "\r\n\r\n");
    peer_say(second, GET);
    refused(second, "503", "overload");
    peer_say(conn, OK_ANSWER);
    peer_wait(first, "ok");
    peer_clear(second);
    peer_say(second, GET);
    peer_wait_count(conn, "\r\n\r\n", 2);
    rig_close();
}

static void without_buffers_requests_are_refused_or_cut(void **state)
{
    (void)state;
    struct gateway_limits limits = GATEWAY_LIMITS_DEFAULT;
    limits.buffers_max = 2;
    rig_open_with(&limits, 1);
    struct peer *clients[3];
    for (size_t i = 0; i < 3; i++) {
        clients[i] = rig_client();
        peer_say(clients[i], GET);
        rig_settle();
    }
    /* Two requests hold both buffers: the third cannot even be refused. */
    peer_wait_end(clients[2]);
    assert_int_equal(clients[2]->len, 0);
    peer_reset(clients[0]);
    peer_reset(clients[1]);
    RIG_UNTIL(rig_stats().buffers <= 1);
    rig_close();
}

static void a_stop_lets_requests_end_and_closes_the_rest(void **state)
{
    (void)state;
    rig_open(1);
    struct peer *idle = rig_client();
    struct peer *busy = rig_client();
    peer_say(busy, GET);
    struct peer *conn = origin_request(0, 0, "\r\n\r\n");
    rig_stop();
    peer_wait_end(idle);
    rig_settle();
    assert_false(busy->ended || busy->reset);
    peer_say(conn, OK_ANSWER);
    peer_wait(busy, "Connection: close\r\n\r\nok");
    rig_close();
}

int main(void)
{
    test_skip_without_backend();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_refusal_says_why_in_one_form),
        cmocka_unit_test(a_refused_head_request_gets_no_body),
        cmocka_unit_test(services_without_instances_are_told_apart_from_unknown_ones),
        cmocka_unit_test(a_small_rest_of_a_refused_body_is_dropped),
        cmocka_unit_test(tunnels_and_upgrades_are_refused),
        cmocka_unit_test(malformed_requests_are_refused_and_not_forwarded),
        cmocka_unit_test(limits_of_heads_have_their_own_statuses),
        cmocka_unit_test(a_malformed_body_is_cut_off_on_both_sides),
        cmocka_unit_test(an_instance_that_refuses_connections_is_told),
        cmocka_unit_test(an_instance_that_does_not_answer_connecting_is_told),
        cmocka_unit_test(an_instance_that_closes_without_an_answer_is_told),
        cmocka_unit_test(answers_that_are_not_correct_are_not_passed_on),
        cmocka_unit_test(an_instance_that_does_not_answer_is_told),
        cmocka_unit_test(answers_that_break_off_cut_the_client_off),
        cmocka_unit_test(a_bad_chunk_in_an_answer_that_has_begun_cuts_the_client_off),
        cmocka_unit_test(slow_clients_are_given_up),
        cmocka_unit_test(a_kept_connection_is_closed_when_it_idles),
        cmocka_unit_test(connections_over_the_limit_are_refused),
        cmocka_unit_test(upstream_connections_are_limited_per_endpoint),
        cmocka_unit_test(without_buffers_requests_are_refused_or_cut),
        cmocka_unit_test(a_stop_lets_requests_end_and_closes_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
