/* Hash functions: SipHash-1-3 for bytes that outsiders choose, a mixer for integers that they do
 * not.
 *
 * Place: base. Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012), section 2,
 * with c = 1 compression and d = 3 finalisation rounds. Words are little-endian, as everywhere. */
#include "map/map.h"

struct sip_state {
    uint64_t v0;
    uint64_t v1;
    uint64_t v2;
    uint64_t v3;
};

static inline uint64_t rotate_left(uint64_t value, unsigned bits)
{
    return (value << bits) | (value >> (64 - bits));
}

/* Section 2.2, figure 2.1: SipRound. */
static inline void sip_round(struct sip_state *s)
{
    s->v0 += s->v1;
    s->v2 += s->v3;
    s->v1 = rotate_left(s->v1, 13) ^ s->v0;
    s->v3 = rotate_left(s->v3, 16) ^ s->v2;
    s->v0 = rotate_left(s->v0, 32);
    s->v2 += s->v1;
    s->v0 += s->v3;
    s->v1 = rotate_left(s->v1, 17) ^ s->v2;
    s->v3 = rotate_left(s->v3, 21) ^ s->v0;
    s->v2 = rotate_left(s->v2, 32);
}

static inline void sip_compress(struct sip_state *s, uint64_t word)
{
    s->v3 ^= word;
    sip_round(s);
    s->v0 ^= word;
}

uint64_t hash_bytes(struct hash_seed seed, struct bytes slice)
{
    /* Section 2.1: the constants spell "somepseudorandomlygeneratedbytes". */
    struct sip_state s = {
        .v0 = seed.k0 ^ 0x736f6d6570736575u,
        .v1 = seed.k1 ^ 0x646f72616e646f6du,
        .v2 = seed.k0 ^ 0x6c7967656e657261u,
        .v3 = seed.k1 ^ 0x7465646279746573u,
    };
    size_t whole = slice.len & ~(size_t)7;
    for (size_t i = 0; i < whole; i += 8) {
        sip_compress(&s, get_u64(slice.data + i));
    }
    /* Section 2.2: the last word holds the remaining bytes and, on top, the length modulo 256. */
    uint64_t last = (uint64_t)slice.len << 56;
    for (size_t i = whole; i < slice.len; i++) {
        last |= (uint64_t)slice.data[i] << (8 * (i - whole));
    }
    sip_compress(&s, last);
    s.v2 ^= 0xff;
    for (int i = 0; i < 3; i++) {
        sip_round(&s);
    }
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}

/* The output function of splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number
 * generators", 2014): a bijection in which every input bit reaches every output bit. */
uint64_t hash_u64(uint64_t value)
{
    value += 0x9e3779b97f4a7c15u;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
    return value ^ (value >> 31);
}
