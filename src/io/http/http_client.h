/* The HTTP/1.1 client of a loop: whole answers of bounded size, over kept connections.
 *
 * Place: io/http, over io/loop and proto/http1; for health checks, the CLI (http/http_call.h) and
 * tests. The gateway's upstream connections are its own.
 *
 *   http_fetch_start --> a kept connection or a new one --> sent --> head --> body --> on_done
 *
 * Invariants:
 *   1. A fetch belongs to the client from start to on_done, which comes exactly once, from the
 *      loop, also after a cancel (ERR_CANCELED, unless it was done already).
 *   2. Idempotent requests may use a kept connection; when that is found closed before any byte of
 *      an answer came, the request is sent once more on a new one. Others always get a new
 *      connection: nobody can tell whether such a request was carried out (RFC 9110 section 9.2.2).
 *   3. Redirects are answers like others.
 *
 * Source: RFC 9110, RFC 9112. */
#ifndef HTTP_HTTP_CLIENT_H
#define HTTP_HTTP_CLIENT_H

#include "http/http_server.h"

struct http_client;
struct http_client_conn;

struct http_client_limits {
    uint32_t fetches_max; /* at once; one more fails with ERR_FULL */
    uint32_t kept_max;    /* idle connections in all */
    clk_ns kept_timeout;  /* how long an idle one is kept */
};

/* 1024 fetches, 256 kept, 60 s. */
extern const struct http_client_limits HTTP_CLIENT_LIMITS_DEFAULT;

enum {
    HTTP_CLIENT_BUCKETS = 256
};

/* In the caller's storage. All members are private. */
struct http_client {
    struct loop *loop;
    struct http_client_limits limits;
    struct list conns;                        /* struct http_client_conn, all */
    struct list kept;                         /* of them the idle ones, longest idle first */
    struct list kept_by[HTTP_CLIENT_BUCKETS]; /* the same by address, latest used first */
    size_t conn_count;
    size_t kept_count;
    size_t fetch_count;      /* started, not done */
    struct loop_timer timer; /* of the longest idle one */
    struct loop_call ended;
    bool closing;
    void (*on_closed)(struct http_client *client);
};

/* limits are copied. */
void http_client_init(struct http_client *client, struct loop *loop,
                      const struct http_client_limits *limits);
/* Closes kept connections; on_closed comes from the loop. No fetch may be under way. Once. */
void http_client_close(struct http_client *client, void (*on_closed)(struct http_client *client));

/* One request and its answer, in the caller's storage; zeroed before the members are set. */
struct http_fetch {
    /* Set by the caller; slices are borrowed until on_done. */
    struct net_addr addr;
    enum http1_method method; /* not OTHER, not CONNECT */
    struct bytes target;      /* path and query as sent, begins with '/' */
    struct bytes host;        /* for the Host field; empty: addr */
    const struct http_field *fields;
    size_t field_count;
    struct bytes body;
    clk_ns connect_timeout; /* 0: as timeout */
    clk_ns timeout;         /* for everything, > 0; CLK_NEVER for none */
    size_t body_max;        /* bytes of the answer's body to keep */
    bool cut_body;          /* a longer one is cut to body_max; else it fails: ERR_TOO_LARGE */
    /* Not NULL: gets the body of a 2xx answer piece by piece, borrowed during the call; answer is
     * empty then, body_max is for other answers. Anything but ERR_OK ends the fetch with it. Wants
     * fresh, so that no piece comes twice. */
    enum err (*take)(struct http_fetch *fetch, struct bytes piece);
    bool fresh; /* always on a new connection, and not kept afterwards */
    /* ERR_OK: the members below are set. ERR_REFUSED, ERR_TIMEOUT, ERR_CLOSED (the server closed
     * before or inside the answer), ERR_BAD_INPUT (the request cannot be written, or the answer is
     * not HTTP: see reason), ERR_TOO_LARGE, ERR_FULL, ERR_CANCELED, ERR_IO. */
    void (*on_done)(struct http_fetch *fetch, enum err err);

    /* The answer, borrowed until on_done returns. */
    uint16_t status;
    const struct http1_head *head; /* spans lie in head_data */
    const uint8_t *head_data;
    struct bytes answer;      /* the body, without framing */
    bool answer_was_cut;      /* there was more */
    bool connected;           /* a connection was there: tells kinds of ERR_TIMEOUT apart */
    enum http1_reason reason; /* of ERR_BAD_INPUT by the answer, else NONE */

    /* Private. */
    struct http_client *client;
    struct http_client_conn *conn;
    struct loop_timer timer;
    struct loop_call failed;
    enum err result;
    bool retried;
};

/* Starts; on_done comes later, never inside. */
void http_fetch_start(struct http_client *client, struct http_fetch *fetch);
/* Makes on_done come soon; between start and on_done only. */
void http_fetch_cancel(struct http_fetch *fetch);

/* The value of the answer's first field of that name (without case), inside on_done; {NULL, 0}. */
struct bytes http_fetch_header(const struct http_fetch *fetch, struct bytes name);

#endif
