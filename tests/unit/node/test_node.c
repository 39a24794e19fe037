/* Whole nodes in one process: write, read, watch, restart, leader loss. */
#include "loop_test.h"
#include "node_test.h"

#include <stdio.h>

static void a_single_node_answers_its_own_writes(void **state)
{
    (void)state;
    struct test_cluster cluster;
    test_cluster_init(&cluster, 1);
    test_cluster_start_all(&cluster);
    uint64_t index = 0;
    assert_int_equal(test_put(cluster.nodes[0], "a", "1", &index), ERR_OK);
    assert_true(index > 0);
    char value[16];
    assert_int_equal(test_get(cluster.nodes[0], NODE_STALE, "a", value, sizeof(value)), ERR_OK);
    assert_string_equal(value, "1");
    assert_int_equal(test_get(cluster.nodes[0], NODE_CONSISTENT, "a", value, sizeof(value)),
                     ERR_OK);
    assert_string_equal(value, "1");
    assert_int_equal(test_get(cluster.nodes[0], NODE_STALE, "b", value, sizeof(value)),
                     ERR_NOT_FOUND);
    test_cluster_done(&cluster);
}

/* A door may be asked before the core thread has turned once. */
static void the_status_is_whole_from_the_first_moment(void **state)
{
    (void)state;
    struct test_cluster cluster;
    test_cluster_init(&cluster, 1);
    for (int round = 0; round < 10; round++) {
        struct node_status status;
        test_cluster_start(&cluster, 0);
        test_status(cluster.nodes[0], &status);
        assert_non_null(status.backend);
        test_cluster_stop(&cluster, 0);
    }
    test_cluster_done(&cluster);
}

static void a_restart_keeps_what_was_written(void **state)
{
    (void)state;
    struct test_cluster cluster;
    test_cluster_init(&cluster, 1);
    char key[16];
    for (int round = 0; round < 3; round++) {
        test_cluster_start(&cluster, 0);
        (void)snprintf(key, sizeof(key), "k%d", round);
        assert_int_equal(test_put(cluster.nodes[0], key, "v", NULL), ERR_OK);
        for (int i = 0; i <= round; i++) {
            char value[16];
            (void)snprintf(key, sizeof(key), "k%d", i);
            assert_int_equal(test_get(cluster.nodes[0], NODE_CONSISTENT, key, value, sizeof(value)),
                             ERR_OK);
        }
        test_cluster_stop(&cluster, 0);
    }
    test_cluster_done(&cluster);
}

static void three_nodes_answer_writes_and_reads_anywhere(void **state)
{
    (void)state;
    struct test_cluster cluster;
    test_cluster_init(&cluster, 3);
    test_cluster_start_all(&cluster);
    char key[16];
    char value[16];
    for (uint32_t i = 0; i < 60; i++) {
        (void)snprintf(key, sizeof(key), "k%u", i);
        assert_int_equal(test_put(cluster.nodes[i % 3], key, key, NULL), ERR_OK);
        assert_int_equal(test_get(cluster.nodes[i % 3], NODE_STALE, key, value, sizeof(value)),
                         ERR_OK);
        assert_int_equal(
            test_get(cluster.nodes[(i + 1) % 3], NODE_CONSISTENT, key, value, sizeof(value)),
            ERR_OK);
        assert_string_equal(value, key);
    }
    test_cluster_done(&cluster);
}

static void the_loss_of_the_leader_stops_nothing(void **state)
{
    (void)state;
    struct test_cluster cluster;
    test_cluster_init(&cluster, 3);
    test_cluster_start_all(&cluster);
    char key[16];
    for (uint32_t round = 0; round < 3; round++) {
        (void)snprintf(key, sizeof(key), "before%u", round);
        uint32_t leader = test_cluster_leader(&cluster);
        assert_int_equal(test_put(cluster.nodes[leader], key, "1", NULL), ERR_OK);
        test_cluster_stop(&cluster, leader);
        uint32_t other = (leader + 1) % 3;
        char value[16];
        assert_int_equal(test_put(cluster.nodes[other], "after", "2", NULL), ERR_OK);
        assert_int_equal(test_get(cluster.nodes[other], NODE_CONSISTENT, key, value, sizeof(value)),
                         ERR_OK);
        test_cluster_start(&cluster, leader);
        assert_int_equal(
            test_get(cluster.nodes[leader], NODE_CONSISTENT, "after", value, sizeof(value)),
            ERR_OK);
    }
    test_cluster_done(&cluster);
}

int main(void)
{
    test_skip_without_backend();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_single_node_answers_its_own_writes),
        cmocka_unit_test(the_status_is_whole_from_the_first_moment),
        cmocka_unit_test(a_restart_keeps_what_was_written),
        cmocka_unit_test(three_nodes_answer_writes_and_reads_anywhere),
        cmocka_unit_test(the_loss_of_the_leader_stops_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
