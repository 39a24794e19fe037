/* Tests of serve/consul on three real nodes: the surface, claim by claim. */
#include "doors.h"

#include "loop_test.h"

enum {
    KV_VALUE_MAX = 512 * 1024
};

static struct doors doors;

static int open_three(void **state)
{
    (void)state;
    doors_open(&doors, 3);
    return 0;
}

static int close_all(void **state)
{
    (void)state;
    doors_close(&doors);
    return 0;
}

static void expect(uint32_t number, const char *request, int status, const char *body)
{
    doors_expect(&doors, number, request, status, body);
}

static void expect_without(const char *path, const char *part)
{
    struct reply reply = doors_call(&doors, 0, "GET", path, NULL);
    if (strstr(reply.body, part) != NULL) {
        fail_msg("GET %s has %s: %s", path, part, reply.body);
    }
    reply_done(&reply);
}

static void expect_header(const char *path, const char *part)
{
    struct reply reply = doors_call(&doors, 0, "GET", path, NULL);
    if (strstr(reply.text, part) == NULL) {
        fail_msg("GET %s has no %s: %s", path, part, reply.text);
    }
    reply_done(&reply);
}

static unsigned long long index_of(uint32_t number, const char *path)
{
    struct reply reply = doors_call(&doors, number, "GET", path, NULL);
    unsigned long long index = reply_index(&reply);
    reply_done(&reply);
    return index;
}

/* ---- key-values ------------------------------------------------------------------------------ */

static void key_is_put_read_and_deleted_through_any_node(void **state)
{
    (void)state;
    expect(0, "PUT /v1/kv/a/b?flags=42 hello", 200, "true");
    expect(
        1, "GET /v1/kv/a/b", 200,
        "[{\"LockIndex\":0,\"Key\":\"a/b\",\"Flags\":42,\"Value\":\"aGVsbG8=\",\"CreateIndex\":");
    expect(2, "GET /v1/kv/a/b?raw", 200, "hello");
    expect(2, "DELETE /v1/kv/a/b", 200, "true");
    expect(1, "GET /v1/kv/a/b", 404, "");
    expect(0, "DELETE /v1/kv/a/b", 200, "true");
}

static void empty_value_is_null(void **state)
{
    (void)state;
    expect(0, "PUT /v1/kv/empty", 200, "true");
    expect(0, "GET /v1/kv/empty", 200, "\"Value\":null");
    expect(0, "GET /v1/kv/empty?raw", 200, "");
}

static void keys_are_decoded_once_and_keep_their_slashes(void **state)
{
    (void)state;
    expect(0, "PUT /v1/kv/x%20y/%2541//z+1 v", 200, "true");
    expect(0, "GET /v1/kv/x%20y/%2541//z+1", 200, "\"Key\":\"x y/%41//z+1\"");
    expect(0, "GET /v1/kv/%zz", 400, "escape");
}

static void trees_are_listed_and_deleted(void **state)
{
    (void)state;
    expect(0, "PUT /v1/kv/t/a 1", 200, "true");
    expect(0, "PUT /v1/kv/t/b/c 2", 200, "true");
    expect(0, "PUT /v1/kv/t/b/d 3", 200, "true");
    expect(1, "GET /v1/kv/t/?keys", 200, "[\"t/a\",\"t/b/c\",\"t/b/d\"]");
    expect(1, "GET /v1/kv/t/?keys&separator=/", 200, "[\"t/a\",\"t/b/\"]");
    expect(1, "GET /v1/kv/t/b?recurse", 200, "\"Key\":\"t/b/d\"");
    expect(1, "DELETE /v1/kv/t?recurse", 200, "true");
    expect(2, "GET /v1/kv/t?recurse", 404, "");
    expect(2, "GET /v1/kv/t?keys", 404, "");
    expect(1, "DELETE /v1/kv/t?recurse", 200, "true");
}

static void cas_decides(void **state)
{
    (void)state;
    char request[128];
    expect(0, "PUT /v1/kv/cas?cas=0 one", 200, "true");
    expect(0, "PUT /v1/kv/cas?cas=0 two", 200, "false");
    unsigned long long index = index_of(0, "/v1/kv/cas");
    (void)snprintf(request, sizeof(request), "PUT /v1/kv/cas?cas=%llu two", index);
    expect(1, request, 200, "true");
    expect(1, request, 200, "false");
    (void)snprintf(request, sizeof(request), "DELETE /v1/kv/cas?cas=%llu", index);
    expect(1, request, 200, "false");
    expect(0, "GET /v1/kv/cas?raw", 200, "two");
}

