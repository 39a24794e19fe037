/* Tests of core/member and core/setting: the member table and the replicated settings. */
#include "member/member.h"

#include "setting/setting.h"
#include "world.h"

#include <stdio.h>

static struct bytes str(const char *text)
{
    return bytes_of_str(text);
}

static struct member node(uint32_t id, const char *name)
{
    return (struct member){
        .node = id,
        .storage_id = 7,
        .boot_count = 1,
        .state = MEMBER_ALIVE,
        .name = bytes_of_str(name),
        .peer_address = BYTES_LITERAL("127.0.0.1:8300"),
        .http_address = BYTES_LITERAL("127.0.0.1:8500"),
        .version = BYTES_LITERAL("0.1.0"),
    };
}

static enum err put(struct world *w, const struct member *member)
{
    assert_int_equal(member_put_encode(member, &w->body), ERR_OK);
    return world_run(w, MEMBER_CMD_PUT);
}

static enum err set_state(struct world *w, uint32_t id, uint64_t boot_count,
                          enum member_state member_state)
{
    assert_int_equal(member_state_encode(id, boot_count, member_state, &w->body), ERR_OK);
    return world_run(w, MEMBER_CMD_STATE);
}

static struct member get(struct world *w, uint32_t id)
{
    struct member member = {.node = 0};
    assert_int_equal(member_get(&w->txn, id, &member), ERR_OK);
    return member;
}

static uint64_t members_index(struct world *w)
{
    uint64_t index = 0;
    assert_int_equal(member_index(&w->txn, &index), ERR_OK);
    return index;
}

static void member_is_put_found_and_removed(void **state)
{
    struct world *w = *state;
    assert_int_equal(members_index(w), 1);
    w->index = 4;
    struct member n1 = node(1, "n1");
    assert_int_equal(put(w, &n1), ERR_OK);
    struct member m = get(w, 1);
    assert_int_equal(m.storage_id, 7);
    assert_int_equal(m.create_index, 5);
    assert_int_equal(m.since_ms, w->time_ms);
    assert_true(bytes_eq_str(m.http_address, "127.0.0.1:8500"));
    assert_int_equal(m.gateway_address.len, 0);
    assert_int_equal(member_find(&w->txn, str("N1"), &m), ERR_OK);
    assert_int_equal(m.node, 1);
    assert_int_equal(member_find(&w->txn, str("n2"), &m), ERR_NOT_FOUND);
    assert_int_equal(put(w, &n1), ERR_OK);
    assert_int_equal(w->change_count, 0);
    assert_int_equal(members_index(w), 5);
    assert_int_equal(member_remove_encode(1, &w->body), ERR_OK);
    assert_int_equal(world_run(w, MEMBER_CMD_REMOVE), ERR_OK);
    assert_int_equal(members_index(w), 7);
    assert_int_equal(member_get(&w->txn, 1, &m), ERR_NOT_FOUND);
    assert_int_equal(member_remove_encode(1, &w->body), ERR_OK);
    assert_int_equal(world_run(w, MEMBER_CMD_REMOVE), ERR_NOT_FOUND);
}

static void state_change_is_for_one_life_of_the_node(void **state)
{
    struct world *w = *state;
    struct member n1 = node(1, "n1");
    assert_int_equal(put(w, &n1), ERR_OK);
    clk_ms began = w->time_ms;
    w->time_ms += 1000;
    assert_int_equal(set_state(w, 1, 2, MEMBER_UNSEEN), ERR_CONFLICT);
    assert_int_equal(get(w, 1).state, MEMBER_ALIVE);
    assert_int_equal(get(w, 1).since_ms, began);
    assert_int_equal(set_state(w, 1, 1, MEMBER_UNSEEN), ERR_OK);
    assert_int_equal(world_changes(w, TABLE_MEMBERS), 1);
    assert_int_equal(get(w, 1).since_ms, w->time_ms);
    assert_true(bytes_eq_str(get(w, 1).name, "n1"));
    assert_int_equal(set_state(w, 1, 1, MEMBER_UNSEEN), ERR_OK);
    assert_int_equal(w->change_count, 0);
    n1.boot_count = 2;
    assert_int_equal(put(w, &n1), ERR_OK);
    assert_int_equal(get(w, 1).state, MEMBER_ALIVE);
    assert_int_equal(get(w, 1).since_ms, w->time_ms);
    w->time_ms += 1000;
    n1.boot_count = 3;
    assert_int_equal(put(w, &n1), ERR_OK);
    assert_int_equal(get(w, 1).since_ms, w->time_ms - 1000);
    n1.boot_count = 1;
    assert_int_equal(put(w, &n1), ERR_CONFLICT);
    /* Another disk begins its own count. */
    n1.storage_id = 8;
    assert_int_equal(put(w, &n1), ERR_OK);
    assert_int_equal(set_state(w, 9, 1, MEMBER_LEFT), ERR_NOT_FOUND);
}

