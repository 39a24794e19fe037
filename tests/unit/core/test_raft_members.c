/* Claims about changing the members of groups of core/raft. Whole clusters are judged after every
 * step by raft_cluster.c, which knows that a joint configuration needs two majorities. */
#include "raft_cluster.h"
#include "raft_lone.h"

#include "test.h"

/* Roles of nodes 1, 2, ..., as a test writes them. */
#define ROLES(...)                                                                                 \
    (const enum raft_member_role[RC_NODES_MAX])                                                    \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }

#define O RAFT_NOT_A_MEMBER
#define V RAFT_VOTER
#define L RAFT_LEARNER
#define P RAFT_PROMOTABLE

enum {
    SEEDS = 10
};

/* The first `voters` nodes found the group, the others know nothing of it. */
static struct rc *cluster(uint32_t nodes, uint32_t voters, uint64_t seed)
{
    struct rc_options options = {
        .nodes = nodes, .voters = voters, .members = voters, .groups = 1, .seed = seed};
    return rc_new(&options);
}

/* Makes this node the leader: the one that leads restarts until it does not any more. */
static void lead(struct rc *c, raft_node_id node)
{
    for (uint32_t attempt = 0; attempt < 50 && rc_elect(c, 1) != node; attempt++) {
        raft_node_id other = rc_elect(c, 1);
        rc_crash(c, other, 99);
        rc_run_ms(c, 305);
        rc_start(c, other);
        struct raft_input in = {.kind = RAFT_IN_CAMPAIGN, .group = 1};
        assert_int_equal(rc_feed(c, node, &in), ERR_OK);
        rc_write_all(c, 1);
    }
    assert_int_equal(rc_elect(c, 1), node);
}

static void all_roles(enum raft_member_role *roles, uint32_t nodes, enum raft_member_role role)
{
    for (uint32_t i = 0; i < RC_NODES_MAX; i++) {
        roles[i] = i < nodes ? role : RAFT_NOT_A_MEMBER;
    }
}

/* ---- changes that go through --------------------------------------------------------------- */

static void voters_grow_from_one_to_five_and_shrink_to_three(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct rc *c = cluster(5, 1, seed);
        rc_write_all(c, 1);
        rc_change_all(c, 1, ROLES(V, L, L));
        rc_write_all(c, 1); /* learners have it too */
        assert_int_equal(rc_role(c, 1, 2), RAFT_LEARNER);
        rc_change_all(c, 1, ROLES(V, V, V));
        rc_write_all(c, 1);
        rc_crash(c, 1, 99);
        rc_write_all(c, 1); /* by the other two */
        rc_start(c, 1);
        assert_int_equal(rc_change(c, rc_elect(c, 1), 1, ROLES(V, V, V, P, P)), ERR_OK);
        rc_settle(c, 1, 5);
        rc_crash(c, 2, 99);
        rc_crash(c, 3, 99);
        rc_write_all(c, 1);
        rc_start(c, 2);
        rc_start(c, 3);
        rc_change_all(c, 1, ROLES(V, V, V));
        rc_crash(c, 4, 99);
        rc_crash(c, 5, 99);
        rc_write_all(c, 1);
        rc_free(c);
    }
}

static void all_members_are_replaced_at_once(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct rc *c = cluster(6, 3, seed);
        rc_change_all(c, 1, ROLES(V, V, V, L, L, L));
        rc_write_all(c, 1);
        rc_change_all(c, 1, ROLES(O, O, O, V, V, V));
        rc_write_all(c, 1);
        assert_true(rc_leader(c, 1) >= 4);
        for (raft_node_id i = 1; i <= 3; i++) {
            assert_true(rc_view(c, i, 1).role != RAFT_LEADER);
            rc_crash(c, i, 99);
        }
        rc_write_all(c, 1);
        rc_free(c);
    }
}

static void leader_that_is_removed_finishes_and_leaves(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct rc *c = cluster(3, 3, seed);
        raft_node_id old = rc_elect(c, 1);
        enum raft_member_role roles[RC_NODES_MAX];
        all_roles(roles, 3, RAFT_VOTER);
        roles[old - 1] = RAFT_NOT_A_MEMBER;
        rc_change_all(c, 1, roles);
        raft_node_id leader = rc_leader(c, 1);
        raft_term term = rc_view(c, leader, 1).term;
        assert_true(leader != old);
        assert_int_equal(rc_view(c, old, 1).role, RAFT_FOLLOWER);
        rc_run_ms(c, 10000);
        assert_int_equal(rc_view(c, leader, 1).term, term); /* it does not campaign */
        assert_int_equal(rc_leader(c, 1), leader);
        assert_int_equal(rc_view(c, old, 1).role, RAFT_FOLLOWER);
        assert_false(rc_view(c, old, 1).config.joint); /* it knows that it is out */
        assert_int_equal(rc_change(c, old, 1, roles), ERR_NOT_LEADER);
        rc_free(c);
    }
}

