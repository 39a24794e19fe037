/* Looking at a log: it changes nothing, and says what a start of the same bytes would find. */
#include "test.h"
#include "wal/wal_inspect.h"
#include "wal_rig.h"

#include "mem/mem.h"

#include <string.h>

enum {
    SEGMENT = 32 * 1024,
    GROUPS_MAX = 8
};

/* What an inspection told. */
struct heard {
    size_t whole;
    size_t damaged_records;
    size_t torn_records;
    size_t damages;
    struct wal_damage first_damage;
    size_t torn_count;
    struct wal_torn torn;
    size_t group_count;
    struct wal_group_seen groups[GROUPS_MAX];
    uint64_t payload_bytes;
    struct wal_report report;
};

static void on_record(void *context, const struct wal_seen *seen)
{
    struct heard *heard = context;
    heard->whole += seen->state == WAL_SEEN_WHOLE ? 1 : 0;
    heard->damaged_records += seen->state == WAL_SEEN_DAMAGED ? 1 : 0;
    heard->torn_records += seen->state == WAL_SEEN_TORN ? 1 : 0;
    assert_int_equal(seen->payload.len, seen->record.length);
    heard->payload_bytes += seen->payload.len;
}

static void on_damage(void *context, const struct wal_damage *damage)
{
    struct heard *heard = context;
    assert_non_null(damage->why);
    if (heard->damages == 0) {
        heard->first_damage = *damage;
    }
    heard->damages++;
}

static void on_torn(void *context, const struct wal_torn *torn)
{
    struct heard *heard = context;
    heard->torn = *torn;
    heard->torn_count++;
}

static void on_group(void *context, const struct wal_group_seen *group)
{
    struct heard *heard = context;
    assert_true(heard->group_count < GROUPS_MAX);
    heard->groups[heard->group_count++] = *group;
}

static struct heard look(struct wal_rig *rig, uint64_t storage_id)
{
    struct heard heard = {0};
    struct wal_inspector inspector = {.on_record = on_record,
                                      .on_damage = on_damage,
                                      .on_torn = on_torn,
                                      .on_group = on_group,
                                      .context = &heard};
    struct err_note note = {""};
    uint64_t writes = mem_disk_stats(rig->disk).bytes_written;
    uint64_t syncs = mem_disk_stats(rig->disk).syncs + mem_disk_stats(rig->disk).dir_syncs;
    enum err err =
        wal_inspect(mem_disk_base(rig->disk), storage_id, &inspector, &heard.report, &note);
    if (err != ERR_OK) {
        fail_msg("%s", note.text);
    }
    assert_int_equal(mem_disk_stats(rig->disk).bytes_written, writes);
    assert_int_equal(mem_disk_stats(rig->disk).syncs + mem_disk_stats(rig->disk).dir_syncs, syncs);
    assert_int_equal(heard.damages, heard.report.damages);
    assert_int_equal(heard.torn.certain, heard.report.torn);
    assert_int_equal(heard.whole + heard.damaged_records, heard.report.records);
    return heard;
}

/* Two groups, entries of both in turn, sealed. */
static struct wal_rig *sealed_rig(uint64_t seed)
{
    struct wal_rig *rig = rig_new(seed, SEGMENT);
    rig_hard_state(rig, 1, 4, 2);
    rig_hard_state(rig, 2, 1, 1);
    for (int i = 0; i < 10; i++) {
        rig_entries(rig, 1, 1, 64, 4);
        rig_entries(rig, 2, 1, 64, 1);
    }
    rig_seal(rig);
    return rig;
}

