/* The body decoder: byte by byte through chunk lines and trailers, run by run through content.
 *
 * Place: proto/http1. Content that stands before a bad byte in the same input is handed out first,
 * and the refusal comes with the next call: what a caller gets does not depend on how the input was
 * cut.
 *
 * Source: RFC 9112 section 7.1:
 *   chunk     = chunk-size [ chunk-ext ] CRLF chunk-data CRLF
 *   chunk-ext = *( ";" chunk-ext-name [ "=" ( token / quoted-string ) ] )   (no white space) */
#include "http1/http1_body.h"

#include "check/check.h"
#include "http1/http1_priv.h"

enum state {
    STATE_SIZE,
    STATE_EXT_NAME_FIRST,
    STATE_EXT_NAME,
    STATE_EXT_VALUE_FIRST,
    STATE_EXT_VALUE,
    STATE_EXT_QUOTED,
    STATE_EXT_ESCAPED,
    STATE_EXT_END, /* after a closing quote */
    STATE_LINE_LF,
    STATE_DATA,
    STATE_DATA_CR,
    STATE_DATA_LF,
    STATE_TRAILER_FIRST,
    STATE_TRAILER_NAME,
    STATE_TRAILER_VALUE,
    STATE_TRAILER_LF,
    STATE_END_LF,
};

/* "1 to 16 hex digits, < 2^63". */
enum {
    SIZE_DIGITS_MAX = 16
};

void http1_body_init_framing(struct http1_body *body, enum http1_framing framing,
                             uint64_t content_length, const struct http1_limits *limits)
{
    CHECK(limits->chunk_line_max <= HTTP1_CHUNK_LINE_MAX);
    CHECK(limits->chunk_ext_max <= HTTP1_CHUNK_EXT_MAX);
    CHECK(limits->trailer_block_max <= HTTP1_TRAILER_BLOCK_MAX);
    *body = (struct http1_body){
        .limits = limits,
        .left = framing == HTTP1_FRAMING_LENGTH ? content_length : 0,
        .framing = (uint8_t)framing,
        .state = STATE_SIZE,
    };
    body->done =
        framing == HTTP1_FRAMING_NONE || (framing == HTTP1_FRAMING_LENGTH && content_length == 0);
}

void http1_body_init(struct http1_body *body, const struct http1_head *head,
                     const struct http1_limits *limits)
{
    http1_body_init_framing(body, (enum http1_framing)head->framing, head->content_length, limits);
}

void http1_body_keep_trailers(struct http1_body *body)
{
    CHECK(body->received == 0 && body->state == STATE_SIZE);
    body->keep_trailers = true;
}

/* The size is complete: is it one that we take? */
static enum http1_reason size_known(struct http1_body *body, uint8_t next)
{
    if (body->digits == 0)
        return HTTP1_REASON_CHUNK_SIZE_INVALID;
    if (body->left > INT64_MAX)
        return HTTP1_REASON_CHUNK_SIZE_OVERFLOW;
    if (body->left > body->limits->body_max_bytes - body->received)
        return HTTP1_REASON_BODY_TOO_LARGE;
    body->state = next;
    return HTTP1_REASON_NONE;
}

static enum http1_reason step_size(struct http1_body *body, uint8_t byte)
{
    if (http1_is(byte, HTTP1_C_HEX)) {
        if (body->digits == SIZE_DIGITS_MAX)
            return HTTP1_REASON_CHUNK_SIZE_OVERFLOW;
        ++body->digits;
        body->left = body->left << 4 | http1_hex_value(byte);
        return HTTP1_REASON_NONE;
    }
    if (byte == '\r')
        return size_known(body, STATE_LINE_LF);
    if (byte == ';')
        return size_known(body, STATE_EXT_NAME_FIRST);
    return byte == '\n' ? HTTP1_REASON_CHUNK_LINE_END : HTTP1_REASON_CHUNK_SIZE_INVALID;
}

/* What may follow a complete extension name or value; to_value: a "=" may. */
static enum http1_reason step_ext_end(struct http1_body *body, uint8_t byte, bool to_value)
{
    if (byte == ';')
        body->state = STATE_EXT_NAME_FIRST;
    else if (byte == '=' && to_value)
        body->state = STATE_EXT_VALUE_FIRST;
    else if (byte == '\r')
        body->state = STATE_LINE_LF;
    else
        return byte == '\n' ? HTTP1_REASON_CHUNK_LINE_END : HTTP1_REASON_CHUNK_EXTENSION_INVALID;
    return HTTP1_REASON_NONE;
}

