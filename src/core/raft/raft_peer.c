/* The other members: progress records, whose word counts, and majorities.
 *
 * Place: core/raft. A member is a node together with the disk that it was admitted with. Votes and
 * acknowledgements promise what a disk remembers, so they count only when they come from that disk,
 * and when the disk is not known to have gone back in time (PEER_UP's storage_id and trusted). A
 * node whose word does not count is replicated to like a learner.
 *
 * Progress at the leader: PROBE sends one append and waits for its answer; STREAM sends
 * optimistically within a window of messages and bytes; SNAPSHOT waits until a snapshot has
 * arrived.
 *
 *         ack                    reject, reconnect
 *   PROBE -----> STREAM         STREAM -----> PROBE
 *   PROBE or STREAM -- entries are gone --> SNAPSHOT -- sent, or acknowledged --> PROBE */
#include "raft/raft_priv.h"

struct raft_progress *raft_peer_find(struct raft_group *g, raft_node_id node)
{
    for (uint32_t i = 0; i < g->peer_count; i++) {
        if (g->peers[i].node == node) {
            return &g->peers[i];
        }
    }
    return NULL;
}

const struct raft_known_peer *raft_known_find(const struct raft_host *host, raft_node_id node)
{
    for (uint32_t i = 0; i < host->peer_count; i++) {
        if (host->peers[i].node == node) {
            return &host->peers[i];
        }
    }
    return NULL;
}

static bool word_counts(const struct raft_host *host, const struct raft_progress *p)
{
    const struct raft_known_peer *known = raft_known_find(host, p->node);
    return p->votes && known != NULL && known->trusted && known->storage_id == p->pinned_storage;
}

bool raft_peer_acceptable(const struct raft_group *g, raft_node_id node)
{
    const struct raft_known_peer *known = raft_known_find(g->host, node);
    if (known == NULL) {
        return true;
    }
    const struct raft_member *member =
        raft_config_find(&raft_configs_active(&g->configs)->config, node);
    return known->trusted && (member == NULL || member->storage_id == known->storage_id);
}

void raft_peer_probe(struct raft_progress *p, raft_index next)
{
    CHECK(next > p->match);
    p->state = RAFT_PROBE;
    p->next = next;
    p->paused = false;
    p->want = false;
    p->out_head = 0;
    p->out_count = 0;
    p->out_bytes = 0;
}

void raft_peer_restart(struct raft_group *g, struct raft_progress *p)
{
    /* A match before the log proves nothing about a snapshot being needed: ask at the end first. */
    raft_peer_probe(p, p->match > g->log.base ? p->match + 1 : g->log.last + 1);
}

void raft_peer_stream(struct raft_progress *p)
{
    CHECK(p->state == RAFT_PROBE && p->next > p->match);
    p->state = RAFT_STREAM;
    p->paused = false;
    p->commit_sent = 0; /* what went out while probing may have been refused */
}

void raft_peer_ack_in_flight(struct raft_group *g, struct raft_progress *p, raft_index match)
{
    uint32_t cap = g->host->cfg.inflight_msgs_max;
    while (p->out_count > 0 && p->out[p->out_head].last <= match) {
        CHECK(p->out_bytes >= p->out[p->out_head].bytes);
        p->out_bytes -= p->out[p->out_head].bytes;
        p->out_head = (p->out_head + 1) % cap;
        p->out_count--;
    }
    CHECK(p->out_count > 0 || p->out_bytes == 0);
}

void raft_peers_reset_for_term(struct raft_group *g, clk_ns now)
{
    for (uint32_t i = 0; i < g->peer_count; i++) {
        struct raft_progress *p = &g->peers[i];
        CHECK(!p->awaiting);
        p->match = 0;
        raft_peer_probe(p, g->log.last + 1); /* Figure 2, "reinitialized after election" */
        p->force = false;
        p->repairing = false;
        p->repair_index = 0;
        p->repair_token = 0;
        p->token_min = 0;
        p->token_acked = 0;
        p->commit_sent = 0;
        p->snapshot_index = 0;
        p->round_target = g->log.last + 1; /* the no-op of this term ends the first round */
        p->round_start = now;
        p->round_fast = false;
        p->last_heard = now; /* the grace that the quorum check needs */
        p->heartbeat_at = now + g->host->cfg.heartbeat;
    }
}

