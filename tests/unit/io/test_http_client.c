/* The HTTP client against our server, and against raw servers that misbehave. */
#include "http/http_client.h"

#include "http_test.h"

#include <pthread.h>

/* --- a fetch that remembers what it got --- */

struct got {
    struct http_fetch fetch;
    int done;
    enum err err;
    uint16_t status;
    size_t len;
    bool cut;
    enum http1_reason reason;
    char body[8192];
    char header[64];
};

static struct http_client client;
static bool client_closed;

static void on_client_closed(struct http_client *closed)
{
    assert_ptr_equal(closed, &client);
    client_closed = true;
}

static void client_open(struct loop *loop)
{
    client_closed = false;
    http_client_init(&client, loop, &HTTP_CLIENT_LIMITS_DEFAULT);
}

static void client_close(struct loop *loop)
{
    http_client_close(&client, on_client_closed);
    LOOP_UNTIL(loop, client_closed);
}

static void on_done(struct http_fetch *fetch, enum err err)
{
    struct got *got = CONTAINER_OF(fetch, struct got, fetch);
    got->done++;
    got->err = err;
    got->reason = fetch->reason;
    if (err != ERR_OK) {
        return;
    }
    got->status = fetch->status;
    got->len = fetch->answer.len;
    got->cut = fetch->answer_was_cut;
    size_t part = got->len < sizeof(got->body) - 1 ? got->len : sizeof(got->body) - 1;
    memcpy(got->body, part > 0 ? fetch->answer.data : (const uint8_t *)"", part);
    got->body[part] = '\0';
    struct bytes header = http_fetch_header(fetch, BYTES_LITERAL("x-test"));
    assert_int_equal(bytes_to_cstr(header, got->header, sizeof(got->header)), ERR_OK);
}

static void fetch_prepare(struct got *got, const struct net_addr *addr, enum http1_method method,
                          const char *target)
{
    memset(got, 0, sizeof(*got));
    got->fetch.addr = *addr;
    got->fetch.method = method;
    got->fetch.target = bytes_of_str(target);
    got->fetch.timeout = CLK_S(60);
    got->fetch.body_max = 4096;
    got->fetch.on_done = on_done;
}

static void fetch_run(struct loop *loop, struct got *got)
{
    http_fetch_start(&client, &got->fetch);
    assert_int_equal(got->done, 0);
    LOOP_UNTIL(loop, got->done > 0);
    assert_int_equal(got->done, 1);
}

static void both_open(void)
{
    web_open();
    client_open(web.loop);
}

static void both_close(void)
{
    client_close(web.loop);
    web_close();
}

/* --- against our server --- */

static void answer_is_collected_and_the_connection_reused(void **state)
{
    (void)state;
    both_open();
    struct got got;
    for (int i = 0; i < 5; i++) {
        fetch_prepare(&got, &web.addr, HTTP1_METHOD_PUT, "/kv/a?b=c");
        got.fetch.body = BYTES_LITERAL("value");
        fetch_run(web.loop, &got);
        assert_int_equal(got.err, ERR_OK);
        assert_int_equal(got.status, 200);
        assert_string_equal(got.body, "PUT /kv/a?b=c 5:value");
        assert_string_equal(got.header, "yes");
    }
    fetch_prepare(&got, &web.addr, HTTP1_METHOD_HEAD, "/x");
    fetch_run(web.loop, &got);
    assert_int_equal(got.err, ERR_OK);
    assert_int_equal(got.len, 0);
    assert_int_equal(metric_get(&web.server.stats.connections), 1);
    both_close();
}

static void fields_and_host_are_sent(void **state)
{
    (void)state;
    both_open();
    struct got got;
    struct http_field field = {BYTES_LITERAL("X-Consul-Token"), BYTES_LITERAL("secret")};
    fetch_prepare(&got, &web.addr, HTTP1_METHOD_GET, "/header?name=X-Consul-Token");
    got.fetch.fields = &field;
    got.fetch.field_count = 1;
    fetch_run(web.loop, &got);
    assert_string_equal(got.body, "secret");
    char host[NET_ADDR_TEXT_MAX];
    fetch_prepare(&got, &web.addr, HTTP1_METHOD_GET, "/header?name=Host");
    fetch_run(web.loop, &got);
    assert_string_equal(got.body, net_addr_format(&web.addr, host));
    field.value = BYTES_LITERAL("a\r\nb: c");
    got.fetch.fields = &field;
    got.fetch.field_count = 1;
    got.done = 0;
    fetch_run(web.loop, &got);
    assert_int_equal(got.err, ERR_BAD_INPUT);
    both_close();
}

