/* The node's inside: shared by the files of this directory only.
 *
 *   node.c           start and stop: directory, identity, WAL, store, threads
 *   node_core.c      the core thread: engine and peers on one loop, requests of the edges
 *   node_apply.c     the apply thread: one writer of the store; fills the rings
 *   node_backup.c    the state as a file in pieces
 *   node_edge.c      the edges: proposals, the ring's other end, posts, events
 *   node_read.c      stale and consistent reads
 *   node_feed.c      watches
 *   node_snapshot.c  writing and installing snapshot files
 *   node_status.c    what the core publishes for everybody
 *
 *   edge --core_msg--> core --apply_work--> apply --batch--> edge
 *     ^------------------edge_msg-|   ^----applied---| */
#ifndef NODE_NODE_PRIV_H
#define NODE_NODE_PRIV_H

#include "disk/disk.h"
#include "disk/identity.h"
#include "jobs/jobs.h"
#include "loop/inbox.h"
#include "machine/machine.h"
#include "metrics/metrics.h"
#include "node/node.h"
#include "node/node_ext.h"
#include "peers/peers.h"
#include "secret/secret.h"
#include "store/snapshot_file.h"
#include "store/store.h"
#include "transfer/transfer.h"
#include "wal/wal.h"

#include <pthread.h>
#include <semaphore.h>

enum {
    META_GROUP = 1,
    INBOX_ITEMS = 8192,
    EDGE_PENDING_MAX = 32768,
    EDGE_READERS = 4,
    EDGE_WATCHES_MAX = 200000,
    /* Batches that an edge has not taken; beyond it the edge has lagged and gets results only. */
    EDGE_BACKLOG_MAX = 4096,
    APPLY_ENTRIES_PER_TXN = 8192,
    TAG_EDGE_SHIFT = 48,
};

/* ---- messages between the threads; heap objects, freed by the receiver ---- */

enum core_msg_kind {
    CORE_PROPOSE,
    CORE_READ,
    CORE_FRAME,
    CORE_APPLIED,
    CORE_FATAL,
    CORE_BACKUP,
    CORE_BACKUP_NEXT,
    CORE_BACKUP_END,
};

struct core_msg {
    enum core_msg_kind kind;
    uint16_t command_kind;  /* PROPOSE */
    uint8_t frame_kind;     /* FRAME */
    raft_node_id to;        /* FRAME */
    uint64_t tag;           /* PROPOSE, READ, BACKUP... */
    uint64_t index;         /* APPLIED, BACKUP */
    clk_ns deadline;        /* PROPOSE */
    enum err err;           /* FATAL */
    uint32_t principal_len; /* PROPOSE */
    uint32_t body_len;      /* PROPOSE, FRAME; FATAL: the text */
    uint8_t trace_id[16];
    uint8_t bytes[]; /* principal, then body */
};

enum edge_msg_kind {
    EDGE_PROPOSAL_FAILED,
    EDGE_READ_READY,
    EDGE_EVENT,
    EDGE_FRAME,
    EDGE_BACKUP,
};

struct edge_msg {
    struct list link; /* while the inbox is full */
    enum edge_msg_kind kind;
    enum err err;
    enum node_event event;
    raft_node_id from;
    uint8_t frame_kind;
    uint64_t tag;
    uint64_t index;
    uint32_t body_len;
    uint8_t body[];
};

struct apply_work {
    struct list link; /* while the inbox is full */
    uint32_t count;
    bool install;   /* load the newest snapshot file instead */
    uint64_t index; /* of the install */
    struct engine_entry entries[];
};

/* What one transaction of apply tells one edge. */
struct batch {
    struct list link;
    uint64_t last_index;
    bool lost_changes;
    struct buf items; /* see node_feed.c */
};

/* ---- the parts ---- */

/* Core's end of an edge's inbox. */
struct edge_out {
    struct list waiting;
    bool wake;
};

struct node_edge {
    struct node *node;
    uint32_t number;
    struct loop *loop;
    pthread_t thread;
    struct loop_hook hook;
    struct loop_inbox to_core; /* consumed by core */
    struct loop_inbox from_core;
    struct loop_inbox from_apply;
    bool wake_core;
    /* proposals */
    struct map proposals;
    uint64_t next_id;
    /* the ring's end */
    struct list batches; /* taken from the inbox, not yet told */
    _Atomic uint64_t backlog;
    bool telling;
    /* reads */
    struct store_reader *readers[EDGE_READERS];
    uint32_t reader_depth;
    struct list reads_new;   /* no read index asked for yet */
    struct list read_rounds; /* struct read_round */
    struct loop_timer read_timer;
    clk_ns read_timer_at;
    clk_ns read_retry_at; /* no leader: not before */
    uint64_t next_round;
    /* watches */
    struct map watch_sets;   /* struct watch_set by table and key, exact and prefix */
    struct list prefix_sets; /* those of prefixes */
    uint64_t changes_told;
    uint32_t watch_count;
    struct hash_seed seed;
    struct list listeners;
    struct list backups; /* struct node_backup */
    uint64_t next_backup;
    /* posts by other threads */
    pthread_mutex_t post_lock;
    struct list posts;
    _Atomic bool has_posts;
};

struct node_core {
    struct loop *loop;
    pthread_t thread;
    struct loop_hook hook;
    struct loop_timer timer;
    struct loop_inbox from_apply;
    struct edge_out outs[NODE_EDGES_MAX];
    struct list works; /* for apply, while its inbox is full */
    struct store_reader *reader;
    bool wake_apply;
    bool running; /* the threads were started */
    bool stopping;
    bool peers_closed;
    atomic_bool hand_over;  /* node_hand_over waits for handed_over */
    clk_ns hand_over_until; /* 0: not begun */
    sem_t handed_over;
    clk_ns published_at;
};

