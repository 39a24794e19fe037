/* Tests of tests/lib/linear: good histories are found good, and bad ones bad. */
#include "linear.h"

#include "mem/mem.h"
#include "rnd/rnd.h"
#include "test.h"

#define CHECK_HISTORY(verdict, ...)                                                                \
    do {                                                                                           \
        const struct linear_op ops[] = {__VA_ARGS__};                                              \
        assert_int_equal(linear_check(ops, sizeof(ops) / sizeof(ops[0])), verdict);                \
    } while (0)

#define READ(at, end, what)                                                                        \
    {                                                                                              \
        .kind = LINEAR_READ, .known = true, .value = (what), .invoked = (at), .returned = (end)    \
    }
#define WRITE(at, end, what)                                                                       \
    {                                                                                              \
        .kind = LINEAR_WRITE, .known = true, .value = (what), .invoked = (at), .returned = (end)   \
    }
#define CAS(at, end, from, to, is_done)                                                            \
    {                                                                                              \
        .kind = LINEAR_CAS, .known = true, .done = (is_done), .expect = (from), .value = (to),     \
        .invoked = (at), .returned = (end)                                                         \
    }
#define WRITE_UNKNOWN(at, what)                                                                    \
    {                                                                                              \
        .kind = LINEAR_WRITE, .value = (what), .invoked = (at)                                     \
    }
#define CAS_UNKNOWN(at, from, to)                                                                  \
    {                                                                                              \
        .kind = LINEAR_CAS, .expect = (from), .value = (to), .invoked = (at)                       \
    }

static void plain_histories_are_good(void **state)
{
    (void)state;
    assert_int_equal(linear_check(NULL, 0), LINEAR_YES);
    CHECK_HISTORY(LINEAR_YES, READ(1, 2, 0), WRITE(3, 4, 7), READ(5, 6, 7));
    CHECK_HISTORY(LINEAR_YES, WRITE(1, 10, 7), READ(2, 3, 0), READ(4, 5, 7), READ(6, 7, 7));
    CHECK_HISTORY(LINEAR_YES, CAS(1, 2, 0, 5, true), CAS(3, 4, 0, 6, false), READ(5, 6, 5));
    CHECK_HISTORY(LINEAR_YES, WRITE(1, 9, 1), WRITE(1, 9, 2), READ(10, 11, 1));
}

static void stale_read_is_bad(void **state)
{
    (void)state;
    CHECK_HISTORY(LINEAR_NO, WRITE(1, 2, 7), WRITE(3, 4, 8), READ(5, 6, 7));
    CHECK_HISTORY(LINEAR_NO, WRITE(1, 20, 7), READ(2, 3, 7), READ(4, 5, 0));
}

static void lost_write_is_bad(void **state)
{
    (void)state;
    CHECK_HISTORY(LINEAR_NO, WRITE(1, 2, 7), READ(3, 4, 0));
    CHECK_HISTORY(LINEAR_NO, CAS(1, 2, 0, 7, true), CAS(3, 4, 0, 8, true));
}

static void lost_update_is_bad(void **state)
{
    (void)state;
    CHECK_HISTORY(LINEAR_NO, WRITE(1, 2, 1), CAS(3, 9, 1, 2, true), CAS(3, 9, 1, 3, true));
}

static void write_that_takes_effect_twice_is_bad(void **state)
{
    (void)state;
    CHECK_HISTORY(LINEAR_NO, WRITE(1, 30, 7), READ(2, 3, 7), WRITE(4, 5, 8), READ(6, 7, 8),
                  READ(8, 9, 7));
    CHECK_HISTORY(LINEAR_NO, WRITE_UNKNOWN(1, 7), READ(2, 3, 7), WRITE(4, 5, 8), READ(6, 7, 8),
                  READ(8, 9, 7));
}

static void value_from_nowhere_is_bad(void **state)
{
    (void)state;
    CHECK_HISTORY(LINEAR_NO, WRITE(1, 2, 7), READ(3, 4, 9));
    CHECK_HISTORY(LINEAR_NO, READ(1, 2, 7), WRITE(3, 4, 7));
    CHECK_HISTORY(LINEAR_NO, READ(1, 2, 7), WRITE_UNKNOWN(3, 7));
}

