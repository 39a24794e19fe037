/* For tests of HTTP: a server whose handler follows the path, and raw sockets that talk to it.
 *
 * Paths: /echo answers with method, path, query and body; /hold keeps the request until the test
 * ends it; /status/NNN answers with that status; /big?len=N sends N letters; /stream holds the
 * request for a streamed answer; /header?name=X answers with that request header. */
#ifndef HTTP_TEST_H
#define HTTP_TEST_H

#include "http/http_query.h"
#include "http/http_server.h"
#include "loop_test.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    HELD_MAX = 64,
    REPLY_MAX = 16 * 1024 * 1024,
};

struct http_fixture {
    struct loop *loop;
    struct http_server server;
    struct net_addr addr;
    struct http_request *held[HELD_MAX];
    int held_count;
    int gone_count;
    bool answer_on_gone;
    bool drained;
    bool closed;
};

static struct http_fixture web;

static inline void held_forget(const struct http_request *request)
{
    for (int i = 0; i < web.held_count; i++) {
        if (web.held[i] == request) {
            web.held[i] = web.held[--web.held_count];
            return;
        }
    }
    fail_msg("the request was not held");
}

static inline void held_gone(struct http_request *request)
{
    assert_true(request->gone);
    web.gone_count++;
    held_forget(request);
    if (web.answer_on_gone) {
        http_respond_text(request, 200, "late");
    } else {
        http_request_cancel(request);
    }
}

static inline void handle_echo(struct http_request *request)
{
    enum err err =
        buf_printf(request->out, "%.*s %.*s?%.*s %zu:", BYTES_PRINT(request->method_name),
                   BYTES_PRINT(request->path), BYTES_PRINT(request->query), request->body.len);
    assert_int_equal(err, ERR_OK);
    assert_int_equal(buf_append(request->out, request->body), ERR_OK);
    struct http_field field = {BYTES_LITERAL("X-Test"), BYTES_LITERAL("yes")};
    struct http_answer answer = {.status = 200,
                                 .content_type = BYTES_LITERAL("text/plain"),
                                 .fields = &field,
                                 .field_count = 1,
                                 .body = buf_bytes(request->out)};
    http_respond(request, &answer);
}

static inline size_t query_number(const struct http_request *request, const char *name)
{
    struct bytes text = {NULL, 0};
    char number[32];
    assert_int_equal(http_query_get(request->query, name, request->arena, &text), ERR_OK);
    assert_int_equal(bytes_to_cstr(text, number, sizeof(number)), ERR_OK);
    return (size_t)strtoul(number, NULL, 10);
}

static inline void handle_big(struct http_request *request)
{
    size_t len = query_number(request, "len");
    assert_int_equal(buf_reserve(request->out, len), ERR_OK);
    memset(request->out->data, 'b', len);
    request->out->len = len;
    struct http_answer answer = {.status = 200, .body = buf_bytes(request->out)};
    http_respond(request, &answer);
}

static inline void handle_header(struct http_request *request)
{
    struct bytes name = {NULL, 0};
    assert_int_equal(http_query_get(request->query, "name", request->arena, &name), ERR_OK);
    struct bytes value = http_request_header(request, name);
    http_respond_text(request, value.data == NULL ? 404 : 200, "%.*s", BYTES_PRINT(value));
}

static inline void handle(struct http_request *request)
{
    struct bytes path = request->path;
    struct bytes first = {NULL, 0};
    assert_true(http_path_next(&path, &first) || bytes_eq_str(request->path, "*"));
    if (bytes_eq_str(first, "hold") || bytes_eq_str(first, "stream")) {
        assert_true(web.held_count < HELD_MAX);
        web.held[web.held_count++] = request;
        request->on_gone = bytes_eq_str(first, "hold") ? held_gone : NULL;
    } else if (bytes_eq_str(first, "status")) {
        struct http_answer answer = {.status = (uint16_t)query_number(request, "code"),
                                     .body = BYTES_LITERAL("text")};
        http_respond(request, &answer);
    } else if (bytes_eq_str(first, "big")) {
        handle_big(request);
    } else if (bytes_eq_str(first, "header")) {
        handle_header(request);
    } else {
        handle_echo(request);
    }
}

