/* The rig and its model; see wal_rig.h. */
#include "wal_rig.h"

#include "test.h"

#include "check/check.h"
#include "mem/mem.h"

#include <stdio.h>
#include <string.h>

#define RIG_STORAGE_ID 0x5eed5eed5eed5eedu

/* ---- payloads
 * --------------------------------------------------------------------------------- */

struct raft_config rig_config(uint32_t salt)
{
    struct raft_config config = {.count = 1 + salt % 3, .joint = salt % 2 == 1};
    for (uint32_t i = 0; i < config.count; i++) {
        config.members[i] =
            (struct raft_member){.node = i + 1, .role = RAFT_VOTER, .storage_id = salt + i + 1};
        config.members[i].role_old = config.joint ? RAFT_VOTER : RAFT_NOT_A_MEMBER;
    }
    return config;
}

static bool same_config(const struct raft_config *a, const struct raft_config *b)
{
    bool same = a->count == b->count && a->joint == b->joint;
    for (uint32_t i = 0; same && i < a->count; i++) {
        const struct raft_member *x = &a->members[i];
        const struct raft_member *y = &b->members[i];
        same = x->node == y->node && x->storage_id == y->storage_id && x->role == y->role &&
               x->role_old == y->role_old;
    }
    return same;
}

static uint32_t config_size(uint32_t salt)
{
    struct raft_config config = rig_config(salt);
    struct buf buf;
    buf_init(&buf, RAFT_CONFIG_BYTES_MAX);
    assert_int_equal(raft_config_encode(&config, &buf), ERR_OK);
    uint32_t size = (uint32_t)buf.len;
    buf_done(&buf);
    return size;
}

void rig_payload(raft_group_id group, raft_index index, const struct rig_entry *entry,
                 uint8_t *dest)
{
    if (entry->kind == RAFT_ENTRY_CONFIG) {
        struct raft_config config = rig_config(entry->salt);
        struct buf buf;
        buf_init(&buf, RAFT_CONFIG_BYTES_MAX);
        assert_int_equal(raft_config_encode(&config, &buf), ERR_OK);
        memcpy(dest, buf.data, buf.len);
        buf_done(&buf);
        return;
    }
    struct rnd rnd;
    rnd_init(&rnd, (uint64_t)group << 48 ^ index << 24 ^ entry->salt);
    for (uint32_t i = 0; i < entry->size; i++) {
        dest[i] = (uint8_t)(rnd_u64(&rnd) >> 13);
    }
}

/* ---- the model
 * -------------------------------------------------------------------------------- */

static void model_apply(struct rig_group *group, const struct rig_op *op)
{
    switch (op->kind) {
    case RIG_HARD_STATE:
        group->hard = op->hard;
        break;
    case RIG_TRUNCATE:
        group->last = op->index - 1 < group->last ? op->index - 1 : group->last;
        break;
    case RIG_ENTRY:
        CHECK(op->index == group->last + 1 && op->index < RIG_ENTRIES_MAX);
        group->last = op->index;
        group->entries[op->index] = (struct rig_entry){
            .term = op->term, .size = op->size, .salt = op->salt, .kind = op->entry_kind};
        break;
    case RIG_REPLACE:
        group->last = op->index;
        group->snapshot = op->index;
        group->snapshot_term = op->term;
        break;
    case RIG_COMPACT:
        group->snapshot = op->index;
        group->snapshot_term = op->term;
        break;
    }
}

static void note_op(struct wal_rig *rig, struct rig_op op)
{
    CHECK(rig->op_count < RIG_OPS_MAX);
    rig->ops[rig->op_count++] = op;
    model_apply(&rig->groups[op.group], &op);
}

static void note_end(struct wal_rig *rig)
{
    rig->ops[rig->op_count - 1].wal_seq = rig->wal_seq;
}

/* ---- life
 * ------------------------------------------------------------------------------------- */

