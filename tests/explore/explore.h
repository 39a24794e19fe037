/* Exhaustive exploration of the Raft core within bounds: every order of everything that can happen.
 *
 * Place: tests. Three nodes, each a real raft_host; what an engine does around it is played: the
 * entry cache, the disk with writes under way, messages that wait for a write, the state machine.
 *
 * How it is fast without a second implementation of Raft: the core is pure, so what a node does on
 * an input depends on its state and the input only. A node's state (the host's whole memory, which
 * lies in one arena, and its disk) is stored once and has a number; a step, once executed by the
 * core, is remembered as (state, input) -> (state, messages). A state of the cluster is then three
 * numbers, a set of messages and what the bounds have left. The search is breadth first, so the
 * trace of a violation is a shortest one.
 *
 * What can happen, in any order: a message arrives; it arrives and a copy stays behind; it never
 * arrives; a vote request arrives after the receiver's patience with its leader has ended; a node's
 * election timer fires (a leader's: it looks whether it has a quorum); a leader's heartbeat is due;
 * a proposal; a read at any node that knows a leader; the oldest write under way reaches the disk;
 * a node crashes, after which the disk has any prefix of the writes under way, and starts again.
 *
 * What is abstracted, and why nothing is lost by it:
 *   - Time. Each node has a clock of its own, which moves only when its timer fires or its patience
 *     ends: any drift and any pause. A step ends with the clock moved back (raft_canon_rebase).
 *   - A crashed node is one that starts again at once: being down is not being scheduled.
 *   - Messages in flight are a set: equal ones are one. A copy that stays behind counts against a
 *     bound. When more than net_max would be in flight the new ones are lost, and near that bound
 *     any one may be lost to make room.
 *   - Effects are drained after each input.
 *   - Names of nodes: states that differ by a permutation of the nodes are one (raft_canon_hash).
 *   - Two states are equal when their 64-bit hashes are. Of n states a pair collides with
 *     probability n^2 / 2^65: 3 in a million for ten million states.
 *
 * Deliberately absent: membership changes, snapshots, damaged disks (the simulator has them). */
#ifndef EXPLORE_H
#define EXPLORE_H

#include "raft/raft.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
    EX_NODES = 3,
    EX_LOG_MAX = 10,
    EX_TERMS_MAX = 6,
    EX_NET_MAX = 12,
    EX_WRITES_MAX = 12,
    EX_GATED_MAX = 24,
    EX_OUT_MAX = 16,
    EX_PERMS = 6,
    EX_VALUE_CONFIG = 0,
    EX_VALUE_NOOP = 1,
    EX_VALUE_FIRST = 2, /* of proposals */
};

/* An entry: term and what is in it. term 0: none. */
struct ex_entry {
    uint8_t term;
    uint8_t value;
};

/* ---- one node (explore_node.c) --------------------------------------------------------------- */

struct ex_msg {
    struct raft_msg raft;
    uint32_t count;
    struct ex_entry entries[EX_LOG_MAX];
};

enum ex_input_kind {
    EX_DELIVER = 1, /* arg: message */
    EX_DELIVER_LATE,
    EX_TIMEOUT,
    EX_HEARTBEAT,
    EX_PROPOSE, /* arg: value */
    EX_READ,    /* arg: what had been committed when it began */
    EX_SYNC,
    EX_RESTART, /* arg: writes under way that reached the disk */
};

struct ex_input {
    enum ex_input_kind kind;
    uint32_t arg;
};

/* What the invariants and the search need to know of a node's state. */
struct ex_facts {
    uint8_t self;
    uint8_t role;
    uint8_t term;
    uint8_t vote;
    uint8_t leader;
    uint8_t commit;
    uint8_t last;
    uint8_t disk_last;
    uint8_t disk_term;
    uint8_t writes; /* under way */
    struct ex_entry log[EX_LOG_MAX + 1];
    struct ex_entry disk[EX_LOG_MAX + 1];
};

/* What a step sent and what was wrong with it. */
struct ex_outcome {
    bool refused; /* nothing happened: no step */
    const char *violation;
    uint32_t sent_count;
    struct ex_msg sent[EX_OUT_MAX];
};

/* Bytes of a node's memory. */
extern uint8_t *const ex_arena;
size_t ex_arena_bytes(void);

