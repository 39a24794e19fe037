/* Claims about whole clusters of core/raft, judged after every step by raft_cluster.c. */
#include "raft_cluster.h"

#include "test.h"

static struct rc *cluster(uint32_t nodes, uint32_t voters, uint64_t seed)
{
    struct rc_options options = {.nodes = nodes, .voters = voters, .groups = 1, .seed = seed};
    return rc_new(&options);
}

static raft_node_id other_than(raft_node_id a, raft_node_id b)
{
    raft_node_id node = 1;
    while (node == a || node == b) {
        node++;
    }
    return node;
}

static void voters_elect_and_replicate(void **state)
{
    (void)state;
    const uint32_t sizes[] = {1, 3, 5};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        for (uint64_t seed = 1; seed <= 5; seed++) {
            struct rc *c = cluster(sizes[i], sizes[i], seed);
            raft_node_id leader = rc_elect(c, 1);
            for (uint32_t k = 0; k < 10; k++) {
                rc_write_all(c, 1);
            }
            assert_int_equal(rc_leader(c, 1), leader);
            rc_free(c);
        }
    }
}

static void learners_follow_and_never_matter(void **state)
{
    (void)state;
    struct rc *c = cluster(5, 3, 1);
    rc_write_all(c, 1);
    rc_crash(c, 1, 99);
    rc_crash(c, 2, 99);
    rc_run_ms(c, 5000);
    assert_int_equal(rc_leader(c, 1), 0); /* two learners do not make a majority */
    rc_start(c, 2);
    rc_write_all(c, 1);
    assert_true(rc_leader(c, 1) == 2 || rc_leader(c, 1) == 3);
    rc_free(c);
}

static void groups_of_one_host_live_on_their_own(void **state)
{
    (void)state;
    struct rc_options options = {.nodes = 3, .voters = 3, .groups = 3, .seed = 4};
    struct rc *c = rc_new(&options);
    for (uint32_t i = 0; i < 5; i++) {
        for (raft_group_id group = 1; group <= 3; group++) {
            rc_write_all(c, group);
        }
    }
    raft_node_id leader = rc_elect(c, 2);
    rc_crash(c, leader, 1);
    for (raft_group_id group = 1; group <= 3; group++) {
        rc_write_all(c, group);
        assert_true(rc_elect(c, group) != leader);
    }
    rc_start(c, leader);
    rc_write_all(c, 2);
    rc_free(c);
}

static void idle_leader_stays_and_says_little(void **state)
{
    (void)state;
    struct rc *c = cluster(3, 3, 2);
    raft_node_id leader = rc_elect(c, 1);
    rc_run_ms(c, 1000);
    raft_term term = rc_view(c, leader, 1).term;
    uint64_t before = c->messages[RAFT_MSG_APPEND];
    rc_run_ms(c, 60000);
    assert_int_equal(rc_leader(c, 1), leader);
    assert_int_equal(rc_view(c, leader, 1).term, term);
    /* Two followers, a heartbeat each 50 ms. */
    assert_in_range(c->messages[RAFT_MSG_APPEND] - before, 2 * 1200 - 10, 2 * 1200 + 200);
    rc_free(c);
}

static void told_of_the_leaders_death_the_rest_elects_at_once(void **state)
{
    (void)state;
    clk_ns worst = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct rc *c = cluster(3, 3, seed);
        raft_node_id leader = rc_elect(c, 1);
        rc_write_all(c, 1);
        rc_run_ms(c, 200);
        rc_crash(c, leader, 99);
        for (raft_node_id i = 1; i <= 3; i++) {
            if (i != leader) {
                struct raft_input down = {.kind = RAFT_IN_PEER_DOWN, .node = leader};
                assert_int_equal(rc_feed(c, i, &down), ERR_OK);
            }
        }
        clk_ns start = c->now;
        rc_elect(c, 1);
        worst = c->now - start > worst ? c->now - start : worst;
        rc_free(c);
    }
    assert_true(worst < CLK_MS(800)); /* a tie costs one timeout */
}

/* A node that was cut off comes back: its term has not moved, and the leader stays. */
static void returning_node_disturbs_nobody(void **state)
{
    (void)state;
    struct rc *c = cluster(3, 3, 3);
    raft_node_id leader = rc_elect(c, 1);
    raft_node_id lost = other_than(leader, 0);
    raft_term term = rc_view(c, leader, 1).term;
    rc_isolate(c, lost, true);
    rc_run_ms(c, 10000);
    rc_write_all_but(c, 1, lost);
    assert_int_equal(rc_view(c, lost, 1).term, term);
    rc_isolate(c, lost, false);
    rc_write_all(c, 1);
    assert_int_equal(rc_leader(c, 1), leader);
    assert_int_equal(rc_view(c, leader, 1).term, term);
    rc_free(c);
}

