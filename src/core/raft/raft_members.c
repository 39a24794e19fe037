/* Changing who the members are: joint consensus, catching up, and leaving.
 *
 * Place: core/raft. Section 6 of the paper, dissertation 4.3, and from 4.2 what is about learners.
 * Every change, also of one member, goes the same way:
 *
 *   IN_CONFIG, or a learner has caught up        C_old,new is committed: by itself
 *   C_old -------------------------------> C_old,new ----------------------> C_new
 *                                                   a leader without a vote in it leaves when it
 *                                                   is committed
 *
 * 1. A configuration is active from its appending on, and one change is under way at most: the next
 *    one begins when C_new is committed.
 * 2. None begins before an entry of the leader's own term is committed. Else two leaders in turn
 *    could each build on a configuration that the other does not know ("bug in single-server
 *    membership changes", raft-dev, 2015; joint consensus needs the rule for 1).
 * 3. C_new follows from what the log says (its newest configuration is joint and committed), not
 *    from what somebody remembers: so any leader finishes what another one began, and just once.
 *
 * A learner with the wish to vote gets it when a round of catching up was short (dissertation
 * 4.2.1: a round replicates what the log had when the round began; when it "lasts less than an
 * election timeout", the log is near enough that the change will not hold up commits). Rounds go on
 * as long as the wish stands, so the evidence is never older than the newest round.
 *
 * Who was removed is not told: its progress ends with C_new. It asks for pre-votes then, which
 * those who hear a leader refuse without any harm (dissertation 4.2.3). */
#include "raft/raft_priv.h"

/* ---- beginning a change --------------------------------------------------------------------- */

/* A vote may be given to a member that has the log in which it is one; see raft_feed. */
static enum err check_new_voter(struct raft_group *g, const struct raft_member *wanted,
                                const struct raft_member *present)
{
    if (present == NULL || present->storage_id != wanted->storage_id) {
        return ERR_BAD_INPUT;
    }
    if (present->role == RAFT_VOTER || wanted->node == g->host->cfg.self) {
        return ERR_OK;
    }
    const struct raft_progress *p = raft_peer_find(g, wanted->node);
    CHECK(p != NULL);
    const struct raft_known_peer *known = raft_known_find(g->host, p->node);
    bool heard = known != NULL && known->trusted && known->storage_id == p->pinned_storage &&
                 !p->repairing && p->match >= raft_configs_active(&g->configs)->index;
    return heard ? ERR_OK : ERR_FULL;
}

/* Fits the target to what is there, and judges it. */
static enum err check_target(struct raft_group *g, struct raft_config *target)
{
    const struct raft_config *present = &raft_configs_active(&g->configs)->config;
    enum err err = ERR_OK;
    if (target->joint || !raft_config_valid(target)) {
        return ERR_BAD_INPUT;
    }
    for (uint32_t i = 0; i < target->count; i++) {
        struct raft_member *member = &target->members[i];
        const struct raft_member *before = raft_config_find(present, member->node);
        bool votes = before != NULL && before->role == RAFT_VOTER;
        if (votes && member->storage_id != before->storage_id) {
            return ERR_BAD_INPUT;
        }
        if (votes && member->role == RAFT_PROMOTABLE) {
            member->role = RAFT_VOTER; /* the wish has come true already */
        }
        if (member->role == RAFT_VOTER) {
            enum err why = check_new_voter(g, member, before);
            err = why == ERR_BAD_INPUT || err == ERR_OK ? why : err;
        }
        if (err == ERR_BAD_INPUT) {
            return err;
        }
    }
    return raft_config_voters(target) == 0 ? ERR_BAD_INPUT : err;
}

static enum err begin_change(struct raft_group *g, const struct raft_config *wanted)
{
    const struct raft_config_at *active = raft_configs_active(&g->configs);
    bool under_way = g->wanted.count > 0 || active->config.joint || active->index > g->commit;
    /* About to leave, or handing over: the next leader may begin it. */
    under_way = under_way || !g->self_voter || g->transfer_to != 0;
    if (under_way || g->noop_wanted || g->commit < g->term_start) {
        return ERR_FULL;
    }
    struct raft_config target = *wanted;
    enum err err = check_target(g, &target);
    if (err != ERR_OK) {
        return err;
    }
    if (raft_config_same(&target, &active->config)) {
        return ERR_EXISTS;
    }
    struct raft_config joint;
    if (!raft_config_join(&active->config, &target, &joint)) {
        return ERR_BAD_INPUT;
    }
    if (!raft_configs_have_room(&g->configs, 2)) {
        return ERR_FULL;
    }
    g->wanted = joint;
    raft_touch(g);
    return ERR_OK;
}

