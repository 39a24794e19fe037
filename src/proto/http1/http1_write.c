/* Writers: heads, chunks, dates, pieces.
 *
 * Place: proto/http1. Source: RFC 9112 sections 3, 4, 5 and 7.1, RFC 9110 section 5.6.7. */
#include "http1/http1_write.h"

#include "check/check.h"
#include "http1/http1_priv.h"

#include <inttypes.h>

static void fail(struct writer *w, enum err err)
{
    if (w->err == ERR_OK)
        w->err = err;
}

/* Decimal digits of value at the end of digits; returns the first of them. */
static struct bytes decimal(uint64_t value, uint8_t digits[20])
{
    size_t at = 20;
    do {
        digits[--at] = (uint8_t)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    return (struct bytes){digits + at, 20 - at};
}

static bool is_target(struct bytes target)
{
    for (size_t at = 0; at < target.len; ++at) {
        if (target.data[at] <= ' ' || target.data[at] >= 0x7f)
            return false;
    }
    return target.len > 0;
}

void http1_write_request_line(struct writer *w, struct bytes method, struct bytes target)
{
    if (!http1_is_token(method) || !is_target(target)) {
        fail(w, ERR_BAD_INPUT);
        return;
    }
    write_raw(w, method);
    write_u8(w, ' ');
    write_raw(w, target);
    write_raw(w, BYTES_LITERAL(" HTTP/1.1\r\n"));
}

void http1_write_status_line(struct writer *w, uint16_t status)
{
    CHECK(status >= 100 && status <= 999);
    uint8_t digits[20];
    write_raw(w, BYTES_LITERAL("HTTP/1.1 "));
    write_raw(w, decimal(status, digits));
    write_u8(w, ' ');
    write_raw(w, http1_status_phrase(status));
    write_raw(w, HTTP1_CRLF);
}

void http1_write_field(struct writer *w, struct bytes name, struct bytes value)
{
    if (!http1_is_token(name) || !http1_is_field_value(value)) {
        fail(w, ERR_BAD_INPUT);
        return;
    }
    write_raw(w, name);
    write_raw(w, BYTES_LITERAL(": "));
    write_raw(w, value);
    write_raw(w, HTTP1_CRLF);
}

void http1_write_header(struct writer *w, enum http1_header id, struct bytes value)
{
    CHECK(id != HTTP1_HEADER_OTHER);
    http1_write_field(w, http1_header_name(id), value);
}

void http1_write_header_u64(struct writer *w, enum http1_header id, uint64_t value)
{
    uint8_t digits[20];
    http1_write_header(w, id, decimal(value, digits));
}

/* The next run of neighbouring lines from field *index on that are not in drop; false at
 * the end. */
static bool next_run(const struct http1_head *head, const struct http1_field_set *drop,
                     size_t *index, struct http1_span *ret_run)
{
    size_t i = *index;
    while (i < head->field_count && drop != NULL && http1_field_set_has(drop, i))
        ++i;
    if (i == head->field_count)
        return false;
    uint16_t begin = head->fields[i].name.offset;
    uint16_t end = head->fields[i].end;
    for (++i; i < head->field_count; ++i) {
        /* A field that was dropped while parsing leaves a hole. */
        if ((drop != NULL && http1_field_set_has(drop, i)) || head->fields[i].name.offset != end)
            break;
        end = head->fields[i].end;
    }
    *index = i;
    *ret_run = (struct http1_span){begin, (uint16_t)(end - begin)};
    return true;
}

void http1_write_fields(struct writer *w, const struct http1_head *head, const uint8_t *data,
                        const struct http1_field_set *drop)
{
    struct http1_span run;
    for (size_t index = 0; next_run(head, drop, &index, &run);)
        write_raw(w, http1_span_bytes(run, data));
}

void http1_write_end(struct writer *w)
{
    write_raw(w, HTTP1_CRLF);
}

size_t http1_chunk_head(uint64_t len, uint8_t dest[HTTP1_CHUNK_HEAD_MAX])
{
    CHECK(len > 0);
    size_t digits = (size_t)(67 - __builtin_clzll(len)) / 4;
    for (size_t at = digits; at > 0; len >>= 4)
        dest[--at] = (uint8_t) "0123456789abcdef"[len & 0x0f];
    dest[digits] = '\r';
    dest[digits + 1] = '\n';
    return digits + 2;
}

void http1_write_chunk(struct writer *w, struct bytes content)
{
    if (content.len == 0)
        return;
    uint8_t head[HTTP1_CHUNK_HEAD_MAX];
    size_t head_len = http1_chunk_head(content.len, head);
    write_raw(w, (struct bytes){head, head_len});
    write_raw(w, content);
    write_raw(w, HTTP1_CRLF);
}

void http1_write_last_chunk(struct writer *w)
{
    write_raw(w, HTTP1_LAST_CHUNK);
}

static void two_digits(uint8_t *dest, uint64_t value)
{
    dest[0] = (uint8_t)('0' + value / 10 % 10);
    dest[1] = (uint8_t)('0' + value % 10);
}

void http1_format_date(uint64_t unix_s, uint8_t dest[HTTP1_DATE_LEN])
{
    static const char weekdays[] = "ThuFriSatSunMonTueWed";
    static const char months[] = "MarAprMayJunJulAugSepOctNovDecJanFeb";
    uint64_t days = unix_s / 86400;
    uint64_t second = unix_s % 86400;
    /* Counted from 1 March of year 0, a leap day is the last day of its year and a day's number
     * gives its month by a straight line: the Gregorian calendar repeats after 146097 days. */
    uint64_t day = days + 719468;
    uint64_t era = day / 146097;
    uint64_t day_of_era = day % 146097;
    uint64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    uint64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    uint64_t month = (5 * day_of_year + 2) / 153; /* 0 is March */
    uint64_t year = era * 400 + year_of_era + (month >= 10 ? 1 : 0);
    CHECK(year < 10000);

    memcpy(dest, "Thu, 01 Jan 1970 00:00:00 GMT", HTTP1_DATE_LEN);
    memcpy(dest, weekdays + days % 7 * 3, 3);
    two_digits(dest + 5, day_of_year - (153 * month + 2) / 5 + 1);
    memcpy(dest + 8, months + month * 3, 3);
    two_digits(dest + 12, year / 100);
    two_digits(dest + 14, year % 100);
    two_digits(dest + 17, second / 3600);
    two_digits(dest + 20, second / 60 % 60);
    two_digits(dest + 23, second % 60);
}

void http1_pieces_init(struct http1_pieces *pieces, struct iovec *list, size_t max)
{
    *pieces = (struct http1_pieces){.list = list, .max = max};
}

void http1_pieces_add(struct http1_pieces *pieces, struct bytes slice)
{
    if (slice.len == 0 || pieces->full)
        return;
    struct iovec *last = pieces->count > 0 ? &pieces->list[pieces->count - 1] : NULL;
    if (last != NULL && (const uint8_t *)last->iov_base + last->iov_len == slice.data) {
        last->iov_len += slice.len;
    } else if (pieces->count < pieces->max) {
        /* iov_base is not const because readv shares the struct; writers only read. */
        pieces->list[pieces->count++] = (struct iovec){(void *)(uintptr_t)slice.data, slice.len};
    } else {
        pieces->full = true;
        return;
    }
    pieces->total += slice.len;
}

void http1_pieces_add_fields(struct http1_pieces *pieces, const struct http1_head *head,
                             const uint8_t *data, const struct http1_field_set *drop)
{
    struct http1_span run;
    for (size_t index = 0; next_run(head, drop, &index, &run);)
        http1_pieces_add(pieces, http1_span_bytes(run, data));
}
