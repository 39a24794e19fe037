/* The Consul door: rows of the tables as Consul's JSON objects. Lists are never null. */
#include "check/check.h"
#include "consul/consul_priv.h"

#include <inttypes.h>
#include <stdio.h>

enum {
    MS_PER_S = 1000,
    S_PER_MINUTE = 60,
    MINUTES_PER_HOUR = 60,
    NODE_NAME_TEXT_MAX = 32
};

static const struct bytes no_bytes = {NULL, 0};

/* ---- small forms ----------------------------------------------------------------------------- */

void consul_duration_text(uint64_t ms, char dest[CONSUL_DURATION_TEXT_MAX])
{
    uint64_t s = ms / MS_PER_S;
    uint64_t rest = ms % MS_PER_S;
    if (ms < MS_PER_S) {
        (void)snprintf(dest, CONSUL_DURATION_TEXT_MAX, ms == 0 ? "0s" : "%" PRIu64 "ms", ms);
        return;
    }
    char seconds[24];
    int len = snprintf(seconds, sizeof(seconds), "%" PRIu64, s % S_PER_MINUTE);
    if (rest > 0) {
        len += snprintf(seconds + len, sizeof(seconds) - (size_t)len, ".%03" PRIu64, rest);
        while (seconds[len - 1] == '0') {
            seconds[--len] = '\0';
        }
    }
    uint64_t minutes = s / S_PER_MINUTE;
    if (minutes == 0) {
        (void)snprintf(dest, CONSUL_DURATION_TEXT_MAX, "%ss", seconds);
    } else if (minutes < MINUTES_PER_HOUR) {
        (void)snprintf(dest, CONSUL_DURATION_TEXT_MAX, "%" PRIu64 "m%ss", minutes, seconds);
    } else {
        (void)snprintf(dest, CONSUL_DURATION_TEXT_MAX, "%" PRIu64 "h%" PRIu64 "m%ss",
                       minutes / MINUTES_PER_HOUR, minutes % MINUTES_PER_HOUR, seconds);
    }
}

struct bytes consul_host_of(struct bytes address)
{
    size_t end = address.len;
    for (size_t i = address.len; i > 0; i--) {
        if (address.data[i - 1] == ':') {
            end = i - 1;
            break;
        }
    }
    struct bytes host = bytes_of(address.data, end);
    bool bracketed = host.len >= 2 && host.data[0] == '[' && host.data[host.len - 1] == ']';
    return bracketed ? bytes_of(host.data + 1, host.len - 2) : host;
}

/* A member that is not in the table (yet): what can be said of it. */
static enum err unknown_member(struct consul_view *view, uint32_t node, struct member *ret_member)
{
    const struct node_cfg *cfg = view->cfg;
    *ret_member = (struct member){.node = node, .state = MEMBER_UNSEEN};
    if (node == cfg->id) {
        ret_member->state = MEMBER_ALIVE;
        ret_member->name = bytes_of_str(cfg->name);
        ret_member->http_address = bytes_of_str(cfg->http_addr);
        ret_member->peer_address = bytes_of_str(cfg->peer_addr);
        return ERR_OK;
    }
    char *name = arena_alloc(view->arena, NODE_NAME_TEXT_MAX);
    if (name == NULL) {
        return ERR_FULL;
    }
    (void)snprintf(name, NODE_NAME_TEXT_MAX, "node-%u", node);
    ret_member->name = bytes_of_str(name);
    return ERR_OK;
}

enum err consul_member(struct consul_view *view, uint32_t node, struct member *ret_member)
{
    enum err err = member_get(view->txn, node, ret_member);
    return err == ERR_NOT_FOUND ? unknown_member(view, node, ret_member) : err;
}

void consul_write_node_id(struct json_out *out, const char *key, const struct member *member)
{
    char id[40] = "";
    if (member->storage_id != 0) {
        (void)snprintf(id, sizeof(id), "%08x-%04x-%04x-%04x-%012x",
                       (unsigned)(member->storage_id >> 32),
                       (unsigned)(member->storage_id >> 16 & 0xffff),
                       (unsigned)(member->storage_id & 0xffff), 0u, (unsigned)member->node);
    }
    json_out_field_str(out, key, id);
}

static struct bytes address_of(const struct member *member)
{
    return consul_host_of(member->http_address.len > 0 ? member->http_address
                                                       : member->peer_address);
}

static void write_indices(struct json_out *out, uint64_t create, uint64_t modify)
{
    json_out_field_u64(out, "CreateIndex", create);
    json_out_field_u64(out, "ModifyIndex", modify);
}

static void write_empty_object(struct json_out *out, const char *key)
{
    json_out_key(out, key);
    json_out_object(out);
    json_out_object_end(out);
}

static void write_node_addresses(struct json_out *out, struct bytes address)
{
    json_out_key(out, "TaggedAddresses");
    json_out_object(out);
    json_out_field_bytes(out, "lan", address);
    json_out_field_bytes(out, "wan", address);
    json_out_object_end(out);
}

