/* One request: routing, attempts, its body on the way to the upstream, its end.
 *
 * Place: serve/gateway. gateway_priv.h has the phases; gateway_answer.c the way back. */
#include "gateway/gateway_priv.h"
#include "route/route.h"

/* --- life --- */

static struct gw_exchange *exchange_new(struct gw_client *client)
{
    struct gateway_edge *edge = client->edge;
    struct gw_exchange *ex = pool_get(&edge->exchange_pool);
    CHECK(ex != NULL && client->exchange == NULL);
    *ex = (struct gw_exchange){.edge = edge, .client = client, .since = client->since};
    ex->progress = loop_now(edge->loop);
    client->exchange = ex;
    return ex;
}

static void leave_endpoint(struct gw_exchange *ex)
{
    if (ex->endpoint != NULL) {
        ex->endpoint->in_flight--;
        gw_endpoint_unref(ex->endpoint);
        ex->endpoint = NULL;
    }
}

void gw_exchange_free(struct gw_exchange *ex)
{
    struct gateway_edge *edge = ex->edge;
    CHECK(ex->upstream == NULL && ex->client->exchange == ex);
    gw_metrics_count(ex);
    gw_log_exchange(ex);
    ex->client->exchange = NULL;
    leave_endpoint(ex);
    if (ex->service != NULL) {
        gw_service_unref(ex->service);
    }
    if (ex->request != NULL) {
        ex->request->held = false;
        if (!ex->request->sending) {
            gw_out_free(ex->request);
        }
    }
    gw_partial_free(ex->partial);
    pool_put(&edge->exchange_pool, ex);
}

static void drop_upstream(struct gw_exchange *ex)
{
    if (ex->upstream != NULL) {
        struct gw_upstream *upstream = ex->upstream;
        ex->upstream = NULL;
        gw_upstream_release(upstream, false);
    }
}

void gw_exchange_abort(struct gw_exchange *ex, enum gateway_reason reason)
{
    drop_upstream(ex);
    metric_add(&ex->edge->metrics.reasons[reason], 1);
    ex->reason = gateway_reason_name(reason);
    gw_exchange_free(ex);
}

/* --- refusing --- */

static void refuse(struct gw_exchange *ex, enum gateway_reason reason, const char *detail)
{
    drop_upstream(ex);
    metric_add(&ex->edge->metrics.reasons[reason], 1);
    const struct gw_refusal refusal = {.status = gateway_reason_status(reason),
                                       .code = gateway_reason_name(reason),
                                       .detail = detail};
    gw_refuse(ex, &refusal);
}

static void refuse_malformed(struct gw_exchange *ex, enum http1_reason reason)
{
    metric_add(&ex->edge->metrics.reasons[GATEWAY_REASON_MALFORMED], 1);
    metric_add(&ex->edge->metrics.malformed[reason], 1);
    ex->keep_alive = false;
    const struct gw_refusal refusal = {.status = http1_reason_status(reason),
                                       .code = http1_reason_name(reason),
                                       .detail = http1_reason_text(reason)};
    gw_refuse(ex, &refusal);
}

void gw_exchange_refuse_head(struct gw_client *client, enum gateway_reason reason,
                             enum http1_reason http1_reason)
{
    struct gw_exchange *ex = exchange_new(client);
    client->state = GW_PROXY;
    if (reason == GATEWAY_REASON_MALFORMED) {
        refuse_malformed(ex, http1_reason);
    } else {
        refuse(ex, reason, gateway_reason_text(reason));
    }
}

/* --- attempts --- */

static void send_head(struct gw_exchange *ex)
{
    struct gw_out *out = ex->request;
    if (out->sending) {
        /* It still belongs to the connection of the attempt before. */
        out = gw_out_get(ex->edge, ex->request->len);
        if (out == NULL) {
            gw_exchange_fail(ex, GATEWAY_REASON_OVERLOAD, NULL);
            return;
        }
        memcpy(out->data, ex->request->data, ex->request->len);
        out->len = ex->request->len;
    }
    ex->phase = GW_WAITING;
    ex->progress = loop_now(ex->edge->loop);
    gw_out_send(out, &ex->upstream->tcp, ex->upstream, gw_upstream_on_sent);
    gw_client_wake(ex->client); /* for the body, and for the deadline */
}

