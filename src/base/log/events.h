/* The one table of log events: X(id, name, level, sentence).
 *
 * Place: base. The name is what a line says (the id without LOG_, in lower case), the level is its
 * severity, the sentence is for the documentation: what happened and, for warnings and errors, what
 * the operator should look at. Rows are grouped by subject; a new one ends its group. */
#ifndef LOG_EVENTS_H
#define LOG_EVENTS_H

/* clang-format off */
#define LOG_EVENTS(X)                                                                              \
    /* the life of a node */                                                                       \
    X(LOG_NODE_STARTED, "node_started", INFO,                                                      \
      "The node has opened its data and begins to take part in the cluster.")                      \
    X(LOG_NODE_STOPPING, "node_stopping", INFO,                                                    \
      "The node was asked to stop and hands over what it holds.")                                  \
    X(LOG_IDENTITY_REFUSED, "identity_refused", ERROR,                                             \
      "The data directory is of another cluster, damaged, copied, or in use; the node stays out.") \
    /* consensus */                                                                                \
    X(LOG_LEADER_ELECTED, "leader_elected", INFO,                                                  \
      "A group has a new leader as this node sees it.")                                            \
    X(LOG_LEADERSHIP_LOST, "leadership_lost", WARN,                                                \
      "This node led a group and no longer does: another term began or its majority is gone.")     \
    X(LOG_CONFIG_CHANGED, "config_changed", INFO,                                                  \
      "The membership of a group changed.")                                                        \
    X(LOG_APPLY_STOPPED, "apply_stopped", ERROR,                                                   \
      "A committed command cannot be applied by this version; the node stops before it.")          \
    /* disk */                                                                                     \
    X(LOG_WAL_FAILED, "wal_failed", ERROR,                                                         \
      "Writing or syncing the write-ahead log failed, which is final: the node stops.")            \
    X(LOG_DISK_FULL, "disk_full", ERROR,                                                           \
      "There is no space left for the log or the state; the node stops. Free space, then restart.")\
    X(LOG_SNAPSHOT_WRITTEN, "snapshot_written", INFO,                                              \
      "A snapshot of a group's state is on disk; the log before it can go.")                       \
    X(LOG_SNAPSHOT_FAILED, "snapshot_failed", WARN,                                                \
      "A snapshot could not be written; the log stays longer and it is tried again.")              \
    X(LOG_WAL_DAMAGED, "wal_damaged", ERROR,                                                       \
      "A record of the log is damaged; its group neither votes nor leads until it is repaired.")   \
    X(LOG_STATE_DISCARDED, "state_discarded", WARN,                                                \
      "The damaged log ends before the state: the state is built anew, from it and the peers.")    \
    X(LOG_CHECK_NOT_RUN, "check_not_run", WARN,                                                    \
      "A health check is not run here: this node owns too many.")                                  \
    X(LOG_SNAPSHOT_INSTALLED, "snapshot_installed", INFO,                                          \
      "A snapshot from the leader replaced a group's state on this node.")                         \
    /* peers */                                                                                    \
    X(LOG_PEER_UP, "peer_up", INFO,                                                                \
      "A connection to another node of the cluster is up.")                                        \
    X(LOG_PEER_DOWN, "peer_down", WARN,                                                            \
      "The connection to another node of the cluster is gone; it is tried again.")                 \
    X(LOG_PEER_REFUSED, "peer_refused", WARN,                                                      \
      "A connection on the peer port was refused: wrong secret, cluster, version or identity.")    \
    X(LOG_SECRET_RELOADED, "secret_reloaded", INFO,                                                \
      "The secret's file was read again; connections with a secret that is gone are closed.")      \
    X(LOG_SECRET_UNUSABLE, "secret_unusable", ERROR,                                               \
      "The secret's file cannot be used now; the secrets that were read before stay in force.")    \
    X(LOG_TRANSFER_FAILED, "transfer_failed", WARN,                                                \
      "A snapshot could not be sent to or received from another node; it is tried again.")         \
    X(LOG_CHECK_REASSIGNED, "check_reassigned", INFO,                                              \
      "A dead node's checks and leases have a new owner, each with a fresh full duration.")        \
    /* doors */                                                                                    \
    X(LOG_DOOR_LISTENING, "door_listening", INFO,                                                  \
      "A door accepts clients at the address.")                                                    \
    X(LOG_DOOR_BIND_FAILED, "door_bind_failed", ERROR,                                             \
      "A door cannot listen at its address, mostly because another process does.")                 \
    X(LOG_ENDPOINT_UNUSABLE, "endpoint_unusable", WARN,                                            \
      "The gateway cannot send requests to an instance: its address is not numeric or has no port.")\
    X(LOG_ROUTES_UNREADABLE, "routes_unreadable", ERROR,                                           \
      "The gateway could not read its tables from the state store; it goes on with the old ones.") \
    X(LOG_ACCESS_LOG_FAILED, "access_log_failed", WARN,                                            \
      "The gateway's access log could not be opened anew; lines go to the old file.")              \
    X(LOG_CLIENT_REFUSED, "client_refused", WARN,                                                  \
      "A client was refused: too many connections, bad credentials or a malformed request.")
/* clang-format on */

#endif
