/* Exploration: states of the cluster, what can happen next, the invariants, the search.
 *
 * Invariants (Figure 3 of the paper, and what an acknowledgement means):
 *   election safety       at most one leader per term, over the whole history
 *   leader append-only    explore_node.c, after each step of a leader
 *   log matching          equal index and term: equal entries, and equal ones before
 *   leader completeness   a leader has what was committed in its term or an earlier one
 *   state-machine safety  an entry, once committed anywhere, is never another one anywhere
 *   durability            what is committed is on the disks of a majority, and stays there
 *   reads                 not older than what was committed anywhere when they began
 *   sanity                no message of a correct node is refused as impossible, and no CHECK of
 *   the
 *                         core fails (the trace is printed before the process ends) */
#include "explore.h"

#include "check/check.h"
#include "map/map.h"
#include "mem/mem.h"

#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    MAJORITY = EX_NODES / 2 + 1,
    ACTIONS_MAX = 128,
    SEEN_FIRST_CAP = 1 << 20,
};

static struct ex_bounds bounds = {.net_max = EX_NET_MAX}; /* of a script: as many as fit */

/* ---- invariants ---------------------------------------------------------------------------- */

static const struct ex_facts *facts_of(const struct ex_state *s, uint32_t node)
{
    return &ex_local_at(s->local[node])->facts;
}

static bool same_entry(struct ex_entry a, struct ex_entry b)
{
    return a.term == b.term && a.value == b.value;
}

static bool logs_match(const struct ex_facts *a, const struct ex_facts *b)
{
    uint8_t last = a->last < b->last ? a->last : b->last;
    while (last > 0 && a->log[last].term != b->log[last].term) {
        last--;
    }
    for (uint8_t i = 1; i <= last; i++) {
        if (!same_entry(a->log[i], b->log[i])) {
            return false;
        }
    }
    return true;
}

/* Enters what the node that moved shows for the first time into the history. */
static const char *note_history(struct ex_state *s, const struct ex_facts *moved)
{
    if (moved->role == RAFT_LEADER) {
        uint8_t *leader = &s->leaders[moved->term];
        if (*leader != 0 && *leader != moved->self) {
            return "election safety: two leaders in one term";
        }
        *leader = moved->self;
    }
    for (uint8_t i = 1; i <= moved->commit; i++) {
        if (i > s->committed_count) {
            s->committed_count = i;
            s->committed[i] = moved->log[i];
            s->commit_term[i] = moved->term;
        } else if (!same_entry(s->committed[i], moved->log[i])) {
            return "state-machine safety: another entry was committed at the same index";
        }
    }
    return NULL;
}

static const char *check_committed(const struct ex_state *s)
{
    for (uint8_t i = 1; i <= s->committed_count; i++) {
        uint32_t durable = 0;
        for (uint32_t node = 0; node < EX_NODES; node++) {
            const struct ex_facts *f = facts_of(s, node);
            durable += same_entry(f->disk[i], s->committed[i]) && i <= f->disk_last ? 1 : 0;
            if (f->role == RAFT_LEADER && f->term >= s->commit_term[i] &&
                !same_entry(f->log[i], s->committed[i])) {
                return "leader completeness: a leader lacks a committed entry";
            }
        }
        if (durable < MAJORITY) {
            return "durability: a committed entry is not on the disks of a majority";
        }
    }
    return NULL;
}

static const char *check_state(struct ex_state *s, uint32_t moved)
{
    const struct ex_facts *f = facts_of(s, moved);
    const char *violation = note_history(s, f);
    for (uint32_t node = 0; node < EX_NODES && violation == NULL; node++) {
        if (!logs_match(f, facts_of(s, node))) {
            violation = "log matching: equal terms at an index, and the logs differ up to it";
        }
    }
    return violation != NULL ? violation : check_committed(s);
}

/* ---- actions ------------------------------------------------------------------------------- */

static uint64_t lost_full;

static void net_remove(struct ex_state *s, uint32_t place)
{
    s->net_count--;
    memmove(&s->net[place], &s->net[place + 1], (s->net_count - place) * sizeof(s->net[0]));
    s->net[s->net_count] = 0;
}

