/* Claims about followers of core/raft: appends, votes, snapshots, identity. Each bug class of
 * other engines that concerns them has its test here. */
#include "raft_lone.h"

#include "test.h"

#define TERMS(...)                                                                                 \
    (const raft_term[])                                                                            \
    {                                                                                              \
        __VA_ARGS__, 0                                                                             \
    }

static struct lone *follower(const raft_term *log)
{
    struct lone_options options = {.voters = 3, .log = log};
    struct lone *l = lone_new(&options);
    lone_clear(l);
    return l;
}

/* ---- appends ------------------------------------------------------------------------------- */

static void duplicate_append_truncates_nothing(void **state)
{
    (void)state;
    struct lone *l = follower(NULL);
    assert_int_equal(LONE_APPEND(l, 2, 2, 1, 1, 1, TERMS(2, 2, 2, 2)), ERR_OK);
    assert_int_equal(l->fed.first, 2);
    assert_int_equal(l->fed.last, 5);
    assert_int_equal(LONE_APPEND(l, 2, 2, 1, 1, 1, TERMS(2, 2)), ERR_OK);
    assert_int_equal(l->fed.truncated_from, 0);
    assert_int_equal(l->fed.first, 0);
    assert_int_equal(l->fed.skipped, 2);
    assert_int_equal(lone_view(l).last, 5);
    assert_int_equal(LONE_APPEND(l, 2, 2, 1, 1, 1, NULL), ERR_OK);
    assert_int_equal(lone_view(l).last, 5);
    lone_free(l);
}

static void overlapping_append_adds_only_what_is_new(void **state)
{
    (void)state;
    struct lone *l = follower(TERMS(2, 2));
    assert_int_equal(LONE_APPEND(l, 2, 2, 1, 1, 1, TERMS(2, 2, 2)), ERR_OK);
    assert_int_equal(l->fed.truncated_from, 0);
    assert_int_equal(l->fed.skipped, 2);
    assert_int_equal(l->fed.first, 4);
    assert_int_equal(l->fed.last, 4);
    lone_free(l);
}

static void conflicting_suffix_is_replaced_from_the_conflict_on(void **state)
{
    (void)state;
    struct lone *l = follower(TERMS(2, 2, 2));
    assert_int_equal(LONE_APPEND(l, 2, 3, 1, 1, 1, TERMS(2, 3)), ERR_OK);
    assert_int_equal(l->fed.truncated_from, 3);
    assert_int_equal(l->fed.first, 3);
    assert_int_equal(lone_view(l).last, 3);
    assert_int_equal(raft_term_at(l->host, 1, 2), 2);
    assert_int_equal(raft_term_at(l->host, 1, 3), 3);
    const struct raft_effect *wal = lone_find(l, RAFT_FX_WAL);
    assert_int_equal(wal->truncate_from, 3);
    assert_int_equal(wal->first, 3);
    assert_int_equal(wal->hard_state.term, 3);
    lone_free(l);
}

static void commit_goes_no_further_than_the_append_verified(void **state)
{
    (void)state;
    struct lone *l = follower(TERMS(2, 2, 2)); /* 2..4 may differ from the leader's */
    assert_int_equal(LONE_APPEND(l, 2, 3, 1, 1, 4, NULL), ERR_OK);
    assert_int_equal(lone_view(l).commit, 1);
    lone_free(l);
}

static void append_against_a_committed_entry_is_refused(void **state)
{
    (void)state;
    struct lone *l = follower(TERMS(2, 2));
    assert_int_equal(LONE_APPEND(l, 2, 2, 3, 2, 3, NULL), ERR_OK);
    assert_int_equal(lone_view(l).commit, 3);
    assert_int_equal(LONE_APPEND(l, 3, 3, 1, 1, 1, TERMS(3)), ERR_BAD_INPUT);
    assert_int_equal(LONE_APPEND(l, 3, 3, 2, 1, 1, NULL), ERR_BAD_INPUT);
    assert_int_equal(lone_view(l).last, 3);
    assert_int_equal(lone_view(l).term, 2);
    lone_free(l);
}

static void impossible_appends_change_nothing(void **state)
{
    (void)state;
    struct lone *l = follower(NULL);
    assert_int_equal(LONE_APPEND(l, 2, 3, 1, 1, 0, TERMS(3, 2)), ERR_BAD_INPUT);
    assert_int_equal(LONE_APPEND(l, 2, 3, 1, 1, 0, TERMS(4)), ERR_BAD_INPUT);
    assert_int_equal(LONE_APPEND(l, 2, 3, 1, 0, 0, TERMS(3)), ERR_BAD_INPUT);
    assert_int_equal(LONE_APPEND(l, 2, 0, 0, 0, 0, NULL), ERR_BAD_INPUT);
    assert_int_equal(LONE_APPEND(l, 1, 3, 1, 1, 0, NULL), ERR_BAD_INPUT);
    assert_int_equal(lone_view(l).term, 1);
    assert_int_equal(LONE_APPEND(l, 2, 3, 1, 1, 0, NULL), ERR_OK);
    assert_int_equal(LONE_APPEND(l, 3, 3, 1, 1, 0, NULL), ERR_BAD_INPUT); /* two leaders */
    lone_free(l);
}

