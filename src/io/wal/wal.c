/* Appending: effects become records in a batch, batches become durable one after the other. See
 * wal/wal.h.
 *
 *   wal_append -> record_put -> the open batch (last of `pending`)
 *   wal_flush, on_written -> write_next: first of `pending` -> `writing` -> on_written ->
 *   on_durable
 *
 * A batch lies in one segment. When a record does not fit into the rest of the segment, the next
 * batch begins the next segment, with a header that states what all groups are at that point. */
#include "wal/wal.h"

#include "check/check.h"
#include "mem/mem.h"
#include "wal/wal_priv.h"

struct wal_config wal_config_default(uint64_t storage_id)
{
    return (struct wal_config){.storage_id = storage_id,
                               .segment_bytes = WAL_SEGMENT_BYTES_DEFAULT,
                               .batch_bytes = WAL_BATCH_BYTES_DEFAULT,
                               .pending_bytes_max = WAL_PENDING_BYTES_DEFAULT,
                               .record_bytes_max = WAL_RECORD_BYTES_DEFAULT,
                               .groups_max = WAL_GROUPS_DEFAULT,
                               .spare_segments = 2,
                               .seal_after = CLK_MS(10)};
}

/* ---- failure --------------------------------------------------------------------------------- */

static void batch_free(struct wal *wal, struct wal_batch *batch)
{
    bool keep = batch->cap <= 2 * (size_t)wal->config.batch_bytes &&
                wal->batches_cached < WAL_BATCHES_CACHED;
    if (keep) {
        list_push_front(&wal->batches_free, &batch->link);
        wal->batches_cached++;
        return;
    }
    mem_free(batch->data);
    mem_free(batch);
}

void wal_fail(struct wal *wal, enum err err, const char *what, const char *name, int os_errno)
{
    CHECK(err != ERR_OK);
    if (wal->failed != ERR_OK) {
        return;
    }
    wal->failed = err;
    const char *why = os_errno == 0 ? err_text(err) : strerrordesc_np(os_errno);
    err_note_set(&wal->failed_note, err, "the log failed: %s %s: %s", what, name,
                 why == NULL ? "unknown error" : why);
    struct list *link;
    while ((link = list_pop_front(&wal->pending)) != NULL) {
        batch_free(wal, CONTAINER_OF(link, struct wal_batch, link));
    }
    wal->pending_bytes = 0;
    if (wal->callbacks.on_failed != NULL) {
        wal->callbacks.on_failed(wal->callbacks.context, err, &wal->failed_note);
    }
}

enum err wal_status(const struct wal *wal, struct err_note *note)
{
    if (wal->failed != ERR_OK && note != NULL) {
        *note = wal->failed_note;
    }
    return wal->failed;
}

/* ---- batches --------------------------------------------------------------------------------- */

static struct wal_batch *batch_open(struct wal *wal)
{
    struct list *link = list_pop_front(&wal->batches_free);
    struct wal_batch *batch = NULL;
    if (link != NULL) {
        batch = CONTAINER_OF(link, struct wal_batch, link);
        wal->batches_cached--;
    } else {
        batch = mem_alloc(sizeof(*batch));
    }
    batch->len = 0;
    batch->records = 0;
    batch->wal_seq = 0;
    batch->last_sequence = 0;
    batch->segment = wal->tail_segment;
    batch->offset = wal->tail_offset;
    list_push_back(&wal->pending, &batch->link);
    return batch;
}

static struct wal_batch *batch_last(struct wal *wal)
{
    return list_empty(&wal->pending) ? NULL
                                     : CONTAINER_OF(wal->pending.prev, struct wal_batch, link);
}

static uint8_t *batch_take(struct wal_batch *batch, size_t size)
{
    if (batch->cap - batch->len < size) {
        size_t cap = batch->cap == 0 ? 16 * 1024 : batch->cap * 2;
        cap = cap < batch->len + size ? batch->len + size : cap;
        batch->data = mem_resize(batch->data, cap);
        batch->cap = cap;
    }
    uint8_t *at = batch->data + batch->len;
    batch->len += size;
    return at;
}

