/* What the files of core/raft share: a host, its groups, and one progress record per other member.
 *
 * Place: core/raft, private. Read in this order to learn Raft from the code:
 *   raft_log.c              what a replica remembers of its log: runs of equal terms
 *   raft_config.c           who the members are, active from the moment the entry is appended
 *   raft_members.c          changing who they are: joint consensus, catching up, leaving
 *   raft_transfer.c         handing leadership over to a chosen voter
 *   raft_election.c         pre-vote, votes, becoming leader or follower
 *   raft_append_leader.c    replication as the leader sees it, and the commit rule
 *   raft_append_follower.c  the consistency check, and what an acknowledgement promises
 *   raft_read.c             linearizable reads without the log
 *   raft_snapshot.c         compaction, and replacing a log by a snapshot
 *   raft_repair.c           a damaged disk may not vote until it is whole again
 *   raft_peer.c             progress records, identity of peers, quorums
 *   raft_group.c            the group's life: disk writes, the durable index, timers
 *   raft_effects.c          what raft_drain hands out, in which order
 *   raft_host.c             the host: groups, inputs, time
 *   raft_msg.c, raft_view.c encodings; inspection and the invariants
 *   raft_canon.c            when two hosts are the same to an exhaustive exploration
 *
 * Invariants (raft_check asserts them):
 *   1. base <= apply_next - 1 <= commit <= last; durable <= last; base <= durable unless a
 *      snapshot is being written.
 *   2. Terms never fall along the log, and the last one is <= the current term.
 *   3. A leader's peers: match < next <= last + 1.
 *   4. done <= sent <= count in the read queue; tokens never fall along it.
 *   5. A joint configuration is followed by its own new half and by nothing else. */
#ifndef RAFT_RAFT_PRIV_H
#define RAFT_RAFT_PRIV_H

#include "check/check.h"
#include "heap/heap.h"
#include "list/list.h"
#include "map/map.h"
#include "raft/raft.h"
#include "rnd/rnd.h"

/* Terms and indices from outside above this are refused, so that sums of two never wrap. */
#define RAFT_NUMBER_MAX ((uint64_t)1 << 62)

enum {
    RAFT_TERM_RUNS_MAX = 1 << 16,   /* elections between two compactions */
    RAFT_CONFIG_HISTORY_MAX = 1024, /* configuration entries between two compactions */
    RAFT_WRITES_TRACKED = 32,       /* writes under way that are told apart, per group */
    RAFT_SIZES_TRACKED = 64,        /* uncommitted proposals that are told apart, per group */
    RAFT_OUTBOX_MAX = 64,           /* answers that wait for a drain; more are dropped */
    RAFT_TOKEN_SEQUENCE_BITS = 40,
    RAFT_BOOT_COUNT_MAX = (1 << 24) - 1,
};

/* ---- raft_log.c ---------------------------------------------------------------------------- */

struct raft_log {
    raft_index base; /* everything up to here is in a snapshot (or there is nothing: 0) */
    raft_term base_term;
    raft_index last;
    struct raft_term_run *runs; /* ascending, both first and term */
    uint32_t run_count;
    uint32_t run_cap;
};

void raft_log_init(struct raft_log *log, raft_index base, raft_term base_term);
void raft_log_done(struct raft_log *log);
/* Whether `runs` more changes of term fit. */
bool raft_log_has_room(const struct raft_log *log, uint32_t runs);
/* count > 0 more entries after last; terms never fall. */
void raft_log_append(struct raft_log *log, uint64_t count, raft_term term);
/* Removes the entries from `from` on, base < from <= last. */
void raft_log_truncate(struct raft_log *log, raft_index from);
/* Forgets the entries up to index, base <= index <= last. */
void raft_log_compact(struct raft_log *log, raft_index index);
/* Forgets everything; the log now begins after index. */
void raft_log_reset(struct raft_log *log, raft_index index, raft_term term);
/* 0 outside [base, last]. */
raft_term raft_log_term(const struct raft_log *log, raft_index index);
/* The largest index <= limit whose term is <= term; when the answer lies before the log, some index
 * below base (0 for an empty prefix). */
