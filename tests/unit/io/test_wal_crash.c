/* Crashes of the log: at every byte of what is not synced, with torn sectors, again and again.
 *
 * The claim is always the one of wal_rig.h: what is found is a prefix of what was appended and has
 * everything that was reported durable; nothing is ever called damaged that only a crash did. */
#include "test.h"
#include "wal_rig.h"

#include "mem/mem.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    SEGMENT = 32 * 1024
};

static void crash_and_check(struct wal_rig *rig, enum mem_disk_crash_kind kind, uint64_t seed)
{
    struct mem_disk *disk = mem_disk_clone(rig->disk, seed);
    mem_disk_crash(disk, kind);
    (void)rig_check_crash(rig, disk);
    mem_disk_free(disk);
}

static void every_byte_of_an_unfinished_write_is_a_safe_crash_point(void **state)
{
    (void)state;
    struct wal_rig *rig = rig_new(31, SEGMENT);
    for (int i = 0; i < 12; i++) {
        rig_random(rig);
    }
    rig_entries(rig, 1, 6, 20, 9);
    rig_seal(rig);
    rig_entries(rig, 1, 2, 70, 9);
    rig_overwrite(rig, 1, rig->groups[1].last - 4, 2, 10);
    rig_hard_state(rig, 2, 11, 1);
    rig_replace(rig, 3, rig->groups[3].last + 5, 11);
    wal_flush(rig->wal);
    uint64_t bytes = mem_disk_unsynced_bytes(rig->disk);
    assert_true(bytes > 400);
    size_t before = 0;
    for (uint64_t keep = 0; keep <= bytes; keep++) {
        struct mem_disk *disk = mem_disk_clone(rig->disk, keep);
        mem_disk_crash_prefix(disk, keep);
        size_t ops = rig_check_crash(rig, disk);
        assert_true(ops >= before);
        before = ops;
        mem_disk_free(disk);
    }
    assert_int_equal(before, rig->op_count);
    rig_free(rig);
}

static void every_byte_of_a_rotation_is_a_safe_crash_point(void **state)
{
    (void)state;
    struct wal_rig *rig = rig_new(32, 16 * 1024);
    while (wal_stats(rig->wal).segments < 3) {
        rig_entries(rig, 1, 1, 500, 1);
        rig_entries(rig, 2, 1, 50, 1);
        rig_settle(rig);
    }
    /* Fill the current segment until a write begins the next one. */
    uint64_t bytes = 0;
    uint64_t segment_two = 0;
    for (int i = 0; i < 400 && segment_two == 0; i++) {
        rig_entries(rig, 1, 1, 40, 1);
        wal_flush(rig->wal);
        struct bytes next = mem_disk_content(rig->disk, "wal-00000003");
        segment_two = next.len > 0 && next.data[8] == 'F' ? 1 : 0;
        if (segment_two == 0) {
            rig_settle(rig);
        }
    }
    assert_int_equal(segment_two, 1);
    bytes = mem_disk_unsynced_bytes(rig->disk);
    for (uint64_t keep = 0; keep <= bytes; keep += keep < 600 ? 1 : 97) {
        struct mem_disk *disk = mem_disk_clone(rig->disk, keep);
        mem_disk_crash_prefix(disk, keep);
        (void)rig_check_crash(rig, disk);
        mem_disk_free(disk);
    }
    rig_free(rig);
}

