/* The cluster for tests of core/raft: see raft_cluster.h. */
#include "raft_cluster.h"

#include "check/check.h"
#include "mem/mem.h"
#include "test.h"

enum {
    EFFECTS = 8, /* small on purpose: drains must be resumable anywhere */
    GIVE_UP_S = 20
};

static void drain(struct rc *c, raft_node_id id);

static uint32_t up_to(struct rc *c, uint32_t max_us, uint32_t usual_us)
{
    uint32_t max = max_us == 0 ? usual_us : max_us;
    return (uint32_t)rnd_range(&c->rnd, max / 5 + 1, max);
}

/* ---- logs ---------------------------------------------------------------------------------- */

static raft_index log_last(const struct rc_log *log)
{
    return log->base + log->count;
}

static const struct rc_entry *log_at(const struct rc_log *log, raft_index index)
{
    if (index <= log->base || index > log_last(log)) {
        return NULL;
    }
    return &log->entries[index - log->base - 1];
}

static void log_append(struct rc_log *log, const struct rc_entry *entry)
{
    assert_true(log->count < RC_LOG_MAX);
    log->entries[log->count++] = *entry;
}

static void log_truncate(struct rc_log *log, raft_index from)
{
    if (from != 0 && from <= log_last(log)) {
        log->count = from > log->base ? (uint32_t)(from - log->base - 1) : 0;
    }
}

static void log_compact(struct rc_log *log, raft_index index)
{
    if (index <= log->base) {
        return;
    }
    uint32_t gone = (uint32_t)(index - log->base);
    gone = gone < log->count ? gone : log->count;
    log->count -= gone;
    memmove(log->entries, log->entries + gone, log->count * sizeof(log->entries[0]));
    log->base = index;
}

static bool same_entry(const struct rc_entry *a, const struct rc_entry *b)
{
    return a->term == b->term && a->kind == b->kind && a->value == b->value;
}

/* ---- the judge ----------------------------------------------------------------------------- */

struct raft_view rc_view(struct rc *c, raft_node_id node, raft_group_id group)
{
    struct raft_view view;
    assert_non_null(c->nodes[node].host);
    assert_int_equal(raft_view(c->nodes[node].host, group, &view), ERR_OK);
    return view;
}

static bool disk_has(struct rc *c, raft_node_id node, raft_group_id group, raft_index index)
{
    const struct rc_entry *entry = &c->committed[group][index];
    const struct rc_disk *disk = &c->nodes[node].disks[group];
    const struct rc_entry *mine = log_at(&disk->log, index);
    bool has = disk->snapshot.index >= index || (mine != NULL && same_entry(mine, entry));
    /* An acknowledgement from before the damage may come late: the disk owes the entry, and its
     * node does not vote before it has it again. */
    return has || c->nodes[node].damaged[group] || disk->hard_state.repairing;
}

/* Of the voters in a half of the configuration. */
static bool majority_has(struct rc *c, raft_group_id group, raft_index index,
                         const struct raft_config *config, bool old)
{
    uint32_t voters = 0;
    uint32_t disks = 0;
    for (uint32_t i = 0; i < config->count; i++) {
        const struct raft_member *member = &config->members[i];
        if ((old ? member->role_old : member->role) != RAFT_VOTER) {
            continue;
        }
        voters++;
        bool same_disk = member->storage_id == c->nodes[member->node].storage_id;
        disks += same_disk && disk_has(c, member->node, group, index) ? 1 : 0;
    }
    return disks > voters / 2;
}

/* State Machine Safety, and: committed means on a majority of disks. */
static void judge_commit(struct rc *c, raft_node_id node, raft_group_id group,
                         const struct raft_view *view)
{
    const struct rc_log *log = &c->nodes[node].cache[group];
    while (c->commit[group] < view->commit) {
        raft_index index = c->commit[group] + 1;
        const struct rc_entry *entry = log_at(log, index);
        if (entry == NULL) {
            fail_msg("node %u commits %lu, which it does not have", node, index);
        }
        assert_true(index < RC_HISTORY_MAX);
        c->committed[group][index] = *entry;
        c->committed_in[group][index] = view->term;
        c->commit[group] = index;
        bool old_half = !view->config.joint || majority_has(c, group, index, &view->config, true);
        if (!old_half || !majority_has(c, group, index, &view->config, false)) {
            fail_msg("entry %lu of group %u is committed without a majority of disks", index,
                     group);
        }
    }
    for (raft_index i = log->base + 1; i <= view->commit; i++) {
        if (!same_entry(log_at(log, i), &c->committed[group][i])) {
            fail_msg("node %u has another entry at committed index %lu", node, i);
        }
    }
}

