/* Exploration: a trace as text: what happened, and how the node that it happened to is now. */
#include "explore.h"

#include <string.h>

static void print_entry(struct ex_entry entry)
{
    if (entry.value == EX_VALUE_CONFIG) {
        printf(" founding");
    } else if (entry.value == EX_VALUE_NOOP) {
        printf(" %u:noop", entry.term);
    } else {
        printf(" %u:%c", entry.term, 'a' + (entry.value - EX_VALUE_FIRST));
    }
}

static void print_log(const char *title, const struct ex_entry *entries, uint8_t last)
{
    printf(" %s [", title);
    for (uint8_t i = 1; i <= last; i++) {
        print_entry(entries[i]);
    }
    printf(" ]");
}

static void print_node(const struct ex_facts *f)
{
    printf("       node %u: %s, term %u, vote %u, commit %u,", f->self,
           raft_role_name((enum raft_role)f->role), f->term, f->vote, f->commit);
    print_log("log", f->log, f->last);
    if (f->writes > 0) {
        printf("  writes under way: %u, on the disk: term %u,", f->writes, f->disk_term);
        print_log("log", f->disk, f->disk_last);
    }
    printf("\n");
}

static void print_msg(const struct ex_msg *msg)
{
    static const char *const names[] = {
        "?",      "pre-vote request", "pre-vote answer", "vote request", "vote answer",
        "append", "append answer",    "read request",    "read answer",  "timeout now"};
    const struct raft_msg *m = &msg->raft;
    printf("%s of node %u, term %u", names[m->type], m->from, (unsigned)m->term);
    switch (m->type) {
    case RAFT_MSG_PREVOTE:
    case RAFT_MSG_VOTE:
        printf(", log ends at %u of term %u", (unsigned)m->index, (unsigned)m->log_term);
        break;
    case RAFT_MSG_APPEND:
        printf(", after %u of term %u, commit %u, entries [", (unsigned)m->index,
               (unsigned)m->log_term, (unsigned)m->commit);
        for (uint32_t i = 0; i < msg->count; i++) {
            print_entry(msg->entries[i]);
        }
        printf(" ]");
        break;
    case RAFT_MSG_PREVOTE_REPLY:
    case RAFT_MSG_VOTE_REPLY:
        printf(m->reject ? ", no" : ", yes");
        break;
    case RAFT_MSG_APPEND_REPLY:
        printf(m->reject ? ", refused at %u" : ", has up to %u", (unsigned)m->index);
        break;
    case RAFT_MSG_READ:
    case RAFT_MSG_TIMEOUT_NOW:
        break;
    case RAFT_MSG_READ_REPLY:
        printf(m->reject ? ", ask again" : ", index %u", (unsigned)m->index);
        break;
    }
}

static void print_input(const struct ex_state *before, struct ex_action action)
{
    uint32_t node = action.node + 1u;
    switch ((enum ex_input_kind)action.input) {
    case EX_DELIVER:
    case EX_DELIVER_LATE:
        printf("node %u gets: ", node);
        print_msg(ex_message_at(before->net[action.arg]));
        if (action.input == EX_DELIVER_LATE) {
            printf(" (after an election timeout without its leader)");
        }
        if (action.kind == EX_STEP_COPY) {
            printf(" (and will get it once more)");
        }
        break;
    case EX_TIMEOUT:
        printf("node %u: an election timeout passes", node);
        break;
    case EX_HEARTBEAT:
        printf("node %u: a heartbeat is due", node);
        break;
    case EX_PROPOSE:
        printf("node %u: %c is proposed", node, 'a' + (action.arg - EX_VALUE_FIRST));
        break;
    case EX_READ:
        printf("node %u: a read begins, committed is %u", node, action.arg);
        break;
    case EX_SYNC:
        printf("node %u: a write reaches the disk", node);
        break;
    case EX_RESTART:
        printf("node %u crashes, %u writes under way were done, and starts", node, action.arg);
        break;
    }
}

void ex_print_step(uint32_t number, const struct ex_state *before, struct ex_action action,
                   const struct ex_state *after)
{
    printf("%4u.  ", number);
    if (action.kind == EX_LOSE) {
        printf("lost: ");
        print_msg(ex_message_at(before->net[action.arg]));
        printf("\n");
        return;
    }
    print_input(before, action);
    printf("\n");
    if (after != NULL) {
        print_node(&ex_local_at(after->local[action.node])->facts);
    }
}
