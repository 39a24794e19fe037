/* Engine: messages to peers. One frame per peer and turn, gates, entries that only the WAL still
 * has.
 *
 * Frame:    version u8 = 1 | durable WAL record of the sender u64 | messages
 * Message:  kind u8 | length u32 | body          (little-endian)
 *   RAFT           struct raft_msg (RAFT_MSG_BYTES) | for APPEND: count u32, then per entry
 *                  term u64 | time u64 | size u32 | kind u8 | payload
 *   the others:    engine_stream.c, engine_boot.c, engine_trust.c */
#include "check/check.h"
#include "engine/engine_priv.h"
#include "mem/mem.h"

#include <string.h>

enum {
    FRAME_VERSION = 1,
    FRAME_HEADER_BYTES = 9,
    MESSAGE_HEADER_BYTES = 5,
    ENTRY_HEADER_BYTES = 21,
    GATE_HEADER_BYTES = 12,
};

/* ---- frames ---------------------------------------------------------------------------------- */

static void hand_out(struct engine *engine, struct engine_peer *peer)
{
    if (peer->frame.len > FRAME_HEADER_BYTES) {
        put_u64(peer->frame.data + 1, wal_durable_sequence(engine->wal));
        (void)engine->env.send(engine->env.self, peer->id, buf_bytes(&peer->frame));
    }
    buf_clear(&peer->frame);
}

void engine_send_now(struct engine *engine, raft_node_id to, struct bytes message)
{
    struct engine_peer *peer = &engine->peers[to];
    if (!peer->up) {
        return;
    }
    if (peer->frame.len + message.len > FRAME_FLUSH_BYTES && peer->frame.len > 0) {
        hand_out(engine, peer);
    }
    if (peer->frame.len == 0) {
        uint8_t header[FRAME_HEADER_BYTES] = {FRAME_VERSION};
        if (buf_append(&peer->frame, bytes_of(header, sizeof(header))) != ERR_OK) {
            return;
        }
    }
    if (buf_append(&peer->frame, message) != ERR_OK) {
        return; /* larger than any frame: treated as lost, the core will try otherwise */
    }
}

void engine_send_drop(struct engine_peer *peer)
{
    buf_clear(&peer->frame);
    buf_clear(&peer->gated);
    struct list *link = NULL;
    while ((link = list_pop_front(&peer->fetches)) != NULL) {
        mem_free(CONTAINER_OF(link, struct fetch, link));
    }
    peer->fetch_count = 0;
    peer->read_void = peer->reading;
}

static void gate(struct engine_peer *peer, uint64_t after_wal_seq, struct bytes message)
{
    uint8_t header[GATE_HEADER_BYTES];
    put_u64(header, after_wal_seq);
    put_u32(header + 8, (uint32_t)message.len);
    if (buf_reserve(&peer->gated, sizeof(header) + message.len) != ERR_OK) {
        return; /* the disk is far behind: dropping an acknowledgement is safe */
    }
    CHECK(buf_append(&peer->gated, bytes_of(header, sizeof(header))) == ERR_OK);
    CHECK(buf_append(&peer->gated, message) == ERR_OK);
}

void engine_send_gated(struct engine *engine, raft_node_id to, uint64_t after_wal_seq,
                       struct bytes message)
{
    if (after_wal_seq <= engine->durable) {
        engine_send_now(engine, to, message);
    } else if (engine->peers[to].up) {
        gate(&engine->peers[to], after_wal_seq, message);
    }
}

static void open_gates(struct engine *engine, struct engine_peer *peer)
{
    size_t at = 0;
    while (at < peer->gated.len && get_u64(peer->gated.data + at) <= engine->durable) {
        size_t len = get_u32(peer->gated.data + at + 8);
        engine_send_now(engine, peer->id, bytes_of(peer->gated.data + at + GATE_HEADER_BYTES, len));
        at += GATE_HEADER_BYTES + len;
    }
    if (at > 0) {
        buf_consume(&peer->gated, at);
    }
}

void engine_send_frames(struct engine *engine)
{
    for (uint32_t i = 0; i < engine->peers_seen_count; i++) {
        struct engine_peer *peer = &engine->peers[engine->peers_seen[i]];
        open_gates(engine, peer);
        hand_out(engine, peer);
    }
}

/* ---- appends --------------------------------------------------------------------------------- */

