/* Inside of the peers: connections, links, and who calls whom.
 *
 * Place: node/peers, private.
 *
 *   dialled:  CONNECTING --on_connect--> GREETING --hello good--> OPEN --+
 *   accepted:               GREETING -----------hello good-----> OPEN --+--> closing --> freed
 *                               +--hello bad--> REFUSING (reason sent) --+
 *
 * A link is one channel of one peer; it has at most one connection: the one that is dialled or
 * open. Accepted connections that have not said who they are belong to no link and are counted as
 * strangers.
 *
 * Invariants:
 *   1. conn->link != NULL and link->conn == conn for every dialled or open connection that is not
 *      closing; in all other states of a connection link->conn is not it.
 *   2. peer->up exactly while its LOG link has an open connection.
 *   3. After each call of env the connection may be closing: whoever goes on asks first. */
#ifndef PEERS_PEERS_PRIV_H
#define PEERS_PEERS_PRIV_H

#include "peers/peers.h"

#include "list/list.h"
#include "loop/loop.h"
#include "loop/tcp.h"
#include "tls/tls.h"

enum {
    PEERS_HEAD_BYTES = 9,
    PEERS_STRANGERS_MAX = 64,
    PEERS_BACKOFF_MIN_MS = 20,
    PEERS_BACKOFF_MAX_MS = 500,
    PEERS_DIAL_TIMEOUT_MS = 2000,
    PEERS_HELLO_TIMEOUT_MS = 3000,
    PEERS_REFUSE_TIMEOUT_MS = 1000,
    PEERS_ALIVE_MS = 1000,
    PEERS_SILENCE_MS = 5000,
    /* An open connection that was heard of so lately is not given up for one with another data
     * directory. */
    PEERS_FRESH_MS = 2500,
    PEERS_KEEP_BYTES = 1024 * 1024, /* buffers over this are given back when they are empty */
    PEERS_LOG_LINES_MAX = 5,        /* about strangers, per second */
    PEERS_SEAL_BYTES = 1024 * 1024, /* encrypted at a time: about half a millisecond */
};

enum peers_conn_state {
    PEERS_CONNECTING,
    PEERS_GREETING, /* waits for the other side's hello */
    PEERS_OPEN,
    PEERS_REFUSING, /* what comes is thrown away until the other side has closed */
};

struct peers_peer;

struct peers_link {
    struct peers_peer *peer;
    enum peers_channel channel;
    struct peers_conn *conn; /* or NULL */
    struct loop_timer redial;
    clk_ns backoff;
};

struct peers_peer {
    struct peers *peers;
    raft_node_id id;
    struct net_addr addr;
    bool up;
    bool trusted;
    struct engine_hello hello; /* of the LOG connection while up */
    struct peers_link links[PEERS_CHANNEL_COUNT];
    struct peers_status status; /* connected and trusted are filled in when asked for */
};

struct peers_conn {
    struct tcp_conn tcp;
    struct list link_all;
    struct peers *peers;
    struct peers_link *link;
    enum peers_conn_state state;
    bool dialled;
    bool closing;
    bool sending;    /* out[1 - filling] is with the loop */
    struct tls *tls; /* NULL: the cluster has no secret */
    size_t sealed;   /* bytes at the beginning of out[filling] that are encrypted already */
    int filling;
    struct buf out[2];
    struct iovec iov;
    struct tcp_send_req req;
    struct buf in;           /* the head and what came of a frame that is not whole yet */
    struct loop_timer timer; /* of GREETING and REFUSING */
    clk_ns opened_at;
    clk_ns heard_at;
    clk_ns sent_at; /* last frame queued */
    char from[NET_ADDR_TEXT_MAX];
};

struct peers {
    struct loop *loop;
    struct peers_env env;
    raft_node_id self;
    uint64_t queue_bytes_max;
    uint32_t frame_bytes_max;
    struct tcp_listener listener;
    bool listener_closed;
    bool closing;
    bool close_reported;
    struct loop_hook hook;
    struct loop_timer tick;
    struct list conns;       /* all that are not freed */
    struct tls_context *tls; /* NULL: the cluster has no secret */
    uint32_t stranger_count;
    clk_ns log_window; /* of lines about strangers */
    uint32_t log_lines;
    void (*on_closed)(void *self);
    void *on_closed_self;
    uint32_t peer_count;
    struct peers_peer peers[RAFT_PEERS_MAX];
};

/* peers.c */
struct peers_peer *peers_find(struct peers *peers, raft_node_id id);
void peers_maybe_closed(struct peers *peers);

/* peers_conn.c: bytes and the end of a connection */
struct peers_conn *peers_conn_new(struct peers *peers);
void peers_conn_start(struct peers_conn *conn); /* receiving, and the hello's timer */
/* Queues a frame in any state. False: the queue is full. */
bool peers_conn_queue(struct peers_conn *conn, uint8_t kind, struct bytes body);
void peers_conn_flush(struct peers_conn *conn);
/* Frames, or parts of them, that came; returns at once when the connection ends. */
void peers_conn_take(struct peers_conn *conn, struct bytes data);
/* Closes the connection and does what follows from that; does nothing when it is closing already.
 * The reason goes to the log. */
void peers_conn_drop(struct peers_conn *conn, const char *reason);
/* Tells the other side why and closes once it has heard. reason: borrowed, may be the peer's
 * status text. */
void peers_conn_refuse(struct peers_conn *conn, const char *reason);

/* peers_secure.c: the seam for TLS */
void peers_secure_init(struct peers *peers, const struct secret_ring *ring);
/* Before anything is received; the one who dialled says the first word. */
void peers_secure_begin(struct peers_conn *conn);
/* Bytes of the network, when conn->tls is there. */
void peers_secure_receive(struct peers_conn *conn, struct bytes data);
/* When it is not: whether the other side speaks TLS; then it is refused. */
bool peers_secure_meets_tls(struct peers_conn *conn, struct bytes data);
/* Whether a frame that is queued now can leave. */
bool peers_secure_can_say(const struct peers_conn *conn);
/* Whether TLS itself has something to send. */
bool peers_secure_has_more(const struct peers_conn *conn);
/* Nothing more will be queued. */
void peers_secure_end(struct peers_conn *conn);
/* Encrypts what waits, at most PEERS_SEAL_BYTES of it, into the buffer that it returns. The
 * connection may be closing afterwards. */
struct buf *peers_secure_seal(struct peers_conn *conn);

/* peers_hello.c: what is decided before a connection is open */
void peers_hello_send(struct peers_conn *conn, raft_node_id to, enum peers_channel channel);
void peers_hello_receive(struct peers_conn *conn, struct bytes body);
/* The other side's reason for not wanting us. */
void peers_refused(struct peers_conn *conn, struct bytes body);

/* peers_dial.c: when connections begin */
void peers_dial_soon(struct peers_link *link, clk_ns delay);
void peers_dial_again(struct peers_link *link);
void peers_on_accept(struct tcp_listener *listener, int fd);
/* The link has no connection any more. */
void peers_link_lost(struct peers_link *link, const char *reason);

/* One line about somebody who is not known to be a peer, at most PEERS_LOG_LINES_MAX a second. */
void peers_log_stranger(struct peers *peers, const char *from, const char *reason);
/* Remembers why there is no connection; logs it when it is news. */
void peers_note_refusal(struct peers_peer *peer, const char *reason);

#endif
