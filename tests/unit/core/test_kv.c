/* Tests of core/kv and core/tomb: Consul's key-value semantics, indices that never go back, and a
 * random history against a naive model. */
#include "kv/kv.h"

#include "rnd/rnd.h"
#include "setting/setting.h"
#include "tomb/tomb.h"
#include "world.h"

#include <stdio.h>

static struct bytes str(const char *text)
{
    return bytes_of_str(text);
}

static uint64_t put(struct world *w, const char *key, const char *value)
{
    struct kv_put cmd = {.key = str(key), .value = str(value)};
    assert_int_equal(kv_put_encode(&cmd, &w->body), ERR_OK);
    assert_int_equal(world_run(w, KV_CMD_PUT), ERR_OK);
    return w->result.result.value;
}

static uint64_t put_cas(struct world *w, const char *key, const char *value, uint64_t cas)
{
    struct kv_put cmd = {.key = str(key), .value = str(value), .has_cas = true, .cas = cas};
    assert_int_equal(kv_put_encode(&cmd, &w->body), ERR_OK);
    assert_int_equal(world_run(w, KV_CMD_PUT), ERR_OK);
    return w->result.result.value;
}

static uint64_t delete_key(struct world *w, const char *key, bool has_cas, uint64_t cas)
{
    struct kv_delete cmd = {.key = str(key), .has_cas = has_cas, .cas = cas};
    assert_int_equal(kv_delete_encode(&cmd, &w->body), ERR_OK);
    assert_int_equal(world_run(w, KV_CMD_DELETE), ERR_OK);
    return w->result.result.value;
}

static uint64_t delete_tree(struct world *w, const char *prefix)
{
    assert_int_equal(kv_delete_tree_encode(str(prefix), &w->body), ERR_OK);
    assert_int_equal(world_run(w, KV_CMD_DELETE_TREE), ERR_OK);
    return w->result.result.value;
}

static uint64_t key_index(struct world *w, const char *key)
{
    uint64_t index = 0;
    assert_int_equal(kv_index_of_key(&w->txn, str(key), &index), ERR_OK);
    return index;
}

static uint64_t prefix_index(struct world *w, const char *prefix)
{
    uint64_t index = 0;
    assert_int_equal(kv_index_of_prefix(&w->txn, str(prefix), &index), ERR_OK);
    return index;
}

static struct kv_record get(struct world *w, const char *key)
{
    struct kv_record record = {.create_index = 0};
    assert_int_equal(kv_get(&w->txn, str(key), &record), ERR_OK);
    return record;
}

static void put_creates_and_replaces_with_indices(void **state)
{
    struct world *w = *state;
    struct kv_put cmd = {.key = str("a"), .value = str("1"), .flags = UINT64_MAX};
    assert_int_equal(kv_put_encode(&cmd, &w->body), ERR_OK);
    assert_int_equal(world_run(w, KV_CMD_PUT), ERR_OK);
    assert_int_equal(world_changes_of(w, TABLE_KV, str("a")), 1);
    assert_int_equal(put(w, "a", "2"), 1);
    struct kv_record record = get(w, "a");
    assert_int_equal(record.create_index, 1);
    assert_int_equal(record.modify_index, 2);
    assert_int_equal(record.flags, 0);
    assert_true(bytes_eq_str(record.value, "2"));
}

static void equal_put_changes_nothing(void **state)
{
    struct world *w = *state;
    assert_int_equal(put(w, "a", "1"), 1);
    assert_int_equal(put(w, "a", "1"), 1);
    assert_int_equal(get(w, "a").modify_index, 1);
    assert_int_equal(w->change_count, 0);
}

static void cas_writes_only_on_the_expected_index(void **state)
{
    struct world *w = *state;
    assert_int_equal(put_cas(w, "a", "1", 0), 1);
    assert_int_equal(put_cas(w, "a", "2", 0), 0);
    assert_int_equal(put_cas(w, "a", "2", 77), 0);
    assert_true(bytes_eq_str(get(w, "a").value, "1"));
    assert_int_equal(put_cas(w, "a", "2", 1), 1);
    assert_int_equal(put_cas(w, "missing", "2", 1), 0);
    assert_int_equal(delete_key(w, "a", true, 1), 0);
    assert_int_equal(delete_key(w, "a", true, get(w, "a").modify_index), 1);
    assert_int_equal(delete_key(w, "a", true, 5), 1);
    struct kv_record record;
    assert_int_equal(kv_get(&w->txn, str("a"), &record), ERR_NOT_FOUND);
}

