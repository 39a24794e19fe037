/* Routes of a door: a table of paths and methods, and parameters of a request.
 *
 * Place: serve/web. A path of the table is exact, or ends in a slash and a star: then the rest of
 * the path, percent-decoded once, is the route's argument (it may contain slashes and be empty).
 * The first row that fits wins, so longer paths stand above shorter ones. */
#ifndef WEB_WEB_ROUTE_H
#define WEB_WEB_ROUTE_H

#include "web/web.h"

enum {
    WEB_GET = 1, /* HEAD, too */
    WEB_PUT = 2,
    WEB_POST = 4,
    WEB_DELETE = 8
};

/* One request on its way to a handler; slices are borrowed until the request is ended. */
struct web_ask {
    struct web_door *door;
    struct http_request *http;
    struct bytes rest; /* decoded; empty for exact paths */
};

struct web_route {
    const char *path;
    unsigned methods; /* WEB_GET | ... */
    void (*handle)(const struct web_ask *ask);
};

/* Calls the handler. A wrong method is answered with 405, OPTIONS with the list; false: no row has
 * this path, nothing was answered. */
bool web_route(const struct web_route *routes, size_t count, struct web_door *door,
               struct http_request *request);

/* The decoded value of a query parameter; false when it is not there (or has a malformed escape,
 * or the arena is full: *ret_value is untouched). "" when it has no value. */
bool web_param(const struct web_ask *ask, const char *name, struct bytes *ret_value);
/* Whether it is there and not "0" or "false". */
bool web_flag(const struct web_ask *ask, const char *name);

/* Ends the request with 200, JSON that is complete in request->out, and these further fields. out's
 * failure (the answer is too large) is answered with 500. */
struct json_out;
void web_answer_json(const struct web_ask *ask, const struct json_out *out,
                     const struct http_field *fields, size_t field_count);
/* Prepares a writer on the empty request->out; indents when ?pretty is there. */
void web_json_begin(const struct web_ask *ask, struct json_out *ret_out);
/* Ends the request with this status and text; content_type NULL: none. */
void web_answer_text(const struct web_ask *ask, uint16_t status, const char *content_type,
                     const char *text);

#endif
