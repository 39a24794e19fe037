/* The groups of the log: their state in memory, what they still need, what they boot with. */
#include "check/check.h"
#include "mem/mem.h"
#include "wal/wal_priv.h"

static size_t group_position(const struct wal *wal, raft_group_id id)
{
    size_t low = 0;
    size_t high = wal->group_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (wal->groups[middle]->id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct wal_group *wal_group_find(const struct wal *wal, raft_group_id id)
{
    if (wal->group_last != NULL && wal->group_last->id == id) {
        return wal->group_last;
    }
    size_t at = group_position(wal, id);
    return at < wal->group_count && wal->groups[at]->id == id ? wal->groups[at] : NULL;
}

struct wal_group *wal_group_get(struct wal *wal, raft_group_id id)
{
    CHECK(id != 0);
    struct wal_group *group = wal_group_find(wal, id);
    if (group == NULL) {
        if (wal->group_count == wal->config.groups_max) {
            return NULL;
        }
        size_t at = group_position(wal, id);
        group = mem_alloc(sizeof(*group));
        group->id = id;
        wal_log_reset(&group->log, 0, 0);
        memmove(wal->groups + at + 1, wal->groups + at,
                (wal->group_count - at) * sizeof(*wal->groups));
        wal->groups[at] = group;
        wal->group_count++;
    }
    wal->group_last = group;
    return group;
}

void wal_groups_free(struct wal *wal)
{
    for (size_t i = 0; i < wal->group_count; i++) {
        struct wal_group *group = wal->groups[i];
        wal_log_done(&group->log);
        mem_free(group->configs);
        mem_free(group->boot_runs);
        mem_free(group);
    }
    mem_free(wal->groups);
}

struct wal_group_state wal_group_state(const struct wal_group *group)
{
    return (struct wal_group_state){.group = group->id,
                                    .hard = group->hard,
                                    .last_sequence = group->last_sequence,
                                    .last = group->log.last,
                                    .last_term = wal_log_term(&group->log, group->log.last),
                                    .snapshot = group->snapshot};
}

/* ---- marks that count when they are durable -------------------------------------------------- */

static void hold(struct wal *wal, struct wal_group *group, raft_index from, uint64_t sequence)
{
    const struct wal_point *point = wal_log_find(&group->log, from);
    if (point == NULL && group->log.point_count > 0) {
        point = &group->log.points[0];
    }
    if (point == NULL) {
        return;
    }
    if (group->hold_sequence == 0 || point->segment < group->hold_segment) {
        group->hold_segment = point->segment;
    }
    wal->marks_pending += group->hold_sequence == 0 ? 1 : 0;
    group->hold_sequence = sequence;
}

void wal_group_truncate(struct wal *wal, struct wal_group *group, raft_index from,
                        uint64_t sequence)
{
    CHECK(from > 0);
    if (from <= group->log.last) {
        hold(wal, group, from, sequence);
        wal_log_truncate(&group->log, from);
    }
}

void wal_group_snapshot(struct wal *wal, struct wal_group *group,
                        const struct raft_snapshot_meta *meta, bool replaced, uint64_t sequence)
{
    CHECK(meta->index > 0);
    if (replaced) {
        hold(wal, group, group->snapshot_durable + 1, sequence);
        wal_log_reset(&group->log, meta->index, meta->term);
    }
    wal->marks_pending += group->snapshot_sequence == 0 ? 1 : 0;
    group->snapshot = *meta;
    group->snapshot_sequence = sequence;
}

void wal_groups_durable(struct wal *wal)
{
    for (size_t i = 0; wal->marks_pending > 0 && i < wal->group_count; i++) {
        struct wal_group *group = wal->groups[i];
        if (group->snapshot_sequence != 0 && group->snapshot_sequence <= wal->durable_sequence) {
            group->snapshot_durable = group->snapshot.index;
            group->snapshot_sequence = 0;
            wal->marks_pending--;
        }
        if (group->hold_sequence != 0 && group->hold_sequence <= wal->durable_sequence) {
            group->hold_sequence = 0;
            wal->marks_pending--;
        }
    }
}

/* ---- what is needed -------------------------------------------------------------------------- */

static uint32_t group_first_needed(const struct wal_group *group, uint32_t otherwise)
{
    uint32_t first = otherwise;
    if (group->hold_sequence != 0 && group->hold_segment < first) {
        first = group->hold_segment;
    }
    raft_index floor =
        group->released < group->snapshot_durable ? group->released : group->snapshot_durable;
    if (floor >= group->log.last) {
        return first;
    }
    raft_index needed = floor + 1 > group->log.first ? floor + 1 : group->log.first;
    const struct wal_point *point = wal_log_find(&group->log, needed);
    return point != NULL && point->segment < first ? point->segment : first;
}

uint32_t wal_first_needed(const struct wal *wal, raft_group_id *ret_group)
{
    uint32_t first = wal->head_segment;
    *ret_group = 0;
    for (size_t i = 0; i < wal->group_count; i++) {
        uint32_t needed = group_first_needed(wal->groups[i], first);
        if (needed < first) {
            first = needed;
            *ret_group = wal->groups[i]->id;
        }
    }
    return first;
}

void wal_release(struct wal *wal, raft_group_id id, raft_index index)
{
    struct wal_group *group = wal_group_find(wal, id);
    if (group != NULL && index > group->released) {
        group->released = index;
        wal_tidy(wal);
    }
}

raft_group_id wal_pinned(const struct wal *wal, size_t *ret_segments)
{
    raft_group_id group = 0;
    uint32_t first = wal_first_needed(wal, &group);
    size_t used = 0;
    for (size_t i = 0; i < wal->segment_count; i++) {
        uint32_t number = wal->segments[i]->number;
        used += number >= first && number <= wal->tail_segment ? 1 : 0;
    }
    *ret_segments = used;
    return group;
}

enum err wal_log_range(const struct wal *wal, raft_group_id id, raft_index *ret_first,
                       raft_index *ret_last)
{
    const struct wal_group *group = wal_group_find(wal, id);
    if (group == NULL) {
        return ERR_NOT_FOUND;
    }
    *ret_first = group->log.first;
    *ret_last = group->log.last;
    return ERR_OK;
}

raft_index wal_snapshot_durable(const struct wal *wal, raft_group_id id)
{
    const struct wal_group *group = wal_group_find(wal, id);
    return group == NULL ? 0 : group->snapshot_durable;
}

/* ---- after recovery -------------------------------------------------------------------------- */

/* Holes that the snapshot covers do no harm: the log begins after them. */
static void forget_covered_holes(struct wal_group *group)
{
    raft_index end = 0;
    raft_index hole = wal_log_first_hole(&group->log, 0, &end);
    while (hole != 0 && end <= group->snapshot.index + 1) {
        wal_log_advance(&group->log, end);
        hole = wal_log_first_hole(&group->log, 0, &end);
    }
}

static void settle_log(struct wal_group *group)
{
    struct wal_log *log = &group->log;
    raft_index covered = group->snapshot.index;
    bool damaged = group->suspect || group->hard_lost || group->log_lost;
    if (log->last < covered) {
        wal_log_reset(log, covered, group->snapshot.term);
    }
    forget_covered_holes(group);
    raft_index end = 0;
    raft_index hole = wal_log_first_hole(log, covered + 1, &end);
    if (log->first > covered + 1) {
        damaged = true;
        wal_log_reset(log, covered, group->snapshot.term);
    } else if (hole != 0) {
        damaged = true;
        wal_log_truncate(log, hole);
        if (wal_log_first_hole(log, 0, &end) != 0) {
            wal_log_reset(log, covered, group->snapshot.term);
        }
    }
    if (damaged) {
        group->verdict = RAFT_BOOT_DAMAGED;
        group->hard.repairing = true;
    }
}

static void settle_boot(struct wal_group *group)
{
    const struct wal_log *log = &group->log;
    raft_index after = group->snapshot.index;
    group->boot_runs = mem_alloc_array(log->run_count + 1, sizeof(*group->boot_runs));
    for (size_t i = 0; i < log->run_count; i++) {
        raft_index end = i + 1 < log->run_count ? log->runs[i + 1].first : log->last + 1;
        if (end > after + 1) {
            struct raft_term_run run = log->runs[i];
            run.first = run.first > after ? run.first : after + 1;
            group->boot_runs[group->boot_run_count++] = run;
        }
    }
    size_t from = 0;
    while (from < group->config_count && group->configs[from].index <= after) {
        from++;
    }
    group->boot_config_from = from;
    while (group->config_count > from &&
           group->configs[group->config_count - 1].index > log->last) {
        group->config_count--;
    }
}

void wal_groups_settle(struct wal *wal)
{
    for (size_t i = 0; i < wal->group_count; i++) {
        struct wal_group *group = wal->groups[i];
        settle_log(group);
        settle_boot(group);
        group->snapshot_durable = group->snapshot.index;
        group->released = group->snapshot.index;
        group->snapshot_sequence = 0;
        group->hold_sequence = 0;
    }
    wal->marks_pending = 0;
}

size_t wal_group_count(const struct wal *wal)
{
    return wal->group_count;
}

raft_group_id wal_group_at(const struct wal *wal, size_t position)
{
    CHECK(position < wal->group_count);
    return wal->groups[position]->id;
}

void wal_boot(const struct wal *wal, raft_group_id id, struct raft_boot *ret_boot)
{
    const struct wal_group *group = wal_group_find(wal, id);
    if (group == NULL) {
        bool lost = wal->unknown_loss;
        *ret_boot = (struct raft_boot){.group = id,
                                       .verdict = lost ? RAFT_BOOT_DAMAGED : RAFT_BOOT_CLEAN,
                                       .hard_state = {.repairing = lost}};
        return;
    }
    size_t from = group->boot_config_from;
    *ret_boot = (struct raft_boot){
        .group = id,
        .verdict = group->verdict,
        .hard_state = group->hard,
        .snapshot = group->snapshot,
        .last_index = group->log.last,
        .runs = group->boot_runs,
        .run_count = group->boot_run_count,
        .configs = group->configs == NULL ? NULL : group->configs + from,
        .config_count = group->config_count > from ? group->config_count - from : 0,
    };
}

void wal_boot_done(struct wal *wal)
{
    for (size_t i = 0; i < wal->group_count; i++) {
        struct wal_group *group = wal->groups[i];
        mem_free(group->configs);
        mem_free(group->boot_runs);
        group->configs = NULL;
        group->boot_runs = NULL;
        group->config_count = 0;
        group->boot_run_count = 0;
        group->boot_config_from = 0;
    }
}
