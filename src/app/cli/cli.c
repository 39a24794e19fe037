/* Finding the command, printing help, and what commands that ask a server begin with. */
#include "cli/cli.h"

#include "cli/cli_priv.h"
#include "cli/cli_table.h"
#include "text/text.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    TITLE_MAX = 64,
    HELP_MAX = 64 * 1024
};

/* ---- help ------------------------------------------------------------------------------------ */

static const char INTRODUCTION[] =
    "Flotilla: a team's microservice platform in one program.\n"
    "\n"
    "Usage: flotilla COMMAND [ARGUMENTS]     help of one: flotilla COMMAND --help\n";

static const char CONCLUSION[] =
    "\n"
    "Examples:\n"
    "  flotilla dev --nodes 3 --demo         three nodes and a demo on this machine\n"
    "  flotilla status                       who leads, and how the nodes are\n"
    "  flotilla kv put greeting hello        a write, durable on a majority\n"
    "  flotilla kv get greeting --addr 127.0.0.1:8510\n"
    "\n"
    "Exit codes: 0 done; 1 failed, refused or not there; 2 wrong command line; 3 the server did "
    "not answer.\n";

static int print_out(const struct buf *text)
{
    size_t len = fwrite(text->data, 1, text->len, stdout);
    return len == text->len && fflush(stdout) == 0 ? CLIENT_OK : CLIENT_FAILED;
}

/* The commands whose names begin with this word; NULL: all. */
static int print_list(const char *first_word)
{
    struct buf text;
    buf_init(&text, HELP_MAX);
    enum err err = buf_printf(&text, "%s\n", first_word == NULL ? INTRODUCTION : "Commands:");
    size_t len = first_word == NULL ? 0 : strlen(first_word);
    for (size_t i = 0; i < cli_command_count() && err == ERR_OK; i++) {
        const struct cli_command *command = cli_command_at(i);
        if (first_word == NULL ||
            (strncmp(command->name, first_word, len) == 0 && command->name[len] == ' ')) {
            err = buf_printf(&text, "  %-17s %s\n", command->name, command->about);
        }
    }
    if (err == ERR_OK) {
        err = first_word == NULL
                  ? buf_append(&text, bytes_of_str(CONCLUSION))
                  : buf_printf(&text, "\nHelp of one: flotilla %s WORD --help\n", first_word);
    }
    int code = err == ERR_OK ? print_out(&text) : CLIENT_FAILED;
    buf_done(&text);
    return code;
}

static int print_help(const struct cli_command *command)
{
    struct buf text;
    buf_init(&text, HELP_MAX);
    enum err err = buf_printf(&text, "%s\n\nUsage: flotilla %s%s%s [FLAGS]\n%s%s\nFlags:\n",
                              command->about, command->name, command->args[0] == '\0' ? "" : " ",
                              command->args, command->more[0] == '\0' ? "" : "\n", command->more);
    if (err == ERR_OK) {
        err = flags_describe(*command->flags, &text);
    }
    if (err == ERR_OK) {
        err = buf_printf(&text, "\nExamples:\n%s", command->examples);
    }
    int code = err == ERR_OK ? print_out(&text) : CLIENT_FAILED;
    buf_done(&text);
    return code;
}

int cli_help(const struct cli_call *call)
{
    return print_help(call->command);
}

int cli_usage(const struct cli_call *call, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)fprintf(stderr, "%s: ", call->title);
    (void)vfprintf(stderr, format, args);
    (void)fprintf(stderr, "\nHelp with examples: %s --help\n", call->title);
    va_end(args);
    return CLIENT_USAGE;
}

/* ---- which command --------------------------------------------------------------------------- */

/* Whether argv begins with the command's name; how many words that took. */
static int match(const struct cli_command *command, int argc, char **argv)
{
    const char *name = command->name;
    for (int i = 0; i < argc; i++) {
        size_t len = strcspn(name, " ");
        if (strlen(argv[i]) != len || strncmp(name, argv[i], len) != 0) {
            return 0;
        }
        name += len;
        if (*name == '\0') {
            return i + 1;
        }
        name++;
    }
    return 0;
}

static bool begins_a_command(const char *word)
{
    size_t len = strlen(word);
    for (size_t i = 0; i < cli_command_count(); i++) {
        const char *name = cli_command_at(i)->name;
        if (strncmp(name, word, len) == 0 && name[len] == ' ') {
            return true;
        }
    }
    return false;
}

static int unknown_command(int argc, char **argv)
{
    char given[TITLE_MAX];
    bool group = begins_a_command(argv[0]);
    (void)snprintf(given, sizeof(given), "%s%s%s", argv[0], group && argc > 1 ? " " : "",
                   group && argc > 1 ? argv[1] : "");
    (void)fprintf(stderr, "flotilla: unknown command \"%s\"", given);
    for (size_t i = 0; i < cli_command_count(); i++) {
        if (flags_resemble(given, cli_command_at(i)->name)) {
            (void)fprintf(stderr, ": did you mean \"%s\"?", cli_command_at(i)->name);
            break;
        }
    }
    (void)fprintf(stderr, "\nAll commands: flotilla help%s%s\n", group ? " " : "",
                  group ? argv[0] : "");
    return CLIENT_USAGE;
}