/* What was removed while it was away has never heard of it. */
static void removed_follower_disturbs_nobody(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct rc *c = cluster(3, 3, seed);
        raft_node_id leader = rc_elect(c, 1);
        raft_node_id gone = leader % 3 + 1;
        bool away = seed % 2 == 0;
        rc_isolate(c, gone, away);
        enum raft_member_role roles[RC_NODES_MAX];
        all_roles(roles, 3, RAFT_VOTER);
        roles[gone - 1] = RAFT_NOT_A_MEMBER;
        rc_change_all(c, 1, roles);
        raft_term term = rc_view(c, leader, 1).term;
        uint64_t asked = c->messages[RAFT_MSG_PREVOTE];
        rc_isolate(c, gone, false);
        rc_run_ms(c, 10000);
        assert_true(c->messages[RAFT_MSG_PREVOTE] > asked); /* it does try */
        assert_int_equal(c->messages[RAFT_MSG_VOTE], c->messages[RAFT_MSG_VOTE_REPLY]);
        assert_int_equal(rc_leader(c, 1), leader);
        assert_int_equal(rc_view(c, leader, 1).term, term);
        assert_int_equal(rc_view(c, leader, 1).peer_count, 1); /* its progress is gone */
        rc_write_all(c, 1);
        roles[gone - 1] = RAFT_PROMOTABLE;
        assert_int_equal(rc_change(c, leader, 1, roles), ERR_OK); /* and may come back */
        rc_settle(c, 1, 3);
        rc_write_all(c, 1);
        rc_free(c);
    }
}

/* ---- learners ------------------------------------------------------------------------------ */

static void learner_votes_when_it_has_caught_up_and_not_before(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct rc *c = cluster(4, 3, seed);
        for (uint32_t i = 0; i < 20; i++) {
            rc_write_all(c, 1);
        }
        rc_isolate(c, 4, true);
        assert_int_equal(rc_change(c, rc_elect(c, 1), 1, ROLES(V, V, V, P)), ERR_OK);
        rc_run_ms(c, 5000);
        assert_int_equal(rc_role(c, 1, 4), RAFT_PROMOTABLE);
        rc_write_all_but(c, 1, 4); /* it does not count */
        rc_isolate(c, 4, false);
        rc_settle(c, 1, 4);
        assert_int_equal(rc_role(c, 1, 4), RAFT_VOTER);
        rc_write_all(c, 1);
        rc_free(c);
    }
}

static struct raft_config config_of(const enum raft_member_role *roles)
{
    struct raft_config config = {.count = 0};
    for (uint32_t i = 0; i < RC_NODES_MAX; i++) {
        if (roles[i] != RAFT_NOT_A_MEMBER) {
            config.members[config.count++] =
                (struct raft_member){.node = i + 1, .role = roles[i], .storage_id = 1001 + i};
        }
    }
    return config;
}

static enum err change(struct lone *l, const struct raft_config *config, raft_index made_from)
{
    struct raft_input in = {
        .kind = RAFT_IN_CONFIG, .group = 1, .config = config, .index = made_from};
    return lone_feed(l, &in);
}

static enum err change_to(struct lone *l, const enum raft_member_role *roles)
{
    struct raft_config config = config_of(roles);
    return change(l, &config, 0);
}

/* Leads with a committed no-op. */
static struct lone *leader_of(uint32_t voters)
{
    struct lone_options options = {.voters = voters};
    struct lone *l = lone_new(&options);
    lone_lead(l);
    for (raft_node_id i = 2; i <= voters; i++) {
        assert_int_equal(lone_ack(l, i, lone_last(l), 0), ERR_OK);
    }
    assert_true(lone_view(l).leads_safely);
    lone_clear(l);
    return l;
}

static void everybody_acks(struct lone *l)
{
    lone_durable(l);
    for (uint32_t round = 0; round < 3; round++) { /* an acknowledgement may bring a new entry */
        struct raft_view view = lone_view(l);
        for (uint32_t i = 0; i < view.peer_count && lone_role(l) == RAFT_LEADER; i++) {
            assert_int_equal(lone_ack(l, view.peers[i].node, view.last, 0), ERR_OK);
            lone_durable(l);
        }
    }
}

static void slow_round_promotes_nobody(void **state)
{
    (void)state;
    struct lone *l = leader_of(1);
    assert_int_equal(lone_peer(l, 2, 1002, true), ERR_OK);
    assert_int_equal(change_to(l, ROLES(V, P)), ERR_OK);
    lone_durable(l);
    assert_int_equal(lone_view(l).config.count, 2);
    assert_false(lone_is_joint(l)); /* a single voter commits alone */
    lone_durable(l);
    raft_index last = lone_last(l);
    for (uint32_t i = 0; i < 5; i++) {
        lone_pass_ms(l, 301); /* one more than an election timeout, each time */
        assert_int_equal(lone_ack(l, 2, last, 0), ERR_OK);
        assert_int_equal(lone_last(l), last);
    }
    lone_pass_ms(l, 299);
    assert_int_equal(lone_ack(l, 2, last, 0), ERR_OK);
    assert_int_equal(lone_last(l), last + 1);
    assert_true(lone_is_joint(l));
    assert_int_equal(lone_view(l).config.members[1].role, RAFT_VOTER);
    assert_int_equal(lone_view(l).config.members[1].role_old, RAFT_PROMOTABLE);
    lone_free(l);
}

