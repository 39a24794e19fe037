/* Store: transactions, and core/table's backend on them.
 *
 * Place: io. A struct table_txn's `self` is a struct store_view: LMDB's transaction with one cursor
 * per slot. Readers keep their cursors from snapshot to snapshot (mdb_cursor_renew), the writer's
 * end with the transaction. */
#include "store/store.h"

#include "store/store_priv.h"

#include "check/check.h"
#include "mem/mem.h"

#include <string.h>

#if defined(__SANITIZE_THREAD__)
#    define STORE_TSAN 1
#elif defined(__has_feature)
#    if __has_feature(thread_sanitizer)
#        define STORE_TSAN 1
#    endif
#endif

#ifdef STORE_TSAN
/* LMDB is not instrumented: of its page writes ThreadSanitizer sees the memcpy calls, but not the
 * reader table that orders them, and would report every page that is reused. */
const char *__tsan_default_suppressions(void);

const char *__tsan_default_suppressions(void)
{
    return "called_from_lib:liblmdb.so\n";
}
#endif

static MDB_val val_of(struct bytes slice)
{
    return (MDB_val){.mv_size = slice.len, .mv_data = (void *)(uintptr_t)slice.data};
}

static struct bytes bytes_of_val(MDB_val val)
{
    return bytes_of(val.mv_data, val.mv_size);
}

static struct store_view *view_of(void *self)
{
    struct store_view *view = self;
    CHECK(view->open);
    return view;
}

/* A write transaction that failed answers everything with its failure. */
static enum err view_usable(const struct store_view *view)
{
    return view->writing ? view->store->failed : ERR_OK;
}

static MDB_stat stat_of(struct store_view *view)
{
    MDB_stat stat;
    CHECK(mdb_stat(view->txn, view->store->dbi, &stat) == MDB_SUCCESS);
    return stat;
}

/* ---- the backend: reading -------------------------------------------------------------------- */

static enum err backend_get(void *self, struct bytes key, struct bytes *ret_value)
{
    struct store_view *view = view_of(self);
    CHECK(key.len > 0 && key.len <= TABLE_STORED_KEY_MAX);
    if (view_usable(view) != ERR_OK) {
        return view->store->failed;
    }
    MDB_val k = val_of(key);
    MDB_val v = {0};
    int rc = mdb_get(view->txn, view->store->dbi, &k, &v);
    if (rc != MDB_SUCCESS) {
        return store_err(view->store, rc);
    }
    *ret_value = bytes_of_val(v);
    return ERR_OK;
}

/* The slot's cursor, in the running transaction. */
static enum err cursor_ready(struct store_view *view, struct store_cursor *slot)
{
    if (slot->bound) {
        return ERR_OK;
    }
    int rc = slot->cursor != NULL ? mdb_cursor_renew(view->txn, slot->cursor)
                                  : mdb_cursor_open(view->txn, view->store->dbi, &slot->cursor);
    if (rc != MDB_SUCCESS) {
        return store_err(view->store, rc);
    }
    slot->bound = true;
    return ERR_OK;
}

static enum err cursor_move(struct store_view *view, struct store_cursor *slot, MDB_cursor_op op,
                            MDB_val *key, MDB_val *value)
{
    int rc = mdb_cursor_get(slot->cursor, key, value, op);
    if (rc != MDB_SUCCESS) {
        return store_err(view->store, rc);
    }
    if (view->writing) {
        /* A copy: the page may change under the next write. */
        CHECK(key->mv_size <= sizeof(slot->key));
        memcpy(slot->key, key->mv_data, key->mv_size);
        slot->key_len = key->mv_size;
        slot->writes = view->writes;
    }
    return ERR_OK;
}

