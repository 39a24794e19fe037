/* File helpers of the store: whole writes and reads, blocks ahead, directories.
 *
 * Place: io/store, private. All block: they are called by the apply and background threads. */
#include "store/store_priv.h"

#include "check/check.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FS_ZERO_BLOCK = 64 * 1024
};

enum err fs_write_all(int fd, const void *data, size_t len)
{
    const uint8_t *at = data;
    while (len > 0) {
        ssize_t n = write(fd, at, len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return err_from_errno(errno);
        }
        at += n;
        len -= (size_t)n;
    }
    return ERR_OK;
}

enum err fs_read_at(int fd, void *dest, size_t len, uint64_t offset, size_t *ret_len)
{
    size_t done = 0;
    while (done < len) {
        ssize_t n = pread(fd, (uint8_t *)dest + done, len - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return err_from_errno(errno);
        }
        if (n == 0) {
            break;
        }
        done += (size_t)n;
    }
    *ret_len = done;
    return ERR_OK;
}

enum err fs_sync(int fd)
{
    return fsync(fd) == 0 ? ERR_OK : err_from_errno(errno);
}

static enum err write_zeros(int fd, uint64_t from, uint64_t to)
{
    static const uint8_t zeros[FS_ZERO_BLOCK];
    while (from < to) {
        size_t len = to - from < sizeof(zeros) ? (size_t)(to - from) : sizeof(zeros);
        ssize_t n = pwrite(fd, zeros, len, (off_t)from);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return err_from_errno(errno);
        }
        from += (uint64_t)n;
    }
    return ERR_OK;
}

enum err fs_allocate(int fd, uint64_t from, uint64_t to, uint64_t keep)
{
    CHECK(from < to);
    int rc;
    do {
        rc = fallocate(fd, FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)(to - from));
    } while (rc != 0 && errno == EINTR);
    if (rc == 0) {
        return ERR_OK;
    }
    if (errno != EOPNOTSUPP) {
        return err_from_errno(errno);
    }
    /* A file system without fallocate: zeros take blocks too. */
    return write_zeros(fd, from > keep ? from : keep, to);
}

enum err fs_open_dir(const char *path, int *ret_fd)
{
    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        return err_from_errno(errno);
    }
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    *ret_fd = fd;
    return ERR_OK;
}

enum err fs_remove(int dir_fd, const char *name)
{
    return unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT ? ERR_OK : err_from_errno(errno);
}
