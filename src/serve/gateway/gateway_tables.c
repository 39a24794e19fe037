/* Keeps one edge's routes and services as the node's tables have them.
 *
 * Place: serve/gateway. Changes come by the node's feed and are gathered; once per turn, in a
 * deferred call, one stale read brings what changed: all routes, and those services whose instances
 * or checks changed. An edge that has lost changes reads everything.
 *
 * An instance's address is its own, or its node's when it has none; it must be numeric (nothing is
 * looked up here). */
#include "gateway/gateway_mount.h"
#include "log/log.h"
#include "loop/loop.h"
#include "mem/mem.h"
#include "member/member.h"
#include "registry/registry.h"
#include "route/route.h"
#include "text/text.h"

enum {
    ENDPOINTS_MAX = 4096 /* per service */
};

/* --- services --- */

struct collector {
    struct table_txn *txn;
    struct gateway_endpoint_def *list;
    size_t count;
    size_t capacity;
};

static void collector_add(struct collector *c, struct bytes id, const struct net_addr *addr)
{
    if (c->count == ENDPOINTS_MAX) {
        return;
    }
    if (c->count == c->capacity) {
        c->capacity = c->capacity == 0 ? 16 : c->capacity * 2;
        c->list = mem_resize(c->list, c->capacity * sizeof(*c->list));
    }
    c->list[c->count++] = (struct gateway_endpoint_def){.id = id, .addr = *addr};
}

/* The host part of the node's advertised HTTP address. ERR_NOT_FOUND: the node is not known. */
static enum err node_host(struct table_txn *txn, uint32_t node, char *host, size_t size)
{
    struct member member;
    enum err err = member_get(txn, node, &member);
    if (err != ERR_OK) {
        return err;
    }
    uint16_t port;
    return text_parse_host_port(member.http_address, host, size, &port) == ERR_OK ? ERR_OK
                                                                                  : ERR_NOT_FOUND;
}

static enum err collect(void *context, const struct registry_instance *instance,
                        enum registry_status status)
{
    struct collector *c = context;
    char host[REGISTRY_ADDRESS_MAX + 1];
    struct bytes address = instance->address;
    struct net_addr addr;
    (void)status; /* only passing ones are visited */
    if (address.len == 0) {
        enum err err = node_host(c->txn, instance->node, host, sizeof(host));
        if (err != ERR_OK && err != ERR_NOT_FOUND) {
            return err;
        }
        address = err == ERR_OK ? bytes_of_str(host) : address;
    }
    if (instance->port == 0 || net_addr_make(address, instance->port, &addr) != ERR_OK) {
        log_event(LOG_ENDPOINT_UNUSABLE, "service=%.*s instance=%.*s address=%.*s port=%u",
                  BYTES_PRINT(instance->service), BYTES_PRINT(instance->id), BYTES_PRINT(address),
                  instance->port);
        return ERR_OK;
    }
    collector_add(c, instance->id, &addr);
    return ERR_OK;
}

static enum err read_service(struct gateway_mount *mount, struct table_txn *txn, struct bytes name)
{
    struct registry_service service;
    enum err err = registry_service_get(txn, name, &service);
    if (err == ERR_NOT_FOUND) {
        gateway_edge_drop_service(mount->proxy, name);
        return ERR_OK;
    }
    struct collector c = {.txn = txn};
    if (err == ERR_OK) {
        err = registry_service_instances(txn, name, true, collect, &c);
    }
    if (err == ERR_OK) {
        gateway_edge_set_service(mount->proxy, name, c.list, c.count);
    }
    mem_free(c.list);
    return err;
}

struct all_services {
    struct gateway_mount *mount;
    struct table_txn *txn;
};

static enum err read_one_of_all(void *context, const struct registry_service *service)
{
    const struct all_services *all = context;
    return read_service(all->mount, all->txn, service->key);
}

static bool is_registered(void *context, struct bytes name)
{
    const struct all_services *all = context;
    struct registry_service service;
    return registry_service_get(all->txn, name, &service) != ERR_NOT_FOUND;
}

static enum err read_all_services(struct gateway_mount *mount, struct table_txn *txn)
{
    struct all_services all = {mount, txn};
    enum err err = registry_services(txn, read_one_of_all, &all);
    if (err == ERR_OK) {
        gateway_edge_sweep_services(mount->proxy, is_registered, &all);
    }
    return err;
}

static enum err read_changed_services(struct gateway_mount *mount, struct table_txn *txn)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < mount->changed_count && err == ERR_OK; i++) {
        err = read_service(mount, txn, bytes_of_str(mount->changed[i]));
    }
    return err;
}

