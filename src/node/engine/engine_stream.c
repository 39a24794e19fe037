/* Engine: proposer streams. See engine.h for the rules.
 *
 * At the origin:
 *                 engine_propose           commit seen here
 *     [ first ........ to_send ........ next )
 *       sent to the target   not yet
 *   A new target (leader, term) or a reconnect puts to_send back to first. The target answers with
 *   the number that it wants next; when nothing has moved for a while it is asked.
 *
 * At the leader: accepted[node].next is the only number that is appended. It is established once
 * per term, from the applied state, after the no-op of the term is applied: everything that an
 * earlier leader appended and that survived is then counted.
 *
 * Incarnations make numbers unique for ever, although a node may come back on an empty disk, or on
 * an old copy of it, and count its starts anew: a part is random, and a leader that knows of a
 * higher one says so; then the stream begins again with a still higher one, and what was pending is
 * given up.
 *
 * PROPOSE:        group u32 | incarnation u64 | sequence of the first u64 | count u32 | count x
 * (size u32, command) PROPOSE_STATE:  group u32 | incarnation u64 | sequence wanted u64 | busy
 * u8 */
#include "check/check.h"
#include "engine/engine_priv.h"
#include "machine/machine.h"
#include "map/map.h"
#include "mem/mem.h"

#include <string.h>

enum {
    RING_START = 256,
    PROPOSE_ENTRIES_MAX = 1024,
    PROPOSE_BYTES_MAX = 512 * 1024,
    FRAME_HEADER = 5,
    PENDING_COST = sizeof(struct pending),
};

#define ASK_AFTER    CLK_MS(100)
#define RETRY_AFTER  CLK_MS(5)
#define EXPIRE_EVERY CLK_MS(50)

void engine_stream_init(struct engine *engine, struct stream *stream)
{
    uint64_t random = hash_u64(engine->cfg.seed ^ hash_u64(engine->cfg.storage_id));
    *stream = (struct stream){.incarnation = engine->cfg.boot_count << 32 | (random & UINT32_MAX),
                              .ring_size = RING_START,
                              .first = 1,
                              .next = 1,
                              .to_send = 1,
                              .ask_at = CLK_NEVER,
                              .retry_at = 0,
                              .expire_at = CLK_NEVER};
    stream->ring = mem_alloc_array(stream->ring_size, sizeof(*stream->ring));
    engine_fifo_init(&stream->commands);
}

void engine_stream_done(struct stream *stream)
{
    mem_free(stream->ring);
    stream->ring = NULL;
    if (stream->next > 0) {
        engine_fifo_done(&stream->commands);
    }
}

static struct pending *at(const struct stream *stream, uint64_t sequence)
{
    CHECK(sequence >= stream->first && sequence < stream->next);
    return &stream->ring[sequence & (stream->ring_size - 1)];
}

static void grow(struct stream *stream)
{
    struct pending *bigger = mem_alloc_array(stream->ring_size * 2, sizeof(*bigger));
    for (uint64_t s = stream->first; s < stream->next; s++) {
        bigger[s & (stream->ring_size * 2 - 1)] = *at(stream, s);
    }
    mem_free(stream->ring);
    stream->ring = bigger;
    stream->ring_size *= 2;
}

/* ---- proposing ------------------------------------------------------------------------------- */

static enum err encode(struct engine *engine, const struct engine_group *group,
                       const struct engine_proposal *proposal)
{
    struct machine_command command = {
        .kind = proposal->kind,
        .proposer = {.node = engine->cfg.self,
                     .incarnation = group->stream.incarnation,
                     .sequence = group->stream.next},
        .principal = proposal->principal,
        .body = proposal->body,
    };
    if (proposal->trace_id != NULL) {
        memcpy(command.trace, proposal->trace_id, sizeof(command.trace));
    }
    buf_clear(&engine->message);
    return machine_command_encode(&command, &engine->message);
}

