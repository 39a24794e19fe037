/* Backups: the state of this node as a snapshot file, handed to an edge in pieces.
 *
 * The core thread keeps what is under way; the background thread does what blocks: finding a file
 * that is new enough, verifying every byte of it, reading a piece. When there is none a snapshot is
 * written first, as for a peer that lags; so a backup is the very file that a node would trust.
 *
 *   edge: start --> core: job "find" --none--> node_snapshot_write --> job "find" again
 *                              | found                                       |
 *   edge: piece <-- core: job "read" <---------------------------------------+
 *   edge: next  --> core: job "read" ... until a piece is empty; end, or cancel, closes the file
 *
 * Bounded: BACKUPS_MAX at once per node, one piece in memory for each. One that was not asked for
 * IDLE_NS (its edge had no room to say that the client has gone) makes way for another. */
#include "check/check.h"
#include "mem/mem.h"
#include "node/node_priv.h"

enum {
    BACKUPS_MAX = 8
};

#define IDLE_NS CLK_S(120)

struct node_backup_job {
    struct job job;
    struct list link; /* in node->backups */
    struct node *node;
    uint64_t tag;
    raft_index at_least;
    struct snapshot_source *source; /* NULL: not found yet */
    uint64_t offset;
    clk_ns asked;
    bool running;  /* a job is under way: it is freed by its end at the earliest */
    bool waits;    /* for a file that is being written */
    bool written;  /* one was written for it already */
    bool canceled; /* nobody wants it any more */
    enum err err;
    size_t piece_len;
    uint8_t piece[NODE_BACKUP_PIECE];
};

/* ---- background ------------------------------------------------------------------------------ */

static enum err find(struct node_backup_job *self)
{
    struct snapshot_dir *dir = self->node->snapshots;
    struct snapshot_info info;
    enum err err = snapshot_newest(dir, META_GROUP, NULL, &info);
    if (err == ERR_OK && info.meta.index < self->at_least) {
        return ERR_NOT_FOUND;
    }
    return err == ERR_OK ? snapshot_source_open(dir, info.name, &self->source) : err;
}

static void work(struct job *job)
{
    struct node_backup_job *self = CONTAINER_OF(job, struct node_backup_job, job);
    self->err = self->source == NULL ? find(self) : ERR_OK;
    if (self->err == ERR_OK) {
        self->err = snapshot_source_read(self->source, self->offset, self->piece,
                                         sizeof(self->piece), &self->piece_len);
    }
}

/* ---- core ------------------------------------------------------------------------------------ */

static void backup_free(struct node_backup_job *self)
{
    list_remove(&self->link);
    snapshot_source_close(self->source);
    mem_free(self);
}

static void fail(struct node_backup_job *self, enum err err)
{
    node_core_backup_piece(self->node, self->tag, err, (struct bytes){NULL, 0});
    backup_free(self);
}

static void done(struct job *job);

static void run(struct node_backup_job *self)
{
    self->job.work = work;
    self->job.done = done;
    enum err err = jobs_run(self->node->jobs, &self->job);
    if (err != ERR_OK) {
        fail(self, err);
        return;
    }
    self->running = true;
}

/* No file is new enough: one is written, or is being written and may do. */
static void wait_for_file(struct node_backup_job *self)
{
    struct node *node = self->node;
    if (self->written) {
        fail(self, ERR_IO);
        return;
    }
    node_snapshot_write(node);
    if (node->snapshot_job == NULL) {
        fail(self, ERR_FULL); /* the last attempt failed a moment ago */
        return;
    }
    self->waits = true;
}

static void done(struct job *job)
{
    struct node_backup_job *self = CONTAINER_OF(job, struct node_backup_job, job);
    struct node *node = self->node;
    self->running = false;
    if (self->canceled || node->core.stopping) {
        backup_free(self);
    } else if (self->err == ERR_NOT_FOUND && self->source == NULL) {
        wait_for_file(self);
    } else if (self->err != ERR_OK) {
        fail(self, self->err);
    } else {
        self->offset += self->piece_len;
        node_core_backup_piece(node, self->tag, ERR_OK, bytes_of(self->piece, self->piece_len));
    }
}

