/* The Consul door: /v1/health. */
#include "check/check.h"
#include "consul/consul_priv.h"

/* ---- what the catalog shares ----------------------------------------------------------------- */

struct newest {
    struct table_txn *txn;
    uint64_t index;
};

static void raise_to(struct newest *newest, uint64_t index)
{
    newest->index = index > newest->index ? index : newest->index;
}

static enum err visit_newest(void *context, const struct registry_instance *instance,
                             enum registry_status status)
{
    (void)status;
    struct newest *newest = context;
    struct member member;
    uint64_t index = 0;
    enum err err = member_get(newest->txn, instance->node, &member);
    if (err == ERR_OK) {
        index = member.modify_index;
    } else if (err == ERR_NOT_FOUND) {
        /* Of a node that has gone: not older than any row it may have had. */
        err = member_index(newest->txn, &index);
    }
    raise_to(newest, index);
    return err;
}

/* The service's own index and its nodes' rows, which the answer shows, too. Any of them may grow,
 * none goes back: what disappears from the set has bumped the service. */
enum err consul_index_of_service(struct web_read *web_read, struct table_txn *txn,
                                 uint64_t *ret_index)
{
    struct consul_read *read = CONTAINER_OF(web_read, struct consul_read, read);
    struct newest newest = {.txn = txn};
    uint64_t index = 0;
    enum err err = registry_index_of_service(txn, read->ask.rest, &index);
    raise_to(&newest, index);
    if (err == ERR_OK && bytes_eq_nocase(read->ask.rest, BYTES_LITERAL("consul"))) {
        err = member_index(txn, &index);
        raise_to(&newest, index);
    }
    if (err == ERR_OK) {
        err = registry_service_instances(txn, read->ask.rest, false, visit_newest, &newest);
    }
    if (err == ERR_OK) {
        *ret_index = newest.index;
    }
    return err;
}

bool consul_tags_fit(const struct consul_read *read, const struct registry_instance *instance)
{
    if (read->no_match) {
        return false;
    }
    for (size_t i = 0; i < read->tag_count; i++) {
        bool found = false;
        for (uint32_t n = 0; n < instance->tag_count; n++) {
            found = found || bytes_eq_nocase(instance->tags[n], read->tags[i]);
        }
        if (!found) {
            return false;
        }
    }
    return true;
}

struct nodes_as_service {
    registry_instance_fn *visit;
    void *context;
};

static enum err visit_member_as_instance(void *context, const struct member *member)
{
    const struct nodes_as_service *nodes = context;
    struct registry_instance instance = {
        .service = BYTES_LITERAL("consul"),
        .id = BYTES_LITERAL("consul"),
        .node = member->node,
        .weight_passing = 1,
        .weight_warning = 1,
        .origin = REGISTRY_ORIGIN_CONSUL,
        .create_index = member->create_index,
        .modify_index = member->modify_index,
    };
    return nodes->visit(nodes->context, &instance, REGISTRY_PASSING);
}

enum err consul_each_instance(struct consul_read *read, struct consul_view *view,
                              registry_instance_fn *visit, void *context)
{
    struct registry_service service;
    enum err err = ERR_OK;
    if (bytes_eq_nocase(read->ask.rest, BYTES_LITERAL("consul"))) {
        err = registry_service_get(view->txn, read->ask.rest, &service);
        if (err == ERR_NOT_FOUND) {
            struct nodes_as_service nodes = {.visit = visit, .context = context};
            return member_each(view->txn, visit_member_as_instance, &nodes);
        }
    }
    if (err != ERR_OK) {
        return err;
    }
    return registry_service_instances(view->txn, read->ask.rest, false, visit, context);
}

/* A key of the registry's tables: ASCII letters in lower case. */
static struct bytes lower(const struct web_ask *ask)
{
    uint8_t *copy = arena_dup(ask->http->arena, ask->rest);
    if (copy == NULL) {
        return ask->rest;
    }
    for (size_t i = 0; i < ask->rest.len; i++) {
        copy[i] = copy[i] >= 'A' && copy[i] <= 'Z' ? (uint8_t)(copy[i] | 0x20) : copy[i];
    }
    return bytes_of(copy, ask->rest.len);
}

void consul_watch_service(struct consul_read *read)
{
    consul_read_watch(read, TABLE_SERVICES, lower(&read->ask), false);
    consul_read_watch(read, TABLE_MEMBERS, bytes_of(NULL, 0), true);
}

/* ---- /v1/health/service ---------------------------------------------------------------------- */

struct health_row {
    struct consul_read *read;
    struct consul_view *view;
    const struct registry_instance *instance;
};

static enum err count_own(void *context, const struct registry_check *check)
{
    uint32_t *count = context;
    *count += check->instance_id.len > 0 ? 1 : 0;
    return ERR_OK;
}

static enum err write_row_check(void *context, const struct registry_check *check)
{
    const struct health_row *row = context;
    return consul_write_check(row->view, check, row->instance);
}

/* An instance with checks of its own is judged by them, wherever they run: when its node is unseen
 * another one has taken them over. Without any, only its node vouches for it. */
