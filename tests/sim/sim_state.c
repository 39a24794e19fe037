/* The state machines of a node: core/machine over a table in memory, one per group; snapshots as
 * copies of it. The apply thread of the program is a list of work with due times here. See
 * sim.h. */
#include "sim.h"

#include <stdio.h>

/* ---- snapshots ------------------------------------------------------------------------------- */

struct sim_snapshot *sim_snapshot_ref(struct sim_snapshot *snapshot)
{
    snapshot->refs++;
    return snapshot;
}

void sim_snapshot_unref(struct sim_snapshot *snapshot)
{
    if (snapshot != NULL && --snapshot->refs == 0) {
        table_mem_free(snapshot->state);
        mem_free(snapshot);
    }
}

void sim_node_add_snapshot(struct sim_node *node, uint32_t group, struct sim_snapshot *snapshot)
{
    struct sim_snapshot **slots = node->dir.snapshots[group];
    uint32_t at = 0;
    while (slots[at] != NULL && slots[at]->meta.index > snapshot->meta.index) {
        at++;
    }
    if (slots[at] != NULL && slots[at]->meta.index == snapshot->meta.index) {
        return;
    }
    if (slots[SIM_SNAPSHOTS_MAX - 1] != NULL) {
        sim_violation(node->sim, "node %u group %u: too many snapshot files are needed", node->id,
                      group + 1);
    }
    memmove(&slots[at + 1], &slots[at], (SIM_SNAPSHOTS_MAX - 1 - at) * sizeof(slots[0]));
    slots[at] = sim_snapshot_ref(snapshot);
    raft_index floor = engine_snapshot_floor(node->engine, group + 1);
    for (uint32_t i = SIM_SNAPSHOTS_KEPT; i < SIM_SNAPSHOTS_MAX && slots[i] != NULL; i++) {
        if (slots[i]->meta.index < floor) {
            sim_snapshot_unref(slots[i]);
            slots[i] = NULL;
        }
    }
}

void sim_state_load(struct sim_state *state, const struct sim_snapshot *snapshot)
{
    table_mem_free(state->mem);
    if (snapshot == NULL) {
        state->mem = table_mem_new();
        state->applied = 0;
        return;
    }
    state->mem = table_mem_clone(snapshot->state);
    state->applied = snapshot->meta.index;
}

void sim_state_free(struct sim_state *state)
{
    table_mem_free(state->mem);
    state->mem = NULL;
}

/* ---- the table ------------------------------------------------------------------------------- */

static struct table_txn bind(struct sim_node *node, uint32_t group, bool read_only)
{
    struct table_txn txn;
    table_txn_init(&txn, table_mem_backend(), node->states[group].mem, group + 1, read_only);
    return txn;
}

void sim_state_last(void *self, raft_group_id group, raft_node_id id, uint64_t *ret_incarnation,
                    uint64_t *ret_sequence)
{
    struct table_txn txn = bind(self, group - 1, true);
    struct machine_proposer last = {0};
    enum err err = machine_last_of(&txn, id, &last);
    CHECK(err == ERR_OK || err == ERR_NOT_FOUND);
    *ret_incarnation = last.incarnation;
    *ret_sequence = last.sequence;
}

clk_ms sim_state_time(void *self, raft_group_id group)
{
    struct table_txn txn = bind(self, group - 1, true);
    clk_ms time_ms = 0;
    enum err err = table_applied_time(&txn, &time_ms);
    CHECK(err == ERR_OK);
    return time_ms;
}

void sim_state_get(struct sim_node *node, uint32_t group, uint32_t key, uint64_t *ret_value,
                   uint64_t *ret_index)
{
    char name[16];
    sim_key_name(key, name, sizeof(name));
    struct table_txn txn = bind(node, group, true);
    struct kv_record record;
    enum err err = kv_get(&txn, bytes_of_str(name), &record);
    CHECK(err == ERR_OK || err == ERR_NOT_FOUND);
    *ret_value = err == ERR_OK ? record.flags : 0;
    *ret_index = err == ERR_OK ? record.modify_index : 0;
}

/* ---- applying -------------------------------------------------------------------------------- */

static clk_ns apply_due(struct sim_node *node)
{
    struct sim *sim = node->sim;
    clk_ns due = sim->now + sim_between(sim, 0, sim->params.apply_high);
    if (!list_empty(&node->work)) {
        const struct sim_work *last = CONTAINER_OF(node->work.prev, struct sim_work, link);
        due = due > last->due ? due : last->due;
    }
    return due;
}

