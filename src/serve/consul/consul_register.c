/* The Consul door: what /v1/agent changes: services, checks, maintenance, and leases. */
#include "check/check.h"
#include "consul/consul_priv.h"
#include "http/http_query.h"

enum {
    COMMAND_MAX = 1024 * 1024
};

#define UNKNOWN_SERVICE                                                                            \
    "Unknown service ID \"%.*s\". Ensure that the service ID is passed, not the service name."
#define UNKNOWN_CHECK                                                                              \
    "Unknown check ID \"%.*s\". Ensure that the check ID is passed, not the check name."

/* A write with the thing that it is about, for the text of a refusal. */
struct agent_write {
    struct web_write write; /* first: it begins with the operation */
    struct bytes subject;
};

static struct agent_write *agent_write_of(struct web_write *write)
{
    return CONTAINER_OF(write, struct agent_write, write);
}

static void answer_empty(struct web_write *write, const struct node_result *result)
{
    (void)result;
    struct web_ask ask = {.door = write->op.door, .http = write->op.request};
    web_answer_text(&ask, 200, NULL, "");
}

static void refuse_service(struct web_write *write, const struct node_result *result)
{
    struct bytes subject = agent_write_of(write)->subject;
    if (result->verdict.err == ERR_NOT_FOUND) {
        web_refuse(write->op.door, write->op.request, ERR_NOT_FOUND, UNKNOWN_SERVICE,
                   BYTES_PRINT(subject));
    } else {
        web_refuse(write->op.door, write->op.request, result->verdict.err, "%s",
                   result->verdict.reason);
    }
}

static void refuse_check(struct web_write *write, const struct node_result *result)
{
    struct bytes subject = agent_write_of(write)->subject;
    if (result->verdict.err == ERR_NOT_FOUND) {
        web_refuse(write->op.door, write->op.request, ERR_NOT_FOUND, UNKNOWN_CHECK,
                   BYTES_PRINT(subject));
    } else {
        web_refuse(write->op.door, write->op.request, result->verdict.err, "%s",
                   result->verdict.reason);
    }
}

/* NULL: refused. */
static struct agent_write *agent_write_new(const struct web_ask *ask)
{
    struct agent_write *write = web_op_new(ask->door, ask->http, sizeof(*write));
    if (write != NULL) {
        write->subject = ask->rest;
        write->write.done = answer_empty;
    }
    return write;
}

/* Parses the body; false: refused. */
static bool parse_body(const struct web_ask *ask, json_t **ret_root)
{
    struct err_note note = {0};
    enum err err = web_json_parse(ask->http->body, ret_root, &note);
    if (err != ERR_OK) {
        web_refuse(ask->door, ask->http, err, "Request decode failed: %s", note.text);
        return false;
    }
    return true;
}

/* ---- services -------------------------------------------------------------------------------- */

static void propose_registration(const struct web_ask *ask,
                                 const struct consul_registration *registration)
{
    struct agent_write *write = agent_write_new(ask);
    if (write == NULL) {
        return;
    }
    struct registry_register reg = {
        .instance = &registration->instance,
        .checks = registration->checks,
        .check_count = registration->check_count,
        .replace_checks = web_flag(ask, "replace-existing-checks"),
    };
    struct buf body;
    buf_init(&body, COMMAND_MAX);
    enum err err = registry_register_encode(&reg, &body);
    web_write_start(&write->write, err, REGISTRY_CMD_SERVICE_REGISTER, buf_bytes(&body));
    buf_done(&body);
}

void consul_service_register(const struct web_ask *ask)
{
    json_t *root = NULL;
    struct err_note note = {0};
    if (consul_refuse_scope(ask) || !parse_body(ask, &root)) {
        return;
    }
    struct consul_registration *registration = arena_alloc(ask->http->arena, sizeof(*registration));
    enum err err =
        registration == NULL ? ERR_FULL : consul_decode_service(root, registration, &note);
    if (err == ERR_OK) {
        registration->instance.node = consul_self(ask);
        registration->instance.document = ask->http->body;
        const char *reason = NULL;
        err = registry_instance_check(&registration->instance, &reason);
        (void)(err == ERR_OK ? ERR_OK : err_note_set(&note, err, "%s", reason));
    }
    if (err == ERR_OK) {
        propose_registration(ask, registration);
    } else {
        web_refuse(ask->door, ask->http, err, note.text[0] == '\0' ? NULL : "%s", note.text);
    }
    json_decref(root);
}

