/* Tests of base/bytes: slices, readers, buffers, writers. */
#include "bytes/bytes.h"

#include "test.h"

static const struct bytes NOTHING = {NULL, 0};

static void equality_is_by_content(void **state)
{
    (void)state;
    assert_true(bytes_eq(BYTES_LITERAL("abc"), bytes_of_str("abc")));
    assert_false(bytes_eq(BYTES_LITERAL("abc"), BYTES_LITERAL("abd")));
    assert_false(bytes_eq(BYTES_LITERAL("abc"), BYTES_LITERAL("ab")));
    assert_true(bytes_eq(NOTHING, BYTES_LITERAL("")));
    assert_true(bytes_eq_str(BYTES_LITERAL("x"), "x"));
    assert_false(bytes_eq_str(BYTES_LITERAL("x\0"), "x"));
}

static void letters_compare_without_case_and_only_letters(void **state)
{
    (void)state;
    assert_true(bytes_eq_nocase(BYTES_LITERAL("Content-LENGTH"), BYTES_LITERAL("content-length")));
    assert_false(bytes_eq_nocase(BYTES_LITERAL("@"), BYTES_LITERAL("`")));
    assert_false(bytes_eq_nocase(BYTES_LITERAL("["), BYTES_LITERAL("{")));
    assert_false(bytes_eq_nocase(BYTES_LITERAL("a"), BYTES_LITERAL("ab")));
    assert_true(bytes_eq_nocase(NOTHING, NOTHING));
}

static void order_is_by_unsigned_bytes_then_length(void **state)
{
    (void)state;
    assert_true(bytes_cmp(BYTES_LITERAL("a"), BYTES_LITERAL("b")) < 0);
    assert_true(bytes_cmp(BYTES_LITERAL("\xff"), BYTES_LITERAL("a")) > 0);
    assert_true(bytes_cmp(BYTES_LITERAL("ab"), BYTES_LITERAL("abc")) < 0);
    assert_true(bytes_cmp(BYTES_LITERAL("abc"), BYTES_LITERAL("ab")) > 0);
    assert_int_equal(bytes_cmp(NOTHING, BYTES_LITERAL("")), 0);
    assert_true(bytes_cmp(NOTHING, BYTES_LITERAL("a")) < 0);
}

static void prefix_find_and_rest(void **state)
{
    (void)state;
    assert_true(bytes_has_prefix(BYTES_LITERAL("v1/kv"), BYTES_LITERAL("v1/")));
    assert_false(bytes_has_prefix(BYTES_LITERAL("v1"), BYTES_LITERAL("v1/")));
    struct bytes cut = BYTES_LITERAL("v1/kv");
    cut.len = 2;
    assert_false(bytes_has_prefix(cut, BYTES_LITERAL("v1/")));
    assert_true(bytes_has_prefix(NOTHING, NOTHING));
    assert_int_equal(bytes_find(BYTES_LITERAL("a=b=c"), '='), 1);
    assert_int_equal(bytes_find(BYTES_LITERAL("abc"), '='), 3);
    assert_int_equal(bytes_find(NOTHING, '='), 0);
    assert_true(bytes_eq_str(bytes_from(BYTES_LITERAL("abc"), 1), "bc"));
    assert_int_equal(bytes_from(BYTES_LITERAL("abc"), 3).len, 0);
    assert_int_equal(bytes_from(NOTHING, 0).len, 0);
}

static void cstr_needs_room_for_its_zero(void **state)
{
    (void)state;
    char dest[4] = "???";
    assert_int_equal(bytes_to_cstr(BYTES_LITERAL("abcd"), dest, sizeof(dest)), ERR_TOO_LARGE);
    assert_string_equal(dest, "???");
    assert_int_equal(bytes_to_cstr(BYTES_LITERAL("abc"), dest, sizeof(dest)), ERR_OK);
    assert_string_equal(dest, "abc");
    assert_int_equal(bytes_to_cstr(NOTHING, dest, 1), ERR_OK);
    assert_string_equal(dest, "");
    assert_int_equal(bytes_to_cstr(NOTHING, dest, 0), ERR_TOO_LARGE);
}

