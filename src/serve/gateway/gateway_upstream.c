/* Connections to endpoints and their pools.
 *
 * Place: serve/gateway. A pool is a stack: the last used connection serves next, so that those
 * beyond what the load needs age and are closed. The list by age of all idle connections of the
 * edge is looked through once a second: over upstream_idle_timeout goes, and over
 * upstreams_idle_max per endpoint what has been idle for a second (a burst of answers must not cost
 * a burst of connects).
 *
 * An idle connection keeps receiving: its end is seen at once, and bytes that nobody asked for
 * close it. */
#include "gateway/gateway_priv.h"

static void upstream_on_recv(struct tcp_conn *tcp, enum err err, struct bytes data);

static void count_upstreams(struct gateway_edge *edge)
{
    metric_gauge_set(&edge->metrics.upstreams, (int64_t)edge->upstream_count);
    metric_gauge_set(&edge->metrics.upstreams_idle, (int64_t)edge->idle_count);
}

static void upstream_on_closed(struct tcp_conn *tcp)
{
    struct gw_upstream *upstream = CONTAINER_OF(tcp, struct gw_upstream, tcp);
    struct gateway_edge *edge = upstream->edge;
    CHECK(upstream->exchange == NULL && !list_linked(&upstream->in_pool));
    list_remove(&upstream->link);
    upstream->endpoint->open_count--;
    gw_endpoint_unref(upstream->endpoint);
    pool_put(&edge->upstream_pool, upstream);
    edge->upstream_count--;
    count_upstreams(edge);
    gw_edge_check_end(edge);
}

static void leave_pool(struct gw_upstream *upstream)
{
    list_remove(&upstream->in_pool);
    list_remove(&upstream->by_age);
    upstream->endpoint->idle_count--;
    upstream->edge->idle_count--;
}

static void upstream_close(struct gw_upstream *upstream)
{
    CHECK(upstream->exchange == NULL);
    if (upstream->closing) {
        return;
    }
    if (list_linked(&upstream->in_pool)) {
        leave_pool(upstream);
    }
    upstream->closing = true;
    tcp_close(&upstream->tcp, upstream_on_closed);
}

static void upstream_on_recv(struct tcp_conn *tcp, enum err err, struct bytes data)
{
    struct gw_upstream *upstream = CONTAINER_OF(tcp, struct gw_upstream, tcp);
    if (upstream->exchange == NULL) {
        upstream_close(upstream);
    } else if (err != ERR_OK || data.len == 0) {
        gw_exchange_upstream_end(upstream->exchange, err);
    } else {
        gw_exchange_answer(upstream->exchange, data);
    }
}

void gw_upstream_on_sent(struct tcp_send_req *req, enum err err)
{
    struct gw_out *out = CONTAINER_OF(req, struct gw_out, req);
    struct gw_upstream *upstream = out->owner;
    struct gw_exchange *ex = upstream->exchange;
    if (ex != NULL) {
        gw_exchange_sent(ex, out, err);
    }
    gw_out_sent(out);
}

static void upstream_on_connect(struct tcp_conn *tcp, enum err err)
{
    struct gw_upstream *upstream = CONTAINER_OF(tcp, struct gw_upstream, tcp);
    struct gw_exchange *ex = upstream->exchange;
    if (ex == NULL) {
        return; /* the request was broken off meanwhile; it is being closed */
    }
    if (err == ERR_OK) {
        tcp_recv_start(tcp, upstream_on_recv);
    }
    gw_exchange_connected(ex, err);
}

