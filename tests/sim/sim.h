/* The simulator: whole nodes in one process on a virtual clock, network and disk.
 *
 * Place: tests. A node here is node/engine (with core/raft inside), io/wal and io/disk/identity on
 * a disk in memory (tests/lib/mem_disk), and core/machine over a table in memory for each group:
 * the program's own code from proposals to bytes on the disk. Around it everything is played:
 * clock, connections, the apply thread, snapshot files and their transfer, clients, faults.
 *
 * Everything that happens follows from the seed: no real clock, no addresses, no other randomness.
 * Every event goes into a fingerprint; two runs of a seed must have the same.
 *
 *   sim_main.c     arguments, many seeds, coverage
 *   sim_profile.c  which faults a profile has; what a seed draws from it
 *   sim_run.c      one run: the event loop and its phases (birth, faults, healing, judgement)
 *   sim_net.c      connections and frames
 *   sim_node.c     start, crash and restart of a node; its turns
 *   sim_state.c    the state machines: apply, snapshots
 *   sim_client.c   proposals and reads, and what they were answered
 *   sim_fault.c    what goes wrong
 *   sim_check.c    the invariants, after every step
 *   sim_linear.c   linearizability of a key's history */
#ifndef SIM_H
#define SIM_H

#include "check/check.h"
#include "clk/clk.h"
#include "disk/identity.h"
#include "engine/engine.h"
#include "heap/heap.h"
#include "kv/kv.h"
#include "list/list.h"
#include "machine/machine.h"
#include "mem/mem.h"
#include "mem_disk.h"
#include "rnd/rnd.h"
#include "wal/wal.h"

enum {
    SIM_NODES_MAX = 5,
    SIM_GROUPS_MAX = 4,
    SIM_KEYS_MAX = 8,
    SIM_CLIENTS_MAX = 6, /* per node */
    SIM_SNAPSHOTS_MAX = 16,
    SIM_SNAPSHOTS_KEPT = 2, /* and those that the log may need */
    SIM_VALUE_MAX = 1500,   /* bytes of a value */
};

/* ---- what a seed decides --------------------------------------------------------------------- */

enum sim_fault {
    SIM_CUT,      /* a partition: one node, a random split, or one direction only */
    SIM_LAG,      /* what a node is sent is late, and soon nobody hears it any more */
    SIM_RESET,    /* one connection is reset */
    SIM_CRASH,    /* a node's process or machine dies */
    SIM_DOOM,     /* a node dies, or is cut off, at a chosen moment */
    SIM_STOP,     /* a clean stop: the state is kept */
    SIM_PAUSE,    /* a node does nothing for a while */
    SIM_SLOW,     /* a node's disk is slow for a while */
    SIM_STALL,    /* a node's disk hangs for a while */
    SIM_CLOCK,    /* a node's wall clock jumps */
    SIM_IO_ERROR, /* a write or sync fails: the node must stop */
    SIM_FLIP,     /* a bit of a stopped node's log flips */
    SIM_TRANSFER, /* a leader is asked to hand over, to anybody or to the best voter */
    SIM_WIPE,     /* a node comes back with an empty directory */
    SIM_ROLLBACK, /* a node comes back with an old copy of its directory */
    SIM_FAULTS
};

struct sim_params {
    uint32_t nodes; /* 1, 3 or 5 */
    uint32_t groups;
    uint32_t clients; /* per node */
    uint32_t keys;    /* per group */
    clk_ns chaos;     /* how long things go wrong */
    clk_ns think;     /* a client's longest wait between two operations */
    clk_ns delay_low; /* of a frame */
    clk_ns delay_high;
    clk_ns disk_low;
    clk_ns disk_high;
    clk_ns apply_high;
    bool wild; /* frames are really lost, doubled and reordered; else connections are like TCP */
    uint32_t drop_ppm;
    uint32_t double_ppm;
    uint32_t reorder_ppm;
    uint32_t snapshot_loss_ppm;
    bool early;               /* faults begin before the cluster is born */
    clk_ns every[SIM_FAULTS]; /* mean time between two; 0: never */
    uint32_t moments;         /* of SIM_DOOM: a bit for each enum sim_moment that it may choose */
    bool relay;               /* who is cut off at its doom lets the one before it return */
    uint32_t segment_bytes;
    uint32_t wal_pending_bytes;
    uint32_t inflight_msgs; /* 0: the engine's own limits */
    uint32_t inflight_bytes;
    uint64_t cache_bytes;
    uint64_t unapplied_bytes;
    uint64_t snapshot_log_bytes;
};

