/* The search of Wing and Gong ("Testing and Verifying Concurrent Objects", 1993) with the
 * memoisation of Lowe ("Testing for linearizability", 2017): a set of operations done, together
 * with the state that they lead to, is looked at once.
 *
 * Unknown outcomes make the search wide, and most need no guess. Of a value that one operation
 * alone writes:
 *   - somebody saw it: it took effect, and before the first who saw it was answered;
 *   - nobody saw it: it can only explain a compare-and-set that failed. So it is left out at first;
 *     only when the rest is not linearizable are such writes tried, right before the one that they
 *     explain, all as one value SPARE. */
#include "linear.h"

#include "check/check.h"
#include "map/map.h"
#include "mem/mem.h"

#include <stdlib.h>

enum {
    MEMO_SIZE = 1 << 13
};

static const uint64_t SPARE = UINT64_MAX;

/* A beginning or an end, in order of time. */
struct moment {
    struct moment *next;
    struct moment *prev;
    struct moment *end; /* of a beginning; NULL: there is none */
    size_t op;
    uint64_t at;
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
    bool free;
};

struct search {
    const struct linear_op *ops;
    size_t count;
    struct moment *moments;
    size_t moment_count;
    struct moment head;
    struct memo memo;
    struct frame *stack;
    size_t depth;
    bool free; /* the move at hand is */
    uint64_t hash[2];
    size_t left; /* operations with a known outcome that are not in the order yet */
};

/* ---- the model ------------------------------------------------------------------------------- */

