/* The way back: the upstream's answer, its head, its body, and what follows from its end.
 *
 * Place: serve/gateway. An answer that is not correct HTTP is never repaired: when nothing of it
 * was passed on, the client gets 502; when something was, the client's connection is cut, so that
 * nobody takes a part for the whole.
 *
 * Interim answers (1xx) are not passed on: 100 (Continue) was the gateway's to give, and no other
 * is needed to understand the final one.
 *
 * Source: RFC 9112 section 6.3 (framing of answers) and 9.3 (reuse of connections). */
#include "gateway/gateway_priv.h"

/* The answer is complete, in the client's send queue. extra: the upstream sent more than that. */
static void answered(struct gw_exchange *ex, bool extra)
{
    struct gw_client *client = ex->client;
    struct gw_upstream *upstream = ex->upstream;
    bool reusable = ex->answer_keep_alive && !extra && !ex->send_failed && client->body.done &&
                    tcp_unsent(&upstream->tcp) == 0;
    bool keep_alive = ex->keep_alive && client->body.done;
    ex->upstream = NULL;
    gw_upstream_release(upstream, reusable);
    gw_exchange_free(ex);
    gw_client_answered(client, keep_alive);
}

/* --- heads --- */

struct found_head {
    const struct http1_head *head;
    const uint8_t *data;
};

static struct http1_asked what_was_asked(const struct gw_exchange *ex)
{
    return (struct http1_asked){.head = ex->head_only};
}

/* ERR_OK: a head is complete, interim or not. */
static enum err next_head(struct gw_exchange *ex, struct bytes data, size_t *ret_used,
                          struct found_head *ret_found)
{
    struct http1_head *head = &ex->edge->head;
    struct gw_partial *partial = ex->partial;
    enum err err;
    if (partial == NULL) {
        http1_head_init_response(head, &ex->edge->limits.http1, what_was_asked(ex));
        err = http1_head_parse(head, data.data, data.len);
        *ret_used = head->head_len;
        *ret_found = (struct found_head){head, data.data};
        if (err != ERR_INCOMPLETE) {
            return err;
        }
        partial = gw_partial_new();
        partial->head = *head;
        ex->partial = partial;
    }
    size_t before = partial->bytes.len;
    enum err kept = buf_append(&partial->bytes, data);
    CHECK(kept == ERR_OK); /* a head's limits are far below the buffer's */
    if (before == 0) {
        return ERR_INCOMPLETE;
    }
    err = http1_head_parse(&partial->head, partial->bytes.data, partial->bytes.len);
    *ret_used = partial->head.head_len - before;
    *ret_found = (struct found_head){&partial->head, partial->bytes.data};
    return err;
}

static void take_head(struct gw_exchange *ex, struct gw_flow *flow, const struct found_head *found)
{
    const struct http1_head *head = found->head;
    struct gw_client *client = ex->client;
    http1_body_init(&ex->answer, head, &ex->edge->limits.http1);
    bool unbounded = head->framing == HTTP1_FRAMING_CHUNKED || head->framing == HTTP1_FRAMING_CLOSE;
    ex->status = head->status;
    ex->chunked_answer = unbounded && !ex->http10;
    ex->close_marks_end = unbounded && ex->http10;
    /* An answer before the end of the request: what is still to come of it will not be waited
     * for. */
    ex->keep_alive = ex->keep_alive && !ex->close_marks_end && client->body.done &&
                     !client->ended && !ex->edge->stopping;
    ex->answer_keep_alive = head->keep_alive && head->framing != HTTP1_FRAMING_CLOSE;
    gw_answer_build(ex, flow, head, found->data);
    ex->answer_begun = true;
    ex->phase = GW_ANSWERING;
}

