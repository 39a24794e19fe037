/* Tests of core/registry: what registrations, checks, maintenance and owners do, claim by claim. */
#include "registry/registry.h"

#include "tomb/tomb.h"
#include "world.h"

#include <stdio.h>

static struct bytes str(const char *text)
{
    return bytes_of_str(text);
}

static struct registry_instance web(uint32_t node)
{
    return (struct registry_instance){
        .service = BYTES_LITERAL("Web"),
        .id = BYTES_LITERAL("web-1"),
        .node = node,
        .address = BYTES_LITERAL("127.0.0.1"),
        .port = 8080,
        .tags = {BYTES_LITERAL("v1"), BYTES_LITERAL("blue")},
        .tag_count = 2,
        .meta = {{BYTES_LITERAL("k"), BYTES_LITERAL("v")}},
        .meta_count = 1,
        .tagged = {{BYTES_LITERAL("wan"), BYTES_LITERAL("1.2.3.4"), 80}},
        .tagged_count = 1,
        .weight_passing = 1,
        .weight_warning = 1,
        .origin = REGISTRY_ORIGIN_CONSUL,
        .document = BYTES_LITERAL("{}"),
    };
}

static struct registry_check ttl_check(const char *id)
{
    return (struct registry_check){
        .id = bytes_of_str(id),
        .type = REGISTRY_CHECK_TTL,
        .status = REGISTRY_CRITICAL,
        .def = {.ttl_ms = 10000},
    };
}

static enum err run_register(struct world *w, const struct registry_instance *instance,
                             const struct registry_check *checks, uint32_t count, bool replace)
{
    struct registry_register reg = {
        .instance = instance,
        .checks = checks,
        .check_count = count,
        .replace_checks = replace,
    };
    assert_int_equal(registry_register_encode(&reg, &w->body), ERR_OK);
    return world_run(w, REGISTRY_CMD_SERVICE_REGISTER);
}

/* "web-1" of service "Web" on the node, with one TTL check of generated id. */
static void register_web(struct world *w, uint32_t node)
{
    struct registry_instance instance = web(node);
    struct registry_check check = ttl_check("");
    assert_int_equal(run_register(w, &instance, &check, 1, false), ERR_OK);
}

static enum err run_update(struct world *w, const struct registry_update *update)
{
    assert_int_equal(registry_update_encode(update, &w->body), ERR_OK);
    return world_run(w, REGISTRY_CMD_CHECK_UPDATE);
}

static enum err set_status(struct world *w, uint32_t node, const char *id,
                           enum registry_status status)
{
    struct registry_update update = {
        .node = node,
        .check_id = str(id),
        .status = status,
        .output = BYTES_LITERAL("out"),
    };
    return run_update(w, &update);
}

static struct registry_check get_check(struct world *w, uint32_t node, const char *id)
{
    struct registry_check check;
    assert_int_equal(registry_check_get(&w->txn, node, str(id), &check), ERR_OK);
    return check;
}

static bool has_check(struct world *w, uint32_t node, const char *id)
{
    struct registry_check check;
    enum err err = registry_check_get(&w->txn, node, str(id), &check);
    assert_true(err == ERR_OK || err == ERR_NOT_FOUND);
    return err == ERR_OK;
}

static uint64_t service_index(struct world *w, const char *name)
{
    uint64_t index = 0;
    assert_int_equal(registry_index_of_service(&w->txn, str(name), &index), ERR_OK);
    return index;
}

static uint64_t services_index(struct world *w)
{
    uint64_t index = 0;
    assert_int_equal(registry_index_of_all_services(&w->txn, &index), ERR_OK);
    return index;
}

/* Ids that a read gives, each followed by a blank. */
struct names {
    char text[256];
};

static void add_name(struct names *names, struct bytes id)
{
    size_t used = strlen(names->text);
    (void)snprintf(names->text + used, sizeof(names->text) - used, "%.*s ", BYTES_PRINT(id));
}

static enum err collect_check(void *context, const struct registry_check *check)
{
    add_name(context, check->id);
    return ERR_OK;
}

static enum err collect_instance(void *context, const struct registry_instance *instance,
                                 enum registry_status status)
{
    (void)status;
    add_name(context, instance->id);
    return ERR_OK;
}

static enum err collect_service(void *context, const struct registry_service *service)
{
    add_name(context, service->name);
    return ERR_OK;
}

static const char *instances(struct world *w, const char *service, bool passing_only)
{
    static struct names names;
    names.text[0] = '\0';
    assert_int_equal(
        registry_service_instances(&w->txn, str(service), passing_only, collect_instance, &names),
        ERR_OK);
    return names.text;
}

static enum registry_status web_status(struct world *w)
{
    struct registry_instance instance;
    enum registry_status status = REGISTRY_CRITICAL;
    assert_int_equal(registry_instance_get(&w->txn, str("web"), str("web-1"), &instance), ERR_OK);
    assert_int_equal(registry_instance_status(&w->txn, &instance, &status), ERR_OK);
    return status;
}

/* ---- instances ------------------------------------------------------------------------------- */