/* Once, before anything else. batch: entries in one append at most. */
void ex_node_setup(uint32_t batch);
/* The arena becomes a node that starts for the first time, with the founding entry on its disk. */
void ex_node_first(raft_node_id self);
/* One step of the node in the arena. */
void ex_node_step(struct ex_input input, struct ex_outcome *ret_outcome);
void ex_node_facts(struct ex_facts *ret_facts);
/* Hash of the node's state with nodes renamed by permutation `perm`. */
uint64_t ex_node_hash(uint32_t perm);
uint64_t ex_msg_hash(const struct ex_msg *msg, uint32_t perm);
extern const uint8_t ex_perms[EX_PERMS][EX_NODES + 1];

/* ---- states and steps that are known (explore_table.c) --------------------------------------- */

struct ex_local {
    uint64_t hash[EX_PERMS];
    size_t image; /* in the store */
    struct ex_facts facts;
    uint32_t first_step; /* list of its steps that are known; 0: none */
};

struct ex_step {
    uint32_t from;
    uint32_t to;
    struct ex_input input;
    const char *violation;
    uint32_t next; /* of the same state */
    bool refused;
    uint8_t sent_count;
    uint32_t sent[EX_OUT_MAX];
};

void ex_table_init(bool audit);
uint32_t ex_local_first(raft_node_id self);
const struct ex_local *ex_local_at(uint32_t local);
const struct ex_msg *ex_message_at(uint32_t message);
uint64_t ex_message_hash(uint32_t message, uint32_t perm);
/* Executes the step, or remembers it. Valid until the next call. */
const struct ex_step *ex_step_of(uint32_t local, struct ex_input input);
/* Runs steps again from states that were taken for known ones because of their hash. Returns how
 * many steps differed. */
uint64_t ex_table_audit(void);
void ex_table_numbers(FILE *to);

/* Growing arrays. */
void *ex_grow(void *array, size_t *cap, size_t needed, size_t item_bytes);

/* ---- the cluster (explore_search.c, explore_text.c) ------------------------------------------ */

struct ex_bounds {
    const char *name;
    uint8_t terms; /* the founding one included */
    uint8_t timeouts;
    uint8_t heartbeats;
    uint8_t crashes;
    uint8_t copies;
    uint8_t proposals;
    uint8_t reads;
    uint8_t net_max;
    uint8_t batch;
};

struct ex_state {
    uint32_t local[EX_NODES];
    uint32_t net[EX_NET_MAX];
    uint8_t net_count;
    uint8_t timeouts; /* so many happened, and so on */
    uint8_t heartbeats;
    uint8_t crashes;
    uint8_t copies;
    uint8_t proposals;
    uint8_t reads;
    uint8_t committed_count;
    uint8_t leaders[EX_TERMS_MAX + 1]; /* of each term; 0: none yet */
    struct ex_entry committed[EX_LOG_MAX + 1];
    uint8_t commit_term[EX_LOG_MAX + 1]; /* term of who committed it first */
};

enum ex_action_kind {
    EX_STEP,      /* input of a node; for a message: its place in the net */
    EX_STEP_COPY, /* a message, of which a copy stays */
    EX_LOSE,
};

struct ex_action {
    uint8_t kind;
    uint8_t node; /* 0-based */
    uint8_t input;
    uint8_t arg; /* place in the net, value, floor, writes kept */
};

struct ex_result {
    uint64_t states;
    uint64_t transitions;
    uint64_t lost_full; /* messages that found the net full */
    uint32_t depth;
    bool complete;
    const char *violation;
};

/* Explores until nothing is left, states_max states are known, seconds have passed, or an invariant
 * does not hold, whose trace is printed. */
struct ex_result ex_search(const struct ex_bounds *bounds, uint64_t states_max, double seconds,
                           bool symmetric);
/* Three followers in term 1 with the founding entry. */
void ex_first_state(struct ex_state *ret_state);
/* Applies the action; returns the violation, or NULL. *ret_possible: whether it is an action. */
const char *ex_apply(const struct ex_state *from, struct ex_action action, struct ex_state *ret_to,
                     bool *ret_possible);
/* after: NULL when the step did not end. */
void ex_print_step(uint32_t number, const struct ex_state *before, struct ex_action action,
                   const struct ex_state *after);

/* ---- one order of events (explore_script.c) -------------------------------------------------- */

/* Tells what happens; false: a line is wrong or not possible there, or an invariant does not
 * hold. */
bool ex_run_script(FILE *script);

#endif
