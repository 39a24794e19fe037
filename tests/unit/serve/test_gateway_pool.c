/* Connections to instances: reuse, ageing, retries, the choice of an instance. */
#include "gateway_rig.h"

#include <string.h>
#include <unistd.h>

#define GET  "GET /x HTTP/1.1\r\nHost: h\r\n\r\n"
#define POST "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"

/* One request and its answer on connection n of origin 0; the number of requests seen there. */
static void exchange(struct peer *client, size_t n, size_t count)
{
    peer_clear(client);
    peer_say(client, GET);
    struct peer *conn = origin_conn(0, n);
    peer_wait_count(conn, "\r\n\r\n", count);
    peer_say(conn, OK_ANSWER);
    peer_wait(client, "\r\n\r\nok");
}

static void the_last_used_connection_serves_next(void **state)
{
    (void)state;
    rig_open(1);
    struct peer *a = rig_client();
    struct peer *b = rig_client();
    peer_say(a, GET);
    (void)origin_request(0, 0, "\r\n\r\n");
    peer_say(b, GET);
    (void)origin_request(0, 1, "\r\n\r\n");
    peer_say(origin_conn(0, 1), OK_ANSWER);
    peer_wait(b, "ok");
    peer_say(origin_conn(0, 0), OK_ANSWER);
    peer_wait(a, "ok");
    assert_int_equal(rig_stats().upstreams_idle, 2);
    exchange(b, 0, 2);
    exchange(a, 0, 3);
    rig_close();
}

static void connections_of_all_clients_come_from_one_pool(void **state)
{
    (void)state;
    rig_open(1);
    for (size_t i = 1; i <= 10; i++) {
        struct peer *client = rig_client();
        exchange(client, 0, i);
        peer_close(client);
    }
    assert_int_equal(rig_stats().connects, 1);
    rig_close();
}

static void idle_connections_are_closed_in_time(void **state)
{
    (void)state;
    struct gateway_limits limits = GATEWAY_LIMITS_DEFAULT;
    limits.upstream_idle_timeout = CLK_MS(20);
    rig_open_with(&limits, 1);
    exchange(rig_client(), 0, 1);
    assert_int_equal(rig_stats().upstreams_idle, 1);
    peer_wait_end(origin_conn(0, 0));
    assert_int_equal(rig_stats().upstreams, 0);
    rig_close();
}

static void more_idle_connections_than_needed_are_closed_after_a_second(void **state)
{
    (void)state;

    enum {
        CLIENTS = 40
    };
    struct peer *clients[CLIENTS];
    rig_open(1);
    for (size_t i = 0; i < CLIENTS; i++) {
        clients[i] = rig_client();
        peer_say(clients[i], GET);
        (void)origin_request(0, i, "\r\n\r\n");
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        peer_say(origin_conn(0, i), OK_ANSWER);
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        peer_wait(clients[i], "ok");
    }
    assert_int_equal(rig_stats().upstreams_idle, CLIENTS); /* a burst may come back at once */
    RIG_UNTIL(rig_stats().upstreams == GATEWAY_LIMITS_DEFAULT.upstreams_idle_max);
    rig_close();
}

static void a_connection_that_its_instance_closes_leaves_the_pool(void **state)
{
    (void)state;
    rig_open(1);
    struct peer *client = rig_client();
    exchange(client, 0, 1);
    peer_close(origin_conn(0, 0));
    RIG_UNTIL(rig_stats().upstreams == 0);
    exchange(client, 1, 1);
    peer_reset(origin_conn(0, 1));
    RIG_UNTIL(rig_stats().upstreams == 0);
    exchange(client, 2, 1);
    rig_close();
}

static void bytes_that_nobody_asked_for_close_the_connection(void **state)
{
    (void)state;
    rig_open(1);
    struct peer *client = rig_client();
    exchange(client, 0, 1);
    peer_say(origin_conn(0, 0), OK_ANSWER);
    peer_wait_end(origin_conn(0, 0));
    /* Behind an answer too; that answer itself is good. */
    peer_clear(client);
    peer_say(client, GET);
    struct peer *conn = origin_request(0, 1, "\r\n\r\n");
    peer_say(conn, OK_ANSWER "HTTP/1.1 200 OK\r\n");
    peer_wait(client, "\r\n\r\nok");
    peer_wait_end(conn);
    rig_settle();
    assert_null(strstr(client->text + 1, "HTTP/1.1"));
    rig_close();
}

