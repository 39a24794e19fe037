/* Random lives of clusters of core/raft: what must hold, holds whatever network and disks do.
 *
 * Each seed is one run, exactly repeatable: RAFT_SEED=n runs that one alone, RAFT_SEEDS=n runs n of
 * them. FLOTILLA_TEST_SEED adds some that nobody has run before. The judge in raft_cluster.c looks
 * at every step; at the end everything heals and must come to rest equal (the liveness phase). */
#include "raft_cluster.h"

#include "check/check.h"
#include "test.h"
#include "text/text.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    SEEDS = 100,
    NEW_SEEDS = 10,
    STEPS = 500
};

static uint64_t number_from_env(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    uint64_t value = otherwise;
    if (text != NULL && text_parse_u64(bytes_of_str(text), &value) != ERR_OK) {
        fail_msg("%s=%s is not a number", name, text);
    }
    return value;
}

/* Whether members come and go in this life. */
static bool has_churn(const struct rc *c)
{
    return c->options.members > 0;
}

static raft_node_id any_node(struct rc *c)
{
    return (raft_node_id)rnd_range(&c->rnd, 1, c->options.nodes);
}

static raft_group_id any_group(struct rc *c)
{
    return (raft_group_id)rnd_range(&c->rnd, 1, c->options.groups);
}

static uint32_t nodes_down(struct rc *c)
{
    uint32_t down = 0;
    for (uint32_t i = 1; i <= c->options.nodes; i++) {
        down += c->nodes[i].host == NULL ? 1 : 0;
    }
    return down;
}

static void crash_or_start(struct rc *c, raft_node_id node)
{
    if (c->nodes[node].host == NULL) {
        rc_start(c, node);
    } else if (nodes_down(c) < c->options.nodes) {
        rc_crash(c, node, (uint32_t)rnd_below(&c->rnd, 4));
    }
}

static void reset_connection(struct rc *c, raft_node_id a, raft_node_id b)
{
    if (a == b || c->nodes[a].host == NULL || c->nodes[b].host == NULL) {
        return;
    }
    struct raft_input down = {.kind = RAFT_IN_PEER_DOWN, .node = b};
    assert_int_equal(rc_feed(c, a, &down), ERR_OK);
    rc_connect(c, a, b);
}

static bool somebody_is_damaged(struct rc *c)
{
    for (uint32_t i = 1; i <= c->options.nodes; i++) {
        for (raft_group_id group = 1; group <= c->options.groups; group++) {
            const struct rc_node *n = &c->nodes[i];
            if (n->damaged[group] || n->disks[group].hard_state.repairing) {
                return true;
            }
        }
    }
    return false;
}

/* The others are a majority without this node; with churn also of what is to come. */
static bool can_do_without(struct rc *c, raft_node_id node)
{
    if (!has_churn(c)) {
        return c->options.voters >= 3;
    }
    raft_node_id leader = rc_leader(c, 1);
    if (leader == 0 || c->options.groups > 1) {
        return false;
    }
    struct raft_view view = rc_view(c, leader, 1);
    uint32_t voters = 0;
    for (uint32_t i = 0; i < view.config.count; i++) {
        voters += view.config.members[i].role == RAFT_VOTER ? 1 : 0;
    }
    bool settled = !view.config.joint && view.config_index <= view.commit;
    return settled && voters >= 3 && rc_role(c, 1, node) == RAFT_VOTER;
}

/* A disk loses the end of what it promised, and finds out. One at a time, or no majority knows. */
static void damage(struct rc *c, raft_node_id node)
{
    bool down = c->nodes[node].host == NULL;
    if (down || !can_do_without(c, node) || somebody_is_damaged(c)) {
        return;
    }
    rc_crash(c, node, 99);
    for (raft_group_id group = 1; group <= c->options.groups; group++) {
        struct rc_disk *disk = &c->nodes[node].disks[group];
        uint32_t lost = (uint32_t)rnd_below(&c->rnd, 5);
        disk->log.count -= lost < disk->log.count ? lost : disk->log.count;
        disk->hard_state.term -= disk->hard_state.term > 0 ? rnd_below(&c->rnd, 2) : 0;
        disk->hard_state.vote = 0;
        c->nodes[node].damaged[group] = true;
    }
    rc_start(c, node);
}