size_t sim_profile_count(void);
const char *sim_profile_name(size_t profile);
/* -1: no such profile. */
int sim_profile_find(const char *name);
void sim_params_draw(struct sim_params *params, size_t profile, struct rnd *rnd);

/* ---- counters -------------------------------------------------------------------------------- */

struct sim_coverage {
    uint64_t runs;
    uint64_t steps;
    uint64_t faults[SIM_FAULTS];
    uint64_t dooms; /* met */
    uint64_t frames;
    uint64_t frames_lost;
    uint64_t frames_doubled;
    uint64_t frames_reordered;
    uint64_t connections;
    uint64_t elections;
    uint64_t starts;
    uint64_t torn;    /* starts that cut a torn tail */
    uint64_t damaged; /* groups that found damage */
    uint64_t repairs;
    uint64_t gave_way;   /* leaders whose disk hung */
    uint64_t distrusted; /* connections to a node whose disk went back */
    uint64_t snapshots_written;
    uint64_t snapshots_sent;
    uint64_t snapshots_installed;
    uint64_t entries; /* committed */
    uint64_t writes_ok;
    uint64_t writes_refused; /* certainly not done */
    uint64_t writes_unknown;
    uint64_t reads_ok;
    uint64_t reads_failed;
    uint64_t stale_reads;
    uint64_t undecided; /* histories that were too wide for the checker */
    uint64_t virtual_ms;
};

/* ---- operations of clients ------------------------------------------------------------------- */

enum sim_op_kind {
    SIM_PUT,
    SIM_CAS,
    SIM_DELETE,
    SIM_READ,
    SIM_STALE
};

enum sim_outcome {
    SIM_PENDING,
    SIM_OK,
    SIM_FAILED, /* certainly not done */
    SIM_UNKNOWN
};

/* Values are the numbers of the operations that wrote them; 0: the key is not there. */
struct sim_op {
    enum sim_op_kind kind;
    enum sim_outcome outcome;
    uint32_t node;
    uint32_t client;
    uint32_t group;
    uint32_t key;
    uint64_t expect;       /* CAS: the value that it replaces */
    uint64_t expect_index; /* CAS: its modify index */
    clk_ns invoked;
    clk_ns returned;
    clk_ns deadline;
    bool done; /* CAS: it was written */
    uint64_t value;
    uint64_t modify_index;
    raft_index floor;  /* what was known to be done in the group before it began */
    raft_index index;  /* of its entry; of a read: what was applied when it read */
    uint32_t applied;  /* how often */
    uint32_t life;     /* of the node */
    raft_index wanted; /* a read waits for it */
};

struct sim_client {
    uint64_t op; /* number of the one under way, 0: none */
    uint64_t seen_value[SIM_GROUPS_MAX][SIM_KEYS_MAX];
    uint64_t seen_index[SIM_GROUPS_MAX][SIM_KEYS_MAX];
};

/* ---- what is known of a group as a whole ----------------------------------------------------- */

struct sim_entry {
    raft_term term; /* 0: not committed yet */
    bool applied;   /* somewhere: then the rest is known */
    enum raft_entry_kind kind;
    uint64_t hash;
    struct table_digest digest; /* after it */
};

struct sim_version {
    raft_index index;
    uint64_t value;
    uint64_t modify_index;
};

struct sim_history {
    struct sim_version *versions;
    size_t count;
    size_t cap;
};

struct sim_group {
    struct sim_entry *entries; /* by index */
    size_t cap;
    raft_index committed; /* highest index that any node knew to be committed */
    raft_index applied;
    clk_ms time_ms;    /* of the entry at `applied` */
    uint32_t *leaders; /* by term */
    size_t terms;
    raft_index floor; /* highest index that a client has seen the effect of */
    struct sim_history keys[SIM_KEYS_MAX];
};

/* ---- nodes ----------------------------------------------------------------------------------- */

struct sim_snapshot {
    uint32_t refs;
    struct raft_snapshot_meta meta;
    struct table_mem *state;
};