static void begin_message(struct engine *engine, const struct raft_msg *msg)
{
    buf_clear(&engine->message);
    struct writer w = writer_of(&engine->message);
    write_u8(&w, FRAME_RAFT);
    write_u32(&w, 0); /* the length, by end_message */
    enum err err = raft_msg_encode(msg, &engine->message);
    CHECK(w.err == ERR_OK && err == ERR_OK);
}

static struct bytes end_message(struct engine *engine)
{
    put_u32(engine->message.data + 1, (uint32_t)(engine->message.len - MESSAGE_HEADER_BYTES));
    return buf_bytes(&engine->message);
}

static void write_entry(struct writer *w, raft_term term, clk_ms time_ms, enum raft_entry_kind kind,
                        struct bytes payload)
{
    write_u64(w, term);
    write_u64(w, time_ms);
    write_u32(w, (uint32_t)payload.len);
    write_u8(w, (uint8_t)kind);
    write_raw(w, payload);
}

/* Encodes entries from the cache within the budget, at least one; tells how far it got. */
static void write_cached(struct engine *engine, const struct engine_group *group,
                         const struct raft_effect *effect, raft_index *ret_last,
                         uint64_t *ret_bytes)
{
    struct writer w = writer_of(&engine->message);
    size_t count_at = engine->message.len;
    write_u32(&w, 0);
    uint64_t bytes = 0;
    raft_index index = effect->first;
    for (; index <= effect->last; index++) {
        const struct cached_entry *entry = engine_cache_at(&group->cache, index);
        CHECK(entry != NULL);
        if (index > effect->first && bytes + entry->size > effect->budget_bytes) {
            break;
        }
        write_entry(&w, entry->term, entry->time_ms, entry->kind,
                    bytes_of(entry->payload, entry->size));
        bytes += entry->size;
    }
    CHECK(w.err == ERR_OK);
    put_u32(engine->message.data + count_at, (uint32_t)(index - effect->first));
    *ret_last = index - 1;
    *ret_bytes = bytes;
}

/* ---- entries from the WAL -------------------------------------------------------------------- */

static void fetch_next(struct engine_peer *peer);

/* The message of an append whose entries were read. The entries belong to the message only while
 * this node still leads in the message's term: a leader never changes its own log. */
static void send_fetched(struct engine_peer *peer, const struct fetch *fetch)
{
    struct engine *engine = peer->engine;
    struct raft_view view;
    enum err err = raft_view(engine->raft, fetch->msg.group, &view);
    CHECK(err == ERR_OK);
    if (!peer->up || view.role != RAFT_LEADER || view.term != fetch->msg.term) {
        return;
    }
    begin_message(engine, &fetch->msg);
    struct writer w = writer_of(&engine->message);
    write_u32(&w, (uint32_t)peer->read.count);
    for (size_t i = 0; i < peer->read.count; i++) {
        const struct wal_entry *entry = &peer->read_entries[i];
        write_entry(&w, entry->term, entry->time_ms, entry->kind, entry->payload);
    }
    CHECK(w.err == ERR_OK);
    engine_send_now(engine, peer->id, end_message(engine));
}

/* What is read here is not in the cache, so it is applied (engine.h, invariant 1) and a snapshot
 * has it. The follower asks again with the next heartbeats, until that snapshot is there. */
static void note_damage(struct engine *engine, const struct wal_damage *damage)
{
    struct engine_group *group = engine_group_of(engine, damage->group);
    if (group == NULL || group->damaged > 0 || damage->index <= group->snapshot_index) {
        return;
    }
    group->damaged = damage->index;
    engine->env.damage_met(engine->env.self, damage);
}

static void on_read(struct wal_read *read, enum err err)
{
    struct engine_peer *peer = CONTAINER_OF(read, struct engine_peer, read);
    bool wanted = !peer->read_void;
    peer->reading = false;
    peer->read_void = false;
    if (!wanted) {
        fetch_next(peer); /* the connection broke meanwhile */
        return;
    }
    struct list *link = list_pop_front(&peer->fetches);
    CHECK(link != NULL);
    struct fetch *fetch = CONTAINER_OF(link, struct fetch, link);
    peer->fetch_count--;
    if (err == ERR_TOO_LARGE) {
        peer->read_buffer = mem_resize(peer->read_buffer, read->needed);
        read->buffer_bytes = read->needed;
        list_push_front(&peer->fetches, &fetch->link);
        peer->fetch_count++;
    } else {
        CHECK(fetch->first == read->first && fetch->msg.group == read->group);
        if (err == ERR_OK) {
            send_fetched(peer, fetch);
        } else if (err == ERR_CORRUPT) {
            note_damage(peer->engine, &read->damage);
        }
        mem_free(fetch);
    }
    fetch_next(peer);
}

