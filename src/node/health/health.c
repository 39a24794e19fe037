/* Health: the owned checks. See health.h. */
#include "health/health.h"

#include "check/check.h"
#include "health/health_priv.h"
#include "log/log.h"
#include "mem/mem.h"

#include <stdio.h>
#include <string.h>

#define TTL_AGAIN CLK_S(2)

struct dirty_key {
    struct list link;
    uint32_t node;
    size_t id_len;
    uint8_t id[];
};

/* A verdict on its way through the log. */
struct verdict {
    struct node_proposal proposal;
    struct owned *owned;
    void (*done)(void *self, enum err err);
    void *self;
};

struct check_key {
    uint32_t node;
    struct bytes id;
};

/* ---- the set --------------------------------------------------------------------------------- */

static uint64_t key_hash(const struct check_key *key)
{
    struct hash_seed seed = {UINT64_C(0x6865616c7468), key->node};
    return hash_bytes(seed, key->id);
}

static bool key_eq(const struct map_node *node, const void *key)
{
    const struct owned *owned = CONTAINER_OF_CONST(node, struct owned, by_key);
    const struct check_key *wanted = key;
    return owned->node == wanted->node && bytes_eq_str(wanted->id, owned->id);
}

struct owned *health_find(struct health *health, uint32_t node, struct bytes check_id)
{
    struct check_key key = {node, check_id};
    struct map_node *found = map_find(&health->checks, key_hash(&key), key_eq, &key);
    return found == NULL ? NULL : CONTAINER_OF(found, struct owned, by_key);
}

static void on_client_closed(struct http_client *client)
{
    struct health *health = CONTAINER_OF(client, struct health, client);
    void (*fn)(void *) = health->on_stopped;
    void *self = health->on_stopped_self;
    jobs_free(health->lookups);
    map_done(&health->checks);
    mem_free(health);
    fn(self);
}

static void maybe_stopped(struct health *health)
{
    if (health->stopping && health->objects == 0) {
        http_client_close(&health->client, on_client_closed);
    }
}

void health_release(struct owned *owned)
{
    CHECK(owned->under_way > 0);
    owned->under_way--;
    if (!owned->gone || owned->under_way > 0) {
        return;
    }
    struct health *health = owned->health;
    health_probe_free(owned);
    mem_free(owned->id);
    mem_free(owned->output);
    mem_free(owned);
    health->objects--;
    maybe_stopped(health);
}

static void let_go(struct owned *owned)
{
    map_remove(&owned->health->checks, &owned->by_key);
    loop_timer_cancel(owned->health->loop, &owned->timer);
    loop_timer_cancel(owned->health->loop, &owned->reap_timer);
    owned->gone = true;
    owned->under_way++;
    health_probe_cancel(owned);
    health_release(owned);
}

/* ---- proposals ------------------------------------------------------------------------------- */

static struct node_call system_call(void)
{
    return (struct node_call){.principal = BYTES_LITERAL("system:health")};
}

static void on_proposed(struct node_proposal *proposal, enum err err,
                        const struct node_result *result)
{
    struct verdict *verdict = CONTAINER_OF(proposal, struct verdict, proposal);
    struct owned *owned = verdict->owned;
    if (err == ERR_OK && result->verdict.err != ERR_OK) {
        err = result->verdict.err;
    }
    if (err != ERR_OK) {
        owned->output_len = SIZE_MAX; /* not stored: the next verdict is a change again */
    }
    if (verdict->done != NULL) {
        verdict->done(verdict->self, err);
    }
    mem_free(verdict);
    health_release(owned);
}

static bool propose(struct owned *owned, uint16_t kind, const struct buf *body,
                    void (*done)(void *self, enum err err), void *self)
{
    struct verdict *verdict = mem_alloc(sizeof(*verdict));
    verdict->owned = owned;
    verdict->done = done;
    verdict->self = self;
    verdict->proposal.done = on_proposed;
    struct node_call call = system_call();
    if (node_propose(owned->health->edge, &call, kind, buf_bytes(body), &verdict->proposal) !=
        ERR_OK) {
        mem_free(verdict);
        return false;
    }
    owned->under_way++;
    return true;
}

