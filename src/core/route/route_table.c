/* Routes: the matcher over an immutable snapshot.
 *
 * Place: core; see route.h.
 *
 * One rule per (route, host). Rules are sorted by (host, path, create index, id), so all rules of a
 * host lie together and its paths can be searched by bisection; of equal (host, path) only the
 * first, the one with precedence, is kept. A match tries hosts from the most to the least specific,
 * and for each the request's path, cut at ever earlier element boundaries: the first hit has
 * precedence.
 *
 * Invariant: strings of rules live in the arena and never change. */
#include "route/route.h"

#include "check/check.h"
#include "mem/mem.h"

enum {
    CHUNK_BYTES = 16 * 1024,
    /* More than all rows can hold. */
    ARENA_MAX = ROUTE_COUNT_MAX * 8 * 1024
};

struct rule {
    struct bytes host;
    struct bytes path; /* without a trailing "/": empty for the root */
    struct bytes service;
    struct bytes id;
    uint64_t create_index;
};

struct route_table {
    struct arena arena;
    struct rule *rules;
    size_t count;
    size_t capacity;
    size_t route_count;
};

static struct bytes keep(struct route_table *table, struct bytes slice)
{
    uint8_t *copy = arena_dup(&table->arena, slice);
    CHECK(copy != NULL);
    return bytes_of(copy, slice.len);
}

static struct bytes without_trailing_slash(struct bytes path)
{
    while (path.len > 0 && path.data[path.len - 1] == '/') {
        path.len--;
    }
    return path;
}

static enum err add_route(void *context, const struct route *route)
{
    struct route_table *table = context;
    struct rule rule = {
        .path = keep(table, without_trailing_slash(route->path)),
        .service = keep(table, route->service),
        .id = keep(table, route->id),
        .create_index = route->create_index,
    };
    for (uint32_t i = 0; i < route->host_count; i++) {
        if (table->count == table->capacity) {
            table->capacity = table->capacity == 0 ? 16 : table->capacity * 2;
            table->rules = mem_resize(table->rules, table->capacity * sizeof(rule));
        }
        rule.host = keep(table, route->hosts[i]);
        table->rules[table->count++] = rule;
    }
    table->route_count++;
    return ERR_OK;
}

static int compare_place(const struct rule *a, const struct rule *b)
{
    int order = bytes_cmp(a->host, b->host);
    return order != 0 ? order : bytes_cmp(a->path, b->path);
}

static int compare_rules(const struct rule *a, const struct rule *b)
{
    int order = compare_place(a, b);
    if (order != 0) {
        return order;
    }
    if (a->create_index != b->create_index) {
        return a->create_index < b->create_index ? -1 : 1;
    }
    return bytes_cmp(a->id, b->id);
}

/* Lets the rule at `at` sink to its place in the heap of the first count rules, largest on top. */
static void sift_down(struct rule *rules, size_t at, size_t count)
{
    for (size_t child = 2 * at + 1; child < count; child = 2 * at + 1) {
        if (child + 1 < count && compare_rules(&rules[child], &rules[child + 1]) < 0) {
            child++;
        }
        if (compare_rules(&rules[at], &rules[child]) >= 0) {
            return;
        }
        struct rule lower = rules[at];
        rules[at] = rules[child];
        rules[child] = lower;
        at = child;
    }
}

/* Heapsort: in place, and never quadratic whatever the routes are. */
static void heap_sort(struct rule *rules, size_t count)
{
    for (size_t at = count / 2; at-- > 0;) {
        sift_down(rules, at, count);
    }
    for (size_t left = count; left-- > 1;) {
        struct rule largest = rules[0];
        rules[0] = rules[left];
        rules[left] = largest;
        sift_down(rules, 0, left);
    }
}

static void sort_rules(struct route_table *table)
{
    if (table->count == 0) {
        return;
    }
    heap_sort(table->rules, table->count);
    size_t kept = 1;
    for (size_t i = 1; i < table->count; i++) {
        if (compare_place(&table->rules[kept - 1], &table->rules[i]) != 0) {
            table->rules[kept++] = table->rules[i];
        }
    }
    table->count = kept;
}

