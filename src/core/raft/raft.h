/* Raft: a host of many groups, fed with inputs and drained of effects. Pure: no I/O, no clock, no
 * threads.
 *
 * Place: core. node/engine drives it (in the program and in the simulator alike): it feeds
 * messages, proposals, time and disk progress, and carries out the effects. Payloads are not in
 * here: the core knows an entry by (index, term, kind, size); the engine keeps the bytes.
 *
 * Rules that hold between core and engine:
 *   1. Time is an input. raft_feed is told `now` (monotonic, never backwards); raft_deadline says
 *      when the core wants RAFT_IN_WAKE at the latest. There are no ticks.
 *   2. Effects are drained in order. RAFT_FX_WAL effects carry wal_seq = 1, 2, 3, ...; the engine
 *      writes them in that order and feeds RAFT_IN_DURABLE{wal_seq} when all up to it are on the
 *      disk.
 *   3. A RAFT_FX_SEND may leave only when everything up to its after_wal_seq is durable. A leader's
 *      appends carry 0: its disk works in parallel (dissertation section 10.2.1). Votes, vote
 *      requests and acknowledgements carry the write that they promise. The gates other than 0
 *      never decrease from effect to effect, so the engine keeps one queue of gated messages per
 *      peer; a message with gate 0 leaves at once and may overtake them.
 *   4. When raft_feed returns, the log is what raft_fed says: the engine updates its entry cache at
 *      once (truncate, then append), before it feeds anything else.
 *   5. Configurations are active when appended, not when committed (section 6 of the paper). The
 *      first one is the entry at index 1, written by the bootstrap; every later one comes in two
 *      steps, as joint consensus: the old and the new one together, then the new one alone
 *      (raft_members.c).
 *   6. Full is a return code (ERR_FULL), never a dropped promise.
 *
 * Safety: Figures 2 and 3 of "In Search of an Understandable Consensus Algorithm (Extended
 * Version)" (Ongaro, Ousterhout 2014) and the dissertation "Consensus: Bridging Theory and
 * Practice" (2014): pre-vote section 9.6, check-quorum section 6.2, ReadIndex section 6.4,
 * leadership transfer section 3.10.
 *
 * Deliberately absent: lease reads (not needed yet); payload bytes; any per-group timer that fires
 * while a group is idle and led. */
#ifndef RAFT_RAFT_H
#define RAFT_RAFT_H

#include "bytes/bytes.h"
#include "clk/clk.h"
#include "err/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint32_t raft_group_id; /* 1 is the meta group; 0 is no group */
typedef uint32_t raft_node_id;  /* 1..RAFT_NODE_ID_MAX; 0 is no node */
typedef uint64_t raft_term;
typedef uint64_t raft_index; /* the first entry has index 1; 0 is before the log */

enum {
    RAFT_NODE_ID_MAX = 255, /* a configuration with a higher one is refused, wherever from */
    RAFT_MEMBERS_MAX = 32,
    RAFT_PEERS_MAX = 64,
    /* Bytes of an encoded configuration at most. */
    RAFT_CONFIG_BYTES_MAX = 4 + RAFT_MEMBERS_MAX * 16,
};

enum raft_entry_kind {
    RAFT_ENTRY_COMMAND = 1, /* bytes for the state machine */
    RAFT_ENTRY_NOOP = 2,    /* first entry of each term; no payload */
    RAFT_ENTRY_CONFIG = 3,  /* an encoded struct raft_config */
};

/* What the core knows of an entry. */
struct raft_entry_info {
    raft_term term;
    uint32_t size; /* payload bytes */
    enum raft_entry_kind kind;
    /* Payload of a CONFIG entry, borrowed during the call; NULL for the other kinds. */
    const uint8_t *config_bytes;
};

enum raft_member_role {
    RAFT_NOT_A_MEMBER = 0, /* in one half of a joint configuration */
    RAFT_VOTER = 1,
    RAFT_LEARNER = 2,    /* has the log, neither votes nor counts */
    RAFT_PROMOTABLE = 3, /* a learner that the leader makes a voter when it has caught up */
};

/* A member is a node together with the disk that it was admitted with: the same node on an empty or
 * unknown disk is not that member. */
struct raft_member {
    raft_node_id node;
    enum raft_member_role role; /* of a joint configuration: in the new half */
    uint64_t storage_id;
    enum raft_member_role role_old; /* in the old half; without joint always RAFT_NOT_A_MEMBER */
};

/* A joint configuration is the old and the new one at once (C_old,new of section 6): its members
 * are those of both, and whatever needs a majority needs one of either. */