static void judge_leader(struct rc *c, raft_node_id node, raft_group_id group,
                         const struct raft_view *view)
{
    assert_true(view->term < RC_HISTORY_MAX);
    raft_node_id *leader = &c->leaders[group][view->term];
    if (*leader == node) {
        return;
    }
    if (*leader != 0) {
        fail_msg("Election Safety: term %lu has leaders %u and %u", view->term, *leader, node);
    }
    *leader = node;
    for (raft_index i = 1; i <= c->commit[group]; i++) { /* Leader Completeness */
        const struct rc_entry *mine = log_at(&c->nodes[node].cache[group], i);
        bool has = i <= c->nodes[node].cache[group].base ||
                   (mine != NULL && same_entry(mine, &c->committed[group][i]));
        if (c->committed_in[group][i] < view->term && !has) {
            fail_msg("Leader Completeness: leader %u of term %lu lacks %lu", node, view->term, i);
        }
    }
}

/* Log Matching, of one node against all others. */
static void judge_matching(struct rc *c, raft_node_id node, raft_group_id group)
{
    const struct rc_log *a = &c->nodes[node].cache[group];
    for (uint32_t other = 1; other <= c->options.nodes; other++) {
        const struct rc_log *b = &c->nodes[other].cache[group];
        if (other == node || c->nodes[other].host == NULL) {
            continue;
        }
        raft_index top = log_last(a) < log_last(b) ? log_last(a) : log_last(b);
        bool agreed = false;
        for (raft_index i = top; i > a->base && i > b->base; i--) {
            const struct rc_entry *x = log_at(a, i);
            const struct rc_entry *y = log_at(b, i);
            if ((agreed || x->term == y->term) && !same_entry(x, y)) {
                fail_msg("Log Matching: nodes %u and %u differ at %lu", node, other, i);
            }
            agreed = agreed || x->term == y->term;
        }
    }
}

/* Before the drain, which may append a configuration: what the feed has committed was committed by
 * the one that is active now. */
static void judge_commits(struct rc *c, raft_node_id node)
{
    for (raft_group_id group = 1; group <= c->options.groups; group++) {
        struct raft_view view = rc_view(c, node, group);
        judge_commit(c, node, group, &view);
    }
}

static void judge(struct rc *c, raft_node_id node)
{
    raft_check(c->nodes[node].host);
    for (raft_group_id group = 1; group <= c->options.groups; group++) {
        struct raft_view view = rc_view(c, node, group);
        struct rc_log *cache = &c->nodes[node].cache[group];
        assert_int_equal(view.last, log_last(cache));
        if (view.last > cache->base) {
            const struct rc_entry *last = log_at(cache, view.last);
            assert_int_equal(raft_term_at(c->nodes[node].host, group, view.last), last->term);
        }
        if (view.role == RAFT_LEADER) {
            judge_leader(c, node, group, &view);
        }
        judge_commit(c, node, group, &view);
        judge_matching(c, node, group);
    }
}

/* ---- network ------------------------------------------------------------------------------- */

static void put_in_flight(struct rc *c, struct rc_message *message, clk_ns at)
{
    if (c->flight_count == RC_FLIGHT_MAX) {
        mem_free(message);
        return;
    }
    message->at = at;
    message->order = c->next_order++;
    c->flight[c->flight_count++] = message;
}

static void transmit(struct rc *c, struct rc_message *message)
{
    const struct raft_msg *msg = &message->msg;
    c->messages[msg->type]++;
    bool lost = c->cut[msg->from][msg->to] || rnd_chance_ppm(&c->rnd, c->options.drop_ppm);
    if (!lost && rnd_chance_ppm(&c->rnd, c->options.duplicate_ppm)) {
        struct rc_message *copy = mem_alloc(sizeof(*copy));
        *copy = *message;
        clk_ns later = CLK_US(rnd_range(&c->rnd, 1, 400000)); /* late enough to cross terms */
        put_in_flight(c, copy, c->now + later);
    }
    if (lost) {
        mem_free(message);
        return;
    }
    put_in_flight(c, message, c->now + CLK_US(up_to(c, c->options.delay_max_us, 500)));
}

static void open_gates(struct rc *c, raft_node_id id)
{
    struct rc_node *n = &c->nodes[id];
    while (n->gated != NULL && n->gated->gate <= n->durable) {
        struct rc_gated *first = n->gated;
        n->gated = first->next;
        if (n->gated == NULL) {
            n->gated_end = &n->gated;
        }
        transmit(c, first->message);
        mem_free(first);
    }
}

static void send(struct rc *c, raft_node_id id, const struct raft_effect *fx)
{
    struct rc_node *n = &c->nodes[id];
    struct rc_message *message = mem_alloc(sizeof(*message));
    message->msg = fx->msg;
    assert_int_equal(fx->msg.from, id);
    if (fx->first != 0) {
        const struct rc_log *log = &n->cache[fx->group];
        uint64_t budget = fx->budget_bytes;
        uint64_t bytes = 0;
        raft_index i = fx->first;
        assert_int_equal(fx->msg.index + 1, fx->first);
        while (i <= fx->last && message->count < RC_BATCH_MAX && log_at(log, i) != NULL) {
            if (message->count > 0 && bytes + 8 > budget) {
                break;
            }
            message->entries[message->count++] = *log_at(log, i++);
            bytes += 8;
        }
        raft_sent(n->host, fx->group, fx->msg.to, i - 1, bytes);
        if (message->count == 0) {
            mem_free(message);
            return;
        }
    }
    if (fx->after_wal_seq <= n->durable) {
        transmit(c, message);
        return;
    }
    assert_true(fx->after_wal_seq >= n->gate); /* gates never fall */
    n->gate = fx->after_wal_seq;
    struct rc_gated *gated = mem_alloc(sizeof(*gated));
    *gated = (struct rc_gated){.gate = fx->after_wal_seq, .message = message};
    *n->gated_end = gated;
    n->gated_end = &gated->next;
}