static void compacted_entries_match_unseen(void **state)
{
    (void)state;
    struct lone_options options = {.voters = 3, .snapshot = 10, .applied = 10, .log = TERMS(2, 2)};
    struct lone *l = lone_new(&options);
    assert_int_equal(LONE_APPEND(l, 2, 2, 8, 1, 10, TERMS(1, 1, 2, 2, 2)), ERR_OK);
    assert_int_equal(l->fed.truncated_from, 0);
    assert_int_equal(l->fed.first, 13);
    assert_int_equal(LONE_APPEND(l, 2, 2, 0, 0, 10, TERMS(1, 1)), ERR_OK);
    assert_int_equal(l->fed.first, 0);
    assert_int_equal(lone_view(l).last, 13);
    assert_int_equal(lone_sent(l, RAFT_MSG_APPEND_REPLY, 2)->msg.index, 10);
    lone_clear(l);
    assert_int_equal(LONE_APPEND(l, 2, 2, 3, 1, 5, NULL), ERR_OK);
    assert_int_equal(lone_sent(l, RAFT_MSG_APPEND_REPLY, 2)->msg.index, 10);
    assert_false(lone_sent(l, RAFT_MSG_APPEND_REPLY, 2)->msg.reject);
    lone_free(l);
}

static void refusal_hints_past_a_whole_term(void **state)
{
    (void)state;
    struct lone *l = follower(TERMS(2, 2, 2, 2, 2));
    assert_int_equal(LONE_APPEND(l, 2, 4, 5, 1, 1, TERMS(4)), ERR_OK);
    const struct raft_msg *reply = &lone_sent(l, RAFT_MSG_APPEND_REPLY, 2)->msg;
    assert_true(reply->reject);
    assert_int_equal(reply->index, 5);
    assert_int_equal(reply->hint, 1); /* nothing of term 2 can agree with term 1 at 5 */
    assert_int_equal(reply->log_term, 1);
    assert_int_equal(LONE_APPEND(l, 2, 4, 20, 3, 1, NULL), ERR_OK);
    assert_int_equal(lone_sent(l, RAFT_MSG_APPEND_REPLY, 2)->msg.hint, 6);
    lone_free(l);
}

static void refused_append_of_the_leader_still_refreshes_the_timer(void **state)
{
    (void)state;
    struct lone *l = follower(NULL);
    for (uint32_t i = 0; i < 20; i++) {
        assert_int_equal(LONE_APPEND(l, 2, 2, 50, 2, 0, NULL), ERR_OK);
        lone_pass_ms(l, 250);
        assert_int_equal(lone_view(l).role, RAFT_FOLLOWER);
        assert_int_equal(lone_view(l).leader, 2);
    }
    assert_null(lone_sent(l, RAFT_MSG_PREVOTE, 2));
    lone_free(l);
}

static void acknowledgement_waits_for_its_entries(void **state)
{
    (void)state;
    struct lone *l = follower(NULL);
    assert_int_equal(LONE_APPEND(l, 2, 2, 1, 1, 1, TERMS(2, 2)), ERR_OK);
    const struct raft_effect *ack = lone_sent(l, RAFT_MSG_APPEND_REPLY, 2);
    const struct raft_effect *wal = lone_find(l, RAFT_FX_WAL);
    assert_true(wal < ack);
    assert_int_equal(ack->msg.index, 3);
    assert_int_equal(ack->after_wal_seq, wal->wal_seq);
    uint64_t seq = wal->wal_seq;
    lone_clear(l);
    /* A duplicate is acknowledged behind the same write, for it is not durable yet. */
    assert_int_equal(LONE_APPEND(l, 2, 2, 1, 1, 1, TERMS(2, 2)), ERR_OK);
    assert_int_equal(lone_sent(l, RAFT_MSG_APPEND_REPLY, 2)->after_wal_seq, seq);
    lone_durable(l);
    lone_clear(l);
    assert_int_equal(LONE_APPEND(l, 2, 2, 3, 2, 1, NULL), ERR_OK);
    assert_int_equal(lone_sent(l, RAFT_MSG_APPEND_REPLY, 2)->after_wal_seq, 0);
    lone_free(l);
}

static void nothing_is_applied_before_it_is_on_the_own_disk(void **state)
{
    (void)state;
    struct lone *l = follower(NULL);
    assert_int_equal(LONE_APPEND(l, 2, 2, 1, 1, 3, TERMS(2, 2)), ERR_OK);
    assert_int_equal(lone_view(l).commit, 3);
    assert_int_equal(lone_find(l, RAFT_FX_APPLY)->last, 1);
    lone_clear(l);
    lone_durable(l);
    assert_int_equal(lone_find(l, RAFT_FX_APPLY)->first, 2);
    assert_int_equal(lone_find(l, RAFT_FX_APPLY)->last, 3);
    lone_free(l);
}