static void on_reap(struct loop_timer *timer)
{
    struct owned *owned = CONTAINER_OF(timer, struct owned, reap_timer);
    struct registry_reap reap = {.node = owned->node,
                                 .check_id = bytes_of_str(owned->id),
                                 .owner = node_config(owned->health->node)->id,
                                 .epoch = owned->epoch};
    struct buf body;
    buf_init(&body, 4096);
    if (registry_reap_encode(&reap, &body) == ERR_OK) {
        (void)propose(owned, REGISTRY_CMD_REAP, &body, NULL, NULL);
    }
    buf_done(&body);
    /* Asked again while it is critical: the command may have been refused by a moment. */
    loop_timer_set(owned->health->loop, timer, loop_now(owned->health->loop) + CLK_S(5), on_reap);
}

static void follow_status(struct owned *owned, enum registry_status status)
{
    struct loop *loop = owned->health->loop;
    if (status != REGISTRY_CRITICAL || owned->reap_after_ms == 0) {
        loop_timer_cancel(loop, &owned->reap_timer);
    } else if (owned->status != REGISTRY_CRITICAL || !loop_timer_is_set(&owned->reap_timer)) {
        loop_timer_set(loop, &owned->reap_timer,
                       loop_now(loop) + CLK_MS(owned->reap_after_ms) + CLK_MS(100), on_reap);
    }
    owned->status = status;
}

static void remember_output(struct owned *owned, struct bytes output)
{
    mem_free(owned->output);
    owned->output = mem_dup_bytes(output);
    owned->output_len = output.len;
}

bool health_verdict(struct owned *owned, enum registry_status status, struct bytes output,
                    void (*done)(void *self, enum err err), void *self)
{
    if (output.len > REGISTRY_OUTPUT_MAX) {
        output.len = REGISTRY_OUTPUT_MAX;
    }
    bool same = owned->status == status && owned->output_len == output.len &&
                memcmp(owned->output, output.data, output.len) == 0;
    if (same) {
        return false;
    }
    struct registry_update update = {.node = owned->node,
                                     .check_id = bytes_of_str(owned->id),
                                     .owner = node_config(owned->health->node)->id,
                                     .epoch = owned->epoch,
                                     .status = status,
                                     .output = output};
    struct buf body;
    buf_init(&body, (size_t)REGISTRY_OUTPUT_MAX + 4096);
    bool begun = registry_update_encode(&update, &body) == ERR_OK &&
                 propose(owned, REGISTRY_CMD_CHECK_UPDATE, &body, done, self);
    buf_done(&body);
    if (begun) {
        follow_status(owned, status);
        remember_output(owned, output);
    }
    return begun;
}

/* ---- TTL ------------------------------------------------------------------------------------- */

static void on_ttl(struct loop_timer *timer)
{
    struct owned *owned = CONTAINER_OF(timer, struct owned, timer);
    char text[96];
    int len = snprintf(text, sizeof(text), "TTL expired: no heartbeat for %llu ms",
                       (unsigned long long)owned->ttl_ms);
    bool lost = owned->output_len == SIZE_MAX;
    if (!owned->ttl_told || lost) {
        owned->ttl_told =
            health_verdict(owned, REGISTRY_CRITICAL, bytes_of(text, (size_t)len), NULL, NULL);
    }
    /* Nobody else would say it again if there is no leader now; once stored it is no change. */
    loop_timer_set(owned->health->loop, timer, loop_now(owned->health->loop) + TTL_AGAIN, on_ttl);
}

void health_touch(struct owned *owned)
{
    if (owned->type == REGISTRY_CHECK_TTL) {
        struct loop *loop = owned->health->loop;
        owned->ttl_told = false;
        loop_timer_set(loop, &owned->timer, loop_now(loop) + CLK_MS(owned->ttl_ms), on_ttl);
    }
}

/* ---- following the table --------------------------------------------------------------------- */

static void take_definition(struct owned *owned, const struct registry_check *check)
{
    owned->epoch = check->epoch;
    owned->type = check->type;
    owned->interval_ms = check->def.interval_ms;
    owned->timeout_ms = check->def.timeout_ms > 0 ? check->def.timeout_ms : 10000;
    owned->ttl_ms = check->def.ttl_ms;
    owned->reap_after_ms = check->def.deregister_critical_after_ms;
    owned->success_needed = check->def.success_before_passing;
    owned->failures_needed = check->def.failures_before_critical;
    owned->modify_index = check->modify_index;
    health_probe_free(owned);
    health_probe_setup(owned, check);
}

