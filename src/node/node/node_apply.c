/* The apply thread: the only writer of the store.
 *
 * Works through what core hands over, in transactions of bounded size. Order within one
 * transaction:
 *   apply entries -> give the batches to the edges -> commit -> publish the index -> wake edges,
 *   tell core
 * so an edge that can see index M in a snapshot has everything up to M in its inbox already. */
#include "check/check.h"
#include "mem/mem.h"
#include "node/node_priv.h"

#include <stdio.h>

enum {
    BATCH_BYTES_MAX = 256 * 1024 * 1024,
    /* One command may delete any number of keys: above this its edges re-read everything. */
    BATCH_CHANGES_MAX = 32 * 1024 * 1024
};

#define RETRY_EVERY CLK_MS(10)

/* ---- batches --------------------------------------------------------------------------------- */

static struct batch *batch_for(struct node *node, uint32_t edge)
{
    struct node_apply *apply = &node->apply;
    if (apply->open[edge] == NULL) {
        struct batch *batch = mem_alloc(sizeof(*batch));
        list_init(&batch->link);
        buf_init(&batch->items, BATCH_BYTES_MAX);
        apply->open[edge] = batch;
    }
    return apply->open[edge];
}

static bool has_lagged(const struct node_edge *edge)
{
    return atomic_load_explicit(&edge->backlog, memory_order_relaxed) > EDGE_BACKLOG_MAX;
}

static void on_change(struct apply_sink *sink, const struct apply_change *change)
{
    struct node_apply *apply = CONTAINER_OF(sink, struct node_apply, sink);
    struct node *node = CONTAINER_OF(apply, struct node, apply);
    for (uint32_t i = 0; i < node->edge_count; i++) {
        struct batch *batch = batch_for(node, i);
        if (has_lagged(&node->edges[i]) || batch->items.len > BATCH_CHANGES_MAX) {
            batch->lost_changes = true;
        } else {
            node_feed_put_change(batch, change);
        }
    }
}

static void drop_open(struct node *node)
{
    for (uint32_t i = 0; i < node->edge_count; i++) {
        if (node->apply.open[i] != NULL) {
            buf_done(&node->apply.open[i]->items);
            mem_free(node->apply.open[i]);
            node->apply.open[i] = NULL;
        }
    }
}

static bool flush_waiting(struct node *node, uint32_t number)
{
    struct list *waiting = &node->apply.waiting[number];
    struct loop_inbox *inbox = &node->edges[number].from_apply;
    while (!list_empty(waiting) && inbox_room(inbox) > 0) {
        struct list *link = list_pop_front(waiting);
        enum err err = inbox_push(inbox, CONTAINER_OF(link, struct batch, link));
        CHECK(err == ERR_OK);
    }
    return list_empty(waiting);
}

/* An edge that takes nothing has one batch that grows, by results only, beside its full inbox. */
static bool merged(struct list *waiting, struct batch *batch)
{
    if (list_empty(waiting)) {
        return false;
    }
    struct batch *last = CONTAINER_OF(waiting->prev, struct batch, link);
    if (buf_append(&last->items, buf_bytes(&batch->items)) != ERR_OK) {
        return false;
    }
    last->last_index = batch->last_index;
    last->lost_changes = last->lost_changes || batch->lost_changes;
    buf_done(&batch->items);
    mem_free(batch);
    return true;
}

static void on_retry(struct loop_timer *timer);

static void push_batches(struct node *node, uint64_t last_index)
{
    bool all = true;
    for (uint32_t i = 0; i < node->edge_count; i++) {
        struct node_edge *edge = &node->edges[i];
        struct batch *batch = node->apply.open[i];
        node->apply.open[i] = NULL;
        if (batch != NULL) {
            batch->last_index = last_index;
            if (!merged(&node->apply.waiting[i], batch)) {
                (void)atomic_fetch_add_explicit(&edge->backlog, 1, memory_order_relaxed);
                list_push_back(&node->apply.waiting[i], &batch->link);
            }
        }
        all = flush_waiting(node, i) && all;
    }
    if (!all && !loop_timer_is_set(&node->apply.retry)) {
        struct loop *loop = node->apply.loop;
        loop_timer_set(loop, &node->apply.retry, loop_now(loop) + RETRY_EVERY, on_retry);
    }
}

