/* flotilla services, members, route: over /v1/flotilla/. */
#include "cli/cli_priv.h"
#include "grid/grid.h"
#include "json/json_out.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static const struct bytes NO_BODY = {NULL, 0};

enum {
    BODY_MAX = 64 * 1024
};

static int print_grid(const struct cli_work *work, struct grid *grid)
{
    struct buf text;
    buf_init(&text, GRID_BYTES_MAX);
    int code = grid_print(grid, &text) == ERR_OK
                   ? client_print(&work->client, buf_bytes(&text))
                   : client_fail(&work->client, CLIENT_FAILED, "too much to print");
    buf_done(&text);
    grid_done(grid);
    return code;
}

/* The array `key` of the answer, as JSON or through print. */
static int show(const struct cli_work *work, const char *target, const char *key,
                int (*print)(const struct cli_work *work, const json_t *rows))
{
    json_t *answer = NULL;
    int code = client_json(&work->client, bytes_of_str(target), &answer);
    if (code != CLIENT_OK) {
        return code;
    }
    const json_t *rows = json_object_get(answer, key);
    code = work->options.json ? client_print_json(&work->client, rows) : print(work, rows);
    json_decref(answer);
    return code;
}

/* ---- services -------------------------------------------------------------------------------- */

static size_t count_passing(const json_t *instances)
{
    size_t passing = 0;
    for (size_t i = 0; i < json_array_size(instances); i++) {
        const json_t *instance = json_array_get(instances, i);
        passing += strcmp(client_text(instance, "status"), "passing") == 0;
    }
    return passing;
}

static int print_services(const struct cli_work *work, const json_t *services)
{
    static const char *const HEADINGS[] = {"SERVICE", "INSTANCES", "PASSING"};
    struct grid grid;
    grid_init(&grid, 3, HEADINGS);
    for (size_t i = 0; i < json_array_size(services); i++) {
        const json_t *service = json_array_get(services, i);
        const json_t *instances = json_object_get(service, "instances");
        grid_cell(&grid, "%s", client_text(service, "name"));
        grid_cell(&grid, "%zu", json_array_size(instances));
        grid_cell(&grid, "%zu", count_passing(instances));
    }
    return print_grid(work, &grid);
}

/* What the first check that does not pass says; the first line of it. */
static void reason_of(const json_t *instance, char *dest, size_t size)
{
    const json_t *checks = json_object_get(instance, "checks");
    dest[0] = '\0';
    for (size_t i = 0; i < json_array_size(checks) && dest[0] == '\0'; i++) {
        const json_t *check = json_array_get(checks, i);
        if (strcmp(client_text(check, "status"), "passing") != 0) {
            (void)snprintf(dest, size, "%s", client_text(check, "output"));
            dest[strcspn(dest, "\n")] = '\0';
        }
    }
}

static int print_instances(const struct cli_work *work, const json_t *instances)
{
    static const char *const HEADINGS[] = {"INSTANCE", "STATUS", "ADDRESS", "NODE", "CHECK SAYS"};
    struct grid grid;
    grid_init(&grid, 5, HEADINGS);
    for (size_t i = 0; i < json_array_size(instances); i++) {
        const json_t *instance = json_array_get(instances, i);
        char reason[64];
        reason_of(instance, reason, sizeof(reason));
        grid_cell(&grid, "%s", client_text(instance, "id"));
        grid_cell(&grid, "%s", client_text(instance, "status"));
        grid_cell(&grid, "%s:%llu", client_text(instance, "address"),
                  (unsigned long long)client_number(instance, "port"));
        grid_cell(&grid, "%s", client_text(instance, "node"));
        grid_cell(&grid, "%s", reason);
    }
    return print_grid(work, &grid);
}

static int show_service(const struct cli_work *work, const json_t *services, const char *name)
{
    for (size_t i = 0; i < json_array_size(services); i++) {
        const json_t *service = json_array_get(services, i);
        if (strcasecmp(client_text(service, "name"), name) == 0) {
            return work->options.json
                       ? client_print_json(&work->client, service)
                       : print_instances(work, json_object_get(service, "instances"));
        }
    }
    return client_fail(&work->client, CLIENT_FAILED, "no service \"%s\"", name);
}

int cli_services(const struct cli_call *call)
{
    struct cli_work work;
    int code = cli_begin(call, 0, 1, &work);
    if (work.ended) {
        return code;
    }
    const char *target =
        work.options.stale ? "/v1/flotilla/services?stale" : "/v1/flotilla/services";
    if (work.words.count == 0) {
        return show(&work, target, "services", print_services);
    }
    json_t *answer = NULL;
    code = client_json(&work.client, bytes_of_str(target), &answer);
    if (code == CLIENT_OK) {
        code = show_service(&work, json_object_get(answer, "services"), work.words.at[0]);
        json_decref(answer);
    }
    return code;
}

/* ---- members --------------------------------------------------------------------------------- */

static int print_members(const struct cli_work *work, const json_t *members)
{
    static const char *const HEADINGS[] = {"ID",      "NODE",  "STATE",  "HTTP API",
                                           "GATEWAY", "PEERS", "STARTS", "VERSION"};
    struct grid grid;
    grid_init(&grid, 8, HEADINGS);
    for (size_t i = 0; i < json_array_size(members); i++) {
        const json_t *member = json_array_get(members, i);
        grid_cell(&grid, "%llu", (unsigned long long)client_number(member, "id"));
        grid_cell(&grid, "%s", client_text(member, "name"));
        grid_cell(&grid, "%s", client_text(member, "state"));
        grid_cell(&grid, "%s", client_text(member, "http_address"));
        grid_cell(&grid, "%s", client_text(member, "gateway_address"));
        grid_cell(&grid, "%s", client_text(member, "peer_address"));
        grid_cell(&grid, "%llu", (unsigned long long)client_number(member, "boot_count"));
        grid_cell(&grid, "%s", client_text(member, "version"));
    }
    return print_grid(work, &grid);
}

