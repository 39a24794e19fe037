/* Counters, gauges and latency histograms, each written by one thread and read by any.
 *
 * Place: base. A metric is a plain struct in its owner's state, registered in a metrics_set that
 * /metrics prints in the Prometheus text format 0.0.4. Updates are relaxed atomic stores by the one
 * writing thread: no lock, no locked instruction. Several metrics of one name with different labels
 * (one per thread, say) are printed as they are; sums are the reader's business.
 *
 * Histogram: log-linear buckets, 16 per power of two: exact below 32 us, then at most 6.25 % error
 * in any quantile up to 2^29 us (about nine minutes); the last bucket takes what is longer. Printed
 * as a Prometheus histogram in microseconds with one bucket per power of two. */
#ifndef METRICS_METRICS_H
#define METRICS_METRICS_H

#include "bytes/bytes.h"
#include "list/list.h"

#include <stdatomic.h>
#include <stdint.h>

enum {
    METRICS_HIST_PER_POWER = 16,
    METRICS_HIST_BUCKETS = 26 * METRICS_HIST_PER_POWER
};

struct metric_counter {
    _Atomic uint64_t value;
};

struct metric_gauge {
    _Atomic int64_t value;
};

struct metric_hist {
    _Atomic uint64_t buckets[METRICS_HIST_BUCKETS];
    _Atomic uint64_t count;
    _Atomic uint64_t sum_us;
};

static inline void metric_add(struct metric_counter *counter, uint64_t amount)
{
    uint64_t now = atomic_load_explicit(&counter->value, memory_order_relaxed);
    atomic_store_explicit(&counter->value, now + amount, memory_order_relaxed);
}

static inline uint64_t metric_get(const struct metric_counter *counter)
{
    return atomic_load_explicit(&counter->value, memory_order_relaxed);
}

static inline void metric_gauge_set(struct metric_gauge *gauge, int64_t value)
{
    atomic_store_explicit(&gauge->value, value, memory_order_relaxed);
}

static inline int64_t metric_gauge_get(const struct metric_gauge *gauge)
{
    return atomic_load_explicit(&gauge->value, memory_order_relaxed);
}

/* Adds one observation, in microseconds. */
void metric_hist_add(struct metric_hist *hist, uint64_t value_us);
/* The smallest bucket bound that at least quantile (0..1) of the observations do not pass, in
 * microseconds; 0 when empty. Bounds are inclusive. */
uint64_t metric_hist_quantile(const struct metric_hist *hist, double quantile);

enum metric_kind {
    METRIC_COUNTER,
    METRIC_GAUGE,
    METRIC_HIST
};

/* One registered metric; embedded in its owner, must outlive the set or be removed from it. */
struct metric_entry {
    struct list link;
    enum metric_kind kind;
    const char *name;   /* snake_case with unit, borrowed for the entry's life */
    const char *help;   /* one sentence, borrowed */
    const char *labels; /* "" or "door=\"consul\",thread=\"0\"", borrowed */
    const void *metric;
};

/* A set belongs to one node; entries are added before the threads start. */
struct metrics_set {
    struct list entries; /* those of one name stand together, as the text format demands */
};

void metrics_init(struct metrics_set *set);
/* All entries of one name must have the same kind; the first one's help is printed. */
void metrics_add(struct metrics_set *set, struct metric_entry *entry);
/* Appends all entries in the Prometheus text format; ERR_FULL when the buffer's limit is hit. */
ERR_CHECKED enum err metrics_print(const struct metrics_set *set, struct buf *to);

#endif