static bool is_help(const char *word)
{
    return strcmp(word, "help") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

int cli_main(int argc, char **argv)
{
    argc--;
    argv++;
    bool help = argc > 0 && is_help(argv[0]);
    if (help) {
        argc--;
        argv++;
    }
    if (argc == 0) {
        int code = print_list(NULL);
        return help ? code : CLIENT_USAGE;
    }
    if (strcmp(argv[0], "--version") == 0) {
        static char *version[] = {NULL};
        version[0] = argv[0] + 2;
        argv = version;
    }
    for (size_t i = 0; i < cli_command_count(); i++) {
        const struct cli_command *command = cli_command_at(i);
        int words = match(command, argc, argv);
        if (words > 0) {
            char title[TITLE_MAX];
            (void)snprintf(title, sizeof(title), "flotilla %s", command->name);
            struct cli_call call = {command, title, argc - words, argv + words};
            return help ? print_help(command) : command->run(&call);
        }
    }
    if (begins_a_command(argv[0]) && (argc == 1 || is_help(argv[1]))) {
        int code = print_list(argv[0]);
        return help || argc > 1 ? code : CLIENT_USAGE;
    }
    return unknown_command(argc, argv);
}

/* ---- commands that ask a server -------------------------------------------------------------- */

int cli_begin(const struct cli_call *call, size_t min, size_t max, struct cli_work *work)
{
    *work = (struct cli_work){.call = call, .ended = true};
    work->options.timeout_s = CLIENT_TIMEOUT_S;
    work->options.index = UINT64_MAX;
    struct err_note note = {{0}};
    enum err err = flags_read(*call->command->flags, call->argc, call->argv, &work->options,
                              &work->words, &note);
    if (err != ERR_OK) {
        return cli_usage(call, "%s", note.text);
    }
    if (work->words.help) {
        return cli_help(call);
    }
    if (work->words.count < min) {
        return cli_usage(call, "usage: %s %s", call->title, call->command->args);
    }
    if (work->words.count > max) {
        return cli_usage(call, "\"%s\" is one word too many", work->words.at[max]);
    }
    if (work->options.timeout_s == 0 || work->options.timeout_s > UINT32_MAX) {
        return cli_usage(call, "--timeout: at least 1 second");
    }
    work->options.has_index = work->options.index != UINT64_MAX;
    int code = client_open(&work->client, call->title, work->options.addr, work->options.timeout_s);
    work->ended = code != CLIENT_OK;
    return code;
}

int cli_target(const struct cli_work *work, const char *prefix, const char *word,
               const char *suffix, char *dest)
{
    struct buf target;
    buf_init(&target, CLIENT_TARGET_MAX - 1);
    enum err err = buf_append(&target, bytes_of_str(prefix));
    if (err == ERR_OK) {
        err = text_percent_encode(bytes_of_str(word), "/", &target);
    }
    if (err == ERR_OK) {
        err = buf_append(&target, bytes_of_str(suffix));
    }
    if (err == ERR_OK) {
        err = bytes_to_cstr(buf_bytes(&target), dest, CLIENT_TARGET_MAX);
    }
    buf_done(&target);
    return err == ERR_OK ? CLIENT_OK : cli_usage(work->call, "\"%.40s...\" is too long", word);
}

static enum err read_all(FILE *file, struct buf *to)
{
    size_t got = 0;
    do {
        enum err err = buf_reserve(to, 1);
        if (err != ERR_OK) {
            return err;
        }
        got = fread(to->data + to->len, 1, to->cap - to->len, file);
        to->len += got;
    } while (got > 0);
    return ferror(file) != 0 ? ERR_IO : ERR_OK;
}

int cli_read_value(const struct cli_work *work, const char *word, struct buf *to)
{
    if (word[0] != '@' && strcmp(word, "-") != 0) {
        return buf_append(to, bytes_of_str(word)) == ERR_OK
                   ? CLIENT_OK
                   : cli_usage(work->call, "the value is too long");
    }
    bool is_file = word[0] == '@';
    FILE *file = is_file ? fopen(word + 1, "re") : stdin;
    if (file == NULL) {
        return client_fail(&work->client, CLIENT_FAILED, "%s: %s", word + 1,
                           strerrordesc_np(errno));
    }
    enum err err = read_all(file, to);
    int cause = errno;
    if (is_file) {
        (void)fclose(file);
    }
    const char *name = is_file ? word + 1 : "standard input";
    if (err == ERR_FULL) {
        return client_fail(&work->client, CLIENT_FAILED, "%s is longer than %zu bytes", name,
                           to->max);
    }
    return err == ERR_OK
               ? CLIENT_OK
               : client_fail(&work->client, CLIENT_FAILED, "%s: %s", name, strerrordesc_np(cause));
}
