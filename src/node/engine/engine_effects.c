/* Engine: carries out what core/raft asks for, in order.
 *
 * Effects are taken one at a time, because a WAL write may find the WAL full: then it is held,
 * nothing after it is drained, and the core waits (its log entries are in the cache meanwhile). */
#include "check/check.h"
#include "engine/engine_priv.h"
#include "mem/mem.h"

#include <stdio.h>

/* A write that waits for room must not name entries that are gone by now: the effect that truncates
 * comes after it, and writing whatever stands at those places by then would be of a later term than
 * the hard state before it. */
void engine_forget_held(struct engine *engine, const struct engine_group *group,
                        raft_index truncated_from)
{
    struct raft_effect *held = &engine->held;
    if (!engine->has_held || held->group != group->id || held->first == 0) {
        return;
    }
    if (truncated_from <= held->first) {
        /* Its number must still become durable: a cut of nothing takes the place. */
        held->truncate_from = held->truncate_from > 0 ? held->truncate_from : held->first;
        held->first = 0;
    } else if (truncated_from <= held->last) {
        held->last = truncated_from - 1;
    }
}

void engine_log_changed(struct engine *engine, struct engine_group *group,
                        const struct raft_fed *fed, const struct cached_entry *entries)
{
    if (fed->truncated_from > 0) {
        engine_forget_held(engine, group, fed->truncated_from);
        engine_cache_truncate(&group->cache, fed->truncated_from);
    }
    if (fed->first == 0) {
        return;
    }
    CHECK(fed->first == group->cache.last + 1);
    uint64_t before = group->cache.end_bytes;
    for (raft_index index = fed->first; index <= fed->last; index++) {
        struct cached_entry entry = entries[fed->skipped + (index - fed->first)];
        if (entry.term == 0) {
            entry.term = fed->term; /* proposed here; what peers send has its own */
        }
        engine_cache_append(&group->cache, &entry);
        if (entry.time_ms > group->last_time_ms) {
            group->last_time_ms = entry.time_ms;
        }
    }
    group->log_bytes += group->cache.end_bytes - before;
}

static void on_noop(struct engine *engine, struct engine_group *group,
                    const struct raft_effect *effect)
{
    CHECK(effect->index == group->cache.last + 1);
    /* Of entries that came inside a snapshot, or were applied before this start, only the state
     * knows. */
    clk_ms applied = engine->env.applied_time(engine->env.self, group->id);
    if (applied > group->last_time_ms) {
        group->last_time_ms = applied;
    }
    if (engine->wall_ms > group->last_time_ms) {
        group->last_time_ms = engine->wall_ms;
    }
    engine_cache_append(&group->cache, &(struct cached_entry){.term = effect->term,
                                                              .time_ms = group->last_time_ms,
                                                              .kind = RAFT_ENTRY_NOOP});
}

/* The core knows configurations, the cache has what is written of them. */
static void on_config_entry(struct engine *engine, struct engine_group *group,
                            const struct raft_effect *effect)
{
    CHECK(effect->index == group->cache.last + 1);
    if (engine->wall_ms > group->last_time_ms) {
        group->last_time_ms = engine->wall_ms;
    }
    struct buf encoded;
    buf_init(&encoded, RAFT_CONFIG_BYTES_MAX);
    enum err err = raft_config_encode(effect->config, &encoded);
    CHECK(err == ERR_OK);
    uint64_t before = group->cache.end_bytes;
    engine_cache_append(&group->cache, &(struct cached_entry){.term = effect->term,
                                                              .time_ms = group->last_time_ms,
                                                              .payload = encoded.data,
                                                              .size = (uint32_t)encoded.len,
                                                              .kind = RAFT_ENTRY_CONFIG});
    group->log_bytes += group->cache.end_bytes - before;
    buf_done(&encoded);
}

/* ---- WAL ------------------------------------------------------------------------------------- */

static struct wal_entry *scratch_for(struct engine *engine, size_t count)
{
    if (count > engine->scratch_size) {
        engine->scratch = mem_resize(engine->scratch, count * 2 * sizeof(*engine->scratch));
        engine->scratch_size = count * 2;
    }
    return engine->scratch;
}

static enum err write_wal(struct engine *engine, struct engine_group *group,
                          const struct raft_effect *effect)
{
    struct wal_write write = {
        .wal_seq = effect->wal_seq,
        .group = effect->group,
        .hard_state = effect->has_hard_state ? &effect->hard_state : NULL,
        .truncate_from = effect->truncate_from,
        .snapshot = effect->has_snapshot ? effect->snapshot : NULL,
    };
    if (effect->first > 0) {
        write.entry_count = effect->last - effect->first + 1;
        struct wal_entry *entries = scratch_for(engine, write.entry_count);
        for (size_t i = 0; i < write.entry_count; i++) {
            const struct cached_entry *entry = engine_cache_at(&group->cache, effect->first + i);
            CHECK(entry != NULL);
            entries[i] = (struct wal_entry){.index = effect->first + i,
                                            .term = entry->term,
                                            .kind = entry->kind,
                                            .time_ms = entry->time_ms,
                                            .payload = bytes_of(entry->payload, entry->size)};
        }
        write.entries = entries;
    }
    return wal_append(engine->wal, engine->now, &write);
}

