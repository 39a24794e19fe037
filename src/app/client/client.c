/* Asking a node, and telling people what went wrong. */
#include "client/client.h"

#include "text/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    HOST_MAX = 256,
    EXPLANATION_MAX = 512
};

/* ---- printing -------------------------------------------------------------------------------- */

int client_fail(const struct client *client, int code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)fprintf(stderr, "%s: ", client->command);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    va_end(args);
    return code;
}

int client_print(const struct client *client, struct bytes text)
{
    if ((text.len > 0 && fwrite(text.data, 1, text.len, stdout) != text.len) ||
        fflush(stdout) != 0) {
        return client_fail(client, CLIENT_FAILED, "cannot write the output: %s",
                           strerrordesc_np(errno));
    }
    return CLIENT_OK;
}

int client_print_json(const struct client *client, const json_t *json)
{
    if (json_dumpf(json, stdout, JSON_INDENT(2)) != 0 || putchar('\n') == EOF ||
        fflush(stdout) != 0) {
        return client_fail(client, CLIENT_FAILED, "cannot write the output");
    }
    return CLIENT_OK;
}

/* ---- addresses ------------------------------------------------------------------------------- */

static enum err parse_addr(const char *text, struct net_addr *ret_addr, struct err_note *note)
{
    char host[HOST_MAX];
    uint16_t port = 0;
    enum err err = text_parse_host_port(bytes_of_str(text), host, sizeof(host), &port);
    if (err != ERR_OK || port == 0) {
        return err_note_set(note, ERR_BAD_INPUT, "\"%s\" is not an address like %s", text,
                            CLIENT_ADDR_DEFAULT);
    }
    if (net_addr_make(bytes_of_str(host), port, ret_addr) == ERR_OK) {
        return ERR_OK;
    }
    size_t count = 0;
    return net_resolve(host, port, ret_addr, 1, &count, note);
}

int client_open(struct client *client, const char *command, const char *addr_text,
                uint64_t timeout_s)
{
    const char *from = "--addr";
    if (addr_text == NULL) {
        addr_text = getenv("FLOTILLA_ADDR");
        from = "FLOTILLA_ADDR";
    }
    if (addr_text == NULL || addr_text[0] == '\0') {
        addr_text = CLIENT_ADDR_DEFAULT;
    }
    *client = (struct client){.command = command, .addr_text = addr_text, .timeout_s = timeout_s};
    struct err_note note = {{0}};
    enum err err = parse_addr(addr_text, &client->addr, &note);
    if (err == ERR_BAD_INPUT) {
        return client_fail(client, CLIENT_USAGE, "%s: %s", from, note.text);
    }
    if (err != ERR_OK) {
        return client_fail(client, CLIENT_UNREACHABLE, "%s: %s", from, note.text);
    }
    return CLIENT_OK;
}

int client_open_other(const struct client *client, struct bytes addr_text, struct client *ret_other)
{
    *ret_other = *client;
    if (net_addr_parse(addr_text, &ret_other->addr) != ERR_OK) {
        return CLIENT_UNREACHABLE;
    }
    return CLIENT_OK;
}

/* ---- asking ---------------------------------------------------------------------------------- */

enum err client_try(const struct client *client, enum http1_method method, struct bytes target,
                    struct bytes body, struct http_reply *ret_reply, struct err_note *note)
{
    struct http_call call = {.addr = client->addr,
                             .method = method,
                             .target = target,
                             .body = body,
                             .timeout = CLK_S(client->timeout_s)};
    return http_call(&call, ret_reply, note);
}

int client_ask(const struct client *client, enum http1_method method, struct bytes target,
               struct bytes body, struct http_reply *ret_reply)
{
    struct err_note note = {{0}};
    enum err err = client_try(client, method, target, body, ret_reply, &note);
    return err == ERR_OK ? CLIENT_OK : client_fail(client, CLIENT_UNREACHABLE, "%s", note.text);
}

enum err client_parse(struct bytes text, json_t **ret_json)
{
    json_error_t error;
    json_t *json = json_loadb((const char *)text.data, text.len, JSON_DECODE_ANY, &error);
    if (json == NULL) {
        return ERR_BAD_INPUT;
    }
    *ret_json = json;
    return ERR_OK;
}

int client_refused(const struct client *client, const struct http_reply *reply)
{
    char text[EXPLANATION_MAX];
    json_t *json = NULL;
    struct bytes body = buf_bytes(&reply->body);
    if (client_parse(body, &json) == ERR_OK && client_text(json, "error")[0] != '\0') {
        (void)snprintf(text, sizeof(text), "%s", client_text(json, "error"));
    } else {
        (void)snprintf(text, sizeof(text), "%.*s", BYTES_PRINT(body));
    }
    json_decref(json);
    text[strcspn(text, "\r\n")] = '\0';
    return client_fail(client, CLIENT_FAILED, "%s answers %u%s%s", client->addr_text, reply->status,
                       text[0] == '\0' ? "" : ": ", text);
}

static bool is_success(const struct http_reply *reply)
{
    return reply->status >= 200 && reply->status < 300;
}

int client_do(const struct client *client, enum http1_method method, struct bytes target,
              struct bytes body)
{
    struct http_reply reply;
    int code = client_ask(client, method, target, body, &reply);
    if (code != CLIENT_OK) {
        return code;
    }
    code = is_success(&reply) ? CLIENT_OK : client_refused(client, &reply);
    http_reply_done(&reply);
    return code;
}

int client_json(const struct client *client, struct bytes target, json_t **ret_json)
{
    struct http_reply reply;
    int code = client_ask(client, HTTP1_METHOD_GET, target, (struct bytes){NULL, 0}, &reply);
    if (code != CLIENT_OK) {
        return code;
    }
    if (!is_success(&reply)) {
        code = client_refused(client, &reply);
    } else if (client_parse(buf_bytes(&reply.body), ret_json) != ERR_OK) {
        code = client_fail(client, CLIENT_FAILED, "%s does not answer JSON: is it a Flotilla node?",
                           client->addr_text);
    }
    http_reply_done(&reply);
    return code;
}

const char *client_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text == NULL ? "" : text;
}

uint64_t client_number(const json_t *object, const char *key)
{
    json_int_t number = json_integer_value(json_object_get(object, key));
    return number < 0 ? 0 : (uint64_t)number;
}
