/* Encoding and decoding of what lies in segments; see wal/wal_format.h and docs/disk-format.md.
 *
 * Nothing here trusts its input: decoders are fuzzed, a wrong byte is an answer and never a
 * crash. */
#include "wal/wal_format.h"

#include "check/check.h"
#include "crc/crc32c.h"
#include "disk/disk.h"
#include "wal/wal.h"

#include <stdio.h>

enum {
    RECORD_MAGIC = 0x4c415746, /* "FWAL" */
    RECORD_VERSION = 1,
    AT_PAYLOAD_CRC = 4,
    AT_MAGIC = 8,
    AT_LENGTH = 12,
    AT_SEQUENCE = 16,
    AT_INDEX = 24,
    AT_TERM = 32,
    AT_TIME = 40,
    AT_GROUP = 48,
    AT_BEHIND = 52,
    AT_KIND = 56,
    AT_DETAIL = 57,
    AT_VERSION = 58,
    AT_ZERO = 59,
    AT_BACK = 60
};

_Static_assert(AT_BACK + 4 == WAL_HEADER_BYTES, "the header's fields fill it");
_Static_assert((int)WAL_HEADER_BYTES == (int)WAL_RECORD_HEADER_BYTES,
               "the public header says the same");
_Static_assert(WAL_HEADER_BYTES % WAL_ALIGN == 0, "payloads are aligned");

uint32_t wal_salt(uint64_t storage_id, uint32_t segment)
{
    uint8_t seed[12];
    put_u64(seed, storage_id);
    put_u32(seed + 8, segment);
    return crc32c(0, seed, sizeof(seed));
}

static uint32_t seed_for(enum wal_kind kind, uint32_t salt)
{
    return kind == WAL_SEGMENT ? 0 : salt;
}

void wal_record_put(uint8_t *dest, uint32_t salt, const struct wal_record *record,
                    struct bytes payload)
{
    CHECK(record->kind > 0 && record->kind < WAL_KIND_END);
    CHECK(payload.len <= UINT32_MAX);
    uint32_t seed = seed_for(record->kind, salt);
    size_t size = wal_record_size(payload.len);
    memset(dest + size - WAL_ALIGN, 0, WAL_ALIGN);
    if (payload.len > 0) {
        memcpy(dest + WAL_HEADER_BYTES, payload.data, payload.len);
    }
    put_u32(dest + AT_PAYLOAD_CRC, crc32c(seed, dest + WAL_HEADER_BYTES, payload.len));
    put_u32(dest + AT_MAGIC, RECORD_MAGIC);
    put_u32(dest + AT_LENGTH, (uint32_t)payload.len);
    put_u64(dest + AT_SEQUENCE, record->sequence);
    put_u64(dest + AT_INDEX, record->index);
    put_u64(dest + AT_TERM, record->term);
    put_u64(dest + AT_TIME, record->time_ms);
    put_u32(dest + AT_GROUP, record->group);
    put_u32(dest + AT_BEHIND, record->behind);
    dest[AT_KIND] = (uint8_t)record->kind;
    dest[AT_DETAIL] = record->detail;
    dest[AT_VERSION] = RECORD_VERSION;
    dest[AT_ZERO] = 0;
    put_u32(dest + AT_BACK, record->back);
    put_u32(dest, crc32c(seed, dest + AT_PAYLOAD_CRC, WAL_HEADER_BYTES - AT_PAYLOAD_CRC));
}

/* Counters that no log reaches: refused, so that sums with them never overflow. */
static bool too_high(uint64_t number)
{
    return number > INT64_MAX;
}

bool wal_record_get(const uint8_t *at, size_t left, uint32_t salt, struct wal_record *ret_record)
{
    if (left < WAL_HEADER_BYTES || get_u32(at + AT_MAGIC) != RECORD_MAGIC) {
        return false;
    }
    uint8_t kind = at[AT_KIND];
    if (kind == 0 || kind >= WAL_KIND_END || at[AT_VERSION] != RECORD_VERSION) {
        return false;
    }
    uint32_t seed = seed_for((enum wal_kind)kind, salt);
    if (get_u32(at) != crc32c(seed, at + AT_PAYLOAD_CRC, WAL_HEADER_BYTES - AT_PAYLOAD_CRC)) {
        return false;
    }
    struct wal_record record = {.sequence = get_u64(at + AT_SEQUENCE),
                                .index = get_u64(at + AT_INDEX),
                                .term = get_u64(at + AT_TERM),
                                .time_ms = get_u64(at + AT_TIME),
                                .group = get_u32(at + AT_GROUP),
                                .length = get_u32(at + AT_LENGTH),
                                .behind = get_u32(at + AT_BEHIND),
                                .back = get_u32(at + AT_BACK),
                                .payload_crc = get_u32(at + AT_PAYLOAD_CRC),
                                .kind = (enum wal_kind)kind,
                                .detail = at[AT_DETAIL]};
    if (record.sequence == 0 || record.behind >= record.sequence ||
        (record.back > 0 && record.back >= record.sequence) || too_high(record.sequence) ||
        too_high(record.index) || too_high(record.term) || wal_record_size(record.length) > left) {
        return false;
    }
    *ret_record = record;
    return true;
}

bool wal_record_resembles(const uint8_t *at, size_t left, uint64_t sequence)
{
    return left >= WAL_HEADER_BYTES && get_u32(at + AT_MAGIC) == RECORD_MAGIC &&
           get_u64(at + AT_SEQUENCE) == sequence;
}

bool wal_payload_ok(const uint8_t *at, uint32_t salt, const struct wal_record *record)
{
    uint32_t seed = seed_for(record->kind, salt);
    return crc32c(seed, at + WAL_HEADER_BYTES, record->length) == record->payload_crc;
}

