/* Reading entries back: from the nearest point of the index, walk the segment's records.
 *
 * A point and what its walk reaches are fixed when the read starts (wal_log.h, invariant 3), so
 * truncations meanwhile do not disturb it: the bytes stay where they are until the segment is
 * recycled, and a segment with reads under way is not. */
#include "check/check.h"
#include "mem/mem.h"
#include "wal/wal_priv.h"

/* End of what may be read of the segment: all of an old one, the durable part of the current
 * one. */
static uint32_t readable_end(const struct wal *wal, const struct wal_segment *segment)
{
    return segment->number == wal->durable_segment ? wal->durable_offset : segment->size;
}

static bool place_durable(const struct wal *wal, const struct wal_point *point)
{
    return point->segment < wal->durable_segment ||
           (point->segment == wal->durable_segment && point->offset < wal->durable_offset);
}

/* Points the state at the first entry. */
static enum err locate(struct wal *wal, struct wal_read_state *state)
{
    const struct wal_read *read = state->read;
    const struct wal_group *group = wal_group_find(wal, read->group);
    if (group == NULL || read->first < group->log.first || read->first > group->log.last) {
        return ERR_NOT_FOUND;
    }
    const struct wal_point *point = wal_log_find(&group->log, read->first);
    if (point == NULL) {
        return ERR_NOT_FOUND;
    }
    if (!place_durable(wal, point)) {
        return ERR_INCOMPLETE;
    }
    state->wal = wal;
    state->segment = wal_segment_find(wal, point->segment);
    CHECK(state->segment != NULL);
    state->offset = point->offset;
    state->reach = wal_log_reach(&group->log, point);
    return ERR_OK;
}

static size_t piece_bytes(const struct wal_read_state *state)
{
    uint32_t end = readable_end(state->wal, state->segment);
    size_t left = end > state->offset ? end - state->offset : 0;
    return left < state->read->buffer_bytes ? left : state->read->buffer_bytes;
}

/* What a walk over a piece came to. */
enum walk {
    WALK_DONE,    /* entries were found, or an error is final (state->read) */
    WALK_FURTHER, /* the first entry lies further on: state->offset was moved */
};

static enum err walk_damaged(struct wal_read_state *state, size_t offset)
{
    struct wal_read *read = state->read;
    read->damage = (struct wal_damage){.group = read->group,
                                       .segment = state->segment->number,
                                       .offset = state->offset + offset,
                                       .index = read->first + read->count};
    return ERR_CORRUPT;
}

/* Nothing was found in the piece; where `at` is the first record that is not whole in it. */
static enum walk walk_on(struct wal_read_state *state, size_t at, size_t size, size_t got,
                         enum err *ret_err)
{
    struct wal_read *read = state->read;
    uint32_t end = readable_end(state->wal, state->segment);
    if (state->offset + at + size > end) {
        *ret_err = ERR_INCOMPLETE;
        return WALK_DONE;
    }
    if (at == 0 && size > got) {
        read->needed = size;
        *ret_err = ERR_TOO_LARGE;
        return WALK_DONE;
    }
    state->offset += (uint32_t)at;
    return WALK_FURTHER;
}

static enum walk walk(struct wal_read_state *state, size_t got, enum err *ret_err)
{
    struct wal_read *read = state->read;
    uint32_t salt = wal_salt(state->wal->config.storage_id, state->segment->number);
    size_t at = 0;
    size_t size = WAL_HEADER_BYTES;
    *ret_err = ERR_OK;
    while (read->count < read->entries_max) {
        raft_index want = read->first + read->count;
        struct wal_record record;
        if (want > read->last || want >= state->reach) {
            break;
        }
        size = WAL_HEADER_BYTES;
        if (at + size > got) {
            break;
        }
        const uint8_t *header = read->buffer + at;
        if (!wal_record_get(header, state->segment->size - state->offset - at, salt, &record) ||
            (record.kind == WAL_SEGMENT && at + state->offset > 0)) {
            *ret_err = walk_damaged(state, at);
            break;
        }
        size = wal_record_size(record.length);
        bool wanted =
            record.kind == WAL_ENTRY && record.group == read->group && record.index == want;
        if (wanted && at + size > got) {
            break;
        }
        if (wanted && !wal_payload_ok(header, salt, &record)) {
            *ret_err = walk_damaged(state, at);
            break;
        }
        if (wanted) {
            read->entries[read->count++] =
                (struct wal_entry){.index = record.index,
                                   .term = record.term,
                                   .kind = (enum raft_entry_kind)record.detail,
                                   .time_ms = record.time_ms,
                                   .payload = bytes_of(header + WAL_HEADER_BYTES, record.length)};
        }
        at += size;
    }
    if (read->count > 0) {
        *ret_err = ERR_OK; /* Damage behind good entries is met by the next read. */
        return WALK_DONE;
    }
    return *ret_err != ERR_OK ? WALK_DONE : walk_on(state, at, size, got, ret_err);
}

