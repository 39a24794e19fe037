/* Linearizability of one key's history: can the operations be put into one order that respects what
 * ended before what began, and in which every answer is right?
 *
 * Place: tests; the simulator and tests/chaos judge with it. The model is a register with
 * compare-and-set. Values are numbers, 0: the key is not there. An operation whose outcome is
 * unknown may take effect at any time after its beginning, or never. */
#ifndef LINEAR_H
#define LINEAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum linear_kind {
    LINEAR_READ,
    LINEAR_WRITE,
    LINEAR_CAS
};

struct linear_op {
    enum linear_kind kind;
    bool known;       /* it was answered */
    bool done;        /* of a CAS with a known outcome: it took effect */
    uint64_t expect;  /* CAS: the value that it replaces */
    uint64_t value;   /* what was read or is to be written */
    uint64_t invoked; /* any clock that all operations share */
    uint64_t returned;
};

enum linear_verdict {
    LINEAR_YES,
    LINEAR_NO,
    LINEAR_UNDECIDED /* more was to be tried than the limit allows */
};

enum {
    LINEAR_STEPS = 400000, /* tried at most; and more for each operation */
    LINEAR_STEPS_PER_OP = 32,
};

/* Time and memory are bounded by LINEAR_STEPS + count * LINEAR_STEPS_PER_OP. */
enum linear_verdict linear_check(const struct linear_op *ops, size_t count);

#endif
