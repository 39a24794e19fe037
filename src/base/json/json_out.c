/* Streaming JSON writer.
 *
 * Place: base. Every value goes through begin_value, which puts the comma, the line break and the
 * indentation; every byte goes through put, which remembers the first failure. */
#include "json/json_out.h"

#include "text/text.h"

#include <stdio.h>

static void put(struct json_out *out, struct bytes slice)
{
    if (out->err == ERR_OK) {
        out->err = buf_append(out->to, slice);
    }
}

static void put_str(struct json_out *out, const char *text)
{
    put(out, bytes_of_str(text));
}

static void break_line(struct json_out *out)
{
    if (out->pretty) {
        put_str(out, "\n");
        for (unsigned i = 0; i < out->depth; i++) {
            put_str(out, "    ");
        }
    }
}

/* Before an item of an array or a key of an object. */
static void begin_item(struct json_out *out)
{
    bool *has_items = &out->has_items[out->depth - 1];
    if (*has_items) {
        put_str(out, ",");
    }
    *has_items = true;
    break_line(out);
}

/* Before any value; false when the writer has failed. */
static bool begin_value(struct json_out *out)
{
    if (out->err != ERR_OK) {
        return false;
    }
    if (out->depth > 0) {
        bool in_object = out->in_object[out->depth - 1];
        CHECK(out->after_key == in_object);
        if (!in_object) {
            begin_item(out);
        }
        out->after_key = false;
    }
    return true;
}

static void open_level(struct json_out *out, bool object)
{
    if (!begin_value(out)) {
        return;
    }
    CHECK(out->depth < JSON_DEPTH_MAX);
    out->has_items[out->depth] = false;
    out->in_object[out->depth] = object;
    out->depth++;
    put_str(out, object ? "{" : "[");
}

static void close_level(struct json_out *out, bool object)
{
    if (out->err != ERR_OK) {
        return;
    }
    CHECK(out->depth > 0);
    CHECK(out->in_object[out->depth - 1] == object);
    CHECK(!out->after_key);
    out->depth--;
    if (out->has_items[out->depth]) {
        break_line(out);
    }
    put_str(out, object ? "}" : "]");
}

void json_out_init(struct json_out *out, struct buf *to, bool pretty)
{
    CHECK(to != NULL);
    *out = (struct json_out){.to = to, .pretty = pretty};
}

void json_out_object(struct json_out *out)
{
    open_level(out, true);
}

void json_out_object_end(struct json_out *out)
{
    close_level(out, true);
}

void json_out_array(struct json_out *out)
{
    open_level(out, false);
}

void json_out_array_end(struct json_out *out)
{
    close_level(out, false);
}

/* RFC 8259 section 7: what must be escaped are the quote, the backslash and the controls. */
static void put_escape(struct json_out *out, uint8_t byte)
{
    static const char named[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    for (size_t i = 0; named[i] != '\0'; i += 2) {
        if (byte == (uint8_t)named[i]) {
            char text[] = {'\\', named[i + 1]};
            put(out, bytes_of(text, sizeof(text)));
            return;
        }
    }
    char text[8];
    (void)snprintf(text, sizeof(text), "\\u%04x", (unsigned)byte);
    put_str(out, text);
}

static bool is_continuation(uint8_t byte)
{
    return (byte & 0xc0) == 0x80;
}

/* Length of the well-formed UTF-8 sequence of two to four bytes at the start of the slice, 0 when
 * there is none (RFC 3629 section 4). */
static size_t utf8_sequence(struct bytes text)
{
    uint8_t first = text.data[0];
    size_t len = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || text.len < len) {
        return 0;
    }
    uint8_t second = text.data[1];
    /* No overlong forms, no surrogates, nothing over U+10FFFF. */
    if ((first == 0xe0 && second < 0xa0) || (first == 0xed && second > 0x9f) ||
        (first == 0xf0 && second < 0x90) || (first == 0xf4 && second > 0x8f)) {
        return 0;
    }
    for (size_t i = 1; i < len; i++) {
        if (!is_continuation(text.data[i])) {
            return 0;
        }
    }
    return len;
}

