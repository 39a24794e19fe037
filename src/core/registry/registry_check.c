/* Registry: commands on checks.
 *
 * Place: core; see registry.h. */
#include "check/check.h"
#include "registry/registry_priv.h"

/* Whether the stored check is one of the same instance, or of the same node. */
static bool same_target(const struct registry_check *old, const struct registry_check *check)
{
    return bytes_eq_nocase(old->service, check->service) &&
           bytes_eq(old->instance_id, check->instance_id);
}

/* A new check gets the indices and times of now. */
static void begin_life(const struct apply *a, struct registry_check *check)
{
    check->epoch = a->index;
    check->create_index = a->index;
    check->modify_index = a->index;
    check->critical_since_ms = check->status == REGISTRY_CRITICAL ? a->time_ms : 0;
}

/* What goes on from the check that is replaced. */
static void carry_on(const struct apply *a, const struct registry_check *old, bool keep_status,
                     struct registry_check *check)
{
    check->create_index = old->create_index;
    check->modify_index = old->modify_index;
    check->epoch = old->owner == check->owner ? old->epoch : a->index;
    if (keep_status) {
        check->status = old->status;
        check->output = old->output;
    }
    check->critical_since_ms = 0;
    if (check->status == REGISTRY_CRITICAL) {
        check->critical_since_ms =
            old->status == REGISTRY_CRITICAL ? old->critical_since_ms : a->time_ms;
    }
}

static enum err store_changed(struct apply *a, const struct registry_check *check,
                              const struct registry_place *old)
{
    struct registry_place place;
    registry_place_of(&place, check);
    enum err err = registry_check_store(a, check, old);
    if (err == ERR_OK) {
        err = apply_area_bump(a, APPLY_AREA_CHECKS);
    }
    a->result->value = 1;
    return err == ERR_OK ? registry_touch_check(a, &place) : err;
}

/* The check takes the place of one that belonged to something else. */
static enum err displace(struct apply *a, const struct registry_place *other,
                         struct registry_check *check)
{
    enum err err = registry_check_remove(a, other);
    if (err == ERR_OK) {
        err = registry_touch_check(a, other);
    }
    begin_life(a, check);
    return err == ERR_OK ? store_changed(a, check, NULL) : err;
}

/* Whether the row of this check has exactly these bytes. */
static enum err check_unchanged(struct apply *a, const struct registry_check *check, bool *ret_same)
{
    struct registry_key key;
    struct bytes row = {NULL, 0};
    registry_key_check(&key, check->node, check->id);
    buf_clear(a->record);
    enum err err = registry_check_row(check, a->record);
    if (err == ERR_OK) {
        err = table_get(a->txn, TABLE_CHECKS, registry_key_bytes(&key), &row);
    }
    if (err == ERR_OK) {
        *ret_same = bytes_eq(row, buf_bytes(a->record));
    }
    return err;
}

enum err registry_check_upsert(struct apply *a, struct registry_check *check, bool keep_status)
{
    struct registry_check old;
    struct registry_place place;
    enum err err = registry_check_get(a->txn, check->node, check->id, &old);
    if (err == ERR_NOT_FOUND) {
        begin_life(a, check);
        return store_changed(a, check, NULL);
    }
    if (err != ERR_OK) {
        return err;
    }
    registry_place_of(&place, &old);
    if (!same_target(&old, check)) {
        return displace(a, &place, check);
    }
    carry_on(a, &old, keep_status, check);
    bool same = false;
    err = check_unchanged(a, check, &same);
    if (err != ERR_OK || same) {
        return err;
    }
    check->modify_index = a->index;
    return store_changed(a, check, &place);
}

/* ---- register, deregister -------------------------------------------------------------------- */

/* Binds the check to its instance, found by id; ret_key holds the service name that the check
 * borrows. False: refused. */
static enum err bind_to_instance(struct apply *a, struct registry_check *check,
                                 struct registry_key *name, bool *ret_bound)
{
    struct registry_instance instance;
    enum err err = registry_instance_find(a->txn, check->node, check->instance_id, &instance);
    *ret_bound = err == ERR_OK;
    if (err == ERR_NOT_FOUND) {
        return apply_refuse_about(a, err, "no service has this id", check->instance_id);
    }
    if (err == ERR_CONFLICT) {
        return apply_refuse_about(a, err, "services on several nodes have this id",
                                  check->instance_id);
    }
    if (err != ERR_OK) {
        return err;
    }
    registry_key_set(name, instance.service);
    check->service = registry_key_bytes(name);
    check->node = instance.node;
    return ERR_OK;
}

