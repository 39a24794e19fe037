/* Tests of base/text: what each form accepts, refuses, and gives. */
#include "text/text.h"

#include "rnd/rnd.h"
#include "test.h"

#include <string.h>
#include <time.h>

enum {
    UNTOUCHED = 77
};

static void assert_parses(enum err (*parse)(struct bytes, uint64_t *), const char *text,
                          uint64_t expected)
{
    uint64_t value = UNTOUCHED;
    if (parse(bytes_of_str(text), &value) != ERR_OK || value != expected) {
        fail_msg("\"%s\" gave %ju", text, (uintmax_t)value);
    }
}

static void assert_refuses(enum err (*parse)(struct bytes, uint64_t *), const char *text,
                           enum err expected)
{
    uint64_t value = UNTOUCHED;
    enum err err = parse(bytes_of_str(text), &value);
    if (err != expected || value != UNTOUCHED) {
        fail_msg("\"%s\" gave %s and %ju", text, err_name(err), (uintmax_t)value);
    }
}

static void numbers_are_decimal_digits_only(void **state)
{
    (void)state;
    assert_parses(text_parse_u64, "0", 0);
    assert_parses(text_parse_u64, "007", 7);
    assert_parses(text_parse_u64, "18446744073709551615", UINT64_MAX);
    assert_refuses(text_parse_u64, "18446744073709551616", ERR_TOO_LARGE);
    assert_refuses(text_parse_u64, "99999999999999999999999", ERR_TOO_LARGE);
    static const char *const bad[] = {"",   " ",  "1 ",  " 1",  "+1",
                                      "-1", "1a", "0x1", "1.0", "99999999999999999999x"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_refuses(text_parse_u64, bad[i], ERR_BAD_INPUT);
    }
    uint64_t value;
    assert_int_equal(text_parse_u64((struct bytes){NULL, 0}, &value), ERR_BAD_INPUT);
}

static void durations_add_up_in_milliseconds(void **state)
{
    (void)state;
    assert_parses(text_parse_duration_ms, "0", 0);
    assert_parses(text_parse_duration_ms, "0s", 0);
    assert_parses(text_parse_duration_ms, "10s", 10000);
    assert_parses(text_parse_duration_ms, "1m30s", 90000);
    assert_parses(text_parse_duration_ms, "250ms", 250);
    assert_parses(text_parse_duration_ms, "1.5h", 5400000);
    assert_parses(text_parse_duration_ms, ".5s", 500);
    assert_parses(text_parse_duration_ms, "1.s", 1000);
    assert_parses(text_parse_duration_ms, "2h3m4s5ms", 7384005);
    assert_parses(text_parse_duration_ms, "0.000000000000000000000000001h", 0);
    assert_parses(text_parse_duration_ms, "0.3000000000000000000000000000s", 300);
    assert_parses(text_parse_duration_ms, "1s1s", 2000);
}

static void durations_under_a_millisecond_round_up(void **state)
{
    (void)state;
    assert_parses(text_parse_duration_ms, "1ns", 1);
    assert_parses(text_parse_duration_ms, "1us", 1);
    assert_parses(text_parse_duration_ms, "1000us", 1);
    assert_parses(text_parse_duration_ms, "1001\xc2\xb5s", 2);
    assert_parses(text_parse_duration_ms, "1001\xce\xbcs", 2);
    assert_parses(text_parse_duration_ms, "1.5ms", 2);
}

static void malformed_durations_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "10",
                                      "s",
                                      "1x",
                                      "-1s",
                                      "+1s",
                                      "1s ",
                                      " 1s",
                                      ".s",
                                      "1.",
                                      ".",
                                      "00",
                                      "1S",
                                      "1d",
                                      "1.2.3s",
                                      "1s2",
                                      "1ms.",
                                      "1 s",
                                      "99999999999999999999999999999999x"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_refuses(text_parse_duration_ms, bad[i], ERR_BAD_INPUT);
    }
}

