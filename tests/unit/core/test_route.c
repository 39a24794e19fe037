/* Tests of core/route: commands, rules of form, and the matcher against a naive one. */
#include "route/route.h"

#include "rnd/rnd.h"
#include "world.h"

#include <stdio.h>

static struct bytes str(const char *text)
{
    return bytes_of_str(text);
}

static enum err put(struct world *w, const char *id, const char *host, const char *path,
                    const char *service)
{
    struct route route = {.id = str(id), .path = str(path), .service = str(service)};
    if (host[0] != '\0') {
        route.hosts[0] = str(host);
        route.host_count = 1;
    }
    assert_int_equal(route_put_encode(&route, &w->body), ERR_OK);
    return world_run(w, ROUTE_CMD_PUT);
}

static struct route_table *build(struct world *w)
{
    struct route_table *table = NULL;
    assert_int_equal(route_table_build(&w->txn, &table), ERR_OK);
    return table;
}

/* The id of the route that matches, or "-". */
static const char *match(const struct route_table *table, const char *host, const char *path)
{
    static char id[ROUTE_ID_MAX + 1];
    struct route_match found;
    if (!route_table_match(table, str(host), str(path), &found)) {
        return "-";
    }
    assert_int_equal(bytes_to_cstr(found.route_id, id, sizeof(id)), ERR_OK);
    return id;
}

static void put_replaces_and_remove_removes(void **state)
{
    struct world *w = *state;
    assert_int_equal(put(w, "r1", "Shop.Example.com", "/api", "Shop"), ERR_OK);
    assert_int_equal(world_changes_of(w, TABLE_ROUTES, str("r1")), 1);
    struct route route;
    assert_int_equal(route_get(&w->txn, str("r1"), &route), ERR_OK);
    assert_true(bytes_eq_str(route.hosts[0], "shop.example.com"));
    assert_true(bytes_eq_str(route.service, "shop"));
    assert_int_equal(put(w, "r1", "shop.example.com", "/api", "shop"), ERR_OK);
    assert_int_equal(w->change_count, 0);
    assert_int_equal(put(w, "r1", "", "", "shop"), ERR_OK);
    assert_int_equal(route_get(&w->txn, str("r1"), &route), ERR_OK);
    assert_true(bytes_eq_str(route.hosts[0], "*"));
    assert_true(bytes_eq_str(route.path, "/"));
    assert_int_equal(route.create_index, 1);
    assert_int_equal(route.modify_index, 3);
    uint64_t index = 0;
    assert_int_equal(route_index(&w->txn, &index), ERR_OK);
    assert_int_equal(index, 3);
    assert_int_equal(route_remove_encode(str("r1"), &w->body), ERR_OK);
    assert_int_equal(world_run(w, ROUTE_CMD_REMOVE), ERR_OK);
    assert_int_equal(route_get(&w->txn, str("r1"), &route), ERR_NOT_FOUND);
    assert_int_equal(route_remove_encode(str("r1"), &w->body), ERR_OK);
    assert_int_equal(world_run(w, ROUTE_CMD_REMOVE), ERR_NOT_FOUND);
    assert_string_equal(w->result.result.reason, "there is no such route: \"r1\"");
}

static enum err verdict(const char *id, const char *host, const char *path, const char *service)
{
    struct route route = {.id = str(id), .path = str(path), .service = str(service)};
    route.hosts[0] = str(host);
    route.host_count = 1;
    const char *reason = NULL;
    enum err err = route_check(&route, &reason);
    assert_int_equal(err == ERR_OK, reason == NULL);
    return err;
}