static void integers_have_a_fixed_order_of_bytes(void **state)
{
    (void)state;
    uint8_t raw[8];
    put_u16(raw, 0x0102);
    assert_memory_equal(raw, "\x02\x01", 2);
    put_u32(raw, 0x01020304);
    assert_memory_equal(raw, "\x04\x03\x02\x01", 4);
    put_u64(raw, 0x0102030405060708);
    assert_memory_equal(raw, "\x08\x07\x06\x05\x04\x03\x02\x01", 8);
    assert_true(get_u64(raw) == 0x0102030405060708);
    put_u32_be(raw, 0x01020304);
    assert_memory_equal(raw, "\x01\x02\x03\x04", 4);
    assert_int_equal(get_u32_be(raw), 0x01020304);
    put_u64_be(raw, 0x0102030405060708);
    assert_memory_equal(raw, "\x01\x02\x03\x04\x05\x06\x07\x08", 8);
    assert_true(get_u64_be(raw) == 0x0102030405060708);
}

static void what_is_written_is_read_back(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    struct writer w = writer_of(&b);
    write_u8(&w, 200);
    write_u16(&w, 60000);
    write_u32(&w, 4000000000);
    write_u64(&w, UINT64_MAX);
    write_varint(&w, 300);
    write_raw(&w, BYTES_LITERAL("raw"));
    write_blob(&w, BYTES_LITERAL("blob"));
    write_blob(&w, NOTHING);
    assert_int_equal(w.err, ERR_OK);
    struct reader r = reader_of(buf_bytes(&b));
    assert_int_equal(read_u8(&r), 200);
    assert_int_equal(read_u16(&r), 60000);
    assert_int_equal(read_u32(&r), 4000000000);
    assert_true(read_u64(&r) == UINT64_MAX);
    assert_int_equal(read_varint(&r), 300);
    assert_true(bytes_eq_str(read_raw(&r, 3), "raw"));
    assert_true(bytes_eq_str(read_blob(&r, 4), "blob"));
    assert_int_equal(read_blob(&r, 0).len, 0);
    assert_true(reader_ok(&r));
    assert_int_equal(reader_left(&r), 0);
    buf_done(&b);
}

static void a_failed_read_is_remembered_and_leaves_nothing(void **state)
{
    (void)state;
    struct reader r = reader_of(BYTES_LITERAL("\x01\x02\x03"));
    assert_int_equal(read_u32(&r), 0);
    assert_false(reader_ok(&r));
    assert_int_equal(reader_left(&r), 0);
    assert_int_equal(read_u8(&r), 0);
    assert_int_equal(read_u16(&r), 0);
    assert_int_equal(read_u64(&r), 0);
    assert_int_equal(read_varint(&r), 0);
    assert_null(read_raw(&r, 0).data);
    assert_false(reader_ok(&r));
}

static void reading_nothing_from_nothing_is_fine(void **state)
{
    (void)state;
    struct reader r = reader_of(NOTHING);
    assert_int_equal(read_raw(&r, 0).len, 0);
    assert_true(reader_ok(&r));
    assert_int_equal(read_u8(&r), 0);
    assert_false(reader_ok(&r));
}

static void lengths_that_exceed_the_input_or_the_limit_fail(void **state)
{
    (void)state;
    struct reader r = reader_of(BYTES_LITERAL("\x05"
                                              "abcd"));
    assert_int_equal(read_blob(&r, 100).len, 0);
    assert_false(reader_ok(&r));
    r = reader_of(BYTES_LITERAL("\x04"
                                "abcd"));
    assert_int_equal(read_blob(&r, 3).len, 0);
    assert_false(reader_ok(&r));
    r = reader_of(BYTES_LITERAL("abc"));
    assert_int_equal(read_raw(&r, SIZE_MAX).len, 0);
    assert_false(reader_ok(&r));
}

static size_t varint_round_trip(uint64_t value)
{
    struct buf b;
    buf_init(&b, 10);
    struct writer w = writer_of(&b);
    write_varint(&w, value);
    assert_int_equal(w.err, ERR_OK);
    struct reader r = reader_of(buf_bytes(&b));
    assert_true(read_varint(&r) == value);
    assert_true(reader_ok(&r));
    size_t len = b.len;
    buf_done(&b);
    return len;
}

static void varints_use_seven_bits_a_byte(void **state)
{
    (void)state;
    assert_int_equal(varint_round_trip(0), 1);
    assert_int_equal(varint_round_trip(UINT64_MAX), 10);
    for (unsigned bits = 1; bits < 64; bits++) {
        uint64_t power = UINT64_C(1) << bits;
        assert_int_equal(varint_round_trip(power - 1), (bits + 6) / 7);
        assert_int_equal(varint_round_trip(power), bits / 7 + 1);
    }
}

static void varints_that_are_cut_or_too_long_fail(void **state)
{
    (void)state;
    const struct bytes bad[] = {
        BYTES_LITERAL("\x80"),
        BYTES_LITERAL("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"),
        BYTES_LITERAL("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"),
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct reader r = reader_of(bad[i]);
        assert_int_equal(read_varint(&r), 0);
        assert_false(reader_ok(&r));
    }
}

