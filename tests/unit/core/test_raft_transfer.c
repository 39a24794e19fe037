/* Claims about handing leadership over (dissertation section 3.10). Single hosts show each rule;
 * whole clusters, judged after every step by raft_cluster.c, show that nothing is lost. */
#include "raft_cluster.h"
#include "raft_lone.h"

#include "test.h"

enum {
    SEEDS = 10,
    ELECTION_MIN_MS = 300,
};

static enum err transfer(struct lone *l, raft_node_id to)
{
    struct raft_input in = {.kind = RAFT_IN_TRANSFER, .group = 1, .node = to};
    return lone_feed(l, &in);
}

static void ack_all(struct lone *l)
{
    lone_durable(l);
    for (raft_node_id i = 2; i <= lone_view(l).config.count; i++) {
        assert_int_equal(lone_ack(l, i, lone_last(l), 0), ERR_OK);
    }
    lone_clear(l);
}

/* Node 1 leads; everybody has everything. */
static struct lone *leader_of(uint32_t voters, uint32_t members)
{
    struct lone_options options = {.voters = voters, .members = members};
    struct lone *l = lone_new(&options);
    lone_lead(l);
    ack_all(l);
    return l;
}

static uint32_t timeouts_sent(const struct lone *l, raft_node_id to)
{
    return lone_count_sent(l, RAFT_MSG_TIMEOUT_NOW, to);
}

/* ---- the leader ---------------------------------------------------------------------------- */

static void target_that_has_everything_is_told_at_once(void **state)
{
    (void)state;
    struct lone *l = leader_of(3, 0);
    assert_int_equal(transfer(l, 3), ERR_OK);
    assert_int_equal(timeouts_sent(l, 3), 1);
    assert_int_equal(timeouts_sent(l, 2), 0);
    assert_int_equal(lone_sent(l, RAFT_MSG_TIMEOUT_NOW, 3)->msg.term, lone_view(l).term);
    assert_int_equal(lone_view(l).transfer_to, 3);
    assert_int_equal(lone_role(l), RAFT_LEADER); /* until the next one's term is heard of */
    lone_free(l);
}

static void target_that_is_behind_is_told_when_it_has_the_whole_log(void **state)
{
    (void)state;
    struct lone *l = leader_of(3, 0);
    assert_int_equal(lone_propose(l, 2), ERR_OK);
    lone_durable(l);
    assert_int_equal(transfer(l, 2), ERR_OK);
    assert_int_equal(timeouts_sent(l, 2), 0);
    assert_int_equal(lone_ack(l, 3, lone_last(l), 0), ERR_OK); /* committed, but not at 2 */
    assert_int_equal(lone_ack(l, 2, lone_last(l) - 1, 0), ERR_OK);
    assert_int_equal(timeouts_sent(l, 2), 0);
    assert_int_equal(lone_ack(l, 2, lone_last(l), 0), ERR_OK);
    assert_int_equal(timeouts_sent(l, 2), 1);
    lone_free(l);
}

static void proposals_and_changes_wait_and_reads_do_not(void **state)
{
    (void)state;
    struct lone *l = leader_of(3, 0);
    assert_int_equal(transfer(l, 2), ERR_OK);
    raft_index last = lone_last(l);
    assert_int_equal(lone_propose(l, 1), ERR_FULL);
    struct raft_config fewer = l->config;
    fewer.count--;
    struct raft_input change = {.kind = RAFT_IN_CONFIG, .group = 1, .config = &fewer};
    assert_int_equal(lone_feed(l, &change), ERR_FULL);
    assert_int_equal(lone_last(l), last);
    assert_int_equal(lone_read(l, 7), ERR_OK);
    assert_null(lone_find(l, RAFT_FX_READ_OK)); /* still by a round to a majority */
    uint64_t token = lone_sent(l, RAFT_MSG_APPEND, 3)->msg.token;
    assert_int_equal(lone_ack(l, 3, last, token), ERR_OK);
    assert_int_equal(lone_find(l, RAFT_FX_READ_OK)->tag, 7);
    lone_free(l);
}