/* RFC 9110 section 5.6.4: quoted-string; a line end stands neither in it nor behind a backslash. */
static enum http1_reason step_ext_quoted(struct http1_body *body, uint8_t byte)
{
    if (!http1_is(byte, HTTP1_C_TEXT))
        return HTTP1_REASON_CHUNK_EXTENSION_INVALID;
    if (body->state == STATE_EXT_ESCAPED)
        body->state = STATE_EXT_QUOTED;
    else if (byte == '\\')
        body->state = STATE_EXT_ESCAPED;
    else if (byte == '"')
        body->state = STATE_EXT_END;
    return HTTP1_REASON_NONE;
}

static enum http1_reason step_ext(struct http1_body *body, uint8_t byte)
{
    bool token = http1_is(byte, HTTP1_C_TOKEN);
    switch (body->state) {
    case STATE_EXT_NAME_FIRST:
        body->state = STATE_EXT_NAME;
        return token ? HTTP1_REASON_NONE : HTTP1_REASON_CHUNK_EXTENSION_INVALID;
    case STATE_EXT_NAME:
        return token ? HTTP1_REASON_NONE : step_ext_end(body, byte, true);
    case STATE_EXT_VALUE_FIRST:
        body->state = byte == '"' ? STATE_EXT_QUOTED : STATE_EXT_VALUE;
        return token || byte == '"' ? HTTP1_REASON_NONE : HTTP1_REASON_CHUNK_EXTENSION_INVALID;
    case STATE_EXT_VALUE:
        return token ? HTTP1_REASON_NONE : step_ext_end(body, byte, false);
    case STATE_EXT_END:
        return step_ext_end(body, byte, false);
    default:
        return step_ext_quoted(body, byte);
    }
}

/* A byte of a chunk's first line, CR included; the LF has its own state. */
static enum http1_reason step_chunk_line(struct http1_body *body, uint8_t byte)
{
    if (byte != '\r') {
        if (body->line_len == body->limits->chunk_line_max)
            return HTTP1_REASON_CHUNK_LINE_TOO_LONG;
        ++body->line_len;
        if (body->state != STATE_SIZE || byte == ';') {
            if (body->ext_len == body->limits->chunk_ext_max)
                return HTTP1_REASON_CHUNK_EXTENSIONS_TOO_LARGE;
            ++body->ext_len;
        }
    }
    return body->state == STATE_SIZE ? step_size(body, byte) : step_ext(body, byte);
}

static enum http1_reason step_line_lf(struct http1_body *body, uint8_t byte)
{
    if (byte != '\n')
        return HTTP1_REASON_CHUNK_LINE_END;
    body->line_len = 0;
    body->digits = 0;
    if (body->left > 0)
        body->state = STATE_DATA;
    else if (body->keep_trailers)
        body->at_trailers = true;
    else
        body->state = STATE_TRAILER_FIRST;
    return HTTP1_REASON_NONE;
}

static enum http1_reason control_fault(uint8_t byte)
{
    return byte == '\n' ? HTTP1_REASON_BARE_LF : HTTP1_REASON_CONTROL_BYTE;
}

static enum http1_reason step_trailer_first(struct http1_body *body, uint8_t byte)
{
    if (byte == '\r') {
        body->state = STATE_END_LF;
        return HTTP1_REASON_NONE;
    }
    if (byte == ' ' || byte == '\t')
        return HTTP1_REASON_OBS_FOLD;
    if (!http1_is(byte, HTTP1_C_TEXT))
        return control_fault(byte);
    if (!http1_is(byte, HTTP1_C_TOKEN))
        return HTTP1_REASON_FIELD_NAME_INVALID;
    if (body->trailer_count == body->limits->field_count_max)
        return HTTP1_REASON_TOO_MANY_TRAILERS;
    if (byte == '_' && body->limits->underscore == HTTP1_UNDERSCORE_REFUSE)
        return HTTP1_REASON_FIELD_NAME_UNDERSCORE;
    ++body->trailer_count;
    body->state = STATE_TRAILER_NAME;
    return HTTP1_REASON_NONE;
}

static enum http1_reason step_trailer_name(struct http1_body *body, uint8_t byte)
{
    if (byte == '_' && body->limits->underscore == HTTP1_UNDERSCORE_REFUSE)
        return HTTP1_REASON_FIELD_NAME_UNDERSCORE;
    if (http1_is(byte, HTTP1_C_TOKEN))
        return HTTP1_REASON_NONE;
    if (byte == ':') {
        body->state = STATE_TRAILER_VALUE;
        return HTTP1_REASON_NONE;
    }
    if (byte == '\r')
        return HTTP1_REASON_FIELD_COLON_MISSING;
    return http1_is(byte, HTTP1_C_TEXT) ? HTTP1_REASON_FIELD_NAME_INVALID : control_fault(byte);
}

