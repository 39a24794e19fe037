/* The epoll backend: connections and listeners.
 *
 * Place: io/loop. Receiving: one recv into a shared chunk; a short read means the socket is empty
 * and the next edge will tell, except after FIN or an error, which are read out at once, for they
 * bring no further edge. Sending: tried at once; EAGAIN waits for the EPOLLOUT edge. */
#include "loop/loop_epoll_priv.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

void epoll_tcp_attach(struct tcp_conn *conn)
{
    enum err err = epoll_register(conn->loop, EPOLL_CTL_ADD, conn->fd,
                                  EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, conn, EPOLL_KIND_CONN);
    if (err != ERR_OK) {
        tcp_fail_sends(conn, err);
        tcp_recv_ended(conn, err);
    }
}

/* --- connecting --- */

void epoll_tcp_connect(struct tcp_conn *conn)
{
    int rc = connect(conn->fd, &conn->peer.sa.any, conn->peer.len);
    conn->loop->stats.syscalls++;
    if (rc != 0 && errno != EINPROGRESS) {
        tcp_connected(conn, net_err_from_errno(errno));
        return;
    }
    epoll_tcp_attach(conn); /* after connect: an unconnected socket would report a hang-up */
    if (conn->send_err != ERR_OK) {
        tcp_connected(conn, (enum err)conn->send_err);
    } else if (rc == 0) {
        tcp_connected(conn, ERR_OK);
    }
}

void epoll_tcp_connect_cancel(struct tcp_conn *conn)
{
    tcp_connected(conn, ERR_CANCELED);
}

static void connect_event(struct tcp_conn *conn, uint32_t events)
{
    if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) == 0) {
        return;
    }
    int value = 0;
    socklen_t len = sizeof(value);
    if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &value, &len) != 0) {
        value = errno;
    }
    conn->loop->stats.syscalls++;
    tcp_connected(conn, value == 0 ? ERR_OK : net_err_from_errno(value));
}

/* --- receiving --- */

static bool wants_read(const struct tcp_conn *conn)
{
    const uint32_t mask = TCP_RECV_ON | TCP_READABLE | TCP_CLOSING | TCP_RECV_ENDED;
    return (conn->flags & mask) == (TCP_RECV_ON | TCP_READABLE);
}

static void read_once(struct tcp_conn *conn)
{
    struct chunk_pool *pool = &conn->loop->chunks;
    struct tcp_chunk *chunk = chunk_take(pool);
    ssize_t got = recv(conn->fd, chunk->data, pool->size, MSG_DONTWAIT);
    int cause = errno;
    conn->loop->stats.syscalls++;
    if (got > 0) {
        if ((size_t)got < pool->size && (conn->flags & TCP_HUP) == 0) {
            conn->flags &= ~(uint32_t)TCP_READABLE;
        }
        tcp_received(conn, chunk, (uint32_t)got);
        return;
    }
    chunk_return(conn->loop, chunk);
    if (got < 0 && cause == EINTR) {
        return;
    }
    conn->flags &= ~(uint32_t)TCP_READABLE;
    if (got == 0) {
        tcp_recv_ended(conn, ERR_OK);
    } else if (cause != EAGAIN) {
        tcp_recv_ended(conn, net_err_from_errno(cause));
    }
}

void epoll_tcp_recv(struct tcp_conn *conn)
{
    for (int i = 0; i < EPOLL_READS_MAX && wants_read(conn); i++) {
        read_once(conn);
    }
    if (wants_read(conn)) {
        loop_ready(conn->loop, &conn->ready);
    }
}

/* --- sending --- */