static void on_durable(void *context, uint64_t wal_seq)
{
    struct wal_rig *rig = context;
    assert_true(wal_seq > rig->durable_seq);
    rig->durable_seq = wal_seq;
    while (rig->acked < rig->op_count) {
        /* Up to the end of the write with this number. */
        size_t end = rig->acked;
        while (end < rig->op_count && rig->ops[end].wal_seq == 0) {
            end++;
        }
        if (end == rig->op_count || rig->ops[end].wal_seq > wal_seq) {
            break;
        }
        rig->acked = end + 1;
    }
}

static void on_failed(void *context, enum err err, const struct err_note *note)
{
    struct wal_rig *rig = context;
    assert_int_equal(rig->failed, ERR_OK);
    rig->failed = err;
    rig->failed_note = *note;
}

static void on_space(void *context, bool low, const struct err_note *note)
{
    struct wal_rig *rig = context;
    assert_true(strlen(note->text) > 0);
    rig->space_reports += low ? 1 : -1;
}

void rig_open(struct wal_rig *rig)
{
    struct wal_callbacks callbacks = {
        .on_durable = on_durable, .on_failed = on_failed, .on_space = on_space, .context = rig};
    struct err_note note = {""};
    rig->failed = ERR_OK;
    rig->wal_seq = 0;
    rig->durable_seq = 0;
    enum err err = wal_open(mem_disk_base(rig->disk), &rig->config, &callbacks, &rig->wal, &note);
    if (err != ERR_OK) {
        fail_msg("open: %s: %s", err_name(err), note.text);
    }
}

void rig_close(struct wal_rig *rig)
{
    wal_free(rig->wal);
    rig->wal = NULL;
}

struct wal_rig *rig_new(uint64_t seed, uint32_t segment_bytes)
{
    struct wal_rig *rig = mem_alloc(sizeof(*rig));
    rig->disk = mem_disk_new(seed);
    rnd_init(&rig->rnd, seed);
    rig->config = wal_config_default(RIG_STORAGE_ID);
    rig->config.segment_bytes = segment_bytes;
    rig->config.groups_max = RIG_GROUPS + 1;
    rig->config.record_bytes_max = segment_bytes / 2;
    rig->config.batch_bytes = segment_bytes / 4;
    rig->config.pending_bytes_max = segment_bytes * 8;
    rig->ops = mem_alloc_array(RIG_OPS_MAX, sizeof(*rig->ops));
    rig->groups = mem_alloc_array(RIG_GROUPS + 1, sizeof(*rig->groups));
    struct err_note note = {""};
    assert_int_equal(wal_create(mem_disk_base(rig->disk), &rig->config, &note), ERR_OK);
    rig_open(rig);
    return rig;
}

void rig_free(struct wal_rig *rig)
{
    wal_free(rig->wal);
    mem_disk_free(rig->disk);
    mem_free(rig->ops);
    mem_free(rig->groups);
    mem_free(rig);
}

/* ---- writing
 * ---------------------------------------------------------------------------------- */

static void append(struct wal_rig *rig, struct wal_write *write)
{
    write->wal_seq = ++rig->wal_seq;
    enum err err = wal_append(rig->wal, rig->now, write);
    while (err == ERR_FULL) {
        wal_flush(rig->wal);
        assert_true(mem_disk_step(rig->disk));
        err = wal_append(rig->wal, rig->now, write);
    }
    assert_int_equal(err, rig->failed == ERR_OK ? ERR_OK : ERR_POISONED);
    note_end(rig);
}

void rig_hard_state(struct wal_rig *rig, raft_group_id group, raft_term term, raft_node_id vote)
{
    struct raft_hard_state hard = {.term = term, .vote = vote};
    note_op(rig, (struct rig_op){.kind = RIG_HARD_STATE, .group = group, .hard = hard});
    append(rig, &(struct wal_write){.group = group, .hard_state = &hard});
}

