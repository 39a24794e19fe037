/* The Consul door, inside: options, reads, writing rows as JSON, decoding registrations.
 *
 * Place: serve/consul only. */
#ifndef CONSUL_CONSUL_PRIV_H
#define CONSUL_CONSUL_PRIV_H

#include "member/member.h"
#include "registry/registry.h"
#include "web/web_json.h"
#include "web/web_read.h"
#include "web/web_route.h"
#include "web/web_write.h"
#include "json/json_out.h"

enum {
    CONSUL_DURATION_TEXT_MAX = 48,
    CONSUL_TAG_FILTERS_MAX = 16,
    CONSUL_NAME_MAX = REGISTRY_CHECK_ID_MAX /* of anything that a path may name, but keys */
};

/* The version of the API that is spoken: clients compare it with what they need. */
#define CONSUL_API_VERSION "1.15.0"

static inline const struct node_cfg *consul_cfg(const struct web_ask *ask)
{
    return node_config(ask->door->web->node);
}

/* The node that the client talks to. */
static inline uint32_t consul_self(const struct web_ask *ask)
{
    return (uint32_t)consul_cfg(ask)->id;
}

/* ---- reads: consul_read.c -------------------------------------------------------------------- */

/* What rows are written from and to. */
struct consul_view {
    struct table_txn *txn;
    const struct node_cfg *cfg;
    struct json_out *out;
    struct arena *arena;
};

/* Made by consul_read_new. */
struct consul_read {
    struct web_read read; /* first: it begins with the operation */
    struct web_ask ask;
    const char *label; /* X-Consul-Effective-Consistency; NULL: a read of the agent, no headers */
    bool passing;
    bool no_match;                             /* a filter that nothing in this cluster fits */
    struct bytes tags[CONSUL_TAG_FILTERS_MAX]; /* all must be there */
    size_t tag_count;
    struct bytes separator; /* of kv ?keys */
    bool keys;
    bool recurse;
    bool raw;
    bool catches_up; /* what is missing here is looked for again after a consistent read */
    enum registry_status state;
    bool any_state;
    /* Writes the answer's JSON. ERR_NOT_FOUND: 404 with the text of `missing`. */
    enum err (*render)(struct consul_read *read, struct consul_view *view);
    const char *missing; /* stands before the quoted rest of the path; NULL: cannot happen */
};

/* Parses what all reads have in common: consistency, index, wait, dc, ns, filter. NULL: the request
 * has been refused. */
struct consul_read *consul_read_new(const struct web_ask *ask);
/* The same for a read of what this node knows, without blocking and headers. */
struct consul_read *consul_agent_read_new(const struct web_ask *ask);
void consul_read_watch(struct consul_read *read, enum table_id table, struct bytes key,
                       bool prefix);
void consul_read_start(struct consul_read *read);

/* Refuses a data center, namespace or partition that is not ours; true: refused. */
bool consul_refuse_scope(const struct web_ask *ask);

/* Refuses a path whose rest is empty or longer than any name; true: refused. */
bool consul_refuse_name(const struct web_ask *ask, const char *what);

/* The standard headers of an answer. */
struct consul_headers {
    char index[24];
    char contact[24];
    struct http_field fields[6];
    size_t count;
};

void consul_headers_make(struct consul_headers *headers, const struct consul_read *read,
                         const struct node_snapshot *snapshot, uint64_t index);

/* ---- rows: consul_render.c ------------------------------------------------------------------- */

/* The member; one that has not told about itself yet is called "node-N". */
ERR_CHECKED enum err consul_member(struct consul_view *view, uint32_t node,
                                   struct member *ret_member);
/* Host of "host:port", without brackets. */
struct bytes consul_host_of(struct bytes address);
/* Go's form: "1m30s", "250ms". */
void consul_duration_text(uint64_t ms, char dest[CONSUL_DURATION_TEXT_MAX]);
/* A UUID that is the same in every life of the node, of its storage id and number. */
void consul_write_node_id(struct json_out *out, const char *key, const struct member *member);
/* The fields of a node: {ID, Node, Address, ...}. */
void consul_write_node(struct consul_view *view, const struct member *member);
/* As in /agent/services ({ID, Service, ...}), without the braces' end: more may follow. */
void consul_write_agent_service(struct consul_view *view, const struct registry_instance *instance);
/* As in /health/service. */
void consul_write_service(struct consul_view *view, const struct registry_instance *instance);
/* As in /catalog/service: node and service in one flat row. */
void consul_write_catalog_row(struct consul_view *view, const struct member *member,
                              const struct registry_instance *instance);
