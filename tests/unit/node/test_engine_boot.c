/* An engine and its peers from the first connection on: who gets the founding configuration, whose
 * configuration is refused, and how many nodes it may know.
 *
 * A real engine with a WAL on a disk in memory is node 2 of three; the other nodes are what the
 * test sends in their names. */
#include "bytes/bytes.h"
#include "engine/engine.h"
#include "mem/mem.h"
#include "mem_disk.h"
#include "test.h"
#include "wal/wal.h"

#include <string.h>

enum {
    SELF = 2,
    SEGMENT = 64 * 1024,
    FRAME_VERSION = 1,
    FRAME_HEADER = 1 + 8, /* version, durable record */
    MESSAGE_RAFT = 1,     /* kinds of messages, as on the wire */
    MESSAGE_BOOTSTRAP = 4,
    IDS = 256
};

#define CLUSTER_ID       9u
#define STORAGE_OF(node) (100u + (node))

struct rig {
    struct mem_disk *disk;
    struct wal *wal;
    struct engine *engine;
    struct buf frame;
    clk_ns now;
    uint32_t births[IDS]; /* founding configurations that were sent, by receiver */
};

/* ---- what surrounds the engine --------------------------------------------------------------- */

static bool on_send(void *self, raft_node_id to, struct bytes frame)
{
    struct rig *rig = self;
    struct reader in = reader_of(frame);
    (void)read_raw(&in, FRAME_HEADER);
    while (reader_left(&in) > 0) {
        uint8_t kind = read_u8(&in);
        (void)read_raw(&in, read_u32(&in));
        assert_true(reader_ok(&in));
        rig->births[to] += kind == MESSAGE_BOOTSTRAP ? 1 : 0;
    }
    return true;
}

static void on_role_changed(void *self, raft_group_id group)
{
    (void)self;
    (void)group;
}

static enum err on_adopt(void *self, uint64_t cluster_id)
{
    (void)self;
    assert_true(cluster_id != 0);
    return ERR_OK;
}

static void on_fatal(void *self, enum err why, const char *text)
{
    (void)self;
    (void)why;
    fail_msg("%s", text);
}

static void on_durable(void *context, uint64_t wal_seq)
{
    struct rig *rig = context;
    engine_wal_durable(rig->engine, wal_seq);
}

static void on_wal_failed(void *context, enum err err, const struct err_note *note)
{
    (void)context;
    (void)err;
    fail_msg("%s", note->text);
}

/* Nothing commits here, so nothing is applied, proposed or read: those callbacks are not called. */
static void rig_start(struct rig *rig, uint64_t boot_count, uint64_t cluster_id)
{
    struct wal_config config = wal_config_default(STORAGE_OF(SELF));
    config.segment_bytes = SEGMENT;
    config.record_bytes_max = SEGMENT / 4;
    config.groups_max = 1;
    struct wal_callbacks callbacks = {
        .on_durable = on_durable, .on_failed = on_wal_failed, .context = rig};
    if (boot_count == 1) {
        assert_int_equal(wal_create(mem_disk_base(rig->disk), &config, NULL), ERR_OK);
    }
    assert_int_equal(wal_open(mem_disk_base(rig->disk), &config, &callbacks, &rig->wal, NULL),
                     ERR_OK);
    struct engine_cfg cfg = {.self = SELF,
                             .storage_id = STORAGE_OF(SELF),
                             .cluster_id = cluster_id,
                             .boot_count = boot_count,
                             .voter_count = 3,
                             .voters = {1, 2, 3},
                             .group_count = 1,
                             .seed = 7};
    struct engine_env env = {.self = rig,
                             .send = on_send,
                             .role_changed = on_role_changed,
                             .adopt_cluster = on_adopt,
                             .fatal = on_fatal};
    raft_index applied = 0;
    struct engine_start start = {
        .wal = rig->wal, .applied = &applied, .now = rig->now, .wall_ms = 1000};
    assert_int_equal(engine_open(&cfg, &env, &start, &rig->engine, NULL), ERR_OK);
}

static struct rig *rig_new(void)
{
    struct rig *rig = mem_alloc(sizeof(*rig));
    rig->disk = mem_disk_new(1);
    rig->now = CLK_S(1);
    buf_init(&rig->frame, ENGINE_FRAME_MAX);
    rig_start(rig, 1, 0);
    return rig;
}

