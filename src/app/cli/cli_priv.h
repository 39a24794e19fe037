/* The command line, inside: what the commands that ask a server share.
 *
 * Place: app/cli only. */
#ifndef CLI_CLI_PRIV_H
#define CLI_CLI_PRIV_H

#include "cli/cli.h"

/* All flags of all such commands; each command's table names those it has. */
struct cli_options {
    const char *addr;
    bool json;
    uint64_t timeout_s;
    bool stale;
    bool recurse;
    uint64_t index;
    bool has_index; /* --index was given */
    uint64_t flags;
    const char *host;
    const char *path;
    const char *service;
    const char *id;
};

/* clang-format off */
#define CLI_FLAGS_COMMON                                                                           \
    {"addr", FLAG_TEXT, "HOST:PORT", "node to ask (default FLOTILLA_ADDR, then 127.0.0.1:8500)",   \
     offsetof(struct cli_options, addr)},                                                          \
    {"json", FLAG_SWITCH, NULL, "print JSON", offsetof(struct cli_options, json)},                 \
    {"timeout", FLAG_NUMBER, "SECONDS", "wait at most so long (default 15)",                       \
     offsetof(struct cli_options, timeout_s)}
#define CLI_FLAG_STALE                                                                             \
    {"stale", FLAG_SWITCH, NULL, "what this node knows, even without a leader",                    \
     offsetof(struct cli_options, stale)}

/* clang-format on */

/* All flags of the commands that look into a node's files. */
struct cli_files_options {
    const char *data;
    const char *prefix;
    uint64_t group; /* 0: all */
    uint64_t from;
    uint64_t to;
    uint64_t limit;
    bool payload;
    bool rows;
    bool json;
};

#define CLI_FILES_DEFAULTS                                                                         \
    {                                                                                              \
        .to = UINT64_MAX, .limit = UINT64_MAX                                                      \
    }

struct cli_recover_options {
    const char *data;
    uint64_t id;
    bool accept;
};

/* A command at work. */
struct cli_work {
    const struct cli_call *call;
    struct cli_options options;
    struct flag_words words;
    struct client client;
    bool ended; /* begin has done everything: return its code */
};

/* Reads flags and words (at least min, at most max of them) and opens the client. When
 * work->ended is set the command returns the code at once. */
int cli_begin(const struct cli_call *call, size_t min, size_t max, struct cli_work *work);
/* "prefix" + percent-encoded word ('/' stays when keep_slash) into dest of CLIENT_TARGET_MAX bytes;
 * CLIENT_USAGE when it is too long, with a message. */
int cli_target(const struct cli_work *work, const char *prefix, const char *word,
               const char *suffix, char *dest);
/* A word of the command line as a body: itself, "-" is standard input, "@FILE" a file. `to` is
 * filled; at most max bytes. */
int cli_read_value(const struct cli_work *work, const char *word, struct buf *to);

int cli_kv_get(const struct cli_call *call);
int cli_kv_put(const struct cli_call *call);
int cli_kv_cas(const struct cli_call *call);
int cli_kv_delete(const struct cli_call *call);
int cli_kv_ls(const struct cli_call *call);
int cli_services(const struct cli_call *call);
int cli_members(const struct cli_call *call);
int cli_status(const struct cli_call *call);
int cli_route_add(const struct cli_call *call);
int cli_route_rm(const struct cli_call *call);
int cli_route_ls(const struct cli_call *call);
int cli_wal_dump(const struct cli_call *call);
int cli_snapshot_inspect(const struct cli_call *call);
int cli_secret_new(const struct cli_call *call);
int cli_secret_rotate(const struct cli_call *call);
int cli_snapshot_save(const struct cli_call *call);
int cli_snapshot_restore(const struct cli_call *call);
int cli_recover(const struct cli_call *call);
int cli_server(const struct cli_call *call);
int cli_dev(const struct cli_call *call);
int cli_version(const struct cli_call *call);

#endif
