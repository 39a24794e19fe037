/* The log by single claims: what is appended comes back, what is damaged is said, what fails is
 * final.
 *
 * Crash points are tried exhaustively in test_wal_crash.c. */
#include "test.h"
#include "wal/wal_format.h"
#include "wal_rig.h"

#include "mem/mem.h"

#include <stdio.h>
#include <string.h>

enum {
    SEGMENT = 32 * 1024
};

static void reopen(struct wal_rig *rig)
{
    rig_close(rig);
    mem_disk_crash(rig->disk, MEM_DISK_LOST);
    rig_open(rig);
}

static void assert_all_back(struct wal_rig *rig)
{
    struct err_note why = {""};
    if (!rig_matches(rig, rig->wal, rig->op_count, &why)) {
        fail_msg("%s", why.text);
    }
}

static void an_empty_log_has_no_groups(void **state)
{
    (void)state;
    struct wal_rig *rig = rig_new(1, SEGMENT);
    reopen(rig);
    assert_int_equal(wal_group_count(rig->wal), 0);
    struct raft_boot boot;
    wal_boot(rig->wal, 7, &boot);
    assert_int_equal(boot.verdict, RAFT_BOOT_CLEAN);
    assert_int_equal(boot.last_index, 0);
    assert_int_equal(wal_recovery(rig->wal)->damage_count, 0);
    assert_false(wal_recovery(rig->wal)->torn);
    rig_free(rig);
}

static void what_was_durable_comes_back(void **state)
{
    (void)state;
    struct wal_rig *rig = rig_new(2, SEGMENT);
    rig_hard_state(rig, 1, 3, 2);
    rig_entries(rig, 1, 10, 100, 3);
    rig_entries(rig, 2, 3, 0, 1);
    rig_overwrite(rig, 1, 5, 2, 4);
    assert_int_equal(rig->durable_seq, 0);
    rig_settle(rig);
    assert_int_equal(rig->durable_seq, 4);
    reopen(rig);
    assert_all_back(rig);
    assert_int_equal(wal_group_count(rig->wal), 2);
    assert_int_equal(wal_group_at(rig->wal, 1), 2);
    rig_free(rig);
}

static void nothing_is_reported_before_the_disk_has_it(void **state)
{
    (void)state;
    struct wal_rig *rig = rig_new(3, SEGMENT);
    rig_entries(rig, 1, 1, 10, 1);
    wal_flush(rig->wal);
    assert_int_equal(rig->durable_seq, 0);
    reopen(rig);
    struct raft_boot boot;
    wal_boot(rig->wal, 1, &boot);
    assert_int_equal(boot.last_index, 0);
    rig_free(rig);
}

static void many_writes_share_one_sync(void **state)
{
    (void)state;
    struct wal_rig *rig = rig_new(4, SEGMENT);
    rig_seal(rig);
    uint64_t writes = wal_stats(rig->wal).writes;
    rig_entries(rig, 1, 1, 10, 1);
    wal_flush(rig->wal);
    for (int i = 0; i < 20; i++) {
        rig_entries(rig, 1, 1, 10, 1);
        wal_flush(rig->wal);
    }
    rig_settle(rig);
    assert_int_equal(wal_stats(rig->wal).writes, writes + 2);
    assert_int_equal(rig->durable_seq, 21);
    rig_free(rig);
}

static void an_idle_log_seals_after_ten_milliseconds(void **state)
{
    (void)state;
    struct wal_rig *rig = rig_new(5, SEGMENT);
    rig->now = CLK_S(1);
    mem_disk_advance(rig->disk, rig->now);
    rig_entries(rig, 1, 1, 10, 1);
    assert_int_equal(wal_deadline(rig->wal), rig->now + CLK_MS(10));
    rig_settle(rig);
    wal_wake(rig->wal, rig->now + CLK_MS(9));
    assert_int_equal(wal_stats(rig->wal).seals, 0);
    wal_wake(rig->wal, rig->now + CLK_MS(10));
    rig_settle(rig);
    assert_int_equal(wal_stats(rig->wal).seals, 1);
    assert_int_equal(wal_deadline(rig->wal), CLK_NEVER);
    rig_free(rig);
}

static void segments_rotate_and_released_ones_are_recycled(void **state)
{
    (void)state;
    struct wal_rig *rig = rig_new(6, SEGMENT);
    rig->config.spare_segments = 1;
    reopen(rig);
    for (int i = 0; i < 200; i++) {
        rig_entries(rig, 1, 4, 200, 1);
        if (i % 10 == 9) {
            rig_compact(rig, 1, rig->groups[1].last);
        }
        rig_settle(rig);
    }
    struct wal_stats stats = wal_stats(rig->wal);
    assert_true(stats.segments_recycled > 3);
    assert_true(stats.segments <= 6);
    assert_true(mem_disk_name(rig->disk, 6) == NULL);
    reopen(rig);
    assert_all_back(rig);
    rig_free(rig);
}

