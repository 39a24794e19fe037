/* Replication as a follower sees it: the consistency check, and what an acknowledgement promises.
 *
 * Place: core/raft. Section 5.3 and Figure 2, AppendEntries. An acknowledgement of index i in term
 * T promises: this log equals that of T's leader up to i, and the disk has it (the drain gates it).
 *
 * Also here: the entry that founds a group, which is appended without any leader. */
#include "raft/raft_priv.h"

/* How the entries of an append lie on this log. */
struct overlap {
    bool matches;        /* the previous entry is here with the same term */
    uint32_t skip;       /* entries that are here already */
    raft_index conflict; /* first index that must go; 0: none */
};

static enum err decode_config(const struct raft_entry_info *entry, struct raft_config *ret_config)
{
    if (entry->config_bytes == NULL) {
        return ERR_BAD_INPUT;
    }
    return raft_config_decode(bytes_of(entry->config_bytes, entry->size), ret_config);
}

/* Whether a correct leader can have sent this; also counts what the log must have room for. */
static enum err check_append(const struct raft_group *g, const struct raft_input *input)
{
    const struct raft_msg *msg = input->msg;
    bool prev_ok = (msg->index == 0) == (msg->log_term == 0);
    if (msg->term == 0 || !prev_ok || msg->log_term > msg->term || msg->reject) {
        return ERR_BAD_INPUT;
    }
    raft_term term = msg->log_term;
    uint32_t runs = 1;
    uint32_t configs = 0;
    for (uint32_t i = 0; i < input->entry_count; i++) {
        const struct raft_entry_info *entry = &input->entries[i];
        if (entry->term < term || entry->term == 0 || entry->term > msg->term) {
            return ERR_BAD_INPUT; /* terms never fall along a log */
        }
        runs += entry->term != term ? 1 : 0;
        term = entry->term;
        if (entry->kind == RAFT_ENTRY_CONFIG) {
            struct raft_config config;
            if (decode_config(entry, &config) != ERR_OK) {
                return ERR_BAD_INPUT;
            }
            configs++;
        } else if (entry->kind != RAFT_ENTRY_COMMAND && entry->kind != RAFT_ENTRY_NOOP) {
            return ERR_BAD_INPUT;
        }
    }
    bool room = raft_log_has_room(&g->log, runs) && raft_configs_have_room(&g->configs, configs);
    return room ? ERR_OK : ERR_FULL;
}

/* Compares without changing anything. ERR_BAD_INPUT when the message contradicts a committed
 * entry. */
static enum err compare(const struct raft_group *g, const struct raft_input *input,
                        struct overlap *ret_overlap)
{
    const struct raft_log *log = &g->log;
    raft_index prev = input->msg->index;
    struct overlap o = {0};
    if (prev < log->base) {
        /* What is compacted here is committed, so it is in every leader's log: it matches
         * unseen. */
        raft_index behind = log->base - prev;
        o.skip = behind < input->entry_count ? (uint32_t)behind : input->entry_count;
    }
    bool known = prev + o.skip >= log->base;
    o.matches = o.skip > 0 || prev < log->base ||
                (prev <= log->last && raft_log_term(log, prev) == input->msg->log_term);
    if (!o.matches) {
        *ret_overlap = o;
        return prev <= g->commit ? ERR_BAD_INPUT : ERR_OK;
    }
    while (known && o.skip < input->entry_count && prev + o.skip + 1 <= log->last) {
        raft_index at = prev + o.skip + 1;
        if (raft_log_term(log, at) != input->entries[o.skip].term) {
            o.conflict = at;
            break;
        }
        o.skip++;
    }
    *ret_overlap = o;
    return o.conflict != 0 && o.conflict <= g->commit ? ERR_BAD_INPUT : ERR_OK;
}

static void append_entries(struct raft_group *g, const struct raft_input *input, uint32_t skip,
                           struct raft_fed *fed)
{
    fed->skipped = skip;
    if (skip == input->entry_count) {
        return;
    }
    CHECK(g->log.last == input->msg->index + skip);
    fed->first = g->log.last + 1;
    bool new_config = false;
    uint32_t i = skip;
    while (i < input->entry_count) {
        raft_term term = input->entries[i].term;
        uint32_t first = i;
        while (i < input->entry_count && input->entries[i].term == term) {
            i++;
        }
        raft_index before = g->log.last;
        raft_log_append(&g->log, i - first, term);
        for (uint32_t k = first; k < i; k++) {
            struct raft_config config;
            if (input->entries[k].kind == RAFT_ENTRY_CONFIG &&
                decode_config(&input->entries[k], &config) == ERR_OK) {
                raft_configs_append(&g->configs, before + 1 + (k - first), &config);
                new_config = true;
            }
        }
    }
    fed->last = g->log.last;
    fed->term = input->entries[input->entry_count - 1].term;
    if (new_config) {
        raft_group_config_changed(g); /* active at append (section 6) */
    }
}

