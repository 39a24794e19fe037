/* The HTTP client: connections, kept ones, fetches.
 *
 *   CONNECTING --> ASKING (head) --> READING (body) --> KEPT --> ASKING ...
 *        |            |                 |                |
 *        +------------+-----------------+----------------+--> CLOSING --> freed
 *
 * A fetch that fails, or ends before all of its request has left, is told when its connection is
 * closed: before that the kernel may still read the caller's bytes. */
#include "http/http_client.h"

#include "http/http_priv.h"
#include "http1/http1_write.h"

#include <string.h>

enum {
    /* Bytes of a cut body that are read and thrown away, so that the connection can be kept. */
    DISCARD_MAX = 64 * 1024,
};

const struct http_client_limits HTTP_CLIENT_LIMITS_DEFAULT = {
    .fetches_max = 1024,
    .kept_max = 256,
    .kept_timeout = CLK_S(60),
};

enum client_conn_state {
    CONN_CONNECTING,
    CONN_ASKING,
    CONN_READING,
    CONN_KEPT,
    CONN_CLOSING,
};

struct http_client_conn {
    struct tcp_conn tcp;
    struct list link;      /* in client->conns */
    struct list kept;      /* in client->kept */
    struct list kept_here; /* in one of client->kept_by */
    struct http_client *client;
    struct http_fetch *fetch; /* NULL while kept */
    struct net_addr addr;
    struct http1_head head;
    struct http1_body body;
    struct buf head_bytes;
    struct buf content;
    struct buf out;
    struct tcp_send_req send;
    struct iovec iov[2];
    clk_ns kept_since;
    uint32_t interims;
    enum client_conn_state state;
    bool sending;
    bool complete; /* the answer; the news that the request has left is still on its way */
    bool reusable; /* then: nothing came behind the answer */
    bool reused;   /* it has served another fetch before */
    bool got_byte; /* of the answer */
    bool again;    /* closing; then the fetch starts once more */
};

static enum err fetch_begin(struct http_fetch *fetch, bool may_reuse);
static void conn_on_recv(struct tcp_conn *tcp, enum err err, struct bytes data);

/* --- fetches that end --- */

static void fetch_tell(struct http_fetch *fetch, enum err err)
{
    struct http_client *client = fetch->client;
    CHECK(client->fetch_count > 0);
    client->fetch_count--;
    loop_timer_cancel(client->loop, &fetch->timer);
    fetch->client = NULL;
    fetch->on_done(fetch, err);
}

static void fetch_run_failed(struct loop_call *call)
{
    struct http_fetch *fetch = CONTAINER_OF(call, struct http_fetch, failed);
    fetch_tell(fetch, fetch->result);
}

/* --- kept connections --- */

static struct list *bucket_of(struct http_client *client, const struct net_addr *addr)
{
    uint32_t hash = net_addr_port(addr);
    if (addr->sa.any.sa_family == AF_INET) {
        hash ^= addr->sa.v4.sin_addr.s_addr;
    } else {
        for (size_t i = 0; i < sizeof(addr->sa.v6.sin6_addr); i += sizeof(uint32_t)) {
            hash = hash * 31 ^ get_u32(addr->sa.v6.sin6_addr.s6_addr + i);
        }
    }
    hash *= 0x9e3779b1u; /* 2^32 divided by the golden ratio: spreads neighbours (Knuth 6.4) */
    return &client->kept_by[hash >> 24];
}

_Static_assert(HTTP_CLIENT_BUCKETS == 256, "bucket_of takes the upper 8 bits");

static void client_on_timer(struct loop_timer *timer);

static void client_arm(struct http_client *client)
{
    if (list_empty(&client->kept)) {
        loop_timer_cancel(client->loop, &client->timer);
    } else if (!loop_timer_is_set(&client->timer)) {
        struct http_client_conn *oldest =
            CONTAINER_OF(client->kept.next, struct http_client_conn, kept);
        loop_timer_set(client->loop, &client->timer,
                       oldest->kept_since + client->limits.kept_timeout, client_on_timer);
    }
}

static void conn_unkeep(struct http_client_conn *conn)
{
    list_remove(&conn->kept);
    list_remove(&conn->kept_here);
    conn->client->kept_count--;
}