/* etcd's ABA: t1, t2 and t1 again at one index while the first write is under way. */
static void late_completion_does_not_vouch_for_a_replaced_entry(void **state)
{
    (void)state;
    struct lone *l = follower(NULL);
    assert_int_equal(LONE_APPEND(l, 2, 2, 1, 1, 0, TERMS(2, 2, 2)), ERR_OK);
    uint64_t first = l->wal_seq;
    assert_int_equal(LONE_APPEND(l, 3, 3, 2, 2, 0, TERMS(3, 3)), ERR_OK);
    assert_int_equal(l->fed.truncated_from, 3);
    lone_durable_to(l, first);
    assert_int_equal(lone_view(l).durable, 2);
    lone_durable(l);
    assert_int_equal(lone_view(l).durable, 4);
    lone_free(l);
}

static void truncated_configuration_gives_way_to_the_older_one(void **state)
{
    (void)state;
    struct lone *l = follower(NULL);
    struct raft_config other = l->config;
    other.count = 2;
    struct buf b;
    buf_init(&b, RAFT_CONFIG_BYTES_MAX);
    assert_int_equal(raft_config_encode(&other, &b), ERR_OK);
    struct raft_entry_info entry = {
        .term = 2, .size = (uint32_t)b.len, .kind = RAFT_ENTRY_CONFIG, .config_bytes = b.data};
    struct raft_msg msg = lone_msg(RAFT_MSG_APPEND, 2, 2);
    msg.index = 1;
    msg.log_term = 1;
    struct raft_input in = {.kind = RAFT_IN_MSG, .msg = &msg, .entries = &entry, .entry_count = 1};
    assert_int_equal(lone_feed(l, &in), ERR_OK);
    assert_int_equal(lone_view(l).config.count, 2); /* active at append */
    assert_int_equal(lone_view(l).config_index, 2);
    assert_int_equal(LONE_APPEND(l, 3, 3, 1, 1, 0, TERMS(3)), ERR_OK);
    assert_int_equal(lone_view(l).config.count, 3);
    assert_int_equal(lone_view(l).config_index, 1);
    buf_done(&b);
    lone_free(l);
}

static void append_of_an_older_term_is_answered_with_the_newer_one(void **state)
{
    (void)state;
    struct lone_options options = {.voters = 3, .hard_term = 5};
    struct lone *l = lone_new(&options);
    assert_int_equal(LONE_APPEND(l, 2, 4, 1, 1, 1, TERMS(4)), ERR_OK);
    assert_int_equal(lone_view(l).last, 1);
    const struct raft_msg *reply = &lone_sent(l, RAFT_MSG_APPEND_REPLY, 2)->msg;
    assert_true(reply->reject);
    assert_int_equal(reply->term, 5);
    lone_free(l);
}

/* ---- votes --------------------------------------------------------------------------------- */

static struct raft_msg vote_request(enum raft_msg_type type, raft_node_id from, raft_term term,
                                    raft_index last, raft_term last_term)
{
    struct raft_msg msg = lone_msg(type, from, term);
    msg.index = last;
    msg.log_term = last_term;
    return msg;
}

static bool grants(struct lone *l, enum raft_msg_type type, raft_node_id from, raft_term term,
                   raft_index last)
{
    lone_clear(l);
    struct raft_msg msg = vote_request(type, from, term, last, 1);
    assert_int_equal(lone_tell(l, &msg), ERR_OK);
    bool pre = type == RAFT_MSG_PREVOTE;
    return !lone_sent(l, pre ? RAFT_MSG_PREVOTE_REPLY : RAFT_MSG_VOTE_REPLY, from)->msg.reject;
}

static void vote_waits_for_the_disk(void **state)
{
    (void)state;
    struct lone *l = follower(NULL);
    assert_true(grants(l, RAFT_MSG_VOTE, 2, 2, 1));
    const struct raft_effect *wal = lone_find(l, RAFT_FX_WAL);
    assert_true(wal->has_hard_state);
    assert_int_equal(wal->hard_state.term, 2);
    assert_int_equal(wal->hard_state.vote, 2);
    assert_int_equal(lone_sent(l, RAFT_MSG_VOTE_REPLY, 2)->after_wal_seq, wal->wal_seq);
    lone_free(l);
}

static void one_vote_per_term_but_the_same_one_again(void **state)
{
    (void)state;
    struct lone *l = follower(NULL);
    assert_true(grants(l, RAFT_MSG_VOTE, 2, 2, 1));
    assert_false(grants(l, RAFT_MSG_VOTE, 3, 2, 1));
    assert_true(grants(l, RAFT_MSG_VOTE, 2, 2, 1)); /* its answer was lost */
    assert_true(grants(l, RAFT_MSG_VOTE, 3, 3, 1));
    assert_false(grants(l, RAFT_MSG_VOTE, 2, 2, 1)); /* very old */
    lone_free(l);
}

