/* Tables: ordered maps of bytes to bytes, the only memory that state machines have.
 *
 * Place: core. State machines (core/kv, core/registry, ...) see a struct table_txn; io/store
 * implements it on LMDB, table_mem.c in memory (for tests and the simulator). Both use the same key
 * encoding (table_key_encode), so both iterate in the same order and give the same digest.
 *
 * Key in the store:   group u32 be | table u8 | key                      up to 505 bytes of key
 *                     group u32 be | table u8 | first 474 bytes | 0xff | 31-byte hash   when longer
 * Only long keys have a stored form of 511 bytes; their stored value begins with {length u16, full
 * key}; callers never see this: they get full keys back.
 * Order is byte order, except that keys which agree in their first 474 bytes and are longer than
 * that are in hash order: a scan by a longer prefix must look at every key it gets.
 *
 * Digest: a 128-bit sum, over all rows of a group, of a hash of (table, key, value); adding a row
 * adds, deleting subtracts. It is kept by these functions in TABLE_META in the same transaction:
 * replicas at the same index must have the same digest.
 *
 * Ownership: slices that come out are borrowed until the transaction's next write or end. */
#ifndef TABLE_TABLE_H
#define TABLE_TABLE_H

#include "bytes/bytes.h"
#include "clk/clk.h"
#include "err/err.h"

#include <stdbool.h>
#include <stdint.h>

/* Stable numbers: they are on disk and in snapshots. */
enum table_id {
    TABLE_META = 1, /* applied index, digest, tombstone floor, feature level; not in the digest */
    TABLE_PROPOSERS = 2,  /* node -> incarnation, last sequence */
    TABLE_SETTINGS = 3,   /* name -> value */
    TABLE_MEMBERS = 4,    /* node -> member record */
    TABLE_KV = 5,         /* key -> key-value record */
    TABLE_TOMBSTONES = 6, /* (table, key) -> index of its deletion */
    TABLE_SERVICES = 7,   /* service name (lower case) -> service record with its index */
    TABLE_INSTANCES = 8,  /* (service name, instance id) -> instance record */
    TABLE_CHECKS = 9,     /* (node, check id) -> check record */
    TABLE_ROUTES = 10,    /* route id -> route record */
    TABLE_INDEXES = 11,   /* secondary indexes of the modules above: derived, but in the digest */
};

enum {
    TABLE_KEY_MAX = 4096,             /* bytes of a full key */
    TABLE_KEY_ORDERED = 474,          /* bytes of a long key that are kept in order */
    TABLE_STORED_KEY_MAX = 511,       /* LMDB's limit */
    TABLE_VALUE_MAX = 8 * 1024 * 1024 /* bytes, as a command */
};

struct table_digest {
    uint64_t low;
    uint64_t high;
};

/* What a store must implement; keys and values are stored (encoded) ones. */
struct table_backend {
    /* ERR_OK, ERR_NOT_FOUND, ERR_CORRUPT, ERR_IO */
    enum err (*get)(void *self, struct bytes key, struct bytes *ret_value);
    /* ERR_OK, ERR_NO_SPACE, ERR_IO; NULL in a read-only view */
    enum err (*put)(void *self, struct bytes key, struct bytes value);
    /* ERR_OK, ERR_NOT_FOUND, ERR_IO; NULL in a read-only view */
    enum err (*del)(void *self, struct bytes key);
    /* The first row with a key >= `key`: ERR_OK, ERR_NOT_FOUND at the end. A cursor of its own per
     * `slot` (0..TABLE_CURSORS-1), so that nested scans do not disturb each other. */
    enum err (*seek)(void *self, int slot, struct bytes key, struct bytes *ret_key,
                     struct bytes *ret_value);
    /* The row after the last one that seek or next of this slot gave. Writes in between are
     * allowed: the backend re-seeks. */
    enum err (*next)(void *self, int slot, struct bytes *ret_key, struct bytes *ret_value);
};

enum {
    TABLE_CURSORS = 4
};

/* A transaction on the tables of one group, or a read-only view of them. */
struct table_txn {
    const struct table_backend *backend;
    void *self;
    uint32_t group;
    uint32_t cursors_in_use; /* bit per slot */
    struct table_digest digest;
    bool digest_loaded;
    bool read_only;
};

/* Binds a transaction to a backend's state; nothing is read yet. */
void table_txn_init(struct table_txn *txn, const struct table_backend *backend, void *self,
                    uint32_t group, bool read_only);

/* ERR_OK, ERR_NOT_FOUND, ERR_TOO_LARGE (key), ERR_CORRUPT, ERR_IO. */
ERR_CHECKED enum err table_get(struct table_txn *txn, enum table_id table, struct bytes key,
                               struct bytes *ret_value);
