/* Intrusive binary heap.
 *
 * Place: base. Invariants:
 *   1. nodes[i] is not after nodes[2i + 1] and nodes[2i + 2].
 *   2. nodes[i]->position is i + 1. */
#include "heap/heap.h"

#include "check/check.h"
#include "mem/mem.h"

enum {
    HEAP_CAP_FIRST = 16
};

void heap_init(struct heap *heap)
{
    *heap = (struct heap){0};
}

void heap_done(struct heap *heap)
{
    if (heap == NULL) {
        return;
    }
    mem_free(heap->nodes);
    *heap = (struct heap){0};
}

static bool before(const struct heap_node *a, const struct heap_node *b)
{
    return a->key != b->key ? a->key < b->key : a->order < b->order;
}

static void place(struct heap *heap, struct heap_node *node, size_t at)
{
    heap->nodes[at] = node;
    node->position = at + 1;
}

static void sift_up(struct heap *heap, struct heap_node *node, size_t at)
{
    while (at > 0) {
        size_t parent = (at - 1) / 2;
        if (!before(node, heap->nodes[parent])) {
            break;
        }
        place(heap, heap->nodes[parent], at);
        at = parent;
    }
    place(heap, node, at);
}

static void sift_down(struct heap *heap, struct heap_node *node, size_t at)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= heap->count) {
            break;
        }
        if (child + 1 < heap->count && before(heap->nodes[child + 1], heap->nodes[child])) {
            child++;
        }
        if (!before(heap->nodes[child], node)) {
            break;
        }
        place(heap, heap->nodes[child], at);
        at = child;
    }
    place(heap, node, at);
}

/* Finds the place of a node whose neighbours at `at` are in order among themselves. */
static void settle(struct heap *heap, struct heap_node *node, size_t at)
{
    if (at > 0 && before(node, heap->nodes[(at - 1) / 2])) {
        sift_up(heap, node, at);
    } else {
        sift_down(heap, node, at);
    }
}

void heap_set(struct heap *heap, struct heap_node *node, uint64_t key)
{
    size_t at;
    if (heap_linked(node)) {
        at = node->position - 1;
        CHECK(at < heap->count && heap->nodes[at] == node);
    } else {
        if (heap->count == heap->cap) {
            size_t cap = heap->cap == 0 ? HEAP_CAP_FIRST : heap->cap * 2;
            CHECK(cap <= SIZE_MAX / sizeof(struct heap_node *));
            heap->nodes = mem_resize(heap->nodes, cap * sizeof(struct heap_node *));
            heap->cap = cap;
        }
        at = heap->count++;
    }
    node->key = key;
    node->order = heap->next_order++;
    settle(heap, node, at);
}

void heap_remove(struct heap *heap, struct heap_node *node)
{
    if (!heap_linked(node)) {
        return;
    }
    size_t at = node->position - 1;
    CHECK(at < heap->count && heap->nodes[at] == node);
    node->position = 0;
    struct heap_node *last = heap->nodes[--heap->count];
    if (last != node) {
        settle(heap, last, at);
    }
}

struct heap_node *heap_min(const struct heap *heap)
{
    return heap->count == 0 ? NULL : heap->nodes[0];
}