static void vote_survives_a_restart(void **state)
{
    (void)state;
    struct lone_options options = {.voters = 3, .hard_term = 2, .vote = 2};
    struct lone *l = lone_new(&options);
    assert_false(grants(l, RAFT_MSG_VOTE, 3, 2, 1));
    assert_true(grants(l, RAFT_MSG_VOTE, 2, 2, 1));
    lone_free(l);
}

static void shorter_or_older_logs_get_no_vote(void **state)
{
    (void)state;
    struct lone *l = follower(TERMS(2, 2));
    struct raft_msg shorter = vote_request(RAFT_MSG_VOTE, 2, 3, 2, 2);
    struct raft_msg older = vote_request(RAFT_MSG_VOTE, 2, 4, 99, 1);
    struct raft_msg later = vote_request(RAFT_MSG_VOTE, 2, 5, 1, 3);
    assert_int_equal(lone_tell(l, &shorter), ERR_OK);
    assert_true(lone_sent(l, RAFT_MSG_VOTE_REPLY, 2)->msg.reject);
    assert_int_equal(lone_tell(l, &older), ERR_OK);
    assert_true(lone_sent(l, RAFT_MSG_VOTE_REPLY, 2)->msg.reject);
    assert_int_equal(lone_view(l).term, 4); /* the term is taken over all the same */
    assert_int_equal(lone_tell(l, &later), ERR_OK);
    assert_false(lone_sent(l, RAFT_MSG_VOTE_REPLY, 2)->msg.reject);
    lone_free(l);
}

static void vote_is_refused_while_leader_is_fresh(void **state)
{
    (void)state;
    struct lone *l = follower(NULL);
    assert_int_equal(LONE_APPEND(l, 2, 2, 1, 1, 1, NULL), ERR_OK);
    l->now += CLK_MS(299);
    assert_false(grants(l, RAFT_MSG_PREVOTE, 3, 3, 1));
    assert_false(grants(l, RAFT_MSG_VOTE, 3, 9, 1));
    assert_int_equal(lone_view(l).term, 2); /* nor is its term taken over */
    l->now += CLK_MS(1);
    assert_true(grants(l, RAFT_MSG_PREVOTE, 3, 3, 1));
    assert_true(grants(l, RAFT_MSG_VOTE, 3, 3, 1));
    lone_free(l);
}

static void granting_a_prevote_changes_nothing(void **state)
{
    (void)state;
    struct lone *l = follower(NULL);
    clk_ns deadline = raft_deadline(l->host);
    uint64_t written = l->wal_seq;
    assert_true(grants(l, RAFT_MSG_PREVOTE, 2, 2, 1));
    assert_true(grants(l, RAFT_MSG_PREVOTE, 3, 2, 1)); /* everybody may have it */
    assert_int_equal(raft_deadline(l->host), deadline);
    assert_int_equal(lone_view(l).term, 1);
    assert_int_equal(lone_view(l).vote, 0);
    assert_int_equal(l->wal_seq, written);
    lone_free(l);
}

static void prevote_of_a_lower_term_is_told_the_higher_one(void **state)
{
    (void)state;
    struct lone_options options = {.voters = 3, .hard_term = 7};
    struct lone *l = lone_new(&options);
    assert_false(grants(l, RAFT_MSG_PREVOTE, 2, 7, 1));
    assert_int_equal(lone_sent(l, RAFT_MSG_PREVOTE_REPLY, 2)->msg.term, 7);
    assert_true(grants(l, RAFT_MSG_PREVOTE, 2, 8, 1)); /* its next try */
    lone_free(l);
}

static void refused_prevoter_takes_the_higher_term_over(void **state)
{
    (void)state;
    struct lone *l = follower(NULL);
    lone_pass_ms(l, 600);
    assert_int_equal(lone_view(l).role, RAFT_PRECANDIDATE);
    struct raft_msg no = lone_msg(RAFT_MSG_PREVOTE_REPLY, 2, 7);
    no.reject = true;
    assert_int_equal(lone_tell(l, &no), ERR_OK);
    assert_int_equal(lone_view(l).term, 7);
    lone_clear(l);
    lone_pass_ms(l, 600);
    assert_int_equal(lone_sent(l, RAFT_MSG_PREVOTE, 2)->msg.term, 8);
    lone_free(l);
}

static void failed_prevotes_leave_the_term_alone(void **state)
{
    (void)state;
    struct lone *l = follower(NULL);
    lone_pass_ms(l, 10000);
    assert_int_equal(lone_view(l).term, 1);
    assert_true(lone_count_sent(l, RAFT_MSG_PREVOTE, 3) >= 10);
    assert_null(lone_sent(l, RAFT_MSG_VOTE, 3));
    lone_free(l);
}

