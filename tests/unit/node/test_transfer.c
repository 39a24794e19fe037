/* Snapshot files between nodes: over a link in memory that loses, cuts and damages. */
#include "transfer/transfer.h"

#include "jobs/jobs.h"
#include "log/log.h"
#include "loop_test.h"
#include "mem/mem.h"
#include "store/snapshot_file.h"
#include "table/table.h"

#include <dirent.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    SIDES = 3,
    GROUP = 5,
    TERM = 7,
    KIND_OFFER = 1,
    KIND_ACCEPT = 2,
    KIND_CHUNK = 4,
    KIND_ACK = 5,
    HEAD = 16,
    PATH_SIZE = 256
};

/* --- a disk that fails on demand --- */

static atomic_int writes_until_full = -1; /* < 0: never */
static atomic_bool write_holds;           /* the next write waits for write_go */
static atomic_bool write_is_held;
static sem_t write_go;

enum err __real_snapshot_sink_write(struct snapshot_sink *sink, uint64_t offset, struct bytes chunk,
                                    struct err_note *note);
enum err __wrap_snapshot_sink_write(struct snapshot_sink *sink, uint64_t offset, struct bytes chunk,
                                    struct err_note *note);

enum err __wrap_snapshot_sink_write(struct snapshot_sink *sink, uint64_t offset, struct bytes chunk,
                                    struct err_note *note)
{
    if (atomic_exchange(&write_holds, false)) {
        write_is_held = true;
        while (sem_wait(&write_go) != 0) {
        }
        write_is_held = false;
    }
    if (writes_until_full >= 0 && writes_until_full-- == 0) {
        return err_note_set(note, ERR_NO_SPACE, "cannot write: the disk is full");
    }
    return __real_snapshot_sink_write(sink, offset, chunk, note);
}

/* --- nodes and the link between them --- */

struct frame {
    struct list link;
    raft_node_id from;
    raft_node_id to;
    size_t len;
    uint8_t bytes[];
};

struct world;

struct side {
    struct world *world;
    raft_node_id id;
    char path[PATH_SIZE];
    struct jobs *jobs;
    struct snapshot_dir *dir;
    struct transfer *transfer;
    uint64_t size_max;
    int sent_count;
    enum err sent_err;
    raft_group_id sent_group;
    int received_count;
    struct raft_snapshot_meta received;
};

struct world {
    struct loop *loop;
    struct side sides[SIDES + 1]; /* by id */
    struct list frames;
    bool cut;             /* nothing is taken */
    int cut_after_chunks; /* > 0: then the link breaks */
    int damage_chunk;     /* > 0: that one is delivered with a wrong byte */
    int lose_kind;        /* the next frame of the kind is lost */
    uint64_t chunk_bytes; /* of all chunks delivered */
    int in_flight;        /* chunks without an ACK, of node 1 */
    int in_flight_max;
    int accepts;
    uint64_t resumed_at; /* offset of the last ACCEPT */
};

static bool on_send(void *self, raft_node_id to, struct bytes body)
{
    struct side *side = self;
    struct world *w = side->world;
    if (w->cut) {
        return false;
    }
    struct frame *frame = mem_alloc(sizeof(*frame) + body.len);
    frame->from = side->id;
    frame->to = to;
    frame->len = body.len;
    memcpy(frame->bytes, body.data, body.len);
    list_push_back(&w->frames, &frame->link);
    if (body.data[1] == KIND_CHUNK && side->id == 1 && ++w->in_flight > w->in_flight_max) {
        w->in_flight_max = w->in_flight;
    }
    return true;
}

static void on_sent(void *self, raft_group_id group, raft_node_id to, enum err err)
{
    struct side *side = self;
    assert_true(to != side->id);
    side->sent_count++;
    side->sent_err = err;
    side->sent_group = group;
}

static void on_received(void *self, raft_group_id group, const struct raft_snapshot_meta *meta)
{
    struct side *side = self;
    (void)group;
    side->received_count++;
    side->received = *meta;
}

