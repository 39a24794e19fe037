/* Intrusive hash map with chained buckets.
 *
 * Place: base. Invariants:
 *   1. bucket_count is 0 or a power of two; a node is in bucket hash & (bucket_count - 1).
 *   2. count <= bucket_count after every insertion. */
#include "map/map.h"

#include "check/check.h"
#include "mem/mem.h"

enum {
    MAP_BUCKETS_MIN = 8
};

static size_t buckets_for(size_t expected)
{
    CHECK(expected <= SIZE_MAX / 2 / sizeof(struct map_node *));
    size_t count = MAP_BUCKETS_MIN;
    while (count < expected) {
        count *= 2;
    }
    return count;
}

void map_init(struct map *map, size_t expected)
{
    size_t bucket_count = buckets_for(expected);
    *map = (struct map){
        .buckets = mem_alloc_array(bucket_count, sizeof(struct map_node *)),
        .bucket_count = bucket_count,
    };
}

void map_done(struct map *map)
{
    if (map == NULL) {
        return;
    }
    mem_free(map->buckets);
    *map = (struct map){0};
}

static struct map_node **bucket_of(const struct map *map, uint64_t hash)
{
    return &map->buckets[hash & (map->bucket_count - 1)];
}

struct map_node *map_find(const struct map *map, uint64_t hash, map_eq_fn *eq, const void *key)
{
    if (map->count == 0) {
        return NULL;
    }
    for (struct map_node *node = *bucket_of(map, hash); node != NULL; node = node->next) {
        if (node->hash == hash && eq(node, key)) {
            return node;
        }
    }
    return NULL;
}

static void link_node(struct map *map, struct map_node *node)
{
    struct map_node **bucket = bucket_of(map, node->hash);
    node->next = *bucket;
    *bucket = node;
}

static void grow(struct map *map)
{
    struct map grown;
    map_init(&grown, map->count + 1);
    for (size_t i = 0; i < map->bucket_count; i++) {
        struct map_node *node = map->buckets[i];
        while (node != NULL) {
            struct map_node *next = node->next;
            link_node(&grown, node);
            node = next;
        }
    }
    grown.count = map->count;
    mem_free(map->buckets);
    *map = grown;
}

void map_insert(struct map *map, struct map_node *node, uint64_t hash)
{
    CHECK(node != NULL);
    if (map->count == map->bucket_count) {
        grow(map);
    }
    node->hash = hash;
    link_node(map, node);
    map->count++;
}

void map_remove(struct map *map, struct map_node *node)
{
    CHECK(map->count > 0);
    struct map_node **at = bucket_of(map, node->hash);
    while (*at != NULL && *at != node) {
        at = &(*at)->next;
    }
    CHECK(*at == node);
    *at = node->next;
    node->next = NULL;
    map->count--;
}

struct map_node *map_next(const struct map *map, const struct map_node *after)
{
    if (after != NULL && after->next != NULL) {
        return after->next;
    }
    size_t i = after == NULL ? 0 : (after->hash & (map->bucket_count - 1)) + 1;
    for (; i < map->bucket_count; i++) {
        if (map->buckets[i] != NULL) {
            return map->buckets[i];
        }
    }
    return NULL;
}
