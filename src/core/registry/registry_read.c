/* Registry: the reads.
 *
 * Place: core; see registry.h. */
#include "registry/registry_priv.h"
#include "tomb/tomb.h"

static const struct bytes no_bytes = {NULL, 0};

/* ---- services -------------------------------------------------------------------------------- */

enum err registry_service_get(struct table_txn *txn, struct bytes name,
                              struct registry_service *ret_service)
{
    struct registry_key key;
    if (!registry_service_key(name, &key)) {
        return ERR_NOT_FOUND;
    }
    /* Seeks the row, so that the key comes from the transaction and outlives this call. */
    struct table_scan scan;
    enum err err = table_scan(&scan, txn, TABLE_SERVICES, registry_key_bytes(&key));
    if (err == ERR_OK && scan.key.len != key.len) {
        err = ERR_NOT_FOUND;
    }
    if (err == ERR_OK) {
        err = registry_service_row_decode(scan.key, scan.value, ret_service);
    }
    table_scan_end(&scan);
    return err;
}

struct each_service {
    registry_service_fn *visit;
    void *context;
};

static enum err visit_service(void *context, struct bytes key, struct bytes value)
{
    const struct each_service *each = context;
    struct registry_service service;
    enum err err = registry_service_row_decode(key, value, &service);
    return err == ERR_OK ? each->visit(each->context, &service) : err;
}

enum err registry_services(struct table_txn *txn, registry_service_fn *visit, void *context)
{
    struct each_service each = {.visit = visit, .context = context};
    return table_each(txn, TABLE_SERVICES, no_bytes, visit_service, &each);
}

/* ---- checks ---------------------------------------------------------------------------------- */

enum err registry_check_get(struct table_txn *txn, uint32_t node, struct bytes check_id,
                            struct registry_check *ret_check)
{
    if (check_id.len > REGISTRY_CHECK_ID_MAX) {
        return ERR_NOT_FOUND;
    }
    struct registry_key key;
    struct bytes row;
    registry_key_check(&key, node, check_id);
    enum err err = table_get(txn, TABLE_CHECKS, registry_key_bytes(&key), &row);
    return err == ERR_OK ? registry_check_row_decode(registry_key_bytes(&key), row, ret_check)
                         : err;
}

enum err registry_check_find(struct table_txn *txn, uint32_t node, struct bytes check_id,
                             struct registry_check *ret_check)
{
    uint32_t where = 0;
    enum err err = registry_check_locate(txn, node, check_id, &where);
    if (err != ERR_OK) {
        return err;
    }
    err = registry_check_get(txn, where, check_id, ret_check);
    return err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
}

/* A scan of rows or of an index that gives checks. */
struct each_check {
    struct table_txn *txn;
    registry_check_fn *visit;
    void *context;
    size_t skip; /* bytes of an index key before (node, check id) */
};

static enum err visit_check_row(void *context, struct bytes key, struct bytes value)
{
    const struct each_check *each = context;
    struct registry_check check;
    enum err err = registry_check_row_decode(key, value, &check);
    return err == ERR_OK ? each->visit(each->context, &check) : err;
}

static enum err give_check(const struct each_check *each, uint32_t node, struct bytes check_id)
{
    struct registry_check check;
    enum err err = registry_check_get(each->txn, node, check_id, &check);
    if (err != ERR_OK) {
        return err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
    }
    return each->visit(each->context, &check);
}

/* An index key that ends in a check row's key. */
static enum err visit_check_key(void *context, struct bytes key, struct bytes value)
{
    (void)value;
    const struct each_check *each = context;
    uint32_t node = 0;
    struct bytes check_id;
    if (key.len <= each->skip ||
        !registry_check_key_parse(bytes_from(key, each->skip), &node, &check_id)) {
        return ERR_CORRUPT;
    }
    return give_check(each, node, check_id);
}

/* An 's' index row: the key ends in a check id, the value is the node. */
static enum err visit_instance_index(void *context, struct bytes key, struct bytes value)
{
    const struct each_check *each = context;
    struct bytes rest = bytes_from(key, 1);
    struct bytes after_service = bytes_from(rest, bytes_find(rest, 0));
    if (after_service.len < 2 || value.len != sizeof(uint32_t)) {
        return ERR_CORRUPT;
    }
    struct bytes id_on = bytes_from(after_service, 1);
    size_t zero = bytes_find(id_on, 0);
    if (zero + 1 >= id_on.len) {
        return ERR_CORRUPT;
    }
    return give_check(each, get_u32_be(value.data), bytes_from(id_on, zero + 1));
}

