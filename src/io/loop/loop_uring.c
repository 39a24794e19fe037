/* The io_uring backend: the ring, one enter per turn, receive buffers, watches, files.
 *
 * Place: io/loop. Needs Linux 6.0 (multishot receive; IORING_SETUP_SINGLE_ISSUER came with it and
 * serves as the probe); from 6.1 on, completions are made only when the loop asks for them
 * (DEFER_TASKRUN). The ring is created disabled, because its one permitted submitter is the thread
 * that enables it: the loop's, in its first turn.
 *
 * Deliberately absent: registered files, zero-copy sends and polling modes: none paid for itself
 * with requests of some hundred bytes. Source: io_uring_setup(2), io_uring_enter(2), liburing
 * 2.3. */
#include "loop/loop_uring_priv.h"
#include "mem/mem.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The kernel takes chunks from its ring in the order in which it got them, so that all that it ever
 * had are touched in turn. It therefore has few, and the rest stay untouched until they are
 * needed. */
static void give_buffers(struct loop *loop)
{
    struct uring *u = uring_of(loop);
    int given = 0;
    while (u->buffers_given < u->buffers_target && loop->chunks.free_list != NULL) {
        const struct tcp_chunk *chunk = chunk_take(&loop->chunks);
        io_uring_buf_ring_add(u->buffers, chunk->data, loop->chunks.size,
                              (unsigned short)chunk->index,
                              io_uring_buf_ring_mask(loop->chunks.count), given);
        given++;
        u->buffers_given++;
    }
    if (given > 0) {
        io_uring_buf_ring_advance(u->buffers, given);
    }
}

struct tcp_chunk *uring_take_buffer(struct loop *loop, uint32_t flags)
{
    struct uring *u = uring_of(loop);
    uint32_t index = flags >> IORING_CQE_BUFFER_SHIFT;
    CHECK((flags & IORING_CQE_F_BUFFER) != 0 && index < loop->chunks.count);
    CHECK(u->buffers_given > 0);
    u->buffers_given--;
    return &loop->chunks.chunks[index];
}

void uring_want_buffers(struct loop *loop)
{
    struct uring *u = uring_of(loop);
    u->buffers_target *= 2;
    if (u->buffers_target > loop->chunks.count) {
        u->buffers_target = loop->chunks.count;
    }
}

static enum err open_buffers(struct loop *loop, struct err_note *note)
{
    struct uring *u = uring_of(loop);
    u->buffers_size = loop->chunks.count * sizeof(struct io_uring_buf);
    void *memory =
        mmap(NULL, u->buffers_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return err_note_set(note, ERR_FULL, "io_uring: no memory for the buffer ring");
    }
    u->buffers = memory;
    struct io_uring_buf_reg reg = {.ring_addr = (uint64_t)(uintptr_t)memory,
                                   .ring_entries = loop->chunks.count,
                                   .bgid = URING_BUFFER_GROUP};
    int rc = io_uring_register_buf_ring(&u->ring, &reg, 0);
    if (rc < 0) {
        return err_note_set(note, ERR_UNSUPPORTED, "io_uring: buffer rings: %s",
                            strerrordesc_np(-rc));
    }
    io_uring_buf_ring_init(u->buffers);
    u->buffers_target =
        loop->chunks.count < URING_BUFFERS_FIRST ? loop->chunks.count : URING_BUFFERS_FIRST;
    return ERR_OK;
}

static int open_ring(struct uring *u)
{
    static const unsigned modes[] = {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
                                     IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN};
    int rc = -ENOSYS;
    for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
        struct io_uring_params params = {
            .flags = modes[i] | IORING_SETUP_R_DISABLED | IORING_SETUP_SUBMIT_ALL |
                     IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
            .cq_entries = URING_CQ_ENTRIES,
        };
        rc = io_uring_queue_init_params(URING_SQ_ENTRIES, &u->ring, &params);
        if (rc != -EINVAL) {
            break;
        }
    }
    return rc;
}

static void uring_close(struct loop *loop)
{
    struct uring *u = uring_of(loop);
    io_uring_queue_exit(&u->ring);
    if (u->buffers != NULL) {
        (void)munmap(u->buffers, u->buffers_size);
    }
    mem_free(u);
    loop->backend = NULL;
}

