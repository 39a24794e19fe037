/* The HTTP server's times, limits, end and streams. */
#include "http_test.h"

/* Counted by the linker's --wrap: arenas, pools and buffers go through these as well. */
void *__real_mem_alloc(size_t size);
void *__wrap_mem_alloc(size_t size);
void *__real_mem_resize(void *old, size_t size);
void *__wrap_mem_resize(void *old, size_t size);

static size_t allocations;

void *__wrap_mem_alloc(size_t size)
{
    allocations++;
    return __real_mem_alloc(size);
}

void *__wrap_mem_resize(void *old, size_t size)
{
    allocations++;
    return __real_mem_resize(old, size);
}

static struct http_limits limits_now(void)
{
    return HTTP_LIMITS_DEFAULT;
}

/* --- times --- */

static void slow_head_is_timed_out_with_an_answer(void **state)
{
    (void)state;
    struct http_limits limits = limits_now();
    limits.header_timeout = CLK_MS(30);
    web_open_with(&limits);
    struct raw raw = raw_open();
    raw_say(&raw, "GET / HTTP/1.1\r\nHo");
    raw_wait_end(&raw);
    assert_int_equal(strncmp(raw.text, "HTTP/1.1 408 ", 13), 0);
    assert_non_null(strstr(raw.text, "header_timeout: "));
    assert_int_equal(metric_get(&web.server.stats.timeouts), 1);
    raw_close(&raw);
    web_close();
}

/* Each byte comes in time, the whole does not. */
static void dripping_head_is_timed_out(void **state)
{
    (void)state;
    struct http_limits limits = limits_now();
    limits.header_timeout = CLK_MS(60);
    web_open_with(&limits);
    struct raw raw = raw_open();
    raw_say(&raw, "GET / HTTP/1.1\r\nX: ");
    clk_ns end = loop_now(web.loop) + CLK_S(20);
    while (strstr(raw.text, "header_timeout: ") == NULL) {
        raw_say(&raw, "x");
        loop_turn(web.loop, CLK_MS(1));
        raw_poll(&raw);
        assert_true(loop_now(web.loop) < end);
    }
    raw_close(&raw);
    web_close();
}

static void slow_body_is_timed_out_with_an_answer(void **state)
{
    (void)state;
    struct http_limits limits = limits_now();
    limits.body_timeout = CLK_MS(30);
    web_open_with(&limits);
    struct raw raw = raw_open();
    raw_say(&raw, "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf");
    raw_wait_end(&raw);
    assert_int_equal(strncmp(raw.text, "HTTP/1.1 408 ", 13), 0);
    assert_non_null(strstr(raw.text, "body_timeout: "));
    raw_close(&raw);
    web_close();
}

