/* Starting: finds the segments, has them scanned, cuts a torn tail, makes durable what is left.
 *
 * What was written but never synced may be seen by this process and still be lost by the next power
 * failure; after a failed sync even a later, successful one would not save it. So the last write of
 * the log is written again and synced before anything is told about it. */
#include "check/check.h"
#include "mem/mem.h"
#include "wal/wal_priv.h"

#include <stdlib.h>

/* ---- names ----------------------------------------------------------------------------------- */

struct listing {
    uint32_t *numbers;
    size_t count;
    size_t cap;
    bool unfinished; /* a segment that was being filled */
};

static void on_name(void *context, const char *name)
{
    struct listing *listing = context;
    uint32_t number = 0;
    listing->unfinished = listing->unfinished || strcmp(name, WAL_NEW_NAME) == 0;
    if (!wal_segment_parse(name, &number)) {
        return;
    }
    if (listing->count == listing->cap) {
        listing->cap = listing->cap == 0 ? 16 : listing->cap * 2;
        listing->numbers = mem_resize(listing->numbers, listing->cap * sizeof(*listing->numbers));
    }
    listing->numbers[listing->count++] = number;
}

static int number_order(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a;
    uint32_t right = *(const uint32_t *)b;
    return left < right ? -1 : left > right;
}

static enum err listing_read(struct disk *disk, struct listing *listing, struct err_note *note)
{
    *listing = (struct listing){0};
    enum err err = disk_list(disk, on_name, listing, note);
    if (err == ERR_OK && listing->count > 1) {
        qsort(listing->numbers, listing->count, sizeof(*listing->numbers), number_order);
    }
    return err;
}

enum err wal_present(struct disk *disk, bool *ret_present, struct err_note *note)
{
    struct listing listing;
    enum err err = listing_read(disk, &listing, note);
    mem_free(listing.numbers);
    if (err == ERR_OK) {
        *ret_present = listing.count > 0;
    }
    return err;
}

/* ---- making ---------------------------------------------------------------------------------- */

static void config_check(const struct wal_config *config)
{
    size_t head = WAL_SEGMENT_FIXED_BYTES +
                  (size_t)config->groups_max * (WAL_GROUP_FIXED_BYTES + RAFT_CONFIG_BYTES_MAX);
    CHECK(config->storage_id != 0);
    CHECK(config->segment_bytes % 4096 == 0 && config->segment_bytes <= INT32_MAX);
    CHECK(config->groups_max > 0 && config->batch_bytes > 0 && config->pending_bytes_max > 0);
    CHECK(wal_record_size(head) + wal_record_size(config->record_bytes_max) <=
          config->segment_bytes);
}

static enum err first_segment_fill(struct disk_file *file, const struct wal_config *config,
                                   struct err_note *note)
{
    struct wal_segment_head head = {.format = WAL_FORMAT_VERSION,
                                    .segment_bytes = config->segment_bytes,
                                    .storage_id = config->storage_id,
                                    .number = 1};
    struct buf payload;
    buf_init(&payload, WAL_SEGMENT_FIXED_BYTES);
    enum err err = wal_head_encode(&head, &payload);
    CHECK(err == ERR_OK);
    struct wal_record record = {
        .kind = WAL_SEGMENT, .sequence = 1, .index = 1, .detail = WAL_FORMAT_VERSION};
    uint8_t image[WAL_HEADER_BYTES + WAL_SEGMENT_FIXED_BYTES];
    _Static_assert(WAL_SEGMENT_FIXED_BYTES % WAL_ALIGN == 0, "the head needs no padding");
    wal_record_put(image, 0, &record, buf_bytes(&payload));
    buf_done(&payload);
    err = disk_write(file, 0, bytes_of(image, sizeof(image)), note);
    if (err == ERR_OK) {
        err = disk_sync(file, note);
    }
    return err;
}

