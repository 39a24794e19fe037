/* Reading arguments by a table, and guessing what was meant. */
#include "flags/flags.h"

#include "text/text.h"

#include <stdio.h>
#include <string.h>

enum {
    WORD_MAX = 32, /* for distances, with the terminating zero */
    NAME_MAX_BYTES = 64,
    FLAG_COLUMN = 28
};

/* ---- distance -------------------------------------------------------------------------------- */

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* Optimal string alignment: Levenshtein's rows, and one row more for swapped neighbours. */
unsigned flags_distance(const char *a, const char *b)
{
    size_t a_len = strlen(a);
    size_t b_len = strlen(b);
    if (a_len >= WORD_MAX || b_len >= WORD_MAX) {
        return WORD_MAX;
    }
    unsigned rows[3][WORD_MAX];
    for (size_t j = 0; j <= b_len; j++) {
        rows[0][j] = (unsigned)j;
        rows[2][j] = 0;
    }
    for (size_t i = 1; i <= a_len; i++) {
        unsigned *row = rows[i % 3];
        const unsigned *above = rows[(i + 2) % 3];
        const unsigned *two_above = rows[(i + 1) % 3];
        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_len; j++) {
            unsigned replaced = above[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
            row[j] = least(replaced, least(above[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                row[j] = least(row[j], two_above[j - 2] + 1);
            }
        }
    }
    return rows[a_len % 3][b_len];
}

bool flags_resemble(const char *word, const char *known)
{
    unsigned distance = flags_distance(word, known);
    return distance <= 1 || distance * 3 <= strlen(known);
}

/* ---- setting --------------------------------------------------------------------------------- */

static const struct flag *find_flag(struct flag_table table, const char *name)
{
    for (size_t i = 0; i < table.count; i++) {
        if (strcmp(table.flags[i].name, name) == 0) {
            return &table.flags[i];
        }
    }
    return NULL;
}

static const struct flag *nearest_flag(struct flag_table table, const char *name)
{
    const struct flag *best = NULL;
    unsigned best_distance = WORD_MAX;
    for (size_t i = 0; i < table.count; i++) {
        unsigned distance = flags_distance(name, table.flags[i].name);
        if (distance < best_distance && flags_resemble(name, table.flags[i].name)) {
            best = &table.flags[i];
            best_distance = distance;
        }
    }
    return best;
}

static enum err set_value(const struct flag *flag, const char *text, void *object,
                          struct err_note *note)
{
    void *to = (uint8_t *)object + flag->offset;
    if (flag->kind == FLAG_TEXT) {
        *(const char **)to = text;
        return ERR_OK;
    }
    if (flag->kind == FLAG_SWITCH) {
        bool yes = strcmp(text, "true") == 0;
        if (!yes && strcmp(text, "false") != 0) {
            return err_note_set(note, ERR_BAD_INPUT, "\"%s\" is neither true nor false", text);
        }
        *(bool *)to = yes;
        return ERR_OK;
    }
    uint64_t number = 0;
    if (text_parse_u64(bytes_of_str(text), &number) != ERR_OK) {
        return err_note_set(note, ERR_BAD_INPUT, "\"%s\" is not a whole number", text);
    }
    *(uint64_t *)to = number;
    return ERR_OK;
}

enum err flags_set(struct flag_table table, const char *name, const char *text, void *object,
                   struct err_note *note)
{
    const struct flag *flag = find_flag(table, name);
    if (flag != NULL) {
        enum err err = set_value(flag, text, object, note);
        return err == ERR_OK ? err : err_note_wrap(note, err, "%s", name);
    }
    const struct flag *near = nearest_flag(table, name);
    if (near != NULL) {
        return err_note_set(note, ERR_NOT_FOUND, "unknown name \"%s\": did you mean \"%s\"?", name,
                            near->name);
    }
    return err_note_set(note, ERR_NOT_FOUND, "unknown name \"%s\"", name);
}

/* ---- arguments ------------------------------------------------------------------------------- */

struct scan {
    struct flag_table table;
    int argc;
    char **argv;
    int next;
    void *object;
    struct flag_words *words;
    struct err_note *note;
};

static enum err unknown_flag(const struct scan *scan, const char *name)
{
    const struct flag *near = nearest_flag(scan->table, name);
    if (near != NULL) {
        return err_note_set(scan->note, ERR_BAD_INPUT, "unknown flag --%s: did you mean --%s?",
                            name, near->name);
    }
    return err_note_set(scan->note, ERR_BAD_INPUT, "unknown flag --%s", name);
}

static enum err scan_flag(struct scan *scan, const char *text)
{
    const char *equals = strchr(text, '=');
    size_t len = equals == NULL ? strlen(text) : (size_t)(equals - text);
    char name[NAME_MAX_BYTES];
    if (bytes_to_cstr(bytes_of(text, len), name, sizeof(name)) != ERR_OK) {
        return err_note_set(scan->note, ERR_BAD_INPUT, "unknown flag --%.40s...", text);
    }
    const struct flag *flag = find_flag(scan->table, name);
    if (flag == NULL) {
        return unknown_flag(scan, name);
    }
    const char *value = equals == NULL ? NULL : equals + 1;
    if (value == NULL && flag->kind == FLAG_SWITCH) {
        value = "true";
    } else if (value == NULL) {
        if (scan->next == scan->argc) {
            return err_note_set(scan->note, ERR_BAD_INPUT, "--%s needs a value: --%s %s", name,
                                name, flag->value);
        }
        value = scan->argv[scan->next++];
    }
    enum err err = set_value(flag, value, scan->object, scan->note);
    return err == ERR_OK ? err : err_note_wrap(scan->note, err, "--%s", name);
}

static enum err scan_word(struct scan *scan, const char *text)
{
    if (scan->words->count == FLAGS_WORDS_MAX) {
        return err_note_set(scan->note, ERR_BAD_INPUT, "too many words, beginning with \"%s\"",
                            text);
    }
    scan->words->at[scan->words->count++] = text;
    return ERR_OK;
}

static bool asks_for_help(int argc, char **argv)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            return true;
        }
    }
    return false;
}

enum err flags_read(struct flag_table table, int argc, char **argv, void *object,
                    struct flag_words *ret_words, struct err_note *note)
{
    *ret_words = (struct flag_words){.help = asks_for_help(argc, argv)};
    struct scan scan = {table, argc, argv, 0, object, ret_words, note};
    enum err err = ERR_OK;
    bool only_words = false;
    while (!ret_words->help && err == ERR_OK && scan.next < argc) {
        const char *text = argv[scan.next++];
        if (only_words || text[0] != '-' || text[1] == '\0') {
            err = scan_word(&scan, text);
        } else if (strcmp(text, "--") == 0) {
            only_words = true;
        } else if (text[1] == '-') {
            err = scan_flag(&scan, text + 2);
        } else {
            err = err_note_set(note, ERR_BAD_INPUT, "unknown flag %s: flags begin with --", text);
        }
    }
    return err;
}

enum err flags_describe(struct flag_table table, struct buf *to)
{
    enum err err = ERR_OK;
    for (size_t i = 0; i < table.count && err == ERR_OK; i++) {
        const struct flag *flag = &table.flags[i];
        char left[NAME_MAX_BYTES];
        (void)snprintf(left, sizeof(left), "--%s%s%s", flag->name, flag->value == NULL ? "" : " ",
                       flag->value == NULL ? "" : flag->value);
        err = buf_printf(to, "  %-*s %s\n", FLAG_COLUMN, left, flag->help);
    }
    return err;
}