void sim_state_apply(void *self, raft_group_id group, const struct engine_entry *entries,
                     size_t count)
{
    struct sim_node *node = self;
    CHECK(count > 0);
    struct sim_work *work = mem_alloc(sizeof(*work) + count * sizeof(entries[0]));
    work->due = apply_due(node);
    work->group = group - 1;
    work->count = count;
    memcpy(work->entries, entries, count * sizeof(entries[0]));
    list_push_back(&node->work, &work->link);
}

void sim_state_install(void *self, raft_group_id group, const struct raft_snapshot_meta *meta)
{
    struct sim_node *node = self;
    struct sim_snapshot *found = NULL;
    for (uint32_t i = 0; i < SIM_SNAPSHOTS_MAX; i++) {
        struct sim_snapshot *snapshot = node->dir.snapshots[group - 1][i];
        if (snapshot != NULL && snapshot->meta.index == meta->index &&
            snapshot->meta.term == meta->term) {
            found = snapshot;
        }
    }
    if (found == NULL) {
        sim_violation(node->sim, "node %u group %u: no file for the snapshot of %llu to install",
                      node->id, group, (unsigned long long)meta->index);
    }
    struct sim_work *work = mem_alloc(sizeof(*work));
    work->due = apply_due(node);
    work->group = group - 1;
    work->install = sim_snapshot_ref(found);
    list_push_back(&node->work, &work->link);
}

static void apply_entry(struct sim_node *node, uint32_t group, struct table_txn *txn,
                        const struct engine_entry *entry)
{
    struct sim_state *state = &node->states[group];
    if (entry->index != state->applied + 1) {
        sim_violation(node->sim, "node %u group %u: entry %llu is to be applied after %llu",
                      node->id, group + 1, (unsigned long long)entry->index,
                      (unsigned long long)state->applied);
    }
    struct machine_result result = {0};
    if (entry->kind == RAFT_ENTRY_COMMAND) {
        struct machine_entry command = {
            .index = entry->index, .time_ms = entry->time_ms, .command = entry->payload};
        enum err err = machine_apply(&node->machine, txn, &command, NULL, &result);
        if (err != ERR_OK) {
            sim_violation(node->sim, "node %u group %u: entry %llu cannot be applied: %s", node->id,
                          group + 1, (unsigned long long)entry->index, err_name(err));
        }
    } else {
        enum err err = table_set_applied(txn, entry->index, entry->time_ms);
        CHECK(err == ERR_OK);
    }
    state->applied = entry->index;
    struct table_digest digest;
    enum err err = table_digest(txn, &digest);
    CHECK(err == ERR_OK);
    sim_check_applied(node, group, entry, &result, digest);
    if (entry->tag != 0) {
        sim_client_answer(node, entry->tag, &result, entry->index);
    }
}

static void apply_work(struct sim_node *node, const struct sim_work *work)
{
    struct sim_state *state = &node->states[work->group];
    if (work->install != NULL) {
        if (work->install->meta.index <= state->applied) {
            sim_violation(node->sim, "node %u group %u: the snapshot of %llu comes after %llu",
                          node->id, work->group + 1, (unsigned long long)work->install->meta.index,
                          (unsigned long long)state->applied);
        }
        sim_state_load(state, work->install);
        node->sim->coverage->snapshots_installed++;
        sim_note(node->sim, "node %u group %u: snapshot of %llu installed", node->id,
                 work->group + 1, (unsigned long long)state->applied);
    } else {
        struct table_txn txn = bind(node, work->group, false);
        for (size_t i = 0; i < work->count; i++) {
            apply_entry(node, work->group, &txn, &work->entries[i]);
        }
        enum err err = table_txn_finish(&txn);
        CHECK(err == ERR_OK);
    }
    engine_applied(node->engine, node->sim->now, work->group + 1, state->applied);
    sim_clients_applied(node, work->group);
}

bool sim_state_work(struct sim_node *node)
{
    bool any = false;
    while (!list_empty(&node->work)) {
        struct sim_work *work = CONTAINER_OF(node->work.next, struct sim_work, link);
        if (work->due > node->sim->now) {
            return any;
        }
        list_remove(&work->link);
        apply_work(node, work);
        sim_snapshot_unref(work->install);
        mem_free(work);
        any = true;
    }
    return any;
}

void sim_state_drop_work(struct sim_node *node)
{
    struct list *link;
    while ((link = list_pop_front(&node->work)) != NULL) {
        struct sim_work *work = CONTAINER_OF(link, struct sim_work, link);
        sim_snapshot_unref(work->install);
        mem_free(work);
    }
    for (uint32_t g = 0; g < SIM_GROUPS_MAX; g++) {
        node->states[g].snapshot_running = false;
    }
}

/* ---- writing snapshots ----------------------------------------------------------------------- */

