/* A network for real nodes: namespaces, and a switch between them that can do harm.
 *
 *   fabric NODES SEED
 *
 * Member 0 is the clients, 1 to NODES are nodes. Each has a network namespace without a name and in
 * it one TUN device with the address 127.1.0.(MEMBER + 1): nodes without a cluster secret listen on
 * loopback only, and 127.0.0.0/8 but 127.0.0.1 is routed to the device here (route_localnet).
 * Nothing outlives this process and those in its namespaces, however they end.
 *
 * Prints "ready PATH PATH ..." (of the namespaces, for setns), then obeys lines of standard input:
 *   link FROM TO DELAY_US LOSS_PPM KBIT   packets FROM -> TO; a loss of 1000000 cuts; KBIT 0: any
 *   rate heal                                  all links as at first
 *   count                                 prints "packets CARRIED LOST"
 * and answers each other line with "ok". Ends at the end of input. Exit status 77: namespaces or
 * TUN devices cannot be had here; the reason is on standard error. */
#include "rnd/rnd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    MEMBERS_MAX = 8,
    QUEUE_MAX = 512, /* packets under way on a link; more are lost, as on a real one */
    PACKET_MAX = 2048,
    CANNOT = 77,
    MILLION = 1000000
};

struct packet {
    uint64_t due;
    size_t size;
    uint8_t data[PACKET_MAX];
};

/* One direction between two members. */
struct link {
    struct packet *queue; /* a ring of QUEUE_MAX */
    size_t first;
    size_t count;
    uint64_t last_due;
    uint64_t delay_ns;
    uint64_t loss_ppm;
    uint64_t kbit; /* 0: any rate */
};

static struct fabric {
    int members;
    int namespaces[MEMBERS_MAX];
    int devices[MEMBERS_MAX];
    struct link links[MEMBERS_MAX][MEMBERS_MAX];
    struct rnd rnd;
    uint64_t carried;
    uint64_t lost;
} fabric;

static uint64_t now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ---- namespaces ------------------------------------------------------------------------------ */

static void cannot(const char *what)
{
    (void)fprintf(stderr, "fabric: cannot %s: %s\n", what, strerrordesc_np(errno));
    exit(CANNOT);
}

static int open_device(void)
{
    struct ifreq wanted = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0) {
        cannot("open /dev/net/tun");
    }
    (void)snprintf(wanted.ifr_name, sizeof(wanted.ifr_name), "fabric");
    if (ioctl(fd, TUNSETIFF, &wanted) != 0) {
        cannot("make a TUN device");
    }
    return fd;
}

static void run_ip(const char *arguments)
{
    enum {
        WORDS_MAX = 12
    };

    char text[128];
    char ip[] = "ip";
    char *words[WORDS_MAX] = {ip};
    char *rest = NULL;
    int count = 1;
    int status = 0;
    pid_t pid = 0;
    (void)snprintf(text, sizeof(text), "%s", arguments);
    for (char *word = strtok_r(text, " ", &rest); word != NULL && count < WORDS_MAX - 1;
         word = strtok_r(NULL, " ", &rest)) {
        words[count++] = word;
    }
    if (posix_spawnp(&pid, "ip", NULL, NULL, words, environ) != 0 ||
        waitpid(pid, &status, 0) != pid || status != 0) {
        (void)fprintf(stderr, "fabric: cannot run: ip %s\n", arguments);
        exit(CANNOT);
    }
}

static void allow_loopback_on_devices(void)
{
    int fd = open("/proc/sys/net/ipv4/conf/all/route_localnet", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, "1", 1) != 1) {
        cannot("set route_localnet");
    }
    (void)close(fd);
}

static void make_member(int member)
{
    char line[128];
    if (unshare(CLONE_NEWNET) != 0) {
        cannot("make a network namespace");
    }
    fabric.namespaces[member] = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
    if (fabric.namespaces[member] < 0) {
        cannot("open a network namespace");
    }
    fabric.devices[member] = open_device();
    run_ip("link set lo up");
    run_ip("address add 127.0.0.1/32 dev lo");
    run_ip("address delete 127.0.0.1/8 dev lo");
    (void)snprintf(line, sizeof(line), "address add 127.1.0.%d/24 dev fabric", member + 1);
    run_ip(line);
    run_ip("link set fabric up");
    allow_loopback_on_devices();
}

/* ---- packets --------------------------------------------------------------------------------- */

static void take(int from, const uint8_t *data, size_t size)
{
    int to = size >= 20 && data[0] >> 4 == 4 ? data[19] - 1 : -1;
    if (to < 0 || to >= fabric.members || to == from) {
        return; /* not ours: IPv6's neighbour discovery, broadcasts */
    }
    struct link *link = &fabric.links[from][to];
    if (link->count == QUEUE_MAX || rnd_below(&fabric.rnd, MILLION) < link->loss_ppm) {
        fabric.lost++;
        return;
    }
    uint64_t now = now_ns();
    uint64_t due = now + link->delay_ns;
    if (link->kbit > 0) {
        uint64_t begin = link->last_due > now ? link->last_due : now;
        due = begin + size * 8 * MILLION / link->kbit + (begin > due ? 0 : link->delay_ns);
    }
    due = due < link->last_due ? link->last_due : due; /* a link keeps the order */
    struct packet *packet = &link->queue[(link->first + link->count++) % QUEUE_MAX];
    packet->due = due;
    packet->size = size;
    memcpy(packet->data, data, size);
    link->last_due = due;
}

