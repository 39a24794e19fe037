/* Peers: see peers.h. The module's life, its turn hook and its second hand. */
#include "peers/peers.h"

#include "peers/peers_priv.h"

#include "check/check.h"
#include "mem/mem.h"

static const uint64_t QUEUE_BYTES_DEFAULT = 64ull * 1024 * 1024;
static const uint32_t FRAME_BYTES_DEFAULT = 18u * 1024 * 1024;

struct peers_peer *peers_find(struct peers *peers, raft_node_id id)
{
    for (uint32_t i = 0; i < peers->peer_count; i++) {
        if (peers->peers[i].id == id) {
            return &peers->peers[i];
        }
    }
    return NULL;
}

/* Everything that was queued in this turn leaves now. */
static void on_turn_end(struct loop_hook *hook)
{
    struct peers *peers = CONTAINER_OF(hook, struct peers, hook);
    for (uint32_t i = 0; i < peers->peer_count; i++) {
        for (int c = 0; c < PEERS_CHANNEL_COUNT; c++) {
            struct peers_conn *conn = peers->peers[i].links[c].conn;
            if (conn != NULL) {
                peers_conn_flush(conn);
            }
        }
    }
}

static void look_after(struct peers_conn *conn, clk_ns now)
{
    if (conn->state != PEERS_OPEN || conn->closing) {
        return;
    }
    if (now - conn->heard_at >= CLK_MS(PEERS_SILENCE_MS)) {
        peers_conn_drop(conn, "nothing was heard for 5 s");
        return;
    }
    /* Three quarters: the tick must not miss a whole second by a hair. */
    if (now - conn->sent_at >= CLK_MS(PEERS_ALIVE_MS) / 4 * 3) {
        (void)peers_conn_queue(conn, PEERS_FRAME_ALIVE, (struct bytes){0});
    }
}

static void on_tick(struct loop_timer *timer)
{
    struct peers *peers = CONTAINER_OF(timer, struct peers, tick);
    clk_ns now = loop_now(peers->loop);
    loop_timer_set(peers->loop, &peers->tick, now + CLK_MS(PEERS_ALIVE_MS), on_tick);
    for (uint32_t i = 0; i < peers->peer_count; i++) {
        for (int c = 0; c < PEERS_CHANNEL_COUNT; c++) {
            struct peers_link *link = &peers->peers[i].links[c];
            if (link->conn != NULL) {
                look_after(link->conn, now);
            }
            bool lived = link->conn != NULL && link->conn->state == PEERS_OPEN &&
                         now - link->conn->opened_at >= CLK_S(1);
            if (lived) {
                link->backoff = 0;
            }
        }
    }
}

static enum err add_peers(struct peers *peers, const struct peers_cfg *cfg, struct err_note *note)
{
    for (uint32_t i = 0; i < cfg->peer_count; i++) {
        raft_node_id id = cfg->peers[i].id;
        struct peers_peer *peer = &peers->peers[i];
        if (id == 0 || id == cfg->self || peers_find(peers, id) != NULL) {
            return err_note_set(note, ERR_BAD_INPUT, "peer id %u is 0, this node's or twice there",
                                id);
        }
        if (id > cfg->self && cfg->peers[i].addr.len == 0) {
            return err_note_set(note, ERR_BAD_INPUT, "the address of node %u is missing", id);
        }
        peer->peers = peers;
        peer->id = id;
        peer->addr = cfg->peers[i].addr;
        for (int c = 0; c < PEERS_CHANNEL_COUNT; c++) {
            peer->links[c].peer = peer;
            peer->links[c].channel = (enum peers_channel)c;
        }
        peers->peer_count = i + 1;
    }
    return ERR_OK;
}

