/* The write-ahead log: one per node, for all Raft groups; what it calls durable survives.
 *
 * Place: io; driven by node/engine (in the program and in the simulator alike) on the core thread.
 * It knows the disk only through io/disk, the time only through its arguments, and never blocks
 * after wal_open.
 *
 *   wal_append --copy--> pending batches --one write + fdatasync at a time--> durable -->
 *   on_durable(wal_seq)
 *
 * Invariants:
 *   1. Records are numbered without gaps over all restarts (their `sequence`). One write is under
 *      way at a time, so a record that lies on the disk proves that all writes before its own were
 *      durable: each record says how many records of its own write precede it. That is the
 *      watermark.
 *   2. 10 ms after the last append, when idle, a seal record is written: then the watermark covers
 *      everything that was acknowledged.
 *   3. Recovery: a bad record at or below the highest watermark found anywhere was perhaps
 *      acknowledged: DAMAGED. Above it, it is the end of a write that nobody was told of: TORN,
 *      cut, clean.
 *   4. Each segment begins with the state of every group, so that the segments before it are needed
 *      only for entries; they are dropped oldest first, when no group needs an entry of them.
 *   5. The first failed write or sync is final: nothing is written after it (ERR_POISONED).
 *   6. Record checksums are seeded by storage id and segment number: bytes of a recycled segment,
 *      of another disk's log, or put into a payload by a client are never taken for records.
 *
 * Byte tables: docs/disk-format.md. Sources: raft.h (the consumer's rules); "Protocol-Aware
 * Recovery for Consensus-Based Storage" (FAST 2018) for telling torn from damaged; "Can
 * Applications Recover from fsync Failures?" (ATC 2020) for invariant 5.
 *
 * Deliberately absent: compression; copying live entries forward (a group that pins the oldest
 * segment is snapshotted instead, see wal_pinned). */
#ifndef WAL_WAL_H
#define WAL_WAL_H

#include "bytes/bytes.h"
#include "clk/clk.h"
#include "err/err.h"
#include "raft/raft.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct disk;
struct iovec;
struct wal;

enum {
    WAL_SEGMENT_BYTES_DEFAULT = 16 * 1024 * 1024,
    WAL_BATCH_BYTES_DEFAULT = 1024 * 1024,
    WAL_PENDING_BYTES_DEFAULT = 32 * 1024 * 1024,
    WAL_RECORD_BYTES_DEFAULT = 9 * 1024 * 1024,
    WAL_GROUPS_DEFAULT = 64,
    /* What a record costs beside its payload, before padding to 8 bytes. */
    WAL_RECORD_HEADER_BYTES = 64,
};

struct wal_config {
    uint64_t storage_id;    /* from the identity; not 0 */
    uint32_t segment_bytes; /* multiple of 4096; room for a header and the largest record */
    uint32_t batch_bytes; /* one write carries about so much at most; a larger record goes alone */
    uint32_t
        pending_bytes_max;     /* accepted and not yet durable; above it wal_append says ERR_FULL */
    uint32_t record_bytes_max; /* largest entry payload */
    uint32_t groups_max;
    uint32_t spare_segments; /* unneeded segments kept for recycling */
    clk_ns seal_after;       /* 10 ms */
};

/* All defaults, for a storage id. */
struct wal_config wal_config_default(uint64_t storage_id);

struct wal_callbacks {
    /* Everything appended with a wal_seq up to this one is on the disk. Rises from call to call. */
    void (*on_durable)(void *context, uint64_t wal_seq);
    /* Once, and final: a write or sync failed, or no space was found in time (ERR_NO_SPACE). The
     * note names file and errno. The node stops. */
    void (*on_failed)(void *context, enum err err, const struct err_note *note);
    /* The next segment could not be made ready (low: true; the note says why): what is in flight
     * goes on into the rest of this segment and preparation is retried each second; false: it is
     * ready. May be NULL. */
    void (*on_space)(void *context, bool low, const struct err_note *note);
    void *context;
};

/* ---- start ----------------------------------------------------------------------------------- */

/* Whether the directory has WAL segments, damaged ones included. ERR_IO. */
ERR_CHECKED enum err wal_present(struct disk *disk, bool *ret_present, struct err_note *note);

/* Makes the first segment of an empty directory, durably. ERR_EXISTS when there is one,
 * ERR_NO_SPACE, ERR_IO. */
ERR_CHECKED enum err wal_create(struct disk *disk, const struct wal_config *config,
                                struct err_note *note);