/* Reads up to the end of the final head. ERR_BAD_INPUT: *ret_detail says why. */
static enum err read_heads(struct gw_exchange *ex, struct gw_flow *flow, struct bytes data,
                           size_t *ret_used, const char **ret_detail)
{
    size_t used = 0;
    while (used < data.len) {
        size_t step = 0;
        struct found_head found;
        enum err err = next_head(ex, bytes_from(data, used), &step, &found);
        if (err == ERR_BAD_INPUT) {
            *ret_detail = http1_reason_text((enum http1_reason)found.head->reason);
        }
        if (err != ERR_OK) {
            return err;
        }
        used += step;
        bool interim = found.head->interim;
        if (!interim) {
            take_head(ex, flow, &found);
        }
        gw_partial_free(ex->partial);
        ex->partial = NULL;
        if (!interim) {
            *ret_used = used;
            return flow->failed ? ERR_FULL : ERR_OK;
        }
        ex->interim++;
        if (ex->interim > HTTP1_INTERIM_MAX) {
            *ret_detail = "too many interim answers";
            return ERR_BAD_INPUT;
        }
    }
    return ERR_INCOMPLETE;
}

/* --- the whole --- */

static void answer_failed(struct gw_exchange *ex, struct gw_flow *flow, enum err err,
                          const char *detail)
{
    gw_flow_drop(flow);
    if (!flow->sent && ex->bytes_out == 0) {
        ex->answer_begun = false;
    }
    gw_exchange_fail(
        ex, err == ERR_FULL ? GATEWAY_REASON_OVERLOAD : GATEWAY_REASON_UPSTREAM_BAD_RESPONSE,
        detail);
}

void gw_exchange_answer(struct gw_exchange *ex, struct bytes data)
{
    struct gw_upstream *upstream = ex->upstream;
    struct gw_flow flow = gw_client_flow(ex->client);
    size_t used = 0;
    enum err err = ERR_OK;
    const char *detail = NULL;
    ex->progress = loop_now(ex->edge->loop);
    ex->got_bytes = true;
    if (ex->phase == GW_WAITING) {
        err = read_heads(ex, &flow, data, &used, &detail);
    }
    if (err == ERR_INCOMPLETE) {
        return;
    }
    if (err == ERR_OK && !ex->answer.done) {
        size_t step = 0;
        err = gw_relay(&flow, &ex->answer, ex->chunked_answer, bytes_from(data, used),
                       &upstream->tcp, &step);
        used += step;
        if (err == ERR_BAD_INPUT) {
            detail = http1_reason_text((enum http1_reason)ex->answer.reason);
        }
    }
    if (err != ERR_OK) {
        answer_failed(ex, &flow, err, detail);
        return;
    }
    bool first = ex->bytes_out == 0;
    ex->bytes_out += flow.bytes;
    gw_flow_end(&flow);
    if (ex->answer.done) {
        answered(ex, used < data.len);
        return;
    }
    if (tcp_unsent(&ex->client->tcp) > GW_UNSENT_HIGH) {
        gw_upstream_pause(upstream);
    }
    if (first) {
        gw_client_wake(ex->client); /* another deadline holds from now on */
    }
}

void gw_exchange_upstream_end(struct gw_exchange *ex, enum err err)
{
    if (ex->phase != GW_ANSWERING) {
        gw_exchange_fail(ex, GATEWAY_REASON_UPSTREAM_CLOSED, NULL);
        return;
    }
    if (err != ERR_OK || http1_body_end_of_input(&ex->answer) != ERR_OK) {
        gw_exchange_fail(ex, GATEWAY_REASON_UPSTREAM_BROKEN, NULL);
        return;
    }
    struct gw_flow flow = gw_client_flow(ex->client);
    if (ex->chunked_answer) {
        gw_flow_put(&flow, HTTP1_LAST_CHUNK);
    }
    if (flow.failed) {
        gw_exchange_fail(ex, GATEWAY_REASON_OVERLOAD, NULL);
        return;
    }
    ex->bytes_out += flow.bytes;
    gw_flow_end(&flow);
    answered(ex, true);
}