static void an_instance_that_asks_for_close_is_not_pooled(void **state)
{
    (void)state;
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"};
    rig_open(1);
    struct peer *client = rig_client();
    for (size_t i = 0; i < 2; i++) {
        peer_clear(client);
        peer_say(client, GET);
        struct peer *conn = origin_request(0, i, "\r\n\r\n");
        peer_say(conn, answers[i]);
        peer_wait(client, "\r\n\r\nok");
        assert_false(peer_has(client, "Connection"));
        peer_wait_end(conn);
    }
    assert_int_equal(rig_stats().upstreams, 0);
    rig_close();
}

/* --- retries --- */

static void a_failed_connect_is_tried_on_another_instance(void **state)
{
    (void)state;
    static const size_t two[] = {0, 1};
    rig_open(0);
    origin_down(0);
    for (size_t i = 1; i <= 20; i++) {
        rig_service("web", two, 2);
        struct peer *client = rig_client();
        peer_say(client, POST); /* any method: nothing of it was sent */
        struct peer *conn = origin_conn(1, 0);
        peer_wait_count(conn, "\r\n\r\nabc", i);
        peer_say(conn, OK_ANSWER);
        peer_wait(client, "\r\n\r\nok");
        peer_close(client);
    }
    /* The endpoint that failed is avoided for a while. */
    assert_in_range(rig_stats().retries, 0, 1);
    rig_close();
}

static void when_all_instances_refuse_the_client_is_told_after_one_retry(void **state)
{
    (void)state;
    rig_open(3);
    for (size_t i = 0; i < 3; i++) {
        origin_down(i);
    }
    struct peer *client = rig_client();
    peer_say(client, GET);
    peer_wait(client, "X-Flotilla-Reason: connect_failed");
    assert_int_equal(rig_stats().retries, 1);
    assert_int_equal(rig_stats().connects, 2);
    assert_non_null(strstr(rig_log(), "\"retries\":1}"));
    rig_close();
}

/* The pooled connection is closed while the request is on its way. */
static struct peer *ask_on_stale_connection(const char *request)
{
    struct peer *client = rig_client();
    exchange(client, 0, 1);
    peer_clear(client);
    peer_say(client, request);
    struct peer *conn = origin_conn(0, 0);
    peer_wait_count(conn, "\r\n\r\n", 2);
    peer_close(conn);
    return client;
}

static void a_stale_connection_is_replaced_for_idempotent_requests(void **state)
{
    (void)state;
    rig_open(1);
    struct peer *client = ask_on_stale_connection(GET);
    struct peer *conn = origin_request(0, 1, "GET /x");
    peer_say(conn, OK_ANSWER);
    peer_wait(client, "\r\n\r\nok");
    assert_int_equal(rig_stats().retries, 1);
    rig_close();
}

static void a_retry_prefers_another_instance(void **state)
{
    (void)state;
    static const size_t both[] = {0, 1};
    rig_open(1);
    struct peer *client = rig_client();
    exchange(client, 0, 1);
    peer_clear(client);
    peer_say(client, GET);
    peer_wait_count(origin_conn(0, 0), "\r\n\r\n", 2);
    rig_service("web", both, 2);
    peer_close(origin_conn(0, 0));
    struct peer *conn = origin_request(1, 0, "GET /x");
    peer_say(conn, OK_ANSWER);
    peer_wait(client, "\r\n\r\nok");
    rig_close();
}

