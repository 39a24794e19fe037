/* The HTTP server's life: listening, accepting, draining, closing. */
#include "http/http_server.h"

#include "http/http_priv.h"
#include "http1/http1_write.h"

#include <string.h>
#include <unistd.h>

const struct http_limits HTTP_LIMITS_DEFAULT = {
    .http1 =
        {
            .body_max_bytes = 1024 * 1024,
            .start_line_max = HTTP1_START_LINE_MAX,
            .field_block_max = HTTP1_FIELD_BLOCK_MAX,
            .field_count_max = HTTP1_FIELD_COUNT_MAX,
            .chunk_line_max = HTTP1_CHUNK_LINE_MAX,
            .chunk_ext_max = HTTP1_CHUNK_EXT_MAX,
            .trailer_block_max = HTTP1_TRAILER_BLOCK_MAX,
            .underscore = HTTP1_UNDERSCORE_DROP,
        },
    .answer_max_bytes = 64 * 1024 * 1024,
    .arena_max_bytes = 4 * 1024 * 1024,
    .connections_max = 4096,
    .requests_max = 1000 * 1000,
    .idle_timeout = CLK_S(120),
    .header_timeout = CLK_S(15),
    .body_timeout = CLK_S(60),
    .write_timeout = CLK_S(30),
};

void http_server_init(struct http_server *server, struct loop *loop,
                      const struct http_limits *limits,
                      void (*on_request)(struct http_request *request))
{
    CHECK(loop != NULL && on_request != NULL);
    CHECK(limits->connections_max > 0 && limits->requests_max > 0);
    CHECK(limits->http1.body_max_bytes < SIZE_MAX / 2 && limits->answer_max_bytes < SIZE_MAX / 2);
    memset(server, 0, sizeof(*server));
    server->loop = loop;
    server->limits = *limits;
    server->on_request = on_request;
    list_init(&server->conns);
    list_init(&server->free_exchanges);
    list_init(&server->ended.link);
    /* conn_count is the limit; those that are being closed still count. */
    pool_init(&server->conn_pool, sizeof(struct http_conn), SIZE_MAX, HTTP_FREE_CONNS_MAX);
}

/* --- accepting --- */

static size_t hard_limit(const struct http_server *server)
{
    return (size_t)server->limits.connections_max + HTTP_BUSY_EXTRA;
}

static void pause_listeners(struct http_server *server)
{
    server->paused = true;
    for (size_t i = 0; i < server->listener_count; i++) {
        tcp_listener_pause(&server->listeners[i].tcp);
    }
}

static void resume_listeners(struct http_server *server)
{
    server->paused = false;
    for (size_t i = 0; i < server->listener_count; i++) {
        tcp_listener_resume(&server->listeners[i].tcp);
    }
}

void http_server_accept(struct http_server *server, int fd)
{
    CHECK(fd >= 0);
    if (server->draining || server->closing || server->conn_count >= hard_limit(server)) {
        metric_add(&server->stats.busy, 1);
        (void)close(fd);
        return;
    }
    http_conn_open(server, fd);
    if (server->conn_count >= hard_limit(server) && !server->paused) {
        pause_listeners(server);
    }
}

static void server_on_accept(struct tcp_listener *tcp, int fd)
{
    http_server_accept(CONTAINER_OF(tcp, struct http_listener, tcp)->server, fd);
}

enum err http_server_listen(struct http_server *server, const struct net_addr *addr,
                            bool reuse_port, struct err_note *note)
{
    CHECK(!server->draining && !server->closing);
    if (server->listener_count == HTTP_LISTENERS_MAX) {
        return err_note_set(note, ERR_FULL, "listen: at most %d addresses", HTTP_LISTENERS_MAX);
    }
    struct http_listener *listener = &server->listeners[server->listener_count];
    listener->server = server;
    enum err err =
        tcp_listen(&listener->tcp, server->loop, addr, reuse_port, server_on_accept, note);
    if (err != ERR_OK) {
        return err;
    }
    server->listener_count++;
    server->listeners_alive++;
    return ERR_OK;
}

struct net_addr http_server_addr(const struct http_server *server, size_t index)
{
    CHECK(index < server->listener_count && server->listeners_alive > 0);
    return tcp_listener_addr(&server->listeners[index].tcp);
}

/* --- ending --- */

static void server_ended(struct loop_call *call)
{
    struct http_server *server = CONTAINER_OF(call, struct http_server, ended);
    if (server->conn_count > 0 || server->listeners_alive > 0) {
        return;
    }
    if (!server->closing) {
        void (*on_drained)(struct http_server *) = server->on_drained;
        server->on_drained = NULL;
        if (on_drained != NULL) {
            on_drained(server);
        }
        return;
    }
    if (server->exchange_count == 0) {
        http_exchanges_free(server);
        pool_done(&server->conn_pool);
        server->on_closed(server);
    }
}

void http_server_check_end(struct http_server *server)
{
    if (server->paused && !server->draining && !server->closing &&
        server->conn_count < server->limits.connections_max) {
        resume_listeners(server);
    }
    if ((server->draining || server->closing) && server->conn_count == 0 &&
        server->listeners_alive == 0) {
        loop_defer(server->loop, &server->ended, server_ended);
    }
}

static void server_listener_closed(struct tcp_listener *tcp)
{
    struct http_server *server = CONTAINER_OF(tcp, struct http_listener, tcp)->server;
    server->listeners_alive--;
    http_server_check_end(server);
}

static void close_listeners(struct http_server *server)
{
    for (size_t i = 0; i < server->listener_count; i++) {
        tcp_listener_close(&server->listeners[i].tcp, server_listener_closed);
    }
    server->listener_count = 0;
}

void http_server_drain(struct http_server *server, void (*on_drained)(struct http_server *server))
{
    CHECK(!server->draining && !server->closing);
    server->draining = true;
    server->on_drained = on_drained;
    close_listeners(server);
    LIST_FOREACH (link, &server->conns) {
        http_conn_wake(CONTAINER_OF(link, struct http_conn, link));
    }
    http_server_check_end(server);
}

void http_server_close(struct http_server *server, void (*on_closed)(struct http_server *server))
{
    CHECK(!server->closing && on_closed != NULL);
    server->closing = true;
    server->on_closed = on_closed;
    close_listeners(server);
    LIST_FOREACH (link, &server->conns) {
        http_conn_close(CONTAINER_OF(link, struct http_conn, link));
    }
    http_server_check_end(server);
}

/* --- time --- */

struct bytes http_server_date(struct http_server *server)
{
    uint64_t now_s = loop_wall_ms(server->loop) / 1000;
    if (now_s != server->date_s) {
        http1_format_date(now_s, server->date);
        server->date_s = now_s;
    }
    return bytes_of(server->date, HTTP1_DATE_LEN);
}
