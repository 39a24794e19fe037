/* TCP connections: the half that backends share: queues, states, callbacks.
 *
 * Place: io/loop. All reports to the caller that are not received bytes go through tcp_run_ready(),
 * which the turn calls, so that no callback ever runs inside the call that caused it. Received
 * bytes are delivered straight from the backend's dispatch. */
#include "loop/tcp.h"

#include "loop/loop_priv.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void tcp_run_ready(struct loop_call *call);

static void conn_init(struct tcp_conn *conn, struct loop *loop, int fd)
{
    memset(conn, 0, sizeof(*conn));
    conn->loop = loop;
    conn->fd = fd;
    list_init(&conn->ready.link);
    conn->ready.run = tcp_run_ready;
    list_init(&conn->want_send);
    list_init(&conn->sends);
    list_init(&conn->sent);
    loop->active++;
    loop_count_early(loop);
}

static void conn_ready(struct tcp_conn *conn)
{
    loop_ready(conn->loop, &conn->ready);
}

void tcp_open(struct tcp_conn *conn, struct loop *loop, int fd)
{
    CHECK(fd >= 0);
    conn_init(conn, loop, fd);
    loop->ops->tcp_attach(conn);
}

/* --- connecting --- */

static void connect_timed_out(struct loop_timer *timer)
{
    struct tcp_conn *conn = CONTAINER_OF(timer, struct tcp_conn, timer);
    CHECK((conn->flags & TCP_CONNECTING) != 0);
    conn->connect_err = ERR_TIMEOUT;
    conn->loop->ops->tcp_connect_cancel(conn);
}

void tcp_connect(struct tcp_conn *conn, struct loop *loop, const struct net_addr *addr,
                 clk_ns timeout, tcp_connect_fn on_connect)
{
    CHECK(on_connect != NULL && addr->len > 0);
    CHECK(timeout > 0);
    conn_init(conn, loop, -1);
    conn->on_connect = on_connect;
    conn->peer = *addr;
    conn->flags |= TCP_CONNECTING;
    int fd = -1;
    enum err err = net_socket(addr, &fd);
    if (err != ERR_OK) {
        tcp_connected(conn, err);
        return;
    }
    conn->fd = fd;
    loop->stats.syscalls += 2;
    if (timeout < CLK_NEVER - loop->now) {
        loop_timer_set(loop, &conn->timer, loop->now + timeout, connect_timed_out);
    }
    loop->ops->tcp_connect(conn);
}

void tcp_connected(struct tcp_conn *conn, enum err err)
{
    if ((conn->flags & TCP_CONNECTING) == 0) {
        return;
    }
    loop_timer_cancel(conn->loop, &conn->timer);
    conn->flags &= ~(uint32_t)TCP_CONNECTING;
    conn->flags |= TCP_CONNECT_DONE;
    if ((conn->flags & TCP_CLOSING) != 0) {
        err = ERR_CANCELED;
    } else if (conn->connect_err != ERR_OK) {
        err = (enum err)conn->connect_err; /* the timer was first */
    }
    conn->connect_err = (uint8_t)err;
    if (err != ERR_OK) {
        conn->flags |= TCP_RECV_ENDED;
        conn->flags &= ~(uint32_t)TCP_END_DUE; /* on_connect tells all */
        tcp_fail_sends(conn, err);
    } else if (!list_empty(&conn->sends)) {
        conn->loop->ops->tcp_send(conn);
    } else if ((conn->flags & TCP_SHUT_WANTED) != 0) {
        (void)shutdown(conn->fd, SHUT_WR);
    }
    conn_ready(conn);
}

/* --- receiving --- */

static bool may_deliver(const struct tcp_conn *conn)
{
    return (conn->flags & (TCP_RECV_ON | TCP_CLOSING)) == TCP_RECV_ON;
}

static void deliver(struct tcp_conn *conn, struct tcp_chunk *chunk, uint32_t len)
{
    struct loop *loop = conn->loop;
    CHECK(loop->delivering == NULL);
    loop->delivering = chunk;
    conn->on_recv(conn, ERR_OK, bytes_of(chunk->data, len));
    loop->delivering = NULL;
    if (!chunk->kept) {
        chunk_return(loop, chunk);
    }
}

void tcp_received(struct tcp_conn *conn, struct tcp_chunk *chunk, uint32_t len)
{
    CHECK(len > 0);
    if (may_deliver(conn) && conn->parked == NULL) {
        deliver(conn, chunk, len);
        return;
    }
    if ((conn->flags & TCP_CLOSING) == 0) {
        struct tcp_chunk *copy = chunk_copy(chunk->data, len);
        if (conn->parked == NULL) {
            conn->parked = copy;
        } else {
            conn->parked_last->next = copy;
        }
        conn->parked_last = copy;
    }
    chunk_return(conn->loop, chunk);
}

