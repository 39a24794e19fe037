/* One raft host, driven by hand: see raft_lone.h. */
#include "raft_lone.h"

#include "mem/mem.h"
#include "test.h"

enum {
    LOG_MAX = 128
};

static void put_config(struct lone *l, uint32_t voters, uint32_t members)
{
    l->config.count = members;
    for (uint32_t i = 0; i < members; i++) {
        l->config.members[i] = (struct raft_member){
            .node = i + 1, .role = i < voters ? RAFT_VOTER : RAFT_LEARNER, .storage_id = 1001 + i};
    }
    struct buf b;
    buf_init(&b, RAFT_CONFIG_BYTES_MAX);
    assert_int_equal(raft_config_encode(&l->config, &b), ERR_OK);
    memcpy(l->config_bytes, b.data, b.len);
    l->config_size = (uint32_t)b.len;
    buf_done(&b);
}

static void open_group(struct lone *l, const struct lone_options *options)
{
    struct raft_term_run runs[LOG_MAX];
    struct raft_boot_config config = {.index = 1, .config = l->config};
    struct raft_boot boot = {.group = 1,
                             .verdict = options->verdict,
                             .runs = runs,
                             .applied = options->applied,
                             .configs = &config};
    raft_term last_term = options->snapshot > 0 ? 1 : 0;
    raft_index next = options->snapshot + 1;
    if (options->snapshot > 0) {
        boot.snapshot = (struct raft_snapshot_meta){
            .index = options->snapshot, .term = 1, .config_index = 1, .config = l->config};
    } else if (!options->empty) {
        runs[boot.run_count++] = (struct raft_term_run){.first = next++, .term = 1};
        last_term = 1;
        boot.config_count = 1;
    }
    for (const raft_term *t = options->log; t != NULL && *t != 0; t++) {
        runs[boot.run_count++] = (struct raft_term_run){.first = next++, .term = *t};
        last_term = *t;
    }
    boot.last_index = next - 1;
    boot.hard_state =
        (struct raft_hard_state){.term = options->hard_term > 0 ? options->hard_term : last_term,
                                 .vote = options->vote,
                                 .repairing = options->repairing};
    assert_int_equal(raft_group_open(l->host, l->now, &boot), ERR_OK);
}

struct lone *lone_new(const struct lone_options *options)
{
    struct lone *l = mem_alloc(sizeof(*l));
    l->now = CLK_S(1);
    l->voters = options->voters;
    l->members = options->members > 0 ? options->members : options->voters;
    l->sent_max = LOG_MAX;
    put_config(l, l->voters, l->members);
    struct raft_host_cfg cfg = {
        .self = 1,
        .storage_id = options->own_storage > 0 ? options->own_storage : 1001,
        .boot_count = options->boot_count > 0 ? options->boot_count : 1,
        .groups_max = 1,
        .heartbeat = CLK_MS(50),
        .election_min = CLK_MS(300),
        .election_max = CLK_MS(600),
        .inflight_msgs_max = 3,
        .inflight_bytes_max = 800,
        .reads_max = 8,
        .uncommitted_bytes_max = 400,
        .seed = 7,
    };
    l->host = raft_host_new(&cfg);
    open_group(l, options);
    for (uint32_t i = 2; i <= l->members; i++) {
        assert_int_equal(lone_peer(l, i, 1000 + i, true), ERR_OK);
    }
    lone_drain(l);
    return l;
}

void lone_free(struct lone *l)
{
    raft_check(l->host);
    raft_host_free(l->host);
    mem_free(l);
}

void lone_clear(struct lone *l)
{
    l->count = 0;
}

void lone_drain(struct lone *l)
{
    size_t got = 0;
    do {
        size_t before = l->count;
        assert_true(before < LONE_EFFECTS_MAX);
        got = raft_drain(l->host, l->now, l->effects + before, LONE_EFFECTS_MAX - before);
        l->count += got;
        for (size_t i = before; i < l->count; i++) {
            const struct raft_effect *fx = &l->effects[i];
            if (fx->kind == RAFT_FX_SEND &&
                (fx->msg.type == RAFT_MSG_PREVOTE || fx->msg.type == RAFT_MSG_VOTE)) {
                l->ballot = fx->msg.token;
            }
            if (fx->kind == RAFT_FX_WAL) {
                assert_int_equal(fx->wal_seq, l->wal_seq + 1);
                l->wal_seq = fx->wal_seq;
            } else if (fx->kind == RAFT_FX_SEND && fx->first != 0) {
                raft_index most = fx->first + l->sent_max - 1;
                raft_index last = fx->last < most ? fx->last : most;
                raft_sent(l->host, 1, fx->msg.to, last, 8 * (last - fx->first + 1));
            }
        }
    } while (got > 0);
    raft_check(l->host);
}

enum err lone_feed(struct lone *l, const struct raft_input *input)
{
    enum err err = raft_feed(l->host, l->now, input, &l->fed);
    lone_drain(l);
    return err;
}

void lone_durable_to(struct lone *l, uint64_t wal_seq)
{
    struct raft_input in = {.kind = RAFT_IN_DURABLE, .wal_seq = wal_seq};
    assert_int_equal(lone_feed(l, &in), ERR_OK);
}

void lone_durable(struct lone *l)
{
    lone_durable_to(l, l->wal_seq);
}

void lone_pass_ms(struct lone *l, uint32_t ms)
{
    clk_ns until = l->now + CLK_MS(ms);
    while (raft_deadline(l->host) <= until) {
        clk_ns at = raft_deadline(l->host);
        l->now = at > l->now ? at : l->now;
        struct raft_input in = {.kind = RAFT_IN_WAKE};
        assert_int_equal(lone_feed(l, &in), ERR_OK);
    }
    l->now = until;
}