static void delete_tree_takes_the_prefix_only(void **state)
{
    struct world *w = *state;
    static const char *const keys[] = {"a", "a/b", "a/c", "ab", "b"};
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(put(w, keys[i], "v"), 1);
    }
    assert_int_equal(delete_tree(w, "a/"), 2);
    assert_int_equal(world_changes(w, TABLE_KV), 2);
    assert_true(w->changes[0].deleted);
    assert_int_equal(delete_tree(w, "a/"), 0);
    assert_int_equal(delete_tree(w, ""), 3);
    assert_int_equal(delete_tree(w, ""), 0);
}

static void index_moves_on_deletion_and_stays_per_prefix(void **state)
{
    struct world *w = *state;
    assert_int_equal(key_index(w, "x/1"), 1);
    assert_int_equal(prefix_index(w, "x/"), 1);
    put(w, "y", "v");
    put(w, "x/1", "v");
    assert_int_equal(key_index(w, "x/1"), 2);
    put(w, "y", "w");
    assert_int_equal(prefix_index(w, "x/"), 2);
    assert_int_equal(prefix_index(w, ""), 3);
    delete_key(w, "x/1", false, 0);
    assert_int_equal(key_index(w, "x/1"), 4);
    assert_int_equal(prefix_index(w, "x/"), 4);
    put(w, "x/1", "v");
    assert_int_equal(key_index(w, "x/1"), 5);
    uint64_t tombs = 9;
    assert_int_equal(tomb_count(&w->txn, &tombs), ERR_OK);
    assert_int_equal(tombs, 0);
}

static void set_setting(struct world *w, const char *name, const char *value)
{
    assert_int_equal(setting_put_encode(str(name), str(value), &w->body), ERR_OK);
    assert_int_equal(world_run(w, SETTING_CMD_PUT), ERR_OK);
}

static void reaping_by_number_keeps_indices_from_going_back(void **state)
{
    struct world *w = *state;
    set_setting(w, "tombstones.max", "64");
    char key[16];
    uint64_t before = 0;
    for (int i = 0; i < 300; i++) {
        (void)snprintf(key, sizeof(key), "k/%d", i);
        put(w, key, "v");
        delete_key(w, key, false, 0);
        uint64_t now = prefix_index(w, "k/");
        assert_true(now > before);
        before = now;
    }
    uint64_t tombs = 0;
    assert_int_equal(tomb_count(&w->txn, &tombs), ERR_OK);
    assert_in_range(tombs, 1, 64);
    /* The first deletion was at index 3; its tombstone is long gone. */
    assert_true(key_index(w, "k/0") >= 3);
    assert_true(key_index(w, "never") >= 3);
    assert_true(key_index(w, "k/0") < w->index);
}

static void reaping_by_age_waits_for_twice_the_age(void **state)
{
    struct world *w = *state;
    set_setting(w, "tombstones.age_ms", "60000");
    put(w, "a", "v");
    put(w, "b", "v");
    put(w, "c", "v");
    delete_key(w, "a", false, 0);
    w->time_ms += 110000;
    delete_key(w, "b", false, 0);
    uint64_t tombs = 0;
    assert_int_equal(tomb_count(&w->txn, &tombs), ERR_OK);
    assert_int_equal(tombs, 2);
    w->time_ms += 11000;
    delete_key(w, "c", false, 0);
    assert_int_equal(tomb_count(&w->txn, &tombs), ERR_OK);
    assert_int_equal(tombs, 2);
    assert_int_equal(key_index(w, "a"), 5);
}