static void leader_gives_up_after_an_election_timeout(void **state)
{
    (void)state;
    struct lone *l = leader_of(3, 0);
    assert_int_equal(transfer(l, 2), ERR_OK);
    lone_pass_ms(l, ELECTION_MIN_MS - 1);
    assert_int_equal(lone_view(l).transfer_to, 2);
    assert_int_equal(lone_propose(l, 1), ERR_FULL);
    lone_pass_ms(l, 1);
    assert_int_equal(lone_view(l).transfer_to, 0);
    assert_int_equal(lone_role(l), RAFT_LEADER);
    assert_int_equal(lone_propose(l, 1), ERR_OK);
    lone_free(l);
}

static void lost_timeout_now_is_sent_again(void **state)
{
    (void)state;
    struct lone *l = leader_of(3, 0);
    assert_int_equal(transfer(l, 2), ERR_OK);
    assert_int_equal(lone_ack(l, 2, lone_last(l), 0), ERR_OK);
    assert_int_equal(timeouts_sent(l, 2), 1); /* not with each answer */
    lone_pass_ms(l, 60);
    assert_true(timeouts_sent(l, 2) >= 2);
    lone_pass_ms(l, ELECTION_MIN_MS);
    lone_clear(l);
    lone_pass_ms(l, 200);
    assert_int_equal(timeouts_sent(l, 2), 0); /* nor for ever */
    lone_free(l);
}

static void higher_term_ends_the_transfer(void **state)
{
    (void)state;
    struct lone *l = leader_of(3, 0);
    raft_term term = lone_view(l).term;
    assert_int_equal(transfer(l, 2), ERR_OK);
    struct raft_msg vote = lone_msg(RAFT_MSG_VOTE, 2, term + 1);
    vote.index = lone_last(l);
    vote.log_term = term;
    vote.handover = true;
    vote.hint = 1;
    assert_int_equal(lone_tell(l, &vote), ERR_OK);
    assert_int_equal(lone_role(l), RAFT_FOLLOWER);
    assert_int_equal(lone_view(l).transfer_to, 0);
    lone_durable(l);
    assert_false(lone_sent(l, RAFT_MSG_VOTE_REPLY, 2)->msg.reject);
    assert_int_equal(transfer(l, 2), ERR_NOT_LEADER);
    lone_free(l);
}

static void leader_excuses_only_its_own_target(void **state)
{
    (void)state;
    struct lone *l = leader_of(3, 0);
    raft_term term = lone_view(l).term;
    assert_int_equal(transfer(l, 2), ERR_OK);
    struct raft_msg vote = lone_msg(RAFT_MSG_VOTE, 3, term + 1);
    vote.index = lone_last(l);
    vote.log_term = term;
    vote.handover = true;
    vote.hint = 1;
    assert_int_equal(lone_tell(l, &vote), ERR_OK);
    assert_int_equal(lone_role(l), RAFT_LEADER);
    assert_int_equal(lone_view(l).term, term);
    lone_free(l);
}

/* ---- choosing ------------------------------------------------------------------------------ */

static void best_voter_has_the_most(void **state)
{
    (void)state;
    struct lone *l = leader_of(5, 6);
    assert_int_equal(lone_propose(l, 3), ERR_OK);
    lone_durable(l);
    assert_int_equal(lone_ack(l, 2, lone_last(l) - 2, 0), ERR_OK);
    assert_int_equal(lone_ack(l, 4, lone_last(l) - 1, 0), ERR_OK);
    assert_int_equal(lone_ack(l, 6, lone_last(l), 0), ERR_OK); /* a learner */
    assert_int_equal(transfer(l, 0), ERR_OK);
    assert_int_equal(lone_view(l).transfer_to, 4);
    lone_free(l);
}

