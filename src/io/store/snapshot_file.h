/* Snapshot files: the tables of one group at one index, as a file that is whole or does not count.
 *
 * Place: io; beside the store, on core/table's backend interface only. A background thread writes a
 * file from a read snapshot; a node that lost its state loads one; a follower that is too far
 * behind gets the same bytes from its leader, in chunks, and may resume.
 *
 * Invariants:
 *   1. A file has its final name only when its content is complete and synced (temporary name,
 *      fsync, rename, fsync of the directory).
 *   2. Nothing is taken from a file before all its checksums, its order and its counts were
 *      verified.
 *   3. The digest in the trailer is that of the rows in the file: the writer recomputes it and
 *      refuses to write a state that disagrees with its own digest; the loader recomputes it again.
 *   4. At most one file per group is written and one is received at a time (the caller's duty).
 *
 * The byte table is in docs/disk-format.md. Names: snapshot-GROUP-INDEX-TERM (hexadecimal digits,
 * fixed width), with .tmp while written and .part while received. */
#ifndef STORE_SNAPSHOT_FILE_H
#define STORE_SNAPSHOT_FILE_H

#include "err/err.h"
#include "raft/raft.h"
#include "table/table.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct snapshot_dir;
struct snapshot_sink;
struct snapshot_source;
struct store;

enum {
    SNAPSHOT_NAME_MAX = 64, /* with the terminating zero */
    SNAPSHOT_KEEP = 2       /* newest files that a node keeps per group */
};

/* What a file says of itself. */
struct snapshot_info {
    raft_group_id group;
    struct raft_snapshot_meta meta;
    struct table_digest digest;
    uint64_t rows;
    uint64_t size_bytes;
    char name[SNAPSHOT_NAME_MAX];
};

/* Who hears of files that were passed over because they are damaged; the note says why. */
struct snapshot_report {
    void (*damaged)(void *context, const char *name, const struct err_note *why);
    void *context;
};

/* Opens (and creates, mode 0700) the directory; removes what a writer left unfinished. Usable by
 * any thread afterwards. Owned by the caller. ERR_DENIED, ERR_NO_SPACE, ERR_IO. */
ERR_CHECKED enum err snapshot_dir_open(const char *path, struct snapshot_dir **ret_dir,
                                       struct err_note *note);
/* Accepts NULL. */
void snapshot_dir_close(struct snapshot_dir *dir);

/* The group's files whose header and trailer are whole, newest first, at most max. report may be
 * NULL. */
ERR_CHECKED enum err snapshot_list(struct snapshot_dir *dir, raft_group_id group,
                                   const struct snapshot_report *report, size_t max,
                                   struct snapshot_info *ret_infos, size_t *ret_count);
/* The newest file that verifies from the first to the last byte. ERR_NOT_FOUND, ERR_IO. */
ERR_CHECKED enum err snapshot_newest(struct snapshot_dir *dir, raft_group_id group,
                                     const struct snapshot_report *report,
                                     struct snapshot_info *ret_info);
/* Reads the whole file. ERR_CORRUPT, ERR_MISMATCH (a newer format), ERR_NOT_FOUND, ERR_IO. */
ERR_CHECKED enum err snapshot_verify(struct snapshot_dir *dir, const char *name,
                                     struct snapshot_info *ret_info, struct err_note *note);
/* Removes all but the newest `keep` files of the group, and those of an index of `floor` or above,
 * which the log may need. Files that are open stay readable. */
ERR_CHECKED enum err snapshot_prune(struct snapshot_dir *dir, raft_group_id group, size_t keep,
                                    raft_index floor);

/* Writes the view's group to a file; blocks on the disk, so: a background thread. No scan may be
 * open on the view; its applied index must be meta->index. A true *cancel (may be NULL) ends it
 * early. ERR_CONFLICT (other applied index), ERR_CORRUPT (the state disagrees with its digest:
 * nothing is written), ERR_CANCELED, ERR_NO_SPACE, ERR_IO. No file is left behind on failure. */
ERR_CHECKED enum err snapshot_write(struct snapshot_dir *dir, struct table_txn *view,
                                    const struct raft_snapshot_meta *meta,
                                    const atomic_bool *cancel, struct snapshot_info *ret_info,
                                    struct err_note *note);

/* Verifies the file, then replaces all rows of its group in the store, in transactions of bounded
 * size: the writing thread, no write transaction open. Until it is finished, readers find the
 * group's applied index at 0. A failure in the middle leaves the group incomplete and the store
 * without its clean mark until a later load succeeds. ERR_CORRUPT, ERR_MISMATCH, ERR_NOT_FOUND,
 * ERR_NO_SPACE, ERR_IO. */
