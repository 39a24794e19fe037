/* Tests of core/machine: the envelope, once-only application, and bytes that no encoder made. */
#include "machine/machine.h"

#include "kv/kv.h"
#include "member/member.h"
#include "registry/registry.h"
#include "rnd/rnd.h"
#include "route/route.h"
#include "setting/setting.h"
#include "world.h"

/* A kv put of key `a` by this proposer. */
static enum err put_by(struct world *w, uint32_t node, uint64_t incarnation, uint64_t sequence,
                       const char *value)
{
    struct kv_put put = {.key = BYTES_LITERAL("a"), .value = bytes_of_str(value)};
    buf_clear(&w->body);
    assert_int_equal(kv_put_encode(&put, &w->body), ERR_OK);
    struct machine_command command = {
        .kind = KV_CMD_PUT,
        .proposer = {.node = node, .incarnation = incarnation, .sequence = sequence},
        .body = buf_bytes(&w->body),
    };
    buf_clear(&w->command);
    assert_int_equal(machine_command_encode(&command, &w->command), ERR_OK);
    return world_apply_raw(w, buf_bytes(&w->command));
}

static bool value_is(struct world *w, const char *value)
{
    struct kv_record record;
    assert_int_equal(kv_get(&w->txn, BYTES_LITERAL("a"), &record), ERR_OK);
    return bytes_eq_str(record.value, value);
}

static void repeated_command_changes_nothing(void **state)
{
    struct world *w = *state;
    assert_int_equal(put_by(w, 1, 5, 1, "1"), ERR_OK);
    assert_false(w->result.duplicate);
    assert_int_equal(put_by(w, 1, 5, 2, "2"), ERR_OK);
    struct table_digest before = world_digest(w);
    assert_int_equal(put_by(w, 1, 5, 1, "1"), ERR_OK);
    assert_true(w->result.duplicate);
    assert_int_equal(w->result.proposer.sequence, 1);
    assert_int_equal(w->change_count, 0);
    assert_int_equal(put_by(w, 1, 5, 2, "1"), ERR_OK);
    assert_true(w->result.duplicate);
    assert_true(value_is(w, "2"));
    assert_int_equal(world_digest(w).low, before.low);
    uint64_t applied = 0;
    assert_int_equal(table_applied(&w->txn, &applied), ERR_OK);
    assert_int_equal(applied, 4);
}

static void proposers_and_incarnations_are_told_apart(void **state)
{
    struct world *w = *state;
    assert_int_equal(put_by(w, 1, 5, 9, "1"), ERR_OK);
    assert_int_equal(put_by(w, 2, 1, 1, "2"), ERR_OK);
    assert_true(value_is(w, "2"));
    /* A new life of the node begins a new count; its old life is over. */
    assert_int_equal(put_by(w, 1, 6, 1, "3"), ERR_OK);
    assert_true(value_is(w, "3"));
    assert_int_equal(put_by(w, 1, 5, 10, "4"), ERR_OK);
    assert_true(w->result.duplicate);
    assert_true(value_is(w, "3"));
    struct machine_proposer last;
    assert_int_equal(machine_last_of(&w->txn, 1, &last), ERR_OK);
    assert_int_equal(last.incarnation, 6);
    assert_int_equal(last.sequence, 1);
    assert_int_equal(machine_last_of(&w->txn, 3, &last), ERR_NOT_FOUND);
}

static void canceled_command_only_advances_the_sequence(void **state)
{
    struct world *w = *state;
    assert_int_equal(world_run(w, MACHINE_CMD_CANCELED), ERR_OK);
    assert_int_equal(w->change_count, 0);
    struct machine_proposer last;
    assert_int_equal(machine_last_of(&w->txn, 1, &last), ERR_OK);
    assert_int_equal(last.sequence, 1);
    assert_int_equal(buf_append(&w->body, BYTES_LITERAL("x")), ERR_OK);
    assert_int_equal(world_run(w, MACHINE_CMD_CANCELED), ERR_BAD_INPUT);
}

static void refused_command_advances_the_sequence_and_nothing_else(void **state)
{
    struct world *w = *state;
    assert_int_equal(buf_append(&w->body, BYTES_LITERAL("\001")), ERR_OK);
    assert_int_equal(world_run(w, KV_CMD_PUT), ERR_BAD_INPUT);
    /* Applied index, digest (not yet written), one proposer. */
    assert_int_equal(table_mem_count(w->mem), 2);
    struct machine_proposer last;
    assert_int_equal(machine_last_of(&w->txn, 1, &last), ERR_OK);
    assert_int_equal(last.sequence, 1);
}

