/* Tests of base/log: the line's form, quoting, levels, threads. */
#include "log/log.h"

#include "death.h"
#include "test.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const symbols[LOG_ID_COUNT] = {
#define X(id, name, level, sentence) #id,
    LOG_EVENTS(X)
#undef X
};

static FILE *file;

static int open_log(void **state)
{
    (void)state;
    file = tmpfile();
    assert_non_null(file);
    log_init(fileno(file), LOG_LEVEL_INFO);
    return 0;
}

static int close_log(void **state)
{
    (void)state;
    log_init(STDERR_FILENO, LOG_LEVEL_INFO);
    return fclose(file);
}

/* Everything written since the test began; valid until the next call. */
static const char *written(void)
{
    static char text[1 << 20];
    ssize_t got = pread(fileno(file), text, sizeof(text) - 1, 0);
    assert_true(got >= 0);
    text[got] = '\0';
    return text;
}

/* What follows the stamp of the only line. */
static const char *only_line(void)
{
    const char *text = written();
    assert_true(strlen(text) > 25);
    return text + 25;
}

static void a_line_is_stamp_level_event_and_fields(void **state)
{
    (void)state;
    log_event(LOG_PEER_UP, "node=%d address=%s", 2, "127.0.0.1:8300");
    regex_t form;
    assert_int_equal(regcomp(&form,
                             "^20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-5][0-9]"
                             "\\.[0-9]{3}Z INFO peer_up node=2 address=127\\.0\\.0\\.1:8300\n$",
                             REG_EXTENDED | REG_NOSUB),
                     0);
    assert_int_equal(regexec(&form, written(), 0, NULL, 0), 0);
    regfree(&form);
}

static void an_event_may_have_no_fields(void **state)
{
    (void)state;
    log_event_bare(LOG_NODE_STOPPING);
    assert_string_equal(only_line(), "INFO node_stopping\n");
}

static void the_level_comes_from_the_table(void **state)
{
    (void)state;
    log_event(LOG_DISK_FULL, "path=%s", "/d");
    assert_string_equal(only_line(), "ERROR disk_full path=/d\n");
}

static void values_with_spaces_or_nothing_are_quoted(void **state)
{
    (void)state;
    log_event(LOG_PEER_DOWN, "a=%s b=%s c=%s d=%d", "two words", "", "x=y", 5);
    assert_string_equal(only_line(), "WARN peer_down a=\"two words\" b=\"\" c=\"x=y\" d=5\n");
}

static void quotes_and_controls_are_escaped(void **state)
{
    (void)state;
    log_event(LOG_PEER_DOWN, "a=%s b=%s", "say \"hi\"\\", "line\nforged=1\x7f");
    assert_string_equal(only_line(), "WARN peer_down a=\"say \\\"hi\\\"\\\\\" "
                                     "b=\"line\\x0aforged=1\\x7f\"\n");
}

static void a_value_cannot_forge_a_field(void **state)
{
    (void)state;
    log_event(LOG_CLIENT_REFUSED, "name=%s node=%d", "x node=9", 1);
    assert_string_equal(only_line(), "WARN client_refused name=\"x node=9\" node=1\n");
}

static void text_beyond_ascii_passes(void **state)
{
    (void)state;
    log_event(LOG_PEER_DOWN, "a=%s", "\xe4\xb8\xad");
    assert_string_equal(only_line(), "WARN peer_down a=\xe4\xb8\xad\n");
}

static void a_field_may_mix_text_and_conversions(void **state)
{
    (void)state;
    struct bytes host = BYTES_LITERAL("hosts");
    host.len = 4;
    log_event(LOG_DOOR_LISTENING, "address=%.*s:%u share=%u%% fixed=yes", BYTES_PRINT(host), 80u,
              50u);
    assert_string_equal(only_line(), "INFO door_listening address=host:80 share=50% fixed=yes\n");
}

static void a_long_line_is_cut_inside_its_limit(void **state)
{
    (void)state;
    for (size_t len = LOG_LINE_MAX - 100; len < LOG_LINE_MAX + 10; len++) {
        assert_int_equal(ftruncate(fileno(file), 0), 0);
        assert_int_equal(lseek(fileno(file), 0, SEEK_SET), 0);
        char value[LOG_LINE_MAX + 10];
        memset(value, 'x', len);
        value[len] = '\0';
        bool quoted = len % 2 == 0;
        value[0] = quoted ? ' ' : 'x';
        log_event(LOG_PEER_DOWN, "value=%s next=%d", value, 1);
        const char *line = written();
        size_t line_len = strlen(line);
        assert_true(line_len <= LOG_LINE_MAX);
        assert_ptr_equal(strchr(line, '\n'), line + line_len - 1);
        const char *end = strstr(line, " next=1\n");
        if (end == NULL) {
            end = strstr(line, "...");
            assert_non_null(end);
        }
        size_t quotes = 0;
        for (const char *c = line; *c != '\0'; c++) {
            quotes += *c == '"';
        }
        assert_int_equal(quotes, quoted ? 2 : 0);
    }
}

