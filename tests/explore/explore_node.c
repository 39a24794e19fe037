/* Exploration: one node, its core in an arena, its disk and its engine played.
 *
 * Everything that a node is lies in ex_arena at fixed addresses, pointers of the core included, so
 * copying the arena copies the node. The linker sends the core's allocations here (--wrap): they
 * come from the arena one after the other and are never given back before the node starts anew. */
#include "explore.h"

#include "check/check.h"
#include "map/map.h"
#include "mem/mem.h"
#include "raft/raft_canon.h"

#include <string.h>

enum {
    ARENA_BYTES = 96 * 1024,
    HEARTBEAT = 1, /* of the smallest election timeout that the core accepts */
    ELECTION = 2,
    NOW = 1000,
    GROUP = 1,
    ENTRY_BYTES = 1,
};

struct write {
    uint64_t wal_seq;
    bool has_hard_state;
    uint8_t term;
    uint8_t vote;
    uint8_t truncate_from;
    uint8_t first;
    uint8_t last;
    struct ex_entry entries[EX_LOG_MAX + 1];
};

struct gated {
    uint64_t after;
    struct ex_msg msg;
};

struct disk {
    uint8_t term;
    uint8_t vote;
    uint8_t last;
    struct ex_entry entries[EX_LOG_MAX + 1];
};

struct node {
    struct raft_host *host;
    size_t used; /* of the arena */
    clk_ns now;
    raft_node_id self;
    uint32_t boot_count;
    uint32_t batch;
    struct ex_entry log[EX_LOG_MAX + 1]; /* the engine's entry cache */
    uint8_t last;
    struct disk disk;
    uint8_t write_count;
    uint8_t gated_count;
    struct write writes[EX_WRITES_MAX];
    struct gated gated[EX_GATED_MAX];
};

static _Alignas(64) uint8_t arena_memory[ARENA_BYTES];
uint8_t *const ex_arena = arena_memory;
static bool in_arena; /* whether allocations are the core's */
static uint32_t batch_max;
static struct raft_config founders;
static uint8_t founders_bytes[RAFT_CONFIG_BYTES_MAX];
static uint32_t founders_size;

static struct node *self_node(void)
{
    return (struct node *)(void *)arena_memory;
}

/* ---- allocation ---------------------------------------------------------------------------- */

void *__real_mem_alloc(size_t size);
void *__real_mem_alloc_array(size_t count, size_t size);
void *__real_mem_resize(void *old, size_t size);
void __real_mem_free(void *memory);
void *__wrap_mem_alloc(size_t size);
void *__wrap_mem_alloc_array(size_t count, size_t size);
void *__wrap_mem_resize(void *old, size_t size);
void __wrap_mem_free(void *memory);

static void *take(size_t size)
{
    struct node *n = self_node();
    void *memory = arena_memory + n->used;
    n->used += (size + 15) / 16 * 16;
    CHECK(n->used <= ARENA_BYTES);
    return memory; /* zeroed: the arena was, and nothing is given back */
}

void *__wrap_mem_alloc(size_t size)
{
    return in_arena ? take(size) : __real_mem_alloc(size);
}

void *__wrap_mem_alloc_array(size_t count, size_t size)
{
    return in_arena ? take(count * size) : __real_mem_alloc_array(count, size);
}

void *__wrap_mem_resize(void *old, size_t size)
{
    if (!in_arena) {
        return __real_mem_resize(old, size);
    }
    CHECK(old == NULL); /* only first allocations: logs and histories here stay short */
    return take(size);
}

void __wrap_mem_free(void *memory)
{
    if (!in_arena) {
        __real_mem_free(memory);
    }
}

size_t ex_arena_bytes(void)
{
    return self_node()->used;
}

/* ---- starting ------------------------------------------------------------------------------ */

static uint64_t storage_of(raft_node_id node)
{
    return 100 + node;
}

void ex_node_setup(uint32_t batch)
{
    batch_max = batch;
    founders = (struct raft_config){.count = EX_NODES};
    for (uint32_t i = 0; i < EX_NODES; i++) {
        founders.members[i] = (struct raft_member){
            .node = i + 1, .role = RAFT_VOTER, .storage_id = storage_of(i + 1)};
    }
    struct buf encoded;
    buf_init(&encoded, RAFT_CONFIG_BYTES_MAX);
    CHECK(raft_config_encode(&founders, &encoded) == ERR_OK);
    struct bytes bytes = buf_bytes(&encoded);
    memcpy(founders_bytes, bytes.data, bytes.len);
    founders_size = (uint32_t)bytes.len;
    buf_done(&encoded);
}

