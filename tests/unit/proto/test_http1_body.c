/* Tests of body framing: lengths, chunks with their strict grammar, trailers, ends of input. */
#include "http1_feed.h"
#include "test.h"

static void assert_content(const struct feed_body *body, const char *expected)
{
    struct bytes content = {body->content, body->content_len};
    if (!bytes_eq_str(content, expected))
        fail_msg("'%.*s' instead of '%s'", BYTES_PRINT(content), expected);
}

static void a_body_of_known_length_ends_there(void **state)
{
    (void)state;
    struct feed_body body;
    feed_body(HTTP1_FRAMING_LENGTH, 5, NULL, BYTES_LITERAL("helloGET /"), &body);
    assert_int_equal(body.err, ERR_OK);
    assert_content(&body, "hello");
    assert_int_equal(body.consumed, 5);
    feed_body(HTTP1_FRAMING_LENGTH, 5, NULL, BYTES_LITERAL("hell"), &body);
    assert_int_equal(body.err, ERR_INCOMPLETE);
    assert_content(&body, "hell");
}

static void no_body_is_done_at_once(void **state)
{
    (void)state;
    struct feed_body body;
    feed_body(HTTP1_FRAMING_LENGTH, 0, NULL, BYTES_LITERAL("GET /"), &body);
    assert_int_equal(body.err, ERR_OK);
    assert_int_equal(body.consumed, 0);
    feed_body(HTTP1_FRAMING_NONE, 77, NULL, BYTES_LITERAL("GET /"), &body);
    assert_int_equal(body.err, ERR_OK);
    assert_int_equal(body.consumed, 0);
}

static void a_head_starts_its_body(void **state)
{
    (void)state;
    struct bytes text = BYTES_LITERAL("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nabc");
    struct http1_head head;
    struct http1_body body;
    struct bytes content;
    size_t consumed;
    assert_int_equal(feed_head(&(struct feed_setup){.kind = HTTP1_REQUEST}, text, &head), ERR_OK);
    http1_body_init(&body, &head, &HTTP1_LIMITS_DEFAULT);
    assert_int_equal(http1_body_feed(&body, bytes_from(text, head.head_len), &consumed, &content),
                     ERR_OK);
    assert_true(bytes_eq_str(content, "ab"));
    assert_ptr_equal(content.data, text.data + head.head_len);
    assert_true(body.done);
}

static void chunks_are_handed_out_in_place(void **state)
{
    (void)state;
    struct feed_body body;
    struct bytes input = BYTES_LITERAL("5\r\nhello\r\n01\r\n \r\n000A\r\n0123456789\r\nb\r\n"
                                       "worldworldw\r\n0\r\n\r\nGET /");
    feed_body(HTTP1_FRAMING_CHUNKED, 0, NULL, input, &body);
    assert_int_equal(body.err, ERR_OK);
    assert_content(&body, "hello 0123456789worldworldw");
    assert_int_equal(body.consumed, input.len - 5);
    feed_body(HTTP1_FRAMING_CHUNKED, 0, NULL, BYTES_LITERAL("0\r\n\r\n"), &body);
    assert_int_equal(body.err, ERR_OK);
    assert_int_equal(body.content_len, 0);
}

static void the_last_chunk_comes_with_the_last_content(void **state)
{
    (void)state;
    struct bytes input = BYTES_LITERAL("5\r\nhello\r\n0\r\n\r\n");
    struct http1_body body;
    struct bytes content;
    size_t consumed;
    http1_body_init_framing(&body, HTTP1_FRAMING_CHUNKED, 0, &HTTP1_LIMITS_DEFAULT);
    assert_int_equal(http1_body_feed(&body, input, &consumed, &content), ERR_OK);
    assert_ptr_equal(content.data, input.data + 3);
    assert_int_equal(content.len, 5);
    assert_int_equal(consumed, input.len);
    assert_true(body.done);
    assert_int_equal(body.received, 5);
}

