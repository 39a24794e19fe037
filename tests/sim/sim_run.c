/* One run: the event loop and its phases. See sim.h. */
#include "sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    STEPS_MAX = 20000000, /* of one run: more is a loop without progress of time */
    FINAL_TRIES = 400
};

#define HEALED_WITHIN CLK_S(10)
#define PATIENCE      CLK_S(60)

static struct sim *current; /* for the message of a failed CHECK */

/* ---- notes ----------------------------------------------------------------------------------- */

void sim_describe(char *text, size_t size)
{
    if (current == NULL) {
        text[0] = '\0';
        return;
    }
    int length =
        snprintf(text, size, "seed %llu profile %s at %.6f s", (unsigned long long)current->seed,
                 sim_profile_name(current->profile), (double)current->now / 1e9);
    CHECK(length > 0 && (size_t)length < size);
}

void sim_violation(struct sim *sim, const char *format, ...)
{
    char where[160];
    sim_describe(where, sizeof(where));
    printf("VIOLATION %s: ", where);
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    printf("\nreplay: build/sim --seed %llu --profile %s -v\n", (unsigned long long)sim->seed,
           sim_profile_name(sim->profile));
    fflush(stdout);
    exit(1);
}

static void mix(struct sim *sim, uint64_t value)
{
    sim->fingerprint = (sim->fingerprint ^ value) * 0x100000001b3u;
    sim->fingerprint ^= sim->fingerprint >> 29;
}

void sim_note(struct sim *sim, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    CHECK(length >= 0);
    sim->fingerprint = sim_hash(sim->fingerprint, bytes_of_str(text));
    mix(sim, sim->now);
    if (sim->verbose > 0) {
        printf("%12.6f  %s\n", (double)sim->now / 1e9, text);
    }
}

void sim_mark(struct sim *sim, const char *what, uint64_t a, uint64_t b, uint64_t c)
{
    mix(sim, (uint64_t)(unsigned char)what[0] << 32 | (unsigned char)what[1]);
    mix(sim, sim->now);
    mix(sim, a);
    mix(sim, b << 32 ^ c);
    if (sim->verbose > 1) {
        printf("%12.6f  %s %llu %llu %llu\n", (double)sim->now / 1e9, what, (unsigned long long)a,
               (unsigned long long)b, (unsigned long long)c);
    }
}

/* ---- events ---------------------------------------------------------------------------------- */

struct sim_event *sim_at(struct sim *sim, clk_ns at,
                         void (*run)(struct sim *sim, struct sim_event *event))
{
    struct sim_event *event = mem_alloc(sizeof(*event));
    event->run = run;
    list_init(&event->link);
    heap_set(&sim->events, &event->due, at);
    return event;
}

void sim_event_free(struct sim_event *event)
{
    sim_snapshot_unref(event->snapshot);
    mem_free(event->bytes);
    mem_free(event);
}

clk_ns sim_between(struct sim *sim, clk_ns low, clk_ns high)
{
    return low >= high ? low : rnd_range(&sim->rnd, low, high);
}

bool sim_chance(struct sim *sim, uint32_t percent)
{
    return rnd_below(&sim->rnd, 100) < percent;
}

static struct sim_node *first_to_wake(struct sim *sim)
{
    struct sim_node *first = NULL;
    for (uint32_t id = 1; id <= sim->params.nodes; id++) {
        struct sim_node *node = &sim->nodes[id];
        if (node->running && (first == NULL || node->wake < first->wake)) {
            first = node;
        }
    }
    return first;
}

static bool run_event(struct sim *sim, struct heap_node *due)
{
    struct sim_event *event = CONTAINER_OF(due, struct sim_event, due);
    heap_remove(&sim->events, due);
    bool lapsed = event->life != 0 && event->life != sim->nodes[event->node].life;
    if (!lapsed) {
        event->run(sim, event);
    }
    /* An event that put itself back, or into a list, lives on. */
    if (!heap_linked(&event->due) && !list_linked(&event->link)) {
        sim_event_free(event);
    }
    return true;
}

/* One step: the earliest of events and nodes; false when the time is over. */
static bool step(struct sim *sim, clk_ns until)
{
    struct heap_node *due = heap_min(&sim->events);
    struct sim_node *node = first_to_wake(sim);
    clk_ns event_at = due == NULL ? CLK_NEVER : due->key;
    clk_ns node_at = node == NULL ? CLK_NEVER : node->wake;
    clk_ns at = event_at < node_at ? event_at : node_at;
    if (at > until) {
        sim->now = until;
        return false;
    }
    sim->now = at > sim->now ? at : sim->now;
    sim->coverage->steps++;
    if (++sim->steps == STEPS_MAX) {
        sim_violation(sim, "%d steps: time does not go on", STEPS_MAX);
    }
    if (node_at <= event_at) {
        sim_node_wake(node);
        return true;
    }
    return run_event(sim, due);
}

static void run_until(struct sim *sim, clk_ns until)
{
    while (step(sim, until)) {
    }
}

/* ---- phases ---------------------------------------------------------------------------------- */

static bool write_done(const struct sim *sim, uint64_t number)
{
    return number != 0 && sim->ops[number - 1].outcome == SIM_OK;
}

