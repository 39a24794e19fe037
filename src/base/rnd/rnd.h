/* Seeded random numbers (xoshiro256**): exact replay from a seed; not for secrets.
 *
 * Place: base. Cores never draw randomness from the system: the seed comes in at init. Secrets and
 * identities come from the operating system (io/process). */
#ifndef RND_RND_H
#define RND_RND_H

#include <stdbool.h>
#include <stdint.h>

struct rnd {
    uint64_t state[4];
};

/* Any seed, zero included, gives a full state (expanded by splitmix64). */
void rnd_init(struct rnd *rnd, uint64_t seed);
uint64_t rnd_u64(struct rnd *rnd);
/* Uniform in [0, bound), bound > 0, without modulo bias. */
uint64_t rnd_below(struct rnd *rnd, uint64_t bound);
/* Uniform in [low, high], low <= high. */
uint64_t rnd_range(struct rnd *rnd, uint64_t low, uint64_t high);
/* True with probability ppm / 1,000,000. */
bool rnd_chance_ppm(struct rnd *rnd, uint32_t ppm);

#endif