/* How many bytes from the start on can be copied as they are. */
static size_t plain_run(struct bytes text)
{
    size_t at = 0;
    while (at < text.len) {
        uint8_t byte = text.data[at];
        if (byte < 0x20 || byte == '"' || byte == '\\') {
            break;
        }
        size_t step = byte < 0x80 ? 1 : utf8_sequence(bytes_from(text, at));
        if (step == 0) {
            break;
        }
        at += step;
    }
    return at;
}

static void put_quoted(struct json_out *out, struct bytes text)
{
    put_str(out, "\"");
    while (text.len > 0 && out->err == ERR_OK) {
        size_t run = plain_run(text);
        put(out, (struct bytes){text.data, run});
        text = bytes_from(text, run);
        if (text.len == 0) {
            break;
        }
        if (text.data[0] < 0x80) {
            put_escape(out, text.data[0]);
        } else {
            put_str(out, "\xef\xbf\xbd");
        }
        text = bytes_from(text, 1);
    }
    put_str(out, "\"");
}

void json_out_key_bytes(struct json_out *out, struct bytes key)
{
    if (out->err != ERR_OK) {
        return;
    }
    CHECK(out->depth > 0 && out->in_object[out->depth - 1]);
    CHECK(!out->after_key);
    begin_item(out);
    put_quoted(out, key);
    put_str(out, out->pretty ? ": " : ":");
    out->after_key = true;
}

void json_out_key(struct json_out *out, const char *key)
{
    json_out_key_bytes(out, bytes_of_str(key));
}

void json_out_bytes(struct json_out *out, struct bytes text)
{
    if (begin_value(out)) {
        put_quoted(out, text);
    }
}

void json_out_str(struct json_out *out, const char *text)
{
    json_out_bytes(out, bytes_of_str(text));
}

static void put_decimal(struct json_out *out, bool negative, uint64_t value)
{
    char text[21];
    size_t at = sizeof(text);
    do {
        text[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    if (negative) {
        text[--at] = '-';
    }
    put(out, bytes_of(text + at, sizeof(text) - at));
}

void json_out_u64(struct json_out *out, uint64_t value)
{
    if (begin_value(out)) {
        put_decimal(out, false, value);
    }
}

void json_out_i64(struct json_out *out, int64_t value)
{
    if (begin_value(out)) {
        put_decimal(out, value < 0, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
    }
}

void json_out_double(struct json_out *out, double value)
{
    if (!__builtin_isfinite(value)) {
        json_out_null(out);
        return;
    }
    if (!begin_value(out)) {
        return;
    }
    char text[336]; /* the largest double has 309 digits before the point */
    int length = snprintf(text, sizeof(text), "%.3f", value);
    CHECK(length > 4 && (size_t)length < sizeof(text));
    size_t len = (size_t)length;
    while (text[len - 1] == '0') {
        len--;
    }
    len -= text[len - 1] == '.';
    struct bytes number = bytes_of(text, len);
    put(out, bytes_eq_str(number, "-0") ? BYTES_LITERAL("0") : number);
}

void json_out_bool(struct json_out *out, bool value)
{
    if (begin_value(out)) {
        put_str(out, value ? "true" : "false");
    }
}

void json_out_null(struct json_out *out)
{
    if (begin_value(out)) {
        put_str(out, "null");
    }
}

void json_out_base64(struct json_out *out, struct bytes raw)
{
    if (!begin_value(out)) {
        return;
    }
    put_str(out, "\"");
    if (out->err == ERR_OK) {
        out->err = text_base64_encode(raw, out->to);
    }
    put_str(out, "\"");
}

void json_out_raw(struct json_out *out, struct bytes json)
{
    if (begin_value(out)) {
        put(out, json);
    }
}

void json_out_field_str(struct json_out *out, const char *key, const char *text)
{
    json_out_key(out, key);
    json_out_str(out, text);
}

void json_out_field_bytes(struct json_out *out, const char *key, struct bytes text)
{
    json_out_key(out, key);
    json_out_bytes(out, text);
}

void json_out_field_u64(struct json_out *out, const char *key, uint64_t value)
{
    json_out_key(out, key);
    json_out_u64(out, value);
}

void json_out_field_bool(struct json_out *out, const char *key, bool value)
{
    json_out_key(out, key);
    json_out_bool(out, value);
}