static void net_add(struct ex_state *s, uint32_t message)
{
    for (uint8_t i = 0; i < s->net_count; i++) {
        if (s->net[i] == message) {
            return;
        }
    }
    if (s->net_count == bounds.net_max) {
        lost_full++;
        return;
    }
    s->net[s->net_count++] = message;
}

static void count_if(uint8_t *counter, bool happened)
{
    *counter = (uint8_t)(*counter + (happened ? 1 : 0));
}

static void count_action(struct ex_state *s, struct ex_action action)
{
    count_if(&s->copies, action.kind == EX_STEP_COPY);
    count_if(&s->timeouts, action.input == EX_TIMEOUT);
    count_if(&s->heartbeats, action.input == EX_HEARTBEAT);
    count_if(&s->proposals, action.input == EX_PROPOSE);
    count_if(&s->reads, action.input == EX_READ);
    count_if(&s->crashes, action.input == EX_RESTART);
}

const char *ex_apply(const struct ex_state *from, struct ex_action action, struct ex_state *ret_to,
                     bool *ret_possible)
{
    *ret_to = *from;
    *ret_possible = true;
    if (action.kind == EX_LOSE) {
        net_remove(ret_to, action.arg);
        return NULL;
    }
    struct ex_input input = {.kind = (enum ex_input_kind)action.input, .arg = action.arg};
    if (input.kind == EX_DELIVER || input.kind == EX_DELIVER_LATE) {
        input.arg = from->net[action.arg];
        if (action.kind == EX_STEP) {
            net_remove(ret_to, action.arg);
        }
    }
    const struct ex_step *step = ex_step_of(from->local[action.node], input);
    if (step->refused) {
        *ret_possible = false;
        return NULL;
    }
    count_action(ret_to, action);
    ret_to->local[action.node] = step->to;
    for (uint8_t i = 0; i < step->sent_count; i++) {
        net_add(ret_to, step->sent[i]);
    }
    return step->violation != NULL ? step->violation : check_state(ret_to, action.node);
}

static uint32_t add(struct ex_action *actions, uint32_t count, struct ex_action action)
{
    CHECK(count < ACTIONS_MAX);
    actions[count] = action;
    return count + 1;
}

static uint32_t message_actions(const struct ex_state *s, struct ex_action *actions)
{
    uint32_t count = 0;
    for (uint8_t i = 0; i < s->net_count; i++) {
        const struct raft_msg *m = &ex_message_at(s->net[i])->raft;
        uint8_t node = (uint8_t)(m->to - 1);
        struct ex_action a = {.kind = EX_STEP, .node = node, .input = EX_DELIVER, .arg = i};
        count = add(actions, count, a);
        if (s->copies < bounds.copies) {
            a.kind = EX_STEP_COPY;
            count = add(actions, count, a);
            a.kind = EX_STEP;
        }
        bool vote = m->type == RAFT_MSG_PREVOTE || m->type == RAFT_MSG_VOTE;
        if (vote && facts_of(s, node)->leader != 0) {
            a.input = EX_DELIVER_LATE;
            count = add(actions, count, a);
        }
        if (s->net_count + 1 >= bounds.net_max) {
            count = add(actions, count, (struct ex_action){.kind = EX_LOSE, .arg = i});
        }
    }
    return count;
}

static uint32_t node_actions(const struct ex_state *s, uint8_t node, struct ex_action *actions,
                             uint32_t count)
{
    const struct ex_facts *f = facts_of(s, node);
    bool leads = f->role == RAFT_LEADER;
    struct ex_action a = {.kind = EX_STEP, .node = node};
    if (s->timeouts < bounds.timeouts && (leads || f->term < bounds.terms)) {
        a.input = EX_TIMEOUT;
        count = add(actions, count, a);
    }
    if (leads && s->heartbeats < bounds.heartbeats) {
        a.input = EX_HEARTBEAT;
        count = add(actions, count, a);
    }
    if (leads && s->proposals < bounds.proposals) {
        a.input = EX_PROPOSE;
        a.arg = EX_VALUE_FIRST + s->proposals;
        count = add(actions, count, a);
    }
    if (f->leader != 0 && s->reads < bounds.reads) {
        a.input = EX_READ;
        a.arg = s->committed_count;
        count = add(actions, count, a);
    }
    a.arg = 0;
    if (f->writes > 0) {
        a.input = EX_SYNC;
        count = add(actions, count, a);
    }
    for (uint8_t kept = 0; s->crashes < bounds.crashes && kept <= f->writes; kept++) {
        a.input = EX_RESTART;
        a.arg = kept;
        count = add(actions, count, a);
    }
    return count;
}

