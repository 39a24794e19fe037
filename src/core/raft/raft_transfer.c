/* Handing leadership over, without waiting for anybody's election timeout.
 *
 * Place: core/raft. Dissertation section 3.10:
 *
 *   leader                                                target
 *     IN_TRANSFER: no more proposals or changes
 *     appends, until its match is the whole log  ------->
 *     TIMEOUT_NOW                                 ------->  candidate of the next term, no pre-vote
 *     grants, follows                             <-------  VOTE, handover, to everybody
 *
 * Rules:
 *   1. Only a voter whose word counts gets it: trusted, on its disk, whole, connected, heard of.
 *   2. After an election_min, or when rule 1 fails, the leader gives up and takes proposals again:
 *      section 3.10, "if leadership transfer does not complete after about an election timeout, the
 *      prior leader aborts the transfer and resumes accepting client requests". A target that
 *      comes too late is a candidate like any other: a nuisance, not a danger.
 *   3. The target believes only the leader of its current term, so an old TIMEOUT_NOW does nothing.
 *   4. "handover" excuses a candidate from stickiness, nothing else. A voter accepts the excuse
 *      only when it names the leader that this voter hears, and for the very next term; the leader
 *      itself only from its own target. A node that lies about it could stand no more often than
 *      once per leader's term, and would still need the log.
 *   5. A joint configuration does not stand in the way (a node that is stopped in the midst of a
 *      change would cost an election): the target must vote in the new half, and whoever leads
 *      finishes the change from the log. The old leader does not append C_new meanwhile, or the
 *      log would run away from the target.
 *
 * Reads go on: each is confirmed by a round of its own, and a round does not outlive a term. */
#include "raft/raft_priv.h"

static bool suits(const struct raft_group *g, const struct raft_progress *p)
{
    const struct raft_known_peer *known = raft_known_find(g->host, p->node);
    return p->role == RAFT_VOTER && p->counts && !p->repairing && known != NULL && known->up;
}

static bool ready_to_begin(const struct raft_group *g, const struct raft_progress *p, clk_ns now)
{
    return suits(g, p) && p->state != RAFT_SNAPSHOT &&
           now - p->last_heard < g->host->cfg.election_min;
}

static struct raft_progress *best_voter(struct raft_group *g, clk_ns now)
{
    struct raft_progress *best = NULL;
    for (uint32_t i = 0; i < g->peer_count; i++) {
        struct raft_progress *p = &g->peers[i];
        if (ready_to_begin(g, p, now) && (best == NULL || p->match > best->match)) {
            best = p;
        }
    }
    return best;
}

static enum err find_target(struct raft_group *g, clk_ns now, raft_node_id node,
                            struct raft_progress **ret_target)
{
    struct raft_progress *p = node == 0 ? best_voter(g, now) : raft_peer_find(g, node);
    if (node == g->host->cfg.self) {
        return ERR_BAD_INPUT;
    }
    if (p == NULL) {
        return node == 0 ? ERR_CONFLICT : ERR_NOT_FOUND;
    }
    if (p->role != RAFT_VOTER) {
        return ERR_BAD_INPUT;
    }
    *ret_target = p;
    return ready_to_begin(g, p, now) ? ERR_OK : ERR_CONFLICT;
}

enum err raft_on_transfer(struct raft_group *g, clk_ns now, raft_node_id node)
{
    if (g->role != RAFT_LEADER) {
        return ERR_NOT_LEADER;
    }
    if (g->transfer_to != 0 || !g->self_voter) {
        return ERR_FULL; /* without a vote it is about to leave, and hands over by itself */
    }
    struct raft_progress *target = NULL;
    enum err err = find_target(g, now, node, &target);
    if (err != ERR_OK) {
        return err;
    }
    g->transfer_to = target->node;
    g->transfer_sent = false;
    g->transfer_until = now + g->host->cfg.election_min;
    return ERR_OK;
}

static void send_timeout_now(struct raft_group *g, raft_node_id to)
{
    struct raft_msg msg = raft_msg_to(g, RAFT_MSG_TIMEOUT_NOW, to);
    raft_post(g, &msg);
}

void raft_transfer_flush(struct raft_group *g)
{
    if (g->transfer_to == 0) {
        return;
    }
    struct raft_progress *p = raft_peer_find(g, g->transfer_to);
    if (p == NULL || !suits(g, p)) {
        g->transfer_to = 0;
        return;
    }
    /* A match is durable at the target: were it not, it could come back from a crash in the midst
     * of this with less than it promised. */
    bool complete = p->match == g->log.last && !g->noop_wanted && g->wanted.count == 0;
    if (complete && !g->transfer_sent) {
        g->transfer_sent = true;
        send_timeout_now(g, p->node);
    }
}

void raft_transfer_tick(struct raft_group *g, clk_ns now)
{
    if (now >= g->transfer_until) {
        g->transfer_to = 0;
    }
    g->transfer_sent = false; /* it may have been lost; the target answers once only anyhow */
}

void raft_transfer_leave(struct raft_group *g, clk_ns now)
{
    CHECK(g->role == RAFT_LEADER && g->transfer_to == 0);
    const struct raft_progress *best = best_voter(g, now);
    if (best != NULL) {
        send_timeout_now(g, best->node);
    }
}

enum err raft_on_timeout_now(struct raft_group *g, clk_ns now, const struct raft_msg *msg)
{
    bool from_leader = g->role == RAFT_FOLLOWER && msg->term == g->term && g->leader == msg->from;
    if (from_leader) {
        raft_take_over(g, now);
    }
    return ERR_OK;
}

bool raft_transfer_excuses(const struct raft_group *g, const struct raft_msg *vote)
{
    if (!vote->handover || vote->term != g->term + 1) {
        return false;
    }
    return g->role == RAFT_LEADER ? g->transfer_to == vote->from : g->leader == vote->hint;
}
