/* The cluster secret: its text, its file, its rotation, the keys made of it. */
#include "secret/secret.h"

#include "test.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];
static char path[96];

static int set_up(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof(dir), "/tmp/test_secret.XXXXXX");
    assert_non_null(mkdtemp(dir));
    (void)snprintf(path, sizeof(path), "%s/secret", dir);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char other[112];
    (void)snprintf(other, sizeof(other), "%s.new", path);
    (void)unlink(path);
    (void)unlink(other);
    return rmdir(dir);
}

static void write_file(const char *text, mode_t mode)
{
    (void)unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    (void)close(fd);
}

static struct secret numbered(uint8_t first)
{
    struct secret secret = {{0}};
    for (int i = 0; i < SECRET_BYTES; i++) {
        secret.bytes[i] = (uint8_t)(first + i);
    }
    return secret;
}

static const char KNOWN[] = "flotilla-secret-1:000102030405060708090a0b0c0d0e0f"
                            "101112131415161718191a1b1c1d1e1f-";

static void a_secret_is_read_as_it_was_written(void **state)
{
    (void)state;
    struct secret secret = numbered(0);
    struct secret back = {{0}};
    struct err_note note = {{0}};
    char text[SECRET_TEXT_MAX];
    secret_format(&secret, text);
    assert_memory_equal(text, KNOWN, sizeof(KNOWN) - 1);
    assert_int_equal(strlen(text), sizeof(KNOWN) - 1 + 8);
    assert_int_equal(secret_parse(bytes_of_str(text), &back, &note), ERR_OK);
    assert_memory_equal(&back, &secret, sizeof(secret));
    struct secret other = {{0}};
    secret_make(&secret);
    secret_make(&other);
    assert_memory_not_equal(&secret, &other, sizeof(secret));
}

/* Each character belongs to the form or is covered by the checksum. */
static void each_changed_character_is_noticed(void **state)
{
    (void)state;
    struct secret secret = numbered(7);
    struct secret back = {{0}};
    char text[SECRET_TEXT_MAX];
    secret_format(&secret, text);
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i++) {
        char was = text[i];
        text[i] = was == '0' ? '1' : '0';
        assert_int_not_equal(secret_parse(bytes_of_str(text), &back, NULL), ERR_OK);
        text[i] = was;
        assert_int_not_equal(secret_parse(bytes_of(text, i), &back, NULL), ERR_OK);
    }
    text[len] = ' ';
    assert_int_not_equal(secret_parse(bytes_of(text, len + 1), &back, NULL), ERR_OK);
}

static void a_pass_phrase_is_refused_with_what_to_do(void **state)
{
    (void)state;
    struct secret back = {{0}};
    struct err_note note = {{0}};
    assert_int_equal(secret_parse(BYTES_LITERAL("correct horse battery"), &back, &note),
                     ERR_BAD_INPUT);
    assert_non_null(strstr(note.text, "flotilla secret new"));
    assert_null(strstr(note.text, "horse"));
    write_file("hunter2\n", 0600);
    struct secret_ring ring = {0};
    assert_int_equal(secret_file_read(path, &ring, &note), ERR_BAD_INPUT);
    assert_non_null(strstr(note.text, path));
    assert_non_null(strstr(note.text, "line 1: this is not a secret of Flotilla"));
}

static void a_file_has_one_or_two_lines(void **state)
{
    (void)state;
    struct secret_ring ring = {.count = 2, .at = {numbered(1), numbered(2)}};
    struct secret_ring back = {0};
    struct err_note note = {{0}};
    assert_int_equal(secret_file_new(path, &ring, &note), ERR_OK);
    assert_int_equal(secret_file_read(path, &back, &note), ERR_OK);
    assert_int_equal(back.count, 2);
    assert_memory_equal(&back, &ring, sizeof(ring));
    assert_int_equal(secret_file_new(path, &ring, &note), ERR_EXISTS);
    ring.count = 1;
    assert_int_equal(secret_file_replace(path, &ring, &note), ERR_OK);
    assert_int_equal(secret_file_read(path, &back, &note), ERR_OK);
    assert_int_equal(back.count, 1);
    struct stat stat_of;
    assert_int_equal(stat(path, &stat_of), 0);
    assert_int_equal(stat_of.st_mode & 07777, 0600);
}

