/* Derived facts of a head whose fields are all known: framing, host, persistence, expectations.
 *
 * Place: proto/http1. This is where request smuggling is decided: a message whose length two
 * readers could see differently is refused, never repaired. Framing does not look at the method.
 *
 * Source: RFC 9112 sections 3.2, 6 and 9.3; RFC 9110 sections 7.2, 7.6.1, 7.8, 8.6, 10.1.1. */
#include "http1/http1_priv.h"

enum {
    LENGTH_DIGITS_MAX = 19
};

static bool is_repeated(const struct http1_head *head, enum http1_header id)
{
    return head->last[id] != head->first[id];
}

/* What the Connection fields say. */
struct connection_options {
    bool close;
    bool keep_alive;
    bool upgrade;
};

static enum http1_reason note_option(struct connection_options *options, struct bytes token)
{
    if (!http1_is_token(token))
        return HTTP1_REASON_CONNECTION_INVALID;
    if (http1_token_is(token, BYTES_LITERAL("close")))
        options->close = true;
    else if (http1_token_is(token, BYTES_LITERAL("keep-alive")))
        options->keep_alive = true;
    else if (http1_token_is(token, BYTES_LITERAL("upgrade")))
        options->upgrade = true;
    else if ((http1_header_flags(http1_header_of(token)) & HTTP1_FLAG_REFUSED) != 0)
        return HTTP1_REASON_CONNECTION_PROTECTED;
    return HTTP1_REASON_NONE;
}

static enum http1_reason read_connection(const struct http1_head *head, const uint8_t *data,
                                         struct connection_options *options)
{
    uint8_t i = head->first[HTTP1_HEADER_CONNECTION];
    for (; i != HTTP1_NO_FIELD; i = head->fields[i].next) {
        struct bytes rest = http1_span_bytes(head->fields[i].value, data);
        struct bytes element;
        while (http1_list_next(&rest, &element)) {
            enum http1_reason reason = note_option(options, element);
            if (reason != HTTP1_REASON_NONE)
                return reason;
        }
    }
    return HTTP1_REASON_NONE;
}

/* RFC 9112 section 3.2: exactly one valid Host, in every target form; HTTP/1.0 may have none. */
static enum http1_reason derive_host(struct http1_head *head, const uint8_t *data)
{
    const struct http1_field *field = http1_head_field(head, HTTP1_HEADER_HOST);
    if (field == NULL)
        return head->minor_version == 0 ? HTTP1_REASON_NONE : HTTP1_REASON_HOST_MISSING;
    if (is_repeated(head, HTTP1_HEADER_HOST))
        return HTTP1_REASON_HOST_REPEATED;
    uint16_t name_len;
    uint16_t port;
    enum http1_reason reason =
        http1_parse_authority(http1_span_bytes(field->value, data), &name_len, &port);
    if (reason != HTTP1_REASON_NONE)
        return reason;
    /* RFC 9112 section 3.2.2: the authority of the target wins. */
    if (head->authority.len == 0) {
        head->host = field->value;
        head->host_name = (struct http1_span){field->value.offset, name_len};
        head->port = port;
    }
    return HTTP1_REASON_NONE;
}

/* RFC 9110 section 8.6: 1*DIGIT; here below 2^63 and at most 19 digits. */
static enum http1_reason read_length(const struct http1_head *head, const uint8_t *data,
                                     uint64_t *ret_length)
{
    if (is_repeated(head, HTTP1_HEADER_CONTENT_LENGTH))
        return HTTP1_REASON_CONTENT_LENGTH_REPEATED;
    struct bytes text = http1_head_value(head, data, HTTP1_HEADER_CONTENT_LENGTH);
    if (text.len == 0 || text.len > LENGTH_DIGITS_MAX)
        return HTTP1_REASON_CONTENT_LENGTH_INVALID;
    uint64_t length = 0;
    for (size_t at = 0; at < text.len; ++at) {
        if (!http1_is(text.data[at], HTTP1_C_DIGIT))
            return HTTP1_REASON_CONTENT_LENGTH_INVALID;
        length = length * 10 + (uint64_t)(text.data[at] - '0');
    }
    if (length > INT64_MAX)
        return HTTP1_REASON_CONTENT_LENGTH_INVALID;
    *ret_length = length;
    return HTTP1_REASON_NONE;
}

/* Exactly one field, exactly "chunked" (RFC 9112 section 7: without case). */
static enum http1_reason check_coding(const struct http1_head *head, const uint8_t *data)
{
    if (head->minor_version == 0)
        return HTTP1_REASON_TRANSFER_ENCODING_IN_HTTP10;
    if (is_repeated(head, HTTP1_HEADER_TRANSFER_ENCODING))
        return HTTP1_REASON_TRANSFER_ENCODING_REPEATED;
    struct bytes text = http1_head_value(head, data, HTTP1_HEADER_TRANSFER_ENCODING);
    if (bytes_find(text, ',') < text.len)
        return HTTP1_REASON_TRANSFER_ENCODING_LIST;
    if (!http1_is_token(text))
        return HTTP1_REASON_TRANSFER_ENCODING_INVALID;
    return http1_token_is(text, BYTES_LITERAL("chunked"))
               ? HTTP1_REASON_NONE
               : HTTP1_REASON_TRANSFER_ENCODING_UNSUPPORTED;
}

