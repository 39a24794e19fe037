/* HTTP/1.0 and HTTP/1.1, strict: the words of the module (limits, methods, header names, reasons).
 *
 * Place: proto; used by the gateway's data path, by the HTTP server and by the HTTP client. Parts:
 *   http1/http1_head.h   request heads, response heads and trailers: bytes -> offsets and facts
 *   http1/http1_body.h   body framing: bytes -> slices of content, in place
 *   http1/http1_hop.h    which fields a relay may not pass on
 *   http1/http1_path.h   the one normal form of a path
 *   http1/http1_write.h  heads and chunks out, into a buffer or as pieces for one gathered write
 *
 * Invariants:
 *   1. Nothing here does I/O, allocates, reads a clock or keeps state outside the caller's structs.
 *   2. A verdict is a function of the bytes alone, not of how they were cut into pieces.
 *   3. Every refusal has a reason from one table, with a stable name and the status to answer.
 *
 * Sources: RFC 9110, RFC 9112, RFC 3986; the strictness beyond them is the gateway's rule table.
 * Absent on purpose: obs-fold, bare LF, HTTP/0.9, transfer codings other than chunked. */
#ifndef HTTP1_HTTP1_H
#define HTTP1_HTTP1_H

#include "bytes/bytes.h"
#include "http1/http1_tables.h"

#include <stdbool.h>
#include <stdint.h>

enum http1_method {
    HTTP1_METHOD_OTHER, /* any other token; see http1_head.method_name */
#define X(name, token, safe, idempotent) HTTP1_METHOD_##name,
    HTTP1_METHODS(X)
#undef X
    HTTP1_METHOD_COUNT
};

enum http1_header {
    HTTP1_HEADER_OTHER, /* any name that is not in the list */
#define X(name, text, first, penult, flags) HTTP1_HEADER_##name,
    HTTP1_HEADERS(X)
#undef X
    HTTP1_HEADER_COUNT
};

enum http1_reason {
#define X(name, text, status, sentence) HTTP1_REASON_##name,
    HTTP1_REASONS(X)
#undef X
    HTTP1_REASON_COUNT
};

enum {
    HTTP1_START_LINE_MAX = 8192,   /* bytes, without CRLF */
    HTTP1_FIELD_BLOCK_MAX = 32768, /* bytes of all field lines with the empty line after them */
    HTTP1_FIELD_COUNT_MAX = 100,
    HTTP1_HEAD_MAX = 2 + HTTP1_START_LINE_MAX + 2 + HTTP1_FIELD_BLOCK_MAX,
    HTTP1_METHOD_MAX = 32,          /* bytes */
    HTTP1_CHUNK_LINE_MAX = 256,     /* bytes, without CRLF */
    HTTP1_CHUNK_EXT_MAX = 4096,     /* bytes of chunk extensions in one body */
    HTTP1_TRAILER_BLOCK_MAX = 8192, /* bytes of all trailer lines with the empty line after them */
    HTTP1_INTERIM_MAX = 8,          /* 1xx heads before a response that a client should bear */
};

/* What to do with a request field whose name has an underscore: programs behind CGI-like interfaces
 * cannot tell X_User from X-User. */
enum http1_underscore {
    HTTP1_UNDERSCORE_DROP, /* the field is not in the parsed head, only counted */
    HTTP1_UNDERSCORE_REFUSE,
    HTTP1_UNDERSCORE_KEEP,
};

/* Each limit may be at most the constant of its name above (CHECKed at init). */
struct http1_limits {
    uint64_t body_max_bytes;
    uint16_t start_line_max;
    uint16_t field_block_max;
    uint16_t field_count_max;
    uint16_t chunk_line_max;
    uint16_t chunk_ext_max;
    uint16_t trailer_block_max;
    enum http1_underscore underscore;
};

/* The constants above, no limit for bodies, underscores dropped. */
extern const struct http1_limits HTTP1_LIMITS_DEFAULT;

/* The stable snake_case name; borrowed for ever. */
const char *http1_reason_name(enum http1_reason reason);
/* A sentence for people; borrowed for ever. */
const char *http1_reason_text(enum http1_reason reason);
/* The status to answer when a request was refused: 400, 413, 414, 417, 431, 501 or 505; 0 for NONE.
 * What is refused in a response is answered with 502 whatever the reason. */
uint16_t http1_reason_status(enum http1_reason reason);

/* Exact, case-sensitive; HTTP1_METHOD_OTHER when it is none of the list. */
enum http1_method http1_method_of(struct bytes token);
/* The token, "" for OTHER; borrowed for ever. */
struct bytes http1_method_token(enum http1_method method);
/* RFC 9110 sections 9.2.1 and 9.2.2; false for OTHER. */
bool http1_method_is_safe(enum http1_method method);
bool http1_method_is_idempotent(enum http1_method method);

/* name: a token. Without case; HTTP1_HEADER_OTHER when it is none of the list. */
enum http1_header http1_header_of(struct bytes name);
/* The name as we write it, "" for OTHER; borrowed for ever. */
struct bytes http1_header_name(enum http1_header header);

/* The phrase of a status code ("Not Found"), "" when it is not a registered one; borrowed. */
struct bytes http1_status_phrase(uint16_t status);

/* RFC 9110 section 5.1: one or more tchar. */
bool http1_is_token(struct bytes text);
/* RFC 9110 section 5.5: no control byte but HTAB, no white space at either end. May be empty. */
bool http1_is_field_value(struct bytes text);

#endif
