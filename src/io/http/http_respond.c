/* Answers of the HTTP server: whole ones in one send, streams, refusals. */
#include "http/http_priv.h"

#include "http1/http1_write.h"

#include <stdarg.h>
#include <stdio.h>

enum {
    TEXT_MAX = 1024
};

/* --- the head --- */

static bool conn_goes_on(const struct http_exchange *exchange)
{
    const struct http_conn *conn = exchange->conn;
    return exchange->handed_out && exchange->head.keep_alive && !conn->server->draining &&
           conn->request_count < conn->server->limits.requests_max;
}

static void write_framing(struct writer *w, const struct http_exchange *exchange,
                          const struct http_answer *answer)
{
    /* RFC 9110 section 8.6: 204 has no Content-Length; of 304 we do not know the other one. */
    if (answer->status == 204 || answer->status == 304) {
        return;
    }
    if (exchange->chunked) {
        http1_write_header(w, HTTP1_HEADER_TRANSFER_ENCODING, BYTES_LITERAL("chunked"));
    } else if (!exchange->streaming) {
        http1_write_header_u64(w, HTTP1_HEADER_CONTENT_LENGTH, answer->body.len);
    }
}

/* ERR_BAD_INPUT: a field of the answer is malformed. */
static enum err write_head(struct http_exchange *exchange, const struct http_answer *answer)
{
    CHECK(answer->status >= 200 && answer->status <= 999);
    struct writer w = writer_of(&exchange->out_head);
    http1_write_status_line(&w, answer->status);
    http1_write_header(&w, HTTP1_HEADER_DATE, http_server_date(exchange->request.server));
    if (answer->content_type.len > 0) {
        http1_write_header(&w, HTTP1_HEADER_CONTENT_TYPE, answer->content_type);
    }
    for (size_t i = 0; i < answer->field_count; i++) {
        http1_write_field(&w, answer->fields[i].name, answer->fields[i].value);
    }
    write_framing(&w, exchange, answer);
    if (!exchange->keep_alive) {
        http1_write_header(&w, HTTP1_HEADER_CONNECTION, BYTES_LITERAL("close"));
    } else if (exchange->head.minor_version == 0) {
        http1_write_header(&w, HTTP1_HEADER_CONNECTION, BYTES_LITERAL("keep-alive"));
    }
    http1_write_end(&w);
    return w.err;
}

/* --- sending --- */

static void answer_on_sent(struct tcp_send_req *req, enum err err)
{
    struct http_exchange *exchange = CONTAINER_OF(req, struct http_exchange, send);
    struct http_conn *conn = exchange->conn;
    list_remove(&exchange->link);
    conn->sending_count--;
    conn->write_since = loop_now(conn->server->loop);
    http_exchange_put(conn->server, exchange);
    if (err != ERR_OK) {
        http_conn_close(conn);
    }
    if (conn->state == HTTP_LINGER) {
        conn->since = loop_now(conn->server->loop); /* lingering begins when all is sent */
    }
    http_conn_wake(conn);
}

static void send_answer(struct http_exchange *exchange, struct bytes body)
{
    struct http_conn *conn = exchange->conn;
    int count = 1;
    exchange->iov[0].iov_base = exchange->out_head.data;
    exchange->iov[0].iov_len = exchange->out_head.len;
    if (body.len > 0 && !exchange->no_body) {
        exchange->iov[1].iov_base = exchange->out.data + (body.data - exchange->out.data);
        exchange->iov[1].iov_len = body.len;
        count = 2;
    }
    list_push_back(&conn->sending, &exchange->link);
    conn->sending_count++;
    exchange->done = true;
    tcp_send(&conn->tcp, &exchange->send, exchange->iov, count, answer_on_sent);
    http_conn_answered(conn, exchange->keep_alive);
}

static bool lies_in(const struct buf *buf, struct bytes slice)
{
    uintptr_t start = (uintptr_t)buf->data;
    uintptr_t at = (uintptr_t)slice.data;
    return buf->data != NULL && at >= start && at - start <= buf->len &&
           slice.len <= buf->len - (at - start);
}

static bool answer_has_no_body(const struct http_exchange *exchange, uint16_t status)
{
    return exchange->head.method == HTTP1_METHOD_HEAD || status == 204 || status == 304;
}

/* A whole answer. ERR_FULL, ERR_BAD_INPUT: it cannot be made; nothing was sent. */
static enum err try_answer(struct http_exchange *exchange, const struct http_answer *answer)
{
    struct http_answer made = *answer;
    exchange->no_body = answer_has_no_body(exchange, made.status);
    buf_clear(&exchange->out_head);
    enum err err = write_head(exchange, &made);
    if (err == ERR_OK && made.body.len > exchange->request.server->limits.answer_max_bytes) {
        err = ERR_FULL;
    }
    if (err == ERR_OK && !exchange->no_body && !lies_in(&exchange->out, made.body)) {
        buf_clear(&exchange->out);
        err = buf_append(&exchange->out, made.body);
        made.body = buf_bytes(&exchange->out);
    }
    if (err == ERR_OK) {
        send_answer(exchange, made.body);
    }
    return err;
}