raft_index raft_log_find(const struct raft_log *log, raft_index limit, raft_term term);

static inline raft_term raft_log_last_term(const struct raft_log *log)
{
    return log->run_count > 0 ? log->runs[log->run_count - 1].term : log->base_term;
}

/* ---- raft_config.c ------------------------------------------------------------------------- */

struct raft_config_at {
    raft_index index;
    struct raft_config config;
};

/* All configurations that the log can fall back to; items[0] is the one at or before base. */
struct raft_config_history {
    struct raft_config_at *items;
    uint32_t count; /* >= 1 */
    uint32_t cap;
};

void raft_configs_init(struct raft_config_history *history);
void raft_configs_done(struct raft_config_history *history);
bool raft_configs_have_room(const struct raft_config_history *history, uint32_t extra);
void raft_configs_append(struct raft_config_history *history, raft_index index,
                         const struct raft_config *config);
/* Whether any was removed. */
bool raft_configs_truncate(struct raft_config_history *history, raft_index from);
void raft_configs_compact(struct raft_config_history *history, raft_index index);
void raft_configs_reset(struct raft_config_history *history, raft_index index,
                        const struct raft_config *config);
const struct raft_member *raft_config_find(const struct raft_config *config, raft_node_id node);
/* Members that vote in the configuration, in one half at least. */
uint32_t raft_config_voters(const struct raft_config *config);
/* Whether every member has a node, a role and a storage id, and none comes twice; of a joint one
 * also whether both halves have a voter. */
bool raft_config_valid(const struct raft_config *config);
/* The newest configuration at or before index, which is at or after base. */
const struct raft_config_at *raft_configs_at(const struct raft_config_history *history,
                                             raft_index index);
/* C_old,new. False when both together have too many members. */
bool raft_config_join(const struct raft_config *old, const struct raft_config *target,
                      struct raft_config *ret_joint);
/* C_new of a joint configuration. */
void raft_config_leave(const struct raft_config *joint, struct raft_config *ret_config);
/* Whether both name the same members in the same roles on the same disks. */
bool raft_config_same(const struct raft_config *a, const struct raft_config *b);

static inline const struct raft_config_at *
raft_configs_active(const struct raft_config_history *history)
{
    return &history->items[history->count - 1];
}

/* ---- host and group ------------------------------------------------------------------------ */

/* An append under way to a peer: acknowledged when match reaches last. */
struct raft_in_flight {
    raft_index last;
    uint64_t bytes;
};

/* Another member as this replica sees it. The replication part means something at the leader
 * only. */
struct raft_progress {
    raft_node_id node;
    enum raft_member_role role;
    enum raft_member_role role_old; /* while the configuration is joint */
    uint64_t pinned_storage;        /* by the active configuration */
    bool votes;                     /* in the configuration, or in a half of it */
    bool counts;  /* votes, is trusted, and on the disk that the configuration names */
    bool ask;     /* a (pre-)vote request is to be sent */
    bool granted; /* its answer to the current (pre-)election */
    /* replication */
    enum raft_progress_state state;
    bool paused;      /* PROBE: one message is out, wait for its answer or the heartbeat */
    bool force;       /* send something, at least an empty append: heartbeat, read round, commit */
    bool awaiting;    /* the engine owes raft_sent for an append */
    bool want;        /* RAFT_FX_SNAP_WANT is to be given out */
    bool repairing;   /* it lost acknowledged entries: nothing it says counts for a commit */
    raft_index match; /* Figure 2: matchIndex */
    raft_index next;  /* Figure 2: nextIndex; in STREAM everything before it has been sent */
    raft_index sent_first; /* of the append that `awaiting` is about */
    raft_index sent_last;
    raft_index commit_sent;     /* highest commit index sent that the message could carry */
    raft_index snapshot_index;  /* SNAPSHOT: what it will have when the transfer is done */
    raft_index repair_index;    /* repairing: it is whole when it has this; 0: not known yet */
    uint64_t repair_token;      /* repairing: the round that must be confirmed first */
    uint64_t token_min;         /* acknowledgements of older rounds describe a log that is gone */
    uint64_t token_acked;       /* newest round that it answered */
    raft_index round_target;    /* catching up: the round ends when it has this */
    clk_ns round_start;         /* and began then */
    bool round_fast;            /* the round before it ended within an election timeout */
    clk_ns last_heard;          /* its last answer in this term */
    clk_ns heartbeat_at;        /* when something must be sent at the latest */
    struct raft_in_flight *out; /* ring of cfg.inflight_msgs_max */
    uint32_t out_head;
    uint32_t out_count;
    uint64_t out_bytes;
};

