/* Flags: one table per command says which flags there are; argument lists, configuration files and
 * help texts are all read off it.
 *
 * Place: app. Accepted: --name VALUE, --name=VALUE, switches --name, flags and plain words in any
 * order; after "--" everything is a plain word. A plain "-" is a word. Names are exact; a misspelt
 * one is refused with the nearest known name. */
#ifndef FLAGS_FLAGS_H
#define FLAGS_FLAGS_H

#include "bytes/bytes.h"
#include "err/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum flag_kind {
    FLAG_TEXT,   /* const char *, borrowed from the arguments */
    FLAG_NUMBER, /* uint64_t */
    FLAG_SWITCH, /* bool */
};

struct flag {
    const char *name; /* without dashes */
    enum flag_kind kind;
    const char *value; /* what the help shows after the name; NULL for a switch */
    const char *help;
    size_t offset; /* of the variable inside the object that flags_read fills */
};

struct flag_table {
    const struct flag *flags;
    size_t count;
};

/* Plain words. */
enum {
    FLAGS_WORDS_MAX = 16
};

struct flag_words {
    const char *at[FLAGS_WORDS_MAX];
    size_t count;
    bool help; /* --help or -h was among the arguments */
};

/* Reads argv[0..argc) into object, which holds the defaults. ERR_BAD_INPUT with a note that names
 * the flag. When --help is met, nothing else is complained about. */
ERR_CHECKED enum err flags_read(struct flag_table table, int argc, char **argv, void *object,
                                struct flag_words *ret_words, struct err_note *note);
/* Sets one flag by name; text is borrowed for the life of object. ERR_NOT_FOUND: no such flag (the
 * note proposes the nearest one), ERR_BAD_INPUT. A switch takes "true" and "false". */
ERR_CHECKED enum err flags_set(struct flag_table table, const char *name, const char *text,
                               void *object, struct err_note *note);
/* Prints one line per flag into `to`. ERR_FULL. */
ERR_CHECKED enum err flags_describe(struct flag_table table, struct buf *to);

/* How many letters two words differ by (insertions, deletions, replacements, swapped
 * neighbours); words over 31 bytes are as far as can be. */
unsigned flags_distance(const char *a, const char *b);
/* Whether `word` is probably a misspelling of `known`. */
bool flags_resemble(const char *word, const char *known);

#endif
