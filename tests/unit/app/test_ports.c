/* Ports: free ones, taken ones, and who took them. */
#include "test.h"

#include "ports/ports.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int listen_somewhere(struct net_addr *ret_addr)
{
    struct net_addr any;
    struct err_note note = {{0}};
    int fd = -1;
    assert_int_equal(net_addr_parse(BYTES_LITERAL("127.0.0.1:0"), &any), ERR_OK);
    assert_int_equal(net_listen(&any, true, &fd, &note), ERR_OK);
    assert_int_equal(net_local_addr(fd, ret_addr), ERR_OK);
    return fd;
}

static void a_port_in_use_is_named_with_its_holder(void **state)
{
    (void)state;
    struct net_addr addr;
    int fd = listen_somewhere(&addr);
    struct ports_holder holder;
    struct err_note note = {{0}};
    char words[64];
    assert_true(ports_find_holder(net_addr_port(&addr), &holder));
    assert_int_equal(holder.pid, getpid());
    assert_int_equal(ports_probe(&addr, &note), ERR_IN_USE);
    (void)snprintf(words, sizeof(words), "port %u is in use by process %d (", net_addr_port(&addr),
                   (int)getpid());
    assert_non_null(strstr(note.text, words));
    assert_int_equal(close(fd), 0);
}

static void a_port_that_was_closed_is_free(void **state)
{
    (void)state;
    struct net_addr addr;
    struct err_note note = {{0}};
    int fd = listen_somewhere(&addr);
    assert_int_equal(close(fd), 0);
    assert_int_equal(ports_probe(&addr, &note), ERR_OK);
    struct ports_holder holder;
    assert_false(ports_find_holder(net_addr_port(&addr), &holder));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_port_in_use_is_named_with_its_holder),
        cmocka_unit_test(a_port_that_was_closed_is_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
