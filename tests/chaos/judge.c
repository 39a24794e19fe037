/* Judges a history of operations: is each key's linearizable?
 *
 *   judge FILE
 *
 * An operation a line: CLIENT INVOKED RETURNED KIND KEY VALUE RESULT. Times in nanoseconds of one
 * clock; RETURNED is ? when nobody knows the outcome. KIND is read, write or cas; KEY a number.
 * VALUE is a number, 0: not there; of a cas OLD:NEW. RESULT is ok, no (a cas that found another
 * value) or ?. Lines that begin with # are skipped.
 *
 * Exit status: 0 linearizable, 1 not, 2 the file is not a history, 3 undecided. */
#include "linear.h"

#include "mem/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    OPS_MAX = 20000000,
    LINE_MAX_BYTES = 256
};

struct entry {
    uint64_t key;
    struct linear_op op;
};

struct history {
    struct entry *entries;
    size_t count;
    size_t cap;
};

/* ---- reading --------------------------------------------------------------------------------- */

static bool read_kind(const char *kind, const char *value, struct linear_op *ret_op)
{
    int end = 0;
    if (strcmp(kind, "cas") == 0) {
        ret_op->kind = LINEAR_CAS;
        return sscanf(value, "%lu:%lu%n", &ret_op->expect, &ret_op->value, &end) == 2 &&
               value[end] == '\0';
    }
    ret_op->kind = strcmp(kind, "read") == 0 ? LINEAR_READ : LINEAR_WRITE;
    return (ret_op->kind == LINEAR_READ || strcmp(kind, "write") == 0) &&
           sscanf(value, "%lu%n", &ret_op->value, &end) == 1 && value[end] == '\0';
}

static bool read_outcome(const char *returned, const char *result, struct linear_op *ret_op)
{
    int end = 0;
    ret_op->known = strcmp(returned, "?") != 0;
    if (!ret_op->known) {
        return strcmp(result, "?") == 0;
    }
    ret_op->done = strcmp(result, "ok") == 0;
    return sscanf(returned, "%lu%n", &ret_op->returned, &end) == 1 && returned[end] == '\0' &&
           ret_op->returned >= ret_op->invoked &&
           (ret_op->done || (ret_op->kind == LINEAR_CAS && strcmp(result, "no") == 0));
}

static bool read_line(const char *line, struct entry *ret_entry)
{
    char client[32];
    char returned[32];
    char kind[16];
    char value[64];
    char result[8];
    char more = '\0';
    int fields = sscanf(line, "%31s %lu %31s %15s %lu %63s %7s %c", client, &ret_entry->op.invoked,
                        returned, kind, &ret_entry->key, value, result, &more);
    return fields == 7 && read_kind(kind, value, &ret_entry->op) &&
           read_outcome(returned, result, &ret_entry->op);
}

static void add(struct history *history, const struct entry *entry)
{
    if (history->count == history->cap) {
        history->cap = history->cap == 0 ? 1024 : 2 * history->cap;
        history->entries = mem_resize(history->entries, history->cap * sizeof(*history->entries));
    }
    history->entries[history->count++] = *entry;
}

static bool read_history(FILE *file, struct history *history)
{
    char line[LINE_MAX_BYTES];
    size_t number = 0;
    while (fgets(line, sizeof(line), file) != NULL) {
        struct entry entry = {0};
        number++;
        if (line[0] == '#') {
            continue;
        }
        if (!read_line(line, &entry) || history->count == OPS_MAX) {
            (void)fprintf(stderr, "judge: line %zu is not an operation, or one too many\n", number);
            return false;
        }
        add(history, &entry);
    }
    return ferror(file) == 0;
}

/* ---- judging --------------------------------------------------------------------------------- */

static int by_key_and_time(const void *a, const void *b)
{
    const struct entry *left = a;
    const struct entry *right = b;
    if (left->key != right->key) {
        return left->key < right->key ? -1 : 1;
    }
    return left->op.invoked < right->op.invoked ? -1 : left->op.invoked > right->op.invoked;
}

static int judge(struct history *history)
{
    static const char *const WORDS[] = {"linearizable", "NOT linearizable", "undecided"};
    size_t verdicts[3] = {0};
    struct linear_op *ops = mem_alloc_array(history->count + 1, sizeof(*ops));
    if (history->count > 0) {
        qsort(history->entries, history->count, sizeof(*history->entries), by_key_and_time);
    }
    for (size_t i = 0; i < history->count;) {
        size_t count = 0;
        uint64_t key = history->entries[i].key;
        while (i < history->count && history->entries[i].key == key) {
            ops[count++] = history->entries[i++].op;
        }
        enum linear_verdict verdict = linear_check(ops, count);
        verdicts[verdict]++;
        if (verdict != LINEAR_YES) {
            printf("key %lu, %zu operations: %s\n", key, count, WORDS[verdict]);
        }
    }
    mem_free(ops);
    printf("%zu operations; keys: %zu linearizable, %zu not, %zu undecided\n", history->count,
           verdicts[LINEAR_YES], verdicts[LINEAR_NO], verdicts[LINEAR_UNDECIDED]);
    if (verdicts[LINEAR_NO] > 0) {
        return 1;
    }
    return verdicts[LINEAR_UNDECIDED] > 0 ? 3 : 0;
}

int main(int argc, char **argv)
{
    struct history history = {0};
    FILE *file = argc == 2 ? fopen(argv[1], "re") : NULL;
    if (file == NULL) {
        (void)fprintf(stderr, "usage: judge FILE (which must be readable)\n");
        return 2;
    }
    bool good = read_history(file, &history);
    (void)fclose(file);
    int status = good ? judge(&history) : 2;
    mem_free(history.entries);
    return status;
}
