/* Replication as the leader sees it: proposals, what to send next, acknowledgements, the commit
 * rule.
 *
 * Place: core/raft. Section 5.3 (log replication) and 5.4.2 (committing entries of previous terms);
 * pipelining and the parallel disk write are sections 10.2.1 and 10.2.2 of the dissertation.
 *
 * Heartbeats are appends without entries. They carry the same consistency check as every append,
 * so a lost message is found by the next heartbeat at the latest, and they are sent only when
 * nothing else was. */
#include "raft/raft_priv.h"

enum err raft_on_propose(struct raft_group *g, const struct raft_input *input, struct raft_fed *fed)
{
    CHECK(input->entry_count > 0 && input->entries != NULL);
    if (g->role != RAFT_LEADER) {
        return ERR_NOT_LEADER;
    }
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < input->entry_count; i++) {
        CHECK(input->entries[i].kind == RAFT_ENTRY_COMMAND);
        bytes += input->entries[i].size;
    }
    uint64_t limit = g->host->cfg.uncommitted_bytes_max;
    bool fits =
        g->uncommitted_bytes == 0 || (bytes <= limit && g->uncommitted_bytes <= limit - bytes);
    if (!fits || g->noop_wanted || g->transfer_to != 0) {
        return ERR_FULL;
    }
    fed->first = g->log.last + 1;
    raft_log_append(&g->log, input->entry_count, g->term);
    fed->last = g->log.last;
    fed->term = g->term;
    raft_uncommitted_add(g, g->log.last, bytes);
    return ERR_OK;
}

/* ---- commit -------------------------------------------------------------------------------- */

void raft_maybe_commit(struct raft_group *g)
{
    CHECK(g->role == RAFT_LEADER);
    raft_index reached = raft_quorum_reached(g, g->durable, raft_value_match);
    /* Figure 2: "if there exists an N such that N > commitIndex, a majority of matchIndex[i] >= N,
     * and log[N].term == currentTerm: set commitIndex = N". Without the last condition Figure 8
     * happens: an entry of an older term on a majority can still be overwritten. */
    if (reached <= g->commit || raft_log_term(&g->log, reached) != g->term) {
        return;
    }
    raft_commit_to(g, reached);
    raft_uncommitted_release(g);
    raft_repair_confirm(g);
}

/* ---- sending ------------------------------------------------------------------------------- */

static bool window_open(const struct raft_group *g, const struct raft_progress *p)
{
    const struct raft_host_cfg *cfg = &g->host->cfg;
    return p->out_count < cfg->inflight_msgs_max && p->out_bytes < cfg->inflight_bytes_max;
}

static bool has_entries_to_send(const struct raft_group *g, const struct raft_progress *p)
{
    if (p->next > g->log.last || p->state == RAFT_SNAPSHOT) {
        return false;
    }
    return p->state == RAFT_PROBE ? !p->paused : window_open(g, p);
}

static raft_index smaller(raft_index a, raft_index b)
{
    return a < b ? a : b;
}

static bool is_due(const struct raft_group *g, const struct raft_progress *p)
{
    /* A commit is told at once; a stream otherwise says it only with its next entries. */
    bool news = p->state == RAFT_STREAM && p->commit_sent < smaller(g->commit, p->next - 1);
    bool probe = p->state == RAFT_PROBE && !p->paused;
    return p->force || news || probe || has_entries_to_send(g, p);
}

static void enter_snapshot(struct raft_progress *p, raft_index needed)
{
    raft_peer_probe(p, p->next);
    p->state = RAFT_SNAPSHOT;
    p->snapshot_index = needed;
    p->want = true;
}

static void build_append(struct raft_group *g, struct raft_progress *p, clk_ns now,
                         struct raft_effect *fx)
{
    raft_index prev = p->state == RAFT_SNAPSHOT ? g->log.base : p->next - 1;
    CHECK(prev >= g->log.base && prev <= g->log.last);
    struct raft_msg msg = raft_msg_to(g, RAFT_MSG_APPEND, p->node);
    msg.index = prev;
    msg.log_term = raft_log_term(&g->log, prev);
    msg.hint = p->repairing ? p->repair_index : 0;
    msg.token = g->token;
    raft_index last = prev;
    if (has_entries_to_send(g, p)) {
        last = g->log.last;
        fx->first = p->next;
        fx->last = last;
        fx->budget_bytes = g->host->cfg.inflight_bytes_max - (uint32_t)p->out_bytes;
        p->awaiting = true;
        p->sent_first = fx->first;
        p->sent_last = last;
        g->host->awaiting++;
    } else if (p->state == RAFT_STREAM) {
        p->commit_sent = smaller(g->commit, prev);
    }
    msg.commit = smaller(g->commit, last);
    p->paused = p->state == RAFT_PROBE;
    p->force = false;
    p->heartbeat_at = now + g->host->cfg.heartbeat;
    fx->kind = RAFT_FX_SEND;
    fx->msg = msg;
    fx->node = p->node;
    fx->after_wal_seq = 0; /* dissertation 10.2.1: the leader writes its disk in parallel */
}

