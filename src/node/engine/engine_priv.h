/* The engine's inside: shared by the files of this directory only.
 *
 *   engine.c          open, close, turn, deadlines, inspection
 *   engine_effects.c  carries out what core/raft asks for
 *   engine_send.c     frames to peers: encoding, gates, entries that only the WAL has
 *   engine_receive.c  frames from peers: decoding
 *   engine_stream.c   proposer streams: numbering, sending, accepting
 *   engine_trust.c    disks that went back in time
 *   engine_boot.c     from the recovered WAL to raft groups; the bootstrap of a new cluster
 *   engine_cache.c    the newest entries of a log
 *   engine_fifo.c     memory for payloads */
#ifndef ENGINE_ENGINE_PRIV_H
#define ENGINE_ENGINE_PRIV_H

#include "engine/engine.h"
#include "engine/engine_cache.h"
#include "list/list.h"
#include "wal/wal.h"

enum {
    NODE_IDS = RAFT_NODE_ID_MAX + 1, /* size of tables by node id */
    APPLY_BATCH_MAX = 256,           /* entries per call of env->apply */
    FETCH_BUFFER_BYTES = 512 * 1024,
    FETCH_ENTRIES_MAX = 1024,
    FETCHES_MAX = 64, /* appends per peer that wait for the WAL */
    FRAME_FLUSH_BYTES = 1024 * 1024,
};

/* Kinds of messages in a frame; the numbers are on the wire. */
enum frame_message {
    FRAME_RAFT = 1,
    FRAME_PROPOSE = 2,       /* group, incarnation, first sequence, count, commands */
    FRAME_PROPOSE_STATE = 3, /* group, incarnation, next sequence wanted, busy */
    FRAME_BOOTSTRAP = 4,     /* cluster id, the first configuration */
    FRAME_WENT_BACK = 5,     /* storage id, boot count, durable record that were known of it */
    FRAME_REPAIRING = 6,     /* the same three, by the one who was told, when its disk knows */
};

/* A proposal of this node that is not in the committed log yet. */
struct pending {
    uint64_t tag; /* 0: nobody waits any more */
    clk_ns deadline;
    const uint8_t *command;
    uint32_t size;
    bool sent;
};

/* This node's numbered proposals in one group. Holds the numbers [first, next). */
struct stream {
    uint64_t incarnation; /* of this numbering; higher than any that the node used before */
    uint64_t overtaken;   /* the leader knows of this incarnation: a higher one is needed; 0: no */
    struct pending *ring;
    size_t ring_size;
    uint64_t first;
    uint64_t next;
    uint64_t to_send;    /* next number for the current leader */
    raft_node_id target; /* the leader that they go to, 0: none */
    raft_term target_term;
    clk_ns ask_at;    /* when to ask the leader what it has, if nothing moved */
    clk_ns retry_at;  /* the leader was busy: not before */
    clk_ns expire_at; /* when to look for passed deadlines; CLK_NEVER: nothing pending */
    uint64_t bytes;
    struct engine_fifo commands;
};

/* What a leader expects next of a proposer. */
struct accepted {
    uint64_t incarnation;
    uint64_t next;
    raft_term term; /* the leader's term in which this was established; else it is void */
};

struct engine_group {
    raft_group_id id;
    struct engine_cache cache;
    struct stream stream;
    struct accepted accepted[NODE_IDS];
    /* Those who proposed before this leader knew what it expects, by incarnation; 0: nobody. */
    uint64_t too_early[NODE_IDS];
    bool any_too_early;
    raft_index handed; /* last entry given to env->apply */
    raft_index applied;
    clk_ms last_time_ms; /* of the newest entry of the log */
    raft_index snapshot_index;
    uint64_t log_bytes; /* appended since the last snapshot */
    bool snapshot_running;
    raft_index damaged;    /* this entry cannot be read back any more; 0: none is known */
    raft_index installing; /* snapshot that env->snapshot_install was asked for; 0: none */
    bool replaced;         /* a snapshot was installed: proposals in it are still pending here */
};

/* An append whose entries must be read from the WAL first. */
struct fetch {
    struct list link;
    struct raft_msg msg;
    raft_index first;
    raft_index last;
};

struct engine_peer {
    struct engine *engine;
    raft_node_id id;
    bool up;
    bool trusted;
    bool fresh; /* its log was empty when it connected */
    uint64_t cluster_id;
    uint64_t storage_id; /* remembered, 0: never seen */
    uint64_t boot_count;
    uint64_t durable_seq;
    uint64_t boot_id;          /* of the boot count's start, 0: not known */
    struct engine_hello hello; /* of the connection */
    clk_ns tell_at;            /* not trusted: when to say so again */
    bool told;                 /* it says that this disk went back, and waits for an answer */
    uint64_t told_boot_count;
    uint64_t told_durable_seq;
    struct buf frame;    /* what leaves at the end of the turn */
    struct buf gated;    /* records {gate u64, length u32, message}, in order of gates */
    struct list fetches; /* struct fetch, oldest first; the first one is being read */
    uint32_t fetch_count;
    bool reading;
    bool read_void; /* the fetch that the read under way was for is gone */
    struct wal_read read;
    uint8_t *read_buffer; /* while there are fetches */
    struct wal_entry *read_entries;
};

