/* Connections and frames.
 *
 * A pair of nodes has at most one connection. Both sides learn of its beginning and of its end at
 * times of their own; frames of an older connection are never delivered. On an ordered network
 * frames arrive in order or, from some point on, not at all; what a cut holds back arrives when it
 * heals in time, else the connection breaks. On a wild one frames are lost, doubled and reordered
 * inside a connection, which is more than the engine is promised to meet, and must be safe too. */
#include "sim.h"

#include <stdio.h>

enum {
    HELD_MAX = 20000
};

#define RECONNECT_LOW  CLK_MS(5)
#define RECONNECT_HIGH CLK_MS(80)

struct sim_link *sim_net_link(struct sim *sim, uint32_t a, uint32_t b)
{
    CHECK(a != b && a > 0 && b > 0 && a <= SIM_NODES_MAX && b <= SIM_NODES_MAX);
    return a < b ? &sim->links[a][b] : &sim->links[b][a];
}

static int side_of(const struct sim_link *link, uint32_t node)
{
    CHECK(link->ends[0] == node || link->ends[1] == node);
    return link->ends[1] == node ? 1 : 0;
}

static clk_ns delay(struct sim *sim)
{
    return sim_between(sim, sim->params.delay_low, sim->params.delay_high);
}

static clk_ns delay_to(struct sim *sim, uint32_t node)
{
    return sim->lag[node] + delay(sim);
}

static void drop_held(struct sim_link *link, int side)
{
    struct list *item;
    while ((item = list_pop_front(&link->held[side])) != NULL) {
        sim_event_free(CONTAINER_OF(item, struct sim_event, link));
    }
    link->held_count[side] = 0;
}

/* ---- the end of a connection ----------------------------------------------------------------- */

static void peer_down(struct sim *sim, struct sim_event *event)
{
    struct sim_node *node = &sim->nodes[event->node];
    struct sim_link *link = sim_net_link(sim, event->node, event->peer);
    int side = side_of(link, event->node);
    if (link->up[side] != event->number) {
        return;
    }
    if (sim_node_paused(node)) {
        heap_set(&sim->events, &event->due, node->paused_until);
        return;
    }
    link->up[side] = 0;
    sim_mark(sim, "down", event->node, event->peer, event->number);
    engine_peer_down(node->engine, sim->now, event->peer);
    sim_node_touch(node);
}

static void tell_down(struct sim *sim, struct sim_link *link, int side, clk_ns at)
{
    struct sim_node *node = &sim->nodes[link->ends[side]];
    if (link->up[side] == 0 || !node->running) {
        link->up[side] = 0;
        return;
    }
    struct sim_event *event = sim_at(sim, at, peer_down);
    event->node = node->id;
    event->life = node->life;
    event->peer = link->ends[1 - side];
    event->number = link->up[side];
}

void sim_net_break(struct sim *sim, struct sim_link *link, clk_ns news)
{
    if (!link->open) {
        return;
    }
    link->open = false;
    link->breaking = false;
    for (int side = 0; side < 2; side++) {
        drop_held(link, side);
        tell_down(sim, link, side, sim->now + sim_between(sim, 0, news));
    }
}

void sim_net_node_gone(struct sim *sim, uint32_t node, bool polite)
{
    for (uint32_t peer = 1; peer <= sim->params.nodes; peer++) {
        if (peer == node) {
            continue;
        }
        struct sim_link *link = sim_net_link(sim, node, peer);
        link->up[side_of(link, node)] = 0;
        bool unreachable = sim->cut[node][peer];
        sim_net_break(sim, link, polite && !unreachable ? CLK_MS(1) : CLK_MS(1500));
    }
}

static void break_later(struct sim *sim, struct sim_event *event)
{
    struct sim_link *link = sim_net_link(sim, event->node, event->peer);
    if (link->open && link->breaking && link->epoch == event->number) {
        sim_mark(sim, "timeout", event->node, event->peer, link->epoch);
        sim_net_break(sim, link, CLK_MS(300));
    }
}

/* ---- frames ---------------------------------------------------------------------------------- */

/* A cut holds it back; frames that were on their way go before those that were sent later. */
static void hold(struct sim *sim, struct sim_link *link, int side, struct sim_event *event)
{
    struct list *after = link->held[side].prev;
    while (after != &link->held[side] &&
           CONTAINER_OF(after, struct sim_event, link)->order > event->order) {
        after = after->prev;
    }
    heap_remove(&sim->events, &event->due);
    list_push_front(after, &event->link);
    link->held_count[side]++;
    if (!link->breaking) {
        link->breaking = true;
        clk_ns patience = sim_between(sim, CLK_MS(100), CLK_MS(1500));
        struct sim_event *end = sim_at(sim, sim->now + patience, break_later);
        end->node = link->ends[0];
        end->peer = link->ends[1];
        end->number = link->epoch;
    }
}

/* It meets a cut that was made while it was on its way. */
static void catch_frame(struct sim *sim, struct sim_link *link, struct sim_event *event)
{
    if (sim->params.wild || !link->open || link->epoch != event->number) {
        sim->coverage->frames_lost++;
    } else {
        hold(sim, link, side_of(link, event->peer), event);
    }
}