static void watch_wake_fd(struct loop *loop)
{
    struct io_uring_sqe *sqe = uring_sqe(loop);
    /* The eventfd is never read: each write wakes the poll anew. */
    io_uring_prep_poll_multishot(sqe, loop->wake_fd, POLLIN);
    uring_tag(sqe, loop, URING_WAKE);
}

static enum err uring_open(struct loop *loop, struct err_note *note)
{
    struct uring *u = mem_alloc(sizeof(*u));
    list_init(&u->want_send);
    int rc = open_ring(u);
    if (rc < 0) {
        mem_free(u);
        enum err err = rc == -EMFILE || rc == -ENFILE || rc == -ENOMEM ? ERR_FULL : ERR_UNSUPPORTED;
        return err_note_set(note, err, "io_uring is not available: %s", strerrordesc_np(-rc));
    }
    loop->backend = u;
    enum err err = open_buffers(loop, note);
    if (err != ERR_OK) {
        uring_close(loop);
        return err;
    }
    watch_wake_fd(loop);
    return ERR_OK;
}

static void uring_bind(struct loop *loop)
{
    struct uring *u = uring_of(loop);
    /* By number: liburing 2.3 declares io_uring_enable_rings() but does not export it. */
    long rc =
        syscall(__NR_io_uring_register, u->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
    CHECK(rc == 0);
    /* Saves a descriptor look-up per enter; without it all works the same. */
    (void)io_uring_register_ring_fd(&u->ring);
    loop->stats.syscalls += 2;
}

/* --- submitting --- */

void uring_submit_now(struct loop *loop)
{
    struct uring *u = uring_of(loop);
    CHECK(loop->bound);
    int rc;
    do {
        rc = io_uring_submit(&u->ring);
        loop->stats.syscalls++;
    } while (rc == -EINTR);
    u->msgs_used = 0;
    u->iovs_used = 0;
}

struct io_uring_sqe *uring_sqe(struct loop *loop)
{
    struct uring *u = uring_of(loop);
    struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);
    if (sqe == NULL) {
        uring_submit_now(loop);
        sqe = io_uring_get_sqe(&u->ring);
        CHECK(sqe != NULL); /* the kernel takes all or is out of memory, which is fatal here */
    }
    return sqe;
}

void uring_cancel(struct loop *loop, const void *object, enum uring_kind kind)
{
    struct io_uring_sqe *sqe = uring_sqe(loop);
    io_uring_prep_cancel64(sqe, (uint64_t)(uintptr_t)object | (uint64_t)kind << 56, 0);
    uring_tag(sqe, NULL, URING_IGNORE);
}

static void uring_wait(struct loop *loop, clk_ns timeout)
{
    struct uring *u = uring_of(loop);
    uring_build_sends(loop);
    give_buffers(loop);
    int rc;
    if (timeout == 0) {
        rc = io_uring_submit_and_get_events(&u->ring);
    } else if (timeout == CLK_NEVER) {
        rc = io_uring_submit_and_wait(&u->ring, 1);
    } else {
        struct __kernel_timespec ts = {.tv_sec = (int64_t)(timeout / CLK_S(1)),
                                       .tv_nsec = (long long)(timeout % CLK_S(1))};
        struct io_uring_cqe *first = NULL;
        rc = io_uring_submit_and_wait_timeout(&u->ring, &first, 1, &ts, NULL);
    }
    loop->stats.syscalls++;
    u->msgs_used = 0;
    u->iovs_used = 0;
    /* EAGAIN, EBUSY: short of memory or of completion space; the next turn tries again. */
    CHECK(rc >= 0 || rc == -ETIME || rc == -EINTR || rc == -EAGAIN || rc == -EBUSY);
}

/* --- completions --- */

static void on_watch(struct loop_watch *watch, int res, uint32_t flags)
{
    bool more = (flags & IORING_CQE_F_MORE) != 0;
    if (res >= 0 && !watch->stopping) {
        watch->on_ready(watch, ERR_OK);
    }
    if (more) {
        return;
    }
    if (res < 0 || watch->stopping) {
        loop_watch_ended(watch, res < 0 ? net_err_from_errno(-res) : ERR_CANCELED);
    } else {
        watch->loop->ops->watch_start(watch); /* the kernel may end a multishot poll at any time */
    }
}

