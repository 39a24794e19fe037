/* Tests of io/store: trust, transactions, the table backend, readers, limits. */
#include "store_test.h"

#include "rnd/rnd.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

enum {
    GROUP = 1,
    OTHER_GROUP = 2
};

struct fixture {
    char dir[SCRATCH_PATH_MAX];
};

static int set_up(void **state)
{
    struct fixture *f = test_calloc(1, sizeof(*f));
    scratch_make(f->dir);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    scratch_remove(f->dir);
    test_free(f);
    return 0;
}

/* ---- trust ---------------------------------------------------------------------------------- */

static void fresh_directory_is_empty_and_untrusted(void **state)
{
    struct fixture *f = *state;
    struct store *store = open_store(f->dir, false);
    expect_committed(store, GROUP, "key", NULL);
    close_store(store, false);
}

static void rows_survive_a_clean_stop(void **state)
{
    struct fixture *f = *state;
    struct store *store = open_store(f->dir, false);
    put_committed(store, GROUP, "key", "value", 7);
    close_store(store, true);
    store = open_store(f->dir, true);
    expect_committed(store, GROUP, "key", "value");
    expect_committed(store, OTHER_GROUP, "key", NULL);
    close_store(store, true);
    /* Without a write in between the mark stays. */
    store = open_store(f->dir, true);
    put_committed(store, GROUP, "key", "second", 8);
    close_store(store, true);
    store = open_store(f->dir, true);
    expect_committed(store, GROUP, "key", "second");
    close_store(store, false);
    store = open_store(f->dir, true);
    close_store(store, false);
}

static void nothing_is_believed_after_an_unclean_stop(void **state)
{
    struct fixture *f = *state;
    struct store *store = open_store(f->dir, false);
    put_committed(store, GROUP, "key", "value", 7);
    close_store(store, true);
    store = open_store(f->dir, true);
    put_committed(store, GROUP, "key", "newer", 8);
    close_store(store, false);
    store = open_store(f->dir, false);
    expect_committed(store, GROUP, "key", NULL);
    close_store(store, false);
}

static void incomplete_content_gets_no_mark(void **state)
{
    struct fixture *f = *state;
    struct store *store = open_store(f->dir, false);
    put_committed(store, GROUP, "key", "value", 7);
    store_set_incomplete(store, true);
    close_store(store, true);
    store = open_store(f->dir, false);
    store_set_incomplete(store, true);
    store_set_incomplete(store, false);
    close_store(store, true);
    store = open_store(f->dir, true);
    close_store(store, true);
}

static void default_configuration_opens_and_takes_little_disk(void **state)
{
    struct fixture *f = *state;
    struct store_cfg cfg;
    struct store *store = NULL;
    struct store_stats stats;
    bool trusted;
    store_cfg_init(&cfg);
    assert_int_equal(store_open(f->dir, &cfg, &store, &trusted, NULL), ERR_OK);
    put_committed(store, GROUP, "key", "value", 1);
    store_stats(store, &stats);
    assert_int_equal(stats.map_bytes, 64ULL << 30);
    assert_true(stats.allocated_bytes <= 2 * cfg.step_bytes);
    close_store(store, true);
    assert_int_equal(store_open(f->dir, &cfg, &store, &trusted, NULL), ERR_OK);
    store_stats(store, &stats);
    assert_true(stats.used_bytes > 0);
    assert_true(stats.allocated_bytes >= stats.used_bytes);
    assert_true(stats.allocated_bytes <= 2 * cfg.step_bytes);
    close_store(store, true);
}

enum child_death {
    DIE_BEFORE_WRITING,
    DIE_IN_TRANSACTION,
    DIE_AFTER_COMMIT
};

/* In a child process, which kills itself as `kill -9` would. */
static void open_and_die(const char *dir, enum child_death when)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct store *store = open_store(dir, true);
        struct table_txn txn;
        if (when != DIE_BEFORE_WRITING) {
            write_begin(store, GROUP, &txn);
            put_text(&txn, "key", "from the child");
        }
        if (when == DIE_AFTER_COMMIT) {
            write_commit(store, &txn);
        }
        (void)raise(SIGKILL);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
}