/* Opens: reads and verifies every segment, cuts a torn tail, makes what is left durable, prepares
 * to append. Blocks. config, callbacks are copied; disk is borrowed until wal_free; owned by the
 * caller. A log with damage opens with ERR_OK: the verdicts tell. ERR_NOT_FOUND: no segments;
 * ERR_MISMATCH: a newer format or another storage id; ERR_FULL: more than groups_max groups;
 * ERR_NO_SPACE; ERR_IO. */
ERR_CHECKED enum err wal_open(struct disk *disk, const struct wal_config *config,
                              const struct wal_callbacks *callbacks, struct wal **ret_wal,
                              struct err_note *note);

/* Frees everything. No operation may be under way (wal_idle), unless the disk forgets it before
 * anything else happens (a simulated crash). Accepts NULL. */
void wal_free(struct wal *wal);

/* Where damage was found. */
struct wal_damage {
    raft_group_id
        group; /* 0: the group is not known; the verdicts of all that it may concern are DAMAGED */
    uint64_t segment;
    uint64_t
        offset; /* bytes from the segment's start; 0 for a segment that is missing or unreadable */
    uint64_t sequence; /* first record that is lost */
    raft_index index;  /* first entry that is lost; 0: not known, or not an entry */
    const char *why;   /* borrowed for ever; NULL: not said */
};

/* What recovery saw. */
struct wal_recovery {
    size_t segments;
    uint64_t records;
    uint64_t bytes_read;
    bool torn; /* an unfinished write was cut */
    uint64_t torn_segment;
    uint64_t torn_offset;
    size_t damage_count; /* may be larger than what is listed */
    struct wal_damage damages[8];
};

/* Borrowed until wal_free. */
const struct wal_recovery *wal_recovery(const struct wal *wal);
/* "segment 3, offset 4096, record 17: group 2, entry 88 is damaged: its payload does not have its
 * checksum". */
void wal_damage_text(const struct wal_damage *damage, struct err_note *note);

/* Groups found, in ascending order. */
size_t wal_group_count(const struct wal *wal);
raft_group_id wal_group_at(const struct wal *wal, size_t position);

/* The group as recovery found it, ready for raft_group_open but for `applied`, which the caller
 * sets. A group without any record gives an empty boot, whose verdict is DAMAGED when damage was
 * found that may have concerned it. The verdict tells of damage found now; hard_state.repairing
 * tells of that and of earlier damage. Arrays are borrowed until wal_boot_done. */
void wal_boot(const struct wal *wal, raft_group_id group, struct raft_boot *ret_boot);
/* Frees what only wal_boot needs. */
void wal_boot_done(struct wal *wal);

/* One entry; in wal_write the payload is copied by wal_append, out of reads it is borrowed. */
struct wal_entry {
    raft_index index;
    raft_term term;
    enum raft_entry_kind kind;
    clk_ms time_ms;
    struct bytes payload;
};

/* Called by wal_replay for each entry, in order; the payload is borrowed during the call. Any error
 * but ERR_OK ends the replay and is returned by it. */
typedef enum err wal_replay_fn(void *context, const struct wal_entry *entry);

/* Which entries to replay, and to whom. */
struct wal_replay {
    raft_group_id group;
    raft_index first; /* > 0 */
    raft_index last;
    wal_replay_fn *each;
    void *context;
};

/* Blocking: entries first..last of a group, for the state machine at start. ERR_NOT_FOUND when one
 * is not in the log, ERR_CORRUPT (the note says where), ERR_IO. */
ERR_CHECKED enum err wal_replay(struct wal *wal, const struct wal_replay *what,
                                struct err_note *note);

/* ---- writing --------------------------------------------------------------------------------- */

/* What one RAFT_FX_WAL asks for. Written in this order: hard state, truncation, entries; or a
 * snapshot alone. A crash in the middle keeps a prefix. */
struct wal_write {
    uint64_t wal_seq; /* rises by each call; 1.. in each process */
    raft_group_id group;
    const struct raft_hard_state *hard_state; /* NULL: unchanged */
    raft_index truncate_from;                 /* 0: nothing; else entries from here on are gone */
    const struct wal_entry *entries; /* consecutive, the first one follows the log's last */
    size_t entry_count;
    const struct raft_snapshot_meta
        *snapshot; /* NULL: none; else the log is replaced by it: no entry
                                                   remains. The snapshot's file must be durable */
};

/* Copies; on_durable(wal_seq) follows, never inside the call. Several calls before the loop turns
 * share one write: the write is started by wal_flush or by the completion of the one before.
 * ERR_FULL: too much is pending, nothing was taken (an idle log takes any write); ERR_TOO_LARGE: a
 * payload over record_bytes_max; ERR_POISONED. CHECKs that entries follow the log (the caller's
 * invariant). */