static void wake_edges(struct node *node)
{
    for (uint32_t i = 0; i < node->edge_count; i++) {
        inbox_wake(&node->edges[i].from_apply);
    }
}

/* Nothing else may come that would push what waits. */
static void on_retry(struct loop_timer *timer)
{
    struct node_apply *apply = CONTAINER_OF(timer, struct node_apply, retry);
    struct node *node = CONTAINER_OF(apply, struct node, apply);
    push_batches(node, 0);
    wake_edges(node);
}

/* ---- telling core ---------------------------------------------------------------------------- */

static void tell_core(struct node *node, struct core_msg *msg)
{
    enum err err = inbox_push(&node->core.from_apply, msg);
    CHECK(err == ERR_OK); /* one per work item, and fewer of those than the inbox holds */
    inbox_wake(&node->core.from_apply);
}

static void tell_applied(struct node *node, uint64_t index)
{
    atomic_store_explicit(&node->committed, index, memory_order_release);
    atomic_store_explicit(&node->installing, false, memory_order_release);
    wake_edges(node);
    struct core_msg *msg = node_core_msg_new(CORE_APPLIED, 0);
    msg->index = index;
    tell_core(node, msg);
}

static void die(struct node *node, enum err why, const char *what, const struct err_note *note)
{
    char text[ERR_NOTE_MAX + 64];
    int len = snprintf(text, sizeof(text), "%s: %s", what,
                       note->text[0] != '\0' ? note->text : err_text(why));
    node->apply.dead = true;
    drop_open(node);
    struct core_msg *msg = node_core_msg_new(CORE_FATAL, sizeof(text));
    msg->err = why;
    msg->body_len = (uint32_t)len;
    memcpy(msg->bytes, text, sizeof(text));
    tell_core(node, msg);
}

/* ---- applying -------------------------------------------------------------------------------- */

static enum err apply_entry(struct node *node, struct table_txn *txn,
                            const struct engine_entry *entry)
{
    if (entry->kind != RAFT_ENTRY_COMMAND) {
        return table_set_applied(txn, entry->index, entry->time_ms);
    }
    struct machine_entry in = {
        .index = entry->index, .time_ms = entry->time_ms, .command = entry->payload};
    struct machine_result result;
    enum err err = machine_apply(&node->apply.machine, txn, &in, &node->apply.sink, &result);
    if (err != ERR_OK) {
        return err;
    }
    uint32_t edge = (uint32_t)(entry->tag >> TAG_EDGE_SHIFT);
    if (edge > 0 && edge <= node->edge_count) {
        node_feed_put_result(batch_for(node, edge - 1), entry->tag, entry->index, &result);
    }
    return ERR_OK;
}

/* Applies up to one transaction's worth of the current and the following work. */
static enum err apply_some(struct node *node, struct table_txn *txn, uint64_t *ret_index)
{
    struct node_apply *apply = &node->apply;
    for (uint32_t done = 0; done < APPLY_ENTRIES_PER_TXN; done++) {
        if (apply->work == NULL || apply->work_at == apply->work->count) {
            mem_free(apply->work);
            apply->work = inbox_pop(&apply->from_core);
            apply->work_at = 0;
            if (apply->work == NULL || apply->work->install) {
                return ERR_OK;
            }
        }
        const struct engine_entry *entry = &apply->work->entries[apply->work_at++];
        enum err err = apply_entry(node, txn, entry);
        if (err != ERR_OK) {
            return err;
        }
        *ret_index = entry->index;
    }
    return ERR_OK;
}

static enum err run_transaction(struct node *node, struct err_note *note)
{
    enum err err = store_write_begin(node->store, note);
    if (err != ERR_OK) {
        return err;
    }
    struct table_txn txn;
    store_write_tables(node->store, META_GROUP, &txn);
    uint64_t index = 0;
    err = apply_some(node, &txn, &index);
    if (err == ERR_OK) {
        err = table_txn_finish(&txn);
    }
    if (err != ERR_OK || index == 0) {
        store_write_abort(node->store);
        return err;
    }
    push_batches(node, index);
    err = store_write_commit(node->store, note);
    if (err == ERR_OK) {
        tell_applied(node, index);
    }
    return err;
}

