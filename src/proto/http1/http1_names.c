/* Names of HTTP/1: reasons, methods, well-known headers, status phrases, character classes.
 *
 * Place: proto/http1. Everything is made from the lists in http1_tables.h. The header recogniser is
 * a perfect hash over length, first letter and last letter but one; a collision is a
 * compile error. */
#include "http1/http1.h"

#include "check/check.h"
#include "http1/http1_priv.h"

const struct http1_limits HTTP1_LIMITS_DEFAULT = {
    .body_max_bytes = UINT64_MAX,
    .start_line_max = HTTP1_START_LINE_MAX,
    .field_block_max = HTTP1_FIELD_BLOCK_MAX,
    .field_count_max = HTTP1_FIELD_COUNT_MAX,
    .chunk_line_max = HTTP1_CHUNK_LINE_MAX,
    .chunk_ext_max = HTTP1_CHUNK_EXT_MAX,
    .trailer_block_max = HTTP1_TRAILER_BLOCK_MAX,
    .underscore = HTTP1_UNDERSCORE_DROP,
};

/* Character classes, computed by the compiler from these conditions. */
#define IS_ALPHA(c) (((c) >= 'a' && (c) <= 'z') || ((c) >= 'A' && (c) <= 'Z'))
#define IS_DIGIT(c) ((c) >= '0' && (c) <= '9')
#define IS_HEX(c)   (IS_DIGIT(c) || ((c) >= 'a' && (c) <= 'f') || ((c) >= 'A' && (c) <= 'F'))
#define IS_UNRESERVED(c)                                                                           \
    (IS_ALPHA(c) || IS_DIGIT(c) || (c) == '-' || (c) == '.' || (c) == '_' || (c) == '~')
#define IS_SUB_DELIM(c)                                                                            \
    ((c) == '!' || (c) == '$' || (c) == '&' || (c) == '\'' || (c) == '(' || (c) == ')' ||          \
     (c) == '*' || (c) == '+' || (c) == ',' || (c) == ';' || (c) == '=')
#define IS_TOKEN(c)                                                                                \
    (IS_ALPHA(c) || IS_DIGIT(c) || (c) == '!' || (c) == '#' || (c) == '$' || (c) == '%' ||         \
     (c) == '&' || (c) == '\'' || (c) == '*' || (c) == '+' || (c) == '-' || (c) == '.' ||          \
     (c) == '^' || (c) == '_' || (c) == '`' || (c) == '|' || (c) == '~')
#define IS_TEXT(c) ((c) == '\t' || ((c) >= ' ' && (c) != 0x7f))
/* RFC 3986 pchar, '/', and what browsers leave unescaped in a path (the URL Standard). */
#define IS_PATH(c)                                                                                 \
    (IS_UNRESERVED(c) || IS_SUB_DELIM(c) || (c) == ':' || (c) == '@' || (c) == '%' ||              \
     (c) == '/' || (c) == '[' || (c) == ']' || (c) == '|' || (c) == '^')
/* Likewise for a query: all visible ASCII but these four. */
#define IS_QUERY(c)                                                                                \
    ((c) > ' ' && (c) < 0x7f && (c) != '"' && (c) != '#' && (c) != '<' && (c) != '>')

#define CLASS(c)                                                                                   \
    (uint8_t)((IS_TOKEN(c) ? HTTP1_C_TOKEN : 0) | (IS_TEXT(c) ? HTTP1_C_TEXT : 0) |                \
              (IS_PATH(c) ? HTTP1_C_PATH : 0) | (IS_QUERY(c) ? HTTP1_C_QUERY : 0) |                \
              (IS_UNRESERVED(c) ? HTTP1_C_UNRESERVED : 0) | (IS_HEX(c) ? HTTP1_C_HEX : 0) |        \
              (IS_DIGIT(c) ? HTTP1_C_DIGIT : 0) | ((c) == '_' ? HTTP1_C_UNDERSCORE : 0))
#define CLASS_4(c)  CLASS(c), CLASS((c) + 1), CLASS((c) + 2), CLASS((c) + 3)
#define CLASS_16(c) CLASS_4(c), CLASS_4((c) + 4), CLASS_4((c) + 8), CLASS_4((c) + 12)
#define CLASS_64(c) CLASS_16(c), CLASS_16((c) + 16), CLASS_16((c) + 32), CLASS_16((c) + 48)

const uint8_t http1_class[256] = {CLASS_64(0), CLASS_64(64), CLASS_64(128), CLASS_64(192)};

struct reason_entry {
    const char *name;
    const char *text;
    uint16_t status;
};

static const struct reason_entry reasons[HTTP1_REASON_COUNT] = {
#define X(name, text, status, sentence) [HTTP1_REASON_##name] = {text, sentence, status},
    HTTP1_REASONS(X)
#undef X
};

const char *http1_reason_name(enum http1_reason reason)
{
    CHECK(reason < HTTP1_REASON_COUNT);
    return reasons[reason].name;
}