static void uring_file_start(struct file_op *op)
{
    struct io_uring_sqe *sqe = uring_sqe(op->loop);
    switch (op->kind) {
    case FILE_READ:
        io_uring_prep_readv(sqe, op->fd, op->iov, (unsigned)op->iov_count, op->offset);
        break;
    case FILE_WRITE:
        io_uring_prep_writev(sqe, op->fd, op->iov, (unsigned)op->iov_count, op->offset);
        break;
    case FILE_WRITE_DURABLE:
        io_uring_prep_writev2(sqe, op->fd, op->iov, (unsigned)op->iov_count, op->offset, RWF_DSYNC);
        break;
    case FILE_SYNC:
        io_uring_prep_fsync(sqe, op->fd, IORING_FSYNC_DATASYNC);
        break;
    case FILE_SYNC_ALL:
        io_uring_prep_fsync(sqe, op->fd, 0);
        break;
    }
    uring_tag(sqe, op, URING_FILE);
}

static void on_file(struct file_op *op, int res)
{
    if (file_progress(op, res)) {
        file_done(op);
    } else {
        uring_file_start(op);
    }
}

static void dispatch_one(struct loop *loop, uint64_t user_data, int res, uint32_t flags)
{
    void *object = (void *)(uintptr_t)(user_data & (UINT64_MAX >> 8));
    switch ((enum uring_kind)(user_data >> 56)) {
    case URING_IGNORE:
        break;
    case URING_WAKE:
        if ((flags & IORING_CQE_F_MORE) == 0) {
            watch_wake_fd(loop);
        }
        break;
    case URING_RECV:
        uring_on_recv(object, res, flags);
        break;
    case URING_SEND:
        uring_on_send(object, res);
        break;
    case URING_CONNECT:
        uring_on_connect(object, res);
        break;
    case URING_CONN_CANCEL:
        uring_on_conn_cancel(object);
        break;
    case URING_CLOSE:
        uring_on_close(object);
        break;
    case URING_ACCEPT:
        uring_on_accept(object, res, flags);
        break;
    case URING_WATCH:
        on_watch(object, res, flags);
        break;
    case URING_FILE:
        on_file(object, res);
        break;
    }
}

static void uring_dispatch(struct loop *loop)
{
    struct uring *u = uring_of(loop);
    /* Those that are there now: callbacks may cause new ones, which belong to the next turn. */
    unsigned count = io_uring_cq_ready(&u->ring);
    unsigned done = 0;
    unsigned head;
    struct io_uring_cqe *cqe;
    io_uring_for_each_cqe(&u->ring, head, cqe)
    {
        if (done == count) {
            break;
        }
        done++;
        dispatch_one(loop, cqe->user_data, cqe->res, cqe->flags);
    }
    io_uring_cq_advance(&u->ring, done);
}

static void uring_watch_start(struct loop_watch *watch)
{
    struct io_uring_sqe *sqe = uring_sqe(watch->loop);
    io_uring_prep_poll_multishot(sqe, watch->fd, POLLIN);
    uring_tag(sqe, watch, URING_WATCH);
}

static void uring_watch_stop(struct loop_watch *watch)
{
    uring_cancel(watch->loop, watch, URING_WATCH);
}

const struct loop_ops loop_uring_ops = {
    .name = "io_uring",
    .open = uring_open,
    .close = uring_close,
    .bind = uring_bind,
    .wait = uring_wait,
    .dispatch = uring_dispatch,
    .collect = NULL,
    .watch_start = uring_watch_start,
    .watch_stop = uring_watch_stop,
    .tcp_attach = uring_tcp_attach,
    .tcp_connect = uring_tcp_connect,
    .tcp_connect_cancel = uring_tcp_connect_cancel,
    .tcp_recv = uring_tcp_recv,
    .tcp_send = uring_tcp_send,
    .tcp_cancel = uring_tcp_cancel,
    .tcp_close_fd = uring_tcp_close_fd,
    .accept_attach = uring_accept_attach,
    .accept_arm = uring_accept_arm,
    .accept_disarm = uring_accept_disarm,
    .file_start = uring_file_start,
};