static void mend_network(struct rc *c)
{
    for (uint32_t i = 1; i <= c->options.nodes; i++) {
        for (uint32_t k = 1; k <= c->options.nodes; k++) {
            c->cut[i][k] = false;
        }
    }
}

/* What hurts most hits leaders, right after they have appended something. */
static void strike_leader(struct rc *c, raft_group_id group)
{
    raft_node_id leader = rc_leader(c, group);
    if (leader == 0 || nodes_down(c) > 0) {
        return;
    }
    raft_node_id friend = any_node(c);
    uint64_t dice = rnd_below(&c->rnd, 3);
    if (dice > 0) {
        rc_isolate(c, leader, true);
        rc_cut(c, leader, friend, dice == 1);
    }
    (void)rc_propose(c, leader, group, 1);
    if (dice == 0) {
        rc_crash(c, leader, (uint32_t)rnd_below(&c->rnd, 4));
    }
}

/* A duel: leaders come and go faster than entries get through (Figure 8 needs that). */
static void duel(struct rc *c)
{
    raft_node_id node = any_node(c);
    uint64_t dice = rnd_below(&c->rnd, 10);
    if (dice < 3) {
        strike_leader(c, 1);
    } else if (dice < 6) {
        mend_network(c);
    } else if (dice < 7) {
        rc_isolate(c, node, true);
    } else if (c->nodes[node].host == NULL) {
        rc_start(c, node);
    } else if (dice < 8) {
        (void)rc_feed(c, node, &(struct raft_input){.kind = RAFT_IN_CAMPAIGN, .group = 1});
        (void)rc_propose(c, node, 1, 1);
    }
}

/* Somebody asks the leader for other members, sensibly or not. */
static void churn(struct rc *c, raft_group_id group)
{
    raft_node_id leader = rc_leader(c, group);
    if (leader == 0 || somebody_is_damaged(c)) {
        return; /* without the damaged one the rest may be too few to repair it */
    }
    enum raft_member_role roles[RC_NODES_MAX];
    for (uint32_t i = 0; i < RC_NODES_MAX; i++) {
        roles[i] =
            i < c->options.nodes ? (enum raft_member_role)rnd_below(&c->rnd, 4) : RAFT_NOT_A_MEMBER;
        if (roles[i] == RAFT_VOTER && rc_role(c, group, i + 1) == RAFT_NOT_A_MEMBER) {
            roles[i] = RAFT_PROMOTABLE; /* else nearly every wish would be refused */
        }
    }
    (void)rc_change(c, leader, group, roles);
    if (rnd_chance_ppm(&c->rnd, 300000)) {
        strike_leader(c, group);
    }
}

/* An operator, or a node that is about to stop, wants another leader; sometimes it stops or is cut
 * off in the midst of it. */
static void hand_over(struct rc *c, raft_group_id group)
{
    raft_node_id leader = rc_leader(c, group);
    if (leader == 0) {
        return;
    }
    raft_node_id to = rnd_chance_ppm(&c->rnd, 500000) ? any_node(c) : 0;
    struct raft_input in = {.kind = RAFT_IN_TRANSFER, .group = group, .node = to};
    (void)rc_feed(c, leader, &in);
    if (rnd_chance_ppm(&c->rnd, 300000)) {
        strike_leader(c, group);
    }
}

/* One thing that a client, an operator or bad luck does. */
static void act(struct rc *c)
{
    raft_node_id node = any_node(c);
    raft_group_id group = any_group(c);
    uint64_t dice = rnd_below(&c->rnd, 100);
    if (dice < 4) {
        crash_or_start(c, node);
    } else if (dice < 6) {
        rc_cut(c, node, any_node(c), rnd_chance_ppm(&c->rnd, 500000));
    } else if (dice < 8) {
        c->cut[node][any_node(c)] = rnd_chance_ppm(&c->rnd, 500000); /* one way */
    } else if (dice < 10) {
        reset_connection(c, node, any_node(c));
    } else if (dice < 14) {
        mend_network(c);
    } else if (dice < 17) {
        strike_leader(c, group);
    } else if (dice < 18) {
        damage(c, node);
    } else if (dice < 26 && has_churn(c)) {
        churn(c, group);
    } else if (c->nodes[node].host == NULL) {
        if (dice < 60) {
            rc_start(c, node);
        }
    } else if (dice < 19) {
        c->nodes[node].disk_stuck = !c->nodes[node].disk_stuck;
    } else if (dice < 23) {
        rc_compact(c, node, group, (uint32_t)rnd_below(&c->rnd, 5));
    } else if (dice < 27) {
        hand_over(c, group);
    } else if (dice < 40) {
        (void)rc_read(c, node, group);
    } else {
        (void)rc_propose(c, node, group, (uint32_t)rnd_range(&c->rnd, 1, 3));
    }
}

