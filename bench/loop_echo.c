/* Micro-benchmark of io/loop: what an echo and a relay cost on each backend.
 *
 * Measures the floor under every door and under the gateway: requests per CPU second of the process
 * that runs the loop, and its system calls per request (the loop's own count). Two shapes:
 *   echo    client -> loop -> the same client
 *   relay   client -> loop -> origin -> loop -> client: a proxy without parsing
 * Client and origin are processes of their own on plain epoll; each connection has one request
 * under way.
 *
 * usage: loop_echo [CONNECTIONS [SECONDS [BYTES]]]     (defaults 64, 3, 256) */
#include "loop/loop.h"
#include "loop/tcp.h"
#include "mem/mem.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    CONNECTIONS_MAX = 4096,
    BYTES_MAX = 16384,
    EVENTS = 128
};

static struct {
    int connections;
    int seconds;
    size_t bytes;
} args = {.connections = 64, .seconds = 3, .bytes = 256};

static _Noreturn void die(const char *what)
{
    (void)fprintf(stderr, "loop_echo: %s: %s\n", what, strerrordesc_np(errno));
    exit(1);
}

/* --- the other processes: plain epoll, level-triggered, blocking sends of small messages --- */

/* A run that fails must not leave its helpers behind. */
static void die_with_parent(void)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) {
        die("prctl");
    }
}

static void add_to_epoll(int epoll_fd, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        die("epoll_ctl");
    }
}

static void send_all(int fd, const uint8_t *data, size_t len)
{
    while (len > 0) {
        ssize_t sent = send(fd, data, len, MSG_NOSIGNAL);
        if (sent <= 0) {
            _exit(0); /* the measured process has closed: the run is over */
        }
        data += sent;
        len -= (size_t)sent;
    }
}

/* Sends back what comes, for the relay. */
static _Noreturn void origin_main(int listener)
{
    static uint8_t data[BYTES_MAX];
    struct epoll_event events[EVENTS];
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    die_with_parent();
    add_to_epoll(epoll_fd, listener);
    for (;;) {
        int count = epoll_wait(epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                add_to_epoll(epoll_fd, accept(listener, NULL, NULL));
                continue;
            }
            ssize_t got = recv(fd, data, sizeof(data), 0);
            if (got <= 0) {
                _exit(0);
            }
            send_all(fd, data, (size_t)got);
        }
    }
}

/* One request at a time on each connection, until it is killed. */
static _Noreturn void client_main(const struct net_addr *addr)
{
    static uint8_t data[BYTES_MAX];
    static size_t got_of[CONNECTIONS_MAX * 2];
    struct epoll_event events[EVENTS];
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    die_with_parent();
    for (int i = 0; i < args.connections; i++) {
        int fd = socket(addr->sa.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || fd >= CONNECTIONS_MAX * 2 || connect(fd, &addr->sa.any, addr->len) != 0) {
            die("connect");
        }
        add_to_epoll(epoll_fd, fd);
        send_all(fd, data, args.bytes);
    }
    for (;;) {
        int count = epoll_wait(epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int fd = events[i].data.fd;
            ssize_t got = recv(fd, data, sizeof(data), 0);
            if (got <= 0) {
                _exit(0);
            }
            got_of[fd] += (size_t)got;
            if (got_of[fd] >= args.bytes) {
                got_of[fd] = 0;
                send_all(fd, data, args.bytes);
            }
        }
    }
}

/* --- the measured process --- */

struct end {
    struct tcp_conn conn;
    struct tcp_send_req req; /* of what this end sends */
    struct iovec iov;
    struct tcp_chunk *chunk; /* that is being sent */
    struct end *other;       /* where received bytes go: itself in the echo */
    bool is_client;
};

struct link {
    struct end client;
    struct end origin;
};

static struct {
    struct loop *loop;
    struct tcp_listener listener;
    struct net_addr origin;
    struct link *links;
    int accepted;
    bool relay;
    uint64_t bytes_to_clients;
} bench;

static void on_closed(struct tcp_conn *conn)
{
    (void)conn;
}

static void close_end(struct end *end)
{
    if (end->conn.loop != NULL && !tcp_is_closing(&end->conn)) {
        tcp_close(&end->conn, on_closed);
    }
}

static void on_sent(struct tcp_send_req *req, enum err err)
{
    struct end *end = CONTAINER_OF(req, struct end, req);
    tcp_chunk_release(bench.loop, end->chunk);
    end->chunk = NULL;
    if (err != ERR_OK) {
        close_end(end);
    }
}

static void on_bytes(struct tcp_conn *conn, enum err err, struct bytes data)
{
    struct end *end = CONTAINER_OF(conn, struct end, conn);
    struct end *to = end->other;
    if (err != ERR_OK || data.len == 0) {
        close_end(end);
        close_end(to);
        return;
    }
    struct tcp_chunk *chunk = tcp_recv_keep(conn);
    if (chunk == NULL || to->chunk != NULL) {
        (void)fprintf(stderr, "loop_echo: a connection has more than one message under way\n");
        exit(1);
    }
    to->chunk = chunk;
    to->iov = (struct iovec){.iov_base = (void *)(uintptr_t)data.data, .iov_len = data.len};
    tcp_send(&to->conn, &to->req, &to->iov, 1, on_sent);
    if (to->is_client) {
        bench.bytes_to_clients += data.len;
    }
}