enum err peers_new(struct loop *loop, const struct peers_cfg *cfg, const struct peers_env *env,
                   struct peers **ret_peers, struct err_note *note)
{
    CHECK(cfg->self != 0 && cfg->peer_count <= RAFT_PEERS_MAX);
    CHECK(env->hello != NULL && env->up != NULL && env->down != NULL && env->frame != NULL);
    struct peers *peers = mem_alloc(sizeof(*peers));
    peers->loop = loop;
    peers->env = *env;
    peers->self = cfg->self;
    peers->queue_bytes_max = cfg->queue_bytes_max != 0 ? cfg->queue_bytes_max : QUEUE_BYTES_DEFAULT;
    peers->frame_bytes_max = cfg->frame_bytes_max != 0 ? cfg->frame_bytes_max : FRAME_BYTES_DEFAULT;
    CHECK(peers->frame_bytes_max >= PEERS_HELLO_BYTES_MAX);
    CHECK(peers->frame_bytes_max <= peers->queue_bytes_max / 2);
    list_init(&peers->conns);
    peers_secure_init(peers, cfg->secret);
    enum err err = add_peers(peers, cfg, note);
    if (err == ERR_OK) {
        err = tcp_listen(&peers->listener, loop, &cfg->listen, false, peers_on_accept, note);
    }
    if (err != ERR_OK) {
        tls_context_free(peers->tls);
        mem_free(peers);
        return err;
    }
    loop_hook_add(loop, &peers->hook, on_turn_end);
    loop_timer_set(loop, &peers->tick, loop_now(loop) + CLK_MS(PEERS_ALIVE_MS), on_tick);
    for (uint32_t i = 0; i < peers->peer_count; i++) {
        if (peers->peers[i].id > peers->self) {
            peers_dial_soon(&peers->peers[i].links[PEERS_LOG], 0);
        }
    }
    *ret_peers = peers;
    return ERR_OK;
}

struct net_addr peers_listen_addr(const struct peers *peers)
{
    return tcp_listener_addr(&peers->listener);
}

void peers_maybe_closed(struct peers *peers)
{
    if (!peers->closing || !peers->listener_closed || !list_empty(&peers->conns) ||
        peers->close_reported) {
        return;
    }
    peers->close_reported = true;
    peers->on_closed(peers->on_closed_self);
}

static void on_listener_closed(struct tcp_listener *listener)
{
    struct peers *peers = CONTAINER_OF(listener, struct peers, listener);
    peers->listener_closed = true;
    peers_maybe_closed(peers);
}

void peers_close(struct peers *peers, void (*on_closed)(void *self), void *self)
{
    CHECK(!peers->closing && on_closed != NULL);
    peers->closing = true;
    peers->on_closed = on_closed;
    peers->on_closed_self = self;
    loop_hook_remove(&peers->hook);
    loop_timer_cancel(peers->loop, &peers->tick);
    for (uint32_t i = 0; i < peers->peer_count; i++) {
        for (int c = 0; c < PEERS_CHANNEL_COUNT; c++) {
            loop_timer_cancel(peers->loop, &peers->peers[i].links[c].redial);
        }
    }
    /* Connections leave the list later, when they are closed (loop.h, invariant 3). */
    LIST_FOREACH (link, &peers->conns) {
        peers_conn_drop(CONTAINER_OF(link, struct peers_conn, link_all), "this node is stopping");
    }
    tcp_listener_close(&peers->listener, on_listener_closed);
}

void peers_free(struct peers *peers)
{
    CHECK(peers == NULL || peers->close_reported);
    if (peers != NULL) {
        tls_context_free(peers->tls);
    }
    mem_free(peers);
}

bool peers_send(struct peers *peers, raft_node_id to, enum peers_channel channel, uint8_t kind,
                struct bytes body)
{
    CHECK(channel < PEERS_CHANNEL_COUNT && kind != PEERS_FRAME_HELLO);
    struct peers_peer *peer = peers_find(peers, to);
    if (peer == NULL) {
        return false;
    }
    struct peers_conn *conn = peer->links[channel].conn;
    bool queued = conn != NULL && conn->state == PEERS_OPEN && peers_conn_queue(conn, kind, body);
    if (!queued) {
        peer->status.dropped_frames++;
    }
    return queued;
}

void peers_reset(struct peers *peers, raft_node_id node)
{
    struct peers_peer *peer = peers_find(peers, node);
    if (peer != NULL && peer->links[PEERS_LOG].conn != NULL) {
        peers_conn_drop(peer->links[PEERS_LOG].conn, "it was reset by this node");
    }
}

enum err peers_status_get(const struct peers *peers, raft_node_id node,
                          struct peers_status *ret_status)
{
    for (uint32_t i = 0; i < peers->peer_count; i++) {
        const struct peers_peer *peer = &peers->peers[i];
        if (peer->id == node) {
            *ret_status = peer->status;
            ret_status->connected = peer->up;
            ret_status->trusted = peer->trusted;
            return ERR_OK;
        }
    }
    return ERR_NOT_FOUND;
}
