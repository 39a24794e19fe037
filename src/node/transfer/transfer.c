/* Transfer: see transfer.h. Entry points, the second hand, and telling how sends ended.
 *
 * Place: node/transfer. */
#include "transfer/transfer.h"

#include "transfer/transfer_priv.h"

#include "check/check.h"
#include "log/log.h"
#include "mem/mem.h"

static const uint64_t SIZE_BYTES_DEFAULT = 1ull << 40;

struct transfer *transfer_new(const struct transfer_cfg *cfg)
{
    CHECK(cfg->loop != NULL && cfg->jobs != NULL && cfg->dir != NULL);
    CHECK(cfg->send != NULL && cfg->sent != NULL && cfg->received != NULL);
    struct transfer *transfer = mem_alloc(sizeof(*transfer));
    transfer->cfg = *cfg;
    if (transfer->cfg.size_bytes_max == 0) {
        transfer->cfg.size_bytes_max = SIZE_BYTES_DEFAULT;
    }
    /* Numbers of an earlier run must not be taken for this one's. */
    transfer->last_number = rnd_u64(loop_rnd(cfg->loop));
    list_init(&transfer->outs);
    list_init(&transfer->ins);
    return transfer;
}

void transfer_log_failure(const char *direction, raft_group_id group, raft_node_id node,
                          const char *why)
{
    log_event(LOG_TRANSFER_FAILED, "direction=%s group=%u node=%u reason=%s", direction, group,
              node, why);
}

/* ---- the second hand ------------------------------------------------------------------------- */

static void on_tick(struct loop_timer *timer);

static void arm(struct transfer *transfer)
{
    struct loop *loop = transfer->cfg.loop;
    bool idle = list_empty(&transfer->outs) && list_empty(&transfer->ins);
    if (!idle && !transfer->stopping && !loop_timer_is_set(&transfer->tick)) {
        loop_timer_set(loop, &transfer->tick, loop_now(loop) + CLK_MS(TRANSFER_TICK_MS), on_tick);
    }
}

/* The first send that ended and may be told now. */
static struct transfer_out *find_ended(struct transfer *transfer)
{
    clk_ns now = loop_now(transfer->cfg.loop);
    LIST_FOREACH (link, &transfer->outs) {
        struct transfer_out *out = CONTAINER_OF(link, struct transfer_out, link);
        bool due = out->started_at == 0 || now - out->started_at >= CLK_MS(TRANSFER_CALM_MS);
        if (out->state == OUT_ENDED && !out->reported && (due || transfer->stopping)) {
            return out;
        }
    }
    return NULL;
}

static void report_ended(struct transfer *transfer)
{
    struct transfer_cfg *cfg = &transfer->cfg;
    struct transfer_out *out = NULL;
    while ((out = find_ended(transfer)) != NULL) {
        raft_group_id group = out->group;
        raft_node_id to = out->to;
        enum err result = out->result;
        if (out->why[0] != '\0') {
            transfer_log_failure("out", group, to, out->why);
        }
        out->reported = true;
        transfer_out_advance(out); /* it may be gone now */
        cfg->sent(cfg->self, group, to, result);
        transfer_out_start_next(transfer, to);
    }
}

/* Receivers that are done with go; then those that waited for them begin. */
static void sweep(struct transfer *transfer, clk_ns now)
{
    LIST_FOREACH_SAFE (link, after, &transfer->ins) {
        struct transfer_in *in = CONTAINER_OF(link, struct transfer_in, link);
        if (in->state == IN_CLOSING) {
            transfer_in_tick(in, now);
        }
    }
    LIST_FOREACH_SAFE (link, after, &transfer->ins) {
        struct transfer_in *in = CONTAINER_OF(link, struct transfer_in, link);
        if (in->state == IN_WAITING) {
            transfer_in_tick(in, now);
        }
    }
}

static void on_report(struct loop_call *call)
{
    struct transfer *transfer = CONTAINER_OF(call, struct transfer, report);
    if (transfer->stopping) {
        return;
    }
    report_ended(transfer);
    sweep(transfer, loop_now(transfer->cfg.loop));
    arm(transfer);
}

