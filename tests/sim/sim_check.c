/* The invariants, after every step of a node: Figure 3 of the Raft paper, the promises of the
 * engine and of the state machines, and a model of the keys. See sim.h. */
#include "sim.h"

#include <stdio.h>

/* One election timeout of 600 ms, and some heartbeats until it is looked at. */
#define OWN_DISK_PATIENCE CLK_MS(900)
/* A leader's node is run at every heartbeat, unless it pauses. */
#define OWN_DISK_BLINK CLK_MS(150)

uint64_t sim_hash(uint64_t hash, struct bytes bytes)
{
    for (size_t i = 0; i < bytes.len; i++) {
        hash = (hash ^ bytes.data[i]) * 0x100000001b3u;
    }
    return hash;
}

/* ---- what is known of a group ---------------------------------------------------------------- */

static struct sim_entry *entry_at(struct sim_group *group, raft_index index)
{
    if (index >= group->cap) {
        size_t cap = group->cap == 0 ? 1024 : group->cap;
        while (cap <= index) {
            cap *= 2;
        }
        group->entries = mem_resize(group->entries, cap * sizeof(*group->entries));
        memset(group->entries + group->cap, 0, (cap - group->cap) * sizeof(*group->entries));
        group->cap = cap;
    }
    return &group->entries[index];
}

static uint32_t *leader_of(struct sim_group *group, raft_term term)
{
    if (term >= group->terms) {
        size_t terms = group->terms == 0 ? 64 : group->terms;
        while (terms <= term) {
            terms *= 2;
        }
        group->leaders = mem_resize(group->leaders, terms * sizeof(*group->leaders));
        memset(group->leaders + group->terms, 0, (terms - group->terms) * sizeof(*group->leaders));
        group->terms = terms;
    }
    return &group->leaders[term];
}

const struct sim_version *sim_version_at(const struct sim_group *group, uint32_t key,
                                         raft_index index)
{
    static const struct sim_version none = {0, 0, 0};
    const struct sim_history *history = &group->keys[key];
    for (size_t i = history->count; i > 0; i--) {
        if (history->versions[i - 1].index <= index) {
            return &history->versions[i - 1];
        }
    }
    return &none;
}

static void add_version(struct sim_group *group, uint32_t key, raft_index index, uint64_t value)
{
    struct sim_history *history = &group->keys[key];
    if (history->count == history->cap) {
        history->cap = history->cap == 0 ? 64 : 2 * history->cap;
        history->versions =
            mem_resize(history->versions, history->cap * sizeof(*history->versions));
    }
    history->versions[history->count++] = (struct sim_version){
        .index = index, .value = value, .modify_index = value == 0 ? 0 : index};
}

void sim_group_done(struct sim_group *group)
{
    mem_free(group->entries);
    mem_free(group->leaders);
    for (uint32_t k = 0; k < SIM_KEYS_MAX; k++) {
        mem_free(group->keys[k].versions);
    }
}

/* ---- applied entries ------------------------------------------------------------------------- */

/* The first node to apply a client's command: exactly once, and with the model's result. */
static void model_apply(struct sim *sim, uint32_t g, const struct engine_entry *entry,
                        const struct machine_result *result)
{
    struct machine_command command;
    enum err err = machine_command_decode(entry->payload, &command);
    CHECK(err == ERR_OK);
    if (command.kind == MACHINE_CMD_CANCELED || result->duplicate) {
        return;
    }
    uint64_t number = get_u64(command.trace);
    struct sim_op *op = sim_op_of(sim, number);
    if (op->applied++ > 0 || op->outcome == SIM_FAILED) {
        sim_violation(sim, "group %u entry %llu: operation %llu %s", g + 1,
                      (unsigned long long)entry->index, (unsigned long long)number,
                      op->outcome == SIM_FAILED ? "was refused, and is applied"
                                                : "is applied twice");
    }
    op->index = entry->index;
    const struct sim_version *old = sim_version_at(&sim->groups[g], op->key, entry->index);
    bool done = op->kind != SIM_CAS || old->modify_index == op->expect_index;
    if (result->result.err != ERR_OK || result->result.value != (done ? 1 : 0)) {
        sim_violation(sim, "group %u entry %llu: the result is %llu", g + 1,
                      (unsigned long long)entry->index, (unsigned long long)result->result.value);
    }
    bool nothing = op->kind == SIM_DELETE && old->value == 0;
    if (done && !nothing) {
        add_version(&sim->groups[g], op->key, entry->index, op->value);
    }
}

