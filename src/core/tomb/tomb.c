/* Tombstones: rows by key, an order by index, a count and a floor.
 *
 * Place: core; see tomb.h.
 *
 * Invariants:
 *   1. Every row in TABLE_TOMBSTONES has exactly one row in the order, and the count counts them.
 *   2. The index of every reaped tombstone is at most the floor. */
#include "tomb/tomb.h"

#include "check/check.h"
#include "setting/setting.h"

enum {
    ROW_VERSION = 1,
    ROW_BYTES = 1 + 8 + 8,
    ORDER_HEAD = 1 + 8, /* prefix, index be */
    KEY_BYTES_MAX = 1 + TOMB_KEY_MAX
};

#define META_COUNT BYTES_LITERAL("tombstones")
#define META_FLOOR BYTES_LITERAL("tombstone_floor")

struct row {
    uint64_t index;
    clk_ms time_ms;
};

/* The key of the row (without head) and of its place in the order (with head), in one piece. */
struct tomb_key {
    uint8_t data[ORDER_HEAD + KEY_BYTES_MAX];
    size_t len;
};

static void key_set(struct tomb_key *k, enum table_id table, struct bytes key)
{
    CHECK(key.len <= TOMB_KEY_MAX);
    k->data[0] = APPLY_INDEX_TOMBSTONES;
    k->data[ORDER_HEAD] = (uint8_t)table;
    if (key.len > 0) {
        memcpy(k->data + ORDER_HEAD + 1, key.data, key.len);
    }
    k->len = ORDER_HEAD + 1 + key.len;
}

static struct bytes row_key(const struct tomb_key *k)
{
    return bytes_of(k->data + ORDER_HEAD, k->len - ORDER_HEAD);
}

static struct bytes order_key(struct tomb_key *k, uint64_t index)
{
    put_u64_be(k->data + 1, index);
    return bytes_of(k->data, k->len);
}

static enum err row_decode(struct bytes value, struct row *ret_row)
{
    if (value.len != ROW_BYTES || value.data[0] != ROW_VERSION) {
        return ERR_CORRUPT;
    }
    ret_row->index = get_u64(value.data + 1);
    ret_row->time_ms = get_u64(value.data + 9);
    return ERR_OK;
}

/* A number in TABLE_META; fallback when it was never written. */
static enum err meta_get(struct table_txn *txn, struct bytes name, uint64_t fallback,
                         uint64_t *ret_number)
{
    struct bytes value;
    enum err err = table_get(txn, TABLE_META, name, &value);
    if (err == ERR_NOT_FOUND) {
        *ret_number = fallback;
        return ERR_OK;
    }
    if (err == ERR_OK && value.len != sizeof(uint64_t)) {
        err = ERR_CORRUPT;
    }
    if (err == ERR_OK) {
        *ret_number = get_u64(value.data);
    }
    return err;
}

static enum err meta_put(struct table_txn *txn, struct bytes name, uint64_t number)
{
    uint8_t value[sizeof(number)];
    put_u64(value, number);
    return table_put(txn, TABLE_META, name, bytes_of(value, sizeof(value)));
}

static enum err floor_get(struct table_txn *txn, uint64_t *ret_floor)
{
    return meta_get(txn, META_FLOOR, 1, ret_floor);
}

enum err tomb_count(struct table_txn *txn, uint64_t *ret_count)
{
    return meta_get(txn, META_COUNT, 0, ret_count);
}

static enum err count_change(struct apply *a, bool more)
{
    uint64_t count = 0;
    enum err err = tomb_count(a->txn, &count);
    if (err != ERR_OK) {
        return err;
    }
    if (!more && count == 0) {
        return ERR_CORRUPT;
    }
    return meta_put(a->txn, META_COUNT, more ? count + 1 : count - 1);
}

/* Deletes the row and its place in the order. */
static enum err drop(struct apply *a, struct tomb_key *k, uint64_t index)
{
    enum err err = apply_delete(a, TABLE_TOMBSTONES, row_key(k));
    if (err == ERR_OK) {
        err = apply_delete(a, TABLE_INDEXES, order_key(k, index));
    }
    return err == ERR_OK ? count_change(a, false) : err;
}

enum err tomb_remove(struct apply *a, enum table_id table, struct bytes key)
{
    struct tomb_key k;
    key_set(&k, table, key);
    struct bytes value;
    enum err err = table_get(a->txn, TABLE_TOMBSTONES, row_key(&k), &value);
    if (err == ERR_NOT_FOUND) {
        return ERR_OK;
    }
    struct row row;
    if (err == ERR_OK) {
        err = row_decode(value, &row);
    }
    return err == ERR_OK ? drop(a, &k, row.index) : err;
}

