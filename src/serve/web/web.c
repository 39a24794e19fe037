/* Web: mounting, dispatch, and operations under way. */
#include "web/web.h"

#include "check/check.h"
#include "web/web_read.h"

#include <stdio.h>

enum {
    BODY_MAX = 1024 * 1024,
    /* "00-" and 32 hexadecimal digits of the trace id (W3C Trace Context, section 3.2). */
    TRACE_ID_AT = 3,
    TRACE_ID_DIGITS = 32,
    TRACEPARENT_MIN = 55
};

const struct web_config WEB_CONFIG_DEFAULT = {
    .http =
        {
            .http1 =
                {
                    .body_max_bytes = BODY_MAX,
                    .start_line_max = HTTP1_START_LINE_MAX,
                    .field_block_max = HTTP1_FIELD_BLOCK_MAX,
                    .field_count_max = HTTP1_FIELD_COUNT_MAX,
                    .chunk_line_max = HTTP1_CHUNK_LINE_MAX,
                    .chunk_ext_max = HTTP1_CHUNK_EXT_MAX,
                    .trailer_block_max = HTTP1_TRAILER_BLOCK_MAX,
                    .underscore = HTTP1_UNDERSCORE_DROP,
                },
            .answer_max_bytes = 64 * 1024 * 1024,
            .arena_max_bytes = 4 * 1024 * 1024,
            .connections_max = 16384,
            .requests_max = 1000000,
            .idle_timeout = CLK_S(120),
            .header_timeout = CLK_S(15),
            .body_timeout = CLK_S(60),
            .write_timeout = CLK_S(30),
        },
    .waiting_max = WEB_WAITING_MAX,
};

/* ---- dispatch -------------------------------------------------------------------------------- */

static struct web_door *door_of(const struct web *web, struct bytes path)
{
    const struct web_mount *best = NULL;
    for (size_t i = 0; i < web->mount_count; i++) {
        const struct web_mount *mount = &web->mounts[i];
        if (bytes_has_prefix(path, mount->prefix) &&
            (best == NULL || mount->prefix.len > best->prefix.len)) {
            best = mount;
        }
    }
    return best == NULL ? NULL : best->door;
}

static void on_request(struct http_request *request)
{
    struct web *web = CONTAINER_OF(request->server, struct web, server);
    struct web_door *door = door_of(web, request->path);
    if (door == NULL) {
        http_respond_text(request, 404, "nothing is served at this path\n");
        return;
    }
    door->on_request(door, request);
}

/* ---- operations ------------------------------------------------------------------------------ */

static void give_up(struct web_op *op)
{
    struct http_request *request = op->request;
    op->cancel(op);
    web_op_end(op);
    http_request_cancel(request);
}

static void on_gone(struct http_request *request)
{
    struct web_op *op = request->user;
    if (op != NULL && op->for_client_only) {
        give_up(op);
    }
}

void *web_op_new(struct web_door *door, struct http_request *request, size_t size)
{
    CHECK(size >= sizeof(struct web_op));
    void *memory = arena_alloc(request->arena, size);
    if (memory == NULL) {
        web_refuse(door, request, ERR_FULL, "the request needs too much memory");
        return NULL;
    }
    memset(memory, 0, size);
    struct web_op *op = memory;
    op->door = door;
    op->request = request;
    return memory;
}

void web_op_begin(struct web_op *op)
{
    CHECK(op->cancel != NULL);
    CHECK(op->request->user == NULL);
    op->request->user = op;
    op->request->on_gone = on_gone;
    list_push_back(&op->door->web->ops, &op->link);
}

void web_op_end(struct web_op *op)
{
    CHECK(op->request->user == op);
    op->request->user = NULL;
    list_remove(&op->link);
}

struct node_call web_call(const struct http_request *request)
{
    struct node_call call = {.principal = BYTES_LITERAL("anonymous")};
    struct bytes parent = http_request_header(request, BYTES_LITERAL("traceparent"));
    if (parent.len < TRACEPARENT_MIN) {
        return call;
    }
    for (size_t i = 0; i < TRACE_ID_DIGITS; i++) {
        uint8_t c = parent.data[TRACE_ID_AT + i];
        bool digit = c >= '0' && c <= '9';
        if (!digit && (c < 'a' || c > 'f')) {
            return (struct node_call){.principal = call.principal};
        }
        uint8_t value = (uint8_t)(digit ? c - '0' : c - 'a' + 10);
        call.trace_id[i / 2] = (uint8_t)(call.trace_id[i / 2] << 4 | value);
    }
    return call;
}

/* ---- life ------------------------------------------------------------------------------------ */

void web_open(struct web *web, struct node_edge *edge, const struct web_config *config)
{
    CHECK(config->waiting_max > 0);
    *web = (struct web){.edge = edge, .config = *config};
    web->node = node_edge_node(edge);
    web->loop = node_edge_loop(edge);
    list_init(&web->ops);
    http_server_init(&web->server, web->loop, &config->http, on_request);
    web_waits_init(web);
}

void web_mount(struct web *web, struct bytes prefix, struct web_door *door)
{
    CHECK(web->mount_count < WEB_MOUNTS_MAX);
    CHECK(door->on_request != NULL);
    door->web = web;
    web->mounts[web->mount_count++] = (struct web_mount){.prefix = prefix, .door = door};
}

void web_metrics(struct web *web, struct metrics_set *set)
{
    const struct http_server_stats *stats = &web->server.stats;

    const struct {
        enum metric_kind kind;
        const char *name;
        const char *help;
        const void *metric;
    } rows[] = {
        {METRIC_COUNTER, "flotilla_http_connections_total", "Connections accepted.",
         &stats->connections},
        {METRIC_COUNTER, "flotilla_http_requests_total", "Complete requests.", &stats->requests},
        {METRIC_COUNTER, "flotilla_http_timeouts_total",
         "Connections closed because a time was over.", &stats->timeouts},
        {METRIC_COUNTER, "flotilla_http_busy_total", "Connections refused: too many.",
         &stats->busy},
        {METRIC_COUNTER, "flotilla_http_gone_total", "Clients that left before their answer.",
         &stats->gone},
        {METRIC_GAUGE, "flotilla_http_open", "Open connections.", &stats->open},
        {METRIC_GAUGE, "flotilla_http_waiting", "Requests that wait for a change.", &web->waiting},
        {METRIC_COUNTER, "flotilla_http_woken_total", "Waiting requests that were looked at again.",
         &web->woken},
    };

    _Static_assert(sizeof(rows) / sizeof(rows[0]) == sizeof(web->entries) / sizeof(web->entries[0]),
                   "one entry per row");
    (void)snprintf(web->labels, sizeof(web->labels), "edge=\"%u\"", node_edge_number(web->edge));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        web->entries[i] = (struct metric_entry){
            .kind = rows[i].kind,
            .name = rows[i].name,
            .help = rows[i].help,
            .labels = web->labels,
            .metric = rows[i].metric,
        };
        metrics_add(set, &web->entries[i]);
    }
}

static void on_server_closed(struct http_server *server)
{
    struct web *web = CONTAINER_OF(server, struct web, server);
    web->on_closed(web);
}

void web_close(struct web *web, void (*on_closed)(struct web *web))
{
    CHECK(!web->closing);
    web->closing = true;
    web->on_closed = on_closed;
    while (!list_empty(&web->ops)) {
        give_up(CONTAINER_OF(web->ops.next, struct web_op, link));
    }
    web_waits_done(web);
    http_server_close(&web->server, on_server_closed);
}
