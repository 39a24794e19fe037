/* The simulator's command line: one seed with a trace, or many seeds with what they covered.
 *
 *   sim --seed N [--profile P] [-v | -vv]         replays one run
 *   sim --seeds N [--from S] [--profile P] [--jobs J]   runs N seeds; without a profile each seed
 *                                                 has the profile that its number gives it
 *
 * FLOTILLA_TEST_SEED gives the first seed when --from random is asked for. Every tenth run is made
 * twice and must have the same fingerprint. Exit status: 0 all held; 1 something did not, with the
 * seed and the reason on the screen; 134 a CHECK of the program failed, with the seed. */
#include "sim.h"

#include "process/process.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    JOBS_MAX = 64,
    REPLAY_EVERY = 10
};

struct arguments {
    bool one;
    uint64_t from;
    uint64_t count;
    int profile; /* -1: by seed */
    int verbose;
    uint32_t jobs;
};

/* ---- arguments ------------------------------------------------------------------------------- */

static void usage(const char *why)
{
    fprintf(stderr,
            "sim: %s\n"
            "usage: sim --seed N [--profile NAME] [-v]\n"
            "       sim --seeds N [--from SEED|random] [--profile NAME] [--jobs N]\n"
            "profiles:",
            why);
    for (size_t i = 0; i < sim_profile_count(); i++) {
        fprintf(stderr, " %s", sim_profile_name(i));
    }
    fprintf(stderr, "\n");
    exit(2);
}

static uint64_t number(const char *text)
{
    char *end = NULL;
    unsigned long long value = text == NULL ? 0 : strtoull(text, &end, 10);
    if (text == NULL || end == text || *end != '\0') {
        usage("a number is wanted");
    }
    return value;
}

static uint64_t first_seed(const char *text)
{
    if (text == NULL || strcmp(text, "random") != 0) {
        return number(text);
    }
    const char *given = getenv("FLOTILLA_TEST_SEED");
    uint64_t seed = 0;
    if (given != NULL) {
        seed = number(given);
    } else {
        process_random(&seed, sizeof(seed));
    }
    return seed % 1000000000 + 1000000;
}

static void parse_option(struct arguments *args, const char *name, const char *value)
{
    if (strcmp(name, "--seed") == 0) {
        args->one = true;
        args->from = number(value);
        args->count = 1;
    } else if (strcmp(name, "--seeds") == 0) {
        args->count = number(value);
    } else if (strcmp(name, "--from") == 0) {
        args->from = first_seed(value);
    } else if (strcmp(name, "--jobs") == 0) {
        args->jobs = (uint32_t)number(value);
    } else if (strcmp(name, "--profile") == 0) {
        args->profile = value == NULL ? -1 : sim_profile_find(value);
        if (args->profile < 0) {
            usage("no such profile");
        }
    } else {
        usage("unknown option");
    }
}

static struct arguments parse(int argc, char **argv)
{
    struct arguments args = {.from = 1, .profile = -1};
    args.jobs = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "-v") == 0) {
            args.verbose = 1;
        } else if (strcmp(argv[i], "-vv") == 0) {
            args.verbose = 2;
        } else {
            parse_option(&args, argv[i], i + 1 < argc ? argv[i + 1] : NULL);
            i++;
        }
    }
    if (args.count == 0) {
        usage("--seed or --seeds is wanted");
    }
    args.jobs = args.jobs == 0 ? 1 : args.jobs;
    args.jobs = args.jobs > JOBS_MAX ? JOBS_MAX : args.jobs;
    return args;
}

/* ---- runs ------------------------------------------------------------------------------------ */

static void on_abort(int signal)
{
    (void)signal;
    char where[160];
    sim_describe(where, sizeof(where));
    fprintf(stdout, "ABORTED %s (replay with -v)\n", where);
    fflush(stdout);
    _exit(134);
}

static size_t profile_of(const struct arguments *args, uint64_t seed)
{
    return args->profile >= 0 ? (size_t)args->profile : (size_t)(seed % sim_profile_count());
}

static void run_seed(const struct arguments *args, uint64_t seed, struct sim_coverage *coverage)
{
    size_t profile = profile_of(args, seed);
    uint64_t fingerprint = sim_run(seed, profile, args->verbose, coverage);
    if (args->one) {
        printf("seed %llu profile %s: fingerprint %016llx\n", (unsigned long long)seed,
               sim_profile_name(profile), (unsigned long long)fingerprint);
    }
    if (args->one || seed % REPLAY_EVERY == 0) {
        struct sim_coverage again = {0};
        if (sim_run(seed, profile, 0, &again) != fingerprint) {
            printf("VIOLATION seed %llu profile %s: a second run differs\n",
                   (unsigned long long)seed, sim_profile_name(profile));
            exit(1);
        }
    }
}

