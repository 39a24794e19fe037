/* Snapshots and compaction (section 7).
 *
 * Place: core/raft. A snapshot stands for a committed prefix of the log; how it travels and what
 * is in it is the engine's business. Installing one goes in steps, each after the one before:
 *   SNAP_RECEIVED   the log becomes "everything up to index", in memory; later appends go behind it
 *   FX_WAL          the mark is written; acknowledgements wait for it like for any write
 *   FX_SNAP_INSTALL once the mark is durable: the state machine is replaced
 *   APPLIED         the state machine has it; only now are later entries applied
 * A crash between them finds either the old log, or the mark and the file. */
#include "raft/raft_priv.h"

bool raft_snapshot_meta_valid(const struct raft_snapshot_meta *meta)
{
    return meta->index > 0 && meta->index < RAFT_NUMBER_MAX && meta->term > 0 &&
           meta->term < RAFT_NUMBER_MAX && meta->config_index <= meta->index &&
           raft_config_valid(&meta->config);
}

enum err raft_on_compacted(struct raft_group *g, const struct raft_input *input)
{
    const struct raft_snapshot_meta *meta = input->snapshot;
    CHECK(meta != NULL && raft_snapshot_meta_valid(meta));
    if (meta->index <= g->snapshot.index || meta->index < g->log.base) {
        return ERR_OK; /* a newer one has come from the leader meanwhile */
    }
    CHECK(meta->index <= g->applied && input->index <= meta->index);
    CHECK(raft_log_term(&g->log, meta->index) == meta->term);
    const struct raft_config_at *at = raft_configs_at(&g->configs, meta->index);
    CHECK(at->index == meta->config_index && raft_config_same(&at->config, &meta->config));
    g->snapshot = *meta;
    if (input->index > g->log.base) {
        CHECK(input->index < g->wal_next);
        raft_log_compact(&g->log, input->index);
        raft_configs_compact(&g->configs, input->index);
    }
    return ERR_OK;
}

/* Section 7: "if existing log entry has same index and term as snapshot's last included entry,
 * retain log entries following it"; else "discard the entire log". */
static void replace_log(struct raft_group *g, const struct raft_snapshot_meta *meta)
{
    raft_log_reset(&g->log, meta->index, meta->term);
    raft_configs_reset(&g->configs, meta->config_index, &meta->config);
    g->snapshot = *meta;
    g->snapshot_dirty = true;
    g->install_wanted = true;
    g->installing = true;
    g->commit = meta->index;
    g->apply_next = meta->index + 1;
    g->wal_next = meta->index + 1;
    g->wal_truncate = 0;
    g->durable = 0; /* until the mark is written */
    g->write_count = 0;
    raft_group_config_changed(g);
}

enum err raft_on_snap_received(struct raft_group *g, clk_ns now, const struct raft_input *input,
                               struct raft_fed *fed)
{
    const struct raft_snapshot_meta *meta = input->snapshot;
    CHECK(meta != NULL);
    if (!raft_snapshot_meta_valid(meta)) {
        return ERR_BAD_INPUT;
    }
    if (g->installing) {
        return ERR_FULL;
    }
    if (meta->index <= g->commit) {
        return ERR_OK; /* late: the log has gone past it */
    }
    if (raft_log_term(&g->log, meta->index) == meta->term) {
        raft_commit_to(
            g, meta->index); /* the entries are here; the snapshot says they are committed */
        return ERR_OK;
    }
    if (g->role == RAFT_LEADER) {
        return ERR_BAD_INPUT; /* Leader Completeness: its log has all that is committed */
    }
    if (meta->term > g->term) {
        raft_become_follower(g, now, meta->term, 0);
    }
    fed->truncated_from = g->log.base + 1; /* also when there was nothing: the log is another one */
    replace_log(g, meta);
    if (g->leader != 0) {
        struct raft_msg reply = raft_msg_to(g, RAFT_MSG_APPEND_REPLY, g->leader);
        reply.index = meta->index;
        reply.repairing = g->repairing;
        raft_post(g, &reply);
    }
    return ERR_OK;
}

enum err raft_on_snap_sent(struct raft_group *g, const struct raft_input *input)
{
    struct raft_progress *p = raft_peer_find(g, input->node);
    if (p == NULL || g->role != RAFT_LEADER || p->state != RAFT_SNAPSHOT) {
        return ERR_OK;
    }
    raft_index has = p->snapshot_index > p->match ? p->snapshot_index : p->match;
    has = has < g->log.last ? has : g->log.last;
    raft_peer_probe(p, has + 1);
    p->paused = !input->ok; /* after a failure, try again with the next heartbeat */
    return ERR_OK;
}

enum err raft_on_applied(struct raft_group *g, raft_index index)
{
    CHECK(index < g->apply_next);
    g->applied = index > g->applied ? index : g->applied;
    if (g->installing && !g->install_wanted && g->applied >= g->snapshot.index) {
        g->installing = false;
    }
    return ERR_OK;
}
