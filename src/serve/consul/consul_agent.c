/* The Consul door: what /v1/agent and /v1/status show.
 *
 * Lists of the agent show what was registered through this node; a single service is found wherever
 * it is. None of this needs a leader. */
#include "consul/consul_priv.h"
#include "map/map.h"
#include "text/text.h"

#include <stdio.h>

enum {
    /* Consul's numbers for the states of members. */
    MEMBER_STATUS_ALIVE = 1,
    MEMBER_STATUS_LEFT = 3,
    MEMBER_STATUS_FAILED = 4,
    HASH_TEXT_MAX = 17
};

/* ---- members --------------------------------------------------------------------------------- */

static uint64_t member_status(enum member_state state)
{
    switch (state) {
    case MEMBER_ALIVE:
        return MEMBER_STATUS_ALIVE;
    case MEMBER_LEFT:
        return MEMBER_STATUS_LEFT;
    case MEMBER_UNSEEN:
    default:
        return MEMBER_STATUS_FAILED;
    }
}

static uint16_t port_of(struct bytes address)
{
    char host[MEMBER_ADDRESS_MAX + 1];
    uint16_t port = 0;
    return text_parse_host_port(address, host, sizeof(host), &port) == ERR_OK ? port : 0;
}

static void write_member_tags(struct consul_view *view, const struct member *member)
{
    struct json_out *out = view->out;
    char port[8];
    (void)snprintf(port, sizeof(port), "%u", (unsigned)port_of(member->peer_address));
    json_out_key(out, "Tags");
    json_out_object(out);
    json_out_field_str(out, "role", "consul");
    json_out_field_str(out, "dc", view->cfg->datacenter);
    json_out_field_str(out, "port", port);
    json_out_field_bytes(out, "build", member->version);
    json_out_object_end(out);
}

static void write_member(struct consul_view *view, const struct member *member)
{
    static const char *const protocols[] = {"ProtocolMin", "ProtocolMax", "ProtocolCur",
                                            "DelegateMin", "DelegateMax", "DelegateCur"};
    struct json_out *out = view->out;
    json_out_object(out);
    json_out_field_bytes(out, "Name", member->name);
    json_out_field_bytes(out, "Addr", consul_host_of(member->peer_address));
    json_out_field_u64(out, "Port", port_of(member->peer_address));
    write_member_tags(view, member);
    json_out_field_u64(out, "Status", member_status(member->state));
    for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++) {
        json_out_field_u64(out, protocols[i], 2);
    }
    json_out_object_end(out);
}

static enum err visit_member(void *context, const struct member *member)
{
    write_member(context, member);
    return ERR_OK;
}

static enum err render_members(struct consul_read *read, struct consul_view *view)
{
    (void)read;
    json_out_array(view->out);
    enum err err = member_each(view->txn, visit_member, view);
    if (err == ERR_OK) {
        json_out_array_end(view->out);
    }
    return err;
}

static void start(const struct web_ask *ask,
                  enum err (*render)(struct consul_read *read, struct consul_view *view))
{
    struct consul_read *read = consul_agent_read_new(ask);
    if (read != NULL) {
        read->render = render;
        consul_read_start(read);
    }
}

void consul_agent_members(const struct web_ask *ask)
{
    start(ask, render_members);
}

/* ---- self ------------------------------------------------------------------------------------ */

static void write_config(struct consul_view *view, const struct member *member)
{
    struct json_out *out = view->out;
    char version[96];
    (void)snprintf(version, sizeof(version), CONSUL_API_VERSION "+flotilla");
    json_out_key(out, "Config");
    json_out_object(out);
    json_out_field_str(out, "Datacenter", view->cfg->datacenter);
    json_out_field_str(out, "PrimaryDatacenter", view->cfg->datacenter);
    json_out_field_bytes(out, "NodeName", member->name);
    consul_write_node_id(out, "NodeID", member);
    json_out_field_bool(out, "Server", true);
    json_out_field_str(out, "Revision", "");
    json_out_field_str(out, "Version", version);
    json_out_object_end(out);
}

static void write_stats(struct consul_view *view, const struct node_status *status,
                        const struct member *member)
{
    struct json_out *out = view->out;
    char number[24];
    json_out_key(out, "Stats");
    json_out_object(out);
    json_out_key(out, "flotilla");
    json_out_object(out);
    json_out_field_bytes(out, "version", member->version);
    json_out_object_end(out);
    json_out_key(out, "raft");
    json_out_object(out);
    json_out_field_str(out, "state", raft_role_name(status->meta.role));
    (void)snprintf(number, sizeof(number), "%llu", (unsigned long long)status->meta.term);
    json_out_field_str(out, "term", number);
    (void)snprintf(number, sizeof(number), "%llu", (unsigned long long)status->meta.commit);
    json_out_field_str(out, "commit_index", number);
    (void)snprintf(number, sizeof(number), "%llu", (unsigned long long)status->applied);
    json_out_field_str(out, "applied_index", number);
    json_out_object_end(out);
    json_out_object_end(out);
}