/* "reason: sentence" as text, the reason also in a field of its own: as the doors refuse. */
static void answer_refusal(struct http_exchange *exchange, uint16_t status, const char *reason,
                           const char *text)
{
    char line[TEXT_MAX];
    int len = snprintf(line, sizeof(line), "%s: %s\n", reason, text);
    CHECK(len > 0 && (size_t)len < sizeof(line));
    const struct http_field field = {BYTES_LITERAL("X-Flotilla-Reason"), bytes_of_str(reason)};
    struct http_answer answer = {
        .status = status,
        .content_type = BYTES_LITERAL("text/plain; charset=utf-8"),
        .fields = &field,
        .field_count = 1,
        .body = bytes_of(line, (size_t)len),
    };
    enum err err = try_answer(exchange, &answer);
    CHECK(err == ERR_OK);
}

/* The handler is done with a request whose connection has gone, or goes. True: nothing to send. */
static bool end_without_connection(struct http_exchange *exchange)
{
    CHECK(exchange->handed_out && !exchange->done);
    struct http_server *server = exchange->request.server;
    if (exchange->conn == NULL) {
        http_exchange_put(server, exchange);
        return true;
    }
    if (exchange->conn->state == HTTP_CLOSING) {
        exchange->done = true; /* freed with the connection */
        return true;
    }
    CHECK(exchange->conn->current == exchange && exchange->conn->state == HTTP_PENDING);
    return false;
}

void http_respond(struct http_request *request, const struct http_answer *answer)
{
    struct http_exchange *exchange = http_exchange_of(request);
    CHECK(!exchange->streaming);
    if (end_without_connection(exchange)) {
        return;
    }
    exchange->keep_alive = conn_goes_on(exchange);
    enum err err = try_answer(exchange, answer);
    if (err == ERR_FULL) {
        answer_refusal(exchange, 500, "answer_too_large", "the answer is too large");
    } else if (err != ERR_OK) {
        answer_refusal(exchange, 500, "answer_malformed", "a field is malformed");
    }
}

void http_respond_text(struct http_request *request, uint16_t status, const char *format, ...)
{
    char text[TEXT_MAX];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    CHECK(len >= 0);
    size_t used = (size_t)len < sizeof(text) ? (size_t)len : sizeof(text) - 1;
    struct http_answer answer = {
        .status = status,
        .content_type = BYTES_LITERAL("text/plain; charset=utf-8"),
        .body = bytes_of(text, used),
    };
    http_respond(request, &answer);
}

void http_refuse(struct http_exchange *exchange, uint16_t status, const char *reason,
                 const char *text)
{
    CHECK(!exchange->handed_out);
    exchange->keep_alive = false;
    answer_refusal(exchange, status, reason, text);
}

void http_request_cancel(struct http_request *request)
{
    struct http_exchange *exchange = http_exchange_of(request);
    if (end_without_connection(exchange)) {
        return;
    }
    exchange->done = true;
    http_conn_close(exchange->conn);
}

void http_tell_gone(struct http_exchange *exchange)
{
    struct http_request *request = &exchange->request;
    if (exchange->done || exchange->told_gone) {
        return;
    }
    if (!request->gone) {
        metric_add(&request->server->stats.gone, 1);
        request->gone = true;
    }
    if (request->on_gone != NULL) {
        exchange->told_gone = true;
        request->on_gone(request);
    } else if (exchange->conn == NULL && exchange->on_room != NULL) {
        exchange->told_gone = true;
        exchange->on_room(request);
    }
}

/* --- 100 (Continue) --- */

static void continue_on_sent(struct tcp_send_req *req, enum err err)
{
    struct http_exchange *exchange = CONTAINER_OF(req, struct http_exchange, interim);
    if (err != ERR_OK) {
        http_conn_close(exchange->conn);
    }
}

void http_send_continue(struct http_exchange *exchange)
{
    static char text[] = "HTTP/1.1 100 Continue\r\n\r\n"; /* an iovec has no const */
    exchange->interim_iov.iov_base = text;
    exchange->interim_iov.iov_len = sizeof(text) - 1;
    tcp_send(&exchange->conn->tcp, &exchange->interim, &exchange->interim_iov, 1, continue_on_sent);
}

/* --- streams --- */

/* Out goes what has gathered, when the last piece has gone. */
static void stream_flush(struct http_exchange *exchange);

static void stream_finish(struct http_exchange *exchange)
{
    struct http_conn *conn = exchange->conn;
    bool keep_alive = exchange->keep_alive;
    CHECK(conn->current == exchange);
    http_conn_answered(conn, keep_alive);
    http_exchange_put(conn->server, exchange);
}

