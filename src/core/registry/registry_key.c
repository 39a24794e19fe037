/* Registry: the keys of rows and secondary indexes.
 *
 * Place: core; see registry.h.
 *
 *   TABLE_SERVICES   service key                                     -> service row
 *   TABLE_INSTANCES  service key | 0 | instance id                   -> instance row
 *   TABLE_CHECKS     node u32 be | check id                          -> check row
 *   TABLE_INDEXES    'i' | instance id | 0 | node u32 be             -> service key
 *                    'n' | node u32 be | instance id                 -> service key
 *                    'c' | check id | 0 | node u32 be                -> empty
 *                    's' | service key | 0 | instance id | 0 | check id -> node u32 be
 *                    'o' | owner u32 be | node u32 be | check id     -> empty
 *                    'l' | node u32 be | check id                    -> empty; checks of the node
 *                    only
 *
 * Names and ids have no control characters, so the 0 byte ends them without doubt. */
#include "check/check.h"
#include "registry/registry_priv.h"

static void key_clear(struct registry_key *key)
{
    key->len = 0;
}

static void add(struct registry_key *key, struct bytes part)
{
    CHECK(part.len <= sizeof(key->data) - key->len);
    if (part.len > 0) {
        memcpy(key->data + key->len, part.data, part.len);
        key->len += part.len;
    }
}

static void add_u8(struct registry_key *key, uint8_t byte)
{
    add(key, bytes_of(&byte, 1));
}

static void add_node(struct registry_key *key, uint32_t node)
{
    uint8_t be[sizeof(node)];
    put_u32_be(be, node);
    add(key, bytes_of(be, sizeof(be)));
}

void registry_key_set(struct registry_key *key, struct bytes slice)
{
    key_clear(key);
    add(key, slice);
}

bool registry_service_key(struct bytes name, struct registry_key *ret_key)
{
    if (name.len > REGISTRY_NAME_MAX) {
        return false;
    }
    registry_key_set(ret_key, name);
    for (size_t i = 0; i < ret_key->len; i++) {
        uint8_t c = ret_key->data[i];
        if (c >= 'A' && c <= 'Z') {
            ret_key->data[i] = (uint8_t)(c | 0x20);
        }
    }
    return true;
}

void registry_key_instance(struct registry_key *key, struct bytes service_key, struct bytes id)
{
    registry_key_set(key, service_key);
    add_u8(key, 0);
    add(key, id);
}

void registry_key_check(struct registry_key *key, uint32_t node, struct bytes check_id)
{
    key_clear(key);
    add_node(key, node);
    add(key, check_id);
}

void registry_key_by_id_prefix(struct registry_key *key, uint8_t prefix, struct bytes id)
{
    key_clear(key);
    add_u8(key, prefix);
    add(key, id);
    add_u8(key, 0);
}

void registry_key_by_id(struct registry_key *key, uint8_t prefix, struct bytes id, uint32_t node)
{
    registry_key_by_id_prefix(key, prefix, id);
    add_node(key, node);
}

void registry_key_by_node(struct registry_key *key, uint8_t prefix, uint32_t node, struct bytes id)
{
    key_clear(key);
    add_u8(key, prefix);
    add_node(key, node);
    add(key, id);
}

void registry_key_by_service_prefix(struct registry_key *key, struct bytes service_key)
{
    key_clear(key);
    add_u8(key, APPLY_INDEX_CHECK_BY_INSTANCE);
    add(key, service_key);
    add_u8(key, 0);
}

void registry_key_by_instance(struct registry_key *key, struct bytes service_key, struct bytes id,
                              struct bytes check_id)
{
    registry_key_by_service_prefix(key, service_key);
    add(key, id);
    add_u8(key, 0);
    add(key, check_id);
}

void registry_key_by_owner_prefix(struct registry_key *key, uint32_t owner)
{
    key_clear(key);
    add_u8(key, APPLY_INDEX_CHECK_BY_OWNER);
    add_node(key, owner);
}

void registry_key_by_owner(struct registry_key *key, uint32_t owner, uint32_t node,
                           struct bytes check_id)
{
    registry_key_by_owner_prefix(key, owner);
    add_node(key, node);
    add(key, check_id);
}

enum err registry_key_node(struct bytes key, uint32_t *ret_node)
{
    if (key.len < 2 + sizeof(*ret_node)) {
        return ERR_CORRUPT;
    }
    *ret_node = get_u32_be(key.data + key.len - sizeof(*ret_node));
    return ERR_OK;
}

bool registry_instance_key_parse(struct bytes key, struct bytes *ret_service_key,
                                 struct bytes *ret_id)
{
    size_t zero = bytes_find(key, 0);
    if (zero == 0 || zero + 1 >= key.len) {
        return false;
    }
    *ret_service_key = bytes_of(key.data, zero);
    *ret_id = bytes_from(key, zero + 1);
    return true;
}

bool registry_check_key_parse(struct bytes key, uint32_t *ret_node, struct bytes *ret_check_id)
{
    if (key.len <= sizeof(*ret_node)) {
        return false;
    }
    *ret_node = get_u32_be(key.data);
    *ret_check_id = bytes_from(key, sizeof(*ret_node));
    return true;
}