struct raft_config {
    uint32_t count;
    bool joint;
    struct raft_member members[RAFT_MEMBERS_MAX];
};

/* Whether the member votes in the configuration; of a joint one, in at least one half. */
static inline bool raft_member_votes(const struct raft_member *member)
{
    return member->role == RAFT_VOTER || member->role_old == RAFT_VOTER;
}

/* Versioned encoding, the payload of CONFIG entries and part of snapshots. Equal configurations
 * have equal bytes. */
ERR_CHECKED enum err raft_config_encode(const struct raft_config *config, struct buf *to);
ERR_CHECKED enum err raft_config_decode(struct bytes from, struct raft_config *ret_config);

struct raft_hard_state {
    raft_term term;
    raft_node_id vote; /* whom this node voted for in term, or 0 */
    /* Something that may have been acknowledged was lost (RAFT_BOOT_DAMAGED) and has not been
     * repaired from a leader yet. Survives restarts, so it is on the disk like term and vote. */
    bool repairing;
};

/* What a snapshot stands for: everything up to index. */
struct raft_snapshot_meta {
    raft_index index;
    raft_term term;
    raft_index config_index;
    struct raft_config config;
};

/* ---- messages between nodes ------------------------------------------------------------------ */

enum raft_msg_type {
    RAFT_MSG_PREVOTE = 1,
    RAFT_MSG_PREVOTE_REPLY,
    RAFT_MSG_VOTE,
    RAFT_MSG_VOTE_REPLY,
    RAFT_MSG_APPEND,       /* also the heartbeat: then without entries */
    RAFT_MSG_APPEND_REPLY, /* acknowledges up to `index`, or rejects with a hint */
    RAFT_MSG_READ,         /* a follower asks the leader for a read index */
    RAFT_MSG_READ_REPLY,
    RAFT_MSG_TIMEOUT_NOW, /* the leader wants the receiver to stand for election at once */
};

/* One message; which fields mean something depends on the type (see raft_msg.c for the byte
 * table). */
struct raft_msg {
    enum raft_msg_type type;
    raft_group_id group;
    raft_node_id from;
    raft_node_id to;
    raft_term term; /* sender's term (for PREVOTE: the term it would start) */
    raft_index
        index; /* VOTE: last index; APPEND: previous index; REPLY: match, or rejected index */
    raft_term log_term; /* VOTE: last term; APPEND: previous term; reject: term of the hint */
    raft_index commit;  /* APPEND: leader's commit, never beyond what this message verifies */
    raft_index hint;    /* reject: where the leader should try next (by term run); APPEND to a
                             repairing follower: it is whole when it has everything up to here;
                             VOTE with handover: the leader that handed over */
    uint64_t token;     /* APPEND, its REPLY: read round; READ, READ_REPLY: the asker's token;
                           PREVOTE, VOTE, their REPLYs: the asker's ballot */
    bool reject;        /* replies: refused */
    bool repairing;     /* APPEND_REPLY: the follower lost acknowledged entries: forget its match */
    bool handover;      /* VOTE: the leader named by hint asked for this election */
};

/* Appends the message header to the buffer (fixed size RAFT_MSG_BYTES, versioned by the
 * connection). */
enum {
    RAFT_MSG_BYTES = 64
};
ERR_CHECKED enum err raft_msg_encode(const struct raft_msg *msg, struct buf *to);
/* Reads one header; leaves the reader behind it. ERR_BAD_INPUT for impossible values. */
ERR_CHECKED enum err raft_msg_decode(struct reader *from, struct raft_msg *ret_msg);

/* ---- set-up ---------------------------------------------------------------------------------- */

struct raft_host_cfg {
    raft_node_id self;
    uint64_t storage_id; /* this data directory's; not 0 */
    uint64_t boot_count; /* starts of this data directory, this one included: 1..2^24-1. Makes read
                            tokens unique over restarts, so that no old answer fits a new
                            question */
    uint32_t groups_max;
    clk_ns heartbeat;               /* 50 ms */
    clk_ns election_min;            /* 300 ms */
    clk_ns election_max;            /* 600 ms */
    uint32_t inflight_msgs_max;     /* per group and peer, >= 1 */
    uint32_t inflight_bytes_max;    /* per group and peer; one message may pass it */
    uint32_t reads_max;             /* outstanding read requests per group */
    uint64_t uncommitted_bytes_max; /* per group at the leader; above it proposals get ERR_FULL */
    uint64_t seed;                  /* of the election timeouts */
};

struct raft_host;