/* other: not that one, if there is a choice at all. fresh: on a connection of its own, because a
 * pooled one has just failed. */
static void attempt(struct gw_exchange *ex, const struct gw_endpoint *other, bool fresh)
{
    struct gw_endpoint *endpoint = gw_service_pick(ex->service, other);
    if (endpoint == NULL && other != NULL) {
        endpoint = gw_service_pick(ex->service, NULL);
    }
    if (endpoint == NULL) {
        refuse(ex, GATEWAY_REASON_NO_ENDPOINT, gateway_reason_text(GATEWAY_REASON_NO_ENDPOINT));
        return;
    }
    endpoint->refs++;
    endpoint->in_flight++;
    leave_endpoint(ex);
    ex->endpoint = endpoint;
    ex->got_bytes = false;
    ex->head_unsent = false;
    ex->send_failed = false;
    ex->phase = GW_CONNECTING;
    ex->reused = !fresh && gw_upstream_take(endpoint, ex) != NULL;
    if (ex->reused) {
        send_head(ex);
    } else if (endpoint->open_count >= ex->edge->limits.upstreams_max) {
        refuse(ex, GATEWAY_REASON_OVERLOAD, "too many connections to the instance are open");
    } else {
        gw_upstream_connect(endpoint, ex);
    }
}

void gw_exchange_connected(struct gw_exchange *ex, enum err err)
{
    CHECK(ex->phase == GW_CONNECTING);
    if (err == ERR_OK) {
        ex->endpoint->avoid_until = 0;
        send_head(ex);
        return;
    }
    ex->endpoint->avoid_until = loop_now(ex->edge->loop) + ex->edge->limits.avoid_time;
    gw_exchange_fail(ex,
                     err == ERR_TIMEOUT ? GATEWAY_REASON_CONNECT_TIMEOUT
                     : err == ERR_FULL  ? GATEWAY_REASON_OVERLOAD
                                        : GATEWAY_REASON_CONNECT_FAILED,
                     NULL);
}

/* Whether the request may be sent once more, after this failure. */
static bool may_retry(const struct gw_exchange *ex, enum gateway_reason reason)
{
    if (ex->retries >= ex->edge->limits.retries_max || ex->body_taken || ex->answer_begun) {
        return false;
    }
    if (reason == GATEWAY_REASON_CONNECT_FAILED || reason == GATEWAY_REASON_CONNECT_TIMEOUT) {
        return ex->service->count > 1;
    }
    if (reason != GATEWAY_REASON_UPSTREAM_CLOSED || ex->got_bytes) {
        return false;
    }
    /* RFC 9110 section 9.2.2: an instance that dies with the request in its hands says nothing
     * about whether it acted, which does not matter here as long as there is another one. */
    if (ex->idempotent && ex->service->count > 1) {
        return true;
    }
    /* RFC 9112 section 9.3.1: a pooled connection may have been closed before the request reached
     * it. */
    return ex->reused && (ex->idempotent || ex->head_unsent);
}

void gw_exchange_fail(struct gw_exchange *ex, enum gateway_reason reason, const char *detail)
{
    drop_upstream(ex);
    if (ex->answer_begun) {
        struct gw_client *client = ex->client;
        gw_exchange_abort(ex, reason);
        gw_client_abort(client);
        return;
    }
    gw_partial_free(ex->partial);
    ex->partial = NULL;
    if (may_retry(ex, reason)) {
        ex->retries++;
        metric_add(&ex->edge->metrics.retries, 1);
        attempt(ex, ex->endpoint, reason == GATEWAY_REASON_UPSTREAM_CLOSED);
        return;
    }
    refuse(ex, reason, detail != NULL ? detail : gateway_reason_text(reason));
}