/* Puts a record behind the tail of the current segment, where it must fit; its offset there. */
static uint32_t record_place(struct wal *wal, struct wal_group *group, struct wal_record *record,
                             struct bytes payload)
{
    size_t size = wal_record_size(payload.len);
    CHECK(size <= wal->tail_size - wal->tail_offset);
    struct wal_batch *batch = batch_last(wal);
    if (batch == NULL || batch->segment != wal->tail_segment ||
        (batch->len > 0 && batch->len + size > wal->config.batch_bytes)) {
        batch = batch_open(wal);
    }
    uint32_t offset = wal->tail_offset;
    record->sequence = wal->next_sequence++;
    record->behind = batch->records++;
    if (group != NULL) {
        uint64_t back = group->last_sequence == 0 ? 0 : record->sequence - group->last_sequence;
        record->group = group->id;
        record->back = back < UINT32_MAX ? (uint32_t)back : UINT32_MAX;
        group->last_sequence = record->sequence;
    }
    wal_record_put(batch_take(batch, size), wal->tail_salt, record, payload);
    batch->last_sequence = record->sequence;
    wal->tail_offset += (uint32_t)size;
    wal->pending_bytes += size;
    wal->stats.records++;
    return offset;
}

static void rotate(struct wal *wal)
{
    struct buf *scratch = &wal->scratch;
    buf_clear(scratch);
    struct wal_segment_head head = {.format = WAL_FORMAT_VERSION,
                                    .segment_bytes = wal->config.segment_bytes,
                                    .storage_id = wal->config.storage_id,
                                    .number = wal->tail_segment + 1,
                                    .group_count = (uint32_t)wal->group_count,
                                    .unknown_loss =
                                        wal->unknown_loss && wal->recovery.damage_count > 0};
    enum err err = wal_head_encode(&head, scratch);
    for (size_t i = 0; err == ERR_OK && i < wal->group_count; i++) {
        struct wal_group_state state = wal_group_state(wal->groups[i]);
        err = wal_group_encode(&state, scratch);
    }
    CHECK(err == ERR_OK);
    wal->unknown_loss = false;
    wal->tail_segment++;
    wal->tail_offset = 0;
    wal->tail_size = wal->config.segment_bytes;
    wal->tail_salt = wal_salt(wal->config.storage_id, wal->tail_segment);
    struct wal_record record = {
        .kind = WAL_SEGMENT, .index = wal->tail_segment, .detail = WAL_FORMAT_VERSION};
    record_place(wal, NULL, &record, buf_bytes(scratch));
}

/* Group NULL: the record is nobody's. */
static uint32_t record_put(struct wal *wal, struct wal_group *group, struct wal_record *record,
                           struct bytes payload)
{
    if (wal_record_size(payload.len) > wal->tail_size - wal->tail_offset) {
        rotate(wal);
    }
    return record_place(wal, group, record, payload);
}

/* ---- effects --------------------------------------------------------------------------------- */

static void put_hard_state(struct wal *wal, struct wal_group *group,
                           const struct raft_hard_state *hard)
{
    struct wal_record record = {.kind = WAL_HARD_STATE,
                                .index = hard->vote,
                                .term = hard->term,
                                .detail = hard->repairing ? 1 : 0};
    record_put(wal, group, &record, (struct bytes){NULL, 0});
    group->hard = *hard;
}

static void put_truncate(struct wal *wal, struct wal_group *group, raft_index from)
{
    struct wal_record record = {.kind = WAL_TRUNCATE, .index = from};
    record_put(wal, group, &record, (struct bytes){NULL, 0});
    wal_group_truncate(wal, group, from, record.sequence);
}

static void put_entry(struct wal *wal, struct wal_group *group, const struct wal_entry *entry)
{
    CHECK(entry->index == group->log.last + 1);
    CHECK(entry->term > 0);
    struct wal_record record = {.kind = WAL_ENTRY,
                                .index = entry->index,
                                .term = entry->term,
                                .time_ms = entry->time_ms,
                                .detail = (uint8_t)entry->kind};
    uint32_t offset = record_put(wal, group, &record, entry->payload);
    wal_log_append(&group->log, entry->term, wal->tail_segment, offset);
}

