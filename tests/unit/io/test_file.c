/* File operations: whole or failed, durable, with the cause. */
#include "loop/file.h"

#include "loop_test.h"
#include "mem/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

struct work {
    struct file_op op;
    struct iovec iov[3];
    enum err err;
    size_t bytes;
    bool done;
};

static void on_done(struct file_op *op, enum err err, size_t bytes)
{
    struct work *work = CONTAINER_OF(op, struct work, op);
    assert_false(work->done);
    work->done = true;
    work->err = err;
    work->bytes = bytes;
}

static void start(struct loop *loop, struct work *work, enum file_op_kind kind, int fd,
                  uint64_t offset)
{
    int count = 0;
    while (count < 3 && work->iov[count].iov_base != NULL) {
        count++;
    }
    work->done = false;
    work->op = (struct file_op){.kind = kind,
                                .fd = fd,
                                .offset = offset,
                                .iov = work->iov,
                                .iov_count = count,
                                .on_done = on_done};
    file_start(loop, &work->op);
    assert_false(work->done);
}

static void run(struct loop *loop, struct work *work, enum file_op_kind kind, int fd,
                uint64_t offset)
{
    start(loop, work, kind, fd, offset);
    LOOP_UNTIL(loop, work->done);
    assert_int_equal(loop_active_count(loop), 0);
}

/* A file without a name, gone with its descriptor. */
static int temp_file(void)
{
    int fd = open("/var/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    return fd;
}

static struct iovec slice(void *data, size_t len)
{
    return (struct iovec){.iov_base = data, .iov_len = len};
}

static void written_bytes_are_read_back_at_their_offset(void **state)
{
    (void)state;
    struct loop *loop = test_loop();
    int fd = temp_file();
    char out[] = "onetwothree";
    struct work w = {.iov = {slice(out, 3), slice(out + 3, 3), slice(out + 6, 5)}};
    run(loop, &w, FILE_WRITE, fd, 4096);
    assert_int_equal(w.err, ERR_OK);
    assert_int_equal(w.bytes, 11);
    char in[32] = {0};
    struct work r = {.iov = {slice(in, 3), slice(in + 3, sizeof(in) - 3)}};
    run(loop, &r, FILE_READ, fd, 4099);
    assert_int_equal(r.err, ERR_OK);
    assert_int_equal(r.bytes, 8); /* to the end of the file */
    assert_string_equal(in, "twothree");
    r = (struct work){.iov = {slice(in, 3)}};
    run(loop, &r, FILE_READ, fd, 1 << 20);
    assert_int_equal(r.err, ERR_OK);
    assert_int_equal(r.bytes, 0);
    assert_int_equal(close(fd), 0);
    loop_free(loop);
}

static void durable_write_and_sync_succeed_on_a_file(void **state)
{
    (void)state;
    struct loop *loop = test_loop();
    int fd = temp_file();
    char out[] = "bytes";
    struct work w = {.iov = {slice(out, 5)}};
    run(loop, &w, FILE_WRITE_DURABLE, fd, 0);
    assert_int_equal(w.err, ERR_OK);
    assert_int_equal(w.bytes, 5);
    struct work s = {0};
    run(loop, &s, FILE_SYNC, fd, 0);
    assert_int_equal(s.err, ERR_OK);
    assert_int_equal(s.op.os_errno, 0);
    assert_int_equal(close(fd), 0);
    loop_free(loop);
}

enum {
    BATCH = 200
};

static void many_operations_at_once_all_complete(void **state)
{
    (void)state;
    static struct work works[BATCH];
    static uint64_t values[BATCH];
    struct loop *loop = test_loop();
    int fd = temp_file();
    for (uint64_t i = 0; i < BATCH; i++) {
        values[i] = i * 7;
        works[i] = (struct work){.iov = {slice(&values[i], 8)}};
        start(loop, &works[i], FILE_WRITE, fd, i * 8);
    }
    for (int i = 0; i < BATCH; i++) {
        LOOP_UNTIL(loop, works[i].done);
        assert_int_equal(works[i].err, ERR_OK);
    }
    for (uint64_t i = 0; i < BATCH; i++) {
        uint64_t value = 0;
        assert_int_equal(pread(fd, &value, 8, (off_t)(i * 8)), 8);
        assert_int_equal(value, i * 7);
    }
    assert_int_equal(close(fd), 0);
    loop_free(loop);
}

enum {
    FLOOD = 20000
};

static size_t flood_done;

static void on_flood_done(struct file_op *op, enum err err, size_t bytes)
{
    (void)bytes;
    assert_int_not_equal(err, ERR_OK);
    assert_int_equal(op->os_errno, EBADF);
    flood_done++;
}

/* They fail while they are submitted: more completions than the completion ring holds, at once. */
static void more_operations_than_the_rings_hold_all_complete(void **state)
{
    (void)state;
    struct loop *loop = test_loop();
    struct file_op *ops = mem_alloc_array(FLOOD, sizeof(*ops));
    loop_turn(loop, 0);
    flood_done = 0;
    for (size_t i = 0; i < FLOOD; i++) {
        ops[i] = (struct file_op){.kind = FILE_SYNC, .fd = 1000000, .on_done = on_flood_done};
        file_start(loop, &ops[i]);
    }
    LOOP_UNTIL(loop, flood_done == FLOOD);
    assert_int_equal(loop_active_count(loop), 0);
    mem_free(ops);
    loop_free(loop);
}

static void failed_sync_is_reported_with_its_cause(void **state)
{
    (void)state;
    struct loop *loop = test_loop();
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    struct work s = {0};
    run(loop, &s, FILE_SYNC, ends[1], 0); /* a pipe cannot be synced */
    assert_int_not_equal(s.err, ERR_OK);
    assert_int_equal(s.op.os_errno, EINVAL);
    run(loop, &s, FILE_SYNC, 1000000, 0);
    assert_int_not_equal(s.err, ERR_OK);
    assert_int_equal(s.op.os_errno, EBADF);
    assert_int_equal(close(ends[0]), 0);
    assert_int_equal(close(ends[1]), 0);
    loop_free(loop);
}

static void full_disk_is_no_space(void **state)
{
    (void)state;
    struct loop *loop = test_loop();
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    char out[] = "bytes";
    struct work w = {.iov = {slice(out, 5)}};
    run(loop, &w, FILE_WRITE, fd, 0);
    assert_int_equal(w.err, ERR_NO_SPACE);
    assert_int_equal(w.op.os_errno, ENOSPC);
    assert_int_equal(w.bytes, 0);
    assert_int_equal(close(fd), 0);
    loop_free(loop);
}

static void write_to_a_read_only_descriptor_fails(void **state)
{
    (void)state;
    struct loop *loop = test_loop();
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    char out[] = "bytes";
    struct work w = {.iov = {slice(out, 5)}};
    run(loop, &w, FILE_WRITE_DURABLE, fd, 0);
    assert_int_not_equal(w.err, ERR_OK);
    assert_int_equal(w.op.os_errno, EBADF);
    assert_int_equal(close(fd), 0);
    loop_free(loop);
}

int main(void)
{
    test_skip_without_backend();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_bytes_are_read_back_at_their_offset),
        cmocka_unit_test(durable_write_and_sync_succeed_on_a_file),
        cmocka_unit_test(many_operations_at_once_all_complete),
        cmocka_unit_test(more_operations_than_the_rings_hold_all_complete),
        cmocka_unit_test(failed_sync_is_reported_with_its_cause),
        cmocka_unit_test(full_disk_is_no_space),
        cmocka_unit_test(write_to_a_read_only_descriptor_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
