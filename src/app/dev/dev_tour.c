/* The tour: what the demo is made to survive, done and measured. One line per step; a step that
 * does not hold is said to have failed, and the run's exit code with it. */
#include "check/check.h"
#include "dev/dev_priv.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum {
    TRAFFIC_PAUSE_MS = 5,
    WAIT_S = 15,
    POLL_MS = 10,
    SPREAD_REQUESTS = 60,
    AFTER_MS = 500, /* of traffic after an event, before the step is closed */
    SERVICE_HELLO_2 = 1,
    ANSWER_MAX = 8192
};

/* ---- traffic --------------------------------------------------------------------------------- */

/* Requests to one gateway, one after the other, from a thread of its own. */
struct traffic {
    const char *gateway;
    atomic_bool stop;
    pthread_t thread;
    unsigned requests;
    unsigned failed;
    clk_ns slowest;
    char failure[160]; /* the first one */
};

static void *run_traffic(void *self)
{
    struct traffic *traffic = self;
    char answer[256];
    const struct timespec pause = {.tv_nsec = (long)CLK_MS(TRAFFIC_PAUSE_MS)};
    while (!atomic_load(&traffic->stop)) {
        clk_ns began = dev_now();
        unsigned status = dev_ask(traffic->gateway, false, "/", NULL, answer, sizeof(answer));
        clk_ns took = dev_now() - began;
        traffic->requests++;
        traffic->slowest = took > traffic->slowest ? took : traffic->slowest;
        if (status != 200 && traffic->failed++ == 0) {
            (void)snprintf(traffic->failure, sizeof(traffic->failure), "%u %.100s", status, answer);
            traffic->failure[strcspn(traffic->failure, "\r\n")] = '\0';
        }
        (void)nanosleep(&pause, NULL);
    }
    return NULL;
}

static void traffic_start(struct traffic *traffic, const char *gateway)
{
    *traffic = (struct traffic){.gateway = gateway};
    int rc = pthread_create(&traffic->thread, NULL, run_traffic, traffic);
    CHECK(rc == 0);
}

static void traffic_stop(struct traffic *traffic)
{
    atomic_store(&traffic->stop, true);
    (void)pthread_join(traffic->thread, NULL);
}

/* ---- steps ----------------------------------------------------------------------------------- */

struct tour {
    struct dev *dev;
    bool held;
};

static double ms_since(clk_ns began)
{
    return (double)(dev_now() - began) / 1e6;
}

static void say(struct tour *tour, bool held, const char *text)
{
    (void)printf("  [%s] %s\n", held ? "ok" : "FAILED", text);
    (void)fflush(stdout);
    tour->held = tour->held && held;
}

static void say_traffic(const struct traffic *traffic, char *dest, size_t size)
{
    (void)snprintf(dest, size, "%u requests meanwhile, %u failed%s%.120s, slowest %.0f ms",
                   traffic->requests, traffic->failed, traffic->failed == 0 ? "" : ": ",
                   traffic->failure, (double)traffic->slowest / 1e6);
}

static void give_signal(struct dev *dev, uint32_t child, int signal)
{
    struct dev_order order = {.kind = DEV_ORDER_SIGNAL, .child = child, .signal = signal};
    dev_give(dev, &order);
}

static void start_again(struct dev *dev, uint32_t child)
{
    struct dev_order order = {.kind = DEV_ORDER_START, .child = child};
    dev_give(dev, &order);
}

/* Waits until the count of `what` in the answer is `count`; false: not in time. */
static bool wait_count(struct dev *dev, const char *target, const char *what, unsigned count)
{
    char answer[ANSWER_MAX];
    clk_ns until = dev_now() + CLK_S(WAIT_S);
    while (dev_now() < until && dev_sleep(dev, POLL_MS)) {
        unsigned found = 0;
        unsigned status = dev_ask(dev->places[0].http, false, target, NULL, answer, sizeof(answer));
        for (const char *at = answer; (at = strstr(at, what)) != NULL; at++) {
            found++;
        }
        if (status == 200 && found == count) {
            return true;
        }
    }
    return false;
}