static void bad_kv_requests_are_refused_in_plain_text(void **state)
{
    (void)state;
    expect(0, "PUT /v1/kv/x?flags=-1 v", 400, "Invalid flags");
    expect(0, "PUT /v1/kv/x?cas=one v", 400, "Invalid cas");
    expect(0, "PUT /v1/kv/ v", 400, "Missing key name");
    expect(0, "GET /v1/kv/", 400, "Missing key name");
    expect(0, "DELETE /v1/kv/", 400, "Missing key name");
    expect(0, "PUT /v1/kv/x?acquire=s v", 400, "sessions");
    expect(0, "PUT /v1/kv/x?release=s v", 400, "sessions");
    expect(0, "POST /v1/kv/x v", 405, "method POST not allowed");
    expect(0, "GET /v1/kv/x?stale&consistent", 400, "conflicting semantics");
    expect(0, "GET /v1/kv/x?index=abc", 400, "Invalid index");
    expect(0, "GET /v1/kv/x?index=1&wait=abc", 400, "Invalid wait time");
    expect(0, "GET /v1/kv/x?dc=elsewhere", 500, "No path to datacenter");
    expect(0, "GET /v1/kv/x?ns=team", 400, "ns");
    expect(0, "GET /v1/kv/x?dc=dc1&ns=default", 404, "");
}

static void values_over_the_limit_are_refused(void **state)
{
    (void)state;
    char *value = mem_alloc(KV_VALUE_MAX + 2);
    memset(value, 'v', KV_VALUE_MAX + 1);
    struct reply reply = doors_call(&doors, 0, "PUT", "/v1/kv/big", value);
    assert_int_equal(reply.status, 413);
    reply_done(&reply);
    value[KV_VALUE_MAX] = '\0';
    reply = doors_call(&doors, 0, "PUT", "/v1/kv/big", value);
    assert_int_equal(reply.status, 200);
    reply_done(&reply);
    reply = doors_call(&doors, 1, "GET", "/v1/kv/big?raw", NULL);
    assert_string_equal(reply.body, value);
    reply_done(&reply);
    mem_free(value);
}

static void reads_say_index_leader_and_consistency(void **state)
{
    (void)state;
    expect(0, "PUT /v1/kv/h v", 200, "true");
    expect_header("/v1/kv/h", "X-Consul-KnownLeader: true");
    expect_header("/v1/kv/h", "X-Consul-LastContact: ");
    expect_header("/v1/kv/h", "X-Consul-Effective-Consistency: leader");
    expect_header("/v1/kv/h?consistent", "X-Consul-Effective-Consistency: consistent");
    expect_header("/v1/kv/h?stale", "X-Consul-Effective-Consistency: stale");
    expect_header("/v1/kv/h?pretty", "\n    {\n");
    assert_true(index_of(0, "/v1/kv/h") > 0);
    assert_true(index_of(0, "/v1/kv/never-there") > 0);
    assert_true(index_of(0, "/v1/health/service/never-there") > 0);
}

/* ---- blocking -------------------------------------------------------------------------------- */

/* Asks with the current index of the path, sees it wait, changes something, sees it answer. */
static void see_it_wake(uint32_t reader, const char *path, uint32_t writer, const char *change,
                        const char *part)
{
    char blocking[256];
    unsigned long long index = index_of(reader, path);
    (void)snprintf(blocking, sizeof(blocking), "%s%sindex=%llu&wait=60s", path,
                   strchr(path, '?') == NULL ? "?" : "&", index);
    struct asked asked = doors_ask(&doors, reader, "GET", blocking, NULL);
    if (doors_answers_within(&asked, 100)) {
        fail_msg("did not wait: %s", blocking);
    }
    expect(writer, change, 200, NULL);
    struct reply reply = doors_reply(&asked);
    if (strstr(reply.body, part) == NULL || reply_index(&reply) <= index) {
        fail_msg("%s then %s: no %s, or index not above %llu: %s", blocking, change, part, index,
                 reply.text);
    }
    reply_done(&reply);
}

static void key_wakes_when_it_changes_anywhere(void **state)
{
    (void)state;
    expect(0, "PUT /v1/kv/w one", 200, "true");
    see_it_wake(1, "/v1/kv/w?raw", 2, "PUT /v1/kv/w two", "two");
    see_it_wake(1, "/v1/kv/w?stale", 0, "PUT /v1/kv/w three", "dGhyZWU=");
    see_it_wake(1, "/v1/kv/w?consistent", 0, "DELETE /v1/kv/w", "");
    /* It is missing now: the 404 has an index, too, and waits on it. */
    see_it_wake(2, "/v1/kv/w", 0, "PUT /v1/kv/w again", "YWdhaW4=");
}

