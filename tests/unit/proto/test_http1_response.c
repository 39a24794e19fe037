/* Tests of response heads and of trailers parsed as a head. */
#include "http1_feed.h"
#include "test.h"

#include <stdio.h>

static const struct http1_asked PLAIN = {false, false, false};
static const struct http1_asked HEAD = {.head = true};
static const struct http1_asked CONNECT = {.connect = true};
static const struct http1_asked UPGRADE = {.upgrade = true};

static void parse(const char *text, struct http1_asked asked, struct http1_head *head)
{
    struct feed_setup setup = {.kind = HTTP1_RESPONSE, .asked = asked};
    if (feed_head(&setup, bytes_of_str(text), head) != ERR_OK)
        fail_msg("%s: %s", http1_reason_name((enum http1_reason)head->reason), text);
}

static void assert_refused(const char *text, struct http1_asked asked, enum http1_reason expected)
{
    enum http1_reason reason = response_reason(bytes_of_str(text), asked);
    if (reason != expected)
        fail_msg("%s instead of %s: %s", http1_reason_name(reason), http1_reason_name(expected),
                 text);
}

static void a_plain_response_is_parsed(void **state)
{
    (void)state;
    const char *text =
        "HTTP/1.1 404 Not  F\xc3\xb6und\r\nContent-Length: 3\r\nServer: x\r\n\r\nabc";
    struct http1_head head;
    parse(text, PLAIN, &head);
    assert_int_equal(head.status, 404);
    assert_int_equal(head.minor_version, 1);
    assert_true(
        bytes_eq_str(http1_span_bytes(head.phrase, (const uint8_t *)text), "Not  F\xc3\xb6und"));
    assert_int_equal(head.framing, HTTP1_FRAMING_LENGTH);
    assert_int_equal(head.content_length, 3);
    assert_true(head.keep_alive);
    assert_false(head.interim);
    assert_int_equal(head.head_len, strlen(text) - 3);
}

static void a_phrase_may_be_empty_or_missing(void **state)
{
    (void)state;
    struct http1_head head;
    parse("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", PLAIN, &head);
    assert_int_equal(head.phrase.len, 0);
    parse("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", PLAIN, &head);
    assert_int_equal(head.phrase.len, 0);
}

static void malformed_status_lines_are_refused(void **state)
{
    (void)state;
    assert_refused("\r\nHTTP/1.1 200 OK\r\n\r\n", PLAIN, HTTP1_REASON_START_LINE_MALFORMED);
    assert_refused("HTTP/1.1  200 OK\r\n\r\n", PLAIN, HTTP1_REASON_STATUS_INVALID);
    assert_refused("HTTP/1.1 20 OK\r\n\r\n", PLAIN, HTTP1_REASON_STATUS_INVALID);
    assert_refused("HTTP/1.1 2000 OK\r\n\r\n", PLAIN, HTTP1_REASON_STATUS_INVALID);
    assert_refused("HTTP/1.1 x00 OK\r\n\r\n", PLAIN, HTTP1_REASON_STATUS_INVALID);
    assert_refused("HTTP/1.1 2x0 OK\r\n\r\n", PLAIN, HTTP1_REASON_STATUS_INVALID);
    assert_refused("HTTP/1.1 20x OK\r\n\r\n", PLAIN, HTTP1_REASON_STATUS_INVALID);
    assert_refused("HTTP/1.1 099 OK\r\n\r\n", PLAIN, HTTP1_REASON_STATUS_INVALID);
    assert_refused("HTTP/1.1 200\tOK\r\n\r\n", PLAIN, HTTP1_REASON_STATUS_INVALID);
    assert_refused("HTTP/1.1\r\n\r\n", PLAIN, HTTP1_REASON_START_LINE_MALFORMED);
    assert_refused("HTTP/2.0 200 OK\r\n\r\n", PLAIN, HTTP1_REASON_VERSION_UNSUPPORTED);
    assert_refused("ICY 200 OK or so\r\n\r\n", PLAIN, HTTP1_REASON_START_LINE_MALFORMED);
    assert_refused("http/1.1 200 OK\r\n\r\n", PLAIN, HTTP1_REASON_VERSION_MALFORMED);
    assert_refused("HTTP/1.1 200 OK\nX: a\r\n\r\n", PLAIN, HTTP1_REASON_BARE_LF);
}

