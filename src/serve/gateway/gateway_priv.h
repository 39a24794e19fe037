/* Inside of the gateway: clients, exchanges, upstreams, pieces to send.
 *
 * Place: serve/gateway, private.
 *
 *   gw_client    a client's connection; at most one exchange at a time
 *   gw_exchange  one request and its answer, from the request's complete head to the answer's end
 *   gw_upstream  a connection to an endpoint: serves one exchange, or idles in its pool
 *   gw_endpoint  an instance as the gateway sees it; counted references
 *   gw_service   its endpoints now; counted references
 *   gw_out       bytes on their way out: a buffer of our own words, slices of what was received
 *   gw_flow      the pieces of one event in one direction, gathered into one send
 *
 * A client's state:
 *
 *   HEAD --head complete--> PROXY --answered--> HEAD          (kept alive)
 *     |                       |  \--answered--> DRAIN --> HEAD (the rest of a small body is
 *     dropped) |                       |  \--answered--> LINGER         (FIN sent, what comes is
 *     dropped) +----- refused ---------+-------------> as answered
 *   any --> CLOSING --> freed
 *
 * An exchange's phase:
 *
 *   ROUTING --> CONNECTING --> WAITING --answer's head--> ANSWERING --> freed
 *                  ^  |          |
 *                  +--+----------+ retry on another endpoint
 */
#ifndef GATEWAY_GATEWAY_PRIV_H
#define GATEWAY_GATEWAY_PRIV_H

#include "bytes/bytes.h"
#include "gateway/gateway_edge.h"
#include "gateway/gateway_reason.h"
#include "http1/http1_body.h"
#include "http1/http1_head.h"
#include "http1/http1_hop.h"
#include "http1/http1_write.h"
#include "list/list.h"
#include "loop/tcp.h"
#include "map/map.h"
#include "mem/mem.h"
#include "metrics/metrics.h"

enum {
    GW_OUT_BYTES = 16 * 1024,
    GW_RUNS_MAX = 32, /* runs of content per chunk that we write */
    GW_IOV_MAX = GW_RUNS_MAX + 8,
    GW_COPY_MAX = 4096,         /* content up to here is copied, more is sent from where it lies */
    GW_UNSENT_HIGH = 64 * 1024, /* a slower receiver stops its sender */
    GW_UNSENT_LOW = 32 * 1024,
    GW_DRAIN_MAX = 64 * 1024,   /* the rest of a refused request's body that is read, not cut off */
    GW_AHEAD_MAX = 1024 * 1024, /* one receive chunk at most: receiving is stopped while it waits */
    GW_REQUEST_ID_MAX = 128,
    GW_SERVICE_NAME_MAX = 128,
    GW_OVER_CLIENTS = 256, /* beyond clients_max: get an answer; further ones are just closed */
    GW_LOG_BYTES = 64 * 1024,
    GW_LOG_LINE_MAX = 8192
};

#define GW_LINGER_TIMEOUT CLK_S(2)
#define GW_SWEEP_INTERVAL CLK_S(1)

/* --- sending --- */

struct gw_out {
    struct tcp_send_req req;
    struct gateway_edge *edge;
    void *owner;             /* struct gw_client or struct gw_upstream */
    struct tcp_chunk *chunk; /* received bytes that pieces point into, or NULL */
    uint8_t *data;           /* room, or memory of its own for a large head */
    size_t len;
    size_t cap;
    bool sending;
    bool held; /* an exchange needs the bytes after they were sent */
    struct http1_pieces pieces;
    struct iovec iov[GW_IOV_MAX];
    uint8_t room[GW_OUT_BYTES];
};

typedef void gw_sent_fn(struct tcp_send_req *req, enum err err);

struct gw_flow {
    struct gateway_edge *edge;
    struct tcp_conn *to;
    void *owner;
    gw_sent_fn *on_sent;
    struct gw_out *out; /* being filled, or NULL */
    uint64_t bytes;     /* put so far */
    bool sent;          /* some of it was handed to the connection already */
    bool failed;        /* no buffer was left: what was put is incomplete */
};

/* NULL: buffers_max is reached. cap: at least so many bytes of our own words. */
struct gw_out *gw_out_get(struct gateway_edge *edge, size_t cap);
/* Not while it is being sent. */
void gw_out_free(struct gw_out *out);
/* For on_sent callbacks: the bytes have left (or never will). */
void gw_out_sent(struct gw_out *out);
/* Takes `data` as the only content and sends. */
void gw_out_send(struct gw_out *out, struct tcp_conn *to, void *owner, gw_sent_fn *on_sent);

