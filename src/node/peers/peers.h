/* Peers: the TCP connections between nodes, on the core thread.
 *
 * Place: node. Two connections per pair of nodes, and the direction of dialling is fixed: the node
 * with the lower id dials, so each pair has exactly one LOG connection (Raft, proposals, leases)
 * and one BULK connection (snapshots), and a snapshot never delays a heartbeat. Each begins with a
 * hello from both sides; a peer of another cluster, another protocol version or with this node's
 * own id is refused with a reason before anything else is read. When the cluster has a secret, all
 * of this is inside TLS 1.3 with a key derived from it (tls/tls.h), from the first byte on.
 *
 * Frame on the wire (integers little-endian):
 *
 *   offset size
 *        0    4 length of the body
 *        4    1 kind
 *        5    4 crc32c of the five bytes before and of the body
 *        9      body
 *
 * Body of a hello:
 *
 *        0    4 magic "FLTP"
 *        4    2 protocol version, 1
 *        6    1 channel
 *        7    1 flags: 1 = the node's log is empty
 *        8    4 id of the node that is addressed
 *       12    4 id of the node that speaks
 *       16    8 cluster id, 0: none yet
 *       24    8 storage id
 *       32    8 boot count
 *       40    8 durable WAL sequence
 *       48    8 durable WAL sequence when the node started
 *       56    8 a random number of this start
 *       64      later versions may append; ignored
 *
 * Invariants:
 *   1. A peer is up from its LOG hello's acceptance (env->up) until env->down; frames come only
 *      between. BULK exists only while the peer is up.
 *   2. Memory is bounded: what waits to be sent to a peer is at most queue_bytes_max per channel,
 *      then peers_send says false; a frame is at most frame_bytes_max, before a hello is accepted
 *      at most PEERS_HELLO_BYTES_MAX.
 *   3. A connection that broke, was refused or never answered is dialled again after 20 ms,
 *      doubling to 500 ms, with jitter; a reset by the peer's machine is told at once (env->down),
 *      because it ends Raft's stickiness to a dead leader.
 *   4. Nothing of a frame but its length is acted on before its checksum was compared.
 *   5. With a secret, no byte of this protocol is read from one who has not proved to have it. The
 *      handshake's time counts as the hello's, and those who are in it as strangers, of whom there
 *      are at most PEERS_STRANGERS_MAX.
 *   6. A connection over which nothing came for 5 s is closed; each side sends something every
 *      second. */
#ifndef PEERS_PEERS_H
#define PEERS_PEERS_H

#include "engine/engine.h"
#include "err/err.h"
#include "net/net.h"

struct loop;
struct peers;
struct secret_ring;

enum {
    PEERS_HELLO_BYTES_MAX = 512
};

enum peers_channel {
    PEERS_LOG,
    PEERS_BULK,
    PEERS_CHANNEL_COUNT
};

enum peers_frame_kind {
    PEERS_FRAME_HELLO = 1,    /* consumed by this module */
    PEERS_FRAME_REFUSE = 2,   /* likewise; body: the reason as text */
    PEERS_FRAME_ENGINE = 3,   /* LOG: for engine_receive */
    PEERS_FRAME_LEASE = 4,    /* LOG: lease renewals between nodes (node/health) */
    PEERS_FRAME_SNAPSHOT = 5, /* BULK: node/transfer */
    PEERS_FRAME_ALIVE = 6,    /* consumed by this module; no body */
};

struct peers_env {
    void *self;
    /* What to say in our hello. */
    void (*hello)(void *self, struct engine_hello *ret_hello);
    /* The peer's hello on the LOG channel arrived. An error refuses it; the note goes to the
     * peer. */
    enum err (*up)(void *self, const struct engine_hello *hello, bool *ret_trusted,
                   struct err_note *note);
    void (*down)(void *self, raft_node_id node);
    /* A frame, whole and with a good checksum; borrowed during the call. ERR_BAD_INPUT: close the
     * connection. */
    enum err (*frame)(void *self, raft_node_id from, enum peers_channel channel, uint8_t kind,
                      struct bytes body);
};

struct peers_cfg {
    raft_node_id self;
    struct net_addr listen;
    uint32_t peer_count; /* without this node */

    struct {
        raft_node_id id;
        struct net_addr addr; /* may be empty for a lower id: that one dials */
    } peers[RAFT_PEERS_MAX];

    uint64_t queue_bytes_max; /* per peer and channel; 0: 64 MiB */
    uint32_t frame_bytes_max; /* 0: 18 MiB; at most half of queue_bytes_max */
    /* The cluster's, borrowed during peers_new; NULL or empty: connections are in the clear. */
    const struct secret_ring *secret;
};

/* Binds the listening port and starts dialling on the loop (before its first turn, or on its
 * thread). cfg and env are copied. Turn hooks that send must be added to the loop before.
 * ERR_IN_USE, ERR_DENIED, ERR_BAD_INPUT with a note naming the address. */
ERR_CHECKED enum err peers_new(struct loop *loop, const struct peers_cfg *cfg,
                               const struct peers_env *env, struct peers **ret_peers,
                               struct err_note *note);
/* For connections to come. Those that were made with a secret that is not in the ring any more are
 * closed. Only when peers_new got one; ring has one at least; copied. */
void peers_set_secret(struct peers *peers, const struct secret_ring *ring);
/* Closes everything; on_closed comes last, then peers_free. No env call after peers_close but down,
 * which comes inside it. Once only. */
void peers_close(struct peers *peers, void (*on_closed)(void *self), void *self);
/* After on_closed. Accepts NULL. */
void peers_free(struct peers *peers);
/* Where this node listens, port filled in. */
struct net_addr peers_listen_addr(const struct peers *peers);

/* Queues a frame made of one body; copied. False: not up, or its queue is full. All frames of one
 * loop turn leave in one write. The body is at most frame_bytes_max. */
bool peers_send(struct peers *peers, raft_node_id to, enum peers_channel channel, uint8_t kind,
                struct bytes body);
/* Closes the connections to a peer (it will be dialled again). */
void peers_reset(struct peers *peers, raft_node_id node);

struct peers_status {
    bool connected;
    bool trusted;
    char refused[ERR_NOTE_MAX]; /* why it refused us or we refused it, or "" */
    clk_ns last_heard;          /* last frame; 0: never */
    uint64_t sent_bytes;
    uint64_t received_bytes;
    uint64_t dropped_frames;
};

/* ERR_NOT_FOUND: no such peer is configured. */
ERR_CHECKED enum err peers_status_get(const struct peers *peers, raft_node_id node,
                                      struct peers_status *ret_status);

#endif
