/* The API door, inside: reads that begin and end alike, and the parts of the route table.
 *
 * Place: serve/api only. */
#ifndef API_API_PRIV_H
#define API_API_PRIV_H

#include "member/member.h"
#include "web/web_read.h"
#include "web/web_route.h"
#include "web/web_write.h"
#include "json/json_out.h"

/* Made by api_read_new. */
struct api_read {
    struct web_read read; /* first: it begins with the operation */
    struct web_ask ask;
    /* Writes the answer's JSON; ERR_NOT_FOUND: 404. index: what X-Flotilla-Index says. */
    enum err (*render)(struct api_read *read, struct json_out *out,
                       const struct node_snapshot *snapshot, uint64_t index);
};

/* Parses ?stale, ?index and ?wait. NULL: refused. */
struct api_read *api_read_new(const struct web_ask *ask);
void api_read_start(struct api_read *read);

/* The fields of a member, without the object's end: more may follow. */
void api_write_member(struct json_out *out, const struct member *member);

void api_status(const struct web_ask *ask);
void api_members(const struct web_ask *ask);
void api_services(const struct web_ask *ask);
void api_routes(const struct web_ask *ask);
void api_route(const struct web_ask *ask);

#endif
