/* The node: the only way in to the cluster's state for every door. propose, read, watch, renew.
 *
 * Place: node. Doors (serve/...) run on edge threads and call these functions there; callbacks come
 * on the same edge thread, never inside the call that started them unless said so. Behind this
 * header: the core thread (engine: Raft groups, WAL, peers), the apply thread (one writer of the
 * store), the edges, and one ring from apply to each edge.
 *
 * The ordering promise (docs/architecture.md, "The ring"):
 *   1. Results of proposals and changes of tables reach an edge in index order.
 *   2. The ring to an edge is filled up to index M before a snapshot that shows M can be opened,
 *      and node_read drains the ring to M before it calls back. So a change callback comes before
 *      any read that shows the change, a proposal's result before or with it, and a read after
 *      one's own write's result sees that write. FIFO per connection follows.
 *   3. An edge whose ring overflows gets NODE_EVENT_LAGGED: the door closes the connections that
 *      hang on the feed; they re-synchronise by their protocol. Apply never waits for an edge.
 *
 * Ownership: request structs are the caller's, embedded in its connection or request; they must
 * stay until their callback, or until the matching cancel function returned. Slices in callbacks
 * are borrowed until the callback returns. Everything is bounded: when a queue is full the call
 * returns ERR_FULL at once and the door answers "busy". */
#ifndef NODE_NODE_H
#define NODE_NODE_H

#include "apply/apply.h"
#include "bytes/bytes.h"
#include "clk/clk.h"
#include "err/err.h"
#include "list/list.h"
#include "map/map.h"
#include "raft/raft.h"
#include "table/table.h"

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct node;
struct node_edge;
struct metrics_set;
struct watch_set;
struct renewal;
struct secret_ring;

enum {
    NODE_ID_MAX = 255,
    NODE_NAME_MAX = 64,
    NODE_ADDR_MAX = 64,
    NODE_EDGES_MAX = 16,
    NODE_PEERS_MAX = 8 /* initial members */
};

/* ---- life ------------------------------------------------------------------------------------ */

struct node_peer_cfg {
    raft_node_id id;
    char peer_addr[NODE_ADDR_MAX]; /* HOST:PORT of its peer port */
};

struct node_cfg {
    raft_node_id id;          /* 1..NODE_ID_MAX */
    char name[NODE_NAME_MAX]; /* unique in the cluster; Consul's Node */
    char data_dir[256];
    char peer_addr[NODE_ADDR_MAX];    /* where this node listens for peers */
    char http_addr[NODE_ADDR_MAX];    /* advertised: API and Consul port */
    char gateway_addr[NODE_ADDR_MAX]; /* advertised: gateway port */
    char datacenter[NODE_NAME_MAX];   /* "dc1" */
    uint32_t peer_count;              /* initial members, this node included: 1, 3 or 5 */
    struct node_peer_cfg peers[NODE_PEERS_MAX];
    uint32_t edge_count; /* 0: cores - 1, at least 1 */
    int loop_backend;    /* enum loop_backend */
    uint64_t wal_segment_bytes;
    uint64_t store_map_bytes;
    /* The cluster's, borrowed during node_start; NULL: the nodes' connections are in the clear. */
    const struct secret_ring *secret;
    uint64_t snapshot_log_bytes; /* log since the last snapshot that calls for one; 0: 64 MiB */
};

/* Opens the data directory (lock, identity, WAL, store), replays, starts the threads. On failure
 * the note names what and where. ERR_IN_USE (locked, port taken), ERR_MISMATCH (other cluster or
 * node, newer format), ERR_CORRUPT, ERR_NO_SPACE, ERR_IO. */
ERR_CHECKED enum err node_start(const struct node_cfg *cfg, struct node **ret_node,
                                struct err_note *note);
/* Called once, on the core thread, when the node stops by itself: a failed WAL (ERR_POISONED), a
 * full disk (ERR_NO_SPACE), an unknown command (ERR_UNSUPPORTED). The text is for a person. When
 * that has happened already, at once inside this call. */
void node_on_fatal(struct node *node, void (*fn)(void *self, enum err why, const char *text),
                   void *self);
/* A leader makes another voter the leader, if one is fit for it. Returns when somebody else leads
 * or nothing is left to try, after 600 ms at the latest and at once on a follower. To be called
 * once, before the doors are closed: requests under way then end as usual, by the new leader. Not
 * on one of the node's threads. */