static void a_request_that_may_have_been_acted_on_is_not_repeated(void **state)
{
    (void)state;
    rig_open(1);
    struct peer *client = ask_on_stale_connection("POST /x HTTP/1.1\r\nHost: h\r\n\r\n");
    peer_wait(client, "X-Flotilla-Reason: upstream_closed");
    assert_int_equal(rig_stats().retries, 0);
    /* Nor one whose body was taken from the client already. */
    client = rig_client();
    exchange(client, 1, 1);
    peer_clear(client);
    peer_say(client, "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
    peer_wait(origin_conn(0, 1), "\r\n\r\nabc");
    peer_close(origin_conn(0, 1));
    peer_wait(client, "X-Flotilla-Reason: upstream_closed");
    assert_int_equal(rig_stats().retries, 0);
    rig_close();
}

/* --- endpoints --- */

static void requests_are_spread_over_the_instances(void **state)
{
    (void)state;
    rig_open(3);
    for (size_t i = 0; i < 60; i++) {
        peer_say(rig_client(), GET);
        RIG_UNTIL(rig.origins[0].count + rig.origins[1].count + rig.origins[2].count == i + 1);
    }
    for (size_t i = 0; i < 3; i++) {
        assert_in_range(rig.origins[i].count, 18, 22);
    }
    rig_close();
}

static void an_endpoint_that_leaves_finishes_what_it_has(void **state)
{
    (void)state;
    static const size_t one[] = {1};
    rig_open(1);
    struct peer *idle = rig_client();
    struct peer *busy = rig_client();
    peer_say(idle, GET);
    (void)origin_request(0, 0, "\r\n\r\n");
    peer_say(busy, GET);
    (void)origin_request(0, 1, "\r\n\r\n");
    peer_say(origin_conn(0, 0), OK_ANSWER);
    peer_wait(idle, "ok");
    rig_service("web", one, 1);
    peer_wait_end(origin_conn(0, 0));
    rig_settle();
    assert_false(origin_conn(0, 1)->ended);
    peer_say(origin_conn(0, 1), OK_ANSWER);
    peer_wait(busy, "ok");
    peer_wait_end(origin_conn(0, 1));
    peer_say(busy, GET);
    (void)origin_request(1, 0, "\r\n\r\n");
    rig_close();
}

static void an_endpoint_that_stays_keeps_its_connections(void **state)
{
    (void)state;
    static const size_t both[] = {1, 0};
    static const size_t one[] = {0};
    rig_open(1);
    struct peer *client = rig_client();
    exchange(client, 0, 1);
    rig_service("web", both, 2);
    rig_service("web", one, 1);
    exchange(client, 0, 2);
    gateway_edge_drop_service(rig.edge, BYTES_LITERAL("web"));
    peer_wait_end(origin_conn(0, 0));
    rig_service("web", one, 1);
    exchange(client, 1, 1);
    rig_close();
}

static void a_service_may_go_while_its_request_waits(void **state)
{
    (void)state;
    rig_open(1);
    struct peer *client = rig_client();
    peer_say(client, GET);
    struct peer *conn = origin_request(0, 0, "\r\n\r\n");
    gateway_edge_drop_service(rig.edge, BYTES_LITERAL("web"));
    peer_say(conn, OK_ANSWER);
    peer_wait(client, "\r\n\r\nok");
    peer_wait_end(conn);
    assert_non_null(strstr(rig_log(), "\"service\":\"web\""));
    rig_close();
}

int main(void)
{
    test_skip_without_backend();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_used_connection_serves_next),
        cmocka_unit_test(connections_of_all_clients_come_from_one_pool),
        cmocka_unit_test(idle_connections_are_closed_in_time),
        cmocka_unit_test(more_idle_connections_than_needed_are_closed_after_a_second),
        cmocka_unit_test(a_connection_that_its_instance_closes_leaves_the_pool),
        cmocka_unit_test(bytes_that_nobody_asked_for_close_the_connection),
        cmocka_unit_test(an_instance_that_asks_for_close_is_not_pooled),
        cmocka_unit_test(a_failed_connect_is_tried_on_another_instance),
        cmocka_unit_test(when_all_instances_refuse_the_client_is_told_after_one_retry),
        cmocka_unit_test(a_stale_connection_is_replaced_for_idempotent_requests),
        cmocka_unit_test(a_retry_prefers_another_instance),
        cmocka_unit_test(a_request_that_may_have_been_acted_on_is_not_repeated),
        cmocka_unit_test(requests_are_spread_over_the_instances),
        cmocka_unit_test(an_endpoint_that_leaves_finishes_what_it_has),
        cmocka_unit_test(an_endpoint_that_stays_keeps_its_connections),
        cmocka_unit_test(a_service_may_go_while_its_request_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
