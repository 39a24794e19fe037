/* What goes wrong, and when. See sim.h.
 *
 * Misfortunes that take something away which a disk had promised (a flipped bit, a wiped or an old
 * directory) strike a minority only: with a majority of the disks gone no program could keep its
 * word. Everything else may strike all nodes at once. */
#include "sim.h"

#include <stdio.h>

static const char *const names[SIM_FAULTS] = {
    [SIM_CUT] = "cut",
    [SIM_LAG] = "lag",
    [SIM_RESET] = "reset",
    [SIM_CRASH] = "crash",
    [SIM_DOOM] = "doom",
    [SIM_STOP] = "stop",
    [SIM_PAUSE] = "pause",
    [SIM_SLOW] = "slow disk",
    [SIM_STALL] = "hanging disk",
    [SIM_CLOCK] = "clock",
    [SIM_IO_ERROR] = "I/O error",
    [SIM_FLIP] = "flipped bit",
    [SIM_WIPE] = "wiped disk",
    [SIM_ROLLBACK] = "old disk",
    [SIM_TRANSFER] = "transfer",
};

const char *sim_fault_name(enum sim_fault fault)
{
    return names[fault];
}

static struct sim_node *random_node(struct sim *sim)
{
    return &sim->nodes[rnd_range(&sim->rnd, 1, sim->params.nodes)];
}

static bool established(const struct sim *sim)
{
    for (uint32_t g = 0; g < sim->params.groups; g++) {
        if (sim->groups[g].committed < 3) {
            return false;
        }
    }
    return true;
}

/* Whether this node's disk may lose what it promised. */
static bool may_damage(const struct sim *sim, const struct sim_node *node)
{
    uint32_t others = 0;
    for (uint32_t id = 1; id <= sim->params.nodes; id++) {
        others += id != node->id && (!sim_node_whole(&sim->nodes[id]));
    }
    return established(sim) && node->running && node->harm == SIM_SOUND &&
           others + 1 <= (sim->params.nodes - 1) / 2;
}

/* ---- network --------------------------------------------------------------------------------- */

static void heal_cuts(struct sim *sim, struct sim_event *event)
{
    (void)event;
    sim_note(sim, "the network is whole");
    sim_net_heal(sim);
}

static void cut_between(struct sim *sim, uint32_t side, bool forth, bool back)
{
    for (uint32_t a = 1; a <= sim->params.nodes; a++) {
        for (uint32_t b = 1; b <= sim->params.nodes; b++) {
            bool across = (side >> a & 1) == 1 && (side >> b & 1) == 0;
            if (across && forth) {
                sim_net_cut(sim, a, b);
            }
            if (across && back) {
                sim_net_cut(sim, b, a);
            }
        }
    }
}

/* Two nodes do not hear each other, although others hear both. */
static void cut_pair(struct sim *sim)
{
    uint32_t a = random_node(sim)->id;
    uint32_t b = a % sim->params.nodes + 1;
    sim_net_cut(sim, a, b);
    if (sim_chance(sim, 70)) {
        sim_net_cut(sim, b, a);
    }
    sim_note(sim, "cut: node %u from node %u", a, b);
}

static bool cut(struct sim *sim)
{
    uint32_t nodes = sim->params.nodes;
    if (nodes == 1) {
        return false;
    }
    clk_ns lasts = sim_between(sim, CLK_MS(50), CLK_MS(1500));
    (void)sim_at(sim, sim->now + lasts, heal_cuts);
    if (sim_chance(sim, 30)) {
        cut_pair(sim);
        return true;
    }
    uint32_t side = sim_chance(sim, 60) ? 1u << rnd_range(&sim->rnd, 1, nodes)
                                        : (uint32_t)rnd_range(&sim->rnd, 1, (1u << nodes) - 2) << 1;
    uint64_t way = rnd_below(&sim->rnd, 4);
    cut_between(sim, side, way != 0, way != 1);
    sim_note(sim, "cut: nodes %#x from the others%s", side >> 1,
             way == 0 ? ", inbound only" : (way == 1 ? ", outbound only" : ""));
    return true;
}

static void silence(struct sim *sim, struct sim_event *event)
{
    for (uint32_t to = 1; to <= sim->params.nodes && sim->lag[event->node] > 0; to++) {
        if (to != event->node) {
            sim_net_cut(sim, event->node, to);
        }
    }
}

static struct sim_node *some_leader(struct sim *sim)
{
    struct sim_node *node = random_node(sim);
    for (uint32_t tries = 0; tries < 2 * sim->params.nodes; tries++) {
        for (uint32_t g = 1; node->running && g <= sim->params.groups; g++) {
            struct raft_view view;
            enum err err = engine_view(node->engine, g, &view);
            if (err == ERR_OK && view.role == RAFT_LEADER) {
                return node;
            }
        }
        node = random_node(sim);
    }
    return node;
}

