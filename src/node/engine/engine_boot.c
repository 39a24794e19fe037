/* Engine: from the recovered WAL to open raft groups, and the birth of a cluster.
 *
 * Birth: the initial voters start with empty directories, each with a storage id of its own. The
 * one with the lowest id waits until all of them are connected and fresh, makes the first
 * configuration with everybody's storage id, writes it at index 1 of every group and sends it
 * around (BOOTSTRAP). Who has it passes it on, as long as nothing is committed, to pinned peers
 * that do not: so a crash in the middle heals. A node takes it only with an empty log and only when
 * it names the node's own disk: a wiped directory, whose new storage id no configuration names, can
 * never vote itself back in.
 *
 * BOOTSTRAP:  cluster id u64 | encoded configuration (the rest) */
#include "check/check.h"
#include "engine/engine_priv.h"
#include "map/map.h"

#include <string.h>

enum {
    MESSAGE_HEADER = 5
};

#define BOOTSTRAP_EVERY CLK_MS(100)

/* ---- restart --------------------------------------------------------------------------------- */

static enum err load_entry(void *context, const struct wal_entry *entry)
{
    struct engine_group *group = context;
    CHECK(entry->index == group->cache.last + 1);
    engine_cache_append(&group->cache, &(struct cached_entry){.term = entry->term,
                                                              .time_ms = entry->time_ms,
                                                              .payload = entry->payload.data,
                                                              .size = (uint32_t)entry->payload.len,
                                                              .kind = entry->kind});
    if (entry->time_ms > group->last_time_ms) {
        group->last_time_ms = entry->time_ms;
    }
    return ERR_OK;
}

enum engine_state_verdict engine_judge_state(const struct raft_boot *boot, raft_index applied)
{
    if (applied <= boot->last_index) {
        return ENGINE_STATE_FITS;
    }
    return boot->verdict == RAFT_BOOT_DAMAGED ? ENGINE_STATE_AHEAD : ENGINE_STATE_FOREIGN;
}

static enum err boot_group(struct engine *engine, struct engine_group *group, raft_index applied,
                           struct err_note *note)
{
    struct raft_boot boot;
    wal_boot(engine->wal, group->id, &boot);
    if (engine_judge_state(&boot, applied) != ENGINE_STATE_FITS) {
        return err_note_set(note, ERR_CORRUPT,
                            "group %u: the state has applied entry %llu, the log ends at %llu: the "
                            "WAL was rolled back or belongs to another directory",
                            group->id, (unsigned long long)applied,
                            (unsigned long long)boot.last_index);
    }
    boot.applied = applied;
    group->applied = applied;
    group->handed = applied;
    group->snapshot_index = boot.snapshot.index;
    raft_index after = applied > boot.snapshot.index ? applied : boot.snapshot.index;
    if (group->handed < after) {
        group->handed = after;
    }
    engine_cache_init(&group->cache, after);
    enum err err = raft_group_open(engine->raft, engine->now, &boot);
    if (err != ERR_OK) {
        return err_note_set(note, err, "group %u: the log contradicts itself", group->id);
    }
    if (boot.last_index > after) {
        struct wal_replay replay = {.group = group->id,
                                    .first = after + 1,
                                    .last = boot.last_index,
                                    .each = load_entry,
                                    .context = group};
        err = wal_replay(engine->wal, &replay, note);
    }
    group->log_bytes = group->cache.bytes;
    return err;
}

enum err engine_boot_groups(struct engine *engine, const raft_index *applied, struct err_note *note)
{
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < engine->cfg.group_count; i++) {
        struct engine_group *group = &engine->groups[i];
        group->id = i + 1;
        engine_stream_init(engine, &group->stream);
        if (err == ERR_OK) {
            err = boot_group(engine, group, applied[i], note);
        }
    }
    wal_boot_done(engine->wal);
    engine->bootstrap_at = CLK_NEVER;
    return err;
}

/* ---- birth ----------------------------------------------------------------------------------- */

void engine_boot_adopt(struct engine *engine, uint64_t cluster_id)
{
    if (engine->cfg.cluster_id != 0 || cluster_id == 0) {
        return;
    }
    enum err err = engine->env.adopt_cluster(engine->env.self, cluster_id);
    if (err != ERR_OK) {
        engine_fail(engine, err, "the cluster's identity could not be made durable");
        return;
    }
    engine->cfg.cluster_id = cluster_id;
}

static bool is_fresh(const struct engine *engine, struct raft_view *view)
{
    enum err err = raft_view(engine->raft, 1, view);
    CHECK(err == ERR_OK);
    return view->last == 0 && !view->repairing;
}

/* Writes the first configuration into every group's empty log. */
static void write_first_config(struct engine *engine, struct bytes config)
{
    for (uint32_t i = 0; i < engine->cfg.group_count; i++) {
        struct raft_entry_info info = {.term = 1,
                                       .size = (uint32_t)config.len,
                                       .kind = RAFT_ENTRY_CONFIG,
                                       .config_bytes = config.data};
        struct cached_entry cached = {
            .term = 1, .payload = config.data, .size = info.size, .kind = RAFT_ENTRY_CONFIG};
        struct raft_input input = {
            .kind = RAFT_IN_BOOTSTRAP, .group = i + 1, .entries = &info, .entry_count = 1};
        struct raft_fed fed = {0};
        if (raft_feed(engine->raft, engine->now, &input, &fed) == ERR_OK) {
            engine_log_changed(engine, &engine->groups[i], &fed, &cached);
        }
    }
}

static bool is_initial_voter(const struct engine *engine, raft_node_id node)
{
    for (uint32_t i = 0; i < engine->cfg.voter_count; i++) {
        if (engine->cfg.voters[i] == node) {
            return true;
        }
    }
    return false;
}

