/* Inboxes between threads: a queue, a wake-up, a callback.
 *
 * Place: io. The order that inbox.h promises comes from the wake word of loop_priv.h. */
#include "loop/inbox.h"

#include "loop/loop_priv.h"

void inbox_init(struct loop_inbox *inbox, struct loop *loop, size_t capacity,
                void (*on_items)(struct loop_inbox *inbox))
{
    CHECK(capacity > 0 && on_items != NULL);
    spsc_init(&inbox->queue, capacity);
    inbox->loop = loop;
    inbox->on_items = on_items;
    list_push_back(&loop->inboxes, &inbox->link);
}

void inbox_done(struct loop_inbox *inbox)
{
    CHECK(spsc_count(&inbox->queue) == 0);
    if (inbox->loop->inbox_running == inbox) {
        inbox->loop->inbox_running = NULL;
    }
    list_remove(&inbox->link);
    spsc_done(&inbox->queue);
}

enum err inbox_push(struct loop_inbox *inbox, void *item)
{
    return spsc_push(&inbox->queue, item) ? ERR_OK : ERR_FULL;
}

size_t inbox_room(struct loop_inbox *inbox)
{
    return spsc_room(&inbox->queue);
}

void inbox_wake(struct loop_inbox *inbox)
{
    loop_wake(inbox->loop);
}

void *inbox_pop(struct loop_inbox *inbox)
{
    return spsc_pop(&inbox->queue);
}
