/* Addresses and sockets. */
#include "net/net.h"

#include "test.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void assert_round_trip(const char *text)
{
    struct net_addr addr = {0};
    char out[NET_ADDR_TEXT_MAX];
    assert_int_equal(net_addr_parse(bytes_of_str(text), &addr), ERR_OK);
    assert_string_equal(net_addr_format(&addr, out), text);
}

static void numeric_addresses_are_parsed_and_printed(void **state)
{
    (void)state;
    assert_round_trip("127.0.0.1:8500");
    assert_round_trip("0.0.0.0:0");
    assert_round_trip("[::1]:65535");
    assert_round_trip("[2001:db8::17]:80");
    struct net_addr addr = {0};
    assert_int_equal(net_addr_parse(BYTES_LITERAL("localhost:80"), &addr), ERR_OK);
    assert_int_equal(net_addr_port(&addr), 80);
    char ip[NET_IP_TEXT_MAX];
    assert_string_equal(net_ip_format(&addr, ip), "127.0.0.1");
    assert_int_equal(net_addr_make(BYTES_LITERAL("::1"), 7, &addr), ERR_OK);
    assert_string_equal(net_ip_format(&addr, ip), "::1");
}

static void malformed_addresses_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",          "127.0.0.1",       "127.0.0.1:",    ":80",    "127.0.0.1:65536",
        "1.2.3:80",  "127.0.0.1:8a",    "127.0.0.1:-1",  "::1:80", "[::1]",
        "[::1:80",   "example.org:80",  "127.0.0.1 :80", "[]:80",  "127.0.0.1:000080",
        "1.2.3.4.5", "256.0.0.1:80",    "[127.0.0.1:80", "a]:80",  "[fe80::1%eth0]:80",
        "[::1]x:80", "127.0.0.1:80:80", "127.0.0.1:+80",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct net_addr addr = {.len = 77};
        if (net_addr_parse(bytes_of_str(bad[i]), &addr) != ERR_BAD_INPUT) {
            fail_msg("accepted: %s", bad[i]);
        }
        assert_int_equal(addr.len, 77);
    }
    struct net_addr addr;
    static const char zero[] = "127.0.0.1\0x:80";
    assert_int_equal(net_addr_parse(bytes_of(zero, sizeof(zero) - 1), &addr), ERR_BAD_INPUT);
}

static struct net_addr addr_of(const char *text)
{
    struct net_addr addr = {0};
    assert_int_equal(net_addr_parse(bytes_of_str(text), &addr), ERR_OK);
    return addr;
}

static void addresses_compare_by_host_and_port(void **state)
{
    (void)state;
    struct net_addr a = addr_of("127.0.0.1:80");
    struct net_addr b = addr_of("127.0.0.1:81");
    struct net_addr c = addr_of("127.0.0.2:80");
    struct net_addr d = addr_of("[::1]:80");
    struct net_addr none = {0};
    assert_true(net_addr_eq(&a, &a));
    assert_false(net_addr_eq(&a, &b));
    assert_false(net_addr_eq(&a, &c));
    assert_false(net_addr_eq(&a, &d));
    assert_true(net_addr_eq(&d, &d));
    assert_false(net_addr_eq(&a, &none));
    assert_true(net_addr_eq(&none, &none));
    char text[NET_ADDR_TEXT_MAX];
    assert_string_equal(net_addr_format(&none, text), "-");
}

static void loopback_is_recognised(void **state)
{
    (void)state;
    struct net_addr addr = addr_of("127.9.9.9:1");
    assert_true(net_addr_is_loopback(&addr));
    addr = addr_of("[::1]:1");
    assert_true(net_addr_is_loopback(&addr));
    addr = addr_of("128.0.0.1:1");
    assert_false(net_addr_is_loopback(&addr));
    addr = addr_of("[::2]:1");
    assert_false(net_addr_is_loopback(&addr));
}

