/* A real directory, and the log on it: lock, errors, and writes through the loop on both
 * backends. */
#include "disk/disk.h"
#include "disk/identity.h"
#include "loop_test.h"
#include "mem/mem.h"
#include "wal/wal.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct place {
    char path[64];
    struct loop *loop;
    struct disk_loop *disk;
};

static struct place place_make(void)
{
    struct place place = {.path = "/tmp/flotilla-disk-XXXXXX"};
    assert_non_null(mkdtemp(place.path));
    place.loop = test_loop();
    struct err_note note = {""};
    enum err err = disk_loop_open(place.loop, place.path, true, &place.disk, &note);
    if (err != ERR_OK) {
        fail_msg("%s", note.text);
    }
    return place;
}

static void remove_name(void *context, const char *name)
{
    struct disk *disk = context;
    assert_int_equal(disk_remove(disk, name, NULL), ERR_OK);
}

static void place_done(struct place *place)
{
    struct disk *disk = disk_loop_base(place->disk);
    assert_int_equal(disk_list(disk, remove_name, disk, NULL), ERR_OK);
    disk_loop_close(place->disk);
    loop_free(place->loop);
    assert_int_equal(rmdir(place->path), 0);
}

static void looking_takes_no_lock_and_names_the_holder(void **state)
{
    (void)state;
    struct place place = place_make();
    struct disk *disk = disk_loop_base(place.disk);
    struct disk_loop *looking = NULL;
    struct disk_file *file = NULL;
    struct err_note note = {""};
    struct buf content;
    long holder = 0;
    assert_int_equal(disk_replace(disk, "a", BYTES_LITERAL("text"), NULL), ERR_OK);
    assert_int_equal(disk_look_open(place.path, &looking, &holder, &note), ERR_OK);
    assert_int_equal(holder, getpid());
    buf_init(&content, 64);
    assert_int_equal(disk_read_all(disk_loop_base(looking), "a", &content, &note), ERR_OK);
    assert_true(bytes_eq_str(buf_bytes(&content), "text"));
    buf_done(&content);
    assert_int_equal(disk_open(disk_loop_base(looking), "a", &file, &note), ERR_OK);
    disk_close(file);
    disk_loop_close(place.disk);
    disk_loop_close(looking);
    /* The lock is free although somebody looks. */
    assert_int_equal(disk_look_open(place.path, &looking, &holder, &note), ERR_OK);
    assert_int_equal(holder, 0);
    assert_int_equal(disk_loop_open(place.loop, place.path, false, &place.disk, &note), ERR_OK);
    disk_loop_close(looking);
    assert_int_equal(disk_look_open("/no/such/directory", &looking, &holder, &note), ERR_NOT_FOUND);
    assert_int_equal(disk_look_open("/dev/null", &looking, &holder, &note), ERR_BAD_INPUT);
    place_done(&place);
}

static void a_directory_belongs_to_one_process(void **state)
{
    (void)state;
    struct place place = place_make();
    struct disk_loop *second = NULL;
    struct err_note note = {""};
    assert_int_equal(disk_loop_open(NULL, place.path, false, &second, &note), ERR_IN_USE);
    char pid[32];
    (void)snprintf(pid, sizeof(pid), "%d", (int)getpid());
    assert_non_null(strstr(note.text, place.path));
    assert_non_null(strstr(note.text, pid));
    assert_null(second);
    place_done(&place);
}

static void what_is_not_a_directory_is_refused(void **state)
{
    (void)state;
    struct place place = place_make();
    char path[100];
    (void)snprintf(path, sizeof(path), "%s/%s", place.path, "lock");
    struct disk_loop *disk = NULL;
    struct err_note note = {""};
    assert_int_equal(disk_loop_open(NULL, path, true, &disk, &note), ERR_BAD_INPUT);
    assert_non_null(strstr(note.text, "not a directory"));
    (void)snprintf(path, sizeof(path), "%s/%s", place.path, "none");
    assert_int_equal(disk_loop_open(NULL, path, false, &disk, &note), ERR_NOT_FOUND);
    place_done(&place);
}