static void a_group_that_is_not_released_pins_the_oldest_segment(void **state)
{
    (void)state;
    struct wal_rig *rig = rig_new(7, SEGMENT);
    rig_entries(rig, 2, 1, 10, 1);
    for (int i = 0; i < 100; i++) {
        rig_entries(rig, 1, 4, 200, 1);
        rig_compact(rig, 1, rig->groups[1].last);
        rig_settle(rig);
    }
    size_t segments = 0;
    assert_int_equal(wal_pinned(rig->wal, &segments), 2);
    assert_true(segments > 2);
    rig_compact(rig, 2, 1);
    rig_settle(rig);
    assert_int_equal(wal_pinned(rig->wal, &segments), 0);
    assert_int_equal(segments, 1);
    rig_free(rig);
}

static void the_state_of_groups_outlives_their_entries(void **state)
{
    (void)state;
    struct wal_rig *rig = rig_new(43, SEGMENT);
    rig->config.spare_segments = 0;
    reopen(rig);
    rig_entries(rig, 1, 4, 30, 1);
    rig_settle(rig);
    rig_compact(rig, 1, 4);
    rig_settle(rig);
    /* Nobody needs an entry now; but until the next segment's header is durable, this segment is
     * all there is. */
    for (raft_term term = 2; wal_stats(rig->wal).rotation_waits == 0 && term < 2000; term++) {
        rig_hard_state(rig, 1, term, 1);
        if (term % 50 == 0) {
            wal_release(rig->wal, 1, 4 + term);
            struct mem_disk *disk = mem_disk_clone(rig->disk, term);
            mem_disk_crash(disk, MEM_DISK_TORN_512);
            (void)rig_check_crash(rig, disk);
            mem_disk_free(disk);
        }
        if (term % 300 == 0) {
            wal_flush(rig->wal);
            (void)mem_disk_step(rig->disk);
        }
    }
    rig_settle(rig);
    reopen(rig);
    assert_all_back(rig);
    rig_free(rig);
}

static void truncation_in_one_group_leaves_the_others_alone(void **state)
{
    (void)state;
    struct wal_rig *rig = rig_new(8, SEGMENT);
    for (int i = 0; i < 10; i++) {
        rig_entries(rig, 1, 2, 50, 1);
        rig_entries(rig, 2, 2, 50, 1);
        rig_overwrite(rig, 1, rig->groups[1].last - 1, 1, 2);
    }
    rig_settle(rig);
    reopen(rig);
    assert_all_back(rig);
    rig_free(rig);
}

/* ---- damage
 * ------------------------------------------------------------------------------------ */

/* Offset of the n-th entry record of a group in the first segment. */
static uint64_t entry_offset(struct wal_rig *rig, raft_group_id group, raft_index index)
{
    struct bytes image = mem_disk_content(rig->disk, "wal-00000001");
    for (size_t at = 0; at + 64 <= image.len; at += 8) {
        const uint8_t *p = image.data + at;
        if (memcmp(p + 8, "FWAL", 4) == 0 && p[56] == 3 && get_u32(p + 48) == group &&
            get_u64(p + 24) == index) {
            return at;
        }
    }
    fail_msg("no such record");
    return 0;
}

static enum raft_boot_verdict verdict(struct wal_rig *rig, raft_group_id group,
                                      raft_index *ret_last)
{
    struct raft_boot boot;
    wal_boot(rig->wal, group, &boot);
    *ret_last = boot.last_index;
    assert_int_equal(boot.hard_state.repairing, boot.verdict == RAFT_BOOT_DAMAGED);
    return boot.verdict;
}

static struct wal_rig *damaged_rig(uint64_t seed)
{
    struct wal_rig *rig = rig_new(seed, SEGMENT);
    rig_hard_state(rig, 1, 1, 1);
    rig_hard_state(rig, 2, 1, 1);
    for (int i = 0; i < 10; i++) {
        rig_entries(rig, 1, 1, 64, 1);
        rig_entries(rig, 2, 1, 64, 1);
    }
    rig_seal(rig);
    rig_close(rig);
    return rig;
}

static void a_damaged_payload_concerns_its_group_only(void **state)
{
    (void)state;
    struct wal_rig *rig = damaged_rig(9);
    uint64_t offset = entry_offset(rig, 1, 6);
    assert_true(mem_disk_flip(rig->disk, "wal-00000001", offset + 70, 3));
    rig_open(rig);
    raft_index last = 0;
    assert_int_equal(verdict(rig, 1, &last), RAFT_BOOT_DAMAGED);
    assert_int_equal(last, 5);
    assert_int_equal(verdict(rig, 2, &last), RAFT_BOOT_CLEAN);
    assert_int_equal(last, 10);
    const struct wal_recovery *recovery = wal_recovery(rig->wal);
    assert_int_equal(recovery->damage_count, 1);
    assert_int_equal(recovery->damages[0].group, 1);
    assert_int_equal(recovery->damages[0].index, 6);
    assert_int_equal(recovery->damages[0].offset, offset);
    struct err_note note;
    wal_damage_text(&recovery->damages[0], &note);
    assert_non_null(strstr(note.text, "group 1, entry 6"));
    rig_free(rig);
}

