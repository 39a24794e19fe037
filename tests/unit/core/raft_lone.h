/* One raft host, driven by hand: tests write the messages of all other nodes themselves.
 *
 * Place: tests/unit/core. The host is node 1 of group 1; time moves and the disk finishes only when
 * the test says so. All entries are 8 bytes. Effects pile up in `effects` until lone_clear. */
#ifndef RAFT_LONE_H
#define RAFT_LONE_H

#include "raft/raft.h"

enum {
    LONE_EFFECTS_MAX = 512
};

struct lone {
    struct raft_host *host;
    clk_ns now;
    uint32_t voters;
    uint32_t members;
    struct raft_config config;
    uint8_t config_bytes[RAFT_CONFIG_BYTES_MAX];
    uint32_t config_size;
    struct raft_fed fed;
    uint64_t wal_seq; /* newest write seen */
    uint64_t ballot;  /* of the newest (pre-)vote request; votes told without a token get it */
    size_t count;
    struct raft_effect effects[LONE_EFFECTS_MAX];
    uint32_t sent_max; /* entries that a SEND takes at most */
};

struct lone_options {
    uint32_t voters;
    uint32_t members;     /* 0: all are voters */
    uint64_t own_storage; /* 0: the pinned one, 1001 */
    raft_term hard_term;  /* hard state at boot; 0: that of the log */
    raft_node_id vote;
    enum raft_boot_verdict verdict;
    bool repairing;
    bool empty;          /* no log at all */
    raft_index snapshot; /* 0: none; else of term 1 */
    raft_index applied;
    const raft_term *log; /* terms of the entries after the founding one, 0 at the end */
    uint64_t boot_count;  /* 0: 1 */
};

/* Opens group 1; unless empty, entry 1 (term 1) is the configuration. Peers 2.. are up and
 * trusted. */
struct lone *lone_new(const struct lone_options *options);
void lone_free(struct lone *l);
void lone_clear(struct lone *l);
/* Feeds, takes all effects, answers raft_sent. */
enum err lone_feed(struct lone *l, const struct raft_input *input);
void lone_drain(struct lone *l);
/* Everything written so far is on the disk. */
void lone_durable(struct lone *l);
void lone_durable_to(struct lone *l, uint64_t wal_seq);
/* Lets time pass, with all wake-ups. */
void lone_pass_ms(struct lone *l, uint32_t ms);
struct raft_view lone_view(const struct lone *l);
/* Single facts of the view, which is too large for many of them in one frame. */
raft_index lone_last(const struct lone *l);
raft_index lone_commit(const struct lone *l);
enum raft_role lone_role(const struct lone *l);
raft_index lone_config_index(const struct lone *l);
bool lone_is_joint(const struct lone *l);
/* A message from `from` in `term`. */
struct raft_msg lone_msg(enum raft_msg_type type, raft_node_id from, raft_term term);
enum err lone_tell(struct lone *l, const struct raft_msg *msg);
/* An append with entries of the given terms, 0 at the end; NULL: none. */
enum err lone_append(struct lone *l, const struct raft_msg *msg, const raft_term *terms);
/* An append of `term` from `from`, in short. */
#define LONE_APPEND(l, from_, term_, prev_, prev_term_, commit_, terms_)                           \
    lone_append((l),                                                                               \
                &(struct raft_msg){.type = RAFT_MSG_APPEND,                                        \
                                   .group = 1,                                                     \
                                   .from = (from_),                                                \
                                   .to = 1,                                                        \
                                   .term = (term_),                                                \
                                   .index = (prev_),                                               \
                                   .log_term = (prev_term_),                                       \
                                   .commit = (commit_)},                                           \
                (terms_))
enum err lone_ack(struct lone *l, raft_node_id from, raft_index index, uint64_t token);
enum err lone_propose(struct lone *l, uint32_t count);
enum err lone_read(struct lone *l, uint64_t tag);
enum err lone_peer(struct lone *l, raft_node_id node, uint64_t storage_id, bool trusted);
/* The newest effect of the kind since lone_clear, or NULL; for SEND of the message type. */
const struct raft_effect *lone_find(const struct lone *l, enum raft_effect_kind kind);
const struct raft_effect *lone_sent(const struct lone *l, enum raft_msg_type type, raft_node_id to);
uint32_t lone_count_sent(const struct lone *l, enum raft_msg_type type, raft_node_id to);
/* Time out, be voted for by node 2, become leader with a durable no-op; effects are cleared. */
void lone_lead(struct lone *l);

#endif