static void prefix_wakes_for_what_is_under_it_only(void **state)
{
    (void)state;
    expect(0, "PUT /v1/kv/p/a 1", 200, "true");
    see_it_wake(0, "/v1/kv/p/?recurse", 1, "PUT /v1/kv/p/b 2", "\"Key\":\"p/b\"");
    see_it_wake(0, "/v1/kv/p/?keys", 1, "DELETE /v1/kv/p/a", "[\"p/b\"]");
    char path[96];
    (void)snprintf(path, sizeof(path), "/v1/kv/p/?recurse&wait=60s&index=%llu",
                   index_of(0, "/v1/kv/p/?recurse"));
    struct asked asked = doors_ask(&doors, 0, "GET", path, NULL);
    expect(0, "PUT /v1/kv/q 1", 200, "true");
    assert_false(doors_answers_within(&asked, 200));
    doors_hang_up(&asked);
}

static void waiting_ends_with_the_unchanged_answer(void **state)
{
    (void)state;
    char path[96];
    expect(0, "PUT /v1/kv/calm v", 200, "true");
    unsigned long long index = index_of(0, "/v1/kv/calm");
    (void)snprintf(path, sizeof(path), "/v1/kv/calm?index=%llu&wait=300ms", index);
    struct asked asked = doors_ask(&doors, 0, "GET", path, NULL);
    assert_false(doors_answers_within(&asked, 100));
    struct reply reply = doors_reply(&asked);
    assert_int_equal(reply.status, 200);
    assert_true(reply_index(&reply) == index);
    reply_done(&reply);
}

static void client_that_left_is_forgotten(void **state)
{
    (void)state;

    enum {
        CLIENTS = 20
    };

    struct asked asked[CLIENTS];
    doors_until(&doors, 0, "/metrics", "flotilla_http_waiting{edge=\"0\"} 0\n");
    for (size_t i = 0; i < CLIENTS; i++) {
        asked[i] = doors_ask(&doors, 0, "GET", "/v1/kv/left?index=1000000&wait=60s", NULL);
    }
    doors_until(&doors, 0, "/metrics", "flotilla_http_waiting{edge=\"0\"} 20\n");
    for (size_t i = 0; i < CLIENTS; i++) {
        doors_hang_up(&asked[i]);
    }
    doors_until(&doors, 0, "/metrics", "flotilla_http_waiting{edge=\"0\"} 0\n");
}

/* ---- services -------------------------------------------------------------------------------- */

#define WEB_BODY                                                                                   \
    "{\"ID\":\"web-1\",\"Name\":\"web\",\"Tags\":[\"v1\",\"blue\"],\"Address\":\"10.0.0.1\","      \
    "\"Port\":8080,\"Meta\":{\"Team\":\"a\"},\"Weights\":{\"Passing\":5,\"Warning\":1},"           \
    "\"TaggedAddresses\":{\"lan\":{\"address\":\"10.0.0.1\",\"port\":8080}},"                      \
    "\"Check\":{\"TTL\":\"60s\",\"Status\":\"passing\"},\"Unknown\":{\"field\":[1]}}"

static void registered_service_is_seen_in_every_view(void **state)
{
    (void)state;
    expect(0, "PUT /v1/agent/service/register " WEB_BODY, 200, "");
    expect(0, "GET /v1/agent/services", 200,
           "\"web-1\":{\"ID\":\"web-1\",\"Service\":\"web\",\"Tags\":[\"v1\",\"blue\"],\"Meta\":{"
           "\"Team\":\"a\"},\"Port\":8080,\"Address\":\"10.0.0.1\",\"TaggedAddresses\":{\"lan\":{"
           "\"Address\":\"10.0.0.1\",\"Port\":8080}},\"Weights\":{\"Passing\":5,\"Warning\":1},"
           "\"EnableTagOverride\":false");
    expect(1, "GET /v1/agent/services", 200, "{}");
    expect(1, "GET /v1/agent/service/web-1", 200, "\"ContentHash\":\"");
    expect(2, "GET /v1/catalog/services", 200, "\"web\":[\"v1\",\"blue\"]");
    expect(2, "GET /v1/catalog/services", 200, "\"consul\":[]");
    expect(1, "GET /v1/catalog/service/web", 200, "\"ServiceID\":\"web-1\"");
    expect(1, "GET /v1/catalog/service/WEB", 200, "\"ServiceTags\":[\"v1\",\"blue\"]");
    expect(1, "GET /v1/catalog/service/web", 200, "\"ServiceMeta\":{\"Team\":\"a\"}");
    expect(1, "GET /v1/catalog/node/n1", 200, "\"Services\":{\"web-1\":{\"ID\":\"web-1\"");
    expect(1, "GET /v1/catalog/node-services/n1", 200, "\"Services\":[{\"ID\":\"web-1\"");
    expect(1, "GET /v1/health/service/web", 200, "\"Service\":{\"ID\":\"web-1\"");
    expect(1, "GET /v1/health/service/web", 200,
           "\"Checks\":[{\"Node\":\"n1\",\"CheckID\":"
           "\"serfHealth\"");
    expect(1, "GET /v1/health/checks/web", 200,
           "[{\"Node\":\"n1\",\"CheckID\":\"service:web-1\",\"Name\":\"Service 'web' check\","
           "\"Status\":\"passing\"");
    expect(0, "GET /v1/agent/checks", 200, "\"service:web-1\":{\"Node\":\"n1\"");
    expect(2, "GET /v1/health/node/n1", 200, "\"ServiceTags\":[\"v1\",\"blue\"],\"Type\":\"ttl\"");
}

