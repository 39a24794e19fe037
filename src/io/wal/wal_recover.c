/* Recovery: from the bytes of all segments to the groups, with a verdict for each.
 *
 * Records are numbered without gaps, so a scan expects one sequence after the other. Where the
 * expected record is not, or is not whole, the question is whether it had been durable (wal.h,
 * invariants 1 and 3):
 *
 *   expected > every watermark in the log   -> nobody was told of it: this is the end (torn, or
 *   just the end) otherwise                               -> lost: damage
 *
 * Damage of a record whose header is whole concerns its group only: a lost entry is a hole in its
 * log. When the header is gone too, every group becomes suspect, until its next record, or the next
 * segment header, says whether the group's record before is one that was seen. Those who lost
 * something are cleared when a later segment header confirms their log: by the Log Matching
 * Property (Raft paper, section 5.3) a log whose last entry has the same index and term is the same
 * log. A hole that a snapshot covers does no harm (wal_groups_settle). */
#include "check/check.h"
#include "mem/mem.h"
#include "wal/wal_priv.h"

enum {
    READ_CHUNK_BYTES = 64 * 1024
};

static const struct wal_found *found_now(const struct wal_scan *scan)
{
    return &scan->found[scan->at];
}

static uint32_t salt_of(const struct wal_scan *scan, const struct wal_found *found)
{
    return wal_salt(scan->wal->config.storage_id, found->number);
}

/* ---- bytes ----------------------------------------------------------------------------------- */

void wal_scan_load(struct wal_scan *scan, size_t at)
{
    const struct wal_found *found = &scan->found[at];
    scan->at = at;
    scan->image_len = (size_t)found->size;
    if (scan->image_cap < scan->image_len + WAL_HEADER_BYTES) {
        scan->image_cap = scan->image_len + WAL_HEADER_BYTES;
        scan->image = mem_resize(scan->image, scan->image_cap);
    }
    uint32_t made = found->has_head ? found->head.segment_bytes : 0;
    scan->lacking = found->size < made || found->size == 0 || found->size % 4096 != 0;
    /* A node may be writing what an inspector looks at. Read from the end, what is seen of a write
     * proves that all writes before it were complete when their place is read (wal.h, invariant
     * 1); read from the beginning, they would look lost. */
    bool backwards = scan->inspector != NULL;
    size_t count = (scan->image_len + READ_CHUNK_BYTES - 1) / READ_CHUNK_BYTES;
    for (size_t i = 0; i < count; i++) {
        size_t from = (backwards ? count - 1 - i : i) * READ_CHUNK_BYTES;
        size_t left = scan->image_len - from;
        size_t chunk = left < READ_CHUNK_BYTES ? left : READ_CHUNK_BYTES;
        size_t got = 0;
        enum err err = disk_read(found->file, from, scan->image + from, chunk, &got, NULL);
        if (err != ERR_OK || got < chunk) {
            memset(scan->image + from, 0, chunk);
            scan->lacking = true;
        }
    }
    scan->wal->recovery.bytes_read += scan->image_len;
}

/* A whole header at this offset of the image. SEGMENT records stand at the beginning only. */
static bool record_at(const struct wal_scan *scan, size_t offset, struct wal_record *ret_record)
{
    if (offset >= scan->image_len) {
        return false;
    }
    uint32_t salt = salt_of(scan, found_now(scan));
    return wal_record_get(scan->image + offset, scan->image_len - offset, salt, ret_record) &&
           ret_record->kind != WAL_SEGMENT;
}

size_t wal_scan_next(const struct wal_scan *scan, size_t from, uint64_t least,
                     struct wal_record *ret_record)
{
    for (size_t at = from; at + WAL_HEADER_BYTES <= scan->image_len; at += WAL_ALIGN) {
        if (record_at(scan, at, ret_record) && ret_record->sequence >= least) {
            return at;
        }
    }
    return scan->image_len;
}

/* The highest watermark in what follows this place. Looked for once: the first bad record decides
 * for all later ones, because watermarks only rise. */
