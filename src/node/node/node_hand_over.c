/* Before a clean stop, a leader hands over: nobody has to wait for an election timeout then.
 *
 * Place: node. The thread that stops the node asks and waits; the core thread does it, a step per
 * turn. Bounded: a node that cannot hand over stops all the same, and the others elect. */
#include "check/check.h"
#include "node/node_priv.h"

#include <errno.h>

/* An election timeout, so that trying costs no more than what it saves. */
#define HAND_OVER_LIMIT CLK_MS(600)

/* Whether there is nothing more to do or to hope for. */
static bool finished(struct node *node, clk_ns now)
{
    struct raft_view view;
    enum err err = engine_view(node->engine, META_GROUP, &view);
    CHECK(err == ERR_OK);
    if (view.role != RAFT_LEADER) {
        return view.leader != 0 || now >= node->core.hand_over_until;
    }
    if (now >= node->core.hand_over_until) {
        return true;
    }
    if (view.transfer_to != 0) {
        return false;
    }
    err = engine_transfer(node->engine, now, META_GROUP, 0);
    return err != ERR_OK && err != ERR_FULL; /* the only voter, or nobody else is fit to lead */
}

void node_hand_over_turn(struct node *node, clk_ns now)
{
    struct node_core *core = &node->core;
    if (!atomic_load_explicit(&core->hand_over, memory_order_acquire)) {
        return;
    }
    if (core->hand_over_until == 0) {
        core->hand_over_until = now + HAND_OVER_LIMIT;
    }
    if (finished(node, now)) {
        atomic_store(&core->hand_over, false);
        int rc = sem_post(&core->handed_over);
        CHECK(rc == 0);
    }
}

void node_hand_over(struct node *node)
{
    struct node_core *core = &node->core;
    if (!core->running || node->cfg.peer_count < 2) {
        return;
    }
    int rc = sem_init(&core->handed_over, 0, 0);
    CHECK(rc == 0);
    atomic_store_explicit(&core->hand_over, true, memory_order_release);
    loop_wake(core->loop);
    while (sem_wait(&core->handed_over) != 0) {
        CHECK(errno == EINTR);
    }
    rc = sem_destroy(&core->handed_over);
    CHECK(rc == 0);
}
