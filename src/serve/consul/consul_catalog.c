/* The Consul door: reads of /v1/catalog. */
#include "consul/consul_priv.h"

enum {
    SERVICE_TAGS_MAX = 4096 /* different tags of one service in /catalog/services */
};

void consul_catalog_datacenters(const struct web_ask *ask)
{
    struct json_out out;
    web_json_begin(ask, &out);
    json_out_array(&out);
    json_out_str(&out, consul_cfg(ask)->datacenter);
    json_out_array_end(&out);
    web_answer_json(ask, &out, NULL, 0);
}

/* What Consul has for its mesh: nobody can have registered any. */
void consul_empty_list(const struct web_ask *ask)
{
    web_answer_text(ask, 200, "application/json", "[]");
}

/* ---- nodes ----------------------------------------------------------------------------------- */

struct node_list {
    struct consul_read *read;
    struct consul_view *view;
};

static enum err write_node_row(void *context, const struct member *member)
{
    const struct node_list *list = context;
    if (!list->read->no_match) {
        consul_write_node(list->view, member);
    }
    return ERR_OK;
}

static enum err render_nodes(struct consul_read *read, struct consul_view *view)
{
    struct node_list list = {.read = read, .view = view};
    json_out_array(view->out);
    enum err err = member_each(view->txn, write_node_row, &list);
    if (err == ERR_OK) {
        json_out_array_end(view->out);
    }
    return err;
}

static enum err index_of_members(struct web_read *read, struct table_txn *txn, uint64_t *ret_index)
{
    (void)read;
    return member_index(txn, ret_index);
}

void consul_catalog_nodes(const struct web_ask *ask)
{
    struct consul_read *read = consul_read_new(ask);
    if (read != NULL) {
        read->render = render_nodes;
        read->read.index = index_of_members;
        consul_read_watch(read, TABLE_MEMBERS, bytes_of(NULL, 0), true);
        consul_read_start(read);
    }
}

/* ---- services -------------------------------------------------------------------------------- */

/* The tags of one service, each once. */
struct service_tags {
    struct consul_read *read;
    struct consul_view *view;
    struct bytes *tags; /* SERVICE_TAGS_MAX */
    size_t count;
};

static enum err collect_tags(void *context, const struct registry_instance *instance,
                             enum registry_status status)
{
    (void)status;
    struct service_tags *all = context;
    for (uint32_t i = 0; i < instance->tag_count; i++) {
        size_t n = 0;
        while (n < all->count && !bytes_eq(all->tags[n], instance->tags[i])) {
            n++;
        }
        if (n == all->count && all->count < SERVICE_TAGS_MAX) {
            all->tags[all->count++] = instance->tags[i];
        }
    }
    return ERR_OK;
}

static enum err write_service_tags(void *context, const struct registry_service *service)
{
    struct service_tags *all = context;
    all->count = 0;
    enum err err =
        registry_service_instances(all->view->txn, service->key, false, collect_tags, all);
    if (err != ERR_OK || bytes_eq_str(service->key, "consul")) {
        return err;
    }
    json_out_key_bytes(all->view->out, service->name);
    json_out_array(all->view->out);
    for (size_t i = 0; i < all->count; i++) {
        json_out_bytes(all->view->out, all->tags[i]);
    }
    json_out_array_end(all->view->out);
    return ERR_OK;
}

static enum err render_services(struct consul_read *read, struct consul_view *view)
{
    struct service_tags all = {.read = read, .view = view};
    json_out_object(view->out);
    enum err err = ERR_OK;
    if (!read->no_match) {
        all.tags = arena_alloc(view->arena, SERVICE_TAGS_MAX * sizeof(*all.tags));
        if (all.tags == NULL) {
            return ERR_FULL;
        }
        json_out_key(view->out, "consul");
        json_out_array(view->out);
        json_out_array_end(view->out);
        err = registry_services(view->txn, write_service_tags, &all);
    }
    if (err == ERR_OK) {
        json_out_object_end(view->out);
    }
    return err;
}

