/* Claims about leaders of core/raft: elections won, commits, flow control, reads. Each bug class of
 * other engines that concerns them has its test here. */
#include "raft_lone.h"

#include "test.h"

#define TERMS(...)                                                                                 \
    (const raft_term[])                                                                            \
    {                                                                                              \
        __VA_ARGS__, 0                                                                             \
    }

static struct lone *leader_of(uint32_t voters, const raft_term *log)
{
    struct lone_options options = {.voters = voters, .log = log};
    struct lone *l = lone_new(&options);
    lone_lead(l);
    return l;
}

static uint64_t newest_token(const struct lone *l, raft_node_id to)
{
    const struct raft_effect *fx = lone_sent(l, RAFT_MSG_APPEND, to);
    assert_non_null(fx);
    return fx->msg.token;
}

/* ---- elections ----------------------------------------------------------------------------- */

static void own_vote_counts_only_when_durable(void **state)
{
    (void)state;
    struct lone_options options = {.voters = 3};
    struct lone *l = lone_new(&options);
    struct raft_input in = {.kind = RAFT_IN_CAMPAIGN, .group = 1};
    assert_int_equal(lone_feed(l, &in), ERR_OK);
    struct raft_msg yes = lone_msg(RAFT_MSG_PREVOTE_REPLY, 2, 2);
    assert_int_equal(lone_tell(l, &yes), ERR_OK);
    const struct raft_effect *ask = lone_sent(l, RAFT_MSG_VOTE, 2);
    assert_int_equal(ask->after_wal_seq, l->wal_seq); /* nor is anybody asked before */
    yes.type = RAFT_MSG_VOTE_REPLY;
    assert_int_equal(lone_tell(l, &yes), ERR_OK);
    assert_int_equal(lone_view(l).role, RAFT_CANDIDATE);
    lone_durable(l);
    assert_int_equal(lone_view(l).role, RAFT_LEADER);
    lone_free(l);
}

static void refusals_and_strangers_elect_nobody(void **state)
{
    (void)state;
    struct lone_options options = {.voters = 3, .members = 4};
    struct lone *l = lone_new(&options);
    struct raft_input in = {.kind = RAFT_IN_CAMPAIGN, .group = 1};
    assert_int_equal(lone_feed(l, &in), ERR_OK);
    struct raft_msg reply = lone_msg(RAFT_MSG_PREVOTE_REPLY, 4, 2);
    assert_int_equal(lone_tell(l, &reply), ERR_OK); /* a learner */
    reply.from = 9;
    assert_int_equal(lone_tell(l, &reply), ERR_OK); /* nobody */
    reply.from = 2;
    reply.term = 1;
    assert_int_equal(lone_tell(l, &reply), ERR_OK); /* of an earlier try */
    assert_int_equal(lone_view(l).role, RAFT_PRECANDIDATE);
    assert_null(lone_sent(l, RAFT_MSG_PREVOTE, 4)); /* learners are not asked */
    lone_free(l);
}

static void votes_from_other_disks_do_not_count(void **state)
{
    (void)state;
    struct lone_options options = {.voters = 3};
    struct lone *l = lone_new(&options);
    assert_int_equal(lone_peer(l, 2, 77, true), ERR_OK);    /* another disk */
    assert_int_equal(lone_peer(l, 3, 1003, false), ERR_OK); /* a disk that went back in time */
    struct raft_input in = {.kind = RAFT_IN_CAMPAIGN, .group = 1};
    assert_int_equal(lone_feed(l, &in), ERR_OK);
    for (raft_node_id from = 2; from <= 3; from++) {
        struct raft_msg yes = lone_msg(RAFT_MSG_PREVOTE_REPLY, from, 2);
        assert_int_equal(lone_tell(l, &yes), ERR_OK);
    }
    assert_int_equal(lone_view(l).role, RAFT_PRECANDIDATE);
    assert_int_equal(lone_peer(l, 3, 1003, true), ERR_OK);
    struct raft_msg yes = lone_msg(RAFT_MSG_PREVOTE_REPLY, 3, 2);
    assert_int_equal(lone_tell(l, &yes), ERR_OK);
    assert_int_equal(lone_view(l).role, RAFT_CANDIDATE);
    lone_free(l);
}

static void votes_for_an_earlier_candidacy_do_not_count(void **state)
{
    (void)state;
    struct lone_options options = {.voters = 3};
    struct lone *l = lone_new(&options);
    struct raft_input in = {.kind = RAFT_IN_CAMPAIGN, .group = 1};
    assert_int_equal(lone_feed(l, &in), ERR_OK);
    struct raft_msg yes = lone_msg(RAFT_MSG_PREVOTE_REPLY, 2, 2);
    assert_int_equal(lone_tell(l, &yes), ERR_OK);
    uint64_t ballot = l->ballot;
    lone_free(l);
    options.boot_count = 2; /* the disk went back: it stands in term 2 again */
    l = lone_new(&options);
    assert_int_equal(lone_feed(l, &in), ERR_OK);
    assert_int_equal(lone_tell(l, &yes), ERR_OK);
    assert_int_equal(lone_view(l).role, RAFT_CANDIDATE);
    lone_durable(l);
    yes.type = RAFT_MSG_VOTE_REPLY;
    yes.token = ballot;
    assert_int_equal(lone_tell(l, &yes), ERR_OK);
    assert_int_equal(lone_view(l).role, RAFT_CANDIDATE);
    yes.token = l->ballot;
    assert_int_equal(lone_tell(l, &yes), ERR_OK);
    assert_int_equal(lone_view(l).role, RAFT_LEADER);
    lone_free(l);
}

