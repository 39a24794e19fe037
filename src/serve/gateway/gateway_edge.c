/* The life of the proxy on one loop: start, listening, stop.
 *
 * Place: serve/gateway. */
#include "gateway/gateway_edge.h"

#include "gateway/gateway_priv.h"
#include "route/route.h"

const struct gateway_limits GATEWAY_LIMITS_DEFAULT = {
    .connect_timeout = CLK_S(1),
    .response_timeout = CLK_S(15),
    .body_timeout = CLK_S(30),
    .header_timeout = CLK_S(10),
    .keep_alive_timeout = CLK_S(60),
    .upstream_idle_timeout = CLK_S(60),
    .drain_timeout = CLK_S(10),
    .avoid_time = CLK_S(1),
    .clients_max = 16384,
    .upstreams_max = 1024,
    .upstreams_idle_max = 32,
    .buffers_max = 4096,
    .retries_max = 1,
    .http1 = {.body_max_bytes = UINT64_MAX,
              .start_line_max = HTTP1_START_LINE_MAX,
              .field_block_max = HTTP1_FIELD_BLOCK_MAX,
              .field_count_max = HTTP1_FIELD_COUNT_MAX,
              .chunk_line_max = HTTP1_CHUNK_LINE_MAX,
              .chunk_ext_max = HTTP1_CHUNK_EXT_MAX,
              .trailer_block_max = HTTP1_TRAILER_BLOCK_MAX,
              .underscore = HTTP1_UNDERSCORE_DROP},
};

enum {
    POOL_CACHED_MAX = 256,
    UPSTREAMS_MAX = 65536
};

struct gateway_edge *gateway_edge_new(const struct gateway_edge_cfg *cfg)
{
    struct gateway_edge *edge = mem_alloc(sizeof(*edge));
    edge->loop = cfg->loop;
    edge->limits = cfg->limits != NULL ? *cfg->limits : GATEWAY_LIMITS_DEFAULT;
    edge->number = cfg->number;
    edge->seed = (struct hash_seed){rnd_u64(loop_rnd(cfg->loop)), rnd_u64(loop_rnd(cfg->loop))};
    list_init(&edge->clients);
    list_init(&edge->upstreams);
    list_init(&edge->idle);
    list_init(&edge->end.link);
    size_t clients = (size_t)edge->limits.clients_max + GW_OVER_CLIENTS;
    pool_init(&edge->client_pool, sizeof(struct gw_client), clients, POOL_CACHED_MAX);
    pool_init(&edge->exchange_pool, sizeof(struct gw_exchange), clients, POOL_CACHED_MAX);
    pool_init(&edge->upstream_pool, sizeof(struct gw_upstream), UPSTREAMS_MAX, POOL_CACHED_MAX);
    pool_init(&edge->out_pool, sizeof(struct gw_out), edge->limits.buffers_max, POOL_CACHED_MAX);
    gw_log_init(edge, cfg->log_fd);
    return edge;
}

void gateway_edge_free(struct gateway_edge *edge)
{
    if (edge == NULL) {
        return;
    }
    CHECK(edge->client_count == 0 && edge->upstream_count == 0 && !edge->listener_open);
    CHECK(edge->outs == 0);
    gw_services_free(edge);
    route_table_free(edge->routes);
    gw_log_done(edge);
    gw_metrics_done(edge);
    pool_done(&edge->client_pool);
    pool_done(&edge->exchange_pool);
    pool_done(&edge->upstream_pool);
    pool_done(&edge->out_pool);
    mem_free(edge);
}

static void edge_on_accept(struct tcp_listener *listener, int fd)
{
    gw_client_open(CONTAINER_OF(listener, struct gateway_edge, listener), fd);
}

enum err gateway_edge_listen(struct gateway_edge *edge, const struct net_addr *addr,
                             bool reuse_port, struct err_note *note)
{
    CHECK(!edge->listener_open && !edge->stopping);
    enum err err = tcp_listen(&edge->listener, edge->loop, addr, reuse_port, edge_on_accept, note);
    edge->listener_open = err == ERR_OK;
    return err;
}

struct net_addr gateway_edge_addr(const struct gateway_edge *edge)
{
    CHECK(edge->listener_open);
    return tcp_listener_addr(&edge->listener);
}

/* --- stop --- */

static void edge_end(struct loop_call *call)
{
    struct gateway_edge *edge = CONTAINER_OF(call, struct gateway_edge, end);
    loop_timer_cancel(edge->loop, &edge->sweep);
    loop_timer_cancel(edge->loop, &edge->drain);
    gw_log_done(edge);
    edge->on_stopped(edge->on_stopped_self);
}

void gw_edge_check_end(struct gateway_edge *edge)
{
    if (edge->stopping && !edge->listener_open && edge->client_count == 0 &&
        edge->upstream_count == 0) {
        loop_defer(edge->loop, &edge->end, edge_end);
    }
}

static void edge_on_listener_closed(struct tcp_listener *listener)
{
    struct gateway_edge *edge = CONTAINER_OF(listener, struct gateway_edge, listener);
    edge->listener_open = false;
    gw_edge_check_end(edge);
}

static void drain_over(struct loop_timer *timer)
{
    struct gateway_edge *edge = CONTAINER_OF(timer, struct gateway_edge, drain);
    LIST_FOREACH_SAFE (link, after, &edge->clients) {
        struct gw_client *client = CONTAINER_OF(link, struct gw_client, link);
        if (client->exchange != NULL) {
            gw_exchange_abort(client->exchange, GATEWAY_REASON_STOPPED);
        }
        gw_client_abort(client);
    }
}

void gateway_edge_stop(struct gateway_edge *edge, void (*on_stopped)(void *self), void *self)
{
    CHECK(!edge->stopping && on_stopped != NULL);
    edge->stopping = true;
    edge->on_stopped = on_stopped;
    edge->on_stopped_self = self;
    loop_timer_set(edge->loop, &edge->drain, loop_now(edge->loop) + edge->limits.drain_timeout,
                   drain_over);
    LIST_FOREACH_SAFE (link, after, &edge->clients) {
        struct gw_client *client = CONTAINER_OF(link, struct gw_client, link);
        if (gw_client_is_idle(client)) {
            gw_client_close(client);
        }
    }
    gw_upstream_close_all_idle(edge);
    if (edge->listener_open) {
        tcp_listener_close(&edge->listener, edge_on_listener_closed);
    } else {
        gw_edge_check_end(edge);
    }
}

/* --- tables, clock --- */

void gateway_edge_set_routes(struct gateway_edge *edge, struct route_table *routes)
{
    route_table_free(edge->routes);
    edge->routes = routes;
}

struct bytes gw_edge_date(struct gateway_edge *edge)
{
    uint64_t now_s = loop_wall_ms(edge->loop) / 1000;
    if (edge->date_s != now_s) {
        edge->date_s = now_s;
        http1_format_date(now_s, edge->date);
    }
    return bytes_of(edge->date, sizeof(edge->date));
}