static void failed_compare_and_set_needs_another_value(void **state)
{
    (void)state;
    CHECK_HISTORY(LINEAR_NO, WRITE(1, 2, 7), CAS(3, 4, 7, 8, false));
    CHECK_HISTORY(LINEAR_YES, WRITE(1, 2, 7), WRITE(3, 9, 9), CAS(4, 5, 7, 8, false));
    CHECK_HISTORY(LINEAR_NO, WRITE(1, 2, 7), CAS(3, 4, 7, 8, false), READ(5, 6, 8));
}

static void unknown_write_takes_effect_at_any_time_or_never(void **state)
{
    (void)state;
    CHECK_HISTORY(LINEAR_YES, WRITE(1, 2, 7), WRITE_UNKNOWN(3, 8), READ(4, 5, 7));
    CHECK_HISTORY(LINEAR_YES, WRITE(1, 2, 7), WRITE_UNKNOWN(3, 8), READ(4, 5, 7), READ(90, 91, 8));
    CHECK_HISTORY(LINEAR_NO, WRITE(1, 2, 7), WRITE_UNKNOWN(3, 8), READ(4, 5, 8), READ(90, 91, 7));
    CHECK_HISTORY(LINEAR_YES, WRITE_UNKNOWN(1, 8), WRITE_UNKNOWN(1, 9), READ(4, 5, 9),
                  READ(6, 7, 8));
}

static void unknown_compare_and_set_takes_effect_only_on_its_value(void **state)
{
    (void)state;
    CHECK_HISTORY(LINEAR_YES, WRITE(1, 2, 7), CAS_UNKNOWN(3, 7, 8), READ(4, 5, 8));
    CHECK_HISTORY(LINEAR_NO, WRITE(1, 2, 7), CAS_UNKNOWN(3, 6, 8), READ(4, 5, 8));
    CHECK_HISTORY(LINEAR_YES, WRITE(1, 2, 7), WRITE_UNKNOWN(3, 6), CAS_UNKNOWN(3, 6, 8),
                  READ(4, 5, 8));
}

/* Nobody reads what was written; that it was there is why the compare-and-set failed. */
static void unseen_write_explains_a_failed_compare_and_set(void **state)
{
    (void)state;
    CHECK_HISTORY(LINEAR_YES, WRITE(1, 2, 7), WRITE_UNKNOWN(3, 8), CAS(4, 5, 7, 9, false),
                  WRITE(6, 7, 10), READ(8, 9, 10));
    CHECK_HISTORY(LINEAR_NO, WRITE(1, 2, 7), WRITE_UNKNOWN(8, 8), CAS(4, 5, 7, 9, false));
    CHECK_HISTORY(LINEAR_NO, WRITE(1, 2, 7), WRITE_UNKNOWN(3, 8), CAS(4, 5, 7, 9, false),
                  READ(6, 7, 7));
}

/* The earlier of two such writes is taken for both. */
static void each_unseen_write_explains_at_its_time(void **state)
{
    (void)state;
    CHECK_HISTORY(LINEAR_YES, WRITE(1, 2, 7), WRITE_UNKNOWN(3, 8), WRITE_UNKNOWN(3, 9),
                  CAS(4, 5, 7, 10, false), WRITE(6, 7, 11), CAS(8, 9, 11, 12, false));
    CHECK_HISTORY(LINEAR_NO, WRITE(1, 2, 7), WRITE_UNKNOWN(3, 8), CAS(4, 5, 7, 10, false),
                  WRITE(6, 7, 11), CAS(8, 9, 11, 12, false));
    CHECK_HISTORY(LINEAR_YES, WRITE(1, 2, 7), CAS_UNKNOWN(3, 7, 8), CAS(4, 5, 7, 10, false));
}

/* Of who saw a value the first decides by when it was written. */
static void value_is_written_before_it_is_first_seen(void **state)
{
    (void)state;
    CHECK_HISTORY(LINEAR_NO, WRITE(1, 2, 7), WRITE_UNKNOWN(3, 8), CAS(4, 5, 8, 9, true),
                  READ(6, 7, 7), READ(8, 9, 9));
}