/* ID, Node, Address, Datacenter, TaggedAddresses: common to several rows. */
static void write_node_head(struct consul_view *view, const struct member *member)
{
    struct json_out *out = view->out;
    consul_write_node_id(out, "ID", member);
    json_out_field_bytes(out, "Node", member->name);
    json_out_field_bytes(out, "Address", address_of(member));
    json_out_field_str(out, "Datacenter", view->cfg->datacenter);
    write_node_addresses(out, address_of(member));
}

void consul_write_node(struct consul_view *view, const struct member *member)
{
    struct json_out *out = view->out;
    json_out_object(out);
    write_node_head(view, member);
    write_empty_object(out, "Meta");
    write_indices(out, member->create_index, member->modify_index);
    json_out_object_end(out);
}

/* ---- services -------------------------------------------------------------------------------- */

static void write_tags(struct json_out *out, const char *key,
                       const struct registry_instance *instance)
{
    json_out_key(out, key);
    json_out_array(out);
    for (uint32_t i = 0; instance != NULL && i < instance->tag_count; i++) {
        json_out_bytes(out, instance->tags[i]);
    }
    json_out_array_end(out);
}

static void write_meta(struct json_out *out, const char *key,
                       const struct registry_instance *instance)
{
    json_out_key(out, key);
    json_out_object(out);
    for (uint32_t i = 0; i < instance->meta_count; i++) {
        json_out_key_bytes(out, instance->meta[i].key);
        json_out_bytes(out, instance->meta[i].value);
    }
    json_out_object_end(out);
}

static void write_tagged(struct json_out *out, const char *key,
                         const struct registry_instance *instance)
{
    json_out_key(out, key);
    json_out_object(out);
    for (uint32_t i = 0; i < instance->tagged_count; i++) {
        json_out_key_bytes(out, instance->tagged[i].tag);
        json_out_object(out);
        json_out_field_bytes(out, "Address", instance->tagged[i].address);
        json_out_field_u64(out, "Port", instance->tagged[i].port);
        json_out_object_end(out);
    }
    json_out_object_end(out);
}

static void write_weights(struct json_out *out, const char *key,
                          const struct registry_instance *instance)
{
    json_out_key(out, key);
    json_out_object(out);
    json_out_field_u64(out, "Passing", instance->weight_passing);
    json_out_field_u64(out, "Warning", instance->weight_warning);
    json_out_object_end(out);
}

/* What the agent's and the catalog's forms of a service have in common. */
static void write_service_fields(struct json_out *out, const struct registry_instance *instance)
{
    if (instance->kind.len > 0) {
        json_out_field_bytes(out, "Kind", instance->kind);
    }
    json_out_field_bytes(out, "ID", instance->id);
    json_out_field_bytes(out, "Service", instance->service);
    write_tags(out, "Tags", instance);
    write_meta(out, "Meta", instance);
    json_out_field_u64(out, "Port", instance->port);
    json_out_field_bytes(out, "Address", instance->address);
    write_tagged(out, "TaggedAddresses", instance);
    write_weights(out, "Weights", instance);
    json_out_field_bool(out, "EnableTagOverride", instance->enable_tag_override);
}

void consul_write_agent_service(struct consul_view *view, const struct registry_instance *instance)
{
    json_out_object(view->out);
    write_service_fields(view->out, instance);
    write_indices(view->out, instance->create_index, instance->modify_index);
    json_out_field_str(view->out, "Datacenter", view->cfg->datacenter);
}

void consul_write_service(struct consul_view *view, const struct registry_instance *instance)
{
    struct json_out *out = view->out;
    json_out_object(out);
    write_service_fields(out, instance);
    write_empty_object(out, "Proxy");
    write_empty_object(out, "Connect");
    json_out_field_str(out, "PeerName", "");
    write_indices(out, instance->create_index, instance->modify_index);
    json_out_object_end(out);
}

void consul_write_catalog_row(struct consul_view *view, const struct member *member,
                              const struct registry_instance *instance)
{
    struct json_out *out = view->out;
    json_out_object(out);
    write_node_head(view, member);
    write_empty_object(out, "NodeMeta");
    json_out_field_bytes(out, "ServiceKind", instance->kind);
    json_out_field_bytes(out, "ServiceID", instance->id);
    json_out_field_bytes(out, "ServiceName", instance->service);
    write_tags(out, "ServiceTags", instance);
    json_out_field_bytes(out, "ServiceAddress", instance->address);
    write_tagged(out, "ServiceTaggedAddresses", instance);
    write_weights(out, "ServiceWeights", instance);
    write_meta(out, "ServiceMeta", instance);
    json_out_field_u64(out, "ServicePort", instance->port);
    json_out_field_bool(out, "ServiceEnableTagOverride", instance->enable_tag_override);
    write_empty_object(out, "ServiceProxy");
    write_empty_object(out, "ServiceConnect");
    write_indices(out, instance->create_index, instance->modify_index);
    json_out_object_end(out);
}

/* ---- checks ---------------------------------------------------------------------------------- */