struct node_apply {
    struct loop *loop;
    pthread_t thread;
    struct loop_inbox from_core;
    struct machine machine;
    struct apply_sink sink;
    struct batch *open[NODE_EDGES_MAX]; /* the batches of the running transaction */
    struct list waiting[NODE_EDGES_MAX];
    struct loop_timer retry; /* while something waits */
    struct apply_work *work; /* partly done */
    uint32_t work_at;
    bool dead;
};

struct node {
    struct node_cfg cfg;
    struct metrics_set metrics;
    struct disk_loop *disk;
    struct identity identity;
    struct wal *wal;
    struct store *store;
    struct snapshot_dir *snapshots;
    struct engine *engine;
    struct peers *peers;
    struct jobs *jobs;
    struct transfer *transfer;
    struct node_core core;
    struct node_apply apply;
    struct node_edge *edges;
    uint32_t edge_count;
    struct node_frame_handler *_Atomic frame_handler;
    struct health *_Atomic health;
    void (*on_fatal)(void *self, enum err why, const char *text);
    void *on_fatal_self;
    enum err fatal; /* ERR_OK, or why the node has stopped; with on_fatal under status_lock */
    char fatal_text[ERR_NOTE_MAX + 64];
    struct node_snapshot_job *snapshot_job;
    struct list backups;                         /* struct node_backup_job; core thread */
    struct loop_timer snapshot_retry;            /* set: the last one failed a moment ago */
    raft_index snapshot_wanted[NODE_ID_MAX + 1]; /* what each peer asked for last */
    bool snapshot_waits[NODE_ID_MAX + 1];        /* for a file that is being written */
    atomic_bool canceling;
    atomic_bool installing;     /* apply replaces the store's rows by those of a snapshot file */
    _Atomic uint64_t committed; /* index visible in the store */
    _Atomic uint32_t leader;    /* 0: none known */
    _Atomic bool leads;
    _Atomic uint64_t leader_heard; /* clk_ns */
    _Atomic uint64_t peer_heard[NODE_ID_MAX + 1];
    pthread_mutex_t status_lock;
    struct node_status status;
    struct secret_ring new_secret; /* under status_lock */
    atomic_bool has_new_secret;    /* until the core thread has taken it */
};

/* node_core.c */
ERR_CHECKED enum err node_core_start(struct node *node, struct err_note *note);
/* The threads have ended: gives everything back. */
void node_core_stop(struct node *node);
struct engine_env node_core_env(struct node *node);
void node_core_fatal(struct node *node, enum err why, const char *text);
void node_core_to_edge(struct node *node, uint32_t edge, struct edge_msg *msg);
void node_core_backup_piece(struct node *node, uint64_t tag, enum err err, struct bytes piece);
struct core_msg *node_core_msg_new(enum core_msg_kind kind, size_t extra);

/* node_hand_over.c: core thread, before engine_turn */
void node_hand_over_turn(struct node *node, clk_ns now);

/* node_apply.c */
ERR_CHECKED enum err node_apply_start(struct node *node, struct err_note *note);
void node_apply_stop(struct node *node);
/* Core thread; false: the inbox is full, try again in the next turn. */
bool node_apply_submit(struct node *node, struct apply_work *work);

/* node_edge.c */
ERR_CHECKED enum err node_edge_start(struct node *node, uint32_t number, struct err_note *note);
void node_edge_run(struct node_edge *edge);
void node_edge_stop(struct node_edge *edge);
ERR_CHECKED enum err node_edge_to_core(struct node_edge *edge, struct core_msg *msg);
void node_edge_tell(struct node_edge *edge, uint64_t upto);
void node_edge_event(struct node_edge *edge, enum node_event event);

/* node_feed.c */
void node_feed_put_change(struct batch *batch, const struct apply_change *change);
void node_feed_put_result(struct batch *batch, uint64_t tag, uint64_t index,
                          const struct machine_result *result);
/* Tells all items of a batch to the edge. */
void node_feed_tell(struct node_edge *edge, const struct batch *batch);
void node_feed_result(struct node_edge *edge, uint64_t tag, const struct node_result *result);

/* node_read.c */
void node_read_init(struct node_edge *edge);
void node_read_done(struct node_edge *edge);
/* Core's answer for one round. */
void node_read_round(struct node_edge *edge, uint64_t round, enum err err, uint64_t index);
/* Asks for an index for the new reads; calls back those whose index is applied. */
void node_read_turn(struct node_edge *edge);

/* node_snapshot.c */
void node_snapshot_write(struct node *node);
void node_snapshot_send(struct node *node, raft_node_id to, raft_index at_least);
void node_snapshot_sent(struct node *node, raft_node_id to, enum err err);

/* Replaces the state by the newest whole snapshot file that fits. The apply thread, or before it
 * runs. */
ERR_CHECKED enum err
node_snapshot_load(struct node *node,
                   bool (*fits)(const struct raft_snapshot_meta *meta, const void *context),
                   const void *context, raft_index *ret_index, struct err_note *note);

/* node_backup.c, core thread; node_backup_piece on the edge's */
void node_backup_begin(struct node *node, uint64_t tag, raft_index at_least);
void node_backup_more(struct node *node, uint64_t tag);
void node_backup_end(struct node *node, uint64_t tag);
/* A snapshot file was written, up to this index, or could not be. */
void node_backups_written(struct node *node, bool ok, raft_index index);
/* No job is under way any more. */
void node_backups_free(struct node *node);
void node_backup_piece(struct node_edge *edge, uint64_t tag, enum err err, struct bytes piece);

/* node_status.c */
void node_status_publish(struct node *node);

#endif