static void drop_frames(struct world *w)
{
    struct list *link;
    while ((link = list_pop_front(&w->frames)) != NULL) {
        mem_free(CONTAINER_OF(link, struct frame, link));
    }
}

static void break_link(struct world *w)
{
    w->cut = true;
    drop_frames(w);
    for (raft_node_id id = 1; id <= SIDES; id++) {
        for (raft_node_id other = 1; other <= SIDES; other++) {
            transfer_peer_down(w->sides[id].transfer, other);
        }
    }
}

static void deliver(struct world *w, struct frame *frame)
{
    int kind = frame->bytes[1];
    if (kind == KIND_CHUNK) {
        w->chunk_bytes += frame->len - HEAD - 8;
        if (w->damage_chunk > 0 && --w->damage_chunk == 0) {
            frame->bytes[frame->len / 2] ^= 0x20;
        }
    } else if (kind == KIND_ACK && frame->to == 1) {
        w->in_flight--;
    } else if (kind == KIND_ACCEPT) {
        w->accepts++;
        w->resumed_at = get_u64(frame->bytes + HEAD);
    }
    if (kind == w->lose_kind) {
        w->lose_kind = 0;
        return;
    }
    enum err err = transfer_frame(w->sides[frame->to].transfer, frame->from,
                                  bytes_of(frame->bytes, frame->len));
    assert_int_equal(err, ERR_OK);
    if (kind == KIND_CHUNK && w->cut_after_chunks > 0 && --w->cut_after_chunks == 0) {
        break_link(w);
    }
}

/* Carries what is on the way; always true, for conditions. */
static bool pump(struct world *w)
{
    struct list *link;
    while ((link = list_pop_front(&w->frames)) != NULL) {
        struct frame *frame = CONTAINER_OF(link, struct frame, link);
        deliver(w, frame);
        mem_free(frame);
    }
    return true;
}

#define UNTIL(w, condition) LOOP_UNTIL((w)->loop, pump(w) && (condition))

static raft_index on_floor(void *self, raft_group_id group)
{
    (void)self;
    (void)group;
    return UINT64_MAX;
}

static void side_start(struct side *side)
{
    struct err_note note = {0};
    assert_int_equal(jobs_new(side->world->loop, &side->jobs, &note), ERR_OK);
    assert_int_equal(snapshot_dir_open(side->path, &side->dir, &note), ERR_OK);
    const struct transfer_cfg cfg = {.loop = side->world->loop,
                                     .jobs = side->jobs,
                                     .dir = side->dir,
                                     .size_bytes_max = side->size_max,
                                     .self = side,
                                     .send = on_send,
                                     .sent = on_sent,
                                     .floor = on_floor,
                                     .received = on_received};
    side->transfer = transfer_new(&cfg);
}

static void side_stop(struct side *side)
{
    transfer_stop(side->transfer);
    jobs_free(side->jobs);
    transfer_free(side->transfer);
    snapshot_dir_close(side->dir);
}

static int set_up(void **state)
{
    struct world *w = mem_alloc(sizeof(*w));
    w->loop = test_loop();
    list_init(&w->frames);
    writes_until_full = -1;
    assert_int_equal(sem_init(&write_go, 0, 0), 0);
    const char *base = getenv("TMPDIR");
    for (raft_node_id id = 1; id <= SIDES; id++) {
        struct side *side = &w->sides[id];
        side->world = w;
        side->id = id;
        (void)snprintf(side->path, sizeof(side->path), "%s/flotilla-transfer-XXXXXX",
                       base != NULL ? base : "/tmp");
        assert_non_null(mkdtemp(side->path));
        side_start(side);
    }
    *state = w;
    return 0;
}

static void remove_dir(const char *path)
{
    DIR *listing = opendir(path);
    assert_non_null(listing);
    for (const struct dirent *e = readdir(listing); e != NULL; e = readdir(listing)) {
        (void)unlinkat(dirfd(listing), e->d_name, 0);
    }
    closedir(listing);
    assert_int_equal(rmdir(path), 0);
}

