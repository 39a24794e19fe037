/* A node's life: start from what its directory has, turns, crash, clean stop. See sim.h. */
#include "sim.h"

#include <stdio.h>

enum {
    WALL_START_MS = 1700000000,
    RECORD_BYTES_MAX = 4096,
    STOP_STEPS_MAX = 10000
};

clk_ms sim_node_wall(const struct sim_node *node)
{
    return (clk_ms)((int64_t)WALL_START_MS * 1000 + (int64_t)(node->sim->now / 1000000) +
                    node->wall_skew_ms);
}

bool sim_node_paused(const struct sim_node *node)
{
    return node->paused_until > node->sim->now;
}

/* ---- directories ----------------------------------------------------------------------------- */

void sim_dir_done(struct sim_dir *dir)
{
    mem_disk_free(dir->disk);
    dir->disk = NULL;
    for (uint32_t g = 0; g < SIM_GROUPS_MAX; g++) {
        for (uint32_t i = 0; i < SIM_SNAPSHOTS_MAX; i++) {
            sim_snapshot_unref(dir->snapshots[g][i]);
            dir->snapshots[g][i] = NULL;
        }
    }
}

void sim_dir_copy(struct sim_dir *to, const struct sim_dir *from, uint64_t seed)
{
    sim_dir_done(to);
    to->disk = mem_disk_clone(from->disk, seed);
    mem_disk_crash(to->disk, MEM_DISK_KILLED);
    for (uint32_t g = 0; g < SIM_GROUPS_MAX; g++) {
        for (uint32_t i = 0; i < SIM_SNAPSHOTS_MAX; i++) {
            if (from->snapshots[g][i] != NULL) {
                to->snapshots[g][i] = sim_snapshot_ref(from->snapshots[g][i]);
            }
        }
    }
}

/* ---- what the engine calls ------------------------------------------------------------------- */

static bool on_send(void *self, raft_node_id to, struct bytes frame)
{
    return sim_net_send(self, to, frame);
}

static void on_damage(void *self, const struct wal_damage *damage)
{
    const struct sim_node *node = self;
    sim_note(node->sim, "node %u group %u: entry %llu is damaged", node->id, damage->group,
             (unsigned long long)damage->index);
}

static void on_role(void *self, raft_group_id group)
{
    struct sim_node *node = self;
    struct raft_view view;
    enum err err = engine_view(node->engine, group, &view);
    CHECK(err == ERR_OK);
    sim_note(node->sim, "node %u group %u: %s of term %llu, leader %u%s", node->id, group,
             raft_role_name(view.role), (unsigned long long)view.term, view.leader,
             view.repairing ? ", repairing" : "");
}

static enum err on_adopt(void *self, uint64_t cluster_id)
{
    struct sim_node *node = self;
    struct err_note note = {""};
    enum err err =
        identity_adopt(&mem_disk_base(node->dir.disk)[0], &node->identity, cluster_id, &note);
    sim_note(node->sim, "node %u joins cluster %016llx: %s", node->id,
             (unsigned long long)cluster_id, err_name(err));
    return err;
}

static void on_fatal(void *self, enum err why, const char *text)
{
    struct sim_node *node = self;
    node->fatal = true;
    (void)err_note_set(&node->fatal_note, why, "%s: %s", err_name(why), text);
}

static void on_durable(void *context, uint64_t wal_seq)
{
    struct sim_node *node = context;
    if (node->engine != NULL) {
        engine_wal_durable(node->engine, wal_seq);
    }
}

static void on_failed(void *context, enum err err, const struct err_note *note)
{
    struct sim_node *node = context;
    if (node->engine != NULL) {
        engine_wal_failed(node->engine, err, note);
    } else {
        on_fatal(node, err, note->text);
    }
}

static struct engine_env env_of(struct sim_node *node)
{
    return (struct engine_env){
        .self = node,
        .send = on_send,
        .apply = sim_state_apply,
        .proposer_last = sim_state_last,
        .applied_time = sim_state_time,
        .proposal_failed = sim_client_failed,
        .read_done = sim_client_read_done,
        .role_changed = on_role,
        .damage_met = on_damage,
        .snapshot_send = sim_state_snapshot_send,
        .snapshot_write = sim_state_snapshot_write,
        .snapshot_install = sim_state_install,
        .adopt_cluster = on_adopt,
        .fatal = on_fatal,
    };
}