static void service_is_filtered_by_tag_and_health(void **state)
{
    (void)state;
    expect(0, "GET /v1/catalog/service/web?tag=v1&tag=BLUE", 200, "\"web-1\"");
    expect(0, "GET /v1/catalog/service/web?tag=v1&tag=red", 200, "[]");
    expect(0, "GET /v1/health/service/web?passing", 200, "\"web-1\"");
    expect(0, "GET /v1/health/service/web?node-meta=a:b", 200, "[]");
    expect(0, "GET /v1/health/service/web?filter=x", 400, "filter expressions");
    expect(1, "PUT /v1/agent/check/warn/service:web-1?note=slow", 200, "");
    doors_until(&doors, 0, "/v1/health/service/web", "\"Output\":\"slow\"");
    expect(0, "GET /v1/health/service/web?passing=true", 200, "[]");
    expect(0, "GET /v1/health/service/web?passing=false", 200, "\"web-1\"");
    expect(0, "GET /v1/health/state/warning", 200, "\"service:web-1\"");
    expect(0, "PUT /v1/agent/check/pass/service:web-1", 200, "");
    doors_until(&doors, 0, "/v1/health/service/web?passing", "\"web-1\"");
    expect(0, "GET /v1/health/state/any", 200, "\"serfHealth\"");
    expect(0, "GET /v1/health/state/sick", 400, "state");
}

static void health_wakes_when_a_check_changes(void **state)
{
    (void)state;
    see_it_wake(2, "/v1/health/service/web", 0, "PUT /v1/agent/check/fail/service:web-1?note=dead",
                "\"Output\":\"dead\"");
    see_it_wake(1, "/v1/health/service/web?passing", 2, "PUT /v1/agent/check/pass/service:web-1",
                "\"web-1\"");
    see_it_wake(1, "/v1/health/checks/web", 0,
                "PUT /v1/agent/check/update/service:web-1 "
                "{\"Status\":\"warning\",\"Output\":\"so so\"}",
                "so so");
    see_it_wake(1, "/v1/health/state/any", 2, "PUT /v1/agent/check/pass/service:web-1", "[");
    see_it_wake(1, "/v1/health/service/later", 0,
                "PUT /v1/agent/service/register {\"Name\":\"later\"}", "\"later\"");
    see_it_wake(1, "/v1/health/service/later", 2, "PUT /v1/agent/service/deregister/later", "[]");
    see_it_wake(1, "/v1/catalog/services", 0,
                "PUT /v1/agent/service/register {\"Name\":\"later\",\"Tags\":[\"t\"]}",
                "\"later\":[\"t\"]");
    see_it_wake(0, "/v1/catalog/service/later", 2, "PUT /v1/agent/service/deregister/later", "[]");
}

static void status_is_kept_when_a_service_registers_again(void **state)
{
    (void)state;
    expect(0, "PUT /v1/agent/service/register {\"Name\":\"again\",\"Check\":{\"TTL\":\"60s\"}}",
           200, "");
    expect(0, "GET /v1/health/checks/again", 200, "\"Status\":\"critical\"");
    expect(0, "PUT /v1/agent/check/pass/service:again", 200, "");
    doors_until(&doors, 0, "/v1/health/checks/again", "\"Status\":\"passing\"");
    unsigned long long index = index_of(0, "/v1/health/service/again");
    expect(0, "PUT /v1/agent/service/register {\"Name\":\"again\",\"Check\":{\"TTL\":\"60s\"}}",
           200, "");
    expect(0, "GET /v1/health/checks/again", 200, "\"Status\":\"passing\"");
    assert_true(index_of(0, "/v1/health/service/again") == index);
}

