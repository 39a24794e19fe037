/* Tests of core/table: stored keys, digest, scans, and the in-memory backend against a naive
 * model. */
#include "table/table.h"

#include "rnd/rnd.h"
#include "test.h"

enum {
    MODEL_ROWS = 64,
    LONG_KEY = 600,
    GROUP = 1
};

/* One possible row of the model; keys differ in length so that both stored forms occur. */
struct model_row {
    uint8_t key[TABLE_KEY_MAX];
    size_t key_len;
    bool present;
    uint8_t value[16];
    size_t value_len;
};

struct fixture {
    struct table_mem *mem;
    struct table_txn txn;
    struct model_row rows[MODEL_ROWS];
};

static int set_up(void **state)
{
    struct fixture *f = test_calloc(1, sizeof(*f));
    f->mem = table_mem_new();
    table_txn_init(&f->txn, table_mem_backend(), f->mem, GROUP, false);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    table_mem_free(f->mem);
    test_free(f);
    return 0;
}

static struct bytes row_key(const struct model_row *row)
{
    return bytes_of(row->key, row->key_len);
}

/* Half of the keys agree in more bytes than a stored key keeps in order. */
static void make_keys(struct fixture *f)
{
    for (size_t i = 0; i < MODEL_ROWS; i++) {
        struct model_row *row = &f->rows[i];
        memset(row->key, 'k', sizeof(row->key));
        row->key_len = i % 2 == 0 ? 1 + i / 2 : LONG_KEY + i / 2;
        row->key[row->key_len - 1] = (uint8_t)i;
    }
}

static void check_all(struct fixture *f)
{
    for (size_t i = 0; i < MODEL_ROWS; i++) {
        struct model_row *row = &f->rows[i];
        struct bytes value;
        enum err err = table_get(&f->txn, TABLE_KV, row_key(row), &value);
        assert_int_equal(err, row->present ? ERR_OK : ERR_NOT_FOUND);
        if (row->present) {
            assert_true(bytes_eq(value, bytes_of(row->value, row->value_len)));
        }
    }
}

/* How many rows a scan gives; each must be a present row of the model with the prefix. */
static size_t scan_count(struct fixture *f, struct bytes prefix)
{
    struct table_scan scan;
    size_t count = 0;
    enum err err = table_scan(&scan, &f->txn, TABLE_KV, prefix);
    for (; err == ERR_OK; err = table_scan_next(&scan)) {
        assert_true(bytes_has_prefix(scan.key, prefix));
        struct bytes value;
        assert_int_equal(table_get(&f->txn, TABLE_KV, scan.key, &value), ERR_OK);
        assert_true(bytes_eq(scan.value, value));
        count++;
    }
    assert_int_equal(err, ERR_NOT_FOUND);
    table_scan_end(&scan);
    return count;
}

static size_t model_count(const struct fixture *f, struct bytes prefix)
{
    size_t count = 0;
    for (size_t i = 0; i < MODEL_ROWS; i++) {
        count += f->rows[i].present && bytes_has_prefix(row_key(&f->rows[i]), prefix) ? 1u : 0u;
    }
    return count;
}

static void random_write(struct fixture *f, struct rnd *rnd)
{
    struct model_row *row = &f->rows[rnd_below(rnd, MODEL_ROWS)];
    if (rnd_chance_ppm(rnd, 400000)) {
        enum err err = table_delete(&f->txn, TABLE_KV, row_key(row));
        assert_int_equal(err, row->present ? ERR_OK : ERR_NOT_FOUND);
        row->present = false;
        return;
    }
    row->value_len = (size_t)rnd_below(rnd, sizeof(row->value) + 1);
    memset(row->value, (int)rnd_below(rnd, 256), sizeof(row->value));
    struct bytes value = bytes_of(row->value, row->value_len);
    assert_int_equal(table_put(&f->txn, TABLE_KV, row_key(row), value), ERR_OK);
    row->present = true;
}

static void rows_behave_like_a_naive_map(void **state)
{
    struct fixture *f = *state;
    make_keys(f);
    struct rnd rnd;
    rnd_init(&rnd, 7);
    uint8_t prefix[LONG_KEY + 4];
    memset(prefix, 'k', sizeof(prefix));
    for (int step = 0; step < 3000; step++) {
        random_write(f, &rnd);
        if (step % 50 == 0) {
            check_all(f);
            struct bytes p = bytes_of(prefix, (size_t)rnd_below(&rnd, sizeof(prefix)));
            assert_int_equal(scan_count(f, p), model_count(f, p));
            assert_int_equal(scan_count(f, (struct bytes){NULL, 0}), table_mem_count(f->mem));
        }
    }
}

