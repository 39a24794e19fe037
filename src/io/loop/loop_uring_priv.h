/* Inside of the io_uring backend: its state and the kinds of requests in user_data.
 *
 * Place: io/loop, private to loop_uring*.c. A request's user_data is the address of its object with
 * the kind in the upper byte (user addresses have 47 bits here). Objects stay where they are until
 * all their requests have reported, so the address is always good. */
#ifndef LOOP_LOOP_URING_PRIV_H
#define LOOP_LOOP_URING_PRIV_H

#include "loop/loop_priv.h"

#include <liburing.h>

enum {
    URING_SQ_ENTRIES = 1024,
    URING_CQ_ENTRIES = 8192,
    URING_BUFFER_GROUP = 1,
    URING_BUFFERS_FIRST = 32,
    URING_SCRATCH_MSGS = 64,
    URING_SCRATCH_IOVS = 1024,
};

/* Each may have been started and cancelled. */
_Static_assert((int)URING_SQ_ENTRIES > 2 * (int)LOOP_EARLY_OPS_MAX,
               "early operations fit in the ring");

enum uring_kind {
    URING_IGNORE, /* a cancel whose outcome the cancelled request itself reports */
    URING_WAKE,
    URING_RECV,
    URING_SEND,
    URING_CONNECT,
    URING_CONN_CANCEL,
    URING_CLOSE,
    URING_ACCEPT,
    URING_WATCH,
    URING_FILE,
};

struct uring {
    struct io_uring ring;
    struct io_uring_buf_ring *buffers;
    size_t buffers_size;
    uint32_t buffers_given;  /* with the kernel at this moment */
    uint32_t buffers_target; /* how many it should have; grows when it ran out */
    struct list want_send;
    /* Headers of gathered sends: read by the kernel at submission, free again after it. */
    uint32_t msgs_used;
    uint32_t iovs_used;
    struct msghdr msgs[URING_SCRATCH_MSGS];
    struct iovec iovs[URING_SCRATCH_IOVS];
};

static inline struct uring *uring_of(struct loop *loop)
{
    return loop->backend;
}

/* A free submission entry with user_data set; submits what is queued when the ring is full. The
 * caller prepares it with URING_PREP, which keeps user_data. */
struct io_uring_sqe *uring_sqe(struct loop *loop);
void uring_submit_now(struct loop *loop);

static inline void uring_tag(struct io_uring_sqe *sqe, const void *object, enum uring_kind kind)
{
    sqe->user_data = (uint64_t)(uintptr_t)object | (uint64_t)kind << 56;
}

/* Queues a cancel of one request of `object`; its own outcome is ignored. */
void uring_cancel(struct loop *loop, const void *object, enum uring_kind kind);

/* The kernel has filled this chunk, and has it no longer. */
struct tcp_chunk *uring_take_buffer(struct loop *loop, uint32_t flags);
/* A receive found no chunk. */
void uring_want_buffers(struct loop *loop);

/* loop_uring_tcp.c */
void uring_build_sends(struct loop *loop);
void uring_on_recv(struct tcp_conn *conn, int res, uint32_t flags);
void uring_on_send(struct tcp_conn *conn, int res);
void uring_on_connect(struct tcp_conn *conn, int res);
void uring_on_conn_cancel(struct tcp_conn *conn);
void uring_on_close(struct tcp_conn *conn);
void uring_on_accept(struct tcp_listener *listener, int res, uint32_t flags);
void uring_tcp_attach(struct tcp_conn *conn);
void uring_tcp_connect(struct tcp_conn *conn);
void uring_tcp_connect_cancel(struct tcp_conn *conn);
void uring_tcp_recv(struct tcp_conn *conn);
void uring_tcp_send(struct tcp_conn *conn);
void uring_tcp_cancel(struct tcp_conn *conn);
void uring_tcp_close_fd(struct tcp_conn *conn);
enum err uring_accept_attach(struct tcp_listener *listener);
void uring_accept_arm(struct tcp_listener *listener);
void uring_accept_disarm(struct tcp_listener *listener);

#endif
