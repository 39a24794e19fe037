/* First lines: request line (with the four target forms and the authority), status line.
 *
 * Place: proto/http1. The lines are complete and hold text only (http1_head.c saw to that), but may
 * contain HTAB and obs-text, which are refused here by the character classes.
 *
 * Source: RFC 9112 sections 2.3, 3 and 4; RFC 3986 section 3.2. Stricter than them: a host is
 * letters, digits, "-._~" or an IPv6 address; a port is 1 to 65535; nothing is ever decoded
 * in it. */
#include "http1/http1_priv.h"

enum {
    VERSION_LEN = 8,
    HOST_NAME_MAX_LEN = 255
};

static enum http1_reason parse_version(struct bytes text, uint8_t *ret_minor)
{
    if (bytes_eq(text, BYTES_LITERAL("HTTP/1.1"))) {
        *ret_minor = 1;
        return HTTP1_REASON_NONE;
    }
    if (bytes_eq(text, BYTES_LITERAL("HTTP/1.0"))) {
        *ret_minor = 0;
        return HTTP1_REASON_NONE;
    }
    /* RFC 9112 section 2.3: HTTP-version = HTTP-name "/" DIGIT "." DIGIT, case-sensitive. */
    if (text.len == VERSION_LEN && bytes_has_prefix(text, BYTES_LITERAL("HTTP/")) &&
        http1_is(text.data[5], HTTP1_C_DIGIT) && text.data[6] == '.' &&
        http1_is(text.data[7], HTTP1_C_DIGIT))
        return HTTP1_REASON_VERSION_UNSUPPORTED;
    return HTTP1_REASON_VERSION_MALFORMED;
}

/* RFC 3986 section 3.2.2, IPv6address: up to eight groups of one to four hexadecimal digits, at
 * most one "::" for at least one group, the last two groups perhaps as IPv4. */
static bool is_ipv4(struct bytes text)
{
    unsigned parts = 0;
    size_t at = 0;
    for (;;) {
        size_t begin = at;
        unsigned value = 0;
        while (at < text.len && at - begin < 3 && http1_is(text.data[at], HTTP1_C_DIGIT))
            value = value * 10 + (unsigned)(text.data[at++] - '0');
        if (at == begin || value > 255 || (at - begin > 1 && text.data[begin] == '0'))
            return false;
        ++parts;
        if (at == text.len)
            return parts == 4;
        if (text.data[at] != '.')
            return false;
        ++at;
    }
}

static bool is_ipv6(struct bytes text)
{
    unsigned groups = 0;
    bool gap = false;
    size_t at = 0;
    while (at < text.len) {
        if (text.len - at >= 2 && text.data[at] == ':' && text.data[at + 1] == ':') {
            if (gap)
                return false;
            gap = true;
            at += 2;
            continue;
        }
        if (at > 0 && text.data[at - 1] != ':') {
            if (text.data[at] != ':')
                return false;
            ++at;
        }
        size_t begin = at;
        while (at < text.len && at - begin < 4 && http1_is(text.data[at], HTTP1_C_HEX))
            ++at;
        if (at < text.len && text.data[at] == '.') {
            groups += 2;
            return is_ipv4(bytes_from(text, begin)) && (gap ? groups < 8 : groups == 8);
        }
        if (at == begin)
            return false;
        ++groups;
    }
    return gap ? groups < 8 : groups == 8;
}

static bool parse_port(struct bytes text, uint16_t *ret_port)
{
    if (text.len == 0 || text.len > 5)
        return false;
    uint32_t port = 0;
    for (size_t at = 0; at < text.len; ++at) {
        if (!http1_is(text.data[at], HTTP1_C_DIGIT))
            return false;
        port = port * 10 + (uint32_t)(text.data[at] - '0');
    }
    if (port == 0 || port > UINT16_MAX)
        return false;
    *ret_port = (uint16_t)port;
    return true;
}

