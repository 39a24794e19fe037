/* Linearizable reads without the log: ReadIndex (dissertation section 6.4).
 *
 * Place: core/raft. The leader notes its commit index, makes sure that it was still the leader
 * after the read was asked, and then answers with that index; whoever asked waits until it is
 * applied. All reads since the last drain share one round, named by a token that is minted here: a
 * caller's own name for its read may come again in a retry, and an answer to the first try would
 * then confirm the second. Appends carry the newest token, answers return it, so a round is
 * confirmed only by a majority that heard from this leader after the round began.
 *
 * On a follower the round goes to the leader as RAFT_MSG_READ; its tokens carry the boot count, so
 * an answer to an earlier life of this node fits none of its reads. */
#include "raft/raft_priv.h"

static struct raft_read *read_at(struct raft_group *g, uint32_t place)
{
    struct raft_read_queue *q = &g->reads;
    return &q->ring[(q->head + place) % g->host->cfg.reads_max];
}

static bool push(struct raft_group *g, const struct raft_read *read)
{
    struct raft_read_queue *q = &g->reads;
    if (q->count == g->host->cfg.reads_max) {
        return false;
    }
    q->count++;
    *read_at(g, q->count - 1) = *read;
    return true;
}

enum err raft_on_read(struct raft_group *g, uint64_t tag)
{
    if (g->leader == 0) {
        return ERR_NO_LEADER;
    }
    struct raft_read read = {.tag = tag};
    return push(g, &read) ? ERR_OK : ERR_FULL;
}

static void refuse(struct raft_group *g, const struct raft_msg *msg)
{
    struct raft_msg reply = raft_msg_to(g, RAFT_MSG_READ_REPLY, msg->from);
    reply.token = msg->token;
    reply.reject = true;
    raft_post(g, &reply);
}

enum err raft_on_msg_read(struct raft_group *g, clk_ns now, const struct raft_msg *msg)
{
    if (msg->term > g->term) {
        raft_become_follower(g, now, msg->term, 0);
    }
    if (g->role != RAFT_LEADER) {
        refuse(g, msg);
        return ERR_OK;
    }
    /* One question per asker waits for the next round; a newer one includes the older. */
    for (uint32_t i = g->reads.sent; i < g->reads.count; i++) {
        struct raft_read *read = read_at(g, i);
        if (read->from == msg->from) {
            read->asker_token = read->asker_token > msg->token ? read->asker_token : msg->token;
            return ERR_OK;
        }
    }
    struct raft_read read = {.from = msg->from, .asker_token = msg->token};
    if (!push(g, &read)) {
        refuse(g, msg);
    }
    return ERR_OK;
}

enum err raft_on_read_reply(struct raft_group *g, clk_ns now, const struct raft_msg *msg)
{
    if (msg->term > g->term) {
        raft_become_follower(g, now, msg->term, 0);
    }
    if (g->role == RAFT_LEADER) {
        return ERR_OK;
    }
    /* An index that was right after a later question is right for the earlier ones too. */
    struct raft_read_queue *q = &g->reads;
    while (q->done < q->sent && read_at(g, q->done)->token <= msg->token) {
        struct raft_read *read = read_at(g, q->done++);
        read->index = msg->index;
        read->failed = msg->reject;
    }
    return ERR_OK;
}

static void ask_leader(struct raft_group *g, clk_ns now)
{
    CHECK(g->reads.sent > g->reads.done && g->leader != 0);
    struct raft_msg msg = raft_msg_to(g, RAFT_MSG_READ, g->leader);
    msg.token = read_at(g, g->reads.sent - 1)->token;
    raft_post(g, &msg);
    g->read_retry_at = now + 2 * g->host->cfg.heartbeat;
}

static void force_round(struct raft_group *g)
{
    for (uint32_t i = 0; i < g->peer_count; i++) {
        if (g->peers[i].counts) {
            g->peers[i].force = true;
        }
    }
}

void raft_reads_flush(struct raft_group *g, clk_ns now)
{
    struct raft_read_queue *q = &g->reads;
    if (q->sent == q->count) {
        return;
    }
    bool leads = g->role == RAFT_LEADER;
    if (leads && (g->noop_wanted || g->commit < g->term_start)) {
        /* Dissertation 6.4, step 1: until an entry of its term is committed, the leader does not
         * know which entries are. */
        return;
    }
    CHECK(g->leader != 0);
    uint64_t token = raft_mint_token(g);
    while (q->sent < q->count) {
        struct raft_read *read = read_at(g, q->sent++);
        read->token = token;
        read->index = g->commit; /* step 2; at a follower the answer brings it */
    }
    if (leads) {
        force_round(g);
        raft_reads_confirm(g); /* a single voter is its own majority */
    } else {
        ask_leader(g, now);
    }
    raft_touch(g);
}

void raft_reads_confirm(struct raft_group *g)
{
    CHECK(g->role == RAFT_LEADER);
    struct raft_read_queue *q = &g->reads;
    if (q->done == q->sent) {
        return;
    }
    uint64_t confirmed = raft_quorum_reached(g, UINT64_MAX, raft_value_token); /* step 3 */
    while (q->done < q->sent && read_at(g, q->done)->token <= confirmed) {
        q->done++;
    }
}

void raft_reads_fail(struct raft_group *g)
{
    struct raft_read_queue *q = &g->reads;
    for (uint32_t i = q->done; i < q->count; i++) {
        read_at(g, i)->failed = true;
    }
    q->sent = q->count;
    q->done = q->count;
}

void raft_reads_retry(struct raft_group *g, clk_ns now)
{
    bool waits = g->reads.done < g->reads.sent;
    if (waits && g->role != RAFT_LEADER && now >= g->read_retry_at) {
        ask_leader(g, now); /* the question or its answer was lost */
    }
}

bool raft_read_effect(struct raft_group *g, struct raft_effect *fx)
{
    struct raft_read_queue *q = &g->reads;
    if (q->done == 0) {
        return false;
    }
    struct raft_read read = *read_at(g, 0);
    q->head = (q->head + 1) % g->host->cfg.reads_max;
    q->count--;
    q->sent--;
    q->done--;
    if (read.from == 0) {
        fx->kind = read.failed ? RAFT_FX_READ_FAIL : RAFT_FX_READ_OK;
        fx->tag = read.tag;
        fx->index = read.failed ? 0 : read.index;
        return true;
    }
    fx->kind = RAFT_FX_SEND;
    fx->node = read.from;
    fx->msg = raft_msg_to(g, RAFT_MSG_READ_REPLY, read.from);
    fx->msg.token = read.asker_token;
    fx->msg.reject = read.failed;
    fx->msg.index = read.failed ? 0 : read.index;
    return true;
}
