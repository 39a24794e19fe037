/* Recovery of a cluster that has lost its majority; see recover/recover.h. */
#include "recover/recover.h"

#include "check/check.h"
#include "loop/loop.h"
#include "map/map.h"
#include "mem/mem.h"
#include "wal/wal_inspect.h"

/* ---- looking --------------------------------------------------------------------------------- */

enum {
    /* Configurations of a group that a truncation could bring back; older ones were committed. */
    CONFIGS_MAX = 8
};

struct seen_config {
    raft_index index;
    struct raft_config config;
};

/* What the records of one group have said so far. */
struct seen_group {
    raft_group_id group;
    struct seen_config configs[CONFIGS_MAX]; /* ascending */
    uint32_t config_count;
    raft_index last;
    raft_term last_term;
    clk_ms last_time_ms;
};

struct look {
    struct recover_report *report;
    raft_index applied;
    struct seen_group groups[RECOVER_GROUPS_MAX];
    uint32_t group_count;
    raft_group_id refused; /* a group that cannot be recovered from here; 0: none */
    const char *why;
    struct err_note damage; /* the first one */
    bool damaged;
    bool full;
};

static struct seen_group *group_of(struct look *look, raft_group_id group)
{
    for (uint32_t i = 0; i < look->group_count; i++) {
        if (look->groups[i].group == group) {
            return &look->groups[i];
        }
    }
    if (look->group_count == RECOVER_GROUPS_MAX) {
        look->full = true;
        return NULL;
    }
    struct seen_group *seen = &look->groups[look->group_count++];
    seen->group = group;
    return seen;
}

static void cut_configs(struct seen_group *group, raft_index from)
{
    while (group->config_count > 0 && group->configs[group->config_count - 1].index >= from) {
        group->config_count--;
    }
}

static void add_config(struct seen_group *group, raft_index index, const struct raft_config *config)
{
    cut_configs(group, index);
    if (group->config_count == CONFIGS_MAX) {
        memmove(group->configs, group->configs + 1, (CONFIGS_MAX - 1) * sizeof(*group->configs));
        group->config_count--;
    }
    group->configs[group->config_count].index = index;
    group->configs[group->config_count++].config = *config;
}

/* A snapshot's configuration counts when the log has shown none that is newer. */
static void add_snapshot(struct seen_group *group, const struct raft_snapshot_meta *meta)
{
    bool newer = group->config_count == 0 ||
                 group->configs[group->config_count - 1].index < meta->config_index;
    if (meta->index > 0 && newer) {
        add_config(group, meta->config_index, &meta->config);
    }
}

static void see_entry(struct seen_group *group, const struct wal_seen *seen)
{
    struct raft_config config;
    group->last = seen->record.index;
    group->last_term = seen->record.term;
    group->last_time_ms = seen->record.time_ms;
    cut_configs(group, seen->record.index);
    if (seen->record.detail == RAFT_ENTRY_CONFIG &&
        raft_config_decode(seen->payload, &config) == ERR_OK) {
        add_config(group, seen->record.index, &config);
    }
}

/* The groups' states at a segment's beginning: segments before it may be gone. */
static void see_segment(struct look *look, const struct wal_seen *seen)
{
    struct reader r = reader_of(seen->payload);
    struct wal_segment_head head;
    struct wal_group_state state;
    if (wal_head_decode(&r, &head) != ERR_OK) {
        return;
    }
    for (uint32_t i = 0; i < head.group_count && wal_group_decode(&r, &state) == ERR_OK; i++) {
        struct seen_group *group = group_of(look, state.group);
        if (group != NULL) {
            add_snapshot(group, &state.snapshot);
        }
    }
}

static void on_record(void *context, const struct wal_seen *seen)
{
    struct look *look = context;
    struct raft_snapshot_meta meta;
    if (seen->state != WAL_SEEN_WHOLE) {
        return;
    }
    if (seen->record.kind == WAL_SEGMENT) {
        see_segment(look, seen);
        return;
    }
    struct seen_group *group = seen->record.group == 0 ? NULL : group_of(look, seen->record.group);
    if (group == NULL) {
        return;
    }
    if (seen->record.kind == WAL_ENTRY) {
        see_entry(group, seen);
    } else if (seen->record.kind == WAL_TRUNCATE) {
        cut_configs(group, seen->record.index);
    } else if (seen->record.kind == WAL_SNAPSHOT &&
               wal_snapshot_decode(seen->payload, &seen->record, &meta) == ERR_OK) {
        add_snapshot(group, &meta);
    }
}