enum err wal_create(struct disk *disk, const struct wal_config *config, struct err_note *note)
{
    config_check(config);
    struct listing listing;
    enum err err = listing_read(disk, &listing, note);
    mem_free(listing.numbers);
    if (err == ERR_OK && listing.count > 0) {
        err = err_note_set(note, ERR_EXISTS, "the directory has a log already");
    }
    if (err == ERR_OK && listing.unfinished) {
        err = disk_remove(disk, WAL_NEW_NAME, note);
    }
    struct disk_file *file = NULL;
    if (err == ERR_OK) {
        err = disk_create_filled(disk, WAL_NEW_NAME, config->segment_bytes, &file, note);
    }
    if (err != ERR_OK) {
        return err_note_wrap(note, err, "make the log");
    }
    err = first_segment_fill(file, config, note);
    if (err == ERR_OK) {
        char name[DISK_NAME_MAX];
        wal_segment_name(1, name);
        err = disk_rename(file, name, note);
    }
    disk_close(file);
    if (err == ERR_OK) {
        err = disk_sync_dir(disk, note);
    }
    return err == ERR_OK ? ERR_OK : err_note_wrap(note, err, "make the log");
}

/* ---- finding --------------------------------------------------------------------------------- */

/* Whether a segment header's payload says what it should: all groups readable, this file's
 * number. */
static enum err head_check(struct wal *wal, struct wal_found *found, struct err_note *note)
{
    struct reader reader = reader_of(buf_bytes(&found->head_payload));
    enum err err = wal_head_decode(&reader, &found->head);
    if (err == ERR_MISMATCH) {
        return err_note_set(note, ERR_MISMATCH,
                            "segment %u of the log has format %u, this program reads up to %d",
                            found->number, found->head.format, WAL_FORMAT_VERSION);
    }
    if (err != ERR_OK || found->head.number != found->number) {
        return ERR_OK;
    }
    if (wal->config.storage_id == 0) {
        wal->config.storage_id = found->head.storage_id;
    }
    if (found->head.storage_id != wal->config.storage_id) {
        return err_note_set(note, ERR_MISMATCH,
                            "segment %u of the log belongs to disk %016llx, not to %016llx",
                            found->number, (unsigned long long)found->head.storage_id,
                            (unsigned long long)wal->config.storage_id);
    }
    found->has_head = true;
    found->used = true;
    return ERR_OK;
}

static enum err head_read(struct wal *wal, struct wal_found *found, struct err_note *note)
{
    uint8_t fixed[WAL_HEADER_BYTES];
    size_t got = 0;
    size_t left = found->size < SIZE_MAX ? (size_t)found->size : SIZE_MAX;
    /* What cannot be read counts as damaged; the scan tells. */
    if (disk_read(found->file, 0, fixed, sizeof(fixed), &got, NULL) != ERR_OK ||
        got < sizeof(fixed) || !wal_record_get(fixed, left, 0, &found->head_record) ||
        found->head_record.kind != WAL_SEGMENT) {
        return ERR_OK;
    }
    size_t size = wal_record_size(found->head_record.length);
    struct buf whole;
    buf_init(&whole, size);
    enum err err = buf_reserve(&whole, size);
    CHECK(err == ERR_OK);
    bool ok = disk_read(found->file, 0, whole.data, size, &got, NULL) == ERR_OK && got == size &&
              wal_payload_ok(whole.data, 0, &found->head_record);
    if (ok) {
        buf_init(&found->head_payload, size);
        err = buf_append(&found->head_payload,
                         bytes_of(whole.data + WAL_HEADER_BYTES, found->head_record.length));
        CHECK(err == ERR_OK);
    }
    buf_done(&whole);
    return ok ? head_check(wal, found, note) : ERR_OK;
}

