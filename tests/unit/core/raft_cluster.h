/* A cluster of raft hosts in one process: virtual time, a network and a disk per node that tests
 * command.
 *
 * Place: tests/unit/core. It plays the engine's part of raft/raft.h (entry cache, gates, disk,
 * state machine) as literally as possible, and judges every step by Figure 3 of the paper:
 *   Election Safety, Leader Append-Only, Log Matching, Leader Completeness, State Machine Safety,
 * and by three promises of this program: a commit is on the disks of a majority, a read sees every
 * commit that was known before it was asked, and gates never fall. A violation fails the test. */
#ifndef RAFT_CLUSTER_H
#define RAFT_CLUSTER_H

#include "raft/raft.h"
#include "rnd/rnd.h"

enum {
    RC_NODES_MAX = 7,
    RC_GROUPS_MAX = 3,
    RC_LOG_MAX = 600, /* entries of a group after its last snapshot */
    RC_HISTORY_MAX = 2000,
    RC_READS_MAX = 4096,
    RC_FLIGHT_MAX = 4096, /* messages on their way */
    RC_BATCH_MAX = 64,    /* entries in a message */
    RC_CONFIGS_MAX = 512, /* configuration entries in a life */
};

struct rc_entry {
    raft_term term;
    enum raft_entry_kind kind;
    uint64_t value; /* of a CONFIG: its place in rc.configs */
};

struct rc_log {
    raft_index base;
    uint32_t count;
    struct rc_entry entries[RC_LOG_MAX]; /* of base + 1 on */
};

/* What survives a crash, per group. */
struct rc_disk {
    struct raft_hard_state hard_state;
    struct raft_snapshot_meta snapshot;
    struct rc_log log;
};

/* A write on its way to the disk. */
struct rc_write {
    struct rc_write *next;
    uint64_t wal_seq;
    clk_ns done_at;
    raft_group_id group;
    struct raft_effect effect;
    struct raft_snapshot_meta snapshot;
    uint32_t count;
    struct rc_entry entries[];
};

struct rc_message {
    clk_ns at; /* of its arrival; CLK_NEVER: held back */
    uint64_t order;
    uint64_t session; /* of sender and receiver: for those who cut connections */
    struct raft_msg msg;
    uint32_t count;
    struct rc_entry entries[RC_BATCH_MAX];
};

/* A message that waits for its gate. */
struct rc_gated {
    struct rc_gated *next;
    uint64_t gate;
    struct rc_message *message;
};

struct rc_node {
    struct raft_host *host; /* NULL while it is down */
    uint64_t storage_id;
    uint64_t boot_count;
    bool damaged[RC_GROUPS_MAX + 1]; /* until the mark is on the disk */
    bool disk_stuck;
    struct rc_disk disks[RC_GROUPS_MAX + 1];
    struct rc_log cache[RC_GROUPS_MAX + 1];
    raft_index applied[RC_GROUPS_MAX + 1];
    struct rc_write *writes; /* oldest first */
    struct rc_write **writes_end;
    clk_ns disk_free_at;
    uint64_t durable;
    uint64_t gate; /* highest seen */
    struct rc_gated *gated;
    struct rc_gated **gated_end;
    raft_index read_floor[RC_READS_MAX]; /* by tag: what the read must see at least */
    uint64_t reads_asked;
    uint64_t reads_ok;
    uint64_t reads_failed;
    uint32_t snapshots_installed;
};

struct rc_options {
    uint32_t nodes;
    uint32_t voters;  /* the first ones; the rest are learners */
    uint32_t members; /* 0: all nodes; else the later ones have no part in the group at first */
    uint32_t groups;
    uint64_t seed;
    uint32_t drop_ppm;
    uint32_t duplicate_ppm;
    uint32_t delay_max_us; /* 0: 500 */
    uint32_t disk_max_us;  /* 0: 300 */
    uint32_t window_bytes; /* 0: 40 entries of 8 bytes */
    bool no_bootstrap;
};