void epoll_tcp_send(struct tcp_conn *conn)
{
    while (!list_empty(&conn->sends)) {
        struct iovec iov[TCP_IOV_MAX];
        int count = tcp_gather(conn, iov, TCP_IOV_MAX);
        struct msghdr msg = {.msg_iov = iov, .msg_iovlen = (size_t)count};
        size_t wanted = 0;
        for (int i = 0; i < count; i++) {
            wanted += iov[i].iov_len;
        }
        ssize_t sent = sendmsg(conn->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
        int cause = errno;
        conn->loop->stats.syscalls++;
        if (sent > 0) {
            tcp_sent(conn, (size_t)sent);
            if (!list_empty(&conn->sent)) {
                loop_ready(conn->loop, &conn->ready);
            }
        }
        if ((sent > 0 && (size_t)sent < wanted) || (sent < 0 && cause == EAGAIN)) {
            conn->flags |= TCP_SENDING; /* until EPOLLOUT: a short send means a full buffer */
            return;
        }
        if (sent < 0 && cause != EINTR) {
            tcp_fail_sends(conn, net_err_from_errno(cause));
        }
    }
}

void epoll_on_conn(struct tcp_conn *conn, uint32_t events)
{
    if ((conn->flags & TCP_CLOSING) != 0) {
        return;
    }
    if ((conn->flags & TCP_CONNECTING) != 0) {
        connect_event(conn, events);
    }
    if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
        conn->flags |= TCP_HUP;
    }
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
        conn->flags |= TCP_READABLE;
    }
    if ((events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0 && (conn->flags & TCP_SENDING) != 0) {
        conn->flags &= ~(uint32_t)TCP_SENDING;
        epoll_tcp_send(conn);
    }
    if ((conn->flags & TCP_CONNECT_DONE) == 0) { /* on_connect comes before the first bytes */
        epoll_tcp_recv(conn);
    }
}

/* --- closing --- */

void epoll_tcp_cancel(struct tcp_conn *conn)
{
    conn->flags &= ~(uint32_t)TCP_SENDING;
    tcp_connected(conn, ERR_CANCELED);
    tcp_fail_sends(conn, ERR_CANCELED);
}

void epoll_tcp_close_fd(struct tcp_conn *conn)
{
    /* A child between fork and exec may hold the socket open for a moment, and with it the
     * registration: so close(2) alone is not enough. A connect that failed has none; no harm. */
    enum err err = epoll_register(conn->loop, EPOLL_CTL_DEL, conn->fd, 0, conn, EPOLL_KIND_CONN);
    (void)err;
    (void)close(conn->fd);
    conn->loop->stats.syscalls++;
    conn->fd = -1;
}

/* --- listeners: level-triggered, removed while nothing is wanted --- */

enum err epoll_accept_attach(struct tcp_listener *listener)
{
    enum err err = epoll_register(listener->loop, EPOLL_CTL_ADD, listener->fd, EPOLLIN, listener,
                                  EPOLL_KIND_LISTENER);
    if (err == ERR_OK) {
        listener->flags |= LISTENER_ARMED;
    }
    return err;
}

void epoll_accept_arm(struct tcp_listener *listener)
{
    if ((listener->flags & LISTENER_ARMED) == 0 && epoll_accept_attach(listener) != ERR_OK) {
        listener_accepted(listener, -1, ENOMEM); /* backs off and tries again */
    }
}

void epoll_accept_disarm(struct tcp_listener *listener)
{
    if ((listener->flags & LISTENER_ARMED) != 0) {
        listener->flags &= ~(uint32_t)LISTENER_ARMED;
        enum err err = epoll_register(listener->loop, EPOLL_CTL_DEL, listener->fd, 0, listener,
                                      EPOLL_KIND_LISTENER);
        CHECK(err == ERR_OK);
    }
}

void epoll_on_listener(struct tcp_listener *listener)
{
    for (int i = 0; i < EPOLL_ACCEPTS_MAX && listener_wants(listener); i++) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        int cause = errno;
        listener->loop->stats.syscalls++;
        if (fd < 0 && cause == EAGAIN) {
            return;
        }
        listener_accepted(listener, fd, cause);
    }
}
