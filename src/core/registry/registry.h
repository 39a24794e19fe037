/* Registry: services, their instances and the checks that say how these are.
 *
 * Place: core, above core/tomb. Commands change it; doors, health checker and gateway read it.
 *
 * Model:
 *   1. A service is a name; its key is the name in lower case (ASCII). It exists while it has
 *      instances.
 *   2. An instance id is unique per service name in the whole cluster: registering it through
 *      another node moves the instance (and its checks) there. It is also unique per node, as in
 *      Consul: the same id under another service name on the same node replaces the old instance.
 *   3. A check belongs to an instance, or to a node (then it counts for every instance of the
 *      node). Its id is unique per node. An instance is as bad as its worst check.
 *   4. A check has one owner, the node that runs it or keeps its TTL, with an epoch (the index of
 *      the assignment): what a former owner still reports is refused.
 *   5. Registering again keeps the status and output that a check has (Consul issue 868). What
 *      changes nothing bumps no index.
 *   6. A service's index is bumped by every change to its instances and their checks. A change to a
 *      check of a *node* bumps every service with an instance there: one small write for each.
 *   7. Heartbeats never come here: only changes of status or output do.
 *
 * Reads without a node argument look at the cluster. Listing checks by status looks at every check;
 * all else is proportional to what it returns. Keys: see registry_key.c. */
#ifndef REGISTRY_REGISTRY_H
#define REGISTRY_REGISTRY_H

#include "apply/apply.h"

enum {
    REGISTRY_NAME_MAX = 128,
    REGISTRY_ID_MAX = 255, /* instance id */
    REGISTRY_CHECK_ID_MAX =
        320, /* "service:" + instance id + ":nn", "_service_maintenance:" + id */
    REGISTRY_ADDRESS_MAX = 255,
    REGISTRY_TAGS_MAX = 64,
    REGISTRY_TAG_MAX = 255,
    REGISTRY_META_MAX = 64,
    REGISTRY_META_KEY_MAX = 128,
    REGISTRY_META_VALUE_MAX = 512,
    REGISTRY_TAGGED_MAX = 8,
    REGISTRY_KIND_MAX = 32,
    REGISTRY_DOCUMENT_MAX = 64 * 1024,
    REGISTRY_CHECKS_MAX = 16, /* checks in one registration */
    REGISTRY_NOTES_MAX = 512, /* also a check's name */
    REGISTRY_OUTPUT_MAX = 4096,
    REGISTRY_URL_MAX = 2048,
    REGISTRY_METHOD_MAX = 16,
    REGISTRY_HEADERS_MAX = 16,
    REGISTRY_WEIGHT_MAX = 65535
};

/* Command kinds. */
enum {
    REGISTRY_CMD_SERVICE_REGISTER = 0x0201,
    REGISTRY_CMD_SERVICE_DEREGISTER = 0x0202,
    REGISTRY_CMD_CHECK_REGISTER = 0x0203,
    REGISTRY_CMD_CHECK_DEREGISTER = 0x0204,
    REGISTRY_CMD_CHECK_UPDATE = 0x0205,
    REGISTRY_CMD_MAINTENANCE = 0x0206,
    REGISTRY_CMD_CHECKS_REASSIGN = 0x0207,
    REGISTRY_CMD_REAP = 0x0208
};

enum registry_status {
    REGISTRY_PASSING = 1,
    REGISTRY_WARNING = 2,
    REGISTRY_CRITICAL = 3
};

enum registry_check_type {
    REGISTRY_CHECK_NONE = 1, /* set by hand or by the system (maintenance) */
    REGISTRY_CHECK_TTL = 2,
    REGISTRY_CHECK_HTTP = 3,
    REGISTRY_CHECK_TCP = 4
};

/* Who registered it: whose document it is. */
enum registry_origin {
    REGISTRY_ORIGIN_CONSUL = 1
};

/* "passing", "warning", "critical"; borrowed for ever. */
const char *registry_status_name(enum registry_status status);
/* False for anything else than the three names. */
bool registry_status_parse(struct bytes name, enum registry_status *ret_status);
/* "", "ttl", "http", "tcp" (Consul's Type field); borrowed for ever. */
const char *registry_check_type_name(enum registry_check_type type);

struct registry_pair {
    struct bytes key;
    struct bytes value;
};

struct registry_tagged {
    struct bytes tag;
    struct bytes address;
    uint16_t port;
};

/* All slices are borrowed: from the transaction when read. */
struct registry_service {
    struct bytes key;  /* lower case */
    struct bytes name; /* as first registered */
    uint64_t create_index;
    uint64_t modify_index;
};

struct registry_instance {
    struct bytes service; /* name as registered; the key is its lower case form */
    struct bytes id;
    uint32_t node;        /* the node that it was registered through */
    struct bytes address; /* empty: the node's */
    uint16_t port;        /* 0: none */
    struct bytes tags[REGISTRY_TAGS_MAX];
    uint32_t tag_count;
    struct registry_pair meta[REGISTRY_META_MAX];
    uint32_t meta_count;
    struct registry_tagged tagged[REGISTRY_TAGGED_MAX];
    uint32_t tagged_count;
    uint32_t weight_passing; /* 0..REGISTRY_WEIGHT_MAX */
    uint32_t weight_warning;
    bool enable_tag_override;
    struct bytes kind;
    enum registry_origin origin;
    struct bytes document; /* the registration as its client sent it, verbatim */
    uint64_t create_index; /* set by apply, as the next */
    uint64_t modify_index;
};

