/* Web: what the HTTP doors of one port share: the server, who gets which path, operations on the
 * node that a request waits for, and refusals.
 *
 * Place: serve; the only module of this layer that doors may include. It knows no door. One struct
 * web belongs to one edge; all calls and callbacks are on that edge's thread.
 *
 *   http_server --> web: longest mounted prefix --> door: route --> web_read  (web/web_read.h)
 *                                                               --> web_write (web/web_write.h)
 *
 * Invariants:
 *   1. Every operation (struct web_op) lies in its request's arena and is ended before the request
 *      is: by its callback, because the client has gone, or by web_close.
 *   2. Requests that wait for a change are at most waiting_max; a further one is refused with
 *      ERR_FULL. One whose client has gone is forgotten at once.
 *   3. Every refusal carries a reason code: X-Flotilla-Reason, and in the body for doors that
 *      answer errors in JSON. */
#ifndef WEB_WEB_H
#define WEB_WEB_H

#include "err/err.h"
#include "http/http_server.h"
#include "list/list.h"
#include "node/node.h"

struct web;

enum {
    WEB_MOUNTS_MAX = 8,
    WEB_WAITING_MAX = 16384 /* the default of web_config.waiting_max */
};

/* How a door words its refusals. */
enum web_errors {
    WEB_ERRORS_PLAIN, /* a sentence as text/plain, statuses as Consul's */
    WEB_ERRORS_JSON,  /* {"error": sentence, "reason": code} */
};

/* One protocol on the port; in the door's own object, must stay until web_close has ended. */
struct web_door {
    enum web_errors errors;
    void (*on_request)(struct web_door *door, struct http_request *request);
    struct web *web; /* set by web_mount */
};

/* A request's operation that is under way; embedded in web_read, web_write and the like. */
struct web_op {
    struct web_door *door;
    struct http_request *request;
    void (*cancel)(struct web_op *op); /* no callback comes afterwards */
    bool for_client_only;              /* cancelled when the client has gone */
    struct list link;
};

struct web_config {
    struct http_limits http;
    size_t waiting_max; /* requests that wait for a change */
};

/* The server's defaults, with room for a key-value of 512 KB. */
extern const struct web_config WEB_CONFIG_DEFAULT;

struct web_mount {
    struct bytes prefix;
    struct web_door *door;
};

struct web {
    struct http_server server;
    struct node_edge *edge; /* read-only, as all below */
    struct node *node;
    struct loop *loop;
    struct metric_gauge waiting; /* requests that wait for a change */
    struct metric_counter woken; /* of them, those that were looked at again */

    /* Private. */
    struct web_config config;
    struct web_mount mounts[WEB_MOUNTS_MAX];
    size_t mount_count;
    struct list ops;   /* struct web_op */
    struct list waits; /* struct web_read that wait for a change */
    struct list due;   /* those of them that are to be looked at again */
    size_t wait_count;
    bool closing;
    struct loop_call look;
    struct loop_timer look_later;
    struct node_reading looking;
    struct node_listener listener;
    void (*on_closed)(struct web *web);
    struct metric_entry entries[8];
    char labels[32];
};

/* web: the caller's storage, must not move until on_closed. On the edge's thread. Nothing listens
 * yet: mount the doors, then http_server_listen(&web->server, ...). */
void web_open(struct web *web, struct node_edge *edge, const struct web_config *config);
/* Requests whose path begins with prefix (borrowed for the life of web) go to the door, unless a
 * longer prefix of another mount fits. A door may be mounted several times. */
void web_mount(struct web *web, struct bytes prefix, struct web_door *door);
/* Registers this edge's counters. Before anybody prints the set. */
void web_metrics(struct web *web, struct metrics_set *set);
/* Gives up what is under way and closes all connections. on_closed, from the loop: the storage is
 * free. Once. */
void web_close(struct web *web, void (*on_closed)(struct web *web));

/* Who asks, for calls of the node: the principal, and the trace id of a "traceparent" field (W3C
 * Trace Context). Everybody is "anonymous": tokens come with their table. */
struct node_call web_call(const struct http_request *request);

/* ---- operations ------------------------------------------------------------------------------ */

/* A zeroed object of this size in the request's arena, whose first member is (or begins with) a
 * web_op; door and request are set. NULL: the request has been refused. */
void *web_op_new(struct web_door *door, struct http_request *request, size_t size);
/* Notes the operation; the request must be answered later. cancel is set. */
void web_op_begin(struct web_op *op);
/* Forgets it; the request is still to be answered. */
void web_op_end(struct web_op *op);

/* ---- refusals -------------------------------------------------------------------------------- */

/* Each ends the request. Text is cut at 1023 bytes. */

/* The status that belongs to err in the door's protocol; format NULL: err's own sentence. ERR_OK is
 * a programmer error. */
void web_refuse(struct web_door *door, struct http_request *request, enum err err,
                const char *format, ...) __attribute__((format(printf, 4, 5)));
/* A status of the protocol's own, with a reason code in snake_case. */
void web_refuse_status(struct web_door *door, struct http_request *request, uint16_t status,
                       const char *reason, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* 405 with Allow. allow: "GET, PUT". */
void web_refuse_method(struct web_door *door, struct http_request *request, const char *allow);
/* The status for err, without answering. */
uint16_t web_error_status(enum web_errors errors, enum err err);

#endif