/* ---- hash of a state ----------------------------------------------------------------------- */

static uint64_t perm_hash(const struct ex_state *s, uint32_t perm)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < EX_NODES; i++) {
        sum += hash_u64(ex_local_at(s->local[i])->hash[perm]);
    }
    for (uint8_t i = 0; i < s->net_count; i++) {
        sum += hash_u64(ex_message_hash(s->net[i], perm) + 1);
    }
    for (uint32_t term = 1; term <= EX_TERMS_MAX; term++) {
        sum += hash_u64(ex_perms[perm][s->leaders[term]] * 64u + term);
    }
    return sum;
}

static uint64_t state_hash(const struct ex_state *s, bool symmetric)
{
    uint64_t best = perm_hash(s, 0);
    for (uint32_t perm = 1; symmetric && perm < EX_PERMS; perm++) {
        uint64_t other = perm_hash(s, perm);
        best = other < best ? other : best;
    }
    uint64_t h = hash_u64(best);
    const uint64_t numbers[] = {s->timeouts,  s->heartbeats, s->crashes,        s->copies,
                                s->proposals, s->reads,      s->committed_count};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        h = hash_u64(h ^ numbers[i]) + 0x9e3779b97f4a7c15u;
    }
    for (uint8_t i = 1; i <= s->committed_count; i++) {
        h = hash_u64(h ^ ((uint64_t)s->committed[i].term << 16 |
                          (uint64_t)s->committed[i].value << 8 | s->commit_term[i]));
    }
    return h;
}

/* ---- search -------------------------------------------------------------------------------- */

struct origin {
    uint32_t parent;
    struct ex_action action;
};

static struct {
    uint64_t *seen; /* hashes, open addressing; 0 is free */
    size_t seen_cap;
    struct origin *origins; /* of each state, in order of discovery */
    size_t origin_cap;
    uint32_t count;
    struct ex_state *level; /* being expanded */
    size_t level_cap;
    size_t level_count;
    struct ex_state *next;
    size_t next_cap;
    size_t next_count;
    uint32_t current; /* number of the state being expanded, and what is being done to it */
    struct ex_action doing;
    struct ex_state root;
} search;

static bool seen_put(uint64_t *seen, size_t cap, uint64_t hash)
{
    size_t at = hash & (cap - 1);
    while (seen[at] != 0 && seen[at] != hash) {
        at = (at + 1) & (cap - 1);
    }
    bool is_new = seen[at] == 0;
    seen[at] = hash;
    return is_new;
}

static bool seen_add(uint64_t hash)
{
    hash = hash == 0 ? 1 : hash;
    if ((uint64_t)search.count * 3 > search.seen_cap * 2) {
        size_t cap = search.seen_cap * 2;
        uint64_t *seen = mem_alloc_array(cap, sizeof(seen[0]));
        for (size_t i = 0; i < search.seen_cap; i++) {
            if (search.seen[i] != 0) {
                seen_put(seen, cap, search.seen[i]);
            }
        }
        mem_free(search.seen);
        search.seen = seen;
        search.seen_cap = cap;
    }
    return seen_put(search.seen, search.seen_cap, hash);
}

static void push(const struct ex_state *s)
{
    search.origins = ex_grow(search.origins, &search.origin_cap, (size_t)search.count + 1,
                             sizeof(search.origins[0]));
    search.origins[search.count++] =
        (struct origin){.parent = search.current, .action = search.doing};
    search.next =
        ex_grow(search.next, &search.next_cap, search.next_count + 1, sizeof(search.next[0]));
    search.next[search.next_count++] = *s;
}