static void rows_of_other_groups_and_tables_are_not_seen(void **state)
{
    struct fixture *f = *state;
    struct table_txn other;
    table_txn_init(&other, table_mem_backend(), f->mem, GROUP + 1, false);
    struct bytes key = BYTES_LITERAL("a");
    struct bytes value;
    assert_int_equal(table_put(&other, TABLE_KV, key, BYTES_LITERAL("1")), ERR_OK);
    assert_int_equal(table_put(&f->txn, TABLE_ROUTES, key, BYTES_LITERAL("2")), ERR_OK);
    assert_int_equal(table_get(&f->txn, TABLE_KV, key, &value), ERR_NOT_FOUND);
    assert_int_equal(scan_count(f, (struct bytes){NULL, 0}), 0);
}

static void scan_follows_writes_made_during_it(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"a", "b", "c", "d"};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(table_put(&f->txn, TABLE_KV, bytes_of_str(names[i]), BYTES_LITERAL("v")),
                         ERR_OK);
    }
    struct table_scan scan;
    char seen[8] = "";
    size_t count = 0;
    enum err err = table_scan(&scan, &f->txn, TABLE_KV, (struct bytes){NULL, 0});
    for (; err == ERR_OK; err = table_scan_next(&scan)) {
        uint8_t letter = scan.key.data[0];
        seen[count++] = (char)letter;
        assert_int_equal(table_delete(&f->txn, TABLE_KV, bytes_of(&letter, 1)), ERR_OK);
        if (letter == 'b') {
            assert_int_equal(table_delete(&f->txn, TABLE_KV, BYTES_LITERAL("c")), ERR_OK);
        }
    }
    table_scan_end(&scan);
    assert_string_equal(seen, "abd");
    assert_int_equal(table_mem_count(f->mem), 0);
}

static void scan_from_skips_what_comes_before(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"x/a", "x/b", "x/c", "y"};
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(table_put(&f->txn, TABLE_KV, bytes_of_str(names[i]), BYTES_LITERAL("v")),
                         ERR_OK);
    }
    struct table_scan scan;
    assert_int_equal(
        table_scan_from(&scan, &f->txn, TABLE_KV, BYTES_LITERAL("x/"), BYTES_LITERAL("x/aa")),
        ERR_OK);
    assert_true(bytes_eq_str(scan.key, "x/b"));
    table_scan_end(&scan);
    /* An earlier start than the prefix is no start. */
    assert_int_equal(
        table_scan_from(&scan, &f->txn, TABLE_KV, BYTES_LITERAL("x/"), BYTES_LITERAL("a")), ERR_OK);
    assert_true(bytes_eq_str(scan.key, "x/a"));
    table_scan_end(&scan);
}

static struct table_digest digest_of(struct fixture *f)
{
    struct table_digest digest;
    assert_int_equal(table_digest(&f->txn, &digest), ERR_OK);
    return digest;
}

static void digest_depends_on_rows_and_not_on_history(void **state)
{
    struct fixture *f = *state;
    struct bytes a = BYTES_LITERAL("a");
    struct bytes b = BYTES_LITERAL("b");
    assert_int_equal(table_put(&f->txn, TABLE_KV, a, BYTES_LITERAL("1")), ERR_OK);
    struct table_digest only_a = digest_of(f);
    assert_int_equal(table_put(&f->txn, TABLE_KV, b, BYTES_LITERAL("1")), ERR_OK);
    assert_true(digest_of(f).low != only_a.low && digest_of(f).high != only_a.high);
    assert_int_equal(table_put(&f->txn, TABLE_KV, a, BYTES_LITERAL("2")), ERR_OK);
    assert_int_equal(table_put(&f->txn, TABLE_KV, a, BYTES_LITERAL("1")), ERR_OK);
    assert_int_equal(table_delete(&f->txn, TABLE_KV, b), ERR_OK);
    assert_true(digest_of(f).low == only_a.low && digest_of(f).high == only_a.high);
    /* The applied index is not part of it. */
    assert_int_equal(table_set_applied(&f->txn, 9, 0), ERR_OK);
    assert_true(digest_of(f).low == only_a.low);
    /* The same key in another table is another row. */
    assert_int_equal(table_put(&f->txn, TABLE_ROUTES, a, BYTES_LITERAL("1")), ERR_OK);
    assert_int_equal(table_delete(&f->txn, TABLE_KV, a), ERR_OK);
    assert_true(digest_of(f).low != only_a.low);
}

