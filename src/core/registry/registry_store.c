/* Registry: the writes that keep rows and their secondary indexes in step.
 *
 * Place: core; see registry_priv.h.
 *
 * Invariants:
 *   1. Every check row has one row each in 'c' and 'o', and one in 's' (of an instance) or 'l' (of
 *      a node). Every instance row has one row each in 'i' and 'n'.
 *   2. A service row exists exactly while TABLE_INSTANCES has a row under its key. */
#include "check/check.h"
#include "registry/registry_priv.h"
#include "tomb/tomb.h"

static enum err put_index(struct apply *a, const struct registry_key *key, struct bytes value)
{
    return apply_put(a, TABLE_INDEXES, registry_key_bytes(key), value);
}

static enum err delete_index(struct apply *a, const struct registry_key *key)
{
    return apply_delete(a, TABLE_INDEXES, registry_key_bytes(key));
}

/* ---- services -------------------------------------------------------------------------------- */

static enum err store_service(struct apply *a, const struct registry_service *service)
{
    buf_clear(a->record);
    enum err err = registry_service_row(service, a->record);
    return err == ERR_OK ? apply_put(a, TABLE_SERVICES, service->key, buf_bytes(a->record)) : err;
}

enum err registry_touch_service(struct apply *a, const struct registry_key *service_key,
                                struct bytes name)
{
    struct bytes key = registry_key_bytes(service_key);
    struct registry_service service;
    enum err err = registry_service_get(a->txn, key, &service);
    if (err == ERR_OK) {
        if (service.modify_index == a->index) {
            return ERR_OK;
        }
        service.key = key;
        service.modify_index = a->index;
        return store_service(a, &service);
    }
    if (err != ERR_NOT_FOUND || name.len == 0) {
        return err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
    }
    service = (struct registry_service){
        .key = key,
        .name = name,
        .create_index = a->index,
        .modify_index = a->index,
    };
    err = store_service(a, &service);
    return err == ERR_OK ? tomb_remove(a, TABLE_SERVICES, key) : err;
}