static void service_id_moves_with_its_client(void **state)
{
    (void)state;
    expect(0, "PUT /v1/agent/service/register {\"Name\":\"mover\",\"ID\":\"m1\"}", 200, "");
    expect(1, "PUT /v1/agent/service/register {\"Name\":\"mover\",\"ID\":\"m1\"}", 200, "");
    expect(2, "GET /v1/catalog/service/mover", 200, "\"Node\":\"n2\"");
    expect_without("/v1/catalog/service/mover", "\"Node\":\"n1\"");
    expect(2, "PUT /v1/agent/service/deregister/m1", 200, "");
    expect(1, "GET /v1/catalog/service/mover", 200, "[]");
    expect(
        2, "PUT /v1/agent/service/deregister/m1", 404,
        "Unknown service ID \"m1\". Ensure that the service ID is passed, not the service name.");
    expect(2, "GET /v1/agent/service/m1", 404, "unknown service ID: \"m1\"");
}

static void spellings_of_other_clients_are_understood(void **state)
{
    (void)state;
    expect(0,
           "PUT /v1/agent/service/register {\"name\":\"snake\",\"enable_tag_override\":true,"
           "\"check\":{\"http\":\"http://127.0.0.1:1/x\",\"interval\":\"10s\",\"timeout\":null,"
           "\"deregister_critical_service_after\":\"1h30m\",\"Header\":{\"A\":[\"b\",\"c\"]},"
           "\"Args\":[],\"GRPC\":\"\"}}",
           200, "");
    expect(0, "GET /v1/agent/services", 200, "\"EnableTagOverride\":true");
    expect(0, "GET /v1/health/checks/snake", 200,
           "\"Type\":\"http\",\"Interval\":\"10s\",\"Timeout\":\"\",\"ExposedPort\":0,"
           "\"Definition\":{\"Interval\":\"10s\",\"DeregisterCriticalServiceAfter\":\"1h30m0s\","
           "\"HTTP\":\"http://127.0.0.1:1/x\",\"Method\":\"\",\"Header\":{\"A\":[\"b\",\"c\"]}}");
    expect(0, "PUT /v1/agent/service/deregister/snake", 200, "");
}

static void bad_registrations_are_refused(void **state)
{
    (void)state;

    static const struct {
        const char *body;
        const char *part;
    } bad[] = {
        {"", "Request decode failed: the body is empty"},
        {"{", "Request decode failed: line 1"},
        {"{}", "Missing service name"},
        {"{\"Name\":\"\"}", "Missing service name"},
        {"{\"Name\":\"a\",\"Address\":\"0.0.0.0\"}", "Invalid service address"},
        {"{\"Name\":\"a\",\"Port\":-1}", "Port"},
        {"{\"Name\":\"a\",\"Port\":\"80\"}", "Port"},
        {"{\"Name\":\"a\",\"Tags\":\"x\"}", "Tags"},
        {"{\"Name\":\"a\",\"Tags\":[1]}", "Tags"},
        {"{\"Name\":\"a\",\"Meta\":{\"k\":1}}", "Meta.k"},
        {"{\"Name\":\"a\",\"Weights\":{\"Passing\":0}}", "Passing"},
        {"{\"Name\":\"a\",\"Check\":{\"TTL\":\"10\"}}", "duration"},
        {"{\"Name\":\"a\",\"Check\":{\"TTL\":\"1s\",\"Status\":\"fine\"}}", "Status"},
        {"{\"Name\":\"a\",\"Check\":{\"HTTP\":\"http://x\"}}", "Interval"},
        {"{\"Name\":\"a\",\"Check\":{\"HTTP\":\"https://x\",\"Interval\":\"1s\"}}", "https"},
        {"{\"Name\":\"a\",\"Check\":{\"Name\":\"b\"}}", "a check needs"},
        {"{\"Name\":\"a\",\"Check\":{\"TTL\":\"1s\",\"TCP\":\"x:1\"}}", "not several"},
        {"{\"Name\":\"a\",\"Check\":{\"Args\":[\"sh\"],\"Interval\":\"1s\"}}", "script checks"},
        {"{\"Name\":\"a\",\"Check\":{\"GRPC\":\"x:1\",\"Interval\":\"1s\"}}", "gRPC checks"},
        {"{\"Name\":\"a\",\"Checks\":[{\"TTL\":\"1s\",\"CheckID\":\"c\"},{\"TTL\":\"1s\","
         "\"CheckID\":\"c\"}]}",
         "two checks have the ID"},
        {"{\"Name\":\"a\\u0001b\"}", "control"},
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char request[512];
        (void)snprintf(request, sizeof(request), "PUT /v1/agent/service/register %s", bad[i].body);
        expect(0, request, 400, bad[i].part);
    }
    expect(0, "GET /v1/catalog/service/a", 200, "[]");
}