enum http1_reason http1_parse_authority(struct bytes text, uint16_t *ret_name_len,
                                        uint16_t *ret_port)
{
    size_t at = 0;
    if (text.len > 0 && text.data[0] == '[') {
        size_t close = bytes_find(text, ']');
        if (close == text.len || !is_ipv6((struct bytes){text.data + 1, close - 1}))
            return HTTP1_REASON_HOST_INVALID;
        at = close + 1;
    } else {
        while (at < text.len && http1_is(text.data[at], HTTP1_C_UNRESERVED))
            ++at;
    }
    uint16_t port = 0;
    bool valid = at > 0 && at <= HOST_NAME_MAX_LEN;
    if (valid && at < text.len)
        valid = text.data[at] == ':' && parse_port(bytes_from(text, at + 1), &port);
    if (!valid)
        return bytes_find(text, '@') < text.len ? HTTP1_REASON_HOST_USERINFO
                                                : HTTP1_REASON_HOST_INVALID;
    *ret_name_len = (uint16_t)at;
    *ret_port = port;
    return HTTP1_REASON_NONE;
}

/* path [ "?" query ] in data[begin, end). */
static enum http1_reason parse_path_query(struct http1_head *head, const uint8_t *data,
                                          size_t begin, size_t end)
{
    size_t at = begin;
    while (at < end && http1_is(data[at], HTTP1_C_PATH))
        ++at;
    head->path = (struct http1_span){(uint16_t)begin, (uint16_t)(at - begin)};
    if (at == end)
        return HTTP1_REASON_NONE;
    if (data[at] != '?')
        return HTTP1_REASON_TARGET_INVALID;
    size_t query = ++at;
    while (at < end && http1_is(data[at], HTTP1_C_QUERY))
        ++at;
    head->has_query = true;
    head->query = (struct http1_span){(uint16_t)query, (uint16_t)(end - query)};
    return at == end ? HTTP1_REASON_NONE : HTTP1_REASON_TARGET_INVALID;
}

static enum http1_reason set_authority(struct http1_head *head, const uint8_t *data, size_t begin,
                                       size_t end)
{
    uint16_t name_len;
    enum http1_reason reason =
        http1_parse_authority((struct bytes){data + begin, end - begin}, &name_len, &head->port);
    if (reason != HTTP1_REASON_NONE)
        return reason;
    head->authority = (struct http1_span){(uint16_t)begin, (uint16_t)(end - begin)};
    head->host = head->authority;
    head->host_name = (struct http1_span){(uint16_t)begin, name_len};
    return HTTP1_REASON_NONE;
}

/* RFC 9112 section 3.2.3. */
static enum http1_reason parse_connect_target(struct http1_head *head, const uint8_t *data,
                                              size_t begin, size_t end)
{
    head->target_form = HTTP1_TARGET_AUTHORITY;
    enum http1_reason reason = set_authority(head, data, begin, end);
    if (reason == HTTP1_REASON_NONE && head->port == 0)
        return HTTP1_REASON_TARGET_INVALID;
    return reason;
}

/* RFC 9112 section 3.2.2: scheme "://" authority, then path and query. */
static enum http1_reason parse_absolute_target(struct http1_head *head, const uint8_t *data,
                                               size_t begin, size_t end)
{
    struct bytes target = {data + begin, end - begin};
    size_t scheme;
    if (target.len > 7 && bytes_eq_nocase((struct bytes){target.data, 7}, BYTES_LITERAL("http://")))
        scheme = 7;
    else if (target.len > 8 &&
             bytes_eq_nocase((struct bytes){target.data, 8}, BYTES_LITERAL("https://")))
        scheme = 8;
    else
        return HTTP1_REASON_TARGET_INVALID;
    size_t authority = begin + scheme;
    size_t at = authority;
    while (at < end && data[at] != '/' && data[at] != '?')
        ++at;
    head->target_form = HTTP1_TARGET_ABSOLUTE;
    enum http1_reason reason = set_authority(head, data, authority, at);
    return reason != HTTP1_REASON_NONE ? reason : parse_path_query(head, data, at, end);
}