static bool same_definition(const struct owned *owned, const struct registry_check *check)
{
    struct bytes url = check->type == REGISTRY_CHECK_HTTP ? check->def.http : check->def.tcp;
    return owned->epoch == check->epoch && owned->type == check->type &&
           owned->interval_ms == check->def.interval_ms && owned->ttl_ms == check->def.ttl_ms &&
           owned->reap_after_ms == check->def.deregister_critical_after_ms &&
           (owned->url == NULL ? url.len == 0 : bytes_eq_str(url, owned->url));
}

static void on_probe_time(struct loop_timer *timer)
{
    health_probe_start(CONTAINER_OF(timer, struct owned, timer));
}

static void start_check(struct owned *owned)
{
    struct loop *loop = owned->health->loop;
    if (owned->type == REGISTRY_CHECK_TTL) {
        health_touch(owned);
    } else if (owned->type == REGISTRY_CHECK_HTTP || owned->type == REGISTRY_CHECK_TCP) {
        /* Spread over a moment, so that a take-over of many checks is not a burst. */
        uint64_t spread_ms = owned->interval_ms < 500 ? owned->interval_ms : 500;
        clk_ns delay = CLK_MS(rnd_below(loop_rnd(loop), spread_ms + 1));
        loop_timer_set(loop, &owned->timer, loop_now(loop) + delay, on_probe_time);
    }
}

static void add_check(struct health *health, const struct registry_check *check)
{
    if (health->objects >= HEALTH_CHECKS_MAX) {
        log_event(LOG_CHECK_NOT_RUN, "check=%.*s reason=too_many", BYTES_PRINT(check->id));
        return;
    }
    struct owned *owned = mem_alloc(sizeof(*owned));
    owned->health = health;
    owned->node = check->node;
    owned->id = mem_dup_bytes(check->id);
    health->objects++;
    struct check_key key = {check->node, check->id};
    map_insert(&health->checks, &owned->by_key, key_hash(&key));
    take_definition(owned, check);
    remember_output(owned, check->output);
    owned->status = REGISTRY_PASSING;
    follow_status(owned, check->status);
    start_check(owned);
}

/* The table's view of one check: ours and new, ours and changed, or not ours any more. */
static void sync_check(struct health *health, const struct registry_check *check)
{
    struct owned *owned = health_find(health, check->node, check->id);
    bool ours = check->owner == node_config(health->node)->id;
    if (!ours) {
        if (owned != NULL) {
            let_go(owned);
        }
        return;
    }
    if (owned != NULL && !same_definition(owned, check)) {
        let_go(owned);
        owned = NULL;
    }
    if (owned == NULL) {
        add_check(health, check);
        return;
    }
    if (owned->modify_index < check->modify_index) {
        owned->modify_index = check->modify_index;
        owned->success_needed = check->def.success_before_passing;
        owned->failures_needed = check->def.failures_before_critical;
        if (owned->under_way == 0) {
            follow_status(owned, check->status); /* somebody else set it */
            remember_output(owned, check->output);
        }
    }
}

static enum err sync_one(void *context, const struct registry_check *check)
{
    sync_check(context, check);
    return ERR_OK;
}

static void sync_key(struct health *health, struct table_txn *txn, const struct dirty_key *dirty)
{
    struct bytes id = bytes_of(dirty->id, dirty->id_len);
    struct registry_check check;
    if (registry_check_get(txn, dirty->node, id, &check) == ERR_OK) {
        sync_check(health, &check);
        return;
    }
    struct owned *owned = health_find(health, dirty->node, id);
    if (owned != NULL) {
        let_go(owned);
    }
}

static void drop_all(struct health *health)
{
    for (struct map_node *node = map_next(&health->checks, NULL); node != NULL;
         node = map_next(&health->checks, NULL)) {
        let_go(CONTAINER_OF(node, struct owned, by_key));
    }
}

/* A round that compares everything: what the table does not have any more is dropped first. */
static void sync_all(struct health *health, struct table_txn *txn)
{
    struct list stale;
    list_init(&stale);
    MAP_FOREACH (node, &health->checks) {
        struct owned *owned = CONTAINER_OF(node, struct owned, by_key);
        size_t len = strlen(owned->id);
        struct dirty_key *key = mem_alloc(sizeof(*key) + len);
        key->node = owned->node;
        key->id_len = len;
        memcpy(key->id, owned->id, len);
        list_push_back(&stale, &key->link);
    }
    struct list *link = NULL;
    while ((link = list_pop_front(&stale)) != NULL) {
        struct dirty_key *key = CONTAINER_OF(link, struct dirty_key, link);
        sync_key(health, txn, key);
        mem_free(key);
    }
    if (registry_owner_checks(txn, node_config(health->node)->id, sync_one, health) != ERR_OK) {
        health->all_dirty = true;
    }
}

