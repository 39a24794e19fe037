/* flotilla secret new and rotate: work on a file, ask no server. */
#include "cli/cli_priv.h"
#include "secret/secret.h"

#include <stdio.h>
#include <string.h>

enum {
    WORDS_MAX = 2
};

/* Words after the command's name. Nonzero: it has ended with *ret_code. */
static bool read_words(const struct cli_call *call, size_t min, size_t max,
                       struct flag_words *ret_words, int *ret_code)
{
    struct cli_options options = {.json = false};
    struct err_note note = {{0}};
    *ret_code = CLIENT_OK;
    if (flags_read(*call->command->flags, call->argc, call->argv, &options, ret_words, &note) !=
        ERR_OK) {
        *ret_code = cli_usage(call, "%s", note.text);
        return true;
    }
    if (ret_words->help) {
        *ret_code = cli_help(call);
        return true;
    }
    if (ret_words->count < min) {
        *ret_code = cli_usage(call, "usage: %s %s", call->title, call->command->args);
        return true;
    }
    if (ret_words->count > max) {
        *ret_code = cli_usage(call, "\"%s\" is one word too many", ret_words->at[max]);
        return true;
    }
    return false;
}

static int failed(const struct cli_call *call, enum err err, const struct err_note *note)
{
    (void)fprintf(stderr, "%s: %s\n", call->title,
                  note->text[0] == '\0' ? err_text(err) : note->text);
    return CLIENT_FAILED;
}

int cli_secret_new(const struct cli_call *call)
{
    struct flag_words words;
    int code = CLIENT_OK;
    if (read_words(call, 0, 1, &words, &code)) {
        return code;
    }
    struct secret_ring ring = {.count = 1};
    struct err_note note = {{0}};
    secret_make(&ring.at[0]);
    if (words.count == 1) {
        enum err err = secret_file_new(words.at[0], &ring, &note);
        code = err == ERR_OK ? CLIENT_OK : failed(call, err, &note);
    } else {
        char text[SECRET_TEXT_MAX];
        secret_format(&ring.at[0], text);
        bool printed = printf("%s\n", text) > 0 && fflush(stdout) == 0;
        explicit_bzero(text, sizeof(text));
        code = printed ? CLIENT_OK : CLIENT_FAILED;
    }
    secret_forget(&ring);
    return code;
}

/* What is to be done now, so that the next step may be taken. */
static const struct {
    const char *word;
    enum secret_step step;
    const char *then;
} STEPS[] = {
    {"add", SECRET_ADD,
     "A new secret is in line 2: it is accepted, not used yet.\n"
     "Now copy this file to every node, mode 600, and send SIGHUP to each flotilla server.\n"
     "When all have it: flotilla secret rotate FILE switch\n"},
    {"switch", SECRET_SWITCH,
     "The new secret is in line 1 and is used; the old one is still accepted.\n"
     "Now copy this file to every node, mode 600, and send SIGHUP to each flotilla server.\n"
     "When all have it: flotilla secret rotate FILE drop\n"},
    {"drop", SECRET_DROP,
     "Line 2 is gone; the secret that was in it is not accepted any more.\n"
     "Now copy this file to every node, mode 600, and send SIGHUP to each flotilla server.\n"},
};

int cli_secret_rotate(const struct cli_call *call)
{
    struct flag_words words;
    int code = CLIENT_OK;
    if (read_words(call, WORDS_MAX, WORDS_MAX, &words, &code)) {
        return code;
    }
    size_t at = 0;
    size_t count = sizeof(STEPS) / sizeof(STEPS[0]);
    while (at < count && strcmp(words.at[1], STEPS[at].word) != 0) {
        at++;
    }
    if (at == count) {
        return cli_usage(call, "\"%s\" is not add, switch or drop", words.at[1]);
    }
    struct secret_ring ring = {0};
    struct err_note note = {{0}};
    enum err err = secret_file_read(words.at[0], &ring, &note);
    if (err == ERR_OK) {
        err = secret_rotate(&ring, STEPS[at].step, &note);
    }
    if (err == ERR_OK) {
        err = secret_file_replace(words.at[0], &ring, &note);
    }
    secret_forget(&ring);
    if (err != ERR_OK) {
        return failed(call, err, &note);
    }
    bool printed = fputs(STEPS[at].then, stdout) >= 0 && fflush(stdout) == 0;
    return printed ? CLIENT_OK : CLIENT_FAILED;
}