static void a_buffer_grows_to_exactly_its_max(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 1000);
    assert_null(b.data);
    for (size_t i = 0; i < 1000; i++) {
        uint8_t byte = (uint8_t)i;
        assert_int_equal(buf_append(&b, bytes_of(&byte, 1)), ERR_OK);
    }
    assert_int_equal(buf_append(&b, BYTES_LITERAL("x")), ERR_FULL);
    assert_int_equal(buf_append(&b, NOTHING), ERR_OK);
    assert_int_equal(b.len, 1000);
    assert_true(b.cap <= b.max);
    for (size_t i = 0; i < 1000; i++) {
        assert_int_equal(b.data[i], (uint8_t)i);
    }
    buf_done(&b);
    assert_null(b.data);
    buf_done(NULL);
}

static void an_append_that_does_not_fit_changes_nothing(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 4);
    assert_int_equal(buf_append(&b, BYTES_LITERAL("ab")), ERR_OK);
    assert_int_equal(buf_append(&b, BYTES_LITERAL("cde")), ERR_FULL);
    assert_int_equal(buf_printf(&b, "%d", 123), ERR_FULL);
    assert_int_equal(buf_reserve(&b, SIZE_MAX), ERR_FULL);
    assert_true(bytes_eq_str(buf_bytes(&b), "ab"));
    buf_done(&b);
}

static void printf_fills_a_buffer_to_its_last_byte(void **state)
{
    (void)state;
    for (size_t max = 1; max < 200; max++) {
        struct buf b;
        buf_init(&b, max);
        size_t printed = 0;
        while (buf_printf(&b, "%c", (char)('a' + printed % 26)) == ERR_OK) {
            printed++;
        }
        assert_int_equal(printed, max);
        assert_int_equal(b.len, max);
        assert_int_equal(b.data[max - 1], 'a' + (max - 1) % 26);
        buf_done(&b);
    }
}

static void printf_appends_long_text(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 10000);
    assert_int_equal(buf_printf(&b, "%s=%d;", "key", -5), ERR_OK);
    assert_int_equal(buf_printf(&b, "%0500d", 7), ERR_OK);
    assert_int_equal(buf_printf(&b, "%s", ""), ERR_OK);
    assert_int_equal(b.len, 507);
    assert_memory_equal(b.data, "key=-5;000", 10);
    assert_int_equal(b.data[506], '7');
    buf_done(&b);
}

static void consuming_moves_the_rest_down(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    buf_consume(&b, 0);
    assert_int_equal(buf_append(&b, BYTES_LITERAL("abcdef")), ERR_OK);
    buf_consume(&b, 4);
    assert_true(bytes_eq_str(buf_bytes(&b), "ef"));
    buf_consume(&b, 2);
    assert_int_equal(b.len, 0);
    assert_int_equal(buf_append(&b, BYTES_LITERAL("x")), ERR_OK);
    buf_clear(&b);
    assert_int_equal(b.len, 0);
    buf_done(&b);
}

static void a_writer_remembers_its_first_failure(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 3);
    struct writer w = writer_of(&b);
    write_u16(&w, 1);
    write_u32(&w, 2);
    assert_int_equal(w.err, ERR_FULL);
    write_u8(&w, 3);
    assert_int_equal(w.err, ERR_FULL);
    assert_int_equal(b.len, 2);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equality_is_by_content),
        cmocka_unit_test(letters_compare_without_case_and_only_letters),
        cmocka_unit_test(order_is_by_unsigned_bytes_then_length),
        cmocka_unit_test(prefix_find_and_rest),
        cmocka_unit_test(cstr_needs_room_for_its_zero),
        cmocka_unit_test(integers_have_a_fixed_order_of_bytes),
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(a_failed_read_is_remembered_and_leaves_nothing),
        cmocka_unit_test(reading_nothing_from_nothing_is_fine),
        cmocka_unit_test(lengths_that_exceed_the_input_or_the_limit_fail),
        cmocka_unit_test(varints_use_seven_bits_a_byte),
        cmocka_unit_test(varints_that_are_cut_or_too_long_fail),
        cmocka_unit_test(a_buffer_grows_to_exactly_its_max),
        cmocka_unit_test(an_append_that_does_not_fit_changes_nothing),
        cmocka_unit_test(printf_fills_a_buffer_to_its_last_byte),
        cmocka_unit_test(printf_appends_long_text),
        cmocka_unit_test(consuming_moves_the_rest_down),
        cmocka_unit_test(a_writer_remembers_its_first_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
