/* flotilla wal dump: what lies in the write-ahead log of a data directory, record by record.
 *
 * Place: app/cli, over io/wal's inspection, whose verdicts are those of a start. Nothing of the
 * directory changes: files are opened for reading only, and no lock is taken. */
#include "cli/cli_dump.h"
#include "cli/cli_priv.h"
#include "disk/disk.h"
#include "disk/identity.h"
#include "grid/grid.h"
#include "machine/machine.h"
#include "wal/wal_inspect.h"

#include <stdio.h>
#include <string.h>

enum {
    LOOKS_AGAIN = 10
};

struct wal_dump {
    struct cli_dump dump;
    struct cli_files_options options;
    struct grid groups;
    uint64_t matched; /* records that the filters let through */
    uint64_t shown;
    long holder;  /* process that uses the directory; 0: none */
    bool headed;  /* the heading is printed */
    bool damaged; /* beside what the report says: the identity */
};

/* ---- records --------------------------------------------------------------------------------- */

static bool has_index(const struct wal_record *record)
{
    return record->kind == WAL_ENTRY || record->kind == WAL_TRUNCATE ||
           record->kind == WAL_SNAPSHOT;
}

static bool matches(const struct cli_files_options *options, const struct wal_record *record)
{
    bool any_index = options->from == 0 && options->to == UINT64_MAX;
    bool in_range =
        has_index(record) && record->index >= options->from && record->index <= options->to;
    return (options->group == 0 || options->group == record->group) && (any_index || in_range);
}

static const char *state_name(enum wal_seen_state state)
{
    return state == WAL_SEEN_WHOLE ? "whole" : state == WAL_SEEN_TORN ? "torn" : "damaged";
}

/* The command of an entry, when it is one. */
static bool command_of(const struct wal_seen *seen, struct machine_command *ret_command)
{
    return seen->state != WAL_SEEN_DAMAGED && seen->record.kind == WAL_ENTRY &&
           seen->record.detail == RAFT_ENTRY_COMMAND &&
           machine_command_decode(seen->payload, ret_command) == ERR_OK;
}

/* The configuration of an entry or of a snapshot mark. */
static bool config_of(const struct wal_seen *seen, struct raft_config *ret_config)
{
    const struct wal_record *record = &seen->record;
    struct raft_snapshot_meta meta;
    if (seen->state == WAL_SEEN_DAMAGED) {
        return false;
    }
    if (record->kind == WAL_ENTRY && record->detail == RAFT_ENTRY_CONFIG) {
        return raft_config_decode(seen->payload, ret_config) == ERR_OK;
    }
    if (record->kind != WAL_SNAPSHOT ||
        wal_snapshot_decode(seen->payload, record, &meta) != ERR_OK) {
        return false;
    }
    *ret_config = meta.config;
    return true;
}

/* A number, or "-" where the kind has none. */
static const char *number(char dest[24], bool there, uint64_t value)
{
    (void)snprintf(dest, 24, there ? "%llu" : "-", (unsigned long long)value);
    return dest;
}

static void describe_entry(const struct wal_seen *seen, char *dest, size_t size)
{
    struct machine_command command;
    struct raft_config config;
    char members[CLI_SHOWN_MAX];
    if (command_of(seen, &command)) {
        (void)snprintf(dest, size, "%s, node %u's command %llu", machine_kind_name(command.kind),
                       command.proposer.node, (unsigned long long)command.proposer.sequence);
    } else if (config_of(seen, &config)) {
        (void)snprintf(dest, size, "configuration: %s", cli_dump_members(&config, members));
    } else {
        (void)snprintf(dest, size, "%s",
                       seen->record.detail == RAFT_ENTRY_COMMAND  ? "command"
                       : seen->record.detail == RAFT_ENTRY_CONFIG ? "configuration"
                                                                  : "no-op");
    }
}

