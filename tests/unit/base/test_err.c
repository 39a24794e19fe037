/* Tests of base/err: the table of codes, the errno mapping, notes. */
#include "err/err.h"

#include "test.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char *const symbols[ERR_COUNT] = {
#define X(name, reason, sentence, retryable) #name,
    ERR_CODES(X)
#undef X
};

static void reason_is_the_symbol_without_prefix_in_lower_case(void **state)
{
    (void)state;
    for (unsigned code = 0; code < ERR_COUNT; code++) {
        char expected[64];
        size_t at = 0;
        for (const char *c = symbols[code] + strlen("ERR_"); *c != '\0'; c++) {
            expected[at++] = (char)tolower(*c);
        }
        expected[at] = '\0';
        assert_string_equal(err_name((enum err)code), expected);
    }
}

static void every_code_has_a_sentence_of_its_own(void **state)
{
    (void)state;
    for (unsigned a = 0; a < ERR_COUNT; a++) {
        assert_true(strlen(err_text((enum err)a)) > 0);
        for (unsigned b = 0; b < a; b++) {
            assert_string_not_equal(err_text((enum err)a), err_text((enum err)b));
            assert_string_not_equal(err_name((enum err)a), err_name((enum err)b));
        }
    }
}

static void success_is_zero(void **state)
{
    (void)state;
    assert_int_equal(ERR_OK, 0);
    assert_string_equal(err_name(ERR_OK), "ok");
}

static void codes_outside_the_table_have_a_name_and_are_not_retryable(void **state)
{
    (void)state;
    unsigned outside[] = {ERR_COUNT, ERR_COUNT + 1, UINT32_MAX};
    for (size_t i = 0; i < sizeof(outside) / sizeof(outside[0]); i++) {
        enum err code;
        memcpy(&code, &outside[i], sizeof(code));
        assert_string_equal(err_name(code), "unknown_code");
        assert_false(err_retryable(code));
        assert_true(strlen(err_text(code)) > 0);
    }
}

static void busy_is_retryable_and_malformed_is_not(void **state)
{
    (void)state;
    assert_true(err_retryable(ERR_FULL));
    assert_true(err_retryable(ERR_NO_LEADER));
    assert_false(err_retryable(ERR_OK));
    assert_false(err_retryable(ERR_BAD_INPUT));
    assert_false(err_retryable(ERR_POISONED));
}

static void errno_values_map_to_codes_and_the_rest_is_io(void **state)
{
    (void)state;
    assert_int_equal(err_from_errno(ENOSPC), ERR_NO_SPACE);
    assert_int_equal(err_from_errno(EDQUOT), ERR_NO_SPACE);
    assert_int_equal(err_from_errno(EADDRINUSE), ERR_IN_USE);
    assert_int_equal(err_from_errno(ECONNREFUSED), ERR_REFUSED);
    assert_int_equal(err_from_errno(ECONNRESET), ERR_CLOSED);
    assert_int_equal(err_from_errno(EPIPE), ERR_CLOSED);
    assert_int_equal(err_from_errno(ETIMEDOUT), ERR_TIMEOUT);
    assert_int_equal(err_from_errno(ECANCELED), ERR_CANCELED);
    assert_int_equal(err_from_errno(ENOENT), ERR_NOT_FOUND);
    assert_int_equal(err_from_errno(EEXIST), ERR_EXISTS);
    assert_int_equal(err_from_errno(EACCES), ERR_DENIED);
    assert_int_equal(err_from_errno(EMFILE), ERR_FULL);
    assert_int_equal(err_from_errno(ENOSYS), ERR_UNSUPPORTED);
    assert_int_equal(err_from_errno(EIO), ERR_IO);
    assert_int_equal(err_from_errno(ESPIPE), ERR_IO);
    assert_int_equal(err_from_errno(0), ERR_IO);
    assert_int_equal(err_from_errno(-1), ERR_IO);
}

static void note_carries_the_detail_and_returns_the_code(void **state)
{
    (void)state;
    struct err_note note = {0};
    assert_int_equal(err_note_set(&note, ERR_BAD_INPUT, "line %d: no colon", 12), ERR_BAD_INPUT);
    assert_string_equal(note.text, "line 12: no colon");
}

static void wrapping_puts_the_context_before_the_detail(void **state)
{
    (void)state;
    struct err_note note = {0};
    (void)err_note_set(&note, ERR_BAD_INPUT, "line 12");
    assert_int_equal(err_note_wrap(&note, ERR_BAD_INPUT, "load %s", "config"), ERR_BAD_INPUT);
    assert_string_equal(note.text, "load config: line 12");
}

static void wrapping_an_empty_note_tells_the_sentence_of_the_code(void **state)
{
    (void)state;
    struct err_note note = {0};
    (void)err_note_wrap(&note, ERR_NO_SPACE, "write segment");
    assert_string_equal(note.text, "write segment: the disk is full");
}

static void a_null_note_is_ignored(void **state)
{
    (void)state;
    assert_int_equal(err_note_set(NULL, ERR_IO, "%d", 1), ERR_IO);
    assert_int_equal(err_note_wrap(NULL, ERR_IO, "%d", 1), ERR_IO);
}

static void long_detail_is_cut_and_terminated(void **state)
{
    (void)state;
    struct err_note note = {0};
    char detail[ERR_NOTE_MAX + 50];
    memset(detail, 'x', sizeof(detail));
    detail[sizeof(detail) - 1] = '\0';
    (void)err_note_set(&note, ERR_IO, "%s", detail);
    assert_int_equal(strlen(note.text), ERR_NOTE_MAX - 1);
    (void)err_note_wrap(&note, ERR_IO, "open");
    assert_int_equal(strlen(note.text), ERR_NOTE_MAX - 1);
    assert_memory_equal(note.text, "open: xxx", 9);
    (void)err_note_wrap(&note, ERR_IO, "%s", detail);
    assert_int_equal(strlen(note.text), ERR_NOTE_MAX - 1);
}

static void a_note_may_be_rewritten_from_its_own_text(void **state)
{
    (void)state;
    struct err_note note = {0};
    (void)err_note_set(&note, ERR_IO, "inner");
    (void)err_note_set(&note, ERR_IO, "outer(%s)", note.text);
    assert_string_equal(note.text, "outer(inner)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reason_is_the_symbol_without_prefix_in_lower_case),
        cmocka_unit_test(every_code_has_a_sentence_of_its_own),
        cmocka_unit_test(success_is_zero),
        cmocka_unit_test(codes_outside_the_table_have_a_name_and_are_not_retryable),
        cmocka_unit_test(busy_is_retryable_and_malformed_is_not),
        cmocka_unit_test(errno_values_map_to_codes_and_the_rest_is_io),
        cmocka_unit_test(note_carries_the_detail_and_returns_the_code),
        cmocka_unit_test(wrapping_puts_the_context_before_the_detail),
        cmocka_unit_test(wrapping_an_empty_note_tells_the_sentence_of_the_code),
        cmocka_unit_test(a_null_note_is_ignored),
        cmocka_unit_test(long_detail_is_cut_and_terminated),
        cmocka_unit_test(a_note_may_be_rewritten_from_its_own_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