/* ---- disk ---------------------------------------------------------------------------------- */

static void write_disk(struct rc *c, raft_node_id id, const struct raft_effect *fx)
{
    struct rc_node *n = &c->nodes[id];
    uint32_t count = fx->first == 0 ? 0 : (uint32_t)(fx->last - fx->first + 1);
    struct rc_write *write = mem_alloc(sizeof(*write) + count * sizeof(write->entries[0]));
    write->wal_seq = fx->wal_seq;
    write->group = fx->group;
    write->effect = *fx;
    write->count = count;
    if (fx->has_snapshot) {
        write->snapshot = *fx->snapshot;
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct rc_entry *entry = log_at(&n->cache[fx->group], fx->first + i);
        assert_non_null(entry);
        write->entries[i] = *entry;
    }
    clk_ns start = n->disk_free_at > c->now ? n->disk_free_at : c->now;
    write->done_at = start + CLK_US(up_to(c, c->options.disk_max_us, 300));
    n->disk_free_at = write->done_at;
    *n->writes_end = write;
    n->writes_end = &write->next;
}

/* The oldest write reaches the disk. */
static void finish_write(struct rc_node *n)
{
    struct rc_write *write = n->writes;
    struct rc_disk *disk = &n->disks[write->group];
    const struct raft_effect *fx = &write->effect;
    if (fx->has_snapshot) {
        disk->snapshot = write->snapshot;
        disk->log.base = write->snapshot.index;
        disk->log.count = 0;
    }
    if (fx->has_hard_state) {
        disk->hard_state = fx->hard_state;
        n->damaged[write->group] = n->damaged[write->group] && !fx->hard_state.repairing;
    }
    log_truncate(&disk->log, fx->truncate_from);
    for (uint32_t i = 0; i < write->count; i++) {
        assert_int_equal(log_last(&disk->log) + 1, fx->first + i);
        log_append(&disk->log, &write->entries[i]);
    }
    n->durable = write->wal_seq;
    n->writes = write->next;
    if (n->writes == NULL) {
        n->writes_end = &n->writes;
    }
    mem_free(write);
}

/* ---- effects ------------------------------------------------------------------------------- */

static void apply(struct rc *c, raft_node_id id, const struct raft_effect *fx)
{
    struct rc_node *n = &c->nodes[id];
    assert_int_equal(fx->first, n->applied[fx->group] + 1);
    for (raft_index i = fx->first; i <= fx->last; i++) {
        const struct rc_entry *entry = log_at(&n->cache[fx->group], i);
        const struct rc_entry *on_disk = log_at(&n->disks[fx->group].log, i);
        assert_non_null(entry);
        assert_true(on_disk != NULL && same_entry(entry, on_disk));
    }
    n->applied[fx->group] = fx->last;
}

static void send_snapshot(struct rc *c, raft_node_id id, const struct raft_effect *fx)
{
    struct rc_node *n = &c->nodes[id];
    struct rc_node *to = &c->nodes[fx->node];
    struct raft_view view = rc_view(c, id, fx->group);
    struct raft_snapshot_meta meta = n->disks[fx->group].snapshot;
    bool ok = to->host != NULL && !c->cut[id][fx->node] && !c->cut[fx->node][id] &&
              meta.index >= fx->index && view.term > 0;
    if (ok) {
        struct raft_input in = {
            .kind = RAFT_IN_SNAP_RECEIVED, .group = fx->group, .snapshot = &meta};
        ok = rc_feed(c, fx->node, &in) == ERR_OK;
    }
    struct raft_input sent = {
        .kind = RAFT_IN_SNAP_SENT, .group = fx->group, .node = fx->node, .ok = ok};
    assert_int_equal(rc_feed(c, id, &sent), ERR_OK);
}

static void read_done(struct rc *c, raft_node_id id, const struct raft_effect *fx)
{
    struct rc_node *n = &c->nodes[id];
    if (fx->kind == RAFT_FX_READ_FAIL) {
        n->reads_failed++;
        return;
    }
    n->reads_ok++;
    if (fx->index < n->read_floor[fx->tag % RC_READS_MAX]) {
        fail_msg("stale read at node %u: index %lu, but %lu was committed before it", id, fx->index,
                 n->read_floor[fx->tag % RC_READS_MAX]);
    }
    (void)c;
}

/* Place in rc.configs, from the encoded bytes: what does not survive them is lost here too. */
static uint64_t keep_config(struct rc *c, const struct raft_config *config)
{
    struct buf b;
    struct raft_config back;
    buf_init(&b, RAFT_CONFIG_BYTES_MAX);
    assert_int_equal(raft_config_encode(config, &b), ERR_OK);
    assert_int_equal(raft_config_decode(buf_bytes(&b), &back), ERR_OK);
    buf_done(&b);
    assert_true(c->config_count < RC_CONFIGS_MAX);
    c->configs[c->config_count] = back;
    return c->config_count++;
}

