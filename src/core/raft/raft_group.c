/* A group's life: opening, disk writes and the durable index, timers, answers that wait for a
 * drain.
 *
 * Place: core/raft. The core never waits for the disk: it hands out writes with rising numbers and
 * is told one watermark. `writes` remembers for each write under way how far the log is durable
 * when it is; removing entries cuts these promises at once, so a late completion of an old write
 * can never vouch for an entry that came to the same index afterwards. */
#include "mem/mem.h"
#include "raft/raft_priv.h"

static void open_timers(struct raft_group *g)
{
    const struct raft_host_cfg *cfg = &g->host->cfg;
    raft_arm_election(g, g->host->now);
    const struct raft_config *config = &raft_configs_active(&g->configs)->config;
    if (g->self_voter && raft_config_voters(config) == 1) {
        g->election_at = g->host->now; /* nobody else could lead */
    }
    g->repair_not_before = g->host->now + 2 * cfg->election_max;
}

struct raft_group *raft_group_new(struct raft_host *host, const struct raft_boot *boot)
{
    const struct raft_host_cfg *cfg = &host->cfg;
    struct raft_group *g = mem_alloc(sizeof(*g));
    g->host = host;
    g->id = boot->group;
    list_init(&g->dirty);
    list_init(&g->writing);
    g->reads.ring = mem_alloc_array(cfg->reads_max, sizeof(g->reads.ring[0]));
    g->in_flight_memory = mem_alloc_array((size_t)RAFT_MEMBERS_MAX * cfg->inflight_msgs_max,
                                          sizeof(struct raft_in_flight));
    raft_log_init(&g->log, boot->snapshot.index, boot->snapshot.term);
    raft_configs_init(&g->configs);
    g->snapshot = boot->snapshot;
    if (boot->snapshot.index > 0) {
        raft_configs_reset(&g->configs, boot->snapshot.config_index, &boot->snapshot.config);
    }
    for (size_t i = 0; i < boot->run_count; i++) {
        bool is_last = i + 1 == boot->run_count;
        raft_index end = is_last ? boot->last_index : boot->runs[i + 1].first - 1;
        raft_log_append(&g->log, end - g->log.last, boot->runs[i].term);
    }
    for (size_t i = 0; i < boot->config_count; i++) {
        raft_configs_append(&g->configs, boot->configs[i].index, &boot->configs[i].config);
    }
    g->term = boot->hard_state.term;
    g->vote = boot->hard_state.vote;
    g->repairing = boot->hard_state.repairing || boot->verdict == RAFT_BOOT_DAMAGED;
    g->hard_state_dirty = boot->verdict == RAFT_BOOT_DAMAGED; /* the mark outlives this start */
    if (g->term < raft_log_last_term(&g->log)) {
        CHECK(g->repairing); /* the damage took the record of the term */
        g->term = raft_log_last_term(&g->log);
        g->vote = 0;
        g->hard_state_dirty = true;
    }
    g->durable = g->log.last;
    g->wal_next = g->log.last + 1;
    g->installing = boot->applied < boot->snapshot.index;
    g->install_wanted = g->installing;
    g->applied = boot->applied;
    g->commit = g->installing ? boot->snapshot.index : boot->applied;
    g->apply_next = g->commit + 1;
    raft_group_config_changed(g);
    open_timers(g);
    return g;
}

void raft_group_free(struct raft_group *g)
{
    list_remove(&g->dirty);
    list_remove(&g->writing);
    heap_remove(&g->host->timers, &g->timer);
    raft_log_done(&g->log);
    raft_configs_done(&g->configs);
    mem_free(g->reads.ring);
    mem_free(g->in_flight_memory);
    mem_free(g);
}

void raft_touch(struct raft_group *g)
{
    g->drain_peer = 0;
    if (!list_linked(&g->dirty)) {
        list_push_back(&g->host->dirty, &g->dirty);
    }
    heap_set(&g->host->timers, &g->timer, raft_group_deadline(g));
}

/* What a configuration says of this node on this disk. */
static struct raft_member self_in(const struct raft_group *g, const struct raft_config *config)
{
    const struct raft_member *self = raft_config_find(config, g->host->cfg.self);
    bool same_disk = self != NULL && self->storage_id == g->host->cfg.storage_id;
    return same_disk ? *self : (struct raft_member){0};
}

