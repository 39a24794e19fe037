/* Settings: named values in the strong map that can change the result of commands.
 *
 * Place: core, above core/apply. They are replicated because every replica must apply a command
 * with the same settings. Apply stores any well-formed name and value (so that programs of two
 * versions agree on the tables); doors ask setting_check first, which knows the names; readers take
 * the default when a setting is missing or unreadable and clamp it to its range. */
#ifndef SETTING_SETTING_H
#define SETTING_SETTING_H

#include "apply/apply.h"

enum {
    SETTING_NAME_MAX = 64, /* bytes of a-z 0-9 _ . */
    SETTING_VALUE_MAX = 1024
};

/* Command kinds. */
enum {
    SETTING_CMD_PUT = 0x0501,
    SETTING_CMD_REMOVE = 0x0502
};

enum setting_id {
    SETTING_TOMBSTONES_MAX,    /* rows kept at most before a batch is reaped */
    SETTING_TOMBSTONES_AGE_MS, /* age at which a tombstone may be reaped */
    SETTING_COUNT
};

/* A setting as the program knows it. All are whole numbers so far. */
struct setting_info {
    const char *name;
    const char *help; /* one sentence */
    uint64_t fallback;
    uint64_t min;
    uint64_t max;
};

const struct setting_info *setting_info(enum setting_id id);

/* Whether a door should accept this: ERR_NOT_FOUND (unknown name), ERR_BAD_INPUT (not a number),
 * ERR_TOO_LARGE (out of range); *ret_reason is a sentence, borrowed for ever. */
ERR_CHECKED enum err setting_check(struct bytes name, struct bytes value, const char **ret_reason);

/* Bodies of SETTING_CMD_PUT and SETTING_CMD_REMOVE. ERR_BAD_INPUT, ERR_TOO_LARGE, ERR_FULL
 * (buffer). */
ERR_CHECKED enum err setting_put_encode(struct bytes name, struct bytes value, struct buf *to);
ERR_CHECKED enum err setting_remove_encode(struct bytes name, struct buf *to);
/* Refusals: ERR_BAD_INPUT, ERR_TOO_LARGE, ERR_NOT_FOUND (remove). */
ERR_CHECKED enum err setting_apply(struct apply *a, uint16_t kind, struct bytes body);

/* The value in force. */
ERR_CHECKED enum err setting_u64(struct table_txn *txn, enum setting_id id, uint64_t *ret_value);

#endif
