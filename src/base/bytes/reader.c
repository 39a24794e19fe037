/* Decode cursor: reads over borrowed bytes that came from a network or a disk.
 *
 * Place: base. No read goes past the end, whatever the bytes say. */
#include "bytes/bytes.h"

static void fail(struct reader *r)
{
    r->failed = true;
    r->at = r->end;
}

/* The next len bytes, or NULL. */
static const uint8_t *take(struct reader *r, size_t len)
{
    if (r->failed || len > reader_left(r)) {
        fail(r);
        return NULL;
    }
    const uint8_t *start = r->at;
    if (len > 0) {
        r->at += len;
    }
    return start;
}

uint8_t read_u8(struct reader *r)
{
    const uint8_t *p = take(r, 1);
    return p == NULL ? 0 : *p;
}

uint16_t read_u16(struct reader *r)
{
    const uint8_t *p = take(r, sizeof(uint16_t));
    return p == NULL ? 0 : get_u16(p);
}

uint32_t read_u32(struct reader *r)
{
    const uint8_t *p = take(r, sizeof(uint32_t));
    return p == NULL ? 0 : get_u32(p);
}

uint64_t read_u64(struct reader *r)
{
    const uint8_t *p = take(r, sizeof(uint64_t));
    return p == NULL ? 0 : get_u64(p);
}

uint64_t read_varint(struct reader *r)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte = read_u8(r);
        if (r->failed) {
            return 0;
        }
        /* The tenth byte carries bit 63 alone. */
        if (shift == 63 && byte > 1) {
            break;
        }
        value |= (uint64_t)(byte & 0x7fu) << shift;
        if ((byte & 0x80u) == 0) {
            return value;
        }
    }
    fail(r);
    return 0;
}

struct bytes read_raw(struct reader *r, size_t len)
{
    const uint8_t *p = take(r, len);
    return p == NULL ? (struct bytes){NULL, 0} : (struct bytes){p, len};
}

struct bytes read_blob(struct reader *r, size_t max)
{
    uint64_t len = read_varint(r);
    if (len > max) {
        fail(r);
        return (struct bytes){NULL, 0};
    }
    return read_raw(r, (size_t)len);
}
