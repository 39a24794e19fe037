/* Random histories of the registry: after every command all rows and secondary indexes agree, and
 * indices move exactly when what clients see of a service changes. */
#include "map/map.h"
#include "registry/registry.h"
#include "rnd/rnd.h"
#include "world.h"

#include <stdio.h>

enum {
    SERVICES = 3,
    NODES = 3,
    STEPS = 6000
};

static const char *const service_names[SERVICES] = {"web", "Api", "db"};
static const char *const instance_ids[] = {"a", "b", "a-1"};
static const char *const check_ids[] = {"", "c1", "c2", "service:a", "service:b"};

/* What clients see of a service, as a hash, and its index. */
struct seen {
    uint64_t hash;
    uint64_t index;
};

struct history {
    struct world *w;
    struct rnd rnd;
    struct seen seen[SERVICES];
};

static struct bytes pick(struct history *h, const char *const *from, uint64_t count)
{
    return bytes_of_str(from[rnd_below(&h->rnd, count)]);
}

static uint32_t pick_node(struct history *h)
{
    return 1 + (uint32_t)rnd_below(&h->rnd, NODES);
}

static enum registry_status pick_status(struct history *h)
{
    return (enum registry_status)(REGISTRY_PASSING + rnd_below(&h->rnd, 3));
}

static struct registry_check pick_check(struct history *h)
{
    return (struct registry_check){
        .id = pick(h, check_ids, 5),
        .type = REGISTRY_CHECK_TTL,
        .status = pick_status(h),
        .def = {.ttl_ms = 1 + rnd_below(&h->rnd, 2),
                .deregister_critical_after_ms = rnd_below(&h->rnd, 2) * 100},
    };
}

/* ---- commands -------------------------------------------------------------------------------- */

static uint16_t encode_register(struct history *h)
{
    struct registry_check checks[2] = {pick_check(h), pick_check(h)};
    struct registry_instance instance = {
        .service = pick(h, service_names, SERVICES),
        .id = pick(h, instance_ids, 3),
        .node = pick_node(h),
        .port = (uint16_t)rnd_below(&h->rnd, 2),
        .origin = REGISTRY_ORIGIN_CONSUL,
    };
    struct registry_register reg = {
        .instance = &instance,
        .checks = checks,
        .check_count = (uint32_t)rnd_below(&h->rnd, 3),
        .replace_checks = rnd_chance_ppm(&h->rnd, 300000),
    };
    assert_int_equal(registry_register_encode(&reg, &h->w->body), ERR_OK);
    return REGISTRY_CMD_SERVICE_REGISTER;
}

static uint16_t encode_check_register(struct history *h)
{
    struct registry_check check = pick_check(h);
    check.node = pick_node(h);
    check.id = bytes_of_str(check_ids[1 + rnd_below(&h->rnd, 4)]);
    if (rnd_chance_ppm(&h->rnd, 600000)) {
        check.instance_id = pick(h, instance_ids, 3);
    }
    assert_int_equal(registry_check_register_encode(&check, &h->w->body), ERR_OK);
    return REGISTRY_CMD_CHECK_REGISTER;
}

/* A random check that exists; false when there is none. */
struct chosen {
    struct rnd *rnd;
    uint64_t count;
    uint32_t node;
    uint32_t owner;
    uint64_t epoch;
    char id[64];
};

static enum err choose(void *context, const struct registry_check *check)
{
    struct chosen *c = context;
    c->count++;
    if (rnd_below(c->rnd, c->count) == 0) {
        c->node = check->node;
        c->owner = check->owner;
        c->epoch = check->epoch;
        assert_int_equal(bytes_to_cstr(check->id, c->id, sizeof(c->id)), ERR_OK);
    }
    return ERR_OK;
}

static uint16_t encode_report(struct history *h)
{
    struct chosen c = {.rnd = &h->rnd, .id = "none", .node = 1};
    assert_int_equal(registry_checks(&h->w->txn, choose, &c), ERR_OK);
    if (rnd_chance_ppm(&h->rnd, 200000)) {
        c.epoch++;
    }
    if (rnd_chance_ppm(&h->rnd, 250000)) {
        struct registry_reap reap = {
            .node = c.node, .check_id = bytes_of_str(c.id), .owner = c.owner, .epoch = c.epoch};
        assert_int_equal(registry_reap_encode(&reap, &h->w->body), ERR_OK);
        return REGISTRY_CMD_REAP;
    }
    struct registry_update update = {.node = c.node,
                                     .check_id = bytes_of_str(c.id),
                                     .owner = c.owner,
                                     .epoch = c.epoch,
                                     .status = pick_status(h)};
    assert_int_equal(registry_update_encode(&update, &h->w->body), ERR_OK);
    return REGISTRY_CMD_CHECK_UPDATE;
}