/* A data directory: what a crash leaves, and what can be copied. */
struct sim_dir {
    struct mem_disk *disk;
    struct sim_snapshot *snapshots[SIM_GROUPS_MAX][SIM_SNAPSHOTS_MAX]; /* newest first */
};

/* One group's state machine. */
struct sim_state {
    struct table_mem *mem;
    raft_index applied;
    bool snapshot_running;
};

/* Something for the apply thread. */
struct sim_work {
    struct list link;
    clk_ns due;
    uint32_t group;
    struct sim_snapshot *install; /* else entries */
    size_t count;
    struct engine_entry entries[];
};

struct sim_seen {
    raft_term term;
    raft_index commit;
    raft_index last;
    raft_index durable;
    bool durable_is_floor;
    bool leader;
    bool repairing;
    clk_ns at;           /* when this was seen */
    uint64_t wal_seq;    /* what the disk had then */
    clk_ns behind_since; /* leads, and its disk stands still behind a majority's; 0: not so */
};

struct sim_memory {
    uint64_t storage_id;
    uint64_t boot_count;
    uint64_t durable_seq;
};

/* When a doomed node meets its doom. */
enum sim_moment {
    SIM_NO_MOMENT,
    SIM_UNSYNCED, /* it has sent something, and its disk is at work */
    SIM_NEW_TERM, /* in the turn in which it entered a term */
    SIM_ELECTED,  /* in the turn in which it became a leader */
    SIM_HEIR,     /* it leads, and others have its predecessor's entries, but none of its own */
    SIM_MOMENTS
};

/* What a disk has lost of what it may have promised. */
enum sim_harm {
    SIM_SOUND,
    SIM_FLIPPED, /* until it is found undamaged, or repaired */
    SIM_OLD,     /* until it was told, and repaired */
    SIM_WIPED    /* for ever: it is another disk */
};

struct sim_node {
    struct sim *sim;
    uint32_t id;
    bool running;
    uint32_t life; /* counts starts */
    struct sim_dir dir;
    struct sim_dir saved; /* an old copy; disk NULL: none */
    bool clean;           /* state below is of a clean stop */
    enum sim_harm harm;
    bool mended;        /* since the harm some group was repaired */
    bool harmed;        /* ever */
    uint64_t saved_seq; /* WAL record up to which `saved` goes */
    uint64_t saved_boot;
    bool fault_expected;  /* an I/O error was put in: it may stop */
    uint64_t directories; /* how many it had: part of the next storage id */
    struct identity identity;
    struct wal *wal;
    struct engine *engine;
    struct sim_state states[SIM_GROUPS_MAX];
    struct list work;
    struct machine machine;
    struct sim_client clients[SIM_CLIENTS_MAX];
    struct sim_seen seen[SIM_GROUPS_MAX];
    enum sim_moment doom;
    bool doom_is_cut;                            /* it is cut off then; else it crashes */
    uint64_t frames;                             /* sent in this life */
    struct sim_memory memory[SIM_NODES_MAX + 1]; /* of the peers' disks: the member table's part */
    raft_index stale_floor[SIM_GROUPS_MAX];
    clk_ns wake;
    clk_ns turn_at;
    clk_ns paused_until;
    clk_ns slow_until;
    int64_t wall_skew_ms;
    bool fatal;
    struct err_note fatal_note;
};

/* ---- network --------------------------------------------------------------------------------- */

/* The connection of two nodes, a < b; side 0 is a. */
struct sim_link {
    uint32_t ends[2];
    uint64_t epoch; /* of the newest connection */
    bool open;
    bool breaking;       /* its end is scheduled */
    uint64_t sent[2];    /* frames so far */
    uint64_t up[2];      /* epoch that the side believes in, 0: none */
    clk_ns last_due[2];  /* arrival of the newest frame from that side */
    struct list held[2]; /* frames from that side that a cut holds back */
    size_t held_count[2];
};

struct sim_event {
    struct heap_node due;
    struct list link;
    void (*run)(struct sim *sim, struct sim_event *event);
    uint32_t node;
    uint32_t peer;
    uint32_t life; /* of the node; 0: whatever */
    uint32_t peer_life;
    uint32_t group;
    uint64_t number;
    uint64_t order; /* of a frame: among those of its connection and side */
    struct sim_snapshot *snapshot;
    bool ok;
    struct engine_hello hello;
    size_t size;
    uint8_t *bytes;
};

