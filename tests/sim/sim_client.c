/* Clients: each has one operation under way, on a few keys, and remembers what it last read for its
 * compare-and-set. Every answer is held against the log at once; the histories are judged again at
 * the end, without any knowledge of the log (sim_linear.c). See sim.h. */
#include "sim.h"

#include <stdio.h>

/* How much longer than its deadline an operation may wait for its answer. */
#define GRACE CLK_MS(300)

void sim_key_name(uint32_t key, char *dest, size_t size)
{
    (void)snprintf(dest, size, "key/%u", key);
}

struct sim_op *sim_op_of(struct sim *sim, uint64_t number)
{
    CHECK(number > 0 && number <= sim->op_count);
    return &sim->ops[number - 1];
}

static uint64_t new_op(struct sim *sim, const struct sim_op *op)
{
    if (sim->op_count == sim->op_cap) {
        sim->op_cap = sim->op_cap == 0 ? 1024 : 2 * sim->op_cap;
        sim->ops = mem_resize(sim->ops, sim->op_cap * sizeof(*sim->ops));
    }
    sim->ops[sim->op_count++] = *op;
    return sim->op_count;
}

/* ---- the end of an operation ----------------------------------------------------------------- */

static void finish(struct sim *sim, uint64_t number, enum sim_outcome outcome)
{
    struct sim_op *op = sim_op_of(sim, number);
    CHECK(op->outcome == SIM_PENDING);
    op->outcome = outcome;
    op->returned = sim->now;
    if (op->client < SIM_CLIENTS_MAX) {
        struct sim_client *client = &sim->nodes[op->node].clients[op->client];
        if (client->op == number) {
            client->op = 0;
        }
    }
    bool read = op->kind == SIM_READ || op->kind == SIM_STALE;
    struct sim_coverage *c = sim->coverage;
    if (read) {
        c->reads_ok += outcome == SIM_OK && op->kind == SIM_READ;
        c->stale_reads += outcome == SIM_OK && op->kind == SIM_STALE;
        c->reads_failed += outcome != SIM_OK;
    } else {
        c->writes_ok += outcome == SIM_OK;
        c->writes_refused += outcome == SIM_FAILED;
        c->writes_unknown += outcome == SIM_UNKNOWN;
    }
    sim_mark(sim, "op", number, (uint64_t)outcome, op->value);
}

void sim_client_answer(struct sim_node *node, uint64_t number, const struct machine_result *result,
                       raft_index index)
{
    struct sim *sim = node->sim;
    struct sim_op *op = sim_op_of(sim, number);
    struct sim_group *group = &sim->groups[op->group];
    if (op->outcome != SIM_PENDING || op->life != node->life) {
        sim_violation(sim, "node %u: operation %llu is answered twice", node->id,
                      (unsigned long long)number);
    }
    if (result->duplicate || result->result.err != ERR_OK) {
        sim_violation(sim, "node %u: the answer to operation %llu is %s", node->id,
                      (unsigned long long)number,
                      result->duplicate ? "a duplicate" : err_name(result->result.err));
    }
    if (op->index != index) {
        sim_violation(sim, "operation %llu is answered with entry %llu, but it was applied by %llu",
                      (unsigned long long)number, (unsigned long long)index,
                      (unsigned long long)op->index);
    }
    if (index <= op->floor) {
        sim_violation(sim, "operation %llu began after entry %llu was seen, and became %llu",
                      (unsigned long long)number, (unsigned long long)op->floor,
                      (unsigned long long)index);
    }
    op->done = result->result.value == 1;
    group->floor = group->floor > index ? group->floor : index;
    finish(sim, number, SIM_OK);
}

void sim_client_failed(void *self, uint64_t tag, enum err err)
{
    struct sim_node *node = self;
    if (err != ERR_NO_LEADER && err != ERR_UNKNOWN) {
        sim_violation(node->sim, "node %u: a proposal failed with %s", node->id, err_name(err));
    }
    if (sim_op_of(node->sim, tag)->outcome != SIM_PENDING) {
        sim_violation(node->sim, "node %u: operation %llu is answered twice", node->id,
                      (unsigned long long)tag);
    }
    finish(node->sim, tag, err == ERR_NO_LEADER ? SIM_FAILED : SIM_UNKNOWN);
}

/* ---- reads ----------------------------------------------------------------------------------- */

