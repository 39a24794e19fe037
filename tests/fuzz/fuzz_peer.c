/* Fuzz target: whatever peers send, an engine neither crashes nor breaks its own invariants.
 *
 * A real engine (Raft, WAL on a disk in memory, proposer streams) is node 2 of three. The input is
 * a script: connections come with any hello and go, frames of raw bytes, frames with right framing
 * and any content, Raft messages of any small values with entries, time, disk steps, own proposals
 * and reads.
 *
 * The first byte chooses what peers may say. Well-formed: always one and the same configuration, no
 * raw bytes; after each step the invariants of engine and core are checked. Anything: also logs
 * that no leader makes, whose configurations do not follow from one another; then the checks that
 * the running program has must do. */
#include "disk/identity.h"
#include "engine/engine.h"
#include "mem_disk.h"
#include "wal/wal.h"

#include "check/check.h"
#include "machine/machine.h"
#include "mem/mem.h"

#include <string.h>

enum {
    SELF = 2,
    SEGMENT = 64 * 1024,
    STEPS_MAX = 400,
    ENTRIES_MAX = 4,
    FRAME_VERSION = 1,
    FRAME_KIND_RAFT = 1
};

#define STORAGE_ID 77u
#define CLUSTER_ID 9u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct rig {
    struct mem_disk *disk;
    struct wal *wal;
    struct engine *engine;
    struct reader from;
    struct buf frame;
    clk_ns now;
    raft_index handed; /* what env->apply got last */
    uint32_t snapshot_to;
    bool snapshot_wanted;
    bool failed;
    bool anything; /* else only what a peer of this program may say */
    uint64_t tag;
};

/* ---- what surrounds the engine --------------------------------------------------------------- */

static bool on_send(void *self, raft_node_id to, struct bytes frame)
{
    (void)self;
    CHECK(to != SELF && frame.len > 0);
    return true;
}

static void on_apply(void *self, raft_group_id group, const struct engine_entry *entries,
                     size_t count)
{
    struct rig *rig = self;
    CHECK(group == 1 && count > 0 && entries[0].index == rig->handed + 1);
    rig->handed = entries[count - 1].index;
}

static void on_proposer_last(void *self, raft_group_id group, raft_node_id node,
                             uint64_t *ret_incarnation, uint64_t *ret_sequence)
{
    (void)self;
    (void)group;
    (void)node;
    *ret_incarnation = 0;
    *ret_sequence = 0;
}

static clk_ms on_applied_time(void *self, raft_group_id group)
{
    (void)self;
    (void)group;
    return 0;
}

static void on_proposal_failed(void *self, uint64_t tag, enum err err)
{
    (void)self;
    CHECK(tag != 0 && err != ERR_OK);
}

static void on_read_done(void *self, uint64_t tag, enum err err, raft_index index)
{
    (void)self;
    (void)err;
    (void)index;
    CHECK(tag != 0);
}

static void on_role_changed(void *self, raft_group_id group)
{
    (void)self;
    (void)group;
}

static void on_snapshot_send(void *self, raft_group_id group, raft_node_id to, raft_index at_least)
{
    struct rig *rig = self;
    (void)group;
    (void)at_least;
    rig->snapshot_to = to;
}

static void on_snapshot_write(void *self, raft_group_id group)
{
    struct rig *rig = self;
    (void)group;
    rig->snapshot_wanted = true;
}

static void on_snapshot_install(void *self, raft_group_id group,
                                const struct raft_snapshot_meta *meta)
{
    (void)self;
    (void)group;
    (void)meta;
    CHECK_UNREACHABLE(); /* no file ever arrives here */
}

static enum err on_adopt(void *self, uint64_t cluster_id)
{
    (void)self;
    CHECK(cluster_id != 0);
    return ERR_OK;
}

static void on_fatal(void *self, enum err why, const char *text)
{
    struct rig *rig = self;
    CHECK(why != ERR_OK && text != NULL);
    rig->failed = true;
}