static void registration_is_read_back_whole(void **state)
{
    struct world *w = *state;
    register_web(w, 1);
    struct registry_instance i;
    assert_int_equal(registry_instance_get(&w->txn, str("WEB"), str("web-1"), &i), ERR_OK);
    assert_true(bytes_eq_str(i.service, "Web"));
    assert_int_equal(i.node, 1);
    assert_int_equal(i.port, 8080);
    assert_int_equal(i.tag_count, 2);
    assert_true(bytes_eq_str(i.tags[1], "blue"));
    assert_true(bytes_eq_str(i.meta[0].value, "v"));
    assert_true(bytes_eq_str(i.tagged[0].address, "1.2.3.4"));
    assert_true(bytes_eq_str(i.document, "{}"));
    assert_int_equal(i.create_index, 1);
    struct registry_check check = get_check(w, 1, "service:web-1");
    assert_true(bytes_eq_str(check.name, "Service 'Web' check"));
    assert_true(bytes_eq_str(check.service, "Web"));
    assert_int_equal(check.owner, 1);
    assert_int_equal(check.epoch, 1);
    assert_int_equal(check.critical_since_ms, w->time_ms);
    assert_int_equal(world_changes_of(w, TABLE_SERVICES, str("web")), 1);
    assert_int_equal(world_changes(w, TABLE_INSTANCES), 1);
    assert_int_equal(world_changes(w, TABLE_CHECKS), 1);
}

static void several_checks_get_numbered_ids(void **state)
{
    struct world *w = *state;
    struct registry_instance instance = web(1);
    struct registry_check checks[12];
    for (size_t i = 0; i < 12; i++) {
        checks[i] = ttl_check(i == 1 ? "mine" : "");
    }
    assert_int_equal(run_register(w, &instance, checks, 12, false), ERR_OK);
    assert_true(has_check(w, 1, "service:web-1:1"));
    assert_true(has_check(w, 1, "mine"));
    assert_false(has_check(w, 1, "service:web-1:2"));
    assert_true(has_check(w, 1, "service:web-1:3"));
    assert_true(has_check(w, 1, "service:web-1:12"));
}

static void equal_registration_changes_nothing(void **state)
{
    struct world *w = *state;
    register_web(w, 1);
    assert_int_equal(w->result.result.value, 1);
    register_web(w, 1);
    assert_int_equal(w->result.result.value, 0);
    assert_int_equal(w->change_count, 0);
    assert_int_equal(service_index(w, "web"), 1);
    assert_int_equal(services_index(w), 1);
}

static void registering_again_keeps_the_status_of_checks(void **state)
{
    struct world *w = *state;
    register_web(w, 1);
    assert_int_equal(set_status(w, 1, "service:web-1", REGISTRY_PASSING), ERR_OK);
    struct registry_instance instance = web(1);
    struct registry_check check = ttl_check("");
    check.def.ttl_ms = 20000;
    instance.port = 9090;
    assert_int_equal(run_register(w, &instance, &check, 1, false), ERR_OK);
    struct registry_check now = get_check(w, 1, "service:web-1");
    assert_int_equal(now.status, REGISTRY_PASSING);
    assert_true(bytes_eq_str(now.output, "out"));
    assert_int_equal(now.def.ttl_ms, 20000);
    assert_int_equal(now.create_index, 1);
    assert_int_equal(now.modify_index, 3);
    assert_int_equal(now.epoch, 1);
    assert_int_equal(service_index(w, "web"), 3);
}

static void replacing_checks_drops_the_unnamed_but_not_maintenance(void **state)
{
    struct world *w = *state;
    struct registry_instance instance = web(1);
    struct registry_check checks[] = {ttl_check("a"), ttl_check("b")};
    assert_int_equal(run_register(w, &instance, checks, 2, false), ERR_OK);
    struct registry_maintenance on = {.node = 1, .instance_id = str("web-1"), .enable = true};
    assert_int_equal(registry_maintenance_encode(&on, &w->body), ERR_OK);
    assert_int_equal(world_run(w, REGISTRY_CMD_MAINTENANCE), ERR_OK);
    struct registry_check other = ttl_check("c");
    assert_int_equal(run_register(w, &instance, &other, 1, false), ERR_OK);
    assert_true(has_check(w, 1, "a") && has_check(w, 1, "c"));
    assert_int_equal(run_register(w, &instance, &checks[1], 1, true), ERR_OK);
    assert_false(has_check(w, 1, "a") || has_check(w, 1, "c"));
    assert_true(has_check(w, 1, "b") && has_check(w, 1, "_service_maintenance:web-1"));
}

