/* One HTTP request, blocking, on a loop of its own: for the CLI and for tools.
 *
 * Place: io/http, over http/http_client.h. Never on a thread that runs a loop. */
#ifndef HTTP_HTTP_CALL_H
#define HTTP_HTTP_CALL_H

#include "http/http_client.h"

/* What comes back, owned by the caller until http_reply_done. */
struct http_reply {
    uint16_t status;
    struct http1_head head; /* spans lie in head_bytes */
    struct buf head_bytes;
    struct buf body;
};

/* What to ask; slices are borrowed until the call returns. */
struct http_call {
    struct net_addr addr;
    enum http1_method method;
    struct bytes target; /* path and query as sent, begins with '/' */
    const struct http_field *fields;
    size_t field_count;
    struct bytes body;
    clk_ns timeout;  /* for everything, > 0 */
    size_t body_max; /* a longer answer is ERR_TOO_LARGE; 0: 64 MiB */
    /* Not NULL: gets the body of a 2xx answer piece by piece, and the reply has none; slices are
     * borrowed. Anything but ERR_OK ends the call. */
    enum err (*take)(void *context, struct bytes piece);
    void *take_context;
};

/* Every status is ERR_OK. Errors as http_fetch.on_done; the note names the address and the cause
 * ("connect to 127.0.0.1:8500: refused: is the server running?"). ret_reply is set on ERR_OK
 * only. */
ERR_CHECKED enum err http_call(const struct http_call *call, struct http_reply *ret_reply,
                               struct err_note *note);
/* The value of the first field of that name (without case); {NULL, 0} when there is none. */
struct bytes http_reply_header(const struct http_reply *reply, struct bytes name);
/* Accepts NULL and zeroed replies. */
void http_reply_done(struct http_reply *reply);

#endif
