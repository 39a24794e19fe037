/* Connections of clients: reading heads, order, times, closing.
 *
 * Place: serve/gateway; gateway_priv.h has the states. What was received and cannot be looked at
 * yet (a pipelined request, a body before its upstream is there) waits in `ahead`; while something
 * waits there nothing more is received, so that it holds one receive chunk at most. */
#include "gateway/gateway_priv.h"

#include <unistd.h>

static void client_on_recv(struct tcp_conn *tcp, enum err err, struct bytes data);
static void client_on_timer(struct loop_timer *timer);
static void client_settle(struct gw_client *client);

static void client_enter(struct gw_client *client, enum gw_client_state state)
{
    client->state = (uint8_t)state;
    client->since = loop_now(client->edge->loop);
}

bool gw_client_is_idle(const struct gw_client *client)
{
    return client->state == GW_HEAD && client->partial == NULL && client->ahead.len == 0 &&
           tcp_unsent(&client->tcp) == 0;
}

/* --- closing --- */

static void client_on_closed(struct tcp_conn *tcp)
{
    struct gw_client *client = CONTAINER_OF(tcp, struct gw_client, tcp);
    struct gateway_edge *edge = client->edge;
    CHECK(client->exchange == NULL && client->partial == NULL);
    buf_done(&client->ahead);
    list_remove(&client->link);
    pool_put(&edge->client_pool, client);
    edge->client_count--;
    metric_gauge_set(&edge->metrics.clients, (int64_t)edge->client_count);
    gw_edge_check_end(edge);
}

static bool client_leave(struct gw_client *client)
{
    CHECK(client->exchange == NULL);
    if (client->state == GW_CLOSING) {
        return false;
    }
    client_enter(client, GW_CLOSING);
    loop_timer_cancel(client->edge->loop, &client->timer);
    loop_call_cancel(&client->work);
    gw_partial_free(client->partial);
    client->partial = NULL;
    return true;
}

void gw_client_close(struct gw_client *client)
{
    if (client_leave(client)) {
        tcp_close(&client->tcp, client_on_closed);
    }
}

void gw_client_abort(struct gw_client *client)
{
    if (client_leave(client)) {
        tcp_abort(&client->tcp, client_on_closed);
    }
}

/* Nobody is there any more. */
static void client_gone(struct gw_client *client)
{
    if (client->exchange != NULL) {
        gw_exchange_abort(client->exchange, GATEWAY_REASON_CLIENT_CLOSED);
    }
    gw_client_close(client);
}

/* --- sending --- */

static void client_on_sent(struct tcp_send_req *req, enum err err)
{
    struct gw_out *out = CONTAINER_OF(req, struct gw_out, req);
    struct gw_client *client = out->owner;
    struct gw_exchange *ex = client->exchange;
    gw_out_sent(out);
    if (client->state == GW_CLOSING) {
        return;
    }
    if (err != ERR_OK) {
        client_gone(client);
        return;
    }
    bool low = tcp_unsent(&client->tcp) <= GW_UNSENT_LOW;
    if (ex != NULL) {
        ex->progress = loop_now(client->edge->loop);
        if (low && ex->upstream != NULL) {
            gw_upstream_resume(ex->upstream);
        }
    } else if (low && client->ahead.len > 0) {
        gw_client_wake(client);
    }
    client_settle(client);
}

struct gw_flow gw_client_flow(struct gw_client *client)
{
    return (struct gw_flow){
        .edge = client->edge, .to = &client->tcp, .owner = client, .on_sent = client_on_sent};
}

void gw_client_answered(struct gw_client *client, bool keep_alive)
{
    CHECK(client->exchange == NULL);
    if (client->state == GW_CLOSING) {
        return;
    }
    if (keep_alive) {
        client_enter(client, client->body.done ? GW_HEAD : GW_DRAIN);
    } else {
        client_enter(client, GW_LINGER);
        tcp_shutdown(&client->tcp);
        buf_clear(&client->ahead);
    }
    if (client->feeding) {
        return;
    }
    if (client->ahead.len > 0) {
        gw_client_wake(client);
    } else {
        client_settle(client);
    }
}

/* --- time --- */

static clk_ns read_deadline(const struct gw_client *client)
{
    const struct gateway_limits *limits = &client->edge->limits;
    switch ((enum gw_client_state)client->state) {
    case GW_HEAD:
        if (client->partial != NULL) {
            return client->since + limits->header_timeout;
        }
        return client->since + limits->keep_alive_timeout;
    case GW_PROXY:
        return gw_exchange_deadline(client->exchange);
    case GW_DRAIN:
        return client->since + limits->header_timeout;
    case GW_LINGER:
        return tcp_unsent(&client->tcp) > 0 ? CLK_NEVER : client->since + GW_LINGER_TIMEOUT;
    case GW_CLOSING:
        break;
    }
    return CLK_NEVER;
}