static void registering_through_another_node_moves_the_instance(void **state)
{
    struct world *w = *state;
    register_web(w, 1);
    assert_int_equal(set_status(w, 1, "service:web-1", REGISTRY_WARNING), ERR_OK);
    struct registry_instance instance = web(2);
    assert_int_equal(run_register(w, &instance, NULL, 0, false), ERR_OK);
    assert_string_equal(instances(w, "web", false), "web-1 ");
    assert_false(has_check(w, 1, "service:web-1"));
    struct registry_check check = get_check(w, 2, "service:web-1");
    assert_int_equal(check.status, REGISTRY_WARNING);
    assert_int_equal(check.owner, 2);
    assert_int_equal(check.epoch, 3);
    struct names names = {""};
    assert_int_equal(registry_node_instances(&w->txn, 1, collect_instance, &names), ERR_OK);
    assert_string_equal(names.text, "");
    assert_int_equal(registry_node_instances(&w->txn, 2, collect_instance, &names), ERR_OK);
    assert_string_equal(names.text, "web-1 ");
    /* What the former owner still reports is refused. */
    struct registry_update late = {
        .node = 2,
        .check_id = str("service:web-1"),
        .owner = 1,
        .epoch = 1,
        .status = REGISTRY_CRITICAL,
    };
    assert_int_equal(run_update(w, &late), ERR_CONFLICT);
}

static void same_id_under_another_name_replaces_on_the_node_only(void **state)
{
    struct world *w = *state;
    register_web(w, 1);
    struct registry_instance api = web(2);
    api.service = str("api");
    assert_int_equal(run_register(w, &api, NULL, 0, false), ERR_OK);
    assert_string_equal(instances(w, "web", false), "web-1 ");
    assert_string_equal(instances(w, "api", false), "web-1 ");
    api.node = 1;
    api.service = str("shop");
    assert_int_equal(run_register(w, &api, NULL, 0, false), ERR_OK);
    assert_string_equal(instances(w, "web", false), "");
    assert_false(has_check(w, 1, "service:web-1"));
    struct names names = {""};
    assert_int_equal(registry_services(&w->txn, collect_service, &names), ERR_OK);
    assert_string_equal(names.text, "api shop ");
}

static enum err run_deregister(struct world *w, uint32_t node, const char *id)
{
    assert_int_equal(registry_deregister_encode(node, str(id), &w->body), ERR_OK);
    return world_run(w, REGISTRY_CMD_SERVICE_DEREGISTER);
}

static void deregistering_works_from_any_node(void **state)
{
    struct world *w = *state;
    register_web(w, 1);
    assert_int_equal(run_deregister(w, 3, "web-2"), ERR_NOT_FOUND);
    assert_non_null(strstr(w->result.result.reason, "web-2"));
    assert_int_equal(run_deregister(w, 3, "web-1"), ERR_OK);
    assert_string_equal(instances(w, "web", false), "");
    assert_false(has_check(w, 1, "service:web-1"));
    assert_int_equal(world_changes_of(w, TABLE_SERVICES, str("web")), 1);
    assert_int_equal(run_deregister(w, 1, "web-1"), ERR_NOT_FOUND);
}

static void ambiguous_id_is_refused_elsewhere_and_found_on_its_node(void **state)
{
    struct world *w = *state;
    register_web(w, 1);
    struct registry_instance api = web(2);
    api.service = str("api");
    assert_int_equal(run_register(w, &api, NULL, 0, false), ERR_OK);
    assert_int_equal(run_deregister(w, 3, "web-1"), ERR_CONFLICT);
    assert_int_equal(run_deregister(w, 2, "web-1"), ERR_OK);
    assert_string_equal(instances(w, "web", false), "web-1 ");
    assert_int_equal(run_deregister(w, 3, "web-1"), ERR_OK);
}

static void index_of_a_service_survives_its_end(void **state)
{
    struct world *w = *state;
    assert_int_equal(service_index(w, "web"), 1);
    w->index = 10;
    register_web(w, 1);
    assert_int_equal(service_index(w, "web"), 11);
    assert_int_equal(run_deregister(w, 1, "web-1"), ERR_OK);
    assert_int_equal(service_index(w, "web"), 12);
    assert_int_equal(service_index(w, "other"), 1);
    register_web(w, 1);
    assert_int_equal(service_index(w, "web"), 13);
    uint64_t tombs = 1;
    assert_int_equal(tomb_count(&w->txn, &tombs), ERR_OK);
    assert_int_equal(tombs, 0);
}

static void services_are_bumped_one_by_one(void **state)
{
    struct world *w = *state;
    register_web(w, 1);
    struct registry_instance api = web(1);
    api.service = str("api");
    api.id = str("api-1");
    assert_int_equal(run_register(w, &api, NULL, 0, false), ERR_OK);
    assert_int_equal(set_status(w, 1, "service:web-1", REGISTRY_PASSING), ERR_OK);
    assert_int_equal(service_index(w, "web"), 3);
    assert_int_equal(service_index(w, "api"), 2);
    assert_int_equal(services_index(w), 2);
    assert_int_equal(world_changes(w, TABLE_SERVICES), 1);
    /* A check of the node concerns both. */
    struct registry_check check = ttl_check("node-check");
    check.node = 1;
    assert_int_equal(registry_check_register_encode(&check, &w->body), ERR_OK);
    assert_int_equal(world_run(w, REGISTRY_CMD_CHECK_REGISTER), ERR_OK);
    assert_int_equal(world_changes(w, TABLE_SERVICES), 2);
    assert_int_equal(service_index(w, "web"), 4);
    assert_int_equal(service_index(w, "api"), 4);
}

/* ---- checks ---------------------------------------------------------------------------------- */