/* How a check is run; 0 and empty: not given. */
struct registry_check_def {
    uint64_t interval_ms;
    uint64_t timeout_ms;
    uint64_t ttl_ms;
    struct bytes http; /* URL */
    struct bytes method;
    struct registry_pair
        headers[REGISTRY_HEADERS_MAX]; /* several values of a name: several pairs */
    uint32_t header_count;
    struct bytes tcp;                      /* "host:port" */
    uint64_t deregister_critical_after_ms; /* 0: never */
    uint32_t success_before_passing;
    uint32_t failures_before_critical;
};

struct registry_check {
    uint32_t node;
    struct bytes id; /* in a service's registration: empty for a generated one */
    struct bytes name;
    struct bytes notes;
    enum registry_check_type type;
    struct bytes service;     /* name of its instance's service; empty: a check of the node */
    struct bytes instance_id; /* empty: a check of the node */
    enum registry_status status;
    struct bytes output;
    struct registry_check_def def;
    uint32_t owner;           /* set by apply, as all below: the node that runs it */
    uint64_t epoch;           /* of the assignment to the owner */
    clk_ms critical_since_ms; /* 0 unless critical */
    uint64_t create_index;
    uint64_t modify_index;
};

/* ---- commands: bodies ------------------------------------------------------------------------ */

/* All encoders: ERR_BAD_INPUT, ERR_TOO_LARGE (a limit above), ERR_FULL (buffer). */

/* Whether an instance or check is well formed, with a sentence that names the rule (borrowed for
 * ever): ERR_BAD_INPUT, ERR_TOO_LARGE. */
ERR_CHECKED enum err registry_instance_check(const struct registry_instance *instance,
                                             const char **ret_reason);
ERR_CHECKED enum err registry_check_check(const struct registry_check *check,
                                          const char **ret_reason);

/* Registers instance on instance->node, which also owns the checks. The checks' node, service and
 * instance_id are ignored: they are the instance's. Checks without an id get "service:<ID>", or
 * "service:<ID>:<n>" (n from 1) when there are several in the command; without a name, "Service
 * '<name>' check". Result value: 1 when something changed. */
struct registry_register {
    const struct registry_instance *instance;
    const struct registry_check *checks;
    uint32_t check_count;
    bool replace_checks; /* checks of the instance that are not named here go (maintenance stays) */
};

ERR_CHECKED enum err registry_register_encode(const struct registry_register *reg, struct buf *to);

/* Removes the instance with this id: on `node` if it is there, else the only one of that id in the
 * cluster. Refusals: ERR_NOT_FOUND; ERR_CONFLICT (several services elsewhere have this id). */
ERR_CHECKED enum err registry_deregister_encode(uint32_t node, struct bytes instance_id,
                                                struct buf *to);

/* Registers one check. With an instance_id, of that instance (found as in deregister); else of
 * check->node. check->node is the owner. An empty id is refused. Refusals: ERR_NOT_FOUND
 * (instance), ERR_CONFLICT. */
ERR_CHECKED enum err registry_check_register_encode(const struct registry_check *check,
                                                    struct buf *to);
/* The check with this id on `node`, else the only one in the cluster. Refusals: ERR_NOT_FOUND,
 * ERR_CONFLICT. */
ERR_CHECKED enum err registry_check_deregister_encode(uint32_t node, struct bytes check_id,
                                                      struct buf *to);

/* New status and output of the check (node, check_id). owner and epoch are the reporter's; owner 0:
 * whoever owns it. Result value: 1 when something changed. Refusals: ERR_NOT_FOUND, ERR_CONFLICT
 * (the check has another owner or epoch by now). */
struct registry_update {
    uint32_t node;
    struct bytes check_id;
    uint32_t owner;
    uint64_t epoch;
    enum registry_status status;
    struct bytes output;
};

ERR_CHECKED enum err registry_update_encode(const struct registry_update *update, struct buf *to);

/* Maintenance mode of an instance (found as in deregister), or with an empty id of the node: adds
 * or removes the critical check "_service_maintenance:<ID>" or "_node_maintenance". */
struct registry_maintenance {
    uint32_t node;
    struct bytes instance_id;
    bool enable;
    struct bytes reason; /* becomes the check's notes */
};

ERR_CHECKED enum err registry_maintenance_encode(const struct registry_maintenance *maintenance,
                                                 struct buf *to);

/* Every check that `from` owns is `to`'s from now on, with a new epoch. Bumps no index (clients do
 * not see owners) but reports every check as changed. Result value: how many. */
ERR_CHECKED enum err registry_reassign_encode(uint32_t from, uint32_t to_node, struct buf *to);