/* --- routing --- */

/* X-Service: NAME addresses a registered service directly. False: refused. */
static bool find_named(struct gw_exchange *ex, struct bytes name)
{
    uint8_t lower[GW_SERVICE_NAME_MAX];
    if (name.len <= sizeof(lower)) {
        for (size_t i = 0; i < name.len; i++) {
            uint8_t c = name.data[i];
            lower[i] = c >= 'A' && c <= 'Z' ? (uint8_t)(c + ('a' - 'A')) : c;
        }
        ex->service = gw_service_find(ex->edge, bytes_of(lower, name.len));
    }
    if (ex->service == NULL) {
        ex->service_name = bytes_of(name.data, name.len < sizeof(lower) ? name.len : sizeof(lower));
        refuse(ex, GATEWAY_REASON_NO_SERVICE, gateway_reason_text(GATEWAY_REASON_NO_SERVICE));
        return false;
    }
    return true;
}

static bool find_routed(struct gw_exchange *ex, const struct http1_head *head, const uint8_t *data)
{
    struct route_match match;
    bool rooted = ex->path.len > 0 && ex->path.data[0] == '/';
    if (ex->edge->routes == NULL ||
        !route_table_match(ex->edge->routes, http1_span_bytes(head->host_name, data),
                           rooted ? ex->path : BYTES_LITERAL("/"), &match)) {
        refuse(ex, GATEWAY_REASON_NO_ROUTE, gateway_reason_text(GATEWAY_REASON_NO_ROUTE));
        return false;
    }
    ex->service = gw_service_find(ex->edge, match.service);
    if (ex->service == NULL) {
        ex->service_name = match.service;
        refuse(ex, GATEWAY_REASON_NO_ENDPOINT, "the route's service is not registered");
        return false;
    }
    return true;
}

/* What cannot be proxied at all. */
static bool is_refused(struct gw_exchange *ex, const struct http1_head *head)
{
    enum gateway_reason reason = GATEWAY_REASON_NONE;
    if (ex->client->busy) {
        reason = GATEWAY_REASON_OVERLOAD;
        ex->keep_alive = false;
    } else if (head->method == HTTP1_METHOD_CONNECT) {
        reason = GATEWAY_REASON_CONNECT_UNSUPPORTED;
        ex->keep_alive = false; /* what follows is for the tunnel, not for us */
    } else if (head->upgrade == HTTP1_UPGRADE_WEBSOCKET) {
        reason = GATEWAY_REASON_UPGRADE_UNSUPPORTED;
        ex->keep_alive = false;
    }
    if (reason != GATEWAY_REASON_NONE) {
        refuse(ex, reason, gateway_reason_text(reason));
    }
    return reason != GATEWAY_REASON_NONE;
}

static void note_head(struct gw_exchange *ex, const struct http1_head *head, const uint8_t *data)
{
    enum http1_method method = (enum http1_method)head->method;
    ex->bytes_in = head->head_len;
    ex->http10 = head->minor_version == 0;
    ex->keep_alive = head->keep_alive;
    ex->head_only = method == HTTP1_METHOD_HEAD;
    ex->idempotent = http1_method_is_idempotent(method);
    ex->expect_continue = head->expect_continue;
    ex->method = http1_span_bytes(head->method_name, data);
    ex->host = http1_span_bytes(head->host, data);
    ex->path = http1_span_bytes(head->target, data);
}

void gw_exchange_start(struct gw_client *client, const struct http1_head *head, const uint8_t *data)
{
    struct gw_exchange *ex = exchange_new(client);
    client->state = GW_PROXY;
    http1_body_init(&client->body, head, &ex->edge->limits.http1);
    note_head(ex, head, data);
    gw_request_id_make(ex);
    if (is_refused(ex, head)) {
        return;
    }
    enum http1_reason reason = HTTP1_REASON_NONE;
    enum err err = gw_request_build(ex, head, data, &reason);
    if (err == ERR_BAD_INPUT) {
        refuse_malformed(ex, reason);
        return;
    }
    if (err != ERR_OK) {
        refuse(ex, GATEWAY_REASON_OVERLOAD, gateway_reason_text(GATEWAY_REASON_OVERLOAD));
        return;
    }
    struct bytes named = http1_head_value(head, data, HTTP1_HEADER_X_SERVICE);
    bool found = named.data != NULL ? find_named(ex, named) : find_routed(ex, head, data);
    if (found) {
        ex->service->refs++;
        ex->service_name = ex->service->name;
        attempt(ex, NULL, false);
    }
}