ERR_CHECKED enum err snapshot_load(struct snapshot_dir *dir, const char *name, struct store *store,
                                   struct snapshot_info *ret_info, struct err_note *note);

/* ---- looking, for tools ---------------------------------------------------------------------- */

/* Opens a directory to read files in it: makes nothing, removes nothing. ERR_NOT_FOUND, ERR_DENIED,
 * ERR_BAD_INPUT (not a directory), ERR_IO. */
ERR_CHECKED enum err snapshot_dir_look(const char *path, struct snapshot_dir **ret_dir,
                                       struct err_note *note);
/* Every name in the directory, in no order, borrowed during the call. ERR_IO. */
ERR_CHECKED enum err snapshot_each_name(struct snapshot_dir *dir,
                                        void (*each)(void *context, const char *name),
                                        void *context);

/* Gets every row, in order; slices are borrowed during the call. Anything but ERR_OK ends the
 * reading and is its result. */
struct snapshot_rows {
    enum err (*row)(void *context, enum table_id table, struct bytes key, struct bytes value);
    void *context;
};

/* As snapshot_verify for a file of any name. The rows (may be NULL) come before the last byte is
 * checked: believe them only after ERR_OK. Errors as snapshot_verify; ERR_TOO_LARGE (name). */
ERR_CHECKED enum err snapshot_read_rows(struct snapshot_dir *dir, const char *name,
                                        const struct snapshot_rows *rows,
                                        struct snapshot_info *ret_info, struct err_note *note);
/* The name that such a file has in a node's directory. */
void snapshot_name_of(const struct snapshot_info *info, char dest[SNAPSHOT_NAME_MAX]);

/* What a name in the directory stands for. */
enum snapshot_name_kind {
    SNAPSHOT_NAME_OTHER,
    SNAPSHOT_NAME_FILE,
    SNAPSHOT_NAME_UNFINISHED, /* being written or received, or left over from that */
};
enum snapshot_name_kind snapshot_name_kind(const char *name);

/* ---- sending --------------------------------------------------------------------------------- */

/* Opens a file to be read in pieces; it stays readable when it is pruned meanwhile. The caller has
 * verified it. ERR_NOT_FOUND, ERR_IO. */
ERR_CHECKED enum err snapshot_source_open(struct snapshot_dir *dir, const char *name,
                                          struct snapshot_source **ret_source);
uint64_t snapshot_source_size(const struct snapshot_source *source);
/* Reads up to len bytes at the offset; *ret_len is less only at the end of the file. ERR_IO. */
ERR_CHECKED enum err snapshot_source_read(struct snapshot_source *source, uint64_t offset,
                                          uint8_t *dest, size_t len, size_t *ret_len);
/* Accepts NULL. */
void snapshot_source_close(struct snapshot_source *source);

/* ---- receiving ------------------------------------------------------------------------------- */

/* What is being received, as its sender announced it. */
struct snapshot_offer {
    raft_group_id group;
    raft_index index;
    raft_term term;
    uint64_t size_bytes;
};

/* Begins or resumes: the bytes that an earlier attempt at the same offer wrote are kept, parts of
 * other offers for the group are removed. ERR_TOO_LARGE (size_bytes over max_bytes), ERR_NO_SPACE,
 * ERR_IO. */
ERR_CHECKED enum err snapshot_sink_open(struct snapshot_dir *dir,
                                        const struct snapshot_offer *offer, uint64_t max_bytes,
                                        struct snapshot_sink **ret_sink, struct err_note *note);
/* Where the next chunk must begin. */
uint64_t snapshot_sink_offset(const struct snapshot_sink *sink);
/* Appends a chunk. ERR_CONFLICT (another offset is wanted), ERR_TOO_LARGE (beyond the offer's
 * size), ERR_NO_SPACE, ERR_IO. */
ERR_CHECKED enum err snapshot_sink_write(struct snapshot_sink *sink, uint64_t offset,
                                         struct bytes chunk, struct err_note *note);
/* Syncs, verifies every byte and gives the file its final name; call when the offset is the size.
 * ERR_INCOMPLETE (bytes are missing), ERR_CORRUPT or ERR_MISMATCH (not what was offered: the part
 * is removed), ERR_NO_SPACE, ERR_IO. */
ERR_CHECKED enum err snapshot_sink_finish(struct snapshot_sink *sink,
                                          struct snapshot_info *ret_info, struct err_note *note);
/* Frees the sink; an unfinished part stays for a later resume. Accepts NULL. */
void snapshot_sink_close(struct snapshot_sink *sink);

#endif