static void unknown_kinds_and_versions_stop_the_node(void **state)
{
    struct world *w = *state;
    static const uint16_t kinds[] = {0, 2, 0x01ff, 0x02ff, 0x03ff, 0x04ff, 0x05ff, 0x0601, 0xffff};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        assert_int_equal(buf_append(&w->body, BYTES_LITERAL("\001")), ERR_OK);
        assert_int_equal(world_apply(w, kinds[i]), ERR_UNSUPPORTED);
    }
    static const uint16_t known[] = {KV_CMD_PUT, REGISTRY_CMD_REAP, MEMBER_CMD_PUT, ROUTE_CMD_PUT,
                                     SETTING_CMD_PUT};
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        assert_int_equal(buf_append(&w->body, BYTES_LITERAL("\002")), ERR_OK);
        assert_int_equal(world_apply(w, known[i]), ERR_UNSUPPORTED);
    }
    assert_int_equal(world_apply_raw(w, BYTES_LITERAL("\002anything")), ERR_UNSUPPORTED);
}

static void malformed_envelope_is_refused_and_applied(void **state)
{
    struct world *w = *state;
    assert_int_equal(world_apply_raw(w, BYTES_LITERAL("\001")), ERR_OK);
    assert_int_equal(w->result.result.err, ERR_BAD_INPUT);
    assert_int_equal(world_apply_raw(w, (struct bytes){NULL, 0}), ERR_OK);
    assert_int_equal(w->result.result.err, ERR_BAD_INPUT);
    uint64_t applied = 0;
    assert_int_equal(table_applied(&w->txn, &applied), ERR_OK);
    assert_int_equal(applied, 2);
    assert_int_equal(table_mem_count(w->mem), 1);
}

static void envelope_limits_are_checked(void **state)
{
    struct world *w = *state;
    uint8_t *large = test_calloc(1, MACHINE_COMMAND_MAX + 1);
    struct machine_command command = {
        .kind = KV_CMD_PUT,
        .proposer = {.node = 1, .incarnation = 1, .sequence = 1},
        .body = bytes_of(large, MACHINE_COMMAND_MAX),
    };
    assert_int_equal(machine_command_encode(&command, &w->command), ERR_TOO_LARGE);
    command.body = (struct bytes){NULL, 0};
    command.principal = bytes_of(large, MACHINE_PRINCIPAL_MAX + 1);
    assert_int_equal(machine_command_encode(&command, &w->command), ERR_TOO_LARGE);
    command.principal = (struct bytes){NULL, 0};
    command.proposer.sequence = 0;
    assert_int_equal(machine_command_encode(&command, &w->command), ERR_BAD_INPUT);
    assert_int_equal(w->command.len, 0);
    large[0] = 1;
    assert_int_equal(world_apply_raw(w, bytes_of(large, MACHINE_COMMAND_MAX + 1)), ERR_OK);
    assert_int_equal(w->result.result.err, ERR_TOO_LARGE);
    test_free(large);
}

static void envelope_has_golden_bytes(void **state)
{
    struct world *w = *state;
    struct machine_command command = {
        .kind = KV_CMD_DELETE_TREE,
        .proposer = {.node = 0x01020304, .incarnation = 5, .sequence = 6},
        .principal = BYTES_LITERAL("me"),
        .body = BYTES_LITERAL("\001\000"),
    };
    for (uint8_t i = 0; i < MACHINE_TRACE_BYTES; i++) {
        command.trace[i] = (uint8_t)(0xa0 + i);
    }
    assert_int_equal(machine_command_encode(&command, &w->command), ERR_OK);
    static const uint8_t golden[] = {
        1,    3,    1,    4,    3,    2,    1,    5,    0,    0,    0,    0,    0,    0,    0,
        6,    0,    0,    0,    0,    0,    0,    0,    2,    'm',  'e',  0xa0, 0xa1, 0xa2, 0xa3,
        0xa4, 0xa5, 0xa6, 0xa7, 0xa8, 0xa9, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf, 1,    0};
    assert_int_equal(w->command.len, sizeof(golden));
    assert_memory_equal(w->command.data, golden, sizeof(golden));
    struct machine_command back;
    assert_int_equal(machine_command_decode(buf_bytes(&w->command), &back), ERR_OK);
    assert_int_equal(back.proposer.node, 0x01020304);
    assert_true(bytes_eq_str(back.principal, "me"));
    assert_int_equal(back.trace[15], 0xaf);
    assert_int_equal(back.body.len, 2);
    assert_string_equal(machine_kind_name(back.kind), "kv_delete_tree");
    assert_string_equal(machine_kind_name(0xffff), "unknown");
}