enum err route_table_build(struct table_txn *txn, struct route_table **ret_table)
{
    struct route_table *table = mem_alloc(sizeof(*table));
    arena_init(&table->arena, CHUNK_BYTES, ARENA_MAX);
    enum err err = route_each(txn, add_route, table);
    if (err != ERR_OK) {
        route_table_free(table);
        return err;
    }
    sort_rules(table);
    *ret_table = table;
    return ERR_OK;
}

void route_table_free(struct route_table *table)
{
    if (table == NULL) {
        return;
    }
    mem_free(table->rules);
    arena_done(&table->arena);
    mem_free(table);
}

size_t route_table_count(const struct route_table *table)
{
    return table->route_count;
}

/* The rule at exactly this place, or NULL. */
static const struct rule *find_rule(const struct route_table *table, struct bytes host,
                                    struct bytes path)
{
    struct rule wanted = {.host = host, .path = path};
    size_t low = 0;
    size_t high = table->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_place(&table->rules[middle], &wanted);
        if (order == 0) {
            return &table->rules[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

/* Whether any rule has this host; spares the path search for the hosts that are not there. */
static bool has_host(const struct route_table *table, struct bytes host)
{
    size_t low = 0;
    size_t high = table->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (bytes_cmp(table->rules[middle].host, host) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < table->count && bytes_eq(table->rules[low].host, host);
}

/* The longest prefix of the path, on element boundaries, that this host has a rule for. */
static const struct rule *match_path(const struct route_table *table, struct bytes host,
                                     struct bytes path)
{
    if (!has_host(table, host)) {
        return NULL;
    }
    size_t end = path.len;
    for (;;) {
        /* A trailing "/" of what is left means nothing. */
        while (end > 0 && path.data[end - 1] == '/') {
            end--;
        }
        const struct rule *rule =
            end <= ROUTE_PATH_MAX ? find_rule(table, host, bytes_of(path.data, end)) : NULL;
        if (rule != NULL || end == 0) {
            return rule;
        }
        while (end > 0 && path.data[end - 1] != '/') {
            end--;
        }
    }
}

static const struct rule *match_host(const struct route_table *table, struct bytes host,
                                     struct bytes path)
{
    const struct rule *rule = host.len > 0 ? match_path(table, host, path) : NULL;
    /* "*.suffix" for ever shorter suffixes: the byte before the dot becomes the star. */
    uint8_t pattern[ROUTE_HOST_MAX + 1];
    for (size_t dot = 1; rule == NULL && dot + 1 < host.len; dot++) {
        if (host.data[dot] != '.') {
            continue;
        }
        pattern[0] = '*';
        memcpy(pattern + 1, host.data + dot, host.len - dot);
        rule = match_path(table, bytes_of(pattern, 1 + host.len - dot), path);
    }
    return rule != NULL ? rule : match_path(table, BYTES_LITERAL("*"), path);
}

bool route_table_match(const struct route_table *table, struct bytes host, struct bytes path,
                       struct route_match *ret_match)
{
    uint8_t lower[ROUTE_HOST_MAX];
    if (host.len > 0 && host.data[host.len - 1] == '.') {
        host.len--;
    }
    if (host.len > ROUTE_HOST_MAX) {
        host.len = 0;
    }
    for (size_t i = 0; i < host.len; i++) {
        uint8_t c = host.data[i];
        lower[i] = c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
    }
    const struct rule *rule = match_host(table, bytes_of(lower, host.len), path);
    if (rule == NULL) {
        return false;
    }
    *ret_match = (struct route_match){
        .route_id = rule->id,
        .service = rule->service,
        .host = rule->host,
        .path = rule->path.len == 0 ? BYTES_LITERAL("/") : rule->path,
    };
    return true;
}
