/* The loop: turns, timers, deferred calls, hooks, watches, inboxes, wake-ups. */
#include "loop/loop.h"

#include "loop/inbox.h"
#include "loop_test.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- timers --- */

enum {
    TIMERS = 200
};

static struct {
    struct loop *loop;
    struct loop_timer timers[TIMERS];
    int fired[TIMERS];
    int count;
} timers;

static void note_timer(struct loop_timer *timer)
{
    timers.fired[timers.count++] = (int)(timer - timers.timers);
}

static void timers_fire_in_order_of_time_then_of_setting(void **state)
{
    (void)state;
    struct loop *loop = test_loop();
    timers.count = 0;
    memset(timers.timers, 0, sizeof(timers.timers));
    clk_ns start = loop_now(loop);
    for (int i = 0; i < TIMERS; i++) {
        clk_ns at = start + CLK_MS(1) * (clk_ns)(1 + i * 7 % 5);
        loop_timer_set(loop, &timers.timers[i], at, note_timer);
    }
    LOOP_UNTIL(loop, timers.count == TIMERS);
    assert_true(loop_now(loop) >= start + CLK_MS(5));
    for (int i = 1; i < TIMERS; i++) {
        int before = timers.fired[i - 1];
        int after = timers.fired[i];
        int slot_before = before * 7 % 5;
        int slot_after = after * 7 % 5;
        assert_true(slot_before < slot_after || (slot_before == slot_after && before < after));
    }
    loop_free(loop);
}

static void cancel_next(struct loop_timer *timer)
{
    note_timer(timer);
    loop_timer_cancel(timers.loop, timer + 1);
}

static void cancelled_timer_does_not_fire(void **state)
{
    (void)state;
    struct loop *loop = test_loop();
    timers.loop = loop;
    timers.count = 0;
    memset(timers.timers, 0, sizeof(timers.timers));
    for (int i = 0; i < 4; i++) {
        loop_timer_set(loop, &timers.timers[i], loop_now(loop) + CLK_MS(1), cancel_next);
    }
    assert_true(loop_timer_is_set(&timers.timers[3]));
    loop_timer_cancel(loop, &timers.timers[3]);
    loop_timer_cancel(loop, &timers.timers[3]);
    LOOP_UNTIL(loop, timers.count == 2);
    loop_turn(loop, CLK_MS(5));
    assert_int_equal(timers.count, 2);
    assert_int_equal(timers.fired[0], 0);
    assert_int_equal(timers.fired[1], 2);
    loop_free(loop);
}

static void set_again(struct loop_timer *timer)
{
    timers.count++;
    loop_timer_set(timers.loop, timer, 0, set_again);
}

static void timer_set_in_the_past_by_a_timer_waits_for_the_next_turn(void **state)
{
    (void)state;
    struct loop *loop = test_loop();
    timers.loop = loop;
    timers.count = 0;
    memset(timers.timers, 0, sizeof(timers.timers));
    loop_timer_set(loop, &timers.timers[0], 0, set_again);
    for (int i = 1; i <= 3; i++) {
        loop_turn(loop, CLK_NEVER);
        assert_int_equal(timers.count, i);
    }
    loop_timer_cancel(loop, &timers.timers[0]);
    loop_free(loop);
}

static void turn_waits_no_longer_than_asked(void **state)
{
    (void)state;
    struct loop *loop = test_loop();
    timers.count = 0;
    memset(timers.timers, 0, sizeof(timers.timers));
    loop_timer_set(loop, &timers.timers[0], loop_now(loop) + CLK_S(1000), note_timer);
    clk_ns start = loop_now(loop);
    loop_turn(loop, CLK_MS(3));
    assert_true(loop_now(loop) - start >= CLK_MS(3));
    assert_true(loop_now(loop) - start < CLK_S(20));
    loop_timer_cancel(loop, &timers.timers[0]);
    loop_free(loop);
}

static void wall_clock_is_read_anew_each_turn(void **state)
{
    (void)state;
    struct loop *loop = test_loop();
    clk_ms first = loop_wall_ms(loop);
    assert_true(first > 1700000000000u);
    assert_true(loop_wall_ms(loop) == first);
    loop_turn(loop, CLK_MS(3));
    assert_true(loop_wall_ms(loop) > first);
    loop_free(loop);
}

/* --- deferred calls and hooks --- */

static struct {
    struct loop *loop;
    struct loop_call call;
    struct loop_call other;
    struct loop_hook hooks[2];
    int calls;
    int turns[2];
    char trace[64];
} calls;

