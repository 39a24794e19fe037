/* The one table of error codes: X(name, reason, sentence, retryable).
 *
 * Place: base; every fallible function of Flotilla returns enum err. The reason is the stable word
 * that programs see (the name without its prefix, in lower case); the sentence is what a person
 * reads when no better detail is known; retryable says whether the same call may succeed later
 * without anybody changing anything. Doors map these codes to their protocol's in one table
 * each. */
#ifndef ERR_CODES_H
#define ERR_CODES_H

/* clang-format off */
#define ERR_CODES(X)                                                                               \
    X(ERR_OK,          "ok",           "no error",                                               0) \
    X(ERR_BAD_INPUT,   "bad_input",    "the input is malformed",                                 0) \
    X(ERR_TOO_LARGE,   "too_large",    "a size limit was exceeded",                              0) \
    X(ERR_INCOMPLETE,  "incomplete",   "more input is needed",                                   1) \
    X(ERR_FULL,        "full",         "a queue, buffer or table is full; try again later",      1) \
    X(ERR_NOT_FOUND,   "not_found",    "no such thing",                                          0) \
    X(ERR_EXISTS,      "exists",       "it exists already",                                      0) \
    X(ERR_CONFLICT,    "conflict",     "the stored version is not the expected one",             0) \
    X(ERR_DENIED,      "denied",       "the caller may not do this",                             0) \
    X(ERR_UNSUPPORTED, "unsupported",  "this version does not support it",                       0) \
    X(ERR_CORRUPT,     "corrupt",      "stored bytes are damaged",                               0) \
    X(ERR_TORN,        "torn",         "stored bytes end in an unfinished write",                0) \
    X(ERR_IO,          "io",           "the operating system reported an I/O error",             0) \
    X(ERR_NO_SPACE,    "no_space",     "the disk is full",                                       0) \
    X(ERR_IN_USE,      "in_use",       "the address or directory is in use by another process",  1) \
    X(ERR_CLOSED,      "closed",       "the connection or object was closed",                    1) \
    X(ERR_REFUSED,     "refused",      "the connection was refused or the host is unreachable",  1) \
    X(ERR_TIMEOUT,     "timeout",      "the deadline passed",                                    1) \
    X(ERR_CANCELED,    "canceled",     "the operation was canceled",                             1) \
    X(ERR_NOT_LEADER,  "not_leader",   "this node does not lead the group",                      1) \
    X(ERR_NO_LEADER,   "no_leader",    "the group has no leader at the moment",                  1) \
    X(ERR_UNKNOWN,     "unknown",      "the outcome is not known: it may have happened",         1) \
    X(ERR_STOPPING,    "stopping",     "the node is stopping",                                   1) \
    X(ERR_POISONED,    "poisoned",     "the write-ahead log failed; the node must stop",         0) \
    X(ERR_MISMATCH,    "mismatch",     "it belongs to another cluster or a newer version",       0)
/* clang-format on */

#endif
