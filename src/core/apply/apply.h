/* Apply: what every state machine of the strong map gets when it applies one command, and gives
 * back.
 *
 * Place: core, above core/table and below kv, registry, route, member, setting and machine.
 *
 * Rules for all commands and their apply functions:
 *   1. Deterministic: the outcome depends on the tables and the command alone. The only clock is
 *      time_ms, the only counter is index; both are the log entry's.
 *   2. All or nothing: a refused command (result.err != ERR_OK) has written nothing. Everything is
 *      checked before the first write.
 *   3. A refusal is an ordinary result. What an apply function *returns* is something else: the
 *      node cannot go on (ERR_UNSUPPORTED: a version that this program does not know; ERR_NO_SPACE,
 *      ERR_IO, ERR_CORRUPT). Then the caller aborts the transaction and stops the node.
 *   4. A command body begins with its version (u8). New fields, new enum values and changed limits
 *      need a new version: two programs that judge the same bytes differently would diverge.
 *   5. Limits are checked when a command is encoded and again when it is applied: the bytes may
 *      come from a faulty node. */
#ifndef APPLY_APPLY_H
#define APPLY_APPLY_H

#include "bytes/bytes.h"
#include "clk/clk.h"
#include "err/err.h"
#include "table/table.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    APPLY_REASON_MAX = 192, /* with the terminating zero; longer text is cut */
    APPLY_BODY_VERSION = 1
};

/* One row changed. Rows of TABLE_META, TABLE_PROPOSERS, TABLE_TOMBSTONES and TABLE_INDEXES are
 * never reported. */
struct apply_change {
    enum table_id table;
    bool deleted;
    uint64_t index;
    struct bytes key; /* borrowed during the call */
};

/* Takes the changes in the order in which they were made. It cannot fail: a receiver that cannot
 * follow deals with that itself. */
struct apply_sink {
    void (*change)(struct apply_sink *self, const struct apply_change *change);
};

/* What the proposer of a command is told. */
struct apply_result {
    enum err err;                  /* ERR_OK, or why it was refused */
    uint64_t value;                /* meaning by command; yes/no answers are 1/0 */
    char reason[APPLY_REASON_MAX]; /* a sentence for people when refused, else "" */
};

struct apply {
    struct table_txn *txn;
    uint64_t index;             /* of the entry, > 0 */
    clk_ms time_ms;             /* of the entry */
    struct apply_sink *changes; /* NULL: nobody listens */
    struct buf *record;         /* scratch for one encoded record; limit TABLE_VALUE_MAX */
    struct apply_result *result;
};

/* Refuses the command; returns ERR_OK, so that `return apply_refuse(...)` reads straight. */
enum err apply_refuse(struct apply *a, enum err why, const char *reason);
/* The same with the thing that it is about: `reason: "subject"`. */
enum err apply_refuse_about(struct apply *a, enum err why, const char *reason,
                            struct bytes subject);

/* Opens a command body: the reader stands behind its version. ERR_UNSUPPORTED when that is another
 * one; an empty body gives a reader that has failed. */
ERR_CHECKED enum err apply_body_open(struct bytes body, struct reader *ret_reader);
/* Whether the body was read to its very end without a failure. */
bool apply_body_whole(const struct reader *r);

/* table_put / table_delete and the report to the sink. The key must not be borrowed from the
 * transaction. Errors as theirs; apply_delete: ERR_CORRUPT when the row is not there (the caller
 * has seen it). */
ERR_CHECKED enum err apply_put(struct apply *a, enum table_id table, struct bytes key,
                               struct bytes value);
ERR_CHECKED enum err apply_delete(struct apply *a, enum table_id table, struct bytes key);

/* "Last changed" counters of whole areas, kept in TABLE_INDEXES. */
enum apply_area {
    APPLY_AREA_SERVICES = 1, /* the set of instances and what they say of themselves */
    APPLY_AREA_CHECKS = 2,
    APPLY_AREA_MEMBERS = 3,
    APPLY_AREA_ROUTES = 4
};

/* First bytes of the keys in TABLE_INDEXES: who owns which rows. */
enum apply_index_prefix {
    APPLY_INDEX_AREA = 'x',
    APPLY_INDEX_TOMBSTONES = 't',
    APPLY_INDEX_INSTANCE_BY_ID = 'i',
    APPLY_INDEX_INSTANCE_BY_NODE = 'n',
    APPLY_INDEX_CHECK_BY_ID = 'c',
    APPLY_INDEX_CHECK_BY_INSTANCE = 's',
    APPLY_INDEX_CHECK_BY_OWNER = 'o',
    APPLY_INDEX_CHECK_OF_NODE = 'l'
};

ERR_CHECKED enum err apply_area_bump(struct apply *a, enum apply_area area);
/* The index of the last change, at least 1. */
ERR_CHECKED enum err apply_area_index(struct table_txn *txn, enum apply_area area,
                                      uint64_t *ret_index);

#endif
