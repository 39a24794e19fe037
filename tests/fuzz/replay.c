/* Runs a fuzz target without libFuzzer: every seed of a folder, and small changes of each from a
 * fixed seed.
 *
 * Place: tests/fuzz; linked with one fuzz_NAME.c in the normal profiles, so that the seeds are
 * checked by every compiler and with every sanitizer. Usage: replay_NAME FOLDER. Exit status 0: all
 * inputs passed (a target aborts on a failure, and the name of the seed was printed before). */
#include "bytes/bytes.h"
#include "mem/mem.h"
#include "rnd/rnd.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    SEED_SIZE_MAX = 1 << 16,
    CHANGES = 150
};

/* Gives the target an allocation of exactly this size. */
static void run_exact(struct bytes input)
{
    uint8_t *copy = mem_alloc(input.len > 0 ? input.len : 1);
    memcpy(copy, input.data, input.len);
    LLVMFuzzerTestOneInput(copy, input.len);
    mem_free(copy);
}

/* One to three of: another byte, a byte less, a byte doubled, a cut end. Returns the new length. */
static size_t change(struct rnd *rnd, uint8_t *data, size_t len)
{
    static const uint8_t telling[] = {'\r', '\n', ' ', '\t', ':',  ',',
                                      ';',  '"',  '0', 0,    0x7f, 0x80};
    for (uint64_t left = rnd_range(rnd, 1, 3); left > 0 && len > 1; --left) {
        size_t at = 1 + (size_t)rnd_below(rnd, len - 1);
        switch (rnd_below(rnd, 5)) {
        case 0:
            data[at] = (uint8_t)rnd_below(rnd, 256);
            break;
        case 1:
            data[at] = telling[rnd_below(rnd, sizeof(telling))];
            break;
        case 2:
            memmove(data + at, data + at + 1, len - at - 1);
            --len;
            break;
        case 3:
            memmove(data + at + 1, data + at, len - at);
            ++len;
            break;
        default:
            len = at;
            break;
        }
    }
    return len;
}

static void run_seed(const char *path, const char *name)
{
    static uint8_t seed[SEED_SIZE_MAX];
    static uint8_t changed[SEED_SIZE_MAX + 8];
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fprintf(stderr, "%s: cannot be opened\n", path);
        exit(1);
    }
    size_t len = fread(seed, 1, sizeof(seed), file);
    fclose(file);
    fprintf(stderr, "seed %s\n", name);
    run_exact((struct bytes){seed, len});
    struct rnd rnd;
    rnd_init(&rnd, len);
    for (int i = 0; i < CHANGES; ++i) {
        memcpy(changed, seed, len);
        run_exact((struct bytes){changed, change(&rnd, changed, len)});
    }
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    DIR *folder = opendir(argv[1]);
    if (folder == NULL) {
        fprintf(stderr, "%s: cannot be opened\n", argv[1]);
        return 1;
    }
    unsigned seeds = 0;
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        char path[4096];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof(path), "%s/%s", argv[1], entry->d_name);
        run_seed(path, entry->d_name);
        ++seeds;
    }
    closedir(folder);
    fprintf(stderr, "%u seeds passed\n", seeds);
    return seeds > 0 ? 0 : 1;
}
