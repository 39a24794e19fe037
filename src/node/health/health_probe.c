/* Health: HTTP and TCP probes.
 *
 *   timer -> [look-up of a name, in the background] -> GET or connect -> verdict -> timer
 *
 * HTTP: 2xx is passing, 429 is warning, everything else and every failure is critical, as Consul
 * has it. The answer's first bytes are kept as the check's output. */
#include "check/check.h"
#include "health/health_priv.h"
#include "mem/mem.h"
#include "text/text.h"

#include <stdio.h>
#include <string.h>

enum {
    BODY_KEPT = 3072,
    OUTPUT_MAX = 4096,
    HTTP_PORT = 80
};

#define LOOKUP_VALID CLK_S(30)

/* ---- what to probe --------------------------------------------------------------------------- */

/* "http://host[:port][/path]". False: not such a URL. */
static bool parse_url(struct bytes url, struct probe_target *target)
{
    struct bytes scheme = BYTES_LITERAL("http://");
    if (!bytes_has_prefix(url, scheme)) {
        return false;
    }
    struct bytes rest = bytes_from(url, scheme.len);
    size_t path_at = bytes_find(rest, '/');
    struct bytes authority = bytes_of(rest.data, path_at);
    target->path = path_at < rest.len ? mem_dup_bytes(bytes_from(rest, path_at)) : mem_strdup("/");
    target->port = HTTP_PORT;
    if (text_parse_host_port(authority, target->host, sizeof(target->host), &target->port) ==
        ERR_OK) {
        return true;
    }
    return bytes_to_cstr(authority, target->host, sizeof(target->host)) == ERR_OK;
}

static void take_method(struct owned *owned, struct bytes name)
{
    owned->method = http1_method_of(name);
    bool usable = owned->method != HTTP1_METHOD_OTHER && owned->method != HTTP1_METHOD_CONNECT;
    if (!usable || bytes_to_cstr(name, owned->method_name, sizeof(owned->method_name)) != ERR_OK) {
        owned->method = HTTP1_METHOD_GET;
        memcpy(owned->method_name, "GET", sizeof("GET"));
    }
}

static void copy_fields(struct owned *owned, const struct registry_check_def *def)
{
    owned->field_count = def->header_count;
    if (def->header_count == 0) {
        return;
    }
    owned->fields = mem_alloc_array(def->header_count, sizeof(*owned->fields));
    for (uint32_t i = 0; i < def->header_count; i++) {
        owned->fields[i].name =
            bytes_of(mem_dup_bytes(def->headers[i].key), def->headers[i].key.len);
        owned->fields[i].value =
            bytes_of(mem_dup_bytes(def->headers[i].value), def->headers[i].value.len);
    }
}

void health_probe_setup(struct owned *owned, const struct registry_check *check)
{
    bool good = false;
    if (check->type == REGISTRY_CHECK_HTTP) {
        owned->url = mem_dup_bytes(check->def.http);
        take_method(owned, check->def.method);
        copy_fields(owned, &check->def);
        good = parse_url(check->def.http, &owned->target);
    } else if (check->type == REGISTRY_CHECK_TCP) {
        owned->url = mem_dup_bytes(check->def.tcp);
        good = text_parse_host_port(check->def.tcp, owned->target.host, sizeof(owned->target.host),
                                    &owned->target.port) == ERR_OK;
    }
    if (!good) {
        owned->target.host[0] = '\0';
    }
}

void health_probe_free(struct owned *owned)
{
    for (size_t i = 0; i < owned->field_count; i++) {
        /* The slices were duplicated by copy_fields. */
        mem_free((void *)(uintptr_t)owned->fields[i].name.data);
        mem_free((void *)(uintptr_t)owned->fields[i].value.data);
    }
    mem_free(owned->fields);
    owned->fields = NULL;
    owned->field_count = 0;
    mem_free(owned->target.path);
    owned->target = (struct probe_target){.path = NULL};
    mem_free(owned->url);
    owned->url = NULL;
}

/* ---- the verdict ----------------------------------------------------------------------------- */

static void on_probe_time(struct loop_timer *timer)
{
    health_probe_start(CONTAINER_OF(timer, struct owned, timer));
}

/* Thresholds hold a new status back until it came often enough in a row. */
static bool threshold_reached(struct owned *owned, enum registry_status status)
{
    if (status == REGISTRY_CRITICAL) {
        owned->successes = 0;
        owned->failures++;
        return owned->failures >= owned->failures_needed;
    }
    owned->failures = 0;
    owned->successes++;
    return owned->successes >= owned->success_needed;
}

static void finish(struct owned *owned, enum registry_status status, const char *text)
{
    owned->probing = false;
    if (!owned->gone) {
        struct loop *loop = owned->health->loop;
        if (threshold_reached(owned, status)) {
            (void)health_verdict(owned, status, bytes_of_str(text), NULL, NULL);
        }
        loop_timer_set(loop, &owned->timer, loop_now(loop) + CLK_MS(owned->interval_ms),
                       on_probe_time);
    }
    health_release(owned);
}

static void finish_failed(struct owned *owned, enum err err)
{
    char text[OUTPUT_MAX];
    const char *verb = owned->type == REGISTRY_CHECK_HTTP ? "HTTP" : "TCP connect";
    (void)snprintf(text, sizeof(text), "%s %s: %s", verb, owned->url, err_text(err));
    finish(owned, REGISTRY_CRITICAL, text);
}

