/* Exchanges: a request, its answer and all their memory, recycled. */
#include "http/http_priv.h"

static struct http_exchange *exchange_new(struct http_server *server)
{
    struct http_exchange *exchange = mem_alloc(sizeof(*exchange));
    const struct http_limits *limits = &server->limits;
    /* The parser's limits decide, these only have to be larger. */
    buf_init(&exchange->head_bytes, HTTP_READ_MAX);
    buf_init(&exchange->content, (size_t)limits->http1.body_max_bytes + 1);
    buf_init(&exchange->out_head, limits->answer_max_bytes + HTTP1_HEAD_MAX);
    buf_init(&exchange->out, limits->answer_max_bytes + HTTP1_HEAD_MAX);
    arena_init(&exchange->arena, HTTP_ARENA_CHUNK, limits->arena_max_bytes);
    list_init(&exchange->link);
    return exchange;
}

static void exchange_free(struct http_exchange *exchange)
{
    buf_done(&exchange->head_bytes);
    buf_done(&exchange->content);
    buf_done(&exchange->out_head);
    buf_done(&exchange->out);
    arena_done(&exchange->arena);
    mem_free(exchange);
}

/* The memory that it holds while it waits for reuse. */
static size_t exchange_bytes(const struct http_exchange *exchange)
{
    size_t arena = exchange->arena.first != NULL ? HTTP_KEEP_BYTES : 0; /* at most */
    return sizeof(*exchange) + exchange->head_bytes.cap + exchange->content.cap +
           exchange->out_head.cap + exchange->out.cap + arena;
}

struct http_exchange *http_exchange_get(struct http_conn *conn)
{
    struct http_server *server = conn->server;
    struct list *link = list_pop_front(&server->free_exchanges);
    struct http_exchange *exchange;
    if (link == NULL) {
        exchange = exchange_new(server);
    } else {
        exchange = CONTAINER_OF(link, struct http_exchange, link);
        server->free_exchange_count--;
        server->free_bytes -= exchange_bytes(exchange);
    }
    server->exchange_count++;
    exchange->conn = conn;
    exchange->request = (struct http_request){
        .server = server,
        .head = &exchange->head,
        .arena = &exchange->arena,
        .out = &exchange->out,
    };
    exchange->on_room = NULL;
    exchange->handed_out = false;
    exchange->done = false;
    exchange->told_gone = false;
    exchange->streaming = false;
    exchange->chunked = false;
    exchange->no_body = false;
    exchange->stream_in_flight = false;
    exchange->keep_alive = false;
    http1_head_init_request(&exchange->head, &server->limits.http1);
    return exchange;
}

static void clear_or_free(struct buf *buf)
{
    if (buf->cap > HTTP_KEEP_BYTES) {
        buf_done(buf);
    }
    buf_clear(buf);
}

static void exchange_clean(struct http_exchange *exchange)
{
    clear_or_free(&exchange->head_bytes);
    clear_or_free(&exchange->content);
    clear_or_free(&exchange->out_head);
    clear_or_free(&exchange->out);
    if (exchange->arena.used > HTTP_KEEP_BYTES) {
        arena_done(&exchange->arena);
    } else {
        arena_reset(&exchange->arena);
    }
    exchange->conn = NULL;
}

void http_exchange_put(struct http_server *server, struct http_exchange *exchange)
{
    CHECK(server->exchange_count > 0);
    CHECK(!list_linked(&exchange->link));
    server->exchange_count--;
    exchange_clean(exchange);
    size_t bytes = exchange_bytes(exchange);
    if (server->free_bytes + bytes > HTTP_FREE_BYTES_MAX) {
        exchange_free(exchange);
    } else {
        list_push_front(&server->free_exchanges, &exchange->link);
        server->free_exchange_count++;
        server->free_bytes += bytes;
    }
    http_server_check_end(server);
}

void http_exchanges_free(struct http_server *server)
{
    struct list *link;
    while ((link = list_pop_front(&server->free_exchanges)) != NULL) {
        exchange_free(CONTAINER_OF(link, struct http_exchange, link));
    }
    server->free_exchange_count = 0;
    server->free_bytes = 0;
}
