/* A disk that misbehaves, for real processes: preloaded into a server, it stands between the epoll
 * loop and the kernel.
 *
 * FLOTILLA_TEST_DISK names a path; while a file of that name with one of these endings exists,
 * whatever makes bytes durable (pwritev2, fdatasync, fsync):
 *   .stall   does not return
 *   .eio     fails with EIO, and has done nothing
 * Both are looked at for each call, so that a test switches them by making and removing files.
 * Writes that promise nothing pass. io_uring passes libc by: run the server with --loop=epoll. */
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static bool exists(const char *ending)
{
    char path[512];
    const char *base = getenv("FLOTILLA_TEST_DISK");
    if (base == NULL) {
        return false;
    }
    int length = snprintf(path, sizeof(path), "%s.%s", base, ending);
    return length > 0 && (size_t)length < sizeof(path) && access(path, F_OK) == 0;
}

/* False: the call fails, errno is set. */
static bool pass(void)
{
    const struct timespec moment = {.tv_nsec = 2000000};
    while (exists("stall")) {
        (void)nanosleep(&moment, NULL);
    }
    if (exists("eio")) {
        errno = EIO;
        return false;
    }
    errno = 0;
    return true;
}

/* A function of libc behind this one; copied, because ISO C knows no cast from an object to a
 * function. */
static void next_of(const char *name, void *ret_function, size_t size)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (found == NULL || size != sizeof(found)) {
        abort();
    }
    memcpy(ret_function, &found, sizeof(found));
}

/* What pwritev2 is called with 64-bit offsets. */
ssize_t pwritev64v2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
    ssize_t (*next)(int, const struct iovec *, int, off_t, int);
    next_of("pwritev64v2", &next, sizeof(next));
    return pass() ? next(fd, iov, count, offset, flags) : -1;
}

int fdatasync(int fd)
{
    int (*next)(int);
    next_of("fdatasync", &next, sizeof(next));
    return pass() ? next(fd) : -1;
}

int fsync(int fd)
{
    int (*next)(int);
    next_of("fsync", &next, sizeof(next));
    return pass() ? next(fd) : -1;
}
