/* Tombstones: the index at which something that no longer exists was deleted.
 *
 * Place: core, above core/setting; used by core/kv and core/registry. A client that waits for "the
 * index of this key has changed" must see it move when the key is deleted, and must never see it go
 * back. Tombstones are replicated rows, so that this holds on every node.
 *
 * Their number is bounded: tomb_reap, called by every command that added some, drops the oldest
 * ones when there are more than SETTING_TOMBSTONES_MAX (down to three quarters of it, so that it
 * happens in rare batches), or when the oldest is twice SETTING_TOMBSTONES_AGE_MS old (all that are
 * older than the age go then). What is dropped raises the *floor*: the index that everything
 * missing is said to have at least. So indices never go backwards; the price is that a reaping
 * moves the index of missing things, and of prefixes, once without a change.
 *
 * Rows: TABLE_TOMBSTONES (table u8, key) -> version u8, index u64, time_ms u64;
 *       TABLE_INDEXES 't', index u64 be, table u8, key -> empty; number and floor in TABLE_META. */
#ifndef TOMB_TOMB_H
#define TOMB_TOMB_H

#include "apply/apply.h"

enum {
    TOMB_KEY_MAX = 1024
};

/* Marks (table, key) as deleted at a->index. The key must not be borrowed from the transaction. */
ERR_CHECKED enum err tomb_add(struct apply *a, enum table_id table, struct bytes key);
/* Forgets the tombstone, if any: the thing exists again. */
ERR_CHECKED enum err tomb_remove(struct apply *a, enum table_id table, struct bytes key);
ERR_CHECKED enum err tomb_reap(struct apply *a);

/* The index of something missing: its tombstone's, else the floor; never 0. */
ERR_CHECKED enum err tomb_index(struct table_txn *txn, enum table_id table, struct bytes key,
                                uint64_t *ret_index);
/* The highest index of the tombstones under a prefix and the floor; never 0. */
ERR_CHECKED enum err tomb_index_under(struct table_txn *txn, enum table_id table,
                                      struct bytes prefix, uint64_t *ret_index);
/* How many tombstones there are. */
ERR_CHECKED enum err tomb_count(struct table_txn *txn, uint64_t *ret_count);

#endif
