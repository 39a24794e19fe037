/* CRC-32C by instruction or by table.
 *
 * Place: base. Source: RFC 3720 section 12.1 and appendix B.4; the table form is "slicing-by-8"
 * (Kounavis and Berry, "A systematic approach to building high performance software-based CRC
 * generators", 2005): eight bytes a step, one table per distance from the end of the step.
 *
 * A CRC is linear over GF(2), so entry i of a table is the sum of the entries of i's bits. Hence 64
 * constants, eight per table, define all 2048 entries: entry 1 << b of table k is the remainder of
 * the byte 1 << b followed by k zero bytes. */
#include "crc/crc32c.h"

#include <string.h>

/* clang-format off */
#define BASIS_0 0xf26b8303u, 0xe13b70f7u, 0xc79a971fu, 0x8ad958cfu,                                \
    0x105ec76fu, 0x20bd8edeu, 0x417b1dbcu, 0x82f63b78u
#define BASIS_1 0x13a29877u, 0x274530eeu, 0x4e8a61dcu, 0x9d14c3b8u,                                \
    0x3fc5f181u, 0x7f8be302u, 0xff17c604u, 0xfbc3faf9u
#define BASIS_2 0xa541927eu, 0x4f6f520du, 0x9edea41au, 0x38513ec5u,                                \
    0x70a27d8au, 0xe144fb14u, 0xc76580d9u, 0x8b277743u
#define BASIS_3 0xdd45aab8u, 0xbf672381u, 0x7b2231f3u, 0xf64463e6u,                                \
    0xe964b13du, 0xd725148bu, 0xaba65fe7u, 0x52a0c93fu
#define BASIS_4 0x38116facu, 0x7022df58u, 0xe045beb0u, 0xc5670b91u,                                \
    0x8f2261d3u, 0x1ba8b557u, 0x37516aaeu, 0x6ea2d55cu
#define BASIS_5 0xef306b19u, 0xdb8ca0c3u, 0xb2f53777u, 0x6006181fu,                                \
    0xc00c303eu, 0x85f4168du, 0x0e045bebu, 0x1c08b7d6u
#define BASIS_6 0x68032cc8u, 0xd0065990u, 0xa5e0c5d1u, 0x4e2dfd53u,                                \
    0x9c5bfaa6u, 0x3d5b83bdu, 0x7ab7077au, 0xf56e0ef4u
#define BASIS_7 0x493c7d27u, 0x9278fa4eu, 0x211d826du, 0x423b04dau,                                \
    0x847609b4u, 0x0d006599u, 0x1a00cb32u, 0x34019664u
/* clang-format on */

#define ENTRY_OF(i, b0, b1, b2, b3, b4, b5, b6, b7)                                                \
    (((i)&1u ? b0 : 0u) ^ ((i)&2u ? b1 : 0u) ^ ((i)&4u ? b2 : 0u) ^ ((i)&8u ? b3 : 0u) ^           \
     ((i)&16u ? b4 : 0u) ^ ((i)&32u ? b5 : 0u) ^ ((i)&64u ? b6 : 0u) ^ ((i)&128u ? b7 : 0u))
#define ENTRY(i, ...) ENTRY_OF(i, __VA_ARGS__)
#define ENTRIES_4(i, ...)                                                                          \
    ENTRY((i), __VA_ARGS__), ENTRY((i) + 1u, __VA_ARGS__), ENTRY((i) + 2u, __VA_ARGS__),           \
        ENTRY((i) + 3u, __VA_ARGS__)
#define ENTRIES_16(i, ...)                                                                         \
    ENTRIES_4((i), __VA_ARGS__), ENTRIES_4((i) + 4u, __VA_ARGS__),                                 \
        ENTRIES_4((i) + 8u, __VA_ARGS__), ENTRIES_4((i) + 12u, __VA_ARGS__)
#define ENTRIES_64(i, ...)                                                                         \
    ENTRIES_16((i), __VA_ARGS__), ENTRIES_16((i) + 16u, __VA_ARGS__),                              \
        ENTRIES_16((i) + 32u, __VA_ARGS__), ENTRIES_16((i) + 48u, __VA_ARGS__)
#define ENTRIES_256(...)                                                                           \
    ENTRIES_64(0u, __VA_ARGS__), ENTRIES_64(64u, __VA_ARGS__), ENTRIES_64(128u, __VA_ARGS__),      \
        ENTRIES_64(192u, __VA_ARGS__)

static const uint32_t tables[8][256] = {
    {ENTRIES_256(BASIS_0)}, {ENTRIES_256(BASIS_1)}, {ENTRIES_256(BASIS_2)}, {ENTRIES_256(BASIS_3)},
    {ENTRIES_256(BASIS_4)}, {ENTRIES_256(BASIS_5)}, {ENTRIES_256(BASIS_6)}, {ENTRIES_256(BASIS_7)},
};

static uint64_t load_u64(const uint8_t *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof(word));
    return word;
}

uint32_t crc32c_table(uint32_t crc, const void *data, size_t len)
{
    const uint8_t *p = data;
    /* RFC 3720 section 12.1: the remainder starts as all ones and is complemented at the end. */
    uint32_t state = ~crc;
    for (; len >= 8; len -= 8, p += 8) {
        uint64_t word = load_u64(p) ^ state;
        state = tables[7][word & 0xff] ^ tables[6][(word >> 8) & 0xff] ^
                tables[5][(word >> 16) & 0xff] ^ tables[4][(word >> 24) & 0xff] ^
                tables[3][(word >> 32) & 0xff] ^ tables[2][(word >> 40) & 0xff] ^
                tables[1][(word >> 48) & 0xff] ^ tables[0][word >> 56];
    }
    for (; len > 0; len--, p++) {
        state = (state >> 8) ^ tables[0][(state ^ *p) & 0xff];
    }
    return ~state;
}

#if defined(__x86_64__)

__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(uint32_t crc, const uint8_t *p,
                                                               size_t len)
{
    uint64_t state = ~crc;
    for (; len >= 8; len -= 8, p += 8) {
        state = __builtin_ia32_crc32di(state, load_u64(p));
    }
    uint32_t rest = (uint32_t)state;
    for (; len > 0; len--, p++) {
        rest = __builtin_ia32_crc32qi(rest, *p);
    }
    return ~rest;
}

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
    return __builtin_cpu_supports("sse4.2") ? crc32c_sse42(crc, data, len)
                                            : crc32c_table(crc, data, len);
}

#else

uint32_t crc32c(uint32_t crc, const void *data, size_t len)
{
    return crc32c_table(crc, data, len);
}

#endif