static void describe(const struct wal_seen *seen, char *dest, size_t size)
{
    const struct wal_record *record = &seen->record;
    struct raft_config config;
    char members[CLI_SHOWN_MAX] = "?";
    char vote[24];
    struct wal_segment_head head = {0};
    struct reader reader = reader_of(seen->payload);
    dest[0] = '\0';
    switch (record->kind) {
    case WAL_SEGMENT:
        if (wal_head_decode(&reader, &head) == ERR_OK) {
            (void)snprintf(dest, size, "begins with the state of %u group%s", head.group_count,
                           head.group_count == 1 ? "" : "s");
        }
        break;
    case WAL_HARD_STATE:
        (void)snprintf(dest, size, "vote %s%s", number(vote, record->index != 0, record->index),
                       (record->detail & 1) != 0 ? ", repairing" : "");
        break;
    case WAL_ENTRY:
        describe_entry(seen, dest, size);
        break;
    case WAL_TRUNCATE:
        (void)snprintf(dest, size, "this entry and those behind it are gone");
        break;
    case WAL_SNAPSHOT:
        if (config_of(seen, &config)) {
            (void)cli_dump_members(&config, members);
        }
        (void)snprintf(dest, size, "%s; members %s",
                       record->detail != 0 ? "the log is replaced" : "the log goes on", members);
        break;
    case WAL_SEAL:
        (void)snprintf(dest, size, "all before it is durable");
        break;
    case WAL_KIND_END:
        break;
    }
}

static void heading(struct wal_dump *wal)
{
    if (!wal->headed) {
        cli_dump_text(&wal->dump, "%-12s  %8s  %8s  %-10s  %5s  %8s  %5s  %7s  %s\n", "SEGMENT",
                      "OFFSET", "SEQUENCE", "KIND", "GROUP", "INDEX", "TERM", "SIZE", "WHAT");
    }
    wal->headed = true;
}

static void record_text(struct wal_dump *wal, const struct wal_seen *seen)
{
    const struct wal_record *record = &seen->record;
    char file[DISK_NAME_MAX];
    char what[2 * CLI_SHOWN_MAX];
    char group[24];
    char index[24];
    char term[24];
    bool has_term =
        record->kind == WAL_HARD_STATE || record->kind == WAL_ENTRY || record->kind == WAL_SNAPSHOT;
    wal_segment_name(seen->segment, file);
    describe(seen, what, sizeof(what));
    heading(wal);
    cli_dump_text(&wal->dump, "%-12s  %8llu  %8llu  %-10s  %5s  %8s  %5s  %7u  %s%s\n", file,
                  (unsigned long long)seen->offset, (unsigned long long)record->sequence,
                  wal_kind_name(record->kind), number(group, record->group != 0, record->group),
                  number(index, has_index(record), record->index),
                  number(term, has_term, record->term), record->length,
                  seen->state == WAL_SEEN_WHOLE  ? ""
                  : seen->state == WAL_SEEN_TORN ? "TORN "
                                                 : "DAMAGED ",
                  what);
    if (wal->options.payload) {
        cli_dump_bytes(&wal->dump, seen->payload);
    }
}

static void place_json(struct cli_dump *dump, uint64_t segment, uint64_t offset, uint64_t sequence)
{
    char file[DISK_NAME_MAX];
    wal_segment_name((uint32_t)segment, file);
    json_out_field_u64(&dump->out, "segment", segment);
    json_out_field_str(&dump->out, "file", file);
    json_out_field_u64(&dump->out, "offset", offset);
    json_out_field_u64(&dump->out, "sequence", sequence);
}

