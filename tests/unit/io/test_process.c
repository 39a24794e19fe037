/* Children, signals, randomness, lock files. */
#include "process/process.h"

#include "loop_test.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct child {
    struct process process;
    int exit_code;
    int signal;
    bool exited;
};

static char dir[] = "/var/tmp/flotilla_process_XXXXXX";

static const char *in_dir(const char *name)
{
    static char path[128];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static void on_exit_of(struct process *process, int exit_code, int signal)
{
    struct child *child = CONTAINER_OF(process, struct child, process);
    assert_false(child->exited);
    child->exited = true;
    child->exit_code = exit_code;
    child->signal = signal;
}

static void spawn_shell(struct loop *loop, struct child *child, const char *script,
                        struct process_spec spec)
{
    const char *const argv[] = {"sh", "-c", script, NULL};
    struct err_note note = {0};
    memset(child, 0, sizeof(*child));
    spec.argv = argv;
    if (process_spawn(&child->process, loop, &spec, on_exit_of, &note) != ERR_OK) {
        fail_msg("%s", note.text);
    }
    assert_true(child->process.pid > 0);
}

/* The file's text, without the last newline. */
static const char *text_of(const char *path)
{
    static char text[4096];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    ssize_t got = read(fd, text, sizeof(text) - 1);
    assert_true(got >= 0);
    assert_int_equal(close(fd), 0);
    text[got] = '\0';
    if (got > 0 && text[got - 1] == '\n') {
        text[got - 1] = '\0';
    }
    return text;
}

static void exit_code_and_signal_are_told(void **state)
{
    (void)state;
    struct loop *loop = test_loop();
    struct child first;
    struct child second;
    spawn_shell(loop, &first, "exit 7", (struct process_spec){0});
    spawn_shell(loop, &second, "kill -TERM $$", (struct process_spec){0});
    LOOP_UNTIL(loop, first.exited && second.exited);
    assert_int_equal(first.exit_code, 7);
    assert_int_equal(first.signal, 0);
    assert_int_equal(second.exit_code, -1);
    assert_int_equal(second.signal, SIGTERM);
    assert_int_equal(loop_active_count(loop), 0);
    loop_free(loop);
}

static void output_is_appended_in_the_given_directory_and_environment(void **state)
{
    (void)state;
    struct loop *loop = test_loop();
    const char *const envp[] = {"PATH=/usr/bin:/bin", "WORD=hello", NULL};
    struct process_spec spec = {.envp = envp, .work_dir = "/", .output_path = in_dir("out")};
    struct child child;
    for (int i = 0; i < 2; i++) {
        spawn_shell(loop, &child, "echo $WORD; pwd >&2; cat", spec);
        LOOP_UNTIL(loop, child.exited);
        assert_int_equal(child.exit_code, 0);
    }
    assert_string_equal(text_of(in_dir("out")), "hello\n/\nhello\n/");
    loop_free(loop);
}

/* The signals of a line "SigBlk: HEX" or the like, but for the two that the C library keeps for
 * itself: what make starts has them ignored, and nobody can change that. */
static uint64_t signals_in(const char *text, const char *line)
{
    const uint64_t internal = UINT64_C(3) << 31; /* signals 32 and 33 */
    const char *at = strstr(text, line);
    assert_non_null(at);
    return strtoull(at + strlen(line), NULL, 16) & ~internal;
}

static void child_has_no_descriptors_and_no_blocked_signals_of_ours(void **state)
{
    (void)state;
    process_signals_block();
    struct loop *loop = test_loop();
    int inherited = fcntl(0, F_DUPFD, 100);
    assert_true(inherited >= 100);
    struct child child;
    spawn_shell(loop, &child, "ls /proc/self/fd; grep -E 'SigBlk|SigIgn' /proc/self/status",
                (struct process_spec){.output_path = in_dir("clean")});
    LOOP_UNTIL(loop, child.exited);
    const char *text = text_of(in_dir("clean"));
    assert_int_equal(signals_in(text, "SigBlk:\t"), 0);
    assert_int_equal(signals_in(text, "SigIgn:\t"), 0);
    assert_null(strstr(text, "\n100\n"));
    assert_int_equal(close(inherited), 0);
    loop_free(loop);
}

static void program_that_is_missing_is_named(void **state)
{
    (void)state;
    struct loop *loop = test_loop();
    struct process process;
    struct err_note note = {0};
    const char *const argv[] = {"/no/such/program", NULL};
    struct process_spec spec = {.argv = argv};
    assert_int_equal(process_spawn(&process, loop, &spec, on_exit_of, &note), ERR_NOT_FOUND);
    assert_non_null(strstr(note.text, "/no/such/program"));
    const char *const here[] = {"/var/tmp", NULL};
    spec.argv = here;
    assert_int_equal(process_spawn(&process, loop, &spec, on_exit_of, &note), ERR_DENIED);
    const char *const fine[] = {"true", NULL};
    spec = (struct process_spec){.argv = fine, .work_dir = "/no/such/dir"};
    assert_int_equal(process_spawn(&process, loop, &spec, on_exit_of, &note), ERR_NOT_FOUND);
    assert_non_null(strstr(note.text, "/no/such/dir"));
    spec = (struct process_spec){.argv = fine, .output_path = "/no/such/dir/out"};
    assert_int_equal(process_spawn(&process, loop, &spec, on_exit_of, &note), ERR_NOT_FOUND);
    assert_non_null(strstr(note.text, "/no/such/dir/out"));
    assert_int_equal(loop_active_count(loop), 0);
    loop_free(loop);
}

static void signals_reach_the_child_and_its_group(void **state)
{
    (void)state;
    struct loop *loop = test_loop();
    struct child child;
    spawn_shell(loop, &child, "exec sleep 1000", (struct process_spec){0});
    process_signal(&child.process, SIGKILL);
    LOOP_UNTIL(loop, child.exited);
    assert_int_equal(child.signal, SIGKILL);
    process_signal(&child.process, SIGKILL); /* after its end: nothing */
    spawn_shell(loop, &child, "sleep 1000 | sleep 1000; exit 3",
                (struct process_spec){.own_group = true, .die_with_parent = true});
    process_signal_group(&child.process, SIGTERM);
    LOOP_UNTIL(loop, child.exited);
    assert_int_equal(child.signal, SIGTERM);
    loop_free(loop);
}

static struct {
    int signal;
    int count;
    bool closed;
} seen;

static void on_signal(struct process_signals *signals, int signal)
{
    (void)signals;
    seen.signal = signal;
    seen.count++;
}

static void on_signals_closed(struct process_signals *signals)
{
    (void)signals;
    seen.closed = true;
}

static void signals_arrive_on_the_loop(void **state)
{
    (void)state;
    process_signals_block();
    struct loop *loop = test_loop();
    struct process_signals signals;
    assert_int_equal(process_signals_start(&signals, loop, on_signal), ERR_OK);
    static const int wanted[] = {SIGTERM, SIGINT, SIGHUP};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(kill(getpid(), wanted[i]), 0);
        LOOP_UNTIL(loop, seen.count == i + 1);
        assert_int_equal(seen.signal, wanted[i]);
    }
    process_signals_stop(&signals, on_signals_closed);
    LOOP_UNTIL(loop, seen.closed);
    assert_int_equal(loop_active_count(loop), 0);
    loop_free(loop);
}