ERR_CHECKED enum err wal_append(struct wal *wal, clk_ns now, const struct wal_write *write);

/* Starts a write when something is pending and none is under way: call once per turn, after the
 * appends. */
void wal_flush(struct wal *wal);

/* A snapshot of the group exists, durable, and the log goes on: writes a mark. Its entries up to
 * meta->index may be released when the mark is durable (wal_release takes care of that by itself).
 * Does nothing when there is a newer mark. Errors
 * as wal_append. */
ERR_CHECKED enum err wal_compact(struct wal *wal, clk_ns now, raft_group_id group,
                                 const struct raft_snapshot_meta *meta);

/* The group's entries up to index are not needed any more, neither by peers nor for replay. What
 * lies above the newest durable snapshot mark is kept all the same. Segments that nobody needs are
 * recycled or removed. Never goes back; index may be beyond what is known. */
void wal_release(struct wal *wal, raft_group_id group, raft_index index);

/* When wal_wake is wanted at the latest; CLK_NEVER when nothing is timed. */
clk_ns wal_deadline(const struct wal *wal);
/* Time has passed: seals when idle, retries the preparation of a segment. */
void wal_wake(struct wal *wal, clk_ns now);
/* Seals at once when something is not sealed, for a clean stop: then wait for wal_idle. */
void wal_seal(struct wal *wal);
/* Nothing is pending and no operation is under way. */
bool wal_idle(const struct wal *wal);

/* ---- reading back ---------------------------------------------------------------------------- */

/* One asynchronous read of entries first..last of a group, in its owner's memory. */
struct wal_read {
    /* Set by the caller. */
    raft_group_id group;
    raft_index first;
    raft_index last;
    uint8_t *buffer; /* payloads point into it; at least WAL_READ_BUFFER_MIN bytes */
    size_t buffer_bytes;
    struct wal_entry *entries; /* results, room for entries_max */
    size_t entries_max;
    /* ERR_OK: `count` >= 1 entries from `first` on, as many as fitted. ERR_TOO_LARGE: the first
     * entry needs a buffer of `needed` bytes. ERR_INCOMPLETE: not on the disk yet. ERR_CORRUPT:
     * `damage` says where. ERR_IO. */
    void (*on_done)(struct wal_read *read, enum err err);

    size_t count;
    size_t needed;
    struct wal_damage damage;

    /* Private. */
    struct wal *wal;
    struct wal_read_state *state;
};

enum {
    /* Room for the records between two points of the index. */
    WAL_READ_BUFFER_MIN = 64 * 1024,
    WAL_READS_MAX = 32
};

/* Starts. ERR_NOT_FOUND: `first` is not in the log any more (or not yet); ERR_INCOMPLETE: it is not
 * on the disk yet, so its owner has it in memory; ERR_FULL: WAL_READS_MAX are under way. Without an
 * error on_done follows, never inside the call. Truncation during a read is safe: it gives what was
 * there when it started, or less. */
ERR_CHECKED enum err wal_read_start(struct wal *wal, struct wal_read *read);

/* ---- inspection ------------------------------------------------------------------------------ */

/* First and last entry in the log; last = first - 1 when it is empty. ERR_NOT_FOUND: no such
 * group. */
ERR_CHECKED enum err wal_log_range(const struct wal *wal, raft_group_id group,
                                   raft_index *ret_first, raft_index *ret_last);
/* The index of the group's newest durable snapshot mark: the file that a start needs; 0: none. */
raft_index wal_snapshot_durable(const struct wal *wal, raft_group_id group);
/* The group whose entries keep the oldest segment, and how many segments are in use. Group 0: none,
 * only the current segment is needed. */
raft_group_id wal_pinned(const struct wal *wal, size_t *ret_segments);
/* The highest durable record, over all restarts: what peers remember of this node. */
uint64_t wal_durable_sequence(const struct wal *wal);
/* ERR_OK, or the final error; the note is filled then (may be NULL). */
ERR_CHECKED enum err wal_status(const struct wal *wal, struct err_note *note);

struct wal_stats {
    uint64_t appends; /* calls of wal_append */
    uint64_t records;
    uint64_t writes; /* write + sync pairs */
    uint64_t bytes;  /* written */
    uint64_t seals;
    uint64_t segments_made;
    uint64_t segments_recycled;
    uint64_t segments_removed;
    uint64_t rotation_waits; /* a batch was ready before its segment was */
    uint64_t pending_bytes;
    uint64_t segments;
    uint64_t index_bytes; /* memory of the read index */
};

struct wal_stats wal_stats(const struct wal *wal);

#endif
