/* Queries and paths: splitting first, decoding afterwards. */
#include "http/http_query.h"

/* The value of a hexadecimal digit, or -1. */
static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    uint8_t lower = c | 0x20;
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

/* Decodes the byte at *at, which is moved behind it; -1: a malformed escape. */
static int decode_one(struct bytes raw, size_t *at, enum http_plus plus)
{
    uint8_t c = raw.data[(*at)++];
    if (c == '+' && plus == HTTP_PLUS_IS_SPACE) {
        return ' ';
    }
    if (c != '%') {
        return c;
    }
    if (raw.len - *at < 2) {
        return -1;
    }
    int high = hex_digit(raw.data[*at]);
    int low = hex_digit(raw.data[*at + 1]);
    *at += 2;
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

static bool needs_decoding(struct bytes raw, enum http_plus plus)
{
    for (size_t i = 0; i < raw.len; i++) {
        if (raw.data[i] == '%' || (raw.data[i] == '+' && plus == HTTP_PLUS_IS_SPACE)) {
            return true;
        }
    }
    return false;
}

enum err http_percent_decode(struct bytes raw, enum http_plus plus, struct arena *arena,
                             struct bytes *ret_decoded)
{
    if (!needs_decoding(raw, plus)) {
        *ret_decoded = raw;
        return ERR_OK;
    }
    uint8_t *dest = arena_alloc(arena, raw.len);
    if (dest == NULL) {
        return ERR_FULL;
    }
    size_t len = 0;
    for (size_t at = 0; at < raw.len;) {
        int c = decode_one(raw, &at, plus);
        if (c < 0) {
            return ERR_BAD_INPUT;
        }
        dest[len++] = (uint8_t)c;
    }
    *ret_decoded = bytes_of(dest, len);
    return ERR_OK;
}

bool http_query_next(struct bytes *query, struct http_param *ret_param)
{
    while (query->len > 0) {
        size_t len = bytes_find(*query, '&');
        struct bytes part = {query->data, len};
        *query = bytes_from(*query, len < query->len ? len + 1 : len);
        if (len == 0) {
            continue;
        }
        size_t name_len = bytes_find(part, '=');
        ret_param->has_value = name_len < len;
        ret_param->name = (struct bytes){part.data, name_len};
        ret_param->value = bytes_from(part, ret_param->has_value ? name_len + 1 : len);
        return true;
    }
    return false;
}

static bool name_is(struct bytes raw, const char *name)
{
    size_t at = 0;
    for (; at < raw.len && *name != '\0'; name++) {
        if (decode_one(raw, &at, HTTP_PLUS_IS_SPACE) != (uint8_t)*name) {
            return false;
        }
    }
    return at == raw.len && *name == '\0';
}

bool http_query_find(struct bytes query, const char *name, struct http_param *ret_param)
{
    struct http_param param;
    while (http_query_next(&query, &param)) {
        if (name_is(param.name, name)) {
            *ret_param = param;
            return true;
        }
    }
    return false;
}

bool http_query_has(struct bytes query, const char *name)
{
    struct http_param param;
    return http_query_find(query, name, &param);
}

enum err http_query_get(struct bytes query, const char *name, struct arena *arena,
                        struct bytes *ret_value)
{
    struct http_param param;
    if (!http_query_find(query, name, &param)) {
        return ERR_NOT_FOUND;
    }
    return http_percent_decode(param.value, HTTP_PLUS_IS_SPACE, arena, ret_value);
}

bool http_path_next(struct bytes *path, struct bytes *ret_segment)
{
    if (path->len == 0 || path->data[0] != '/') {
        return false;
    }
    struct bytes rest = bytes_from(*path, 1);
    size_t len = bytes_find(rest, '/');
    *ret_segment = (struct bytes){rest.data, len};
    *path = bytes_from(rest, len);
    return true;
}