/* A read that has not been handed out yet. */
struct raft_read {
    uint64_t tag;         /* of a local read */
    raft_node_id from;    /* 0: local; else the node that asked by MSG_READ */
    uint64_t asker_token; /* of a remote read */
    uint64_t token;       /* the round that confirms it, once sent */
    raft_index index;     /* the answer, once done */
    bool failed;          /* the answer is "ask again" */
};

/* Ring in order of arrival: [0, done) are answered, [done, sent) wait for their round, the rest
 * wait for the next drain, which mints one round for all of them. */
struct raft_read_queue {
    struct raft_read *ring; /* of cfg.reads_max */
    uint32_t head;
    uint32_t count;
    uint32_t sent;
    uint32_t done;
};

/* Running sums in a small ring: when it is full the two newest items merge, which only makes the
 * answer later, never wrong. Used for disk writes and for sizes of uncommitted proposals. */
struct raft_write {
    uint64_t wal_seq;
    raft_index last; /* what is durable of the log when wal_seq is */
    bool merged;     /* of several: a part of it may be durable earlier */
};

struct raft_size {
    raft_index last;
    uint64_t bytes;
};

struct raft_group {
    struct map_node by_id;
    struct heap_node timer;
    struct list dirty;   /* has something to drain */
    struct list writing; /* has disk writes under way */
    struct raft_host *host;
    raft_group_id id;

    /* Persistent state (Figure 2), with the log */
    raft_term term;
    raft_node_id vote;
    bool repairing;
    struct raft_log log;
    struct raft_config_history configs;

    /* Volatile state (Figure 2) */
    enum raft_role role;
    raft_node_id leader; /* of this term, when in contact with it; 0: none */
    raft_index commit;
    raft_index applied;
    raft_index apply_next;           /* first index not handed to the state machine */
    raft_index durable;              /* this disk has the log up to here */
    clk_ns leader_contact;           /* last append from the leader */
    clk_ns election_at;              /* when to start a pre-vote; CLK_NEVER: not armed */
    clk_ns check_at;                 /* leader: next check of the quorum's contact */
    raft_index term_start;           /* leader: index of its no-op */
    bool noop_wanted;                /* leader: the no-op is appended by the next drain */
    enum raft_member_role self_role; /* of this node on this disk, in the active configuration */
    enum raft_member_role self_role_old;
    bool self_voter;           /* in the active configuration, or in a half of it */
    bool self_member;          /* in it, or in one that is not known to be superseded */
    bool self_stands;          /* likewise as a voter: may campaign */
    struct raft_config wanted; /* leader: appended by the next drain; no members: none */
    uint64_t token;            /* newest round minted */
    uint64_t ballot;           /* names this candidacy: answers to an earlier one do not count */
    raft_node_id handed_by;    /* candidate: the leader that asked for this election; 0: nobody */
    raft_node_id transfer_to;  /* leader: whom it hands over to; 0: nobody */
    clk_ns transfer_until;     /* and when it gives that up */
    bool transfer_sent;        /* TIMEOUT_NOW has been posted since the last tick */
    uint64_t uncommitted_bytes;

