/* Dev: options, directories, ports, the loop's thread from start to stop. */
#include "dev/dev.h"

#include "check/check.h"
#include "dev/dev_priv.h"
#include "log/log.h"
#include "mem/mem.h"
#include "net/net.h"
#include "ports/ports.h"
#include "secret/secret.h"

#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    PORT_HTTP = 500,
    PORT_GATEWAY = 80,
    PORT_PEER = 300,
    PORT_STEP = 10, /* from node to node */
    ORDERS_MAX = 8,
    PATIENCE_SERVICES_S = 3,
    PATIENCE_NODES_S = 15,
    REMOVE_DEPTH = 16
};

const struct dev_options DEV_OPTIONS_DEFAULT = {
    .nodes = 3, .port_base = 8000, .loop = "auto", .log_level = "info"};

/* clang-format off */
static const struct flag FLAGS[] = {
    {"nodes", FLAG_NUMBER, "N", "how many nodes: 1, 3 or 5 (default 3)",
     offsetof(struct dev_options, nodes)},
    {"data", FLAG_TEXT, "DIR", "where the data is kept (default a fresh directory, removed at the"
     " end)", offsetof(struct dev_options, data)},
    {"demo", FLAG_SWITCH, NULL, "start small services, and routes to them",
     offsetof(struct dev_options, demo)},
    {"exit-after", FLAG_NUMBER, "SECONDS", "stop by itself; with --demo the tour is taken before",
     offsetof(struct dev_options, exit_after_s)},
    {"no-secret", FLAG_SWITCH, NULL, "connections between the nodes in the clear, without TLS",
     offsetof(struct dev_options, no_secret)},
    {"no-restart", FLAG_SWITCH, NULL, "leave dead what dies",
     offsetof(struct dev_options, no_restart)},
    {"port-base", FLAG_NUMBER, "N", "HTTP is N+500, gateway N+80, peers N+300 (default 8000)",
     offsetof(struct dev_options, port_base)},
    {"loop", FLAG_TEXT, "BACKEND", "auto, uring or epoll (default auto)",
     offsetof(struct dev_options, loop)},
    {"edges", FLAG_NUMBER, "N", "threads for clients per node, 0: by the cores (default 0)",
     offsetof(struct dev_options, edges)},
    {"log-level", FLAG_TEXT, "LEVEL", "of the nodes: debug, info, warn or error (default info)",
     offsetof(struct dev_options, log_level)},
};
/* clang-format on */

const struct flag_table DEV_FLAGS = {FLAGS, sizeof(FLAGS) / sizeof(FLAGS[0])};

enum err dev_check(const struct dev_options *options, struct err_note *note)
{
    if (options->nodes != 1 && options->nodes != 3 && options->nodes != 5) {
        return err_note_set(note, ERR_BAD_INPUT,
                            "--nodes: 1, 3 or 5, so that there are majorities");
    }
    if (options->port_base < 1024 || options->port_base > 60000) {
        return err_note_set(note, ERR_BAD_INPUT, "--port-base: from 1024 to 60000");
    }
    enum log_level level = LOG_LEVEL_INFO;
    if (log_level_parse(bytes_of_str(options->log_level), &level) != ERR_OK) {
        return err_note_set(note, ERR_BAD_INPUT,
                            "--log-level: \"%s\" is not debug, info, warn or error",
                            options->log_level);
    }
    enum loop_backend backend = LOOP_BACKEND_AUTO;
    if (loop_backend_parse(bytes_of_str(options->loop), &backend) != ERR_OK) {
        return err_note_set(note, ERR_BAD_INPUT, "--loop: \"%s\" is not auto, uring or epoll",
                            options->loop);
    }
    return ERR_OK;
}

/* ---- places ---------------------------------------------------------------------------------- */

static enum err make_dir(const char *path, struct err_note *note)
{
    if (mkdir(path, 0700) == 0 || errno == EEXIST) {
        return ERR_OK;
    }
    int cause = errno;
    return err_note_set(note, err_from_errno(cause), "directory %s: %s", path,
                        strerrordesc_np(cause));
}

