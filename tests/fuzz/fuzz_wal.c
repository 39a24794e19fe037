/* Fuzz target: recovery of the log over arbitrary segments never crashes, and is stable.
 *
 * The first byte of the input chooses: raw bytes as two segments, or a recipe of records with right
 * checksums but any content, order and damage (random bytes alone would never get past a checksum).
 * Checked: what is found holds together, can be replayed, and is found again by the next start. */
#include "disk/disk.h"
#include "mem_disk.h"
#include "wal/wal.h"
#include "wal/wal_format.h"

#include "check/check.h"
#include "mem/mem.h"

#include <stdio.h>
#include <string.h>

enum {
    SEGMENT = 16 * 1024,
    SEGMENTS = 3,
    GROUPS = 6,
    ENTRY_BYTES_MAX = 4 * 1024
};

#define STORAGE_ID 77u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct wal_config fuzz_config(void)
{
    struct wal_config config = wal_config_default(STORAGE_ID);
    config.segment_bytes = SEGMENT;
    config.record_bytes_max = ENTRY_BYTES_MAX;
    config.groups_max = GROUPS;
    return config;
}

/* ---- making segments
 * ---------------------------------------------------------------------------- */

struct cook {
    struct reader from;
    uint8_t image[SEGMENT];
    size_t at;
    uint32_t number;
    uint64_t sequence;
};

static struct raft_config some_config(uint8_t salt)
{
    struct raft_config config = {.count = 1};
    config.members[0] =
        (struct raft_member){.node = 1u + salt % 7u, .role = RAFT_VOTER, .storage_id = 5};
    return config;
}

static void put(struct cook *cook, struct wal_record *record, struct bytes payload)
{
    if (wal_record_size(payload.len) > SEGMENT - cook->at) {
        return;
    }
    record->sequence = cook->sequence;
    wal_record_put(cook->image + cook->at, wal_salt(STORAGE_ID, cook->number), record, payload);
    cook->at += wal_record_size(payload.len);
}

static void put_head(struct cook *cook)
{
    struct buf payload;
    buf_init(&payload, SEGMENT);
    uint8_t groups = (uint8_t)(read_u8(&cook->from) % (GROUPS + 2));
    struct wal_segment_head head = {.format = WAL_FORMAT_VERSION,
                                    .segment_bytes = SEGMENT,
                                    .storage_id = STORAGE_ID,
                                    .number = cook->number,
                                    .group_count = groups,
                                    .unknown_loss = (read_u8(&cook->from) & 1) != 0};
    enum err err = wal_head_encode(&head, &payload);
    for (uint8_t i = 0; err == ERR_OK && i < groups; i++) {
        struct wal_group_state state = {.group = 1u + read_u8(&cook->from) % 5u,
                                        .last_sequence = read_u8(&cook->from),
                                        .last = read_u8(&cook->from),
                                        .last_term = read_u8(&cook->from) % 4u};
        state.hard.term = read_u8(&cook->from);
        state.snapshot.index = read_u8(&cook->from) % (state.last + 1);
        state.snapshot.term = state.snapshot.index > 0 ? 1 : 0;
        state.snapshot.config = some_config(1);
        err = wal_group_encode(&state, &payload);
    }
    struct wal_record record = {.kind = WAL_SEGMENT, .index = cook->number};
    put(cook, &record, buf_bytes(&payload));
    buf_done(&payload);
    cook->sequence++;
}

static void put_record(struct cook *cook, uint8_t kind)
{
    struct wal_record record = {.kind = (enum wal_kind)kind,
                                .group = read_u8(&cook->from) % 6u,
                                .index = read_u8(&cook->from),
                                .term = read_u8(&cook->from) % 4u,
                                .behind = read_u8(&cook->from) % 8u,
                                .back = read_u8(&cook->from) % 8u,
                                .detail = read_u8(&cook->from) % 4u};
    record.behind = record.behind < cook->sequence ? record.behind : 0;
    record.back = record.back < cook->sequence ? record.back : 0;
    struct buf payload;
    buf_init(&payload, ENTRY_BYTES_MAX);
    enum err err = ERR_OK;
    if (kind == WAL_SNAPSHOT) {
        struct raft_snapshot_meta meta = {.config = some_config(record.detail)};
        err = wal_snapshot_encode(&meta, &payload);
    } else if (kind == WAL_ENTRY && record.detail == RAFT_ENTRY_CONFIG) {
        struct raft_config config = some_config(record.detail);
        err = raft_config_encode(&config, &payload);
    } else if (kind == WAL_ENTRY) {
        size_t length = read_u8(&cook->from);
        length = length < reader_left(&cook->from) ? length : 0;
        err = buf_append(&payload, read_raw(&cook->from, length));
    }
    CHECK(err == ERR_OK);
    put(cook, &record, buf_bytes(&payload));
    buf_done(&payload);
    cook->sequence++;
}