static enum err backend_seek(void *self, int slot_number, struct bytes key, struct bytes *ret_key,
                             struct bytes *ret_value)
{
    struct store_view *view = view_of(self);
    CHECK(slot_number >= 0 && slot_number < TABLE_CURSORS);
    CHECK(key.len > 0 && key.len <= TABLE_STORED_KEY_MAX);
    struct store_cursor *slot = &view->cursors[slot_number];
    enum err err = view_usable(view);
    if (err == ERR_OK) {
        err = cursor_ready(view, slot);
    }
    MDB_val k = val_of(key);
    MDB_val v = {0};
    if (err == ERR_OK) {
        err = cursor_move(view, slot, MDB_SET_RANGE, &k, &v);
    }
    if (err != ERR_OK) {
        return err;
    }
    *ret_key = bytes_of_val(k);
    *ret_value = bytes_of_val(v);
    return ERR_OK;
}

/* After a write the cursor's place is uncertain: go back to the key, and past it if it is still
 * there. */
static enum err next_after_write(struct store_view *view, struct store_cursor *slot, MDB_val *key,
                                 MDB_val *value)
{
    uint8_t last[TABLE_STORED_KEY_MAX];
    size_t last_len = slot->key_len;
    memcpy(last, slot->key, last_len);
    *key = (MDB_val){.mv_size = last_len, .mv_data = last};
    enum err err = cursor_move(view, slot, MDB_SET_RANGE, key, value);
    if (err == ERR_OK && bytes_eq(bytes_of_val(*key), bytes_of(last, last_len))) {
        err = cursor_move(view, slot, MDB_NEXT, key, value);
    }
    return err;
}

static enum err backend_next(void *self, int slot_number, struct bytes *ret_key,
                             struct bytes *ret_value)
{
    struct store_view *view = view_of(self);
    CHECK(slot_number >= 0 && slot_number < TABLE_CURSORS);
    struct store_cursor *slot = &view->cursors[slot_number];
    CHECK(slot->bound);
    MDB_val k = {0};
    MDB_val v = {0};
    enum err err = view_usable(view);
    if (err == ERR_OK && view->writing && slot->writes != view->writes) {
        err = next_after_write(view, slot, &k, &v);
    } else if (err == ERR_OK) {
        err = cursor_move(view, slot, MDB_NEXT, &k, &v);
    }
    if (err != ERR_OK) {
        return err;
    }
    *ret_key = bytes_of_val(k);
    *ret_value = bytes_of_val(v);
    return ERR_OK;
}

/* ---- the backend: writing -------------------------------------------------------------------- */

/* The first failure decides what becomes of the transaction. */
static enum err fail(struct store *store, enum err err, const char *what, const char *why)
{
    store->failed = err;
    return err_note_set(&store->failed_note, err, "%s: %s: %s", store->dir, what, why);
}

static enum err fail_reserve(struct store *store, enum err err)
{
    const char *what = "cannot allocate disk space for the state";
    return fail(store, err, what, err_text(err));
}

static enum err fail_write(struct store *store, int rc)
{
    enum err err = store_err(store, rc);
    if (rc != MDB_MAP_FULL) {
        return fail(store, err, "cannot change the state", store_err_text(rc));
    }
    store->failed = err;
    return err_note_set(&store->failed_note, err,
                        "%s: the state has reached its configured limit of %llu MiB (map size)",
                        store->dir, (unsigned long long)(store->cfg.map_bytes >> 20));
}

static enum err backend_put(void *self, struct bytes key, struct bytes value)
{
    struct store_view *view = view_of(self);
    struct store *store = view->store;
    CHECK(view->writing);
    CHECK(key.len > 0 && key.len <= TABLE_STORED_KEY_MAX);
    if (store->failed != ERR_OK) {
        return store->failed;
    }
    MDB_stat stat = stat_of(view);
    enum err err = space_reserve_put(&store->space, &stat, value.len);
    if (err != ERR_OK) {
        return fail_reserve(store, err);
    }
    MDB_val k = val_of(key);
    MDB_val v = val_of(value);
    int rc = mdb_put(view->txn, store->dbi, &k, &v, 0);
    if (rc != MDB_SUCCESS) {
        return fail_write(store, rc);
    }
    stat = stat_of(view);
    space_note_growth(&store->space, &stat);
    view->writes++;
    return ERR_OK;
}

