/* The floor under a replicated write: three processes that write and fdatasync a record at once.
 *
 * Each round the parent tells three children to append 256 bytes to their own preallocated file and
 * sync it, and waits for all three over pipes (two "round trips" of the cheapest kind). Prints the
 * median and the 99th percentile in microseconds as JSON.
 *
 * usage: sync_probe DIRECTORY [ROUNDS] */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    CHILDREN = 3,
    RECORD = 256,
    FILE_BYTES = 16 * 1024 * 1024,
    ROUNDS_MAX = 100000
};

static _Noreturn void child(const char *dir, int number, int in, int out)
{
    char path[512];
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)snprintf(path, sizeof(path), "%s/probe-%d", dir, number);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    (void)unlink(path);
    static char zeros[FILE_BYTES];
    static char record[RECORD];
    if (fd < 0 || write(fd, zeros, FILE_BYTES) != FILE_BYTES || fsync(fd) != 0) {
        _exit(1);
    }
    char byte = 0;
    for (off_t at = 0; read(in, &byte, 1) == 1; at = (at + RECORD) % FILE_BYTES) {
        if (pwrite(fd, record, RECORD, at) != RECORD || fdatasync(fd) != 0 ||
            write(out, &byte, 1) != 1) {
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
    int to[CHILDREN][2];
    int from[CHILDREN][2];
    pid_t pids[CHILDREN];
    for (int i = 0; i < CHILDREN; i++) {
        if (pipe(to[i]) != 0 || pipe(from[i]) != 0) {
            return 1;
        }
        pids[i] = fork();
        if (pids[i] == 0) {
            child(argv[1], i, to[i][0], from[i][1]);
        }
        (void)close(to[i][0]);
    }
    for (long r = 0; r < rounds; r++) {
        int64_t start = now_ns();
        char byte = 1;
        for (int i = 0; i < CHILDREN; i++) {
            if (write(to[i][1], &byte, 1) != 1) {
                return 1;
            }
        }
        for (int i = 0; i < CHILDREN; i++) {
            if (read(from[i][0], &byte, 1) != 1) {
                return 1;
            }
        }
        took[r] = now_ns() - start;
    }
    qsort(took, (size_t)rounds, sizeof(took[0]), compare);
    (void)printf("{\"p50_us\":%lld,\"p99_us\":%lld}\n", (long long)took[rounds / 2] / 1000,
                 (long long)took[rounds * 99 / 100] / 1000);
    (void)fflush(stdout);
    for (int i = 0; i < CHILDREN; i++) {
        (void)kill(pids[i], SIGKILL); /* they hold each other's pipes open */
        (void)waitpid(pids[i], NULL, 0);
    }
    return 0;
}
