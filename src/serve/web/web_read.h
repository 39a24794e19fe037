/* Reads for a request, with blocking: answer now, or when something has changed, or when the client
 * has waited long enough.
 *
 * Place: serve/web.
 *
 *   start --> watch topics (if it may wait) --> node_read --> index() <= min_index? --no-->
 *   answer()
 *                                                                 | yes
 *                  +-- change, time over, changes lost <-- waits <+
 *                  v
 *   one stale read per turn for all that are due --> index() again --> answer() or wait on
 *
 * After a wake the local state is enough even for consistent reads: it is at least as new as what
 * the first, linearizable read saw, and state only grows; so the answer shows a state that was
 * current at some moment between the request and the answer. */
#ifndef WEB_WEB_READ_H
#define WEB_WEB_READ_H

#include "web/web.h"

enum {
    WEB_TOPICS_MAX = 3
};

/* What a waiting read hangs on; key is borrowed until the answer. */
struct web_topic {
    enum table_id table;
    struct bytes key;
    bool prefix;
};

/* Private. */
struct web_topic_watch {
    struct node_watch watch;
    struct web_read *read;
};

/* Made by web_op_new. */
struct web_read {
    struct web_op op; /* private but for door and request */

    /* Set by the door. */
    enum node_consistency consistency;
    uint64_t min_index; /* answer only when the index is above; 0: at once */
    uint64_t wait_ms;   /* then answer anyway */
    struct web_topic topics[WEB_TOPICS_MAX];
    size_t topic_count;
    /* What the client compares, > 0. NULL: this read never waits. */
    enum err (*index)(struct web_read *read, struct table_txn *txn, uint64_t *ret_index);
    /* Ends the request (so the read is gone, too). index: as above, 0 when there is none. */
    void (*answer)(struct web_read *read, const struct node_snapshot *snapshot, uint64_t index);

    /* Private. */
    struct node_call call;
    struct node_reading reading;
    struct web_topic_watch watches[WEB_TOPICS_MAX];
    size_t watch_count;
    struct loop_timer timer;
    struct list wait_link;
    struct list due_link;
    uint64_t told; /* index of the last change that it was told of */
    bool waits;
    bool expired;
};

/* Everything else follows by callbacks, perhaps before it returns. */
void web_read_start(struct web_read *read);

/* Private to serve/web. */
void web_waits_init(struct web *web);
void web_waits_done(struct web *web);

#endif