/* Copies. */
void gw_flow_put(struct gw_flow *flow, struct bytes bytes);
/* Makes room for len own bytes in one piece and returns it; NULL when the flow has failed. */
uint8_t *gw_flow_reserve(struct gw_flow *flow, size_t len);
/* So many of the reserved bytes were written. */
void gw_flow_advance(struct gw_flow *flow, size_t len);
/* Sends what was gathered. */
void gw_flow_end(struct gw_flow *flow);
/* Forgets what was not sent. */
void gw_flow_drop(struct gw_flow *flow);

/* Moves body content from data into the flow, framed anew (chunked or bare). from: the connection
 * in whose on_recv data is lent, or NULL. ERR_BAD_INPUT: body->reason; ERR_FULL: no buffers. */
ERR_CHECKED enum err gw_relay(struct gw_flow *flow, struct http1_body *body, bool chunked,
                              struct bytes data, struct tcp_conn *from, size_t *ret_used);

/* --- endpoints --- */

struct gw_endpoint {
    struct gateway_edge *edge;
    uint32_t refs; /* the service's list, upstreams, exchanges */
    uint32_t in_flight;
    uint32_t open_count; /* upstreams */
    uint32_t idle_count;
    bool gone; /* in no service's list any more */
    clk_ns avoid_until;
    struct list idle; /* struct gw_upstream, the last used one first */
    struct net_addr addr;
    char addr_text[NET_ADDR_TEXT_MAX];
    struct bytes id;
    uint8_t id_data[];
};

struct gw_service {
    struct map_node by_name;
    struct gateway_edge *edge;
    uint32_t refs; /* the map, exchanges */
    size_t count;
    struct gw_endpoint **endpoints; /* owned array of references */
    struct bytes name;
    uint8_t name_data[];
};

struct gw_service *gw_service_find(struct gateway_edge *edge, struct bytes name);
void gw_service_unref(struct gw_service *service);
void gw_endpoint_unref(struct gw_endpoint *endpoint);
/* By power of two choices; excluded may be NULL. NULL: there is none. */
struct gw_endpoint *gw_service_pick(struct gw_service *service, const struct gw_endpoint *excluded);
void gw_services_free(struct gateway_edge *edge);

/* --- upstreams --- */

struct gw_upstream {
    struct tcp_conn tcp;
    struct gateway_edge *edge;
    struct gw_endpoint *endpoint; /* a reference */
    struct gw_exchange *exchange; /* NULL: idle, or closing */
    struct list link;             /* in edge->upstreams */
    struct list in_pool;          /* in endpoint->idle */
    struct list by_age;           /* in edge->idle, the longest idle one first */
    clk_ns idle_since;
    bool recv_stopped;
    bool closing;
};

/* The last used idle connection, for this exchange; NULL when there is none. */
struct gw_upstream *gw_upstream_take(struct gw_endpoint *endpoint, struct gw_exchange *exchange);
/* Connects; gw_exchange_connected follows. */
void gw_upstream_connect(struct gw_endpoint *endpoint, struct gw_exchange *exchange);
/* Leaves its exchange and goes to the pool, or is closed. */
void gw_upstream_release(struct gw_upstream *upstream, bool reusable);
void gw_upstream_pause(struct gw_upstream *upstream);
void gw_upstream_resume(struct gw_upstream *upstream);
void gw_upstream_close_idle(struct gw_endpoint *endpoint);
void gw_upstream_close_all_idle(struct gateway_edge *edge);
void gw_upstream_sweep(struct loop_timer *timer);
gw_sent_fn gw_upstream_on_sent;

/* --- exchanges --- */

enum gw_phase {
    GW_ROUTING,
    GW_CONNECTING,
    GW_WAITING,
    GW_ANSWERING
};

/* A head that did not come whole. */
struct gw_partial {
    struct http1_head head;
    struct buf bytes;
};

