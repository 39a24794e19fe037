/* The command line without a server: help, guesses, exit codes; the table of commands itself. */
#include "test.h"

#include "cli/cli.h"
#include "cli/cli_table.h"

#include <stdio.h>
#include <string.h>

static int run_words(int argc, const char *const *args)
{
    char *argv[16];
    assert_in_range(argc, 1, 15);
    for (int i = 0; i < argc; i++) {
        argv[i] = (char *)(uintptr_t)args[i];
    }
    argv[argc] = NULL;
    return cli_main(argc, argv);
}

#define RUN(...)                                                                                   \
    run_words((int)(sizeof((const char *const[]){"flotilla", __VA_ARGS__}) / sizeof(char *)),      \
              (const char *const[]){"flotilla", __VA_ARGS__})

static void help_is_a_success(void **state)
{
    (void)state;
    assert_int_equal(RUN("help"), CLIENT_OK);
    assert_int_equal(RUN("--help"), CLIENT_OK);
    assert_int_equal(RUN("help", "kv"), CLIENT_OK);
    assert_int_equal(RUN("help", "kv", "get"), CLIENT_OK);
    assert_int_equal(RUN("kv", "put", "--help"), CLIENT_OK);
    assert_int_equal(RUN("server", "--help"), CLIENT_OK);
    assert_int_equal(RUN("dev", "-h"), CLIENT_OK);
    assert_int_equal(RUN("version"), CLIENT_OK);
    assert_int_equal(RUN("--version"), CLIENT_OK);
}

static void a_wrong_command_line_is_told_apart(void **state)
{
    (void)state;
    assert_int_equal(RUN("srever"), CLIENT_USAGE);
    assert_int_equal(RUN("kv"), CLIENT_USAGE);
    assert_int_equal(RUN("kv", "gte", "a"), CLIENT_USAGE);
    assert_int_equal(RUN("kv", "get"), CLIENT_USAGE);
    assert_int_equal(RUN("kv", "get", "a", "b"), CLIENT_USAGE);
    assert_int_equal(RUN("kv", "get", "a", "--jsno"), CLIENT_USAGE);
    assert_int_equal(RUN("kv", "get", "a", "--timeout=0"), CLIENT_USAGE);
    assert_int_equal(RUN("kv", "get", "a", "--addr", "8500"), CLIENT_USAGE);
    assert_int_equal(RUN("kv", "cas", "a", "b"), CLIENT_USAGE);
    assert_int_equal(RUN("route", "add"), CLIENT_USAGE);
    assert_int_equal(RUN("dev", "--nodes", "2"), CLIENT_USAGE);
    assert_int_equal(RUN("dev", "--port-base", "1"), CLIENT_USAGE);
    assert_int_equal(RUN("wal", "dump"), CLIENT_USAGE);
    assert_int_equal(RUN("wal", "dump", "--data", "x", "--from=2", "--to=1"), CLIENT_USAGE);
    assert_int_equal(RUN("snapshot", "inspect"), CLIENT_USAGE);
    assert_int_equal(RUN("snapshot", "inspect", "x", "--prefix", "y"), CLIENT_USAGE);
    assert_int_equal(RUN("server"), CLIENT_USAGE);
    assert_int_equal(RUN("server", "extra", "--data", "/tmp/x"), CLIENT_USAGE);
}

/* Port 1 of loopback: nobody listens there. */
static void a_server_that_does_not_answer_is_told_apart(void **state)
{
    (void)state;
    assert_int_equal(RUN("kv", "get", "a", "--addr", "127.0.0.1:1"), CLIENT_UNREACHABLE);
    assert_int_equal(RUN("status", "--addr=127.0.0.1:1"), CLIENT_UNREACHABLE);
    assert_int_equal(RUN("route", "ls", "--addr=localhost:1", "--json"), CLIENT_UNREACHABLE);
}

static void a_file_that_is_not_there_is_a_failure(void **state)
{
    (void)state;
    assert_int_equal(RUN("wal", "dump", "--data", "/no/such"), CLIENT_FAILED);
    assert_int_equal(RUN("wal", "dump", "--data", "/dev/null", "--json"), CLIENT_FAILED);
    assert_int_equal(RUN("snapshot", "inspect", "/no/such"), CLIENT_FAILED);
    assert_int_equal(RUN("snapshot", "inspect", "/dev/null"), CLIENT_FAILED);
}

static void every_command_has_examples_that_name_it(void **state)
{
    (void)state;
    for (size_t i = 0; i < cli_command_count(); i++) {
        const struct cli_command *command = cli_command_at(i);
        char name[64];
        (void)snprintf(name, sizeof(name), "flotilla %s", command->name);
        assert_non_null(strstr(command->examples, name));
        size_t len = strlen(command->examples);
        assert_int_equal(command->examples[len - 1], '\n');
        assert_true(command->more[0] == '\0' || command->more[strlen(command->more) - 1] == '\n');
        assert_non_null(command->run);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(help_is_a_success),
        cmocka_unit_test(a_wrong_command_line_is_told_apart),
        cmocka_unit_test(a_server_that_does_not_answer_is_told_apart),
        cmocka_unit_test(a_file_that_is_not_there_is_a_failure),
        cmocka_unit_test(every_command_has_examples_that_name_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
