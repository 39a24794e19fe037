/* Pools: objects of one size, recycled through a free list.
 *
 * Place: base. A free object's first bytes are the link to the next free one. */
#include "mem/mem.h"

#include "check/check.h"
#include "mem/mem_priv.h"

void pool_init(struct pool *pool, size_t object_size, size_t live_max, size_t cached_max)
{
    CHECK(object_size > 0);
    CHECK(live_max > 0);
    *pool = (struct pool){
        .object_size = object_size < sizeof(void *) ? sizeof(void *) : object_size,
        .live_max = live_max,
        .cached_max = cached_max,
    };
}

void *pool_get(struct pool *pool)
{
    CHECK(pool->live <= pool->live_max);
    if (pool->live == pool->live_max) {
        return NULL;
    }
    pool->live++;
    void *object = pool->free_list;
    if (object == NULL) {
        return mem_resize(NULL, pool->object_size);
    }
    CHECK(pool->cached > 0);
    pool->cached--;
    memcpy(&pool->free_list, object, sizeof(void *));
    MEM_ALLOW(object, pool->object_size);
    return object;
}

void pool_put(struct pool *pool, void *object)
{
    if (object == NULL) {
        return;
    }
    CHECK(pool->live > 0);
    pool->live--;
    if (pool->cached >= pool->cached_max) {
        mem_free(object);
        return;
    }
    memcpy(object, &pool->free_list, sizeof(void *));
    MEM_FORBID((char *)object + sizeof(void *), pool->object_size - sizeof(void *));
    pool->free_list = object;
    pool->cached++;
}

void pool_done(struct pool *pool)
{
    if (pool == NULL) {
        return;
    }
    CHECK(pool->live == 0);
    while (pool->free_list != NULL) {
        void *object = pool->free_list;
        memcpy(&pool->free_list, object, sizeof(void *));
        mem_free(object);
    }
    pool->cached = 0;
}
