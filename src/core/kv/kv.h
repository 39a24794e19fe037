/* Key-values: Consul's KV store as commands on TABLE_KV, and the reads that doors need.
 *
 * Place: core, above core/tomb. Facts about the semantics: Consul HTTP API, KV store.
 *
 * Keys are 1..KV_KEY_MAX bytes, any bytes. Keys longer than about 500 bytes that agree in their
 * first 474 bytes come out of a scan in no particular order (core/table); everything else is in
 * byte order.
 *
 * Record: version u8 = 1 | create u64 | modify u64 | lock u64 | flags u64 | session blob | value
 * blob. */
#ifndef KV_KV_H
#define KV_KV_H

#include "apply/apply.h"

enum {
    KV_KEY_MAX = 1024,
    KV_VALUE_MAX = 512 * 1024,
    KV_SESSION_MAX = 64
};

/* Command kinds. */
enum {
    KV_CMD_PUT = 0x0101,
    KV_CMD_DELETE = 0x0102,
    KV_CMD_DELETE_TREE = 0x0103
};

/* Slices are borrowed: from the transaction when read. */
struct kv_record {
    uint64_t create_index;
    uint64_t modify_index;
    uint64_t lock_index;  /* how often it was locked; 0 until there are sessions */
    uint64_t flags;       /* the client's own */
    struct bytes session; /* that holds the lock; empty: none */
    struct bytes value;
};

/* Result value: 1 written (or equal already: the indices then stay), 0 the cas index did not
 * match. */
struct kv_put {
    struct bytes key;
    struct bytes value;
    uint64_t flags;
    bool has_cas;
    uint64_t cas; /* 0: only if the key does not exist; else only if this is its modify index */
};

/* Result value: 1 gone (also when it was not there), 0 the cas index did not match. */
struct kv_delete {
    struct bytes key;
    bool has_cas;
    uint64_t cas;
};

/* Bodies of the commands. ERR_BAD_INPUT (empty key), ERR_TOO_LARGE, ERR_FULL (buffer). */
ERR_CHECKED enum err kv_put_encode(const struct kv_put *put, struct buf *to);
ERR_CHECKED enum err kv_delete_encode(const struct kv_delete *del, struct buf *to);
/* Deletes every key that begins with prefix (empty: all); result value: how many. */
ERR_CHECKED enum err kv_delete_tree_encode(struct bytes prefix, struct buf *to);

/* Refusals: ERR_BAD_INPUT, ERR_TOO_LARGE. Changes: TABLE_KV, the key. */
ERR_CHECKED enum err kv_apply(struct apply *a, uint16_t kind, struct bytes body);

/* ERR_NOT_FOUND, ERR_TOO_LARGE (key), ERR_CORRUPT, ERR_IO. */
ERR_CHECKED enum err kv_get(struct table_txn *txn, struct bytes key, struct kv_record *ret_record);

/* Slices are borrowed until the transaction's next write or end. Anything but ERR_OK ends the
 * iteration and is returned by it. */
typedef enum err kv_visit_fn(void *context, struct bytes key, const struct kv_record *record);
/* All keys under the prefix. */
ERR_CHECKED enum err kv_scan(struct table_txn *txn, struct bytes prefix, kv_visit_fn *visit,
                             void *context);

typedef enum err kv_key_fn(void *context, struct bytes key);
/* Keys under the prefix; with a separator (not empty), each is cut behind the first one after the
 * prefix, and equal results are given once. */
ERR_CHECKED enum err kv_keys(struct table_txn *txn, struct bytes prefix, struct bytes separator,
                             kv_key_fn *visit, void *context);

/* What blocking queries compare; never 0, never goes backwards: the key's modify index, or of a
 * missing key the index of its deletion. */
ERR_CHECKED enum err kv_index_of_key(struct table_txn *txn, struct bytes key, uint64_t *ret_index);
/* The highest modify or deletion index under the prefix. Looks at every key under it. */
ERR_CHECKED enum err kv_index_of_prefix(struct table_txn *txn, struct bytes prefix,
                                        uint64_t *ret_index);

/* The record's encoding, for tests and tools. decode: ERR_CORRUPT. */
ERR_CHECKED enum err kv_record_encode(const struct kv_record *record, struct buf *to);
ERR_CHECKED enum err kv_record_decode(struct bytes from, struct kv_record *ret_record);

#endif