void node_backups_written(struct node *node, bool ok, raft_index index)
{
    struct list *link = node->backups.next;
    while (link != &node->backups) {
        struct node_backup_job *self = CONTAINER_OF(link, struct node_backup_job, link);
        link = link->next;
        if (!self->waits) {
            continue;
        }
        self->waits = false;
        if (!ok) {
            fail(self, ERR_IO);
            continue;
        }
        /* The write that was under way when this one came may be too old for it. */
        self->written = index >= self->at_least;
        run(self);
    }
}

static struct node_backup_job *find_tag(struct node *node, uint64_t tag)
{
    for (struct list *link = node->backups.next; link != &node->backups; link = link->next) {
        struct node_backup_job *self = CONTAINER_OF(link, struct node_backup_job, link);
        if (self->tag == tag) {
            return self;
        }
    }
    return NULL;
}

static bool make_room(struct node *node, clk_ns now)
{
    size_t count = 0;
    struct node_backup_job *idle = NULL;
    for (struct list *link = node->backups.next; link != &node->backups; link = link->next) {
        struct node_backup_job *self = CONTAINER_OF(link, struct node_backup_job, link);
        count++;
        if (!self->running && !self->waits && now - self->asked > IDLE_NS) {
            idle = self;
        }
    }
    if (count < BACKUPS_MAX) {
        return true;
    }
    if (idle != NULL) {
        fail(idle, ERR_TIMEOUT);
    }
    return idle != NULL;
}

void node_backup_begin(struct node *node, uint64_t tag, raft_index at_least)
{
    clk_ns now = loop_now(node->core.loop);
    if (node->core.stopping || !make_room(node, now)) {
        node_core_backup_piece(node, tag, node->core.stopping ? ERR_STOPPING : ERR_FULL,
                               (struct bytes){NULL, 0});
        return;
    }
    struct node_backup_job *self = mem_alloc(sizeof(*self));
    self->node = node;
    self->tag = tag;
    self->at_least = at_least;
    self->asked = now;
    list_push_back(&node->backups, &self->link);
    run(self);
}

void node_backup_more(struct node *node, uint64_t tag)
{
    struct node_backup_job *self = find_tag(node, tag);
    if (node->core.stopping) {
        return;
    }
    if (self == NULL) {
        node_core_backup_piece(node, tag, ERR_TIMEOUT, (struct bytes){NULL, 0});
        return;
    }
    CHECK(!self->running && !self->waits);
    self->asked = loop_now(node->core.loop);
    run(self);
}

void node_backup_end(struct node *node, uint64_t tag)
{
    struct node_backup_job *self = find_tag(node, tag);
    if (self != NULL && self->running) {
        self->canceled = true;
    } else if (self != NULL) {
        backup_free(self);
    }
}

void node_backups_free(struct node *node)
{
    while (!list_empty(&node->backups)) {
        backup_free(CONTAINER_OF(node->backups.next, struct node_backup_job, link));
    }
}

/* ---- edge ------------------------------------------------------------------------------------ */

static enum err tell_core(struct node_edge *edge, enum core_msg_kind kind, uint64_t tag,
                          uint64_t index)
{
    struct core_msg *msg = node_core_msg_new(kind, 0);
    msg->tag = tag;
    msg->index = index;
    return node_edge_to_core(edge, msg);
}

enum err node_backup_start(struct node_edge *edge, uint64_t at_least, struct node_backup *backup)
{
    backup->tag = (uint64_t)(edge->number + 1) << TAG_EDGE_SHIFT | ++edge->next_backup;
    enum err err = tell_core(edge, CORE_BACKUP, backup->tag, at_least);
    if (err == ERR_OK) {
        list_push_back(&edge->backups, &backup->link);
    }
    return err;
}

enum err node_backup_next(struct node_edge *edge, struct node_backup *backup)
{
    return tell_core(edge, CORE_BACKUP_NEXT, backup->tag, 0);
}

void node_backup_cancel(struct node_edge *edge, struct node_backup *backup)
{
    list_remove(&backup->link);
    /* Full: the core finds out by itself (IDLE_NS). */
    if (tell_core(edge, CORE_BACKUP_END, backup->tag, 0) != ERR_OK) {
        return;
    }
}

void node_backup_piece(struct node_edge *edge, uint64_t tag, enum err err, struct bytes piece)
{
    for (struct list *link = edge->backups.next; link != &edge->backups; link = link->next) {
        struct node_backup *backup = CONTAINER_OF(link, struct node_backup, link);
        if (backup->tag == tag) {
            backup->piece(backup, err, piece);
            return;
        }
    }
}
