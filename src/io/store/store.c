/* Store: opening, trust, closing, numbers.
 *
 * Place: io. Transactions and the table backend are in store_txn.c. */
#include "store/store.h"

#include "store/store_priv.h"

#include "check/check.h"
#include "mem/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define DATA_NAME "data.mdb"
#define LOCK_NAME "lock.mdb"

enum {
    LOCK_SLOT_BYTES = 64,  /* LMDB keeps one cache line per reader */
    LOCK_SLOTS_EXTRA = 16, /* its header, generously */
    BLOCK_BYTES = 512,     /* of st_blocks, whatever the file system's blocks are */
    MAP_UNIT = 1024 * 1024,
    STEP_UNIT = 4096
};

void store_cfg_init(struct store_cfg *cfg)
{
    *cfg = (struct store_cfg){
        .map_bytes = 64ULL << 30,
        .step_bytes = 16ULL << 20,
        .stale_commits = 10000,
        .readers_max = 128,
    };
}

const char *store_err_text(int rc)
{
    /* mdb_strerror would ask strerror, which keeps hidden state. */
    const char *text = rc < 0 ? mdb_strerror(rc) : strerrordesc_np(rc);
    return text != NULL ? text : "unknown error";
}

enum err store_err(struct store *store, int rc)
{
    switch (rc) {
    case MDB_SUCCESS:
        return ERR_OK;
    case MDB_NOTFOUND:
        return ERR_NOT_FOUND;
    case MDB_MAP_FULL:
        return ERR_NO_SPACE;
    case MDB_READERS_FULL:
        return ERR_FULL;
    case MDB_TXN_FULL:
        return ERR_TOO_LARGE;
    default:
        break;
    }
    atomic_store_explicit(&store->unreliable, true, memory_order_relaxed);
    if (rc == MDB_CORRUPTED || rc == MDB_PAGE_NOTFOUND || rc == MDB_INVALID || rc == MDB_PANIC) {
        return ERR_CORRUPT;
    }
    return rc > 0 ? err_from_errno(rc) : ERR_IO;
}

/* ---- opening --------------------------------------------------------------------------------- */

/* The mark goes first, and durably: it must never lie beside something new. */
static enum err discard(struct store *store, struct err_note *note)
{
    enum err err = mark_remove(store->dir_fd);
    if (err == ERR_OK) {
        err = fs_remove(store->dir_fd, DATA_NAME);
    }
    if (err != ERR_OK) {
        return err_note_set(note, err, "%s: cannot remove the old state: %s", store->dir,
                            err_text(err));
    }
    store->marked = false;
    return ERR_OK;
}

/* LMDB would make its lock file a sparse map: give it blocks, as the data. A lock file of an
 * earlier process says nothing, the directory lock tells that nobody else is here. */