    /* what the next drain has to say */
    bool role_changed;
    bool config_changed;
    bool hard_state_dirty;
    bool snapshot_dirty;     /* write the snapshot mark */
    bool install_wanted;     /* SNAP_INSTALL, once the mark is durable */
    bool installing;         /* no APPLY until the state machine has the snapshot */
    raft_index wal_next;     /* first entry not handed to the WAL */
    raft_index wal_truncate; /* entries from here on are in the WAL and must go; 0: none */
    uint64_t wal_last;       /* newest write of this group */
    uint64_t hard_state_seq; /* write that carries the current term and vote */
    uint64_t snapshot_seq;   /* write that carries the snapshot mark */
    uint32_t drain_peer;     /* where the scan over peers stands */

    /* repair of a damaged log */
    raft_index repair_target; /* from the leader of this term; 0: none yet */
    raft_index verified;      /* equal to the log of the leader of this term up to here */
    uint64_t repair_token;    /* newest token of that leader */
    clk_ns repair_not_before; /* older elections than this boot have ended by then */

    struct raft_snapshot_meta snapshot; /* the newest one; index 0: none */
    struct raft_read_queue reads;
    clk_ns read_retry_at; /* follower: ask the leader again */

    struct raft_write writes[RAFT_WRITES_TRACKED];
    uint32_t write_count;
    struct raft_size sizes[RAFT_SIZES_TRACKED];
    uint32_t size_count;
    struct raft_msg outbox[RAFT_OUTBOX_MAX];
    uint32_t outbox_count;

    uint32_t peer_count; /* members of the active configuration without this node */
    struct raft_progress peers[RAFT_MEMBERS_MAX];
    struct raft_in_flight *in_flight_memory;
};

/* A remote node as the connections know it. */
struct raft_known_peer {
    raft_node_id node;
    uint64_t storage_id;
    bool trusted;
    bool up; /* no PEER_DOWN since the last PEER_UP */
};

struct raft_host {
    struct raft_host_cfg cfg;
    struct rnd rnd;
    struct map groups;
    struct heap timers;
    struct list dirty;
    struct list writing;
    uint32_t group_count;
    uint32_t awaiting;    /* appends that the engine owes raft_sent for */
    uint64_t wal_seq;     /* newest write handed out */
    uint64_t wal_durable; /* newest write known durable */
    clk_ns wal_progress;  /* last time the disk moved, or had nothing to do */
    uint64_t gate;        /* highest gate handed out: gates never fall */
    uint64_t token_next;
    clk_ns now; /* of the newest feed or drain */
    uint32_t peer_count;
    struct raft_known_peer peers[RAFT_PEERS_MAX];
};

struct raft_group *raft_group_of(const struct raft_host *host, raft_group_id id);

/* ---- raft_group.c -------------------------------------------------------------------------- */

struct raft_group *raft_group_new(struct raft_host *host, const struct raft_boot *boot);
void raft_group_free(struct raft_group *g);
/* There may be something to drain, and the timers may have moved. */
void raft_touch(struct raft_group *g);
clk_ns raft_group_deadline(const struct raft_group *g);
/* Time has come. */
void raft_group_tick(struct raft_group *g, clk_ns now);
/* A new active configuration: who this node is in it, and a progress record for each other
 * member. */
void raft_group_config_changed(struct raft_group *g);
/* The active configuration or what is known to be committed of it changed: who this node is. */
void raft_group_find_self(struct raft_group *g);
/* Everything up to wal_seq is on the disk. */
void raft_group_durable(struct raft_group *g, clk_ns now, uint64_t wal_seq);
/* Notes a write handed out that holds the log up to `last`. */
void raft_group_wrote(struct raft_group *g, uint64_t wal_seq, raft_index last);
/* Removes entries from the log and from everything that remembers them. */
void raft_group_truncate(struct raft_group *g, raft_index from);
/* Puts an answer into the outbox, over an older one that it makes pointless. */
void raft_post(struct raft_group *g, const struct raft_msg *msg);
/* A message from this group to `to` in the current term. */
struct raft_msg raft_msg_to(const struct raft_group *g, enum raft_msg_type type, raft_node_id to);
/* Sum of the bookkeeping for RAFT uncommitted bytes. */
void raft_uncommitted_add(struct raft_group *g, raft_index last, uint64_t bytes);
void raft_uncommitted_release(struct raft_group *g);
uint64_t raft_mint_token(struct raft_group *g);
/* The disk has had work for a whole election timeout and finished none of it. A vote that takes
 * longer elects nobody, so such a node does not campaign, and a leader gives way to those whose
 * disks work (raft_check_quorum). */
