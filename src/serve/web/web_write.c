/* Writes and lease renewals for a request. */
#include "web/web_write.h"

#include "check/check.h"

enum {
    RENEW_PAUSE_MS = 20,
    RENEW_PAUSES_MAX = 50
};

/* One attempt, and all together: longer than it takes to give a dead owner's checks to another. */
#define RENEW_ATTEMPT  CLK_S(1)
#define RENEW_DEADLINE CLK_S(10)

/* ---- writes ---------------------------------------------------------------------------------- */

static void on_proposed(struct node_proposal *proposal, enum err err,
                        const struct node_result *result)
{
    struct web_write *write = CONTAINER_OF(proposal, struct web_write, proposal);
    web_op_end(&write->op);
    if (err != ERR_OK || result->duplicate) {
        web_refuse(write->op.door, write->op.request, err != ERR_OK ? err : ERR_UNKNOWN, NULL);
    } else if (result->verdict.err == ERR_OK) {
        write->done(write, result);
    } else if (write->refused != NULL) {
        write->refused(write, result);
    } else {
        web_refuse(write->op.door, write->op.request, result->verdict.err, "%s",
                   result->verdict.reason);
    }
}

static void cancel_write(struct web_op *op)
{
    struct web_write *write = CONTAINER_OF(op, struct web_write, op);
    node_propose_cancel(op->door->web->edge, &write->proposal);
}

void web_write_start(struct web_write *write, enum err err, uint16_t kind, struct bytes body)
{
    CHECK(write->done != NULL);
    struct web *web = write->op.door->web;
    write->op.cancel = cancel_write;
    web_op_begin(&write->op);
    write->call = web_call(write->op.request);
    write->proposal.done = on_proposed;
    if (err == ERR_OK) {
        err = node_propose(web->edge, &write->call, kind, body, &write->proposal);
    }
    if (err != ERR_OK) {
        web_op_end(&write->op);
        web_refuse(write->op.door, write->op.request, err, NULL);
    }
}

/* ---- renewals -------------------------------------------------------------------------------- */

static struct web *web_of_renew(const struct web_renew *renew)
{
    return renew->op.door->web;
}

static void ask(struct web_renew *renew);

static void on_pause_over(struct loop_timer *timer)
{
    ask(CONTAINER_OF(timer, struct web_renew, timer));
}

static void end(struct web_renew *renew, enum err err)
{
    web_op_end(&renew->op);
    renew->done(renew, err);
}

static void on_caught_up(struct node_reading *reading, enum err err,
                         const struct node_snapshot *snapshot)
{
    (void)snapshot;
    struct web_renew *renew = CONTAINER_OF(reading, struct web_renew, reading);
    if (err != ERR_OK) {
        end(renew, err);
        return;
    }
    /* Not inside the read: the renewal may read, too. */
    renew->caught_up = true;
    renew->step = WEB_RENEW_PAUSED;
    struct web *web = web_of_renew(renew);
    loop_timer_set(web->loop, &renew->timer, loop_now(web->loop), on_pause_over);
}

static void catch_up(struct web_renew *renew)
{
    struct web *web = web_of_renew(renew);
    renew->step = WEB_RENEW_READING;
    renew->reading.done = on_caught_up;
    enum err err = node_read(web->edge, &renew->call, NODE_CONSISTENT, &renew->reading);
    if (err != ERR_OK) {
        end(renew, err);
    }
}

static void on_renewed(struct node_lease_update *update, enum err err)
{
    struct web_renew *renew = CONTAINER_OF(update, struct web_renew, update);
    struct web *web = web_of_renew(renew);
    if (err == ERR_NOT_FOUND && !renew->caught_up) {
        catch_up(renew);
    } else if (err == ERR_TIMEOUT && loop_now(web->loop) < renew->deadline) {
        ask(renew); /* the owner is gone, perhaps; renewing twice is as good as once */
    } else if (err == ERR_FULL && renew->pauses < RENEW_PAUSES_MAX) {
        renew->pauses++;
        renew->step = WEB_RENEW_PAUSED;
        loop_timer_set(web->loop, &renew->timer, loop_now(web->loop) + CLK_MS(RENEW_PAUSE_MS),
                       on_pause_over);
    } else {
        end(renew, err);
    }
}

static void ask(struct web_renew *renew)
{
    renew->step = WEB_RENEW_ASKED;
    renew->update.done = on_renewed;
    struct web *web = web_of_renew(renew);
    struct node_call call = renew->call;
    call.deadline = loop_now(web->loop) + RENEW_ATTEMPT;
    enum err err = node_lease_renew(web->edge, &call, &renew->lease, &renew->update);
    if (err != ERR_OK) {
        end(renew, err);
    }
}

static void cancel_renew(struct web_op *op)
{
    struct web_renew *renew = CONTAINER_OF(op, struct web_renew, op);
    struct web *web = op->door->web;
    switch (renew->step) {
    case WEB_RENEW_ASKED:
        node_lease_cancel(web->edge, &renew->update);
        break;
    case WEB_RENEW_READING:
        node_read_cancel(web->edge, &renew->reading);
        break;
    case WEB_RENEW_PAUSED:
        loop_timer_cancel(web->loop, &renew->timer);
        break;
    default:
        CHECK(false);
    }
}

void web_renew_start(struct web_renew *renew)
{
    CHECK(renew->done != NULL);
    renew->op.cancel = cancel_renew;
    web_op_begin(&renew->op);
    renew->call = web_call(renew->op.request);
    renew->deadline = loop_now(renew->op.door->web->loop) + RENEW_DEADLINE;
    ask(renew);
}