static void carry_out(struct rc *c, raft_node_id id, const struct raft_effect *fx)
{
    struct rc_node *n = &c->nodes[id];
    struct raft_input in = {.group = fx->group};
    switch (fx->kind) {
    case RAFT_FX_NOOP:
        assert_int_equal(fx->index, log_last(&n->cache[fx->group]) + 1);
        log_append(&n->cache[fx->group],
                   &(struct rc_entry){.term = fx->term, .kind = RAFT_ENTRY_NOOP});
        return;
    case RAFT_FX_CONFIG_ENTRY:
        assert_int_equal(fx->index, log_last(&n->cache[fx->group]) + 1);
        log_append(&n->cache[fx->group], &(struct rc_entry){.term = fx->term,
                                                            .kind = RAFT_ENTRY_CONFIG,
                                                            .value = keep_config(c, fx->config)});
        return;
    case RAFT_FX_WAL:
        write_disk(c, id, fx);
        return;
    case RAFT_FX_SEND:
        send(c, id, fx);
        return;
    case RAFT_FX_APPLY:
        apply(c, id, fx);
        in.kind = RAFT_IN_APPLIED;
        in.index = fx->last;
        assert_int_equal(rc_feed(c, id, &in), ERR_OK);
        return;
    case RAFT_FX_READ_OK:
    case RAFT_FX_READ_FAIL:
        read_done(c, id, fx);
        return;
    case RAFT_FX_SNAP_WANT:
        send_snapshot(c, id, fx);
        return;
    case RAFT_FX_SNAP_INSTALL:
        n->applied[fx->group] = fx->snapshot->index;
        n->snapshots_installed++;
        in.kind = RAFT_IN_APPLIED;
        in.index = fx->snapshot->index;
        assert_int_equal(rc_feed(c, id, &in), ERR_OK);
        return;
    case RAFT_FX_ROLE:
    case RAFT_FX_CONFIG:
        return;
    }
}

static void drain(struct rc *c, raft_node_id id)
{
    struct raft_effect effects[EFFECTS];
    struct raft_effect later[EFFECTS]; /* what feeds: only after all raft_sent are answered */
    size_t count = 0;
    while ((count = raft_drain(c->nodes[id].host, c->now, effects, EFFECTS)) > 0) {
        size_t late = 0;
        for (size_t i = 0; i < count; i++) {
            enum raft_effect_kind kind = effects[i].kind;
            if (kind == RAFT_FX_APPLY || kind == RAFT_FX_SNAP_WANT ||
                kind == RAFT_FX_SNAP_INSTALL) {
                later[late++] = effects[i];
            } else {
                carry_out(c, id, &effects[i]);
            }
        }
        for (size_t i = 0; i < late; i++) {
            carry_out(c, id, &later[i]);
        }
    }
    judge(c, id);
}

/* ---- inputs -------------------------------------------------------------------------------- */

enum err rc_feed(struct rc *c, raft_node_id node, const struct raft_input *input)
{
    struct rc_node *n = &c->nodes[node];
    struct raft_fed fed = {0};
    assert_non_null(n->host);
    enum err err = raft_feed(n->host, c->now, input, &fed);
    raft_group_id group = input->kind == RAFT_IN_MSG ? input->msg->group : input->group;
    if (err == ERR_OK && fed.truncated_from != 0) {
        assert_true(rc_view(c, node, group).role != RAFT_LEADER); /* Leader Append-Only */
    }
    if (err == ERR_OK && input->kind == RAFT_IN_SNAP_RECEIVED && fed.truncated_from != 0) {
        n->cache[group].base = input->snapshot->index;
        n->cache[group].count = 0;
    } else {
        log_truncate(&n->cache[group], fed.truncated_from);
    }
    judge_commits(c, node);
    return err;
}

/* Feeds with entries that go into the cache, as far as the core took them. */
static enum err feed_entries(struct rc *c, raft_node_id node, struct raft_input *in,
                             const struct rc_entry *entries, uint32_t count)
{
    struct buf b;
    buf_init(&b, (size_t)RC_BATCH_MAX * RAFT_CONFIG_BYTES_MAX);
    assert_int_equal(buf_reserve(&b, (size_t)RC_BATCH_MAX * RAFT_CONFIG_BYTES_MAX), ERR_OK);
    struct raft_entry_info infos[RC_BATCH_MAX];
    for (uint32_t i = 0; i < count; i++) {
        infos[i] =
            (struct raft_entry_info){.term = entries[i].term, .size = 8, .kind = entries[i].kind};
        if (entries[i].kind == RAFT_ENTRY_CONFIG) {
            size_t before = b.len;
            assert_int_equal(raft_config_encode(&c->configs[entries[i].value], &b), ERR_OK);
            infos[i].size = (uint32_t)(b.len - before);
            infos[i].config_bytes = b.data + before;
        }
    }
    in->entries = infos;
    in->entry_count = count;
    struct rc_node *n = &c->nodes[node];
    raft_group_id group = in->kind == RAFT_IN_MSG ? in->msg->group : in->group;
    bool leads = rc_view(c, node, group).role == RAFT_LEADER;
    raft_term term_before = rc_view(c, node, group).term;
    struct raft_fed fed = {0};
    enum err err = raft_feed(n->host, c->now, in, &fed);
    bool still = leads && rc_view(c, node, group).term == term_before;
    assert_false(still && fed.truncated_from != 0); /* Leader Append-Only */
    log_truncate(&n->cache[group], fed.truncated_from);
    for (raft_index i = fed.first; fed.first != 0 && i <= fed.last; i++) {
        struct rc_entry entry = entries[fed.skipped + (i - fed.first)];
        entry.term = in->kind == RAFT_IN_MSG ? entry.term : fed.term;
        assert_int_equal(i, log_last(&n->cache[group]) + 1);
        log_append(&n->cache[group], &entry);
    }
    buf_done(&b);
    judge_commits(c, node);
    return err;
}

