/* What the store's tests share: a scratch directory, rows of text, and small helpers. */
#ifndef STORE_TEST_H
#define STORE_TEST_H

#include "store/store.h"

#include "test.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    SCRATCH_PATH_MAX = 256
};

/* A new empty directory; removed by scratch_remove. */
static inline void scratch_make(char path[SCRATCH_PATH_MAX])
{
    const char *base = getenv("TMPDIR");
    (void)snprintf(path, SCRATCH_PATH_MAX, "%s/flotilla-store-XXXXXX",
                   base != NULL ? base : "/tmp");
    assert_non_null(mkdtemp(path));
}

/* Removes a directory of plain files and one level of directories of plain files. */
static inline void scratch_remove(const char *path)
{
    DIR *listing = opendir(path);
    assert_non_null(listing);
    for (const struct dirent *entry = readdir(listing); entry != NULL; entry = readdir(listing)) {
        char name[2 * SCRATCH_PATH_MAX];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        (void)snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
        if (unlink(name) != 0) {
            DIR *inner = opendir(name);
            assert_non_null(inner);
            for (const struct dirent *e = readdir(inner); e != NULL; e = readdir(inner)) {
                (void)unlinkat(dirfd(inner), e->d_name, 0);
            }
            closedir(inner);
            assert_int_equal(rmdir(name), 0);
        }
    }
    closedir(listing);
    assert_int_equal(rmdir(path), 0);
}

static inline bool file_exists(const char *dir, const char *name)
{
    char path[2 * SCRATCH_PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    return access(path, F_OK) == 0;
}

/* A configuration that tests can afford: 64 MiB at most, 1 MiB steps. */
static inline struct store_cfg small_cfg(void)
{
    struct store_cfg cfg;
    store_cfg_init(&cfg);
    cfg.map_bytes = 64ULL << 20;
    cfg.step_bytes = 1ULL << 20;
    cfg.readers_max = 8;
    return cfg;
}

static inline struct store *open_store(const char *dir, bool want_trusted)
{
    struct store_cfg cfg = small_cfg();
    struct store *store = NULL;
    struct err_note note = {""};
    bool trusted = !want_trusted;
    enum err err = store_open(dir, &cfg, &store, &trusted, &note);
    if (err != ERR_OK) {
        fail_msg("store_open: %s", note.text);
    }
    assert_int_equal(trusted, want_trusted);
    return store;
}

static inline void close_store(struct store *store, bool clean)
{
    struct err_note note;
    assert_int_equal(store_close(store, clean, &note), ERR_OK);
}

static inline void write_begin(struct store *store, uint32_t group, struct table_txn *txn)
{
    assert_int_equal(store_write_begin(store, NULL), ERR_OK);
    store_write_tables(store, group, txn);
}

static inline void write_commit(struct store *store, struct table_txn *txn)
{
    assert_int_equal(table_txn_finish(txn), ERR_OK);
    assert_int_equal(store_write_commit(store, NULL), ERR_OK);
}

static inline void put_text(struct table_txn *txn, const char *key, const char *value)
{
    assert_int_equal(table_put(txn, TABLE_KV, bytes_of_str(key), bytes_of_str(value)), ERR_OK);
}

/* value NULL: there must be no such row. */
static inline void expect_text(struct table_txn *txn, const char *key, const char *value)
{
    struct bytes got;
    enum err err = table_get(txn, TABLE_KV, bytes_of_str(key), &got);
    assert_int_equal(err, value != NULL ? ERR_OK : ERR_NOT_FOUND);
    if (value != NULL) {
        assert_true(bytes_eq_str(got, value));
    }
}

/* One committed transaction with one row and an applied index. */
static inline void put_committed(struct store *store, uint32_t group, const char *key,
                                 const char *value, uint64_t index)
{
    struct table_txn txn;
    write_begin(store, group, &txn);
    put_text(&txn, key, value);
    assert_int_equal(table_set_applied(&txn, index, 0), ERR_OK);
    write_commit(store, &txn);
}

static inline void expect_committed(struct store *store, uint32_t group, const char *key,
                                    const char *value)
{
    struct store_reader *reader = NULL;
    struct table_txn view;
    assert_int_equal(store_reader_new(store, &reader), ERR_OK);
    assert_int_equal(store_read_begin(reader), ERR_OK);
    store_read_tables(reader, group, &view);
    expect_text(&view, key, value);
    store_reader_free(reader);
}

/* The digest of a group's rows, added up row by row. */
static inline struct table_digest digest_of_rows(struct table_txn *view, uint64_t *ret_rows)
{
    uint8_t prefix[4];
    put_u32_be(prefix, view->group);
    struct table_digest sum = {0, 0};
    struct bytes key;
    struct bytes value;
    uint64_t rows = 0;
    enum err err = view->backend->seek(view->self, 3, bytes_of(prefix, 4), &key, &value);
    while (err == ERR_OK && bytes_has_prefix(key, bytes_of(prefix, 4))) {
        assert_int_equal(table_digest_add_stored(&sum, key, value), ERR_OK);
        rows++;
        err = view->backend->next(view->self, 3, &key, &value);
    }
    assert_true(err == ERR_OK || err == ERR_NOT_FOUND);
    if (ret_rows != NULL) {
        *ret_rows = rows;
    }
    return sum;
}

#endif
