/* Hellos: who is on the other side, and whether the two belong together.
 *
 * Place: node/peers. The byte table is in peers.h. The one who was dialled answers a hello with its
 * own, or with a refusal; the one who dialled judges that answer in the same way. */
#include "peers/peers_priv.h"

#include "check/check.h"
#include "log/log.h"

#include <stdio.h>

enum {
    HELLO_MAGIC = 0x50544c46, /* "FLTP" */
    HELLO_VERSION = 1,
    HELLO_BYTES = 64,
    HELLO_FRESH = 1,
};

struct hello {
    uint8_t channel;
    raft_node_id to;
    struct engine_hello engine;
};

void peers_hello_send(struct peers_conn *conn, raft_node_id to, enum peers_channel channel)
{
    struct peers *peers = conn->peers;
    struct engine_hello mine = {0};
    peers->env.hello(peers->env.self, &mine);
    CHECK(mine.node == peers->self);
    uint8_t body[HELLO_BYTES];
    put_u32(body, HELLO_MAGIC);
    put_u16(body + 4, HELLO_VERSION);
    body[6] = (uint8_t)channel;
    body[7] = mine.fresh ? HELLO_FRESH : 0;
    put_u32(body + 8, to);
    put_u32(body + 12, mine.node);
    put_u64(body + 16, mine.cluster_id);
    put_u64(body + 24, mine.storage_id);
    put_u64(body + 32, mine.boot_count);
    put_u64(body + 40, mine.durable_seq);
    put_u64(body + 48, mine.start_seq);
    put_u64(body + 56, mine.boot_id);
    bool queued = peers_conn_queue(conn, PEERS_FRAME_HELLO, bytes_of(body, sizeof(body)));
    CHECK(queued); /* the first frame of a connection */
}

/* ERR_BAD_INPUT: not a hello. ERR_MISMATCH: of another version of the protocol. */
static enum err hello_decode(struct bytes body, struct hello *ret_hello, struct err_note *note)
{
    if (body.len < 6 || get_u32(body.data) != HELLO_MAGIC) {
        return err_note_set(note, ERR_BAD_INPUT, "what came is not the hello of a Flotilla node");
    }
    unsigned version = get_u16(body.data + 4);
    if (version != HELLO_VERSION) {
        return err_note_set(note, ERR_MISMATCH,
                            "it speaks version %u of the peers' protocol, this node version %u",
                            version, (unsigned)HELLO_VERSION);
    }
    if (body.len < HELLO_BYTES || body.data[6] >= PEERS_CHANNEL_COUNT) {
        return err_note_set(note, ERR_BAD_INPUT, "the hello is malformed");
    }
    const uint8_t *p = body.data;
    *ret_hello = (struct hello){
        .channel = p[6],
        .to = get_u32(p + 8),
        .engine = {.node = get_u32(p + 12),
                   .cluster_id = get_u64(p + 16),
                   .storage_id = get_u64(p + 24),
                   .boot_count = get_u64(p + 32),
                   .durable_seq = get_u64(p + 40),
                   .start_seq = get_u64(p + 48),
                   .boot_id = get_u64(p + 56),
                   .fresh = (p[7] & HELLO_FRESH) != 0},
    };
    return ERR_OK;
}

/* Is this the node that the address stands for, and the channel that was asked for? */
static enum err judge_dialled(struct peers_conn *conn, const struct hello *hello,
                              struct err_note *note)
{
    const struct peers_link *link = conn->link;
    if (hello->engine.node != link->peer->id) {
        return err_note_set(note, ERR_MISMATCH, "node %u answers at the address of node %u",
                            hello->engine.node, link->peer->id);
    }
    if (hello->to != conn->peers->self || hello->channel != (uint8_t)link->channel) {
        return err_note_set(note, ERR_BAD_INPUT, "its hello is not an answer to ours");
    }
    return ERR_OK;
}

static enum err judge_accepted(struct peers_conn *conn, const struct hello *hello,
                               struct err_note *note)
{
    struct peers *peers = conn->peers;
    raft_node_id from = hello->engine.node;
    if (from == peers->self) {
        return err_note_set(note, ERR_MISMATCH, "node id %u is taken: this node has it too", from);
    }
    if (hello->to != peers->self) {
        return err_note_set(note, ERR_MISMATCH, "this is node %u, not node %u", peers->self,
                            hello->to);
    }
    if (peers_find(peers, from) == NULL) {
        return err_note_set(note, ERR_DENIED, "node %u is not a peer of node %u", from,
                            peers->self);
    }
    if (from > peers->self) {
        return err_note_set(note, ERR_DENIED, "of two nodes the one with the lower id dials");
    }
    return ERR_OK;
}

/* A second LOG connection of a peer: the process has lost the first one without our knowing, or it
 * is another process: its machine crashed, or there are two nodes with the same id, or two of the
 * same data, copied. While the first one is heard of, another process is refused. */