static uint64_t highest_watermark(struct wal_scan *scan, size_t offset)
{
    uint64_t highest = 0;
    size_t home = scan->at;
    size_t from = offset;
    for (size_t at = home; at < scan->used_count; at++) {
        if (at != home) {
            wal_scan_load(scan, at);
            const struct wal_found *found = found_now(scan);
            if (found->has_head && wal_record_watermark(&found->head_record) > highest) {
                highest = wal_record_watermark(&found->head_record);
            }
            from = WAL_ALIGN;
        }
        struct wal_record record;
        for (size_t next = wal_scan_next(scan, from, scan->expected, &record);
             next < scan->image_len;
             next = wal_scan_next(scan, next + WAL_ALIGN, scan->expected, &record)) {
            uint64_t watermark = wal_record_watermark(&record);
            highest = watermark > highest ? watermark : highest;
        }
    }
    if (scan->at != home) {
        wal_scan_load(scan, home);
    }
    return highest;
}

/* Whether the expected record, which is not at this offset, had been durable. */
static bool was_durable(struct wal_scan *scan, size_t offset)
{
    if (scan->lacking) {
        return true;
    }
    if (!scan->highest_known) {
        scan->highest = highest_watermark(scan, offset);
        scan->highest_known = true;
    }
    return scan->expected <= scan->highest;
}

/* ---- inspection ------------------------------------------------------------------------------ */

void wal_scan_tell(const struct wal_scan *scan, const struct wal_record *record, size_t offset,
                   enum wal_seen_state state)
{
    if (scan->inspector == NULL) {
        return;
    }
    const uint8_t *payload = scan->image + offset + WAL_HEADER_BYTES;
    struct wal_seen seen = {.segment = found_now(scan)->number,
                            .offset = offset,
                            .state = state,
                            .record = *record,
                            .payload = bytes_of(payload, record->length)};
    scan->inspector->on_record(scan->inspector->context, &seen);
}

/* ---- losses ---------------------------------------------------------------------------------- */

static const char WHY_HEADER[] = "there is no whole record header";
static const char WHY_LACKING[] = "the file is too short, or a part of it cannot be read";

static void damage_note(struct wal_scan *scan, raft_group_id group, size_t offset, raft_index index,
                        const char *why)
{
    struct wal_recovery *recovery = &scan->wal->recovery;
    size_t room = sizeof(recovery->damages) / sizeof(recovery->damages[0]);
    struct wal_damage damage = {.group = group,
                                .segment = found_now(scan)->number,
                                .offset = offset,
                                .sequence = scan->expected,
                                .index = index,
                                .why = why};
    if (recovery->damage_count < room) {
        recovery->damages[recovery->damage_count] = damage;
    }
    recovery->damage_count++;
    if (scan->inspector != NULL) {
        scan->inspector->on_damage(scan->inspector->context, &damage);
    }
}

static void suspect_all(struct wal *wal)
{
    wal->unknown_loss = true;
    for (size_t i = 0; i < wal->group_count; i++) {
        wal->groups[i]->suspect = true;
    }
}

/* Records from the expected one up to the one before `sequence` are lost, of groups unknown. A lost
 * segment header alone says nothing that is not known. */
static void lose_until(struct wal_scan *scan, uint64_t sequence, size_t offset, bool header_lost,
                       const char *why)
{
    CHECK(sequence >= scan->expected);
    uint64_t lost = sequence - scan->expected;
    if (lost > 0) {
        damage_note(scan, 0, offset, 0, why);
    }
    if (lost > (header_lost ? 1u : 0u)) {
        suspect_all(scan->wal);
    }
    scan->expected = sequence;
}

/* The record of the group before this place had that sequence: was it seen? */
static void suspicion_end(struct wal_group *group, uint64_t before)
{
    if (group->suspect && before != group->last_sequence) {
        group->hard_lost = true;
        group->log_lost = true;
    }
    group->suspect = false;
}

/* The group of a whole header, which counts as seen from now on. NULL: too many. */
static struct wal_group *group_for(struct wal_scan *scan, const struct wal_record *record)
{
    struct wal *wal = scan->wal;
    bool known = wal_group_find(wal, record->group) != NULL;
    struct wal_group *group = wal_group_get(wal, record->group);
    if (group != NULL) {
        group->suspect = group->suspect || (!known && wal->unknown_loss);
        suspicion_end(group, record->back == 0 ? 0 : record->sequence - record->back);
        group->last_sequence = record->sequence;
    }
    return group;
}

static const char WHY_CONTENT[] = "its checksums are right, but this program cannot read it";

