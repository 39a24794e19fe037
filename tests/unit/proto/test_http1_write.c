/* Tests of what goes out: heads, chunks, dates, pieces, and the fields that a relay removes. */
#include "http1/http1_hop.h"
#include "http1/http1_write.h"
#include "http1_feed.h"

#include "test.h"

#include <time.h>

struct sink {
    struct buf buf;
    struct writer w;
};

static void sink_init(struct sink *sink)
{
    buf_init(&sink->buf, 65536);
    sink->w = writer_of(&sink->buf);
}

static void assert_written(struct sink *sink, const char *expected)
{
    assert_int_equal(sink->w.err, ERR_OK);
    if (!bytes_eq_str(buf_bytes(&sink->buf), expected))
        fail_msg("'%.*s' instead of '%s'", BYTES_PRINT(buf_bytes(&sink->buf)), expected);
    buf_done(&sink->buf);
}

static void a_request_head_is_written_and_parses_back(void **state)
{
    (void)state;
    struct sink sink;
    sink_init(&sink);
    http1_write_request_line(&sink.w, http1_method_token(HTTP1_METHOD_PUT), BYTES_LITERAL("/a?b"));
    http1_write_header(&sink.w, HTTP1_HEADER_HOST, BYTES_LITERAL("h:1"));
    http1_write_header_u64(&sink.w, HTTP1_HEADER_CONTENT_LENGTH, UINT64_C(9223372036854775807));
    http1_write_field(&sink.w, BYTES_LITERAL("X-Any"), BYTES_LITERAL("a b\xc3\xb6"));
    http1_write_field(&sink.w, BYTES_LITERAL("X-Empty"), BYTES_LITERAL(""));
    http1_write_end(&sink.w);
    assert_int_equal(request_reason(buf_bytes(&sink.buf)), HTTP1_REASON_NONE);
    assert_written(&sink, "PUT /a?b HTTP/1.1\r\nHost: h:1\r\n"
                          "Content-Length: 9223372036854775807\r\nX-Any: a b\xc3\xb6\r\n"
                          "X-Empty: \r\n\r\n");
}

static void a_status_line_has_the_registered_phrase(void **state)
{
    (void)state;
    struct sink sink;
    sink_init(&sink);
    http1_write_status_line(&sink.w, 404);
    http1_write_status_line(&sink.w, 299);
    http1_write_header_u64(&sink.w, HTTP1_HEADER_CONTENT_LENGTH, 0);
    assert_written(&sink, "HTTP/1.1 404 Not Found\r\nHTTP/1.1 299 \r\nContent-Length: 0\r\n");
}

static void nothing_that_splits_a_message_is_written(void **state)
{
    (void)state;

    static const struct {
        const char *name;
        const char *value;
    } fields[] = {{"X", "a\r\nEvil: b"}, {"X", "a\nb"}, {"X", "a\rb"},
                  {"X", "a\x01"},        {"X", " a"},   {"X", "a\t"},
                  {"X:", "a"},           {"X Y", "a"},  {"", "a"},
                  {"X\r\n", ""},         {"X\x80", "a"}};

    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); ++i) {
        struct sink sink;
        sink_init(&sink);
        http1_write_field(&sink.w, bytes_of_str(fields[i].name), bytes_of_str(fields[i].value));
        assert_int_equal(sink.w.err, ERR_BAD_INPUT);
        assert_int_equal(sink.buf.len, 0);
        http1_write_end(&sink.w);
        assert_int_equal(sink.buf.len, 0);
        buf_done(&sink.buf);
    }

    static const struct {
        const char *method;
        const char *target;
    } lines[] = {{"GET", "/a b"}, {"GET", "/\r\n"}, {"GET", "/\x7f"},    {"GET", ""},
                 {"G T", "/"},    {"", "/"},        {"GET", "/\xc3\xb6"}};

    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); ++i) {
        struct sink sink;
        sink_init(&sink);
        http1_write_request_line(&sink.w, bytes_of_str(lines[i].method),
                                 bytes_of_str(lines[i].target));
        assert_int_equal(sink.w.err, ERR_BAD_INPUT);
        buf_done(&sink.buf);
    }
    assert_false(http1_is_field_value((struct bytes){(const uint8_t *)"a\0b", 3}));
}

static void chunks_are_written_and_decode_back(void **state)
{
    (void)state;
    struct sink sink;
    struct feed_body body;
    sink_init(&sink);
    http1_write_chunk(&sink.w, BYTES_LITERAL("hello"));
    http1_write_chunk(&sink.w, BYTES_LITERAL(""));
    http1_write_chunk(&sink.w, BYTES_LITERAL("0123456789abcdef+"));
    http1_write_last_chunk(&sink.w);
    feed_body(HTTP1_FRAMING_CHUNKED, 0, NULL, buf_bytes(&sink.buf), &body);
    assert_int_equal(body.err, ERR_OK);
    assert_true(
        bytes_eq_str((struct bytes){body.content, body.content_len}, "hello0123456789abcdef+"));
    assert_written(&sink, "5\r\nhello\r\n11\r\n0123456789abcdef+\r\n0\r\n\r\n");
}