/* ---- bytes that no encoder made -------------------------------------------------------------- */

static void encode_check_and_instance(struct buf *to)
{
    static struct registry_check checks[2];
    static struct registry_instance instance;
    for (size_t i = 0; i < 2; i++) {
        checks[i] = (struct registry_check){.node = 1,
                                            .type = REGISTRY_CHECK_TTL,
                                            .status = REGISTRY_CRITICAL,
                                            .def = {.ttl_ms = 1000}};
    }
    instance = (struct registry_instance){.service = BYTES_LITERAL("web"),
                                          .id = BYTES_LITERAL("web-1"),
                                          .node = 1,
                                          .tags = {BYTES_LITERAL("t")},
                                          .tag_count = 1,
                                          .meta = {{BYTES_LITERAL("k"), BYTES_LITERAL("v")}},
                                          .meta_count = 1,
                                          .origin = REGISTRY_ORIGIN_CONSUL};
    struct registry_register reg = {
        .instance = &instance, .checks = checks, .check_count = 2, .replace_checks = true};
    assert_int_equal(registry_register_encode(&reg, to), ERR_OK);
}

/* A valid body of this kind of registry command. */
static enum err valid_registry_body(uint16_t kind, struct buf *to)
{
    struct bytes id = BYTES_LITERAL("web-1");
    struct bytes check_id = BYTES_LITERAL("service:web-1:1");
    struct registry_update update = {
        .node = 1, .check_id = check_id, .status = REGISTRY_PASSING, .output = id};
    struct registry_maintenance maintenance = {.node = 1, .instance_id = id, .enable = true};
    struct registry_reap reap = {.node = 1, .check_id = check_id};
    struct registry_check check = {.node = 1,
                                   .id = BYTES_LITERAL("c"),
                                   .instance_id = id,
                                   .type = REGISTRY_CHECK_NONE,
                                   .status = REGISTRY_WARNING};
    switch (kind) {
    case REGISTRY_CMD_SERVICE_DEREGISTER:
        return registry_deregister_encode(1, id, to);
    case REGISTRY_CMD_CHECK_REGISTER:
        return registry_check_register_encode(&check, to);
    case REGISTRY_CMD_CHECK_DEREGISTER:
        return registry_check_deregister_encode(1, check.id, to);
    case REGISTRY_CMD_CHECK_UPDATE:
        return registry_update_encode(&update, to);
    case REGISTRY_CMD_MAINTENANCE:
        return registry_maintenance_encode(&maintenance, to);
    case REGISTRY_CMD_CHECKS_REASSIGN:
        return registry_reassign_encode(1, 2, to);
    case REGISTRY_CMD_REAP:
        return registry_reap_encode(&reap, to);
    default:
        encode_check_and_instance(to);
        return ERR_OK;
    }
}

/* A valid body of this kind. */
static enum err valid_body(uint16_t kind, struct buf *to)
{
    struct kv_put put = {.key = BYTES_LITERAL("key"), .value = BYTES_LITERAL("value")};
    struct kv_delete del = {.key = BYTES_LITERAL("key")};
    struct member member = {.node = 1, .state = MEMBER_ALIVE, .name = BYTES_LITERAL("n1")};
    struct route route = {.id = BYTES_LITERAL("r"), .service = BYTES_LITERAL("web")};
    switch (kind) {
    case KV_CMD_PUT:
        return kv_put_encode(&put, to);
    case KV_CMD_DELETE:
        return kv_delete_encode(&del, to);
    case KV_CMD_DELETE_TREE:
        return kv_delete_tree_encode(put.key, to);
    case MEMBER_CMD_PUT:
        return member_put_encode(&member, to);
    case MEMBER_CMD_STATE:
        return member_state_encode(1, 0, MEMBER_UNSEEN, to);
    case MEMBER_CMD_REMOVE:
        return member_remove_encode(1, to);
    case ROUTE_CMD_PUT:
        return route_put_encode(&route, to);
    case ROUTE_CMD_REMOVE:
        return route_remove_encode(route.id, to);
    case SETTING_CMD_PUT:
        return setting_put_encode(put.key, put.value, to);
    case SETTING_CMD_REMOVE:
        return setting_remove_encode(put.key, to);
    default:
        return valid_registry_body(kind, to);
    }
}

