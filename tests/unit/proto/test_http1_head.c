/* Tests of request heads: lines, names, facts, and every rule of the gateway's table about them. */
#include "http1/http1_scan.h"
#include "http1_feed.h"
#include "test.h"

#include <stdio.h>

/* A refused request and why. */
struct refusal {
    struct bytes message;
    enum http1_reason reason;
};

#define REFUSED(text, why)                                                                         \
    {                                                                                              \
        {(const uint8_t *)("" text), sizeof(text) - 1}, HTTP1_REASON_##why                         \
    }
/* A whole request around one or more field lines. */
#define WITH(fields, why) REFUSED("GET / HTTP/1.1\r\nHost: a\r\n" fields "\r\n\r\n", why)
#define POST(fields, why) REFUSED("POST / HTTP/1.1\r\nHost: a\r\n" fields "\r\n\r\n", why)

static void assert_refusals(const struct refusal *cases, size_t count)
{
    for (size_t i = 0; i < count; ++i) {
        enum http1_reason reason = request_reason(cases[i].message);
        if (reason != cases[i].reason)
            fail_msg("%s instead of %s: %.*s", http1_reason_name(reason),
                     http1_reason_name(cases[i].reason), BYTES_PRINT(cases[i].message));
    }
}

#define ASSERT_REFUSALS(cases) assert_refusals(cases, sizeof(cases) / sizeof((cases)[0]))

static void parse(const char *text, struct http1_head *head)
{
    enum err err = feed_head(&(struct feed_setup){.kind = HTTP1_REQUEST}, bytes_of_str(text), head);
    if (err != ERR_OK)
        fail_msg("%s: %s", http1_reason_name((enum http1_reason)head->reason), text);
}

static void assert_span(struct http1_span span, const char *message, const char *expected)
{
    struct bytes text = http1_span_bytes(span, (const uint8_t *)message);
    if (!bytes_eq_str(text, expected))
        fail_msg("'%.*s' instead of '%s'", BYTES_PRINT(text), expected);
}

static void a_plain_request_is_parsed_in_place(void **state)
{
    (void)state;
    const char *text = "GET /a/b?x=1&y=?/ HTTP/1.1\r\nHost: shop.example:8080\r\n"
                       "Accept-encoding:\t gzip \t\r\nX-None:\r\nX-Odd: a b\x80\r\n\r\nrest";
    struct http1_head head;
    parse(text, &head);
    assert_int_equal(head.head_len, strlen(text) - 4);
    assert_int_equal(head.method, HTTP1_METHOD_GET);
    assert_int_equal(head.minor_version, 1);
    assert_int_equal(head.target_form, HTTP1_TARGET_ORIGIN);
    assert_span(head.method_name, text, "GET");
    assert_span(head.target, text, "/a/b?x=1&y=?/");
    assert_span(head.path, text, "/a/b");
    assert_true(head.has_query);
    assert_span(head.query, text, "x=1&y=?/");
    assert_span(head.host, text, "shop.example:8080");
    assert_span(head.host_name, text, "shop.example");
    assert_int_equal(head.port, 8080);
    assert_int_equal(head.field_count, 4);
    assert_span(head.fields[1].name, text, "Accept-encoding");
    assert_span(head.fields[1].value, text, "gzip");
    assert_int_equal(head.fields[1].id, HTTP1_HEADER_ACCEPT_ENCODING);
    assert_span(head.fields[2].value, text, "");
    assert_span(head.fields[3].value, text, "a b\x80");
    assert_int_equal(head.fields[3].end, head.head_len - 2);
    assert_int_equal(head.framing, HTTP1_FRAMING_NONE);
    assert_true(head.keep_alive);
    assert_false(head.expect_continue);
}

static void well_known_fields_are_found_by_index_others_by_name(void **state)
{
    (void)state;
    const char *text = "GET / HTTP/1.1\r\nhOST: a\r\nX-Forwarded-For: 1\r\nX-Mine: first\r\n"
                       "x-forwarded-for: 2\r\nx-mine: second\r\n\r\n";
    const uint8_t *data = (const uint8_t *)text;
    struct http1_head head;
    parse(text, &head);
    assert_true(http1_head_has(&head, HTTP1_HEADER_HOST));
    assert_false(http1_head_has(&head, HTTP1_HEADER_COOKIE));
    assert_null(http1_head_field(&head, HTTP1_HEADER_COOKIE));
    assert_null(http1_head_value(&head, data, HTTP1_HEADER_COOKIE).data);
    const struct http1_field *field = http1_head_field(&head, HTTP1_HEADER_X_FORWARDED_FOR);
    assert_non_null(field);
    assert_span(field->value, text, "1");
    assert_int_equal(field->next, 3);
    assert_span(head.fields[field->next].value, text, "2");
    assert_int_equal(head.fields[field->next].next, HTTP1_NO_FIELD);
    assert_true(bytes_eq_str(http1_head_find(&head, data, BYTES_LITERAL("X-MINE")), "first"));
    assert_true(bytes_eq_str(http1_head_find(&head, data, BYTES_LITERAL("HOST")), "a"));
    assert_null(http1_head_find(&head, data, BYTES_LITERAL("X-Other")).data);
}