/* The record's content is lost; that there was one is known. */
static void content_lost(struct wal_scan *scan, struct wal_group *group,
                         const struct wal_record *record, size_t offset, const char *why)
{
    bool is_entry = record->kind == WAL_ENTRY && record->index > 0;
    struct wal_log *log = &group->log;
    damage_note(scan, group->id, offset, is_entry ? record->index : 0, why);
    if (!is_entry || group->log_lost || record->index < log->first) {
        group->hard_lost = group->hard_lost || !is_entry;
        group->log_lost = true;
        return;
    }
    wal_log_truncate(log, record->index);
    wal_log_hole(log, record->index);
}

/* ---- records --------------------------------------------------------------------------------- */

/* Entries before this one may be missing, or may have been truncated by a record that is lost: the
 * log up to the one before it is a hole from where it is in doubt. */
static void mend_seam(struct wal_group *group, raft_index index)
{
    struct wal_log *log = &group->log;
    group->log_lost = false;
    if (index - 1 <= log->first) {
        wal_log_reset(log, index - 1, 0);
        return;
    }
    wal_log_truncate(log, index - 1);
    wal_log_hole(log, index - 1);
}

static void config_found(struct wal_group *group, raft_index index,
                         const struct raft_config *config)
{
    if (group->config_count == group->config_cap) {
        group->config_cap = group->config_cap == 0 ? 4 : group->config_cap * 2;
        group->configs = mem_resize(group->configs, group->config_cap * sizeof(*group->configs));
    }
    struct raft_boot_config *slot = &group->configs[group->config_count++];
    slot->index = index;
    slot->config = *config;
}

static void configs_truncate(struct wal_group *group, raft_index from)
{
    while (group->config_count > 0 && group->configs[group->config_count - 1].index >= from) {
        group->config_count--;
    }
}

static void apply_entry(struct wal_scan *scan, struct wal_group *group,
                        const struct wal_record *record, size_t offset)
{
    struct wal_log *log = &group->log;
    struct raft_config config;
    bool is_config = record->detail == RAFT_ENTRY_CONFIG;
    struct bytes payload = bytes_of(scan->image + offset + WAL_HEADER_BYTES, record->length);
    if (record->index == 0 || record->term == 0 ||
        (is_config && raft_config_decode(payload, &config) != ERR_OK)) {
        content_lost(scan, group, record, offset, WHY_CONTENT);
        return;
    }
    if (group->log_lost) {
        mend_seam(group, record->index);
    }
    if (record->index > log->last + 1) {
        wal_log_hole(log, record->index - 1);
    }
    wal_log_truncate(log, record->index);
    configs_truncate(group, record->index);
    wal_log_append(log, record->term, found_now(scan)->number, (uint32_t)offset);
    if (is_config) {
        config_found(group, record->index, &config);
    }
}

static void apply_snapshot(struct wal_scan *scan, struct wal_group *group,
                           const struct wal_record *record, size_t offset)
{
    struct raft_snapshot_meta meta;
    struct bytes payload = bytes_of(scan->image + offset + WAL_HEADER_BYTES, record->length);
    if (wal_snapshot_decode(payload, record, &meta) != ERR_OK) {
        content_lost(scan, group, record, offset, WHY_CONTENT);
        return;
    }
    if (record->detail != 0) {
        wal_log_reset(&group->log, meta.index, meta.term);
        group->log_lost = false;
        group->config_count = 0;
    }
    group->snapshot = meta;
}

static void apply_whole(struct wal_scan *scan, struct wal_group *group,
                        const struct wal_record *record, size_t offset)
{
    switch (record->kind) {
    case WAL_HARD_STATE:
        group->hard = (struct raft_hard_state){.term = record->term,
                                               .vote = (raft_node_id)record->index,
                                               .repairing = (record->detail & 1) != 0};
        group->hard_lost = false;
        return;
    case WAL_ENTRY:
        apply_entry(scan, group, record, offset);
        return;
    case WAL_TRUNCATE:
        if (record->index == 0) {
            content_lost(scan, group, record, offset, WHY_CONTENT);
            return;
        }
        wal_log_truncate(&group->log, record->index);
        configs_truncate(group, record->index);
        return;
    case WAL_SNAPSHOT:
        apply_snapshot(scan, group, record, offset);
        return;
    case WAL_SEGMENT:
    case WAL_SEAL:
    case WAL_KIND_END:
        break;
    }
    CHECK_UNREACHABLE();
}