static void framing_of_a_response_follows_the_rfc(void **state)
{
    (void)state;
    struct http1_head head;
    parse("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", PLAIN, &head);
    assert_int_equal(head.framing, HTTP1_FRAMING_CHUNKED);
    assert_true(head.keep_alive);
    parse("HTTP/1.1 200 OK\r\n\r\n", PLAIN, &head);
    assert_int_equal(head.framing, HTTP1_FRAMING_CLOSE);
    assert_false(head.keep_alive);
    parse("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", HEAD, &head);
    assert_int_equal(head.framing, HTTP1_FRAMING_NONE);
    assert_int_equal(head.content_length, 9);
    assert_true(head.keep_alive);
    parse("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", HEAD, &head);
    assert_int_equal(head.framing, HTTP1_FRAMING_NONE);
    parse("HTTP/1.1 200 OK\r\n\r\n", HEAD, &head);
    assert_int_equal(head.framing, HTTP1_FRAMING_NONE);
    assert_true(head.keep_alive);
    parse("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", PLAIN, &head);
    assert_int_equal(head.framing, HTTP1_FRAMING_NONE);
    parse("HTTP/1.1 204 No Content\r\n\r\n", PLAIN, &head);
    assert_int_equal(head.framing, HTTP1_FRAMING_NONE);
    assert_true(head.keep_alive);
    parse("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", PLAIN, &head);
    assert_int_equal(head.framing, HTTP1_FRAMING_NONE);
}

static void ambiguous_responses_are_refused(void **state)
{
    (void)state;
    assert_refused("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                   PLAIN, HTTP1_REASON_LENGTH_AND_ENCODING);
    assert_refused("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                   HEAD, HTTP1_REASON_LENGTH_AND_ENCODING);
    assert_refused("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", PLAIN,
                   HTTP1_REASON_CONTENT_LENGTH_REPEATED);
    assert_refused("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", PLAIN,
                   HTTP1_REASON_TRANSFER_ENCODING_IN_HTTP10);
    assert_refused("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", PLAIN,
                   HTTP1_REASON_TRANSFER_ENCODING_UNSUPPORTED);
    assert_refused("HTTP/1.1 204 No\r\nTransfer-Encoding: chunked\r\n\r\n", PLAIN,
                   HTTP1_REASON_FRAMING_FORBIDDEN);
    assert_refused("HTTP/1.1 204 No\r\nContent-Length: 1\r\n\r\n", PLAIN,
                   HTTP1_REASON_FRAMING_FORBIDDEN);
    assert_refused("HTTP/1.1 100 C\r\nContent-Length: 1\r\n\r\n", PLAIN,
                   HTTP1_REASON_FRAMING_FORBIDDEN);
    assert_refused("HTTP/1.1 101 S\r\nTransfer-Encoding: chunked\r\n\r\n", UPGRADE,
                   HTTP1_REASON_FRAMING_FORBIDDEN);
}

static void a_1xx_announces_the_real_response(void **state)
{
    (void)state;
    struct http1_head head;
    parse("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n", PLAIN, &head);
    assert_true(head.interim);
    assert_false(head.tunnel);
    assert_int_equal(head.framing, HTTP1_FRAMING_NONE);
    parse("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", HEAD, &head);
    assert_true(head.interim);
}

static void a_tunnel_opens_only_when_it_was_asked_for(void **state)
{
    (void)state;
    struct http1_head head;
    const char *text =
        "HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nws";
    parse(text, UPGRADE, &head);
    assert_true(head.tunnel);
    assert_false(head.interim);
    assert_false(head.keep_alive);
    assert_int_equal(head.upgrade, HTTP1_UPGRADE_WEBSOCKET);
    assert_refused(text, PLAIN, HTTP1_REASON_UPGRADE_UNASKED);
    parse("HTTP/1.1 200 OK\r\n\r\n", CONNECT, &head);
    assert_true(head.tunnel);
    assert_int_equal(head.framing, HTTP1_FRAMING_NONE);
    parse("HTTP/1.1 300 Choices\r\nContent-Length: 2\r\n\r\n", CONNECT, &head);
    assert_false(head.tunnel);
    parse("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\n", CONNECT, &head);
    assert_false(head.tunnel);
    assert_int_equal(head.framing, HTTP1_FRAMING_LENGTH);
    parse("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", UPGRADE, &head);
    assert_false(head.tunnel);
}

static void persistence_of_a_response_follows_version_and_connection(void **state)
{
    (void)state;
    struct http1_head head;
    parse("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", PLAIN, &head);
    assert_false(head.keep_alive);
    parse("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n", PLAIN, &head);
    assert_true(head.keep_alive);
    parse("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", PLAIN, &head);
    assert_false(head.keep_alive);
}

static void a_response_needs_no_host_and_ignores_expect(void **state)
{
    (void)state;
    struct http1_head head;
    parse("HTTP/1.1 200 OK\r\nHost: a b\r\nExpect: nonsense\r\nContent-Length: 0\r\n\r\n", PLAIN,
          &head);
    assert_int_equal(head.host.len, 0);
}

static void a_response_body_over_the_limit_is_refused(void **state)
{
    (void)state;
    struct http1_limits limits = HTTP1_LIMITS_DEFAULT;
    limits.body_max_bytes = 1;
    struct feed_setup setup = {.kind = HTTP1_RESPONSE, .limits = &limits};
    struct bytes message = BYTES_LITERAL("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
    struct http1_head head;
    assert_int_equal(feed_head(&setup, message, &head), ERR_BAD_INPUT);
    assert_int_equal(head.reason, HTTP1_REASON_BODY_TOO_LARGE);
    setup.asked = HEAD;
    assert_int_equal(feed_head(&setup, message, &head), ERR_OK);
}

static enum err parse_trailers(const char *text, struct http1_head *head)
{
    return feed_head(&(struct feed_setup){.kind = HTTP1_TRAILERS}, bytes_of_str(text), head);
}

static void trailers_lose_framing_routing_and_authorization_fields(void **state)
{
    (void)state;
    static const char *const forbidden[] = {
        "Content-Length",
        "Transfer-Encoding",
        "Host",
        "Connection",
        "Trailer",
        "Authorization",
        "Cookie",
        "Set-Cookie",
        "X-Forwarded-For",
        "X-Consul-Token",
        "Expect",
        "Upgrade",
        "TE",
        "Forwarded",
        "Content-Type",
        "X_Underscore",
        "Keep-Alive",
        "Via",
        "Cache-Control",
        "X-Request-Id",
    };
    for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); ++i) {
        char text[128];
        struct http1_head head;
        snprintf(text, sizeof(text), "A: 1\r\n%s: x\r\nGrpc-Status: 0\r\n\r\nnext", forbidden[i]);
        assert_int_equal(parse_trailers(text, &head), ERR_OK);
        assert_int_equal(head.field_count, 2);
        assert_int_equal(head.dropped_count, 1);
        assert_int_equal(head.head_len, strlen(text) - 4);
        assert_true(bytes_eq_str(
            http1_head_find(&head, (const uint8_t *)text, BYTES_LITERAL("grpc-status")), "0"));
    }
}

static void trailers_are_parsed_as_strictly_as_fields(void **state)
{
    (void)state;

    static const struct {
        const char *text;
        enum http1_reason reason;
    } cases[] = {
        {"A: 1\n\r\n", HTTP1_REASON_BARE_LF},
        {"A: 1\r\n\n", HTTP1_REASON_BARE_LF},
        {"A: 1\r\n\rX", HTTP1_REASON_BARE_CR},
        {"A: 1\r\n x\r\n\r\n", HTTP1_REASON_OBS_FOLD},
        {"A : 1\r\n\r\n", HTTP1_REASON_FIELD_NAME_INVALID},
        {"A\r\n\r\n", HTTP1_REASON_FIELD_COLON_MISSING},
        {"A: \x01\r\n\r\n", HTTP1_REASON_CONTROL_BYTE},
    };
    struct http1_head head;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); ++i) {
        assert_int_equal(parse_trailers(cases[i].text, &head), ERR_BAD_INPUT);
        assert_int_equal(head.reason, cases[i].reason);
    }
    assert_int_equal(parse_trailers("\r\n", &head), ERR_OK);
    assert_int_equal(head.head_len, 2);
}

