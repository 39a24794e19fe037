/* Which fields of a received head a relay does not pass on.
 *
 * Place: proto/http1. Connection-specific fields (flag H in http1_tables.h: Connection, Keep-Alive,
 * TE, Trailer, Transfer-Encoding, Upgrade, Expect, Proxy-*, ...) and every field that Connection
 * nominates, except protected ones (Authorization, Cookie, X-Forwarded-*, traceparent, ...), whose
 * nomination is ignored. Nominating Host, Content-Length or Transfer-Encoding is refused while
 * parsing the head. The relay's own fields are added after this removal, so a client cannot
 * nominate them away.
 *
 * Source: RFC 9110 section 7.6.1; the protected set is the gateway's rule. */
#ifndef HTTP1_HTTP1_HOP_H
#define HTTP1_HTTP1_HOP_H

#include "http1/http1_head.h"

/* A set of indices into http1_head.fields. */
struct http1_field_set {
    uint64_t bits[2];
};

_Static_assert(HTTP1_FIELD_COUNT_MAX <= 128, "a field set has 128 bits");

static inline void http1_field_set_add(struct http1_field_set *set, size_t index)
{
    set->bits[index >> 6] |= UINT64_C(1) << (index & 63);
}

static inline bool http1_field_set_has(const struct http1_field_set *set, size_t index)
{
    return (set->bits[index >> 6] >> (index & 63)) & 1;
}

/* Adds every field of that well-known name. */
void http1_field_set_add_name(struct http1_field_set *set, const struct http1_head *head,
                              enum http1_header id);

/* The set that a relay removes; head was parsed with ERR_OK from data. Content-Length stays in the
 * message (it is exact); a relay that re-frames the body adds it to the set. Never fails. */
void http1_hop_fields(const struct http1_head *head, const uint8_t *data,
                      struct http1_field_set *ret_set);

#endif
