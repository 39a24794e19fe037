/* Apply: refusals, reported writes and the counters of areas.
 *
 * Place: core; see apply.h. */
#include "apply/apply.h"

#include "check/check.h"

/* Appends to the zero-terminated reason, cutting what does not fit. */
static void append(char reason[APPLY_REASON_MAX], struct bytes text)
{
    size_t used = strlen(reason);
    size_t room = APPLY_REASON_MAX - 1 - used;
    size_t len = text.len < room ? text.len : room;
    if (len > 0) {
        memcpy(reason + used, text.data, len);
    }
    reason[used + len] = '\0';
}

enum err apply_refuse(struct apply *a, enum err why, const char *reason)
{
    CHECK(why != ERR_OK);
    a->result->err = why;
    a->result->value = 0;
    a->result->reason[0] = '\0';
    append(a->result->reason, bytes_of_str(reason));
    return ERR_OK;
}

enum err apply_refuse_about(struct apply *a, enum err why, const char *reason, struct bytes subject)
{
    enum err err = apply_refuse(a, why, reason);
    append(a->result->reason, BYTES_LITERAL(": \""));
    append(a->result->reason, subject);
    append(a->result->reason, BYTES_LITERAL("\""));
    return err;
}

enum err apply_body_open(struct bytes body, struct reader *ret_reader)
{
    struct reader r = reader_of(body);
    uint8_t version = read_u8(&r);
    *ret_reader = r;
    return reader_ok(&r) && version != APPLY_BODY_VERSION ? ERR_UNSUPPORTED : ERR_OK;
}

bool apply_body_whole(const struct reader *r)
{
    return reader_ok(r) && reader_left(r) == 0;
}

static void report(struct apply *a, enum table_id table, bool deleted, struct bytes key)
{
    bool internal = table == TABLE_META || table == TABLE_PROPOSERS || table == TABLE_TOMBSTONES ||
                    table == TABLE_INDEXES;
    if (a->changes == NULL || internal) {
        return;
    }
    struct apply_change change = {
        .table = table,
        .deleted = deleted,
        .index = a->index,
        .key = key,
    };
    a->changes->change(a->changes, &change);
}

enum err apply_put(struct apply *a, enum table_id table, struct bytes key, struct bytes value)
{
    enum err err = table_put(a->txn, table, key, value);
    if (err == ERR_OK) {
        report(a, table, false, key);
    }
    return err;
}

enum err apply_delete(struct apply *a, enum table_id table, struct bytes key)
{
    enum err err = table_delete(a->txn, table, key);
    if (err == ERR_OK) {
        report(a, table, true, key);
    }
    return err == ERR_NOT_FOUND ? ERR_CORRUPT : err;
}

enum err apply_area_bump(struct apply *a, enum apply_area area)
{
    uint8_t key[] = {APPLY_INDEX_AREA, (uint8_t)area};
    uint8_t value[sizeof(uint64_t)];
    put_u64(value, a->index);
    return apply_put(a, TABLE_INDEXES, bytes_of(key, sizeof(key)), bytes_of(value, sizeof(value)));
}

enum err apply_area_index(struct table_txn *txn, enum apply_area area, uint64_t *ret_index)
{
    uint8_t key[] = {APPLY_INDEX_AREA, (uint8_t)area};
    struct bytes value;
    enum err err = table_get(txn, TABLE_INDEXES, bytes_of(key, sizeof(key)), &value);
    if (err == ERR_NOT_FOUND) {
        *ret_index = 1;
        return ERR_OK;
    }
    if (err == ERR_OK && value.len != sizeof(uint64_t)) {
        err = ERR_CORRUPT;
    }
    if (err == ERR_OK) {
        *ret_index = get_u64(value.data);
    }
    return err;
}
