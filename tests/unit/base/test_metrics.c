/* Tests of base/metrics: histogram accuracy and the text format. */
#include "metrics/metrics.h"

#include "death.h"
#include "rnd/rnd.h"
#include "test.h"

#include <stdlib.h>
#include <string.h>

static void counters_and_gauges_keep_their_value(void **state)
{
    (void)state;
    struct metric_counter counter = {0};
    metric_add(&counter, 2);
    metric_add(&counter, 3);
    assert_int_equal(metric_get(&counter), 5);
    struct metric_gauge gauge = {0};
    metric_gauge_set(&gauge, -7);
    assert_int_equal(metric_gauge_get(&gauge), -7);
}

static uint64_t bound_for(uint64_t value_us)
{
    static struct metric_hist hist;
    memset(&hist, 0, sizeof(hist));
    metric_hist_add(&hist, value_us);
    return metric_hist_quantile(&hist, 1);
}

static void small_values_are_exact(void **state)
{
    (void)state;
    for (uint64_t value = 0; value < 32; value++) {
        assert_int_equal(bound_for(value), value);
    }
}

static void bounds_are_at_most_a_sixteenth_above(void **state)
{
    (void)state;
    struct rnd rnd;
    rnd_init(&rnd, 4);
    for (int i = 0; i < 5000; i++) {
        uint64_t value = rnd_below(&rnd, UINT64_C(1) << rnd_range(&rnd, 1, 29));
        uint64_t bound = bound_for(value);
        assert_true(bound >= value);
        assert_true(bound - value <= value / 16);
    }
    for (unsigned power = 5; power < 29; power++) {
        uint64_t value = (UINT64_C(1) << power) - 1;
        assert_int_equal(bound_for(value), value);
    }
}

static void values_beyond_the_range_count_in_the_last_bucket(void **state)
{
    (void)state;
    uint64_t last = (UINT64_C(1) << 29) - 1;
    assert_int_equal(bound_for(last), last);
    assert_int_equal(bound_for(last + 1), last);
    assert_int_equal(bound_for(UINT64_MAX), last);
}

static int by_value(const void *a, const void *b)
{
    const uint64_t *x = a;
    const uint64_t *y = b;
    return (*x > *y) - (*x < *y);
}

static void quantiles_agree_with_a_sorted_list(void **state)
{
    (void)state;

    enum {
        COUNT = 1000
    };
    static struct metric_hist hist;
    memset(&hist, 0, sizeof(hist));
    uint64_t values[COUNT];
    struct rnd rnd;
    rnd_init(&rnd, 11);
    for (size_t i = 0; i < COUNT; i++) {
        values[i] = rnd_below(&rnd, UINT64_C(1) << rnd_range(&rnd, 1, 28));
        metric_hist_add(&hist, values[i]);
    }
    qsort(values, COUNT, sizeof(values[0]), by_value);
    for (size_t rank = 1; rank <= COUNT; rank++) {
        /* The middle of the step, so that the model does not depend on rounding. */
        double quantile = ((double)rank - 0.5) / COUNT;
        assert_int_equal(metric_hist_quantile(&hist, quantile), bound_for(values[rank - 1]));
    }
    assert_int_equal(metric_hist_quantile(&hist, 0), bound_for(values[0]));
}

static void an_empty_histogram_has_quantile_zero(void **state)
{
    (void)state;
    static struct metric_hist hist;
    assert_int_equal(metric_hist_quantile(&hist, 0.5), 0);
}

static void quantile_zero_is_the_smallest_value(void **state)
{
    (void)state;
    static struct metric_hist hist;
    metric_hist_add(&hist, 1000);
    metric_hist_add(&hist, 2000);
    assert_int_equal(metric_hist_quantile(&hist, 0), bound_for(1000));
}

static void one_slow_value_in_a_hundred_is_the_last_percent(void **state)
{
    (void)state;
    static struct metric_hist hist;
    for (int i = 0; i < 99; i++) {
        metric_hist_add(&hist, 10);
    }
    metric_hist_add(&hist, 1000000);
    assert_int_equal(metric_hist_quantile(&hist, 0.5), 10);
    assert_int_equal(metric_hist_quantile(&hist, 0.99), 10);
    assert_true(metric_hist_quantile(&hist, 0.995) >= 1000000);
}

static void entries_of_one_name_are_printed_together_under_one_head(void **state)
{
    (void)state;
    struct metric_counter a = {0};
    struct metric_counter b = {0};
    struct metric_gauge gauge = {0};
    metric_add(&a, 1);
    metric_add(&b, 18446744073709551615u);
    metric_gauge_set(&gauge, -3);
    struct metrics_set set;
    metrics_init(&set);
    struct metric_entry entries[] = {
        {.kind = METRIC_COUNTER, .name = "requests_total", .help = "Requests.", .metric = &a},
        {.kind = METRIC_GAUGE, .name = "connections", .help = "Open now.", .metric = &gauge},
        {.kind = METRIC_COUNTER, .name = "requests_total", .help = "Requests.", .metric = &b},
    };
    entries[0].labels = "thread=\"0\"";
    entries[1].labels = "";
    entries[2].labels = "thread=\"1\"";
    for (size_t i = 0; i < 3; i++) {
        metrics_add(&set, &entries[i]);
    }
    struct buf b_out;
    buf_init(&b_out, 10000);
    assert_int_equal(metrics_print(&set, &b_out), ERR_OK);
    assert_true(bytes_eq_str(buf_bytes(&b_out),
                             "# HELP requests_total Requests.\n"
                             "# TYPE requests_total counter\n"
                             "requests_total{thread=\"0\"} 1\n"
                             "requests_total{thread=\"1\"} 18446744073709551615\n"
                             "# HELP connections Open now.\n"
                             "# TYPE connections gauge\n"
                             "connections -3\n"));
    buf_done(&b_out);
}

