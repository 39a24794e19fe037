/* The event loop: start an operation, get its completion; one loop per thread, two backends.
 *
 * Place: io. Everything that waits (sockets, files, timers, children, other threads) waits here.
 * The backend is io_uring where the kernel allows it (6.0 and later) and epoll elsewhere; callers
 * cannot tell but by loop_backend_name(). Companion headers: loop/tcp.h, loop/file.h, loop/inbox.h.
 *
 * One turn:  submit and wait -> clock -> completions -> inboxes -> due timers
 *            -> (queued completions, deferred calls) until quiet or 8 rounds -> turn hooks
 *
 * Invariants (they hold for every operation of this directory):
 *   1. Request structs lie in the caller's memory; from start to completion they belong to the loop
 *      and must not move. Zero-initialising a struct is enough before its first use.
 *   2. Every started operation completes exactly once, by its callback; one that is cancelled
 *      completes with ERR_CANCELED. Timers, deferred calls and hooks are the exception: their
 *      cancel is immediate and silent.
 *   3. No callback runs inside the function that starts or cancels: always later, from the loop, on
 *      the loop's thread, often in the same turn. A callback may call every function of every
 *      object.
 *   4. A loop belongs to the thread that runs its first turn. Before that turn the creator may
 *      start up to LOOP_EARLY_OPS_MAX operations; afterwards only loop_wake(), loop_stop() and the
 *      producer's side of inboxes may be called from other threads.
 *   5. Once warm, a turn allocates nothing. */
#ifndef LOOP_LOOP_H
#define LOOP_LOOP_H

#include "bytes/bytes.h"
#include "clk/clk.h"
#include "err/err.h"
#include "heap/heap.h"
#include "list/list.h"
#include "rnd/rnd.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;

enum loop_backend {
    LOOP_BACKEND_AUTO, /* io_uring when the kernel permits it, else epoll */
    LOOP_BACKEND_URING,
    LOOP_BACKEND_EPOLL,
};

enum {
    LOOP_EARLY_OPS_MAX = 500
};

struct loop_config {
    enum loop_backend backend;
    uint64_t seed; /* of loop_rnd() */
    /* Receive buffers, shared by all connections: how many (a power of two; 0 means 128) and
     * of how many bytes (0 means 16 KiB). */
    uint32_t recv_chunks;
    uint32_t recv_chunk_size;
};

/* Counters since loop_new, for metrics and benches. */
struct loop_stats {
    uint64_t turns;
    uint64_t syscalls;        /* all that the loop made itself, on its thread */
    uint64_t wakes_written;   /* eventfd writes by other threads (others were coalesced) */
    uint64_t accept_failures; /* EMFILE and the like: accepting paused for 100 ms each time */
};

/* Makes a loop, owned by the caller. ERR_UNSUPPORTED: LOOP_BACKEND_URING was asked for and this
 * kernel or container forbids it (the note says why); ERR_FULL: no file descriptors; ERR_IO. */
ERR_CHECKED enum err loop_new(const struct loop_config *config, struct loop **ret_loop,
                              struct err_note *note);
/* Every operation must have completed (checked: loop_active_count() is 0). Accepts NULL. */
void loop_free(struct loop *loop);

/* Turns until loop_stop() is called; a stop that came before the call counts. */
void loop_run(struct loop *loop);
/* Any thread: loop_run returns at the end of the current turn. */
void loop_stop(struct loop *loop);
/* One turn; waits for at most max_wait when there is nothing to do (0: does not wait). */
void loop_turn(struct loop *loop, clk_ns max_wait);

/* The monotonic clock, read once per turn. */
clk_ns loop_now(const struct loop *loop);
/* The wall clock, read at most once per turn. */
clk_ms loop_wall_ms(struct loop *loop);
/* "io_uring" or "epoll"; borrowed for ever. */
const char *loop_backend_name(const struct loop *loop);
/* "auto", "uring" (or "io_uring"), "epoll"; else ERR_BAD_INPUT. */
ERR_CHECKED enum err loop_backend_parse(struct bytes text, enum loop_backend *ret_backend);
/* Random numbers of this thread, for jitter and balancing; not for secrets. */
struct rnd *loop_rnd(struct loop *loop);
struct loop_stats loop_stats(const struct loop *loop);
/* Operations and open objects that the loop still holds (timers, calls, hooks, inboxes do not
 * count). */
size_t loop_active_count(const struct loop *loop);

/* --- timers: fire once, at or after their time, in order of time, then of setting --- */

struct loop_timer {
    struct heap_node node;
    void (*on_fire)(struct loop_timer *timer);
};

/* Sets or moves; on_fire is called once. `at` is in loop_now()'s clock; a past time fires in this
 * or the next turn. Must be cancelled or have fired before its memory goes. */
void loop_timer_set(struct loop *loop, struct loop_timer *timer, clk_ns at,
                    void (*on_fire)(struct loop_timer *timer));
/* Does nothing when it is not set. on_fire will not be called. */
void loop_timer_cancel(struct loop *loop, struct loop_timer *timer);

static inline bool loop_timer_is_set(const struct loop_timer *timer)
{
    return heap_linked(&timer->node);
}

/* --- deferred calls and hooks: work batched per turn --- */

struct loop_call {
    struct list link;
    void (*run)(struct loop_call *call);
};

/* Runs once, after this turn's completions and timers; a call that is deferred already stays as it
 * is. */
void loop_defer(struct loop *loop, struct loop_call *call, void (*run)(struct loop_call *call));
/* Does nothing when it is not deferred. */
void loop_call_cancel(struct loop_call *call);

struct loop_hook {
    struct list link;
    void (*on_turn_end)(struct loop_hook *hook);
};

/* Called at the end of every turn, last, in order of adding. */
void loop_hook_add(struct loop *loop, struct loop_hook *hook,
                   void (*on_turn_end)(struct loop_hook *hook));
void loop_hook_remove(struct loop_hook *hook);

/* --- readiness of foreign descriptors: pidfd, signalfd, UDP sockets --- */

struct loop_watch {
    /* Private to the loop. */
    struct loop_call ready;
    struct loop *loop;
    int fd;
    uint8_t err; /* of the last callback, once ended */
    bool stopping;
    bool ended;
    void (*on_ready)(struct loop_watch *watch, enum err err);
};

/* Calls on_ready(ERR_OK) whenever fd becomes readable: the callee reads until EAGAIN. fd stays the
 * caller's, is non-blocking, and must stay open until the last callback. A failure to watch comes
 * as on_ready(ERR_IO or ERR_FULL), the last callback. */
void loop_watch_start(struct loop *loop, struct loop_watch *watch, int fd,
                      void (*on_ready)(struct loop_watch *watch, enum err err));
/* The last callback is on_ready(ERR_CANCELED); then the memory and fd are free. Once only, and not
 * after a failure. */
void loop_watch_stop(struct loop_watch *watch);

/* --- other threads --- */

/* Any thread: makes the loop turn. Many calls before the loop wakes cost one write(2) together, and
 * none when the loop is awake. */
void loop_wake(struct loop *loop);

#endif
