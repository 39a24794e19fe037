/* Snapshot files of this node: written in the background, sent to peers that lag, installed by
 * apply.
 *
 * One file is written at a time. The read snapshot is taken on the core thread (that is cheap), so
 * that the log position that goes with it is known at once; writing it is a background job. */
#include "check/check.h"
#include "log/log.h"
#include "mem/mem.h"
#include "node/node_priv.h"

struct node_snapshot_job {
    struct job job;
    struct node *node;
    struct store_reader *reader;
    struct table_txn view;
    struct raft_snapshot_meta meta;
    struct snapshot_info info;
    raft_index floor; /* older files are needed no more */
    struct err_note note;
    enum err err;
};

enum {
    FILES_MAX = 8
};

#define RETRY_AFTER CLK_S(1)

static void on_retry(struct loop_timer *timer)
{
    struct node *node = CONTAINER_OF(timer, struct node, snapshot_retry);
    if (!node->core.stopping) {
        engine_snapshot_written(node->engine, loop_now(node->core.loop), META_GROUP, NULL);
    }
}

/* The engine is told later, because it asks again at once: a full disk must not keep the node
 * busy. */
static void failed(struct node *node)
{
    struct loop *loop = node->core.loop;
    if (!node->core.stopping && !loop_timer_is_set(&node->snapshot_retry)) {
        loop_timer_set(loop, &node->snapshot_retry, loop_now(loop) + RETRY_AFTER, on_retry);
    }
}

static void work(struct job *job)
{
    struct node_snapshot_job *self = CONTAINER_OF(job, struct node_snapshot_job, job);
    struct snapshot_dir *dir = self->node->snapshots;
    self->err = snapshot_write(dir, &self->view, &self->meta, &self->node->canceling, &self->info,
                               &self->note);
    if (self->err == ERR_OK &&
        snapshot_prune(dir, META_GROUP, SNAPSHOT_KEEP, self->floor) != ERR_OK) {
        return; /* old files stay until the next time */
    }
}

static void send_waiting(struct node *node)
{
    for (uint32_t id = 1; id <= NODE_ID_MAX; id++) {
        if (node->snapshot_waits[id]) {
            node->snapshot_waits[id] = false;
            node_snapshot_send(node, id, node->snapshot_wanted[id]);
        }
    }
}

static void done(struct job *job)
{
    struct node_snapshot_job *self = CONTAINER_OF(job, struct node_snapshot_job, job);
    struct node *node = self->node;
    store_read_end(self->reader);
    store_reader_free(self->reader);
    clk_ns now = loop_now(node->core.loop);
    bool ok = self->err == ERR_OK;
    if (ok) {
        log_event(LOG_SNAPSHOT_WRITTEN, "group=%u index=%llu rows=%llu bytes=%llu",
                  (unsigned)META_GROUP, (unsigned long long)self->info.meta.index,
                  (unsigned long long)self->info.rows, (unsigned long long)self->info.size_bytes);
    } else if (self->err != ERR_CANCELED) {
        log_event(LOG_SNAPSHOT_FAILED, "group=%u error=%s detail=%s", (unsigned)META_GROUP,
                  err_name(self->err), self->note.text);
    }
    node->snapshot_job = NULL;
    if (!node->core.stopping) {
        if (ok) {
            engine_snapshot_written(node->engine, now, META_GROUP, &self->meta);
        } else {
            failed(node);
        }
        send_waiting(node);
        node_backups_written(node, ok, self->meta.index);
    }
    mem_free(self);
}

/* Takes the read snapshot and the log position that belongs to it. */
static enum err begin(struct node_snapshot_job *self)
{
    struct node *node = self->node;
    enum err err = store_reader_new(node->store, &self->reader);
    if (err != ERR_OK) {
        return err;
    }
    err = store_read_begin(self->reader);
    if (err == ERR_OK) {
        uint64_t applied = 0;
        store_read_tables(self->reader, META_GROUP, &self->view);
        err = table_applied(&self->view, &applied);
        if (err == ERR_OK) {
            err = engine_snapshot_meta(node->engine, META_GROUP, applied, &self->meta);
        }
        if (err == ERR_OK) {
            err = jobs_run(node->jobs, &self->job);
        }
        if (err != ERR_OK) {
            store_read_end(self->reader);
        }
    }
    if (err != ERR_OK) {
        store_reader_free(self->reader);
    }
    return err;
}

void node_snapshot_write(struct node *node)
{
    if (node->snapshot_job != NULL || loop_timer_is_set(&node->snapshot_retry)) {
        return;
    }
    struct node_snapshot_job *self = mem_alloc(sizeof(*self));
    self->node = node;
    self->floor = engine_snapshot_floor(node->engine, META_GROUP);
    self->job.work = work;
    self->job.done = done;
    if (begin(self) != ERR_OK) {
        mem_free(self);
        failed(node);
        return;
    }
    node->snapshot_job = self;
}

void node_snapshot_send(struct node *node, raft_node_id to, raft_index at_least)
{
    CHECK(to > 0 && to <= NODE_ID_MAX);
    node->snapshot_wanted[to] = at_least;
    enum err err = transfer_send(node->transfer, META_GROUP, to, at_least);
    if (err != ERR_OK && err != ERR_EXISTS) {
        engine_snapshot_sent(node->engine, loop_now(node->core.loop), META_GROUP, to, false);
    }
}

void node_snapshot_sent(struct node *node, raft_node_id to, enum err err)
{
    if (node->core.stopping) {
        return;
    }
    if (err == ERR_NOT_FOUND) {
        /* No file is new enough yet: write one, then try again. */
        node_snapshot_write(node);
        node->snapshot_waits[to] = node->snapshot_job != NULL;
        if (node->snapshot_waits[to]) {
            return;
        }
    }
    engine_snapshot_sent(node->engine, loop_now(node->core.loop), META_GROUP, to, err == ERR_OK);
}

enum err node_snapshot_load(struct node *node,
                            bool (*fits)(const struct raft_snapshot_meta *meta,
                                         const void *context),
                            const void *context, raft_index *ret_index, struct err_note *note)
{
    struct snapshot_info *infos = mem_alloc_array(FILES_MAX, sizeof(*infos));
    size_t count = 0;
    enum err err = snapshot_list(node->snapshots, META_GROUP, NULL, FILES_MAX, infos, &count);
    if (err == ERR_OK) {
        err = err_note_set(note, ERR_NOT_FOUND, "no readable snapshot file that fits the log");
    }
    for (size_t i = 0; i < count && err != ERR_OK; i++) {
        struct snapshot_info info;
        if (!fits(&infos[i].meta, context)) {
            continue;
        }
        err = snapshot_load(node->snapshots, infos[i].name, node->store, &info, note);
        if (err == ERR_OK) {
            *ret_index = info.meta.index;
        }
    }
    mem_free(infos);
    return err;
}
