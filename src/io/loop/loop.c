/* The loop's turn, timers, deferred calls, hooks, watches and wake-ups: the half that backends
 * share.
 *
 * Place: io. loop.h gives the order of a turn, loop_priv.h the sleep and wake protocol. */
#include "loop/loop.h"

#include "loop/loop_priv.h"
#include "mem/mem.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

static clk_ns read_clock(void)
{
    struct timespec ts;
    int rc = clock_gettime(CLOCK_MONOTONIC, &ts);
    CHECK(rc == 0);
    return CLK_S(ts.tv_sec) + (clk_ns)ts.tv_nsec;
}

static enum err open_backend(struct loop *loop, enum loop_backend wanted, struct err_note *note)
{
    if (wanted != LOOP_BACKEND_EPOLL) {
        loop->ops = &loop_uring_ops;
        enum err err = loop->ops->open(loop, note);
        if (err == ERR_OK || wanted == LOOP_BACKEND_URING) {
            return err;
        }
    }
    loop->ops = &loop_epoll_ops;
    return loop->ops->open(loop, note);
}

static void loop_discard(struct loop *loop)
{
    chunk_pool_done(&loop->chunks);
    if (loop->wake_fd >= 0) {
        (void)close(loop->wake_fd);
    }
    heap_done(&loop->timers);
    mem_free(loop);
}

enum err loop_new(const struct loop_config *config, struct loop **ret_loop, struct err_note *note)
{
    CHECK(config != NULL && ret_loop != NULL);
    CHECK((config->recv_chunks & (config->recv_chunks - 1)) == 0 && config->recv_chunks <= 32768);
    struct loop *loop = mem_alloc_aligned(64, sizeof(*loop));
    heap_init(&loop->timers);
    list_init(&loop->ready);
    list_init(&loop->deferred);
    list_init(&loop->hooks);
    list_init(&loop->inboxes);
    rnd_init(&loop->rnd, config->seed);
    loop->now = read_clock();
    uint32_t chunks = config->recv_chunks != 0 ? config->recv_chunks : LOOP_CHUNKS_DEFAULT;
    uint32_t size =
        config->recv_chunk_size != 0 ? config->recv_chunk_size : LOOP_CHUNK_SIZE_DEFAULT;
    enum err err = ERR_OK;
    loop->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (loop->wake_fd < 0) {
        err = err_note_set(note, net_err_from_errno(errno), "eventfd: %s", strerrordesc_np(errno));
    }
    if (err == ERR_OK) {
        err = chunk_pool_init(&loop->chunks, chunks, size);
    }
    if (err == ERR_OK) {
        err = open_backend(loop, config->backend, note);
    }
    if (err != ERR_OK) {
        loop_discard(loop);
        return err_note_wrap(note, err, "event loop");
    }
    *ret_loop = loop;
    return ERR_OK;
}

void loop_free(struct loop *loop)
{
    if (loop == NULL) {
        return;
    }
    CHECK(loop->active == 0);
    CHECK(loop->chunks.kept == 0 && loop->chunks.kept_heap == 0);
    loop->ops->close(loop);
    loop_discard(loop);
}

const char *loop_backend_name(const struct loop *loop)
{
    return loop->ops->name;
}

enum err loop_backend_parse(struct bytes text, enum loop_backend *ret_backend)
{
    if (bytes_eq_str(text, "auto")) {
        *ret_backend = LOOP_BACKEND_AUTO;
    } else if (bytes_eq_str(text, "uring") || bytes_eq_str(text, "io_uring")) {
        *ret_backend = LOOP_BACKEND_URING;
    } else if (bytes_eq_str(text, "epoll")) {
        *ret_backend = LOOP_BACKEND_EPOLL;
    } else {
        return ERR_BAD_INPUT;
    }
    return ERR_OK;
}

clk_ns loop_now(const struct loop *loop)
{
    return loop->now;
}

clk_ms loop_wall_ms(struct loop *loop)
{
    if (loop->wall_ms == 0) {
        struct timespec ts;
        int rc = clock_gettime(CLOCK_REALTIME, &ts);
        CHECK(rc == 0);
        loop->wall_ms = (clk_ms)ts.tv_sec * 1000u + (clk_ms)ts.tv_nsec / 1000000u;
    }
    return loop->wall_ms;
}

struct rnd *loop_rnd(struct loop *loop)
{
    return &loop->rnd;
}