bool raft_disk_stalled(const struct raft_host *host, clk_ns now);

/* ---- raft_peer.c --------------------------------------------------------------------------- */

struct raft_progress *raft_peer_find(struct raft_group *g, raft_node_id node);
const struct raft_known_peer *raft_known_find(const struct raft_host *host, raft_node_id node);
/* Whether a (pre-)vote may go to this node: not to one that is known to be on another disk. */
bool raft_peer_acceptable(const struct raft_group *g, raft_node_id node);
void raft_peers_rebuild(struct raft_group *g);
void raft_peers_reset_for_term(struct raft_group *g, clk_ns now);
enum err raft_on_peer_up(struct raft_host *host, clk_ns now, const struct raft_input *input);
void raft_on_peer_down(struct raft_host *host, clk_ns now, raft_node_id node);
void raft_peer_probe(struct raft_progress *p, raft_index next);
/* Finds out anew where the peer's log agrees. */
void raft_peer_restart(struct raft_group *g, struct raft_progress *p);
void raft_peer_stream(struct raft_progress *p);
void raft_peer_ack_in_flight(struct raft_group *g, struct raft_progress *p, raft_index match);

typedef uint64_t raft_progress_value(const struct raft_progress *p);

/* The largest value that a majority of the voters has reached, while the configuration is joint one
 * of either half; own is this node's, if it votes. */
uint64_t raft_quorum_reached(const struct raft_group *g, uint64_t own, raft_progress_value *value);
uint64_t raft_value_match(const struct raft_progress *p);
uint64_t raft_value_token(const struct raft_progress *p);
uint64_t raft_value_heard(const struct raft_progress *p);
uint64_t raft_value_granted(const struct raft_progress *p);

/* ---- raft_election.c ----------------------------------------------------------------------- */

void raft_arm_election(struct raft_group *g, clk_ns now);
void raft_election_timeout(struct raft_group *g, clk_ns now);
void raft_campaign(struct raft_group *g, clk_ns now);
/* The leader of this term wants this node to stand at once: no pre-vote, no timeout. */
void raft_take_over(struct raft_group *g, clk_ns now);
/* A higher term, or the loss of leadership in this one; leader may be 0. */
void raft_become_follower(struct raft_group *g, clk_ns now, raft_term term, raft_node_id leader);
/* Forgets the leader, if any: what waits for it fails. */
void raft_leader_lost(struct raft_group *g);
void raft_election_tally(struct raft_group *g, clk_ns now);
void raft_append_noop(struct raft_group *g);
void raft_check_quorum(struct raft_group *g, clk_ns now);
enum err raft_on_prevote(struct raft_group *g, clk_ns now, const struct raft_msg *msg);
enum err raft_on_vote(struct raft_group *g, clk_ns now, const struct raft_msg *msg);
enum err raft_on_prevote_reply(struct raft_group *g, clk_ns now, const struct raft_msg *msg);
enum err raft_on_vote_reply(struct raft_group *g, clk_ns now, const struct raft_msg *msg);

/* ---- raft_members.c ------------------------------------------------------------------------ */

enum err raft_on_config(struct raft_group *g, const struct raft_input *input);
/* Leader: an acknowledgement of this peer has come. */
void raft_catch_up(struct raft_group *g, struct raft_progress *p, clk_ns now);
/* Leader: appends the configuration that is due, if any. */
bool raft_config_effect(struct raft_group *g, struct raft_effect *fx);
/* Steps down when the committed configuration has no vote for this leader. Whether it did. */
bool raft_leave_office(struct raft_group *g, clk_ns now);

