/* Services and their endpoints as one edge sees them, and the choice of an endpoint.
 *
 * Place: serve/gateway. A service's list is replaced as a whole; an endpoint that stays in it (same
 * instance, same address) keeps its object and with it its connections and its count of requests.
 *
 * Invariant: an endpoint that is in no list is `gone`: its idle connections are closed, those in
 * use are closed when they are released, and the last reference frees it. */
#include "balance/balance.h"
#include "gateway/gateway_priv.h"

#include <string.h>

static bool service_eq(const struct map_node *node, const void *key)
{
    const struct gw_service *service = CONTAINER_OF_CONST(node, struct gw_service, by_name);
    const struct bytes *name = key;
    return bytes_eq(service->name, *name);
}

struct gw_service *gw_service_find(struct gateway_edge *edge, struct bytes name)
{
    struct map_node *node =
        map_find(&edge->services, hash_bytes(edge->seed, name), service_eq, &name);
    return node != NULL ? CONTAINER_OF(node, struct gw_service, by_name) : NULL;
}

static struct gw_endpoint *endpoint_new(struct gateway_edge *edge,
                                        const struct gateway_endpoint_def *def)
{
    struct gw_endpoint *endpoint = mem_alloc(sizeof(*endpoint) + def->id.len + 1);
    endpoint->edge = edge;
    endpoint->refs = 1;
    endpoint->addr = def->addr;
    (void)net_addr_format(&def->addr, endpoint->addr_text);
    list_init(&endpoint->idle);
    if (def->id.len > 0) {
        memcpy(endpoint->id_data, def->id.data, def->id.len);
    }
    endpoint->id = bytes_of(endpoint->id_data, def->id.len);
    return endpoint;
}

void gw_endpoint_unref(struct gw_endpoint *endpoint)
{
    CHECK(endpoint->refs > 0);
    endpoint->refs--;
    if (endpoint->refs == 0) {
        CHECK(endpoint->open_count == 0 && endpoint->in_flight == 0);
        mem_free(endpoint);
    }
}

static void drop_endpoints(struct gw_endpoint **endpoints, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (endpoints[i] != NULL) {
            endpoints[i]->gone = true;
            gw_upstream_close_idle(endpoints[i]);
            gw_endpoint_unref(endpoints[i]);
        }
    }
    mem_free(endpoints);
}

void gw_service_unref(struct gw_service *service)
{
    CHECK(service->refs > 0);
    service->refs--;
    if (service->refs == 0) {
        drop_endpoints(service->endpoints, service->count);
        mem_free(service);
    }
}

/* Takes it out of the old list. */
static struct gw_endpoint *take_same(struct gw_service *service,
                                     const struct gateway_endpoint_def *def)
{
    for (size_t i = 0; i < service->count; i++) {
        struct gw_endpoint *endpoint = service->endpoints[i];
        if (endpoint != NULL && bytes_eq(endpoint->id, def->id) &&
            net_addr_eq(&endpoint->addr, &def->addr)) {
            service->endpoints[i] = NULL;
            return endpoint;
        }
    }
    return NULL;
}

static struct gw_service *service_new(struct gateway_edge *edge, struct bytes name)
{
    struct gw_service *service = mem_alloc(sizeof(*service) + name.len + 1);
    service->edge = edge;
    service->refs = 1;
    memcpy(service->name_data, name.data, name.len);
    service->name = bytes_of(service->name_data, name.len);
    map_insert(&edge->services, &service->by_name, hash_bytes(edge->seed, name));
    return service;
}

void gateway_edge_set_service(struct gateway_edge *edge, struct bytes name,
                              const struct gateway_endpoint_def *endpoints, size_t count)
{
    CHECK(name.len > 0 && (count == 0 || endpoints != NULL));
    struct gw_service *service = gw_service_find(edge, name);
    if (service == NULL) {
        service = service_new(edge, name);
    }
    struct gw_endpoint **list = mem_alloc_array(count, sizeof(struct gw_endpoint *));
    for (size_t i = 0; i < count; i++) {
        list[i] = take_same(service, &endpoints[i]);
        if (list[i] == NULL) {
            list[i] = endpoint_new(edge, &endpoints[i]);
        }
    }
    drop_endpoints(service->endpoints, service->count);
    service->endpoints = list;
    service->count = count;
}

static void service_drop(struct gateway_edge *edge, struct gw_service *service)
{
    map_remove(&edge->services, &service->by_name);
    drop_endpoints(service->endpoints, service->count);
    service->endpoints = NULL;
    service->count = 0;
    gw_service_unref(service);
}

void gateway_edge_drop_service(struct gateway_edge *edge, struct bytes name)
{
    struct gw_service *service = gw_service_find(edge, name);
    if (service != NULL) {
        service_drop(edge, service);
    }
}

void gateway_edge_sweep_services(struct gateway_edge *edge,
                                 bool (*keep)(void *context, struct bytes name), void *context)
{
    struct map_node *node = map_next(&edge->services, NULL);
    while (node != NULL) {
        struct map_node *after = map_next(&edge->services, node);
        struct gw_service *service = CONTAINER_OF(node, struct gw_service, by_name);
        if (!keep(context, service->name)) {
            service_drop(edge, service);
        }
        node = after;
    }
}

static bool keep_none(void *context, struct bytes name)
{
    (void)context;
    (void)name;
    return false;
}

void gw_services_free(struct gateway_edge *edge)
{
    gateway_edge_sweep_services(edge, keep_none, NULL);
    map_done(&edge->services);
}

static uint64_t endpoint_load(const void *context, size_t number)
{
    const struct gw_service *service = context;
    const struct gw_endpoint *endpoint = service->endpoints[number];
    uint64_t avoid = endpoint->avoid_until > loop_now(service->edge->loop) ? BALANCE_AVOID : 0;
    return endpoint->in_flight + avoid;
}

struct gw_endpoint *gw_service_pick(struct gw_service *service, const struct gw_endpoint *excluded)
{
    struct balance_ask ask = {.count = service->count,
                              .exclude = BALANCE_NONE,
                              .load = endpoint_load,
                              .context = service};
    for (size_t i = 0; excluded != NULL && i < service->count; i++) {
        if (service->endpoints[i] == excluded) {
            ask.exclude = i;
            break;
        }
    }
    size_t number = balance_pick(&ask, loop_rnd(service->edge->loop));
    return number == BALANCE_NONE ? NULL : service->endpoints[number];
}