static void files_are_private_and_whole(void **state)
{
    (void)state;
    struct place place = place_make();
    struct disk *disk = disk_loop_base(place.disk);
    struct err_note note = {""};
    assert_int_equal(disk_replace(disk, "x", BYTES_LITERAL("first"), &note), ERR_OK);
    assert_int_equal(disk_replace(disk, "x", BYTES_LITERAL("second"), &note), ERR_OK);
    struct buf content;
    buf_init(&content, 100);
    assert_int_equal(disk_read_all(disk, "x", &content, &note), ERR_OK);
    assert_true(bytes_eq_str(buf_bytes(&content), "second"));
    buf_done(&content);
    char path[100];
    (void)snprintf(path, sizeof(path), "%s/x", place.path);
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
    struct disk_file *file = NULL;
    assert_int_equal(disk_create(disk, "x", &file, &note), ERR_EXISTS);
    assert_int_equal(disk_open(disk, "y", &file, &note), ERR_NOT_FOUND);
    assert_int_equal(disk_remove(disk, "y", &note), ERR_NOT_FOUND);
    assert_int_equal(disk_create_filled(disk, "z", 100000, &file, &note), ERR_OK);
    uint64_t size = 0;
    assert_int_equal(disk_size(file, &size, &note), ERR_OK);
    assert_int_equal(size, 100000);
    disk_close(file);
    place_done(&place);
}

/* ---- the log on it
 * ------------------------------------------------------------------------------ */

struct run {
    struct loop *loop;
    uint64_t durable;
    enum err failed;
};

static void on_durable(void *context, uint64_t wal_seq)
{
    struct run *run = context;
    run->durable = wal_seq;
}

static void on_failed(void *context, enum err err, const struct err_note *note)
{
    struct run *run = context;
    run->failed = err;
    fail_msg("%s", note->text);
}

static struct wal_config small_config(void)
{
    struct wal_config config = wal_config_default(0xd15c);
    config.segment_bytes = 256 * 1024;
    config.record_bytes_max = 64 * 1024;
    return config;
}

static struct wal *wal_reopen(struct disk *disk, struct run *run)
{
    struct wal_config config = small_config();
    struct wal_callbacks callbacks = {
        .on_durable = on_durable, .on_failed = on_failed, .context = run};
    struct wal *wal = NULL;
    struct err_note note = {""};
    enum err err = wal_open(disk, &config, &callbacks, &wal, &note);
    if (err != ERR_OK) {
        fail_msg("%s", note.text);
    }
    return wal;
}

static void append_one(struct wal *wal, struct loop *loop, raft_index index)
{
    uint8_t payload[1000];
    memset(payload, (int)(index % 251), sizeof(payload));
    struct wal_entry entry = {.index = index,
                              .term = 1 + index / 500,
                              .kind = RAFT_ENTRY_COMMAND,
                              .payload = bytes_of(payload, index % sizeof(payload))};
    struct wal_write write = {.wal_seq = index, .group = 1, .entries = &entry, .entry_count = 1};
    assert_int_equal(wal_append(wal, loop_now(loop), &write), ERR_OK);
}

static enum err check_entry(void *context, const struct wal_entry *entry)
{
    raft_index *next = context;
    if (entry->index != *next || entry->payload.len != *next % 1000 ||
        (entry->payload.len > 0 && entry->payload.data[0] != *next % 251)) {
        return ERR_CONFLICT;
    }
    (*next)++;
    return ERR_OK;
}

static void turn_until_idle(struct wal *wal, struct loop *loop)
{
    for (int turns = 0; !wal_idle(wal); turns++) {
        assert_true(turns < 100000);
        loop_turn(loop, CLK_MS(100));
    }
}

static void the_log_survives_on_a_real_disk(void **state)
{
    (void)state;

    enum {
        ENTRIES = 3000
    };
    struct place place = place_make();
    struct disk *disk = disk_loop_base(place.disk);
    struct run run = {.loop = place.loop};
    struct err_note note = {""};
    struct wal_config config = small_config();
    bool present = true;
    assert_int_equal(wal_present(disk, &present, &note), ERR_OK);
    assert_false(present);
    assert_int_equal(wal_create(disk, &config, &note), ERR_OK);
    assert_int_equal(wal_create(disk, &config, &note), ERR_EXISTS);
    struct wal *wal = wal_reopen(disk, &run);
    for (raft_index index = 1; index <= ENTRIES; index++) {
        append_one(wal, place.loop, index);
        if (index % 7 == 0) {
            wal_flush(wal);
            loop_turn(place.loop, 0);
        }
    }
    wal_flush(wal);
    wal_seal(wal);
    turn_until_idle(wal, place.loop);
    assert_int_equal(run.durable, ENTRIES);
    assert_true(wal_stats(wal).segments > 3);
    wal_free(wal);

    wal = wal_reopen(disk, &run);
    assert_int_equal(wal_recovery(wal)->damage_count, 0);
    assert_false(wal_recovery(wal)->torn);
    raft_index next = 1;
    struct wal_replay replay = {
        .group = 1, .first = 1, .last = ENTRIES, .each = check_entry, .context = &next};
    assert_int_equal(wal_replay(wal, &replay, &note), ERR_OK);
    assert_int_equal(next, ENTRIES + 1);
    wal_free(wal);
    place_done(&place);
}