static void round_ends_when_its_entries_are_there(void **state)
{
    (void)state;
    struct lone *l = leader_of(1);
    assert_int_equal(lone_peer(l, 2, 1002, true), ERR_OK);
    assert_int_equal(change_to(l, ROLES(V, P)), ERR_OK);
    lone_durable(l);
    lone_durable(l);
    raft_index member = lone_last(l);
    assert_int_equal(lone_propose(l, 10), ERR_OK);
    lone_durable(l);
    lone_pass_ms(l, 301);
    assert_int_equal(lone_ack(l, 2, member, 0), ERR_OK); /* a slow round; the next has ten more */
    assert_int_equal(lone_ack(l, 2, member, 0), ERR_OK);
    assert_int_equal(lone_ack(l, 2, member + 9, 0), ERR_OK); /* at once, but not all of them */
    assert_false(lone_is_joint(l));
    assert_int_equal(lone_ack(l, 2, member + 10, 0), ERR_OK);
    assert_true(lone_is_joint(l));
    lone_free(l);
}

static void learner_without_the_wish_or_on_another_disk_is_not_promoted(void **state)
{
    (void)state;
    struct lone *l = leader_of(1);
    assert_int_equal(lone_peer(l, 2, 1002, true), ERR_OK);
    assert_int_equal(lone_peer(l, 3, 77, true), ERR_OK);
    assert_int_equal(lone_peer(l, 4, 1004, false), ERR_OK);
    assert_int_equal(change_to(l, ROLES(V, L, P, P)), ERR_OK);
    lone_durable(l);
    lone_durable(l);
    raft_index last = lone_last(l);
    for (uint32_t i = 0; i < 5; i++) {
        lone_pass_ms(l, 50);
        for (raft_node_id from = 2; from <= 4; from++) {
            uint64_t token = lone_sent(l, RAFT_MSG_APPEND, from)->msg.token;
            assert_int_equal(lone_ack(l, from, last, token), ERR_OK);
        }
    }
    assert_int_equal(lone_last(l), last);
    lone_free(l);
}

/* ---- majorities ---------------------------------------------------------------------------- */

/* Old voters 1 2 3, new ones 1 4 5: here the entry reaches one half only. */
static void one_half_of(uint64_t seed, raft_node_id silent_a, raft_node_id silent_b)
{
    struct rc *c = cluster(5, 3, seed);
    rc_change_all(c, 1, ROLES(V, V, V, L, L));
    rc_write_all(c, 1);
    lead(c, 1);
    rc_cut(c, 1, silent_a, true);
    rc_cut(c, 1, silent_b, true);
    raft_index commit = rc_view(c, 1, 1).commit;
    assert_int_equal(rc_change(c, 1, 1, ROLES(V, O, O, V, V)), ERR_OK);
    rc_run_ms(c, 250);
    struct raft_view view = rc_view(c, 1, 1);
    assert_int_equal(view.role, RAFT_LEADER);
    assert_true(view.config.joint);
    assert_int_equal(view.commit, commit);
    rc_isolate(c, 1, false);
    rc_write_all(c, 1);
    rc_free(c);
}

static void joint_entry_needs_both_majorities(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        one_half_of(seed, 2, 3);
        one_half_of(seed, 4, 5);
    }
}

/* Node 1 in the joint configuration of old voters 1 2 3 and new ones 1 4 5. */
static struct lone *joint_follower(void)
{
    struct lone_options options = {.voters = 3, .members = 5};
    struct lone *l = lone_new(&options);
    struct raft_config joint = config_of(ROLES(V, V, V, V, V));
    joint.joint = true;
    for (uint32_t i = 0; i < 5; i++) {
        joint.members[i].role = i == 0 || i >= 3 ? RAFT_VOTER : RAFT_NOT_A_MEMBER;
        joint.members[i].role_old = i < 3 ? RAFT_VOTER : RAFT_LEARNER;
    }
    struct buf b;
    buf_init(&b, RAFT_CONFIG_BYTES_MAX);
    assert_int_equal(raft_config_encode(&joint, &b), ERR_OK);
    struct raft_entry_info entry = {
        .term = 2, .size = (uint32_t)b.len, .kind = RAFT_ENTRY_CONFIG, .config_bytes = b.data};
    struct raft_msg msg = lone_msg(RAFT_MSG_APPEND, 2, 2);
    msg.index = 1;
    msg.log_term = 1;
    struct raft_input in = {.kind = RAFT_IN_MSG, .msg = &msg, .entries = &entry, .entry_count = 1};
    assert_int_equal(lone_feed(l, &in), ERR_OK);
    buf_done(&b);
    assert_true(lone_is_joint(l));
    lone_durable(l);
    return l;
}

static void vote(struct lone *l, enum raft_msg_type type, raft_node_id from)
{
    struct raft_msg yes = lone_msg(type, from, 3);
    assert_int_equal(lone_tell(l, &yes), ERR_OK);
}

