/* What the commands that look into a node's files share: lines on standard output, for people or as
 * JSON, one object per line, so that a log of any length is printed in bounded memory.
 *
 * Place: app/cli. */
#ifndef CLI_CLI_DUMP_H
#define CLI_CLI_DUMP_H

#include "cli/cli.h"
#include "json/json_out.h"

enum {
    CLI_SHOWN_MAX = 256 /* bytes of an escaped text, with the terminating zero */
};

struct cli_dump {
    const struct cli_call *call;
    bool json;
    bool failed; /* standard output did not take something */
    struct buf line;
    struct json_out out;
};

void cli_dump_init(struct cli_dump *dump, const struct cli_call *call, bool json);
/* Flushes and frees; code, or CLIENT_FAILED when not everything was printed. */
int cli_dump_done(struct cli_dump *dump, int code);
/* Text for people; nothing with --json. */
void cli_dump_text(struct cli_dump *dump, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Begins an object with its type, to be filled through dump->out, and ends it with its line. */
void cli_dump_object(struct cli_dump *dump, const char *type);
void cli_dump_object_end(struct cli_dump *dump);
/* Prints raw bytes as rows of 16, indented: offset, hexadecimal, ASCII. */
void cli_dump_bytes(struct cli_dump *dump, struct bytes raw);
/* One line on standard error; CLIENT_FAILED. */
int cli_dump_fail(const struct cli_dump *dump, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Bytes as a word for people: what is not printable ASCII becomes \xNN, what does not fit "...". */
const char *cli_dump_shown(struct bytes raw, char dest[CLI_SHOWN_MAX]);
/* The members of a configuration: "1 2 3, learner 4". */
struct raft_config;
const char *cli_dump_members(const struct raft_config *config, char dest[CLI_SHOWN_MAX]);
/* The same as an array in dump->out. */
void cli_dump_members_json(struct cli_dump *dump, const struct raft_config *config);
/* A 64-bit identity as 16 hexadecimal digits, a field of the open object. */
void cli_dump_hex(struct cli_dump *dump, const char *key, uint64_t value);

#endif