struct refusal {
    const char *text;
    enum http1_reason reason;
};

static void assert_refusals(const struct refusal *cases, size_t count)
{
    for (size_t i = 0; i < count; ++i) {
        enum http1_reason reason = chunked_reason(bytes_of_str(cases[i].text));
        if (reason != cases[i].reason)
            fail_msg("%s instead of %s: %s", http1_reason_name(reason),
                     http1_reason_name(cases[i].reason), cases[i].text);
    }
}

#define ASSERT_REFUSALS(cases) assert_refusals(cases, sizeof(cases) / sizeof((cases)[0]))

static void a_chunk_size_is_1_to_16_hexadecimal_digits(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        {"\r\n", HTTP1_REASON_CHUNK_SIZE_INVALID},
        {"0x5\r\n", HTTP1_REASON_CHUNK_SIZE_INVALID},
        {"+5\r\n", HTTP1_REASON_CHUNK_SIZE_INVALID},
        {"-5\r\n", HTTP1_REASON_CHUNK_SIZE_INVALID},
        {"1_0\r\n", HTTP1_REASON_CHUNK_SIZE_INVALID},
        {" 5\r\n", HTTP1_REASON_CHUNK_SIZE_INVALID},
        {"5 \r\n", HTTP1_REASON_CHUNK_SIZE_INVALID},
        {"5\t\r\n", HTTP1_REASON_CHUNK_SIZE_INVALID},
        {"5 ;a\r\n", HTTP1_REASON_CHUNK_SIZE_INVALID},
        {"g\r\n", HTTP1_REASON_CHUNK_SIZE_INVALID},
        {"5,5\r\n", HTTP1_REASON_CHUNK_SIZE_INVALID},
        {";a\r\n", HTTP1_REASON_CHUNK_SIZE_INVALID},
        {"00000000000000005\r\n", HTTP1_REASON_CHUNK_SIZE_OVERFLOW},
        {"10000000000000000\r\n", HTTP1_REASON_CHUNK_SIZE_OVERFLOW},
        {"8000000000000000\r\n", HTTP1_REASON_CHUNK_SIZE_OVERFLOW},
        {"ffffffffffffffff\r\n", HTTP1_REASON_CHUNK_SIZE_OVERFLOW},
        {"0000000000000005\r\nhello\r\n0\r\n\r\n", HTTP1_REASON_NONE},
        {"7fffffffffffffff\r\nx", HTTP1_REASON_NONE},
        {"0000000000000000\r\n\r\n", HTTP1_REASON_NONE},
    };
    ASSERT_REFUSALS(cases);
}

static void only_crlf_ends_chunk_lines_and_data(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        {"5\nhello\r\n0\r\n\r\n", HTTP1_REASON_CHUNK_LINE_END},
        {"5\rhello\r\n0\r\n\r\n", HTTP1_REASON_CHUNK_LINE_END},
        {"5\r\r\nhello\r\n0\r\n\r\n", HTTP1_REASON_CHUNK_LINE_END},
        {"5;a\nhello\r\n0\r\n\r\n", HTTP1_REASON_CHUNK_LINE_END},
        {"5;a=b\nhello\r\n0\r\n\r\n", HTTP1_REASON_CHUNK_LINE_END},
        {"5;a=\"b\"\nhello\r\n0\r\n\r\n", HTTP1_REASON_CHUNK_LINE_END},
        {"5\r\nhello\n0\r\n\r\n", HTTP1_REASON_CHUNK_DATA_END},
        {"5\r\nhello0\r\n\r\n", HTTP1_REASON_CHUNK_DATA_END},
        {"5\r\nhelloXX0\r\n\r\n", HTTP1_REASON_CHUNK_DATA_END},
        {"5\r\nhello\rX0\r\n\r\n", HTTP1_REASON_CHUNK_DATA_END},
        {"5\r\nhello\r\r\n0\r\n\r\n", HTTP1_REASON_CHUNK_DATA_END},
        {"0\n\n", HTTP1_REASON_CHUNK_LINE_END},
        {"0\r\n\n", HTTP1_REASON_BARE_LF},
        {"0\r\n\rX", HTTP1_REASON_BARE_CR},
    };
    ASSERT_REFUSALS(cases);
}

