/* The server: one node with its doors, from the checked settings to the exit code.
 *
 * Place: app. Threads: the main thread waits for signals on a loop of its own; the node has the
 * others (docs/architecture.md, "Threads").
 *
 * Start: ports free -> data directory, pid file -> node -> doors prepared on every edge -> listen
 *        -> health, members -> run.
 * Stop:  doors closed on the edges' threads -> members, health -> node -> pid file. */
#ifndef WIRING_SERVER_H
#define WIRING_SERVER_H

#include "config/config.h"

/* Version of the program, as in meson.build. */
extern const char SERVER_VERSION[];

/* Runs until SIGINT or SIGTERM: 0. 1: it could not start, or the node stopped by itself (failed
 * disk, full disk); one sentence on standard error says why and where. SIGHUP opens the access log
 * anew. */
int server_run(const struct server_plan *plan);

#endif
