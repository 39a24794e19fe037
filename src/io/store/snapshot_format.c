/* Snapshot files: headers, trailers and names as bytes.
 *
 * Place: io/store, private. The table is in snapshot_priv.h. */
#include "store/snapshot_priv.h"

#include "check/check.h"
#include "crc/crc32c.h"

#include <stdio.h>

static const uint8_t header_magic[8] = {'F', 'L', 'O', 'T', 'S', 'N', 'A', 'P'};

enum {
    CHUNK_MAGIC = 0x4b4e4843,   /* "CHNK" */
    TRAILER_MAGIC = 0x4c494154, /* "TAIL" */
    GROUP_DIGITS = 8,
    NUMBER_DIGITS = 16
};

_Static_assert(8 + 4 * 4 + 3 * 8 == SNAPSHOT_HEADER_FIXED, "on-disk size");
_Static_assert(6 * 4 == SNAPSHOT_CHUNK_HEADER, "on-disk size");
_Static_assert(2 * 4 + 2 * 8 + 16 + 2 * 4 == SNAPSHOT_TRAILER, "on-disk size");

enum err snapshot_header_encode(raft_group_id group, const struct raft_snapshot_meta *meta,
                                struct buf *to)
{
    buf_clear(to);
    uint8_t fixed[SNAPSHOT_HEADER_FIXED] = {0};
    enum err err = buf_append(to, bytes_of(fixed, sizeof(fixed)));
    if (err == ERR_OK) {
        err = raft_config_encode(&meta->config, to);
    }
    if (err != ERR_OK) {
        return err;
    }
    size_t len = to->len + 4;
    CHECK(len <= SNAPSHOT_HEADER_MAX);
    memcpy(to->data, header_magic, sizeof(header_magic));
    put_u32(to->data + 8, SNAPSHOT_VERSION);
    put_u32(to->data + 12, (uint32_t)len);
    put_u32(to->data + 16, group);
    put_u32(to->data + 20, (uint32_t)(to->len - SNAPSHOT_HEADER_FIXED));
    put_u64(to->data + 24, meta->index);
    put_u64(to->data + 32, meta->term);
    put_u64(to->data + 40, meta->config_index);
    uint8_t crc[4];
    put_u32(crc, crc32c(0, to->data, to->len));
    return buf_append(to, bytes_of(crc, sizeof(crc)));
}

enum err snapshot_header_decode(struct bytes from, raft_group_id *ret_group,
                                struct raft_snapshot_meta *ret_meta, size_t *ret_len)
{
    if (from.len < SNAPSHOT_HEADER_FIXED ||
        memcmp(from.data, header_magic, sizeof(header_magic)) != 0) {
        return ERR_CORRUPT;
    }
    /* Length and crc are at the same place in every version: damage is told from a newer format. */
    uint32_t len = get_u32(from.data + 12);
    if (len < SNAPSHOT_HEADER_FIXED + 4 || len > from.len ||
        get_u32(from.data + len - 4) != crc32c(0, from.data, len - 4)) {
        return ERR_CORRUPT;
    }
    if (get_u32(from.data + 8) != SNAPSHOT_VERSION) {
        return ERR_MISMATCH;
    }
    uint32_t config_len = get_u32(from.data + 20);
    if (config_len != len - SNAPSHOT_HEADER_FIXED - 4) {
        return ERR_CORRUPT;
    }
    struct raft_snapshot_meta meta = {.index = get_u64(from.data + 24),
                                      .term = get_u64(from.data + 32),
                                      .config_index = get_u64(from.data + 40)};
    if (raft_config_decode(bytes_of(from.data + SNAPSHOT_HEADER_FIXED, config_len), &meta.config) !=
        ERR_OK) {
        return ERR_CORRUPT;
    }
    *ret_group = get_u32(from.data + 16);
    *ret_meta = meta;
    *ret_len = len;
    return ERR_OK;
}

void snapshot_chunk_encode(const struct snapshot_chunk *chunk, uint8_t dest[SNAPSHOT_CHUNK_HEADER])
{
    CHECK(chunk->payload_len <= SNAPSHOT_PAYLOAD_MAX);
    put_u32(dest, CHUNK_MAGIC);
    put_u32(dest + 4, chunk->number);
    put_u32(dest + 8, chunk->rows);
    put_u32(dest + 12, chunk->payload_len);
    put_u32(dest + 16, chunk->payload_crc);
    put_u32(dest + 20, crc32c(0, dest, 20));
}

