/* Transfer: snapshot files from node to node, over the BULK channel, on the core thread.
 *
 * Place: node. A state machine between node/engine (a follower needs a snapshot), node/peers
 * (frames) and io/store's snapshot files; everything that touches a file is a job of node/jobs. The
 * bytes of a file travel as they are: the receiver believes them when the whole file has verified
 * (io/store).
 *
 *     sender                               receiver
 *       OFFER index term size  ---------->  (opens or resumes the part)
 *       <-------------------- ACCEPT offset, or REFUSE why
 *       CHUNK offset bytes     ---------->  (writes)
 *       <-------------------------- ACK offset       at most TRANSFER_WINDOW chunks are under way
 *       ...
 *       <------------------------------ DONE ok, or why not          after the file has verified
 *       <------------------------------ WAIT         each second that the receiver's disk takes
 *
 * Frame, the body of PEERS_FRAME_SNAPSHOT (integers little-endian):
 *
 *   offset size
 *        0    1 version, 1
 *        1    1 kind: 1 OFFER, 2 ACCEPT, 3 REFUSE, 4 CHUNK, 5 ACK, 6 DONE, 7 WAIT
 *        2    2 zero
 *        4    4 group
 *        8    8 number of the transfer, the sender's
 *       16      OFFER:  index u64, term u64, size u64
 *               ACCEPT: offset u64           ACK: offset u64 (everything before it is written)
 *               CHUNK:  offset u64, 1 to TRANSFER_CHUNK_MAX bytes
 *               REFUSE: text                 DONE: ok u8, text
 *               WAIT:   nothing
 *
 * Invariants:
 *   1. Every transfer_send that returned ERR_OK ends with exactly one `sent`, never inside the call
 *      (only transfer_stop calls back from inside).
 *   2. To each peer one file is sent at a time, from each peer one is received, and of each group
 *      one: others wait in the sender, or are refused.
 *   3. Memory per transfer: one chunk at the sender, TRANSFER_WINDOW chunks at the receiver.
 *   4. What was received stays when a transfer breaks; the next offer of the same file goes on
 *      there. */
#ifndef TRANSFER_TRANSFER_H
#define TRANSFER_TRANSFER_H

#include "bytes/bytes.h"
#include "err/err.h"
#include "raft/raft.h"

struct jobs;
struct loop;
struct snapshot_dir;
struct transfer;

enum {
    TRANSFER_CHUNK_MAX = 256 * 1024,
    TRANSFER_WINDOW = 4,
    TRANSFER_SENDS_MAX = 1024, /* under way and waiting, in all */
};

struct transfer_cfg {
    struct loop *loop;        /* of the core thread */
    struct jobs *jobs;        /* borrowed until transfer_free */
    struct snapshot_dir *dir; /* likewise */
    uint64_t size_bytes_max;  /* of a file that is received; 0: 1 TiB */
    void *self;
    /* Queues a frame to the peer; false: no connection, or its queue is full. */
    bool (*send)(void *self, raft_node_id to, struct bytes body);
    /* A send has ended. ERR_OK: the receiver has the file, verified. ERR_NOT_FOUND: there is no
     * file that is new enough: have one written, then send again. ERR_REFUSED, ERR_CLOSED (the peer
     * went down), ERR_TIMEOUT, ERR_CORRUPT, ERR_IO, ...: the log says more; failures that come from
     * the peer are told a second after the send began at the earliest, so that who tries again at
     * once does no harm. */
    void (*sent)(void *self, raft_group_id group, raft_node_id to, enum err err);
    /* Files of an index below this one may be removed when a newer one has arrived. */
    raft_index (*floor)(void *self, raft_group_id group);
    /* A file has arrived and verified; it is the group's newest in the directory. */
    void (*received)(void *self, raft_group_id group, const struct raft_snapshot_meta *meta);
};

/* cfg is copied. */
struct transfer *transfer_new(const struct transfer_cfg *cfg);
/* Ends every send (ERR_STOPPING) and starts no more jobs. Then jobs_free, then transfer_free. */
void transfer_stop(struct transfer *transfer);
/* After transfer_stop and jobs_free. Accepts NULL. */
void transfer_free(struct transfer *transfer);

/* Sends the newest snapshot file of the group, of an index >= at_least, to the peer. ERR_EXISTS:
 * that group is being sent to that peer already; ERR_FULL; ERR_STOPPING. */
ERR_CHECKED enum err transfer_send(struct transfer *transfer, raft_group_id group, raft_node_id to,
                                   raft_index at_least);
/* A PEERS_FRAME_SNAPSHOT from a peer. ERR_BAD_INPUT: close the connection. */
ERR_CHECKED enum err transfer_frame(struct transfer *transfer, raft_node_id from,
                                    struct bytes body);
/* Sends to the peer end with ERR_CLOSED; what was received of its file is kept. */
void transfer_peer_down(struct transfer *transfer, raft_node_id node);

#endif