static bool model_step(const struct linear_op *op, uint64_t state, uint64_t *ret_state)
{
    *ret_state = state;
    switch (op->kind) {
    case LINEAR_WRITE:
        *ret_state = op->value;
        return true;
    case LINEAR_CAS:
        if (op->known && op->done != (state == op->expect)) {
            return false;
        }
        *ret_state = state == op->expect ? op->value : state;
        return true;
    case LINEAR_READ:
        return state == op->value;
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
    s->hash[0] ^= hash_u64(2 * op + 3);
    s->hash[1] ^= hash_u64((2 * op + 2) ^ 0x9e3779b97f4a7c15u);
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

static void make_moments(struct search *s)
{
    s->moments = mem_alloc_array(2 * s->count + 1, sizeof(*s->moments));
    for (size_t i = 0; i < s->count; i++) {
        s->moments[s->moment_count++] = (struct moment){.op = i, .at = s->ops[i].invoked};
        if (s->ops[i].known) {
            s->moments[s->moment_count++] =
                (struct moment){.op = i, .at = s->ops[i].returned, .is_end = true};
            s->left++;
        }
    }
    qsort(s->moments, s->moment_count, sizeof(*s->moments), in_time);
    struct moment **begins = mem_alloc_array(s->count + 1, sizeof(struct moment *));
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
    const struct linear_op *op = &s->ops[moment->op];
    uint64_t after = 0;
    if (!model_step(op, *state, &after) || (!op->known && after == *state)) {
        return false; /* an unknown one that changes nothing may as well be never */
    }
    toggle(s, moment->op);
    if (!is_new(s, after)) {
        toggle(s, moment->op);
        return false;
    }
    s->stack[s->depth++] = (struct frame){.moment = moment, .state = *state, .free = s->free};
    *state = after;
    take_out(moment);
    if (moment->end != NULL) {
        take_out(moment->end);
        s->left--;
    }
    return true;
}

static bool is_spare(const struct search *s, const struct moment *moment)
{
    return !s->ops[moment->op].known && s->ops[moment->op].value == SPARE;
}

/* A spare one is of use only right before a compare-and-set that fails because of it; of two spare
 * writes, the one that began first does as well. */
struct help {
    bool wanted;
    const struct moment *write; /* the only spare write worth a try */
};

static struct help find_help(const struct search *s, uint64_t state)
{
    struct help help = {0};
    for (const struct moment *at = s->head.next; at != NULL && !at->is_end; at = at->next) {
        const struct linear_op *op = &s->ops[at->op];
        if (op->known && op->kind == LINEAR_CAS && !op->done && op->expect == state) {
            help.wanted = true;
        }
        if (help.write == NULL && op->kind == LINEAR_WRITE && is_spare(s, at)) {
            help.write = at;
        }
    }
    return help;
}

static struct moment *unknown_from(const struct search *s, struct moment *at, uint64_t state)
{
    struct help help = find_help(s, state);
    for (; at != NULL && !at->is_end; at = at->next) {
        bool write = s->ops[at->op].kind == LINEAR_WRITE;
        bool useless = is_spare(s, at) && (!help.wanted || (write && at != help.write));
        if (at->end == NULL && !useless) {
            return at;
        }
    }
    return NULL;
}

/* The candidate after `at`, which may be NULL: those with a known outcome first, then the others,
 * as far as the first end. NULL: no more. */
static struct moment *candidate_after(const struct search *s, const struct moment *at,
                                      uint64_t state)
{
    if (at != NULL && at->end == NULL) {
        return unknown_from(s, at->next, state);
    }
    struct moment *next = at == NULL ? s->head.next : at->next;
    while (next != NULL && !next->is_end && next->end == NULL) {
        next = next->next;
    }
    return next != NULL && !next->is_end ? next : unknown_from(s, s->head.next, state);
}

/* What may be next. One that is answered rightly now and changes nothing is a free move: whatever
 * order there is, there is one that begins with it, so that nothing else need be tried. */
static struct moment *first_candidate(struct search *s, uint64_t state)
{
    for (struct moment *at = s->head.next; at != NULL && !at->is_end; at = at->next) {
        uint64_t after = 0;
        const struct linear_op *op = &s->ops[at->op];
        if (op->known && model_step(op, state, &after) && after == state) {
            s->free = true;
            return at;
        }
    }
    s->free = false;
    return candidate_after(s, NULL, state);
}

/* Returns what is to be tried instead; NULL: nothing. */
static struct moment *step_back(struct search *s, uint64_t *state)
{
    struct frame frame = s->stack[--s->depth];
    *state = frame.state;
    s->free = false;
    toggle(s, frame.moment->op);
    if (frame.moment->end != NULL) {
        put_back(frame.moment->end);
        s->left++;
    }
    put_back(frame.moment);
    return frame.free ? NULL : candidate_after(s, frame.moment, *state);
}

static enum linear_verdict search(struct search *s)
{
    uint64_t state = 0;
    size_t steps = LINEAR_STEPS + s->count * LINEAR_STEPS_PER_OP;
    struct moment *at = first_candidate(s, state);
    for (size_t i = 0; i < steps; i++) {
        if (s->left == 0) {
            return LINEAR_YES;
        }
        if (at != NULL && try_next(s, at, &state)) {
            at = first_candidate(s, state);
        } else if (at != NULL) {
            at = s->free ? NULL : candidate_after(s, at, state);
        } else if (s->depth == 0) {
            return LINEAR_NO;
        } else {
            at = step_back(s, &state);
        }
    }
    return LINEAR_UNDECIDED;
}

static enum linear_verdict search_all(const struct linear_op *ops, size_t count)
{
    struct search s = {.ops = ops, .count = count};
    s.memo.size = MEMO_SIZE;
    s.memo.slots = mem_alloc_array(s.memo.size, sizeof(*s.memo.slots));
    s.stack = mem_alloc_array(count + 1, sizeof(*s.stack));
    make_moments(&s);
    enum linear_verdict verdict = search(&s);
    mem_free(s.moments);
    mem_free(s.memo.slots);
    mem_free(s.stack);
    return verdict;
}

/* ---- unknown outcomes ------------------------------------------------------------------------ */

/* What is known of a value. */
struct sight {
    uint64_t value;
    size_t writer;
    uint64_t first; /* when the first who saw it was answered */
    size_t writers;
    bool seen;
};

static int by_value(const void *a, const void *b)
{
    const struct sight *left = a;
    const struct sight *right = b;
    return left->value < right->value ? -1 : left->value > right->value;
}

static struct sight *find_sight(struct sight *sights, size_t count, uint64_t value)
{
    struct sight key = {.value = value};
    return bsearch(&key, sights, count, sizeof(*sights), by_value);
}

/* One for each value that an operation may write; returns how many. */
static size_t collect_writers(const struct linear_op *ops, size_t count, struct sight *sights)
{
    size_t all = 0;
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (ops[i].kind != LINEAR_READ) {
            sights[all++] = (struct sight){
                .value = ops[i].value, .writer = i, .first = UINT64_MAX, .writers = 1};
        }
    }
    qsort(sights, all, sizeof(*sights), by_value);
    for (size_t i = 0; i < all; i++) {
        if (kept > 0 && sights[kept - 1].value == sights[i].value) {
            sights[kept - 1].writers++;
        } else {
            sights[kept++] = sights[i];
        }
    }
    return kept;
}

/* An unknown compare-and-set says nothing of when, but its value must stay what it is. */
static void collect_sights(const struct linear_op *ops, size_t count, struct sight *sights,
                           size_t sight_count)
{
    for (size_t i = 0; i < count; i++) {
        const struct linear_op *op = &ops[i];
        bool sees = op->kind == LINEAR_READ ? op->known
                                            : op->kind == LINEAR_CAS && (!op->known || op->done);
        uint64_t value = op->kind == LINEAR_CAS ? op->expect : op->value;
        struct sight *sight = sees ? find_sight(sights, sight_count, value) : NULL;
        if (sight != NULL) {
            sight->seen = true;
            if (op->known && op->returned < sight->first) {
                sight->first = op->returned;
            }
        }
    }
}

/* Gives an end to what somebody saw, and the value SPARE to what nobody did. A reader that was
 * answered before the write began leaves an end before the beginning: that is not linearizable. */
static bool settle(struct linear_op *op, const struct sight *sight)
{
    if (op->known || op->kind == LINEAR_READ || sight->writers > 1 || sight->value == 0) {
        return true;
    }
    if (sight->first != UINT64_MAX) {
        op->known = true;
        op->done = true;
        op->returned = sight->first;
        return op->returned >= op->invoked;
    }
    if (!sight->seen) {
        op->value = SPARE;
    }
    return true;
}

/* Leaves out what says nothing; returns how many are left. Spare ones come last. */
static size_t order_ops(const struct linear_op *ops, size_t count, struct linear_op *ret_ops,
                        size_t *ret_spares)
{
    size_t kept = 0;
    *ret_spares = 0;
    for (size_t pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < count; i++) {
            bool spare = !ops[i].known && ops[i].value == SPARE;
            bool empty = !ops[i].known && ops[i].kind == LINEAR_READ;
            if (!empty && spare == (pass == 1)) {
                ret_ops[kept++] = ops[i];
                *ret_spares += spare ? 1 : 0;
            }
        }
    }
    return kept - *ret_spares;
}