static void vote_after_the_candidates_timeout_does_not_count(void **state)
{
    (void)state;
    struct lone_options options = {.voters = 3};
    struct lone *l = lone_new(&options);
    struct raft_input in = {.kind = RAFT_IN_CAMPAIGN, .group = 1};
    assert_int_equal(lone_feed(l, &in), ERR_OK);
    struct raft_msg yes = lone_msg(RAFT_MSG_PREVOTE_REPLY, 2, 2);
    assert_int_equal(lone_tell(l, &yes), ERR_OK);
    lone_durable(l);
    l->now += CLK_MS(601); /* the process was paused: no wake-up came */
    yes.type = RAFT_MSG_VOTE_REPLY;
    assert_int_equal(lone_tell(l, &yes), ERR_OK);
    assert_int_equal(lone_view(l).role, RAFT_CANDIDATE);
    lone_free(l);
}

static void leader_votes_for_nobody_else_in_its_term(void **state)
{
    (void)state;
    struct lone *l = leader_of(3, NULL);
    struct raft_msg ask = lone_msg(RAFT_MSG_VOTE, 3, lone_view(l).term);
    ask.index = 99;
    ask.log_term = 1;
    l->now += CLK_S(1); /* even without any stickiness */
    assert_int_equal(lone_tell(l, &ask), ERR_OK);
    assert_true(lone_sent(l, RAFT_MSG_VOTE_REPLY, 3)->msg.reject);
    assert_int_equal(lone_view(l).vote, 1);
    lone_free(l);
}

static void term_starts_with_a_noop(void **state)
{
    (void)state;
    struct lone_options options = {.voters = 1, .log = TERMS(3, 3)};
    struct lone *l = lone_new(&options);
    struct raft_input wake = {.kind = RAFT_IN_WAKE};
    assert_int_equal(lone_feed(l, &wake), ERR_OK); /* a single voter does not wait */
    assert_int_equal(raft_feed(l->host, l->now,
                               &(struct raft_input){.kind = RAFT_IN_DURABLE, .wal_seq = l->wal_seq},
                               NULL),
                     ERR_OK);
    struct raft_entry_info entry = {.size = 8, .kind = RAFT_ENTRY_COMMAND};
    struct raft_input early = {
        .kind = RAFT_IN_PROPOSE, .group = 1, .entries = &entry, .entry_count = 1};
    assert_int_equal(raft_feed(l->host, l->now, &early, NULL), ERR_FULL);
    lone_clear(l);
    lone_drain(l);
    const struct raft_effect *noop = lone_find(l, RAFT_FX_NOOP);
    assert_int_equal(noop->index, 4);
    assert_int_equal(noop->term, 4);
    assert_true(noop < lone_find(l, RAFT_FX_WAL));
    assert_int_equal(lone_propose(l, 2), ERR_OK);
    assert_int_equal(l->fed.first, 5);
    assert_int_equal(l->fed.last, 6);
    lone_free(l);
}

static void single_voter_commits_what_its_disk_has(void **state)
{
    (void)state;
    struct lone_options options = {.voters = 1};
    struct lone *l = lone_new(&options);
    struct raft_input wake = {.kind = RAFT_IN_WAKE};
    assert_int_equal(lone_feed(l, &wake), ERR_OK);
    lone_durable(l);
    assert_int_equal(lone_view(l).role, RAFT_LEADER);
    assert_int_equal(lone_view(l).commit, 0);
    lone_durable(l);
    assert_int_equal(lone_view(l).commit, 2);
    assert_int_equal(lone_propose(l, 1), ERR_OK);
    assert_int_equal(lone_view(l).commit, 2);
    lone_durable(l);
    assert_int_equal(lone_view(l).commit, 3);
    lone_pass_ms(l, 5000);
    assert_int_equal(lone_view(l).role, RAFT_LEADER);
    assert_int_equal(raft_deadline(l->host), CLK_NEVER);
    lone_free(l);
}

static void leader_without_a_majority_falls_silent(void **state)
{
    (void)state;
    struct lone *l = leader_of(5, NULL);
    for (uint32_t i = 0; i < 40; i++) { /* one bridge node alone does not keep it */
        lone_pass_ms(l, 25);
        if (lone_view(l).role == RAFT_LEADER) {
            assert_int_equal(lone_ack(l, 2, 2, 0), ERR_OK);
        }
    }
    assert_int_equal(lone_view(l).role == RAFT_LEADER, false);
    lone_clear(l);
    lone_pass_ms(l, 3000);
    assert_null(lone_sent(l, RAFT_MSG_APPEND, 2));
    /* And as an ex-leader it grants pre-votes. */
    struct raft_msg ask = lone_msg(RAFT_MSG_PREVOTE, 2, lone_view(l).term + 1);
    ask.index = 9;
    ask.log_term = lone_view(l).term;
    assert_int_equal(lone_tell(l, &ask), ERR_OK);
    assert_false(lone_sent(l, RAFT_MSG_PREVOTE_REPLY, 2)->msg.reject);
    lone_free(l);
}