/* Makes `count` entries and notes them; the payloads are owned by the entries. */
static struct wal_entry *make_entries(struct wal_rig *rig, raft_group_id group, size_t count,
                                      uint32_t size, raft_term term)
{
    struct wal_entry *entries = mem_alloc_array(count, sizeof(*entries));
    for (size_t i = 0; i < count; i++) {
        uint32_t salt = (uint32_t)rnd_u64(&rig->rnd);
        bool config = rnd_chance_ppm(&rig->rnd, 50000);
        struct rig_entry entry = {.term = term,
                                  .size = config ? config_size(salt) : size,
                                  .salt = salt,
                                  .kind = config      ? RAFT_ENTRY_CONFIG
                                          : size == 0 ? RAFT_ENTRY_NOOP
                                                      : RAFT_ENTRY_COMMAND};
        raft_index index = rig->groups[group].last + 1;
        uint8_t *payload = mem_alloc(entry.size + 1);
        rig_payload(group, index, &entry, payload);
        entries[i] = (struct wal_entry){.index = index,
                                        .term = term,
                                        .kind = entry.kind,
                                        .time_ms = index * 1000 + salt % 1000,
                                        .payload = bytes_of(payload, entry.size)};
        note_op(rig, (struct rig_op){.kind = RIG_ENTRY,
                                     .group = group,
                                     .index = index,
                                     .term = term,
                                     .size = entry.size,
                                     .salt = salt,
                                     .entry_kind = entry.kind});
    }
    return entries;
}

static void free_entries(struct wal_entry *entries, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        union {
            const uint8_t *borrowed;
            uint8_t *owned;
        } payload = {entries[i].payload.data};

        mem_free(payload.owned);
    }
    mem_free(entries);
}

void rig_entries(struct wal_rig *rig, raft_group_id group, size_t count, uint32_t size,
                 raft_term term)
{
    struct wal_entry *entries = make_entries(rig, group, count, size, term);
    append(rig, &(struct wal_write){.group = group, .entries = entries, .entry_count = count});
    free_entries(entries, count);
}

void rig_overwrite(struct wal_rig *rig, raft_group_id group, raft_index from, size_t count,
                   raft_term term)
{
    note_op(rig, (struct rig_op){.kind = RIG_TRUNCATE, .group = group, .index = from});
    struct wal_entry *entries = make_entries(rig, group, count, 40, term);
    append(rig,
           &(struct wal_write){
               .group = group, .truncate_from = from, .entries = entries, .entry_count = count});
    free_entries(entries, count);
}

static struct raft_snapshot_meta meta_of(raft_index index, raft_term term)
{
    return (struct raft_snapshot_meta){
        .index = index, .term = term, .config_index = 1, .config = rig_config((uint32_t)index)};
}

void rig_replace(struct wal_rig *rig, raft_group_id group, raft_index index, raft_term term)
{
    struct raft_snapshot_meta meta = meta_of(index, term);
    note_op(rig,
            (struct rig_op){.kind = RIG_REPLACE, .group = group, .index = index, .term = term});
    append(rig, &(struct wal_write){.group = group, .snapshot = &meta});
    if (!rig->keep) {
        wal_release(rig->wal, group, index);
    }
}

void rig_compact(struct wal_rig *rig, raft_group_id group, raft_index index)
{
    struct rig_group *model = &rig->groups[group];
    raft_term term = index == model->snapshot ? model->snapshot_term : model->entries[index].term;
    struct raft_snapshot_meta meta = meta_of(index, term);
    note_op(rig,
            (struct rig_op){.kind = RIG_COMPACT, .group = group, .index = index, .term = term});
    enum err err = wal_compact(rig->wal, rig->now, group, &meta);
    assert_int_equal(err, rig->failed == ERR_OK ? ERR_OK : ERR_POISONED);
    if (!rig->keep) {
        wal_release(rig->wal, group, index);
    }
}

