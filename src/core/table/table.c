/* Tables: the stored form of keys, the digest, and scans, over any backend.
 *
 * Place: core. Everything that must be the same in every store is here; a backend only keeps sorted
 * stored rows.
 *
 * Invariants:
 *   1. A stored key has TABLE_STORED_KEY_MAX bytes exactly when it stands for a long key; then its
 *      value begins with {full length u16, full key}.
 *   2. digest_loaded: txn->digest is the digest of all rows but TABLE_META's, as of now. */
#include "table/table.h"

#include "check/check.h"
#include "map/map.h"
#include "mem/mem.h"

enum {
    HEAD_BYTES = 5, /* group u32 be, table u8 */
    PREFIX_BYTES = TABLE_KEY_ORDERED,
    HASH_BYTES = 31,
    /* One less than would fit, so that the length tells the two forms apart. */
    SHORT_KEY_MAX = TABLE_STORED_KEY_MAX - HEAD_BYTES - 1,
    LONG_MARK = 0xff
};

_Static_assert(HEAD_BYTES + PREFIX_BYTES + 1 + HASH_BYTES == TABLE_STORED_KEY_MAX,
               "a long key fills the stored form exactly");

#define META_DIGEST  BYTES_LITERAL("digest")
#define META_APPLIED BYTES_LITERAL("applied")

/* Digits of the square roots of 2, 3 and 5: fixed for ever, they are in every digest and long
 * key. */
static const struct hash_seed seeds[] = {
    {0x6a09e667f3bcc908u, 0xbb67ae8584caa73bu},
    {0x3c6ef372fe94f82bu, 0xa54ff53a5f1d36f1u},
    {0x510e527fade682d1u, 0x9b05688c2b3e6c1fu},
    {0x1f83d9abfb41bd6bu, 0x5be0cd19137e2179u},
};

static void put_head(uint8_t *dest, uint32_t group, enum table_id table)
{
    put_u32_be(dest, group);
    dest[4] = (uint8_t)table;
}

enum err table_key_encode(uint32_t group, enum table_id table, struct bytes key, uint8_t *dest,
                          size_t *ret_len, bool *ret_long_key)
{
    if (key.len > TABLE_KEY_MAX) {
        return ERR_TOO_LARGE;
    }
    put_head(dest, group, table);
    bool is_long = key.len > SHORT_KEY_MAX;
    size_t head = is_long ? PREFIX_BYTES : key.len;
    if (head > 0) {
        memcpy(dest + HEAD_BYTES, key.data, head);
    }
    if (is_long) {
        uint8_t *at = dest + HEAD_BYTES + PREFIX_BYTES;
        *at++ = LONG_MARK;
        uint8_t hash[4 * sizeof(uint64_t)];
        for (size_t i = 0; i < 4; i++) {
            put_u64(hash + i * sizeof(uint64_t), hash_bytes(seeds[i], key));
        }
        memcpy(at, hash, HASH_BYTES);
    }
    *ret_len = is_long ? TABLE_STORED_KEY_MAX : HEAD_BYTES + key.len;
    *ret_long_key = is_long;
    return ERR_OK;
}

/* Takes {full length, full key} off a long key's stored value. */
static enum err split_long(struct bytes stored, struct bytes *ret_key, struct bytes *ret_value)
{
    struct reader r = reader_of(stored);
    uint16_t len = read_u16(&r);
    struct bytes key = read_raw(&r, len);
    if (!reader_ok(&r) || key.len <= SHORT_KEY_MAX) {
        return ERR_CORRUPT;
    }
    *ret_key = key;
    *ret_value = read_raw(&r, reader_left(&r));
    return ERR_OK;
}

/* ---- digest ---------------------------------------------------------------------------------- */

static void digest_row(enum table_id table, struct bytes key, struct bytes value,
                       struct table_digest *ret_row)
{
    struct hash_seed low = {seeds[0].k0 ^ (uint64_t)table, seeds[0].k1};
    struct hash_seed high = {seeds[1].k0 ^ (uint64_t)table, seeds[1].k1};
    low = (struct hash_seed){hash_bytes(low, key), seeds[2].k0};
    high = (struct hash_seed){hash_bytes(high, key), seeds[3].k0};
    ret_row->low = hash_bytes(low, value);
    ret_row->high = hash_bytes(high, value);
}