/* Encodes a valid body of a random kind; returns the kind. */
static uint16_t random_body(struct rnd *rnd, struct buf *to)
{
    static const uint16_t kinds[] = {KV_CMD_PUT,
                                     KV_CMD_DELETE,
                                     KV_CMD_DELETE_TREE,
                                     MEMBER_CMD_PUT,
                                     MEMBER_CMD_STATE,
                                     MEMBER_CMD_REMOVE,
                                     ROUTE_CMD_PUT,
                                     ROUTE_CMD_REMOVE,
                                     SETTING_CMD_PUT,
                                     SETTING_CMD_REMOVE,
                                     REGISTRY_CMD_SERVICE_DEREGISTER,
                                     REGISTRY_CMD_CHECK_REGISTER,
                                     REGISTRY_CMD_CHECK_DEREGISTER,
                                     REGISTRY_CMD_CHECK_UPDATE,
                                     REGISTRY_CMD_MAINTENANCE,
                                     REGISTRY_CMD_CHECKS_REASSIGN,
                                     REGISTRY_CMD_REAP,
                                     REGISTRY_CMD_SERVICE_REGISTER};
    uint16_t kind = kinds[rnd_below(rnd, sizeof(kinds) / sizeof(kinds[0]))];
    assert_int_equal(valid_body(kind, to), ERR_OK);
    return kind;
}

/* Damages up to three places of the bytes. */
static void mutate(struct rnd *rnd, struct buf *bytes)
{
    uint64_t times = rnd_below(rnd, 4);
    for (uint64_t i = 0; i < times && bytes->len > 0; i++) {
        size_t at = (size_t)rnd_below(rnd, bytes->len);
        switch (rnd_below(rnd, 4)) {
        case 0:
            bytes->data[at] = (uint8_t)rnd_below(rnd, 256);
            break;
        case 1:
            bytes->data[at] ^= (uint8_t)(1u << rnd_below(rnd, 8));
            break;
        case 2:
            bytes->len = at;
            break;
        default:
            bytes->data[at] = (uint8_t)rnd_below(rnd, 4);
            break;
        }
    }
}

static void random_and_mutated_commands_never_crash_and_repeat_exactly(void **state)
{
    struct world *w = *state;
    struct world *twin = world_new();
    struct rnd rnd;
    rnd_init(&rnd, 99);
    uint64_t accepted = 0;
    for (int step = 0; step < 30000; step++) {
        uint16_t kind = random_body(&rnd, &w->body);
        mutate(&rnd, &w->body);
        w->time_ms += rnd_below(&rnd, 100);
        twin->time_ms = w->time_ms;
        assert_int_equal(buf_append(&twin->body, buf_bytes(&w->body)), ERR_OK);
        table_mem_begin(w->mem);
        table_mem_begin(twin->mem);
        struct table_txn before = w->txn;
        enum err err = world_apply(w, kind);
        assert_int_equal(world_apply(twin, kind), err);
        assert_int_equal(twin->result.result.err, w->result.result.err);
        if (err == ERR_OK) {
            table_mem_commit(w->mem);
            table_mem_commit(twin->mem);
            accepted += w->result.result.err == ERR_OK ? 1u : 0u;
        } else {
            assert_int_equal(err, ERR_UNSUPPORTED);
            table_mem_abort(w->mem);
            table_mem_abort(twin->mem);
            w->txn = before;
            twin->txn.digest = before.digest;
        }
    }
    assert_true(accepted > 5000);
    assert_true(world_same(w, twin));
    assert_int_equal(table_mem_count(w->mem), table_mem_count(twin->mem));
    world_free(twin);
}

static void noise_is_refused_or_unsupported(void **state)
{
    struct world *w = *state;
    struct rnd rnd;
    rnd_init(&rnd, 3);
    for (int step = 0; step < 20000; step++) {
        uint8_t noise[96];
        size_t len = (size_t)rnd_below(&rnd, sizeof(noise));
        for (size_t i = 0; i < len; i++) {
            noise[i] = (uint8_t)rnd_below(&rnd, 256);
        }
        noise[0] = 1;
        enum err err = world_apply_raw(w, bytes_of(noise, len));
        assert_true(err == ERR_OK || err == ERR_UNSUPPORTED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(repeated_command_changes_nothing),
        WORLD_TEST(proposers_and_incarnations_are_told_apart),
        WORLD_TEST(canceled_command_only_advances_the_sequence),
        WORLD_TEST(refused_command_advances_the_sequence_and_nothing_else),
        WORLD_TEST(unknown_kinds_and_versions_stop_the_node),
        WORLD_TEST(malformed_envelope_is_refused_and_applied),
        WORLD_TEST(envelope_limits_are_checked),
        WORLD_TEST(envelope_has_golden_bytes),
        WORLD_TEST(random_and_mutated_commands_never_crash_and_repeat_exactly),
        WORLD_TEST(noise_is_refused_or_unsupported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