static void oversized_and_malformed_commands_are_refused(void **state)
{
    struct world *w = *state;
    char *large = test_calloc(1, KV_VALUE_MAX + 2);
    memset(large, 'x', KV_VALUE_MAX + 1);
    struct kv_put cmd = {.key = str("a"), .value = bytes_of(large, KV_VALUE_MAX + 1)};
    assert_int_equal(kv_put_encode(&cmd, &w->body), ERR_TOO_LARGE);
    cmd.value = str("v");
    cmd.key = bytes_of(large, KV_KEY_MAX + 1);
    assert_int_equal(kv_put_encode(&cmd, &w->body), ERR_TOO_LARGE);
    cmd.key = str("");
    assert_int_equal(kv_put_encode(&cmd, &w->body), ERR_BAD_INPUT);
    assert_int_equal(w->body.len, 0);
    /* The same, from a node that does not check. */
    struct writer writer = writer_of(&w->body);
    write_u8(&writer, APPLY_BODY_VERSION);
    write_blob(&writer, str("a"));
    write_u64(&writer, 0);
    write_u8(&writer, 0);
    write_u64(&writer, 0);
    write_blob(&writer, bytes_of(large, KV_VALUE_MAX + 1));
    assert_int_equal(world_run(w, KV_CMD_PUT), ERR_TOO_LARGE);
    assert_int_equal(kv_delete_tree_encode(str("a"), &w->body), ERR_OK);
    w->body.len--;
    assert_int_equal(world_run(w, KV_CMD_DELETE_TREE), ERR_BAD_INPUT);
    assert_int_equal(w->change_count, 0);
    cmd.key = bytes_of(large, KV_KEY_MAX);
    cmd.value = bytes_of(large, KV_VALUE_MAX);
    assert_int_equal(kv_put_encode(&cmd, &w->body), ERR_OK);
    assert_int_equal(world_run(w, KV_CMD_PUT), ERR_OK);
    test_free(large);
}

/* ---- keys ------------------------------------------------------------------------------------ */

struct names {
    char text[512];
    enum err stop;
};

static enum err collect(void *context, struct bytes key)
{
    struct names *names = context;
    size_t used = strlen(names->text);
    /* Long runs are shown by their length. */
    if (key.len > 40) {
        (void)snprintf(names->text + used, sizeof(names->text) - used, "[%zu%c] ", key.len,
                       key.data[key.len - 1]);
    } else {
        (void)snprintf(names->text + used, sizeof(names->text) - used, "%.*s ", BYTES_PRINT(key));
    }
    return names->stop;
}

static const char *keys(struct world *w, const char *prefix, const char *separator)
{
    static struct names names;
    names = (struct names){.stop = ERR_OK};
    assert_int_equal(kv_keys(&w->txn, str(prefix), str(separator), collect, &names), ERR_OK);
    return names.text;
}

static void keys_are_cut_behind_the_first_separator(void **state)
{
    struct world *w = *state;
    static const char *const all[] = {"web", "web/a", "web/b/c", "web/b/d", "web/e/", "x"};
    for (size_t i = 0; i < 6; i++) {
        put(w, all[i], "v");
    }
    assert_string_equal(keys(w, "", "/"), "web web/ x ");
    assert_string_equal(keys(w, "web/", "/"), "web/a web/b/ web/e/ ");
    assert_string_equal(keys(w, "web/b", "/"), "web/b/ ");
    assert_string_equal(keys(w, "web/", ""), "web/a web/b/c web/b/d web/e/ ");
    assert_string_equal(keys(w, "none", "/"), "");
    assert_string_equal(keys(w, "", "b/"), "web web/ x ");
    struct names names = {.stop = ERR_NOT_FOUND};
    assert_int_equal(kv_keys(&w->txn, str(""), str("/"), collect, &names), ERR_NOT_FOUND);
    assert_string_equal(names.text, "web ");
}

