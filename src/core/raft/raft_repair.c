/* Repair of a damaged disk: a replica that lost something it may have acknowledged neither votes
 * nor leads until its log is whole again.
 *
 * Place: core/raft. The paper assumes that persistent state persists. When the WAL finds that it
 * did not, this replica may have acknowledged entries, and cast votes, that it no longer knows of.
 * It must not help to elect a leader without those entries, nor vote twice in a term.
 *
 *   follower                              leader
 *   answers carry `repairing`  ------->   forgets its match, counts nothing it says, mints a round;
 *                                         when a majority of the others has confirmed the round
 *                                         and an entry of this term is committed:
 *   whole when durable up to   <-------   appends carry hint = commit index of that moment
 *   `hint` of this term's leader
 *   answers without the mark   ------->   counts again
 *
 * Why that is enough: let e be an entry that was committed with the help of the lost
 * acknowledgement. If e's leader has a term up to this leader's, e is in this leader's log at or
 * before its committed entry of its own term. If it has a higher term, a majority moved to that
 * term before the damage; the round's majority, which leaves the damaged replica out, meets it in
 * another node, and that one would have refused the round. So e <= hint.
 *
 * Votes: it takes the leader's term with a vote for that leader. A vote lost in a still higher term
 * belongs to a candidacy that began before this boot; those end within an election timeout
 * (raft_on_vote_reply), and the repair does not end before two of them have passed. */
#include "raft/raft_priv.h"

void raft_repair_begin(struct raft_group *g, clk_ns now)
{
    if (g->role != RAFT_FOLLOWER) {
        raft_become_follower(g, now, g->term, 0);
    }
    g->repairing = true;
    g->hard_state_dirty = true;
    g->role_changed = true;
    g->repair_target = 0;
    g->verified = 0;
    g->repair_token = 0;
    g->repair_not_before = now + 2 * g->host->cfg.election_max;
    raft_touch(g);
}

void raft_repair_mark(struct raft_group *g, struct raft_progress *p)
{
    CHECK(g->role == RAFT_LEADER);
    p->repairing = true;
    p->repair_index = 0;
    p->repair_token = raft_mint_token(g);
    p->token_min = p->repair_token; /* older acknowledgements are of the lost log */
    p->token_acked = 0;
    p->match = 0;
    raft_peer_restart(g, p);
    for (uint32_t i = 0; i < g->peer_count; i++) {
        g->peers[i].force = true;
    }
    raft_repair_confirm(g);
}

void raft_repair_confirm(struct raft_group *g)
{
    CHECK(g->role == RAFT_LEADER);
    if (g->noop_wanted || g->commit < g->term_start) {
        return;
    }
    for (uint32_t i = 0; i < g->peer_count; i++) {
        struct raft_progress *p = &g->peers[i];
        if (!p->repairing || p->repair_index > 0) {
            continue;
        }
        if (raft_quorum_reached(g, UINT64_MAX, raft_value_token) >= p->repair_token) {
            p->repair_index = g->commit;
            p->force = true;
        }
    }
}

void raft_repair_note(struct raft_group *g, const struct raft_msg *msg, raft_index verified)
{
    CHECK(msg->term == g->term);
    if (!g->repairing) {
        return;
    }
    g->verified = verified > g->verified ? verified : g->verified;
    g->repair_token = msg->token > g->repair_token ? msg->token : g->repair_token;
    if (msg->hint > 0) {
        g->repair_target = msg->hint;
    }
}

void raft_repair_check(struct raft_group *g, clk_ns now)
{
    bool whole = g->repairing && g->repair_target > 0 && g->verified >= g->repair_target &&
                 g->durable >= g->repair_target;
    if (!whole || g->leader == 0 || now < g->repair_not_before) {
        return;
    }
    CHECK(g->role == RAFT_FOLLOWER && g->leader != g->host->cfg.self);
    g->repairing = false;
    g->vote = g->leader;
    g->hard_state_dirty = true;
    g->role_changed = true;
    raft_arm_election(g, now);
    struct raft_msg reply = raft_msg_to(g, RAFT_MSG_APPEND_REPLY, g->leader);
    reply.index = g->verified;
    reply.token = g->repair_token;
    raft_post(g, &reply);
    raft_touch(g);
}