static void every_name_of_the_list_recognises_itself_and_nothing_near_it(void **state)
{
    (void)state;
    for (unsigned id = 1; id < HTTP1_HEADER_COUNT; ++id) {
        struct bytes name = http1_header_name((enum http1_header)id);
        char text[64];
        assert_int_equal(bytes_to_cstr(name, text, sizeof(text)), ERR_OK);
        assert_int_equal(http1_header_of(name), id);
        for (size_t i = 0; i < name.len; ++i) {
            text[i] ^= 0x20;
            bool letter = (text[i] | 0x20) >= 'a' && (text[i] | 0x20) <= 'z';
            if (letter)
                assert_int_equal(http1_header_of(bytes_of_str(text)), id);
            text[i] ^= 0x20;
            text[i] ^= 1;
            assert_int_not_equal(http1_header_of(bytes_of_str(text)), id);
            text[i] ^= 1;
        }
        assert_int_not_equal(http1_header_of(bytes_from(name, 1)), id);
    }
    assert_int_equal(http1_header_of(BYTES_LITERAL("")), HTTP1_HEADER_OTHER);
    assert_int_equal(http1_header_of(BYTES_LITERAL("X")), HTTP1_HEADER_OTHER);
}

static void methods_are_exact_tokens_and_unknown_ones_pass(void **state)
{
    (void)state;
    for (unsigned id = 1; id < HTTP1_METHOD_COUNT; ++id)
        assert_int_equal(http1_method_of(http1_method_token((enum http1_method)id)), id);
    assert_int_equal(http1_method_of(BYTES_LITERAL("get")), HTTP1_METHOD_OTHER);
    assert_true(http1_method_is_safe(HTTP1_METHOD_GET));
    assert_false(http1_method_is_safe(HTTP1_METHOD_DELETE));
    assert_false(http1_method_is_safe(HTTP1_METHOD_OTHER));
    assert_true(http1_method_is_idempotent(HTTP1_METHOD_DELETE));
    assert_false(http1_method_is_idempotent(HTTP1_METHOD_OTHER));
    const char *text = "PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n";
    struct http1_head head;
    parse(text, &head);
    assert_int_equal(head.method, HTTP1_METHOD_OTHER);
    assert_span(head.method_name, text, "PROPFIND");
    parse("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEF / HTTP/1.1\r\nHost: a\r\n\r\n", &head);
    assert_int_equal(head.method_name.len, HTTP1_METHOD_MAX);
}

static void one_empty_line_before_a_request_is_ignored(void **state)
{
    (void)state;
    const char *text = "\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n";
    struct http1_head head;
    parse(text, &head);
    assert_span(head.path, text, "/x");
    assert_int_equal(head.head_len, strlen(text));
    static const struct refusal cases[] = {
        REFUSED("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", METHOD_INVALID),
        REFUSED("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", BARE_LF),
    };
    ASSERT_REFUSALS(cases);
}

static void malformed_request_lines_are_refused(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        REFUSED("GET /\r\n\r\n", VERSION_MISSING),
        REFUSED("GET\r\n\r\n", START_LINE_MALFORMED),
        REFUSED("GET \r\n\r\n", START_LINE_MALFORMED),
        REFUSED("GET  / HTTP/1.1\r\n\r\n", START_LINE_MALFORMED),
        REFUSED("GET /  HTTP/1.1\r\n\r\n", START_LINE_MALFORMED),
        REFUSED("GET / HTTP/1.1 \r\n\r\n", START_LINE_MALFORMED),
        REFUSED("GET / x HTTP/1.1\r\n\r\n", START_LINE_MALFORMED),
        REFUSED(" GET / HTTP/1.1\r\n\r\n", METHOD_INVALID),
        REFUSED("GET\t/ HTTP/1.1\r\n\r\n", METHOD_INVALID),
        REFUSED("G(T / HTTP/1.1\r\n\r\n", METHOD_INVALID),
        REFUSED("G\x80T / HTTP/1.1\r\n\r\n", METHOD_INVALID),
        REFUSED("ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG / HTTP/1.1\r\n\r\n", METHOD_TOO_LONG),
        REFUSED("GET / http/1.1\r\n\r\n", VERSION_MALFORMED),
        REFUSED("GET / HTTP/1.\r\n\r\n", VERSION_MALFORMED),
        REFUSED("GET / HTTP/1.11\r\n\r\n", VERSION_MALFORMED),
        REFUSED("GET / HTTP/01.1\r\n\r\n", VERSION_MALFORMED),
        REFUSED("GET / HTTPS/1.1\r\n\r\n", VERSION_MALFORMED),
        REFUSED("GET / HTTP/1.1\t\r\n\r\n", VERSION_MALFORMED),
        REFUSED("GET / \r\n\r\n", VERSION_MALFORMED),
        REFUSED("GET / HTTP/0.9\r\n\r\n", VERSION_UNSUPPORTED),
        REFUSED("GET / HTTP/1.2\r\n\r\n", VERSION_UNSUPPORTED),
        REFUSED("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", VERSION_UNSUPPORTED),
        REFUSED("\x16\x03\x01\x02", CONTROL_BYTE),
    };
    ASSERT_REFUSALS(cases);
}

static void malformed_targets_are_refused(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        REFUSED("GET a HTTP/1.1\r\n\r\n", TARGET_INVALID),
        REFUSED("GET * HTTP/1.1\r\n\r\n", TARGET_INVALID),
        REFUSED("OPTIONS ** HTTP/1.1\r\n\r\n", TARGET_INVALID),
        REFUSED("GET /#f HTTP/1.1\r\n\r\n", TARGET_INVALID),
        REFUSED("GET /?q#f HTTP/1.1\r\n\r\n", TARGET_INVALID),
        REFUSED("GET /a\\b HTTP/1.1\r\n\r\n", TARGET_INVALID),
        REFUSED("GET /\x80 HTTP/1.1\r\n\r\n", TARGET_INVALID),
        REFUSED("GET /a\tb HTTP/1.1\r\n\r\n", TARGET_INVALID),
        REFUSED("GET /?\x80 HTTP/1.1\r\n\r\n", TARGET_INVALID),
        REFUSED("GET ftp://a/ HTTP/1.1\r\n\r\n", TARGET_INVALID),
        REFUSED("GET http:/a/ HTTP/1.1\r\n\r\n", TARGET_INVALID),
        REFUSED("GET http:// HTTP/1.1\r\n\r\n", TARGET_INVALID),
        REFUSED("GET https:// HTTP/1.1\r\n\r\n", TARGET_INVALID),
        REFUSED("GET gopher://a/b HTTP/1.1\r\n\r\n", TARGET_INVALID),
        REFUSED("GET http:///x HTTP/1.1\r\n\r\n", HOST_INVALID),
        REFUSED("GET http://u:p@a/ HTTP/1.1\r\n\r\n", HOST_USERINFO),
        REFUSED("CONNECT /x HTTP/1.1\r\n\r\n", HOST_INVALID),
        REFUSED("CONNECT a HTTP/1.1\r\n\r\n", TARGET_INVALID),
        REFUSED("CONNECT a:0 HTTP/1.1\r\n\r\n", HOST_INVALID),
        REFUSED("CONNECT http://a/ HTTP/1.1\r\n\r\n", HOST_INVALID),
    };
    ASSERT_REFUSALS(cases);
}

