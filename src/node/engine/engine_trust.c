/* Engine: disks that went back in time.
 *
 * A directory that was replaced by an old copy, or that lost synced writes, has forgotten votes and
 * acknowledgements. The node on it cannot see that; its peers can, as far as they remember more of
 * it than it says of itself. What follows:
 *
 *   peer                                        node
 *   does not count its word   -- WENT_BACK -->  marks all its groups as damaged (core/raft repairs
 *                                               them: no vote, no leadership until then), durably
 *   counts its word again     <-- REPAIRING --
 *
 * So it is the mark on the node's own disk that keeps it from doing harm, and it outlives
 * everybody's memory. What the peer remembered is lowered to what the node has now.
 *
 * WENT_BACK, REPAIRING:  storage id u64 | boot count u64 | durable WAL record u64: what the peer
 * remembers */
#include "check/check.h"
#include "engine/engine_priv.h"

enum {
    MESSAGE_HEADER = 5
};

#define TELL_EVERY CLK_MS(500)

bool engine_trust_lost(const struct engine_peer *peer, const struct engine_hello *hello,
                       struct err_note *note)
{
    if (peer->storage_id != hello->storage_id) {
        return false;
    }
    bool same_start = hello->boot_count == peer->boot_count &&
                      (peer->boot_id == 0 || peer->boot_id == hello->boot_id);
    if (hello->boot_count <= peer->boot_count && !same_start) {
        (void)err_note_set(note, ERR_MISMATCH,
                           "node %u came back with boot count %llu, %llu is known: its disk is old",
                           hello->node, (unsigned long long)hello->boot_count,
                           (unsigned long long)peer->boot_count);
        return true;
    }
    /* Since it started it may have written what hides the gap. */
    uint64_t has = same_start ? hello->durable_seq : hello->start_seq;
    if (has < peer->durable_seq) {
        (void)err_note_set(
            note, ERR_MISMATCH,
            "node %u came back with WAL record %llu, %llu was durable: its disk lost writes",
            hello->node, (unsigned long long)has, (unsigned long long)peer->durable_seq);
        return true;
    }
    return false;
}

static struct bytes put_message(struct engine *engine, enum frame_message kind,
                                const uint64_t numbers[3])
{
    buf_clear(&engine->message);
    struct writer w = writer_of(&engine->message);
    write_u8(&w, (uint8_t)kind);
    write_u32(&w, 0);
    for (size_t i = 0; i < 3; i++) {
        write_u64(&w, numbers[i]);
    }
    CHECK(w.err == ERR_OK);
    put_u32(engine->message.data + 1, (uint32_t)(engine->message.len - MESSAGE_HEADER));
    return buf_bytes(&engine->message);
}

static void tell(struct engine *engine, struct engine_peer *peer)
{
    CHECK(peer->up && !peer->trusted);
    const uint64_t known[3] = {peer->storage_id, peer->boot_count, peer->durable_seq};
    engine_send_now(engine, peer->id, put_message(engine, FRAME_WENT_BACK, known));
    peer->tell_at = engine->now + TELL_EVERY;
}

clk_ns engine_trust_deadline(const struct engine *engine)
{
    clk_ns earliest = CLK_NEVER;
    for (uint32_t i = 0; i < engine->peers_seen_count; i++) {
        const struct engine_peer *peer = &engine->peers[engine->peers_seen[i]];
        if (peer->up && !peer->trusted && peer->tell_at < earliest) {
            earliest = peer->tell_at;
        }
    }
    return earliest;
}

enum err engine_trust_receive(struct engine *engine, raft_node_id from, struct reader *in)
{
    struct engine_peer *peer = &engine->peers[from];
    uint64_t storage_id = read_u64(in);
    uint64_t boot_count = read_u64(in);
    uint64_t durable_seq = read_u64(in);
    if (!reader_ok(in)) {
        return ERR_BAD_INPUT;
    }
    if (storage_id != engine->cfg.storage_id) {
        return ERR_OK;
    }
    peer->told = true;
    peer->told_boot_count = boot_count;
    peer->told_durable_seq = durable_seq;
    if (engine->went_back) {
        return ERR_OK; /* whatever was lost was lost before this start: one repair is for all */
    }
    engine->went_back = true;
    for (uint32_t i = 0; i < engine->cfg.group_count; i++) {
        engine_feed(engine, &(struct raft_input){.kind = RAFT_IN_DAMAGED, .group = i + 1});
    }
    return ERR_OK;
}

void engine_trust_turn(struct engine *engine)
{
    for (uint32_t i = 0; i < engine->peers_seen_count; i++) {
        struct engine_peer *peer = &engine->peers[engine->peers_seen[i]];
        if (peer->up && !peer->trusted && engine->now >= peer->tell_at) {
            tell(engine, peer);
        }
        if (!peer->told || engine->has_held) {
            continue; /* the marks may be behind the write that is held */
        }
        peer->told = false;
        const uint64_t known[3] = {engine->cfg.storage_id, peer->told_boot_count,
                                   peer->told_durable_seq};
        engine_send_gated(engine, peer->id, engine->written,
                          put_message(engine, FRAME_REPAIRING, known));
    }
}

enum err engine_trust_answer(struct engine *engine, raft_node_id from, struct reader *in)
{
    struct engine_peer *peer = &engine->peers[from];
    uint64_t storage_id = read_u64(in);
    uint64_t boot_count = read_u64(in);
    uint64_t durable_seq = read_u64(in);
    if (!reader_ok(in)) {
        return ERR_BAD_INPUT;
    }
    bool ours = storage_id == peer->storage_id && boot_count == peer->boot_count &&
                durable_seq == peer->durable_seq && storage_id == peer->hello.storage_id;
    if (peer->trusted || !ours) {
        return ERR_OK;
    }
    peer->trusted = true;
    peer->boot_count = peer->hello.boot_count;
    peer->boot_id = peer->hello.boot_id;
    peer->durable_seq = peer->hello.durable_seq;
    engine_feed(engine, &(struct raft_input){.kind = RAFT_IN_PEER_UP,
                                             .node = from,
                                             .storage_id = storage_id,
                                             .trusted = true});
    return ERR_OK;
}
