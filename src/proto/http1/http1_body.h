/* Body framing: takes the bytes after a head, gives back the content in place.
 *
 * Place: proto/http1. A small state machine that remembers no bytes: everything that it consumed
 * may be thrown away at once. Chunk extensions are checked and forgotten; trailers too, unless the
 * caller wants them.
 *
 *   chunked:  SIZE --> EXT* --> LF --> DATA --> DATA_CR --> DATA_LF --> SIZE ...
 *                                 \-- size 0 --> TRAILER lines --> done
 *
 * Invariants:
 *   1. Nothing after the body is consumed.
 *   2. The verdict depends on the bytes only, not on how they were cut into calls.
 *
 * Source: RFC 9112 sections 6.3, 7.1 and 8. Stricter than the RFC: no white space anywhere in a
 * chunk line outside quotes. */
#ifndef HTTP1_HTTP1_BODY_H
#define HTTP1_HTTP1_BODY_H

#include "http1/http1_head.h"

struct http1_body {
    const struct http1_limits *limits; /* borrowed until the body is done */
    uint64_t left;     /* content bytes that follow in this chunk, or in all for FRAMING_LENGTH */
    uint64_t received; /* content bytes handed out so far */
    uint16_t line_len; /* bytes of the current chunk or trailer line */
    uint16_t ext_len;  /* bytes of chunk extensions so far, in total */
    uint16_t trailer_len;
    uint16_t trailer_count;
    uint8_t framing; /* enum http1_framing */
    uint8_t state;
    uint8_t digits;
    uint8_t reason; /* enum http1_reason; final: every later call returns ERR_BAD_INPUT */
    bool keep_trailers;
    bool at_trailers; /* keep_trailers: the next byte is the first of the trailer section */
    bool done;        /* the last byte of the message was consumed */
};

/* From a parsed head (framing and content_length); done at once when there is no body. */
void http1_body_init(struct http1_body *body, const struct http1_head *head,
                     const struct http1_limits *limits);
/* The same without a head. content_length counts for HTTP1_FRAMING_LENGTH only. */
void http1_body_init_framing(struct http1_body *body, enum http1_framing framing,
                             uint64_t content_length, const struct http1_limits *limits);
/* Before the first byte: stop in front of the trailer section (at_trailers) instead of checking and
 * forgetting it. The caller then parses it with http1_head_init_trailers, and the body is over. */
void http1_body_keep_trailers(struct http1_body *body);

/* Gives the next bytes. Consumes at least one byte when input is not empty and the body neither is
 * done nor at_trailers; hands out at most one run of content per call, so call it in a
 * loop while bytes are left.
 *
 * ret_content borrows from input and may be empty. ERR_BAD_INPUT: refused, body->reason says why;
 * content handed out before was good, the connection can be used no more. */
ERR_CHECKED enum err http1_body_feed(struct http1_body *body, struct bytes input,
                                     size_t *ret_consumed, struct bytes *ret_content);

/* The connection was closed by the sender: ERR_OK ends a HTTP1_FRAMING_CLOSE body (or was done
 * already); ERR_BAD_INPUT with reason body_truncated otherwise. */
ERR_CHECKED enum err http1_body_end_of_input(struct http1_body *body);

#endif
