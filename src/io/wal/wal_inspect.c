/* Recovery's scan for people: see wal/wal_inspect.h. */
#include "wal/wal_inspect.h"

#include "check/check.h"
#include "mem/mem.h"
#include "wal/wal_priv.h"

static bool is_zero(const struct wal_scan *scan, size_t from)
{
    size_t at = from;
    while (at < scan->image_len && scan->image[at] == 0) {
        at++;
    }
    return at >= scan->image_len;
}

/* Whether what lies behind the end of the log is an unfinished write: it has records of this very
 * segment, or the beginning of the expected one, or stands alone where nothing was ever written. */
static bool is_certain(const struct wal_scan *scan, size_t first_record)
{
    size_t at = scan->end_offset;
    return at == 0 || first_record < scan->image_len ||
           wal_record_resembles(scan->image + at, scan->image_len - at, scan->expected) ||
           is_zero(scan, at + WAL_HEADER_BYTES);
}

/* The end of the log, with what a start would cut off there. */
static void tell_torn(struct wal_scan *scan, struct wal_report *report)
{
    if (!scan->ended) {
        return;
    }
    size_t end = wal_scan_torn(scan);
    if (!scan->wal->recovery.torn) {
        return;
    }
    struct wal_record record;
    size_t first = wal_scan_next(scan, scan->end_offset, 1, &record);
    report->torn = is_certain(scan, first);
    struct wal_torn torn = {.certain = report->torn,
                            .segment = scan->found[scan->at].number,
                            .offset = scan->end_offset,
                            .bytes = end - scan->end_offset,
                            .sequence = scan->expected,
                            .why = "there is no whole record header"};
    if (scan->end_offset == 0) {
        torn.why = "the segment's header is not whole";
    } else if (first == scan->end_offset && record.sequence == scan->expected) {
        torn.why = "the record's payload does not have its checksum";
    }
    scan->inspector->on_torn(scan->inspector->context, &torn);
    for (size_t at = first; at < scan->image_len;
         at = wal_scan_next(scan, at + WAL_ALIGN, 1, &record)) {
        wal_scan_tell(scan, &record, at, WAL_SEEN_TORN);
    }
}

static void tell_groups(const struct wal_scan *scan, struct wal_report *report)
{
    const struct wal *wal = scan->wal;
    for (size_t i = 0; i < wal->group_count; i++) {
        const struct wal_group *group = wal->groups[i];
        struct wal_group_seen seen = {.group = group->id,
                                      .first = group->log.first,
                                      .last = group->log.last,
                                      .hard = group->hard,
                                      .snapshot = group->snapshot.index,
                                      .snapshot_term = group->snapshot.term,
                                      .damaged = group->verdict == RAFT_BOOT_DAMAGED};
        report->damaged_groups += seen.damaged ? 1 : 0;
        scan->inspector->on_group(scan->inspector->context, &seen);
    }
}

static void report_fill(const struct wal_scan *scan, struct wal_report *report)
{
    const struct wal *wal = scan->wal;
    report->storage_id = wal->config.storage_id;
    report->segments = scan->used_count;
    report->prepared = scan->found_count - scan->used_count;
    if (scan->used_count > 0) {
        report->first_segment = scan->found[0].number;
        report->last_segment = scan->found[scan->used_count - 1].number;
    }
    report->records = wal->recovery.records;
    report->bytes_read = wal->recovery.bytes_read;
    report->damages = wal->recovery.damage_count;
}

enum err wal_inspect(struct disk *disk, uint64_t storage_id, const struct wal_inspector *inspector,
                     struct wal_report *ret_report, struct err_note *note)
{
    struct wal_config config = wal_config_default(storage_id);
    config.groups_max = WAL_INSPECT_GROUPS_MAX;
    struct wal *wal = wal_make(disk, &config);
    struct wal_scan scan = {.wal = wal, .inspector = inspector};
    struct wal_report report = {0};
    enum err err = wal_scan_find(&scan, note);
    if (err == ERR_OK) {
        err = wal_scan_run(&scan, note);
    }
    if (err == ERR_OK) {
        tell_torn(&scan, &report);
        tell_groups(&scan, &report);
        report_fill(&scan, &report);
        *ret_report = report;
    }
    wal_scan_done(&scan);
    wal_free(wal);
    return err;
}

const char *wal_kind_name(enum wal_kind kind)
{
    switch (kind) {
    case WAL_SEGMENT:
        return "segment";
    case WAL_HARD_STATE:
        return "hard_state";
    case WAL_ENTRY:
        return "entry";
    case WAL_TRUNCATE:
        return "truncate";
    case WAL_SNAPSHOT:
        return "snapshot";
    case WAL_SEAL:
        return "seal";
    case WAL_KIND_END:
        break;
    }
    CHECK_UNREACHABLE();
}