static void long_keys_are_grouped_once(void **state)
{
    struct world *w = *state;
    static char key[701];
    for (size_t i = 0; i < 12; i++) {
        memset(key, 'k', sizeof(key) - 1);
        key[600] = i % 2 == 0 ? 'a' : 'b';
        key[601] = '/';
        key[602] = (char)('a' + i);
        key[603] = '\0';
        put(w, key, "v");
    }
    assert_int_equal(delete_tree(w, "none"), 0);
    assert_string_equal(keys(w, "kk", "/"), "[602/] [602/] ");
    memset(key, 'k', 600);
    key[600] = 'a';
    key[601] = '\0';
    assert_int_equal(prefix_index(w, key), 11);
    assert_int_equal(delete_tree(w, key), 6);
    assert_string_equal(keys(w, "kk", "/"), "[602/] ");
}

/* ---- model ----------------------------------------------------------------------------------- */

enum {
    MODEL_KEYS = 24,
    MODEL_STEPS = 4000
};

struct model {
    bool present[MODEL_KEYS];
    uint64_t value[MODEL_KEYS];
    uint64_t modify[MODEL_KEYS];
    uint64_t seen_index[MODEL_KEYS]; /* last kv_index_of_key */
    uint64_t seen_prefix[2];
};

static void model_key(size_t i, char dest[16])
{
    (void)snprintf(dest, 16, "%c/%zu", i % 2 == 0 ? 'a' : 'b', i);
}

static void check_model(struct world *w, struct model *m)
{
    uint64_t highest[2] = {0, 0};
    for (size_t i = 0; i < MODEL_KEYS; i++) {
        char key[16];
        model_key(i, key);
        struct kv_record record;
        enum err err = kv_get(&w->txn, str(key), &record);
        assert_int_equal(err, m->present[i] ? ERR_OK : ERR_NOT_FOUND);
        if (m->present[i]) {
            assert_int_equal(record.modify_index, m->modify[i]);
            assert_int_equal(get_u64(record.value.data), m->value[i]);
            highest[i % 2] = m->modify[i] > highest[i % 2] ? m->modify[i] : highest[i % 2];
        }
        uint64_t index = key_index(w, key);
        assert_true(index >= 1 && index >= m->seen_index[i]);
        m->seen_index[i] = index;
    }
    for (size_t p = 0; p < 2; p++) {
        uint64_t index = prefix_index(w, p == 0 ? "a/" : "b/");
        assert_true(index >= 1 && index >= m->seen_prefix[p] && index >= highest[p]);
        m->seen_prefix[p] = index;
    }
}

static void model_put(struct world *w, struct model *m, struct rnd *rnd, size_t i, const char *key)
{
    uint8_t value[8];
    put_u64(value, rnd_below(rnd, 3));
    bool has_cas = rnd_chance_ppm(rnd, 300000);
    uint64_t current = m->present[i] ? m->modify[i] : 0;
    uint64_t cas = rnd_chance_ppm(rnd, 500000) ? current : rnd_below(rnd, 50);
    struct kv_put cmd = {
        .key = str(key), .value = bytes_of(value, 8), .has_cas = has_cas, .cas = cas};
    assert_int_equal(kv_put_encode(&cmd, &w->body), ERR_OK);
    assert_int_equal(world_run(w, KV_CMD_PUT), ERR_OK);
    bool written = !has_cas || cas == current;
    assert_int_equal(w->result.result.value, written ? 1 : 0);
    if (written && !(m->present[i] && m->value[i] == get_u64(value))) {
        m->present[i] = true;
        m->value[i] = get_u64(value);
        m->modify[i] = w->index;
    }
}

static void model_step(struct world *w, struct model *m, struct rnd *rnd)
{
    size_t i = (size_t)rnd_below(rnd, MODEL_KEYS);
    char key[16];
    model_key(i, key);
    uint64_t what = rnd_below(rnd, 100);
    if (what < 60) {
        model_put(w, m, rnd, i, key);
    } else if (what < 97) {
        assert_int_equal(delete_key(w, key, false, 0), 1);
        m->present[i] = false;
    } else {
        uint64_t count = 0;
        for (size_t k = i % 2; k < MODEL_KEYS; k += 2) {
            count += m->present[k] ? 1u : 0u;
            m->present[k] = false;
        }
        assert_int_equal(delete_tree(w, i % 2 == 0 ? "a/" : "b/"), count);
    }
}