static void a_damaged_header_concerns_those_whose_next_record_misses_it(void **state)
{
    (void)state;
    struct wal_rig *rig = damaged_rig(10);
    uint64_t offset = entry_offset(rig, 1, 6);
    assert_true(mem_disk_flip(rig->disk, "wal-00000001", offset + 17, 3));
    rig_open(rig);
    raft_index last = 0;
    assert_int_equal(verdict(rig, 1, &last), RAFT_BOOT_DAMAGED);
    assert_int_equal(last, 5);
    assert_int_equal(verdict(rig, 2, &last), RAFT_BOOT_CLEAN);
    assert_int_equal(last, 10);
    /* Of a group that nothing is known of nobody can say that it lost nothing. */
    assert_int_equal(verdict(rig, 3, &last), RAFT_BOOT_DAMAGED);
    assert_int_equal(wal_recovery(rig->wal)->damages[0].group, 0);
    assert_int_equal(wal_recovery(rig->wal)->damages[0].offset, offset);
    rig_free(rig);
}

static void a_group_without_later_records_stays_suspect(void **state)
{
    (void)state;
    struct wal_rig *rig = damaged_rig(45);
    assert_true(mem_disk_flip(rig->disk, "wal-00000001", entry_offset(rig, 2, 10) + 17, 3));
    rig_open(rig);
    raft_index last = 0;
    assert_int_equal(verdict(rig, 1, &last), RAFT_BOOT_DAMAGED);
    assert_int_equal(last, 10);
    assert_int_equal(verdict(rig, 2, &last), RAFT_BOOT_DAMAGED);
    assert_int_equal(last, 9);
    rig_free(rig);
}

static void damage_above_the_last_watermark_is_a_torn_write(void **state)
{
    (void)state;
    struct wal_rig *rig = rig_new(11, SEGMENT);
    rig_entries(rig, 1, 5, 64, 1);
    rig_seal(rig);
    rig_entries(rig, 1, 3, 64, 1);
    rig_settle(rig);
    rig_close(rig);
    assert_true(mem_disk_flip(rig->disk, "wal-00000001", entry_offset(rig, 1, 7) + 70, 0));
    rig_open(rig);
    raft_index last = 0;
    assert_int_equal(verdict(rig, 1, &last), RAFT_BOOT_CLEAN);
    assert_int_equal(last, 6);
    assert_true(wal_recovery(rig->wal)->torn);
    assert_int_equal(wal_recovery(rig->wal)->damage_count, 0);
    rig_free(rig);
}

static void a_cut_write_never_comes_back(void **state)
{
    (void)state;
    struct wal_rig *rig = rig_new(41, SEGMENT);
    rig_entries(rig, 1, 1, 64, 1);
    rig_seal(rig);
    rig_entries(rig, 1, 3, 64, 1);
    rig_settle(rig);
    rig_close(rig);
    static const uint8_t zeros[64];
    assert_true(mem_disk_overwrite(rig->disk, "wal-00000001", entry_offset(rig, 1, 2),
                                   bytes_of(zeros, sizeof(zeros))));
    rig_open(rig);
    raft_index last = 0;
    assert_int_equal(verdict(rig, 1, &last), RAFT_BOOT_CLEAN);
    assert_int_equal(last, 1);
    /* A record of the same size takes the place of the lost one: the two behind it are still not
     * ours. */
    rig_rewind(rig, 1);
    rig_entries(rig, 1, 1, 64, 2);
    rig_settle(rig);
    reopen(rig);
    assert_int_equal(verdict(rig, 1, &last), RAFT_BOOT_CLEAN);
    assert_int_equal(last, 2);
    assert_all_back(rig);
    rig_free(rig);
}

static void a_record_inside_a_payload_is_no_record(void **state)
{
    (void)state;
    struct wal_rig *rig = rig_new(42, SEGMENT);
    rig_entries(rig, 1, 1, 64, 1);
    rig_seal(rig);
    /* A client's value that looks like a later write of this log, in a write that is then torn. */
    uint8_t forged[WAL_HEADER_BYTES];
    struct wal_record record = {.kind = WAL_SEAL, .sequence = 500};
    wal_record_put(forged, 0, &record, (struct bytes){NULL, 0});
    struct wal_entry entry = {.index = 2,
                              .term = 1,
                              .kind = RAFT_ENTRY_COMMAND,
                              .payload = bytes_of(forged, sizeof(forged))};
    struct wal_write write = {.wal_seq = 2, .group = 1, .entries = &entry, .entry_count = 1};
    assert_int_equal(wal_append(rig->wal, rig->now, &write), ERR_OK);
    rig_settle(rig);
    rig_close(rig);
    static const uint8_t zeros[WAL_HEADER_BYTES];
    assert_true(mem_disk_overwrite(rig->disk, "wal-00000001", entry_offset(rig, 1, 2),
                                   bytes_of(zeros, sizeof(zeros))));
    rig_open(rig);
    raft_index last = 0;
    assert_int_equal(verdict(rig, 1, &last), RAFT_BOOT_CLEAN);
    assert_int_equal(last, 1);
    assert_int_equal(wal_recovery(rig->wal)->damage_count, 0);
    rig_free(rig);
}

