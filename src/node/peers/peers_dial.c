/* How connections between nodes begin again: dialling with back-off, accepting, losing.
 *
 * Place: node/peers. */
#include "peers/peers_priv.h"

#include "check/check.h"
#include "log/log.h"

#include <stdio.h>
#include <unistd.h>

static void on_connect(struct tcp_conn *tcp, enum err err)
{
    struct peers_conn *conn = CONTAINER_OF(tcp, struct peers_conn, tcp);
    if (conn->closing) {
        return;
    }
    if (err != ERR_OK) {
        peers_conn_drop(conn, err_text(err));
        return;
    }
    peers_conn_start(conn);
    if (conn->closing) {
        return;
    }
    peers_hello_send(conn, conn->link->peer->id, conn->link->channel);
}

static void dial(struct peers_link *link)
{
    struct peers_peer *peer = link->peer;
    CHECK(link->conn == NULL && peer->id > peer->peers->self);
    struct peers_conn *conn = peers_conn_new(peer->peers);
    conn->state = PEERS_CONNECTING;
    conn->dialled = true;
    conn->link = link;
    link->conn = conn;
    (void)net_addr_format(&peer->addr, conn->from);
    tcp_connect(&conn->tcp, peer->peers->loop, &peer->addr, CLK_MS(PEERS_DIAL_TIMEOUT_MS),
                on_connect);
}

static void on_redial(struct loop_timer *timer)
{
    dial(CONTAINER_OF(timer, struct peers_link, redial));
}

void peers_dial_soon(struct peers_link *link, clk_ns delay)
{
    struct loop *loop = link->peer->peers->loop;
    loop_timer_set(loop, &link->redial, loop_now(loop) + delay, on_redial);
}

void peers_dial_again(struct peers_link *link)
{
    if (link->backoff == 0) {
        link->backoff = CLK_MS(PEERS_BACKOFF_MIN_MS);
    }
    /* A quarter more or less: nodes that lost each other together do not come back together. */
    struct rnd *rnd = loop_rnd(link->peer->peers->loop);
    peers_dial_soon(link, rnd_range(rnd, link->backoff / 4 * 3, link->backoff / 4 * 5));
    link->backoff *= 2;
    if (link->backoff > CLK_MS(PEERS_BACKOFF_MAX_MS)) {
        link->backoff = CLK_MS(PEERS_BACKOFF_MAX_MS);
    }
}

static void peer_down(struct peers_peer *peer, const char *reason)
{
    struct peers *peers = peer->peers;
    peer->up = false;
    peer->trusted = false;
    loop_timer_cancel(peers->loop, &peer->links[PEERS_BULK].redial);
    if (peer->links[PEERS_BULK].conn != NULL) {
        peers_conn_drop(peer->links[PEERS_BULK].conn, reason);
    }
    if (!peers->closing) {
        log_event(LOG_PEER_DOWN, "node=%u reason=%s", peer->id, reason);
    }
    peers->env.down(peers->env.self, peer->id);
}

void peers_link_lost(struct peers_link *link, const char *reason)
{
    struct peers_peer *peer = link->peer;
    CHECK(link->conn == NULL);
    if (link->channel == PEERS_LOG && peer->up) {
        peer_down(peer, reason);
    }
    bool dials = peer->id > peer->peers->self && !peer->peers->closing;
    if (dials && link->conn == NULL && (link->channel == PEERS_LOG || peer->up)) {
        peers_dial_again(link);
    }
}

/* Who connects and says nothing must not keep peers out. */
static void drop_oldest_stranger(struct peers *peers)
{
    LIST_FOREACH (link, &peers->conns) {
        struct peers_conn *conn = CONTAINER_OF(link, struct peers_conn, link_all);
        if (conn->link == NULL && !conn->closing) {
            peers_conn_drop(conn, "too many connections without a hello");
            return;
        }
    }
    CHECK_UNREACHABLE();
}

void peers_on_accept(struct tcp_listener *listener, int fd)
{
    struct peers *peers = CONTAINER_OF(listener, struct peers, listener);
    if (peers->closing) {
        (void)close(fd);
        return;
    }
    if (peers->stranger_count >= PEERS_STRANGERS_MAX) {
        drop_oldest_stranger(peers);
    }
    struct peers_conn *conn = peers_conn_new(peers);
    peers->stranger_count++;
    struct net_addr addr = {0};
    if (net_peer_addr(fd, &addr) != ERR_OK) {
        addr.len = 0;
    }
    (void)net_addr_format(&addr, conn->from);
    tcp_open(&conn->tcp, peers->loop, fd);
    peers_conn_start(conn);
}

void peers_log_stranger(struct peers *peers, const char *from, const char *reason)
{
    clk_ns now = loop_now(peers->loop);
    if (now - peers->log_window >= CLK_S(1)) {
        peers->log_window = now;
        peers->log_lines = 0;
    }
    if (peers->closing || peers->log_lines >= PEERS_LOG_LINES_MAX) {
        return;
    }
    peers->log_lines++;
    log_event(LOG_PEER_REFUSED, "addr=%s reason=%s", from, reason);
}

void peers_note_refusal(struct peers_peer *peer, const char *reason)
{
    char text[ERR_NOTE_MAX];
    (void)snprintf(text, sizeof(text), "%s", reason);
    if (strcmp(text, peer->status.refused) != 0) {
        memcpy(peer->status.refused, text, sizeof(text));
        log_event(LOG_PEER_REFUSED, "node=%u reason=%s", peer->id, text);
    }
}
