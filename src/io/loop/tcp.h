/* TCP on the loop: listeners, connections, receiving, sending, closing.
 *
 * Place: io. See loop/loop.h for the rules of ownership and completion that hold here too.
 *
 *   tcp_open (accepted fd)  --+
 *                             +--> open --- tcp_close ---> closing --- on_closed ---> the caller's
 *                             again
 *   tcp_connect -- on_connect-+        (a connect that failed must be closed too)
 *
 * Invariants:
 *   1. A connection's memory belongs to the loop from tcp_open/tcp_connect until on_closed.
 *   2. After tcp_close() there is no on_recv; pending connects and sends complete (ERR_CANCELED
 *      unless they were done already); then comes on_closed, last.
 *   3. Bytes arrive in order, each once; sends leave in the order of their tcp_send calls.
 *   4. Received bytes are the loop's: borrowed until on_recv returns, or until tcp_chunk_release
 *      after tcp_recv_keep. */
#ifndef LOOP_TCP_H
#define LOOP_TCP_H

#include "loop/loop.h"
#include "net/net.h"

#include <sys/uio.h>

struct tcp_conn;
struct tcp_chunk;

typedef void (*tcp_connect_fn)(struct tcp_conn *conn, enum err err);
typedef void (*tcp_recv_fn)(struct tcp_conn *conn, enum err err, struct bytes data);
typedef void (*tcp_closed_fn)(struct tcp_conn *conn);

/* One connection, embedded in the caller's object. All members are private to the loop. */
struct tcp_conn {
    struct loop *loop;
    struct loop_call ready;   /* queued completions: see tcp_run_ready */
    struct list want_send;    /* io_uring: its send is built at the turn's end */
    struct list sends;        /* struct tcp_send_req, oldest first */
    struct list sent;         /* completed ones whose callback has not run */
    struct tcp_chunk *parked; /* bytes that arrived while receiving was stopped, oldest first */
    struct tcp_chunk *parked_last;
    struct loop_timer timer; /* of connecting */
    tcp_recv_fn on_recv;
    tcp_connect_fn on_connect;
    tcp_closed_fn on_closed;
    struct net_addr peer; /* of a connect, until it is done */
    size_t unsent;
    int fd;
    uint32_t flags;
    uint32_t in_flight; /* kernel operations that have not reported their end */
    uint8_t connect_err;
    uint8_t recv_err;
    uint8_t send_err;
};

/* One send. All members are private to the loop. */
struct tcp_send_req {
    struct list link;
    struct tcp_conn *conn;
    struct iovec *iov;
    size_t left;
    int iov_count;
    enum err result;
    void (*on_sent)(struct tcp_send_req *req, enum err err);
};

enum {
    TCP_IOV_MAX = 64
}; /* slices per send */

/* Takes over a connected stream socket; those from on_accept have TCP_NODELAY already. Receiving
 * begins with tcp_recv_start. */
void tcp_open(struct tcp_conn *conn, struct loop *loop, int fd);

/* Makes a socket and connects. on_connect: ERR_OK, ERR_REFUSED, ERR_TIMEOUT (after timeout ns, or
 * the system's), ERR_CANCELED (closed meanwhile), ERR_FULL (no descriptors), ERR_IO (unreachable).
 * addr is copied; timeout > 0, CLK_NEVER for none. Sends may be queued and receiving started before
 * on_connect: they begin once connected; when connecting fails the sends fail and on_recv does not
 * come. */
void tcp_connect(struct tcp_conn *conn, struct loop *loop, const struct net_addr *addr,
                 clk_ns timeout, tcp_connect_fn on_connect);

/* Starts or resumes receiving, or replaces the callback. on_recv gets
 *   ERR_OK with bytes      some data (1 byte to recv_chunk_size);
 *   ERR_OK without bytes   the peer has finished sending: the last call;
 *   ERR_CLOSED             the peer has reset the connection: the last call;
 *   ERR_TIMEOUT, ERR_IO    the connection is dead: the last call.
 * Must be called again for nothing: it stays started until tcp_recv_stop. */