static void put_snapshot(struct wal *wal, struct wal_group *group,
                         const struct raft_snapshot_meta *meta, bool replaced)
{
    struct buf payload;
    buf_init(&payload, WAL_SNAPSHOT_FIXED_BYTES + RAFT_CONFIG_BYTES_MAX);
    enum err err = wal_snapshot_encode(meta, &payload);
    CHECK(err == ERR_OK);
    struct wal_record record = {
        .kind = WAL_SNAPSHOT, .index = meta->index, .term = meta->term, .detail = replaced ? 1 : 0};
    record_put(wal, group, &record, buf_bytes(&payload));
    buf_done(&payload);
    wal_group_snapshot(wal, group, meta, replaced, record.sequence);
}

static enum err admit(const struct wal *wal, const struct wal_write *write)
{
    if (wal->failed != ERR_OK) {
        return ERR_POISONED;
    }
    uint64_t size = WAL_HEADER_BYTES * 2;
    for (size_t i = 0; i < write->entry_count; i++) {
        if (write->entries[i].payload.len > wal->config.record_bytes_max) {
            return ERR_TOO_LARGE;
        }
        size += wal_record_size(write->entries[i].payload.len);
    }
    bool fits = wal->pending_bytes + size <= wal->config.pending_bytes_max;
    return fits || wal->pending_bytes == 0 ? ERR_OK : ERR_FULL;
}

/* After something was put: a seal follows it. */
static void appended(struct wal *wal, clk_ns now, uint64_t wal_seq)
{
    if (wal_seq > 0) {
        struct wal_batch *batch = batch_last(wal);
        CHECK(batch != NULL && wal_seq > batch->wal_seq);
        batch->wal_seq = wal_seq;
    }
    wal->now = now;
    wal->unsealed = true;
    wal->seal_due = false;
    wal->seal_at = now + wal->config.seal_after;
    wal->stats.appends++;
}

enum err wal_append(struct wal *wal, clk_ns now, const struct wal_write *write)
{
    CHECK(write->wal_seq > 0);
    CHECK(write->hard_state != NULL || write->truncate_from > 0 || write->entry_count > 0 ||
          write->snapshot != NULL);
    enum err err = admit(wal, write);
    if (err != ERR_OK) {
        return err;
    }
    struct wal_group *group = wal_group_get(wal, write->group);
    if (group == NULL) {
        return ERR_FULL;
    }
    if (write->hard_state != NULL) {
        put_hard_state(wal, group, write->hard_state);
    }
    if (write->truncate_from > 0) {
        put_truncate(wal, group, write->truncate_from);
    }
    for (size_t i = 0; i < write->entry_count; i++) {
        put_entry(wal, group, &write->entries[i]);
    }
    if (write->snapshot != NULL) {
        CHECK(write->entry_count == 0);
        put_snapshot(wal, group, write->snapshot, true);
    }
    appended(wal, now, write->wal_seq);
    return ERR_OK;
}

enum err wal_compact(struct wal *wal, clk_ns now, raft_group_id id,
                     const struct raft_snapshot_meta *meta)
{
    enum err err = admit(wal, &(struct wal_write){.group = id});
    if (err != ERR_OK) {
        return err;
    }
    struct wal_group *group = wal_group_find(wal, id);
    CHECK(group != NULL && meta->index <= group->log.last);
    if (meta->index <= group->snapshot.index) {
        return ERR_OK;
    }
    put_snapshot(wal, group, meta, false);
    appended(wal, now, 0);
    return ERR_OK;
}

/* ---- writing --------------------------------------------------------------------------------- */

static void put_seal(struct wal *wal)
{
    struct wal_record record = {.kind = WAL_SEAL};
    record_put(wal, NULL, &record, (struct bytes){NULL, 0});
    wal->unsealed = false;
    wal->seal_due = false;
    wal->stats.seals++;
}

static void write_next(struct wal *wal);

