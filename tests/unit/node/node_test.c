/* For tests of whole nodes: see node_test.h. */
#include "node_test.h"

#include "kv/kv.h"
#include "loop/loop.h"
#include "loop_test.h"
#include "net/net.h"

#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum {
    DEADLINE_S = 20
};

static void wait_for(sem_t *sem)
{
    struct timespec until;
    assert_int_equal(clock_gettime(CLOCK_REALTIME, &until), 0);
    until.tv_sec += DEADLINE_S;
    int rc = 0;
    while ((rc = sem_timedwait(sem, &until)) != 0 && errno == EINTR) {
    }
    if (rc != 0) {
        fail_msg("no answer within %d s", DEADLINE_S);
    }
}

/* ---- the cluster ----------------------------------------------------------------------------- */

static uint16_t free_port(void)
{
    struct net_addr addr;
    assert_int_equal(net_addr_make(BYTES_LITERAL("127.0.0.1"), 0, &addr), ERR_OK);
    int fd = -1;
    struct err_note note;
    assert_int_equal(net_listen(&addr, false, &fd, &note), ERR_OK);
    struct net_addr bound;
    assert_int_equal(net_local_addr(fd, &bound), ERR_OK);
    (void)close(fd);
    return net_addr_port(&bound);
}

void test_cluster_init(struct test_cluster *cluster, uint32_t size)
{
    *cluster = (struct test_cluster){.size = size};
    (void)snprintf(cluster->dir, sizeof(cluster->dir), "/tmp/flotilla-test-XXXXXX");
    assert_non_null(mkdtemp(cluster->dir));
    for (uint32_t i = 0; i < size; i++) {
        cluster->ports[i] = free_port();
    }
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void test_cluster_done(struct test_cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->size; i++) {
        test_cluster_stop(cluster, i);
    }
    (void)nftw(cluster->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *test_cluster_dir(const struct test_cluster *cluster, uint32_t number, char *dest,
                             size_t size)
{
    (void)snprintf(dest, size, "%s/n%u", cluster->dir, number + 1);
    return dest;
}

enum err test_cluster_try_start(struct test_cluster *cluster, uint32_t number,
                                struct err_note *note)
{
    struct node_cfg cfg = {.id = number + 1,
                           .peer_count = cluster->size,
                           .edge_count = cluster->edge_count > 0 ? cluster->edge_count : 1,
                           .snapshot_log_bytes = cluster->snapshot_log_bytes,
                           .loop_backend = (int)test_backend(),
                           .wal_segment_bytes = 16u * 1024 * 1024,
                           .datacenter = "dc1"};
    (void)snprintf(cfg.name, sizeof(cfg.name), "n%u", number + 1);
    (void)test_cluster_dir(cluster, number, cfg.data_dir, sizeof(cfg.data_dir));
    for (uint32_t i = 0; i < cluster->size; i++) {
        cfg.peers[i].id = i + 1;
        (void)snprintf(cfg.peers[i].peer_addr, sizeof(cfg.peers[i].peer_addr), "127.0.0.1:%u",
                       cluster->ports[i]);
    }
    memcpy(cfg.peer_addr, cfg.peers[number].peer_addr, sizeof(cfg.peer_addr));
    return node_start(&cfg, &cluster->nodes[number], note);
}

void test_cluster_start(struct test_cluster *cluster, uint32_t number)
{
    struct err_note note = {{0}};
    enum err err = test_cluster_try_start(cluster, number, &note);
    if (err != ERR_OK) {
        fail_msg("node %u does not start: %s: %s", number + 1, err_name(err), note.text);
    }
}

void test_cluster_stop(struct test_cluster *cluster, uint32_t number)
{
    node_stop(cluster->nodes[number]);
    cluster->nodes[number] = NULL;
}

void test_cluster_start_all(struct test_cluster *cluster)
{
    for (uint32_t i = 0; i < cluster->size; i++) {
        test_cluster_start(cluster, i);
    }
}

uint32_t test_cluster_leader(struct test_cluster *cluster)
{
    for (int tries = 0; tries < DEADLINE_S * 100; tries++) {
        for (uint32_t i = 0; i < cluster->size; i++) {
            struct node_status status;
            if (cluster->nodes[i] == NULL) {
                continue;
            }
            test_status(cluster->nodes[i], &status);
            if (status.meta.role == RAFT_LEADER && status.meta.leads_safely) {
                return i;
            }
        }
        (void)usleep(10000);
    }
    fail_msg("no leader within %d s", DEADLINE_S);
    return 0;
}

/* ---- calls ----------------------------------------------------------------------------------- */

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

void test_on_edge(struct node *node, void (*fn)(void *self), void *self)
{
    struct edge_call call = {.fn = fn, .self = self};
    (void)sem_init(&call.done, 0, 0);
    assert_int_equal(node_edge_post(node_edge_at(node, 0), run_edge_call, &call), ERR_OK);
    wait_for(&call.done);
    (void)sem_destroy(&call.done);
}

struct put_call {
    struct node_proposal proposal;
    struct node *node;
    const char *key;
    const char *value;
    enum err err;
    uint64_t index;
    sem_t done;
};

static void on_put(struct node_proposal *proposal, enum err err, const struct node_result *result)
{
    struct put_call *call = CONTAINER_OF(proposal, struct put_call, proposal);
    call->err = err == ERR_OK ? result->verdict.err : err;
    call->index = err == ERR_OK ? result->index : 0;
    (void)sem_post(&call->done);
}

static void start_put(void *self)
{
    struct put_call *call = self;
    struct kv_put put = {.key = bytes_of_str(call->key), .value = bytes_of_str(call->value)};
    struct buf body;
    buf_init(&body, 1024u * 1024);
    assert_int_equal(kv_put_encode(&put, &body), ERR_OK);
    struct node_call who = {.principal = BYTES_LITERAL("test")};
    call->proposal.done = on_put;
    enum err err = node_propose(node_edge_at(call->node, 0), &who, KV_CMD_PUT, buf_bytes(&body),
                                &call->proposal);
    buf_done(&body);
    if (err != ERR_OK) {
        call->err = err;
        (void)sem_post(&call->done);
    }
}

enum err test_put(struct node *node, const char *key, const char *value, uint64_t *ret_index)
{
    struct put_call call = {.node = node, .key = key, .value = value};
    (void)sem_init(&call.done, 0, 0);
    assert_int_equal(node_edge_post(node_edge_at(node, 0), start_put, &call), ERR_OK);
    wait_for(&call.done);
    (void)sem_destroy(&call.done);
    if (ret_index != NULL) {
        *ret_index = call.index;
    }
    return call.err;
}

struct get_call {
    struct node_reading reading;
    struct node *node;
    enum node_consistency consistency;
    const char *key;
    char *dest;
    size_t size;
    enum err err;
    sem_t done;
};

static void on_get(struct node_reading *reading, enum err err, const struct node_snapshot *snapshot)
{
    struct get_call *call = CONTAINER_OF(reading, struct get_call, reading);
    struct kv_record record;
    if (err == ERR_OK) {
        err = kv_get(snapshot->txn, bytes_of_str(call->key), &record);
    }
    if (err == ERR_OK) {
        err = bytes_to_cstr(record.value, call->dest, call->size);
    }
    call->err = err;
    (void)sem_post(&call->done);
}

static void start_get(void *self)
{
    struct get_call *call = self;
    struct node_call who = {.principal = BYTES_LITERAL("test")};
    call->reading.done = on_get;
    assert_int_equal(
        node_read(node_edge_at(call->node, 0), &who, call->consistency, &call->reading), ERR_OK);
}

enum err test_get(struct node *node, enum node_consistency consistency, const char *key, char *dest,
                  size_t size)
{
    struct get_call call = {
        .node = node, .consistency = consistency, .key = key, .dest = dest, .size = size};
    dest[0] = '\0';
    (void)sem_init(&call.done, 0, 0);
    assert_int_equal(node_edge_post(node_edge_at(node, 0), start_get, &call), ERR_OK);
    wait_for(&call.done);
    (void)sem_destroy(&call.done);
    return call.err;
}

struct status_call {
    struct node *node;
    struct node_status *status;
};

static void get_status(void *self)
{
    struct status_call *call = self;
    node_status_get(node_edge_at(call->node, 0), call->status);
}

void test_status(struct node *node, struct node_status *ret_status)
{
    struct status_call call = {node, ret_status};
    test_on_edge(node, get_status, &call);
}