/* What `look` said is what a start finds now. */
static void assert_start_agrees(struct wal_rig *rig, const struct heard *heard)
{
    rig_open(rig);
    const struct wal_recovery *recovery = wal_recovery(rig->wal);
    assert_int_equal(heard->damages, recovery->damage_count);
    assert_int_equal(heard->torn_count, recovery->torn ? 1 : 0);
    if (recovery->torn) {
        assert_int_equal(heard->torn.segment, recovery->torn_segment);
        assert_int_equal(heard->torn.offset, recovery->torn_offset);
    }
    if (recovery->damage_count > 0) {
        assert_int_equal(heard->first_damage.segment, recovery->damages[0].segment);
        assert_int_equal(heard->first_damage.offset, recovery->damages[0].offset);
    }
    assert_int_equal(heard->group_count, wal_group_count(rig->wal));
    for (size_t i = 0; i < heard->group_count; i++) {
        struct raft_boot boot;
        wal_boot(rig->wal, heard->groups[i].group, &boot);
        assert_int_equal(heard->groups[i].damaged, boot.verdict == RAFT_BOOT_DAMAGED);
        assert_int_equal(heard->groups[i].last, boot.last_index);
        assert_int_equal(heard->groups[i].hard.term, boot.hard_state.term);
        assert_int_equal(heard->groups[i].hard.vote, boot.hard_state.vote);
        assert_int_equal(heard->groups[i].snapshot, boot.snapshot.index);
    }
}

static void a_whole_log_is_told_record_by_record(void **state)
{
    (void)state;
    struct wal_rig *rig = sealed_rig(1);
    struct heard heard = look(rig, rig->config.storage_id); /* while the log is open */
    assert_int_equal(heard.damages, 0);
    assert_false(heard.report.torn);
    assert_int_equal(heard.report.damaged_groups, 0);
    assert_int_equal(heard.report.segments, 1);
    /* The segment's header, a seal at the start perhaps, 2 states, 20 entries, the seal. */
    assert_true(heard.whole >= 24);
    assert_true(heard.payload_bytes >= 20 * 64 + WAL_SEGMENT_FIXED_BYTES);
    assert_int_equal(heard.group_count, 2);
    assert_int_equal(heard.groups[0].group, 1);
    assert_int_equal(heard.groups[0].first, 1);
    assert_int_equal(heard.groups[0].last, 10);
    assert_int_equal(heard.groups[0].hard.term, 4);
    assert_int_equal(heard.groups[0].hard.vote, 2);
    rig_close(rig);
    assert_start_agrees(rig, &heard);
    rig_free(rig);
}

static void the_disk_of_the_log_may_be_unknown(void **state)
{
    (void)state;
    struct wal_rig *rig = sealed_rig(2);
    struct heard heard = look(rig, 0);
    assert_int_equal(heard.report.storage_id, rig->config.storage_id);
    assert_int_equal(heard.report.damages, 0);
    assert_int_equal(heard.group_count, 2);
    rig_free(rig);
}

static void another_disks_log_is_refused(void **state)
{
    (void)state;
    struct wal_rig *rig = sealed_rig(3);
    struct wal_inspector inspector = {0};
    struct wal_report report;
    struct err_note note = {""};
    uint64_t other = rig->config.storage_id + 1;
    assert_int_equal(wal_inspect(mem_disk_base(rig->disk), other, &inspector, &report, &note),
                     ERR_MISMATCH);
    assert_non_null(strstr(note.text, "segment 1"));
    rig_free(rig);
}

static void a_torn_write_is_told_and_not_cut(void **state)
{
    (void)state;
    struct wal_rig *rig = sealed_rig(4);
    rig_entries(rig, 1, 3, 64, 4);
    rig_settle(rig);
    rig_close(rig);
    struct heard before = look(rig, rig->config.storage_id);
    assert_false(before.report.torn);
    /* The last write's first record begins behind what the seal made known. */
    struct bytes image = mem_disk_content(rig->disk, "wal-00000001");
    uint64_t at = 0;
    for (size_t i = 0; i + WAL_HEADER_BYTES <= image.len; i += WAL_ALIGN) {
        bool entry = memcmp(image.data + i + 8, "FWAL", 4) == 0 && image.data[i + 56] == WAL_ENTRY;
        at = entry && get_u64(image.data + i + 24) == 12 ? i : at;
    }
    assert_true(at > 0);
    assert_true(mem_disk_flip(rig->disk, "wal-00000001", at + 70, 1));
    struct heard heard = look(rig, rig->config.storage_id);
    assert_true(heard.report.torn);
    assert_int_equal(heard.damages, 0);
    assert_int_equal(heard.torn.offset, at);
    assert_non_null(strstr(heard.torn.why, "payload"));
    assert_int_equal(heard.torn_records, 2); /* entries 12 and 13 */
    assert_int_equal(heard.groups[0].last, 11);
    struct heard again = look(rig, rig->config.storage_id);
    assert_memory_equal(&again.torn, &heard.torn, sizeof(heard.torn));
    assert_start_agrees(rig, &heard);
    rig_free(rig);
}