enum err raft_on_config(struct raft_group *g, const struct raft_input *input)
{
    CHECK(input->config != NULL);
    if (g->role != RAFT_LEADER) {
        return ERR_NOT_LEADER;
    }
    if (input->index != 0 && input->index != raft_configs_active(&g->configs)->index) {
        return ERR_CONFLICT;
    }
    return begin_change(g, input->config);
}

/* ---- catching up ---------------------------------------------------------------------------- */

/* Its last round was short, and that was just now. */
static bool caught_up(const struct raft_group *g, const struct raft_progress *p, clk_ns now)
{
    return p->role == RAFT_PROMOTABLE && p->round_fast &&
           now - p->round_start <= g->host->cfg.election_min;
}

/* All that have caught up go in one change: fewer changes, and seldom an even number of voters. */
static void promote(struct raft_group *g, clk_ns now)
{
    struct raft_config target = raft_configs_active(&g->configs)->config;
    if (target.joint) {
        return;
    }
    for (uint32_t i = 0; i < target.count; i++) {
        struct raft_member *member = &target.members[i];
        const struct raft_progress *p = raft_peer_find(g, member->node);
        bool ready =
            p != NULL && caught_up(g, p, now) && check_new_voter(g, member, member) == ERR_OK;
        member->role = ready ? RAFT_VOTER : member->role;
    }
    /* When it cannot begin now, the next round's end asks again. */
    enum err err = begin_change(g, &target);
    CHECK(err == ERR_OK || err == ERR_FULL || err == ERR_EXISTS);
}

void raft_catch_up(struct raft_group *g, struct raft_progress *p, clk_ns now)
{
    CHECK(g->role == RAFT_LEADER);
    if (p->role != RAFT_PROMOTABLE || p->match < p->round_target) {
        return;
    }
    p->round_fast = now - p->round_start <= g->host->cfg.election_min;
    p->round_target = g->log.last;
    p->round_start = now;
    if (p->round_fast) {
        promote(g, now);
    }
}

/* ---- appending, leaving --------------------------------------------------------------------- */

static bool finish_due(const struct raft_group *g)
{
    const struct raft_config_at *active = raft_configs_active(&g->configs);
    return active->config.joint && active->index <= g->commit && g->commit >= g->term_start &&
           raft_configs_have_room(&g->configs, 1);
}

bool raft_config_effect(struct raft_group *g, struct raft_effect *fx)
{
    if (g->role != RAFT_LEADER || g->noop_wanted) {
        return false;
    }
    struct raft_config next;
    if (g->wanted.count > 0) {
        next = g->wanted;
        g->wanted.count = 0;
    } else if (g->transfer_to == 0 && finish_due(g)) {
        /* Section 6: "once C_old,new has been committed [...] it is now safe for the leader to
         * create a log entry describing C_new and replicate it". */
        raft_config_leave(&raft_configs_active(&g->configs)->config, &next);
    } else {
        return false;
    }
    raft_log_append(&g->log, 1, g->term);
    raft_configs_append(&g->configs, g->log.last, &next);
    raft_group_config_changed(g);
    raft_touch(g);
    fx->kind = RAFT_FX_CONFIG_ENTRY;
    fx->index = g->log.last;
    fx->term = g->term;
    fx->config = &raft_configs_active(&g->configs)->config;
    return true;
}

bool raft_leave_office(struct raft_group *g, clk_ns now)
{
    const struct raft_config_at *active = raft_configs_active(&g->configs);
    bool committed = active->index <= g->commit && g->commit >= g->term_start;
    if (g->role != RAFT_LEADER || g->self_voter || g->noop_wanted || !committed) {
        return false;
    }
    /* Section 6: "the leader steps down (returns to follower state) once it has committed the C_new
     * log entry"; until then it managed a cluster without counting itself. */
    CHECK(!active->config.joint);
    raft_transfer_leave(g, now); /* so that nobody has to wait for a timeout */
    raft_become_follower(g, now, g->term, 0);
    return true;
}