static void instance_is_as_bad_as_its_worst_check(void **state)
{
    struct world *w = *state;
    register_web(w, 1);
    assert_int_equal(web_status(w), REGISTRY_CRITICAL);
    assert_string_equal(instances(w, "web", true), "");
    assert_int_equal(set_status(w, 1, "service:web-1", REGISTRY_PASSING), ERR_OK);
    assert_int_equal(web_status(w), REGISTRY_PASSING);
    assert_string_equal(instances(w, "Web", true), "web-1 ");
    struct registry_check check = ttl_check("node-check");
    check.node = 1;
    check.status = REGISTRY_WARNING;
    assert_int_equal(registry_check_register_encode(&check, &w->body), ERR_OK);
    assert_int_equal(world_run(w, REGISTRY_CMD_CHECK_REGISTER), ERR_OK);
    assert_int_equal(web_status(w), REGISTRY_WARNING);
    assert_string_equal(instances(w, "web", true), "");
    assert_string_equal(instances(w, "web", false), "web-1 ");
}

static void checks_are_listed_by_instance_service_node_and_owner(void **state)
{
    struct world *w = *state;
    register_web(w, 1);
    struct registry_check check = ttl_check("node-check");
    check.node = 1;
    assert_int_equal(registry_check_register_encode(&check, &w->body), ERR_OK);
    assert_int_equal(world_run(w, REGISTRY_CMD_CHECK_REGISTER), ERR_OK);
    /* Of an instance on node 1, registered through and owned by node 2. */
    check = ttl_check("extra");
    check.node = 2;
    check.instance_id = str("web-1");
    assert_int_equal(registry_check_register_encode(&check, &w->body), ERR_OK);
    assert_int_equal(world_run(w, REGISTRY_CMD_CHECK_REGISTER), ERR_OK);
    struct registry_instance instance;
    assert_int_equal(registry_instance_find(&w->txn, 9, str("web-1"), &instance), ERR_OK);
    struct names names = {""};
    assert_int_equal(registry_instance_checks(&w->txn, &instance, collect_check, &names), ERR_OK);
    assert_string_equal(names.text, "node-check extra service:web-1 ");
    names.text[0] = '\0';
    assert_int_equal(registry_service_checks(&w->txn, str("web"), collect_check, &names), ERR_OK);
    assert_string_equal(names.text, "extra service:web-1 ");
    names.text[0] = '\0';
    assert_int_equal(registry_node_checks(&w->txn, 1, collect_check, &names), ERR_OK);
    assert_string_equal(names.text, "extra node-check service:web-1 ");
    names.text[0] = '\0';
    assert_int_equal(registry_owner_checks(&w->txn, 2, collect_check, &names), ERR_OK);
    assert_string_equal(names.text, "extra ");
    names.text[0] = '\0';
    assert_int_equal(registry_checks(&w->txn, collect_check, &names), ERR_OK);
    assert_string_equal(names.text, "extra node-check service:web-1 ");
    names.text[0] = '\0';
    assert_int_equal(registry_service_checks(&w->txn, str("we"), collect_check, &names), ERR_OK);
    assert_string_equal(names.text, "");
}

static void update_without_a_change_bumps_nothing(void **state)
{
    struct world *w = *state;
    register_web(w, 1);
    assert_int_equal(set_status(w, 1, "service:web-1", REGISTRY_PASSING), ERR_OK);
    assert_int_equal(w->result.result.value, 1);
    assert_int_equal(set_status(w, 1, "service:web-1", REGISTRY_PASSING), ERR_OK);
    assert_int_equal(w->result.result.value, 0);
    assert_int_equal(w->change_count, 0);
    assert_int_equal(service_index(w, "web"), 2);
    assert_int_equal(set_status(w, 1, "missing", REGISTRY_PASSING), ERR_NOT_FOUND);
}

static void check_is_found_and_deregistered_by_id_alone(void **state)
{
    struct world *w = *state;
    register_web(w, 1);
    struct registry_check check;
    assert_int_equal(registry_check_find(&w->txn, 3, str("service:web-1"), &check), ERR_OK);
    assert_int_equal(check.node, 1);
    assert_int_equal(registry_check_find(&w->txn, 3, str("service:web"), &check), ERR_NOT_FOUND);
    assert_int_equal(registry_check_deregister_encode(3, str("service:web-1"), &w->body), ERR_OK);
    assert_int_equal(world_run(w, REGISTRY_CMD_CHECK_DEREGISTER), ERR_OK);
    assert_int_equal(service_index(w, "web"), 2);
    assert_int_equal(web_status(w), REGISTRY_PASSING);
    assert_int_equal(registry_check_deregister_encode(3, str("service:web-1"), &w->body), ERR_OK);
    assert_int_equal(world_run(w, REGISTRY_CMD_CHECK_DEREGISTER), ERR_NOT_FOUND);
}

static void check_of_an_unknown_instance_is_refused(void **state)
{
    struct world *w = *state;
    struct registry_check check = ttl_check("c");
    check.node = 1;
    check.instance_id = str("web-1");
    assert_int_equal(registry_check_register_encode(&check, &w->body), ERR_OK);
    assert_int_equal(world_run(w, REGISTRY_CMD_CHECK_REGISTER), ERR_NOT_FOUND);
    assert_int_equal(w->change_count, 0);
}

