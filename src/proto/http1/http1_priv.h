/* Shared inside proto/http1: character classes, the scan for the end of a text, comma lists.
 *
 * Place: proto/http1 only. Sources: RFC 9110 section 5.6 (token, lists), RFC 3986 section 2
 * and 3. */
#ifndef HTTP1_HTTP1_PRIV_H
#define HTTP1_HTTP1_PRIV_H

#include "http1/http1_head.h"

#if defined(__SSE2__)
#    include <emmintrin.h>
#endif

/* Bits of http1_class[byte]. */
enum {
    HTTP1_C_TOKEN = 1,       /* tchar */
    HTTP1_C_TEXT = 2,        /* field content: HTAB, SP, VCHAR, obs-text */
    HTTP1_C_PATH = 4,        /* what a path may contain, '/' and '%' included */
    HTTP1_C_QUERY = 8,       /* what a query may contain */
    HTTP1_C_UNRESERVED = 16, /* RFC 3986 section 2.3 */
    HTTP1_C_HEX = 32,
    HTTP1_C_DIGIT = 64,
    HTTP1_C_UNDERSCORE = 128,
};

extern const uint8_t http1_class[256];

static inline bool http1_is(uint8_t byte, uint8_t class)
{
    return (http1_class[byte] & class) != 0;
}

/* The value of a hexadecimal digit. */
static inline uint8_t http1_hex_value(uint8_t byte)
{
    return (uint8_t)((byte & 0x0f) + (byte >> 6) * 9);
}

/* The first position in [at, end) whose byte is no TEXT, or end; byte by byte. */
static inline size_t http1_scan_text_portable(const uint8_t *data, size_t at, size_t end)
{
    while (at < end && http1_is(data[at], HTTP1_C_TEXT))
        ++at;
    return at;
}

#if defined(__SSE2__)
/* The same, 16 bytes at a time: no TEXT are the bytes up to 0x1f except HTAB, and DEL. */
static inline size_t http1_scan_text_sse2(const uint8_t *data, size_t at, size_t end)
{
    const __m128i last_control = _mm_set1_epi8(0x1f);
    const __m128i tab = _mm_set1_epi8('\t');
    const __m128i del = _mm_set1_epi8(0x7f);
    for (; at + 16 <= end; at += 16) {
        __m128i block;
        memcpy(&block, data + at, sizeof(block));
        __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(block, last_control), block);
        __m128i bad = _mm_andnot_si128(_mm_cmpeq_epi8(block, tab), control);
        int mask = _mm_movemask_epi8(_mm_or_si128(bad, _mm_cmpeq_epi8(block, del)));
        if (mask != 0)
            return at + (size_t)__builtin_ctz((unsigned)mask);
    }
    return http1_scan_text_portable(data, at, end);
}
#endif

static inline size_t http1_scan_text(const uint8_t *data, size_t at, size_t end)
{
#if defined(__SSE2__)
    return http1_scan_text_sse2(data, at, end);
#else
    return http1_scan_text_portable(data, at, end);
#endif
}

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