static inline void web_open_with(const struct http_limits *limits)
{
    memset(&web, 0, sizeof(web));
    web.loop = test_loop();
    http_server_init(&web.server, web.loop, limits, handle);
    struct err_note note = {0};
    assert_int_equal(net_addr_parse(BYTES_LITERAL("127.0.0.1:0"), &web.addr), ERR_OK);
    if (http_server_listen(&web.server, &web.addr, false, &note) != ERR_OK) {
        fail_msg("%s", note.text);
    }
    web.addr = http_server_addr(&web.server, 0);
}

static inline void web_open(void)
{
    web_open_with(&HTTP_LIMITS_DEFAULT);
}

static inline void web_closed(struct http_server *server)
{
    (void)server;
    web.closed = true;
}

static inline void web_drained(struct http_server *server)
{
    (void)server;
    web.drained = true;
}

static inline void web_close(void)
{
    http_server_close(&web.server, web_closed);
    LOOP_UNTIL(web.loop, web.closed);
    assert_int_equal(loop_active_count(web.loop), 0);
    loop_free(web.loop);
}

/* --- a raw client: blocking to connect, then never waiting --- */

struct raw {
    int fd;
    bool ended; /* the server has finished sending */
    bool reset;
    size_t len;
    char *text; /* all that was received, zero-terminated */
};

static inline struct raw raw_open(void)
{
    struct raw raw = {.fd = socket(web.addr.sa.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    assert_true(raw.fd >= 0);
    assert_int_equal(connect(raw.fd, &web.addr.sa.any, web.addr.len), 0);
    raw.text = mem_alloc(REPLY_MAX + 1);
    return raw;
}

static inline void raw_close(struct raw *raw)
{
    assert_int_equal(close(raw->fd), 0);
    mem_free(raw->text);
    raw->text = NULL;
}

/* Takes what is there. */
static inline void raw_poll(struct raw *raw)
{
    while (!raw->ended && !raw->reset) {
        assert_true(raw->len < REPLY_MAX);
        ssize_t n = recv(raw->fd, raw->text + raw->len, REPLY_MAX - raw->len, MSG_DONTWAIT);
        if (n > 0) {
            raw->len += (size_t)n;
            raw->text[raw->len] = '\0';
        } else if (n == 0) {
            raw->ended = true;
        } else if (errno == EAGAIN) {
            return;
        } else {
            assert_true(errno == ECONNRESET || errno == EPIPE);
            raw->reset = true;
        }
    }
}

/* Sends everything, turning the loop when the socket is full. */
static inline void raw_send(struct raw *raw, const void *data, size_t len)
{
    const char *at = data;
    while (len > 0) {
        ssize_t n = send(raw->fd, at, len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN) {
                return; /* the server has closed; the test looks at its answer */
            }
            loop_turn(web.loop, CLK_MS(1));
            continue;
        }
        at += n;
        len -= (size_t)n;
    }
}

static inline void raw_say(struct raw *raw, const char *text)
{
    raw_send(raw, text, strlen(text));
}

static inline size_t count_text(const char *text, const char *part)
{
    size_t count = 0;
    for (const char *at = strstr(text, part); at != NULL; at = strstr(at + 1, part)) {
        count++;
    }
    return count;
}

#define RAW_UNTIL(raw, condition) LOOP_UNTIL(web.loop, (raw_poll(raw), (condition)))

/* Until the text has come count times. */
static inline void raw_wait_count(struct raw *raw, const char *part, size_t count)
{
    clk_ns end = loop_now(web.loop) + CLK_S(20);
    raw_poll(raw);
    while (count_text(raw->text, part) < count) {
        loop_turn(web.loop, CLK_MS(20));
        raw_poll(raw);
        if (loop_now(web.loop) > end) {
            fail_msg("'%s' did not come %zu times: %s", part, count, raw->text);
        }
    }
}

static inline void raw_wait(struct raw *raw, const char *part)
{
    raw_wait_count(raw, part, 1);
}

static inline void raw_wait_end(struct raw *raw)
{
    RAW_UNTIL(raw, raw->ended || raw->reset);
}

#endif