static void on_snapshot(struct node_reading *reading, enum err err,
                        const struct node_snapshot *snapshot);

struct sync_read {
    struct node_reading reading;
    struct health *health;
};

static void on_sync(struct loop_call *call)
{
    struct health *health = CONTAINER_OF(call, struct health, sync);
    struct sync_read read = {.reading = {.done = on_snapshot}, .health = health};
    struct node_call who = system_call();
    enum err err = node_read(health->edge, &who, NODE_STALE, &read.reading);
    CHECK(err == ERR_OK); /* a stale read has called back already */
}

static void on_snapshot(struct node_reading *reading, enum err err,
                        const struct node_snapshot *snapshot)
{
    struct health *health = CONTAINER_OF(reading, struct sync_read, reading)->health;
    if (err != ERR_OK) {
        health->all_dirty = true;
        return;
    }
    struct list dirty;
    list_init(&dirty);
    struct list *link = NULL;
    while ((link = list_pop_front(&health->dirty)) != NULL) {
        list_push_back(&dirty, link);
    }
    bool all = health->all_dirty;
    health->all_dirty = false;
    while ((link = list_pop_front(&dirty)) != NULL) {
        struct dirty_key *key = CONTAINER_OF(link, struct dirty_key, link);
        if (!all) {
            sync_key(health, snapshot->txn, key);
        }
        mem_free(key);
    }
    if (all) {
        sync_all(health, snapshot->txn);
    }
}

static void on_change(struct node_watch *watch, const struct apply_change *change)
{
    struct health *health = CONTAINER_OF(watch, struct health, watch);
    struct bytes id;
    uint32_t node = 0;
    if (!registry_check_key_parse(change->key, &node, &id)) {
        return;
    }
    struct dirty_key *key = mem_alloc(sizeof(*key) + id.len);
    key->node = node;
    key->id_len = id.len;
    memcpy(key->id, id.data, id.len);
    list_push_back(&health->dirty, &key->link);
    loop_defer(health->loop, &health->sync, on_sync);
}

static void on_event(struct node_listener *listener, enum node_event event)
{
    struct health *health = CONTAINER_OF(listener, struct health, listener);
    if (event == NODE_EVENT_LAGGED) {
        health->all_dirty = true;
        loop_defer(health->loop, &health->sync, on_sync);
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

static void on_edge(void *self)
{
    struct health *health = self;
    http_client_init(&health->client, health->loop, &HTTP_CLIENT_LIMITS_DEFAULT);
    health->watch.changed = on_change;
    health->listener.event = on_event;
    enum err err =
        node_watch_add(health->edge, &health->watch, TABLE_CHECKS, bytes_of(NULL, 0), true);
    CHECK(err == ERR_OK);
    node_listen(health->edge, &health->listener);
    health_lease_run(health);
    health->all_dirty = true;
    loop_defer(health->loop, &health->sync, on_sync);
}

enum err health_start(struct node *node, struct health **ret_health)
{
    struct health *health = mem_alloc(sizeof(*health));
    health->node = node;
    health->edge = node_edge_at(node, 0);
    health->loop = node_edge_loop(health->edge);
    map_init(&health->checks, 64);
    list_init(&health->dirty);
    health_lease_init(health);
    enum err err = node_edge_post(health->edge, on_edge, health);
    if (err != ERR_OK) {
        mem_free(health);
        return err;
    }
    node_health_set(node, health);
    *ret_health = health;
    return ERR_OK;
}

static void on_edge_stop(void *self)
{
    struct health *health = self;
    health->stopping = true;
    node_health_set(health->node, NULL); /* renewals that other edges begin from now on */
    node_watch_remove(health->edge, &health->watch);
    node_unlisten(health->edge, &health->listener);
    loop_call_cancel(&health->sync);
    health_lease_done(health);
    struct list *link = NULL;
    while ((link = list_pop_front(&health->dirty)) != NULL) {
        mem_free(CONTAINER_OF(link, struct dirty_key, link));
    }
    health->objects++; /* holds the memory while the checks go */
    drop_all(health);
    health->objects--;
    maybe_stopped(health);
}

void health_stop(struct health *health, void (*on_stopped)(void *self), void *self)
{
    health->on_stopped = on_stopped;
    health->on_stopped_self = self;
    enum err err = node_edge_post(health->edge, on_edge_stop, health);
    CHECK(err == ERR_OK);
}