/* ---- the whole ------------------------------------------------------------------------------- */

enum sim_phase {
    SIM_CHAOS,
    SIM_HEALED
};

struct sim {
    uint64_t seed;
    size_t profile;
    int verbose;
    struct rnd rnd;
    struct sim_params params;
    clk_ns now;
    uint64_t steps;
    uint64_t isolations; /* so far */
    enum sim_phase phase;
    struct heap events;
    struct sim_node nodes[SIM_NODES_MAX + 1];                    /* by id */
    struct sim_link links[SIM_NODES_MAX + 1][SIM_NODES_MAX + 1]; /* [a][b], a < b */
    bool cut[SIM_NODES_MAX + 1][SIM_NODES_MAX + 1];              /* from, to */
    clk_ns lag[SIM_NODES_MAX + 1];                               /* of what is sent to it */
    struct sim_group groups[SIM_GROUPS_MAX];
    struct sim_op *ops; /* number - 1 */
    size_t op_count;
    size_t op_cap;
    uint64_t fingerprint;
    struct buf scratch;
    struct buf body;
    struct sim_coverage *coverage;
};

/* One run; a violation prints the reason and ends the process with status 1. Returns the
 * fingerprint of all events. */
uint64_t sim_run(uint64_t seed, size_t profile, int verbose, struct sim_coverage *coverage);
/* For the message of a crash: the run under way. */
void sim_describe(char *text, size_t size);

