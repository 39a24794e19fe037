/* Key-values: encodings and commands.
 *
 * Place: core; see kv.h. Bodies (after version u8 = 1):
 *   put:         key blob | flags u64 | has_cas u8 | cas u64 | value blob
 *   delete:      key blob | has_cas u8 | cas u64
 *   delete tree: prefix blob */
#include "kv/kv.h"

#include "check/check.h"
#include "tomb/tomb.h"

enum {
    ROW_VERSION = 1
};

_Static_assert((int)KV_KEY_MAX <= (int)TOMB_KEY_MAX, "every key can have a tombstone");

/* ---- encodings ------------------------------------------------------------------------------- */

enum err kv_record_encode(const struct kv_record *record, struct buf *to)
{
    CHECK(record->value.len <= KV_VALUE_MAX);
    CHECK(record->session.len <= KV_SESSION_MAX);
    struct writer w = writer_of(to);
    write_u8(&w, ROW_VERSION);
    write_u64(&w, record->create_index);
    write_u64(&w, record->modify_index);
    write_u64(&w, record->lock_index);
    write_u64(&w, record->flags);
    write_blob(&w, record->session);
    write_blob(&w, record->value);
    return w.err;
}

enum err kv_record_decode(struct bytes from, struct kv_record *ret_record)
{
    struct reader r = reader_of(from);
    uint8_t version = read_u8(&r);
    struct kv_record record = {.create_index = read_u64(&r)};
    record.modify_index = read_u64(&r);
    record.lock_index = read_u64(&r);
    record.flags = read_u64(&r);
    record.session = read_blob(&r, KV_SESSION_MAX);
    record.value = read_blob(&r, KV_VALUE_MAX);
    if (version != ROW_VERSION || !apply_body_whole(&r)) {
        return ERR_CORRUPT;
    }
    *ret_record = record;
    return ERR_OK;
}

static enum err key_limits(struct bytes key)
{
    if (key.len == 0) {
        return ERR_BAD_INPUT;
    }
    return key.len > KV_KEY_MAX ? ERR_TOO_LARGE : ERR_OK;
}

static enum err put_limits(const struct kv_put *put)
{
    enum err err = key_limits(put->key);
    return err == ERR_OK && put->value.len > KV_VALUE_MAX ? ERR_TOO_LARGE : err;
}

enum err kv_put_encode(const struct kv_put *put, struct buf *to)
{
    enum err err = put_limits(put);
    if (err != ERR_OK) {
        return err;
    }
    struct writer w = writer_of(to);
    write_u8(&w, APPLY_BODY_VERSION);
    write_blob(&w, put->key);
    write_u64(&w, put->flags);
    write_u8(&w, put->has_cas ? 1 : 0);
    write_u64(&w, put->cas);
    write_blob(&w, put->value);
    return w.err;
}

enum err kv_delete_encode(const struct kv_delete *del, struct buf *to)
{
    enum err err = key_limits(del->key);
    if (err != ERR_OK) {
        return err;
    }
    struct writer w = writer_of(to);
    write_u8(&w, APPLY_BODY_VERSION);
    write_blob(&w, del->key);
    write_u8(&w, del->has_cas ? 1 : 0);
    write_u64(&w, del->cas);
    return w.err;
}

enum err kv_delete_tree_encode(struct bytes prefix, struct buf *to)
{
    if (prefix.len > KV_KEY_MAX) {
        return ERR_TOO_LARGE;
    }
    struct writer w = writer_of(to);
    write_u8(&w, APPLY_BODY_VERSION);
    write_blob(&w, prefix);
    return w.err;
}

/* ---- commands -------------------------------------------------------------------------------- */

static enum err refuse_malformed(struct apply *a)
{
    return apply_refuse(a, ERR_BAD_INPUT, "the key-value command is malformed");
}

static enum err refuse_limits(struct apply *a, enum err why)
{
    return apply_refuse(
        a, why, why == ERR_TOO_LARGE ? "the key or the value is too large" : "the key is empty");
}

