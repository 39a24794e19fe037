/* The log as runs of equal terms: all that the algorithm needs to know of it.
 *
 * Place: core/raft. Raft compares logs by (index, term) only (Log Matching, section 5.3), and terms
 * never fall along a log, so a log of millions of entries is a handful of runs.
 *
 * Invariants: runs[0].first is base + 1 when there are entries; runs ascend strictly in first and
 * in term (the first run may have base's term); the last run ends at last. */
#include "mem/mem.h"
#include "raft/raft_priv.h"

enum {
    RUNS_FIRST_CAP = 16
};

void raft_log_init(struct raft_log *log, raft_index base, raft_term base_term)
{
    *log = (struct raft_log){.base = base, .base_term = base_term, .last = base};
    log->run_cap = RUNS_FIRST_CAP;
    log->runs = mem_alloc_array(log->run_cap, sizeof(log->runs[0]));
}

void raft_log_done(struct raft_log *log)
{
    mem_free(log->runs);
    *log = (struct raft_log){0};
}

bool raft_log_has_room(const struct raft_log *log, uint32_t runs)
{
    return runs <= RAFT_TERM_RUNS_MAX && log->run_count <= RAFT_TERM_RUNS_MAX - runs;
}

void raft_log_append(struct raft_log *log, uint64_t count, raft_term term)
{
    raft_term last_term = raft_log_last_term(log);
    CHECK(term >= last_term && term > 0);
    CHECK(count > 0 && count <= RAFT_NUMBER_MAX - log->last);
    raft_index first = log->last + 1;
    log->last += count;
    if (log->run_count > 0 && term == last_term) {
        return;
    }
    CHECK(raft_log_has_room(log, 1));
    if (log->run_count == log->run_cap) {
        log->run_cap *= 2;
        log->runs = mem_resize(log->runs, log->run_cap * sizeof(log->runs[0]));
    }
    log->runs[log->run_count++] = (struct raft_term_run){.first = first, .term = term};
}

void raft_log_truncate(struct raft_log *log, raft_index from)
{
    CHECK(from > log->base && from <= log->last);
    log->last = from - 1;
    while (log->run_count > 0 && log->runs[log->run_count - 1].first >= from) {
        log->run_count--;
    }
}

void raft_log_compact(struct raft_log *log, raft_index index)
{
    CHECK(index >= log->base && index <= log->last);
    log->base_term = raft_log_term(log, index);
    log->base = index;
    uint32_t gone = 0; /* runs that end at or before index */
    while (gone < log->run_count) {
        bool is_last = gone + 1 == log->run_count;
        raft_index end = is_last ? log->last : log->runs[gone + 1].first - 1;
        if (end > index) {
            break;
        }
        gone++;
    }
    log->run_count -= gone;
    memmove(log->runs, log->runs + gone, log->run_count * sizeof(log->runs[0]));
    if (log->run_count > 0 && log->runs[0].first <= index) {
        log->runs[0].first = index + 1;
    }
}

void raft_log_reset(struct raft_log *log, raft_index index, raft_term term)
{
    log->base = index;
    log->base_term = term;
    log->last = index;
    log->run_count = 0;
}

/* The run that contains index, which lies in (base, last]. */
static const struct raft_term_run *run_of(const struct raft_log *log, raft_index index)
{
    CHECK(log->run_count > 0 && index > log->base && index <= log->last);
    uint32_t low = 0;
    uint32_t high = log->run_count - 1;
    if (log->runs[high].first <= index) {
        return &log->runs[high]; /* nearly always: the newest run */
    }
    while (low < high) {
        uint32_t middle = low + (high - low + 1) / 2;
        if (log->runs[middle].first <= index) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    return &log->runs[low];
}

raft_term raft_log_term(const struct raft_log *log, raft_index index)
{
    if (index < log->base || index > log->last) {
        return 0;
    }
    return index == log->base ? log->base_term : run_of(log, index)->term;
}

raft_index raft_log_find(const struct raft_log *log, raft_index limit, raft_term term)
{
    raft_index end = log->last;
    for (uint32_t i = log->run_count; i > 0; i--) {
        const struct raft_term_run *run = &log->runs[i - 1];
        if (run->term <= term && run->first <= limit) {
            return limit < end ? limit : end;
        }
        end = run->first - 1;
    }
    if (log->base <= limit && log->base_term <= term) {
        return log->base;
    }
    /* Terms before base are not known any more. */
    raft_index below = log->base > 0 ? log->base - 1 : 0;
    return limit < below ? limit : below;
}
