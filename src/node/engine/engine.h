/* Engine: the replicas of one node. Drives core/raft with the WAL, the peers and the state
 * machines.
 *
 * Place: node. Single-threaded and without a clock, a socket or a thread of its own: the node's
 * core thread and the simulator run the very same code behind struct engine_env. What comes in:
 * frames from peers, proposals, reads, progress of disk and state machines, time. What goes out:
 * calls of the environment, never from inside an engine_* call but from engine_turn (exceptions say
 * so).
 *
 * Life of a write here:
 *   engine_propose -> proposer stream (numbered) -> [frame to the leader] -> raft_feed(PROPOSE) at
 *   the leader -> entry cache, WAL append and frames to the followers in the same turn -> one
 *   fdatasync -> RAFT_IN_DURABLE -> commit -> env->apply on every node -> the origin's tag comes
 *   out with its entry.
 *
 * Proposer streams (design, "Forwarding"): each node numbers its commands 1, 2, 3, ... per group
 * and incarnation (made of the boot count). The leader appends them in that order, without gaps;
 * which number comes next it knows once the no-op of its own term is applied, because then the
 * applied state holds the last number of everybody. After a new leader or a lost frame the origin
 * sends again from the number that the leader asks for. A proposal that was never sent can be
 * withdrawn: its number is then used by an empty command.
 *
 * Invariants:
 *   1. The cache holds every entry of the log that is not yet applied here.
 *   2. An entry that was handed to env->apply stays in memory until engine_applied covers it.
 *   3. Memory is bounded: proposals by ENGINE_PENDING_MAX and pending_bytes_max, the cache by
 *      cache_bytes_max beyond what is unapplied, unapplied entries by unapplied_bytes_max (then
 *      proposals get ERR_FULL and appends are dropped until the state machine has caught up).
 *
 * Deliberately absent: sockets (node/peers), the state machines (node/apply), the transfer of
 * snapshot files (node/transfer). */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "bytes/bytes.h"
#include "clk/clk.h"
#include "err/err.h"
#include "raft/raft.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wal;
struct wal_damage;
struct engine;

enum {
    ENGINE_GROUPS_MAX = 64,
    ENGINE_PENDING_MAX = 65536, /* proposals of this node under way, per group */
    ENGINE_FRAME_MAX =
        9 * 1024 * 1024, /* bytes of one frame: the largest command and its headers */
};

/* A committed entry as the state machine gets it. Payload is borrowed until engine_applied covers
 * it. */
struct engine_entry {
    raft_index index;
    raft_term term;
    clk_ms time_ms; /* never before the previous entry's: the only clock that commands see */
    uint64_t tag;   /* of this node's proposal, when it is one of this run; else 0 */
    enum raft_entry_kind kind;
    struct bytes payload;
};

/* What surrounds the engine. Slices are borrowed during the call unless said otherwise. */
struct engine_env {
    void *self;
    /* Queues a frame to a peer: false when there is no connection or its queue is full. Frames may
     * be lost and, over a reconnect, are; they arrive in order or not at all. */
    bool (*send)(void *self, raft_node_id to, struct bytes frame);
    /* Committed entries in order, to be applied; answer with engine_applied. */
    void (*apply)(void *self, raft_group_id group, const struct engine_entry *entries,
                  size_t count);
    /* The last command of a proposer that the state machine has applied; 0, 0 when none. Asked
     * when this node has just become leader, and after a snapshot was installed, for entries that
     * engine_applied has covered. */
    void (*proposer_last)(void *self, raft_group_id group, raft_node_id node,
                          uint64_t *ret_incarnation, uint64_t *ret_sequence);
    /* The time of the last entry that the state machine has applied; 0: none. Asked when this node
     * has just become leader. */
    clk_ms (*applied_time)(void *self, raft_group_id group);
    /* A proposal will not be answered by env->apply: ERR_NO_LEADER (certainly not done),
     * ERR_UNKNOWN (its deadline passed after it was sent, or its entry came inside a snapshot). */
    void (*proposal_failed)(void *self, uint64_t tag, enum err err);
    /* ERR_OK: answer the read once `index` is applied. ERR_NO_LEADER: ask again. */
    void (*read_done)(void *self, uint64_t tag, enum err err, raft_index index);
    /* Role, term or leader of the group changed. */
    void (*role_changed)(void *self, raft_group_id group);
    /* The peer needs a snapshot of at least this index; answer with engine_snapshot_sent. */
    void (*snapshot_send)(void *self, raft_group_id group, raft_node_id to, raft_index at_least);
    /* The log is long: write a snapshot file; answer with engine_snapshot_written. */
    void (*snapshot_write)(void *self, raft_group_id group);
    /* A read for a follower met damage in the log. What the state machine has is not lost by that:
     * a snapshot is asked for (snapshot_write), which makes the damaged entries needless, here and
     * for the follower. Told once until then. */
    void (*damage_met)(void *self, const struct wal_damage *damage);
    /* Replace the group's state by this very snapshot, not by a newer one that may have arrived
     * since; answer with engine_applied. */
    void (*snapshot_install)(void *self, raft_group_id group,
                             const struct raft_snapshot_meta *meta);
    /* A bootstrap gave this node its cluster: make it durable before this returns (identity
     * file). */
    enum err (*adopt_cluster)(void *self, uint64_t cluster_id);
    /* The node must stop: ERR_POISONED, ERR_NO_SPACE, ERR_CORRUPT. Called once. */
    void (*fatal)(void *self, enum err why, const char *text);
};

