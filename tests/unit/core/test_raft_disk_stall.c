/* Claims about core/raft on disks that stop answering: who gives way, who waits, and for how long
 * the group is without a leader. The disks here hang, they lose nothing. Classes of bugs: etcd
 * issues 13527 and 15247, hashicorp/raft issue 503. */
#include "raft_cluster.h"
#include "raft_lone.h"

#include "test.h"

enum {
    ELECTION_MAX_MS = 600,
    HEARTBEAT_MS = 50,
};

static struct lone *leader_of_three(void)
{
    struct lone_options options = {.voters = 3};
    struct lone *l = lone_new(&options);
    lone_lead(l);
    return l;
}

/* Both others answer all along, and have everything up to `index`. */
static bool leads_after_ms(struct lone *l, uint32_t ms, raft_index index)
{
    for (uint32_t passed = 0; passed < ms && lone_role(l) == RAFT_LEADER; passed += HEARTBEAT_MS) {
        lone_pass_ms(l, HEARTBEAT_MS);
        if (lone_role(l) == RAFT_LEADER) {
            assert_int_equal(lone_ack(l, 2, index, 0), ERR_OK);
            assert_int_equal(lone_ack(l, 3, index, 0), ERR_OK);
        }
        lone_clear(l);
    }
    return lone_role(l) == RAFT_LEADER;
}

static void leader_gives_way_after_one_election_timeout(void **state)
{
    (void)state;
    struct lone *l = leader_of_three();
    assert_int_equal(lone_propose(l, 1), ERR_OK); /* the own write does not end */
    raft_index last = lone_last(l);
    assert_true(leads_after_ms(l, ELECTION_MAX_MS - HEARTBEAT_MS, last));
    assert_int_equal(lone_commit(l), last); /* the others' disks are enough meanwhile */
    assert_false(leads_after_ms(l, 2 * HEARTBEAT_MS, last));
    assert_int_equal(lone_propose(l, 1), ERR_NOT_LEADER);
    lone_free(l);
}

static void it_does_not_stand_again_before_its_disk_moves(void **state)
{
    (void)state;
    struct lone *l = leader_of_three();
    assert_int_equal(lone_propose(l, 1), ERR_OK);
    assert_false(leads_after_ms(l, 2 * ELECTION_MAX_MS, lone_last(l)));
    lone_pass_ms(l, 30000);
    assert_null(lone_sent(l, RAFT_MSG_PREVOTE, 2));
    assert_null(lone_sent(l, RAFT_MSG_VOTE, 2));
    lone_durable(l);
    lone_pass_ms(l, ELECTION_MAX_MS + HEARTBEAT_MS);
    assert_non_null(lone_sent(l, RAFT_MSG_PREVOTE, 2));
    lone_free(l);
}

/* Everybody's disk is at the same place: to give way would win nothing. */
static void leader_stays_while_no_majority_is_ahead(void **state)
{
    (void)state;
    struct lone *l = leader_of_three();
    raft_index durable = lone_last(l);
    assert_int_equal(lone_propose(l, 1), ERR_OK);
    assert_true(leads_after_ms(l, 10 * ELECTION_MAX_MS, durable));
    assert_int_equal(lone_commit(l), durable);
    lone_free(l);
}

static void leader_stays_while_its_disk_is_slow_but_moves(void **state)
{
    (void)state;
    struct lone *l = leader_of_three();
    assert_int_equal(lone_propose(l, 1), ERR_OK);
    for (uint32_t i = 0; i < 10; i++) {
        assert_int_equal(lone_propose(l, 1), ERR_OK);
        assert_true(leads_after_ms(l, ELECTION_MAX_MS - 2 * HEARTBEAT_MS, lone_last(l)));
        lone_durable_to(l, l->wal_seq - 1); /* a write late, for ever */
    }
    lone_free(l);
}

static void leader_without_writes_has_no_stalled_disk(void **state)
{
    (void)state;
    struct lone *l = leader_of_three();
    assert_true(leads_after_ms(l, 30000, lone_last(l)));
    /* The clock of the disk starts with the write, not with the one before it. */
    assert_int_equal(lone_propose(l, 1), ERR_OK);
    assert_true(leads_after_ms(l, ELECTION_MAX_MS - HEARTBEAT_MS, lone_last(l)));
    lone_free(l);
}