static void record_json(struct wal_dump *wal, const struct wal_seen *seen)
{
    const struct wal_record *record = &seen->record;
    struct json_out *out = &wal->dump.out;
    struct machine_command command;
    struct raft_config config;
    char what[2 * CLI_SHOWN_MAX];
    describe(seen, what, sizeof(what));
    cli_dump_object(&wal->dump, "record");
    place_json(&wal->dump, seen->segment, seen->offset, record->sequence);
    json_out_field_str(out, "kind", wal_kind_name(record->kind));
    json_out_field_str(out, "state", state_name(seen->state));
    json_out_field_u64(out, "group", record->group);
    if (has_index(record)) {
        json_out_field_u64(out, "index", record->index);
    }
    json_out_field_u64(out, "term", record->term);
    json_out_field_u64(out, "size", record->length);
    json_out_field_u64(out, "behind", record->behind);
    json_out_field_u64(out, "back", record->back);
    json_out_field_u64(out, "time_ms", record->time_ms);
    json_out_field_str(out, "what", what);
    if (record->kind == WAL_HARD_STATE) {
        json_out_field_u64(out, "vote", record->index);
    }
    if (command_of(seen, &command)) {
        json_out_field_str(out, "command", machine_kind_name(command.kind));
    }
    if (config_of(seen, &config)) {
        cli_dump_members_json(&wal->dump, &config);
    }
    if (wal->options.payload) {
        json_out_key(out, "payload");
        json_out_base64(out, seen->payload);
    }
    cli_dump_object_end(&wal->dump);
}

static void on_record(void *context, const struct wal_seen *seen)
{
    struct wal_dump *wal = context;
    if (!matches(&wal->options, &seen->record)) {
        return;
    }
    wal->matched++;
    if (wal->shown >= wal->options.limit) {
        return;
    }
    wal->shown++;
    if (wal->dump.json) {
        record_json(wal, seen);
    } else {
        record_text(wal, seen);
    }
}

/* ---- verdicts: never filtered ---------------------------------------------------------------- */

static void on_damage(void *context, const struct wal_damage *damage)
{
    struct wal_dump *wal = context;
    if (!wal->dump.json) {
        struct err_note note;
        wal_damage_text(damage, &note);
        cli_dump_text(&wal->dump, "DAMAGED: %s\n", note.text);
        return;
    }
    cli_dump_object(&wal->dump, "damage");
    place_json(&wal->dump, damage->segment, damage->offset, damage->sequence);
    json_out_field_u64(&wal->dump.out, "group", damage->group);
    json_out_field_u64(&wal->dump.out, "index", damage->index);
    json_out_field_str(&wal->dump.out, "why", damage->why);
    cli_dump_object_end(&wal->dump);
}

static void on_torn(void *context, const struct wal_torn *torn)
{
    struct wal_dump *wal = context;
    if (!torn->certain && !wal->dump.json) {
        cli_dump_text(
            &wal->dump,
            "End: segment %u, offset %llu: no record lies behind, only other bytes: those that "
            "a segment contained before it was used again\n",
            torn->segment, (unsigned long long)torn->offset);
        return;
    }
    if (!wal->dump.json) {
        cli_dump_text(&wal->dump,
                      "TORN: segment %u, offset %llu, record %llu: %s; nobody was told that this "
                      "write was done%s\n",
                      torn->segment, (unsigned long long)torn->offset,
                      (unsigned long long)torn->sequence, torn->why,
                      wal->holder != 0 ? " (it may be under way right now)"
                                       : ", so a start ends the log here");
        return;
    }
    cli_dump_object(&wal->dump, torn->certain ? "torn" : "end");
    place_json(&wal->dump, torn->segment, torn->offset, torn->sequence);
    json_out_field_u64(&wal->dump.out, "bytes", torn->bytes);
    json_out_field_str(&wal->dump.out, "why", torn->why);
    cli_dump_object_end(&wal->dump);
}

/* ---- summary --------------------------------------------------------------------------------- */

static const char *const GROUP_HEADINGS[] = {"GROUP", "FIRST",    "LAST",          "TERM",
                                             "VOTE",  "SNAPSHOT", "SNAPSHOT TERM", "STATE"};