static void the_same_damage_below_a_seal_is_damage(void **state)
{
    (void)state;
    struct wal_rig *rig = rig_new(12, SEGMENT);
    rig_entries(rig, 1, 5, 64, 1);
    rig_entries(rig, 1, 3, 64, 1);
    rig_seal(rig);
    rig_close(rig);
    assert_true(mem_disk_flip(rig->disk, "wal-00000001", entry_offset(rig, 1, 7) + 70, 0));
    rig_open(rig);
    raft_index last = 0;
    assert_int_equal(verdict(rig, 1, &last), RAFT_BOOT_DAMAGED);
    assert_int_equal(last, 6);
    rig_free(rig);
}

static void damage_below_a_snapshot_does_no_harm(void **state)
{
    (void)state;
    struct wal_rig *rig = damaged_rig(13);
    rig_open(rig);
    rig->keep = true;
    rig_compact(rig, 1, 8);
    rig_seal(rig);
    rig_close(rig);
    assert_true(mem_disk_flip(rig->disk, "wal-00000001", entry_offset(rig, 1, 6) + 70, 3));
    rig_open(rig);
    assert_all_back(rig);
    assert_int_equal(wal_recovery(rig->wal)->damage_count, 1);
    rig_free(rig);
}

static void damage_stays_known_over_restarts_until_it_is_repaired(void **state)
{
    (void)state;
    struct wal_rig *rig = damaged_rig(14);
    assert_true(mem_disk_flip(rig->disk, "wal-00000001", entry_offset(rig, 1, 6) + 70, 3));
    rig_open(rig);
    /* Any write brings the header of the new segment with it. */
    rig_entries(rig, 2, 1, 10, 1);
    rig_seal(rig);
    reopen(rig);
    struct raft_boot boot;
    wal_boot(rig->wal, 1, &boot);
    assert_int_equal(boot.verdict, RAFT_BOOT_CLEAN);
    assert_true(boot.hard_state.repairing);
    assert_int_equal(boot.last_index, 5);
    wal_boot(rig->wal, 2, &boot);
    assert_int_equal(boot.last_index, 11);
    assert_false(boot.hard_state.repairing);
    /* The repaired entries follow the cut log, not the old ones. */
    rig->groups[1].last = 5;
    rig_entries(rig, 1, 2, 30, 2);
    rig_hard_state(rig, 1, 2, 0);
    rig_seal(rig);
    reopen(rig);
    wal_boot(rig->wal, 1, &boot);
    assert_int_equal(boot.last_index, 7);
    assert_false(boot.hard_state.repairing);
    assert_int_equal(boot.run_count, 2);
    assert_int_equal(boot.runs[1].first, 6);
    rig_free(rig);
}

/* Loses a truncation and the entry after it, headers and all. */
static void lose_overwrite(struct wal_rig *rig, raft_index index, raft_term term)
{
    struct bytes image = mem_disk_content(rig->disk, "wal-00000001");
    static const uint8_t zeros[WAL_HEADER_BYTES];
    for (size_t at = 0; at + WAL_HEADER_BYTES <= image.len; at += WAL_ALIGN) {
        struct wal_record record;
        if (!wal_record_get(image.data + at, image.len - at, wal_salt(rig->config.storage_id, 1),
                            &record)) {
            continue;
        }
        if (record.kind == WAL_TRUNCATE || (record.kind == WAL_ENTRY && record.group == 1 &&
                                            record.index == index && record.term == term)) {
            assert_true(
                mem_disk_overwrite(rig->disk, "wal-00000001", at, bytes_of(zeros, sizeof(zeros))));
        }
    }
}

static void rotate_by(struct wal_rig *rig, raft_group_id group)
{
    while (mem_disk_content(rig->disk, "wal-00000002").data == NULL ||
           mem_disk_content(rig->disk, "wal-00000002").data[8] != 'F') {
        rig_entries(rig, group, 4, 500, 2);
        rig_settle(rig);
    }
}

static void a_lost_truncation_does_not_bring_old_entries_back(void **state)
{
    (void)state;
    for (int more = 0; more < 2; more++) {
        struct wal_rig *rig = rig_new(44, SEGMENT);
        rig->keep = true;
        rig_entries(rig, 1, 7, 40, 1);
        rig_entries(rig, 2, 2, 40, 1);
        rig_settle(rig);
        rig_overwrite(rig, 1, 7, 1, 2);
        rig_settle(rig);
        if (more == 1) {
            /* This one follows entry 7 of term 2, not the one of term 1. */
            rig_entries(rig, 1, 1, 40, 2);
        }
        rotate_by(rig, 2);
        rig_seal(rig);
        rig_close(rig);
        lose_overwrite(rig, 7, 2);
        rig_open(rig);
        raft_index last = 0;
        assert_int_equal(verdict(rig, 1, &last), RAFT_BOOT_DAMAGED);
        assert_int_equal(last, 6);
        /* The next segment's header says that the other group lost nothing. */
        assert_int_equal(verdict(rig, 2, &last), RAFT_BOOT_CLEAN);
        assert_int_equal(last, rig->groups[2].last);
        rig_free(rig);
    }
}