static void who_cannot_lead_is_refused(void **state)
{
    (void)state;
    struct lone *l = leader_of(3, 4);
    assert_int_equal(transfer(l, 1), ERR_BAD_INPUT); /* itself */
    assert_int_equal(transfer(l, 4), ERR_BAD_INPUT); /* a learner */
    assert_int_equal(transfer(l, 9), ERR_NOT_FOUND);
    assert_int_equal(transfer(l, 2), ERR_OK);
    assert_int_equal(transfer(l, 3), ERR_FULL); /* one at a time */
    assert_int_equal(transfer(l, 2), ERR_FULL);
    lone_free(l);
}

static void follower_hands_nothing_over(void **state)
{
    (void)state;
    struct lone_options options = {.voters = 3};
    struct lone *l = lone_new(&options);
    assert_int_equal(transfer(l, 2), ERR_NOT_LEADER);
    struct raft_input in = {.kind = RAFT_IN_TRANSFER, .group = 9};
    assert_int_equal(lone_feed(l, &in), ERR_NOT_FOUND);
    lone_free(l);
}

static void untrusted_and_exchanged_disks_are_never_chosen(void **state)
{
    (void)state;
    struct lone *l = leader_of(3, 0);
    assert_int_equal(lone_peer(l, 2, 1002, false), ERR_OK);
    assert_int_equal(lone_peer(l, 3, 77, true), ERR_OK);
    assert_int_equal(transfer(l, 2), ERR_CONFLICT);
    assert_int_equal(transfer(l, 3), ERR_CONFLICT);
    assert_int_equal(transfer(l, 0), ERR_CONFLICT);
    lone_free(l);
}

static void repairing_voter_is_never_chosen(void **state)
{
    (void)state;
    struct lone *l = leader_of(3, 0);
    struct raft_msg ack = lone_msg(RAFT_MSG_APPEND_REPLY, 2, lone_view(l).term);
    ack.index = lone_last(l);
    ack.repairing = true;
    assert_int_equal(lone_tell(l, &ack), ERR_OK);
    assert_int_equal(transfer(l, 2), ERR_CONFLICT);
    assert_int_equal(transfer(l, 0), ERR_OK);
    assert_int_equal(lone_view(l).transfer_to, 3);
    lone_free(l);
}

static void target_that_turns_out_damaged_ends_the_transfer(void **state)
{
    (void)state;
    struct lone *l = leader_of(3, 0);
    assert_int_equal(transfer(l, 2), ERR_OK);
    struct raft_msg ack = lone_msg(RAFT_MSG_APPEND_REPLY, 2, lone_view(l).term);
    ack.repairing = true;
    ack.index = 1;
    assert_int_equal(lone_tell(l, &ack), ERR_OK);
    assert_int_equal(lone_view(l).transfer_to, 0);
    assert_int_equal(lone_propose(l, 1), ERR_OK);
    lone_free(l);
}

static void target_that_dies_ends_the_transfer_at_once(void **state)
{
    (void)state;
    struct lone *l = leader_of(3, 0);
    assert_int_equal(transfer(l, 2), ERR_OK);
    struct raft_input down = {.kind = RAFT_IN_PEER_DOWN, .node = 2};
    assert_int_equal(lone_feed(l, &down), ERR_OK);
    lone_drain(l);
    assert_int_equal(lone_view(l).transfer_to, 0);
    assert_int_equal(lone_propose(l, 1), ERR_OK);
    assert_int_equal(transfer(l, 2), ERR_CONFLICT); /* not while it is gone */
    lone_free(l);
}

static void silent_voter_is_not_chosen(void **state)
{
    (void)state;
    struct lone *l = leader_of(3, 0);
    for (uint32_t i = 0; i < 8; i++) {
        lone_pass_ms(l, 50);
        assert_int_equal(lone_ack(l, 3, lone_last(l), 0), ERR_OK);
    }
    assert_int_equal(transfer(l, 2), ERR_CONFLICT);
    assert_int_equal(transfer(l, 3), ERR_OK);
    lone_free(l);
}

