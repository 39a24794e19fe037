/* The identity of a data directory: made once, counted at each start, refused when it is not
 * ours. */
#include "disk/identity.h"
#include "mem_disk.h"
#include "test.h"

#include <string.h>

static const struct identity_want want = {
    .cluster_id = 0xc1, .node_id = 2, .new_storage_id = 0x5101};

static struct identity started(struct mem_disk *disk)
{
    struct identity identity;
    struct err_note note = {""};
    assert_int_equal(identity_open(mem_disk_base(disk), &want, false, &identity, &note), ERR_OK);
    assert_int_equal(identity_start(mem_disk_base(disk), &identity, &note), ERR_OK);
    return identity;
}

static void an_empty_directory_gets_an_identity_and_boots_are_counted(void **state)
{
    (void)state;
    struct mem_disk *disk = mem_disk_new(1);
    struct identity identity = started(disk);
    assert_int_equal(identity.boot_count, 1);
    assert_int_equal(identity.storage_id, 0x5101);
    for (uint64_t boot = 2; boot < 5; boot++) {
        mem_disk_crash(disk, MEM_DISK_LOST);
        struct identity_want other = want;
        other.new_storage_id = 0x777;
        struct err_note note = {""};
        assert_int_equal(identity_open(mem_disk_base(disk), &other, true, &identity, &note),
                         ERR_OK);
        assert_int_equal(identity_start(mem_disk_base(disk), &identity, &note), ERR_OK);
        assert_int_equal(identity.boot_count, boot);
        assert_int_equal(identity.storage_id, 0x5101);
    }
    mem_disk_free(disk);
}

static void a_crash_at_any_byte_leaves_the_old_or_the_new_count(void **state)
{
    (void)state;
    for (int kind = 0; kind < MEM_DISK_CRASH_KINDS; kind++) {
        for (uint64_t seed = 0; seed < 40; seed++) {
            struct mem_disk *disk = mem_disk_new(seed);
            struct identity identity = started(disk);
            struct err_note note = {""};
            /* The count goes wrong in its last step: the new name is not synced. */
            mem_disk_fail(disk, MEM_DISK_FAULT_NAME, (int)(seed % 3));
            enum err err = identity_start(mem_disk_base(disk), &identity, &note);
            mem_disk_fail(disk, MEM_DISK_FAULT_NAME, -1);
            mem_disk_crash(disk, (enum mem_disk_crash_kind)kind);
            struct identity found;
            assert_int_equal(identity_read(mem_disk_base(disk), &found, &note), ERR_OK);
            assert_true(found.boot_count == 1 || found.boot_count == 2);
            assert_true(err != ERR_OK || found.boot_count == 2);
            mem_disk_free(disk);
        }
    }
}

static void another_cluster_or_node_is_refused_by_name(void **state)
{
    (void)state;
    struct mem_disk *disk = mem_disk_new(2);
    struct identity identity = started(disk);
    struct identity_want other = want;
    struct err_note note = {""};
    other.cluster_id = 0xc2;
    assert_int_equal(identity_open(mem_disk_base(disk), &other, true, &identity, &note),
                     ERR_MISMATCH);
    assert_non_null(strstr(note.text, "00000000000000c1"));
    assert_non_null(strstr(note.text, "00000000000000c2"));
    other = want;
    other.node_id = 3;
    assert_int_equal(identity_open(mem_disk_base(disk), &other, true, &identity, &note),
                     ERR_MISMATCH);
    assert_non_null(strstr(note.text, "node 2, not to 3"));
    mem_disk_free(disk);
}

static void a_partial_directory_is_damaged(void **state)
{
    (void)state;
    struct mem_disk *disk = mem_disk_new(3);
    struct identity identity = started(disk);
    struct err_note note = {""};
    assert_int_equal(identity_open(mem_disk_base(disk), &want, false, &identity, &note),
                     ERR_CORRUPT);
    assert_non_null(strstr(note.text, "its log is gone"));
    assert_true(mem_disk_forget(disk, IDENTITY_NAME));
    assert_int_equal(identity_open(mem_disk_base(disk), &want, true, &identity, &note),
                     ERR_CORRUPT);
    assert_non_null(strstr(note.text, "no identity file"));
    mem_disk_free(disk);
}

static void an_interrupted_first_start_goes_on(void **state)
{
    (void)state;
    struct mem_disk *disk = mem_disk_new(4);
    struct identity identity;
    struct err_note note = {""};
    assert_int_equal(identity_open(mem_disk_base(disk), &want, false, &identity, &note), ERR_OK);
    assert_int_equal(identity.boot_count, 0);
    mem_disk_crash(disk, MEM_DISK_LOST);
    assert_int_equal(identity_open(mem_disk_base(disk), &want, false, &identity, &note), ERR_OK);
    assert_int_equal(identity.boot_count, 0);
    mem_disk_free(disk);
}

