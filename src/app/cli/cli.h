/* The command line: one table of commands, their help, and who runs them.
 *
 * Place: app. `flotilla`, `flotilla help`, `flotilla COMMAND --help` print help to standard output
 * and succeed; a wrong command line is explained on standard error (exit code 2). */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "client/client.h"
#include "flags/flags.h"

/* What a command gets. */
struct cli_call {
    const struct cli_command *command;
    const char *title; /* "flotilla kv get", for messages */
    int argc;          /* arguments after the command's name */
    char **argv;
};

struct cli_command {
    const char *name;  /* one or two words */
    const char *args;  /* after the name in the usage line */
    const char *about; /* one line */
    const char *more;  /* paragraphs, each line ending in a line feed; may be empty */
    const char *examples;
    const struct flag_table *flags;
    int (*run)(const struct cli_call *call);
};

/* Runs the command that argv names; returns the program's exit code. */
int cli_main(int argc, char **argv);

/* For commands that read their own flags: prints the command's help. CLIENT_OK. */
int cli_help(const struct cli_call *call);
/* "TITLE: text" and where the help is, on standard error; CLIENT_USAGE. */
int cli_usage(const struct cli_call *call, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
