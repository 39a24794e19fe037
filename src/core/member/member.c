/* Members: commands and rows.
 *
 * Place: core; see member.h. Bodies (after version u8 = 1):
 *   put:    node u32 | storage id u64 | boot count u64 | state u8 | name, peer, http, gateway,
 *   version blobs state:  node u32 | boot count u64 | state u8
 *   remove: node u32 */
#include "member/member.h"

#include "check/check.h"

enum {
    ROW_VERSION = 1
};

const char *member_state_name(enum member_state state)
{
    switch (state) {
    case MEMBER_ALIVE:
        return "alive";
    case MEMBER_UNSEEN:
        return "unseen";
    case MEMBER_LEFT:
        return "left";
    default:
        return "unknown";
    }
}

static bool state_ok(uint8_t state)
{
    return state >= MEMBER_ALIVE && state <= MEMBER_LEFT;
}

static bool name_ok(struct bytes name)
{
    for (size_t i = 0; i < name.len; i++) {
        uint8_t c = name.data[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_' || c == '.';
        if (!ok) {
            return false;
        }
    }
    return name.len > 0;
}

static bool address_ok(struct bytes address)
{
    for (size_t i = 0; i < address.len; i++) {
        if (address.data[i] <= ' ' || address.data[i] >= 0x7f) {
            return false;
        }
    }
    return true;
}

static enum err limits(const struct member *m)
{
    if (m->name.len > MEMBER_NAME_MAX || m->peer_address.len > MEMBER_ADDRESS_MAX ||
        m->http_address.len > MEMBER_ADDRESS_MAX || m->gateway_address.len > MEMBER_ADDRESS_MAX ||
        m->version.len > MEMBER_VERSION_MAX) {
        return ERR_TOO_LARGE;
    }
    bool ok = m->node > 0 && name_ok(m->name) && state_ok((uint8_t)m->state) &&
              address_ok(m->peer_address) && address_ok(m->http_address) &&
              address_ok(m->gateway_address) && address_ok(m->version);
    return ok ? ERR_OK : ERR_BAD_INPUT;
}

static void write_blobs(struct writer *w, const struct member *m)
{
    write_blob(w, m->name);
    write_blob(w, m->peer_address);
    write_blob(w, m->http_address);
    write_blob(w, m->gateway_address);
    write_blob(w, m->version);
}

static void read_blobs(struct reader *r, struct member *ret_member)
{
    size_t most = reader_left(r);
    ret_member->name = read_blob(r, most);
    ret_member->peer_address = read_blob(r, most);
    ret_member->http_address = read_blob(r, most);
    ret_member->gateway_address = read_blob(r, most);
    ret_member->version = read_blob(r, most);
}

enum err member_put_encode(const struct member *member, struct buf *to)
{
    enum err err = limits(member);
    if (err != ERR_OK) {
        return err;
    }
    struct writer w = writer_of(to);
    write_u8(&w, APPLY_BODY_VERSION);
    write_u32(&w, member->node);
    write_u64(&w, member->storage_id);
    write_u64(&w, member->boot_count);
    write_u8(&w, (uint8_t)member->state);
    write_blobs(&w, member);
    return w.err;
}

enum err member_state_encode(uint32_t node, uint64_t boot_count, enum member_state state,
                             struct buf *to)
{
    if (node == 0 || !state_ok((uint8_t)state)) {
        return ERR_BAD_INPUT;
    }
    struct writer w = writer_of(to);
    write_u8(&w, APPLY_BODY_VERSION);
    write_u32(&w, node);
    write_u64(&w, boot_count);
    write_u8(&w, (uint8_t)state);
    return w.err;
}

enum err member_remove_encode(uint32_t node, struct buf *to)
{
    if (node == 0) {
        return ERR_BAD_INPUT;
    }
    struct writer w = writer_of(to);
    write_u8(&w, APPLY_BODY_VERSION);
    write_u32(&w, node);
    return w.err;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static enum err row_encode(const struct member *m, struct buf *to)
{
    struct writer w = writer_of(to);
    write_u8(&w, ROW_VERSION);
    write_u64(&w, m->storage_id);
    write_u64(&w, m->boot_count);
    write_u8(&w, (uint8_t)m->state);
    write_u64(&w, m->since_ms);
    write_u64(&w, m->create_index);
    write_u64(&w, m->modify_index);
    write_blobs(&w, m);
    return w.err;
}

static enum err row_decode(struct bytes key, struct bytes value, struct member *ret_member)
{
    if (key.len != sizeof(uint32_t)) {
        return ERR_CORRUPT;
    }
    struct reader r = reader_of(value);
    uint8_t version = read_u8(&r);
    struct member m = {.node = get_u32_be(key.data)};
    m.storage_id = read_u64(&r);
    m.boot_count = read_u64(&r);
    uint8_t state = read_u8(&r);
    m.state = (enum member_state)state;
    m.since_ms = read_u64(&r);
    m.create_index = read_u64(&r);
    m.modify_index = read_u64(&r);
    read_blobs(&r, &m);
    if (version != ROW_VERSION || !state_ok(state) || !apply_body_whole(&r)) {
        return ERR_CORRUPT;
    }
    *ret_member = m;
    return ERR_OK;
}

enum err member_get(struct table_txn *txn, uint32_t node, struct member *ret_member)
{
    uint8_t key[sizeof(node)];
    put_u32_be(key, node);
    struct bytes value;
    enum err err = table_get(txn, TABLE_MEMBERS, bytes_of(key, sizeof(key)), &value);
    return err == ERR_OK ? row_decode(bytes_of(key, sizeof(key)), value, ret_member) : err;
}

struct each {
    member_visit_fn *visit;
    void *context;
};

static enum err visit_row(void *context, struct bytes key, struct bytes value)
{
    const struct each *each = context;
    struct member m;
    enum err err = row_decode(key, value, &m);
    return err == ERR_OK ? each->visit(each->context, &m) : err;
}

enum err member_each(struct table_txn *txn, member_visit_fn *visit, void *context)
{
    struct each each = {.visit = visit, .context = context};
    return table_each(txn, TABLE_MEMBERS, (struct bytes){NULL, 0}, visit_row, &each);
}

struct named {
    struct bytes name;
    struct member found;
    bool any;
    uint32_t count; /* of all members */
};

static enum err visit_named(void *context, const struct member *member)
{
    struct named *named = context;
    named->count++;
    if (!named->any && bytes_eq_nocase(member->name, named->name)) {
        named->any = true;
        named->found = *member;
    }
    return ERR_OK;
}

enum err member_find(struct table_txn *txn, struct bytes name, struct member *ret_member)
{
    struct named named = {.name = name};
    enum err err = member_each(txn, visit_named, &named);
    if (err != ERR_OK) {
        return err;
    }
    if (!named.any) {
        return ERR_NOT_FOUND;
    }
    *ret_member = named.found;
    return ERR_OK;
}

enum err member_index(struct table_txn *txn, uint64_t *ret_index)
{
    return apply_area_index(txn, APPLY_AREA_MEMBERS, ret_index);
}

/* ---- commands -------------------------------------------------------------------------------- */

static bool same(const struct member *a, const struct member *b)
{
    return a->storage_id == b->storage_id && a->boot_count == b->boot_count &&
           a->state == b->state && bytes_eq(a->name, b->name) &&
           bytes_eq(a->peer_address, b->peer_address) &&
           bytes_eq(a->http_address, b->http_address) &&
           bytes_eq(a->gateway_address, b->gateway_address) && bytes_eq(a->version, b->version);
}

static enum err store(struct apply *a, struct member *m)
{
    uint8_t key[sizeof(m->node)];
    put_u32_be(key, m->node);
    m->modify_index = a->index;
    buf_clear(a->record);
    enum err err = row_encode(m, a->record);
    if (err == ERR_OK) {
        err = apply_put(a, TABLE_MEMBERS, bytes_of(key, sizeof(key)), buf_bytes(a->record));
    }
    a->result->value = 1;
    return err == ERR_OK ? apply_area_bump(a, APPLY_AREA_MEMBERS) : err;
}

static enum err do_put(struct apply *a, struct member *m)
{
    struct named named = {.name = m->name};
    enum err err = member_each(a->txn, visit_named, &named);
    if (err != ERR_OK) {
        return err;
    }
    if (named.any && named.found.node != m->node) {
        return apply_refuse_about(a, ERR_EXISTS, "another node has this name", m->name);
    }
    struct member old;
    err = member_get(a->txn, m->node, &old);
    bool exists = err == ERR_OK;
    if (err != ERR_OK && err != ERR_NOT_FOUND) {
        return err;
    }
    if (!exists && named.count >= MEMBER_COUNT_MAX) {
        return apply_refuse(a, ERR_FULL, "the member table is full");
    }
    if (exists && old.storage_id == m->storage_id && m->boot_count < old.boot_count) {
        return apply_refuse_about(a, ERR_CONFLICT, "the node has been started since", m->name);
    }
    if (exists && same(&old, m)) {
        return ERR_OK;
    }
    m->create_index = exists ? old.create_index : a->index;
    m->since_ms = exists && old.state == m->state ? old.since_ms : a->time_ms;
    return store(a, m);
}

static enum err apply_member_put(struct apply *a, struct reader *r)
{
    struct member m = {.node = read_u32(r)};
    m.storage_id = read_u64(r);
    m.boot_count = read_u64(r);
    uint8_t state = read_u8(r);
    read_blobs(r, &m);
    if (!apply_body_whole(r) || !state_ok(state)) {
        return apply_refuse(a, ERR_BAD_INPUT, "the member command is malformed");
    }
    m.state = (enum member_state)state;
    enum err err = limits(&m);
    if (err != ERR_OK) {
        return apply_refuse(a, err, "the member's name or an address is not allowed");
    }
    return do_put(a, &m);
}

static enum err apply_member_state(struct apply *a, struct reader *r)
{
    uint32_t node = read_u32(r);
    uint64_t boot_count = read_u64(r);
    uint8_t state = read_u8(r);
    if (!apply_body_whole(r) || !state_ok(state)) {
        return apply_refuse(a, ERR_BAD_INPUT, "the member command is malformed");
    }
    struct member m;
    enum err err = member_get(a->txn, node, &m);
    if (err == ERR_NOT_FOUND) {
        return apply_refuse(a, ERR_NOT_FOUND, "there is no such member");
    }
    if (err != ERR_OK) {
        return err;
    }
    if (m.boot_count != boot_count) {
        return apply_refuse_about(a, ERR_CONFLICT, "the node has been started since", m.name);
    }
    if (m.state == (enum member_state)state) {
        return ERR_OK;
    }
    m.state = (enum member_state)state;
    m.since_ms = a->time_ms;
    return store(a, &m);
}

static enum err apply_member_remove(struct apply *a, struct reader *r)
{
    uint32_t node = read_u32(r);
    if (!apply_body_whole(r)) {
        return apply_refuse(a, ERR_BAD_INPUT, "the member command is malformed");
    }
    struct member m;
    enum err err = member_get(a->txn, node, &m);
    if (err == ERR_NOT_FOUND) {
        return apply_refuse(a, ERR_NOT_FOUND, "there is no such member");
    }
    uint8_t key[sizeof(node)];
    put_u32_be(key, node);
    if (err == ERR_OK) {
        err = apply_delete(a, TABLE_MEMBERS, bytes_of(key, sizeof(key)));
    }
    a->result->value = 1;
    return err == ERR_OK ? apply_area_bump(a, APPLY_AREA_MEMBERS) : err;
}

enum err member_apply(struct apply *a, uint16_t kind, struct bytes body)
{
    struct reader r;
    enum err err = apply_body_open(body, &r);
    if (err != ERR_OK) {
        return err;
    }
    switch (kind) {
    case MEMBER_CMD_PUT:
        return apply_member_put(a, &r);
    case MEMBER_CMD_STATE:
        return apply_member_state(a, &r);
    case MEMBER_CMD_REMOVE:
        return apply_member_remove(a, &r);
    default:
        return ERR_UNSUPPORTED;
    }
}
