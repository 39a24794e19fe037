/* Balancing: claims about core/balance. */
#include "balance/balance.h"
#include "test.h"

enum {
    ENDPOINTS_MAX = 64,
    DRAWS = 20000
};

struct loads {
    uint64_t of[ENDPOINTS_MAX];
};

static uint64_t load_of(const void *context, size_t number)
{
    const struct loads *loads = context;
    return loads->of[number];
}

static size_t pick(const struct loads *loads, size_t count, size_t exclude, struct rnd *rnd)
{
    const struct balance_ask ask = {
        .count = count, .exclude = exclude, .load = load_of, .context = loads};
    return balance_pick(&ask, rnd);
}

static void nothing_is_chosen_from_nothing(void **state)
{
    (void)state;
    struct rnd rnd;
    rnd_init(&rnd, 1);
    const struct loads loads = {{0}};
    assert_true(pick(&loads, 0, BALANCE_NONE, &rnd) == BALANCE_NONE);
    assert_true(pick(&loads, 1, 0, &rnd) == BALANCE_NONE);
}

static void a_single_endpoint_is_taken_whatever_its_load(void **state)
{
    (void)state;
    struct rnd rnd;
    rnd_init(&rnd, 1);
    const struct loads loads = {{BALANCE_AVOID + 9, 0}};
    assert_int_equal(pick(&loads, 1, BALANCE_NONE, &rnd), 0);
    assert_int_equal(pick(&loads, 2, 1, &rnd), 0);
    assert_int_equal(pick(&loads, 2, 0, &rnd), 1);
}

static void of_two_endpoints_the_less_loaded_one_is_taken(void **state)
{
    (void)state;
    struct rnd rnd;
    rnd_init(&rnd, 2);
    const struct loads loads = {{7, 6}};
    for (int i = 0; i < 100; i++) {
        assert_int_equal(pick(&loads, 2, BALANCE_NONE, &rnd), 1);
    }
}

static void equal_loads_are_spread_evenly(void **state)
{
    (void)state;
    struct rnd rnd;
    rnd_init(&rnd, 3);
    const struct loads loads = {{0}};
    for (size_t count = 2; count <= 5; count++) {
        size_t hits[ENDPOINTS_MAX] = {0};
        for (int i = 0; i < DRAWS; i++) {
            hits[pick(&loads, count, BALANCE_NONE, &rnd)]++;
        }
        for (size_t i = 0; i < count; i++) {
            assert_in_range(hits[i], DRAWS / count * 9 / 10, DRAWS / count * 11 / 10);
        }
    }
}

static void the_excluded_endpoint_is_never_taken(void **state)
{
    (void)state;
    struct rnd rnd;
    rnd_init(&rnd, 4);
    const struct loads loads = {{0}};
    for (size_t exclude = 0; exclude < 5; exclude++) {
        size_t hits[ENDPOINTS_MAX] = {0};
        for (int i = 0; i < 1000; i++) {
            hits[pick(&loads, 5, exclude, &rnd)]++;
        }
        for (size_t i = 0; i < 5; i++) {
            assert_true((hits[i] == 0) == (i == exclude));
        }
    }
}

static void an_avoided_endpoint_is_taken_only_when_all_are_avoided(void **state)
{
    (void)state;
    struct rnd rnd;
    rnd_init(&rnd, 5);
    struct loads loads = {{0}};
    for (size_t i = 0; i < 8; i++) {
        loads.of[i] = BALANCE_AVOID;
    }
    loads.of[5] = 1000;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(pick(&loads, 8, BALANCE_NONE, &rnd), 5);
    }
    loads.of[5] = BALANCE_AVOID + 1;
    for (int i = 0; i < 1000; i++) {
        assert_in_range(pick(&loads, 8, 3, &rnd), 0, 7);
    }
}

/* One draw leaves some endpoint with many times the mean; two leave all near it. */
static void the_longest_queue_stays_near_the_mean(void **state)
{
    (void)state;
    struct rnd rnd;
    rnd_init(&rnd, 6);
    struct loads loads = {{0}};
    for (int i = 0; i < ENDPOINTS_MAX * 100; i++) {
        loads.of[pick(&loads, ENDPOINTS_MAX, BALANCE_NONE, &rnd)]++;
    }
    for (size_t i = 0; i < ENDPOINTS_MAX; i++) {
        assert_in_range(loads.of[i], 94, 104);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_chosen_from_nothing),
        cmocka_unit_test(a_single_endpoint_is_taken_whatever_its_load),
        cmocka_unit_test(of_two_endpoints_the_less_loaded_one_is_taken),
        cmocka_unit_test(equal_loads_are_spread_evenly),
        cmocka_unit_test(the_excluded_endpoint_is_never_taken),
        cmocka_unit_test(an_avoided_endpoint_is_taken_only_when_all_are_avoided),
        cmocka_unit_test(the_longest_queue_stays_near_the_mean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
