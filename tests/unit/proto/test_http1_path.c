/* Tests of the path normaliser: the normal form, and what has none. */
#include "http1/http1_path.h"

#include "mem/mem.h"

#include "test.h"

static enum err normalise(const char *path, uint32_t flags, struct buf *to,
                          enum http1_reason *ret_reason)
{
    /* Exactly the promised room, so that the sanitizers see one byte too many. */
    size_t room = strlen(path) > 0 ? strlen(path) : 1;
    uint8_t *dest = mem_alloc(room);
    uint8_t *source = mem_alloc(room);
    memcpy(source, path, strlen(path));
    size_t len = 0;
    *ret_reason = HTTP1_REASON_NONE;
    enum err err = http1_path_normalise((struct bytes){source, strlen(path)}, flags, dest, room,
                                        &len, ret_reason);
    buf_clear(to);
    assert_int_equal(buf_append(to, (struct bytes){dest, len}), ERR_OK);
    mem_free(source);
    mem_free(dest);
    return err;
}

static void assert_normal_flags(const char *path, uint32_t flags, const char *expected)
{
    struct buf result;
    enum http1_reason reason;
    buf_init(&result, 4096);
    if (normalise(path, flags, &result, &reason) != ERR_OK)
        fail_msg("%s: %s", path, http1_reason_name(reason));
    if (!bytes_eq_str(buf_bytes(&result), expected))
        fail_msg("%s: '%.*s' instead of '%s'", path, BYTES_PRINT(buf_bytes(&result)), expected);
    buf_done(&result);
}

static void assert_normal(const char *path, const char *expected)
{
    assert_normal_flags(path, 0, expected);
    assert_normal_flags(expected, 0, expected);
}

static void assert_refused(const char *path, enum http1_reason expected)
{
    struct buf result;
    enum http1_reason reason;
    buf_init(&result, 4096);
    enum err err = normalise(path, 0, &result, &reason);
    if (err != ERR_BAD_INPUT || reason != expected)
        fail_msg("%s: %s instead of %s", path, http1_reason_name(reason),
                 http1_reason_name(expected));
    assert_false(http1_path_is_normal(bytes_of_str(path)));
    buf_done(&result);
}

static void dot_segments_are_removed(void **state)
{
    (void)state;
    assert_normal("", "/");
    assert_normal("/", "/");
    assert_normal("/a/b/c", "/a/b/c");
    assert_normal("/a/b/", "/a/b/");
    assert_normal("/a/./b", "/a/b");
    assert_normal("/a/.", "/a/");
    assert_normal("/a/../b", "/b");
    assert_normal("/a/b/..", "/a/");
    assert_normal("/a/b/../", "/a/");
    assert_normal("/a/..", "/");
    assert_normal("/./././", "/");
    assert_normal("/.", "/");
    assert_normal("/a/b/c/./../../g", "/a/g");
    assert_normal("/a//../b", "/a/b");
    assert_normal("//a", "//a");
    assert_normal("/...", "/...");
    assert_normal("/.a/..b/c../.well-known", "/.a/..b/c../.well-known");
}

static void escapes_of_unreserved_characters_are_decoded_others_kept(void **state)
{
    (void)state;
    assert_normal("/%41%62%2d%2E%5f%7e%30", "/Ab-._~0");
    assert_normal("/a%2fb", "/a%2Fb");
    assert_normal("/a%3ab%20c%c3%b6", "/a%3Ab%20c%C3%B6");
    assert_normal("/%252e%252e/x", "/%252e%252e/x");
    assert_normal("/a%3f%23", "/a%3F%23");
    assert_normal("/a%0d%0a", "/a%0D%0A");
    assert_normal("/caf%e9", "/caf%E9");
    assert_normal("/%c0x", "/%C0x");
    assert_normal("/%c0%41%e0%20", "/%C0A%E0%20");
    assert_normal("/%c2%80%f1%80%f8%88%fc%84", "/%C2%80%F1%80%F8%88%FC%84");
    assert_normal("/a;b=c,d/e@f:g!$&'()*+=[]|^", "/a;b=c,d/e@f:g!$&'()*+=[]|^");
    assert_normal("/%2e/a", "/a");
    assert_normal("/a/%2e%2E/b", "/b");
    assert_normal("/a/.%2e/b", "/b");
}

static void climbing_above_the_root_is_refused(void **state)
{
    (void)state;
    assert_refused("/..", HTTP1_REASON_PATH_TRAVERSAL);
    assert_refused("/../a", HTTP1_REASON_PATH_TRAVERSAL);
    assert_refused("/a/../../b", HTTP1_REASON_PATH_TRAVERSAL);
    assert_refused("/%2e%2e/a", HTTP1_REASON_PATH_TRAVERSAL);
    assert_refused("/a/./.././../b", HTTP1_REASON_PATH_TRAVERSAL);
}

static void dot_segments_that_hide_are_refused(void **state)
{
    (void)state;
    static const char *const paths[] = {
        "/a/..%2fb", "/a/%2e%2e%2Fb", "/a%2f..", "/a%2f../b",  "/a/..%5cb",  "/a%5C..%5Cb",
        "/a/..;/b",  "/a/..;x=1/b",   "/a/.;/b", "/a/..%3b/b", "/a%2f.%2fb", "/a%2f..;%2fb",
        "/..%2f",    "/%2f..",        "/a/..;",  "/;a%2f..",
    };
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); ++i)
        assert_refused(paths[i], HTTP1_REASON_PATH_TRAVERSAL);
    assert_normal("/a%2F...%2Fb;..", "/a%2F...%2Fb;..");
    assert_normal("/a;%2e", "/a;.");
}