static int tear_down(void **state)
{
    struct world *w = *state;
    for (raft_node_id id = 1; id <= SIDES; id++) {
        side_stop(&w->sides[id]);
        remove_dir(w->sides[id].path);
    }
    assert_int_equal(sem_destroy(&write_go), 0);
    drop_frames(w);
    assert_int_equal(loop_active_count(w->loop), 0);
    loop_free(w->loop);
    mem_free(w);
    return 0;
}

/* --- files --- */

enum {
    ROW_BYTES = 100 * 1000,
    ROWS = 26 /* ten chunks and a bit */
};

static struct snapshot_info make_file(struct side *side, raft_group_id group, raft_index index,
                                      uint32_t rows)
{
    struct table_mem *mem = table_mem_new();
    struct table_txn txn;
    table_txn_init(&txn, table_mem_backend(), mem, group, false);
    uint8_t *value = mem_alloc(ROW_BYTES);
    struct rnd rnd;
    rnd_init(&rnd, index);
    for (uint32_t i = 0; i < rows; i++) {
        uint8_t key[8];
        put_u64_be(key, i);
        for (size_t at = 0; at < ROW_BYTES; at += 8) {
            put_u64(value + at, rnd_u64(&rnd));
        }
        assert_int_equal(table_put(&txn, TABLE_KV, bytes_of(key, 8), bytes_of(value, ROW_BYTES)),
                         ERR_OK);
    }
    assert_int_equal(table_set_applied(&txn, index, 0), ERR_OK);
    assert_int_equal(table_txn_finish(&txn), ERR_OK);
    struct raft_snapshot_meta meta = {.index = index, .term = TERM, .config_index = 1};
    meta.config.count = 1;
    meta.config.members[0] = (struct raft_member){.node = 1, .role = RAFT_VOTER, .storage_id = 9};
    struct snapshot_info info;
    struct err_note note = {0};
    enum err err = snapshot_write(side->dir, &txn, &meta, NULL, &info, &note);
    if (err != ERR_OK) {
        fail_msg("%s", note.text);
    }
    mem_free(value);
    table_mem_free(mem);
    return info;
}

static bool has_file(struct side *side, const struct snapshot_info *info)
{
    struct snapshot_info got;
    struct err_note note = {0};
    enum err err = snapshot_verify(side->dir, info->name, &got, &note);
    return err == ERR_OK && got.digest.low == info->digest.low && got.rows == info->rows;
}

static bool has_part(struct side *side)
{
    DIR *listing = opendir(side->path);
    assert_non_null(listing);
    bool found = false;
    for (const struct dirent *e = readdir(listing); e != NULL; e = readdir(listing)) {
        found = found || strstr(e->d_name, ".part") != NULL;
    }
    closedir(listing);
    return found;
}

static void send_ok(struct side *side, raft_group_id group, raft_node_id to, raft_index at_least)
{
    assert_int_equal(transfer_send(side->transfer, group, to, at_least), ERR_OK);
}

/* --- what works --- */

static void a_file_arrives_whole_and_is_told_once(void **state)
{
    struct world *w = *state;
    struct snapshot_info info = make_file(&w->sides[1], GROUP, 100, ROWS);
    assert_true(info.size_bytes > 9 * TRANSFER_CHUNK_MAX);
    send_ok(&w->sides[1], GROUP, 2, 100);
    assert_int_equal(transfer_send(w->sides[1].transfer, GROUP, 2, 100), ERR_EXISTS);
    UNTIL(w, w->sides[1].sent_count > 0 && w->sides[2].received_count > 0);
    assert_int_equal(w->sides[1].sent_err, ERR_OK);
    assert_int_equal(w->sides[1].sent_group, GROUP);
    assert_int_equal(w->sides[2].received.index, 100);
    assert_int_equal(w->sides[2].received.term, TERM);
    assert_int_equal(w->sides[2].received.config.count, 1);
    assert_true(has_file(&w->sides[2], &info));
    assert_false(has_part(&w->sides[2]));
    assert_int_equal(w->chunk_bytes, info.size_bytes);
    for (int i = 0; i < 20; i++) {
        loop_turn(w->loop, CLK_MS(20));
        (void)pump(w);
    }
    assert_int_equal(w->sides[1].sent_count, 1);
    assert_int_equal(w->sides[2].received_count, 1);
}

