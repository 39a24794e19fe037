/* Memory: the only place that calls malloc. Out of memory is fatal here, by decision.
 *
 * Place: base. Every queue, table and buffer of the program has its own limit and a defined answer
 * when full (ERR_FULL); what remains of "out of memory" is a machine too small for the configured
 * limits, where carrying on would mean untested paths. So mem_alloc never returns NULL: it prints
 * the size asked for and aborts, which a node survives like any kill -9.
 *
 * Also here: arenas (many objects, freed together) and pools (one size, recycled). */
#ifndef MEM_MEM_H
#define MEM_MEM_H

#include "bytes/bytes.h"

#include <stddef.h>

/* Zeroed memory, owned by the caller, freed by mem_free. size > 0. */
void *mem_alloc(size_t size) __attribute__((malloc, alloc_size(1), returns_nonnull));
/* Zeroed memory aligned to `alignment` (a power of two >= 16), for objects with cache lines. */
void *mem_alloc_aligned(size_t alignment, size_t size)
    __attribute__((malloc, alloc_size(2), returns_nonnull));
/* count * size zeroed; a product that overflows aborts, a product of 0 gives an address to free. */
void *mem_alloc_array(size_t count, size_t size)
    __attribute__((malloc, alloc_size(1, 2), returns_nonnull));
/* Grows or shrinks, size > 0; new bytes are not zeroed; NULL acts as mem_alloc without zeroing. */
void *mem_resize(void *old, size_t size) __attribute__((alloc_size(2), returns_nonnull));
/* Owned, zero-terminated copies. */
char *mem_strdup(const char *text) __attribute__((malloc, returns_nonnull));
char *mem_dup_bytes(struct bytes slice) __attribute__((malloc, returns_nonnull));
/* Accepts NULL. */
void mem_free(void *memory);

/* Arena: allocations that die together. Chunks are kept on reset, so a warm arena allocates
 * nothing; only objects larger than a chunk have memory of their own, which a reset gives back. The
 * memory held is at most 3 * max + chunk_size. */
struct mem_chunk;

struct arena {
    struct mem_chunk *first;
    struct mem_chunk *current; /* the chunk that is being filled; those after it are empty */
    struct mem_chunk *large;   /* objects over chunk_size */
    size_t chunk_size;
    size_t used; /* bytes handed out since the last reset, each object rounded up to 16 */
    size_t max;
};

/* chunk_size: bytes per chunk, > 0 (rounded up to 16); max: bytes of objects, each rounded up to
 * 16, after which arena_alloc returns NULL. Allocates nothing yet. */
void arena_init(struct arena *arena, size_t chunk_size, size_t max);
/* 16-byte aligned, not zeroed; NULL when the arena's max would be passed. */
void *arena_alloc(struct arena *arena, size_t size) __attribute__((alloc_size(2)));
/* A copy of the slice, NULL as above; data of an empty slice is not NULL. */
uint8_t *arena_dup(struct arena *arena, struct bytes slice);
/* Forgets all objects, keeps the chunks. */
void arena_reset(struct arena *arena);
/* Frees everything; the arena may be used again. Accepts NULL. */
void arena_done(struct arena *arena);

/* Pool: objects of one size from a free list. Not thread-safe. */
struct pool {
    void *free_list;
    size_t object_size;
    size_t live;
    size_t live_max;
    size_t cached;
    size_t cached_max;
};

/* object_size > 0 in bytes; live_max: objects out at once before pool_get returns NULL; cached_max:
 * free objects kept. Allocates nothing yet. */
void pool_init(struct pool *pool, size_t object_size, size_t live_max, size_t cached_max);
/* 16-byte aligned, not zeroed; NULL when live_max is reached. */
void *pool_get(struct pool *pool);
/* Takes back an object of this pool; accepts NULL. */
void pool_put(struct pool *pool, void *object);
/* Frees the cached objects; all objects must have been put back. Accepts NULL. */
void pool_done(struct pool *pool);

#endif
