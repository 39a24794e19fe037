/* Tests of base/rnd. */
#include "rnd/rnd.h"

#include "test.h"

static void a_seed_replays_exactly(void **state)
{
    (void)state;
    struct rnd a;
    struct rnd b;
    rnd_init(&a, 123);
    rnd_init(&b, 123);
    for (int i = 0; i < 1000; i++) {
        assert_true(rnd_u64(&a) == rnd_u64(&b));
    }
}

/* The published generator, fed with the state 1, 2, 3, 4: its first results by hand are
 * rotl(2 * 5, 7) * 9 = 11520; then s[1] is 0, so 0; then rotl(262149 * 5 ...). */
static void the_generator_is_xoshiro256_starstar(void **state)
{
    (void)state;
    struct rnd rnd = {{1, 2, 3, 4}};
    assert_true(rnd_u64(&rnd) == 11520);
    assert_true(rnd_u64(&rnd) == 0);
    assert_true(rnd_u64(&rnd) == 1509978240);
    assert_true(rnd_u64(&rnd) == 1215971899390074240);
}

static void seed_zero_is_a_seed_like_any_other(void **state)
{
    (void)state;
    struct rnd zero;
    struct rnd one;
    rnd_init(&zero, 0);
    rnd_init(&one, 1);
    /* The first results of splitmix64 from seed 0, as its authors publish them. */
    assert_true(zero.state[0] == 0xe220a8397b1dcdaf);
    assert_true(zero.state[1] == 0x6e789e6aa1b965f4);
    assert_true(rnd_u64(&zero) != rnd_u64(&one));
}

static void below_covers_its_interval_evenly(void **state)
{
    (void)state;
    struct rnd rnd;
    rnd_init(&rnd, 5);
    unsigned hits[7] = {0};
    for (int i = 0; i < 70000; i++) {
        uint64_t value = rnd_below(&rnd, 7);
        assert_in_range(value, 0, 6);
        hits[value]++;
    }
    for (size_t i = 0; i < 7; i++) {
        assert_in_range(hits[i], 9500, 10500);
    }
    assert_int_equal(rnd_below(&rnd, 1), 0);
}

static void below_has_no_modulo_bias(void **state)
{
    (void)state;
    struct rnd rnd;
    rnd_init(&rnd, 6);
    /* Of this bound a modulo would make the lower third twice as likely as the rest, and a product
     * without rejection every third value. */
    uint64_t bound = UINT64_C(3) << 62;
    unsigned low = 0;
    unsigned thirds = 0;
    for (int i = 0; i < 30000; i++) {
        uint64_t value = rnd_below(&rnd, bound);
        assert_true(value < bound);
        low += value < bound / 3;
        thirds += value % 3 == 0;
    }
    assert_in_range(low, 9500, 10500);
    assert_in_range(thirds, 9500, 10500);
}

static void range_includes_both_ends(void **state)
{
    (void)state;
    struct rnd rnd;
    rnd_init(&rnd, 8);
    bool low = false;
    bool high = false;
    for (int i = 0; i < 1000; i++) {
        uint64_t value = rnd_range(&rnd, 10, 13);
        assert_in_range(value, 10, 13);
        low = low || value == 10;
        high = high || value == 13;
    }
    assert_true(low && high);
    assert_int_equal(rnd_range(&rnd, 4, 4), 4);
    assert_true(rnd_range(&rnd, UINT64_MAX, UINT64_MAX) == UINT64_MAX);
    assert_true(rnd_range(&rnd, 0, UINT64_MAX) != rnd_range(&rnd, 0, UINT64_MAX));
}

static void chance_is_in_parts_per_million(void **state)
{
    (void)state;
    struct rnd rnd;
    rnd_init(&rnd, 9);
    unsigned hits = 0;
    for (int i = 0; i < 100000; i++) {
        hits += rnd_chance_ppm(&rnd, 250000);
        assert_false(rnd_chance_ppm(&rnd, 0));
        assert_true(rnd_chance_ppm(&rnd, 1000000));
    }
    assert_in_range(hits, 24300, 25700);
    /* A state whose next number is 9, which is among the lowest millionth: 5 * 77 = 3 * 128 + 1. */
    const struct rnd lowest = {{1, UINT64_C(77) << 57, 3, 4}};
    rnd = lowest;
    assert_int_equal(rnd_below(&rnd, 1000000), 0);
    rnd = lowest;
    assert_true(rnd_chance_ppm(&rnd, 1));
    rnd = lowest;
    assert_false(rnd_chance_ppm(&rnd, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_seed_replays_exactly),
        cmocka_unit_test(the_generator_is_xoshiro256_starstar),
        cmocka_unit_test(seed_zero_is_a_seed_like_any_other),
        cmocka_unit_test(below_covers_its_interval_evenly),
        cmocka_unit_test(below_has_no_modulo_bias),
        cmocka_unit_test(range_includes_both_ends),
        cmocka_unit_test(chance_is_in_parts_per_million),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
