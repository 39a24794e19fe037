/* flotilla kv: over Consul's endpoints /v1/kv. */
#include "cli/cli_priv.h"
#include "grid/grid.h"
#include "kv/kv.h"
#include "text/text.h"

#include <stdio.h>
#include <string.h>

static const struct bytes NO_BODY = {NULL, 0};

/* ---- get ------------------------------------------------------------------------------------- */

static int print_value(const struct cli_work *work, const struct http_reply *reply)
{
    if (!work->options.json) {
        return client_print(&work->client, buf_bytes(&reply->body));
    }
    json_t *rows = NULL;
    if (client_parse(buf_bytes(&reply->body), &rows) != ERR_OK) {
        return client_fail(&work->client, CLIENT_FAILED, "the answer is not JSON");
    }
    int code = client_print_json(&work->client, json_array_get(rows, 0));
    json_decref(rows);
    return code;
}

int cli_kv_get(const struct cli_call *call)
{
    struct cli_work work;
    int code = cli_begin(call, 1, 1, &work);
    if (work.ended) {
        return code;
    }
    const char *key = work.words.at[0];
    char suffix[32];
    (void)snprintf(suffix, sizeof(suffix), "?%s%s", work.options.json ? "" : "raw&",
                   work.options.stale ? "stale" : "consistent");
    char target[CLIENT_TARGET_MAX];
    code = cli_target(&work, "/v1/kv/", key, suffix, target);
    struct http_reply reply;
    if (code == CLIENT_OK) {
        code = client_ask(&work.client, HTTP1_METHOD_GET, bytes_of_str(target), NO_BODY, &reply);
    }
    if (code != CLIENT_OK) {
        return code;
    }
    if (reply.status == 200) {
        code = print_value(&work, &reply);
    } else if (reply.status == 404) {
        code = client_fail(&work.client, CLIENT_FAILED, "no key \"%s\"", key);
    } else {
        code = client_refused(&work.client, &reply);
    }
    http_reply_done(&reply);
    return code;
}

/* ---- put, cas, delete ------------------------------------------------------------------------ */

/* Consul answers "true" or "false" in a 200. */
static int write_key(const struct cli_work *work, enum http1_method method, const char *target,
                     struct bytes body, const char *refusal)
{
    struct http_reply reply;
    int code = client_ask(&work->client, method, bytes_of_str(target), body, &reply);
    if (code != CLIENT_OK) {
        return code;
    }
    struct bytes answer = buf_bytes(&reply.body);
    bool done = bytes_has_prefix(answer, BYTES_LITERAL("true"));
    if (reply.status != 200) {
        code = client_refused(&work->client, &reply);
    } else if (!done) {
        code = client_fail(&work->client, CLIENT_FAILED, "%s", refusal);
    }
    http_reply_done(&reply);
    if (work->options.json && (code == CLIENT_OK || !done)) {
        int printed =
            client_print(&work->client, done ? BYTES_LITERAL("true\n") : BYTES_LITERAL("false\n"));
        code = code == CLIENT_OK ? printed : code;
    }
    return code;
}

/* suffix: the query. */
static int put_value(const struct cli_work *work, const char *suffix, const char *refusal)
{
    char target[CLIENT_TARGET_MAX];
    struct buf value;
    buf_init(&value, KV_VALUE_MAX + 1);
    int code = cli_target(work, "/v1/kv/", work->words.at[0], suffix, target);
    if (code == CLIENT_OK) {
        code = cli_read_value(work, work->words.at[1], &value);
    }
    if (code == CLIENT_OK) {
        code = write_key(work, HTTP1_METHOD_PUT, target, buf_bytes(&value), refusal);
    }
    buf_done(&value);
    return code;
}

int cli_kv_put(const struct cli_call *call)
{
    struct cli_work work;
    int code = cli_begin(call, 2, 2, &work);
    if (work.ended) {
        return code;
    }
    char suffix[48] = "";
    if (work.options.flags > 0) {
        (void)snprintf(suffix, sizeof(suffix), "?flags=%llu",
                       (unsigned long long)work.options.flags);
    }
    return put_value(&work, suffix, "refused");
}