static void on_damage(void *context, const struct wal_damage *damage)
{
    struct look *look = context;
    if (!look->damaged) {
        wal_damage_text(damage, &look->damage);
    }
    look->damaged = true;
}

static void on_torn(void *context, const struct wal_torn *torn)
{
    struct look *look = context;
    look->report->torn = torn->certain;
}

static void refuse(struct look *look, raft_group_id group, const char *why)
{
    if (look->refused == 0) {
        look->refused = group;
        look->why = why;
    }
}

static void on_group(void *context, const struct wal_group_seen *found)
{
    struct look *look = context;
    struct recover_report *report = look->report;
    struct seen_group *seen = group_of(look, found->group);
    if (seen == NULL || report->group_count == RECOVER_GROUPS_MAX) {
        look->full = true;
        return;
    }
    if (found->damaged) {
        refuse(look, found->group, "entries that may have been acknowledged are lost on this disk");
    } else if (found->hard.repairing) {
        refuse(look, found->group, "this disk has lost entries before and waits for their repair");
    } else if (seen->config_count == 0 || found->last == 0) {
        refuse(look, found->group, "its log does not say who its members are");
    }
    if (look->refused != 0) {
        return;
    }
    struct recover_group *group = &report->groups[report->group_count++];
    const struct seen_config *config = &seen->configs[seen->config_count - 1];
    bool has_entry = seen->last == found->last;
    raft_index applied = found->group == 1 && look->applied <= found->last ? look->applied : 0;
    *group = (struct recover_group){
        .group = found->group,
        .first = found->first,
        .last = found->last,
        .last_term = has_entry ? seen->last_term : found->snapshot_term,
        .last_time_ms = has_entry ? seen->last_time_ms : 0,
        .term = found->hard.term > seen->last_term ? found->hard.term : seen->last_term,
        .committed = found->snapshot > applied ? found->snapshot : applied,
        .config_index = config->index,
        .config = config->config};
}

static enum err verdict(const struct look *look, struct err_note *note)
{
    if (look->full) {
        return err_note_set(note, ERR_FULL, "the log has more than %d groups", RECOVER_GROUPS_MAX);
    }
    if (look->refused != 0) {
        return err_note_set(note, ERR_CORRUPT, "group %u: %s%s%s", look->refused, look->why,
                            look->damaged ? ": " : "", look->damage.text);
    }
    if (look->damaged) {
        return err_note_set(note, ERR_CORRUPT, "%s", look->damage.text);
    }
    if (look->report->group_count == 0) {
        return err_note_set(note, ERR_NOT_FOUND,
                            "its log is empty: there is nothing to recover on this disk");
    }
    return ERR_OK;
}

enum err recover_look(struct disk *disk, raft_index applied, struct recover_report *ret_report,
                      struct err_note *note)
{
    struct recover_report *report = ret_report;
    *report = (struct recover_report){0};
    enum err err = identity_read(disk, &report->identity, note);
    if (err == ERR_NOT_FOUND) {
        return err_note_set(note, err, "there is no file %s: it is no data directory",
                            IDENTITY_NAME);
    }
    if (err != ERR_OK) {
        return err;
    }
    if (report->identity.cluster_id == 0) {
        return err_note_set(note, ERR_NOT_FOUND, "it never belonged to a cluster");
    }
    struct look *look = mem_alloc(sizeof(*look));
    look->report = report;
    look->applied = applied;
    struct wal_inspector inspector = {.on_record = on_record,
                                      .on_damage = on_damage,
                                      .on_torn = on_torn,
                                      .on_group = on_group,
                                      .context = look};
    struct wal_report log;
    err = wal_inspect(disk, report->identity.storage_id, &inspector, &log, note);
    if (err == ERR_OK) {
        err = verdict(look, note);
    }
    mem_free(look);
    return err;
}