static void chunks_wait_for_the_receivers_disk(void **state)
{
    struct world *w = *state;
    (void)make_file(&w->sides[1], GROUP, 100, ROWS);
    send_ok(&w->sides[1], GROUP, 2, 1);
    UNTIL(w, w->sides[1].sent_count == 1);
    assert_true(w->in_flight_max > 1);
    assert_true(w->in_flight_max <= TRANSFER_WINDOW);
}

static void no_file_that_is_new_enough_is_said(void **state)
{
    struct world *w = *state;
    send_ok(&w->sides[1], GROUP, 2, 1);
    UNTIL(w, w->sides[1].sent_count == 1);
    assert_int_equal(w->sides[1].sent_err, ERR_NOT_FOUND);
    (void)make_file(&w->sides[1], GROUP, 100, 1);
    send_ok(&w->sides[1], GROUP, 2, 101);
    UNTIL(w, w->sides[1].sent_count == 2);
    assert_int_equal(w->sides[1].sent_err, ERR_NOT_FOUND);
    send_ok(&w->sides[1], GROUP, 2, 100);
    UNTIL(w, w->sides[1].sent_count == 3);
    assert_int_equal(w->sides[1].sent_err, ERR_OK);
}

static void a_damaged_file_is_not_sent(void **state)
{
    struct world *w = *state;
    struct snapshot_info old = make_file(&w->sides[1], GROUP, 100, 2);
    struct snapshot_info info = make_file(&w->sides[1], GROUP, 200, 2);
    char path[2 * PATH_SIZE];
    (void)snprintf(path, sizeof(path), "%s/%s", w->sides[1].path, info.name);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "damage", 6, 50000), 6);
    (void)close(fd);
    send_ok(&w->sides[1], GROUP, 2, 150);
    UNTIL(w, w->sides[1].sent_count == 1);
    assert_int_equal(w->sides[1].sent_err, ERR_NOT_FOUND);
    send_ok(&w->sides[1], GROUP, 2, 50);
    UNTIL(w, w->sides[1].sent_count == 2);
    assert_int_equal(w->sides[1].sent_err, ERR_OK);
    assert_true(has_file(&w->sides[2], &old));
}

static void groups_follow_each_other_to_one_peer(void **state)
{
    struct world *w = *state;
    for (raft_group_id group = 1; group <= 6; group++) {
        (void)make_file(&w->sides[1], group, 100 + group, 4);
        send_ok(&w->sides[1], group, 2, 1);
        send_ok(&w->sides[1], group, 3, 1);
    }
    UNTIL(w, w->sides[1].sent_count == 12);
    assert_int_equal(w->sides[1].sent_err, ERR_OK);
    assert_int_equal(w->sides[2].received_count, 6);
    assert_int_equal(w->sides[3].received_count, 6);
}

static void two_nodes_send_to_each_other(void **state)
{
    struct world *w = *state;
    struct snapshot_info a = make_file(&w->sides[1], 1, 100, ROWS);
    struct snapshot_info b = make_file(&w->sides[2], 2, 100, ROWS);
    send_ok(&w->sides[1], 1, 2, 1);
    send_ok(&w->sides[2], 2, 1, 1);
    UNTIL(w, w->sides[1].sent_count == 1 && w->sides[2].sent_count == 1);
    assert_true(has_file(&w->sides[2], &a));
    assert_true(has_file(&w->sides[1], &b));
}

/* --- what breaks --- */

