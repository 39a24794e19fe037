/* Heads, line by line: find the end of a line once, then parse the finished line.
 *
 * Place: proto/http1. Between calls only three offsets are kept: scanned, line_start, block_start.
 * The line finder refuses every control byte but HTAB and a CR that is followed by LF, so the
 * parsers of finished lines (here and in http1_line.c) see text only.
 *
 * Source: RFC 9112 sections 2.2, 3 and 5. */
#include "http1/http1_head.h"

#include "check/check.h"
#include "http1/http1_priv.h"

enum state {
    STATE_START_LINE,
    STATE_FIELDS,
    STATE_VERDICT
};

static void head_init(struct http1_head *head, const struct http1_limits *limits,
                      enum http1_kind kind)
{
    CHECK(limits->start_line_max <= HTTP1_START_LINE_MAX);
    CHECK(limits->field_block_max <= HTTP1_FIELD_BLOCK_MAX && limits->field_block_max >= 2);
    CHECK(limits->trailer_block_max <= HTTP1_TRAILER_BLOCK_MAX && limits->trailer_block_max >= 2);
    CHECK(limits->field_count_max <= HTTP1_FIELD_COUNT_MAX);
    memset(head, 0, offsetof(struct http1_head, first));
    memset(head->first, HTTP1_NO_FIELD, sizeof(head->first));
    head->limits = limits;
    head->kind = (uint8_t)kind;
    head->state = kind == HTTP1_TRAILERS ? STATE_FIELDS : STATE_START_LINE;
}

void http1_head_init_request(struct http1_head *head, const struct http1_limits *limits)
{
    head_init(head, limits, HTTP1_REQUEST);
}

void http1_head_init_response(struct http1_head *head, const struct http1_limits *limits,
                              struct http1_asked asked)
{
    head_init(head, limits, HTTP1_RESPONSE);
    head->asked = asked;
}

void http1_head_init_trailers(struct http1_head *head, const struct http1_limits *limits)
{
    head_init(head, limits, HTTP1_TRAILERS);
}

static enum err refuse(struct http1_head *head, enum http1_reason reason)
{
    head->state = STATE_VERDICT;
    head->reason = (uint8_t)reason;
    return ERR_BAD_INPUT;
}

/* The position where the CR of the current line must stand at the latest, plus one. */
static size_t line_stop(const struct http1_head *head)
{
    if (head->state == STATE_START_LINE)
        return (size_t)head->line_start + head->limits->start_line_max + 1;
    size_t block_max = head->kind == HTTP1_TRAILERS ? head->limits->trailer_block_max
                                                    : head->limits->field_block_max;
    return head->block_start + block_max - 1;
}

static enum http1_reason too_long(const struct http1_head *head)
{
    if (head->state == STATE_START_LINE)
        return HTTP1_REASON_START_LINE_TOO_LONG;
    return head->kind == HTTP1_TRAILERS ? HTTP1_REASON_TRAILERS_TOO_LARGE
                                        : HTTP1_REASON_FIELDS_TOO_LARGE;
}

/* ERR_OK: a line is complete, its CR stands at ret_end. What it says about data[0, len) never
 * depends on len's history: a limit is noticed at the same byte however the bytes came. */
static enum err find_line(struct http1_head *head, const uint8_t *data, size_t len, size_t *ret_end)
{
    size_t stop = line_stop(head);
    size_t limit = len < stop ? len : stop;
    size_t at = http1_scan_text(data, head->scanned, limit);
    head->scanned = (uint16_t)at;
    if (at >= limit)
        return at >= stop ? refuse(head, too_long(head)) : ERR_INCOMPLETE;
    if (data[at] != '\r')
        return refuse(head, data[at] == '\n' ? HTTP1_REASON_BARE_LF : HTTP1_REASON_CONTROL_BYTE);
    if (at + 1 == len)
        return ERR_INCOMPLETE;
    if (data[at + 1] != '\n')
        return refuse(head, HTTP1_REASON_BARE_CR);
    head->scanned = (uint16_t)(at + 2);
    *ret_end = at;
    return ERR_OK;
}

static enum http1_reason start_line(struct http1_head *head, const uint8_t *data, size_t end)
{
    size_t begin = head->line_start;
    if (begin == end && begin == 0 && head->kind == HTTP1_REQUEST) {
        /* RFC 9112 section 2.2: ignore an empty line before a request; one is enough. */
        head->line_start = head->scanned;
        return HTTP1_REASON_NONE;
    }
    head->state = STATE_FIELDS;
    head->line_start = head->block_start = head->scanned;
    return head->kind == HTTP1_REQUEST ? http1_parse_request_line(head, data, begin, end)
                                       : http1_parse_status_line(head, data, begin, end);
}

