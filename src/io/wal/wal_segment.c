/* Segments while the log runs: the next one is made ready ahead, old ones are recycled or removed.
 *
 *   IDLE --new file--> FILL --> SYNC --rename--> NAME --> ready
 *   IDLE --rename of an unneeded segment-------> NAME --> ready
 *   IDLE --remove of the oldest------> REMOVE --> IDLE
 *
 * One such operation at a time, and names are durable before the next step, so that a crash finds
 * the segments without a gap. A renamed segment still has its old bytes: their checksums have the
 * seed of the old number (wal.h, invariant 6). */
#include "check/check.h"
#include "mem/mem.h"
#include "wal/wal_priv.h"

#include <stdio.h>

enum {
    RETRY_MS = 1000
};

/* ---- the list -------------------------------------------------------------------------------- */

struct wal_segment *wal_segment_find(const struct wal *wal, uint32_t number)
{
    for (size_t i = wal->segment_count; i > 0; i--) {
        if (wal->segments[i - 1]->number == number) {
            return wal->segments[i - 1];
        }
    }
    return NULL;
}

uint32_t wal_segment_ready(const struct wal *wal)
{
    uint32_t newest = wal->segment_count == 0 ? 0 : wal->segments[wal->segment_count - 1]->number;
    return newest > wal->durable_segment ? newest : wal->durable_segment;
}

void wal_segment_add(struct wal *wal, struct disk_file *file, uint32_t number, uint32_t size)
{
    CHECK(wal->segment_count == 0 || number > wal->segments[wal->segment_count - 1]->number);
    if (wal->segment_count == wal->segment_cap) {
        wal->segment_cap = wal->segment_cap == 0 ? 16 : wal->segment_cap * 2;
        wal->segments = mem_resize(wal->segments, wal->segment_cap * sizeof(*wal->segments));
    }
    struct wal_segment *segment = mem_alloc(sizeof(*segment));
    segment->file = file;
    segment->number = number;
    segment->size = size;
    wal->segments[wal->segment_count++] = segment;
}

/* The oldest one leaves the list; its file is the caller's. */
static struct disk_file *oldest_take(struct wal *wal)
{
    CHECK(wal->segment_count > 0);
    struct wal_segment *oldest = wal->segments[0];
    CHECK(oldest->reads == 0 && oldest->number < wal->durable_segment);
    struct disk_file *file = oldest->file;
    for (size_t i = 0; i < wal->group_count; i++) {
        wal_log_drop(&wal->groups[i]->log, oldest->number + 1);
    }
    wal->segment_count--;
    memmove(wal->segments, wal->segments + 1, wal->segment_count * sizeof(*wal->segments));
    mem_free(oldest);
    return file;
}

/* ---- one operation after the other ----------------------------------------------------------- */

static void on_prepared(struct disk_op *op, enum err err, size_t bytes);

static void op_start(struct wal *wal, enum wal_prepare_step step, enum disk_op_kind kind)
{
    struct wal_prepare *prepare = &wal->prepare;
    prepare->step = step;
    prepare->op.kind = kind;
    prepare->op.file = prepare->file;
    prepare->op.on_done = on_prepared;
    disk_start(wal->disk, &prepare->op);
}

static void fill_chunk(struct wal *wal)
{
    struct wal_prepare *prepare = &wal->prepare;
    uint32_t left = wal->config.segment_bytes - prepare->filled;
    int pieces = 0;
    for (; pieces < WAL_FILL_PIECES && left > 0; pieces++) {
        uint32_t length = left < WAL_ZERO_BYTES ? left : WAL_ZERO_BYTES;
        prepare->iov[pieces] = (struct iovec){.iov_base = wal->zeros, .iov_len = length};
        left -= length;
    }
    prepare->op.offset = prepare->filled;
    prepare->op.iov = prepare->iov;
    prepare->op.iov_count = pieces;
    op_start(wal, WAL_PREPARE_FILL, DISK_WRITE);
}

/* The disk is full: what is written stays valid, and there is the rest of this segment. */
static void space_low(struct wal *wal, const char *why)
{
    struct wal_prepare *prepare = &wal->prepare;
    prepare->step = WAL_PREPARE_IDLE;
    prepare->retry_at = wal->now + CLK_MS(RETRY_MS);
    bool first = !prepare->low;
    prepare->low = true;
    if (wal->waits) {
        wal_fail(wal, ERR_NO_SPACE, "prepare a segment", WAL_NEW_NAME, 0);
    } else if (first && wal->callbacks.on_space != NULL) {
        struct err_note note;
        err_note_set(&note, ERR_NO_SPACE, "no space for the next segment of the log: %s", why);
        wal->callbacks.on_space(wal->callbacks.context, true, &note);
    }
}

static void new_file_drop(struct wal *wal)
{
    disk_close(wal->prepare.file);
    wal->prepare.file = NULL;
    if (disk_remove(wal->disk, WAL_NEW_NAME, NULL) != ERR_OK) {
        wal_fail(wal, ERR_IO, "remove", WAL_NEW_NAME, 0);
    }
}

