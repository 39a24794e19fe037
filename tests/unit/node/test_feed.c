/* The ordering promise of node/node.h: changes, results and reads of one edge.
 *
 * What runs on an edge's thread uses CHECK: a failed assertion of cmocka ends only the thread of
 * the test. */
#include "check/check.h"
#include "kv/kv.h"
#include "loop_test.h"
#include "node_test.h"

#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

enum {
    ROUNDS = 50,
    MANY = 4500 /* transactions: more than the backlog that an edge may have */
};

/* One connection's worth of state; everything on one edge's thread. */
struct client {
    struct node_edge *edge;
    struct node_watch watch;
    struct node_listener listener;
    struct node_proposal proposal;
    struct node_reading reading;
    uint64_t changed; /* index of the last change that was told */
    uint32_t changes;
    uint32_t reads;
    uint32_t rounds;
    _Atomic uint32_t lagged;
    uint64_t result; /* index of the last result */
    bool cancels;    /* the change cancels the read */
    sem_t done;
};

static void on_change(struct node_watch *watch, const struct apply_change *change)
{
    struct client *client = CONTAINER_OF(watch, struct client, watch);
    CHECK(change->index > client->changed);
    client->changed = change->index;
    client->changes++;
    if (client->cancels) {
        node_read_cancel(client->edge, &client->reading);
    }
}

static void on_event(struct node_listener *listener, enum node_event event)
{
    struct client *client = CONTAINER_OF(listener, struct client, listener);
    if (event == NODE_EVENT_LAGGED) {
        atomic_fetch_add(&client->lagged, 1);
    }
}

static void propose(struct client *client);

static void on_read(struct node_reading *reading, enum err err,
                    const struct node_snapshot *snapshot)
{
    struct client *client = CONTAINER_OF(reading, struct client, reading);
    CHECK(err == ERR_OK);
    struct kv_record record;
    CHECK(kv_get(snapshot->txn, BYTES_LITERAL("key"), &record) == ERR_OK);
    CHECK(snapshot->index >= client->result);
    /* The key is written by this client alone: its newest change has been told. */
    CHECK(record.modify_index == client->changed);
    client->reads++;
}

static void on_result(struct node_proposal *proposal, enum err err,
                      const struct node_result *result)
{
    struct client *client = CONTAINER_OF(proposal, struct client, proposal);
    CHECK(err == ERR_OK);
    CHECK(result->index > client->result);
    client->result = result->index;
    CHECK(client->changed == result->index);
    client->reading.done = on_read;
    struct node_call who = {.principal = BYTES_LITERAL("test")};
    CHECK(node_read(client->edge, &who, NODE_STALE, &client->reading) == ERR_OK);
    if (--client->rounds > 0) {
        propose(client);
    } else {
        (void)sem_post(&client->done);
    }
}

static void propose_put(struct client *client, const char *key)
{
    char value[16]; /* another one each time: a put that changes nothing is no change */
    (void)snprintf(value, sizeof(value), "%u", client->rounds);
    struct kv_put put = {.key = bytes_of_str(key), .value = bytes_of_str(value)};
    struct buf body;
    buf_init(&body, 1024);
    CHECK(kv_put_encode(&put, &body) == ERR_OK);
    struct node_call who = {.principal = BYTES_LITERAL("test")};
    CHECK(node_propose(client->edge, &who, KV_CMD_PUT, buf_bytes(&body), &client->proposal) ==
          ERR_OK);
    buf_done(&body);
}

static void propose(struct client *client)
{
    client->proposal.done = on_result;
    propose_put(client, "key");
}

static void begin(void *self)
{
    struct client *client = self;
    client->watch.changed = on_change;
    CHECK(node_watch_add(client->edge, &client->watch, TABLE_KV, BYTES_LITERAL("key"), false) ==
          ERR_OK);
    client->listener.event = on_event;
    node_listen(client->edge, &client->listener);
    if (client->rounds > 0) {
        propose(client);
    }
}

static void end(void *self)
{
    struct client *client = self;
    node_watch_remove(client->edge, &client->watch);
    node_unlisten(client->edge, &client->listener);
}

static void run_on(struct node *node, uint32_t edge, void (*fn)(void *self), void *self);

static void changes_come_before_results_and_reads(void **state)
{
    (void)state;
    struct test_cluster cluster;
    test_cluster_init(&cluster, 1);
    test_cluster_start_all(&cluster);
    struct client client = {.edge = node_edge_at(cluster.nodes[0], 0), .rounds = ROUNDS};
    (void)sem_init(&client.done, 0, 0);
    test_on_edge(cluster.nodes[0], begin, &client);
    (void)sem_wait(&client.done);
    test_on_edge(cluster.nodes[0], end, &client);
    assert_int_equal(client.changes, ROUNDS);
    assert_int_equal(client.reads, ROUNDS);
    assert_int_equal(client.lagged, 0);
    test_cluster_done(&cluster);
}

