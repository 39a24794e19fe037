/* For tests of whole nodes: starts them in temporary directories, calls them from the test's
 * thread.
 *
 * Calls block until the answer, with a deadline of 20 s; a missed deadline fails the test. */
#ifndef NODE_TEST_H
#define NODE_TEST_H

#include "node/node.h"
#include "test.h"

enum {
    CLUSTER_MAX = 5
};

struct test_cluster {
    char dir[128];
    uint32_t size;
    uint16_t ports[CLUSTER_MAX];
    struct node *nodes[CLUSTER_MAX]; /* NULL: stopped */
    uint64_t snapshot_log_bytes;     /* of nodes that are started from now on; 0: the default */
    uint32_t edge_count;             /* the same; 0: 1 */
};

/* Chooses free ports and a fresh directory; starts nothing. */
void test_cluster_init(struct test_cluster *cluster, uint32_t size);
/* Stops what runs and removes the directory. */
void test_cluster_done(struct test_cluster *cluster);
enum err test_cluster_try_start(struct test_cluster *cluster, uint32_t number,
                                struct err_note *note);
void test_cluster_start(struct test_cluster *cluster, uint32_t number);
void test_cluster_stop(struct test_cluster *cluster, uint32_t number);
void test_cluster_start_all(struct test_cluster *cluster);
/* Path of a node's directory. */
const char *test_cluster_dir(const struct test_cluster *cluster, uint32_t number, char *dest,
                             size_t size);
/* The number of the running node that leads, waiting for one. */
uint32_t test_cluster_leader(struct test_cluster *cluster);

/* One put through the node; the index of its entry in *ret_index (may be NULL). */
enum err test_put(struct node *node, const char *key, const char *value, uint64_t *ret_index);
/* Reads a key into dest (zero-terminated); "" and ERR_NOT_FOUND when it is missing. */
enum err test_get(struct node *node, enum node_consistency consistency, const char *key, char *dest,
                  size_t size);
/* Runs fn on edge 0's thread and waits for it. */
void test_on_edge(struct node *node, void (*fn)(void *self), void *self);
void test_status(struct node *node, struct node_status *ret_status);

#endif