static void leader_in_contact_is_sticky_to_itself(void **state)
{
    (void)state;
    struct lone *l = leader_of(3, NULL);
    assert_int_equal(lone_ack(l, 2, 2, 0), ERR_OK);
    struct raft_msg ask = lone_msg(RAFT_MSG_VOTE, 3, 9);
    ask.index = 99;
    ask.log_term = 8;
    l->now += CLK_MS(299);
    assert_int_equal(lone_tell(l, &ask), ERR_OK);
    assert_int_equal(lone_view(l).role, RAFT_LEADER);
    assert_int_equal(lone_view(l).term, 2);
    l->now += CLK_MS(1);
    assert_int_equal(lone_tell(l, &ask), ERR_OK);
    assert_int_equal(lone_view(l).role, RAFT_FOLLOWER);
    assert_int_equal(lone_view(l).vote, 3);
    lone_free(l);
}

static void higher_term_in_an_answer_ends_leadership(void **state)
{
    (void)state;
    struct lone *l = leader_of(3, NULL);
    struct raft_msg no = lone_msg(RAFT_MSG_APPEND_REPLY, 2, 9);
    no.reject = true;
    assert_int_equal(lone_tell(l, &no), ERR_OK);
    assert_int_equal(lone_view(l).role, RAFT_FOLLOWER);
    assert_int_equal(lone_view(l).term, 9);
    assert_int_equal(lone_propose(l, 1), ERR_NOT_LEADER);
    lone_free(l);
}

static void leader_on_a_hanging_disk_gives_way(void **state)
{
    (void)state;
    struct lone *l = leader_of(3, NULL);
    assert_int_equal(lone_propose(l, 1), ERR_OK); /* the own write never ends */
    bool led = true;
    for (uint32_t i = 0; i < 60 && led; i++) {
        lone_pass_ms(l, 50);
        led = lone_view(l).role == RAFT_LEADER;
        if (led) {
            assert_int_equal(lone_ack(l, 2, 3, 0), ERR_OK);
            assert_int_equal(lone_ack(l, 3, 3, 0), ERR_OK);
        }
    }
    assert_false(led);
    lone_clear(l);
    lone_pass_ms(l, 5000);
    assert_null(lone_sent(l, RAFT_MSG_PREVOTE, 2)); /* and does not come back while it hangs */
    lone_durable(l);
    lone_pass_ms(l, 700);
    assert_non_null(lone_sent(l, RAFT_MSG_PREVOTE, 2));
    lone_free(l);
}

/* ---- commit -------------------------------------------------------------------------------- */

/* Figure 8 of the paper: the old entry is on a majority, and still not committed. */
static void entry_of_an_older_term_is_not_committed_by_counting(void **state)
{
    (void)state;
    struct lone *l = leader_of(5, TERMS(2, 2));
    assert_int_equal(lone_view(l).term, 3);
    assert_int_equal(lone_ack(l, 2, 3, 0), ERR_OK);
    assert_int_equal(lone_ack(l, 3, 3, 0), ERR_OK);
    assert_int_equal(lone_ack(l, 4, 3, 0), ERR_OK);
    assert_int_equal(lone_view(l).commit, 0);
    assert_int_equal(lone_ack(l, 2, 4, 0), ERR_OK);
    assert_int_equal(lone_ack(l, 3, 4, 0), ERR_OK);
    assert_int_equal(lone_view(l).commit, 4); /* the no-op commits all before it */
    lone_free(l);
}

static void majority_of_an_even_cluster_is_more_than_half(void **state)
{
    (void)state;
    struct lone *l = leader_of(4, NULL);
    assert_int_equal(lone_ack(l, 2, 2, 0), ERR_OK);
    assert_int_equal(lone_view(l).commit, 0);
    assert_int_equal(lone_ack(l, 3, 2, 0), ERR_OK);
    assert_int_equal(lone_view(l).commit, 2);
    lone_free(l);
}

static void own_disk_is_one_vote_and_only_when_durable(void **state)
{
    (void)state;
    struct lone *l = leader_of(3, NULL);
    assert_int_equal(lone_propose(l, 1), ERR_OK);
    assert_int_equal(lone_ack(l, 2, 3, 0), ERR_OK);
    assert_int_equal(lone_view(l).commit, 2);
    lone_durable(l);
    assert_int_equal(lone_view(l).commit, 3);
    /* The others are a majority without it; what they commit is applied when it is here too. */
    assert_int_equal(lone_propose(l, 1), ERR_OK);
    lone_clear(l);
    assert_int_equal(lone_ack(l, 2, 4, 0), ERR_OK);
    assert_int_equal(lone_ack(l, 3, 4, 0), ERR_OK);
    assert_int_equal(lone_view(l).commit, 4);
    assert_null(lone_find(l, RAFT_FX_APPLY));
    lone_durable(l);
    assert_int_equal(lone_find(l, RAFT_FX_APPLY)->last, 4);
    lone_free(l);
}

static void learners_and_other_disks_do_not_commit(void **state)
{
    (void)state;
    struct lone_options options = {.voters = 3, .members = 5};
    struct lone *l = lone_new(&options);
    lone_lead(l);
    assert_int_equal(lone_ack(l, 4, 2, 0), ERR_OK);
    assert_int_equal(lone_ack(l, 5, 2, 0), ERR_OK);
    assert_int_equal(lone_peer(l, 3, 77, true), ERR_OK);
    assert_int_equal(lone_ack(l, 3, 2, newest_token(l, 3)), ERR_OK);
    assert_int_equal(lone_view(l).commit, 0);
    assert_int_equal(lone_ack(l, 2, 2, 0), ERR_OK);
    assert_int_equal(lone_view(l).commit, 2);
    lone_free(l);
}