static void client_run_ended(struct loop_call *call)
{
    struct http_client *client = CONTAINER_OF(call, struct http_client, ended);
    if (client->closing && client->conn_count == 0) {
        client->on_closed(client);
    }
}

static void client_check_end(struct http_client *client)
{
    if (client->closing && client->conn_count == 0) {
        loop_defer(client->loop, &client->ended, client_run_ended);
    }
}

static void conn_free(struct http_client_conn *conn)
{
    struct http_client *client = conn->client;
    list_remove(&conn->link);
    buf_done(&conn->head_bytes);
    buf_done(&conn->content);
    buf_done(&conn->out);
    mem_free(conn);
    client->conn_count--;
    client_check_end(client);
}

static void conn_on_closed(struct tcp_conn *tcp)
{
    struct http_client_conn *conn = CONTAINER_OF(tcp, struct http_client_conn, tcp);
    struct http_fetch *fetch = conn->fetch;
    conn->fetch = NULL;
    if (fetch != NULL) {
        fetch->conn = NULL;
        if (conn->again && fetch->result == ERR_CLOSED) {
            fetch->retried = true;
            fetch->result = fetch_begin(fetch, false);
        }
        if (fetch->conn == NULL) {
            fetch_tell(fetch, fetch->result);
        }
    }
    conn_free(conn);
}

static void conn_close(struct http_client_conn *conn)
{
    CHECK(conn->state != CONN_CLOSING);
    if (conn->state == CONN_KEPT) {
        conn_unkeep(conn);
    }
    conn->state = CONN_CLOSING;
    tcp_close(&conn->tcp, conn_on_closed);
}

static void client_on_timer(struct loop_timer *timer)
{
    struct http_client *client = CONTAINER_OF(timer, struct http_client, timer);
    clk_ns now = loop_now(client->loop);
    while (!list_empty(&client->kept)) {
        struct http_client_conn *oldest =
            CONTAINER_OF(client->kept.next, struct http_client_conn, kept);
        if (oldest->kept_since + client->limits.kept_timeout > now) {
            break;
        }
        conn_close(oldest);
    }
    client_arm(client);
}

static void clear_or_free(struct buf *buf)
{
    if (buf->cap > HTTP_KEEP_BYTES) {
        buf_done(buf);
    }
    buf_clear(buf);
}

static void conn_keep(struct http_client_conn *conn)
{
    struct http_client *client = conn->client;
    if (client->closing || client->kept_count >= client->limits.kept_max) {
        conn_close(conn);
        return;
    }
    clear_or_free(&conn->head_bytes);
    clear_or_free(&conn->content);
    clear_or_free(&conn->out);
    conn->state = CONN_KEPT;
    conn->reused = true;
    conn->kept_since = loop_now(client->loop);
    list_push_back(&client->kept, &conn->kept);
    list_push_front(bucket_of(client, &conn->addr), &conn->kept_here);
    client->kept_count++;
    client_arm(client);
}

static struct http_client_conn *kept_find(struct http_client *client, const struct net_addr *addr)
{
    struct list *bucket = bucket_of(client, addr);
    LIST_FOREACH (link, bucket) {
        struct http_client_conn *conn = CONTAINER_OF(link, struct http_client_conn, kept_here);
        if (net_addr_eq(&conn->addr, addr)) {
            conn_unkeep(conn);
            return conn;
        }
    }
    return NULL;
}

/* --- answers --- */

/* The fetch is over; what it got stays in the connection until on_done returns. */
static void conn_finish(struct http_client_conn *conn, enum err err, bool reusable)
{
    struct http_fetch *fetch = conn->fetch;
    fetch->result = err;
    if (err == ERR_OK) {
        fetch->status = conn->head.status;
        fetch->head = &conn->head;
        fetch->head_data = conn->head_bytes.data;
        fetch->answer = buf_bytes(&conn->content);
    }
    if (err != ERR_OK || conn->sending) {
        conn_close(conn);
        return;
    }
    conn->fetch = NULL;
    fetch->conn = NULL;
    bool keep = reusable && conn->head.keep_alive && !fetch->fresh;
    fetch_tell(fetch, ERR_OK);
    if (keep) {
        conn_keep(conn);
    } else {
        conn_close(conn);
    }
}

