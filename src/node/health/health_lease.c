/* Health: renewals of leases, for clients of this node and, by frames, of other nodes.
 *
 *   node_lease_renew (any edge) --post--> edge 0: who owns the check?
 *      this node:     verdict here --> answer
 *      another node:  RENEW frame --> its edge 0 --> verdict --> RENEWED frame --> answer
 *
 * RENEW:    1 | id u64 | node u32 | status u8 | check id blob | output blob
 * RENEWED:  2 | id u64 | err u8 */
#include "check/check.h"
#include "health/health_priv.h"
#include "mem/mem.h"
#include "member/member.h"
#include "peers/peers.h"

#include <string.h>

enum {
    FRAME_RENEW = 1,
    FRAME_RENEWED = 2,
    ANSWER_BYTES_MAX = 64
};

#define RENEW_DEADLINE CLK_S(5)
#define REMOTE_EVERY   CLK_MS(250)

/* One renewal on its way: from the calling edge to edge 0 and back. */
struct renewal {
    struct list link; /* in health.remotes while another node works on it */
    struct health *health;
    struct node_edge *edge;           /* the caller's; NULL: another node asked */
    struct node_lease_update *update; /* NULL: cancelled, or another node asked */
    raft_node_id asker;               /* another node, or 0 */
    uint64_t asker_id;
    uint64_t id;
    clk_ns deadline;
    enum err result;
    enum registry_status status;
    uint32_t node;
    size_t id_len;
    size_t node_name_len;
    size_t output_len;
    uint8_t bytes[]; /* node name, check id, output */
};

static struct bytes node_name_of(const struct renewal *renewal)
{
    return bytes_of(renewal->bytes, renewal->node_name_len);
}

static struct bytes check_id_of(const struct renewal *renewal)
{
    return bytes_of(renewal->bytes + renewal->node_name_len, renewal->id_len);
}

static struct bytes output_of(const struct renewal *renewal)
{
    return bytes_of(renewal->bytes + renewal->node_name_len + renewal->id_len, renewal->output_len);
}

static struct renewal *renewal_new(struct bytes node_name, struct bytes check_id,
                                   struct bytes output)
{
    struct renewal *renewal =
        mem_alloc(sizeof(*renewal) + node_name.len + check_id.len + output.len);
    list_init(&renewal->link);
    renewal->node_name_len = node_name.len;
    renewal->id_len = check_id.len;
    renewal->output_len = output.len;
    uint8_t *at = renewal->bytes;
    if (node_name.len > 0) {
        memcpy(at, node_name.data, node_name.len);
    }
    if (check_id.len > 0) {
        memcpy(at + node_name.len, check_id.data, check_id.len);
    }
    if (output.len > 0) {
        memcpy(at + node_name.len + check_id.len, output.data, output.len);
    }
    return renewal;
}

/* ---- the answer ------------------------------------------------------------------------------ */

static void on_answer(void *self)
{
    struct renewal *renewal = self;
    if (renewal->update != NULL) {
        list_remove(&renewal->update->link);
        renewal->update->renewal = NULL;
        renewal->update->done(renewal->update, renewal->result);
    }
    mem_free(renewal);
}

static void answer_asker(struct renewal *renewal)
{
    struct buf body;
    buf_init(&body, ANSWER_BYTES_MAX);
    struct writer w = writer_of(&body);
    write_u8(&w, FRAME_RENEWED);
    write_u64(&w, renewal->asker_id);
    write_u8(&w, (uint8_t)renewal->result);
    CHECK(w.err == ERR_OK);
    if (node_frame_send(renewal->health->edge, renewal->asker, PEERS_FRAME_LEASE,
                        buf_bytes(&body)) != ERR_OK) {
        renewal->result = ERR_FULL; /* lost: the asker's deadline answers */
    }
    buf_done(&body);
    mem_free(renewal);
}

static void answer(void *self, enum err err)
{
    struct renewal *renewal = self;
    renewal->result = err;
    if (renewal->asker != 0) {
        answer_asker(renewal);
        return;
    }
    enum err posted = node_edge_post(renewal->edge, on_answer, renewal);
    CHECK(posted == ERR_OK);
}

