/* The Consul door: writes of /v1/catalog, as far as the registry has a place for them.
 *
 * A node is a member of the cluster here, so only members can be named. One request is one command:
 * a service with its checks, or one check. */
#include "consul/consul_priv.h"

enum {
    COMMAND_MAX = 1024 * 1024
};

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* A body while the node that it names is looked up. */
struct catalog_op {
    struct web_read read; /* first: it begins with the operation */
    struct web_ask ask;
    struct bytes node_name;
    struct bytes service_id; /* of deregister */
    struct bytes check_id;
    bool deregister;
    bool has_service;
    struct registry_check check; /* alone, when there is no service */
    bool has_check;
    struct consul_registration registration;
};

static void answer_true(struct web_write *write, const struct node_result *result)
{
    (void)result;
    struct web_ask ask = {.door = write->op.door, .http = write->op.request};
    web_answer_text(&ask, 200, "application/json", "true");
}

/* In Consul's catalog, what is not there is as good as removed. */
static void refused(struct web_write *write, const struct node_result *result)
{
    if (result->verdict.err == ERR_NOT_FOUND) {
        answer_true(write, result);
    } else {
        web_refuse(write->op.door, write->op.request, result->verdict.err, "%s",
                   result->verdict.reason);
    }
}

/* ---- the second step: the node is known ------------------------------------------------------ */

static enum err encode(struct catalog_op *op, uint32_t node, struct buf *to, uint16_t *ret_kind)
{
    if (op->deregister && op->service_id.len > 0) {
        *ret_kind = REGISTRY_CMD_SERVICE_DEREGISTER;
        return registry_deregister_encode(node, op->service_id, to);
    }
    if (op->deregister) {
        *ret_kind = REGISTRY_CMD_CHECK_DEREGISTER;
        return registry_check_deregister_encode(node, op->check_id, to);
    }
    if (op->has_service) {
        struct registry_register reg = {
            .instance = &op->registration.instance,
            .checks = op->registration.checks,
            .check_count = op->registration.check_count,
        };
        op->registration.instance.node = node;
        op->registration.instance.document = op->ask.http->body;
        *ret_kind = REGISTRY_CMD_SERVICE_REGISTER;
        return registry_register_encode(&reg, to);
    }
    op->check.node = node;
    *ret_kind = REGISTRY_CMD_CHECK_REGISTER;
    return registry_check_register_encode(&op->check, to);
}

static void propose(struct catalog_op *op, uint32_t node)
{
    struct web_write *write = web_op_new(op->ask.door, op->ask.http, sizeof(*write));
    if (write == NULL) {
        return;
    }
    struct buf body;
    buf_init(&body, COMMAND_MAX);
    uint16_t kind = 0;
    enum err err = encode(op, node, &body, &kind);
    write->done = answer_true;
    write->refused = op->deregister ? refused : NULL;
    web_write_start(write, err, kind, buf_bytes(&body));
    buf_done(&body);
}

static void on_node(struct web_read *read, const struct node_snapshot *snapshot, uint64_t index)
{
    (void)index;
    struct catalog_op *op = CONTAINER_OF(read, struct catalog_op, read);
    struct member member;
    enum err err = member_find(snapshot->txn, op->node_name, &member);
    if (err == ERR_NOT_FOUND) {
        web_refuse_status(op->ask.door, op->ask.http, 501, "unsupported",
                          "\"%.*s\" is no node of this cluster; nodes from outside cannot be "
                          "registered in this version of Flotilla",
                          BYTES_PRINT(op->node_name));
    } else if (err != ERR_OK) {
        web_refuse(op->ask.door, op->ask.http, err, NULL);
    } else if (op->deregister || op->has_service || op->has_check) {
        propose(op, member.node);
    } else {
        web_answer_text(&op->ask, 200, "application/json", "true"); /* the node is there */
    }
}

/* ---- the first step: the body ---------------------------------------------------------------- */

/* Slices of the tree, which is about to go, into the request's memory. */
static bool keep(struct catalog_op *op, struct bytes *slice)
{
    uint8_t *copy = arena_dup(op->ask.http->arena, *slice);
    *slice = bytes_of(copy, copy == NULL ? 0 : slice->len);
    return copy != NULL;
}

static bool keep_check(struct catalog_op *op, struct registry_check *check)
{
    return keep(op, &check->id) && keep(op, &check->name) && keep(op, &check->notes) &&
           keep(op, &check->output) && keep(op, &check->instance_id) && keep(op, &check->service);
}

static bool keep_instance(struct catalog_op *op, struct registry_instance *instance)
{
    bool kept = keep(op, &instance->service) && keep(op, &instance->id) &&
                keep(op, &instance->address) && keep(op, &instance->kind);
    for (uint32_t i = 0; kept && i < instance->tag_count; i++) {
        kept = keep(op, &instance->tags[i]);
    }
    for (uint32_t i = 0; kept && i < instance->meta_count; i++) {
        kept = keep(op, &instance->meta[i].key) && keep(op, &instance->meta[i].value);
    }
    for (uint32_t i = 0; kept && i < instance->tagged_count; i++) {
        kept = keep(op, &instance->tagged[i].tag) && keep(op, &instance->tagged[i].address);
    }
    return kept;
}

