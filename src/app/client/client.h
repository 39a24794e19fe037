/* The client: what the commands of the command line need to ask a node over HTTP.
 *
 * Place: app, over io/http/http_call. Each function prints its own failure as one line on standard
 * error, and returns the program's exit code. */
#ifndef CLIENT_CLIENT_H
#define CLIENT_CLIENT_H

#include "http/http_call.h"

#include <jansson.h>

/* Exit codes of all commands; documented in --help and README. */
enum client_exit {
    CLIENT_OK = 0,
    CLIENT_FAILED = 1,      /* the server refused or failed; or the thing is not there */
    CLIENT_USAGE = 2,       /* the command line is wrong */
    CLIENT_UNREACHABLE = 3, /* no answer from the server */
};

enum {
    CLIENT_TARGET_MAX = 8192,
    CLIENT_TIMEOUT_S = 15
};

#define CLIENT_ADDR_DEFAULT "127.0.0.1:8500"

struct client {
    const char *command; /* for messages: "flotilla kv get" */
    const char *addr_text;
    struct net_addr addr;
    uint64_t timeout_s;
};

/* addr_text: HOST:PORT as given, NULL: FLOTILLA_ADDR, then the default. Names are looked up. */
int client_open(struct client *client, const char *command, const char *addr_text,
                uint64_t timeout_s);
/* The same client for another node. */
int client_open_other(const struct client *client, struct bytes addr_text,
                      struct client *ret_other);

/* One request; any status is CLIENT_OK. The reply is the caller's (http_reply_done). */
int client_ask(const struct client *client, enum http1_method method, struct bytes target,
               struct bytes body, struct http_reply *ret_reply);
/* The same, quiet: what would have been printed goes to the note. */
ERR_CHECKED enum err client_try(const struct client *client, enum http1_method method,
                                struct bytes target, struct bytes body,
                                struct http_reply *ret_reply, struct err_note *note);
/* Prints why the server refused; returns CLIENT_FAILED. */
int client_refused(const struct client *client, const struct http_reply *reply);
/* One request whose answer must be 2xx. */
int client_do(const struct client *client, enum http1_method method, struct bytes target,
              struct bytes body);
/* GET, 2xx, JSON. ret_json is the caller's (json_decref). */
int client_json(const struct client *client, struct bytes target, json_t **ret_json);
/* A JSON text as a tree. ERR_BAD_INPUT. */
ERR_CHECKED enum err client_parse(struct bytes text, json_t **ret_json);

/* Members of objects; "" and 0 when they are not there. Borrowed. */
const char *client_text(const json_t *object, const char *key);
uint64_t client_number(const json_t *object, const char *key);

/* One line on standard error, "COMMAND: text"; returns code. */
int client_fail(const struct client *client, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Writes to standard output; a failure to write is CLIENT_FAILED. */
int client_print(const struct client *client, struct bytes text);
/* Prints a JSON tree, indented. */
int client_print_json(const struct client *client, const json_t *json);

#endif