/* ---- start ----------------------------------------------------------------------------------- */

static struct wal_config wal_config_of(const struct sim_node *node)
{
    struct wal_config config = wal_config_default(node->identity.storage_id);
    config.segment_bytes = node->sim->params.segment_bytes;
    config.record_bytes_max = RECORD_BYTES_MAX;
    config.batch_bytes = 8192;
    config.pending_bytes_max = node->sim->params.wal_pending_bytes;
    config.groups_max = SIM_GROUPS_MAX;
    config.spare_segments = 1;
    return config;
}

static enum err open_directory(struct sim_node *node, struct err_note *note)
{
    struct disk *disk = mem_disk_base(node->dir.disk);
    bool present = false;
    enum err err = wal_present(disk, &present, note);
    if (err != ERR_OK) {
        return err;
    }
    struct identity_want want = {
        .node_id = node->id,
        .new_storage_id =
            ((uint64_t)node->id << 32 | node->directories) * 0x9e3779b97f4a7c15u ^ node->sim->seed,
    };
    err = identity_open(disk, &want, present, &node->identity, note);
    if (err != ERR_OK) {
        return err;
    }
    struct wal_config config = wal_config_of(node);
    if (node->identity.boot_count == 0 && !present) {
        err = wal_create(disk, &config, note);
    }
    if (err == ERR_OK) {
        err = identity_start(disk, &node->identity, note);
    }
    if (err == ERR_OK) {
        struct wal_callbacks callbacks = {
            .on_durable = on_durable, .on_failed = on_failed, .context = node};
        err = wal_open(disk, &config, &callbacks, &node->wal, note);
    }
    return err;
}

static raft_term boot_term_at(const struct raft_boot *boot, raft_index index)
{
    raft_term term = index == boot->snapshot.index ? boot->snapshot.term : 0;
    for (size_t i = 0; i < boot->run_count; i++) {
        if (boot->runs[i].first <= index && index <= boot->last_index) {
            term = boot->runs[i].term;
        }
    }
    return term;
}

/* The newest snapshot file that the log vouches for: it may hold one that was received and never
 * became part of the log. */
static struct sim_snapshot *choose_snapshot(const struct sim_node *node, uint32_t g,
                                            const struct raft_boot *boot)
{
    for (uint32_t i = 0; i < SIM_SNAPSHOTS_MAX; i++) {
        struct sim_snapshot *snapshot = node->dir.snapshots[g][i];
        if (snapshot != NULL && snapshot->meta.index >= boot->snapshot.index &&
            boot_term_at(boot, snapshot->meta.index) == snapshot->meta.term) {
            return snapshot;
        }
    }
    return NULL;
}

static void recover_state(struct sim_node *node, uint32_t g)
{
    struct sim *sim = node->sim;
    struct sim_state *state = &node->states[g];
    struct raft_boot boot;
    wal_boot(node->wal, g + 1, &boot);
    if (boot.verdict == RAFT_BOOT_DAMAGED) {
        sim->coverage->damaged++;
        sim_note(sim, "node %u group %u: the log is damaged", node->id, g + 1);
    }
    enum engine_state_verdict verdict = engine_judge_state(&boot, state->applied);
    if (node->clean && verdict == ENGINE_STATE_FOREIGN) {
        sim_violation(sim, "node %u group %u: applied %llu, but the log is whole and ends at %llu",
                      node->id, g + 1, (unsigned long long)state->applied,
                      (unsigned long long)boot.last_index);
    }
    bool usable =
        node->clean && verdict == ENGINE_STATE_FITS && state->applied >= boot.snapshot.index;
    if (!usable) {
        struct sim_snapshot *snapshot = choose_snapshot(node, g, &boot);
        if (snapshot == NULL && boot.snapshot.index > 0) {
            sim_violation(sim, "node %u group %u: no file for the snapshot of %llu", node->id,
                          g + 1, (unsigned long long)boot.snapshot.index);
        }
        /* Either the node loads it at once, or the core asks for it. */
        bool asked =
            snapshot != NULL && snapshot->meta.index == boot.snapshot.index && sim_chance(sim, 50);
        sim_state_load(state, asked ? NULL : snapshot);
    }
    sim_note(sim, "node %u group %u: log %llu..%llu, state %llu%s", node->id, g + 1,
             (unsigned long long)boot.snapshot.index + 1, (unsigned long long)boot.last_index,
             (unsigned long long)state->applied, usable ? " (kept)" : "");
}

