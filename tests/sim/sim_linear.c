/* A key's history for tests/lib/linear, which judges whether it is linearizable. */
#include "sim.h"

static struct linear_op linear_of(const struct sim_op *op)
{
    enum linear_kind kind = op->kind == SIM_READ  ? LINEAR_READ
                            : op->kind == SIM_CAS ? LINEAR_CAS
                                                  : LINEAR_WRITE;
    CHECK(op->kind != SIM_STALE);
    return (struct linear_op){.kind = kind,
                              .known = op->outcome == SIM_OK,
                              .done = op->done,
                              .expect = op->expect,
                              .value = op->value,
                              .invoked = op->invoked,
                              .returned = op->returned};
}

enum linear_verdict sim_linear_check(const struct sim_op *const *ops, size_t count)
{
    struct linear_op *history = mem_alloc_array(count + 1, sizeof(*history));
    for (size_t i = 0; i < count; i++) {
        history[i] = linear_of(ops[i]);
    }
    enum linear_verdict verdict = linear_check(history, count);
    mem_free(history);
    return verdict;
}
