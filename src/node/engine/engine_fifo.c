/* Byte FIFO: see engine_fifo.h. */
#include "engine/engine_fifo.h"

#include "check/check.h"
#include "mem/mem.h"

enum {
    CHUNK_BYTES = 64 * 1024
};

struct fifo_chunk {
    struct fifo_chunk *next;
    uint64_t position_max;
    size_t used;
    size_t size;
    uint8_t bytes[];
};

void engine_fifo_init(struct engine_fifo *fifo)
{
    *fifo = (struct engine_fifo){NULL, NULL, NULL};
}

void engine_fifo_done(struct engine_fifo *fifo)
{
    while (fifo->first != NULL) {
        struct fifo_chunk *next = fifo->first->next;
        mem_free(fifo->first);
        fifo->first = next;
    }
    mem_free(fifo->spare);
    engine_fifo_init(fifo);
}

static struct fifo_chunk *new_chunk(struct engine_fifo *fifo, size_t size)
{
    struct fifo_chunk *chunk = fifo->spare;
    if (size <= CHUNK_BYTES && chunk != NULL) {
        fifo->spare = NULL;
    } else {
        size_t room = size > CHUNK_BYTES ? size : CHUNK_BYTES;
        chunk = mem_alloc(sizeof(*chunk) + room);
        chunk->size = room;
    }
    chunk->next = NULL;
    chunk->used = 0;
    chunk->position_max = 0;
    if (fifo->last != NULL) {
        fifo->last->next = chunk;
    } else {
        fifo->first = chunk;
    }
    fifo->last = chunk;
    return chunk;
}

uint8_t *engine_fifo_alloc(struct engine_fifo *fifo, size_t size, uint64_t position)
{
    struct fifo_chunk *chunk = fifo->last;
    if (chunk == NULL || chunk->size - chunk->used < size) {
        chunk = new_chunk(fifo, size);
    }
    uint8_t *at = chunk->bytes + chunk->used;
    chunk->used += size;
    CHECK(chunk->used <= chunk->size);
    if (position > chunk->position_max) {
        chunk->position_max = position;
    }
    return at;
}

void engine_fifo_release(struct engine_fifo *fifo, uint64_t upto)
{
    while (fifo->first != NULL && fifo->first->position_max <= upto) {
        struct fifo_chunk *chunk = fifo->first;
        fifo->first = chunk->next;
        if (fifo->first == NULL) {
            fifo->last = NULL;
        }
        if (fifo->spare == NULL && chunk->size == CHUNK_BYTES) {
            fifo->spare = chunk;
        } else {
            mem_free(chunk);
        }
    }
}