static uint16_t encode_maintenance(struct history *h)
{
    struct registry_maintenance m = {.node = pick_node(h),
                                     .enable = rnd_chance_ppm(&h->rnd, 500000)};
    if (rnd_chance_ppm(&h->rnd, 700000)) {
        m.instance_id = pick(h, instance_ids, 3);
    }
    assert_int_equal(registry_maintenance_encode(&m, &h->w->body), ERR_OK);
    return REGISTRY_CMD_MAINTENANCE;
}

static uint16_t encode_any(struct history *h)
{
    uint64_t what = rnd_below(&h->rnd, 100);
    if (what < 35) {
        return encode_register(h);
    }
    if (what < 50) {
        return encode_check_register(h);
    }
    if (what < 75) {
        return encode_report(h);
    }
    if (what < 82) {
        return encode_maintenance(h);
    }
    uint32_t node = pick_node(h);
    enum err err = ERR_OK;
    uint16_t kind = REGISTRY_CMD_CHECKS_REASSIGN;
    if (what < 88) {
        err = registry_reassign_encode(node, node % NODES + 1, &h->w->body);
    } else if (what < 94) {
        kind = REGISTRY_CMD_CHECK_DEREGISTER;
        err = registry_check_deregister_encode(node, bytes_of_str(check_ids[1 + what % 4]),
                                               &h->w->body);
    } else {
        kind = REGISTRY_CMD_SERVICE_DEREGISTER;
        err = registry_deregister_encode(node, pick(h, instance_ids, 3), &h->w->body);
    }
    assert_int_equal(err, ERR_OK);
    return kind;
}

/* ---- invariants ------------------------------------------------------------------------------ */

struct census {
    struct world *w;
    size_t instances;
    size_t checks;
};