static void trace(char letter)
{
    size_t len = strlen(calls.trace);
    if (len + 1 < sizeof(calls.trace)) {
        calls.trace[len] = letter;
    }
}

static void note_call(struct loop_call *call)
{
    (void)call;
    calls.calls++;
    trace('c');
}

static void defer_other(struct loop_call *call)
{
    (void)call;
    trace('d');
    loop_defer(calls.loop, &calls.other, note_call);
}

static void timer_trace(struct loop_timer *timer)
{
    (void)timer;
    trace('t');
    loop_defer(calls.loop, &calls.call, defer_other);
}

static void hook_trace(struct loop_hook *hook)
{
    calls.turns[hook - calls.hooks]++;
    trace('h');
}

static void hook_removes_both(struct loop_hook *hook)
{
    hook_trace(hook);
    loop_hook_remove(&calls.hooks[0]);
    loop_hook_remove(&calls.hooks[1]);
}

static void deferred_call_runs_once_however_often_deferred(void **state)
{
    (void)state;
    memset(&calls, 0, sizeof(calls));
    struct loop *loop = test_loop();
    loop_defer(loop, &calls.call, note_call);
    loop_defer(loop, &calls.call, note_call);
    assert_int_equal(calls.calls, 0);
    loop_turn(loop, CLK_NEVER);
    assert_int_equal(calls.calls, 1);
    loop_turn(loop, 0);
    assert_int_equal(calls.calls, 1);
    loop_defer(loop, &calls.call, note_call);
    loop_call_cancel(&calls.call);
    loop_turn(loop, 0);
    assert_int_equal(calls.calls, 1);
    loop_free(loop);
}

static void turn_runs_timers_then_calls_then_hooks(void **state)
{
    (void)state;
    memset(&calls, 0, sizeof(calls));
    struct loop *loop = test_loop();
    calls.loop = loop;
    struct loop_timer timer = {0};
    loop_hook_add(loop, &calls.hooks[0], hook_trace);
    loop_timer_set(loop, &timer, 0, timer_trace);
    loop_turn(loop, CLK_NEVER);
    assert_string_equal(calls.trace, "tdch");
    loop_hook_remove(&calls.hooks[0]);
    loop_turn(loop, 0);
    assert_string_equal(calls.trace, "tdch");
    loop_free(loop);
}

static void hook_may_remove_hooks(void **state)
{
    (void)state;
    memset(&calls, 0, sizeof(calls));
    struct loop *loop = test_loop();
    loop_hook_add(loop, &calls.hooks[0], hook_removes_both);
    loop_hook_add(loop, &calls.hooks[1], hook_removes_both);
    loop_turn(loop, 0);
    loop_turn(loop, 0);
    assert_int_equal(calls.turns[0], 1);
    assert_int_equal(calls.turns[1], 0);
    loop_free(loop);
}

static void defer_for_ever(struct loop_call *call)
{
    calls.calls++;
    loop_defer(calls.loop, call, defer_for_ever);
}

static void calls_that_defer_themselves_do_not_hold_up_the_turn(void **state)
{
    (void)state;
    memset(&calls, 0, sizeof(calls));
    struct loop *loop = test_loop();
    calls.loop = loop;
    loop_defer(loop, &calls.call, defer_for_ever);
    loop_turn(loop, CLK_NEVER);
    assert_true(calls.calls >= 1 && calls.calls < 100);
    loop_call_cancel(&calls.call);
    loop_free(loop);
}

/* --- watches --- */

struct watched {
    struct loop_watch watch;
    int fd;
    int ready;
    enum err last;
    bool ended;
};

static void on_watched(struct loop_watch *watch, enum err err)
{
    struct watched *w = CONTAINER_OF(watch, struct watched, watch);
    assert_false(w->ended);
    if (err == ERR_OK) {
        uint64_t value;
        assert_int_equal(read(w->fd, &value, sizeof(value)), sizeof(value));
        assert_true(read(w->fd, &value, sizeof(value)) < 0 && errno == EAGAIN);
        w->ready++;
    } else {
        w->last = err;
        w->ended = true;
    }
}

static void watch_reports_each_readiness_and_its_end(void **state)
{
    (void)state;
    struct loop *loop = test_loop();
    struct watched w = {.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    assert_true(w.fd >= 0);
    loop_watch_start(loop, &w.watch, w.fd, on_watched);
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(eventfd_write(w.fd, 1), 0);
        LOOP_UNTIL(loop, w.ready == i);
    }
    assert_int_equal(loop_active_count(loop), 1);
    loop_watch_stop(&w.watch);
    assert_false(w.ended);
    LOOP_UNTIL(loop, w.ended);
    assert_int_equal(w.last, ERR_CANCELED);
    assert_int_equal(w.ready, 3);
    assert_int_equal(loop_active_count(loop), 0);
    assert_int_equal(close(w.fd), 0);
    loop_free(loop);
}

