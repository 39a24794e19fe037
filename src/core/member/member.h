/* Members: the replicated table of the cluster's nodes, readable on every node.
 *
 * Place: core, above core/apply. A node puts its own record when it starts (address, version, boot
 * count); the leader marks it unseen and alive again. Raft's configuration decides who votes; this
 * table tells people and doors who is who.
 *
 * Row: TABLE_MEMBERS node u32 be -> version u8 = 1 | storage_id u64 | boot_count u64 | state u8 |
 * since_ms u64 | create u64 | modify u64 | name, peer, http, gateway, version blobs. */
#ifndef MEMBER_MEMBER_H
#define MEMBER_MEMBER_H

#include "apply/apply.h"

enum {
    MEMBER_COUNT_MAX = 256,
    MEMBER_NAME_MAX = 63,     /* bytes: A-Z a-z 0-9 - _ . (Consul and DNS show it) */
    MEMBER_ADDRESS_MAX = 255, /* "host:port" */
    MEMBER_VERSION_MAX = 32
};

/* Command kinds. */
enum {
    MEMBER_CMD_PUT = 0x0301,
    MEMBER_CMD_STATE = 0x0302,
    MEMBER_CMD_REMOVE = 0x0303
};

enum member_state {
    MEMBER_ALIVE = 1,
    MEMBER_UNSEEN = 2,
    MEMBER_LEFT = 3
};

/* "alive", "unseen", "left"; borrowed for ever. */
const char *member_state_name(enum member_state state);

/* Slices are borrowed: from the transaction when read. */
struct member {
    uint32_t node; /* > 0 */
    uint64_t storage_id;
    uint64_t boot_count;
    enum member_state state;
    struct bytes name; /* unique */
    struct bytes peer_address;
    struct bytes http_address;    /* of the HTTP API; empty: none */
    struct bytes gateway_address; /* empty: none */
    struct bytes version;         /* of the program */
    clk_ms since_ms;              /* set by apply: entry time of the last change of state */
    uint64_t create_index;        /* set by apply */
    uint64_t modify_index;        /* set by apply */
};

/* Inserts or replaces the node's record. Equal content changes nothing. */
ERR_CHECKED enum err member_put_encode(const struct member *member, struct buf *to);
/* Sets the state, if the member still has this boot count: what was seen of an earlier life of the
 * node says nothing about this one. */
ERR_CHECKED enum err member_state_encode(uint32_t node, uint64_t boot_count,
                                         enum member_state state, struct buf *to);
ERR_CHECKED enum err member_remove_encode(uint32_t node, struct buf *to);

/* Refusals: ERR_BAD_INPUT, ERR_TOO_LARGE, ERR_EXISTS (another node has this name), ERR_CONFLICT (an
 * older boot count than the stored one, or not the stored one), ERR_NOT_FOUND, ERR_FULL (too many).
 * Changes: TABLE_MEMBERS, node u32 be. */
ERR_CHECKED enum err member_apply(struct apply *a, uint16_t kind, struct bytes body);

/* ERR_NOT_FOUND, ERR_CORRUPT, ERR_IO. */
ERR_CHECKED enum err member_get(struct table_txn *txn, uint32_t node, struct member *ret_member);
/* By name, without regard to case. */
ERR_CHECKED enum err member_find(struct table_txn *txn, struct bytes name,
                                 struct member *ret_member);

/* Anything but ERR_OK ends the iteration and is returned by it. */
typedef enum err member_visit_fn(void *context, const struct member *member);
/* In order of node ids. */
ERR_CHECKED enum err member_each(struct table_txn *txn, member_visit_fn *visit, void *context);
/* Index of the last change to any member, at least 1. */
ERR_CHECKED enum err member_index(struct table_txn *txn, uint64_t *ret_index);

#endif