static void check_id_taken_over_from_another_instance_starts_anew(void **state)
{
    struct world *w = *state;
    register_web(w, 1);
    assert_int_equal(set_status(w, 1, "service:web-1", REGISTRY_PASSING), ERR_OK);
    struct registry_instance api = web(1);
    api.service = str("api");
    api.id = str("api-1");
    struct registry_check check = ttl_check("service:web-1");
    assert_int_equal(run_register(w, &api, &check, 1, false), ERR_OK);
    struct registry_check now = get_check(w, 1, "service:web-1");
    assert_true(bytes_eq_str(now.service, "api"));
    assert_int_equal(now.status, REGISTRY_CRITICAL);
    assert_int_equal(service_index(w, "web"), 3);
    assert_int_equal(web_status(w), REGISTRY_PASSING);
}

static void maintenance_makes_critical_and_ends_without_trace(void **state)
{
    struct world *w = *state;
    register_web(w, 1);
    assert_int_equal(set_status(w, 1, "service:web-1", REGISTRY_PASSING), ERR_OK);
    struct registry_maintenance m = {
        .node = 3, .instance_id = str("web-1"), .enable = true, .reason = str("because")};
    assert_int_equal(registry_maintenance_encode(&m, &w->body), ERR_OK);
    assert_int_equal(world_run(w, REGISTRY_CMD_MAINTENANCE), ERR_OK);
    assert_int_equal(web_status(w), REGISTRY_CRITICAL);
    struct registry_check check = get_check(w, 1, "_service_maintenance:web-1");
    assert_true(bytes_eq_str(check.notes, "because"));
    m.enable = false;
    assert_int_equal(registry_maintenance_encode(&m, &w->body), ERR_OK);
    assert_int_equal(world_run(w, REGISTRY_CMD_MAINTENANCE), ERR_OK);
    assert_int_equal(w->result.result.value, 1);
    assert_int_equal(web_status(w), REGISTRY_PASSING);
    assert_int_equal(registry_maintenance_encode(&m, &w->body), ERR_OK);
    assert_int_equal(world_run(w, REGISTRY_CMD_MAINTENANCE), ERR_OK);
    assert_int_equal(w->result.result.value, 0);
    m = (struct registry_maintenance){.node = 1, .enable = true};
    assert_int_equal(registry_maintenance_encode(&m, &w->body), ERR_OK);
    assert_int_equal(world_run(w, REGISTRY_CMD_MAINTENANCE), ERR_OK);
    assert_true(has_check(w, 1, "_node_maintenance"));
    assert_int_equal(web_status(w), REGISTRY_CRITICAL);
    m = (struct registry_maintenance){.node = 1, .instance_id = str("none"), .enable = true};
    assert_int_equal(registry_maintenance_encode(&m, &w->body), ERR_OK);
    assert_int_equal(world_run(w, REGISTRY_CMD_MAINTENANCE), ERR_NOT_FOUND);
}

/* ---- owners ---------------------------------------------------------------------------------- */

static void reassigning_hands_over_all_checks_of_a_node(void **state)
{
    struct world *w = *state;
    register_web(w, 1);
    struct registry_check check = ttl_check("node-check");
    check.node = 1;
    assert_int_equal(registry_check_register_encode(&check, &w->body), ERR_OK);
    assert_int_equal(world_run(w, REGISTRY_CMD_CHECK_REGISTER), ERR_OK);
    assert_int_equal(registry_reassign_encode(1, 2, &w->body), ERR_OK);
    assert_int_equal(world_run(w, REGISTRY_CMD_CHECKS_REASSIGN), ERR_OK);
    assert_int_equal(w->result.result.value, 2);
    assert_int_equal(world_changes(w, TABLE_CHECKS), 2);
    assert_int_equal(world_changes(w, TABLE_SERVICES), 0);
    assert_int_equal(service_index(w, "web"), 2);
    struct registry_check now = get_check(w, 1, "service:web-1");
    assert_int_equal(now.node, 1);
    assert_int_equal(now.owner, 2);
    assert_int_equal(now.epoch, 3);
    struct names names = {""};
    assert_int_equal(registry_owner_checks(&w->txn, 1, collect_check, &names), ERR_OK);
    assert_string_equal(names.text, "");
    struct registry_update update = {
        .node = 1,
        .check_id = str("service:web-1"),
        .owner = 1,
        .epoch = 1,
        .status = REGISTRY_PASSING,
    };
    assert_int_equal(run_update(w, &update), ERR_CONFLICT);
    update.owner = 2;
    update.epoch = 3;
    assert_int_equal(run_update(w, &update), ERR_OK);
    assert_int_equal(get_check(w, 1, "service:web-1").status, REGISTRY_PASSING);
}

static enum err run_reap(struct world *w, const char *id)
{
    struct registry_check check = get_check(w, 1, id);
    struct registry_reap reap = {
        .node = 1,
        .check_id = str(id),
        .owner = check.owner,
        .epoch = check.epoch,
    };
    assert_int_equal(registry_reap_encode(&reap, &w->body), ERR_OK);
    return world_run(w, REGISTRY_CMD_REAP);
}