struct gw_exchange {
    struct gateway_edge *edge;
    struct gw_client *client;
    struct gw_upstream *upstream;
    struct gw_endpoint *endpoint; /* a reference: of the current or last attempt */
    struct gw_service *service;   /* a reference */
    struct gw_out *request;       /* the rebuilt head; held */
    struct gw_partial *partial;   /* of the answer's head */
    struct http1_body answer;
    clk_ns since;    /* the request's first byte */
    clk_ns progress; /* the last step forward: what timeouts are counted from */
    uint64_t bytes_in;
    uint64_t bytes_out;
    /* For the log; they point into the request's rebuilt head once that exists. */
    struct bytes method;
    struct bytes host;
    struct bytes path;
    struct bytes request_id;
    struct bytes service_name;
    const char *reason; /* stable name, NULL: none */
    uint16_t status;
    uint8_t phase; /* enum gw_phase */
    uint8_t retries;
    uint8_t interim; /* 1xx heads so far */
    bool keep_alive; /* the client's connection may go on afterwards */
    bool http10;
    bool head_only; /* HEAD */
    bool idempotent;
    bool expect_continue;   /* the client waits for 100 before the body */
    bool chunked_request;   /* towards the upstream */
    bool chunked_answer;    /* towards the client */
    bool close_marks_end;   /* towards the client: HTTP/1.0 and no length */
    bool answer_keep_alive; /* the upstream's connection may go on afterwards */
    bool body_taken;        /* a byte of the request's body was consumed */
    bool reused;            /* this attempt runs on a pooled connection */
    bool head_unsent;       /* sending the head failed as a whole */
    bool send_failed;       /* the upstream takes no more: the rest of the body is dropped */
    bool answer_begun;      /* a byte of the answer's head was passed on */
    bool got_bytes;         /* from the upstream, in this attempt */
    char id_text[33];       /* a request id of ours */
};

/* The head was parsed; data is lent until the call returns. */
void gw_exchange_start(struct gw_client *client, const struct http1_head *head,
                       const uint8_t *data);
/* A head that was refused or did not come in time. */
void gw_exchange_refuse_head(struct gw_client *client, enum gateway_reason reason,
                             enum http1_reason http1_reason);
/* The upstream that was being connected is up, or failed. */
void gw_exchange_connected(struct gw_exchange *ex, enum err err);
/* Request body bytes; returns how many were used up. from as in gw_relay. */
size_t gw_exchange_body(struct gw_exchange *ex, struct bytes data, struct tcp_conn *from);
bool gw_exchange_wants_body(const struct gw_exchange *ex);
/* A send to the upstream ended. */
void gw_exchange_sent(struct gw_exchange *ex, const struct gw_out *out, enum err err);
/* Bytes of the answer, lent by the upstream's connection. */
void gw_exchange_answer(struct gw_exchange *ex, struct bytes data);
/* The upstream ended or failed. */
void gw_exchange_upstream_end(struct gw_exchange *ex, enum err err);
/* Breaks it off without (further) answer; the client's connection is the caller's matter. */
void gw_exchange_abort(struct gw_exchange *ex, enum gateway_reason reason);
/* The attempt cannot succeed: another one, an answer of our own, or breaking off. */
void gw_exchange_fail(struct gw_exchange *ex, enum gateway_reason reason, const char *detail);
/* When it must have come further; CLK_NEVER. */
clk_ns gw_exchange_deadline(const struct gw_exchange *ex);
/* That time has come. */
void gw_exchange_timed_out(struct gw_exchange *ex);
/* Ends its books: log, metrics, memory. The upstream has been released. */
void gw_exchange_free(struct gw_exchange *ex);

/* A fresh random id, for requests that bring none. */
void gw_request_id_make(struct gw_exchange *ex);

struct gw_refusal {
    uint16_t status;
    const char *code;
    const char *detail;
};

/* Answers with a JSON body, then lets the client go on. Nothing of an answer was sent before. */
void gw_refuse(struct gw_exchange *ex, const struct gw_refusal *refusal);

/* Rebuilds the request's head for the upstream into ex->request. ERR_BAD_INPUT: the path is
 * refused, *ret_reason says why; ERR_FULL: no buffers. */
ERR_CHECKED enum err gw_request_build(struct gw_exchange *ex, const struct http1_head *head,
                                      const uint8_t *data, enum http1_reason *ret_reason);
/* Rebuilds the answer's head for the client. The flow fails when there are no buffers. */
void gw_answer_build(struct gw_exchange *ex, struct gw_flow *flow, const struct http1_head *head,
                     const uint8_t *data);

/* --- clients --- */

enum gw_client_state {
    GW_HEAD,
    GW_PROXY,
    GW_DRAIN,
    GW_LINGER,
    GW_CLOSING
};

