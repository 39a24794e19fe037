/* Tests of base/json: the texts that the writer gives, and how it fails. */
#include "json/json_out.h"

#include "death.h"
#include "test.h"

#include <math.h>
#include <stdio.h>

struct fixture {
    struct buf buf;
    struct json_out out;
};

static struct fixture start(bool pretty)
{
    struct fixture f;
    buf_init(&f.buf, 100000);
    f.out = (struct json_out){.to = NULL, .pretty = pretty};
    return f;
}

/* Two steps, because the writer points to the buffer, which must have its final address. */
static struct json_out *writer(struct fixture *f)
{
    json_out_init(&f->out, &f->buf, f->out.pretty);
    return &f->out;
}

static void finish(struct fixture *f, const char *expected)
{
    assert_int_equal(f->out.err, ERR_OK);
    if (!bytes_eq_str(buf_bytes(&f->buf), expected)) {
        fail_msg("got      %.*s\nexpected %s", BYTES_PRINT(buf_bytes(&f->buf)), expected);
    }
    buf_done(&f->buf);
}

static void compact_text_has_no_spaces(void **state)
{
    (void)state;
    struct fixture f = start(false);
    struct json_out *out = writer(&f);
    json_out_array(out);
    json_out_object(out);
    json_out_field_str(out, "Key", "a/b");
    json_out_field_u64(out, "Index", 7);
    json_out_field_bool(out, "Up", true);
    json_out_field_bytes(out, "Raw", BYTES_LITERAL("x"));
    json_out_key(out, "Tags");
    json_out_array(out);
    json_out_str(out, "a");
    json_out_str(out, "b");
    json_out_array_end(out);
    json_out_key(out, "None");
    json_out_null(out);
    json_out_object_end(out);
    json_out_object(out);
    json_out_object_end(out);
    json_out_array(out);
    json_out_array_end(out);
    json_out_array_end(out);
    finish(&f, "[{\"Key\":\"a/b\",\"Index\":7,\"Up\":true,\"Raw\":\"x\",\"Tags\":[\"a\",\"b\"],"
               "\"None\":null},{},[]]");
}

static void pretty_text_is_indented_by_four(void **state)
{
    (void)state;
    struct fixture f = start(true);
    struct json_out *out = writer(&f);
    json_out_object(out);
    json_out_key(out, "a");
    json_out_array(out);
    json_out_u64(out, 1);
    json_out_u64(out, 2);
    json_out_array_end(out);
    json_out_key(out, "b");
    json_out_object(out);
    json_out_object_end(out);
    json_out_object_end(out);
    finish(&f, "{\n    \"a\": [\n        1,\n        2\n    ],\n    \"b\": {}\n}");
}

static void a_single_value_is_a_document(void **state)
{
    (void)state;
    struct fixture f = start(false);
    json_out_str(writer(&f), "127.0.0.1:8300");
    finish(&f, "\"127.0.0.1:8300\"");
}

static void integers_are_exact_at_their_ends(void **state)
{
    (void)state;
    struct fixture f = start(false);
    struct json_out *out = writer(&f);
    json_out_array(out);
    json_out_u64(out, 0);
    json_out_u64(out, UINT64_MAX);
    json_out_i64(out, INT64_MIN);
    json_out_i64(out, INT64_MAX);
    json_out_i64(out, -1);
    json_out_i64(out, 0);
    json_out_array_end(out);
    finish(&f, "[0,18446744073709551615,-9223372036854775808,9223372036854775807,-1,0]");
}

static void doubles_have_up_to_three_decimals(void **state)
{
    (void)state;
    struct fixture f = start(false);
    struct json_out *out = writer(&f);
    json_out_array(out);
    json_out_double(out, 0);
    json_out_double(out, 1.5);
    json_out_double(out, -2.25);
    json_out_double(out, 100);
    json_out_double(out, 3.14159);
    json_out_double(out, 0.9996);
    json_out_double(out, -0.0001);
    json_out_double(out, (double)NAN);
    json_out_double(out, (double)INFINITY);
    json_out_double(out, -(double)INFINITY);
    json_out_array_end(out);
    finish(&f, "[0,1.5,-2.25,100,3.142,1,0,null,null,null]");
}

static void the_largest_double_fits(void **state)
{
    (void)state;
    struct fixture f = start(false);
    json_out_double(writer(&f), -1.7976931348623157e308);
    assert_int_equal(f.out.err, ERR_OK);
    assert_int_equal(f.buf.len, 310);
    buf_done(&f.buf);
}

static void strings_are_escaped(void **state)
{
    (void)state;
    struct fixture f = start(false);
    struct json_out *out = writer(&f);
    json_out_object(out);
    json_out_key_bytes(out, BYTES_LITERAL("q\"k"));
    json_out_bytes(out, BYTES_LITERAL("\"\\/\b\f\n\r\t\x01\x1f\x7f\0z"));
    json_out_object_end(out);
    finish(&f, "{\"q\\\"k\":\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\\u0000z\"}");
}

static void well_formed_utf8_passes(void **state)
{
    (void)state;
    static const char text[] =
        "\xc2\x80|\xdf\xbf|\xe0\xa0\x80|\xed\x9f\xbf|\xee\x80\x80|\xef\xbf\xbf|"
        "\xf0\x90\x80\x80|\xf4\x8f\xbf\xbf|\xe4\xb8\xad";
    struct fixture f = start(false);
    struct json_out *out = writer(&f);
    json_out_array(out);
    json_out_str(out, text);
    json_out_array_end(out);
    char expected[sizeof(text) + 4];
    (void)snprintf(expected, sizeof(expected), "[\"%s\"]", text);
    finish(&f, expected);
}