static void what_else_is_in_a_file_is_refused(void **state)
{
    (void)state;
    char one[SECRET_TEXT_MAX];
    char two[SECRET_TEXT_MAX];
    char three[SECRET_TEXT_MAX];
    struct secret secret = numbered(1);
    secret_format(&secret, one);
    secret = numbered(2);
    secret_format(&secret, two);
    secret = numbered(3);
    secret_format(&secret, three);
    char text[4 * SECRET_TEXT_MAX];
    char many[2000];
    memset(many, '\n', sizeof(many) - 1);
    many[sizeof(many) - 1] = '\0';

    const struct {
        const char *format;
        const char *says;
    } bad[] = {
        {"", "it is empty"},
        {"%s\n%s\n%s\n", "more than two lines"},
        {"%s\n\n%s\n", "line 2: this is not a secret"},
        {"# mine\n%s\n", "line 1: this is not a secret"},
        {"%s \n", "line 1: the secret is cut or changed"},
    };
    struct secret_ring ring = {0};
    struct err_note note = {{0}};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        (void)snprintf(text, sizeof(text), bad[i].format, one, two, three);
#pragma GCC diagnostic pop
        write_file(text, 0600);
        assert_int_equal(secret_file_read(path, &ring, &note), ERR_BAD_INPUT);
        if (strstr(note.text, bad[i].says) == NULL) {
            fail_msg("\"%s\" does not say \"%s\"", note.text, bad[i].says);
        }
        assert_null(strstr(note.text, "0102"));
    }
    (void)snprintf(text, sizeof(text), "%s\n%s\n", one, one);
    write_file(text, 0600);
    assert_int_equal(secret_file_read(path, &ring, &note), ERR_BAD_INPUT);
    write_file(many, 0600);
    assert_int_equal(secret_file_read(path, &ring, &note), ERR_BAD_INPUT);
    (void)snprintf(text, sizeof(text), "%s", one); /* a line's end may be missing */
    write_file(text, 0600);
    assert_int_equal(secret_file_read(path, &ring, &note), ERR_OK);
    assert_int_equal(ring.count, 1);
}

static void a_file_that_others_can_read_is_refused(void **state)
{
    (void)state;
    static const mode_t BAD[] = {0644, 0640, 0660, 0604, 0602, 0700, 0610};
    char text[SECRET_TEXT_MAX];
    struct secret secret = numbered(1);
    struct secret_ring ring = {0};
    struct err_note note = {{0}};
    secret_format(&secret, text);
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        write_file(text, BAD[i]);
        assert_int_equal(secret_file_read(path, &ring, &note), ERR_DENIED);
        assert_non_null(strstr(note.text, "chmod 600"));
    }
    write_file(text, 0400);
    assert_int_equal(secret_file_read(path, &ring, &note), ERR_OK);
    assert_int_equal(secret_file_read(dir, &ring, &note), ERR_DENIED);
    assert_non_null(strstr(note.text, "not a plain file"));
    if (geteuid() == 0) {
        write_file(text, 0600);
        assert_int_equal(chown(path, 12345, 0), 0);
        assert_int_equal(secret_file_read(path, &ring, &note), ERR_DENIED);
        assert_non_null(strstr(note.text, "belongs to user 12345"));
    }
    (void)unlink(path);
    assert_int_equal(secret_file_read(path, &ring, &note), ERR_NOT_FOUND);
}

static void a_rotation_has_three_steps(void **state)
{
    (void)state;
    struct secret_ring ring = {.count = 1, .at = {numbered(1)}};
    const struct secret old = numbered(1);
    struct err_note note = {{0}};
    assert_int_equal(secret_rotate(&ring, SECRET_SWITCH, &note), ERR_CONFLICT);
    assert_int_equal(secret_rotate(&ring, SECRET_DROP, &note), ERR_CONFLICT);
    assert_int_equal(secret_rotate(&ring, SECRET_ADD, &note), ERR_OK);
    assert_int_equal(ring.count, 2);
    assert_memory_equal(&ring.at[0], &old, sizeof(old));
    const struct secret next = ring.at[1];
    assert_memory_not_equal(&next, &old, sizeof(old));
    assert_int_equal(secret_rotate(&ring, SECRET_ADD, &note), ERR_CONFLICT);
    assert_int_equal(secret_rotate(&ring, SECRET_SWITCH, &note), ERR_OK);
    assert_memory_equal(&ring.at[0], &next, sizeof(old));
    assert_memory_equal(&ring.at[1], &old, sizeof(old));
    assert_int_equal(secret_rotate(&ring, SECRET_DROP, &note), ERR_OK);
    assert_int_equal(ring.count, 1);
    assert_memory_equal(&ring.at[0], &next, sizeof(old));
}

/* Compared with another implementation: Python's hmac, RFC 5869 by hand. */
static void each_label_gives_another_key(void **state)
{
    (void)state;
    struct secret secret = numbered(0);
    uint8_t a[32];
    uint8_t b[32];
    secret_derive(&secret, "flotilla test", a, sizeof(a));
    static const uint8_t EXPECTED[32] = {0x36, 0x76, 0xe8, 0x02, 0x4c, 0xba, 0x3b, 0x41,
                                         0xb3, 0xfd, 0x10, 0x19, 0xfc, 0xb1, 0x48, 0x64,
                                         0xa3, 0x67, 0x1f, 0xf3, 0x1b, 0x89, 0x95, 0xf2,
                                         0x9c, 0x8c, 0xd2, 0x3e, 0x9a, 0xd8, 0x93, 0x7d};
    assert_memory_equal(a, EXPECTED, sizeof(a));
    secret_derive(&secret, "flotilla test 2", b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
}

#define SECRET_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SECRET_TEST(a_secret_is_read_as_it_was_written),
        SECRET_TEST(each_changed_character_is_noticed),
        SECRET_TEST(a_pass_phrase_is_refused_with_what_to_do),
        SECRET_TEST(a_file_has_one_or_two_lines),
        SECRET_TEST(what_else_is_in_a_file_is_refused),
        SECRET_TEST(a_file_that_others_can_read_is_refused),
        SECRET_TEST(a_rotation_has_three_steps),
        SECRET_TEST(each_label_gives_another_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
