/* Tests of base/crc: both forms against the published vectors, a bitwise model, and each other. */
#include "crc/crc32c.h"

#include "rnd/rnd.h"
#include "test.h"

#include <string.h>

static uint32_t bitwise(uint32_t crc, const uint8_t *data, size_t len)
{
    crc = ~crc;
    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc & 1) != 0 ? (crc >> 1) ^ 0x82f63b78u : crc >> 1;
        }
    }
    return ~crc;
}

static void assert_crc(const void *data, size_t len, uint32_t expected)
{
    assert_int_equal(crc32c(0, data, len), expected);
    assert_int_equal(crc32c_table(0, data, len), expected);
}

static void published_vectors_hold(void **state)
{
    (void)state;
    uint8_t data[32] = {0};
    assert_crc(data, 32, 0x8a9136aa);
    memset(data, 0xff, sizeof(data));
    assert_crc(data, 32, 0x62a8ab43);
    for (uint8_t i = 0; i < 32; i++) {
        data[i] = i;
    }
    assert_crc(data, 32, 0x46dd794e);
    for (uint8_t i = 0; i < 32; i++) {
        data[i] = (uint8_t)(31 - i);
    }
    assert_crc(data, 32, 0x113fdb5c);
    static const uint8_t iscsi_read[48] = {
        0x01, 0xc0, 0, 0,    0, 0, 0, 0,    0,    0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0, 0, 4, 0,
        0,    0,    0, 0x14, 0, 0, 0, 0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 2,    0, 0, 0, 0, 0, 0, 0};
    assert_crc(iscsi_read, sizeof(iscsi_read), 0xd9963a56);
    assert_crc("123456789", 9, 0xe3069283);
}

static void nothing_has_crc_zero(void **state)
{
    (void)state;
    assert_crc(NULL, 0, 0);
    assert_int_equal(crc32c(123, NULL, 0), 123);
    assert_int_equal(crc32c_table(123, NULL, 0), 123);
}

static void both_forms_agree_with_the_bitwise_model(void **state)
{
    (void)state;
    static uint8_t data[600];
    struct rnd rnd;
    rnd_init(&rnd, 1);
    for (size_t i = 0; i < sizeof(data); i++) {
        data[i] = (uint8_t)rnd_u64(&rnd);
    }
    for (size_t len = 0; len <= 500; len++) {
        const uint8_t *start = data + rnd_below(&rnd, 100);
        uint32_t seed = (uint32_t)rnd_u64(&rnd);
        uint32_t expected = bitwise(seed, start, len);
        assert_int_equal(crc32c(seed, start, len), expected);
        assert_int_equal(crc32c_table(seed, start, len), expected);
    }
}

static void parts_give_the_crc_of_the_whole(void **state)
{
    (void)state;
    static const char text[] = "the quick brown fox jumps over the lazy dog";
    size_t len = strlen(text);
    uint32_t whole = crc32c(0, text, len);
    for (size_t cut = 0; cut <= len; cut++) {
        assert_int_equal(crc32c(crc32c(0, text, cut), text + cut, len - cut), whole);
        uint32_t first = crc32c_table(0, text, cut);
        assert_int_equal(crc32c_table(first, text + cut, len - cut), whole);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_vectors_hold),
        cmocka_unit_test(nothing_has_crc_zero),
        cmocka_unit_test(both_forms_agree_with_the_bitwise_model),
        cmocka_unit_test(parts_give_the_crc_of_the_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
