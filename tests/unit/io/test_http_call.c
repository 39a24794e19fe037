/* The blocking call, against a server on a thread of its own. */
#include "http/http_call.h"

#include "http_test.h"

#include <pthread.h>

/* The loop belongs to this thread, to its end. */
static void *serve(void *loop)
{
    loop_run(loop);
    while (web.held_count > 0) {
        http_request_cancel(web.held[--web.held_count]);
    }
    http_server_close(&web.server, web_closed);
    while (!web.closed) {
        loop_turn(loop, CLK_MS(20));
    }
    return NULL;
}

static struct http_call call_of(enum http1_method method, const char *target)
{
    return (struct http_call){
        .addr = web.addr,
        .method = method,
        .target = bytes_of_str(target),
        .timeout = CLK_S(20),
    };
}

static void calls_get_answers(void)
{
    struct err_note note = {0};
    struct http_reply reply = {0};
    struct http_call call = call_of(HTTP1_METHOD_PUT, "/v1/kv/a?x");
    call.body = BYTES_LITERAL("value");
    assert_int_equal(http_call(&call, &reply, &note), ERR_OK);
    assert_int_equal(reply.status, 200);
    assert_true(bytes_eq_str(buf_bytes(&reply.body), "PUT /v1/kv/a?x 5:value"));
    assert_true(bytes_eq_str(http_reply_header(&reply, BYTES_LITERAL("x-test")), "yes"));
    assert_int_equal(http_reply_header(&reply, BYTES_LITERAL("x-other")).len, 0);
    http_reply_done(&reply);
    http_reply_done(&reply);
    call = call_of(HTTP1_METHOD_GET, "/status?code=404");
    assert_int_equal(http_call(&call, &reply, &note), ERR_OK);
    assert_int_equal(reply.status, 404);
    http_reply_done(&reply);
}

static void failures_say_what_and_where(void)
{
    struct err_note note = {0};
    struct http_reply reply = {0};
    char addr[NET_ADDR_TEXT_MAX];
    struct http_call call = call_of(HTTP1_METHOD_GET, "/stream"); /* never answered */
    call.timeout = CLK_MS(30);
    assert_int_equal(http_call(&call, &reply, &note), ERR_TIMEOUT);
    assert_non_null(strstr(note.text, net_addr_format(&web.addr, addr)));
    assert_non_null(strstr(note.text, "no answer in time"));
    call = call_of(HTTP1_METHOD_GET, "/big?len=2000");
    call.body_max = 1000;
    assert_int_equal(http_call(&call, &reply, &note), ERR_TOO_LARGE);
}

static void call_returns_the_answer_or_says_why_not(void **state)
{
    (void)state;
    web_open();
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, serve, web.loop), 0);
    calls_get_answers();
    failures_say_what_and_where();
    loop_stop(web.loop);
    assert_int_equal(pthread_join(thread, NULL), 0);
    loop_free(web.loop);
}

static void call_to_nobody_is_refused(void **state)
{
    (void)state;
    struct err_note note = {0};
    struct http_reply reply = {0};
    int fd = -1;
    struct net_addr addr = {0};
    assert_int_equal(net_addr_parse(BYTES_LITERAL("127.0.0.1:0"), &addr), ERR_OK);
    assert_int_equal(net_udp_bind(&addr, &fd, &note), ERR_OK); /* a port without TCP listener */
    assert_int_equal(net_local_addr(fd, &addr), ERR_OK);
    struct http_call call = call_of(HTTP1_METHOD_GET, "/");
    call.addr = addr;
    assert_int_equal(http_call(&call, &reply, &note), ERR_REFUSED);
    assert_non_null(strstr(note.text, "is the server running?"));
    assert_int_equal(close(fd), 0);
}

int main(void)
{
    test_skip_without_backend();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(call_returns_the_answer_or_says_why_not),
        cmocka_unit_test(call_to_nobody_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
