/* Intrusive binary heap ordered by a 64-bit key: the timer queue of loops and of the simulator.
 *
 * Place: base. The node remembers its position, so that any timer can be moved or cancelled in
 * O(log n). Equal keys come out in insertion order (a sequence number breaks ties), which keeps the
 * simulator exact. */
#ifndef HEAP_HEAP_H
#define HEAP_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Zeroed to begin; embedded in its owner. */
struct heap_node {
    uint64_t key;
    uint64_t order;
    size_t position; /* 1-based; 0 when in no heap */
};

struct heap {
    struct heap_node **nodes;
    size_t count;
    size_t cap;
    uint64_t next_order;
};

void heap_init(struct heap *heap);
/* Frees the array; nodes that are still in it are not touched. */
void heap_done(struct heap *heap);

static inline bool heap_linked(const struct heap_node *node)
{
    return node->position != 0;
}

/* Inserts, or moves a node that is already in this heap; a moved node counts as inserted now, so it
 * comes after those with the same key. */
void heap_set(struct heap *heap, struct heap_node *node, uint64_t key);
/* Does nothing when the node is in no heap. */
void heap_remove(struct heap *heap, struct heap_node *node);
/* The node with the smallest key, or NULL. */
struct heap_node *heap_min(const struct heap *heap);

#endif