static void refuse(struct raft_group *g, const struct raft_msg *msg)
{
    struct raft_msg reply = raft_msg_to(g, RAFT_MSG_APPEND_REPLY, msg->from);
    reply.reject = true;
    reply.index = msg->index;
    reply.token = msg->token;
    reply.repairing = g->repairing;
    raft_index limit = msg->index < g->log.last ? msg->index : g->log.last;
    raft_index found = raft_log_find(&g->log, limit, msg->log_term);
    reply.hint = found > g->commit ? found : g->commit; /* up to commit all logs are equal */
    reply.log_term = raft_log_term(&g->log, reply.hint);
    raft_post(g, &reply);
}

static void acknowledge(struct raft_group *g, const struct raft_msg *msg, raft_index verified)
{
    struct raft_msg reply = raft_msg_to(g, RAFT_MSG_APPEND_REPLY, msg->from);
    reply.index = verified > g->commit ? verified : g->commit;
    reply.token = msg->token;
    reply.repairing = g->repairing;
    raft_post(g, &reply);
}

void raft_commit_to(struct raft_group *g, raft_index index)
{
    CHECK(index <= g->log.last);
    if (index > g->commit) {
        bool settles = g->commit < raft_configs_active(&g->configs)->index;
        g->commit = index;
        if (settles) {
            raft_group_find_self(g);
        }
        raft_touch(g);
    }
}

enum err raft_on_append(struct raft_group *g, clk_ns now, const struct raft_input *input,
                        struct raft_fed *fed)
{
    const struct raft_msg *msg = input->msg;
    enum err err = check_append(g, input);
    if (err != ERR_OK) {
        return err;
    }
    if (msg->term < g->term) {
        /* The sender is no leader any more, or this node's term ran ahead: its term tells it. */
        struct raft_msg reply = raft_msg_to(g, RAFT_MSG_APPEND_REPLY, msg->from);
        reply.reject = true;
        raft_post(g, &reply);
        return ERR_OK;
    }
    bool other_leader = g->leader != 0 && g->leader != msg->from;
    struct overlap o = {0};
    if (msg->term == g->term && other_leader) {
        return ERR_BAD_INPUT; /* Election Safety: at most one leader per term */
    }
    err = compare(g, input, &o);
    if (err != ERR_OK) {
        return err;
    }
    /* Contact with the leader is contact whatever the log check says: a follower that is being
     * brought up to date must not start elections. */
    raft_become_follower(g, now, msg->term, msg->from);
    g->leader_contact = now;
    raft_arm_election(g, now);
    if (!o.matches) {
        refuse(g, msg);
        return ERR_OK;
    }
    /* Figure 2: "if an existing entry conflicts with a new one, delete the existing entry and all
     * that follow it". Only then: a late, shorter append must not cut what a newer one has
     * added. */
    if (o.conflict != 0) {
        raft_group_truncate(g, o.conflict);
        fed->truncated_from = o.conflict;
    }
    append_entries(g, input, o.skip, fed);
    raft_index verified = msg->index + input->entry_count;
    CHECK(verified <= g->log.last);
    /* Figure 2: "commitIndex = min(leaderCommit, index of last new entry)": entries behind it in
     * this log are not known to be the leader's. */
    raft_commit_to(g, msg->commit < verified ? msg->commit : verified);
    raft_repair_note(g, msg, verified > g->commit ? verified : g->commit);
    acknowledge(g, msg, verified);
    raft_repair_check(g, now);
    return ERR_OK;
}

enum err raft_on_bootstrap(struct raft_group *g, clk_ns now, const struct raft_input *input,
                           struct raft_fed *fed)
{
    CHECK(input->entry_count == 1 && input->entries[0].kind == RAFT_ENTRY_CONFIG);
    if (g->repairing) {
        return ERR_DENIED; /* it had a past, which is not to be replaced by a new beginning */
    }
    if (g->log.last != 0) {
        return ERR_EXISTS;
    }
    struct raft_config config;
    if (decode_config(&input->entries[0], &config) != ERR_OK || config.count == 0) {
        return ERR_BAD_INPUT;
    }
    if (g->term == 0) { /* else a founder that was faster has asked for a vote already */
        g->term = 1;
        g->hard_state_dirty = true;
    }
    /* Nobody leads term 1, so all founders write the same entry. */
    raft_log_append(&g->log, 1, 1);
    raft_configs_append(&g->configs, 1, &config);
    raft_group_config_changed(g);
    raft_arm_election(g, now);
    if (g->self_voter && raft_config_voters(&config) == 1) {
        g->election_at = now;
    }
    fed->first = 1;
    fed->last = 1;
    fed->term = 1;
    return ERR_OK;
}
