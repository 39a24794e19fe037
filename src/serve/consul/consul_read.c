/* The Consul door: options and headers that all reads have in common.
 *
 * Source: Consul's HTTP API, "Blocking Queries" and "Consistency Modes". */
#include "check/check.h"
#include "consul/consul_priv.h"
#include "http/http_query.h"
#include "text/text.h"

#include <stdio.h>

enum {
    WAIT_DEFAULT_MS = 5 * 60 * 1000,
    WAIT_MAX_MS = 10 * 60 * 1000,
    JITTER_PART = 16
};

bool consul_refuse_scope(const struct web_ask *ask)
{
    struct bytes value;
    const struct node_cfg *cfg = consul_cfg(ask);
    if (web_param(ask, "dc", &value) && value.len > 0 &&
        !bytes_eq_nocase(value, bytes_of_str(cfg->datacenter))) {
        web_refuse_status(ask->door, ask->http, 500, "no_such_datacenter", "No path to datacenter");
        return true;
    }
    static const char *const scopes[] = {"ns", "partition", "peer", "sg"};
    for (size_t i = 0; i < sizeof(scopes) / sizeof(scopes[0]); i++) {
        if (web_param(ask, scopes[i], &value) && value.len > 0 && !bytes_eq_str(value, "default")) {
            web_refuse(ask->door, ask->http, ERR_BAD_INPUT,
                       "Invalid query parameter: \"%s\" - only \"default\" is there", scopes[i]);
            return true;
        }
    }
    return false;
}

bool consul_refuse_name(const struct web_ask *ask, const char *what)
{
    if (ask->rest.len == 0) {
        web_refuse(ask->door, ask->http, ERR_BAD_INPUT, "Missing %s", what);
        return true;
    }
    if (ask->rest.len > CONSUL_NAME_MAX) {
        web_refuse(ask->door, ask->http, ERR_BAD_INPUT, "the %s has more than %d bytes", what,
                   CONSUL_NAME_MAX);
        return true;
    }
    return false;
}

static bool parse_consistency(struct consul_read *read)
{
    const struct web_ask *ask = &read->ask;
    bool stale = http_query_has(ask->http->query, "stale");
    bool consistent = http_query_has(ask->http->query, "consistent");
    if (stale && consistent) {
        web_refuse(ask->door, ask->http, ERR_BAD_INPUT,
                   "Cannot specify ?stale with ?consistent, conflicting semantics.");
        return false;
    }
    read->read.consistency = stale ? NODE_STALE : NODE_CONSISTENT;
    read->label = stale ? "stale" : consistent ? "consistent" : "leader";
    return true;
}

static bool parse_blocking(struct consul_read *read)
{
    const struct web_ask *ask = &read->ask;
    struct bytes value;
    uint64_t wait_ms = 0;
    if (web_param(ask, "index", &value) && value.len > 0 &&
        text_parse_u64(value, &read->read.min_index) != ERR_OK) {
        web_refuse(ask->door, ask->http, ERR_BAD_INPUT, "Invalid index");
        return false;
    }
    if (web_param(ask, "wait", &value) && value.len > 0 &&
        text_parse_duration_ms(value, &wait_ms) != ERR_OK) {
        web_refuse(ask->door, ask->http, ERR_BAD_INPUT, "Invalid wait time");
        return false;
    }
    wait_ms = wait_ms == 0 ? WAIT_DEFAULT_MS : wait_ms;
    wait_ms = wait_ms > WAIT_MAX_MS ? WAIT_MAX_MS : wait_ms;
    /* Spreads the answers of many clients that began to wait at the same moment. */
    uint64_t jitter = wait_ms / JITTER_PART;
    if (read->read.min_index > 0 && jitter > 0) {
        wait_ms += rnd_below(loop_rnd(ask->door->web->loop), jitter + 1);
    }
    read->read.wait_ms = wait_ms;
    return true;
}