/* All steps of the trace but the last are known, so nothing is executed here. */
static void print_trace(const char *violation, bool last_step_ended)
{
    uint32_t length = 0;
    for (uint32_t at = search.current; at != 0; at = search.origins[at].parent) {
        length++;
    }
    struct ex_action *actions = mem_alloc_array((size_t)length + 1, sizeof(actions[0]));
    actions[length] = search.doing;
    uint32_t place = length;
    for (uint32_t at = search.current; at != 0; at = search.origins[at].parent) {
        actions[--place] = search.origins[at].action;
    }
    printf("\nVIOLATION: %s\nAll nodes start as followers in term 1 with the founding entry.\n",
           violation);
    struct ex_state s = search.root;
    for (uint32_t i = 0; i <= length; i++) {
        struct ex_state after = s;
        bool possible;
        bool ended = i < length || last_step_ended;
        if (ended) {
            (void)ex_apply(&s, actions[i], &after, &possible);
        }
        ex_print_step(i + 1, &s, actions[i], ended ? &after : NULL);
        s = after;
    }
    printf("VIOLATION: %s\n", violation);
    fflush(stdout);
    mem_free(actions);
}

/* A CHECK of the core did not hold: abort() was called in the middle of a step. */
static void on_abort(int number)
{
    (void)number;
    print_trace("a CHECK of the core failed in the last step (see standard error)", false);
}

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static const char *expand(const struct ex_state *s, bool symmetric, struct ex_result *result)
{
    struct ex_action actions[ACTIONS_MAX];
    uint32_t count = message_actions(s, actions);
    for (uint8_t node = 0; node < EX_NODES; node++) {
        count = node_actions(s, node, actions, count);
    }
    for (uint32_t i = 0; i < count; i++) {
        struct ex_state to;
        bool possible;
        search.doing = actions[i];
        const char *violation = ex_apply(s, actions[i], &to, &possible);
        if (violation != NULL) {
            return violation;
        }
        result->transitions += possible ? 1 : 0;
        if (possible && seen_add(state_hash(&to, symmetric))) {
            push(&to);
        }
    }
    return NULL;
}

void ex_first_state(struct ex_state *ret_state)
{
    *ret_state = (struct ex_state){0};
    for (uint32_t i = 0; i < EX_NODES; i++) {
        ret_state->local[i] = ex_local_first(i + 1);
    }
}

static void begin(const struct ex_bounds *b)
{
    bounds = *b;
    CHECK(b->terms <= EX_TERMS_MAX && b->net_max <= EX_NET_MAX);
    CHECK(b->terms + b->proposals <= EX_LOG_MAX);
    lost_full = 0;
    mem_free(search.seen);
    search.seen_cap = SEEN_FIRST_CAP;
    search.seen = mem_alloc_array(search.seen_cap, sizeof(search.seen[0]));
    search.count = 0;
    search.next_count = 0;
    search.current = 0;
    search.doing = (struct ex_action){0};
    ex_first_state(&search.root);
    push(&search.root);
}

static void next_level(void)
{
    struct ex_state *states = search.level;
    size_t cap = search.level_cap;
    search.level = search.next;
    search.level_cap = search.next_cap;
    search.level_count = search.next_count;
    search.next = states;
    search.next_cap = cap;
    search.next_count = 0;
}

struct ex_result ex_search(const struct ex_bounds *b, uint64_t states_max, double seconds,
                           bool symmetric)
{
    struct ex_result result = {0};
    begin(b);
    (void)seen_add(state_hash(&search.root, symmetric));
    signal(SIGABRT, on_abort);
    double end = seconds_now() + seconds;
    uint32_t number = 0; /* of the first state of the level */
    bool stopped = false;
    while (search.next_count > 0 && !stopped && result.violation == NULL) {
        next_level();
        for (size_t i = 0; i < search.level_count && !stopped && result.violation == NULL; i++) {
            search.current = number++;
            result.violation = expand(&search.level[i], symmetric, &result);
            stopped = search.count >= states_max || (i % 1024 == 0 && seconds_now() > end);
        }
        result.depth += search.next_count > 0 ? 1 : 0;
    }
    signal(SIGABRT, SIG_DFL);
    if (result.violation != NULL) {
        print_trace(result.violation, true);
    }
    result.states = search.count;
    result.lost_full = lost_full;
    result.complete = !stopped && result.violation == NULL;
    return result;
}