/* What a deposed leader is still told was said before it was deposed: answers that are older than
 * the next leader's first commit, and must confirm nothing. */
static bool lag(struct sim *sim)
{
    if (sim->params.nodes == 1) {
        return false;
    }
    struct sim_node *node = sim_chance(sim, 75) ? some_leader(sim) : random_node(sim);
    sim->lag[node->id] = sim_between(sim, CLK_MS(100), CLK_MS(900));
    (void)sim_at(sim, sim->now + sim_between(sim, CLK_MS(600), CLK_MS(3000)), heal_cuts);
    sim_note(sim, "node %u hears everything %.3f s late", node->id,
             (double)sim->lag[node->id] / 1e9);
    if (sim_chance(sim, 80)) {
        struct sim_event *event = sim_at(sim, sim->now + sim_between(sim, 0, CLK_MS(100)), silence);
        event->node = node->id;
    }
    return true;
}

static bool reset(struct sim *sim)
{
    if (sim->params.nodes == 1) {
        return false;
    }
    uint32_t a = random_node(sim)->id;
    uint32_t b = random_node(sim)->id;
    if (a == b || !sim_net_link(sim, a, b)->open) {
        return false;
    }
    sim_note(sim, "the connection of nodes %u and %u is reset", a, b);
    sim_net_break(sim, sim_net_link(sim, a, b), CLK_MS(5));
    return true;
}

/* ---- nodes ----------------------------------------------------------------------------------- */

static bool crash_one(struct sim_node *node)
{
    struct sim *sim = node->sim;
    if (!node->running) {
        return false;
    }
    sim_node_crash(node, (enum mem_disk_crash_kind)rnd_below(&sim->rnd, MEM_DISK_CRASH_KINDS));
    sim_node_restart_at(node, sim->now + sim_downtime(sim));
    return true;
}

static bool crash(struct sim *sim)
{
    if (!sim_chance(sim, 15)) {
        return crash_one(random_node(sim));
    }
    bool any = false;
    for (uint32_t id = 1; id <= sim->params.nodes; id++) {
        any = crash_one(&sim->nodes[id]) || any;
    }
    return any;
}

static bool doom(struct sim *sim)
{
    struct sim_node *node = random_node(sim);
    if (!node->running || node->doom != SIM_NO_MOMENT) {
        return false;
    }
    do {
        node->doom = (enum sim_moment)rnd_range(&sim->rnd, SIM_NO_MOMENT + 1, SIM_MOMENTS - 1);
    } while ((sim->params.moments >> node->doom & 1) == 0);
    node->doom_is_cut = sim->params.nodes > 1 && sim_chance(sim, sim->params.relay ? 90 : 50);
    return true;
}

static bool stop(struct sim *sim)
{
    struct sim_node *node = random_node(sim);
    if (!node->running || sim_node_paused(node)) {
        return false;
    }
    sim_note(sim, "node %u is stopped", node->id);
    sim_node_stop(node);
    sim_node_restart_at(node, sim->now + sim_downtime(sim));
    return true;
}

/* Whether a leader has begun to hand over. */
static bool transfer(struct sim *sim)
{
    struct sim_node *node = random_node(sim);
    if (!node->running || sim_node_paused(node)) {
        return false;
    }
    raft_group_id group = (raft_group_id)rnd_range(&sim->rnd, 1, sim->params.groups);
    raft_node_id to = sim_chance(sim, 50) ? random_node(sim)->id : 0;
    if (engine_transfer(node->engine, sim->now, group, to) != ERR_OK) {
        return false;
    }
    sim_note(sim, "node %u hands group %u over", node->id, group);
    sim_node_touch(node);
    return true;
}

static bool pause(struct sim *sim)
{
    struct sim_node *node = random_node(sim);
    if (!node->running || sim_node_paused(node)) {
        return false;
    }
    node->paused_until = sim->now + sim_between(sim, CLK_MS(20), CLK_MS(1500));
    node->wake = node->wake > node->paused_until ? node->wake : node->paused_until;
    sim_note(sim, "node %u pauses until %.3f", node->id, (double)node->paused_until / 1e9);
    return true;
}

static bool shift_clock(struct sim *sim)
{
    struct sim_node *node = random_node(sim);
    node->wall_skew_ms = (int64_t)rnd_below(&sim->rnd, 20000) - 10000;
    sim_note(sim, "the clock of node %u is %lld ms off", node->id, (long long)node->wall_skew_ms);
    return true;
}

/* ---- disks ----------------------------------------------------------------------------------- */

static void end_slow(struct sim *sim, struct sim_event *event)
{
    mem_disk_latency(sim->nodes[event->node].dir.disk, sim->params.disk_low, sim->params.disk_high);
}