static void acknowledgement_of_a_wiped_disk_is_forgotten(void **state)
{
    (void)state;
    struct lone *l = leader_of(5, NULL);
    assert_int_equal(lone_ack(l, 2, 2, 0), ERR_OK);
    assert_int_equal(lone_peer(l, 2, 1002, false), ERR_OK); /* it came back with less */
    assert_int_equal(lone_peer(l, 2, 1002, true), ERR_OK);
    assert_int_equal(lone_ack(l, 2, 2, 0), ERR_OK); /* said before it lost it */
    assert_int_equal(lone_ack(l, 3, 2, 0), ERR_OK);
    assert_int_equal(lone_view(l).commit, 0);
    lone_clear(l);
    lone_pass_ms(l, 60);
    assert_int_equal(lone_ack(l, 2, 2, newest_token(l, 2)), ERR_OK);
    assert_int_equal(lone_view(l).commit, 2);
    lone_free(l);
}

static void commit_is_told_at_once(void **state)
{
    (void)state;
    struct lone *l = leader_of(3, NULL);
    assert_int_equal(lone_ack(l, 2, 2, 0), ERR_OK);
    assert_int_equal(lone_sent(l, RAFT_MSG_APPEND, 2)->msg.commit, 2);
    assert_int_equal(lone_sent(l, RAFT_MSG_APPEND, 2)->first, 0);
    lone_free(l);
}

/* ---- sending ------------------------------------------------------------------------------- */

static void appends_do_not_wait_for_the_leaders_disk(void **state)
{
    (void)state;
    struct lone *l = leader_of(3, NULL);
    assert_int_equal(lone_ack(l, 2, 2, 0), ERR_OK);
    lone_clear(l);
    assert_int_equal(lone_propose(l, 3), ERR_OK);
    const struct raft_effect *send = lone_sent(l, RAFT_MSG_APPEND, 2);
    assert_int_equal(send->after_wal_seq, 0);
    assert_int_equal(send->first, 3);
    assert_int_equal(send->last, 5);
    assert_int_equal(send->msg.index, 2);
    assert_null(lone_sent(l, RAFT_MSG_APPEND, 3)); /* still probing: one message at a time */
    lone_free(l);
}

static void window_of_messages_holds_and_opens(void **state)
{
    (void)state;
    struct lone *l = leader_of(3, NULL);
    assert_int_equal(lone_ack(l, 2, 2, 0), ERR_OK);
    lone_clear(l);
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(lone_propose(l, 1), ERR_OK);
    }
    assert_int_equal(lone_count_sent(l, RAFT_MSG_APPEND, 2), 3);
    lone_clear(l);
    assert_int_equal(lone_ack(l, 2, 3, 0), ERR_OK);
    assert_int_equal(lone_sent(l, RAFT_MSG_APPEND, 2)->first, 6);
    assert_int_equal(lone_sent(l, RAFT_MSG_APPEND, 2)->last, 7);
    lone_free(l);
}

static void window_of_bytes_holds_and_never_leaks(void **state)
{
    (void)state;
    struct lone *l = leader_of(3, NULL);
    l->sent_max = 25; /* 200 of 800 bytes */
    assert_int_equal(lone_ack(l, 2, 2, 0), ERR_OK);
    for (uint32_t round = 0; round < 50; round++) {
        lone_clear(l);
        raft_index last = lone_view(l).last;
        assert_int_equal(lone_propose(l, 50), ERR_OK);
        const struct raft_effect *send = lone_sent(l, RAFT_MSG_APPEND, 2);
        assert_int_equal(lone_count_sent(l, RAFT_MSG_APPEND, 2), 2);
        assert_int_equal(send->budget_bytes, 600);
        lone_durable(l);
        assert_int_equal(lone_ack(l, 2, last + 50, 0), ERR_OK);
        assert_int_equal(lone_view(l).commit, last + 50);
    }
    lone_free(l);
}

static void uncommitted_bytes_are_bounded_and_come_back(void **state)
{
    (void)state;
    struct lone *l = leader_of(3, NULL);
    for (uint32_t round = 0; round < 100; round++) {
        for (uint32_t i = 0; i < 10; i++) {
            assert_int_equal(lone_propose(l, 5), ERR_OK);
        }
        assert_int_equal(lone_propose(l, 1), ERR_FULL);
        lone_durable(l);
        assert_int_equal(lone_ack(l, 2, lone_view(l).last, 0), ERR_OK);
        lone_clear(l);
    }
    assert_int_equal(lone_propose(l, 100), ERR_OK); /* one may pass the limit */
    assert_int_equal(lone_propose(l, 1), ERR_FULL);
    lone_free(l);
}

static void heartbeats_are_sent_only_when_nothing_else_was(void **state)
{
    (void)state;
    struct lone *l = leader_of(3, NULL);
    assert_int_equal(lone_ack(l, 2, 2, 0), ERR_OK);
    lone_clear(l);
    for (uint32_t i = 0; i < 20; i++) {
        lone_pass_ms(l, 50);
        assert_int_equal(lone_ack(l, 2, 2, 0), ERR_OK);
    }
    uint32_t idle = lone_count_sent(l, RAFT_MSG_APPEND, 2);
    assert_in_range(idle, 19, 25);
    lone_durable(l);
    lone_clear(l);
    for (uint32_t i = 0; i < 40; i++) {
        assert_int_equal(lone_propose(l, 1), ERR_OK);
        assert_int_equal(lone_ack(l, 2, lone_view(l).last, 0), ERR_OK);
        lone_durable(l);
        lone_pass_ms(l, 25);
        assert_int_equal(lone_view(l).commit, lone_view(l).last);
    }
    for (size_t i = 0; i < l->count; i++) { /* only entries, and news of commits */
        const struct raft_effect *fx = &l->effects[i];
        bool append = fx->kind == RAFT_FX_SEND && fx->msg.to == 2;
        assert_false(append && fx->first == 0 && fx->msg.commit < fx->msg.index);
    }
    assert_in_range(lone_count_sent(l, RAFT_MSG_APPEND, 2), 80, 82);
    lone_free(l);
}