/* A leader that hears from one node only gives up, and the connected majority goes on although that
 * node had been kept content by it. */
static void bridge_node_does_not_hold_the_majority_back(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct rc *c = cluster(5, 5, seed);
        raft_node_id old = rc_elect(c, 1);
        raft_node_id bridge = other_than(old, 0);
        for (raft_node_id i = 1; i <= 5; i++) {
            if (i != old && i != bridge) {
                rc_cut(c, old, i, true);
            }
        }
        rc_run_ms(c, 4000);
        raft_node_id leader = rc_leader(c, 1);
        assert_true(leader != 0);
        assert_true(leader != old || rc_view(c, old, 1).role != RAFT_LEADER);
        rc_isolate(c, old, false);
        rc_write_all(c, 1);
        rc_free(c);
    }
}

static void lost_majority_stops_writes_and_reads(void **state)
{
    (void)state;
    struct rc *c = cluster(3, 3, 5);
    raft_node_id leader = rc_elect(c, 1);
    rc_write_all(c, 1);
    rc_isolate(c, leader, true);
    raft_index commit = rc_view(c, leader, 1).commit;
    assert_int_equal(rc_propose(c, leader, 1, 1), ERR_OK);
    assert_int_equal(rc_read(c, leader, 1), ERR_OK);
    rc_run_ms(c, 3000);
    assert_int_equal(rc_view(c, leader, 1).commit, commit);
    assert_int_equal(rc_view(c, leader, 1).role != RAFT_LEADER, true);
    assert_int_equal(c->nodes[leader].reads_ok, 0);
    assert_int_equal(c->nodes[leader].reads_failed, 1);
    rc_isolate(c, leader, false);
    rc_write_all(c, 1);
    rc_free(c);
}

static void every_node_answers_reads(void **state)
{
    (void)state;
    struct rc *c = cluster(4, 3, 6);
    rc_write_all(c, 1);
    for (uint32_t round = 0; round < 20; round++) {
        assert_int_equal(rc_propose(c, rc_elect(c, 1), 1, 1), ERR_OK);
        for (raft_node_id i = 1; i <= 4; i++) {
            assert_int_equal(rc_read(c, i, 1), ERR_OK);
        }
        rc_run_ms(c, 5);
    }
    rc_run_ms(c, 500);
    for (raft_node_id i = 1; i <= 4; i++) {
        assert_int_equal(c->nodes[i].reads_ok, 20);
    }
    rc_free(c);
}

/* ---- ReadIndex with answers that cross terms and retries ----------------------------------- */

static struct rc_message kept[64];
static uint32_t kept_count;

static bool keep_append_replies(struct rc *c, const struct rc_message *message)
{
    (void)c;
    if (message->msg.type == RAFT_MSG_APPEND_REPLY && kept_count < 64) {
        kept[kept_count++] = *message;
    }
    return true;
}

static void late_answers_confirm_no_read_of_a_deposed_leader(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct rc *c = cluster(3, 3, seed);
        raft_node_id old = rc_elect(c, 1);
        kept_count = 0;
        c->filter = keep_append_replies;
        rc_write_all(c, 1);
        assert_int_equal(rc_read(c, old, 1), ERR_OK);
        rc_run_ms(c, 100);
        c->filter = NULL;
        assert_int_equal(c->nodes[old].reads_ok, 1);
        rc_isolate(c, old, true);
        assert_int_equal(rc_read(c, old, 1), ERR_OK); /* waits for a round that cannot be */
        rc_write_all_but(c, 1, old);                  /* at another leader */
        assert_true(rc_leader(c, 1) != old);
        for (uint32_t i = 0; i < kept_count; i++) {
            if (kept[i].msg.to == old) {
                rc_deliver(c, &kept[i]);
            }
        }
        assert_int_equal(c->nodes[old].reads_ok, 1); /* the judge would call it stale, too */
        rc_free(c);
    }
}

/* ---- logs ---------------------------------------------------------------------------------- */