/* One step of the recipe; false at the end of the segment. */
static bool cook_step(struct cook *cook)
{
    uint8_t what = read_u8(&cook->from);
    if (!reader_ok(&cook->from) || what >= 0xf0) {
        return false;
    }
    if (what >= 0xe0) {
        cook->sequence += read_u8(&cook->from); /* Records that are not there. */
    } else if (what >= 0xd0) {
        size_t offset = (size_t)read_u16(&cook->from) % SEGMENT;
        cook->image[offset] ^= (uint8_t)(1u << (what & 7u));
    } else if (what >= 0xc0) {
        cook->at = cook->at + 8 < SEGMENT ? cook->at + 8 : cook->at;
    } else {
        put_record(cook, (uint8_t)(WAL_HARD_STATE + what % (WAL_SEAL - WAL_HARD_STATE + 1)));
    }
    return true;
}

static void segment_save(struct mem_disk *disk, uint32_t number, struct bytes image)
{
    char name[DISK_NAME_MAX];
    wal_segment_name(number, name);
    mem_disk_put(disk, name, image);
}

static void cook_segments(struct mem_disk *disk, struct bytes recipe)
{
    struct cook *cook = mem_alloc(sizeof(*cook));
    cook->from = reader_of(recipe);
    cook->sequence = 1;
    for (cook->number = 1; cook->number <= SEGMENTS; cook->number++) {
        memset(cook->image, 0, sizeof(cook->image));
        cook->at = 0;
        put_head(cook);
        while (cook_step(cook)) {
        }
        segment_save(disk, cook->number, bytes_of(cook->image, SEGMENT));
    }
    mem_free(cook);
}

static void raw_segments(struct mem_disk *disk, struct bytes bytes)
{
    uint8_t *image = mem_alloc(SEGMENT);
    size_t first = bytes.len < SEGMENT ? bytes.len : SEGMENT;
    if (first > 0) {
        memcpy(image, bytes.data, first);
    }
    segment_save(disk, 1, bytes_of(image, SEGMENT));
    segment_save(disk, 2, bytes_from(bytes, first));
    mem_free(image);
}

/* ---- checking what is found
 * ---------------------------------------------------------------------- */

struct summary {
    size_t groups;
    raft_index last[GROUPS];
    raft_index snapshot[GROUPS];
    raft_term term[GROUPS];
    bool repairing[GROUPS];
};

static enum err count_entry(void *context, const struct wal_entry *entry)
{
    raft_index *next = context;
    CHECK(entry->index == *next && entry->term > 0);
    (*next)++;
    return ERR_OK;
}

static void check_group(struct wal *wal, const struct raft_boot *boot)
{
    CHECK(boot->last_index >= boot->snapshot.index);
    bool empty = boot->last_index == boot->snapshot.index;
    CHECK((boot->run_count == 0) == empty);
    CHECK(empty || boot->runs[0].first == boot->snapshot.index + 1);
    for (size_t i = 0; i < boot->run_count; i++) {
        CHECK(boot->runs[i].term > 0 && boot->runs[i].first <= boot->last_index);
        CHECK(i == 0 || boot->runs[i].first > boot->runs[i - 1].first);
    }
    for (size_t i = 0; i < boot->config_count; i++) {
        CHECK(boot->configs[i].index > boot->snapshot.index);
        CHECK(boot->configs[i].index <= boot->last_index);
    }
    raft_index next = boot->snapshot.index + 1;
    struct wal_replay replay = {.group = boot->group,
                                .first = next,
                                .last = boot->last_index,
                                .each = count_entry,
                                .context = &next};
    struct err_note note;
    enum err err = wal_replay(wal, &replay, &note);
    CHECK(err == ERR_OK && next == boot->last_index + 1);
}

static bool open_and_check(struct mem_disk *disk, struct summary *ret_summary, bool write)
{
    struct wal_config config = fuzz_config();
    struct wal_callbacks none = {0};
    struct wal *wal = NULL;
    struct err_note note = {""};
    if (wal_open(mem_disk_base(disk), &config, &none, &wal, &note) != ERR_OK) {
        CHECK(note.text[0] != '\0');
        return false;
    }
    memset(ret_summary, 0, sizeof(*ret_summary));
    ret_summary->groups = wal_group_count(wal);
    for (size_t i = 0; i < ret_summary->groups; i++) {
        struct raft_boot boot;
        wal_boot(wal, wal_group_at(wal, i), &boot);
        check_group(wal, &boot);
        ret_summary->last[i] = boot.last_index;
        ret_summary->snapshot[i] = boot.snapshot.index;
        ret_summary->term[i] = boot.hard_state.term;
        ret_summary->repairing[i] = boot.hard_state.repairing;
    }
    if (write) {
        wal_seal(wal);
        wal_flush(wal);
        CHECK(mem_disk_drain(disk, 10000));
        CHECK(wal_status(wal, NULL) == ERR_OK);
    }
    wal_free(wal);
    mem_disk_crash(disk, MEM_DISK_LOST);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    struct mem_disk *disk = mem_disk_new(1);
    struct bytes rest = bytes_from(bytes_of(data, size), 1);
    if ((data[0] & 1) != 0) {
        cook_segments(disk, rest);
    } else {
        raw_segments(disk, rest);
    }
    struct summary first;
    if (open_and_check(disk, &first, false)) {
        /* Looking changes nothing; going on writing does not either. */
        for (int again = 0; again < 3; again++) {
            struct summary next;
            CHECK(open_and_check(disk, &next, again > 0));
            CHECK(memcmp(&first, &next, sizeof(first)) == 0);
        }
    }
    mem_disk_free(disk);
    return 0;
}