static void watch_stopped_before_the_first_turn_ends_cancelled(void **state)
{
    (void)state;
    struct loop *loop = test_loop();
    struct watched w = {.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    loop_watch_start(loop, &w.watch, w.fd, on_watched);
    loop_watch_stop(&w.watch);
    LOOP_UNTIL(loop, w.ended);
    assert_int_equal(w.last, ERR_CANCELED);
    assert_int_equal(close(w.fd), 0);
    loop_free(loop);
}

static void watching_a_descriptor_that_is_not_open_fails(void **state)
{
    (void)state;
    struct loop *loop = test_loop();
    struct watched w = {.fd = 1000000};
    loop_watch_start(loop, &w.watch, w.fd, on_watched);
    LOOP_UNTIL(loop, w.ended);
    assert_int_not_equal(w.last, ERR_OK);
    assert_int_not_equal(w.last, ERR_CANCELED);
    assert_int_equal(loop_active_count(loop), 0);
    loop_free(loop);
}

/* --- inboxes and wake-ups --- */

enum {
    STORM_ITEMS = 50000
};

struct storm {
    struct loop_inbox inbox;
    pthread_t thread;
    uintptr_t expected;
    uint64_t batches;
};

static void on_storm(struct loop_inbox *inbox)
{
    struct storm *storm = CONTAINER_OF(inbox, struct storm, inbox);
    storm->batches++;
    void *item;
    while ((item = inbox_pop(inbox)) != NULL) {
        storm->expected++;
        assert_int_equal((uintptr_t)item, storm->expected);
    }
}

static void *storm_main(void *arg)
{
    struct storm *storm = arg;
    for (uintptr_t i = 1; i <= STORM_ITEMS; i++) {
        while (inbox_push(&storm->inbox, (void *)i) != ERR_OK) {
            inbox_wake(&storm->inbox);
            (void)sched_yield();
        }
        inbox_wake(&storm->inbox);
    }
    return NULL;
}

static void two_threads_storm_the_loop_and_nothing_is_lost(void **state)
{
    (void)state;
    struct loop *loop = test_loop();
    static struct storm storms[2];
    memset(storms, 0, sizeof(storms));
    for (int i = 0; i < 2; i++) {
        inbox_init(&storms[i].inbox, loop, 64, on_storm);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&storms[i].thread, NULL, storm_main, &storms[i]), 0);
    }
    LOOP_UNTIL(loop, storms[0].expected == STORM_ITEMS && storms[1].expected == STORM_ITEMS);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(storms[i].thread, NULL), 0);
        inbox_done(&storms[i].inbox);
    }
    struct loop_stats stats = loop_stats(loop);
    assert_true(stats.wakes_written <= stats.turns);
    loop_free(loop);
}

static void wake_of_an_awake_loop_writes_nothing(void **state)
{
    (void)state;
    struct loop *loop = test_loop();
    for (int i = 0; i < 10; i++) {
        loop_wake(loop);
    }
    loop_turn(loop, CLK_NEVER);
    assert_int_equal(loop_stats(loop).wakes_written, 0);
    loop_free(loop);
}

static int pops_left;

static void pop_one(struct loop_inbox *inbox)
{
    if (inbox_pop(inbox) != NULL) {
        pops_left--;
    }
}

static void items_left_in_an_inbox_are_offered_again(void **state)
{
    (void)state;
    struct loop *loop = test_loop();
    struct loop_inbox inbox;
    int item = 0;
    inbox_init(&inbox, loop, 4, pop_one);
    pops_left = 4;
    for (int i = 0; i < 4; i++) {
        assert_int_equal(inbox_push(&inbox, &item), ERR_OK);
    }
    assert_int_equal(inbox_push(&inbox, &item), ERR_FULL);
    assert_int_equal(inbox_room(&inbox), 0);
    inbox_wake(&inbox);
    for (int i = 0; i < 4; i++) {
        loop_turn(loop, CLK_NEVER);
    }
    assert_int_equal(pops_left, 0);
    inbox_done(&inbox);
    loop_free(loop);
}

static void *stop_main(void *arg)
{
    loop_stop(arg);
    return NULL;
}

