/* Registry: commands on instances, and the dispatch.
 *
 * Place: core; see registry.h. */
#include "check/check.h"
#include "registry/registry_priv.h"

enum err registry_malformed(struct apply *a)
{
    return apply_refuse(a, ERR_BAD_INPUT, "the registry command is malformed");
}

/* ---- registering ----------------------------------------------------------------------------- */

/* A registration while it is applied. */
struct registration {
    struct registry_instance instance;
    struct registry_key service_key;
    bool replace;
    uint32_t check_count;
    struct reader checks; /* stands before the first check */
};

/* One check of a registration, with room for what is generated. */
struct named_check {
    struct registry_check check;
    uint8_t id[REGISTRY_CHECK_ID_MAX];
    uint8_t name[REGISTRY_NAME_MAX + 32];
};

static size_t add_text(uint8_t *dest, size_t used, size_t size, struct bytes text)
{
    CHECK(text.len <= size - used);
    if (text.len > 0) {
        memcpy(dest + used, text.data, text.len);
    }
    return used + text.len;
}

/* "service:<ID>", and ":<n>" when there are several; n < 100. */
static void generate_id(struct named_check *named, uint32_t number, uint32_t count)
{
    size_t len = add_text(named->id, 0, sizeof(named->id), BYTES_LITERAL("service:"));
    len = add_text(named->id, len, sizeof(named->id), named->check.instance_id);
    if (count > 1) {
        uint8_t digits[3] = {':', (uint8_t)('0' + number / 10), (uint8_t)('0' + number % 10)};
        if (number < 10) {
            digits[1] = digits[2];
        }
        len = add_text(named->id, len, sizeof(named->id), bytes_of(digits, number < 10 ? 2 : 3));
    }
    named->check.id = bytes_of(named->id, len);
}

static void generate_name(struct named_check *named)
{
    size_t len = add_text(named->name, 0, sizeof(named->name), BYTES_LITERAL("Service '"));
    len = add_text(named->name, len, sizeof(named->name), named->check.service);
    len = add_text(named->name, len, sizeof(named->name), BYTES_LITERAL("' check"));
    named->check.name = bytes_of(named->name, len);
}

/* Reads the check with this number (from 1) and makes it one of the instance. */
static void next_check(const struct registration *reg, struct reader *r, uint32_t number,
                       struct named_check *ret_named)
{
    struct registry_check *check = &ret_named->check;
    registry_check_read(r, check);
    check->node = reg->instance.node;
    check->owner = reg->instance.node;
    check->service = reg->instance.service;
    check->instance_id = reg->instance.id;
    if (check->id.len == 0) {
        generate_id(ret_named, number, reg->check_count);
    }
    if (check->name.len == 0) {
        generate_name(ret_named);
    }
}

/* Reads and judges everything, so that nothing is refused after the first write. */
static enum err read_registration(struct reader *r, struct registration *reg,
                                  const char **ret_reason)
{
    reg->instance.node = read_u32(r);
    uint8_t replace = read_u8(r);
    reg->replace = replace != 0;
    registry_instance_read(r, &reg->instance);
    reg->check_count = read_u8(r);
    reg->checks = *r;
    *ret_reason = "the registry command is malformed";
    if (!reader_ok(r) || replace > 1 || reg->check_count > REGISTRY_CHECKS_MAX) {
        return ERR_BAD_INPUT;
    }
    enum err err = registry_instance_check(&reg->instance, ret_reason);
    for (uint32_t i = 0; err == ERR_OK && i < reg->check_count; i++) {
        struct named_check named;
        next_check(reg, r, i + 1, &named);
        err = reader_ok(r) ? registry_check_check(&named.check, ret_reason) : ERR_BAD_INPUT;
    }
    if (err == ERR_OK && !apply_body_whole(r)) {
        *ret_reason = "the registry command is malformed";
        err = ERR_BAD_INPUT;
    }
    return err;
}

/* The same id under another service name on this node: that instance is replaced (registry.h,
 * 2). */