static void too_much_is_refused_with_the_limit(void **state)
{
    (void)state;
    char body[512];
    int len = snprintf(body, sizeof(body), "{\"Name\":\"a\",\"Tags\":[\"t\"");
    for (int i = 0; i < 64; i++) {
        len += snprintf(body + len, sizeof(body) - (size_t)len, ",\"t\"");
    }
    (void)snprintf(body + len, sizeof(body) - (size_t)len, "]}");
    struct reply reply = doors_call(&doors, 0, "PUT", "/v1/agent/service/register", body);
    assert_int_equal(reply.status, 413);
    assert_non_null(strstr(reply.body, "at most 64 tags"));
    reply_done(&reply);
}

static void several_checks_have_their_own_ids(void **state)
{
    (void)state;
    expect(0,
           "PUT /v1/agent/service/register {\"Name\":\"multi\",\"Checks\":[{\"TTL\":\"60s\"},"
           "{\"TTL\":\"60s\",\"CheckID\":\"own\",\"Name\":\"mine\"}]}",
           200, "");
    expect(1, "GET /v1/health/checks/multi", 200, "\"CheckID\":\"service:multi:1\"");
    expect(1, "GET /v1/health/checks/multi", 200, "\"CheckID\":\"own\",\"Name\":\"mine\"");
    expect(0,
           "PUT /v1/agent/service/register?replace-existing-checks {\"Name\":\"multi\","
           "\"Check\":{\"TTL\":\"60s\",\"CheckID\":\"other\"}}",
           200, "");
    expect_without("/v1/health/checks/multi", "\"own\"");
    expect(0, "PUT /v1/agent/service/deregister/multi", 200, "");
}

/* ---- maintenance and checks ------------------------------------------------------------------ */

static void maintenance_makes_a_service_critical(void **state)
{
    (void)state;
    expect(0, "PUT /v1/agent/service/register {\"Name\":\"maint\"}", 200, "");
    expect(1, "PUT /v1/agent/service/maintenance/maint?enable=true&reason=new+disk", 200, "");
    expect(2, "GET /v1/health/service/maint", 200,
           "\"CheckID\":\"_service_maintenance:maint\",\"Name\":\"Service Maintenance Mode\","
           "\"Status\":\"critical\",\"Notes\":\"new disk\"");
    expect(2, "GET /v1/health/service/maint?passing", 200, "[]");
    expect(2, "PUT /v1/agent/service/maintenance/maint?enable=false", 200, "");
    expect(2, "GET /v1/health/service/maint?passing", 200, "\"maint\"");
    expect(0, "PUT /v1/agent/service/maintenance/maint", 400, "Missing value for enable");
    expect(0, "PUT /v1/agent/service/maintenance/maint?enable=x", 400, "Invalid value for enable");
    expect(0, "PUT /v1/agent/service/maintenance/none?enable=true", 404, "Unknown service ID");
    expect(0, "PUT /v1/agent/maintenance?enable=true", 200, "");
    expect(1, "GET /v1/health/node/n1", 200, "\"_node_maintenance\"");
    expect(1, "GET /v1/health/service/maint?passing", 200, "[]");
    expect(0, "PUT /v1/agent/maintenance?enable=false", 200, "");
    expect(1, "GET /v1/health/service/maint?passing", 200, "\"maint\"");
    expect(0, "PUT /v1/agent/service/deregister/maint", 200, "");
}

static void checks_live_on_their_own(void **state)
{
    (void)state;
    expect(0, "PUT /v1/agent/check/register {\"Name\":\"disk\",\"TTL\":\"60s\",\"Notes\":\"n\"}",
           200, "");
    expect(1, "GET /v1/health/node/n1", 200, "\"CheckID\":\"disk\",\"Name\":\"disk\"");
    expect(2, "PUT /v1/agent/check/pass/disk?note=fine", 200, "");
    doors_until(&doors, 0, "/v1/agent/checks", "\"Output\":\"fine\"");
    expect(1, "PUT /v1/agent/check/deregister/disk", 200, "");
    expect(1, "PUT /v1/agent/check/deregister/disk", 404, "Unknown check ID \"disk\"");
    expect(1, "PUT /v1/agent/check/pass/disk", 404, "Unknown check ID \"disk\"");
    expect(1, "PUT /v1/agent/check/update/disk {\"Status\":\"passing\"}", 404, "Unknown check ID");
    expect(0, "PUT /v1/agent/check/update/disk {\"Status\":\"x\"}", 400, "Invalid check status");
    expect(0, "PUT /v1/agent/check/update/disk x", 400, "Request decode failed");
    expect(0, "PUT /v1/agent/check/register {\"TTL\":\"60s\"}", 400, "Missing check name");
    expect(0, "PUT /v1/agent/check/register {\"Name\":\"c\",\"TTL\":\"60s\",\"ServiceID\":\"no\"}",
           404, "ServiceID \"no\" does not exist");
    expect(0, "GET /v1/agent/check/pass/disk", 405, "method GET not allowed");
}