static void digest_and_applied_index_are_kept_by_the_store(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(table_put(&f->txn, TABLE_KV, BYTES_LITERAL("key"), BYTES_LITERAL("value")),
                     ERR_OK);
    assert_int_equal(table_set_applied(&f->txn, 42, 1700), ERR_OK);
    assert_int_equal(table_txn_finish(&f->txn), ERR_OK);
    struct table_digest before = digest_of(f);
    table_txn_init(&f->txn, table_mem_backend(), f->mem, GROUP, true);
    struct table_digest after = digest_of(f);
    assert_int_equal(after.low, before.low);
    assert_int_equal(after.high, before.high);
    uint64_t applied = 0;
    assert_int_equal(table_applied(&f->txn, &applied), ERR_OK);
    assert_int_equal(applied, 42);
    clk_ms time_ms = 0;
    assert_int_equal(table_applied_time(&f->txn, &time_ms), ERR_OK);
    assert_int_equal(time_ms, 1700);
    /* Golden: digests are on disks and are compared between versions of the program. */
    assert_int_equal(after.low, 0x27d8da4faaf359ffu);
    assert_int_equal(after.high, 0xc8524b9bc39adf9u);
}

static void stored_keys_have_golden_bytes(void **state)
{
    (void)state;
    uint8_t stored[TABLE_STORED_KEY_MAX];
    size_t len = 0;
    bool is_long = true;
    assert_int_equal(
        table_key_encode(0x01020304, TABLE_KV, BYTES_LITERAL("ab"), stored, &len, &is_long),
        ERR_OK);
    static const uint8_t golden[] = {1, 2, 3, 4, 5, 'a', 'b'};
    assert_int_equal(len, sizeof(golden));
    assert_memory_equal(stored, golden, sizeof(golden));
    assert_false(is_long);
    uint8_t key[TABLE_KEY_MAX + 1];
    memset(key, 0xff, sizeof(key));
    /* 505 bytes are short, 506 are long: the length alone tells the forms apart. */
    assert_int_equal(table_key_encode(1, TABLE_KV, bytes_of(key, 505), stored, &len, &is_long),
                     ERR_OK);
    assert_false(is_long);
    assert_int_equal(len, 510);
    assert_int_equal(table_key_encode(1, TABLE_KV, bytes_of(key, 506), stored, &len, &is_long),
                     ERR_OK);
    assert_true(is_long);
    assert_int_equal(len, TABLE_STORED_KEY_MAX);
    static const uint8_t tail[] = {0xff, 0xb7, 0x88, 0xc2, 0x85, 0x9b, 0x09, 0xea, 0x04, 0xfe, 0x96,
                                   0x13, 0x1b, 0x7d, 0xa5, 0xfa, 0x5a, 0xb5, 0x53, 0x39, 0x71, 0x1d,
                                   0x71, 0x00, 0x88, 0x39, 0xd8, 0xb5, 0xf0, 0xf6, 0x66, 0xbe};
    assert_memory_equal(stored + 479, tail, sizeof(tail));
    assert_int_equal(
        table_key_encode(1, TABLE_KV, bytes_of(key, sizeof(key)), stored, &len, &is_long),
        ERR_TOO_LARGE);
}

static void abort_takes_back_every_write(void **state)
{
    struct fixture *f = *state;
    make_keys(f);
    struct rnd rnd;
    rnd_init(&rnd, 11);
    for (int round = 0; round < 50; round++) {
        bool keep = rnd_chance_ppm(&rnd, 500000);
        struct fixture *before = test_malloc(sizeof(*before));
        *before = *f;
        table_mem_begin(f->mem);
        for (int i = 0; i < 30; i++) {
            random_write(f, &rnd);
        }
        if (keep) {
            table_mem_commit(f->mem);
        } else {
            table_mem_abort(f->mem);
            *f = *before;
        }
        check_all(f);
        test_free(before);
    }
}

static void clone_lives_on_its_own(void **state)
{
    struct fixture *f = *state;
    struct bytes key = BYTES_LITERAL("key");
    assert_int_equal(table_put(&f->txn, TABLE_KV, key, BYTES_LITERAL("1")), ERR_OK);
    struct table_mem *copy = table_mem_clone(f->mem);
    assert_int_equal(table_put(&f->txn, TABLE_KV, key, BYTES_LITERAL("2")), ERR_OK);
    struct table_txn txn;
    table_txn_init(&txn, table_mem_backend(), copy, GROUP, true);
    struct bytes value;
    assert_int_equal(table_get(&txn, TABLE_KV, key, &value), ERR_OK);
    assert_true(bytes_eq_str(value, "1"));
    table_mem_free(copy);
}