/* Figure 8, played on real nodes: an entry of term 2 on a majority, overwritten later. */
static void figure_8_commits_nothing_that_is_lost(void **state)
{
    (void)state;
    struct rc_options options = {
        .nodes = 5, .voters = 5, .groups = 1, .seed = 11, .window_bytes = 1};
    struct rc *c = rc_new(&options);
    raft_node_id s1 = rc_elect(c, 1);
    rc_write_all(c, 1);
    raft_node_id s2 = other_than(s1, 0);
    for (raft_node_id i = 1; i <= 5; i++) { /* (a) the entry reaches S2 only */
        rc_cut(c, s1, i, i != s2 && i != s1);
    }
    assert_int_equal(rc_propose(c, s1, 1, 1), ERR_OK);
    rc_run_ms(c, 20);
    raft_index entry = rc_view(c, s2, 1).last;
    assert_int_equal(entry, rc_view(c, s1, 1).last);
    rc_crash(c, s1, 99);
    rc_isolate(c, s2, true); /* (b) another one leads and appends for itself */
    raft_node_id s5 = rc_elect(c, 1);
    assert_true(s5 != s1 && s5 != s2);
    rc_isolate(c, s5, true);
    assert_int_equal(rc_propose(c, s5, 1, 1), ERR_OK);
    rc_run_ms(c, 20);
    rc_crash(c, s5, 99);
    for (raft_node_id i = 1; i <= 5; i++) {
        rc_isolate(c, i, false);
    }
    rc_start(c, s1); /* (c) S1 and S2 may lead again, replicate the old entry, and fall */
    rc_run_ms(c, 650);
    rc_crash(c, s1, 99);
    rc_start(c, s5); /* (d) and S5 may come back: the judge sees every commit */
    rc_run_ms(c, 3000);
    rc_start(c, s1);
    rc_write_all(c, 1);
    rc_free(c);
}

static void long_divergence_is_repaired_in_few_messages(void **state)
{
    (void)state;
    struct rc *c = cluster(3, 3, 8);
    raft_node_id old = rc_elect(c, 1);
    rc_write_all(c, 1);
    rc_isolate(c, old, true);
    for (uint32_t i = 0; i < 100; i++) {
        (void)rc_propose(c, old, 1, 1); /* a hundred entries that nobody else has */
    }
    for (uint32_t i = 0; i < 100; i++) {
        rc_write_all_but(c, 1, old);
    }
    rc_isolate(c, old, false);
    uint64_t before = c->messages[RAFT_MSG_APPEND];
    rc_write_all(c, 1);
    assert_true(c->messages[RAFT_MSG_APPEND] - before < 40);
    rc_free(c);
}

static void lagging_node_catches_up_by_snapshot(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct rc *c = cluster(3, 3, seed);
        raft_node_id leader = rc_elect(c, 1);
        raft_node_id lost = other_than(leader, 0);
        rc_write_all(c, 1);
        rc_isolate(c, lost, true);
        for (uint32_t i = 0; i < 30; i++) {
            rc_write_all_but(c, 1, lost);
        }
        for (raft_node_id i = 1; i <= 3; i++) {
            rc_compact(c, i, 1, 2);
        }
        rc_isolate(c, lost, false);
        rc_write_all(c, 1);
        assert_int_equal(c->nodes[lost].snapshots_installed, 1);
        rc_crash(c, lost, 0);
        rc_start(c, lost);
        rc_write_all(c, 1);
        rc_free(c);
    }
}

/* ---- disks --------------------------------------------------------------------------------- */

static void whole_cluster_restarts_with_all_that_it_promised(void **state)
{
    (void)state;
    struct rc *c = cluster(5, 5, 9);
    for (uint32_t round = 0; round < 5; round++) {
        rc_write_all(c, 1);
        for (raft_node_id i = 1; i <= 5; i++) {
            rc_crash(c, i, 0);
        }
        for (raft_node_id i = 1; i <= 5; i++) {
            rc_start(c, i);
        }
    }
    rc_write_all(c, 1);
    assert_true(c->commit[1] >= 11);
    rc_free(c);
}

static void wipe(struct rc *c, raft_node_id node)
{
    struct rc_node *n = &c->nodes[node];
    memset(n->disks, 0, sizeof(n->disks));
    n->storage_id += 5000;
    n->boot_count = 0;
}

/* Two of three had the entry; one of these loses its disk; what is left must not forget the
 * entry. */