const char *http1_reason_text(enum http1_reason reason)
{
    CHECK(reason < HTTP1_REASON_COUNT);
    return reasons[reason].text;
}

uint16_t http1_reason_status(enum http1_reason reason)
{
    CHECK(reason < HTTP1_REASON_COUNT);
    return reasons[reason].status;
}

struct method_entry {
    struct bytes token;
    bool safe;
    bool idempotent;
};

/* The same as BYTES_LITERAL, as an initializer of a static object. */
#define STATIC_BYTES(literal)                                                                      \
    {                                                                                              \
        (const uint8_t *)("" literal), sizeof(literal) - 1                                         \
    }

static const struct method_entry methods[HTTP1_METHOD_COUNT] = {
    [HTTP1_METHOD_OTHER] = {STATIC_BYTES(""), false, false},
#define X(name, token, safe, idempotent)                                                           \
    [HTTP1_METHOD_##name] = {STATIC_BYTES(token), safe, idempotent},
    HTTP1_METHODS(X)
#undef X
};

enum http1_method http1_method_of(struct bytes token)
{
    for (unsigned method = 1; method < HTTP1_METHOD_COUNT; ++method) {
        struct bytes known = methods[method].token;
        if (known.len == token.len && memcmp(known.data, token.data, token.len) == 0)
            return (enum http1_method)method;
    }
    return HTTP1_METHOD_OTHER;
}

struct bytes http1_method_token(enum http1_method method)
{
    CHECK(method < HTTP1_METHOD_COUNT);
    return methods[method].token;
}

bool http1_method_is_safe(enum http1_method method)
{
    CHECK(method < HTTP1_METHOD_COUNT);
    return methods[method].safe;
}

bool http1_method_is_idempotent(enum http1_method method)
{
    CHECK(method < HTTP1_METHOD_COUNT);
    return methods[method].idempotent;
}

struct header_entry {
    struct bytes name;
    uint8_t flags;
};

enum {
    H = HTTP1_FLAG_HOP,
    R = HTTP1_FLAG_REFUSED,
    P = HTTP1_FLAG_PROTECTED,
    T = HTTP1_FLAG_NO_TRAILER
};

static const struct header_entry headers[HTTP1_HEADER_COUNT] = {
    [HTTP1_HEADER_OTHER] = {STATIC_BYTES(""), 0},
#define X(name, text, first, penult, flags) [HTTP1_HEADER_##name] = {STATIC_BYTES(text), flags},
    HTTP1_HEADERS(X)
#undef X
};

/* The factors were found by search: with them no two names of the list share a slot. */
#define HASH(len, first, penult) (((len) + (first)*11U + (penult)*31U) & 255U)

static const uint8_t header_slots[256] = {
#define X(name, text, first, penult, flags)                                                        \
    [HASH(sizeof(text) - 1, first, penult)] = HTTP1_HEADER_##name,
    HTTP1_HEADERS(X)
#undef X
};

enum http1_header http1_header_of(struct bytes name)
{
    if (name.len < 2)
        return HTTP1_HEADER_OTHER;
    size_t slot = HASH(name.len, name.data[0] | 0x20U, name.data[name.len - 2] | 0x20U);
    enum http1_header header = (enum http1_header)header_slots[slot];
    return http1_token_is(name, headers[header].name) ? header : HTTP1_HEADER_OTHER;
}

struct bytes http1_header_name(enum http1_header header)
{
    CHECK(header < HTTP1_HEADER_COUNT);
    return headers[header].name;
}

uint8_t http1_header_flags(enum http1_header header)
{
    CHECK(header < HTTP1_HEADER_COUNT);
    return headers[header].flags;
}

bool http1_is_token(struct bytes text)
{
    for (size_t at = 0; at < text.len; ++at) {
        if (!http1_is(text.data[at], HTTP1_C_TOKEN))
            return false;
    }
    return text.len > 0;
}

bool http1_is_field_value(struct bytes text)
{
    return http1_trim(text).len == text.len && http1_scan_text(text.data, 0, text.len) == text.len;
}

struct bytes http1_trim(struct bytes text)
{
    while (text.len > 0 && (text.data[0] == ' ' || text.data[0] == '\t'))
        text = bytes_from(text, 1);
    while (text.len > 0 && (text.data[text.len - 1] == ' ' || text.data[text.len - 1] == '\t'))
        --text.len;
    return text;
}

bool http1_list_next(struct bytes *rest, struct bytes *ret_element)
{
    while (rest->len > 0) {
        const uint8_t *comma = memchr(rest->data, ',', rest->len);
        size_t len = comma != NULL ? (size_t)(comma - rest->data) : rest->len;
        struct bytes element = http1_trim((struct bytes){rest->data, len});
        *rest = bytes_from(*rest, comma != NULL ? len + 1 : len);
        if (element.len > 0) {
            *ret_element = element;
            return true;
        }
    }
    return false;
}