static void read_now(struct sim_node *node, uint64_t number)
{
    struct sim *sim = node->sim;
    struct sim_op *op = sim_op_of(sim, number);
    struct sim_group *group = &sim->groups[op->group];
    op->index = node->states[op->group].applied;
    sim_state_get(node, op->group, op->key, &op->value, &op->modify_index);
    const struct sim_version *version = sim_version_at(group, op->key, op->index);
    if (version->value != op->value || version->modify_index != op->modify_index) {
        sim_violation(
            sim, "node %u group %u at %llu: key %u is %llu of %llu, it should be %llu of %llu",
            node->id, op->group + 1, (unsigned long long)op->index, op->key,
            (unsigned long long)op->value, (unsigned long long)op->modify_index,
            (unsigned long long)version->value, (unsigned long long)version->modify_index);
    }
    if (op->kind == SIM_READ) {
        if (op->index < op->floor) {
            sim_violation(sim,
                          "node %u group %u: a consistent read saw entry %llu; %llu had been seen "
                          "before it began",
                          node->id, op->group + 1, (unsigned long long)op->index,
                          (unsigned long long)op->floor);
        }
        group->floor = group->floor > op->index ? group->floor : op->index;
    } else {
        raft_index *floor = &node->stale_floor[op->group];
        if (op->index < *floor) {
            sim_violation(sim, "node %u group %u: stale reads go backwards", node->id,
                          op->group + 1);
        }
        *floor = op->index;
    }
    if (op->client < SIM_CLIENTS_MAX) {
        struct sim_client *client = &node->clients[op->client];
        client->seen_value[op->group][op->key] = op->value;
        client->seen_index[op->group][op->key] = op->modify_index;
    }
    finish(sim, number, SIM_OK);
}

void sim_client_read_done(void *self, uint64_t tag, enum err err, raft_index index)
{
    struct sim_node *node = self;
    struct sim_op *op = sim_op_of(node->sim, tag);
    if (op->outcome != SIM_PENDING || op->life != node->life || op->wanted != 0) {
        sim_violation(node->sim, "node %u: read %llu is answered twice", node->id,
                      (unsigned long long)tag);
    }
    if (err != ERR_OK) {
        finish(node->sim, tag, SIM_FAILED);
        return;
    }
    op->wanted = index > 0 ? index : 1;
    if (node->states[op->group].applied >= index) {
        read_now(node, tag);
    }
}

void sim_clients_applied(struct sim_node *node, uint32_t group)
{
    struct sim *sim = node->sim;
    for (uint32_t c = 0; c < sim->params.clients; c++) {
        uint64_t number = node->clients[c].op;
        if (number == 0) {
            continue;
        }
        const struct sim_op *op = sim_op_of(sim, number);
        if (op->group == group && op->kind == SIM_READ && op->wanted > 0 &&
            node->states[group].applied >= op->wanted) {
            read_now(node, number);
        }
    }
}

static void begin_read(struct sim_node *node, uint64_t number)
{
    struct sim *sim = node->sim;
    struct sim_op *op = sim_op_of(sim, number);
    if (op->kind == SIM_STALE) {
        read_now(node, number);
        return;
    }
    enum err err = engine_read(node->engine, sim->now, op->group + 1, number);
    if (err != ERR_OK) {
        CHECK(err == ERR_NO_LEADER || err == ERR_FULL);
        finish(sim, number, SIM_FAILED);
    }
    sim_node_touch(node);
}

/* ---- writes ---------------------------------------------------------------------------------- */

static enum err encode_body(struct sim *sim, const struct sim_op *op, uint64_t number)
{
    char name[16];
    sim_key_name(op->key, name, sizeof(name));
    buf_clear(&sim->body);
    if (op->kind == SIM_DELETE) {
        struct kv_delete del = {.key = bytes_of_str(name)};
        return kv_delete_encode(&del, &sim->body);
    }
    static const uint8_t filler[SIM_VALUE_MAX] = {0};
    size_t size =
        sim_chance(sim, 5) ? rnd_below(&sim->rnd, SIM_VALUE_MAX) : rnd_below(&sim->rnd, 40);
    struct kv_put put = {.key = bytes_of_str(name),
                         .value = bytes_of(filler, size),
                         .flags = number,
                         .has_cas = op->kind == SIM_CAS,
                         .cas = op->expect_index};
    return kv_put_encode(&put, &sim->body);
}