static int write_all(int fd, const void *from, size_t size)
{
    return write(fd, from, size) == (ssize_t)size ? 0 : -1;
}

/* A child writes and reports each durable number through a pipe until it is killed. */
static void child_writes(const char *path, int report_fd)
{
    struct loop *loop = test_loop();
    struct disk_loop *disk = NULL;
    struct err_note note = {""};
    if (disk_loop_open(loop, path, false, &disk, &note) != ERR_OK) {
        _exit(1);
    }
    struct run run = {.loop = loop};
    struct wal *wal = wal_reopen(disk_loop_base(disk), &run);
    struct raft_boot boot;
    wal_boot(wal, 1, &boot);
    raft_index last = boot.last_index;
    raft_index first = last;
    uint64_t told = 0;
    for (;;) {
        raft_index index = last + 1;
        uint8_t payload[1000];
        memset(payload, (int)(index % 251), sizeof(payload));
        struct wal_entry entry = {.index = index,
                                  .term = 1 + index / 500,
                                  .kind = RAFT_ENTRY_COMMAND,
                                  .payload = bytes_of(payload, index % sizeof(payload))};
        struct wal_write write = {
            .wal_seq = index - first, .group = 1, .entries = &entry, .entry_count = 1};
        if (wal_append(wal, loop_now(loop), &write) == ERR_OK) {
            last = index;
        }
        wal_flush(wal);
        loop_turn(loop, 0);
        if (run.durable > told) {
            told = run.durable;
            raft_index durable = first + told;
            if (write_all(report_fd, &durable, sizeof(durable)) != 0) {
                _exit(1);
            }
        }
    }
}

static void a_killed_process_loses_nothing_that_it_reported(void **state)
{
    (void)state;
    struct place place = place_make();
    struct err_note note = {""};
    struct wal_config config = small_config();
    assert_int_equal(wal_create(disk_loop_base(place.disk), &config, &note), ERR_OK);
    for (int round = 0; round < 4; round++) {
        disk_loop_close(place.disk);
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            close(ends[0]);
            child_writes(place.path, ends[1]);
        }
        close(ends[1]);
        raft_index durable = 0;
        raft_index seen = 0;
        for (int reports = 0; reports < 50 + round * 37; reports++) {
            assert_int_equal(read(ends[0], &seen, sizeof(seen)), sizeof(seen));
            durable = seen;
        }
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, NULL, 0), child);
        while (read(ends[0], &seen, sizeof(seen)) == (ssize_t)sizeof(seen)) {
            durable = seen;
        }
        close(ends[0]);
        assert_int_equal(disk_loop_open(place.loop, place.path, false, &place.disk, &note), ERR_OK);
        struct run run = {.loop = place.loop};
        struct wal *wal = wal_reopen(disk_loop_base(place.disk), &run);
        struct raft_boot boot;
        wal_boot(wal, 1, &boot);
        assert_int_equal(boot.verdict, RAFT_BOOT_CLEAN);
        assert_true(boot.last_index >= durable);
        raft_index next = 1;
        struct wal_replay replay = {
            .group = 1, .first = 1, .last = boot.last_index, .each = check_entry, .context = &next};
        assert_int_equal(wal_replay(wal, &replay, &note), ERR_OK);
        wal_free(wal);
    }
    place_done(&place);
}

int main(void)
{
    test_skip_without_backend();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_directory_belongs_to_one_process),
        cmocka_unit_test(looking_takes_no_lock_and_names_the_holder),
        cmocka_unit_test(what_is_not_a_directory_is_refused),
        cmocka_unit_test(files_are_private_and_whole),
        cmocka_unit_test(the_log_survives_on_a_real_disk),
        cmocka_unit_test(a_killed_process_loses_nothing_that_it_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