/* The server has closed or reset the connection. */
static void conn_broken(struct http_client_conn *conn, enum err err)
{
    struct http_fetch *fetch = conn->fetch;
    conn->again = conn->reused && !conn->got_byte && !fetch->retried;
    if (err == ERR_OK && conn->state == CONN_READING) {
        err = http1_body_end_of_input(&conn->body) == ERR_OK ? ERR_OK : ERR_CLOSED;
    } else if (err == ERR_OK) {
        err = ERR_CLOSED;
    }
    conn_finish(conn, err, false);
}

static void conn_refuse(struct http_client_conn *conn, uint8_t reason)
{
    conn->fetch->reason = (enum http1_reason)reason;
    conn_finish(conn, ERR_BAD_INPUT, false);
}

static void conn_expect_head(struct http_client_conn *conn)
{
    const struct http1_asked asked = {.head = conn->fetch->method == HTTP1_METHOD_HEAD};
    buf_clear(&conn->head_bytes);
    http1_head_init_response(&conn->head, &HTTP1_LIMITS_DEFAULT, asked);
}

static void conn_head_done(struct http_client_conn *conn)
{
    if (!conn->head.interim) {
        http1_body_init(&conn->body, &conn->head, &HTTP1_LIMITS_DEFAULT);
        conn->state = CONN_READING;
    } else if (++conn->interims > HTTP1_INTERIM_MAX) {
        conn_refuse(conn, HTTP1_REASON_STATUS_INVALID);
    } else {
        conn_expect_head(conn);
    }
}

/* Keeps what fits. ERR_TOO_LARGE: it must fit all, or we do not want to read to the end; any error
 * of the one who takes the pieces. */
static enum err conn_take_content(struct http_client_conn *conn, struct bytes content)
{
    struct http_fetch *fetch = conn->fetch;
    if (fetch->take != NULL && conn->head.status / 100 == 2) {
        return content.len > 0 ? fetch->take(fetch, content) : ERR_OK;
    }
    size_t room = fetch->body_max - conn->content.len;
    if (content.len > room) {
        if (!fetch->cut_body) {
            return ERR_TOO_LARGE;
        }
        fetch->answer_was_cut = true;
        content.len = room;
    }
    enum err err = buf_append(&conn->content, content);
    CHECK(err == ERR_OK);
    return conn->body.received - conn->content.len > DISCARD_MAX ? ERR_TOO_LARGE : ERR_OK;
}

static size_t conn_read_body(struct http_client_conn *conn, struct bytes data)
{
    size_t used = 0;
    struct bytes content = {NULL, 0};
    if (http1_body_feed(&conn->body, data, &used, &content) != ERR_OK) {
        conn_refuse(conn, conn->body.reason);
        return data.len;
    }
    enum err err = conn_take_content(conn, content);
    if (err != ERR_OK) {
        bool cut = conn->fetch->cut_body && err == ERR_TOO_LARGE;
        conn_finish(conn, cut ? ERR_OK : err, false);
        return data.len;
    }
    return used;
}

static size_t conn_read_head(struct http_client_conn *conn, struct bytes data)
{
    size_t used = data.len;
    enum err err = http_head_feed(&conn->head, &conn->head_bytes, data, &used);
    if (err == ERR_BAD_INPUT) {
        conn_refuse(conn, conn->head.reason);
    } else if (err == ERR_OK) {
        conn_head_done(conn);
    }
    return used;
}

/* The whole answer is here. When all of the request has left too, on_sent comes in this turn, and
 * the connection can be kept; when not, it cannot. */
static void conn_complete(struct http_client_conn *conn, bool reusable)
{
    if (conn->sending && tcp_unsent(&conn->tcp) == 0) {
        conn->reusable = reusable && !conn->complete;
        conn->complete = true;
        return;
    }
    conn_finish(conn, ERR_OK, reusable);
}

static void conn_on_recv(struct tcp_conn *tcp, enum err err, struct bytes data)
{
    struct http_client_conn *conn = CONTAINER_OF(tcp, struct http_client_conn, tcp);
    if (conn->state == CONN_KEPT) {
        conn_close(conn); /* nothing may come unasked */
        return;
    }
    if (err != ERR_OK || data.len == 0) {
        conn_broken(conn, err);
        return;
    }
    conn->got_byte = true;
    size_t used = 0;
    while (used < data.len) {
        struct bytes rest = bytes_from(data, used);
        if (conn->state == CONN_ASKING) {
            used += conn_read_head(conn, rest);
        } else if (conn->state == CONN_READING && !conn->body.done) {
            used += conn_read_body(conn, rest);
        } else {
            break;
        }
    }
    if (conn->state == CONN_READING && conn->body.done) {
        conn_complete(conn, used == data.len);
    }
}

