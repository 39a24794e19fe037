/* Tests of serve/api on a real node. */
#include "doors.h"

#include "loop_test.h"

static struct doors doors;

static int open_one(void **state)
{
    (void)state;
    doors_open(&doors, 1);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    doors_close(&doors);
    return 0;
}

static void status_names_leader_indices_and_members(void **state)
{
    (void)state;
    struct reply reply = doors_call(&doors, 0, "GET", "/v1/flotilla/status", NULL);
    static const char *const parts[] = {
        "\"leader\":{\"id\":1,\"name\":\"n1\"}",
        "\"role\":\"leader\"",
        "\"term\":",
        "\"commit\":",
        "\"applied\":",
        "\"backend\":\"",
        "\"lag\":0",
        "\"state\":\"alive\"",
        "\"role\":\"voter\"",
        "\"wal\":{\"bytes\":",
        "\"version\":\"0.0.1\"",
    };
    assert_int_equal(reply.status, 200);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (strstr(reply.body, parts[i]) == NULL) {
            fail_msg("no %s in %s", parts[i], reply.body);
        }
    }
    reply_done(&reply);
}

static void route_lives_from_put_to_delete(void **state)
{
    (void)state;
    doors_expect(&doors, 0, "GET /v1/flotilla/routes", 200, "\"routes\":[]");
    doors_expect(
        &doors, 0,
        "PUT /v1/flotilla/routes/shop {\"host\":\"*\",\"path\":\"/shop\",\"service\":\"Web\"}", 200,
        "{\"index\":");
    doors_expect(&doors, 0, "GET /v1/flotilla/routes/shop", 200,
                 "{\"id\":\"shop\",\"host\":\"*\",\"hosts\":[\"*\"],\"path\":\"/shop\","
                 "\"service\":\"web\",");
    doors_expect(&doors, 0, "GET /v1/flotilla/routes", 200, "\"routes\":[{\"id\":\"shop\"");
    doors_expect(&doors, 0, "DELETE /v1/flotilla/routes/shop", 200, "{\"index\":");
    doors_expect(&doors, 0, "DELETE /v1/flotilla/routes/shop", 404, "\"reason\":\"not_found\"");
    doors_expect(&doors, 0, "GET /v1/flotilla/routes/shop", 404, "\"reason\":\"not_found\"");
}

static void bad_routes_are_refused_with_a_sentence(void **state)
{
    (void)state;
    doors_expect(&doors, 0, "PUT /v1/flotilla/routes/a {\"path\":\"x\",\"service\":\"s\"}", 400,
                 "{\"error\":\"a path must begin with \\\"/\\\"\",\"reason\":\"bad_input\"}");
    doors_expect(&doors, 0,
                 "PUT /v1/flotilla/routes/a {\"hots\":[\"a\"],\"path\":\"/\",\"service\":\"s\"}",
                 400, "unknown field \\\"hots\\\"");
    doors_expect(&doors, 0, "PUT /v1/flotilla/routes/a {\"path\":\"/\"}", 400, "\"error\":\"");
    doors_expect(&doors, 0, "PUT /v1/flotilla/routes/a {\"id\":\"b\",\"service\":\"s\"}", 400,
                 "the id in the body");
    doors_expect(&doors, 0, "PUT /v1/flotilla/routes/a nonsense", 400, "\"reason\":\"bad_input\"");
    doors_expect(&doors, 0, "PUT /v1/flotilla/routes/ {\"service\":\"s\"}", 400, "id");
    doors_expect(&doors, 0, "POST /v1/flotilla/routes/a {}", 405, "method_not_allowed");
}

static void services_show_instances_with_their_checks(void **state)
{
    (void)state;
    doors_expect(&doors, 0,
                 "PUT /v1/agent/service/register "
                 "{\"Name\":\"web\",\"Port\":80,\"Check\":{\"TTL\":\"60s\"}}",
                 200, "");
    doors_expect(&doors, 0, "GET /v1/flotilla/services", 200,
                 "{\"name\":\"web\",\"modify_index\":");
    doors_expect(&doors, 0, "GET /v1/flotilla/services", 200,
                 "{\"id\":\"web\",\"status\":\"critical\",\"node\":\"n1\","
                 "\"address\":\"127.0.0.1\",\"port\":80,\"tags\":[],\"meta\":{},"
                 "\"checks\":[{\"id\":\"service:web\",");
}

static void read_waits_for_the_next_change(void **state)
{
    (void)state;
    struct reply now = doors_call(&doors, 0, "GET", "/v1/flotilla/routes", NULL);
    char path[96];
    const char *at = strstr(now.text, "X-Flotilla-Index: ");
    assert_non_null(at);
    (void)snprintf(path, sizeof(path), "/v1/flotilla/routes?wait=30s&index=%llu",
                   strtoull(at + strlen("X-Flotilla-Index: "), NULL, 10));
    reply_done(&now);
    struct asked asked = doors_ask(&doors, 0, "GET", path, NULL);
    assert_false(doors_answers_within(&asked, 100));
    doors_expect(&doors, 0, "PUT /v1/flotilla/routes/new {\"service\":\"s\"}", 200, NULL);
    struct reply reply = doors_reply(&asked);
    assert_non_null(strstr(reply.body, "\"id\":\"new\""));
    reply_done(&reply);
}

static void metrics_and_landing_are_text(void **state)
{
    (void)state;
    doors_expect(&doors, 0, "GET /metrics", 200, "flotilla_http_requests_total{edge=\"0\"} ");
    doors_expect(&doors, 0, "GET /", 200, "Flotilla, node n1 in dc1.");
    doors_expect(&doors, 0, "GET /nowhere", 404, "\"reason\":\"no_such_path\"");
    doors_expect(&doors, 0, "GET /v1/flotilla/nowhere", 404, "\"reason\":\"no_such_path\"");
    doors_expect(&doors, 0, "GET /v1/flotilla/routes/%zz", 400, "\"reason\":\"bad_input\"");
}

int main(void)
{
    test_skip_without_backend();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(status_names_leader_indices_and_members),
        cmocka_unit_test(route_lives_from_put_to_delete),
        cmocka_unit_test(bad_routes_are_refused_with_a_sentence),
        cmocka_unit_test(services_show_instances_with_their_checks),
        cmocka_unit_test(read_waits_for_the_next_change),
        cmocka_unit_test(metrics_and_landing_are_text),
    };
    return cmocka_run_group_tests(tests, open_one, close_all);
}
