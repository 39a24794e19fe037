/* The one normal form of a request path: made once, then routed and forwarded.
 *
 * Place: proto/http1. Works on the path alone: the query is not touched.
 *   - escapes of unreserved characters are decoded (%41 -> A, %2e -> .), all others stay, in upper
 *     case (%2f -> %2F): an encoded slash never becomes a separator,
 *   - dot segments are removed; climbing above the root is refused,
 *   - refused: a malformed escape, %00, overlong UTF-8, and dot segments that only a further
 *     decoding would see (..%2f, ..%5c, ..;x), because the program behind may do that decoding.
 *
 * Source: RFC 3986 sections 5.2.4 and 6.2.2. */
#ifndef HTTP1_HTTP1_PATH_H
#define HTTP1_HTTP1_PATH_H

#include "http1/http1.h"

enum http1_path_flags {
    HTTP1_PATH_MERGE_SLASHES = 1, /* // becomes /, before dot segments are removed */
};

/* Quick test: true when normalising without flags would succeed and change nothing, so that the
 * path may be used in place. May be false for a path that is normal; never true for one that is
 * not. */
bool http1_path_is_normal(struct bytes path);

/* path: begins with '/', or is empty (means "/"). dest: dest_size >= max(path.len, 1), not
 * overlapping path; the result is never longer. flags: enum http1_path_flags.
 * ERR_BAD_INPUT: refused, *ret_reason (a PATH_ one) says why; ERR_TOO_LARGE: dest is too small. */
ERR_CHECKED enum err http1_path_normalise(struct bytes path, uint32_t flags, uint8_t *dest,
                                          size_t dest_size, size_t *ret_len,
                                          enum http1_reason *ret_reason);

#endif
