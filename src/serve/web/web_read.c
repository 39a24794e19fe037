/* Reads for a request: watching, waiting, answering. */
#include "web/web_read.h"

#include "check/check.h"

enum {
    /* A change can be told a moment before a snapshot shows it (node/node.h, promise 2). */
    LOOK_LATER_MS = 1
};

static struct web *web_of(const struct web_read *read)
{
    return read->op.door->web;
}

/* ---- the end of a read ----------------------------------------------------------------------- */

/* Takes the read out of everything but node_read; the request can be ended. */
static void detach(struct web_read *read)
{
    struct web *web = web_of(read);
    for (size_t i = 0; i < read->watch_count; i++) {
        node_watch_remove(web->edge, &read->watches[i].watch);
    }
    read->watch_count = 0;
    loop_timer_cancel(web->loop, &read->timer);
    list_remove(&read->due_link);
    list_remove(&read->wait_link);
    if (read->waits) {
        read->waits = false;
        web->wait_count--;
        metric_gauge_set(&web->waiting, (int64_t)web->wait_count);
    }
}

static void cancel(struct web_op *op)
{
    struct web_read *read = CONTAINER_OF(op, struct web_read, op);
    if (!read->waits) {
        node_read_cancel(web_of(read)->edge, &read->reading);
    }
    detach(read);
}

static void fail(struct web_read *read, enum err err)
{
    detach(read);
    web_op_end(&read->op);
    web_refuse(read->op.door, read->op.request, err, NULL);
}

static void finish(struct web_read *read, const struct node_snapshot *snapshot, uint64_t index)
{
    detach(read);
    web_op_end(&read->op);
    read->answer(read, snapshot, index);
}

/* ---- waiting --------------------------------------------------------------------------------- */

static void look(struct loop_call *call);
static void on_look_later(struct loop_timer *timer);

/* To be looked at at the end of this turn, together with all others. */
static void make_due(struct web_read *read)
{
    struct web *web = web_of(read);
    if (!list_linked(&read->due_link)) {
        list_push_back(&web->due, &read->due_link);
    }
    loop_defer(web->loop, &web->look, look);
}

/* The same a moment later: what it was told of is not in a snapshot yet. */
static void make_due_later(struct web_read *read)
{
    struct web *web = web_of(read);
    if (!list_linked(&read->due_link)) {
        list_push_back(&web->due, &read->due_link);
    }
    if (!loop_timer_is_set(&web->look_later)) {
        loop_timer_set(web->loop, &web->look_later, loop_now(web->loop) + CLK_MS(LOOK_LATER_MS),
                       on_look_later);
    }
}

static void on_time_over(struct loop_timer *timer)
{
    struct web_read *read = CONTAINER_OF(timer, struct web_read, timer);
    read->expired = true;
    make_due(read);
}

static void on_changed(struct node_watch *watch, const struct apply_change *change)
{
    struct web_read *read = CONTAINER_OF(watch, struct web_topic_watch, watch)->read;
    read->told = change->index;
    if (read->waits) {
        make_due(read);
    }
}

static void wait_on(struct web_read *read)
{
    struct web *web = web_of(read);
    if (!read->waits) {
        read->waits = true;
        read->op.for_client_only = true;
        web->wait_count++;
        metric_gauge_set(&web->waiting, (int64_t)web->wait_count);
        list_push_back(&web->waits, &read->wait_link);
        loop_timer_set(web->loop, &read->timer, loop_now(web->loop) + CLK_MS(read->wait_ms),
                       on_time_over);
    }
}

/* Answers, or waits (on). */
static void judge(struct web_read *read, const struct node_snapshot *snapshot)
{
    uint64_t index = 0;
    enum err err = read->index == NULL ? ERR_OK : read->index(read, snapshot->txn, &index);
    if (err != ERR_OK) {
        fail(read, err);
        return;
    }
    bool enough = read->min_index == 0 || read->index == NULL || index > read->min_index;
    if (enough || read->expired) {
        finish(read, snapshot, index);
        return;
    }
    if (read->op.request->gone) {
        /* It left while the first read was under way; on_gone does not come twice. */
        struct http_request *request = read->op.request;
        detach(read);
        web_op_end(&read->op);
        http_request_cancel(request);
        return;
    }
    wait_on(read);
    if (read->told > snapshot->index) {
        make_due_later(read);
    }
}

