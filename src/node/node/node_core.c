/* The core thread: engine and peers on one loop; what edges ask for; what apply reports.
 *
 * Everything that a loop turn brought (frames, requests, disk completions) ends in one engine_turn
 * at the end of the turn: that is where batches form, without ever waiting for one. */
#include "check/check.h"
#include "log/log.h"
#include "mem/mem.h"
#include "node/node_priv.h"

#include <stdio.h>
#include <string.h>

#define PUBLISH_EVERY CLK_MS(50)
#define DRAIN_LIMIT   CLK_S(5)

struct core_msg *node_core_msg_new(enum core_msg_kind kind, size_t extra)
{
    struct core_msg *msg = mem_alloc(sizeof(*msg) + extra);
    msg->kind = kind;
    return msg;
}

/* ---- to the edges ---------------------------------------------------------------------------- */

void node_core_to_edge(struct node *node, uint32_t edge, struct edge_msg *msg)
{
    CHECK(edge < node->edge_count);
    struct edge_out *out = &node->core.outs[edge];
    list_init(&msg->link);
    if (!list_empty(&out->waiting) || inbox_push(&node->edges[edge].from_core, msg) != ERR_OK) {
        list_push_back(&out->waiting, &msg->link); /* as many as an edge has asked for, at most */
    }
    out->wake = true;
}

static void flush_edges(struct node *node)
{
    for (uint32_t i = 0; i < node->edge_count; i++) {
        struct edge_out *out = &node->core.outs[i];
        struct loop_inbox *inbox = &node->edges[i].from_core;
        while (!list_empty(&out->waiting) && inbox_room(inbox) > 0) {
            struct list *link = list_pop_front(&out->waiting);
            enum err err = inbox_push(inbox, CONTAINER_OF(link, struct edge_msg, link));
            CHECK(err == ERR_OK);
        }
        if (out->wake) {
            out->wake = !list_empty(&out->waiting);
            inbox_wake(inbox);
        }
    }
}

static struct edge_msg *edge_msg_new(enum edge_msg_kind kind, size_t extra)
{
    struct edge_msg *msg = mem_alloc(sizeof(*msg) + extra);
    msg->kind = kind;
    return msg;
}

static uint32_t edge_of_tag(uint64_t tag)
{
    CHECK(tag >> TAG_EDGE_SHIFT > 0);
    return (uint32_t)(tag >> TAG_EDGE_SHIFT) - 1;
}

static void answer(struct node *node, enum edge_msg_kind kind, uint64_t tag, enum err err,
                   uint64_t index)
{
    struct edge_msg *msg = edge_msg_new(kind, 0);
    msg->tag = tag;
    msg->err = err;
    msg->index = index;
    node_core_to_edge(node, edge_of_tag(tag), msg);
}

void node_core_backup_piece(struct node *node, uint64_t tag, enum err err, struct bytes piece)
{
    struct edge_msg *msg = edge_msg_new(EDGE_BACKUP, piece.len);
    msg->tag = tag;
    msg->err = err;
    msg->body_len = (uint32_t)piece.len;
    if (piece.len > 0) {
        memcpy(msg->body, piece.data, piece.len);
    }
    node_core_to_edge(node, edge_of_tag(tag), msg);
}

static void event_to_all(struct node *node, enum node_event event)
{
    for (uint32_t i = 0; i < node->edge_count; i++) {
        struct edge_msg *msg = edge_msg_new(EDGE_EVENT, 0);
        msg->event = event;
        node_core_to_edge(node, i, msg);
    }
}

/* ---- the engine's environment ---------------------------------------------------------------- */

static bool env_send(void *self, raft_node_id to, struct bytes frame)
{
    struct node *node = self;
    return peers_send(node->peers, to, PEERS_LOG, PEERS_FRAME_ENGINE, frame);
}

static void submit(struct node *node, struct apply_work *work)
{
    list_init(&work->link);
    if (!list_empty(&node->core.works) || !node_apply_submit(node, work)) {
        /* bounded by the engine's unapplied limit */
        list_push_back(&node->core.works, &work->link);
    }
}

