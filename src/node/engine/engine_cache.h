/* Entry cache: the newest part of one group's log, with payloads.
 *
 * Place: node/engine. Mirrors the log that core/raft describes: truncated and appended at the
 * moment raft_feed returns. Holds [first, last] without gaps; what is older lies in the WAL only.
 *
 * Invariants: first <= last + 1; last is the log's last index; times never go backwards with the
 * index. */
#ifndef ENGINE_ENGINE_CACHE_H
#define ENGINE_ENGINE_CACHE_H

#include "clk/clk.h"
#include "engine/engine_fifo.h"
#include "raft/raft.h"

struct cached_entry {
    raft_term term;
    clk_ms time_ms;
    const uint8_t *payload;
    uint64_t end_bytes; /* set by append: bytes of all entries up to this one, for differences */
    uint32_t size;
    enum raft_entry_kind kind;
};

struct engine_cache {
    struct cached_entry *ring;
    size_t ring_size; /* a power of two */
    raft_index first;
    raft_index last;
    uint64_t bytes;     /* payloads and a fixed cost per entry */
    uint64_t end_bytes; /* of the last entry */
    struct engine_fifo payloads;
};

/* An empty cache whose next entry has index last + 1. */
void engine_cache_init(struct engine_cache *cache, raft_index last);
void engine_cache_done(struct engine_cache *cache);
/* Appends with index last + 1; copies the payload. */
void engine_cache_append(struct engine_cache *cache, const struct cached_entry *entry);
/* Forgets [from, last]; from may be below first. */
void engine_cache_truncate(struct engine_cache *cache, raft_index from);
/* Everything is gone and the log continues after `last` (a snapshot replaced it). The payloads stay
 * in memory until they are released: some may be being applied. */
void engine_cache_reset(struct engine_cache *cache, raft_index last);
/* Forgets oldest entries, none beyond upto, until at most bytes_max remain. */
void engine_cache_evict(struct engine_cache *cache, raft_index upto, uint64_t bytes_max);
/* NULL when the entry is not in the cache. */
const struct cached_entry *engine_cache_at(const struct engine_cache *cache, raft_index index);
/* Bytes held by entries after index. */
uint64_t engine_cache_bytes_after(const struct engine_cache *cache, raft_index index);

#endif
