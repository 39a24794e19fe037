/* See http1_feed.h: every message in every cut, one outcome.
 *
 * Messages over 2000 bytes are cut at every 97th position only and not copied byte by byte: the
 * work would grow with the square of their length. */
#include "http1_feed.h"

#include "mem/mem.h"

#include "test.h"

enum {
    SMALL = 2000,
    STRIDE = 97
};

static uint8_t *exact_copy(struct bytes piece)
{
    uint8_t *copy = mem_alloc(piece.len > 0 ? piece.len : 1);
    memcpy(copy, piece.data, piece.len);
    return copy;
}

static void init_head(const struct feed_setup *setup, struct http1_head *head)
{
    const struct http1_limits *limits = setup->limits ? setup->limits : &HTTP1_LIMITS_DEFAULT;
    memset(head, 0, sizeof(*head));
    if (setup->kind == HTTP1_REQUEST)
        http1_head_init_request(head, limits);
    else if (setup->kind == HTTP1_RESPONSE)
        http1_head_init_response(head, limits, setup->asked);
    else
        http1_head_init_trailers(head, limits);
}

static enum err parse_prefix(struct http1_head *head, struct bytes message, size_t len)
{
    uint8_t *copy = exact_copy((struct bytes){message.data, len});
    enum err err = http1_head_parse(head, copy, len);
    mem_free(copy);
    return err;
}

static enum err parse_bytewise(const struct feed_setup *setup, struct bytes message,
                               struct http1_head *head)
{
    init_head(setup, head);
    enum err err = ERR_INCOMPLETE;
    for (size_t len = 0; len <= message.len && err == ERR_INCOMPLETE; ++len) {
        err = message.len <= SMALL ? parse_prefix(head, message, len)
                                   : http1_head_parse(head, message.data, len);
        /* Nothing is scanned twice but a CR that waits for its LF. */
        if (err == ERR_INCOMPLETE)
            assert_true((size_t)head->scanned + 1 >= len);
    }
    return err;
}

static enum err parse_split(const struct feed_setup *setup, struct bytes message, size_t split,
                            struct http1_head *head)
{
    init_head(setup, head);
    enum err err = parse_prefix(head, message, split);
    return err == ERR_INCOMPLETE ? parse_prefix(head, message, message.len) : err;
}

enum err feed_head(const struct feed_setup *setup, struct bytes message, struct http1_head *head)
{
    struct http1_head other;
    init_head(setup, head);
    enum err err = parse_prefix(head, message, message.len);
    assert_int_equal(parse_bytewise(setup, message, &other), err);
    assert_memory_equal(&other, head, sizeof(*head));
    for (size_t split = 0; split <= message.len; split += message.len <= SMALL ? 1 : STRIDE) {
        assert_int_equal(parse_split(setup, message, split, &other), err);
        assert_memory_equal(&other, head, sizeof(*head));
    }
    return err;
}

static enum http1_reason verdict_reason(const struct feed_setup *setup, struct bytes message)
{
    struct http1_head head;
    enum err err = feed_head(setup, message, &head);
    if (err == ERR_INCOMPLETE)
        fail_msg("incomplete: %.*s", BYTES_PRINT(message));
    assert_int_equal(err == ERR_OK, head.reason == HTTP1_REASON_NONE);
    return (enum http1_reason)head.reason;
}

enum http1_reason request_reason(struct bytes message)
{
    return verdict_reason(&(struct feed_setup){.kind = HTTP1_REQUEST}, message);
}

enum http1_reason response_reason(struct bytes message, struct http1_asked asked)
{
    return verdict_reason(&(struct feed_setup){.kind = HTTP1_RESPONSE, .asked = asked}, message);
}

/* Feeds one piece until it is used up, the body is over, or it is refused. */
static void feed_piece(struct http1_body *body, struct bytes piece, struct feed_body *ret)
{
    uint8_t *copy = exact_copy(piece);
    size_t at = 0;
    while (at < piece.len && !body->done && !body->at_trailers) {
        struct bytes content;
        size_t consumed;
        ret->err =
            http1_body_feed(body, (struct bytes){copy + at, piece.len - at}, &consumed, &content);
        ret->reason = (enum http1_reason)body->reason;
        if (ret->err != ERR_OK)
            break;
        assert_in_range(consumed, 1, piece.len - at);
        assert_in_range(content.len, 0, consumed);
        assert_true(ret->content_len + content.len <= FEED_CONTENT_MAX);
        memcpy(ret->content + ret->content_len, content.data, content.len);
        ret->content_len += content.len;
        ret->consumed += consumed;
        at += consumed;
    }
    mem_free(copy);
}

struct body_setup {
    enum http1_framing framing;
    uint64_t content_length;
    const struct http1_limits *limits;
    bool keep_trailers;
};

/* In pieces of step bytes, the first of them first bytes long. */
static void feed_cut(const struct body_setup *setup, struct bytes input, size_t first, size_t step,
                     struct feed_body *ret)
{
    struct http1_body body;
    memset(ret, 0, sizeof(*ret));
    http1_body_init_framing(&body, setup->framing, setup->content_length, setup->limits);
    if (setup->keep_trailers)
        http1_body_keep_trailers(&body);
    size_t len = first;
    for (size_t at = 0; at < input.len && ret->err == ERR_OK; at += len, len = step) {
        len = len < input.len - at ? len : input.len - at;
        feed_piece(&body, (struct bytes){input.data + at, len}, ret);
    }
    ret->at_trailers = body.at_trailers;
    if (ret->err == ERR_OK && !body.done && !body.at_trailers)
        ret->err = ERR_INCOMPLETE;
    /* A refusal does not say how far the framing before it was consumed. */
    if (ret->err == ERR_BAD_INPUT)
        ret->consumed = 0;
}

static void feed_body_setup(const struct body_setup *setup, struct bytes input,
                            struct feed_body *ret)
{
    struct feed_body other;
    feed_cut(setup, input, input.len, input.len, ret);
    feed_cut(setup, input, 1, 1, &other);
    assert_memory_equal(&other, ret, sizeof(*ret));
    for (size_t split = 1; split < input.len; split += input.len <= SMALL ? 1 : STRIDE) {
        feed_cut(setup, input, split, input.len, &other);
        assert_memory_equal(&other, ret, sizeof(*ret));
    }
}

void feed_body(enum http1_framing framing, uint64_t content_length,
               const struct http1_limits *limits, struct bytes input, struct feed_body *ret)
{
    struct body_setup setup = {framing, content_length, limits ? limits : &HTTP1_LIMITS_DEFAULT,
                               false};
    feed_body_setup(&setup, input, ret);
}

void feed_body_keep_trailers(struct bytes input, struct feed_body *ret)
{
    struct body_setup setup = {HTTP1_FRAMING_CHUNKED, 0, &HTTP1_LIMITS_DEFAULT, true};
    feed_body_setup(&setup, input, ret);
}

enum http1_reason chunked_reason(struct bytes input)
{
    struct feed_body body;
    feed_body(HTTP1_FRAMING_CHUNKED, 0, NULL, input, &body);
    assert_int_equal(body.err == ERR_BAD_INPUT, body.reason != HTTP1_REASON_NONE);
    return body.reason;
}