/* ---- segment headers and snapshot marks ------------------------------------------------------ */

enum {
    HEAD_UNKNOWN_LOSS = 1,
    GROUP_REPAIRING = 1
};

enum err wal_head_encode(const struct wal_segment_head *head, struct buf *to)
{
    size_t before = to->len;
    struct writer w = writer_of(to);
    write_u32(&w, head->format);
    write_u32(&w, head->segment_bytes);
    write_u64(&w, head->storage_id);
    write_u32(&w, head->number);
    write_u32(&w, head->group_count);
    write_u32(&w, head->unknown_loss ? HEAD_UNKNOWN_LOSS : 0);
    write_u32(&w, 0);
    write_u64(&w, 0);
    CHECK(w.err != ERR_OK || to->len - before == WAL_SEGMENT_FIXED_BYTES);
    return w.err;
}

enum err wal_head_decode(struct reader *from, struct wal_segment_head *ret_head)
{
    struct wal_segment_head head = {.format = read_u32(from)};
    if (reader_ok(from) && head.format > WAL_FORMAT_VERSION) {
        ret_head->format = head.format;
        return ERR_MISMATCH;
    }
    head.segment_bytes = read_u32(from);
    head.storage_id = read_u64(from);
    head.number = read_u32(from);
    head.group_count = read_u32(from);
    head.unknown_loss = (read_u32(from) & HEAD_UNKNOWN_LOSS) != 0;
    (void)read_u32(from);
    (void)read_u64(from);
    if (!reader_ok(from) || head.number == 0 || head.storage_id == 0) {
        return ERR_CORRUPT;
    }
    *ret_head = head;
    return ERR_OK;
}

enum err wal_group_encode(const struct wal_group_state *state, struct buf *to)
{
    size_t before = to->len;
    bool has_snapshot = state->snapshot.index > 0;
    struct writer w = writer_of(to);
    write_u32(&w, state->group);
    write_u32(&w, state->hard.repairing ? GROUP_REPAIRING : 0);
    write_u64(&w, state->hard.term);
    write_u32(&w, state->hard.vote);
    write_u32(&w, 0); /* The configuration's length, put below. */
    write_u64(&w, state->last_sequence);
    write_u64(&w, state->last);
    write_u64(&w, state->last_term);
    write_u64(&w, state->snapshot.index);
    write_u64(&w, state->snapshot.term);
    write_u64(&w, state->snapshot.config_index);
    CHECK(w.err != ERR_OK || to->len - before == WAL_GROUP_FIXED_BYTES);
    if (w.err != ERR_OK || !has_snapshot) {
        return w.err;
    }
    size_t config_at = to->len;
    enum err err = raft_config_encode(&state->snapshot.config, to);
    if (err != ERR_OK) {
        return err;
    }
    put_u32(to->data + before + 20, (uint32_t)(to->len - config_at));
    return ERR_OK;
}

enum err wal_group_decode(struct reader *from, struct wal_group_state *ret_state)
{
    struct wal_group_state state = {.group = read_u32(from)};
    state.hard.repairing = (read_u32(from) & GROUP_REPAIRING) != 0;
    state.hard.term = read_u64(from);
    state.hard.vote = read_u32(from);
    uint32_t config_length = read_u32(from);
    state.last_sequence = read_u64(from);
    state.last = read_u64(from);
    state.last_term = read_u64(from);
    state.snapshot.index = read_u64(from);
    state.snapshot.term = read_u64(from);
    state.snapshot.config_index = read_u64(from);
    struct bytes config = read_raw(from, config_length);
    if (!reader_ok(from) || state.group == 0 || state.last < state.snapshot.index ||
        too_high(state.last) || too_high(state.last_term)) {
        return ERR_CORRUPT;
    }
    if (state.snapshot.index > 0 && raft_config_decode(config, &state.snapshot.config) != ERR_OK) {
        return ERR_CORRUPT;
    }
    *ret_state = state;
    return ERR_OK;
}

enum err wal_snapshot_encode(const struct raft_snapshot_meta *meta, struct buf *to)
{
    struct writer w = writer_of(to);
    write_u64(&w, meta->config_index);
    return w.err == ERR_OK ? raft_config_encode(&meta->config, to) : w.err;
}

enum err wal_snapshot_decode(struct bytes payload, const struct wal_record *record,
                             struct raft_snapshot_meta *ret_meta)
{
    struct reader r = reader_of(payload);
    struct raft_snapshot_meta meta = {.index = record->index, .term = record->term};
    meta.config_index = read_u64(&r);
    if (!reader_ok(&r) || meta.index == 0) {
        return ERR_CORRUPT;
    }
    if (raft_config_decode(bytes_from(payload, WAL_SNAPSHOT_FIXED_BYTES), &meta.config) != ERR_OK) {
        return ERR_CORRUPT;
    }
    *ret_meta = meta;
    return ERR_OK;
}

/* ---- names ----------------------------------------------------------------------------------- */

void wal_segment_name(uint32_t number, char *dest)
{
    int length = snprintf(dest, DISK_NAME_MAX, "wal-%08x", number);
    CHECK(length == 12);
}

bool wal_segment_parse(const char *name, uint32_t *ret_number)
{
    if (strlen(name) != 12 || memcmp(name, "wal-", 4) != 0) {
        return false;
    }
    uint32_t number = 0;
    for (const char *at = name + 4; *at != '\0'; at++) {
        uint32_t digit = *at >= '0' && *at <= '9'   ? (uint32_t)(*at - '0')
                         : *at >= 'a' && *at <= 'f' ? (uint32_t)(*at - 'a') + 10
                                                    : 16;
        if (digit == 16) {
            return false;
        }
        number = number << 4 | digit;
    }
    *ret_number = number;
    return number != 0;
}
