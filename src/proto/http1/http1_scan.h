/* Character classes, and the scan for the byte that ends a text.
 *
 * Place: proto/http1; used by its parsers and writers, and by whoever reads the same characters.
 * The scan has a portable form and one for SSE2, which every x86-64 has; tests compare them.
 *
 * Sources: RFC 9110 sections 5.5 and 5.6.2, RFC 3986 sections 2 and 3, the URL Standard. */
#ifndef HTTP1_HTTP1_SCAN_H
#define HTTP1_HTTP1_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

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

#endif