void raft_group_find_self(struct raft_group *g)
{
    const struct raft_config_history *history = &g->configs;
    struct raft_member self = self_in(g, &raft_configs_active(history)->config);
    g->self_role = self.role;
    g->self_role_old = self.role_old;
    g->self_voter = raft_member_votes(&self);
    g->self_member = false;
    g->self_stands = false;
    /* Down to the newest one that is known to be committed: the log may fall back to those. */
    bool superseded = false;
    for (uint32_t i = history->count; i > 0 && !superseded; i--) {
        self = self_in(g, &history->items[i - 1].config);
        g->self_member = g->self_member || self.node != 0;
        g->self_stands = g->self_stands || raft_member_votes(&self);
        superseded = history->items[i - 1].index <= g->commit;
    }
    if (!g->self_stands && (g->role == RAFT_PRECANDIDATE || g->role == RAFT_CANDIDATE)) {
        raft_become_follower(g, g->host->now, g->term, 0);
    }
}

void raft_group_config_changed(struct raft_group *g)
{
    raft_group_find_self(g);
    g->config_changed = true;
    raft_peers_rebuild(g);
    if (g->role != RAFT_LEADER && g->election_at == CLK_NEVER) {
        raft_arm_election(g, g->host->now);
    }
}

/* ---- disk ---------------------------------------------------------------------------------- */

void raft_group_wrote(struct raft_group *g, uint64_t wal_seq, raft_index last)
{
    CHECK(wal_seq > g->wal_last);
    g->wal_last = wal_seq;
    bool full = g->write_count == RAFT_WRITES_TRACKED;
    if (full) {
        g->write_count--; /* the two newest become one that is durable with the later */
    }
    g->writes[g->write_count++] =
        (struct raft_write){.wal_seq = wal_seq, .last = last, .merged = full};
    if (!list_linked(&g->writing)) {
        list_push_back(&g->host->writing, &g->writing);
    }
}

void raft_group_durable(struct raft_group *g, clk_ns now, uint64_t wal_seq)
{
    uint32_t done = 0;
    while (done < g->write_count && g->writes[done].wal_seq <= wal_seq) {
        if (g->writes[done].last > g->durable) {
            g->durable = g->writes[done].last;
        }
        done++;
    }
    if (done == 0) {
        return;
    }
    g->write_count -= done;
    memmove(g->writes, g->writes + done, g->write_count * sizeof(g->writes[0]));
    if (g->write_count == 0) {
        list_remove(&g->writing);
    }
    if (g->role == RAFT_CANDIDATE) {
        raft_election_tally(g, now); /* the vote for itself may count now */
    } else if (g->role == RAFT_LEADER) {
        raft_maybe_commit(g); /* the leader's own disk is one of the majority, or it is not */
    }
    raft_repair_check(g, now);
    raft_touch(g);
}

void raft_group_truncate(struct raft_group *g, raft_index from)
{
    CHECK(from > g->commit && g->role != RAFT_LEADER);
    raft_log_truncate(&g->log, from);
    if (raft_configs_truncate(&g->configs, from)) {
        raft_group_config_changed(g);
    }
    g->durable = g->durable < from ? g->durable : from - 1;
    for (uint32_t i = 0; i < g->write_count; i++) {
        g->writes[i].last = g->writes[i].last < from ? g->writes[i].last : from - 1;
    }
    if (from < g->wal_next) {
        bool lower = g->wal_truncate == 0 || from < g->wal_truncate;
        g->wal_truncate = lower ? from : g->wal_truncate;
        g->wal_next = from;
    }
}

bool raft_disk_stalled(const struct raft_host *host, clk_ns now)
{
    return host->wal_durable < host->wal_seq && now - host->wal_progress >= host->cfg.election_max;
}

/* ---- uncommitted bytes --------------------------------------------------------------------- */

void raft_uncommitted_add(struct raft_group *g, raft_index last, uint64_t bytes)
{
    g->uncommitted_bytes += bytes;
    if (g->size_count == RAFT_SIZES_TRACKED) {
        bytes += g->sizes[--g->size_count].bytes;
    }
    g->sizes[g->size_count++] = (struct raft_size){.last = last, .bytes = bytes};
}