/* Filters: tag and node-meta may be repeated. */
static bool parse_filters(struct consul_read *read)
{
    const struct web_ask *ask = &read->ask;
    struct bytes query = ask->http->query;
    struct http_param param;
    while (http_query_next(&query, &param)) {
        if (bytes_eq_str(param.name, "filter") && param.value.len > 0) {
            web_refuse_status(ask->door, ask->http, 400, "not_built",
                              "filter expressions are not built into this version of Flotilla");
            return false;
        }
        if (bytes_eq_str(param.name, "node-meta") && param.value.len > 0) {
            read->no_match = true; /* nodes have no metadata */
        }
        if (!bytes_eq_str(param.name, "tag") || param.value.len == 0) {
            continue;
        }
        if (read->tag_count == CONSUL_TAG_FILTERS_MAX ||
            http_percent_decode(param.value, HTTP_PLUS_IS_SPACE, ask->http->arena,
                                &read->tags[read->tag_count]) != ERR_OK) {
            web_refuse(ask->door, ask->http, ERR_BAD_INPUT, "Invalid or too many tags");
            return false;
        }
        read->tag_count++;
    }
    read->passing = web_flag(ask, "passing");
    return true;
}

static void answer(struct web_read *web_read, const struct node_snapshot *snapshot, uint64_t index);

struct consul_read *consul_agent_read_new(const struct web_ask *ask)
{
    struct consul_read *read = web_op_new(ask->door, ask->http, sizeof(*read));
    if (read == NULL) {
        return NULL;
    }
    read->ask = *ask;
    read->read.answer = answer;
    read->read.consistency = NODE_STALE;
    if (consul_refuse_scope(ask) || !parse_filters(read)) {
        return NULL;
    }
    return read;
}

struct consul_read *consul_read_new(const struct web_ask *ask)
{
    struct consul_read *read = consul_agent_read_new(ask);
    if (read == NULL || !parse_consistency(read) || !parse_blocking(read)) {
        return NULL;
    }
    return read;
}

void consul_read_watch(struct consul_read *read, enum table_id table, struct bytes key, bool prefix)
{
    CHECK(read->read.topic_count < WEB_TOPICS_MAX);
    read->read.topics[read->read.topic_count++] =
        (struct web_topic){.table = table, .key = key, .prefix = prefix};
}

void consul_read_start(struct consul_read *read)
{
    CHECK(read->render != NULL);
    web_read_start(&read->read);
}

/* ---- answers --------------------------------------------------------------------------------- */

static void add_header(struct consul_headers *headers, const char *name, const char *value)
{
    CHECK(headers->count < sizeof(headers->fields) / sizeof(headers->fields[0]));
    headers->fields[headers->count++] =
        (struct http_field){bytes_of_str(name), bytes_of_str(value)};
}

void consul_headers_make(struct consul_headers *headers, const struct consul_read *read,
                         const struct node_snapshot *snapshot, uint64_t index)
{
    headers->count = 0;
    if (read->label == NULL) {
        return;
    }
    (void)snprintf(headers->index, sizeof(headers->index), "%llu", (unsigned long long)index);
    (void)snprintf(headers->contact, sizeof(headers->contact), "%llu",
                   (unsigned long long)snapshot->last_contact_ms);
    add_header(headers, "X-Consul-Index", headers->index);
    add_header(headers, "X-Consul-KnownLeader", snapshot->known_leader ? "true" : "false");
    add_header(headers, "X-Consul-LastContact", headers->contact);
    add_header(headers, "X-Consul-Effective-Consistency", read->label);
}

static void answer(struct web_read *web_read, const struct node_snapshot *snapshot, uint64_t index)
{
    struct consul_read *read = CONTAINER_OF(web_read, struct consul_read, read);
    struct json_out out;
    struct consul_headers headers;
    struct consul_view view = {
        .txn = snapshot->txn,
        .cfg = consul_cfg(&read->ask),
        .out = &out,
        .arena = read->ask.http->arena,
    };
    web_json_begin(&read->ask, &out);
    enum err err = read->render(read, &view);
    if (err == ERR_NOT_FOUND && read->catches_up) {
        /* It may have been registered through another node a moment ago. */
        read->catches_up = false;
        read->read.consistency = NODE_CONSISTENT;
        web_read_start(&read->read);
        return;
    }
    if (err == ERR_NOT_FOUND && read->missing != NULL) {
        char text[512];
        (void)snprintf(text, sizeof(text), "%s\"%.*s\"", read->missing,
                       BYTES_PRINT(read->ask.rest));
        web_refuse(read->ask.door, read->ask.http, err, "%s", text);
        return;
    }
    if (err != ERR_OK) {
        web_refuse(read->ask.door, read->ask.http, err == ERR_NOT_FOUND ? ERR_CORRUPT : err, NULL);
        return;
    }
    consul_headers_make(&headers, read, snapshot, index);
    web_answer_json(&read->ask, &out, headers.fields, headers.count);
}