/* A record whose header is whole and in its place. */
static enum err apply(struct wal_scan *scan, const struct wal_record *record, size_t offset,
                      bool whole)
{
    scan->wal->recovery.records++;
    wal_scan_tell(scan, record, offset, whole ? WAL_SEEN_WHOLE : WAL_SEEN_DAMAGED);
    if (record->behind == 0) {
        scan->write_offset = offset;
    }
    if (record->kind == WAL_SEAL) {
        return ERR_OK;
    }
    if (record->group == 0) {
        damage_note(scan, 0, offset, 0, WHY_CONTENT);
        suspect_all(scan->wal);
        return ERR_OK;
    }
    struct wal_group *group = group_for(scan, record);
    if (group == NULL) {
        return ERR_FULL;
    }
    if (whole) {
        apply_whole(scan, group, record, offset);
    } else {
        content_lost(scan, group, record, offset, "its payload does not have its checksum");
    }
    return ERR_OK;
}

/* ---- segment headers ------------------------------------------------------------------------- */

/* The entry at `last` is the one that the header names. */
static bool log_agrees(const struct wal_log *log, const struct wal_group_state *state)
{
    return state->last <= log->last && state->last + 1 >= log->first &&
           wal_log_term(log, state->last) == state->last_term;
}

/* Confirms the scanned log by the header, or marks what they disagree on as a hole. */
static void confirm_log(struct wal_group *group, const struct wal_group_state *state, bool oldest)
{
    struct wal_log *log = &group->log;
    group->log_lost = false;
    configs_truncate(group, state->last + 1);
    if (!oldest && log_agrees(log, state)) {
        wal_log_truncate(log, state->last + 1);
    } else if (oldest || state->last <= state->snapshot.index || state->last <= log->first) {
        /* What came before was dropped, or is covered, or is unknown: whether it is needed shows at
         * the end (wal_groups_settle). */
        wal_log_reset(log, state->last, state->last_term);
    } else if (state->last > log->last) {
        wal_log_hole(log, state->last);
    } else {
        wal_log_truncate(log, state->last);
        wal_log_hole(log, state->last);
    }
}

/* A header lists every group that there is: one that it does not know contradicts the log. */
static void unlisted_lost(struct wal_scan *scan)
{
    struct wal *wal = scan->wal;
    for (size_t i = 0; i < wal->group_count; i++) {
        struct wal_group *group = wal->groups[i];
        if (group->listed != found_now(scan)->number) {
            damage_note(scan, group->id, 0, 0, "the segment's header does not know the group");
            group->hard_lost = true;
            group->log_lost = true;
        }
    }
}

static enum err apply_head(struct wal_scan *scan)
{
    struct wal_found *found = &scan->found[scan->at];
    struct wal *wal = scan->wal;
    struct reader reader = reader_of(buf_bytes(&found->head_payload));
    struct wal_segment_head head;
    if (wal_head_decode(&reader, &head) != ERR_OK) {
        CHECK_UNREACHABLE(); /* It was decoded when it was found. */
    }
    for (uint32_t i = 0; i < head.group_count; i++) {
        struct wal_group_state state;
        if (wal_group_decode(&reader, &state) != ERR_OK) {
            /* Its checksum is right: a configuration that this program cannot read. */
            damage_note(scan, 0, 0, 0, WHY_CONTENT);
            suspect_all(wal);
            return ERR_OK;
        }
        struct wal_group *group = wal_group_get(wal, state.group);
        if (group == NULL) {
            return ERR_FULL;
        }
        suspicion_end(group, state.last_sequence);
        group->last_sequence = state.last_sequence;
        group->hard = state.hard;
        group->hard_lost = false;
        group->snapshot = state.snapshot;
        group->listed = found->number;
        confirm_log(group, &state, scan->at == 0);
    }
    unlisted_lost(scan);
    wal->unknown_loss = head.unknown_loss;
    return ERR_OK;
}