enum err rc_propose(struct rc *c, raft_node_id node, raft_group_id group, uint32_t count)
{
    struct rc_entry entries[RC_BATCH_MAX];
    assert_true(count <= RC_BATCH_MAX);
    for (uint32_t i = 0; i < count; i++) {
        entries[i] = (struct rc_entry){.kind = RAFT_ENTRY_COMMAND, .value = ++c->next_value};
    }
    struct raft_input in = {.kind = RAFT_IN_PROPOSE, .group = group};
    enum err err = feed_entries(c, node, &in, entries, count);
    drain(c, node);
    return err;
}

enum err rc_change(struct rc *c, raft_node_id node, raft_group_id group,
                   const enum raft_member_role *roles)
{
    struct raft_config target = {.count = 0};
    for (uint32_t i = 1; i <= c->options.nodes; i++) {
        if (roles[i - 1] != RAFT_NOT_A_MEMBER) {
            target.members[target.count++] = (struct raft_member){
                .node = i, .role = roles[i - 1], .storage_id = c->nodes[i].storage_id};
        }
    }
    struct raft_input in = {.kind = RAFT_IN_CONFIG, .group = group, .config = &target};
    enum err err = rc_feed(c, node, &in);
    drain(c, node);
    return err;
}

enum err rc_read(struct rc *c, raft_node_id node, raft_group_id group)
{
    struct rc_node *n = &c->nodes[node];
    uint64_t tag = n->reads_asked + 1;
    n->read_floor[tag % RC_READS_MAX] = c->commit[group];
    struct raft_input in = {.kind = RAFT_IN_READ, .group = group, .tag = tag};
    enum err err = rc_feed(c, node, &in);
    n->reads_asked += err == ERR_OK ? 1 : 0;
    drain(c, node);
    return err;
}

void rc_deliver(struct rc *c, const struct rc_message *message)
{
    raft_node_id to = message->msg.to;
    if (c->nodes[to].host == NULL) {
        return;
    }
    struct raft_input in = {.kind = RAFT_IN_MSG, .msg = &message->msg};
    enum err err = feed_entries(c, to, &in, message->entries, message->count);
    assert_int_equal(err, ERR_OK);
    drain(c, to);
}

/* ---- events -------------------------------------------------------------------------------- */

static struct rc_message *take_message(struct rc *c, clk_ns until)
{
    uint32_t best = c->flight_count;
    for (uint32_t i = 0; i < c->flight_count; i++) {
        const struct rc_message *m = c->flight[i];
        const struct rc_message *b = best < c->flight_count ? c->flight[best] : NULL;
        bool earlier = b == NULL || m->at < b->at || (m->at == b->at && m->order < b->order);
        if (m->at <= until && earlier) {
            best = i;
        }
    }
    if (best == c->flight_count) {
        return NULL;
    }
    struct rc_message *message = c->flight[best];
    c->flight[best] = c->flight[--c->flight_count];
    return message;
}

static clk_ns next_message_at(const struct rc *c)
{
    clk_ns at = CLK_NEVER;
    for (uint32_t i = 0; i < c->flight_count; i++) {
        at = c->flight[i]->at < at ? c->flight[i]->at : at;
    }
    return at;
}

/* The time and node of the next disk completion and of the next timer. */
static clk_ns next_disk_at(struct rc *c, raft_node_id *ret_node)
{
    clk_ns at = CLK_NEVER;
    for (uint32_t i = 1; i <= c->options.nodes; i++) {
        struct rc_node *n = &c->nodes[i];
        bool busy = n->host != NULL && n->writes != NULL && !n->disk_stuck;
        if (busy && n->writes->done_at < at) {
            at = n->writes->done_at;
            *ret_node = i;
        }
    }
    return at;
}

static clk_ns next_timer_at(struct rc *c, raft_node_id *ret_node)
{
    clk_ns at = CLK_NEVER;
    for (uint32_t i = 1; i <= c->options.nodes; i++) {
        if (c->nodes[i].host != NULL && raft_deadline(c->nodes[i].host) < at) {
            at = raft_deadline(c->nodes[i].host);
            *ret_node = i;
        }
    }
    return at;
}