static void env_apply(void *self, raft_group_id group, const struct engine_entry *entries,
                      size_t count)
{
    CHECK(group == META_GROUP);
    struct apply_work *work = mem_alloc(sizeof(*work) + count * sizeof(*entries));
    work->count = (uint32_t)count;
    memcpy(work->entries, entries, count * sizeof(*entries));
    submit(self, work);
}

static void env_proposer_last(void *self, raft_group_id group, raft_node_id of,
                              uint64_t *ret_incarnation, uint64_t *ret_sequence)
{
    struct node *node = self;
    *ret_incarnation = 0;
    *ret_sequence = 0;
    struct machine_proposer last = {0};
    enum err err = store_read_begin(node->core.reader);
    if (err == ERR_OK) {
        struct table_txn txn;
        store_read_tables(node->core.reader, group, &txn);
        err = machine_last_of(&txn, of, &last);
        store_read_end(node->core.reader);
    }
    if (err == ERR_OK) {
        *ret_incarnation = last.incarnation;
        *ret_sequence = last.sequence;
    } else if (err != ERR_NOT_FOUND) {
        node_core_fatal(node, err, "the state cannot be read");
    }
}

static clk_ms env_applied_time(void *self, raft_group_id group)
{
    struct node *node = self;
    clk_ms time_ms = 0;
    enum err err = store_read_begin(node->core.reader);
    if (err == ERR_OK) {
        struct table_txn txn;
        store_read_tables(node->core.reader, group, &txn);
        err = table_applied_time(&txn, &time_ms);
        store_read_end(node->core.reader);
    }
    if (err != ERR_OK) {
        node_core_fatal(node, err, "the state cannot be read");
    }
    return time_ms;
}

static void env_proposal_failed(void *self, uint64_t tag, enum err err)
{
    answer(self, EDGE_PROPOSAL_FAILED, tag, err, 0);
}

static void env_read_done(void *self, uint64_t tag, enum err err, raft_index index)
{
    answer(self, EDGE_READ_READY, tag, err, index);
}

static void env_damage_met(void *self, const struct wal_damage *damage)
{
    (void)self;
    struct err_note where = {{0}};
    wal_damage_text(damage, &where);
    log_event(LOG_WAL_DAMAGED, "detail=%s", where.text);
}

static void env_role_changed(void *self, raft_group_id group)
{
    struct node *node = self;
    struct raft_view view;
    enum err err = engine_view(node->engine, group, &view);
    CHECK(err == ERR_OK);
    bool led = atomic_load_explicit(&node->leads, memory_order_relaxed);
    raft_node_id leader = atomic_load_explicit(&node->leader, memory_order_relaxed);
    if (led && view.role != RAFT_LEADER) {
        log_event(LOG_LEADERSHIP_LOST, "group=%u term=%llu", group, (unsigned long long)view.term);
    }
    if (view.leader != 0 && view.leader != leader) {
        log_event(LOG_LEADER_ELECTED, "group=%u leader=%u term=%llu", group, view.leader,
                  (unsigned long long)view.term);
    }
    node->core.published_at = 0;
    node_status_publish(node);
    event_to_all(node, NODE_EVENT_LEADER);
}

static void env_snapshot_send(void *self, raft_group_id group, raft_node_id to, raft_index at_least)
{
    CHECK(group == META_GROUP);
    node_snapshot_send(self, to, at_least);
}

static void env_snapshot_write(void *self, raft_group_id group)
{
    CHECK(group == META_GROUP);
    node_snapshot_write(self);
}

static void env_snapshot_install(void *self, raft_group_id group,
                                 const struct raft_snapshot_meta *meta)
{
    CHECK(group == META_GROUP);
    struct apply_work *work = mem_alloc(sizeof(*work));
    work->install = true;
    work->index = meta->index;
    submit(self, work);
}

static enum err env_adopt_cluster(void *self, uint64_t cluster_id)
{
    struct node *node = self;
    struct err_note note = {{0}};
    enum err err = identity_adopt(disk_loop_base(node->disk), &node->identity, cluster_id, &note);
    if (err != ERR_OK) {
        log_event(LOG_IDENTITY_REFUSED, "error=%s detail=%s", err_name(err), note.text);
    }
    return err;
}

static void env_fatal(void *self, enum err why, const char *text)
{
    node_core_fatal(self, why, text);
}