static void cutting_a_torn_write_keeps_the_proof_of_older_damage(void **state)
{
    (void)state;
    struct wal_rig *rig = rig_new(46, SEGMENT);
    rig_entries(rig, 1, 3, 64, 1);
    rig_settle(rig);
    rig_entries(rig, 1, 2, 64, 1);
    rig_settle(rig);
    rig_close(rig);
    /* Entry 3 rots, and the write of 4 and 5 is torn: only 5 says that 3 had been durable. */
    static const uint8_t zeros[WAL_HEADER_BYTES];
    assert_true(mem_disk_overwrite(rig->disk, "wal-00000001", entry_offset(rig, 1, 4),
                                   bytes_of(zeros, sizeof(zeros))));
    assert_true(mem_disk_flip(rig->disk, "wal-00000001", entry_offset(rig, 1, 3) + 70, 1));
    for (int start = 0; start < 3; start++) {
        rig_open(rig);
        raft_index last = 0;
        assert_int_equal(verdict(rig, 1, &last), RAFT_BOOT_DAMAGED);
        assert_int_equal(last, 2);
        reopen(rig);
        rig_close(rig);
    }
    rig_free(rig);
}

static struct wal_rig *long_rig(uint64_t seed)
{
    struct wal_rig *rig = rig_new(seed, SEGMENT);
    rig->keep = true;
    while (wal_stats(rig->wal).segments < 5) {
        rig_entries(rig, 1, 3, 300, 1);
        rig_entries(rig, 2, 1, 30, 1);
        rig_settle(rig);
    }
    rig_seal(rig);
    rig_close(rig);
    return rig;
}

static void a_missing_middle_segment_is_damage(void **state)
{
    (void)state;
    struct wal_rig *rig = long_rig(15);
    assert_true(mem_disk_forget(rig->disk, "wal-00000002"));
    rig_open(rig);
    raft_index last = 0;
    assert_int_equal(verdict(rig, 1, &last), RAFT_BOOT_DAMAGED);
    assert_true(last > 0 && last < rig->groups[1].last);
    assert_int_equal(verdict(rig, 2, &last), RAFT_BOOT_DAMAGED);
    rig_free(rig);
}

static void a_missing_first_segment_is_damage(void **state)
{
    (void)state;
    struct wal_rig *rig = long_rig(16);
    assert_true(mem_disk_forget(rig->disk, "wal-00000001"));
    rig_open(rig);
    raft_index last = 99;
    assert_int_equal(verdict(rig, 1, &last), RAFT_BOOT_DAMAGED);
    assert_int_equal(last, 0);
    rig_free(rig);
}

static void a_truncated_segment_is_damage(void **state)
{
    (void)state;
    for (int which = 1; which <= 3; which++) {
        struct wal_rig *rig = long_rig(17);
        char name[32];
        (void)snprintf(name, sizeof(name), "wal-%08x", (unsigned)which);
        assert_true(mem_disk_truncate(rig->disk, name, 8192));
        rig_open(rig);
        raft_index last = 0;
        assert_int_equal(verdict(rig, 1, &last), RAFT_BOOT_DAMAGED);
        rig_free(rig);
    }
}

static void a_damaged_segment_header_in_the_middle_loses_nothing(void **state)
{
    (void)state;
    struct wal_rig *rig = long_rig(18);
    assert_true(mem_disk_flip(rig->disk, "wal-00000002", 40, 1));
    rig_open(rig);
    assert_all_back(rig);
    assert_int_equal(wal_recovery(rig->wal)->damage_count, 1);
    rig_free(rig);
}

static void a_damaged_current_header_is_replaced_before_anything_is_dropped(void **state)
{
    (void)state;
    struct wal_rig *rig = rig_new(48, SEGMENT);
    rig_hard_state(rig, 2, 7, 3);
    rotate_by(rig, 1);
    rig_seal(rig);
    rig->config.spare_segments = 0;
    rig_close(rig);
    assert_true(mem_disk_flip(rig->disk, "wal-00000002", 40, 1));
    rig_open(rig);
    assert_all_back(rig);
    /* Now nobody needs the first segment's entries; but the second says nothing of the groups. */
    rig_compact(rig, 1, rig->groups[1].last);
    rig_settle(rig);
    reopen(rig);
    assert_all_back(rig);
    rig_free(rig);
}

static void a_foreign_or_newer_segment_is_refused(void **state)
{
    (void)state;
    struct wal_rig *rig = long_rig(19);
    struct wal_callbacks none = {0};
    struct err_note note = {""};
    rig->config.storage_id++;
    assert_int_equal(wal_open(mem_disk_base(rig->disk), &rig->config, &none, &rig->wal, &note),
                     ERR_MISMATCH);
    assert_non_null(strstr(note.text, "belongs to disk"));
    assert_null(rig->wal);
    rig_free(rig);
}