static void malformed_routes_are_refused_with_a_reason(void **state)
{
    (void)state;
    assert_int_equal(verdict("r", "*", "/", "web"), ERR_OK);
    assert_int_equal(verdict("r", "*.example.com", "/a/b/", "web"), ERR_OK);
    assert_int_equal(verdict("r", "10.0.0.1", "/a-b_c~%20", "web"), ERR_OK);
    static const char *const bad_hosts[] = {"",         "a.",  ".a",    "a..b", "*a",
                                            "*.",       "*.*", "a.*",   "a b",  "a:80",
                                            "http://a", "a/b", "[::1]", "*.a.", "\xc3\xa9"};
    for (size_t i = 0; i < sizeof(bad_hosts) / sizeof(bad_hosts[0]); i++) {
        assert_int_equal(verdict("r", bad_hosts[i], "/", "web"), ERR_BAD_INPUT);
    }
    static const char *const bad_paths[] = {"a",    "//",   "/a//b",  "/./a", "/a/..", "/a?b",
                                            "/a#b", "/a b", "/a/./b", "/..",  "/\x7f"};
    for (size_t i = 0; i < sizeof(bad_paths) / sizeof(bad_paths[0]); i++) {
        assert_int_equal(verdict("r", "*", bad_paths[i], "web"), ERR_BAD_INPUT);
    }
    assert_int_equal(verdict("", "*", "/", "web"), ERR_BAD_INPUT);
    assert_int_equal(verdict("a b", "*", "/", "web"), ERR_BAD_INPUT);
    assert_int_equal(verdict("r", "*", "/", ""), ERR_BAD_INPUT);
    assert_int_equal(verdict("r", "*", "/", "a\nb"), ERR_BAD_INPUT);
    char long_text[ROUTE_PATH_MAX + 2];
    memset(long_text, 'a', sizeof(long_text));
    long_text[0] = '/';
    long_text[sizeof(long_text) - 1] = '\0';
    assert_int_equal(verdict("r", "*", long_text, "web"), ERR_TOO_LARGE);
    long_text[0] = 'a';
    long_text[ROUTE_HOST_MAX + 1] = '\0';
    assert_int_equal(verdict("r", long_text, "/", "web"), ERR_TOO_LARGE);
    assert_int_equal(verdict(long_text, "*", "/", "web"), ERR_TOO_LARGE);
}

static void table_of_routes_is_bounded(void **state)
{
    struct world *w = *state;
    /* Rows of {created at 1, service "s", path "/", host "*"}, put directly: commands would
     * count. */
    static const uint8_t row[] = {1, 1, 0, 0, 0, 0, 0,   0, 0,   1, 0, 0,
                                  0, 0, 0, 0, 0, 1, 's', 1, '/', 1, 1, '*'};
    char id[16];
    for (int i = 0; i < ROUTE_COUNT_MAX; i++) {
        (void)snprintf(id, sizeof(id), "r%d", i);
        assert_int_equal(table_put(&w->txn, TABLE_ROUTES, str(id), bytes_of(row, sizeof(row))),
                         ERR_OK);
    }
    assert_int_equal(put(w, "one-more", "", "", "s"), ERR_FULL);
    assert_int_equal(put(w, "r0", "", "/new", "s"), ERR_OK);
    struct route_table *table = build(w);
    assert_int_equal(route_table_count(table), ROUTE_COUNT_MAX);
    assert_string_equal(match(table, "h", "/x"), "r1");
    route_table_free(table);
}

static void path_prefix_ends_at_an_element(void **state)
{
    struct world *w = *state;
    assert_int_equal(put(w, "api", "", "/api/", "a"), ERR_OK);
    assert_int_equal(put(w, "deep", "", "/api/v1/users", "b"), ERR_OK);
    struct route_table *table = build(w);
    assert_string_equal(match(table, "h", "/api"), "api");
    assert_string_equal(match(table, "h", "/api/"), "api");
    assert_string_equal(match(table, "h", "/api/x"), "api");
    assert_string_equal(match(table, "h", "/apix"), "-");
    assert_string_equal(match(table, "h", "/ap"), "-");
    assert_string_equal(match(table, "h", "/"), "-");
    assert_string_equal(match(table, "h", ""), "-");
    assert_string_equal(match(table, "h", "/API"), "-");
    assert_string_equal(match(table, "h", "/api/v1"), "api");
    assert_string_equal(match(table, "h", "/api/v1/users"), "deep");
    assert_string_equal(match(table, "h", "/api/v1/users/7/x"), "deep");
    assert_string_equal(match(table, "h", "/api/v1/users7"), "api");
    assert_string_equal(match(table, "h", "/x/api"), "-");
    struct route_match found;
    assert_true(route_table_match(table, str("h"), str("/api/x"), &found));
    assert_true(bytes_eq_str(found.path, "/api"));
    assert_true(bytes_eq_str(found.host, "*"));
    assert_true(bytes_eq_str(found.service, "a"));
    route_table_free(table);
}

