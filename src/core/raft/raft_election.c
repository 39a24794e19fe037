/* Elections: who may lead, and how a replica changes role.
 *
 * Place: core/raft. Section 5.2 (leader election), 5.4.1 (election restriction), and from the
 * dissertation 9.6 (pre-vote), 6.2 (a leader without a quorum steps down) and 4.2.3 (a server that
 * hears from a leader neither votes nor takes over a higher term). All of them are always on:
 *
 *                 timeout                 majority would vote
 *   FOLLOWER ---------------> PRECANDIDATE -----------------> CANDIDATE
 *      ^                       ^   |  timeout: ask again        |   |  majority voted and
 *      |                       |   |                            |   v  own vote durable
 *      |                       +---+---------- timeout ---------+  LEADER
 *      +---- append of this term, or a higher term; LEADER also: no contact with a majority
 *
 * Each of the three has stopped clusters of others when combined carelessly. What keeps them live:
 *   1. Granting a pre-vote changes nothing at the grantor, its timer included.
 *   2. Starting a pre-vote, or losing leadership, forgets the leader: an ex-leader grants
 *      pre-votes.
 *   3. A pre-vote that is refused for its low term is answered with the higher term, which the
 *      asker takes over; its next pre-vote is above it.
 *   4. A leader that has lost the majority becomes a follower, so it sends nothing that could keep
 *      others from electing.
 *   5. A replica whose term is ahead of its leader's refuses appends with its term; the leader
 *      steps down and the next election is above both. */
#include "raft/raft_priv.h"

void raft_arm_election(struct raft_group *g, clk_ns now)
{
    const struct raft_host_cfg *cfg = &g->host->cfg;
    /* "Election timeouts are chosen randomly from a fixed interval" (section 5.2). */
    g->election_at = now + rnd_range(&g->host->rnd, cfg->election_min, cfg->election_max);
}

/* Learners, other disks and damaged logs never campaign; nor does a disk that hangs, because its
 * own vote could not become durable. Dissertation 4.2.2: "a server that is not part of its own
 * latest configuration should still start new elections, as it might still be needed until the Cnew
 * entry is committed": it alone may have the log that the others need. It does not count its own
 * vote then (raft_quorum_reached). */
static bool may_campaign(const struct raft_group *g, clk_ns now)
{
    return g->self_stands && !g->repairing && !raft_disk_stalled(g->host, now) &&
           raft_log_has_room(&g->log, 1);
}

/* A learner answers: the candidate may know a newer configuration in which it is a voter (the entry
 * that makes it one need not have arrived). */
static bool may_vote(const struct raft_group *g)
{
    return g->self_member && !g->repairing;
}

/* Section 5.4.1: later last term, or same last term and at least as long. */
static bool up_to_date(const struct raft_group *g, const struct raft_msg *msg)
{
    raft_term last_term = raft_log_last_term(&g->log);
    return msg->log_term > last_term || (msg->log_term == last_term && msg->index >= g->log.last);
}

/* Dissertation 4.2.3: "if a server receives a RequestVote request within the minimum election
 * timeout of hearing from a current leader, it does not update its term or grant its vote". A
 * leader hears from itself as long as it hears from a majority. */
static bool hears_a_leader(const struct raft_group *g, clk_ns now)
{
    clk_ns contact = g->leader_contact;
    if (g->role == RAFT_LEADER) {
        contact = raft_quorum_reached(g, now, raft_value_heard);
    } else if (g->leader == 0) {
        return false;
    }
    return now - contact < g->host->cfg.election_min;
}

/* The ballot is new over restarts too. A candidate whose disk was damaged may come to stand in the
 * same term again with a shorter log; votes for the longer one must not elect it. */
static void ask_voters(struct raft_group *g)
{
    g->ballot = raft_mint_token(g);
    for (uint32_t i = 0; i < g->peer_count; i++) {
        g->peers[i].granted = false;
        g->peers[i].ask = g->peers[i].votes;
    }
}

static void stop_asking(struct raft_group *g)
{
    for (uint32_t i = 0; i < g->peer_count; i++) {
        g->peers[i].granted = false;
        g->peers[i].ask = false;
    }
}

void raft_leader_lost(struct raft_group *g)
{
    if (g->leader == 0) {
        return;
    }
    g->leader = 0;
    g->role_changed = true;
    raft_reads_fail(g);
}

