/* Listeners: the half that backends share: states, back-off, callbacks.
 *
 * Place: io/loop. Accepting stops while the process has no descriptors left (EMFILE and the like):
 * the pending connection keeps the socket readable, so trying again at once would spin. */
#include "loop/loop_priv.h"
#include "loop/tcp.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static void listener_run_ready(struct loop_call *call)
{
    struct tcp_listener *listener = CONTAINER_OF(call, struct tcp_listener, ready);
    if ((listener->flags & LISTENER_CLOSING) == 0 || listener->in_flight > 0) {
        return;
    }
    (void)close(listener->fd);
    listener->loop->stats.syscalls++;
    listener->fd = -1;
    listener->loop->active--;
    listener->on_closed(listener);
}

enum err tcp_listen(struct tcp_listener *listener, struct loop *loop, const struct net_addr *addr,
                    bool reuse_port, void (*on_accept)(struct tcp_listener *listener, int fd),
                    struct err_note *note)
{
    CHECK(on_accept != NULL && addr->len > 0);
    int fd = -1;
    enum err err = net_listen(addr, reuse_port, &fd, note);
    if (err != ERR_OK) {
        return err;
    }
    memset(listener, 0, sizeof(*listener));
    listener->loop = loop;
    listener->fd = fd;
    listener->on_accept = on_accept;
    list_init(&listener->ready.link);
    listener->ready.run = listener_run_ready;
    err = loop->ops->accept_attach(listener);
    if (err != ERR_OK) {
        (void)close(fd);
        return err_note_set(note, err, "listen: the event loop takes no more descriptors");
    }
    loop->active++;
    loop_count_early(loop);
    loop->ops->accept_arm(listener);
    return ERR_OK;
}

struct net_addr tcp_listener_addr(const struct tcp_listener *listener)
{
    struct net_addr addr = {0};
    enum err err = net_local_addr(listener->fd, &addr);
    CHECK(err == ERR_OK);
    return addr;
}

bool listener_wants(const struct tcp_listener *listener)
{
    return (listener->flags & (LISTENER_PAUSED | LISTENER_BACKOFF | LISTENER_CLOSING)) == 0;
}

void tcp_listener_pause(struct tcp_listener *listener)
{
    bool wanted = listener_wants(listener);
    listener->flags |= LISTENER_PAUSED;
    if (wanted) {
        listener->loop->ops->accept_disarm(listener);
    }
}

void tcp_listener_resume(struct tcp_listener *listener)
{
    bool wanted = listener_wants(listener);
    listener->flags &= ~(uint32_t)LISTENER_PAUSED;
    if (!wanted && listener_wants(listener)) {
        listener->loop->ops->accept_arm(listener);
    }
}

static void backoff_ended(struct loop_timer *timer)
{
    struct tcp_listener *listener = CONTAINER_OF(timer, struct tcp_listener, timer);
    listener->flags &= ~(uint32_t)LISTENER_BACKOFF;
    if (listener_wants(listener)) {
        listener->loop->ops->accept_arm(listener);
    }
}

/* Errors of the connection that was to be accepted, not of accepting: accept(2), "Error
 * handling". */
static bool is_transient(int errno_value)
{
    return errno_value == ECONNABORTED || errno_value == EINTR || errno_value == EPROTO ||
           errno_value == ENETDOWN || errno_value == ENOPROTOOPT || errno_value == EHOSTDOWN ||
           errno_value == ENONET || errno_value == EHOSTUNREACH || errno_value == EOPNOTSUPP ||
           errno_value == ENETUNREACH || errno_value == EPERM || errno_value == ETIMEDOUT;
}

void listener_accepted(struct tcp_listener *listener, int fd, int errno_value)
{
    struct loop *loop = listener->loop;
    if (fd >= 0 && (listener->flags & LISTENER_CLOSING) != 0) {
        (void)close(fd);
    } else if (fd >= 0) {
        listener->on_accept(listener, fd);
    } else if (!is_transient(errno_value) && (listener->flags & LISTENER_BACKOFF) == 0) {
        loop->stats.accept_failures++;
        bool wanted = listener_wants(listener);
        listener->flags |= LISTENER_BACKOFF;
        if (wanted) {
            loop->ops->accept_disarm(listener);
        }
        loop_timer_set(loop, &listener->timer, loop->now + CLK_MS(LOOP_ACCEPT_BACKOFF_MS),
                       backoff_ended);
    }
}

void tcp_listener_close(struct tcp_listener *listener,
                        void (*on_closed)(struct tcp_listener *listener))
{
    CHECK(listener->loop != NULL && on_closed != NULL);
    CHECK((listener->flags & LISTENER_CLOSING) == 0);
    bool wanted = listener_wants(listener);
    listener->flags |= LISTENER_CLOSING;
    listener->on_closed = on_closed;
    loop_timer_cancel(listener->loop, &listener->timer);
    if (wanted) {
        listener->loop->ops->accept_disarm(listener);
    }
    loop_ready(listener->loop, &listener->ready);
}