void sim_violation(struct sim *sim, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn));
/* Goes into the fingerprint, and with -v to the screen. */
void sim_note(struct sim *sim, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Only into the fingerprint (and with -vv to the screen). */
void sim_mark(struct sim *sim, const char *what, uint64_t a, uint64_t b, uint64_t c);

/* ---- sim_run.c ------------------------------------------------------------------------------- */

/* A zeroed event that runs at `at`; the caller fills it. */
struct sim_event *sim_at(struct sim *sim, clk_ns at,
                         void (*run)(struct sim *sim, struct sim_event *event));
void sim_event_free(struct sim_event *event);
clk_ns sim_between(struct sim *sim, clk_ns low, clk_ns high);
bool sim_chance(struct sim *sim, uint32_t percent);

/* ---- sim_net.c ------------------------------------------------------------------------------- */

void sim_net_init(struct sim *sim);
void sim_net_done(struct sim *sim);
/* engine_env.send */
bool sim_net_send(struct sim_node *from, raft_node_id to, struct bytes frame);
/* Ends the connection; each side hears of it after at most `news`. */
void sim_net_break(struct sim *sim, struct sim_link *link, clk_ns news);
/* The node is gone; polite: its system tells the peers. */
void sim_net_node_gone(struct sim *sim, uint32_t node, bool polite);
void sim_net_cut(struct sim *sim, uint32_t from, uint32_t to);
/* From all others, both ways, for a while. */
void sim_net_isolate(struct sim *sim, uint32_t node);
void sim_net_heal(struct sim *sim);
/* Nothing is cut. */
bool sim_net_whole(const struct sim *sim);
struct sim_link *sim_net_link(struct sim *sim, uint32_t a, uint32_t b);

/* ---- sim_node.c ------------------------------------------------------------------------------ */

void sim_node_init(struct sim *sim, uint32_t id);
void sim_node_done(struct sim_node *node);
/* From what the directory has. False: a fault that was put in prevented it. */
bool sim_node_start(struct sim_node *node);
void sim_node_crash(struct sim_node *node, enum mem_disk_crash_kind kind);
/* A clean stop: seals the log, keeps the state. */
void sim_node_stop(struct sim_node *node);
/* Some time after a crash. */
clk_ns sim_downtime(struct sim *sim);
void sim_node_restart_at(struct sim_node *node, clk_ns at);
void sim_node_wake(struct sim_node *node);
/* Something was fed: a turn follows soon. */
void sim_node_touch(struct sim_node *node);
clk_ms sim_node_wall(const struct sim_node *node);
bool sim_node_paused(const struct sim_node *node);
/* All of it is repaired, running and trusted: the next misfortune may strike. */
bool sim_node_whole(const struct sim_node *node);
/* A crash-consistent copy of the directory. */
void sim_dir_copy(struct sim_dir *to, const struct sim_dir *from, uint64_t seed);
void sim_dir_done(struct sim_dir *dir);

/* ---- sim_state.c ----------------------------------------------------------------------------- */

void sim_state_apply(void *self, raft_group_id group, const struct engine_entry *entries,
                     size_t count);
void sim_state_install(void *self, raft_group_id group, const struct raft_snapshot_meta *meta);
void sim_state_snapshot_write(void *self, raft_group_id group);
void sim_state_snapshot_send(void *self, raft_group_id group, raft_node_id to, raft_index at_least);
void sim_state_last(void *self, raft_group_id group, raft_node_id node, uint64_t *ret_incarnation,
                    uint64_t *ret_sequence);
clk_ms sim_state_time(void *self, raft_group_id group);
/* Does what is due of the apply thread's work; true when there was any. */
bool sim_state_work(struct sim_node *node);
void sim_state_drop_work(struct sim_node *node);
struct sim_snapshot *sim_snapshot_ref(struct sim_snapshot *snapshot);
void sim_snapshot_unref(struct sim_snapshot *snapshot);
/* Adds a file, and removes those that are old and that the log does not need. */
void sim_node_add_snapshot(struct sim_node *node, uint32_t group, struct sim_snapshot *snapshot);
/* Replaces a state by a snapshot's; NULL: by the empty one. */
void sim_state_load(struct sim_state *state, const struct sim_snapshot *snapshot);
void sim_state_free(struct sim_state *state);
/* What the table says of a key. */
void sim_state_get(struct sim_node *node, uint32_t group, uint32_t key, uint64_t *ret_value,
                   uint64_t *ret_index);

/* ---- sim_client.c ---------------------------------------------------------------------------- */

void sim_clients_start(struct sim *sim);
/* The node died: nobody will be told. */
void sim_clients_lost(struct sim_node *node);
/* Reads that have become answerable. */
void sim_clients_applied(struct sim_node *node, uint32_t group);
/* The origin has applied its own command. */
void sim_client_answer(struct sim_node *node, uint64_t op, const struct machine_result *result,
                       raft_index index);
void sim_client_failed(void *self, uint64_t tag, enum err err);
void sim_client_read_done(void *self, uint64_t tag, enum err err, raft_index index);
/* Proposes one write now; its number, or 0. */
uint64_t sim_client_write(struct sim_node *node, uint32_t group, clk_ns patience);
struct sim_op *sim_op_of(struct sim *sim, uint64_t number);
void sim_key_name(uint32_t key, char *dest, size_t size);
/* No operation has waited longer than it may. */
void sim_clients_check(struct sim *sim);

/* ---- sim_fault.c ----------------------------------------------------------------------------- */

void sim_faults_start(struct sim *sim);
/* Ends all that is wrong: restarts, reconnects. */
void sim_faults_end(struct sim *sim);
const char *sim_fault_name(enum sim_fault fault);

/* ---- sim_check.c ----------------------------------------------------------------------------- */

/* After each step of a node. */
void sim_check_node(struct sim_node *node);
void sim_check_started(struct sim_node *node);
/* An entry was applied by a node. */
void sim_check_applied(struct sim_node *node, uint32_t group, const struct engine_entry *entry,
                       const struct machine_result *result, struct table_digest digest);
/* When all has come to rest. */
void sim_check_final(struct sim *sim);
/* The version of a key after an entry; never NULL. */
const struct sim_version *sim_version_at(const struct sim_group *group, uint32_t key,
                                         raft_index index);
void sim_group_done(struct sim_group *group);
uint64_t sim_hash(uint64_t hash, struct bytes bytes);

/* ---- sim_linear.c ---------------------------------------------------------------------------- */

enum sim_verdict {
    SIM_LINEARIZABLE,
    SIM_NOT_LINEARIZABLE,
    SIM_UNDECIDED
};

/* ops: those of one key that may matter, in order of invocation. */
enum sim_verdict sim_linear_check(const struct sim_op *const *ops, const uint64_t *numbers,
                                  size_t count);

#endif
