/* The Consul door: the route table, and words for what is not there. */
#include "consul/consul.h"

#include "consul/consul_priv.h"

/* The first that fits wins. */
static const struct web_route routes[] = {
    {"/v1/kv/*", WEB_GET | WEB_PUT | WEB_DELETE, consul_kv},
    {"/v1/health/service/*", WEB_GET, consul_health_service},
    {"/v1/health/checks/*", WEB_GET, consul_health_checks},
    {"/v1/health/node/*", WEB_GET, consul_health_node},
    {"/v1/health/state/*", WEB_GET, consul_health_state},
    {"/v1/health/connect/*", WEB_GET, consul_empty_list},
    {"/v1/agent/check/pass/*", WEB_PUT, consul_check_pass},
    {"/v1/agent/check/warn/*", WEB_PUT, consul_check_warn},
    {"/v1/agent/check/fail/*", WEB_PUT, consul_check_fail},
    {"/v1/agent/check/update/*", WEB_PUT, consul_check_update},
    {"/v1/agent/check/register", WEB_PUT, consul_check_register},
    {"/v1/agent/check/deregister/*", WEB_PUT, consul_check_deregister},
    {"/v1/agent/service/register", WEB_PUT, consul_service_register},
    {"/v1/agent/service/deregister/*", WEB_PUT, consul_service_deregister},
    {"/v1/agent/service/maintenance/*", WEB_PUT, consul_service_maintenance},
    {"/v1/agent/service/*", WEB_GET, consul_agent_service},
    {"/v1/agent/services", WEB_GET, consul_agent_services},
    {"/v1/agent/checks", WEB_GET, consul_agent_checks},
    {"/v1/agent/maintenance", WEB_PUT, consul_node_maintenance},
    {"/v1/agent/self", WEB_GET, consul_agent_self},
    {"/v1/agent/version", WEB_GET, consul_agent_version},
    {"/v1/agent/members", WEB_GET, consul_agent_members},
    {"/v1/catalog/service/*", WEB_GET, consul_catalog_service},
    {"/v1/catalog/services", WEB_GET, consul_catalog_services},
    {"/v1/catalog/nodes", WEB_GET, consul_catalog_nodes},
    {"/v1/catalog/node/*", WEB_GET, consul_catalog_node},
    {"/v1/catalog/node-services/*", WEB_GET, consul_catalog_node_services},
    {"/v1/catalog/datacenters", WEB_GET, consul_catalog_datacenters},
    {"/v1/catalog/register", WEB_PUT, consul_catalog_register},
    {"/v1/catalog/deregister", WEB_PUT, consul_catalog_deregister},
    {"/v1/catalog/connect/*", WEB_GET, consul_empty_list},
    {"/v1/status/leader", WEB_GET, consul_status_leader},
    {"/v1/status/peers", WEB_GET, consul_status_peers},
    {"/v1/snapshot", WEB_GET | WEB_PUT, consul_snapshot},
};

/* Beginnings of Consul's other paths: what exists there and not here deserves a clear word. */
static const char *const not_built[] = {
    "/v1/session/", "/v1/txn",       "/v1/event/",      "/v1/events",
    "/v1/query",    "/v1/operator/", "/v1/coordinate/", "/v1/config",
    "/v1/connect/", "/v1/peering",   "/v1/internal/",   "/v1/discovery-chain",
    "/v1/exported", "/v1/imported",  "/v1/partition",   "/v1/namespace",
    "/v1/agent/",   "/v1/catalog/",  "/v1/health/",
};

static void refuse_unknown(struct web_door *door, struct http_request *request)
{
    struct bytes path = request->path;
    if (bytes_has_prefix(path, BYTES_LITERAL("/v1/acl/"))) {
        web_refuse_status(door, request, 401, "acl_disabled", "ACL support disabled");
        return;
    }
    for (size_t i = 0; i < sizeof(not_built) / sizeof(not_built[0]); i++) {
        if (bytes_has_prefix(path, bytes_of_str(not_built[i]))) {
            web_refuse_status(door, request, 404, "not_built",
                              "%.*s is not built into this version of Flotilla (see "
                              "docs/protocols/consul.md)",
                              BYTES_PRINT(path));
            return;
        }
    }
    web_refuse_status(door, request, 404, "no_such_path", "no such path: %.*s", BYTES_PRINT(path));
}

static void on_request(struct web_door *door, struct http_request *request)
{
    if (!web_route(routes, sizeof(routes) / sizeof(routes[0]), door, request)) {
        refuse_unknown(door, request);
    }
}

void consul_mount(struct consul *consul, struct web *web)
{
    consul->door = (struct web_door){.errors = WEB_ERRORS_PLAIN, .on_request = on_request};
    web_mount(web, BYTES_LITERAL("/v1/"), &consul->door);
}