void tcp_recv_start(struct tcp_conn *conn, tcp_recv_fn on_recv);
/* No on_recv until tcp_recv_start; data stays with the kernel and the peer is slowed down (up to a
 * few chunks may be held here). Costs nothing when no data comes meanwhile. */
void tcp_recv_stop(struct tcp_conn *conn);

/* Inside on_recv only: keeps the bytes of this call valid until tcp_chunk_release. NULL when half
 * of the loop's chunks are kept already: the caller copies instead. */
struct tcp_chunk *tcp_recv_keep(struct tcp_conn *conn);
/* Gives a kept chunk back, on the loop's thread, also after the connection was closed. */
void tcp_chunk_release(struct loop *loop, struct tcp_chunk *chunk);

/* Sends all bytes of iov[0..count), count from 1 to TCP_IOV_MAX, after the sends before it. iov and
 * the bytes are borrowed until on_sent, and iov may be changed by the loop. on_sent: ERR_OK (the
 * kernel has taken all), ERR_CLOSED (the peer has reset or gone), ERR_CANCELED (tcp_close),
 * ERR_TIMEOUT, ERR_IO. After a failure all later sends fail the same way. */
void tcp_send(struct tcp_conn *conn, struct tcp_send_req *req, struct iovec *iov, int count,
              void (*on_sent)(struct tcp_send_req *req, enum err err));
/* Bytes of unfinished sends: the measure for back-pressure. */
size_t tcp_unsent(const struct tcp_conn *conn);
/* Sends FIN once the queued sends have left; receiving goes on. */
void tcp_shutdown(struct tcp_conn *conn);

/* Closes at once; sends that have not left are dropped. Once only. */
void tcp_close(struct tcp_conn *conn, tcp_closed_fn on_closed);
/* As tcp_close, but the peer gets a reset. */
void tcp_abort(struct tcp_conn *conn, tcp_closed_fn on_closed);
bool tcp_is_closing(const struct tcp_conn *conn);

/* Addresses of an open connection: ERR_CLOSED when it is gone. */
ERR_CHECKED enum err tcp_peer_addr(const struct tcp_conn *conn, struct net_addr *ret_addr);
ERR_CHECKED enum err tcp_local_addr(const struct tcp_conn *conn, struct net_addr *ret_addr);

/* A listening socket. All members are private to the loop. */
struct tcp_listener {
    struct loop *loop;
    struct loop_call ready;
    struct loop_timer timer; /* back-off after EMFILE and the like */
    int fd;
    uint32_t flags;
    uint32_t in_flight;
    void (*on_accept)(struct tcp_listener *listener, int fd);
    void (*on_closed)(struct tcp_listener *listener);
};

/* Binds and listens at once, then accepts. addr's port may be 0 (see tcp_listener_addr).
 * reuse_port: several loops may listen on the same address, the kernel spreads connections over
 * them. Failure gives a note naming address and cause, and leaves nothing: ERR_IN_USE, ERR_DENIED,
 * ERR_BAD_INPUT, ERR_FULL, ERR_IO. on_accept owns fd: tcp_open() it, on this or another loop, or
 * close it. */
ERR_CHECKED enum err tcp_listen(struct tcp_listener *listener, struct loop *loop,
                                const struct net_addr *addr, bool reuse_port,
                                void (*on_accept)(struct tcp_listener *listener, int fd),
                                struct err_note *note);
/* The bound address, port filled in. */
struct net_addr tcp_listener_addr(const struct tcp_listener *listener);
/* No on_accept until resumed (a few may still come in the same turn: none after the next turn);
 * connections wait in the kernel's backlog. */
void tcp_listener_pause(struct tcp_listener *listener);
void tcp_listener_resume(struct tcp_listener *listener);
/* The address is free again when on_closed is called. Once only. */
void tcp_listener_close(struct tcp_listener *listener,
                        void (*on_closed)(struct tcp_listener *listener));

#endif