static void on_durable(void *context, uint64_t wal_seq)
{
    struct rig *rig = context;
    engine_wal_durable(rig->engine, wal_seq);
}

static void on_wal_failed(void *context, enum err err, const struct err_note *note)
{
    struct rig *rig = context;
    engine_wal_failed(rig->engine, err, note);
}

/* ---- start and end --------------------------------------------------------------------------- */

static void rig_open(struct rig *rig, bool member)
{
    struct wal_config config = wal_config_default(STORAGE_ID);
    config.segment_bytes = SEGMENT;
    config.record_bytes_max = SEGMENT / 4;
    config.groups_max = 2;
    struct wal_callbacks callbacks = {
        .on_durable = on_durable, .on_failed = on_wal_failed, .context = rig};
    rig->disk = mem_disk_new(1);
    enum err err = wal_create(mem_disk_base(rig->disk), &config, NULL);
    CHECK(err == ERR_OK);
    err = wal_open(mem_disk_base(rig->disk), &config, &callbacks, &rig->wal, NULL);
    CHECK(err == ERR_OK);
    struct engine_cfg cfg = {.self = SELF,
                             .storage_id = STORAGE_ID,
                             .cluster_id = member ? CLUSTER_ID : 0,
                             .boot_count = 1,
                             .voter_count = 3,
                             .voters = {1, 2, 3},
                             .group_count = 1,
                             .seed = 7};
    struct engine_env env = {.self = rig,
                             .send = on_send,
                             .apply = on_apply,
                             .proposer_last = on_proposer_last,
                             .applied_time = on_applied_time,
                             .proposal_failed = on_proposal_failed,
                             .read_done = on_read_done,
                             .role_changed = on_role_changed,
                             .snapshot_send = on_snapshot_send,
                             .snapshot_write = on_snapshot_write,
                             .snapshot_install = on_snapshot_install,
                             .adopt_cluster = on_adopt,
                             .fatal = on_fatal};
    raft_index applied = 0;
    rig->now = CLK_S(1);
    err = engine_open(&cfg, &env,
                      &(struct engine_start){
                          .wal = rig->wal, .applied = &applied, .now = rig->now, .wall_ms = 1000},
                      &rig->engine, NULL);
    CHECK(err == ERR_OK);
    buf_init(&rig->frame, ENGINE_FRAME_MAX);
}

static void rig_close(struct rig *rig)
{
    engine_close(rig->engine);
    wal_free(rig->wal);
    mem_disk_free(rig->disk);
    buf_done(&rig->frame);
}

/* ---- steps ----------------------------------------------------------------------------------- */

static raft_node_id some_peer(struct rig *rig)
{
    return (read_u8(&rig->from) & 1u) != 0 ? 3 : 1;
}

static void receive(struct rig *rig, raft_node_id from, struct bytes frame)
{
    /* An allocation of its own, so that reading beyond it is seen. */
    uint8_t *copy = mem_alloc(frame.len > 0 ? frame.len : 1);
    if (frame.len > 0) {
        memcpy(copy, frame.data, frame.len);
    }
    enum err err = engine_receive(rig->engine, rig->now, rig->now / CLK_MS(1), from,
                                  bytes_of(copy, frame.len));
    mem_free(copy);
    if (err != ERR_OK) {
        CHECK(err == ERR_BAD_INPUT);
        engine_peer_down(rig->engine, rig->now, from); /* as node/peers does */
    }
}

static struct bytes some_bytes(struct rig *rig)
{
    size_t len = read_u8(&rig->from);
    return read_raw(&rig->from, len < reader_left(&rig->from) ? len : reader_left(&rig->from));
}

