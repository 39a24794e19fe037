/* Doors: the HTTP port of a node, on every edge thread of it.
 *
 * Place: app/wiring. The port carries the API and Consul's API. All edges listen on the same
 * address; the kernel spreads connections. Calls come from the main thread and wait until the
 * edges have done their part. */
#ifndef WIRING_DOORS_H
#define WIRING_DOORS_H

#include "config/config.h"

struct doors;

/* Prepares the doors on every edge; nothing listens yet. plan is borrowed until doors_close. */
struct doors *doors_new(struct node *node, const struct server_plan *plan);
/* Listens. ERR_IN_USE and the like, with a note. Afterwards doors_close. */
ERR_CHECKED enum err doors_listen(struct doors *doors, struct err_note *note);
/* Stops accepting, lets requests end for a moment, closes, frees. Accepts NULL. */
void doors_close(struct doors *doors);

#endif
