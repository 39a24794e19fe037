/* One directory of files, as the write-ahead log and the identity need it: a small interface with
 * two implementations, disk_loop.c (the real one, on io/loop) and tests/lib/mem_disk.c (memory,
 * with faults).
 *
 * Place: io. Operations are of two kinds. Blocking ones are for start and stop, and, where they say
 * so, short enough for the core thread. The others are started and complete by callback on the
 * owner's thread, never inside disk_start.
 *
 * What an implementation promises, and no more:
 *   1. Written bytes survive a crash for certain only after a later DISK_SYNC (or their own
 *      DISK_WRITE_DURABLE) completed with ERR_OK; before that any part of them may survive, by
 *      sectors of 512 bytes.
 *   2. Names (create, rename, remove) survive for certain only after DISK_SYNC_DIR or
 *      disk_sync_dir.
 *   3. Operations under way at once may take effect in any order.
 *   4. After a failed write or sync the file's unsynced bytes are unknown, and syncing again proves
 *      nothing: the error is final for the file's owner. */
#ifndef DISK_DISK_H
#define DISK_DISK_H

#include "bytes/bytes.h"
#include "err/err.h"
#include "loop/file.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    DISK_NAME_MAX = 64, /* with the terminating zero */
    DISK_SECTOR_BYTES = 512
};

struct disk_ops;

/* Base of every implementation. */
struct disk {
    const struct disk_ops *ops;
};

/* An open file; implementations extend it. The name is what it was opened as, or renamed to. */
struct disk_file {
    struct disk *disk;
    char name[DISK_NAME_MAX];
};

enum disk_op_kind {
    DISK_READ,
    DISK_WRITE,
    DISK_WRITE_DURABLE, /* write, then these bytes are durable; earlier ones need not be */
    DISK_SYNC,          /* fdatasync: everything written to the file before disk_start */
    DISK_SYNC_DIR,      /* fsync of the directory: its names; file is not used */
};

/* One asynchronous operation, in its owner's memory, which must not move until on_done. */
struct disk_op {
    /* Set by the caller before disk_start. */
    enum disk_op_kind kind;
    struct disk_file *file; /* open until on_done */
    uint64_t offset;
    struct iovec *iov; /* borrowed until on_done; may be changed meanwhile */
    int iov_count;
    /* bytes: how many were read or written in all. A write is complete or failed: ERR_NO_SPACE,
     * ERR_IO. A read that ends early met the end of the file, with ERR_OK. os_errno tells more. */
    void (*on_done)(struct disk_op *op, enum err err, size_t bytes);

    int os_errno; /* set before on_done: 0, or the errno behind err */

    /* Private to the implementation. */
    struct file_op file_op;
    struct list link;
    struct disk *disk;
};

/* Called for each file of the directory, in no order; name is borrowed during the call. */
typedef void disk_list_fn(void *context, const char *name);

/* What an implementation provides; described at the functions below. */
struct disk_ops {
    enum err (*list)(struct disk *disk, disk_list_fn *each, void *context, struct err_note *note);
    enum err (*open)(struct disk *disk, const char *name, bool create, struct disk_file **ret_file,
                     struct err_note *note);
    void (*close)(struct disk_file *file);
    enum err (*size)(struct disk_file *file, uint64_t *ret_bytes, struct err_note *note);
    enum err (*read)(struct disk_file *file, uint64_t offset, void *dest, size_t size,
                     size_t *ret_got, struct err_note *note);
    enum err (*write)(struct disk_file *file, uint64_t offset, struct bytes from,
                      struct err_note *note);
    enum err (*sync)(struct disk_file *file, struct err_note *note);
    enum err (*remove)(struct disk *disk, const char *name, struct err_note *note);
    enum err (*rename)(struct disk *disk, struct disk_file *file, const char *to,
                       struct err_note *note);
    enum err (*sync_dir)(struct disk *disk, struct err_note *note);
    void (*start)(struct disk *disk, struct disk_op *op);
};

/* ---- blocking: start, stop and tools; all notes name the file and the errno ------------------ */

/* Directories and names longer than DISK_NAME_MAX are passed over. ERR_IO. */
ERR_CHECKED enum err disk_list(struct disk *disk, disk_list_fn *each, void *context,
                               struct err_note *note);
