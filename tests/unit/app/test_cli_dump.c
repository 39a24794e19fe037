/* What the commands that look into files print of bytes and configurations. */
#include "test.h"

#include "cli/cli_dump.h"
#include "raft/raft.h"

#include <string.h>

static const char *shown(const char *text, size_t len, char dest[CLI_SHOWN_MAX])
{
    return cli_dump_shown(bytes_of(text, len), dest);
}

static void bytes_are_shown_as_one_harmless_word(void **state)
{
    (void)state;
    char dest[CLI_SHOWN_MAX];
    assert_string_equal(shown("config/a b", 10, dest), "config/a b");
    assert_string_equal(shown("", 0, dest), "");
    assert_string_equal(shown("a\0b\n\x1b[2J\xc3", 9, dest), "a\\x00b\\x0a\\x1b[2J\\xc3");
    assert_string_equal(shown("\\x00", 4, dest), "\\x5cx00"); /* not to be taken for a zero byte */
}

static void long_keys_are_cut_and_say_so(void **state)
{
    (void)state;
    char dest[CLI_SHOWN_MAX];
    char key[4 * CLI_SHOWN_MAX];
    for (int i = 0; i < 2; i++) {
        memset(key, i == 0 ? 'k' : 1, sizeof(key));
        size_t len = strlen(shown(key, sizeof(key), dest));
        assert_in_range(len, CLI_SHOWN_MAX - 12, CLI_SHOWN_MAX - 1);
        assert_string_equal(dest + len - 3, "...");
    }
}

static void members_are_listed_with_their_roles(void **state)
{
    (void)state;
    char dest[CLI_SHOWN_MAX];
    struct raft_config config = {.count = 3,
                                 .members = {{.node = 1, .role = RAFT_VOTER},
                                             {.node = 2, .role = RAFT_VOTER},
                                             {.node = 9, .role = RAFT_LEARNER}}};
    assert_string_equal(cli_dump_members(&config, dest), "1, 2, learner 9");
    config.count = 0;
    assert_string_equal(cli_dump_members(&config, dest), "");
    config.count = RAFT_MEMBERS_MAX;
    for (uint32_t i = 0; i < RAFT_MEMBERS_MAX; i++) {
        config.members[i] = (struct raft_member){.node = UINT32_MAX, .role = RAFT_LEARNER};
    }
    assert_true(strlen(cli_dump_members(&config, dest)) < CLI_SHOWN_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_shown_as_one_harmless_word),
        cmocka_unit_test(long_keys_are_cut_and_say_so),
        cmocka_unit_test(members_are_listed_with_their_roles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