static enum err open_engine(struct sim_node *node, struct err_note *note)
{
    struct sim *sim = node->sim;
    const struct sim_params *params = &sim->params;
    raft_index applied[SIM_GROUPS_MAX];
    for (uint32_t g = 0; g < params->groups; g++) {
        recover_state(node, g);
        applied[g] = node->states[g].applied;
    }
    struct engine_cfg cfg = {
        .self = node->id,
        .storage_id = node->identity.storage_id,
        .cluster_id = node->identity.cluster_id,
        .boot_count = node->identity.boot_count,
        .voter_count = params->nodes,
        .group_count = params->groups,
        .seed = rnd_u64(&sim->rnd),
        .inflight_msgs_max = params->inflight_msgs,
        .inflight_bytes_max = params->inflight_bytes,
        .cache_bytes_max = params->cache_bytes,
        .unapplied_bytes_max = params->unapplied_bytes,
        .snapshot_log_bytes = params->snapshot_log_bytes,
    };
    for (uint32_t i = 0; i < params->nodes; i++) {
        cfg.voters[i] = i + 1;
    }
    struct engine_env env = env_of(node);
    struct engine_start start = {
        .wal = node->wal, .applied = applied, .now = sim->now, .wall_ms = sim_node_wall(node)};
    enum err err = engine_open(&cfg, &env, &start, &node->engine, note);
    for (uint32_t id = 1; err == ERR_OK && id <= params->nodes; id++) {
        const struct sim_memory *memory = &node->memory[id];
        if (id != node->id && memory->storage_id != 0) {
            engine_remember(node->engine, id, memory->storage_id, memory->boot_count,
                            memory->durable_seq);
        }
    }
    return err;
}

/* In the program this is a part of the replicated member table. */
static void save_memory(struct sim_node *node)
{
    for (uint32_t id = 1; node->engine != NULL && id <= node->sim->params.nodes; id++) {
        struct engine_hello known;
        if (id != node->id && engine_remembered(node->engine, id, &known)) {
            node->memory[id] = (struct sim_memory){.storage_id = known.storage_id,
                                                   .boot_count = known.boot_count,
                                                   .durable_seq = known.durable_seq};
        }
    }
}

static void forget_process(struct sim_node *node)
{
    save_memory(node);
    engine_close(node->engine);
    node->engine = NULL;
    wal_free(node->wal);
    node->wal = NULL;
    node->running = false;
    node->life++;
    node->fatal = false;
    node->doom = SIM_NO_MOMENT;
    sim_state_drop_work(node);
}

bool sim_node_start(struct sim_node *node)
{
    struct sim *sim = node->sim;
    CHECK(!node->running && node->engine == NULL && node->wal == NULL);
    node->life++;
    struct err_note note = {""};
    mem_disk_advance(node->dir.disk, sim->now);
    enum err err = open_directory(node, &note);
    if (err == ERR_OK) {
        const struct wal_recovery *found = wal_recovery(node->wal);
        sim->coverage->torn += found->torn ? 1 : 0;
        err = open_engine(node, &note);
    }
    node->clean = false;
    if (err != ERR_OK || node->fatal) {
        sim_note(sim, "node %u does not start: %s", node->id, note.text);
        if (!node->fault_expected) {
            sim_violation(sim, "node %u does not start: %s", node->id, note.text);
        }
        forget_process(node);
        mem_disk_crash(node->dir.disk, MEM_DISK_KILLED);
        return false;
    }
    sim->coverage->starts++;
    sim_note(sim, "node %u starts: boot %llu", node->id,
             (unsigned long long)node->identity.boot_count);
    node->running = true;
    node->turn_at = sim->now;
    node->wake = sim->now;
    memset(node->stale_floor, 0, sizeof(node->stale_floor));
    sim_check_started(node);
    return true;
}