/* From every node a write on every group must be acknowledged in time. A write that was refused, or
 * whose outcome is unknown, is tried again. */
static void prove_liveness(struct sim *sim, clk_ns until)
{
    uint64_t writes[SIM_NODES_MAX + 1][SIM_GROUPS_MAX] = {{0}};
    for (;;) {
        bool all = true;
        for (uint32_t id = 1; id <= sim->params.nodes; id++) {
            for (uint32_t g = 0; g < sim->params.groups; g++) {
                uint64_t *number = &writes[id][g];
                if (write_done(sim, *number)) {
                    continue;
                }
                all = false;
                bool again = *number == 0 || sim->ops[*number - 1].outcome != SIM_PENDING;
                if (again && sim->nodes[id].running) {
                    *number = sim_client_write(&sim->nodes[id], g, CLK_S(1));
                }
                if (sim->now >= until) {
                    sim_violation(sim, "no write of node %u on group %u within %.0f s of healing",
                                  id, g + 1, (double)HEALED_WITHIN / 1e9);
                }
            }
        }
        if (all) {
            return;
        }
        run_until(sim, sim->now + CLK_MS(10));
    }
}

/* Damage that a leader could mend is mended, and everybody counts again, but for those whose disk
 * is another one now. */
static bool is_mended(const struct sim_node *node, uint32_t g)
{
    struct raft_view view;
    enum err err = engine_view(node->engine, g + 1, &view);
    CHECK(err == ERR_OK);
    bool mended = !view.repairing;
    for (uint32_t i = 0; i < view.peer_count; i++) {
        bool wiped = node->sim->nodes[view.peers[i].node].harm == SIM_WIPED;
        mended = mended && (view.peers[i].trusted || wiped);
    }
    return mended;
}

static bool at_rest(const struct sim *sim)
{
    for (uint32_t id = 1; id <= sim->params.nodes; id++) {
        for (uint32_t g = 0; g < sim->params.groups; g++) {
            const struct sim_node *node = &sim->nodes[id];
            if (!node->running || node->states[g].applied != sim->groups[g].committed ||
                !is_mended(node, g)) {
                return false;
            }
        }
        for (uint32_t c = 0; c < sim->params.clients; c++) {
            if (sim->nodes[id].clients[c].op != 0) {
                return false;
            }
        }
    }
    return true;
}

static void wait_for_rest(struct sim *sim)
{
    for (int i = 0; i < FINAL_TRIES; i++) {
        run_until(sim, sim->now + CLK_MS(50));
        if (at_rest(sim)) {
            return;
        }
    }
    sim_violation(sim, "the nodes do not come to rest: all applied, repaired and trusted");
}

static void begin(struct sim *sim, uint64_t seed, size_t profile)
{
    sim->seed = seed;
    sim->profile = profile;
    sim->fingerprint = 0xcbf29ce484222325u;
    rnd_init(&sim->rnd, seed * 0x9e3779b97f4a7c15u + profile);
    sim_params_draw(&sim->params, profile, &sim->rnd);
    heap_init(&sim->events);
    buf_init(&sim->scratch, (size_t)1 << 20);
    buf_init(&sim->body, (size_t)1 << 20);
    sim->now = CLK_S(1);
    sim_net_init(sim);
    for (uint32_t id = 1; id <= sim->params.nodes; id++) {
        sim_node_init(sim, id);
        sim_node_restart_at(&sim->nodes[id], sim->now + sim_between(sim, 0, CLK_MS(200)));
    }
    sim_note(sim, "%u nodes, %u groups, %s network", sim->params.nodes, sim->params.groups,
             sim->params.wild ? "wild" : "ordered");
}

static void end(struct sim *sim)
{
    struct heap_node *due;
    for (uint32_t id = 1; id <= sim->params.nodes; id++) {
        sim_node_done(&sim->nodes[id]);
    }
    sim_net_done(sim);
    while ((due = heap_min(&sim->events)) != NULL) {
        heap_remove(&sim->events, due);
        sim_event_free(CONTAINER_OF(due, struct sim_event, due));
    }
    heap_done(&sim->events);
    for (uint32_t g = 0; g < SIM_GROUPS_MAX; g++) {
        sim_group_done(&sim->groups[g]);
    }
    buf_done(&sim->scratch);
    buf_done(&sim->body);
    mem_free(sim->ops);
}

uint64_t sim_run(uint64_t seed, size_t profile, int verbose, struct sim_coverage *coverage)
{
    struct sim *sim = mem_alloc(sizeof(*sim));
    current = sim;
    sim->verbose = verbose;
    sim->coverage = coverage;
    begin(sim, seed, profile);
    sim_clients_start(sim);
    sim_faults_start(sim);
    run_until(sim, sim->now + sim->params.chaos);
    sim_note(sim, "healing");
    sim->phase = SIM_HEALED;
    sim_faults_end(sim);
    prove_liveness(sim, sim->now + HEALED_WITHIN);
    wait_for_rest(sim);
    sim_check_final(sim);
    coverage->runs++;
    coverage->virtual_ms += sim->now / 1000000;
    uint64_t fingerprint = sim->fingerprint;
    end(sim);
    current = NULL;
    mem_free(sim);
    return fingerprint;
}
