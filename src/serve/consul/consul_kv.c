/* The Consul door: /v1/kv.
 *
 * Source: Consul's HTTP API, "KV Store". Absent: acquire and release, which need sessions. */
#include "check/check.h"
#include "consul/consul_priv.h"
#include "http/http_query.h"
#include "kv/kv.h"
#include "text/text.h"

enum {
    COMMAND_MAX = KV_VALUE_MAX + KV_KEY_MAX + 256
};

/* ---- GET ------------------------------------------------------------------------------------- */

static enum err write_row(void *context, struct bytes key, const struct kv_record *record)
{
    struct json_out *out = context;
    json_out_object(out);
    json_out_field_u64(out, "LockIndex", record->lock_index);
    json_out_field_bytes(out, "Key", key);
    json_out_field_u64(out, "Flags", record->flags);
    json_out_key(out, "Value");
    if (record->value.len == 0) {
        json_out_null(out);
    } else {
        json_out_base64(out, record->value);
    }
    if (record->session.len > 0) {
        json_out_field_bytes(out, "Session", record->session);
    }
    json_out_field_u64(out, "CreateIndex", record->create_index);
    json_out_field_u64(out, "ModifyIndex", record->modify_index);
    json_out_object_end(out);
    return out->err;
}

struct key_list {
    struct json_out *out;
    bool any;
};

static enum err write_key(void *context, struct bytes key)
{
    struct key_list *list = context;
    list->any = true;
    json_out_bytes(list->out, key);
    return list->out->err;
}

static enum err write_tree_row(void *context, struct bytes key, const struct kv_record *record)
{
    struct key_list *list = context;
    list->any = true;
    return write_row(list->out, key, record);
}

/* Writes the JSON; ERR_NOT_FOUND: no such key, or nothing under the prefix. */
static enum err render(struct consul_read *read, struct consul_view *view)
{
    struct key_list list = {.out = view->out};
    struct kv_record record;
    struct bytes key = read->ask.rest;
    json_out_array(view->out);
    enum err err = ERR_OK;
    if (read->keys) {
        err = kv_keys(view->txn, key, read->separator, write_key, &list);
    } else if (read->recurse) {
        err = kv_scan(view->txn, key, write_tree_row, &list);
    } else {
        err = kv_get(view->txn, key, &record);
        list.any = err == ERR_OK;
        err = err == ERR_OK ? write_row(view->out, key, &record) : err;
    }
    json_out_array_end(view->out);
    return err == ERR_OK && !list.any ? ERR_NOT_FOUND : err;
}

static void answer_raw(struct consul_read *read, const struct kv_record *record,
                       struct consul_headers *headers)
{
    CHECK(headers->count + 2 <= sizeof(headers->fields) / sizeof(headers->fields[0]));
    headers->fields[headers->count++] =
        (struct http_field){BYTES_LITERAL("X-Content-Type-Options"), BYTES_LITERAL("nosniff")};
    headers->fields[headers->count++] =
        (struct http_field){BYTES_LITERAL("Content-Security-Policy"), BYTES_LITERAL("sandbox")};
    struct http_answer answer = {
        .status = 200,
        .content_type = BYTES_LITERAL("text/plain; charset=utf-8"),
        .fields = headers->fields,
        .field_count = headers->count,
        .body = record->value,
    };
    http_respond(read->ask.http, &answer);
}

/* 404 carries the index: a client that blocks on it waits for the key to appear. */
static void answer_missing(struct consul_read *read, const struct consul_headers *headers)
{
    struct http_answer answer = {
        .status = 404,
        .fields = headers->fields,
        .field_count = headers->count,
    };
    http_respond(read->ask.http, &answer);
}

static void answer(struct web_read *web_read, const struct node_snapshot *snapshot, uint64_t index)
{
    struct consul_read *read = CONTAINER_OF(web_read, struct consul_read, read);
    struct consul_headers headers;
    struct json_out out;
    struct kv_record record;
    struct consul_view view = {.txn = snapshot->txn, .cfg = consul_cfg(&read->ask), .out = &out};
    consul_headers_make(&headers, read, snapshot, index);
    web_json_begin(&read->ask, &out);
    bool raw = read->raw && !read->keys && !read->recurse;
    enum err err = raw ? kv_get(snapshot->txn, read->ask.rest, &record) : render(read, &view);
    if (err == ERR_NOT_FOUND) {
        answer_missing(read, &headers);
    } else if (err != ERR_OK && out.err == ERR_OK) {
        web_refuse(read->ask.door, read->ask.http, err, NULL);
    } else if (raw) {
        answer_raw(read, &record, &headers);
    } else {
        web_answer_json(&read->ask, &out, headers.fields, headers.count);
    }
}

static enum err index_of(struct web_read *web_read, struct table_txn *txn, uint64_t *ret_index)
{
    const struct consul_read *read = CONTAINER_OF(web_read, struct consul_read, read);
    return read->keys || read->recurse ? kv_index_of_prefix(txn, read->ask.rest, ret_index)
                                       : kv_index_of_key(txn, read->ask.rest, ret_index);
}

