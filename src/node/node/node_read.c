/* Reads on an edge: stale ones at once, consistent ones after a read index of the leader.
 *
 *   node_read -> reads_new --one CORE_READ per turn--> read_rounds --EDGE_READ_READY--> wait until
 *   applied
 *                   ^                                      |                              ->
 *                   snapshot -> done +---------- no leader: after 10 ms ----+
 *
 * All consistent reads of a turn share one round. A round that fails (no leader, leadership lost)
 * puts its reads back until their deadlines pass. */
#include "check/check.h"
#include "mem/mem.h"
#include "node/node_priv.h"

#define READ_DEADLINE_DEFAULT CLK_S(10)
#define READ_RETRY            CLK_MS(10)
#define EXPIRE_EVERY          CLK_MS(100)

struct read_round {
    struct list link;
    struct list reads;
    uint64_t id;
    uint64_t index; /* 0: not answered yet */
};

static void fill_contact(const struct node_edge *edge, struct node_snapshot *snapshot)
{
    const struct node *node = edge->node;
    clk_ns heard = atomic_load_explicit(&node->leader_heard, memory_order_relaxed);
    clk_ns now = loop_now(edge->loop);
    snapshot->known_leader = atomic_load_explicit(&node->leader, memory_order_relaxed) != 0;
    if (!atomic_load_explicit(&node->leads, memory_order_relaxed) && now > heard) {
        snapshot->last_contact_ms = (now - heard) / CLK_MS(1);
    }
}

/* A snapshot that is being installed replaces the rows over several transactions; what lies between
 * has index 0 and must not be shown. The flag is up before the first of them and goes down after
 * the index is published, so one of the two tells. */
static bool is_partial(const struct node *node, uint64_t index)
{
    if (index > 0) {
        return false;
    }
    bool installing = atomic_load_explicit(&node->installing, memory_order_acquire);
    return installing || atomic_load_explicit(&node->committed, memory_order_acquire) > 0;
}

/* ERR_FULL: the state is being replaced, or reads were started inside of reads too deeply. */
static enum err open_snapshot(struct node_edge *edge, struct store_reader *reader,
                              struct table_txn *txn, struct node_snapshot *snapshot)
{
    enum err err = store_read_begin(reader);
    if (err != ERR_OK) {
        return err;
    }
    store_read_tables(reader, META_GROUP, txn);
    *snapshot = (struct node_snapshot){.txn = txn};
    err = table_applied(txn, &snapshot->index);
    if (err == ERR_OK && is_partial(edge->node, snapshot->index)) {
        err = ERR_FULL;
    }
    if (err != ERR_OK) {
        store_read_end(reader);
    }
    return err;
}

static void serve(struct node_edge *edge, struct node_reading *reading)
{
    if (edge->reader_depth == EDGE_READERS) {
        reading->done(reading, ERR_FULL, NULL);
        return;
    }
    struct store_reader *reader = edge->readers[edge->reader_depth];
    struct table_txn txn;
    struct node_snapshot snapshot;
    enum err err = open_snapshot(edge, reader, &txn, &snapshot);
    if (err != ERR_OK) {
        reading->done(reading, err, NULL);
        return;
    }
    edge->reader_depth++;
    /* Changes before the read that shows them. What is told may close connections and cancel this
     * very read: then it is not in the list any more. */
    struct list served;
    list_init(&served);
    list_push_back(&served, &reading->link);
    node_edge_tell(edge, snapshot.index);
    if (list_pop_front(&served) != NULL) {
        fill_contact(edge, &snapshot);
        reading->done(reading, ERR_OK, &snapshot);
    }
    edge->reader_depth--;
    store_read_end(reader);
}

enum err node_read(struct node_edge *edge, const struct node_call *call,
                   enum node_consistency consistency, struct node_reading *reading)
{
    CHECK(reading->done != NULL);
    list_init(&reading->link);
    if (consistency == NODE_STALE) {
        serve(edge, reading);
        return ERR_OK;
    }
    reading->deadline =
        call->deadline != 0 ? call->deadline : loop_now(edge->loop) + READ_DEADLINE_DEFAULT;
    list_push_back(&edge->reads_new, &reading->link);
    return ERR_OK;
}

void node_read_cancel(struct node_edge *edge, struct node_reading *reading)
{
    (void)edge;
    list_remove(&reading->link);
}

/* ---- rounds ---------------------------------------------------------------------------------- */

static void move_all(struct list *from, struct list *to)
{
    struct list *link = NULL;
    while ((link = list_pop_front(from)) != NULL) {
        list_push_back(to, link);
    }
}

static void free_round(struct read_round *round)
{
    list_remove(&round->link);
    mem_free(round);
}

