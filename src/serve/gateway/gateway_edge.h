/* The reverse proxy on one loop: everything of the gateway that one edge thread owns.
 *
 * Place: serve/gateway. It knows no cluster: its tables are set by functions (gateway_tables.c
 * does it from the node's state; tests and benchmarks do it by hand). Listener, tables, connection
 * pools, buffers, counters and log belong to one loop and its thread: no lock, no sharing, and once
 * warm no allocation per request.
 *
 * Invariants:
 *   1. A request goes upstream only after its whole head was parsed and routed; it is rebuilt from
 *      parsed parts, its body is re-framed by us, and the answer likewise.
 *   2. A request is sent a second time only when no byte of its body was taken from the client and
 *      the first instance cannot have acted on it, or acting twice is harmless (RFC 9110 section
 *      9.2.2).
 *   3. Answers leave in the order of the requests: one request per client connection is under way.
 *   4. What a connection may hold is bounded: a head, and GATEWAY's share of a body per
 *      direction; an idle one holds no buffer. */
#ifndef GATEWAY_GATEWAY_EDGE_H
#define GATEWAY_GATEWAY_EDGE_H

#include "http1/http1.h"
#include "loop/loop.h"
#include "net/net.h"

struct gateway_edge;
struct metrics_set;
struct route_table;

/* All that may be set; times in ns of the loop's clock. */
struct gateway_limits {
    clk_ns connect_timeout;       /* per attempt */
    clk_ns response_timeout;      /* from the request's last byte to the end of the answer's head */
    clk_ns body_timeout;          /* without progress, in either direction */
    clk_ns header_timeout;        /* from the head's first byte to its end */
    clk_ns keep_alive_timeout;    /* an idle client */
    clk_ns upstream_idle_timeout; /* an idle pooled connection */
    clk_ns drain_timeout;         /* at stop: requests under way */
    clk_ns avoid_time;            /* after a failed connect the endpoint is the last choice */
    uint32_t clients_max;         /* connections; more are answered with `overload` */
    uint32_t upstreams_max;       /* connections per endpoint */
    uint32_t upstreams_idle_max;  /* kept longer than a second, per endpoint */
    uint32_t buffers_max;         /* of 16 KiB, all connections together */
    uint32_t retries_max;         /* per request */
    struct http1_limits http1;
};

extern const struct gateway_limits GATEWAY_LIMITS_DEFAULT;

struct gateway_edge_cfg {
    struct loop *loop;                   /* borrowed until gateway_edge_free */
    const struct gateway_limits *limits; /* copied; NULL: the defaults */
    int log_fd;                          /* access log, borrowed; -1: none */
    uint32_t number;                     /* label of the metrics */
};

/* Owned by the caller. On the loop's thread, or before its first turn. */
struct gateway_edge *gateway_edge_new(const struct gateway_edge_cfg *cfg);
/* After on_stopped, or when it never listened. Accepts NULL. */
void gateway_edge_free(struct gateway_edge *edge);

/* Once. Errors as tcp_listen. reuse_port: several edges share the address. */
ERR_CHECKED enum err gateway_edge_listen(struct gateway_edge *edge, const struct net_addr *addr,
                                         bool reuse_port, struct err_note *note);
/* The bound address. */
struct net_addr gateway_edge_addr(const struct gateway_edge *edge);

/* Stops accepting, lets requests under way end (at most drain_timeout), closes everything;
 * on_stopped is the edge's last act and may free it. Once. */
void gateway_edge_stop(struct gateway_edge *edge, void (*on_stopped)(void *self), void *self);

/* --- tables --- */

struct gateway_endpoint_def {
    struct bytes id; /* of the instance: keeps its connections while id and address stay */
    struct net_addr addr;
};

/* Takes the table; requests that were routed already are not touched. */
void gateway_edge_set_routes(struct gateway_edge *edge, struct route_table *routes);
/* The endpoints that get requests from now on; copied. name: in lower case. Requests on their way
 * to endpoints that are gone come to their end. No endpoints: requests get no_endpoint. */
void gateway_edge_set_service(struct gateway_edge *edge, struct bytes name,
                              const struct gateway_endpoint_def *endpoints, size_t count);
/* The service is not registered any more; does nothing when it is not known. */
void gateway_edge_drop_service(struct gateway_edge *edge, struct bytes name);
/* Drops every service for which keep says false. */
void gateway_edge_sweep_services(struct gateway_edge *edge,
                                 bool (*keep)(void *context, struct bytes name), void *context);

/* --- what it does --- */

/* Since the start. */
struct gateway_stats {
    uint64_t requests;
    uint64_t refused; /* answered by the gateway itself */
    uint64_t broken;  /* broken off inside the answer */
    uint64_t retries;
    uint64_t connects;
    uint64_t reuses;
    uint64_t log_lines_lost;
    size_t clients;   /* connections now */
    size_t upstreams; /* connections now */
    size_t upstreams_idle;
    size_t buffers; /* in use now */
    size_t buffers_peak;
};

struct gateway_stats gateway_edge_stats(const struct gateway_edge *edge);
/* Adds counters, gauges and the histogram of durations; they live as long as the edge. */
void gateway_edge_add_metrics(struct gateway_edge *edge, struct metrics_set *set);

#endif