static void a_broken_transfer_goes_on_where_it_was(void **state)
{
    struct world *w = *state;
    struct snapshot_info info = make_file(&w->sides[1], GROUP, 100, ROWS);
    w->cut_after_chunks = 6;
    send_ok(&w->sides[1], GROUP, 2, 1);
    UNTIL(w, w->sides[1].sent_count == 1);
    assert_int_equal(w->sides[1].sent_err, ERR_CLOSED);
    assert_int_equal(w->sides[2].received_count, 0);
    w->cut = false;
    w->chunk_bytes = 0;
    send_ok(&w->sides[1], GROUP, 2, 1);
    UNTIL(w, w->sides[1].sent_count == 2);
    assert_int_equal(w->sides[1].sent_err, ERR_OK);
    assert_true(w->resumed_at >= 2 * TRANSFER_CHUNK_MAX);
    assert_int_equal(w->chunk_bytes, info.size_bytes - w->resumed_at);
    assert_true(has_file(&w->sides[2], &info));
}

static void a_sender_that_restarts_is_resumed(void **state)
{
    struct world *w = *state;
    struct snapshot_info info = make_file(&w->sides[1], GROUP, 100, ROWS);
    send_ok(&w->sides[1], GROUP, 2, 1);
    UNTIL(w, w->chunk_bytes >= 4 * TRANSFER_CHUNK_MAX);
    side_stop(&w->sides[1]);
    assert_int_equal(w->sides[1].sent_count, 1);
    assert_int_equal(w->sides[1].sent_err, ERR_STOPPING);
    side_start(&w->sides[1]);
    send_ok(&w->sides[1], GROUP, 2, 1);
    UNTIL(w, w->sides[1].sent_count == 2);
    assert_int_equal(w->sides[1].sent_err, ERR_OK);
    assert_true(w->resumed_at > 0);
    assert_true(has_file(&w->sides[2], &info));
}

static void two_transfers_never_write_one_file(void **state)
{
    struct world *w = *state;
    struct snapshot_info info = make_file(&w->sides[1], GROUP, 100, ROWS);
    write_holds = true;
    send_ok(&w->sides[1], GROUP, 2, 1);
    UNTIL(w, write_is_held);
    side_stop(&w->sides[1]);
    side_start(&w->sides[1]);
    assert_int_equal(w->accepts, 1);
    send_ok(&w->sides[1], GROUP, 2, 1);
    clk_ns begun = loop_now(w->loop);
    UNTIL(w, loop_now(w->loop) - begun > CLK_MS(500));
    assert_int_equal(w->accepts, 1);
    assert_int_equal(sem_post(&write_go), 0);
    UNTIL(w, w->sides[1].sent_count == 2);
    assert_int_equal(w->sides[1].sent_err, ERR_OK);
    assert_int_equal(w->accepts, 2);
    assert_int_equal(w->resumed_at, TRANSFER_CHUNK_MAX);
    assert_true(has_file(&w->sides[2], &info));
}

static void a_group_is_free_again_when_its_sender_is_gone(void **state)
{
    struct world *w = *state;
    (void)make_file(&w->sides[1], GROUP, 100, ROWS);
    struct snapshot_info info = make_file(&w->sides[3], GROUP, 90, ROWS);
    w->cut_after_chunks = 3;
    send_ok(&w->sides[1], GROUP, 2, 1);
    UNTIL(w, w->sides[1].sent_count == 1);
    w->cut = false;
    send_ok(&w->sides[3], GROUP, 2, 1);
    UNTIL(w, w->sides[3].sent_count == 1);
    assert_int_equal(w->sides[3].sent_err, ERR_OK);
    assert_true(has_file(&w->sides[2], &info));
    assert_false(has_part(&w->sides[2])); /* that of the other file is gone */
}

