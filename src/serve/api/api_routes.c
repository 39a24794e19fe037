/* The API door: the gateway's routes.
 *
 * A route as JSON: {"id", "hosts": [..], "host": the first of them, "path", "service",
 * "create_index", "modify_index"}. In a request "host" and "hosts" may both be given, or neither
 * ("*"). */
#include "api/api_priv.h"
#include "check/check.h"
#include "route/route.h"
#include "web/web_json.h"

enum {
    COMMAND_MAX = 64 * 1024
};

/* ---- GET ------------------------------------------------------------------------------------- */

static enum err write_route(void *context, const struct route *route)
{
    struct json_out *out = context;
    json_out_object(out);
    json_out_field_bytes(out, "id", route->id);
    json_out_field_bytes(out, "host", route->host_count > 0 ? route->hosts[0] : BYTES_LITERAL("*"));
    json_out_key(out, "hosts");
    json_out_array(out);
    for (uint32_t i = 0; i < route->host_count; i++) {
        json_out_bytes(out, route->hosts[i]);
    }
    json_out_array_end(out);
    json_out_field_bytes(out, "path", route->path);
    json_out_field_bytes(out, "service", route->service);
    json_out_field_u64(out, "create_index", route->create_index);
    json_out_field_u64(out, "modify_index", route->modify_index);
    json_out_object_end(out);
    return ERR_OK;
}

static enum err render_all(struct api_read *read, struct json_out *out,
                           const struct node_snapshot *snapshot, uint64_t index)
{
    (void)read;
    json_out_object(out);
    json_out_field_u64(out, "index", index);
    json_out_key(out, "routes");
    json_out_array(out);
    enum err err = route_each(snapshot->txn, write_route, out);
    if (err == ERR_OK) {
        json_out_array_end(out);
        json_out_object_end(out);
    }
    return err;
}

static enum err render_one(struct api_read *read, struct json_out *out,
                           const struct node_snapshot *snapshot, uint64_t index)
{
    (void)index;
    struct route route;
    enum err err = route_get(snapshot->txn, read->ask.rest, &route);
    return err == ERR_OK ? write_route(out, &route) : err;
}

static enum err index_of(struct web_read *read, struct table_txn *txn, uint64_t *ret_index)
{
    (void)read;
    return route_index(txn, ret_index);
}

void api_routes(const struct web_ask *ask)
{
    struct api_read *read = api_read_new(ask);
    if (read != NULL) {
        read->render = render_all;
        read->read.index = index_of;
        read->read.topics[0] = (struct web_topic){.table = TABLE_ROUTES, .prefix = true};
        read->read.topic_count = 1;
        api_read_start(read);
    }
}

/* ---- PUT and DELETE -------------------------------------------------------------------------- */

static void answer_index(struct web_write *write, const struct node_result *result)
{
    struct web_ask ask = {.door = write->op.door, .http = write->op.request};
    struct json_out out;
    web_json_begin(&ask, &out);
    json_out_object(&out);
    json_out_field_u64(&out, "index", result->index);
    json_out_object_end(&out);
    web_answer_json(&ask, &out, NULL, 0);
}

static enum err decode_hosts(const json_t *hosts, struct bytes host, struct route *route,
                             struct err_note *note)
{
    if (host.len > 0) {
        route->hosts[route->host_count++] = host;
    }
    for (size_t i = 0; i < json_array_size(hosts); i++) {
        const json_t *one = json_array_get(hosts, i);
        if (!json_is_string(one)) {
            return err_note_set(note, ERR_BAD_INPUT, "hosts must be strings");
        }
        if (bytes_eq(web_json_text(one), host)) {
            continue;
        }
        if (route->host_count == ROUTE_HOSTS_MAX) {
            return err_note_set(note, ERR_TOO_LARGE, "a route has at most %d hosts",
                                ROUTE_HOSTS_MAX);
        }
        route->hosts[route->host_count++] = web_json_text(one);
    }
    return ERR_OK;
}

static enum err decode(const struct web_ask *ask, const json_t *root, struct route *route,
                       struct err_note *note)
{
    struct bytes host = {NULL, 0};
    const json_t *hosts = NULL;
    const struct web_field fields[] = {
        {"id", WEB_STRING, &route->id},
        {"host", WEB_STRING, &host},
        {"hosts", WEB_ARRAY, &hosts},
        {"path", WEB_STRING, &route->path},
        {"service", WEB_STRING, &route->service},
    };
    enum err err = web_json_fields_only(root, fields, sizeof(fields) / sizeof(fields[0]), note);
    if (err == ERR_OK && route->id.len > 0 && !bytes_eq(route->id, ask->rest)) {
        err = err_note_set(note, ERR_BAD_INPUT, "the id in the body is not the one in the path");
    }
    route->id = ask->rest;
    if (err == ERR_OK) {
        err = decode_hosts(hosts, host, route, note);
    }
    if (err == ERR_OK) {
        const char *reason = NULL;
        err = route_check(route, &reason);
        return err == ERR_OK ? ERR_OK : err_note_set(note, err, "%s", reason);
    }
    return err;
}

static void put(const struct web_ask *ask)
{
    json_t *root = NULL;
    struct err_note note = {0};
    struct route route = {.host_count = 0};
    enum err err = web_json_parse(ask->http->body, &root, &note);
    if (err == ERR_OK) {
        err = decode(ask, root, &route, &note);
    }
    if (err != ERR_OK) {
        web_refuse(ask->door, ask->http, err, "%s", note.text);
    } else {
        struct web_write *write = web_op_new(ask->door, ask->http, sizeof(*write));
        struct buf body;
        buf_init(&body, COMMAND_MAX);
        if (write != NULL) {
            write->done = answer_index;
            err = route_put_encode(&route, &body);
            web_write_start(write, err, ROUTE_CMD_PUT, buf_bytes(&body));
        }
        buf_done(&body);
    }
    if (root != NULL) {
        json_decref(root);
    }
}

static void remove_route(const struct web_ask *ask)
{
    struct web_write *write = web_op_new(ask->door, ask->http, sizeof(*write));
    if (write == NULL) {
        return;
    }
    struct buf body;
    buf_init(&body, COMMAND_MAX);
    write->done = answer_index;
    enum err err = route_remove_encode(ask->rest, &body);
    web_write_start(write, err, ROUTE_CMD_REMOVE, buf_bytes(&body));
    buf_done(&body);
}

static void get(const struct web_ask *ask)
{
    struct api_read *read = api_read_new(ask);
    if (read != NULL) {
        read->render = render_one;
        api_read_start(read);
    }
}

void api_route(const struct web_ask *ask)
{
    if (ask->http->method == HTTP1_METHOD_PUT) {
        put(ask);
    } else if (ask->http->method == HTTP1_METHOD_DELETE) {
        remove_route(ask);
    } else {
        get(ask);
    }
}