static enum err render_self(struct consul_read *read, struct consul_view *view)
{
    struct json_out *out = view->out;
    struct member member;
    enum err err = consul_member(view, consul_self(&read->ask), &member);
    struct node_status *status = arena_alloc(view->arena, sizeof(*status));
    if (err != ERR_OK || status == NULL) {
        return err == ERR_OK ? ERR_FULL : err;
    }
    node_status_get(read->ask.door->web->edge, status);
    json_out_object(out);
    write_config(view, &member);
    json_out_key(out, "DebugConfig");
    json_out_object(out);
    json_out_object_end(out);
    json_out_key(out, "Member");
    write_member(view, &member);
    write_stats(view, status, &member);
    json_out_key(out, "Meta");
    json_out_object(out);
    json_out_object_end(out);
    json_out_object_end(out);
    return ERR_OK;
}

void consul_agent_self(const struct web_ask *ask)
{
    start(ask, render_self);
}

void consul_agent_version(const struct web_ask *ask)
{
    struct json_out out;
    web_json_begin(ask, &out);
    json_out_object(&out);
    json_out_field_str(&out, "SHA", "");
    json_out_field_str(&out, "HumanVersion", CONSUL_API_VERSION "+flotilla");
    json_out_field_str(&out, "FIPS", "");
    json_out_object_end(&out);
    web_answer_json(ask, &out, NULL, 0);
}

/* ---- services and checks --------------------------------------------------------------------- */

static enum err write_keyed_service(void *context, const struct registry_instance *instance,
                                    enum registry_status status)
{
    (void)status;
    struct consul_view *view = context;
    json_out_key_bytes(view->out, instance->id);
    consul_write_agent_service(view, instance);
    json_out_object_end(view->out);
    return ERR_OK;
}

static enum err render_services(struct consul_read *read, struct consul_view *view)
{
    json_out_object(view->out);
    enum err err =
        registry_node_instances(view->txn, consul_self(&read->ask), write_keyed_service, view);
    if (err == ERR_OK) {
        json_out_object_end(view->out);
    }
    return err;
}

void consul_agent_services(const struct web_ask *ask)
{
    start(ask, render_services);
}

static enum err write_keyed_check(void *context, const struct registry_check *check)
{
    struct consul_view *view = context;
    json_out_key_bytes(view->out, check->id);
    return consul_write_check(view, check, NULL);
}

static enum err render_checks(struct consul_read *read, struct consul_view *view)
{
    json_out_object(view->out);
    enum err err =
        registry_node_checks(view->txn, consul_self(&read->ask), write_keyed_check, view);
    if (err == ERR_OK) {
        json_out_object_end(view->out);
    }
    return err;
}

void consul_agent_checks(const struct web_ask *ask)
{
    start(ask, render_checks);
}

/* ContentHash is a hash of what stands before it. */
static enum err render_service(struct consul_read *read, struct consul_view *view)
{
    struct registry_instance instance;
    char hash[HASH_TEXT_MAX];
    enum err err =
        registry_instance_find(view->txn, consul_self(&read->ask), read->ask.rest, &instance);
    if (err != ERR_OK) {
        return err;
    }
    consul_write_agent_service(view, &instance);
    text_hex64(hash_bytes((struct hash_seed){0, 0}, buf_bytes(view->out->to)), hash);
    json_out_field_str(view->out, "ContentHash", hash);
    json_out_object_end(view->out);
    return ERR_OK;
}

void consul_agent_service(const struct web_ask *ask)
{
    if (consul_refuse_name(ask, "service ID")) {
        return;
    }
    struct consul_read *read = consul_agent_read_new(ask);
    if (read != NULL) {
        read->render = render_service;
        read->missing = "unknown service ID: ";
        read->catches_up = true;
        consul_read_start(read);
    }
}

/* ---- status ---------------------------------------------------------------------------------- */

/* Where the node listens for peers: from the table, else from what it was started with. */
static struct bytes peer_address(struct consul_view *view, uint64_t node)
{
    struct member member;
    if (member_get(view->txn, (uint32_t)node, &member) == ERR_OK) {
        return member.peer_address;
    }
    for (uint32_t i = 0; i < view->cfg->peer_count; i++) {
        if (view->cfg->peers[i].id == node) {
            return bytes_of_str(view->cfg->peers[i].peer_addr);
        }
    }
    return bytes_of(NULL, 0);
}

static enum err render_leader(struct consul_read *read, struct consul_view *view)
{
    struct node_status *status = arena_alloc(view->arena, sizeof(*status));
    if (status == NULL) {
        return ERR_FULL;
    }
    node_status_get(read->ask.door->web->edge, status);
    json_out_bytes(view->out, status->meta.leader == 0 ? bytes_of(NULL, 0)
                                                       : peer_address(view, status->meta.leader));
    return ERR_OK;
}

void consul_status_leader(const struct web_ask *ask)
{
    start(ask, render_leader);
}

static enum err render_peers(struct consul_read *read, struct consul_view *view)
{
    struct node_status *status = arena_alloc(view->arena, sizeof(*status));
    if (status == NULL) {
        return ERR_FULL;
    }
    node_status_get(read->ask.door->web->edge, status);
    json_out_array(view->out);
    const struct raft_config *config = &status->meta.config;
    for (uint32_t i = 0; i < config->count; i++) {
        if (raft_member_votes(&config->members[i])) {
            json_out_bytes(view->out, peer_address(view, config->members[i].node));
        }
    }
    json_out_array_end(view->out);
    return ERR_OK;
}

void consul_status_peers(const struct web_ask *ask)
{
    start(ask, render_peers);
}
