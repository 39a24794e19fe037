/* The epoll backend: files through one helper thread, started with the first operation.
 *
 * Place: io/loop. Operations run in the order of file_start; finished ones go back in a list and
 * the loop is woken as by any other thread. */
#include "loop/loop_epoll_priv.h"

#include <errno.h>
#include <signal.h>
#include <sys/uio.h>
#include <unistd.h>

static long run_once(const struct file_op *op)
{
    long rc = -1;
    switch (op->kind) {
    case FILE_READ:
        rc = preadv(op->fd, op->iov, op->iov_count, (off_t)op->offset);
        break;
    case FILE_WRITE:
        rc = pwritev(op->fd, op->iov, op->iov_count, (off_t)op->offset);
        break;
    case FILE_WRITE_DURABLE:
        rc = pwritev2(op->fd, op->iov, op->iov_count, (off_t)op->offset, RWF_DSYNC);
        break;
    case FILE_SYNC:
        rc = fdatasync(op->fd);
        break;
    case FILE_SYNC_ALL:
        rc = fsync(op->fd);
        break;
    }
    return rc < 0 ? -(long)errno : rc;
}

static void *files_main(void *arg)
{
    struct loop *loop = arg;
    struct epoll_files *files = &epoll_of(loop)->files;
    (void)pthread_mutex_lock(&files->lock);
    for (;;) {
        struct list *link = list_pop_front(&files->wanted);
        if (link == NULL) {
            if (files->stop) {
                break;
            }
            (void)pthread_cond_wait(&files->work, &files->lock);
            continue;
        }
        (void)pthread_mutex_unlock(&files->lock);
        struct file_op *op = CONTAINER_OF(link, struct file_op, link);
        while (!file_progress(op, run_once(op))) {
        }
        (void)pthread_mutex_lock(&files->lock);
        list_push_back(&files->finished, &op->link);
        loop_wake(loop);
    }
    (void)pthread_mutex_unlock(&files->lock);
    return NULL;
}

void epoll_files_init(struct epoll_files *files)
{
    int rc = pthread_mutex_init(&files->lock, NULL);
    CHECK(rc == 0);
    rc = pthread_cond_init(&files->work, NULL);
    CHECK(rc == 0);
    list_init(&files->wanted);
    list_init(&files->finished);
}

void epoll_files_done(struct epoll_files *files)
{
    if (files->started) {
        (void)pthread_mutex_lock(&files->lock);
        files->stop = true;
        (void)pthread_cond_signal(&files->work);
        (void)pthread_mutex_unlock(&files->lock);
        (void)pthread_join(files->thread, NULL);
    }
    (void)pthread_cond_destroy(&files->work);
    (void)pthread_mutex_destroy(&files->lock);
}

/* Signals are for the threads that ask for them. */
static void start_thread(struct loop *loop)
{
    struct epoll_files *files = &epoll_of(loop)->files;
    sigset_t all;
    sigset_t old;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&files->thread, NULL, files_main, loop);
    CHECK(rc == 0); /* as out of memory: a machine too small for the configuration */
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    files->started = true;
}

void epoll_file_start(struct file_op *op)
{
    struct epoll_files *files = &epoll_of(op->loop)->files;
    if (!files->started) {
        start_thread(op->loop);
    }
    (void)pthread_mutex_lock(&files->lock);
    list_push_back(&files->wanted, &op->link);
    (void)pthread_cond_signal(&files->work);
    (void)pthread_mutex_unlock(&files->lock);
}

void epoll_files_collect(struct loop *loop)
{
    struct epoll_files *files = &epoll_of(loop)->files;
    struct list batch;
    list_init(&batch);
    (void)pthread_mutex_lock(&files->lock);
    while (!list_empty(&files->finished)) {
        list_push_back(&batch, list_pop_front(&files->finished));
    }
    (void)pthread_mutex_unlock(&files->lock);
    struct list *link;
    while ((link = list_pop_front(&batch)) != NULL) {
        file_done(CONTAINER_OF(link, struct file_op, link));
    }
}