void rig_random(struct wal_rig *rig)
{
    raft_group_id group = (raft_group_id)rnd_range(&rig->rnd, 1, RIG_GROUPS);
    struct rig_group *model = &rig->groups[group];
    raft_term term = model->hard.term == 0 ? 1 : model->hard.term;
    raft_term last_term = model->last == 0                 ? 0
                          : model->last == model->snapshot ? model->snapshot_term
                                                           : model->entries[model->last].term;
    term = term < last_term ? last_term : term;
    uint64_t what = rnd_below(&rig->rnd, 100);
    if (what < 15) {
        rig_hard_state(rig, group, term + rnd_below(&rig->rnd, 2),
                       (raft_node_id)rnd_below(&rig->rnd, 4));
    } else if (what < 25 && model->last > model->snapshot) {
        raft_index from = rnd_range(&rig->rnd, model->snapshot + 1, model->last);
        rig_overwrite(rig, group, from, rnd_below(&rig->rnd, 4) + 1, term + 1);
    } else if (what < 28) {
        rig_replace(rig, group, model->last + rnd_range(&rig->rnd, 1, 20), term);
    } else if (what < 38 && model->last > model->snapshot) {
        rig_compact(rig, group, rnd_range(&rig->rnd, model->snapshot + 1, model->last));
    } else {
        uint32_t size = (uint32_t)rnd_below(
            &rig->rnd, rnd_chance_ppm(&rig->rnd, 100000) ? rig->config.record_bytes_max / 2 : 300);
        rig_entries(rig, group, rnd_range(&rig->rnd, 1, 6), size, term);
    }
}

void rig_settle(struct wal_rig *rig)
{
    wal_flush(rig->wal);
    assert_true(mem_disk_drain(rig->disk, 100000));
    assert_true(rig->failed != ERR_OK || wal_idle(rig->wal));
}

void rig_seal(struct wal_rig *rig)
{
    rig_settle(rig);
    rig->now += CLK_MS(10);
    mem_disk_advance(rig->disk, rig->now);
    assert_true(rig->failed != ERR_OK || wal_deadline(rig->wal) <= rig->now);
    wal_wake(rig->wal, rig->now);
    rig_settle(rig);
}

/* ---- checking
 * --------------------------------------------------------------------------------- */

struct replayed {
    struct wal_rig *rig;
    const struct rig_group *model;
    raft_group_id group;
    raft_index next;
    struct err_note *why;
};

static enum err differs(struct err_note *why, raft_group_id group, const char *what, uint64_t want,
                        uint64_t got)
{
    return err_note_set(why, ERR_CONFLICT, "group %u: %s is %llu, not %llu", group, what,
                        (unsigned long long)got, (unsigned long long)want);
}

static enum err compare_entry(void *context, const struct wal_entry *entry)
{
    struct replayed *replayed = context;
    const struct rig_entry *want = &replayed->model->entries[replayed->next];
    raft_group_id group = replayed->group;
    if (entry->index != replayed->next) {
        return differs(replayed->why, group, "index", replayed->next, entry->index);
    }
    if (entry->term != want->term || entry->kind != want->kind ||
        entry->payload.len != want->size ||
        entry->time_ms != entry->index * 1000 + want->salt % 1000) {
        return differs(replayed->why, group, "entry", replayed->next, entry->term);
    }
    uint8_t *payload = mem_alloc(want->size + 1);
    rig_payload(group, entry->index, want, payload);
    bool same = bytes_eq(entry->payload, bytes_of(payload, want->size));
    mem_free(payload);
    replayed->next++;
    return same ? ERR_OK : differs(replayed->why, group, "payload of", entry->index, 0);
}

static enum err compare_configs(const struct raft_boot *boot, const struct rig_group *model,
                                struct err_note *why)
{
    size_t seen = 0;
    for (raft_index i = model->snapshot + 1; i <= model->last; i++) {
        if (model->entries[i].kind != RAFT_ENTRY_CONFIG) {
            continue;
        }
        struct raft_config want = rig_config(model->entries[i].salt);
        if (seen == boot->config_count || boot->configs[seen].index != i ||
            !same_config(&boot->configs[seen].config, &want)) {
            return differs(why, boot->group, "configuration", i, seen);
        }
        seen++;
    }
    return seen == boot->config_count
               ? ERR_OK
               : differs(why, boot->group, "count of configurations", seen, boot->config_count);
}

static enum err compare_runs(const struct raft_boot *boot, const struct rig_group *model,
                             struct err_note *why)
{
    size_t run = 0;
    for (raft_index i = model->snapshot + 1; i <= model->last; i++) {
        while (run + 1 < boot->run_count && boot->runs[run + 1].first <= i) {
            run++;
        }
        if (boot->run_count == 0 || boot->runs[run].first > i ||
            boot->runs[run].term != model->entries[i].term) {
            return differs(why, boot->group, "term at", i, boot->run_count);
        }
    }
    return ERR_OK;
}