static void step_peer_up(struct rig *rig)
{
    struct engine_hello hello = {.node = some_peer(rig)};
    uint8_t what = read_u8(&rig->from);
    hello.cluster_id = (what & 1u) != 0 ? CLUSTER_ID : what >> 7u;
    hello.storage_id = 100u + hello.node + ((what & 2u) != 0 ? 50u : 0);
    hello.boot_count = 1u + (what >> 2u & 3u);
    hello.durable_seq = read_u8(&rig->from);
    hello.start_seq = (what & 16u) != 0 ? hello.durable_seq : 0;
    hello.boot_id = 1u + (what & 32u);
    hello.fresh = (what & 64u) != 0;
    bool trusted = false;
    struct err_note note;
    enum err err = engine_peer_up(rig->engine, rig->now, &hello, &trusted, &note);
    CHECK(err == ERR_OK || err == ERR_MISMATCH);
}

static void step_framed(struct rig *rig)
{
    raft_node_id from = some_peer(rig);
    uint8_t durable = read_u8(&rig->from);
    uint8_t kind = read_u8(&rig->from);
    struct bytes body = some_bytes(rig);
    buf_clear(&rig->frame);
    struct writer w = writer_of(&rig->frame);
    write_u8(&w, FRAME_VERSION);
    write_u64(&w, durable);
    write_u8(&w, kind % 8u);
    write_u32(&w, (uint32_t)body.len);
    write_raw(&w, body);
    CHECK(w.err == ERR_OK);
    receive(rig, from, buf_bytes(&rig->frame));
}

/* A configuration of nodes 1 to 3 as members of any kind, as raft_config_encode would write it;
 * also one that makes no sense. */
static void put_config(struct rig *rig, struct buf *to)
{
    uint8_t count = read_u8(&rig->from) % 4u;
    uint8_t roles = read_u8(&rig->from);
    if (!rig->anything) {
        count = 3;
        roles = 0x15; /* voters */
    }
    bool joint = (roles & 0x80u) != 0;
    struct writer w = writer_of(to);
    write_u8(&w, joint ? 2 : 1);
    write_u8(&w, joint ? 1 : 0);
    write_u16(&w, count);
    for (uint32_t i = 0; i < count; i++) {
        write_u32(&w, i + 1);
        write_u8(&w, (uint8_t)((unsigned)roles >> (2 * i) & 3u));
        uint8_t old = (uint8_t)((unsigned)roles >> i & 3u);
        write_u8(&w, joint ? old : 0);
        write_u16(&w, 0);
        write_u64(&w, i + 1 == SELF ? STORAGE_ID : 101u + i);
    }
    CHECK(w.err == ERR_OK);
}

/* Our own number or another's: what a leader that lies might say that we proposed. */
static void put_command(struct rig *rig, struct buf *to)
{
    struct machine_command command = {
        .kind = MACHINE_CMD_CANCELED,
        .proposer = {.node = 1u + read_u8(&rig->from) % 3u,
                     .incarnation = (uint64_t)(read_u8(&rig->from) & 3u) << 32u,
                     .sequence = 1u + read_u8(&rig->from) % 4u}};
    enum err err = machine_command_encode(&command, to);
    CHECK(err == ERR_OK);
}

static void put_entry(struct rig *rig, struct writer *w)
{
    uint8_t what = read_u8(&rig->from);
    struct buf payload;
    buf_init(&payload, 4096);
    if ((what & 3u) == RAFT_ENTRY_CONFIG) {
        put_config(rig, &payload);
    } else if ((what & 4u) != 0) {
        put_command(rig, &payload);
    }
    write_u64(w, what >> 4u);
    write_u64(w, read_u8(&rig->from));
    write_u32(w, (uint32_t)payload.len);
    write_u8(w, what & 3u);
    write_raw(w, buf_bytes(&payload));
    buf_done(&payload);
}

