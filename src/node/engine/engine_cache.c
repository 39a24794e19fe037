/* Entry cache: see engine_cache.h. */
#include "engine/engine_cache.h"

#include "check/check.h"
#include "mem/mem.h"

#include <string.h>

enum {
    RING_START = 256,
    ENTRY_COST = sizeof(struct cached_entry)
};

void engine_cache_init(struct engine_cache *cache, raft_index last)
{
    *cache = (struct engine_cache){.first = last + 1, .last = last, .ring_size = RING_START};
    cache->ring = mem_alloc_array(cache->ring_size, sizeof(*cache->ring));
    engine_fifo_init(&cache->payloads);
}

void engine_cache_done(struct engine_cache *cache)
{
    mem_free(cache->ring);
    cache->ring = NULL;
    engine_fifo_done(&cache->payloads);
}

static struct cached_entry *slot(const struct engine_cache *cache, raft_index index)
{
    return &cache->ring[index & (cache->ring_size - 1)];
}

static void grow(struct engine_cache *cache)
{
    struct cached_entry *bigger = mem_alloc_array(cache->ring_size * 2, sizeof(*bigger));
    for (raft_index i = cache->first; i <= cache->last; i++) {
        bigger[i & (cache->ring_size * 2 - 1)] = *slot(cache, i);
    }
    mem_free(cache->ring);
    cache->ring = bigger;
    cache->ring_size *= 2;
}

void engine_cache_append(struct engine_cache *cache, const struct cached_entry *entry)
{
    if (cache->last + 1 - cache->first == cache->ring_size) {
        grow(cache);
    }
    raft_index index = cache->last + 1;
    struct cached_entry *into = slot(cache, index);
    *into = *entry;
    into->payload = NULL;
    if (entry->size > 0) {
        uint8_t *copy = engine_fifo_alloc(&cache->payloads, entry->size, index);
        memcpy(copy, entry->payload, entry->size);
        into->payload = copy;
    }
    cache->last = index;
    cache->bytes += entry->size + ENTRY_COST;
    cache->end_bytes += entry->size + ENTRY_COST;
    into->end_bytes = cache->end_bytes;
}

void engine_cache_truncate(struct engine_cache *cache, raft_index from)
{
    CHECK(from > 0 && from <= cache->last + 1);
    while (cache->last >= from && cache->last >= cache->first) {
        cache->bytes -= slot(cache, cache->last)->size + ENTRY_COST;
        cache->end_bytes -= slot(cache, cache->last)->size + ENTRY_COST;
        cache->last--;
    }
    if (from <= cache->first) {
        /* Payloads stay until their positions are released: after a snapshot, entries of the log
         * that it replaced may still be being applied. */
        engine_cache_reset(cache, from - 1);
    }
}

void engine_cache_reset(struct engine_cache *cache, raft_index last)
{
    cache->first = last + 1;
    cache->last = last;
    cache->bytes = 0;
}

void engine_cache_evict(struct engine_cache *cache, raft_index upto, uint64_t bytes_max)
{
    CHECK(upto <= cache->last);
    if (cache->bytes <= bytes_max) {
        return;
    }
    while (cache->first <= upto && cache->bytes > bytes_max) {
        cache->bytes -= slot(cache, cache->first)->size + ENTRY_COST;
        cache->first++;
    }
    /* After a snapshot `first` lies beyond entries that are still being applied. */
    raft_index gone = cache->first - 1;
    engine_fifo_release(&cache->payloads, gone < upto ? gone : upto);
}

const struct cached_entry *engine_cache_at(const struct engine_cache *cache, raft_index index)
{
    if (index < cache->first || index > cache->last) {
        return NULL;
    }
    return slot(cache, index);
}

uint64_t engine_cache_bytes_after(const struct engine_cache *cache, raft_index index)
{
    if (index >= cache->last) {
        return 0;
    }
    if (index < cache->first) {
        return cache->bytes;
    }
    return cache->end_bytes - slot(cache, index)->end_bytes;
}
