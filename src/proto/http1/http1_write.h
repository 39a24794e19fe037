/* Writing heads and chunks: into a buffer, or as pieces for one gathered write.
 *
 * Place: proto/http1. The write_ functions go through base's struct writer: the first failure is
 * remembered in w->err and later calls do nothing, so one check at the end is enough. Names and
 * values are checked: what could split a message (CR, LF, NUL, a non-token name) makes
 * ERR_BAD_INPUT.
 *
 * A relay does not rebuild a head: http1_pieces_add_fields passes received field lines on as they
 * came, neighbouring lines as one piece. That is safe because the strict parser has accepted each
 * line.
 *
 * Source: RFC 9112 sections 3, 4, 5 and 7.1. */
#ifndef HTTP1_HTTP1_WRITE_H
#define HTTP1_HTTP1_WRITE_H

#include "http1/http1_head.h"
#include "http1/http1_hop.h"

#include <sys/uio.h>

/* "METHOD SP target SP HTTP/1.1 CRLF". target: visible ASCII without spaces, not empty. */
void http1_write_request_line(struct writer *w, struct bytes method, struct bytes target);
/* "HTTP/1.1 SP status SP phrase CRLF" with the registered phrase; status 100..999. */
void http1_write_status_line(struct writer *w, uint16_t status);
/* "name: value CRLF". */
void http1_write_field(struct writer *w, struct bytes name, struct bytes value);
void http1_write_header(struct writer *w, enum http1_header id, struct bytes value);
void http1_write_header_u64(struct writer *w, enum http1_header id, uint64_t value);
/* The field lines of a parsed head that are not in drop (NULL: all), as they came. */
void http1_write_fields(struct writer *w, const struct http1_head *head, const uint8_t *data,
                        const struct http1_field_set *drop);
/* The empty line that ends a head. */
void http1_write_end(struct writer *w);
/* A whole chunk: size line, content, CRLF. An empty content writes nothing (it would end
 * the body). */
void http1_write_chunk(struct writer *w, struct bytes content);
/* The last chunk, without trailers: "0 CRLF CRLF". */
void http1_write_last_chunk(struct writer *w);

enum {
    HTTP1_CHUNK_HEAD_MAX = 18
};

/* The size line of a chunk of len > 0 bytes: returns its length in bytes, CRLF included. The
 * content and HTTP1_CRLF follow it. */
size_t http1_chunk_head(uint64_t len, uint8_t dest[HTTP1_CHUNK_HEAD_MAX]);

#define HTTP1_CRLF BYTES_LITERAL("\r\n")
/* After the last content byte. */
#define HTTP1_LAST_CHUNK BYTES_LITERAL("0\r\n\r\n")

enum {
    HTTP1_DATE_LEN = 29
};

/* "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 section 5.6.7), not terminated. unix_s: seconds since
 * 1970, below the year 10000. */
void http1_format_date(uint64_t unix_s, uint8_t dest[HTTP1_DATE_LEN]);

/* A list of borrowed pieces in the caller's array, for writev or sendmsg. */
struct http1_pieces {
    struct iovec *list; /* borrowed, max entries */
    size_t count;
    size_t max;
    size_t total; /* bytes in all pieces */
    bool full;    /* a piece did not fit: the list must not be sent */
};

void http1_pieces_init(struct http1_pieces *pieces, struct iovec *list, size_t max);
/* Borrows the slice; one that continues the last piece in memory lengthens it. Empty
 * adds nothing. */
void http1_pieces_add(struct http1_pieces *pieces, struct bytes slice);
/* The field lines that are not in drop (NULL: all), as they came. Borrows from data. */
void http1_pieces_add_fields(struct http1_pieces *pieces, const struct http1_head *head,
                             const uint8_t *data, const struct http1_field_set *drop);

#endif