static bool index_has(struct world *w, char prefix, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Whether TABLE_INDEXES has the key {prefix, text}. '|' in the text stands for a 0 byte: "|||%c" is
 * a node (big-endian) below 256. */
static bool index_has(struct world *w, char prefix, const char *format, ...)
{
    char key[256];
    va_list args;
    va_start(args, format);
    key[0] = prefix;
    int len = vsnprintf(key + 1, sizeof(key) - 1, format, args);
    va_end(args);
    assert_in_range(len, 1, sizeof(key) - 2);
    for (int i = 1; i <= len; i++) {
        key[i] = key[i] == '|' ? '\0' : key[i];
    }
    struct bytes value;
    enum err err = table_get(&w->txn, TABLE_INDEXES, bytes_of(key, (size_t)len + 1), &value);
    assert_true(err == ERR_OK || err == ERR_NOT_FOUND);
    return err == ERR_OK;
}

static void lower_name(struct bytes name, char dest[16])
{
    assert_int_equal(bytes_to_cstr(name, dest, 16), ERR_OK);
    for (size_t i = 0; dest[i] != '\0'; i++) {
        dest[i] = (char)(dest[i] >= 'A' && dest[i] <= 'Z' ? dest[i] | 0x20 : dest[i]);
    }
}

static enum err census_instance(void *context, const struct registry_instance *i,
                                enum registry_status status)
{
    (void)status;
    struct census *c = context;
    c->instances++;
    struct registry_service service;
    assert_int_equal(registry_service_get(&c->w->txn, i->service, &service), ERR_OK);
    assert_true(index_has(c->w, 'i', "%.*s||||%c", BYTES_PRINT(i->id), (int)i->node));
    assert_true(index_has(c->w, 'n', "|||%c%.*s", (int)i->node, BYTES_PRINT(i->id)));
    struct registry_instance found;
    assert_int_equal(registry_instance_find(&c->w->txn, i->node, i->id, &found), ERR_OK);
    assert_true(bytes_eq_nocase(found.service, i->service));
    return ERR_OK;
}

static enum err census_check(void *context, const struct registry_check *check)
{
    struct census *c = context;
    c->checks++;
    int node = (int)check->node;
    assert_true(check->owner >= 1 && check->owner <= NODES);
    assert_true(index_has(c->w, 'c', "%.*s||||%c", BYTES_PRINT(check->id), node));
    assert_true(
        index_has(c->w, 'o', "|||%c|||%c%.*s", (int)check->owner, node, BYTES_PRINT(check->id)));
    assert_int_equal(check->critical_since_ms != 0, check->status == REGISTRY_CRITICAL);
    if (check->instance_id.len == 0) {
        assert_true(index_has(c->w, 'l', "|||%c%.*s", node, BYTES_PRINT(check->id)));
        return ERR_OK;
    }
    char service[16];
    lower_name(check->service, service);
    assert_true(index_has(c->w, 's', "%s|%.*s|%.*s", service, BYTES_PRINT(check->instance_id),
                          BYTES_PRINT(check->id)));
    struct registry_instance i;
    assert_int_equal(registry_instance_get(&c->w->txn, check->service, check->instance_id, &i),
                     ERR_OK);
    assert_int_equal(i.node, check->node);
    return ERR_OK;
}

static enum err census_service(void *context, const struct registry_service *service)
{
    struct world *w = context;
    struct table_scan scan;
    char prefix[17];
    assert_int_equal(bytes_to_cstr(service->key, prefix, 16), ERR_OK);
    assert_int_equal(
        table_scan(&scan, &w->txn, TABLE_INSTANCES, bytes_of(prefix, service->key.len + 1)),
        ERR_OK);
    table_scan_end(&scan);
    return ERR_OK;
}

static enum err count_row(void *context, struct bytes key, struct bytes value)
{
    (void)value;
    size_t *counts = context;
    counts[key.data[0]]++;
    return ERR_OK;
}

static void check_rows(struct world *w)
{
    struct census c = {.w = w};
    assert_int_equal(registry_instances(&w->txn, census_instance, &c), ERR_OK);
    assert_int_equal(registry_checks(&w->txn, census_check, &c), ERR_OK);
    assert_int_equal(registry_services(&w->txn, census_service, w), ERR_OK);
    size_t counts[256] = {0};
    assert_int_equal(table_each(&w->txn, TABLE_INDEXES, (struct bytes){NULL, 0}, count_row, counts),
                     ERR_OK);
    assert_int_equal(counts['i'], c.instances);
    assert_int_equal(counts['n'], c.instances);
    assert_int_equal(counts['c'], c.checks);
    assert_int_equal(counts['o'], c.checks);
    assert_int_equal(counts['s'] + counts['l'], c.checks);
}

/* ---- what clients see ------------------------------------------------------------------------ */

static void mix(uint64_t *hash, struct bytes part)
{
    *hash = hash_bytes((struct hash_seed){*hash, part.len}, part);
}

static void mix_number(uint64_t *hash, uint64_t number)
{
    *hash = hash_u64(*hash ^ number);
}

static enum err see_check(void *context, const struct registry_check *check)
{
    mix(context, check->id);
    mix(context, check->output);
    mix(context, check->notes);
    mix_number(context, check->status);
    mix_number(context, check->node);
    mix_number(context, check->def.ttl_ms);
    mix_number(context, check->modify_index);
    return ERR_OK;
}

struct seeing {
    struct world *w;
    uint64_t hash;
};

static enum err see_instance(void *context, const struct registry_instance *i,
                             enum registry_status status)
{
    struct seeing *s = context;
    mix(&s->hash, i->id);
    mix_number(&s->hash, i->node);
    mix_number(&s->hash, i->port);
    mix_number(&s->hash, status);
    mix_number(&s->hash, i->modify_index);
    return registry_instance_checks(&s->w->txn, i, see_check, &s->hash);
}

/* A changed view has this entry's index; an unchanged one keeps its index, unless something unseen
 * (an owner) was changed. */
static void check_views(struct history *h)
{
    struct world *w = h->w;
    for (size_t i = 0; i < SERVICES; i++) {
        struct bytes name = bytes_of_str(service_names[i]);
        struct seeing s = {.w = w, .hash = 1};
        struct seen now;
        assert_int_equal(registry_service_instances(&w->txn, name, false, see_instance, &s),
                         ERR_OK);
        assert_int_equal(registry_index_of_service(&w->txn, name, &now.index), ERR_OK);
        now.hash = s.hash;
        assert_true(now.index >= 1);
        if (now.hash != h->seen[i].hash) {
            assert_int_equal(now.index, w->index);
        } else if (w->result.result.value == 0) {
            assert_int_equal(now.index, h->seen[i].index);
        }
        assert_true(now.index >= h->seen[i].index);
        h->seen[i] = now;
    }
}

static void rows_and_indexes_agree_and_indices_follow_what_clients_see(void **state)
{
    struct world *twin = world_new();
    struct history h = {.w = *state};
    rnd_init(&h.rnd, 17);
    struct seeing nothing = {.hash = 1};
    for (size_t i = 0; i < SERVICES; i++) {
        h.seen[i] = (struct seen){.hash = nothing.hash, .index = 1};
    }
    size_t kinds_done[16] = {0};
    for (int step = 0; step < STEPS; step++) {
        uint16_t kind = encode_any(&h);
        h.w->time_ms += rnd_below(&h.rnd, 60);
        twin->time_ms = h.w->time_ms;
        assert_int_equal(buf_append(&twin->body, buf_bytes(&h.w->body)), ERR_OK);
        enum err err = world_run(h.w, kind);
        assert_int_equal(world_run(twin, kind), err);
        kinds_done[kind & 15] += err == ERR_OK && h.w->result.result.value > 0 ? 1u : 0u;
        assert_true(err == ERR_OK || h.w->change_count == 0);
        check_rows(h.w);
        check_views(&h);
    }
    assert_true(world_same(h.w, twin));
    for (size_t kind = 1; kind <= (REGISTRY_CMD_REAP & 15); kind++) {
        assert_true(kinds_done[kind] > 20);
    }
    world_free(twin);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(rows_and_indexes_agree_and_indices_follow_what_clients_see),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
