/* Latency histograms, and the Prometheus text format 0.0.4.
 *
 * Place: base. Bucket layout, with 16 buckets per power of two:
 *
 *     bucket 0 .. 15        value 0 .. 15 exactly
 *     bucket 16 g + s       values (16 + s) << (g - 1)  up to  ((17 + s) << (g - 1)) - 1,  g >= 1
 *
 * so the width of a bucket is at most a sixteenth of the values in it. */
#include "metrics/metrics.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    GROUPS = METRICS_HIST_BUCKETS / METRICS_HIST_PER_POWER,
    POWER_SHIFT = 4
};

_Static_assert(1 << POWER_SHIFT == METRICS_HIST_PER_POWER, "16 buckets per power of two");

static size_t bucket_of(uint64_t value_us)
{
    if (value_us < METRICS_HIST_PER_POWER) {
        return (size_t)value_us;
    }
    unsigned exponent = 63u - (unsigned)__builtin_clzll(value_us);
    size_t group = exponent - POWER_SHIFT + 1;
    if (group >= GROUPS) {
        return METRICS_HIST_BUCKETS - 1;
    }
    size_t within = (size_t)(value_us >> (exponent - POWER_SHIFT)) % METRICS_HIST_PER_POWER;
    return group * METRICS_HIST_PER_POWER + within;
}

/* The largest value of a bucket. */
static uint64_t bound_of(size_t bucket)
{
    size_t group = bucket / METRICS_HIST_PER_POWER;
    uint64_t within = bucket % METRICS_HIST_PER_POWER;
    return group == 0 ? within : ((METRICS_HIST_PER_POWER + within + 1) << (group - 1)) - 1;
}

static uint64_t relaxed(const _Atomic uint64_t *cell)
{
    return atomic_load_explicit(cell, memory_order_relaxed);
}

/* One writer: a plain addition between two relaxed accesses loses nothing. */
static void raise_by(_Atomic uint64_t *cell, uint64_t amount)
{
    atomic_store_explicit(cell, relaxed(cell) + amount, memory_order_relaxed);
}

void metric_hist_add(struct metric_hist *hist, uint64_t value_us)
{
    raise_by(&hist->buckets[bucket_of(value_us)], 1);
    raise_by(&hist->count, 1);
    raise_by(&hist->sum_us, value_us);
}

/* The count as the buckets have it: consistent with them while the writer goes on. */
static uint64_t total_of(const struct metric_hist *hist)
{
    uint64_t total = 0;
    for (size_t i = 0; i < METRICS_HIST_BUCKETS; i++) {
        total += relaxed(&hist->buckets[i]);
    }
    return total;
}

uint64_t metric_hist_quantile(const struct metric_hist *hist, double quantile)
{
    CHECK(quantile >= 0 && quantile <= 1);
    uint64_t total = total_of(hist);
    if (total == 0) {
        return 0;
    }
    double exact = quantile * (double)total;
    uint64_t rank = (uint64_t)exact;
    rank += (double)rank < exact;
    uint64_t seen = 0;
    for (size_t i = 0; i < METRICS_HIST_BUCKETS; i++) {
        seen += relaxed(&hist->buckets[i]);
        if (seen >= rank && seen > 0) {
            return bound_of(i);
        }
    }
    return bound_of(METRICS_HIST_BUCKETS - 1);
}

void metrics_init(struct metrics_set *set)
{
    list_init(&set->entries);
}

static struct metric_entry *entry_of(struct list *link)
{
    return CONTAINER_OF(link, struct metric_entry, link);
}

void metrics_add(struct metrics_set *set, struct metric_entry *entry)
{
    CHECK(entry->metric != NULL && entry->labels != NULL);
    CHECK(strchr(entry->help, '\n') == NULL);
    struct list *where = &set->entries;
    LIST_FOREACH (link, &set->entries) {
        if (strcmp(entry_of(link)->name, entry->name) == 0) {
            CHECK(entry_of(link)->kind == entry->kind);
            where = link->next;
        }
    }
    list_insert_before(&entry->link, where);
}

/* "name_suffix{labels} " with the braces only around something. */
static enum err print_name(const struct metric_entry *entry, const char *suffix, struct buf *to)
{
    if (entry->labels[0] == '\0') {
        return buf_printf(to, "%s%s ", entry->name, suffix);
    }
    return buf_printf(to, "%s%s{%s} ", entry->name, suffix, entry->labels);
}

static enum err print_u64(const struct metric_entry *entry, const char *suffix, uint64_t value,
                          struct buf *to)
{
    enum err err = print_name(entry, suffix, to);
    return err != ERR_OK ? err : buf_printf(to, "%" PRIu64 "\n", value);
}

static enum err print_bucket(const struct metric_entry *entry, const char *bound, uint64_t count,
                             struct buf *to)
{
    return buf_printf(to, "%s_bucket{%s%sle=\"%s\"} %" PRIu64 "\n", entry->name, entry->labels,
                      entry->labels[0] == '\0' ? "" : ",", bound, count);
}

/* Cumulative counts at the last bucket of each power of two, where the bounds are exact. */
static enum err print_hist(const struct metric_entry *entry, struct buf *to)
{
    const struct metric_hist *hist = entry->metric;
    uint64_t seen = 0;
    enum err err = ERR_OK;
    for (size_t i = 0; i < METRICS_HIST_BUCKETS && err == ERR_OK; i++) {
        seen += relaxed(&hist->buckets[i]);
        uint64_t bound = bound_of(i);
        bool all_ones = (bound & (bound + 1)) == 0;
        if (all_ones && bound > 0 && i < METRICS_HIST_BUCKETS - 1) {
            char text[24];
            (void)snprintf(text, sizeof(text), "%" PRIu64, bound);
            err = print_bucket(entry, text, seen, to);
        }
    }
    if (err == ERR_OK) {
        err = print_bucket(entry, "+Inf", seen, to);
    }
    if (err == ERR_OK) {
        err = print_u64(entry, "_sum", relaxed(&hist->sum_us), to);
    }
    return err != ERR_OK ? err : print_u64(entry, "_count", seen, to);
}

static enum err print_entry(const struct metric_entry *entry, struct buf *to)
{
    switch (entry->kind) {
    case METRIC_COUNTER:
        return print_u64(entry, "", metric_get(entry->metric), to);
    case METRIC_GAUGE: {
        enum err err = print_name(entry, "", to);
        return err != ERR_OK ? err
                             : buf_printf(to, "%" PRId64 "\n", metric_gauge_get(entry->metric));
    }
    case METRIC_HIST:
        return print_hist(entry, to);
    }
    CHECK_UNREACHABLE();
}

static const char *const kind_names[] = {
    [METRIC_COUNTER] = "counter",
    [METRIC_GAUGE] = "gauge",
    [METRIC_HIST] = "histogram",
};

enum err metrics_print(const struct metrics_set *set, struct buf *to)
{
    const char *name = "";
    LIST_FOREACH (link, &set->entries) {
        const struct metric_entry *entry = entry_of(link);
        enum err err = ERR_OK;
        if (strcmp(entry->name, name) != 0) {
            name = entry->name;
            err = buf_printf(to, "# HELP %s %s\n# TYPE %s %s\n", name, entry->help, name,
                             kind_names[entry->kind]);
        }
        if (err == ERR_OK) {
            err = print_entry(entry, to);
        }
        if (err != ERR_OK) {
            return err;
        }
    }
    return ERR_OK;
}