enum err engine_propose(struct engine *engine, clk_ns now, const struct engine_proposal *proposal)
{
    engine->now = now;
    CHECK(proposal->tag != 0);
    struct engine_group *group = engine_group_of(engine, proposal->group);
    CHECK(group != NULL);
    struct stream *stream = &group->stream;
    if (stream->next - stream->first >= ENGINE_PENDING_MAX ||
        stream->bytes + proposal->body.len > engine->cfg.pending_bytes_max) {
        return ERR_FULL;
    }
    enum err err = encode(engine, group, proposal);
    if (err != ERR_OK) {
        return err;
    }
    if (stream->next - stream->first == stream->ring_size) {
        grow(stream);
    }
    uint64_t sequence = stream->next++;
    size_t size = engine->message.len;
    uint8_t *copy = engine_fifo_alloc(&stream->commands, size, sequence);
    memcpy(copy, engine->message.data, size);
    *at(stream, sequence) = (struct pending){.tag = proposal->tag,
                                             .deadline = proposal->deadline,
                                             .command = copy,
                                             .size = (uint32_t)size};
    stream->bytes += size + PENDING_COST;
    if (stream->expire_at == CLK_NEVER) {
        stream->expire_at = now + EXPIRE_EVERY;
    }
    return ERR_OK;
}

static void drop_first(struct stream *stream)
{
    stream->bytes -= at(stream, stream->first)->size + PENDING_COST;
    engine_fifo_release(&stream->commands, stream->first);
    stream->first++;
    if (stream->to_send < stream->first) {
        stream->to_send = stream->first;
    }
    if (stream->first == stream->next) {
        stream->expire_at = CLK_NEVER;
        stream->ask_at = CLK_NEVER;
    }
}

uint64_t engine_stream_committed(struct engine *engine, struct engine_group *group,
                                 struct bytes command)
{
    struct machine_command decoded;
    if (machine_command_decode(command, &decoded) != ERR_OK ||
        decoded.proposer.node != engine->cfg.self ||
        decoded.proposer.incarnation != group->stream.incarnation) {
        return 0;
    }
    struct stream *stream = &group->stream;
    uint64_t sequence = decoded.proposer.sequence;
    if (sequence < stream->first) {
        return 0;
    }
    /* The leader appends in order: everything before this one was committed before it. */
    CHECK(sequence == stream->first);
    uint64_t tag = at(stream, sequence)->tag;
    drop_first(stream);
    if (stream->ask_at != CLK_NEVER) {
        stream->ask_at = engine->now + ASK_AFTER;
    }
    return tag;
}

/* ---- deadlines ------------------------------------------------------------------------------- */

/* Its number must still be used, by a command that does nothing. */
static void withdraw(struct engine *engine, struct engine_group *group, uint64_t sequence)
{
    struct pending *pending = at(&group->stream, sequence);
    struct machine_command command = {.kind = MACHINE_CMD_CANCELED,
                                      .proposer = {.node = engine->cfg.self,
                                                   .incarnation = group->stream.incarnation,
                                                   .sequence = sequence}};
    buf_clear(&engine->message);
    enum err err = machine_command_encode(&command, &engine->message);
    CHECK(err == ERR_OK);
    uint8_t *copy = engine_fifo_alloc(&group->stream.commands, engine->message.len, sequence);
    memcpy(copy, engine->message.data, engine->message.len);
    group->stream.bytes -= pending->size;
    pending->command = copy;
    pending->size = (uint32_t)engine->message.len;
    group->stream.bytes += pending->size;
}

static void expire(struct engine *engine, struct engine_group *group)
{
    struct stream *stream = &group->stream;
    if (engine->now < stream->expire_at) {
        return;
    }
    stream->expire_at = engine->now + EXPIRE_EVERY;
    for (uint64_t s = stream->first; s < stream->next; s++) {
        struct pending *pending = at(stream, s);
        if (pending->tag == 0 || pending->deadline > engine->now) {
            continue;
        }
        uint64_t tag = pending->tag;
        bool sent = pending->sent;
        pending->tag = 0;
        if (!sent) {
            withdraw(engine, group, s);
        }
        engine->env.proposal_failed(engine->env.self, tag, sent ? ERR_UNKNOWN : ERR_NO_LEADER);
    }
}

/* ---- giving up ------------------------------------------------------------------------------- */