static void get(const struct web_ask *ask)
{
    struct bytes query = ask->http->query;
    bool keys = http_query_has(query, "keys");
    bool recurse = http_query_has(query, "recurse");
    if (ask->rest.len == 0 && !keys && !recurse) {
        web_refuse(ask->door, ask->http, ERR_BAD_INPUT, "Missing key name");
        return;
    }
    struct consul_read *read = consul_read_new(ask);
    if (read == NULL) {
        return;
    }
    read->keys = keys;
    read->recurse = recurse;
    read->raw = http_query_has(query, "raw");
    (void)web_param(ask, "separator", &read->separator);
    read->render = render;
    read->read.answer = answer;
    read->read.index = index_of;
    consul_read_watch(read, TABLE_KV, ask->rest, keys || recurse);
    consul_read_start(read);
}

/* ---- PUT and DELETE -------------------------------------------------------------------------- */

static void answer_flag(struct web_write *write, const struct node_result *result)
{
    struct web_ask ask = {.door = write->op.door, .http = write->op.request};
    web_answer_text(&ask, 200, "application/json", result->verdict.value != 0 ? "true" : "false");
}

static void answer_true(struct web_write *write, const struct node_result *result)
{
    (void)result;
    struct web_ask ask = {.door = write->op.door, .http = write->op.request};
    web_answer_text(&ask, 200, "application/json", "true");
}

/* An unsigned number in the query. False: refused. */
static bool number_param(const struct web_ask *ask, const char *name, bool *ret_has,
                         uint64_t *ret_number)
{
    struct bytes value;
    *ret_has = web_param(ask, name, &value);
    if (*ret_has && text_parse_u64(value, ret_number) != ERR_OK) {
        web_refuse(ask->door, ask->http, ERR_BAD_INPUT, "Invalid %s: \"%.*s\"", name,
                   BYTES_PRINT(value));
        return false;
    }
    return true;
}

static bool refuse_locks(const struct web_ask *ask)
{
    if (http_query_has(ask->http->query, "acquire") ||
        http_query_has(ask->http->query, "release")) {
        web_refuse_status(ask->door, ask->http, 400, "not_built",
                          "acquire and release need sessions, which are not built into this "
                          "version of Flotilla");
        return true;
    }
    return false;
}

static void put(const struct web_ask *ask)
{
    struct kv_put put = {.key = ask->rest, .value = ask->http->body};
    bool has_flags = false;
    if (refuse_locks(ask) || !number_param(ask, "flags", &has_flags, &put.flags) ||
        !number_param(ask, "cas", &put.has_cas, &put.cas)) {
        return;
    }
    if (put.value.len > KV_VALUE_MAX) {
        web_refuse(ask->door, ask->http, ERR_TOO_LARGE,
                   "Request body(%zu bytes) too large, max size: %d bytes", put.value.len,
                   KV_VALUE_MAX);
        return;
    }
    struct web_write *write = web_op_new(ask->door, ask->http, sizeof(*write));
    if (write == NULL) {
        return;
    }
    struct buf body;
    buf_init(&body, COMMAND_MAX);
    write->done = answer_flag;
    enum err err = kv_put_encode(&put, &body);
    web_write_start(write, err, KV_CMD_PUT, buf_bytes(&body));
    buf_done(&body);
}

static void delete (const struct web_ask *ask)
{
    struct kv_delete del = {.key = ask->rest};
    bool recurse = http_query_has(ask->http->query, "recurse");
    if (!number_param(ask, "cas", &del.has_cas, &del.cas)) {
        return;
    }
    if (recurse && del.has_cas) {
        web_refuse(ask->door, ask->http, ERR_BAD_INPUT,
                   "Cannot use cas with recurse, conflicting semantics.");
        return;
    }
    struct web_write *write = web_op_new(ask->door, ask->http, sizeof(*write));
    if (write == NULL) {
        return;
    }
    struct buf body;
    buf_init(&body, COMMAND_MAX);
    if (recurse) {
        write->done = answer_true; /* the result's value is a number of keys */
        enum err err = kv_delete_tree_encode(ask->rest, &body);
        web_write_start(write, err, KV_CMD_DELETE_TREE, buf_bytes(&body));
    } else {
        write->done = answer_flag;
        enum err err = kv_delete_encode(&del, &body);
        web_write_start(write, err, KV_CMD_DELETE, buf_bytes(&body));
    }
    buf_done(&body);
}

void consul_kv(const struct web_ask *ask)
{
    if (ask->rest.len > KV_KEY_MAX) {
        web_refuse(ask->door, ask->http, ERR_TOO_LARGE, "a key has at most %d bytes", KV_KEY_MAX);
        return;
    }
    if (ask->http->method == HTTP1_METHOD_GET || ask->http->method == HTTP1_METHOD_HEAD) {
        get(ask);
        return;
    }
    if (consul_refuse_scope(ask)) {
        return;
    }
    bool tree =
        ask->http->method == HTTP1_METHOD_DELETE && http_query_has(ask->http->query, "recurse");
    if (ask->rest.len == 0 && !tree) {
        web_refuse(ask->door, ask->http, ERR_BAD_INPUT, "Missing key name");
    } else if (ask->http->method == HTTP1_METHOD_PUT) {
        put(ask);
    } else {
        delete (ask);
    }
}