static void deliver(struct sim *sim, struct sim_event *event)
{
    struct sim_node *node = &sim->nodes[event->node];
    struct sim_link *link = sim_net_link(sim, event->node, event->peer);
    if (!node->running || link->up[side_of(link, event->node)] != event->number) {
        return;
    }
    if (sim_node_paused(node)) {
        heap_set(&sim->events, &event->due, node->paused_until);
        return;
    }
    if (sim->cut[event->peer][event->node]) {
        catch_frame(sim, link, event);
        return;
    }
    sim_mark(sim, "frame", event->peer, event->node, event->size);
    enum err err = engine_receive(node->engine, sim->now, sim_node_wall(node), event->peer,
                                  bytes_of(event->bytes, event->size));
    if (err != ERR_OK) {
        sim_note(sim, "node %u calls a frame of node %u %s", node->id, event->peer, err_name(err));
        if (!sim->params.wild && !sim->nodes[event->peer].harmed && !node->harmed) {
            sim_violation(sim, "node %u calls a frame of node %u malformed", node->id, event->peer);
        }
        sim_net_break(sim, link, CLK_MS(1));
    }
    sim_node_touch(node);
}

static struct sim_event *put_frame(struct sim *sim, struct sim_link *link, int side,
                                   struct bytes frame, clk_ns at)
{
    struct sim_event *event = sim_at(sim, at, deliver);
    event->node = link->ends[1 - side];
    event->peer = link->ends[side];
    event->number = link->epoch;
    event->order = link->sent[side]++;
    event->size = frame.len;
    event->bytes = mem_alloc(frame.len);
    memcpy(event->bytes, frame.data, frame.len);
    return event;
}

static void send_wild(struct sim *sim, struct sim_link *link, int side, struct bytes frame)
{
    const struct sim_params *params = &sim->params;
    if (rnd_chance_ppm(&sim->rnd, params->drop_ppm)) {
        sim->coverage->frames_lost++;
        return;
    }
    clk_ns at = sim->now + delay_to(sim, link->ends[1 - side]);
    if (rnd_chance_ppm(&sim->rnd, params->reorder_ppm)) {
        at += sim_between(sim, 0, 20 * params->delay_high);
        sim->coverage->frames_reordered++;
    }
    put_frame(sim, link, side, frame, at);
    if (rnd_chance_ppm(&sim->rnd, params->double_ppm)) {
        put_frame(sim, link, side, frame, at + sim_between(sim, 0, 40 * params->delay_high));
        sim->coverage->frames_doubled++;
    }
}

bool sim_net_send(struct sim_node *from, raft_node_id to, struct bytes frame)
{
    struct sim *sim = from->sim;
    if (to == 0 || to > sim->params.nodes) {
        return false;
    }
    struct sim_link *link = sim_net_link(sim, from->id, to);
    int side = side_of(link, from->id);
    if (link->up[side] == 0) {
        return false;
    }
    sim->coverage->frames++;
    from->frames++;
    if (!link->open || link->up[side] != link->epoch) {
        sim->coverage->frames_lost++;
        return true; /* into a connection whose end this side has not heard of */
    }
    bool held = sim->cut[from->id][to] || !list_empty(&link->held[side]);
    if (sim->params.wild) {
        if (sim->cut[from->id][to]) {
            sim->coverage->frames_lost++;
        } else {
            send_wild(sim, link, side, frame);
        }
    } else if (held) {
        if (link->held_count[side] < HELD_MAX) {
            hold(sim, link, side, put_frame(sim, link, side, frame, CLK_NEVER));
        }
    } else {
        clk_ns at = sim->now + delay_to(sim, to);
        at = at > link->last_due[side] ? at : link->last_due[side] + 1;
        link->last_due[side] = at;
        put_frame(sim, link, side, frame, at);
    }
    return true;
}

/* ---- the beginning of a connection ----------------------------------------------------------- */

static void peer_up(struct sim *sim, struct sim_event *event)
{
    struct sim_node *node = &sim->nodes[event->node];
    struct sim_link *link = sim_net_link(sim, event->node, event->peer);
    if (!link->open || link->epoch != event->number) {
        return;
    }
    if (sim_node_paused(node)) {
        heap_set(&sim->events, &event->due, node->paused_until);
        return;
    }
    int side = side_of(link, event->node);
    if (link->up[side] != 0 && sim_chance(sim, 50)) {
        engine_peer_down(node->engine, sim->now, event->peer);
    }
    bool trusted = true;
    struct err_note note = {""};
    enum err err = engine_peer_up(node->engine, sim->now, &event->hello, &trusted, &note);
    if (err != ERR_OK) {
        sim_note(sim, "node %u refuses node %u: %s", node->id, event->peer, note.text);
        link->up[side] = 0;
        sim_net_break(sim, link, CLK_MS(1));
        return;
    }
    link->up[side] = link->epoch;
    if (!trusted) {
        sim->coverage->distrusted++;
        sim_note(sim, "node %u does not trust node %u: %s", node->id, event->peer, note.text);
    }
    sim_mark(sim, "up", event->node, event->peer, event->number);
    sim_node_touch(node);
}