/* ---- who may take part --------------------------------------------------------------------- */

static void learner_never_campaigns_but_answers_votes(void **state)
{
    (void)state;
    struct lone_options options = {.voters = 2, .members = 3};
    struct lone *l = lone_new(&options);
    l->config.members[0].role = RAFT_LEARNER;
    l->config.members[2].role = RAFT_VOTER;
    struct buf b;
    buf_init(&b, RAFT_CONFIG_BYTES_MAX);
    assert_int_equal(raft_config_encode(&l->config, &b), ERR_OK);
    struct raft_entry_info entry = {
        .term = 2, .size = (uint32_t)b.len, .kind = RAFT_ENTRY_CONFIG, .config_bytes = b.data};
    struct raft_msg msg = lone_msg(RAFT_MSG_APPEND, 2, 2);
    msg.index = 1;
    msg.log_term = 1;
    msg.commit = 2;
    struct raft_input in = {.kind = RAFT_IN_MSG, .msg = &msg, .entries = &entry, .entry_count = 1};
    assert_int_equal(lone_feed(l, &in), ERR_OK);
    buf_done(&b);
    assert_false(lone_view(l).is_voter);
    lone_pass_ms(l, 5000);
    assert_int_equal(lone_view(l).role, RAFT_FOLLOWER);
    assert_int_equal(lone_view(l).leader, 0);
    in = (struct raft_input){.kind = RAFT_IN_CAMPAIGN, .group = 1};
    assert_int_equal(lone_feed(l, &in), ERR_OK);
    assert_int_equal(lone_view(l).role, RAFT_FOLLOWER);
    /* The candidate may have a configuration in which this node votes. */
    struct raft_msg ask = vote_request(RAFT_MSG_VOTE, 2, 3, 2, 2);
    assert_int_equal(lone_tell(l, &ask), ERR_OK);
    assert_false(lone_sent(l, RAFT_MSG_VOTE_REPLY, 2)->msg.reject);
    lone_free(l);
}

static void node_without_configuration_never_votes(void **state)
{
    (void)state;
    struct lone_options options = {.voters = 3, .empty = true};
    struct lone *l = lone_new(&options);
    struct raft_msg ask = vote_request(RAFT_MSG_VOTE, 2, 2, 5, 1);
    assert_int_equal(lone_tell(l, &ask), ERR_OK);
    assert_true(lone_sent(l, RAFT_MSG_VOTE_REPLY, 2)->msg.reject);
    lone_pass_ms(l, 5000);
    assert_int_equal(lone_view(l).role, RAFT_FOLLOWER);
    assert_int_equal(LONE_APPEND(l, 2, 2, 0, 0, 1, TERMS(1, 2)), ERR_OK);
    assert_true(lone_view(l).is_voter); /* from the moment the entry is here */
    lone_free(l);
}

static void another_disk_neither_votes_nor_campaigns(void **state)
{
    (void)state;
    struct lone_options options = {.voters = 3, .own_storage = 77};
    struct lone *l = lone_new(&options);
    assert_false(lone_view(l).is_voter);
    assert_false(grants(l, RAFT_MSG_PREVOTE, 2, 2, 1));
    assert_false(grants(l, RAFT_MSG_VOTE, 2, 2, 1));
    lone_pass_ms(l, 5000);
    assert_int_equal(lone_view(l).role, RAFT_FOLLOWER);
    lone_free(l);
}

static void candidate_on_another_or_distrusted_disk_gets_no_vote(void **state)
{
    (void)state;
    struct lone *l = follower(NULL);
    assert_int_equal(lone_peer(l, 2, 77, true), ERR_OK);
    assert_false(grants(l, RAFT_MSG_PREVOTE, 2, 2, 1));
    assert_false(grants(l, RAFT_MSG_VOTE, 2, 2, 1));
    assert_int_equal(lone_peer(l, 3, 1003, false), ERR_OK);
    assert_false(grants(l, RAFT_MSG_VOTE, 3, 2, 1));
    assert_int_equal(lone_peer(l, 3, 1003, true), ERR_OK);
    assert_true(grants(l, RAFT_MSG_VOTE, 3, 2, 1));
    lone_free(l);
}

static void reset_by_the_leaders_machine_starts_a_prevote_at_once(void **state)
{
    (void)state;
    struct lone *l = follower(NULL);
    assert_int_equal(LONE_APPEND(l, 2, 2, 1, 1, 1, NULL), ERR_OK);
    struct raft_input other = {.kind = RAFT_IN_PEER_DOWN, .node = 3};
    assert_int_equal(lone_feed(l, &other), ERR_OK);
    assert_int_equal(lone_view(l).leader, 2);
    struct raft_input down = {.kind = RAFT_IN_PEER_DOWN, .node = 2};
    assert_int_equal(lone_feed(l, &down), ERR_OK);
    assert_int_equal(lone_view(l).leader, 0);
    assert_true(grants(l, RAFT_MSG_PREVOTE, 3, 3, 1)); /* stickiness is over */
    lone_pass_ms(l, 50);
    assert_int_equal(lone_view(l).role, RAFT_PRECANDIDATE);
    lone_free(l);
}

