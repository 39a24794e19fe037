/* Members: see members.h. */
#include "members/members.h"

#include "check/check.h"
#include "log/log.h"
#include "loop/loop.h"
#include "mem/mem.h"
#include "member/member.h"
#include "node/node_ext.h"
#include "registry/registry.h"

#include <string.h>

enum {
    UNSEEN_AFTER_MS = 2000,
    BACK_WITHIN_MS = 1000,
    JUDGED_MAX = 64,
    BODY_MAX = 4096
};

#define LOOK_EVERY CLK_MS(250)
#define PUT_RETRY  CLK_MS(500)

/* What one look at the table found to be done. */
struct judged {
    uint32_t node;
    uint64_t boot_count;
    enum member_state state; /* to be proposed */
    bool reassign;           /* its checks need another owner */
};

struct members {
    struct node *node;
    struct node_edge *edge;
    struct loop *loop;
    const char *version;
    struct loop_timer timer;
    struct node_proposal put;
    bool putting;
    bool known; /* our record is in the table */
    clk_ns put_at;
    struct node_proposal verdict;
    bool judging;
    struct judged judged; /* being proposed */
    clk_ns leads_since;   /* 0: does not lead */
    uint32_t alive[JUDGED_MAX];
    uint32_t alive_count;
    struct judged found[JUDGED_MAX];
    uint32_t found_count;
    bool stopping;
    void (*on_stopped)(void *self);
    void *on_stopped_self;
};

struct look {
    struct node_reading reading;
    struct members *members;
};

static struct node_call system_call(void)
{
    return (struct node_call){.principal = BYTES_LITERAL("system:members")};
}

static void maybe_stopped(struct members *members)
{
    if (members->stopping && !members->putting && !members->judging) {
        void (*fn)(void *) = members->on_stopped;
        void *self = members->on_stopped_self;
        mem_free(members);
        fn(self);
    }
}

/* ---- this node's record ---------------------------------------------------------------------- */

static void on_put(struct node_proposal *proposal, enum err err, const struct node_result *result)
{
    struct members *members = CONTAINER_OF(proposal, struct members, put);
    members->putting = false;
    if (err == ERR_OK) {
        err = result->verdict.err;
    }
    members->known = err == ERR_OK;
    if (err == ERR_CONFLICT || err == ERR_EXISTS) {
        log_event(LOG_IDENTITY_REFUSED, "id=%u error=%s detail=%s", node_config(members->node)->id,
                  err_name(err), result->verdict.reason);
    }
    members->put_at = loop_now(members->loop) + PUT_RETRY;
    maybe_stopped(members);
}

static void put_self(struct members *members)
{
    const struct node_cfg *cfg = node_config(members->node);
    struct node_status status;
    node_status_get(members->edge, &status);
    struct member self = {
        .node = cfg->id,
        .storage_id = status.storage_id,
        .boot_count = status.boot_count,
        .state = MEMBER_ALIVE,
        .name = bytes_of_str(cfg->name),
        .peer_address = bytes_of_str(cfg->peer_addr),
        .http_address = bytes_of_str(cfg->http_addr),
        .gateway_address = bytes_of_str(cfg->gateway_addr),
        .version = bytes_of_str(members->version),
    };
    struct buf body;
    buf_init(&body, BODY_MAX);
    struct node_call call = system_call();
    call.deadline = loop_now(members->loop) + CLK_S(2);
    if (status.storage_id != 0 && member_put_encode(&self, &body) == ERR_OK) {
        members->put.done = on_put;
        members->putting = node_propose(members->edge, &call, MEMBER_CMD_PUT, buf_bytes(&body),
                                        &members->put) == ERR_OK;
    }
    buf_done(&body);
}

/* ---- the leader's care ----------------------------------------------------------------------- */

static enum err look_at(void *context, const struct member *member)
{
    struct members *members = context;
    if (member->node == node_config(members->node)->id) {
        if (members->alive_count < JUDGED_MAX) {
            members->alive[members->alive_count++] = member->node;
        }
        return ERR_OK;
    }
    uint64_t silence_ms = node_peer_silence_ms(members->node, member->node);
    bool silent = silence_ms >= UNSEEN_AFTER_MS;
    if (member->state == MEMBER_ALIVE && !silent && members->alive_count < JUDGED_MAX) {
        members->alive[members->alive_count++] = member->node;
    }
    bool lost = silent && member->state != MEMBER_LEFT;
    bool back = silence_ms <= BACK_WITHIN_MS && member->state == MEMBER_UNSEEN;
    if ((lost || back) && members->found_count < JUDGED_MAX) {
        members->found[members->found_count++] = (struct judged){
            .node = member->node,
            .boot_count = member->boot_count,
            .state = back ? MEMBER_ALIVE : MEMBER_UNSEEN,
            .reassign = lost && member->state == MEMBER_UNSEEN,
        };
    }
    return ERR_OK;
}

static enum err stop_at_first(void *context, const struct registry_check *check)
{
    (void)check;
    *(bool *)context = true;
    return ERR_FULL; /* one is enough to know */
}