static void stream_tell_room(struct http_exchange *exchange)
{
    void (*on_room)(struct http_request *) = exchange->on_room;
    bool room = exchange->out.len + exchange->out_head.len < HTTP_STREAM_AHEAD / 2;
    if (on_room != NULL && room && !exchange->done) {
        exchange->on_room = NULL;
        on_room(&exchange->request);
    }
}

static void stream_on_sent(struct tcp_send_req *req, enum err err)
{
    struct http_exchange *exchange = CONTAINER_OF(req, struct http_exchange, send);
    struct http_conn *conn = exchange->conn;
    exchange->stream_in_flight = false;
    buf_clear(&exchange->out);
    if (err != ERR_OK || conn->state == HTTP_CLOSING) {
        http_conn_close(conn); /* its end tells the handler */
        return;
    }
    stream_flush(exchange);
    if (exchange->done && !exchange->stream_in_flight) {
        stream_finish(exchange);
        return;
    }
    http_conn_wake(conn);
    stream_tell_room(exchange);
}

static void stream_flush(struct http_exchange *exchange)
{
    if (exchange->stream_in_flight || exchange->out_head.len == 0) {
        return;
    }
    struct buf gathered = exchange->out_head;
    exchange->out_head = exchange->out;
    exchange->out = gathered;
    buf_clear(&exchange->out_head);
    exchange->iov[0].iov_base = exchange->out.data;
    exchange->iov[0].iov_len = exchange->out.len;
    exchange->stream_in_flight = true;
    tcp_send(&exchange->conn->tcp, &exchange->send, exchange->iov, 1, stream_on_sent);
    http_conn_wake(exchange->conn);
}

void http_respond_begin(struct http_request *request, const struct http_answer *answer)
{
    struct http_exchange *exchange = http_exchange_of(request);
    CHECK(!exchange->streaming && answer->body.len == 0);
    CHECK(exchange->handed_out && !exchange->done);
    exchange->streaming = true;
    if (exchange->conn == NULL || exchange->conn->state == HTTP_CLOSING) {
        return;
    }
    /* HTTP/1.0 knows no chunks: there the end of the connection ends the body. */
    exchange->chunked =
        exchange->head.minor_version > 0 && answer->status != 204 && answer->status != 304;
    exchange->keep_alive = conn_goes_on(exchange) && exchange->head.minor_version > 0;
    exchange->no_body = answer_has_no_body(exchange, answer->status);
    buf_clear(&exchange->out_head);
    buf_clear(&exchange->out);
    enum err err = write_head(exchange, answer);
    CHECK(err == ERR_OK);
    stream_flush(exchange);
}

enum err http_respond_write(struct http_request *request, struct bytes piece)
{
    struct http_exchange *exchange = http_exchange_of(request);
    CHECK(exchange->streaming && !exchange->done);
    if (exchange->conn == NULL || exchange->conn->state == HTTP_CLOSING) {
        return ERR_CLOSED;
    }
    if (exchange->out.len + exchange->out_head.len >= HTTP_STREAM_AHEAD) {
        return ERR_FULL;
    }
    if (exchange->no_body || piece.len == 0) {
        return ERR_OK;
    }
    struct writer w = writer_of(&exchange->out_head);
    if (exchange->chunked) {
        http1_write_chunk(&w, piece);
    } else {
        write_raw(&w, piece);
    }
    if (w.err == ERR_OK) {
        stream_flush(exchange);
    }
    return w.err;
}

void http_respond_on_room(struct http_request *request,
                          void (*on_room)(struct http_request *request))
{
    struct http_exchange *exchange = http_exchange_of(request);
    CHECK(exchange->streaming && !exchange->done);
    exchange->on_room = on_room;
}

void http_respond_end(struct http_request *request)
{
    struct http_exchange *exchange = http_exchange_of(request);
    CHECK(exchange->streaming);
    if (end_without_connection(exchange)) {
        return;
    }
    if (exchange->chunked && !exchange->no_body) {
        struct writer w = writer_of(&exchange->out_head);
        http1_write_last_chunk(&w);
        CHECK(w.err == ERR_OK);
    }
    exchange->done = true;
    stream_flush(exchange);
    if (!exchange->stream_in_flight) {
        stream_finish(exchange);
    }
}

/* --- what a handler asks --- */

struct bytes http_request_header(const struct http_request *request, struct bytes name)
{
    return http1_head_find(request->head, request->head_data, name);
}

struct net_addr http_request_peer(struct http_request *request)
{
    struct http_exchange *exchange = http_exchange_of(request);
    struct net_addr addr = {0};
    if (exchange->conn == NULL || tcp_peer_addr(&exchange->conn->tcp, &addr) != ERR_OK) {
        addr.len = 0;
    }
    return addr;
}