static void trailers_have_limits_of_their_own(void **state)
{
    (void)state;
    struct http1_limits limits = HTTP1_LIMITS_DEFAULT;
    struct feed_setup setup = {.kind = HTTP1_TRAILERS, .limits = &limits};
    struct bytes text = BYTES_LITERAL("A: 1\r\nB: 2\r\n\r\n");
    struct http1_head head;
    limits.trailer_block_max = 14;
    limits.field_count_max = 2;
    assert_int_equal(feed_head(&setup, text, &head), ERR_OK);
    limits.field_count_max = 1;
    assert_int_equal(feed_head(&setup, text, &head), ERR_BAD_INPUT);
    assert_int_equal(head.reason, HTTP1_REASON_TOO_MANY_TRAILERS);
    limits.trailer_block_max = 13;
    limits.field_count_max = 2;
    assert_int_equal(feed_head(&setup, text, &head), ERR_BAD_INPUT);
    assert_int_equal(head.reason, HTTP1_REASON_TRAILERS_TOO_LARGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_response_is_parsed),
        cmocka_unit_test(a_phrase_may_be_empty_or_missing),
        cmocka_unit_test(malformed_status_lines_are_refused),
        cmocka_unit_test(framing_of_a_response_follows_the_rfc),
        cmocka_unit_test(ambiguous_responses_are_refused),
        cmocka_unit_test(a_1xx_announces_the_real_response),
        cmocka_unit_test(a_tunnel_opens_only_when_it_was_asked_for),
        cmocka_unit_test(persistence_of_a_response_follows_version_and_connection),
        cmocka_unit_test(a_response_needs_no_host_and_ignores_expect),
        cmocka_unit_test(a_response_body_over_the_limit_is_refused),
        cmocka_unit_test(trailers_lose_framing_routing_and_authorization_fields),
        cmocka_unit_test(trailers_are_parsed_as_strictly_as_fields),
        cmocka_unit_test(trailers_have_limits_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