/* Also outside of an exchange a client must take what was sent to it. */
static clk_ns client_deadline(const struct gw_client *client)
{
    clk_ns deadline = read_deadline(client);
    if (client->state != GW_PROXY && tcp_unsent(&client->tcp) > 0) {
        clk_ns write = client->write_since + client->edge->limits.body_timeout;
        return write < deadline ? write : deadline;
    }
    return deadline;
}

static void note_unsent(struct gw_client *client)
{
    size_t unsent = tcp_unsent(&client->tcp);
    if (client->unsent_seen == 0 || unsent < client->unsent_seen) {
        client->write_since = loop_now(client->edge->loop);
    }
    client->unsent_seen = unsent;
}

/* The timer is moved only when the deadline comes nearer: a busy connection costs no heap
 * operation per request, and a timer that fires too early is set again. */
static void client_arm(struct gw_client *client)
{
    note_unsent(client);
    clk_ns deadline = client_deadline(client);
    if (deadline == CLK_NEVER ||
        (loop_timer_is_set(&client->timer) && client->timer_at <= deadline)) {
        return;
    }
    client->timer_at = deadline;
    loop_timer_set(client->edge->loop, &client->timer, deadline, client_on_timer);
}

static void client_timed_out(struct gw_client *client)
{
    if (client->state == GW_PROXY) {
        gw_exchange_timed_out(client->exchange);
    } else if (client->state == GW_HEAD && client->partial != NULL) {
        gw_partial_free(client->partial);
        client->partial = NULL;
        gw_exchange_refuse_head(client, GATEWAY_REASON_HEADER_TIMEOUT, HTTP1_REASON_NONE);
    } else {
        gw_client_close(client);
    }
}

static void client_on_timer(struct loop_timer *timer)
{
    struct gw_client *client = CONTAINER_OF(timer, struct gw_client, timer);
    note_unsent(client);
    if (loop_now(client->edge->loop) >= client_deadline(client)) {
        client_timed_out(client);
    }
    client_settle(client);
}

/* --- reading --- */

/* Whether the next bytes may be looked at now. */
static bool client_reads(const struct gw_client *client)
{
    switch ((enum gw_client_state)client->state) {
    case GW_HEAD:
        return tcp_unsent(&client->tcp) <= GW_UNSENT_HIGH;
    case GW_PROXY:
        return gw_exchange_wants_body(client->exchange);
    case GW_DRAIN:
    case GW_LINGER:
    case GW_CLOSING:
        break;
    }
    return true;
}

static void head_refused(struct gw_client *client, const struct http1_head *head)
{
    enum http1_reason reason = (enum http1_reason)head->reason;
    gw_exchange_refuse_head(client, GATEWAY_REASON_MALFORMED, reason);
}

static size_t read_more_of_head(struct gw_client *client, struct bytes data)
{
    struct gw_partial *partial = client->partial;
    size_t before = partial->bytes.len;
    size_t used = data.len;
    enum err kept = buf_append(&partial->bytes, data);
    CHECK(kept == ERR_OK); /* a head's limits are far below the buffer's */
    enum err err = http1_head_parse(&partial->head, partial->bytes.data, partial->bytes.len);
    if (err == ERR_INCOMPLETE) {
        return used;
    }
    client->partial = NULL;
    if (err == ERR_OK) {
        used = partial->head.head_len - before;
        gw_exchange_start(client, &partial->head, partial->bytes.data);
    } else {
        head_refused(client, &partial->head);
    }
    gw_partial_free(partial);
    return used;
}

/* Returns how many bytes of data belong to the head. */
static size_t read_head(struct gw_client *client, struct bytes data)
{
    struct gateway_edge *edge = client->edge;
    if (client->partial != NULL) {
        return read_more_of_head(client, data);
    }
    client->since = loop_now(edge->loop);
    http1_head_init_request(&edge->head, &edge->limits.http1);
    enum err err = http1_head_parse(&edge->head, data.data, data.len);
    if (err == ERR_OK) {
        size_t used = edge->head.head_len;
        gw_exchange_start(client, &edge->head, data.data);
        return used;
    }
    if (err == ERR_INCOMPLETE) {
        client->partial = gw_partial_new();
        client->partial->head = edge->head;
        enum err kept = buf_append(&client->partial->bytes, data);
        CHECK(kept == ERR_OK);
    } else {
        head_refused(client, &edge->head);
    }
    return data.len;
}

/* The rest of a request that was answered already. */
static size_t read_drained(struct gw_client *client, struct bytes data)
{
    size_t used = 0;
    struct bytes content;
    if (http1_body_feed(&client->body, data, &used, &content) != ERR_OK) {
        gw_client_close(client);
        return data.len;
    }
    if (client->body.done) {
        client_enter(client, GW_HEAD);
    }
    return used;
}

/* Looks at as much as it may; returns how many bytes were used up. from: whose on_recv lends the
 * data, or NULL. */
