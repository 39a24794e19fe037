/* Queries, paths and percent-decoding. */
#include "http/http_query.h"

#include "test.h"

#include <stdio.h>

static struct arena arena;

static int arena_open(void **state)
{
    (void)state;
    arena_init(&arena, 1024, 64 * 1024);
    return 0;
}

static int arena_close(void **state)
{
    (void)state;
    arena_done(&arena);
    return 0;
}

static void parameters_come_in_order_and_empty_ones_not(void **state)
{
    (void)state;
    struct bytes query = BYTES_LITERAL("&a=1&&b&c=&=d&e=f=g&");

    static const struct {
        const char *name;
        const char *value;
        bool has_value;
    } wanted[] = {
        {"a", "1", true}, {"b", "", false}, {"c", "", true}, {"", "d", true}, {"e", "f=g", true}};
    struct http_param param;
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        assert_true(http_query_next(&query, &param));
        assert_true(bytes_eq_str(param.name, wanted[i].name));
        assert_true(bytes_eq_str(param.value, wanted[i].value));
        assert_int_equal(param.has_value, wanted[i].has_value);
    }
    assert_false(http_query_next(&query, &param));
    query = (struct bytes){NULL, 0};
    assert_false(http_query_next(&query, &param));
}

static void parameter_is_found_by_its_decoded_name(void **state)
{
    (void)state;
    struct bytes query = BYTES_LITERAL("passing&near=_agent&st%61le&a+b=1&dc=x&dc=y&bad%zz=1&c%4");
    assert_true(http_query_has(query, "passing"));
    assert_true(http_query_has(query, "stale"));
    assert_true(http_query_has(query, "a b"));
    assert_false(http_query_has(query, "pass"));
    assert_false(http_query_has(query, "passingx"));
    assert_false(http_query_has(query, "bad"));
    assert_false(http_query_has(query, "c"));
    struct http_param param;
    assert_true(http_query_find(query, "dc", &param));
    assert_true(bytes_eq_str(param.value, "x"));
}

static void value_is_decoded_once(void **state)
{
    (void)state;
    struct bytes query = BYTES_LITERAL("a=b%20c+d%2541%2f&plain=x&none&bad=%4&worse=%zz");
    struct bytes value;
    assert_int_equal(http_query_get(query, "a", &arena, &value), ERR_OK);
    assert_true(bytes_eq_str(value, "b c d%41/"));
    assert_int_equal(http_query_get(query, "plain", &arena, &value), ERR_OK);
    assert_true(bytes_eq_str(value, "x"));
    assert_true(value.data >= query.data && value.data < query.data + query.len);
    assert_int_equal(http_query_get(query, "none", &arena, &value), ERR_OK);
    assert_int_equal(value.len, 0);
    assert_int_equal(http_query_get(query, "absent", &arena, &value), ERR_NOT_FOUND);
    assert_int_equal(http_query_get(query, "bad", &arena, &value), ERR_BAD_INPUT);
    assert_int_equal(http_query_get(query, "worse", &arena, &value), ERR_BAD_INPUT);
}

static void segments_are_split_before_decoding(void **state)
{
    (void)state;
    struct bytes path = BYTES_LITERAL("/v1/kv/a%2Fb//c+d/");
    static const char *wanted[] = {"v1", "kv", "a/b", "", "c+d", ""};
    struct bytes segment;
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        assert_true(http_path_next(&path, &segment));
        struct bytes decoded;
        assert_int_equal(http_percent_decode(segment, HTTP_PLUS_IS_PLUS, &arena, &decoded), ERR_OK);
        assert_true(bytes_eq_str(decoded, wanted[i]));
    }
    assert_false(http_path_next(&path, &segment));
    path = BYTES_LITERAL("/");
    assert_true(http_path_next(&path, &segment));
    assert_int_equal(segment.len, 0);
    assert_false(http_path_next(&path, &segment));
    path = BYTES_LITERAL("*");
    assert_false(http_path_next(&path, &segment));
}

static void every_byte_can_be_encoded(void **state)
{
    (void)state;
    char text[8];
    for (unsigned byte = 0; byte < 256; byte++) {
        for (int upper = 0; upper < 2; upper++) {
            struct bytes decoded;
            (void)snprintf(text, sizeof(text), upper != 0 ? "a%%%02X" : "a%%%02x", byte);
            assert_int_equal(
                http_percent_decode(bytes_of_str(text), HTTP_PLUS_IS_PLUS, &arena, &decoded),
                ERR_OK);
            assert_int_equal(decoded.len, 2);
            assert_int_equal(decoded.data[1], byte);
        }
    }
}

static void escape_at_the_end_reads_nothing_behind_it(void **state)
{
    (void)state;
    const char *texts[] = {"%", "%4", "abc%", "abc%f"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        size_t len = strlen(texts[i]);
        uint8_t *exact = mem_alloc(len); /* the sanitizer watches its end */
        memcpy(exact, texts[i], len);
        struct bytes decoded;
        assert_int_equal(
            http_percent_decode(bytes_of(exact, len), HTTP_PLUS_IS_PLUS, &arena, &decoded),
            ERR_BAD_INPUT);
        mem_free(exact);
    }
}

static void decoding_respects_the_arena(void **state)
{
    (void)state;
    struct arena small;
    struct bytes decoded;
    arena_init(&small, 16, 16);
    assert_int_equal(http_percent_decode(BYTES_LITERAL("%41234567890123456789"), HTTP_PLUS_IS_PLUS,
                                         &small, &decoded),
                     ERR_FULL);
    arena_done(&small);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_come_in_order_and_empty_ones_not),
        cmocka_unit_test(parameter_is_found_by_its_decoded_name),
        cmocka_unit_test(value_is_decoded_once),
        cmocka_unit_test(segments_are_split_before_decoding),
        cmocka_unit_test(every_byte_can_be_encoded),
        cmocka_unit_test(escape_at_the_end_reads_nothing_behind_it),
        cmocka_unit_test(decoding_respects_the_arena),
    };
    return cmocka_run_group_tests(tests, arena_open, arena_close);
}