static void the_authority_of_an_absolute_target_wins_over_host(void **state)
{
    (void)state;
    const char *text = "GET hTTp://real.example:81/p?q HTTP/1.1\r\nHost: other\r\n\r\n";
    struct http1_head head;
    parse(text, &head);
    assert_int_equal(head.target_form, HTTP1_TARGET_ABSOLUTE);
    assert_span(head.host, text, "real.example:81");
    assert_span(head.host_name, text, "real.example");
    assert_span(head.authority, text, "real.example:81");
    assert_int_equal(head.port, 81);
    assert_span(head.path, text, "/p");
    assert_span(head.query, text, "q");

    text = "GET https://real.example?q HTTP/1.1\r\nHost: other:99\r\n\r\n";
    parse(text, &head);
    assert_span(head.host, text, "real.example");
    assert_int_equal(head.port, 0);
    assert_int_equal(head.path.len, 0);
    assert_span(head.query, text, "q");
    static const struct refusal cases[] = {
        REFUSED("GET http://a/ HTTP/1.1\r\n\r\n", HOST_MISSING),
        REFUSED("GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", HOST_REPEATED),
        REFUSED("GET http://a/ HTTP/1.1\r\nHost: a b\r\n\r\n", HOST_INVALID),
    };
    ASSERT_REFUSALS(cases);
}

static void other_target_forms_belong_to_their_methods(void **state)
{
    (void)state;
    const char *text = "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n";
    struct http1_head head;
    parse(text, &head);
    assert_int_equal(head.target_form, HTTP1_TARGET_ASTERISK);
    assert_int_equal(head.path.len, 0);
    text = "CONNECT db.example:5432 HTTP/1.1\r\nHost: a\r\n\r\n";
    parse(text, &head);
    assert_int_equal(head.target_form, HTTP1_TARGET_AUTHORITY);
    assert_span(head.host_name, text, "db.example");
    assert_int_equal(head.port, 5432);
}

static void there_is_exactly_one_valid_host(void **state)
{
    (void)state;
    static const char *const valid[] = {"a",           "A-b.c_d~1",         "a:1",
                                        "a:65535",     "127.0.0.1:80",      "[::1]",
                                        "[::]",        "[::1]:80",          "[1::2:3]",
                                        "[::1.2.3.4]", "[1:2:3:4:5:6:7:8]", "[1:2:3:4:5:6:1.2.3.4]",
                                        "[fe80::]",    "[::255.10.100.0]",  "[1:2:3:4:5:6:7::]",
                                        "[1::1.2.3.4]"};
    for (size_t i = 0; i < sizeof(valid) / sizeof(valid[0]); ++i) {
        char text[128];
        struct http1_head head;
        snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: %s\r\n\r\n", valid[i]);
        parse(text, &head);
        assert_span(head.host, text, valid[i]);
    }
    static const struct refusal cases[] = {
        REFUSED("GET / HTTP/1.1\r\n\r\n", HOST_MISSING),
        REFUSED("GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", HOST_REPEATED),
        REFUSED("GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n", HOST_REPEATED),
        REFUSED("GET / HTTP/1.1\r\nHost:\r\n\r\n", HOST_INVALID),
        REFUSED("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", HOST_USERINFO),
        REFUSED("GET / HTTP/1.1\r\nHost: a:80@b\r\n\r\n", HOST_USERINFO),
        REFUSED("GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", HOST_INVALID),
        REFUSED("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", HOST_INVALID),
        REFUSED("GET / HTTP/1.1\r\nHost: a%2eb\r\n\r\n", HOST_INVALID),
        REFUSED("GET / HTTP/1.1\r\nHost: a\x80\r\n\r\n", HOST_INVALID),
        REFUSED("GET / HTTP/1.1\r\nHost: a:\r\n\r\n", HOST_INVALID),
        REFUSED("GET / HTTP/1.1\r\nHost: :80\r\n\r\n", HOST_INVALID),
        REFUSED("GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n", HOST_INVALID),
        REFUSED("GET / HTTP/1.1\r\nHost: a:123456\r\n\r\n", HOST_INVALID),
        REFUSED("GET / HTTP/1.1\r\nHost: a:8x\r\n\r\n", HOST_INVALID),
        REFUSED("GET / HTTP/1.1\r\nHost: a:+8\r\n\r\n", HOST_INVALID),
        REFUSED("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", HOST_INVALID),
        REFUSED("GET / HTTP/1.1\r\nHost: [::1]x\r\n\r\n", HOST_INVALID),
        REFUSED("GET / HTTP/1.1\r\nHost: []\r\n\r\n", HOST_INVALID),
        REFUSED("GET / HTTP/1.1\r\nHost: [1:2]\r\n\r\n", HOST_INVALID),
        REFUSED("GET / HTTP/1.1\r\nHost: [:::]\r\n\r\n", HOST_INVALID),
        REFUSED("GET / HTTP/1.1\r\nHost: [1:]\r\n\r\n", HOST_INVALID),
        REFUSED("GET / HTTP/1.1\r\nHost: [12345::]\r\n\r\n", HOST_INVALID),
        REFUSED("GET / HTTP/1.1\r\nHost: [::1::]\r\n\r\n", HOST_INVALID),
        REFUSED("GET / HTTP/1.1\r\nHost: [1:2:3:4:5:6:7:8:9]\r\n\r\n", HOST_INVALID),
        REFUSED("GET / HTTP/1.1\r\nHost: [::1.2.3]\r\n\r\n", HOST_INVALID),
        REFUSED("GET / HTTP/1.1\r\nHost: [::1.2.3.256]\r\n\r\n", HOST_INVALID),
        REFUSED("GET / HTTP/1.1\r\nHost: [::1.2.3.4:5]\r\n\r\n", HOST_INVALID),
        REFUSED("GET / HTTP/1.1\r\nHost: [::1.2.3.04]\r\n\r\n", HOST_INVALID),
        REFUSED("GET / HTTP/1.1\r\nHost: [::1.2.3.1000]\r\n\r\n", HOST_INVALID),
        REFUSED("GET / HTTP/1.1\r\nHost: [::1.2.3.4.5]\r\n\r\n", HOST_INVALID),
        REFUSED("GET / HTTP/1.1\r\nHost: [1::2:3:4:5:6:7:8]\r\n\r\n", HOST_INVALID),
        REFUSED("GET / HTTP/1.1\r\nHost: [1:2:3:4:5:6::1.2.3.4]\r\n\r\n", HOST_INVALID),
        REFUSED("GET / HTTP/1.1\r\nHost: a:000080\r\n\r\n", HOST_INVALID),
        REFUSED("GET / HTTP/1.1\r\nHost: [fe80::1%25eth0]\r\n\r\n", HOST_INVALID),
    };
    ASSERT_REFUSALS(cases);
    struct http1_head head;
    parse("GET / HTTP/1.0\r\n\r\n", &head);
    assert_int_equal(head.host.len, 0);
}

