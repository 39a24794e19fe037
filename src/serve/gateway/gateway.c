/* Mounts the gateway on all edges of a node, and takes it down again.
 *
 * Place: serve/gateway. The starting thread posts to every edge and waits for all answers; each
 * edge binds its own socket to the common address. */
#include "gateway/gateway.h"

#include "gateway/gateway_mount.h"
#include "mem/mem.h"

#include <semaphore.h>
#include <stdatomic.h>
#include <unistd.h>

struct gateway {
    struct node *node;
    struct gateway_cfg cfg;
    struct gateway_limits limits;
    uint32_t count;
    _Atomic uint32_t running; /* proxies that have not stopped */
    sem_t answers;
    void (*on_stopped)(void *self);
    void *on_stopped_self;
    struct gateway_mount mounts[NODE_EDGES_MAX];
};

/* --- on the edges --- */

static void start_edge(void *self)
{
    struct gateway_mount *mount = self;
    const struct gateway *gateway = mount->gateway;
    const struct gateway_edge_cfg cfg = {.loop = node_edge_loop(mount->edge),
                                         .limits = &gateway->limits,
                                         .log_fd = gateway->cfg.log_fd,
                                         .number = node_edge_number(mount->edge)};
    mount->proxy = gateway_edge_new(&cfg);
    mount->err = gateway_tables_follow(mount);
    if (mount->err == ERR_OK) {
        mount->err = gateway_edge_listen(mount->proxy, &gateway->cfg.addr, true, &mount->note);
    }
    (void)sem_post(&mount->gateway->answers);
}

static void edge_stopped(void *self)
{
    struct gateway_mount *mount = self;
    struct gateway *gateway = mount->gateway;
    if (atomic_fetch_sub(&gateway->running, 1) == 1) {
        gateway->on_stopped(gateway->on_stopped_self);
    }
}

static void stop_edge(void *self)
{
    struct gateway_mount *mount = self;
    gateway_tables_leave(mount);
    gateway_edge_stop(mount->proxy, edge_stopped, mount);
}

/* --- start --- */

/* With a shared port the kernel would not tell that somebody else is there already, so the address
 * is taken alone first; that also settles port 0. */
static enum err settle_address(struct gateway *gateway, struct err_note *note)
{
    int fd = -1;
    enum err err = net_listen(&gateway->cfg.addr, false, &fd, note);
    if (err != ERR_OK) {
        return err;
    }
    err = net_local_addr(fd, &gateway->cfg.addr);
    (void)close(fd);
    return err;
}

static void post_to_all(struct gateway *gateway, void (*fn)(void *self))
{
    for (uint32_t i = 0; i < gateway->count; i++) {
        enum err err = node_edge_post(gateway->mounts[i].edge, fn, &gateway->mounts[i]);
        CHECK(err == ERR_OK); /* posts are not bounded: they are the node's own few */
    }
}

static void wait_for_all(struct gateway *gateway)
{
    for (uint32_t i = 0; i < gateway->count; i++) {
        while (sem_wait(&gateway->answers) != 0) {
            /* interrupted */
        }
    }
}

static void give_answer(void *self)
{
    struct gateway *gateway = self;
    (void)sem_post(&gateway->answers);
}

/* Takes down what a failed start has left. */
static void undo_start(struct gateway *gateway)
{
    gateway_stop(gateway, give_answer, gateway);
    while (sem_wait(&gateway->answers) != 0) {
        /* interrupted */
    }
    gateway_free(gateway);
}

enum err gateway_start(struct node *node, const struct gateway_cfg *cfg,
                       struct gateway **ret_gateway, struct err_note *note)
{
    struct gateway *gateway = mem_alloc(sizeof(*gateway));
    gateway->node = node;
    gateway->cfg = *cfg;
    gateway->limits = cfg->limits != NULL ? *cfg->limits : GATEWAY_LIMITS_DEFAULT;
    gateway->count = node_edge_count(node);
    CHECK(gateway->count > 0 && gateway->count <= NODE_EDGES_MAX);
    int rc = sem_init(&gateway->answers, 0, 0);
    CHECK(rc == 0);
    enum err err = settle_address(gateway, note);
    if (err != ERR_OK) {
        gateway_free(gateway);
        return err_note_wrap(note, err, "gateway");
    }
    for (uint32_t i = 0; i < gateway->count; i++) {
        gateway->mounts[i].gateway = gateway;
        gateway->mounts[i].edge = node_edge_at(node, i);
    }
    atomic_store(&gateway->running, gateway->count);
    post_to_all(gateway, start_edge);
    wait_for_all(gateway);
    for (uint32_t i = 0; i < gateway->count && err == ERR_OK; i++) {
        err = gateway->mounts[i].err;
        if (err != ERR_OK && note != NULL) {
            *note = gateway->mounts[i].note;
        }
    }
    if (err != ERR_OK) {
        undo_start(gateway);
        return err_note_wrap(note, err, "gateway");
    }
    for (uint32_t i = 0; i < gateway->count; i++) {
        gateway_edge_add_metrics(gateway->mounts[i].proxy, node_metrics(node));
    }
    *ret_gateway = gateway;
    return ERR_OK;
}

struct net_addr gateway_addr(const struct gateway *gateway)
{
    return gateway->cfg.addr;
}

/* --- stop --- */

void gateway_stop(struct gateway *gateway, void (*on_stopped)(void *self), void *self)
{
    CHECK(on_stopped != NULL && gateway->on_stopped == NULL);
    gateway->on_stopped = on_stopped;
    gateway->on_stopped_self = self;
    post_to_all(gateway, stop_edge);
}

void gateway_free(struct gateway *gateway)
{
    if (gateway == NULL) {
        return;
    }
    for (uint32_t i = 0; i < gateway->count; i++) {
        gateway_edge_free(gateway->mounts[i].proxy);
    }
    (void)sem_destroy(&gateway->answers);
    mem_free(gateway);
}
