/* Starts that fail: the error comes back, nothing is left behind, and the next start succeeds. */
#include "loop_test.h"
#include "net/net.h"
#include "node_test.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static void a_taken_port_fails_the_start_cleanly(void **state)
{
    (void)state;
    struct test_cluster cluster;
    test_cluster_init(&cluster, 1);
    struct net_addr addr;
    int fd = -1;
    struct err_note note = {{0}};
    assert_int_equal(net_addr_make(BYTES_LITERAL("127.0.0.1"), cluster.ports[0], &addr), ERR_OK);
    assert_int_equal(net_listen(&addr, false, &fd, &note), ERR_OK);
    for (int i = 0; i < 3; i++) {
        note = (struct err_note){{0}};
        assert_int_equal(test_cluster_try_start(&cluster, 0, &note), ERR_IN_USE);
        assert_true(note.text[0] != '\0');
        assert_null(cluster.nodes[0]);
    }
    (void)close(fd);
    test_cluster_start(&cluster, 0);
    assert_int_equal(test_put(cluster.nodes[0], "a", "1", NULL), ERR_OK);
    test_cluster_done(&cluster);
}

static void a_locked_directory_fails_the_start_cleanly(void **state)
{
    (void)state;
    struct test_cluster cluster;
    test_cluster_init(&cluster, 1);
    test_cluster_start(&cluster, 0);
    struct node *running = cluster.nodes[0];
    cluster.nodes[0] = NULL;
    struct err_note note = {{0}};
    assert_int_equal(test_cluster_try_start(&cluster, 0, &note), ERR_IN_USE);
    assert_true(note.text[0] != '\0');
    cluster.nodes[0] = running;
    assert_int_equal(test_put(running, "a", "1", NULL), ERR_OK);
    test_cluster_done(&cluster);
}

static void put_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    (void)close(fd);
}

static void files_in_the_place_of_directories_fail_the_start_cleanly(void **state)
{
    (void)state;
    static const char *const names[] = {"state", "snapshots"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        struct test_cluster cluster;
        test_cluster_init(&cluster, 1);
        char dir[256];
        char path[300];
        (void)test_cluster_dir(&cluster, 0, dir, sizeof(dir));
        assert_int_equal(mkdir(dir, 0700), 0);
        (void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        put_file(path);
        struct err_note note = {{0}};
        assert_int_not_equal(test_cluster_try_start(&cluster, 0, &note), ERR_OK);
        assert_true(note.text[0] != '\0');
        assert_int_equal(unlink(path), 0);
        test_cluster_start(&cluster, 0);
        test_cluster_done(&cluster);
    }
}

static void a_file_in_the_place_of_the_data_directory_fails_the_start_cleanly(void **state)
{
    (void)state;
    struct test_cluster cluster;
    test_cluster_init(&cluster, 1);
    char dir[256];
    put_file(test_cluster_dir(&cluster, 0, dir, sizeof(dir)));
    struct err_note note = {{0}};
    assert_int_not_equal(test_cluster_try_start(&cluster, 0, &note), ERR_OK);
    assert_true(note.text[0] != '\0');
    test_cluster_done(&cluster);
}

int main(void)
{
    test_skip_without_backend();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_taken_port_fails_the_start_cleanly),
        cmocka_unit_test(a_locked_directory_fails_the_start_cleanly),
        cmocka_unit_test(files_in_the_place_of_directories_fail_the_start_cleanly),
        cmocka_unit_test(a_file_in_the_place_of_the_data_directory_fails_the_start_cleanly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
