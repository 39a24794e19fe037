/* Intrusive hash map: chained buckets, the node lives in the object, the caller hashes and
 * compares.
 *
 * Place: base. Keys that come from outside must be hashed with hash_bytes and a random seed
 * (SipHash-1-3), so that nobody can choose colliding keys. The table doubles when it holds one
 * object per bucket; growth is the only allocation. */
#ifndef MAP_MAP_H
#define MAP_MAP_H

#include "bytes/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct map_node {
    struct map_node *next;
    uint64_t hash;
};

struct map {
    struct map_node **buckets;
    size_t bucket_count; /* a power of two */
    size_t count;
};

/* Whether the object around node has this key; called only when the hashes are equal. */
typedef bool map_eq_fn(const struct map_node *node, const void *key);

/* Room for `expected` objects without growth (0 is fine). A zeroed map is a valid empty map too. */
void map_init(struct map *map, size_t expected);
/* Frees the buckets only: the objects are the caller's. Accepts a half-initialised map. */
void map_done(struct map *map);
/* The object's node, or NULL; of several equal ones the last inserted, until the table grows. */
struct map_node *map_find(const struct map *map, uint64_t hash, map_eq_fn *eq, const void *key);
/* The node must not be in a map; no check for an equal key is made. */
void map_insert(struct map *map, struct map_node *node, uint64_t hash);
/* The node must be in this map. */
void map_remove(struct map *map, struct map_node *node);
/* Iteration in bucket order; pass NULL to begin. The map must not change during it. */
struct map_node *map_next(const struct map *map, const struct map_node *after);

#define MAP_FOREACH(node, map)                                                                     \
    for (struct map_node *node = map_next((map), NULL); node != NULL; node = map_next((map), node))

/* Both halves random for keys from outside. */
struct hash_seed {
    uint64_t k0;
    uint64_t k1;
};

/* SipHash-1-3 of the slice under a 128-bit seed (Aumasson and Bernstein, "SipHash: a fast
 * short-input PRF", 2012, with c = 1 and d = 3 rounds). */
uint64_t hash_bytes(struct hash_seed seed, struct bytes slice);
/* A finaliser for integer keys that nobody outside can choose. */
uint64_t hash_u64(uint64_t value);

#endif
