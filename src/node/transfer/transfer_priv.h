/* Inside of the transfer: frames, the two state machines, and the rule of jobs.
 *
 * Place: node/transfer, private.
 *
 *   out:  WAITING -> OPENING -> OFFERED -> STREAMING -> ENDED -> (reported, file closed) -> freed
 *   in:   WAITING -> OPENING -> RECEIVING -> FINISHING -> CLOSING -> (file closed) -> freed
 *
 * Any state may go to ENDED or CLOSING at any time. The rule of jobs: each object has one job;
 * while it is busy the background thread owns the fields that are marked so, and nothing but
 * `state`, `result` and what is marked as the core's changes. *_advance does the next thing that
 * can be done and is called after everything that happened. */
#ifndef TRANSFER_TRANSFER_PRIV_H
#define TRANSFER_TRANSFER_PRIV_H

#include "transfer/transfer.h"

#include "clk/clk.h"
#include "jobs/jobs.h"
#include "list/list.h"
#include "loop/loop.h"
#include "store/snapshot_file.h"

enum {
    TRANSFER_HEAD = 16,
    TRANSFER_CHUNK_HEAD = TRANSFER_HEAD + 8,
    TRANSFER_TICK_MS = 200,
    TRANSFER_TELL_MS = 1000,      /* WAIT, while the receiver's disk works */
    TRANSFER_SENDER_MS = 5000,    /* without a word of the receiver */
    TRANSFER_RECEIVER_MS = 30000, /* without a chunk */
    TRANSFER_CALM_MS = 1000,      /* a failure is not reported earlier */
};

/* ---- frames: transfer_wire.c ----------------------------------------------------------------- */

enum transfer_kind {
    TRANSFER_OFFER = 1,
    TRANSFER_ACCEPT = 2,
    TRANSFER_REFUSE = 3,
    TRANSFER_CHUNK = 4,
    TRANSFER_ACK = 5,
    TRANSFER_DONE = 6,
    TRANSFER_WAIT = 7,
};

struct transfer_msg {
    enum transfer_kind kind;
    raft_group_id group;
    uint64_t number;
    raft_index index;   /* OFFER */
    raft_term term;     /* OFFER */
    uint64_t size;      /* OFFER */
    uint64_t offset;    /* ACCEPT, CHUNK, ACK */
    bool ok;            /* DONE */
    struct bytes bytes; /* CHUNK: content; REFUSE, DONE: text; borrowed */
};

/* ERR_BAD_INPUT. */
ERR_CHECKED enum err transfer_decode(struct bytes body, struct transfer_msg *ret_msg);
/* Bytes written; dest holds TRANSFER_CHUNK_HEAD + ERR_NOTE_MAX. A CHUNK's content is not written:
 * it follows the TRANSFER_CHUNK_HEAD bytes. */
size_t transfer_encode(const struct transfer_msg *msg, uint8_t *dest);

/* ---- state ----------------------------------------------------------------------------------- */

struct transfer {
    struct transfer_cfg cfg;
    struct list outs; /* in the order of their transfer_send */
    struct list ins;
    size_t out_count;
    uint64_t last_number;
    struct loop_timer tick;
    struct loop_call report; /* sends that ended */
    bool stopping;
};

enum transfer_out_state {
    OUT_WAITING,
    OUT_OPENING,
    OUT_OFFERED,
    OUT_STREAMING,
    OUT_ENDED,
};

enum transfer_out_work {
    OUT_OPEN,
    OUT_READ,
    OUT_CLOSE
};

struct transfer_out {
    struct job job;
    struct list link;
    struct transfer *transfer;
    enum transfer_out_state state;
    enum transfer_out_work work;
    bool job_busy;
    bool reported;
    raft_group_id group;
    raft_node_id to;
    raft_index at_least;
    uint64_t number;
    enum err result; /* once ENDED */
    char why[ERR_NOTE_MAX];
    clk_ns started_at;
    clk_ns heard_at;
    uint64_t next;    /* offset of the next chunk to read */
    uint64_t acked;   /* everything before is written over there */
    size_t frame_len; /* > 0: frame is full and waits to be sent */

    /* The background thread's while job_busy. */
    uint8_t *frame; /* while OPENING to STREAMING */
    struct snapshot_dir *dir;
    struct snapshot_source *source;
    struct snapshot_info info;
    uint64_t read_offset;
    size_t read_len;
    enum err job_err;
    struct err_note job_note;
};

enum transfer_in_state {
    IN_WAITING, /* for another transfer of this peer or group to go */
    IN_OPENING,
    IN_RECEIVING,
    IN_FINISHING,
    IN_CLOSING,
};

enum transfer_in_work {
    IN_OPEN,
    IN_WRITE,
    IN_FINISH,
    IN_CLOSE
};

struct transfer_chunk {
    struct list link;
    uint64_t offset;
    size_t len;
    uint8_t bytes[];
};

struct transfer_in {
    struct job job;
    struct list link;
    struct transfer *transfer;
    enum transfer_in_state state;
    enum transfer_in_work work;
    bool job_busy;
    raft_node_id from;
    uint64_t number;
    struct snapshot_offer offer;
    uint64_t came; /* offset of the next chunk */
    uint32_t chunk_count;
    struct list chunks; /* that wait to be written */
    clk_ns heard_at;
    clk_ns told_at; /* last frame to the sender */

    /* The background thread's while job_busy. */
    struct snapshot_dir *dir;
    struct snapshot_sink *sink;
    struct transfer_chunk *writing;
    struct snapshot_info info;
    uint64_t written;
    uint64_t size_bytes_max;
    raft_index floor; /* files below may go */
    enum err job_err;
    struct err_note job_note;
};

/* transfer.c */
void transfer_keep_ticking(struct transfer *transfer);
/* One line in the log about a transfer that failed. */
void transfer_log_failure(const char *direction, raft_group_id group, raft_node_id node,
                          const char *why);

/* transfer_out.c */
void transfer_out_advance(struct transfer_out *out);
/* Does nothing when it has ended already. why: for the log; may be "". */
void transfer_out_end(struct transfer_out *out, enum err result, const char *why);
void transfer_out_frame(struct transfer *transfer, raft_node_id from,
                        const struct transfer_msg *msg);
void transfer_out_tick(struct transfer_out *out, clk_ns now);
void transfer_out_start_next(struct transfer *transfer, raft_node_id to);
void transfer_out_free(struct transfer_out *out);

/* transfer_in.c */
void transfer_in_frame(struct transfer *transfer, raft_node_id from,
                       const struct transfer_msg *msg);
void transfer_in_close(struct transfer_in *in);
void transfer_in_tick(struct transfer_in *in, clk_ns now);
void transfer_in_free(struct transfer_in *in);

#endif