static enum err create_lock_file(struct store *store, struct err_note *note)
{
    enum err err = fs_remove(store->dir_fd, LOCK_NAME);
    if (err == ERR_OK) {
        int fd = openat(store->dir_fd, LOCK_NAME, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        err = fd >= 0 ? ERR_OK : err_from_errno(errno);
        if (fd >= 0) {
            off_t size = (off_t)(store->cfg.readers_max + LOCK_SLOTS_EXTRA) * LOCK_SLOT_BYTES;
            int rc = posix_fallocate(fd, 0, size);
            err = rc == 0 ? ERR_OK : err_from_errno(rc);
            (void)close(fd);
        }
    }
    if (err != ERR_OK) {
        return err_note_set(note, err, "%s/%s: cannot create: %s", store->dir, LOCK_NAME,
                            err_text(err));
    }
    return ERR_OK;
}

static int open_env(struct store *store)
{
    int rc = mdb_env_create(&store->env);
    if (rc != MDB_SUCCESS) {
        store->env = NULL;
        return rc;
    }
    rc = mdb_env_set_mapsize(store->env, store->cfg.map_bytes);
    if (rc == MDB_SUCCESS) {
        rc = mdb_env_set_maxreaders(store->env, store->cfg.readers_max);
    }
    if (rc == MDB_SUCCESS) {
        /* NOTLS: a snapshot belongs to its reader, not to a thread. Readahead stays on: without it
         * (MDB_NORDAHEAD) bench/store_put over a state of 800 MiB took seven times the page faults,
         * and scans for snapshots more than twice the time. */
        rc = mdb_env_open(store->env, store->dir, MDB_NOSYNC | MDB_WRITEMAP | MDB_NOTLS, 0600);
    }
    if (rc != MDB_SUCCESS) {
        mdb_env_close(store->env);
        store->env = NULL;
    }
    return rc;
}

static struct store_mark mark_of(struct store *store)
{
    MDB_envinfo info;
    MDB_stat stat;
    CHECK(mdb_env_info(store->env, &info) == MDB_SUCCESS);
    CHECK(mdb_env_stat(store->env, &stat) == MDB_SUCCESS);
    return (struct store_mark){.last_txn = info.me_last_txnid,
                               .last_page = info.me_last_pgno,
                               .page_bytes = stat.ms_psize};
}

/* An error number is a lack of something on this machine; it says nothing against the data. */
static enum err note_open(struct store *store, int rc, struct err_note *note)
{
    if (rc == ENOMEM) {
        return err_note_set(note, ERR_FULL,
                            "%s: cannot reserve %llu bytes of address space for the state",
                            store->dir, (unsigned long long)store->cfg.map_bytes);
    }
    return err_note_set(note, store_err(store, rc), "%s: cannot open the state: %s", store->dir,
                        store_err_text(rc));
}

/* Opens what is there when the mark vouches for it; in doubt *ret_trusted is false and nothing is
 * open. */
static enum err open_trusted(struct store *store, bool *ret_trusted, struct err_note *note)
{
    struct store_mark mark;
    *ret_trusted = false;
    if (mark_read(store->dir_fd, &mark) != ERR_OK) {
        return ERR_OK;
    }
    int rc = open_env(store);
    if (rc != MDB_SUCCESS) {
        return rc > 0 ? note_open(store, rc, note) : ERR_OK;
    }
    struct store_mark found = mark_of(store);
    if (found.last_txn == mark.last_txn && found.last_page == mark.last_page &&
        found.page_bytes == mark.page_bytes) {
        store->marked = true;
        *ret_trusted = true;
        return ERR_OK;
    }
    mdb_env_close(store->env);
    store->env = NULL;
    return ERR_OK;
}

static enum err open_empty(struct store *store, struct err_note *note)
{
    enum err err = discard(store, note);
    if (err == ERR_OK) {
        err = create_lock_file(store, note);
    }
    if (err != ERR_OK) {
        return err;
    }
    int rc = open_env(store);
    return rc == MDB_SUCCESS ? ERR_OK : note_open(store, rc, note);
}

/* Binds the one unnamed database and starts the space accounting. */
static enum err open_database(struct store *store, struct err_note *note)
{
    MDB_txn *txn = NULL;
    int rc = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn);
    if (rc == MDB_SUCCESS) {
        rc = mdb_dbi_open(txn, NULL, 0, &store->dbi);
        mdb_txn_abort(txn);
    }
    mdb_filehandle_t fd = -1;
    if (rc == MDB_SUCCESS) {
        rc = mdb_env_get_fd(store->env, &fd);
    }
    if (rc != MDB_SUCCESS) {
        return err_note_set(note, store_err(store, rc), "%s: %s", store->dir, store_err_text(rc));
    }
    CHECK(mdb_env_get_maxkeysize(store->env) >= TABLE_STORED_KEY_MAX);
    MDB_envinfo info;
    CHECK(mdb_env_info(store->env, &info) == MDB_SUCCESS);
    struct store_mark now = mark_of(store);
    store->space = (struct store_space){
        .fd = fd,
        .page_bytes = now.page_bytes,
        .step_pages = store->cfg.step_bytes / now.page_bytes,
        .map_pages = info.me_mapsize / now.page_bytes, /* never below what is in use */
    };
    atomic_store_explicit(&store->used_bytes, (now.last_page + 1) * now.page_bytes,
                          memory_order_relaxed);
    struct stat st;
    if (fstat(fd, &st) == 0) {
        atomic_store_explicit(&store->allocated_bytes, (uint64_t)st.st_blocks * BLOCK_BYTES,
                              memory_order_relaxed);
    }
    return ERR_OK;
}

static enum err lock_dir(struct store *store, struct err_note *note)
{
    enum err err = fs_open_dir(store->dir, &store->dir_fd);
    if (err != ERR_OK) {
        return err_note_set(note, err, "%s: cannot open the state directory: %s", store->dir,
                            err_text(err));
    }
    if (flock(store->dir_fd, LOCK_EX | LOCK_NB) != 0) {
        err = errno == EWOULDBLOCK ? ERR_IN_USE : err_from_errno(errno);
        return err_note_set(note, err, "%s: another process has this state open", store->dir);
    }
    return ERR_OK;
}

