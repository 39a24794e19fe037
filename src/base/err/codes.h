/* The one table of error codes: X(name, sentence, retryable).
 *
 * Place: base; every fallible function of Flotilla returns enum err. The sentence is what a person
 * reads when no better detail is known; retryable says whether the same call may succeed later
 * without anybody changing anything. Doors map these codes to their protocol's in one table each. */
#ifndef ERR_CODES_H
#define ERR_CODES_H

/* clang-format off */
#define ERR_CODES(X)                                                                        \
    X(ERR_OK,           "no error",                                                   0)    \
    X(ERR_BAD_INPUT,    "the input is malformed",                                     0)    \
    X(ERR_TOO_LARGE,    "a size limit was exceeded",                                  0)    \
    X(ERR_INCOMPLETE,   "more input is needed",                                       1)    \
    X(ERR_FULL,         "a bounded queue, buffer or table is full; try again later",  1)    \
    X(ERR_NOT_FOUND,    "no such thing",                                              0)    \
    X(ERR_EXISTS,       "it exists already",                                          0)    \
    X(ERR_CONFLICT,     "the stored version is not the expected one",                 0)    \
    X(ERR_DENIED,       "the caller may not do this",                                 0)    \
    X(ERR_UNSUPPORTED,  "this version does not support it",                           0)    \
    X(ERR_CORRUPT,      "stored bytes are damaged",                                   0)    \
    X(ERR_TORN,         "stored bytes end in an unfinished write",                    0)    \
    X(ERR_IO,           "the operating system reported an I/O error",                 0)    \
    X(ERR_NO_SPACE,     "the disk is full",                                           0)    \
    X(ERR_IN_USE,       "the address or directory is in use by another process",      1)    \
    X(ERR_CLOSED,       "the connection or object was closed",                        1)    \
    X(ERR_REFUSED,      "the connection was refused",                                 1)    \
    X(ERR_TIMEOUT,      "the deadline passed",                                        1)    \
    X(ERR_CANCELED,     "the operation was canceled",                                 1)    \
    X(ERR_NOT_LEADER,   "this node does not lead the group",                          1)    \
    X(ERR_NO_LEADER,    "the group has no leader at the moment",                      1)    \
    X(ERR_UNKNOWN,      "the outcome is not known: it may or may not have happened",  1)    \
    X(ERR_STOPPING,     "the node is stopping",                                       1)    \
    X(ERR_POISONED,     "the write-ahead log failed; the node must stop",             0)    \
    X(ERR_MISMATCH,     "it belongs to another cluster or a newer version",           0)
/* clang-format on */

#endif
