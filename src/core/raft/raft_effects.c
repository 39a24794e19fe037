/* What raft_drain hands out for one group, and in which order.
 *
 * Place: core/raft. Effects are built when they are drained: the group holds ranges and flags,
 * never copies, so everything that came since the last drain shares one write and one message per
 * peer.
 *
 * Order: role and configuration first; then what the leader appends by itself, its no-op and
 * configurations; then the disk; only then messages, because what they promise must have its write
 * in front of them. */
#include "raft/raft_priv.h"

static uint64_t next_write(struct raft_group *g, clk_ns now, raft_index last)
{
    struct raft_host *host = g->host;
    if (host->wal_durable == host->wal_seq) {
        host->wal_progress = now; /* the disk was idle: its clock starts here */
    }
    host->wal_seq++;
    raft_group_wrote(g, host->wal_seq, last);
    return host->wal_seq;
}

static void put_hard_state(struct raft_group *g, struct raft_effect *fx)
{
    g->hard_state_dirty = false;
    g->hard_state_seq = fx->wal_seq;
    fx->has_hard_state = true;
    fx->hard_state =
        (struct raft_hard_state){.term = g->term, .vote = g->vote, .repairing = g->repairing};
}

/* A log that a snapshot replaces: first the term, which must not be below the snapshot's, then the
 * mark; entries come behind it. */
static void put_snapshot(struct raft_group *g, clk_ns now, struct raft_effect *fx)
{
    if (g->hard_state_dirty) {
        fx->wal_seq = next_write(g, now, 0);
        put_hard_state(g, fx);
        return;
    }
    g->snapshot_dirty = false;
    g->snapshot_seq = next_write(g, now, g->snapshot.index);
    fx->wal_seq = g->snapshot_seq;
    fx->has_snapshot = true;
    fx->snapshot = &g->snapshot;
}

static bool wal_effect(struct raft_group *g, clk_ns now, struct raft_effect *fx)
{
    fx->kind = RAFT_FX_WAL;
    if (g->snapshot_dirty) {
        put_snapshot(g, now, fx);
        return true;
    }
    bool entries = g->wal_next <= g->log.last;
    if (!g->hard_state_dirty && g->wal_truncate == 0 && !entries) {
        return false;
    }
    fx->wal_seq = next_write(g, now, g->log.last);
    if (g->hard_state_dirty) {
        put_hard_state(g, fx);
    }
    fx->truncate_from = g->wal_truncate;
    g->wal_truncate = 0;
    if (entries) {
        fx->first = g->wal_next;
        fx->last = g->log.last;
        g->wal_next = g->log.last + 1;
    }
    return true;
}

/* The write that a message of this group must wait for; 0: it is done already. Rises over all
 * groups, so that the engine can keep one queue per peer. */
static uint64_t gate_of(struct raft_group *g)
{
    struct raft_host *host = g->host;
    if (g->wal_last <= host->wal_durable) {
        return 0;
    }
    host->gate = g->wal_last > host->gate ? g->wal_last : host->gate;
    return host->gate;
}

static bool is_promise(const struct raft_msg *msg)
{
    return msg->type == RAFT_MSG_VOTE || msg->type == RAFT_MSG_VOTE_REPLY ||
           msg->type == RAFT_MSG_APPEND_REPLY;
}

static void send_effect(struct raft_group *g, const struct raft_msg *msg, struct raft_effect *fx)
{
    fx->kind = RAFT_FX_SEND;
    fx->node = msg->to;
    fx->msg = *msg;
    /* Figure 2: "updated on stable storage before responding to RPCs". A vote request waits too: it
     * speaks of a term and of a log that a restart must not take back. */
    fx->after_wal_seq = is_promise(msg) ? gate_of(g) : 0;
}

static bool outbox_effect(struct raft_group *g, struct raft_effect *fx)
{
    if (g->outbox_count == 0) {
        return false;
    }
    send_effect(g, &g->outbox[0], fx);
    g->outbox_count--;
    memmove(g->outbox, g->outbox + 1, g->outbox_count * sizeof(g->outbox[0]));
    return true;
}

static bool ask_effect(struct raft_group *g, struct raft_progress *p, struct raft_effect *fx)
{
    if (!p->ask) {
        return false;
    }
    p->ask = false;
    bool pre = g->role == RAFT_PRECANDIDATE;
    CHECK(pre || g->role == RAFT_CANDIDATE);
    struct raft_msg msg = raft_msg_to(g, pre ? RAFT_MSG_PREVOTE : RAFT_MSG_VOTE, p->node);
    msg.term = pre ? g->term + 1 : g->term;
    msg.index = g->log.last;
    msg.log_term = raft_log_last_term(&g->log);
    msg.token = g->ballot;
    msg.handover = !pre && g->handed_by != 0;
    msg.hint = msg.handover ? g->handed_by : 0;
    send_effect(g, &msg, fx);
    return true;
}

static bool peers_effect(struct raft_group *g, clk_ns now, struct raft_effect *fx)
{
    while (g->drain_peer < g->peer_count) {
        struct raft_progress *p = &g->peers[g->drain_peer];
        bool produced =
            g->role == RAFT_LEADER ? raft_next_send(g, p, now, fx) : ask_effect(g, p, fx);
        if (produced) {
            return true;
        }
        g->drain_peer++;
    }
    return false;
}

static bool apply_effect(struct raft_group *g, struct raft_effect *fx)
{
    bool mark_durable = !g->snapshot_dirty && g->snapshot_seq <= g->host->wal_durable;
    if (g->install_wanted && mark_durable) {
        g->install_wanted = false;
        fx->kind = RAFT_FX_SNAP_INSTALL;
        fx->snapshot = &g->snapshot;
        return true;
    }
    raft_index limit = g->commit < g->durable ? g->commit : g->durable;
    if (g->installing || g->apply_next > limit) {
        return false;
    }
    fx->kind = RAFT_FX_APPLY;
    fx->first = g->apply_next;
    fx->last = limit;
    g->apply_next = limit + 1;
    return true;
}

static bool news_effect(struct raft_group *g, struct raft_effect *fx)
{
    if (g->role_changed) {
        g->role_changed = false;
        fx->kind = RAFT_FX_ROLE;
        return true;
    }
    if (g->config_changed) {
        g->config_changed = false;
        fx->kind = RAFT_FX_CONFIG;
        return true;
    }
    if (g->role == RAFT_LEADER && g->noop_wanted) {
        raft_append_noop(g);
        fx->kind = RAFT_FX_NOOP;
        fx->index = g->log.last;
        fx->term = g->term;
        return true;
    }
    return raft_config_effect(g, fx);
}

bool raft_group_effect(struct raft_group *g, clk_ns now, struct raft_effect *fx)
{
    *fx = (struct raft_effect){.group = g->id};
    if (news_effect(g, fx) || wal_effect(g, now, fx)) {
        return true;
    }
    raft_reads_flush(g, now);
    raft_transfer_flush(g);
    if (outbox_effect(g, fx) || peers_effect(g, now, fx) || raft_read_effect(g, fx) ||
        apply_effect(g, fx)) {
        return true;
    }
    /* Last, so that the others have been told what a leader that leaves has committed. */
    return raft_leave_office(g, now) && news_effect(g, fx);
}
