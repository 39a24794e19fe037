/* Health: runs the checks that this node owns and keeps their leases, on edge 0.
 *
 * Place: node; the doors reach it through node_lease_renew (node/node.h) only.
 *
 *   TABLE_CHECKS changes --> owned checks --timer--> HTTP or TCP probe --> verdict --+
 *   node_lease_renew (here or by a frame of another node) -----------------> verdict |
 *   TTL timer -------------------------------------------------------------> verdict v
 *                                        only a change of status or output is proposed
 *
 * Invariants:
 *   1. A heartbeat that changes nothing costs no log entry: the lease lives in this node's memory.
 *   2. A check that comes here from a dead owner starts with a fresh full duration, and keeps its
 *      status until it is judged here (design, section 5).
 *   3. What is proposed names owner and epoch: after a take-over the former owner is refused.
 *
 * Deliberately absent: script, Docker and gRPC checks. */
#ifndef HEALTH_HEALTH_H
#define HEALTH_HEALTH_H

#include "err/err.h"

struct health;
struct node;

enum {
    HEALTH_CHECKS_MAX = 65536,  /* owned by one node */
    HEALTH_RENEWALS_MAX = 65536 /* under way at other nodes */
};

/* Starts on edge 0's thread. Owned by the caller. ERR_FULL. */
ERR_CHECKED enum err health_start(struct node *node, struct health **ret_health);
/* Ends probes and timers; on_stopped comes on edge 0's thread, then the memory is gone. */
void health_stop(struct health *health, void (*on_stopped)(void *self), void *self);

#endif
