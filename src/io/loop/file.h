/* Asynchronous file operations on the loop: read, write, fdatasync, fsync.
 *
 * Place: io. On io_uring they go through the ring, on epoll through one helper thread; completions
 * come on the loop's thread. Opening, creating, allocating and renaming are blocking calls that
 * their owners make themselves, not on edge or core threads under load. See loop/loop.h for
 * ownership.
 *
 * Operations are independent: two that are under way at once may take effect in any order. Who
 * needs order waits for the first one's completion, or uses FILE_WRITE_DURABLE. They cannot be
 * cancelled. */
#ifndef LOOP_FILE_H
#define LOOP_FILE_H

#include "loop/loop.h"

#include <sys/uio.h>

enum file_op_kind {
    FILE_READ,
    FILE_WRITE,
    /* write, and then all of it is on the disk, as by fdatasync of this range */
    FILE_WRITE_DURABLE,
    FILE_SYNC,     /* fdatasync: everything written to the file before file_start */
    FILE_SYNC_ALL, /* fsync, metadata too: what the descriptor of a directory needs */
};

enum {
    FILE_IOV_MAX = 1024
};

struct file_op {
    /* Set by the caller before file_start. */
    enum file_op_kind kind;
    int fd;          /* stays the caller's, open until on_done */
    uint64_t offset; /* bytes from the start of the file */
    /* Slices borrowed until on_done, changed by the loop; not for the syncs. */
    struct iovec *iov;
    int iov_count; /* 1 to FILE_IOV_MAX */
    /* bytes: how many were read or written in all. A write is complete or failed: ERR_NO_SPACE,
     * ERR_IO, ... A read that ends early met the end of the file, with ERR_OK. os_errno below tells
     * more. */
    void (*on_done)(struct file_op *op, enum err err, size_t bytes);

    int os_errno; /* set before on_done: 0, or the errno behind err */

    /* Private to the loop. */
    struct list link;
    struct loop *loop;
    size_t done;
};

/* Starts op; it belongs to the loop until on_done. */
void file_start(struct loop *loop, struct file_op *op);

#endif