static void step_raft(struct rig *rig)
{
    uint8_t what = read_u8(&rig->from);
    struct raft_msg msg = {.type = (enum raft_msg_type)(1u + (what & 7u)),
                           .group = 1,
                           .from = (what & 8u) != 0 ? 3 : 1,
                           .to = SELF,
                           .reject = (what & 16u) != 0,
                           .repairing = (what & 32u) != 0};
    msg.term = read_u8(&rig->from) & 15u;
    msg.index = read_u8(&rig->from) & 31u;
    msg.log_term = read_u8(&rig->from) & 15u;
    msg.commit = read_u8(&rig->from) & 31u;
    msg.hint = read_u8(&rig->from) & 31u;
    msg.token = read_u8(&rig->from);
    buf_clear(&rig->frame);
    struct writer w = writer_of(&rig->frame);
    write_u8(&w, FRAME_VERSION);
    write_u64(&w, 1);
    write_u8(&w, FRAME_KIND_RAFT);
    size_t len_at = rig->frame.len;
    write_u32(&w, 0);
    enum err err = raft_msg_encode(&msg, &rig->frame);
    CHECK(err == ERR_OK);
    if (msg.type == RAFT_MSG_APPEND) {
        uint32_t count = read_u8(&rig->from) % (ENTRIES_MAX + 1u);
        write_u32(&w, count);
        for (uint32_t i = 0; i < count; i++) {
            put_entry(rig, &w);
        }
    }
    CHECK(w.err == ERR_OK);
    put_u32(rig->frame.data + len_at, (uint32_t)(rig->frame.len - len_at - 4));
    receive(rig, msg.from, buf_bytes(&rig->frame));
}

static void step_propose(struct rig *rig)
{
    static const uint8_t no_trace[MACHINE_TRACE_BYTES];
    struct engine_proposal proposal = {.group = 1,
                                       .kind = MACHINE_CMD_CANCELED,
                                       .trace_id = no_trace,
                                       .tag = ++rig->tag,
                                       .deadline = rig->now + CLK_S(1)};
    enum err err = engine_propose(rig->engine, rig->now, &proposal);
    CHECK(err == ERR_OK || err == ERR_FULL);
}

static void step(struct rig *rig)
{
    raft_node_id peer;
    enum err err = ERR_OK;
    uint8_t what = read_u8(&rig->from) % 10u;
    switch (what < 2 && !rig->anything ? 8 : what) {
    case 0:
        peer = some_peer(rig);
        receive(rig, peer, some_bytes(rig));
        break;
    case 1:
        step_framed(rig);
        break;
    case 2:
        step_peer_up(rig);
        break;
    case 3:
        engine_peer_down(rig->engine, rig->now, some_peer(rig));
        break;
    case 4:
        rig->now += CLK_MS(1) + CLK_MS(4) * read_u8(&rig->from);
        break;
    case 5:
        step_propose(rig);
        break;
    case 6:
        err = engine_read(rig->engine, rig->now, 1, ++rig->tag);
        CHECK(err == ERR_OK || err == ERR_FULL || err == ERR_NO_LEADER);
        break;
    case 7:
        if (rig->handed > 0) {
            engine_applied(rig->engine, rig->now, 1, rig->handed);
        }
        break;
    default:
        step_raft(rig);
        break;
    }
}

static void settle(struct rig *rig)
{
    mem_disk_advance(rig->disk, rig->now);
    if (rig->snapshot_to != 0) {
        raft_node_id to = rig->snapshot_to;
        rig->snapshot_to = 0;
        engine_snapshot_sent(rig->engine, rig->now, 1, to, false);
    }
    if (rig->snapshot_wanted) {
        rig->snapshot_wanted = false;
        engine_snapshot_written(rig->engine, rig->now, 1, NULL);
    }
    engine_turn(rig->engine, rig->now, rig->now / CLK_MS(1));
    mem_disk_advance(rig->disk, rig->now);
    if (!rig->anything) {
        engine_check(rig->engine);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct rig *rig = mem_alloc(sizeof(*rig));
    rig->from = reader_of(bytes_of(data, size));
    uint8_t what = read_u8(&rig->from);
    rig->anything = (what & 2u) != 0;
    rig_open(rig, (what & 1u) != 0);
    for (int steps = 0; steps < STEPS_MAX && reader_left(&rig->from) > 0 && !rig->failed; steps++) {
        step(rig);
        settle(rig);
    }
    rig_close(rig);
    mem_free(rig);
    return 0;
}