static void on_origin(struct tcp_conn *conn, enum err err)
{
    if (err != ERR_OK) {
        die("connect to the origin");
    }
    struct end *origin = CONTAINER_OF(conn, struct end, conn);
    tcp_recv_start(conn, on_bytes);
    tcp_recv_start(&origin->other->conn, on_bytes);
}

static void on_accept(struct tcp_listener *listener, int fd)
{
    (void)listener;
    if (bench.accepted == args.connections) {
        (void)close(fd);
        return;
    }
    struct link *link = &bench.links[bench.accepted++];
    link->client.is_client = true;
    tcp_open(&link->client.conn, bench.loop, fd);
    if (!bench.relay) {
        link->client.other = &link->client;
        tcp_recv_start(&link->client.conn, on_bytes);
        return;
    }
    link->client.other = &link->origin;
    link->origin.other = &link->client;
    tcp_connect(&link->origin.conn, bench.loop, &bench.origin, CLK_S(10), on_origin);
}

static void on_listener_closed(struct tcp_listener *listener)
{
    (void)listener;
}

static double cpu_seconds(void)
{
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) != 0) {
        die("getrusage");
    }
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static pid_t start_client(void)
{
    struct net_addr addr = tcp_listener_addr(&bench.listener);
    pid_t pid = fork();
    if (pid == 0) {
        client_main(&addr);
    }
    return pid;
}

static pid_t start_origin(const struct net_addr *any)
{
    int fd = -1;
    if (net_listen(any, false, &fd, NULL) != ERR_OK ||
        net_local_addr(fd, &bench.origin) != ERR_OK) {
        die("listen");
    }
    pid_t pid = fork();
    if (pid == 0) {
        origin_main(fd);
    }
    (void)close(fd);
    return pid;
}

static void turn_for(clk_ns duration)
{
    clk_ns end = loop_now(bench.loop) + duration;
    while (loop_now(bench.loop) < end) {
        loop_turn(bench.loop, CLK_MS(10));
    }
}

static void stop(pid_t pid)
{
    if (pid > 0) {
        (void)kill(pid, SIGKILL);
        (void)waitpid(pid, NULL, 0);
    }
}

static void measure(const char *shape)
{
    turn_for(CLK_MS(500)); /* connecting and warming up */
    struct loop_stats stats = loop_stats(bench.loop);
    uint64_t bytes = bench.bytes_to_clients;
    double cpu = cpu_seconds();
    clk_ns start = loop_now(bench.loop);
    turn_for(CLK_S(args.seconds));
    double wall = (double)(loop_now(bench.loop) - start) / 1e9;
    cpu = cpu_seconds() - cpu;
    double requests = (double)(bench.bytes_to_clients - bytes) / (double)args.bytes;
    double calls = (double)(loop_stats(bench.loop).syscalls - stats.syscalls);
    double turns = (double)(loop_stats(bench.loop).turns - stats.turns);
    (void)printf("%-6s %-9s %11.0f %14.0f %14.2f %13.1f %8.0f%%\n", shape,
                 loop_backend_name(bench.loop), requests / wall, requests / cpu, calls / requests,
                 requests / turns, 100 * cpu / wall);
    (void)fflush(stdout);
}

static void run(enum loop_backend backend, bool relay)
{
    memset(&bench, 0, sizeof(bench));
    bench.relay = relay;
    bench.links = mem_alloc_array((size_t)args.connections, sizeof(*bench.links));
    struct loop_config config = {.backend = backend, .recv_chunks = 1024};
    struct err_note note = {0};
    if (loop_new(&config, &bench.loop, &note) != ERR_OK) {
        (void)printf("%s\n", note.text);
        mem_free(bench.links);
        return;
    }
    struct net_addr any = {0};
    if (net_addr_make(BYTES_LITERAL("127.0.0.1"), 0, &any) != ERR_OK ||
        tcp_listen(&bench.listener, bench.loop, &any, false, on_accept, &note) != ERR_OK) {
        die(note.text);
    }
    pid_t origin = relay ? start_origin(&any) : 0;
    pid_t client = start_client();
    measure(relay ? "relay" : "echo");
    stop(client);
    stop(origin);
    for (int i = 0; i < bench.accepted; i++) {
        close_end(&bench.links[i].client);
        close_end(&bench.links[i].origin);
    }
    tcp_listener_close(&bench.listener, on_listener_closed);
    while (loop_active_count(bench.loop) > 0) {
        loop_turn(bench.loop, CLK_MS(10));
    }
    loop_free(bench.loop);
    mem_free(bench.links);
}

static int number(const char *text, int max)
{
    char *end = NULL;
    long value = strtol(text, &end, 10);
    if (*end != '\0' || value < 1 || value > max) {
        (void)fprintf(stderr, "usage: loop_echo [CONNECTIONS [SECONDS [BYTES]]]\n");
        exit(2);
    }
    return (int)value;
}

int main(int argc, char **argv)
{
    args.connections = argc > 1 ? number(argv[1], CONNECTIONS_MAX) : args.connections;
    args.seconds = argc > 2 ? number(argv[2], 3600) : args.seconds;
    args.bytes = argc > 3 ? (size_t)number(argv[3], BYTES_MAX) : args.bytes;
    (void)printf("%d connections, %zu bytes, %d s each\n", args.connections, args.bytes,
                 args.seconds);
    (void)printf(
        "shape  backend    requests/s   req/CPU second   calls/request  requests/turn      CPU\n");
    for (int relay = 0; relay <= 1; relay++) {
        run(LOOP_BACKEND_EPOLL, relay);
        run(LOOP_BACKEND_URING, relay);
    }
    return 0;
}