static void durations_end_at_292_years(void **state)
{
    (void)state;
    assert_parses(text_parse_duration_ms, "9223372036854775807ns", UINT64_C(9223372036855));
    assert_refuses(text_parse_duration_ms, "9223372036854775808ns", ERR_TOO_LARGE);
    assert_refuses(text_parse_duration_ms, "18446744073709551616ns", ERR_TOO_LARGE);
    assert_refuses(text_parse_duration_ms, "5124096h", ERR_TOO_LARGE);
    assert_refuses(text_parse_duration_ms, "2000000h2000000h2000000h", ERR_TOO_LARGE);
    assert_refuses(text_parse_duration_ms, "5124096hx", ERR_BAD_INPUT);
    assert_refuses(text_parse_duration_ms, "5124096h1", ERR_BAD_INPUT);
}

static void sizes_have_powers_of_1024(void **state)
{
    (void)state;
    assert_parses(text_parse_size, "512", 512);
    assert_parses(text_parse_size, "64KiB", 65536);
    assert_parses(text_parse_size, "64K", 65536);
    assert_parses(text_parse_size, "1MiB", 1048576);
    assert_parses(text_parse_size, "3G", UINT64_C(3) << 30);
    assert_parses(text_parse_size, "17179869183GiB", UINT64_C(17179869183) << 30);
    assert_parses(text_parse_size, "18446744073709551615", UINT64_MAX);
    assert_refuses(text_parse_size, "17179869184GiB", ERR_TOO_LARGE);
    assert_refuses(text_parse_size, "18446744073709551616K", ERR_TOO_LARGE);
    static const char *const bad[] = {"",    "K",   "KiB", "1k", "1KB",
                                      "1Ki", "1 K", "1T",  "-1", "1.5K"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_refuses(text_parse_size, bad[i], ERR_BAD_INPUT);
    }
}

static void assert_address(const char *text, const char *host, uint16_t port)
{
    char got[64] = "?";
    uint16_t got_port = UNTOUCHED;
    if (text_parse_host_port(bytes_of_str(text), got, sizeof(got), &got_port) != ERR_OK ||
        strcmp(got, host) != 0 || got_port != port) {
        fail_msg("\"%s\" gave %s and %u", text, got, (unsigned)got_port);
    }
}

static void assert_no_address(const char *text, size_t host_size, enum err expected)
{
    char got[64] = "?";
    uint16_t port = UNTOUCHED;
    enum err err = text_parse_host_port(bytes_of_str(text), got, host_size, &port);
    if (err != expected || strcmp(got, "?") != 0 || port != UNTOUCHED) {
        fail_msg("\"%s\" gave %s, %s and %u", text, err_name(err), got, (unsigned)port);
    }
}

static void addresses_are_split_at_their_port(void **state)
{
    (void)state;
    assert_address("localhost:8500", "localhost", 8500);
    assert_address("127.0.0.1:0", "127.0.0.1", 0);
    assert_address("a_b-c.example:65535", "a_b-c.example", 65535);
    assert_address("[::1]:80", "::1", 80);
    assert_address("[fe80::1%eth0]:80", "fe80::1%eth0", 80);
}

static void malformed_addresses_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",         ":80",     "host",      "host:",    "host:x",
                                      "host: 80", "::1:80",  "[::1]80",   "[::1",     "[]:80",
                                      "[::1]:",   "a b:80",  "a/b:80",    "host:+80", "[a]b:80",
                                      "host:80 ", "h\nt:80", "[::1]x:80", "h[:80",    "[a/b]:80"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_no_address(bad[i], 64, ERR_BAD_INPUT);
    }
    assert_no_address("host:65536", 64, ERR_TOO_LARGE);
    assert_no_address("host:80", 4, ERR_TOO_LARGE);
}

static void assert_coded(struct buf *b, enum err err, const char *expected)
{
    assert_int_equal(err, ERR_OK);
    if (!bytes_eq_str(buf_bytes(b), expected)) {
        fail_msg("got \"%.*s\" instead of \"%s\"", BYTES_PRINT(buf_bytes(b)), expected);
    }
    buf_clear(b);
}