static void wiped_disk_does_not_help_to_forget(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct rc *c = cluster(3, 3, seed);
        raft_node_id leader = rc_elect(c, 1);
        raft_node_id wiped = other_than(leader, 0);
        raft_node_id behind = other_than(leader, wiped);
        rc_isolate(c, behind, true);
        rc_write_all_but(c, 1, behind);
        raft_index commit = c->commit[1];
        rc_crash(c, leader, 99);
        rc_crash(c, wiped, 99);
        wipe(c, wiped);
        rc_isolate(c, behind, false);
        rc_start(c, wiped);
        rc_run_ms(c, 10000);
        assert_int_equal(rc_leader(c, 1), 0);
        assert_false(rc_view(c, wiped, 1).is_voter);
        rc_start(c, leader);
        rc_write_all(c, 1); /* the wiped one follows like a learner */
        assert_true(c->commit[1] > commit);
        rc_crash(c, behind, 99);
        rc_run_ms(c, 3000);
        assert_int_equal(rc_leader(c, 1), 0); /* and is no voter for anything */
        rc_free(c);
    }
}

/* Cuts the end of the log and forgets the vote, as a damaged segment would. */
static void damage(struct rc *c, raft_node_id node, uint32_t entries)
{
    struct rc_disk *disk = &c->nodes[node].disks[1];
    disk->log.count -= entries < disk->log.count ? entries : disk->log.count;
    disk->hard_state.vote = 0;
    c->nodes[node].damaged[1] = true;
}

static void damaged_disk_is_repaired_before_it_votes(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        struct rc *c = cluster(3, 3, seed);
        raft_node_id leader = rc_elect(c, 1);
        raft_node_id hurt = other_than(leader, 0);
        raft_node_id behind = other_than(leader, hurt);
        rc_isolate(c, behind, true);
        rc_write_all_but(c, 1, behind);
        rc_crash(c, hurt, 99);
        damage(c, hurt, 1);
        rc_crash(c, leader, 99); /* the entry is on this disk only */
        rc_isolate(c, behind, false);
        rc_start(c, hurt);
        rc_run_ms(c, 5000);
        assert_int_equal(rc_leader(c, 1), 0);
        assert_true(rc_view(c, hurt, 1).repairing);
        rc_crash(c, hurt, 99);
        rc_start(c, hurt); /* the mark is on the disk */
        assert_true(rc_view(c, hurt, 1).repairing);
        rc_start(c, leader);
        rc_write_all(c, 1);
        rc_run_ms(c, 3000);
        assert_false(rc_view(c, hurt, 1).repairing);
        raft_node_id now_leads = rc_elect(c, 1);
        rc_crash(c, now_leads, 99);
        rc_write_all(c, 1); /* which needs the repaired one's vote */
        rc_free(c);
    }
}

static void stuck_disk_of_the_leader_does_not_stop_the_cluster(void **state)
{
    (void)state;
    struct rc *c = cluster(3, 3, 10);
    raft_node_id leader = rc_elect(c, 1);
    rc_write_all(c, 1);
    c->nodes[leader].disk_stuck = true;
    assert_int_equal(rc_propose(c, leader, 1, 1), ERR_OK);
    rc_run_ms(c, 5000);
    raft_node_id next = rc_leader(c, 1);
    assert_true(next != 0 && next != leader);
    c->nodes[leader].disk_stuck = false;
    rc_write_all(c, 1);
    rc_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(voters_elect_and_replicate),
        cmocka_unit_test(learners_follow_and_never_matter),
        cmocka_unit_test(groups_of_one_host_live_on_their_own),
        cmocka_unit_test(idle_leader_stays_and_says_little),
        cmocka_unit_test(told_of_the_leaders_death_the_rest_elects_at_once),
        cmocka_unit_test(returning_node_disturbs_nobody),
        cmocka_unit_test(bridge_node_does_not_hold_the_majority_back),
        cmocka_unit_test(lost_majority_stops_writes_and_reads),
        cmocka_unit_test(every_node_answers_reads),
        cmocka_unit_test(late_answers_confirm_no_read_of_a_deposed_leader),
        cmocka_unit_test(figure_8_commits_nothing_that_is_lost),
        cmocka_unit_test(long_divergence_is_repaired_in_few_messages),
        cmocka_unit_test(lagging_node_catches_up_by_snapshot),
        cmocka_unit_test(whole_cluster_restarts_with_all_that_it_promised),
        cmocka_unit_test(wiped_disk_does_not_help_to_forget),
        cmocka_unit_test(damaged_disk_is_repaired_before_it_votes),
        cmocka_unit_test(stuck_disk_of_the_leader_does_not_stop_the_cluster),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