static struct raft_msg refusal(struct lone *l, raft_index index, raft_index hint, raft_term term)
{
    struct raft_msg msg = lone_msg(RAFT_MSG_APPEND_REPLY, 2, lone_view(l).term);
    msg.reject = true;
    msg.index = index;
    msg.hint = hint;
    msg.log_term = term;
    return msg;
}

static void refusal_moves_back_by_whole_terms(void **state)
{
    (void)state;
    struct lone *l = leader_of(3, TERMS(3, 3, 3, 5, 5, 5)); /* 2..4: 3, 5..7: 5, no-op 8: 6 */
    struct raft_msg no = refusal(l, 7, 6, 4);               /* the follower has term 4 up to 6 */
    assert_int_equal(lone_tell(l, &no), ERR_OK);
    const struct raft_effect *send = lone_sent(l, RAFT_MSG_APPEND, 2);
    assert_int_equal(send->msg.index, 4); /* the last that can be of a term up to 4 */
    assert_int_equal(send->msg.log_term, 3);
    assert_int_equal(send->first, 5);
    lone_free(l);
}

static void old_refusals_move_nothing(void **state)
{
    (void)state;
    struct lone *l = leader_of(3, TERMS(2, 2, 2));
    assert_int_equal(lone_ack(l, 2, 5, 0), ERR_OK);
    lone_clear(l);
    for (raft_index index = 0; index <= 5; index++) {
        struct raft_msg no = refusal(l, index, 0, 0);
        assert_int_equal(lone_tell(l, &no), ERR_OK);
    }
    struct raft_view view = lone_view(l);
    assert_int_equal(view.peers[0].state, RAFT_STREAM);
    assert_int_equal(view.peers[0].next, 6);
    /* One that is ahead of match, and wrong in its hint, never takes next below match + 1. */
    assert_int_equal(lone_propose(l, 1), ERR_OK);
    struct raft_msg no = refusal(l, 6, 0, 0);
    assert_int_equal(lone_tell(l, &no), ERR_OK);
    view = lone_view(l);
    assert_int_equal(view.peers[0].match, 5);
    assert_int_equal(view.peers[0].next, 6);
    lone_free(l);
}

static void impossible_answers_are_refused(void **state)
{
    (void)state;
    struct lone *l = leader_of(3, NULL);
    assert_int_equal(lone_ack(l, 2, 3, 0), ERR_BAD_INPUT); /* there is no entry 3 */
    assert_int_equal(lone_ack(l, 2, 2, UINT64_MAX), ERR_BAD_INPUT);
    assert_int_equal(lone_view(l).commit, 0);
    lone_free(l);
}

static void lagging_peer_gets_a_snapshot_and_then_the_rest(void **state)
{
    (void)state;
    struct lone_options options = {.voters = 3, .snapshot = 20, .applied = 20, .log = TERMS(1, 1)};
    struct lone *l = lone_new(&options);
    lone_lead(l);
    struct raft_msg no = refusal(l, 22, 3, 1);
    assert_int_equal(lone_tell(l, &no), ERR_OK);
    assert_int_equal(lone_find(l, RAFT_FX_SNAP_WANT)->node, 2);
    assert_int_equal(lone_find(l, RAFT_FX_SNAP_WANT)->index, 20);
    assert_int_equal(lone_view(l).peers[0].state, RAFT_SNAPSHOT);
    lone_clear(l);
    lone_pass_ms(l, 200); /* heartbeats go on and name an entry whose term is known */
    assert_int_equal(lone_sent(l, RAFT_MSG_APPEND, 2)->msg.index, 20);
    assert_int_equal(lone_sent(l, RAFT_MSG_APPEND, 2)->msg.log_term, 1);
    assert_null(lone_find(l, RAFT_FX_SNAP_WANT)); /* asked for once */
    struct raft_input sent = {.kind = RAFT_IN_SNAP_SENT, .group = 1, .node = 2, .ok = true};
    assert_int_equal(lone_feed(l, &sent), ERR_OK);
    assert_int_equal(lone_sent(l, RAFT_MSG_APPEND, 2)->first, 21);
    assert_int_equal(lone_ack(l, 2, 23, 0), ERR_OK);
    assert_int_equal(lone_view(l).peers[0].state, RAFT_STREAM);
    assert_int_equal(lone_view(l).commit, 23);
    lone_free(l);
}

static void older_snapshot_than_awaited_unblocks_all_the_same(void **state)
{
    (void)state;
    struct lone_options options = {.voters = 3, .snapshot = 20, .applied = 20, .log = TERMS(1, 1)};
    struct lone *l = lone_new(&options);
    lone_lead(l);
    struct raft_msg no = refusal(l, 22, 3, 1);
    assert_int_equal(lone_tell(l, &no), ERR_OK);
    lone_clear(l);
    assert_int_equal(lone_ack(l, 2, 19, 0), ERR_OK);
    assert_int_equal(lone_view(l).peers[0].state, RAFT_SNAPSHOT);
    assert_null(lone_find(l, RAFT_FX_SNAP_WANT));    /* one is under way */
    assert_int_equal(lone_ack(l, 2, 20, 0), ERR_OK); /* SNAP_SENT has not come */
    assert_int_equal(lone_view(l).peers[0].state, RAFT_STREAM);
    lone_free(l);
}