static void founding_is_for_empty_groups_only(void **state)
{
    (void)state;
    struct lone_options options = {.voters = 3, .empty = true};
    struct lone *l = lone_new(&options);
    struct raft_entry_info entry = {
        .size = l->config_size, .kind = RAFT_ENTRY_CONFIG, .config_bytes = l->config_bytes};
    struct raft_input in = {
        .kind = RAFT_IN_BOOTSTRAP, .group = 1, .entries = &entry, .entry_count = 1};
    struct raft_msg early = vote_request(RAFT_MSG_VOTE, 2, 4, 1, 1);
    assert_int_equal(lone_tell(l, &early), ERR_OK); /* another founder was faster */
    assert_int_equal(lone_feed(l, &in), ERR_OK);
    assert_int_equal(raft_term_at(l->host, 1, 1), 1);
    assert_int_equal(lone_view(l).term, 4);
    assert_true(lone_view(l).is_voter);
    assert_int_equal(lone_feed(l, &in), ERR_EXISTS);
    lone_free(l);
}

/* ---- snapshots ----------------------------------------------------------------------------- */

static enum err receive(struct lone *l, raft_index index, raft_term term)
{
    struct raft_snapshot_meta meta = {
        .index = index, .term = term, .config_index = 1, .config = l->config};
    struct raft_input in = {.kind = RAFT_IN_SNAP_RECEIVED, .group = 1, .snapshot = &meta};
    return lone_feed(l, &in);
}

static void applied(struct lone *l, raft_index index)
{
    struct raft_input in = {.kind = RAFT_IN_APPLIED, .group = 1, .index = index};
    assert_int_equal(lone_feed(l, &in), ERR_OK);
}

static void snapshot_is_installed_after_its_mark_and_before_later_entries(void **state)
{
    (void)state;
    struct lone *l = follower(TERMS(2, 2));
    assert_int_equal(LONE_APPEND(l, 2, 5, 50, 4, 0, NULL), ERR_OK);
    lone_clear(l);
    assert_int_equal(receive(l, 50, 4), ERR_OK);
    assert_int_equal(l->fed.truncated_from, 1);
    assert_true(lone_find(l, RAFT_FX_WAL)->has_snapshot);
    const struct raft_effect *ack = lone_sent(l, RAFT_MSG_APPEND_REPLY, 2);
    assert_int_equal(ack->msg.index, 50);
    assert_int_equal(ack->after_wal_seq, l->wal_seq);
    assert_null(lone_find(l, RAFT_FX_SNAP_INSTALL));
    assert_int_equal(receive(l, 60, 4), ERR_FULL); /* one at a time */
    assert_int_equal(LONE_APPEND(l, 2, 5, 50, 4, 52, TERMS(5, 5)), ERR_OK);
    assert_int_equal(lone_view(l).durable, 0);
    lone_clear(l);
    lone_durable(l);
    assert_int_equal(lone_find(l, RAFT_FX_SNAP_INSTALL)->snapshot->index, 50);
    assert_null(lone_find(l, RAFT_FX_APPLY)); /* never beside the installation */
    applied(l, 50);
    assert_int_equal(lone_find(l, RAFT_FX_APPLY)->first, 51);
    assert_int_equal(lone_find(l, RAFT_FX_APPLY)->last, 52);
    lone_free(l);
}

static void term_is_written_before_a_snapshots_mark(void **state)
{
    (void)state;
    struct lone *l = follower(NULL);
    struct raft_msg msg = lone_msg(RAFT_MSG_APPEND, 2, 5);
    msg.index = 50;
    msg.log_term = 4;
    struct raft_input in = {.kind = RAFT_IN_MSG, .msg = &msg};
    assert_int_equal(raft_feed(l->host, l->now, &in, &l->fed), ERR_OK); /* not drained */
    assert_int_equal(receive(l, 50, 4), ERR_OK);
    assert_int_equal(l->effects[1].kind, RAFT_FX_CONFIG);
    assert_int_equal(l->effects[2].hard_state.term, 5);
    assert_false(l->effects[2].has_snapshot);
    assert_true(l->effects[3].has_snapshot);
    lone_free(l);
}