/* A part of in_flight_memory that no record before `count` uses. */
static struct raft_in_flight *free_ring(const struct raft_group *g, uint32_t count)
{
    for (uint32_t slot = 0; slot < RAFT_MEMBERS_MAX; slot++) {
        struct raft_in_flight *ring =
            g->in_flight_memory + (size_t)slot * g->host->cfg.inflight_msgs_max;
        bool used = false;
        for (uint32_t i = 0; i < count; i++) {
            used = used || g->peers[i].out == ring;
        }
        if (!used) {
            return ring;
        }
    }
    CHECK_UNREACHABLE();
}

static void add_new_peers(struct raft_group *g, const struct raft_config *config)
{
    for (uint32_t i = 0; i < config->count; i++) {
        const struct raft_member *member = &config->members[i];
        if (member->node == g->host->cfg.self || raft_peer_find(g, member->node) != NULL) {
            continue;
        }
        struct raft_in_flight *ring = free_ring(g, g->peer_count);
        struct raft_progress *p = &g->peers[g->peer_count++];
        *p = (struct raft_progress){.node = member->node, .state = RAFT_PROBE, .out = ring};
        p->next = g->log.last + 1;
        p->round_target = g->log.last;
        p->round_start = g->host->now;
        p->last_heard = g->host->now;
        p->heartbeat_at = g->host->now;
    }
}

void raft_peers_rebuild(struct raft_group *g)
{
    const struct raft_config *config = &raft_configs_active(&g->configs)->config;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < g->peer_count; i++) {
        CHECK(!g->peers[i].awaiting);
        if (raft_config_find(config, g->peers[i].node) != NULL) {
            g->peers[kept++] = g->peers[i];
        }
    }
    g->peer_count = kept;
    add_new_peers(g, config);
    for (uint32_t i = 0; i < g->peer_count; i++) {
        const struct raft_member *member = raft_config_find(config, g->peers[i].node);
        g->peers[i].role = member->role;
        g->peers[i].role_old = member->role_old;
        g->peers[i].votes = raft_member_votes(member);
        g->peers[i].pinned_storage = member->storage_id;
        g->peers[i].counts = word_counts(g->host, &g->peers[i]);
    }
}

static bool in_some_group(const struct raft_host *host, raft_node_id node_id)
{
    MAP_FOREACH (node, &host->groups) {
        struct raft_group *g = CONTAINER_OF(node, struct raft_group, by_id);
        if (raft_peer_find(g, node_id) != NULL) {
            return true;
        }
    }
    return false;
}

/* Nodes come and go over the years: the place of one that is in no group any more is free. Only
 * while it is not connected: nobody tells anew of a connection that stands, and the log may yet
 * fall back to a configuration that has the node. RAFT_PEERS_MAX: none is free. */
static uint32_t place_of_stranger(const struct raft_host *host)
{
    uint32_t i = 0;
    while (i < host->peer_count &&
           (host->peers[i].up || in_some_group(host, host->peers[i].node))) {
        i++;
    }
    return i < host->peer_count ? i : RAFT_PEERS_MAX;
}

static enum err remember(struct raft_host *host, const struct raft_input *input,
                         bool *ret_same_disk)
{
    uint32_t i = 0;
    while (i < host->peer_count && host->peers[i].node != input->node) {
        i++;
    }
    bool is_new = i == host->peer_count;
    bool no_room = i == RAFT_PEERS_MAX;
    i = no_room ? place_of_stranger(host) : i;
    if (i == RAFT_PEERS_MAX) {
        return ERR_FULL;
    }
    /* What came from a disk that was not trusted does not count afterwards either. */
    *ret_same_disk = is_new || (host->peers[i].storage_id == input->storage_id &&
                                (host->peers[i].trusted || !input->trusted));
    host->peer_count += is_new && !no_room ? 1 : 0;
    host->peers[i] = (struct raft_known_peer){.node = input->node,
                                              .storage_id = input->storage_id,
                                              .trusted = input->trusted,
                                              .up = true};
    return ERR_OK;
}