static bool owns_checks(struct table_txn *txn, uint32_t node)
{
    bool any = false;
    enum err err = registry_owner_checks(txn, node, stop_at_first, &any);
    return any || (err != ERR_OK && err != ERR_FULL);
}

/* The next living member after the dead one, going round. */
static uint32_t heir_of(const struct members *members, uint32_t dead)
{
    uint32_t best = 0;
    for (uint32_t i = 0; i < members->alive_count; i++) {
        uint32_t candidate = members->alive[i];
        bool after = candidate > dead;
        bool best_after = best > dead;
        if (best == 0 || (after && !best_after) || (after == best_after && candidate < best)) {
            best = candidate;
        }
    }
    return best;
}

static void on_verdict(struct node_proposal *proposal, enum err err,
                       const struct node_result *result)
{
    struct members *members = CONTAINER_OF(proposal, struct members, verdict);
    members->judging = false;
    if (err == ERR_OK && result->verdict.err == ERR_OK && members->judged.reassign &&
        result->verdict.value > 0) {
        log_event(LOG_CHECK_REASSIGNED, "from=%u count=%llu", members->judged.node,
                  (unsigned long long)result->verdict.value);
    }
    maybe_stopped(members);
}

static void propose_verdict(struct members *members, const struct judged *judged)
{
    struct buf body;
    buf_init(&body, BODY_MAX);
    uint16_t kind = MEMBER_CMD_STATE;
    enum err err = ERR_OK;
    if (judged->reassign) {
        kind = REGISTRY_CMD_CHECKS_REASSIGN;
        err = registry_reassign_encode(judged->node, heir_of(members, judged->node), &body);
    } else {
        err = member_state_encode(judged->node, judged->boot_count, judged->state, &body);
    }
    struct node_call call = system_call();
    call.deadline = loop_now(members->loop) + CLK_S(2);
    members->judged = *judged;
    members->verdict.done = on_verdict;
    if (err == ERR_OK) {
        err = node_propose(members->edge, &call, kind, buf_bytes(&body), &members->verdict);
    }
    members->judging = err == ERR_OK;
    buf_done(&body);
}

static void on_look(struct node_reading *reading, enum err err,
                    const struct node_snapshot *snapshot)
{
    struct members *members = CONTAINER_OF(reading, struct look, reading)->members;
    members->alive_count = 0;
    members->found_count = 0;
    if (err != ERR_OK || member_each(snapshot->txn, look_at, members) != ERR_OK) {
        return;
    }
    for (uint32_t i = 0; i < members->found_count && !members->judging; i++) {
        const struct judged *judged = &members->found[i];
        if (!judged->reassign || owns_checks(snapshot->txn, judged->node)) {
            propose_verdict(members, judged);
        }
    }
}

static void look(struct members *members)
{
    struct look look = {.reading = {.done = on_look}, .members = members};
    struct node_call call = system_call();
    enum err err = node_read(members->edge, &call, NODE_STALE, &look.reading);
    CHECK(err == ERR_OK);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void on_timer(struct loop_timer *timer)
{
    struct members *members = CONTAINER_OF(timer, struct members, timer);
    clk_ns now = loop_now(members->loop);
    if (!members->known && !members->putting && now >= members->put_at) {
        put_self(members);
    }
    if (!node_is_leader(members->node)) {
        members->leads_since = 0;
    } else if (members->leads_since == 0) {
        members->leads_since = now;
    } else if (now - members->leads_since >= CLK_MS(UNSEEN_AFTER_MS) && !members->judging) {
        look(members);
    }
    loop_timer_set(members->loop, timer, now + LOOK_EVERY, on_timer);
}

static void on_edge(void *self)
{
    struct members *members = self;
    loop_timer_set(members->loop, &members->timer, loop_now(members->loop), on_timer);
}

enum err members_start(struct node *node, const char *version, struct members **ret_members)
{
    struct members *members = mem_alloc(sizeof(*members));
    members->node = node;
    members->edge = node_edge_at(node, 0);
    members->loop = node_edge_loop(members->edge);
    members->version = version;
    enum err err = node_edge_post(members->edge, on_edge, members);
    if (err != ERR_OK) {
        mem_free(members);
        return err;
    }
    *ret_members = members;
    return ERR_OK;
}

static void on_edge_stop(void *self)
{
    struct members *members = self;
    members->stopping = true;
    loop_timer_cancel(members->loop, &members->timer);
    if (members->putting) {
        node_propose_cancel(members->edge, &members->put);
    }
    if (members->judging) {
        node_propose_cancel(members->edge, &members->verdict);
    }
    members->putting = false;
    members->judging = false;
    maybe_stopped(members);
}

void members_stop(struct members *members, void (*on_stopped)(void *self), void *self)
{
    members->on_stopped = on_stopped;
    members->on_stopped_self = self;
    enum err err = node_edge_post(members->edge, on_edge_stop, members);
    CHECK(err == ERR_OK);
}