int cli_members(const struct cli_call *call)
{
    struct cli_work work;
    int code = cli_begin(call, 0, 0, &work);
    return work.ended ? code : show(&work, "/v1/flotilla/members", "members", print_members);
}

/* ---- routes ---------------------------------------------------------------------------------- */

static int print_routes(const struct cli_work *work, const json_t *routes)
{
    static const char *const HEADINGS[] = {"ID", "HOST", "PATH", "SERVICE"};
    struct grid grid;
    grid_init(&grid, 4, HEADINGS);
    for (size_t i = 0; i < json_array_size(routes); i++) {
        const json_t *route = json_array_get(routes, i);
        const json_t *hosts = json_object_get(route, "hosts");
        char text[512] = "";
        for (size_t h = 0; h < json_array_size(hosts); h++) {
            size_t len = strlen(text);
            (void)snprintf(text + len, sizeof(text) - len, "%s%s", h == 0 ? "" : ",",
                           json_string_value(json_array_get(hosts, h)));
        }
        grid_cell(&grid, "%s", client_text(route, "id"));
        grid_cell(&grid, "%s", text);
        grid_cell(&grid, "%s", client_text(route, "path"));
        grid_cell(&grid, "%s", client_text(route, "service"));
    }
    return print_grid(work, &grid);
}

int cli_route_ls(const struct cli_call *call)
{
    struct cli_work work;
    int code = cli_begin(call, 0, 0, &work);
    const char *target = work.options.stale ? "/v1/flotilla/routes?stale" : "/v1/flotilla/routes";
    return work.ended ? code : show(&work, target, "routes", print_routes);
}

static void encode_hosts(struct json_out *out, const char *hosts)
{
    struct bytes rest = bytes_of_str(hosts);
    json_out_key(out, "hosts");
    json_out_array(out);
    while (rest.len > 0) {
        size_t comma = bytes_find(rest, ',');
        json_out_bytes(out, bytes_of(rest.data, comma));
        rest = bytes_from(rest, comma < rest.len ? comma + 1 : comma);
    }
    json_out_array_end(out);
}

/* Without --id the service's name, and the path's and the host's letters, name the route: adding
 * the same route twice changes nothing. */
static void default_id(const struct cli_options *options, char *dest, size_t size)
{
    char text[384];
    bool any_host = strcmp(options->host, "*") == 0;
    bool any_path = strcmp(options->path, "/") == 0;
    (void)snprintf(text, sizeof(text), "%s%s%s%s%s", options->service, any_host ? "" : "-",
                   any_host ? "" : options->host, any_path ? "" : "-",
                   any_path ? "" : options->path + 1);
    size_t len = 0;
    for (const char *at = text; *at != '\0' && len + 1 < size; at++) {
        bool plain = strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.",
                            *at) != NULL;
        dest[len++] = plain ? *at : '_';
    }
    dest[len] = '\0';
}

int cli_route_add(const struct cli_call *call)
{
    struct cli_work work;
    int code = cli_begin(call, 0, 0, &work);
    if (work.ended) {
        return code;
    }
    struct cli_options *options = &work.options;
    if (options->service == NULL) {
        return cli_usage(call, "--service NAME is missing");
    }
    options->host = options->host == NULL ? "*" : options->host;
    options->path = options->path == NULL ? "/" : options->path;
    char id[128];
    if (options->id == NULL) {
        default_id(options, id, sizeof(id));
        options->id = id;
    }
    char target[CLIENT_TARGET_MAX];
    code = cli_target(&work, "/v1/flotilla/routes/", options->id, "", target);
    if (code != CLIENT_OK) {
        return code;
    }
    struct buf body;
    struct json_out out;
    buf_init(&body, BODY_MAX);
    json_out_init(&out, &body, false);
    json_out_object(&out);
    json_out_field_str(&out, "id", options->id);
    encode_hosts(&out, options->host);
    json_out_field_str(&out, "path", options->path);
    json_out_field_str(&out, "service", options->service);
    json_out_object_end(&out);
    code = out.err == ERR_OK
               ? client_do(&work.client, HTTP1_METHOD_PUT, bytes_of_str(target), buf_bytes(&body))
               : cli_usage(call, "the route is too long");
    if (code == CLIENT_OK && options->json) {
        code = buf_append(&body, BYTES_LITERAL("\n")) == ERR_OK
                   ? client_print(&work.client, buf_bytes(&body))
                   : cli_usage(call, "the route is too long");
    }
    buf_done(&body);
    if (code == CLIENT_OK && !options->json) {
        (void)printf("route %s: %s%s -> %s\n", options->id, options->host, options->path,
                     options->service);
    }
    return code;
}

int cli_route_rm(const struct cli_call *call)
{
    struct cli_work work;
    int code = cli_begin(call, 1, 1, &work);
    if (work.ended) {
        return code;
    }
    char target[CLIENT_TARGET_MAX];
    code = cli_target(&work, "/v1/flotilla/routes/", work.words.at[0], "", target);
    return code != CLIENT_OK
               ? code
               : client_do(&work.client, HTTP1_METHOD_DELETE, bytes_of_str(target), NO_BODY);
}
