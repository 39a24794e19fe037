/* What the core thread publishes for everybody: a picture of the cluster, at most 50 ms old. */
#include "check/check.h"
#include "node/node_priv.h"

#include <string.h>

static void publish_peers(struct node *node, struct node_status *status)
{
    clk_ns now = loop_now(node->core.loop);
    for (uint32_t i = 0; i < node->cfg.peer_count; i++) {
        raft_node_id id = node->cfg.peers[i].id;
        struct peers_status seen;
        if (id == node->cfg.id || peers_status_get(node->peers, id, &seen) != ERR_OK) {
            continue;
        }
        struct node_peer_status *out = &status->peers[status->peer_count++];
        *out = (struct node_peer_status){.id = id,
                                         .connected = seen.connected,
                                         .trusted = seen.trusted,
                                         .last_heard_ms = UINT64_MAX};
        memcpy(out->refused, seen.refused, sizeof(out->refused));
        if (seen.last_heard != 0) {
            out->last_heard_ms = (now - seen.last_heard) / CLK_MS(1);
        }
        for (uint32_t p = 0; p < status->meta.peer_count; p++) {
            if (status->meta.peers[p].node == id) {
                out->match = status->meta.peers[p].match;
            }
        }
    }
}

static void publish_flags(struct node *node, const struct raft_view *view)
{
    atomic_store_explicit(&node->leader, view->leader, memory_order_relaxed);
    atomic_store_explicit(&node->leads, view->role == RAFT_LEADER && view->leads_safely,
                          memory_order_relaxed);
    uint64_t heard = 0;
    if (view->leader == node->cfg.id) {
        heard = loop_now(node->core.loop);
    } else if (view->leader != 0) {
        heard = atomic_load_explicit(&node->peer_heard[view->leader], memory_order_relaxed);
    }
    if (heard != 0) {
        atomic_store_explicit(&node->leader_heard, heard, memory_order_relaxed);
    }
}

void node_status_publish(struct node *node)
{
    struct node_status status = {
        .self = node->cfg.id,
        .cluster_id = engine_cluster_id(node->engine),
        .storage_id = node->identity.storage_id,
        .boot_count = node->identity.boot_count,
        .applied = atomic_load_explicit(&node->committed, memory_order_relaxed),
        .wal_durable_seq = wal_durable_sequence(node->wal),
        .wal_bytes = wal_stats(node->wal).segments * node->cfg.wal_segment_bytes,
        .backend = loop_backend_name(node->core.loop),
    };
    enum err err = engine_view(node->engine, META_GROUP, &status.meta);
    CHECK(err == ERR_OK);
    status.snapshot_index = status.meta.first > 0 ? status.meta.first - 1 : 0;
    publish_flags(node, &status.meta);
    publish_peers(node, &status);
    (void)pthread_mutex_lock(&node->status_lock);
    node->status = status;
    (void)pthread_mutex_unlock(&node->status_lock);
    node->core.published_at = loop_now(node->core.loop);
}

void node_status_get(struct node_edge *edge, struct node_status *ret_status)
{
    (void)pthread_mutex_lock(&edge->node->status_lock);
    *ret_status = edge->node->status;
    (void)pthread_mutex_unlock(&edge->node->status_lock);
}

uint64_t node_peer_silence_ms(const struct node *node, raft_node_id peer)
{
    CHECK(peer > 0 && peer <= NODE_ID_MAX);
    uint64_t heard = atomic_load_explicit(&node->peer_heard[peer], memory_order_relaxed);
    if (heard == 0) {
        return UINT64_MAX;
    }
    clk_ns now = loop_now(node->edges[0].loop);
    return now > heard ? (now - heard) / CLK_MS(1) : 0;
}

bool node_is_leader(const struct node *node)
{
    return atomic_load_explicit(&node->leads, memory_order_relaxed);
}
