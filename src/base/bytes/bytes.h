/* Byte slices, fixed-order integers, decode cursors and growable bounded buffers.
 *
 * Place: base. struct bytes borrows; struct buf owns. Integers on disk and between nodes are
 * little-endian; protocols that want big-endian use the _be forms.
 *
 * Invariants:
 *   1. buf: len <= cap <= max, and data is NULL only while cap is 0.
 *   2. reader: position <= end; after the first failure nothing is left to read, every read returns
 *      zero values and reader_ok() stays false, so that a decoder may check once at its end, and a
 *      loop over what is left ends. */
#ifndef BYTES_BYTES_H
#define BYTES_BYTES_H

#include "check/check.h"
#include "err/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A borrowed run of bytes; not terminated. data may be NULL only when len is 0. */
struct bytes {
    const uint8_t *data;
    size_t len;
};

/* A slice of a string literal. */
#define BYTES_LITERAL(literal) ((struct bytes){(const uint8_t *)("" literal), sizeof(literal) - 1})

/* printf helper: printf("%.*s", BYTES_PRINT(slice)). */
#define BYTES_PRINT(slice) (int)(slice).len, (const char *)(slice).data

static inline struct bytes bytes_of(const void *data, size_t len)
{
    return (struct bytes){(const uint8_t *)data, len};
}

static inline struct bytes bytes_of_str(const char *text)
{
    return (struct bytes){(const uint8_t *)text, strlen(text)};
}

/* The part from offset on (offset <= len). */
static inline struct bytes bytes_from(struct bytes slice, size_t offset)
{
    CHECK(offset <= slice.len);
    /* Adding even 0 to a null pointer is undefined (C17 6.5.6). */
    return offset == 0 ? slice : (struct bytes){slice.data + offset, slice.len - offset};
}

bool bytes_eq(struct bytes a, struct bytes b);
bool bytes_eq_str(struct bytes a, const char *text);
/* ASCII letters compare without case. */
bool bytes_eq_nocase(struct bytes a, struct bytes b);
/* memcmp order, shorter first on a common prefix: <0, 0, >0. */
int bytes_cmp(struct bytes a, struct bytes b);
bool bytes_has_prefix(struct bytes slice, struct bytes prefix);
/* Offset of the first such byte, or len when there is none. */
size_t bytes_find(struct bytes slice, uint8_t byte);
/* Copies into a fixed, zero-terminated array: ERR_TOO_LARGE when it does not fit with its zero. */
ERR_CHECKED enum err bytes_to_cstr(struct bytes slice, char *dest, size_t dest_size);

static inline void put_u16(uint8_t *p, uint16_t v)
{
    memcpy(p, &v, sizeof(v));
}

static inline void put_u32(uint8_t *p, uint32_t v)
{
    memcpy(p, &v, sizeof(v));
}

static inline void put_u64(uint8_t *p, uint64_t v)
{
    memcpy(p, &v, sizeof(v));
}

static inline uint16_t get_u16(const uint8_t *p)
{
    uint16_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static inline uint32_t get_u32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

static inline uint64_t get_u64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the disk format is little-endian");

/* Big-endian forms: they sort as numbers when compared as bytes, so keys use them. */
static inline void put_u32_be(uint8_t *p, uint32_t v)
{
    put_u32(p, __builtin_bswap32(v));
}

static inline void put_u64_be(uint8_t *p, uint64_t v)
{
    put_u64(p, __builtin_bswap64(v));
}

static inline uint32_t get_u32_be(const uint8_t *p)
{
    return __builtin_bswap32(get_u32(p));
}

static inline uint64_t get_u64_be(const uint8_t *p)
{
    return __builtin_bswap64(get_u64(p));
}

/* Decode cursor over borrowed bytes. */
struct reader {
    const uint8_t *at;
    const uint8_t *end;
    bool failed;
};

static inline struct reader reader_of(struct bytes slice)
{
    return (struct reader){slice.data, slice.len == 0 ? slice.data : slice.data + slice.len, false};
}

static inline bool reader_ok(const struct reader *r)
{
    return !r->failed;
}

static inline size_t reader_left(const struct reader *r)
{
    return r->at == r->end ? 0 : (size_t)(r->end - r->at);
}

uint8_t read_u8(struct reader *r);
uint16_t read_u16(struct reader *r);
uint32_t read_u32(struct reader *r);
uint64_t read_u64(struct reader *r);
/* LEB128, at most 10 bytes; longer or overflowing fails. */
uint64_t read_varint(struct reader *r);
/* The next len bytes, borrowed from the input. */
struct bytes read_raw(struct reader *r, size_t len);
/* A varint length, then that many bytes; a length over max fails. */
struct bytes read_blob(struct reader *r, size_t max);

/* Growable buffer with a hard limit; memory comes from base/mem. */
struct buf {
    uint8_t *data;
    size_t len;
    size_t cap;
    size_t max;
};

/* Allocates nothing yet. max in bytes, > 0. */
void buf_init(struct buf *b, size_t max);
/* Frees the memory; the buffer may be used again. Accepts NULL. */
void buf_done(struct buf *b);

/* Keeps the memory, forgets the content. */
static inline void buf_clear(struct buf *b)
{
    b->len = 0;
}

static inline struct bytes buf_bytes(const struct buf *b)
{
    return (struct bytes){b->data, b->len};
}

/* Makes room for extra more bytes after len, to be filled by the caller, who then raises len:
 * ERR_FULL when that would pass max. */
ERR_CHECKED enum err buf_reserve(struct buf *b, size_t extra);
/* Copies the slice, all or nothing: ERR_FULL. The slice must not lie in this buffer. */
ERR_CHECKED enum err buf_append(struct buf *b, struct bytes slice);
/* printf into the buffer, all or nothing (no terminating zero is counted or kept): ERR_FULL. */
ERR_CHECKED enum err buf_printf(struct buf *b, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Drops the first count bytes (count <= len), moving the rest down. */
void buf_consume(struct buf *b, size_t count);

/* Encoders: append to a buffer; the first failure is remembered, later writes do nothing. */
struct writer {
    struct buf *to;
    enum err err;
};

static inline struct writer writer_of(struct buf *to)
{
    return (struct writer){to, ERR_OK};
}

void write_u8(struct writer *w, uint8_t v);
void write_u16(struct writer *w, uint16_t v);
void write_u32(struct writer *w, uint32_t v);
void write_u64(struct writer *w, uint64_t v);
void write_varint(struct writer *w, uint64_t v);
void write_raw(struct writer *w, struct bytes slice);
void write_blob(struct writer *w, struct bytes slice);

#endif