/* ---- the target ---------------------------------------------------------------------------- */

/* Node 1 of three follows 2 in term 2. */
static struct lone *follower_of_2(void)
{
    struct lone_options options = {.voters = 3};
    struct lone *l = lone_new(&options);
    assert_int_equal(LONE_APPEND(l, 2, 2, 1, 1, 1, ((const raft_term[]){2, 0})), ERR_OK);
    lone_durable(l);
    lone_clear(l);
    return l;
}

static enum err timeout_now(struct lone *l, raft_node_id from, raft_term term)
{
    struct raft_msg msg = lone_msg(RAFT_MSG_TIMEOUT_NOW, from, term);
    return lone_tell(l, &msg);
}

static void target_stands_at_once_without_a_prevote(void **state)
{
    (void)state;
    struct lone *l = follower_of_2();
    assert_int_equal(timeout_now(l, 2, 2), ERR_OK);
    assert_int_equal(lone_role(l), RAFT_CANDIDATE);
    assert_int_equal(lone_view(l).term, 3);
    assert_null(lone_sent(l, RAFT_MSG_PREVOTE, 3));
    const struct raft_effect *vote = lone_sent(l, RAFT_MSG_VOTE, 3);
    assert_non_null(vote);
    assert_true(vote->msg.handover && vote->msg.hint == 2);
    assert_true(vote->after_wal_seq > 0); /* its vote for itself is a promise as ever */
    assert_non_null(lone_sent(l, RAFT_MSG_VOTE, 2));
    lone_free(l);
}

static void only_the_leader_of_this_term_is_believed(void **state)
{
    (void)state;
    struct lone *l = follower_of_2();
    assert_int_equal(timeout_now(l, 3, 2), ERR_OK); /* not the leader */
    assert_int_equal(timeout_now(l, 2, 1), ERR_OK); /* an older term */
    assert_int_equal(timeout_now(l, 2, 3), ERR_OK); /* a term that it knows no leader of */
    assert_int_equal(lone_role(l), RAFT_FOLLOWER);
    assert_int_equal(lone_view(l).term, 2);
    assert_int_equal(lone_view(l).leader, 2);
    lone_free(l);
}

static void duplicate_and_late_timeout_now_do_nothing(void **state)
{
    (void)state;
    struct lone *l = follower_of_2();
    assert_int_equal(timeout_now(l, 2, 2), ERR_OK);
    assert_int_equal(timeout_now(l, 2, 2), ERR_OK);
    assert_int_equal(lone_view(l).term, 3);
    assert_int_equal(LONE_APPEND(l, 2, 4, 2, 2, 2, NULL), ERR_OK); /* 2 leads again, later */
    assert_int_equal(timeout_now(l, 2, 2), ERR_OK);
    assert_int_equal(lone_role(l), RAFT_FOLLOWER);
    assert_int_equal(lone_view(l).term, 4);
    lone_free(l);
}

static void second_attempt_is_an_ordinary_candidacy(void **state)
{
    (void)state;
    struct lone *l = follower_of_2();
    assert_int_equal(timeout_now(l, 2, 2), ERR_OK);
    lone_durable(l);
    lone_clear(l);
    lone_pass_ms(l, 700);
    assert_int_equal(lone_role(l), RAFT_PRECANDIDATE);
    struct raft_msg yes = lone_msg(RAFT_MSG_PREVOTE_REPLY, 3, 4);
    assert_int_equal(lone_tell(l, &yes), ERR_OK);
    lone_durable(l);
    const struct raft_effect *vote = lone_sent(l, RAFT_MSG_VOTE, 3);
    assert_non_null(vote);
    assert_true(!vote->msg.handover && vote->msg.hint == 0);
    lone_free(l);
}

