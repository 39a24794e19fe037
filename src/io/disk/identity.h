/* The identity of a data directory: which node of which cluster this disk belongs to.
 *
 * Place: io, on io/disk. A directory gets a random storage id when it is first used; peers pin it
 * in the configuration, so that the same node on an empty, cloned or rolled-back disk is not that
 * member. Each start adds one to the boot count before a peer hears of the node (design section 6,
 * "Identity").
 *
 * The file `identity` is replaced as a whole and synced (disk_replace); its byte table is in
 * docs/disk-format.md. The caller holds the directory's lock (disk_loop_open). */
#ifndef DISK_IDENTITY_H
#define DISK_IDENTITY_H

#include "disk/disk.h"

enum {
    IDENTITY_BYTES = 64,
    /* The newest layout of a data directory that this program reads and the one that it writes. */
    IDENTITY_FORMAT = 1
};

#define IDENTITY_NAME "identity"

struct identity {
    uint64_t storage_id; /* random, never 0 */
    uint64_t cluster_id; /* 0: it belongs to none yet (before the bootstrap) */
    uint32_t node_id;    /* never 0 */
    uint32_t format;
    uint64_t boot_count; /* starts so far; 0 while the directory is being made */
};

struct identity_want {
    uint64_t cluster_id; /* 0: whatever the directory says */
    uint32_t node_id;    /* 0: whatever the directory says (ERR_NOT_FOUND when it is empty) */
    /* Candidate for the storage id of an empty directory; not 0. From process_random, or from the
     * simulator's seed. */
    uint64_t new_storage_id;
};

/* Reads the identity, or makes one in an empty directory (boot count 0). `wal_present` says whether
 * WAL files are there (wal_present()). Afterwards: wal_create when the boot count is 0 and there is
 * no WAL, then identity_start. A crash between these steps is repaired by the next start.
 * ERR_MISMATCH: another cluster's or another node's directory, or a newer format (the note names
 * both values); nothing was changed.
 * ERR_CORRUPT: the file is damaged; or it was started before and the WAL is gone, or the WAL is
 * there and it is not: a partial directory, which must be wiped as a whole to join as a new disk.
 * ERR_NOT_FOUND: empty directory, and the node is not said. ERR_DENIED, ERR_NO_SPACE,
 * ERR_IO. */
ERR_CHECKED enum err identity_open(struct disk *disk, const struct identity_want *want,
                                   bool wal_present, struct identity *ret_identity,
                                   struct err_note *note);

/* Counts this start, durably; nothing may be sent to a peer before. Errors of disk_replace. */
ERR_CHECKED enum err identity_start(struct disk *disk, struct identity *identity,
                                    struct err_note *note);

/* The directory becomes one of this cluster, durably; it belonged to none. Errors of
 * disk_replace. */
ERR_CHECKED enum err identity_adopt(struct disk *disk, struct identity *identity,
                                    uint64_t cluster_id, struct err_note *note);

/* The directory leaves its cluster and becomes one of another, durably: for a recovery without the
 * old majority (node/recover) and nobody else. Errors of disk_replace. */
ERR_CHECKED enum err identity_refound(struct disk *disk, struct identity *identity,
                                      uint64_t cluster_id, struct err_note *note);

/* Reads only, changes nothing: for tools. ERR_NOT_FOUND, ERR_MISMATCH (newer format), ERR_CORRUPT,
 * ERR_IO. */
ERR_CHECKED enum err identity_read(struct disk *disk, struct identity *ret_identity,
                                   struct err_note *note);

#endif
