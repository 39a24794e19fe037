/* Canonical form of a host: equal for hosts that cannot be told apart by what they will do.
 *
 * Place: core/raft, inspection; nothing in the program calls it. The exhaustive exploration
 * (tests/explore) needs a finite number of states: it moves a host's clock and its WAL numbers back
 * after each step, and recognises states by a hash that may also exchange the names of nodes.
 *
 * Both want a drained host: flags and queues that a drain empties are not looked at. */
#ifndef RAFT_RAFT_CANON_H
#define RAFT_RAFT_CANON_H

#include "raft/raft.h"

enum {
    RAFT_CANON_NODES = 8
};

/* Node n is to be called node[n]; storage[n] is the disk it was admitted with, whose id is then
 * not hashed. Names of nodes above RAFT_CANON_NODES - 1 stay. */
struct raft_canon_names {
    raft_node_id node[RAFT_CANON_NODES];
    uint64_t storage[RAFT_CANON_NODES];
};

/* Moves the host's clock to `now` (at least 16 election timeouts after 0) and everything that it
 * timed with it; what is too old to be compared any more becomes equally old. Renumbers the WAL so
 * that the durable watermark is 0. Returns how much WAL numbers became smaller: those that the
 * caller holds are to follow. */
uint64_t raft_canon_rebase(struct raft_host *host, clk_ns now);
/* Over everything that decides the future of a rebased host, with nodes renamed. */
uint64_t raft_canon_hash(const struct raft_host *host, const struct raft_canon_names *names);

#endif
