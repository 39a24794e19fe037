/* Inside of the epoll backend: its state and the kinds of registrations.
 *
 * Place: io/loop, private to loop_epoll*.c. Connections are registered once, edge-triggered, for
 * both directions: no epoll_ctl afterwards but the one that removes them. An event carries the
 * object's address with its kind in the upper byte; an object stays where it is until the turn
 * after its registration was removed. */
#ifndef LOOP_LOOP_EPOLL_PRIV_H
#define LOOP_LOOP_EPOLL_PRIV_H

#include "loop/loop_priv.h"

#include <pthread.h>
#include <sys/epoll.h>

enum {
    EPOLL_EVENTS_MAX = 256, /* per turn; the rest comes in the next */
    EPOLL_READS_MAX = 4,    /* chunks per connection and round: others have their turn */
    EPOLL_ACCEPTS_MAX = 16, /* per listener and turn */
};

enum epoll_kind {
    EPOLL_KIND_WAKE,
    EPOLL_KIND_CONN,
    EPOLL_KIND_LISTENER,
    EPOLL_KIND_WATCH
};

/* The helper thread for files: two lists under one lock. */
struct epoll_files {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct list wanted;   /* struct file_op */
    struct list finished; /* struct file_op */
    bool started;
    bool stop;
};

struct epoll_state {
    int fd;
    int event_count;
    bool has_pwait2; /* waits in nanoseconds: Linux 5.11 */
    struct epoll_files files;
    struct epoll_event events[EPOLL_EVENTS_MAX];
};

static inline struct epoll_state *epoll_of(struct loop *loop)
{
    return loop->backend;
}

/* EPOLL_CTL_ADD, MOD or DEL. */
ERR_CHECKED enum err epoll_register(struct loop *loop, int how, int fd, uint32_t events,
                                    void *object, enum epoll_kind kind);

/* loop_epoll_tcp.c */
void epoll_on_conn(struct tcp_conn *conn, uint32_t events);
void epoll_on_listener(struct tcp_listener *listener);
void epoll_tcp_attach(struct tcp_conn *conn);
void epoll_tcp_connect(struct tcp_conn *conn);
void epoll_tcp_connect_cancel(struct tcp_conn *conn);
void epoll_tcp_recv(struct tcp_conn *conn);
void epoll_tcp_send(struct tcp_conn *conn);
void epoll_tcp_cancel(struct tcp_conn *conn);
void epoll_tcp_close_fd(struct tcp_conn *conn);
enum err epoll_accept_attach(struct tcp_listener *listener);
void epoll_accept_arm(struct tcp_listener *listener);
void epoll_accept_disarm(struct tcp_listener *listener);

/* loop_epoll_file.c */
void epoll_files_init(struct epoll_files *files);
void epoll_files_done(struct epoll_files *files);
void epoll_files_collect(struct loop *loop);
void epoll_file_start(struct file_op *op);

#endif