static void a_damaged_chunk_is_found_at_the_end(void **state)
{
    struct world *w = *state;
    struct snapshot_info info = make_file(&w->sides[1], GROUP, 100, ROWS);
    w->damage_chunk = 4;
    send_ok(&w->sides[1], GROUP, 2, 1);
    UNTIL(w, w->sides[1].sent_count == 1);
    assert_int_equal(w->sides[1].sent_err, ERR_REFUSED);
    assert_int_equal(w->sides[2].received_count, 0);
    assert_false(has_file(&w->sides[2], &info));
    assert_false(has_part(&w->sides[2])); /* or it would be resumed for ever */
    send_ok(&w->sides[1], GROUP, 2, 1);
    UNTIL(w, w->sides[1].sent_count == 2);
    assert_int_equal(w->sides[1].sent_err, ERR_OK);
    assert_int_equal(w->resumed_at, 0);
    assert_true(has_file(&w->sides[2], &info));
}

static void a_file_that_is_too_large_is_refused(void **state)
{
    struct world *w = *state;
    (void)make_file(&w->sides[1], GROUP, 100, ROWS);
    side_stop(&w->sides[2]);
    w->sides[2].size_max = 1000 * 1000;
    side_start(&w->sides[2]);
    clk_ns begun = loop_now(w->loop);
    send_ok(&w->sides[1], GROUP, 2, 1);
    UNTIL(w, w->sides[1].sent_count == 1);
    assert_int_equal(w->sides[1].sent_err, ERR_REFUSED);
    assert_int_equal(w->chunk_bytes, 0);
    assert_true(loop_now(w->loop) - begun >= CLK_MS(1000)); /* who repeats it does no harm */
}

static void a_full_disk_at_the_receiver_is_told(void **state)
{
    struct world *w = *state;
    struct snapshot_info info = make_file(&w->sides[1], GROUP, 100, ROWS);
    writes_until_full = 3;
    send_ok(&w->sides[1], GROUP, 2, 1);
    UNTIL(w, w->sides[1].sent_count == 1);
    assert_int_equal(w->sides[1].sent_err, ERR_REFUSED);
    writes_until_full = -1;
    send_ok(&w->sides[1], GROUP, 2, 1);
    UNTIL(w, w->sides[1].sent_count == 2);
    assert_int_equal(w->sides[1].sent_err, ERR_OK);
    assert_int_equal(w->resumed_at, 3 * TRANSFER_CHUNK_MAX);
    assert_true(has_file(&w->sides[2], &info));
}

static void a_group_comes_from_one_node_at_a_time(void **state)
{
    struct world *w = *state;
    (void)make_file(&w->sides[1], GROUP, 100, ROWS);
    (void)make_file(&w->sides[3], GROUP, 90, ROWS);
    write_holds = true; /* or the first file may be there before the second is offered */
    send_ok(&w->sides[1], GROUP, 2, 1);
    UNTIL(w, write_is_held);
    send_ok(&w->sides[3], GROUP, 2, 1);
    UNTIL(w, w->sides[3].sent_count == 1);
    assert_int_equal(w->sides[3].sent_err, ERR_REFUSED);
    assert_int_equal(sem_post(&write_go), 0);
    UNTIL(w, w->sides[1].sent_count == 1);
    assert_int_equal(w->sides[1].sent_err, ERR_OK);
    assert_int_equal(w->sides[2].received_count, 1);
}

static void a_lost_chunk_is_noticed(void **state)
{
    struct world *w = *state;
    struct snapshot_info info = make_file(&w->sides[1], GROUP, 100, ROWS);
    send_ok(&w->sides[1], GROUP, 2, 1);
    w->lose_kind = KIND_CHUNK;
    UNTIL(w, w->sides[1].sent_count == 1);
    assert_int_equal(w->sides[1].sent_err, ERR_REFUSED);
    send_ok(&w->sides[1], GROUP, 2, 1);
    UNTIL(w, w->sides[1].sent_count == 2);
    assert_true(has_file(&w->sides[2], &info));
}