void raft_uncommitted_release(struct raft_group *g)
{
    uint32_t done = 0;
    while (done < g->size_count && g->sizes[done].last <= g->commit) {
        CHECK(g->uncommitted_bytes >= g->sizes[done].bytes);
        g->uncommitted_bytes -= g->sizes[done].bytes;
        done++;
    }
    g->size_count -= done;
    memmove(g->sizes, g->sizes + done, g->size_count * sizeof(g->sizes[0]));
}

/* ---- time ---------------------------------------------------------------------------------- */

static clk_ns earlier(clk_ns a, clk_ns b)
{
    return a < b ? a : b;
}

clk_ns raft_group_deadline(const struct raft_group *g)
{
    clk_ns at = g->election_at;
    if (g->role == RAFT_LEADER) {
        at = g->peer_count > 0 ? g->check_at : CLK_NEVER;
        at = g->transfer_to != 0 ? earlier(at, g->transfer_until) : at;
        for (uint32_t i = 0; i < g->peer_count; i++) {
            at = earlier(at, g->peers[i].heartbeat_at);
        }
    } else if (g->reads.done < g->reads.sent) {
        at = earlier(at, g->read_retry_at);
    }
    if (g->repairing && g->repair_target > 0 && g->repair_not_before > g->host->now) {
        at = earlier(at, g->repair_not_before);
    }
    return at;
}

static void leader_tick(struct raft_group *g, clk_ns now)
{
    clk_ns interval = g->host->cfg.heartbeat;
    if (g->transfer_to != 0) {
        raft_transfer_tick(g, now);
    }
    if (now >= g->check_at) {
        g->check_at = now + interval;
        raft_check_quorum(g, now);
        if (g->role != RAFT_LEADER) {
            return;
        }
    }
    for (uint32_t i = 0; i < g->peer_count; i++) {
        struct raft_progress *p = &g->peers[i];
        /* Those due soon go along, so that the heartbeats of all groups share a frame. */
        if (p->heartbeat_at <= now + interval / 4) {
            p->force = true;
            p->heartbeat_at = now + interval;
        }
    }
}

void raft_group_tick(struct raft_group *g, clk_ns now)
{
    if (g->role == RAFT_LEADER) {
        leader_tick(g, now);
    } else {
        if (now >= g->election_at) {
            raft_election_timeout(g, now);
        }
        raft_reads_retry(g, now);
    }
    raft_repair_check(g, now);
    raft_touch(g);
}

/* ---- answers ------------------------------------------------------------------------------- */

struct raft_msg raft_msg_to(const struct raft_group *g, enum raft_msg_type type, raft_node_id to)
{
    return (struct raft_msg){
        .type = type, .group = g->id, .from = g->host->cfg.self, .to = to, .term = g->term};
}

/* Newer answers of one kind to one node say all that the older ones said. */
static void merge(struct raft_msg *old, const struct raft_msg *msg)
{
    bool both_acks = msg->type == RAFT_MSG_APPEND_REPLY && !msg->reject && old->term == msg->term &&
                     old->repairing == msg->repairing;
    raft_index index = both_acks && old->index > msg->index ? old->index : msg->index;
    uint64_t token = old->term == msg->term && old->token > msg->token ? old->token : msg->token;
    *old = *msg;
    old->index = index;
    old->token = token;
}

void raft_post(struct raft_group *g, const struct raft_msg *msg)
{
    CHECK(msg->to != 0 && msg->to != g->host->cfg.self);
    for (uint32_t i = 0; i < g->outbox_count; i++) {
        struct raft_msg *old = &g->outbox[i];
        if (old->to == msg->to && old->type == msg->type && old->reject == msg->reject) {
            merge(old, msg);
            return;
        }
    }
    if (g->outbox_count < RAFT_OUTBOX_MAX) { /* else lost, as any message may be */
        g->outbox[g->outbox_count++] = *msg;
    }
}

uint64_t raft_mint_token(struct raft_group *g)
{
    struct raft_host *host = g->host;
    CHECK(host->token_next < (uint64_t)1 << RAFT_TOKEN_SEQUENCE_BITS);
    g->token = (host->cfg.boot_count << RAFT_TOKEN_SEQUENCE_BITS) | host->token_next++;
    return g->token;
}
