/* Arenas: allocation by moving a position, release of everything at once.
 *
 * Place: base. Chunks form a list in the order of filling:
 *
 *     first -> (full) -> ... -> current (being filled) -> (empty, from before a reset) -> ...
 *
 * Every chunk of the list has chunk_size bytes, so an object of at most chunk_size fits in the next
 * one at the latest. Two neighbours hold more than chunk_size bytes of objects together, which
 * bounds the memory. Larger objects have a list of their own, freed by a reset. */
#include "mem/mem.h"

#include "check/check.h"
#include "mem/mem_priv.h"

enum {
    ARENA_ALIGNMENT = 16
};

struct mem_chunk {
    struct mem_chunk *next;
    size_t used;
    _Alignas(ARENA_ALIGNMENT) uint8_t data[];
};

static size_t round_up(size_t size)
{
    return (size + ARENA_ALIGNMENT - 1) & ~(size_t)(ARENA_ALIGNMENT - 1);
}

static struct mem_chunk *chunk_new(size_t size)
{
    struct mem_chunk *chunk = mem_resize(NULL, sizeof(struct mem_chunk) + size);
    chunk->next = NULL;
    chunk->used = 0;
    MEM_FORBID(chunk->data, size);
    return chunk;
}

static void chunks_free(struct mem_chunk *chunk)
{
    while (chunk != NULL) {
        struct mem_chunk *next = chunk->next;
        mem_free(chunk);
        chunk = next;
    }
}

void arena_init(struct arena *arena, size_t chunk_size, size_t max)
{
    CHECK(chunk_size > 0 && chunk_size < SIZE_MAX / 2);
    *arena = (struct arena){.chunk_size = round_up(chunk_size), .max = max};
}

/* Makes the next chunk current: one kept by a reset, or a new one. */
static void arena_advance(struct arena *arena)
{
    struct mem_chunk *current = arena->current;
    struct mem_chunk *next = current == NULL ? arena->first : current->next;
    if (next == NULL) {
        next = chunk_new(arena->chunk_size);
        if (current == NULL) {
            arena->first = next;
        } else {
            current->next = next;
        }
    }
    CHECK(next->used == 0);
    arena->current = next;
}

void *arena_alloc(struct arena *arena, size_t size)
{
    CHECK(arena->chunk_size > 0);
    CHECK(arena->used <= arena->max);
    if (size > SIZE_MAX - ARENA_ALIGNMENT) {
        return NULL;
    }
    size_t rounded = round_up(size);
    if (rounded > arena->max - arena->used) {
        return NULL;
    }
    arena->used += rounded;
    if (rounded > arena->chunk_size) {
        struct mem_chunk *large = chunk_new(rounded);
        large->next = arena->large;
        arena->large = large;
        MEM_ALLOW(large->data, size);
        return large->data;
    }
    if (arena->current == NULL || arena->chunk_size - arena->current->used < rounded) {
        arena_advance(arena);
    }
    void *object = arena->current->data + arena->current->used;
    arena->current->used += rounded;
    MEM_ALLOW(object, size);
    return object;
}

uint8_t *arena_dup(struct arena *arena, struct bytes slice)
{
    uint8_t *copy = arena_alloc(arena, slice.len);
    if (copy != NULL && slice.len > 0) {
        memcpy(copy, slice.data, slice.len);
    }
    return copy;
}

void arena_reset(struct arena *arena)
{
    for (struct mem_chunk *chunk = arena->first; chunk != NULL; chunk = chunk->next) {
        MEM_FORBID(chunk->data, chunk->used);
        chunk->used = 0;
    }
    chunks_free(arena->large);
    arena->large = NULL;
    arena->current = NULL;
    arena->used = 0;
}

void arena_done(struct arena *arena)
{
    if (arena == NULL) {
        return;
    }
    arena_reset(arena);
    chunks_free(arena->first);
    arena->first = NULL;
}