static void make_clean(const char *dir)
{
    struct store_cfg cfg = small_cfg();
    struct store *store = NULL;
    bool trusted;
    assert_int_equal(store_open(dir, &cfg, &store, &trusted, NULL), ERR_OK);
    put_committed(store, GROUP, "key", "value", 7);
    close_store(store, true);
}

static void killed_process_leaves_trust_only_before_its_first_write(void **state)
{
    struct fixture *f = *state;
    make_clean(f->dir);
    open_and_die(f->dir, DIE_BEFORE_WRITING);
    struct store *store = open_store(f->dir, true);
    expect_committed(store, GROUP, "key", "value");
    close_store(store, true);

    open_and_die(f->dir, DIE_IN_TRANSACTION);
    store = open_store(f->dir, false);
    expect_committed(store, GROUP, "key", NULL);
    close_store(store, false);

    make_clean(f->dir);
    open_and_die(f->dir, DIE_AFTER_COMMIT);
    store = open_store(f->dir, false);
    expect_committed(store, GROUP, "key", NULL);
    close_store(store, false);
}

static void read_file(const char *dir, const char *name, uint8_t *dest, size_t size, size_t *ret)
{
    char path[2 * SCRATCH_PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    ssize_t n = read(fd, dest, size);
    assert_true(n >= 0);
    *ret = (size_t)n;
    close(fd);
}

static void write_file(const char *dir, const char *name, const uint8_t *data, size_t len)
{
    char path[2 * SCRATCH_PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), (ssize_t)len);
    close(fd);
}

static void damaged_mark_is_no_mark(void **state)
{
    struct fixture *f = *state;
    uint8_t mark[64];
    size_t len = 0;
    for (size_t bit = 0; bit < 8 * 40; bit += 7) {
        make_clean(f->dir);
        read_file(f->dir, "clean", mark, sizeof(mark), &len);
        assert_int_equal(len, 40);
        mark[bit / 8] ^= (uint8_t)(1u << bit % 8);
        write_file(f->dir, "clean", mark, len);
        close_store(open_store(f->dir, false), false);
    }
    for (size_t cut = 0; cut < 40; cut += 13) {
        make_clean(f->dir);
        read_file(f->dir, "clean", mark, sizeof(mark), &len);
        write_file(f->dir, "clean", mark, cut);
        close_store(open_store(f->dir, false), false);
    }
}

static void mark_beside_other_data_is_no_mark(void **state)
{
    struct fixture *f = *state;
    uint8_t mark[64];
    size_t len = 0;
    make_clean(f->dir);
    read_file(f->dir, "clean", mark, sizeof(mark), &len);
    struct store *store = open_store(f->dir, true);
    put_committed(store, GROUP, "key", "later", 8);
    close_store(store, false);
    write_file(f->dir, "clean", mark, len);
    store = open_store(f->dir, false);
    expect_committed(store, GROUP, "key", NULL);
    close_store(store, false);
}

static void damaged_data_file_is_started_anew(void **state)
{
    struct fixture *f = *state;
    static const uint8_t junk[8192] = {1, 2, 3};
    make_clean(f->dir);
    write_file(f->dir, "data.mdb", junk, sizeof(junk));
    close_store(open_store(f->dir, false), false);
    make_clean(f->dir);
    write_file(f->dir, "data.mdb", junk, 0);
    close_store(open_store(f->dir, false), false);
}

static void second_opener_is_refused(void **state)
{
    struct fixture *f = *state;
    struct store_cfg cfg = small_cfg();
    struct store *store = open_store(f->dir, false);
    struct store *second = NULL;
    struct err_note note;
    bool trusted;
    assert_int_equal(store_open(f->dir, &cfg, &second, &trusted, &note), ERR_IN_USE);
    assert_non_null(strstr(note.text, f->dir));
    close_store(store, false);
}