/* A recycled segment has old bytes behind the end of the log: no write was torn there. */
static void old_bytes_behind_the_end_are_not_called_torn(void **state)
{
    (void)state;
    struct wal_rig *rig = rig_new(7, SEGMENT);
    for (int i = 0; i < 200; i++) {
        rig_entries(rig, 1, 4, 200, 1);
        if (i % 10 == 9) {
            rig_compact(rig, 1, rig->groups[1].last);
        }
        rig_settle(rig);
    }
    rig_seal(rig);
    assert_true(wal_stats(rig->wal).segments_recycled > 0);
    rig_close(rig);
    struct heard heard = look(rig, rig->config.storage_id);
    assert_int_equal(heard.torn_count, 1);
    assert_false(heard.report.torn);
    assert_int_equal(heard.torn_records, 0);
    rig_free(rig);
}

/* A disk on which somebody writes the log between two reads of whoever looks at it. */
struct busy_disk {
    struct disk base;
    struct wal_rig *rig;
    size_t reads;
};

static struct busy_disk *busy_of(struct disk *disk)
{
    return CONTAINER_OF(disk, struct busy_disk, base);
}

static enum err busy_list(struct disk *disk, disk_list_fn *each, void *context,
                          struct err_note *note)
{
    return disk_list(mem_disk_base(busy_of(disk)->rig->disk), each, context, note);
}

static enum err busy_open(struct disk *disk, const char *name, bool create,
                          struct disk_file **ret_file, struct err_note *note)
{
    assert_false(create);
    enum err err = disk_open(mem_disk_base(busy_of(disk)->rig->disk), name, ret_file, note);
    if (err == ERR_OK) {
        (*ret_file)->disk = disk;
    }
    return err;
}

static void busy_close(struct disk_file *file)
{
    file->disk = mem_disk_base(busy_of(file->disk)->rig->disk);
    disk_close(file);
}

static enum err busy_size(struct disk_file *file, uint64_t *ret_bytes, struct err_note *note)
{
    struct disk *disk = file->disk;
    file->disk = mem_disk_base(busy_of(disk)->rig->disk);
    enum err err = disk_size(file, ret_bytes, note);
    file->disk = disk;
    return err;
}

static enum err busy_read(struct disk_file *file, uint64_t offset, void *dest, size_t size,
                          size_t *ret_got, struct err_note *note)
{
    struct busy_disk *busy = busy_of(file->disk);
    file->disk = mem_disk_base(busy->rig->disk);
    enum err err = disk_read(file, offset, dest, size, ret_got, note);
    file->disk = &busy->base;
    /* So much that it outruns the reader at a boundary of two reads. */
    bool is_image = strcmp(file->name, "wal-00000001") == 0 && size >= 4096;
    for (int i = 0; is_image && i < 4; i++) {
        rig_entries(busy->rig, 1, 1, 10000, 1);
        rig_settle(busy->rig);
    }
    busy->reads += is_image ? 1 : 0;
    return err;
}

