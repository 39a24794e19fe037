/* Registry: encodings of instances, checks and services, in commands and in rows.
 *
 * Place: core; see registry.h. Little-endian; "blob" is a varint length and the bytes.
 *
 *   instance: service, id, address blobs | port u16 | weight passing, warning u32 | tag override u8
 *   |
 *             origin u8 | kind blob | tag count u8, blobs | meta count u8, {key, value} blobs |
 *             tagged count u8, {tag, address blobs, port u16} | document blob
 *   check:    id, name, notes blobs | type u8 | status u8 | output blob | interval, timeout, ttl,
 *             deregister after, success before passing, failures before critical varints |
 *             http, method, tcp blobs | header count u8, {key, value} blobs
 *
 *   instance row: version u8 = 1 | node u32 | create u64 | modify u64 | instance
 *   check row:    version u8 = 1 | owner u32 | epoch u64 | critical since u64 | create u64 | modify
 *   u64 |
 *                 service, instance id blobs | check
 *   service row:  version u8 = 1 | create u64 | modify u64 | name blob */
#include "check/check.h"
#include "registry/registry_priv.h"

enum {
    ROW_VERSION = 1
};

static void fail(struct reader *r)
{
    r->failed = true;
    r->at = r->end;
}

/* A count of at most max. */
static uint32_t read_count(struct reader *r, uint32_t max)
{
    uint8_t count = read_u8(r);
    if (count > max) {
        fail(r);
        return 0;
    }
    return count;
}

static bool read_bool(struct reader *r)
{
    uint8_t value = read_u8(r);
    if (value > 1) {
        fail(r);
    }
    return value == 1;
}

/* A varint that fits a u32. */
static uint32_t read_small(struct reader *r)
{
    uint64_t value = read_varint(r);
    if (value > UINT32_MAX) {
        fail(r);
        return 0;
    }
    return (uint32_t)value;
}

static struct bytes read_any(struct reader *r)
{
    return read_blob(r, reader_left(r));
}

static void write_pairs(struct writer *w, const struct registry_pair *pairs, uint32_t count)
{
    write_u8(w, (uint8_t)count);
    for (uint32_t i = 0; i < count; i++) {
        write_blob(w, pairs[i].key);
        write_blob(w, pairs[i].value);
    }
}

static uint32_t read_pairs(struct reader *r, struct registry_pair *pairs, uint32_t max)
{
    uint32_t count = read_count(r, max);
    for (uint32_t i = 0; i < count; i++) {
        pairs[i].key = read_any(r);
        pairs[i].value = read_any(r);
    }
    return count;
}

void registry_instance_write(struct writer *w, const struct registry_instance *instance)
{
    CHECK(instance->tag_count <= REGISTRY_TAGS_MAX);
    CHECK(instance->meta_count <= REGISTRY_META_MAX);
    CHECK(instance->tagged_count <= REGISTRY_TAGGED_MAX);
    write_blob(w, instance->service);
    write_blob(w, instance->id);
    write_blob(w, instance->address);
    write_u16(w, instance->port);
    write_u32(w, instance->weight_passing);
    write_u32(w, instance->weight_warning);
    write_u8(w, instance->enable_tag_override ? 1 : 0);
    write_u8(w, (uint8_t)instance->origin);
    write_blob(w, instance->kind);
    write_u8(w, (uint8_t)instance->tag_count);
    for (uint32_t i = 0; i < instance->tag_count; i++) {
        write_blob(w, instance->tags[i]);
    }
    write_pairs(w, instance->meta, instance->meta_count);
    write_u8(w, (uint8_t)instance->tagged_count);
    for (uint32_t i = 0; i < instance->tagged_count; i++) {
        write_blob(w, instance->tagged[i].tag);
        write_blob(w, instance->tagged[i].address);
        write_u16(w, instance->tagged[i].port);
    }
    write_blob(w, instance->document);
}

void registry_instance_read(struct reader *r, struct registry_instance *ret_instance)
{
    struct registry_instance *instance = ret_instance;
    instance->service = read_any(r);
    instance->id = read_any(r);
    instance->address = read_any(r);
    instance->port = read_u16(r);
    instance->weight_passing = read_u32(r);
    instance->weight_warning = read_u32(r);
    instance->enable_tag_override = read_bool(r);
    uint8_t origin = read_u8(r);
    if (origin != REGISTRY_ORIGIN_CONSUL) {
        fail(r);
    }
    instance->origin = REGISTRY_ORIGIN_CONSUL;
    instance->kind = read_any(r);
    instance->tag_count = read_count(r, REGISTRY_TAGS_MAX);
    for (uint32_t i = 0; i < instance->tag_count; i++) {
        instance->tags[i] = read_any(r);
    }
    instance->meta_count = read_pairs(r, instance->meta, REGISTRY_META_MAX);
    instance->tagged_count = read_count(r, REGISTRY_TAGGED_MAX);
    for (uint32_t i = 0; i < instance->tagged_count; i++) {
        instance->tagged[i].tag = read_any(r);
        instance->tagged[i].address = read_any(r);
        instance->tagged[i].port = read_u16(r);
    }
    instance->document = read_any(r);
}