static void write_done(struct sim *sim, struct sim_event *event)
{
    struct sim_node *node = &sim->nodes[event->node];
    struct sim_snapshot *snapshot = event->snapshot;
    node->states[event->group].snapshot_running = false;
    if (snapshot != NULL) {
        sim_node_add_snapshot(node, event->group, snapshot);
        sim->coverage->snapshots_written++;
        sim_note(sim, "node %u group %u: snapshot of %llu written", node->id, event->group + 1,
                 (unsigned long long)snapshot->meta.index);
    }
    engine_snapshot_written(node->engine, sim->now, event->group + 1,
                            snapshot == NULL ? NULL : &snapshot->meta);
    sim_node_touch(node);
}

/* As in the program: the state is copied by a read transaction, then written in the background. */
static void write_begin(struct sim *sim, struct sim_event *event)
{
    struct sim_node *node = &sim->nodes[event->node];
    struct sim_state *state = &node->states[event->group];
    struct raft_snapshot_meta meta;
    struct sim_event *end =
        sim_at(sim, sim->now + sim_between(sim, CLK_MS(1), CLK_MS(60)), write_done);
    end->node = node->id;
    end->life = node->life;
    end->group = event->group;
    enum err err = engine_snapshot_meta(node->engine, event->group + 1, state->applied, &meta);
    if (err == ERR_OK && !sim_chance(sim, 5)) {
        end->snapshot = mem_alloc(sizeof(*end->snapshot));
        *end->snapshot =
            (struct sim_snapshot){.refs = 1, .meta = meta, .state = table_mem_clone(state->mem)};
    }
}

void sim_state_snapshot_write(void *self, raft_group_id group)
{
    struct sim_node *node = self;
    if (node->states[group - 1].snapshot_running) {
        sim_violation(node->sim, "node %u group %u: two snapshots at once", node->id, group);
    }
    node->states[group - 1].snapshot_running = true;
    struct sim_event *event = sim_at(node->sim, node->sim->now, write_begin);
    event->node = node->id;
    event->life = node->life;
    event->group = group - 1;
}

/* ---- sending them ---------------------------------------------------------------------------- */

static void sent(struct sim *sim, struct sim_event *event)
{
    struct sim_node *node = &sim->nodes[event->node];
    engine_snapshot_sent(node->engine, sim->now, event->group + 1, event->peer, event->ok);
    sim_node_touch(node);
}

static bool arrives(struct sim *sim, const struct sim_event *event)
{
    const struct sim_node *peer = &sim->nodes[event->peer];
    return event->snapshot != NULL && peer->running && peer->life == event->peer_life &&
           !sim_node_paused(peer) && !sim->cut[event->node][event->peer] &&
           !rnd_chance_ppm(&sim->rnd, sim->params.snapshot_loss_ppm);
}

/* The file is on the receiver's disk before its engine hears of it, and the sender hears last. */
static void transferred(struct sim *sim, struct sim_event *event)
{
    struct sim_node *node = &sim->nodes[event->node];
    struct sim_node *peer = &sim->nodes[event->peer];
    bool ok = arrives(sim, event);
    if (ok) {
        sim->coverage->snapshots_sent++;
        sim_note(sim, "node %u group %u: snapshot of %llu arrives from node %u", peer->id,
                 event->group + 1, (unsigned long long)event->snapshot->meta.index, node->id);
        sim_node_add_snapshot(peer, event->group, event->snapshot);
        engine_snapshot_received(peer->engine, sim->now, event->group + 1, &event->snapshot->meta);
        sim_node_touch(peer);
    }
    struct sim_event *end =
        sim_at(sim, sim->now + sim_between(sim, 0, 2 * sim->params.delay_high), sent);
    end->node = node->id;
    end->life = node->life;
    end->peer = event->peer;
    end->group = event->group;
    end->ok = ok && !sim->cut[event->peer][event->node];
}

void sim_state_snapshot_send(void *self, raft_group_id group, raft_node_id to, raft_index at_least)
{
    struct sim_node *node = self;
    struct sim *sim = node->sim;
    struct sim_snapshot *newest = node->dir.snapshots[group - 1][0];
    bool usable = newest != NULL && newest->meta.index >= at_least;
    clk_ns takes = sim_between(sim, CLK_MS(1), CLK_MS(120));
    struct sim_event *event = sim_at(sim, sim->now + takes, transferred);
    event->node = node->id;
    event->life = node->life;
    event->peer = to;
    event->peer_life = sim->nodes[to].life;
    event->group = group - 1;
    event->snapshot = usable ? sim_snapshot_ref(newest) : NULL;
    sim_note(sim, "node %u group %u: node %u needs a snapshot of at least %llu%s", node->id, group,
             to, (unsigned long long)at_least, usable ? "" : ": none");
}