static void critical_instance_is_reaped_after_its_time_only(void **state)
{
    struct world *w = *state;
    struct registry_instance instance = web(1);
    struct registry_check check = ttl_check("c");
    check.def.deregister_critical_after_ms = 60000;
    assert_int_equal(run_register(w, &instance, &check, 1, false), ERR_OK);
    w->time_ms += 59999;
    assert_int_equal(run_reap(w, "c"), ERR_CONFLICT);
    assert_int_equal(set_status(w, 1, "c", REGISTRY_PASSING), ERR_OK);
    w->time_ms += 60000;
    assert_int_equal(run_reap(w, "c"), ERR_CONFLICT);
    assert_int_equal(set_status(w, 1, "c", REGISTRY_CRITICAL), ERR_OK);
    w->time_ms += 59999;
    assert_int_equal(run_reap(w, "c"), ERR_CONFLICT);
    w->time_ms += 1;
    assert_int_equal(run_reap(w, "c"), ERR_OK);
    assert_int_equal(w->result.result.value, 1);
    assert_string_equal(instances(w, "web", false), "");
}

static void time_of_getting_critical_outlives_new_output_and_registration(void **state)
{
    struct world *w = *state;
    clk_ms began = w->time_ms;
    register_web(w, 1);
    w->time_ms += 1000;
    assert_int_equal(set_status(w, 1, "service:web-1", REGISTRY_CRITICAL), ERR_OK);
    assert_int_equal(w->result.result.value, 1);
    assert_int_equal(get_check(w, 1, "service:web-1").critical_since_ms, began);
    struct registry_instance instance = web(1);
    struct registry_check check = ttl_check("");
    check.def.ttl_ms = 5;
    assert_int_equal(run_register(w, &instance, &check, 1, false), ERR_OK);
    assert_int_equal(get_check(w, 1, "service:web-1").critical_since_ms, began);
    assert_int_equal(set_status(w, 1, "service:web-1", REGISTRY_PASSING), ERR_OK);
    assert_int_equal(get_check(w, 1, "service:web-1").critical_since_ms, 0);
    assert_int_equal(set_status(w, 1, "service:web-1", REGISTRY_CRITICAL), ERR_OK);
    assert_int_equal(get_check(w, 1, "service:web-1").critical_since_ms, w->time_ms);
}

static void check_without_a_time_is_never_reaped(void **state)
{
    struct world *w = *state;
    register_web(w, 1);
    w->time_ms += 1000000000;
    assert_int_equal(run_reap(w, "service:web-1"), ERR_CONFLICT);
    assert_string_equal(instances(w, "web", false), "web-1 ");
}

/* ---- limits and bytes ------------------------------------------------------------------------ */

static enum err instance_verdict(const struct registry_instance *instance)
{
    const char *reason = NULL;
    enum err err = registry_instance_check(instance, &reason);
    assert_int_equal(err == ERR_OK, reason == NULL);
    return err;
}

static void instances_out_of_limits_are_refused(void **state)
{
    (void)state;
    static uint8_t large[REGISTRY_DOCUMENT_MAX + 1];
    memset(large, 'x', sizeof(large));
    struct registry_instance i = web(1);
    assert_int_equal(instance_verdict(&i), ERR_OK);
    i.document = bytes_of(large, REGISTRY_DOCUMENT_MAX + 1);
    assert_int_equal(instance_verdict(&i), ERR_TOO_LARGE);
    i = web(1);
    i.service = bytes_of(large, REGISTRY_NAME_MAX + 1);
    assert_int_equal(instance_verdict(&i), ERR_TOO_LARGE);
    i = web(1);
    i.id = bytes_of(large, REGISTRY_ID_MAX + 1);
    assert_int_equal(instance_verdict(&i), ERR_TOO_LARGE);
    i = web(1);
    i.meta[0].value = bytes_of(large, REGISTRY_META_VALUE_MAX + 1);
    assert_int_equal(instance_verdict(&i), ERR_TOO_LARGE);
    i = web(1);
    i.weight_passing = REGISTRY_WEIGHT_MAX + 1;
    assert_int_equal(instance_verdict(&i), ERR_TOO_LARGE);
    i = web(1);
    i.service = bytes_of("a\0b", 3);
    assert_int_equal(instance_verdict(&i), ERR_BAD_INPUT);
    i = web(0);
    assert_int_equal(instance_verdict(&i), ERR_BAD_INPUT);
    i = web(1);
    i.id = str("");
    assert_int_equal(instance_verdict(&i), ERR_BAD_INPUT);
    i = web(1);
    i.address = str("a b");
    assert_int_equal(instance_verdict(&i), ERR_BAD_INPUT);
}