/* The proposals before `upto` will not be answered by an entry. */
static void give_up(struct engine *engine, struct engine_group *group, uint64_t upto)
{
    struct stream *stream = &group->stream;
    while (stream->first < upto) {
        const struct pending *pending = at(stream, stream->first);
        uint64_t tag = pending->tag;
        drop_first(stream);
        if (tag != 0) {
            engine->env.proposal_failed(engine->env.self, tag, ERR_UNKNOWN);
        }
    }
}

/* The snapshot that was installed has counted some of the pending proposals; their results went
 * into it unseen. */
static void drop_counted(struct engine *engine, struct engine_group *group)
{
    struct stream *stream = &group->stream;
    uint64_t incarnation = 0;
    uint64_t sequence = 0;
    group->replaced = false;
    engine->env.proposer_last(engine->env.self, group->id, engine->cfg.self, &incarnation,
                              &sequence);
    if (incarnation == stream->incarnation && sequence >= stream->first) {
        CHECK(sequence < stream->next);
        give_up(engine, group, sequence + 1);
    }
}

/* Nobody has taken anything of this incarnation, and nobody will. */
static void begin_again(struct engine *engine, struct engine_group *group)
{
    struct stream *stream = &group->stream;
    give_up(engine, group, stream->next);
    stream->incarnation = stream->overtaken + 1;
    stream->overtaken = 0;
    stream->first = 1;
    stream->next = 1;
    stream->to_send = 1;
    stream->target = 0;
}

/* ---- sending --------------------------------------------------------------------------------- */

static void begin(struct engine *engine, enum frame_message kind)
{
    buf_clear(&engine->message);
    struct writer w = writer_of(&engine->message);
    write_u8(&w, (uint8_t)kind);
    write_u32(&w, 0);
    CHECK(w.err == ERR_OK);
}

static struct bytes end(struct engine *engine)
{
    put_u32(engine->message.data + 1, (uint32_t)(engine->message.len - FRAME_HEADER));
    return buf_bytes(&engine->message);
}

/* One PROPOSE with commands from to_send on; without any it is the question what the leader has. */
static void send_proposals(struct engine *engine, struct engine_group *group)
{
    struct stream *stream = &group->stream;
    begin(engine, FRAME_PROPOSE);
    struct writer w = writer_of(&engine->message);
    write_u32(&w, group->id);
    write_u64(&w, stream->incarnation);
    write_u64(&w, stream->to_send);
    size_t count_at = engine->message.len;
    write_u32(&w, 0);
    uint32_t count = 0;
    while (stream->to_send < stream->next && count < PROPOSE_ENTRIES_MAX &&
           engine->message.len < PROPOSE_BYTES_MAX) {
        struct pending *pending = at(stream, stream->to_send);
        write_u32(&w, pending->size);
        write_raw(&w, bytes_of(pending->command, pending->size));
        pending->sent = true;
        stream->to_send++;
        count++;
    }
    CHECK(w.err == ERR_OK);
    put_u32(engine->message.data + count_at, count);
    engine_send_now(engine, stream->target, end(engine));
}

static void choose_target(struct engine *engine, struct engine_group *group,
                          const struct raft_view *view)
{
    struct stream *stream = &group->stream;
    if (stream->target == view->leader && stream->target_term == view->term) {
        return;
    }
    stream->target = view->leader;
    stream->target_term = view->term;
    stream->to_send = stream->first;
    stream->ask_at = engine->now + ASK_AFTER;
    stream->retry_at = 0;
}

static void send_to_leader(struct engine *engine, struct engine_group *group)
{
    struct stream *stream = &group->stream;
    if (engine->now < stream->retry_at || !engine->peers[stream->target].up) {
        return;
    }
    if (engine->now >= stream->ask_at) {
        /* Nothing has moved: a frame may be lost. Ask, and let the answer say where to go on. */
        uint64_t to_send = stream->to_send;
        uint64_t next = stream->next;
        stream->to_send = stream->next;
        send_proposals(engine, group);
        stream->to_send = to_send;
        CHECK(stream->next == next);
        stream->ask_at = engine->now + ASK_AFTER;
    }
    while (stream->to_send < stream->next) {
        send_proposals(engine, group);
    }
    if (stream->ask_at == CLK_NEVER) {
        stream->ask_at = engine->now + ASK_AFTER;
    }
}

