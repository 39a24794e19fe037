/* Machine: applies the committed commands of the strong map, one entry at a time.
 *
 * Place: core, on top of kv, registry, route, member and setting; node/apply and the simulator call
 * it.
 *
 * Command (little-endian):
 *   version u8 = 1 | kind u16 | node u32 | incarnation u64 | sequence u64 | principal blob |
 *   trace id 16 bytes | body (the rest; it begins with a version of its own)
 *
 * Once: every node is a proposer whose commands are numbered. TABLE_PROPOSERS keeps the last
 * (incarnation, sequence) of each; a command that is not newer is a duplicate and changes nothing
 * but the applied index. A command counts as newer even if it is then refused.
 * Row: node u32 be -> version u8 = 1 | incarnation u64 | sequence u64. */
#ifndef MACHINE_MACHINE_H
#define MACHINE_MACHINE_H

#include "apply/apply.h"

enum {
    MACHINE_COMMAND_MAX = 8 * 1024 * 1024, /* bytes, all together */
    MACHINE_PRINCIPAL_MAX = 256,
    MACHINE_TRACE_BYTES = 16
};

/* Command kinds that the machine deals with itself; the others are in kv.h, registry.h, ... */
enum {
    /* Takes the place of a proposal that was given up: an empty body, only the sequence
     * advances. */
    MACHINE_CMD_CANCELED = 0x0001
};

struct machine_proposer {
    uint32_t node;        /* > 0 */
    uint64_t incarnation; /* grows with every start of the node */
    uint64_t sequence;    /* grows with every command of the incarnation, from 1 */
};

struct machine_command {
    uint16_t kind;
    struct machine_proposer proposer;
    struct bytes principal; /* who asked for it; borrowed */
    uint8_t trace[MACHINE_TRACE_BYTES];
    struct bytes body; /* borrowed */
};

/* ERR_BAD_INPUT (proposer node or sequence 0), ERR_TOO_LARGE, ERR_FULL (buffer). */
ERR_CHECKED enum err machine_command_encode(const struct machine_command *command, struct buf *to);
/* Slices are parts of from. ERR_BAD_INPUT, ERR_TOO_LARGE; ERR_UNSUPPORTED (another version). */
ERR_CHECKED enum err machine_command_decode(struct bytes from, struct machine_command *ret_command);
/* "kv_put", "canceled", ...; "unknown" for others. For logs and metrics; borrowed for ever. */
const char *machine_kind_name(uint16_t kind);

/* The applying side's scratch memory; one per applying thread, used for one entry at a time. */
struct machine {
    struct buf record;
};

void machine_init(struct machine *machine);
void machine_done(struct machine *machine);

/* A committed entry with a command. */
struct machine_entry {
    uint64_t index;       /* above the applied index */
    clk_ms time_ms;       /* of the entry: never before the previous entry's */
    struct bytes command; /* borrowed during the call */
};

struct machine_result {
    bool duplicate; /* applied before: the result was given then */
    uint16_t kind;
    struct machine_proposer proposer; /* all 0 when the command could not be read */
    struct apply_result result;
};

/* Applies one entry in the transaction and sets the applied index; the changes go to sink (may be
 * NULL) in order. A refused or malformed command is an ordinary result. Returned errors mean that
 * the node must abort the transaction and stop: ERR_UNSUPPORTED (a kind or version that this
 * program does not know), ERR_NO_SPACE, ERR_IO, ERR_CORRUPT. */
ERR_CHECKED enum err machine_apply(struct machine *machine, struct table_txn *txn,
                                   const struct machine_entry *entry, struct apply_sink *sink,
                                   struct machine_result *ret_result);

/* The last command of a node that was applied; ERR_NOT_FOUND when none was. */
ERR_CHECKED enum err machine_last_of(struct table_txn *txn, uint32_t node,
                                     struct machine_proposer *ret_last);

#endif