/* Shared with the workers. */
struct board {
    struct sim_coverage coverage[JOBS_MAX];
};

static void work(const struct arguments *args, uint32_t job, struct board *board)
{
    for (uint64_t i = job; i < args->count; i += args->jobs) {
        run_seed(args, args->from + i, &board->coverage[job]);
    }
}

static void sum(struct sim_coverage *total, const struct sim_coverage *part)
{
    /* Nothing but counters. */
    uint64_t *to = (uint64_t *)(void *)total;
    const uint64_t *from = (const uint64_t *)(const void *)part;
    for (size_t i = 0; i < sizeof(*total) / sizeof(*to); i++) {
        to[i] += from[i];
    }
}

_Static_assert(sizeof(struct sim_coverage) % sizeof(uint64_t) == 0, "counters only");

/* ---- what was covered ------------------------------------------------------------------------ */

static double seconds(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void print_counter(const char *name, uint64_t count)
{
    printf("  %-24s %12llu\n", name, (unsigned long long)count);
}

static void print_coverage(const struct sim_coverage *c, double took)
{
    printf("%llu runs, %.0f s of virtual time, %llu steps in %.1f s: %.1f seeds/s\n",
           (unsigned long long)c->runs, (double)c->virtual_ms / 1e3, (unsigned long long)c->steps,
           took, (double)c->runs / took);
    for (int i = 0; i < SIM_FAULTS; i++) {
        print_counter(sim_fault_name((enum sim_fault)i), c->faults[i]);
    }
    print_counter("dooms met", c->dooms);
    print_counter("frames", c->frames);
    print_counter("frames lost", c->frames_lost);
    print_counter("frames doubled", c->frames_doubled);
    print_counter("frames reordered", c->frames_reordered);
    print_counter("connections", c->connections);
    print_counter("distrusted", c->distrusted);
    print_counter("elections", c->elections);
    print_counter("starts", c->starts);
    print_counter("torn tails", c->torn);
    print_counter("damaged groups", c->damaged);
    print_counter("repairs", c->repairs);
    print_counter("leaders left a hanging disk", c->gave_way);
    print_counter("snapshots written", c->snapshots_written);
    print_counter("snapshots sent", c->snapshots_sent);
    print_counter("snapshots installed", c->snapshots_installed);
    print_counter("entries committed", c->entries);
    print_counter("writes acknowledged", c->writes_ok);
    print_counter("writes refused", c->writes_refused);
    print_counter("writes unknown", c->writes_unknown);
    print_counter("consistent reads", c->reads_ok);
    print_counter("reads failed", c->reads_failed);
    print_counter("stale reads", c->stale_reads);
    print_counter("histories undecided", c->undecided);
}

/* ---- many seeds ------------------------------------------------------------------------------ */

/* The exit status of the first worker that failed; the others are stopped. */
static int wait_for(const pid_t *workers, uint32_t count)
{
    int result = 0;
    for (uint32_t left = count; left > 0; left--) {
        int status = 0;
        pid_t ended = wait(&status);
        if (ended < 0) {
            break;
        }
        int code = WIFEXITED(status) ? WEXITSTATUS(status) : 134;
        if (code != 0 && result == 0) {
            result = code;
            for (uint32_t i = 0; i < count; i++) {
                if (workers[i] != ended) {
                    (void)kill(workers[i], SIGTERM);
                }
            }
        }
    }
    return result;
}

static int run_jobs(const struct arguments *args, struct board *board)
{
    pid_t workers[JOBS_MAX];
    for (uint32_t job = 0; job < args->jobs; job++) {
        workers[job] = fork();
        if (workers[job] < 0) {
            perror("sim: fork");
            return 2;
        }
        if (workers[job] == 0) {
            work(args, job, board);
            fflush(stdout);
            _exit(0);
        }
    }
    return wait_for(workers, args->jobs);
}

int main(int argc, char **argv)
{
    struct arguments args = parse(argc, argv);
    (void)signal(SIGABRT, on_abort);
    struct board *board =
        mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (board == MAP_FAILED) {
        perror("sim: mmap");
        return 2;
    }
    double started = seconds();
    if (args.one) {
        run_seed(&args, args.from, &board->coverage[0]);
        return 0;
    }
    printf("seeds %llu to %llu\n", (unsigned long long)args.from,
           (unsigned long long)(args.from + args.count - 1));
    fflush(stdout);
    int result = run_jobs(&args, board);
    struct sim_coverage total = {0};
    for (uint32_t job = 0; job < args.jobs; job++) {
        sum(&total, &board->coverage[job]);
    }
    print_coverage(&total, seconds() - started);
    return result;
}
