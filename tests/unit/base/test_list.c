/* Tests of base/list. */
#include "list/list.h"

#include "test.h"

struct item {
    int value;
    struct list link;
};

static int value_of(struct list *link)
{
    return CONTAINER_OF(link, struct item, link)->value;
}

static void pushed_items_come_in_order_of_their_end(void **state)
{
    (void)state;
    struct list head;
    list_init(&head);
    struct item items[3] = {{.value = 1}, {.value = 2}, {.value = 3}};
    list_push_back(&head, &items[1].link);
    list_push_back(&head, &items[2].link);
    list_push_front(&head, &items[0].link);
    int expected = 1;
    LIST_FOREACH (link, &head) {
        assert_int_equal(value_of(link), expected++);
    }
    assert_int_equal(expected, 4);
}

static void an_item_goes_before_the_one_named(void **state)
{
    (void)state;
    struct list head;
    list_init(&head);
    struct item a = {.value = 1};
    struct item b = {.value = 2};
    list_push_back(&head, &b.link);
    list_insert_before(&a.link, &b.link);
    assert_ptr_equal(list_pop_front(&head), &a.link);
    assert_ptr_equal(list_pop_front(&head), &b.link);
    assert_null(list_pop_front(&head));
}

static void removing_twice_is_harmless(void **state)
{
    (void)state;
    struct list head;
    list_init(&head);
    struct item a = {.value = 1};
    list_init(&a.link);
    assert_false(list_linked(&a.link));
    list_push_back(&head, &a.link);
    assert_true(list_linked(&a.link));
    assert_false(list_empty(&head));
    list_remove(&a.link);
    list_remove(&a.link);
    assert_false(list_linked(&a.link));
    assert_true(list_empty(&head));
}

static void the_safe_loop_allows_removal_of_the_current_item(void **state)
{
    (void)state;
    struct list head;
    list_init(&head);
    struct item items[10];
    for (int i = 0; i < 10; i++) {
        items[i].value = i;
        list_push_back(&head, &items[i].link);
    }
    LIST_FOREACH_SAFE (link, after, &head) {
        if (value_of(link) % 2 == 0) {
            list_remove(link);
        }
    }
    int expected = 1;
    LIST_FOREACH (link, &head) {
        assert_int_equal(value_of(link), expected);
        expected += 2;
    }
    assert_int_equal(expected, 11);
}

static void loops_over_nothing_do_nothing(void **state)
{
    (void)state;
    struct list head;
    list_init(&head);
    LIST_FOREACH (link, &head) {
        fail();
    }
    LIST_FOREACH_SAFE (link, after, &head) {
        fail();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pushed_items_come_in_order_of_their_end),
        cmocka_unit_test(an_item_goes_before_the_one_named),
        cmocka_unit_test(removing_twice_is_harmless),
        cmocka_unit_test(the_safe_loop_allows_removal_of_the_current_item),
        cmocka_unit_test(loops_over_nothing_do_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