enum err registry_apply_check_register(struct apply *a, struct reader *r)
{
    struct registry_check check = {.node = read_u32(r)};
    check.instance_id = read_blob(r, reader_left(r));
    registry_check_read(r, &check);
    check.owner = check.node;
    if (!apply_body_whole(r)) {
        return registry_malformed(a);
    }
    const char *reason = "a check needs an id and a node";
    enum err err = check.id.len == 0 || check.node == 0 ? ERR_BAD_INPUT : ERR_OK;
    if (err == ERR_OK) {
        err = registry_check_check(&check, &reason);
    }
    if (err != ERR_OK) {
        return apply_refuse(a, err, reason);
    }
    struct registry_key name;
    bool bound = true;
    if (check.instance_id.len > 0) {
        err = bind_to_instance(a, &check, &name, &bound);
    }
    return err == ERR_OK && bound ? registry_check_upsert(a, &check, true) : err;
}

/* Refuses for a check that is not there or not the only one. */
static enum err refuse_check(struct apply *a, enum err why, struct bytes check_id)
{
    return apply_refuse_about(a, why,
                              why == ERR_NOT_FOUND ? "there is no check with this id"
                                                   : "several nodes have a check with this id",
                              check_id);
}

enum err registry_apply_check_deregister(struct apply *a, struct reader *r)
{
    uint32_t node = read_u32(r);
    struct bytes check_id = read_blob(r, reader_left(r));
    if (!apply_body_whole(r)) {
        return registry_malformed(a);
    }
    struct registry_check check;
    enum err err = registry_check_find(a->txn, node, check_id, &check);
    if (err == ERR_NOT_FOUND || err == ERR_CONFLICT) {
        return refuse_check(a, err, check_id);
    }
    if (err != ERR_OK) {
        return err;
    }
    struct registry_place place;
    registry_place_of(&place, &check);
    err = registry_check_remove(a, &place);
    return err == ERR_OK ? registry_touch_check(a, &place) : err;
}

/* ---- update ---------------------------------------------------------------------------------- */

/* The check that a report is about; the report is its owner's. *ret_found false: refused. */
static enum err get_as_owner(struct apply *a, const struct registry_reap *report,
                             struct registry_check *ret_check, bool *ret_found)
{
    *ret_found = false;
    enum err err = registry_check_get(a->txn, report->node, report->check_id, ret_check);
    if (err == ERR_NOT_FOUND) {
        return refuse_check(a, err, report->check_id);
    }
    if (err != ERR_OK) {
        return err;
    }
    bool owned = ret_check->owner == report->owner && ret_check->epoch == report->epoch;
    if (report->owner != 0 && !owned) {
        return apply_refuse_about(a, ERR_CONFLICT, "the check has another owner by now",
                                  report->check_id);
    }
    *ret_found = true;
    return ERR_OK;
}

static struct registry_reap read_report(struct reader *r)
{
    struct registry_reap report = {.node = read_u32(r)};
    report.check_id = read_blob(r, reader_left(r));
    report.owner = read_u32(r);
    report.epoch = read_u64(r);
    return report;
}

enum err registry_apply_check_update(struct apply *a, struct reader *r)
{
    struct registry_reap report = read_report(r);
    uint8_t status = read_u8(r);
    struct bytes output = read_blob(r, reader_left(r));
    if (!apply_body_whole(r) || status < REGISTRY_PASSING || status > REGISTRY_CRITICAL) {
        return registry_malformed(a);
    }
    if (output.len > REGISTRY_OUTPUT_MAX) {
        return apply_refuse(a, ERR_TOO_LARGE, "a check's output has at most 4096 bytes");
    }
    struct registry_check check;
    bool found = false;
    enum err err = get_as_owner(a, &report, &check, &found);
    if (err != ERR_OK || !found) {
        return err;
    }
    enum registry_status was = check.status;
    if (was == (enum registry_status)status && bytes_eq(check.output, output)) {
        return ERR_OK;
    }
    struct registry_place place;
    registry_place_of(&place, &check);
    check.status = (enum registry_status)status;
    check.output = output;
    check.modify_index = a->index;
    if (check.status != REGISTRY_CRITICAL) {
        check.critical_since_ms = 0;
    } else if (was != REGISTRY_CRITICAL) {
        check.critical_since_ms = a->time_ms;
    }
    return store_changed(a, &check, &place);
}

/* ---- reap ------------------------------------------------------------------------------------ */

/* Whether the check has been critical for so long that its instance must go. */
static bool overdue(const struct apply *a, const struct registry_check *check)
{
    uint64_t after_ms = check->def.deregister_critical_after_ms;
    return check->instance_id.len > 0 && check->status == REGISTRY_CRITICAL && after_ms > 0 &&
           a->time_ms >= check->critical_since_ms &&
           a->time_ms - check->critical_since_ms >= after_ms;
}