/* ---- HTTP ------------------------------------------------------------------------------------ */

static void on_answer(struct http_fetch *fetch, enum err err)
{
    struct owned *owned = CONTAINER_OF(fetch, struct owned, fetch);
    if (err != ERR_OK) {
        finish_failed(owned, err);
        return;
    }
    char text[OUTPUT_MAX];
    struct bytes body = fetch->answer;
    (void)snprintf(text, sizeof(text), "HTTP %s %s: %u %.*s Output: %.*s", owned->method_name,
                   owned->url, fetch->status, BYTES_PRINT(http1_status_phrase(fetch->status)),
                   BYTES_PRINT(body));
    enum registry_status status = REGISTRY_CRITICAL;
    if (fetch->status >= 200 && fetch->status < 300) {
        status = REGISTRY_PASSING;
    } else if (fetch->status == 429) {
        status = REGISTRY_WARNING;
    }
    finish(owned, status, text);
}

static void fetch(struct owned *owned)
{
    owned->fetch = (struct http_fetch){
        .addr = owned->target.addr,
        .method = owned->method,
        .target = bytes_of_str(owned->target.path),
        .host = bytes_of_str(owned->target.host),
        .fields = owned->fields,
        .field_count = owned->field_count,
        .timeout = CLK_MS(owned->timeout_ms),
        .body_max = BODY_KEPT,
        .cut_body = true,
        .on_done = on_answer,
    };
    http_fetch_start(&owned->health->client, &owned->fetch);
}

/* ---- TCP ------------------------------------------------------------------------------------- */

static void on_conn_closed(struct tcp_conn *conn)
{
    struct owned *owned = CONTAINER_OF(conn, struct owned, conn);
    if (owned->connect_result != ERR_OK) {
        finish_failed(owned, owned->connect_result);
        return;
    }
    char text[OUTPUT_MAX];
    (void)snprintf(text, sizeof(text), "TCP connect %s: Success", owned->url);
    finish(owned, REGISTRY_PASSING, text);
}

static void on_connect(struct tcp_conn *conn, enum err err)
{
    struct owned *owned = CONTAINER_OF(conn, struct owned, conn);
    owned->connect_result = err;
    if (!tcp_is_closing(conn)) {
        tcp_close(conn, on_conn_closed);
    }
}

/* ---- one probe ------------------------------------------------------------------------------- */

static void probe(struct owned *owned)
{
    if (owned->type == REGISTRY_CHECK_HTTP) {
        fetch(owned);
    } else {
        owned->conn = (struct tcp_conn){.fd = 0};
        tcp_connect(&owned->conn, owned->health->loop, &owned->target.addr,
                    CLK_MS(owned->timeout_ms), on_connect);
    }
}

static void look_up(struct job *job)
{
    struct owned *owned = CONTAINER_OF(job, struct owned, lookup);
    size_t count = 0;
    owned->lookup_result =
        net_resolve(owned->target.host, owned->target.port, &owned->target.addr, 1, &count, NULL);
}

static void on_looked_up(struct job *job)
{
    struct owned *owned = CONTAINER_OF(job, struct owned, lookup);
    if (owned->gone || owned->lookup_result != ERR_OK) {
        finish_failed(owned, owned->lookup_result);
        return;
    }
    owned->target.resolved = true;
    owned->target.resolved_at = loop_now(owned->health->loop);
    probe(owned);
}

static void start_look_up(struct owned *owned)
{
    struct health *health = owned->health;
    owned->lookup = (struct job){.work = look_up, .done = on_looked_up};
    enum err err = ERR_OK;
    if (health->lookups == NULL) {
        err = jobs_new(health->loop, &health->lookups, NULL);
    }
    if (err == ERR_OK) {
        err = jobs_run(health->lookups, &owned->lookup);
    }
    if (err != ERR_OK) {
        finish_failed(owned, err);
    }
}

void health_probe_start(struct owned *owned)
{
    CHECK(!owned->gone && !owned->probing);
    owned->probing = true;
    owned->under_way++;
    struct probe_target *target = &owned->target;
    if (target->host[0] == '\0') {
        finish_failed(owned, ERR_BAD_INPUT);
        return;
    }
    if (net_addr_make(bytes_of_str(target->host), target->port, &target->addr) == ERR_OK) {
        probe(owned);
        return;
    }
    bool fresh =
        target->resolved && loop_now(owned->health->loop) < target->resolved_at + LOOKUP_VALID;
    if (fresh) {
        probe(owned);
    } else {
        start_look_up(owned);
    }
}

void health_probe_cancel(struct owned *owned)
{
    if (!owned->probing) {
        return;
    }
    if (owned->type == REGISTRY_CHECK_HTTP && owned->fetch.client != NULL) {
        http_fetch_cancel(&owned->fetch);
    } else if (owned->type == REGISTRY_CHECK_TCP && owned->conn.loop != NULL &&
               !tcp_is_closing(&owned->conn)) {
        owned->connect_result = ERR_CANCELED;
        tcp_close(&owned->conn, on_conn_closed);
    }
}