static enum err evict_namesake(struct apply *a, const struct registration *reg)
{
    struct registry_key key;
    struct bytes value;
    registry_key_by_node(&key, APPLY_INDEX_INSTANCE_BY_NODE, reg->instance.node, reg->instance.id);
    enum err err = table_get(a->txn, TABLE_INDEXES, registry_key_bytes(&key), &value);
    if (err != ERR_OK) {
        return err == ERR_NOT_FOUND ? ERR_OK : err;
    }
    if (bytes_eq(value, registry_key_bytes(&reg->service_key))) {
        return ERR_OK;
    }
    if (value.len > REGISTRY_NAME_MAX) {
        return ERR_CORRUPT;
    }
    struct registry_key other;
    registry_key_set(&other, value);
    return registry_instance_remove(a, &other, reg->instance.id, reg->instance.node);
}

/* Whether a stored row says the same as the instance with the row's own indices. */
static enum err instance_unchanged(struct apply *a, struct registry_instance *instance,
                                   const struct registry_key *key, bool *ret_same)
{
    buf_clear(a->record);
    enum err err = registry_instance_row(instance, a->record);
    struct bytes row = {NULL, 0};
    if (err == ERR_OK) {
        err = table_get(a->txn, TABLE_INSTANCES, registry_key_bytes(key), &row);
    }
    if (err == ERR_OK) {
        *ret_same = bytes_eq(row, buf_bytes(a->record));
    }
    return err;
}

/* Writes the instance unless nothing changes; *ret_was_node: where it was before, or 0. */
static enum err store_instance(struct apply *a, struct registration *reg, uint32_t *ret_was_node)
{
    struct registry_instance old;
    struct registry_key key;
    bool same = false;
    registry_key_instance(&key, registry_key_bytes(&reg->service_key), reg->instance.id);
    enum err err = registry_instance_get(a->txn, registry_key_bytes(&reg->service_key),
                                         reg->instance.id, &old);
    if (err == ERR_OK) {
        *ret_was_node = old.node;
        reg->instance.create_index = old.create_index;
        reg->instance.modify_index = old.modify_index;
        err = instance_unchanged(a, &reg->instance, &key, &same);
    } else if (err == ERR_NOT_FOUND) {
        *ret_was_node = 0;
        reg->instance.create_index = a->index;
        err = ERR_OK;
    }
    if (err != ERR_OK || same) {
        return err;
    }
    reg->instance.modify_index = a->index;
    err = registry_instance_store(a, &reg->instance, *ret_was_node);
    return err == ERR_OK ? registry_touch_service(a, &reg->service_key, reg->instance.service)
                         : err;
}

/* Takes a check of a moved instance along to its new node; context: that node. */
static enum err move_check(struct apply *a, const struct registry_place *place, void *context)
{
    const uint32_t *node = context;
    struct bytes id = registry_key_bytes(&place->check_id);
    struct registry_place there;
    struct registry_check check;
    /* A check of this id that is there already belongs to something else: it gives way. */
    enum err err = registry_check_get(a->txn, *node, id, &check);
    if (err == ERR_OK) {
        registry_place_of(&there, &check);
        err = registry_check_remove(a, &there);
        if (err == ERR_OK) {
            err = registry_touch_check(a, &there);
        }
    } else if (err == ERR_NOT_FOUND) {
        err = ERR_OK;
    }
    if (err == ERR_OK) {
        err = registry_check_get(a->txn, place->node, id, &check);
    }
    if (err != ERR_OK) {
        return err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
    }
    check.node = *node;
    check.owner = *node;
    check.epoch = a->index;
    check.modify_index = a->index;
    err = registry_check_store(a, &check, place);
    return err == ERR_OK ? apply_area_bump(a, APPLY_AREA_CHECKS) : err;
}