enum err raft_on_peer_up(struct raft_host *host, clk_ns now, const struct raft_input *input)
{
    if (input->node == 0 || input->node == host->cfg.self) {
        return ERR_BAD_INPUT;
    }
    bool same_disk = true;
    enum err err = remember(host, input, &same_disk);
    if (err != ERR_OK) {
        return err;
    }
    MAP_FOREACH (node, &host->groups) {
        struct raft_group *g = CONTAINER_OF(node, struct raft_group, by_id);
        struct raft_progress *p = raft_peer_find(g, input->node);
        if (p == NULL) {
            continue;
        }
        p->counts = word_counts(host, p);
        if (!same_disk || !input->trusted) {
            /* What the disk said before is not on it any more. */
            p->match = 0;
            p->granted = false;
            p->token_acked = 0;
            p->token_min = raft_mint_token(g);
        }
        bool asking = g->role == RAFT_PRECANDIDATE || g->role == RAFT_CANDIDATE;
        p->ask = asking && p->votes && !p->granted;
        if (g->role == RAFT_LEADER) {
            raft_peer_restart(g, p);
            p->heartbeat_at = now;
        }
        raft_touch(g);
    }
    return ERR_OK;
}

void raft_on_peer_down(struct raft_host *host, clk_ns now, raft_node_id node_id)
{
    for (uint32_t i = 0; i < host->peer_count; i++) {
        host->peers[i].up = host->peers[i].up && host->peers[i].node != node_id;
    }
    MAP_FOREACH (node, &host->groups) {
        struct raft_group *g = CONTAINER_OF(node, struct raft_group, by_id);
        struct raft_progress *p = raft_peer_find(g, node_id);
        if (g->role == RAFT_LEADER && p != NULL && p->state == RAFT_STREAM) {
            raft_peer_restart(g, p); /* what was in flight is lost */
            p->paused = true;
        }
        if (g->leader == node_id && g->role == RAFT_FOLLOWER) {
            /* The leader's machine says that the leader is gone: stickiness ends, and the wait is
             * only long enough that two followers seldom start at once. */
            raft_leader_lost(g);
            clk_ns soon = now + rnd_below(&host->rnd, host->cfg.heartbeat);
            g->election_at = soon < g->election_at ? soon : g->election_at;
        }
        raft_touch(g);
    }
}

uint64_t raft_value_match(const struct raft_progress *p)
{
    return p->counts && !p->repairing ? p->match : 0;
}

uint64_t raft_value_token(const struct raft_progress *p)
{
    return p->counts && !p->repairing ? p->token_acked : 0;
}

uint64_t raft_value_heard(const struct raft_progress *p)
{
    return p->counts ? p->last_heard : 0;
}

uint64_t raft_value_granted(const struct raft_progress *p)
{
    return p->counts && p->granted ? 1 : 0;
}

/* The majority of one half of a joint configuration, or of the only one. */
static uint64_t half_reached(const struct raft_group *g, bool old, uint64_t own,
                             raft_progress_value *value)
{
    uint64_t values[RAFT_MEMBERS_MAX + 1]; /* descending, one per voter heard of */
    uint32_t count = 0;
    uint32_t voters = 0;
    const struct raft_config *config = &raft_configs_active(&g->configs)->config;
    for (uint32_t i = 0; i < config->count; i++) {
        const struct raft_member *member = &config->members[i];
        voters += (old ? member->role_old : member->role) == RAFT_VOTER ? 1 : 0;
    }
    for (uint32_t i = 0; i <= g->peer_count; i++) {
        const struct raft_progress *p = i < g->peer_count ? &g->peers[i] : NULL;
        enum raft_member_role role = p == NULL ? g->self_role : p->role;
        enum raft_member_role role_old = p == NULL ? g->self_role_old : p->role_old;
        if ((old ? role_old : role) != RAFT_VOTER) {
            continue;
        }
        uint64_t v = p == NULL ? own : value(p);
        uint32_t at = count++;
        while (at > 0 && values[at - 1] < v) {
            values[at] = values[at - 1];
            at--;
        }
        values[at] = v;
    }
    /* A majority of n is n / 2 + 1 of them: the value at place n / 2, counted from 0. */
    return voters / 2 < count ? values[voters / 2] : 0;
}

uint64_t raft_quorum_reached(const struct raft_group *g, uint64_t own, raft_progress_value *value)
{
    uint64_t reached = half_reached(g, false, own, value);
    if (!raft_configs_active(&g->configs)->config.joint) {
        return reached;
    }
    /* Section 6: "agreement (for elections and entry commitment) requires separate majorities from
     * both the old and new configurations". */
    uint64_t reached_old = half_reached(g, true, own, value);
    return reached < reached_old ? reached : reached_old;
}