static void failed_transfer_is_tried_again_with_the_next_heartbeat(void **state)
{
    (void)state;
    struct lone_options options = {.voters = 3, .snapshot = 20, .applied = 20, .log = TERMS(1, 1)};
    struct lone *l = lone_new(&options);
    lone_lead(l);
    struct raft_msg no = refusal(l, 22, 3, 1);
    assert_int_equal(lone_tell(l, &no), ERR_OK);
    struct raft_input failed = {.kind = RAFT_IN_SNAP_SENT, .group = 1, .node = 2};
    lone_clear(l);
    assert_int_equal(lone_feed(l, &failed), ERR_OK);
    assert_null(lone_sent(l, RAFT_MSG_APPEND, 2));
    lone_pass_ms(l, 60);
    no = refusal(l, lone_sent(l, RAFT_MSG_APPEND, 2)->msg.index, 3, 1);
    assert_int_equal(lone_tell(l, &no), ERR_OK);
    assert_non_null(lone_find(l, RAFT_FX_SNAP_WANT));
    lone_free(l);
}

/* ---- reads --------------------------------------------------------------------------------- */

static struct lone *reading_leader(void)
{
    struct lone *l = leader_of(3, NULL);
    assert_int_equal(lone_ack(l, 2, 2, 0), ERR_OK);
    assert_true(lone_view(l).leads_safely);
    lone_clear(l);
    return l;
}

static void read_waits_for_a_commit_of_the_own_term(void **state)
{
    (void)state;
    struct lone *l = leader_of(3, TERMS(1, 1));
    assert_int_equal(lone_read(l, 5), ERR_OK);
    lone_pass_ms(l, 60);
    assert_int_equal(lone_ack(l, 2, 3, newest_token(l, 2)), ERR_OK);
    assert_null(lone_find(l, RAFT_FX_READ_OK));
    lone_clear(l);
    assert_int_equal(lone_ack(l, 2, 4, 0), ERR_OK); /* the no-op */
    assert_null(lone_find(l, RAFT_FX_READ_OK));
    assert_int_equal(lone_ack(l, 2, 4, newest_token(l, 2)), ERR_OK);
    assert_int_equal(lone_find(l, RAFT_FX_READ_OK)->tag, 5);
    assert_int_equal(lone_find(l, RAFT_FX_READ_OK)->index, 4);
    lone_free(l);
}

static void read_is_confirmed_only_by_answers_to_later_appends(void **state)
{
    (void)state;
    struct lone *l = reading_leader();
    assert_int_equal(lone_read(l, 5), ERR_OK);
    uint64_t first = newest_token(l, 2);
    assert_int_equal(lone_ack(l, 2, 2, first - 1), ERR_OK); /* answers an append from before */
    assert_null(lone_find(l, RAFT_FX_READ_OK));
    assert_int_equal(lone_ack(l, 2, 2, first), ERR_OK);
    assert_int_equal(lone_find(l, RAFT_FX_READ_OK)->tag, 5);
    lone_clear(l);
    assert_int_equal(lone_read(l, 5), ERR_OK); /* a retry by the same name */
    assert_int_equal(lone_ack(l, 2, 2, first), ERR_OK);
    assert_int_equal(lone_ack(l, 3, 2, first), ERR_OK);
    assert_null(lone_find(l, RAFT_FX_READ_OK));
    lone_free(l);
}

static void reads_of_one_drain_share_a_round(void **state)
{
    (void)state;
    struct lone *l = reading_leader();
    for (uint64_t tag = 1; tag <= 8; tag++) {
        struct raft_input in = {.kind = RAFT_IN_READ, .group = 1, .tag = tag};
        assert_int_equal(raft_feed(l->host, l->now, &in, NULL), ERR_OK);
    }
    struct raft_input ninth = {.kind = RAFT_IN_READ, .group = 1, .tag = 9};
    assert_int_equal(raft_feed(l->host, l->now, &ninth, NULL), ERR_FULL);
    lone_drain(l);
    assert_int_equal(lone_count_sent(l, RAFT_MSG_APPEND, 2), 1);
    uint64_t token = newest_token(l, 2);
    lone_clear(l);
    assert_int_equal(lone_ack(l, 2, 2, token), ERR_OK);
    for (uint64_t tag = 1; tag <= 8; tag++) {
        assert_int_equal(l->effects[tag - 1].kind, RAFT_FX_READ_OK);
        assert_int_equal(l->effects[tag - 1].tag, tag);
    }
    lone_free(l);
}

static void refused_append_confirms_leadership_too(void **state)
{
    (void)state;
    struct lone *l = reading_leader();
    assert_int_equal(lone_read(l, 5), ERR_OK);
    struct raft_msg no = refusal(l, 1, 0, 0);
    no.token = newest_token(l, 2);
    assert_int_equal(lone_tell(l, &no), ERR_OK);
    assert_non_null(lone_find(l, RAFT_FX_READ_OK));
    lone_free(l);
}

