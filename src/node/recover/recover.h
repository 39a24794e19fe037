/* Beginning a new cluster with an old one's data: of a survivor, when the majority is lost for good
 * (recover_look, recover_write), or of a backup (recover_found). Either way one directory becomes
 * that of the only voter.
 *
 * Place: node; offline, for the command line. No engine runs.
 *
 * What recover_write does, in this order, so that a crash in between leaves either the old
 * cluster's directory or one that no old member talks to:
 *   1. the identity gets a new cluster id, so that a node of the old cluster that comes back is
 *      refused, and refuses, as one of another cluster: it may have committed what this one lacks;
 *   2. every group of the log gets one more entry, in a term above all that this disk has seen: a
 *      configuration with this node alone. At its next start the node elects itself, and by that
 *      commits all that its log contains.
 *
 * Raft says nothing of this: with the majority gone nobody knows what it had acknowledged. What is
 * known of the loss is in the report (recover_look), for a person to decide. Joint consensus is
 * passed over on purpose: it needs a majority of the old members. */
#ifndef RECOVER_RECOVER_H
#define RECOVER_RECOVER_H

#include "clk/clk.h"
#include "disk/disk.h"
#include "disk/identity.h"
#include "raft/raft.h"

#include <stdbool.h>

struct loop;

enum {
    RECOVER_GROUPS_MAX = 64
};

/* One group as its log ends on this disk. */
struct recover_group {
    raft_group_id group;
    raft_index first; /* first - 1 == last: no entries behind the snapshot */
    raft_index last;
    raft_term last_term;
    clk_ms last_time_ms;  /* of the last entry that the log has; 0: not known */
    raft_term term;       /* the highest that this disk has seen */
    raft_index committed; /* certainly committed up to here: the newest snapshot mark, or what the
                             state had applied at a clean stop */
    raft_index config_index;
    struct raft_config config; /* the newest one in the log */
};

struct recover_report {
    struct identity identity;
    bool torn; /* an unfinished write at the end will be cut: nobody was told of it */
    uint32_t group_count;
    struct recover_group groups[RECOVER_GROUPS_MAX];
};

/* Reads the directory and changes nothing. applied: what the state of group 1 has, 0 when that is
 * not known. ERR_NOT_FOUND (no data directory, or one that never was in a cluster), ERR_CORRUPT
 * (log or identity is damaged, or waits for a repair from a leader: this disk has lost what it
 * acknowledged), ERR_MISMATCH (a newer format), ERR_FULL (groups), ERR_IO; the note says what. */
ERR_CHECKED enum err recover_look(struct disk *disk, raft_index applied,
                                  struct recover_report *ret_report, struct err_note *note);

/* Whether a configuration has a voter beside this node's present disk. */
bool recover_is_needed(const struct recover_report *report);

/* Does it, durably, on a directory that the caller has locked (disk_loop_open on this loop) and
 * looked at: see above. random: any number; the new cluster id is made of it and the old one.
 * Errors of the identity and the WAL; after one the directory may have its new cluster id already
 * and is recovered by another call. */
ERR_CHECKED enum err recover_write(struct loop *loop, struct disk *disk,
                                   const struct recover_report *report, uint64_t random,
                                   uint64_t *ret_cluster_id, struct err_note *note);

/* ERR_OK when the directory has neither a log nor an identity; ERR_EXISTS. ERR_IO. */
ERR_CHECKED enum err recover_is_empty(struct disk *disk, struct err_note *note);

/* What a new cluster is made of: a verified snapshot file of group 1, which lies in the directory's
 * snapshots under its own name already. */
struct recover_backup {
    struct raft_snapshot_meta meta;
    clk_ms time_ms; /* of the last entry in it */
    raft_node_id node;
};

/* Makes the log and then the identity in an empty directory that the caller has locked. The log
 * begins with the mark of the snapshot and a configuration with this node alone, in the next term,
 * so indices go on where the backup's ended. random: any numbers, the disk's id and the new
 * cluster's are made of them. A crash before the end leaves a directory that no node starts from.
 * ERR_EXISTS: there is a log or an identity. Errors of the WAL and the identity. */
ERR_CHECKED enum err recover_found(struct loop *loop, struct disk *disk,
                                   const struct recover_backup *backup, const uint64_t random[2],
                                   uint64_t *ret_cluster_id, struct err_note *note);

#endif
