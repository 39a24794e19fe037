/* Tests of serve/web: JSON bodies, and statuses of errors. */
#include "web/web_json.h"

#include "test.h"
#include "web/web.h"

#include <stdio.h>
#include <string.h>

struct taken {
    struct bytes name;
    bool flag;
    uint32_t count;
    uint16_t port;
    uint64_t ms;
    const json_t *object;
    const json_t *array;
};

static enum err take(const char *text, struct taken *taken, struct err_note *note)
{
    json_t *root = NULL;
    const struct web_field fields[] = {
        {"servicename", WEB_STRING, &taken->name}, {"flag", WEB_BOOL, &taken->flag},
        {"count", WEB_COUNT, &taken->count},       {"port", WEB_PORT, &taken->port},
        {"ttl", WEB_DURATION, &taken->ms},         {"object", WEB_OBJECT, &taken->object},
        {"array", WEB_ARRAY, &taken->array},
    };
    *taken = (struct taken){.ms = 0};
    *note = (struct err_note){0};
    enum err err = web_json_parse(bytes_of_str(text), &root, note);
    if (err == ERR_OK) {
        err = web_json_fields(root, fields, sizeof(fields) / sizeof(fields[0]), note);
        json_decref(root);
    }
    return err;
}

static void names_are_compared_without_case_and_underscores(void **state)
{
    (void)state;
    static const char *const spellings[] = {"ServiceName", "service_name", "SERVICENAME",
                                            "serviceName"};
    for (size_t i = 0; i < sizeof(spellings) / sizeof(spellings[0]); i++) {
        struct taken taken;
        struct err_note note;
        char text[64];
        (void)snprintf(text, sizeof(text), "{\"%s\":\"a\",\"other\":[1]}", spellings[i]);
        assert_int_equal(take(text, &taken, &note), ERR_OK);
        assert_int_equal(taken.name.len, 1);
    }
}

static void null_is_as_good_as_missing(void **state)
{
    (void)state;
    struct taken taken;
    struct err_note note;
    assert_int_equal(take("{\"port\":null,\"array\":null,\"ttl\":null}", &taken, &note), ERR_OK);
    assert_int_equal(taken.port, 0);
    assert_null(taken.array);
}

static void wrong_types_are_refused_by_name(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "{\"ServiceName\":1}", "{\"Flag\":\"true\"}", "{\"Count\":-1}",    "{\"Port\":65536}",
        "{\"Port\":\"80\"}",   "{\"Port\":80.5}",     "{\"TTL\":\"10\"}",  "{\"TTL\":-5}",
        "{\"Object\":[]}",     "{\"Array\":{}}",      "{\"Count\":1e300}", "{\"Flag\":0}",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct taken taken;
        struct err_note note;
        if (take(bad[i], &taken, &note) != ERR_BAD_INPUT) {
            fail_msg("accepted: %s", bad[i]);
        }
        assert_non_null(strstr(note.text, "must be"));
    }
}

static void numbers_and_durations_have_their_forms(void **state)
{
    (void)state;
    struct taken taken;
    struct err_note note;
    assert_int_equal(
        take("{\"port\":8080.0,\"count\":4294967295,\"ttl\":\"1m30s\"}", &taken, &note), ERR_OK);
    assert_int_equal(taken.port, 8080);
    assert_int_equal(taken.count, UINT32_MAX);
    assert_int_equal(taken.ms, 90000);
    /* Go writes its durations as nanoseconds. */
    assert_int_equal(take("{\"ttl\":10000000000}", &taken, &note), ERR_OK);
    assert_int_equal(taken.ms, 10000);
    assert_int_equal(take("{\"ttl\":\"\"}", &taken, &note), ERR_OK);
    assert_int_equal(taken.ms, 0);
}

static void malformed_bodies_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "", "{", "{\"a\":1}x", "[1]", "\"text\"", "{\"a\":\"\\u0000\"}", "{\"a\":\"\xff\"}"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct taken taken;
        struct err_note note;
        if (take(bad[i], &taken, &note) != ERR_BAD_INPUT || note.text[0] == '\0') {
            fail_msg("accepted: %s", bad[i]);
        }
    }
}

static void deep_bodies_are_refused_before_they_are_parsed(void **state)
{
    (void)state;
    char text[64];
    struct taken taken;
    struct err_note note;
    memset(text, '[', WEB_JSON_DEPTH_MAX + 1);
    text[WEB_JSON_DEPTH_MAX + 1] = '\0';
    assert_int_equal(take(text, &taken, &note), ERR_BAD_INPUT);
    assert_non_null(strstr(note.text, "brackets"));
    /* Brackets in strings are letters. */
    assert_int_equal(take("{\"x\":\"[[[[[[[[[[[[[[[[[[[[[[\\\"[[\"}", &taken, &note), ERR_OK);
}

static void every_error_has_a_status(void **state)
{
    (void)state;
    for (int err = ERR_OK + 1; err < ERR_COUNT; err++) {
        uint16_t plain = web_error_status(WEB_ERRORS_PLAIN, (enum err)err);
        uint16_t json = web_error_status(WEB_ERRORS_JSON, (enum err)err);
        assert_true(plain >= 400 && plain < 600);
        assert_true(json >= 400 && json < 600);
    }
    assert_int_equal(web_error_status(WEB_ERRORS_PLAIN, ERR_NO_LEADER), 500);
    assert_int_equal(web_error_status(WEB_ERRORS_JSON, ERR_NO_LEADER), 503);
    assert_int_equal(web_error_status(WEB_ERRORS_PLAIN, ERR_FULL), 429);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_compared_without_case_and_underscores),
        cmocka_unit_test(null_is_as_good_as_missing),
        cmocka_unit_test(wrong_types_are_refused_by_name),
        cmocka_unit_test(numbers_and_durations_have_their_forms),
        cmocka_unit_test(malformed_bodies_are_refused),
        cmocka_unit_test(deep_bodies_are_refused_before_they_are_parsed),
        cmocka_unit_test(every_error_has_a_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