static void disk_event(struct rc *c, raft_node_id node)
{
    struct rc_node *n = &c->nodes[node];
    do {
        finish_write(n);
    } while (n->writes != NULL && n->writes->done_at <= c->now);
    struct raft_input in = {.kind = RAFT_IN_DURABLE, .wal_seq = n->durable};
    assert_int_equal(rc_feed(c, node, &in), ERR_OK);
    open_gates(c, node);
    drain(c, node);
}

bool rc_step(struct rc *c, clk_ns until)
{
    raft_node_id disk_node = 0;
    raft_node_id timer_node = 0;
    clk_ns message_at = next_message_at(c);
    clk_ns disk_at = next_disk_at(c, &disk_node);
    clk_ns timer_at = next_timer_at(c, &timer_node);
    clk_ns at = message_at < disk_at ? message_at : disk_at;
    at = timer_at < at ? timer_at : at;
    if (at > until) {
        c->now = until > c->now ? until : c->now;
        return false;
    }
    c->now = at > c->now ? at : c->now;
    if (at == message_at) {
        struct rc_message *message = take_message(c, at);
        bool cut = c->cut[message->msg.from][message->msg.to];
        if (!cut && (c->filter == NULL || c->filter(c, message))) {
            rc_deliver(c, message);
        }
        mem_free(message);
    } else if (at == disk_at) {
        disk_event(c, disk_node);
    } else {
        struct raft_input in = {.kind = RAFT_IN_WAKE};
        assert_int_equal(rc_feed(c, timer_node, &in), ERR_OK);
        assert_true(raft_deadline(c->nodes[timer_node].host) > c->now);
        drain(c, timer_node);
    }
    return true;
}

void rc_run_ms(struct rc *c, uint32_t ms)
{
    clk_ns until = c->now + CLK_MS(ms);
    while (rc_step(c, until)) {
    }
}

raft_node_id rc_leader(struct rc *c, raft_group_id group)
{
    raft_node_id leader = 0;
    raft_term term = 0;
    for (uint32_t i = 1; i <= c->options.nodes; i++) {
        if (c->nodes[i].host == NULL) {
            continue;
        }
        struct raft_view view = rc_view(c, i, group);
        if (view.leads_safely && view.term > term) {
            leader = i;
            term = view.term;
        }
    }
    return leader;
}

/* What everybody thinks, printed before a test fails. */
static void describe(struct rc *c, raft_group_id group)
{
    for (uint32_t i = 1; i <= c->options.nodes; i++) {
        if (c->nodes[i].host == NULL) {
            print_message("node %u is down\n", i);
            continue;
        }
        struct raft_view v = rc_view(c, i, group);
        print_message("node %u %s term %lu leader %u log %lu..%lu last term %lu durable %lu "
                      "commit %lu applied %lu%s%s\n",
                      i, raft_role_name(v.role), v.term, v.leader, v.first, v.last,
                      raft_term_at(c->nodes[i].host, group, v.last), v.durable, v.commit, v.applied,
                      v.is_voter ? "" : " (no voter)", v.repairing ? " (repairing)" : "");
        for (uint32_t k = 0; k < v.peer_count; k++) {
            print_message("    peer %u state %u match %lu next %lu%s%s\n", v.peers[k].node,
                          v.peers[k].state, v.peers[k].match, v.peers[k].next,
                          v.peers[k].trusted ? "" : " (does not count)",
                          v.peers[k].recent ? "" : " (silent)");
        }
    }
}

raft_node_id rc_elect(struct rc *c, raft_group_id group)
{
    clk_ns until = c->now + CLK_S(GIVE_UP_S);
    while (rc_leader(c, group) == 0) {
        if (!rc_step(c, until)) {
            describe(c, group);
            fail_msg("seed %lu: no leader within %d s", c->options.seed, GIVE_UP_S);
        }
    }
    return rc_leader(c, group);
}

enum raft_member_role rc_role(struct rc *c, raft_group_id group, raft_node_id node)
{
    struct raft_view view = rc_view(c, rc_elect(c, group), group);
    for (uint32_t i = 0; i < view.config.count; i++) {
        if (view.config.members[i].node == node) {
            return view.config.members[i].role;
        }
    }
    return RAFT_NOT_A_MEMBER;
}

static bool settled(struct rc *c, raft_group_id group, uint32_t voters)
{
    raft_node_id leader = rc_leader(c, group);
    if (leader == 0) {
        return false;
    }
    struct raft_view view = rc_view(c, leader, group);
    uint32_t count = 0;
    for (uint32_t i = 0; i < view.config.count; i++) {
        count += view.config.members[i].role == RAFT_VOTER ? 1 : 0;
    }
    return view.is_voter && !view.config.joint && view.config_index <= view.commit &&
           count == voters;
}

void rc_settle(struct rc *c, raft_group_id group, uint32_t voters)
{
    clk_ns until = c->now + CLK_S(GIVE_UP_S);
    while (!settled(c, group, voters)) {
        if (!rc_step(c, until)) {
            describe(c, group);
            fail_msg("seed %lu: no change to %u voters", c->options.seed, voters);
        }
    }
}

