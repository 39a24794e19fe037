/* What the files of the snapshot code share: the byte format, names, and the scan of a file.
 *
 * Place: io/store, private. All integers little-endian; docs/disk-format.md has the same table.
 *
 *   header      0  8  magic "FLOTSNAP"
 *               8  4  version, 1
 *              12  4  length of the header in bytes, with its crc
 *              16  4  group
 *              20  4  length of the configuration in bytes
 *              24  8  index of the last entry that the snapshot stands for
 *              32  8  its term
 *              40  8  index of the configuration entry
 *              48  n  configuration (raft_config_encode)
 *            48+n  4  crc32c of everything before
 *   chunk       0  4  magic "CHNK"
 *               4  4  number, from 0
 *               8  4  rows in it
 *              12  4  length of the payload in bytes
 *              16  4  crc32c of the payload
 *              20  4  crc32c of the 20 bytes before
 *              24  n  payload: per row {key length varint, key, value length varint, value}
 *   trailer     0  4  magic "TAIL"
 *               4  4  chunks
 *               8  8  rows
 *              16  8  payload bytes of all chunks
 *              24 16  digest of the rows, low half first
 *              40  4  crc32c of everything in the file before the trailer
 *              44  4  crc32c of the 44 bytes before
 *
 * The file ends with the trailer. Keys are stored keys without their group, strictly ascending over
 * the whole file. A chunk is closed when it passes SNAPSHOT_CHUNK_BYTES; a row is never split. */
#ifndef STORE_SNAPSHOT_PRIV_H
#define STORE_SNAPSHOT_PRIV_H

#include "store/snapshot_file.h"

#include "bytes/bytes.h"

enum {
    SNAPSHOT_VERSION = 1,
    SNAPSHOT_HEADER_FIXED = 48,
    SNAPSHOT_HEADER_MAX = SNAPSHOT_HEADER_FIXED + RAFT_CONFIG_BYTES_MAX + 4,
    SNAPSHOT_CHUNK_HEADER = 24,
    SNAPSHOT_TRAILER = 48,
    SNAPSHOT_GROUP_BYTES = 4, /* of a stored key, left out in the file */
    SNAPSHOT_CHUNK_BYTES = 256 * 1024,
    /* Two lengths, the longest key, and the longest value with a full key in front. */
    SNAPSHOT_ROW_MAX = 2 * 5 + TABLE_STORED_KEY_MAX + TABLE_VALUE_MAX + TABLE_KEY_MAX + 64,
    SNAPSHOT_PAYLOAD_MAX = SNAPSHOT_CHUNK_BYTES + SNAPSHOT_ROW_MAX,
};

#define SNAPSHOT_TEMP_SUFFIX ".tmp"
#define SNAPSHOT_PART_SUFFIX ".part"

struct snapshot_dir {
    int fd;
    char *path;
};

struct snapshot_chunk {
    uint32_t number;
    uint32_t rows;
    uint32_t payload_len;
    uint32_t payload_crc;
};

struct snapshot_trailer {
    uint32_t chunks;
    uint64_t rows;
    uint64_t payload_bytes;
    struct table_digest digest;
    uint32_t file_crc;
};

/* ---- bytes and names (snapshot_format.c) ----------------------------------------------------- */

/* Replaces the buffer's content. */
ERR_CHECKED enum err snapshot_header_encode(raft_group_id group,
                                            const struct raft_snapshot_meta *meta, struct buf *to);
/* from begins with the file's first bytes, at least SNAPSHOT_HEADER_MAX of them if there are so
 * many. ERR_CORRUPT, ERR_MISMATCH (another version). */
ERR_CHECKED enum err snapshot_header_decode(struct bytes from, raft_group_id *ret_group,
                                            struct raft_snapshot_meta *ret_meta, size_t *ret_len);
void snapshot_chunk_encode(const struct snapshot_chunk *chunk, uint8_t dest[SNAPSHOT_CHUNK_HEADER]);
ERR_CHECKED enum err snapshot_chunk_decode(const uint8_t from[SNAPSHOT_CHUNK_HEADER],
                                           struct snapshot_chunk *ret_chunk);
void snapshot_trailer_encode(const struct snapshot_trailer *trailer,
                             uint8_t dest[SNAPSHOT_TRAILER]);
ERR_CHECKED enum err snapshot_trailer_decode(const uint8_t from[SNAPSHOT_TRAILER],
                                             struct snapshot_trailer *ret_trailer);

void snapshot_name(raft_group_id group, raft_index index, raft_term term, const char *suffix,
                   char dest[SNAPSHOT_NAME_MAX]);
/* Reads a name with that suffix exactly; false for any other. */
bool snapshot_name_parse(const char *name, const char *suffix, raft_group_id *ret_group,
                         raft_index *ret_index, raft_term *ret_term);

/* ---- the directory (snapshot_dir.c) ---------------------------------------------------------- */

/* Gives a complete, synced file its final name, durably. */
ERR_CHECKED enum err snapshot_publish(struct snapshot_dir *dir, const char *from, const char *name);
/* Removes what was received of the group's other offers. */
ERR_CHECKED enum err snapshot_remove_parts(struct snapshot_dir *dir, raft_group_id group,
                                           const char *keep);

/* ---- reading a file (snapshot_read.c) -------------------------------------------------------- */

/* Gets every row in order; an error ends the scan and is its result. key is a stored key with the
 * group; both are borrowed during the call. */
struct snapshot_visitor {
    enum err (*row)(void *context, struct bytes key, struct bytes value);
    void *context;
};

/* Reads the file from end to end and checks everything in it: ERR_OK means that all rows given to
 * the visitor (may be NULL) are what was written. Does not look at the file's name. */
ERR_CHECKED enum err snapshot_scan(struct snapshot_dir *dir, const char *name,
                                   const struct snapshot_visitor *visitor,
                                   struct snapshot_info *ret_info, struct err_note *note);
/* Header and trailer only. */
ERR_CHECKED enum err snapshot_peek(struct snapshot_dir *dir, const char *name,
                                   struct snapshot_info *ret_info, struct err_note *note);
/* Whether the name says what the file says: ERR_CORRUPT if not. */
ERR_CHECKED enum err snapshot_check_name(struct snapshot_dir *dir, const struct snapshot_info *info,
                                         struct err_note *note);

#endif