static enum err segments_find(struct wal_scan *scan, struct err_note *note)
{
    struct wal *wal = scan->wal;
    struct listing listing;
    enum err err = listing_read(wal->disk, &listing, note);
    scan->unfinished = listing.unfinished;
    if (err == ERR_OK && listing.count == 0) {
        err = err_note_set(note, ERR_NOT_FOUND, "the directory has no log");
    }
    scan->found = mem_alloc_array(listing.count + 1, sizeof(*scan->found));
    for (size_t i = 0; err == ERR_OK && i < listing.count; i++) {
        struct wal_found *found = &scan->found[i];
        char name[DISK_NAME_MAX];
        wal_segment_name(listing.numbers[i], name);
        found->number = listing.numbers[i];
        err = disk_open(wal->disk, name, &found->file, note);
        if (err == ERR_OK) {
            scan->found_count++;
            err = disk_size(found->file, &found->size, note);
        }
        if (err == ERR_OK && found->size > INT32_MAX) {
            err = err_note_set(note, ERR_CORRUPT, "%s is larger than a segment can be", name);
        }
        if (err == ERR_OK) {
            err = head_read(wal, found, note);
        }
    }
    mem_free(listing.numbers);
    return err;
}

/* Segments behind the last one that has anything of its own were only prepared. */
static void used_count_set(struct wal_scan *scan)
{
    for (size_t i = 0; i < scan->found_count; i++) {
        struct wal_found *found = &scan->found[i];
        if (!found->used) {
            struct wal_record record;
            wal_scan_load(scan, i);
            found->used = wal_scan_next(scan, WAL_ALIGN, 1, &record) < scan->image_len ||
                          scan->image_len == 0;
        }
        if (found->used) {
            scan->used_count = i + 1;
        }
    }
}

enum err wal_scan_find(struct wal_scan *scan, struct err_note *note)
{
    enum err err = segments_find(scan, note);
    if (err == ERR_OK) {
        used_count_set(scan);
    }
    return err;
}

void wal_scan_done(struct wal_scan *scan)
{
    for (size_t i = 0; scan->found != NULL && i < scan->found_count; i++) {
        disk_close(scan->found[i].file);
        buf_done(&scan->found[i].head_payload);
    }
    mem_free(scan->found);
    mem_free(scan->image);
}

/* ---- cutting --------------------------------------------------------------------------------- */

/* Where the leftovers of a torn write end: behind the last whole header, and behind a torn one. */
static size_t leftovers_end(struct wal_scan *scan)
{
    size_t end = scan->end_offset;
    struct wal_record record;
    for (size_t at = wal_scan_next(scan, end, 1, &record); at < scan->image_len;
         at = wal_scan_next(scan, at + WAL_ALIGN, 1, &record)) {
        end = at + wal_record_size(record.length);
    }
    size_t header_end = scan->end_offset + WAL_HEADER_BYTES;
    header_end = header_end < scan->image_len ? header_end : scan->image_len;
    for (size_t i = scan->end_offset; i < header_end && end < header_end; i++) {
        end = scan->image[i] != 0 ? header_end : end;
    }
    return end;
}

size_t wal_scan_torn(struct wal_scan *scan)
{
    CHECK(scan->ended);
    struct wal_recovery *recovery = &scan->wal->recovery;
    size_t end = leftovers_end(scan);
    /* A segment that is in use and whose header is not whole is torn even if nothing else is. */
    if (end > scan->end_offset || scan->end_offset == 0) {
        recovery->torn = true;
        recovery->torn_segment = scan->found[scan->at].number;
        recovery->torn_offset = scan->end_offset;
    }
    return end;
}

/* The last write is written again and synced, and what a torn write left behind it becomes zeros.
 * With damage nothing is cut: the leftovers may be what proves that the damaged record had been
 * durable, and the log goes on in another segment, whose header ends this one. */
static enum err tail_settle(struct wal_scan *scan, bool damaged, struct err_note *note)
{
    struct wal_found *found = &scan->found[scan->at];
    size_t end = wal_scan_torn(scan);
    end = damaged ? scan->end_offset : end;
    memset(scan->image + scan->end_offset, 0, end - scan->end_offset);
    enum err err = ERR_OK;
    if (end > scan->write_offset) {
        err =
            disk_write(found->file, scan->write_offset,
                       bytes_of(scan->image + scan->write_offset, end - scan->write_offset), note);
    }
    return err == ERR_OK ? disk_sync(found->file, note) : err;
}

