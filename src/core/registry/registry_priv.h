/* Registry, inside: keys, encodings, and the primitives that keep rows and secondary indexes in
 * step.
 *
 * Place: core/registry only.
 *
 * Borrowing: a decoded record points into the transaction, and any write takes that away. So
 * whatever writes more than once copies first: keys are built in struct registry_key, what index
 * rows are made of in struct registry_place, and the new row in apply.record, before the first
 * write. */
#ifndef REGISTRY_REGISTRY_PRIV_H
#define REGISTRY_REGISTRY_PRIV_H

#include "registry/registry.h"

enum {
    /* The longest: 's', service, 0, instance id, 0, check id. */
    REGISTRY_KEY_MAX = 3 + REGISTRY_NAME_MAX + REGISTRY_ID_MAX + REGISTRY_CHECK_ID_MAX
};

struct registry_key {
    uint8_t data[REGISTRY_KEY_MAX];
    size_t len;
};

static inline struct bytes registry_key_bytes(const struct registry_key *key)
{
    return bytes_of(key->data, key->len);
}

/* Copies the slice, which has been checked against the limits. */
void registry_key_set(struct registry_key *key, struct bytes slice);
/* Lower case (ASCII); false when the name is longer than any service's. */
bool registry_service_key(struct bytes name, struct registry_key *ret_key);

/* Keys of rows and of index rows; the parameters have been checked against the limits. Prefixes of
 * index scans are those with an empty last part. */
void registry_key_instance(struct registry_key *key, struct bytes service_key, struct bytes id);
void registry_key_check(struct registry_key *key, uint32_t node, struct bytes check_id);
void registry_key_by_id(struct registry_key *key, uint8_t prefix, struct bytes id, uint32_t node);
void registry_key_by_id_prefix(struct registry_key *key, uint8_t prefix, struct bytes id);
void registry_key_by_node(struct registry_key *key, uint8_t prefix, uint32_t node, struct bytes id);
void registry_key_by_instance(struct registry_key *key, struct bytes service_key, struct bytes id,
                              struct bytes check_id);
void registry_key_by_service_prefix(struct registry_key *key, struct bytes service_key);
void registry_key_by_owner(struct registry_key *key, uint32_t owner, uint32_t node,
                           struct bytes check_id);
void registry_key_by_owner_prefix(struct registry_key *key, uint32_t owner);
/* The node at the end of a by_id key. */
ERR_CHECKED enum err registry_key_node(struct bytes key, uint32_t *ret_node);

/* ---- encodings: registry_codec.c ------------------------------------------------------------- */

/* The parts that commands and rows share. Reading marks the reader failed on impossible counts and
 * values, and leaves sizes to the limits. */
void registry_instance_write(struct writer *w, const struct registry_instance *instance);
void registry_instance_read(struct reader *r, struct registry_instance *ret_instance);
void registry_check_write(struct writer *w, const struct registry_check *check);
void registry_check_read(struct reader *r, struct registry_check *ret_check);

ERR_CHECKED enum err registry_instance_row(const struct registry_instance *instance,
                                           struct buf *to);
ERR_CHECKED enum err registry_instance_row_decode(struct bytes row,
                                                  struct registry_instance *ret_instance);
ERR_CHECKED enum err registry_check_row(const struct registry_check *check, struct buf *to);
/* key: of the row; it has node and id. */
ERR_CHECKED enum err registry_check_row_decode(struct bytes key, struct bytes row,
                                               struct registry_check *ret_check);
ERR_CHECKED enum err registry_service_row(const struct registry_service *service, struct buf *to);
ERR_CHECKED enum err registry_service_row_decode(struct bytes key, struct bytes row,
                                                 struct registry_service *ret_service);

/* Only ids and names without control characters: the 0 byte separates the parts of keys. */
bool registry_id_ok(struct bytes id, size_t max);

/* ---- finding: registry_find.c ---------------------------------------------------------------- */

/* Where an instance of this id is: on `node`, else the only one. ERR_NOT_FOUND, ERR_CONFLICT. */
ERR_CHECKED enum err registry_instance_locate(struct table_txn *txn, uint32_t node, struct bytes id,
                                              struct registry_key *ret_service_key,
                                              uint32_t *ret_node);
/* The same for a check. */
ERR_CHECKED enum err registry_check_locate(struct table_txn *txn, uint32_t node,
                                           struct bytes check_id, uint32_t *ret_node);

/* ---- writing: registry_store.c --------------------------------------------------------------- */

/* All that the rows of a check are found by, copied out of the transaction. */
struct registry_place {
    uint32_t node;
    uint32_t owner;
    struct registry_key check_id;
    struct registry_key service_key; /* empty: a check of the node */
    struct registry_key instance_id;
};

void registry_place_of(struct registry_place *place, const struct registry_check *check);

/* Gives the service this entry's index (and makes it exist), once per command. name as registered;
 * empty when the service is known to exist. */
ERR_CHECKED enum err registry_touch_service(struct apply *a, const struct registry_key *service_key,
                                            struct bytes name);
/* Touches what a change to the check concerns: its service, or all services on its node. */
ERR_CHECKED enum err registry_touch_check(struct apply *a, const struct registry_place *place);

/* Writes the check and its index rows; old: where it was before (NULL: nowhere). No touching. */
ERR_CHECKED enum err registry_check_store(struct apply *a, const struct registry_check *check,
                                          const struct registry_place *old);
ERR_CHECKED enum err registry_check_remove(struct apply *a, const struct registry_place *place);

/* Writes the instance and its index rows; was_node: where it was before (0: nowhere). No
 * touching. */
ERR_CHECKED enum err registry_instance_store(struct apply *a,
                                             const struct registry_instance *instance,
                                             uint32_t was_node);
/* Removes the instance with its checks, and the service after its last instance; touches it
 * otherwise. */
ERR_CHECKED enum err registry_instance_remove(struct apply *a,
                                              const struct registry_key *service_key,
                                              struct bytes id, uint32_t node);

/* Calls visit with a copied place for every check of the instance; visit may write. */
typedef enum err registry_place_fn(struct apply *a, const struct registry_place *place,
                                   void *context);
ERR_CHECKED enum err registry_instance_places(struct apply *a,
                                              const struct registry_key *service_key,
                                              struct bytes id, registry_place_fn *visit,
                                              void *context);

/* ---- commands -------------------------------------------------------------------------------- */

enum err registry_malformed(struct apply *a);

/* Inserts or replaces a check of an instance or node; touches what changed. check->owner is the
 * wanted owner. keep_status: of a check that is there already, on the same instance. */
ERR_CHECKED enum err registry_check_upsert(struct apply *a, struct registry_check *check,
                                           bool keep_status);

ERR_CHECKED enum err registry_apply_service_register(struct apply *a, struct reader *r);
ERR_CHECKED enum err registry_apply_service_deregister(struct apply *a, struct reader *r);
ERR_CHECKED enum err registry_apply_check_register(struct apply *a, struct reader *r);
ERR_CHECKED enum err registry_apply_check_deregister(struct apply *a, struct reader *r);
ERR_CHECKED enum err registry_apply_check_update(struct apply *a, struct reader *r);
ERR_CHECKED enum err registry_apply_maintenance(struct apply *a, struct reader *r);
ERR_CHECKED enum err registry_apply_reassign(struct apply *a, struct reader *r);
ERR_CHECKED enum err registry_apply_reap(struct apply *a, struct reader *r);

#define REGISTRY_SERVICE_MAINTENANCE BYTES_LITERAL("_service_maintenance:")
#define REGISTRY_NODE_MAINTENANCE    BYTES_LITERAL("_node_maintenance")

#endif