static enum err read_routes(struct gateway_mount *mount, struct table_txn *txn)
{
    struct route_table *routes = NULL;
    enum err err = route_table_build(txn, &routes);
    if (err == ERR_OK) {
        gateway_edge_set_routes(mount->proxy, routes);
    }
    return err;
}

/* --- refreshing --- */

static void on_snapshot(struct node_reading *reading, enum err err,
                        const struct node_snapshot *snapshot)
{
    struct gateway_mount *mount = CONTAINER_OF(reading, struct gateway_mount, reading);
    if (err == ERR_OK && mount->all_changed) {
        err = read_all_services(mount, snapshot->txn);
    } else if (err == ERR_OK) {
        err = read_changed_services(mount, snapshot->txn);
    }
    if (err == ERR_OK && mount->routes_changed) {
        err = read_routes(mount, snapshot->txn);
    }
    if (err != ERR_OK) {
        /* What was not read stays marked and is read with the next change. */
        log_event(LOG_ROUTES_UNREADABLE, "error=%s", err_name(err));
        mount->all_changed = true;
        mount->routes_changed = true;
        return;
    }
    mount->all_changed = false;
    mount->routes_changed = false;
    mount->changed_count = 0;
}

static void refresh(struct loop_call *call)
{
    struct gateway_mount *mount = CONTAINER_OF(call, struct gateway_mount, refresh);
    const struct node_call who = {.principal = BYTES_LITERAL("system:gateway")};
    mount->reading.done = on_snapshot;
    enum err err = node_read(mount->edge, &who, NODE_STALE, &mount->reading);
    if (err != ERR_OK) {
        on_snapshot(&mount->reading, err, NULL);
    }
}

static void refresh_later(struct gateway_mount *mount)
{
    loop_defer(node_edge_loop(mount->edge), &mount->refresh, refresh);
}

static void note_service(struct gateway_mount *mount, struct bytes name)
{
    for (size_t i = 0; i < mount->changed_count; i++) {
        if (bytes_eq_str(name, mount->changed[i])) {
            return;
        }
    }
    if (mount->changed_count == GATEWAY_CHANGED_MAX ||
        bytes_to_cstr(name, mount->changed[mount->changed_count], sizeof(mount->changed[0])) !=
            ERR_OK) {
        mount->all_changed = true;
        return;
    }
    mount->changed_count++;
}

static void on_routes(struct node_watch *watch, const struct apply_change *change)
{
    struct gateway_mount *mount = CONTAINER_OF(watch, struct gateway_mount, routes);
    (void)change;
    mount->routes_changed = true;
    refresh_later(mount);
}

static void on_services(struct node_watch *watch, const struct apply_change *change)
{
    struct gateway_mount *mount = CONTAINER_OF(watch, struct gateway_mount, services);
    note_service(mount, change->key);
    refresh_later(mount);
}

/* A node's address may be that of many instances. */
static void on_members(struct node_watch *watch, const struct apply_change *change)
{
    struct gateway_mount *mount = CONTAINER_OF(watch, struct gateway_mount, members);
    (void)change;
    mount->all_changed = true;
    refresh_later(mount);
}

static void on_event(struct node_listener *listener, enum node_event event)
{
    struct gateway_mount *mount = CONTAINER_OF(listener, struct gateway_mount, listener);
    if (event == NODE_EVENT_LAGGED) {
        mount->all_changed = true;
        mount->routes_changed = true;
        refresh_later(mount);
    }
}

enum err gateway_tables_follow(struct gateway_mount *mount)
{
    list_init(&mount->refresh.link);
    mount->routes.changed = on_routes;
    mount->services.changed = on_services;
    mount->members.changed = on_members;
    mount->listener.event = on_event;
    const struct bytes all = {NULL, 0};
    enum err err = node_watch_add(mount->edge, &mount->routes, TABLE_ROUTES, all, true);
    if (err == ERR_OK) {
        err = node_watch_add(mount->edge, &mount->services, TABLE_SERVICES, all, true);
    }
    if (err == ERR_OK) {
        err = node_watch_add(mount->edge, &mount->members, TABLE_MEMBERS, all, true);
    }
    node_listen(mount->edge, &mount->listener);
    mount->all_changed = true;
    mount->routes_changed = true;
    refresh_later(mount);
    return err;
}

void gateway_tables_leave(struct gateway_mount *mount)
{
    loop_call_cancel(&mount->refresh);
    node_watch_remove(mount->edge, &mount->routes);
    node_watch_remove(mount->edge, &mount->services);
    node_watch_remove(mount->edge, &mount->members);
    node_unlisten(mount->edge, &mount->listener);
}
