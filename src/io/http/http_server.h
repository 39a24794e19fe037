/* The HTTP/1.1 server of a loop: complete requests in, answers out, at any later time.
 *
 * Place: io/http, over io/loop and proto/http1; for the API, the Consul door and the console. The
 * gateway streams bodies and uses loop and http1 itself. One server belongs to one loop; several
 * loops listen on one address with reuse_port.
 *
 *   connection:  idle --> head --> body --> on_request --> answered --> sent --> idle ...
 *                  |        |        |          |                        |
 *                  +--------+--------+----------+---- closed, timed out -+--> closed
 *
 * Invariants:
 *   1. on_request is called for complete requests only, one at a time per connection, in the order
 *      of arrival. What a client sends ahead waits, and at some point is left with the kernel.
 *   2. Every request that on_request got is ended exactly once, by http_respond,
 *      http_respond_end or http_request_cancel: during on_request or at any later time, also
 *      after on_gone. Until then it stays where it is, with all that it points to.
 *   3. All limits are hard: connections, bytes, requests and times.
 *   4. A warm server allocates nothing for a request within HTTP_KEEP_BYTES per buffer.
 *
 * Source: RFC 9110, RFC 9112. Absent on purpose: content codings, ranges, upgrades, CONNECT. */
#ifndef HTTP_HTTP_SERVER_H
#define HTTP_HTTP_SERVER_H

#include "http1/http1_head.h"
#include "loop/tcp.h"
#include "mem/mem.h"
#include "metrics/metrics.h"

struct http_server;

enum {
    HTTP_LISTENERS_MAX = 8,      /* per server */
    HTTP_KEEP_BYTES = 32 * 1024, /* buffers that grew beyond it are not kept for reuse */
};

struct http_limits {
    struct http1_limits http1; /* of heads, and body_max_bytes */
    size_t answer_max_bytes;   /* of a body in one answer */
    size_t arena_max_bytes;    /* of http_request.arena */
    uint32_t connections_max;  /* a few more are accepted and answered 503 "busy" */
    uint32_t requests_max;     /* on one connection, then it is closed */
    clk_ns idle_timeout;       /* between requests, and before the first byte */
    clk_ns header_timeout;     /* from a head's first to its last byte */
    clk_ns body_timeout;       /* for a whole body */
    clk_ns write_timeout;      /* without any progress of an answer */
};

/* Body 1 MiB, answer 64 MiB, arena 4 MiB, 4096 connections, 1 million requests; idle 120 s, header
 * 15 s, body 60 s, write 30 s. */
extern const struct http_limits HTTP_LIMITS_DEFAULT;

/* One header field of an answer or request; name a token, value without CR, LF and NUL. */
struct http_field {
    struct bytes name;
    struct bytes value;
};

/* A complete request. All members but the last two are read-only for the handler; slices are
 * borrowed until the request is ended. */
struct http_request {
    struct http_server *server;
    const struct http1_head *head; /* spans lie in head_data; HEAD asks for what GET would give */
    const uint8_t *head_data;
    enum http1_method method;
    struct bytes method_name;
    struct bytes path;   /* as sent, not decoded; begins with '/' or is "*" */
    struct bytes query;  /* as sent, after the '?'; see http/http_query.h */
    struct bytes body;   /* whole, without framing */
    struct arena *arena; /* memory for the handler, forgotten when the request is ended */
    struct buf *out;     /* empty; a body that is built here is sent without copying */
    clk_ns since;        /* when the request was complete, in the loop's clock */
    bool gone;           /* the client has stopped sending: nobody may be there to read */

    void *user; /* the handler's own; NULL at first */
    /* Set during on_request by a handler that answers later: called once, from the loop, when the
     * client has reset the connection or finished sending (a half-closed client still gets an
     * answer), or when the server is closed. The request must still be ended, here or later. */
    void (*on_gone)(struct http_request *request);
};

/* Counters, written by the loop's thread. */
struct http_server_stats {
    struct metric_counter connections; /* accepted */
    struct metric_counter requests;    /* given to on_request */
    struct metric_counter refused[HTTP1_REASON_COUNT];
    struct metric_counter timeouts; /* of idle, header, body and write */
    struct metric_counter busy;     /* refused for too many connections */
    struct metric_counter gone;     /* clients that left before their answer */
    struct metric_gauge open;       /* connections */
};

