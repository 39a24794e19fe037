/* What the files of the store share: its structures, disk space accounting, small file helpers.
 *
 * Place: io/store, private. See store.h for the invariants. */
#ifndef STORE_STORE_PRIV_H
#define STORE_STORE_PRIV_H

#include "store/store.h"

#include <lmdb.h>
#include <stdatomic.h>

enum {
    STORE_MAGIC = 0x53544f52,
    STORE_READER_MAGIC = 0x53545244
};

/* ---- disk space (store_space.c) -------------------------------------------------------------- */

/* How many pages the running write transaction can have taken at most, and how many have blocks.
 *
 * LMDB takes a page from its free list or from the end of the file; which, nobody outside can see.
 * So every page that the transaction may have taken counts as taken from the end:
 *   - A clean page is copied once, when first touched: at most one leaf (a delete: three, for
 *     merging with neighbours) and one path of branches per operation, and never more than existed
 *     at the beginning.
 *   - Pages by which the tree has grown are read off LMDB's own counters after each operation.
 *   - Values beyond half a page go to pages of their own.
 *   - The free list is written back at commit: page numbers of 8 bytes each, so a 512th of the
 *     pages in it; counted twice over, with a constant for its tree. */
struct store_space {
    int fd;
    uint64_t page_bytes;
    uint64_t step_pages;
    uint64_t map_pages;
    uint64_t allocated_pages; /* from the start of the file; 0 until the first write of this run */
    /* Of the running transaction, in pages. */
    uint64_t base; /* in use when it began */
    uint64_t branches_before;
    uint64_t leaves_before;
    uint64_t tree_pages; /* branches and leaves after the last operation */
    uint64_t branches_touched;
    uint64_t leaves_touched;
    uint64_t grown;
    uint64_t large;
};

void space_begin(struct store_space *space, const MDB_stat *stat, uint64_t pages_in_use);
/* Before a put or delete: makes sure that every page it could take has a block. ERR_NO_SPACE,
 * ERR_IO. */
ERR_CHECKED enum err space_reserve_put(struct store_space *space, const MDB_stat *stat,
                                       size_t value_len);
ERR_CHECKED enum err space_reserve_del(struct store_space *space, const MDB_stat *stat);
/* After it. */
void space_note_growth(struct store_space *space, const MDB_stat *stat);

/* ---- the store ------------------------------------------------------------------------------- */

struct store_cursor {
    MDB_cursor *cursor;
    bool bound;      /* belongs to the running transaction */
    uint64_t writes; /* the view's count when it was positioned */
    size_t key_len;  /* where it stands; writing views only */
    uint8_t key[TABLE_STORED_KEY_MAX];
};

/* The `self` behind a struct table_txn: a transaction with its cursors. */
struct store_view {
    struct store *store;
    MDB_txn *txn;
    bool open;
    bool writing;
    uint64_t writes; /* puts and deletes so far: a cursor that was placed before re-seeks */
    struct store_cursor cursors[TABLE_CURSORS];
};

struct store_reader_slot {
    _Alignas(
        64) _Atomic uint64_t began; /* commits when the open snapshot was taken, plus 1; 0: none */
    atomic_bool taken;
};

struct store {
    uint32_t magic;
    struct store_cfg cfg;
    char *dir;
    int dir_fd;
    MDB_env *env;
    MDB_dbi dbi;
    bool marked;            /* the clean mark lies on the disk */
    bool incomplete;        /* store_set_incomplete */
    atomic_bool unreliable; /* LMDB reported damage or an I/O error: no mark */
    struct store_space space;
    struct store_view writer;
    enum err failed; /* first failure of the running write transaction */
    struct err_note failed_note;
    struct store_reader_slot *slots; /* readers_max of them */
    _Atomic uint64_t commits;
    _Atomic uint64_t used_bytes;
    _Atomic uint64_t allocated_bytes;
};

struct store_reader {
    uint32_t magic;
    uint32_t slot;
    struct store_view view;
};

extern const struct table_backend store_read_backend;
extern const struct table_backend store_write_backend;

/* LMDB's return code as ours; damage and I/O errors make the store unreliable. */
enum err store_err(struct store *store, int rc);
/* A sentence for LMDB's return code or an errno. Borrowed for ever. */
const char *store_err_text(int rc);

/* ---- the clean mark (store_mark.c) ----------------------------------------------------------- */

/* What LMDB says of an environment; the mark repeats it, so a mark beside other data is seen. */
struct store_mark {
    uint64_t last_txn;
    uint64_t last_page;
    uint32_t page_bytes;
};

/* ERR_NOT_FOUND (none), ERR_CORRUPT, ERR_MISMATCH (newer version), ERR_IO. */
ERR_CHECKED enum err mark_read(int dir_fd, struct store_mark *ret_mark);
/* Durable when it returns. */
ERR_CHECKED enum err mark_write(int dir_fd, const struct store_mark *mark);
/* Durable when it returns; no mark is fine. */
ERR_CHECKED enum err mark_remove(int dir_fd);

/* ---- files (store_fs.c) ---------------------------------------------------------------------- */

ERR_CHECKED enum err fs_write_all(int fd, const void *data, size_t len);
/* Reads up to len bytes at the offset; less only at the end of the file. */
ERR_CHECKED enum err fs_read_at(int fd, void *dest, size_t len, uint64_t offset, size_t *ret_len);
ERR_CHECKED enum err fs_sync(int fd);
/* Gives bytes [from, to) of the file blocks without changing what can be read from [from, keep) or
 * the file's size; what lies after `keep` has never been written. */
ERR_CHECKED enum err fs_allocate(int fd, uint64_t from, uint64_t to, uint64_t keep);
/* Opens a directory, creating it (mode 0700) when missing. */
ERR_CHECKED enum err fs_open_dir(const char *path, int *ret_fd);
/* A missing file is fine. */
ERR_CHECKED enum err fs_remove(int dir_fd, const char *name);

#endif