/* Turns, with what the disk completes, until it has nothing to do. */
static void rig_settle(struct rig *rig)
{
    do {
        engine_turn(rig->engine, rig->now, rig->now / CLK_MS(1));
        mem_disk_advance(rig->disk, rig->now);
    } while (mem_disk_pending(rig->disk) > 0);
    engine_turn(rig->engine, rig->now, rig->now / CLK_MS(1));
    engine_check(rig->engine);
}

static void rig_stop(struct rig *rig)
{
    engine_close(rig->engine);
    wal_free(rig->wal);
    rig->engine = NULL;
}

static void rig_free(struct rig *rig)
{
    rig_stop(rig);
    mem_disk_free(rig->disk);
    buf_done(&rig->frame);
    mem_free(rig);
}

/* ---- what peers do --------------------------------------------------------------------------- */

static enum err rig_up(struct rig *rig, raft_node_id node, bool fresh)
{
    struct engine_hello hello = {.node = node,
                                 .cluster_id = fresh ? 0 : CLUSTER_ID,
                                 .storage_id = STORAGE_OF(node),
                                 .boot_count = 1,
                                 .boot_id = 1,
                                 .fresh = fresh};
    bool trusted = false;
    struct err_note note = {""};
    enum err err = engine_peer_up(rig->engine, rig->now, &hello, &trusted, &note);
    assert_true(err == ERR_OK ? trusted : note.text[0] != '\0');
    return err;
}

static struct writer frame_begin(struct rig *rig, uint8_t kind)
{
    buf_clear(&rig->frame);
    struct writer w = writer_of(&rig->frame);
    write_u8(&w, FRAME_VERSION);
    write_u64(&w, 1);
    write_u8(&w, kind);
    write_u32(&w, 0);
    return w;
}

static enum err frame_end(struct rig *rig, raft_node_id from)
{
    put_u32(rig->frame.data + FRAME_HEADER + 1, (uint32_t)(rig->frame.len - FRAME_HEADER - 5));
    return engine_receive(rig->engine, rig->now, rig->now / CLK_MS(1), from,
                          buf_bytes(&rig->frame));
}

/* Version 2 of the encoding, written here so that it can also say what the encoder refuses: voters
 * 1, 2, 3 in both halves when joint, and one more member when `more` is not 0. */
static void put_config(struct buf *to, bool joint, raft_node_id more)
{
    uint32_t count = more != 0 ? 4 : 3;
    struct writer w = writer_of(to);
    write_u8(&w, 2);
    write_u8(&w, joint ? 1 : 0);
    write_u16(&w, (uint16_t)count);
    for (uint32_t i = 0; i < count; i++) {
        raft_node_id node = i < 3 ? i + 1 : more;
        bool founder = i < 3;
        write_u32(&w, node);
        write_u8(&w, founder ? RAFT_VOTER : RAFT_PROMOTABLE);
        write_u8(&w, founder && joint ? RAFT_VOTER : RAFT_NOT_A_MEMBER);
        write_u16(&w, 0);
        write_u64(&w, STORAGE_OF(node));
    }
    assert_int_equal(w.err, ERR_OK);
}

static enum err rig_found(struct rig *rig, raft_node_id more)
{
    struct writer w = frame_begin(rig, MESSAGE_BOOTSTRAP);
    write_u64(&w, CLUSTER_ID);
    put_config(&rig->frame, false, more);
    return frame_end(rig, 1);
}

/* The leader of term 2 appends entry 2, the joint configuration that adds a member. */
static enum err rig_append_change(struct rig *rig, raft_node_id more)
{
    struct buf config;
    buf_init(&config, RAFT_CONFIG_BYTES_MAX);
    put_config(&config, true, more);
    struct raft_msg msg = {.type = RAFT_MSG_APPEND,
                           .group = 1,
                           .from = 1,
                           .to = SELF,
                           .term = 2,
                           .index = 1,
                           .log_term = 1,
                           .token = 1};
    struct writer w = frame_begin(rig, MESSAGE_RAFT);
    assert_int_equal(raft_msg_encode(&msg, &rig->frame), ERR_OK);
    write_u32(&w, 1);
    write_u64(&w, 2); /* term */
    write_u64(&w, 0); /* time */
    write_u32(&w, (uint32_t)config.len);
    write_u8(&w, RAFT_ENTRY_CONFIG);
    write_raw(&w, buf_bytes(&config));
    assert_int_equal(w.err, ERR_OK);
    buf_done(&config);
    return frame_end(rig, 1);
}

static raft_index rig_config_index(struct rig *rig)
{
    struct raft_view view;
    assert_int_equal(engine_view(rig->engine, 1, &view), ERR_OK);
    assert_int_equal(view.commit, 0);
    return view.last == 0 ? 0 : view.config_index;
}