int cli_kv_cas(const struct cli_call *call)
{
    struct cli_work work;
    int code = cli_begin(call, 2, 2, &work);
    if (work.ended) {
        return code;
    }
    if (!work.options.has_index) {
        return cli_usage(call, "--index N is missing: the ModifyIndex that the key must have, 0: "
                               "the key must not be there");
    }
    char suffix[48];
    (void)snprintf(suffix, sizeof(suffix), "?cas=%llu", (unsigned long long)work.options.index);
    return put_value(&work, suffix, "not written: the key has another index");
}

int cli_kv_delete(const struct cli_call *call)
{
    struct cli_work work;
    int code = cli_begin(call, 1, 1, &work);
    if (work.ended) {
        return code;
    }
    char suffix[48] = "";
    if (work.options.recurse) {
        (void)snprintf(suffix, sizeof(suffix), "?recurse");
    } else if (work.options.has_index) {
        (void)snprintf(suffix, sizeof(suffix), "?cas=%llu", (unsigned long long)work.options.index);
    }
    char target[CLIENT_TARGET_MAX];
    code = cli_target(&work, "/v1/kv/", work.words.at[0], suffix, target);
    return code != CLIENT_OK ? code
                             : write_key(&work, HTTP1_METHOD_DELETE, target, NO_BODY,
                                         "not deleted: the key has another index");
}

/* ---- ls -------------------------------------------------------------------------------------- */

static size_t value_size(const json_t *row)
{
    const char *text = client_text(row, "Value");
    size_t len = strlen(text);
    size_t padding = 0;
    while (padding < 2 && padding < len && text[len - 1 - padding] == '=') {
        padding++;
    }
    return len / 4 * 3 - padding;
}

static int print_keys(const struct cli_work *work, const json_t *rows)
{
    static const char *const HEADINGS[] = {"KEY", "BYTES", "FLAGS", "INDEX"};
    struct grid grid;
    grid_init(&grid, 4, HEADINGS);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        grid_cell(&grid, "%s", client_text(row, "Key"));
        grid_cell(&grid, "%zu", value_size(row));
        grid_cell(&grid, "%llu", (unsigned long long)client_number(row, "Flags"));
        grid_cell(&grid, "%llu", (unsigned long long)client_number(row, "ModifyIndex"));
    }
    struct buf text;
    buf_init(&text, GRID_BYTES_MAX);
    int code = grid_print(&grid, &text) == ERR_OK
                   ? client_print(&work->client, buf_bytes(&text))
                   : client_fail(&work->client, CLIENT_FAILED, "too many keys to print");
    buf_done(&text);
    grid_done(&grid);
    return code;
}

int cli_kv_ls(const struct cli_call *call)
{
    struct cli_work work;
    int code = cli_begin(call, 0, 1, &work);
    if (work.ended) {
        return code;
    }
    char target[CLIENT_TARGET_MAX];
    code = cli_target(&work, "/v1/kv/", work.words.count > 0 ? work.words.at[0] : "",
                      work.options.stale ? "?recurse&stale" : "?recurse&consistent", target);
    struct http_reply reply;
    if (code == CLIENT_OK) {
        code = client_ask(&work.client, HTTP1_METHOD_GET, bytes_of_str(target), NO_BODY, &reply);
    }
    if (code != CLIENT_OK) {
        return code;
    }
    json_t *rows = NULL;
    struct bytes none = BYTES_LITERAL("[]");
    if (reply.status != 200 && reply.status != 404) {
        code = client_refused(&work.client, &reply);
    } else if (client_parse(reply.status == 404 ? none : buf_bytes(&reply.body), &rows) != ERR_OK) {
        code = client_fail(&work.client, CLIENT_FAILED, "the answer is not JSON");
    } else {
        code = work.options.json ? client_print_json(&work.client, rows) : print_keys(&work, rows);
    }
    json_decref(rows);
    http_reply_done(&reply);
    return code;
}
