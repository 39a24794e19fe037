/* Pieces on their way out: buffers, flows, and the relaying of bodies.
 *
 * Place: serve/gateway. Heads and small content are copied into one buffer, so that most messages
 * leave as one plain send; larger content is sent from the received chunk, which is kept until
 * then.
 *
 * Source: RFC 9112 section 7.1 (chunks). */
#include "gateway/gateway_priv.h"

struct gw_out *gw_out_get(struct gateway_edge *edge, size_t cap)
{
    struct gw_out *out = pool_get(&edge->out_pool);
    if (out == NULL) {
        return NULL;
    }
    out->edge = edge;
    out->owner = NULL;
    out->chunk = NULL;
    out->len = 0;
    out->cap = sizeof(out->room);
    out->data = out->room;
    out->sending = false;
    out->held = false;
    if (cap > out->cap) {
        out->data = mem_alloc(cap);
        out->cap = cap;
    }
    http1_pieces_init(&out->pieces, out->iov, GW_IOV_MAX);
    edge->outs++;
    if (edge->outs > edge->outs_peak) {
        edge->outs_peak = edge->outs;
    }
    return out;
}

void gw_out_free(struct gw_out *out)
{
    struct gateway_edge *edge = out->edge;
    CHECK(!out->sending && edge->outs > 0);
    if (out->chunk != NULL) {
        tcp_chunk_release(edge->loop, out->chunk);
    }
    if (out->data != out->room) {
        mem_free(out->data);
    }
    edge->outs--;
    pool_put(&edge->out_pool, out);
}

void gw_out_sent(struct gw_out *out)
{
    CHECK(out->sending);
    out->sending = false;
    if (!out->held) {
        gw_out_free(out);
    }
}

void gw_out_send(struct gw_out *out, struct tcp_conn *to, void *owner, gw_sent_fn *on_sent)
{
    CHECK(!out->sending && out->len > 0);
    http1_pieces_init(&out->pieces, out->iov, GW_IOV_MAX);
    http1_pieces_add(&out->pieces, bytes_of(out->data, out->len));
    out->owner = owner;
    out->sending = true;
    tcp_send(to, &out->req, out->iov, 1, on_sent);
}

/* --- flows --- */

static bool flow_open(struct gw_flow *flow, size_t cap)
{
    if (flow->out == NULL && !flow->failed) {
        flow->out = gw_out_get(flow->edge, cap);
        flow->failed = flow->out == NULL;
    }
    return !flow->failed;
}

void gw_flow_end(struct gw_flow *flow)
{
    struct gw_out *out = flow->out;
    if (out == NULL) {
        return;
    }
    flow->out = NULL;
    if (out->pieces.count == 0) {
        gw_out_free(out);
        return;
    }
    CHECK(!out->pieces.full);
    flow->sent = true;
    out->owner = flow->owner;
    out->sending = true;
    tcp_send(flow->to, &out->req, out->iov, (int)out->pieces.count, flow->on_sent);
}

void gw_flow_drop(struct gw_flow *flow)
{
    if (flow->out != NULL) {
        gw_out_free(flow->out);
        flow->out = NULL;
    }
}

uint8_t *gw_flow_reserve(struct gw_flow *flow, size_t len)
{
    if (flow->out != NULL && flow->out->cap - flow->out->len < len) {
        gw_flow_end(flow);
    }
    return flow_open(flow, len) ? flow->out->data + flow->out->len : NULL;
}

void gw_flow_advance(struct gw_flow *flow, size_t len)
{
    struct gw_out *out = flow->out;
    CHECK(out != NULL && len <= out->cap - out->len);
    http1_pieces_add(&out->pieces, bytes_of(out->data + out->len, len));
    out->len += len;
    flow->bytes += len;
}

void gw_flow_put(struct gw_flow *flow, struct bytes bytes)
{
    while (bytes.len > 0 && flow_open(flow, 0)) {
        struct gw_out *out = flow->out;
        size_t part = out->cap - out->len;
        if (part == 0 || out->pieces.count == GW_IOV_MAX) {
            gw_flow_end(flow);
            continue;
        }
        part = part < bytes.len ? part : bytes.len;
        memcpy(out->data + out->len, bytes.data, part);
        gw_flow_advance(flow, part);
        bytes = bytes_from(bytes, part);
    }
}

/* --- bodies --- */

struct runs {
    struct bytes list[GW_RUNS_MAX];
    size_t count;
    size_t total;
};

/* Decodes until the data, the body or the list is at its end. */
static enum err decode_runs(struct http1_body *body, struct bytes data, size_t *used,
                            struct runs *runs)
{
    runs->count = 0;
    runs->total = 0;
    while (*used < data.len && !body->done && runs->count < GW_RUNS_MAX) {
        size_t step = 0;
        struct bytes content = {NULL, 0};
        enum err err = http1_body_feed(body, bytes_from(data, *used), &step, &content);
        if (err != ERR_OK) {
            return err;
        }
        *used += step;
        if (content.len > 0) {
            runs->list[runs->count++] = content;
            runs->total += content.len;
        }
    }
    return ERR_OK;
}

/* Sends the content from where it lies, if the chunk can be kept. */
static bool put_kept(struct gw_flow *flow, const struct runs *runs, struct tcp_conn *from)
{
    if (!flow_open(flow, 0)) {
        return false;
    }
    /* A line break and the end of the body may follow as one piece. */
    if (flow->out->chunk != NULL || flow->out->pieces.count + runs->count + 1 > GW_IOV_MAX) {
        return false;
    }
    flow->out->chunk = tcp_recv_keep(from);
    if (flow->out->chunk == NULL) {
        return false;
    }
    for (size_t i = 0; i < runs->count; i++) {
        http1_pieces_add(&flow->out->pieces, runs->list[i]);
    }
    flow->bytes += runs->total;
    return true;
}

static void put_runs(struct gw_flow *flow, const struct runs *runs, bool chunked,
                     struct tcp_conn *from)
{
    if (chunked) {
        uint8_t line[HTTP1_CHUNK_HEAD_MAX];
        size_t len = http1_chunk_head(runs->total, line);
        gw_flow_put(flow, bytes_of(line, len));
    }
    if (from == NULL || runs->total <= GW_COPY_MAX || !put_kept(flow, runs, from)) {
        for (size_t i = 0; i < runs->count; i++) {
            gw_flow_put(flow, runs->list[i]);
        }
    }
    if (chunked) {
        gw_flow_put(flow, HTTP1_CRLF);
    }
}

enum err gw_relay(struct gw_flow *flow, struct http1_body *body, bool chunked, struct bytes data,
                  struct tcp_conn *from, size_t *ret_used)
{
    size_t used = 0;
    while (used < data.len && !body->done) {
        struct runs runs;
        enum err err = decode_runs(body, data, &used, &runs);
        if (err != ERR_OK) {
            return err;
        }
        if (runs.total > 0) {
            /* Only the last batch may keep the chunk: a full list means that runs are small. */
            put_runs(flow, &runs, chunked, runs.count < GW_RUNS_MAX ? from : NULL);
        }
    }
    if (body->done && chunked) {
        gw_flow_put(flow, HTTP1_LAST_CHUNK);
    }
    *ret_used = used;
    return flow->failed ? ERR_FULL : ERR_OK;
}
