/* Bytes of the log: records and segment headers. The tables are in docs/disk-format.md.
 *
 * Record (little-endian, begins at a multiple of 8; payload padded with zeros to a multiple of 8):
 *    0  4  header crc: crc32c of bytes 4..63, seeded        40  8  time: milliseconds since 1970
 *    (ENTRY) 4  4  payload crc: crc32c of the payload, seeded       48  4  group; 0 for SEGMENT and
 *    SEAL 8  4  magic "FWAL"                                     52  4  behind: records of its
 *    write before it
 *   12  4  payload length                                   56  1  kind
 *   16  8  sequence                                         57  1  detail: by kind
 *   24  8  index: by kind                                   58  1  version of the record, 1
 *   32  8  term: by kind                                    59  1  zero
 *                                                            60  4  back: to the group's last
 *                                                            record
 *
 *   kind          index             term            detail               payload
 *   SEGMENT       segment number    0               format (1)           state of all groups
 *   HARD_STATE    vote              term            1: repairing         -
 *   ENTRY         index             term            raft_entry_kind      the command or
 *   configuration TRUNCATE      first one gone    0               0                    -
 *   SNAPSHOT      snapshot index    snapshot term   1: log replaced      config index (8),
 *   configuration SEAL          0                 0               0                    -
 *
 * The seed is crc32c of (storage id, segment number), but 0 for SEGMENT records, which stand only
 * at offset 0 of a segment and name both in their payload. */
#ifndef WAL_WAL_FORMAT_H
#define WAL_WAL_FORMAT_H

#include "bytes/bytes.h"
#include "err/err.h"
#include "raft/raft.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    WAL_HEADER_BYTES = 64,
    WAL_ALIGN = 8,
    WAL_FORMAT_VERSION = 1,
    WAL_SEGMENT_FIXED_BYTES = 40, /* payload of SEGMENT before the groups */
    WAL_GROUP_FIXED_BYTES = 72,   /* of one group in it, before its configuration */
    WAL_SNAPSHOT_FIXED_BYTES = 8,
};

enum wal_kind {
    WAL_SEGMENT = 1,
    WAL_HARD_STATE,
    WAL_ENTRY,
    WAL_TRUNCATE,
    WAL_SNAPSHOT,
    WAL_SEAL,
    WAL_KIND_END
};

/* A record's header, decoded. */
struct wal_record {
    uint64_t sequence;
    uint64_t index;
    uint64_t term;
    uint64_t time_ms;
    uint32_t group;
    uint32_t length; /* payload bytes */
    uint32_t behind;
    uint32_t back; /* the group's record before it has sequence - back; 0: it is the first */
    uint32_t payload_crc;
    enum wal_kind kind;
    uint8_t detail;
};

/* All before the record's own write was durable when it was written: up to this sequence. */
static inline uint64_t wal_record_watermark(const struct wal_record *record)
{
    return record->sequence - 1 - record->behind;
}

/* Bytes on the disk of a record with such a payload. */
static inline size_t wal_record_size(size_t length)
{
    return WAL_HEADER_BYTES + ((length + WAL_ALIGN - 1) & ~(size_t)(WAL_ALIGN - 1));
}

/* The seed of a segment's checksums. */
uint32_t wal_salt(uint64_t storage_id, uint32_t segment);

/* Writes wal_record_size(payload.len) bytes; length and payload_crc are taken from the payload. */
void wal_record_put(uint8_t *dest, uint32_t salt, const struct wal_record *record,
                    struct bytes payload);

/* Reads a header of `left` available bytes: false when it is none, is damaged, or its payload would
 * end beyond them. The payload is not looked at. */
bool wal_record_get(const uint8_t *at, size_t left, uint32_t salt, struct wal_record *ret_record);
/* Whether what lies there, damaged or not, was meant to be the record of this sequence. */
bool wal_record_resembles(const uint8_t *at, size_t left, uint64_t sequence);
/* Whether the payload behind the header is whole. */
bool wal_payload_ok(const uint8_t *at, uint32_t salt, const struct wal_record *record);

/* A group's state in a segment header. */
struct wal_group_state {
    raft_group_id group;
    struct raft_hard_state hard;
    uint64_t last_sequence; /* of its records; 0: none */
    raft_index last;
    raft_term last_term;
    struct raft_snapshot_meta snapshot;
};

struct wal_segment_head {
    uint32_t format;
    uint32_t segment_bytes;
    uint64_t storage_id;
    uint32_t number;
    uint32_t group_count;
    bool unknown_loss; /* groups that are not listed may have been lost */
};

/* Append to a buffer: the head, then group_count states. ERR_FULL. */
ERR_CHECKED enum err wal_head_encode(const struct wal_segment_head *head, struct buf *to);
ERR_CHECKED enum err wal_group_encode(const struct wal_group_state *state, struct buf *to);
/* ERR_MISMATCH for a newer format (ret_head's format is set then), ERR_CORRUPT. */
ERR_CHECKED enum err wal_head_decode(struct reader *from, struct wal_segment_head *ret_head);
ERR_CHECKED enum err wal_group_decode(struct reader *from, struct wal_group_state *ret_state);

/* Payload of SNAPSHOT; index and term are in the record. */
ERR_CHECKED enum err wal_snapshot_encode(const struct raft_snapshot_meta *meta, struct buf *to);
ERR_CHECKED enum err wal_snapshot_decode(struct bytes payload, const struct wal_record *record,
                                         struct raft_snapshot_meta *ret_meta);

/* "wal-0000002a": the name of a segment; dest has DISK_NAME_MAX bytes. */
void wal_segment_name(uint32_t number, char *dest);
/* False when the name is not a segment's. */
bool wal_segment_parse(const char *name, uint32_t *ret_number);

#endif