/* Follows from the disks alone, so that a bootstrap that is tried again has the same result. */
static uint64_t cluster_id_of(const struct raft_config *config)
{
    uint64_t id = 0;
    for (uint32_t i = 0; i < config->count; i++) {
        id = hash_u64(id ^ hash_u64(config->members[i].storage_id));
    }
    return id == 0 ? 1 : id;
}

/* True when this node is to make the first configuration, and can. */
static bool may_bootstrap(const struct engine *engine, struct raft_config *ret_config)
{
    const struct engine_cfg *cfg = &engine->cfg;
    if (!is_initial_voter(engine, cfg->self)) {
        return false;
    }
    *ret_config = (struct raft_config){.count = cfg->voter_count};
    for (uint32_t i = 0; i < cfg->voter_count; i++) {
        const struct engine_peer *peer = &engine->peers[cfg->voters[i]];
        bool self = cfg->voters[i] == cfg->self;
        if (cfg->voters[i] < cfg->self || (!self && (!peer->up || !peer->fresh))) {
            return false;
        }
        ret_config->members[i] =
            (struct raft_member){.node = cfg->voters[i],
                                 .role = RAFT_VOTER,
                                 .storage_id = self ? cfg->storage_id : peer->storage_id};
    }
    return true;
}

/* An attempt that was cut short left this very id, and nothing else may have been there before. */
static bool ids_allow(const struct engine *engine, const struct raft_config *config)
{
    uint64_t id = cluster_id_of(config);
    if (engine->cfg.cluster_id != 0 && engine->cfg.cluster_id != id) {
        return false;
    }
    for (uint32_t i = 0; i < config->count; i++) {
        uint64_t theirs = engine->peers[config->members[i].node].cluster_id;
        if (theirs != 0 && theirs != id) {
            return false;
        }
    }
    return true;
}

static void send_config(struct engine *engine, raft_node_id to, const struct raft_config *config)
{
    buf_clear(&engine->message);
    struct writer w = writer_of(&engine->message);
    write_u8(&w, FRAME_BOOTSTRAP);
    write_u32(&w, 0);
    write_u64(&w, engine->cfg.cluster_id);
    enum err err = raft_config_encode(config, &engine->message);
    CHECK(err == ERR_OK && w.err == ERR_OK);
    put_u32(engine->message.data + 1, (uint32_t)(engine->message.len - MESSAGE_HEADER));
    engine_send_now(engine, to, buf_bytes(&engine->message));
}

/* To peers that are pinned in the configuration and had nothing when they connected. True: some. */
static bool pass_on(struct engine *engine, const struct raft_config *config)
{
    bool any = false;
    for (uint32_t i = 0; i < config->count; i++) {
        const struct engine_peer *peer = &engine->peers[config->members[i].node];
        if (peer->up && peer->fresh && peer->storage_id == config->members[i].storage_id) {
            send_config(engine, peer->id, config);
            any = true;
        }
    }
    return any;
}

/* A crash may have cut the birth between two groups. What is written here is what every founder has
 * at index 1, and only into logs that never were. */
static void complete_birth(struct engine *engine, const struct raft_view *view)
{
    engine->birth_complete = true;
    if (view->config_index == 1 && view->is_voter) {
        buf_clear(&engine->message);
        enum err err = raft_config_encode(&view->config, &engine->message);
        CHECK(err == ERR_OK);
        write_first_config(engine, buf_bytes(&engine->message));
    }
}

void engine_boot_turn(struct engine *engine)
{
    struct raft_view view;
    struct raft_config config;
    if (is_fresh(engine, &view)) {
        if (!may_bootstrap(engine, &config) || !ids_allow(engine, &config)) {
            return;
        }
        engine_boot_adopt(engine, cluster_id_of(&config));
        buf_clear(&engine->message);
        enum err err = raft_config_encode(&config, &engine->message);
        CHECK(err == ERR_OK);
        write_first_config(engine, buf_bytes(&engine->message));
        engine->bootstrap_at = engine->now;
    } else if (!engine->birth_complete) {
        complete_birth(engine, &view);
    }
    if (view.commit > 0) {
        engine->bootstrap_at = CLK_NEVER;
        return;
    }
    if (engine->bootstrap_at == CLK_NEVER || engine->now >= engine->bootstrap_at) {
        /* Only the founding entry: a later configuration, taken for it by a fresh disk, would be
         * another entry at index 1 than everybody else's. */
        bool founding = !is_fresh(engine, &view) && view.config_index == 1;
        struct raft_config current = founding ? view.config : (struct raft_config){0};
        (void)pass_on(engine, &current);
        engine->bootstrap_at = engine->now + BOOTSTRAP_EVERY;
    }
}

enum err engine_boot_receive(struct engine *engine, struct reader *in)
{
    uint64_t cluster_id = read_u64(in);
    struct bytes encoded = read_raw(in, reader_left(in));
    struct raft_config config;
    if (!reader_ok(in) || cluster_id == 0 || raft_config_decode(encoded, &config) != ERR_OK) {
        return ERR_BAD_INPUT;
    }
    struct raft_view view;
    bool same = engine->cfg.cluster_id == 0 || engine->cfg.cluster_id == cluster_id;
    if (!is_fresh(engine, &view) || !same) {
        return ERR_OK;
    }
    for (uint32_t i = 0; i < config.count; i++) {
        if (config.members[i].node == engine->cfg.self &&
            config.members[i].storage_id == engine->cfg.storage_id) {
            engine_boot_adopt(engine, cluster_id);
            write_first_config(engine, encoded);
        }
    }
    return ERR_OK;
}
