/* One connection between nodes: frames out, frames in, and its end.
 *
 * Place: node/peers. Sending: frames are copied once, into the buffer that is being filled, while
 * the other buffer is with the loop; so everything that came up during one write leaves in the
 * next. Receiving: a frame that lies whole in the received chunk is delivered from there; only one
 * that is cut by the chunk's end is put together in conn->in. */
#include "peers/peers_priv.h"

#include "check/check.h"
#include "crc/crc32c.h"
#include "mem/mem.h"

static void on_recv(struct tcp_conn *tcp, enum err err, struct bytes data);

static struct peers_conn *conn_of(struct tcp_conn *tcp)
{
    return CONTAINER_OF(tcp, struct peers_conn, tcp);
}

static void buf_recycle(struct buf *buf)
{
    buf_clear(buf);
    if (buf->cap > PEERS_KEEP_BYTES) {
        buf_done(buf);
    }
}

struct peers_conn *peers_conn_new(struct peers *peers)
{
    struct peers_conn *conn = mem_alloc(sizeof(*conn));
    conn->peers = peers;
    /* TLS adds to what is queued; its part is bounded by PEERS_SEAL_BYTES. */
    size_t most = peers->queue_bytes_max + tls_wire_bytes(PEERS_SEAL_BYTES);
    buf_init(&conn->out[0], most);
    buf_init(&conn->out[1], most);
    buf_init(&conn->in, (size_t)peers->frame_bytes_max + PEERS_HEAD_BYTES);
    conn->heard_at = loop_now(peers->loop);
    list_push_back(&peers->conns, &conn->link_all);
    return conn;
}

/* ---- the end --------------------------------------------------------------------------------- */

static void on_closed(struct tcp_conn *tcp)
{
    struct peers_conn *conn = conn_of(tcp);
    struct peers *peers = conn->peers;
    CHECK(conn->closing && !conn->sending);
    list_remove(&conn->link_all);
    buf_done(&conn->out[0]);
    buf_done(&conn->out[1]);
    buf_done(&conn->in);
    tls_free(conn->tls);
    mem_free(conn);
    peers_maybe_closed(peers);
}

void peers_conn_drop(struct peers_conn *conn, const char *reason)
{
    if (conn->closing) {
        return;
    }
    conn->closing = true;
    loop_timer_cancel(conn->peers->loop, &conn->timer);
    tcp_close(&conn->tcp, on_closed);
    struct peers_link *link = conn->link;
    if (link != NULL) {
        CHECK(link->conn == conn);
        conn->link = NULL;
        link->conn = NULL;
        peers_link_lost(link, reason);
        return;
    }
    CHECK(conn->peers->stranger_count > 0);
    conn->peers->stranger_count--;
    if (conn->state == PEERS_GREETING && !conn->peers->closing) {
        peers_log_stranger(conn->peers, conn->from, reason);
    }
}

static void on_timer(struct loop_timer *timer)
{
    struct peers_conn *conn = CONTAINER_OF(timer, struct peers_conn, timer);
    bool shaking = conn->tls != NULL && !tls_is_open(conn->tls);
    peers_conn_drop(conn, shaking ? "its TLS handshake took too long" : "it sent no hello in time");
}

void peers_conn_start(struct peers_conn *conn)
{
    struct loop *loop = conn->peers->loop;
    conn->state = PEERS_GREETING;
    conn->heard_at = loop_now(loop);
    loop_timer_set(loop, &conn->timer, loop_now(loop) + CLK_MS(PEERS_HELLO_TIMEOUT_MS), on_timer);
    tcp_recv_start(&conn->tcp, on_recv);
    peers_secure_begin(conn);
}

/* What waits leaves, then our end of the connection is closed. */
static void send_last(struct peers_conn *conn)
{
    peers_conn_flush(conn);
    if (conn->closing || conn->out[conn->filling].len > 0) {
        return;
    }
    peers_secure_end(conn);
    peers_conn_flush(conn);
    if (!conn->closing && !peers_secure_has_more(conn)) {
        tcp_shutdown(&conn->tcp);
    }
}

