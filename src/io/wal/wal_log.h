/* What the log of one group looks like in memory: term runs, holes, and where its entries lie.
 *
 * Place: inside io/wal; used by recovery, appending and reading alike. No payloads, no I/O.
 *
 * Invariants:
 *   1. first <= last + 1; the log is empty when they are equal to that.
 *   2. Runs ascend, the first one begins at `first` (or there is none); a run of term 0 is a hole:
 *      entries that were there and are lost. Raft's terms begin with 1.
 *   3. Points ascend by index. From a point on, the entries up to the next seam (or the next
 *      segment's first point) are found by walking the segment and taking the first record of each
 *      index: whatever was truncated there was followed by a point with `seam`. */
#ifndef WAL_WAL_LOG_H
#define WAL_WAL_LOG_H

#include "raft/raft.h"

enum {
    /* A point is made when the last one is so far away, in bytes of the segment. */
    WAL_POINT_BYTES = 16 * 1024
};

struct wal_point {
    raft_index index;
    uint32_t segment;
    uint32_t offset : 31;
    uint32_t seam : 1; /* the entry does not follow its predecessor's record */
};

struct wal_log {
    raft_index first;
    raft_index last;
    raft_term before; /* term of entry first - 1; 0: not known */
    struct raft_term_run *runs;
    size_t run_count;
    size_t run_cap;
    struct wal_point *points;
    size_t point_count;
    size_t point_cap;
    bool seam_due;
};

/* Zero-initialise, then reset. */
void wal_log_done(struct wal_log *log);
/* Empty, the next entry is last + 1; last_term 0 when it is not known. */
void wal_log_reset(struct wal_log *log, raft_index last, raft_term last_term);
/* The next entry, whose record lies there. */
void wal_log_append(struct wal_log *log, raft_term term, uint32_t segment, uint32_t offset);
/* Entries up to `to` (> last) are lost. */
void wal_log_hole(struct wal_log *log, raft_index to);
/* Entries from `from` on are gone; below `first` the log becomes empty. */
void wal_log_truncate(struct wal_log *log, raft_index from);
/* Forgets what lies in segments below this one. */
void wal_log_drop(struct wal_log *log, uint32_t segment);
/* Forgets entries below `first`, which is the index of a point, or last + 1. */
void wal_log_advance(struct wal_log *log, raft_index first);
/* The entry's term, also of the one before `first`; 0: not in the log, or lost. */
raft_term wal_log_term(const struct wal_log *log, raft_index index);
/* The last point at or below index, or NULL. */
const struct wal_point *wal_log_find(const struct wal_log *log, raft_index index);
/* First index that a walk from this point cannot reach. */
raft_index wal_log_reach(const struct wal_log *log, const struct wal_point *point);
/* The first hole that reaches to `index` or beyond: 0 when there is none; else its first entry that
 * is at least `index`. ret_end: the entry after the hole. */
raft_index wal_log_first_hole(const struct wal_log *log, raft_index index, raft_index *ret_end);

#endif