enum err registry_apply_reap(struct apply *a, struct reader *r)
{
    struct registry_reap report = read_report(r);
    if (!apply_body_whole(r)) {
        return registry_malformed(a);
    }
    struct registry_check check;
    bool found = false;
    enum err err = get_as_owner(a, &report, &check, &found);
    if (err != ERR_OK || !found) {
        return err;
    }
    if (!overdue(a, &check)) {
        return apply_refuse_about(a, ERR_CONFLICT, "the check is not critical for long enough",
                                  report.check_id);
    }
    struct registry_place place;
    registry_place_of(&place, &check);
    return registry_instance_remove(a, &place.service_key, registry_key_bytes(&place.instance_id),
                                    place.node);
}

/* ---- reassign -------------------------------------------------------------------------------- */

static enum err reassign_row(struct apply *a, struct bytes row_key, uint32_t to)
{
    uint32_t node = 0;
    struct bytes id;
    struct registry_check check;
    struct registry_place place;
    if (!registry_check_key_parse(row_key, &node, &id)) {
        return ERR_CORRUPT;
    }
    enum err err = registry_check_get(a->txn, node, id, &check);
    if (err != ERR_OK) {
        return err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
    }
    registry_place_of(&place, &check);
    check.owner = to;
    check.epoch = a->index;
    return registry_check_store(a, &check, &place);
}

enum err registry_apply_reassign(struct apply *a, struct reader *r)
{
    uint32_t from = read_u32(r);
    uint32_t to = read_u32(r);
    if (!apply_body_whole(r) || from == 0 || to == 0 || from == to) {
        return registry_malformed(a);
    }
    struct registry_key prefix;
    registry_key_by_owner_prefix(&prefix, from);
    uint64_t count = 0;
    struct table_scan scan;
    enum err err = table_scan(&scan, a->txn, TABLE_INDEXES, registry_key_bytes(&prefix));
    while (err == ERR_OK) {
        err = reassign_row(a, bytes_from(scan.key, prefix.len), to);
        if (err == ERR_OK) {
            count++;
            err = table_scan_next(&scan);
        }
    }
    table_scan_end(&scan);
    if (err != ERR_NOT_FOUND) {
        return err;
    }
    a->result->value = count;
    return ERR_OK;
}

/* ---- maintenance ----------------------------------------------------------------------------- */

/* The maintenance check of what the command names; its slices live in id and name. */
static void maintenance_check(struct registry_check *check, struct bytes instance_id,
                              struct bytes reason, struct registry_key *id)
{
    bool of_node = instance_id.len == 0;
    registry_key_set(id, of_node ? REGISTRY_NODE_MAINTENANCE : REGISTRY_SERVICE_MAINTENANCE);
    CHECK(instance_id.len <= sizeof(id->data) - id->len);
    if (!of_node) {
        memcpy(id->data + id->len, instance_id.data, instance_id.len);
        id->len += instance_id.len;
    }
    check->id = registry_key_bytes(id);
    check->name = of_node ? BYTES_LITERAL("Node Maintenance Mode")
                          : BYTES_LITERAL("Service Maintenance Mode");
    check->notes = reason.len > 0 ? reason : BYTES_LITERAL("No reason was given.");
    check->type = REGISTRY_CHECK_NONE;
    check->instance_id = instance_id;
    check->status = REGISTRY_CRITICAL;
}

static enum err end_maintenance(struct apply *a, const struct registry_check *check)
{
    struct registry_check old;
    enum err err = registry_check_get(a->txn, check->node, check->id, &old);
    if (err != ERR_OK) {
        return err == ERR_NOT_FOUND ? ERR_OK : err;
    }
    struct registry_place place;
    registry_place_of(&place, &old);
    err = registry_check_remove(a, &place);
    return err == ERR_OK ? registry_touch_check(a, &place) : err;
}

enum err registry_apply_maintenance(struct apply *a, struct reader *r)
{
    struct registry_check check = {.node = read_u32(r)};
    struct bytes instance_id = read_blob(r, reader_left(r));
    uint8_t enable = read_u8(r);
    struct bytes reason = read_blob(r, reader_left(r));
    if (!apply_body_whole(r) || enable > 1 || check.node == 0) {
        return registry_malformed(a);
    }
    if (instance_id.len > REGISTRY_ID_MAX || reason.len > REGISTRY_NOTES_MAX) {
        return apply_refuse(a, ERR_TOO_LARGE, "the id or the reason is too long");
    }
    struct registry_key id;
    struct registry_key name;
    bool bound = true;
    enum err err = ERR_OK;
    check.owner = check.node;
    maintenance_check(&check, instance_id, reason, &id);
    if (instance_id.len > 0) {
        err = bind_to_instance(a, &check, &name, &bound);
    }
    if (err != ERR_OK || !bound) {
        return err;
    }
    return enable == 1 ? registry_check_upsert(a, &check, false) : end_maintenance(a, &check);
}