static void election_needs_both_majorities(void **state)
{
    (void)state;
    for (uint32_t old_first = 0; old_first < 2; old_first++) {
        struct lone *l = joint_follower();
        struct raft_input in = {.kind = RAFT_IN_CAMPAIGN, .group = 1};
        assert_int_equal(lone_feed(l, &in), ERR_OK);
        raft_node_id first = old_first != 0 ? 2 : 4;
        raft_node_id second = old_first != 0 ? 4 : 2;
        for (raft_node_id i = 2; i <= 5; i++) {
            assert_non_null(lone_sent(l, RAFT_MSG_PREVOTE, i)); /* both halves are asked */
        }
        vote(l, RAFT_MSG_PREVOTE_REPLY, first);
        vote(l, RAFT_MSG_PREVOTE_REPLY, first + 1);
        assert_int_equal(lone_role(l), RAFT_PRECANDIDATE);
        vote(l, RAFT_MSG_PREVOTE_REPLY, second);
        assert_int_equal(lone_role(l), RAFT_CANDIDATE);
        lone_durable(l);
        vote(l, RAFT_MSG_VOTE_REPLY, first);
        vote(l, RAFT_MSG_VOTE_REPLY, first + 1);
        assert_int_equal(lone_role(l), RAFT_CANDIDATE);
        vote(l, RAFT_MSG_VOTE_REPLY, second);
        assert_int_equal(lone_role(l), RAFT_LEADER);
        lone_free(l);
    }
}

static void read_and_lead_need_both_majorities(void **state)
{
    (void)state;
    struct lone *l = leader_of(3);
    assert_int_equal(lone_peer(l, 4, 1004, true), ERR_OK);
    assert_int_equal(lone_peer(l, 5, 1005, true), ERR_OK);
    assert_int_equal(change_to(l, ROLES(V, V, V, L, L)), ERR_OK);
    everybody_acks(l);
    assert_int_equal(change_to(l, ROLES(V, O, O, V, V)), ERR_OK);
    assert_true(lone_is_joint(l));
    lone_clear(l);
    assert_int_equal(lone_read(l, 9), ERR_OK);
    uint64_t token = lone_sent(l, RAFT_MSG_APPEND, 4)->msg.token;
    assert_int_equal(lone_ack(l, 4, 1, token), ERR_OK);
    assert_int_equal(lone_ack(l, 5, 1, token), ERR_OK);
    assert_null(lone_find(l, RAFT_FX_READ_OK));
    assert_int_equal(lone_ack(l, 3, 1, token), ERR_OK);
    assert_non_null(lone_find(l, RAFT_FX_READ_OK));
    for (uint32_t i = 0; i < 8; i++) { /* 800 ms with the new half only */
        lone_pass_ms(l, 100);
        assert_int_equal(lone_ack(l, 4, 1, 0), ERR_OK);
        assert_int_equal(lone_ack(l, 5, 1, 0), ERR_OK);
    }
    assert_int_equal(lone_role(l), RAFT_FOLLOWER);
    lone_free(l);
}

static void leader_that_leaves_does_not_count_itself(void **state)
{
    (void)state;
    struct lone *l = leader_of(3);
    assert_int_equal(change_to(l, ROLES(O, V, V)), ERR_OK);
    lone_durable(l);
    raft_index joint = lone_last(l);
    assert_int_equal(lone_ack(l, 2, joint, 0), ERR_OK);
    assert_int_equal(lone_commit(l) < joint, true); /* 2 is no majority of 2 and 3 */
    assert_int_equal(lone_ack(l, 3, joint, 0), ERR_OK);
    assert_int_equal(lone_commit(l), joint);
    assert_int_equal(lone_last(l), joint + 1); /* C_new, by itself */
    assert_false(lone_is_joint(l));
    assert_false(lone_view(l).is_voter);
    lone_durable(l);
    lone_clear(l);
    assert_int_equal(lone_propose(l, 1), ERR_OK); /* it leads on meanwhile */
    lone_durable(l);
    assert_int_equal(lone_ack(l, 2, joint + 2, 0), ERR_OK);
    assert_int_equal(lone_commit(l), joint);
    assert_int_equal(lone_role(l), RAFT_LEADER);
    lone_clear(l);
    assert_int_equal(lone_ack(l, 3, joint + 1, 0), ERR_OK);
    assert_int_equal(lone_commit(l), joint + 1);
    assert_int_equal(lone_role(l), RAFT_FOLLOWER);
    assert_int_equal(lone_sent(l, RAFT_MSG_APPEND, 3)->msg.commit, joint + 1); /* told before */
    lone_clear(l);
    lone_pass_ms(l, 5000);
    assert_null(lone_sent(l, RAFT_MSG_PREVOTE, 2));
    lone_free(l);
}

/* ---- refusals ------------------------------------------------------------------------------ */

