/* Processes and what belongs to this one: children, signals, secrets, the lock file.
 *
 * Place: io, on the loop: exits arrive through pidfds, signals through a signalfd; nothing polls
 * and no signal handler runs. See loop/loop.h for ownership and completion. */
#ifndef PROCESS_PROCESS_H
#define PROCESS_PROCESS_H

#include "loop/loop.h"

#include <stdint.h>
#include <sys/types.h>

/* --- children --- */

struct process_spec {
    /* argv[0] is the program, looked up in PATH when it has no slash; NULL at the end. */
    const char *const *argv;
    /* NULL: this process's environment; else NULL at the end. */
    const char *const *envp;
    /* NULL: this process's. */
    const char *work_dir;
    /* Standard output and error are appended to it (created 0600); NULL: inherited. */
    const char *output_path;
    /* SIGKILL to the child when the thread that started it ends (PR_SET_PDEATHSIG). */
    bool die_with_parent;
    /* A process group of its own: process_signal_group reaches its children too. */
    bool own_group;
};

struct process {
    /* Private to this module, but for pid. */
    struct loop_watch watch;
    struct loop *loop;
    pid_t pid; /* valid until on_exit returns */
    int pidfd;
    int status;
    bool exited;
    void (*on_exit)(struct process *process, int exit_code, int signal);
};

/* Starts a child; spec is borrowed until return. Standard input is /dev/null; descriptors other
 * than 0-2 are closed in the child; its signal mask is empty. A program that cannot be executed
 * fails here, with a note that names it. on_exit comes once: exit_code >= 0 and signal 0, or
 * exit_code -1 and the signal that ended it; then the memory is the caller's again. ERR_NOT_FOUND,
 * ERR_DENIED, ERR_FULL, ERR_IO. */
ERR_CHECKED enum err
process_spawn(struct process *process, struct loop *loop, const struct process_spec *spec,
              void (*on_exit)(struct process *process, int exit_code, int signal),
              struct err_note *note);
/* Signals the child (never a stranger with a reused pid: it goes through the pidfd). Does nothing
 * once it has exited. */
void process_signal(struct process *process, int signal);
/* Signals the whole group of a child that was started with own_group. */
void process_signal_group(struct process *process, int signal);

/* --- signals to this process --- */

struct process_signals {
    /* Private to this module. */
    struct loop_watch watch;
    int fd;
    void (*on_signal)(struct process_signals *signals, int signal);
    void (*on_closed)(struct process_signals *signals);
};

/* Blocks SIGINT, SIGTERM, SIGHUP in the calling thread and ignores SIGPIPE: call in main before any
 * thread is made, so that all inherit it. */
void process_signals_block(void);
/* on_signal for each blocked signal that arrives, on the loop's thread. ERR_FULL, ERR_IO. */
ERR_CHECKED enum err process_signals_start(struct process_signals *signals, struct loop *loop,
                                           void (*on_signal)(struct process_signals *signals,
                                                             int signal));
/* on_closed is the last callback. */
void process_signals_stop(struct process_signals *signals,
                          void (*on_closed)(struct process_signals *signals));

/* --- randomness from the system, for secrets and identities --- */

/* Fills dest from getrandom(2); never fails (it waits for the pool at boot). */
void process_random(void *dest, size_t size);

/* --- lock files --- */

struct process_lock {
    int fd; /* -1: not held */
};

/* Creates or opens path (0600), locks it with flock(2) and writes this pid into it. ERR_IN_USE:
 * another process holds it; the note names the file and the holder's pid. ERR_DENIED,
 * ERR_NOT_FOUND, ERR_NO_SPACE, ERR_IO. */
ERR_CHECKED enum err process_lock_take(struct process_lock *lock, const char *path,
                                       struct err_note *note);
/* The process that holds the lock file `name` of the directory `dir_fd`, as the kernel's list of
 * locks says it; 0: none that this process can see. Takes nothing, so that a process that starts
 * meanwhile finds the lock free. */
long process_lock_holder(int dir_fd, const char *name);
/* Unlocks; the file stays, emptied (removing it would race with the next holder). Accepts one not
 * held. */
void process_lock_release(struct process_lock *lock);

#endif