static void damaged_target_and_learner_do_not_stand(void **state)
{
    (void)state;
    struct lone_options damaged = {.voters = 3, .verdict = RAFT_BOOT_DAMAGED};
    struct lone_options learner = {.voters = 3, .own_storage = 5};
    const struct lone_options *all[] = {&damaged, &learner};
    for (size_t i = 0; i < 2; i++) {
        struct lone *l = lone_new(all[i]);
        assert_int_equal(LONE_APPEND(l, 2, 2, 1, 1, 1, NULL), ERR_OK);
        lone_durable(l);
        assert_int_equal(timeout_now(l, 2, 2), ERR_OK);
        assert_int_equal(lone_role(l), RAFT_FOLLOWER);
        assert_int_equal(lone_view(l).term, 2);
        assert_int_equal(lone_view(l).leader, 2);
        lone_free(l);
    }
}

/* ---- the other voters ---------------------------------------------------------------------- */

struct excuse {
    bool handover;
    raft_node_id hint;
    raft_term term;
};

/* Whether a fresh follower of 2 in term 2 votes for 3. */
static bool votes(struct excuse e)
{
    struct lone *l = follower_of_2();
    struct raft_msg vote = lone_msg(RAFT_MSG_VOTE, 3, e.term);
    vote.index = lone_last(l);
    vote.log_term = 2;
    vote.handover = e.handover;
    vote.hint = e.hint;
    assert_int_equal(lone_tell(l, &vote), ERR_OK);
    lone_durable(l);
    bool granted = !lone_sent(l, RAFT_MSG_VOTE_REPLY, 3)->msg.reject;
    assert_int_equal(lone_view(l).term, granted ? e.term : 2);
    assert_int_equal(lone_view(l).leader, granted ? 0 : 2);
    lone_free(l);
    return granted;
}

static void excuse_counts_for_the_leaders_next_term_only(void **state)
{
    (void)state;
    assert_true(votes((struct excuse){.handover = true, .hint = 2, .term = 3}));
    assert_false(votes((struct excuse){.handover = false, .hint = 2, .term = 3}));
    assert_false(votes((struct excuse){.handover = true, .hint = 3, .term = 3}));
    assert_false(votes((struct excuse){.handover = true, .hint = 0, .term = 3}));
    assert_false(votes((struct excuse){.handover = true, .hint = 2, .term = 4}));
}

static void excuse_does_not_replace_the_log(void **state)
{
    (void)state;
    struct lone *l = follower_of_2();
    struct raft_msg vote = lone_msg(RAFT_MSG_VOTE, 3, 3);
    vote.index = lone_last(l) - 1;
    vote.log_term = 1;
    vote.handover = true;
    vote.hint = 2;
    assert_int_equal(lone_tell(l, &vote), ERR_OK);
    lone_durable(l);
    assert_true(lone_sent(l, RAFT_MSG_VOTE_REPLY, 3)->msg.reject);
    lone_free(l);
}

/* ---- clusters ------------------------------------------------------------------------------ */

static void cluster_changes_its_leader_without_a_timeout(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct rc_options options = {.nodes = 3, .voters = 3, .groups = 1, .seed = seed};
        struct rc *c = rc_new(&options);
        rc_write_all(c, 1);
        raft_node_id old = rc_elect(c, 1);
        raft_term term = rc_view(c, old, 1).term;
        uint64_t prevotes = c->messages[RAFT_MSG_PREVOTE];
        raft_node_id to = old % 3 + 1;
        assert_int_equal(rc_propose(c, old, 1, 3), ERR_OK); /* which it has to wait for */
        struct raft_input in = {.kind = RAFT_IN_TRANSFER, .group = 1, .node = to};
        assert_int_equal(rc_feed(c, old, &in), ERR_OK);
        rc_run_ms(c, 20);
        assert_int_equal(rc_leader(c, 1), to);
        assert_int_equal(rc_view(c, to, 1).term, term + 1);
        assert_int_equal(rc_view(c, old, 1).leader, to);
        assert_int_equal(c->messages[RAFT_MSG_PREVOTE], prevotes);
        rc_write_all(c, 1);
        rc_free(c);
    }
}