static void names_are_unique_and_members_bounded(void **state)
{
    struct world *w = *state;
    struct member n1 = node(1, "n1");
    struct member n2 = node(2, "N1");
    assert_int_equal(put(w, &n1), ERR_OK);
    assert_int_equal(put(w, &n2), ERR_EXISTS);
    for (uint32_t i = 2; i <= MEMBER_COUNT_MAX + 1; i++) {
        char name[16];
        (void)snprintf(name, sizeof(name), "n%u", i);
        n2 = node(i, name);
        assert_int_equal(put(w, &n2), i <= MEMBER_COUNT_MAX ? ERR_OK : ERR_FULL);
    }
}

static void malformed_members_are_refused(void **state)
{
    struct world *w = *state;
    struct member m = node(0, "n1");
    assert_int_equal(member_put_encode(&m, &w->body), ERR_BAD_INPUT);
    m = node(1, "n 1");
    assert_int_equal(member_put_encode(&m, &w->body), ERR_BAD_INPUT);
    m = node(1, "");
    assert_int_equal(member_put_encode(&m, &w->body), ERR_BAD_INPUT);
    m = node(1, "n1");
    m.peer_address = str("a b");
    assert_int_equal(member_put_encode(&m, &w->body), ERR_BAD_INPUT);
    char large[MEMBER_ADDRESS_MAX + 1];
    memset(large, 'x', sizeof(large));
    m.peer_address = bytes_of(large, sizeof(large));
    assert_int_equal(member_put_encode(&m, &w->body), ERR_TOO_LARGE);
    assert_int_equal(member_state_encode(0, 1, MEMBER_LEFT, &w->body), ERR_BAD_INPUT);
    assert_int_equal(member_remove_encode(0, &w->body), ERR_BAD_INPUT);
    assert_int_equal(w->body.len, 0);
    assert_string_equal(member_state_name(MEMBER_UNSEEN), "unseen");
}

static void member_body_and_row_have_golden_bytes(void **state)
{
    struct world *w = *state;
    struct member m = {.node = 2,
                       .storage_id = 3,
                       .boot_count = 4,
                       .state = MEMBER_UNSEEN,
                       .name = str("n"),
                       .peer_address = str("p"),
                       .version = str("v")};
    assert_int_equal(member_put_encode(&m, &w->body), ERR_OK);
    static const uint8_t body[] = {1, 2, 0, 0, 0, 3, 0, 0, 0,   0, 0,   0, 0, 4, 0,
                                   0, 0, 0, 0, 0, 0, 2, 1, 'n', 1, 'p', 0, 0, 1, 'v'};
    assert_int_equal(w->body.len, sizeof(body));
    assert_memory_equal(w->body.data, body, sizeof(body));
    w->time_ms = 0x0102;
    assert_int_equal(world_run(w, MEMBER_CMD_PUT), ERR_OK);
    struct bytes row;
    assert_int_equal(table_get(&w->txn, TABLE_MEMBERS, bytes_of("\0\0\0\002", 4), &row), ERR_OK);
    static const uint8_t golden[] = {1, 3, 0, 0, 0, 0, 0, 0, 0, 4,   0, 0,   0, 0, 0, 0,  0,
                                     2, 2, 1, 0, 0, 0, 0, 0, 0, 1,   0, 0,   0, 0, 0, 0,  0,
                                     1, 0, 0, 0, 0, 0, 0, 0, 1, 'n', 1, 'p', 0, 0, 1, 'v'};
    assert_int_equal(row.len, sizeof(golden));
    assert_memory_equal(row.data, golden, sizeof(golden));
}

/* ---- settings -------------------------------------------------------------------------------- */