static void stop_from_another_thread_ends_the_run(void **state)
{
    (void)state;
    struct loop *loop = test_loop();
    pthread_t thread;
    for (int i = 0; i < 20; i++) {
        assert_int_equal(pthread_create(&thread, NULL, stop_main, loop), 0);
        loop_run(loop);
        assert_int_equal(pthread_join(thread, NULL), 0);
    }
    loop_free(loop);
}

static void *run_main(void *arg)
{
    loop_run(arg);
    return NULL;
}

static void stop_the_loop(struct loop_call *call)
{
    (void)call;
    loop_stop(calls.loop);
}

static void loop_made_by_one_thread_runs_on_another(void **state)
{
    (void)state;
    memset(&calls, 0, sizeof(calls));
    calls.loop = test_loop();
    loop_defer(calls.loop, &calls.call, stop_the_loop);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, run_main, calls.loop), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    loop_free(calls.loop);
}

static void backend_names_are_parsed(void **state)
{
    (void)state;
    enum loop_backend backend = LOOP_BACKEND_EPOLL;
    assert_int_equal(loop_backend_parse(BYTES_LITERAL("auto"), &backend), ERR_OK);
    assert_int_equal(backend, LOOP_BACKEND_AUTO);
    assert_int_equal(loop_backend_parse(BYTES_LITERAL("io_uring"), &backend), ERR_OK);
    assert_int_equal(backend, LOOP_BACKEND_URING);
    assert_int_equal(loop_backend_parse(BYTES_LITERAL("epoll"), &backend), ERR_OK);
    assert_int_equal(backend, LOOP_BACKEND_EPOLL);
    assert_int_equal(loop_backend_parse(BYTES_LITERAL("kqueue"), &backend), ERR_BAD_INPUT);
    struct loop *loop = test_loop();
    const char *name = test_backend() == LOOP_BACKEND_URING ? "io_uring" : "epoll";
    assert_string_equal(loop_backend_name(loop), name);
    loop_free(loop);
}

/* --- where io_uring is forbidden --- */

/* As container runtimes do it: the system call answers EPERM. */
static void forbid_uring(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        _exit(3);
    }
}

/* In the child: 0 when all is as it should be. */
static int try_without_uring(void)
{
    forbid_uring();
    struct loop *loop = NULL;
    struct err_note note = {0};
    struct loop_config config = {.backend = LOOP_BACKEND_URING};
    if (loop_new(&config, &loop, &note) != ERR_UNSUPPORTED ||
        strstr(note.text, "Operation not permitted") == NULL) {
        return 1;
    }
    config.backend = LOOP_BACKEND_AUTO;
    if (loop_new(&config, &loop, &note) != ERR_OK ||
        strcmp(loop_backend_name(loop), "epoll") != 0) {
        return 2;
    }
    loop_turn(loop, 0);
    loop_free(loop);
    return 0;
}

static void auto_is_epoll_where_io_uring_is_forbidden(void **state)
{
    (void)state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        _exit(try_without_uring());
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
    test_skip_without_backend();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_fire_in_order_of_time_then_of_setting),
        cmocka_unit_test(cancelled_timer_does_not_fire),
        cmocka_unit_test(timer_set_in_the_past_by_a_timer_waits_for_the_next_turn),
        cmocka_unit_test(turn_waits_no_longer_than_asked),
        cmocka_unit_test(wall_clock_is_read_anew_each_turn),
        cmocka_unit_test(deferred_call_runs_once_however_often_deferred),
        cmocka_unit_test(turn_runs_timers_then_calls_then_hooks),
        cmocka_unit_test(hook_may_remove_hooks),
        cmocka_unit_test(calls_that_defer_themselves_do_not_hold_up_the_turn),
        cmocka_unit_test(watch_reports_each_readiness_and_its_end),
        cmocka_unit_test(watch_stopped_before_the_first_turn_ends_cancelled),
        cmocka_unit_test(watching_a_descriptor_that_is_not_open_fails),
        cmocka_unit_test(two_threads_storm_the_loop_and_nothing_is_lost),
        cmocka_unit_test(wake_of_an_awake_loop_writes_nothing),
        cmocka_unit_test(items_left_in_an_inbox_are_offered_again),
        cmocka_unit_test(stop_from_another_thread_ends_the_run),
        cmocka_unit_test(loop_made_by_one_thread_runs_on_another),
        cmocka_unit_test(backend_names_are_parsed),
        cmocka_unit_test(auto_is_epoll_where_io_uring_is_forbidden),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
