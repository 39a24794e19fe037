/* The gateway door: the HTTP/1.1 reverse proxy of a node, one proxy per edge on a shared address.
 *
 * Place: serve. Routes and endpoints come from the node's tables and follow them by its feed; the
 * data path (gateway_edge.h) never crosses the node. What it speaks and refuses:
 * docs/protocols/gateway.md. */
#ifndef GATEWAY_GATEWAY_H
#define GATEWAY_GATEWAY_H

#include "gateway/gateway_edge.h"

struct gateway;
struct node;

struct gateway_cfg {
    struct net_addr addr;                /* port 0: any, see gateway_addr */
    int log_fd;                          /* access log, borrowed until on_stopped; -1: none */
    const struct gateway_limits *limits; /* copied; NULL: the defaults */
};

/* Listens on every edge of the node and registers the metrics: before anybody prints them. Blocks
 * until the edges have answered, so not on one of their threads. On failure nothing is left and the
 * note names address and cause: ERR_IN_USE, ERR_DENIED, ERR_BAD_INPUT, ERR_FULL, ERR_IO. */
ERR_CHECKED enum err gateway_start(struct node *node, const struct gateway_cfg *cfg,
                                   struct gateway **ret_gateway, struct err_note *note);
/* The bound address. */
struct net_addr gateway_addr(const struct gateway *gateway);
/* Any thread, once: stops accepting, lets requests under way end (at most limits.drain_timeout).
 * on_stopped is called on an edge's thread. */
void gateway_stop(struct gateway *gateway, void (*on_stopped)(void *self), void *self);
/* After on_stopped, and after the last print of the node's metrics. Accepts NULL. */
void gateway_free(struct gateway *gateway);

#endif