static bool wait_passing(struct dev *dev, unsigned count)
{
    return wait_count(dev, "/v1/health/service/hello?passing", "\"Service\":{", count);
}

static bool wait_registered(struct dev *dev, unsigned count)
{
    return wait_count(dev, "/v1/catalog/service/hello", "\"ServiceID\":", count);
}

/* Requests through all gateways; both instances answer. */
static void step_spread(struct tour *tour)
{
    struct dev *dev = tour->dev;
    unsigned one = 0;
    unsigned two = 0;
    char answer[256];
    char text[256];
    clk_ns began = dev_now();
    for (uint32_t i = 0; i < SPREAD_REQUESTS; i++) {
        const char *gateway = dev->places[i % dev->node_count].gateway;
        if (dev_ask(gateway, false, "/", NULL, answer, sizeof(answer)) == 200) {
            one += strstr(answer, "hello-1") != NULL;
            two += strstr(answer, "hello-2") != NULL;
        }
    }
    (void)snprintf(text, sizeof(text),
                   "gateway: %d requests through %u gateways: hello-1 answered %u, hello-2 %u; "
                   "%.0f ms in all",
                   SPREAD_REQUESTS, dev->node_count, one, two, ms_since(began));
    say(tour, one > 0 && two > 0 && one + two == SPREAD_REQUESTS, text);
}

static void step_kv(struct tour *tour)
{
    struct dev *dev = tour->dev;
    uint32_t last = dev->node_count - 1;
    char answer[256];
    char text[256];
    clk_ns began = dev_now();
    unsigned put =
        dev_ask(dev->places[0].http, true, "/v1/kv/tour", "first", answer, sizeof(answer));
    double put_ms = ms_since(began);
    began = dev_now();
    unsigned got = dev_ask(dev->places[last].http, false, "/v1/kv/tour?raw&consistent", NULL,
                           answer, sizeof(answer));
    (void)snprintf(
        text, sizeof(text),
        "key-values: written through n1 in %.1f ms, read through n%u in %.1f ms: \"%.32s\"", put_ms,
        last + 1, ms_since(began), answer);
    say(tour, put == 200 && got == 200 && strcmp(answer, "first") == 0, text);
}

/* An instance dies without a word: the gateway takes the other one, the check notices. */
static void step_kill_instance(struct tour *tour)
{
    struct dev *dev = tour->dev;
    uint32_t child = dev->node_count + SERVICE_HELLO_2;
    struct traffic traffic;
    char told[256];
    char text[512];
    traffic_start(&traffic, dev->places[0].gateway);
    clk_ns began = dev_now();
    give_signal(dev, child, SIGKILL);
    bool noticed = wait_passing(dev, 1);
    double noticed_ms = ms_since(began);
    (void)dev_sleep(dev, AFTER_MS);
    traffic_stop(&traffic);
    say_traffic(&traffic, told, sizeof(told));
    (void)snprintf(text, sizeof(text),
                   "instance hello-2 killed with SIGKILL: its check failed after %.0f ms; %s",
                   noticed_ms, told);
    say(tour, noticed && traffic.failed == 0, text);
    began = dev_now();
    start_again(dev, child);
    bool back = wait_passing(dev, 2);
    (void)snprintf(text, sizeof(text), "hello-2 started again: in service after %.0f ms",
                   ms_since(began));
    say(tour, back, text);
}