void sim_check_applied(struct sim_node *node, uint32_t g, const struct engine_entry *entry,
                       const struct machine_result *result, struct table_digest digest)
{
    struct sim *sim = node->sim;
    struct sim_group *group = &sim->groups[g];
    struct sim_entry *known = entry_at(group, entry->index);
    uint64_t hash = sim_hash(entry->time_ms * 31 + entry->kind, entry->payload);
    if (known->term != entry->term) {
        sim_violation(sim, "node %u group %u applies entry %llu of term %llu; term %llu is known",
                      node->id, g + 1, (unsigned long long)entry->index,
                      (unsigned long long)entry->term, (unsigned long long)known->term);
    }
    if (!known->applied) {
        known->applied = true;
        known->kind = entry->kind;
        known->hash = hash;
        known->digest = digest;
        if (entry->index != group->applied + 1) {
            sim_violation(sim, "group %u: entry %llu is applied before %llu", g + 1,
                          (unsigned long long)entry->index, (unsigned long long)group->applied + 1);
        }
        if (entry->time_ms < group->time_ms) {
            sim_violation(sim, "group %u: the time of entry %llu is before that of the one before",
                          g + 1, (unsigned long long)entry->index);
        }
        group->applied = entry->index;
        group->time_ms = entry->time_ms;
        sim->coverage->entries++;
        if (entry->kind == RAFT_ENTRY_COMMAND) {
            model_apply(sim, g, entry, result);
        }
    }
    if (known->hash != hash || known->kind != entry->kind) {
        sim_violation(sim, "node %u group %u: entry %llu differs from what others applied",
                      node->id, g + 1, (unsigned long long)entry->index);
    }
    if (known->digest.low != digest.low || known->digest.high != digest.high) {
        sim_violation(sim, "node %u group %u: the state after entry %llu differs", node->id, g + 1,
                      (unsigned long long)entry->index);
    }
    sim_mark(sim, "apply", node->id, g, entry->index);
}

/* ---- commit ---------------------------------------------------------------------------------- */

/* Whether the node's disk lacks the entry for certain. */
static bool lacks(const struct sim_node *node, uint32_t g, raft_index index, raft_term term)
{
    if (!node->running) {
        const struct sim_seen *seen = &node->seen[g];
        return seen->durable < index && !seen->durable_is_floor && node->harm == SIM_SOUND;
    }
    struct raft_view view;
    enum err err = engine_view(node->engine, g + 1, &view);
    CHECK(err == ERR_OK);
    if (index < view.first || node->harm != SIM_SOUND) {
        return false;
    }
    bool unsynced = index > view.durable && !view.durable_is_floor;
    return unsynced || raft_term_at(engine_raft(node->engine), g + 1, index) != term;
}

/* A commit is on the disks of a majority (the design's meaning of "done"). */
static void check_majority(struct sim_node *node, uint32_t g, raft_index index, raft_term term)
{
    struct sim *sim = node->sim;
    uint32_t lacking = 0;
    for (uint32_t id = 1; id <= sim->params.nodes; id++) {
        lacking += lacks(&sim->nodes[id], g, index, term) ? 1 : 0;
    }
    if (lacking > (sim->params.nodes - 1) / 2) {
        sim_violation(sim, "node %u group %u: entry %llu is committed, but %u of %u disks lack it",
                      node->id, g + 1, (unsigned long long)index, lacking, sim->params.nodes);
    }
}