static void only_crlf_ends_a_line(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        REFUSED("GET / HTTP/1.1\nHost: a\r\n\r\n", BARE_LF),
        REFUSED("GET / HTTP/1.1\r\nHost: a\n\r\n", BARE_LF),
        REFUSED("GET / HTTP/1.1\r\nHost: a\r\n\n", BARE_LF),
        REFUSED("GET / HTTP/1.1\r\nHost: a\r\n\rX", BARE_CR),
        REFUSED("GET / HTTP/1.1\r\nHost: a\r\n\r\r\n", BARE_CR),
        REFUSED("GET / HTTP/1.1\rHost: a\r\n\r\n", BARE_CR),
        REFUSED("GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", BARE_CR),
        REFUSED("GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", BARE_CR),
        REFUSED("GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", BARE_CR),
    };
    ASSERT_REFUSALS(cases);
}

static void no_control_byte_passes_anywhere(void **state)
{
    (void)state;
    const char *message = "GET /path HTTP/1.1\r\nHost: a\r\nX-Name: value\r\n\r\n";
    size_t len = strlen(message);
    for (int byte = 0; byte < 256; ++byte) {
        if ((byte >= ' ' && byte != 0x7f) || byte == '\r' || byte == '\n')
            continue;
        for (size_t at = 0; at < len; ++at) {
            char copy[64];
            memcpy(copy, message, len);
            if (copy[at] == '\r' || copy[at] == '\n')
                continue;
            copy[at] = (char)byte;
            enum http1_reason reason = request_reason(bytes_of(copy, len));
            bool in_value = at >= 37 && at < 42;
            if (byte == '\t')
                assert_int_equal(reason == HTTP1_REASON_NONE, in_value || at == 36 || at == 25);
            else
                assert_int_equal(reason, HTTP1_REASON_CONTROL_BYTE);
        }
    }
}

static void malformed_field_lines_are_refused(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        WITH("X: a\r\n folded", OBS_FOLD),
        WITH("X: a\r\n\tfolded", OBS_FOLD),
        WITH(" X: a", OBS_FOLD),
        WITH("X: a\r\n Content-Length: 5", OBS_FOLD),
        WITH("X: a\r\n ", OBS_FOLD),
        REFUSED("GET / HTTP/1.1\r\n Host: a\r\n\r\n", OBS_FOLD),
        WITH("X : a", FIELD_NAME_INVALID),
        WITH("X\t: a", FIELD_NAME_INVALID),
        WITH("Transfer-Encoding : chunked", FIELD_NAME_INVALID),
        WITH(": a", FIELD_NAME_INVALID),
        WITH("X(y): a", FIELD_NAME_INVALID),
        WITH("X\x80: a", FIELD_NAME_INVALID),
        WITH("\"X\": a", FIELD_NAME_INVALID),
        WITH("X", FIELD_COLON_MISSING),
        WITH("Content-Length", FIELD_COLON_MISSING),
    };
    ASSERT_REFUSALS(cases);
}

