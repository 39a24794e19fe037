/* Dev: a cluster of real node processes on this machine, with or without the demo.
 *
 * Place: app. One thread (this one) starts, watches and stops the processes on a loop; a second
 * one, the guide, talks to them over HTTP as any client would: it waits until there is a leader,
 * prints where everything is, and takes the tour. */
#ifndef DEV_DEV_H
#define DEV_DEV_H

#include "flags/flags.h"

struct dev_options {
    uint64_t nodes;
    const char *data; /* NULL: a fresh directory that is removed at the end */
    bool demo;
    uint64_t exit_after_s; /* 0: until a signal */
    bool no_restart;
    bool no_secret;     /* the nodes' connections are in the clear */
    uint64_t port_base; /* HTTP is 500 above, the gateway 80, peers 300 */
    const char *loop;
    const char *log_level;
    uint64_t edges;
};

extern const struct dev_options DEV_OPTIONS_DEFAULT;
extern const struct flag_table DEV_FLAGS;

/* ERR_BAD_INPUT with a note that names the flag. */
ERR_CHECKED enum err dev_check(const struct dev_options *options, struct err_note *note);
/* Runs until SIGINT, SIGTERM or the end of --exit-after. Exit code: 0; 1: a node could not start
 * (the reason is printed), or the tour found something that did not hold. */
int dev_run(const struct dev_options *options);

#endif