bool recover_is_needed(const struct recover_report *report)
{
    for (uint32_t g = 0; g < report->group_count; g++) {
        const struct raft_config *config = &report->groups[g].config;
        bool alone = config->count == 1 && !config->joint &&
                     config->members[0].role == RAFT_VOTER &&
                     config->members[0].node == report->identity.node_id &&
                     config->members[0].storage_id == report->identity.storage_id;
        if (!alone) {
            return true;
        }
    }
    return false;
}

/* ---- writing --------------------------------------------------------------------------------- */

enum {
    META_GROUP = 1
};

struct writing {
    struct wal *wal;
    uint64_t appended;
    uint64_t durable;
    enum err failed;
    struct err_note why;
};

static void on_durable(void *context, uint64_t wal_seq)
{
    struct writing *writing = context;
    writing->durable = wal_seq;
}

static void on_failed(void *context, enum err err, const struct err_note *note)
{
    struct writing *writing = context;
    writing->failed = err;
    writing->why = *note;
}

/* Behind the group's last entry, in a new term: a configuration of one voter. */
static enum err append_alone(struct writing *writing, struct loop *loop,
                             const struct identity *self, const struct recover_group *group)
{
    struct raft_config config = {
        .count = 1,
        .members = {{.node = self->node_id, .role = RAFT_VOTER, .storage_id = self->storage_id}}};
    struct raft_hard_state hard = {.term = group->term + 1};
    struct buf payload;
    buf_init(&payload, RAFT_CONFIG_BYTES_MAX);
    enum err err = raft_config_encode(&config, &payload);
    if (err == ERR_OK) {
        clk_ms now = loop_wall_ms(loop);
        struct wal_entry entry = {.index = group->last + 1,
                                  .term = hard.term,
                                  .kind = RAFT_ENTRY_CONFIG,
                                  .time_ms = now > group->last_time_ms ? now : group->last_time_ms,
                                  .payload = buf_bytes(&payload)};
        struct wal_write write = {.wal_seq = ++writing->appended,
                                  .group = group->group,
                                  .hard_state = &hard,
                                  .entries = &entry,
                                  .entry_count = 1};
        err = wal_append(writing->wal, loop_now(loop), &write);
    }
    buf_done(&payload);
    return err;
}

/* Turns the loop until all that was appended is on the disk, sealed, and the log idle. */
static enum err settle(struct writing *writing, struct loop *loop)
{
    wal_flush(writing->wal);
    bool sealed = false;
    while (writing->failed == ERR_OK &&
           (writing->durable < writing->appended || !sealed || !wal_idle(writing->wal))) {
        if (writing->durable >= writing->appended && !sealed) {
            wal_seal(writing->wal);
            sealed = true;
            continue;
        }
        loop_turn(loop, CLK_MS(10));
        wal_wake(writing->wal, loop_now(loop));
    }
    return writing->failed;
}

/* No operation of the log may be under way when it is freed. */
static void run_dry(struct writing *writing, struct loop *loop)
{
    while (!wal_idle(writing->wal) && loop_active_count(loop) > 0) {
        loop_turn(loop, CLK_MS(10));
    }
}

static enum err open_log(struct writing *writing, struct disk *disk, uint64_t storage_id,
                         struct err_note *note)
{
    *writing = (struct writing){.failed = ERR_OK};
    struct wal_callbacks callbacks = {
        .on_durable = on_durable, .on_failed = on_failed, .context = writing};
    struct wal_config config = wal_config_default(storage_id);
    enum err err = wal_open(disk, &config, &callbacks, &writing->wal, note);
    if (err == ERR_OK) {
        wal_boot_done(writing->wal);
    }
    return err;
}

/* Writes what was appended, unless err says that something could not be; closes. */
static enum err close_log(struct writing *writing, struct loop *loop, enum err err,
                          struct err_note *note)
{
    if (err == ERR_OK) {
        err = settle(writing, loop);
    }
    run_dry(writing, loop);
    if (err != ERR_OK) {
        err_note_set(note, err, "append to the log: %s",
                     writing->why.text[0] != '\0' ? writing->why.text : err_text(err));
    }
    wal_free(writing->wal);
    return err;
}