static void names_with_underscores_are_dropped_refused_or_kept(void **state)
{
    (void)state;
    const char *text = "GET / HTTP/1.1\r\nHost: a\r\nContent_Length: 5\r\nX_A: b\r\nZ: 1\r\n\r\n";
    struct http1_head head;
    parse(text, &head);
    assert_int_equal(head.field_count, 2);
    assert_int_equal(head.dropped_count, 2);
    assert_span(head.fields[1].name, text, "Z");
    struct http1_limits limits = HTTP1_LIMITS_DEFAULT;
    struct feed_setup setup = {.kind = HTTP1_REQUEST, .limits = &limits};
    limits.underscore = HTTP1_UNDERSCORE_REFUSE;
    assert_int_equal(feed_head(&setup, bytes_of_str(text), &head), ERR_BAD_INPUT);
    assert_int_equal(head.reason, HTTP1_REASON_FIELD_NAME_UNDERSCORE);
    limits.underscore = HTTP1_UNDERSCORE_KEEP;
    assert_int_equal(feed_head(&setup, bytes_of_str(text), &head), ERR_OK);
    assert_int_equal(head.field_count, 4);
    setup.kind = HTTP1_RESPONSE;
    limits.underscore = HTTP1_UNDERSCORE_DROP;
    assert_int_equal(feed_head(&setup, BYTES_LITERAL("HTTP/1.1 200 OK\r\nX_A: b\r\n\r\n"), &head),
                     ERR_OK);
    assert_int_equal(head.field_count, 1);
}

static void length_and_coding_together_are_refused(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        POST("Content-Length: 5\r\nTransfer-Encoding: chunked", LENGTH_AND_ENCODING),
        POST("Transfer-Encoding: chunked\r\nContent-Length: 5", LENGTH_AND_ENCODING),
        POST("Transfer-Encoding: chunked\r\nContent-Length: 0", LENGTH_AND_ENCODING),
        POST("Transfer-Encoding: x\r\nContent-Length: y", LENGTH_AND_ENCODING),
        WITH("Content-Length: 5\r\nTransfer-Encoding: chunked", LENGTH_AND_ENCODING),
    };
    ASSERT_REFUSALS(cases);
}

static void the_only_transfer_encoding_is_one_field_that_says_chunked(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        POST("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
             TRANSFER_ENCODING_REPEATED),
        POST("Transfer-Encoding: chunked\r\nTransfer-encoding: identity",
             TRANSFER_ENCODING_REPEATED),
        POST("Transfer-Encoding: chunked, chunked", TRANSFER_ENCODING_LIST),
        POST("Transfer-Encoding: gzip, chunked", TRANSFER_ENCODING_LIST),
        POST("Transfer-Encoding: chunked,", TRANSFER_ENCODING_LIST),
        POST("Transfer-Encoding: ,chunked", TRANSFER_ENCODING_LIST),
        POST("Transfer-Encoding: gzip", TRANSFER_ENCODING_UNSUPPORTED),
        POST("Transfer-Encoding: identity", TRANSFER_ENCODING_UNSUPPORTED),
        POST("Transfer-Encoding: xchunked", TRANSFER_ENCODING_UNSUPPORTED),
        POST("Transfer-Encoding: chunkedx", TRANSFER_ENCODING_UNSUPPORTED),
        POST("Transfer-Encoding:", TRANSFER_ENCODING_INVALID),
        POST("Transfer-Encoding: chunked;q=1", TRANSFER_ENCODING_INVALID),
        POST("Transfer-Encoding: \"chunked\"", TRANSFER_ENCODING_INVALID),
        POST("Transfer-Encoding: chunked x", TRANSFER_ENCODING_INVALID),
        POST("Transfer-Encoding: chunked\x80", TRANSFER_ENCODING_INVALID),
        POST("Transfer-Encoding: \x0b"
             "chunked",
             CONTROL_BYTE),
        POST("Transfer-Encoding: chunked\r\n , identity", OBS_FOLD),
        REFUSED("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
                TRANSFER_ENCODING_IN_HTTP10),
        REFUSED("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n",
                TRANSFER_ENCODING_IN_HTTP10),
    };
    ASSERT_REFUSALS(cases);
    struct http1_head head;
    parse("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \tCHUNked \r\n\r\n", &head);
    assert_int_equal(head.framing, HTTP1_FRAMING_CHUNKED);
}

static void content_length_is_one_decimal_number(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        POST("Content-Length: 5\r\nContent-Length: 5", CONTENT_LENGTH_REPEATED),
        POST("Content-Length: 5\r\ncontent-length: 6", CONTENT_LENGTH_REPEATED),
        POST("Content-Length: 5, 5", CONTENT_LENGTH_INVALID),
        POST("Content-Length: 5,", CONTENT_LENGTH_INVALID),
        POST("Content-Length:", CONTENT_LENGTH_INVALID),
        POST("Content-Length: +5", CONTENT_LENGTH_INVALID),
        POST("Content-Length: -5", CONTENT_LENGTH_INVALID),
        POST("Content-Length: 0x5", CONTENT_LENGTH_INVALID),
        POST("Content-Length: 5 5", CONTENT_LENGTH_INVALID),
        POST("Content-Length: 5_0", CONTENT_LENGTH_INVALID),
        POST("Content-Length: 5.0", CONTENT_LENGTH_INVALID),
        POST("Content-Length: \"5\"", CONTENT_LENGTH_INVALID),
        POST("Content-Length: 5\xb2", CONTENT_LENGTH_INVALID),
        POST("Content-Length: 9223372036854775808", CONTENT_LENGTH_INVALID),
        POST("Content-Length: 18446744073709551616", CONTENT_LENGTH_INVALID),
        POST("Content-Length: 99999999999999999999", CONTENT_LENGTH_INVALID),
    };
    ASSERT_REFUSALS(cases);
    struct http1_head head;
    parse("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\n", &head);
    assert_int_equal(head.framing, HTTP1_FRAMING_LENGTH);
    assert_int_equal(head.content_length, INT64_MAX);
    parse("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", &head);
    assert_int_equal(head.framing, HTTP1_FRAMING_LENGTH);
    assert_int_equal(head.content_length, 0);
}