static void on_read(struct node_reading *reading, enum err err,
                    const struct node_snapshot *snapshot)
{
    struct web_read *read = CONTAINER_OF(reading, struct web_read, reading);
    if (err != ERR_OK) {
        fail(read, err);
        return;
    }
    judge(read, snapshot);
}

/* ---- one look per turn for all that are due -------------------------------------------------- */

static void on_look(struct node_reading *reading, enum err err,
                    const struct node_snapshot *snapshot)
{
    struct web *web = CONTAINER_OF(reading, struct web, looking);
    struct list now;
    list_init(&now);
    struct list *link;
    while ((link = list_pop_front(&web->due)) != NULL) {
        list_push_back(&now, link);
    }
    while ((link = list_pop_front(&now)) != NULL) {
        struct web_read *read = CONTAINER_OF(link, struct web_read, due_link);
        metric_add(&web->woken, 1);
        if (err != ERR_OK) {
            fail(read, err);
        } else {
            judge(read, snapshot);
        }
    }
}

static void look(struct loop_call *call)
{
    struct web *web = CONTAINER_OF(call, struct web, look);
    if (list_empty(&web->due)) {
        return;
    }
    struct node_call who = {.principal = BYTES_LITERAL("anonymous")};
    web->looking.done = on_look;
    enum err err = node_read(web->edge, &who, NODE_STALE, &web->looking);
    if (err != ERR_OK) {
        on_look(&web->looking, err, NULL);
    }
}

static void on_look_later(struct loop_timer *timer)
{
    struct web *web = CONTAINER_OF(timer, struct web, look_later);
    look(&web->look);
}

static void on_event(struct node_listener *listener, enum node_event event)
{
    struct web *web = CONTAINER_OF(listener, struct web, listener);
    if (event == NODE_EVENT_LEADER) {
        return;
    }
    LIST_FOREACH (link, &web->waits) {
        struct web_read *read = CONTAINER_OF(link, struct web_read, wait_link);
        read->expired = read->expired || event == NODE_EVENT_STOPPING;
        make_due(read);
    }
}

void web_waits_init(struct web *web)
{
    list_init(&web->waits);
    list_init(&web->due);
    web->listener.event = on_event;
    node_listen(web->edge, &web->listener);
}

void web_waits_done(struct web *web)
{
    CHECK(list_empty(&web->waits));
    node_unlisten(web->edge, &web->listener);
    loop_call_cancel(&web->look);
    loop_timer_cancel(web->loop, &web->look_later);
}

/* ---- the beginning --------------------------------------------------------------------------- */

/* Before the first read, so that no change falls between the two. */
static enum err watch_topics(struct web_read *read)
{
    struct web *web = web_of(read);
    if (web->wait_count >= web->config.waiting_max) {
        return ERR_FULL;
    }
    enum err err = ERR_OK;
    for (size_t i = 0; err == ERR_OK && i < read->topic_count; i++) {
        const struct web_topic *topic = &read->topics[i];
        struct web_topic_watch *watch = &read->watches[i];
        watch->read = read;
        watch->watch.changed = on_changed;
        err = node_watch_add(web->edge, &watch->watch, topic->table, topic->key, topic->prefix);
        read->watch_count += err == ERR_OK ? 1 : 0;
    }
    return err;
}

void web_read_start(struct web_read *read)
{
    CHECK(read->answer != NULL);
    CHECK(read->topic_count <= WEB_TOPICS_MAX);
    struct web *web = web_of(read);
    list_init(&read->wait_link);
    list_init(&read->due_link);
    read->op.cancel = cancel;
    web_op_begin(&read->op);
    read->call = web_call(read->op.request);
    read->reading.done = on_read;
    enum err err = ERR_OK;
    if (read->min_index > 0 && read->index != NULL) {
        err = watch_topics(read);
    }
    if (err == ERR_OK) {
        err = node_read(web->edge, &read->call, read->consistency, &read->reading);
    }
    if (err != ERR_OK) {
        fail(read, err);
    }
}
