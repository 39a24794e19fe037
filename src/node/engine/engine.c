/* Engine: life cycle, inputs and turns. See engine.h for what it is, engine_priv.h for its
 * parts. */
#include "engine/engine.h"

#include "check/check.h"
#include "engine/engine_priv.h"
#include "map/map.h"
#include "mem/mem.h"

#include <stdio.h>
#include <string.h>

enum {
    DEFAULT_INFLIGHT_MSGS = 256,
    DEFAULT_INFLIGHT_BYTES = 4 * 1024 * 1024,
    DEFAULT_READS = 4096,
};

static void cfg_defaults(struct engine_cfg *cfg)
{
    if (cfg->heartbeat == 0) {
        cfg->heartbeat = CLK_MS(50);
        cfg->election_min = CLK_MS(300);
        cfg->election_max = CLK_MS(600);
    }
    if (cfg->inflight_msgs_max == 0) {
        cfg->inflight_msgs_max = DEFAULT_INFLIGHT_MSGS;
    }
    if (cfg->inflight_bytes_max == 0) {
        cfg->inflight_bytes_max = DEFAULT_INFLIGHT_BYTES;
    }
    if (cfg->cache_bytes_max == 0) {
        cfg->cache_bytes_max = 4u * 1024 * 1024;
    }
    if (cfg->pending_bytes_max == 0) {
        cfg->pending_bytes_max = 32u * 1024 * 1024;
    }
    if (cfg->unapplied_bytes_max == 0) {
        cfg->unapplied_bytes_max = 64u * 1024 * 1024;
    }
    if (cfg->snapshot_log_bytes == 0) {
        cfg->snapshot_log_bytes = 64u * 1024 * 1024;
    }
}

static struct raft_host *new_host(const struct engine_cfg *cfg)
{
    struct raft_host_cfg raft_cfg = {
        .self = cfg->self,
        .storage_id = cfg->storage_id,
        .boot_count = cfg->boot_count,
        .groups_max = ENGINE_GROUPS_MAX,
        .heartbeat = cfg->heartbeat,
        .election_min = cfg->election_min,
        .election_max = cfg->election_max,
        .inflight_msgs_max = cfg->inflight_msgs_max,
        .inflight_bytes_max = cfg->inflight_bytes_max,
        .reads_max = DEFAULT_READS,
        .uncommitted_bytes_max = cfg->pending_bytes_max,
        .seed = cfg->seed,
    };
    return raft_host_new(&raft_cfg);
}

static void init_peers(struct engine *engine)
{
    for (uint32_t i = 0; i < NODE_IDS; i++) {
        struct engine_peer *peer = &engine->peers[i];
        peer->engine = engine;
        peer->id = i;
        buf_init(&peer->frame, 2u * ENGINE_FRAME_MAX);
        buf_init(&peer->gated, 2u * ENGINE_FRAME_MAX);
        list_init(&peer->fetches);
    }
}

enum err engine_open(const struct engine_cfg *cfg, const struct engine_env *env,
                     const struct engine_start *start, struct engine **ret_engine,
                     struct err_note *note)
{
    CHECK(cfg->self > 0 && cfg->self < NODE_IDS);
    CHECK(cfg->group_count > 0 && cfg->group_count <= ENGINE_GROUPS_MAX);
    struct engine *engine = mem_alloc(sizeof(*engine));
    engine->cfg = *cfg;
    engine->env = *env;
    engine->wal = start->wal;
    engine->now = start->now;
    engine->wall_ms = start->wall_ms;
    engine->start_seq = wal_durable_sequence(start->wal);
    cfg_defaults(&engine->cfg);
    buf_init(&engine->message, 2u * ENGINE_FRAME_MAX);
    init_peers(engine);
    engine->raft = new_host(&engine->cfg);
    engine->groups = mem_alloc_array(cfg->group_count, sizeof(*engine->groups));
    enum err err = engine_boot_groups(engine, start->applied, note);
    if (err != ERR_OK) {
        engine_close(engine);
        return err;
    }
    *ret_engine = engine;
    return ERR_OK;
}

void engine_close(struct engine *engine)
{
    if (engine == NULL) {
        return;
    }
    for (uint32_t i = 0; i < engine->cfg.group_count; i++) {
        engine_cache_done(&engine->groups[i].cache);
        engine_stream_done(&engine->groups[i].stream);
    }
    for (uint32_t i = 0; i < NODE_IDS; i++) {
        struct engine_peer *peer = &engine->peers[i];
        engine_send_drop(peer);
        buf_done(&peer->frame);
        buf_done(&peer->gated);
        mem_free(peer->read_buffer);
        mem_free(peer->read_entries);
    }
    mem_free(engine->groups);
    mem_free(engine->scratch);
    buf_done(&engine->message);
    raft_host_free(engine->raft);
    mem_free(engine);
}