static void check_commit(struct sim_node *node, uint32_t g, const struct raft_view *view,
                         raft_index from)
{
    struct sim *sim = node->sim;
    struct sim_group *group = &sim->groups[g];
    raft_index first = from + 1 > view->first ? from + 1 : view->first;
    for (raft_index index = first; index <= view->commit; index++) {
        raft_term term = raft_term_at(engine_raft(node->engine), g + 1, index);
        struct sim_entry *known = entry_at(group, index);
        if (known->term == 0) {
            known->term = term;
        }
        if (known->term != term) {
            sim_violation(sim,
                          "node %u group %u commits entry %llu of term %llu; term %llu was "
                          "committed",
                          node->id, g + 1, (unsigned long long)index, (unsigned long long)term,
                          (unsigned long long)known->term);
        }
    }
    if (view->commit > group->committed) {
        group->committed = view->commit;
        check_majority(node, g, view->commit,
                       raft_term_at(engine_raft(node->engine), g + 1, view->commit));
    }
}

/* ---- elections ------------------------------------------------------------------------------- */

/* Election Safety, and Leader Completeness. */
static void check_leader(struct sim_node *node, uint32_t g, const struct raft_view *view)
{
    struct sim *sim = node->sim;
    struct sim_group *group = &sim->groups[g];
    uint32_t *leader = leader_of(group, view->term);
    if (*leader != 0 && *leader != node->id) {
        sim_violation(sim, "group %u has two leaders in term %llu: %u and %u", g + 1,
                      (unsigned long long)view->term, *leader, node->id);
    }
    if (*leader == 0) {
        sim->coverage->elections++;
    }
    *leader = node->id;
    for (raft_index index = view->first; index <= group->committed; index++) {
        const struct sim_entry *known = entry_at(group, index);
        if (known->term != 0 && known->term < view->term &&
            raft_term_at(engine_raft(node->engine), g + 1, index) != known->term) {
            sim_violation(sim, "group %u: the leader of term %llu, node %u, lacks entry %llu",
                          g + 1, (unsigned long long)view->term, node->id,
                          (unsigned long long)index);
        }
    }
}

/* Log Matching: below an entry that two logs share, they are equal. Payloads are compared when
 * they are applied. */
static void check_matching(struct sim_node *node, uint32_t g)
{
    struct sim *sim = node->sim;
    struct raft_view mine;
    enum err err = engine_view(node->engine, g + 1, &mine);
    CHECK(err == ERR_OK);
    for (uint32_t id = 1; id <= sim->params.nodes; id++) {
        struct sim_node *other = &sim->nodes[id];
        struct raft_view theirs;
        if (other == node || !other->running ||
            engine_view(other->engine, g + 1, &theirs) != ERR_OK) {
            continue;
        }
        raft_index low = mine.first > theirs.first ? mine.first : theirs.first;
        raft_index high = mine.last < theirs.last ? mine.last : theirs.last;
        bool shared = false;
        for (raft_index index = high; index >= low && index > 0; index--) {
            raft_term a = raft_term_at(engine_raft(node->engine), g + 1, index);
            raft_term b = raft_term_at(engine_raft(other->engine), g + 1, index);
            if (shared && a != b) {
                sim_violation(sim, "group %u: nodes %u and %u differ at entry %llu, not after it",
                              g + 1, node->id, id, (unsigned long long)index);
            }
            shared = shared || a == b;
        }
    }
}

/* The leader hears from this peer that its disk has more, and may believe it. */
static bool peer_is_ahead(const struct sim_node *node, uint32_t g, const struct raft_view *view,
                          const struct raft_peer_view *peer)
{
    const struct sim_node *other = &node->sim->nodes[peer->node];
    bool counts = peer->trusted && peer->recent && other->running && !other->seen[g].repairing;
    return counts && peer->match > view->durable;
}

