/* Byte FIFO: memory for payloads that are added at one end and forgotten at the other.
 *
 * Place: node/engine, used by the entry cache and the proposer streams. Payloads are carved from
 * chunks; each is filed under a position that grows (log index, sequence). Releasing positions
 * frees whole chunks, oldest first, so that a write costs no allocation of its own.
 *
 * Invariant: a chunk is freed only when all positions in it are released. */
#ifndef ENGINE_ENGINE_FIFO_H
#define ENGINE_ENGINE_FIFO_H

#include <stddef.h>
#include <stdint.h>

struct fifo_chunk;

struct engine_fifo {
    struct fifo_chunk *first;
    struct fifo_chunk *last;
    struct fifo_chunk *spare;
};

void engine_fifo_init(struct engine_fifo *fifo);
void engine_fifo_done(struct engine_fifo *fifo);
/* size bytes filed under position; positions may step back (a truncated log is written again). */
uint8_t *engine_fifo_alloc(struct engine_fifo *fifo, size_t size, uint64_t position);
/* Everything filed under positions <= upto may go. */
void engine_fifo_release(struct engine_fifo *fifo, uint64_t upto);

#endif
