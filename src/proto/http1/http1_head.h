/* Heads of requests and responses, and trailers: parsed in place into offsets and derived facts.
 *
 * Place: proto/http1. The caller keeps the bytes of the head contiguous from its first byte on and
 * calls http1_head_parse again whenever there are more; nothing that was scanned is scanned again.
 * The bytes may move between calls: a parsed head holds offsets from the head's first byte.
 *
 *   init_request / init_response / init_trailers --> parse: ERR_INCOMPLETE ... --> ERR_OK |
 *   ERR_BAD_INPUT
 *
 * Invariants:
 *   1. The verdict depends on the bytes only, not on how they were cut into calls.
 *   2. After ERR_OK: head_len bytes belong to the head, every span lies inside them, and body
 *      framing is decided (exactly one of the four framings, independent of the method).
 *   3. fields[i] are in the order received; first[]/next chain those of one well-known name.
 *
 * Source: RFC 9112 sections 2 to 6 and 9, RFC 9110 sections 5, 7 and 10.1.1. */
#ifndef HTTP1_HTTP1_HEAD_H
#define HTTP1_HTTP1_HEAD_H

#include "http1/http1.h"

enum {
    HTTP1_NO_FIELD = 0xff
};

/* A part of the head: offset from its first byte. HTTP1_HEAD_MAX fits 16 bits. */
struct http1_span {
    uint16_t offset;
    uint16_t len;
};

struct http1_field {
    struct http1_span name;
    struct http1_span value; /* without white space at its ends */
    uint16_t end;            /* offset just after the line's CRLF; the line begins at name.offset */
    uint8_t id;              /* enum http1_header */
    uint8_t next; /* index of the next field of the same well-known name, HTTP1_NO_FIELD */
};

enum http1_kind {
    HTTP1_REQUEST,
    HTTP1_RESPONSE,
    HTTP1_TRAILERS
};

/* How the body is delimited, RFC 9112 section 6.3. */
enum http1_framing {
    HTTP1_FRAMING_NONE,    /* no body */
    HTTP1_FRAMING_LENGTH,  /* content_length bytes; may be 0 */
    HTTP1_FRAMING_CHUNKED, /* transfer coding chunked */
    HTTP1_FRAMING_CLOSE,   /* until the connection is closed; responses only */
};

/* RFC 9112 section 3.2. */
enum http1_target_form {
    HTTP1_TARGET_ORIGIN,    /* /path?query */
    HTTP1_TARGET_ABSOLUTE,  /* http://authority/path?query: its authority wins over Host */
    HTTP1_TARGET_AUTHORITY, /* host:port, CONNECT only */
    HTTP1_TARGET_ASTERISK,  /* *, OPTIONS only */
};

enum http1_upgrade {
    HTTP1_UPGRADE_NONE,
    HTTP1_UPGRADE_WEBSOCKET, /* exactly "websocket" */
    HTTP1_UPGRADE_OTHER,     /* anything else, h2c included: never followed, never forwarded */
};

/* What the request was, for the response that answers it. */
struct http1_asked {
    bool head;    /* method HEAD: the response has no body */
    bool connect; /* method CONNECT: a 2xx switches to a tunnel */
    bool upgrade; /* the request asked for an upgrade: 101 is allowed */
};

/* About 1.4 KiB; only the parts in use are touched. Read-only for callers after init. */
struct http1_head {
    const struct http1_limits *limits; /* borrowed, must outlive the head's parsing */

    /* Scanner. */
    uint16_t scanned;     /* bytes that were looked at */
    uint16_t line_start;  /* where the current line begins */
    uint16_t block_start; /* where the field lines begin */
    uint8_t state;
    uint8_t kind; /* enum http1_kind */
    struct http1_asked asked;

    /* Verdict. */
    uint8_t reason; /* enum http1_reason; NONE unless ERR_BAD_INPUT was returned */

