/* Checks on whole nodes: leases renewed through any node, TTLs that expire, take-over from a dead
 * owner. */
#include "health/health.h"
#include "loop/loop.h"
#include "loop_test.h"
#include "members/members.h"
#include "node_test.h"
#include "registry/registry.h"

#include <semaphore.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum {
    DEADLINE_MS = 20000,
    POLL_MS = 20
};

struct parts {
    struct health *health;
    struct members *members;
};

static void start_parts(struct node *node, struct parts *parts)
{
    assert_int_equal(health_start(node, &parts->health), ERR_OK);
    assert_int_equal(members_start(node, "test", &parts->members), ERR_OK);
}

static void post(void *self)
{
    (void)sem_post(self);
}

static void wait_for(sem_t *sem)
{
    struct timespec until;
    assert_int_equal(clock_gettime(CLOCK_REALTIME, &until), 0);
    until.tv_sec += DEADLINE_MS / 1000;
    assert_int_equal(sem_timedwait(sem, &until), 0);
}

static void stop_parts(struct parts *parts)
{
    sem_t done;
    (void)sem_init(&done, 0, 0);
    health_stop(parts->health, post, &done);
    wait_for(&done);
    members_stop(parts->members, post, &done);
    wait_for(&done);
    (void)sem_destroy(&done);
}

/* ---- calls -------------------------------------------------------------------------------- */

struct register_call {
    struct node_proposal proposal;
    struct node *node;
    uint64_t ttl_ms;
    enum err err;
    sem_t done;
};

static void on_registered(struct node_proposal *proposal, enum err err,
                          const struct node_result *result)
{
    struct register_call *call = CONTAINER_OF(proposal, struct register_call, proposal);
    call->err = err == ERR_OK ? result->verdict.err : err;
    (void)sem_post(&call->done);
}

static void start_register(void *self)
{
    struct register_call *call = self;
    struct registry_instance instance = {
        .service = BYTES_LITERAL("web"),
        .id = BYTES_LITERAL("web-1"),
        .node = node_config(call->node)->id,
        .address = BYTES_LITERAL("127.0.0.1"),
        .port = 80,
        .weight_passing = 1,
        .weight_warning = 1,
        .origin = REGISTRY_ORIGIN_CONSUL,
    };
    struct registry_check check = {
        .type = REGISTRY_CHECK_TTL, .status = REGISTRY_CRITICAL, .def = {.ttl_ms = call->ttl_ms}};
    struct registry_register reg = {.instance = &instance, .checks = &check, .check_count = 1};
    struct buf body;
    buf_init(&body, 65536);
    assert_int_equal(registry_register_encode(&reg, &body), ERR_OK);
    struct node_call who = {.principal = BYTES_LITERAL("test")};
    call->proposal.done = on_registered;
    assert_int_equal(node_propose(node_edge_at(call->node, 0), &who, REGISTRY_CMD_SERVICE_REGISTER,
                                  buf_bytes(&body), &call->proposal),
                     ERR_OK);
    buf_done(&body);
}

static enum err register_web(struct node *node, uint64_t ttl_ms)
{
    struct register_call call = {.node = node, .ttl_ms = ttl_ms};
    (void)sem_init(&call.done, 0, 0);
    assert_int_equal(node_edge_post(node_edge_at(node, 0), start_register, &call), ERR_OK);
    wait_for(&call.done);
    (void)sem_destroy(&call.done);
    return call.err;
}

struct renew_call {
    struct node_lease_update update;
    struct node *node;
    const char *check_id;
    enum err err;
    sem_t done;
};

static void on_renewed(struct node_lease_update *update, enum err err)
{
    struct renew_call *call = CONTAINER_OF(update, struct renew_call, update);
    call->err = err;
    (void)sem_post(&call->done);
}

static void start_renew(void *self)
{
    struct renew_call *call = self;
    struct node_lease lease = {.check_id = bytes_of_str(call->check_id),
                               .status = REGISTRY_PASSING,
                               .output = BYTES_LITERAL("fine")};
    struct node_call who = {.principal = BYTES_LITERAL("test")};
    call->update.done = on_renewed;
    assert_int_equal(node_lease_renew(node_edge_at(call->node, 0), &who, &lease, &call->update),
                     ERR_OK);
}

static enum err renew(struct node *node, const char *check_id)
{
    struct renew_call call = {.node = node, .check_id = check_id};
    (void)sem_init(&call.done, 0, 0);
    assert_int_equal(node_edge_post(node_edge_at(node, 0), start_renew, &call), ERR_OK);
    wait_for(&call.done);
    (void)sem_destroy(&call.done);
    return call.err;
}

struct look_call {
    struct node_reading reading;
    struct node *node;
    uint32_t owner;
    enum registry_status status;
    enum err err;
    sem_t done;
};

