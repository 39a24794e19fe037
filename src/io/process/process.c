/* This process: its signals, its randomness, its lock file.
 *
 * Place: io. */
#include "process/process.h"

#include "check/check.h"
#include "net/net.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- signals --- */

static void own_signals(sigset_t *set)
{
    (void)sigemptyset(set);
    (void)sigaddset(set, SIGINT);
    (void)sigaddset(set, SIGTERM);
    (void)sigaddset(set, SIGHUP);
}

void process_signals_block(void)
{
    sigset_t set;
    own_signals(&set);
    int rc = pthread_sigmask(SIG_BLOCK, &set, NULL);
    CHECK(rc == 0);
    const struct sigaction ignore = {.sa_handler = SIG_IGN};
    rc = sigaction(SIGPIPE, &ignore, NULL);
    CHECK(rc == 0);
}

static void on_signalfd(struct loop_watch *watch, enum err err)
{
    struct process_signals *signals = CONTAINER_OF(watch, struct process_signals, watch);
    if (err != ERR_OK) {
        CHECK(err == ERR_CANCELED); /* a signalfd can always be watched */
        (void)close(signals->fd);
        signals->fd = -1;
        signals->on_closed(signals);
        return;
    }
    struct signalfd_siginfo info;
    while (!watch->stopping && read(signals->fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        signals->on_signal(signals, (int)info.ssi_signo);
    }
}

enum err process_signals_start(struct process_signals *signals, struct loop *loop,
                               void (*on_signal)(struct process_signals *signals, int signal))
{
    CHECK(on_signal != NULL);
    sigset_t set;
    own_signals(&set);
    int fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (fd < 0) {
        return net_err_from_errno(errno);
    }
    memset(signals, 0, sizeof(*signals));
    signals->fd = fd;
    signals->on_signal = on_signal;
    loop_watch_start(loop, &signals->watch, fd, on_signalfd);
    return ERR_OK;
}

void process_signals_stop(struct process_signals *signals,
                          void (*on_closed)(struct process_signals *signals))
{
    CHECK(on_closed != NULL);
    signals->on_closed = on_closed;
    loop_watch_stop(&signals->watch);
}

/* --- randomness --- */

void process_random(void *dest, size_t size)
{
    uint8_t *at = dest;
    while (size > 0) {
        ssize_t got = getrandom(at, size, 0);
        CHECK(got > 0 || errno == EINTR); /* with these flags it has no other way to fail */
        if (got > 0) {
            at += got;
            size -= (size_t)got;
        }
    }
}

/* --- lock files --- */

static enum err lock_failed(int fd, const char *path, int cause, struct err_note *note)
{
    enum err err = err_from_errno(cause);
    if (cause == EWOULDBLOCK) {
        char pid[16] = {0};
        ssize_t got = pread(fd, pid, sizeof(pid) - 1, 0);
        pid[strcspn(pid, "\n")] = '\0';
        err = err_note_set(note, ERR_IN_USE, "%s is held by process %s", path,
                           got > 0 ? pid : "(unknown)");
    } else {
        err = err_note_set(note, err, "lock %s: %s", path, strerrordesc_np(cause));
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    return err;
}

enum err process_lock_take(struct process_lock *lock, const char *path, struct err_note *note)
{
    lock->fd = -1;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) != 0) {
        return lock_failed(fd, path, errno, note);
    }
    char text[16];
    int len = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    CHECK(len > 0 && len < (int)sizeof(text));
    errno = EIO;
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)len, 0) != (ssize_t)len) {
        return lock_failed(fd, path, errno, note);
    }
    lock->fd = fd;
    return ERR_OK;
}

/* One line of /proc/locks (proc(5)): "1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF". The device
 * is not compared: some file systems show another one there than stat(2) does. */
static long holder_in(const char *line, unsigned long long inode)
{
    long pid = 0;
    unsigned long long locked = 0;
    if (sscanf(line, "%*d: FLOCK %*s %*s %ld %*x:%*x:%llu", &pid, &locked) != 2 ||
        locked != inode) {
        return 0;
    }
    return pid;
}

long process_lock_holder(int dir_fd, const char *name)
{
    struct stat status;
    if (fstatat(dir_fd, name, &status, AT_SYMLINK_NOFOLLOW) != 0) {
        return 0;
    }
    FILE *locks = fopen("/proc/locks", "re");
    if (locks == NULL) {
        return 0;
    }
    char line[256];
    long pid = 0;
    while (pid == 0 && fgets(line, sizeof(line), locks) != NULL) {
        pid = holder_in(line, (unsigned long long)status.st_ino);
    }
    (void)fclose(locks);
    return pid;
}

void process_lock_release(struct process_lock *lock)
{
    if (lock->fd >= 0) {
        int rc = ftruncate(lock->fd, 0);
        (void)rc; /* a stale pid in an unlocked file misleads nobody: the lock decides */
        (void)close(lock->fd);
        lock->fd = -1;
    }
}