static void on_written(struct disk_op *op, enum err err, size_t bytes)
{
    struct wal *wal = CONTAINER_OF(op, struct wal, write_op);
    struct wal_batch *batch = wal->writing;
    wal->writing = NULL;
    if (err != ERR_OK || wal->failed != ERR_OK) {
        batch_free(wal, batch);
        if (err != ERR_OK) {
            wal_fail(wal, err, "write", op->file->name, op->os_errno);
        }
        return;
    }
    CHECK(bytes == batch->len);
    uint64_t wal_seq = batch->wal_seq;
    bool rotated = batch->segment != wal->durable_segment;
    wal->durable_segment = batch->segment;
    wal->head_segment = rotated ? batch->segment : wal->head_segment;
    wal->durable_offset = batch->offset + (uint32_t)batch->len;
    wal->durable_sequence = batch->last_sequence;
    wal->pending_bytes -= batch->len;
    wal->stats.writes++;
    wal->stats.bytes += batch->len;
    batch_free(wal, batch);
    bool marks = wal->marks_pending > 0;
    if (marks) {
        wal_groups_durable(wal);
    }
    if (wal->seal_due && list_empty(&wal->pending)) {
        put_seal(wal);
    }
    /* The disk goes on working before anybody is told. */
    write_next(wal);
    if (marks || rotated) {
        wal_tidy(wal);
    }
    if (wal_seq > 0 && wal->callbacks.on_durable != NULL) {
        wal->callbacks.on_durable(wal->callbacks.context, wal_seq);
    }
}

static void write_next(struct wal *wal)
{
    if (wal->failed != ERR_OK || wal->writing != NULL || list_empty(&wal->pending)) {
        return;
    }
    struct wal_batch *batch = CONTAINER_OF(wal->pending.next, struct wal_batch, link);
    struct wal_segment *segment = wal_segment_find(wal, batch->segment);
    if (segment == NULL) {
        wal->stats.rotation_waits += wal->waits ? 0 : 1;
        wal->waits = true;
        /* Now it is needed: after a full disk one more attempt is made, which must succeed. */
        wal->prepare.retry_at = CLK_NEVER;
        wal_tidy(wal);
        return;
    }
    wal->waits = false;
    list_remove(&batch->link);
    wal->writing = batch;
    wal->write_iov = (struct iovec){.iov_base = batch->data, .iov_len = batch->len};
    wal->write_op.kind = DISK_WRITE_DURABLE;
    wal->write_op.file = segment->file;
    wal->write_op.offset = batch->offset;
    wal->write_op.iov = &wal->write_iov;
    wal->write_op.iov_count = 1;
    wal->write_op.on_done = on_written;
    disk_start(wal->disk, &wal->write_op);
}

void wal_segment_came(struct wal *wal)
{
    write_next(wal);
}

void wal_flush(struct wal *wal)
{
    write_next(wal);
    if (wal_segment_ready(wal) <= wal->tail_segment) {
        wal_tidy(wal);
    }
}

/* ---- time ------------------------------------------------------------------------------------ */

void wal_seal(struct wal *wal)
{
    if (!wal->unsealed || wal->failed != ERR_OK) {
        return;
    }
    if (wal->writing != NULL || !list_empty(&wal->pending)) {
        wal->seal_due = true;
        write_next(wal);
        return;
    }
    put_seal(wal);
    write_next(wal);
}

clk_ns wal_deadline(const struct wal *wal)
{
    if (wal->failed != ERR_OK) {
        return CLK_NEVER;
    }
    clk_ns seal_at = wal->unsealed && !wal->seal_due ? wal->seal_at : CLK_NEVER;
    return seal_at < wal->prepare.retry_at ? seal_at : wal->prepare.retry_at;
}

void wal_wake(struct wal *wal, clk_ns now)
{
    wal->now = now;
    if (wal->unsealed && now >= wal->seal_at) {
        wal_seal(wal);
    }
    if (now >= wal->prepare.retry_at) {
        wal->prepare.retry_at = CLK_NEVER;
        wal_tidy(wal);
    }
}

bool wal_idle(const struct wal *wal)
{
    for (size_t i = 0; i < WAL_READS_MAX; i++) {
        if (wal->reads[i].read != NULL) {
            return false;
        }
    }
    return wal->writing == NULL && list_empty(&wal->pending) &&
           wal->prepare.step == WAL_PREPARE_IDLE;
}

uint64_t wal_durable_sequence(const struct wal *wal)
{
    return wal->durable_sequence;
}

struct wal_stats wal_stats(const struct wal *wal)
{
    struct wal_stats stats = wal->stats;
    stats.pending_bytes = wal->pending_bytes;
    stats.segments = wal->segment_count;
    for (size_t i = 0; i < wal->group_count; i++) {
        stats.index_bytes += wal->groups[i]->log.point_cap * sizeof(struct wal_point);
    }
    return stats;
}