static void digest_add(struct table_digest *sum, const struct table_digest *row)
{
    sum->low += row->low;
    sum->high += row->high + (sum->low < row->low ? 1u : 0u);
}

static void digest_subtract(struct table_digest *sum, const struct table_digest *row)
{
    uint64_t borrow = sum->low < row->low ? 1u : 0u;
    sum->low -= row->low;
    sum->high -= row->high + borrow;
}

/* A long row's full key must be the one that its stored key was made of. */
static enum err split_stored(struct bytes stored, struct bytes *key, struct bytes *value)
{
    enum err err = split_long(*value, key, value);
    if (err != ERR_OK) {
        return err;
    }
    uint8_t again[TABLE_STORED_KEY_MAX];
    size_t len;
    bool is_long;
    err = table_key_encode(get_u32_be(stored.data), (enum table_id)stored.data[4], *key, again,
                           &len, &is_long);
    if (err != ERR_OK || !bytes_eq(bytes_of(again, len), stored)) {
        return ERR_CORRUPT;
    }
    return ERR_OK;
}

enum err table_split_stored(struct bytes stored_key, struct bytes stored_value,
                            enum table_id *ret_table, struct bytes *ret_key,
                            struct bytes *ret_value)
{
    if (stored_key.len < HEAD_BYTES || stored_key.len > TABLE_STORED_KEY_MAX ||
        stored_key.data[4] == 0) {
        return ERR_CORRUPT;
    }
    struct bytes key = bytes_from(stored_key, HEAD_BYTES);
    if (stored_key.len == TABLE_STORED_KEY_MAX) {
        enum err err = split_stored(stored_key, &key, &stored_value);
        if (err != ERR_OK) {
            return err;
        }
    }
    if (stored_value.len > TABLE_VALUE_MAX) {
        return ERR_CORRUPT;
    }
    *ret_table = (enum table_id)stored_key.data[4];
    *ret_key = key;
    *ret_value = stored_value;
    return ERR_OK;
}

const char *table_name(enum table_id table)
{
    static const char *const names[] = {
        [TABLE_META] = "meta",
        [TABLE_PROPOSERS] = "proposers",
        [TABLE_SETTINGS] = "settings",
        [TABLE_MEMBERS] = "members",
        [TABLE_KV] = "kv",
        [TABLE_TOMBSTONES] = "tombstones",
        [TABLE_SERVICES] = "services",
        [TABLE_INSTANCES] = "instances",
        [TABLE_CHECKS] = "checks",
        [TABLE_ROUTES] = "routes",
        [TABLE_INDEXES] = "indexes",
    };
    return (size_t)table < sizeof(names) / sizeof(names[0]) ? names[table] : NULL;
}

enum err table_digest_add_stored(struct table_digest *digest, struct bytes key, struct bytes value)
{
    enum table_id table;
    struct bytes full;
    enum err err = table_split_stored(key, value, &table, &full, &value);
    if (err != ERR_OK) {
        return err;
    }
    if (table != TABLE_META) {
        struct table_digest row;
        digest_row(table, full, value, &row);
        digest_add(digest, &row);
    }
    return ERR_OK;
}

static enum err digest_load(struct table_txn *txn)
{
    if (txn->digest_loaded) {
        return ERR_OK;
    }
    struct bytes value;
    enum err err = table_get(txn, TABLE_META, META_DIGEST, &value);
    if (err == ERR_NOT_FOUND) {
        txn->digest = (struct table_digest){0, 0};
    } else if (err != ERR_OK) {
        return err;
    } else if (value.len != 2 * sizeof(uint64_t)) {
        return ERR_CORRUPT;
    } else {
        txn->digest.low = get_u64(value.data);
        txn->digest.high = get_u64(value.data + sizeof(uint64_t));
    }
    txn->digest_loaded = true;
    return ERR_OK;
}

