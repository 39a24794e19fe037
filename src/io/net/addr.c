/* Addresses: parsing, printing, comparing, looking up.
 *
 * Place: io. Text forms after RFC 3986 section 3.2.2 (an IPv6 address with a port stands in
 * brackets). */
#include "net/net.h"

#include "check/check.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

static void set_port(struct net_addr *addr, uint16_t port)
{
    if (addr->sa.any.sa_family == AF_INET) {
        addr->sa.v4.sin_port = htons(port);
    } else {
        addr->sa.v6.sin6_port = htons(port);
    }
}

enum err net_addr_make(struct bytes host, uint16_t port, struct net_addr *ret_addr)
{
    if (host.len >= 2 && host.data[0] == '[' && host.data[host.len - 1] == ']') {
        host = bytes_of(host.data + 1, host.len - 2);
    }
    char text[NET_IP_TEXT_MAX];
    if (bytes_to_cstr(host, text, sizeof(text)) != ERR_OK || strlen(text) != host.len) {
        return ERR_BAD_INPUT;
    }
    const char *ip = strcmp(text, "localhost") == 0 ? "127.0.0.1" : text;
    struct net_addr addr = {0};
    if (inet_pton(AF_INET, ip, &addr.sa.v4.sin_addr) == 1) {
        addr.sa.v4.sin_family = AF_INET;
        addr.len = sizeof(addr.sa.v4);
    } else if (inet_pton(AF_INET6, ip, &addr.sa.v6.sin6_addr) == 1) {
        addr.sa.v6.sin6_family = AF_INET6;
        addr.len = sizeof(addr.sa.v6);
    } else {
        return ERR_BAD_INPUT;
    }
    set_port(&addr, port);
    *ret_addr = addr;
    return ERR_OK;
}

static enum err parse_port(struct bytes text, uint16_t *ret_port)
{
    uint32_t port = 0;
    if (text.len == 0 || text.len > 5) {
        return ERR_BAD_INPUT;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return ERR_BAD_INPUT;
        }
        port = port * 10 + (uint32_t)(text.data[i] - '0');
    }
    if (port > UINT16_MAX) {
        return ERR_BAD_INPUT;
    }
    *ret_port = (uint16_t)port;
    return ERR_OK;
}

enum err net_addr_parse(struct bytes text, struct net_addr *ret_addr)
{
    size_t colon = text.len;
    while (colon > 0 && text.data[colon - 1] != ':') {
        colon--;
    }
    if (colon == 0) {
        return ERR_BAD_INPUT;
    }
    struct bytes host = bytes_of(text.data, colon - 1);
    uint16_t port = 0;
    if (parse_port(bytes_from(text, colon), &port) != ERR_OK) {
        return ERR_BAD_INPUT;
    }
    bool bracketed = host.len > 0 && host.data[0] == '[';
    if (!bracketed && bytes_find(host, ':') < host.len) {
        return ERR_BAD_INPUT; /* "::1:80" could be read in two ways */
    }
    return net_addr_make(host, port, ret_addr);
}

const char *net_ip_format(const struct net_addr *addr, char dest[NET_IP_TEXT_MAX])
{
    const char *text = NULL;
    if (addr->len > 0 && addr->sa.any.sa_family == AF_INET) {
        text = inet_ntop(AF_INET, &addr->sa.v4.sin_addr, dest, NET_IP_TEXT_MAX);
    } else if (addr->len > 0 && addr->sa.any.sa_family == AF_INET6) {
        text = inet_ntop(AF_INET6, &addr->sa.v6.sin6_addr, dest, NET_IP_TEXT_MAX);
    }
    if (text == NULL) {
        memcpy(dest, "-", 2);
    }
    return dest;
}

const char *net_addr_format(const struct net_addr *addr, char dest[NET_ADDR_TEXT_MAX])
{
    char ip[NET_IP_TEXT_MAX];
    (void)net_ip_format(addr, ip);
    int len = 0;
    if (addr->len == 0) {
        len = snprintf(dest, NET_ADDR_TEXT_MAX, "-");
    } else if (addr->sa.any.sa_family == AF_INET6) {
        len = snprintf(dest, NET_ADDR_TEXT_MAX, "[%s]:%u", ip, (unsigned)net_addr_port(addr));
    } else {
        len = snprintf(dest, NET_ADDR_TEXT_MAX, "%s:%u", ip, (unsigned)net_addr_port(addr));
    }
    CHECK(len > 0 && len < NET_ADDR_TEXT_MAX);
    return dest;
}

uint16_t net_addr_port(const struct net_addr *addr)
{
    if (addr->len == 0) {
        return 0;
    }
    return addr->sa.any.sa_family == AF_INET6 ? ntohs(addr->sa.v6.sin6_port)
                                              : ntohs(addr->sa.v4.sin_port);
}

bool net_addr_eq(const struct net_addr *a, const struct net_addr *b)
{
    if (a->len == 0 || b->len == 0) {
        return a->len == b->len;
    }
    if (a->sa.any.sa_family != b->sa.any.sa_family || net_addr_port(a) != net_addr_port(b)) {
        return false;
    }
    if (a->sa.any.sa_family == AF_INET) {
        return a->sa.v4.sin_addr.s_addr == b->sa.v4.sin_addr.s_addr;
    }
    return memcmp(&a->sa.v6.sin6_addr, &b->sa.v6.sin6_addr, sizeof(a->sa.v6.sin6_addr)) == 0;
}

bool net_addr_is_loopback(const struct net_addr *addr)
{
    if (addr->len == 0) {
        return false;
    }
    if (addr->sa.any.sa_family == AF_INET) {
        return ntohl(addr->sa.v4.sin_addr.s_addr) >> 24 == 127;
    }
    return IN6_IS_ADDR_LOOPBACK(&addr->sa.v6.sin6_addr);
}

enum err net_resolve(const char *host, uint16_t port, struct net_addr *ret_addrs, size_t max,
                     size_t *ret_count, struct err_note *note)
{
    CHECK(max > 0);
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(host, NULL, &hints, &found);
    if (rc != 0) {
        enum err err = rc == EAI_AGAIN                        ? ERR_TIMEOUT
                       : rc == EAI_NONAME || rc == EAI_NODATA ? ERR_NOT_FOUND
                                                              : ERR_IO;
        return err_note_set(note, err, "look up %s: %s", host, gai_strerror(rc));
    }
    size_t count = 0;
    for (const struct addrinfo *at = found; at != NULL && count < max; at = at->ai_next) {
        if ((at->ai_family == AF_INET || at->ai_family == AF_INET6) &&
            at->ai_addrlen <= sizeof(ret_addrs->sa)) {
            struct net_addr *addr = &ret_addrs[count++];
            *addr = (struct net_addr){.len = at->ai_addrlen};
            memcpy(&addr->sa, at->ai_addr, at->ai_addrlen);
            set_port(addr, port);
        }
    }
    freeaddrinfo(found);
    if (count == 0) {
        return err_note_set(note, ERR_NOT_FOUND, "look up %s: it has no internet address", host);
    }
    *ret_count = count;
    return ERR_OK;
}