static void a_removed_entry_is_no_longer_printed(void **state)
{
    (void)state;
    struct metric_gauge gauge = {0};
    struct metric_entry entry = {
        .kind = METRIC_GAUGE, .name = "g", .help = "", .labels = "", .metric = &gauge};
    struct metrics_set set;
    metrics_init(&set);
    metrics_add(&set, &entry);
    list_remove(&entry.link);
    struct buf out;
    buf_init(&out, 100);
    assert_int_equal(metrics_print(&set, &out), ERR_OK);
    assert_int_equal(out.len, 0);
    buf_done(&out);
}

static void assert_contains(const struct buf *out, const char *line)
{
    assert_non_null(memmem(out->data, out->len, line, strlen(line)));
}

static void histograms_are_printed_cumulative_per_power_of_two(void **state)
{
    (void)state;
    static struct metric_hist hist;
    metric_hist_add(&hist, 0);
    metric_hist_add(&hist, 1);
    metric_hist_add(&hist, 2);
    metric_hist_add(&hist, 100);
    metric_hist_add(&hist, UINT32_MAX);
    struct metric_entry entry = {
        .kind = METRIC_HIST, .name = "wait_us", .help = "Waits.", .labels = "", .metric = &hist};
    struct metrics_set set;
    metrics_init(&set);
    metrics_add(&set, &entry);
    struct buf out;
    buf_init(&out, 10000);
    assert_int_equal(metrics_print(&set, &out), ERR_OK);
    assert_contains(&out, "# TYPE wait_us histogram\n");
    assert_contains(&out, "\nwait_us_bucket{le=\"1\"} 2\n");
    assert_contains(&out, "\nwait_us_bucket{le=\"3\"} 3\n");
    assert_contains(&out, "\nwait_us_bucket{le=\"63\"} 3\n");
    assert_contains(&out, "\nwait_us_bucket{le=\"127\"} 4\n");
    assert_contains(&out, "\nwait_us_bucket{le=\"268435455\"} 4\n");
    assert_contains(&out, "\nwait_us_bucket{le=\"+Inf\"} 5\n");
    assert_contains(&out, "\nwait_us_sum 4294967398\n");
    assert_contains(&out, "\nwait_us_count 5\n");
    assert_null(memmem(out.data, out.len, "le=\"536870911\"", 14));
    buf_clear(&out);
    entry.labels = "door=\"consul\"";
    assert_int_equal(metrics_print(&set, &out), ERR_OK);
    assert_contains(&out, "\nwait_us_bucket{door=\"consul\",le=\"1\"} 2\n");
    assert_contains(&out, "\nwait_us_count{door=\"consul\"} 5\n");
    buf_done(&out);
}

static void a_full_buffer_is_reported(void **state)
{
    (void)state;
    static struct metric_hist hist;
    struct metric_entry entry = {
        .kind = METRIC_HIST, .name = "h", .help = "", .labels = "", .metric = &hist};
    struct metrics_set set;
    metrics_init(&set);
    metrics_add(&set, &entry);
    for (size_t max = 1; max < 600; max += 7) {
        struct buf out;
        buf_init(&out, max);
        assert_int_equal(metrics_print(&set, &out), ERR_FULL);
        buf_done(&out);
    }
}

static void add_two_kinds_of_one_name(void *argument)
{
    struct metric_gauge *gauge = argument;
    struct metric_entry entries[] = {
        {.kind = METRIC_GAUGE, .name = "n", .help = "", .labels = "", .metric = gauge},
        {.kind = METRIC_COUNTER, .name = "n", .help = "", .labels = "", .metric = gauge},
    };
    struct metrics_set set;
    metrics_init(&set);
    metrics_add(&set, &entries[0]);
    metrics_add(&set, &entries[1]);
}

static void a_name_has_one_kind(void **state)
{
    (void)state;
    struct metric_gauge gauge = {0};
    assert_aborts(add_two_kinds_of_one_name, &gauge, "kind");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counters_and_gauges_keep_their_value),
        cmocka_unit_test(small_values_are_exact),
        cmocka_unit_test(bounds_are_at_most_a_sixteenth_above),
        cmocka_unit_test(values_beyond_the_range_count_in_the_last_bucket),
        cmocka_unit_test(quantiles_agree_with_a_sorted_list),
        cmocka_unit_test(an_empty_histogram_has_quantile_zero),
        cmocka_unit_test(quantile_zero_is_the_smallest_value),
        cmocka_unit_test(one_slow_value_in_a_hundred_is_the_last_percent),
        cmocka_unit_test(entries_of_one_name_are_printed_together_under_one_head),
        cmocka_unit_test(a_removed_entry_is_no_longer_printed),
        cmocka_unit_test(histograms_are_printed_cumulative_per_power_of_two),
        cmocka_unit_test(a_full_buffer_is_reported),
        cmocka_unit_test(a_name_has_one_kind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