/* --- asking --- */

static void conn_on_sent(struct tcp_send_req *req, enum err err)
{
    struct http_client_conn *conn = CONTAINER_OF(req, struct http_client_conn, send);
    (void)err; /* a failure shows when receiving, perhaps after an answer that tells more */
    conn->sending = false;
    if (conn->complete && conn->state == CONN_READING) {
        conn_finish(conn, ERR_OK, conn->reusable);
    }
}

static void conn_on_connect(struct tcp_conn *tcp, enum err err)
{
    struct http_client_conn *conn = CONTAINER_OF(tcp, struct http_client_conn, tcp);
    if (conn->state != CONN_CONNECTING) {
        return; /* closed meanwhile */
    }
    if (err != ERR_OK) {
        conn_finish(conn, err, false);
        return;
    }
    conn->state = CONN_ASKING;
    conn->fetch->connected = true;
}

static void write_host(struct writer *w, const struct http_fetch *fetch)
{
    char text[NET_ADDR_TEXT_MAX];
    struct bytes host = fetch->host;
    if (host.len == 0) {
        host = bytes_of_str(net_addr_format(&fetch->addr, text));
    }
    http1_write_header(w, HTTP1_HEADER_HOST, host);
}

static enum err write_request(struct buf *to, const struct http_fetch *fetch)
{
    struct writer w = writer_of(to);
    http1_write_request_line(&w, http1_method_token(fetch->method), fetch->target);
    write_host(&w, fetch);
    for (size_t i = 0; i < fetch->field_count; i++) {
        http1_write_field(&w, fetch->fields[i].name, fetch->fields[i].value);
    }
    /* RFC 9110 section 8.6: said even for an empty body where the method has a meaning for one. */
    if (fetch->body.len > 0 || fetch->method == HTTP1_METHOD_PUT ||
        fetch->method == HTTP1_METHOD_POST || fetch->method == HTTP1_METHOD_PATCH) {
        http1_write_header_u64(&w, HTTP1_HEADER_CONTENT_LENGTH, fetch->body.len);
    }
    if (fetch->fresh) {
        http1_write_header(&w, HTTP1_HEADER_CONNECTION, BYTES_LITERAL("close"));
    }
    http1_write_end(&w);
    return w.err;
}

static struct http_client_conn *conn_new(struct http_client *client, const struct net_addr *addr)
{
    struct http_client_conn *conn = mem_alloc(sizeof(*conn));
    conn->client = client;
    conn->addr = *addr;
    list_init(&conn->kept);
    list_init(&conn->kept_here);
    buf_init(&conn->head_bytes, HTTP_READ_MAX);
    buf_init(&conn->content, SIZE_MAX / 2);
    buf_init(&conn->out, HTTP_READ_MAX);
    list_push_back(&client->conns, &conn->link);
    client->conn_count++;
    return conn;
}

static void conn_ask(struct http_client_conn *conn, struct http_fetch *fetch)
{
    conn->fetch = fetch;
    fetch->conn = conn;
    conn->got_byte = false;
    conn->again = false;
    conn->complete = false;
    conn->interims = 0;
    conn_expect_head(conn);
    int count = 1;
    conn->iov[0].iov_base = conn->out.data;
    conn->iov[0].iov_len = conn->out.len;
    if (fetch->body.len > 0) {
        /* An iovec has no const; nobody writes through it. */
        memcpy(&conn->iov[1].iov_base, &fetch->body.data, sizeof(fetch->body.data));
        conn->iov[1].iov_len = fetch->body.len;
        count = 2;
    }
    conn->sending = true;
    tcp_send(&conn->tcp, &conn->send, conn->iov, count, conn_on_sent);
}

