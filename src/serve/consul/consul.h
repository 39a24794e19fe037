/* The Consul door: Consul's HTTP API over the cluster's key-values, registry and members.
 *
 * Place: serve; mounted on the node's HTTP port under /v1/. What is there and what is not:
 * docs/protocols/consul.md. Source: Consul's HTTP API documentation (v1), as its clients use it.
 *
 * Deliberately different from Consul: a service id is unique per service name in the whole cluster,
 * so that single services and checks can be asked for, changed and removed through any node; agent
 * lists show what was registered through the asked node. */
#ifndef CONSUL_CONSUL_H
#define CONSUL_CONSUL_H

#include "web/web.h"

/* One per web. */
struct consul {
    struct web_door door;
};

/* consul: the caller's storage, stays until the web is closed. */
void consul_mount(struct consul *consul, struct web *web);

#endif
