/* Writes and lease renewals for a request.
 *
 * Place: serve/web. A write goes through the log and is answered from this node's own apply. A
 * renewal goes to the node that owns the check. */
#ifndef WEB_WEB_WRITE_H
#define WEB_WEB_WRITE_H

#include "web/web.h"

/* Made by web_op_new. */
struct web_write {
    struct web_op op; /* private but for door and request */
    /* The state machine accepted it. Ends the request. */
    void (*done)(struct web_write *write, const struct node_result *result);
    /* The state machine refused it. Ends the request; NULL: web_refuse with its reason. */
    void (*refused)(struct web_write *write, const struct node_result *result);

    /* Private. */
    struct node_call call;
    struct node_proposal proposal;
};

/* body is copied. An err that is not ERR_OK (of an encoder) refuses the request right away. */
void web_write_start(struct web_write *write, enum err err, uint16_t kind, struct bytes body);

/* Made by web_op_new. */
struct web_renew {
    struct web_op op;        /* private but for door and request */
    struct node_lease lease; /* slices are borrowed until the end */
    /* ERR_OK; ERR_NOT_FOUND: there is certainly no such check; others as node_lease_update. Ends
     * the request. */
    void (*done)(struct web_renew *renew, enum err err);

    /* Private. */
    struct node_call call;
    struct node_lease_update update;
    struct node_reading reading;
    struct loop_timer timer;

    enum web_renew_step {
        WEB_RENEW_ASKED,
        WEB_RENEW_READING,
        WEB_RENEW_PAUSED
    } step;

    bool caught_up;
    uint32_t pauses;
    clk_ns deadline; /* for all attempts */
};

/* A check that this node does not know yet (it was registered through another one a moment ago) is
 * looked for again after catching up with the leader; one that its owner has not set up yet is
 * tried again for a moment, and one whose owner has died until it has another. */
void web_renew_start(struct web_renew *renew);

#endif