static bool settle_all(struct linear_op *ops, size_t count)
{
    struct sight *sights = mem_alloc_array(count + 1, sizeof(*sights));
    size_t sight_count = collect_writers(ops, count, sights);
    bool possible = true;
    collect_sights(ops, count, sights, sight_count);
    for (size_t i = 0; i < count; i++) {
        if (ops[i].kind != LINEAR_READ) {
            const struct sight *sight = find_sight(sights, sight_count, ops[i].value);
            CHECK(sight != NULL);
            possible = settle(&ops[i], sight) && possible;
        }
    }
    mem_free(sights);
    return possible;
}

enum linear_verdict linear_check(const struct linear_op *ops, size_t count)
{
    struct linear_op *settled = mem_alloc_array(count + 1, sizeof(*settled));
    struct linear_op *ordered = mem_alloc_array(count + 1, sizeof(*ordered));
    size_t spares = 0;
    enum linear_verdict verdict = LINEAR_NO;
    for (size_t i = 0; i < count; i++) {
        settled[i] = ops[i];
    }
    if (settle_all(settled, count)) {
        size_t kept = order_ops(settled, count, ordered, &spares);
        verdict = search_all(ordered, kept);
        if (verdict == LINEAR_NO && spares > 0) {
            verdict = search_all(ordered, kept + spares);
        }
    }
    mem_free(settled);
    mem_free(ordered);
    return verdict;
}
