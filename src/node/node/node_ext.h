/* What the node's own parts (node/health, node/members) may use beside node.h.
 *
 * Place: node. Doors include node.h only. */
#ifndef NODE_NODE_EXT_H
#define NODE_NODE_EXT_H

#include "node/node.h"

/* Sends a frame to a peer's handler of that kind; copied, may be lost. ERR_FULL. */
ERR_CHECKED enum err node_frame_send(struct node_edge *edge, raft_node_id to, uint8_t kind,
                                     struct bytes body);

/* Receives the frames of one kind (enum peers_frame_kind), on edge 0. Set before the node's threads
 * get anything: in the callback given to node_start. */
struct node_frame_handler {
    void (*frame)(struct node_frame_handler *handler, raft_node_id from, uint8_t kind,
                  struct bytes body);
};

void node_frame_handler_set(struct node *node, struct node_frame_handler *handler);

/* Milliseconds since the peer was last heard of by this node; UINT64_MAX: never. Any edge. */
uint64_t node_peer_silence_ms(const struct node *node, raft_node_id peer);
/* Whether this node leads the meta group and its own term is committed. Any edge; a moment old. */
bool node_is_leader(const struct node *node);

/* The health checker, for node_lease_renew; NULL: none is running. */
struct health;
void node_health_set(struct node *node, struct health *health);
struct health *node_health(const struct node *node);

#endif