void peers_conn_refuse(struct peers_conn *conn, const char *reason)
{
    CHECK(conn->state == PEERS_GREETING && !conn->closing);
    struct loop *loop = conn->peers->loop;
    struct peers_link *link = conn->link;
    conn->state = PEERS_REFUSING;
    conn->link = NULL;
    if (link != NULL) {
        link->conn = NULL;
        conn->peers->stranger_count++;
    }
    if (peers_secure_can_say(conn)) {
        (void)peers_conn_queue(conn, PEERS_FRAME_REFUSE, bytes_of_str(reason));
    } else {
        buf_clear(&conn->out[conn->filling]); /* our hello: it will not be heard */
        conn->sealed = 0;
    }
    send_last(conn);
    loop_timer_set(loop, &conn->timer, loop_now(loop) + CLK_MS(PEERS_REFUSE_TIMEOUT_MS), on_timer);
    if (link != NULL) {
        peers_link_lost(link, reason);
    }
}

/* ---- sending --------------------------------------------------------------------------------- */

bool peers_conn_queue(struct peers_conn *conn, uint8_t kind, struct bytes body)
{
    CHECK(body.len <= conn->peers->frame_bytes_max);
    struct buf *out = &conn->out[conn->filling];
    size_t size = PEERS_HEAD_BYTES + body.len;
    size_t waiting = out->len - conn->sealed + conn->out[1 - conn->filling].len;
    if (size + waiting > conn->peers->queue_bytes_max || buf_reserve(out, size) != ERR_OK) {
        return false;
    }
    uint8_t *head = out->data + out->len;
    put_u32(head, (uint32_t)body.len);
    head[4] = kind;
    put_u32(head + 5, crc32c(crc32c(0, head, 5), body.data, body.len));
    if (body.len > 0) {
        memcpy(head + PEERS_HEAD_BYTES, body.data, body.len);
    }
    out->len += size;
    conn->sent_at = loop_now(conn->peers->loop);
    return true;
}

static void on_sent(struct tcp_send_req *req, enum err err)
{
    struct peers_conn *conn = CONTAINER_OF(req, struct peers_conn, req);
    struct buf *sent = &conn->out[1 - conn->filling];
    CHECK(conn->sending);
    conn->sending = false;
    if (err == ERR_OK && conn->link != NULL) {
        conn->link->peer->status.sent_bytes += sent->len;
    }
    buf_recycle(sent);
    if (err != ERR_OK) {
        peers_conn_drop(conn, err_text(err));
    } else if (conn->state == PEERS_REFUSING) {
        send_last(conn);
    } else if (conn->tls != NULL) {
        peers_conn_flush(conn); /* the turn's end knows those with a link only */
    }
}

void peers_conn_flush(struct peers_conn *conn)
{
    struct buf *out = &conn->out[conn->filling];
    bool waits = out->len > 0 || peers_secure_has_more(conn);
    if (conn->sending || conn->closing || !waits || conn->state == PEERS_CONNECTING) {
        return;
    }
    if (conn->tls != NULL) {
        out = peers_secure_seal(conn);
    } else {
        conn->filling = 1 - conn->filling;
    }
    if (conn->closing || out->len == 0) {
        return; /* the handshake is not done: frames wait */
    }
    conn->sending = true;
    conn->iov = (struct iovec){.iov_base = out->data, .iov_len = out->len};
    tcp_send(&conn->tcp, &conn->req, &conn->iov, 1, on_sent);
}

/* ---- receiving ------------------------------------------------------------------------------- */

/* Length and kind of a frame whose head is here. False: such a frame may not come now. */
static bool head_is_allowed(struct peers_conn *conn, const uint8_t *head)
{
    uint32_t len = get_u32(head);
    if (conn->state == PEERS_OPEN) {
        if (len > conn->peers->frame_bytes_max) {
            peers_conn_drop(conn, "a frame over the size limit came");
            return false;
        }
        return true;
    }
    uint8_t kind = head[4];
    bool known = kind == PEERS_FRAME_HELLO || (kind == PEERS_FRAME_REFUSE && conn->dialled);
    if (len > PEERS_HELLO_BYTES_MAX || !known) {
        peers_conn_drop(conn, "what came is not the hello of a Flotilla node");
        return false;
    }
    return true;
}