/* Inserts or replaces. ERR_TOO_LARGE, ERR_NO_SPACE, ERR_IO, ERR_CORRUPT. */
ERR_CHECKED enum err table_put(struct table_txn *txn, enum table_id table, struct bytes key,
                               struct bytes value);
/* ERR_NOT_FOUND when there is no such row. */
ERR_CHECKED enum err table_delete(struct table_txn *txn, enum table_id table, struct bytes key);

/* Scans: for (err = table_scan(&scan, txn, TABLE_KV, prefix); err == ERR_OK; err =
 * table_scan_next(&scan)). Gives the rows of one table whose full key begins with prefix, in stored
 * order; the loop ends with ERR_NOT_FOUND when all are seen. table_scan_end must be called in every
 * case. Rows may be deleted or changed during a scan. */
struct table_scan {
    struct table_txn *txn;
    struct bytes prefix; /* borrowed until table_scan_end */
    enum table_id table;
    int slot;
    struct bytes key; /* full key of the row, without group and table */
    struct bytes value;
};

ERR_CHECKED enum err table_scan(struct table_scan *scan, struct table_txn *txn, enum table_id table,
                                struct bytes prefix);
/* As table_scan, but begins with the first row at or after `from` (a full key). */
ERR_CHECKED enum err table_scan_from(struct table_scan *scan, struct table_txn *txn,
                                     enum table_id table, struct bytes prefix, struct bytes from);
ERR_CHECKED enum err table_scan_next(struct table_scan *scan);
void table_scan_end(struct table_scan *scan);

/* A whole scan as a call per row. Anything but ERR_OK from the visitor ends it and is returned. */
typedef enum err table_visit_fn(void *context, struct bytes key, struct bytes value);
ERR_CHECKED enum err table_each(struct table_txn *txn, enum table_id table, struct bytes prefix,
                                table_visit_fn *visit, void *context);

/* The applied index (0: empty state) and the time of that entry, kept in TABLE_META: a leader that
 * has the state only, and not the entries, must not give the next one an earlier time. */
ERR_CHECKED enum err table_applied(struct table_txn *txn, uint64_t *ret_index);
ERR_CHECKED enum err table_applied_time(struct table_txn *txn, clk_ms *ret_time_ms);
/* The same out of a row of TABLE_META, for those who read whole files: false for another row. */
bool table_applied_row(struct bytes key, struct bytes value, uint64_t *ret_index,
                       clk_ms *ret_time_ms);
ERR_CHECKED enum err table_set_applied(struct table_txn *txn, uint64_t index, clk_ms time_ms);
ERR_CHECKED enum err table_digest(struct table_txn *txn, struct table_digest *ret_digest);
/* Writes the running digest to TABLE_META: before the backend commits. */
ERR_CHECKED enum err table_txn_finish(struct table_txn *txn);

/* Adds one stored row (key with group and table, value as the backend has it) to a digest: for
 * those who copy whole groups. Rows of TABLE_META add nothing. ERR_CORRUPT: no put writes such a
 * row. */
ERR_CHECKED enum err table_digest_add_stored(struct table_digest *digest, struct bytes key,
                                             struct bytes value);

/* The other way: table, full key and value of a stored row; parts of what is given. ERR_CORRUPT: no
 * put writes such a row. */
ERR_CHECKED enum err table_split_stored(struct bytes stored_key, struct bytes stored_value,
                                        enum table_id *ret_table, struct bytes *ret_key,
                                        struct bytes *ret_value);
/* "kv", "instances", ...; NULL for a number that is none. Borrowed for ever. */
const char *table_name(enum table_id table);

/* Stored form of a key; dest has TABLE_STORED_KEY_MAX bytes. long_key tells whether the value
 * carries the full key. */
ERR_CHECKED enum err table_key_encode(uint32_t group, enum table_id table, struct bytes key,
                                      uint8_t *dest, size_t *ret_len, bool *ret_long_key);

/* The in-memory backend: a sorted map with whole-state copy, for tests and the simulator. Bind it
 * with table_txn_init(&txn, table_mem_backend(), mem, group, read_only). */
struct table_mem;

struct table_mem *table_mem_new(void);
/* Accepts NULL. */
void table_mem_free(struct table_mem *mem);
const struct table_backend *table_mem_backend(void);
/* A copy of the whole state, outside of any transaction; owned by the caller. */
struct table_mem *table_mem_clone(const struct table_mem *mem);
/* Between begin and commit writes can be taken back; without begin they are final at once. Not
 * nested. */
void table_mem_begin(struct table_mem *mem);
void table_mem_commit(struct table_mem *mem);
void table_mem_abort(struct table_mem *mem);
/* Number of rows of all groups. */
size_t table_mem_count(const struct table_mem *mem);

#endif
