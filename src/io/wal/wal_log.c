/* The log of one group in memory; see wal/wal_log.h. */
#include "wal/wal_log.h"

#include "check/check.h"
#include "mem/mem.h"

#include <string.h>

void wal_log_done(struct wal_log *log)
{
    mem_free(log->runs);
    mem_free(log->points);
    *log = (struct wal_log){0};
}

void wal_log_reset(struct wal_log *log, raft_index last, raft_term last_term)
{
    log->before = last_term;
    log->first = last + 1;
    log->last = last;
    log->run_count = 0;
    log->point_count = 0;
    log->seam_due = true;
}

static void run_add(struct wal_log *log, raft_index first, raft_term term)
{
    if (log->run_count > 0 && log->runs[log->run_count - 1].term == term) {
        return;
    }
    if (log->run_count == log->run_cap) {
        log->run_cap = log->run_cap == 0 ? 8 : log->run_cap * 2;
        log->runs = mem_resize(log->runs, log->run_cap * sizeof(*log->runs));
    }
    log->runs[log->run_count++] = (struct raft_term_run){first, term};
}

static void point_add(struct wal_log *log, uint32_t segment, uint32_t offset)
{
    CHECK(offset <= INT32_MAX);
    if (!log->seam_due && log->point_count > 0) {
        const struct wal_point *newest = &log->points[log->point_count - 1];
        if (newest->segment == segment && offset - newest->offset < WAL_POINT_BYTES) {
            return;
        }
    }
    if (log->point_count == log->point_cap) {
        log->point_cap = log->point_cap == 0 ? 16 : log->point_cap * 2;
        log->points = mem_resize(log->points, log->point_cap * sizeof(*log->points));
    }
    log->points[log->point_count++] = (struct wal_point){.index = log->last,
                                                         .segment = segment,
                                                         .offset = offset & INT32_MAX,
                                                         .seam = log->seam_due};
    log->seam_due = false;
}

void wal_log_append(struct wal_log *log, raft_term term, uint32_t segment, uint32_t offset)
{
    log->last++;
    run_add(log, log->last, term);
    point_add(log, segment, offset);
}

void wal_log_hole(struct wal_log *log, raft_index to)
{
    CHECK(to > log->last);
    run_add(log, log->last + 1, 0);
    log->last = to;
    log->seam_due = true;
}

void wal_log_truncate(struct wal_log *log, raft_index from)
{
    if (from > log->last) {
        return;
    }
    if (from <= log->first) {
        wal_log_reset(log, from - 1, from == log->first ? log->before : 0);
        return;
    }
    log->last = from - 1;
    while (log->run_count > 0 && log->runs[log->run_count - 1].first >= from) {
        log->run_count--;
    }
    while (log->point_count > 0 && log->points[log->point_count - 1].index >= from) {
        log->point_count--;
    }
    log->seam_due = true;
}

static void points_forget(struct wal_log *log, size_t count)
{
    log->point_count -= count;
    if (count > 0) {
        memmove(log->points, log->points + count, log->point_count * sizeof(*log->points));
    }
}

void wal_log_advance(struct wal_log *log, raft_index first)
{
    CHECK(first >= log->first && first <= log->last + 1);
    log->before = wal_log_term(log, first - 1);
    log->first = first;
    size_t points = 0;
    while (points < log->point_count && log->points[points].index < first) {
        points++;
    }
    points_forget(log, points);
    size_t runs = 0;
    while (runs + 1 < log->run_count && log->runs[runs + 1].first <= first) {
        runs++;
    }
    runs = first > log->last ? log->run_count : runs;
    log->run_count -= runs;
    if (runs > 0) {
        memmove(log->runs, log->runs + runs, log->run_count * sizeof(*log->runs));
    }
    if (log->run_count > 0) {
        log->runs[0].first = first;
    }
}

void wal_log_drop(struct wal_log *log, uint32_t segment)
{
    size_t gone = 0;
    while (gone < log->point_count && log->points[gone].segment < segment) {
        gone++;
    }
    if (gone > 0) {
        wal_log_advance(log, gone < log->point_count ? log->points[gone].index : log->last + 1);
    }
}

raft_term wal_log_term(const struct wal_log *log, raft_index index)
{
    if (index + 1 == log->first) {
        return log->before;
    }
    if (index < log->first || index > log->last) {
        return 0;
    }
    for (size_t i = log->run_count; i > 0; i--) {
        if (log->runs[i - 1].first <= index) {
            return log->runs[i - 1].term;
        }
    }
    return 0;
}

const struct wal_point *wal_log_find(const struct wal_log *log, raft_index index)
{
    size_t low = 0;
    size_t high = log->point_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (log->points[middle].index <= index) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low == 0 ? NULL : &log->points[low - 1];
}

raft_index wal_log_reach(const struct wal_log *log, const struct wal_point *point)
{
    const struct wal_point *end = log->points + log->point_count;
    for (const struct wal_point *next = point + 1; next < end; next++) {
        if (next->seam || next->segment != point->segment) {
            return next->index;
        }
    }
    return log->last + 1;
}

raft_index wal_log_first_hole(const struct wal_log *log, raft_index index, raft_index *ret_end)
{
    for (size_t i = 0; i < log->run_count; i++) {
        raft_index end = i + 1 < log->run_count ? log->runs[i + 1].first : log->last + 1;
        if (log->runs[i].term == 0 && end > index) {
            *ret_end = end;
            return log->runs[i].first > index ? log->runs[i].first : index;
        }
    }
    return 0;
}