    /* Start line. */
    uint8_t minor_version;         /* 1 or 0: HTTP/1.1 or HTTP/1.0 */
    uint8_t method;                /* enum http1_method */
    uint8_t target_form;           /* enum http1_target_form */
    struct http1_span method_name; /* the token as sent */
    struct http1_span target;      /* the whole request target as sent */
    struct http1_span path;  /* up to '?'; empty in absolute form without a path: it means "/" */
    struct http1_span query; /* after '?'; see has_query */
    struct http1_span authority; /* absolute and authority form: without scheme */
    uint16_t status;             /* responses: 100..999 */
    struct http1_span phrase;

    /* Derived facts. */
    uint16_t head_len; /* bytes of the head, empty line included */
    bool has_query;
    bool keep_alive;         /* the connection may serve another message after this one */
    bool expect_continue;    /* the client waits for 100 (Continue) before it sends the body */
    bool te_trailers;        /* the client says that it keeps trailers */
    bool interim;            /* 1xx other than 101: the real response follows */
    bool tunnel;             /* 101 that was asked for, or 2xx to CONNECT: no HTTP after the head */
    uint8_t framing;         /* enum http1_framing */
    uint8_t upgrade;         /* enum http1_upgrade: asked for (request) or accepted (101) */
    uint64_t content_length; /* FRAMING_LENGTH; with HEAD and 304 the announced length, else 0 */
    struct http1_span host;  /* winning authority as sent, port included; empty only in HTTP/1.0 */
    struct http1_span host_name; /* host without the port; an IPv6 address keeps its brackets */
    uint16_t port;               /* 0 when none was given */

    /* Fields. */
    uint16_t field_count;
    uint16_t dropped_count; /* fields left out: underscore names; in trailers the forbidden ones */
    uint8_t first[HTTP1_HEADER_COUNT]; /* index of the first field of each name, HTTP1_NO_FIELD */
    uint8_t last[HTTP1_HEADER_COUNT];  /* valid where first is */
    struct http1_field fields[HTTP1_FIELD_COUNT_MAX];
};

/* limits: borrowed until the verdict; HTTP1_LIMITS_DEFAULT is for ever. */
void http1_head_init_request(struct http1_head *head, const struct http1_limits *limits);
void http1_head_init_response(struct http1_head *head, const struct http1_limits *limits,
                              struct http1_asked asked);
/* For callers that keep trailers; see http1_body_keep_trailers. Forbidden fields are left out. */
void http1_head_init_trailers(struct http1_head *head, const struct http1_limits *limits);

/* data: the head from its first byte on, len bytes of it so far (more may follow the head; they are
 * not looked at). A request may have one empty line before it (RFC 9112 section 2.2).
 * ERR_OK: complete, see head_len. ERR_INCOMPLETE: call again with more bytes. ERR_BAD_INPUT:
 * refused, head->reason says why. A verdict is final: init again before the next message. */
ERR_CHECKED enum err http1_head_parse(struct http1_head *head, const uint8_t *data, size_t len);

static inline struct bytes http1_span_bytes(struct http1_span span, const uint8_t *data)
{
    return (struct bytes){data + span.offset, span.len};
}

static inline bool http1_head_has(const struct http1_head *head, enum http1_header id)
{
    return head->first[id] != HTTP1_NO_FIELD;
}

/* The first such field, NULL when there is none. More: follow next. */
static inline const struct http1_field *http1_head_field(const struct http1_head *head,
                                                         enum http1_header id)
{
    return head->first[id] == HTTP1_NO_FIELD ? NULL : &head->fields[head->first[id]];
}

/* The value of the first such field; {NULL, 0} when there is none. Borrows from data. */
static inline struct bytes http1_head_value(const struct http1_head *head, const uint8_t *data,
                                            enum http1_header id)
{
    const struct http1_field *field = http1_head_field(head, id);
    return field ? http1_span_bytes(field->value, data) : (struct bytes){NULL, 0};
}

/* The value of the first field of that name (any token, without case), found by looking at all of
 * them; {NULL, 0} when there is none. Borrows from data. */
struct bytes http1_head_find(const struct http1_head *head, const uint8_t *data, struct bytes name);

/* Whether one of the comma-separated elements of all fields of this name is that token (without
 * case). */
bool http1_head_lists(const struct http1_head *head, const uint8_t *data, enum http1_header id,
                      struct bytes token);

#endif
