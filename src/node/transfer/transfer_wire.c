/* Frames of the transfer. The byte table is in transfer.h.
 *
 * Place: node/transfer. */
#include "transfer/transfer_priv.h"

#include "check/check.h"

enum {
    TRANSFER_VERSION = 1
};

static bool decode_rest(struct reader *r, struct transfer_msg *msg)
{
    switch (msg->kind) {
    case TRANSFER_OFFER:
        msg->index = read_u64(r);
        msg->term = read_u64(r);
        msg->size = read_u64(r);
        return reader_ok(r) && msg->index > 0 && msg->size > 0;
    case TRANSFER_ACCEPT:
    case TRANSFER_ACK:
        msg->offset = read_u64(r);
        return reader_ok(r);
    case TRANSFER_CHUNK:
        msg->offset = read_u64(r);
        msg->bytes = read_raw(r, reader_left(r));
        return reader_ok(r) && msg->bytes.len > 0 && msg->bytes.len <= TRANSFER_CHUNK_MAX;
    case TRANSFER_DONE:
        msg->ok = read_u8(r) == 1;
        msg->bytes = read_raw(r, reader_left(r));
        return reader_ok(r);
    case TRANSFER_REFUSE:
        msg->bytes = read_raw(r, reader_left(r));
        return reader_ok(r);
    case TRANSFER_WAIT:
        return true;
    }
    return false;
}

enum err transfer_decode(struct bytes body, struct transfer_msg *ret_msg)
{
    struct reader r = reader_of(body);
    struct transfer_msg msg = {.kind = TRANSFER_WAIT};
    uint8_t version = read_u8(&r);
    uint8_t kind = read_u8(&r);
    (void)read_u16(&r);
    msg.group = read_u32(&r);
    msg.number = read_u64(&r);
    bool known = kind >= TRANSFER_OFFER && kind <= TRANSFER_WAIT;
    if (!reader_ok(&r) || version != TRANSFER_VERSION || !known || msg.group == 0) {
        return ERR_BAD_INPUT;
    }
    msg.kind = (enum transfer_kind)kind;
    if (!decode_rest(&r, &msg) || reader_left(&r) > 0) {
        return ERR_BAD_INPUT;
    }
    *ret_msg = msg;
    return ERR_OK;
}

static size_t put_text(uint8_t *dest, struct bytes text)
{
    size_t len = text.len < ERR_NOTE_MAX ? text.len : ERR_NOTE_MAX - 1;
    if (len > 0) {
        memcpy(dest, text.data, len);
    }
    return len;
}

size_t transfer_encode(const struct transfer_msg *msg, uint8_t *dest)
{
    dest[0] = TRANSFER_VERSION;
    dest[1] = (uint8_t)msg->kind;
    put_u16(dest + 2, 0);
    put_u32(dest + 4, msg->group);
    put_u64(dest + 8, msg->number);
    uint8_t *rest = dest + TRANSFER_HEAD;
    switch (msg->kind) {
    case TRANSFER_OFFER:
        put_u64(rest, msg->index);
        put_u64(rest + 8, msg->term);
        put_u64(rest + 16, msg->size);
        return TRANSFER_HEAD + 24;
    case TRANSFER_ACCEPT:
    case TRANSFER_ACK:
        put_u64(rest, msg->offset);
        return TRANSFER_HEAD + 8;
    case TRANSFER_CHUNK:
        put_u64(rest, msg->offset);
        return TRANSFER_CHUNK_HEAD;
    case TRANSFER_DONE:
        rest[0] = msg->ok ? 1 : 0;
        return TRANSFER_HEAD + 1 + put_text(rest + 1, msg->bytes);
    case TRANSFER_REFUSE:
        return TRANSFER_HEAD + put_text(rest, msg->bytes);
    case TRANSFER_WAIT:
        return TRANSFER_HEAD;
    }
    CHECK_UNREACHABLE();
}