void rc_change_all(struct rc *c, raft_group_id group, const enum raft_member_role *roles)
{
    uint32_t voters = 0;
    for (uint32_t i = 0; i < c->options.nodes; i++) {
        voters += roles[i] == RAFT_VOTER ? 1 : 0;
    }
    enum err err = ERR_FULL;
    for (uint32_t attempt = 0; attempt < 100 && err != ERR_OK && err != ERR_EXISTS; attempt++) {
        err = rc_change(c, rc_elect(c, group), group, roles);
        if (err == ERR_FULL || err == ERR_NOT_LEADER) {
            rc_run_ms(c, 20);
        }
    }
    assert_true(err == ERR_OK || err == ERR_EXISTS);
    rc_settle(c, group, voters);
}

static void wait_applied(struct rc *c, raft_group_id group, raft_index index, raft_node_id but)
{
    clk_ns until = c->now + CLK_S(GIVE_UP_S);
    for (uint32_t i = 1; i <= c->options.nodes; i++) {
        if (rc_role(c, group, i) == RAFT_NOT_A_MEMBER) {
            continue;
        }
        while (i != but && c->nodes[i].host != NULL && c->nodes[i].applied[group] < index) {
            if (!rc_step(c, until)) {
                describe(c, group);
                fail_msg("seed %lu: node %u does not apply %lu", c->options.seed, i, index);
            }
        }
    }
}

void rc_write_all_but(struct rc *c, raft_group_id group, raft_node_id node)
{
    for (uint32_t attempt = 0; attempt < 20; attempt++) {
        raft_node_id leader = rc_elect(c, group);
        raft_term term = rc_view(c, leader, group).term;
        if (leader == node) {
            rc_run_ms(c, 100);
            continue;
        }
        if (rc_propose(c, leader, group, 1) != ERR_OK) {
            rc_run_ms(c, 10);
            continue;
        }
        raft_index index = rc_view(c, leader, group).last;
        clk_ns until = c->now + CLK_S(1);
        while (c->commit[group] < index && rc_step(c, until)) {
        }
        if (c->commit[group] >= index && c->committed[group][index].term == term) {
            wait_applied(c, group, index, node);
            return;
        }
    }
    describe(c, group);
    fail_msg("seed %lu: a write does not go through", c->options.seed);
}

void rc_write_all(struct rc *c, raft_group_id group)
{
    rc_write_all_but(c, group, 0);
}

/* ---- life of nodes ------------------------------------------------------------------------- */

static void peer_up(struct rc *c, raft_node_id at, raft_node_id node)
{
    struct raft_input in = {.kind = RAFT_IN_PEER_UP,
                            .node = node,
                            .storage_id = c->nodes[node].storage_id,
                            .trusted = true};
    assert_int_equal(rc_feed(c, at, &in), ERR_OK);
    drain(c, at);
}

void rc_connect(struct rc *c, raft_node_id a, raft_node_id b)
{
    if (a == b || c->nodes[a].host == NULL || c->nodes[b].host == NULL) {
        return;
    }
    peer_up(c, a, b);
    peer_up(c, b, a);
}

static void open_group(struct rc *c, raft_node_id node, raft_group_id group)
{
    struct rc_node *n = &c->nodes[node];
    struct rc_disk *disk = &n->disks[group];
    static struct raft_term_run runs[RC_LOG_MAX];
    static struct raft_boot_config configs[RC_LOG_MAX];
    struct raft_boot boot = {.group = group,
                             .verdict = n->damaged[group] ? RAFT_BOOT_DAMAGED : RAFT_BOOT_CLEAN,
                             .hard_state = disk->hard_state,
                             .snapshot = disk->snapshot,
                             .runs = runs,
                             .configs = configs};
    log_compact(&disk->log, disk->snapshot.index);
    boot.last_index = log_last(&disk->log);
    for (uint32_t i = 0; i < disk->log.count; i++) {
        raft_term term = disk->log.entries[i].term;
        if (boot.run_count == 0 || runs[boot.run_count - 1].term != term) {
            runs[boot.run_count++] =
                (struct raft_term_run){.first = disk->log.base + 1 + i, .term = term};
        }
        if (disk->log.entries[i].kind == RAFT_ENTRY_CONFIG) {
            configs[boot.config_count++] = (struct raft_boot_config){
                .index = disk->log.base + 1 + i, .config = c->configs[disk->log.entries[i].value]};
        }
    }
    n->applied[group] = disk->snapshot.index;
    boot.applied = disk->snapshot.index;
    n->cache[group] = disk->log;
    assert_int_equal(raft_group_open(n->host, c->now, &boot), ERR_OK);
}