/* Allocates everything that is allocated up front; CHECKs the configuration's ranges. Owned by the
 * caller. */
struct raft_host *raft_host_new(const struct raft_host_cfg *cfg);
/* Accepts NULL. */
void raft_host_free(struct raft_host *host);

enum raft_boot_verdict {
    RAFT_BOOT_CLEAN, /* the log is whole (a torn tail was cut: it cannot have been acknowledged) */
    RAFT_BOOT_DAMAGED, /* something that may have been acknowledged is lost: neither vote nor lead
                          until the log has been repaired from a leader. Said
                          at every start until a hard state with the repairing mark is durable */
};

/* A group as the WAL has it. Arrays are borrowed during the call. */
struct raft_boot {
    raft_group_id group;
    enum raft_boot_verdict verdict;
    struct raft_hard_state hard_state;
    struct raft_snapshot_meta snapshot; /* index 0: none */
    raft_index last_index;              /* >= snapshot.index */

    /* Terms of the entries after the snapshot, as runs in ascending order. */
    const struct raft_term_run {
        raft_index first;
        raft_term term;
    } * runs;

    size_t run_count;

    /* Configuration entries in the log after the snapshot, ascending. */
    const struct raft_boot_config {
        raft_index index;
        struct raft_config config;
    } * configs;

    size_t config_count;
    /* What the state machine has; <= last_index. Below snapshot.index it is useless and the first
     * drain asks for RAFT_FX_SNAP_INSTALL. */
    raft_index applied;
};

/* Opens a group. ERR_EXISTS, ERR_FULL (groups_max), ERR_CORRUPT (the boot contradicts itself). */
ERR_CHECKED enum err raft_group_open(struct raft_host *host, clk_ns now,
                                     const struct raft_boot *boot);

/* ---- inputs ---------------------------------------------------------------------------------- */

enum raft_input_kind {
    RAFT_IN_WAKE, /* time has passed */
    RAFT_IN_MSG,  /* msg, and for APPEND its entries */
    /* entries[0] is the CONFIG entry: an empty group starts with it at index 1, term 1 */
    RAFT_IN_BOOTSTRAP,
    RAFT_IN_PROPOSE,       /* group, entries (COMMANDs; terms are ignored and set by the core) */
    RAFT_IN_READ,          /* group, tag: wants a read index */
    RAFT_IN_CAMPAIGN,      /* group: start an election now (tests, single voter) */
    RAFT_IN_CONFIG,        /* group, config: who the members shall be; see raft_feed */
    RAFT_IN_TRANSFER,      /* group, node (0: the best voter): shall lead; see raft_feed */
    RAFT_IN_DURABLE,       /* wal_seq: one watermark for the whole host */
    RAFT_IN_APPLIED,       /* group, index: the state machine has applied up to it */
    RAFT_IN_COMPACTED,     /* group, snapshot: a snapshot exists; the log may begin after `index` */
    RAFT_IN_SNAP_RECEIVED, /* group, snapshot: a verified snapshot file from the leader is here, on
                              the disk. ERR_FULL while an earlier one is being installed. When
                              nothing is to be done (the log has it), no effect follows */
    RAFT_IN_SNAP_SENT,     /* group, node, ok: the transfer asked for by SNAP_WANT ended; ok: the
                              receiver has fed SNAP_RECEIVED. Always comes, also after failures */
    RAFT_IN_DAMAGED,       /* group: peers remember more of this disk than it does: the same as
                              RAFT_BOOT_DAMAGED, found out later. The WAL effect that follows makes
                              it durable */
    RAFT_IN_PEER_UP,   /* node, storage_id, trusted: before any message of a connection. Votes and
                              acknowledgements of a node that was never up do not count. ERR_FULL:
                              RAFT_PEERS_MAX nodes are members or connected */
    RAFT_IN_PEER_DOWN, /* node: its connection was reset or refused; ends stickiness to it */
};

struct raft_input {
    enum raft_input_kind kind;
    raft_group_id group;
    const struct raft_msg *msg;
    const struct raft_entry_info *entries;
    uint32_t entry_count;
    uint64_t tag;
    uint64_t wal_seq;
    raft_index index; /* APPLIED: applied; COMPACTED: first index kept in the log is index + 1;
                         CONFIG: config_index of the view that the target was made from; 0: any */
    const struct raft_snapshot_meta *snapshot;
    const struct raft_config *config; /* CONFIG: the target, not joint */
    raft_node_id node;
    uint64_t storage_id;
    bool trusted; /* PEER_UP: false when the peer came back with an older boot count or a shorter
                     durable sequence than remembered: its votes and acknowledgements do not
                     count */
    bool ok;
};