static enum http1_reason step_trailer(struct http1_body *body, uint8_t byte)
{
    if (body->trailer_len == body->limits->trailer_block_max)
        return HTTP1_REASON_TRAILERS_TOO_LARGE;
    ++body->trailer_len;
    switch (body->state) {
    case STATE_TRAILER_FIRST:
        return step_trailer_first(body, byte);
    case STATE_TRAILER_NAME:
        return step_trailer_name(body, byte);
    case STATE_TRAILER_VALUE:
        if (http1_is(byte, HTTP1_C_TEXT))
            return HTTP1_REASON_NONE;
        body->state = STATE_TRAILER_LF;
        return byte == '\r' ? HTTP1_REASON_NONE : control_fault(byte);
    case STATE_TRAILER_LF:
        body->state = STATE_TRAILER_FIRST;
        return byte == '\n' ? HTTP1_REASON_NONE : HTTP1_REASON_BARE_CR;
    default:
        body->done = byte == '\n';
        return byte == '\n' ? HTTP1_REASON_NONE : HTTP1_REASON_BARE_CR;
    }
}

/* Moves over one framing byte. */
static enum http1_reason step(struct http1_body *body, uint8_t byte)
{
    switch (body->state) {
    case STATE_LINE_LF:
        return step_line_lf(body, byte);
    case STATE_DATA_CR:
        body->state = STATE_DATA_LF;
        return byte == '\r' ? HTTP1_REASON_NONE : HTTP1_REASON_CHUNK_DATA_END;
    case STATE_DATA_LF:
        body->state = STATE_SIZE;
        return byte == '\n' ? HTTP1_REASON_NONE : HTTP1_REASON_CHUNK_DATA_END;
    default:
        return body->state < STATE_LINE_LF ? step_chunk_line(body, byte) : step_trailer(body, byte);
    }
}

/* Takes up to len content bytes; returns how many. */
static size_t take_content(struct http1_body *body, size_t len)
{
    size_t take = len < body->left ? len : (size_t)body->left;
    body->left -= take;
    body->received += take;
    return take;
}

static enum err feed_chunked(struct http1_body *body, struct bytes input, size_t *ret_consumed,
                             struct bytes *ret_content)
{
    struct bytes content = {input.data, 0};
    size_t at = 0;
    while (at < input.len && !body->done && !body->at_trailers) {
        if (body->state == STATE_DATA) {
            if (content.len > 0)
                break;
            content = bytes_from(input, at);
            content.len = take_content(body, content.len);
            at += content.len;
            if (body->left == 0)
                body->state = STATE_DATA_CR;
            continue;
        }
        body->reason = (uint8_t)step(body, input.data[at]);
        if (body->reason != HTTP1_REASON_NONE) {
            if (content.len == 0)
                return ERR_BAD_INPUT;
            break;
        }
        ++at;
    }
    *ret_consumed = at;
    *ret_content = content;
    return ERR_OK;
}

enum err http1_body_feed(struct http1_body *body, struct bytes input, size_t *ret_consumed,
                         struct bytes *ret_content)
{
    if (body->reason != HTTP1_REASON_NONE)
        return ERR_BAD_INPUT;
    if (body->framing == HTTP1_FRAMING_CHUNKED)
        return feed_chunked(body, input, ret_consumed, ret_content);
    size_t take = 0;
    if (body->framing == HTTP1_FRAMING_LENGTH) {
        take = take_content(body, input.len);
        body->done = body->left == 0;
    } else if (body->framing == HTTP1_FRAMING_CLOSE && !body->done) {
        uint64_t room = body->limits->body_max_bytes - body->received;
        take = input.len <= room ? input.len : (size_t)room;
        if (take == 0 && input.len > 0) {
            body->reason = HTTP1_REASON_BODY_TOO_LARGE;
            return ERR_BAD_INPUT;
        }
        body->received += take;
    }
    *ret_consumed = take;
    *ret_content = (struct bytes){input.data, take};
    return ERR_OK;
}

enum err http1_body_end_of_input(struct http1_body *body)
{
    if (body->done)
        return ERR_OK;
    if (body->framing == HTTP1_FRAMING_CLOSE && body->reason == HTTP1_REASON_NONE) {
        body->done = true;
        return ERR_OK;
    }
    if (body->reason == HTTP1_REASON_NONE)
        body->reason = HTTP1_REASON_BODY_TRUNCATED;
    return ERR_BAD_INPUT;
}