struct raft_view lone_view(const struct lone *l)
{
    struct raft_view view;
    assert_int_equal(raft_view(l->host, 1, &view), ERR_OK);
    return view;
}

raft_index lone_last(const struct lone *l)
{
    return lone_view(l).last;
}

raft_index lone_commit(const struct lone *l)
{
    return lone_view(l).commit;
}

enum raft_role lone_role(const struct lone *l)
{
    return lone_view(l).role;
}

raft_index lone_config_index(const struct lone *l)
{
    return lone_view(l).config_index;
}

bool lone_is_joint(const struct lone *l)
{
    return lone_view(l).config.joint;
}

struct raft_msg lone_msg(enum raft_msg_type type, raft_node_id from, raft_term term)
{
    return (struct raft_msg){.type = type, .group = 1, .from = from, .to = 1, .term = term};
}

enum err lone_tell(struct lone *l, const struct raft_msg *msg)
{
    struct raft_msg told = *msg;
    bool vote = told.type == RAFT_MSG_PREVOTE_REPLY || told.type == RAFT_MSG_VOTE_REPLY;
    if (vote && told.token == 0) {
        told.token = l->ballot;
    }
    return lone_append(l, &told, NULL);
}

enum err lone_append(struct lone *l, const struct raft_msg *msg, const raft_term *terms)
{
    struct raft_entry_info entries[LOG_MAX];
    uint32_t count = 0;
    for (; terms != NULL && terms[count] != 0; count++) {
        bool config = msg->index + count == 0; /* entry 1 founds the group */
        entries[count] =
            (struct raft_entry_info){.term = terms[count],
                                     .size = config ? l->config_size : 8,
                                     .kind = config ? RAFT_ENTRY_CONFIG : RAFT_ENTRY_COMMAND,
                                     .config_bytes = config ? l->config_bytes : NULL};
    }
    struct raft_input in = {
        .kind = RAFT_IN_MSG, .msg = msg, .entries = entries, .entry_count = count};
    return lone_feed(l, &in);
}

enum err lone_ack(struct lone *l, raft_node_id from, raft_index index, uint64_t token)
{
    struct raft_msg msg = lone_msg(RAFT_MSG_APPEND_REPLY, from, lone_view(l).term);
    msg.index = index;
    msg.token = token;
    return lone_tell(l, &msg);
}

enum err lone_propose(struct lone *l, uint32_t count)
{
    struct raft_entry_info entries[LOG_MAX];
    for (uint32_t i = 0; i < count; i++) {
        entries[i] = (struct raft_entry_info){.size = 8, .kind = RAFT_ENTRY_COMMAND};
    }
    struct raft_input in = {
        .kind = RAFT_IN_PROPOSE, .group = 1, .entries = entries, .entry_count = count};
    return lone_feed(l, &in);
}

enum err lone_read(struct lone *l, uint64_t tag)
{
    struct raft_input in = {.kind = RAFT_IN_READ, .group = 1, .tag = tag};
    return lone_feed(l, &in);
}

enum err lone_peer(struct lone *l, raft_node_id node, uint64_t storage_id, bool trusted)
{
    struct raft_input in = {
        .kind = RAFT_IN_PEER_UP, .node = node, .storage_id = storage_id, .trusted = trusted};
    return lone_feed(l, &in);
}

const struct raft_effect *lone_find(const struct lone *l, enum raft_effect_kind kind)
{
    for (size_t i = l->count; i > 0; i--) {
        if (l->effects[i - 1].kind == kind) {
            return &l->effects[i - 1];
        }
    }
    return NULL;
}

const struct raft_effect *lone_sent(const struct lone *l, enum raft_msg_type type, raft_node_id to)
{
    for (size_t i = l->count; i > 0; i--) {
        const struct raft_effect *fx = &l->effects[i - 1];
        if (fx->kind == RAFT_FX_SEND && fx->msg.type == type && fx->msg.to == to) {
            return fx;
        }
    }
    return NULL;
}

uint32_t lone_count_sent(const struct lone *l, enum raft_msg_type type, raft_node_id to)
{
    uint32_t count = 0;
    for (size_t i = 0; i < l->count; i++) {
        const struct raft_effect *fx = &l->effects[i];
        bool is = fx->kind == RAFT_FX_SEND && fx->msg.type == type && fx->msg.to == to;
        count += is ? 1 : 0;
    }
    return count;
}

void lone_lead(struct lone *l)
{
    struct raft_input in = {.kind = RAFT_IN_CAMPAIGN, .group = 1};
    raft_term term = lone_view(l).term + 1;
    assert_int_equal(lone_feed(l, &in), ERR_OK);
    for (uint32_t i = 2; i <= l->voters / 2 + 1; i++) {
        struct raft_msg yes = lone_msg(RAFT_MSG_PREVOTE_REPLY, i, term);
        assert_int_equal(lone_tell(l, &yes), ERR_OK);
    }
    assert_int_equal(lone_view(l).role, RAFT_CANDIDATE);
    lone_durable(l);
    for (uint32_t i = 2; i <= l->voters / 2 + 1; i++) {
        struct raft_msg yes = lone_msg(RAFT_MSG_VOTE_REPLY, i, term);
        assert_int_equal(lone_tell(l, &yes), ERR_OK);
    }
    assert_int_equal(lone_view(l).role, RAFT_LEADER);
    assert_int_equal(lone_view(l).term, term);
    lone_durable(l);
    lone_clear(l);
}