static void random_history_is_that_of_a_naive_model_and_repeats_exactly(void **state)
{
    struct world *w = *state;
    struct world *twin = world_new();
    struct model m = {.present = {false}};
    struct model m2 = m;
    struct rnd rnd;
    struct rnd rnd2;
    rnd_init(&rnd, 20);
    rnd_init(&rnd2, 20);
    set_setting(w, "tombstones.max", "64");
    set_setting(twin, "tombstones.max", "64");
    for (int step = 0; step < MODEL_STEPS; step++) {
        w->time_ms += 10;
        twin->time_ms += 10;
        model_step(w, &m, &rnd);
        model_step(twin, &m2, &rnd2);
        if (step % 20 == 0) {
            check_model(w, &m);
            assert_true(world_same(w, twin));
        }
    }
    world_free(twin);
}

static void rows_and_bodies_have_golden_bytes(void **state)
{
    struct world *w = *state;
    struct kv_put cmd = {
        .key = str("k"), .value = str("val"), .flags = 7, .has_cas = true, .cas = 9};
    assert_int_equal(kv_put_encode(&cmd, &w->body), ERR_OK);
    static const uint8_t put_golden[] = {1, 1, 'k', 7, 0, 0, 0, 0, 0, 0,   0,   1,
                                         9, 0, 0,   0, 0, 0, 0, 0, 3, 'v', 'a', 'l'};
    assert_int_equal(w->body.len, sizeof(put_golden));
    assert_memory_equal(w->body.data, put_golden, sizeof(put_golden));
    buf_clear(&w->body);
    struct kv_delete del = {.key = str("k")};
    assert_int_equal(kv_delete_encode(&del, &w->body), ERR_OK);
    static const uint8_t delete_golden[] = {1, 1, 'k', 0, 0, 0, 0, 0, 0, 0, 0, 0};
    assert_int_equal(w->body.len, sizeof(delete_golden));
    assert_memory_equal(w->body.data, delete_golden, sizeof(delete_golden));
    buf_clear(&w->body);
    assert_int_equal(kv_delete_tree_encode(str("p/"), &w->body), ERR_OK);
    static const uint8_t tree_golden[] = {1, 2, 'p', '/'};
    assert_int_equal(w->body.len, sizeof(tree_golden));
    assert_memory_equal(w->body.data, tree_golden, sizeof(tree_golden));
    buf_clear(&w->body);
    struct kv_record record = {.create_index = 1,
                               .modify_index = 2,
                               .lock_index = 3,
                               .flags = 4,
                               .session = str("s"),
                               .value = str("v")};
    assert_int_equal(kv_record_encode(&record, &w->body), ERR_OK);
    static const uint8_t row_golden[] = {1, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0,   0, 3,  0,
                                         0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 1, 's', 1, 'v'};
    assert_int_equal(w->body.len, sizeof(row_golden));
    assert_memory_equal(w->body.data, row_golden, sizeof(row_golden));
    for (size_t len = 0; len < w->body.len; len++) {
        assert_int_equal(kv_record_decode(bytes_of(w->body.data, len), &record), ERR_CORRUPT);
    }
    assert_int_equal(kv_record_decode(buf_bytes(&w->body), &record), ERR_OK);
    assert_true(bytes_eq_str(record.session, "s"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(put_creates_and_replaces_with_indices),
        WORLD_TEST(equal_put_changes_nothing),
        WORLD_TEST(cas_writes_only_on_the_expected_index),
        WORLD_TEST(delete_tree_takes_the_prefix_only),
        WORLD_TEST(index_moves_on_deletion_and_stays_per_prefix),
        WORLD_TEST(reaping_by_number_keeps_indices_from_going_back),
        WORLD_TEST(reaping_by_age_waits_for_twice_the_age),
        WORLD_TEST(oversized_and_malformed_commands_are_refused),
        WORLD_TEST(keys_are_cut_behind_the_first_separator),
        WORLD_TEST(long_keys_are_grouped_once),
        WORLD_TEST(random_history_is_that_of_a_naive_model_and_repeats_exactly),
        WORLD_TEST(rows_and_bodies_have_golden_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