static void group_text(struct grid *grid, const struct wal_group_seen *group)
{
    bool empty = group->first > group->last;
    char text[24];
    grid_cell(grid, "%u", group->group);
    grid_cell(grid, "%s", number(text, !empty, group->first));
    grid_cell(grid, "%llu", (unsigned long long)group->last);
    grid_cell(grid, "%llu", (unsigned long long)group->hard.term);
    grid_cell(grid, "%s", number(text, group->hard.vote != 0, group->hard.vote));
    grid_cell(grid, "%s", number(text, group->snapshot != 0, group->snapshot));
    grid_cell(grid, "%s", number(text, group->snapshot != 0, group->snapshot_term));
    grid_cell(grid, "%s",
              group->damaged          ? "damaged"
              : group->hard.repairing ? "repairing, from earlier damage"
                                      : "whole");
}

static void on_group(void *context, const struct wal_group_seen *group)
{
    struct wal_dump *wal = context;
    if (wal->options.group != 0 && wal->options.group != group->group) {
        return;
    }
    if (!wal->dump.json) {
        group_text(&wal->groups, group);
        return;
    }
    struct json_out *out = &wal->dump.out;
    cli_dump_object(&wal->dump, "group");
    json_out_field_u64(out, "group", group->group);
    json_out_field_u64(out, "first", group->first);
    json_out_field_u64(out, "last", group->last);
    json_out_field_u64(out, "term", group->hard.term);
    json_out_field_u64(out, "vote", group->hard.vote);
    json_out_field_u64(out, "snapshot", group->snapshot);
    json_out_field_u64(out, "snapshot_term", group->snapshot_term);
    json_out_field_bool(out, "repairing", group->hard.repairing);
    json_out_field_bool(out, "damaged", group->damaged);
    cli_dump_object_end(&wal->dump);
}

static void total_json(struct wal_dump *wal, const struct wal_report *report, bool damaged)
{
    struct json_out *out = &wal->dump.out;
    cli_dump_object(&wal->dump, "total");
    json_out_field_u64(out, "segments", report->segments);
    json_out_field_u64(out, "prepared", report->prepared);
    json_out_field_u64(out, "records", report->records);
    json_out_field_u64(out, "shown", wal->shown);
    json_out_field_u64(out, "not_shown", wal->matched - wal->shown);
    json_out_field_u64(out, "damages", report->damages);
    json_out_field_bool(out, "torn", report->torn);
    json_out_field_bool(out, "damaged", damaged);
    cli_dump_object_end(&wal->dump);
}

static void total_text(struct wal_dump *wal, const struct wal_report *report, bool damaged)
{
    char first[DISK_NAME_MAX] = "-";
    char last[DISK_NAME_MAX] = "-";
    if (report->segments > 0) {
        wal_segment_name(report->first_segment, first);
        wal_segment_name(report->last_segment, last);
    }
    if (wal->matched > wal->shown) {
        cli_dump_text(&wal->dump, "%llu more records that match are not shown (--limit)\n",
                      (unsigned long long)(wal->matched - wal->shown));
    }
    struct buf text;
    buf_init(&text, GRID_BYTES_MAX);
    if (grid_print(&wal->groups, &text) == ERR_OK) {
        cli_dump_text(&wal->dump, "\n%.*s", BYTES_PRINT(buf_bytes(&text)));
    }
    buf_done(&text);
    cli_dump_text(
        &wal->dump, "\nTotal: %llu records in %zu segment%s (%s to %s), %zu prepared; %llu shown\n",
        (unsigned long long)report->records, report->segments, report->segments == 1 ? "" : "s",
        first, last, report->prepared, (unsigned long long)wal->shown);
    if (damaged && report->damages == 0 && !wal->damaged) {
        cli_dump_text(&wal->dump, "Verdict: DAMAGED: entries that no snapshot mark covers are not "
                                  "there; an older segment must be gone\n");
    } else if (damaged) {
        cli_dump_text(&wal->dump, "Verdict: DAMAGED: %llu place%s, %zu group%s\n",
                      (unsigned long long)(report->damages + (wal->damaged ? 1 : 0)),
                      report->damages + (wal->damaged ? 1 : 0) == 1 ? "" : "s",
                      report->damaged_groups, report->damaged_groups == 1 ? "" : "s");
    } else {
        cli_dump_text(&wal->dump, "Verdict: whole%s\n",
                      report->torn ? "; its end is torn, which loses nothing acknowledged" : "");
    }
}