enum err tomb_add(struct apply *a, enum table_id table, struct bytes key)
{
    struct tomb_key k;
    key_set(&k, table, key);
    enum err err = tomb_remove(a, table, key);
    if (err != ERR_OK) {
        return err;
    }
    uint8_t value[ROW_BYTES];
    value[0] = ROW_VERSION;
    put_u64(value + 1, a->index);
    put_u64(value + 9, a->time_ms);
    err = apply_put(a, TABLE_TOMBSTONES, row_key(&k), bytes_of(value, sizeof(value)));
    if (err == ERR_OK) {
        err = apply_put(a, TABLE_INDEXES, order_key(&k, a->index), (struct bytes){NULL, 0});
    }
    return err == ERR_OK ? count_change(a, true) : err;
}

/* The oldest tombstone; ERR_NOT_FOUND when there is none. */
static enum err oldest(struct apply *a, struct tomb_key *ret_key, struct row *ret_row)
{
    static const uint8_t prefix = APPLY_INDEX_TOMBSTONES;
    struct table_scan scan;
    enum err err = table_scan(&scan, a->txn, TABLE_INDEXES, bytes_of(&prefix, 1));
    if (err == ERR_OK && (scan.key.len <= ORDER_HEAD || scan.key.len > sizeof(ret_key->data))) {
        err = ERR_CORRUPT;
    }
    if (err == ERR_OK) {
        memcpy(ret_key->data, scan.key.data, scan.key.len);
        ret_key->len = scan.key.len;
    }
    table_scan_end(&scan);
    struct bytes value = {NULL, 0};
    if (err == ERR_OK) {
        err = table_get(a->txn, TABLE_TOMBSTONES, row_key(ret_key), &value);
        err = err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
    }
    return err == ERR_OK ? row_decode(value, ret_row) : err;
}

/* Drops tombstones, oldest first, while there are more than `keep` or they are older than
 * `until_ms`. */
static enum err reap(struct apply *a, uint64_t count, uint64_t keep, clk_ms until_ms)
{
    uint64_t floor = 1;
    enum err err = floor_get(a->txn, &floor);
    while (err == ERR_OK && count > 0) {
        struct tomb_key k;
        struct row row;
        err = oldest(a, &k, &row);
        if (err == ERR_OK && count <= keep && row.time_ms > until_ms) {
            break;
        }
        if (err == ERR_OK) {
            err = drop(a, &k, row.index);
            floor = row.index > floor ? row.index : floor;
            count--;
        }
    }
    return err == ERR_OK ? meta_put(a->txn, META_FLOOR, floor) : err;
}

enum err tomb_reap(struct apply *a)
{
    uint64_t count = 0;
    uint64_t max = 0;
    uint64_t age_ms = 0;
    enum err err = tomb_count(a->txn, &count);
    if (err == ERR_OK) {
        err = setting_u64(a->txn, SETTING_TOMBSTONES_MAX, &max);
    }
    if (err == ERR_OK) {
        err = setting_u64(a->txn, SETTING_TOMBSTONES_AGE_MS, &age_ms);
    }
    if (err != ERR_OK || count == 0) {
        return err;
    }
    struct tomb_key k;
    struct row first;
    err = oldest(a, &k, &first);
    if (err != ERR_OK) {
        return err;
    }
    clk_ms until_ms = a->time_ms > age_ms ? a->time_ms - age_ms : 0;
    bool old = until_ms > age_ms && first.time_ms <= until_ms - age_ms;
    if (count <= max && !old) {
        return ERR_OK;
    }
    return reap(a, count, count > max ? max - max / 4 : count, old ? until_ms : 0);
}

enum err tomb_index(struct table_txn *txn, enum table_id table, struct bytes key,
                    uint64_t *ret_index)
{
    struct tomb_key k;
    key_set(&k, table, key);
    struct bytes value;
    enum err err = table_get(txn, TABLE_TOMBSTONES, row_key(&k), &value);
    if (err == ERR_NOT_FOUND) {
        return floor_get(txn, ret_index);
    }
    struct row row;
    if (err == ERR_OK) {
        err = row_decode(value, &row);
    }
    if (err == ERR_OK) {
        *ret_index = row.index;
    }
    return err;
}

static enum err visit_highest(void *context, struct bytes key, struct bytes value)
{
    (void)key;
    uint64_t *highest = context;
    struct row row;
    enum err err = row_decode(value, &row);
    if (err == ERR_OK && row.index > *highest) {
        *highest = row.index;
    }
    return err;
}

enum err tomb_index_under(struct table_txn *txn, enum table_id table, struct bytes prefix,
                          uint64_t *ret_index)
{
    struct tomb_key k;
    key_set(&k, table, prefix);
    uint64_t highest = 0;
    enum err err = floor_get(txn, &highest);
    if (err == ERR_OK) {
        err = table_each(txn, TABLE_TOMBSTONES, row_key(&k), visit_highest, &highest);
    }
    if (err == ERR_OK) {
        *ret_index = highest;
    }
    return err;
}