static size_t client_feed(struct gw_client *client, struct bytes data, struct tcp_conn *from)
{
    size_t used = 0;
    client->feeding = true;
    while (used < data.len && client_reads(client)) {
        struct bytes rest = bytes_from(data, used);
        switch ((enum gw_client_state)client->state) {
        case GW_HEAD:
            used += read_head(client, rest);
            break;
        case GW_PROXY:
            used += gw_exchange_body(client->exchange, rest, from);
            break;
        case GW_DRAIN:
            used += read_drained(client, rest);
            break;
        case GW_LINGER:
        case GW_CLOSING:
            used = data.len;
            break;
        }
    }
    client->feeding = false;
    return used;
}

static void feed_ahead(struct gw_client *client)
{
    if (client->ahead.len == 0) {
        return;
    }
    size_t used = client_feed(client, buf_bytes(&client->ahead), NULL);
    /* A refusal has emptied it. */
    buf_consume(&client->ahead, used < client->ahead.len ? used : client->ahead.len);
    if (client->ahead.len == 0) {
        buf_done(&client->ahead);
    }
}

/* The client has finished sending: what it has sent is still answered. */
static void client_on_end(struct gw_client *client)
{
    client->ended = true;
    if (client->state == GW_DRAIN || (client->state == GW_PROXY && !client->body.done)) {
        client_gone(client);
    }
}

static void client_on_recv(struct tcp_conn *tcp, enum err err, struct bytes data)
{
    struct gw_client *client = CONTAINER_OF(tcp, struct gw_client, tcp);
    if (err != ERR_OK) {
        client_gone(client);
        return;
    }
    if (data.len == 0) {
        client_on_end(client);
    } else {
        size_t used = client->ahead.len == 0 ? client_feed(client, data, tcp) : 0;
        if (used < data.len && client->state != GW_CLOSING) {
            err = buf_append(&client->ahead, bytes_from(data, used));
        }
    }
    if (err != ERR_OK) {
        client_gone(client);
    } else {
        client_settle(client);
    }
}

/* --- going on --- */

static bool is_over(const struct gw_client *client)
{
    if (tcp_unsent(&client->tcp) > 0 || client->ahead.len > 0 ||
        (client->state != GW_HEAD && client->state != GW_LINGER)) {
        return false;
    }
    /* Nobody will complete what is not complete, and nobody listens for FIN. */
    return client->ended || (client->edge->stopping && gw_client_is_idle(client));
}

/* RFC 9110 section 10.1.1: once it is clear that the body will be taken, and only when it does not
 * come unasked. */
static void say_continue(struct gw_client *client)
{
    struct gw_exchange *ex = client->exchange;
    if (!ex->expect_continue || ex->body_taken || client->ahead.len > 0 ||
        !gw_exchange_wants_body(ex)) {
        return;
    }
    ex->expect_continue = false;
    struct gw_flow flow = gw_client_flow(client);
    gw_flow_put(&flow, BYTES_LITERAL("HTTP/1.1 100 Continue\r\n\r\n"));
    gw_flow_end(&flow);
}

static void client_settle(struct gw_client *client)
{
    if (client->state == GW_CLOSING) {
        return;
    }
    if (is_over(client)) {
        gw_client_close(client);
        return;
    }
    bool stop = client->ahead.len > 0;
    if (client->state == GW_PROXY) {
        say_continue(client);
        /* A body that the upstream does not take; a client that waits may still hang up. */
        stop = stop || (client->exchange->body_taken && !client->body.done &&
                        !gw_exchange_wants_body(client->exchange));
    }
    if (stop != client->recv_stopped) {
        client->recv_stopped = stop;
        if (stop) {
            tcp_recv_stop(&client->tcp);
        } else {
            tcp_recv_start(&client->tcp, client_on_recv);
        }
    }
    client_arm(client);
}

static void client_work(struct loop_call *call)
{
    struct gw_client *client = CONTAINER_OF(call, struct gw_client, work);
    feed_ahead(client);
    client_settle(client);
}

void gw_client_wake(struct gw_client *client)
{
    if (client->state != GW_CLOSING && !client->feeding) {
        loop_defer(client->edge->loop, &client->work, client_work);
    }
}

void gw_client_open(struct gateway_edge *edge, int fd)
{
    size_t max = edge->limits.clients_max;
    struct gw_client *client =
        edge->client_count < max + GW_OVER_CLIENTS ? pool_get(&edge->client_pool) : NULL;
    if (client == NULL) {
        (void)close(fd);
        return;
    }
    *client = (struct gw_client){.edge = edge, .busy = edge->client_count >= max};
    list_init(&client->work.link);
    buf_init(&client->ahead, GW_AHEAD_MAX);
    list_push_back(&edge->clients, &client->link);
    edge->client_count++;
    metric_gauge_set(&edge->metrics.clients, (int64_t)edge->client_count);
    client_enter(client, GW_HEAD);
    tcp_open(&client->tcp, edge->loop, fd);
    struct net_addr addr;
    if (tcp_peer_addr(&client->tcp, &addr) == ERR_OK) {
        (void)net_ip_format(&addr, client->ip);
    } else {
        memcpy(client->ip, "unknown", sizeof("unknown"));
    }
    tcp_recv_start(&client->tcp, client_on_recv);
    client_arm(client);
}