static void unusable_directory_is_named(void **state)
{
    struct fixture *f = *state;
    struct store_cfg cfg = small_cfg();
    struct store *store = NULL;
    struct err_note note;
    bool trusted;
    char path[2 * SCRATCH_PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/missing/state", f->dir);
    assert_int_equal(store_open(path, &cfg, &store, &trusted, &note), ERR_NOT_FOUND);
    assert_non_null(strstr(note.text, path));
}

/* ---- the table backend ---------------------------------------------------------------------- */

enum {
    KEYS = 300,
    MODEL_STEPS = 4000,
    MODEL_LONG_KEY = 700
};

static struct bytes model_key(uint32_t number, uint8_t dest[TABLE_KEY_MAX])
{
    /* A third of the keys are long and agree in everything that is kept in order. */
    size_t len = number % 3 == 0 ? MODEL_LONG_KEY : 6 + number % 40;
    memset(dest, 'k', len);
    put_u32_be(dest + len - 4, number);
    return bytes_of(dest, len);
}

static void one_model_write(struct table_txn *txn, struct rnd *rnd, const uint8_t *filler)
{
    uint8_t raw[TABLE_KEY_MAX];
    struct bytes key = model_key((uint32_t)rnd_below(rnd, KEYS), raw);
    if (rnd_below(rnd, 3) == 0) {
        enum err err = table_delete(txn, TABLE_KV, key);
        assert_true(err == ERR_OK || err == ERR_NOT_FOUND);
        return;
    }
    size_t len = rnd_below(rnd, 20) == 0 ? rnd_below(rnd, 30000) : rnd_below(rnd, 200);
    assert_int_equal(table_put(txn, TABLE_KV, key, bytes_of(filler, len)), ERR_OK);
}

/* Both must give the same rows in the same order. */
static void expect_same_rows(struct table_txn *a, struct table_txn *b)
{
    struct table_scan in_a;
    struct table_scan in_b;
    enum err err_a = table_scan(&in_a, a, TABLE_KV, BYTES_LITERAL("k"));
    enum err err_b = table_scan(&in_b, b, TABLE_KV, BYTES_LITERAL("k"));
    while (err_a == ERR_OK && err_b == ERR_OK) {
        assert_true(bytes_eq(in_a.key, in_b.key));
        assert_true(bytes_eq(in_a.value, in_b.value));
        err_a = table_scan_next(&in_a);
        err_b = table_scan_next(&in_b);
    }
    assert_int_equal(err_a, ERR_NOT_FOUND);
    assert_int_equal(err_b, ERR_NOT_FOUND);
    table_scan_end(&in_a);
    table_scan_end(&in_b);
}

static void store_behaves_as_the_memory_backend(void **state)
{
    struct fixture *f = *state;
    uint8_t *filler = test_calloc(1, 30000);
    struct store *store = open_store(f->dir, false);
    struct table_mem *mem = table_mem_new();
    struct table_txn model;
    struct rnd rnd;
    struct rnd same;
    rnd_init(&rnd, 11);
    rnd_init(&same, 11);
    table_txn_init(&model, table_mem_backend(), mem, GROUP, false);
    for (int step = 0; step < MODEL_STEPS; step += 100) {
        struct table_txn txn;
        memset(filler, 'a' + step / 100 % 26, 30000);
        write_begin(store, GROUP, &txn);
        for (int i = 0; i < 100; i++) {
            one_model_write(&txn, &rnd, filler);
            one_model_write(&model, &same, filler);
        }
        expect_same_rows(&txn, &model);
        write_commit(store, &txn);
    }
    assert_int_equal(table_txn_finish(&model), ERR_OK);
    struct store_reader *reader = NULL;
    struct table_txn view;
    assert_int_equal(store_reader_new(store, &reader), ERR_OK);
    assert_int_equal(store_read_begin(reader), ERR_OK);
    store_read_tables(reader, GROUP, &view);
    expect_same_rows(&view, &model);
    struct table_digest kept;
    struct table_digest sum = digest_of_rows(&view, NULL);
    assert_int_equal(table_digest(&view, &kept), ERR_OK);
    assert_int_equal(kept.low, sum.low);
    assert_int_equal(kept.high, sum.high);
    store_reader_free(reader);
    table_mem_free(mem);
    close_store(store, false);
    test_free(filler);
}

static void scan_goes_on_after_writes_to_its_rows(void **state)
{
    struct fixture *f = *state;
    struct store *store = open_store(f->dir, false);
    struct table_txn txn;
    struct table_scan scan;
    char text[16];
    int seen = 0;
    write_begin(store, GROUP, &txn);
    for (int i = 0; i < 500; i++) {
        (void)snprintf(text, sizeof(text), "row-%03d", i);
        put_text(&txn, text, text);
    }
    enum err err = table_scan(&scan, &txn, TABLE_KV, BYTES_LITERAL("row-"));
    for (; err == ERR_OK; err = table_scan_next(&scan), seen++) {
        (void)snprintf(text, sizeof(text), "row-%03d", seen);
        assert_true(bytes_eq_str(scan.key, text));
        if (seen % 2 == 0) {
            assert_int_equal(table_delete(&txn, TABLE_KV, bytes_of_str(text)), ERR_OK);
        } else {
            put_text(&txn, text, "a value that is a good deal longer than the one before it was");
        }
    }
    assert_int_equal(err, ERR_NOT_FOUND);
    assert_int_equal(seen, 500);
    table_scan_end(&scan);
    expect_text(&txn, "row-498", NULL);
    write_commit(store, &txn);
    close_store(store, false);
}

static void aborted_writes_are_gone(void **state)
{
    struct fixture *f = *state;
    struct store *store = open_store(f->dir, false);
    struct table_txn txn;
    put_committed(store, GROUP, "key", "value", 1);
    write_begin(store, GROUP, &txn);
    put_text(&txn, "key", "other");
    put_text(&txn, "more", "rows");
    store_write_abort(store);
    expect_committed(store, GROUP, "key", "value");
    expect_committed(store, GROUP, "more", NULL);
    close_store(store, false);
}

static void groups_share_a_transaction(void **state)
{
    struct fixture *f = *state;
    struct store *store = open_store(f->dir, false);
    struct table_txn one;
    struct table_txn two;
    assert_int_equal(store_write_begin(store, NULL), ERR_OK);
    store_write_tables(store, GROUP, &one);
    store_write_tables(store, OTHER_GROUP, &two);
    put_text(&one, "key", "of one");
    put_text(&two, "key", "of two");
    assert_int_equal(table_txn_finish(&one), ERR_OK);
    write_commit(store, &two);
    expect_committed(store, GROUP, "key", "of one");
    expect_committed(store, OTHER_GROUP, "key", "of two");
    close_store(store, false);
}

/* ---- readers -------------------------------------------------------------------------------- */

static void reader_keeps_its_snapshot_until_it_begins_anew(void **state)
{
    struct fixture *f = *state;
    struct store *store = open_store(f->dir, false);
    struct store_reader *reader = NULL;
    struct table_txn view;
    uint64_t applied = 0;
    put_committed(store, GROUP, "key", "first", 10);
    assert_int_equal(store_reader_new(store, &reader), ERR_OK);
    assert_int_equal(store_read_begin(reader), ERR_OK);
    store_read_tables(reader, GROUP, &view);
    put_committed(store, GROUP, "key", "second", 11);
    expect_text(&view, "key", "first");
    assert_int_equal(table_applied(&view, &applied), ERR_OK);
    assert_int_equal(applied, 10);
    store_read_end(reader);
    assert_int_equal(store_read_begin(reader), ERR_OK);
    store_read_tables(reader, GROUP, &view);
    expect_text(&view, "key", "second");
    assert_int_equal(table_applied(&view, &applied), ERR_OK);
    assert_int_equal(applied, 11);
    store_reader_free(reader);
    close_store(store, false);
}

static void reader_cursors_follow_its_snapshots(void **state)
{
    struct fixture *f = *state;
    struct store *store = open_store(f->dir, false);
    struct store_reader *reader = NULL;
    assert_int_equal(store_reader_new(store, &reader), ERR_OK);
    for (int round = 1; round <= 20; round++) {
        char text[16];
        struct table_txn view;
        (void)snprintf(text, sizeof(text), "row-%03d", round);
        put_committed(store, GROUP, text, text, (uint64_t)round);
        assert_int_equal(store_read_begin(reader), ERR_OK);
        store_read_tables(reader, GROUP, &view);
        struct table_scan scan;
        int seen = 0;
        enum err err = table_scan(&scan, &view, TABLE_KV, BYTES_LITERAL("row-"));
        for (; err == ERR_OK; err = table_scan_next(&scan)) {
            seen++;
        }
        table_scan_end(&scan);
        assert_int_equal(err, ERR_NOT_FOUND);
        assert_int_equal(seen, round);
        store_read_end(reader);
    }
    store_reader_free(reader);
    close_store(store, false);
}

static void readers_are_bounded_and_old_ones_are_counted(void **state)
{
    struct fixture *f = *state;
    struct store_cfg cfg = small_cfg();
    cfg.readers_max = 3;
    cfg.stale_commits = 5;
    struct store *store = NULL;
    struct store_reader *readers[3];
    struct store_reader *extra = NULL;
    struct store_stats stats;
    bool trusted;
    assert_int_equal(store_open(f->dir, &cfg, &store, &trusted, NULL), ERR_OK);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(store_reader_new(store, &readers[i]), ERR_OK);
    }
    assert_int_equal(store_reader_new(store, &extra), ERR_FULL);
    assert_int_equal(store_read_begin(readers[0]), ERR_OK);
    for (uint64_t i = 1; i <= 6; i++) {
        put_committed(store, GROUP, "key", "value", i);
    }
    assert_int_equal(store_read_begin(readers[1]), ERR_OK);
    store_stats(store, &stats);
    assert_int_equal(stats.readers_open, 3);
    assert_int_equal(stats.readers_active, 2);
    assert_int_equal(stats.readers_stale, 1);
    assert_int_equal(stats.oldest_commits, 6);
    assert_int_equal(stats.commits, 6);
    store_read_end(readers[0]);
    store_stats(store, &stats);
    assert_int_equal(stats.readers_stale, 0);
    store_reader_free(readers[0]);
    assert_int_equal(store_reader_new(store, &extra), ERR_OK);
    store_reader_free(extra);
    store_reader_free(readers[1]);
    store_reader_free(readers[2]);
    close_store(store, false);
}