struct engine_cfg {
    raft_node_id self;
    uint64_t storage_id;
    uint64_t cluster_id; /* 0: this directory belongs to no cluster yet */
    uint64_t boot_count;
    uint32_t
        voter_count; /* initial voters, for the bootstrap of a new cluster: 1, 3 or 5; 0: none */
    raft_node_id voters[8];
    uint32_t group_count; /* groups 1..group_count, all with the same members in this version */
    uint64_t seed;
    clk_ns heartbeat; /* 0: 50 ms, 300 ms and 600 ms */
    clk_ns election_min;
    clk_ns election_max;
    uint32_t inflight_msgs_max;   /* appends under way per group and peer; 0: 256 */
    uint32_t inflight_bytes_max;  /* likewise; 0: 4 MiB */
    uint64_t cache_bytes_max;     /* per group; 0: 4 MiB */
    uint64_t pending_bytes_max;   /* per group; 0: 32 MiB */
    uint64_t unapplied_bytes_max; /* per group; 0: 64 MiB */
    uint64_t snapshot_log_bytes;  /* log bytes of a group that call for a snapshot; 0: 64 MiB */
};

/* What a start has found. */
struct engine_start {
    struct wal *wal;           /* recovered, before its first append; borrowed until engine_close */
    const raft_index *applied; /* [i]: what the state machine of group i + 1 has */
    clk_ns now;
    clk_ms wall_ms;
};

/* Whether a state machine that has applied up to an index goes with what the log is now. */
enum engine_state_verdict {
    ENGINE_STATE_FITS,
    ENGINE_STATE_AHEAD,  /* the log lost its end to damage: the state must be made anew, from it and
                           from the peers, or it would never hear of what else was lost */
    ENGINE_STATE_FOREIGN /* the log is whole, and shorter: rolled back, or of another directory */
};

enum engine_state_verdict engine_judge_state(const struct raft_boot *boot, raft_index applied);

/* cfg and env are copied. ERR_CORRUPT: state and log contradict each other; the note says how. */
ERR_CHECKED enum err engine_open(const struct engine_cfg *cfg, const struct engine_env *env,
                                 const struct engine_start *start, struct engine **ret_engine,
                                 struct err_note *note);
/* Frees; the WAL must be idle. Accepts NULL. */
void engine_close(struct engine *engine);

/* ---- peers ----------------------------------------------------------------------------------- */

/* What a peer says of itself when a connection begins. */
struct engine_hello {
    raft_node_id node;
    uint64_t cluster_id; /* 0: it belongs to none yet */
    uint64_t storage_id;
    uint64_t boot_count;
    uint64_t durable_seq; /* last WAL record that it knows to be durable */
    uint64_t start_seq;   /* the last one that it found when it started */
    uint64_t boot_id;     /* random number of this start, not 0 */
    bool fresh;           /* its log is empty */
};

void engine_hello_get(const struct engine *engine, struct engine_hello *ret_hello);
/* What earlier connections, or the replicated member table, told about a node's disk. */
void engine_remember(struct engine *engine, raft_node_id node, uint64_t storage_id,
                     uint64_t boot_count, uint64_t durable_seq);
/* A connection to or from the peer stands. Else close it: ERR_MISMATCH, it belongs to another
 * cluster; ERR_BAD_INPUT, its id is none or this node's own; ERR_FULL, RAFT_PEERS_MAX others are
 * members or connected. A peer whose disk went back in time is connected, but not trusted; the note
 * then says so. It is told that it has lost promises; when it knows that on its disk, and so
 * neither votes nor leads until a leader has repaired it, it is trusted again. */
