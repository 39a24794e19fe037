/* Inside of the log: its state, shared by opening, recovery, appending, segments and reading.
 *
 * Files: wal.c appends and writes; wal_open.c finds, makes and closes segments at start;
 * wal_recover.c turns their bytes into groups; wal_inspect.c has it done for people, and changes
 * nothing; wal_group.c keeps the groups; wal_segment.c prepares, recycles and drops segments;
 * wal_read.c reads entries back; wal_log.c and wal_format.c know neither disk nor log. */
#ifndef WAL_WAL_PRIV_H
#define WAL_WAL_PRIV_H

#include "disk/disk.h"
#include "list/list.h"
#include "wal/wal.h"
#include "wal/wal_format.h"
#include "wal/wal_inspect.h"
#include "wal/wal_log.h"

enum {
    WAL_ZERO_BYTES = 64 * 1024,
    WAL_FILL_PIECES = 4, /* of zeros in one write */
    WAL_BATCHES_CACHED = 4,
};

#define WAL_NEW_NAME "wal-new.tmp" /* a segment that is being zero-filled */

struct wal_group {
    raft_group_id id;
    struct raft_hard_state hard;
    struct raft_snapshot_meta snapshot; /* the newest mark */
    uint64_t snapshot_sequence;         /* its record, until that is durable; then 0 */
    raft_index snapshot_durable;        /* of the newest mark that is durable */
    raft_index released;
    uint64_t last_sequence; /* of its records */
    /* Entries that were truncated or replaced lie from this segment on: it is needed until the
     * record that removed them is durable. */
    uint32_t hold_segment;
    uint64_t hold_sequence; /* 0: no hold */
    struct wal_log log;

    /* Recovery. Suspect: records were lost that may have been this group's; its next record, or the
     * next segment header, tells. Lost: they were its own, and the state or log is in doubt. */
    uint32_t listed; /* segment whose header named the group last */
    bool suspect;
    bool hard_lost;
    bool log_lost;
    enum raft_boot_verdict verdict;
    struct raft_boot_config *configs; /* of the whole log; freed by wal_boot_done */
    size_t config_count;
    size_t config_cap;
    struct raft_term_run *boot_runs;
    size_t boot_run_count;
    size_t boot_config_from; /* configs before it are covered by the snapshot */
};

struct wal_segment {
    struct disk_file *file;
    uint32_t number;
    uint32_t size;
    uint32_t reads; /* under way */
};

struct wal_batch {
    struct list link;
    uint8_t *data;
    size_t len;
    size_t cap;
    uint32_t segment;
    uint32_t offset;
    uint32_t records;
    uint64_t last_sequence;
    uint64_t wal_seq; /* everything up to it is complete with this batch; 0: no news */
};

/* What the one background operation on segments is doing. */
enum wal_prepare_step {
    WAL_PREPARE_IDLE,
    WAL_PREPARE_FILL,   /* writing zeros */
    WAL_PREPARE_SYNC,   /* syncing them */
    WAL_PREPARE_NAME,   /* renamed; syncing the directory: then ready */
    WAL_PREPARE_REMOVE, /* removed one; syncing the directory */
};

struct wal_prepare {
    enum wal_prepare_step step;
    struct disk_op op;
    struct iovec iov[WAL_FILL_PIECES];
    struct disk_file *file;
    uint32_t filled;
    bool low;        /* the last attempt met a full disk */
    clk_ns retry_at; /* CLK_NEVER: not waiting */
};

struct wal_read_state {
    struct wal_read *read; /* NULL: free */
    struct wal *wal;
    struct disk_op op;
    struct iovec iov;
    struct wal_segment *segment;
    uint32_t offset;
    raft_index reach; /* entries below it are found by walking */
};

struct wal {
    struct wal_config config;
    struct wal_callbacks callbacks;
    struct disk *disk;
    enum err failed; /* ERR_OK, or the final error */
    struct err_note failed_note;

    struct wal_group **groups; /* ascending by id */
    size_t group_count;
    struct wal_group *group_last; /* looked up last */
    size_t marks_pending;         /* snapshots and holds whose records are not durable yet */

    struct wal_segment **segments; /* ascending by number; those beyond tail_segment are ready */
    size_t segment_count;
    size_t segment_cap;

    /* Where the next record goes. */
    uint32_t tail_segment;
    uint32_t tail_offset;
    uint32_t tail_size; /* of that segment */
    uint32_t tail_salt;
    uint64_t next_sequence;

    /* Up to where the disk has everything. */
    uint32_t durable_segment;
    uint32_t durable_offset;
    uint64_t durable_sequence;
    /* The newest segment whose header is durable and whole: nothing before it is needed but
     * entries. 0: there is none. */
    uint32_t head_segment;

    struct list pending; /* batches, the last one is open */
    struct list batches_free;
    size_t batches_cached;
    struct wal_batch *writing; /* NULL: no write is under way */
    bool waits;                /* the first pending batch waits for its segment */
    struct disk_op write_op;
    struct iovec write_iov;
    uint64_t pending_bytes; /* writing included */
    struct buf scratch;

    bool unsealed; /* something was written after the last seal */
    bool seal_due; /* the time has come, but a write is under way */
    clk_ns seal_at;
    clk_ns now;

