/* Internet addresses and sockets: parsing, printing, options, listening with messages that help.
 *
 * Place: io; blocking or immediate calls only, io/loop builds on it. An address is IPv4 or IPv6
 * with a port. */
#ifndef NET_NET_H
#define NET_NET_H

#include "bytes/bytes.h"
#include "err/err.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

struct net_addr {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } sa;

    socklen_t len; /* bytes of sa in use; 0: no address */
};

enum {
    NET_IP_TEXT_MAX = 46,   /* with the terminating zero */
    NET_ADDR_TEXT_MAX = 56, /* "[ip]:port" with the terminating zero */
};

/* "127.0.0.1:8500", "[::1]:8500": numeric only, nothing is looked up. ERR_BAD_INPUT. */
ERR_CHECKED enum err net_addr_parse(struct bytes text, struct net_addr *ret_addr);
/* A numeric host (IPv6 with or without brackets; "localhost" is 127.0.0.1) and a port.
 * ERR_BAD_INPUT. */
ERR_CHECKED enum err net_addr_make(struct bytes host, uint16_t port, struct net_addr *ret_addr);
/* Looks a name up (getaddrinfo): BLOCKS, for background threads and the CLI. Gives up to max
 * addresses. ERR_NOT_FOUND, ERR_TIMEOUT (the resolver gave up for now), ERR_IO. */
ERR_CHECKED enum err net_resolve(const char *host, uint16_t port, struct net_addr *ret_addrs,
                                 size_t max, size_t *ret_count, struct err_note *note);
/* "127.0.0.1:8500", "[::1]:8500"; "-" for no address. Returns dest. */
const char *net_addr_format(const struct net_addr *addr, char dest[NET_ADDR_TEXT_MAX]);
/* The host alone, without brackets. Returns dest. */
const char *net_ip_format(const struct net_addr *addr, char dest[NET_IP_TEXT_MAX]);
uint16_t net_addr_port(const struct net_addr *addr);
bool net_addr_eq(const struct net_addr *a, const struct net_addr *b);
/* 127.0.0.0/8 and ::1. */
bool net_addr_is_loopback(const struct net_addr *addr);

/* A non-blocking, close-on-exec stream socket that listens on addr, owned by the caller; accepted
 * sockets inherit TCP_NODELAY. The note names address and cause ("listen on 127.0.0.1:8500: port
 * 8500 is in use"). ERR_IN_USE, ERR_DENIED, ERR_BAD_INPUT (the address is not of this machine),
 * ERR_FULL (no descriptors), ERR_IO. */
ERR_CHECKED enum err net_listen(const struct net_addr *addr, bool reuse_port, int *ret_fd,
                                struct err_note *note);
/* A non-blocking, close-on-exec UDP socket bound to addr; errors as net_listen. */
ERR_CHECKED enum err net_udp_bind(const struct net_addr *addr, int *ret_fd, struct err_note *note);
/* A non-blocking, close-on-exec stream socket with TCP_NODELAY, for connecting to addr. ERR_FULL,
 * ERR_IO. */
ERR_CHECKED enum err net_socket(const struct net_addr *addr, int *ret_fd);

/* Maps errno values of socket calls: ECONNREFUSED is ERR_REFUSED, ECONNRESET and EPIPE are
 * ERR_CLOSED, ETIMEDOUT is ERR_TIMEOUT, EMFILE and ENFILE are ERR_FULL, EADDRINUSE is ERR_IN_USE;
 * others as err_from_errno. */
enum err net_err_from_errno(int errno_value);

ERR_CHECKED enum err net_local_addr(int fd, struct net_addr *ret_addr);
ERR_CHECKED enum err net_peer_addr(int fd, struct net_addr *ret_addr);
/* Finds a dead peer by probes after idle_s seconds without traffic, within about idle_s more (TCP
 * keep-alive and TCP_USER_TIMEOUT). Failures are ignored. */
void net_set_keepalive(int fd, unsigned idle_s);

#endif