static void single_voter_reads_without_a_round(void **state)
{
    (void)state;
    struct lone *l = leader_of(1, NULL);
    lone_durable(l);
    assert_int_equal(lone_read(l, 5), ERR_OK);
    assert_int_equal(lone_find(l, RAFT_FX_READ_OK)->index, 2);
    lone_free(l);
}

static void other_disks_do_not_confirm_reads(void **state)
{
    (void)state;
    struct lone *l = reading_leader();
    assert_int_equal(lone_peer(l, 2, 77, true), ERR_OK);
    assert_int_equal(lone_read(l, 5), ERR_OK);
    assert_int_equal(lone_ack(l, 2, 2, newest_token(l, 3)), ERR_OK);
    assert_null(lone_find(l, RAFT_FX_READ_OK));
    assert_int_equal(lone_ack(l, 3, 2, newest_token(l, 3)), ERR_OK);
    assert_non_null(lone_find(l, RAFT_FX_READ_OK));
    lone_free(l);
}

static void lost_leadership_fails_all_reads(void **state)
{
    (void)state;
    struct lone *l = reading_leader();
    assert_int_equal(lone_read(l, 5), ERR_OK);
    struct raft_msg ask = lone_msg(RAFT_MSG_READ, 3, 2);
    ask.token = 44;
    assert_int_equal(lone_tell(l, &ask), ERR_OK);
    assert_int_equal(LONE_APPEND(l, 2, 9, 2, 2, 2, NULL), ERR_OK);
    assert_int_equal(lone_find(l, RAFT_FX_READ_FAIL)->tag, 5);
    assert_true(lone_sent(l, RAFT_MSG_READ_REPLY, 3)->msg.reject);
    assert_int_equal(lone_sent(l, RAFT_MSG_READ_REPLY, 3)->msg.token, 44);
    lone_free(l);
}

static void followers_question_is_answered_after_a_round(void **state)
{
    (void)state;
    struct lone *l = reading_leader();
    struct raft_msg ask = lone_msg(RAFT_MSG_READ, 3, 2);
    ask.token = 44;
    assert_int_equal(lone_tell(l, &ask), ERR_OK);
    assert_null(lone_sent(l, RAFT_MSG_READ_REPLY, 3));
    assert_int_equal(lone_ack(l, 2, 2, newest_token(l, 2)), ERR_OK);
    assert_int_equal(lone_sent(l, RAFT_MSG_READ_REPLY, 3)->msg.token, 44);
    assert_int_equal(lone_sent(l, RAFT_MSG_READ_REPLY, 3)->msg.index, 2);
    assert_false(lone_sent(l, RAFT_MSG_READ_REPLY, 3)->msg.reject);
    lone_free(l);
}

static void follower_passes_its_reads_to_the_leader(void **state)
{
    (void)state;
    struct lone_options options = {.voters = 3};
    struct lone *l = lone_new(&options);
    assert_int_equal(lone_read(l, 5), ERR_NO_LEADER);
    assert_int_equal(LONE_APPEND(l, 2, 2, 1, 1, 1, NULL), ERR_OK);
    assert_int_equal(lone_read(l, 5), ERR_OK);
    struct raft_msg reply = lone_msg(RAFT_MSG_READ_REPLY, 2, 2);
    reply.token = lone_sent(l, RAFT_MSG_READ, 2)->msg.token;
    reply.index = 17;
    reply.token--;
    assert_int_equal(lone_tell(l, &reply), ERR_OK); /* to an earlier question */
    assert_null(lone_find(l, RAFT_FX_READ_OK));
    lone_clear(l);
    lone_pass_ms(l, 101); /* a lost question is asked again */
    assert_int_equal(lone_sent(l, RAFT_MSG_READ, 2)->msg.token, reply.token + 1);
    reply.token++;
    assert_int_equal(lone_tell(l, &reply), ERR_OK);
    assert_int_equal(lone_find(l, RAFT_FX_READ_OK)->index, 17);
    assert_int_equal(lone_read(l, 6), ERR_OK);
    struct raft_input down = {.kind = RAFT_IN_PEER_DOWN, .node = 2};
    assert_int_equal(lone_feed(l, &down), ERR_OK);
    assert_int_equal(lone_find(l, RAFT_FX_READ_FAIL)->tag, 6);
    lone_free(l);
}

static void answer_to_an_earlier_life_fits_no_read(void **state)
{
    (void)state;
    struct lone_options options = {.voters = 3};
    struct lone *l = lone_new(&options);
    assert_int_equal(LONE_APPEND(l, 2, 2, 1, 1, 1, NULL), ERR_OK);
    for (uint64_t tag = 1; tag <= 5; tag++) {
        assert_int_equal(lone_read(l, tag), ERR_OK);
    }
    struct raft_msg reply = lone_msg(RAFT_MSG_READ_REPLY, 2, 2);
    reply.token = lone_sent(l, RAFT_MSG_READ, 2)->msg.token;
    lone_free(l);
    options.boot_count = 2;
    l = lone_new(&options);
    assert_int_equal(LONE_APPEND(l, 2, 2, 1, 1, 1, NULL), ERR_OK);
    assert_int_equal(lone_read(l, 1), ERR_OK);
    assert_int_equal(lone_tell(l, &reply), ERR_OK);
    assert_null(lone_find(l, RAFT_FX_READ_OK));
    lone_free(l);
}

/* ---- repair of followers ------------------------------------------------------------------- */