static void fetches_at_the_same_time_have_their_own_connections(void **state)
{
    (void)state;
    both_open();
    static struct got got[20];
    for (int i = 0; i < 20; i++) {
        fetch_prepare(&got[i], &web.addr, HTTP1_METHOD_GET, "/hold");
        http_fetch_start(&client, &got[i].fetch);
    }
    LOOP_UNTIL(web.loop, web.held_count == 20);
    while (web.held_count > 0) {
        http_respond_text(web.held[--web.held_count], 200, "done");
    }
    for (int i = 0; i < 20; i++) {
        LOOP_UNTIL(web.loop, got[i].done == 1);
        assert_string_equal(got[i].body, "done");
    }
    assert_int_equal(metric_get(&web.server.stats.connections), 20);
    both_close();
}

static void fresh_and_post_use_new_connections(void **state)
{
    (void)state;
    both_open();
    struct got got;
    fetch_prepare(&got, &web.addr, HTTP1_METHOD_GET, "/a");
    fetch_run(web.loop, &got);
    fetch_prepare(&got, &web.addr, HTTP1_METHOD_POST, "/b");
    fetch_run(web.loop, &got);
    assert_string_equal(got.body, "POST /b? 0:");
    fetch_prepare(&got, &web.addr, HTTP1_METHOD_GET, "/c");
    got.fetch.fresh = true;
    fetch_run(web.loop, &got);
    assert_int_equal(metric_get(&web.server.stats.connections), 3);
    LOOP_UNTIL(web.loop, metric_gauge_get(&web.server.stats.open) == 2);
    both_close();
}

static void long_answer_is_cut_or_refused(void **state)
{
    (void)state;
    both_open();
    struct got got;
    fetch_prepare(&got, &web.addr, HTTP1_METHOD_GET, "/big?len=5000");
    fetch_run(web.loop, &got);
    assert_int_equal(got.err, ERR_TOO_LARGE);
    /* A little more is read and thrown away, and the connection is kept. */
    for (int i = 0; i < 2; i++) {
        fetch_prepare(&got, &web.addr, HTTP1_METHOD_GET, "/big?len=5000");
        got.fetch.cut_body = true;
        fetch_run(web.loop, &got);
        assert_int_equal(got.err, ERR_OK);
        assert_int_equal(got.len, 4096);
        assert_true(got.cut);
    }
    assert_int_equal(metric_get(&web.server.stats.connections), 2);
    fetch_prepare(&got, &web.addr, HTTP1_METHOD_GET, "/big?len=9000000");
    got.fetch.cut_body = true;
    fetch_run(web.loop, &got);
    assert_int_equal(got.err, ERR_OK);
    assert_int_equal(got.len, 4096);
    assert_true(got.cut);
    fetch_prepare(&got, &web.addr, HTTP1_METHOD_GET, "/big?len=4096");
    fetch_run(web.loop, &got);
    assert_int_equal(got.err, ERR_OK);
    assert_int_equal(got.len, 4096);
    assert_false(got.cut);
    both_close();
}

static void late_answer_is_a_timeout(void **state)
{
    (void)state;
    both_open();
    struct got got;
    fetch_prepare(&got, &web.addr, HTTP1_METHOD_GET, "/hold");
    got.fetch.timeout = CLK_MS(30);
    fetch_run(web.loop, &got);
    assert_int_equal(got.err, ERR_TIMEOUT);
    assert_true(got.fetch.connected);
    LOOP_UNTIL(web.loop, web.gone_count == 1);
    both_close();
}