static void drop_parked(struct tcp_conn *conn)
{
    while (conn->parked != NULL) {
        struct tcp_chunk *chunk = conn->parked;
        conn->parked = chunk->next;
        chunk_return(conn->loop, chunk);
    }
}

static void report_end(struct tcp_conn *conn)
{
    conn->flags &= ~(uint32_t)(TCP_END_DUE | TCP_RECV_ON);
    conn->on_recv(conn, (enum err)conn->recv_err, (struct bytes){0});
}

void tcp_recv_ended(struct tcp_conn *conn, enum err err)
{
    if ((conn->flags & TCP_RECV_ENDED) != 0) {
        return;
    }
    conn->flags |= TCP_RECV_ENDED | TCP_END_DUE;
    conn->recv_err = (uint8_t)err;
    if (may_deliver(conn) && conn->parked == NULL) {
        report_end(conn);
    }
}

void tcp_recv_start(struct tcp_conn *conn, tcp_recv_fn on_recv)
{
    CHECK(conn->loop != NULL && on_recv != NULL);
    conn->on_recv = on_recv;
    if ((conn->flags & (TCP_RECV_ON | TCP_CLOSING)) != 0) {
        return;
    }
    conn->flags |= TCP_RECV_ON;
    /* Also when nothing waits: on io_uring the first receive is armed from there. */
    conn_ready(conn);
}

void tcp_recv_stop(struct tcp_conn *conn)
{
    conn->flags &= ~(uint32_t)TCP_RECV_ON;
}

/* Hands out what waited while receiving was stopped, then asks the backend for more. */
static void pump_recv(struct tcp_conn *conn)
{
    while (may_deliver(conn) && conn->parked != NULL) {
        struct tcp_chunk *chunk = conn->parked;
        conn->parked = chunk->next;
        deliver(conn, chunk, chunk->len);
    }
    if (may_deliver(conn) && (conn->flags & (TCP_RECV_ENDED | TCP_CONNECTING)) == 0) {
        conn->loop->ops->tcp_recv(conn);
    }
    if (may_deliver(conn) && (conn->flags & TCP_END_DUE) != 0) {
        report_end(conn);
    }
}

/* --- sending --- */

static void finish_send(struct tcp_conn *conn, struct tcp_send_req *req, enum err err)
{
    conn->unsent -= req->left;
    req->result = err;
    list_remove(&req->link);
    list_push_back(&conn->sent, &req->link);
}

void tcp_fail_sends(struct tcp_conn *conn, enum err err)
{
    CHECK(err != ERR_OK);
    if (conn->send_err == ERR_OK) {
        conn->send_err = (uint8_t)err;
    }
    while (!list_empty(&conn->sends)) {
        struct list *first = conn->sends.next;
        finish_send(conn, CONTAINER_OF(first, struct tcp_send_req, link), err);
        conn_ready(conn);
    }
}

void tcp_send(struct tcp_conn *conn, struct tcp_send_req *req, struct iovec *iov, int count,
              void (*on_sent)(struct tcp_send_req *req, enum err err))
{
    CHECK(conn->loop != NULL && on_sent != NULL);
    CHECK(count > 0 && count <= TCP_IOV_MAX);
    req->conn = conn;
    req->iov = iov;
    req->iov_count = count;
    req->on_sent = on_sent;
    req->left = 0;
    for (int i = 0; i < count; i++) {
        req->left += iov[i].iov_len;
    }
    conn->unsent += req->left;
    bool first = list_empty(&conn->sends);
    list_push_back(&conn->sends, &req->link);
    if ((conn->flags & TCP_CLOSING) != 0) {
        finish_send(conn, req, ERR_CANCELED);
    } else if (conn->send_err != ERR_OK || (conn->flags & TCP_SHUT_WANTED) != 0) {
        finish_send(conn, req, conn->send_err != ERR_OK ? (enum err)conn->send_err : ERR_CLOSED);
    } else if (first && req->left == 0) {
        finish_send(conn, req, ERR_OK);
    } else if ((conn->flags & (TCP_CONNECTING | TCP_SENDING)) == 0) {
        conn->loop->ops->tcp_send(conn);
    }
    if (!list_empty(&conn->sent)) {
        conn_ready(conn);
    }
}

int tcp_gather(const struct tcp_conn *conn, struct iovec *iov, int max)
{
    int count = 0;
    LIST_FOREACH (link, &conn->sends) {
        const struct tcp_send_req *req = CONTAINER_OF(link, struct tcp_send_req, link);
        for (int i = 0; i < req->iov_count; i++) {
            if (count == max) {
                return count;
            }
            if (req->iov[i].iov_len > 0) {
                iov[count++] = req->iov[i];
            }
        }
    }
    return count;
}

