/* Edges: proposals and their results, the ring's other end, posts from other threads, events. */
#include "check/check.h"
#include "mem/mem.h"
#include "node/node_priv.h"
#include "process/process.h"

#include <string.h>

#define DEADLINE_DEFAULT CLK_S(10)

struct post {
    struct list link;
    void (*fn)(void *self);
    void *self;
};

/* ---- proposals ------------------------------------------------------------------------------- */

static bool id_eq(const struct map_node *node, const void *key)
{
    const struct node_proposal *proposal = CONTAINER_OF_CONST(node, struct node_proposal, by_id);
    return proposal->id == *(const uint64_t *)key;
}

static struct node_proposal *find_proposal(const struct node_edge *edge, uint64_t id)
{
    struct map_node *node = map_find(&edge->proposals, hash_u64(id), id_eq, &id);
    return node == NULL ? NULL : CONTAINER_OF(node, struct node_proposal, by_id);
}

enum err node_edge_to_core(struct node_edge *edge, struct core_msg *msg)
{
    enum err err = inbox_push(&edge->to_core, msg);
    if (err == ERR_OK) {
        edge->wake_core = true;
    }
    return err;
}

static clk_ns deadline_of(const struct node_edge *edge, const struct node_call *call)
{
    return call->deadline != 0 ? call->deadline : loop_now(edge->loop) + DEADLINE_DEFAULT;
}

enum err node_propose(struct node_edge *edge, const struct node_call *call, uint16_t kind,
                      struct bytes body, struct node_proposal *proposal)
{
    CHECK(proposal->done != NULL);
    if (body.len > MACHINE_COMMAND_MAX || call->principal.len > MACHINE_PRINCIPAL_MAX) {
        return ERR_TOO_LARGE;
    }
    if (edge->proposals.count >= EDGE_PENDING_MAX) {
        return ERR_FULL;
    }
    struct core_msg *msg = node_core_msg_new(CORE_PROPOSE, call->principal.len + body.len);
    uint64_t id = ++edge->next_id;
    msg->tag = ((uint64_t)(edge->number + 1) << TAG_EDGE_SHIFT) | id;
    msg->command_kind = kind;
    msg->deadline = deadline_of(edge, call);
    msg->principal_len = (uint32_t)call->principal.len;
    msg->body_len = (uint32_t)body.len;
    memcpy(msg->trace_id, call->trace_id, sizeof(msg->trace_id));
    if (call->principal.len > 0) {
        memcpy(msg->bytes, call->principal.data, call->principal.len);
    }
    if (body.len > 0) {
        memcpy(msg->bytes + call->principal.len, body.data, body.len);
    }
    enum err err = node_edge_to_core(edge, msg);
    if (err != ERR_OK) {
        mem_free(msg);
        return err;
    }
    proposal->id = id;
    map_insert(&edge->proposals, &proposal->by_id, hash_u64(id));
    return ERR_OK;
}

void node_propose_cancel(struct node_edge *edge, struct node_proposal *proposal)
{
    if (find_proposal(edge, proposal->id) == proposal) {
        map_remove(&edge->proposals, &proposal->by_id);
    }
}

static void finish(struct node_edge *edge, uint64_t tag, enum err err,
                   const struct node_result *result)
{
    uint64_t id = tag & ((UINT64_C(1) << TAG_EDGE_SHIFT) - 1);
    struct node_proposal *proposal = find_proposal(edge, id);
    if (proposal != NULL) {
        map_remove(&edge->proposals, &proposal->by_id);
        proposal->done(proposal, err, result);
    }
}

void node_feed_result(struct node_edge *edge, uint64_t tag, const struct node_result *result)
{
    finish(edge, tag, ERR_OK, result);
}

/* ---- the ring -------------------------------------------------------------------------------- */

static void take_batches(struct node_edge *edge)
{
    struct batch *batch = NULL;
    while ((batch = inbox_pop(&edge->from_apply)) != NULL) {
        list_push_back(&edge->batches, &batch->link);
    }
}

static void free_batch(struct node_edge *edge, struct batch *batch)
{
    (void)atomic_fetch_sub_explicit(&edge->backlog, 1, memory_order_relaxed);
    buf_done(&batch->items);
    mem_free(batch);
}