/* ---- rows ------------------------------------------------------------------------------------ */

void table_txn_init(struct table_txn *txn, const struct table_backend *backend, void *self,
                    uint32_t group, bool read_only)
{
    CHECK(backend != NULL);
    CHECK(read_only || backend->put != NULL);
    *txn = (struct table_txn){
        .backend = backend,
        .self = self,
        .group = group,
        .read_only = read_only,
    };
}

/* The stored form of one row's key. */
struct stored_key {
    uint8_t data[TABLE_STORED_KEY_MAX];
    size_t len;
    bool is_long;
};

static enum err encode(const struct table_txn *txn, enum table_id table, struct bytes key,
                       struct stored_key *ret_stored)
{
    return table_key_encode(txn->group, table, key, ret_stored->data, &ret_stored->len,
                            &ret_stored->is_long);
}

static enum err get_stored(struct table_txn *txn, const struct stored_key *stored, struct bytes key,
                           struct bytes *ret_value)
{
    struct bytes value;
    enum err err = txn->backend->get(txn->self, bytes_of(stored->data, stored->len), &value);
    if (err == ERR_OK && stored->is_long) {
        struct bytes full;
        err = split_long(value, &full, &value);
        /* Another key with the same hash is not this key. */
        if (err == ERR_OK && !bytes_eq(full, key)) {
            err = ERR_NOT_FOUND;
        }
    }
    if (err == ERR_OK) {
        *ret_value = value;
    }
    return err;
}

enum err table_get(struct table_txn *txn, enum table_id table, struct bytes key,
                   struct bytes *ret_value)
{
    struct stored_key stored;
    enum err err = encode(txn, table, key, &stored);
    return err != ERR_OK ? err : get_stored(txn, &stored, key, ret_value);
}

/* A row whose key is long carries the full key in front of its value. */
static enum err put_long(struct table_txn *txn, const struct stored_key *stored, struct bytes key,
                         struct bytes value)
{
    struct bytes old;
    enum err err = txn->backend->get(txn->self, bytes_of(stored->data, stored->len), &old);
    if (err == ERR_OK) {
        struct bytes full;
        err = split_long(old, &full, &old);
        /* Two keys with one 248-bit hash: nobody can find them, so it is damage. */
        if (err == ERR_OK && !bytes_eq(full, key)) {
            err = ERR_CORRUPT;
        }
    }
    if (err != ERR_OK && err != ERR_NOT_FOUND) {
        return err;
    }
    struct buf row;
    buf_init(&row, sizeof(uint16_t) + TABLE_KEY_MAX + TABLE_VALUE_MAX);
    struct writer w = writer_of(&row);
    write_u16(&w, (uint16_t)key.len);
    write_raw(&w, key);
    write_raw(&w, value);
    err = w.err;
    if (err == ERR_OK) {
        err = txn->backend->put(txn->self, bytes_of(stored->data, stored->len), buf_bytes(&row));
    }
    buf_done(&row);
    return err;
}

static enum err put_stored(struct table_txn *txn, const struct stored_key *stored, struct bytes key,
                           struct bytes value)
{
    if (stored->is_long) {
        return put_long(txn, stored, key, value);
    }
    return txn->backend->put(txn->self, bytes_of(stored->data, stored->len), value);
}

enum err table_put(struct table_txn *txn, enum table_id table, struct bytes key, struct bytes value)
{
    CHECK(!txn->read_only);
    struct stored_key stored;
    if (value.len > TABLE_VALUE_MAX) {
        return ERR_TOO_LARGE;
    }
    enum err err = encode(txn, table, key, &stored);
    if (err != ERR_OK || table == TABLE_META) {
        return err != ERR_OK ? err : put_stored(txn, &stored, key, value);
    }
    err = digest_load(txn);
    if (err != ERR_OK) {
        return err;
    }
    struct table_digest sum = txn->digest;
    struct table_digest row;
    struct bytes old;
    err = get_stored(txn, &stored, key, &old);
    if (err == ERR_OK) {
        if (bytes_eq(old, value)) {
            return ERR_OK;
        }
        digest_row(table, key, old, &row);
        digest_subtract(&sum, &row);
    } else if (err != ERR_NOT_FOUND) {
        return err;
    }
    digest_row(table, key, value, &row);
    digest_add(&sum, &row);
    err = put_stored(txn, &stored, key, value);
    if (err == ERR_OK) {
        txn->digest = sum;
    }
    return err;
}

