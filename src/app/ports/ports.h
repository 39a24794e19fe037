/* Ports: is an address free, and if not, who holds it.
 *
 * Place: app. For messages at the start only: between the question and the answer anything may
 * happen, so a door that cannot listen later still says so by itself. Source: proc(5). */
#ifndef PORTS_PORTS_H
#define PORTS_PORTS_H

#include "net/net.h"

/* Listens for a moment, without sharing the port. ERR_IN_USE with a note that names the port and,
 * where the system tells, the process that holds it; other errors as net_listen. Waits up to 2 s
 * for a port that no visible process holds: so it is when a node was killed a moment ago. */
ERR_CHECKED enum err ports_probe(const struct net_addr *addr, struct err_note *note);

struct ports_holder {
    int pid;
    char name[32];
};

/* The process that listens on this TCP port, if this user may see it. */
bool ports_find_holder(uint16_t port, struct ports_holder *ret_holder);

#endif