static void chunk_extensions_follow_their_grammar_and_vanish(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        {"0;a\r\n\r\n", HTTP1_REASON_NONE},
        {"0;a=b;c;d=\"e\"\r\n\r\n", HTTP1_REASON_NONE},
        {"0;a=\"\"\r\n\r\n", HTTP1_REASON_NONE},
        {"0;a=\"x \t;=\\\"\\\\\x80\"\r\n\r\n", HTTP1_REASON_NONE},
        {"0;\r\n\r\n", HTTP1_REASON_CHUNK_EXTENSION_INVALID},
        {"0;;a\r\n\r\n", HTTP1_REASON_CHUNK_EXTENSION_INVALID},
        {"0;=b\r\n\r\n", HTTP1_REASON_CHUNK_EXTENSION_INVALID},
        {"0;a=\r\n\r\n", HTTP1_REASON_CHUNK_EXTENSION_INVALID},
        {"0;a=;b\r\n\r\n", HTTP1_REASON_CHUNK_EXTENSION_INVALID},
        {"0;a=b=c\r\n\r\n", HTTP1_REASON_CHUNK_EXTENSION_INVALID},
        {"0;a b\r\n\r\n", HTTP1_REASON_CHUNK_EXTENSION_INVALID},
        {"0; a\r\n\r\n", HTTP1_REASON_CHUNK_EXTENSION_INVALID},
        {"0;a =b\r\n\r\n", HTTP1_REASON_CHUNK_EXTENSION_INVALID},
        {"0;a\x80\r\n\r\n", HTTP1_REASON_CHUNK_EXTENSION_INVALID},
        {"0;a=\"b\"c\r\n\r\n", HTTP1_REASON_CHUNK_EXTENSION_INVALID},
        {"0;a=\"b\"=c\r\n\r\n", HTTP1_REASON_CHUNK_EXTENSION_INVALID},
        {"0;a=\"b\r\n\r\n", HTTP1_REASON_CHUNK_EXTENSION_INVALID},
        {"0;a=\"b\n\"\r\n\r\n", HTTP1_REASON_CHUNK_EXTENSION_INVALID},
        {"0;a=\"b\\\r\n\"\r\n\r\n", HTTP1_REASON_CHUNK_EXTENSION_INVALID},
        {"0;a\x01\r\n\r\n", HTTP1_REASON_CHUNK_EXTENSION_INVALID},
    };
    ASSERT_REFUSALS(cases);
    struct feed_body body;
    feed_body(HTTP1_FRAMING_CHUNKED, 0, NULL, BYTES_LITERAL("2;x=\"\\\"3\";y\r\nab\r\n0;z\r\n\r\n"),
              &body);
    assert_int_equal(body.err, ERR_OK);
    assert_content(&body, "ab");
}

static void append(struct buf *to, const char *text, size_t times)
{
    while (times-- > 0)
        assert_int_equal(buf_append(to, bytes_of_str(text)), ERR_OK);
}

static void a_chunk_line_may_be_256_bytes(void **state)
{
    (void)state;
    struct buf input;
    buf_init(&input, 4096);
    append(&input, "0;", 1);
    append(&input, "a", HTTP1_CHUNK_LINE_MAX - 2);
    append(&input, "\r\n\r\n", 1);
    assert_int_equal(chunked_reason(buf_bytes(&input)), HTTP1_REASON_NONE);
    buf_clear(&input);
    append(&input, "0;", 1);
    append(&input, "a", HTTP1_CHUNK_LINE_MAX - 1);
    append(&input, "\r\n\r\n", 1);
    assert_int_equal(chunked_reason(buf_bytes(&input)), HTTP1_REASON_CHUNK_LINE_TOO_LONG);
    buf_done(&input);
}