static void a_log_that_grows_meanwhile_is_not_damaged(void **state)
{
    (void)state;
    static const struct disk_ops ops = {.list = busy_list,
                                        .open = busy_open,
                                        .close = busy_close,
                                        .size = busy_size,
                                        .read = busy_read};
    struct heard heard = {0};
    struct wal_inspector inspector = {.on_record = on_record,
                                      .on_damage = on_damage,
                                      .on_torn = on_torn,
                                      .on_group = on_group,
                                      .context = &heard};
    struct wal_rig *rig = rig_new(8, 1024 * 1024);
    struct busy_disk busy = {.base = {.ops = &ops}, .rig = rig};
    rig_entries(rig, 1, 6, 10000, 1);
    rig_settle(rig);
    assert_int_equal(
        wal_inspect(&busy.base, rig->config.storage_id, &inspector, &heard.report, NULL), ERR_OK);
    assert_true(busy.reads > 10);
    assert_int_equal(heard.damages, 0);
    assert_false(heard.groups[0].damaged);
    assert_true(heard.groups[0].last >= 6);
    rig_free(rig);
}

static void a_missing_segment_is_told(void **state)
{
    (void)state;
    struct wal_rig *rig = rig_new(5, SEGMENT);
    rig->keep = true;
    for (int i = 0; i < 100; i++) {
        rig_entries(rig, 1, 4, 200, 1);
        rig_settle(rig);
    }
    rig_seal(rig);
    rig_close(rig);
    assert_true(mem_disk_forget(rig->disk, "wal-00000002"));
    struct heard heard = look(rig, rig->config.storage_id);
    assert_int_equal(heard.damages, 1);
    assert_int_equal(heard.first_damage.segment, 3);
    assert_non_null(strstr(heard.first_damage.why, "missing"));
    assert_true(heard.groups[0].damaged);
    assert_start_agrees(rig, &heard);
    rig_free(rig);
}

static void a_segment_that_is_being_filled_stays(void **state)
{
    (void)state;
    struct wal_rig *rig = sealed_rig(6);
    rig_close(rig);
    mem_disk_put(rig->disk, "wal-new.tmp", BYTES_LITERAL("zeros"));
    (void)look(rig, rig->config.storage_id);
    assert_non_null(mem_disk_content(rig->disk, "wal-new.tmp").data);
    rig_free(rig);
}

/* The claim behind all of it: any damage anywhere gets the verdicts that a start gives. */
static void the_verdicts_are_those_of_a_start(void **state)
{
    (void)state;
    size_t damaged = 0;
    size_t torn = 0;
    for (uint64_t seed = 100; seed < 160; seed++) {
        struct wal_rig *rig = rig_new(seed, SEGMENT);
        rig->keep = true;
        for (int i = 0; i < 120; i++) {
            rig_random(rig);
            if (rnd_below(&rig->rnd, 4) == 0) {
                rig_settle(rig);
            }
        }
        wal_flush(rig->wal); /* One more write is under way. */
        struct mem_disk *crashed = mem_disk_clone(rig->disk, seed);
        mem_disk_crash(crashed, MEM_DISK_TORN_512);
        rig_settle(rig);
        rig_close(rig);
        mem_disk_free(rig->disk);
        rig->disk = crashed;
        for (uint64_t flips = rnd_below(&rig->rnd, 4); flips > 0; flips--) {
            char name[DISK_NAME_MAX];
            wal_segment_name((uint32_t)rnd_below(&rig->rnd, 3) + 1, name);
            (void)mem_disk_flip(rig->disk, name, rnd_below(&rig->rnd, SEGMENT), 5);
        }
        struct heard heard = look(rig, rig->config.storage_id);
        damaged += heard.damages > 0 ? 1 : 0;
        torn += heard.report.torn ? 1 : 0;
        assert_start_agrees(rig, &heard);
        rig_free(rig);
    }
    assert_true(damaged > 5);
    assert_true(torn > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_log_is_told_record_by_record),
        cmocka_unit_test(the_disk_of_the_log_may_be_unknown),
        cmocka_unit_test(another_disks_log_is_refused),
        cmocka_unit_test(a_torn_write_is_told_and_not_cut),
        cmocka_unit_test(old_bytes_behind_the_end_are_not_called_torn),
        cmocka_unit_test(a_log_that_grows_meanwhile_is_not_damaged),
        cmocka_unit_test(a_missing_segment_is_told),
        cmocka_unit_test(a_segment_that_is_being_filled_stays),
        cmocka_unit_test(the_verdicts_are_those_of_a_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
