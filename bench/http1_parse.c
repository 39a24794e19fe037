/* Benchmark of proto/http1: nanoseconds per head, per chunk, per path, on one core.
 *
 * Usage: http1_parse [SECONDS per line, default 1]. Prints one line per case: what, bytes,
 * nanoseconds, megabytes per second. The cases are what a gateway sees: a small request of a
 * program, a request of a browser, a response of a service, the same request in two pieces and in
 * single bytes. */
#include "check/check.h"
#include "http1/http1_body.h"
#include "http1/http1_head.h"
#include "http1/http1_hop.h"
#include "http1/http1_path.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const char SMALL[] = "GET /v1/orders/4711?full=1 HTTP/1.1\r\n"
                            "Host: shop.example:8080\r\n"
                            "User-Agent: wrk\r\n"
                            "Accept: */*\r\n\r\n";

static const char BROWSER[] =
    "GET /catalogue/shoes/running/list?page=3&sort=price&colour=blue HTTP/1.1\r\n"
    "Host: www.shop.example\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8\r\n"
    "Accept-Language: en-GB,en;q=0.7,de;q=0.3\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    "Referer: https://www.shop.example/catalogue/shoes/running\r\n"
    "Connection: keep-alive\r\n"
    "Cookie: session=7c1f3a5e9b2d4c6f8a0e1d3b5f7a9c2e; basket=aGVsbG8gd29ybGQgaGVsbG8gd29ybGQ\r\n"
    "X-Request-Id: 018f3c2a-7b1e-7c3d-9f10-5a6b7c8d9e0f\r\n"
    "Cache-Control: max-age=0\r\n\r\n";

static const char RESPONSE[] = "HTTP/1.1 200 OK\r\n"
                               "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
                               "Content-Type: application/json\r\n"
                               "Content-Length: 1024\r\n"
                               "Connection: keep-alive\r\n"
                               "Server: orders\r\n\r\n";

static const char CHUNKED[] = "10\r\n0123456789abcdef\r\n10\r\n0123456789abcdef\r\n"
                              "10\r\n0123456789abcdef\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n";

static const char PLAIN_PATH[] = "/catalogue/shoes/running/list";
static const char ODD_PATH[] = "/catalogue/./shoes/%72unning/../running/caf%c3%a9/list";

static void parse_request(struct bytes text)
{
    struct http1_head head;
    http1_head_init_request(&head, &HTTP1_LIMITS_DEFAULT);
    CHECK(http1_head_parse(&head, text.data, text.len) == ERR_OK);
}

static void parse_request_for_relay(struct bytes text)
{
    struct http1_head head;
    struct http1_field_set drop;
    http1_head_init_request(&head, &HTTP1_LIMITS_DEFAULT);
    CHECK(http1_head_parse(&head, text.data, text.len) == ERR_OK);
    http1_hop_fields(&head, text.data, &drop);
    CHECK(http1_path_is_normal(http1_span_bytes(head.path, text.data)));
}

static void parse_in_halves(struct bytes text)
{
    struct http1_head head;
    http1_head_init_request(&head, &HTTP1_LIMITS_DEFAULT);
    CHECK(http1_head_parse(&head, text.data, text.len / 2) == ERR_INCOMPLETE);
    CHECK(http1_head_parse(&head, text.data, text.len) == ERR_OK);
}

static void parse_bytewise(struct bytes text)
{
    struct http1_head head;
    enum err err = ERR_INCOMPLETE;
    http1_head_init_request(&head, &HTTP1_LIMITS_DEFAULT);
    for (size_t len = 1; err == ERR_INCOMPLETE; ++len)
        err = http1_head_parse(&head, text.data, len);
    CHECK(err == ERR_OK);
}

static void parse_response(struct bytes text)
{
    struct http1_head head;
    http1_head_init_response(&head, &HTTP1_LIMITS_DEFAULT,
                             (struct http1_asked){false, false, false});
    CHECK(http1_head_parse(&head, text.data, text.len) == ERR_OK);
}

static void decode_chunked(struct bytes text)
{
    struct http1_body body;
    http1_body_init_framing(&body, HTTP1_FRAMING_CHUNKED, 0, &HTTP1_LIMITS_DEFAULT);
    while (!body.done) {
        struct bytes content;
        size_t consumed = 0;
        CHECK(http1_body_feed(&body, text, &consumed, &content) == ERR_OK);
        text = bytes_from(text, consumed);
    }
}

static void test_path(struct bytes text)
{
    CHECK(http1_path_is_normal(text));
}

static void normalise_path(struct bytes text)
{
    uint8_t dest[256];
    size_t len = 0;
    enum http1_reason reason;
    CHECK(http1_path_normalise(text, 0, dest, sizeof(dest), &len, &reason) == ERR_OK);
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void run(const char *what, void (*body)(struct bytes), const char *text, double seconds)
{
    struct bytes input = bytes_of_str(text);
    double start = now_s();
    double passed;
    unsigned long count = 0;
    do {
        for (int i = 0; i < 1000; ++i)
            body(input);
        count += 1000;
        passed = now_s() - start;
    } while (passed < seconds);
    double ns = passed * 1e9 / (double)count;
    printf("%-34s %6zu bytes %9.1f ns %9.0f MB/s\n", what, input.len, ns,
           (double)input.len * 1e3 / ns);
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? strtod(argv[1], NULL) : 1.0;
    run("request, small", parse_request, SMALL, seconds);
    run("request, small, for relay", parse_request_for_relay, SMALL, seconds);
    run("request, browser", parse_request, BROWSER, seconds);
    run("request, browser, for relay", parse_request_for_relay, BROWSER, seconds);
    run("request, browser, in halves", parse_in_halves, BROWSER, seconds);
    run("request, browser, byte by byte", parse_bytewise, BROWSER, seconds);
    run("response", parse_response, RESPONSE, seconds);
    run("chunked body, 4 chunks of 16", decode_chunked, CHUNKED, seconds);
    run("path, normal", test_path, PLAIN_PATH, seconds);
    run("path, to be normalised", normalise_path, ODD_PATH, seconds);
    return 0;
}
