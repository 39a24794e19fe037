/* A log on a disk in memory, with a model of what it must contain: for the tests of io/wal.
 *
 * Place: tests. Everything appended is also noted as a list of operations, one per record. After
 * any crash the recovered groups must be what some prefix of that list makes of nothing, and the
 * prefix must contain every operation that was reported durable. That is the whole promise of the
 * log. */
#ifndef WAL_RIG_H
#define WAL_RIG_H

#include "mem_disk.h"
#include "rnd/rnd.h"
#include "wal/wal.h"

enum {
    RIG_GROUPS = 3, /* 1..3 */
    RIG_ENTRIES_MAX = 4000,
    RIG_OPS_MAX = 20000
};

enum rig_op_kind {
    RIG_HARD_STATE,
    RIG_TRUNCATE,
    RIG_ENTRY,
    RIG_REPLACE,
    RIG_COMPACT
};

struct rig_op {
    enum rig_op_kind kind;
    raft_group_id group;
    struct raft_hard_state hard;
    raft_index index;
    raft_term term;
    uint32_t size;
    uint32_t salt; /* of the payload */
    enum raft_entry_kind entry_kind;
    uint64_t wal_seq; /* of the write that it ended; 0: none */
};

struct rig_entry {
    raft_term term;
    uint32_t size;
    uint32_t salt;
    enum raft_entry_kind kind;
};

/* One group as a prefix of the operations makes it. */
struct rig_group {
    struct raft_hard_state hard;
    raft_index snapshot;
    raft_term snapshot_term;
    raft_index last;
    struct rig_entry entries[RIG_ENTRIES_MAX]; /* by index */
};

struct wal_rig {
    struct mem_disk *disk;
    struct wal *wal;
    struct wal_config config;
    struct rnd rnd;
    clk_ns now;
    uint64_t wal_seq;     /* last one used */
    uint64_t durable_seq; /* last one reported */
    enum err failed;
    struct err_note failed_note;
    int space_reports;
    struct rig_op *ops;
    size_t op_count;
    size_t acked;             /* operations that were reported durable */
    struct rig_group *groups; /* [1..RIG_GROUPS]: after all operations */
    bool keep;                /* the rig never releases: nothing is dropped */
};

/* A fresh log of small segments on a fresh disk. */
struct wal_rig *rig_new(uint64_t seed, uint32_t segment_bytes);
void rig_free(struct wal_rig *rig);
/* Opens the log; the recovered groups are compared with nothing. */
void rig_open(struct wal_rig *rig);
void rig_close(struct wal_rig *rig);

/* ---- writing: to the log and to the model ---------------------------------------------------- */

void rig_hard_state(struct wal_rig *rig, raft_group_id group, raft_term term, raft_node_id vote);
/* Entries behind the group's last one; salted by the rig's numbers. */
void rig_entries(struct wal_rig *rig, raft_group_id group, size_t count, uint32_t size,
                 raft_term term);
/* Truncates and appends in one write. */
void rig_overwrite(struct wal_rig *rig, raft_group_id group, raft_index from, size_t count,
                   raft_term term);
void rig_replace(struct wal_rig *rig, raft_group_id group, raft_index index, raft_term term);
void rig_compact(struct wal_rig *rig, raft_group_id group, raft_index index);
/* One random write of one group. */
void rig_random(struct wal_rig *rig);
/* Flushes and lets the disk work until all is durable. */
void rig_settle(struct wal_rig *rig);
/* Lets 10 ms pass, so that the log seals. */
void rig_seal(struct wal_rig *rig);

/* ---- checking -------------------------------------------------------------------------------- */

/* Whether the open log is what the first `ops` operations make; says the first difference in
 * `why` (may be NULL). */
bool rig_matches(struct wal_rig *rig, struct wal *wal, size_t ops, struct err_note *why);
/* The log on `disk` (a crashed clone) opens cleanly and is some prefix that has everything
 * acknowledged. Fails the test otherwise. How many operations it has. */
size_t rig_check_crash(struct wal_rig *rig, struct mem_disk *disk);
/* The model becomes what its first `ops` operations make; they count as durable. For going on after
 * a crash. */
void rig_rewind(struct wal_rig *rig, size_t ops);
/* Fills the payload that an operation stands for. */
void rig_payload(raft_group_id group, raft_index index, const struct rig_entry *entry,
                 uint8_t *dest);
/* A configuration that depends on the number. */
struct raft_config rig_config(uint32_t salt);

#endif