void rc_start(struct rc *c, raft_node_id node)
{
    struct rc_node *n = &c->nodes[node];
    assert_null(n->host);
    n->boot_count++;
    struct raft_host_cfg cfg = {
        .self = node,
        .storage_id = n->storage_id,
        .boot_count = n->boot_count,
        .groups_max = RC_GROUPS_MAX,
        .heartbeat = CLK_MS(50),
        .election_min = CLK_MS(300),
        .election_max = CLK_MS(600),
        .inflight_msgs_max = 4,
        .inflight_bytes_max = c->options.window_bytes == 0 ? 8 * 40 : c->options.window_bytes,
        .reads_max = 64,
        .uncommitted_bytes_max = 8 * 200,
        .seed = c->options.seed * 1000 + node * 100 + n->boot_count,
    };
    n->host = raft_host_new(&cfg);
    n->writes_end = &n->writes;
    n->gated_end = &n->gated;
    n->durable = 0;
    n->gate = 0;
    n->disk_free_at = c->now;
    for (raft_group_id group = 1; group <= c->options.groups; group++) {
        open_group(c, node, group);
    }
    drain(c, node);
    for (uint32_t i = 1; i <= c->options.nodes; i++) {
        rc_connect(c, node, i);
    }
}

static void forget_gated(struct rc_node *n)
{
    while (n->gated != NULL) {
        struct rc_gated *first = n->gated;
        n->gated = first->next;
        mem_free(first->message);
        mem_free(first);
    }
    n->gated_end = &n->gated;
}

void rc_crash(struct rc *c, raft_node_id node, uint32_t keep)
{
    struct rc_node *n = &c->nodes[node];
    assert_non_null(n->host);
    for (uint32_t i = 0; i < keep && n->writes != NULL; i++) {
        finish_write(n);
    }
    while (n->writes != NULL) {
        struct rc_write *first = n->writes;
        n->writes = first->next;
        mem_free(first);
    }
    n->writes_end = &n->writes;
    forget_gated(n);
    raft_host_free(n->host);
    n->host = NULL;
}

void rc_cut(struct rc *c, raft_node_id a, raft_node_id b, bool cut)
{
    c->cut[a][b] = cut;
    c->cut[b][a] = cut;
}

void rc_isolate(struct rc *c, raft_node_id node, bool cut)
{
    for (uint32_t i = 1; i <= c->options.nodes; i++) {
        if (i != node) {
            rc_cut(c, node, i, cut);
        }
    }
}

void rc_compact(struct rc *c, raft_node_id node, raft_group_id group, uint32_t trailing)
{
    struct rc_node *n = &c->nodes[node];
    raft_index index = n->applied[group];
    if (index <= n->disks[group].snapshot.index || raft_term_at(n->host, group, index) == 0) {
        return; /* nothing new, or a snapshot from the leader is being installed */
    }
    struct raft_snapshot_meta meta;
    assert_int_equal(raft_meta_at(n->host, group, index, &meta), ERR_OK);
    raft_index keep_after = index > trailing ? index - trailing : 0;
    struct raft_input in = {
        .kind = RAFT_IN_COMPACTED, .group = group, .snapshot = &meta, .index = keep_after};
    assert_int_equal(rc_feed(c, node, &in), ERR_OK);
    n->disks[group].snapshot = meta;
    log_compact(&n->disks[group].log, keep_after);
    log_compact(&n->cache[group], keep_after);
    drain(c, node);
}

struct rc *rc_new(const struct rc_options *options)
{
    assert_true(options->nodes <= RC_NODES_MAX && options->groups <= RC_GROUPS_MAX);
    struct rc *c = mem_alloc(sizeof(*c));
    c->options = *options;
    c->now = CLK_S(1);
    rnd_init(&c->rnd, options->seed);
    uint32_t members = options->members == 0 ? options->nodes : options->members;
    c->config_count = 1;
    c->configs[0].count = members;
    for (uint32_t i = 1; i <= options->nodes; i++) {
        c->nodes[i].storage_id = 1000 + i;
        if (i <= members) {
            c->configs[0].members[i - 1] =
                (struct raft_member){.node = i,
                                     .role = i <= options->voters ? RAFT_VOTER : RAFT_LEARNER,
                                     .storage_id = 1000 + i};
        }
    }
    for (uint32_t i = 1; i <= options->nodes; i++) {
        rc_start(c, i);
        bool founds = !options->no_bootstrap && i <= members;
        for (raft_group_id g = 1; g <= options->groups && founds; g++) {
            struct raft_input in = {.kind = RAFT_IN_BOOTSTRAP, .group = g};
            struct rc_entry founding = {.term = 1, .kind = RAFT_ENTRY_CONFIG};
            assert_int_equal(feed_entries(c, i, &in, &founding, 1), ERR_OK);
            drain(c, i);
        }
    }
    for (uint32_t i = 1; i <= options->nodes; i++) {
        while (c->nodes[i].writes != NULL) {
            assert_true(rc_step(c, c->now + CLK_S(1))); /* founded means on the disk */
        }
    }
    return c;
}

void rc_free(struct rc *c)
{
    for (uint32_t i = 1; i <= c->options.nodes; i++) {
        if (c->nodes[i].host != NULL) {
            rc_crash(c, i, 0);
        }
    }
    for (uint32_t i = 0; i < c->flight_count; i++) {
        mem_free(c->flight[i]);
    }
    mem_free(c);
}
