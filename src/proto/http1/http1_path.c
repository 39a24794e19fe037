/* The path normaliser: one pass over the segments, writing the normal form behind what is kept.
 *
 * Place: proto/http1. Each segment is copied with its escapes normalised, then judged: plain, ".",
 * "..", or hiding a dot segment from us but not from a program that decodes once more.
 *
 * Source: RFC 3986 sections 5.2.4 and 6.2.2; RFC 3629 section 3 for overlong forms. */
#include "http1/http1_path.h"

#include "check/check.h"
#include "http1/http1_priv.h"

bool http1_path_is_normal(struct bytes path)
{
    if (path.len == 0 || path.data[0] != '/')
        return false;
    uint8_t previous = 0;
    for (size_t at = 0; at < path.len; ++at) {
        uint8_t byte = path.data[at];
        if (!http1_is(byte, HTTP1_C_PATH) || byte == '%' || (byte == '.' && previous == '/'))
            return false;
        previous = byte;
    }
    return true;
}

/* Reads %XX at path.data[at]. */
static bool read_escape(struct bytes path, size_t at, uint8_t *ret_value)
{
    if (path.len - at < 3 || path.data[at] != '%' || !http1_is(path.data[at + 1], HTTP1_C_HEX) ||
        !http1_is(path.data[at + 2], HTTP1_C_HEX))
        return false;
    *ret_value =
        (uint8_t)(http1_hex_value(path.data[at + 1]) << 4 | http1_hex_value(path.data[at + 2]));
    return true;
}

/* Whether lead, followed by next, begins a UTF-8 form that is longer than needed: the way to write
 * "/" or "." so that only some decoders see it. */
static bool is_overlong(uint8_t lead, uint8_t next)
{
    if ((next & 0xc0) != 0x80)
        return false;
    return lead == 0xc0 || lead == 0xc1 || (lead == 0xe0 && next < 0xa0) ||
           (lead == 0xf0 && next < 0x90) || (lead == 0xf8 && next < 0x88) ||
           (lead == 0xfc && next < 0x84);
}

static uint8_t upper_hex(uint8_t value)
{
    return (uint8_t) "0123456789ABCDEF"[value & 0x0f];
}

/* Normalises the escape at path.data[at] into dest; returns the reason, NONE with ret_len 1
 * or 3. */
static enum http1_reason copy_escape(struct bytes path, size_t at, uint8_t *dest, size_t *ret_len)
{
    uint8_t value;
    if (!read_escape(path, at, &value))
        return HTTP1_REASON_PATH_ESCAPE_INVALID;
    if (value == 0)
        return HTTP1_REASON_PATH_NUL;
    uint8_t next;
    if (value >= 0xc0 && read_escape(path, at + 3, &next) && is_overlong(value, next))
        return HTTP1_REASON_PATH_OVERLONG;
    if (http1_is(value, HTTP1_C_UNRESERVED)) {
        dest[0] = value;
        *ret_len = 1;
        return HTTP1_REASON_NONE;
    }
    dest[0] = '%';
    dest[1] = upper_hex(value >> 4);
    dest[2] = upper_hex(value);
    *ret_len = 3;
    return HTTP1_REASON_NONE;
}

/* Copies path[begin, end), which holds no '/', to dest. */
static enum http1_reason copy_segment(struct bytes path, size_t begin, size_t end, uint8_t *dest,
                                      size_t *ret_len)
{
    size_t len = 0;
    for (size_t at = begin; at < end;) {
        uint8_t byte = path.data[at];
        if (!http1_is(byte, HTTP1_C_PATH))
            return HTTP1_REASON_PATH_INVALID;
        if (byte != '%') {
            dest[len++] = byte;
            ++at;
            continue;
        }
        size_t copied;
        enum http1_reason reason = copy_escape(path, at, dest + len, &copied);
        if (reason != HTTP1_REASON_NONE)
            return reason;
        len += copied;
        at += 3;
    }
    *ret_len = len;
    return HTTP1_REASON_NONE;
}

enum segment {
    SEGMENT_PLAIN,
    SEGMENT_DOT,
    SEGMENT_DOT_DOT,
    SEGMENT_HIDDEN
};

static bool is_escape(struct bytes text, size_t at, const char *digits)
{
    return text.len - at >= 3 && text.data[at] == '%' && text.data[at + 1] == digits[0] &&
           text.data[at + 2] == digits[1];
}

static bool is_dots(struct bytes text, size_t begin, size_t end)
{
    size_t len = end - begin;
    return (len == 1 || len == 2) && text.data[begin] == '.' && text.data[end - 1] == '.';
}

/* Looks at a normalised segment as a program would that takes %2F, %5C or \ for a separator, or
 * cuts ";parameters" off. */
static enum segment judge_segment(struct bytes segment)
{
    if (is_dots(segment, 0, segment.len))
        return segment.len == 1 ? SEGMENT_DOT : SEGMENT_DOT_DOT;
    size_t begin =
        0; /* of the piece between separators; with its parameters it is no longer dots */
    for (size_t at = 0; at <= segment.len; ++at) {
        bool separator =
            at == segment.len || is_escape(segment, at, "2F") || is_escape(segment, at, "5C");
        bool parameters = !separator && (segment.data[at] == ';' || is_escape(segment, at, "3B"));
        if ((separator || parameters) && is_dots(segment, begin, at))
            return SEGMENT_HIDDEN;
        if (separator)
            begin = at + 3;
    }
    return SEGMENT_PLAIN;
}

/* Removes the last segment from dest[0, len), its '/' included. */
static size_t pop_segment(const uint8_t *dest, size_t len)
{
    do
        --len;
    while (dest[len] != '/');
    return len;
}

enum err http1_path_normalise(struct bytes path, uint32_t flags, uint8_t *dest, size_t dest_size,
                              size_t *ret_len, enum http1_reason *ret_reason)
{
    bool merge = (flags & HTTP1_PATH_MERGE_SLASHES) != 0;
    if (path.len == 0)
        path = BYTES_LITERAL("/");
    if (dest_size < path.len)
        return ERR_TOO_LARGE;
    enum http1_reason reason = path.data[0] == '/' ? HTTP1_REASON_NONE : HTTP1_REASON_PATH_INVALID;
    size_t len = 0;
    for (size_t at = 0; at < path.len && reason == HTTP1_REASON_NONE;) {
        size_t begin = at + 1;
        size_t end = begin + bytes_find(bytes_from(path, begin), '/');
        bool last = end == path.len;
        size_t copied = 0;
        reason = copy_segment(path, begin, end, dest + len + 1, &copied);
        if (reason != HTTP1_REASON_NONE)
            break;
        dest[len] = '/';
        switch (judge_segment((struct bytes){dest + len + 1, copied})) {
        case SEGMENT_PLAIN:
            if (!(merge && copied == 0 && !last))
                len += 1 + copied;
            break;
        case SEGMENT_DOT:
            len += last ? 1 : 0;
            break;
        case SEGMENT_DOT_DOT:
            if (len == 0) {
                reason = HTTP1_REASON_PATH_TRAVERSAL;
                break;
            }
            len = pop_segment(dest, len) + (last ? 1 : 0);
            break;
        case SEGMENT_HIDDEN:
            reason = HTTP1_REASON_PATH_TRAVERSAL;
            break;
        }
        at = end;
    }
    if (reason != HTTP1_REASON_NONE) {
        *ret_reason = reason;
        return ERR_BAD_INPUT;
    }
    *ret_len = len;
    return ERR_OK;
}