/* The owner of a check found it critical for longer than its deregister_critical_after_ms: its
 * instance is deregistered, if that is still so at the entry's time. Result value: 1 if it was.
 * Refusals: ERR_NOT_FOUND, ERR_CONFLICT (owner, epoch, or no longer critical for so long). */
struct registry_reap {
    uint32_t node;
    struct bytes check_id;
    uint32_t owner;
    uint64_t epoch;
};

ERR_CHECKED enum err registry_reap_encode(const struct registry_reap *reap, struct buf *to);

/* Changes: TABLE_SERVICES (service key) for whatever bumps a service's index, once per command;
 * TABLE_INSTANCES and TABLE_CHECKS (see registry_instance_key_parse, registry_check_key_parse). */
ERR_CHECKED enum err registry_apply(struct apply *a, uint16_t kind, struct bytes body);

/* ---- reads ----------------------------------------------------------------------------------- */

/* Reads return ERR_NOT_FOUND, ERR_CORRUPT, ERR_IO. Names of services in any case. Visitors get
 * slices that are borrowed until the transaction's next write or end; anything but ERR_OK ends the
 * iteration and is returned by it. A visitor may call other reads, nested up to two scans deep. */

typedef enum err registry_service_fn(void *context, const struct registry_service *service);
/* status: of the worst of its checks and its node's checks. */
typedef enum err registry_instance_fn(void *context, const struct registry_instance *instance,
                                      enum registry_status status);
typedef enum err registry_check_fn(void *context, const struct registry_check *check);

ERR_CHECKED enum err registry_service_get(struct table_txn *txn, struct bytes name,
                                          struct registry_service *ret_service);
/* In order of keys. */
ERR_CHECKED enum err registry_services(struct table_txn *txn, registry_service_fn *visit,
                                       void *context);

ERR_CHECKED enum err registry_instance_get(struct table_txn *txn, struct bytes service,
                                           struct bytes id, struct registry_instance *ret_instance);
/* By id alone: the one on `node` if it is there, else the only one in the cluster; ERR_CONFLICT
 * when there are several. */
ERR_CHECKED enum err registry_instance_find(struct table_txn *txn, uint32_t node, struct bytes id,
                                            struct registry_instance *ret_instance);
ERR_CHECKED enum err registry_instance_status(struct table_txn *txn,
                                              const struct registry_instance *instance,
                                              enum registry_status *ret_status);
/* In order of ids; none: ERR_OK. */
ERR_CHECKED enum err registry_service_instances(struct table_txn *txn, struct bytes service,
                                                bool passing_only, registry_instance_fn *visit,
                                                void *context);
ERR_CHECKED enum err registry_node_instances(struct table_txn *txn, uint32_t node,
                                             registry_instance_fn *visit, void *context);
/* All, grouped by service. */
ERR_CHECKED enum err registry_instances(struct table_txn *txn, registry_instance_fn *visit,
                                        void *context);

ERR_CHECKED enum err registry_check_get(struct table_txn *txn, uint32_t node, struct bytes check_id,
                                        struct registry_check *ret_check);
/* By id alone, as registry_instance_find. */
ERR_CHECKED enum err registry_check_find(struct table_txn *txn, uint32_t node,
                                         struct bytes check_id, struct registry_check *ret_check);
/* Those that count for the instance: its node's first, then its own. */
ERR_CHECKED enum err registry_instance_checks(struct table_txn *txn,
                                              const struct registry_instance *instance,
                                              registry_check_fn *visit, void *context);
/* The instances' own checks only. */
ERR_CHECKED enum err registry_service_checks(struct table_txn *txn, struct bytes service,
                                             registry_check_fn *visit, void *context);
/* All checks on the node: its own and its instances'. */
ERR_CHECKED enum err registry_node_checks(struct table_txn *txn, uint32_t node,
                                          registry_check_fn *visit, void *context);
ERR_CHECKED enum err registry_owner_checks(struct table_txn *txn, uint32_t owner,
                                           registry_check_fn *visit, void *context);
/* All checks; the visitor picks those of a status. */
ERR_CHECKED enum err registry_checks(struct table_txn *txn, registry_check_fn *visit,
                                     void *context);

/* What blocking queries compare; never 0, never goes backwards. Of a missing service: the index of
 * its disappearance. */
ERR_CHECKED enum err registry_index_of_service(struct table_txn *txn, struct bytes service,
                                               uint64_t *ret_index);
/* The last change to the set of services, instances or what these say of themselves. */
ERR_CHECKED enum err registry_index_of_all_services(struct table_txn *txn, uint64_t *ret_index);
/* The last change to any check. */
ERR_CHECKED enum err registry_index_of_checks(struct table_txn *txn, uint64_t *ret_index);

/* Takes apart a change's key; false when it is none. Slices are parts of key. */
bool registry_instance_key_parse(struct bytes key, struct bytes *ret_service_key,
                                 struct bytes *ret_id);
bool registry_check_key_parse(struct bytes key, uint32_t *ret_node, struct bytes *ret_check_id);

#endif
