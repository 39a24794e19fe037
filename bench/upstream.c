/* A minimal HTTP/1.1 responder for benchmarks of the gateway: plain epoll, one process.
 *
 * It answers every head (requests have no bodies) with 200 and a body of fixed size, and keeps the
 * connection. It is no server: what is not a bench's request is not its concern.
 *
 * usage: upstream PORT [BYTES]      (127.0.0.1; BYTES of body, default 128) */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    FDS_MAX = 65536,
    EVENTS = 256,
    BODY_MAX = 65536
};

static uint8_t answer[BODY_MAX + 256];
static size_t answer_len;
/* How much of "\r\n\r\n" was seen at the end of what came. */
static uint8_t matched[FDS_MAX];

static _Noreturn void die(const char *what)
{
    (void)fprintf(stderr, "upstream: %s: %s\n", what, strerrordesc_np(errno));
    exit(1);
}

static int listen_on(uint16_t port)
{
    const struct sockaddr_in addr = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int yes = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)) != 0 ||
        bind(fd, (const struct sockaddr *)&addr, sizeof(addr)) != 0 || listen(fd, 1024) != 0) {
        die("listen");
    }
    return fd;
}

static void add(int epoll_fd, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (fd < 0 || fd >= FDS_MAX || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0) {
        die("add");
    }
    matched[fd] = 0;
}

static int heads_in(int fd, const uint8_t *data, size_t len)
{
    static const char end[] = "\r\n\r\n";
    uint8_t state = matched[fd];
    int heads = 0;
    for (size_t i = 0; i < len; i++) {
        state = data[i] == end[state] ? (uint8_t)(state + 1) : data[i] == '\r' ? 1 : 0;
        if (state == 4) {
            heads++;
            state = 0;
        }
    }
    matched[fd] = state;
    return heads;
}

static void serve(int fd)
{
    static uint8_t data[16384];
    ssize_t got = recv(fd, data, sizeof(data), 0);
    if (got <= 0) {
        (void)close(fd);
        return;
    }
    for (int heads = heads_in(fd, data, (size_t)got); heads > 0; heads--) {
        if (send(fd, answer, answer_len, MSG_NOSIGNAL) != (ssize_t)answer_len) {
            (void)close(fd);
            return;
        }
    }
}

int main(int argc, char **argv)
{
    long port = argc > 1 ? strtol(argv[1], NULL, 10) : 0;
    long bytes = argc > 2 ? strtol(argv[2], NULL, 10) : 128;
    if (port < 1 || port > 65535 || bytes < 0 || bytes > BODY_MAX) {
        (void)fprintf(stderr, "usage: upstream PORT [BYTES]\n");
        return 2;
    }
    int head =
        snprintf((char *)answer, sizeof(answer),
                 "HTTP/1.1 200 OK\r\nServer: bench\r\nDate: Mon, 23 Nov 2026 06:00:00 GMT\r\n"
                 "Content-Type: text/plain\r\nContent-Length: %ld\r\n\r\n",
                 bytes);
    memset(answer + head, 'x', (size_t)bytes);
    answer_len = (size_t)head + (size_t)bytes;
    int listener = listen_on((uint16_t)port);
    int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    add(epoll_fd, listener);
    for (;;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(epoll_fd, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == listener) {
                add(epoll_fd, accept(listener, NULL, NULL));
            } else {
                serve(events[i].data.fd);
            }
        }
    }
}