/* ---- deciding -------------------------------------------------------------------------------- */

static void renew_here(struct renewal *renewal, struct owned *owned)
{
    health_touch(owned);
    if (!health_verdict(owned, renewal->status, output_of(renewal), answer, renewal)) {
        answer(renewal, ERR_OK);
    }
}

static void renew_there(struct renewal *renewal, raft_node_id owner)
{
    struct health *health = renewal->health;
    if (renewal->asker != 0 || health->remote_count >= HEALTH_RENEWALS_MAX) {
        answer(renewal, renewal->asker != 0 ? ERR_NOT_FOUND : ERR_FULL);
        return;
    }
    renewal->id = ++health->next_remote;
    struct buf body;
    buf_init(&body, renewal->id_len + renewal->output_len + ANSWER_BYTES_MAX);
    struct writer w = writer_of(&body);
    write_u8(&w, FRAME_RENEW);
    write_u64(&w, renewal->id);
    write_u32(&w, renewal->node);
    write_u8(&w, (uint8_t)renewal->status);
    write_blob(&w, check_id_of(renewal));
    write_blob(&w, output_of(renewal));
    CHECK(w.err == ERR_OK);
    enum err err = node_frame_send(health->edge, owner, PEERS_FRAME_LEASE, buf_bytes(&body));
    buf_done(&body);
    if (err != ERR_OK) {
        answer(renewal, err);
        return;
    }
    list_push_back(&health->remotes, &renewal->link);
    health->remote_count++;
}

struct owner_read {
    struct node_reading reading;
    struct renewal *renewal;
};

static void on_owner_read(struct node_reading *reading, enum err err,
                          const struct node_snapshot *snapshot)
{
    struct renewal *renewal = CONTAINER_OF(reading, struct owner_read, reading)->renewal;
    struct member member;
    struct registry_check check;
    if (err == ERR_OK && renewal->node == 0 && renewal->node_name_len == 0) {
        renewal->node = node_config(renewal->health->node)->id;
    } else if (err == ERR_OK && renewal->node == 0) {
        err = member_find(snapshot->txn, node_name_of(renewal), &member);
        renewal->node = err == ERR_OK ? member.node : 0;
    }
    if (err == ERR_OK) {
        err = registry_check_find(snapshot->txn, renewal->node, check_id_of(renewal), &check);
    }
    if (err != ERR_OK) {
        answer(renewal, err == ERR_CONFLICT ? ERR_NOT_FOUND : err);
        return;
    }
    renewal->node = check.node;
    struct owned *owned = health_find(renewal->health, check.node, check.id);
    if (check.owner != node_config(renewal->health->node)->id) {
        renew_there(renewal, check.owner);
    } else if (owned == NULL) {
        answer(renewal, ERR_FULL); /* it was assigned a moment ago and is not set up yet */
    } else {
        renew_here(renewal, owned);
    }
}

static void decide(void *self)
{
    struct renewal *renewal = self;
    struct owner_read read = {.reading = {.done = on_owner_read}, .renewal = renewal};
    struct node_call call = {.principal = BYTES_LITERAL("system:health")};
    enum err err = node_read(renewal->health->edge, &call, NODE_STALE, &read.reading);
    CHECK(err == ERR_OK);
}

/* ---- for the doors --------------------------------------------------------------------------- */

enum err node_lease_renew(struct node_edge *edge, const struct node_call *call,
                          const struct node_lease *lease, struct node_lease_update *update)
{
    CHECK(update->done != NULL);
    CHECK(lease->status >= REGISTRY_PASSING && lease->status <= REGISTRY_CRITICAL);
    struct health *health = node_health(node_edge_node(edge));
    if (health == NULL) {
        return ERR_STOPPING;
    }
    struct bytes output = lease->output;
    if (output.len > REGISTRY_OUTPUT_MAX) {
        output.len = REGISTRY_OUTPUT_MAX;
    }
    struct renewal *renewal = renewal_new(lease->node_name, lease->check_id, output);
    renewal->health = health;
    renewal->edge = edge;
    renewal->update = update;
    renewal->status = (enum registry_status)lease->status;
    renewal->deadline =
        call->deadline != 0 ? call->deadline : loop_now(node_edge_loop(edge)) + RENEW_DEADLINE;
    list_init(&update->link);
    update->renewal = renewal;
    return node_edge_post(health->edge, decide, renewal);
}