/* "Bug in single-server membership changes" (raft-dev, 2015). */
static void no_change_before_an_entry_of_this_term_is_committed(void **state)
{
    (void)state;
    /* That the present configuration is committed is known already, and is not enough. */
    struct lone_options options = {.voters = 3, .applied = 1};
    struct lone *l = lone_new(&options);
    assert_int_equal(change_to(l, ROLES(V, V)), ERR_NOT_LEADER);
    lone_lead(l);
    raft_index noop = lone_last(l);
    assert_int_equal(change_to(l, ROLES(V, V)), ERR_FULL);
    assert_int_equal(lone_last(l), noop);
    assert_int_equal(lone_ack(l, 2, noop - 1, 0), ERR_OK); /* the founding entry is not its own */
    assert_int_equal(change_to(l, ROLES(V, V)), ERR_FULL);
    assert_int_equal(lone_ack(l, 2, noop, 0), ERR_OK);
    assert_int_equal(change_to(l, ROLES(V, V)), ERR_OK);
    lone_free(l);
}

static void changes_come_one_at_a_time(void **state)
{
    (void)state;
    struct lone *l = leader_of(3);
    assert_int_equal(change_to(l, ROLES(V, V)), ERR_OK);
    assert_true(lone_is_joint(l));
    assert_int_equal(change_to(l, ROLES(V)), ERR_FULL);
    raft_index joint = lone_last(l);
    lone_durable(l);
    assert_int_equal(lone_ack(l, 2, joint, 0), ERR_OK);
    assert_int_equal(lone_last(l), joint + 1); /* C_new is there, not committed */
    assert_int_equal(change_to(l, ROLES(V)), ERR_FULL);
    lone_durable(l);
    assert_int_equal(lone_ack(l, 2, joint + 1, 0), ERR_OK);
    assert_int_equal(lone_last(l), joint + 1); /* and C_new only once */
    assert_int_equal(change_to(l, ROLES(V)), ERR_OK);
    lone_free(l);
}

static void leader_that_leaves_begins_no_change(void **state)
{
    (void)state;
    struct lone *l = leader_of(3);
    assert_int_equal(change_to(l, ROLES(O, V, V)), ERR_OK);
    raft_index joint = lone_last(l);
    for (raft_node_id from = 2; from <= 3; from++) {
        assert_int_equal(lone_ack(l, from, joint, 0), ERR_OK);
    }
    struct raft_msg ack = lone_msg(RAFT_MSG_APPEND_REPLY, 2, lone_view(l).term);
    ack.index = joint + 1;
    struct raft_input in = {.kind = RAFT_IN_MSG, .msg = &ack};
    assert_int_equal(raft_feed(l->host, l->now, &in, NULL), ERR_OK);
    ack.from = 3;
    assert_int_equal(raft_feed(l->host, l->now, &in, NULL), ERR_OK);
    assert_int_equal(lone_commit(l), joint + 1); /* it goes with the next drain */
    assert_int_equal(change_to(l, ROLES(O, V, L)), ERR_FULL);
    assert_int_equal(lone_role(l), RAFT_FOLLOWER);
    assert_int_equal(lone_last(l), joint + 1);
    lone_free(l);
}

static void impossible_targets_are_refused(void **state)
{
    (void)state;
    struct lone *l = leader_of(3);
    assert_int_equal(lone_peer(l, 4, 1004, true), ERR_OK);
    assert_int_equal(change_to(l, ROLES(O)), ERR_BAD_INPUT);
    assert_int_equal(change_to(l, ROLES(L, L, L)), ERR_BAD_INPUT);
    assert_int_equal(change_to(l, ROLES(V, V, V, V)), ERR_BAD_INPUT); /* 4 is no member yet */
    assert_int_equal(change_to(l, ROLES(V, V, V)), ERR_EXISTS);
    assert_int_equal(change_to(l, ROLES(V, P, P)), ERR_EXISTS); /* they do vote already */
    struct raft_config config = config_of(ROLES(V, V, L));
    assert_int_equal(change(l, &config, 7), ERR_CONFLICT);
    config.joint = true;
    assert_int_equal(change(l, &config, 0), ERR_BAD_INPUT);
    config.joint = false;
    config.members[1].node = 1;
    assert_int_equal(change(l, &config, 0), ERR_BAD_INPUT); /* twice */
    config.members[1] = (struct raft_member){.node = 0, .role = RAFT_VOTER, .storage_id = 3};
    assert_int_equal(change(l, &config, 0), ERR_BAD_INPUT);
    config.members[1] = (struct raft_member){.node = 2, .role = RAFT_VOTER, .storage_id = 0};
    assert_int_equal(change(l, &config, 0), ERR_BAD_INPUT);
    config.members[1].storage_id = 77; /* an exchanged disk would vote for what it never saw */
    assert_int_equal(change(l, &config, 0), ERR_BAD_INPUT);
    config.members[1].role = RAFT_LEARNER;
    assert_int_equal(change(l, &config, 0), ERR_BAD_INPUT);
    config = config_of(ROLES(V, V, O));
    while (config.count < RAFT_MEMBERS_MAX) {
        config.members[config.count] =
            (struct raft_member){.node = 10 + config.count, .role = RAFT_LEARNER, .storage_id = 5};
        config.count++;
    }
    assert_int_equal(change(l, &config, 0), ERR_BAD_INPUT); /* 33 with node 3 */
    config.members[2].node = 3;
    config.members[2].storage_id = 1003;
    assert_int_equal(lone_config_index(l), 1); /* nothing has come of all that */
    assert_int_equal(change(l, &config, 1), ERR_OK);
    assert_int_equal(lone_view(l).config.count, RAFT_MEMBERS_MAX);
    lone_free(l);
}

