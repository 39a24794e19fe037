/* Tests of io/store on a disk that is full: an error with a note, never a SIGBUS.
 *
 * Each case runs in a child process with a mount namespace of its own, on a small tmpfs; without
 * the right to mount, the whole program is skipped (77). */
#include "store/snapshot_file.h"

#include "store_test.h"

#include <errno.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

enum {
    GROUP = 1,
    SKIPPED = 77
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

/* False when this process may not mount. What is mounted goes with the process. */
static bool mount_small(const char *dir, const char *options)
{
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        return false;
    }
    return mount("tmpfs", dir, "tmpfs", 0, options) == 0;
}

/* Runs the case in a child; its exit status must be 0. */
static void on_small_disk(const char *dir, const char *options, void (*run)(const char *dir))
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        if (!mount_small(dir, options)) {
            _exit(SKIPPED);
        }
        run(dir);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (WIFSIGNALED(status)) {
        fail_msg("the child died of signal %d", WTERMSIG(status));
    }
    if (WEXITSTATUS(status) == SKIPPED) {
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* In the child a failed expectation ends it with its line as the status. */
#define EXPECT(condition)                                                                          \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            (void)fprintf(stderr, "line %d: %s\n", __LINE__, #condition);                          \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (false)

static struct store *open_small(const char *dir, uint64_t step_bytes, enum err want,
                                struct err_note *note)
{
    struct store_cfg cfg = small_cfg();
    cfg.step_bytes = step_bytes;
    char path[2 * SCRATCH_PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/state", dir);
    struct store *store = NULL;
    bool trusted;
    EXPECT(store_open(path, &cfg, &store, &trusted, note) == want);
    return store;
}

/* One transaction with rows of 3000 bytes. */
static enum err put_rows(struct store *store, uint32_t first, uint32_t count, struct err_note *note)
{
    static const uint8_t value[3000] = {1};
    struct table_txn txn;
    EXPECT(store_write_begin(store, note) == ERR_OK);
    store_write_tables(store, GROUP, &txn);
    enum err err = ERR_OK;
    for (uint32_t i = first; i < first + count && err == ERR_OK; i++) {
        uint8_t key[4];
        put_u32_be(key, i);
        err = table_put(&txn, TABLE_KV, bytes_of(key, 4), bytes_of(value, sizeof(value)));
    }
    if (err == ERR_OK) {
        err = table_txn_finish(&txn);
    }
    enum err end = store_write_commit(store, note);
    EXPECT(err == end);
    return end;
}

static bool has_row(struct store *store, uint32_t row)
{
    struct store_reader *reader = NULL;
    struct table_txn view;
    struct bytes value;
    uint8_t key[4];
    put_u32_be(key, row);
    EXPECT(store_reader_new(store, &reader) == ERR_OK);
    EXPECT(store_read_begin(reader) == ERR_OK);
    store_read_tables(reader, GROUP, &view);
    bool found = table_get(&view, TABLE_KV, bytes_of(key, 4), &value) == ERR_OK;
    store_reader_free(reader);
    return found;
}

static void fill_until_full(const char *dir, uint64_t step_bytes, uint32_t per_batch)
{
    struct err_note note = {""};
    struct store *store = open_small(dir, step_bytes, ERR_OK, &note);
    uint32_t rows = 0;
    enum err err = ERR_OK;
    while ((err = put_rows(store, rows, per_batch, &note)) == ERR_OK) {
        rows += per_batch;
        EXPECT(rows < 100000);
    }
    EXPECT(err == ERR_NO_SPACE);
    EXPECT(strstr(note.text, dir) != NULL);
    EXPECT(strstr(note.text, "disk") != NULL);
    EXPECT(rows > 0);
    EXPECT(has_row(store, rows - 1));
    EXPECT(!has_row(store, rows));
    /* The same again, as a node would that tries. */
    EXPECT(put_rows(store, rows, per_batch, &note) == ERR_NO_SPACE);
    EXPECT(has_row(store, 0));
    EXPECT(store_close(store, false, &note) == ERR_OK);
}

static void small_steps(const char *dir)
{
    fill_until_full(dir, 4096, 5);
}

static void large_steps(const char *dir)
{
    fill_until_full(dir, 16 << 20, 100);
}

static void full_disk_is_an_error_and_rows_stay_readable(void **state)
{
    struct fixture *f = *state;
    on_small_disk(f->dir, "size=4m", small_steps);
}

static void last_blocks_are_used_when_a_step_does_not_fit(void **state)
{
    struct fixture *f = *state;
    on_small_disk(f->dir, "size=4m", large_steps);
}

static void fill_to_the_last_byte(const char *dir)
{
    static const uint8_t block[4096];
    char path[2 * SCRATCH_PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/filler", dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    EXPECT(fd >= 0);
    while (write(fd, block, sizeof(block)) > 0) {
    }
    EXPECT(errno == ENOSPC);
    close(fd);
}

static void open_on_full(const char *dir)
{
    struct err_note note = {""};
    fill_to_the_last_byte(dir);
    EXPECT(open_small(dir, 1 << 20, ERR_NO_SPACE, &note) == NULL);
    EXPECT(strstr(note.text, dir) != NULL);
}

static void store_cannot_be_made_on_a_full_disk(void **state)
{
    struct fixture *f = *state;
    on_small_disk(f->dir, "size=4m", open_on_full);
}

static void stop_on_full(const char *dir)
{
    struct err_note note = {""};
    struct store *store = open_small(dir, 1 << 20, ERR_OK, &note);
    EXPECT(put_rows(store, 0, 10, &note) == ERR_OK);
    fill_to_the_last_byte(dir);
    EXPECT(has_row(store, 9));
    EXPECT(store_close(store, true, &note) == ERR_NO_SPACE);
    EXPECT(strstr(note.text, "mark") != NULL);
}

static void stop_on_a_full_disk_leaves_no_mark_and_says_so(void **state)
{
    struct fixture *f = *state;
    on_small_disk(f->dir, "size=4m", stop_on_full);
}

/* ---- snapshot files ------------------------------------------------------------------------- */

/* A state of about 1 MiB, in memory. */
static struct table_mem *make_state(struct table_txn *txn, uint64_t index)
{
    static const uint8_t value[3000] = {1};
    struct table_mem *mem = table_mem_new();
    table_txn_init(txn, table_mem_backend(), mem, GROUP, false);
    for (uint32_t i = 0; i < 350; i++) {
        uint8_t key[4];
        put_u32_be(key, i);
        EXPECT(table_put(txn, TABLE_KV, bytes_of(key, 4), bytes_of(value, 3000)) == ERR_OK);
    }
    EXPECT(table_set_applied(txn, index, 0) == ERR_OK);
    EXPECT(table_txn_finish(txn) == ERR_OK);
    return mem;
}

static uint64_t files_in(const char *dir)
{
    DIR *listing = opendir(dir);
    EXPECT(listing != NULL);
    uint64_t count = 0;
    while (readdir(listing) != NULL) {
        count++;
    }
    closedir(listing);
    return count - 2;
}

static void snapshots_until_full(const char *path)
{
    struct snapshot_dir *dir = NULL;
    struct snapshot_info info;
    struct table_txn txn;
    struct err_note note = {""};
    uint64_t index = 1;
    enum err err = ERR_OK;
    EXPECT(snapshot_dir_open(path, &dir, NULL) == ERR_OK);
    for (; err == ERR_OK; index++) {
        struct raft_snapshot_meta meta = {.index = index, .term = 1};
        struct table_mem *mem = make_state(&txn, index);
        err = snapshot_write(dir, &txn, &meta, NULL, &info, &note);
        table_mem_free(mem);
        EXPECT(index < 10);
    }
    EXPECT(err == ERR_NO_SPACE);
    EXPECT(strstr(note.text, "snapshot-00000001-") != NULL);
    EXPECT(index >= 3);
    EXPECT(files_in(path) == index - 2); /* all before the one that failed */
    EXPECT(snapshot_newest(dir, GROUP, NULL, &info) == ERR_OK);
    EXPECT(info.meta.index == index - 2);
    snapshot_dir_close(dir);
}

static void snapshot_on_a_full_disk_is_an_error_and_leaves_no_file(void **state)
{
    struct fixture *f = *state;
    on_small_disk(f->dir, "size=4m", snapshots_until_full);
}

static void sink_until_full(const char *path)
{
    static const uint8_t chunk[300000];
    const struct snapshot_offer offer = {
        .group = GROUP, .index = 1, .term = 1, .size_bytes = 8 << 20};
    struct snapshot_dir *dir = NULL;
    struct snapshot_sink *sink = NULL;
    struct snapshot_info info;
    struct err_note note = {""};
    enum err err = ERR_OK;
    EXPECT(snapshot_dir_open(path, &dir, NULL) == ERR_OK);
    EXPECT(snapshot_sink_open(dir, &offer, UINT64_MAX, &sink, NULL) == ERR_OK);
    while (err == ERR_OK) {
        uint64_t at = snapshot_sink_offset(sink);
        err = snapshot_sink_write(sink, at, bytes_of(chunk, sizeof(chunk)), &note);
        EXPECT(at < offer.size_bytes / 2 + sizeof(chunk));
    }
    EXPECT(err == ERR_NO_SPACE);
    EXPECT(strstr(note.text, ".part") != NULL);
    EXPECT(snapshot_sink_finish(sink, &info, &note) == ERR_INCOMPLETE);
    snapshot_sink_close(sink);
    snapshot_dir_close(dir);
}

static void received_snapshot_on_a_full_disk_is_an_error(void **state)
{
    struct fixture *f = *state;
    on_small_disk(f->dir, "size=4m", sink_until_full);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(full_disk_is_an_error_and_rows_stay_readable),
        CASE(last_blocks_are_used_when_a_step_does_not_fit),
        CASE(store_cannot_be_made_on_a_full_disk),
        CASE(stop_on_a_full_disk_leaves_no_mark_and_says_so),
        CASE(snapshot_on_a_full_disk_is_an_error_and_leaves_no_file),
        CASE(received_snapshot_on_a_full_disk_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