/* Opens an existing file for reading and writing; owned by the caller. ERR_NOT_FOUND, ERR_DENIED,
 * ERR_IO. */
ERR_CHECKED enum err disk_open(struct disk *disk, const char *name, struct disk_file **ret_file,
                               struct err_note *note);
/* Makes an empty file (0600); short. ERR_EXISTS, ERR_DENIED, ERR_NO_SPACE, ERR_FULL (descriptors),
 * ERR_IO. */
ERR_CHECKED enum err disk_create(struct disk *disk, const char *name, struct disk_file **ret_file,
                                 struct err_note *note);
/* disk_create, then size_bytes of zeros, synced: later writes inside it need no new space. The name
 * is durable only after disk_sync_dir. On failure no file remains. */
ERR_CHECKED enum err disk_create_filled(struct disk *disk, const char *name, uint64_t size_bytes,
                                        struct disk_file **ret_file, struct err_note *note);
/* Short. Accepts NULL; no operation of the file may be under way. */
void disk_close(struct disk_file *file);
ERR_CHECKED enum err disk_size(struct disk_file *file, uint64_t *ret_bytes, struct err_note *note);
/* Reads up to size bytes; fewer only at the end of the file. ERR_IO. */
ERR_CHECKED enum err disk_read(struct disk_file *file, uint64_t offset, void *dest, size_t size,
                               size_t *ret_got, struct err_note *note);
/* Appends the whole file to a buffer. ERR_FULL when it is longer than the buffer's limit;
 * ERR_IO. */
ERR_CHECKED enum err disk_read_all(struct disk *disk, const char *name, struct buf *to,
                                   struct err_note *note);
ERR_CHECKED enum err disk_write(struct disk_file *file, uint64_t offset, struct bytes from,
                                struct err_note *note);
ERR_CHECKED enum err disk_sync(struct disk_file *file, struct err_note *note);
/* Short. ERR_NOT_FOUND, ERR_IO. Open files stay readable. */
ERR_CHECKED enum err disk_remove(struct disk *disk, const char *name, struct err_note *note);
/* Short. Replaces a file of that name; the file's name changes with it. */
ERR_CHECKED enum err disk_rename(struct disk_file *file, const char *to, struct err_note *note);
ERR_CHECKED enum err disk_sync_dir(struct disk *disk, struct err_note *note);
/* Replaces or creates a file as a whole: temporary name, sync, rename, sync of the directory. */
ERR_CHECKED enum err disk_replace(struct disk *disk, const char *name, struct bytes content,
                                  struct err_note *note);

/* ---- asynchronous ---------------------------------------------------------------------------- */

/* Starts op; it belongs to the disk until on_done, which never comes inside this call. */
void disk_start(struct disk *disk, struct disk_op *op);

/* ---- the real directory ---------------------------------------------------------------------- */

struct disk_loop;
struct loop;

/* Opens the directory (made with mode 0700 when `create` and it is missing), and takes its lock
 * file. Blocking operations work at once; asynchronous ones complete on the loop (NULL: there are
 * none). ERR_IN_USE: another process holds the lock (the note names directory and pid);
 * ERR_NOT_FOUND, ERR_DENIED, ERR_BAD_INPUT (not a directory), ERR_IO. */
ERR_CHECKED enum err disk_loop_open(struct loop *loop, const char *path, bool create,
                                    struct disk_loop **ret_disk, struct err_note *note);
/* Opens the directory to look only: files are opened for reading, no lock is taken, nothing may be
 * written, renamed or removed (CHECK). *ret_holder: the process that holds the directory's lock, 0
 * when none is seen. ERR_NOT_FOUND, ERR_DENIED, ERR_BAD_INPUT (not a directory), ERR_IO. */
ERR_CHECKED enum err disk_look_open(const char *path, struct disk_loop **ret_disk, long *ret_holder,
                                    struct err_note *note);
/* Releases the lock. Files must be closed, operations done. Accepts NULL. */
void disk_loop_close(struct disk_loop *disk);
struct disk *disk_loop_base(struct disk_loop *disk);

#endif