/* Takes up to count bytes off the request's front; returns how many it took. */
static size_t advance_req(struct tcp_send_req *req, size_t count)
{
    size_t taken = 0;
    while (req->iov_count > 0 && taken < count) {
        size_t part = req->iov->iov_len;
        if (part > count - taken) {
            part = count - taken;
        }
        req->iov->iov_base = (uint8_t *)req->iov->iov_base + part;
        req->iov->iov_len -= part;
        taken += part;
        if (req->iov->iov_len == 0) {
            req->iov++;
            req->iov_count--;
        }
    }
    req->left -= taken;
    return taken;
}

void tcp_sent(struct tcp_conn *conn, size_t count)
{
    CHECK(count <= conn->unsent);
    while (!list_empty(&conn->sends)) {
        struct tcp_send_req *req = CONTAINER_OF(conn->sends.next, struct tcp_send_req, link);
        size_t taken = advance_req(req, count);
        count -= taken;
        conn->unsent -= taken;
        if (req->left > 0) {
            break;
        }
        finish_send(conn, req, ERR_OK);
    }
    CHECK(count == 0);
    if (list_empty(&conn->sends) && (conn->flags & TCP_SHUT_WANTED) != 0) {
        (void)shutdown(conn->fd, SHUT_WR);
        conn->loop->stats.syscalls++;
    }
}

size_t tcp_unsent(const struct tcp_conn *conn)
{
    return conn->unsent;
}

void tcp_shutdown(struct tcp_conn *conn)
{
    if ((conn->flags & (TCP_SHUT_WANTED | TCP_CLOSING)) != 0) {
        return;
    }
    conn->flags |= TCP_SHUT_WANTED;
    if (list_empty(&conn->sends) && (conn->flags & TCP_CONNECTING) == 0 && conn->fd >= 0) {
        (void)shutdown(conn->fd, SHUT_WR);
        conn->loop->stats.syscalls++;
    }
}

/* --- closing --- */

void tcp_close(struct tcp_conn *conn, tcp_closed_fn on_closed)
{
    CHECK(conn->loop != NULL && on_closed != NULL);
    CHECK((conn->flags & TCP_CLOSING) == 0);
    conn->flags |= TCP_CLOSING;
    conn->on_closed = on_closed;
    drop_parked(conn);
    conn->loop->ops->tcp_cancel(conn);
    conn_ready(conn);
}

void tcp_abort(struct tcp_conn *conn, tcp_closed_fn on_closed)
{
    conn->flags |= TCP_ABORT;
    tcp_close(conn, on_closed);
}

bool tcp_is_closing(const struct tcp_conn *conn)
{
    return (conn->flags & TCP_CLOSING) != 0;
}

static void close_fd(struct tcp_conn *conn)
{
    if ((conn->flags & TCP_ABORT) != 0) {
        const struct linger now = {.l_onoff = 1, .l_linger = 0};
        (void)setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
        conn->loop->stats.syscalls++;
    }
    conn->loop->ops->tcp_close_fd(conn);
}

void tcp_report_sent(struct tcp_conn *conn)
{
    /* Only those that are done by now: a callback that sends again must not hold up the turn. */
    struct list batch;
    list_init(&batch);
    while (!list_empty(&conn->sent)) {
        list_push_back(&batch, list_pop_front(&conn->sent));
    }
    struct list *link;
    while ((link = list_pop_front(&batch)) != NULL) {
        struct tcp_send_req *req = CONTAINER_OF(link, struct tcp_send_req, link);
        req->on_sent(req, req->result);
    }
}

static void tcp_run_ready(struct loop_call *call)
{
    struct tcp_conn *conn = CONTAINER_OF(call, struct tcp_conn, ready);
    if ((conn->flags & TCP_CONNECT_DONE) != 0) {
        conn->flags &= ~(uint32_t)TCP_CONNECT_DONE;
        conn->on_connect(conn, (enum err)conn->connect_err);
    }
    tcp_report_sent(conn);
    if ((conn->flags & TCP_CLOSING) == 0) {
        pump_recv(conn);
        return;
    }
    if (conn->in_flight > 0 || !list_empty(&conn->sent)) {
        return;
    }
    if (conn->fd >= 0) {
        close_fd(conn);
    }
    if (conn->fd < 0 && conn->in_flight == 0) {
        CHECK(list_empty(&conn->sends) && conn->unsent == 0);
        list_remove(&conn->ready.link);
        conn->loop->active--;
        conn->on_closed(conn);
    }
}

enum err tcp_peer_addr(const struct tcp_conn *conn, struct net_addr *ret_addr)
{
    return conn->fd < 0 ? ERR_CLOSED : net_peer_addr(conn->fd, ret_addr);
}

enum err tcp_local_addr(const struct tcp_conn *conn, struct net_addr *ret_addr)
{
    return conn->fd < 0 ? ERR_CLOSED : net_local_addr(conn->fd, ret_addr);
}