void node_lease_cancel(struct node_edge *edge, struct node_lease_update *update)
{
    (void)edge;
    if (update->renewal != NULL) {
        update->renewal->update = NULL;
        update->renewal = NULL;
    }
}

/* ---- frames ---------------------------------------------------------------------------------- */

static void on_renew(struct health *health, raft_node_id from, struct reader *in)
{
    uint64_t id = read_u64(in);
    uint32_t node = read_u32(in);
    uint8_t status = read_u8(in);
    struct bytes check_id = read_blob(in, REGISTRY_CHECK_ID_MAX);
    struct bytes output = read_blob(in, REGISTRY_OUTPUT_MAX);
    if (!reader_ok(in) || node == 0 || status < REGISTRY_PASSING || status > REGISTRY_CRITICAL) {
        return; /* of a version that this one does not understand: the asker times out */
    }
    struct renewal *renewal = renewal_new(bytes_of(NULL, 0), check_id, output);
    renewal->health = health;
    renewal->asker = from;
    renewal->asker_id = id;
    renewal->node = node;
    renewal->status = (enum registry_status)status;
    decide(renewal);
}

static void take_remote(struct health *health, struct renewal *renewal)
{
    list_remove(&renewal->link);
    health->remote_count--;
}

static void on_renewed(struct health *health, struct reader *in)
{
    uint64_t id = read_u64(in);
    uint8_t err = read_u8(in);
    if (!reader_ok(in) || err >= ERR_COUNT) {
        return;
    }
    LIST_FOREACH (link, &health->remotes) {
        struct renewal *renewal = CONTAINER_OF(link, struct renewal, link);
        if (renewal->id == id) {
            take_remote(health, renewal);
            answer(renewal, (enum err)err);
            return;
        }
    }
}

static void on_frame(struct node_frame_handler *handler, raft_node_id from, uint8_t kind,
                     struct bytes body)
{
    struct health *health = CONTAINER_OF(handler, struct health, frames);
    if (kind != PEERS_FRAME_LEASE || health->stopping) {
        return;
    }
    struct reader in = reader_of(body);
    uint8_t what = read_u8(&in);
    if (what == FRAME_RENEW) {
        on_renew(health, from, &in);
    } else if (what == FRAME_RENEWED) {
        on_renewed(health, &in);
    }
}

/* ---- deadlines ------------------------------------------------------------------------------- */

static void expire(struct health *health, clk_ns before, enum err err)
{
    LIST_FOREACH_SAFE (link, after, &health->remotes) {
        struct renewal *renewal = CONTAINER_OF(link, struct renewal, link);
        if (renewal->deadline <= before) {
            take_remote(health, renewal);
            answer(renewal, err);
        }
    }
}

static void on_remote_timer(struct loop_timer *timer)
{
    struct health *health = CONTAINER_OF(timer, struct health, remote_timer);
    clk_ns now = loop_now(health->loop);
    expire(health, now, ERR_TIMEOUT);
    loop_timer_set(health->loop, timer, now + REMOTE_EVERY, on_remote_timer);
}

void health_lease_init(struct health *health)
{
    list_init(&health->remotes);
    health->frames.frame = on_frame;
    node_frame_handler_set(health->node, &health->frames);
}

void health_lease_run(struct health *health)
{
    loop_timer_set(health->loop, &health->remote_timer, loop_now(health->loop) + REMOTE_EVERY,
                   on_remote_timer);
}

void health_lease_done(struct health *health)
{
    loop_timer_cancel(health->loop, &health->remote_timer);
    node_frame_handler_set(health->node, NULL);
    expire(health, CLK_NEVER, ERR_STOPPING);
}
