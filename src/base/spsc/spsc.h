/* Bounded single-producer single-consumer queue of pointers: how threads hand work to each other.
 *
 * Place: base; lock-free, no system calls: the wake-up beside it lives in io/loop. The producer
 * publishes with release, the consumer takes with acquire; head and tail sit on cache lines of
 * their own, and each side keeps a copy of the other's index, so that a busy queue costs one shared
 * cache line per batch.
 *
 * Invariant: 0 <= tail - head <= capacity; a full queue refuses (the caller answers "busy"). */
#ifndef SPSC_SPSC_H
#define SPSC_SPSC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct spsc {
    void **slots;
    size_t mask;
    _Alignas(64) _Atomic size_t tail; /* written by the producer */
    size_t head_copy;                 /* producer's last view of head */
    _Alignas(64) _Atomic size_t head; /* written by the consumer */
    size_t tail_copy;                 /* consumer's last view of tail */
};

/* capacity > 0 in items, rounded up to a power of two. A struct spsc on the heap needs
 * mem_alloc_aligned(64, ...), and so does everything that embeds one. */
void spsc_init(struct spsc *queue, size_t capacity);
/* Frees the slots, not the items that are left; both sides must be finished with the queue. */
void spsc_done(struct spsc *queue);
/* Producer: false when full. item is not NULL. */
bool spsc_push(struct spsc *queue, void *item);
/* Producer: free slots at this moment (at least so many pushes will succeed). */
size_t spsc_room(struct spsc *queue);
/* Consumer: the oldest item, or NULL when empty. */
void *spsc_pop(struct spsc *queue);
/* Either side: a momentary count, for metrics. */
size_t spsc_count(const struct spsc *queue);

#endif
