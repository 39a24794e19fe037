/* Tests of base/heap, mostly against a naive model. */
#include "heap/heap.h"

#include "rnd/rnd.h"
#include "test.h"

#include <string.h>

enum {
    NODES = 300
};

struct model {
    struct heap heap;
    struct heap_node nodes[NODES];
    uint64_t set_at[NODES]; /* step of the last heap_set; 0 when not in the heap */
    size_t count;
};

/* The node that the heap must name: smallest key, then earliest set. */
static struct heap_node *model_min(struct model *m)
{
    size_t best = NODES;
    for (size_t i = 0; i < NODES; i++) {
        if (m->set_at[i] == 0) {
            continue;
        }
        if (best == NODES || m->nodes[i].key < m->nodes[best].key ||
            (m->nodes[i].key == m->nodes[best].key && m->set_at[i] < m->set_at[best])) {
            best = i;
        }
    }
    return best == NODES ? NULL : &m->nodes[best];
}

static void check_order(const struct heap *heap)
{
    for (size_t i = 0; i < heap->count; i++) {
        assert_int_equal(heap->nodes[i]->position, i + 1);
        assert_true(heap->nodes[(i + 1) / 2 - (i > 0)]->key <= heap->nodes[i]->key);
    }
}

static void the_heap_agrees_with_a_naive_model(void **state)
{
    (void)state;
    static struct model m;
    memset(&m, 0, sizeof(m));
    heap_init(&m.heap);
    struct rnd rnd;
    rnd_init(&rnd, 7);
    for (uint64_t step = 1; step < 20000; step++) {
        size_t i = rnd_below(&rnd, NODES);
        bool linked = m.set_at[i] != 0;
        assert_int_equal(heap_linked(&m.nodes[i]), linked);
        if (rnd_chance_ppm(&rnd, 600000)) {
            heap_set(&m.heap, &m.nodes[i], rnd_below(&rnd, 50));
            m.set_at[i] = step;
            m.count += !linked;
        } else {
            heap_remove(&m.heap, &m.nodes[i]);
            m.set_at[i] = 0;
            m.count -= linked;
        }
        assert_int_equal(m.heap.count, m.count);
        assert_ptr_equal(heap_min(&m.heap), model_min(&m));
        if (step % 100 == 0) {
            check_order(&m.heap);
        }
    }
    for (struct heap_node *node; (node = heap_min(&m.heap)) != NULL;) {
        assert_ptr_equal(node, model_min(&m));
        heap_remove(&m.heap, node);
        m.set_at[node - m.nodes] = 0;
    }
    heap_done(&m.heap);
}

static void equal_keys_come_out_in_insertion_order(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap);
    struct heap_node nodes[100] = {0};
    for (size_t i = 0; i < 100; i++) {
        heap_set(&heap, &nodes[i], 5);
    }
    for (size_t i = 0; i < 100; i++) {
        assert_ptr_equal(heap_min(&heap), &nodes[i]);
        heap_remove(&heap, &nodes[i]);
    }
    heap_done(&heap);
}

static void a_moved_node_comes_after_its_equals(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap);
    struct heap_node a = {0};
    struct heap_node b = {0};
    heap_set(&heap, &a, 1);
    heap_set(&heap, &b, 1);
    heap_set(&heap, &a, 1);
    assert_int_equal(heap.count, 2);
    assert_ptr_equal(heap_min(&heap), &b);
    heap_done(&heap);
}

static void extreme_keys_are_ordered(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap);
    struct heap_node low = {0};
    struct heap_node high = {0};
    heap_set(&heap, &high, UINT64_MAX);
    heap_set(&heap, &low, 0);
    assert_ptr_equal(heap_min(&heap), &low);
    heap_remove(&heap, &low);
    assert_ptr_equal(heap_min(&heap), &high);
    heap_remove(&heap, &low);
    assert_int_equal(heap.count, 1);
    heap_done(&heap);
    heap_done(NULL);
}

static void an_empty_heap_has_no_minimum(void **state)
{
    (void)state;
    struct heap heap;
    heap_init(&heap);
    assert_null(heap_min(&heap));
    heap_done(&heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_heap_agrees_with_a_naive_model),
        cmocka_unit_test(equal_keys_come_out_in_insertion_order),
        cmocka_unit_test(a_moved_node_comes_after_its_equals),
        cmocka_unit_test(extreme_keys_are_ordered),
        cmocka_unit_test(an_empty_heap_has_no_minimum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