static void framing_never_depends_on_the_method(void **state)
{
    (void)state;
    static const char *const methods[] = {"GET",     "HEAD",  "POST",  "PUT", "DELETE",
                                          "OPTIONS", "PATCH", "TRACE", "FOO"};
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); ++i) {
        char text[128];
        struct http1_head head;
        snprintf(text, sizeof(text),
                 "%s / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", methods[i]);
        parse(text, &head);
        assert_int_equal(head.framing, HTTP1_FRAMING_CHUNKED);
        snprintf(text, sizeof(text), "%s / HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\n",
                 methods[i]);
        parse(text, &head);
        assert_int_equal(head.framing, HTTP1_FRAMING_LENGTH);
        assert_int_equal(head.content_length, 7);
        snprintf(text, sizeof(text), "%s / HTTP/1.1\r\nHost: a\r\n\r\n", methods[i]);
        parse(text, &head);
        assert_int_equal(head.framing, HTTP1_FRAMING_NONE);
    }
}

static void a_body_over_the_limit_is_refused_by_its_length(void **state)
{
    (void)state;
    struct http1_limits limits = HTTP1_LIMITS_DEFAULT;
    limits.body_max_bytes = 10;
    struct feed_setup setup = {.kind = HTTP1_REQUEST, .limits = &limits};
    struct http1_head head;
    assert_int_equal(
        feed_head(&setup, BYTES_LITERAL("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n"),
                  &head),
        ERR_BAD_INPUT);
    assert_int_equal(head.reason, HTTP1_REASON_BODY_TOO_LARGE);
    assert_int_equal(
        feed_head(&setup, BYTES_LITERAL("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"),
                  &head),
        ERR_OK);
}

static void persistence_follows_version_and_connection(void **state)
{
    (void)state;

    static const struct {
        const char *text;
        bool keep_alive;
    } cases[] = {
        {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", true},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: foo,  Close\r\n\r\n", false},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: foo\r\nConnection: close\r\n\r\n", false},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n", true},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, close\r\n\r\n", false},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection:\r\n\r\n", true},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: ,, ,close,\r\n\r\n", false},
        {"GET / HTTP/1.0\r\nHost: a\r\n\r\n", false},
        {"GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n", true},
        {"GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive, close\r\n\r\n", false},
        {"GET / HTTP/1.1\r\nHost: a\r\nProxy-Connection: close\r\n\r\n", true},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); ++i) {
        struct http1_head head;
        parse(cases[i].text, &head);
        assert_int_equal(head.keep_alive, cases[i].keep_alive);
    }
    static const struct refusal refused[] = {
        WITH("Connection: a b", CONNECTION_INVALID),
        WITH("Connection: \"close\"", CONNECTION_INVALID),
        WITH("Connection: close;x", CONNECTION_INVALID),
        WITH("Connection: close, host", CONNECTION_PROTECTED),
        WITH("Connection: Content-Length", CONNECTION_PROTECTED),
        WITH("Connection: x\r\nConnection: TRANSFER-encoding", CONNECTION_PROTECTED),
    };
    ASSERT_REFUSALS(refused);
}

static void only_100_continue_may_be_expected(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        POST("Expect: 200-ok", EXPECT_UNSUPPORTED),
        POST("Expect:", EXPECT_UNSUPPORTED),
        POST("Expect: 100-continue, x", EXPECT_UNSUPPORTED),
        POST("Expect: 100-continue;a=b", EXPECT_UNSUPPORTED),
        POST("Expect: 100-continue\r\nExpect: 100-continue", EXPECT_UNSUPPORTED),
    };
    ASSERT_REFUSALS(cases);
    struct http1_head head;
    parse("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n", &head);
    assert_true(head.expect_continue);
    parse("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n",
          &head);
    assert_true(head.expect_continue);
    parse("PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", &head);
    assert_false(head.expect_continue);
    parse("PUT / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n", &head);
    assert_false(head.expect_continue);
}

static void an_upgrade_counts_when_connection_says_so(void **state)
{
    (void)state;

    static const struct {
        const char *text;
        enum http1_upgrade upgrade;
    } cases[] = {
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n",
         HTTP1_UPGRADE_WEBSOCKET},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: a, upgrade\r\nUpgrade: websocket\r\n\r\n",
         HTTP1_UPGRADE_WEBSOCKET},
        {"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", HTTP1_UPGRADE_NONE},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n\r\n", HTTP1_UPGRADE_NONE},
        {"GET / HTTP/1.0\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
         HTTP1_UPGRADE_NONE},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade, http2-settings\r\nUpgrade: h2c\r\n\r\n",
         HTTP1_UPGRADE_OTHER},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket, h2c\r\n\r\n",
         HTTP1_UPGRADE_OTHER},
        {"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
         "Upgrade: websocket\r\n\r\n",
         HTTP1_UPGRADE_OTHER},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); ++i) {
        struct http1_head head;
        parse(cases[i].text, &head);
        assert_int_equal(head.upgrade, cases[i].upgrade);
    }
}

static void comma_lists_are_searched_by_element(void **state)
{
    (void)state;
    const char *text = "GET / HTTP/1.1\r\nHost: a\r\nTE: gzip\r\nTE: , Trailers\r\n"
                       "Accept-Encoding: gzip;q=1, br\r\n\r\n";
    struct http1_head head;
    parse(text, &head);
    assert_true(head.te_trailers);
    const uint8_t *data = (const uint8_t *)text;
    assert_true(http1_head_lists(&head, data, HTTP1_HEADER_ACCEPT_ENCODING, BYTES_LITERAL("BR")));
    assert_false(
        http1_head_lists(&head, data, HTTP1_HEADER_ACCEPT_ENCODING, BYTES_LITERAL("gzip")));
    assert_false(http1_head_lists(&head, data, HTTP1_HEADER_COOKIE, BYTES_LITERAL("br")));
}