static enum err enter(struct wal_scan *scan, size_t *ret_offset)
{
    struct wal_found *found = &scan->found[scan->at];
    *ret_offset = 0;
    scan->write_offset = 0;
    if (!found->has_head) {
        return ERR_OK;
    }
    uint64_t sequence = found->head_record.sequence;
    if (sequence < scan->expected) {
        /* Numbers that run backwards: nothing of this segment can be trusted. */
        damage_note(scan, 0, 0, 0, "its sequence is lower than that of the segment before");
        suspect_all(scan->wal);
        scan->limit = scan->expected;
        return ERR_OK;
    }
    if (scan->at == 0) {
        scan->expected = sequence;
    }
    bool gap = scan->at > 0 && found->number != scan->found[scan->at - 1].number + 1;
    lose_until(scan, sequence, 0, false,
               gap               ? "a segment before this one is missing"
               : scan->end_lacks ? "the segment before this one is too short, or a part of it "
                                   "cannot be read"
                                 : "the end of the segment before this one is damaged");
    scan->end_lacks = false;
    scan->expected = sequence + 1;
    scan->wal->recovery.records++;
    wal_scan_tell(scan, &found->head_record, 0, WAL_SEEN_WHOLE);
    *ret_offset = wal_record_size(found->head_record.length);
    return apply_head(scan);
}

/* Nobody can walk over what is between two records that do not touch: the next entry of each group
 * gets a point of its own. */
static void walks_interrupted(struct wal *wal)
{
    for (size_t i = 0; i < wal->group_count; i++) {
        wal->groups[i]->log.seam_due = true;
    }
}

/* ---- the scan -------------------------------------------------------------------------------- */

static enum err scan_records(struct wal_scan *scan, size_t offset)
{
    uint32_t salt = salt_of(scan, found_now(scan));
    while (scan->expected < scan->limit) {
        struct wal_record record;
        bool header =
            offset > 0 && record_at(scan, offset, &record) && record.sequence == scan->expected;
        bool whole = header && wal_payload_ok(scan->image + offset, salt, &record);
        if (!whole && !was_durable(scan, offset)) {
            scan->ended = true;
            scan->end_offset = offset;
            return ERR_OK;
        }
        if (!header) {
            size_t next = wal_scan_next(scan, offset + WAL_ALIGN, scan->expected, &record);
            if (next >= scan->image_len || record.sequence >= scan->limit) {
                scan->end_lacks = scan->lacking;
                return ERR_OK; /* How much is lost shows at the next segment. */
            }
            if (record.sequence == scan->expected) {
                /* Nothing is missing and yet it is not where it was written. */
                damage_note(scan, 0, offset, 0, "the record is not where it was written");
                suspect_all(scan->wal);
            }
            lose_until(scan, record.sequence, offset, offset == 0,
                       scan->lacking ? WHY_LACKING : WHY_HEADER);
            walks_interrupted(scan->wal);
            offset = next;
            continue;
        }
        enum err err = apply(scan, &record, offset, whole);
        if (err != ERR_OK) {
            return err;
        }
        scan->expected++;
        offset += wal_record_size(record.length);
    }
    return ERR_OK;
}

static uint64_t limit_after(const struct wal_scan *scan, size_t at)
{
    for (size_t next = at + 1; next < scan->used_count; next++) {
        if (scan->found[next].has_head) {
            return scan->found[next].head_record.sequence;
        }
    }
    return UINT64_MAX;
}

enum err wal_scan_run(struct wal_scan *scan, struct err_note *note)
{
    scan->expected = 1;
    for (size_t at = 0; at < scan->used_count && !scan->ended; at++) {
        wal_scan_load(scan, at);
        scan->limit = limit_after(scan, at);
        size_t offset = 0;
        if (at == 0 && !scan->found[0].has_head) {
            damage_note(scan, 0, 0, 0, "the oldest segment has no whole header");
            suspect_all(scan->wal);
            scan->lacking = true;
        }
        enum err err = enter(scan, &offset);
        if (err == ERR_OK) {
            err = scan_records(scan, offset);
        }
        if (err != ERR_OK) {
            return err_note_set(note, err, "the log has more than %u groups",
                                scan->wal->config.groups_max);
        }
    }
    if (!scan->ended) {
        /* Nothing tells where the log ended: it goes on beyond what can be read. */
        damage_note(scan, 0, scan->image_len, 0,
                    scan->lacking ? WHY_LACKING : "the log goes on, but its end cannot be read");
        suspect_all(scan->wal);
    }
    wal_groups_settle(scan->wal);
    return ERR_OK;
}