static void checks_out_of_limits_are_refused(void **state)
{
    (void)state;
    static uint8_t large[REGISTRY_OUTPUT_MAX + 1];
    memset(large, 'x', sizeof(large));
    const char *reason = NULL;
    struct registry_check c = ttl_check("c");
    assert_int_equal(registry_check_check(&c, &reason), ERR_OK);
    c.output = bytes_of(large, sizeof(large));
    assert_int_equal(registry_check_check(&c, &reason), ERR_TOO_LARGE);
    c = ttl_check("c");
    c.def.ttl_ms = 0;
    assert_int_equal(registry_check_check(&c, &reason), ERR_BAD_INPUT);
    assert_string_equal(reason, "a TTL check needs a TTL above zero");
    c.type = REGISTRY_CHECK_HTTP;
    assert_int_equal(registry_check_check(&c, &reason), ERR_BAD_INPUT);
    c.def.http = str("http://x/");
    c.def.interval_ms = 1;
    assert_int_equal(registry_check_check(&c, &reason), ERR_OK);
    c.def.interval_ms = UINT64_MAX;
    assert_int_equal(registry_check_check(&c, &reason), ERR_BAD_INPUT);
    c = ttl_check("c");
    c.type = REGISTRY_CHECK_TCP;
    assert_int_equal(registry_check_check(&c, &reason), ERR_BAD_INPUT);
}

static void largest_registration_fits_and_is_found(void **state)
{
    struct world *w = *state;
    static uint8_t large[REGISTRY_DOCUMENT_MAX];
    memset(large, 'X', sizeof(large));
    struct registry_instance i = web(1);
    i.service = bytes_of(large, REGISTRY_NAME_MAX);
    i.id = bytes_of(large, REGISTRY_ID_MAX);
    i.document = bytes_of(large, REGISTRY_DOCUMENT_MAX);
    static struct registry_check checks[REGISTRY_CHECKS_MAX];
    for (size_t n = 0; n < REGISTRY_CHECKS_MAX; n++) {
        checks[n] = ttl_check("");
        checks[n].output = bytes_of(large, REGISTRY_OUTPUT_MAX);
    }
    uint8_t long_id[REGISTRY_CHECK_ID_MAX];
    memset(long_id, 'y', sizeof(long_id));
    checks[0].id = bytes_of(long_id, sizeof(long_id));
    assert_int_equal(run_register(w, &i, checks, REGISTRY_CHECKS_MAX, true), ERR_OK);
    struct registry_check check;
    assert_int_equal(registry_check_find(&w->txn, 7, checks[0].id, &check), ERR_OK);
    assert_int_equal(run_register(w, &i, NULL, 0, true), ERR_OK);
    assert_int_equal(registry_check_find(&w->txn, 7, checks[0].id, &check), ERR_NOT_FOUND);
    assert_int_equal(registry_deregister_encode(5, i.id, &w->body), ERR_OK);
    assert_int_equal(world_run(w, REGISTRY_CMD_SERVICE_DEREGISTER), ERR_OK);
}

static void assert_body(struct world *w, const uint8_t *golden, size_t len)
{
    assert_int_equal(w->body.len, len);
    assert_memory_equal(w->body.data, golden, len);
    buf_clear(&w->body);
}

static void bodies_have_golden_bytes(void **state)
{
    struct world *w = *state;
    struct registry_instance i = {.service = str("s"),
                                  .id = str("i"),
                                  .node = 2,
                                  .port = 0x1234,
                                  .weight_passing = 1,
                                  .tags = {str("t")},
                                  .tag_count = 1,
                                  .meta = {{str("k"), str("v")}},
                                  .meta_count = 1,
                                  .tagged = {{str("l"), str("a"), 5}},
                                  .tagged_count = 1,
                                  .enable_tag_override = true,
                                  .origin = REGISTRY_ORIGIN_CONSUL,
                                  .document = str("d")};
    struct registry_check c = {.id = str("c"),
                               .type = REGISTRY_CHECK_HTTP,
                               .name = str("n"),
                               .status = REGISTRY_WARNING,
                               .def = {.interval_ms = 300,
                                       .http = str("u"),
                                       .headers = {{str("h"), str("w")}},
                                       .header_count = 1}};
    struct registry_register reg = {
        .instance = &i, .checks = &c, .check_count = 1, .replace_checks = true};
    assert_int_equal(registry_register_encode(&reg, &w->body), ERR_OK);
    static const uint8_t reg_golden[] = {
        1, 2,   0, 0, 0,   1, 1,    's', 1, 'i', 0, 0x34, 0x12, 1, 0,   0, 0, 0, 0,   0,   0, 1,
        1, 0,   1, 1, 't', 1, 1,    'k', 1, 'v', 1, 1,    'l',  1, 'a', 5, 0, 1, 'd', 1,   1, 'c',
        1, 'n', 0, 3, 2,   0, 0xac, 2,   0, 0,   0, 0,    0,    1, 'u', 0, 0, 1, 1,   'h', 1, 'w'};
    assert_body(w, reg_golden, sizeof(reg_golden));
    struct registry_update update = {.node = 1,
                                     .check_id = str("c"),
                                     .owner = 2,
                                     .epoch = 3,
                                     .status = REGISTRY_PASSING,
                                     .output = str("o")};
    assert_int_equal(registry_update_encode(&update, &w->body), ERR_OK);
    static const uint8_t update_golden[] = {1, 1, 0, 0, 0, 1, 'c', 2, 0, 0, 0,
                                            3, 0, 0, 0, 0, 0, 0,   0, 1, 1, 'o'};
    assert_body(w, update_golden, sizeof(update_golden));
    assert_int_equal(registry_reassign_encode(1, 2, &w->body), ERR_OK);
    static const uint8_t reassign_golden[] = {1, 1, 0, 0, 0, 2, 0, 0, 0};
    assert_body(w, reassign_golden, sizeof(reassign_golden));
    struct registry_maintenance m = {
        .node = 1, .instance_id = str("i"), .enable = true, .reason = str("r")};
    assert_int_equal(registry_maintenance_encode(&m, &w->body), ERR_OK);
    static const uint8_t maintenance_golden[] = {1, 1, 0, 0, 0, 1, 'i', 1, 1, 'r'};
    assert_body(w, maintenance_golden, sizeof(maintenance_golden));
}