static enum err upsert_checks(struct apply *a, const struct registration *reg)
{
    struct reader r = reg->checks;
    enum err err = ERR_OK;
    for (uint32_t i = 0; err == ERR_OK && i < reg->check_count; i++) {
        struct named_check named;
        next_check(reg, &r, i + 1, &named);
        err = registry_check_upsert(a, &named.check, true);
    }
    return err;
}

/* Removes a check that the registration does not name; context: the registration. */
static enum err drop_unnamed(struct apply *a, const struct registry_place *place, void *context)
{
    const struct registration *reg = context;
    struct bytes id = registry_key_bytes(&place->check_id);
    if (bytes_has_prefix(id, REGISTRY_SERVICE_MAINTENANCE)) {
        return ERR_OK;
    }
    struct reader r = reg->checks;
    for (uint32_t i = 0; i < reg->check_count; i++) {
        struct named_check named;
        next_check(reg, &r, i + 1, &named);
        if (bytes_eq(named.check.id, id)) {
            return ERR_OK;
        }
    }
    enum err err = registry_check_remove(a, place);
    return err == ERR_OK ? registry_touch_check(a, place) : err;
}

enum err registry_apply_service_register(struct apply *a, struct reader *r)
{
    struct registration reg;
    const char *reason = NULL;
    enum err err = read_registration(r, &reg, &reason);
    if (err != ERR_OK) {
        return apply_refuse(a, err, reason);
    }
    bool fits = registry_service_key(reg.instance.service, &reg.service_key);
    CHECK(fits);
    uint32_t was_node = 0;
    err = evict_namesake(a, &reg);
    if (err == ERR_OK) {
        err = store_instance(a, &reg, &was_node);
    }
    if (err == ERR_OK && was_node != 0 && was_node != reg.instance.node) {
        err = registry_instance_places(a, &reg.service_key, reg.instance.id, move_check,
                                       &reg.instance.node);
    }
    if (err == ERR_OK) {
        err = upsert_checks(a, &reg);
    }
    if (err == ERR_OK && reg.replace) {
        err = registry_instance_places(a, &reg.service_key, reg.instance.id, drop_unnamed, &reg);
    }
    return err;
}

/* ---- the rest -------------------------------------------------------------------------------- */

enum err registry_apply_service_deregister(struct apply *a, struct reader *r)
{
    uint32_t node = read_u32(r);
    struct bytes id = read_blob(r, reader_left(r));
    if (!apply_body_whole(r)) {
        return registry_malformed(a);
    }
    struct registry_key service_key;
    enum err err = registry_instance_locate(a->txn, node, id, &service_key, &node);
    if (err == ERR_NOT_FOUND) {
        return apply_refuse_about(a, err, "no service has this id", id);
    }
    if (err == ERR_CONFLICT) {
        return apply_refuse_about(a, err, "services on several nodes have this id", id);
    }
    return err == ERR_OK ? registry_instance_remove(a, &service_key, id, node) : err;
}

enum err registry_apply(struct apply *a, uint16_t kind, struct bytes body)
{
    struct reader r;
    enum err err = apply_body_open(body, &r);
    if (err != ERR_OK) {
        return err;
    }
    switch (kind) {
    case REGISTRY_CMD_SERVICE_REGISTER:
        return registry_apply_service_register(a, &r);
    case REGISTRY_CMD_SERVICE_DEREGISTER:
        return registry_apply_service_deregister(a, &r);
    case REGISTRY_CMD_CHECK_REGISTER:
        return registry_apply_check_register(a, &r);
    case REGISTRY_CMD_CHECK_DEREGISTER:
        return registry_apply_check_deregister(a, &r);
    case REGISTRY_CMD_CHECK_UPDATE:
        return registry_apply_check_update(a, &r);
    case REGISTRY_CMD_MAINTENANCE:
        return registry_apply_maintenance(a, &r);
    case REGISTRY_CMD_CHECKS_REASSIGN:
        return registry_apply_reassign(a, &r);
    case REGISTRY_CMD_REAP:
        return registry_apply_reap(a, &r);
    default:
        return ERR_UNSUPPORTED;
    }
}
