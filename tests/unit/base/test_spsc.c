/* Tests of base/spsc, also with two threads (run under ThreadSanitizer in the tsan profile). */
#include "spsc/spsc.h"

#include "test.h"

#include <pthread.h>
#include <sched.h>

enum {
    ITEMS = 200000
};

static void items_come_out_in_order(void **state)
{
    (void)state;
    struct spsc queue;
    spsc_init(&queue, 8);
    int items[5];
    for (int round = 0; round < 100; round++) {
        for (int i = 0; i < 5; i++) {
            assert_true(spsc_push(&queue, &items[i]));
        }
        assert_int_equal(spsc_count(&queue), 5);
        for (int i = 0; i < 5; i++) {
            assert_ptr_equal(spsc_pop(&queue), &items[i]);
        }
        assert_null(spsc_pop(&queue));
        assert_int_equal(spsc_count(&queue), 0);
    }
    spsc_done(&queue);
}

static void a_full_queue_refuses(void **state)
{
    (void)state;
    struct spsc queue;
    spsc_init(&queue, 3);
    int item;
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(spsc_room(&queue), 4 - i);
        assert_true(spsc_push(&queue, &item));
    }
    assert_int_equal(spsc_room(&queue), 0);
    assert_false(spsc_push(&queue, &item));
    assert_int_equal(spsc_count(&queue), 4);
    assert_non_null(spsc_pop(&queue));
    assert_int_equal(spsc_room(&queue), 1);
    assert_true(spsc_push(&queue, &item));
    assert_false(spsc_push(&queue, &item));
    spsc_done(&queue);
}

static void a_queue_of_one_works(void **state)
{
    (void)state;
    struct spsc queue;
    spsc_init(&queue, 1);
    int item;
    for (int i = 0; i < 10; i++) {
        assert_true(spsc_push(&queue, &item));
        assert_false(spsc_push(&queue, &item));
        assert_ptr_equal(spsc_pop(&queue), &item);
        assert_null(spsc_pop(&queue));
    }
    spsc_done(&queue);
    spsc_done(NULL);
}

static void indices_may_wrap_around(void **state)
{
    (void)state;
    struct spsc queue;
    spsc_init(&queue, 4);
    size_t start = SIZE_MAX - 2;
    atomic_store(&queue.head, start);
    atomic_store(&queue.tail, start);
    queue.head_copy = start;
    queue.tail_copy = start;
    int items[4];
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 4; i++) {
            assert_true(spsc_push(&queue, &items[i]));
        }
        assert_false(spsc_push(&queue, &items[0]));
        assert_int_equal(spsc_count(&queue), 4);
        for (int i = 0; i < 4; i++) {
            assert_ptr_equal(spsc_pop(&queue), &items[i]);
        }
        assert_null(spsc_pop(&queue));
    }
    spsc_done(&queue);
}

struct transfer {
    struct spsc queue;
    uint32_t values[ITEMS];
};

static void *produce(void *argument)
{
    struct transfer *transfer = argument;
    for (uint32_t i = 0; i < ITEMS; i++) {
        transfer->values[i] = i + 1;
        while (!spsc_push(&transfer->queue, &transfer->values[i])) {
            sched_yield();
        }
    }
    return NULL;
}

static void two_threads_hand_over_everything_once_and_in_order(void **state)
{
    (void)state;
    static struct transfer transfer;
    spsc_init(&transfer.queue, 64);
    pthread_t producer;
    assert_int_equal(pthread_create(&producer, NULL, produce, &transfer), 0);
    for (uint32_t i = 0; i < ITEMS; i++) {
        uint32_t *value;
        while ((value = spsc_pop(&transfer.queue)) == NULL) {
            sched_yield();
        }
        assert_true(spsc_count(&transfer.queue) <= 64);
        assert_ptr_equal(value, &transfer.values[i]);
        assert_int_equal(*value, i + 1);
    }
    assert_int_equal(pthread_join(producer, NULL), 0);
    assert_null(spsc_pop(&transfer.queue));
    spsc_done(&transfer.queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_come_out_in_order),
        cmocka_unit_test(a_full_queue_refuses),
        cmocka_unit_test(a_queue_of_one_works),
        cmocka_unit_test(indices_may_wrap_around),
        cmocka_unit_test(two_threads_hand_over_everything_once_and_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