/* Tells all batches up to an index that the store shows. A callback may come back here (a stale
 * read): then the outer call goes on with what it has begun, and the inner one only reads. */
void node_edge_tell(struct node_edge *edge, uint64_t upto)
{
    take_batches(edge);
    if (edge->telling) {
        return;
    }
    edge->telling = true;
    bool lost = false;
    while (!list_empty(&edge->batches)) {
        struct batch *batch = CONTAINER_OF(edge->batches.next, struct batch, link);
        if (batch->last_index > upto) {
            break;
        }
        list_remove(&batch->link);
        lost = lost || batch->lost_changes;
        node_feed_tell(edge, batch);
        free_batch(edge, batch);
    }
    edge->telling = false;
    if (lost) {
        node_edge_event(edge, NODE_EVENT_LAGGED);
    }
}

/* ---- events, posts, messages from core ------------------------------------------------------- */

void node_listen(struct node_edge *edge, struct node_listener *listener)
{
    CHECK(listener->event != NULL);
    list_push_back(&edge->listeners, &listener->link);
}

void node_unlisten(struct node_edge *edge, struct node_listener *listener)
{
    (void)edge;
    list_remove(&listener->link);
}

void node_edge_event(struct node_edge *edge, enum node_event event)
{
    struct list told;
    list_init(&told);
    struct list *link = NULL;
    while ((link = list_pop_front(&edge->listeners)) != NULL) { /* a callback may unlisten any */
        list_push_back(&told, link);
        struct node_listener *listener = CONTAINER_OF(link, struct node_listener, link);
        listener->event(listener, event);
    }
    while ((link = list_pop_front(&told)) != NULL) {
        list_push_back(&edge->listeners, link);
    }
}

enum err node_edge_post(struct node_edge *edge, void (*fn)(void *self), void *self)
{
    struct post *post = mem_alloc(sizeof(*post));
    post->fn = fn;
    post->self = self;
    (void)pthread_mutex_lock(&edge->post_lock);
    list_push_back(&edge->posts, &post->link);
    (void)pthread_mutex_unlock(&edge->post_lock);
    atomic_store_explicit(&edge->has_posts, true, memory_order_release);
    loop_wake(edge->loop);
    return ERR_OK;
}

static void run_posts(struct node_edge *edge)
{
    if (!atomic_exchange_explicit(&edge->has_posts, false, memory_order_acquire)) {
        return;
    }
    for (;;) {
        (void)pthread_mutex_lock(&edge->post_lock);
        struct list *link = list_pop_front(&edge->posts);
        (void)pthread_mutex_unlock(&edge->post_lock);
        if (link == NULL) {
            return;
        }
        struct post *post = CONTAINER_OF(link, struct post, link);
        post->fn(post->self);
        mem_free(post);
    }
}

static void on_core_msg(struct node_edge *edge, const struct edge_msg *msg)
{
    struct node_frame_handler *handler = atomic_load(&edge->node->frame_handler);
    switch (msg->kind) {
    case EDGE_PROPOSAL_FAILED:
        finish(edge, msg->tag, msg->err, NULL);
        break;
    case EDGE_READ_READY:
        node_read_round(edge, msg->tag, msg->err, msg->index);
        break;
    case EDGE_EVENT:
        node_edge_event(edge, msg->event);
        break;
    case EDGE_BACKUP:
        node_backup_piece(edge, msg->tag, msg->err, bytes_of(msg->body, msg->body_len));
        break;
    case EDGE_FRAME:
        if (handler != NULL) {
            handler->frame(handler, msg->from, msg->frame_kind, bytes_of(msg->body, msg->body_len));
        }
        break;
    }
}

static void on_from_core(struct loop_inbox *inbox)
{
    struct node_edge *edge = CONTAINER_OF(inbox, struct node_edge, from_core);
    struct edge_msg *msg = NULL;
    while ((msg = inbox_pop(inbox)) != NULL) {
        on_core_msg(edge, msg);
        mem_free(msg);
    }
}

static void on_from_apply(struct loop_inbox *inbox)
{
    take_batches(CONTAINER_OF(inbox, struct node_edge, from_apply));
}