static enum err write_health_row(void *context, const struct registry_instance *instance,
                                 enum registry_status status)
{
    struct health_row *row = context;
    struct consul_view *view = row->view;
    struct member member;
    uint32_t own = 0;
    if (!consul_tags_fit(row->read, instance)) {
        return ERR_OK;
    }
    enum err err = consul_member(view, instance->node, &member);
    if (err == ERR_OK) {
        err = registry_instance_checks(view->txn, instance, count_own, &own);
    }
    if (err != ERR_OK) {
        return err;
    }
    bool passing =
        status == REGISTRY_PASSING && consul_serf_status(&member, own > 0) == REGISTRY_PASSING;
    if (row->read->passing && !passing) {
        return ERR_OK;
    }
    row->instance = instance;
    json_out_object(view->out);
    json_out_key(view->out, "Node");
    consul_write_node(view, &member);
    json_out_key(view->out, "Service");
    consul_write_service(view, instance);
    json_out_key(view->out, "Checks");
    json_out_array(view->out);
    consul_write_serf(view, &member, own > 0);
    err = registry_instance_checks(view->txn, instance, write_row_check, row);
    json_out_array_end(view->out);
    json_out_object_end(view->out);
    return err;
}

static enum err render_service(struct consul_read *read, struct consul_view *view)
{
    struct health_row row = {.read = read, .view = view};
    json_out_array(view->out);
    enum err err = consul_each_instance(read, view, write_health_row, &row);
    if (err == ERR_OK) {
        json_out_array_end(view->out);
    }
    return err;
}

void consul_health_service(const struct web_ask *ask)
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

/* ---- lists of checks ------------------------------------------------------------------------- */

struct check_list {
    struct consul_read *read;
    struct consul_view *view;
};

static enum err write_listed_check(void *context, const struct registry_check *check)
{
    const struct check_list *list = context;
    if (list->read->no_match || (!list->read->any_state && check->status != list->read->state)) {
        return ERR_OK;
    }
    return consul_write_check(list->view, check, NULL);
}

static enum err render_checks(struct consul_read *read, struct consul_view *view)
{
    struct check_list list = {.read = read, .view = view};
    json_out_array(view->out);
    enum err err = registry_service_checks(view->txn, read->ask.rest, write_listed_check, &list);
    if (err == ERR_OK) {
        json_out_array_end(view->out);
    }
    return err;
}

void consul_health_checks(const struct web_ask *ask)
{
    if (consul_refuse_name(ask, "service name")) {
        return;
    }
    struct consul_read *read = consul_read_new(ask);
    if (read != NULL) {
        read->any_state = true;
        read->render = render_checks;
        read->read.index = consul_index_of_service;
        consul_watch_service(read);
        consul_read_start(read);
    }
}

/* The last change to any instance, check or node. */
static enum err index_of_all(struct web_read *read, struct table_txn *txn, uint64_t *ret_index)
{
    (void)read;
    struct newest newest = {.txn = txn};
    uint64_t index = 0;
    enum err err = registry_index_of_all_services(txn, &index);
    raise_to(&newest, index);
    if (err == ERR_OK) {
        err = registry_index_of_checks(txn, &index);
        raise_to(&newest, index);
    }
    if (err == ERR_OK) {
        err = member_index(txn, &index);
        raise_to(&newest, index);
    }
    if (err == ERR_OK) {
        *ret_index = newest.index;
    }
    return err;
}

void consul_start_on_all(struct consul_read *read)
{
    read->read.index = index_of_all;
    consul_read_watch(read, TABLE_INSTANCES, bytes_of(NULL, 0), true);
    consul_read_watch(read, TABLE_CHECKS, bytes_of(NULL, 0), true);
    consul_read_watch(read, TABLE_MEMBERS, bytes_of(NULL, 0), true);
    consul_read_start(read);
}

static enum err render_node(struct consul_read *read, struct consul_view *view)
{
    struct check_list list = {.read = read, .view = view};
    struct member member;
    json_out_array(view->out);
    enum err err = member_find(view->txn, read->ask.rest, &member);
    if (err == ERR_OK) {
        consul_write_serf(view, &member, false);
        err = registry_node_checks(view->txn, member.node, write_listed_check, &list);
    }
    json_out_array_end(view->out);
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

void consul_health_node(const struct web_ask *ask)
{
    if (consul_refuse_name(ask, "node name")) {
        return;
    }
    struct consul_read *read = consul_read_new(ask);
    if (read != NULL) {
        read->any_state = true;
        read->render = render_node;
        consul_start_on_all(read);
    }
}

static enum err write_listed_serf(void *context, const struct member *member)
{
    const struct check_list *list = context;
    bool wanted = list->read->any_state || consul_serf_status(member, false) == list->read->state;
    if (wanted && !list->read->no_match) {
        consul_write_serf(list->view, member, false);
    }
    return ERR_OK;
}

static enum err render_state(struct consul_read *read, struct consul_view *view)
{
    struct check_list list = {.read = read, .view = view};
    json_out_array(view->out);
    enum err err = member_each(view->txn, write_listed_serf, &list);
    if (err == ERR_OK) {
        err = registry_checks(view->txn, write_listed_check, &list);
    }
    if (err == ERR_OK) {
        json_out_array_end(view->out);
    }
    return err;
}

void consul_health_state(const struct web_ask *ask)
{
    struct consul_read *read = consul_read_new(ask);
    if (read == NULL) {
        return;
    }
    read->any_state = bytes_eq_str(ask->rest, "any");
    if (!read->any_state && !registry_status_parse(ask->rest, &read->state)) {
        web_refuse(ask->door, ask->http, ERR_BAD_INPUT,
                   "the state must be any, passing, warning or critical");
        return;
    }
    read->render = render_state;
    consul_start_on_all(read);
}