/* The stored record; *ret_exists false when there is none. */
static enum err look_up(struct apply *a, struct bytes key, struct kv_record *ret_record,
                        bool *ret_exists)
{
    enum err err = kv_get(a->txn, key, ret_record);
    *ret_exists = err == ERR_OK;
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

static enum err store(struct apply *a, struct bytes key, const struct kv_record *record)
{
    buf_clear(a->record);
    enum err err = kv_record_encode(record, a->record);
    return err == ERR_OK ? apply_put(a, TABLE_KV, key, buf_bytes(a->record)) : err;
}

static enum err do_put(struct apply *a, const struct kv_put *put)
{
    struct kv_record old;
    bool exists = false;
    enum err err = look_up(a, put->key, &old, &exists);
    if (err != ERR_OK) {
        return err;
    }
    if (put->has_cas && put->cas != (exists ? old.modify_index : 0)) {
        return ERR_OK;
    }
    a->result->value = 1;
    if (exists && old.flags == put->flags && bytes_eq(old.value, put->value)) {
        return ERR_OK;
    }
    struct kv_record record = {
        .create_index = a->index,
        .modify_index = a->index,
        .flags = put->flags,
        .value = put->value,
    };
    if (exists) {
        record.create_index = old.create_index;
        record.lock_index = old.lock_index;
        record.session = old.session;
    }
    err = store(a, put->key, &record);
    return err == ERR_OK && !exists ? tomb_remove(a, TABLE_KV, put->key) : err;
}

static enum err apply_kv_put(struct apply *a, struct reader *r)
{
    size_t most = reader_left(r);
    struct kv_put put = {.key = read_blob(r, most)};
    put.flags = read_u64(r);
    uint8_t has_cas = read_u8(r);
    put.has_cas = has_cas != 0;
    put.cas = read_u64(r);
    put.value = read_blob(r, most);
    if (!apply_body_whole(r) || has_cas > 1) {
        return refuse_malformed(a);
    }
    enum err err = put_limits(&put);
    return err == ERR_OK ? do_put(a, &put) : refuse_limits(a, err);
}

static enum err do_delete(struct apply *a, const struct kv_delete *del)
{
    struct kv_record old;
    bool exists = false;
    enum err err = look_up(a, del->key, &old, &exists);
    if (err != ERR_OK) {
        return err;
    }
    if (exists && del->has_cas && del->cas != old.modify_index) {
        return ERR_OK;
    }
    a->result->value = 1;
    if (!exists) {
        return ERR_OK;
    }
    err = apply_delete(a, TABLE_KV, del->key);
    if (err == ERR_OK) {
        err = tomb_add(a, TABLE_KV, del->key);
    }
    return err == ERR_OK ? tomb_reap(a) : err;
}

static enum err apply_kv_delete(struct apply *a, struct reader *r)
{
    struct kv_delete del = {.key = read_blob(r, reader_left(r))};
    uint8_t has_cas = read_u8(r);
    del.has_cas = has_cas != 0;
    del.cas = read_u64(r);
    if (!apply_body_whole(r) || has_cas > 1) {
        return refuse_malformed(a);
    }
    enum err err = key_limits(del.key);
    return err == ERR_OK ? do_delete(a, &del) : refuse_limits(a, err);
}

/* Deletes the row under the scan, whose slices the deletion takes away. */
static enum err delete_scanned(struct apply *a, const struct table_scan *scan)
{
    uint8_t copy[KV_KEY_MAX];
    if (scan->key.len > sizeof(copy)) {
        return ERR_CORRUPT;
    }
    memcpy(copy, scan->key.data, scan->key.len);
    struct bytes key = bytes_of(copy, scan->key.len);
    enum err err = apply_delete(a, TABLE_KV, key);
    return err == ERR_OK ? tomb_add(a, TABLE_KV, key) : err;
}

static enum err apply_kv_delete_tree(struct apply *a, struct reader *r)
{
    struct bytes prefix = read_blob(r, reader_left(r));
    if (!apply_body_whole(r)) {
        return refuse_malformed(a);
    }
    if (prefix.len > KV_KEY_MAX) {
        return refuse_limits(a, ERR_TOO_LARGE);
    }
    uint64_t count = 0;
    struct table_scan scan;
    enum err err = table_scan(&scan, a->txn, TABLE_KV, prefix);
    while (err == ERR_OK) {
        err = delete_scanned(a, &scan);
        if (err == ERR_OK) {
            count++;
            err = table_scan_next(&scan);
        }
    }
    table_scan_end(&scan);
    if (err != ERR_NOT_FOUND) {
        return err;
    }
    a->result->value = count;
    return count > 0 ? tomb_reap(a) : ERR_OK;
}

enum err kv_apply(struct apply *a, uint16_t kind, struct bytes body)
{
    struct reader r;
    enum err err = apply_body_open(body, &r);
    if (err != ERR_OK) {
        return err;
    }
    switch (kind) {
    case KV_CMD_PUT:
        return apply_kv_put(a, &r);
    case KV_CMD_DELETE:
        return apply_kv_delete(a, &r);
    case KV_CMD_DELETE_TREE:
        return apply_kv_delete_tree(a, &r);
    default:
        return ERR_UNSUPPORTED;
    }
}