static bool is_wanted(const struct raft_snapshot_meta *meta, const void *context)
{
    const struct apply_work *work = context;
    return meta->index == work->index;
}

static enum err run_install(struct node *node, struct err_note *note)
{
    uint64_t index = node->apply.work->index;
    atomic_store_explicit(&node->installing, true, memory_order_release);
    for (uint32_t i = 0; i < node->edge_count; i++) {
        batch_for(node, i)->lost_changes = true;
    }
    push_batches(node, index);
    /* This file and not the newest one: another may have arrived since, which core/raft has not
     * taken. */
    enum err err = node_snapshot_load(node, is_wanted, node->apply.work, &index, note);
    if (err == ERR_OK) {
        tell_applied(node, index);
    }
    return err;
}

static bool has_work(struct node_apply *apply)
{
    if (apply->work != NULL && (apply->work->install || apply->work_at < apply->work->count)) {
        return true;
    }
    mem_free(apply->work);
    apply->work = inbox_pop(&apply->from_core);
    apply->work_at = 0;
    return apply->work != NULL;
}

static void on_work(struct loop_inbox *inbox)
{
    struct node_apply *apply = CONTAINER_OF(inbox, struct node_apply, from_core);
    struct node *node = CONTAINER_OF(apply, struct node, apply);
    while (!apply->dead && has_work(apply)) {
        struct err_note note = {{0}};
        if (apply->work->install) {
            enum err err = run_install(node, &note);
            mem_free(apply->work);
            apply->work = NULL;
            if (err != ERR_OK) {
                die(node, err, "install a snapshot", &note);
            }
            continue;
        }
        enum err err = run_transaction(node, &note);
        if (err != ERR_OK) {
            die(node, err, "apply committed commands", &note);
        }
    }
}

bool node_apply_submit(struct node *node, struct apply_work *work)
{
    if (inbox_push(&node->apply.from_core, work) != ERR_OK) {
        return false;
    }
    node->core.wake_apply = true;
    return true;
}

/* ---- life ------------------------------------------------------------------------------------ */

static void *thread_main(void *arg)
{
    struct node *node = arg;
    loop_run(node->apply.loop);
    on_work(&node->apply.from_core);
    return NULL;
}

enum err node_apply_start(struct node *node, struct err_note *note)
{
    struct node_apply *apply = &node->apply;
    struct loop_config cfg = {.backend = LOOP_BACKEND_EPOLL, .recv_chunks = 2};
    enum err err = loop_new(&cfg, &apply->loop, note);
    if (err != ERR_OK) {
        return err;
    }
    machine_init(&apply->machine);
    apply->sink.change = on_change;
    for (uint32_t i = 0; i < NODE_EDGES_MAX; i++) {
        list_init(&apply->waiting[i]);
    }
    inbox_init(&apply->from_core, apply->loop, INBOX_ITEMS, on_work);
    int rc = pthread_create(&apply->thread, NULL, thread_main, node);
    CHECK(rc == 0);
    return ERR_OK;
}

void node_apply_stop(struct node *node)
{
    struct node_apply *apply = &node->apply;
    if (apply->loop == NULL) {
        return;
    }
    loop_stop(apply->loop);
    (void)pthread_join(apply->thread, NULL);
    struct apply_work *work = NULL;
    while ((work = inbox_pop(&apply->from_core)) != NULL) {
        mem_free(work);
    }
    mem_free(apply->work);
    loop_timer_cancel(apply->loop, &apply->retry);
    drop_open(node);
    for (uint32_t i = 0; i < node->edge_count; i++) {
        struct list *link = NULL;
        while ((link = list_pop_front(&apply->waiting[i])) != NULL) {
            struct batch *batch = CONTAINER_OF(link, struct batch, link);
            buf_done(&batch->items);
            mem_free(batch);
        }
    }
    inbox_done(&apply->from_core);
    machine_done(&apply->machine);
    loop_free(apply->loop);
    apply->loop = NULL;
}
