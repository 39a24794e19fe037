/* Web: refusals, and the one table from error codes to HTTP statuses. */
#include "check/check.h"
#include "web/web.h"
#include "json/json_out.h"

#include <stdarg.h>
#include <stdio.h>

enum {
    TEXT_MAX = 1024,
    FIELDS_MAX = 3
};

/* Consul answers everything but bad input with 500; what a balancer must be able to tell apart
 * (busy, unknown, no leader) has its own status for doors of our own. */
static const struct {
    uint16_t plain;
    uint16_t json;
    const char *text; /* NULL: err_text */
} statuses[ERR_COUNT] = {
    [ERR_BAD_INPUT] = {400, 400, NULL},
    [ERR_TOO_LARGE] = {413, 413, NULL},
    [ERR_INCOMPLETE] = {400, 400, NULL},
    [ERR_FULL] = {429, 429, "too busy: a queue is full; try again"},
    [ERR_NOT_FOUND] = {404, 404, NULL},
    [ERR_EXISTS] = {409, 409, NULL},
    [ERR_CONFLICT] = {409, 409, NULL},
    [ERR_DENIED] = {403, 403, "Permission denied"},
    [ERR_UNSUPPORTED] = {501, 501, NULL},
    [ERR_REFUSED] = {500, 502, NULL},
    [ERR_TIMEOUT] = {500, 504, NULL},
    [ERR_NOT_LEADER] = {500, 503, "No cluster leader"},
    [ERR_NO_LEADER] = {500, 503, "No cluster leader"},
    [ERR_UNKNOWN] = {500, 504,
                     "the outcome is unknown: the write may have happened or may still happen"},
    [ERR_STOPPING] = {500, 503, NULL},
};

uint16_t web_error_status(enum web_errors errors, enum err err)
{
    CHECK(err > ERR_OK && err < ERR_COUNT);
    uint16_t status = errors == WEB_ERRORS_PLAIN ? statuses[err].plain : statuses[err].json;
    return status == 0 ? 500 : status;
}

static const char *sentence_of(enum err err)
{
    return statuses[err].text != NULL ? statuses[err].text : err_text(err);
}

/* What is refused, in one piece. */
struct refusal {
    uint16_t status;
    bool retry;
    const char *reason;
    const char *allow; /* or NULL */
    const char *text;
};

/* Builds the body in request->out, which holds whatever was tried before. */
static void write_body(enum web_errors errors, struct http_request *request,
                       const struct refusal *refusal)
{
    buf_clear(request->out);
    enum err err = ERR_OK;
    if (errors == WEB_ERRORS_PLAIN) {
        err = buf_append(request->out, bytes_of_str(refusal->text));
    } else {
        struct json_out out;
        json_out_init(&out, request->out, false);
        json_out_object(&out);
        json_out_field_str(&out, "error", refusal->text);
        json_out_field_str(&out, "reason", refusal->reason);
        json_out_object_end(&out);
        err = out.err;
    }
    CHECK(err == ERR_OK);
}

static void refuse(const struct web_door *door, struct http_request *request,
                   const struct refusal *refusal)
{
    struct http_field fields[FIELDS_MAX];
    size_t count = 0;
    fields[count++] = (struct http_field){
        BYTES_LITERAL("X-Flotilla-Reason"),
        bytes_of_str(refusal->reason),
    };
    if (refusal->retry) {
        fields[count++] = (struct http_field){BYTES_LITERAL("Retry-After"), BYTES_LITERAL("1")};
    }
    if (refusal->allow != NULL) {
        fields[count++] = (struct http_field){BYTES_LITERAL("Allow"), bytes_of_str(refusal->allow)};
    }
    write_body(door->errors, request, refusal);
    struct http_answer answer = {
        .status = refusal->status,
        .content_type = door->errors == WEB_ERRORS_PLAIN
                            ? BYTES_LITERAL("text/plain; charset=utf-8")
                            : BYTES_LITERAL("application/json"),
        .fields = fields,
        .field_count = count,
        .body = buf_bytes(request->out),
    };
    http_respond(request, &answer);
}

void web_refuse(struct web_door *door, struct http_request *request, enum err err,
                const char *format, ...)
{
    char text[TEXT_MAX];
    if (format != NULL) {
        va_list args;
        va_start(args, format);
        (void)vsnprintf(text, sizeof(text), format, args);
        va_end(args);
    }
    struct refusal refusal = {
        .status = web_error_status(door->errors, err),
        .retry = err_retryable(err) && err != ERR_UNKNOWN,
        .reason = err_name(err),
        .text = format != NULL ? text : sentence_of(err),
    };
    refuse(door, request, &refusal);
}

void web_refuse_status(struct web_door *door, struct http_request *request, uint16_t status,
                       const char *reason, const char *format, ...)
{
    char text[TEXT_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    struct refusal refusal = {.status = status, .reason = reason, .text = text};
    refuse(door, request, &refusal);
}

void web_refuse_method(struct web_door *door, struct http_request *request, const char *allow)
{
    char text[TEXT_MAX];
    (void)snprintf(text, sizeof(text), "method %.*s not allowed",
                   BYTES_PRINT(request->method_name));
    struct refusal refusal = {
        .status = 405,
        .reason = "method_not_allowed",
        .allow = allow,
        .text = text,
    };
    refuse(door, request, &refusal);
}
