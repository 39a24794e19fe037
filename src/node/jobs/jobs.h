/* Jobs: blocking work of the core thread, done on the background thread.
 *
 * Place: node. Snapshot files are written, read, received and verified here; name look-ups too. A
 * job is embedded in its owner's memory; it is run once in the background and then reported on the
 * core thread. Jobs run one at a time, in order.
 *
 * Invariant: at most JOBS_MAX jobs are under way; then jobs_run says ERR_FULL. */
#ifndef JOBS_JOBS_H
#define JOBS_JOBS_H

#include "err/err.h"

#include <stdbool.h>

struct loop;
struct jobs;

enum {
    JOBS_MAX = 256
};

struct job {
    void (*work)(struct job *job); /* background thread; may block; touches nothing shared */
    void (*done)(struct job *job); /* core thread */
};

/* Starts the thread. core: the loop that done() runs on, before its first turn or on its thread. */
ERR_CHECKED enum err jobs_new(struct loop *core, struct jobs **ret_jobs, struct err_note *note);
/* Runs what is queued, joins the thread and calls done() of the rest; on the core thread. */
void jobs_free(struct jobs *jobs);
/* The job belongs to the module until done(). ERR_FULL. */
ERR_CHECKED enum err jobs_run(struct jobs *jobs, struct job *job);

#endif