struct engine_group *engine_group_of(struct engine *engine, raft_group_id id)
{
    if (id == 0 || id > engine->cfg.group_count) {
        return NULL;
    }
    return &engine->groups[id - 1];
}

void engine_fail(struct engine *engine, enum err why, const char *text)
{
    if (!engine->failed) {
        engine->failed = true;
        engine->env.fatal(engine->env.self, why, text);
    }
}

void engine_feed(struct engine *engine, const struct raft_input *input)
{
    struct raft_fed fed = {0};
    enum err err = raft_feed(engine->raft, engine->now, input, &fed);
    CHECK(err == ERR_OK);
}

/* ---- peers ----------------------------------------------------------------------------------- */

/* Tells two starts with the same boot count apart. */
static uint64_t boot_id_of(const struct engine *engine)
{
    return hash_u64(engine->cfg.seed ^ hash_u64(engine->cfg.storage_id)) | 1;
}

void engine_hello_get(const struct engine *engine, struct engine_hello *ret_hello)
{
    struct raft_view view;
    enum err err = raft_view(engine->raft, 1, &view);
    CHECK(err == ERR_OK);
    *ret_hello = (struct engine_hello){
        .node = engine->cfg.self,
        .cluster_id = engine->cfg.cluster_id,
        .storage_id = engine->cfg.storage_id,
        .boot_count = engine->cfg.boot_count,
        .durable_seq = wal_durable_sequence(engine->wal),
        .start_seq = engine->start_seq,
        .boot_id = boot_id_of(engine),
        .fresh = view.last == 0 && !view.repairing,
    };
}

void engine_remember(struct engine *engine, raft_node_id node, uint64_t storage_id,
                     uint64_t boot_count, uint64_t durable_seq)
{
    CHECK(node > 0 && node < NODE_IDS);
    struct engine_peer *peer = &engine->peers[node];
    if (peer->storage_id != storage_id) {
        peer->storage_id = storage_id;
        peer->boot_count = 0;
        peer->durable_seq = 0;
        peer->boot_id = 0;
    }
    if (boot_count > peer->boot_count) {
        peer->boot_count = boot_count;
        peer->boot_id = 0;
    }
    if (durable_seq > peer->durable_seq) {
        peer->durable_seq = durable_seq;
    }
}

bool engine_remembered(const struct engine *engine, raft_node_id node,
                       struct engine_hello *ret_hello)
{
    CHECK(node > 0 && node < NODE_IDS);
    const struct engine_peer *peer = &engine->peers[node];
    ret_hello->storage_id = peer->storage_id;
    ret_hello->boot_count = peer->boot_count;
    ret_hello->durable_seq = peer->durable_seq;
    return peer->storage_id != 0;
}

static void see_peer(struct engine *engine, raft_node_id node)
{
    for (uint32_t i = 0; i < engine->peers_seen_count; i++) {
        if (engine->peers_seen[i] == node) {
            return;
        }
    }
    engine->peers_seen[engine->peers_seen_count++] = node;
}

enum err engine_peer_up(struct engine *engine, clk_ns now, const struct engine_hello *hello,
                        bool *ret_trusted, struct err_note *note)
{
    engine->now = now;
    if (hello->node == 0 || hello->node >= NODE_IDS || hello->node == engine->cfg.self) {
        return err_note_set(note, ERR_BAD_INPUT, "node id %u is this node's own or out of range",
                            hello->node);
    }
    if (hello->cluster_id != 0 && engine->cfg.cluster_id != 0 &&
        hello->cluster_id != engine->cfg.cluster_id) {
        return err_note_set(note, ERR_MISMATCH,
                            "node %u belongs to cluster %016llx, this node to %016llx", hello->node,
                            (unsigned long long)hello->cluster_id,
                            (unsigned long long)engine->cfg.cluster_id);
    }
    struct engine_peer *peer = &engine->peers[hello->node];
    bool trusted = !engine_trust_lost(peer, hello, note);
    struct raft_input up = {.kind = RAFT_IN_PEER_UP,
                            .node = hello->node,
                            .storage_id = hello->storage_id,
                            .trusted = trusted};
    enum err err = raft_feed(engine->raft, now, &up, NULL);
    if (err != ERR_OK) {
        CHECK(err == ERR_FULL);
        return err_note_set(note, err, "node %u: %d nodes are members or connected already",
                            hello->node, RAFT_PEERS_MAX);
    }
    engine_send_drop(peer);
    peer->hello = *hello;
    peer->told = false;
    peer->up = true;
    peer->trusted = trusted;
    peer->fresh = hello->fresh;
    peer->cluster_id = hello->cluster_id;
    see_peer(engine, hello->node);
    if (trusted) {
        engine_remember(engine, hello->node, hello->storage_id, hello->boot_count,
                        hello->durable_seq);
        peer->boot_id = hello->boot_id;
    } else {
        peer->tell_at = now;
    }
    for (uint32_t i = 0; i < engine->cfg.group_count; i++) {
        struct stream *stream = &engine->groups[i].stream;
        if (stream->target == hello->node) {
            stream->to_send = stream->first;
        }
    }
    *ret_trusted = trusted;
    return ERR_OK;
}