void transfer_keep_ticking(struct transfer *transfer)
{
    if (!transfer->stopping) {
        loop_defer(transfer->cfg.loop, &transfer->report, on_report);
    }
}

static void on_tick(struct loop_timer *timer)
{
    struct transfer *transfer = CONTAINER_OF(timer, struct transfer, tick);
    clk_ns now = loop_now(transfer->cfg.loop);
    LIST_FOREACH_SAFE (link, after, &transfer->outs) {
        transfer_out_tick(CONTAINER_OF(link, struct transfer_out, link), now);
    }
    LIST_FOREACH_SAFE (link, after, &transfer->ins) {
        transfer_in_tick(CONTAINER_OF(link, struct transfer_in, link), now);
    }
    transfer_keep_ticking(transfer);
}

/* ---- entry points ---------------------------------------------------------------------------- */

enum err transfer_send(struct transfer *transfer, raft_group_id group, raft_node_id to,
                       raft_index at_least)
{
    CHECK(group != 0 && to != 0);
    if (transfer->stopping) {
        return ERR_STOPPING;
    }
    LIST_FOREACH (link, &transfer->outs) {
        const struct transfer_out *out = CONTAINER_OF(link, struct transfer_out, link);
        if (out->group == group && out->to == to && !out->reported) {
            return ERR_EXISTS;
        }
    }
    if (transfer->out_count >= TRANSFER_SENDS_MAX) {
        return ERR_FULL;
    }
    struct transfer_out *out = mem_alloc(sizeof(*out));
    out->transfer = transfer;
    out->group = group;
    out->to = to;
    out->at_least = at_least;
    list_push_back(&transfer->outs, &out->link);
    transfer->out_count++;
    transfer_out_start_next(transfer, to);
    transfer_keep_ticking(transfer);
    return ERR_OK;
}

enum err transfer_frame(struct transfer *transfer, raft_node_id from, struct bytes body)
{
    struct transfer_msg msg = {.kind = TRANSFER_WAIT};
    enum err err = transfer_decode(body, &msg);
    if (err != ERR_OK || transfer->stopping) {
        return err;
    }
    if (msg.kind == TRANSFER_OFFER || msg.kind == TRANSFER_CHUNK) {
        transfer_in_frame(transfer, from, &msg);
    } else {
        transfer_out_frame(transfer, from, &msg);
    }
    return ERR_OK;
}

void transfer_peer_down(struct transfer *transfer, raft_node_id node)
{
    LIST_FOREACH_SAFE (link, after, &transfer->outs) {
        struct transfer_out *out = CONTAINER_OF(link, struct transfer_out, link);
        if (out->to == node) {
            transfer_out_end(out, ERR_CLOSED, "");
        }
    }
    LIST_FOREACH_SAFE (link, after, &transfer->ins) {
        struct transfer_in *in = CONTAINER_OF(link, struct transfer_in, link);
        if (in->from == node) {
            transfer_in_close(in);
        }
    }
}

void transfer_stop(struct transfer *transfer)
{
    CHECK(!transfer->stopping);
    transfer->stopping = true;
    loop_timer_cancel(transfer->cfg.loop, &transfer->tick);
    loop_call_cancel(&transfer->report);
    LIST_FOREACH_SAFE (link, after, &transfer->outs) {
        transfer_out_end(CONTAINER_OF(link, struct transfer_out, link), ERR_STOPPING, "");
    }
    report_ended(transfer);
}

void transfer_free(struct transfer *transfer)
{
    if (transfer == NULL) {
        return;
    }
    CHECK(transfer->stopping);
    LIST_FOREACH_SAFE (link, after, &transfer->outs) {
        transfer_out_free(CONTAINER_OF(link, struct transfer_out, link));
    }
    LIST_FOREACH_SAFE (link, after, &transfer->ins) {
        transfer_in_free(CONTAINER_OF(link, struct transfer_in, link));
    }
    mem_free(transfer);
}