struct gw_client {
    struct tcp_conn tcp;
    struct gateway_edge *edge;
    struct gw_exchange *exchange;
    struct gw_partial *partial; /* a head that has begun */
    struct list link;           /* in edge->clients */
    struct loop_timer timer;
    struct loop_call work;
    clk_ns timer_at;
    clk_ns since; /* of the state, or of the head's first byte */
    clk_ns write_since;
    size_t unsent_seen;
    struct buf ahead; /* received, not yet looked at */
    struct http1_body body;
    uint8_t state; /* enum gw_client_state */
    bool ended;    /* the client has finished sending */
    bool busy;     /* over clients_max */
    bool recv_stopped;
    bool feeding;
    char ip[NET_IP_TEXT_MAX];
};

void gw_client_open(struct gateway_edge *edge, int fd);
void gw_client_close(struct gw_client *client);
/* As close, with a reset: the answer was cut short and nothing else would show it. */
void gw_client_abort(struct gw_client *client);
/* The answer is complete (in the send queue). The exchange is over. */
void gw_client_answered(struct gw_client *client, bool keep_alive);
/* Something changed that may let the client go on: buffers, body, stop. */
void gw_client_wake(struct gw_client *client);
bool gw_client_is_idle(const struct gw_client *client);
struct gw_flow gw_client_flow(struct gw_client *client);

/* --- log --- */

struct gw_log {
    int fd; /* -1: none */
    size_t len;
    uint64_t lost;
    struct loop_hook hook;
    clk_ms stamp_ms; /* of stamp */
    char stamp[25];
    struct buf line;
    uint8_t *bytes; /* GW_LOG_BYTES */
};

void gw_log_init(struct gateway_edge *edge, int fd);
void gw_log_done(struct gateway_edge *edge);
void gw_log_exchange(const struct gw_exchange *ex);

/* --- the edge --- */

struct gw_metrics {
    struct metric_counter requests;
    struct metric_counter statuses[6]; /* by the first digit; 0: none was sent */
    struct metric_counter reasons[GATEWAY_REASON_COUNT];
    struct metric_counter malformed[HTTP1_REASON_COUNT];
    struct metric_counter bytes_in;
    struct metric_counter bytes_out;
    struct metric_counter retries;
    struct metric_counter connects;
    struct metric_counter reuses;
    struct metric_counter log_lost;
    struct metric_gauge clients;
    struct metric_gauge upstreams;
    struct metric_gauge upstreams_idle;
    struct metric_hist duration;
    struct metric_entry *entries;
    char (*labels)[64];
};

struct gateway_edge {
    struct loop *loop;
    struct gateway_limits limits;
    uint32_t number;
    struct http1_head head; /* for heads that come whole, as they mostly do */
    struct route_table *routes;
    struct map services;
    struct hash_seed seed;
    struct list clients;
    struct list upstreams;
    struct list idle;
    size_t client_count;
    size_t upstream_count;
    size_t idle_count;
    struct pool client_pool;
    struct pool exchange_pool;
    struct pool upstream_pool;
    struct pool out_pool;
    size_t outs;
    size_t outs_peak;
    struct loop_timer sweep;
    struct loop_timer drain;
    struct loop_call end;
    struct tcp_listener listener;
    bool listener_open;
    bool stopping;
    uint8_t date[HTTP1_DATE_LEN];
    uint64_t date_s;
    struct gw_log log;
    struct gw_metrics metrics;
    void (*on_stopped)(void *self);
    void *on_stopped_self;
};

/* The current date, made once per second. */
struct bytes gw_edge_date(struct gateway_edge *edge);
/* After the last connection went: is it over? Then on_stopped follows, later in the turn. */
void gw_edge_check_end(struct gateway_edge *edge);
/* Counts a finished exchange. */
void gw_metrics_count(struct gw_exchange *ex);
void gw_metrics_done(struct gateway_edge *edge);

static inline struct gw_partial *gw_partial_new(void)
{
    struct gw_partial *partial = mem_alloc(sizeof(*partial));
    buf_init(&partial->bytes, GW_AHEAD_MAX + HTTP1_HEAD_MAX);
    return partial;
}

static inline void gw_partial_free(struct gw_partial *partial)
{
    if (partial != NULL) {
        buf_done(&partial->bytes);
        mem_free(partial);
    }
}

#endif