    struct wal_prepare prepare;
    uint8_t *zeros;
    struct wal_read_state reads[WAL_READS_MAX];

    struct wal_recovery recovery;
    bool unknown_loss; /* groups without records may have been lost */
    struct wal_stats stats;
};

/* ---- wal_group.c ----------------------------------------------------------------------------- */

struct wal_group *wal_group_find(const struct wal *wal, raft_group_id id);
/* Finds or makes; NULL when there are groups_max already. */
struct wal_group *wal_group_get(struct wal *wal, raft_group_id id);
void wal_groups_free(struct wal *wal);
/* The state that a segment header says of the group now. */
struct wal_group_state wal_group_state(const struct wal_group *group);
/* In-memory side of a truncation and of a snapshot mark, recorded with this sequence. */
void wal_group_truncate(struct wal *wal, struct wal_group *group, raft_index from,
                        uint64_t sequence);
void wal_group_snapshot(struct wal *wal, struct wal_group *group,
                        const struct raft_snapshot_meta *meta, bool replaced, uint64_t sequence);
/* Looks at the marks again after durable_sequence has grown. */
void wal_groups_durable(struct wal *wal);
/* The first segment that a group needs, and which group; the head segment and 0 when none
 * does. */
uint32_t wal_first_needed(const struct wal *wal, raft_group_id *ret_group);
/* Settles verdict, log and boot arrays of all groups after the scan. */
void wal_groups_settle(struct wal *wal);

/* ---- wal_segment.c --------------------------------------------------------------------------- */

struct wal_segment *wal_segment_find(const struct wal *wal, uint32_t number);
/* Takes the file; numbers ascend. */
void wal_segment_add(struct wal *wal, struct disk_file *file, uint32_t number, uint32_t size);
/* Highest segment that is ready to be written. */
uint32_t wal_segment_ready(const struct wal *wal);
/* Starts the next piece of background work on segments, when there is some. */
void wal_tidy(struct wal *wal);

/* ---- wal.c ----------------------------------------------------------------------------------- */

/* The final error: everything stops. */
void wal_fail(struct wal *wal, enum err err, const char *what, const char *name, int os_errno);
/* A segment has become ready: a batch may be waiting for it. */
void wal_segment_came(struct wal *wal);

/* ---- wal_recover.c --------------------------------------------------------------------------- */

/* Where recovery ended, for wal_open.c. */
struct wal_found {
    struct disk_file *file;
    uint32_t number;
    uint64_t size;
    bool has_head; /* a whole header with its own number */
    bool used;     /* a header or at least one record of its own */
    struct wal_segment_head head;
    struct wal_record head_record;
    struct buf head_payload;
};

struct wal_scan {
    struct wal *wal;
    struct wal_found *found;
    size_t found_count;
    size_t used_count; /* found[0..used_count) take part */
    bool unfinished;   /* a segment that was being filled is there */
    /* Hears of everything that is seen; NULL at a start. */
    const struct wal_inspector *inspector;

    size_t at; /* the segment that is being scanned */
    uint8_t *image;
    size_t image_cap;
    size_t image_len;
    bool lacking; /* the file is shorter than it was made, or a part could not be read */

    bool end_lacks; /* the segment before was lacking where its last records should be */

    uint64_t expected; /* sequence of the next record */
    uint64_t limit;    /* sequence of the next segment's header */
    bool highest_known;
    uint64_t highest; /* watermark of the whole log */

    bool ended; /* the end was found: in found[at] at end_offset */
    size_t end_offset;
    size_t write_offset; /* where the last write begins in that segment */
};

/* Reads a segment into scan->image; parts that cannot be read become zeros (lacking). */
void wal_scan_load(struct wal_scan *scan, size_t at);
/* Scans all used segments into wal's groups. ERR_FULL: too many groups. */
ERR_CHECKED enum err wal_scan_run(struct wal_scan *scan, struct err_note *note);
/* Whether a whole record header of the segment's own lies anywhere in the image from `from` on: the
 * first offset, or image_len; ret_record. Records of a sequence below `least` do not count. */
size_t wal_scan_next(const struct wal_scan *scan, size_t from, uint64_t least,
                     struct wal_record *ret_record);
/* Tells the inspector, when there is one, of a record of the segment in the image. */
void wal_scan_tell(const struct wal_scan *scan, const struct wal_record *record, size_t offset,
                   enum wal_seen_state state);

/* ---- wal_open.c, for wal_inspect.c too ------------------------------------------------------- */

/* A log without segments; wal_free. config is copied and not checked. */
struct wal *wal_make(struct disk *disk, const struct wal_config *config);
/* Opens all segments and reads their headers; scan->wal is set. A storage id of 0 in the wal's
 * configuration becomes that of the first whole header. ERR_NOT_FOUND, ERR_MISMATCH, ERR_CORRUPT,
 * ERR_IO. wal_scan_done in every case. */
ERR_CHECKED enum err wal_scan_find(struct wal_scan *scan, struct err_note *note);
void wal_scan_done(struct wal_scan *scan);
/* After a scan that ended: where the leftovers of a torn write end; scan->end_offset: there are
 * none. Says in the recovery whether something is torn. */
size_t wal_scan_torn(struct wal_scan *scan);

#endif