/* Members do not change here, so all peers are voters. */
static bool majority_is_ahead(const struct sim_node *node, uint32_t g, const struct raft_view *view)
{
    uint32_t ahead = 0;
    for (uint32_t i = 0; i < view->peer_count; i++) {
        ahead += peer_is_ahead(node, g, view, &view->peers[i]) ? 1 : 0;
    }
    return ahead > node->sim->params.nodes / 2;
}

/* Nobody leads on a disk that hangs while a majority could go on without it. Since when it does. A
 * node that was not run for a while has not seen time pass. */
static clk_ns check_own_disk(struct sim_node *node, uint32_t g, const struct raft_view *view)
{
    const struct sim_seen *seen = &node->seen[g];
    clk_ns now = node->sim->now;
    bool behind = view->role == RAFT_LEADER && majority_is_ahead(node, g, view);
    bool was = seen->behind_since > 0 && seen->wal_seq == wal_durable_sequence(node->wal) &&
               now - seen->at < OWN_DISK_BLINK;
    if (was && !behind && view->role != RAFT_LEADER) {
        node->sim->coverage->gave_way += now - seen->behind_since > CLK_MS(500) ? 1 : 0;
    }
    if (!behind) {
        return 0;
    }
    clk_ns since = was ? seen->behind_since : now;
    if (now - since > OWN_DISK_PATIENCE) {
        sim_violation(node->sim, "node %u group %u leads on a disk that hangs for %.3f s", node->id,
                      g + 1, (double)(now - since) / 1e9);
    }
    return since;
}

/* ---- a step ---------------------------------------------------------------------------------- */

static void check_group(struct sim_node *node, uint32_t g)
{
    struct sim *sim = node->sim;
    struct sim_seen *seen = &node->seen[g];
    struct raft_view view;
    enum err err = engine_view(node->engine, g + 1, &view);
    CHECK(err == ERR_OK);
    bool leads = view.role == RAFT_LEADER;
    if (view.term < seen->term || view.commit < seen->commit) {
        sim_violation(sim, "node %u group %u: term %llu or commit %llu went backwards", node->id,
                      g + 1, (unsigned long long)view.term, (unsigned long long)view.commit);
    }
    if (leads && seen->leader && view.term == seen->term && view.last < seen->last) {
        sim_violation(sim, "node %u group %u: a leader removed entries", node->id, g + 1);
    }
    bool elected = leads && (!seen->leader || view.term != seen->term);
    if (elected) {
        check_leader(node, g, &view);
        check_matching(node, g);
    }
    if (view.commit > seen->commit) {
        check_commit(node, g, &view, seen->commit);
    }
    if (seen->repairing && !view.repairing) {
        sim->coverage->repairs++;
        node->mended = true;
        sim_note(sim, "node %u group %u is repaired", node->id, g + 1);
    }
    clk_ns behind_since = check_own_disk(node, g, &view);
    *seen = (struct sim_seen){.term = view.term,
                              .commit = view.commit,
                              .last = view.last,
                              .durable = view.durable,
                              .durable_is_floor = view.durable_is_floor,
                              .leader = leads,
                              .repairing = view.repairing,
                              .at = sim->now,
                              .wal_seq = wal_durable_sequence(node->wal),
                              .behind_since = behind_since};
}

/* Every other node has heard of this start of an old disk, so nobody will call it old again. */
static bool known_to_all(const struct sim_node *node)
{
    for (uint32_t id = 1; id <= node->sim->params.nodes; id++) {
        const struct sim_node *other = &node->sim->nodes[id];
        struct engine_hello known = {.boot_count = other->memory[node->id].boot_count};
        if (other != node && other->running) {
            (void)engine_remembered(other->engine, node->id, &known);
        }
        if (other != node && known.boot_count != node->identity.boot_count) {
            return false;
        }
    }
    return true;
}