static enum err backend_del(void *self, struct bytes key)
{
    struct store_view *view = view_of(self);
    struct store *store = view->store;
    CHECK(view->writing);
    CHECK(key.len > 0 && key.len <= TABLE_STORED_KEY_MAX);
    if (store->failed != ERR_OK) {
        return store->failed;
    }
    MDB_stat stat = stat_of(view);
    enum err err = space_reserve_del(&store->space, &stat);
    if (err != ERR_OK) {
        return fail_reserve(store, err);
    }
    MDB_val k = val_of(key);
    int rc = mdb_del(view->txn, store->dbi, &k, NULL);
    if (rc == MDB_NOTFOUND) {
        return ERR_NOT_FOUND;
    }
    if (rc != MDB_SUCCESS) {
        return fail_write(store, rc);
    }
    stat = stat_of(view);
    space_note_growth(&store->space, &stat);
    view->writes++;
    return ERR_OK;
}

const struct table_backend store_read_backend = {
    .get = backend_get, .seek = backend_seek, .next = backend_next};

const struct table_backend store_write_backend = {.get = backend_get,
                                                  .put = backend_put,
                                                  .del = backend_del,
                                                  .seek = backend_seek,
                                                  .next = backend_next};

/* ---- the write transaction ------------------------------------------------------------------- */

enum err store_write_begin(struct store *store, struct err_note *note)
{
    CHECK(store->magic == STORE_MAGIC);
    CHECK(!store->writer.open);
    if (store->marked) {
        enum err err = mark_remove(store->dir_fd);
        if (err != ERR_OK) {
            return err_note_set(note, err, "%s: cannot remove the clean mark: %s", store->dir,
                                err_text(err));
        }
        store->marked = false;
    }
    MDB_envinfo info;
    struct store_view *view = &store->writer;
    int rc = mdb_env_info(store->env, &info);
    if (rc == MDB_SUCCESS) {
        rc = mdb_txn_begin(store->env, NULL, 0, &view->txn);
    }
    if (rc != MDB_SUCCESS) {
        return err_note_set(note, store_err(store, rc), "%s: cannot write: %s", store->dir,
                            store_err_text(rc));
    }
    view->store = store;
    view->open = true;
    view->writing = true;
    view->writes = 0;
    store->failed = ERR_OK;
    MDB_stat stat = stat_of(view);
    space_begin(&store->space, &stat, info.me_last_pgno + 1);
    return ERR_OK;
}

void store_write_tables(struct store *store, uint32_t group, struct table_txn *ret_txn)
{
    CHECK(store->magic == STORE_MAGIC);
    CHECK(store->writer.open);
    table_txn_init(ret_txn, &store_write_backend, &store->writer, group, false);
}

static void close_cursors(struct store_view *view)
{
    for (int i = 0; i < TABLE_CURSORS; i++) {
        struct store_cursor *slot = &view->cursors[i];
        if (slot->cursor != NULL) {
            mdb_cursor_close(slot->cursor);
        }
        slot->cursor = NULL;
        slot->bound = false;
    }
}

void store_write_abort(struct store *store)
{
    CHECK(store->magic == STORE_MAGIC);
    struct store_view *view = &store->writer;
    CHECK(view->open);
    close_cursors(view);
    mdb_txn_abort(view->txn);
    view->txn = NULL;
    view->open = false;
}

static void note_commit(struct store *store)
{
    MDB_envinfo info;
    CHECK(mdb_env_info(store->env, &info) == MDB_SUCCESS);
    uint64_t pages = info.me_last_pgno + 1;
    /* Invariant 2: nothing without a block was touched. */
    CHECK(store->writer.writes == 0 || pages <= store->space.allocated_pages);
    uint64_t commits = atomic_load_explicit(&store->commits, memory_order_relaxed);
    atomic_store_explicit(&store->commits, commits + 1, memory_order_relaxed);
    atomic_store_explicit(&store->used_bytes, pages * store->space.page_bytes,
                          memory_order_relaxed);
    atomic_store_explicit(&store->allocated_bytes,
                          store->space.allocated_pages * store->space.page_bytes,
                          memory_order_relaxed);
}

