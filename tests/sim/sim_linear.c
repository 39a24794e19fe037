/* Linearizability of one key's history: can the operations be put into one order that respects what
 * ended before what began, and in which every answer is right?
 *
 * The search of Wing and Gong ("Testing and Verifying Concurrent Objects", 1993) with the
 * memoisation of Lowe ("Testing for linearizability", 2017): a set of operations done, together
 * with the state that they lead to, is looked at once. An operation whose outcome is unknown has no
 * end: it may take effect at any time after its beginning, or never. */
#include "map/map.h"
#include "sim.h"

#include <stdlib.h>

enum {
    STEPS_MAX = 400000,
    MEMO_SIZE = 1 << 13
};

/* A beginning or an end, in order of time. */
struct moment {
    struct moment *next;
    struct moment *prev;
    struct moment *end; /* of a beginning; NULL: there is none */
    size_t op;
    clk_ns at;
    bool is_end;
};

struct memo {
    uint64_t (*slots)[2];
    size_t size;
    size_t count;
};

struct frame {
    struct moment *moment;
    uint64_t state;
};

struct search {
    const struct sim_op *const *ops;
    const uint64_t *numbers;
    struct moment *moments;
    size_t moment_count;
    struct moment head;
    struct memo memo;
    struct frame *stack;
    size_t depth;
    uint64_t hash[2];
    size_t left; /* operations with a known outcome that are not in the order yet */
};

/* ---- the model: a register with compare-and-set ---------------------------------------------- */

static bool model_step(const struct sim_op *op, uint64_t state, uint64_t *ret_state)
{
    *ret_state = state;
    switch (op->kind) {
    case SIM_PUT:
    case SIM_DELETE:
        *ret_state = op->value;
        return true;
    case SIM_CAS:
        if (op->outcome == SIM_OK && op->done != (state == op->expect)) {
            return false;
        }
        *ret_state = state == op->expect ? op->value : state;
        return true;
    case SIM_READ:
        return state == op->value;
    case SIM_STALE:
        break;
    }
    CHECK_UNREACHABLE();
}

/* ---- memory of what was tried ---------------------------------------------------------------- */

static bool memo_put(struct memo *memo, uint64_t a, uint64_t b)
{
    size_t at = a & (memo->size - 1);
    while (memo->slots[at][0] != 0 || memo->slots[at][1] != 0) {
        if (memo->slots[at][0] == a && memo->slots[at][1] == b) {
            return false;
        }
        at = (at + 1) & (memo->size - 1);
    }
    memo->slots[at][0] = a;
    memo->slots[at][1] = b;
    memo->count++;
    return true;
}

static void memo_grow(struct memo *memo)
{
    struct memo bigger = {.size = memo->size * 2};
    bigger.slots = mem_alloc_array(bigger.size, sizeof(*bigger.slots));
    for (size_t i = 0; i < memo->size; i++) {
        if (memo->slots[i][0] != 0 || memo->slots[i][1] != 0) {
            (void)memo_put(&bigger, memo->slots[i][0], memo->slots[i][1]);
        }
    }
    mem_free(memo->slots);
    *memo = bigger;
}

static bool is_new(struct search *s, uint64_t state)
{
    if (s->memo.count * 2 > s->memo.size) {
        memo_grow(&s->memo);
    }
    return memo_put(&s->memo, s->hash[0] ^ hash_u64(state + 1), s->hash[1] ^ hash_u64(~state));
}

static void toggle(struct search *s, size_t op)
{
    s->hash[0] ^= hash_u64(2 * s->numbers[op] + 1);
    s->hash[1] ^= hash_u64((2 * s->numbers[op]) ^ 0x9e3779b97f4a7c15u);
}

/* ---- the list of moments --------------------------------------------------------------------- */

static void take_out(struct moment *moment)
{
    moment->prev->next = moment->next;
    if (moment->next != NULL) {
        moment->next->prev = moment->prev;
    }
}

static void put_back(struct moment *moment)
{
    moment->prev->next = moment;
    if (moment->next != NULL) {
        moment->next->prev = moment;
    }
}

static int in_time(const void *a, const void *b)
{
    const struct moment *left = a;
    const struct moment *right = b;
    if (left->at != right->at) {
        return left->at < right->at ? -1 : 1;
    }
    if (left->is_end != right->is_end) {
        return left->is_end ? 1 : -1; /* of the same instant: as if they overlapped */
    }
    return left->op < right->op ? -1 : left->op > right->op;
}

static void make_moments(struct search *s, size_t count)
{
    s->moments = mem_alloc_array(2 * count + 1, sizeof(*s->moments));
    for (size_t i = 0; i < count; i++) {
        s->moments[s->moment_count++] = (struct moment){.op = i, .at = s->ops[i]->invoked};
        if (s->ops[i]->outcome == SIM_OK) {
            s->moments[s->moment_count++] =
                (struct moment){.op = i, .at = s->ops[i]->returned, .is_end = true};
            s->left++;
        }
    }
    qsort(s->moments, s->moment_count, sizeof(*s->moments), in_time);
    struct moment **begins = mem_alloc_array(count + 1, sizeof(struct moment *));
    struct moment *last = &s->head;
    for (size_t i = 0; i < s->moment_count; i++) {
        struct moment *moment = &s->moments[i];
        moment->prev = last;
        last->next = moment;
        last = moment;
        if (moment->is_end) {
            begins[moment->op]->end = moment;
        } else {
            begins[moment->op] = moment;
        }
    }
    mem_free(begins);
}

/* ---- the search ------------------------------------------------------------------------------ */

static bool try_next(struct search *s, struct moment *moment, uint64_t *state)
{
    uint64_t after = 0;
    if (!model_step(s->ops[moment->op], *state, &after)) {
        return false;
    }
    toggle(s, moment->op);
    if (!is_new(s, after)) {
        toggle(s, moment->op);
        return false;
    }
    s->stack[s->depth++] = (struct frame){.moment = moment, .state = *state};
    *state = after;
    take_out(moment);
    if (moment->end != NULL) {
        take_out(moment->end);
        s->left--;
    }
    return true;
}

static struct moment *step_back(struct search *s, uint64_t *state)
{
    struct frame frame = s->stack[--s->depth];
    *state = frame.state;
    toggle(s, frame.moment->op);
    if (frame.moment->end != NULL) {
        put_back(frame.moment->end);
        s->left++;
    }
    put_back(frame.moment);
    return frame.moment->next;
}

static enum sim_verdict search(struct search *s)
{
    uint64_t state = 0;
    struct moment *at = s->head.next;
    for (int i = 0; i < STEPS_MAX; i++) {
        if (s->left == 0) {
            return SIM_LINEARIZABLE;
        }
        if (at != NULL && !at->is_end) {
            at = try_next(s, at, &state) ? s->head.next : at->next;
        } else if (s->depth == 0) {
            return SIM_NOT_LINEARIZABLE;
        } else {
            at = step_back(s, &state);
        }
    }
    return SIM_UNDECIDED;
}

enum sim_verdict sim_linear_check(const struct sim_op *const *ops, const uint64_t *numbers,
                                  size_t count)
{
    struct search s = {.ops = ops, .numbers = numbers};
    s.memo.size = MEMO_SIZE;
    s.memo.slots = mem_alloc_array(s.memo.size, sizeof(*s.memo.slots));
    s.stack = mem_alloc_array(count + 1, sizeof(*s.stack));
    make_moments(&s, count);
    enum sim_verdict verdict = search(&s);
    mem_free(s.moments);
    mem_free(s.memo.slots);
    mem_free(s.stack);
    return verdict;
}