static void all_extensions_of_a_body_together_may_be_4096_bytes(void **state)
{
    (void)state;
    struct buf input;
    buf_init(&input, 65536);
    append(&input, "1;abcdefghijklmno\r\nx\r\n", HTTP1_CHUNK_EXT_MAX / 16);
    append(&input, "0\r\n\r\n", 1);
    assert_int_equal(chunked_reason(buf_bytes(&input)), HTTP1_REASON_NONE);
    buf_clear(&input);
    append(&input, "1;abcdefghijklmno\r\nx\r\n", HTTP1_CHUNK_EXT_MAX / 16);
    append(&input, "0;\r\n\r\n", 1);
    assert_int_equal(chunked_reason(buf_bytes(&input)), HTTP1_REASON_CHUNK_EXTENSIONS_TOO_LARGE);
    buf_done(&input);
}

static void content_over_the_limit_is_refused(void **state)
{
    (void)state;
    struct http1_limits limits = HTTP1_LIMITS_DEFAULT;
    limits.body_max_bytes = 6;
    struct feed_body body;
    feed_body(HTTP1_FRAMING_CHUNKED, 0, &limits, BYTES_LITERAL("4\r\nabcd\r\n2\r\nef\r\n0\r\n\r\n"),
              &body);
    assert_int_equal(body.err, ERR_OK);
    feed_body(HTTP1_FRAMING_CHUNKED, 0, &limits,
              BYTES_LITERAL("4\r\nabcd\r\n3\r\nefg\r\n0\r\n\r\n"), &body);
    assert_int_equal(body.err, ERR_BAD_INPUT);
    assert_int_equal(body.reason, HTTP1_REASON_BODY_TOO_LARGE);
    assert_content(&body, "abcd");
    feed_body(HTTP1_FRAMING_CLOSE, 0, &limits, BYTES_LITERAL("abcdef"), &body);
    assert_int_equal(body.err, ERR_INCOMPLETE);
    feed_body(HTTP1_FRAMING_CLOSE, 0, &limits, BYTES_LITERAL("abcdefg"), &body);
    assert_int_equal(body.err, ERR_BAD_INPUT);
    assert_int_equal(body.reason, HTTP1_REASON_BODY_TOO_LARGE);
    assert_content(&body, "abcdef");
}

static void content_before_a_bad_byte_is_handed_out_first(void **state)
{
    (void)state;
    struct feed_body body;
    feed_body(HTTP1_FRAMING_CHUNKED, 0, NULL, BYTES_LITERAL("2\r\nab\r\n2\r\ncdX"), &body);
    assert_int_equal(body.err, ERR_BAD_INPUT);
    assert_int_equal(body.reason, HTTP1_REASON_CHUNK_DATA_END);
    assert_content(&body, "abcd");
}

static void a_refused_body_stays_refused(void **state)
{
    (void)state;
    struct http1_body body;
    struct bytes content;
    size_t consumed;
    http1_body_init_framing(&body, HTTP1_FRAMING_CHUNKED, 0, &HTTP1_LIMITS_DEFAULT);
    assert_int_equal(http1_body_feed(&body, BYTES_LITERAL("x"), &consumed, &content),
                     ERR_BAD_INPUT);
    assert_int_equal(http1_body_feed(&body, BYTES_LITERAL("0\r\n\r\n"), &consumed, &content),
                     ERR_BAD_INPUT);
    assert_int_equal(http1_body_end_of_input(&body), ERR_BAD_INPUT);
    assert_int_equal(body.reason, HTTP1_REASON_CHUNK_SIZE_INVALID);
}

