/* The processes of a dev run: what they are started with, and what happens when one ends. */
#include "check/check.h"
#include "dev/dev_priv.h"
#include "mem/mem.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    TEXTS_CHUNK = 2048,
    TEXTS_MAX = 16 * 1024,
    BACKOFF_MS = 250, /* doubled with every quick death */
    BACKOFF_DOUBLINGS_MAX = 5,
    QUICK_S = 10,       /* who lives longer begins with the shortest back-off again */
    FIRST_MOMENTS_S = 3 /* who fails in them at its first start was started wrongly */
};

/* ---- arguments ------------------------------------------------------------------------------- */

/* Appends an argument, printf style. */
static void add(struct dev_child *child, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void add(struct dev_child *child, const char *format, ...)
{
    size_t at = 0;
    while (child->argv[at] != NULL) {
        at++;
    }
    char text[DEV_PATH_MAX * 2];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    char *copy = arena_alloc(&child->texts, (size_t)len + 1);
    CHECK(len >= 0 && (size_t)len < sizeof(text) && copy != NULL && at + 1 < DEV_ARGS_MAX);
    memcpy(copy, text, (size_t)len + 1);
    child->argv[at] = copy;
}

static struct dev_child *new_child(struct dev *dev, enum dev_kind kind, const char *name)
{
    CHECK(dev->child_count < DEV_CHILDREN_MAX);
    struct dev_child *child = &dev->children[dev->child_count++];
    child->dev = dev;
    child->kind = kind;
    (void)snprintf(child->name, sizeof(child->name), "%s", name);
    arena_init(&child->texts, TEXTS_CHUNK, TEXTS_MAX);
    return child;
}

enum err dev_child_node(struct dev *dev, uint32_t number, struct err_note *note)
{
    char name[16];
    char peers[DEV_NODES_MAX * (DEV_ADDR_MAX + 4)] = "";
    (void)snprintf(name, sizeof(name), "n%u", number + 1);
    for (uint32_t i = 0; i < dev->node_count; i++) {
        size_t len = strlen(peers);
        (void)snprintf(peers + len, sizeof(peers) - len, "%s%u=%s", i == 0 ? "" : ",", i + 1,
                       dev->places[i].peer);
    }
    const struct dev_place *place = &dev->places[number];
    struct dev_child *child = new_child(dev, DEV_NODE, name);
    if (snprintf(child->output, sizeof(child->output), "%s/flotilla.log", place->dir) >=
        (int)sizeof(child->output)) {
        return err_note_set(note, ERR_FULL, "the path of the data directory is too long");
    }
    add(child, "%s", dev->exe);
    add(child, "server");
    add(child, "--id=%u", number + 1);
    add(child, "--name=%s", name);
    add(child, "--data=%s", place->dir);
    add(child, "--http=%s", place->http);
    add(child, "--gateway=%s", place->gateway);
    add(child, "--peer-listen=%s", place->peer);
    add(child, "--peers=%s", peers);
    if (dev->secret_file[0] != '\0') {
        add(child, "--secret-file=%s", dev->secret_file);
    }
    add(child, "--loop=%s", dev->options.loop);
    add(child, "--edges=%llu", (unsigned long long)dev->options.edges);
    add(child, "--log-level=%s", dev->options.log_level);
    add(child, "--access-log=%s/access.log", place->dir);
    return ERR_OK;
}

/* ---- the demo's services --------------------------------------------------------------------- */

/* Whether PATH has a program of this name. */
static bool is_installed(const char *name)
{
    const char *path = getenv("PATH");
    struct bytes rest = bytes_of_str(path == NULL ? "/usr/bin:/bin" : path);
    while (rest.len > 0) {
        size_t colon = bytes_find(rest, ':');
        char file[DEV_PATH_MAX];
        int len =
            snprintf(file, sizeof(file), "%.*s/%s", (int)colon, (const char *)rest.data, name);
        if (len > 0 && (size_t)len < sizeof(file) && access(file, X_OK) == 0) {
            return true;
        }
        rest = bytes_from(rest, colon < rest.len ? colon + 1 : colon);
    }
    return false;
}

/* Beside the build directory, or where make install puts it. */
static enum err find_demo(struct dev *dev, struct err_note *note)
{
    static const char *const PLACES[] = {"/../demo", "/../share/flotilla/demo"};
    const char *slash = strrchr(dev->exe, '/');
    int len = slash == NULL ? 0 : (int)(slash - dev->exe);
    for (size_t i = 0; i < sizeof(PLACES) / sizeof(PLACES[0]); i++) {
        char file[DEV_PATH_MAX * 2];
        (void)snprintf(file, sizeof(file), "%.*s%s/hello.py", len, dev->exe, PLACES[i]);
        if (access(file, R_OK) == 0 && strlen(file) < sizeof(dev->demo_dir)) {
            (void)snprintf(dev->demo_dir, sizeof(dev->demo_dir), "%.*s%s", len, dev->exe,
                           PLACES[i]);
            return ERR_OK;
        }
    }
    return err_note_set(
        note, ERR_NOT_FOUND,
        "--demo: hello.py is neither in ../demo nor in ../share/flotilla/demo of %s", dev->exe);
}

static void add_service(struct dev *dev, const char *name, const char *interpreter,
                        const char *script)
{
    struct dev_child *child = new_child(dev, DEV_SERVICE, name);
    (void)snprintf(child->output, sizeof(child->output), "%.200s/%s.log", dev->dir, name);
    add(child, "%s", interpreter);
    add(child, "%.200s/%s", dev->demo_dir, script);
    add(child, "--id");
    add(child, "%s", name);
    add(child, "--api");
    /* All nodes: whichever answers takes the registration. */
    char api[DEV_NODES_MAX * DEV_ADDR_MAX] = "";
    for (uint32_t i = 0; i < dev->node_count; i++) {
        size_t len = strlen(api);
        (void)snprintf(api + len, sizeof(api) - len, "%s%s", i == 0 ? "" : ",",
                       dev->places[i].http);
    }
    add(child, "%s", api);
}

enum err dev_child_services(struct dev *dev, struct err_note *note)
{
    enum err err = find_demo(dev, note);
    if (err != ERR_OK) {
        return err;
    }
    if (!is_installed("python3")) {
        return err_note_set(note, ERR_NOT_FOUND,
                            "--demo: its services need python3, which is not "
                            "installed");
    }
    dev->has_node_js = is_installed("node");
    add_service(dev, "hello-1", "python3", "hello.py");
    add_service(dev, "hello-2", "python3", "hello.py");
    add_service(dev, "time-1", dev->has_node_js ? "node" : "python3",
                dev->has_node_js ? "time.js" : "hello.py");
    if (!dev->has_node_js) {
        add(&dev->children[dev->child_count - 1], "--service=time");
    }
    return ERR_OK;
}

/* ---- life and death -------------------------------------------------------------------------- */

/* The last line of its log: what a program that could not start said. */
static void print_last_line(const struct dev_child *child)
{
    FILE *file = fopen(child->output, "re");
    char line[1024];
    char last[1024] = "";
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        memcpy(last, line, sizeof(last));
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    last[strcspn(last, "\n")] = '\0';
    (void)fprintf(stderr, "  %s\n  (the end of %s)\n", last, child->output);
}

static void on_restart(struct loop_timer *timer)
{
    struct dev_child *child = CONTAINER_OF(timer, struct dev_child, restart);
    struct err_note note = {{0}};
    if (dev_child_start(child, &note) != ERR_OK) {
        (void)fprintf(stderr, "flotilla dev: %s: %s\n", child->name, note.text);
        dev_stop(child->dev, 1);
    }
}

static void restart_later(struct dev_child *child, clk_ns lived)
{
    if (lived >= CLK_S(QUICK_S)) {
        child->quick_deaths = 0;
    }
    unsigned doublings =
        child->quick_deaths < BACKOFF_DOUBLINGS_MAX ? child->quick_deaths : BACKOFF_DOUBLINGS_MAX;
    unsigned wait_ms = (unsigned)BACKOFF_MS << doublings;
    child->quick_deaths++;
    (void)printf("%s is started again in %u ms\n", child->name, wait_ms);
    (void)fflush(stdout);
    struct loop *loop = child->dev->loop;
    loop_timer_set(loop, &child->restart, loop_now(loop) + CLK_MS(wait_ms), on_restart);
}

static void on_ended(struct process *process, int exit_code, int signal)
{
    struct dev_child *child = CONTAINER_OF(process, struct dev_child, process);
    struct dev *dev = child->dev;
    clk_ns lived = loop_now(dev->loop) - child->started_at;
    child->running = false;
    if (dev->phase != DEV_RUNNING) {
        dev_stop_goes_on(dev);
        return;
    }
    if (child->held) {
        if (child->wanted) {
            dev_start(child);
        }
        return;
    }
    if (signal != 0) {
        (void)printf("%s (process %d) was ended by signal %d (%s)\n", child->name,
                     (int)process->pid, signal, sigdescr_np(signal));
    } else {
        (void)printf("%s (process %d) ended with exit code %d\n", child->name, (int)process->pid,
                     exit_code);
    }
    (void)fflush(stdout);
    if (exit_code > 0) {
        print_last_line(child);
    }
    if (exit_code > 0 && child->starts == 1 && lived < CLK_S(FIRST_MOMENTS_S)) {
        dev_stop(dev, 1);
    } else if (!dev->options.no_restart) {
        restart_later(child, lived);
    }
}

enum err dev_child_start(struct dev_child *child, struct err_note *note)
{
    struct process_spec spec = {
        .argv = child->argv,
        .output_path = child->output,
        .die_with_parent = true,
        .own_group = true, /* Ctrl-C is for us: we stop the others in order */
    };
    struct loop *loop = child->dev->loop;
    enum err err = process_spawn(&child->process, loop, &spec, on_ended, note);
    if (err == ERR_OK) {
        child->running = true;
        child->starts++;
        child->started_at = loop_now(loop);
    }
    return err;
}