void node_core_fatal(struct node *node, enum err why, const char *text)
{
    log_event(why == ERR_NO_SPACE                    ? LOG_DISK_FULL
              : why == ERR_POISONED || why == ERR_IO ? LOG_WAL_FAILED
                                                     : LOG_APPLY_STOPPED,
              "error=%s detail=%s", err_name(why), text);
    (void)pthread_mutex_lock(&node->status_lock);
    void (*fn)(void *self, enum err err, const char *said) = node->on_fatal;
    void *fn_self = node->on_fatal_self;
    node->on_fatal = NULL;
    if (node->fatal == ERR_OK) {
        node->fatal = why;
        (void)snprintf(node->fatal_text, sizeof(node->fatal_text), "%s", text);
    }
    (void)pthread_mutex_unlock(&node->status_lock);
    if (fn != NULL) {
        fn(fn_self, why, text);
    }
}

/* ---- the peers' environment ------------------------------------------------------------------ */

static void peers_hello(void *self, struct engine_hello *ret_hello)
{
    struct node *node = self;
    engine_hello_get(node->engine, ret_hello);
}

static void heard(struct node *node, raft_node_id from)
{
    atomic_store_explicit(&node->peer_heard[from], loop_now(node->core.loop), memory_order_relaxed);
}

static enum err peers_up(void *self, const struct engine_hello *hello, bool *ret_trusted,
                         struct err_note *note)
{
    struct node *node = self;
    enum err err =
        engine_peer_up(node->engine, loop_now(node->core.loop), hello, ret_trusted, note);
    if (err == ERR_OK) {
        heard(node, hello->node);
    }
    return err;
}

static void peers_down(void *self, raft_node_id peer)
{
    struct node *node = self;
    engine_peer_down(node->engine, loop_now(node->core.loop), peer);
    if (node->transfer != NULL) {
        transfer_peer_down(node->transfer, peer);
    }
}

static enum err peers_frame(void *self, raft_node_id from, enum peers_channel channel, uint8_t kind,
                            struct bytes body)
{
    struct node *node = self;
    (void)channel;
    heard(node, from);
    if (kind == PEERS_FRAME_ENGINE) {
        return engine_receive(node->engine, loop_now(node->core.loop),
                              loop_wall_ms(node->core.loop), from, body);
    }
    if (kind == PEERS_FRAME_SNAPSHOT) {
        return transfer_frame(node->transfer, from, body);
    }
    if (!list_empty(&node->core.outs[0].waiting)) {
        return ERR_OK; /* the edge is behind; frames may be lost, and memory is bounded */
    }
    struct edge_msg *msg = edge_msg_new(EDGE_FRAME, body.len);
    msg->from = from;
    msg->frame_kind = kind;
    msg->body_len = (uint32_t)body.len;
    if (body.len > 0) {
        memcpy(msg->body, body.data, body.len);
    }
    node_core_to_edge(node, 0, msg);
    return ERR_OK;
}

/* ---- requests -------------------------------------------------------------------------------- */

static void on_propose(struct node *node, const struct core_msg *msg)
{
    struct engine_proposal proposal = {
        .group = META_GROUP,
        .kind = msg->command_kind,
        .principal = bytes_of(msg->bytes, msg->principal_len),
        .trace_id = msg->trace_id,
        .body = bytes_of(msg->bytes + msg->principal_len, msg->body_len),
        .tag = msg->tag,
        .deadline = msg->deadline,
    };
    enum err err = engine_propose(node->engine, loop_now(node->core.loop), &proposal);
    if (err != ERR_OK) {
        answer(node, EDGE_PROPOSAL_FAILED, msg->tag, err, 0);
    }
}

static void on_msg(struct node *node, const struct core_msg *msg)
{
    clk_ns now = loop_now(node->core.loop);
    enum err err = ERR_OK;
    switch (msg->kind) {
    case CORE_PROPOSE:
        on_propose(node, msg);
        break;
    case CORE_READ:
        err = engine_read(node->engine, now, META_GROUP, msg->tag);
        if (err != ERR_OK) {
            answer(node, EDGE_READ_READY, msg->tag, err, 0);
        }
        break;
    case CORE_FRAME:
        (void)peers_send(node->peers, msg->to, PEERS_LOG, msg->frame_kind,
                         bytes_of(msg->bytes, msg->body_len));
        break;
    case CORE_APPLIED:
        engine_applied(node->engine, now, META_GROUP, msg->index);
        break;
    case CORE_BACKUP:
        node_backup_begin(node, msg->tag, msg->index);
        break;
    case CORE_BACKUP_NEXT:
        node_backup_more(node, msg->tag);
        break;
    case CORE_BACKUP_END:
        node_backup_end(node, msg->tag);
        break;
    case CORE_FATAL:
        node_core_fatal(node, msg->err, (const char *)msg->bytes);
        break;
    }
}