static void most_specific_host_wins_over_longer_path(void **state)
{
    struct world *w = *state;
    assert_int_equal(put(w, "any", "*", "/a/b/c", "s"), ERR_OK);
    assert_int_equal(put(w, "wide", "*.example.com", "/", "s"), ERR_OK);
    assert_int_equal(put(w, "narrow", "*.shop.example.com", "/a", "s"), ERR_OK);
    assert_int_equal(put(w, "exact", "x.shop.example.com", "/a/b", "s"), ERR_OK);
    struct route_table *table = build(w);
    assert_string_equal(match(table, "x.shop.example.com", "/a/b/c"), "exact");
    assert_string_equal(match(table, "X.SHOP.example.COM.", "/a/b"), "exact");
    /* Without a matching path a host gives way to the next less specific one. */
    assert_string_equal(match(table, "x.shop.example.com", "/a"), "narrow");
    assert_string_equal(match(table, "x.shop.example.com", "/z"), "wide");
    assert_string_equal(match(table, "a.b.shop.example.com", "/a/b"), "narrow");
    assert_string_equal(match(table, "shop.example.com", "/a"), "wide");
    assert_string_equal(match(table, "example.com", "/a/b/c"), "any");
    assert_string_equal(match(table, "notexample.com", "/a/b/c"), "any");
    assert_string_equal(match(table, ".example.com", "/a/b/c"), "any");
    assert_string_equal(match(table, "", "/a/b/c"), "any");
    assert_string_equal(match(table, "other", "/"), "-");
    route_table_free(table);
}

static void oldest_route_wins_then_the_smallest_id(void **state)
{
    struct world *w = *state;
    assert_int_equal(put(w, "b", "h", "/x", "s"), ERR_OK);
    assert_int_equal(put(w, "a", "h", "/x/", "s"), ERR_OK);
    struct route_table *table = build(w);
    assert_string_equal(match(table, "h", "/x"), "b");
    route_table_free(table);
    /* Changing it does not make it younger. */
    assert_int_equal(put(w, "b", "h", "/x", "t"), ERR_OK);
    table = build(w);
    assert_string_equal(match(table, "h", "/x"), "b");
    route_table_free(table);
}

static void empty_table_matches_nothing(void **state)
{
    struct world *w = *state;
    struct route_table *table = build(w);
    assert_int_equal(route_table_count(table), 0);
    assert_string_equal(match(table, "h", "/"), "-");
    route_table_free(table);
    route_table_free(NULL);
}

/* ---- against a naive matcher ----------------------------------------------------------------- */

static bool host_fits(struct bytes pattern, struct bytes host)
{
    if (bytes_eq_str(pattern, "*")) {
        return true;
    }
    if (pattern.data[0] != '*') {
        return bytes_eq(pattern, host);
    }
    size_t suffix = pattern.len - 1;
    return host.len > suffix &&
           bytes_eq(bytes_from(host, host.len - suffix), bytes_from(pattern, 1));
}

static bool path_fits(struct bytes prefix, struct bytes path)
{
    if (prefix.len > 0 && prefix.data[prefix.len - 1] == '/') {
        prefix.len--;
    }
    return bytes_has_prefix(path, prefix) &&
           (path.len == prefix.len || path.data[prefix.len] == '/');
}

struct naive {
    struct bytes host;
    struct bytes path;
    bool any;
    uint8_t exact;
    size_t host_len;
    size_t path_len;
    uint64_t age;
    struct bytes id;
};

static int rank(const struct naive *n, uint8_t exact, size_t host_len, size_t path_len,
                uint64_t age)
{
    if (exact != n->exact) {
        return exact > n->exact ? 1 : -1;
    }
    if (host_len != n->host_len) {
        return host_len > n->host_len ? 1 : -1;
    }
    if (path_len != n->path_len) {
        return path_len > n->path_len ? 1 : -1;
    }
    return age < n->age ? 1 : -1;
}