static void every_single_bit_flip_is_harmless_or_found(void **state)
{
    (void)state;
    struct wal_rig *rig = rig_new(20, 16 * 1024);
    rig->keep = true;
    rig_hard_state(rig, 1, 1, 1);
    for (int i = 0; i < 4; i++) {
        rig_entries(rig, 1, 2, 24, 1);
        rig_entries(rig, 2, 1, 24, 1);
        rig_overwrite(rig, 1, rig->groups[1].last, 2, 2);
    }
    rig_compact(rig, 1, 3);
    rig_seal(rig);
    rig_close(rig);
    size_t used = 4096;
    for (uint64_t offset = 0; offset < used; offset++) {
        struct mem_disk *disk = mem_disk_clone(rig->disk, offset);
        assert_true(mem_disk_flip(disk, "wal-00000001", offset, (unsigned)offset % 8));
        struct wal *wal = NULL;
        struct wal_callbacks none = {0};
        struct err_note note = {""};
        assert_int_equal(wal_open(mem_disk_base(disk), &rig->config, &none, &wal, &note), ERR_OK);
        bool seen = false;
        for (raft_group_id id = 1; id <= RIG_GROUPS; id++) {
            struct raft_boot boot;
            wal_boot(wal, id, &boot);
            seen = seen || boot.verdict == RAFT_BOOT_DAMAGED;
        }
        /* The seal itself, the last record, may be lost without anybody's loss. */
        struct err_note why = {""};
        if (!seen && !rig_matches(rig, wal, rig->op_count, &why)) {
            fail_msg("a flip at %llu went unseen: %s", (unsigned long long)offset, why.text);
        }
        wal_free(wal);
        mem_disk_free(disk);
    }
    rig_free(rig);
}

/* ---- errors
 * ------------------------------------------------------------------------------------ */

static void the_first_failed_write_is_final(void **state)
{
    (void)state;

    static const enum mem_disk_fault faults[] = {MEM_DISK_FAULT_WRITE, MEM_DISK_FAULT_SYNC};

    for (size_t i = 0; i < 2; i++) {
        struct wal_rig *rig = rig_new(21, SEGMENT);
        rig_entries(rig, 1, 1, 10, 1);
        rig_settle(rig);
        mem_disk_fail(rig->disk, faults[i], 0);
        rig_entries(rig, 1, 1, 10, 1);
        rig_settle(rig);
        assert_int_equal(rig->failed, ERR_IO);
        assert_non_null(strstr(rig->failed_note.text, "wal-00000001"));
        assert_non_null(strstr(rig->failed_note.text, "Input/output error"));
        assert_int_equal(rig->durable_seq, 1);
        rig_entries(rig, 1, 1, 10, 1);
        rig_settle(rig);
        assert_int_equal(rig->durable_seq, 1);
        struct err_note note = {""};
        assert_int_equal(wal_status(rig->wal, &note), ERR_IO);
        assert_int_equal(wal_deadline(rig->wal), CLK_NEVER);
        rig_free(rig);
    }
}

static void a_full_disk_is_told_before_anything_is_lost(void **state)
{
    (void)state;
    struct wal_rig *rig = rig_new(22, SEGMENT);
    rig->keep = true;
    mem_disk_space(rig->disk, SEGMENT + SEGMENT / 2);
    rig_entries(rig, 1, 1, 10, 1);
    rig_settle(rig);
    assert_int_equal(rig->space_reports, 1);
    assert_int_equal(rig->failed, ERR_OK);
    assert_int_equal(rig->durable_seq, 1);
    while (rig->failed == ERR_OK) {
        rig_entries(rig, 1, 1, 1000, 1);
        rig_settle(rig);
    }
    assert_int_equal(rig->failed, ERR_NO_SPACE);
    rig_close(rig);
    mem_disk_crash(rig->disk, MEM_DISK_LOST);
    assert_true(rig_check_crash(rig, rig->disk) >= rig->acked);
    rig_free(rig);
}

static void space_that_comes_back_is_used(void **state)
{
    (void)state;
    struct wal_rig *rig = rig_new(23, SEGMENT);
    mem_disk_space(rig->disk, SEGMENT + 100);
    rig_entries(rig, 1, 1, 10, 1);
    rig_settle(rig);
    assert_int_equal(rig->space_reports, 1);
    mem_disk_space(rig->disk, UINT64_MAX);
    rig->now += CLK_S(1);
    mem_disk_advance(rig->disk, rig->now);
    assert_true(wal_deadline(rig->wal) <= rig->now);
    wal_wake(rig->wal, rig->now);
    rig_settle(rig);
    assert_int_equal(rig->space_reports, 0);
    rig_free(rig);
}

static void too_much_at_once_is_refused(void **state)
{
    (void)state;
    struct wal_rig *rig = rig_new(24, SEGMENT);
    static uint8_t payload[SEGMENT];
    struct wal_entry entry = {.index = 1,
                              .term = 1,
                              .kind = RAFT_ENTRY_COMMAND,
                              .payload = bytes_of(payload, SEGMENT / 2 + 1)};
    struct wal_write write = {.wal_seq = 1, .group = 1, .entries = &entry, .entry_count = 1};
    assert_int_equal(wal_append(rig->wal, 0, &write), ERR_TOO_LARGE);
    entry.payload.len = SEGMENT / 2;
    enum err err = ERR_OK;
    for (write.wal_seq = 1; err == ERR_OK; write.wal_seq++, entry.index++) {
        err = wal_append(rig->wal, 0, &write);
    }
    assert_int_equal(err, ERR_FULL);
    assert_true(wal_stats(rig->wal).pending_bytes <= rig->config.pending_bytes_max + SEGMENT);
    write.wal_seq--;
    entry.index--;
    rig_settle(rig);
    assert_int_equal(wal_append(rig->wal, 0, &write), ERR_OK);
    rig_free(rig);
}

