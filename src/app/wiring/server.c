/* Starting a node with its doors, waiting for a reason to stop, stopping in order. */
#include "wiring/server.h"

#include "check/check.h"
#include "gateway/gateway.h"
#include "health/health.h"
#include "loop/loop.h"
#include "members/members.h"
#include "ports/ports.h"
#include "process/process.h"
#include "secret/secret.h"
#include "wiring/doors.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char SERVER_VERSION[] = FLOTILLA_VERSION;

struct server {
    const struct server_plan *plan;
    struct loop *loop; /* of the main thread */
    struct process_signals signals;
    bool signals_closed;
    struct process_lock pid_file;
    int access_log_fd; /* -1: none */
    struct node *node;
    struct health *health;
    struct members *members;
    struct doors *doors;
    struct gateway *gateway;

    pthread_mutex_t lock; /* guards what follows: the core thread writes it */
    bool failed;
    enum err failure;
    char failure_text[ERR_NOTE_MAX];
};

/* ---- reasons to stop ------------------------------------------------------------------------- */

static void on_fatal(void *self, enum err why, const char *text)
{
    struct server *server = self;
    (void)pthread_mutex_lock(&server->lock);
    server->failed = true;
    server->failure = why;
    (void)snprintf(server->failure_text, sizeof(server->failure_text), "%s", text);
    (void)pthread_mutex_unlock(&server->lock);
    loop_stop(server->loop);
}

static enum err open_access_log(const struct server *server, int *ret_fd, struct err_note *note)
{
    const char *path = server->plan->access_log;
    *ret_fd = -1;
    if (path == NULL) {
        return ERR_OK;
    }
    *ret_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (*ret_fd >= 0) {
        return ERR_OK;
    }
    int cause = errno;
    return err_note_set(note, err_from_errno(cause), "--access-log %s: %s", path,
                        strerrordesc_np(cause));
}

/* The edges go on writing to the same descriptor number, now the new file's. */
static void reopen_access_log(struct server *server)
{
    struct err_note note = {{0}};
    int fd = -1;
    if (server->access_log_fd < 0) {
        return;
    }
    if (open_access_log(server, &fd, &note) != ERR_OK) {
        log_event(LOG_ACCESS_LOG_FAILED, "detail=%s", note.text);
        return;
    }
    (void)dup3(fd, server->access_log_fd, O_CLOEXEC);
    (void)close(fd);
}

/* The step of a rotation that the operator has taken. A file that cannot be used changes
 * nothing. */
static void reload_secret(struct server *server)
{
    const char *path = server->plan->secret_file;
    struct secret_ring ring = {0};
    struct err_note note = {{0}};
    if (path == NULL) {
        return;
    }
    if (secret_file_read(path, &ring, &note) != ERR_OK) {
        log_event(LOG_SECRET_UNUSABLE, "detail=%s", note.text);
        return;
    }
    node_set_secret(server->node, &ring);
    log_event(LOG_SECRET_RELOADED, "secrets=%u", ring.count);
    secret_forget(&ring);
}

static void on_signal(struct process_signals *signals, int signal)
{
    struct server *server = CONTAINER_OF(signals, struct server, signals);
    if (signal == SIGHUP) {
        reopen_access_log(server);
        reload_secret(server);
        return;
    }
    loop_stop(server->loop);
}

/* ---- starting -------------------------------------------------------------------------------- */

static enum err probe_ports(const struct server_plan *plan, struct err_note *note)
{
    struct net_addr peer;
    enum err err = net_addr_parse(bytes_of_str(plan->node.peer_addr), &peer);
    CHECK(err == ERR_OK);
    err = ports_probe(&plan->http, note);
    if (err != ERR_OK) {
        return err_note_wrap(note, err, "--http %s", plan->node.http_addr);
    }
    err = ports_probe(&plan->gateway, note);
    if (err != ERR_OK) {
        return err_note_wrap(note, err, "--gateway %s", plan->node.gateway_addr);
    }
    err = ports_probe(&peer, note);
    return err == ERR_OK ? err : err_note_wrap(note, err, "--peer-listen %s", plan->node.peer_addr);
}

/* The directory and this process's claim on it, readable by people; the node takes a lock too. */
static enum err claim_directory(struct server *server, struct err_note *note)
{
    const char *dir = server->plan->node.data_dir;
    if (mkdir(dir, 0700) != 0 && errno != EEXIST) {
        int cause = errno;
        return err_note_set(note, err_from_errno(cause), "--data %s: %s", dir,
                            strerrordesc_np(cause));
    }
    char path[sizeof(server->plan->node.data_dir) + 16];
    (void)snprintf(path, sizeof(path), "%s/flotilla.pid", dir);
    enum err err = process_lock_take(&server->pid_file, path, note);
    return err == ERR_OK ? err : err_note_wrap(note, err, "--data %s", dir);
}

