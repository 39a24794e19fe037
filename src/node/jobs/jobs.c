/* Jobs: see jobs.h. Two inboxes and a thread with a loop of its own. */
#include "jobs/jobs.h"

#include "check/check.h"
#include "loop/inbox.h"
#include "mem/mem.h"

#include <pthread.h>

struct jobs {
    struct loop *core;
    struct loop *loop;
    struct loop_inbox wanted; /* to the background thread */
    struct loop_inbox ready;  /* to the core thread */
    pthread_t thread;
    unsigned under_way;
};

static void on_wanted(struct loop_inbox *inbox)
{
    struct jobs *jobs = CONTAINER_OF(inbox, struct jobs, wanted);
    struct job *job = NULL;
    while ((job = inbox_pop(inbox)) != NULL) {
        job->work(job);
        enum err err = inbox_push(&jobs->ready, job);
        CHECK(err == ERR_OK); /* both inboxes hold JOBS_MAX */
        inbox_wake(&jobs->ready);
    }
}

static void on_ready(struct loop_inbox *inbox)
{
    struct jobs *jobs = CONTAINER_OF(inbox, struct jobs, ready);
    struct job *job = NULL;
    while ((job = inbox_pop(inbox)) != NULL) {
        jobs->under_way--;
        job->done(job);
    }
}

static void *thread_main(void *arg)
{
    struct jobs *jobs = arg;
    loop_run(jobs->loop);
    on_wanted(&jobs->wanted);
    return NULL;
}

enum err jobs_new(struct loop *core, struct jobs **ret_jobs, struct err_note *note)
{
    struct jobs *jobs = mem_alloc_aligned(64, sizeof(*jobs));
    jobs->core = core;
    struct loop_config cfg = {.backend = LOOP_BACKEND_EPOLL, .recv_chunks = 2};
    enum err err = loop_new(&cfg, &jobs->loop, note);
    if (err != ERR_OK) {
        mem_free(jobs);
        return err;
    }
    inbox_init(&jobs->wanted, jobs->loop, JOBS_MAX, on_wanted);
    inbox_init(&jobs->ready, core, JOBS_MAX, on_ready);
    if (pthread_create(&jobs->thread, NULL, thread_main, jobs) != 0) {
        inbox_done(&jobs->ready);
        inbox_done(&jobs->wanted);
        loop_free(jobs->loop);
        mem_free(jobs);
        return err_note_set(note, ERR_IO, "cannot start the background thread");
    }
    *ret_jobs = jobs;
    return ERR_OK;
}

void jobs_free(struct jobs *jobs)
{
    if (jobs == NULL) {
        return;
    }
    loop_stop(jobs->loop);
    (void)pthread_join(jobs->thread, NULL);
    on_ready(&jobs->ready);
    CHECK(jobs->under_way == 0);
    inbox_done(&jobs->ready);
    inbox_done(&jobs->wanted);
    loop_free(jobs->loop);
    mem_free(jobs);
}

enum err jobs_run(struct jobs *jobs, struct job *job)
{
    CHECK(job->work != NULL && job->done != NULL);
    if (jobs->under_way >= JOBS_MAX) {
        return ERR_FULL;
    }
    enum err err = inbox_push(&jobs->wanted, job);
    CHECK(err == ERR_OK);
    jobs->under_way++;
    inbox_wake(&jobs->wanted);
    return ERR_OK;
}
