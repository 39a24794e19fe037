/* Growable bounded buffers, and the encoders that append to them.
 *
 * Place: base. Capacity doubles from 64 bytes and stops at max exactly. */
#include "bytes/bytes.h"

#include "mem/mem.h"

#include <stdarg.h>
#include <stdio.h>

enum {
    BUF_CAP_FIRST = 64
};

void buf_init(struct buf *b, size_t max)
{
    CHECK(max > 0);
    *b = (struct buf){.max = max};
}

void buf_done(struct buf *b)
{
    if (b == NULL) {
        return;
    }
    mem_free(b->data);
    *b = (struct buf){.max = b->max};
}

enum err buf_reserve(struct buf *b, size_t extra)
{
    CHECK(b->len <= b->cap);
    CHECK(b->cap <= b->max);
    if (extra <= b->cap - b->len) {
        return ERR_OK;
    }
    if (extra > b->max - b->len) {
        return ERR_FULL;
    }
    size_t need = b->len + extra;
    size_t cap = b->cap < BUF_CAP_FIRST ? BUF_CAP_FIRST : b->cap;
    while (cap < need && cap <= b->max / 2) {
        cap *= 2;
    }
    if (cap < need || cap > b->max) {
        cap = b->max;
    }
    b->data = mem_resize(b->data, cap);
    b->cap = cap;
    return ERR_OK;
}

enum err buf_append(struct buf *b, struct bytes slice)
{
    enum err err = buf_reserve(b, slice.len);
    if (err != ERR_OK) {
        return err;
    }
    if (slice.len > 0) {
        memcpy(b->data + b->len, slice.data, slice.len);
        b->len += slice.len;
    }
    return ERR_OK;
}

/* Formats length bytes when the buffer has no room for printf's terminating zero behind them. */
static __attribute__((format(printf, 3, 0))) enum err append_exact(struct buf *b, size_t length,
                                                                   const char *format, va_list args)
{
    char *text = mem_resize(NULL, length + 1);
    (void)vsnprintf(text, length + 1, format, args);
    enum err err = buf_append(b, bytes_of(text, length));
    mem_free(text);
    return err;
}

static __attribute__((format(printf, 3, 0))) enum err
append_formatted(struct buf *b, size_t length, const char *format, va_list args)
{
    if (length >= b->max - b->len) {
        return length > b->max - b->len ? ERR_FULL : append_exact(b, length, format, args);
    }
    enum err err = buf_reserve(b, length + 1);
    if (err == ERR_OK) {
        (void)vsnprintf((char *)b->data + b->len, length + 1, format, args);
        b->len += length;
    }
    return err;
}

enum err buf_printf(struct buf *b, const char *format, ...)
{
    CHECK(b->len <= b->cap);
    size_t room = b->cap - b->len;
    va_list args;
    va_list again;
    va_start(args, format);
    va_copy(again, args);
    int printed = vsnprintf(room == 0 ? NULL : (char *)b->data + b->len, room, format, args);
    va_end(args);
    enum err err = ERR_OK;
    if (printed < 0) {
        err = ERR_BAD_INPUT;
    } else if ((size_t)printed < room) {
        b->len += (size_t)printed;
    } else {
        err = append_formatted(b, (size_t)printed, format, again);
    }
    va_end(again);
    return err;
}

void buf_consume(struct buf *b, size_t count)
{
    CHECK(count <= b->len);
    b->len -= count;
    if (count > 0 && b->len > 0) {
        memmove(b->data, b->data + count, b->len);
    }
}

void write_raw(struct writer *w, struct bytes slice)
{
    if (w->err == ERR_OK) {
        w->err = buf_append(w->to, slice);
    }
}

void write_u8(struct writer *w, uint8_t v)
{
    write_raw(w, bytes_of(&v, sizeof(v)));
}

void write_u16(struct writer *w, uint16_t v)
{
    uint8_t raw[sizeof(v)];
    put_u16(raw, v);
    write_raw(w, bytes_of(raw, sizeof(raw)));
}

void write_u32(struct writer *w, uint32_t v)
{
    uint8_t raw[sizeof(v)];
    put_u32(raw, v);
    write_raw(w, bytes_of(raw, sizeof(raw)));
}

void write_u64(struct writer *w, uint64_t v)
{
    uint8_t raw[sizeof(v)];
    put_u64(raw, v);
    write_raw(w, bytes_of(raw, sizeof(raw)));
}

void write_varint(struct writer *w, uint64_t v)
{
    uint8_t raw[10];
    size_t len = 0;
    while (v >= 0x80) {
        raw[len++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    raw[len++] = (uint8_t)v;
    write_raw(w, bytes_of(raw, len));
}

void write_blob(struct writer *w, struct bytes slice)
{
    write_varint(w, slice.len);
    write_raw(w, slice);
}
