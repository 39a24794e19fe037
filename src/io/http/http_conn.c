/* Connections of the HTTP server: reading requests, times, closing. */
#include "http/http_priv.h"

#include <stdio.h>
#include <unistd.h>

static void conn_on_recv(struct tcp_conn *tcp, enum err err, struct bytes data);
static void conn_on_timer(struct loop_timer *timer);

/* --- states --- */

static void conn_enter(struct http_conn *conn, enum http_conn_state state)
{
    conn->state = state;
    conn->since = loop_now(conn->server->loop);
}

bool http_conn_is_idle(const struct http_conn *conn)
{
    return conn->state == HTTP_READ_HEAD && conn->current == NULL && conn->ahead.len == 0 &&
           conn->sending_count == 0;
}

/* Whether the next bytes may be looked at now. */
static bool conn_reads(const struct http_conn *conn)
{
    if (conn->state == HTTP_READ_HEAD && conn->current == NULL) {
        return conn->sending_count < HTTP_SENDING_MAX && tcp_unsent(&conn->tcp) <= HTTP_UNSENT_MAX;
    }
    return conn->state != HTTP_PENDING && conn->state != HTTP_CLOSING;
}

void http_conn_answered(struct http_conn *conn, bool keep_alive)
{
    conn->current = NULL;
    if (conn->state == HTTP_CLOSING) {
        return;
    }
    if (keep_alive) {
        conn_enter(conn, HTTP_READ_HEAD);
    } else {
        conn_enter(conn, HTTP_LINGER);
        tcp_shutdown(&conn->tcp);
        buf_clear(&conn->ahead);
    }
    if (!conn->feeding) {
        http_conn_wake(conn);
    }
}

/* --- time --- */

static clk_ns after(clk_ns start, clk_ns span)
{
    return span > CLK_NEVER - start ? CLK_NEVER : start + span;
}

static clk_ns read_deadline(const struct http_conn *conn)
{
    const struct http_limits *limits = &conn->server->limits;
    switch (conn->state) {
    case HTTP_READ_HEAD:
        if (conn->current != NULL) {
            return after(conn->since, limits->header_timeout);
        }
        return conn->sending_count > 0 ? CLK_NEVER : after(conn->since, limits->idle_timeout);
    case HTTP_READ_BODY:
        return after(conn->since, limits->body_timeout);
    case HTTP_LINGER:
        return tcp_unsent(&conn->tcp) > 0 ? CLK_NEVER : after(conn->since, HTTP_LINGER_TIMEOUT);
    case HTTP_PENDING:
    case HTTP_CLOSING:
        break;
    }
    return CLK_NEVER;
}

static clk_ns conn_deadline(const struct http_conn *conn)
{
    clk_ns deadline = read_deadline(conn);
    if (tcp_unsent(&conn->tcp) > 0) {
        clk_ns write = after(conn->write_since, conn->server->limits.write_timeout);
        deadline = write < deadline ? write : deadline;
    }
    return deadline;
}

/* The timer is moved only when the deadline comes nearer: a busy connection costs no heap
 * operation per request, and a timer that fires too early is set again. */
static void conn_arm(struct http_conn *conn)
{
    size_t unsent = tcp_unsent(&conn->tcp);
    if (conn->unsent_seen == 0 || unsent < conn->unsent_seen) {
        conn->write_since = loop_now(conn->server->loop);
    }
    conn->unsent_seen = unsent;
    clk_ns deadline = conn_deadline(conn);
    if (deadline == CLK_NEVER || (loop_timer_is_set(&conn->timer) && conn->timer_at <= deadline)) {
        return;
    }
    conn->timer_at = deadline;
    loop_timer_set(conn->server->loop, &conn->timer, deadline, conn_on_timer);
}

static void conn_timed_out(struct http_conn *conn)
{
    if (conn->state != HTTP_LINGER) {
        metric_add(&conn->server->stats.timeouts, 1);
    }
    if (tcp_unsent(&conn->tcp) > 0 || conn->current == NULL) {
        http_conn_close(conn);
    } else if (conn->state == HTTP_READ_HEAD) {
        http_refuse(conn->current, 408, "header_timeout", "the head did not arrive in time");
    } else {
        http_refuse(conn->current, 408, "body_timeout", "the body did not arrive in time");
    }
}

static void conn_on_timer(struct loop_timer *timer)
{
    struct http_conn *conn = CONTAINER_OF(timer, struct http_conn, timer);
    clk_ns now = loop_now(conn->server->loop);
    if (tcp_unsent(&conn->tcp) < conn->unsent_seen) {
        conn->unsent_seen = tcp_unsent(&conn->tcp);
        conn->write_since = now;
    }
    if (now >= conn_deadline(conn)) {
        conn_timed_out(conn);
    } else {
        conn_arm(conn);
    }
}

/* --- closing --- */

/* The request that the handler still has outlives the connection. */
static void conn_leave_request(struct http_conn *conn)
{
    struct http_exchange *exchange = conn->current;
    conn->current = NULL;
    if (exchange == NULL) {
        return;
    }
    exchange->conn = NULL;
    if (!exchange->handed_out || exchange->done) {
        http_exchange_put(conn->server, exchange);
    } else {
        http_tell_gone(exchange);
    }
}