static void open_frame(struct peers_conn *conn, uint8_t kind, struct bytes body)
{
    struct peers *peers = conn->peers;
    struct peers_peer *peer = conn->link->peer;
    peer->status.last_heard = loop_now(peers->loop);
    if (kind == PEERS_FRAME_ALIVE) {
        return;
    }
    if (kind == PEERS_FRAME_REFUSE) {
        peers_refused(conn, body);
        return;
    }
    if (kind == PEERS_FRAME_HELLO) {
        peers_conn_drop(conn, "a second hello came");
        return;
    }
    enum err err = peers->env.frame(peers->env.self, peer->id, conn->link->channel, kind, body);
    if (err != ERR_OK) {
        peers_conn_drop(conn, "a malformed frame came");
    }
}

static void whole_frame(struct peers_conn *conn, const uint8_t *frame, size_t size)
{
    struct bytes body = bytes_of(frame + PEERS_HEAD_BYTES, size - PEERS_HEAD_BYTES);
    uint32_t crc = crc32c(crc32c(0, frame, 5), body.data, body.len);
    if (crc != get_u32(frame + 5)) {
        peers_conn_drop(conn, "a frame with a wrong checksum came");
        return;
    }
    uint8_t kind = frame[4];
    if (conn->state == PEERS_OPEN) {
        open_frame(conn, kind, body);
    } else if (kind == PEERS_FRAME_HELLO) {
        peers_hello_receive(conn, body);
    } else {
        peers_refused(conn, body);
    }
}

/* Bytes of the frame that begins here, as far as one can know: at least a head. */
static size_t frame_size(const uint8_t *data, size_t len)
{
    return len < PEERS_HEAD_BYTES ? PEERS_HEAD_BYTES : PEERS_HEAD_BYTES + (size_t)get_u32(data);
}

/* Adds to the frame in conn->in; returns what is left of the data. */
static struct bytes take_partial(struct peers_conn *conn, struct bytes data)
{
    struct buf *in = &conn->in;
    size_t size = frame_size(in->data, in->len);
    size_t part = size - in->len < data.len ? size - in->len : data.len;
    enum err err = buf_reserve(in, size - in->len);
    CHECK(err == ERR_OK); /* its length was allowed */
    err = buf_append(in, bytes_of(data.data, part));
    CHECK(err == ERR_OK);
    bool head_came = size == PEERS_HEAD_BYTES && in->len == size;
    if (head_came && !head_is_allowed(conn, in->data)) {
        return data;
    }
    if (in->len >= PEERS_HEAD_BYTES && in->len == frame_size(in->data, in->len)) {
        whole_frame(conn, in->data, in->len);
        buf_recycle(in);
    }
    return bytes_from(data, part);
}

/* Takes a frame, or the beginning of one, from the data; returns what is left. */
static struct bytes take_frame(struct peers_conn *conn, struct bytes data)
{
    if (conn->in.len > 0 || data.len < PEERS_HEAD_BYTES) {
        return take_partial(conn, data);
    }
    if (!head_is_allowed(conn, data.data)) {
        return data;
    }
    size_t size = frame_size(data.data, data.len);
    if (size <= data.len) {
        whole_frame(conn, data.data, size);
        return bytes_from(data, size);
    }
    enum err err = buf_reserve(&conn->in, size);
    CHECK(err == ERR_OK);
    err = buf_append(&conn->in, data);
    CHECK(err == ERR_OK);
    return bytes_from(data, data.len);
}

static void on_recv(struct tcp_conn *tcp, enum err err, struct bytes data)
{
    struct peers_conn *conn = conn_of(tcp);
    if (err != ERR_OK || data.len == 0) {
        peers_conn_drop(conn, err != ERR_OK ? err_text(err) : "the other side closed it");
        return;
    }
    conn->heard_at = loop_now(conn->peers->loop);
    if (conn->link != NULL) {
        conn->link->peer->status.received_bytes += data.len;
    }
    if (conn->tls != NULL) {
        if (conn->state != PEERS_REFUSING) {
            peers_secure_receive(conn, data);
        }
    } else if (!peers_secure_meets_tls(conn, data)) {
        peers_conn_take(conn, data);
    }
}

void peers_conn_take(struct peers_conn *conn, struct bytes data)
{
    while (data.len > 0 && !conn->closing && conn->state != PEERS_REFUSING) {
        data = take_frame(conn, data);
    }
}