static void begin_write(struct sim_node *node, uint64_t number)
{
    struct sim *sim = node->sim;
    struct sim_op *op = sim_op_of(sim, number);
    enum err err = encode_body(sim, op, number);
    CHECK(err == ERR_OK);
    uint8_t trace[MACHINE_TRACE_BYTES] = {0};
    put_u64(trace, number);
    struct engine_proposal proposal = {
        .group = op->group + 1,
        .kind = op->kind == SIM_DELETE ? KV_CMD_DELETE : KV_CMD_PUT,
        .principal = BYTES_LITERAL("sim"),
        .trace_id = trace,
        .body = buf_bytes(&sim->body),
        .tag = number,
        .deadline = op->deadline,
    };
    op->value = op->kind == SIM_DELETE ? 0 : number;
    err = engine_propose(node->engine, sim->now, &proposal);
    if (err != ERR_OK) {
        CHECK(err == ERR_FULL);
        finish(sim, number, SIM_FAILED);
    }
    sim_node_touch(node);
}

static struct sim_op draw_op(struct sim_node *node, uint32_t client)
{
    struct sim *sim = node->sim;

    static const enum sim_op_kind kinds[] = {SIM_PUT,  SIM_PUT,  SIM_PUT,  SIM_CAS,   SIM_CAS,
                                             SIM_READ, SIM_READ, SIM_READ, SIM_STALE, SIM_DELETE};
    struct sim_op op = {
        .kind = kinds[rnd_below(&sim->rnd, sizeof(kinds) / sizeof(kinds[0]))],
        .node = node->id,
        .client = client,
        .group = (uint32_t)rnd_below(&sim->rnd, sim->params.groups),
        .key = (uint32_t)rnd_below(&sim->rnd, sim->params.keys),
        .invoked = sim->now,
        .life = node->life,
    };
    op.deadline = sim->now + sim_between(sim, CLK_MS(50), CLK_MS(2000));
    op.floor = sim->groups[op.group].floor;
    op.expect = node->clients[client].seen_value[op.group][op.key];
    op.expect_index = node->clients[client].seen_index[op.group][op.key];
    return op;
}

uint64_t sim_client_write(struct sim_node *node, uint32_t group, clk_ns patience)
{
    struct sim *sim = node->sim;
    struct sim_op op = {.kind = SIM_PUT,
                        .node = node->id,
                        .client = SIM_CLIENTS_MAX,
                        .group = group,
                        .key = (uint32_t)rnd_below(&sim->rnd, sim->params.keys),
                        .invoked = sim->now,
                        .life = node->life,
                        .deadline = sim->now + patience,
                        .floor = sim->groups[group].floor};
    uint64_t number = new_op(sim, &op);
    begin_write(node, number);
    return number;
}

/* ---- the clients' lives ---------------------------------------------------------------------- */

/* A read is given up by its client, not by the engine; what comes later is ignored. */
static void tick(struct sim *sim, struct sim_event *event)
{
    struct sim_node *node = &sim->nodes[event->node];
    struct sim_client *client = &node->clients[event->peer];
    bool busy = client->op != 0;
    if (sim->phase == SIM_HEALED && !busy) {
        return;
    }
    heap_set(&sim->events, &event->due,
             sim->now + 1 + sim_between(sim, 0, busy ? CLK_MS(2) : sim->params.think));
    if (busy || !node->running || sim_node_paused(node)) {
        return;
    }
    struct sim_op op = draw_op(node, event->peer);
    uint64_t number = new_op(sim, &op);
    client->op = number;
    if (op.kind == SIM_READ || op.kind == SIM_STALE) {
        begin_read(node, number);
    } else {
        begin_write(node, number);
    }
}

void sim_clients_start(struct sim *sim)
{
    for (uint32_t id = 1; id <= sim->params.nodes; id++) {
        for (uint32_t c = 0; c < sim->params.clients; c++) {
            struct sim_event *event = sim_at(sim, sim->now + sim_between(sim, 0, CLK_S(1)), tick);
            event->node = id;
            event->peer = c;
        }
    }
}

void sim_clients_lost(struct sim_node *node)
{
    struct sim *sim = node->sim;
    for (size_t i = 0; i < sim->op_count; i++) {
        if (sim->ops[i].node == node->id && sim->ops[i].outcome == SIM_PENDING) {
            finish(sim, i + 1, SIM_UNKNOWN);
        }
    }
}

void sim_clients_check(struct sim *sim)
{
    for (size_t i = 0; i < sim->op_count; i++) {
        const struct sim_op *op = &sim->ops[i];
        bool write = op->kind != SIM_READ && op->kind != SIM_STALE;
        if (op->outcome == SIM_PENDING && write && sim->now > op->deadline + GRACE &&
            sim->phase == SIM_HEALED) {
            sim_violation(sim, "node %u: operation %zu has no answer %.3f s after its deadline",
                          op->node, i + 1, (double)(sim->now - op->deadline) / 1e9);
        }
    }
}
