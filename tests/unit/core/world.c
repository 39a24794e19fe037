/* A strong map in memory with its machine, for the tests of the state machines. */
#include "world.h"

static void record_change(struct apply_sink *self, const struct apply_change *change)
{
    struct world *w = (struct world *)(void *)self;
    assert_true(change->index == w->index);
    if (w->change_count == WORLD_CHANGES_MAX) {
        return;
    }
    struct world_change *seen = &w->changes[w->change_count++];
    seen->table = change->table;
    seen->deleted = change->deleted;
    seen->index = change->index;
    seen->key_len = change->key.len < WORLD_KEY_MAX ? change->key.len : WORLD_KEY_MAX;
    memcpy(seen->key, change->key.data, seen->key_len);
}

struct world *world_new(void)
{
    struct world *w = test_calloc(1, sizeof(*w));
    w->sink.change = record_change;
    w->mem = table_mem_new();
    table_txn_init(&w->txn, table_mem_backend(), w->mem, WORLD_GROUP, false);
    machine_init(&w->machine);
    w->time_ms = 1000000;
    buf_init(&w->body, MACHINE_COMMAND_MAX);
    buf_init(&w->command, MACHINE_COMMAND_MAX + 1024);
    return w;
}

void world_free(struct world *w)
{
    machine_done(&w->machine);
    table_mem_free(w->mem);
    buf_done(&w->body);
    buf_done(&w->command);
    test_free(w);
}

int world_set_up(void **state)
{
    *state = world_new();
    return 0;
}

int world_tear_down(void **state)
{
    world_free(*state);
    return 0;
}

enum err world_apply_raw(struct world *w, struct bytes command)
{
    w->index++;
    w->change_count = 0;
    struct machine_entry entry = {
        .index = w->index,
        .time_ms = w->time_ms,
        .command = command,
    };
    return machine_apply(&w->machine, &w->txn, &entry, &w->sink, &w->result);
}

enum err world_apply(struct world *w, uint16_t kind)
{
    struct machine_command command = {
        .kind = kind,
        .proposer = {.node = 1, .incarnation = 1, .sequence = ++w->sequence},
        .principal = BYTES_LITERAL("test"),
        .body = buf_bytes(&w->body),
    };
    buf_clear(&w->command);
    assert_int_equal(machine_command_encode(&command, &w->command), ERR_OK);
    enum err err = world_apply_raw(w, buf_bytes(&w->command));
    buf_clear(&w->body);
    return err;
}

enum err world_run(struct world *w, uint16_t kind)
{
    assert_int_equal(world_apply(w, kind), ERR_OK);
    assert_false(w->result.duplicate);
    /* A refusal has a reason, and only a refusal has one. */
    assert_int_equal(w->result.result.err == ERR_OK, w->result.result.reason[0] == '\0');
    return w->result.result.err;
}

size_t world_changes(const struct world *w, enum table_id table)
{
    size_t count = 0;
    for (size_t i = 0; i < w->change_count; i++) {
        count += w->changes[i].table == table ? 1u : 0u;
    }
    return count;
}

size_t world_changes_of(const struct world *w, enum table_id table, struct bytes key)
{
    size_t count = 0;
    for (size_t i = 0; i < w->change_count; i++) {
        struct bytes seen = bytes_of(w->changes[i].key, w->changes[i].key_len);
        count += w->changes[i].table == table && bytes_eq(seen, key) ? 1u : 0u;
    }
    return count;
}

struct table_digest world_digest(struct world *w)
{
    struct table_digest digest;
    assert_int_equal(table_digest(&w->txn, &digest), ERR_OK);
    return digest;
}

bool world_same(struct world *a, struct world *b)
{
    struct table_digest da = world_digest(a);
    struct table_digest db = world_digest(b);
    return da.low == db.low && da.high == db.high;
}