static void feed(const struct raft_input *input)
{
    enum err err = raft_feed(self_node()->host, self_node()->now, input, NULL);
    CHECK(err == ERR_OK);
}

static void open_group(struct node *n)
{
    struct raft_term_run runs[EX_LOG_MAX];
    size_t run_count = 0;
    for (uint8_t i = 1; i <= n->disk.last; i++) {
        raft_term term = n->disk.entries[i].term;
        if (run_count == 0 || runs[run_count - 1].term != term) {
            runs[run_count++] = (struct raft_term_run){.first = i, .term = term};
        }
    }
    struct raft_boot_config config = {.index = 1, .config = founders};
    struct raft_boot boot = {
        .group = GROUP,
        .verdict = RAFT_BOOT_CLEAN,
        .hard_state = {.term = n->disk.term, .vote = n->disk.vote},
        .last_index = n->disk.last,
        .runs = runs,
        .run_count = run_count,
        .configs = &config,
        .config_count = 1,
    };
    CHECK(raft_group_open(n->host, NOW, &boot) == ERR_OK);
}

static void start(raft_node_id self, uint32_t boot_count, const struct disk *disk)
{
    memset(arena_memory, 0, sizeof(arena_memory));
    struct node *n = self_node();
    n->used = (sizeof(*n) + 63) / 64 * 64;
    n->now = NOW;
    n->self = self;
    n->boot_count = boot_count;
    n->batch = batch_max;
    n->disk = *disk;
    memcpy(n->log, disk->entries, sizeof(n->log));
    n->last = disk->last;
    struct raft_host_cfg cfg = {
        .self = self,
        .storage_id = storage_of(self),
        .boot_count = boot_count,
        .groups_max = 1,
        .heartbeat = HEARTBEAT,
        .election_min = ELECTION,
        .election_max = ELECTION,
        .inflight_msgs_max = 2,
        .inflight_bytes_max = 1000,
        .reads_max = 4,
        .uncommitted_bytes_max = 1000,
        .seed = 1,
    };
    in_arena = true;
    n->host = raft_host_new(&cfg);
    open_group(n);
    in_arena = false;
    for (raft_node_id peer = 1; peer <= EX_NODES; peer++) {
        if (peer != self) {
            feed(&(struct raft_input){.kind = RAFT_IN_PEER_UP,
                                      .node = peer,
                                      .storage_id = storage_of(peer),
                                      .trusted = true});
        }
    }
}

/* ---- disk ---------------------------------------------------------------------------------- */

static void disk_write(struct disk *disk, const struct write *w)
{
    if (w->has_hard_state) {
        disk->term = w->term;
        disk->vote = w->vote;
    }
    if (w->truncate_from > 0 && w->truncate_from <= disk->last) {
        for (uint8_t i = w->truncate_from; i <= disk->last; i++) {
            disk->entries[i] = (struct ex_entry){0};
        }
        disk->last = w->truncate_from - 1;
    }
    for (uint8_t i = w->first; w->first > 0 && i <= w->last; i++) {
        disk->entries[i] = w->entries[i];
        disk->last = i;
    }
}

static void queue_write(struct node *n, const struct raft_effect *fx)
{
    CHECK(n->write_count < EX_WRITES_MAX && !fx->has_snapshot);
    struct write *w = &n->writes[n->write_count++];
    *w = (struct write){
        .wal_seq = fx->wal_seq,
        .has_hard_state = fx->has_hard_state,
        .term = (uint8_t)fx->hard_state.term,
        .vote = (uint8_t)fx->hard_state.vote,
        .truncate_from = (uint8_t)fx->truncate_from,
        .first = (uint8_t)fx->first,
        .last = (uint8_t)fx->last,
    };
    for (uint8_t i = w->first; w->first > 0 && i <= w->last; i++) {
        w->entries[i] = n->log[i];
    }
}

/* ---- effects ------------------------------------------------------------------------------- */

static void send(struct ex_outcome *out, const struct ex_msg *msg)
{
    CHECK(out->sent_count < EX_OUT_MAX);
    out->sent[out->sent_count++] = *msg;
}

