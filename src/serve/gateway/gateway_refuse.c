/* The gateway's own answers: why a request was not passed on.
 *
 * Place: serve/gateway. One form for all of them: a status, the header X-Flotilla-Reason, and a
 * JSON body {"error", "detail", "service", "request_id"}. */
#include "gateway/gateway_priv.h"
#include "json/json_out.h"

enum {
    REFUSAL_MAX = 4096
};

static const struct {
    const char *name;
    const char *text;
    uint16_t status;
} reasons[GATEWAY_REASON_COUNT] = {

#define X(name, text, status, sentence) {text, sentence, status},
    GATEWAY_REASONS(X)
#undef X
};

const char *gateway_reason_name(enum gateway_reason reason)
{
    CHECK(reason < GATEWAY_REASON_COUNT);
    return reasons[reason].name;
}

const char *gateway_reason_text(enum gateway_reason reason)
{
    CHECK(reason < GATEWAY_REASON_COUNT);
    return reasons[reason].text;
}

uint16_t gateway_reason_status(enum gateway_reason reason)
{
    CHECK(reason < GATEWAY_REASON_COUNT);
    return reasons[reason].status;
}

static enum err write_body(struct buf *to, const struct gw_exchange *ex,
                           const struct gw_refusal *refusal)
{
    struct json_out out;
    json_out_init(&out, to, false);
    json_out_object(&out);
    json_out_field_str(&out, "error", refusal->code);
    json_out_field_str(&out, "detail", refusal->detail);
    json_out_key(&out, "service");
    if (ex->service_name.len > 0) {
        json_out_bytes(&out, ex->service_name);
    } else {
        json_out_null(&out);
    }
    json_out_field_bytes(&out, "request_id", ex->request_id);
    json_out_object_end(&out);
    return out.err != ERR_OK ? out.err : buf_append(to, BYTES_LITERAL("\n"));
}

static enum err write_head(struct buf *to, const struct gw_exchange *ex,
                           const struct gw_refusal *refusal, size_t body_len)
{
    struct writer w = writer_of(to);
    http1_write_status_line(&w, refusal->status);
    http1_write_header(&w, HTTP1_HEADER_DATE, gw_edge_date(ex->edge));
    http1_write_header(&w, HTTP1_HEADER_CONTENT_TYPE, BYTES_LITERAL("application/json"));
    http1_write_header_u64(&w, HTTP1_HEADER_CONTENT_LENGTH, body_len);
    http1_write_field(&w, BYTES_LITERAL("X-Flotilla-Reason"), bytes_of_str(refusal->code));
    http1_write_header(&w, HTTP1_HEADER_X_REQUEST_ID, ex->request_id);
    if (refusal->status == 503) {
        http1_write_header(&w, HTTP1_HEADER_RETRY_AFTER, BYTES_LITERAL("1"));
    }
    if (!ex->keep_alive) {
        http1_write_header(&w, HTTP1_HEADER_CONNECTION, BYTES_LITERAL("close"));
    } else if (ex->http10) {
        http1_write_header(&w, HTTP1_HEADER_CONNECTION, BYTES_LITERAL("keep-alive"));
    }
    http1_write_end(&w);
    return w.err;
}

/* Whether the client's connection can go on although its request's body was not passed on: a small
 * rest is read and dropped, unless the client may have decided not to send it. */
static bool can_drain(const struct gw_exchange *ex)
{
    const struct http1_body *body = &ex->client->body;
    return body->done || (body->framing == HTTP1_FRAMING_LENGTH && body->left <= GW_DRAIN_MAX &&
                          !ex->expect_continue);
}

void gw_refuse(struct gw_exchange *ex, const struct gw_refusal *refusal)
{
    struct gw_client *client = ex->client;
    CHECK(!ex->answer_begun && ex->upstream == NULL && refusal->status != 0);
    ex->status = refusal->status;
    ex->reason = refusal->code;
    ex->keep_alive = ex->keep_alive && can_drain(ex) && !ex->edge->stopping;
    if (ex->request_id.len == 0) {
        gw_request_id_make(ex);
    }
    struct buf body;
    struct buf head;
    buf_init(&body, REFUSAL_MAX);
    buf_init(&head, REFUSAL_MAX);
    enum err err = write_body(&body, ex, refusal);
    if (err == ERR_OK) {
        err = write_head(&head, ex, refusal, body.len);
    }
    CHECK(err == ERR_OK); /* all parts are bounded far below the buffers */
    struct gw_flow flow = gw_client_flow(client);
    gw_flow_put(&flow, buf_bytes(&head));
    if (!ex->head_only) {
        gw_flow_put(&flow, buf_bytes(&body));
    }
    buf_done(&body);
    buf_done(&head);
    ex->bytes_out += flow.bytes;
    bool sent = !flow.failed;
    bool keep_alive = ex->keep_alive;
    if (sent) {
        gw_flow_end(&flow);
    } else {
        gw_flow_drop(&flow);
    }
    gw_exchange_free(ex);
    if (sent) {
        gw_client_answered(client, keep_alive);
    } else {
        gw_client_abort(client);
    }
}