static void an_unfinished_head_asks_for_more(void **state)
{
    (void)state;
    const char *text = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    struct http1_head head;
    for (size_t len = 0; len < strlen(text); ++len)
        assert_int_equal(
            feed_head(&(struct feed_setup){.kind = HTTP1_REQUEST}, bytes_of(text, len), &head),
            ERR_INCOMPLETE);
}

/* A message of prefix, count bytes 'a', suffix; owned by the caller as a buffer. */
static void build(struct buf *to, const char *prefix, size_t count, const char *suffix)
{
    buf_clear(to);
    assert_int_equal(buf_append(to, bytes_of_str(prefix)), ERR_OK);
    for (size_t i = 0; i < count; ++i)
        assert_int_equal(buf_append(to, BYTES_LITERAL("a")), ERR_OK);
    assert_int_equal(buf_append(to, bytes_of_str(suffix)), ERR_OK);
}

static void a_host_name_may_be_255_bytes(void **state)
{
    (void)state;
    struct buf message;
    buf_init(&message, HTTP1_HEAD_MAX);
    build(&message, "GET / HTTP/1.1\r\nHost: ", 255, ":1\r\n\r\n");
    assert_int_equal(request_reason(buf_bytes(&message)), HTTP1_REASON_NONE);
    build(&message, "GET / HTTP/1.1\r\nHost: ", 256, ":1\r\n\r\n");
    assert_int_equal(request_reason(buf_bytes(&message)), HTTP1_REASON_HOST_INVALID);
    buf_done(&message);
}

