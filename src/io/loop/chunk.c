/* Receive chunks: buffers that all connections of a loop share, so that an idle one holds none.
 *
 * Place: io/loop. The pool's memory is mapped, not touched: pages cost only once they were used. */
#include "loop/loop_priv.h"
#include "mem/mem.h"

#include <sys/mman.h>

enum err chunk_pool_init(struct chunk_pool *pool, uint32_t count, uint32_t size)
{
    CHECK(count > 1 && size >= 256);
    void *memory = mmap(NULL, (size_t)count * size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return ERR_FULL;
    }
    pool->memory = memory;
    pool->count = count;
    pool->size = size;
    pool->chunks = mem_alloc_array(count, sizeof(*pool->chunks));
    for (uint32_t i = count; i-- > 0;) {
        struct tcp_chunk *chunk = &pool->chunks[i];
        chunk->data = pool->memory + (size_t)i * size;
        chunk->index = i;
        chunk->next = pool->free_list;
        pool->free_list = chunk;
    }
    return ERR_OK;
}

void chunk_pool_done(struct chunk_pool *pool)
{
    if (pool->memory != NULL) {
        (void)munmap(pool->memory, (size_t)pool->count * pool->size);
        mem_free(pool->chunks);
    }
    *pool = (struct chunk_pool){0};
}

struct tcp_chunk *chunk_take(struct chunk_pool *pool)
{
    struct tcp_chunk *chunk = pool->free_list;
    CHECK(chunk != NULL); /* at most half are kept, at most one is being read into */
    pool->free_list = chunk->next;
    return chunk;
}

struct tcp_chunk *chunk_copy(const uint8_t *data, uint32_t len)
{
    struct tcp_chunk *chunk = mem_alloc(sizeof(*chunk) + len);
    chunk->data = (uint8_t *)(chunk + 1);
    chunk->index = CHUNK_ON_HEAP;
    chunk->len = len;
    memcpy(chunk->data, data, len);
    return chunk;
}

void chunk_return(struct loop *loop, struct tcp_chunk *chunk)
{
    if (chunk->index == CHUNK_ON_HEAP) {
        mem_free(chunk);
    } else {
        /* Last in, first out: the warm ones are used again. */
        chunk->next = loop->chunks.free_list;
        loop->chunks.free_list = chunk;
    }
}

static uint32_t *kept_count(struct chunk_pool *pool, const struct tcp_chunk *chunk)
{
    return chunk->index == CHUNK_ON_HEAP ? &pool->kept_heap : &pool->kept;
}

struct tcp_chunk *tcp_recv_keep(struct tcp_conn *conn)
{
    struct tcp_chunk *chunk = conn->loop->delivering;
    CHECK(chunk != NULL && !chunk->kept);
    struct chunk_pool *pool = &conn->loop->chunks;
    if (chunk->index != CHUNK_ON_HEAP && pool->kept >= pool->count / 2) {
        return NULL;
    }
    chunk->kept = true;
    *kept_count(pool, chunk) += 1;
    return chunk;
}

void tcp_chunk_release(struct loop *loop, struct tcp_chunk *chunk)
{
    CHECK(chunk->kept);
    uint32_t *count = kept_count(&loop->chunks, chunk);
    CHECK(*count > 0);
    *count -= 1;
    chunk->kept = false;
    /* Released inside its own on_recv: the delivery gives it back when the callee returns. */
    if (chunk != loop->delivering) {
        chunk_return(loop, chunk);
    }
}