static void on_send(struct node *n, const struct raft_effect *fx, struct ex_outcome *out)
{
    struct ex_msg msg;
    memset(&msg, 0, sizeof(msg)); /* compared byte by byte */
    msg.raft.type = fx->msg.type;
    msg.raft.group = fx->msg.group;
    msg.raft.from = fx->msg.from;
    msg.raft.to = fx->msg.to;
    msg.raft.term = fx->msg.term;
    msg.raft.index = fx->msg.index;
    msg.raft.log_term = fx->msg.log_term;
    msg.raft.commit = fx->msg.commit;
    msg.raft.hint = fx->msg.hint;
    msg.raft.token = fx->msg.token;
    msg.raft.reject = fx->msg.reject;
    msg.raft.repairing = fx->msg.repairing;
    if (fx->first > 0) {
        raft_index last = fx->last - fx->first < n->batch ? fx->last : fx->first + n->batch - 1;
        for (raft_index i = fx->first; i <= last; i++) {
            msg.entries[msg.count++] = n->log[i];
        }
        raft_sent(n->host, GROUP, fx->node, last, msg.count);
    }
    if (fx->after_wal_seq == 0) {
        send(out, &msg);
        return;
    }
    CHECK(n->gated_count < EX_GATED_MAX);
    n->gated[n->gated_count].after = fx->after_wal_seq;
    n->gated[n->gated_count++].msg = msg;
}

static void on_effect(struct node *n, const struct raft_effect *fx, struct ex_outcome *out)
{
    switch (fx->kind) {
    case RAFT_FX_NOOP:
        CHECK(fx->index == n->last + 1u && fx->index <= EX_LOG_MAX);
        n->last = (uint8_t)fx->index;
        n->log[n->last] = (struct ex_entry){.term = (uint8_t)fx->term, .value = EX_VALUE_NOOP};
        break;
    case RAFT_FX_WAL:
        queue_write(n, fx);
        break;
    case RAFT_FX_SEND:
        on_send(n, fx, out);
        break;
    case RAFT_FX_APPLY:
        feed(&(struct raft_input){.kind = RAFT_IN_APPLIED, .group = GROUP, .index = fx->last});
        break;
    case RAFT_FX_READ_OK:
        if (fx->index < fx->tag) {
            out->violation = "a read is older than what was committed before it began";
        }
        break;
    case RAFT_FX_READ_FAIL:
    case RAFT_FX_ROLE:
    case RAFT_FX_CONFIG:
        break;
    case RAFT_FX_CONFIG_ENTRY:
    case RAFT_FX_SNAP_WANT:
    case RAFT_FX_SNAP_INSTALL:
        CHECK_UNREACHABLE();
    }
}

static void drain(struct node *n, struct ex_outcome *out)
{
    struct raft_effect fx;
    while (raft_drain(n->host, n->now, &fx, 1) == 1) {
        on_effect(n, &fx, out);
    }
}

static void open_gates(struct node *n, uint64_t durable, struct ex_outcome *out)
{
    uint8_t kept = 0;
    for (uint8_t i = 0; i < n->gated_count; i++) {
        if (n->gated[i].after <= durable) {
            send(out, &n->gated[i].msg);
        } else {
            n->gated[kept++] = n->gated[i];
        }
    }
    memset(&n->gated[kept], 0, (size_t)(n->gated_count - kept) * sizeof(n->gated[0]));
    n->gated_count = kept;
}

/* ---- steps --------------------------------------------------------------------------------- */

static void cache_append(struct node *n, const struct ex_msg *msg, const struct raft_fed *fed)
{
    if (fed->truncated_from > 0) {
        for (raft_index i = fed->truncated_from; i <= n->last; i++) {
            n->log[i] = (struct ex_entry){0};
        }
        n->last = (uint8_t)(fed->truncated_from - 1);
    }
    if (fed->first == 0) {
        return;
    }
    CHECK(fed->first == n->last + 1u && fed->last <= EX_LOG_MAX);
    for (raft_index i = fed->first; i <= fed->last; i++) {
        n->log[i] = msg->entries[fed->skipped + (i - fed->first)];
    }
    n->last = (uint8_t)fed->last;
}