/* Touches every service with an instance on the node. */
static enum err touch_node(struct apply *a, uint32_t node)
{
    static const struct bytes none = {NULL, 0};
    struct registry_key prefix;
    registry_key_by_node(&prefix, APPLY_INDEX_INSTANCE_BY_NODE, node, none);
    struct table_scan scan;
    enum err err = table_scan(&scan, a->txn, TABLE_INDEXES, registry_key_bytes(&prefix));
    while (err == ERR_OK) {
        struct registry_key service_key;
        if (scan.value.len > REGISTRY_NAME_MAX) {
            err = ERR_CORRUPT;
            break;
        }
        registry_key_set(&service_key, scan.value);
        err = registry_touch_service(a, &service_key, none);
        /* Only the end of the scan may look like "not found". */
        CHECK(err != ERR_NOT_FOUND);
        if (err == ERR_OK) {
            err = table_scan_next(&scan);
        }
    }
    table_scan_end(&scan);
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

enum err registry_touch_check(struct apply *a, const struct registry_place *place)
{
    if (place->service_key.len == 0) {
        return touch_node(a, place->node);
    }
    return registry_touch_service(a, &place->service_key, (struct bytes){NULL, 0});
}

/* ---- checks ---------------------------------------------------------------------------------- */

void registry_place_of(struct registry_place *place, const struct registry_check *check)
{
    place->node = check->node;
    place->owner = check->owner;
    registry_key_set(&place->check_id, check->id);
    bool fits = registry_service_key(check->service, &place->service_key);
    CHECK(fits);
    registry_key_set(&place->instance_id, check->instance_id);
}

static void instance_index_key(const struct registry_place *place, struct registry_key *key)
{
    struct bytes check_id = registry_key_bytes(&place->check_id);
    if (place->service_key.len == 0) {
        registry_key_by_node(key, APPLY_INDEX_CHECK_OF_NODE, place->node, check_id);
    } else {
        registry_key_by_instance(key, registry_key_bytes(&place->service_key),
                                 registry_key_bytes(&place->instance_id), check_id);
    }
}

static enum err put_place(struct apply *a, const struct registry_place *place)
{
    static const struct bytes none = {NULL, 0};
    struct bytes check_id = registry_key_bytes(&place->check_id);
    struct registry_key key;
    uint8_t node[sizeof(place->node)];
    put_u32_be(node, place->node);
    instance_index_key(place, &key);
    enum err err =
        put_index(a, &key, place->service_key.len == 0 ? none : bytes_of(node, sizeof(node)));
    if (err == ERR_OK) {
        registry_key_by_id(&key, APPLY_INDEX_CHECK_BY_ID, check_id, place->node);
        err = put_index(a, &key, none);
    }
    if (err == ERR_OK) {
        registry_key_by_owner(&key, place->owner, place->node, check_id);
        err = put_index(a, &key, none);
    }
    return err;
}

static enum err delete_place(struct apply *a, const struct registry_place *place)
{
    struct bytes check_id = registry_key_bytes(&place->check_id);
    struct registry_key key;
    instance_index_key(place, &key);
    enum err err = delete_index(a, &key);
    if (err == ERR_OK) {
        registry_key_by_id(&key, APPLY_INDEX_CHECK_BY_ID, check_id, place->node);
        err = delete_index(a, &key);
    }
    if (err == ERR_OK) {
        registry_key_by_owner(&key, place->owner, place->node, check_id);
        err = delete_index(a, &key);
    }
    return err;
}

static bool key_eq(const struct registry_key *a, const struct registry_key *b)
{
    return bytes_eq(registry_key_bytes(a), registry_key_bytes(b));
}

static bool place_eq(const struct registry_place *a, const struct registry_place *b)
{
    return a->node == b->node && a->owner == b->owner && key_eq(&a->check_id, &b->check_id) &&
           key_eq(&a->service_key, &b->service_key) && key_eq(&a->instance_id, &b->instance_id);
}

static enum err delete_row(struct apply *a, const struct registry_place *place)
{
    struct registry_key key;
    registry_key_check(&key, place->node, registry_key_bytes(&place->check_id));
    return apply_delete(a, TABLE_CHECKS, registry_key_bytes(&key));
}

enum err registry_check_store(struct apply *a, const struct registry_check *check,
                              const struct registry_place *old)
{
    struct registry_place place;
    struct registry_key key;
    registry_place_of(&place, check);
    registry_key_check(&key, check->node, check->id);
    buf_clear(a->record);
    enum err err = registry_check_row(check, a->record);
    /* From here on the check's slices may be gone. */
    bool moved = old == NULL || !place_eq(old, &place);
    if (err == ERR_OK && old != NULL && moved) {
        err = delete_place(a, old);
        if (err == ERR_OK && old->node != place.node) {
            err = delete_row(a, old);
        }
    }
    if (err == ERR_OK) {
        err = apply_put(a, TABLE_CHECKS, registry_key_bytes(&key), buf_bytes(a->record));
    }
    if (err == ERR_OK && moved) {
        err = put_place(a, &place);
    }
    return err;
}

enum err registry_check_remove(struct apply *a, const struct registry_place *place)
{
    enum err err = delete_row(a, place);
    if (err == ERR_OK) {
        err = delete_place(a, place);
    }
    a->result->value = 1;
    return err == ERR_OK ? apply_area_bump(a, APPLY_AREA_CHECKS) : err;
}

/* ---- instances ------------------------------------------------------------------------------- */

static enum err put_instance_places(struct apply *a, const struct registry_key *service_key,
                                    const struct registry_key *id, uint32_t node)
{
    struct registry_key key;
    registry_key_by_id(&key, APPLY_INDEX_INSTANCE_BY_ID, registry_key_bytes(id), node);
    enum err err = put_index(a, &key, registry_key_bytes(service_key));
    if (err == ERR_OK) {
        registry_key_by_node(&key, APPLY_INDEX_INSTANCE_BY_NODE, node, registry_key_bytes(id));
        err = put_index(a, &key, registry_key_bytes(service_key));
    }
    return err;
}

static enum err delete_instance_places(struct apply *a, struct bytes id, uint32_t node)
{
    struct registry_key key;
    registry_key_by_id(&key, APPLY_INDEX_INSTANCE_BY_ID, id, node);
    enum err err = delete_index(a, &key);
    if (err == ERR_OK) {
        registry_key_by_node(&key, APPLY_INDEX_INSTANCE_BY_NODE, node, id);
        err = delete_index(a, &key);
    }
    return err;
}

enum err registry_instance_store(struct apply *a, const struct registry_instance *instance,
                                 uint32_t was_node)
{
    struct registry_key service_key;
    struct registry_key id;
    struct registry_key key;
    bool fits = registry_service_key(instance->service, &service_key);
    CHECK(fits);
    registry_key_set(&id, instance->id);
    registry_key_instance(&key, registry_key_bytes(&service_key), instance->id);
    uint32_t node = instance->node;
    buf_clear(a->record);
    enum err err = registry_instance_row(instance, a->record);
    if (err == ERR_OK) {
        err = apply_put(a, TABLE_INSTANCES, registry_key_bytes(&key), buf_bytes(a->record));
    }
    if (err == ERR_OK && was_node != 0 && was_node != node) {
        err = delete_instance_places(a, registry_key_bytes(&id), was_node);
    }
    if (err == ERR_OK && was_node != node) {
        err = put_instance_places(a, &service_key, &id, node);
    }
    a->result->value = 1;
    return err == ERR_OK ? apply_area_bump(a, APPLY_AREA_SERVICES) : err;
}

/* A copied place of the check that an 's' index row names. */
static enum err load_place(struct apply *a, struct bytes index_key, struct bytes index_value,
                           size_t prefix_len, struct registry_place *ret_place)
{
    if (index_value.len != sizeof(uint32_t) || index_key.len <= prefix_len) {
        return ERR_CORRUPT;
    }
    struct registry_check check;
    struct bytes check_id = bytes_from(index_key, prefix_len);
    enum err err = registry_check_get(a->txn, get_u32_be(index_value.data), check_id, &check);
    if (err == ERR_OK) {
        registry_place_of(ret_place, &check);
    }
    return err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
}

enum err registry_instance_places(struct apply *a, const struct registry_key *service_key,
                                  struct bytes id, registry_place_fn *visit, void *context)
{
    struct registry_key prefix;
    registry_key_by_instance(&prefix, registry_key_bytes(service_key), id, (struct bytes){NULL, 0});
    struct table_scan scan;
    enum err err = table_scan(&scan, a->txn, TABLE_INDEXES, registry_key_bytes(&prefix));
    while (err == ERR_OK) {
        struct registry_place place;
        err = load_place(a, scan.key, scan.value, prefix.len, &place);
        if (err == ERR_OK) {
            err = visit(a, &place, context);
        }
        CHECK(err != ERR_NOT_FOUND);
        if (err == ERR_OK) {
            err = table_scan_next(&scan);
        }
    }
    table_scan_end(&scan);
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

static enum err remove_place(struct apply *a, const struct registry_place *place, void *context)
{
    (void)context;
    return registry_check_remove(a, place);
}

/* The service lost an instance: touches it, or takes it away when that was the last one. */
static enum err service_shrank(struct apply *a, const struct registry_key *service_key)
{
    struct bytes key = registry_key_bytes(service_key);
    struct registry_key prefix;
    registry_key_instance(&prefix, key, (struct bytes){NULL, 0});
    struct table_scan scan;
    enum err err = table_scan(&scan, a->txn, TABLE_INSTANCES, registry_key_bytes(&prefix));
    table_scan_end(&scan);
    if (err == ERR_OK) {
        return registry_touch_service(a, service_key, (struct bytes){NULL, 0});
    }
    if (err != ERR_NOT_FOUND) {
        return err;
    }
    err = apply_delete(a, TABLE_SERVICES, key);
    if (err == ERR_OK) {
        err = tomb_add(a, TABLE_SERVICES, key);
    }
    return err == ERR_OK ? tomb_reap(a) : err;
}

enum err registry_instance_remove(struct apply *a, const struct registry_key *service_key,
                                  struct bytes id, uint32_t node)
{
    struct registry_key key;
    registry_key_instance(&key, registry_key_bytes(service_key), id);
    enum err err = registry_instance_places(a, service_key, id, remove_place, NULL);
    if (err == ERR_OK) {
        err = apply_delete(a, TABLE_INSTANCES, registry_key_bytes(&key));
    }
    if (err == ERR_OK) {
        err = delete_instance_places(a, id, node);
    }
    if (err == ERR_OK) {
        err = apply_area_bump(a, APPLY_AREA_SERVICES);
    }
    a->result->value = 1;
    return err == ERR_OK ? service_shrank(a, service_key) : err;
}