static void fetch_next(struct engine_peer *peer)
{
    if (peer->reading) {
        return;
    }
    while (!list_empty(&peer->fetches)) {
        struct fetch *fetch = CONTAINER_OF(peer->fetches.next, struct fetch, link);
        if (peer->read_buffer == NULL) {
            peer->read_buffer = mem_alloc(FETCH_BUFFER_BYTES);
            peer->read.buffer_bytes = FETCH_BUFFER_BYTES;
            peer->read_entries = mem_alloc_array(FETCH_ENTRIES_MAX, sizeof(*peer->read_entries));
        }
        peer->read.group = fetch->msg.group;
        peer->read.first = fetch->first;
        peer->read.last = fetch->last;
        peer->read.buffer = peer->read_buffer;
        peer->read.entries = peer->read_entries;
        peer->read.entries_max = FETCH_ENTRIES_MAX;
        peer->read.on_done = on_read;
        if (wal_read_start(peer->engine->wal, &peer->read) == ERR_OK) {
            peer->reading = true;
            return;
        }
        list_remove(&fetch->link);
        peer->fetch_count--;
        mem_free(fetch); /* lost: the next probe tries again */
    }
}

/* True when the entries are in the log, so that reading them was begun or the message counts as
 * lost. */
static bool fetch(struct engine_peer *peer, const struct raft_effect *effect, raft_index last)
{
    raft_index first_kept = 0;
    raft_index last_kept = 0;
    enum err err = wal_log_range(peer->engine->wal, effect->group, &first_kept, &last_kept);
    if (err != ERR_OK || effect->first < first_kept) {
        return false;
    }
    if (peer->up && peer->fetch_count < FETCHES_MAX) {
        struct fetch *fetch = mem_alloc(sizeof(*fetch));
        *fetch = (struct fetch){.msg = effect->msg, .first = effect->first, .last = last};
        list_push_back(&peer->fetches, &fetch->link);
        peer->fetch_count++;
        fetch_next(peer);
    }
    return true;
}

/* ---- one effect ------------------------------------------------------------------------------ */

/* As many entries as one read may give; what does not fit its buffer counts as lost on the way. */
static raft_index fetch_last(const struct raft_effect *effect)
{
    raft_index last = effect->first + FETCH_ENTRIES_MAX - 1;
    return last < effect->last ? last : effect->last;
}

static void send_append(struct engine *engine, struct engine_group *group,
                        const struct raft_effect *effect)
{
    struct engine_peer *peer = &engine->peers[effect->msg.to];
    raft_index last = 0;
    uint64_t bytes = 0;
    if (engine_cache_at(&group->cache, effect->first) == NULL || peer->fetch_count > 0) {
        last = fetch_last(effect);
        if (!fetch(peer, effect, last)) {
            last = effect->first - 1;
        }
        raft_sent(engine->raft, group->id, peer->id, last,
                  last < effect->first ? 0 : FETCH_BUFFER_BYTES);
        return;
    }
    begin_message(engine, &effect->msg);
    write_cached(engine, group, effect, &last, &bytes);
    engine_send_now(engine, peer->id, end_message(engine));
    raft_sent(engine->raft, group->id, peer->id, last, bytes);
}

void engine_send_msg(struct engine *engine, const struct raft_effect *effect)
{
    CHECK(effect->msg.to > 0 && effect->msg.to < NODE_IDS);
    struct engine_group *group = engine_group_of(engine, effect->group);
    if (effect->msg.type == RAFT_MSG_APPEND && effect->first > 0) {
        CHECK(effect->after_wal_seq == 0);
        send_append(engine, group, effect);
        return;
    }
    begin_message(engine, &effect->msg);
    if (effect->msg.type == RAFT_MSG_APPEND) {
        struct writer w = writer_of(&engine->message);
        write_u32(&w, 0);
        CHECK(w.err == ERR_OK);
    }
    engine_send_gated(engine, effect->msg.to, effect->after_wal_seq, end_message(engine));
}