/* ERR_OK: a connection has the fetch. Other errors: nothing was begun. */
static enum err fetch_begin(struct http_fetch *fetch, bool may_reuse)
{
    struct http_client *client = fetch->client;
    struct http_client_conn *conn = may_reuse ? kept_find(client, &fetch->addr) : NULL;
    bool made = conn == NULL;
    if (made) {
        conn = conn_new(client, &fetch->addr);
    }
    enum err err = write_request(&conn->out, fetch);
    if (err != ERR_OK) {
        buf_clear(&conn->out);
        if (made) {
            conn_free(conn);
        } else {
            conn_keep(conn);
        }
        return err;
    }
    if (made) {
        clk_ns timeout = fetch->connect_timeout > 0 ? fetch->connect_timeout : fetch->timeout;
        conn->state = CONN_CONNECTING;
        tcp_connect(&conn->tcp, client->loop, &fetch->addr, timeout, conn_on_connect);
        tcp_recv_start(&conn->tcp, conn_on_recv);
    } else {
        conn->state = CONN_ASKING;
        fetch->connected = true;
    }
    conn_ask(conn, fetch);
    return ERR_OK;
}

/* Ends a fetch that has a connection, by err. One that is closing ends by what it was closed for,
 * but it does not start once more. */
static void fetch_abandon(struct http_fetch *fetch, enum err err)
{
    struct http_client_conn *conn = fetch->conn;
    if (conn->state != CONN_CLOSING) {
        conn_finish(conn, err, false);
    } else if (conn->again) {
        conn->again = false;
        fetch->result = err;
    }
}

static void fetch_on_timer(struct loop_timer *timer)
{
    struct http_fetch *fetch = CONTAINER_OF(timer, struct http_fetch, timer);
    CHECK(fetch->conn != NULL);
    fetch_abandon(fetch, ERR_TIMEOUT);
}

void http_fetch_start(struct http_client *client, struct http_fetch *fetch)
{
    CHECK(fetch->on_done != NULL && fetch->timeout > 0 && !client->closing);
    CHECK(fetch->method != HTTP1_METHOD_OTHER && fetch->method != HTTP1_METHOD_CONNECT);
    fetch->client = client;
    fetch->conn = NULL;
    fetch->retried = false;
    fetch->connected = false;
    fetch->answer_was_cut = false;
    fetch->reason = HTTP1_REASON_NONE;
    list_init(&fetch->failed.link);
    client->fetch_count++;
    bool may_reuse = http1_method_is_idempotent(fetch->method) && !fetch->fresh;
    fetch->result =
        client->fetch_count > client->limits.fetches_max ? ERR_FULL : fetch_begin(fetch, may_reuse);
    if (fetch->result != ERR_OK) {
        loop_defer(client->loop, &fetch->failed, fetch_run_failed);
    } else if (fetch->timeout < CLK_NEVER - loop_now(client->loop)) {
        loop_timer_set(client->loop, &fetch->timer, loop_now(client->loop) + fetch->timeout,
                       fetch_on_timer);
    }
}

void http_fetch_cancel(struct http_fetch *fetch)
{
    CHECK(fetch->client != NULL);
    if (fetch->conn != NULL) { /* else it has failed: on_done is due */
        fetch_abandon(fetch, ERR_CANCELED);
    }
}

struct bytes http_fetch_header(const struct http_fetch *fetch, struct bytes name)
{
    CHECK(fetch->head != NULL);
    return http1_head_find(fetch->head, fetch->head_data, name);
}

/* --- the client --- */

void http_client_init(struct http_client *client, struct loop *loop,
                      const struct http_client_limits *limits)
{
    CHECK(loop != NULL && limits->fetches_max > 0);
    memset(client, 0, sizeof(*client));
    client->loop = loop;
    client->limits = *limits;
    list_init(&client->conns);
    list_init(&client->kept);
    list_init(&client->ended.link);
    for (size_t i = 0; i < HTTP_CLIENT_BUCKETS; i++) {
        list_init(&client->kept_by[i]);
    }
}

void http_client_close(struct http_client *client, void (*on_closed)(struct http_client *client))
{
    CHECK(!client->closing && on_closed != NULL);
    CHECK(client->fetch_count == 0);
    client->closing = true;
    client->on_closed = on_closed;
    loop_timer_cancel(client->loop, &client->timer);
    while (!list_empty(&client->kept)) {
        conn_close(CONTAINER_OF(client->kept.next, struct http_client_conn, kept));
    }
    client_check_end(client);
}