void consul_service_deregister(const struct web_ask *ask)
{
    if (consul_refuse_scope(ask) || consul_refuse_name(ask, "service ID")) {
        return;
    }
    struct agent_write *write = agent_write_new(ask);
    if (write == NULL) {
        return;
    }
    struct buf body;
    buf_init(&body, COMMAND_MAX);
    write->write.refused = refuse_service;
    enum err err = registry_deregister_encode(consul_self(ask), ask->rest, &body);
    web_write_start(&write->write, err, REGISTRY_CMD_SERVICE_DEREGISTER, buf_bytes(&body));
    buf_done(&body);
}

/* ---- maintenance ----------------------------------------------------------------------------- */

/* False: refused. */
static bool parse_enable(const struct web_ask *ask, bool *ret_enable)
{
    struct bytes value;
    if (!web_param(ask, "enable", &value) || value.len == 0) {
        web_refuse(ask->door, ask->http, ERR_BAD_INPUT, "Missing value for enable");
        return false;
    }
    *ret_enable = bytes_eq_nocase(value, BYTES_LITERAL("true")) || bytes_eq_str(value, "1");
    if (*ret_enable || bytes_eq_nocase(value, BYTES_LITERAL("false")) || bytes_eq_str(value, "0")) {
        return true;
    }
    web_refuse(ask->door, ask->http, ERR_BAD_INPUT, "Invalid value for enable: \"%.*s\"",
               BYTES_PRINT(value));
    return false;
}

/* An empty rest: of the node. */
static void set_maintenance(const struct web_ask *ask)
{
    struct registry_maintenance maintenance = {
        .node = consul_self(ask),
        .instance_id = ask->rest,
    };
    if (consul_refuse_scope(ask) || !parse_enable(ask, &maintenance.enable)) {
        return;
    }
    (void)web_param(ask, "reason", &maintenance.reason);
    struct agent_write *write = agent_write_new(ask);
    if (write == NULL) {
        return;
    }
    struct buf body;
    buf_init(&body, COMMAND_MAX);
    write->write.refused = refuse_service;
    enum err err = registry_maintenance_encode(&maintenance, &body);
    web_write_start(&write->write, err, REGISTRY_CMD_MAINTENANCE, buf_bytes(&body));
    buf_done(&body);
}

void consul_service_maintenance(const struct web_ask *ask)
{
    if (!consul_refuse_name(ask, "service ID")) {
        set_maintenance(ask);
    }
}

void consul_node_maintenance(const struct web_ask *ask)
{
    set_maintenance(ask);
}

/* ---- checks ---------------------------------------------------------------------------------- */

static void refuse_check_registration(struct web_write *write, const struct node_result *result)
{
    struct bytes subject = agent_write_of(write)->subject;
    if (result->verdict.err == ERR_NOT_FOUND) {
        web_refuse(write->op.door, write->op.request, ERR_NOT_FOUND,
                   "ServiceID \"%.*s\" does not exist", BYTES_PRINT(subject));
    } else {
        web_refuse(write->op.door, write->op.request, result->verdict.err, "%s",
                   result->verdict.reason);
    }
}

/* The whole check, or a note. */
static enum err decode_agent_check(const struct web_ask *ask, const json_t *root,
                                   struct registry_check *check, struct err_note *note)
{
    enum err err = consul_decode_check(root, true, check, note);
    if (err != ERR_OK) {
        return err;
    }
    if (check->name.len == 0) {
        return err_note_set(note, ERR_BAD_INPUT, "Missing check name");
    }
    check->id = check->id.len == 0 ? check->name : check->id;
    check->node = consul_self(ask);
    const char *reason = NULL;
    err = registry_check_check(check, &reason);
    return err == ERR_OK ? ERR_OK : err_note_set(note, err, "%s", reason);
}

