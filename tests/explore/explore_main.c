/* Exploration: arguments, the named bounds, the result.
 *
 *   explore                      all bounds, one after the other
 *   explore --quick              the small ones among them (part of ./test)
 *   explore --bounds NAME        these only
 *   explore --mutants            all, each only as far as a bug put in on purpose needs
 *   explore --script FILE        one order of events, told (explore_script.c)
 *   options: --seconds N, --states N (per bounds), --audit, --no-symmetry
 *
 * Exit status: 0 when all invariants hold (also when the limits ended the search), 1 when one does
 * not, 2 for wrong arguments. */
#include "explore.h"

#include "text/text.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum when {
    QUICK,
    FULL,
};

struct plan {
    struct ex_bounds bounds;
    enum when when;
};

/* clang-format off */
static const struct plan plans[] = {
    /*  name           terms time heart crash copies prop reads net batch */
    {{"votes",         2,    1,   0,    0,    1,     0,   0,    6,  1}, QUICK},
    {{"votes-crash",   2,    1,   0,    1,    0,     0,   0,    6,  1}, QUICK},
    {{"two-crashes",   2,    1,   0,    2,    0,     0,   0,    5,  1}, QUICK},
    {{"candidates",    2,    2,   0,    0,    0,     0,   0,    6,  1}, FULL},
    {{"proposal",      2,    1,   0,    0,    0,     1,   0,    4,  1}, QUICK},
    {{"read",          2,    1,   0,    0,    0,     0,   1,    4,  1}, QUICK},
    {{"proposal-crash",2,    1,   0,    1,    0,     1,   0,    4,  1}, FULL},
    {{"proposal-copy", 2,    1,   0,    0,    1,     1,   0,    4,  1}, FULL},
    {{"two-votes",     2,    2,   0,    1,    0,     0,   0,    4,  1}, FULL},
    {{"two-proposals", 2,    1,   0,    0,    0,     2,   0,    3,  1}, FULL},
    {{"two-terms",     3,    2,   0,    0,    0,     0,   0,    3,  1}, FULL},
    {{"two-terms-read",3,    2,   0,    0,    0,     0,   1,    2,  1}, FULL},
    {{"two-terms-crash",3,   2,   0,    1,    0,     0,   0,    2,  1}, FULL},
    {{"three-terms",   4,    3,   0,    0,    0,     0,   0,    2,  1}, FULL},
    {{"wide",          4,    3,   1,    1,    1,     2,   1,    8,  2}, FULL},
};

/* clang-format on */

enum {
    MUTANT_STATES = 2200 * 1000, /* enough for what ends and for the mutants of mutants.txt */
    SCRIPT_BATCH = 1,            /* entries per append, so that a script can stop between two */
    PLAN_COUNT = sizeof(plans) / sizeof(plans[0])
};

struct options {
    const char *only;
    const char *script;
    double seconds;
    uint64_t states_max;
    bool quick;
    bool audit;
    bool symmetric;
};

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void print_bounds(const struct ex_bounds *b)
{
    printf("%s: %u terms, %u timeouts, %u heartbeats, %u crashes, %u copies, %u proposals, "
           "%u reads, %u messages in flight, %u entries per append\n",
           b->name, b->terms, b->timeouts, b->heartbeats, b->crashes, b->copies, b->proposals,
           b->reads, b->net_max, b->batch);
    fflush(stdout);
}

/* Whether the invariants held. */
static bool run(const struct ex_bounds *b, const struct options *options)
{
    print_bounds(b);
    ex_node_setup(b->batch);
    double began = seconds_now();
    struct ex_result r = ex_search(b, options->states_max, options->seconds, options->symmetric);
    double took = seconds_now() - began;
    printf("  %llu distinct states, %llu transitions, depth %u, %.1f s, %.0f states/s, complete %s",
           (unsigned long long)r.states, (unsigned long long)r.transitions, r.depth, took,
           (double)r.states / took, r.complete ? "yes" : "no");
    if (r.lost_full > 0) {
        printf(", %llu messages found the net full", (unsigned long long)r.lost_full);
    }
    printf("\n");
    fflush(stdout);
    return r.violation == NULL;
}

static bool number_option(const char *name, int argc, char **argv, int *at, uint64_t *ret_number)
{
    if (strcmp(argv[*at], name) != 0 || *at + 1 >= argc) {
        return false;
    }
    char *end;
    *ret_number = strtoull(argv[++*at], &end, 10);
    return *end == 0;
}

static bool parse(int argc, char **argv, struct options *o)
{
    for (int i = 1; i < argc; i++) {
        uint64_t seconds;
        if (strcmp(argv[i], "--quick") == 0) {
            o->quick = true;
        } else if (strcmp(argv[i], "--mutants") == 0) {
            o->states_max = MUTANT_STATES;
        } else if (strcmp(argv[i], "--audit") == 0) {
            o->audit = true;
        } else if (strcmp(argv[i], "--no-symmetry") == 0) {
            o->symmetric = false;
        } else if (strcmp(argv[i], "--bounds") == 0 && i + 1 < argc) {
            o->only = argv[++i];
        } else if (strcmp(argv[i], "--script") == 0 && i + 1 < argc) {
            o->script = argv[++i];
        } else if (number_option("--seconds", argc, argv, &i, &seconds)) {
            o->seconds = (double)seconds;
        } else if (!number_option("--states", argc, argv, &i, &o->states_max)) {
            return false;
        }
    }
    return true;
}

static int run_script(const char *path)
{
    FILE *script = fopen(path, "r");
    if (script == NULL) {
        fprintf(stderr, "explore: cannot open %s\n", path);
        return 2;
    }
    ex_node_setup(SCRIPT_BATCH);
    bool good = ex_run_script(script);
    fclose(script);
    return good ? 0 : 1;
}

int main(int argc, char **argv)
{
    struct options o = {.seconds = 600, .states_max = 40u * 1000 * 1000, .symmetric = true};
    if (!parse(argc, argv, &o)) {
        fprintf(stderr, "explore: see the head of tests/explore/explore_main.c\n");
        return 2;
    }
    ex_table_init(o.audit);
    if (o.script != NULL) {
        return run_script(o.script);
    }
    uint32_t ran = 0;
    bool good = true;
    for (uint32_t i = 0; i < PLAN_COUNT && good; i++) {
        const struct plan *p = &plans[i];
        bool chosen =
            o.only != NULL ? strcmp(o.only, p->bounds.name) == 0 : p->when == QUICK || !o.quick;
        if (chosen) {
            ran++;
            good = run(&p->bounds, &o);
        }
    }
    if (o.audit && ex_table_audit() > 0) {
        printf("AUDIT: states with one hash do different things\n");
        good = false;
    }
    ex_table_numbers(stdout);
    return ran == 0 ? 2 : (good ? 0 : 1);
}