static void damaged_followers_word_counts_only_after_its_repair(void **state)
{
    (void)state;
    struct lone *l = leader_of(3, NULL);
    assert_int_equal(lone_ack(l, 2, 2, 0), ERR_OK);
    assert_int_equal(lone_view(l).commit, 2);
    assert_int_equal(lone_propose(l, 1), ERR_OK);
    lone_durable(l);
    lone_clear(l);
    struct raft_msg reply = lone_msg(RAFT_MSG_APPEND_REPLY, 2, 2);
    reply.repairing = true;
    reply.index = 3;
    assert_int_equal(lone_tell(l, &reply), ERR_OK);
    uint64_t round = newest_token(l, 2);
    assert_int_equal(lone_ack(l, 2, 3, 0), ERR_OK); /* said before the damage, and late */
    reply.token = round;
    assert_int_equal(lone_tell(l, &reply), ERR_OK);
    assert_int_equal(lone_view(l).commit, 2);
    assert_int_equal(lone_sent(l, RAFT_MSG_APPEND, 2)->msg.hint,
                     0); /* no majority without it yet */
    assert_int_equal(lone_ack(l, 3, 2, round), ERR_OK);
    assert_int_equal(lone_sent(l, RAFT_MSG_APPEND, 2)->msg.hint, 2);
    reply.repairing = false;
    assert_int_equal(lone_tell(l, &reply), ERR_OK);
    assert_int_equal(lone_view(l).commit, 3);
    lone_free(l);
}

static void follower_damaged_twice_is_found_again(void **state)
{
    (void)state;
    struct lone *l = leader_of(3, TERMS(1, 1, 1));
    struct raft_msg reply = lone_msg(RAFT_MSG_APPEND_REPLY, 2, 2);
    reply.repairing = true;
    reply.index = 5;
    assert_int_equal(lone_tell(l, &reply), ERR_OK);
    reply.token = newest_token(l, 2);
    assert_int_equal(lone_tell(l, &reply), ERR_OK);
    assert_int_equal(lone_view(l).peers[0].match, 5);
    reply.reject = true; /* restarted in the middle of its repair, with less */
    reply.hint = 2;
    reply.log_term = 1;
    assert_int_equal(lone_tell(l, &reply), ERR_OK);
    assert_int_equal(lone_view(l).peers[0].match, 0);
    reply.token = newest_token(l, 2);
    assert_int_equal(lone_tell(l, &reply), ERR_OK);
    assert_int_equal(lone_sent(l, RAFT_MSG_APPEND, 2)->first, 3);
    lone_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own_vote_counts_only_when_durable),
        cmocka_unit_test(refusals_and_strangers_elect_nobody),
        cmocka_unit_test(votes_from_other_disks_do_not_count),
        cmocka_unit_test(votes_for_an_earlier_candidacy_do_not_count),
        cmocka_unit_test(vote_after_the_candidates_timeout_does_not_count),
        cmocka_unit_test(leader_votes_for_nobody_else_in_its_term),
        cmocka_unit_test(term_starts_with_a_noop),
        cmocka_unit_test(single_voter_commits_what_its_disk_has),
        cmocka_unit_test(leader_without_a_majority_falls_silent),
        cmocka_unit_test(leader_in_contact_is_sticky_to_itself),
        cmocka_unit_test(higher_term_in_an_answer_ends_leadership),
        cmocka_unit_test(leader_on_a_hanging_disk_gives_way),
        cmocka_unit_test(entry_of_an_older_term_is_not_committed_by_counting),
        cmocka_unit_test(majority_of_an_even_cluster_is_more_than_half),
        cmocka_unit_test(own_disk_is_one_vote_and_only_when_durable),
        cmocka_unit_test(learners_and_other_disks_do_not_commit),
        cmocka_unit_test(acknowledgement_of_a_wiped_disk_is_forgotten),
        cmocka_unit_test(commit_is_told_at_once),
        cmocka_unit_test(appends_do_not_wait_for_the_leaders_disk),
        cmocka_unit_test(window_of_messages_holds_and_opens),
        cmocka_unit_test(window_of_bytes_holds_and_never_leaks),
        cmocka_unit_test(uncommitted_bytes_are_bounded_and_come_back),
        cmocka_unit_test(heartbeats_are_sent_only_when_nothing_else_was),
        cmocka_unit_test(refusal_moves_back_by_whole_terms),
        cmocka_unit_test(old_refusals_move_nothing),
        cmocka_unit_test(impossible_answers_are_refused),
        cmocka_unit_test(lagging_peer_gets_a_snapshot_and_then_the_rest),
        cmocka_unit_test(older_snapshot_than_awaited_unblocks_all_the_same),
        cmocka_unit_test(failed_transfer_is_tried_again_with_the_next_heartbeat),
        cmocka_unit_test(read_waits_for_a_commit_of_the_own_term),
        cmocka_unit_test(read_is_confirmed_only_by_answers_to_later_appends),
        cmocka_unit_test(reads_of_one_drain_share_a_round),
        cmocka_unit_test(refused_append_confirms_leadership_too),
        cmocka_unit_test(single_voter_reads_without_a_round),
        cmocka_unit_test(other_disks_do_not_confirm_reads),
        cmocka_unit_test(lost_leadership_fails_all_reads),
        cmocka_unit_test(followers_question_is_answered_after_a_round),
        cmocka_unit_test(follower_passes_its_reads_to_the_leader),
        cmocka_unit_test(answer_to_an_earlier_life_fits_no_read),
        cmocka_unit_test(damaged_followers_word_counts_only_after_its_repair),
        cmocka_unit_test(follower_damaged_twice_is_found_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
