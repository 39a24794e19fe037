/* Dev, inside: the processes, and what the guide may ask of the thread that owns them.
 *
 * Place: app/dev only. */
#ifndef DEV_DEV_PRIV_H
#define DEV_DEV_PRIV_H

#include "dev/dev.h"
#include "loop/inbox.h"
#include "mem/mem.h"
#include "process/process.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

enum {
    DEV_NODES_MAX = 5,
    DEV_SERVICES_MAX = 3,
    DEV_CHILDREN_MAX = DEV_NODES_MAX + DEV_SERVICES_MAX,
    DEV_ARGS_MAX = 32,
    DEV_PATH_MAX = 256,
    DEV_ADDR_MAX = 32
};

struct dev;

/* What a node's doors are reached at. */
struct dev_place {
    char http[DEV_ADDR_MAX];
    char gateway[DEV_ADDR_MAX];
    char peer[DEV_ADDR_MAX];
    char dir[DEV_PATH_MAX];
};

enum dev_kind {
    DEV_NODE,
    DEV_SERVICE
};

struct dev_child {
    struct dev *dev;
    enum dev_kind kind;
    char name[16];
    char output[DEV_PATH_MAX]; /* its log */
    const char *argv[DEV_ARGS_MAX];
    struct arena texts; /* of argv */

    struct process process;
    struct loop_timer restart;
    clk_ns started_at;
    unsigned starts;
    unsigned quick_deaths; /* one after the other */
    bool running;
    bool held;   /* not to be started again for now */
    bool wanted; /* held, and to be started as soon as it has ended */
};

enum dev_phase {
    DEV_RUNNING,
    DEV_STOPPING_SERVICES,
    DEV_STOPPING_NODES,
    DEV_STOPPED
};

struct dev {
    struct dev_options options;
    char exe[DEV_PATH_MAX];      /* this program */
    char demo_dir[DEV_PATH_MAX]; /* "" without the demo */
    char dir[DEV_PATH_MAX];
    bool dir_is_temporary;
    char secret_file[DEV_PATH_MAX]; /* "" without a secret */
    uint32_t node_count;
    struct dev_place places[DEV_NODES_MAX];
    uint32_t child_count;
    struct dev_child children[DEV_CHILDREN_MAX]; /* nodes first */
    bool has_node_js;

    struct loop *loop;
    clk_ns began_at;
    struct process_signals signals;
    bool signals_closed;
    enum dev_phase phase;
    struct loop_timer patience; /* until what is left is killed */
    int exit_code;

    pthread_t guide;
    struct loop_inbox orders; /* of struct dev_order, from the guide */
    atomic_bool stopping;     /* for the guide: come to an end */
    atomic_bool guide_ended;
};

/* ---- dev_child.c, on the loop's thread ------------------------------------------------------- */

/* Describes node number k (from 0) as a child. ERR_FULL: a path is too long. */
ERR_CHECKED enum err dev_child_node(struct dev *dev, uint32_t number, struct err_note *note);
/* Describes the demo's services. ERR_NOT_FOUND: the demo or Python is not there. */
ERR_CHECKED enum err dev_child_services(struct dev *dev, struct err_note *note);
ERR_CHECKED enum err dev_child_start(struct dev_child *child, struct err_note *note);
/* Starts a child that does not run; one that is held and still running, when it has ended. */
void dev_start(struct dev_child *child);
/* Stops the whole run; the first reason's exit code counts. */
void dev_stop(struct dev *dev, int exit_code);
/* A child of this kind has ended while the run is being stopped. */
void dev_stop_goes_on(struct dev *dev);

/* ---- orders of the guide: executed on the loop's thread, waited for -------------------------- */

enum dev_order_kind {
    DEV_ORDER_SERVICES, /* start the services */
    DEV_ORDER_SIGNAL,   /* send a signal and do not start it again until DEV_ORDER_START */
    DEV_ORDER_START,
    DEV_ORDER_STOP, /* the whole run */
};

struct dev_order {
    enum dev_order_kind kind;
    uint32_t child;
    int signal;
    int exit_code;
    sem_t done;
};

void dev_give(struct dev *dev, struct dev_order *order);

/* ---- dev_guide.c, dev_tour.c, on the guide's thread ------------------------------------------ */

void *dev_guide_main(void *dev);
/* Takes the tour; false: something did not hold. */
bool dev_tour(struct dev *dev);
/* Nanoseconds of the monotonic clock. */
clk_ns dev_now(void);
/* Sleeps; false: the run is being stopped. */
bool dev_sleep(struct dev *dev, unsigned ms);
/* GET or PUT at an address, quietly. status 0: no answer. body may be NULL; what does not fit is
 * cut. */
unsigned dev_ask(const char *addr, bool put, const char *target, const char *body, char *answer,
                 size_t answer_size);
/* The number (from 0) of the node that leads, as any node sees it; -1: nobody. */
int dev_leader(struct dev *dev);

#endif