static bool slow_disk(struct sim *sim)
{
    struct sim_node *node = random_node(sim);
    mem_disk_latency(node->dir.disk, CLK_MS(2), CLK_MS(80));
    struct sim_event *event =
        sim_at(sim, sim->now + sim_between(sim, CLK_MS(100), CLK_MS(1500)), end_slow);
    event->node = node->id;
    sim_note(sim, "the disk of node %u is slow", node->id);
    return true;
}

static bool stall_disk(struct sim *sim)
{
    struct sim_node *node = random_node(sim);
    if (!node->running) {
        return false;
    }
    clk_ns until = sim->now + sim_between(sim, CLK_MS(50), CLK_MS(3500));
    mem_disk_stall(node->dir.disk, until);
    sim_note(sim, "the disk of node %u hangs until %.3f", node->id, (double)until / 1e9);
    return true;
}

static bool io_error(struct sim *sim)
{
    struct sim_node *node = random_node(sim);
    if (!node->running || node->fault_expected) {
        return false;
    }
    node->fault_expected = true;
    bool write = sim_chance(sim, 50);
    mem_disk_fail(node->dir.disk, write ? MEM_DISK_FAULT_WRITE : MEM_DISK_FAULT_SYNC,
                  (int)rnd_below(&sim->rnd, 4));
    sim_note(sim, "a %s of node %u will fail", write ? "write" : "sync", node->id);
    return true;
}

static void copy_directory(struct sim *sim, struct sim_event *event)
{
    struct sim_node *node = random_node(sim);
    heap_set(&sim->events, &event->due, sim->now + sim_between(sim, CLK_MS(200), CLK_MS(1500)));
    if (node->running && node->harm == SIM_SOUND && wal_idle(node->wal) && established(sim)) {
        node->saved_seq = wal_durable_sequence(node->wal);
        node->saved_boot = node->identity.boot_count;
        sim_dir_copy(&node->saved, &node->dir, rnd_u64(&sim->rnd));
        sim_mark(sim, "copy", node->id, 0, 0);
    }
}

/* Nothing is unsealed: what is bad afterwards was good before, and the log can tell. */
static bool sealed(const struct sim_node *node)
{
    return node->running && wal_idle(node->wal) && wal_deadline(node->wal) == CLK_NEVER;
}

static void harm(struct sim_node *node, enum sim_harm what)
{
    node->harm = what;
    node->harmed = true;
    node->mended = false;
}

static bool flip_bit(struct sim_node *node)
{
    struct sim *sim = node->sim;
    const char *files[64];
    size_t count = 0;
    const char *name = NULL;
    for (size_t i = 0; (name = mem_disk_name(node->dir.disk, i)) != NULL && count < 64; i++) {
        if (strcmp(name, IDENTITY_NAME) != 0) {
            files[count++] = name;
        }
    }
    name = count == 0 ? NULL : files[rnd_below(&sim->rnd, count)];
    size_t used = name == NULL ? 0 : mem_disk_content(node->dir.disk, name).len;
    const uint8_t *data = name == NULL ? NULL : mem_disk_content(node->dir.disk, name).data;
    while (used > 0 && data[used - 1] == 0) {
        used--;
    }
    if (used == 0) {
        return false;
    }
    uint64_t offset = rnd_below(&sim->rnd, used);
    sim_note(sim, "a bit of node %u flips: %s at %llu of %zu", node->id, name,
             (unsigned long long)offset, used);
    return mem_disk_flip(node->dir.disk, name, offset, (unsigned)rnd_below(&sim->rnd, 8));
}

static bool flip(struct sim *sim)
{
    struct sim_node *node = random_node(sim);
    if (!may_damage(sim, node) || !sealed(node) || sim_node_paused(node)) {
        return false;
    }
    sim_node_crash(node, MEM_DISK_KILLED);
    sim_node_restart_at(node, sim->now + sim_downtime(sim));
    if (flip_bit(node)) {
        harm(node, SIM_FLIPPED);
    }
    return true;
}

static bool wipe(struct sim *sim)
{
    struct sim_node *node = random_node(sim);
    if (!may_damage(sim, node)) {
        return false;
    }
    sim_node_crash(node, MEM_DISK_KILLED);
    sim_note(sim, "the directory of node %u is wiped", node->id);
    sim_dir_done(&node->dir);
    node->dir.disk = mem_disk_new(rnd_u64(&sim->rnd));
    mem_disk_latency(node->dir.disk, sim->params.disk_low, sim->params.disk_high);
    node->directories++;
    harm(node, SIM_WIPED);
    memset(node->memory, 0, sizeof(node->memory));
    sim_node_restart_at(node, sim->now + sim_downtime(sim));
    return true;
}