/* ---- reading back
 * ------------------------------------------------------------------------------ */

struct reading {
    struct wal_read read;
    struct wal_entry entries[64];
    bool done;
    enum err err;
};

static void on_read(struct wal_read *read, enum err err)
{
    struct reading *reading = CONTAINER_OF(read, struct reading, read);
    reading->done = true;
    reading->err = err;
}

static struct reading *reading_new(raft_group_id group, raft_index first, raft_index last,
                                   size_t buffer)
{
    struct reading *reading = mem_alloc(sizeof(*reading));
    reading->read = (struct wal_read){.group = group,
                                      .first = first,
                                      .last = last,
                                      .buffer = mem_alloc(buffer),
                                      .buffer_bytes = buffer,
                                      .entries = reading->entries,
                                      .entries_max = 64,
                                      .on_done = on_read};
    return reading;
}

static void reading_free(struct reading *reading)
{
    mem_free(reading->read.buffer);
    mem_free(reading);
}

/* Reads first..last in as many steps as it takes and compares with the model. */
static void assert_reads_back(struct wal_rig *rig, raft_group_id group, raft_index first,
                              raft_index last)
{
    struct reading *reading = reading_new(group, first, last, WAL_READ_BUFFER_MIN);
    while (reading->read.first <= last) {
        reading->done = false;
        assert_int_equal(wal_read_start(rig->wal, &reading->read), ERR_OK);
        assert_false(reading->done);
        assert_true(mem_disk_drain(rig->disk, 1000));
        assert_true(reading->done);
        assert_int_equal(reading->err, ERR_OK);
        assert_true(reading->read.count > 0);
        for (size_t i = 0; i < reading->read.count; i++) {
            const struct wal_entry *entry = &reading->entries[i];
            const struct rig_entry *want = &rig->groups[group].entries[entry->index];
            assert_int_equal(entry->index, reading->read.first + i);
            assert_int_equal(entry->term, want->term);
            assert_int_equal(entry->payload.len, want->size);
            uint8_t *payload = mem_alloc(want->size + 1);
            rig_payload(group, entry->index, want, payload);
            assert_true(bytes_eq(entry->payload, bytes_of(payload, want->size)));
            mem_free(payload);
        }
        reading->read.first += reading->read.count;
    }
    reading_free(reading);
}

static void entries_are_read_back_across_segments_and_truncations(void **state)
{
    (void)state;
    struct wal_rig *rig = rig_new(25, 64 * 1024);
    rig->keep = true;
    for (int i = 0; i < 400; i++) {
        rig_random(rig);
        rig_settle(rig);
    }
    for (raft_group_id group = 1; group <= RIG_GROUPS; group++) {
        raft_index first = 0;
        raft_index last = 0;
        assert_int_equal(wal_log_range(rig->wal, group, &first, &last), ERR_OK);
        assert_int_equal(last, rig->groups[group].last);
        for (raft_index from = first; from <= last; from += 7) {
            assert_reads_back(rig, group, from, last);
        }
    }
    reopen(rig);
    assert_all_back(rig);
    for (raft_group_id group = 1; group <= RIG_GROUPS; group++) {
        raft_index first = rig->groups[group].snapshot + 1;
        if (first <= rig->groups[group].last) {
            assert_reads_back(rig, group, first, rig->groups[group].last);
        }
    }
    rig_free(rig);
}

static void what_another_group_lost_does_not_stop_a_read(void **state)
{
    (void)state;
    for (uint64_t offset = 0; offset < 80; offset += 17) {
        struct wal_rig *rig = damaged_rig(47);
        assert_true(mem_disk_flip(rig->disk, "wal-00000001", entry_offset(rig, 1, 6) + offset, 3));
        rig_open(rig);
        raft_index last = 0;
        assert_int_equal(verdict(rig, 1, &last), RAFT_BOOT_DAMAGED);
        assert_int_equal(verdict(rig, 2, &last), RAFT_BOOT_CLEAN);
        assert_reads_back(rig, 2, 1, 10);
        rig_free(rig);
    }
}

static void entries_that_are_not_durable_cannot_be_read_yet(void **state)
{
    (void)state;
    struct wal_rig *rig = rig_new(26, 64 * 1024);
    rig_entries(rig, 1, 2, 10, 1);
    struct reading *reading = reading_new(1, 1, 2, WAL_READ_BUFFER_MIN);
    assert_int_equal(wal_read_start(rig->wal, &reading->read), ERR_INCOMPLETE);
    rig_settle(rig);
    rig_entries(rig, 1, 1, 10, 1);
    reading->read.first = 3;
    reading->read.last = 3;
    assert_int_equal(wal_read_start(rig->wal, &reading->read), ERR_OK);
    assert_true(mem_disk_drain(rig->disk, 10));
    assert_int_equal(reading->err, ERR_INCOMPLETE);
    reading->read.first = 9;
    reading->read.last = 9;
    assert_int_equal(wal_read_start(rig->wal, &reading->read), ERR_NOT_FOUND);
    reading_free(reading);
    rig_free(rig);
}