void node_hand_over(struct node *node);
/* Any thread: the secret's file has changed. From the core thread's next turn on the ring is used
 * for new connections between nodes, and those made with a secret that is gone are closed. The node
 * was started with a secret; copied. */
void node_set_secret(struct node *node, const struct secret_ring *ring);
/* Joins the threads, flushes the WAL, writes the store's clean mark, frees. The doors have been
 * closed: nothing may be open on the edges' loops. Not on one of the node's threads. Accepts
 * NULL. */
void node_stop(struct node *node);
const struct node_cfg *node_config(const struct node *node);
struct metrics_set *node_metrics(struct node *node);

/* ---- edges ----------------------------------------------------------------------------------- */

uint32_t node_edge_count(const struct node *node);
struct node_edge *node_edge_at(struct node *node, uint32_t number);
/* Runs fn on the edge's thread; any thread may call, before or after the edges run. */
ERR_CHECKED enum err node_edge_post(struct node_edge *edge, void (*fn)(void *self), void *self);
struct loop *node_edge_loop(struct node_edge *edge);
uint32_t node_edge_number(const struct node_edge *edge);
struct node *node_edge_node(struct node_edge *edge);

/* ---- who asks -------------------------------------------------------------------------------- */

/* Travels with every call: for permission, for cutting short what nobody waits for, and for finding
 * one request in the logs of all nodes. */
struct node_call {
    struct bytes
        principal;        /* who: "anonymous", a token's accessor, "system:health"; <= 128 bytes */
    clk_ns deadline;      /* loop time; 0: the node's default (10 s) */
    uint8_t trace_id[16]; /* W3C trace id; all zero: none */
};

/* ---- propose --------------------------------------------------------------------------------- */

/* What the state machine said about a command. */
struct node_result {
    uint64_t index; /* of its entry */
    bool duplicate; /* it had been applied before; then the verdict is not known any more */
    struct apply_result verdict;
};

/* A write. Answered from this node's own apply: when the callback comes with ERR_OK the command was
 * committed (durable on a majority) and applied here; `result` holds the state machine's verdict.
 * Otherwise result is NULL: ERR_FULL, ERR_NO_LEADER, ERR_TOO_LARGE (certainly not done),
 * ERR_UNKNOWN (the deadline passed, it may still happen), ERR_STOPPING. */
struct node_proposal {
    void (*done)(struct node_proposal *proposal, enum err err, const struct node_result *result);
    /* private: */
    struct map_node by_id;
    uint64_t id;
};

/* body: the command's body as its core module encoded it, copied. kind: enum machine_kind. */
ERR_CHECKED enum err node_propose(struct node_edge *edge, const struct node_call *call,
                                  uint16_t kind, struct bytes body, struct node_proposal *proposal);
/* The callback will not come; the command may still be applied. */
void node_propose_cancel(struct node_edge *edge, struct node_proposal *proposal);

/* ---- read ------------------------------------------------------------------------------------ */

enum node_consistency {
    NODE_STALE,      /* this node's applied state, now; works without a leader */
    NODE_CONSISTENT, /* linearizable: ReadIndex, one batched round */
};

struct node_snapshot {
    struct table_txn *txn; /* read-only; valid until the callback returns */
    uint64_t index;        /* applied index that it shows */
    bool known_leader;
    uint64_t last_contact_ms; /* since the leader was last heard of; 0 on the leader */
};

struct node_reading {
    /* ERR_OK with a snapshot, or ERR_NO_LEADER, ERR_TIMEOUT, ERR_FULL (also: a snapshot is being
     * installed, or four reads are nested already), ERR_STOPPING with NULL. */
    void (*done)(struct node_reading *reading, enum err err, const struct node_snapshot *snapshot);
    /* private: */
    struct list link;
    clk_ns deadline;
};

/* NODE_STALE calls back before it returns. Not to be called inside node_watch.changed: note the
 * change there and read from a deferred call (loop_defer), once for all changes of the turn. */
ERR_CHECKED enum err node_read(struct node_edge *edge, const struct node_call *call,
                               enum node_consistency consistency, struct node_reading *reading);
void node_read_cancel(struct node_edge *edge, struct node_reading *reading);

/* ---- backup ---------------------------------------------------------------------------------- */

enum {
    NODE_BACKUP_PIECE = 128 * 1024
};

