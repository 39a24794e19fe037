/* A bad disk under one process: preloaded (LD_PRELOAD), it fails, stalls and notes what a loss of
 * power would undo. For nodes on the epoll loop: io_uring does not pass the C library.
 *
 * FAULTFS_DIR      only files below it, an absolute path
 * FAULTFS_CONTROL  a file of two little-endian u32: how many writes and syncs are to fail with EIO
 *                  (counted down here); how many milliseconds each sync takes
 * FAULTFS_UNDO     what is appended to: a record for each write before it is done, with the bytes
 *                  that it replaces, and one for each sync that succeeded (struct record)
 *
 * tests/chaos/disk.py reads the records of a process that was killed and undoes writes that no sync
 * covers. Absent: what happens to names (creation, rename); they are taken as durable. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum {
    FDS_MAX = 4096,
    RECORD_WRITE = 1,   /* `len` bytes of old content follow */
    RECORD_SYNC = 2,    /* all writes of the file up to `seq` are durable */
    RECORD_DURABLE = 3, /* this one write is */
};

struct record {
    uint64_t kind;
    uint64_t seq;
    uint64_t inode;
    uint64_t offset;
    uint64_t len;
    uint64_t written;
    uint64_t old_size;
};

static struct {
    pthread_once_t once;
    const char *dir;
    _Atomic uint32_t *control; /* NULL: no faults */
    int undo;
    _Atomic uint64_t seq;
    _Atomic bool mine[FDS_MAX];
} faultfs = {.once = PTHREAD_ONCE_INIT, .undo = -1};

#define REAL(name) (__extension__(__typeof__(&(name))) dlsym(RTLD_NEXT, #name))

/* ---- set-up ---------------------------------------------------------------------------------- */

static void set_up(void)
{
    const char *control = getenv("FAULTFS_CONTROL");
    const char *undo = getenv("FAULTFS_UNDO");
    faultfs.dir = getenv("FAULTFS_DIR");
    if (faultfs.dir == NULL || control == NULL || undo == NULL) {
        return;
    }
    int fd = REAL(open64)(control, O_RDWR | O_CLOEXEC);
    void *page = mmap(NULL, 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    faultfs.undo = REAL(open64)(undo, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0 || page == MAP_FAILED || faultfs.undo < 0) {
        (void)fprintf(stderr, "faultfs: cannot open %s or %s\n", control, undo);
        abort();
    }
    (void)close(fd);
    faultfs.control = page;
}

static int note_open(int fd)
{
    char name[64];
    char path[4096];
    (void)pthread_once(&faultfs.once, set_up);
    if (fd < 0 || fd >= FDS_MAX || faultfs.control == NULL) {
        return fd;
    }
    int saved = errno;
    (void)snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
    ssize_t len = readlink(name, path, sizeof(path) - 1);
    path[len < 0 ? 0 : len] = '\0';
    faultfs.mine[fd] = strncmp(path, faultfs.dir, strlen(faultfs.dir)) == 0;
    errno = saved;
    return fd;
}

static bool is_mine(int fd)
{
    (void)pthread_once(&faultfs.once, set_up);
    return faultfs.control != NULL && fd >= 0 && fd < FDS_MAX && faultfs.mine[fd];
}

/* ---- faults ---------------------------------------------------------------------------------- */

static bool fails(void)
{
    uint32_t left = atomic_load(&faultfs.control[0]);
    while (left > 0) {
        if (atomic_compare_exchange_weak(&faultfs.control[0], &left, left - 1)) {
            errno = EIO;
            return true;
        }
    }
    return false;
}

static void append(const struct record *record, const void *data)
{
    const struct iovec parts[2] = {
        {.iov_base = (void *)(uintptr_t)record, .iov_len = sizeof(*record)},
        {.iov_base = (void *)(uintptr_t)data,
         .iov_len = record->kind == RECORD_WRITE ? record->len : 0}};
    if (REAL(writev)(faultfs.undo, parts, 2) < 0) {
        (void)fprintf(stderr, "faultfs: cannot note a write\n");
        abort();
    }
}

static uint64_t inode_of(int fd)
{
    struct stat status;
    return fstat(fd, &status) == 0 ? status.st_ino : 0;
}

/* Returns the number of the write. */
static uint64_t note_write(int fd, uint64_t offset, size_t size)
{
    struct stat status;
    void *old = malloc(size + 1);
    if (old == NULL || fstat(fd, &status) != 0) {
        abort();
    }
    int saved = errno;
    ssize_t len = REAL(pread64)(fd, old, size, (off64_t)offset);
    struct record record = {.kind = RECORD_WRITE,
                            .seq = atomic_fetch_add(&faultfs.seq, 1) + 1,
                            .inode = status.st_ino,
                            .offset = offset,
                            .len = len < 0 ? 0 : (uint64_t)len,
                            .written = size,
                            .old_size = (uint64_t)status.st_size};
    append(&record, old);
    free(old);
    errno = saved;
    return record.seq;
}

static size_t size_of(const struct iovec *parts, int count)
{
    size_t size = 0;
    for (int i = 0; i < count; i++) {
        size += parts[i].iov_len;
    }
    return size;
}

static int sync_file(int fd, int (*real)(int))
{
    if (!is_mine(fd)) {
        return real(fd);
    }
    uint32_t stall_ms = atomic_load(&faultfs.control[1]);
    struct record record = {
        .kind = RECORD_SYNC, .seq = atomic_load(&faultfs.seq), .inode = inode_of(fd)};
    const struct timespec wait = {.tv_sec = stall_ms / 1000,
                                  .tv_nsec = (long)(stall_ms % 1000) * 1000000};
    if (stall_ms > 0) {
        (void)nanosleep(&wait, NULL);
    }
    if (fails()) {
        return -1;
    }
    int rc = real(fd);
    if (rc == 0) {
        append(&record, NULL);
    }
    return rc;
}

/* ---- what is in front of the C library ------------------------------------------------------- */

static mode_t mode_of(int flags, va_list arguments)
{
    return (flags & (O_CREAT | __O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
}

int open64(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = mode_of(flags, arguments);
    va_end(arguments);
    return note_open(REAL(open64)(path, flags, mode));
}

int openat64(int dir, const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = mode_of(flags, arguments);
    va_end(arguments);
    return note_open(REAL(openat64)(dir, path, flags, mode));
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
    if (is_mine(fd)) {
        if (fails()) {
            return -1;
        }
        (void)note_write(fd, (uint64_t)offset, size);
    }
    return REAL(pwrite64)(fd, data, size, offset);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset)
{
    if (is_mine(fd)) {
        if (fails()) {
            return -1;
        }
        (void)note_write(fd, (uint64_t)offset, size_of(parts, count));
    }
    return REAL(pwritev64)(fd, parts, count, offset);
}

ssize_t pwritev64v2(int fd, const struct iovec *parts, int count, off64_t offset, int flags)
{
    if (!is_mine(fd)) {
        return REAL(pwritev64v2)(fd, parts, count, offset, flags);
    }
    if (fails()) {
        return -1;
    }
    uint64_t seq = note_write(fd, (uint64_t)offset, size_of(parts, count));
    ssize_t done = REAL(pwritev64v2)(fd, parts, count, offset, flags);
    if (done >= 0 && (flags & RWF_DSYNC) != 0) {
        append(&(struct record){.kind = RECORD_DURABLE, .seq = seq, .inode = inode_of(fd)}, NULL);
    }
    return done;
}

int fdatasync(int fd)
{
    return sync_file(fd, REAL(fdatasync));
}

int fsync(int fd)
{
    return sync_file(fd, REAL(fsync));
}