/* ---- the directory --------------------------------------------------------------------------- */

static void identity_show(struct wal_dump *wal, const struct identity *identity)
{
    const char *data = wal->options.data;
    if (wal->dump.json) {
        struct json_out *out = &wal->dump.out;
        cli_dump_object(&wal->dump, "directory");
        json_out_field_str(out, "data", data);
        json_out_field_u64(out, "node", identity->node_id);
        cli_dump_hex(&wal->dump, "cluster_id", identity->cluster_id);
        cli_dump_hex(&wal->dump, "storage_id", identity->storage_id);
        json_out_field_u64(out, "starts", identity->boot_count);
        json_out_field_u64(out, "process", (uint64_t)wal->holder);
        cli_dump_object_end(&wal->dump);
        return;
    }
    cli_dump_text(&wal->dump, "%s: node %u of cluster %016llx, disk %016llx, started %llu time%s\n",
                  data, identity->node_id, (unsigned long long)identity->cluster_id,
                  (unsigned long long)identity->storage_id,
                  (unsigned long long)identity->boot_count, identity->boot_count == 1 ? "" : "s");
    if (wal->holder != 0) {
        cli_dump_text(&wal->dump,
                      "Process %ld runs on this directory: the newest records may be missing\n",
                      wal->holder);
    }
    cli_dump_text(&wal->dump, "\n");
}

/* Without a readable identity the log is still read: its segments name their disk. ERR_OK, or why
 * there is nothing to read. */
static enum err identity_look(struct wal_dump *wal, struct disk *disk, uint64_t *ret_storage_id,
                              struct err_note *note)
{
    struct identity identity = {0};
    bool log = false;
    enum err err = wal_present(disk, &log, note);
    if (err != ERR_OK) {
        return err;
    }
    err = identity_read(disk, &identity, note);
    if (err == ERR_NOT_FOUND && !log) {
        return err_note_set(note, err, "%s has neither %s nor wal-* files: it is no data directory",
                            wal->options.data, IDENTITY_NAME);
    }
    if (err == ERR_NOT_FOUND) {
        err_note_set(note, err, "the file %s is missing", IDENTITY_NAME);
    } else if (err != ERR_OK && err != ERR_CORRUPT) {
        return err;
    }
    *ret_storage_id = identity.storage_id;
    identity_show(wal, &identity);
    if (err == ERR_OK) {
        return ERR_OK;
    }
    wal->damaged = true;
    cli_dump_text(&wal->dump, "DAMAGED: %s; the log is read as its segments' disk says\n",
                  note->text);
    if (wal->dump.json) {
        cli_dump_object(&wal->dump, "damage");
        json_out_field_str(&wal->dump.out, "file", IDENTITY_NAME);
        json_out_field_str(&wal->dump.out, "why", note->text);
        cli_dump_object_end(&wal->dump);
    }
    return ERR_OK;
}

/* A running node drops segments that it does not need: what was read then is not one log. */
static bool changed_meanwhile(const struct wal_dump *wal, struct disk *disk, uint32_t first)
{
    char name[DISK_NAME_MAX];
    struct disk_file *file = NULL;
    if (wal->holder == 0 || first == 0) {
        return false;
    }
    wal_segment_name(first, name);
    enum err err = disk_open(disk, name, &file, NULL);
    if (err == ERR_OK) {
        disk_close(file);
    }
    return err == ERR_NOT_FOUND;
}

static void pass_record(void *context, const struct wal_seen *seen)
{
    (void)context, (void)seen;
}

static void pass_damage(void *context, const struct wal_damage *damage)
{
    (void)context, (void)damage;
}

static void pass_torn(void *context, const struct wal_torn *torn)
{
    (void)context, (void)torn;
}

static void pass_group(void *context, const struct wal_group_seen *group)
{
    (void)context, (void)group;
}