enum {
    READERS = 3,
    BATCHES = 300,
    ROWS = 200
};

struct reading {
    struct store *store;
    atomic_bool *stop;
    atomic_int *started;
    uint64_t snapshots;
    bool wrong;
};

/* Each snapshot must be one state: its digest is that of its rows, every row is of its index or
 * older. */
static bool snapshot_is_whole(struct table_txn *view, uint64_t *last_applied)
{
    uint64_t applied = 0;
    struct table_digest kept;
    if (table_applied(view, &applied) != ERR_OK || table_digest(view, &kept) != ERR_OK) {
        return false;
    }
    struct table_digest sum = {0, 0};
    struct bytes key;
    struct bytes value;
    bool newest_seen = applied == 0;
    uint8_t first[4];
    put_u32_be(first, GROUP);
    enum err err = view->backend->seek(view->self, 0, bytes_of(first, sizeof(first)), &key, &value);
    for (; err == ERR_OK; err = view->backend->next(view->self, 0, &key, &value)) {
        if (table_digest_add_stored(&sum, key, value) != ERR_OK) {
            return false;
        }
        uint64_t written = key.data[4] == TABLE_KV ? get_u64(value.data) : 0;
        newest_seen = newest_seen || written == applied;
        if (written > applied) {
            return false;
        }
    }
    bool forward = applied >= *last_applied;
    *last_applied = applied;
    return forward && newest_seen && sum.low == kept.low && sum.high == kept.high;
}