static void cancelled_fetch_is_done_later(void **state)
{
    (void)state;
    both_open();
    struct got got;
    fetch_prepare(&got, &web.addr, HTTP1_METHOD_GET, "/hold");
    http_fetch_start(&client, &got.fetch);
    http_fetch_cancel(&got.fetch);
    assert_int_equal(got.done, 0);
    LOOP_UNTIL(web.loop, got.done == 1);
    assert_int_equal(got.err, ERR_CANCELED);
    fetch_prepare(&got, &web.addr, HTTP1_METHOD_GET, "/hold");
    http_fetch_start(&client, &got.fetch);
    LOOP_UNTIL(web.loop, web.held_count == 1);
    http_fetch_cancel(&got.fetch);
    http_fetch_cancel(&got.fetch);
    LOOP_UNTIL(web.loop, got.done == 1 && web.gone_count == 1);
    assert_int_equal(got.err, ERR_CANCELED);
    both_close();
}

static void fetch_beyond_the_limit_is_full(void **state)
{
    (void)state;
    web_open();
    client_closed = false;
    struct http_client_limits limits = HTTP_CLIENT_LIMITS_DEFAULT;
    limits.fetches_max = 1;
    http_client_init(&client, web.loop, &limits);
    static struct got first;
    static struct got second;
    fetch_prepare(&first, &web.addr, HTTP1_METHOD_GET, "/hold");
    http_fetch_start(&client, &first.fetch);
    fetch_prepare(&second, &web.addr, HTTP1_METHOD_GET, "/b");
    fetch_run(web.loop, &second);
    assert_int_equal(second.err, ERR_FULL);
    http_fetch_cancel(&first.fetch);
    LOOP_UNTIL(web.loop, first.done == 1);
    both_close();
}

static void kept_connection_is_closed_after_its_time(void **state)
{
    (void)state;
    web_open();
    client_closed = false;
    struct http_client_limits limits = HTTP_CLIENT_LIMITS_DEFAULT;
    limits.kept_timeout = CLK_MS(20);
    http_client_init(&client, web.loop, &limits);
    struct got got;
    fetch_prepare(&got, &web.addr, HTTP1_METHOD_GET, "/a");
    fetch_run(web.loop, &got);
    assert_int_equal(metric_gauge_get(&web.server.stats.open), 1);
    LOOP_UNTIL(web.loop, metric_gauge_get(&web.server.stats.open) == 0);
    both_close();
}

static void refused_connection_is_told(void **state)
{
    (void)state;
    both_open();
    struct net_addr addr = web.addr;
    int fd = -1;
    struct err_note note = {0};
    assert_int_equal(net_addr_parse(BYTES_LITERAL("127.0.0.1:0"), &addr), ERR_OK);
    assert_int_equal(net_udp_bind(&addr, &fd, &note), ERR_OK); /* a port without TCP listener */
    assert_int_equal(net_local_addr(fd, &addr), ERR_OK);
    struct got got;
    fetch_prepare(&got, &addr, HTTP1_METHOD_GET, "/a");
    fetch_run(web.loop, &got);
    assert_int_equal(got.err, ERR_REFUSED);
    assert_false(got.fetch.connected);
    assert_int_equal(close(fd), 0);
    both_close();
}

static void *serve(void *loop)
{
    loop_run(loop);
    http_server_close(&web.server, web_closed);
    while (!web.closed) {
        loop_turn(loop, CLK_MS(20));
    }
    return NULL;
}

/* There an answer may come in one batch with the news that the request was sent. */
static void connection_is_reused_with_a_server_on_another_thread(void **state)
{
    (void)state;
    web_open();
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, serve, web.loop), 0);
    struct loop *loop = test_loop();
    client_open(loop);
    struct got got;
    for (int i = 0; i < 500; i++) {
        fetch_prepare(&got, &web.addr, HTTP1_METHOD_PUT, "/a");
        got.fetch.body = BYTES_LITERAL("value");
        fetch_run(loop, &got);
        assert_string_equal(got.body, "PUT /a? 5:value");
    }
    assert_int_equal(client.kept_count, 1);
    client_close(loop);
    loop_free(loop);
    loop_stop(web.loop);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(metric_get(&web.server.stats.connections), 1);
    loop_free(web.loop);
}