static void events_below_the_least_level_are_not_written(void **state)
{
    (void)state;
    log_init(fileno(file), LOG_LEVEL_ERROR);
    log_event(LOG_PEER_UP, "node=%d", 1);
    log_event(LOG_PEER_DOWN, "node=%d", 1);
    log_event_bare(LOG_NODE_STOPPING);
    assert_string_equal(written(), "");
    assert_false(log_writes(LOG_LEVEL_WARN));
    assert_true(log_writes(LOG_LEVEL_ERROR));
    log_event(LOG_WAL_FAILED, "node=%d", 1);
    assert_string_equal(only_line(), "ERROR wal_failed node=1\n");
}

static void logging_keeps_errno(void **state)
{
    (void)state;
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    close(ends[1]);
    log_init(ends[0], LOG_LEVEL_INFO); /* not open for writing */
    errno = ENOENT;
    log_event(LOG_PEER_UP, "node=%d", 1);
    assert_int_equal(errno, ENOENT);
    log_event_bare(LOG_NODE_STOPPING);
    assert_int_equal(errno, ENOENT);
    close(ends[0]);
}

enum {
    THREADS = 4,
    LINES = 500
};

static void *log_lines(void *argument)
{
    const char *name = argument;
    for (int i = 0; i < LINES; i++) {
        log_event(LOG_PEER_UP, "thread=%s line=%d", name, i);
    }
    return NULL;
}

static void lines_of_several_threads_do_not_mix(void **state)
{
    (void)state;
    char path[] = "/tmp/test_base_log_XXXXXX";
    int fd = mkostemp(path, O_APPEND);
    assert_true(fd >= 0);
    log_init(fd, LOG_LEVEL_INFO);
    static char names[THREADS][2] = {"a", "b", "c", "d"};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, log_lines, names[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    FILE *in = fdopen(fd, "r");
    assert_non_null(in);
    rewind(in);
    int next[THREADS] = {0};
    char line[200];
    while (fgets(line, sizeof(line), in) != NULL) {
        char name = '?';
        int number = -1;
        assert_int_equal(sscanf(line + 25, "INFO peer_up thread=%c line=%d", &name, &number), 2);
        assert_in_range(name, 'a', 'd');
        assert_int_equal(number, next[name - 'a']++);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(next[i], LINES);
    }
    assert_int_equal(fclose(in), 0);
    assert_int_equal(unlink(path), 0);
}

static void event_names_are_their_ids_in_lower_case(void **state)
{
    (void)state;
    for (unsigned id = 0; id < LOG_ID_COUNT; id++) {
        char expected[64];
        size_t at = 0;
        for (const char *c = symbols[id] + strlen("LOG_"); *c != '\0'; c++) {
            expected[at++] = (char)tolower(*c);
        }
        expected[at] = '\0';
        assert_string_equal(log_event_name((enum log_id)id), expected);
        const char *text = log_event_text((enum log_id)id);
        assert_true(isupper(text[0]) && text[strlen(text) - 1] == '.');
        assert_true((unsigned)log_event_level((enum log_id)id) < LOG_LEVEL_COUNT);
    }
}

static void levels_are_parsed_without_case(void **state)
{
    (void)state;
    for (unsigned i = 0; i < LOG_LEVEL_COUNT; i++) {
        enum log_level level = LOG_LEVEL_COUNT;
        const char *name = log_level_name((enum log_level)i);
        assert_int_equal(log_level_parse(bytes_of_str(name), &level), ERR_OK);
        assert_int_equal(level, i);
    }
    enum log_level level = LOG_LEVEL_DEBUG;
    assert_int_equal(log_level_parse(BYTES_LITERAL("Warn"), &level), ERR_OK);
    assert_int_equal(level, LOG_LEVEL_WARN);
    assert_int_equal(log_level_parse(BYTES_LITERAL("warning"), &level), ERR_BAD_INPUT);
    assert_int_equal(log_level_parse(BYTES_LITERAL(""), &level), ERR_BAD_INPUT);
    assert_int_equal(level, LOG_LEVEL_WARN);
}

int main(void)
{
#define LOG_TEST(name) cmocka_unit_test_setup_teardown(name, open_log, close_log)
    const struct CMUnitTest tests[] = {
        LOG_TEST(a_line_is_stamp_level_event_and_fields),
        LOG_TEST(an_event_may_have_no_fields),
        LOG_TEST(the_level_comes_from_the_table),
        LOG_TEST(values_with_spaces_or_nothing_are_quoted),
        LOG_TEST(quotes_and_controls_are_escaped),
        LOG_TEST(a_value_cannot_forge_a_field),
        LOG_TEST(text_beyond_ascii_passes),
        LOG_TEST(a_field_may_mix_text_and_conversions),
        LOG_TEST(a_long_line_is_cut_inside_its_limit),
        LOG_TEST(events_below_the_least_level_are_not_written),
        LOG_TEST(logging_keeps_errno),
        LOG_TEST(lines_of_several_threads_do_not_mix),
        cmocka_unit_test(event_names_are_their_ids_in_lower_case),
        cmocka_unit_test(levels_are_parsed_without_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