static void deliver(struct node *n, const struct ex_msg *msg, struct ex_outcome *out)
{
    struct raft_entry_info infos[EX_LOG_MAX];
    for (uint32_t i = 0; i < msg->count; i++) {
        uint8_t value = msg->entries[i].value;
        bool config = value == EX_VALUE_CONFIG;
        infos[i] = (struct raft_entry_info){
            .term = msg->entries[i].term,
            .size = config ? founders_size : ENTRY_BYTES,
            .kind = config ? RAFT_ENTRY_CONFIG
                           : (value == EX_VALUE_NOOP ? RAFT_ENTRY_NOOP : RAFT_ENTRY_COMMAND),
            .config_bytes = config ? founders_bytes : NULL,
        };
    }
    struct raft_fed fed;
    struct raft_input input = {
        .kind = RAFT_IN_MSG, .msg = &msg->raft, .entries = infos, .entry_count = msg->count};
    if (raft_feed(n->host, n->now, &input, &fed) != ERR_OK) {
        out->violation = "a message of a correct node was refused as impossible";
        return;
    }
    cache_append(n, msg, &fed);
}

static void propose(struct node *n, uint8_t value, struct ex_outcome *out)
{
    struct raft_entry_info info = {.size = ENTRY_BYTES, .kind = RAFT_ENTRY_COMMAND};
    struct raft_input input = {
        .kind = RAFT_IN_PROPOSE, .group = GROUP, .entries = &info, .entry_count = 1};
    struct raft_fed fed;
    if (raft_feed(n->host, n->now, &input, &fed) != ERR_OK) {
        out->refused = true;
        return;
    }
    struct ex_msg msg = {.count = 1};
    msg.entries[0] = (struct ex_entry){.term = (uint8_t)fed.term, .value = value};
    cache_append(n, &msg, &fed);
}

static void sync_oldest(struct node *n, struct ex_outcome *out)
{
    if (n->write_count == 0) {
        out->refused = true;
        return;
    }
    uint64_t seq = n->writes[0].wal_seq;
    disk_write(&n->disk, &n->writes[0]);
    n->write_count--;
    memmove(&n->writes[0], &n->writes[1], n->write_count * sizeof(n->writes[0]));
    memset(&n->writes[n->write_count], 0, sizeof(n->writes[0]));
    feed(&(struct raft_input){.kind = RAFT_IN_DURABLE, .wal_seq = seq});
    open_gates(n, seq, out);
}

static void restart(struct node *n, uint32_t kept)
{
    CHECK(kept <= n->write_count);
    for (uint32_t i = 0; i < kept; i++) {
        disk_write(&n->disk, &n->writes[i]);
    }
    struct disk disk = n->disk;
    start(n->self, n->boot_count + 1, &disk);
}

static void take_input(struct node *n, struct ex_input input, struct ex_outcome *out)
{
    switch (input.kind) {
    case EX_DELIVER_LATE:
        n->now += ELECTION;
        deliver(n, ex_message_at(input.arg), out);
        break;
    case EX_DELIVER:
        deliver(n, ex_message_at(input.arg), out);
        break;
    case EX_TIMEOUT:
        n->now += ELECTION;
        feed(&(struct raft_input){.kind = RAFT_IN_WAKE});
        break;
    case EX_HEARTBEAT:
        n->now += HEARTBEAT;
        feed(&(struct raft_input){.kind = RAFT_IN_WAKE});
        break;
    case EX_PROPOSE:
        propose(n, (uint8_t)input.arg, out);
        break;
    case EX_READ:
        out->refused =
            raft_feed(n->host, n->now,
                      &(struct raft_input){.kind = RAFT_IN_READ, .group = GROUP, .tag = input.arg},
                      NULL) != ERR_OK;
        break;
    case EX_SYNC:
        sync_oldest(n, out);
        break;
    case EX_RESTART:
        restart(n, input.arg);
        break;
    }
}

static void settle(struct node *n, struct ex_outcome *out)
{
    drain(n, out);
    uint64_t durable = raft_canon_rebase(n->host, NOW);
    n->now = NOW;
    for (uint8_t i = 0; i < n->write_count; i++) {
        n->writes[i].wal_seq -= durable;
    }
    for (uint8_t i = 0; i < n->gated_count; i++) {
        n->gated[i].after -= durable;
    }
    raft_check(n->host);
}

void ex_node_first(raft_node_id self)
{
    struct disk disk = {.term = 1, .last = 1};
    disk.entries[1] = (struct ex_entry){.term = 1, .value = EX_VALUE_CONFIG};
    start(self, 1, &disk);
    struct ex_outcome out = {0};
    in_arena = true;
    settle(self_node(), &out);
    in_arena = false;
    CHECK(out.sent_count == 0);
}

/* "A leader never overwrites or deletes entries in its log; it only appends" (Figure 3). */
static bool only_appended(const struct ex_facts *before, const struct ex_facts *after)
{
    if (before->role != RAFT_LEADER || after->role != RAFT_LEADER || before->term != after->term) {
        return true;
    }
    return after->last >= before->last &&
           memcmp(before->log, after->log, (before->last + 1u) * sizeof(before->log[0])) == 0;
}