static void random_bytes_differ(void **state)
{
    (void)state;
    uint8_t a[600] = {0};
    uint8_t b[600] = {0};
    process_random(a, sizeof(a));
    process_random(b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
    assert_memory_not_equal(a + 300, a, 300);
}

static void lock_has_one_holder_who_is_named(void **state)
{
    (void)state;
    const char *path = in_dir("lock");
    struct process_lock lock;
    struct process_lock other;
    struct err_note note = {0};
    char pid[24];
    (void)snprintf(pid, sizeof(pid), "%ld", (long)getpid());
    assert_int_equal(process_lock_take(&lock, path, &note), ERR_OK);
    assert_string_equal(text_of(path), pid);
    assert_int_equal(process_lock_take(&other, path, &note), ERR_IN_USE);
    assert_non_null(strstr(note.text, path));
    assert_non_null(strstr(note.text, pid));
    process_lock_release(&other);
    process_lock_release(&lock);
    assert_int_equal(process_lock_take(&other, path, &note), ERR_OK);
    process_lock_release(&other);
    process_lock_release(&other);
    assert_int_equal(process_lock_take(&lock, "/no/such/dir/lock", &note), ERR_NOT_FOUND);
    assert_non_null(strstr(note.text, "/no/such/dir/lock"));
}

static void lock_ends_with_its_process(void **state)
{
    (void)state;
    const char *path = in_dir("lock2");
    pid_t pid = fork();
    if (pid == 0) {
        struct process_lock lock;
        _exit(process_lock_take(&lock, path, NULL) == ERR_OK ? 0 : 1);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    struct process_lock lock;
    assert_int_equal(process_lock_take(&lock, path, NULL), ERR_OK);
    process_lock_release(&lock);
}

static int remove_files(void **state)
{
    (void)state;
    static const char *const names[] = {"out", "clean", "lock", "lock2"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)unlink(in_dir(names[i]));
    }
    return rmdir(dir);
}

int main(void)
{
    test_skip_without_backend();
    if (mkdtemp(dir) == NULL) {
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exit_code_and_signal_are_told),
        cmocka_unit_test(output_is_appended_in_the_given_directory_and_environment),
        cmocka_unit_test(child_has_no_descriptors_and_no_blocked_signals_of_ours),
        cmocka_unit_test(program_that_is_missing_is_named),
        cmocka_unit_test(signals_reach_the_child_and_its_group),
        cmocka_unit_test(signals_arrive_on_the_loop),
        cmocka_unit_test(random_bytes_differ),
        cmocka_unit_test(lock_has_one_holder_who_is_named),
        cmocka_unit_test(lock_ends_with_its_process),
    };
    return cmocka_run_group_tests(tests, NULL, remove_files);
}
