/* Canonical form of a host.
 *
 * Place: core/raft. What is left out of the hash, and why that changes nothing:
 *   - numbers of a leader (progress, quorum check, uncommitted sizes) at a node that is none: they
 *     are set anew by raft_peers_reset_for_term and raft_become_follower;
 *   - the ballot of a node that is no candidate; contact with a leader where none is known; times
 *     of repair and of read retries where nothing is repaired or waits;
 *   - the random generator: who compares hosts gives them one election timeout to choose from;
 *   - the order of members and of peers: majorities and messages do not depend on it.
 * The exploration's audit runs hosts of equal hash side by side and compares what they do. */
#include "raft/raft_canon.h"

#include "raft/raft_priv.h"

/* ---- time and WAL numbers ------------------------------------------------------------------ */

enum {
    AGE_ELECTIONS = 8 /* nothing compares ages above this many election timeouts */
};

struct rebase {
    clk_ns from;
    clk_ns to;
    clk_ns age_max;
    uint64_t durable;
};

static void move(const struct rebase *r, clk_ns *at, clk_ns age_max)
{
    if (*at == CLK_NEVER) {
        return;
    }
    bool past = *at < r->from;
    clk_ns age = past ? r->from - *at : 0;
    age = age < age_max ? age : age_max;
    *at = past ? r->to - age : r->to + (*at - r->from);
}

static void renumber(const struct rebase *r, uint64_t *wal_seq)
{
    *wal_seq = *wal_seq > r->durable ? *wal_seq - r->durable : 0;
}

static void rebase_group(const struct rebase *r, struct raft_group *g)
{
    clk_ns election = g->host->cfg.election_max;
    move(r, &g->leader_contact, election);
    move(r, &g->election_at, 0);
    move(r, &g->check_at, 0);
    move(r, &g->transfer_until, 0);
    move(r, &g->repair_not_before, 0);
    move(r, &g->read_retry_at, 0);
    for (uint32_t i = 0; i < g->peer_count; i++) {
        move(r, &g->peers[i].last_heard, election);
        move(r, &g->peers[i].round_start, election);
        move(r, &g->peers[i].heartbeat_at, 0);
    }
    renumber(r, &g->wal_last);
    renumber(r, &g->hard_state_seq);
    renumber(r, &g->snapshot_seq);
    for (uint32_t i = 0; i < g->write_count; i++) {
        renumber(r, &g->writes[i].wal_seq);
    }
    heap_set(&g->host->timers, &g->timer, raft_group_deadline(g));
}

uint64_t raft_canon_rebase(struct raft_host *host, clk_ns now)
{
    CHECK(list_empty(&host->dirty) && host->awaiting == 0);
    struct rebase r = {.from = host->now,
                       .to = now,
                       .age_max = AGE_ELECTIONS * host->cfg.election_max,
                       .durable = host->wal_durable};
    CHECK(now >= 2 * r.age_max);
    move(&r, &host->wal_progress, r.age_max);
    host->now = now;
    renumber(&r, &host->wal_seq);
    renumber(&r, &host->gate);
    host->wal_durable = 0;
    MAP_FOREACH (node, &host->groups) {
        rebase_group(&r, CONTAINER_OF(node, struct raft_group, by_id));
    }
    return r.durable;
}

/* ---- hash ---------------------------------------------------------------------------------- */

static uint64_t hash_numbers(uint64_t h, const uint64_t *numbers, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        h = hash_u64(h ^ numbers[i]) + 0x9e3779b97f4a7c15u;
    }
    return h;
}