static void a_start_line_may_be_8192_bytes_and_no_more(void **state)
{
    (void)state;
    struct buf message;
    buf_init(&message, HTTP1_HEAD_MAX * 2);
    size_t rest = strlen("GET / HTTP/1.1");
    build(&message, "GET /", HTTP1_START_LINE_MAX - rest, " HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_int_equal(request_reason(buf_bytes(&message)), HTTP1_REASON_NONE);
    build(&message, "GET /", HTTP1_START_LINE_MAX - rest + 1, " HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_int_equal(request_reason(buf_bytes(&message)), HTTP1_REASON_START_LINE_TOO_LONG);
    build(&message, "GET /", HTTP1_START_LINE_MAX, "");
    assert_int_equal(request_reason(buf_bytes(&message)), HTTP1_REASON_START_LINE_TOO_LONG);
    buf_done(&message);
}

static void a_field_block_may_be_32768_bytes_and_no_more(void **state)
{
    (void)state;
    struct buf message;
    buf_init(&message, HTTP1_HEAD_MAX * 2);
    size_t rest = strlen("Host: a\r\nX: \r\n\r\n");
    const char *start = "\r\nGET / HTTP/1.1\r\nHost: a\r\nX: ";
    build(&message, start, HTTP1_FIELD_BLOCK_MAX - rest, "\r\n\r\n");
    assert_int_equal(request_reason(buf_bytes(&message)), HTTP1_REASON_NONE);
    build(&message, start, HTTP1_FIELD_BLOCK_MAX - rest + 1, "\r\n\r\n");
    assert_int_equal(request_reason(buf_bytes(&message)), HTTP1_REASON_FIELDS_TOO_LARGE);
    build(&message, start, HTTP1_FIELD_BLOCK_MAX, "");
    assert_int_equal(request_reason(buf_bytes(&message)), HTTP1_REASON_FIELDS_TOO_LARGE);
    buf_done(&message);
}

static void a_head_at_all_limits_at_once_fits_its_offsets(void **state)
{
    (void)state;
    struct buf message;
    buf_init(&message, HTTP1_HEAD_MAX * 2);
    build(&message, "\r\nGET /", HTTP1_START_LINE_MAX - strlen("GET / HTTP/1.1"), " HTTP/1.1\r\n");
    for (int i = 0; i < 98; ++i)
        assert_int_equal(buf_append(&message, BYTES_LITERAL("Cookie: x\r\n")), ERR_OK);
    assert_int_equal(buf_append(&message, BYTES_LITERAL("Host: h\r\nZ: ")), ERR_OK);
    while (message.len < HTTP1_HEAD_MAX - 4)
        assert_int_equal(buf_append(&message, BYTES_LITERAL("z")), ERR_OK);
    assert_int_equal(buf_append(&message, BYTES_LITERAL("\r\n\r\nbody")), ERR_OK);
    struct http1_head head;
    assert_int_equal(
        feed_head(&(struct feed_setup){.kind = HTTP1_REQUEST}, buf_bytes(&message), &head), ERR_OK);
    assert_int_equal(head.head_len, HTTP1_HEAD_MAX);
    assert_int_equal(head.field_count, HTTP1_FIELD_COUNT_MAX);
    struct bytes host = http1_span_bytes(head.host, message.data);
    assert_true(bytes_eq_str(host, "h"));
    buf_done(&message);
}

static void there_may_be_100_fields_dropped_ones_included(void **state)
{
    (void)state;
    struct buf message;
    buf_init(&message, HTTP1_HEAD_MAX * 2);
    build(&message, "GET / HTTP/1.1\r\nHost: a\r\n", 0, "");
    for (int i = 1; i < HTTP1_FIELD_COUNT_MAX; ++i)
        assert_int_equal(buf_append(&message, bytes_of_str(i % 2 ? "X: y\r\n" : "X_: y\r\n")),
                         ERR_OK);
    size_t len = message.len;
    assert_int_equal(buf_append(&message, BYTES_LITERAL("\r\n")), ERR_OK);
    assert_int_equal(request_reason(buf_bytes(&message)), HTTP1_REASON_NONE);
    message.len = len;
    assert_int_equal(buf_append(&message, BYTES_LITERAL("X: y\r\n\r\n")), ERR_OK);
    assert_int_equal(request_reason(buf_bytes(&message)), HTTP1_REASON_TOO_MANY_FIELDS);
    buf_done(&message);
}

static void limits_can_be_lowered(void **state)
{
    (void)state;
    struct http1_limits limits = HTTP1_LIMITS_DEFAULT;
    struct feed_setup setup = {.kind = HTTP1_REQUEST, .limits = &limits};
    struct bytes message = BYTES_LITERAL("GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n");
    struct http1_head head;
    limits.start_line_max = 14;
    limits.field_block_max = 17;
    limits.field_count_max = 2;
    assert_int_equal(feed_head(&setup, message, &head), ERR_OK);
    limits.field_count_max = 1;
    assert_int_equal(feed_head(&setup, message, &head), ERR_BAD_INPUT);
    assert_int_equal(head.reason, HTTP1_REASON_TOO_MANY_FIELDS);
    limits.field_block_max = 16;
    limits.field_count_max = 2;
    assert_int_equal(feed_head(&setup, message, &head), ERR_BAD_INPUT);
    assert_int_equal(head.reason, HTTP1_REASON_FIELDS_TOO_LARGE);
    limits.start_line_max = 13;
    assert_int_equal(feed_head(&setup, message, &head), ERR_BAD_INPUT);
    assert_int_equal(head.reason, HTTP1_REASON_START_LINE_TOO_LONG);
}

static void every_reason_has_a_stable_name_and_a_status(void **state)
{
    (void)state;
    for (unsigned i = 1; i < HTTP1_REASON_COUNT; ++i) {
        enum http1_reason reason = (enum http1_reason)i;
        uint16_t status = http1_reason_status(reason);
        assert_true(http1_status_phrase(status).len > 0);
        assert_in_range(status, 400, 505);
        assert_true(strlen(http1_reason_text(reason)) > 10);
        for (const char *at = http1_reason_name(reason); *at != '\0'; ++at)
            assert_true(*at == '_' || (*at >= 'a' && *at <= 'z') || (*at >= '0' && *at <= '9'));
    }
    assert_int_equal(http1_reason_status(HTTP1_REASON_START_LINE_TOO_LONG), 414);
    assert_int_equal(http1_reason_status(HTTP1_REASON_FIELDS_TOO_LARGE), 431);
    assert_int_equal(http1_reason_status(HTTP1_REASON_BODY_TOO_LARGE), 413);
    assert_int_equal(http1_reason_status(HTTP1_REASON_EXPECT_UNSUPPORTED), 417);
    assert_int_equal(http1_reason_status(HTTP1_REASON_TRANSFER_ENCODING_UNSUPPORTED), 501);
    assert_int_equal(http1_reason_status(HTTP1_REASON_VERSION_UNSUPPORTED), 505);
    assert_int_equal(http1_reason_status(HTTP1_REASON_LENGTH_AND_ENCODING), 400);
}

static void the_fast_scan_stops_where_the_portable_one_does(void **state)
{
    (void)state;
    uint8_t text[80];
    for (int byte = 0; byte < 256; ++byte) {
        for (size_t at = 0; at < 40; ++at) {
            memset(text, 'a', sizeof(text));
            text[at] = (uint8_t)byte;
            text[at + 20] = '\n';
            for (size_t begin = 0; begin < 18; ++begin)
                assert_int_equal(http1_scan_text(text, begin, 59),
                                 http1_scan_text_portable(text, begin, 59));
        }
    }
    assert_int_equal(http1_scan_text_portable((const uint8_t *)"a\t\x80\x7f", 0, 4), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_plain_request_is_parsed_in_place),
        cmocka_unit_test(well_known_fields_are_found_by_index_others_by_name),
        cmocka_unit_test(every_name_of_the_list_recognises_itself_and_nothing_near_it),
        cmocka_unit_test(methods_are_exact_tokens_and_unknown_ones_pass),
        cmocka_unit_test(one_empty_line_before_a_request_is_ignored),
        cmocka_unit_test(malformed_request_lines_are_refused),
        cmocka_unit_test(malformed_targets_are_refused),
        cmocka_unit_test(the_authority_of_an_absolute_target_wins_over_host),
        cmocka_unit_test(other_target_forms_belong_to_their_methods),
        cmocka_unit_test(there_is_exactly_one_valid_host),
        cmocka_unit_test(only_crlf_ends_a_line),
        cmocka_unit_test(no_control_byte_passes_anywhere),
        cmocka_unit_test(malformed_field_lines_are_refused),
        cmocka_unit_test(names_with_underscores_are_dropped_refused_or_kept),
        cmocka_unit_test(length_and_coding_together_are_refused),
        cmocka_unit_test(the_only_transfer_encoding_is_one_field_that_says_chunked),
        cmocka_unit_test(content_length_is_one_decimal_number),
        cmocka_unit_test(framing_never_depends_on_the_method),
        cmocka_unit_test(a_body_over_the_limit_is_refused_by_its_length),
        cmocka_unit_test(persistence_follows_version_and_connection),
        cmocka_unit_test(only_100_continue_may_be_expected),
        cmocka_unit_test(an_upgrade_counts_when_connection_says_so),
        cmocka_unit_test(comma_lists_are_searched_by_element),
        cmocka_unit_test(an_unfinished_head_asks_for_more),
        cmocka_unit_test(a_host_name_may_be_255_bytes),
        cmocka_unit_test(a_start_line_may_be_8192_bytes_and_no_more),
        cmocka_unit_test(a_field_block_may_be_32768_bytes_and_no_more),
        cmocka_unit_test(a_head_at_all_limits_at_once_fits_its_offsets),
        cmocka_unit_test(there_may_be_100_fields_dropped_ones_included),
        cmocka_unit_test(limits_can_be_lowered),
        cmocka_unit_test(the_fast_scan_stops_where_the_portable_one_does),
        cmocka_unit_test(every_reason_has_a_stable_name_and_a_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