static enum http1_reason parse_target(struct http1_head *head, const uint8_t *data, size_t begin,
                                      size_t end)
{
    head->target = (struct http1_span){(uint16_t)begin, (uint16_t)(end - begin)};
    if (head->method == HTTP1_METHOD_CONNECT)
        return parse_connect_target(head, data, begin, end);
    if (data[begin] == '/') {
        head->target_form = HTTP1_TARGET_ORIGIN;
        return parse_path_query(head, data, begin, end);
    }
    if (data[begin] == '*' && end - begin == 1 && head->method == HTTP1_METHOD_OPTIONS) {
        head->target_form = HTTP1_TARGET_ASTERISK;
        return HTTP1_REASON_NONE;
    }
    return parse_absolute_target(head, data, begin, end);
}

enum http1_reason http1_parse_request_line(struct http1_head *head, const uint8_t *data,
                                           size_t begin, size_t end)
{
    size_t at = begin;
    while (at < end && http1_is(data[at], HTTP1_C_TOKEN))
        ++at;
    struct bytes method = {data + begin, at - begin};
    if (method.len == 0 || (at < end && data[at] != ' '))
        return HTTP1_REASON_METHOD_INVALID;
    /* RFC 9112 section 3: a method longer than any that is implemented is a 501. */
    if (method.len > HTTP1_METHOD_MAX)
        return HTTP1_REASON_METHOD_TOO_LONG;
    head->method_name = (struct http1_span){(uint16_t)begin, (uint16_t)method.len};
    head->method = (uint8_t)http1_method_of(method);

    /* RFC 9112 section 3: single spaces; the section's lenient splitting is not done. */
    size_t target = at + 1;
    if (target >= end || data[target] == ' ')
        return HTTP1_REASON_START_LINE_MALFORMED;
    const uint8_t *space = memchr(data + target, ' ', end - target);
    if (space == NULL)
        return HTTP1_REASON_VERSION_MISSING;
    size_t target_end = (size_t)(space - data);
    struct bytes version = {space + 1, end - target_end - 1};
    if (bytes_find(version, ' ') < version.len)
        return HTTP1_REASON_START_LINE_MALFORMED;
    enum http1_reason reason = parse_version(version, &head->minor_version);
    return reason != HTTP1_REASON_NONE ? reason : parse_target(head, data, target, target_end);
}

enum http1_reason http1_parse_status_line(struct http1_head *head, const uint8_t *data,
                                          size_t begin, size_t end)
{
    struct bytes line = {data + begin, end - begin};
    if (line.len < VERSION_LEN + 4 || line.data[VERSION_LEN] != ' ')
        return HTTP1_REASON_START_LINE_MALFORMED;
    enum http1_reason reason =
        parse_version((struct bytes){line.data, VERSION_LEN}, &head->minor_version);
    if (reason != HTTP1_REASON_NONE)
        return reason;
    const uint8_t *code = line.data + VERSION_LEN + 1;
    if (!http1_is(code[0], HTTP1_C_DIGIT) || !http1_is(code[1], HTTP1_C_DIGIT) ||
        !http1_is(code[2], HTTP1_C_DIGIT) || code[0] == '0')
        return HTTP1_REASON_STATUS_INVALID;
    head->status = (uint16_t)((code[0] - '0') * 100 + (code[1] - '0') * 10 + (code[2] - '0'));
    /* RFC 9112 section 4 wants a space even before an empty phrase; its absence harms nobody. */
    size_t phrase = begin + VERSION_LEN + 4;
    if (phrase < end && data[phrase] != ' ')
        return HTTP1_REASON_STATUS_INVALID;
    if (phrase < end)
        ++phrase;
    head->phrase = (struct http1_span){(uint16_t)phrase, (uint16_t)(end - phrase)};
    return HTTP1_REASON_NONE;
}
