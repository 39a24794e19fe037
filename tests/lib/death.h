/* Death tests: a claim that a misuse ends the process, tried in a child. */
#ifndef DEATH_H
#define DEATH_H

#include "test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Runs act(argument) in a child process; returns how it ended, as waitpid tells it. The child must
 * have printed `says` on its standard error. */
static inline int death_of(void (*act)(void *), void *argument, const char *says)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)dup2(ends[1], STDERR_FILENO);
        (void)signal(SIGABRT, SIG_DFL);
        act(argument);
        _exit(0);
    }
    close(ends[1]);
    char text[4096];
    char rest[4096];
    size_t used = 0;
    ssize_t got = 0;
    while (used < sizeof(text) - 1 &&
           (got = read(ends[0], text + used, sizeof(text) - 1 - used)) > 0) {
        used += (size_t)got;
    }
    text[used] = '\0';
    while (read(ends[0], rest, sizeof(rest)) > 0) {
        /* A child that still prints must not die of a closed pipe instead. */
    }
    close(ends[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    if (strstr(text, says) == NULL) {
        fail_msg("expected \"%s\" in: %s", says, text);
    }
    return status;
}

/* The child ends by SIGABRT, as after a failed CHECK. */
static inline void assert_aborts(void (*act)(void *), void *argument, const char *says)
{
    int status = death_of(act, argument, says);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

/* The child ends by any signal or with a failure, as after a sanitizer's report. */
static inline void assert_dies(void (*act)(void *), void *argument, const char *says)
{
    int status = death_of(act, argument, says);
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
}

#endif
