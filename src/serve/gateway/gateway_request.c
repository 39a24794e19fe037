/* Heads rebuilt: the request's for the upstream, the answer's for the client.
 *
 * Place: serve/gateway. Field lines that pass are copied as runs of neighbouring lines, as the
 * strict parser accepted them; the gateway's own fields come after the hop-by-hop removal, so that
 * nobody can nominate them away.
 *
 * Forwarding fields: X-Forwarded-For is appended to; -Proto and -Host are replaced; what the
 * gateway cannot vouch for (Forwarded, X-Forwarded-Port and -Prefix, X-Real-IP) is removed.
 *
 * Sources: RFC 9110 sections 6.6.1 (Date), 7.2 (Host), 7.6 (forwarding); RFC 9112 sections 3 and
 * 6. */
#include "gateway/gateway_priv.h"
#include "http1/http1_path.h"

enum {
    FIELD_RUNS_MAX = HTTP1_FIELD_COUNT_MAX,
    /* More than all that the gateway adds to a head beside what it copies from it. */
    REQUEST_EXTRA = 512 + NET_IP_TEXT_MAX + GW_REQUEST_ID_MAX,
    ANSWER_EXTRA = 512 + GW_REQUEST_ID_MAX
};

/* Writes into memory that is known to be large enough. */
struct pen {
    uint8_t *at;
    const uint8_t *end;
};

static void pen_put(struct pen *pen, struct bytes bytes)
{
    CHECK(bytes.len <= (size_t)(pen->end - pen->at));
    if (bytes.len > 0) {
        memcpy(pen->at, bytes.data, bytes.len);
        pen->at += bytes.len;
    }
}

#define PEN_PUT(pen, literal) pen_put((pen), BYTES_LITERAL(literal))

static void pen_line(struct pen *pen, struct bytes name_and_colon, struct bytes value)
{
    pen_put(pen, name_and_colon);
    pen_put(pen, value);
    pen_put(pen, HTTP1_CRLF);
}

static void pen_fields(struct pen *pen, const struct http1_head *head, const uint8_t *data,
                       const struct http1_field_set *drop)
{
    struct iovec list[FIELD_RUNS_MAX];
    struct http1_pieces pieces;
    http1_pieces_init(&pieces, list, FIELD_RUNS_MAX);
    http1_pieces_add_fields(&pieces, head, data, drop);
    CHECK(!pieces.full);
    for (size_t i = 0; i < pieces.count; i++) {
        pen_put(pen, bytes_of(list[i].iov_base, list[i].iov_len));
    }
}

/* --- requests --- */

static bool is_request_id(struct bytes text)
{
    if (text.len == 0 || text.len > GW_REQUEST_ID_MAX) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        bool alnum = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
        if (!alnum && c != '-' && c != '_' && c != '.' && c != ':' && c != '=') {
            return false;
        }
    }
    return true;
}

void gw_request_id_make(struct gw_exchange *ex)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t half = 0; half < 2; half++) {
        uint64_t random = rnd_u64(loop_rnd(ex->edge->loop));
        for (size_t i = 0; i < 16; i++, random >>= 4) {
            ex->id_text[half * 16 + i] = digits[random & 15];
        }
    }
    ex->request_id = bytes_of(ex->id_text, 32);
}

/* The client's id when there is one and it is sound; several are none. */
static struct bytes sent_request_id(const struct http1_head *head, const uint8_t *data)
{
    const struct http1_field *field = http1_head_field(head, HTTP1_HEADER_X_REQUEST_ID);
    if (field == NULL || field->next != HTTP1_NO_FIELD) {
        return (struct bytes){NULL, 0};
    }
    struct bytes id = http1_span_bytes(field->value, data);
    return is_request_id(id) ? id : (struct bytes){NULL, 0};
}

static void request_drops(const struct http1_head *head, const uint8_t *data,
                          struct http1_field_set *drop)
{
    static const enum http1_header replaced[] = {
        HTTP1_HEADER_HOST,
        HTTP1_HEADER_X_FORWARDED_FOR,
        HTTP1_HEADER_X_FORWARDED_PROTO,
        HTTP1_HEADER_X_FORWARDED_HOST,
        HTTP1_HEADER_X_FORWARDED_PORT,
        HTTP1_HEADER_X_FORWARDED_PREFIX,
        HTTP1_HEADER_X_REAL_IP,
        HTTP1_HEADER_FORWARDED,
        HTTP1_HEADER_X_REQUEST_ID,
        HTTP1_HEADER_X_SERVICE,
    };

    http1_hop_fields(head, data, drop);
    for (size_t i = 0; i < sizeof(replaced) / sizeof(replaced[0]); i++) {
        http1_field_set_add_name(drop, head, replaced[i]);
    }
}

/* The path in its one normal form; routing and the upstream see the same. */
static enum http1_reason put_target(struct gw_exchange *ex, struct pen *pen,
                                    const struct http1_head *head, const uint8_t *data)
{
    if (head->target_form == HTTP1_TARGET_ASTERISK) {
        ex->path = bytes_of(pen->at, 1);
        PEN_PUT(pen, "*");
        return HTTP1_REASON_NONE;
    }
    struct bytes path = http1_span_bytes(head->path, data);
    size_t len = path.len;
    if (http1_path_is_normal(path)) {
        ex->path = bytes_of(pen->at, len);
        pen_put(pen, path);
    } else {
        enum http1_reason reason = HTTP1_REASON_NONE;
        size_t room = (size_t)(pen->end - pen->at);
        if (http1_path_normalise(path, 0, pen->at, room, &len, &reason) != ERR_OK) {
            return reason;
        }
        ex->path = bytes_of(pen->at, len);
        pen->at += len;
    }
    if (head->has_query) {
        PEN_PUT(pen, "?");
        pen_put(pen, http1_span_bytes(head->query, data));
    }
    return HTTP1_REASON_NONE;
}