bool raft_next_send(struct raft_group *g, struct raft_progress *p, clk_ns now,
                    struct raft_effect *fx)
{
    CHECK(g->role == RAFT_LEADER && !g->noop_wanted);
    if (p->awaiting) {
        return false;
    }
    if (p->state != RAFT_SNAPSHOT && p->next <= g->log.base) {
        enter_snapshot(p,
                       g->log.base); /* the entry before `next` is gone: no term to check against */
    }
    if (p->want) {
        p->want = false;
        fx->kind = RAFT_FX_SNAP_WANT;
        fx->node = p->node;
        fx->index = p->snapshot_index;
        return true;
    }
    if (!is_due(g, p)) {
        return false;
    }
    build_append(g, p, now, fx);
    raft_touch(g); /* the heartbeat moved */
    return true;
}

void raft_sent(struct raft_host *host, raft_group_id group, raft_node_id to, raft_index last_sent,
               uint64_t bytes)
{
    struct raft_group *g = raft_group_of(host, group);
    CHECK(g != NULL);
    struct raft_progress *p = raft_peer_find(g, to);
    CHECK(p != NULL && p->awaiting && host->awaiting > 0);
    CHECK(last_sent + 1 >= p->sent_first && last_sent <= p->sent_last);
    p->awaiting = false;
    host->awaiting--;
    raft_touch(g);
    if (last_sent < p->sent_first) {
        enter_snapshot(p, p->sent_first);
        return;
    }
    if (p->state == RAFT_STREAM) {
        uint32_t cap = host->cfg.inflight_msgs_max;
        CHECK(p->out_count < cap);
        uint32_t slot = (p->out_head + p->out_count++) % cap;
        p->out[slot] = (struct raft_in_flight){.last = last_sent, .bytes = bytes};
        p->out_bytes += bytes;
        p->next = last_sent + 1;
        p->commit_sent = smaller(g->commit, last_sent);
    }
}

/* ---- acknowledgements ---------------------------------------------------------------------- */

static void on_ack(struct raft_group *g, struct raft_progress *p, raft_index index)
{
    bool reached_probe = p->state == RAFT_PROBE && index + 1 >= p->next;
    bool reached_snapshot = p->state == RAFT_SNAPSHOT && index >= p->snapshot_index;
    p->match = p->match > index ? p->match : index;
    p->next = p->next > p->match ? p->next : p->match + 1;
    raft_peer_ack_in_flight(g, p, p->match);
    if (reached_probe || reached_snapshot) {
        raft_peer_probe(p, p->match + 1);
        raft_peer_stream(p);
    }
    raft_maybe_commit(g);
}

/* Section 5.3: "a server could optimize ... include the term of the conflicting entry": the hint
 * is the follower's last entry that can agree with what was refused; the leader looks for its own
 * last entry that can agree with the hint. Every step skips a whole term on one side or the
 * other. */
static void on_reject(struct raft_group *g, struct raft_progress *p, const struct raft_msg *msg)
{
    bool old = msg->index <= p->match || msg->index >= p->next ||
               (p->state == RAFT_PROBE && msg->index + 1 != p->next);
    if (old || p->state == RAFT_SNAPSHOT) {
        return;
    }
    raft_index limit = smaller(msg->hint, msg->index - 1);
    raft_index agreed = raft_log_find(&g->log, limit, msg->log_term);
    raft_index next = agreed > p->match ? agreed + 1 : p->match + 1;
    CHECK(next <= msg->index);
    raft_peer_probe(p, next);
}

static void note_round(struct raft_group *g, struct raft_progress *p, uint64_t token)
{
    if (token <= p->token_acked) {
        return;
    }
    /* Only appends sent after the round was minted carry its token, and their answers return it. */
    p->token_acked = token;
    raft_reads_confirm(g);
    raft_repair_confirm(g);
}

enum err raft_on_append_reply(struct raft_group *g, clk_ns now, const struct raft_msg *msg)
{
    if (msg->term > g->term) {
        raft_become_follower(g, now, msg->term, 0);
        return ERR_OK;
    }
    struct raft_progress *p = raft_peer_find(g, msg->from);
    if (g->role != RAFT_LEADER || msg->term < g->term || p == NULL) {
        return ERR_OK;
    }
    if (msg->token > g->token || msg->index > g->log.last) {
        return ERR_BAD_INPUT;
    }
    p->last_heard = now;
    bool damaged_again =
        msg->repairing && msg->reject && msg->hint < p->match && msg->token >= p->token_min;
    if (msg->repairing && (!p->repairing || damaged_again)) {
        raft_repair_mark(g, p);
    } else if (!msg->repairing && p->repairing && msg->token >= p->repair_token) {
        p->repairing = false; /* it has what its disk had lost, and more */
    }
    if (msg->token < p->token_min) {
        return ERR_OK; /* describes a log that is gone */
    }
    if (!p->repairing) {
        note_round(g, p, msg->token);
    }
    if (msg->reject) {
        on_reject(g, p, msg);
    } else {
        on_ack(g, p, msg->index);
        raft_catch_up(g, p, now);
    }
    return ERR_OK;
}
