/* A strong map in memory with its machine: what the tests of the state machines run commands on. */
#ifndef WORLD_H
#define WORLD_H

#include "machine/machine.h"
#include "test.h"

enum {
    WORLD_GROUP = 1,
    WORLD_CHANGES_MAX = 512,
    WORLD_KEY_MAX = 64
};

struct world_change {
    enum table_id table;
    bool deleted;
    uint64_t index;
    uint8_t key[WORLD_KEY_MAX]; /* cut when longer */
    size_t key_len;
};

struct world {
    struct apply_sink sink; /* first: the sink's callback finds the world by it */
    struct table_mem *mem;
    struct table_txn txn;
    struct machine machine;
    uint64_t index;    /* of the last entry */
    clk_ms time_ms;    /* of the next entry */
    uint64_t sequence; /* of the last command, proposer node 1 */
    struct buf body;   /* of the next command: encode into it, then world_run */
    struct buf command;
    struct machine_result result;                   /* of the last entry */
    struct world_change changes[WORLD_CHANGES_MAX]; /* of the last entry */
    size_t change_count;
};

/* For cmocka; the world is *state. */
int world_set_up(void **state);
int world_tear_down(void **state);

struct world *world_new(void);
void world_free(struct world *w);

/* Runs w->body as a command of this kind and empties it; returns how the command ended. */
enum err world_run(struct world *w, uint16_t kind);
/* Runs the body and returns what machine_apply returned. */
enum err world_apply(struct world *w, uint16_t kind);
/* Runs these bytes as an entry's command; returns what machine_apply returned. */
enum err world_apply_raw(struct world *w, struct bytes command);
/* How many changes of this table the last entry made; how many of them to this key. */
size_t world_changes(const struct world *w, enum table_id table);
size_t world_changes_of(const struct world *w, enum table_id table, struct bytes key);
struct table_digest world_digest(struct world *w);
bool world_same(struct world *a, struct world *b);

#define WORLD_TEST(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)

#endif