static void on_look(struct node_reading *reading, enum err err,
                    const struct node_snapshot *snapshot)
{
    struct look_call *call = CONTAINER_OF(reading, struct look_call, reading);
    struct registry_check check;
    if (err == ERR_OK) {
        err = registry_check_find(snapshot->txn, 1, BYTES_LITERAL("service:web-1"), &check);
    }
    call->err = err;
    if (err == ERR_OK) {
        call->owner = check.owner;
        call->status = check.status;
    }
    (void)sem_post(&call->done);
}

static void start_look(void *self)
{
    struct look_call *call = self;
    struct node_call who = {.principal = BYTES_LITERAL("test")};
    call->reading.done = on_look;
    assert_int_equal(node_read(node_edge_at(call->node, 0), &who, NODE_CONSISTENT, &call->reading),
                     ERR_OK);
}

static enum err look(struct node *node, uint32_t *ret_owner, enum registry_status *ret_status)
{
    struct look_call call = {.node = node};
    (void)sem_init(&call.done, 0, 0);
    assert_int_equal(node_edge_post(node_edge_at(node, 0), start_look, &call), ERR_OK);
    wait_for(&call.done);
    (void)sem_destroy(&call.done);
    *ret_owner = call.owner;
    *ret_status = call.status;
    return call.err;
}

/* Renews until it is accepted: a check's owner sets it up a moment after its registration. */
static void renew_until_accepted(struct node *node)
{
    for (int waited_ms = 0; waited_ms < DEADLINE_MS; waited_ms += POLL_MS) {
        if (renew(node, "service:web-1") == ERR_OK) {
            return;
        }
        (void)usleep(POLL_MS * 1000);
    }
    fail_msg("the renewal was never accepted");
}

/* ---- claims ------------------------------------------------------------------------------- */

static void a_lease_is_renewed_through_any_node_and_expires_without(void **state)
{
    (void)state;
    struct test_cluster cluster;
    struct parts parts[3];
    test_cluster_init(&cluster, 3);
    test_cluster_start_all(&cluster);
    for (uint32_t i = 0; i < 3; i++) {
        start_parts(cluster.nodes[i], &parts[i]);
    }
    assert_int_equal(register_web(cluster.nodes[2], 300), ERR_OK);
    assert_int_equal(renew(cluster.nodes[0], "no-such-check"), ERR_NOT_FOUND);
    renew_until_accepted(cluster.nodes[0]); /* node 3 owns it */
    uint32_t owner = 0;
    enum registry_status status = REGISTRY_CRITICAL;
    assert_int_equal(look(cluster.nodes[1], &owner, &status), ERR_OK);
    assert_int_equal(owner, 3);
    assert_int_equal(status, REGISTRY_PASSING);
    for (int waited_ms = 0; status != REGISTRY_CRITICAL && waited_ms < DEADLINE_MS;
         waited_ms += POLL_MS) {
        (void)usleep(POLL_MS * 1000);
        assert_int_equal(look(cluster.nodes[1], &owner, &status), ERR_OK);
    }
    assert_int_equal(status, REGISTRY_CRITICAL);
    for (uint32_t i = 0; i < 3; i++) {
        stop_parts(&parts[i]);
    }
    test_cluster_done(&cluster);
}

static void a_dead_owners_check_is_taken_over_without_expiring(void **state)
{
    (void)state;
    struct test_cluster cluster;
    struct parts parts[3];
    test_cluster_init(&cluster, 3);
    test_cluster_start_all(&cluster);
    for (uint32_t i = 0; i < 3; i++) {
        start_parts(cluster.nodes[i], &parts[i]);
    }
    assert_int_equal(register_web(cluster.nodes[2], 60000), ERR_OK);
    renew_until_accepted(cluster.nodes[2]);
    stop_parts(&parts[2]);
    test_cluster_stop(&cluster, 2);
    uint32_t owner = 3;
    enum registry_status status = REGISTRY_CRITICAL;
    for (int waited_ms = 0; owner == 3 && waited_ms < DEADLINE_MS; waited_ms += POLL_MS) {
        (void)usleep(POLL_MS * 1000);
        assert_int_equal(look(cluster.nodes[0], &owner, &status), ERR_OK);
    }
    assert_int_not_equal(owner, 3);
    assert_int_equal(status, REGISTRY_PASSING);
    renew_until_accepted(cluster.nodes[0]);
    renew_until_accepted(cluster.nodes[1]);
    for (uint32_t i = 0; i < 2; i++) {
        stop_parts(&parts[i]);
    }
    test_cluster_done(&cluster);
}

int main(void)
{
    test_skip_without_backend();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lease_is_renewed_through_any_node_and_expires_without),
        cmocka_unit_test(a_dead_owners_check_is_taken_over_without_expiring),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
