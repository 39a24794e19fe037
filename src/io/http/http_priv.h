/* Inside of the HTTP server: connections, exchanges, and what its parts give each other.
 *
 * Place: io/http, private. http_server.c: listening, accepting, ending. http_conn.c: reading,
 * times, closing. http_respond.c: answers. http_exchange.c: requests with their buffers, recycled.
 *
 *   HTTP_READ_HEAD --> HTTP_READ_BODY --> HTTP_PENDING --> HTTP_READ_HEAD ...
 *         |                  |                 |
 *         +------------------+-----------------+--> HTTP_LINGER (answered, closing) -->
 *         HTTP_CLOSING
 *
 * Invariants:
 *   1. conn->current is the exchange that is being read or handled; answered ones that are not sent
 *      yet are in conn->sending. Both keep the exchange until its sends are complete.
 *   2. exchange->conn is NULL once the connection's memory has gone.
 *   3. Bytes that came behind a pending request are in conn->ahead, and nowhere else. */
#ifndef HTTP_HTTP_PRIV_H
#define HTTP_HTTP_PRIV_H

#include "http/http_server.h"
#include "http1/http1_body.h"

enum {
    HTTP_AHEAD_STOP = 16 * 1024, /* bytes sent ahead of an answer, then receiving stops */
    HTTP_READ_MAX = HTTP1_HEAD_MAX + 16 * 1024 * 1024, /* a head and a receive chunk */
    HTTP_AHEAD_MAX = 32 * 1024 * 1024, /* never reached: receiving stops long before */
    HTTP_SENDING_MAX = 16,             /* answers of one connection on their way */
    HTTP_UNSENT_MAX = 256 * 1024,
    HTTP_ARENA_CHUNK = 8 * 1024,
    HTTP_FREE_BYTES_MAX = 4 * 1024 * 1024, /* in exchanges that wait for reuse */
    HTTP_FREE_CONNS_MAX = 256,
    HTTP_BUSY_EXTRA = 64, /* connections over the limit that are told so */
};

/* How long a connection that we have finished may go on sending: closing at once would reset it and
 * could destroy the answer (RFC 9112 section 9.6). */
#define HTTP_LINGER_TIMEOUT CLK_S(2)

enum http_conn_state {
    HTTP_READ_HEAD, /* also idle: current is NULL */
    HTTP_READ_BODY,
    HTTP_PENDING, /* on_request has it */
    HTTP_LINGER,
    HTTP_CLOSING,
};

struct http_conn {
    struct tcp_conn tcp;
    struct list link; /* in server->conns */
    struct http_server *server;
    struct http_exchange *current;
    struct list sending; /* struct http_exchange, oldest first */
    struct buf ahead;
    struct loop_call work; /* goes on reading */
    struct loop_timer timer;
    clk_ns timer_at;
    clk_ns since;       /* when the state began; for the times of reading */
    clk_ns write_since; /* when an answer last made progress */
    size_t unsent_seen;
    uint32_t request_count;
    uint32_t sending_count;
    enum http_conn_state state;
    bool feeding;      /* bytes are being read: whoever changes the state need not ask for it */
    bool ended;        /* the client has finished sending */
    bool recv_stopped; /* too many bytes ahead */
    bool busy;         /* came over the limit: unless others leave it gets 503 */
};

struct http_exchange {
    struct http_request request;
    struct list link; /* in conn->sending or server->free_exchanges */
    struct http_conn *conn;
    struct http1_head head;
    struct http1_body body;
    struct buf head_bytes;
    struct buf content;  /* the request's body */
    struct buf out_head; /* head of the answer; of a stream: what waits behind out */
    struct buf out;      /* body of the answer; of a stream: what is on its way */
    struct arena arena;
    struct tcp_send_req send;
    struct tcp_send_req interim; /* 100 (Continue) */
    struct iovec iov[2];
    struct iovec interim_iov;
    void (*on_room)(struct http_request *request);
    bool handed_out; /* on_request got it */
    bool done;       /* and has ended it */
    bool told_gone;
    bool streaming;
    bool chunked;
    bool no_body; /* HEAD, 204, 304 */
    bool stream_in_flight;
    bool keep_alive; /* the connection lives on after the answer */
};

static inline struct http_exchange *http_exchange_of(struct http_request *request)
{
    return CONTAINER_OF(request, struct http_exchange, request);
}

/* --- http_head.c --- */

/* Reads a head from the next bytes of its connection: held collects the bytes of the head, and
 * nothing else. ERR_OK: complete, of data *ret_used bytes belong to it. ERR_INCOMPLETE: all do.
 * ERR_BAD_INPUT: refused, see head->reason. */
ERR_CHECKED enum err http_head_feed(struct http1_head *head, struct buf *held, struct bytes data,
                                    size_t *ret_used);

/* --- http_exchange.c --- */

/* A clean exchange for the connection's next request. */
struct http_exchange *http_exchange_get(struct http_conn *conn);
/* All sends must be complete. */
void http_exchange_put(struct http_server *server, struct http_exchange *exchange);
void http_exchanges_free(struct http_server *server);

/* --- http_conn.c --- */

void http_conn_open(struct http_server *server, int fd);
/* Closes now; pending requests learn of it by on_gone, from the loop. */
void http_conn_close(struct http_conn *conn);
/* Nothing is being read, handled or sent. */
bool http_conn_is_idle(const struct http_conn *conn);
/* The current request was answered and its bytes are on their way (or sent): on to the next. */
void http_conn_answered(struct http_conn *conn, bool keep_alive);
/* After a change of any kind: resumes reading, closes what is over, sets the time. */
void http_conn_settle(struct http_conn *conn);
/* Makes the loop call http_conn_settle after reading what is left in ahead. */
void http_conn_wake(struct http_conn *conn);

/* --- http_respond.c --- */

/* Answers the current request, which on_request has not seen, and closes the connection. */
void http_refuse(struct http_exchange *exchange, uint16_t status, const char *reason,
                 const char *text);
void http_send_continue(struct http_exchange *exchange);
/* The client has gone or the connection is closed: tells the handler, once. */
void http_tell_gone(struct http_exchange *exchange);

/* --- http_server.c --- */

/* A connection, a listener or a request has ended. */
void http_server_check_end(struct http_server *server);
/* Now, in the form of the Date field, made once per second. */
struct bytes http_server_date(struct http_server *server);

#endif