/* --- the request's body --- */

bool gw_exchange_wants_body(const struct gw_exchange *ex)
{
    if (ex->client->body.done || ex->phase < GW_WAITING) {
        return false;
    }
    return ex->send_failed || tcp_unsent(&ex->upstream->tcp) <= GW_UNSENT_HIGH;
}

size_t gw_exchange_body(struct gw_exchange *ex, struct bytes data, struct tcp_conn *from)
{
    struct gw_flow flow = {.edge = ex->edge,
                           .to = &ex->upstream->tcp,
                           .owner = ex->upstream,
                           .on_sent = gw_upstream_on_sent};
    size_t used = 0;
    ex->body_taken = true;
    ex->progress = loop_now(ex->edge->loop);
    enum err err = gw_relay(&flow, &ex->client->body, ex->chunked_request, data, from, &used);
    if (err == ERR_OK) {
        ex->bytes_in += used;
        if (ex->send_failed) {
            gw_flow_drop(&flow);
        } else {
            gw_flow_end(&flow);
        }
        return used;
    }
    gw_flow_drop(&flow);
    ex->keep_alive = false;
    if (ex->answer_begun) {
        gw_exchange_fail(ex, GATEWAY_REASON_MALFORMED, NULL);
    } else if (err == ERR_FULL) {
        gw_exchange_fail(ex, GATEWAY_REASON_OVERLOAD, NULL);
    } else {
        drop_upstream(ex);
        refuse_malformed(ex, (enum http1_reason)ex->client->body.reason);
    }
    return data.len;
}

void gw_exchange_sent(struct gw_exchange *ex, const struct gw_out *out, enum err err)
{
    if (err != ERR_OK) {
        /* The answer may be there all the same: what is received decides. */
        ex->head_unsent = ex->head_unsent || (out == ex->request && !ex->body_taken);
        ex->send_failed = true;
    } else {
        ex->progress = loop_now(ex->edge->loop);
    }
    if (!ex->client->body.done && gw_exchange_wants_body(ex) &&
        (ex->send_failed || tcp_unsent(&ex->upstream->tcp) <= GW_UNSENT_LOW)) {
        gw_client_wake(ex->client);
    }
}

/* --- time --- */

clk_ns gw_exchange_deadline(const struct gw_exchange *ex)
{
    const struct gateway_limits *limits = &ex->edge->limits;
    if (ex->phase < GW_WAITING) {
        return CLK_NEVER; /* connecting has its own timer */
    }
    if (ex->phase == GW_WAITING && ex->client->body.done) {
        return ex->progress + limits->response_timeout;
    }
    return ex->progress + limits->body_timeout;
}

void gw_exchange_timed_out(struct gw_exchange *ex)
{
    struct gw_client *client = ex->client;
    if (ex->phase == GW_ANSWERING) {
        bool slow_client = tcp_unsent(&client->tcp) > 0;
        gw_exchange_abort(ex, slow_client ? GATEWAY_REASON_CLIENT_STALLED
                                          : GATEWAY_REASON_UPSTREAM_STALLED);
        gw_client_abort(client);
    } else if (!client->body.done && tcp_unsent(&ex->upstream->tcp) == 0) {
        ex->keep_alive = false;
        gw_exchange_fail(ex, GATEWAY_REASON_BODY_TIMEOUT, NULL);
    } else {
        gw_exchange_fail(ex, GATEWAY_REASON_RESPONSE_TIMEOUT, NULL);
    }
}
