/* Looking at a log without opening it: every record, every verdict, no write.
 *
 * Place: io; for tools. The verdicts are recovery's own: the same scan runs with somebody who is
 * told what it sees (wal_recover.c), and stops before anything would be repaired (wal_open.c). So
 * what is said here of a stopped node is what its next start will find.
 *
 * Nothing is written, removed or locked; a read-only disk (disk_look_open) is enough. Of a running
 * node the newest records may be missing or look torn: they are being written.
 *
 * Memory: one segment, and what a start needs to index the log. */
#ifndef WAL_WAL_INSPECT_H
#define WAL_WAL_INSPECT_H

#include "wal/wal.h"
#include "wal/wal_format.h"

enum {
    WAL_INSPECT_GROUPS_MAX = 4096
};

enum wal_seen_state {
    WAL_SEEN_WHOLE,
    WAL_SEEN_DAMAGED, /* the header is whole, the payload is not; on_damage follows */
    WAL_SEEN_TORN,    /* part of a write that nobody was told of; a start cuts it off */
};

/* A record whose header is whole. */
struct wal_seen {
    uint32_t segment;
    uint64_t offset;
    enum wal_seen_state state;
    struct wal_record record;
    struct bytes payload; /* borrowed during the call; as it lies there, when it is not whole */
};

/* The end of the log, when there are bytes behind it. Certain: they are of an unfinished write.
 * Otherwise nothing in them says so, and they may as well be what a recycled segment contained
 * before; a start treats both alike. */
struct wal_torn {
    bool certain;
    uint32_t segment;
    uint64_t offset;
    uint64_t bytes;    /* what a start would overwrite with zeros */
    uint64_t sequence; /* of the record that is not whole */
    const char *why;   /* borrowed for ever */
};

/* A group as a start would find it. */
struct wal_group_seen {
    raft_group_id group;
    raft_index first; /* first - 1 == last: no entries */
    raft_index last;
    struct raft_hard_state hard;
    raft_index snapshot; /* newest mark; 0: none */
    raft_term snapshot_term;
    bool damaged; /* something that may have been acknowledged is lost, and no snapshot covers it */
};

/* Who is told: records and damages in the order of the log, then the torn end, then the groups in
 * ascending order. All must be set. */
struct wal_inspector {
    void (*on_record)(void *context, const struct wal_seen *seen);
    void (*on_damage)(void *context, const struct wal_damage *damage);
    void (*on_torn)(void *context, const struct wal_torn *torn);
    void (*on_group)(void *context, const struct wal_group_seen *group);
    void *context;
};

struct wal_report {
    uint64_t storage_id;
    uint32_t first_segment;
    uint32_t last_segment; /* that has something of its own */
    size_t segments;
    size_t prepared; /* segments behind them, made ready and not begun */
    uint64_t records;
    uint64_t bytes_read;
    uint64_t damages;
    size_t damaged_groups;
    bool torn; /* for certain */
};

/* Blocks. storage_id 0: whatever the segments say. ERR_NOT_FOUND: no segments; ERR_MISMATCH: a
 * newer format or another storage id; ERR_FULL: more than WAL_INSPECT_GROUPS_MAX groups;
 * ERR_DENIED, ERR_CORRUPT, ERR_IO. Damage is no error: the report tells. */
ERR_CHECKED enum err wal_inspect(struct disk *disk, uint64_t storage_id,
                                 const struct wal_inspector *inspector,
                                 struct wal_report *ret_report, struct err_note *note);

/* "entry", "hard_state", ...; borrowed for ever. */
const char *wal_kind_name(enum wal_kind kind);

#endif
