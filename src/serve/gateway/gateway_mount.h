/* One edge's part of the gateway: the proxy and what keeps its tables.
 *
 * Place: serve/gateway, between gateway.c and gateway_tables.c. */
#ifndef GATEWAY_GATEWAY_MOUNT_H
#define GATEWAY_GATEWAY_MOUNT_H

#include "gateway/gateway.h"
#include "node/node.h"
#include "registry/registry.h"

enum {
    GATEWAY_CHANGED_MAX = 64 /* services noted one by one; more: all are read */
};

struct gateway_mount {
    struct gateway *gateway;
    struct node_edge *edge;
    struct gateway_edge *proxy;
    enum err err; /* of the start */
    struct err_note note;
    /* The tables; see gateway_tables.c. */
    struct node_watch routes;
    struct node_watch services;
    struct node_watch members;
    struct node_listener listener;
    struct node_reading reading;
    struct loop_call refresh;
    bool routes_changed;
    bool all_changed; /* services */
    size_t changed_count;
    char changed[GATEWAY_CHANGED_MAX][REGISTRY_NAME_MAX + 1];
};

/* Reads the tables and follows them from now on; on the edge's thread. ERR_FULL: too many watches;
 * leave it all the same. */
ERR_CHECKED enum err gateway_tables_follow(struct gateway_mount *mount);
void gateway_tables_leave(struct gateway_mount *mount);

#endif