static void restart(struct sim *sim, struct sim_event *event)
{
    struct sim_node *node = &sim->nodes[event->node];
    if (node->running) {
        return;
    }
    if (!sim_node_start(node)) {
        sim_node_restart_at(node, sim->now + CLK_MS(100));
    }
}

void sim_node_restart_at(struct sim_node *node, clk_ns at)
{
    struct sim_event *event = sim_at(node->sim, at, restart);
    event->node = node->id;
}

/* ---- the end --------------------------------------------------------------------------------- */

void sim_node_crash(struct sim_node *node, enum mem_disk_crash_kind kind)
{
    static const char *const names[MEM_DISK_CRASH_KINDS] = {"killed", "power lost", "torn by 512",
                                                            "torn by 4096"};
    CHECK(node->running);
    sim_note(node->sim, "node %u crashes: %s", node->id, names[kind]);
    forget_process(node);
    mem_disk_crash(node->dir.disk, kind);
    node->paused_until = 0;
    mem_disk_stall(node->dir.disk, 0);
    sim_clients_lost(node);
    sim_net_node_gone(node->sim, node->id, kind == MEM_DISK_KILLED);
}

void sim_node_stop(struct sim_node *node)
{
    CHECK(node->running);
    mem_disk_stall(node->dir.disk, 0);
    wal_seal(node->wal);
    for (int i = 0; i < STOP_STEPS_MAX && !wal_idle(node->wal); i++) {
        wal_flush(node->wal);
        (void)mem_disk_step(node->dir.disk);
    }
    if (!wal_idle(node->wal) && !node->fatal) {
        sim_violation(node->sim, "node %u: the log does not come to rest at a stop", node->id);
    }
    bool clean = !node->fatal;
    /* What was not applied yet is applied again by the next life. */
    sim_node_crash(node, MEM_DISK_KILLED);
    node->clean = clean;
}

static void stop_fatal(struct sim_node *node)
{
    sim_note(node->sim, "node %u stops: %s", node->id, node->fatal_note.text);
    if (!node->fault_expected) {
        sim_violation(node->sim, "node %u stops: %s", node->id, node->fatal_note.text);
    }
    sim_node_crash(node, sim_chance(node->sim, 50) ? MEM_DISK_KILLED : MEM_DISK_TORN_512);
    sim_node_restart_at(node, node->sim->now + sim_between(node->sim, CLK_MS(10), CLK_MS(500)));
}

/* ---- turns ----------------------------------------------------------------------------------- */

static clk_ns earlier(clk_ns a, clk_ns b)
{
    return a < b ? a : b;
}

static void set_wake(struct sim_node *node)
{
    clk_ns at = earlier(engine_deadline(node->engine), mem_disk_deadline(node->dir.disk));
    at = earlier(at, node->turn_at);
    if (!list_empty(&node->work)) {
        at = earlier(at, CONTAINER_OF(node->work.next, struct sim_work, link)->due);
    }
    node->wake = at > node->paused_until ? at : node->paused_until;
}

void sim_node_touch(struct sim_node *node)
{
    if (!node->running) {
        return;
    }
    clk_ns soon = node->sim->now + sim_between(node->sim, 0, CLK_US(30));
    node->turn_at = earlier(node->turn_at, soon);
    node->wake = earlier(node->wake, node->turn_at);
    node->wake = node->wake > node->paused_until ? node->wake : node->paused_until;
}

clk_ns sim_downtime(struct sim *sim)
{
    return sim_chance(sim, 70) ? sim_between(sim, CLK_MS(5), CLK_MS(200))
                               : sim_between(sim, CLK_MS(200), CLK_MS(1500));
}

/* What a turn did, for those who are to crash at such a moment. */
struct turn {
    uint64_t frames;
    struct sim_seen seen[SIM_GROUPS_MAX];
};

/* What Figure 8 of the paper begins with: the leader has spread entries of older terms that are not
 * committed, and its own first one has reached nobody. */
static bool is_heir(const struct sim_node *node, uint32_t g, raft_index commit)
{
    struct raft_view view;
    enum err err = engine_view(node->engine, g + 1, &view);
    CHECK(err == ERR_OK);
    bool spread = false;
    for (uint32_t i = 0; view.role == RAFT_LEADER && i < view.peer_count; i++) {
        raft_index match = view.peers[i].match;
        raft_term term = raft_term_at(engine_raft(node->engine), g + 1, match);
        if (term == view.term) {
            return false;
        }
        spread = spread || (match > commit && term != 0);
    }
    return spread;
}