/* Who does not know that it is a member would not vote: 1 and 2 could never elect again. */
static void new_voter_has_the_log_that_makes_it_a_member(void **state)
{
    (void)state;
    struct lone *l = leader_of(1);
    assert_int_equal(lone_peer(l, 2, 1002, true), ERR_OK);
    assert_int_equal(change_to(l, ROLES(V, L)), ERR_OK);
    lone_durable(l);
    lone_durable(l);
    raft_index last = lone_last(l);
    assert_int_equal(change_to(l, ROLES(V, V)), ERR_FULL);
    assert_int_equal(lone_ack(l, 2, last - 1, 0), ERR_OK);
    assert_int_equal(change_to(l, ROLES(V, V)), ERR_FULL);
    assert_int_equal(lone_ack(l, 2, last, 0), ERR_OK);
    assert_int_equal(change_to(l, ROLES(V, V)), ERR_OK);
    lone_free(l);
}

static void lost_leadership_forgets_the_change(void **state)
{
    (void)state;
    struct lone *l = leader_of(3);
    struct raft_config config = config_of(ROLES(V, V));
    struct raft_input in = {.kind = RAFT_IN_CONFIG, .group = 1, .config = &config};
    assert_int_equal(raft_feed(l->host, l->now, &in, NULL), ERR_OK); /* not drained */
    raft_check(l->host);
    struct raft_msg higher = lone_msg(RAFT_MSG_APPEND_REPLY, 2, 9);
    higher.reject = true;
    assert_int_equal(lone_tell(l, &higher), ERR_OK);
    assert_null(lone_find(l, RAFT_FX_CONFIG_ENTRY));
    assert_int_equal(lone_config_index(l), 1);
    lone_free(l);
}

static void nodes_that_came_and_went_leave_room_for_others(void **state)
{
    (void)state;
    struct lone *l = leader_of(3);
    struct raft_input down = {.kind = RAFT_IN_PEER_DOWN, .node = 2};
    assert_int_equal(lone_feed(l, &down), ERR_OK); /* a member is not forgotten for that */
    for (raft_node_id node = 100; node < 100 + 2 * RAFT_PEERS_MAX; node++) {
        down.node = node;
        assert_int_equal(lone_peer(l, node, 5, true), ERR_OK);
        assert_int_equal(lone_feed(l, &down), ERR_OK);
    }
    raft_index last = lone_last(l);
    assert_int_equal(change_to(l, ROLES(V, V)), ERR_OK);
    lone_durable(l);
    assert_int_equal(lone_ack(l, 2, last + 1, 0), ERR_OK);
    assert_int_equal(lone_commit(l), last + 1);
    lone_free(l);
}

static void nodes_that_are_connected_keep_their_places(void **state)
{
    (void)state;
    struct lone *l = leader_of(3);
    raft_node_id node = 100;
    for (uint32_t places = 2; places < RAFT_PEERS_MAX; places++) { /* members have two */
        assert_int_equal(lone_peer(l, node++, 5, true), ERR_OK);
    }
    assert_int_equal(lone_peer(l, node, 5, true), ERR_FULL);
    struct raft_input down = {.kind = RAFT_IN_PEER_DOWN, .node = 100};
    assert_int_equal(lone_feed(l, &down), ERR_OK);
    assert_int_equal(lone_peer(l, node, 5, true), ERR_OK);
    assert_int_equal(lone_peer(l, 100, 5, true), ERR_FULL);
    lone_free(l);
}

/* ---- accidents ----------------------------------------------------------------------------- */

static void joint_entry_that_nobody_else_has_is_rolled_back(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct rc *c = cluster(4, 3, seed);
        raft_node_id old = rc_elect(c, 1);
        rc_isolate(c, old, true);
        assert_int_equal(rc_change(c, old, 1, ROLES(V, V, V, P)), ERR_OK);
        assert_true(rc_view(c, old, 1).config.joint);
        bool restart = seed % 2 == 0;
        if (restart) {
            rc_crash(c, old, 99);
            rc_start(c, old);
            assert_true(rc_view(c, old, 1).config.joint);
        }
        rc_write_all_but(c, 1, old); /* elsewhere */
        rc_isolate(c, old, false);
        rc_write_all(c, 1);
        assert_int_equal(rc_view(c, old, 1).config_index, 1);
        assert_int_equal(rc_view(c, old, 1).config.count, 3);
        rc_free(c);
    }
}