/* What a feed did to the log of the input's group, for the engine's entry cache (rule 4). */
struct raft_fed {
    raft_index truncated_from; /* entries from here on are gone; 0: none. A SNAP_RECEIVED that
                                  replaces the log gives the first index of the old one, even
                                  when it was empty: never 0 then */
    raft_index first;          /* first entry of the input that was appended; 0: none */
    raft_index last;
    uint32_t skipped; /* input entries before `first` that the log had already */
    raft_term term;   /* term given to proposed entries */
};

/* Feeds one input. ERR_OK; ERR_FULL (proposals, reads: try later); ERR_NOT_LEADER (proposals; the
 * leader, if known, is in the view); ERR_NO_LEADER (reads); ERR_NOT_FOUND (no such group);
 * ERR_BAD_INPUT (an impossible message: the peer is faulty, nothing changed). ret_fed may be NULL
 * for inputs that cannot change a log.
 *
 * RAFT_IN_CONFIG answers ERR_OK when the change has begun: RAFT_FX_CONFIG_ENTRY follows, and the
 * view tells the rest (it is done when its config is not joint and config_index <= commit; a new
 * leader may have cut it off). What the target says:
 *   - RAFT_PROMOTABLE is how a voter is added: the leader makes it one, by a change of its own,
 *     when its log has caught up. Of a node that votes already it changes nothing.
 *   - RAFT_VOTER may be given only to members on their present disk, who have the log that makes
 *     them members: somebody who knows of no membership does not vote, and two halves that need
 *     such a vote could never elect a leader again.
 *   - The disk of a voter cannot be exchanged: remove it, then add the new one. A learner's can.
 * Its errors: ERR_NOT_LEADER; ERR_FULL, try later (no entry of this term is committed, another
 * change is under way, a new voter has not been heard of enough); ERR_CONFLICT (another
 * configuration than `index` is active); ERR_EXISTS (it would change nothing; no entry is made);
 * ERR_BAD_INPUT (no voter, a member twice, no node or storage id, a voter that is no member or on
 * another disk, more than RAFT_MEMBERS_MAX members together with the old ones).
 *
 * RAFT_IN_TRANSFER answers ERR_OK when handing over has begun. Until it ends, within election_min,
 * proposals and changes get ERR_FULL; reads go on. RAFT_FX_ROLE follows when another term has
 * begun; without one the view's transfer_to says when the leader has given up. Its errors:
 * ERR_NOT_LEADER; ERR_FULL, try later (one is under way, or this leader is leaving by itself);
 * ERR_NOT_FOUND (no such member); ERR_BAD_INPUT (this node, or not a voter); ERR_CONFLICT (a voter
 * that must not lead now: not connected or not heard of, not trusted, on another disk, repairing,
 * waiting for a snapshot; for node 0: there is no other one). */
ERR_CHECKED enum err raft_feed(struct raft_host *host, clk_ns now, const struct raft_input *input,
                               struct raft_fed *ret_fed);

/* ---- effects --------------------------------------------------------------------------------- */

enum raft_effect_kind {
    /* This node leads: it appended a no-op with `term` at `index`: put it into the entry cache now.
     * Comes before everything that names it; proposals get ERR_FULL until it has been drained. */
    RAFT_FX_NOOP,
    /* This node leads: it appended `config` (encoded, kind CONFIG) with `term` at `index`: put it
     * into the entry cache now. Comes before everything that names it. */
    RAFT_FX_CONFIG_ENTRY,
    RAFT_FX_WAL, /* write: hard state and/or truncate and/or entries first..last, or a snapshot mark
                    alone (has_snapshot). The engine orders: hard state, truncate, entries */
    /* msg after after_wal_seq; for APPEND with entries [first, last], see raft_sent */
    RAFT_FX_SEND,
    RAFT_FX_APPLY,     /* entries first..last are committed and durable here: apply them */
    RAFT_FX_READ_OK,   /* tag: answer when applied >= index */
    RAFT_FX_READ_FAIL, /* tag: ask again (no leader, leadership lost) */
    RAFT_FX_SNAP_WANT, /* node lags behind the log: send it a snapshot of at least `index` */
    /* replace the state machine by the received snapshot, then feed APPLIED */
    RAFT_FX_SNAP_INSTALL,
    RAFT_FX_ROLE,   /* role, term or leader changed (view has them) */
    RAFT_FX_CONFIG, /* the active configuration changed */
};