static enum err choose_dir(struct dev *dev, struct err_note *note)
{
    char real[PATH_MAX];
    if (dev->options.data != NULL) {
        enum err err = make_dir(dev->options.data, note);
        if (err == ERR_OK && realpath(dev->options.data, real) == NULL) {
            return err_note_set(note, ERR_IO, "directory %s: %s", dev->options.data,
                                strerrordesc_np(errno));
        }
        if (err == ERR_OK &&
            bytes_to_cstr(bytes_of_str(real), dev->dir, sizeof(dev->dir) - 64) != ERR_OK) {
            return err_note_set(note, ERR_TOO_LARGE, "--data: the path is too long");
        }
        return err;
    }
    const char *base = getenv("TMPDIR");
    (void)snprintf(dev->dir, sizeof(dev->dir) - 64, "%s/flotilla-dev-XXXXXX",
                   base == NULL || base[0] == '\0' ? "/tmp" : base);
    if (mkdtemp(dev->dir) == NULL) {
        return err_note_set(note, ERR_IO, "directory %s: %s", dev->dir, strerrordesc_np(errno));
    }
    dev->dir_is_temporary = true;
    return ERR_OK;
}

/* The nodes speak with each other as they would in production: encrypted. An existing directory
 * keeps its secret. */
static enum err choose_secret(struct dev *dev, struct err_note *note)
{
    if (dev->options.no_secret) {
        return ERR_OK;
    }
    if (snprintf(dev->secret_file, sizeof(dev->secret_file), "%s/secret", dev->dir) >=
        (int)sizeof(dev->secret_file)) {
        return err_note_set(note, ERR_TOO_LARGE, "--data: the path is too long");
    }
    struct secret_ring ring = {.count = 1};
    secret_make(&ring.at[0]);
    enum err err = secret_file_new(dev->secret_file, &ring, note);
    secret_forget(&ring);
    return err == ERR_EXISTS ? ERR_OK : err;
}

static enum err check_port(const struct dev *dev, const char *addr_text, const char *what,
                           uint32_t number, struct err_note *note)
{
    struct net_addr addr;
    enum err err = net_addr_parse(bytes_of_str(addr_text), &addr);
    CHECK(err == ERR_OK);
    err = ports_probe(&addr, note);
    if (err == ERR_OK) {
        return ERR_OK;
    }
    (void)dev;
    return err_note_wrap(note, err, "%s (the %s of n%u; --port-base moves all ports)", addr_text,
                         what, number + 1);
}