/* As a copier of whole groups walks them: by the backend, in stored form. */
static enum err add_all_stored(struct fixture *f, struct table_digest *digest, size_t *ret_rows)
{
    const struct table_backend *backend = table_mem_backend();
    struct bytes key;
    struct bytes value;
    *ret_rows = 0;
    enum err err = backend->seek(f->mem, 0, BYTES_LITERAL("\0"), &key, &value);
    while (err == ERR_OK) {
        (*ret_rows)++;
        err = table_digest_add_stored(digest, key, value);
        if (err == ERR_OK) {
            err = backend->next(f->mem, 0, &key, &value);
        }
    }
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

static void stored_rows_add_up_to_the_digest(void **state)
{
    struct fixture *f = *state;
    struct rnd rnd;
    rnd_init(&rnd, 5);
    make_keys(f);
    for (int i = 0; i < 200; i++) {
        random_write(f, &rnd);
    }
    assert_int_equal(table_set_applied(&f->txn, 7, 0), ERR_OK);
    struct table_digest kept;
    struct table_digest sum = {0, 0};
    size_t rows = 0;
    assert_int_equal(table_digest(&f->txn, &kept), ERR_OK);
    assert_int_equal(add_all_stored(f, &sum, &rows), ERR_OK);
    assert_true(rows > MODEL_ROWS / 4);
    assert_int_equal(sum.low, kept.low);
    assert_int_equal(sum.high, kept.high);
}

static void stored_rows_that_no_put_writes_are_corrupt(void **state)
{
    (void)state;
    struct table_digest sum = {0, 0};
    uint8_t key[TABLE_KEY_MAX];
    uint8_t stored[TABLE_STORED_KEY_MAX];
    uint8_t value[sizeof(uint16_t) + LONG_KEY] = {0};
    size_t len;
    bool is_long;
    memset(key, 'k', sizeof(key));
    assert_int_equal(
        table_key_encode(GROUP, TABLE_KV, bytes_of(key, LONG_KEY), stored, &len, &is_long), ERR_OK);
    put_u16(value, LONG_KEY);
    memset(value + sizeof(uint16_t), 'k', LONG_KEY);
    struct bytes row = bytes_of(value, sizeof(value));
    assert_int_equal(table_digest_add_stored(&sum, bytes_of(stored, len), row), ERR_OK);
    value[sizeof(value) - 1] = 'j'; /* not the key that the hash was made of */
    assert_int_equal(table_digest_add_stored(&sum, bytes_of(stored, len), row), ERR_CORRUPT);
    row.len = LONG_KEY / 2;
    assert_int_equal(table_digest_add_stored(&sum, bytes_of(stored, len), row), ERR_CORRUPT);
    assert_int_equal(table_digest_add_stored(&sum, bytes_of(stored, 4), row), ERR_CORRUPT);
}

static void oversized_rows_are_refused(void **state)
{
    struct fixture *f = *state;
    uint8_t *large = test_calloc(1, TABLE_VALUE_MAX + 1);
    struct bytes key = BYTES_LITERAL("key");
    struct bytes value;
    assert_int_equal(table_put(&f->txn, TABLE_KV, key, bytes_of(large, TABLE_VALUE_MAX + 1)),
                     ERR_TOO_LARGE);
    assert_int_equal(table_put(&f->txn, TABLE_KV, bytes_of(large, TABLE_KEY_MAX + 1), key),
                     ERR_TOO_LARGE);
    assert_int_equal(table_get(&f->txn, TABLE_KV, bytes_of(large, TABLE_KEY_MAX + 1), &value),
                     ERR_TOO_LARGE);
    assert_int_equal(table_put(&f->txn, TABLE_KV, bytes_of(large, TABLE_KEY_MAX), key), ERR_OK);
    test_free(large);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(rows_behave_like_a_naive_map, set_up, tear_down),
        cmocka_unit_test_setup_teardown(rows_of_other_groups_and_tables_are_not_seen, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(scan_follows_writes_made_during_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(scan_from_skips_what_comes_before, set_up, tear_down),
        cmocka_unit_test_setup_teardown(digest_depends_on_rows_and_not_on_history, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(digest_and_applied_index_are_kept_by_the_store, set_up,
                                        tear_down),
        cmocka_unit_test(stored_keys_have_golden_bytes),
        cmocka_unit_test_setup_teardown(abort_takes_back_every_write, set_up, tear_down),
        cmocka_unit_test_setup_teardown(clone_lives_on_its_own, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stored_rows_add_up_to_the_digest, set_up, tear_down),
        cmocka_unit_test(stored_rows_that_no_put_writes_are_corrupt),
        cmocka_unit_test_setup_teardown(oversized_rows_are_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
