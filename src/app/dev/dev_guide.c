/* The guide of a dev run: waits until there is a leader, shows where everything is, and, when asked
 * to stop by itself, takes the tour first. It talks to the nodes as any client does. */
#include "check/check.h"
#include "client/client.h"
#include "dev/dev_priv.h"
#include "http/http_call.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    READY_WITHIN_S = 60,
    ASK_TIMEOUT_MS = 2000,
    POLL_MS = 50,
    COMMAND_MAX = 1024,
    STATUS_AGE_MS = 100, /* a node's status is up to 50 ms old: so they all show the same */
    WORDS_MAX = 24
};

/* ---- small tools ----------------------------------------------------------------------------- */

clk_ns dev_now(void)
{
    struct timespec now;
    int rc = clock_gettime(CLOCK_MONOTONIC, &now);
    CHECK(rc == 0);
    return CLK_S(now.tv_sec) + (clk_ns)now.tv_nsec;
}

bool dev_sleep(struct dev *dev, unsigned ms)
{
    clk_ns until = dev_now() + CLK_MS(ms);
    while (!atomic_load(&dev->stopping)) {
        clk_ns now = dev_now();
        if (now >= until) {
            return true;
        }
        clk_ns left = until - now < CLK_MS(POLL_MS) ? until - now : CLK_MS(POLL_MS);
        const struct timespec pause = {.tv_nsec = (long)left};
        (void)nanosleep(&pause, NULL);
    }
    return false;
}

unsigned dev_ask(const char *addr, bool put, const char *target, const char *body, char *answer,
                 size_t answer_size)
{
    struct http_call call = {
        .method = put ? HTTP1_METHOD_PUT : HTTP1_METHOD_GET,
        .target = bytes_of_str(target),
        .body = body == NULL ? (struct bytes){NULL, 0} : bytes_of_str(body),
        .timeout = CLK_MS(ASK_TIMEOUT_MS),
    };
    struct http_reply reply;
    enum err err = net_addr_parse(bytes_of_str(addr), &call.addr);
    CHECK(err == ERR_OK);
    answer[0] = '\0';
    if (http_call(&call, &reply, NULL) != ERR_OK) {
        return 0;
    }
    unsigned status = reply.status;
    (void)snprintf(answer, answer_size, "%.*s", BYTES_PRINT(buf_bytes(&reply.body)));
    http_reply_done(&reply);
    return status;
}

/* The answer is a peer address in quotes; empty quotes: nobody leads. */
static int leader_seen_by(struct dev *dev, uint32_t node)
{
    char answer[64];
    char quoted[DEV_ADDR_MAX + 2];
    if (dev_ask(dev->places[node].http, false, "/v1/status/leader", NULL, answer, sizeof(answer)) !=
        200) {
        return -1;
    }
    for (uint32_t i = 0; i < dev->node_count; i++) {
        int len = snprintf(quoted, sizeof(quoted), "\"%s\"", dev->places[i].peer);
        if (strncmp(answer, quoted, (size_t)len) == 0) {
            return (int)i;
        }
    }
    return -1;
}

int dev_leader(struct dev *dev)
{
    for (uint32_t i = 0; i < dev->node_count; i++) {
        int leader = leader_seen_by(dev, i);
        if (leader >= 0) {
            return leader;
        }
    }
    return -1;
}

/* Every node answers, knows the same leader, and is in the member table. */
static bool all_ready(struct dev *dev, int *ret_leader)
{
    char answer[4096];
    unsigned members = 0;
    if (dev_ask(dev->places[0].http, false, "/v1/flotilla/members", NULL, answer, sizeof(answer)) !=
        200) {
        return false;
    }
    for (const char *at = answer; (at = strstr(at, "\"http_address\"")) != NULL; at++) {
        members++;
    }
    if (members < dev->node_count) {
        return false;
    }
    int leader = leader_seen_by(dev, 0);
    for (uint32_t i = 1; i < dev->node_count && leader >= 0; i++) {
        if (leader_seen_by(dev, i) != leader) {
            return false;
        }
    }
    *ret_leader = leader;
    return leader >= 0;
}

static double seconds_since(clk_ns began)
{
    return (double)(dev_now() - began) / 1e9;
}

/* ---- what is shown --------------------------------------------------------------------------- */

