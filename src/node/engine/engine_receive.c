/* Engine: frames from peers, decoded and fed. Nothing in a frame is trusted: a length or kind that
 * makes no sense is ERR_BAD_INPUT and the connection goes. */
#include "check/check.h"
#include "engine/engine_priv.h"
#include "mem/mem.h"

enum {
    RECEIVED_ENTRIES_MAX = 65536,
    ENTRY_BYTES_MIN = 21,
};

/* The entries of one APPEND, in memory that lives until the feed has returned. */
struct received {
    uint32_t count;
    struct raft_entry_info *infos;
    struct cached_entry *cached;
};

static bool kind_is_known(uint8_t kind)
{
    return kind == RAFT_ENTRY_COMMAND || kind == RAFT_ENTRY_NOOP || kind == RAFT_ENTRY_CONFIG;
}

static void read_entry(struct reader *in, struct raft_entry_info *info, struct cached_entry *cached)
{
    *cached = (struct cached_entry){.term = read_u64(in), .time_ms = read_u64(in)};
    cached->size = read_u32(in);
    uint8_t kind = read_u8(in);
    if (!kind_is_known(kind)) {
        in->failed = true;
        return;
    }
    cached->kind = (enum raft_entry_kind)kind;
    cached->payload = read_raw(in, cached->size).data;
    *info = (struct raft_entry_info){
        .term = cached->term,
        .size = cached->size,
        .kind = cached->kind,
        .config_bytes = kind == RAFT_ENTRY_CONFIG ? cached->payload : NULL,
    };
}

static enum err read_entries(struct reader *in, struct received *into)
{
    into->count = read_u32(in);
    if (!reader_ok(in) || into->count > RECEIVED_ENTRIES_MAX ||
        into->count > reader_left(in) / ENTRY_BYTES_MIN) {
        return ERR_BAD_INPUT;
    }
    if (into->count == 0) {
        return ERR_OK;
    }
    into->infos = mem_alloc_array(into->count, sizeof(*into->infos));
    into->cached = mem_alloc_array(into->count, sizeof(*into->cached));
    for (uint32_t i = 0; i < into->count && reader_ok(in); i++) {
        read_entry(in, &into->infos[i], &into->cached[i]);
    }
    return reader_ok(in) ? ERR_OK : ERR_BAD_INPUT;
}

static enum err receive_append(struct engine *engine, struct engine_group *group,
                               const struct raft_msg *msg, struct reader *in)
{
    struct received received = {0};
    enum err err = read_entries(in, &received);
    /* An append that is dropped comes again, at the leader's pace. */
    if (err == ERR_OK && (received.count == 0 || !engine_is_busy(engine, group))) {
        struct raft_fed fed = {0};
        struct raft_input input = {
            .kind = RAFT_IN_MSG,
            .group = group->id,
            .msg = msg,
            .entries = received.infos,
            .entry_count = received.count,
        };
        err = raft_feed(engine->raft, engine->now, &input, &fed);
        engine_log_changed(engine, group, &fed, received.cached);
    }
    mem_free(received.infos);
    mem_free(received.cached);
    return err;
}

static enum err receive_raft(struct engine *engine, raft_node_id from, struct reader *in)
{
    struct raft_msg msg;
    enum err err = raft_msg_decode(in, &msg);
    if (err != ERR_OK) {
        return err;
    }
    struct engine_group *group = engine_group_of(engine, msg.group);
    if (msg.from != from || msg.to != engine->cfg.self) {
        return ERR_BAD_INPUT;
    }
    if (group == NULL) {
        return ERR_OK; /* a group that this node does not have */
    }
    if (msg.type == RAFT_MSG_APPEND) {
        engine_boot_adopt(engine, engine->peers[from].cluster_id);
        err = receive_append(engine, group, &msg, in);
    } else {
        struct raft_fed fed = {0};
        struct raft_input input = {.kind = RAFT_IN_MSG, .group = msg.group, .msg = &msg};
        err = raft_feed(engine->raft, engine->now, &input, &fed);
        engine_log_changed(engine, group, &fed, NULL);
    }
    /* Full: the message is dropped and comes again. */
    return err == ERR_BAD_INPUT ? err : ERR_OK;
}

static enum err receive_message(struct engine *engine, raft_node_id from, uint8_t kind,
                                struct reader *in)
{
    switch (kind) {
    case FRAME_RAFT:
        return receive_raft(engine, from, in);
    case FRAME_PROPOSE:
        return engine_stream_receive(engine, from, in);
    case FRAME_PROPOSE_STATE:
        return engine_stream_state(engine, from, in);
    case FRAME_BOOTSTRAP:
        return engine_boot_receive(engine, in);
    case FRAME_WENT_BACK:
        return engine_trust_receive(engine, from, in);
    case FRAME_REPAIRING:
        return engine_trust_answer(engine, from, in);
    default:
        return ERR_BAD_INPUT;
    }
}

enum err engine_receive(struct engine *engine, clk_ns now, clk_ms wall_ms, raft_node_id from,
                        struct bytes frame)
{
    CHECK(from > 0 && from < NODE_IDS && from != engine->cfg.self);
    engine->now = now;
    if (wall_ms > engine->wall_ms) {
        engine->wall_ms = wall_ms;
    }
    struct engine_peer *peer = &engine->peers[from];
    if (!peer->up || engine->failed) {
        return ERR_OK;
    }
    struct reader in = reader_of(frame);
    uint8_t version = read_u8(&in);
    uint64_t durable = read_u64(&in);
    if (!reader_ok(&in) || version != 1) {
        return ERR_BAD_INPUT;
    }
    if (peer->trusted && durable > peer->durable_seq) {
        peer->durable_seq = durable;
    }
    while (reader_left(&in) > 0) {
        uint8_t kind = read_u8(&in);
        uint32_t len = read_u32(&in);
        struct reader body = reader_of(read_raw(&in, len));
        if (!reader_ok(&in)) {
            return ERR_BAD_INPUT;
        }
        enum err err = receive_message(engine, from, kind, &body);
        if (err != ERR_OK) {
            return err;
        }
    }
    return ERR_OK;
}