/* One long run with crashes of every kind tried at many points, on copies. */
static void random_run_with_crashes(uint64_t seed, int steps)
{
    struct wal_rig *rig = rig_new(seed, SEGMENT);
    mem_disk_latency(rig->disk, CLK_US(50), CLK_MS(2));
    rig->config.spare_segments = (uint32_t)(seed % 3);
    rig_close(rig);
    rig_open(rig);
    for (int step = 0; step < steps; step++) {
        uint64_t effects = rnd_below(&rig->rnd, 4);
        for (uint64_t i = 0; i < effects; i++) {
            rig_random(rig);
        }
        wal_flush(rig->wal);
        rig->now += rnd_below(&rig->rnd, CLK_MS(4));
        mem_disk_advance(rig->disk, rig->now);
        if (wal_deadline(rig->wal) <= rig->now) {
            wal_wake(rig->wal, rig->now);
        }
        assert_int_equal(rig->failed, ERR_OK);
        if (step % 8 == 0) {
            crash_and_check(rig, (enum mem_disk_crash_kind)(step / 8 % MEM_DISK_CRASH_KINDS),
                            seed * 1000 + (uint64_t)step);
        }
    }
    rig_free(rig);
}

static void torn_sectors_and_lost_names_leave_a_prefix(void **state)
{
    (void)state;
    for (uint64_t seed = 100; seed < 112; seed++) {
        random_run_with_crashes(seed, 160);
    }
}

/* Many lives of one log: each ends in a crash, the next goes on with what was found. */
static void lives(uint64_t seed, int lives_max)
{
    struct wal_rig *rig = rig_new(seed, SEGMENT);
    mem_disk_latency(rig->disk, CLK_US(50), CLK_MS(2));
    for (int life = 0; life < lives_max; life++) {
        uint64_t steps = rnd_below(&rig->rnd, 30);
        for (uint64_t step = 0; step < steps; step++) {
            rig_random(rig);
            wal_flush(rig->wal);
            rig->now += rnd_below(&rig->rnd, CLK_MS(6));
            mem_disk_advance(rig->disk, rig->now);
            if (wal_deadline(rig->wal) <= rig->now) {
                wal_wake(rig->wal, rig->now);
            }
        }
        rig_close(rig);
        mem_disk_crash(rig->disk,
                       (enum mem_disk_crash_kind)rnd_below(&rig->rnd, MEM_DISK_CRASH_KINDS));
        /* What is found must hold from now on, whatever a later crash takes. */
        struct mem_disk *copy = mem_disk_clone(rig->disk, seed);
        size_t found = rig_check_crash(rig, copy);
        mem_disk_crash(copy, MEM_DISK_LOST);
        assert_int_equal(rig_check_crash(rig, copy), found);
        mem_disk_free(copy);
        rig_rewind(rig, found);
        rig_open(rig);
    }
    rig_free(rig);
}

static void what_is_found_after_a_crash_survives_the_next_ones(void **state)
{
    (void)state;
    for (uint64_t seed = 200; seed < 220; seed++) {
        lives(seed, 40);
    }
}

static void a_failed_sync_never_becomes_a_success(void **state)
{
    (void)state;
    for (int skip = 0; skip < 12; skip++) {
        for (int kind = 0; kind < 2; kind++) {
            struct wal_rig *rig = rig_new(300 + (uint64_t)skip, SEGMENT);
            mem_disk_fail(rig->disk, kind == 0 ? MEM_DISK_FAULT_SYNC : MEM_DISK_FAULT_WRITE, skip);
            for (int i = 0; i < 60 && rig->failed == ERR_OK; i++) {
                rig_random(rig);
                rig_settle(rig);
            }
            assert_int_equal(rig->failed, ERR_IO);
            rig_close(rig);
            /* The process restarts on a system that shows bytes which no sync will save. */
            mem_disk_crash(rig->disk, MEM_DISK_KILLED);
            size_t found = rig_check_crash(rig, rig->disk);
            mem_disk_crash(rig->disk, MEM_DISK_LOST);
            assert_int_equal(rig_check_crash(rig, rig->disk), found);
            rig_free(rig);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_byte_of_an_unfinished_write_is_a_safe_crash_point),
        cmocka_unit_test(every_byte_of_a_rotation_is_a_safe_crash_point),
        cmocka_unit_test(torn_sectors_and_lost_names_leave_a_prefix),
        cmocka_unit_test(what_is_found_after_a_crash_survives_the_next_ones),
        cmocka_unit_test(a_failed_sync_never_becomes_a_success),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