static void on_turn_end(struct loop_hook *hook)
{
    struct node_edge *edge = CONTAINER_OF(hook, struct node_edge, hook);
    run_posts(edge);
    node_edge_tell(edge, atomic_load_explicit(&edge->node->committed, memory_order_acquire));
    node_read_turn(edge);
    if (edge->wake_core) {
        edge->wake_core = false;
        inbox_wake(&edge->to_core);
    }
}

/* ---- frames to and from peers ---------------------------------------------------------------- */

enum err node_frame_send(struct node_edge *edge, raft_node_id to, uint8_t kind, struct bytes body)
{
    struct core_msg *msg = node_core_msg_new(CORE_FRAME, body.len);
    msg->to = to;
    msg->frame_kind = kind;
    msg->body_len = (uint32_t)body.len;
    if (body.len > 0) {
        memcpy(msg->bytes, body.data, body.len);
    }
    enum err err = node_edge_to_core(edge, msg);
    if (err != ERR_OK) {
        mem_free(msg);
    }
    return err;
}

void node_frame_handler_set(struct node *node, struct node_frame_handler *handler)
{
    atomic_store(&node->frame_handler, handler);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void *thread_main(void *arg)
{
    struct node_edge *edge = arg;
    loop_run(edge->loop);
    return NULL;
}

enum err node_edge_start(struct node *node, uint32_t number, struct err_note *note)
{
    struct node_edge *edge = &node->edges[number];
    edge->node = node;
    edge->number = number;
    struct loop_config cfg = {.backend = (enum loop_backend)node->cfg.loop_backend};
    process_random(&cfg.seed, sizeof(cfg.seed));
    process_random(&edge->seed, sizeof(edge->seed));
    enum err err = loop_new(&cfg, &edge->loop, note);
    if (err != ERR_OK) {
        return err;
    }
    map_init(&edge->proposals, 256);
    map_init(&edge->watch_sets, 256);
    list_init(&edge->batches);
    list_init(&edge->prefix_sets);
    list_init(&edge->listeners);
    list_init(&edge->backups);
    list_init(&edge->posts);
    (void)pthread_mutex_init(&edge->post_lock, NULL);
    inbox_init(&edge->from_core, edge->loop, INBOX_ITEMS, on_from_core);
    inbox_init(&edge->from_apply, edge->loop, INBOX_ITEMS, on_from_apply);
    loop_hook_add(edge->loop, &edge->hook, on_turn_end);
    node_read_init(edge);
    for (uint32_t i = 0; i < EDGE_READERS && err == ERR_OK; i++) {
        err = store_reader_new(node->store, &edge->readers[i]);
    }
    return err;
}

void node_edge_run(struct node_edge *edge)
{
    int rc = pthread_create(&edge->thread, NULL, thread_main, edge);
    CHECK(rc == 0);
}

static void drop_all(struct node_edge *edge)
{
    struct edge_msg *msg = NULL;
    while ((msg = inbox_pop(&edge->from_core)) != NULL) {
        mem_free(msg);
    }
    take_batches(edge);
    struct list *link = NULL;
    while ((link = list_pop_front(&edge->batches)) != NULL) {
        free_batch(edge, CONTAINER_OF(link, struct batch, link));
    }
    while ((link = list_pop_front(&edge->posts)) != NULL) {
        mem_free(CONTAINER_OF(link, struct post, link));
    }
}

void node_edge_stop(struct node_edge *edge)
{
    if (edge->loop == NULL) {
        return;
    }
    node_read_done(edge);
    drop_all(edge);
    loop_hook_remove(&edge->hook);
    inbox_done(&edge->from_core);
    inbox_done(&edge->from_apply);
    for (uint32_t i = 0; i < EDGE_READERS; i++) {
        store_reader_free(edge->readers[i]);
    }
    map_done(&edge->proposals);
    map_done(&edge->watch_sets);
    (void)pthread_mutex_destroy(&edge->post_lock);
    loop_free(edge->loop);
    edge->loop = NULL;
}

uint32_t node_edge_count(const struct node *node)
{
    return node->edge_count;
}

struct node_edge *node_edge_at(struct node *node, uint32_t number)
{
    CHECK(number < node->edge_count);
    return &node->edges[number];
}

struct loop *node_edge_loop(struct node_edge *edge)
{
    return edge->loop;
}

uint32_t node_edge_number(const struct node_edge *edge)
{
    return edge->number;
}

struct node *node_edge_node(struct node_edge *edge)
{
    return edge->node;
}