void consul_check_register(const struct web_ask *ask)
{
    json_t *root = NULL;
    struct registry_check check;
    struct err_note note = {0};
    if (consul_refuse_scope(ask) || !parse_body(ask, &root)) {
        return;
    }
    enum err err = decode_agent_check(ask, root, &check, &note);
    if (err != ERR_OK) {
        web_refuse(ask->door, ask->http, err, "%s", note.text);
        json_decref(root);
        return;
    }
    struct agent_write *write = agent_write_new(ask);
    uint8_t *subject = arena_dup(ask->http->arena, check.instance_id);
    if (write != NULL) {
        struct buf body;
        buf_init(&body, COMMAND_MAX);
        write->subject =
            subject == NULL ? bytes_of(NULL, 0) : bytes_of(subject, check.instance_id.len);
        write->write.refused = refuse_check_registration;
        err = registry_check_register_encode(&check, &body);
        web_write_start(&write->write, err, REGISTRY_CMD_CHECK_REGISTER, buf_bytes(&body));
        buf_done(&body);
    }
    json_decref(root);
}

void consul_check_deregister(const struct web_ask *ask)
{
    if (consul_refuse_scope(ask) || consul_refuse_name(ask, "check ID")) {
        return;
    }
    struct agent_write *write = agent_write_new(ask);
    if (write == NULL) {
        return;
    }
    struct buf body;
    buf_init(&body, COMMAND_MAX);
    write->write.refused = refuse_check;
    enum err err = registry_check_deregister_encode(consul_self(ask), ask->rest, &body);
    web_write_start(&write->write, err, REGISTRY_CMD_CHECK_DEREGISTER, buf_bytes(&body));
    buf_done(&body);
}

/* ---- leases ---------------------------------------------------------------------------------- */

/* 404 makes clients register again, so it is said only when it is certain. */
static void on_renewed(struct web_renew *renew, enum err err)
{
    struct web_ask ask = {.door = renew->op.door, .http = renew->op.request};
    if (err == ERR_OK) {
        web_answer_text(&ask, 200, NULL, "");
    } else if (err == ERR_NOT_FOUND) {
        web_refuse(ask.door, ask.http, err, UNKNOWN_CHECK, BYTES_PRINT(renew->lease.check_id));
    } else {
        web_refuse(ask.door, ask.http, err, NULL);
    }
}

static void renew_check(const struct web_ask *ask, enum registry_status status, struct bytes output)
{
    struct web_renew *renew = web_op_new(ask->door, ask->http, sizeof(*renew));
    if (renew == NULL) {
        return;
    }
    renew->lease = (struct node_lease){
        .check_id = ask->rest,
        .status = (int)status,
        .output = output,
    };
    renew->done = on_renewed;
    web_renew_start(renew);
}

static void renew_with_note(const struct web_ask *ask, enum registry_status status)
{
    struct bytes note = {NULL, 0};
    if (consul_refuse_scope(ask) || consul_refuse_name(ask, "check ID")) {
        return;
    }
    (void)web_param(ask, "note", &note);
    renew_check(ask, status, note);
}

void consul_check_pass(const struct web_ask *ask)
{
    renew_with_note(ask, REGISTRY_PASSING);
}

void consul_check_warn(const struct web_ask *ask)
{
    renew_with_note(ask, REGISTRY_WARNING);
}

void consul_check_fail(const struct web_ask *ask)
{
    renew_with_note(ask, REGISTRY_CRITICAL);
}

void consul_check_update(const struct web_ask *ask)
{
    json_t *root = NULL;
    struct err_note note = {0};
    struct bytes status = {NULL, 0};
    struct bytes output = {NULL, 0};
    enum registry_status parsed = REGISTRY_CRITICAL;
    if (consul_refuse_scope(ask) || consul_refuse_name(ask, "check ID") ||
        !parse_body(ask, &root)) {
        return;
    }
    const struct web_field fields[] = {
        {"status", WEB_STRING, &status},
        {"output", WEB_STRING, &output},
    };
    enum err err = web_json_fields(root, fields, sizeof(fields) / sizeof(fields[0]), &note);
    if (err != ERR_OK) {
        web_refuse(ask->door, ask->http, err, "Request decode failed: %s", note.text);
    } else if (!registry_status_parse(status, &parsed)) {
        web_refuse(ask->door, ask->http, ERR_BAD_INPUT, "Invalid check status: \"%.*s\"",
                   BYTES_PRINT(status));
    } else {
        uint8_t *copy = arena_dup(ask->http->arena, output);
        renew_check(ask, parsed, bytes_of(copy, copy == NULL ? 0 : output.len));
    }
    json_decref(root);
}
