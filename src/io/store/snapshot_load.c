/* Snapshot files: loading one into the store, in place of all rows of its group.
 *
 * Place: io/store. A state is larger than a transaction should be, so the load spans several. The
 * group's TABLE_META rows sort first: they are deleted first and put last, so that a reader in
 * between sees the applied index 0, and never a digest or an index that its rows do not have. */
#include "store/snapshot_file.h"

#include "store/snapshot_priv.h"
#include "store/store_priv.h"

#include "check/check.h"
#include "mem/mem.h"

enum {
    BATCH_BYTES = 32 * 1024 * 1024, /* of one transaction, as counted below */
    META_BYTES_MAX = 1024 * 1024,   /* all TABLE_META rows of a group */
    /* What a row counts besides its bytes: the pages that the store must have space for, because
     * the put or delete might touch them. So a load needs little more disk than its rows. */
    PUT_COST_BYTES = 4096,
    DELETE_COST_BYTES = 3 * 4096
};

struct load {
    struct store *store;
    struct table_txn txn;
    raft_group_id group;
    bool open; /* a write transaction is open */
    size_t batch_bytes;
    struct buf meta; /* the TABLE_META rows: blob key, blob value */
    struct err_note *note;
};

static enum err begin(struct load *load)
{
    enum err err = store_write_begin(load->store, load->note);
    if (err == ERR_OK) {
        load->open = true;
        load->batch_bytes = 0;
        store_write_tables(load->store, load->group, &load->txn);
    }
    return err;
}

static enum err commit(struct load *load)
{
    load->open = false;
    return store_write_commit(load->store, load->note);
}

/* Counts work into the batch; a full batch is committed and a new one begun. */
static enum err count_row(struct load *load, size_t bytes)
{
    load->batch_bytes += bytes;
    if (load->batch_bytes < BATCH_BYTES) {
        return ERR_OK;
    }
    enum err err = commit(load);
    return err == ERR_OK ? begin(load) : err;
}

static enum err clear_group(struct load *load)
{
    uint8_t raw[SNAPSHOT_GROUP_BYTES];
    put_u32_be(raw, load->group);
    struct bytes prefix = bytes_of(raw, sizeof(raw));
    for (;;) {
        struct bytes found;
        struct bytes value;
        enum err err = load->txn.backend->seek(load->txn.self, 0, prefix, &found, &value);
        if (err == ERR_NOT_FOUND || (err == ERR_OK && !bytes_has_prefix(found, prefix))) {
            return ERR_OK;
        }
        uint8_t key[TABLE_STORED_KEY_MAX];
        size_t len = found.len;
        if (err == ERR_OK) {
            memcpy(key, found.data, len);
            err = load->txn.backend->del(load->txn.self, bytes_of(key, len));
        }
        if (err == ERR_OK) {
            err = count_row(load, len + DELETE_COST_BYTES);
        }
        if (err != ERR_OK) {
            return err;
        }
    }
}

static enum err keep_meta(struct load *load, struct bytes key, struct bytes value)
{
    struct writer w = writer_of(&load->meta);
    write_blob(&w, key);
    write_blob(&w, value);
    return w.err == ERR_FULL ? ERR_TOO_LARGE : w.err;
}

static enum err load_row(void *context, struct bytes key, struct bytes value)
{
    struct load *load = context;
    CHECK(key.len > SNAPSHOT_GROUP_BYTES);
    if (key.data[SNAPSHOT_GROUP_BYTES] == TABLE_META) {
        return keep_meta(load, key, value);
    }
    enum err err = load->txn.backend->put(load->txn.self, key, value);
    return err == ERR_OK ? count_row(load, key.len + value.len + PUT_COST_BYTES) : err;
}

static enum err put_meta(struct load *load, raft_index index)
{
    struct reader r = reader_of(buf_bytes(&load->meta));
    while (reader_left(&r) > 0) {
        struct bytes key = read_blob(&r, TABLE_STORED_KEY_MAX);
        struct bytes value = read_blob(&r, META_BYTES_MAX);
        CHECK(reader_ok(&r));
        enum err err = load->txn.backend->put(load->txn.self, key, value);
        if (err != ERR_OK) {
            return err;
        }
    }
    uint64_t applied = 0;
    enum err err = table_applied(&load->txn, &applied);
    if (err == ERR_OK && applied != index) {
        err = err_note_set(load->note, ERR_CORRUPT, "its rows are those of applied index %llu",
                           (unsigned long long)applied);
    }
    return err;
}

/* The digest that the file's own META rows claim must be the one that its rows have. */
static enum err check_digest(struct load *load, const struct snapshot_info *info)
{
    struct table_digest kept;
    struct table_txn fresh;
    store_write_tables(load->store, load->group, &fresh);
    enum err err = table_digest(&fresh, &kept);
    if (err == ERR_OK && (kept.low != info->digest.low || kept.high != info->digest.high)) {
        err = err_note_set(load->note, ERR_CORRUPT, "its rows do not have the digest of its state");
    }
    return err;
}

static enum err replace_rows(struct load *load, struct snapshot_dir *dir, const char *name)
{
    const struct snapshot_visitor visitor = {.row = load_row, .context = load};
    struct snapshot_info info;
    enum err err = begin(load);
    if (err == ERR_OK) {
        err = clear_group(load);
    }
    if (err == ERR_OK) {
        err = snapshot_scan(dir, name, &visitor, &info, load->note);
    }
    if (err == ERR_OK) {
        err = put_meta(load, info.meta.index);
    }
    if (err == ERR_OK) {
        err = check_digest(load, &info);
    }
    if (err == ERR_OK) {
        return commit(load);
    }
    if (load->open && load->store->failed != ERR_OK) {
        err = commit(load); /* gives the failure with its note */
    } else if (load->open) {
        store_write_abort(load->store);
    }
    return err;
}

enum err snapshot_load(struct snapshot_dir *dir, const char *name, struct store *store,
                       struct snapshot_info *ret_info, struct err_note *note)
{
    CHECK(store->magic == STORE_MAGIC);
    CHECK(!store->writer.open);
    struct snapshot_info info;
    enum err err = snapshot_verify(dir, name, &info, note);
    if (err != ERR_OK) {
        return err;
    }
    struct load load = {.store = store, .group = info.group, .note = note};
    buf_init(&load.meta, META_BYTES_MAX);
    store_set_incomplete(store, true);
    err = replace_rows(&load, dir, name);
    buf_done(&load.meta);
    if (err != ERR_OK) {
        return err_note_wrap(note, err, "load %s", name);
    }
    store_set_incomplete(store, false);
    *ret_info = info;
    return ERR_OK;
}