static void listen_errors_name_address_and_cause(void **state)
{
    (void)state;
    struct net_addr addr = addr_of("127.0.0.1:0");
    int fd = -1;
    struct err_note note = {0};
    assert_int_equal(net_listen(&addr, false, &fd, &note), ERR_OK);
    assert_int_equal(net_local_addr(fd, &addr), ERR_OK);
    char expected[128];
    char text[NET_ADDR_TEXT_MAX];
    (void)snprintf(expected, sizeof(expected), "listen on %s: port %u is in use",
                   net_addr_format(&addr, text), net_addr_port(&addr));
    int other = -1;
    assert_int_equal(net_listen(&addr, false, &other, &note), ERR_IN_USE);
    assert_string_equal(note.text, expected);
    assert_int_equal(other, -1);
    assert_int_equal(close(fd), 0);
    struct net_addr foreign = addr_of("192.0.2.1:9"); /* RFC 5737: nobody's */
    assert_int_equal(net_listen(&foreign, false, &fd, &note), ERR_BAD_INPUT);
    assert_non_null(strstr(note.text, "192.0.2.1:9"));
    assert_non_null(strstr(note.text, "no interface"));
}

static void udp_socket_is_bound(void **state)
{
    (void)state;
    struct net_addr addr = addr_of("127.0.0.1:0");
    int fd = -1;
    assert_int_equal(net_udp_bind(&addr, &fd, NULL), ERR_OK);
    assert_int_equal(net_local_addr(fd, &addr), ERR_OK);
    assert_true(net_addr_port(&addr) > 0);
    int other = -1;
    assert_int_equal(net_udp_bind(&addr, &other, NULL), ERR_IN_USE);
    assert_int_equal(close(fd), 0);
}

static void socket_errors_have_codes_of_their_own(void **state)
{
    (void)state;
    assert_int_equal(net_err_from_errno(ECONNREFUSED), ERR_REFUSED);
    assert_int_equal(net_err_from_errno(ECONNRESET), ERR_CLOSED);
    assert_int_equal(net_err_from_errno(EPIPE), ERR_CLOSED);
    assert_int_equal(net_err_from_errno(ETIMEDOUT), ERR_TIMEOUT);
    assert_int_equal(net_err_from_errno(EMFILE), ERR_FULL);
    assert_int_equal(net_err_from_errno(EHOSTUNREACH), ERR_IO);
    assert_int_equal(net_err_from_errno(EIO), ERR_IO);
}

static void keep_alive_is_bounded_in_time(void **state)
{
    (void)state;
    struct net_addr addr = addr_of("127.0.0.1:0");
    int fd = -1;
    assert_int_equal(net_socket(&addr, &fd), ERR_OK);
    net_set_keepalive(fd, 10);
    int value = 0;
    socklen_t len = sizeof(value);
    assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &value, &len), 0);
    assert_int_equal(value, 1);
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &value, &len), 0);
    assert_int_equal(value, 10);
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &value, &len), 0);
    assert_int_equal(value, 20000);
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &len), 0);
    assert_int_equal(value, 1);
    assert_int_equal(close(fd), 0);
}

static void names_are_looked_up(void **state)
{
    (void)state;
    struct net_addr addrs[4];
    size_t count = 0;
    assert_int_equal(net_resolve("127.0.0.1", 80, addrs, 4, &count, NULL), ERR_OK);
    assert_int_equal(count, 1);
    struct net_addr expected = addr_of("127.0.0.1:80");
    assert_true(net_addr_eq(&addrs[0], &expected));
    struct err_note note = {0};
    assert_int_not_equal(net_resolve("no such name", 80, addrs, 4, &count, &note), ERR_OK);
    assert_non_null(strstr(note.text, "no such name"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numeric_addresses_are_parsed_and_printed),
        cmocka_unit_test(malformed_addresses_are_refused),
        cmocka_unit_test(addresses_compare_by_host_and_port),
        cmocka_unit_test(loopback_is_recognised),
        cmocka_unit_test(listen_errors_name_address_and_cause),
        cmocka_unit_test(udp_socket_is_bound),
        cmocka_unit_test(socket_errors_have_codes_of_their_own),
        cmocka_unit_test(keep_alive_is_bounded_in_time),
        cmocka_unit_test(names_are_looked_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
