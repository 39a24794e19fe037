/* Store: the tables of all groups of one node in one LMDB environment, behind core/table's backend.
 *
 * Place: io. The apply thread writes, every thread reads snapshots of its own. What is in here is a
 * disposable cache of the log: the WAL makes writes durable, this does not (MDB_NOSYNC), so a
 * commit costs no disk wait.
 *
 * Invariants:
 *   1. Trust. The environment is believed only when a clean mark lies beside it. store_close writes
 *      the mark after everything is on the disk; the first write after an open removes it and syncs
 *      the directory before anything changes. Without a mark store_open deletes the environment and
 *      begins an empty one, which the caller fills from the newest snapshot file and the WAL.
 *   2. Space. The file is a sparse memory map (MDB_WRITEMAP): a page without a disk block would be
 *      a SIGBUS when the disk is full. So blocks are allocated in steps, always beyond the highest
 *      page that the running transaction could touch; when the disk refuses, the write is
 *      ERR_NO_SPACE, the transaction is dead, and readers go on.
 *   3. One writer. Write transactions belong to one thread at a time; begin and end do not overlap.
 *   4. A reader is used by one thread at a time, and may be handed on, also between begin and end.
 *   5. A read snapshot never changes; pages that it needs are not reused. A reader that is not
 *      ended makes the file grow with every commit: store_stats counts such readers.
 *
 * Files in the directory: data.mdb and lock.mdb (LMDB's own), clean (the mark,
 * docs/disk-format.md). The directory itself is locked (flock) while the store is open.
 *
 * Limits: cfg.map_bytes is the largest possible state (reserved address range, not memory and not
 * disk). A write beyond it is ERR_NO_SPACE and the note names the setting; reads go on.
 *
 * Source: lmdb.h of LMDB 0.9. Deliberately absent: deciding when to write, what to do about damage,
 * and any knowledge of what the tables mean. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "err/err.h"
#include "table/table.h"

#include <stdbool.h>
#include <stdint.h>

struct store;
struct store_reader;

struct store_cfg {
    uint64_t map_bytes;     /* address range to reserve: the largest state; a multiple of 1 MiB */
    uint64_t step_bytes;    /* disk space is taken in steps of so many bytes; a multiple of 4 KiB */
    uint64_t stale_commits; /* a snapshot older than so many commits counts as stale in the stats */
    uint32_t readers_max;   /* readers that exist at once */
};

/* 64 GiB, 16 MiB, 10000 commits, 128 readers. */
void store_cfg_init(struct store_cfg *cfg);

/* Opens the environment in the directory (created when missing, mode 0700). *ret_trusted tells
 * whether its content is that of a clean stop; if not, it is empty now. The store is owned by the
 * caller. ERR_IN_USE (another process has it), ERR_NO_SPACE, ERR_DENIED, ERR_IO; the note says what
 * and where. */
ERR_CHECKED enum err store_open(const char *dir, const struct store_cfg *cfg,
                                struct store **ret_store, bool *ret_trusted, struct err_note *note);

/* Frees the store; readers must have been freed and no write transaction may be open. With clean,
 * syncs the data and then writes the mark; the mark is left out when the content is not to be
 * believed (a snapshot load did not finish, LMDB reported damage). Errors (ERR_IO, ERR_NO_SPACE)
 * tell why no mark could be written: the store is closed all the same. Accepts NULL. */
ERR_CHECKED enum err store_close(struct store *store, bool clean, struct err_note *note);

/* ---- writing: one thread --------------------------------------------------------------------- */

/* Begins the write transaction. ERR_IO (the mark could not be removed), ERR_NO_SPACE,
 * ERR_CORRUPT. */
ERR_CHECKED enum err store_write_begin(struct store *store, struct err_note *note);
/* Binds a transaction on the tables of one group to the open write transaction; valid until commit
 * or abort. Several groups may be bound; scans of two of them must not be open at once. */
void store_write_tables(struct store *store, uint32_t group, struct table_txn *ret_txn);
/* Makes everything visible to readers that begin from now on. When a put or delete failed before,
 * the transaction is aborted and that error is returned, with its note. The caller has called
 * table_txn_finish on what it bound. */
ERR_CHECKED enum err store_write_commit(struct store *store, struct err_note *note);
/* Drops the open write transaction. */
void store_write_abort(struct store *store);
/* Until it is called with false, store_close leaves no mark: for changes that span transactions. */
void store_set_incomplete(struct store *store, bool incomplete);

/* ---- reading: any thread --------------------------------------------------------------------- */

/* A reader to keep: one per thread, or one per long read. ERR_FULL (readers_max), ERR_IO. */
ERR_CHECKED enum err store_reader_new(struct store *store, struct store_reader **ret_reader);
/* Ends an open snapshot too. Accepts NULL. */
void store_reader_free(struct store_reader *reader);
/* Takes the newest committed snapshot: no lock, no allocation, some hundred nanoseconds. */
ERR_CHECKED enum err store_read_begin(struct store_reader *reader);
/* Binds a read-only view of one group's tables to the snapshot; valid until store_read_end. Its
 * applied index (table_applied) tells which state it is. */
void store_read_tables(struct store_reader *reader, uint32_t group, struct table_txn *ret_txn);
/* Lets the snapshot go. */
void store_read_end(struct store_reader *reader);

/* ---- numbers --------------------------------------------------------------------------------- */

struct store_stats {
    uint64_t map_bytes;       /* the limit */
    uint64_t allocated_bytes; /* on the disk */
    uint64_t used_bytes;      /* up to the highest page in use; free pages below it are reused */
    uint64_t commits;         /* since the open */
    uint64_t oldest_commits;  /* commits since the oldest open snapshot was taken */
    uint32_t readers_open;    /* readers that exist */
    uint32_t readers_active;  /* with a snapshot */
    uint32_t readers_stale;   /* with a snapshot older than cfg.stale_commits */
};

/* Any thread; a momentary picture. */
void store_stats(struct store *store, struct store_stats *ret_stats);

#endif
