/* Bounded single-producer single-consumer queue.
 *
 * Place: base. head and tail only grow (they wrap with size_t, which the mask divides); the slot of
 * an index is index & mask. A slot belongs to the producer until tail passes it, then to the
 * consumer until head passes it: the release store of an index hands over what was written
 * before. */
#include "spsc/spsc.h"

#include "check/check.h"
#include "mem/mem.h"

void spsc_init(struct spsc *queue, size_t capacity)
{
    CHECK(capacity > 0 && capacity <= SIZE_MAX / 2 / sizeof(void *));
    size_t rounded = 1;
    while (rounded < capacity) {
        rounded *= 2;
    }
    queue->slots = mem_alloc_array(rounded, sizeof(void *));
    queue->mask = rounded - 1;
    queue->head_copy = 0;
    queue->tail_copy = 0;
    atomic_init(&queue->tail, 0);
    atomic_init(&queue->head, 0);
}

void spsc_done(struct spsc *queue)
{
    if (queue == NULL) {
        return;
    }
    mem_free(queue->slots);
    queue->slots = NULL;
}

bool spsc_push(struct spsc *queue, void *item)
{
    CHECK(item != NULL);
    size_t tail = atomic_load_explicit(&queue->tail, memory_order_relaxed);
    if (tail - queue->head_copy > queue->mask) {
        queue->head_copy = atomic_load_explicit(&queue->head, memory_order_acquire);
        if (tail - queue->head_copy > queue->mask) {
            return false;
        }
    }
    queue->slots[tail & queue->mask] = item;
    atomic_store_explicit(&queue->tail, tail + 1, memory_order_release);
    return true;
}

size_t spsc_room(struct spsc *queue)
{
    size_t tail = atomic_load_explicit(&queue->tail, memory_order_relaxed);
    queue->head_copy = atomic_load_explicit(&queue->head, memory_order_acquire);
    return queue->mask + 1 - (tail - queue->head_copy);
}

void *spsc_pop(struct spsc *queue)
{
    size_t head = atomic_load_explicit(&queue->head, memory_order_relaxed);
    if (head == queue->tail_copy) {
        queue->tail_copy = atomic_load_explicit(&queue->tail, memory_order_acquire);
        if (head == queue->tail_copy) {
            return NULL;
        }
    }
    void *item = queue->slots[head & queue->mask];
    atomic_store_explicit(&queue->head, head + 1, memory_order_release);
    return item;
}

size_t spsc_count(const struct spsc *queue)
{
    /* head first: tail is then not behind it; the pair may span more than the queue ever held. */
    size_t head = atomic_load_explicit(&queue->head, memory_order_acquire);
    size_t tail = atomic_load_explicit(&queue->tail, memory_order_acquire);
    size_t count = tail - head;
    return count <= queue->mask + 1 ? count : queue->mask + 1;
}