static enum err choose_place(struct dev *dev, uint32_t number, struct err_note *note)
{
    struct dev_place *place = &dev->places[number];
    unsigned base = (unsigned)dev->options.port_base + PORT_STEP * number;
    (void)snprintf(place->http, sizeof(place->http), "127.0.0.1:%u", base + PORT_HTTP);
    (void)snprintf(place->gateway, sizeof(place->gateway), "127.0.0.1:%u", base + PORT_GATEWAY);
    (void)snprintf(place->peer, sizeof(place->peer), "127.0.0.1:%u", base + PORT_PEER);
    (void)snprintf(place->dir, sizeof(place->dir), "%.200s/n%u", dev->dir, number + 1);
    enum err err = check_port(dev, place->http, "HTTP API", number, note);
    if (err == ERR_OK) {
        err = check_port(dev, place->gateway, "gateway", number, note);
    }
    if (err == ERR_OK) {
        err = check_port(dev, place->peer, "peer port", number, note);
    }
    return err == ERR_OK ? make_dir(place->dir, note) : err;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

/* ---- stopping -------------------------------------------------------------------------------- */

static bool any_runs(const struct dev *dev, enum dev_kind kind)
{
    for (uint32_t i = 0; i < dev->child_count; i++) {
        if (dev->children[i].kind == kind && dev->children[i].running) {
            return true;
        }
    }
    return false;
}

static void signal_all(struct dev *dev, enum dev_kind kind, int signal)
{
    for (uint32_t i = 0; i < dev->child_count; i++) {
        struct dev_child *child = &dev->children[i];
        if (child->kind == kind && child->running) {
            process_signal(&child->process, signal);
        }
    }
}

static void on_patience_ends(struct loop_timer *timer)
{
    struct dev *dev = CONTAINER_OF(timer, struct dev, patience);
    enum dev_kind kind = dev->phase == DEV_STOPPING_SERVICES ? DEV_SERVICE : DEV_NODE;
    (void)fprintf(stderr, "flotilla dev: some %s do not stop: killed\n",
                  kind == DEV_SERVICE ? "services" : "nodes");
    signal_all(dev, kind, SIGKILL);
}

static void begin_phase(struct dev *dev, enum dev_phase phase)
{
    dev->phase = phase;
    bool services = phase == DEV_STOPPING_SERVICES;
    signal_all(dev, services ? DEV_SERVICE : DEV_NODE, SIGTERM);
    loop_timer_set(dev->loop, &dev->patience,
                   loop_now(dev->loop) + CLK_S(services ? PATIENCE_SERVICES_S : PATIENCE_NODES_S),
                   on_patience_ends);
}

void dev_stop_goes_on(struct dev *dev)
{
    if (dev->phase == DEV_STOPPING_SERVICES && !any_runs(dev, DEV_SERVICE)) {
        begin_phase(dev, DEV_STOPPING_NODES);
    }
    if (dev->phase == DEV_STOPPING_NODES && !any_runs(dev, DEV_NODE)) {
        dev->phase = DEV_STOPPED;
        loop_timer_cancel(dev->loop, &dev->patience);
        loop_stop(dev->loop);
    }
}

void dev_stop(struct dev *dev, int exit_code)
{
    if (dev->phase != DEV_RUNNING) {
        return;
    }
    dev->exit_code = exit_code;
    atomic_store(&dev->stopping, true);
    for (uint32_t i = 0; i < dev->child_count; i++) {
        loop_timer_cancel(dev->loop, &dev->children[i].restart);
    }
    begin_phase(dev, DEV_STOPPING_SERVICES);
    dev_stop_goes_on(dev);
}

static void on_signal(struct process_signals *signals, int signal)
{
    struct dev *dev = CONTAINER_OF(signals, struct dev, signals);
    if (signal == SIGHUP) {
        return;
    }
    if (dev->phase != DEV_RUNNING) { /* the user has asked twice */
        signal_all(dev, DEV_SERVICE, SIGKILL);
        signal_all(dev, DEV_NODE, SIGKILL);
        return;
    }
    (void)printf("\nStopping ...\n");
    (void)fflush(stdout);
    /* An interrupted tour has shown nothing. */
    dev_stop(dev, dev->options.exit_after_s > 0 ? 1 : 0);
}

/* ---- orders ---------------------------------------------------------------------------------- */

void dev_start(struct dev_child *child)
{
    struct err_note note = {{0}};
    if (child->running) {
        child->wanted = child->held;
        return;
    }
    child->held = false;
    child->wanted = false;
    if (dev_child_start(child, &note) != ERR_OK) {
        (void)fprintf(stderr, "flotilla dev: %s: %s\n", child->name, note.text);
        dev_stop(child->dev, 1);
    }
}

static void execute(struct dev *dev, const struct dev_order *order)
{
    struct dev_child *child = &dev->children[order->child];
    if (order->kind == DEV_ORDER_STOP) {
        dev_stop(dev, order->exit_code);
    } else if (dev->phase != DEV_RUNNING) {
        return;
    } else if (order->kind == DEV_ORDER_START) {
        dev_start(child);
    } else if (order->kind == DEV_ORDER_SIGNAL) {
        child->held = true;
        process_signal(&child->process, order->signal);
    } else {
        for (uint32_t i = dev->node_count; i < dev->child_count; i++) {
            dev_start(&dev->children[i]);
        }
    }
}

static void on_orders(struct loop_inbox *inbox)
{
    struct dev *dev = CONTAINER_OF(inbox, struct dev, orders);
    struct dev_order *order = NULL;
    while ((order = inbox_pop(inbox)) != NULL) {
        execute(dev, order);
        (void)sem_post(&order->done);
    }
}

void dev_give(struct dev *dev, struct dev_order *order)
{
    int rc = sem_init(&order->done, 0, 0);
    CHECK(rc == 0);
    enum err err = inbox_push(&dev->orders, order);
    CHECK(err == ERR_OK); /* one at a time */
    inbox_wake(&dev->orders);
    while (sem_wait(&order->done) != 0) {
        CHECK(errno == EINTR);
    }
    (void)sem_destroy(&order->done);
}

/* ---- the run --------------------------------------------------------------------------------- */

static enum err find_self(struct dev *dev, struct err_note *note)
{
    ssize_t len = readlink("/proc/self/exe", dev->exe, sizeof(dev->exe) - 1);
    if (len <= 0 || (size_t)len >= sizeof(dev->exe) - 1) {
        return err_note_set(note, ERR_IO, "cannot find this program through /proc/self/exe");
    }
    dev->exe[len] = '\0';
    return ERR_OK;
}

static enum err prepare(struct dev *dev, struct err_note *note)
{
    dev->node_count = (uint32_t)dev->options.nodes;
    enum err err = find_self(dev, note);
    if (err == ERR_OK) {
        err = choose_dir(dev, note);
    }
    if (err == ERR_OK) {
        err = choose_secret(dev, note);
    }
    for (uint32_t i = 0; i < dev->node_count && err == ERR_OK; i++) {
        err = choose_place(dev, i, note);
    }
    for (uint32_t i = 0; i < dev->node_count && err == ERR_OK; i++) {
        err = dev_child_node(dev, i, note);
    }
    if (err == ERR_OK && dev->options.demo) {
        err = dev_child_services(dev, note);
    }
    return err;
}

static enum err begin(struct dev *dev, struct err_note *note)
{
    struct loop_config cfg = {.backend = LOOP_BACKEND_EPOLL, .recv_chunks = 2};
    enum err err = loop_new(&cfg, &dev->loop, note);
    if (err != ERR_OK) {
        return err;
    }
    inbox_init(&dev->orders, dev->loop, ORDERS_MAX, on_orders);
    dev->began_at = dev_now();
    err = process_signals_start(&dev->signals, dev->loop, on_signal);
    dev->signals_closed = err != ERR_OK;
    for (uint32_t i = 0; i < dev->node_count && err == ERR_OK; i++) {
        err = dev_child_start(&dev->children[i], note);
    }
    if (err == ERR_OK && pthread_create(&dev->guide, NULL, dev_guide_main, dev) != 0) {
        err = err_note_set(note, ERR_FULL, "cannot start a thread");
    }
    atomic_store(&dev->guide_ended, err != ERR_OK);
    return err;
}

static void on_signals_closed(struct process_signals *signals)
{
    CONTAINER_OF(signals, struct dev, signals)->signals_closed = true;
}

/* The guide may still wait for an order: the loop turns until it has ended. */
static void end(struct dev *dev, bool guided)
{
    while (!atomic_load(&dev->guide_ended)) {
        loop_turn(dev->loop, CLK_MS(50));
    }
    if (guided) {
        (void)pthread_join(dev->guide, NULL);
    }
    if (dev->loop != NULL) {
        if (!dev->signals_closed) {
            process_signals_stop(&dev->signals, on_signals_closed);
        }
        while (!dev->signals_closed) {
            loop_turn(dev->loop, CLK_NEVER);
        }
        inbox_done(&dev->orders);
        loop_free(dev->loop);
    }
    for (uint32_t i = 0; i < dev->child_count; i++) {
        arena_done(&dev->children[i].texts);
    }
    if (dev->dir_is_temporary) {
        (void)nftw(dev->dir, remove_one, REMOVE_DEPTH, FTW_DEPTH | FTW_PHYS);
    }
}

int dev_run(const struct dev_options *options)
{
    process_signals_block();
    struct dev *dev = mem_alloc(sizeof(*dev));
    dev->options = *options;
    dev->signals_closed = true;
    atomic_store(&dev->guide_ended, true);
    struct err_note note = {{0}};
    enum err err = prepare(dev, &note);
    if (err == ERR_OK) {
        err = begin(dev, &note);
    }
    if (err != ERR_OK) {
        (void)fprintf(stderr, "flotilla dev: %s\n",
                      note.text[0] == '\0' ? err_text(err) : note.text);
    }
    if (err != ERR_OK && dev->loop != NULL) {
        dev_stop(dev, 1);
    }
    if (dev->loop != NULL) {
        loop_run(dev->loop);
    }
    end(dev, dev->loop != NULL && err == ERR_OK);
    int code = err == ERR_OK ? dev->exit_code : 1;
    mem_free(dev);
    return code;
}