enum err store_write_commit(struct store *store, struct err_note *note)
{
    CHECK(store->magic == STORE_MAGIC);
    struct store_view *view = &store->writer;
    CHECK(view->open);
    if (store->failed != ERR_OK) {
        store_write_abort(store);
        return err_note_set(note, store->failed, "%s", store->failed_note.text);
    }
    close_cursors(view);
    int rc = mdb_txn_commit(view->txn);
    view->txn = NULL;
    view->open = false;
    if (rc != MDB_SUCCESS) {
        return err_note_set(note, store_err(store, rc), "%s: cannot commit: %s", store->dir,
                            store_err_text(rc));
    }
    note_commit(store);
    return ERR_OK;
}

/* ---- readers --------------------------------------------------------------------------------- */

static bool take_slot(struct store *store, uint32_t *ret_slot)
{
    for (uint32_t i = 0; i < store->cfg.readers_max; i++) {
        if (!atomic_exchange_explicit(&store->slots[i].taken, true, memory_order_acq_rel)) {
            *ret_slot = i;
            return true;
        }
    }
    return false;
}

enum err store_reader_new(struct store *store, struct store_reader **ret_reader)
{
    CHECK(store->magic == STORE_MAGIC);
    uint32_t slot;
    if (!take_slot(store, &slot)) {
        return ERR_FULL;
    }
    MDB_txn *txn = NULL;
    int rc = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn);
    if (rc != MDB_SUCCESS) {
        atomic_store_explicit(&store->slots[slot].taken, false, memory_order_release);
        return store_err(store, rc);
    }
    mdb_txn_reset(txn);
    struct store_reader *reader = mem_alloc(sizeof(*reader));
    reader->magic = STORE_READER_MAGIC;
    reader->slot = slot;
    reader->view.store = store;
    reader->view.txn = txn;
    *ret_reader = reader;
    return ERR_OK;
}

void store_reader_free(struct store_reader *reader)
{
    if (reader == NULL) {
        return;
    }
    CHECK(reader->magic == STORE_READER_MAGIC);
    if (reader->view.open) {
        store_read_end(reader);
    }
    struct store *store = reader->view.store;
    close_cursors(&reader->view);
    mdb_txn_abort(reader->view.txn);
    atomic_store_explicit(&store->slots[reader->slot].taken, false, memory_order_release);
    reader->magic = 0;
    mem_free(reader);
}

enum err store_read_begin(struct store_reader *reader)
{
    CHECK(reader->magic == STORE_READER_MAGIC);
    CHECK(!reader->view.open);
    struct store *store = reader->view.store;
    uint64_t commits = atomic_load_explicit(&store->commits, memory_order_relaxed);
    int rc = mdb_txn_renew(reader->view.txn);
    if (rc != MDB_SUCCESS) {
        return store_err(store, rc);
    }
    atomic_store_explicit(&store->slots[reader->slot].began, commits + 1, memory_order_relaxed);
    reader->view.open = true;
    return ERR_OK;
}

void store_read_tables(struct store_reader *reader, uint32_t group, struct table_txn *ret_txn)
{
    CHECK(reader->magic == STORE_READER_MAGIC);
    CHECK(reader->view.open);
    table_txn_init(ret_txn, &store_read_backend, &reader->view, group, true);
}

void store_read_end(struct store_reader *reader)
{
    CHECK(reader->magic == STORE_READER_MAGIC);
    CHECK(reader->view.open);
    for (int i = 0; i < TABLE_CURSORS; i++) {
        reader->view.cursors[i].bound = false;
    }
    mdb_txn_reset(reader->view.txn);
    reader->view.open = false;
    struct store *store = reader->view.store;
    atomic_store_explicit(&store->slots[reader->slot].began, 0, memory_order_relaxed);
}