static void trailers_are_checked_and_forgotten(void **state)
{
    (void)state;
    static const struct refusal cases[] = {
        {"0\r\nA: 1\r\nB:\r\n\r\n", HTTP1_REASON_NONE},
        {"0\r\nContent-Length: 5\r\nHost: x\r\n\r\n", HTTP1_REASON_NONE},
        {"0\r\n_A_: 1\r\n\r\n", HTTP1_REASON_NONE},
        {"0\r\nX_A: \x80\t \r\n\r\n", HTTP1_REASON_NONE},
        {"0\r\n A: 1\r\n\r\n", HTTP1_REASON_OBS_FOLD},
        {"0\r\nA: 1\r\n\tB\r\n\r\n", HTTP1_REASON_OBS_FOLD},
        {"0\r\n: 1\r\n\r\n", HTTP1_REASON_FIELD_NAME_INVALID},
        {"0\r\nA : 1\r\n\r\n", HTTP1_REASON_FIELD_NAME_INVALID},
        {"0\r\nA\x80: 1\r\n\r\n", HTTP1_REASON_FIELD_NAME_INVALID},
        {"0\r\nA\r\n\r\n", HTTP1_REASON_FIELD_COLON_MISSING},
        {"0\r\nA\n\r\n", HTTP1_REASON_BARE_LF},
        {"0\r\nA: 1\n\r\n", HTTP1_REASON_BARE_LF},
        {"0\r\nA: 1\r\n\n", HTTP1_REASON_BARE_LF},
        {"0\r\nA: 1\rB: 2\r\n\r\n", HTTP1_REASON_BARE_CR},
        {"0\r\nA: 1\r\n\rX", HTTP1_REASON_BARE_CR},
        {"0\r\nA: \x7f\r\n\r\n", HTTP1_REASON_CONTROL_BYTE},
        {"0\r\n\x01: 1\r\n\r\n", HTTP1_REASON_CONTROL_BYTE},
    };
    ASSERT_REFUSALS(cases);
    struct feed_body body;
    struct bytes input = BYTES_LITERAL("0\r\nA: 1\r\n\r\nGET / HTTP/1.1\r\n");
    feed_body(HTTP1_FRAMING_CHUNKED, 0, NULL, input, &body);
    assert_int_equal(body.err, ERR_OK);
    assert_int_equal(body.consumed, 11);
}

static void trailers_have_limits(void **state)
{
    (void)state;
    struct http1_limits limits = HTTP1_LIMITS_DEFAULT;
    struct bytes input = BYTES_LITERAL("0\r\nA: 1\r\nB: 2\r\n\r\n");
    struct feed_body body;
    limits.trailer_block_max = 14;
    limits.field_count_max = 2;
    feed_body(HTTP1_FRAMING_CHUNKED, 0, &limits, input, &body);
    assert_int_equal(body.err, ERR_OK);
    limits.field_count_max = 1;
    feed_body(HTTP1_FRAMING_CHUNKED, 0, &limits, input, &body);
    assert_int_equal(body.reason, HTTP1_REASON_TOO_MANY_TRAILERS);
    limits.field_count_max = 2;
    limits.trailer_block_max = 13;
    feed_body(HTTP1_FRAMING_CHUNKED, 0, &limits, input, &body);
    assert_int_equal(body.reason, HTTP1_REASON_TRAILERS_TOO_LARGE);
    limits = HTTP1_LIMITS_DEFAULT;
    limits.underscore = HTTP1_UNDERSCORE_REFUSE;
    feed_body(HTTP1_FRAMING_CHUNKED, 0, &limits, BYTES_LITERAL("0\r\nA_B: 1\r\n\r\n"), &body);
    assert_int_equal(body.reason, HTTP1_REASON_FIELD_NAME_UNDERSCORE);
    feed_body(HTTP1_FRAMING_CHUNKED, 0, &limits, BYTES_LITERAL("0\r\nAB: 1\r\n\r\n"), &body);
    assert_int_equal(body.err, ERR_OK);
    feed_body(HTTP1_FRAMING_CHUNKED, 0, &limits, BYTES_LITERAL("0\r\n_B: 1\r\n\r\n"), &body);
    assert_int_equal(body.reason, HTTP1_REASON_FIELD_NAME_UNDERSCORE);
}

