/* Fuzz target: what our strict HTTP/1 parser accepts, llhttp refuses or understands in the same
 * way.
 *
 * llhttp is the parser of Node.js; Debian ships its C sources. Each message that we accept is given
 * to a fresh llhttp. When it takes it, it must see exactly one complete message of the same length
 * with the same version, method, status, number of fields and content: then nothing can be smuggled
 * between us and a program behind us that reads as llhttp does. (It refuses some correct messages:
 * white space as HTAB after a Content-Length, two chunk extensions, methods that it does not know.)
 *
 * First byte as in fuzz_http1.c (R, S, H; others are left alone). Not compared: CONNECT and
 * Upgrade, where llhttp stops after the head. llhttp must be told of responses without a body. */
#include "check/check.h"
#include "http1/http1_body.h"
#include "http1/http1_head.h"

#include <llhttp.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What a reader saw of one message. */
struct seen {
    size_t messages;
    size_t fields;
    size_t content_len;
    uint64_t content_hash;
    bool no_body; /* the status or the request says so: llhttp must be told */
};

static void see_content(struct seen *seen, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; ++i)
        seen->content_hash = (seen->content_hash ^ data[i]) * UINT64_C(0x100000001b3);
    seen->content_len += len;
}

static int on_body(llhttp_t *parser, const char *at, size_t length)
{
    see_content(parser->data, (const uint8_t *)at, length);
    return 0;
}

static int on_field(llhttp_t *parser)
{
    struct seen *seen = parser->data;
    ++seen->fields;
    return 0;
}

static int on_headers_complete(llhttp_t *parser)
{
    const struct seen *seen = parser->data;
    return seen->no_body ? 1 : 0;
}

static int on_message_complete(llhttp_t *parser)
{
    struct seen *seen = parser->data;
    ++seen->messages;
    return 0;
}

/* False when llhttp refuses the message. */
static bool ask_oracle(const struct http1_head *head, struct bytes message, struct seen *seen)
{
    llhttp_settings_t settings;
    llhttp_t parser;
    llhttp_settings_init(&settings);
    settings.on_body = on_body;
    settings.on_header_field_complete = on_field;
    settings.on_headers_complete = on_headers_complete;
    settings.on_message_complete = on_message_complete;
    llhttp_init(&parser, head->kind == HTTP1_REQUEST ? HTTP_REQUEST : HTTP_RESPONSE, &settings);
    parser.data = seen;
    enum llhttp_errno result = llhttp_execute(&parser, (const char *)message.data, message.len);
    if (result == HPE_OK && head->framing == HTTP1_FRAMING_CLOSE)
        result = llhttp_finish(&parser);
    if (result != HPE_OK)
        return false;
    CHECK(parser.http_major == 1 && parser.http_minor == head->minor_version);
    if (head->kind == HTTP1_REQUEST)
        CHECK(bytes_eq_str(http1_span_bytes(head->method_name, message.data),
                           llhttp_method_name((llhttp_method_t)parser.method)));
    else
        CHECK(parser.status_code == head->status);
    return true;
}

/* Reads the trailers that begin at input; false when they are refused or unfinished. */
static bool read_trailers(struct bytes input, struct seen *seen, size_t *ret_len)
{
    struct http1_head trailers;
    http1_head_init_trailers(&trailers, &HTTP1_LIMITS_DEFAULT);
    if (http1_head_parse(&trailers, input.data, input.len) != ERR_OK)
        return false;
    seen->fields += (size_t)trailers.field_count + trailers.dropped_count;
    *ret_len = trailers.head_len;
    return true;
}

/* Decodes the body that follows the head; false when it is refused or unfinished. */
static bool read_body(const struct http1_head *head, struct bytes input, struct seen *seen,
                      size_t *ret_len)
{
    struct http1_body body;
    size_t at = 0;
    size_t trailers_len = 0;
    http1_body_init(&body, head, &HTTP1_LIMITS_DEFAULT);
    http1_body_keep_trailers(&body);
    while (at < input.len && !body.done && !body.at_trailers) {
        struct bytes content = {NULL, 0};
        size_t consumed = 0;
        if (http1_body_feed(&body, bytes_from(input, at), &consumed, &content) != ERR_OK)
            return false;
        see_content(seen, content.data, content.len);
        at += consumed;
    }
    if (body.at_trailers) {
        if (!read_trailers(bytes_from(input, at), seen, &trailers_len))
            return false;
    } else if (!body.done && http1_body_end_of_input(&body) != ERR_OK) {
        return false;
    }
    *ret_len = at + trailers_len;
    return true;
}

/* PRI is HTTP/2's preface (RFC 9113 section 3.4): to llhttp its head ends the connection's HTTP/1,
 * to us it is a method that nobody serves. */
static bool is_comparable(const struct http1_head *head, const uint8_t *data)
{
    if (head->kind == HTTP1_REQUEST &&
        bytes_eq_str(http1_span_bytes(head->method_name, data), "PRI"))
        return false;
    return head->method != HTTP1_METHOD_CONNECT && !head->tunnel &&
           !http1_head_has(head, HTTP1_HEADER_UPGRADE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || (data[0] != 'R' && data[0] != 'S' && data[0] != 'H'))
        return 0;
    struct bytes rest = {data + 1, size - 1};
    for (;;) {
        struct http1_head head;
        struct http1_asked asked = {.head = data[0] == 'H'};
        if (data[0] == 'R')
            http1_head_init_request(&head, &HTTP1_LIMITS_DEFAULT);
        else
            http1_head_init_response(&head, &HTTP1_LIMITS_DEFAULT, asked);
        if (http1_head_parse(&head, rest.data, rest.len) != ERR_OK)
            return 0;
        struct seen ours = {.messages = 1};
        struct seen theirs = {.no_body = data[0] != 'R' && head.framing == HTTP1_FRAMING_NONE};
        size_t body_len = 0;
        ours.fields = (size_t)head.field_count + head.dropped_count;
        if (!read_body(&head, bytes_from(rest, head.head_len), &ours, &body_len))
            return 0;
        struct bytes message = {rest.data, head.head_len + body_len};
        if (is_comparable(&head, rest.data) && ask_oracle(&head, message, &theirs)) {
            CHECK(theirs.messages == 1);
            CHECK(theirs.fields == ours.fields);
            CHECK(theirs.content_len == ours.content_len);
            CHECK(theirs.content_hash == ours.content_hash);
        }
        rest = bytes_from(rest, message.len);
    }
}