static enum err write_log(struct loop *loop, struct disk *disk, const struct recover_report *report,
                          struct err_note *note)
{
    struct writing writing;
    enum err err = open_log(&writing, disk, report->identity.storage_id, note);
    if (err != ERR_OK) {
        return err;
    }
    for (uint32_t i = 0; i < report->group_count && err == ERR_OK; i++) {
        raft_index first = 0;
        raft_index last = 0;
        err = wal_log_range(writing.wal, report->groups[i].group, &first, &last);
        if (err == ERR_OK && last != report->groups[i].last) {
            err = ERR_CONFLICT; /* somebody wrote after the look, without the lock */
        }
        if (err == ERR_OK) {
            err = append_alone(&writing, loop, &report->identity, &report->groups[i]);
        }
    }
    return close_log(&writing, loop, err, note);
}

enum err recover_write(struct loop *loop, struct disk *disk, const struct recover_report *report,
                       uint64_t random, uint64_t *ret_cluster_id, struct err_note *note)
{
    CHECK(report->group_count > 0);
    struct identity identity = report->identity;
    uint64_t id = hash_u64(identity.cluster_id ^ hash_u64(random));
    while (id == 0 || id == identity.cluster_id) {
        id = hash_u64(id + 1);
    }
    enum err err = identity_refound(disk, &identity, id, note);
    if (err == ERR_OK) {
        err = write_log(loop, disk, report, note);
    }
    if (err == ERR_OK) {
        *ret_cluster_id = id;
    }
    return err;
}

/* ---- founding -------------------------------------------------------------------------------- */

enum err recover_is_empty(struct disk *disk, struct err_note *note)
{
    bool log = false;
    struct identity found;
    enum err err = wal_present(disk, &log, note);
    if (err != ERR_OK) {
        return err;
    }
    err = identity_read(disk, &found, note);
    if (log || err != ERR_NOT_FOUND) {
        return err_note_set(note, ERR_EXISTS,
                            "the directory is used already: a backup needs an empty one");
    }
    return ERR_OK;
}

static enum err found_log(struct loop *loop, struct disk *disk, const struct identity *identity,
                          const struct recover_backup *backup, struct err_note *note)
{
    struct writing writing;
    struct wal_config config = wal_config_default(identity->storage_id);
    enum err err = wal_create(disk, &config, note);
    if (err == ERR_OK) {
        err = open_log(&writing, disk, identity->storage_id, note);
    }
    if (err != ERR_OK) {
        return err;
    }
    struct wal_write mark = {
        .wal_seq = ++writing.appended, .group = META_GROUP, .snapshot = &backup->meta};
    struct recover_group group = {.group = META_GROUP,
                                  .last = backup->meta.index,
                                  .last_time_ms = backup->time_ms,
                                  .term = backup->meta.term};
    err = wal_append(writing.wal, loop_now(loop), &mark);
    if (err == ERR_OK) {
        err = append_alone(&writing, loop, identity, &group);
    }
    return close_log(&writing, loop, err, note);
}

enum err recover_found(struct loop *loop, struct disk *disk, const struct recover_backup *backup,
                       const uint64_t random[2], uint64_t *ret_cluster_id, struct err_note *note)
{
    struct identity identity = {.node_id = backup->node,
                                .storage_id = random[0] != 0 ? random[0] : 1};
    struct identity_want want = {.node_id = backup->node,
                                 .new_storage_id = identity.storage_id,
                                 .cluster_id = random[1] != 0 ? random[1] : 1};
    enum err err = recover_is_empty(disk, note);
    if (err == ERR_OK) {
        err = found_log(loop, disk, &identity, backup, note);
    }
    if (err == ERR_OK) {
        /* Last: without it nobody starts from this directory. */
        err = identity_open(disk, &want, false, &identity, note);
    }
    if (err == ERR_OK) {
        *ret_cluster_id = identity.cluster_id;
    }
    return err;
}
