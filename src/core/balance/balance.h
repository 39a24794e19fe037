/* Balancing: which of several endpoints gets the next request.
 *
 * Place: core; the gateway asks once per attempt. Power of two choices: two endpoints are drawn at
 * random and the less loaded one is taken. Against "the least loaded of all" this costs two looks
 * however many endpoints there are, and many balancers with old knowledge do not all run to the
 * same endpoint; against one random draw the longest queue falls from log n / log log n to
 * log log n.
 *
 * Source: M. Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001. */
#ifndef BALANCE_BALANCE_H
#define BALANCE_BALANCE_H

#include "rnd/rnd.h"

#include <stddef.h>
#include <stdint.h>

#define BALANCE_NONE SIZE_MAX
/* A load from here on: taken only when there is nothing better (it failed a moment ago). */
#define BALANCE_AVOID (UINT64_C(1) << 32)

struct balance_ask {
    size_t count;   /* of endpoints, numbered from 0 */
    size_t exclude; /* a number that must not be chosen, or BALANCE_NONE */
    /* Requests in flight, plus BALANCE_AVOID when it is to be avoided. */
    uint64_t (*load)(const void *context, size_t number);
    const void *context; /* borrowed during the call */
};

/* The chosen number; BALANCE_NONE when nothing may be chosen. Equal loads: either, by chance. When
 * both of the two drawn are to be avoided, all are looked at. */
size_t balance_pick(const struct balance_ask *ask, struct rnd *rnd);

#endif