static void an_entry_larger_than_the_buffer_says_what_it_needs(void **state)
{
    (void)state;
    struct wal_rig *rig = rig_new(27, 512 * 1024);
    rig_entries(rig, 1, 1, 10, 1);
    rig_entries(rig, 2, 1, 100000, 1);
    rig_entries(rig, 1, 1, 200000, 1);
    rig_settle(rig);
    struct reading *reading = reading_new(1, 2, 2, WAL_READ_BUFFER_MIN);
    assert_int_equal(wal_read_start(rig->wal, &reading->read), ERR_OK);
    assert_true(mem_disk_drain(rig->disk, 10));
    assert_int_equal(reading->err, ERR_TOO_LARGE);
    size_t needed = reading->read.needed;
    assert_true(needed >= 200000 && needed < 201000);
    reading_free(reading);
    reading = reading_new(1, 2, 2, needed);
    assert_int_equal(wal_read_start(rig->wal, &reading->read), ERR_OK);
    assert_true(mem_disk_drain(rig->disk, 10));
    assert_int_equal(reading->err, ERR_OK);
    assert_int_equal(reading->read.count, 1);
    reading_free(reading);
    rig_free(rig);
}

static void damage_met_by_a_read_is_named(void **state)
{
    (void)state;
    struct wal_rig *rig = rig_new(28, SEGMENT);
    rig_entries(rig, 1, 5, 64, 1);
    rig_settle(rig);
    assert_true(mem_disk_flip(rig->disk, "wal-00000001", entry_offset(rig, 1, 3) + 80, 0));
    struct reading *reading = reading_new(1, 1, 5, WAL_READ_BUFFER_MIN);
    assert_int_equal(wal_read_start(rig->wal, &reading->read), ERR_OK);
    assert_true(mem_disk_drain(rig->disk, 10));
    assert_int_equal(reading->err, ERR_OK);
    assert_int_equal(reading->read.count, 2);
    reading->read.first = 3;
    assert_int_equal(wal_read_start(rig->wal, &reading->read), ERR_OK);
    assert_true(mem_disk_drain(rig->disk, 10));
    assert_int_equal(reading->err, ERR_CORRUPT);
    assert_int_equal(reading->read.damage.index, 3);
    assert_int_equal(reading->read.damage.segment, 1);
    reading_free(reading);
    rig_free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_log_has_no_groups),
        cmocka_unit_test(what_was_durable_comes_back),
        cmocka_unit_test(nothing_is_reported_before_the_disk_has_it),
        cmocka_unit_test(many_writes_share_one_sync),
        cmocka_unit_test(an_idle_log_seals_after_ten_milliseconds),
        cmocka_unit_test(segments_rotate_and_released_ones_are_recycled),
        cmocka_unit_test(a_group_that_is_not_released_pins_the_oldest_segment),
        cmocka_unit_test(the_state_of_groups_outlives_their_entries),
        cmocka_unit_test(truncation_in_one_group_leaves_the_others_alone),
        cmocka_unit_test(a_damaged_payload_concerns_its_group_only),
        cmocka_unit_test(a_damaged_header_concerns_those_whose_next_record_misses_it),
        cmocka_unit_test(a_group_without_later_records_stays_suspect),
        cmocka_unit_test(damage_above_the_last_watermark_is_a_torn_write),
        cmocka_unit_test(a_cut_write_never_comes_back),
        cmocka_unit_test(a_record_inside_a_payload_is_no_record),
        cmocka_unit_test(the_same_damage_below_a_seal_is_damage),
        cmocka_unit_test(damage_below_a_snapshot_does_no_harm),
        cmocka_unit_test(damage_stays_known_over_restarts_until_it_is_repaired),
        cmocka_unit_test(a_lost_truncation_does_not_bring_old_entries_back),
        cmocka_unit_test(cutting_a_torn_write_keeps_the_proof_of_older_damage),
        cmocka_unit_test(a_missing_middle_segment_is_damage),
        cmocka_unit_test(a_missing_first_segment_is_damage),
        cmocka_unit_test(a_truncated_segment_is_damage),
        cmocka_unit_test(a_damaged_segment_header_in_the_middle_loses_nothing),
        cmocka_unit_test(a_damaged_current_header_is_replaced_before_anything_is_dropped),
        cmocka_unit_test(a_foreign_or_newer_segment_is_refused),
        cmocka_unit_test(every_single_bit_flip_is_harmless_or_found),
        cmocka_unit_test(the_first_failed_write_is_final),
        cmocka_unit_test(a_full_disk_is_told_before_anything_is_lost),
        cmocka_unit_test(space_that_comes_back_is_used),
        cmocka_unit_test(too_much_at_once_is_refused),
        cmocka_unit_test(entries_are_read_back_across_segments_and_truncations),
        cmocka_unit_test(what_another_group_lost_does_not_stop_a_read),
        cmocka_unit_test(entries_that_are_not_durable_cannot_be_read_yet),
        cmocka_unit_test(an_entry_larger_than_the_buffer_says_what_it_needs),
        cmocka_unit_test(damage_met_by_a_read_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