static bool is_heir_of_any(const struct sim_node *node, const struct turn *before)
{
    for (uint32_t g = 0; g < node->sim->params.groups; g++) {
        if (is_heir(node, g, before->seen[g].commit)) {
            return true;
        }
    }
    return false;
}

static bool doomed(const struct sim_node *node, const struct turn *before)
{
    bool sent = node->frames > before->frames;
    bool term = false;
    bool elected = false;
    bool leads = false;
    for (uint32_t g = 0; g < node->sim->params.groups; g++) {
        term = term || node->seen[g].term > before->seen[g].term;
        elected = elected || (node->seen[g].leader && !before->seen[g].leader);
        leads = leads || node->seen[g].leader;
    }
    switch (node->doom) {
    case SIM_UNSYNCED:
        return sent && mem_disk_pending(node->dir.disk) > 0;
    case SIM_NEW_TERM:
        return term;
    case SIM_ELECTED:
        /* A relay begins with a leader that is in office. */
        return elected || (leads && node->sim->params.relay && sim_net_whole(node->sim));
    case SIM_HEIR:
        return is_heir_of_any(node, before);
    case SIM_NO_MOMENT:
    case SIM_MOMENTS:
        break;
    }
    return false;
}

static void meet_doom(struct sim_node *node)
{
    struct sim *sim = node->sim;
    sim->coverage->dooms++;
    if (node->doom_is_cut) {
        node->doom = SIM_NO_MOMENT;
        if (sim->params.relay) {
            sim_net_heal(sim);
        }
        sim_note(sim, "node %u is cut off", node->id);
        sim_net_isolate(sim, node->id);
        return;
    }
    sim_node_crash(node, (enum mem_disk_crash_kind)rnd_below(&sim->rnd, MEM_DISK_CRASH_KINDS));
    sim_node_restart_at(node, sim->now + sim_downtime(sim));
}

void sim_node_wake(struct sim_node *node)
{
    struct sim *sim = node->sim;
    struct turn before = {.frames = node->frames};
    memcpy(before.seen, node->seen, sizeof(before.seen));
    CHECK(node->running);
    if (sim_node_paused(node)) {
        node->wake = node->paused_until;
        return;
    }
    mem_disk_advance(node->dir.disk, sim->now);
    if (!node->fatal) {
        (void)sim_state_work(node);
        node->turn_at = CLK_NEVER;
        engine_turn(node->engine, sim->now, sim_node_wall(node));
    }
    if (node->fatal) {
        stop_fatal(node);
        return;
    }
    sim_check_node(node);
    if (sim->phase == SIM_CHAOS && doomed(node, &before)) {
        meet_doom(node);
    }
    if (!node->running) {
        return;
    }
    set_wake(node);
}

/* ---- life ------------------------------------------------------------------------------------ */

bool sim_node_whole(const struct sim_node *node)
{
    if (!node->running || node->harm != SIM_SOUND || node->fault_expected) {
        return false;
    }
    for (uint32_t g = 0; g < node->sim->params.groups; g++) {
        if (node->seen[g].repairing) {
            return false;
        }
    }
    return true;
}

void sim_node_init(struct sim *sim, uint32_t id)
{
    struct sim_node *node = &sim->nodes[id];
    node->sim = sim;
    node->id = id;
    node->dir.disk = mem_disk_new(rnd_u64(&sim->rnd));
    mem_disk_latency(node->dir.disk, sim->params.disk_low, sim->params.disk_high);
    node->turn_at = CLK_NEVER;
    node->wake = CLK_NEVER;
    list_init(&node->work);
    machine_init(&node->machine);
    for (uint32_t g = 0; g < sim->params.groups; g++) {
        node->states[g].mem = table_mem_new();
    }
}

void sim_node_done(struct sim_node *node)
{
    forget_process(node);
    sim_dir_done(&node->dir);
    sim_dir_done(&node->saved);
    machine_done(&node->machine);
    for (uint32_t g = 0; g < SIM_GROUPS_MAX; g++) {
        sim_state_free(&node->states[g]);
    }
}