static void removed_leader_names_its_successor(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct rc_options options = {.nodes = 3, .voters = 3, .groups = 1, .seed = seed};
        struct rc *c = rc_new(&options);
        rc_write_all(c, 1);
        raft_node_id old = rc_elect(c, 1);

        enum raft_member_role roles[RC_NODES_MAX] = {RAFT_VOTER, RAFT_VOTER, RAFT_VOTER};

        roles[old - 1] = RAFT_NOT_A_MEMBER;
        uint64_t prevotes = c->messages[RAFT_MSG_PREVOTE];
        assert_int_equal(rc_change(c, old, 1, roles), ERR_OK);
        rc_run_ms(c, 50); /* two commits and a handover, less than any timeout */
        raft_node_id leader = rc_leader(c, 1);
        assert_true(leader != 0 && leader != old);
        assert_int_equal(c->messages[RAFT_MSG_PREVOTE], prevotes);
        rc_write_all(c, 1);
        rc_free(c);
    }
}

/* The leader stops in the midst of a joint change: handing over is allowed, and the next one
 * finishes the change. */
static void joint_change_is_finished_by_the_successor(void **state)
{
    (void)state;
    struct lone *l = leader_of(3, 0);
    struct raft_config fewer = l->config;
    fewer.count = 2;
    struct raft_input change = {.kind = RAFT_IN_CONFIG, .group = 1, .config = &fewer};
    assert_int_equal(lone_feed(l, &change), ERR_OK);
    lone_drain(l);
    assert_true(lone_is_joint(l));
    assert_int_equal(transfer(l, 3), ERR_BAD_INPUT); /* on its way out */
    assert_int_equal(transfer(l, 2), ERR_OK);
    raft_index joint = lone_last(l);
    ack_all(l);
    assert_int_equal(lone_commit(l), joint);
    assert_int_equal(lone_last(l), joint); /* C_new is left to the next leader */
    lone_pass_ms(l, ELECTION_MIN_MS);
    assert_int_equal(lone_last(l), joint + 1); /* or to this one, when it has given up */
    lone_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(target_that_has_everything_is_told_at_once),
        cmocka_unit_test(target_that_is_behind_is_told_when_it_has_the_whole_log),
        cmocka_unit_test(proposals_and_changes_wait_and_reads_do_not),
        cmocka_unit_test(leader_gives_up_after_an_election_timeout),
        cmocka_unit_test(lost_timeout_now_is_sent_again),
        cmocka_unit_test(higher_term_ends_the_transfer),
        cmocka_unit_test(leader_excuses_only_its_own_target),
        cmocka_unit_test(best_voter_has_the_most),
        cmocka_unit_test(who_cannot_lead_is_refused),
        cmocka_unit_test(follower_hands_nothing_over),
        cmocka_unit_test(untrusted_and_exchanged_disks_are_never_chosen),
        cmocka_unit_test(repairing_voter_is_never_chosen),
        cmocka_unit_test(target_that_turns_out_damaged_ends_the_transfer),
        cmocka_unit_test(target_that_dies_ends_the_transfer_at_once),
        cmocka_unit_test(silent_voter_is_not_chosen),
        cmocka_unit_test(target_stands_at_once_without_a_prevote),
        cmocka_unit_test(only_the_leader_of_this_term_is_believed),
        cmocka_unit_test(duplicate_and_late_timeout_now_do_nothing),
        cmocka_unit_test(second_attempt_is_an_ordinary_candidacy),
        cmocka_unit_test(damaged_target_and_learner_do_not_stand),
        cmocka_unit_test(excuse_counts_for_the_leaders_next_term_only),
        cmocka_unit_test(excuse_does_not_replace_the_log),
        cmocka_unit_test(cluster_changes_its_leader_without_a_timeout),
        cmocka_unit_test(removed_leader_names_its_successor),
        cmocka_unit_test(joint_change_is_finished_by_the_successor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
