/* The server's settings: from a YAML file, then from flags of the same names, checked as a whole.
 *
 * Place: app. Every refusal names the setting and says what would do; those of the file name its
 * line too. Nothing listens beyond loopback by default: other nodes may connect from elsewhere only
 * with a cluster secret, clients (of whom this version asks no credentials) only when the operator
 * says so with insecure-clients. */
#ifndef CONFIG_CONFIG_H
#define CONFIG_CONFIG_H

#include "flags/flags.h"
#include "log/log.h"
#include "mem/mem.h"
#include "net/net.h"
#include "node/node.h"

/* As given; texts are borrowed from the arguments or from `texts`. */
struct config {
    const char *config; /* path of the YAML file; NULL: none */
    uint64_t id;
    const char *name;  /* NULL: "n<id>" */
    const char *data;  /* data directory, required */
    const char *peers; /* "1=127.0.0.1:8300,2=..."; NULL: this node alone */
    const char *http;
    const char *gateway;
    const char *peer_listen;
    const char *secret_file; /* NULL: none */
    bool insecure_clients;
    const char *loop;
    uint64_t edges;
    const char *access_log; /* "off" or a path */
    const char *log_level;
    const char *datacenter;

    struct arena texts; /* of the file's values */
};

/* What follows from it. */
struct server_plan {
    struct node_cfg node;
    struct net_addr http;
    struct net_addr gateway;
    const char *access_log;  /* NULL: none; borrowed from the config */
    const char *secret_file; /* NULL: none; borrowed from the config; read at start and on SIGHUP */
    enum log_level log_level;
};

extern const struct flag_table CONFIG_FLAGS;

/* The defaults. */
void config_init(struct config *config);
/* Frees the file's texts. */
void config_done(struct config *config);
/* Reads the arguments and, before them, the file that --config names. ERR_BAD_INPUT, ERR_NOT_FOUND,
 * ERR_DENIED, ERR_IO with a sentence in the note. */
ERR_CHECKED enum err config_read(struct config *config, int argc, char **argv,
                                 struct flag_words *ret_words, struct err_note *note);
/* Sets what a YAML file says: a mapping of flag names to scalars; peers may be a list. Errors name
 * file and line ("server.yaml:3: unknown name "htpp": did you mean "http"?"). */
ERR_CHECKED enum err config_read_file(struct config *config, const char *path,
                                      struct err_note *note);
/* ERR_BAD_INPUT with a note that names the flag. */
ERR_CHECKED enum err config_plan(const struct config *config, struct server_plan *ret_plan,
                                 struct err_note *note);

#endif