/* Crashes the leader after so many steps of a change: it is undone or done, never left halfway. */
static bool crash_after(uint64_t seed, uint32_t steps, bool everybody)
{
    struct rc *c = cluster(5, 3, seed);
    rc_change_all(c, 1, ROLES(V, V, V, L, L));
    rc_write_all(c, 1);
    raft_node_id old = rc_elect(c, 1);
    enum raft_member_role roles[RC_NODES_MAX];
    all_roles(roles, 5, RAFT_VOTER);
    roles[old - 1] = RAFT_NOT_A_MEMBER;
    raft_index before = rc_view(c, old, 1).config_index;
    assert_int_equal(rc_change(c, old, 1, roles), ERR_OK);
    raft_index joint = rc_view(c, old, 1).config_index;
    for (uint32_t i = 0; i < steps; i++) {
        (void)rc_step(c, c->now + CLK_S(1));
    }
    bool committed = c->commit[1] >= joint;
    for (raft_node_id i = 1; i <= 5; i++) {
        if (i == old || everybody) {
            rc_crash(c, i, (uint32_t)(seed % 3));
        }
    }
    if (!everybody) { /* the others go on without it: they have the change, or they have not */
        raft_node_id leader = rc_elect(c, 1);
        rc_settle(c, 1, rc_view(c, leader, 1).config_index == before ? 3 : 4);
    }
    for (raft_node_id i = 1; i <= 5; i++) {
        if (i == old || everybody) {
            rc_start(c, i);
        }
    }
    rc_write_all(c, 1);
    rc_run_ms(c, 2000);
    struct raft_view view = rc_view(c, rc_elect(c, 1), 1);
    assert_false(view.config.joint);
    assert_true(view.config_index <= view.commit);
    assert_true(!committed || rc_role(c, 1, old) == RAFT_NOT_A_MEMBER);
    bool done = rc_role(c, 1, old) == RAFT_NOT_A_MEMBER;
    assert_int_equal(view.config.count, done ? 4 : 5);
    rc_free(c);
    return committed;
}

static void change_survives_the_leader_or_is_undone(void **state)
{
    (void)state;
    uint32_t committed = 0;
    uint32_t runs = 0;
    for (uint32_t steps = 0; steps < 40; steps += 2) {
        for (uint64_t seed = 1; seed <= 4; seed++) {
            committed += crash_after(seed, steps, false) ? 1 : 0;
            runs++;
        }
    }
    assert_in_range(committed, runs / 5, runs * 4 / 5); /* it crashed before and after the commit */
}

static void change_survives_a_restart_of_everybody(void **state)
{
    (void)state;
    for (uint32_t steps = 0; steps < 40; steps += 2) {
        for (uint64_t seed = 1; seed <= 4; seed++) {
            (void)crash_after(seed, steps, true);
        }
    }
}

/* Loses whatever carries a configuration that ends a joint one. */
static bool without_c_new(struct rc *c, const struct rc_message *message)
{
    for (uint32_t i = 0; i < message->count; i++) {
        const struct rc_entry *entry = &message->entries[i];
        if (entry->kind == RAFT_ENTRY_CONFIG && entry->value >= *(uint64_t *)c->filter_data &&
            !c->configs[entry->value].joint) {
            return false;
        }
    }
    return true;
}

/* Dissertation 4.2.2, Figure 4.6: only the leader that is to leave has C_new, and 2 cannot win
 * without its vote. It must campaign, although it is in no configuration of its own any more. */
static void leader_that_alone_has_the_new_configuration_is_elected_again(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct rc *c = cluster(3, 2, seed);
        rc_change_all(c, 1, ROLES(V, V, L));
        rc_write_all(c, 1);
        lead(c, 1);
        uint64_t from = c->config_count;
        c->filter_data = &from;
        c->filter = without_c_new;
        assert_int_equal(rc_change(c, 1, 1, ROLES(O, V, V)), ERR_OK);
        rc_run_ms(c, 250);
        assert_false(rc_view(c, 1, 1).config.joint);
        assert_true(rc_view(c, 1, 1).config_index > rc_view(c, 1, 1).commit);
        assert_true(rc_view(c, 2, 1).config.joint && rc_view(c, 3, 1).config.joint);
        rc_crash(c, 1, 99);
        rc_run_ms(c, 3000);
        assert_int_equal(rc_leader(c, 1), 0);
        c->filter = NULL;
        rc_start(c, 1);
        rc_settle(c, 1, 2);
        assert_true(rc_leader(c, 1) != 1);
        rc_crash(c, 1, 99);
        rc_write_all(c, 1);
        rc_free(c);
    }
}

static void snapshot_has_the_joint_configuration(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct rc *c = cluster(4, 3, seed);
        rc_change_all(c, 1, ROLES(V, V, V, L));
        rc_write_all(c, 1);
        raft_node_id leader = rc_elect(c, 1);
        raft_node_id lost = leader % 3 + 1;
        uint64_t from = c->config_count;
        c->filter_data = &from;
        c->filter = without_c_new;
        rc_isolate(c, lost, true);
        assert_int_equal(rc_change(c, leader, 1, ROLES(V, V, V, V)), ERR_OK);
        raft_index joint = rc_view(c, leader, 1).config_index;
        rc_run_ms(c, 200);
        assert_int_equal(c->commit[1], joint);
        for (raft_node_id i = 1; i <= 4; i++) {
            rc_compact(c, i, 1, 0);
        }
        assert_int_equal(c->nodes[leader].disks[1].snapshot.index, joint);
        assert_true(c->nodes[leader].disks[1].snapshot.config.joint);
        rc_isolate(c, lost, false);
        rc_run_ms(c, 200);
        assert_int_equal(c->nodes[lost].snapshots_installed, 1);
        assert_true(rc_view(c, lost, 1).config.joint);
        assert_int_equal(rc_view(c, lost, 1).config_index, joint);
        for (raft_node_id i = 1; i <= 4; i++) {
            rc_crash(c, i, 0);
        }
        c->nodes[leader].disks[1].log.count = 0; /* C_new is lost: it was never acknowledged */
        for (raft_node_id i = 1; i <= 4; i++) {
            rc_start(c, i);
            assert_true(rc_view(c, i, 1).config.joint);
            assert_int_equal(rc_view(c, i, 1).config_index, joint);
        }
        c->filter = NULL;
        rc_settle(c, 1, 4); /* whoever leads finishes it */
        rc_write_all(c, 1);
        rc_free(c);
    }
}

