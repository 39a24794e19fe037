/* Inspection: views for people and metrics, the fingerprint for replay, the invariants for tests.
 *
 * Place: core/raft. Nothing here changes anything. */
#include "raft/raft_priv.h"

const char *raft_role_name(enum raft_role role)
{
    switch (role) {
    case RAFT_FOLLOWER:
        return "follower";
    case RAFT_PRECANDIDATE:
        return "precandidate";
    case RAFT_CANDIDATE:
        return "candidate";
    case RAFT_LEADER:
        return "leader";
    }
    return "unknown";
}

static void view_peers(const struct raft_group *g, struct raft_view *view)
{
    view->peer_count = g->peer_count;
    for (uint32_t i = 0; i < g->peer_count; i++) {
        const struct raft_progress *p = &g->peers[i];
        view->peers[i] = (struct raft_peer_view){
            .node = p->node,
            .state = p->state,
            .match = p->match,
            .next = p->next,
            .trusted = p->counts && !p->repairing,
            .recent = g->host->now - p->last_heard < g->host->cfg.election_max,
            .last_heard = p->last_heard,
        };
    }
}

enum err raft_view(const struct raft_host *host, raft_group_id group, struct raft_view *ret_view)
{
    const struct raft_group *g = raft_group_of(host, group);
    if (g == NULL) {
        return ERR_NOT_FOUND;
    }
    const struct raft_config_at *active = raft_configs_active(&g->configs);
    *ret_view = (struct raft_view){
        .role = g->role,
        .term = g->term,
        .vote = g->vote,
        .leader = g->leader,
        .transfer_to = g->transfer_to,
        .is_voter = g->self_voter,
        .repairing = g->repairing,
        .leads_safely = g->role == RAFT_LEADER && !g->noop_wanted && g->commit >= g->term_start,
        .first = g->log.base + 1,
        .last = g->log.last,
        .durable = g->durable,
        .commit = g->commit,
        .applied = g->applied,
        .config_index = active->index,
        .config = active->config,
    };
    for (uint32_t i = 0; i < g->write_count; i++) {
        ret_view->durable_is_floor = ret_view->durable_is_floor || g->writes[i].merged;
    }
    if (g->role == RAFT_LEADER) {
        view_peers(g, ret_view);
    }
    return ERR_OK;
}

enum err raft_meta_at(const struct raft_host *host, raft_group_id group, raft_index index,
                      struct raft_snapshot_meta *ret_meta)
{
    const struct raft_group *g = raft_group_of(host, group);
    raft_term term = g == NULL ? 0 : raft_log_term(&g->log, index);
    if (term == 0) {
        return ERR_NOT_FOUND;
    }
    const struct raft_config_at *at = raft_configs_at(&g->configs, index);
    *ret_meta = (struct raft_snapshot_meta){
        .index = index, .term = term, .config_index = at->index, .config = at->config};
    return ERR_OK;
}

raft_term raft_term_at(const struct raft_host *host, raft_group_id group, raft_index index)
{
    const struct raft_group *g = raft_group_of(host, group);
    return g == NULL ? 0 : raft_log_term(&g->log, index);
}

/* ---- fingerprint --------------------------------------------------------------------------- */

static void mix(uint64_t *hash, uint64_t value)
{
    *hash = hash_u64(*hash ^ value) + 0x9e3779b97f4a7c15u;
}

static uint64_t group_fingerprint(const struct raft_group *g)
{
    uint64_t h = g->id;
    const uint64_t numbers[] = {
        g->term,
        g->vote,
        g->repairing,
        g->log.base,
        g->log.last,
        raft_log_last_term(&g->log),
        g->role,
        g->leader,
        g->commit,
        g->applied,
        g->apply_next,
        g->durable,
        g->leader_contact,
        g->election_at,
        g->check_at,
        g->term_start,
        g->ballot,
        g->handed_by,
        g->transfer_to,
        g->transfer_until,
        g->transfer_sent,
        g->noop_wanted,
        g->token,
        g->wal_next,
        g->wal_last,
        g->uncommitted_bytes,
        g->repair_target,
        g->verified,
        g->snapshot.index,
        g->reads.count,
        g->reads.sent,
        g->reads.done,
        g->write_count,
        g->outbox_count,
        raft_configs_active(&g->configs)->index,
        raft_configs_active(&g->configs)->config.joint,
        g->wanted.count,
        g->self_role,
        g->self_role_old,
        g->self_member,
        g->self_stands,
        g->log.run_count,
    };
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        mix(&h, numbers[i]);
    }
    for (uint32_t i = 0; i < g->peer_count; i++) {
        const struct raft_progress *p = &g->peers[i];
        const uint64_t facts[] = {
            p->node,       p->state,        p->match,        p->next,        p->paused,
            p->force,      p->granted,      p->counts,       p->repairing,   p->token_acked,
            p->last_heard, p->heartbeat_at, p->out_count,    p->out_bytes,   p->commit_sent,
            p->role,       p->role_old,     p->round_target, p->round_start, p->round_fast,
        };
        for (size_t k = 0; k < sizeof(facts) / sizeof(facts[0]); k++) {
            mix(&h, facts[k]);
        }
    }
    return h;
}