static void release(struct store *store)
{
    if (store->env != NULL) {
        mdb_env_close(store->env);
    }
    if (store->dir_fd >= 0) {
        (void)close(store->dir_fd); /* and with it the lock */
    }
    mem_free(store->slots);
    mem_free(store->dir);
    mem_free(store);
}

enum err store_open(const char *dir, const struct store_cfg *cfg, struct store **ret_store,
                    bool *ret_trusted, struct err_note *note)
{
    CHECK(cfg->map_bytes >= MAP_UNIT && cfg->map_bytes % MAP_UNIT == 0);
    CHECK(cfg->step_bytes >= STEP_UNIT && cfg->step_bytes % STEP_UNIT == 0);
    CHECK(cfg->readers_max > 0);
    struct store *store = mem_alloc(sizeof(*store));
    store->magic = STORE_MAGIC;
    store->cfg = *cfg;
    store->dir = mem_strdup(dir);
    store->dir_fd = -1;
    store->slots = mem_alloc_aligned(_Alignof(struct store_reader_slot),
                                     cfg->readers_max * sizeof(struct store_reader_slot));
    bool trusted = false;
    enum err err = lock_dir(store, note);
    if (err == ERR_OK) {
        err = create_lock_file(store, note);
    }
    if (err == ERR_OK) {
        err = open_trusted(store, &trusted, note);
    }
    if (err == ERR_OK && !trusted) {
        err = open_empty(store, note);
    }
    if (err == ERR_OK) {
        err = open_database(store, note);
    }
    if (err != ERR_OK) {
        release(store);
        return err;
    }
    *ret_store = store;
    *ret_trusted = trusted;
    return ERR_OK;
}

/* ---- closing --------------------------------------------------------------------------------- */

static enum err sync_and_mark(struct store *store, struct err_note *note)
{
    if (store->marked) {
        return ERR_OK; /* nothing was written since the open */
    }
    int rc = mdb_env_sync(store->env, 1);
    enum err err = rc == MDB_SUCCESS ? fs_sync(store->space.fd) : store_err(store, rc);
    if (err != ERR_OK) {
        return err_note_set(note, err, "%s: cannot sync the state: %s", store->dir, err_text(err));
    }
    struct store_mark mark = mark_of(store);
    err = mark_write(store->dir_fd, &mark);
    if (err != ERR_OK) {
        return err_note_set(note, err, "%s: cannot write the clean mark: %s", store->dir,
                            err_text(err));
    }
    return ERR_OK;
}

enum err store_close(struct store *store, bool clean, struct err_note *note)
{
    if (store == NULL) {
        return ERR_OK;
    }
    CHECK(store->magic == STORE_MAGIC);
    CHECK(!store->writer.open);
    for (uint32_t i = 0; i < store->cfg.readers_max; i++) {
        CHECK(!atomic_load_explicit(&store->slots[i].taken, memory_order_acquire));
    }
    enum err err = ERR_OK;
    if (clean && !store->incomplete &&
        !atomic_load_explicit(&store->unreliable, memory_order_relaxed)) {
        err = sync_and_mark(store, note);
    }
    store->magic = 0;
    release(store);
    return err;
}

void store_set_incomplete(struct store *store, bool incomplete)
{
    CHECK(store->magic == STORE_MAGIC);
    store->incomplete = incomplete;
}

/* ---- numbers --------------------------------------------------------------------------------- */

void store_stats(struct store *store, struct store_stats *ret_stats)
{
    CHECK(store->magic == STORE_MAGIC);
    struct store_stats stats = {
        .map_bytes = store->cfg.map_bytes,
        .allocated_bytes = atomic_load_explicit(&store->allocated_bytes, memory_order_relaxed),
        .used_bytes = atomic_load_explicit(&store->used_bytes, memory_order_relaxed),
        .commits = atomic_load_explicit(&store->commits, memory_order_relaxed),
    };
    for (uint32_t i = 0; i < store->cfg.readers_max; i++) {
        struct store_reader_slot *slot = &store->slots[i];
        stats.readers_open += atomic_load_explicit(&slot->taken, memory_order_relaxed) ? 1 : 0;
        uint64_t began = atomic_load_explicit(&slot->began, memory_order_relaxed);
        if (began == 0) {
            continue;
        }
        /* A reader that began after commits was read above is not old. */
        uint64_t age = stats.commits + 1 > began ? stats.commits + 1 - began : 0;
        stats.readers_active++;
        stats.readers_stale += age > store->cfg.stale_commits ? 1 : 0;
        stats.oldest_commits = age > stats.oldest_commits ? age : stats.oldest_commits;
    }
    *ret_stats = stats;
}
