/* Members: this node's record in the replicated member table, and the leader's care for the
 * others'.
 *
 * Place: node, on edge 0. At start the node puts its own record (addresses, boot count, version).
 * The leader of the meta group marks members that it has not heard of for 2 s as unseen, gives
 * their checks and leases to another member, and marks them alive again when they are back.
 *
 * Invariants:
 *   1. Only a leader that has led for 2 s judges: before that its silence towards a peer says
 *   nothing.
 *   2. What is proposed names the boot count that was seen, so that an old verdict cannot hit a
 *   node
 *      that has restarted meanwhile.
 *   3. A take-over never shortens a lease: the new owner starts a full duration (node/health). */
#ifndef MEMBERS_MEMBERS_H
#define MEMBERS_MEMBERS_H

#include "err/err.h"

struct members;
struct node;

/* Starts on edge 0's thread. version: of the program, borrowed. */
ERR_CHECKED enum err members_start(struct node *node, const char *version,
                                   struct members **ret_members);
/* on_stopped comes on edge 0's thread; then the memory is gone. */
void members_stop(struct members *members, void (*on_stopped)(void *self), void *self);

#endif
