/* Registry: finding instances and checks by id alone.
 *
 * Place: core; see registry.h. A client may talk to any node: the one that it asks is looked at
 * first, then the only other one that has such an id. */
#include "registry/registry_priv.h"

/* The only row of an id index under this prefix. */
struct only {
    uint32_t count;
    uint32_t node;
    struct bytes value;
};

static enum err visit_only(void *context, struct bytes key, struct bytes value)
{
    struct only *only = context;
    only->count++;
    only->value = value;
    return registry_key_node(key, &only->node);
}

static enum err find_only(struct table_txn *txn, uint8_t prefix, struct bytes id,
                          struct only *ret_only)
{
    struct registry_key key;
    registry_key_by_id_prefix(&key, prefix, id);
    struct only only = {.count = 0};
    enum err err = table_each(txn, TABLE_INDEXES, registry_key_bytes(&key), visit_only, &only);
    if (err != ERR_OK) {
        return err;
    }
    if (only.count != 1) {
        return only.count == 0 ? ERR_NOT_FOUND : ERR_CONFLICT;
    }
    *ret_only = only;
    return ERR_OK;
}

enum err registry_instance_locate(struct table_txn *txn, uint32_t node, struct bytes id,
                                  struct registry_key *ret_service_key, uint32_t *ret_node)
{
    if (!registry_id_ok(id, REGISTRY_ID_MAX)) {
        return ERR_NOT_FOUND;
    }
    struct registry_key key;
    registry_key_by_node(&key, APPLY_INDEX_INSTANCE_BY_NODE, node, id);
    struct only found = {.node = node};
    enum err err = table_get(txn, TABLE_INDEXES, registry_key_bytes(&key), &found.value);
    if (err == ERR_NOT_FOUND) {
        err = find_only(txn, APPLY_INDEX_INSTANCE_BY_ID, id, &found);
    }
    if (err == ERR_OK && found.value.len > REGISTRY_NAME_MAX) {
        err = ERR_CORRUPT;
    }
    if (err == ERR_OK) {
        registry_key_set(ret_service_key, found.value);
        *ret_node = found.node;
    }
    return err;
}

enum err registry_check_locate(struct table_txn *txn, uint32_t node, struct bytes check_id,
                               uint32_t *ret_node)
{
    if (!registry_id_ok(check_id, REGISTRY_CHECK_ID_MAX)) {
        return ERR_NOT_FOUND;
    }
    struct registry_key key;
    registry_key_check(&key, node, check_id);
    struct only found = {.node = node};
    enum err err = table_get(txn, TABLE_CHECKS, registry_key_bytes(&key), &found.value);
    if (err == ERR_NOT_FOUND) {
        err = find_only(txn, APPLY_INDEX_CHECK_BY_ID, check_id, &found);
    }
    if (err == ERR_OK) {
        *ret_node = found.node;
    }
    return err;
}