struct engine {
    struct engine_cfg cfg;
    struct engine_env env;
    struct wal *wal;
    struct raft_host *raft;
    clk_ns now;
    clk_ms wall_ms;
    uint64_t durable; /* wal_seq of core/raft's numbering */
    bool failed;
    bool durable_news;
    bool in_turn;
    struct engine_group *groups; /* group id - 1 */
    struct engine_peer peers[NODE_IDS];
    raft_node_id peers_seen[NODE_IDS]; /* ids of peers that were ever up, for iteration */
    uint32_t peers_seen_count;
    struct raft_effect held; /* a WAL effect that found the WAL full */
    struct raft_snapshot_meta held_snapshot;
    bool has_held;
    struct wal_entry *scratch; /* entries of one WAL effect */
    size_t scratch_size;
    struct engine_entry apply_batch[APPLY_BATCH_MAX];
    struct buf message; /* one message under construction */
    clk_ns bootstrap_at;
    bool birth_complete; /* every group of a founder has the first configuration */
    bool went_back;      /* this start has been told; its groups were marked */
    uint64_t start_seq;  /* the WAL's last record at the start */
    uint64_t written;    /* newest write of core/raft that the WAL has taken */
};

struct engine_group *engine_group_of(struct engine *engine, raft_group_id id);
/* Stops everything and tells the environment; only the first call counts. */
void engine_fail(struct engine *engine, enum err why, const char *text);

/* engine_effects.c: drains core/raft until it is quiet or the WAL is full. */
void engine_effects_run(struct engine *engine);
/* Feeds; a refusal other than the expected ones is a programmer error. */
void engine_feed(struct engine *engine, const struct raft_input *input);
/* Mirrors what a feed did to the log in the group's cache; payloads[i] belongs to entries[i] of the
 * input. */
void engine_log_changed(struct engine *engine, struct engine_group *group,
                        const struct raft_fed *fed, const struct cached_entry *entries);

/* A state machine that lags behind what it was given bounds what the log may take in. What is in
 * the log and not known to be committed does not count: after a restart that can be much, and only
 * more entries make it known. */
bool engine_is_busy(const struct engine *engine, const struct engine_group *group);

/* Entries from here on are gone: a WAL write that waits for room must not name them. */
void engine_forget_held(struct engine *engine, const struct engine_group *group,
                        raft_index truncated_from);

/* engine_send.c */
void engine_send_msg(struct engine *engine, const struct raft_effect *effect);
/* Moves gated messages whose write is durable into the frames, then hands the frames out. */
void engine_send_frames(struct engine *engine);
/* Appends a finished message to the peer's frame; drops it when the peer is not up. */
void engine_send_now(struct engine *engine, raft_node_id to, struct bytes message);
/* Appends it when everything up to the write is durable. */
void engine_send_gated(struct engine *engine, raft_node_id to, uint64_t after_wal_seq,
                       struct bytes message);
void engine_send_drop(struct engine_peer *peer);

/* engine_trust.c */
/* A disk that knows less than it once said it knew was rolled back or lost writes: it may have
 * forgotten votes and acknowledgements. The note says how. */
bool engine_trust_lost(const struct engine_peer *peer, const struct engine_hello *hello,
                       struct err_note *note);
/* Tells peers that their disks went back; answers those who said so of this one, when the WAL has
 * taken the consequences. */
void engine_trust_turn(struct engine *engine);
clk_ns engine_trust_deadline(const struct engine *engine);
ERR_CHECKED enum err engine_trust_receive(struct engine *engine, raft_node_id from,
                                          struct reader *in);
ERR_CHECKED enum err engine_trust_answer(struct engine *engine, raft_node_id from,
                                         struct reader *in);

/* engine_stream.c */
void engine_stream_init(struct engine *engine, struct stream *stream);
void engine_stream_done(struct stream *stream);
/* Sends, accepts and expires what is due. */
void engine_stream_turn(struct engine *engine, struct engine_group *group);
clk_ns engine_stream_deadline(const struct engine_group *group);
/* The tag of this node's proposal in a committed command, which then is no longer pending; 0:
 * none. */
uint64_t engine_stream_committed(struct engine *engine, struct engine_group *group,
                                 struct bytes command);
ERR_CHECKED enum err engine_stream_receive(struct engine *engine, raft_node_id from,
                                           struct reader *in);
ERR_CHECKED enum err engine_stream_state(struct engine *engine, raft_node_id from,
                                         struct reader *in);

/* engine_boot.c */
ERR_CHECKED enum err engine_boot_groups(struct engine *engine, const raft_index *applied,
                                        struct err_note *note);
/* Starts a new cluster when all initial voters are here with empty disks; passes the first
 * configuration to pinned peers that do not have it. */
void engine_boot_turn(struct engine *engine);
ERR_CHECKED enum err engine_boot_receive(struct engine *engine, struct reader *in);
/* A node that belongs to no cluster yet joins that of the first peer whose log it takes. */
void engine_boot_adopt(struct engine *engine, uint64_t cluster_id);

#endif