enum err registry_service_checks(struct table_txn *txn, struct bytes service,
                                 registry_check_fn *visit, void *context)
{
    struct registry_key key;
    struct registry_key prefix;
    if (!registry_service_key(service, &key)) {
        return ERR_OK;
    }
    struct each_check each = {.txn = txn, .visit = visit, .context = context};
    registry_key_by_service_prefix(&prefix, registry_key_bytes(&key));
    return table_each(txn, TABLE_INDEXES, registry_key_bytes(&prefix), visit_instance_index, &each);
}

/* The node's own checks, without those of its instances. */
static enum err own_node_checks(struct table_txn *txn, uint32_t node, registry_check_fn *visit,
                                void *context)
{
    struct registry_key prefix;
    struct each_check each = {.txn = txn, .visit = visit, .context = context, .skip = 1};
    registry_key_by_node(&prefix, APPLY_INDEX_CHECK_OF_NODE, node, no_bytes);
    return table_each(txn, TABLE_INDEXES, registry_key_bytes(&prefix), visit_check_key, &each);
}

enum err registry_instance_checks(struct table_txn *txn, const struct registry_instance *instance,
                                  registry_check_fn *visit, void *context)
{
    struct registry_key key;
    struct registry_key prefix;
    if (!registry_service_key(instance->service, &key) || instance->id.len > REGISTRY_ID_MAX) {
        return ERR_OK;
    }
    enum err err = own_node_checks(txn, instance->node, visit, context);
    if (err != ERR_OK) {
        return err;
    }
    struct each_check each = {.txn = txn, .visit = visit, .context = context};
    registry_key_by_instance(&prefix, registry_key_bytes(&key), instance->id, no_bytes);
    return table_each(txn, TABLE_INDEXES, registry_key_bytes(&prefix), visit_instance_index, &each);
}

enum err registry_node_checks(struct table_txn *txn, uint32_t node, registry_check_fn *visit,
                              void *context)
{
    struct registry_key prefix;
    struct each_check each = {.txn = txn, .visit = visit, .context = context};
    registry_key_check(&prefix, node, no_bytes);
    return table_each(txn, TABLE_CHECKS, registry_key_bytes(&prefix), visit_check_row, &each);
}

enum err registry_owner_checks(struct table_txn *txn, uint32_t owner, registry_check_fn *visit,
                               void *context)
{
    struct registry_key prefix;
    registry_key_by_owner_prefix(&prefix, owner);
    struct each_check each = {
        .txn = txn,
        .visit = visit,
        .context = context,
        .skip = prefix.len,
    };
    return table_each(txn, TABLE_INDEXES, registry_key_bytes(&prefix), visit_check_key, &each);
}

enum err registry_checks(struct table_txn *txn, registry_check_fn *visit, void *context)
{
    struct each_check each = {.txn = txn, .visit = visit, .context = context};
    return table_each(txn, TABLE_CHECKS, no_bytes, visit_check_row, &each);
}

/* ---- instances ------------------------------------------------------------------------------- */

enum err registry_instance_get(struct table_txn *txn, struct bytes service, struct bytes id,
                               struct registry_instance *ret_instance)
{
    struct registry_key service_key;
    struct registry_key key;
    struct bytes row;
    if (!registry_service_key(service, &service_key) || id.len > REGISTRY_ID_MAX) {
        return ERR_NOT_FOUND;
    }
    registry_key_instance(&key, registry_key_bytes(&service_key), id);
    enum err err = table_get(txn, TABLE_INSTANCES, registry_key_bytes(&key), &row);
    return err == ERR_OK ? registry_instance_row_decode(row, ret_instance) : err;
}

enum err registry_instance_find(struct table_txn *txn, uint32_t node, struct bytes id,
                                struct registry_instance *ret_instance)
{
    struct registry_key service_key;
    uint32_t where = 0;
    enum err err = registry_instance_locate(txn, node, id, &service_key, &where);
    if (err != ERR_OK) {
        return err;
    }
    err = registry_instance_get(txn, registry_key_bytes(&service_key), id, ret_instance);
    return err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
}