enum err table_delete(struct table_txn *txn, enum table_id table, struct bytes key)
{
    CHECK(!txn->read_only);
    struct stored_key stored;
    enum err err = encode(txn, table, key, &stored);
    if (err == ERR_OK) {
        err = digest_load(txn);
    }
    struct bytes old = {0};
    if (err == ERR_OK) {
        err = get_stored(txn, &stored, key, &old);
    }
    if (err != ERR_OK) {
        return err;
    }
    struct table_digest row;
    digest_row(table, key, old, &row);
    err = txn->backend->del(txn->self, bytes_of(stored.data, stored.len));
    if (err == ERR_OK && table != TABLE_META) {
        digest_subtract(&txn->digest, &row);
    }
    return err;
}

/* ---- scans ----------------------------------------------------------------------------------- */

static int slot_take(struct table_txn *txn)
{
    for (int slot = 0; slot < TABLE_CURSORS; slot++) {
        uint32_t bit = 1u << (unsigned)slot;
        if ((txn->cursors_in_use & bit) == 0) {
            txn->cursors_in_use |= bit;
            return slot;
        }
    }
    /* Scans are nested deeper than TABLE_CURSORS: a programmer's mistake. */
    CHECK_UNREACHABLE();
}

/* Makes the row the scan's, unless it lies outside of the prefix; *ret_match tells. ERR_NOT_FOUND
 * when no later row can match. */
static enum err scan_row(struct table_scan *scan, struct bytes stored, struct bytes value,
                         bool *ret_match)
{
    uint8_t head[HEAD_BYTES + PREFIX_BYTES];
    size_t in_order = scan->prefix.len < PREFIX_BYTES ? scan->prefix.len : PREFIX_BYTES;
    put_head(head, scan->txn->group, scan->table);
    if (in_order > 0) {
        memcpy(head + HEAD_BYTES, scan->prefix.data, in_order);
    }
    if (!bytes_has_prefix(stored, bytes_of(head, HEAD_BYTES + in_order))) {
        return ERR_NOT_FOUND;
    }
    struct bytes key = bytes_from(stored, HEAD_BYTES);
    if (stored.len == TABLE_STORED_KEY_MAX) {
        enum err err = split_long(value, &key, &value);
        if (err != ERR_OK) {
            return err;
        }
    }
    *ret_match = bytes_has_prefix(key, scan->prefix);
    if (*ret_match) {
        scan->key = key;
        scan->value = value;
    }
    return ERR_OK;
}

/* From this row of the backend on to the first one that matches. */
static enum err scan_settle(struct table_scan *scan, enum err err, struct bytes stored,
                            struct bytes value)
{
    bool match = false;
    while (err == ERR_OK) {
        err = scan_row(scan, stored, value, &match);
        if (err != ERR_OK || match) {
            break;
        }
        err = scan->txn->backend->next(scan->txn->self, scan->slot, &stored, &value);
    }
    return err;
}

enum err table_scan_from(struct table_scan *scan, struct table_txn *txn, enum table_id table,
                         struct bytes prefix, struct bytes from)
{
    *scan = (struct table_scan){
        .txn = txn,
        .prefix = prefix,
        .table = table,
        .slot = slot_take(txn),
    };
    struct bytes in_order = prefix;
    if (in_order.len > PREFIX_BYTES) {
        in_order.len = PREFIX_BYTES;
    }
    struct stored_key start;
    struct stored_key later;
    enum err err = encode(txn, table, in_order, &start);
    if (err == ERR_OK) {
        err = encode(txn, table, from, &later);
    }
    if (err != ERR_OK) {
        return err;
    }
    struct bytes first = bytes_of(start.data, start.len);
    struct bytes asked = bytes_of(later.data, later.len);
    if (bytes_cmp(asked, first) > 0) {
        first = asked;
    }
    struct bytes stored;
    struct bytes value;
    err = txn->backend->seek(txn->self, scan->slot, first, &stored, &value);
    return scan_settle(scan, err, stored, value);
}

