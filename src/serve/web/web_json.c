/* JSON bodies: the depth is looked at before the library recurses, the rest is its work. */
#include "web/web_json.h"

#include "check/check.h"
#include "text/text.h"

#include <string.h>

enum {
    NAME_MAX_BYTES = 64,
    NS_PER_MS = 1000000
};

/* ---- parsing --------------------------------------------------------------------------------- */

/* Brackets inside each other, outside of strings; malformed input gives any number. */
static size_t depth_of(struct bytes text)
{
    size_t depth = 0;
    size_t deepest = 0;
    bool in_string = false;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (in_string) {
            i += c == '\\' ? 1 : 0;
            in_string = c != '"';
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            depth++;
            deepest = depth > deepest ? depth : deepest;
        } else if ((c == '}' || c == ']') && depth > 0) {
            depth--;
        }
    }
    return deepest;
}

enum err web_json_parse(struct bytes text, json_t **ret_root, struct err_note *note)
{
    if (text.len == 0) {
        return err_note_set(note, ERR_BAD_INPUT, "the body is empty");
    }
    if (depth_of(text) > WEB_JSON_DEPTH_MAX) {
        return err_note_set(note, ERR_BAD_INPUT, "more than %d brackets inside each other",
                            WEB_JSON_DEPTH_MAX);
    }
    json_error_t error;
    json_t *root = json_loadb((const char *)text.data, text.len, JSON_DECODE_ANY, &error);
    if (root == NULL) {
        return err_note_set(note, ERR_BAD_INPUT, "line %d, column %d: %s", error.line, error.column,
                            error.text);
    }
    *ret_root = root;
    return ERR_OK;
}

struct bytes web_json_text(const json_t *string)
{
    CHECK(json_is_string(string));
    return bytes_of(json_string_value(string), json_string_length(string));
}

/* ---- fields ---------------------------------------------------------------------------------- */

/* The field's name as tables have it; false: longer than any. */
static bool plain_name(const char *name, char dest[NAME_MAX_BYTES])
{
    size_t len = 0;
    for (; *name != '\0'; name++) {
        if (*name == '_') {
            continue;
        }
        if (len + 1 == NAME_MAX_BYTES) {
            return false;
        }
        dest[len++] = *name >= 'A' && *name <= 'Z' ? (char)(*name | 0x20) : *name;
    }
    dest[len] = '\0';
    return true;
}

/* A whole number from 0 to max; clients in JavaScript and Python may write 8080.0. */
static bool whole_number(const json_t *value, uint64_t max, uint64_t *ret_number)
{
    if (json_is_integer(value)) {
        json_int_t number = json_integer_value(value);
        if (number < 0 || (uint64_t)number > max) {
            return false;
        }
        *ret_number = (uint64_t)number;
        return true;
    }
    double number = json_is_real(value) ? json_real_value(value) : -1.0;
    /* 2^53: above it not every whole number is a double. NaN fails the first comparison. */
    if (!(number >= 0.0) || number > (double)max || number > 9007199254740992.0) {
        return false;
    }
    *ret_number = (uint64_t)number;
    return !(number > (double)*ret_number);
}

static bool take_duration(const json_t *value, uint64_t *ret_ms)
{
    if (json_is_string(value)) {
        struct bytes text = web_json_text(value);
        if (text.len == 0) {
            *ret_ms = 0;
            return true;
        }
        return text_parse_duration_ms(text, ret_ms) == ERR_OK;
    }
    uint64_t ns = 0;
    if (!whole_number(value, INT64_MAX, &ns)) {
        return false;
    }
    *ret_ms = ns / NS_PER_MS;
    return true;
}

/* Writes the value to the field's place; false: it has another type. */
static bool take(const struct web_field *field, const json_t *value)
{
    uint64_t number = 0;
    switch (field->type) {
    case WEB_STRING:
        if (!json_is_string(value)) {
            return false;
        }
        *(struct bytes *)field->to = web_json_text(value);
        return true;
    case WEB_BOOL:
        if (!json_is_boolean(value)) {
            return false;
        }
        *(bool *)field->to = json_is_true(value);
        return true;
    case WEB_COUNT:
        if (!whole_number(value, UINT32_MAX, &number)) {
            return false;
        }
        *(uint32_t *)field->to = (uint32_t)number;
        return true;
    case WEB_PORT:
        if (!whole_number(value, UINT16_MAX, &number)) {
            return false;
        }
        *(uint16_t *)field->to = (uint16_t)number;
        return true;
    case WEB_DURATION:
        return take_duration(value, field->to);
    case WEB_OBJECT:
        *(const json_t **)field->to = value;
        return json_is_object(value);
    case WEB_ARRAY:
        *(const json_t **)field->to = value;
        return json_is_array(value);
    case WEB_ANY:
        *(const json_t **)field->to = value;
        return true;
    default:
        CHECK(false);
        return false;
    }
}

static const char *type_name(enum web_type type)
{
    static const char *const names[] = {
        [WEB_STRING] = "a string",
        [WEB_BOOL] = "true or false",
        [WEB_COUNT] = "a whole number",
        [WEB_PORT] = "a port (0 to 65535)",
        [WEB_DURATION] = "a duration such as \"10s\"",
        [WEB_OBJECT] = "an object",
        [WEB_ARRAY] = "an array",
        [WEB_ANY] = "a value",
    };
    return names[type];
}

static const struct web_field *find_field(const struct web_field *fields, size_t count,
                                          const char *name)
{
    char plain[NAME_MAX_BYTES];
    if (!plain_name(name, plain)) {
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        if (strcmp(fields[i].name, plain) == 0) {
            return &fields[i];
        }
    }
    return NULL;
}

enum err web_json_fields_only(const json_t *object, const struct web_field *fields, size_t count,
                              struct err_note *note)
{
    json_t *tree = (json_t *)(uintptr_t)object; /* as below */
    const char *name;
    json_t *value;
    json_object_foreach(tree, name, value)
    {
        if (find_field(fields, count, name) == NULL) {
            return err_note_set(note, ERR_BAD_INPUT, "unknown field \"%.64s\"", name);
        }
    }
    return web_json_fields(object, fields, count, note);
}

enum err web_json_fields(const json_t *object, const struct web_field *fields, size_t count,
                         struct err_note *note)
{
    if (!json_is_object(object)) {
        return err_note_set(note, ERR_BAD_INPUT, "an object is expected");
    }
    /* The library's iterator wants a tree that may be written; it does not write. */
    json_t *tree = (json_t *)(uintptr_t)object;
    const char *name;
    json_t *value;
    json_object_foreach(tree, name, value)
    {
        const struct web_field *field = find_field(fields, count, name);
        if (field == NULL || json_is_null(value)) {
            continue;
        }
        if (!take(field, value)) {
            return err_note_set(note, ERR_BAD_INPUT, "field %.64s must be %s", name,
                                type_name(field->type));
        }
    }
    return ERR_OK;
}