static void read_device(int member)
{
    uint8_t data[PACKET_MAX];
    for (int i = 0; i < 64; i++) {
        ssize_t size = read(fabric.devices[member], data, sizeof(data));
        if (size <= 0) {
            return;
        }
        take(member, data, (size_t)size);
    }
}

/* Sends what is due; returns when the next is, UINT64_MAX: nothing is under way. */
static uint64_t deliver(void)
{
    uint64_t next = UINT64_MAX;
    uint64_t now = now_ns();
    for (int i = 0; i < fabric.members * fabric.members; i++) {
        struct link *link = &fabric.links[i / fabric.members][i % fabric.members];
        for (; link->count > 0 && link->queue[link->first].due <= now; link->count--) {
            struct packet *packet = &link->queue[link->first];
            ssize_t sent = write(fabric.devices[i % fabric.members], packet->data, packet->size);
            *(sent < 0 ? &fabric.lost : &fabric.carried) += 1;
            link->first = (link->first + 1) % QUEUE_MAX;
        }
        if (link->count > 0 && link->queue[link->first].due < next) {
            next = link->queue[link->first].due;
        }
    }
    return next;
}

/* ---- commands -------------------------------------------------------------------------------- */

static void set_link(int from, int to, const uint64_t numbers[3])
{
    struct link *link = &fabric.links[from][to];
    link->delay_ns = numbers[0] * 1000;
    link->loss_ppm = numbers[1];
    link->kbit = numbers[2];
}

static void obey(const char *line)
{
    static const uint64_t HEALTHY[3] = {0};
    uint64_t numbers[3];
    int from = -1;
    int to = -1;
    if (strcmp(line, "heal\n") == 0) {
        for (int i = 0; i < fabric.members * fabric.members; i++) {
            set_link(i / fabric.members, i % fabric.members, HEALTHY);
        }
    } else if (strcmp(line, "count\n") == 0) {
        printf("packets %lu %lu\n", fabric.carried, fabric.lost);
        return;
    } else if (sscanf(line, "link %d %d %lu %lu %lu", &from, &to, &numbers[0], &numbers[1],
                      &numbers[2]) == 5 &&
               from >= 0 && from < fabric.members && to >= 0 && to < fabric.members) {
        set_link(from, to, numbers);
    } else {
        (void)fprintf(stderr, "fabric: what is \"%s\"?\n", line);
        exit(2);
    }
    puts("ok");
}

/* Commands come one at a time: the next is sent when this one is answered. */
static bool read_command(void)
{
    static char line[128];
    static size_t used;
    ssize_t got = read(STDIN_FILENO, line + used, sizeof(line) - 1 - used);
    if (got <= 0) {
        return false;
    }
    used += (size_t)got;
    line[used] = '\0';
    if (line[used - 1] == '\n') {
        obey(line);
        used = 0;
    }
    return used < sizeof(line) - 1;
}

static void run(void)
{
    struct pollfd polls[MEMBERS_MAX + 1];
    bool open = true;
    for (int i = 0; i < fabric.members; i++) {
        polls[i] = (struct pollfd){.fd = fabric.devices[i], .events = POLLIN};
    }
    polls[fabric.members] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
    while (open) {
        uint64_t next = deliver();
        uint64_t now = now_ns();
        uint64_t wait = next > now ? next - now : 0;
        struct timespec limit = {.tv_sec = (time_t)(wait / 1000000000u),
                                 .tv_nsec = (long)(wait % 1000000000u)};
        (void)ppoll(polls, (nfds_t)fabric.members + 1, next == UINT64_MAX ? NULL : &limit, NULL);
        for (int i = 0; i < fabric.members; i++) {
            if (polls[i].revents != 0) {
                read_device(i);
            }
        }
        open = polls[fabric.members].revents == 0 || read_command();
    }
}

int main(int argc, char **argv)
{
    fabric.members = argc == 3 ? (int)strtoul(argv[1], NULL, 10) + 1 : 0;
    if (fabric.members < 2 || fabric.members > MEMBERS_MAX) {
        (void)fprintf(stderr, "usage: fabric NODES SEED (1 to %d nodes)\n", MEMBERS_MAX - 1);
        return 2;
    }
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    rnd_init(&fabric.rnd, strtoull(argv[2], NULL, 10));
    for (int i = 0; i < fabric.members; i++) {
        make_member(i);
    }
    printf("ready");
    for (int i = 0; i < fabric.members * fabric.members; i++) {
        struct link *link = &fabric.links[i / fabric.members][i % fabric.members];
        link->queue = calloc(QUEUE_MAX, sizeof(*link->queue));
        if (link->queue == NULL) {
            cannot("allocate queues");
        }
    }
    for (int i = 0; i < fabric.members; i++) {
        printf(" /proc/%d/fd/%d", (int)getpid(), fabric.namespaces[i]);
    }
    printf("\n");
    run();
    return 0;
}