static void kept_trailers_are_left_for_the_head_parser(void **state)
{
    (void)state;
    struct bytes input = BYTES_LITERAL("1\r\nx\r\n0\r\nA: 1\r\n\r\n");
    struct feed_body body;
    feed_body_keep_trailers(input, &body);
    assert_int_equal(body.err, ERR_OK);
    assert_true(body.at_trailers);
    assert_int_equal(body.consumed, 9);
    struct http1_head head;
    assert_int_equal(feed_head(&(struct feed_setup){.kind = HTTP1_TRAILERS},
                               bytes_from(input, body.consumed), &head),
                     ERR_OK);
    assert_int_equal(head.head_len, input.len - body.consumed);
    assert_int_equal(head.field_count, 1);
}

static void the_end_of_input_ends_only_a_body_that_waits_for_it(void **state)
{
    (void)state;
    struct http1_body body;
    struct bytes content;
    size_t consumed;
    http1_body_init_framing(&body, HTTP1_FRAMING_CLOSE, 0, &HTTP1_LIMITS_DEFAULT);
    assert_int_equal(http1_body_feed(&body, BYTES_LITERAL("abc"), &consumed, &content), ERR_OK);
    assert_int_equal(content.len, 3);
    assert_false(body.done);
    assert_int_equal(http1_body_feed(&body, BYTES_LITERAL(""), &consumed, &content), ERR_OK);
    assert_int_equal(http1_body_end_of_input(&body), ERR_OK);
    assert_true(body.done);
    assert_int_equal(http1_body_feed(&body, BYTES_LITERAL("x"), &consumed, &content), ERR_OK);
    assert_int_equal(consumed, 0);
    assert_int_equal(http1_body_end_of_input(&body), ERR_OK);
    http1_body_init_framing(&body, HTTP1_FRAMING_LENGTH, 1, &HTTP1_LIMITS_DEFAULT);
    assert_int_equal(http1_body_end_of_input(&body), ERR_BAD_INPUT);
    assert_int_equal(body.reason, HTTP1_REASON_BODY_TRUNCATED);
    http1_body_init_framing(&body, HTTP1_FRAMING_CHUNKED, 0, &HTTP1_LIMITS_DEFAULT);
    assert_int_equal(http1_body_end_of_input(&body), ERR_BAD_INPUT);
    http1_body_init_framing(&body, HTTP1_FRAMING_LENGTH, 0, &HTTP1_LIMITS_DEFAULT);
    assert_int_equal(http1_body_end_of_input(&body), ERR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_of_known_length_ends_there),
        cmocka_unit_test(no_body_is_done_at_once),
        cmocka_unit_test(a_head_starts_its_body),
        cmocka_unit_test(chunks_are_handed_out_in_place),
        cmocka_unit_test(the_last_chunk_comes_with_the_last_content),
        cmocka_unit_test(a_chunk_size_is_1_to_16_hexadecimal_digits),
        cmocka_unit_test(only_crlf_ends_chunk_lines_and_data),
        cmocka_unit_test(chunk_extensions_follow_their_grammar_and_vanish),
        cmocka_unit_test(a_chunk_line_may_be_256_bytes),
        cmocka_unit_test(all_extensions_of_a_body_together_may_be_4096_bytes),
        cmocka_unit_test(content_over_the_limit_is_refused),
        cmocka_unit_test(content_before_a_bad_byte_is_handed_out_first),
        cmocka_unit_test(a_refused_body_stays_refused),
        cmocka_unit_test(trailers_are_checked_and_forgotten),
        cmocka_unit_test(trailers_have_limits),
        cmocka_unit_test(kept_trailers_are_left_for_the_head_parser),
        cmocka_unit_test(the_end_of_input_ends_only_a_body_that_waits_for_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
