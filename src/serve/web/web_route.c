/* Routes: the table's walk, parameters, and plain answers. */
#include "web/web_route.h"

#include "check/check.h"
#include "http/http_query.h"
#include "json/json_out.h"

#include <string.h>

enum {
    ALLOW_MAX = 48
};

/* ---- the table ------------------------------------------------------------------------------- */

/* Whether the row is for this path; *ret_rest: what the star stands for, not decoded. */
static bool row_fits(const struct web_route *row, struct bytes path, struct bytes *ret_rest)
{
    struct bytes pattern = bytes_of_str(row->path);
    CHECK(pattern.len > 0);
    if (pattern.data[pattern.len - 1] != '*') {
        *ret_rest = bytes_of(NULL, 0);
        return bytes_eq(path, pattern);
    }
    pattern.len--;
    if (!bytes_has_prefix(path, pattern)) {
        return false;
    }
    *ret_rest = bytes_from(path, pattern.len);
    return true;
}

static unsigned method_bit(enum http1_method method)
{
    switch (method) {
    case HTTP1_METHOD_GET:
    case HTTP1_METHOD_HEAD:
        return WEB_GET;
    case HTTP1_METHOD_PUT:
        return WEB_PUT;
    case HTTP1_METHOD_POST:
        return WEB_POST;
    case HTTP1_METHOD_DELETE:
        return WEB_DELETE;
    case HTTP1_METHOD_OTHER:
    case HTTP1_METHOD_OPTIONS:
    case HTTP1_METHOD_PATCH:
    case HTTP1_METHOD_TRACE:
    case HTTP1_METHOD_CONNECT:
    case HTTP1_METHOD_COUNT:
    default:
        return 0;
    }
}

static void add_allowed(char *list, const char *name)
{
    size_t used = strlen(list);
    size_t len = strlen(name);
    CHECK(used + len < ALLOW_MAX);
    memcpy(list + used, name, len + 1);
}

static void list_methods(unsigned methods, char list[ALLOW_MAX])
{
    list[0] = '\0';
    add_allowed(list, "OPTIONS");
    if ((methods & WEB_GET) != 0) {
        add_allowed(list, ",GET,HEAD");
    }
    if ((methods & WEB_PUT) != 0) {
        add_allowed(list, ",PUT");
    }
    if ((methods & WEB_POST) != 0) {
        add_allowed(list, ",POST");
    }
    if ((methods & WEB_DELETE) != 0) {
        add_allowed(list, ",DELETE");
    }
}

static void answer_options(struct http_request *request, const char *allow)
{
    struct http_field field = {BYTES_LITERAL("Allow"), bytes_of_str(allow)};
    struct http_answer answer = {.status = 200, .fields = &field, .field_count = 1};
    http_respond(request, &answer);
}

static void handle(const struct web_route *row, struct web_door *door, struct http_request *request,
                   struct bytes rest)
{
    char allow[ALLOW_MAX];
    list_methods(row->methods, allow);
    if (request->method == HTTP1_METHOD_OPTIONS) {
        answer_options(request, allow);
        return;
    }
    if ((method_bit(request->method) & row->methods) == 0) {
        web_refuse_method(door, request, allow);
        return;
    }
    struct web_ask ask = {.door = door, .http = request};
    enum err err = http_percent_decode(rest, HTTP_PLUS_IS_PLUS, request->arena, &ask.rest);
    if (err != ERR_OK) {
        web_refuse(door, request, err, "the path has a malformed escape");
        return;
    }
    row->handle(&ask);
}

bool web_route(const struct web_route *routes, size_t count, struct web_door *door,
               struct http_request *request)
{
    for (size_t i = 0; i < count; i++) {
        struct bytes rest;
        if (row_fits(&routes[i], request->path, &rest)) {
            handle(&routes[i], door, request, rest);
            return true;
        }
    }
    return false;
}

/* ---- parameters ------------------------------------------------------------------------------ */

bool web_param(const struct web_ask *ask, const char *name, struct bytes *ret_value)
{
    return http_query_get(ask->http->query, name, ask->http->arena, ret_value) == ERR_OK;
}

bool web_flag(const struct web_ask *ask, const char *name)
{
    struct bytes value;
    return web_param(ask, name, &value) && !bytes_eq_str(value, "0") &&
           !bytes_eq_nocase(value, BYTES_LITERAL("false"));
}

/* ---- answers --------------------------------------------------------------------------------- */

void web_json_begin(const struct web_ask *ask, struct json_out *ret_out)
{
    buf_clear(ask->http->out);
    json_out_init(ret_out, ask->http->out, web_flag(ask, "pretty"));
}

void web_answer_json(const struct web_ask *ask, const struct json_out *out,
                     const struct http_field *fields, size_t field_count)
{
    if (out->err != ERR_OK) {
        web_refuse_status(ask->door, ask->http, 500, "answer_too_large",
                          "the answer is too large; ask for less");
        return;
    }
    struct http_answer answer = {
        .status = 200,
        .content_type = BYTES_LITERAL("application/json"),
        .fields = fields,
        .field_count = field_count,
        .body = buf_bytes(ask->http->out),
    };
    http_respond(ask->http, &answer);
}

void web_answer_text(const struct web_ask *ask, uint16_t status, const char *content_type,
                     const char *text)
{
    struct http_answer answer = {
        .status = status,
        .content_type = content_type == NULL ? bytes_of(NULL, 0) : bytes_of_str(content_type),
        .body = bytes_of_str(text),
    };
    http_respond(ask->http, &answer);
}
