/* The API door: the route table, metrics and the landing text. */
#include "api/api.h"

#include "api/api_priv.h"
#include "metrics/metrics.h"

static void metrics(const struct web_ask *ask)
{
    buf_clear(ask->http->out);
    enum err err = metrics_print(node_metrics(ask->door->web->node), ask->http->out);
    if (err != ERR_OK) {
        web_refuse(ask->door, ask->http, err, NULL);
        return;
    }
    struct http_answer answer = {
        .status = 200,
        .content_type = BYTES_LITERAL("text/plain; version=0.0.4; charset=utf-8"),
        .body = buf_bytes(ask->http->out),
    };
    http_respond(ask->http, &answer);
}

static void landing(const struct web_ask *ask)
{
    const struct node_cfg *cfg = node_config(ask->door->web->node);
    http_respond_text(ask->http, 200,
                      "Flotilla, node %s in %s.\n"
                      "\n"
                      "  GET  /v1/flotilla/status     who leads, terms, indices, members\n"
                      "  GET  /v1/flotilla/services   services, their instances and health\n"
                      "  GET  /v1/flotilla/routes     routes of the gateway\n"
                      "  GET  /v1/kv/KEY              Consul's API: key-values, services, checks\n"
                      "  GET  /metrics                Prometheus text\n"
                      "\n"
                      "Add ?pretty to indent JSON. `flotilla --help` shows the same things as "
                      "commands.\n",
                      cfg->name, cfg->datacenter);
}

static const struct web_route routes[] = {
    {"/v1/flotilla/status", WEB_GET, api_status},
    {"/v1/flotilla/members", WEB_GET, api_members},
    {"/v1/flotilla/services", WEB_GET, api_services},
    {"/v1/flotilla/routes", WEB_GET, api_routes},
    {"/v1/flotilla/routes/*", WEB_GET | WEB_PUT | WEB_DELETE, api_route},
    {"/metrics", WEB_GET, metrics},
    {"/", WEB_GET, landing},
};

static void on_request(struct web_door *door, struct http_request *request)
{
    if (!web_route(routes, sizeof(routes) / sizeof(routes[0]), door, request)) {
        web_refuse_status(door, request, 404, "no_such_path", "no such path: %.*s",
                          BYTES_PRINT(request->path));
    }
}

void api_mount(struct api *api, struct web *web)
{
    api->door = (struct web_door){.errors = WEB_ERRORS_JSON, .on_request = on_request};
    web_mount(web, BYTES_LITERAL("/"), &api->door);
    web_mount(web, BYTES_LITERAL("/v1/flotilla/"), &api->door);
}
