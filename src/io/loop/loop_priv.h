/* Inside of the loop: its state, what a backend must do, and what backends share.
 *
 * Place: io/loop, private. Two halves: the common half (loop.c, tcp.c, tcp_listen.c, file.c,
 * chunk.c, inbox.c) owns states, queues and callbacks; a backend (loop_uring*.c, loop_epoll*.c)
 * owns system calls. A backend reports what happened by the functions at the end of this page.
 *
 * Sleep and wake (any thread against the loop's), by one atomic word:
 *
 *     AWAKE --loop, about to wait--> SLEEPING --waker, writes the eventfd--> NOTIFIED
 *       |                               |                                      |
 *       +--waker, writes nothing--------|------------------> NOTIFIED          |
 *       <-------------------------------+--loop, after waiting-----------------+
 *
 * Both sides use read-modify-write operations on that word, so what a waker did before loop_wake()
 * is seen by the loop after it took the word back to AWAKE. */
#ifndef LOOP_LOOP_PRIV_H
#define LOOP_LOOP_PRIV_H

#include "check/check.h"
#include "loop/file.h"
#include "loop/inbox.h"
#include "loop/loop.h"
#include "loop/tcp.h"

#include <stdatomic.h>

enum {
    LOOP_ROUNDS_MAX = 8, /* of queued completions and deferred calls in a turn */
    LOOP_CHUNKS_DEFAULT = 128,
    LOOP_CHUNK_SIZE_DEFAULT = 16 * 1024,
    LOOP_ACCEPT_BACKOFF_MS = 100,
};

enum loop_wake_state {
    LOOP_AWAKE,
    LOOP_SLEEPING,
    LOOP_NOTIFIED
};

/* --- receive chunks --- */

#define CHUNK_ON_HEAP UINT32_MAX

struct tcp_chunk {
    struct tcp_chunk *next; /* in the free list, or in a connection's parked list */
    uint8_t *data;
    uint32_t len;
    uint32_t index; /* in the pool, or CHUNK_ON_HEAP */
    bool kept;
};

struct chunk_pool {
    struct tcp_chunk *chunks;
    struct tcp_chunk *free_list; /* those that the kernel does not have */
    uint8_t *memory;
    uint32_t count;
    uint32_t size;
    uint32_t kept;      /* of the pool */
    uint32_t kept_heap; /* copies, which do not count against the pool */
};

ERR_CHECKED enum err chunk_pool_init(struct chunk_pool *pool, uint32_t count, uint32_t size);
void chunk_pool_done(struct chunk_pool *pool);
struct tcp_chunk *chunk_take(struct chunk_pool *pool);
/* A copy on the heap, for bytes that must wait for a stopped receiver: waiting must not use the
 * pool up, or one slow reader would starve all connections. */
struct tcp_chunk *chunk_copy(const uint8_t *data, uint32_t len);
/* Back to where it came from: the heap or the pool. */
void chunk_return(struct loop *loop, struct tcp_chunk *chunk);

/* --- what a backend does --- */

struct loop_ops {
    const char *name;
    enum err (*open)(struct loop *loop, struct err_note *note);
    void (*close)(struct loop *loop);
    /* On the loop's thread, before its first turn. */
    void (*bind)(struct loop *loop);
    /* Starts what is pending and waits up to timeout; CLK_NEVER: for ever. */
    void (*wait)(struct loop *loop, clk_ns timeout);
    /* Handles what the wait brought. */
    void (*dispatch)(struct loop *loop);
    /* After a wake-up: completions that another thread left. NULL when there are none. */
    void (*collect)(struct loop *loop);

    void (*watch_start)(struct loop_watch *watch);
    void (*watch_stop)(struct loop_watch *watch);

    void (*tcp_attach)(struct tcp_conn *conn); /* a connected socket is there */
    void (*tcp_connect)(struct tcp_conn *conn);
    void (*tcp_connect_cancel)(struct tcp_conn *conn); /* the timeout passed */
    void (*tcp_recv)(struct tcp_conn *conn);     /* receiving is wanted and possible: read or arm */
    void (*tcp_send)(struct tcp_conn *conn);     /* conn->sends is not empty and may leave */
    void (*tcp_cancel)(struct tcp_conn *conn);   /* closing: end all that is in flight */
    void (*tcp_close_fd)(struct tcp_conn *conn); /* nothing is in flight: sets fd to -1 */