static void *read_until_stopped(void *argument)
{
    struct reading *reading = argument;
    struct store_reader *reader = NULL;
    uint64_t last_applied = 0;
    if (store_reader_new(reading->store, &reader) != ERR_OK) {
        reading->wrong = true;
        atomic_fetch_add(reading->started, 1);
        return NULL;
    }
    do {
        struct table_txn view;
        if (store_read_begin(reader) != ERR_OK) {
            reading->wrong = true;
            break;
        }
        store_read_tables(reader, GROUP, &view);
        if (!snapshot_is_whole(&view, &last_applied)) {
            reading->wrong = true;
        }
        store_read_end(reader);
        if (reading->snapshots++ == 0) {
            atomic_fetch_add(reading->started, 1);
        }
    } while (!atomic_load(reading->stop));
    store_reader_free(reader);
    return NULL;
}

static void write_batch(struct store *store, struct rnd *rnd, uint64_t index)
{
    struct table_txn txn;
    write_begin(store, GROUP, &txn);
    for (int i = 0; i < 20; i++) {
        uint8_t key[8];
        uint8_t value[3000] = {0};
        put_u64_be(key, i == 0 ? 0 : rnd_below(rnd, ROWS));
        put_u64(value, index);
        struct bytes row = bytes_of(value, i == 0 ? 8 : 8 + rnd_below(rnd, sizeof(value) - 8));
        if (i > 0 && rnd_below(rnd, 4) == 0) {
            enum err err = table_delete(&txn, TABLE_KV, bytes_of(key, 8));
            assert_true(err == ERR_OK || err == ERR_NOT_FOUND);
        } else {
            assert_int_equal(table_put(&txn, TABLE_KV, bytes_of(key, 8), row), ERR_OK);
        }
    }
    put_text(&txn, "newest", "12345678");
    uint8_t newest[8];
    put_u64(newest, index);
    assert_int_equal(table_put(&txn, TABLE_KV, BYTES_LITERAL("newest"), bytes_of(newest, 8)),
                     ERR_OK);
    assert_int_equal(table_set_applied(&txn, index, 0), ERR_OK);
    write_commit(store, &txn);
}