struct loop_stats loop_stats(const struct loop *loop)
{
    struct loop_stats stats = loop->stats;
    stats.wakes_written = atomic_load_explicit(&loop->wakes_written, memory_order_relaxed);
    return stats;
}

size_t loop_active_count(const struct loop *loop)
{
    return loop->active;
}

void loop_count_early(struct loop *loop)
{
    if (!loop->bound) {
        loop->early_ops++;
        CHECK(loop->early_ops <= LOOP_EARLY_OPS_MAX);
    }
}

/* --- the turn --- */

/* Moves all links of `from` (not empty) to the uninitialised head `to`. */
static void list_take_all(struct list *to, struct list *from)
{
    *to = *from;
    to->next->prev = to;
    to->prev->next = to;
    list_init(from);
}

static void run_calls(struct list *calls)
{
    if (list_empty(calls)) {
        return;
    }
    struct list batch;
    list_take_all(&batch, calls);
    struct list *link;
    while ((link = list_pop_front(&batch)) != NULL) {
        struct loop_call *call = CONTAINER_OF(link, struct loop_call, link);
        call->run(call);
    }
}

/* Each hook goes back to its list before it is called, so that hooks may remove any hook. */
static void run_hooks(struct loop *loop)
{
    if (list_empty(&loop->hooks)) {
        return;
    }
    struct list batch;
    list_take_all(&batch, &loop->hooks);
    struct list *link;
    while ((link = list_pop_front(&batch)) != NULL) {
        list_push_back(&loop->hooks, link);
        struct loop_hook *hook = CONTAINER_OF(link, struct loop_hook, link);
        hook->on_turn_end(hook);
    }
}

static void run_inboxes(struct loop *loop)
{
    loop->inbox_left = false;
    if (list_empty(&loop->inboxes)) {
        return;
    }
    struct list batch;
    list_take_all(&batch, &loop->inboxes);
    struct list *link;
    while ((link = list_pop_front(&batch)) != NULL) {
        list_push_back(&loop->inboxes, link);
        struct loop_inbox *inbox = CONTAINER_OF(link, struct loop_inbox, link);
        if (spsc_count(&inbox->queue) > 0) {
            loop->inbox_running = inbox;
            inbox->on_items(inbox);
            loop->inbox_left |= loop->inbox_running != NULL && spsc_count(&inbox->queue) > 0;
            loop->inbox_running = NULL;
        }
    }
}

/* Timers that are set by timers of this turn wait for the next one: no endless turn. */
static void run_timers(struct loop *loop)
{
    uint64_t first_new = loop->timers.next_order;
    struct heap_node *node;
    while ((node = heap_min(&loop->timers)) != NULL && node->key <= loop->now &&
           node->order < first_new) {
        heap_remove(&loop->timers, node);
        struct loop_timer *timer = CONTAINER_OF(node, struct loop_timer, node);
        timer->on_fire(timer);
    }
}

static clk_ns wait_time(struct loop *loop, clk_ns max_wait)
{
    if (max_wait == 0 || !list_empty(&loop->ready) || !list_empty(&loop->deferred) ||
        loop->inbox_left || atomic_load_explicit(&loop->stop, memory_order_relaxed)) {
        return 0;
    }
    const struct heap_node *node = heap_min(&loop->timers);
    if (node == NULL || node->key == CLK_NEVER) {
        return max_wait;
    }
    /* The turn itself took time: a sleep measured from its start would end late. */
    clk_ns now = read_clock();
    clk_ns left = node->key > now ? node->key - now : 0;
    return left < max_wait ? left : max_wait;
}

void loop_turn(struct loop *loop, clk_ns max_wait)
{
    if (!loop->bound) {
        loop->ops->bind(loop);
        loop->bound = true;
    }
    loop->stats.turns++;
    clk_ns timeout = wait_time(loop, max_wait);
    if (timeout > 0) {
        int expected = LOOP_AWAKE;
        if (!atomic_compare_exchange_strong(&loop->wake_state, &expected, LOOP_SLEEPING)) {
            timeout = 0;
        }
    }
    loop->ops->wait(loop, timeout);
    bool notified = false;
    if (atomic_load_explicit(&loop->wake_state, memory_order_relaxed) != LOOP_AWAKE) {
        notified = atomic_exchange(&loop->wake_state, LOOP_AWAKE) == LOOP_NOTIFIED;
    }
    loop->now = read_clock();
    loop->wall_ms = 0;
    loop->ops->dispatch(loop);
    if (notified && loop->ops->collect != NULL) {
        loop->ops->collect(loop);
    }
    if (notified || loop->inbox_left) {
        run_inboxes(loop);
    }
    run_timers(loop);
    for (int round = 0; round < LOOP_ROUNDS_MAX; round++) {
        if (list_empty(&loop->ready) && list_empty(&loop->deferred)) {
            break;
        }
        run_calls(&loop->ready);
        run_calls(&loop->deferred);
    }
    run_hooks(loop);
}

