/* The epoll backend: waiting, dispatching, watches.
 *
 * Place: io/loop. For kernels and containers without io_uring; the same promises, one system call
 * more per receive and per send. */
#include "loop/loop_epoll_priv.h"
#include "mem/mem.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum err epoll_register(struct loop *loop, int how, int fd, uint32_t events, void *object,
                        enum epoll_kind kind)
{
    struct epoll_event event = {
        .events = events,
        .data.u64 = (uint64_t)(uintptr_t)object | (uint64_t)kind << 56,
    };
    loop->stats.syscalls++;
    return epoll_ctl(epoll_of(loop)->fd, how, fd, &event) == 0 ? ERR_OK : net_err_from_errno(errno);
}

static enum err epoll_open(struct loop *loop, struct err_note *note)
{
    struct epoll_state *state = mem_alloc(sizeof(*state));
    state->fd = epoll_create1(EPOLL_CLOEXEC);
    if (state->fd < 0) {
        mem_free(state);
        return err_note_set(note, net_err_from_errno(errno), "epoll_create1: %s",
                            strerrordesc_np(errno));
    }
    state->has_pwait2 = true;
    loop->backend = state;
    epoll_files_init(&state->files);
    /* Edge-triggered and never read: each write to the eventfd is a new edge. */
    enum err err = epoll_register(loop, EPOLL_CTL_ADD, loop->wake_fd, EPOLLIN | EPOLLET, NULL,
                                  EPOLL_KIND_WAKE);
    if (err != ERR_OK) {
        (void)close(state->fd);
        epoll_files_done(&state->files);
        mem_free(state);
        loop->backend = NULL;
        return err_note_set(note, err, "epoll_ctl: %s", strerrordesc_np(errno));
    }
    return ERR_OK;
}

static void epoll_close(struct loop *loop)
{
    struct epoll_state *state = epoll_of(loop);
    epoll_files_done(&state->files);
    (void)close(state->fd);
    mem_free(state);
    loop->backend = NULL;
}

static void epoll_bind(struct loop *loop)
{
    (void)loop;
}

/* Milliseconds, rounded up: a wait that ends early would only turn once more. */
static int wait_ms(clk_ns timeout)
{
    if (timeout == CLK_NEVER) {
        return -1;
    }
    clk_ns ms = (timeout + CLK_MS(1) - 1) / CLK_MS(1);
    return ms < INT32_MAX ? (int)ms : INT32_MAX;
}

static int wait_once(struct epoll_state *state, clk_ns timeout)
{
    if (timeout != 0 && timeout != CLK_NEVER && state->has_pwait2) {
        struct timespec ts = {.tv_sec = (time_t)(timeout / CLK_S(1)),
                              .tv_nsec = (long)(timeout % CLK_S(1))};
        int count = epoll_pwait2(state->fd, state->events, EPOLL_EVENTS_MAX, &ts, NULL);
        if (count >= 0 || errno != ENOSYS) {
            return count;
        }
        state->has_pwait2 = false;
    }
    return epoll_wait(state->fd, state->events, EPOLL_EVENTS_MAX, wait_ms(timeout));
}

static void epoll_wait_turn(struct loop *loop, clk_ns timeout)
{
    struct epoll_state *state = epoll_of(loop);
    int count = wait_once(state, timeout);
    loop->stats.syscalls++;
    CHECK(count >= 0 || errno == EINTR);
    state->event_count = count > 0 ? count : 0;
}

static void epoll_dispatch(struct loop *loop)
{
    struct epoll_state *state = epoll_of(loop);
    for (int i = 0; i < state->event_count; i++) {
        uint64_t data = state->events[i].data.u64;
        void *object = (void *)(uintptr_t)(data & (UINT64_MAX >> 8));
        switch ((enum epoll_kind)(data >> 56)) {
        case EPOLL_KIND_WAKE:
            break;
        case EPOLL_KIND_CONN:
            epoll_on_conn(object, state->events[i].events);
            break;
        case EPOLL_KIND_LISTENER:
            epoll_on_listener(object);
            break;
        case EPOLL_KIND_WATCH: {
            struct loop_watch *watch = object;
            if (!watch->stopping && !watch->ended) {
                watch->on_ready(watch, ERR_OK);
            }
            break;
        }
        }
    }
    state->event_count = 0;
}

static void epoll_watch_start(struct loop_watch *watch)
{
    enum err err = epoll_register(watch->loop, EPOLL_CTL_ADD, watch->fd, EPOLLIN | EPOLLET, watch,
                                  EPOLL_KIND_WATCH);
    if (err != ERR_OK) {
        loop_watch_ended(watch, err);
    }
}

static void epoll_watch_stop(struct loop_watch *watch)
{
    enum err err =
        epoll_register(watch->loop, EPOLL_CTL_DEL, watch->fd, 0, watch, EPOLL_KIND_WATCH);
    CHECK(err == ERR_OK); /* the caller keeps fd open until the last callback */
    loop_watch_ended(watch, ERR_CANCELED);
}

const struct loop_ops loop_epoll_ops = {
    .name = "epoll",
    .open = epoll_open,
    .close = epoll_close,
    .bind = epoll_bind,
    .wait = epoll_wait_turn,
    .dispatch = epoll_dispatch,
    .collect = epoll_files_collect,
    .watch_start = epoll_watch_start,
    .watch_stop = epoll_watch_stop,
    .tcp_attach = epoll_tcp_attach,
    .tcp_connect = epoll_tcp_connect,
    .tcp_connect_cancel = epoll_tcp_connect_cancel,
    .tcp_recv = epoll_tcp_recv,
    .tcp_send = epoll_tcp_send,
    .tcp_cancel = epoll_tcp_cancel,
    .tcp_close_fd = epoll_tcp_close_fd,
    .accept_attach = epoll_accept_attach,
    .accept_arm = epoll_accept_arm,
    .accept_disarm = epoll_accept_disarm,
    .file_start = epoll_file_start,
};