static void show_places(struct dev *dev, int leader)
{
    (void)printf("Flotilla is up after %.1f s: %u node%s, n%d leads.\n\n",
                 seconds_since(dev->began_at), dev->node_count, dev->node_count == 1 ? "" : "s",
                 leader + 1);
    (void)printf("  %-6s %-28s %-28s %s\n", "node", "HTTP API and Consul API", "gateway", "data");
    for (uint32_t i = 0; i < dev->node_count; i++) {
        const struct dev_place *place = &dev->places[i];
        char http[DEV_ADDR_MAX + 8];
        char gateway[DEV_ADDR_MAX + 8];
        (void)snprintf(http, sizeof(http), "http://%s", place->http);
        (void)snprintf(gateway, sizeof(gateway), "http://%s", place->gateway);
        (void)printf("  n%-5u %-28s %-28s %s\n", i + 1, http, gateway, place->dir);
    }
    (void)printf("\n");
    (void)fflush(stdout);
}

/* Splits at spaces, into at most max - 1 words and a NULL. */
static void split(char *text, const char **words, size_t max)
{
    size_t count = 0;
    char *rest = NULL;
    for (char *word = strtok_r(text, " ", &rest); word != NULL && count + 1 < max;
         word = strtok_r(NULL, " ", &rest)) {
        words[count++] = word;
    }
    words[count] = NULL;
}

struct command {
    struct process process;
    bool ended;
};

static void on_command_ended(struct process *process, int exit_code, int signal)
{
    (void)exit_code;
    (void)signal;
    CONTAINER_OF(process, struct command, process)->ended = true;
}

/* Runs it to its end, with its output in a file. ERR_OK also when the program says that it failed:
 * that is shown. */
static enum err run_command(const char *const *argv, const char *output, struct err_note *note)
{
    struct loop_config cfg = {.backend = LOOP_BACKEND_EPOLL, .recv_chunks = 2};
    struct command command = {.ended = false};
    struct process_spec spec = {.argv = argv, .output_path = output, .die_with_parent = true};
    struct loop *loop = NULL;
    enum err err = loop_new(&cfg, &loop, note);
    if (err != ERR_OK) {
        return err;
    }
    err = process_spawn(&command.process, loop, &spec, on_command_ended, note);
    while (err == ERR_OK && !command.ended) {
        loop_turn(loop, CLK_NEVER);
    }
    loop_free(loop);
    return err;
}

static void show_file(const char *path)
{
    char line[512];
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        (void)printf("    %s%s", line, strchr(line, '\n') == NULL ? "\n" : "");
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    (void)unlink(path);
}

/* Shows a command with what it prints. */
static void show_command(const struct dev *dev, const char *program, const char *words)
{
    char text[COMMAND_MAX];
    char output[DEV_PATH_MAX];
    const char *argv[WORDS_MAX] = {program};
    struct err_note note = {{0}};
    (void)snprintf(text, sizeof(text), "%s", words);
    (void)snprintf(output, sizeof(output), "%.200s/command.out", dev->dir);
    split(text, argv + 1, WORDS_MAX - 1);
    (void)printf("  $ %s %s\n", program, words);
    if (run_command(argv, output, &note) == ERR_OK) {
        show_file(output);
    } else {
        (void)printf("    (cannot be run: %s)\n", note.text);
    }
    (void)printf("\n");
    (void)fflush(stdout);
}

/* The program as the user called it; --addr is needed away from the usual ports only. */
static void show_flotilla(const struct dev *dev, const char *words, uint32_t node)
{
    char text[COMMAND_MAX];
    bool plain = node == 0 && strcmp(dev->places[0].http, CLIENT_ADDR_DEFAULT) == 0;
    (void)snprintf(text, sizeof(text), "%s%s%s", words, plain ? "" : " --addr ",
                   plain ? "" : dev->places[node].http);
    show_command(dev, program_invocation_name, text);
}

static void show_commands(struct dev *dev)
{
    char words[COMMAND_MAX];
    (void)dev_sleep(dev, STATUS_AGE_MS);
    (void)printf("Five commands worth trying, and what they answer now:\n\n");
    show_flotilla(dev, "status", 0);
    show_flotilla(dev, "kv put greeting hello", 0);
    show_flotilla(dev, "kv get greeting --json", dev->node_count - 1);
    show_flotilla(dev, dev->options.demo ? "services hello" : "members", 0);
    if (dev->options.demo && access("/usr/bin/curl", X_OK) == 0) {
        (void)snprintf(words, sizeof(words), "-s http://%s/ http://%s/time", dev->places[0].gateway,
                       dev->places[0].gateway);
        show_command(dev, "curl", words);
    } else {
        show_flotilla(dev, "route ls", 0);
    }
}

static void show_killing(struct dev *dev)
{
    int leader = dev_leader(dev);
    if (leader < 0 || dev->node_count == 1) {
        return;
    }
    (void)printf("Kill the leader, and see that nothing stops (it is started again by itself):\n\n"
                 "  kill -9 $(cat %s/flotilla.pid)\n\n",
                 dev->places[leader].dir);
    (void)fflush(stdout);
}

