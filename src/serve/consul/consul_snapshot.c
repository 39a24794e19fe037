/* The Consul door: /v1/snapshot.
 *
 * GET streams a backup of the strong map: transport and consistency as Consul's, content our own
 * (docs/disk-format.md, "Snapshot files"). Nothing is held in memory but one piece. The body's end
 * is that of the chunked encoding: a backup that fails in the middle ends without it, and the
 * file's own trailer tells a cut copy, too.
 *
 * PUT, the restore into a running cluster, is refused: docs/adr/0006-backup-and-restore.md.
 *
 * Source: Consul's HTTP API, "Snapshot". */
#include "consul/consul_priv.h"

#include <stdio.h>

/* Made by web_op_new. */
struct snapshot_get {
    struct web_op op; /* first */
    struct node_reading reading;
    struct node_backup backup;
    struct buf held; /* a piece that the client's connection had no room for */
    char index[24];
    char contact[24];
    bool known_leader;
    bool reads;   /* reading is under way */
    bool started; /* backup is */
    bool begun;   /* the answer's head has been sent */
};

static struct node_edge *edge_of(const struct snapshot_get *get)
{
    return get->op.door->web->edge;
}

/* The request is still to be ended. */
static void leave(struct snapshot_get *get)
{
    if (get->started) {
        node_backup_cancel(edge_of(get), &get->backup);
    }
    if (get->reads) {
        node_read_cancel(edge_of(get), &get->reading);
    }
    get->started = false;
    get->reads = false;
    buf_done(&get->held);
}

static void on_cancel(struct web_op *op)
{
    leave(CONTAINER_OF(op, struct snapshot_get, op));
}

static void fail(struct snapshot_get *get, enum err err)
{
    struct web_door *door = get->op.door;
    struct http_request *request = get->op.request;
    bool begun = get->begun;
    leave(get);
    web_op_end(&get->op);
    if (begun) {
        http_request_cancel(request); /* the client sees that the end is missing */
    } else {
        web_refuse(door, request, err, NULL);
    }
}

static void ask_on(struct snapshot_get *get)
{
    enum err err = node_backup_next(edge_of(get), &get->backup);
    if (err != ERR_OK) {
        fail(get, err);
    }
}

static void on_room(struct http_request *request)
{
    struct snapshot_get *get = CONTAINER_OF(request->user, struct snapshot_get, op);
    enum err err = http_respond_write(request, buf_bytes(&get->held));
    if (err != ERR_OK) {
        fail(get, err);
        return;
    }
    buf_clear(&get->held);
    ask_on(get);
}

static void begin(struct snapshot_get *get)
{
    const struct http_field fields[] = {
        {BYTES_LITERAL("X-Consul-Index"), bytes_of_str(get->index)},
        {BYTES_LITERAL("X-Consul-KnownLeader"),
         get->known_leader ? BYTES_LITERAL("true") : BYTES_LITERAL("false")},
        {BYTES_LITERAL("X-Consul-LastContact"), bytes_of_str(get->contact)},
    };
    const struct http_answer answer = {.status = 200,
                                       .content_type = BYTES_LITERAL("application/octet-stream"),
                                       .fields = fields,
                                       .field_count = sizeof(fields) / sizeof(fields[0])};
    get->begun = true;
    http_respond_begin(get->op.request, &answer);
}

static void on_piece(struct node_backup *backup, enum err err, struct bytes piece)
{
    struct snapshot_get *get = CONTAINER_OF(backup, struct snapshot_get, backup);
    struct http_request *request = get->op.request;
    if (err != ERR_OK) {
        fail(get, err);
        return;
    }
    if (!get->begun) {
        begin(get);
    }
    if (piece.len == 0) {
        leave(get);
        web_op_end(&get->op);
        http_respond_end(request);
        return;
    }
    err = http_respond_write(request, piece);
    if (err == ERR_FULL) {
        err = buf_append(&get->held, piece);
        if (err == ERR_OK) {
            http_respond_on_room(request, on_room);
            return;
        }
    }
    if (err != ERR_OK) {
        fail(get, err);
        return;
    }
    ask_on(get);
}

static void on_read(struct node_reading *reading, enum err err,
                    const struct node_snapshot *snapshot)
{
    struct snapshot_get *get = CONTAINER_OF(reading, struct snapshot_get, reading);
    get->reads = false;
    if (err != ERR_OK) {
        fail(get, err);
        return;
    }
    get->known_leader = snapshot->known_leader;
    (void)snprintf(get->index, sizeof(get->index), "%llu", (unsigned long long)snapshot->index);
    (void)snprintf(get->contact, sizeof(get->contact), "%llu",
                   (unsigned long long)snapshot->last_contact_ms);
    err = node_backup_start(edge_of(get), snapshot->index, &get->backup);
    get->started = err == ERR_OK;
    if (err != ERR_OK) {
        fail(get, err);
    }
}

static void get_snapshot(const struct web_ask *ask)
{
    struct snapshot_get *get = web_op_new(ask->door, ask->http, sizeof(*get));
    if (get == NULL) {
        return;
    }
    buf_init(&get->held, NODE_BACKUP_PIECE);
    get->op.cancel = on_cancel;
    get->op.for_client_only = true;
    get->reading.done = on_read;
    get->backup.piece = on_piece;
    web_op_begin(&get->op);
    struct node_call call = web_call(ask->http);
    get->reads = true;
    enum err err = node_read(edge_of(get), &call,
                             web_flag(ask, "stale") ? NODE_STALE : NODE_CONSISTENT, &get->reading);
    if (err != ERR_OK) {
        get->reads = false;
        fail(get, err);
    }
}

static void refuse_put(const struct web_ask *ask)
{
    if (bytes_has_prefix(ask->http->body, BYTES_LITERAL("\x1f\x8b"))) {
        web_refuse_status(ask->door, ask->http, 400, "foreign_snapshot",
                          "this is a compressed archive, as Consul makes them, and not a snapshot "
                          "of Flotilla");
        return;
    }
    web_refuse_status(ask->door, ask->http, 501, "restore_is_offline",
                      "a backup is restored offline, into an empty directory: flotilla snapshot "
                      "restore FILE --data DIR --id N (see docs/operations.md)");
}

void consul_snapshot(const struct web_ask *ask)
{
    if (consul_refuse_scope(ask)) {
        return;
    }
    if (ask->http->method == HTTP1_METHOD_PUT) {
        refuse_put(ask);
    } else {
        get_snapshot(ask);
    }
}