static void percent_decoding_takes_escapes_and_perhaps_plus(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    assert_coded(&b, text_percent_decode(BYTES_LITERAL("a%20b%2Fc%2fd+e"), false, &b), "a b/c/d+e");
    assert_coded(&b, text_percent_decode(BYTES_LITERAL("a+b%2B"), true, &b), "a b+");
    assert_coded(&b, text_percent_decode((struct bytes){NULL, 0}, true, &b), "");
    assert_int_equal(text_percent_decode(BYTES_LITERAL("%00%ff"), false, &b), ERR_OK);
    assert_int_equal(b.len, 2);
    assert_memory_equal(b.data, "\x00\xff", 2);
    buf_done(&b);
}

static void bad_escapes_are_refused_and_append_nothing(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    static const char *const bad[] = {"%",   "ab%",   "%4",   "%zz", "%4g",
                                      "%g4", "abc%2", "%%41", "%+1"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(text_percent_decode(bytes_of_str(bad[i]), false, &b), ERR_BAD_INPUT);
        assert_int_equal(b.len, 0);
    }
    struct bytes cut = BYTES_LITERAL("a%41");
    cut.len = 3;
    assert_int_equal(text_percent_decode(cut, false, &b), ERR_BAD_INPUT);
    buf_done(&b);
}

static void percent_encoding_keeps_the_unreserved_and_the_named(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 100);
    assert_coded(&b, text_percent_encode(BYTES_LITERAL("aZ09-_.~"), "", &b), "aZ09-_.~");
    assert_coded(&b, text_percent_encode(BYTES_LITERAL("a/b c%\xff"), "", &b), "a%2Fb%20c%25%FF");
    assert_coded(&b, text_percent_encode(BYTES_LITERAL("a/b:c"), "/", &b), "a/b%3Ac");
    assert_coded(&b, text_percent_encode(bytes_of("\0", 1), "/", &b), "%00");
    buf_done(&b);
}

static void codings_fit_exactly_or_append_nothing(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 4);
    assert_coded(&b, text_percent_decode(BYTES_LITERAL("%41%42%43%44"), false, &b), "ABCD");
    assert_int_equal(text_percent_decode(BYTES_LITERAL("%41%42%43%44%45"), false, &b), ERR_FULL);
    assert_coded(&b, text_percent_encode(BYTES_LITERAL("/a"), "", &b), "%2Fa");
    assert_int_equal(text_percent_encode(BYTES_LITERAL("//"), "", &b), ERR_FULL);
    assert_coded(&b, text_base64_encode(BYTES_LITERAL("abc"), &b), "YWJj");
    assert_int_equal(text_base64_encode(BYTES_LITERAL("abcd"), &b), ERR_FULL);
    assert_coded(&b, text_base64_decode(BYTES_LITERAL("YWJjZA=="), &b), "abcd");
    assert_int_equal(text_base64_decode(BYTES_LITERAL("YWJjZGU="), &b), ERR_FULL);
    assert_int_equal(b.len, 0);
    buf_done(&b);
}

/* RFC 4648 section 10. */
static void base64_gives_the_published_texts(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"},
                                           {"\xfb\xff", "+/8="}};
    struct buf b;
    buf_init(&b, 100);
    for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
        assert_coded(&b, text_base64_encode(bytes_of_str(pairs[i][0]), &b), pairs[i][1]);
        assert_coded(&b, text_base64_decode(bytes_of_str(pairs[i][1]), &b), pairs[i][0]);
    }
    buf_done(&b);
}

static void base64_that_no_encoder_gives_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "Z",    "Zg",   "Zg=",   "Zm9",  "====", "=Zg=",     "Z===",
        "Zh==", "Zm9=", "Zm 8=", "Zm8-", "Zm_=", "Zg==Zg==", "Zm9v\n"};
    struct buf b;
    buf_init(&b, 100);
    assert_int_equal(buf_append(&b, BYTES_LITERAL("kept")), ERR_OK);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (text_base64_decode(bytes_of_str(bad[i]), &b) != ERR_BAD_INPUT) {
            fail_msg("\"%s\" was accepted", bad[i]);
        }
        assert_true(bytes_eq_str(buf_bytes(&b), "kept"));
    }
    buf_done(&b);
}