/* What a candidate stood on may be gone with the log that a snapshot replaces. */
static void snapshot_ends_the_candidacy_of_who_is_no_member_in_it(void **state)
{
    (void)state;
    struct lone_options options = {.voters = 3};
    struct lone *l = lone_new(&options);
    struct raft_input in = {.kind = RAFT_IN_CAMPAIGN, .group = 1};
    assert_int_equal(lone_feed(l, &in), ERR_OK);
    assert_int_equal(lone_role(l), RAFT_PRECANDIDATE);
    struct raft_snapshot_meta meta = {
        .index = 9, .term = 1, .config_index = 8, .config = config_of(ROLES(O, V, V))};
    in = (struct raft_input){.kind = RAFT_IN_SNAP_RECEIVED, .group = 1, .snapshot = &meta};
    assert_int_equal(lone_feed(l, &in), ERR_OK);
    assert_int_equal(lone_role(l), RAFT_FOLLOWER);
    lone_durable(l);
    lone_clear(l);
    lone_pass_ms(l, 5000);
    assert_null(lone_sent(l, RAFT_MSG_PREVOTE, 2));
    lone_free(l);
}

/* A snapshot of an index has the configuration of that index, not the newest one. */
static void snapshot_of_before_a_change_has_the_old_configuration(void **state)
{
    (void)state;
    struct lone *l = leader_of(3);
    raft_index before = lone_last(l);
    assert_int_equal(change_to(l, ROLES(V, V)), ERR_OK);
    struct raft_snapshot_meta meta;
    assert_int_equal(raft_meta_at(l->host, 1, before, &meta), ERR_OK);
    assert_int_equal(meta.config_index, 1);
    assert_false(meta.config.joint);
    assert_int_equal(raft_meta_at(l->host, 1, before + 1, &meta), ERR_OK);
    assert_int_equal(meta.config_index, before + 1);
    assert_true(meta.config.joint);
    assert_int_equal(raft_meta_at(l->host, 1, before + 2, &meta), ERR_NOT_FOUND);
    assert_int_equal(raft_meta_at(l->host, 2, 1, &meta), ERR_NOT_FOUND);
    lone_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(voters_grow_from_one_to_five_and_shrink_to_three),
        cmocka_unit_test(all_members_are_replaced_at_once),
        cmocka_unit_test(leader_that_is_removed_finishes_and_leaves),
        cmocka_unit_test(removed_follower_disturbs_nobody),
        cmocka_unit_test(learner_votes_when_it_has_caught_up_and_not_before),
        cmocka_unit_test(slow_round_promotes_nobody),
        cmocka_unit_test(round_ends_when_its_entries_are_there),
        cmocka_unit_test(learner_without_the_wish_or_on_another_disk_is_not_promoted),
        cmocka_unit_test(joint_entry_needs_both_majorities),
        cmocka_unit_test(election_needs_both_majorities),
        cmocka_unit_test(read_and_lead_need_both_majorities),
        cmocka_unit_test(leader_that_leaves_does_not_count_itself),
        cmocka_unit_test(no_change_before_an_entry_of_this_term_is_committed),
        cmocka_unit_test(changes_come_one_at_a_time),
        cmocka_unit_test(leader_that_leaves_begins_no_change),
        cmocka_unit_test(impossible_targets_are_refused),
        cmocka_unit_test(new_voter_has_the_log_that_makes_it_a_member),
        cmocka_unit_test(lost_leadership_forgets_the_change),
        cmocka_unit_test(nodes_that_came_and_went_leave_room_for_others),
        cmocka_unit_test(nodes_that_are_connected_keep_their_places),
        cmocka_unit_test(joint_entry_that_nobody_else_has_is_rolled_back),
        cmocka_unit_test(change_survives_the_leader_or_is_undone),
        cmocka_unit_test(change_survives_a_restart_of_everybody),
        cmocka_unit_test(leader_that_alone_has_the_new_configuration_is_elected_again),
        cmocka_unit_test(snapshot_has_the_joint_configuration),
        cmocka_unit_test(snapshot_ends_the_candidacy_of_who_is_no_member_in_it),
        cmocka_unit_test(snapshot_of_before_a_change_has_the_old_configuration),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
