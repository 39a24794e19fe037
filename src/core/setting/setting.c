/* Settings: commands, rows and the table of known names.
 *
 * Place: core; see setting.h.
 * Body of put: version u8 = 1 | name blob | value blob; of remove: version u8 = 1 | name blob.
 * Row: TABLE_SETTINGS name -> version u8 = 1 | modify u64 | value blob. */
#include "setting/setting.h"

#include "check/check.h"
#include "text/text.h"

enum {
    ROW_VERSION = 1
};

static const struct setting_info infos[SETTING_COUNT] = {
    [SETTING_TOMBSTONES_MAX] =
        {
            .name = "tombstones.max",
            .help = "Most deletions remembered for blocking queries before the oldest are dropped.",
            .fallback = 16384,
            .min = 64,
            .max = 1000000,
        },
    [SETTING_TOMBSTONES_AGE_MS] =
        {
            .name = "tombstones.age_ms",
            .help = "Age in milliseconds at which a remembered deletion may be dropped.",
            .fallback = 24ull * 3600 * 1000,
            .min = 60ull * 1000,
            .max = 365ull * 24 * 3600 * 1000,
        },
};

const struct setting_info *setting_info(enum setting_id id)
{
    CHECK(id < SETTING_COUNT);
    return &infos[id];
}

/* What apply demands of a name: syntax only. */
static bool name_ok(struct bytes name)
{
    for (size_t i = 0; i < name.len; i++) {
        uint8_t c = name.data[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.';
        if (!ok) {
            return false;
        }
    }
    return name.len > 0 && name.len <= SETTING_NAME_MAX;
}

enum err setting_check(struct bytes name, struct bytes value, const char **ret_reason)
{
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        if (!bytes_eq_str(name, infos[i].name)) {
            continue;
        }
        uint64_t number = 0;
        if (text_parse_u64(value, &number) != ERR_OK) {
            *ret_reason = "the value must be a whole number";
            return ERR_BAD_INPUT;
        }
        if (number < infos[i].min || number > infos[i].max) {
            *ret_reason = "the value is out of the setting's range";
            return ERR_TOO_LARGE;
        }
        return ERR_OK;
    }
    *ret_reason = "there is no setting of this name";
    return ERR_NOT_FOUND;
}

static enum err limits(struct bytes name, struct bytes value)
{
    if (!name_ok(name)) {
        return name.len > SETTING_NAME_MAX ? ERR_TOO_LARGE : ERR_BAD_INPUT;
    }
    return value.len > SETTING_VALUE_MAX ? ERR_TOO_LARGE : ERR_OK;
}

enum err setting_put_encode(struct bytes name, struct bytes value, struct buf *to)
{
    enum err err = limits(name, value);
    if (err != ERR_OK) {
        return err;
    }
    struct writer w = writer_of(to);
    write_u8(&w, APPLY_BODY_VERSION);
    write_blob(&w, name);
    write_blob(&w, value);
    return w.err;
}

enum err setting_remove_encode(struct bytes name, struct buf *to)
{
    enum err err = limits(name, (struct bytes){NULL, 0});
    if (err != ERR_OK) {
        return err;
    }
    struct writer w = writer_of(to);
    write_u8(&w, APPLY_BODY_VERSION);
    write_blob(&w, name);
    return w.err;
}

static enum err apply_setting_put(struct apply *a, struct bytes name, struct bytes value)
{
    buf_clear(a->record);
    struct writer w = writer_of(a->record);
    write_u8(&w, ROW_VERSION);
    write_u64(&w, a->index);
    write_blob(&w, value);
    if (w.err != ERR_OK) {
        return w.err;
    }
    a->result->value = 1;
    return apply_put(a, TABLE_SETTINGS, name, buf_bytes(a->record));
}

static enum err apply_setting_remove(struct apply *a, struct bytes name)
{
    struct bytes row;
    enum err err = table_get(a->txn, TABLE_SETTINGS, name, &row);
    if (err == ERR_NOT_FOUND) {
        return apply_refuse_about(a, ERR_NOT_FOUND, "the setting is not set", name);
    }
    if (err != ERR_OK) {
        return err;
    }
    a->result->value = 1;
    return apply_delete(a, TABLE_SETTINGS, name);
}

enum err setting_apply(struct apply *a, uint16_t kind, struct bytes body)
{
    if (kind != SETTING_CMD_PUT && kind != SETTING_CMD_REMOVE) {
        return ERR_UNSUPPORTED;
    }
    struct reader r;
    enum err err = apply_body_open(body, &r);
    if (err != ERR_OK) {
        return err;
    }
    struct bytes name = read_blob(&r, body.len);
    struct bytes value = kind == SETTING_CMD_PUT ? read_blob(&r, body.len) : (struct bytes){0};
    if (!apply_body_whole(&r)) {
        return apply_refuse(a, ERR_BAD_INPUT, "the setting command is malformed");
    }
    err = limits(name, value);
    if (err != ERR_OK) {
        return apply_refuse(a, err, "the setting's name or value is not allowed");
    }
    return kind == SETTING_CMD_PUT ? apply_setting_put(a, name, value)
                                   : apply_setting_remove(a, name);
}

enum err setting_u64(struct table_txn *txn, enum setting_id id, uint64_t *ret_value)
{
    const struct setting_info *info = setting_info(id);
    struct bytes row;
    enum err err = table_get(txn, TABLE_SETTINGS, bytes_of_str(info->name), &row);
    if (err == ERR_NOT_FOUND) {
        *ret_value = info->fallback;
        return ERR_OK;
    }
    if (err != ERR_OK) {
        return err;
    }
    struct reader r = reader_of(row);
    uint8_t version = read_u8(&r);
    (void)read_u64(&r);
    struct bytes text = read_blob(&r, SETTING_VALUE_MAX);
    if (version != ROW_VERSION || !apply_body_whole(&r)) {
        return ERR_CORRUPT;
    }
    uint64_t value = 0;
    if (text_parse_u64(text, &value) != ERR_OK) {
        value = info->fallback;
    }
    value = value < info->min ? info->min : value;
    *ret_value = value > info->max ? info->max : value;
    return ERR_OK;
}