void engine_peer_down(struct engine *engine, clk_ns now, raft_node_id node)
{
    engine->now = now;
    CHECK(node > 0 && node < NODE_IDS);
    struct engine_peer *peer = &engine->peers[node];
    if (!peer->up) {
        return;
    }
    peer->up = false;
    peer->told = false;
    engine_send_drop(peer);
    engine_feed(engine, &(struct raft_input){.kind = RAFT_IN_PEER_DOWN, .node = node});
}

/* ---- requests and progress ------------------------------------------------------------------- */

enum err engine_read(struct engine *engine, clk_ns now, raft_group_id group, uint64_t tag)
{
    engine->now = now;
    CHECK(engine_group_of(engine, group) != NULL);
    struct raft_input input = {.kind = RAFT_IN_READ, .group = group, .tag = tag};
    return raft_feed(engine->raft, now, &input, NULL);
}

enum err engine_transfer(struct engine *engine, clk_ns now, raft_group_id group, raft_node_id to)
{
    engine->now = now;
    struct raft_input input = {.kind = RAFT_IN_TRANSFER, .group = group, .node = to};
    return raft_feed(engine->raft, now, &input, NULL);
}

void engine_applied(struct engine *engine, clk_ns now, raft_group_id group, raft_index index)
{
    engine->now = now;
    struct engine_group *g = engine_group_of(engine, group);
    CHECK(g != NULL);
    if (index <= g->applied) {
        return;
    }
    g->applied = index;
    if (g->handed < index) {
        g->handed = index; /* by a snapshot */
    }
    if (g->installing > 0 && index >= g->installing) {
        g->installing = 0;
        g->replaced = true;
        engine_fifo_release(&g->cache.payloads, g->cache.first - 1);
    }
    engine_feed(engine,
                &(struct raft_input){.kind = RAFT_IN_APPLIED, .group = group, .index = index});
    if (index <= g->cache.last) {
        engine_cache_evict(&g->cache, index, engine->cfg.cache_bytes_max);
    }
}

void engine_snapshot_sent(struct engine *engine, clk_ns now, raft_group_id group, raft_node_id to,
                          bool ok)
{
    engine->now = now;
    engine_feed(engine, &(struct raft_input){
                            .kind = RAFT_IN_SNAP_SENT, .group = group, .node = to, .ok = ok});
}

void engine_snapshot_written(struct engine *engine, clk_ns now, raft_group_id group,
                             const struct raft_snapshot_meta *meta)
{
    engine->now = now;
    struct engine_group *g = engine_group_of(engine, group);
    CHECK(g != NULL);
    g->snapshot_running = false;
    if (meta == NULL || meta->index <= g->snapshot_index) {
        return;
    }
    if (wal_compact(engine->wal, now, group, meta) != ERR_OK) {
        return; /* the WAL is busy or failed: the next snapshot will do */
    }
    g->log_bytes = engine_cache_bytes_after(&g->cache, meta->index);
    g->snapshot_index = meta->index;
    wal_release(engine->wal, group, meta->index);
    engine_feed(engine, &(struct raft_input){.kind = RAFT_IN_COMPACTED,
                                             .group = group,
                                             .index = meta->index,
                                             .snapshot = meta});
}

void engine_snapshot_received(struct engine *engine, clk_ns now, raft_group_id group,
                              const struct raft_snapshot_meta *meta)
{
    engine->now = now;
    struct engine_group *g = engine_group_of(engine, group);
    CHECK(g != NULL);
    struct raft_fed fed = {0};
    struct raft_input input = {
        .kind = RAFT_IN_SNAP_RECEIVED, .group = group, .snapshot = meta, .index = meta->index};
    if (raft_feed(engine->raft, now, &input, &fed) != ERR_OK) {
        return; /* an earlier one is being installed; the leader will ask again */
    }
    if (fed.truncated_from > 0) {
        engine_forget_held(engine, g, fed.truncated_from);
        engine_cache_reset(&g->cache, meta->index);
        g->handed = meta->index;
        g->snapshot_index = meta->index;
        g->log_bytes = 0;
    }
}