static void fill_start(struct wal *wal)
{
    struct wal_prepare *prepare = &wal->prepare;
    struct err_note note;
    enum err err = disk_create(wal->disk, WAL_NEW_NAME, &prepare->file, &note);
    if (err == ERR_NO_SPACE || err == ERR_FULL) {
        space_low(wal, note.text);
    } else if (err != ERR_OK) {
        wal_fail(wal, err, "create", WAL_NEW_NAME, 0);
    } else {
        prepare->filled = 0;
        fill_chunk(wal);
    }
}

/* Gives prepare.file the name of the next segment. */
static void name_start(struct wal *wal)
{
    char name[DISK_NAME_MAX];
    wal_segment_name(wal_segment_ready(wal) + 1, name);
    if (disk_rename(wal->prepare.file, name, NULL) != ERR_OK) {
        wal->prepare.step = WAL_PREPARE_IDLE;
        wal_fail(wal, ERR_IO, "rename to", name, 0);
        return;
    }
    op_start(wal, WAL_PREPARE_NAME, DISK_SYNC_DIR);
}

static void ready(struct wal *wal)
{
    struct wal_prepare *prepare = &wal->prepare;
    wal_segment_add(wal, prepare->file, wal_segment_ready(wal) + 1, wal->config.segment_bytes);
    prepare->file = NULL;
    prepare->step = WAL_PREPARE_IDLE;
    prepare->retry_at = CLK_NEVER;
    if (prepare->low && wal->callbacks.on_space != NULL) {
        struct err_note note;
        err_note_set(&note, ERR_OK, "the next segment of the log is ready");
        wal->callbacks.on_space(wal->callbacks.context, false, &note);
    }
    prepare->low = false;
    wal_segment_came(wal);
    wal_tidy(wal);
}

static void on_prepared(struct disk_op *op, enum err err, size_t bytes)
{
    struct wal *wal = CONTAINER_OF(op, struct wal, prepare.op);
    struct wal_prepare *prepare = &wal->prepare;
    enum wal_prepare_step step = prepare->step;
    prepare->step = WAL_PREPARE_IDLE;
    if (wal->failed != ERR_OK) {
        return;
    }
    if (err == ERR_NO_SPACE && step == WAL_PREPARE_FILL) {
        new_file_drop(wal);
        space_low(wal, "the disk is full");
        return;
    }
    if (err != ERR_OK) {
        const char *name = prepare->file == NULL ? "the directory" : prepare->file->name;
        wal_fail(wal, err, step == WAL_PREPARE_FILL ? "fill" : "sync", name, op->os_errno);
        return;
    }
    switch (step) {
    case WAL_PREPARE_FILL:
        prepare->filled += (uint32_t)bytes;
        if (prepare->filled < wal->config.segment_bytes) {
            fill_chunk(wal);
        } else {
            op_start(wal, WAL_PREPARE_SYNC, DISK_SYNC);
        }
        return;
    case WAL_PREPARE_SYNC:
        wal->stats.segments_made++;
        name_start(wal);
        return;
    case WAL_PREPARE_NAME:
        ready(wal);
        return;
    case WAL_PREPARE_REMOVE:
        wal_tidy(wal);
        return;
    case WAL_PREPARE_IDLE:
        break;
    }
    CHECK_UNREACHABLE();
}

/* ---- what to do next ------------------------------------------------------------------------- */

static void remove_oldest(struct wal *wal)
{
    struct disk_file *file = oldest_take(wal);
    char name[DISK_NAME_MAX];
    (void)snprintf(name, sizeof(name), "%s", file->name);
    disk_close(file);
    if (disk_remove(wal->disk, name, NULL) != ERR_OK) {
        wal_fail(wal, ERR_IO, "remove", name, 0);
        return;
    }
    wal->stats.segments_removed++;
    op_start(wal, WAL_PREPARE_REMOVE, DISK_SYNC_DIR);
}

void wal_tidy(struct wal *wal)
{
    if (wal->failed != ERR_OK || wal->prepare.step != WAL_PREPARE_IDLE) {
        return;
    }
    raft_group_id group = 0;
    uint32_t needed = wal_first_needed(wal, &group);
    size_t unneeded = 0;
    while (unneeded < wal->segment_count && wal->segments[unneeded]->number < needed) {
        unneeded++;
    }
    bool droppable = unneeded > 0 && wal->segments[0]->reads == 0;
    bool fits = droppable && wal->segments[0]->size == wal->config.segment_bytes;
    if (wal_segment_ready(wal) <= wal->tail_segment) {
        if (fits) {
            wal->prepare.file = oldest_take(wal);
            wal->stats.segments_recycled++;
            name_start(wal);
        } else if (wal->prepare.retry_at == CLK_NEVER) {
            fill_start(wal);
        }
        return;
    }
    if (droppable && (!fits || unneeded > wal->config.spare_segments)) {
        remove_oldest(wal);
    }
}