/* ---- asynchronous ---------------------------------------------------------------------------- */

static void on_piece(struct disk_op *op, enum err err, size_t bytes);

static void piece_start(struct wal_read_state *state)
{
    state->iov = (struct iovec){.iov_base = state->read->buffer, .iov_len = piece_bytes(state)};
    state->op.kind = DISK_READ;
    state->op.file = state->segment->file;
    state->op.offset = state->offset;
    state->op.iov = &state->iov;
    state->op.iov_count = 1;
    state->op.on_done = on_piece;
    disk_start(state->wal->disk, &state->op);
}

static void on_piece(struct disk_op *op, enum err err, size_t bytes)
{
    struct wal_read_state *state = CONTAINER_OF(op, struct wal_read_state, op);
    struct wal_read *read = state->read;
    if (err == ERR_OK && walk(state, bytes, &err) == WALK_FURTHER) {
        piece_start(state);
        return;
    }
    state->segment->reads--;
    state->read = NULL;
    read->state = NULL;
    read->on_done(read, err);
}

enum err wal_read_start(struct wal *wal, struct wal_read *read)
{
    CHECK(read->buffer_bytes >= WAL_READ_BUFFER_MIN && read->entries_max > 0);
    CHECK(read->first > 0 && read->first <= read->last);
    struct wal_read_state *state = NULL;
    for (size_t i = 0; i < WAL_READS_MAX && state == NULL; i++) {
        state = wal->reads[i].read == NULL ? &wal->reads[i] : NULL;
    }
    if (state == NULL) {
        return ERR_FULL;
    }
    state->read = read;
    enum err err = locate(wal, state);
    if (err != ERR_OK) {
        state->read = NULL;
        return err;
    }
    read->wal = wal;
    read->state = state;
    read->count = 0;
    read->needed = 0;
    state->segment->reads++;
    piece_start(state);
    return ERR_OK;
}

/* ---- blocking -------------------------------------------------------------------------------- */

static enum err replay_piece(struct wal *wal, struct wal_read *read, struct err_note *note)
{
    struct wal_read_state state = {.read = read};
    read->count = 0;
    enum err err = locate(wal, &state);
    if (err != ERR_OK) {
        return err_note_set(note, err, "group %u, entry %llu is not in the log", read->group,
                            (unsigned long long)read->first);
    }
    enum walk result = WALK_FURTHER;
    while (result == WALK_FURTHER) {
        size_t got = 0;
        err = disk_read(state.segment->file, state.offset, read->buffer, piece_bytes(&state), &got,
                        note);
        if (err != ERR_OK) {
            return err;
        }
        result = walk(&state, got, &err);
    }
    if (err == ERR_CORRUPT) {
        wal_damage_text(&read->damage, note);
    } else if (err == ERR_INCOMPLETE) {
        return err_note_set(note, ERR_NOT_FOUND, "group %u, entry %llu is not on the disk",
                            read->group, (unsigned long long)read->first);
    }
    return err;
}

static enum err replay_range(struct wal *wal, struct wal_read *read, const struct wal_replay *what,
                             struct err_note *note)
{
    while (read->first <= read->last) {
        enum err err = replay_piece(wal, read, note);
        if (err == ERR_TOO_LARGE) {
            read->buffer = mem_resize(read->buffer, read->needed);
            read->buffer_bytes = read->needed;
            continue;
        }
        for (size_t i = 0; err == ERR_OK && i < read->count; i++) {
            err = what->each(what->context, &read->entries[i]);
        }
        if (err != ERR_OK) {
            return err;
        }
        read->first += read->count;
    }
    return ERR_OK;
}

enum {
    REPLAY_BUFFER_BYTES = 1024 * 1024,
    REPLAY_ENTRIES = 1024
};

enum err wal_replay(struct wal *wal, const struct wal_replay *what, struct err_note *note)
{
    CHECK(what->first > 0);
    struct wal_read read = {.group = what->group,
                            .first = what->first,
                            .last = what->last,
                            .buffer = mem_alloc(REPLAY_BUFFER_BYTES),
                            .buffer_bytes = REPLAY_BUFFER_BYTES,
                            .entries = mem_alloc_array(REPLAY_ENTRIES, sizeof(struct wal_entry)),
                            .entries_max = REPLAY_ENTRIES};
    enum err err = replay_range(wal, &read, what, note);
    mem_free(read.entries);
    mem_free(read.buffer);
    return err;
}
