/* Registry: the bodies of its commands.
 *
 * Place: core; see registry.h. After version u8 = 1:
 *   service register:   node u32 | replace checks u8 | instance | check count u8 | checks
 *   service deregister: node u32 | instance id blob
 *   check register:     node u32 | instance id blob | check
 *   check deregister:   node u32 | check id blob
 *   check update:       node u32 | check id blob | owner u32 | epoch u64 | status u8 | output blob
 *   maintenance:        node u32 | instance id blob | enable u8 | reason blob
 *   reassign:           from u32 | to u32
 *   reap:               node u32 | check id blob | owner u32 | epoch u64 */
#include "registry/registry_priv.h"

static struct writer open_body(struct buf *to)
{
    struct writer w = writer_of(to);
    write_u8(&w, APPLY_BODY_VERSION);
    return w;
}

static enum err id_limits(struct bytes id, size_t max)
{
    if (id.len > max) {
        return ERR_TOO_LARGE;
    }
    return registry_id_ok(id, max) ? ERR_OK : ERR_BAD_INPUT;
}

enum err registry_register_encode(const struct registry_register *reg, struct buf *to)
{
    const char *reason = NULL;
    if (reg->check_count > REGISTRY_CHECKS_MAX) {
        return ERR_TOO_LARGE;
    }
    enum err err = registry_instance_check(reg->instance, &reason);
    for (uint32_t i = 0; err == ERR_OK && i < reg->check_count; i++) {
        err = registry_check_check(&reg->checks[i], &reason);
    }
    if (err != ERR_OK) {
        return err;
    }
    struct writer w = open_body(to);
    write_u32(&w, reg->instance->node);
    write_u8(&w, reg->replace_checks ? 1 : 0);
    registry_instance_write(&w, reg->instance);
    write_u8(&w, (uint8_t)reg->check_count);
    for (uint32_t i = 0; i < reg->check_count; i++) {
        registry_check_write(&w, &reg->checks[i]);
    }
    return w.err;
}

enum err registry_deregister_encode(uint32_t node, struct bytes instance_id, struct buf *to)
{
    enum err err = id_limits(instance_id, REGISTRY_ID_MAX);
    if (err != ERR_OK) {
        return err;
    }
    struct writer w = open_body(to);
    write_u32(&w, node);
    write_blob(&w, instance_id);
    return w.err;
}

enum err registry_check_register_encode(const struct registry_check *check, struct buf *to)
{
    const char *reason = NULL;
    enum err err = registry_check_check(check, &reason);
    if (err == ERR_OK) {
        err = id_limits(check->id, REGISTRY_CHECK_ID_MAX);
    }
    if (err == ERR_OK && check->node == 0) {
        err = ERR_BAD_INPUT;
    }
    if (err != ERR_OK) {
        return err;
    }
    struct writer w = open_body(to);
    write_u32(&w, check->node);
    write_blob(&w, check->instance_id);
    registry_check_write(&w, check);
    return w.err;
}

enum err registry_check_deregister_encode(uint32_t node, struct bytes check_id, struct buf *to)
{
    enum err err = id_limits(check_id, REGISTRY_CHECK_ID_MAX);
    if (err != ERR_OK) {
        return err;
    }
    struct writer w = open_body(to);
    write_u32(&w, node);
    write_blob(&w, check_id);
    return w.err;
}

enum err registry_update_encode(const struct registry_update *update, struct buf *to)
{
    enum err err = id_limits(update->check_id, REGISTRY_CHECK_ID_MAX);
    if (err == ERR_OK && update->output.len > REGISTRY_OUTPUT_MAX) {
        err = ERR_TOO_LARGE;
    }
    if (err == ERR_OK &&
        (update->status < REGISTRY_PASSING || update->status > REGISTRY_CRITICAL)) {
        err = ERR_BAD_INPUT;
    }
    if (err != ERR_OK) {
        return err;
    }
    struct writer w = open_body(to);
    write_u32(&w, update->node);
    write_blob(&w, update->check_id);
    write_u32(&w, update->owner);
    write_u64(&w, update->epoch);
    write_u8(&w, (uint8_t)update->status);
    write_blob(&w, update->output);
    return w.err;
}

enum err registry_maintenance_encode(const struct registry_maintenance *maintenance, struct buf *to)
{
    if (maintenance->instance_id.len > REGISTRY_ID_MAX ||
        maintenance->reason.len > REGISTRY_NOTES_MAX) {
        return ERR_TOO_LARGE;
    }
    bool id_ok = maintenance->instance_id.len == 0 ||
                 registry_id_ok(maintenance->instance_id, REGISTRY_ID_MAX);
    if (maintenance->node == 0 || !id_ok) {
        return ERR_BAD_INPUT;
    }
    struct writer w = open_body(to);
    write_u32(&w, maintenance->node);
    write_blob(&w, maintenance->instance_id);
    write_u8(&w, maintenance->enable ? 1 : 0);
    write_blob(&w, maintenance->reason);
    return w.err;
}

enum err registry_reassign_encode(uint32_t from, uint32_t to_node, struct buf *to)
{
    if (from == 0 || to_node == 0 || from == to_node) {
        return ERR_BAD_INPUT;
    }
    struct writer w = open_body(to);
    write_u32(&w, from);
    write_u32(&w, to_node);
    return w.err;
}

enum err registry_reap_encode(const struct registry_reap *reap, struct buf *to)
{
    enum err err = id_limits(reap->check_id, REGISTRY_CHECK_ID_MAX);
    if (err != ERR_OK) {
        return err;
    }
    struct writer w = open_body(to);
    write_u32(&w, reap->node);
    write_blob(&w, reap->check_id);
    write_u32(&w, reap->owner);
    write_u64(&w, reap->epoch);
    return w.err;
}
