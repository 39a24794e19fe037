/* Shared inside proto/http1: flags of names, comma lists, the parts of head parsing.
 *
 * Place: proto/http1 only. Sources: RFC 9110 section 5.6 (lists), RFC 3986 section 3.2. */
#ifndef HTTP1_HTTP1_PRIV_H
#define HTTP1_HTTP1_PRIV_H

#include "http1/http1_head.h"
#include "http1/http1_scan.h"

/* Two texts of len bytes that differ in the case of ASCII letters at most. Both must be tokens:
 * among those bit 5 makes no other two alike. */
static inline bool http1_token_eq(const uint8_t *a, const uint8_t *b, size_t len)
{
    const uint64_t bit5 = UINT64_C(0x2020202020202020);
    size_t at = 0;
    for (; at + 8 <= len; at += 8) {
        if ((get_u64(a + at) | bit5) != (get_u64(b + at) | bit5))
            return false;
    }
    for (; at < len; ++at) {
        if ((a[at] | 0x20) != (b[at] | 0x20))
            return false;
    }
    return true;
}

static inline bool http1_token_is(struct bytes token, struct bytes other)
{
    return token.len == other.len && http1_token_eq(token.data, other.data, token.len);
}

/* Flags of the list in http1_tables.h. */
enum {
    HTTP1_FLAG_HOP = 1,
    HTTP1_FLAG_REFUSED = 2,
    HTTP1_FLAG_PROTECTED = 4,
    HTTP1_FLAG_NO_TRAILER = 8,
};

/* The flags of a well-known name; 0 for HTTP1_HEADER_OTHER. */
uint8_t http1_header_flags(enum http1_header header);

/* Without SP and HTAB at both ends. */
struct bytes http1_trim(struct bytes text);

/* Takes the next element off a comma list (trimmed; empty elements are skipped, RFC 9110 section
 * 5.6.1.2); false at the end. */
bool http1_list_next(struct bytes *rest, struct bytes *ret_element);

/* Checks "host" or "host:port": ret_name_len is the length without the port, ret_port 0 when there
 * is none. HTTP1_REASON_NONE when it is valid. */
enum http1_reason http1_parse_authority(struct bytes text, uint16_t *ret_name_len,
                                        uint16_t *ret_port);

/* Parses the first line of a request or a response into head; line lies in data at line_start. */
enum http1_reason http1_parse_request_line(struct http1_head *head, const uint8_t *data,
                                           size_t begin, size_t end);
enum http1_reason http1_parse_status_line(struct http1_head *head, const uint8_t *data,
                                          size_t begin, size_t end);

/* Decides framing and the other derived facts when all fields are known. */
enum http1_reason http1_derive_facts(struct http1_head *head, const uint8_t *data);

#endif
