/* Flags: what arguments mean, and what is guessed when they mean nothing. */
#include "test.h"

#include "flags/flags.h"

#include <string.h>

struct object {
    const char *text;
    uint64_t number;
    bool on;
};

static const struct flag ROWS[] = {
    {"text", FLAG_TEXT, "WORD", "a word", offsetof(struct object, text)},
    {"port-base", FLAG_NUMBER, "N", "a number", offsetof(struct object, number)},
    {"on", FLAG_SWITCH, NULL, "a switch", offsetof(struct object, on)},
};
static const struct flag_table TABLE = {ROWS, 3};

static struct object object;
static struct flag_words words;
static struct err_note note;

static enum err read_all(int argc, const char *const *args)
{
    char *argv[24];
    assert_in_range(argc, 0, 24);
    for (int i = 0; i < argc; i++) {
        argv[i] = (char *)(uintptr_t)args[i];
    }
    object = (struct object){.text = "default", .number = 7};
    note = (struct err_note){{0}};
    return flags_read(TABLE, argc, argv, &object, &words, &note);
}

#define READ(...)                                                                                  \
    read_all((int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)),                   \
             (const char *const[]){__VA_ARGS__})

static void flags_and_words_come_in_any_order(void **state)
{
    (void)state;
    assert_int_equal(READ("one", "--text", "a b", "two", "--port-base=9", "--on", "-"), ERR_OK);
    assert_string_equal(object.text, "a b");
    assert_int_equal(object.number, 9);
    assert_true(object.on);
    assert_int_equal(words.count, 3);
    assert_string_equal(words.at[0], "one");
    assert_string_equal(words.at[1], "two");
    assert_string_equal(words.at[2], "-");
}

static void what_is_not_given_keeps_its_default(void **state)
{
    (void)state;
    assert_int_equal(READ("x"), ERR_OK);
    assert_string_equal(object.text, "default");
    assert_int_equal(object.number, 7);
    assert_false(object.on);
}

static void after_two_dashes_everything_is_a_word(void **state)
{
    (void)state;
    assert_int_equal(READ("--on", "--", "--text", "-h", "--help"), ERR_OK);
    assert_int_equal(words.count, 3);
    assert_string_equal(words.at[0], "--text");
    assert_false(words.help);
}

static void a_value_may_be_empty_or_contain_an_equals_sign(void **state)
{
    (void)state;
    assert_int_equal(READ("--text="), ERR_OK);
    assert_string_equal(object.text, "");
    assert_int_equal(READ("--text=1=127.0.0.1:8300"), ERR_OK);
    assert_string_equal(object.text, "1=127.0.0.1:8300");
    assert_int_equal(READ("--on=false"), ERR_OK);
    assert_false(object.on);
}

static void a_misspelt_flag_is_refused_with_the_nearest_one(void **state)
{
    (void)state;
    assert_int_equal(READ("--prot-base", "9"), ERR_BAD_INPUT);
    assert_string_equal(note.text, "unknown flag --prot-base: did you mean --port-base?");
    assert_int_equal(READ("--completely-else"), ERR_BAD_INPUT);
    assert_string_equal(note.text, "unknown flag --completely-else");
    assert_int_equal(READ("-x"), ERR_BAD_INPUT);
    assert_string_equal(note.text, "unknown flag -x: flags begin with --");
}

static void a_bad_value_is_refused_with_its_flag(void **state)
{
    (void)state;
    assert_int_equal(READ("--port-base", "8k"), ERR_BAD_INPUT);
    assert_string_equal(note.text, "--port-base: \"8k\" is not a whole number");
    assert_int_equal(READ("--port-base=-1"), ERR_BAD_INPUT);
    assert_int_equal(READ("--on=yes"), ERR_BAD_INPUT);
    assert_string_equal(note.text, "--on: \"yes\" is neither true nor false");
    assert_int_equal(READ("--text"), ERR_BAD_INPUT);
    assert_string_equal(note.text, "--text needs a value: --text WORD");
}

static void help_stops_all_complaints(void **state)
{
    (void)state;
    assert_int_equal(READ("--nonsense", "-h"), ERR_OK);
    assert_true(words.help);
}

static void too_many_words_are_refused(void **state)
{
    (void)state;
    assert_int_equal(
        READ("1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16"),
        ERR_OK);
    assert_int_equal(READ("1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14",
                          "15", "16", "17"),
                     ERR_BAD_INPUT);
    assert_string_equal(note.text, "too many words, beginning with \"17\"");
}

static void names_are_set_as_files_do_it(void **state)
{
    (void)state;
    struct err_note why = {{0}};
    struct object to = {.text = NULL};
    assert_int_equal(flags_set(TABLE, "port-base", "12", &to, &why), ERR_OK);
    assert_int_equal(to.number, 12);
    assert_int_equal(flags_set(TABLE, "port-base", "x", &to, &why), ERR_BAD_INPUT);
    assert_string_equal(why.text, "port-base: \"x\" is not a whole number");
    assert_int_equal(flags_set(TABLE, "texd", "x", &to, &why), ERR_NOT_FOUND);
    assert_string_equal(why.text, "unknown name \"texd\": did you mean \"text\"?");
}

static void distance_counts_letters(void **state)
{
    (void)state;
    assert_int_equal(flags_distance("", ""), 0);
    assert_int_equal(flags_distance("abc", ""), 3);
    assert_int_equal(flags_distance("data", "dat"), 1);
    assert_int_equal(flags_distance("data", "dtaa"), 1);
    assert_int_equal(flags_distance("kitten", "sitting"), 3);
    assert_true(flags_resemble("srever", "server"));
    assert_false(flags_resemble("xyz", "server"));
    assert_true(flags_distance("a-word-of-many-more-letters-than-32", "a") >= 32);
}

static void flags_are_described_line_by_line(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text, 1024);
    assert_int_equal(flags_describe(TABLE, &text), ERR_OK);
    const char *expected = "  --text WORD                  a word\n"
                           "  --port-base N                a number\n"
                           "  --on                         a switch\n";
    assert_int_equal(text.len, strlen(expected));
    assert_memory_equal(text.data, expected, text.len);
    buf_done(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flags_and_words_come_in_any_order),
        cmocka_unit_test(what_is_not_given_keeps_its_default),
        cmocka_unit_test(after_two_dashes_everything_is_a_word),
        cmocka_unit_test(a_value_may_be_empty_or_contain_an_equals_sign),
        cmocka_unit_test(a_misspelt_flag_is_refused_with_the_nearest_one),
        cmocka_unit_test(a_bad_value_is_refused_with_its_flag),
        cmocka_unit_test(help_stops_all_complaints),
        cmocka_unit_test(too_many_words_are_refused),
        cmocka_unit_test(names_are_set_as_files_do_it),
        cmocka_unit_test(distance_counts_letters),
        cmocka_unit_test(flags_are_described_line_by_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
