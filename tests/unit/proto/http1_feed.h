/* Feeds HTTP/1 messages to the parser whole, byte by byte and split at every position, and asserts
 * that the outcome is the same each time.
 *
 * Place: tests of proto/http1. Every piece is a fresh allocation of exactly its size, so that a
 * read past the given bytes, or a pointer kept from an earlier call, is caught by
 * the sanitizers. */
#ifndef HTTP1_FEED_H
#define HTTP1_FEED_H

#include "http1/http1_body.h"
#include "http1/http1_head.h"

/* What is parsed and how. limits NULL: the defaults. */
struct feed_setup {
    enum http1_kind kind;
    struct http1_asked asked;
    const struct http1_limits *limits;
};

/* The verdict, head filled in; ERR_INCOMPLETE when the bytes end before the head does. */
enum err feed_head(const struct feed_setup *setup, struct bytes message, struct http1_head *head);

/* Shorthands: the reason of a refused message, NONE when it was accepted; incomplete
 * input fails. */
enum http1_reason request_reason(struct bytes message);
enum http1_reason response_reason(struct bytes message, struct http1_asked asked);

enum {
    FEED_CONTENT_MAX = 4096
};

/* What a body turned out to be. */
struct feed_body {
    enum err err; /* ERR_OK done, ERR_INCOMPLETE, ERR_BAD_INPUT */
    enum http1_reason reason;
    size_t consumed;
    size_t content_len;
    bool at_trailers;
    uint8_t content[FEED_CONTENT_MAX];
};

/* framing and content_length as in http1_body_init_framing; limits NULL: the defaults. */
void feed_body(enum http1_framing framing, uint64_t content_length,
               const struct http1_limits *limits, struct bytes input, struct feed_body *ret);
/* A chunked body with default limits that stops in front of its trailers. */
void feed_body_keep_trailers(struct bytes input, struct feed_body *ret);
/* The reason why a chunked body is refused; NONE when it is not. */
enum http1_reason chunked_reason(struct bytes input);

#endif