static enum err judge_rival(struct peers_conn *conn, struct peers_peer *peer,
                            const struct engine_hello *hello, struct err_note *note)
{
    struct peers_conn *old = peer->links[PEERS_LOG].conn;
    if (old == NULL) {
        return ERR_OK;
    }
    clk_ns now = loop_now(conn->peers->loop);
    bool fresh = now - old->heard_at < CLK_MS(PEERS_FRESH_MS);
    if (fresh && hello->storage_id != peer->hello.storage_id) {
        return err_note_set(note, ERR_EXISTS,
                            "another node %u, with another data directory, is connected", peer->id);
    }
    if (fresh && hello->boot_id != peer->hello.boot_id) {
        return err_note_set(
            note, ERR_EXISTS,
            "another process of node %u is connected: is its data directory copied?", peer->id);
    }
    peers_conn_drop(old, "a newer connection of the same peer came");
    return ERR_OK;
}

/* The LOG connection decides whether the peer is up, BULK follows it. */
static enum err judge_peer(struct peers_conn *conn, struct peers_peer *peer,
                           const struct hello *hello, bool *ret_trusted, struct err_note *note)
{
    const struct peers_env *env = &conn->peers->env;
    if (hello->channel == PEERS_LOG) {
        enum err err = conn->dialled ? ERR_OK : judge_rival(conn, peer, &hello->engine, note);
        if (conn->closing) {
            return ERR_CANCELED; /* by env->down of the old one */
        }
        return err == ERR_OK ? env->up(env->self, &hello->engine, ret_trusted, note) : err;
    }
    /* Not its cluster: it may have joined one since the other connection was made. */
    const struct engine_hello *log = &peer->hello;
    if (!peer->up || hello->engine.storage_id != log->storage_id ||
        hello->engine.boot_count != log->boot_count || hello->engine.boot_id != log->boot_id) {
        return err_note_set(note, ERR_CONFLICT, "there is no log connection of the same node");
    }
    return ERR_OK;
}

static void opened(struct peers_conn *conn, struct peers_link *link, const struct hello *hello,
                   bool trusted, const struct err_note *note)
{
    struct peers_peer *peer = link->peer;
    struct peers *peers = conn->peers;
    loop_timer_cancel(peers->loop, &conn->timer);
    if (conn->link == NULL) {
        peers->stranger_count--;
    }
    conn->link = link;
    conn->state = PEERS_OPEN;
    conn->opened_at = loop_now(peers->loop);
    link->conn = conn;
    if (!conn->dialled) {
        peers_hello_send(conn, peer->id, link->channel);
    }
    peer->status.refused[0] = '\0';
    if (link->channel != PEERS_LOG) {
        return;
    }
    peer->up = true;
    peer->trusted = trusted;
    peer->hello = hello->engine;
    log_event(LOG_PEER_UP, "node=%u addr=%s trusted=%s note=%s", peer->id, conn->from,
              trusted ? "yes" : "no", note->text);
    if (conn->dialled) {
        peers_dial_soon(&peer->links[PEERS_BULK], 0);
    }
}

static void refuse(struct peers_conn *conn, raft_node_id from, const char *reason)
{
    struct peers_peer *peer = peers_find(conn->peers, from);
    if (peer != NULL) {
        peers_note_refusal(peer, reason);
    } else {
        peers_log_stranger(conn->peers, conn->from, reason);
    }
    peers_conn_refuse(conn, reason);
}

void peers_hello_receive(struct peers_conn *conn, struct bytes body)
{
    struct peers *peers = conn->peers;
    struct hello hello = {0};
    struct err_note note = {0};
    enum err err = hello_decode(body, &hello, &note);
    if (err == ERR_BAD_INPUT) {
        peers_conn_drop(conn, note.text);
        return;
    }
    if (err == ERR_OK) {
        err = conn->dialled ? judge_dialled(conn, &hello, &note)
                            : judge_accepted(conn, &hello, &note);
    }
    struct peers_peer *peer = conn->dialled ? conn->link->peer : NULL;
    if (err == ERR_OK && peer == NULL) {
        peer = peers_find(peers, hello.engine.node);
    }
    bool trusted = true;
    if (err == ERR_OK) {
        CHECK(peer != NULL);
        err = judge_peer(conn, peer, &hello, &trusted, &note);
    }
    if (conn->closing) {
        if (err == ERR_OK && hello.channel == PEERS_LOG) {
            peers->env.down(peers->env.self, peer->id); /* env->up has closed it */
        }
        return;
    }
    if (err != ERR_OK) {
        refuse(conn, peer != NULL ? peer->id : 0, note.text[0] != '\0' ? note.text : err_text(err));
        return;
    }
    struct peers_link *link = &peer->links[hello.channel];
    if (link->conn != NULL && link->conn != conn) {
        peers_conn_drop(link->conn, "a newer connection of the same peer came");
    }
    opened(conn, link, &hello, trusted, &note);
}

void peers_refused(struct peers_conn *conn, struct bytes body)
{
    char reason[ERR_NOTE_MAX - 16];
    size_t len = body.len < sizeof(reason) - 1 ? body.len : sizeof(reason) - 1;
    for (size_t i = 0; i < len; i++) {
        reason[i] = body.data[i] >= ' ' && body.data[i] < 0x7f ? (char)body.data[i] : '?';
    }
    reason[len] = '\0';
    char text[ERR_NOTE_MAX];
    (void)snprintf(text, sizeof(text), "it says: %s", reason);
    CHECK(conn->link != NULL);
    peers_note_refusal(conn->link->peer, text);
    peers_conn_drop(conn, text);
}