static void rows_have_golden_bytes(void **state)
{
    struct world *w = *state;
    struct registry_instance i = {
        .service = str("S"), .id = str("i"), .node = 2, .origin = REGISTRY_ORIGIN_CONSUL};
    struct registry_check c = {
        .id = str("c"), .name = str("n"), .type = REGISTRY_CHECK_NONE, .status = REGISTRY_PASSING};
    assert_int_equal(run_register(w, &i, &c, 1, false), ERR_OK);
    struct bytes row;
    assert_int_equal(table_get(&w->txn, TABLE_INSTANCES, bytes_of("s\0i", 3), &row), ERR_OK);
    static const uint8_t instance_golden[] = {1, 2, 0, 0, 0, 1, 0, 0,   0, 0,   0, 0, 0, 1, 0,
                                              0, 0, 0, 0, 0, 0, 1, 'S', 1, 'i', 0, 0, 0, 0, 0,
                                              0, 0, 0, 0, 0, 0, 0, 1,   0, 0,   0, 0, 0};
    assert_int_equal(row.len, sizeof(instance_golden));
    assert_memory_equal(row.data, instance_golden, row.len);
    assert_int_equal(table_get(&w->txn, TABLE_CHECKS, bytes_of("\0\0\0\002c", 5), &row), ERR_OK);
    static const uint8_t check_golden[] = {1, 2, 0, 0, 0, 1, 0, 0, 0,   0, 0,   0, 0,   0, 0,
                                           0, 0, 0, 0, 0, 0, 1, 0, 0,   0, 0,   0, 0,   0, 1,
                                           0, 0, 0, 0, 0, 0, 0, 1, 'S', 1, 'i', 1, 'c', 1, 'n',
                                           0, 1, 1, 0, 0, 0, 0, 0, 0,   0, 0,   0, 0,   0};
    assert_int_equal(row.len, sizeof(check_golden));
    assert_memory_equal(row.data, check_golden, row.len);
    assert_int_equal(table_get(&w->txn, TABLE_SERVICES, str("s"), &row), ERR_OK);
    static const uint8_t service_golden[] = {1, 1, 0, 0, 0, 0, 0, 0, 0,  1,
                                             0, 0, 0, 0, 0, 0, 0, 1, 'S'};
    assert_int_equal(row.len, sizeof(service_golden));
    assert_memory_equal(row.data, service_golden, row.len);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(registration_is_read_back_whole),
        WORLD_TEST(several_checks_get_numbered_ids),
        WORLD_TEST(equal_registration_changes_nothing),
        WORLD_TEST(registering_again_keeps_the_status_of_checks),
        WORLD_TEST(replacing_checks_drops_the_unnamed_but_not_maintenance),
        WORLD_TEST(registering_through_another_node_moves_the_instance),
        WORLD_TEST(same_id_under_another_name_replaces_on_the_node_only),
        WORLD_TEST(deregistering_works_from_any_node),
        WORLD_TEST(ambiguous_id_is_refused_elsewhere_and_found_on_its_node),
        WORLD_TEST(index_of_a_service_survives_its_end),
        WORLD_TEST(services_are_bumped_one_by_one),
        WORLD_TEST(instance_is_as_bad_as_its_worst_check),
        WORLD_TEST(checks_are_listed_by_instance_service_node_and_owner),
        WORLD_TEST(update_without_a_change_bumps_nothing),
        WORLD_TEST(check_is_found_and_deregistered_by_id_alone),
        WORLD_TEST(check_of_an_unknown_instance_is_refused),
        WORLD_TEST(check_id_taken_over_from_another_instance_starts_anew),
        WORLD_TEST(maintenance_makes_critical_and_ends_without_trace),
        WORLD_TEST(reassigning_hands_over_all_checks_of_a_node),
        WORLD_TEST(critical_instance_is_reaped_after_its_time_only),
        WORLD_TEST(time_of_getting_critical_outlives_new_output_and_registration),
        WORLD_TEST(check_without_a_time_is_never_reaped),
        WORLD_TEST(instances_out_of_limits_are_refused),
        WORLD_TEST(checks_out_of_limits_are_refused),
        WORLD_TEST(largest_registration_fits_and_is_found),
        WORLD_TEST(bodies_have_golden_bytes),
        WORLD_TEST(rows_have_golden_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
