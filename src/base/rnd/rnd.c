/* Seeded random numbers.
 *
 * Place: base. Source: Blackman and Vigna, "Scrambled linear pseudorandom number generators"
 * (2018): xoshiro256**, whose state is expanded from the seed by splitmix64 as they advise. */
#include "rnd/rnd.h"

#include "check/check.h"

__extension__ typedef unsigned __int128 rnd_u128;

static uint64_t rotate_left(uint64_t value, unsigned bits)
{
    return (value << bits) | (value >> (64 - bits));
}

static uint64_t splitmix64(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

void rnd_init(struct rnd *rnd, uint64_t seed)
{
    for (int i = 0; i < 4; i++) {
        rnd->state[i] = splitmix64(&seed);
    }
}

uint64_t rnd_u64(struct rnd *rnd)
{
    uint64_t *s = rnd->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t shifted = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotate_left(s[3], 45);
    return result;
}

/* Lemire, "Fast random integer generation in an interval" (2019): the high half of a product, with
 * the few low halves that would make some results likelier drawn again. */
uint64_t rnd_below(struct rnd *rnd, uint64_t bound)
{
    CHECK(bound > 0);
    rnd_u128 product = (rnd_u128)rnd_u64(rnd) * bound;
    if ((uint64_t)product < bound) {
        uint64_t threshold = (0 - bound) % bound;
        while ((uint64_t)product < threshold) {
            product = (rnd_u128)rnd_u64(rnd) * bound;
        }
    }
    return (uint64_t)(product >> 64);
}

uint64_t rnd_range(struct rnd *rnd, uint64_t low, uint64_t high)
{
    CHECK(low <= high);
    uint64_t span = high - low;
    return span == UINT64_MAX ? rnd_u64(rnd) : low + rnd_below(rnd, span + 1);
}

bool rnd_chance_ppm(struct rnd *rnd, uint32_t ppm)
{
    return rnd_below(rnd, 1000000) < ppm;
}