static enum err segment_remove(struct wal_scan *scan, size_t at, struct err_note *note)
{
    struct wal_found *found = &scan->found[at];
    char name[DISK_NAME_MAX];
    wal_segment_name(found->number, name);
    disk_close(found->file);
    found->file = NULL;
    return disk_remove(scan->wal->disk, name, note);
}

/* Segments from `keep` on are not part of the log. The next one in line stays as a prepared one
 * when nothing of its own was ever written to it. */
static enum err rest_remove(struct wal_scan *scan, size_t keep, struct err_note *note)
{
    struct wal *wal = scan->wal;
    enum err err = ERR_OK;
    for (size_t i = keep; err == ERR_OK && i < scan->found_count; i++) {
        struct wal_found *found = &scan->found[i];
        bool prepared = i == keep && !found->used && keep > 0 &&
                        found->number == scan->found[keep - 1].number + 1 &&
                        found->size == wal->config.segment_bytes;
        if (!prepared) {
            err = segment_remove(scan, i, note);
        }
    }
    return err;
}

static void segments_take(struct wal_scan *scan)
{
    for (size_t i = 0; i < scan->found_count; i++) {
        struct wal_found *found = &scan->found[i];
        if (found->file != NULL) {
            wal_segment_add(scan->wal, found->file, found->number, (uint32_t)found->size);
            found->file = NULL;
        }
    }
}

/* Where appending goes on: behind the tail, or in a new segment when its header has something to
 * say. */
static void tail_set(struct wal_scan *scan, size_t kept, bool in_place)
{
    struct wal *wal = scan->wal;
    const struct wal_found *tail = &scan->found[kept > 0 ? kept - 1 : scan->found_count - 1];
    wal->tail_segment = tail->number;
    wal->tail_size = (uint32_t)tail->size;
    wal->tail_offset = in_place ? (uint32_t)scan->end_offset : wal->tail_size;
    wal->tail_salt = wal_salt(wal->config.storage_id, wal->tail_segment);
    wal->next_sequence = scan->expected;
    wal->durable_sequence = scan->expected - 1;
    wal->durable_segment = wal->tail_segment;
    wal->durable_offset = wal->tail_offset;
    for (size_t i = 0; i < kept; i++) {
        wal->head_segment = scan->found[i].has_head ? scan->found[i].number : wal->head_segment;
    }
}

/* Whether the log has to go on in a new segment, because its header has something to say, or
 * because the current one's is damaged. */
static bool found_damage(const struct wal_scan *scan)
{
    const struct wal *wal = scan->wal;
    bool damaged = wal->unknown_loss && wal->recovery.damage_count > 0;
    for (size_t i = 0; i < wal->group_count; i++) {
        damaged = damaged || wal->groups[i]->verdict == RAFT_BOOT_DAMAGED;
    }
    bool at_end = scan->ended && scan->end_offset > 0;
    return damaged || (at_end && !scan->found[scan->at].has_head);
}

static enum err recover(struct wal_scan *scan, struct err_note *note)
{
    struct wal *wal = scan->wal;
    enum err err = wal_scan_find(scan, note);
    if (err == ERR_OK && scan->unfinished) {
        err = disk_remove(wal->disk, WAL_NEW_NAME, note);
    }
    if (err == ERR_OK) {
        err = wal_scan_run(scan, note);
    }
    if (err != ERR_OK) {
        return err;
    }
    wal->recovery.segments = scan->used_count;
    size_t kept = scan->used_count;
    bool damaged = found_damage(scan);
    bool at_end = scan->ended && scan->end_offset > 0;
    if (scan->ended && !damaged) {
        kept = scan->at + (at_end ? 1 : 0);
    }
    if (at_end) {
        err = tail_settle(scan, damaged, note);
    } else if (scan->ended) {
        (void)wal_scan_torn(scan); /* The file goes. */
    }
    if (err == ERR_OK) {
        tail_set(scan, kept, at_end && !damaged);
        err = rest_remove(scan, kept, note);
    }
    if (err == ERR_OK) {
        err = disk_sync_dir(wal->disk, note);
    }
    if (err == ERR_OK) {
        segments_take(scan);
    }
    return err;
}