static void heal(struct rc *c)
{
    c->options.drop_ppm = 0;
    c->options.duplicate_ppm = 0;
    mend_network(c);
    for (uint32_t i = 1; i <= c->options.nodes; i++) {
        c->nodes[i].disk_stuck = false;
        if (c->nodes[i].host == NULL) {
            rc_start(c, i);
        }
    }
}

static struct rc_options options_of(uint64_t seed, bool duels)
{
    struct rc_options options = {.seed = seed, .voters = 5, .nodes = 5, .groups = 1};
    options.window_bytes = 1; /* one entry per message */
    options.delay_max_us = 30000;
    if (duels) {
        return options;
    }
    options.voters = (uint32_t)(seed % 3) * 2 + 1;
    options.nodes = options.voters + (uint32_t)(seed / 3 % 2);
    options.groups = (uint32_t)(seed / 6 % 3) + 1;
    options.window_bytes = (uint32_t)(seed / 2 % 2);
    options.drop_ppm = (uint32_t)(seed / 18 % 4) * 40000;
    options.duplicate_ppm = (uint32_t)(seed / 72 % 2) * 150000;
    options.delay_max_us = seed % 5 == 0 ? 60000 : 2000;
    options.disk_max_us = seed % 7 == 0 ? 50000 : 2000;
    if (seed % 8 >= 5) { /* members come and go */
        options.members = options.nodes;
        options.nodes = RC_NODES_MAX;
    }
    return options;
}

static uint64_t fingerprint(struct rc *c)
{
    uint64_t print = c->now;
    for (uint32_t i = 1; i <= c->options.nodes; i++) {
        print = print * 31 + raft_fingerprint(c->nodes[i].host);
    }
    return print;
}

/* Returns the fingerprint of the end. */
static uint64_t live(uint64_t seed)
{
    bool duels = seed % 8 == 0;
    struct rc_options options = options_of(seed, duels);
    struct rc *c = rc_new(&options);
    for (uint32_t i = 0; i < STEPS; i++) {
        clk_ns until = c->now + CLK_MS(rnd_below(&c->rnd, duels ? 200 : 40));
        while (rc_step(c, until)) {
        }
        if (duels) {
            duel(c);
        } else {
            act(c);
        }
    }
    heal(c);
    for (raft_group_id group = 1; group <= options.groups; group++) {
        rc_write_all(c, group);
        (void)rc_read(c, rc_elect(c, group), group);
    }
    rc_run_ms(c, 2000);
    for (uint32_t i = 1; i <= options.nodes; i++) {
        for (raft_group_id group = 1; group <= options.groups; group++) {
            if (rc_role(c, group, i) != RAFT_NOT_A_MEMBER) {
                assert_int_equal(rc_view(c, i, group).applied, c->commit[group]);
            }
            assert_false(rc_view(c, rc_elect(c, group), group).config.joint);
        }
    }
    uint64_t print = fingerprint(c);
    rc_free(c);
    return print;
}

static void every_life_keeps_the_promises_and_comes_to_rest(void **state)
{
    (void)state;
    uint64_t only = number_from_env("RAFT_SEED", 0);
    uint64_t first = only != 0 ? only : 1;
    uint64_t last = only != 0 ? only : number_from_env("RAFT_SEEDS", SEEDS);
    for (uint64_t seed = first; seed <= last; seed++) {
        print_message("seed %lu\n", seed);
        (void)live(seed);
    }
    uint64_t fresh = number_from_env("FLOTILLA_TEST_SEED", 0) % (UINT64_MAX / 2);
    for (uint64_t i = 1; i <= NEW_SEEDS && fresh != 0 && only == 0; i++) {
        print_message("seed %lu\n", fresh + i);
        (void)live(fresh + i);
    }
}

static void equal_seeds_give_equal_lives(void **state)
{
    (void)state;
    for (uint64_t seed = 1000; seed < 1008; seed++) {
        assert_int_equal(live(seed), live(seed));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_life_keeps_the_promises_and_comes_to_rest),
        cmocka_unit_test(equal_seeds_give_equal_lives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