struct rc {
    struct rc_options options;
    struct rnd rnd;
    clk_ns now;
    struct raft_config configs[RC_CONFIGS_MAX]; /* 0: the founding one */
    uint32_t config_count;
    struct rc_node nodes[RC_NODES_MAX + 1];       /* by node id */
    bool cut[RC_NODES_MAX + 1][RC_NODES_MAX + 1]; /* from, to */
    struct rc_message *flight[RC_FLIGHT_MAX];
    uint32_t flight_count;
    uint64_t next_order;
    uint64_t next_value;
    uint64_t messages[RAFT_MSG_TIMEOUT_NOW + 1]; /* sent, by type */
    /* the judge */
    raft_node_id leaders[RC_GROUPS_MAX + 1][RC_HISTORY_MAX]; /* by term */
    struct rc_entry committed[RC_GROUPS_MAX + 1][RC_HISTORY_MAX];
    raft_term committed_in[RC_GROUPS_MAX + 1][RC_HISTORY_MAX];
    raft_index commit[RC_GROUPS_MAX + 1];
    /* Called for each message that is about to arrive: false drops it. May be NULL. */
    bool (*filter)(struct rc *c, const struct rc_message *message);
    void *filter_data;
};

struct rc *rc_new(const struct rc_options *options);
void rc_free(struct rc *c);
/* One event: a message, a disk completion or a timer; false when nothing happens before `until`. */
bool rc_step(struct rc *c, clk_ns until);
void rc_run_ms(struct rc *c, uint32_t ms);
/* Node that leads the group safely in the highest term, or 0. */
raft_node_id rc_leader(struct rc *c, raft_group_id group);
/* Runs until there is a leader, at most 20 s of virtual time; fails the test when there is none. */
raft_node_id rc_elect(struct rc *c, raft_group_id group);
struct raft_view rc_view(struct rc *c, raft_node_id node, raft_group_id group);
/* Feeds and carries out what follows. */
enum err rc_feed(struct rc *c, raft_node_id node, const struct raft_input *input);
enum err rc_propose(struct rc *c, raft_node_id node, raft_group_id group, uint32_t count);
/* Asks for another configuration: roles[i] is that of node i + 1, on its present disk. */
enum err rc_change(struct rc *c, raft_node_id node, raft_group_id group,
                   const enum raft_member_role *roles);
/* The same at the leader, whoever it is, until it begins; then runs until it is done. */
void rc_change_all(struct rc *c, raft_group_id group, const enum raft_member_role *roles);
/* Role of a node in the leader's configuration; fails the test when there is none. */
enum raft_member_role rc_role(struct rc *c, raft_group_id group, raft_node_id node);
/* Runs until the configuration is not joint, committed, and has that many voters. */
void rc_settle(struct rc *c, raft_group_id group, uint32_t voters);
enum err rc_read(struct rc *c, raft_node_id node, raft_group_id group);
/* Proposes at the leader, whoever it is, and runs until every live member has applied it. */
void rc_write_all(struct rc *c, raft_group_id group);
/* The same without waiting for one node, which does not count as a leader either. */
void rc_write_all_but(struct rc *c, raft_group_id group, raft_node_id node);
/* Stops the node; of its unfinished writes the oldest `keep` survive. */
void rc_crash(struct rc *c, raft_node_id node, uint32_t keep);
void rc_start(struct rc *c, raft_node_id node);
/* Tells both sides that their connection works; told by rc_start too. */
void rc_connect(struct rc *c, raft_node_id a, raft_node_id b);
void rc_cut(struct rc *c, raft_node_id a, raft_node_id b, bool cut);
void rc_isolate(struct rc *c, raft_node_id node, bool cut);
/* Takes a snapshot at the applied index and compacts, keeping `trailing` entries. */
void rc_compact(struct rc *c, raft_node_id node, raft_group_id group, uint32_t trailing);
/* Delivers again a copy of a message, now. */
void rc_deliver(struct rc *c, const struct rc_message *message);

#endif