struct wal *wal_make(struct disk *disk, const struct wal_config *config)
{
    struct wal *wal = mem_alloc(sizeof(*wal));
    wal->config = *config;
    wal->disk = disk;
    wal->groups = mem_alloc_array(config->groups_max, sizeof(struct wal_group *));
    wal->prepare.retry_at = CLK_NEVER;
    wal->zeros = mem_alloc(WAL_ZERO_BYTES);
    list_init(&wal->pending);
    list_init(&wal->batches_free);
    buf_init(&wal->scratch,
             WAL_SEGMENT_FIXED_BYTES +
                 (size_t)config->groups_max * (WAL_GROUP_FIXED_BYTES + RAFT_CONFIG_BYTES_MAX));
    return wal;
}

enum err wal_open(struct disk *disk, const struct wal_config *config,
                  const struct wal_callbacks *callbacks, struct wal **ret_wal,
                  struct err_note *note)
{
    config_check(config);
    struct wal *wal = wal_make(disk, config);
    wal->callbacks = *callbacks;
    struct wal_scan scan = {.wal = wal};
    enum err err = recover(&scan, note);
    wal_scan_done(&scan);
    if (err != ERR_OK) {
        wal_free(wal);
        return err_note_wrap(note, err, "open the log");
    }
    /* The next write, or a seal, makes the end of the log known as durable. */
    wal->unsealed = true;
    wal->seal_at = 0;
    *ret_wal = wal;
    return ERR_OK;
}

static void batches_drop(struct list *batches)
{
    struct list *link;
    while ((link = list_pop_front(batches)) != NULL) {
        struct wal_batch *batch = CONTAINER_OF(link, struct wal_batch, link);
        mem_free(batch->data);
        mem_free(batch);
    }
}

void wal_free(struct wal *wal)
{
    if (wal == NULL) {
        return;
    }
    batches_drop(&wal->pending);
    batches_drop(&wal->batches_free);
    if (wal->writing != NULL) {
        mem_free(wal->writing->data);
        mem_free(wal->writing);
    }
    for (size_t i = 0; i < wal->segment_count; i++) {
        disk_close(wal->segments[i]->file);
        mem_free(wal->segments[i]);
    }
    mem_free(wal->segments);
    disk_close(wal->prepare.file);
    wal_groups_free(wal);
    buf_done(&wal->scratch);
    mem_free(wal->zeros);
    mem_free(wal);
}

/* ---- what was found -------------------------------------------------------------------------- */

const struct wal_recovery *wal_recovery(const struct wal *wal)
{
    return &wal->recovery;
}

void wal_damage_text(const struct wal_damage *damage, struct err_note *note)
{
    err_note_set(note, ERR_CORRUPT,
                 "segment %llu, offset %llu, record %llu: ", (unsigned long long)damage->segment,
                 (unsigned long long)damage->offset, (unsigned long long)damage->sequence);
    struct err_note place = *note;
    if (damage->group == 0) {
        err_note_set(note, ERR_CORRUPT, "%srecords of unknown groups are lost", place.text);
    } else if (damage->index == 0) {
        err_note_set(note, ERR_CORRUPT, "%sa record of group %u is damaged", place.text,
                     damage->group);
    } else {
        err_note_set(note, ERR_CORRUPT, "%sgroup %u, entry %llu is damaged", place.text,
                     damage->group, (unsigned long long)damage->index);
    }
    if (damage->why != NULL) {
        place = *note;
        err_note_set(note, ERR_CORRUPT, "%s: %s", place.text, damage->why);
    }
}
