/* Opening and closing the doors of every edge.
 *
 * Each step is posted to one edge after the other and waited for: starting and stopping need no
 * speed, and nothing here is shared between threads but the step itself. */
#include "wiring/doors.h"

#include "api/api.h"
#include "check/check.h"
#include "consul/consul.h"
#include "log/log.h"
#include "web/web.h"

#include <errno.h>
#include <semaphore.h>

enum {
    DRAIN_MS = 500 /* for requests under way when the program stops */
};

struct edge_doors {
    struct doors *doors;
    struct node_edge *edge;
    struct web web;
    struct api api;
    struct consul consul;
    struct loop_timer drain_timer;
    bool drained;
};

struct doors {
    struct node *node;
    const struct server_plan *plan;
    uint32_t count;
    struct edge_doors *edges;

    /* The step under way. */
    sem_t done;
    enum err err;
    struct err_note note;
};

/* Runs fn on the edge's thread; it ends with step_done(), then or later. */
static void run_step(struct edge_doors *edge, void (*fn)(void *self))
{
    enum err err = node_edge_post(edge->edge, fn, edge);
    CHECK(err == ERR_OK);
    while (sem_wait(&edge->doors->done) != 0) {
        CHECK(errno == EINTR);
    }
}

static void step_done(struct edge_doors *edge)
{
    int rc = sem_post(&edge->doors->done);
    CHECK(rc == 0);
}

/* ---- opening --------------------------------------------------------------------------------- */

static void on_edge_prepare(void *self)
{
    struct edge_doors *edge = self;
    web_open(&edge->web, edge->edge, &WEB_CONFIG_DEFAULT);
    api_mount(&edge->api, &edge->web);
    consul_mount(&edge->consul, &edge->web);
    web_metrics(&edge->web, node_metrics(edge->doors->node));
    step_done(edge);
}

struct doors *doors_new(struct node *node, const struct server_plan *plan)
{
    struct doors *doors = mem_alloc(sizeof(*doors));
    doors->node = node;
    doors->plan = plan;
    doors->count = node_edge_count(node);
    doors->edges = mem_alloc_aligned(64, doors->count * sizeof(*doors->edges));
    int rc = sem_init(&doors->done, 0, 0);
    CHECK(rc == 0);
    for (uint32_t i = 0; i < doors->count; i++) {
        doors->edges[i].doors = doors;
        doors->edges[i].edge = node_edge_at(node, i);
        run_step(&doors->edges[i], on_edge_prepare);
    }
    return doors;
}

static void on_edge_listen(void *self)
{
    struct edge_doors *edge = self;
    struct doors *doors = edge->doors;
    bool shared = doors->count > 1;
    doors->err = http_server_listen(&edge->web.server, &doors->plan->http, shared, &doors->note);
    step_done(edge);
}

enum err doors_listen(struct doors *doors, struct err_note *note)
{
    for (uint32_t i = 0; i < doors->count && doors->err == ERR_OK; i++) {
        run_step(&doors->edges[i], on_edge_listen);
    }
    if (doors->err != ERR_OK) {
        *note = doors->note;
        return doors->err;
    }
    log_event(LOG_DOOR_LISTENING, "door=http addr=%s", doors->plan->node.http_addr);
    return ERR_OK;
}

/* ---- closing --------------------------------------------------------------------------------- */

static void on_web_closed(struct web *web)
{
    step_done(CONTAINER_OF(web, struct edge_doors, web));
}

static void close_web(struct edge_doors *edge)
{
    if (!edge->drained) {
        edge->drained = true;
        loop_timer_cancel(node_edge_loop(edge->edge), &edge->drain_timer);
        web_close(&edge->web, on_web_closed);
    }
}

static void on_drain_timer(struct loop_timer *timer)
{
    close_web(CONTAINER_OF(timer, struct edge_doors, drain_timer));
}

static void on_web_drained(struct http_server *server)
{
    close_web(CONTAINER_OF(server, struct edge_doors, web.server));
}

static void on_edge_close(void *self)
{
    struct edge_doors *edge = self;
    struct loop *loop = node_edge_loop(edge->edge);
    loop_timer_set(loop, &edge->drain_timer, loop_now(loop) + CLK_MS(DRAIN_MS), on_drain_timer);
    http_server_drain(&edge->web.server, on_web_drained);
}

void doors_close(struct doors *doors)
{
    if (doors == NULL) {
        return;
    }
    for (uint32_t i = 0; i < doors->count; i++) {
        run_step(&doors->edges[i], on_edge_close);
    }
    (void)sem_destroy(&doors->done);
    mem_free(doors->edges);
    mem_free(doors);
}