static void follower_on_a_stalled_disk_does_not_campaign(void **state)
{
    (void)state;
    struct lone_options options = {.voters = 3};
    struct lone *l = lone_new(&options);
    const raft_term terms[] = {1, 0};
    assert_int_equal(LONE_APPEND(l, 2, 1, 1, 1, 1, terms), ERR_OK);
    for (uint32_t i = 0; i < 2 * ELECTION_MAX_MS / HEARTBEAT_MS; i++) { /* the leader is well */
        lone_pass_ms(l, HEARTBEAT_MS);
        assert_int_equal(LONE_APPEND(l, 2, 1, 2, 1, 2, NULL), ERR_OK);
    }
    lone_clear(l);
    lone_pass_ms(l, 10 * ELECTION_MAX_MS); /* and then it is gone */
    assert_null(lone_sent(l, RAFT_MSG_PREVOTE, 2));
    assert_null(lone_sent(l, RAFT_MSG_PREVOTE, 3));
    lone_durable(l);
    lone_pass_ms(l, ELECTION_MAX_MS + HEARTBEAT_MS);
    assert_non_null(lone_sent(l, RAFT_MSG_PREVOTE, 3));
    lone_free(l);
}

/* ---- a whole cluster ------------------------------------------------------------------------- */

static clk_ns stall_of_the_leader(uint32_t nodes, uint64_t seed)
{
    struct rc_options options = {.nodes = nodes, .voters = nodes, .groups = 1, .seed = seed};
    struct rc *c = rc_new(&options);
    raft_node_id old = rc_elect(c, 1);
    rc_write_all(c, 1);
    c->nodes[old].disk_stuck = true;
    assert_int_equal(rc_propose(c, old, 1, 1), ERR_OK);
    clk_ns from = c->now;
    raft_node_id leader = old;
    while (leader == old || leader == 0) {
        assert_true(rc_step(c, from + CLK_S(30)));
        leader = rc_leader(c, 1);
    }
    clk_ns took = c->now - from;
    for (uint32_t i = 0; i < 20; i++) { /* for as long as it hangs, the others go on */
        rc_write_all_but(c, 1, old);
        rc_run_ms(c, 1500);
        assert_int_equal(rc_leader(c, 1), leader);
    }
    c->nodes[old].disk_stuck = false;
    rc_write_all(c, 1);
    assert_int_equal(rc_leader(c, 1), leader);
    rc_free(c);
    return took;
}

static void leadership_moves_within_two_election_timeouts(void **state)
{
    (void)state;
    uint32_t late = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        clk_ns took = stall_of_the_leader(seed % 2 == 0 ? 3 : 5, seed);
        /* A split vote takes another round. */
        assert_true(took <= CLK_MS(3 * ELECTION_MAX_MS));
        late += took > CLK_MS(2 * ELECTION_MAX_MS) ? 1 : 0;
    }
    assert_true(late <= 2);
}

static void stalled_follower_changes_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct rc_options options = {.nodes = 3, .voters = 3, .groups = 1, .seed = seed};
        struct rc *c = rc_new(&options);
        raft_node_id leader = rc_elect(c, 1);
        raft_term term = rc_view(c, leader, 1).term;
        raft_node_id stuck = leader % 3 + 1;
        c->nodes[stuck].disk_stuck = true;
        for (uint32_t i = 0; i < 30; i++) {
            rc_write_all_but(c, 1, stuck);
            rc_run_ms(c, 1000);
        }
        assert_int_equal(rc_leader(c, 1), leader);
        assert_int_equal(rc_view(c, leader, 1).term, term);
        c->nodes[stuck].disk_stuck = false;
        rc_write_all(c, 1);
        rc_free(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leader_gives_way_after_one_election_timeout),
        cmocka_unit_test(it_does_not_stand_again_before_its_disk_moves),
        cmocka_unit_test(leader_stays_while_no_majority_is_ahead),
        cmocka_unit_test(leader_stays_while_its_disk_is_slow_but_moves),
        cmocka_unit_test(leader_without_writes_has_no_stalled_disk),
        cmocka_unit_test(follower_on_a_stalled_disk_does_not_campaign),
        cmocka_unit_test(leadership_moves_within_two_election_timeouts),
        cmocka_unit_test(stalled_follower_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