/* ---- accepting ------------------------------------------------------------------------------- */

/* What this leader wants next of a proposer; false while it cannot know. */
static bool expects(struct engine *engine, struct engine_group *group, raft_node_id node,
                    uint64_t incarnation, struct accepted **ret_accepted)
{
    struct raft_view view;
    enum err err = raft_view(engine->raft, group->id, &view);
    CHECK(err == ERR_OK);
    if (view.role != RAFT_LEADER || !view.leads_safely ||
        raft_term_at(engine->raft, group->id, group->applied) != view.term) {
        return false;
    }
    struct accepted *accepted = &group->accepted[node];
    if (accepted->term != view.term) {
        uint64_t last_incarnation = 0;
        uint64_t last_sequence = 0;
        engine->env.proposer_last(engine->env.self, group->id, node, &last_incarnation,
                                  &last_sequence);
        *accepted = (struct accepted){
            .incarnation = last_incarnation, .next = last_sequence + 1, .term = view.term};
    }
    if (incarnation > accepted->incarnation) {
        accepted->incarnation = incarnation;
        accepted->next = 1;
    }
    *ret_accepted = accepted;
    return true;
}

static enum err append_command(struct engine *engine, struct engine_group *group,
                               struct bytes command)
{
    clk_ms time_ms = engine->wall_ms > group->last_time_ms ? engine->wall_ms : group->last_time_ms;
    struct raft_entry_info info = {.size = (uint32_t)command.len, .kind = RAFT_ENTRY_COMMAND};
    struct cached_entry cached = {
        .time_ms = time_ms, .payload = command.data, .size = info.size, .kind = RAFT_ENTRY_COMMAND};
    struct raft_input input = {
        .kind = RAFT_IN_PROPOSE, .group = group->id, .entries = &info, .entry_count = 1};
    struct raft_fed fed = {0};
    if (engine_is_busy(engine, group)) {
        return ERR_FULL;
    }
    enum err err = raft_feed(engine->raft, engine->now, &input, &fed);
    if (err == ERR_OK) {
        engine_log_changed(engine, group, &fed, &cached);
    }
    return err;
}

static void accept_own(struct engine *engine, struct engine_group *group)
{
    struct stream *stream = &group->stream;
    struct accepted *accepted = NULL;
    if (stream->first == stream->next || engine->now < stream->retry_at ||
        !expects(engine, group, engine->cfg.self, stream->incarnation, &accepted)) {
        return;
    }
    if (accepted->incarnation > stream->incarnation) {
        stream->overtaken = accepted->incarnation;
        begin_again(engine, group);
        return;
    }
    if (accepted->next < stream->first) {
        return; /* cannot be: what is dropped here was committed */
    }
    stream->to_send = accepted->next;
    while (stream->to_send < stream->next) {
        struct pending *pending = at(stream, stream->to_send);
        if (append_command(engine, group, bytes_of(pending->command, pending->size)) != ERR_OK) {
            stream->retry_at = engine->now + RETRY_AFTER;
            break;
        }
        pending->sent = true;
        stream->to_send++;
        accepted->next++;
    }
}

static void answer(struct engine *engine, const struct engine_group *group, raft_node_id to,
                   const struct accepted *accepted, bool busy)
{
    begin(engine, FRAME_PROPOSE_STATE);
    struct writer w = writer_of(&engine->message);
    write_u32(&w, group->id);
    write_u64(&w, accepted->incarnation);
    write_u64(&w, accepted->next);
    write_u8(&w, busy ? 1 : 0);
    CHECK(w.err == ERR_OK);
    engine_send_now(engine, to, end(engine));
}

/* Who was too early sends again at once, without an ASK_AFTER of silence. */
static void answer_too_early(struct engine *engine, struct engine_group *group)
{
    struct accepted *accepted = NULL;
    for (raft_node_id node = 1; node < NODE_IDS; node++) {
        uint64_t incarnation = group->too_early[node];
        if (incarnation == 0) {
            continue;
        }
        if (!expects(engine, group, node, incarnation, &accepted)) {
            return;
        }
        answer(engine, group, node, accepted, false);
        group->too_early[node] = 0;
    }
    group->any_too_early = false;
}

