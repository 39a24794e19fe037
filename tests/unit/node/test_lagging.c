/* Snapshots on real nodes: one that was away catches up by a snapshot; a restart finds its state
 * again, whatever file a crash left behind. */
#include "loop_test.h"
#include "node_test.h"
#include "store/snapshot_file.h"
#include "store/store.h"

#include <stdio.h>
#include <unistd.h>

enum {
    SMALL_LOG = 256 * 1024,
    VALUE_BYTES = 8 * 1024,
    WRITES = 120,
    GROUP = 1
};

static void put_many(struct node *node, const char *prefix, uint32_t count)
{
    static char value[VALUE_BYTES];
    memset(value, 'v', sizeof(value) - 1);
    for (uint32_t i = 0; i < count; i++) {
        char key[32];
        (void)snprintf(key, sizeof(key), "%s%u", prefix, i);
        assert_int_equal(test_put(node, key, value, NULL), ERR_OK);
    }
}

static void expect_many(struct node *node, const char *prefix, uint32_t count)
{
    static char value[VALUE_BYTES];
    for (uint32_t i = 0; i < count; i++) {
        char key[32];
        (void)snprintf(key, sizeof(key), "%s%u", prefix, i);
        assert_int_equal(test_get(node, NODE_CONSISTENT, key, value, sizeof(value)), ERR_OK);
        assert_int_equal(strlen(value), VALUE_BYTES - 1);
    }
}

/* The node's log begins after `index`. */
static void wait_for_snapshot(struct node *node, uint64_t index)
{
    struct node_status status = {0};
    for (int tries = 0; tries < 2000 && status.snapshot_index <= index; tries++) {
        (void)usleep(10000);
        test_status(node, &status);
    }
    assert_true(status.snapshot_index > index);
}

static void a_node_that_was_away_catches_up_by_a_snapshot(void **state)
{
    (void)state;
    struct test_cluster cluster;
    test_cluster_init(&cluster, 3);
    cluster.snapshot_log_bytes = SMALL_LOG;
    test_cluster_start_all(&cluster);
    uint64_t before = 0;
    assert_int_equal(test_put(cluster.nodes[0], "first", "1", &before), ERR_OK);
    for (uint32_t round = 0; round < 2; round++) {
        uint32_t away = (test_cluster_leader(&cluster) + 1) % 3;
        test_cluster_stop(&cluster, away);
        struct node *leader = cluster.nodes[test_cluster_leader(&cluster)];
        put_many(leader, round == 0 ? "a" : "b", WRITES);
        wait_for_snapshot(leader, before + 1);
        struct node_status status;
        test_status(leader, &status);
        before = status.meta.last;
        test_cluster_start(&cluster, away);
        struct node *back = cluster.nodes[away];
        expect_many(back, round == 0 ? "a" : "b", WRITES);
        char value[16];
        assert_int_equal(test_get(back, NODE_CONSISTENT, "first", value, sizeof(value)), ERR_OK);
        assert_int_equal(test_put(back, "after", "1", NULL), ERR_OK);
        wait_for_snapshot(back, 0);
    }
    test_cluster_done(&cluster);
}

/* Writes a snapshot file of a stopped node, as a crash leaves one whose mark is not in the WAL yet,
 * and takes the state's clean mark away. */
static void leave_file_and_crash(const struct test_cluster *cluster, const struct raft_view *view)
{
    char dir[200];
    char path[256];
    (void)test_cluster_dir(cluster, 0, dir, sizeof(dir));
    (void)snprintf(path, sizeof(path), "%s/state", dir);
    struct store_cfg cfg;
    store_cfg_init(&cfg);
    struct store *store = NULL;
    struct store_reader *reader = NULL;
    struct snapshot_dir *files = NULL;
    struct err_note note;
    bool trusted = false;
    assert_int_equal(store_open(path, &cfg, &store, &trusted, &note), ERR_OK);
    assert_true(trusted);
    (void)snprintf(path, sizeof(path), "%s/snapshots", dir);
    assert_int_equal(snapshot_dir_open(path, &files, &note), ERR_OK);
    assert_int_equal(store_reader_new(store, &reader), ERR_OK);
    assert_int_equal(store_read_begin(reader), ERR_OK);
    struct table_txn txn;
    store_read_tables(reader, GROUP, &txn);
    struct raft_snapshot_meta meta = {
        .term = view->term, .config_index = view->config_index, .config = view->config};
    assert_int_equal(table_applied(&txn, &meta.index), ERR_OK);
    struct snapshot_info info;
    assert_int_equal(snapshot_write(files, &txn, &meta, NULL, &info, &note), ERR_OK);
    store_read_end(reader);
    store_reader_free(reader);
    snapshot_dir_close(files);
    assert_int_equal(store_close(store, true, &note), ERR_OK);
    (void)snprintf(path, sizeof(path), "%s/state/clean", dir);
    assert_int_equal(unlink(path), 0);
}

static void a_crash_between_a_snapshot_file_and_its_mark_is_survived(void **state)
{
    (void)state;
    struct test_cluster cluster;
    test_cluster_init(&cluster, 1);
    cluster.snapshot_log_bytes = SMALL_LOG;
    test_cluster_start(&cluster, 0);
    put_many(cluster.nodes[0], "a", WRITES);
    wait_for_snapshot(cluster.nodes[0], 0);
    test_cluster_stop(&cluster, 0);
    cluster.snapshot_log_bytes = 0;
    test_cluster_start(&cluster, 0);
    put_many(cluster.nodes[0], "b", 10);
    struct node_status status;
    test_status(cluster.nodes[0], &status);
    test_cluster_stop(&cluster, 0);
    leave_file_and_crash(&cluster, &status.meta);
    for (int i = 0; i < 2; i++) {
        test_cluster_start(&cluster, 0);
        expect_many(cluster.nodes[0], "a", WRITES);
        expect_many(cluster.nodes[0], "b", 10);
        assert_int_equal(test_put(cluster.nodes[0], "c", "1", NULL), ERR_OK);
        test_cluster_stop(&cluster, 0);
    }
    test_cluster_done(&cluster);
}

int main(void)
{
    test_skip_without_backend();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_node_that_was_away_catches_up_by_a_snapshot),
        cmocka_unit_test(a_crash_between_a_snapshot_file_and_its_mark_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
