/* File operations: the half that backends share: progress over partial results, errors.
 *
 * Place: io/loop. A partial write goes on where it stopped; a partial read goes on until the end of
 * the file, so that callers see complete operations or failures only. */
#include "loop/file.h"

#include "loop/loop_priv.h"

#include <errno.h>

static bool is_sync(const struct file_op *op)
{
    return op->kind == FILE_SYNC || op->kind == FILE_SYNC_ALL;
}

void file_start(struct loop *loop, struct file_op *op)
{
    CHECK(op->fd >= 0 && op->on_done != NULL);
    CHECK(is_sync(op) || (op->iov_count > 0 && op->iov_count <= FILE_IOV_MAX));
    op->loop = loop;
    op->done = 0;
    op->os_errno = 0;
    list_init(&op->link);
    loop->active++;
    loop_count_early(loop);
    loop->ops->file_start(op);
}

static void advance_iov(struct file_op *op, size_t count)
{
    op->done += count;
    op->offset += count;
    while (op->iov_count > 0 && count >= op->iov->iov_len) {
        count -= op->iov->iov_len;
        op->iov++;
        op->iov_count--;
    }
    if (count > 0) {
        CHECK(op->iov_count > 0);
        op->iov->iov_base = (uint8_t *)op->iov->iov_base + count;
        op->iov->iov_len -= count;
    }
}

bool file_progress(struct file_op *op, long result)
{
    if (result == -EINTR || result == -EAGAIN) {
        return false;
    }
    if (result < 0) {
        op->os_errno = (int)-result;
        return true;
    }
    if (is_sync(op)) {
        return true;
    }
    advance_iov(op, (size_t)result);
    if (op->iov_count == 0) {
        return true;
    }
    if (result == 0 && op->kind != FILE_READ) {
        op->os_errno = EIO; /* a regular file takes at least one byte or says why not */
    }
    return result == 0;
}

void file_done(struct file_op *op)
{
    op->loop->active--;
    enum err err = op->os_errno == 0 ? ERR_OK : err_from_errno(op->os_errno);
    op->on_done(op, err, op->done);
}
