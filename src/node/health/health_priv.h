/* The health checker's inside: shared by the files of this directory only.
 *
 *   health.c        the owned checks: following the table, timers, verdicts, proposals
 *   health_probe.c  HTTP and TCP probes
 *   health_lease.c  renewals from clients of this node and of others */
#ifndef HEALTH_HEALTH_PRIV_H
#define HEALTH_HEALTH_PRIV_H

#include "health/health.h"
#include "http/http_client.h"
#include "jobs/jobs.h"
#include "map/map.h"
#include "node/node_ext.h"
#include "registry/registry.h"

enum {
    HOST_MAX = 256
};

struct owned;

/* Where a probe goes. */
struct probe_target {
    char host[HOST_MAX];
    uint16_t port;
    char *path; /* HTTP; owned */
    struct net_addr addr;
    bool resolved;
    clk_ns resolved_at;
};

struct owned {
    struct map_node by_key;
    struct health *health;
    uint32_t node;
    char *id;
    uint64_t epoch;
    uint64_t modify_index;
    enum registry_check_type type;
    enum registry_status status; /* as proposed or stored last */
    char *output;
    size_t output_len;
    uint64_t interval_ms;
    uint64_t timeout_ms;
    uint64_t ttl_ms;
    uint64_t reap_after_ms;
    uint32_t success_needed;
    uint32_t failures_needed;
    uint32_t successes;
    uint32_t failures;
    char *url; /* HTTP URL or TCP address, for messages */
    enum http1_method method;
    char method_name[REGISTRY_METHOD_MAX + 1];
    struct http_field *fields;
    size_t field_count;
    struct probe_target target;
    struct loop_timer timer;      /* next probe, or the TTL's end */
    struct loop_timer reap_timer; /* critical for too long */
    bool ttl_told;                /* the end of this TTL was proposed */
    bool probing;
    bool gone;          /* not ours any more: freed when nothing is under way */
    uint32_t under_way; /* probes, proposals */
    struct http_fetch fetch;
    struct tcp_conn conn;
    enum err connect_result;
    struct job lookup;
    enum err lookup_result;
};

struct health {
    struct node *node;
    struct node_edge *edge;
    struct loop *loop;
    struct http_client client;
    struct node_watch watch;
    struct node_listener listener;
    struct node_frame_handler frames;
    struct loop_call sync; /* reads the table again after changes */
    struct map checks;
    struct list dirty; /* struct dirty_key */
    bool all_dirty;
    struct jobs *lookups; /* made when the first name must be looked up */
    struct list remotes;  /* renewals under way at other nodes */
    uint32_t remote_count;
    uint64_t next_remote;
    struct loop_timer remote_timer;
    uint32_t objects; /* owned checks that are not freed yet */
    bool stopping;
    void (*on_stopped)(void *self);
    void *on_stopped_self;
};

/* health.c */
struct owned *health_find(struct health *health, uint32_t node, struct bytes check_id);
/* Applies a verdict: remembers it and proposes it when it changes something. True when a proposal
 * was begun: `done` then reports it, else nothing changed. */
bool health_verdict(struct owned *owned, enum registry_status status, struct bytes output,
                    void (*done)(void *self, enum err err), void *self);
/* The TTL begins anew. */
void health_touch(struct owned *owned);
/* One thing less is under way; frees a check that is gone. */
void health_release(struct owned *owned);

/* health_probe.c */
void health_probe_setup(struct owned *owned, const struct registry_check *check);
void health_probe_free(struct owned *owned);
void health_probe_start(struct owned *owned);
void health_probe_cancel(struct owned *owned);

/* health_lease.c */
void health_lease_init(struct health *health);
/* On edge 0's thread. */
void health_lease_run(struct health *health);
void health_lease_done(struct health *health);

#endif