static void silent_ttl_check_becomes_critical(void **state)
{
    (void)state;
    expect(0,
           "PUT /v1/agent/service/register {\"Name\":\"quiet\",\"Check\":{\"TTL\":\"300ms\","
           "\"Status\":\"passing\"}}",
           200, "");
    doors_until(&doors, 1, "/v1/health/checks/quiet", "\"Status\":\"critical\"");
    expect(1, "PUT /v1/agent/service/deregister/quiet", 200, "");
}

static void http_check_is_really_run(void **state)
{
    (void)state;
    char request[256];
    (void)snprintf(request, sizeof(request),
                   "PUT /v1/agent/service/register {\"Name\":\"probed\",\"Check\":{\"HTTP\":"
                   "\"http://127.0.0.1:%u/v1/status/leader\",\"Interval\":\"200ms\"}}",
                   doors.nodes[1].port);
    expect(0, request, 200, "");
    doors_until(&doors, 2, "/v1/health/service/probed?passing", "\"probed\"");
    expect(1, "PUT /v1/agent/service/deregister/probed", 200, "");
}

/* ---- nodes ----------------------------------------------------------------------------------- */

static void nodes_and_members_are_listed(void **state)
{
    (void)state;
    expect(0, "GET /v1/catalog/datacenters", 200, "[\"dc1\"]");
    expect(0, "GET /v1/catalog/nodes", 200,
           "\"Node\":\"n3\",\"Address\":\"127.0.0.1\",\"Datacenter\":\"dc1\"");
    expect(0, "GET /v1/catalog/nodes?dc=dc1&near=_agent", 200, "\"n1\"");
    expect(0, "GET /v1/catalog/node/nobody", 200, "null");
    expect(0, "GET /v1/health/node/nobody", 200, "[]");
    expect(0, "GET /v1/catalog/service/consul", 200, "\"ServiceName\":\"consul\"");
    expect(0, "GET /v1/health/service/consul?passing", 200, "\"Node\":\"n2\"");
    expect(0, "GET /v1/agent/members", 200, "{\"Name\":\"n2\",\"Addr\":\"127.0.0.1\",\"Port\":");
    expect(1, "GET /v1/agent/self", 200,
           "{\"Config\":{\"Datacenter\":\"dc1\",\"PrimaryDatacenter\":\"dc1\",\"NodeName\":\"n2\"");
    expect(1, "GET /v1/agent/self", 200, "\"Member\":{\"Name\":\"n2\"");
    expect(0, "GET /v1/agent/version", 200, "HumanVersion");
    expect(0, "GET /v1/status/leader", 200, "\"127.0.0.1:");
    expect(0, "GET /v1/status/peers", 200, "[\"127.0.0.1:");
}

static void catalog_takes_services_of_members_only(void **state)
{
    (void)state;
    expect(0,
           "PUT /v1/catalog/register {\"Node\":\"n2\",\"Address\":\"127.0.0.1\",\"Service\":"
           "{\"Service\":\"ext\",\"ID\":\"ext-1\",\"Port\":5},\"Check\":{\"CheckID\":\"service:ext-"
           "1\",\"Name\":\"alive\",\"Status\":\"passing\",\"ServiceID\":\"ext-1\"}}",
           200, "true");
    expect(2, "GET /v1/health/service/ext?passing", 200,
           "\"Node\":\"n2\",\"CheckID\":\"service:ext-1\"");
    expect(0, "PUT /v1/catalog/register {\"Node\":\"outside\",\"Service\":{\"Service\":\"x\"}}",
           501, "\"outside\" is no node of this cluster");
    expect(0, "PUT /v1/catalog/register {\"Service\":{\"Service\":\"x\"}}", 400,
           "Must provide node");
    expect(0, "PUT /v1/catalog/deregister {\"Node\":\"n2\",\"CheckID\":\"service:ext-1\"}", 200,
           "true");
    expect(0, "GET /v1/health/checks/ext", 200, "[]");
    expect(0, "PUT /v1/catalog/deregister {\"Node\":\"n2\",\"ServiceID\":\"ext-1\"}", 200, "true");
    expect(0, "GET /v1/catalog/service/ext", 200, "[]");
    expect(0, "PUT /v1/catalog/deregister {\"Node\":\"n2\",\"ServiceID\":\"ext-1\"}", 200, "true");
    expect(0, "PUT /v1/catalog/deregister {\"Node\":\"n2\"}", 501, "ServiceID or CheckID");
}