static void conn_on_closed(struct tcp_conn *tcp)
{
    struct http_conn *conn = CONTAINER_OF(tcp, struct http_conn, tcp);
    struct http_server *server = conn->server;
    CHECK(conn->sending_count == 0);
    conn_leave_request(conn);
    buf_done(&conn->ahead);
    list_remove(&conn->link);
    pool_put(&server->conn_pool, conn);
    server->conn_count--;
    metric_gauge_set(&server->stats.open, (int64_t)server->conn_count);
    http_server_check_end(server);
}

void http_conn_close(struct http_conn *conn)
{
    if (conn->state == HTTP_CLOSING) {
        return;
    }
    conn_enter(conn, HTTP_CLOSING);
    loop_timer_cancel(conn->server->loop, &conn->timer);
    loop_call_cancel(&conn->work);
    tcp_close(&conn->tcp, conn_on_closed);
}

/* --- reading --- */

static void refuse_by_reason(struct http_exchange *exchange, enum http1_reason reason)
{
    const struct http_server *server = exchange->request.server;
    metric_add(&exchange->request.server->stats.refused[reason], 1);
    char text[128];
    const char *sentence = http1_reason_text(reason);
    if (reason == HTTP1_REASON_BODY_TOO_LARGE) {
        (void)snprintf(text, sizeof(text), "%s: at most %llu bytes are taken", sentence,
                       (unsigned long long)server->limits.http1.body_max_bytes);
        sentence = text;
    }
    http_refuse(exchange, http1_reason_status(reason), http1_reason_name(reason), sentence);
}

static void request_fill(struct http_exchange *exchange)
{
    struct http_request *request = &exchange->request;
    const struct http1_head *head = &exchange->head;
    const uint8_t *data = exchange->head_bytes.data;
    request->head_data = data;
    request->method = (enum http1_method)head->method;
    request->method_name = http1_span_bytes(head->method_name, data);
    request->path = http1_span_bytes(head->path, data);
    if (head->target_form == HTTP1_TARGET_ASTERISK) {
        request->path = BYTES_LITERAL("*");
    } else if (request->path.len == 0) {
        request->path = BYTES_LITERAL("/");
    }
    if (head->has_query) {
        request->query = http1_span_bytes(head->query, data);
    }
    request->body = buf_bytes(&exchange->content);
    request->since = loop_now(request->server->loop);
    request->gone = exchange->conn->ended;
}

/* The request is complete: the handler's turn. */
static void conn_dispatch(struct http_conn *conn)
{
    struct http_server *server = conn->server;
    struct http_exchange *exchange = conn->current;
    conn_enter(conn, HTTP_PENDING);
    request_fill(exchange);
    metric_add(&server->stats.requests, 1);
    exchange->handed_out = true;
    server->on_request(&exchange->request);
    /* The client had left before the handler could say where to tell it. */
    if (conn->current == exchange && conn->ended && conn->state == HTTP_PENDING) {
        http_tell_gone(exchange);
    }
}

/* The head is complete, in head_bytes: may the body come? more: it began to come already. */
static void conn_head_done(struct http_conn *conn, bool more)
{
    struct http_exchange *exchange = conn->current;
    conn->request_count++;
    conn->busy = conn->busy && conn->server->conn_count > conn->server->limits.connections_max;
    if (conn->busy) {
        metric_add(&conn->server->stats.busy, 1);
        http_refuse(exchange, 503, "busy", "there are too many connections; try again later");
        return;
    }
    if (exchange->head.method == HTTP1_METHOD_CONNECT) {
        http_refuse(exchange, 501, "connect_unsupported", "this is not a proxy for tunnels");
        return;
    }
    http1_body_init(&exchange->body, &exchange->head, &conn->server->limits.http1);
    if (exchange->body.done) {
        conn_dispatch(conn);
        return;
    }
    conn_enter(conn, HTTP_READ_BODY);
    if (exchange->head.expect_continue && exchange->head.minor_version > 0 && !more) {
        http_send_continue(exchange);
    }
}

/* Returns how many bytes of data belong to the head. */
static size_t conn_read_head(struct http_conn *conn, struct bytes data)
{
    if (conn->current == NULL) {
        conn->current = http_exchange_get(conn);
        conn->since = loop_now(conn->server->loop);
    }
    struct http_exchange *exchange = conn->current;
    size_t used = data.len;
    enum err err = http_head_feed(&exchange->head, &exchange->head_bytes, data, &used);
    if (err == ERR_BAD_INPUT) {
        refuse_by_reason(exchange, (enum http1_reason)exchange->head.reason);
    } else if (err == ERR_OK) {
        conn_head_done(conn, used < data.len);
    }
    return used;
}

