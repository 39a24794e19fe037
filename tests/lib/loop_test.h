/* For tests on a loop: the backend comes from the environment, so that every test runs on both.
 *
 * FLOTILLA_TEST_LOOP is "uring" or "epoll" (meson sets it). Where io_uring is forbidden its run
 * exits with 77, which meson counts as skipped. */
#ifndef LOOP_TEST_H
#define LOOP_TEST_H

#include "loop/loop.h"
#include "test.h"

#include <stdio.h>
#include <stdlib.h>

static inline enum loop_backend test_backend(void)
{
    const char *name = getenv("FLOTILLA_TEST_LOOP");
    enum loop_backend backend = LOOP_BACKEND_EPOLL;
    if (name != NULL && loop_backend_parse(bytes_of_str(name), &backend) != ERR_OK) {
        (void)fprintf(stderr, "FLOTILLA_TEST_LOOP: unknown backend %s\n", name);
        exit(1);
    }
    return backend;
}

/* First in main. */
static inline void test_skip_without_backend(void)
{
    struct loop_config config = {.backend = test_backend()};
    struct loop *loop = NULL;
    struct err_note note = {0};
    enum err err = loop_new(&config, &loop, &note);
    if (err == ERR_UNSUPPORTED) {
        (void)fprintf(stderr, "skipped: %s\n", note.text);
        exit(77);
    }
    if (err != ERR_OK) {
        (void)fprintf(stderr, "%s\n", note.text);
        exit(1);
    }
    loop_free(loop);
}

static inline struct loop *test_loop_with(uint32_t chunks, uint32_t chunk_size)
{
    struct loop_config config = {
        .backend = test_backend(), .seed = 1, .recv_chunks = chunks, .recv_chunk_size = chunk_size};
    struct loop *loop = NULL;
    struct err_note note = {0};
    enum err err = loop_new(&config, &loop, &note);
    if (err != ERR_OK) {
        fail_msg("%s", note.text);
    }
    return loop;
}

static inline struct loop *test_loop(void)
{
    return test_loop_with(0, 0);
}

/* Turns until the condition holds; fails after 20 s (sanitizers on a loaded machine are slow). */
#define LOOP_UNTIL(loop, condition)                                                                \
    do {                                                                                           \
        loop_turn((loop), 0);                                                                      \
        clk_ns loop_until_end = loop_now(loop) + CLK_S(20);                                        \
        while (!(condition)) {                                                                     \
            loop_turn((loop), CLK_MS(20));                                                         \
            if (loop_now(loop) > loop_until_end) {                                                 \
                fail_msg("never came: %s", #condition);                                            \
            }                                                                                      \
        }                                                                                          \
    } while (0)

#endif