/* ---- a read that is cancelled by what must be told before it
 * ----------------------------------- */

static void on_read_after_cancel(struct node_reading *reading, enum err err,
                                 const struct node_snapshot *snapshot)
{
    struct client *client = CONTAINER_OF(reading, struct client, reading);
    (void)err;
    (void)snapshot;
    client->reads++;
}

/* Waits, on the edge's thread, until the store shows the write, and reads then: the change is told
 * from inside of the read. */
static void read_until_told(void *self)
{
    struct client *client = self;
    struct node_call who = {.principal = BYTES_LITERAL("test")};
    client->cancels = true;
    client->reading.done = on_read_after_cancel;
    for (int tries = 0; tries < 1000 && client->changes == 0; tries++) {
        client->reads = 0;
        CHECK(node_read(client->edge, &who, NODE_STALE, &client->reading) == ERR_OK);
        (void)usleep(1000);
    }
    CHECK(client->changes == 1);
    CHECK(client->reads == 0);
}

static void a_read_that_is_cancelled_while_changes_are_told_does_not_call_back(void **state)
{
    (void)state;
    struct test_cluster cluster;
    test_cluster_init(&cluster, 1);
    cluster.edge_count = 2;
    test_cluster_start_all(&cluster);
    struct client reader = {.edge = node_edge_at(cluster.nodes[0], 1)};
    run_on(cluster.nodes[0], 1, begin, &reader);
    assert_int_equal(node_edge_post(reader.edge, read_until_told, &reader), ERR_OK);
    assert_int_equal(test_put(cluster.nodes[0], "key", "1", NULL), ERR_OK);
    run_on(cluster.nodes[0], 1, end, &reader);
    assert_int_equal(reader.changes, 1);
    test_cluster_done(&cluster);
}

/* ---- an edge that does not take its changes
 * ---------------------------------------------------- */

struct edge_call {
    void (*fn)(void *self);
    void *self;
    sem_t done;
};

static void run_edge_call(void *self)
{
    struct edge_call *call = self;
    call->fn(call->self);
    (void)sem_post(&call->done);
}

static void run_on(struct node *node, uint32_t edge, void (*fn)(void *self), void *self)
{
    struct edge_call call = {.fn = fn, .self = self};
    (void)sem_init(&call.done, 0, 0);
    assert_int_equal(node_edge_post(node_edge_at(node, edge), run_edge_call, &call), ERR_OK);
    (void)sem_wait(&call.done);
}

static void block(void *self)
{
    (void)sem_wait(self);
}

static void on_next(struct node_proposal *proposal, enum err err, const struct node_result *result)
{
    struct client *client = CONTAINER_OF(proposal, struct client, proposal);
    (void)result;
    CHECK(err == ERR_OK);
    if (--client->rounds > 0) {
        propose_put(client, "key");
    } else {
        (void)sem_post(&client->done);
    }
}

static void begin_many(void *self)
{
    struct client *client = self;
    client->proposal.done = on_next;
    propose_put(client, "key");
}

static void an_edge_that_does_not_take_its_changes_is_told_that_it_lagged(void **state)
{
    (void)state;
    struct test_cluster cluster;
    test_cluster_init(&cluster, 1);
    cluster.edge_count = 2;
    test_cluster_start_all(&cluster);
    struct node *node = cluster.nodes[0];
    struct client slow = {.edge = node_edge_at(node, 1)};
    struct client fast = {.edge = node_edge_at(node, 0), .rounds = MANY};
    (void)sem_init(&fast.done, 0, 0);
    sem_t gate;
    (void)sem_init(&gate, 0, 0);
    run_on(node, 1, begin, &slow);
    assert_int_equal(node_edge_post(slow.edge, block, &gate), ERR_OK);
    run_on(node, 0, begin_many, &fast);
    (void)sem_wait(&fast.done);
    (void)sem_post(&gate);
    for (int tries = 0; tries < 2000 && atomic_load(&slow.lagged) == 0; tries++) {
        (void)usleep(10000);
    }
    assert_true(atomic_load(&slow.lagged) > 0);
    run_on(node, 1, end, &slow);
    assert_true(slow.changes > 0 && slow.changes < MANY);
    test_cluster_done(&cluster);
}

int main(void)
{
    test_skip_without_backend();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(changes_come_before_results_and_reads),
        cmocka_unit_test(a_read_that_is_cancelled_while_changes_are_told_does_not_call_back),
        cmocka_unit_test(an_edge_that_does_not_take_its_changes_is_told_that_it_lagged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