static void readers_see_whole_states_while_one_thread_writes(void **state)
{
    struct fixture *f = *state;
    struct store *store = open_store(f->dir, false);
    struct reading readings[READERS];
    pthread_t threads[READERS];
    atomic_bool stop = false;
    atomic_int started = 0;
    for (int i = 0; i < READERS; i++) {
        readings[i] = (struct reading){.store = store, .stop = &stop, .started = &started};
        assert_int_equal(pthread_create(&threads[i], NULL, read_until_stopped, &readings[i]), 0);
    }
    struct rnd rnd;
    rnd_init(&rnd, 3);
    for (uint64_t i = 1; i <= BATCHES || atomic_load(&started) < READERS; i++) {
        write_batch(store, &rnd, i);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < READERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_false(readings[i].wrong);
        assert_true(readings[i].snapshots > 0);
    }
    close_store(store, false);
}

/* ---- limits --------------------------------------------------------------------------------- */

/* Puts rows of 4000 bytes until it fails; each transaction has 50. */
static enum err fill(struct store *store, uint32_t *ret_rows, struct err_note *note)
{
    static const uint8_t value[4000] = {1};
    for (uint32_t row = 0; row < 100000; row += 50) {
        struct table_txn txn;
        enum err err = ERR_OK;
        write_begin(store, GROUP, &txn);
        for (uint32_t i = row; i < row + 50 && err == ERR_OK; i++) {
            uint8_t key[4];
            put_u32_be(key, i);
            err = table_put(&txn, TABLE_KV, bytes_of(key, 4), bytes_of(value, sizeof(value)));
        }
        if (err == ERR_OK) {
            err = table_txn_finish(&txn);
        }
        enum err end = store_write_commit(store, note);
        if (end != ERR_OK) {
            *ret_rows = row;
            return end;
        }
        assert_int_equal(err, ERR_OK);
    }
    return ERR_OK;
}