void loop_run(struct loop *loop)
{
    while (!atomic_load_explicit(&loop->stop, memory_order_acquire)) {
        loop_turn(loop, CLK_NEVER);
    }
    atomic_store(&loop->stop, false);
}

void loop_stop(struct loop *loop)
{
    atomic_store_explicit(&loop->stop, true, memory_order_release);
    loop_wake(loop);
}

void loop_wake(struct loop *loop)
{
    /* Nearly always NOTIFIED or AWAKE under load; only the step from SLEEPING costs a system
     * call. */
    if (atomic_exchange(&loop->wake_state, LOOP_NOTIFIED) != LOOP_SLEEPING) {
        return;
    }
    const uint64_t one = 1;
    ssize_t rc;
    do {
        rc = write(loop->wake_fd, &one, sizeof(one));
    } while (rc < 0 && errno == EINTR);
    /* EAGAIN: the counter is at its limit after 2^64 wakes nobody read; the poll is pending
     * then. */
    CHECK(rc == (ssize_t)sizeof(one) || errno == EAGAIN);
    atomic_fetch_add_explicit(&loop->wakes_written, 1, memory_order_relaxed);
}

/* --- timers, deferred calls, hooks --- */

void loop_timer_set(struct loop *loop, struct loop_timer *timer, clk_ns at,
                    void (*on_fire)(struct loop_timer *timer))
{
    CHECK(on_fire != NULL);
    timer->on_fire = on_fire;
    heap_set(&loop->timers, &timer->node, at);
}

void loop_timer_cancel(struct loop *loop, struct loop_timer *timer)
{
    heap_remove(&loop->timers, &timer->node);
}

/* A zeroed link counts as unlinked: request structs need no init call. */
static bool link_is_idle(const struct list *link)
{
    return link->next == NULL || !list_linked(link);
}

void loop_defer(struct loop *loop, struct loop_call *call, void (*run)(struct loop_call *call))
{
    CHECK(run != NULL);
    if (link_is_idle(&call->link)) {
        call->run = run;
        list_push_back(&loop->deferred, &call->link);
    }
}

void loop_call_cancel(struct loop_call *call)
{
    if (!link_is_idle(&call->link)) {
        list_remove(&call->link);
    }
}

void loop_hook_add(struct loop *loop, struct loop_hook *hook,
                   void (*on_turn_end)(struct loop_hook *hook))
{
    CHECK(on_turn_end != NULL);
    CHECK(link_is_idle(&hook->link));
    hook->on_turn_end = on_turn_end;
    list_push_back(&loop->hooks, &hook->link);
}

void loop_hook_remove(struct loop_hook *hook)
{
    if (!link_is_idle(&hook->link)) {
        list_remove(&hook->link);
    }
}

/* --- watches --- */

static void watch_run(struct loop_call *call)
{
    struct loop_watch *watch = CONTAINER_OF(call, struct loop_watch, ready);
    CHECK(watch->ended);
    watch->loop->active--;
    watch->on_ready(watch, (enum err)watch->err);
}

void loop_watch_ended(struct loop_watch *watch, enum err err)
{
    if (!watch->ended) {
        watch->ended = true;
        watch->err = (uint8_t)(watch->stopping ? ERR_CANCELED : err);
        loop_ready(watch->loop, &watch->ready);
    }
}

void loop_watch_start(struct loop *loop, struct loop_watch *watch, int fd,
                      void (*on_ready)(struct loop_watch *watch, enum err err))
{
    CHECK(fd >= 0 && on_ready != NULL);
    *watch = (struct loop_watch){.loop = loop, .fd = fd, .on_ready = on_ready};
    list_init(&watch->ready.link);
    watch->ready.run = watch_run;
    loop->active++;
    loop_count_early(loop);
    loop->ops->watch_start(watch);
}

void loop_watch_stop(struct loop_watch *watch)
{
    CHECK(watch->loop != NULL && !watch->stopping);
    watch->stopping = true;
    if (watch->ended) {
        watch->err = ERR_CANCELED; /* it failed, and the callback has not run yet */
    } else {
        watch->loop->ops->watch_stop(watch);
    }
}