/* instance: the check's, for its tags; NULL: looked up (if it has one). */
ERR_CHECKED enum err consul_write_check(struct consul_view *view,
                                        const struct registry_check *check,
                                        const struct registry_instance *instance);
/* The node check that gossip makes in Consul and the member table makes here. watched: somebody
 * else runs the checks of the instance that this is written for. */
void consul_write_serf(struct consul_view *view, const struct member *member, bool watched);
enum registry_status consul_serf_status(const struct member *member, bool watched);

/* ---- registrations: consul_decode.c ---------------------------------------------------------- */

/* A decoded registration; slices borrow from the JSON tree and the request. */
struct consul_registration {
    struct registry_instance instance;
    struct registry_check checks[REGISTRY_CHECKS_MAX];
    uint32_t check_count;
};

/* Each refusal is a sentence in the note: ERR_BAD_INPUT, ERR_TOO_LARGE. instance.node is set by the
 * caller afterwards. */
ERR_CHECKED enum err consul_decode_service(const json_t *root,
                                           struct consul_registration *registration,
                                           struct err_note *note);
/* run: one that is to be run (agent); else one that only says a status (catalog). */
ERR_CHECKED enum err consul_decode_check(const json_t *object, bool run,
                                         struct registry_check *check, struct err_note *note);

/* ---- the parts of the route table ------------------------------------------------------------ */

void consul_kv(const struct web_ask *ask);
void consul_snapshot(const struct web_ask *ask);

void consul_agent_self(const struct web_ask *ask);
void consul_agent_version(const struct web_ask *ask);
void consul_agent_members(const struct web_ask *ask);
void consul_agent_services(const struct web_ask *ask);
void consul_agent_service(const struct web_ask *ask);
void consul_agent_checks(const struct web_ask *ask);
void consul_status_leader(const struct web_ask *ask);
void consul_status_peers(const struct web_ask *ask);

void consul_service_register(const struct web_ask *ask);
void consul_service_deregister(const struct web_ask *ask);
void consul_service_maintenance(const struct web_ask *ask);
void consul_node_maintenance(const struct web_ask *ask);
void consul_check_register(const struct web_ask *ask);
void consul_check_deregister(const struct web_ask *ask);
void consul_check_pass(const struct web_ask *ask);
void consul_check_warn(const struct web_ask *ask);
void consul_check_fail(const struct web_ask *ask);
void consul_check_update(const struct web_ask *ask);

void consul_catalog_datacenters(const struct web_ask *ask);
void consul_catalog_nodes(const struct web_ask *ask);
void consul_catalog_services(const struct web_ask *ask);
void consul_catalog_service(const struct web_ask *ask);
void consul_catalog_node(const struct web_ask *ask);
void consul_catalog_node_services(const struct web_ask *ask);
void consul_catalog_register(const struct web_ask *ask);
void consul_catalog_deregister(const struct web_ask *ask);
void consul_empty_list(const struct web_ask *ask);

void consul_health_service(const struct web_ask *ask);
void consul_health_checks(const struct web_ask *ask);
void consul_health_node(const struct web_ask *ask);
void consul_health_state(const struct web_ask *ask);

/* What several of them share: how far the answer about a service goes back in time, and the filter
 * by tag. */
enum err consul_index_of_service(struct web_read *read, struct table_txn *txn, uint64_t *ret_index);
/* Waits for changes of the service and of the nodes. */
void consul_watch_service(struct consul_read *read);
/* Starts a read that hangs on everything in the registry. */
void consul_start_on_all(struct consul_read *read);
bool consul_tags_fit(const struct consul_read *read, const struct registry_instance *instance);
/* The instances of the service that is asked for. When nobody has registered one of that name,
 * "consul" stands for the nodes themselves. */
ERR_CHECKED enum err consul_each_instance(struct consul_read *read, struct consul_view *view,
                                          registry_instance_fn *visit, void *context);

#endif