static void take(struct node *node, struct loop_inbox *inbox)
{
    struct core_msg *msg = NULL;
    while ((msg = inbox_pop(inbox)) != NULL) {
        if (!node->core.stopping) {
            on_msg(node, msg);
        }
        mem_free(msg);
    }
}

static void on_from_edge(struct loop_inbox *inbox)
{
    take(CONTAINER_OF(inbox, struct node_edge, to_core)->node, inbox);
}

static void on_from_apply(struct loop_inbox *inbox)
{
    take(CONTAINER_OF(inbox, struct node, core.from_apply), inbox);
}

/* ---- the turn -------------------------------------------------------------------------------- */

static void on_timer(struct loop_timer *timer)
{
    (void)timer; /* firing makes a turn, and that is all that was wanted */
}

static void flush_works(struct node *node)
{
    while (!list_empty(&node->core.works)) {
        struct apply_work *work = CONTAINER_OF(node->core.works.next, struct apply_work, link);
        list_remove(&work->link);
        if (!node_apply_submit(node, work)) {
            list_push_front(&node->core.works, &work->link);
            break;
        }
    }
    if (node->core.wake_apply) {
        node->core.wake_apply = false;
        inbox_wake(&node->apply.from_core);
    }
}

void node_set_secret(struct node *node, const struct secret_ring *ring)
{
    (void)pthread_mutex_lock(&node->status_lock);
    node->new_secret = *ring;
    (void)pthread_mutex_unlock(&node->status_lock);
    atomic_store_explicit(&node->has_new_secret, true, memory_order_release);
    loop_wake(node->core.loop);
}

static void take_secret(struct node *node)
{
    if (!atomic_exchange_explicit(&node->has_new_secret, false, memory_order_acquire)) {
        return;
    }
    (void)pthread_mutex_lock(&node->status_lock);
    struct secret_ring ring = node->new_secret;
    secret_forget(&node->new_secret);
    (void)pthread_mutex_unlock(&node->status_lock);
    if (ring.count > 0) { /* 0: two came at once, and the later one was taken already */
        peers_set_secret(node->peers, &ring);
    }
    secret_forget(&ring);
}

static void on_turn_end(struct loop_hook *hook)
{
    struct node *node = CONTAINER_OF(hook, struct node, core.hook);
    struct node_core *core = &node->core;
    clk_ns now = loop_now(core->loop);
    if (!core->stopping) {
        node_hand_over_turn(node, now);
        take_secret(node);
        engine_turn(node->engine, now, loop_wall_ms(core->loop));
    }
    flush_works(node);
    flush_edges(node);
    if (now >= core->published_at + PUBLISH_EVERY) {
        node_status_publish(node);
    }
    clk_ns at = core->stopping ? wal_deadline(node->wal) : engine_deadline(node->engine);
    if (at != CLK_NEVER) {
        loop_timer_set(core->loop, &core->timer, at > now ? at : now + 1, on_timer);
    }
}

/* ---- stopping -------------------------------------------------------------------------------- */

static void on_peers_closed(void *self)
{
    struct node *node = self;
    node->core.peers_closed = true;
}

static void drop_waiting(struct node *node)
{
    struct list *link = NULL;
    while ((link = list_pop_front(&node->core.works)) != NULL) {
        mem_free(CONTAINER_OF(link, struct apply_work, link));
    }
    for (uint32_t i = 0; i < node->edge_count; i++) {
        while ((link = list_pop_front(&node->core.outs[i].waiting)) != NULL) {
            mem_free(CONTAINER_OF(link, struct edge_msg, link));
        }
    }
}