enum err snapshot_chunk_decode(const uint8_t from[SNAPSHOT_CHUNK_HEADER],
                               struct snapshot_chunk *ret_chunk)
{
    if (get_u32(from) != CHUNK_MAGIC || get_u32(from + 20) != crc32c(0, from, 20)) {
        return ERR_CORRUPT;
    }
    struct snapshot_chunk chunk = {.number = get_u32(from + 4),
                                   .rows = get_u32(from + 8),
                                   .payload_len = get_u32(from + 12),
                                   .payload_crc = get_u32(from + 16)};
    if (chunk.payload_len > SNAPSHOT_PAYLOAD_MAX) {
        return ERR_CORRUPT;
    }
    *ret_chunk = chunk;
    return ERR_OK;
}

void snapshot_trailer_encode(const struct snapshot_trailer *trailer, uint8_t dest[SNAPSHOT_TRAILER])
{
    put_u32(dest, TRAILER_MAGIC);
    put_u32(dest + 4, trailer->chunks);
    put_u64(dest + 8, trailer->rows);
    put_u64(dest + 16, trailer->payload_bytes);
    put_u64(dest + 24, trailer->digest.low);
    put_u64(dest + 32, trailer->digest.high);
    put_u32(dest + 40, trailer->file_crc);
    put_u32(dest + 44, crc32c(0, dest, 44));
}

enum err snapshot_trailer_decode(const uint8_t from[SNAPSHOT_TRAILER],
                                 struct snapshot_trailer *ret_trailer)
{
    if (get_u32(from) != TRAILER_MAGIC || get_u32(from + 44) != crc32c(0, from, 44)) {
        return ERR_CORRUPT;
    }
    *ret_trailer = (struct snapshot_trailer){.chunks = get_u32(from + 4),
                                             .rows = get_u64(from + 8),
                                             .payload_bytes = get_u64(from + 16),
                                             .digest = {get_u64(from + 24), get_u64(from + 32)},
                                             .file_crc = get_u32(from + 40)};
    return ERR_OK;
}

/* ---- names ----------------------------------------------------------------------------------- */

void snapshot_name(raft_group_id group, raft_index index, raft_term term, const char *suffix,
                   char dest[SNAPSHOT_NAME_MAX])
{
    int len = snprintf(dest, SNAPSHOT_NAME_MAX, "snapshot-%08x-%016llx-%016llx%s", group,
                       (unsigned long long)index, (unsigned long long)term, suffix);
    CHECK(len > 0 && len < SNAPSHOT_NAME_MAX);
}

/* "-" and so many lower-case hexadecimal digits; moves *at behind them. */
static bool parse_number(const char **at, int digits, uint64_t *ret_number)
{
    const char *p = *at;
    uint64_t number = 0;
    if (*p++ != '-') {
        return false;
    }
    for (int i = 0; i < digits; i++, p++) {
        uint64_t digit = 0;
        if (*p >= '0' && *p <= '9') {
            digit = (uint64_t)(*p - '0');
        } else if (*p >= 'a' && *p <= 'f') {
            digit = (uint64_t)(*p - 'a') + 10;
        } else {
            return false;
        }
        number = number << 4 | digit;
    }
    *at = p;
    *ret_number = number;
    return true;
}

bool snapshot_name_parse(const char *name, const char *suffix, raft_group_id *ret_group,
                         raft_index *ret_index, raft_term *ret_term)
{
    static const char head[] = "snapshot";
    if (strncmp(name, head, sizeof(head) - 1) != 0) {
        return false;
    }
    const char *at = name + sizeof(head) - 1;
    uint64_t group = 0;
    uint64_t index = 0;
    uint64_t term = 0;
    if (!parse_number(&at, GROUP_DIGITS, &group) || !parse_number(&at, NUMBER_DIGITS, &index) ||
        !parse_number(&at, NUMBER_DIGITS, &term) || strcmp(at, suffix) != 0) {
        return false;
    }
    *ret_group = (raft_group_id)group;
    *ret_index = index;
    *ret_term = term;
    return true;
}