static void random_bytes_survive_each_coding(void **state)
{
    (void)state;
    struct rnd rnd;
    rnd_init(&rnd, 3);
    struct buf coded;
    struct buf back;
    buf_init(&coded, 1000);
    buf_init(&back, 1000);
    for (int round = 0; round < 2000; round++) {
        uint8_t raw[50];
        size_t len = rnd_below(&rnd, sizeof(raw) + 1);
        for (size_t i = 0; i < len; i++) {
            raw[i] = (uint8_t)rnd_u64(&rnd);
        }
        assert_int_equal(text_base64_encode(bytes_of(raw, len), &coded), ERR_OK);
        assert_int_equal(text_base64_decode(buf_bytes(&coded), &back), ERR_OK);
        assert_true(bytes_eq(buf_bytes(&back), bytes_of(raw, len)));
        buf_clear(&coded);
        buf_clear(&back);
        assert_int_equal(text_percent_encode(bytes_of(raw, len), "/", &coded), ERR_OK);
        assert_int_equal(text_percent_decode(buf_bytes(&coded), true, &back), ERR_OK);
        assert_true(bytes_eq(buf_bytes(&back), bytes_of(raw, len)));
        buf_clear(&coded);
        buf_clear(&back);
    }
    buf_done(&coded);
    buf_done(&back);
}

static void hexadecimal_has_sixteen_digits(void **state)
{
    (void)state;
    char text[17];
    text_hex64(0, text);
    assert_string_equal(text, "0000000000000000");
    text_hex64(0x0123456789abcdef, text);
    assert_string_equal(text, "0123456789abcdef");
    text_hex64(UINT64_MAX, text);
    assert_string_equal(text, "ffffffffffffffff");
}

static void assert_utc(uint64_t unix_ms, const char *expected)
{
    char text[25];
    text_utc(unix_ms, text);
    assert_string_equal(text, expected);
}

static void times_are_utc_with_milliseconds(void **state)
{
    (void)state;
    assert_utc(0, "1970-01-01T00:00:00.000Z");
    assert_utc(UINT64_C(951782400000), "2000-02-29T00:00:00.000Z");
    assert_utc(UINT64_C(1795408423123), "2026-11-23T04:33:43.123Z");
    assert_utc(UINT64_C(253402300799999), "9999-12-31T23:59:59.999Z");
    assert_utc(UINT64_C(253402300800000), "9999-12-31T23:59:59.999Z");
    assert_utc(UINT64_MAX, "9999-12-31T23:59:59.999Z");
}

static void every_day_to_2500_agrees_with_the_c_library(void **state)
{
    (void)state;
    for (time_t day = 0; day < 530 * 366; day++) {
        time_t seconds = day * 86400 + day % 86400;
        struct tm tm;
        assert_non_null(gmtime_r(&seconds, &tm));
        char expected[64];
        assert_int_not_equal(strftime(expected, sizeof(expected), "%Y-%m-%dT%H:%M:%S.007Z", &tm),
                             0);
        assert_utc((uint64_t)seconds * 1000 + 7, expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_decimal_digits_only),
        cmocka_unit_test(durations_add_up_in_milliseconds),
        cmocka_unit_test(durations_under_a_millisecond_round_up),
        cmocka_unit_test(malformed_durations_are_refused),
        cmocka_unit_test(durations_end_at_292_years),
        cmocka_unit_test(sizes_have_powers_of_1024),
        cmocka_unit_test(addresses_are_split_at_their_port),
        cmocka_unit_test(malformed_addresses_are_refused),
        cmocka_unit_test(percent_decoding_takes_escapes_and_perhaps_plus),
        cmocka_unit_test(bad_escapes_are_refused_and_append_nothing),
        cmocka_unit_test(percent_encoding_keeps_the_unreserved_and_the_named),
        cmocka_unit_test(codings_fit_exactly_or_append_nothing),
        cmocka_unit_test(base64_gives_the_published_texts),
        cmocka_unit_test(base64_that_no_encoder_gives_is_refused),
        cmocka_unit_test(random_bytes_survive_each_coding),
        cmocka_unit_test(hexadecimal_has_sixteen_digits),
        cmocka_unit_test(times_are_utc_with_milliseconds),
        cmocka_unit_test(every_day_to_2500_agrees_with_the_c_library),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
