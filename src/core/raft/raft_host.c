/* The host: owns the groups, feeds them inputs and time, drains their effects.
 *
 * Place: core/raft. One host runs on one thread; all its groups share one WAL numbering, one disk
 * watermark, one timer queue and one source of randomness, so equal inputs give equal effects. */
#include "mem/mem.h"
#include "raft/raft_priv.h"

static void check_cfg(const struct raft_host_cfg *cfg)
{
    CHECK(cfg->self != 0 && cfg->storage_id != 0);
    CHECK(cfg->boot_count >= 1 && cfg->boot_count <= RAFT_BOOT_COUNT_MAX);
    CHECK(cfg->groups_max >= 1);
    CHECK(cfg->heartbeat > 0 && cfg->election_min > cfg->heartbeat);
    CHECK(cfg->election_max >= cfg->election_min && cfg->election_max < CLK_NEVER / 16);
    CHECK(cfg->inflight_msgs_max >= 1 && cfg->inflight_bytes_max >= 1);
    CHECK(cfg->reads_max >= 1 && cfg->uncommitted_bytes_max >= 1);
}

struct raft_host *raft_host_new(const struct raft_host_cfg *cfg)
{
    check_cfg(cfg);
    struct raft_host *host = mem_alloc(sizeof(*host));
    host->cfg = *cfg;
    host->token_next = 1;
    rnd_init(&host->rnd, cfg->seed);
    map_init(&host->groups, cfg->groups_max);
    heap_init(&host->timers);
    list_init(&host->dirty);
    list_init(&host->writing);
    return host;
}

void raft_host_free(struct raft_host *host)
{
    if (host == NULL) {
        return;
    }
    struct map_node *node = map_next(&host->groups, NULL);
    while (node != NULL) {
        map_remove(&host->groups, node);
        raft_group_free(CONTAINER_OF(node, struct raft_group, by_id));
        node = map_next(&host->groups, NULL);
    }
    map_done(&host->groups);
    heap_done(&host->timers);
    mem_free(host);
}

static bool has_id(const struct map_node *node, const void *key)
{
    const struct raft_group *g =
        (const struct raft_group *)(const void *)((const char *)node -
                                                  offsetof(struct raft_group, by_id));
    return g->id == *(const raft_group_id *)key;
}

struct raft_group *raft_group_of(const struct raft_host *host, raft_group_id id)
{
    struct map_node *node = map_find(&host->groups, hash_u64(id), has_id, &id);
    return node == NULL ? NULL : CONTAINER_OF(node, struct raft_group, by_id);
}

/* ---- opening ------------------------------------------------------------------------------- */

static bool runs_consistent(const struct raft_boot *boot)
{
    if ((boot->run_count == 0) != (boot->last_index == boot->snapshot.index)) {
        return false;
    }
    raft_index next = boot->snapshot.index + 1;
    raft_term term = boot->snapshot.term;
    for (size_t i = 0; i < boot->run_count; i++) {
        const struct raft_term_run *run = &boot->runs[i];
        bool first_ok = i == 0 ? run->first == next : run->first > boot->runs[i - 1].first;
        if (!first_ok || run->first > boot->last_index || run->term < term || run->term == 0) {
            return false;
        }
        term = run->term;
    }
    bool damaged = boot->verdict == RAFT_BOOT_DAMAGED || boot->hard_state.repairing;
    return damaged || term <= boot->hard_state.term;
}

static bool configs_consistent(const struct raft_boot *boot)
{
    raft_index after = boot->snapshot.index;
    for (size_t i = 0; i < boot->config_count; i++) {
        const struct raft_boot_config *at = &boot->configs[i];
        if (at->index <= after || at->index > boot->last_index || !raft_config_valid(&at->config)) {
            return false;
        }
        after = at->index;
    }
    return boot->config_count < RAFT_CONFIG_HISTORY_MAX;
}

static bool boot_consistent(const struct raft_boot *boot)
{
    bool none = boot->snapshot.index == 0;
    if (none ? boot->snapshot.term != 0 : !raft_snapshot_meta_valid(&boot->snapshot)) {
        return false;
    }
    return boot->last_index >= boot->snapshot.index && boot->last_index < RAFT_NUMBER_MAX &&
           boot->hard_state.term < RAFT_NUMBER_MAX && boot->applied <= boot->last_index &&
           boot->run_count < RAFT_TERM_RUNS_MAX && runs_consistent(boot) &&
           configs_consistent(boot);
}

enum err raft_group_open(struct raft_host *host, clk_ns now, const struct raft_boot *boot)
{
    CHECK(now >= host->now);
    host->now = now;
    if (boot->group == 0 || !boot_consistent(boot)) {
        return ERR_CORRUPT;
    }
    if (raft_group_of(host, boot->group) != NULL) {
        return ERR_EXISTS;
    }
    if (host->group_count == host->cfg.groups_max) {
        return ERR_FULL;
    }
    struct raft_group *g = raft_group_new(host, boot);
    host->group_count++;
    map_insert(&host->groups, &g->by_id, hash_u64(g->id));
    raft_touch(g);
    return ERR_OK;
}

/* ---- feeding ------------------------------------------------------------------------------- */

static void wake(struct raft_host *host, clk_ns now)
{
    /* Each tick moves its group's deadline beyond now; the bound is only a guard against a
     * mistake. */
    for (uint32_t i = 0; i < host->group_count; i++) {
        struct heap_node *first = heap_min(&host->timers);
        if (first == NULL || first->key > now) {
            return;
        }
        raft_group_tick(CONTAINER_OF(first, struct raft_group, timer), now);
    }
}