/* Private to the server. */
struct http_listener {
    struct tcp_listener tcp;
    struct http_server *server;
};

/* In the caller's object (CONTAINER_OF(request->server, ...)). */
struct http_server {
    struct http_server_stats stats; /* read-only */
    struct loop *loop;              /* read-only */

    /* All others are private. */
    struct http_limits limits;
    void (*on_request)(struct http_request *request);
    void (*on_drained)(struct http_server *server);
    void (*on_closed)(struct http_server *server);
    struct http_listener listeners[HTTP_LISTENERS_MAX];
    size_t listener_count;  /* entries in use */
    size_t listeners_alive; /* not yet closed */
    struct list conns;      /* struct http_conn */
    size_t conn_count;
    struct pool conn_pool;
    struct list free_exchanges; /* struct http_exchange, warm */
    size_t free_exchange_count;
    size_t free_bytes;     /* in their buffers */
    size_t exchange_count; /* in use */
    struct loop_call ended;
    uint64_t date_s; /* of date */
    uint8_t date[32];
    bool paused;
    bool draining;
    bool closing;
};

/* server: the caller's storage, must not move until on_closed. limits are copied. on_request must
 * not be NULL. Nothing listens yet. */
void http_server_init(struct http_server *server, struct loop *loop,
                      const struct http_limits *limits,
                      void (*on_request)(struct http_request *request));
/* Listens on one more address (at most HTTP_LISTENERS_MAX: ERR_FULL); errors and note as
 * tcp_listen. */
ERR_CHECKED enum err http_server_listen(struct http_server *server, const struct net_addr *addr,
                                        bool reuse_port, struct err_note *note);
/* The bound address of the index-th listener, port filled in. */
struct net_addr http_server_addr(const struct http_server *server, size_t index);
/* Serves a connected socket, which the server owns from now on. */
void http_server_accept(struct http_server *server, int fd);

/* Stops listening, closes idle connections, closes the others after the answer to the request that
 * they are in. on_drained: the last connection has gone (from the loop; not after
 * http_server_close). Once. */
void http_server_drain(struct http_server *server, void (*on_drained)(struct http_server *server));
/* Closes everything at once. Unended requests get on_gone and must be ended. on_closed, from the
 * loop: no connection, no request and no memory is left. Once. */
void http_server_close(struct http_server *server, void (*on_closed)(struct http_server *server));

/* --- answers --- */

/* The server adds Date, Content-Length and Connection itself; fields must not name these. */
struct http_answer {
    uint16_t status;           /* 200..999 */
    struct bytes content_type; /* empty: no such field */
    const struct http_field *fields;
    size_t field_count;
    struct bytes body; /* in request->out (then it is all of it), or anywhere: copied */
};

/* Ends the request; it is invalid afterwards. Nothing of answer is borrowed beyond the call. A body
 * over answer_max_bytes or a malformed field is answered with 500 instead. HEAD, 204 and 304
 * get no body whatever is given. When the client has gone nothing is sent. */
void http_respond(struct http_request *request, const struct http_answer *answer);
/* A text/plain answer, printf style, cut at 1023 bytes. */
void http_respond_text(struct http_request *request, uint16_t status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Ends the request without an answer and closes the connection. */
void http_request_cancel(struct http_request *request);

/* A body of unknown length: begin, any number of writes, end. answer->body must be empty. After
 * on_gone writes are accepted and dropped. */
void http_respond_begin(struct http_request *request, const struct http_answer *answer);
/* Copies a piece. ERR_FULL: HTTP_STREAM_AHEAD bytes have not been taken by the client yet: nothing
 * was copied, on_room comes. ERR_CLOSED: the client has gone. */
ERR_CHECKED enum err http_respond_write(struct http_request *request, struct bytes piece);
/* on_room is called once, from the loop, after a write that was refused with ERR_FULL, when there
 * is room again, or when the connection is closed and there is no on_gone. */
void http_respond_on_room(struct http_request *request,
                          void (*on_room)(struct http_request *request));
/* Ends the body and the request. */
void http_respond_end(struct http_request *request);

enum {
    HTTP_STREAM_AHEAD = 256 * 1024
};

/* The value of the first field of that name (without case); {NULL, 0} when there is none. */
struct bytes http_request_header(const struct http_request *request, struct bytes name);
/* The client's address; len 0 when it is not known any more. */
struct net_addr http_request_peer(struct http_request *request);

#endif
