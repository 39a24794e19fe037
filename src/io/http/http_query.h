/* Queries and paths: parameters, segments, percent-decoding.
 *
 * Place: io/http, beside the server; pure functions over borrowed slices. Decoding happens once,
 * after splitting, so that an encoded separator (%2F, %26) is never taken for one.
 *
 * Source: RFC 3986 section 2.1; '+' as a space in queries is HTML's form encoding. */
#ifndef HTTP_HTTP_QUERY_H
#define HTTP_HTTP_QUERY_H

#include "bytes/bytes.h"
#include "mem/mem.h"

/* One parameter as sent, not decoded. "a=1" has a value, "a=" an empty one, "a" none. */
struct http_param {
    struct bytes name;
    struct bytes value;
    bool has_value;
};

/* Takes the first parameter off *query; false when there is none left. Empty ones ("a&&b") are
 * skipped. ret_param borrows. */
bool http_query_next(struct bytes *query, struct http_param *ret_param);
/* The first parameter of that name (compared decoded); false when there is none. */
bool http_query_find(struct bytes query, const char *name, struct http_param *ret_param);
/* Whether the parameter is there, with or without a value: ?stale, ?passing=1. */
bool http_query_has(struct bytes query, const char *name);
/* The decoded value of the first parameter of that name ("" when it has none). Borrows from query
 * when nothing was encoded, else from arena. ERR_NOT_FOUND; ERR_BAD_INPUT: a malformed escape;
 * ERR_FULL: the arena's limit. */
ERR_CHECKED enum err http_query_get(struct bytes query, const char *name, struct arena *arena,
                                    struct bytes *ret_value);

/* Takes the first segment, as sent, off *path ("/v1/kv/a" gives "v1" and leaves "/kv/a"); false
 * when path is empty or does not begin with '/'. "/" gives one empty segment, so does each end
 * in '/' and each "//". */
bool http_path_next(struct bytes *path, struct bytes *ret_segment);

enum http_plus {
    HTTP_PLUS_IS_PLUS,  /* in paths */
    HTTP_PLUS_IS_SPACE, /* in queries */
};

/* Decodes %XX once. Borrows from raw when nothing was encoded, else from arena. Decoded bytes may
 * be anything, NUL included. ERR_BAD_INPUT: a malformed escape; ERR_FULL: the arena's limit. */
ERR_CHECKED enum err http_percent_decode(struct bytes raw, enum http_plus plus, struct arena *arena,
                                         struct bytes *ret_decoded);

#endif
