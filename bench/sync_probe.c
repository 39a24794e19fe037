/* The floor under a replicated write: three processes that write and fdatasync a record at once,
 * and two round trips over loopback TCP.
 *
 * The shape of one client's write without any of the work: the parent (the client) sends a byte to
 * the first child (the leader), which sends one to the two others, appends 256 bytes to its own
 * preallocated file and syncs it while they do the same, waits for both, and answers. All calls
 * block. Waiting for both others, not for a majority, makes the floor a little higher than a write
 * needs. Prints the median and the 99th percentile in microseconds as JSON.
 *
 * usage: sync_probe DIRECTORY [ROUNDS] */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    CHILDREN = 3,
    FOLLOWERS = CHILDREN - 1,
    RECORD = 256,
    FILE_BYTES = 16 * 1024 * 1024,
    ROUNDS_WARM = 10, /* not counted: the files are still being made */
    ROUNDS_MAX = 100000
};

/* Two ends of one TCP connection over loopback; false: the system refuses. */
static bool tcp_pair(int ends[2])
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(addr);
    const int on = 1;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    ends[0] = socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0 || ends[0] < 0 || bind(listener, (struct sockaddr *)&addr, len) != 0 ||
        listen(listener, 1) != 0 || getsockname(listener, (struct sockaddr *)&addr, &len) != 0 ||
        connect(ends[0], (struct sockaddr *)&addr, len) != 0) {
        return false;
    }
    ends[1] = accept(listener, NULL, NULL);
    (void)close(listener);
    return ends[1] >= 0 && setsockopt(ends[0], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0 &&
           setsockopt(ends[1], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) == 0;
}

static int open_file(const char *dir, int number)
{
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/probe-%d", dir, number);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    (void)unlink(path);
    static char zeros[FILE_BYTES];
    if (fd < 0 || write(fd, zeros, FILE_BYTES) != FILE_BYTES || fsync(fd) != 0) {
        _exit(1);
    }
    return fd;
}

/* Appends and syncs a record for each byte from `up`; `down` are those that do so meanwhile. */
static _Noreturn void child(const char *dir, int number, int up, const int *down, int down_count)
{
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    int fd = open_file(dir, number);
    static char record[RECORD];
    char byte = 0;
    for (off_t at = 0; read(up, &byte, 1) == 1; at = (at + RECORD) % FILE_BYTES) {
        for (int i = 0; i < down_count; i++) {
            if (write(down[i], &byte, 1) != 1) {
                _exit(1);
            }
        }
        if (pwrite(fd, record, RECORD, at) != RECORD || fdatasync(fd) != 0) {
            _exit(1);
        }
        for (int i = 0; i < down_count; i++) {
            if (read(down[i], &byte, 1) != 1) {
                _exit(1);
            }
        }
        if (write(up, &byte, 1) != 1) {
            _exit(1);
        }
    }
    _exit(0);
}

static int64_t now_ns(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int compare(const void *a, const void *b)
{
    const int64_t *x = a;
    const int64_t *y = b;
    return (*x > *y) - (*x < *y);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        (void)fprintf(stderr, "usage: sync_probe DIRECTORY [ROUNDS]\n");
        return 2;
    }
    long rounds = argc > 2 ? strtol(argv[2], NULL, 10) : 2000;
    static int64_t took[ROUNDS_MAX];
    if (rounds < 1 || rounds > ROUNDS_MAX) {
        return 2;
    }
    int client[2];
    int links[FOLLOWERS][2];
    int down[FOLLOWERS];
    pid_t pids[CHILDREN];
    for (int i = 0; i < FOLLOWERS; i++) {
        if (!tcp_pair(links[i])) {
            return 1;
        }
        down[i] = links[i][0];
    }
    if (!tcp_pair(client)) {
        return 1;
    }
    for (int i = 0; i < CHILDREN; i++) {
        pids[i] = fork();
        if (pids[i] == 0 && i == 0) {
            child(argv[1], i, client[1], down, FOLLOWERS);
        } else if (pids[i] == 0) {
            child(argv[1], i, links[i - 1][1], NULL, 0);
        }
    }
    (void)close(client[1]); /* a leader that ends is noticed */
    for (long r = -ROUNDS_WARM; r < rounds; r++) {
        int64_t start = now_ns();
        char byte = 1;
        if (write(client[0], &byte, 1) != 1 || read(client[0], &byte, 1) != 1) {
            return 1;
        }
        if (r >= 0) {
            took[r] = now_ns() - start;
        }
    }
    qsort(took, (size_t)rounds, sizeof(took[0]), compare);
    (void)printf("{\"p50_us\":%lld,\"p99_us\":%lld}\n", (long long)took[rounds / 2] / 1000,
                 (long long)took[rounds * 99 / 100] / 1000);
    (void)fflush(stdout);
    for (int i = 0; i < CHILDREN; i++) {
        (void)kill(pids[i], SIGKILL); /* they hold each other's connections open */
        (void)waitpid(pids[i], NULL, 0);
    }
    return 0;
}