static void write_duration(struct json_out *out, const char *key, uint64_t ms)
{
    char text[CONSUL_DURATION_TEXT_MAX];
    consul_duration_text(ms, text);
    json_out_field_str(out, key, text);
}

/* "" when it was not given. */
static void write_duration_or_empty(struct json_out *out, const char *key, uint64_t ms)
{
    if (ms == 0) {
        json_out_field_str(out, key, "");
    } else {
        write_duration(out, key, ms);
    }
}

/* {"Name": ["value", ...]}: values of one name stand together, as they were decoded. */
static void write_check_headers(struct json_out *out, const struct registry_check_def *def)
{
    json_out_key(out, "Header");
    json_out_object(out);
    for (uint32_t i = 0; i < def->header_count; i++) {
        if (i == 0 || !bytes_eq(def->headers[i].key, def->headers[i - 1].key)) {
            json_out_key_bytes(out, def->headers[i].key);
            json_out_array(out);
        }
        json_out_bytes(out, def->headers[i].value);
        if (i + 1 == def->header_count || !bytes_eq(def->headers[i].key, def->headers[i + 1].key)) {
            json_out_array_end(out);
        }
    }
    json_out_object_end(out);
}

/* Only what was given, as in Consul. */
static void write_definition(struct json_out *out, const struct registry_check_def *def)
{
    json_out_key(out, "Definition");
    json_out_object(out);
    if (def->interval_ms > 0) {
        write_duration(out, "Interval", def->interval_ms);
    }
    if (def->timeout_ms > 0) {
        write_duration(out, "Timeout", def->timeout_ms);
    }
    if (def->deregister_critical_after_ms > 0) {
        write_duration(out, "DeregisterCriticalServiceAfter", def->deregister_critical_after_ms);
    }
    if (def->ttl_ms > 0) {
        write_duration(out, "TTL", def->ttl_ms);
    }
    if (def->http.len > 0) {
        json_out_field_bytes(out, "HTTP", def->http);
        json_out_field_bytes(out, "Method", def->method);
        write_check_headers(out, def);
    }
    if (def->tcp.len > 0) {
        json_out_field_bytes(out, "TCP", def->tcp);
    }
    json_out_object_end(out);
}

static void write_check_fields(struct consul_view *view, const struct registry_check *check,
                               struct bytes node_name, const struct registry_instance *instance)
{
    struct json_out *out = view->out;
    json_out_object(out);
    json_out_field_bytes(out, "Node", node_name);
    json_out_field_bytes(out, "CheckID", check->id);
    json_out_field_bytes(out, "Name", check->name);
    json_out_field_str(out, "Status", registry_status_name(check->status));
    json_out_field_bytes(out, "Notes", check->notes);
    json_out_field_bytes(out, "Output", check->output);
    json_out_field_bytes(out, "ServiceID", check->instance_id);
    json_out_field_bytes(out, "ServiceName", check->service);
    write_tags(out, "ServiceTags", instance);
    json_out_field_str(out, "Type", registry_check_type_name(check->type));
    write_duration_or_empty(out, "Interval", check->def.interval_ms);
    write_duration_or_empty(out, "Timeout", check->def.timeout_ms);
    json_out_field_u64(out, "ExposedPort", 0);
    write_definition(out, &check->def);
    write_indices(out, check->create_index, check->modify_index);
    json_out_object_end(out);
}

enum err consul_write_check(struct consul_view *view, const struct registry_check *check,
                            const struct registry_instance *instance)
{
    struct member member;
    struct registry_instance found;
    enum err err = consul_member(view, check->node, &member);
    if (err == ERR_OK && instance == NULL && check->instance_id.len > 0) {
        err = registry_instance_get(view->txn, check->service, check->instance_id, &found);
        instance = err == ERR_OK ? &found : NULL;
        err = err == ERR_NOT_FOUND ? ERR_OK : err;
    }
    if (err == ERR_OK) {
        bool of_node = check->instance_id.len == 0;
        write_check_fields(view, check, member.name, of_node ? NULL : instance);
    }
    return err;
}

enum registry_status consul_serf_status(const struct member *member, bool watched)
{
    return member->state == MEMBER_ALIVE || watched ? REGISTRY_PASSING : REGISTRY_CRITICAL;
}

void consul_write_serf(struct consul_view *view, const struct member *member, bool watched)
{
    struct bytes output = BYTES_LITERAL("Agent not live or unreachable");
    if (member->state == MEMBER_ALIVE) {
        output = BYTES_LITERAL("Agent alive and reachable");
    } else if (watched) {
        output = BYTES_LITERAL("The node is unseen; another one runs the checks of this service");
    }
    struct registry_check serf = {
        .node = member->node,
        .id = BYTES_LITERAL("serfHealth"),
        .name = BYTES_LITERAL("Serf Health Status"),
        .notes = no_bytes,
        .type = REGISTRY_CHECK_NONE,
        .status = consul_serf_status(member, watched),
        .output = output,
        .create_index = member->create_index,
        .modify_index = member->modify_index,
    };
    write_check_fields(view, &serf, member->name, NULL);
}