void sim_check_node(struct sim_node *node)
{
    bool repairing = false;
    engine_check(node->engine);
    for (uint32_t g = 0; g < node->sim->params.groups; g++) {
        check_group(node, g);
        repairing = repairing || node->seen[g].repairing;
    }
    bool healed =
        node->harm == SIM_FLIPPED || (node->harm == SIM_OLD && node->mended && known_to_all(node));
    if (healed && !repairing && wal_idle(node->wal)) { /* and its disk knows it */
        node->harm = SIM_SOUND;
    }
}

void sim_check_started(struct sim_node *node)
{
    for (uint32_t g = 0; g < node->sim->params.groups; g++) {
        struct raft_view view;
        enum err err = engine_view(node->engine, g + 1, &view);
        CHECK(err == ERR_OK);
        node->seen[g] = (struct sim_seen){.term = view.term,
                                          .last = view.last,
                                          .durable = view.durable,
                                          .repairing = view.repairing};
    }
}

/* ---- the end --------------------------------------------------------------------------------- */

static bool matters(const struct sim_op *op)
{
    switch (op->kind) {
    case SIM_PUT:
    case SIM_CAS:
    case SIM_DELETE:
        return op->outcome == SIM_OK || op->outcome == SIM_UNKNOWN;
    case SIM_READ:
        return op->outcome == SIM_OK;
    case SIM_STALE:
        return false;
    }
    CHECK_UNREACHABLE();
}

static void check_key(struct sim *sim, uint32_t g, uint32_t key)
{
    const struct sim_op **ops = mem_alloc_array(sim->op_count + 1, sizeof(*ops));
    uint64_t *numbers = mem_alloc_array(sim->op_count + 1, sizeof(*numbers));
    size_t count = 0;
    for (size_t i = 0; i < sim->op_count; i++) {
        const struct sim_op *op = &sim->ops[i];
        if (op->group == g && op->key == key && matters(op)) {
            numbers[count] = i + 1;
            ops[count++] = op;
        }
    }
    enum sim_verdict verdict = sim_linear_check(ops, numbers, count);
    mem_free(ops);
    mem_free(numbers);
    if (verdict == SIM_NOT_LINEARIZABLE) {
        sim_violation(sim, "group %u: the history of key %u is not linearizable", g + 1, key);
    }
    sim->coverage->undecided += verdict == SIM_UNDECIDED ? 1 : 0;
}

static void check_ops(struct sim *sim)
{
    for (size_t i = 0; i < sim->op_count; i++) {
        const struct sim_op *op = &sim->ops[i];
        bool write = op->kind != SIM_READ && op->kind != SIM_STALE;
        if (write && op->outcome == SIM_OK && op->applied != 1) {
            sim_violation(sim, "operation %zu was acknowledged and is in the log %u times", i + 1,
                          op->applied);
        }
    }
}

void sim_check_final(struct sim *sim)
{
    check_ops(sim);
    for (uint32_t g = 0; g < sim->params.groups; g++) {
        struct sim_group *group = &sim->groups[g];
        for (uint32_t id = 1; id <= sim->params.nodes; id++) {
            struct sim_node *node = &sim->nodes[id];
            check_matching(node, g);
            for (uint32_t key = 0; key < sim->params.keys; key++) {
                uint64_t value = 0;
                uint64_t index = 0;
                sim_state_get(node, g, key, &value, &index);
                const struct sim_version *last = sim_version_at(group, key, group->committed);
                if (value != last->value || index != last->modify_index) {
                    sim_violation(sim, "node %u group %u: key %u ends as %llu, not %llu", id, g + 1,
                                  key, (unsigned long long)value, (unsigned long long)last->value);
                }
            }
        }
        for (uint32_t key = 0; key < sim->params.keys; key++) {
            check_key(sim, g, key);
        }
    }
    for (uint32_t id = 1; id <= sim->params.nodes; id++) {
        sim_mark(sim, "final", id, raft_fingerprint(engine_raft(sim->nodes[id].engine)), 0);
    }
}