/* A segment that a running node finished after its end was read lacks its last records here, and
 * the next one then seems to come after a gap. Real damage is there at every look. */
static bool was_being_written(const struct wal_dump *wal, struct disk *disk, uint64_t storage_id)
{
    const struct wal_inspector inspector = {.on_record = pass_record,
                                            .on_damage = pass_damage,
                                            .on_torn = pass_torn,
                                            .on_group = pass_group};
    for (int look = 0; look < LOOKS_AGAIN && wal->holder != 0 && !wal->damaged; look++) {
        struct wal_report report = {0};
        enum err err = wal_inspect(disk, storage_id, &inspector, &report, NULL);
        if (err == ERR_OK && report.damages == 0 && report.damaged_groups == 0) {
            return true;
        }
    }
    return false;
}

static int dump_log(struct wal_dump *wal, struct disk *disk)
{
    const struct wal_inspector inspector = {.on_record = on_record,
                                            .on_damage = on_damage,
                                            .on_torn = on_torn,
                                            .on_group = on_group,
                                            .context = wal};
    struct err_note note = {{0}};
    struct wal_report report = {0};
    uint64_t storage_id = 0;
    enum err err = identity_look(wal, disk, &storage_id, &note);
    if (err == ERR_OK) {
        err = wal_inspect(disk, storage_id, &inspector, &report, &note);
    }
    if (err != ERR_OK) {
        return cli_dump_fail(&wal->dump, "%s: %s%s", wal->options.data, note.text,
                             wal->holder != 0 && err == ERR_NOT_FOUND
                                 ? " (a process runs on this directory: try again)"
                                 : "");
    }
    bool damaged = wal->damaged || report.damages > 0 || report.damaged_groups > 0;
    if (damaged && changed_meanwhile(wal, disk, report.first_segment)) {
        return cli_dump_fail(&wal->dump, "the node dropped segments while they were read: try "
                                         "again, or stop it first");
    }
    if (damaged && was_being_written(wal, disk, storage_id)) {
        cli_dump_text(&wal->dump, "Looked at again, all of it is whole: it was being written\n");
        damaged = false;
    }
    if (wal->dump.json) {
        total_json(wal, &report, damaged);
    } else {
        total_text(wal, &report, damaged);
    }
    return damaged ? CLIENT_FAILED : CLIENT_OK;
}

static int dump_directory(struct wal_dump *wal)
{
    struct err_note note = {{0}};
    struct disk_loop *disk = NULL;
    if (disk_look_open(wal->options.data, &disk, &wal->holder, &note) != ERR_OK) {
        return cli_dump_fail(&wal->dump, "%s", note.text);
    }
    grid_init(&wal->groups, sizeof(GROUP_HEADINGS) / sizeof(GROUP_HEADINGS[0]), GROUP_HEADINGS);
    int code = dump_log(wal, disk_loop_base(disk));
    grid_done(&wal->groups);
    disk_loop_close(disk);
    return code;
}

int cli_wal_dump(const struct cli_call *call)
{
    struct wal_dump wal = {.options = CLI_FILES_DEFAULTS};
    struct flag_words words;
    struct err_note note = {{0}};
    enum err err =
        flags_read(*call->command->flags, call->argc, call->argv, &wal.options, &words, &note);
    if (err != ERR_OK) {
        return cli_usage(call, "%s", note.text);
    }
    if (words.help) {
        return cli_help(call);
    }
    if (words.count > 0) {
        return cli_usage(call, "\"%s\" is one word too many", words.at[0]);
    }
    if (wal.options.data == NULL) {
        return cli_usage(call, "which directory? --data DIR");
    }
    if (wal.options.from > wal.options.to) {
        return cli_usage(call, "--from %llu is behind --to %llu",
                         (unsigned long long)wal.options.from, (unsigned long long)wal.options.to);
    }
    cli_dump_init(&wal.dump, call, wal.options.json);
    return cli_dump_done(&wal.dump, dump_directory(&wal));
}
