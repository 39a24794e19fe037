/* Inboxes: how one thread hands pointers to another thread's loop.
 *
 * Place: io. An inbox is a bounded queue (base/spsc) with exactly one producer thread and one
 * consumer, the loop's thread. Several producers have one inbox each. Ownership of an item goes
 * with it.
 *
 * Invariant: an item that was pushed before inbox_wake() returned is seen by an on_items call that
 * starts afterwards, or by one that is running. */
#ifndef LOOP_INBOX_H
#define LOOP_INBOX_H

#include "loop/loop.h"
#include "spsc/spsc.h"

struct loop_inbox {
    struct spsc queue;
    struct loop *loop;
    struct list link;
    void (*on_items)(struct loop_inbox *inbox);
};

/* Before the loop's first turn, or on its thread. capacity in items (rounded up to a power of two).
 * on_items runs on the loop's thread when the inbox was woken and is not empty: it should pop until
 * inbox_pop gives NULL; what it leaves is offered again in the next turn. */
void inbox_init(struct loop_inbox *inbox, struct loop *loop, size_t capacity,
                void (*on_items)(struct loop_inbox *inbox));
/* On the loop's thread, or after it ended; the producer must have stopped; the inbox must be
 * empty. */
void inbox_done(struct loop_inbox *inbox);

/* Producer: queues without waking. ERR_FULL: the item stays the caller's. item is not NULL. */
ERR_CHECKED enum err inbox_push(struct loop_inbox *inbox, void *item);
/* Producer: free slots at this moment (at least so many pushes will succeed). */
size_t inbox_room(struct loop_inbox *inbox);
/* Producer: makes the consumer look; once per batch of pushes. */
void inbox_wake(struct loop_inbox *inbox);

/* Consumer: the oldest item, owned by the caller, or NULL when empty. */
void *inbox_pop(struct loop_inbox *inbox);

#endif