/* The same value written by two: nothing follows from who saw it. */
static void values_need_not_be_unique(void **state)
{
    (void)state;
    CHECK_HISTORY(LINEAR_YES, WRITE_UNKNOWN(5, 7), WRITE(1, 2, 7), READ(3, 4, 7));
    CHECK_HISTORY(LINEAR_YES, WRITE(1, 2, 7), WRITE(3, 4, 0), WRITE_UNKNOWN(3, 0), READ(5, 6, 0));
    CHECK_HISTORY(LINEAR_YES, WRITE(1, 2, 7), WRITE(3, 4, 8), WRITE_UNKNOWN(3, 7), READ(5, 6, 7));
}

/* ---- long ones ------------------------------------------------------------------------------- */

enum {
    CLIENTS = 8,
    KEYS = 20,
    LONG = 5000 /* of one key */
};

/* What clients of a register could have seen: each operation takes effect within its time, in the
 * order of this list; one in a hundred of the writes is not answered, and then half are lost. */
static struct linear_op *make_history(struct rnd *rnd, size_t count)
{
    struct linear_op *ops = mem_alloc_array(count, sizeof(*ops));
    uint64_t value = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t now = 1000 * (i + CLIENTS);
        struct linear_op *op = &ops[i];
        bool lost = false;
        op->kind = (enum linear_kind)rnd_below(rnd, 3);
        op->invoked = now - rnd_below(rnd, 1000 * CLIENTS);
        op->returned = now + rnd_below(rnd, 1000 * CLIENTS);
        op->known = op->kind == LINEAR_READ || rnd_below(rnd, 100) != 0;
        lost = !op->known && rnd_below(rnd, 2) == 0;
        op->value = op->kind == LINEAR_READ ? value : i + 1;
        op->expect = rnd_below(rnd, 2) == 0 ? value : value + 1;
        op->done = op->kind == LINEAR_CAS && op->expect == value;
        if (!lost && (op->kind == LINEAR_WRITE || op->done)) {
            value = op->value;
        }
    }
    return ops;
}

static void long_good_histories_are_found_good(void **state)
{
    (void)state;
    struct rnd rnd;
    for (uint64_t key = 0; key < KEYS; key++) {
        rnd_init(&rnd, key);
        struct linear_op *ops = make_history(&rnd, LONG);
        assert_int_equal(linear_check(ops, LONG), LINEAR_YES);
        mem_free(ops);
    }
}

static void one_stale_read_in_a_long_history_is_found(void **state)
{
    (void)state;
    struct rnd rnd;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        rnd_init(&rnd, seed);
        struct linear_op *ops = make_history(&rnd, LONG);
        size_t at = LONG / 2;
        while (ops[at].kind != LINEAR_READ) {
            at++;
        }
        ops[at].value = ops[at - 500].kind == LINEAR_WRITE ? ops[at - 500].value : 1;
        assert_int_not_equal(linear_check(ops, LONG), LINEAR_YES);
        mem_free(ops);
    }
}

/* Writes that overlap all, and a read of something else: every order is wrong, and there are
 * too many of them to be tried. */
static void too_wide_history_is_undecided(void **state)
{
    (void)state;
    struct linear_op ops[41];
    for (size_t i = 0; i < 40; i++) {
        ops[i] = (struct linear_op)WRITE(1, 100, i + 1);
    }
    ops[40] = (struct linear_op)READ(50, 60, 1000);
    assert_int_equal(linear_check(ops, 41), LINEAR_UNDECIDED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_histories_are_good),
        cmocka_unit_test(stale_read_is_bad),
        cmocka_unit_test(lost_write_is_bad),
        cmocka_unit_test(lost_update_is_bad),
        cmocka_unit_test(write_that_takes_effect_twice_is_bad),
        cmocka_unit_test(value_from_nowhere_is_bad),
        cmocka_unit_test(failed_compare_and_set_needs_another_value),
        cmocka_unit_test(unknown_write_takes_effect_at_any_time_or_never),
        cmocka_unit_test(unknown_compare_and_set_takes_effect_only_on_its_value),
        cmocka_unit_test(unseen_write_explains_a_failed_compare_and_set),
        cmocka_unit_test(each_unseen_write_explains_at_its_time),
        cmocka_unit_test(value_is_written_before_it_is_first_seen),
        cmocka_unit_test(values_need_not_be_unique),
        cmocka_unit_test(long_good_histories_are_found_good),
        cmocka_unit_test(one_stale_read_in_a_long_history_is_found),
        cmocka_unit_test(too_wide_history_is_undecided),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