static void durable(struct raft_host *host, clk_ns now, uint64_t wal_seq)
{
    CHECK(wal_seq <= host->wal_seq);
    if (wal_seq <= host->wal_durable) {
        return;
    }
    host->wal_durable = wal_seq;
    host->wal_progress = now;
    LIST_FOREACH_SAFE (link, after, &host->writing) {
        raft_group_durable(CONTAINER_OF(link, struct raft_group, writing), now, wal_seq);
    }
}

static enum err feed_msg(struct raft_group *g, clk_ns now, const struct raft_input *input,
                         struct raft_fed *fed)
{
    const struct raft_msg *msg = input->msg;
    if (msg->to != g->host->cfg.self || msg->from == msg->to || msg->from == 0) {
        return ERR_BAD_INPUT;
    }
    if (msg->term > RAFT_NUMBER_MAX || msg->index > RAFT_NUMBER_MAX) {
        return ERR_BAD_INPUT;
    }
    switch (msg->type) {
    case RAFT_MSG_PREVOTE:
        return raft_on_prevote(g, now, msg);
    case RAFT_MSG_PREVOTE_REPLY:
        return raft_on_prevote_reply(g, now, msg);
    case RAFT_MSG_VOTE:
        return raft_on_vote(g, now, msg);
    case RAFT_MSG_VOTE_REPLY:
        return raft_on_vote_reply(g, now, msg);
    case RAFT_MSG_APPEND:
        return raft_on_append(g, now, input, fed);
    case RAFT_MSG_APPEND_REPLY:
        return raft_on_append_reply(g, now, msg);
    case RAFT_MSG_READ:
        return raft_on_msg_read(g, now, msg);
    case RAFT_MSG_READ_REPLY:
        return raft_on_read_reply(g, now, msg);
    case RAFT_MSG_TIMEOUT_NOW:
        return raft_on_timeout_now(g, now, msg);
    }
    return ERR_BAD_INPUT;
}

static enum err feed_group(struct raft_group *g, clk_ns now, const struct raft_input *input,
                           struct raft_fed *fed)
{
    switch (input->kind) {
    case RAFT_IN_MSG:
        return feed_msg(g, now, input, fed);
    case RAFT_IN_BOOTSTRAP:
        return raft_on_bootstrap(g, now, input, fed);
    case RAFT_IN_PROPOSE:
        return raft_on_propose(g, input, fed);
    case RAFT_IN_READ:
        return raft_on_read(g, input->tag);
    case RAFT_IN_CAMPAIGN:
        if (g->role != RAFT_LEADER) {
            raft_campaign(g, now);
        }
        return ERR_OK;
    case RAFT_IN_CONFIG:
        return raft_on_config(g, input);
    case RAFT_IN_TRANSFER:
        return raft_on_transfer(g, now, input->node);
    case RAFT_IN_APPLIED:
        return raft_on_applied(g, input->index);
    case RAFT_IN_COMPACTED:
        return raft_on_compacted(g, input);
    case RAFT_IN_SNAP_RECEIVED:
        return raft_on_snap_received(g, now, input, fed);
    case RAFT_IN_SNAP_SENT:
        return raft_on_snap_sent(g, input);
    case RAFT_IN_DAMAGED:
        raft_repair_begin(g, now);
        return ERR_OK;
    case RAFT_IN_WAKE:
    case RAFT_IN_DURABLE:
    case RAFT_IN_PEER_UP:
    case RAFT_IN_PEER_DOWN:
        break;
    }
    CHECK_UNREACHABLE();
}

enum err raft_feed(struct raft_host *host, clk_ns now, const struct raft_input *input,
                   struct raft_fed *ret_fed)
{
    CHECK(now >= host->now && host->awaiting == 0);
    host->now = now;
    struct raft_fed fed = {0};
    enum err err = ERR_OK;
    if (input->kind == RAFT_IN_WAKE) {
        wake(host, now);
    } else if (input->kind == RAFT_IN_DURABLE) {
        durable(host, now, input->wal_seq);
    } else if (input->kind == RAFT_IN_PEER_UP) {
        err = raft_on_peer_up(host, now, input);
    } else if (input->kind == RAFT_IN_PEER_DOWN) {
        raft_on_peer_down(host, now, input->node);
    } else {
        raft_group_id id = input->kind == RAFT_IN_MSG ? input->msg->group : input->group;
        struct raft_group *g = raft_group_of(host, id);
        if (g == NULL) {
            return ERR_NOT_FOUND;
        }
        err = feed_group(g, now, input, &fed);
        raft_touch(g);
    }
    if (ret_fed != NULL) {
        *ret_fed = fed;
    }
    return err;
}

/* ---- draining ------------------------------------------------------------------------------ */

size_t raft_drain(struct raft_host *host, clk_ns now, struct raft_effect *effects, size_t cap)
{
    CHECK(now >= host->now && host->awaiting == 0);
    host->now = now;
    size_t count = 0;
    while (count < cap && !list_empty(&host->dirty)) {
        struct raft_group *g = CONTAINER_OF(host->dirty.next, struct raft_group, dirty);
        if (raft_group_effect(g, now, &effects[count])) {
            count++;
        } else {
            list_remove(&g->dirty);
            heap_set(&host->timers, &g->timer, raft_group_deadline(g));
        }
    }
    return count;
}

clk_ns raft_deadline(const struct raft_host *host)
{
    const struct heap_node *first = heap_min(&host->timers);
    return first == NULL ? CLK_NEVER : first->key;
}