#define HASH(h, ...)                                                                               \
    hash_numbers((h), (const uint64_t[]){__VA_ARGS__},                                             \
                 sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

static raft_node_id name_of(const struct raft_canon_names *names, raft_node_id node)
{
    return node < RAFT_CANON_NODES ? names->node[node] : node;
}

static uint64_t disk_of(const struct raft_canon_names *names, raft_node_id node, uint64_t storage)
{
    bool its_own = node < RAFT_CANON_NODES && names->storage[node] == storage;
    return its_own ? 0 : storage;
}

static uint64_t config_hash(uint64_t h, const struct raft_config *config,
                            const struct raft_canon_names *names)
{
    uint64_t sum = 0; /* whatever the order */
    for (uint32_t i = 0; i < config->count; i++) {
        const struct raft_member *m = &config->members[i];
        sum += HASH(1, name_of(names, m->node), m->role, m->role_old,
                    disk_of(names, m->node, m->storage_id));
    }
    return HASH(h, config->count, config->joint, sum);
}

static uint64_t log_hash(uint64_t h, const struct raft_group *g,
                         const struct raft_canon_names *names)
{
    h = HASH(h, g->log.base, g->log.base_term, g->log.last, g->log.run_count, g->configs.count);
    for (uint32_t i = 0; i < g->log.run_count; i++) {
        h = HASH(h, g->log.runs[i].first, g->log.runs[i].term);
    }
    for (uint32_t i = 0; i < g->configs.count; i++) {
        h = HASH(h, g->configs.items[i].index);
        h = config_hash(h, &g->configs.items[i].config, names);
    }
    return h;
}

static uint64_t peer_hash(const struct raft_group *g, const struct raft_progress *p,
                          const struct raft_canon_names *names)
{
    uint64_t h = HASH(2, name_of(names, p->node), p->role, p->role_old,
                      disk_of(names, p->node, p->pinned_storage), p->votes, p->counts, p->ask);
    bool asks = g->role == RAFT_PRECANDIDATE || g->role == RAFT_CANDIDATE;
    h = HASH(h, asks && p->granted);
    if (g->role != RAFT_LEADER) {
        return h;
    }
    h = HASH(h, p->state, p->paused, p->force, p->want, p->repairing, p->match, p->next,
             p->commit_sent, p->snapshot_index, p->repair_index, p->repair_token, p->token_min,
             p->token_acked, p->round_target, p->round_start, p->round_fast, p->last_heard,
             p->heartbeat_at, p->out_count, p->out_bytes);
    for (uint32_t i = 0; i < p->out_count; i++) {
        const struct raft_in_flight *out =
            &p->out[(p->out_head + i) % g->host->cfg.inflight_msgs_max];
        h = HASH(h, out->last, out->bytes);
    }
    return h;
}

static uint64_t reads_hash(uint64_t h, const struct raft_group *g,
                           const struct raft_canon_names *names)
{
    const struct raft_read_queue *q = &g->reads;
    h = HASH(h, q->count, q->sent, q->done);
    for (uint32_t i = 0; i < q->count; i++) {
        const struct raft_read *read = &q->ring[(q->head + i) % g->host->cfg.reads_max];
        h = HASH(h, read->tag, name_of(names, read->from), read->asker_token,
                 i < q->sent ? read->token : 0, i < q->sent ? read->index : 0, read->failed);
    }
    return q->done < q->sent && g->role != RAFT_LEADER ? HASH(h, g->read_retry_at) : h;
}

/* Times and numbers that mean something in some roles only. */
static uint64_t role_hash(uint64_t h, const struct raft_group *g,
                          const struct raft_canon_names *names)
{
    bool leads = g->role == RAFT_LEADER;
    if (leads) {
        h = HASH(h, g->check_at, g->term_start, g->noop_wanted, g->wanted.count,
                 g->uncommitted_bytes, g->size_count);
        h = g->transfer_to == 0
                ? h
                : HASH(h, name_of(names, g->transfer_to), g->transfer_until, g->transfer_sent);
        for (uint32_t i = 0; i < g->size_count; i++) {
            h = HASH(h, g->sizes[i].last, g->sizes[i].bytes);
        }
    } else {
        h = HASH(h, g->election_at, g->leader == 0 ? 0 : g->leader_contact,
                 g->role == RAFT_FOLLOWER ? 0 : g->ballot,
                 g->role == RAFT_CANDIDATE ? name_of(names, g->handed_by) : 0);
    }
    if (g->repairing) {
        h = HASH(h, g->repair_target, g->verified, g->repair_token, g->repair_not_before);
    }
    return h;
}

static uint64_t group_hash(const struct raft_group *g, const struct raft_canon_names *names)
{
    uint64_t h =
        HASH(3, g->id, g->term, name_of(names, g->vote), g->repairing, g->role,
             name_of(names, g->leader), g->commit, g->applied, g->apply_next, g->durable, g->token,
             g->hard_state_dirty, g->snapshot_dirty, g->install_wanted, g->installing, g->wal_next,
             g->wal_truncate, g->wal_last, g->hard_state_seq, g->snapshot_seq, g->snapshot.index,
             g->snapshot.term, g->snapshot.config_index, g->write_count, g->peer_count);
    h = log_hash(h, g, names);
    h = role_hash(h, g, names);
    h = reads_hash(h, g, names);
    for (uint32_t i = 0; i < g->write_count; i++) {
        h = HASH(h, g->writes[i].wal_seq, g->writes[i].last, g->writes[i].merged);
    }
    uint64_t peers = 0;
    for (uint32_t i = 0; i < g->peer_count; i++) {
        peers += peer_hash(g, &g->peers[i], names);
    }
    return HASH(h, peers);
}

uint64_t raft_canon_hash(const struct raft_host *host, const struct raft_canon_names *names)
{
    CHECK(list_empty(&host->dirty) && host->awaiting == 0);
    raft_node_id self = host->cfg.self;
    uint64_t stalls = host->wal_durable < host->wal_seq ? host->wal_progress : 0;
    uint64_t h = HASH(4, name_of(names, self), disk_of(names, self, host->cfg.storage_id),
                      host->cfg.boot_count, host->wal_seq, host->wal_durable, host->gate,
                      host->token_next, host->now, stalls);
    uint64_t sum = 0;
    for (uint32_t i = 0; i < host->peer_count; i++) {
        const struct raft_known_peer *p = &host->peers[i];
        sum += HASH(5, name_of(names, p->node), disk_of(names, p->node, p->storage_id), p->trusted,
                    p->up);
    }
    MAP_FOREACH (node, &host->groups) {
        sum += group_hash(CONTAINER_OF(node, struct raft_group, by_id), names);
    }
    return HASH(h, sum);
}