/* ---- raft_transfer.c ----------------------------------------------------------------------- */

enum err raft_on_transfer(struct raft_group *g, clk_ns now, raft_node_id node);
enum err raft_on_timeout_now(struct raft_group *g, clk_ns now, const struct raft_msg *msg);
/* Leader: posts TIMEOUT_NOW when the target has everything; gives up when it may not lead. */
void raft_transfer_flush(struct raft_group *g);
/* Leader, a transfer is under way: time has come. */
void raft_transfer_tick(struct raft_group *g, clk_ns now);
/* A leader that steps down in a moment names the best voter its successor, if there is one. */
void raft_transfer_leave(struct raft_group *g, clk_ns now);
/* Whether this vote request is excused from stickiness. */
bool raft_transfer_excuses(const struct raft_group *g, const struct raft_msg *vote);

/* ---- raft_append_leader.c ------------------------------------------------------------------ */

enum err raft_on_propose(struct raft_group *g, const struct raft_input *input,
                         struct raft_fed *fed);
enum err raft_on_append_reply(struct raft_group *g, clk_ns now, const struct raft_msg *msg);
void raft_maybe_commit(struct raft_group *g);
/* Builds the next append or snapshot request for a peer, if one is due. */
bool raft_next_send(struct raft_group *g, struct raft_progress *p, clk_ns now,
                    struct raft_effect *fx);

/* ---- raft_append_follower.c ---------------------------------------------------------------- */

enum err raft_on_append(struct raft_group *g, clk_ns now, const struct raft_input *input,
                        struct raft_fed *fed);
enum err raft_on_bootstrap(struct raft_group *g, clk_ns now, const struct raft_input *input,
                           struct raft_fed *fed);
void raft_commit_to(struct raft_group *g, raft_index index);

/* ---- raft_read.c --------------------------------------------------------------------------- */

enum err raft_on_read(struct raft_group *g, uint64_t tag);
enum err raft_on_msg_read(struct raft_group *g, clk_ns now, const struct raft_msg *msg);
enum err raft_on_read_reply(struct raft_group *g, clk_ns now, const struct raft_msg *msg);
/* Mints the round for the reads that came since the last drain. */
void raft_reads_flush(struct raft_group *g, clk_ns now);
/* Answers the reads whose round a majority has confirmed. */
void raft_reads_confirm(struct raft_group *g);
void raft_reads_fail(struct raft_group *g);
void raft_reads_retry(struct raft_group *g, clk_ns now);
/* Takes the oldest answer, if there is one. */
bool raft_read_effect(struct raft_group *g, struct raft_effect *fx);

/* ---- raft_snapshot.c ----------------------------------------------------------------------- */

enum err raft_on_compacted(struct raft_group *g, const struct raft_input *input);
enum err raft_on_snap_received(struct raft_group *g, clk_ns now, const struct raft_input *input,
                               struct raft_fed *fed);
enum err raft_on_snap_sent(struct raft_group *g, const struct raft_input *input);
enum err raft_on_applied(struct raft_group *g, raft_index index);
bool raft_snapshot_meta_valid(const struct raft_snapshot_meta *meta);

/* ---- raft_repair.c ------------------------------------------------------------------------- */

/* This disk has lost what it may have promised. */
void raft_repair_begin(struct raft_group *g, clk_ns now);
/* Leader: the follower says that it lost acknowledged entries. */
void raft_repair_mark(struct raft_group *g, struct raft_progress *p);
/* Leader: rounds were confirmed; says to repairing followers when they are whole. */
void raft_repair_confirm(struct raft_group *g);
/* Follower: an append of the current leader matched up to `verified`. */
void raft_repair_note(struct raft_group *g, const struct raft_msg *msg, raft_index verified);
/* Follower: ends the repair when everything is here. */
void raft_repair_check(struct raft_group *g, clk_ns now);

/* ---- raft_effects.c ------------------------------------------------------------------------ */

bool raft_group_effect(struct raft_group *g, clk_ns now, struct raft_effect *fx);

#endif