static uint64_t tombstones_max(struct world *w)
{
    uint64_t value = 0;
    assert_int_equal(setting_u64(&w->txn, SETTING_TOMBSTONES_MAX, &value), ERR_OK);
    return value;
}

static void set(struct world *w, const char *name, const char *value)
{
    assert_int_equal(setting_put_encode(str(name), str(value), &w->body), ERR_OK);
    assert_int_equal(world_run(w, SETTING_CMD_PUT), ERR_OK);
}

static void setting_counts_until_removed_and_is_clamped(void **state)
{
    struct world *w = *state;
    const struct setting_info *info = setting_info(SETTING_TOMBSTONES_MAX);
    assert_int_equal(tombstones_max(w), info->fallback);
    set(w, info->name, "100");
    assert_int_equal(world_changes_of(w, TABLE_SETTINGS, str(info->name)), 1);
    assert_int_equal(tombstones_max(w), 100);
    set(w, info->name, "1");
    assert_int_equal(tombstones_max(w), info->min);
    set(w, info->name, "99999999999");
    assert_int_equal(tombstones_max(w), info->max);
    set(w, info->name, "many");
    assert_int_equal(tombstones_max(w), info->fallback);
    assert_int_equal(setting_remove_encode(str(info->name), &w->body), ERR_OK);
    assert_int_equal(world_run(w, SETTING_CMD_REMOVE), ERR_OK);
    assert_int_equal(setting_remove_encode(str(info->name), &w->body), ERR_OK);
    assert_int_equal(world_run(w, SETTING_CMD_REMOVE), ERR_NOT_FOUND);
    /* A name that this program does not know is kept: another version may know it. */
    set(w, "some.future_name", "x");
}

static void doors_are_told_what_is_wrong_with_a_setting(void **state)
{
    struct world *w = *state;
    const char *reason = NULL;
    struct bytes name = str("tombstones.max");
    assert_int_equal(setting_check(name, str("64"), &reason), ERR_OK);
    assert_int_equal(setting_check(name, str("63"), &reason), ERR_TOO_LARGE);
    assert_int_equal(setting_check(name, str("x"), &reason), ERR_BAD_INPUT);
    assert_int_equal(setting_check(str("x"), str("64"), &reason), ERR_NOT_FOUND);
    assert_non_null(reason);
    assert_int_equal(setting_put_encode(str("A"), str("1"), &w->body), ERR_BAD_INPUT);
    assert_int_equal(setting_put_encode(str(""), str("1"), &w->body), ERR_BAD_INPUT);
    char large[SETTING_VALUE_MAX + 1];
    memset(large, 'x', sizeof(large));
    struct bytes value = bytes_of(large, sizeof(large));
    assert_int_equal(setting_put_encode(name, value, &w->body), ERR_TOO_LARGE);
    assert_int_equal(setting_put_encode(value, name, &w->body), ERR_TOO_LARGE);
}

static void setting_body_and_row_have_golden_bytes(void **state)
{
    struct world *w = *state;
    assert_int_equal(setting_put_encode(str("a.b"), str("v"), &w->body), ERR_OK);
    static const uint8_t body[] = {1, 3, 'a', '.', 'b', 1, 'v'};
    assert_int_equal(w->body.len, sizeof(body));
    assert_memory_equal(w->body.data, body, sizeof(body));
    assert_int_equal(world_run(w, SETTING_CMD_PUT), ERR_OK);
    struct bytes row;
    assert_int_equal(table_get(&w->txn, TABLE_SETTINGS, str("a.b"), &row), ERR_OK);
    static const uint8_t golden[] = {1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 'v'};
    assert_int_equal(row.len, sizeof(golden));
    assert_memory_equal(row.data, golden, sizeof(golden));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(member_is_put_found_and_removed),
        WORLD_TEST(state_change_is_for_one_life_of_the_node),
        WORLD_TEST(names_are_unique_and_members_bounded),
        WORLD_TEST(malformed_members_are_refused),
        WORLD_TEST(member_body_and_row_have_golden_bytes),
        WORLD_TEST(setting_counts_until_removed_and_is_clamped),
        WORLD_TEST(doors_are_told_what_is_wrong_with_a_setting),
        WORLD_TEST(setting_body_and_row_have_golden_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
