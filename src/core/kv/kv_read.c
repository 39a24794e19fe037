/* Key-values: the reads.
 *
 * Place: core; see kv.h. */
#include "check/check.h"
#include "kv/kv.h"
#include "tomb/tomb.h"

enum err kv_get(struct table_txn *txn, struct bytes key, struct kv_record *ret_record)
{
    struct bytes row;
    enum err err = table_get(txn, TABLE_KV, key, &row);
    return err == ERR_OK ? kv_record_decode(row, ret_record) : err;
}

struct scan_visit {
    kv_visit_fn *visit;
    void *context;
};

static enum err visit_row(void *context, struct bytes key, struct bytes value)
{
    const struct scan_visit *scan = context;
    struct kv_record record;
    enum err err = kv_record_decode(value, &record);
    return err == ERR_OK ? scan->visit(scan->context, key, &record) : err;
}

enum err kv_scan(struct table_txn *txn, struct bytes prefix, kv_visit_fn *visit, void *context)
{
    struct scan_visit scan = {.visit = visit, .context = context};
    return table_each(txn, TABLE_KV, prefix, visit_row, &scan);
}

/* Offset behind the first separator at or after `from`; 0: there is none. */
static size_t group_end(struct bytes key, size_t from, struct bytes separator)
{
    if (separator.len == 0 || key.len - from < separator.len) {
        return 0;
    }
    for (size_t at = from; at + separator.len <= key.len; at++) {
        if (bytes_eq(bytes_of(key.data + at, separator.len), separator)) {
            return at + separator.len;
        }
    }
    return 0;
}

/* Makes the bytes the smallest that sort after everything that begins with them; false: nothing
 * does. */
static bool successor(uint8_t *data, size_t *len)
{
    while (*len > 0 && data[*len - 1] == 0xff) {
        (*len)--;
    }
    if (*len == 0) {
        return false;
    }
    data[*len - 1]++;
    return true;
}

/* Whether the key is the first one in a scan of its group: long keys of a group may lie apart. */
static enum err first_of_group(struct table_txn *txn, struct bytes key, struct bytes group,
                               bool *ret_first)
{
    struct table_scan scan;
    enum err err = table_scan(&scan, txn, TABLE_KV, group);
    if (err == ERR_OK) {
        *ret_first = bytes_eq(scan.key, key);
    }
    table_scan_end(&scan);
    return err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
}

/* One run of kv_keys: the keys from `next` on, until one makes it jump. */
struct keys_run {
    struct table_txn *txn;
    struct bytes prefix;
    struct bytes separator;
    kv_key_fn *visit;
    void *context;
    uint8_t next[KV_KEY_MAX];
    size_t next_len;
    bool jump; /* go on from `next` */
    bool last; /* nothing can come after */
};

static enum err keys_visit(struct keys_run *run, struct bytes key)
{
    size_t end = group_end(key, run->prefix.len, run->separator);
    if (end == 0) {
        return run->visit(run->context, key);
    }
    struct bytes group = bytes_of(key.data, end);
    bool first = true;
    enum err err = ERR_OK;
    if (end <= TABLE_KEY_ORDERED) {
        /* All keys of the group lie together: the next one of interest comes behind them. */
        memcpy(run->next, key.data, end);
        run->next_len = end;
        run->jump = successor(run->next, &run->next_len);
        run->last = !run->jump;
    } else {
        err = first_of_group(run->txn, key, group, &first);
    }
    return err == ERR_OK && first ? run->visit(run->context, group) : err;
}

/* Sets `last` when all keys were seen. */
static enum err keys_run(struct keys_run *run)
{
    struct table_scan scan;
    run->jump = false;
    enum err err =
        table_scan_from(&scan, run->txn, TABLE_KV, run->prefix, bytes_of(run->next, run->next_len));
    bool more = err == ERR_OK;
    while (more) {
        err = keys_visit(run, scan.key);
        if (err != ERR_OK || run->jump || run->last) {
            break;
        }
        err = table_scan_next(&scan);
        more = err == ERR_OK;
    }
    table_scan_end(&scan);
    if (!more && err == ERR_NOT_FOUND) {
        run->last = true;
        return ERR_OK;
    }
    return err;
}

enum err kv_keys(struct table_txn *txn, struct bytes prefix, struct bytes separator,
                 kv_key_fn *visit, void *context)
{
    if (prefix.len > KV_KEY_MAX) {
        return ERR_OK;
    }
    struct keys_run run = {
        .txn = txn,
        .prefix = prefix,
        .separator = separator,
        .visit = visit,
        .context = context,
    };
    enum err err = ERR_OK;
    do {
        err = keys_run(&run);
    } while (err == ERR_OK && !run.last);
    return err;
}

enum err kv_index_of_key(struct table_txn *txn, struct bytes key, uint64_t *ret_index)
{
    if (key.len > KV_KEY_MAX) {
        return ERR_TOO_LARGE;
    }
    struct kv_record record;
    enum err err = kv_get(txn, key, &record);
    if (err == ERR_NOT_FOUND) {
        return tomb_index(txn, TABLE_KV, key, ret_index);
    }
    if (err == ERR_OK) {
        *ret_index = record.modify_index;
    }
    return err;
}

static enum err visit_highest(void *context, struct bytes key, const struct kv_record *record)
{
    (void)key;
    uint64_t *highest = context;
    *highest = record->modify_index > *highest ? record->modify_index : *highest;
    return ERR_OK;
}

enum err kv_index_of_prefix(struct table_txn *txn, struct bytes prefix, uint64_t *ret_index)
{
    if (prefix.len > KV_KEY_MAX) {
        return ERR_TOO_LARGE;
    }
    uint64_t highest = 0;
    enum err err = tomb_index_under(txn, TABLE_KV, prefix, &highest);
    if (err == ERR_OK) {
        err = kv_scan(txn, prefix, visit_highest, &highest);
    }
    if (err == ERR_OK) {
        *ret_index = highest;
    }
    return err;
}