raft_index engine_snapshot_floor(const struct engine *engine, raft_group_id group)
{
    return wal_snapshot_durable(engine->wal, group);
}

enum err engine_snapshot_meta(const struct engine *engine, raft_group_id group, raft_index applied,
                              struct raft_snapshot_meta *ret_meta)
{
    return raft_meta_at(engine->raft, group, applied, ret_meta);
}

/* ---- the turn -------------------------------------------------------------------------------- */

static void ask_for_snapshots(struct engine *engine)
{
    for (uint32_t i = 0; i < engine->cfg.group_count; i++) {
        struct engine_group *group = &engine->groups[i];
        if (group->damaged <= group->snapshot_index) {
            group->damaged = 0; /* nobody will read it again */
        }
        bool wanted = group->log_bytes > engine->cfg.snapshot_log_bytes || group->damaged > 0;
        if (wanted && !group->snapshot_running && group->applied > group->snapshot_index) {
            group->snapshot_running = true;
            engine->env.snapshot_write(engine->env.self, group->id);
        }
    }
}

void engine_turn(struct engine *engine, clk_ns now, clk_ms wall_ms)
{
    CHECK(!engine->in_turn);
    engine->now = now;
    if (wall_ms > engine->wall_ms) {
        engine->wall_ms = wall_ms;
    }
    if (engine->failed) {
        return;
    }
    engine->in_turn = true;
    wal_wake(engine->wal, now);
    if (engine->durable_news) {
        engine->durable_news = false;
        engine_feed(engine,
                    &(struct raft_input){.kind = RAFT_IN_DURABLE, .wal_seq = engine->durable});
    }
    if (raft_deadline(engine->raft) <= now) {
        engine_feed(engine, &(struct raft_input){.kind = RAFT_IN_WAKE});
    }
    engine_boot_turn(engine);
    for (uint32_t i = 0; i < engine->cfg.group_count; i++) {
        engine_stream_turn(engine, &engine->groups[i]);
    }
    engine_effects_run(engine);
    engine_trust_turn(engine);
    wal_flush(engine->wal);
    engine_send_frames(engine);
    ask_for_snapshots(engine);
    engine->in_turn = false;
}

clk_ns engine_deadline(const struct engine *engine)
{
    if (engine->failed) {
        return CLK_NEVER; /* turns do nothing any more */
    }
    clk_ns earliest = raft_deadline(engine->raft);
    clk_ns wal_at = wal_deadline(engine->wal);
    if (wal_at < earliest) {
        earliest = wal_at;
    }
    for (uint32_t i = 0; i < engine->cfg.group_count; i++) {
        clk_ns at = engine_stream_deadline(&engine->groups[i]);
        if (at < earliest) {
            earliest = at;
        }
    }
    if (engine->bootstrap_at < earliest) {
        earliest = engine->bootstrap_at;
    }
    clk_ns tell_at = engine_trust_deadline(engine);
    if (tell_at < earliest) {
        earliest = tell_at;
    }
    return earliest;
}

void engine_wal_durable(struct engine *engine, uint64_t wal_seq)
{
    CHECK(wal_seq >= engine->durable);
    engine->durable = wal_seq;
    engine->durable_news = true;
}

void engine_wal_failed(struct engine *engine, enum err why, const struct err_note *note)
{
    engine_fail(engine, why, note->text);
}

/* ---- inspection ------------------------------------------------------------------------------ */

enum err engine_view(const struct engine *engine, raft_group_id group, struct raft_view *ret_view)
{
    return raft_view(engine->raft, group, ret_view);
}

bool engine_accepts(const struct engine *engine, raft_group_id group)
{
    struct raft_view view;
    if (raft_view(engine->raft, group, &view) != ERR_OK) {
        return false;
    }
    return view.role == RAFT_LEADER && view.leads_safely &&
           raft_term_at(engine->raft, group, view.applied) == view.term;
}

struct raft_host *engine_raft(struct engine *engine)
{
    return engine->raft;
}

uint64_t engine_cluster_id(const struct engine *engine)
{
    return engine->cfg.cluster_id;
}

void engine_check(const struct engine *engine)
{
    raft_check(engine->raft);
    for (uint32_t i = 0; i < engine->cfg.group_count; i++) {
        const struct engine_group *group = &engine->groups[i];
        struct raft_view view;
        enum err err = raft_view(engine->raft, group->id, &view);
        CHECK(err == ERR_OK);
        CHECK(group->cache.last == view.last);
        CHECK(group->cache.first <= group->applied + 1 || group->cache.first == view.first);
        CHECK(group->applied <= group->handed);
        CHECK(group->stream.first <= group->stream.next);
    }
}