/* --- against a raw server: the test accepts and speaks --- */

struct raw_server {
    struct loop *loop;
    int fd;
    struct net_addr addr;
};

static struct raw_server raw_server;

static void raw_server_open(void)
{
    struct err_note note = {0};
    raw_server.loop = test_loop();
    assert_int_equal(net_addr_parse(BYTES_LITERAL("127.0.0.1:0"), &raw_server.addr), ERR_OK);
    assert_int_equal(net_listen(&raw_server.addr, false, &raw_server.fd, &note), ERR_OK);
    assert_int_equal(net_local_addr(raw_server.fd, &raw_server.addr), ERR_OK);
    client_open(raw_server.loop);
}

static void raw_server_close(void)
{
    client_close(raw_server.loop);
    assert_int_equal(close(raw_server.fd), 0);
    assert_int_equal(loop_active_count(raw_server.loop), 0);
    loop_free(raw_server.loop);
}

static bool raw_has_connection(int *fd)
{
    if (*fd < 0) {
        *fd = accept4(raw_server.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    }
    return *fd >= 0;
}

static int raw_accept(void)
{
    int fd = -1;
    LOOP_UNTIL(raw_server.loop, raw_has_connection(&fd));
    return fd;
}

static bool raw_has_request(int fd, char *text, size_t *len)
{
    ssize_t n = recv(fd, text + *len, 4095 - *len, MSG_DONTWAIT);
    *len += n > 0 ? (size_t)n : 0;
    text[*len] = '\0';
    return strstr(text, "\r\n\r\n") != NULL;
}

/* Reads a request's head. */
static void raw_read(int fd)
{
    char text[4096] = "";
    size_t len = 0;
    LOOP_UNTIL(raw_server.loop, raw_has_request(fd, text, &len));
}

static void raw_answer(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

static void idempotent_fetch_is_sent_again_when_a_kept_connection_was_closed(void **state)
{
    (void)state;
    raw_server_open();
    struct got got;
    fetch_prepare(&got, &raw_server.addr, HTTP1_METHOD_GET, "/1");
    http_fetch_start(&client, &got.fetch);
    int fd = raw_accept();
    raw_read(fd);
    raw_answer(fd, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1");
    LOOP_UNTIL(raw_server.loop, got.done == 1);
    /* The server takes the second request and closes without a word: a race that it may lose. */
    fetch_prepare(&got, &raw_server.addr, HTTP1_METHOD_GET, "/2");
    http_fetch_start(&client, &got.fetch);
    raw_read(fd);
    assert_int_equal(close(fd), 0);
    fd = raw_accept();
    raw_read(fd);
    raw_answer(fd, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2");
    LOOP_UNTIL(raw_server.loop, got.done == 1);
    assert_int_equal(got.err, ERR_OK);
    assert_string_equal(got.body, "2");
    /* Once only. */
    fetch_prepare(&got, &raw_server.addr, HTTP1_METHOD_GET, "/3");
    http_fetch_start(&client, &got.fetch);
    raw_read(fd);
    assert_int_equal(close(fd), 0);
    fd = raw_accept();
    raw_read(fd);
    assert_int_equal(close(fd), 0);
    LOOP_UNTIL(raw_server.loop, got.done == 1);
    assert_int_equal(got.err, ERR_CLOSED);
    raw_server_close();
}

static void kept_connection_that_the_server_closed_is_not_used(void **state)
{
    (void)state;
    raw_server_open();
    struct got got;
    fetch_prepare(&got, &raw_server.addr, HTTP1_METHOD_GET, "/1");
    http_fetch_start(&client, &got.fetch);
    int fd = raw_accept();
    raw_read(fd);
    raw_answer(fd, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1");
    LOOP_UNTIL(raw_server.loop, got.done == 1);
    assert_int_equal(client.kept_count, 1);
    assert_int_equal(close(fd), 0);
    LOOP_UNTIL(raw_server.loop, client.kept_count == 0);
    raw_server_close();
}

/* The server leaves its side open each time. */
static void connection_is_not_kept(const char *answer, bool fresh)
{
    struct got got;
    fetch_prepare(&got, &raw_server.addr, HTTP1_METHOD_GET, "/1");
    got.fetch.fresh = fresh;
    http_fetch_start(&client, &got.fetch);
    int fd = raw_accept();
    raw_read(fd);
    raw_answer(fd, answer);
    LOOP_UNTIL(raw_server.loop, got.done == 1);
    assert_int_equal(got.err, ERR_OK);
    assert_int_equal(client.kept_count, 0);
    LOOP_UNTIL(raw_server.loop, client.conn_count == 0);
    assert_int_equal(close(fd), 0);
}

static void connection_that_cannot_be_trusted_is_not_kept(void **state)
{
    (void)state;
    raw_server_open();
    connection_is_not_kept("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n1",
                           false);
    connection_is_not_kept("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1HTTP/1.1 200 OK\r\n",
                           false);
    connection_is_not_kept("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1", true);
    raw_server_close();
}

static void cut_answer_is_not_read_to_its_far_end(void **state)
{
    (void)state;
    raw_server_open();
    struct got got;
    static char part[128 * 1024];
    fetch_prepare(&got, &raw_server.addr, HTTP1_METHOD_GET, "/1");
    got.fetch.cut_body = true;
    http_fetch_start(&client, &got.fetch);
    int fd = raw_accept();
    raw_read(fd);
    raw_answer(fd, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
    assert_int_equal(send(fd, part, sizeof(part), MSG_NOSIGNAL), sizeof(part));
    LOOP_UNTIL(raw_server.loop, got.done == 1);
    assert_int_equal(got.err, ERR_OK);
    assert_int_equal(got.len, 4096);
    assert_true(got.cut);
    assert_int_equal(client.kept_count, 0);
    assert_int_equal(close(fd), 0);
    raw_server_close();
}

static const struct {
    const char *answer;
    enum err err;
    enum http1_reason reason;
    const char *body;
} answers[] = {
    {"HTTP/1.1 200 OK\r\n\r\nto the end", ERR_OK, HTTP1_REASON_NONE, "to the end"},
    {"HTTP/1.0 200 OK\r\n\r\nto the end", ERR_OK, HTTP1_REASON_NONE, "to the end"},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x\r\nc\r\n0\r\n\r\n",
     ERR_OK, HTTP1_REASON_NONE, "abc"},
    {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n"
     "Content-Length: 2\r\n\r\nok",
     ERR_OK, HTTP1_REASON_NONE, "ok"},
    {"HTTP/1.1 204 No Content\r\n\r\n", ERR_OK, HTTP1_REASON_NONE, ""},
    {"HTTP/1.1 302 Found\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n", ERR_OK, HTTP1_REASON_NONE,
     ""},
    {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nunasked", ERR_OK, HTTP1_REASON_NONE, ""},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhalf", ERR_CLOSED, HTTP1_REASON_NONE, ""},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", ERR_CLOSED,
     HTTP1_REASON_NONE, ""},
    {"HTTP/1.1 200 OK\r\nContent", ERR_CLOSED, HTTP1_REASON_NONE, ""},
    {"", ERR_CLOSED, HTTP1_REASON_NONE, ""},
    {"SSH-2.0-OpenSSH\r\n", ERR_BAD_INPUT, HTTP1_REASON_START_LINE_MALFORMED, ""},
    {"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n", ERR_BAD_INPUT,
     HTTP1_REASON_CONTENT_LENGTH_INVALID, ""},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", ERR_BAD_INPUT,
     HTTP1_REASON_CHUNK_SIZE_INVALID, ""},
    {"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", ERR_BAD_INPUT,
     HTTP1_REASON_UPGRADE_UNASKED, ""},
};

/* cut: where the answer is cut in two, with turns of the loop between. */
static void check_answer(size_t index, size_t cut)
{
    const char *text = answers[index].answer;
    struct got got;
    fetch_prepare(&got, &raw_server.addr, HTTP1_METHOD_GET, "/");
    got.fetch.fresh = true;
    http_fetch_start(&client, &got.fetch);
    int fd = raw_accept();
    raw_read(fd);
    assert_int_equal(send(fd, text, cut, MSG_NOSIGNAL), cut);
    loop_turn(raw_server.loop, 0);
    loop_turn(raw_server.loop, 0);
    (void)send(fd, text + cut, strlen(text) - cut, MSG_NOSIGNAL);
    assert_int_equal(close(fd), 0);
    LOOP_UNTIL(raw_server.loop, got.done == 1);
    if (got.err != answers[index].err || got.reason != answers[index].reason) {
        fail_msg("%s: %s, %s", text, err_name(got.err), http1_reason_name(got.reason));
    }
    assert_string_equal(got.body, answers[index].body);
}

static void answers_of_other_servers_are_understood_or_refused(void **state)
{
    (void)state;
    raw_server_open();
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        for (size_t cut = 0; cut <= strlen(answers[i].answer); cut++) {
            check_answer(i, cut);
        }
    }
    raw_server_close();
}

static void endless_interim_answers_are_refused(void **state)
{
    (void)state;
    raw_server_open();
    struct got got;
    fetch_prepare(&got, &raw_server.addr, HTTP1_METHOD_GET, "/");
    http_fetch_start(&client, &got.fetch);
    int fd = raw_accept();
    raw_read(fd);
    for (int i = 0; i <= HTTP1_INTERIM_MAX; i++) {
        raw_answer(fd, "HTTP/1.1 100 Continue\r\n\r\n");
    }
    LOOP_UNTIL(raw_server.loop, got.done == 1);
    assert_int_equal(got.err, ERR_BAD_INPUT);
    assert_int_equal(close(fd), 0);
    raw_server_close();
}

/* The caller's body may not be read after on_done, though the server answers before it came. */
static void answer_before_the_whole_request_was_sent_ends_the_connection(void **state)
{
    (void)state;
    raw_server_open();
    struct got got;
    size_t len = 32 * 1024 * 1024; /* more than the kernel's buffers take */
    uint8_t *body = mem_alloc(len);
    fetch_prepare(&got, &raw_server.addr, HTTP1_METHOD_PUT, "/");
    got.fetch.body = bytes_of(body, len);
    http_fetch_start(&client, &got.fetch);
    int fd = raw_accept();
    raw_read(fd);
    raw_answer(fd, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno");
    LOOP_UNTIL(raw_server.loop, got.done == 1);
    mem_free(body);
    assert_int_equal(got.err, ERR_OK);
    assert_int_equal(got.status, 413);
    assert_string_equal(got.body, "no");
    assert_int_equal(client.kept_count, 0);
    assert_int_equal(close(fd), 0);
    raw_server_close();
}

int main(void)
{
    test_skip_without_backend();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answer_is_collected_and_the_connection_reused),
        cmocka_unit_test(fields_and_host_are_sent),
        cmocka_unit_test(fetches_at_the_same_time_have_their_own_connections),
        cmocka_unit_test(fresh_and_post_use_new_connections),
        cmocka_unit_test(long_answer_is_cut_or_refused),
        cmocka_unit_test(late_answer_is_a_timeout),
        cmocka_unit_test(cancelled_fetch_is_done_later),
        cmocka_unit_test(fetch_beyond_the_limit_is_full),
        cmocka_unit_test(kept_connection_is_closed_after_its_time),
        cmocka_unit_test(refused_connection_is_told),
        cmocka_unit_test(connection_is_reused_with_a_server_on_another_thread),
        cmocka_unit_test(idempotent_fetch_is_sent_again_when_a_kept_connection_was_closed),
        cmocka_unit_test(kept_connection_that_the_server_closed_is_not_used),
        cmocka_unit_test(connection_that_cannot_be_trusted_is_not_kept),
        cmocka_unit_test(cut_answer_is_not_read_to_its_far_end),
        cmocka_unit_test(answers_of_other_servers_are_understood_or_refused),
        cmocka_unit_test(endless_interim_answers_are_refused),
        cmocka_unit_test(answer_before_the_whole_request_was_sent_ends_the_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