/* False: the WAL is full, the effect is held. */
static bool on_wal(struct engine *engine, struct engine_group *group,
                   const struct raft_effect *effect)
{
    enum err err = write_wal(engine, group, effect);
    if (err == ERR_OK) {
        engine->has_held = false;
        engine->written = effect->wal_seq;
        return true;
    }
    if (err != ERR_FULL) {
        engine_fail(engine, err, "the write-ahead log refused a write");
        return false;
    }
    if (!engine->has_held) {
        engine->held = *effect;
        if (effect->has_snapshot) {
            engine->held_snapshot = *effect->snapshot;
            engine->held.snapshot = &engine->held_snapshot;
        }
        engine->has_held = true;
    }
    return false;
}

/* ---- apply ----------------------------------------------------------------------------------- */

static void on_apply(struct engine *engine, struct engine_group *group, raft_index first,
                     raft_index last)
{
    if (first <= group->handed) {
        first = group->handed + 1;
    }
    while (first <= last) {
        size_t count = 0;
        while (count < APPLY_BATCH_MAX && first <= last) {
            const struct cached_entry *entry = engine_cache_at(&group->cache, first);
            CHECK(entry != NULL);
            struct engine_entry *out = &engine->apply_batch[count++];
            *out = (struct engine_entry){.index = first,
                                         .term = entry->term,
                                         .time_ms = entry->time_ms,
                                         .kind = entry->kind,
                                         .payload = bytes_of(entry->payload, entry->size)};
            if (entry->kind == RAFT_ENTRY_COMMAND) {
                out->tag = engine_stream_committed(engine, group, out->payload);
            }
            group->handed = first++;
        }
        engine->env.apply(engine->env.self, group->id, engine->apply_batch, count);
    }
}

bool engine_is_busy(const struct engine *engine, const struct engine_group *group)
{
    uint64_t unapplied = engine_cache_bytes_after(&group->cache, group->applied);
    uint64_t unknown = engine_cache_bytes_after(&group->cache, group->handed);
    return unapplied > unknown + engine->cfg.unapplied_bytes_max;
}

static void on_role(struct engine *engine, struct engine_group *group)
{
    /* Whoever leads now knows by itself what it has of our proposals: ask, and begin with the
     * oldest. */
    group->stream.target = 0;
    engine->env.role_changed(engine->env.self, group->id);
}

/* False: stop draining. */
static bool carry_out(struct engine *engine, const struct raft_effect *effect)
{
    struct engine_group *group = engine_group_of(engine, effect->group);
    CHECK(group != NULL);
    struct engine_env *env = &engine->env;
    switch (effect->kind) {
    case RAFT_FX_WAL:
        return on_wal(engine, group, effect);
    case RAFT_FX_NOOP:
        on_noop(engine, group, effect);
        break;
    case RAFT_FX_CONFIG_ENTRY:
        on_config_entry(engine, group, effect);
        break;
    case RAFT_FX_SEND:
        engine_send_msg(engine, effect);
        break;
    case RAFT_FX_APPLY:
        on_apply(engine, group, effect->first, effect->last);
        break;
    case RAFT_FX_READ_OK:
        env->read_done(env->self, effect->tag, ERR_OK, effect->index);
        break;
    case RAFT_FX_READ_FAIL:
        env->read_done(env->self, effect->tag, ERR_NO_LEADER, 0);
        break;
    case RAFT_FX_SNAP_WANT:
        env->snapshot_send(env->self, group->id, effect->node, effect->index);
        break;
    case RAFT_FX_SNAP_INSTALL:
        group->installing = effect->snapshot->index;
        env->snapshot_install(env->self, group->id, effect->snapshot);
        break;
    case RAFT_FX_ROLE:
        on_role(engine, group);
        break;
    case RAFT_FX_CONFIG:
        break;
    }
    return !engine->failed;
}

void engine_effects_run(struct engine *engine)
{
    if (engine->has_held) {
        struct raft_effect held = engine->held;
        if (!carry_out(engine, &held)) {
            return;
        }
    }
    struct raft_effect effect;
    while (raft_drain(engine->raft, engine->now, &effect, 1) == 1) {
        if (!carry_out(engine, &effect)) {
            return;
        }
    }
}