static void late_or_matching_snapshots_replace_nothing(void **state)
{
    (void)state;
    struct lone *l = follower(TERMS(2, 2, 2));
    assert_int_equal(LONE_APPEND(l, 2, 2, 2, 2, 2, NULL), ERR_OK);
    assert_int_equal(receive(l, 2, 2), ERR_OK); /* committed already */
    assert_int_equal(lone_view(l).last, 4);
    assert_int_equal(receive(l, 3, 2), ERR_OK); /* same index and term: the suffix stays */
    assert_int_equal(lone_view(l).last, 4);
    assert_int_equal(lone_view(l).commit, 3);
    assert_int_equal(lone_view(l).first, 1);
    assert_null(lone_find(l, RAFT_FX_SNAP_INSTALL));
    lone_free(l);
    struct lone_options options = {.voters = 3, .snapshot = 10, .applied = 10};
    l = lone_new(&options);
    assert_int_equal(receive(l, 5, 1), ERR_OK); /* older than the log itself */
    assert_int_equal(lone_view(l).last, 10);
    lone_free(l);
}

static void configuration_comes_from_the_snapshot(void **state)
{
    (void)state;
    struct lone_options options = {.voters = 3, .empty = true};
    struct lone *l = lone_new(&options);
    assert_false(lone_view(l).is_voter);
    assert_int_equal(receive(l, 50, 4), ERR_OK);
    assert_int_equal(l->fed.truncated_from, 1); /* says that the log was replaced, empty or not */
    assert_true(lone_view(l).is_voter);
    assert_int_equal(lone_view(l).config.count, 3);
    assert_int_equal(lone_view(l).term, 4);
    lone_free(l);
}

static void state_machine_behind_the_snapshot_is_reinstalled_at_boot(void **state)
{
    (void)state;
    struct lone_options options = {.voters = 3, .snapshot = 10, .applied = 4, .log = TERMS(1, 1)};
    struct lone *l = lone_new(&options);
    assert_int_equal(lone_find(l, RAFT_FX_SNAP_INSTALL)->snapshot->index, 10);
    assert_int_equal(lone_view(l).commit, 10);
    assert_int_equal(LONE_APPEND(l, 2, 2, 12, 1, 12, NULL), ERR_OK);
    assert_null(lone_find(l, RAFT_FX_APPLY));
    applied(l, 10);
    assert_int_equal(lone_find(l, RAFT_FX_APPLY)->first, 11);
    lone_free(l);
}

static void compaction_keeps_what_was_asked_for(void **state)
{
    (void)state;
    struct lone *l = follower(TERMS(1, 1, 2, 2, 2));
    assert_int_equal(LONE_APPEND(l, 2, 2, 6, 2, 6, NULL), ERR_OK);
    applied(l, 6);
    struct raft_snapshot_meta meta = {
        .index = 5, .term = 2, .config_index = 1, .config = l->config};
    struct raft_input in = {.kind = RAFT_IN_COMPACTED, .group = 1, .snapshot = &meta, .index = 3};
    assert_int_equal(lone_feed(l, &in), ERR_OK);
    assert_int_equal(lone_view(l).first, 4);
    assert_int_equal(raft_term_at(l->host, 1, 3), 1);
    assert_int_equal(raft_term_at(l->host, 1, 2), 0);
    assert_int_equal(raft_term_at(l->host, 1, 4), 2);
    assert_int_equal(lone_view(l).config.count, 3);
    lone_free(l);
}

/* ---- damage -------------------------------------------------------------------------------- */

static void damaged_node_neither_votes_nor_campaigns_and_says_so(void **state)
{
    (void)state;
    struct lone_options options = {.voters = 3, .verdict = RAFT_BOOT_DAMAGED};
    struct lone *l = lone_new(&options);
    const struct raft_effect *wal = lone_find(l, RAFT_FX_WAL);
    assert_true(wal->has_hard_state && wal->hard_state.repairing); /* survives a restart */
    assert_false(grants(l, RAFT_MSG_PREVOTE, 2, 2, 9));
    assert_false(grants(l, RAFT_MSG_VOTE, 2, 2, 9));
    lone_pass_ms(l, 5000);
    assert_int_equal(lone_view(l).role, RAFT_FOLLOWER);
    assert_int_equal(LONE_APPEND(l, 2, 3, 1, 1, 1, TERMS(3)), ERR_OK);
    assert_true(lone_sent(l, RAFT_MSG_APPEND_REPLY, 2)->msg.repairing);
    lone_free(l);
}

static void damage_is_remembered_over_restarts(void **state)
{
    (void)state;
    struct lone_options options = {.voters = 3, .repairing = true};
    struct lone *l = lone_new(&options);
    assert_true(lone_view(l).repairing);
    assert_false(grants(l, RAFT_MSG_VOTE, 2, 2, 9));
    lone_free(l);
}