/* Node 2 has what node 1 founded, and node 1 is connected. */
static struct rig *founded(void)
{
    struct rig *rig = rig_new();
    assert_int_equal(rig_up(rig, 1, false), ERR_OK);
    assert_int_equal(rig_found(rig, 0), ERR_OK);
    rig_settle(rig);
    assert_int_equal(rig_config_index(rig), 1);
    return rig;
}

/* ---- the founding configuration -------------------------------------------------------------- */

static void restart(struct rig *rig)
{
    rig_stop(rig);
    mem_disk_crash(rig->disk, MEM_DISK_LOST);
    rig_start(rig, 2, CLUSTER_ID);
}

static void founding_configuration_is_passed_on_after_a_restart(void **state)
{
    (void)state;
    struct rig *rig = founded();
    restart(rig);
    assert_int_equal(rig_up(rig, 3, true), ERR_OK);
    assert_int_equal(rig_up(rig, 4, true), ERR_OK);
    rig_settle(rig);
    assert_int_equal(rig->births[3], 1);
    assert_int_equal(rig->births[4], 0); /* no member */
    rig_free(rig);
}

static void later_configuration_is_not_passed_on_as_the_founding_one(void **state)
{
    (void)state;
    struct rig *rig = founded();
    assert_int_equal(rig_append_change(rig, 4), ERR_OK);
    rig_settle(rig);
    restart(rig);
    assert_int_equal(rig_config_index(rig), 2); /* and does not know of any commit */
    assert_int_equal(rig_up(rig, 3, true), ERR_OK);
    assert_int_equal(rig_up(rig, 4, true), ERR_OK);
    for (int turns = 0; turns < 20; turns++) {
        rig_settle(rig);
        rig->now += CLK_MS(50);
    }
    assert_int_equal(rig->births[3], 0);
    assert_int_equal(rig->births[4], 0);
    rig_free(rig);
}

/* ---- node ids -------------------------------------------------------------------------------- */

static void founding_configuration_with_an_id_out_of_range_is_refused(void **state)
{
    (void)state;
    struct rig *rig = rig_new();
    assert_int_equal(rig_up(rig, 1, false), ERR_OK);
    assert_int_equal(rig_found(rig, 256), ERR_BAD_INPUT);
    assert_int_equal(rig_found(rig, UINT32_MAX), ERR_BAD_INPUT);
    rig_settle(rig);
    assert_int_equal(rig_config_index(rig), 0);
    assert_int_equal(rig_found(rig, 255), ERR_OK);
    rig_settle(rig);
    assert_int_equal(rig_config_index(rig), 1);
    rig_free(rig);
}

static void appended_configuration_with_an_id_out_of_range_is_refused(void **state)
{
    (void)state;
    struct rig *rig = founded();
    assert_int_equal(rig_append_change(rig, 256), ERR_BAD_INPUT);
    rig_settle(rig);
    assert_int_equal(rig_config_index(rig), 1);
    assert_int_equal(rig_append_change(rig, 255), ERR_OK);
    rig_settle(rig);
    assert_int_equal(rig_config_index(rig), 2);
    rig_free(rig);
}

/* ---- how many -------------------------------------------------------------------------------- */

static void one_node_too_many_is_refused_until_another_goes(void **state)
{
    (void)state;
    struct rig *rig = founded();
    raft_node_id node = 10;
    for (uint32_t known = 1; known < RAFT_PEERS_MAX; known++) { /* node 1 is */
        assert_int_equal(rig_up(rig, node++, true), ERR_OK);
    }
    assert_int_equal(rig_up(rig, node, true), ERR_FULL);
    rig_settle(rig);
    engine_peer_down(rig->engine, rig->now, node); /* never was up: nothing happens */
    engine_peer_down(rig->engine, rig->now, 10);
    assert_int_equal(rig_up(rig, node, true), ERR_OK);
    assert_int_equal(rig_up(rig, 10, true), ERR_FULL);
    rig_settle(rig);
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(founding_configuration_is_passed_on_after_a_restart),
        cmocka_unit_test(later_configuration_is_not_passed_on_as_the_founding_one),
        cmocka_unit_test(founding_configuration_with_an_id_out_of_range_is_refused),
        cmocka_unit_test(appended_configuration_with_an_id_out_of_range_is_refused),
        cmocka_unit_test(one_node_too_many_is_refused_until_another_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