ERR_CHECKED enum err engine_peer_up(struct engine *engine, clk_ns now,
                                    const struct engine_hello *hello, bool *ret_trusted,
                                    struct err_note *note);
/* What is remembered of a node's disk, for engine_remember of a later start: false when nothing is.
 * Sets storage_id, boot_count and durable_seq. */
bool engine_remembered(const struct engine *engine, raft_node_id node,
                       struct engine_hello *ret_hello);
void engine_peer_down(struct engine *engine, clk_ns now, raft_node_id node);
/* A frame from a peer, whole. ERR_BAD_INPUT: the peer is faulty, close the connection. */
ERR_CHECKED enum err engine_receive(struct engine *engine, clk_ns now, clk_ms wall_ms,
                                    raft_node_id from, struct bytes frame);

/* ---- requests -------------------------------------------------------------------------------- */

struct engine_proposal {
    raft_group_id group;
    uint16_t kind;
    struct bytes principal;
    const uint8_t *trace_id; /* 16 bytes */
    struct bytes body;
    uint64_t tag; /* not 0 */
    clk_ns deadline;
};

/* Copies; the answer comes by env->apply (with the tag) or env->proposal_failed. ERR_FULL,
 * ERR_TOO_LARGE. */
ERR_CHECKED enum err engine_propose(struct engine *engine, clk_ns now,
                                    const struct engine_proposal *proposal);
/* Asks for a read index; answered by env->read_done. ERR_FULL; ERR_NO_LEADER at once when none is
 * known. */
ERR_CHECKED enum err engine_read(struct engine *engine, clk_ns now, raft_group_id group,
                                 uint64_t tag);

/* Makes another voter lead the group; 0: the best one. Answers and meaning are those of
 * RAFT_IN_TRANSFER; the view tells how it ends. */
ERR_CHECKED enum err engine_transfer(struct engine *engine, clk_ns now, raft_group_id group,
                                     raft_node_id to);

/* ---- progress -------------------------------------------------------------------------------- */

/* For the WAL's callbacks (wal_callbacks.on_durable, on_failed). */
void engine_wal_durable(struct engine *engine, uint64_t wal_seq);
void engine_wal_failed(struct engine *engine, enum err why, const struct err_note *note);

/* The state machine of the group has applied up to index, committed in the store. */
void engine_applied(struct engine *engine, clk_ns now, raft_group_id group, raft_index index);
void engine_snapshot_sent(struct engine *engine, clk_ns now, raft_group_id group, raft_node_id to,
                          bool ok);
/* meta of the file that was written, or NULL when it failed. */
void engine_snapshot_written(struct engine *engine, clk_ns now, raft_group_id group,
                             const struct raft_snapshot_meta *meta);
/* A verified snapshot file arrived from the leader. */
void engine_snapshot_received(struct engine *engine, clk_ns now, raft_group_id group,
                              const struct raft_snapshot_meta *meta);
/* Snapshot files of an index below this one are needed no more, neither by a start nor by an
 * installation under way. */
raft_index engine_snapshot_floor(const struct engine *engine, raft_group_id group);
/* The meta that a snapshot of the applied index has. ERR_NOT_FOUND: outside of the log. */
ERR_CHECKED enum err engine_snapshot_meta(const struct engine *engine, raft_group_id group,
                                          raft_index applied, struct raft_snapshot_meta *ret_meta);

/* Does everything that the calls since the last turn made necessary: drains effects, starts one WAL
 * write, sends one frame per peer. To be called after each batch of the calls above (end of a loop
 * turn), and at engine_deadline. */
void engine_turn(struct engine *engine, clk_ns now, clk_ms wall_ms);
clk_ns engine_deadline(const struct engine *engine);

/* ---- inspection ------------------------------------------------------------------------------ */

ERR_CHECKED enum err engine_view(const struct engine *engine, raft_group_id group,
                                 struct raft_view *ret_view);
/* Leader that accepts proposals (its no-op is applied), seen from here; for status and tests. */
bool engine_accepts(const struct engine *engine, raft_group_id group);
struct raft_host *engine_raft(struct engine *engine);
uint64_t engine_cluster_id(const struct engine *engine);
/* CHECKs the invariants of engine and core. */
void engine_check(const struct engine *engine);

#endif