/* Node 3 never hears of its offer; node 2 has a slow disk, and says so. */
static void silence_ends_a_send_but_a_slow_disk_does_not(void **state)
{
    struct world *w = *state;
    (void)make_file(&w->sides[1], GROUP, 100, ROWS);
    w->lose_kind = KIND_OFFER;
    clk_ns begun = loop_now(w->loop);
    send_ok(&w->sides[1], GROUP, 3, 1);
    UNTIL(w, w->lose_kind == 0);
    write_holds = true;
    send_ok(&w->sides[1], GROUP, 2, 1);
    UNTIL(w, w->sides[1].sent_count == 1);
    assert_int_equal(w->sides[1].sent_err, ERR_TIMEOUT);
    assert_true(loop_now(w->loop) - begun >= CLK_S(5));
    UNTIL(w, loop_now(w->loop) - begun >= CLK_MS(6500));
    assert_int_equal(w->sides[1].sent_count, 1);
    assert_int_equal(sem_post(&write_go), 0);
    UNTIL(w, w->sides[1].sent_count == 2);
    assert_int_equal(w->sides[1].sent_err, ERR_OK);
    send_ok(&w->sides[1], GROUP, 3, 1);
    UNTIL(w, w->sides[1].sent_count == 3);
    assert_int_equal(w->sides[1].sent_err, ERR_OK);
}

/* The connection for BULK comes after the peer is up. */
static void an_offer_waits_for_its_connection(void **state)
{
    struct world *w = *state;
    (void)make_file(&w->sides[1], GROUP, 100, 1);
    w->cut = true;
    send_ok(&w->sides[1], GROUP, 2, 1);
    for (int i = 0; i < 30; i++) {
        loop_turn(w->loop, CLK_MS(20));
    }
    w->cut = false;
    UNTIL(w, w->sides[1].sent_count == 1);
    assert_int_equal(w->sides[1].sent_err, ERR_OK);
}

static void everything_that_is_under_way_ends_with_a_stop(void **state)
{
    struct world *w = *state;
    for (raft_group_id group = 1; group <= 4; group++) {
        (void)make_file(&w->sides[1], group, 100, ROWS);
        send_ok(&w->sides[1], group, 2, 1);
    }
    UNTIL(w, w->chunk_bytes > 0);
    side_stop(&w->sides[2]); /* receiving */
    side_stop(&w->sides[1]);
    assert_int_equal(w->sides[1].sent_count, 4);
    assert_int_equal(w->sides[1].sent_err, ERR_STOPPING);
    w->sides[1].sent_count = 0;
    side_start(&w->sides[1]);
    side_start(&w->sides[2]);
    send_ok(&w->sides[1], 4, 2, 1);
    transfer_peer_down(w->sides[1].transfer, 2); /* while its file is opened */
    UNTIL(w, w->sides[1].sent_count == 1);
    assert_int_equal(w->sides[1].sent_err, ERR_CLOSED);
    transfer_stop(w->sides[3].transfer);
    assert_int_equal(transfer_send(w->sides[3].transfer, 1, 2, 1), ERR_STOPPING);
    jobs_free(w->sides[3].jobs);
    transfer_free(w->sides[3].transfer);
    snapshot_dir_close(w->sides[3].dir);
    side_start(&w->sides[3]);
}

/* --- frames --- */