static void what_is_not_built_says_so(void **state)
{
    (void)state;
    expect(0, "PUT /v1/session/create {}", 404, "is not built into this version of Flotilla");
    expect(0, "PUT /v1/txn []", 404, "is not built");
    expect(0, "GET /v1/acl/tokens", 401, "ACL support disabled");
    expect(0, "GET /v1/nonsense", 404, "no such path: /v1/nonsense");
    expect(0, "GET /v1/catalog/connect/web", 200, "[]");
    expect(0, "OPTIONS /v1/agent/self", 200, "");
    expect(0, "PUT /v1/agent/self", 405, NULL);
}

/* Last: it stops a node. */
static void leader_may_stop_and_nothing_is_lost(void **state)
{
    (void)state;
    uint32_t leader = doors_leader(&doors);
    uint32_t other = doors_other(&doors, leader);
    expect(leader,
           "PUT /v1/agent/service/register {\"Name\":\"kept\",\"Check\":{\"TTL\":\"60s\","
           "\"Status\":\"passing\"}}",
           200, "");
    expect(leader, "PUT /v1/agent/service/register {\"Name\":\"alone\"}", 200, "");
    expect(leader, "PUT /v1/kv/before v", 200, "true");
    char path[96];
    (void)snprintf(path, sizeof(path), "/v1/kv/after?raw&wait=60s&index=%llu",
                   index_of(other, "/v1/kv/after"));
    struct asked asked = doors_ask(&doors, other, "GET", path, NULL);
    assert_false(doors_answers_within(&asked, 100));
    doors_stop_node(&doors, leader);
    expect(other, "GET /v1/kv/before?raw&stale", 200, "v");
    expect(other, "PUT /v1/kv/after done", 200, "true");
    struct reply reply = doors_reply(&asked);
    assert_string_equal(reply.body, "done");
    reply_done(&reply);
    expect(other, "GET /v1/kv/before?raw", 200, "v");
    /* Its node is unseen: what has checks is judged by them, what has none goes down with it. */
    doors_until(&doors, other, "/v1/health/state/critical", "\"serfHealth\"");
    expect(other, "GET /v1/health/service/kept?passing", 200, "\"kept\"");
    expect(other, "GET /v1/health/service/alone?passing", 200, "[]");
    expect(other, "PUT /v1/agent/check/pass/service:kept", 200, "");
    expect(other, "PUT /v1/agent/service/deregister/alone", 200, "");
}

int main(void)
{
    test_skip_without_backend();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(key_is_put_read_and_deleted_through_any_node),
        cmocka_unit_test(empty_value_is_null),
        cmocka_unit_test(keys_are_decoded_once_and_keep_their_slashes),
        cmocka_unit_test(trees_are_listed_and_deleted),
        cmocka_unit_test(cas_decides),
        cmocka_unit_test(bad_kv_requests_are_refused_in_plain_text),
        cmocka_unit_test(values_over_the_limit_are_refused),
        cmocka_unit_test(reads_say_index_leader_and_consistency),
        cmocka_unit_test(key_wakes_when_it_changes_anywhere),
        cmocka_unit_test(prefix_wakes_for_what_is_under_it_only),
        cmocka_unit_test(waiting_ends_with_the_unchanged_answer),
        cmocka_unit_test(client_that_left_is_forgotten),
        cmocka_unit_test(registered_service_is_seen_in_every_view),
        cmocka_unit_test(service_is_filtered_by_tag_and_health),
        cmocka_unit_test(health_wakes_when_a_check_changes),
        cmocka_unit_test(status_is_kept_when_a_service_registers_again),
        cmocka_unit_test(service_id_moves_with_its_client),
        cmocka_unit_test(spellings_of_other_clients_are_understood),
        cmocka_unit_test(bad_registrations_are_refused),
        cmocka_unit_test(too_much_is_refused_with_the_limit),
        cmocka_unit_test(several_checks_have_their_own_ids),
        cmocka_unit_test(maintenance_makes_a_service_critical),
        cmocka_unit_test(checks_live_on_their_own),
        cmocka_unit_test(silent_ttl_check_becomes_critical),
        cmocka_unit_test(http_check_is_really_run),
        cmocka_unit_test(nodes_and_members_are_listed),
        cmocka_unit_test(catalog_takes_services_of_members_only),
        cmocka_unit_test(what_is_not_built_says_so),
        cmocka_unit_test(leader_may_stop_and_nothing_is_lost),
    };
    return cmocka_run_group_tests(tests, open_three, close_all);
}