static enum err compare_group(struct wal_rig *rig, struct wal *wal, raft_group_id id,
                              const struct rig_group *model, struct err_note *why)
{
    struct raft_boot boot;
    wal_boot(wal, id, &boot);
    if (boot.verdict != RAFT_BOOT_CLEAN || boot.hard_state.repairing) {
        return differs(why, id, "verdict", RAFT_BOOT_CLEAN, (uint64_t)boot.verdict);
    }
    if (boot.hard_state.term != model->hard.term || boot.hard_state.vote != model->hard.vote) {
        return differs(why, id, "term", model->hard.term, boot.hard_state.term);
    }
    if (boot.snapshot.index != model->snapshot || boot.snapshot.term != model->snapshot_term) {
        return differs(why, id, "snapshot", model->snapshot, boot.snapshot.index);
    }
    struct raft_config config = rig_config((uint32_t)model->snapshot);
    if (model->snapshot > 0 && !same_config(&boot.snapshot.config, &config)) {
        return differs(why, id, "configuration of the snapshot", model->snapshot, 0);
    }
    if (boot.last_index != model->last) {
        return differs(why, id, "last index", model->last, boot.last_index);
    }
    enum err err = compare_runs(&boot, model, why);
    if (err == ERR_OK) {
        err = compare_configs(&boot, model, why);
    }
    if (err == ERR_OK && model->last > model->snapshot) {
        struct replayed replayed = {rig, model, id, model->snapshot + 1, why};
        struct wal_replay replay = {.group = id,
                                    .first = model->snapshot + 1,
                                    .last = model->last,
                                    .each = compare_entry,
                                    .context = &replayed};
        err = wal_replay(wal, &replay, why);
    }
    return err;
}

bool rig_matches(struct wal_rig *rig, struct wal *wal, size_t ops, struct err_note *why)
{
    struct rig_group *groups = mem_alloc_array(RIG_GROUPS + 1, sizeof(*groups));
    for (size_t i = 0; i < ops; i++) {
        model_apply(&groups[rig->ops[i].group], &rig->ops[i]);
    }
    enum err err = ERR_OK;
    for (raft_group_id id = 1; err == ERR_OK && id <= RIG_GROUPS; id++) {
        err = compare_group(rig, wal, id, &groups[id], why);
    }
    mem_free(groups);
    return err == ERR_OK;
}

size_t rig_check_crash(struct wal_rig *rig, struct mem_disk *disk)
{
    struct wal *wal = NULL;
    struct err_note note = {""};
    struct wal_callbacks none = {0};
    enum err err = wal_open(mem_disk_base(disk), &rig->config, &none, &wal, &note);
    if (err != ERR_OK) {
        fail_msg("open after a crash: %s: %s", err_name(err), note.text);
    }
    struct err_note why = {""};
    size_t ops = rig->acked;
    while (ops <= rig->op_count && !rig_matches(rig, wal, ops, &why)) {
        ops++;
    }
    if (ops > rig->op_count) {
        (void)rig_matches(rig, wal, rig->acked, &why);
        if (wal_recovery(wal)->damage_count > 0) {
            wal_damage_text(&wal_recovery(wal)->damages[0], &note);
        }
        fail_msg("no prefix of %zu..%zu operations matches: %s; %s", rig->acked, rig->op_count,
                 why.text, note.text);
    }
    wal_free(wal);
    return ops;
}

void rig_rewind(struct wal_rig *rig, size_t ops)
{
    memset(rig->groups, 0, (RIG_GROUPS + 1) * sizeof(*rig->groups));
    for (size_t i = 0; i < ops; i++) {
        model_apply(&rig->groups[rig->ops[i].group], &rig->ops[i]);
        rig->ops[i].wal_seq = 0;
    }
    rig->op_count = ops;
    rig->acked = ops;
}