struct raft_effect {
    enum raft_effect_kind kind;
    raft_group_id group;
    /* WAL */
    uint64_t wal_seq;
    bool has_hard_state;
    bool has_snapshot; /* the log is replaced by `snapshot`: nothing before it remains */
    struct raft_hard_state hard_state;
    raft_index truncate_from; /* 0: none */
    raft_index first;         /* 0: no entries; also of SEND and APPLY */
    raft_index last;
    /* SEND */
    struct raft_msg msg;
    uint64_t after_wal_seq;
    uint32_t
        /* APPEND with entries: send at most so many payload bytes, but at least one entry */
        budget_bytes;
    /* READ_*, SNAP_* */
    uint64_t tag;
    raft_index index; /* READ_OK, SNAP_WANT, NOOP, CONFIG_ENTRY */
    raft_term term;   /* NOOP, CONFIG_ENTRY */
    raft_node_id node;
    const struct raft_snapshot_meta *snapshot; /* WAL, SNAP_INSTALL: borrowed until the next feed */
    const struct raft_config *config;          /* CONFIG_ENTRY: borrowed until the next feed */
};

/* Takes up to cap effects, in order; returns how many. Call until it returns 0: effects are
 * produced lazily (an APPEND is built when it is drained), so the core buffers ranges, never
 * messages. */
size_t raft_drain(struct raft_host *host, clk_ns now, struct raft_effect *effects, size_t cap);

/* The engine's answer to an APPEND effect with entries, before the next drain or feed: how far it
 * got (first <= last_sent <= last; the budget or its cache may end earlier) and the payload bytes.
 * last_sent = first - 1: the entries are not in the log any more and a snapshot is needed. One call
 * per such effect is required; a message that cannot be sent (no connection) counts as sent and
 * lost. */
void raft_sent(struct raft_host *host, raft_group_id group, raft_node_id to, raft_index last_sent,
               uint64_t bytes);

/* When RAFT_IN_WAKE is wanted at the latest; CLK_NEVER when nothing is timed. */
clk_ns raft_deadline(const struct raft_host *host);

/* ---- inspection ------------------------------------------------------------------------------ */

enum raft_role {
    RAFT_FOLLOWER,
    RAFT_PRECANDIDATE,
    RAFT_CANDIDATE,
    RAFT_LEADER
};

enum raft_progress_state {
    RAFT_PROBE,
    RAFT_STREAM,
    RAFT_SNAPSHOT
};

struct raft_peer_view {
    raft_node_id node;
    enum raft_progress_state state;
    raft_index match;
    raft_index next;
    bool trusted;
    bool recent; /* heard of within an election timeout */
    clk_ns last_heard;
};

struct raft_view {
    enum raft_role role;
    raft_term term;
    raft_node_id vote;
    raft_node_id leader;      /* 0: none known */
    raft_node_id transfer_to; /* leader: whom it hands over to just now; else 0 */
    bool is_voter;            /* this node on this disk is a voter of the active configuration */
    bool repairing;           /* damaged: neither votes nor leads */
    bool leads_safely;        /* leader, and an entry of its own term is committed */
    raft_index first;         /* first index in the log */
    raft_index last;
    raft_index durable; /* own disk */
    /* Of many writes under way some are not told apart: the disk may have more than `durable`. */
    bool durable_is_floor;
    raft_index commit;
    raft_index applied;
    raft_index config_index;
    struct raft_config config;
    uint32_t peer_count; /* leader only */
    struct raft_peer_view peers[RAFT_MEMBERS_MAX];
};

/* ERR_NOT_FOUND when there is no such group. */
ERR_CHECKED enum err raft_view(const struct raft_host *host, raft_group_id group,
                               struct raft_view *ret_view);
/* The meta that a snapshot of everything up to index has: its configuration is the one that was
 * active there. ERR_NOT_FOUND when there is no such group or the log does not have the index. */
ERR_CHECKED enum err raft_meta_at(const struct raft_host *host, raft_group_id group,
                                  raft_index index, struct raft_snapshot_meta *ret_meta);
/* Term of an entry in the log or at the snapshot; 0 when it is outside. */
raft_term raft_term_at(const struct raft_host *host, raft_group_id group, raft_index index);
const char *raft_role_name(enum raft_role role);
/* Hash over everything that decides the future of this host: two runs of one seed must agree. */
uint64_t raft_fingerprint(const struct raft_host *host);
/* CHECKs the local invariants of all groups; cheap enough to run after each step in tests. */
void raft_check(const struct raft_host *host);

#endif