static void malformed_frames_are_refused(void **state)
{
    struct world *w = *state;
    uint8_t good[HEAD + 24] = {1, KIND_OFFER, 0, 0, GROUP};
    put_u64(good + HEAD, 100);
    put_u64(good + HEAD + 8, TERM);
    put_u64(good + HEAD + 16, 1000);
    uint8_t bad[sizeof(good) + 1];
    for (size_t len = 0; len <= sizeof(bad); len++) {
        memset(bad, 0, sizeof(bad));
        memcpy(bad, good, sizeof(good));
        enum err err = transfer_frame(w->sides[2].transfer, 1, bytes_of(bad, len));
        assert_int_equal(err, len == sizeof(good) ? ERR_OK : ERR_BAD_INPUT);
    }

    const struct {
        size_t at;
        uint8_t value;
    } cases[] = {{0, 2}, {1, 0}, {1, 8}, {1, 255}, {4, 0}, {HEAD, 0}};

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        memcpy(bad, good, sizeof(good));
        bad[cases[i].at] = cases[i].value;
        enum err err = transfer_frame(w->sides[2].transfer, 1, bytes_of(bad, sizeof(good)));
        assert_int_equal(err, ERR_BAD_INPUT);
    }
    /* a chunk without bytes, and one with too many */
    uint8_t *chunk = mem_alloc(HEAD + 8 + TRANSFER_CHUNK_MAX + 1);
    memcpy(chunk, good, HEAD);
    chunk[1] = KIND_CHUNK;
    assert_int_equal(transfer_frame(w->sides[2].transfer, 1, bytes_of(chunk, HEAD + 8)),
                     ERR_BAD_INPUT);
    assert_int_equal(
        transfer_frame(w->sides[2].transfer, 1, bytes_of(chunk, HEAD + 8 + TRANSFER_CHUNK_MAX + 1)),
        ERR_BAD_INPUT);
    mem_free(chunk);
}

/* Well-formed, but of transfers that are not there, or in an impossible place. */
static void frames_out_of_place_do_no_harm(void **state)
{
    struct world *w = *state;
    struct snapshot_info info = make_file(&w->sides[1], GROUP, 100, ROWS);
    for (uint8_t kind = 2; kind <= 7; kind++) {
        uint8_t frame[HEAD + 9] = {1, kind, 0, 0, GROUP, 0, 0, 0, 42};
        size_t len = kind == 7 ? HEAD : (kind == KIND_CHUNK ? HEAD + 9 : HEAD + 8);
        assert_int_equal(transfer_frame(w->sides[2].transfer, 1, bytes_of(frame, len)), ERR_OK);
    }
    /* a chunk beyond its place, in the middle of a transfer */
    send_ok(&w->sides[1], GROUP, 2, 1);
    UNTIL(w, w->chunk_bytes > 0);
    struct frame *last = mem_alloc(sizeof(*last) + HEAD + 8 + 1);
    *last = (struct frame){.from = 1, .to = 2, .len = HEAD + 8 + 1};
    const uint8_t head[] = {1, KIND_CHUNK, 0, 0, GROUP};
    memcpy(last->bytes, head, sizeof(head));
    put_u64(last->bytes + HEAD, 1ull << 60);
    list_push_back(&w->frames, &last->link);
    UNTIL(w, w->sides[1].sent_count == 1);
    assert_int_equal(w->sides[1].sent_err, ERR_OK); /* it had another number */
    assert_true(has_file(&w->sides[2], &info));
}

int main(void)
{
    test_skip_without_backend();
    log_init(open("/dev/null", O_WRONLY | O_CLOEXEC), LOG_LEVEL_ERROR);
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(a_file_arrives_whole_and_is_told_once),
        CASE(chunks_wait_for_the_receivers_disk),
        CASE(no_file_that_is_new_enough_is_said),
        CASE(a_damaged_file_is_not_sent),
        CASE(groups_follow_each_other_to_one_peer),
        CASE(two_nodes_send_to_each_other),
        CASE(a_broken_transfer_goes_on_where_it_was),
        CASE(a_sender_that_restarts_is_resumed),
        CASE(two_transfers_never_write_one_file),
        CASE(a_group_is_free_again_when_its_sender_is_gone),
        CASE(a_damaged_chunk_is_found_at_the_end),
        CASE(a_file_that_is_too_large_is_refused),
        CASE(a_full_disk_at_the_receiver_is_told),
        CASE(a_group_comes_from_one_node_at_a_time),
        CASE(a_lost_chunk_is_noticed),
        CASE(silence_ends_a_send_but_a_slow_disk_does_not),
        CASE(an_offer_waits_for_its_connection),
        CASE(everything_that_is_under_way_ends_with_a_stop),
        CASE(malformed_frames_are_refused),
        CASE(frames_out_of_place_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