static void malformed_paths_are_refused(void **state)
{
    (void)state;
    assert_refused("/%00", HTTP1_REASON_PATH_NUL);
    assert_refused("/a%00.txt", HTTP1_REASON_PATH_NUL);
    assert_refused("/%", HTTP1_REASON_PATH_ESCAPE_INVALID);
    assert_refused("/%4", HTTP1_REASON_PATH_ESCAPE_INVALID);
    assert_refused("/%4/1", HTTP1_REASON_PATH_ESCAPE_INVALID);
    assert_refused("/%g1", HTTP1_REASON_PATH_ESCAPE_INVALID);
    assert_refused("/%1g", HTTP1_REASON_PATH_ESCAPE_INVALID);
    assert_refused("/%u0041", HTTP1_REASON_PATH_ESCAPE_INVALID);
    assert_refused("/%c0%af", HTTP1_REASON_PATH_OVERLONG);
    assert_refused("/%c1%9c", HTTP1_REASON_PATH_OVERLONG);
    assert_refused("/%e0%80%af", HTTP1_REASON_PATH_OVERLONG);
    assert_refused("/%f0%80%80%af", HTTP1_REASON_PATH_OVERLONG);
    assert_refused("/%f8%80%80%80%af", HTTP1_REASON_PATH_OVERLONG);
    assert_refused("/%fc%80%80%80%80%af", HTTP1_REASON_PATH_OVERLONG);
    assert_refused("a", HTTP1_REASON_PATH_INVALID);
    assert_refused("*", HTTP1_REASON_PATH_INVALID);
    assert_refused("/a?b", HTTP1_REASON_PATH_INVALID);
    assert_refused("/a#b", HTTP1_REASON_PATH_INVALID);
    assert_refused("/a b", HTTP1_REASON_PATH_INVALID);
    assert_refused("/a\\..\\b", HTTP1_REASON_PATH_INVALID);
    assert_refused("/\xc3\xb6", HTTP1_REASON_PATH_INVALID);
    assert_normal("/%e0%a0%80%f0%90%80%80", "/%E0%A0%80%F0%90%80%80");
}

static void slashes_are_merged_by_option_only(void **state)
{
    (void)state;
    assert_normal("/a//b", "/a//b");
    assert_normal_flags("/a//b", HTTP1_PATH_MERGE_SLASHES, "/a/b");
    assert_normal_flags("//a///b//", HTTP1_PATH_MERGE_SLASHES, "/a/b/");
    assert_normal_flags("//", HTTP1_PATH_MERGE_SLASHES, "/");
    assert_normal_flags("/a//../b", HTTP1_PATH_MERGE_SLASHES, "/b");
    assert_normal_flags("/a%2F%2Fb", HTTP1_PATH_MERGE_SLASHES, "/a%2F%2Fb");
}

static void the_quick_test_agrees_with_the_normaliser(void **state)
{
    (void)state;
    static const char alphabet[] = "/.%2eEfFa;c0?";
    char path[7] = "/";
    size_t letters = sizeof(alphabet) - 1;
    struct buf result;
    buf_init(&result, 64);
    for (size_t code = 0; code < letters * letters * letters * letters; ++code) {
        size_t rest = code;
        for (size_t i = 1; i <= 4; ++i, rest /= letters)
            path[i] = alphabet[rest % letters];
        if (!http1_path_is_normal(bytes_of_str(path)))
            continue;
        enum http1_reason reason;
        assert_int_equal(normalise(path, 0, &result, &reason), ERR_OK);
        assert_true(bytes_eq_str(buf_bytes(&result), path));
    }
    assert_true(http1_path_is_normal(BYTES_LITERAL("/v1/health/service/web")));
    assert_false(http1_path_is_normal(BYTES_LITERAL("/a/./b")));
    assert_false(http1_path_is_normal(BYTES_LITERAL("/%61")));
    assert_false(http1_path_is_normal(BYTES_LITERAL("")));
    assert_false(http1_path_is_normal(BYTES_LITERAL("a")));
    buf_done(&result);
}

static void too_little_room_is_said(void **state)
{
    (void)state;
    uint8_t dest[3];
    size_t len = 99;
    enum http1_reason reason = HTTP1_REASON_NONE;
    assert_int_equal(
        http1_path_normalise(BYTES_LITERAL("/abc"), 0, dest, sizeof(dest), &len, &reason),
        ERR_TOO_LARGE);
    assert_int_equal(len, 99);
    assert_int_equal(http1_path_normalise(BYTES_LITERAL(""), 0, dest, 0, &len, &reason),
                     ERR_TOO_LARGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dot_segments_are_removed),
        cmocka_unit_test(escapes_of_unreserved_characters_are_decoded_others_kept),
        cmocka_unit_test(climbing_above_the_root_is_refused),
        cmocka_unit_test(dot_segments_that_hide_are_refused),
        cmocka_unit_test(malformed_paths_are_refused),
        cmocka_unit_test(slashes_are_merged_by_option_only),
        cmocka_unit_test(the_quick_test_agrees_with_the_normaliser),
        cmocka_unit_test(too_little_room_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