/* This node's state as a verified snapshot file (docs/disk-format.md), in pieces. */
struct node_backup {
    /* ERR_OK: the next piece, an empty one at the end; then ask on, or cancel (also after the end).
     * Else no more comes: ERR_FULL (too many at once, or a snapshot could not be written a moment
     * ago: try later), ERR_IO, ERR_CORRUPT, ERR_TIMEOUT (not asked for too long), ERR_STOPPING; it
     * still must be cancelled. */
    void (*piece)(struct node_backup *backup, enum err err, struct bytes piece);
    /* private: */
    struct list link;
    uint64_t tag;
};

/* The first piece follows, of a state that has applied at least so much: the index of a
 * node_snapshot, so that the read's consistency is the backup's. ERR_FULL: nothing was started. */
ERR_CHECKED enum err node_backup_start(struct node_edge *edge, uint64_t at_least,
                                       struct node_backup *backup);
/* Inside piece() or later. ERR_FULL: try again, or cancel. */
ERR_CHECKED enum err node_backup_next(struct node_edge *edge, struct node_backup *backup);
/* Forgets it; no piece comes any more. */
void node_backup_cancel(struct node_edge *edge, struct node_backup *backup);

/* ---- watch ----------------------------------------------------------------------------------- */

/* A standing subscription to changes of one table: of one key, of a prefix, or of all (empty
 * prefix). */
struct node_watch {
    /* Called once per change in index order, on the edge, before any read shows it. The watch may
     * be removed inside. */
    void (*changed)(struct node_watch *watch, const struct apply_change *change);
    /* private: */
    struct list link;
    struct watch_set *set; /* NULL: not registered */
    uint64_t told;
};

/* Copies the key. ERR_FULL above the edge's limit of watches. Only changes after the call are told:
 * register first, then read. */
ERR_CHECKED enum err node_watch_add(struct node_edge *edge, struct node_watch *watch,
                                    enum table_id table, struct bytes key, bool prefix);
/* Does nothing when it is not registered. */
void node_watch_remove(struct node_edge *edge, struct node_watch *watch);

/* Things that concern a whole edge. */
enum node_event {
    /* changes were lost on this edge: re-read everything that hangs on the feed */
    NODE_EVENT_LAGGED,
    NODE_EVENT_LEADER, /* another leader, or none */
    NODE_EVENT_STOPPING,
};

struct node_listener {
    void (*event)(struct node_listener *listener, enum node_event event);
    struct list link;
};

void node_listen(struct node_edge *edge, struct node_listener *listener);
void node_unlisten(struct node_edge *edge, struct node_listener *listener);

/* ---- leases ---------------------------------------------------------------------------------- */

/* A heartbeat or verdict for a check, passed to the check's owner node wherever it is; never in the
 * log unless it changes the check's status. */
struct node_lease_update {
    /* ERR_OK; ERR_NOT_FOUND (no such check: the client registers again), ERR_TIMEOUT, ERR_FULL. */
    void (*done)(struct node_lease_update *update, enum err err);
    /* private: */
    struct list link;
    struct renewal *renewal;
};

struct node_lease {
    struct bytes node_name; /* of the check's node; empty: this node is tried first, then any */
    struct bytes check_id;
    int status;          /* enum registry_status */
    struct bytes output; /* cut at 4 KiB */
};

/* lease is copied. ERR_STOPPING, ERR_FULL; without an error the callback follows. */
ERR_CHECKED enum err node_lease_renew(struct node_edge *edge, const struct node_call *call,
                                      const struct node_lease *lease,
                                      struct node_lease_update *update);
void node_lease_cancel(struct node_edge *edge, struct node_lease_update *update);

/* ---- status ---------------------------------------------------------------------------------- */

/* What this node knows of the cluster at this moment; copied, cheap, any edge. */
struct node_status {
    raft_node_id self;
    uint64_t cluster_id;
    uint64_t storage_id;
    uint64_t boot_count;
    struct raft_view meta; /* group 1 as the engine saw it last (at most 50 ms old) */
    uint64_t applied;      /* by the store */
    uint64_t wal_bytes;
    uint64_t wal_durable_seq;
    uint64_t snapshot_index;
    const char *backend; /* "io_uring" or "epoll" */
    uint32_t peer_count;

    struct node_peer_status {
        raft_node_id id;
        bool connected;
        bool trusted;
        char refused[ERR_NOTE_MAX]; /* why its last connection was refused, or "" */
        uint64_t last_heard_ms;     /* ago; UINT64_MAX: never */
        uint64_t match;             /* leader only */
    } peers[NODE_PEERS_MAX];
};

void node_status_get(struct node_edge *edge, struct node_status *ret_status);

#endif