static enum err index_of_services(struct web_read *read, struct table_txn *txn, uint64_t *ret_index)
{
    (void)read;
    return registry_index_of_all_services(txn, ret_index);
}

void consul_catalog_services(const struct web_ask *ask)
{
    struct consul_read *read = consul_read_new(ask);
    if (read != NULL) {
        read->render = render_services;
        read->read.index = index_of_services;
        consul_read_watch(read, TABLE_INSTANCES, bytes_of(NULL, 0), true);
        consul_read_start(read);
    }
}

/* ---- one service ----------------------------------------------------------------------------- */

static enum err write_row(void *context, const struct registry_instance *instance,
                          enum registry_status status)
{
    (void)status;
    const struct node_list *list = context;
    struct member member;
    if (!consul_tags_fit(list->read, instance)) {
        return ERR_OK;
    }
    enum err err = consul_member(list->view, instance->node, &member);
    if (err == ERR_OK) {
        consul_write_catalog_row(list->view, &member, instance);
    }
    return err;
}

static enum err render_service(struct consul_read *read, struct consul_view *view)
{
    struct node_list list = {.read = read, .view = view};
    json_out_array(view->out);
    enum err err = consul_each_instance(read, view, write_row, &list);
    if (err == ERR_OK) {
        json_out_array_end(view->out);
    }
    return err;
}

void consul_catalog_service(const struct web_ask *ask)
{
    if (consul_refuse_name(ask, "service name")) {
        return;
    }
    struct consul_read *read = consul_read_new(ask);
    if (read != NULL) {
        read->render = render_service;
        read->read.index = consul_index_of_service;
        consul_watch_service(read);
        consul_read_start(read);
    }
}

/* ---- one node -------------------------------------------------------------------------------- */

static enum err write_keyed_service(void *context, const struct registry_instance *instance,
                                    enum registry_status status)
{
    (void)status;
    const struct node_list *list = context;
    json_out_key_bytes(list->view->out, instance->id);
    consul_write_service(list->view, instance);
    return ERR_OK;
}

static enum err write_listed_service(void *context, const struct registry_instance *instance,
                                     enum registry_status status)
{
    (void)status;
    const struct node_list *list = context;
    consul_write_service(list->view, instance);
    return ERR_OK;
}

static enum err render_node(struct consul_read *read, struct consul_view *view)
{
    struct node_list list = {.read = read, .view = view};
    struct member member;
    enum err err = member_find(view->txn, read->ask.rest, &member);
    if (err == ERR_NOT_FOUND) {
        json_out_null(view->out);
        return ERR_OK;
    }
    if (err != ERR_OK) {
        return err;
    }
    json_out_object(view->out);
    json_out_key(view->out, "Node");
    consul_write_node(view, &member);
    json_out_key(view->out, "Services");
    if (read->keys) {
        json_out_object(view->out);
        err = registry_node_instances(view->txn, member.node, write_keyed_service, &list);
    } else {
        json_out_array(view->out);
        err = registry_node_instances(view->txn, member.node, write_listed_service, &list);
    }
    if (err != ERR_OK) {
        return err;
    }
    if (read->keys) {
        json_out_object_end(view->out);
    } else {
        json_out_array_end(view->out);
    }
    json_out_object_end(view->out);
    return ERR_OK;
}

/* keyed: services as a map by id, else as a list. */
static void ask_node(const struct web_ask *ask, bool keyed)
{
    if (consul_refuse_name(ask, "node name")) {
        return;
    }
    struct consul_read *read = consul_read_new(ask);
    if (read != NULL) {
        read->keys = keyed;
        read->render = render_node;
        consul_start_on_all(read);
    }
}

void consul_catalog_node(const struct web_ask *ask)
{
    ask_node(ask, true);
}

void consul_catalog_node_services(const struct web_ask *ask)
{
    ask_node(ask, false);
}
