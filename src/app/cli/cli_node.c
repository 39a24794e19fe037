/* flotilla server, dev, version: what does not ask a server. */
#include "cli/cli_priv.h"
#include "config/config.h"
#include "dev/dev.h"
#include "wiring/server.h"

#include <stdio.h>

static int run_server(const struct cli_call *call, const struct config *config)
{
    struct server_plan plan;
    struct err_note note = {{0}};
    if (config_plan(config, &plan, &note) != ERR_OK) {
        return cli_usage(call, "%s", note.text);
    }
    return server_run(&plan);
}

int cli_server(const struct cli_call *call)
{
    struct config config;
    struct flag_words words;
    struct err_note note = {{0}};
    int code = CLIENT_OK;
    config_init(&config);
    enum err err = config_read(&config, call->argc, call->argv, &words, &note);
    if (err != ERR_OK) {
        code = cli_usage(call, "%s", note.text);
    } else if (words.help) {
        code = cli_help(call);
    } else if (words.count > 0) {
        code = cli_usage(call, "\"%s\" is one word too many", words.at[0]);
    } else {
        code = run_server(call, &config);
    }
    config_done(&config);
    return code;
}

int cli_dev(const struct cli_call *call)
{
    struct dev_options options = DEV_OPTIONS_DEFAULT;
    struct flag_words words;
    struct err_note note = {{0}};
    enum err err =
        flags_read(*call->command->flags, call->argc, call->argv, &options, &words, &note);
    if (err == ERR_OK && words.help) {
        return cli_help(call);
    }
    if (err == ERR_OK && words.count > 0) {
        return cli_usage(call, "\"%s\" is one word too many", words.at[0]);
    }
    if (err == ERR_OK) {
        err = dev_check(&options, &note);
    }
    return err == ERR_OK ? dev_run(&options) : cli_usage(call, "%s", note.text);
}

int cli_version(const struct cli_call *call)
{
    struct cli_options options = {.json = false};
    struct flag_words words;
    struct err_note note = {{0}};
    if (flags_read(*call->command->flags, call->argc, call->argv, &options, &words, &note) !=
        ERR_OK) {
        return cli_usage(call, "%s", note.text);
    }
    if (words.help) {
        return cli_help(call);
    }
    (void)printf(options.json ? "{\"version\": \"%s\"}\n" : "flotilla %s\n", SERVER_VERSION);
    return fflush(stdout) == 0 ? CLIENT_OK : CLIENT_FAILED;
}