    enum err (*accept_attach)(struct tcp_listener *listener);
    void (*accept_arm)(struct tcp_listener *listener);
    void (*accept_disarm)(struct tcp_listener *listener);

    void (*file_start)(struct file_op *op);
};

extern const struct loop_ops loop_uring_ops;
extern const struct loop_ops loop_epoll_ops;

struct loop {
    const struct loop_ops *ops;
    void *backend;
    clk_ns now;
    clk_ms wall_ms; /* 0: not read in this turn */
    struct heap timers;
    struct list ready;    /* struct loop_call: completions to report */
    struct list deferred; /* struct loop_call */
    struct list hooks;
    struct list inboxes;
    struct chunk_pool chunks;
    struct tcp_chunk *delivering; /* whose on_recv runs at this moment */
    struct rnd rnd;
    struct loop_stats stats;
    size_t active;
    uint32_t early_ops;
    bool bound;
    bool inbox_left;                  /* an inbox was not emptied */
    struct loop_inbox *inbox_running; /* whose on_items runs; NULL once it was removed */
    int wake_fd;
    _Alignas(64) _Atomic int wake_state;
    _Atomic bool stop;
    _Atomic uint64_t wakes_written;
};

/* --- what backends report and share --- */

/* Queues a completion; it runs in this turn's rounds. */
static inline void loop_ready(struct loop *loop, struct loop_call *call)
{
    if (!list_linked(&call->link)) {
        list_push_back(&loop->ready, &call->link);
    }
}

void loop_watch_ended(struct loop_watch *watch, enum err err);

enum tcp_flags {
    TCP_CONNECTING = 1u << 0,
    TCP_CONNECT_DONE = 1u << 1, /* on_connect is due */
    TCP_RECV_ON = 1u << 2,      /* the caller wants bytes */
    TCP_RECV_ENDED = 1u << 3,   /* end of stream or failure was seen: nothing more can come */
    TCP_END_DUE = 1u << 4,      /* the caller has not been told of it */
    TCP_SENDING = 1u << 5,      /* io_uring: a send is in flight; epoll: waits for EPOLLOUT */
    TCP_SHUT_WANTED = 1u << 6,
    TCP_CLOSING = 1u << 7,
    TCP_ABORT = 1u << 8,
    TCP_RECV_ARMED = 1u << 9,      /* io_uring: a multishot receive is in flight */
    TCP_RECV_CANCELING = 1u << 10, /* io_uring: its cancel is in flight */
    TCP_READABLE = 1u << 11,       /* epoll: an edge was seen and not read to its end */
    TCP_HUP = 1u << 12,            /* epoll: FIN or failure was seen: read until it comes out */
    TCP_CANCEL_SENT = 1u << 13,    /* io_uring: the close's cancel is in flight */
};

/* The connect ended. */
void tcp_connected(struct tcp_conn *conn, enum err err);
/* Bytes came in chunk; the chunk is given back here unless the callee keeps it. */
void tcp_received(struct tcp_conn *conn, struct tcp_chunk *chunk, uint32_t len);
/* The stream ended (ERR_OK) or failed. */
void tcp_recv_ended(struct tcp_conn *conn, enum err err);
/* Gathers unsent slices of the queue; returns how many. */
int tcp_gather(const struct tcp_conn *conn, struct iovec *iov, int max);
/* The kernel took so many bytes of the queue. Sends that are complete now wait for
 * tcp_report_sent(), which the backend calls from its dispatch, or tcp_run_ready() after
 * loop_ready(). */
void tcp_sent(struct tcp_conn *conn, size_t count);
void tcp_report_sent(struct tcp_conn *conn);
/* All queued sends fail. */
void tcp_fail_sends(struct tcp_conn *conn, enum err err);

enum listener_flags {
    LISTENER_PAUSED = 1u << 0,
    LISTENER_BACKOFF = 1u << 1,
    LISTENER_CLOSING = 1u << 2,
    LISTENER_ARMED = 1u << 3,
    LISTENER_CANCELING = 1u << 4,
};

/* accept gave fd, or -1 with an errno. */
void listener_accepted(struct tcp_listener *listener, int fd, int errno_value);
bool listener_wants(const struct tcp_listener *listener);

/* A part of op was done: true when it is complete and on_done is due; false: start the rest. result
 * is bytes, or a negative errno. */
bool file_progress(struct file_op *op, long result);
void file_done(struct file_op *op);

/* Counts an operation that is started before the loop has a thread. */
void loop_count_early(struct loop *loop);

#endif
