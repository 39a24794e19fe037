/* The io_uring backend: connections and listeners.
 *
 * Place: io/loop. A connection has at most one receive (multishot), one send, one connect and one
 * cancel in flight; in_flight counts them. Sends are built at the end of the turn, so that all that
 * a connection queued in the turn leaves in one request. */
#include "loop/loop_uring_priv.h"

#include <errno.h>
#include <sys/socket.h>

void uring_tcp_attach(struct tcp_conn *conn)
{
    (void)conn; /* nothing to register: receiving arms itself */
}

/* --- connecting --- */

void uring_tcp_connect(struct tcp_conn *conn)
{
    struct io_uring_sqe *sqe = uring_sqe(conn->loop);
    io_uring_prep_connect(sqe, conn->fd, &conn->peer.sa.any, conn->peer.len);
    uring_tag(sqe, conn, URING_CONNECT);
    conn->in_flight++;
}

void uring_tcp_connect_cancel(struct tcp_conn *conn)
{
    uring_cancel(conn->loop, conn, URING_CONNECT);
}

void uring_on_connect(struct tcp_conn *conn, int res)
{
    conn->in_flight--;
    tcp_connected(conn, res >= 0 ? ERR_OK : net_err_from_errno(-res));
}

/* --- receiving --- */

void uring_tcp_recv(struct tcp_conn *conn)
{
    if ((conn->flags & (TCP_RECV_ARMED | TCP_RECV_ENDED | TCP_CLOSING)) != 0) {
        return;
    }
    struct io_uring_sqe *sqe = uring_sqe(conn->loop);
    io_uring_prep_recv_multishot(sqe, conn->fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = URING_BUFFER_GROUP;
    uring_tag(sqe, conn, URING_RECV);
    conn->flags |= TCP_RECV_ARMED;
    conn->in_flight++;
}

/* Stopped receivers are not cancelled before data comes: a stop and start without data costs
 * nothing. */
static void cancel_recv_if_stopped(struct tcp_conn *conn)
{
    if ((conn->flags & (TCP_RECV_ON | TCP_RECV_CANCELING | TCP_CLOSING)) == 0 &&
        (conn->flags & TCP_RECV_ARMED) != 0) {
        conn->flags |= TCP_RECV_CANCELING;
        uring_cancel(conn->loop, conn, URING_RECV);
    }
}

void uring_on_recv(struct tcp_conn *conn, int res, uint32_t flags)
{
    if ((flags & IORING_CQE_F_MORE) == 0) {
        conn->flags &= ~(uint32_t)(TCP_RECV_ARMED | TCP_RECV_CANCELING);
        conn->in_flight--;
    }
    if (res > 0) {
        tcp_received(conn, uring_take_buffer(conn->loop, flags), (uint32_t)res);
        cancel_recv_if_stopped(conn);
    } else if (res == 0) {
        tcp_recv_ended(conn, ERR_OK);
    } else if (res == -ENOBUFS) {
        uring_want_buffers(conn->loop);
    } else if (res != -ECANCELED && res != -EINTR && res != -EAGAIN) {
        tcp_recv_ended(conn, net_err_from_errno(-res));
    }
    /* Chunks are back in the ring before the next submission, so a receive that found none can
     * be armed at once. */
    if ((conn->flags & TCP_RECV_ON) != 0) {
        uring_tcp_recv(conn);
    }
    if ((conn->flags & TCP_CLOSING) != 0) {
        loop_ready(conn->loop, &conn->ready);
    }
}

/* --- sending --- */

void uring_tcp_send(struct tcp_conn *conn)
{
    if ((conn->flags & TCP_SENDING) == 0 && !list_linked(&conn->want_send)) {
        list_push_back(&uring_of(conn->loop)->want_send, &conn->want_send);
    }
}

static void build_send(struct loop *loop, struct tcp_conn *conn)
{
    struct uring *u = uring_of(loop);
    if (u->msgs_used == URING_SCRATCH_MSGS || u->iovs_used + TCP_IOV_MAX > URING_SCRATCH_IOVS) {
        uring_submit_now(loop);
    }
    struct iovec *iov = &u->iovs[u->iovs_used];
    int count = tcp_gather(conn, iov, TCP_IOV_MAX);
    CHECK(count > 0);
    struct io_uring_sqe *sqe = uring_sqe(loop);
    /* MSG_WAITALL: the kernel itself goes on after a partial send (io_uring_enter(2)). */
    if (count == 1) {
        io_uring_prep_send(sqe, conn->fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL | MSG_WAITALL);
    } else {
        struct msghdr *msg = &u->msgs[u->msgs_used++];
        *msg = (struct msghdr){.msg_iov = iov, .msg_iovlen = (size_t)count};
        u->iovs_used += (uint32_t)count;
        io_uring_prep_sendmsg(sqe, conn->fd, msg, MSG_NOSIGNAL | MSG_WAITALL);
    }
    uring_tag(sqe, conn, URING_SEND);
    conn->flags |= TCP_SENDING;
    conn->in_flight++;
}

void uring_build_sends(struct loop *loop)
{
    struct uring *u = uring_of(loop);
    struct list *link;
    while ((link = list_pop_front(&u->want_send)) != NULL) {
        build_send(loop, CONTAINER_OF(link, struct tcp_conn, want_send));
    }
}

void uring_on_send(struct tcp_conn *conn, int res)
{
    conn->in_flight--;
    conn->flags &= ~(uint32_t)TCP_SENDING;
    if (res > 0) {
        tcp_sent(conn, (size_t)res);
    } else if (res < 0 && res != -EINTR && res != -EAGAIN && (conn->flags & TCP_CLOSING) == 0) {
        tcp_fail_sends(conn, net_err_from_errno(-res));
    }
    if ((conn->flags & TCP_CLOSING) != 0) {
        tcp_fail_sends(conn, ERR_CANCELED);
        loop_ready(conn->loop, &conn->ready);
        return;
    }
    if (!list_empty(&conn->sends)) {
        uring_tcp_send(conn);
    }
    /* At once, not in the turn's rounds: the answer may have arrived in the same batch, and its
     * receiver would find the buffers of the question still on loan. */
    tcp_report_sent(conn);
}

/* --- closing --- */

static void cancel_all(struct tcp_conn *conn)
{
    struct io_uring_sqe *sqe = uring_sqe(conn->loop);
    io_uring_prep_cancel_fd(sqe, conn->fd, IORING_ASYNC_CANCEL_ALL);
    uring_tag(sqe, conn, URING_CONN_CANCEL);
    conn->flags |= TCP_CANCEL_SENT;
    conn->in_flight++;
}

void uring_tcp_cancel(struct tcp_conn *conn)
{
    list_remove(&conn->want_send);
    if ((conn->flags & TCP_SENDING) == 0) {
        tcp_fail_sends(conn, ERR_CANCELED); /* else when the kernel has let go of the bytes */
    }
    if (conn->in_flight > 0) {
        cancel_all(conn);
    } else {
        tcp_connected(conn, ERR_CANCELED);
    }
}

void uring_on_conn_cancel(struct tcp_conn *conn)
{
    CHECK((conn->flags & TCP_CANCEL_SENT) != 0);
    conn->flags &= ~(uint32_t)TCP_CANCEL_SENT;
    conn->in_flight--;
    /* A request that was just being run is not found by a cancel, and may wait again afterwards. */
    if (conn->in_flight > 0) {
        cancel_all(conn);
    } else {
        loop_ready(conn->loop, &conn->ready);
    }
}

void uring_tcp_close_fd(struct tcp_conn *conn)
{
    struct io_uring_sqe *sqe = uring_sqe(conn->loop);
    io_uring_prep_close(sqe, conn->fd);
    uring_tag(sqe, conn, URING_CLOSE);
    conn->fd = -1;
    conn->in_flight++;
}

void uring_on_close(struct tcp_conn *conn)
{
    conn->in_flight--;
    loop_ready(conn->loop, &conn->ready);
}

/* --- listeners --- */

enum err uring_accept_attach(struct tcp_listener *listener)
{
    (void)listener;
    return ERR_OK;
}

void uring_accept_arm(struct tcp_listener *listener)
{
    if ((listener->flags & LISTENER_ARMED) != 0) {
        return; /* its cancel is on the way: armed again when that has ended */
    }
    struct io_uring_sqe *sqe = uring_sqe(listener->loop);
    io_uring_prep_multishot_accept(sqe, listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    uring_tag(sqe, listener, URING_ACCEPT);
    listener->flags |= LISTENER_ARMED;
    listener->in_flight++;
}

void uring_accept_disarm(struct tcp_listener *listener)
{
    if ((listener->flags & (LISTENER_ARMED | LISTENER_CANCELING)) == LISTENER_ARMED) {
        listener->flags |= LISTENER_CANCELING;
        uring_cancel(listener->loop, listener, URING_ACCEPT);
    }
}

void uring_on_accept(struct tcp_listener *listener, int res, uint32_t flags)
{
    if ((flags & IORING_CQE_F_MORE) == 0) {
        listener->flags &= ~(uint32_t)(LISTENER_ARMED | LISTENER_CANCELING);
        listener->in_flight--;
    }
    if (res >= 0) {
        listener_accepted(listener, res, 0);
    } else if (res != -ECANCELED) {
        listener_accepted(listener, -1, -res);
    }
    if (listener_wants(listener)) {
        uring_accept_arm(listener);
    } else if ((listener->flags & LISTENER_CLOSING) != 0) {
        loop_ready(listener->loop, &listener->ready);
    }
}