static enum err start_node(struct server *server, struct err_note *note)
{
    struct node_cfg cfg = server->plan->node;
    struct secret_ring ring = {0};
    if (server->plan->secret_file != NULL) {
        enum err read = secret_file_read(server->plan->secret_file, &ring, note);
        if (read != ERR_OK) {
            return read;
        }
        cfg.secret = &ring;
    }
    enum err err = node_start(&cfg, &server->node, note);
    secret_forget(&ring);
    if (err != ERR_OK) {
        server->node = NULL;
        return err_note_wrap(note, err, "data directory %s", server->plan->node.data_dir);
    }
    node_on_fatal(server->node, on_fatal, server);
    /* The HTTP door listens last: it prints the metrics that all others have registered by then. */
    server->doors = doors_new(server->node, server->plan);
    struct gateway_cfg gateway = {.addr = server->plan->gateway, .log_fd = server->access_log_fd};
    err = gateway_start(server->node, &gateway, &server->gateway, note);
    if (err == ERR_OK) {
        log_event(LOG_DOOR_LISTENING, "door=gateway addr=%s", server->plan->node.gateway_addr);
        err = doors_listen(server->doors, note);
    }
    if (err == ERR_OK) {
        err = health_start(server->node, &server->health);
    }
    if (err == ERR_OK) {
        err = members_start(server->node, SERVER_VERSION, &server->members);
    }
    return err;
}

static enum err start(struct server *server, struct err_note *note)
{
    struct loop_config cfg = {.backend = LOOP_BACKEND_EPOLL, .recv_chunks = 2};
    enum err err = loop_new(&cfg, &server->loop, note);
    if (err == ERR_OK) {
        err = process_signals_start(&server->signals, server->loop, on_signal);
        server->signals_closed = err != ERR_OK;
    }
    if (err == ERR_OK) {
        err = probe_ports(server->plan, note);
    }
    if (err == ERR_OK) {
        err = claim_directory(server, note);
    }
    if (err == ERR_OK) {
        err = open_access_log(server, &server->access_log_fd, note);
    }
    return err == ERR_OK ? start_node(server, note) : err;
}

/* ---- stopping -------------------------------------------------------------------------------- */

static void on_part_stopped(void *self)
{
    int rc = sem_post(self);
    CHECK(rc == 0);
}

static void wait_stopped(sem_t *stopped)
{
    while (sem_wait(stopped) != 0) {
        CHECK(errno == EINTR);
    }
}

static void stop_parts(struct server *server)
{
    sem_t stopped;
    int rc = sem_init(&stopped, 0, 0);
    CHECK(rc == 0);
    if (server->gateway != NULL) {
        gateway_stop(server->gateway, on_part_stopped, &stopped);
        wait_stopped(&stopped);
    }
    doors_close(server->doors);
    if (server->members != NULL) {
        members_stop(server->members, on_part_stopped, &stopped);
        wait_stopped(&stopped);
    }
    if (server->health != NULL) {
        health_stop(server->health, on_part_stopped, &stopped);
        wait_stopped(&stopped);
    }
    (void)sem_destroy(&stopped);
}

static void on_signals_closed(struct process_signals *signals)
{
    CONTAINER_OF(signals, struct server, signals)->signals_closed = true;
}

static void stop_loop(struct server *server)
{
    if (server->loop == NULL) {
        return;
    }
    if (!server->signals_closed) {
        process_signals_stop(&server->signals, on_signals_closed);
    }
    while (!server->signals_closed) {
        loop_turn(server->loop, CLK_NEVER);
    }
    loop_free(server->loop);
}

static void stop(struct server *server)
{
    if (server->node != NULL && !server->failed) {
        node_hand_over(server->node);
    }
    stop_parts(server);
    node_stop(server->node);
    gateway_free(server->gateway);
    process_lock_release(&server->pid_file);
    if (server->access_log_fd >= 0) {
        (void)close(server->access_log_fd);
    }
    stop_loop(server);
}

int server_run(const struct server_plan *plan)
{
    log_init(STDERR_FILENO, plan->log_level);
    process_signals_block();
    struct server server = {.plan = plan,
                            .signals_closed = true,
                            .pid_file = {.fd = -1},
                            .access_log_fd = -1,
                            .lock = PTHREAD_MUTEX_INITIALIZER};
    struct err_note note = {{0}};
    enum err err = start(&server, &note);
    if (err == ERR_OK) {
        loop_run(server.loop);
    }
    stop(&server);
    if (err != ERR_OK) {
        (void)fprintf(stderr, "flotilla server: cannot start: %s\n",
                      note.text[0] == '\0' ? err_text(err) : note.text);
        return 1;
    }
    if (server.failed) {
        (void)fprintf(stderr, "flotilla server: stopped by itself: %s: %s\n", plan->node.data_dir,
                      server.failure_text[0] == '\0' ? err_text(server.failure)
                                                     : server.failure_text);
        return 1;
    }
    return 0;
}
