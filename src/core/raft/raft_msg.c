/* The fixed header of messages between nodes.
 *
 * Place: core/raft. RAFT_MSG_BYTES bytes, little-endian; the version belongs to the connection:
 *
 *   offset  size  field              offset  size  field
 *        0     1  type                   24     8  index
 *        1     1  bit 0 reject,          32     8  log_term
 *                 bit 1 repairing        40     8  commit
 *                 bit 2 handover         48     8  hint
 *        2     2  zero                   56     8  token
 *        4     4  group
 *        8     4  from
 *       12     4  to
 *       16     8  term
 *
 * Entries of an APPEND follow in the engine's own frame. */
#include "raft/raft_priv.h"

enum {
    FLAG_REJECT = 1,
    FLAG_REPAIRING = 2,
    FLAG_HANDOVER = 4,
};

enum err raft_msg_encode(const struct raft_msg *msg, struct buf *to)
{
    CHECK(msg->type >= RAFT_MSG_PREVOTE && msg->type <= RAFT_MSG_TIMEOUT_NOW);
    CHECK(msg->group != 0 && msg->from != 0 && msg->to != 0);
    enum err err = buf_reserve(to, RAFT_MSG_BYTES);
    if (err != ERR_OK) {
        return err;
    }
    unsigned flags = (msg->reject ? FLAG_REJECT : 0u) | (msg->repairing ? FLAG_REPAIRING : 0u) |
                     (msg->handover ? FLAG_HANDOVER : 0u);
    struct writer w = writer_of(to);
    write_u8(&w, (uint8_t)msg->type);
    write_u8(&w, (uint8_t)flags);
    write_u16(&w, 0);
    write_u32(&w, msg->group);
    write_u32(&w, msg->from);
    write_u32(&w, msg->to);
    write_u64(&w, msg->term);
    write_u64(&w, msg->index);
    write_u64(&w, msg->log_term);
    write_u64(&w, msg->commit);
    write_u64(&w, msg->hint);
    write_u64(&w, msg->token);
    return w.err;
}

enum err raft_msg_decode(struct reader *from, struct raft_msg *ret_msg)
{
    uint8_t type = read_u8(from);
    uint8_t flags = read_u8(from);
    uint16_t zero = read_u16(from);
    struct raft_msg msg = {.group = 0};
    msg.group = read_u32(from);
    msg.from = read_u32(from);
    msg.to = read_u32(from);
    msg.term = read_u64(from);
    msg.index = read_u64(from);
    msg.log_term = read_u64(from);
    msg.commit = read_u64(from);
    msg.hint = read_u64(from);
    msg.token = read_u64(from);
    if (!reader_ok(from) || type < RAFT_MSG_PREVOTE || type > RAFT_MSG_TIMEOUT_NOW || zero != 0 ||
        (flags & ~(unsigned)(FLAG_REJECT | FLAG_REPAIRING | FLAG_HANDOVER)) != 0) {
        return ERR_BAD_INPUT;
    }
    if (msg.group == 0 || msg.from == 0 || msg.to == 0 || msg.term > RAFT_NUMBER_MAX ||
        msg.index > RAFT_NUMBER_MAX || msg.log_term > RAFT_NUMBER_MAX ||
        msg.commit > RAFT_NUMBER_MAX || msg.hint > RAFT_NUMBER_MAX) {
        return ERR_BAD_INPUT;
    }
    msg.type = (enum raft_msg_type)type;
    msg.reject = (flags & FLAG_REJECT) != 0;
    msg.repairing = (flags & FLAG_REPAIRING) != 0;
    msg.handover = (flags & FLAG_HANDOVER) != 0;
    *ret_msg = msg;
    return ERR_OK;
}