static enum err visit_worst(void *context, const struct registry_check *check)
{
    enum registry_status *worst = context;
    *worst = check->status > *worst ? check->status : *worst;
    return ERR_OK;
}

enum err registry_instance_status(struct table_txn *txn, const struct registry_instance *instance,
                                  enum registry_status *ret_status)
{
    enum registry_status worst = REGISTRY_PASSING;
    enum err err = registry_instance_checks(txn, instance, visit_worst, &worst);
    if (err == ERR_OK) {
        *ret_status = worst;
    }
    return err;
}

struct each_instance {
    struct table_txn *txn;
    bool passing_only;
    registry_instance_fn *visit;
    void *context;
    size_t skip; /* bytes of an index key before the id */
};

static enum err give_instance(const struct each_instance *each,
                              const struct registry_instance *instance)
{
    enum registry_status status = REGISTRY_CRITICAL;
    enum err err = registry_instance_status(each->txn, instance, &status);
    if (err != ERR_OK || (each->passing_only && status != REGISTRY_PASSING)) {
        return err;
    }
    return each->visit(each->context, instance, status);
}

static enum err visit_instance_row(void *context, struct bytes key, struct bytes value)
{
    (void)key;
    struct registry_instance instance;
    enum err err = registry_instance_row_decode(value, &instance);
    return err == ERR_OK ? give_instance(context, &instance) : err;
}

static enum err visit_node_index(void *context, struct bytes key, struct bytes value)
{
    const struct each_instance *each = context;
    struct registry_instance instance;
    enum err err = registry_instance_get(each->txn, value, bytes_from(key, each->skip), &instance);
    if (err != ERR_OK) {
        return err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
    }
    return give_instance(each, &instance);
}

enum err registry_service_instances(struct table_txn *txn, struct bytes service, bool passing_only,
                                    registry_instance_fn *visit, void *context)
{
    struct registry_key key;
    struct registry_key prefix;
    if (!registry_service_key(service, &key)) {
        return ERR_OK;
    }
    struct each_instance each = {
        .txn = txn,
        .passing_only = passing_only,
        .visit = visit,
        .context = context,
    };
    registry_key_instance(&prefix, registry_key_bytes(&key), no_bytes);
    return table_each(txn, TABLE_INSTANCES, registry_key_bytes(&prefix), visit_instance_row, &each);
}

enum err registry_node_instances(struct table_txn *txn, uint32_t node, registry_instance_fn *visit,
                                 void *context)
{
    struct registry_key prefix;
    registry_key_by_node(&prefix, APPLY_INDEX_INSTANCE_BY_NODE, node, no_bytes);
    struct each_instance each = {
        .txn = txn,
        .visit = visit,
        .context = context,
        .skip = prefix.len,
    };
    return table_each(txn, TABLE_INDEXES, registry_key_bytes(&prefix), visit_node_index, &each);
}

enum err registry_instances(struct table_txn *txn, registry_instance_fn *visit, void *context)
{
    struct each_instance each = {.txn = txn, .visit = visit, .context = context};
    return table_each(txn, TABLE_INSTANCES, no_bytes, visit_instance_row, &each);
}

/* ---- indices --------------------------------------------------------------------------------- */

enum err registry_index_of_service(struct table_txn *txn, struct bytes service, uint64_t *ret_index)
{
    struct registry_key key;
    struct registry_service found;
    if (!registry_service_key(service, &key)) {
        return tomb_index(txn, TABLE_SERVICES, no_bytes, ret_index);
    }
    enum err err = registry_service_get(txn, registry_key_bytes(&key), &found);
    if (err == ERR_NOT_FOUND) {
        return tomb_index(txn, TABLE_SERVICES, registry_key_bytes(&key), ret_index);
    }
    if (err == ERR_OK) {
        *ret_index = found.modify_index;
    }
    return err;
}

enum err registry_index_of_all_services(struct table_txn *txn, uint64_t *ret_index)
{
    return apply_area_index(txn, APPLY_AREA_SERVICES, ret_index);
}

enum err registry_index_of_checks(struct table_txn *txn, uint64_t *ret_index)
{
    return apply_area_index(txn, APPLY_AREA_CHECKS, ret_index);
}