void engine_stream_turn(struct engine *engine, struct engine_group *group)
{
    struct stream *stream = &group->stream;
    if (group->any_too_early) {
        answer_too_early(engine, group);
    }
    if (group->replaced) {
        drop_counted(engine, group);
    }
    if (stream->overtaken > stream->incarnation) {
        begin_again(engine, group);
    }
    if (stream->first == stream->next) {
        return;
    }
    expire(engine, group);
    if (stream->retry_at <= engine->now) {
        stream->retry_at = 0;
    }
    struct raft_view view;
    enum err err = raft_view(engine->raft, group->id, &view);
    CHECK(err == ERR_OK);
    choose_target(engine, group, &view);
    if (view.role == RAFT_LEADER) {
        accept_own(engine, group);
    } else if (view.leader != 0) {
        send_to_leader(engine, group);
    }
    if (stream->ask_at <= engine->now) {
        stream->ask_at = engine->now + ASK_AFTER; /* nobody to ask: look again later */
    }
}

clk_ns engine_stream_deadline(const struct engine_group *group)
{
    const struct stream *stream = &group->stream;
    if (stream->first == stream->next) {
        return CLK_NEVER;
    }
    clk_ns earliest = stream->expire_at < stream->ask_at ? stream->expire_at : stream->ask_at;
    if (stream->to_send < stream->next && stream->retry_at > 0 && stream->retry_at < earliest) {
        earliest = stream->retry_at;
    }
    return earliest;
}

/* ---- messages -------------------------------------------------------------------------------- */

enum err engine_stream_receive(struct engine *engine, raft_node_id from, struct reader *in)
{
    struct engine_group *group = engine_group_of(engine, read_u32(in));
    uint64_t incarnation = read_u64(in);
    uint64_t sequence = read_u64(in);
    uint32_t count = read_u32(in);
    if (!reader_ok(in) || sequence == 0 || count > PROPOSE_ENTRIES_MAX) {
        return ERR_BAD_INPUT;
    }
    struct accepted *accepted = NULL;
    if (group == NULL) {
        return ERR_OK;
    }
    if (!expects(engine, group, from, incarnation, &accepted)) {
        /* Not (yet) for this node to answer. The origin may know who leads before the leader
         * knows what it expects: it is told then, or asks again. */
        group->too_early[from] = incarnation;
        group->any_too_early = true;
        return ERR_OK;
    }
    if (incarnation < accepted->incarnation) {
        answer(engine, group, from, accepted, false);
        return ERR_OK;
    }
    bool busy = false;
    bool gap = sequence > accepted->next;
    for (uint32_t i = 0; i < count && !busy && !gap; i++, sequence++) {
        uint32_t size = read_u32(in);
        struct bytes command = read_raw(in, size);
        if (!reader_ok(in)) {
            return ERR_BAD_INPUT;
        }
        if (sequence == accepted->next) {
            busy = append_command(engine, group, command) != ERR_OK;
            accepted->next += busy ? 0 : 1;
        }
    }
    if (busy || gap || count == 0) {
        answer(engine, group, from, accepted, busy);
    }
    return ERR_OK;
}

enum err engine_stream_state(struct engine *engine, raft_node_id from, struct reader *in)
{
    struct engine_group *group = engine_group_of(engine, read_u32(in));
    uint64_t incarnation = read_u64(in);
    uint64_t wanted = read_u64(in);
    uint8_t busy = read_u8(in);
    if (!reader_ok(in)) {
        return ERR_BAD_INPUT;
    }
    if (group == NULL || from != group->stream.target) {
        return ERR_OK;
    }
    struct stream *stream = &group->stream;
    if (incarnation > stream->incarnation) {
        stream->overtaken = incarnation;
        return ERR_OK;
    }
    if (incarnation < stream->incarnation || wanted > stream->next) {
        return ERR_OK;
    }
    stream->to_send = wanted < stream->first ? stream->first : wanted;
    if (busy != 0) {
        stream->retry_at = engine->now + RETRY_AFTER;
    }
    return ERR_OK;
}
