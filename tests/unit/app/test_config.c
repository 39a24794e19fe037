/* The server's settings: files, flags, and what is refused with which words. */
#include "test.h"

#include "config/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct config config;
static struct server_plan plan;
static struct err_note note;
static char path[] = "/tmp/flotilla-config-XXXXXX";

static int set_up(void **state)
{
    (void)state;
    config_init(&config);
    note = (struct err_note){{0}};
    (void)snprintf(path, sizeof(path), "/tmp/flotilla-config-XXXXXX");
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int tear_down(void **state)
{
    (void)state;
    config_done(&config);
    return unlink(path);
}

static void write_file(const char *text)
{
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static enum err read_file(const char *text)
{
    write_file(text);
    return config_read_file(&config, path, &note);
}

/* What the note says behind the file's name. */
static void refused_at(const char *text)
{
    size_t len = strlen(path);
    assert_memory_equal(note.text, path, len);
    assert_string_equal(note.text + len, text);
}

static enum err check(void)
{
    return config_plan(&config, &plan, &note);
}

/* ---- files ----------------------------------------------------------------------------------- */

static void a_file_has_the_names_of_the_flags(void **state)
{
    (void)state;
    assert_int_equal(read_file("# node 2\nid: 2\ndata: /tmp/n2\npeers: [1=127.0.0.1:1301, "
                               "2=127.0.0.1:1302,\n  3=127.0.0.1:1303]\n"
                               "peer-listen: 127.0.0.1:1302\nloop: epoll\nedges: 3\n"
                               "log-level: \"debug\"\naccess-log: /tmp/a.log\n"),
                     ERR_OK);
    assert_int_equal(check(), ERR_OK);
    assert_int_equal(plan.node.id, 2);
    assert_string_equal(plan.node.name, "n2");
    assert_string_equal(plan.node.data_dir, "/tmp/n2");
    assert_int_equal(plan.node.peer_count, 3);
    assert_int_equal(plan.node.peers[2].id, 3);
    assert_string_equal(plan.node.peers[2].peer_addr, "127.0.0.1:1303");
    assert_string_equal(plan.node.peer_addr, "127.0.0.1:1302");
    assert_int_equal(plan.node.edge_count, 3);
    assert_int_equal(plan.log_level, LOG_LEVEL_DEBUG);
    assert_string_equal(plan.access_log, "/tmp/a.log");
    assert_int_equal(net_addr_port(&plan.http), 8500);
}

static void flags_win_over_the_file(void **state)
{
    (void)state;
    write_file("id: 2\nname: from-file\ndata: /tmp/n2\n");
    char flag[] = "--config";
    char name[] = "--name=from-flag";
    char *argv[] = {name, flag, path};
    struct flag_words words;
    assert_int_equal(config_read(&config, 3, argv, &words, &note), ERR_OK);
    assert_int_equal(config.id, 2);
    assert_string_equal(config.name, "from-flag");
    assert_string_equal(config.data, "/tmp/n2");
}

static void an_empty_file_says_nothing(void **state)
{
    (void)state;
    assert_int_equal(read_file(""), ERR_OK);
    assert_int_equal(read_file("# nothing\n"), ERR_OK);
    assert_int_equal(config.id, 1);
}

static void an_unknown_name_is_refused_with_its_line(void **state)
{
    (void)state;
    assert_int_equal(read_file("id: 1\nhtpp: 127.0.0.1:1\n"), ERR_BAD_INPUT);
    refused_at(":2: unknown name \"htpp\": did you mean \"http\"?");
    assert_int_equal(read_file("\n\nsomething: {a: 1}\n"), ERR_BAD_INPUT);
    refused_at(":3: unknown name \"something\"");
}

static void bad_values_are_refused_with_their_line(void **state)
{
    (void)state;
    assert_int_equal(read_file("data: x\nid: one\n"), ERR_BAD_INPUT);
    refused_at(":2: id: \"one\" is not a whole number");
    assert_int_equal(read_file("id: [1]\n"), ERR_BAD_INPUT);
    refused_at(":1: a value here is a plain one, neither a list nor a mapping");
    assert_int_equal(read_file("peers: [[a]]\n"), ERR_BAD_INPUT);
    refused_at(":1: a list holds plain values only");
    assert_int_equal(read_file("config: other.yaml\n"), ERR_BAD_INPUT);
    refused_at(":1: config: a configuration file names no other one");
}

static void what_is_not_one_mapping_is_refused(void **state)
{
    (void)state;
    assert_int_equal(read_file("- id\n"), ERR_BAD_INPUT);
    assert_int_equal(read_file("id: 1\n---\nid: 2\n"), ERR_BAD_INPUT);
    refused_at(":2: there is a second document");
    assert_int_equal(read_file("id: 'open\n"), ERR_BAD_INPUT);
    assert_non_null(strstr(note.text, ": not YAML: "));
    assert_int_equal(read_file("? [a]\n: 1\n"), ERR_BAD_INPUT);
    refused_at(":1: a name is expected");
}

static void a_missing_or_unreadable_file_is_named(void **state)
{
    (void)state;
    assert_int_equal(config_read_file(&config, "/nowhere/x.yaml", &note), ERR_NOT_FOUND);
    assert_string_equal(note.text, "configuration file /nowhere/x.yaml: No such file or directory");
    assert_int_not_equal(config_read_file(&config, "/tmp", &note), ERR_OK);
    assert_string_equal(note.text, "configuration file /tmp: Is a directory");
}

/* ---- checks ---------------------------------------------------------------------------------- */

static void a_single_node_needs_a_directory_only(void **state)
{
    (void)state;
    assert_int_equal(check(), ERR_BAD_INPUT);
    assert_string_equal(note.text, "--data DIR is missing: where the node keeps everything");
    config.data = "/tmp/x";
    assert_int_equal(check(), ERR_OK);
    assert_int_equal(plan.node.peer_count, 1);
    assert_string_equal(plan.node.peers[0].peer_addr, "127.0.0.1:8300");
    assert_null(plan.access_log);
}

static void addresses_beyond_loopback_are_refused(void **state)
{
    (void)state;
    config.data = "/tmp/x";
    config.http = "0.0.0.0:8500";
    assert_int_equal(check(), ERR_BAD_INPUT);
    assert_non_null(strstr(note.text, "--http: 0.0.0.0:8500 is not on loopback"));
    config.http = "127.0.0.1:8500";
    config.gateway = "10.0.0.1:80";
    assert_int_equal(check(), ERR_BAD_INPUT);
    assert_non_null(strstr(note.text, "--gateway: 10.0.0.1:80 is not on loopback"));
    config.gateway = "[::1]:8080";
    assert_int_equal(check(), ERR_OK);
    config.peers = "1=127.0.0.1:8300,2=10.0.0.2:8300,3=127.0.0.1:8320";
    assert_int_equal(check(), ERR_BAD_INPUT);
    assert_non_null(strstr(note.text, "--peers: 10.0.0.2:8300 is not on loopback"));
    assert_non_null(strstr(note.text, "--secret-file FILE"));
}

/* Nodes with a secret, clients when somebody has said in so many words that it is insecure. */
static void a_secret_opens_the_nodes_port_and_a_flag_the_doors(void **state)
{
    (void)state;
    config.data = "/tmp/x";
    config.peer_listen = "10.0.0.1:8300";
    assert_int_equal(check(), ERR_BAD_INPUT);
    assert_non_null(strstr(note.text, "--peer-listen: 10.0.0.1:8300 is not on loopback"));
    config.secret_file = "/tmp/x/secret";
    assert_int_equal(check(), ERR_OK);
    config.peers = "1=10.0.0.1:8300,2=10.0.0.2:8300,3=[2001:db8::3]:8320";
    assert_int_equal(check(), ERR_OK);
    assert_string_equal(plan.secret_file, "/tmp/x/secret");
    config.peer_listen = "0.0.0.0:8300";
    assert_int_equal(check(), ERR_BAD_INPUT);
    assert_non_null(strstr(note.text, "no address that another node can dial"));
    config.peer_listen = "10.0.0.1:8300";
    config.http = "10.0.0.1:8500";
    assert_int_equal(check(), ERR_BAD_INPUT);
    assert_non_null(strstr(note.text, "--http: 10.0.0.1:8500 is not on loopback"));
    assert_non_null(strstr(note.text, "--insecure-clients"));
    config.insecure_clients = true;
    config.gateway = "0.0.0.0:80";
    assert_int_equal(check(), ERR_OK);
    config.secret_file = NULL;
    assert_int_equal(check(), ERR_BAD_INPUT); /* it is for clients only */
}

struct refusal {
    const char *name;
    const char *text;
    const char *words;
};

static void each_bad_setting_is_named(void **state)
{
    (void)state;
    static const struct refusal REFUSALS[] = {
        {"id", "0", "--id: a node's number is from 1 to 255"},
        {"id", "256", "--id: a node's number is from 1 to 255"},
        {"edges", "17", "--edges: at most 16"},
        {"loop", "select", "--loop: \"select\" is not auto, uring or epoll"},
        {"log-level", "loud", "--log-level: \"loud\" is not debug, info, warn or error"},
        {"name", "a b", "--name: \"a b\": only letters, digits, - _ and . are allowed"},
        {"name", "", "--name is empty"},
        {"http", "8500", "--http: \"8500\" is not an address like 127.0.0.1:8500"},
        {"http", "127.0.0.1:0", "--http: \"127.0.0.1:0\" is not an address"},
        {"http", "127.0.0.1:8080", "--http, --gateway and --peer-listen need three different"},
        {"peers", "1=127.0.0.1:8300,2=127.0.0.1:8310", "1, 3 or 5 nodes, not with 2"},
        {"peers", "1:127.0.0.1:8300", "is not like 1=127.0.0.1:8300"},
        {"peers", "", "is not like 1=127.0.0.1:8300"},
        {"peers", "2=127.0.0.1:8300", "--peers does not name this node (--id 1)"},
        {"peers", "1=127.0.0.1:8301", "--peers says that node 1 is at 127.0.0.1:8301"},
        {"peers", "1=127.0.0.1:8300,1=127.0.0.1:8310,3=127.0.0.1:8320", "is there twice"},
    };
    for (size_t i = 0; i < sizeof(REFUSALS) / sizeof(REFUSALS[0]); i++) {
        config_init(&config);
        config.data = "/tmp/x";
        struct err_note why = {{0}};
        assert_int_equal(flags_set(CONFIG_FLAGS, REFUSALS[i].name, REFUSALS[i].text, &config, &why),
                         ERR_OK);
        assert_int_equal(config_plan(&config, &plan, &why), ERR_BAD_INPUT);
        if (strstr(why.text, REFUSALS[i].words) == NULL) {
            fail_msg("\"%s\" does not say \"%s\"", why.text, REFUSALS[i].words);
        }
    }
}

#define CONFIG_TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CONFIG_TEST(a_file_has_the_names_of_the_flags),
        CONFIG_TEST(flags_win_over_the_file),
        CONFIG_TEST(an_empty_file_says_nothing),
        CONFIG_TEST(an_unknown_name_is_refused_with_its_line),
        CONFIG_TEST(bad_values_are_refused_with_their_line),
        CONFIG_TEST(what_is_not_one_mapping_is_refused),
        CONFIG_TEST(a_missing_or_unreadable_file_is_named),
        CONFIG_TEST(a_single_node_needs_a_directory_only),
        CONFIG_TEST(addresses_beyond_loopback_are_refused),
        CONFIG_TEST(a_secret_opens_the_nodes_port_and_a_flag_the_doors),
        CONFIG_TEST(each_bad_setting_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