uint64_t raft_fingerprint(const struct raft_host *host)
{
    uint64_t h = 0;
    const uint64_t numbers[] = {host->wal_seq,    host->wal_durable,  host->gate,
                                host->token_next, host->rnd.state[0], host->rnd.state[1]};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        mix(&h, numbers[i]);
    }
    MAP_FOREACH (node, &host->groups) {
        const struct raft_group *g = CONTAINER_OF(node, struct raft_group, by_id);
        h += group_fingerprint(g); /* a sum: the order of the map does not matter */
    }
    return h;
}

/* ---- invariants (raft_priv.h lists them) --------------------------------------------------- */

static void check_log(const struct raft_group *g)
{
    const struct raft_log *log = &g->log;
    CHECK((log->run_count == 0) == (log->last == log->base));
    for (uint32_t i = 0; i < log->run_count; i++) {
        if (i == 0) {
            CHECK(log->runs[i].first == log->base + 1 && log->runs[i].term >= log->base_term);
        } else {
            CHECK(log->runs[i].first > log->runs[i - 1].first);
            CHECK(log->runs[i].term > log->runs[i - 1].term);
        }
        CHECK(log->runs[i].first <= log->last);
    }
    CHECK(raft_log_last_term(log) <= g->term);
    CHECK(g->configs.count >= 1 && raft_configs_active(&g->configs)->index <= log->last);
}

static void check_members(const struct raft_group *g)
{
    const struct raft_config_history *history = &g->configs;
    const struct raft_config *config = &raft_configs_active(history)->config;
    for (uint32_t i = 0; i < history->count; i++) {
        const struct raft_config_at *at = &history->items[i];
        CHECK(raft_config_valid(&at->config));
        CHECK(i == 0 || at->index > history->items[i - 1].index);
        if (at->config.joint && i + 1 < history->count) {
            struct raft_config next;
            raft_config_leave(&at->config, &next);
            CHECK(raft_config_same(&history->items[i + 1].config, &next));
        }
    }
    CHECK(g->self_voter == (g->self_role == RAFT_VOTER || g->self_role_old == RAFT_VOTER));
    CHECK(g->self_stands || !g->self_voter);
    uint32_t named = raft_config_find(config, g->host->cfg.self) != NULL ? 1 : 0;
    CHECK(g->peer_count + named == config->count);
    for (uint32_t i = 0; i < g->peer_count; i++) {
        const struct raft_progress *p = &g->peers[i];
        const struct raft_member *member = raft_config_find(config, p->node);
        CHECK(member != NULL && member->role == p->role && member->role_old == p->role_old);
        CHECK(member->storage_id == p->pinned_storage && p->votes == raft_member_votes(member));
    }
    CHECK(g->wanted.count == 0 || (g->role == RAFT_LEADER && g->wanted.joint && !config->joint));
}

static void check_indices(const struct raft_group *g)
{
    CHECK(g->log.base < g->apply_next && g->apply_next - 1 <= g->commit);
    CHECK(g->commit <= g->log.last && g->durable <= g->log.last);
    CHECK(g->applied < g->apply_next);
    CHECK(g->durable < g->wal_next && g->wal_next <= g->log.last + 1);
    /* Not: above the commit index. The cut may wait for a full WAL while the leader commits what
     * replaces it. */
    CHECK(g->wal_truncate == 0 || (g->wal_truncate == g->wal_next && g->durable < g->wal_next));
    CHECK(g->installing || g->durable >= g->log.base);
    for (uint32_t i = 0; i < g->write_count; i++) {
        CHECK(g->writes[i].last <= g->log.last);
        CHECK(i == 0 || g->writes[i].wal_seq > g->writes[i - 1].wal_seq);
    }
}

static void check_role(const struct raft_group *g)
{
    const struct raft_host *host = g->host;
    CHECK((g->leader == host->cfg.self) == (g->role == RAFT_LEADER));
    CHECK(g->role == RAFT_FOLLOWER || !g->repairing);
    /* Not a leader: one that is leaving still has to tell the others. */
    CHECK(g->role == RAFT_FOLLOWER || g->role == RAFT_LEADER || g->self_stands);
    if (g->role == RAFT_CANDIDATE || g->role == RAFT_LEADER) {
        CHECK(g->vote == host->cfg.self);
    }
    if (g->role != RAFT_LEADER) {
        CHECK(g->uncommitted_bytes == 0 && !g->noop_wanted && g->transfer_to == 0);
        return;
    }
    CHECK(g->hard_state_seq <= host->wal_durable); /* it was elected by its own durable vote too */
    for (uint32_t i = 0; i < g->peer_count; i++) {
        const struct raft_progress *p = &g->peers[i];
        CHECK(p->match < p->next && p->next <= g->log.last + 1);
        CHECK(p->out_count <= host->cfg.inflight_msgs_max);
        CHECK(p->node != host->cfg.self);
    }
}

void raft_check(const struct raft_host *host)
{
    MAP_FOREACH (node, &host->groups) {
        const struct raft_group *g = CONTAINER_OF(node, struct raft_group, by_id);
        check_log(g);
        check_members(g);
        check_indices(g);
        check_role(g);
        CHECK(g->reads.done <= g->reads.sent && g->reads.sent <= g->reads.count);
        CHECK(g->reads.count <= host->cfg.reads_max);
        CHECK(g->outbox_count <= RAFT_OUTBOX_MAX);
    }
}