static void state_beyond_its_limit_is_refused_and_reads_go_on(void **state)
{
    struct fixture *f = *state;
    struct store_cfg cfg = small_cfg();
    cfg.map_bytes = 4ULL << 20;
    struct store *store = NULL;
    struct err_note note = {""};
    bool trusted;
    uint32_t rows = 0;
    assert_int_equal(store_open(f->dir, &cfg, &store, &trusted, NULL), ERR_OK);
    put_committed(store, GROUP, "key", "value", 1);
    assert_int_equal(fill(store, &rows, &note), ERR_NO_SPACE);
    assert_non_null(strstr(note.text, "4 MiB"));
    assert_true(rows >= 200);
    expect_committed(store, GROUP, "key", "value");
    /* What is deleted makes room again. */
    struct table_txn txn;
    write_begin(store, GROUP, &txn);
    for (uint32_t i = 0; i < 100; i++) {
        uint8_t key[4];
        put_u32_be(key, i);
        assert_int_equal(table_delete(&txn, TABLE_KV, bytes_of(key, 4)), ERR_OK);
    }
    write_commit(store, &txn);
    put_committed(store, GROUP, "key", "newer", 2);
    expect_committed(store, GROUP, "key", "newer");
    close_store(store, true);
    /* A smaller limit than what is there: it opens, and still refuses. */
    cfg.map_bytes = 1ULL << 20;
    assert_int_equal(store_open(f->dir, &cfg, &store, &trusted, NULL), ERR_OK);
    assert_true(trusted);
    expect_committed(store, GROUP, "key", "newer");
    put_committed(store, GROUP, "key", "third", 3);
    close_store(store, true);
}

static void failed_transaction_answers_everything_with_its_failure(void **state)
{
    struct fixture *f = *state;
    struct store_cfg cfg = small_cfg();
    cfg.map_bytes = 1ULL << 20;
    struct store *store = NULL;
    struct table_txn txn;
    struct bytes value;
    bool trusted;
    uint8_t *large = test_calloc(1, 2 << 20);
    assert_int_equal(store_open(f->dir, &cfg, &store, &trusted, NULL), ERR_OK);
    put_committed(store, GROUP, "key", "value", 1);
    write_begin(store, GROUP, &txn);
    assert_int_equal(table_put(&txn, TABLE_KV, BYTES_LITERAL("large"), bytes_of(large, 2 << 20)),
                     ERR_NO_SPACE);
    assert_int_equal(table_get(&txn, TABLE_KV, BYTES_LITERAL("key"), &value), ERR_NO_SPACE);
    assert_int_equal(table_put(&txn, TABLE_KV, BYTES_LITERAL("key"), BYTES_LITERAL("x")),
                     ERR_NO_SPACE);
    assert_int_equal(table_delete(&txn, TABLE_KV, BYTES_LITERAL("key")), ERR_NO_SPACE);
    assert_int_equal(store_write_commit(store, NULL), ERR_NO_SPACE);
    put_committed(store, GROUP, "key", "second", 2);
    /* It was the state's size, not damage: a clean stop is one. */
    close_store(store, true);
    assert_int_equal(store_open(f->dir, &cfg, &store, &trusted, NULL), ERR_OK);
    assert_true(trusted);
    close_store(store, true);
    test_free(large);
}