static void each_byte_of_bad_utf8_becomes_a_replacement_character(void **state)
{
    (void)state;

    static const struct {
        const char *text;
        size_t replaced;
    } cases[] = {
        {"\x80", 1},             /* a continuation alone */
        {"\xc1\xbf", 2},         /* overlong */
        {"\xe0\x9f\xbf", 3},     /* overlong */
        {"\xf0\x8f\xbf\xbf", 4}, /* overlong */
        {"\xed\xa0\x80", 3},     /* a surrogate */
        {"\xf4\x90\x80\x80", 4}, /* over U+10FFFF */
        {"\xf5\x80\x80\x80", 4},
        {"\xff", 1},
        {"\xe4\xb8", 2}, /* cut */
        {"\xc3", 1},     /* cut */
        {"\xc3\xc3", 2},
        {"\xf0\x90\x80\xc0", 4},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct fixture f = start(false);
        struct json_out *out = writer(&f);
        json_out_array(out);
        json_out_bytes(out, bytes_of_str(cases[i].text));
        json_out_str(out, "ok");
        json_out_array_end(out);
        char expected[64] = "[\"";
        size_t at = 2;
        for (size_t k = 0; k < cases[i].replaced; k++) {
            memcpy(expected + at, "\xef\xbf\xbd", 3);
            at += 3;
        }
        memcpy(expected + at, "\",\"ok\"]", 8);
        finish(&f, expected);
    }
}

static void a_sequence_that_the_slice_cuts_is_bad(void **state)
{
    (void)state;
    struct fixture f = start(false);
    struct bytes cut = BYTES_LITERAL("\xe4\xb8\xad");
    cut.len = 2;
    json_out_bytes(writer(&f), cut);
    finish(&f, "\"\xef\xbf\xbd\xef\xbf\xbd\"");
}

static void raw_json_and_base64_are_values(void **state)
{
    (void)state;
    struct fixture f = start(false);
    struct json_out *out = writer(&f);
    json_out_array(out);
    json_out_raw(out, BYTES_LITERAL("{\"a\":1}"));
    json_out_base64(out, BYTES_LITERAL("foob"));
    json_out_base64(out, (struct bytes){NULL, 0});
    json_out_bytes(out, (struct bytes){NULL, 0});
    json_out_array_end(out);
    finish(&f, "[{\"a\":1},\"Zm9vYg==\",\"\",\"\"]");
}

static void a_full_buffer_stops_the_writer_at_any_byte(void **state)
{
    (void)state;
    for (size_t max = 1; max < 60; max++) {
        struct buf buf;
        buf_init(&buf, max);
        struct json_out out;
        json_out_init(&out, &buf, true);
        json_out_object(&out);
        json_out_field_str(&out, "key", "a\nb");
        json_out_key(&out, "list");
        json_out_array(&out);
        json_out_base64(&out, BYTES_LITERAL("xyz"));
        json_out_array_end(&out);
        json_out_object_end(&out);
        assert_int_equal(out.err, max < 57 ? ERR_FULL : ERR_OK);
        assert_true(buf.len <= max);
        buf_done(&buf);
    }
}

static void value_without_key(struct json_out *out)
{
    json_out_object(out);
    json_out_u64(out, 1);
}

static void key_in_array(struct json_out *out)
{
    json_out_array(out);
    json_out_key(out, "k");
}

static void key_after_key(struct json_out *out)
{
    json_out_object(out);
    json_out_key(out, "a");
    json_out_key(out, "b");
}

static void wrong_end(struct json_out *out)
{
    json_out_object(out);
    json_out_array_end(out);
}

static void end_of_nothing(struct json_out *out)
{
    json_out_object_end(out);
}

static void end_after_key(struct json_out *out)
{
    json_out_object(out);
    json_out_key(out, "a");
    json_out_object_end(out);
}

static void too_deep(struct json_out *out)
{
    for (int i = 0; i <= JSON_DEPTH_MAX; i++) {
        json_out_array(out);
    }
}

static void misuse(void *argument)
{
    struct buf buf;
    buf_init(&buf, 1000);
    struct json_out out;
    json_out_init(&out, &buf, false);
    void (**act)(struct json_out *) = argument;
    (*act)(&out);
}

static void unbalanced_calls_abort(void **state)
{
    (void)state;
    void (*acts[])(struct json_out *) = {value_without_key, key_in_array,  key_after_key, wrong_end,
                                         end_of_nothing,    end_after_key, too_deep};
    for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++) {
        assert_aborts(misuse, &acts[i], "json_out.c");
    }
}

static void sixteen_levels_are_allowed(void **state)
{
    (void)state;
    struct fixture f = start(false);
    struct json_out *out = writer(&f);
    for (int i = 0; i < JSON_DEPTH_MAX; i++) {
        json_out_array(out);
    }
    for (int i = 0; i < JSON_DEPTH_MAX; i++) {
        json_out_array_end(out);
    }
    finish(&f, "[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compact_text_has_no_spaces),
        cmocka_unit_test(pretty_text_is_indented_by_four),
        cmocka_unit_test(a_single_value_is_a_document),
        cmocka_unit_test(integers_are_exact_at_their_ends),
        cmocka_unit_test(doubles_have_up_to_three_decimals),
        cmocka_unit_test(the_largest_double_fits),
        cmocka_unit_test(strings_are_escaped),
        cmocka_unit_test(well_formed_utf8_passes),
        cmocka_unit_test(each_byte_of_bad_utf8_becomes_a_replacement_character),
        cmocka_unit_test(a_sequence_that_the_slice_cuts_is_bad),
        cmocka_unit_test(raw_json_and_base64_are_values),
        cmocka_unit_test(a_full_buffer_stops_the_writer_at_any_byte),
        cmocka_unit_test(unbalanced_calls_abort),
        cmocka_unit_test(sixteen_levels_are_allowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