static void an_empty_directory_needs_a_cluster_and_a_node(void **state)
{
    (void)state;
    struct mem_disk *disk = mem_disk_new(5);
    struct identity_want nothing = {.new_storage_id = 1};
    struct identity identity;
    struct err_note note = {""};
    assert_int_equal(identity_open(mem_disk_base(disk), &nothing, false, &identity, &note),
                     ERR_NOT_FOUND);
    (void)started(disk);
    assert_int_equal(identity_open(mem_disk_base(disk), &nothing, true, &identity, &note), ERR_OK);
    assert_int_equal(identity.node_id, 2);
    mem_disk_free(disk);
}

static void every_bit_of_the_file_counts(void **state)
{
    (void)state;
    struct mem_disk *disk = mem_disk_new(6);
    struct identity identity = started(disk);
    for (unsigned bit = 0; bit < IDENTITY_BYTES * 8; bit++) {
        struct err_note note = {""};
        assert_true(mem_disk_flip(disk, IDENTITY_NAME, bit / 8, bit % 8));
        enum err err = identity_read(mem_disk_base(disk), &identity, &note);
        assert_true(err == ERR_CORRUPT || err == ERR_MISMATCH);
        assert_true(mem_disk_flip(disk, IDENTITY_NAME, bit / 8, bit % 8));
    }
    mem_disk_free(disk);
}

static void a_newer_format_is_refused_whatever_its_length(void **state)
{
    (void)state;
    struct mem_disk *disk = mem_disk_new(7);
    (void)started(disk);
    struct bytes old = mem_disk_content(disk, IDENTITY_NAME);
    uint8_t newer[100] = {0};
    memcpy(newer, old.data, old.len);
    put_u32(newer + 8, IDENTITY_FORMAT + 1);
    mem_disk_put(disk, IDENTITY_NAME, bytes_of(newer, sizeof(newer)));
    struct identity identity;
    struct err_note note = {""};
    assert_int_equal(identity_read(mem_disk_base(disk), &identity, &note), ERR_MISMATCH);
    assert_non_null(strstr(note.text, "format 2"));
    mem_disk_truncate(disk, IDENTITY_NAME, 4);
    assert_int_equal(identity_read(mem_disk_base(disk), &identity, &note), ERR_CORRUPT);
    mem_disk_free(disk);
}

static void a_full_disk_keeps_the_old_identity(void **state)
{
    (void)state;
    struct mem_disk *disk = mem_disk_new(8);
    struct identity identity = started(disk);
    mem_disk_space(disk, IDENTITY_BYTES + 10);
    struct err_note note = {""};
    assert_int_equal(identity_start(mem_disk_base(disk), &identity, &note), ERR_NO_SPACE);
    assert_int_equal(identity.boot_count, 1);
    assert_int_equal(identity_read(mem_disk_base(disk), &identity, &note), ERR_OK);
    assert_int_equal(identity.boot_count, 1);
    mem_disk_space(disk, UINT64_MAX);
    assert_int_equal(identity_start(mem_disk_base(disk), &identity, &note), ERR_OK);
    mem_disk_free(disk);
}

/* ---- the disk in memory keeps its promises
 * ----------------------------------------------------- */

static void unsynced_names_and_bytes_are_lost_with_the_power(void **state)
{
    (void)state;
    struct mem_disk *disk = mem_disk_new(9);
    struct disk *base = mem_disk_base(disk);
    struct disk_file *file = NULL;
    assert_int_equal(disk_create(base, "a", &file, NULL), ERR_OK);
    assert_int_equal(disk_write(file, 0, BYTES_LITERAL("one"), NULL), ERR_OK);
    assert_int_equal(disk_sync(file, NULL), ERR_OK);
    assert_int_equal(disk_sync_dir(base, NULL), ERR_OK);
    assert_int_equal(disk_write(file, 0, BYTES_LITERAL("two"), NULL), ERR_OK);
    assert_int_equal(disk_rename(file, "b", NULL), ERR_OK);
    disk_close(file);
    mem_disk_crash(disk, MEM_DISK_LOST);
    assert_null(mem_disk_content(disk, "b").data);
    assert_true(bytes_eq_str(mem_disk_content(disk, "a"), "one"));
    mem_disk_free(disk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_directory_gets_an_identity_and_boots_are_counted),
        cmocka_unit_test(a_crash_at_any_byte_leaves_the_old_or_the_new_count),
        cmocka_unit_test(another_cluster_or_node_is_refused_by_name),
        cmocka_unit_test(a_partial_directory_is_damaged),
        cmocka_unit_test(an_interrupted_first_start_goes_on),
        cmocka_unit_test(an_empty_directory_needs_a_cluster_and_a_node),
        cmocka_unit_test(every_bit_of_the_file_counts),
        cmocka_unit_test(a_newer_format_is_refused_whatever_its_length),
        cmocka_unit_test(a_full_disk_keeps_the_old_identity),
        cmocka_unit_test(unsynced_names_and_bytes_are_lost_with_the_power),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