static enum err consider(void *context, const struct route *route)
{
    struct naive *n = context;
    for (uint32_t i = 0; i < route->host_count; i++) {
        struct bytes host = route->hosts[i];
        if (!host_fits(host, n->host) || !path_fits(route->path, n->path)) {
            continue;
        }
        uint8_t exact = host.data[0] != '*';
        size_t path_len = route->path.len;
        path_len -= route->path.data[path_len - 1] == '/' ? 1u : 0u;
        if (!n->any || rank(n, exact, host.len, path_len, route->create_index) > 0) {
            n->any = true;
            n->exact = exact;
            n->host_len = host.len;
            n->path_len = path_len;
            n->age = route->create_index;
            n->id = route->id;
        }
    }
    return ERR_OK;
}

static void matcher_agrees_with_a_naive_one(void **state)
{
    struct world *w = *state;
    static const char *const hosts[] = {"*", "*.b", "*.a.b", "a.b", "x.a.b", "b", "*.x.a.b", "y.b"};
    static const char *const paths[] = {"/", "/a", "/a/", "/a/b", "/ab", "/a/b/c", "/b"};
    static const char *const asked_hosts[] = {"a.b", "x.a.b", "b", "y.b", "z.y.b", "q", "z.x.a.b"};
    static const char *const asked_paths[] = {"/",    "/a",   "/a/", "/ab",  "/a/b/c/d",
                                              "/abc", "/b/b", "/c",  "/a/bb"};
    struct rnd rnd;
    rnd_init(&rnd, 5);
    for (int step = 0; step < 400; step++) {
        char id[8];
        (void)snprintf(id, sizeof(id), "r%d", (int)rnd_below(&rnd, 12));
        if (rnd_chance_ppm(&rnd, 300000)) {
            assert_int_equal(route_remove_encode(str(id), &w->body), ERR_OK);
            (void)world_run(w, ROUTE_CMD_REMOVE);
        } else {
            assert_int_equal(put(w, id, hosts[rnd_below(&rnd, 8)], paths[rnd_below(&rnd, 7)], "s"),
                             ERR_OK);
        }
        struct route_table *table = build(w);
        for (size_t i = 0; i < 7 * 9; i++) {
            struct naive n = {.host = str(asked_hosts[i % 7]), .path = str(asked_paths[i / 7])};
            assert_int_equal(route_each(&w->txn, consider, &n), ERR_OK);
            struct route_match found;
            bool any = route_table_match(table, n.host, n.path, &found);
            assert_int_equal(any, n.any);
            assert_true(!any || bytes_eq(found.route_id, n.id));
        }
        route_table_free(table);
    }
}

static void body_and_row_have_golden_bytes(void **state)
{
    struct world *w = *state;
    struct route route = {.id = str("r"),
                          .path = str("/p"),
                          .service = str("S"),
                          .hosts = {str("A.b"), str("*.c")},
                          .host_count = 2};
    assert_int_equal(route_put_encode(&route, &w->body), ERR_OK);
    static const uint8_t body[] = {1, 1,   'r', 1,   's', 2,   '/', 'p', 2,
                                   3, 'a', '.', 'b', 3,   '*', '.', 'c'};
    assert_int_equal(w->body.len, sizeof(body));
    assert_memory_equal(w->body.data, body, sizeof(body));
    assert_int_equal(world_run(w, ROUTE_CMD_PUT), ERR_OK);
    struct bytes row;
    assert_int_equal(table_get(&w->txn, TABLE_ROUTES, str("r"), &row), ERR_OK);
    static const uint8_t golden[] = {1, 1, 0,   0,   0,   0, 0,   0,   0,  1,   0,
                                     0, 0, 0,   0,   0,   0, 1,   's', 2,  '/', 'p',
                                     2, 3, 'a', '.', 'b', 3, '*', '.', 'c'};
    assert_int_equal(row.len, sizeof(golden));
    assert_memory_equal(row.data, golden, sizeof(golden));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(put_replaces_and_remove_removes),
        WORLD_TEST(malformed_routes_are_refused_with_a_reason),
        WORLD_TEST(table_of_routes_is_bounded),
        WORLD_TEST(path_prefix_ends_at_an_element),
        WORLD_TEST(most_specific_host_wins_over_longer_path),
        WORLD_TEST(oldest_route_wins_then_the_smallest_id),
        WORLD_TEST(empty_table_matches_nothing),
        WORLD_TEST(matcher_agrees_with_a_naive_one),
        WORLD_TEST(body_and_row_have_golden_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
