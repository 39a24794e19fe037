/* The gateway alone: one loop, one service with fixed endpoints, one route for everything.
 *
 * What bench/gateway.sh measures beside other proxies: the data path without a cluster around it.
 *
 * usage: gateway_standalone BACKEND LISTEN UPSTREAM[,UPSTREAM...] [LOGFILE]
 *        BACKEND uring, epoll or auto; addresses as 127.0.0.1:8080 */
#include "gateway/gateway_edge.h"
#include "route/route.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum {
    ENDPOINTS_MAX = 16
};

static _Noreturn void die(const char *what, const char *why)
{
    (void)fprintf(stderr, "gateway_standalone: %s: %s\n", what, why);
    exit(1);
}

static struct net_addr address(struct bytes text)
{
    struct net_addr addr = {0};
    if (net_addr_parse(text, &addr) != ERR_OK) {
        die("address", "host:port is expected");
    }
    return addr;
}

/* Everything goes to the service "bench". */
static struct route_table *route_all(void)
{
    struct table_mem *mem = table_mem_new();
    struct table_txn txn;
    table_txn_init(&txn, table_mem_backend(), mem, 1, false);
    struct buf body;
    struct buf record;
    buf_init(&body, 4096);
    buf_init(&record, 4096);
    const struct route route = {
        .id = BYTES_LITERAL("all"), .path = BYTES_LITERAL("/"), .service = BYTES_LITERAL("bench")};
    struct apply_result result = {0};
    struct apply apply = {
        .txn = &txn, .index = 1, .time_ms = 1, .record = &record, .result = &result};
    struct route_table *table = NULL;
    if (route_put_encode(&route, &body) != ERR_OK ||
        route_apply(&apply, ROUTE_CMD_PUT, buf_bytes(&body)) != ERR_OK || result.err != ERR_OK ||
        route_table_build(&txn, &table) != ERR_OK) {
        die("route", result.reason);
    }
    buf_done(&body);
    buf_done(&record);
    table_mem_free(mem);
    return table;
}

static void set_endpoints(struct gateway_edge *edge, struct bytes list)
{
    struct gateway_endpoint_def endpoints[ENDPOINTS_MAX];
    size_t count = 0;
    while (list.len > 0 && count < ENDPOINTS_MAX) {
        size_t end = bytes_find(list, ',');
        struct bytes text = bytes_of(list.data, end);
        endpoints[count++] = (struct gateway_endpoint_def){.id = text, .addr = address(text)};
        list = bytes_from(list, end < list.len ? end + 1 : end);
    }
    gateway_edge_set_service(edge, BYTES_LITERAL("bench"), endpoints, count);
}

static void on_signal(struct loop_watch *watch, enum err err)
{
    if (err == ERR_OK) {
        loop_stop(watch->loop);
    }
}

static void on_stopped(void *self)
{
    loop_stop(self);
}

static void print_stats(const struct gateway_edge *edge, const struct loop *loop)
{
    struct gateway_stats stats = gateway_edge_stats(edge);
    struct loop_stats turns = loop_stats(loop);
    double requests = stats.requests > 0 ? (double)stats.requests : 1;
    (void)fprintf(stderr,
                  "%s: %lu requests, %lu refused, %lu retries, %lu connects, %lu reuses, "
                  "%.2f calls and %.2f turns per request\n",
                  loop_backend_name(loop), stats.requests, stats.refused, stats.retries,
                  stats.connects, stats.reuses, (double)turns.syscalls / requests,
                  (double)turns.turns / requests);
}

static void watch_signals(struct loop *loop, struct loop_watch *watch)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &set, NULL);
    loop_watch_start(loop, watch, signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC), on_signal);
}

int main(int argc, char **argv)
{
    struct loop_config config = {.seed = 1};
    if (argc < 4 || loop_backend_parse(bytes_of_str(argv[1]), &config.backend) != ERR_OK) {
        (void)fprintf(
            stderr, "usage: gateway_standalone BACKEND LISTEN UPSTREAM[,UPSTREAM...] [LOGFILE]\n");
        return 2;
    }
    struct loop *loop = NULL;
    struct err_note note = {0};
    if (loop_new(&config, &loop, &note) != ERR_OK) {
        die("loop", note.text);
    }
    int log_fd = -1;
    if (argc > 4) {
        log_fd = open(argv[4], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    }
    const struct gateway_edge_cfg cfg = {.loop = loop, .log_fd = log_fd};
    struct gateway_edge *edge = gateway_edge_new(&cfg);
    gateway_edge_set_routes(edge, route_all());
    set_endpoints(edge, bytes_of_str(argv[3]));
    const struct net_addr addr = address(bytes_of_str(argv[2]));
    if (gateway_edge_listen(edge, &addr, false, &note) != ERR_OK) {
        die("listen", note.text);
    }
    struct loop_watch watch = {0};
    watch_signals(loop, &watch);
    loop_run(loop);
    print_stats(edge, loop);
    loop_watch_stop(&watch);
    gateway_edge_stop(edge, on_stopped, loop);
    loop_run(loop);
    gateway_edge_free(edge);
    while (loop_active_count(loop) > 0) {
        loop_turn(loop, CLK_MS(10));
    }
    loop_free(loop);
    return 0;
}