static void idle_connection_is_closed_silently(void **state)
{
    (void)state;
    struct http_limits limits = limits_now();
    limits.idle_timeout = CLK_MS(30);
    web_open_with(&limits);
    struct raw used = raw_open();
    struct raw unused = raw_open();
    raw_say(&used, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
    raw_wait(&used, "GET /a? 0:");
    size_t len = used.len;
    raw_wait_end(&used);
    raw_wait_end(&unused);
    assert_int_equal(used.len, len);
    assert_int_equal(unused.len, 0);
    assert_int_equal(metric_get(&web.server.stats.timeouts), 2);
    raw_close(&used);
    raw_close(&unused);
    web_close();
}

static void held_request_is_not_timed_out(void **state)
{
    (void)state;
    struct http_limits limits = limits_now();
    limits.idle_timeout = CLK_MS(5);
    limits.header_timeout = CLK_MS(5);
    limits.body_timeout = CLK_MS(5);
    limits.write_timeout = CLK_MS(5);
    web_open_with(&limits);
    struct raw raw = raw_open();
    raw_say(&raw, "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
    LOOP_UNTIL(web.loop, web.held_count == 1);
    clk_ns end = loop_now(web.loop) + CLK_MS(40);
    while (loop_now(web.loop) < end) {
        loop_turn(web.loop, CLK_MS(5));
    }
    http_respond_text(web.held[0], 200, "held");
    web.held_count = 0;
    raw_wait(&raw, "held");
    raw_close(&raw);
    web_close();
}

static void client_that_does_not_read_is_timed_out(void **state)
{
    (void)state;
    struct http_limits limits = limits_now();
    limits.write_timeout = CLK_MS(50);
    web_open_with(&limits);
    struct raw raw = raw_open();
    raw_say(&raw, "GET /big?len=40000000 HTTP/1.1\r\nHost: h\r\n\r\n");
    LOOP_UNTIL(web.loop, metric_get(&web.server.stats.timeouts) == 1);
    LOOP_UNTIL(web.loop, metric_gauge_get(&web.server.stats.open) == 0);
    raw_close(&raw);
    web_close();
}

/* --- limits --- */

static void connection_is_closed_after_its_last_request(void **state)
{
    (void)state;
    struct http_limits limits = limits_now();
    limits.requests_max = 2;
    web_open_with(&limits);
    struct raw raw = raw_open();
    raw_say(&raw, "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\nGET /3 "
                  "HTTP/1.1\r\nHost: h\r\n\r\n");
    raw_wait_end(&raw);
    assert_int_equal(count_text(raw.text, "HTTP/1.1 200"), 2);
    assert_int_equal(count_text(raw.text, "Connection: close"), 1);
    raw_close(&raw);
    web_close();
}

static void connections_over_the_limit_are_told_that_it_is_busy(void **state)
{
    (void)state;
    struct http_limits limits = limits_now();
    limits.connections_max = 2;
    web_open_with(&limits);
    struct raw first = raw_open();
    struct raw second = raw_open();
    raw_say(&first, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
    raw_wait(&first, "GET /a? 0:");
    raw_say(&second, "GET /b HTTP/1.1\r\nHost: h\r\n\r\n");
    raw_wait(&second, "GET /b? 0:");
    struct raw third = raw_open();
    raw_say(&third, "GET /c HTTP/1.1\r\nHost: h\r\n\r\n");
    raw_wait_end(&third);
    assert_int_equal(strncmp(third.text, "HTTP/1.1 503 ", 13), 0);
    assert_non_null(strstr(third.text, "busy: "));
    assert_int_equal(metric_get(&web.server.stats.busy), 1);
    struct raw waits = raw_open();
    LOOP_UNTIL(web.loop, metric_gauge_get(&web.server.stats.open) >= 3);
    raw_say(&first, "GET /again HTTP/1.1\r\nHost: h\r\n\r\n"); /* who was there stays welcome */
    raw_wait(&first, "GET /again? 0:");
    raw_close(&waits);
    raw_close(&third);
    LOOP_UNTIL(web.loop, metric_gauge_get(&web.server.stats.open) == 2);
    /* One that came over the limit is served when there is room by the time it asks. */
    struct raw fourth = raw_open();
    LOOP_UNTIL(web.loop, metric_gauge_get(&web.server.stats.open) == 3);
    raw_close(&second);
    LOOP_UNTIL(web.loop, metric_gauge_get(&web.server.stats.open) == 2);
    raw_say(&fourth, "GET /d HTTP/1.1\r\nHost: h\r\n\r\n");
    raw_wait(&fourth, "GET /d? 0:");
    raw_close(&fourth);
    raw_close(&first);
    web_close();
}

enum {
    CROWD = 80 /* one connection and those that are told, and some more */
};

static void crowd_beyond_all_limits_waits_in_the_backlog(void **state)
{
    (void)state;
    struct http_limits limits = limits_now();
    limits.connections_max = 1;
    web_open_with(&limits);
    int fds[CROWD];
    for (int i = 0; i < CROWD; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_true(fds[i] >= 0);
        assert_int_equal(connect(fds[i], &web.addr.sa.any, web.addr.len), 0);
        loop_turn(web.loop, 0);
    }
    LOOP_UNTIL(web.loop, metric_gauge_get(&web.server.stats.open) == 65);
    for (int i = 0; i < CROWD; i++) {
        assert_int_equal(close(fds[i]), 0);
    }
    /* All have had their turn. */
    LOOP_UNTIL(web.loop, metric_get(&web.server.stats.connections) == CROWD &&
                             metric_gauge_get(&web.server.stats.open) == 0);
    struct raw raw = raw_open();
    raw_say(&raw, "GET /d HTTP/1.1\r\nHost: h\r\n\r\n");
    raw_wait(&raw, "GET /d? 0:");
    raw_close(&raw);
    web_close();
}

static void answer_over_the_limit_becomes_500(void **state)
{
    (void)state;
    struct http_limits limits = limits_now();
    limits.answer_max_bytes = 1000;
    web_open_with(&limits);
    struct raw raw = raw_open();
    raw_say(&raw, "GET /big?len=1001 HTTP/1.1\r\nHost: h\r\n\r\n");
    raw_wait(&raw, "answer_too_large: ");
    raw_say(&raw, "GET /big?len=1000 HTTP/1.1\r\nHost: h\r\n\r\n");
    raw_wait(&raw, "Content-Length: 1000\r\n");
    raw_close(&raw);
    web_close();
}

static void ask_many(struct raw *raw, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t before = metric_get(&web.server.stats.requests);
        raw->len = 0;
        raw->text[0] = '\0';
        raw_say(raw, "PUT /a%20b?x=%20y HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody");
        raw_wait(raw, "4:body");
        assert_int_equal(metric_get(&web.server.stats.requests), before + 1);
    }
}

static void warm_server_allocates_nothing(void **state)
{
    (void)state;
    web_open();
    struct raw raw = raw_open();
    ask_many(&raw, 20);
    size_t before = allocations;
    assert_true(before > 0);
    ask_many(&raw, 200);
    assert_int_equal(allocations, before);
    raw_close(&raw);
    web_close();
}

static void large_buffers_are_given_back(void **state)
{
    (void)state;
    web_open();
    struct raw raw = raw_open();
    raw_say(&raw, "GET /big?len=300000 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    raw_wait_end(&raw);
    LOOP_UNTIL(web.loop, web.server.exchange_count == 0);
    assert_true(web.server.free_bytes < 64 * 1024);
    raw_close(&raw);
    web_close();
}

/* --- the end --- */

static void drain_answers_what_runs_and_closes_what_idles(void **state)
{
    (void)state;
    web_open();
    struct raw idle = raw_open();
    struct raw busy = raw_open();
    raw_say(&idle, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
    raw_wait(&idle, "GET /a? 0:");
    raw_say(&busy, "GET /hold HTTP/1.1\r\nHost: h\r\n\r\nGET /next HTTP/1.1\r\nHost: h\r\n\r\n");
    LOOP_UNTIL(web.loop, web.held_count == 1);
    http_server_drain(&web.server, web_drained);
    raw_wait_end(&idle);
    assert_false(web.drained);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, &web.addr.sa.any, web.addr.len), -1);
    assert_int_equal(errno, ECONNREFUSED);
    assert_int_equal(close(fd), 0);
    http_respond_text(web.held[0], 200, "held");
    web.held_count = 0;
    raw_wait_end(&busy);
    assert_non_null(strstr(busy.text, "Connection: close\r\n\r\nheld"));
    assert_null(strstr(busy.text, "GET /next"));
    raw_close(&idle);
    raw_close(&busy);
    LOOP_UNTIL(web.loop, web.drained);
    web_close();
}

static void close_tells_those_who_hold_requests(void **state)
{
    (void)state;
    web_open();
    struct raw raw[3];
    for (int i = 0; i < 3; i++) {
        raw[i] = raw_open();
        raw_say(&raw[i], "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
    }
    LOOP_UNTIL(web.loop, web.held_count == 3);
    http_server_close(&web.server, web_closed);
    LOOP_UNTIL(web.loop, web.closed);
    assert_int_equal(web.gone_count, 3);
    for (int i = 0; i < 3; i++) {
        raw_wait_end(&raw[i]);
        raw_close(&raw[i]);
    }
    assert_int_equal(loop_active_count(web.loop), 0);
    loop_free(web.loop);
}

static void close_waits_until_every_request_was_ended(void **state)
{
    (void)state;
    web_open();
    struct raw raw = raw_open();
    raw_say(&raw, "GET /stream HTTP/1.1\r\nHost: h\r\n\r\n"); /* held without on_gone */
    LOOP_UNTIL(web.loop, web.held_count == 1);
    http_server_close(&web.server, web_closed);
    LOOP_UNTIL(web.loop, metric_gauge_get(&web.server.stats.open) == 0);
    loop_turn(web.loop, CLK_MS(5));
    assert_false(web.closed);
    http_respond_text(web.held[0], 200, "nobody");
    LOOP_UNTIL(web.loop, web.closed);
    raw_close(&raw);
    loop_free(web.loop);
}

static void close_with_answers_on_their_way_is_clean(void **state)
{
    (void)state;
    web_open();
    struct raw raw = raw_open();
    raw_say(&raw, "GET /big?len=9000000 HTTP/1.1\r\nHost: h\r\n\r\nPUT / HTTP/1.1\r\nHost: h\r\n"
                  "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    LOOP_UNTIL(web.loop, metric_get(&web.server.stats.requests) == 1);
    raw_close(&raw);
    web_close();
}

static void on_gone_only_counted(struct http_request *request)
{
    (void)request;
    web.gone_count++;
}

static void handler_is_told_once_that_the_client_has_gone(void **state)
{
    (void)state;
    web_open();
    struct raw raw = raw_open();
    raw_say(&raw, "GET /stream HTTP/1.1\r\nHost: h\r\n\r\n");
    LOOP_UNTIL(web.loop, web.held_count == 1);
    web.held[0]->on_gone = on_gone_only_counted;
    assert_int_equal(shutdown(raw.fd, SHUT_WR), 0);
    LOOP_UNTIL(web.loop, web.gone_count == 1);
    http_server_close(&web.server, web_closed);
    LOOP_UNTIL(web.loop, metric_gauge_get(&web.server.stats.open) == 0);
    assert_int_equal(web.gone_count, 1);
    assert_int_equal(metric_get(&web.server.stats.gone), 1);
    http_request_cancel(web.held[0]);
    LOOP_UNTIL(web.loop, web.closed);
    raw_close(&raw);
    loop_free(web.loop);
}

/* --- streams --- */

static struct {
    int rooms;
} stream;

static void on_room(struct http_request *request)
{
    (void)request;
    stream.rooms++;
}

static struct http_request *stream_open(struct raw *raw, const char *request)
{
    raw_say(raw, request);
    LOOP_UNTIL(web.loop, web.held_count == 1);
    web.held_count = 0;
    struct http_answer answer = {.status = 200, .content_type = BYTES_LITERAL("text/plain")};
    http_respond_begin(web.held[0], &answer);
    return web.held[0];
}

static void stream_says(struct http_request *request, const char *text)
{
    assert_int_equal(http_respond_write(request, bytes_of_str(text)), ERR_OK);
}

static void stream_is_chunked_and_the_connection_lives_on(void **state)
{
    (void)state;
    web_open();
    struct raw raw = raw_open();
    struct http_request *request = stream_open(
        &raw, "GET /stream HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n");
    raw_wait(&raw, "Transfer-Encoding: chunked\r\n\r\n");
    stream_says(request, "one");
    raw_wait(&raw, "\r\n\r\n3\r\none\r\n");
    stream_says(request, "two");
    stream_says(request, "");
    stream_says(request, "three");
    assert_null(strstr(raw.text, "GET /b"));
    http_respond_end(request);
    raw_wait(&raw, "\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\nHTTP/1.1 200 OK");
    raw_wait(&raw, "GET /b? 0:");
    raw_close(&raw);
    web_close();
}

static void stream_without_chunks_ends_with_the_connection(void **state)
{
    (void)state;
    web_open();
    struct raw raw = raw_open();
    struct http_request *request = stream_open(&raw, "GET /stream HTTP/1.0\r\n\r\n");
    stream_says(request, "one");
    stream_says(request, "two");
    http_respond_end(request);
    raw_wait_end(&raw);
    assert_non_null(strstr(raw.text, "Connection: close\r\n\r\nonetwo"));
    assert_null(strstr(raw.text, "Transfer-Encoding"));
    raw_close(&raw);
    raw = raw_open();
    request = stream_open(&raw, "HEAD /stream HTTP/1.1\r\nHost: h\r\n\r\n");
    stream_says(request, "one");
    http_respond_end(request);
    raw_wait(&raw, "chunked\r\n\r\n");
    raw_say(&raw, "GET /b HTTP/1.1\r\nHost: h\r\n\r\n");
    raw_wait(&raw, "chunked\r\n\r\nHTTP/1.1 200 OK");
    raw_close(&raw);
    web_close();
}

static void stream_waits_for_a_slow_reader(void **state)
{
    (void)state;
    web_open();
    stream.rooms = 0;
    struct raw raw = raw_open();
    struct http_request *request = stream_open(&raw, "GET /stream HTTP/1.0\r\n\r\n");
    static char piece[64 * 1024];
    memset(piece, 'p', sizeof(piece));
    size_t written = 0;
    enum err err = ERR_OK;
    for (int tries = 0; tries < 100; tries++) {
        err = http_respond_write(request, bytes_of(piece, sizeof(piece)));
        written += err == ERR_OK ? sizeof(piece) : 0;
        loop_turn(web.loop, err == ERR_OK ? 0 : CLK_MS(1));
        assert_true(written < REPLY_MAX);
        tries = err == ERR_OK ? 0 : tries;
    }
    assert_int_equal(err, ERR_FULL);
    http_respond_on_room(request, on_room);
    RAW_UNTIL(&raw, stream.rooms == 1);
    stream_says(request, "x");
    written++;
    size_t before = raw.len;
    RAW_UNTIL(&raw, raw.len > before);
    http_respond_end(request);
    raw_wait_end(&raw);
    assert_int_equal(stream.rooms, 1);
    char *body = strstr(raw.text, "\r\n\r\n") + 4;
    assert_int_equal(strlen(body), written);
    raw_close(&raw);
    web_close();
}

static void stream_to_a_client_that_has_gone_is_closed(void **state)
{
    (void)state;
    web_open();
    stream.rooms = 0;
    struct raw raw = raw_open();
    struct http_request *request = stream_open(&raw, "GET /stream HTTP/1.1\r\nHost: h\r\n\r\n");
    http_respond_on_room(request, on_room);
    const struct linger now = {.l_onoff = 1, .l_linger = 0};
    raw_wait(&raw, "chunked");
    stream.rooms = 0;
    http_respond_on_room(request, on_room);
    assert_int_equal(setsockopt(raw.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
    raw_close(&raw);
    LOOP_UNTIL(web.loop, stream.rooms == 1);
    assert_int_equal(http_respond_write(request, BYTES_LITERAL("x")), ERR_CLOSED);
    http_respond_end(request);
    web_close();
}

/* --- everything at once --- */

enum {
    RANDOM_CLIENTS = 24,
    RANDOM_STEPS = 6000
};

static const char *const random_pieces[] = {
    "GET /a HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET /hold HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET /stream HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET /stream HTTP/1.0\r\n\r\n",
    "HEAD /big?len=70000 HTTP/1.1\r\nHost: h\r\n\r\n",
    "GET /big?len=300000 HTTP/1.1\r\nHost: h\r\n\r\n",
    "PUT /b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    "0\r\n\r\n",
    "PUT /c HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 7\r\n\r\n",
    "1234567",
    "GET / HTTP/1.1\r\nConnection: close\r\nHost: h\r\n\r\n",
    "GET / HT",
    "\r\n",
    "nonsense\r\n\r\n",
};

static void random_client_step(int *fd, struct rnd *rnd)
{
    static char sink[32 * 1024];
    if (*fd < 0) {
        *fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(*fd, &web.addr.sa.any, web.addr.len), 0);
        return;
    }
    uint64_t what = rnd_below(rnd, 20);
    if (what < 12) {
        const char *piece = random_pieces[rnd_below(rnd, sizeof(random_pieces) / sizeof(char *))];
        (void)send(*fd, piece, strlen(piece), MSG_DONTWAIT | MSG_NOSIGNAL);
    } else if (what < 17) {
        (void)recv(*fd, sink, sizeof(sink), MSG_DONTWAIT);
    } else if (what == 17) {
        (void)shutdown(*fd, SHUT_WR);
    } else {
        const struct linger now = {.l_onoff = what == 18, .l_linger = 0};
        (void)setsockopt(*fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
        assert_int_equal(close(*fd), 0);
        *fd = -1;
    }
}

static void random_stream(struct http_request *request, struct rnd *rnd)
{
    struct http_answer answer = {.status = 200};
    http_respond_begin(request, &answer);
    for (uint64_t i = rnd_below(rnd, 4); i > 0; i--) {
        enum err err = http_respond_write(request, BYTES_LITERAL("piece"));
        assert_true(err == ERR_OK || err == ERR_CLOSED);
        loop_turn(web.loop, 0);
    }
    http_respond_end(request);
}

static void random_answer(struct rnd *rnd)
{
    if (web.held_count == 0) {
        return;
    }
    int index = (int)rnd_below(rnd, (uint64_t)web.held_count);
    struct http_request *request = web.held[index];
    bool streams = request->on_gone == NULL && rnd_below(rnd, 2) == 0;
    web.held[index] = web.held[--web.held_count];
    if (streams) {
        random_stream(request, rnd);
    } else if (rnd_below(rnd, 4) == 0) {
        http_request_cancel(request);
    } else {
        http_respond_text(request, 200, "held");
    }
}

static void random_run(uint64_t seed)
{
    int fds[RANDOM_CLIENTS];
    struct rnd rnd;
    struct http_limits limits = limits_now();
    limits.connections_max = RANDOM_CLIENTS - 4;
    limits.idle_timeout = CLK_MS(20);
    limits.header_timeout = CLK_MS(10);
    limits.body_timeout = CLK_MS(10);
    limits.write_timeout = CLK_MS(20);
    web_open_with(&limits);
    rnd_init(&rnd, seed);
    for (int i = 0; i < RANDOM_CLIENTS; i++) {
        fds[i] = -1;
    }
    for (int step = 0; step < RANDOM_STEPS; step++) {
        random_client_step(&fds[rnd_below(&rnd, RANDOM_CLIENTS)], &rnd);
        if (rnd_below(&rnd, 3) == 0) {
            random_answer(&rnd);
        }
        if (rnd_below(&rnd, 2) == 0) {
            loop_turn(web.loop, 0);
        }
    }
    assert_true(metric_get(&web.server.stats.requests) > 100);
    http_server_close(&web.server, web_closed);
    while (web.held_count > 0) {
        random_answer(&rnd);
    }
    LOOP_UNTIL(web.loop, web.closed);
    assert_int_equal(loop_active_count(web.loop), 0);
    loop_free(web.loop);
    for (int i = 0; i < RANDOM_CLIENTS; i++) {
        assert_true(fds[i] < 0 || close(fds[i]) == 0);
    }
}

/* The sanitizers and the server's CHECKs judge. Time makes each run a little different. */
static void clients_that_come_and_go_at_random_leave_nothing_behind(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 5; seed++) {
        random_run(seed);
    }
}

int main(void)
{
    test_skip_without_backend();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slow_head_is_timed_out_with_an_answer),
        cmocka_unit_test(dripping_head_is_timed_out),
        cmocka_unit_test(slow_body_is_timed_out_with_an_answer),
        cmocka_unit_test(idle_connection_is_closed_silently),
        cmocka_unit_test(held_request_is_not_timed_out),
        cmocka_unit_test(client_that_does_not_read_is_timed_out),
        cmocka_unit_test(connection_is_closed_after_its_last_request),
        cmocka_unit_test(connections_over_the_limit_are_told_that_it_is_busy),
        cmocka_unit_test(crowd_beyond_all_limits_waits_in_the_backlog),
        cmocka_unit_test(answer_over_the_limit_becomes_500),
        cmocka_unit_test(warm_server_allocates_nothing),
        cmocka_unit_test(large_buffers_are_given_back),
        cmocka_unit_test(drain_answers_what_runs_and_closes_what_idles),
        cmocka_unit_test(close_tells_those_who_hold_requests),
        cmocka_unit_test(close_waits_until_every_request_was_ended),
        cmocka_unit_test(close_with_answers_on_their_way_is_clean),
        cmocka_unit_test(handler_is_told_once_that_the_client_has_gone),
        cmocka_unit_test(stream_is_chunked_and_the_connection_lives_on),
        cmocka_unit_test(stream_without_chunks_ends_with_the_connection),
        cmocka_unit_test(stream_waits_for_a_slow_reader),
        cmocka_unit_test(stream_to_a_client_that_has_gone_is_closed),
        cmocka_unit_test(clients_that_come_and_go_at_random_leave_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