/* Every other node remembers more of this disk than the copy knows: what only some remember, a
 * partition between them can make forgotten. */
static bool all_remember(const struct sim *sim, const struct sim_node *node)
{
    for (uint32_t id = 1; id <= sim->params.nodes; id++) {
        const struct sim_node *other = &sim->nodes[id];
        struct engine_hello known = {.storage_id = other->memory[node->id].storage_id,
                                     .boot_count = other->memory[node->id].boot_count,
                                     .durable_seq = other->memory[node->id].durable_seq};
        if (other == node) {
            continue;
        }
        if (other->running) {
            (void)engine_remembered(other->engine, node->id, &known);
        }
        if (known.storage_id != node->identity.storage_id ||
            (known.durable_seq <= node->saved_seq && known.boot_count <= node->saved_boot + 1)) {
            return false;
        }
    }
    return true;
}

static bool roll_back(struct sim *sim)
{
    struct sim_node *node = random_node(sim);
    if (!may_damage(sim, node) || node->saved.disk == NULL || !all_remember(sim, node)) {
        return false;
    }
    sim_node_crash(node, MEM_DISK_KILLED);
    sim_note(sim, "the directory of node %u is replaced by an old copy", node->id);
    sim_dir_done(&node->dir);
    node->dir = node->saved;
    node->saved = (struct sim_dir){.disk = NULL};
    mem_disk_latency(node->dir.disk, sim->params.disk_low, sim->params.disk_high);
    harm(node, SIM_OLD);
    memset(node->memory, 0, sizeof(node->memory));
    sim_node_restart_at(node, sim->now + sim_downtime(sim));
    return true;
}

/* ---- the schedule ---------------------------------------------------------------------------- */

static bool strike(struct sim *sim, enum sim_fault fault)
{
    switch (fault) {
    case SIM_CUT:
        return cut(sim);
    case SIM_LAG:
        return lag(sim);
    case SIM_RESET:
        return reset(sim);
    case SIM_CRASH:
        return crash(sim);
    case SIM_DOOM:
        return doom(sim);
    case SIM_STOP:
        return stop(sim);
    case SIM_PAUSE:
        return pause(sim);
    case SIM_SLOW:
        return slow_disk(sim);
    case SIM_STALL:
        return stall_disk(sim);
    case SIM_CLOCK:
        return shift_clock(sim);
    case SIM_IO_ERROR:
        return io_error(sim);
    case SIM_FLIP:
        return flip(sim);
    case SIM_TRANSFER:
        return transfer(sim);
    case SIM_WIPE:
        return wipe(sim);
    case SIM_ROLLBACK:
        return roll_back(sim);
    case SIM_FAULTS:
        break;
    }
    CHECK_UNREACHABLE();
}

static void happen(struct sim *sim, struct sim_event *event)
{
    if (sim->phase != SIM_CHAOS) {
        return;
    }
    enum sim_fault fault = (enum sim_fault)event->number;
    bool struck = strike(sim, fault);
    sim->coverage->faults[fault] += struck ? 1 : 0;
    clk_ns mean = struck ? sim->params.every[fault] : CLK_MS(20);
    heap_set(&sim->events, &event->due, sim->now + 1 + sim_between(sim, mean / 4, 2 * mean));
}

void sim_faults_start(struct sim *sim)
{
    clk_ns from = sim->now + (sim->params.early ? 0 : CLK_MS(800));
    for (int fault = 0; fault < SIM_FAULTS; fault++) {
        clk_ns mean = sim->params.every[fault];
        if (mean > 0) {
            struct sim_event *event = sim_at(sim, from + sim_between(sim, 0, 2 * mean), happen);
            event->number = (uint64_t)fault;
        }
    }
    if (sim->params.every[SIM_ROLLBACK] > 0) {
        (void)sim_at(sim, from, copy_directory);
    }
}

void sim_faults_end(struct sim *sim)
{
    sim_net_heal(sim);
    sim->params.drop_ppm = 0;
    sim->params.double_ppm = 0;
    sim->params.reorder_ppm = 0;
    sim->params.snapshot_loss_ppm = 0;
    for (uint32_t id = 1; id <= sim->params.nodes; id++) {
        struct sim_node *node = &sim->nodes[id];
        node->paused_until = 0;
        mem_disk_stall(node->dir.disk, 0);
        mem_disk_latency(node->dir.disk, sim->params.disk_low, sim->params.disk_high);
        for (int fault = 0; fault < MEM_DISK_FAULTS; fault++) {
            mem_disk_fail(node->dir.disk, (enum mem_disk_fault)fault, -1);
        }
        if (node->running) {
            sim_node_touch(node);
        } else {
            sim_node_restart_at(node, sim->now + sim_between(sim, 0, CLK_MS(100)));
        }
    }
}