static void enter_term(struct raft_group *g, raft_term term, raft_node_id vote)
{
    CHECK(term > g->term);
    g->term = term;
    g->vote = vote;
    g->hard_state_dirty = true;
    g->role_changed = true;
    g->outbox_count = 0; /* answers of the old term, which nobody needs any more */
    g->repair_target = 0;
    g->verified = 0;
    g->repair_token = 0;
}

void raft_become_follower(struct raft_group *g, clk_ns now, raft_term term, raft_node_id leader)
{
    CHECK(term >= g->term && leader != g->host->cfg.self);
    if (g->leader != leader) {
        raft_leader_lost(g);
    }
    if (term > g->term) {
        enter_term(g, term, 0);
    }
    if (g->role != RAFT_FOLLOWER) {
        stop_asking(g);
        if (g->role == RAFT_LEADER) {
            raft_arm_election(g, now);
        }
        g->role = RAFT_FOLLOWER;
        g->role_changed = true;
        g->noop_wanted = false;
        g->wanted.count = 0;
        g->transfer_to = 0;
        g->term_start = 0;
        g->size_count = 0;
        g->uncommitted_bytes = 0;
    }
    if (g->leader != leader) {
        g->leader = leader;
        g->role_changed = true;
    }
}

static void become_candidate(struct raft_group *g, clk_ns now)
{
    CHECK(g->role == RAFT_PRECANDIDATE || g->role == RAFT_FOLLOWER);
    g->role = RAFT_CANDIDATE;
    g->handed_by = 0;
    enter_term(g, g->term + 1, g->host->cfg.self);
    raft_arm_election(g, now);
    ask_voters(g);
}

static void become_leader(struct raft_group *g, clk_ns now)
{
    CHECK(g->role == RAFT_CANDIDATE && g->vote == g->host->cfg.self);
    stop_asking(g);
    g->role = RAFT_LEADER;
    g->role_changed = true;
    g->leader = g->host->cfg.self;
    g->election_at = CLK_NEVER;
    g->check_at = now + g->host->cfg.heartbeat;
    g->term_start = g->log.last + 1;
    g->noop_wanted = true;
    raft_peers_reset_for_term(g, now);
}

void raft_append_noop(struct raft_group *g)
{
    CHECK(g->role == RAFT_LEADER && g->noop_wanted && g->log.last + 1 == g->term_start);
    g->noop_wanted = false;
    /* Section 8: a leader commits a no-op of its term first; that commits, and tells it of, all
     * that its predecessors may have committed. */
    raft_log_append(&g->log, 1, g->term);
    raft_touch(g);
}

void raft_election_tally(struct raft_group *g, clk_ns now)
{
    CHECK(g->role == RAFT_PRECANDIDATE || g->role == RAFT_CANDIDATE);
    bool pre = g->role == RAFT_PRECANDIDATE;
    /* The vote for itself is a vote: it counts once the disk has it (Figure 2, "persistent
     * state"). */
    bool own = pre || (!g->hard_state_dirty && g->hard_state_seq <= g->host->wal_durable);
    if (raft_quorum_reached(g, own ? 1 : 0, raft_value_granted) == 0) {
        return;
    }
    if (pre) {
        become_candidate(g, now);
    } else {
        become_leader(g, now);
    }
}

void raft_campaign(struct raft_group *g, clk_ns now)
{
    CHECK(g->role != RAFT_LEADER);
    raft_leader_lost(g);
    raft_arm_election(g, now);
    if (!may_campaign(g, now)) {
        return;
    }
    g->role = RAFT_PRECANDIDATE;
    g->role_changed = true;
    ask_voters(g);
    raft_election_tally(g, now);
}

void raft_take_over(struct raft_group *g, clk_ns now)
{
    CHECK(g->role == RAFT_FOLLOWER && g->leader != 0);
    if (!may_campaign(g, now)) {
        return; /* the leader's timeout ends this */
    }
    raft_node_id leader = g->leader;
    raft_leader_lost(g);
    become_candidate(g, now);
    g->handed_by = leader;
}

void raft_election_timeout(struct raft_group *g, clk_ns now)
{
    raft_campaign(g, now);
    if (!g->self_stands || g->repairing) {
        g->election_at = CLK_NEVER; /* armed again by the next append or configuration */
    }
}