static void put_forwarding(struct gw_exchange *ex, struct pen *pen, const struct http1_head *head,
                           const uint8_t *data)
{
    PEN_PUT(pen, "X-Forwarded-For: ");
    uint8_t i = head->first[HTTP1_HEADER_X_FORWARDED_FOR];
    for (; i != HTTP1_NO_FIELD; i = head->fields[i].next) {
        if (head->fields[i].value.len > 0) {
            pen_put(pen, http1_span_bytes(head->fields[i].value, data));
            PEN_PUT(pen, ", ");
        }
    }
    pen_put(pen, bytes_of_str(ex->client->ip));
    PEN_PUT(pen, "\r\nX-Forwarded-Proto: http\r\n");
    if (ex->host.len > 0) {
        pen_line(pen, BYTES_LITERAL("X-Forwarded-Host: "), ex->host);
    }
    PEN_PUT(pen, "X-Request-Id: ");
    struct bytes id = sent_request_id(head, data);
    if (id.len == 0) {
        id = ex->request_id;
    }
    ex->request_id = bytes_of(pen->at, id.len);
    pen_put(pen, id);
    pen_put(pen, HTTP1_CRLF);
}

enum err gw_request_build(struct gw_exchange *ex, const struct http1_head *head,
                          const uint8_t *data, enum http1_reason *ret_reason)
{
    size_t bound = head->head_len + 2 * (size_t)head->host.len + REQUEST_EXTRA;
    struct gw_out *out = gw_out_get(ex->edge, bound);
    if (out == NULL) {
        return ERR_FULL;
    }
    out->held = true;
    ex->request = out;
    struct pen pen = {out->data, out->data + out->cap};
    struct bytes method = http1_span_bytes(head->method_name, data);
    ex->method = bytes_of(pen.at, method.len);
    pen_put(&pen, method);
    PEN_PUT(&pen, " ");
    enum http1_reason reason = put_target(ex, &pen, head, data);
    if (reason != HTTP1_REASON_NONE) {
        *ret_reason = reason;
        return ERR_BAD_INPUT;
    }
    /* RFC 9112 section 3.2: a request without a host (HTTP/1.0) goes on with an empty Host. */
    PEN_PUT(&pen, " HTTP/1.1\r\nHost: ");
    struct bytes host = http1_span_bytes(head->host, data);
    ex->host = bytes_of(pen.at, host.len);
    pen_put(&pen, host);
    pen_put(&pen, HTTP1_CRLF);

    struct http1_field_set drop;
    request_drops(head, data, &drop);
    pen_fields(&pen, head, data, &drop);
    put_forwarding(ex, &pen, head, data);
    ex->chunked_request = head->framing == HTTP1_FRAMING_CHUNKED;
    if (ex->chunked_request) {
        PEN_PUT(&pen, "Transfer-Encoding: chunked\r\n");
    }
    pen_put(&pen, HTTP1_CRLF);
    out->len = (size_t)(pen.at - out->data);
    return ERR_OK;
}

/* --- answers --- */

static void put_answer_framing(struct gw_exchange *ex, struct pen *pen)
{
    if (ex->chunked_answer) {
        PEN_PUT(pen, "Transfer-Encoding: chunked\r\n");
    }
    if (!ex->keep_alive) {
        PEN_PUT(pen, "Connection: close\r\n");
    } else if (ex->http10) {
        PEN_PUT(pen, "Connection: keep-alive\r\n");
    }
}

void gw_answer_build(struct gw_exchange *ex, struct gw_flow *flow, const struct http1_head *head,
                     const uint8_t *data)
{
    size_t bound = (size_t)head->head_len + ANSWER_EXTRA;
    uint8_t *begin = gw_flow_reserve(flow, bound);
    if (begin == NULL) {
        return;
    }
    struct pen pen = {begin, begin + bound};
    PEN_PUT(&pen, "HTTP/1.1 ");
    const uint8_t status[4] = {(uint8_t)('0' + head->status / 100),
                               (uint8_t)('0' + head->status / 10 % 10),
                               (uint8_t)('0' + head->status % 10), ' '};
    pen_put(&pen, bytes_of(status, sizeof(status)));
    pen_put(&pen, http1_span_bytes(head->phrase, data));
    pen_put(&pen, HTTP1_CRLF);

    struct http1_field_set drop;
    http1_hop_fields(head, data, &drop);
    http1_field_set_add_name(&drop, head, HTTP1_HEADER_X_REQUEST_ID);
    pen_fields(&pen, head, data, &drop);
    /* RFC 9110 section 6.6.1: who forwards an answer without a date adds one. */
    if (!http1_head_has(head, HTTP1_HEADER_DATE)) {
        pen_line(&pen, BYTES_LITERAL("Date: "), gw_edge_date(ex->edge));
    }
    pen_line(&pen, BYTES_LITERAL("X-Request-Id: "), ex->request_id);
    put_answer_framing(ex, &pen);
    pen_put(&pen, HTTP1_CRLF);
    gw_flow_advance(flow, (size_t)(pen.at - begin));
}