void ex_node_step(struct ex_input input, struct ex_outcome *ret_outcome)
{
    struct node *n = self_node();
    *ret_outcome = (struct ex_outcome){0};
    struct ex_facts before;
    ex_node_facts(&before);
    in_arena = true;
    take_input(n, input, ret_outcome);
    settle(n, ret_outcome);
    in_arena = false;
    struct ex_facts after;
    ex_node_facts(&after);
    bool same_life = input.kind != EX_RESTART;
    if (same_life && after.commit < before.commit) {
        ret_outcome->violation = "a commit index went back";
    }
    if (same_life && !only_appended(&before, &after)) {
        ret_outcome->violation = "leader append-only: a leader changed its log";
    }
}

/* ---- inspection ---------------------------------------------------------------------------- */

void ex_node_facts(struct ex_facts *ret_facts)
{
    const struct node *n = self_node();
    struct raft_view view;
    CHECK(raft_view(n->host, GROUP, &view) == ERR_OK);
    *ret_facts = (struct ex_facts){
        .self = (uint8_t)n->self,
        .role = (uint8_t)view.role,
        .term = (uint8_t)view.term,
        .vote = (uint8_t)view.vote,
        .leader = (uint8_t)view.leader,
        .commit = (uint8_t)view.commit,
        .last = n->last,
        .disk_last = n->disk.last,
        .disk_term = n->disk.term,
        .writes = n->write_count,
    };
    CHECK(view.last == n->last);
    memcpy(ret_facts->log, n->log, sizeof(n->log));
    memcpy(ret_facts->disk, n->disk.entries, sizeof(n->disk.entries));
}

const uint8_t ex_perms[EX_PERMS][EX_NODES + 1] = {
    {0, 1, 2, 3}, {0, 1, 3, 2}, {0, 2, 1, 3}, {0, 2, 3, 1}, {0, 3, 1, 2}, {0, 3, 2, 1},
};

static void mix(uint64_t *h, uint64_t value)
{
    *h = hash_u64(*h ^ value) + 0x9e3779b97f4a7c15u;
}

static void mix_entries(uint64_t *h, const struct ex_entry *entries, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        mix(h, (uint64_t)entries[i].term << 8 | entries[i].value);
    }
}

uint64_t ex_msg_hash(const struct ex_msg *msg, uint32_t perm)
{
    const struct raft_msg *m = &msg->raft;
    uint64_t h = 7;
    const uint64_t numbers[] = {
        m->type,
        ex_perms[perm][m->from],
        ex_perms[perm][m->to],
        m->term,
        m->index,
        m->log_term,
        m->commit,
        m->hint,
        m->token,
        m->reject,
        m->repairing,
        msg->count,
    };
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        mix(&h, numbers[i]);
    }
    mix_entries(&h, msg->entries, msg->count);
    return h;
}

uint64_t ex_node_hash(uint32_t perm)
{
    const struct node *n = self_node();
    const uint8_t *to = ex_perms[perm];
    struct raft_canon_names names = {0};
    for (raft_node_id i = 1; i <= EX_NODES; i++) {
        names.node[i] = to[i];
        names.storage[i] = storage_of(i);
    }
    uint64_t h = raft_canon_hash(n->host, &names);
    mix(&h, n->batch); /* steps are remembered over searches with different ones */
    mix_entries(&h, n->log, EX_LOG_MAX + 1);
    mix_entries(&h, n->disk.entries, EX_LOG_MAX + 1);
    mix(&h, (uint64_t)n->disk.term << 16 | (uint64_t)to[n->disk.vote] << 8 | n->write_count);
    for (uint8_t i = 0; i < n->write_count; i++) {
        const struct write *w = &n->writes[i];
        mix(&h, w->wal_seq);
        mix(&h, (uint64_t)w->has_hard_state << 40 | (uint64_t)w->term << 32 |
                    (uint64_t)to[w->vote] << 24 | (uint64_t)w->truncate_from << 16 |
                    (uint64_t)w->first << 8 | w->last);
        mix_entries(&h, w->entries, EX_LOG_MAX + 1);
    }
    for (uint8_t i = 0; i < n->gated_count; i++) {
        mix(&h, n->gated[i].after);
        mix(&h, ex_msg_hash(&n->gated[i].msg, perm));
    }
    return h;
}