void raft_check_quorum(struct raft_group *g, clk_ns now)
{
    CHECK(g->role == RAFT_LEADER);
    clk_ns contact = raft_quorum_reached(g, now, raft_value_heard);
    bool alone = now - contact >= g->host->cfg.election_max;
    /* A leader whose disk hangs goes on committing with the disks of the others, but nothing that
     * it promised itself is kept, and every other write of its node waits. It gives way when a
     * majority is ahead of it: they can elect one of theirs. With fewer nobody could go on without
     * this disk either (etcd issue 13527, hashicorp/raft issue 503: nobody gave way). */
    bool others_go_on = raft_quorum_reached(g, 0, raft_value_match) > g->durable;
    if (alone || (others_go_on && raft_disk_stalled(g->host, now))) {
        raft_become_follower(g, now, g->term, 0);
    }
}

/* ---- messages ------------------------------------------------------------------------------ */

enum err raft_on_prevote(struct raft_group *g, clk_ns now, const struct raft_msg *msg)
{
    if (msg->term == 0) {
        return ERR_BAD_INPUT;
    }
    bool grant = msg->term > g->term && may_vote(g) && raft_peer_acceptable(g, msg->from) &&
                 !hears_a_leader(g, now) && up_to_date(g, msg);
    struct raft_msg reply = raft_msg_to(g, RAFT_MSG_PREVOTE_REPLY, msg->from);
    reply.term = grant ? msg->term : g->term;
    reply.reject = !grant;
    reply.token = msg->token;
    raft_post(g, &reply);
    return ERR_OK;
}

enum err raft_on_prevote_reply(struct raft_group *g, clk_ns now, const struct raft_msg *msg)
{
    if (msg->reject) {
        if (msg->term > g->term) {
            raft_become_follower(g, now, msg->term, 0);
        }
        return ERR_OK;
    }
    struct raft_progress *p = raft_peer_find(g, msg->from);
    bool mine = msg->term == g->term + 1 && msg->token == g->ballot;
    if (g->role != RAFT_PRECANDIDATE || !mine || p == NULL) {
        return ERR_OK;
    }
    p->granted = true;
    raft_election_tally(g, now);
    return ERR_OK;
}

enum err raft_on_vote(struct raft_group *g, clk_ns now, const struct raft_msg *msg)
{
    if (msg->term == 0) {
        return ERR_BAD_INPUT;
    }
    bool sticky = msg->term > g->term && hears_a_leader(g, now) && !raft_transfer_excuses(g, msg);
    bool ignore = !raft_peer_acceptable(g, msg->from) || sticky;
    if (!ignore && msg->term > g->term) {
        raft_become_follower(g, now, msg->term, 0);
    }
    /* Figure 2, RequestVote: "if votedFor is null or candidateId, and candidate's log is at least
     * as up-to-date as receiver's log, grant vote". The same candidate gets the same answer
     * again. */
    bool grant = !ignore && msg->term == g->term && g->leader == 0 && may_vote(g) &&
                 (g->vote == 0 || g->vote == msg->from) && up_to_date(g, msg);
    if (grant) {
        g->hard_state_dirty = g->hard_state_dirty || g->vote == 0;
        g->vote = msg->from;
        raft_arm_election(g, now);
    }
    struct raft_msg reply = raft_msg_to(g, RAFT_MSG_VOTE_REPLY, msg->from);
    reply.reject = !grant;
    reply.token = msg->token;
    raft_post(g, &reply);
    return ERR_OK;
}

enum err raft_on_vote_reply(struct raft_group *g, clk_ns now, const struct raft_msg *msg)
{
    if (msg->term > g->term) {
        raft_become_follower(g, now, msg->term, 0);
        return ERR_OK;
    }
    struct raft_progress *p = raft_peer_find(g, msg->from);
    /* A vote that comes after the candidate's timeout does not count: raft_repair.c relies on
     * elections having an end. */
    bool in_time = g->role == RAFT_CANDIDATE && now < g->election_at;
    bool mine = msg->term == g->term && msg->token == g->ballot;
    if (!in_time || !mine || msg->reject || p == NULL) {
        return ERR_OK;
    }
    p->granted = true;
    raft_election_tally(g, now);
    return ERR_OK;
}