/* ---- the demo -------------------------------------------------------------------------------- */

static bool put_route(struct dev *dev, const char *id, const char *path, const char *service)
{
    char target[128];
    char body[256];
    char answer[256];
    (void)snprintf(target, sizeof(target), "/v1/flotilla/routes/%s", id);
    (void)snprintf(body, sizeof(body), "{\"host\": \"*\", \"path\": \"%s\", \"service\": \"%s\"}",
                   path, service);
    unsigned status = dev_ask(dev->places[0].http, true, target, body, answer, sizeof(answer));
    if (status != 200) {
        (void)fprintf(stderr, "flotilla dev: route %s: %u %s\n", id, status, answer);
    }
    return status == 200;
}

static bool gateways_answer(struct dev *dev)
{
    static const char *const PATHS[] = {"/", "/time"};
    char answer[256];
    for (uint32_t i = 0; i < dev->node_count; i++) {
        for (size_t p = 0; p < sizeof(PATHS) / sizeof(PATHS[0]); p++) {
            if (dev_ask(dev->places[i].gateway, false, PATHS[p], NULL, answer, sizeof(answer)) !=
                200) {
                return false;
            }
        }
    }
    return true;
}

/* Both instances of hello and the one of time pass their checks. */
static bool demo_passes(struct dev *dev)
{
    char answer[8192];
    char *at = answer;
    unsigned instances = 0;
    if (dev_ask(dev->places[0].http, false, "/v1/health/service/hello?passing", NULL, answer,
                sizeof(answer)) != 200) {
        return false;
    }
    while ((at = strstr(at, "\"Service\":{")) != NULL) {
        instances++;
        at++;
    }
    return instances == 2 && gateways_answer(dev);
}

static bool start_demo(struct dev *dev)
{
    struct dev_order order = {.kind = DEV_ORDER_SERVICES};
    dev_give(dev, &order);
    if (!put_route(dev, "hello", "/", "hello") || !put_route(dev, "time", "/time", "time")) {
        return false;
    }
    clk_ns until = dev_now() + CLK_S(READY_WITHIN_S);
    while (!demo_passes(dev)) {
        if (dev_now() > until || !dev_sleep(dev, POLL_MS)) {
            return false;
        }
    }
    (void)printf("Demo: service hello (2 instances, Python) at /, service time (%s) at /time, "
                 "through every gateway.\n"
                 "They registered themselves over HTTP; their logs are %s/*.log\n\n",
                 dev->has_node_js ? "Node.js" : "Python", dev->dir);
    (void)fflush(stdout);
    return true;
}

/* ---- the way --------------------------------------------------------------------------------- */

static bool wait_ready(struct dev *dev, int *ret_leader)
{
    clk_ns until = dev_now() + CLK_S(READY_WITHIN_S);
    while (!all_ready(dev, ret_leader)) {
        if (dev_now() > until) {
            (void)fprintf(stderr,
                          "flotilla dev: the nodes have no leader after %d s; their logs: "
                          "%s/n*/flotilla.log\n",
                          READY_WITHIN_S, dev->dir);
            return false;
        }
        if (!dev_sleep(dev, POLL_MS)) {
            return false;
        }
    }
    return true;
}

/* False: something did not hold. */
static bool guide(struct dev *dev)
{
    int leader = -1;
    if (!wait_ready(dev, &leader)) {
        return false;
    }
    show_places(dev, leader);
    if (dev->options.demo && !start_demo(dev)) {
        if (!atomic_load(&dev->stopping)) {
            (void)fprintf(stderr, "flotilla dev: the demo does not answer; logs: %s/*.log\n",
                          dev->dir);
        }
        return false;
    }
    show_commands(dev);
    show_killing(dev);
    bool held = true;
    if (dev->options.exit_after_s == 0) {
        (void)printf("Ctrl-C stops everything.\n");
        (void)fflush(stdout);
        return true;
    }
    if (dev->options.demo) {
        held = dev_tour(dev);
    }
    clk_ns end = dev->began_at + CLK_S(dev->options.exit_after_s);
    clk_ns now = dev_now();
    if (now < end) {
        (void)dev_sleep(dev, (unsigned)((end - now) / CLK_MS(1)));
    }
    return held;
}

void *dev_guide_main(void *self)
{
    struct dev *dev = self;
    bool held = guide(dev);
    if (!held || dev->options.exit_after_s > 0) {
        struct dev_order order = {.kind = DEV_ORDER_STOP, .exit_code = held ? 0 : 1};
        dev_give(dev, &order);
    }
    atomic_store(&dev->guide_ended, true);
    loop_wake(dev->loop);
    return NULL;
}