static void schedule_up(struct sim *sim, struct sim_link *link, int side, clk_ns at)
{
    const struct sim_node *node = &sim->nodes[link->ends[side]];
    const struct sim_node *peer = &sim->nodes[link->ends[1 - side]];
    struct sim_event *event = sim_at(sim, at, peer_up);
    event->node = node->id;
    event->life = node->life;
    event->peer = peer->id;
    event->number = link->epoch;
    engine_hello_get(peer->engine, &event->hello);
}

static void connect(struct sim *sim, struct sim_link *link)
{
    clk_ns at[2];
    link->epoch++;
    link->open = true;
    link->breaking = false;
    sim->coverage->connections++;
    for (int side = 0; side < 2; side++) {
        at[side] = sim->now + delay(sim);
        schedule_up(sim, link, side, at[side]);
    }
    for (int side = 0; side < 2; side++) {
        /* What one side sends arrives after the other side has heard of the connection. */
        link->last_due[side] = at[1 - side];
    }
}

static void try_connect(struct sim *sim, struct sim_event *event)
{
    struct sim_link *link = sim_net_link(sim, event->node, event->peer);
    const struct sim_node *a = &sim->nodes[event->node];
    const struct sim_node *b = &sim->nodes[event->peer];
    bool cut = sim->cut[a->id][b->id] || sim->cut[b->id][a->id];
    bool alive = a->running && b->running && !sim_node_paused(a) && !sim_node_paused(b);
    if (!link->open && alive && !cut) {
        connect(sim, link);
    }
    clk_ns pause = sim_between(sim, RECONNECT_LOW, RECONNECT_HIGH);
    heap_set(&sim->events, &event->due, sim->now + pause);
}

/* ---- cuts ------------------------------------------------------------------------------------ */

void sim_net_cut(struct sim *sim, uint32_t from, uint32_t to)
{
    sim->cut[from][to] = true;
}

static void heal_isolation(struct sim *sim, struct sim_event *event)
{
    if (event->number != sim->isolations) {
        return; /* the newest one decides */
    }
    sim_note(sim, "the network is whole");
    sim_net_heal(sim);
}

void sim_net_isolate(struct sim *sim, uint32_t node)
{
    for (uint32_t peer = 1; peer <= sim->params.nodes; peer++) {
        if (peer != node) {
            sim_net_cut(sim, node, peer);
            sim_net_cut(sim, peer, node);
        }
    }
    clk_ns low = sim->params.relay ? CLK_MS(700) : CLK_MS(50); /* or until the next one */
    struct sim_event *event =
        sim_at(sim, sim->now + sim_between(sim, low, CLK_MS(1500)), heal_isolation);
    event->number = ++sim->isolations;
}

static void release_held(struct sim *sim, struct sim_link *link, int side)
{
    struct list *item;
    while ((item = list_pop_front(&link->held[side])) != NULL) {
        struct sim_event *event = CONTAINER_OF(item, struct sim_event, link);
        clk_ns at = sim->now + delay(sim);
        at = at > link->last_due[side] ? at : link->last_due[side] + 1;
        link->last_due[side] = at;
        heap_set(&sim->events, &event->due, at);
    }
    link->held_count[side] = 0;
}

void sim_net_heal(struct sim *sim)
{
    memset(sim->cut, 0, sizeof(sim->cut));
    memset(sim->lag, 0, sizeof(sim->lag));
    for (uint32_t a = 1; a <= sim->params.nodes; a++) {
        for (uint32_t b = a + 1; b <= sim->params.nodes; b++) {
            struct sim_link *link = sim_net_link(sim, a, b);
            release_held(sim, link, 0);
            release_held(sim, link, 1);
            link->breaking = false;
        }
    }
}

bool sim_net_whole(const struct sim *sim)
{
    for (uint32_t a = 1; a <= sim->params.nodes; a++) {
        for (uint32_t b = 1; b <= sim->params.nodes; b++) {
            if (sim->cut[a][b]) {
                return false;
            }
        }
    }
    return true;
}

void sim_net_init(struct sim *sim)
{
    for (uint32_t a = 1; a <= sim->params.nodes; a++) {
        for (uint32_t b = a + 1; b <= sim->params.nodes; b++) {
            struct sim_link *link = sim_net_link(sim, a, b);
            *link = (struct sim_link){.ends = {a, b}};
            list_init(&link->held[0]);
            list_init(&link->held[1]);
            struct sim_event *event =
                sim_at(sim, sim->now + sim_between(sim, 0, RECONNECT_HIGH), try_connect);
            event->node = a;
            event->peer = b;
        }
    }
}

void sim_net_done(struct sim *sim)
{
    for (uint32_t a = 1; a <= sim->params.nodes; a++) {
        for (uint32_t b = a + 1; b <= sim->params.nodes; b++) {
            drop_held(sim_net_link(sim, a, b), 0);
            drop_held(sim_net_link(sim, a, b), 1);
        }
    }
}