/* Still on the core thread (a ring belongs to its thread): turns until nothing is under way. */
static void drain(struct node *node)
{
    struct node_core *core = &node->core;
    core->stopping = true;
    peers_close(node->peers, on_peers_closed, node);
    if (wal_status(node->wal, NULL) == ERR_OK) {
        wal_seal(node->wal);
    }
    clk_ns until = loop_now(core->loop) + DRAIN_LIMIT;
    while ((!core->peers_closed || !wal_idle(node->wal)) && loop_now(core->loop) < until) {
        loop_turn(core->loop, CLK_MS(10));
    }
}

static void *thread_main(void *arg)
{
    struct node *node = arg;
    loop_run(node->core.loop);
    drain(node);
    return NULL;
}

/* ---- life ------------------------------------------------------------------------------------ */

static enum err start_peers(struct node *node, struct err_note *note)
{
    struct peers_cfg cfg = {.self = node->cfg.id, .secret = node->cfg.secret};
    enum err err = net_addr_parse(bytes_of_str(node->cfg.peer_addr), &cfg.listen);
    for (uint32_t i = 0; i < node->cfg.peer_count && err == ERR_OK; i++) {
        const struct node_peer_cfg *peer = &node->cfg.peers[i];
        if (peer->id != node->cfg.id) {
            cfg.peers[cfg.peer_count].id = peer->id;
            err = net_addr_parse(bytes_of_str(peer->peer_addr), &cfg.peers[cfg.peer_count++].addr);
        }
    }
    if (err != ERR_OK) {
        return err_note_set(note, err, "a peer's address is not HOST:PORT");
    }
    struct peers_env env = {.self = node,
                            .hello = peers_hello,
                            .up = peers_up,
                            .down = peers_down,
                            .frame = peers_frame};
    err = peers_new(node->core.loop, &cfg, &env, &node->peers, note);
    node->cfg.secret = NULL; /* it was borrowed */
    return err;
}

struct engine_env node_core_env(struct node *node)
{
    return (struct engine_env){
        .self = node,
        .send = env_send,
        .apply = env_apply,
        .proposer_last = env_proposer_last,
        .applied_time = env_applied_time,
        .proposal_failed = env_proposal_failed,
        .read_done = env_read_done,
        .role_changed = env_role_changed,
        .damage_met = env_damage_met,
        .snapshot_send = env_snapshot_send,
        .snapshot_write = env_snapshot_write,
        .snapshot_install = env_snapshot_install,
        .adopt_cluster = env_adopt_cluster,
        .fatal = env_fatal,
    };
}

enum err node_core_start(struct node *node, struct err_note *note)
{
    struct node_core *core = &node->core;
    list_init(&core->works);
    for (uint32_t i = 0; i < NODE_EDGES_MAX; i++) {
        list_init(&core->outs[i].waiting);
    }
    inbox_init(&core->from_apply, core->loop, INBOX_ITEMS * 2, on_from_apply);
    for (uint32_t i = 0; i < node->edge_count; i++) {
        inbox_init(&node->edges[i].to_core, core->loop, INBOX_ITEMS, on_from_edge);
    }
    /* Before the peers' own hook, so that a turn's frames leave in the same turn. */
    loop_hook_add(core->loop, &core->hook, on_turn_end);
    enum err err = store_reader_new(node->store, &core->reader);
    if (err == ERR_OK) {
        err = start_peers(node, note);
    }
    if (err == ERR_OK) {
        node_status_publish(node); /* clients may ask before the thread's first turn */
        int rc = pthread_create(&core->thread, NULL, thread_main, node);
        CHECK(rc == 0);
        core->running = true;
    }
    return err;
}

void node_core_stop(struct node *node)
{
    struct node_core *core = &node->core;
    take(node, &core->from_apply);
    for (uint32_t i = 0; i < node->edge_count; i++) {
        if (node->edges[i].loop != NULL) {
            take(node, &node->edges[i].to_core);
            inbox_done(&node->edges[i].to_core);
        }
    }
    inbox_done(&core->from_apply);
    drop_waiting(node);
    loop_timer_cancel(core->loop, &core->timer);
    loop_timer_cancel(core->loop, &node->snapshot_retry);
    loop_hook_remove(&core->hook);
    store_reader_free(core->reader);
}