static enum err keep_all(struct catalog_op *op)
{
    bool kept = keep(op, &op->node_name) && keep(op, &op->service_id) && keep(op, &op->check_id);
    if (kept && op->has_service) {
        kept = keep_instance(op, &op->registration.instance);
    }
    for (uint32_t i = 0; kept && i < op->registration.check_count; i++) {
        kept = keep_check(op, &op->registration.checks[i]);
    }
    if (kept && op->has_check) {
        kept = keep_check(op, &op->check);
    }
    return kept ? ERR_OK : ERR_FULL;
}

/* A check that only says a status: nobody runs it. */
static enum err take_check(struct catalog_op *op, const json_t *object, struct err_note *note)
{
    struct registry_check check;
    enum err err = consul_decode_check(object, false, &check, note);
    if (err != ERR_OK) {
        return err;
    }
    check.def = (struct registry_check_def){.interval_ms = 0};
    check.id = check.id.len == 0 ? check.name : check.id;
    check.name = check.name.len == 0 ? check.id : check.name;
    const char *reason = NULL;
    err = registry_check_check(&check, &reason);
    if (err != ERR_OK || check.id.len == 0) {
        return err_note_set(note, err == ERR_OK ? ERR_BAD_INPUT : err, "%s",
                            err == ERR_OK ? "a check needs a CheckID or a Name" : reason);
    }
    if (!op->has_service) {
        if (op->has_check) {
            return err_note_set(note, ERR_UNSUPPORTED,
                                "several checks without their service in one request are not "
                                "built into this version of Flotilla");
        }
        op->check = check;
        op->has_check = true;
        return ERR_OK;
    }
    if (!bytes_eq(check.instance_id, op->registration.instance.id)) {
        return err_note_set(note, ERR_UNSUPPORTED,
                            "checks of something else than the service in one request are not "
                            "built into this version of Flotilla");
    }
    if (op->registration.check_count == REGISTRY_CHECKS_MAX) {
        return err_note_set(note, ERR_TOO_LARGE, "at most %d checks", REGISTRY_CHECKS_MAX);
    }
    op->registration.checks[op->registration.check_count++] = check;
    return ERR_OK;
}

static enum err decode_register(struct catalog_op *op, const json_t *root, struct err_note *note)
{
    const json_t *service = NULL;
    const json_t *check = NULL;
    const json_t *checks = NULL;
    const struct web_field fields[] = {
        {"node", WEB_STRING, &op->node_name},
        {"service", WEB_OBJECT, &service},
        {"check", WEB_OBJECT, &check},
        {"checks", WEB_ARRAY, &checks},
    };
    enum err err = web_json_fields(root, fields, COUNT_OF(fields), note);
    if (err == ERR_OK && service != NULL) {
        op->has_service = true;
        err = consul_decode_service(service, &op->registration, note);
    }
    if (err == ERR_OK && check != NULL) {
        err = take_check(op, check, note);
    }
    for (size_t i = 0; err == ERR_OK && i < json_array_size(checks); i++) {
        err = take_check(op, json_array_get(checks, i), note);
    }
    return err;
}

static enum err decode_deregister(struct catalog_op *op, const json_t *root, struct err_note *note)
{
    const struct web_field fields[] = {
        {"node", WEB_STRING, &op->node_name},
        {"serviceid", WEB_STRING, &op->service_id},
        {"checkid", WEB_STRING, &op->check_id},
    };
    enum err err = web_json_fields(root, fields, COUNT_OF(fields), note);
    if (err == ERR_OK && op->service_id.len == 0 && op->check_id.len == 0) {
        err = err_note_set(note, ERR_UNSUPPORTED,
                           "ServiceID or CheckID is needed: members of the cluster are not removed "
                           "through the catalog");
    }
    return err;
}

static void start(const struct web_ask *ask, bool deregister)
{
    json_t *root = NULL;
    struct err_note note = {0};
    struct catalog_op *op =
        consul_refuse_scope(ask) ? NULL : web_op_new(ask->door, ask->http, sizeof(*op));
    if (op == NULL) {
        return;
    }
    op->ask = *ask;
    op->deregister = deregister;
    enum err err = web_json_parse(ask->http->body, &root, &note);
    if (err == ERR_OK) {
        err = deregister ? decode_deregister(op, root, &note) : decode_register(op, root, &note);
    }
    if (err == ERR_OK && op->node_name.len == 0) {
        err = err_note_set(&note, ERR_BAD_INPUT, "Must provide node");
    }
    if (err == ERR_OK) {
        err = keep_all(op);
    }
    if (root != NULL) {
        json_decref(root);
    }
    if (err != ERR_OK) {
        web_refuse(ask->door, ask->http, err, note.text[0] == '\0' ? NULL : "%s", note.text);
        return;
    }
    op->read.consistency = NODE_STALE;
    op->read.answer = on_node;
    web_read_start(&op->read);
}

void consul_catalog_register(const struct web_ask *ask)
{
    start(ask, false);
}

void consul_catalog_deregister(const struct web_ask *ask)
{
    start(ask, true);
}