static void repair_ends_when_the_leaders_mark_is_durable_here(void **state)
{
    (void)state;
    struct lone_options options = {.voters = 3, .verdict = RAFT_BOOT_DAMAGED};
    struct lone *l = lone_new(&options);
    lone_pass_ms(l, 1200); /* candidacies from before the damage have ended */
    struct raft_msg msg = lone_msg(RAFT_MSG_APPEND, 2, 3);
    msg.index = 1;
    msg.log_term = 1;
    msg.commit = 3;
    assert_int_equal(lone_append(l, &msg, TERMS(2, 3)), ERR_OK);
    lone_durable(l);
    assert_true(lone_view(l).repairing); /* a commit index alone says nothing */
    msg.index = 3;
    msg.log_term = 3;
    msg.hint = 4;
    msg.token = 9;
    assert_int_equal(lone_append(l, &msg, TERMS(3)), ERR_OK);
    assert_true(lone_view(l).repairing); /* not durable */
    lone_clear(l);
    lone_durable(l);
    assert_false(lone_view(l).repairing);
    const struct raft_effect *wal = lone_find(l, RAFT_FX_WAL);
    assert_int_equal(wal->hard_state.vote, 2); /* it cannot vote for another in this term */
    assert_false(wal->hard_state.repairing);
    const struct raft_effect *ack = lone_sent(l, RAFT_MSG_APPEND_REPLY, 2);
    assert_false(ack->msg.repairing);
    assert_int_equal(ack->msg.token, 9);
    assert_int_equal(ack->after_wal_seq, wal->wal_seq);
    lone_free(l);
}

static void repair_waits_for_elections_from_before_the_damage(void **state)
{
    (void)state;
    struct lone_options options = {.voters = 3, .verdict = RAFT_BOOT_DAMAGED};
    struct lone *l = lone_new(&options);
    struct raft_msg msg = lone_msg(RAFT_MSG_APPEND, 2, 3);
    msg.index = 1;
    msg.log_term = 1;
    msg.hint = 1;
    assert_int_equal(lone_tell(l, &msg), ERR_OK);
    lone_durable(l);
    assert_true(lone_view(l).repairing);
    for (uint32_t i = 0; i < 8; i++) {
        lone_pass_ms(l, 150);
        assert_int_equal(lone_tell(l, &msg), ERR_OK);
    }
    assert_false(lone_view(l).repairing);
    lone_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(duplicate_append_truncates_nothing),
        cmocka_unit_test(overlapping_append_adds_only_what_is_new),
        cmocka_unit_test(conflicting_suffix_is_replaced_from_the_conflict_on),
        cmocka_unit_test(commit_goes_no_further_than_the_append_verified),
        cmocka_unit_test(append_against_a_committed_entry_is_refused),
        cmocka_unit_test(impossible_appends_change_nothing),
        cmocka_unit_test(compacted_entries_match_unseen),
        cmocka_unit_test(refusal_hints_past_a_whole_term),
        cmocka_unit_test(refused_append_of_the_leader_still_refreshes_the_timer),
        cmocka_unit_test(acknowledgement_waits_for_its_entries),
        cmocka_unit_test(nothing_is_applied_before_it_is_on_the_own_disk),
        cmocka_unit_test(late_completion_does_not_vouch_for_a_replaced_entry),
        cmocka_unit_test(truncated_configuration_gives_way_to_the_older_one),
        cmocka_unit_test(append_of_an_older_term_is_answered_with_the_newer_one),
        cmocka_unit_test(vote_waits_for_the_disk),
        cmocka_unit_test(one_vote_per_term_but_the_same_one_again),
        cmocka_unit_test(vote_survives_a_restart),
        cmocka_unit_test(shorter_or_older_logs_get_no_vote),
        cmocka_unit_test(vote_is_refused_while_leader_is_fresh),
        cmocka_unit_test(granting_a_prevote_changes_nothing),
        cmocka_unit_test(prevote_of_a_lower_term_is_told_the_higher_one),
        cmocka_unit_test(refused_prevoter_takes_the_higher_term_over),
        cmocka_unit_test(failed_prevotes_leave_the_term_alone),
        cmocka_unit_test(learner_never_campaigns_but_answers_votes),
        cmocka_unit_test(node_without_configuration_never_votes),
        cmocka_unit_test(another_disk_neither_votes_nor_campaigns),
        cmocka_unit_test(candidate_on_another_or_distrusted_disk_gets_no_vote),
        cmocka_unit_test(reset_by_the_leaders_machine_starts_a_prevote_at_once),
        cmocka_unit_test(founding_is_for_empty_groups_only),
        cmocka_unit_test(snapshot_is_installed_after_its_mark_and_before_later_entries),
        cmocka_unit_test(term_is_written_before_a_snapshots_mark),
        cmocka_unit_test(late_or_matching_snapshots_replace_nothing),
        cmocka_unit_test(configuration_comes_from_the_snapshot),
        cmocka_unit_test(state_machine_behind_the_snapshot_is_reinstalled_at_boot),
        cmocka_unit_test(compaction_keeps_what_was_asked_for),
        cmocka_unit_test(damaged_node_neither_votes_nor_campaigns_and_says_so),
        cmocka_unit_test(damage_is_remembered_over_restarts),
        cmocka_unit_test(repair_ends_when_the_leaders_mark_is_durable_here),
        cmocka_unit_test(repair_waits_for_elections_from_before_the_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