static void a_chunk_head_is_as_short_as_its_number(void **state)
{
    (void)state;

    static const struct {
        uint64_t len;
        const char *head;
    } cases[] = {{1, "1\r\n"},
                 {15, "f\r\n"},
                 {16, "10\r\n"},
                 {255, "ff\r\n"},
                 {256, "100\r\n"},
                 {65536, "10000\r\n"},
                 {UINT64_MAX, "ffffffffffffffff\r\n"}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); ++i) {
        uint8_t head[HTTP1_CHUNK_HEAD_MAX];
        size_t len = http1_chunk_head(cases[i].len, head);
        assert_true(bytes_eq_str((struct bytes){head, len}, cases[i].head));
    }
}

static void assert_date(uint64_t unix_s, const char *expected)
{
    uint8_t text[HTTP1_DATE_LEN];
    http1_format_date(unix_s, text);
    struct bytes date = {text, sizeof(text)};
    if (!bytes_eq_str(date, expected))
        fail_msg("'%.*s' instead of '%s'", BYTES_PRINT(date), expected);
}

static void dates_are_in_the_fixed_format(void **state)
{
    (void)state;
    assert_date(0, "Thu, 01 Jan 1970 00:00:00 GMT");
    assert_date(784111777, "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_date(951782399, "Mon, 28 Feb 2000 23:59:59 GMT");
    assert_date(951782400, "Tue, 29 Feb 2000 00:00:00 GMT");
    assert_date(951868800, "Wed, 01 Mar 2000 00:00:00 GMT");
    assert_date(1735689599, "Tue, 31 Dec 2024 23:59:59 GMT");
    assert_date(1735689600, "Wed, 01 Jan 2025 00:00:00 GMT");
    assert_date(4107542400, "Mon, 01 Mar 2100 00:00:00 GMT");
    assert_date(253402300799, "Fri, 31 Dec 9999 23:59:59 GMT");
}

static const char RELAYED[] = "GET / HTTP/1.1\r\n"
                              "Host: a\r\n"                                  /* 0 */
                              "A: 1 \r\n"                                    /* 1 */
                              "Connection: close, x-mine, authorization\r\n" /* 2 */
                              "b:2\r\n"                                      /* 3 */
                              "X-Mine: 3\r\n"                                /* 4 */
                              "Dropped_Name: 4\r\n"                          /* not a field */
                              "Authorization: 5\r\n"                         /* 5 */
                              "x-MINE: 6\r\n"                                /* 6 */
                              "Connection: X-Forwarded-For, accept, keep-alive\r\n" /* 7 */
                              "X-Forwarded-For: 7\r\n"                              /* 8 */
                              "Accept: 8\r\n"                                       /* 9 */
                              "TE: trailers\r\n"                                    /* 10 */
                              "Content-Length: 9\r\n"                               /* 11 */
                              "\r\n";
static const char KEPT[] = "Host: a\r\nA: 1 \r\nb:2\r\nAuthorization: 5\r\nX-Forwarded-For: 7\r\n"
                           "Content-Length: 9\r\n";

static void parse_relayed(struct http1_head *head, struct http1_field_set *set)
{
    assert_int_equal(
        feed_head(&(struct feed_setup){.kind = HTTP1_REQUEST}, bytes_of_str(RELAYED), head),
        ERR_OK);
    http1_hop_fields(head, (const uint8_t *)RELAYED, set);
}

static void nominated_fields_are_removed_protected_ones_stay(void **state)
{
    (void)state;
    struct http1_head head;
    struct http1_field_set set;
    parse_relayed(&head, &set);
    static const bool removed[] = {false, false, true,  false, true, false,
                                   true,  true,  false, true,  true, false};
    assert_int_equal(head.field_count, sizeof(removed) / sizeof(removed[0]));
    for (size_t i = 0; i < head.field_count; ++i)
        assert_int_equal(http1_field_set_has(&set, i), removed[i]);
    http1_field_set_add_name(&set, &head, HTTP1_HEADER_CONTENT_LENGTH);
    assert_true(http1_field_set_has(&set, 11));
}

static void every_connection_specific_field_is_removed(void **state)
{
    (void)state;
    const char *text = "GET / HTTP/1.1\r\nKeep-Alive: a\r\nProxy-Connection: a\r\nTE: a\r\n"
                       "Trailer: a\r\nUpgrade: a\r\nHTTP2-Settings: a\r\nExpect: 100-continue\r\n"
                       "Proxy-Authorization: a\r\nTransfer-Encoding: chunked\r\nHost: a\r\n\r\n";
    struct http1_head head;
    struct http1_field_set set;
    assert_int_equal(
        feed_head(&(struct feed_setup){.kind = HTTP1_REQUEST}, bytes_of_str(text), &head), ERR_OK);
    http1_hop_fields(&head, (const uint8_t *)text, &set);
    for (size_t i = 0; i < head.field_count; ++i)
        assert_int_equal(http1_field_set_has(&set, i), i + 1 < head.field_count);
}

static void indices_over_63_have_their_bits(void **state)
{
    (void)state;
    struct http1_field_set set = {{0, 0}};
    http1_field_set_add(&set, 63);
    http1_field_set_add(&set, 64);
    http1_field_set_add(&set, 99);
    for (size_t i = 0; i < HTTP1_FIELD_COUNT_MAX; ++i)
        assert_int_equal(http1_field_set_has(&set, i), i == 63 || i == 64 || i == 99);
}

static void kept_lines_go_out_as_they_came(void **state)
{
    (void)state;
    struct http1_head head;
    struct http1_field_set set;
    parse_relayed(&head, &set);
    struct sink sink;
    sink_init(&sink);
    http1_write_fields(&sink.w, &head, (const uint8_t *)RELAYED, &set);
    assert_written(&sink, KEPT);
}

static void neighbouring_lines_are_one_piece(void **state)
{
    (void)state;
    struct http1_head head;
    struct http1_field_set set;
    parse_relayed(&head, &set);
    struct iovec list[8];
    struct http1_pieces pieces;
    http1_pieces_init(&pieces, list, 8);
    http1_pieces_add_fields(&pieces, &head, (const uint8_t *)RELAYED, &set);
    assert_false(pieces.full);
    assert_int_equal(pieces.count, 5);
    assert_int_equal(pieces.total, strlen(KEPT));
    struct buf joined;
    buf_init(&joined, 4096);
    for (size_t i = 0; i < pieces.count; ++i)
        assert_int_equal(buf_append(&joined, bytes_of(list[i].iov_base, list[i].iov_len)), ERR_OK);
    assert_true(bytes_eq_str(buf_bytes(&joined), KEPT));
    buf_done(&joined);

    http1_pieces_init(&pieces, list, 8);
    http1_pieces_add_fields(&pieces, &head, (const uint8_t *)RELAYED, NULL);
    assert_int_equal(pieces.count, 2); /* the dropped line is a hole */
}

static void a_piece_that_does_not_fit_is_noticed(void **state)
{
    (void)state;
    const uint8_t *text = (const uint8_t *)"abcdef";
    struct iovec list[2];
    struct http1_pieces pieces;
    http1_pieces_init(&pieces, list, 2);
    http1_pieces_add(&pieces, (struct bytes){text, 1});
    http1_pieces_add(&pieces, (struct bytes){text + 1, 1});
    http1_pieces_add(&pieces, (struct bytes){text + 1, 0});
    assert_int_equal(pieces.count, 1);
    http1_pieces_add(&pieces, (struct bytes){text + 3, 1});
    assert_int_equal(pieces.count, 2);
    assert_int_equal(list[0].iov_len, 2);
    assert_false(pieces.full);
    http1_pieces_add(&pieces, (struct bytes){text, 1});
    assert_true(pieces.full);
    http1_pieces_add(&pieces, (struct bytes){text + 4, 1});
    assert_int_equal(pieces.total, 3);
}

static void dates_agree_with_the_c_library_on_every_day_of_500_years(void **state)
{
    (void)state;
    for (uint64_t day = 0; day < UINT64_C(500) * 366; ++day) {
        uint64_t unix_s = day * 86400 + day % 86400;
        time_t seconds = (time_t)unix_s;
        struct tm parts;
        char expected[64];
        assert_non_null(gmtime_r(&seconds, &parts));
        strftime(expected, sizeof(expected), "%a, %d %b %Y %H:%M:%S GMT", &parts);
        assert_date(unix_s, expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_head_is_written_and_parses_back),
        cmocka_unit_test(a_status_line_has_the_registered_phrase),
        cmocka_unit_test(nothing_that_splits_a_message_is_written),
        cmocka_unit_test(chunks_are_written_and_decode_back),
        cmocka_unit_test(a_chunk_head_is_as_short_as_its_number),
        cmocka_unit_test(dates_are_in_the_fixed_format),
        cmocka_unit_test(dates_agree_with_the_c_library_on_every_day_of_500_years),
        cmocka_unit_test(nominated_fields_are_removed_protected_ones_stay),
        cmocka_unit_test(every_connection_specific_field_is_removed),
        cmocka_unit_test(indices_over_63_have_their_bits),
        cmocka_unit_test(kept_lines_go_out_as_they_came),
        cmocka_unit_test(neighbouring_lines_are_one_piece),
        cmocka_unit_test(a_piece_that_does_not_fit_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