enum err table_scan(struct table_scan *scan, struct table_txn *txn, enum table_id table,
                    struct bytes prefix)
{
    return table_scan_from(scan, txn, table, prefix, (struct bytes){NULL, 0});
}

enum err table_scan_next(struct table_scan *scan)
{
    CHECK(scan->slot >= 0);
    struct bytes stored;
    struct bytes value;
    enum err err = scan->txn->backend->next(scan->txn->self, scan->slot, &stored, &value);
    return scan_settle(scan, err, stored, value);
}

void table_scan_end(struct table_scan *scan)
{
    if (scan->slot >= 0) {
        scan->txn->cursors_in_use &= ~(1u << (unsigned)scan->slot);
        scan->slot = -1;
    }
}

enum err table_each(struct table_txn *txn, enum table_id table, struct bytes prefix,
                    table_visit_fn *visit, void *context)
{
    struct table_scan scan;
    enum err err = table_scan(&scan, txn, table, prefix);
    bool more = err == ERR_OK;
    while (more) {
        err = visit(context, scan.key, scan.value);
        if (err != ERR_OK) {
            break;
        }
        err = table_scan_next(&scan);
        more = err == ERR_OK;
    }
    table_scan_end(&scan);
    return !more && err == ERR_NOT_FOUND ? ERR_OK : err;
}

/* ---- applied index and digest ---------------------------------------------------------------- */

/* index u64 | time in ms u64; both 0 for an empty state. */
static enum err read_applied(struct table_txn *txn, size_t at, uint64_t *ret_number)
{
    struct bytes value;
    enum err err = table_get(txn, TABLE_META, META_APPLIED, &value);
    if (err == ERR_NOT_FOUND) {
        *ret_number = 0;
        return ERR_OK;
    }
    if (err == ERR_OK && value.len != 2 * sizeof(uint64_t)) {
        err = ERR_CORRUPT;
    }
    if (err == ERR_OK) {
        *ret_number = get_u64(value.data + at);
    }
    return err;
}

enum err table_applied(struct table_txn *txn, uint64_t *ret_index)
{
    return read_applied(txn, 0, ret_index);
}

enum err table_applied_time(struct table_txn *txn, clk_ms *ret_time_ms)
{
    return read_applied(txn, sizeof(uint64_t), ret_time_ms);
}

bool table_applied_row(struct bytes key, struct bytes value, uint64_t *ret_index,
                       clk_ms *ret_time_ms)
{
    if (!bytes_eq(key, META_APPLIED) || value.len != 2 * sizeof(uint64_t)) {
        return false;
    }
    *ret_index = get_u64(value.data);
    *ret_time_ms = get_u64(value.data + sizeof(uint64_t));
    return true;
}

enum err table_set_applied(struct table_txn *txn, uint64_t index, clk_ms time_ms)
{
    uint8_t value[2 * sizeof(uint64_t)];
    put_u64(value, index);
    put_u64(value + sizeof(uint64_t), time_ms);
    return table_put(txn, TABLE_META, META_APPLIED, bytes_of(value, sizeof(value)));
}

enum err table_digest(struct table_txn *txn, struct table_digest *ret_digest)
{
    enum err err = digest_load(txn);
    if (err == ERR_OK) {
        *ret_digest = txn->digest;
    }
    return err;
}

enum err table_txn_finish(struct table_txn *txn)
{
    CHECK(!txn->read_only);
    CHECK(txn->cursors_in_use == 0);
    if (!txn->digest_loaded) {
        return ERR_OK;
    }
    uint8_t value[2 * sizeof(uint64_t)];
    put_u64(value, txn->digest.low);
    put_u64(value + sizeof(uint64_t), txn->digest.high);
    return table_put(txn, TABLE_META, META_DIGEST, bytes_of(value, sizeof(value)));
}
