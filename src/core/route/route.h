/* Routes: which service answers which host and path; the table, and the matcher over a snapshot of
 * it.
 *
 * Place: core, above core/apply. Routes are data in the strong map; the gateway builds an immutable
 * struct route_table from a read transaction whenever TABLE_ROUTES changes, and asks it per
 * request.
 *
 * A route has hosts, each of them exact ("shop.example.com"), a wildcard ("*.example.com": one or
 * more labels before the suffix, not the suffix itself), or "*" (everything). Without any host it
 * is "*". Its path is a prefix on element boundaries: "/api" matches "/api", "/api/" and "/api/x",
 * never "/apix"; a trailing "/" of the prefix means nothing.
 *
 * Precedence among the routes that match (Kubernetes Gateway API v1, HTTPRouteSpec.hostnames and
 * HTTPRouteRule.matches): exact host, then the wildcard with most characters, then "*"; then
 * the path prefix with most characters; then the oldest route (create index); then the smallest id.
 *
 * Row: TABLE_ROUTES id -> version u8 = 1 | create u64 | modify u64 | service, path blobs |
 * hosts. */
#ifndef ROUTE_ROUTE_H
#define ROUTE_ROUTE_H

#include "apply/apply.h"

enum {
    ROUTE_COUNT_MAX = 4096,
    ROUTE_ID_MAX = 128, /* bytes: A-Z a-z 0-9 - _ . */
    ROUTE_HOSTS_MAX = 16,
    ROUTE_HOST_MAX = 253,
    ROUTE_PATH_MAX = 1024,
    ROUTE_SERVICE_MAX = 128
};

/* Command kinds. */
enum {
    ROUTE_CMD_PUT = 0x0401,
    ROUTE_CMD_REMOVE = 0x0402
};

/* Slices are borrowed: from the transaction when read. */
struct route {
    struct bytes id;
    struct bytes hosts[ROUTE_HOSTS_MAX]; /* stored in lower case */
    uint32_t host_count;                 /* 0: stored as one "*" */
    struct bytes path;                   /* begins with "/"; empty: stored as "/" */
    struct bytes service;                /* stored in lower case */
    uint64_t create_index;               /* set by apply */
    uint64_t modify_index;               /* set by apply */
};

/* Whether the route is well formed: ERR_BAD_INPUT or ERR_TOO_LARGE with a sentence that names the
 * rule, borrowed for ever. */
ERR_CHECKED enum err route_check(const struct route *route, const char **ret_reason);

/* Inserts or replaces the route of this id. Errors as route_check, and ERR_FULL (buffer). */
ERR_CHECKED enum err route_put_encode(const struct route *route, struct buf *to);
ERR_CHECKED enum err route_remove_encode(struct bytes id, struct buf *to);

/* Refusals: ERR_BAD_INPUT, ERR_TOO_LARGE, ERR_NOT_FOUND (remove), ERR_FULL (ROUTE_COUNT_MAX).
 * Changes: TABLE_ROUTES, the id. */
ERR_CHECKED enum err route_apply(struct apply *a, uint16_t kind, struct bytes body);

ERR_CHECKED enum err route_get(struct table_txn *txn, struct bytes id, struct route *ret_route);

/* Anything but ERR_OK ends the iteration and is returned by it. */
typedef enum err route_visit_fn(void *context, const struct route *route);
/* In order of ids. */
ERR_CHECKED enum err route_each(struct table_txn *txn, route_visit_fn *visit, void *context);
/* Index of the last change to any route, at least 1. */
ERR_CHECKED enum err route_index(struct table_txn *txn, uint64_t *ret_index);

/* ---- the matcher ----------------------------------------------------------------------------- */

/* An immutable snapshot: any number of threads may ask it at once. */
struct route_table;

/* What a request was matched to; slices live as long as the table. */
struct route_match {
    struct bytes route_id;
    struct bytes service; /* lower case: a service key of core/registry */
    struct bytes host;    /* the pattern that matched */
    struct bytes path;    /* the prefix that matched, without a trailing "/" unless it is "/" */
};

/* Builds from the rows of TABLE_ROUTES; owned by the caller, freed by route_table_free.
 * ERR_CORRUPT, ERR_IO. */
ERR_CHECKED enum err route_table_build(struct table_txn *txn, struct route_table **ret_table);
/* Accepts NULL. */
void route_table_free(struct route_table *table);
size_t route_table_count(const struct route_table *table);
/* host: without port, any case, a trailing dot is ignored; empty matches "*" only. path: absolute,
 * without query, already in the form that is to be matched (the caller has dealt with "." and
 * ".."). Allocates nothing; cost: labels of the host times elements of the path, each a binary
 * search. False: no route. */
bool route_table_match(const struct route_table *table, struct bytes host, struct bytes path,
                       struct route_match *ret_match);

#endif