void registry_check_write(struct writer *w, const struct registry_check *check)
{
    CHECK(check->def.header_count <= REGISTRY_HEADERS_MAX);
    write_blob(w, check->id);
    write_blob(w, check->name);
    write_blob(w, check->notes);
    write_u8(w, (uint8_t)check->type);
    write_u8(w, (uint8_t)check->status);
    write_blob(w, check->output);
    write_varint(w, check->def.interval_ms);
    write_varint(w, check->def.timeout_ms);
    write_varint(w, check->def.ttl_ms);
    write_varint(w, check->def.deregister_critical_after_ms);
    write_varint(w, check->def.success_before_passing);
    write_varint(w, check->def.failures_before_critical);
    write_blob(w, check->def.http);
    write_blob(w, check->def.method);
    write_blob(w, check->def.tcp);
    write_pairs(w, check->def.headers, check->def.header_count);
}

void registry_check_read(struct reader *r, struct registry_check *ret_check)
{
    struct registry_check *check = ret_check;
    check->id = read_any(r);
    check->name = read_any(r);
    check->notes = read_any(r);
    uint8_t type = read_u8(r);
    uint8_t status = read_u8(r);
    if (type < REGISTRY_CHECK_NONE || type > REGISTRY_CHECK_TCP || status < REGISTRY_PASSING ||
        status > REGISTRY_CRITICAL) {
        fail(r);
    }
    check->type = (enum registry_check_type)type;
    check->status = (enum registry_status)status;
    check->output = read_any(r);
    check->def.interval_ms = read_varint(r);
    check->def.timeout_ms = read_varint(r);
    check->def.ttl_ms = read_varint(r);
    check->def.deregister_critical_after_ms = read_varint(r);
    check->def.success_before_passing = read_small(r);
    check->def.failures_before_critical = read_small(r);
    check->def.http = read_any(r);
    check->def.method = read_any(r);
    check->def.tcp = read_any(r);
    check->def.header_count = read_pairs(r, check->def.headers, REGISTRY_HEADERS_MAX);
}

/* ---- rows ------------------------------------------------------------------------------------ */

enum err registry_instance_row(const struct registry_instance *instance, struct buf *to)
{
    struct writer w = writer_of(to);
    write_u8(&w, ROW_VERSION);
    write_u32(&w, instance->node);
    write_u64(&w, instance->create_index);
    write_u64(&w, instance->modify_index);
    registry_instance_write(&w, instance);
    return w.err;
}

enum err registry_instance_row_decode(struct bytes row, struct registry_instance *ret_instance)
{
    struct reader r = reader_of(row);
    uint8_t version = read_u8(&r);
    ret_instance->node = read_u32(&r);
    ret_instance->create_index = read_u64(&r);
    ret_instance->modify_index = read_u64(&r);
    registry_instance_read(&r, ret_instance);
    const char *reason = NULL;
    bool ok = version == ROW_VERSION && apply_body_whole(&r) &&
              registry_instance_check(ret_instance, &reason) == ERR_OK;
    return ok ? ERR_OK : ERR_CORRUPT;
}

enum err registry_check_row(const struct registry_check *check, struct buf *to)
{
    struct writer w = writer_of(to);
    write_u8(&w, ROW_VERSION);
    write_u32(&w, check->owner);
    write_u64(&w, check->epoch);
    write_u64(&w, check->critical_since_ms);
    write_u64(&w, check->create_index);
    write_u64(&w, check->modify_index);
    write_blob(&w, check->service);
    write_blob(&w, check->instance_id);
    registry_check_write(&w, check);
    return w.err;
}

enum err registry_check_row_decode(struct bytes key, struct bytes row,
                                   struct registry_check *ret_check)
{
    struct reader r = reader_of(row);
    uint8_t version = read_u8(&r);
    ret_check->owner = read_u32(&r);
    ret_check->epoch = read_u64(&r);
    ret_check->critical_since_ms = read_u64(&r);
    ret_check->create_index = read_u64(&r);
    ret_check->modify_index = read_u64(&r);
    ret_check->service = read_any(&r);
    ret_check->instance_id = read_any(&r);
    registry_check_read(&r, ret_check);
    struct bytes id;
    const char *reason = NULL;
    bool ok = version == ROW_VERSION && apply_body_whole(&r) &&
              registry_check_key_parse(key, &ret_check->node, &id) && bytes_eq(id, ret_check->id) &&
              registry_check_check(ret_check, &reason) == ERR_OK;
    return ok ? ERR_OK : ERR_CORRUPT;
}

enum err registry_service_row(const struct registry_service *service, struct buf *to)
{
    struct writer w = writer_of(to);
    write_u8(&w, ROW_VERSION);
    write_u64(&w, service->create_index);
    write_u64(&w, service->modify_index);
    write_blob(&w, service->name);
    return w.err;
}

enum err registry_service_row_decode(struct bytes key, struct bytes row,
                                     struct registry_service *ret_service)
{
    struct reader r = reader_of(row);
    uint8_t version = read_u8(&r);
    struct registry_service service = {.key = key, .create_index = read_u64(&r)};
    service.modify_index = read_u64(&r);
    service.name = read_blob(&r, REGISTRY_NAME_MAX);
    if (version != ROW_VERSION || !apply_body_whole(&r)) {
        return ERR_CORRUPT;
    }
    *ret_service = service;
    return ERR_OK;
}