void gw_upstream_connect(struct gw_endpoint *endpoint, struct gw_exchange *exchange)
{
    struct gateway_edge *edge = endpoint->edge;
    struct gw_upstream *upstream = pool_get(&edge->upstream_pool);
    CHECK(upstream != NULL);
    *upstream = (struct gw_upstream){.edge = edge, .endpoint = endpoint, .exchange = exchange};
    list_init(&upstream->in_pool);
    list_init(&upstream->by_age);
    list_push_back(&edge->upstreams, &upstream->link);
    endpoint->refs++;
    endpoint->open_count++;
    edge->upstream_count++;
    metric_add(&edge->metrics.connects, 1);
    count_upstreams(edge);
    exchange->upstream = upstream;
    tcp_connect(&upstream->tcp, edge->loop, &endpoint->addr, edge->limits.connect_timeout,
                upstream_on_connect);
}

struct gw_upstream *gw_upstream_take(struct gw_endpoint *endpoint, struct gw_exchange *exchange)
{
    if (list_empty(&endpoint->idle)) {
        return NULL;
    }
    struct gw_upstream *upstream = CONTAINER_OF(endpoint->idle.next, struct gw_upstream, in_pool);
    leave_pool(upstream);
    CHECK(upstream->exchange == NULL && !upstream->closing);
    upstream->exchange = exchange;
    exchange->upstream = upstream;
    metric_add(&endpoint->edge->metrics.reuses, 1);
    return upstream;
}

void gw_upstream_release(struct gw_upstream *upstream, bool reusable)
{
    struct gateway_edge *edge = upstream->edge;
    struct gw_endpoint *endpoint = upstream->endpoint;
    upstream->exchange = NULL;
    if (!reusable || endpoint->gone || edge->stopping) {
        upstream_close(upstream);
        return;
    }
    list_push_front(&endpoint->idle, &upstream->in_pool);
    list_push_back(&edge->idle, &upstream->by_age);
    upstream->idle_since = loop_now(edge->loop);
    endpoint->idle_count++;
    edge->idle_count++;
    gw_upstream_resume(upstream);
    if (!loop_timer_is_set(&edge->sweep)) {
        loop_timer_set(edge->loop, &edge->sweep, upstream->idle_since + GW_SWEEP_INTERVAL,
                       gw_upstream_sweep);
    }
}

void gw_upstream_pause(struct gw_upstream *upstream)
{
    if (!upstream->recv_stopped) {
        upstream->recv_stopped = true;
        tcp_recv_stop(&upstream->tcp);
    }
}

void gw_upstream_resume(struct gw_upstream *upstream)
{
    if (upstream->recv_stopped) {
        upstream->recv_stopped = false;
        tcp_recv_start(&upstream->tcp, upstream_on_recv);
    }
}

void gw_upstream_close_idle(struct gw_endpoint *endpoint)
{
    LIST_FOREACH_SAFE (link, after, &endpoint->idle) {
        upstream_close(CONTAINER_OF(link, struct gw_upstream, in_pool));
    }
}

void gw_upstream_close_all_idle(struct gateway_edge *edge)
{
    LIST_FOREACH_SAFE (link, after, &edge->idle) {
        upstream_close(CONTAINER_OF(link, struct gw_upstream, by_age));
    }
}

void gw_upstream_sweep(struct loop_timer *timer)
{
    struct gateway_edge *edge = CONTAINER_OF(timer, struct gateway_edge, sweep);
    clk_ns now = loop_now(edge->loop);
    LIST_FOREACH_SAFE (link, after, &edge->idle) {
        struct gw_upstream *upstream = CONTAINER_OF(link, struct gw_upstream, by_age);
        clk_ns age = now - upstream->idle_since;
        if (age < GW_SWEEP_INTERVAL && age < edge->limits.upstream_idle_timeout) {
            break;
        }
        if (age >= edge->limits.upstream_idle_timeout ||
            upstream->endpoint->idle_count > edge->limits.upstreams_idle_max) {
            upstream_close(upstream);
        }
    }
    count_upstreams(edge);
    if (!list_empty(&edge->idle)) {
        loop_timer_set(edge->loop, timer, now + GW_SWEEP_INTERVAL, gw_upstream_sweep);
    }
}