static void start_round(struct node_edge *edge)
{
    struct core_msg *msg = node_core_msg_new(CORE_READ, 0);
    uint64_t id = ((uint64_t)(edge->number + 1) << TAG_EDGE_SHIFT) | ++edge->next_round;
    msg->tag = id;
    if (node_edge_to_core(edge, msg) != ERR_OK) {
        mem_free(msg);
        return; /* next turn */
    }
    struct read_round *round = mem_alloc(sizeof(*round));
    round->id = id;
    list_init(&round->reads);
    move_all(&edge->reads_new, &round->reads);
    list_push_back(&edge->read_rounds, &round->link);
}

void node_read_round(struct node_edge *edge, uint64_t id, enum err err, uint64_t index)
{
    LIST_FOREACH (link, &edge->read_rounds) {
        struct read_round *round = CONTAINER_OF(link, struct read_round, link);
        if (round->id != id) {
            continue;
        }
        if (err == ERR_OK) {
            round->index = index;
            return;
        }
        move_all(&round->reads, &edge->reads_new);
        free_round(round);
        edge->read_retry_at = loop_now(edge->loop) + READ_RETRY;
        return;
    }
}

static void serve_rounds(struct node_edge *edge)
{
    if (atomic_load_explicit(&edge->node->installing, memory_order_acquire)) {
        return; /* the store shows no whole state now; its end wakes this edge */
    }
    uint64_t committed = atomic_load_explicit(&edge->node->committed, memory_order_acquire);
    LIST_FOREACH_SAFE (link, after, &edge->read_rounds) {
        struct read_round *round = CONTAINER_OF(link, struct read_round, link);
        if (round->index == 0 || round->index > committed) {
            continue;
        }
        struct list reads;
        list_init(&reads);
        move_all(&round->reads, &reads);
        after = round->link.next;
        free_round(round);
        struct list *read = NULL;
        while ((read = list_pop_front(&reads)) != NULL) {
            serve(edge, CONTAINER_OF(read, struct node_reading, link));
        }
        after = edge->read_rounds.next; /* callbacks may have changed the list: look again */
        if (after == &edge->read_rounds) {
            break;
        }
    }
}

static void take_expired(struct list *reads, clk_ns now, struct list *expired)
{
    LIST_FOREACH_SAFE (link, after, reads) {
        if (CONTAINER_OF(link, struct node_reading, link)->deadline <= now) {
            list_remove(link);
            list_push_back(expired, link);
        }
    }
}

static void on_read_timer(struct loop_timer *timer)
{
    struct node_edge *edge = CONTAINER_OF(timer, struct node_edge, read_timer);
    clk_ns now = loop_now(edge->loop);
    struct list expired;
    list_init(&expired);
    take_expired(&edge->reads_new, now, &expired);
    LIST_FOREACH (link, &edge->read_rounds) {
        take_expired(&CONTAINER_OF(link, struct read_round, link)->reads, now, &expired);
    }
    bool leader = atomic_load_explicit(&edge->node->leader, memory_order_relaxed) != 0;
    struct list *link = NULL;
    while ((link = list_pop_front(&expired)) != NULL) { /* a callback may cancel any other read */
        struct node_reading *reading = CONTAINER_OF(link, struct node_reading, link);
        reading->done(reading, leader ? ERR_TIMEOUT : ERR_NO_LEADER, NULL);
    }
}

/* The timer serves both ends: asking again, and passed deadlines. */
static void arm(struct node_edge *edge)
{
    if (list_empty(&edge->reads_new) && list_empty(&edge->read_rounds)) {
        return;
    }
    clk_ns now = loop_now(edge->loop);
    clk_ns at = now + EXPIRE_EVERY;
    if (!list_empty(&edge->reads_new) && edge->read_retry_at > now && edge->read_retry_at < at) {
        at = edge->read_retry_at;
    }
    if (!loop_timer_is_set(&edge->read_timer) || at < edge->read_timer_at) {
        edge->read_timer_at = at;
        loop_timer_set(edge->loop, &edge->read_timer, at, on_read_timer);
    }
}

void node_read_turn(struct node_edge *edge)
{
    serve_rounds(edge);
    if (!list_empty(&edge->reads_new) && loop_now(edge->loop) >= edge->read_retry_at) {
        start_round(edge);
    }
    arm(edge);
}

void node_read_init(struct node_edge *edge)
{
    list_init(&edge->reads_new);
    list_init(&edge->read_rounds);
}

void node_read_done(struct node_edge *edge)
{
    loop_timer_cancel(edge->loop, &edge->read_timer);
    LIST_FOREACH_SAFE (link, after, &edge->read_rounds) {
        free_round(CONTAINER_OF(link, struct read_round, link));
    }
}
