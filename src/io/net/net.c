/* Sockets: options, listening with messages that help, errno values.
 *
 * Place: io. Source: ip(7), tcp(7), socket(7). */
#include "net/net.h"

#include "check/check.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

enum {
    NET_BACKLOG = 4096
};

enum err net_err_from_errno(int errno_value)
{
    switch (errno_value) {
    case ECONNREFUSED:
        return ERR_REFUSED;
    case ECONNRESET:
    case ECONNABORTED:
    case EPIPE:
    case ENOTCONN:
    case ESHUTDOWN:
        return ERR_CLOSED;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        return ERR_FULL;
    case EADDRINUSE:
        return ERR_IN_USE;
    case EACCES:
    case EPERM:
        return ERR_DENIED;
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
        return ERR_BAD_INPUT;
    case ECANCELED:
        return ERR_CANCELED;
    case EHOSTUNREACH:
    case ENETUNREACH:
        return ERR_IO;
    default:
        return err_from_errno(errno_value);
    }
}

static void set_flag(int fd, int level, int option)
{
    const int one = 1;
    /* These options cannot fail on a fresh socket, and are not vital on any. */
    (void)setsockopt(fd, level, option, &one, sizeof(one));
}

enum err net_socket(const struct net_addr *addr, int *ret_fd)
{
    int fd = socket(addr->sa.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return net_err_from_errno(errno);
    }
    set_flag(fd, IPPROTO_TCP, TCP_NODELAY);
    *ret_fd = fd;
    return ERR_OK;
}

static enum err bind_failed(const struct net_addr *addr, const char *what, int cause,
                            struct err_note *note)
{
    char text[NET_ADDR_TEXT_MAX];
    (void)net_addr_format(addr, text);
    enum err err = net_err_from_errno(cause);
    unsigned port = net_addr_port(addr);
    switch (cause) {
    case EADDRINUSE:
        return err_note_set(note, err, "%s %s: port %u is in use", what, text, port);
    case EACCES:
        return err_note_set(note, err, "%s %s: port %u needs the right to bind ports below 1024",
                            what, text, port);
    case EADDRNOTAVAIL:
        return err_note_set(note, err, "%s %s: no interface of this machine has that address", what,
                            text);
    default:
        return err_note_set(note, err, "%s %s: %s", what, text, strerrordesc_np(cause));
    }
}

enum err net_listen(const struct net_addr *addr, bool reuse_port, int *ret_fd,
                    struct err_note *note)
{
    int fd = -1;
    enum err err = net_socket(addr, &fd);
    if (err != ERR_OK) {
        return bind_failed(addr, "listen on", errno, note);
    }
    set_flag(fd, SOL_SOCKET, SO_REUSEADDR);
    if (addr->sa.any.sa_family == AF_INET6) {
        set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY); /* the IPv4 port is another listener's */
    }
    if (reuse_port) {
        set_flag(fd, SOL_SOCKET, SO_REUSEPORT);
    }
    if (bind(fd, &addr->sa.any, addr->len) != 0 || listen(fd, NET_BACKLOG) != 0) {
        int cause = errno;
        (void)close(fd);
        return bind_failed(addr, "listen on", cause, note);
    }
    *ret_fd = fd;
    return ERR_OK;
}

enum err net_udp_bind(const struct net_addr *addr, int *ret_fd, struct err_note *note)
{
    int fd = socket(addr->sa.any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return bind_failed(addr, "bind UDP", errno, note);
    }
    if (addr->sa.any.sa_family == AF_INET6) {
        set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY);
    }
    if (bind(fd, &addr->sa.any, addr->len) != 0) {
        int cause = errno;
        (void)close(fd);
        return bind_failed(addr, "bind UDP", cause, note);
    }
    *ret_fd = fd;
    return ERR_OK;
}

enum err net_local_addr(int fd, struct net_addr *ret_addr)
{
    struct net_addr addr = {.len = sizeof(addr.sa)};
    if (getsockname(fd, &addr.sa.any, &addr.len) != 0) {
        return net_err_from_errno(errno);
    }
    *ret_addr = addr;
    return ERR_OK;
}

enum err net_peer_addr(int fd, struct net_addr *ret_addr)
{
    struct net_addr addr = {.len = sizeof(addr.sa)};
    if (getpeername(fd, &addr.sa.any, &addr.len) != 0) {
        return net_err_from_errno(errno);
    }
    *ret_addr = addr;
    return ERR_OK;
}

void net_set_keepalive(int fd, unsigned idle_s)
{
    enum {
        PROBES = 3
    };

    CHECK(idle_s > 0 && idle_s < 32768);
    const int idle = (int)idle_s;
    const int interval = idle / PROBES > 0 ? idle / PROBES : 1;
    const int probes = PROBES;
    const unsigned timeout_ms = idle_s * 2000u;
    set_flag(fd, SOL_SOCKET, SO_KEEPALIVE);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
    (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
    /* Unacknowledged data has no keep-alive probes: this bounds it (RFC 5482). */
    (void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms));
}
