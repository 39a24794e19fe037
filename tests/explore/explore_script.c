/* Exploration: one order of events, read from a script, told as text (tests/golden).
 *
 * A script is lines of: timeout N | heartbeat N | propose N | read N | sync N | restart N KEPT |
 * deliver N TYPE FROM | late N TYPE FROM | copy N TYPE FROM | lose N TYPE FROM, where TYPE is
 * prevote, prevoted, vote, voted, append, appended, read or answer. A message is the oldest in
 * flight that fits. Lines that begin with # are told as they are; empty ones too. The invariants
 * are checked as in a search. */
#include "explore.h"

#include <stdlib.h>
#include <string.h>

struct verb {
    const char *name;
    uint8_t kind;
    uint8_t input;
};

static const struct verb verbs[] = {
    {"timeout", EX_STEP, EX_TIMEOUT},   {"heartbeat", EX_STEP, EX_HEARTBEAT},
    {"propose", EX_STEP, EX_PROPOSE},   {"read", EX_STEP, EX_READ},
    {"sync", EX_STEP, EX_SYNC},         {"restart", EX_STEP, EX_RESTART},
    {"deliver", EX_STEP, EX_DELIVER},   {"late", EX_STEP, EX_DELIVER_LATE},
    {"copy", EX_STEP_COPY, EX_DELIVER}, {"lose", EX_LOSE, EX_DELIVER},
};

static const char *const types[] = {"?",      "prevote",  "prevoted", "vote",  "voted",
                                    "append", "appended", "read",     "answer"};

static bool find_message(const struct ex_state *s, uint32_t to, const char *type, uint32_t from,
                         uint8_t *ret_place)
{
    for (uint8_t i = 0; i < s->net_count; i++) {
        const struct raft_msg *m = &ex_message_at(s->net[i])->raft;
        if (m->to == to && m->from == from && strcmp(types[m->type], type) == 0) {
            *ret_place = i;
            return true;
        }
    }
    return false;
}

/* False: no such line, or no such message in flight. */
static bool parse_line(const struct ex_state *s, const char *line, struct ex_action *ret_action)
{
    char name[16];
    char third[16] = "0";
    unsigned node = 0;
    unsigned from = 0;
    if (sscanf(line, "%15s %u %15s %u", name, &node, third, &from) < 2) {
        return false;
    }
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
        const struct verb *v = &verbs[i];
        if (strcmp(v->name, name) != 0 || node < 1 || node > EX_NODES) {
            continue;
        }
        struct ex_action a = {.kind = v->kind, .node = (uint8_t)(node - 1), .input = v->input};
        if (v->input == EX_DELIVER || v->input == EX_DELIVER_LATE) {
            bool found = find_message(s, node, third, from, &a.arg);
            *ret_action = a;
            return found;
        }
        a.arg = v->input == EX_RESTART ? (uint8_t)strtoul(third, NULL, 10) : 0;
        a.arg = v->input == EX_PROPOSE ? (uint8_t)(EX_VALUE_FIRST + s->proposals) : a.arg;
        a.arg = v->input == EX_READ ? s->committed_count : a.arg;
        *ret_action = a;
        return true;
    }
    return false;
}

bool ex_run_script(FILE *script)
{
    struct ex_state s;
    ex_first_state(&s);
    char line[200];
    uint32_t number = 0;
    while (fgets(line, sizeof(line), script) != NULL) {
        if (line[0] == '#' || line[0] == '\n') {
            printf("%s", line);
            continue;
        }
        struct ex_action action;
        struct ex_state after = s;
        bool possible = false;
        const char *violation = NULL;
        if (parse_line(&s, line, &action)) {
            violation = ex_apply(&s, action, &after, &possible);
        }
        if (!possible) {
            printf("NOT POSSIBLE: %s", line);
            return false;
        }
        ex_print_step(++number, &s, action, &after);
        if (violation != NULL) {
            printf("VIOLATION: %s\n", violation);
            return false;
        }
        s = after;
    }
    return true;
}