/* Why the text before the colon is no name; at is the first byte that is no tchar. */
static enum http1_reason name_fault(const uint8_t *data, size_t begin, size_t at, size_t end)
{
    if (data[begin] == ' ' || data[begin] == '\t')
        return HTTP1_REASON_OBS_FOLD;
    return at == end ? HTTP1_REASON_FIELD_COLON_MISSING : HTTP1_REASON_FIELD_NAME_INVALID;
}

static void link_field(struct http1_head *head, enum http1_header id, uint8_t index)
{
    if (head->first[id] == HTTP1_NO_FIELD)
        head->first[id] = index;
    else
        head->fields[head->last[id]].next = index;
    head->last[id] = index;
}

/* Whether the field is left out of the head: see enum http1_underscore and RFC 9110
 * section 6.5.1. */
static bool is_dropped(const struct http1_head *head, enum http1_header id, bool underscore)
{
    if (underscore && head->kind != HTTP1_RESPONSE &&
        head->limits->underscore == HTTP1_UNDERSCORE_DROP)
        return true;
    return head->kind == HTTP1_TRAILERS && (http1_header_flags(id) & HTTP1_FLAG_NO_TRAILER) != 0;
}

static enum http1_reason field_line(struct http1_head *head, const uint8_t *data, size_t end)
{
    size_t begin = head->line_start;
    size_t at = begin;
    uint8_t seen = 0;
    /* The CR at end is no tchar. */
    for (uint8_t class; ((class = http1_class[data[at]]) & HTTP1_C_TOKEN) != 0; ++at)
        seen |= class;
    if (at == begin || data[at] != ':')
        return name_fault(data, begin, at, end);
    if (head->field_count + head->dropped_count >= head->limits->field_count_max)
        return head->kind == HTTP1_TRAILERS ? HTTP1_REASON_TOO_MANY_TRAILERS
                                            : HTTP1_REASON_TOO_MANY_FIELDS;
    bool underscore = (seen & HTTP1_C_UNDERSCORE) != 0;
    if (underscore && head->kind != HTTP1_RESPONSE &&
        head->limits->underscore == HTTP1_UNDERSCORE_REFUSE)
        return HTTP1_REASON_FIELD_NAME_UNDERSCORE;

    enum http1_header id = http1_header_of((struct bytes){data + begin, at - begin});
    if (is_dropped(head, id, underscore)) {
        ++head->dropped_count;
        return HTTP1_REASON_NONE;
    }
    struct bytes value = http1_trim((struct bytes){data + at + 1, end - at - 1});
    uint8_t index = (uint8_t)head->field_count++;
    head->fields[index] = (struct http1_field){
        .name = {(uint16_t)begin, (uint16_t)(at - begin)},
        .value = {(uint16_t)(value.data - data), (uint16_t)value.len},
        .end = (uint16_t)(end + 2),
        .id = (uint8_t)id,
        .next = HTTP1_NO_FIELD,
    };
    if (id != HTTP1_HEADER_OTHER)
        link_field(head, id, index);
    return HTTP1_REASON_NONE;
}

enum err http1_head_parse(struct http1_head *head, const uint8_t *data, size_t len)
{
    CHECK(head->state != STATE_VERDICT);
    CHECK(len >= head->scanned);
    for (;;) {
        size_t end;
        enum err err = find_line(head, data, len, &end);
        if (err != ERR_OK)
            return err;
        enum http1_reason reason;
        bool last = false;
        if (head->state == STATE_START_LINE) {
            reason = start_line(head, data, end);
        } else if (end != head->line_start) {
            reason = field_line(head, data, end);
            head->line_start = head->scanned;
        } else {
            head->head_len = head->scanned;
            reason = http1_derive_facts(head, data);
            last = true;
        }
        if (reason != HTTP1_REASON_NONE)
            return refuse(head, reason);
        if (last) {
            head->state = STATE_VERDICT;
            return ERR_OK;
        }
    }
}

struct bytes http1_head_find(const struct http1_head *head, const uint8_t *data, struct bytes name)
{
    enum http1_header id = http1_header_of(name);
    if (id != HTTP1_HEADER_OTHER)
        return http1_head_value(head, data, id);
    for (size_t i = 0; i < head->field_count; ++i) {
        const struct http1_field *field = &head->fields[i];
        if (field->id == HTTP1_HEADER_OTHER &&
            bytes_eq_nocase(http1_span_bytes(field->name, data), name))
            return http1_span_bytes(field->value, data);
    }
    return (struct bytes){NULL, 0};
}

bool http1_head_lists(const struct http1_head *head, const uint8_t *data, enum http1_header id,
                      struct bytes token)
{
    for (uint8_t i = head->first[id]; i != HTTP1_NO_FIELD; i = head->fields[i].next) {
        struct bytes rest = http1_span_bytes(head->fields[i].value, data);
        struct bytes element;
        while (http1_list_next(&rest, &element)) {
            if (bytes_eq_nocase(element, token))
                return true;
        }
    }
    return false;
}
