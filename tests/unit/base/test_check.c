/* Tests of base/check. */
#include "check/check.h"

#include "death.h"
#include "test.h"

static int evaluations;

static int counted(int value)
{
    evaluations++;
    return value;
}

static void fail_a_check(void *argument)
{
    int *zero = argument;
    CHECK(*zero == 1);
}

static void reach_the_unreachable(void *argument)
{
    (void)argument;
    CHECK_UNREACHABLE();
}

static void a_true_condition_is_evaluated_once_and_nothing_happens(void **state)
{
    (void)state;
    evaluations = 0;
    CHECK(counted(1) == 1);
    assert_int_equal(evaluations, 1);
}

static void a_false_condition_names_itself_and_aborts(void **state)
{
    (void)state;
    int zero = 0;
    assert_aborts(fail_a_check, &zero, "check failed: *zero == 1");
    assert_aborts(fail_a_check, &zero, "test_check.c:");
}

static void unreachable_aborts(void **state)
{
    (void)state;
    assert_aborts(reach_the_unreachable, NULL, "unreachable");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_true_condition_is_evaluated_once_and_nothing_happens),
        cmocka_unit_test(a_false_condition_names_itself_and_aborts),
        cmocka_unit_test(unreachable_aborts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