/* An instance leaves as it should: it deregisters, then ends. */
static void step_stop_instance(struct tour *tour)
{
    struct dev *dev = tour->dev;
    uint32_t child = dev->node_count + SERVICE_HELLO_2;
    struct traffic traffic;
    char told[256];
    char text[512];
    traffic_start(&traffic, dev->places[0].gateway);
    clk_ns began = dev_now();
    give_signal(dev, child, SIGTERM);
    bool gone = wait_registered(dev, 1);
    double gone_ms = ms_since(began);
    (void)dev_sleep(dev, AFTER_MS);
    traffic_stop(&traffic);
    say_traffic(&traffic, told, sizeof(told));
    (void)snprintf(text, sizeof(text),
                   "instance hello-2 stopped with SIGTERM: deregistered after %.0f ms; %s", gone_ms,
                   told);
    say(tour, gone && traffic.failed == 0, text);
    start_again(dev, child);
    (void)wait_passing(dev, 2);
}

/* The first write that is acknowledged; false: none in time. */
static bool write_until_done(struct dev *dev, const char *addr, const char *value)
{
    char answer[256];
    clk_ns until = dev_now() + CLK_S(WAIT_S);
    while (dev_now() < until && !atomic_load(&dev->stopping)) {
        if (dev_ask(addr, true, "/v1/kv/tour", value, answer, sizeof(answer)) == 200) {
            return true;
        }
    }
    return false;
}

static bool caught_up(struct dev *dev, uint32_t node)
{
    char answer[256];
    clk_ns until = dev_now() + CLK_S(WAIT_S);
    while (dev_now() < until && dev_sleep(dev, POLL_MS)) {
        if (dev_ask(dev->places[node].http, false, "/v1/kv/tour?raw&consistent", NULL, answer,
                    sizeof(answer)) == 200 &&
            strcmp(answer, "second") == 0) {
            return true;
        }
    }
    return false;
}

/* The leader dies: writes go on as soon as another one is elected, requests without a pause. */
static void step_kill_leader(struct tour *tour)
{
    struct dev *dev = tour->dev;
    struct traffic traffic;
    char told[256];
    char text[512];
    int leader = dev_leader(dev);
    if (leader < 0) {
        say(tour, false, "nobody leads");
        return;
    }
    uint32_t other = ((uint32_t)leader + 1) % dev->node_count;
    const struct dev_place *place = &dev->places[other];
    traffic_start(&traffic, place->gateway);
    clk_ns began = dev_now();
    give_signal(dev, (uint32_t)leader, SIGKILL);
    bool written = write_until_done(dev, place->http, "second");
    double written_ms = ms_since(began);
    (void)dev_sleep(dev, AFTER_MS);
    traffic_stop(&traffic);
    say_traffic(&traffic, told, sizeof(told));
    (void)snprintf(text, sizeof(text),
                   "leader n%d killed with SIGKILL: next write acknowledged after %.0f ms; %s",
                   leader + 1, written_ms, told);
    say(tour, written && traffic.failed == 0, text);
    int next = dev_leader(dev);
    began = dev_now();
    start_again(dev, (uint32_t)leader);
    bool back = caught_up(dev, (uint32_t)leader);
    (void)snprintf(text, sizeof(text),
                   "n%d leads now; n%d started again: caught up and serving after %.0f ms",
                   next + 1, leader + 1, ms_since(began));
    say(tour, back && next >= 0 && next != leader, text);
}

bool dev_tour(struct dev *dev)
{
    struct tour tour = {.dev = dev, .held = true};
    (void)printf("The tour:\n");
    static void (*const STEPS[])(struct tour * tour) = {step_spread, step_kv, step_kill_instance,
                                                        step_stop_instance, step_kill_leader};
    size_t count = sizeof(STEPS) / sizeof(STEPS[0]);
    if (dev->node_count == 1) {
        count--; /* a single node's death stops everything */
    }
    for (size_t i = 0; i < count && !atomic_load(&dev->stopping); i++) {
        STEPS[i](&tour);
    }
    (void)printf("%s\n\n", tour.held ? "All held." : "Something did not hold: see above.");
    (void)fflush(stdout);
    return tour.held && !atomic_load(&dev->stopping);
}