/* The commit CHECKs that LMDB took no page beyond those with blocks. */
static void no_write_outruns_its_disk_space(void **state)
{
    struct fixture *f = *state;
    struct store_cfg cfg = small_cfg();
    cfg.map_bytes = 256ULL << 20;
    cfg.step_bytes = 4096;
    struct store *store = NULL;
    struct store_reader *reader = NULL;
    struct rnd rnd;
    struct store_stats stats;
    bool trusted;
    uint8_t *filler = test_calloc(1, 200000);
    rnd_init(&rnd, 8);
    assert_int_equal(store_open(f->dir, &cfg, &store, &trusted, NULL), ERR_OK);
    assert_int_equal(store_reader_new(store, &reader), ERR_OK);
    for (int round = 0; round < 400; round++) {
        /* A snapshot that is held makes LMDB take new pages; letting it go makes it use old
         * ones. */
        if (round % 40 == 10) {
            assert_int_equal(store_read_begin(reader), ERR_OK);
        } else if (round % 40 == 30) {
            store_read_end(reader);
        }
        struct table_txn txn;
        write_begin(store, GROUP, &txn);
        uint64_t writes = rnd_below(&rnd, 5) == 0 ? 400 : rnd_below(&rnd, 20);
        for (uint64_t i = 0; i < writes; i++) {
            uint8_t key[300] = {0};
            put_u64_be(key, rnd_below(&rnd, 3000));
            struct bytes k = bytes_of(key, rnd_below(&rnd, 4) == 0 ? 300 : 8);
            size_t len =
                rnd_below(&rnd, 100) == 0 ? rnd_below(&rnd, 200000) : rnd_below(&rnd, 3000);
            if (rnd_below(&rnd, 5) < (unsigned)(round / 100)) {
                enum err err = table_delete(&txn, TABLE_KV, k);
                assert_true(err == ERR_OK || err == ERR_NOT_FOUND);
            } else {
                assert_int_equal(table_put(&txn, TABLE_KV, k, bytes_of(filler, len)), ERR_OK);
            }
        }
        write_commit(store, &txn);
    }
    store_stats(store, &stats);
    assert_true(stats.used_bytes <= stats.allocated_bytes);
    store_reader_free(reader);
    close_store(store, false);
    test_free(filler);
}

static void large_transaction_into_an_empty_store_has_its_space(void **state)
{
    struct fixture *f = *state;
    struct store_cfg cfg = small_cfg();
    cfg.step_bytes = 4096;
    struct store *store = NULL;
    struct table_txn txn;
    bool trusted;
    uint8_t value[500] = {1};
    assert_int_equal(store_open(f->dir, &cfg, &store, &trusted, NULL), ERR_OK);
    write_begin(store, GROUP, &txn);
    for (uint32_t i = 0; i < 20000; i++) {
        uint8_t key[4];
        put_u32_be(key, i * 7919);
        assert_int_equal(
            table_put(&txn, TABLE_KV, bytes_of(key, 4), bytes_of(value, sizeof(value))), ERR_OK);
    }
    write_commit(store, &txn);
    close_store(store, false);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(fresh_directory_is_empty_and_untrusted),
        CASE(rows_survive_a_clean_stop),
        CASE(nothing_is_believed_after_an_unclean_stop),
        CASE(incomplete_content_gets_no_mark),
        CASE(default_configuration_opens_and_takes_little_disk),
        CASE(killed_process_leaves_trust_only_before_its_first_write),
        CASE(damaged_mark_is_no_mark),
        CASE(mark_beside_other_data_is_no_mark),
        CASE(damaged_data_file_is_started_anew),
        CASE(second_opener_is_refused),
        CASE(unusable_directory_is_named),
        CASE(store_behaves_as_the_memory_backend),
        CASE(scan_goes_on_after_writes_to_its_rows),
        CASE(aborted_writes_are_gone),
        CASE(groups_share_a_transaction),
        CASE(reader_keeps_its_snapshot_until_it_begins_anew),
        CASE(reader_cursors_follow_its_snapshots),
        CASE(readers_are_bounded_and_old_ones_are_counted),
        CASE(readers_see_whole_states_while_one_thread_writes),
        CASE(state_beyond_its_limit_is_refused_and_reads_go_on),
        CASE(failed_transaction_answers_everything_with_its_failure),
        CASE(no_write_outruns_its_disk_space),
        CASE(large_transaction_into_an_empty_store_has_its_space),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