/* Framing by the fields alone (RFC 9112 section 6.3, cases 3 to 6); NONE: neither of them. */
static enum http1_reason derive_framing(struct http1_head *head, const uint8_t *data)
{
    bool has_length = http1_head_has(head, HTTP1_HEADER_CONTENT_LENGTH);
    bool has_coding = http1_head_has(head, HTTP1_HEADER_TRANSFER_ENCODING);
    if (has_length && has_coding)
        return HTTP1_REASON_LENGTH_AND_ENCODING;
    if (has_coding) {
        head->framing = HTTP1_FRAMING_CHUNKED;
        return check_coding(head, data);
    }
    if (!has_length)
        return HTTP1_REASON_NONE;
    head->framing = HTTP1_FRAMING_LENGTH;
    return read_length(head, data, &head->content_length);
}

/* RFC 9110 section 10.1.1. A client that sends no body waits for nothing; HTTP/1.0 knows no 100. */
static enum http1_reason derive_expect(struct http1_head *head, const uint8_t *data)
{
    const struct http1_field *field = http1_head_field(head, HTTP1_HEADER_EXPECT);
    if (field == NULL)
        return HTTP1_REASON_NONE;
    if (is_repeated(head, HTTP1_HEADER_EXPECT) ||
        !bytes_eq_nocase(http1_span_bytes(field->value, data), BYTES_LITERAL("100-continue")))
        return HTTP1_REASON_EXPECT_UNSUPPORTED;
    bool has_body = head->framing == HTTP1_FRAMING_CHUNKED || head->content_length > 0;
    head->expect_continue = head->minor_version > 0 && has_body;
    return HTTP1_REASON_NONE;
}

/* RFC 9110 section 7.8: counts only when Connection nominates it; HTTP/1.0 does not have it. */
static void derive_upgrade(struct http1_head *head, const uint8_t *data,
                           const struct connection_options *options)
{
    const struct http1_field *field = http1_head_field(head, HTTP1_HEADER_UPGRADE);
    if (field == NULL || !options->upgrade || head->minor_version == 0)
        return;
    bool websocket =
        !is_repeated(head, HTTP1_HEADER_UPGRADE) &&
        bytes_eq_nocase(http1_span_bytes(field->value, data), BYTES_LITERAL("websocket"));
    head->upgrade = websocket ? HTTP1_UPGRADE_WEBSOCKET : HTTP1_UPGRADE_OTHER;
}

static enum http1_reason request_facts(struct http1_head *head, const uint8_t *data)
{
    enum http1_reason reason = derive_host(head, data);
    if (reason != HTTP1_REASON_NONE)
        return reason;
    reason = derive_expect(head, data);
    if (reason != HTTP1_REASON_NONE)
        return reason;
    head->te_trailers = http1_head_lists(head, data, HTTP1_HEADER_TE, BYTES_LITERAL("trailers"));
    return HTTP1_REASON_NONE;
}

/* RFC 9112 section 6.3, cases 1, 2 and 8, and RFC 9110 sections 15.2 and 15.3.5: what the status
 * and the request change about the framing. */
static enum http1_reason response_facts(struct http1_head *head)
{
    bool informational = head->status < 200;
    bool bodiless = informational || head->status == 204;
    if (bodiless && (head->framing == HTTP1_FRAMING_CHUNKED || head->content_length > 0))
        return HTTP1_REASON_FRAMING_FORBIDDEN;
    if (head->status == 101 && !head->asked.upgrade)
        return HTTP1_REASON_UPGRADE_UNASKED;
    bool connected = head->asked.connect && head->status >= 200 && head->status < 300;
    head->interim = informational && head->status != 101;
    head->tunnel = head->status == 101 || connected;
    if (bodiless || connected || head->asked.head || head->status == 304)
        head->framing = HTTP1_FRAMING_NONE;
    else if (head->framing == HTTP1_FRAMING_NONE)
        head->framing = HTTP1_FRAMING_CLOSE;
    return HTTP1_REASON_NONE;
}

enum http1_reason http1_derive_facts(struct http1_head *head, const uint8_t *data)
{
    if (head->kind == HTTP1_TRAILERS)
        return HTTP1_REASON_NONE;
    struct connection_options options = {false, false, false};
    enum http1_reason reason = read_connection(head, data, &options);
    if (reason != HTTP1_REASON_NONE)
        return reason;
    reason = derive_framing(head, data);
    if (reason != HTTP1_REASON_NONE)
        return reason;
    derive_upgrade(head, data, &options);
    reason = head->kind == HTTP1_REQUEST ? request_facts(head, data) : response_facts(head);
    if (reason != HTTP1_REASON_NONE)
        return reason;
    if (head->framing == HTTP1_FRAMING_LENGTH &&
        head->content_length > head->limits->body_max_bytes)
        return HTTP1_REASON_BODY_TOO_LARGE;
    /* RFC 9112 section 9.3. */
    head->keep_alive = !options.close && (head->minor_version > 0 || options.keep_alive) &&
                       head->framing != HTTP1_FRAMING_CLOSE && !head->tunnel;
    return HTTP1_REASON_NONE;
}
