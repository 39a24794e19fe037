/* The API door: Flotilla's own HTTP API, its metrics, and a few words for people at "/".
 *
 * Place: serve; mounted on the node's HTTP port. Answers are JSON; refusals are {"error", "reason"}
 * with the reason also in X-Flotilla-Reason. Paths and fields: docs/protocols/api.md.
 *
 *   GET                 /v1/flotilla/status     this node and the cluster as it sees it
 *   GET                 /v1/flotilla/members    the member table
 *   GET                 /v1/flotilla/services   services with their instances and how these are
 *   GET                 /v1/flotilla/routes     the gateway's routes
 *   GET, PUT, DELETE    /v1/flotilla/routes/ID  one of them
 *   GET                 /metrics                Prometheus text */
#ifndef API_API_H
#define API_API_H

#include "web/web.h"

/* One per web. */
struct api {
    struct web_door door;
};

/* api: the caller's storage, stays until the web is closed. Takes /v1/flotilla/, /metrics and
 * everything that no other door takes. */
void api_mount(struct api *api, struct web *web);

#endif