/* Returns how many bytes of data belong to the body. */
static size_t conn_read_body(struct http_conn *conn, struct bytes data)
{
    struct http_exchange *exchange = conn->current;
    size_t used = 0;
    struct bytes content = {NULL, 0};
    enum err err = http1_body_feed(&exchange->body, data, &used, &content);
    if (err == ERR_OK) {
        err = buf_append(&exchange->content, content);
    }
    if (err != ERR_OK) {
        refuse_by_reason(exchange, err == ERR_FULL ? HTTP1_REASON_BODY_TOO_LARGE
                                                   : (enum http1_reason)exchange->body.reason);
        return data.len;
    }
    if (exchange->body.done) {
        conn_dispatch(conn);
    }
    return used;
}

/* Reads as far as allowed; returns how many bytes were used up. */
static size_t conn_feed(struct http_conn *conn, struct bytes data)
{
    size_t used = 0;
    conn->feeding = true;
    while (used < data.len && conn_reads(conn)) {
        struct bytes rest = bytes_from(data, used);
        if (conn->state == HTTP_READ_HEAD) {
            used += conn_read_head(conn, rest);
        } else if (conn->state == HTTP_READ_BODY) {
            used += conn_read_body(conn, rest);
        } else {
            used = data.len; /* lingering: what comes now is thrown away */
        }
    }
    conn->feeding = false;
    return used;
}

static void conn_feed_ahead(struct http_conn *conn)
{
    if (conn->ahead.len == 0 || conn->state == HTTP_CLOSING) {
        return;
    }
    size_t used = conn_feed(conn, buf_bytes(&conn->ahead));
    /* A refusal has emptied it. */
    buf_consume(&conn->ahead, used < conn->ahead.len ? used : conn->ahead.len);
    if (conn->ahead.len == 0 && conn->ahead.cap > HTTP_KEEP_BYTES) {
        buf_done(&conn->ahead);
    }
}

/* The client has finished sending: what it has sent is still answered. */
static void conn_on_end(struct http_conn *conn)
{
    conn->ended = true;
    if (conn->state == HTTP_PENDING) {
        http_tell_gone(conn->current);
    } else if (conn->state == HTTP_READ_BODY) {
        refuse_by_reason(conn->current, HTTP1_REASON_BODY_TRUNCATED);
    }
}

static void conn_on_recv(struct tcp_conn *tcp, enum err err, struct bytes data)
{
    struct http_conn *conn = CONTAINER_OF(tcp, struct http_conn, tcp);
    if (err != ERR_OK) {
        http_conn_close(conn);
        return;
    }
    if (data.len == 0) {
        conn_on_end(conn);
    } else if (conn->ahead.len > 0) {
        err = buf_append(&conn->ahead, data);
        conn_feed_ahead(conn);
    } else {
        size_t used = conn_feed(conn, data);
        if (used < data.len && conn->state != HTTP_CLOSING) {
            err = buf_append(&conn->ahead, bytes_from(data, used));
        }
    }
    if (err != ERR_OK) {
        http_conn_close(conn);
        return;
    }
    http_conn_settle(conn);
}

/* --- going on --- */

static bool conn_is_over(const struct http_conn *conn)
{
    if (conn->sending_count > 0 || conn->state == HTTP_PENDING) {
        return false;
    }
    if (conn->ended) {
        /* Nobody will complete what is not complete, and nobody listens for FIN. */
        return conn->ahead.len == 0;
    }
    return conn->server->draining && http_conn_is_idle(conn);
}

void http_conn_settle(struct http_conn *conn)
{
    if (conn->state == HTTP_CLOSING) {
        return;
    }
    if (conn_is_over(conn)) {
        http_conn_close(conn);
        return;
    }
    bool stop = conn->ahead.len >= HTTP_AHEAD_STOP;
    if (stop != conn->recv_stopped) {
        conn->recv_stopped = stop;
        if (stop) {
            tcp_recv_stop(&conn->tcp);
        } else {
            tcp_recv_start(&conn->tcp, conn_on_recv);
        }
    }
    conn_arm(conn);
}

static void conn_work(struct loop_call *call)
{
    struct http_conn *conn = CONTAINER_OF(call, struct http_conn, work);
    conn_feed_ahead(conn);
    http_conn_settle(conn);
}

void http_conn_wake(struct http_conn *conn)
{
    if (conn->state != HTTP_CLOSING) {
        loop_defer(conn->server->loop, &conn->work, conn_work);
    }
}

void http_conn_open(struct http_server *server, int fd)
{
    struct http_conn *conn = pool_get(&server->conn_pool);
    CHECK(conn != NULL);
    *conn = (struct http_conn){.server = server};
    list_init(&conn->work.link);
    list_init(&conn->sending);
    buf_init(&conn->ahead, HTTP_AHEAD_MAX);
    list_push_back(&server->conns, &conn->link);
    conn->busy = server->conn_count >= server->limits.connections_max;
    server->conn_count++;
    metric_add(&server->stats.connections, 1);
    metric_gauge_set(&server->stats.open, (int64_t)server->conn_count);
    conn_enter(conn, HTTP_READ_HEAD);
    tcp_open(&conn->tcp, server->loop, fd);
    tcp_recv_start(&conn->tcp, conn_on_recv);
    conn_arm(conn);
}
