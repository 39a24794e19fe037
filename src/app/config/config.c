/* Defaults and checks of the server's settings. */
#include "config/config.h"

#include "loop/loop.h"
#include "member/member.h"
#include "text/text.h"

#include <stdio.h>
#include <string.h>

enum {
    TEXTS_CHUNK = 4096,
    TEXTS_MAX = 256 * 1024
};

/* clang-format off */
static const struct flag FLAGS[] = {
    {"config", FLAG_TEXT, "FILE", "YAML file with these names as keys; flags win over it",
     offsetof(struct config, config)},
    {"id", FLAG_NUMBER, "N", "number of this node in the cluster, 1 to 255 (default 1)",
     offsetof(struct config, id)},
    {"name", FLAG_TEXT, "NAME", "unique name of this node (default n<id>)",
     offsetof(struct config, name)},
    {"data", FLAG_TEXT, "DIR", "directory for everything the node keeps (required)",
     offsetof(struct config, data)},
    {"peers", FLAG_TEXT, "1=HOST:PORT,...", "first members of the cluster, 1, 3 or 5 of them,"
     " this node included", offsetof(struct config, peers)},
    {"http", FLAG_TEXT, "HOST:PORT", "HTTP API and Consul API (default 127.0.0.1:8500)",
     offsetof(struct config, http)},
    {"gateway", FLAG_TEXT, "HOST:PORT", "gateway (default 127.0.0.1:8080)",
     offsetof(struct config, gateway)},
    {"peer-listen", FLAG_TEXT, "HOST:PORT", "for the other nodes (default 127.0.0.1:8300)",
     offsetof(struct config, peer_listen)},
    {"secret-file", FLAG_TEXT, "FILE", "the cluster's secret (flotilla secret new): nodes speak TLS",
     offsetof(struct config, secret_file)},
    {"insecure-clients", FLAG_SWITCH, NULL, "--http and --gateway may be beyond loopback: whoever"
     " reaches them is served", offsetof(struct config, insecure_clients)},
    {"loop", FLAG_TEXT, "BACKEND", "auto, uring or epoll (default auto)",
     offsetof(struct config, loop)},
    {"edges", FLAG_NUMBER, "N", "threads for clients, 0 for cores - 1 (default 0)",
     offsetof(struct config, edges)},
    {"access-log", FLAG_TEXT, "FILE", "the gateway's access log, or off (default off)",
     offsetof(struct config, access_log)},
    {"log-level", FLAG_TEXT, "LEVEL", "debug, info, warn or error (default info)",
     offsetof(struct config, log_level)},
    {"datacenter", FLAG_TEXT, "NAME", "as Consul's clients see it (default dc1)",
     offsetof(struct config, datacenter)},
};
/* clang-format on */

const struct flag_table CONFIG_FLAGS = {FLAGS, sizeof(FLAGS) / sizeof(FLAGS[0])};

void config_init(struct config *config)
{
    *config = (struct config){.id = 1,
                              .http = "127.0.0.1:8500",
                              .gateway = "127.0.0.1:8080",
                              .peer_listen = "127.0.0.1:8300",
                              .loop = "auto",
                              .access_log = "off",
                              .log_level = "info",
                              .datacenter = "dc1"};
    arena_init(&config->texts, TEXTS_CHUNK, TEXTS_MAX);
}

void config_done(struct config *config)
{
    arena_done(&config->texts);
}

enum err config_read(struct config *config, int argc, char **argv, struct flag_words *ret_words,
                     struct err_note *note)
{
    struct config first = *config; /* only to learn the file's name before its values are set */
    enum err err = flags_read(CONFIG_FLAGS, argc, argv, &first, ret_words, note);
    if (err != ERR_OK || ret_words->help) {
        return err;
    }
    if (first.config != NULL) {
        err = config_read_file(config, first.config, note);
    }
    return err == ERR_OK ? flags_read(CONFIG_FLAGS, argc, argv, config, ret_words, note) : err;
}

/* ---- checks ---------------------------------------------------------------------------------- */

static enum err plan_address(const char *flag, const char *text, struct net_addr *ret_addr,
                             struct err_note *note)
{
    char host[NET_IP_TEXT_MAX];
    uint16_t port = 0;
    struct net_addr addr;
    enum err err = text_parse_host_port(bytes_of_str(text), host, sizeof(host), &port);
    if (err != ERR_OK || port == 0 || net_addr_make(bytes_of_str(host), port, &addr) != ERR_OK) {
        return err_note_set(note, ERR_BAD_INPUT,
                            "--%s: \"%s\" is not an address like 127.0.0.1:8500", flag, text);
    }
    *ret_addr = addr;
    return ERR_OK;
}

/* Where clients connect. */
static enum err plan_door(const struct config *config, const char *flag, const char *text,
                          struct net_addr *ret_addr, struct err_note *note)
{
    enum err err = plan_address(flag, text, ret_addr, note);
    if (err != ERR_OK || config->insecure_clients || net_addr_is_loopback(ret_addr)) {
        return err;
    }
    return err_note_set(note, ERR_BAD_INPUT,
                        "--%s: %s is not on loopback, and this version asks clients for no "
                        "credentials: use 127.0.0.1:%u, or give --insecure-clients to serve "
                        "whoever reaches it",
                        flag, text, net_addr_port(ret_addr));
}

/* Where other nodes connect; they must be able to dial what is written here. */
static enum err plan_node_address(const struct config *config, const char *flag, const char *text,
                                  struct net_addr *ret_addr, struct err_note *note)
{
    enum err err = plan_address(flag, text, ret_addr, note);
    if (err != ERR_OK || net_addr_is_loopback(ret_addr)) {
        return err;
    }
    if (config->secret_file == NULL) {
        return err_note_set(note, ERR_BAD_INPUT,
                            "--%s: %s is not on loopback: that needs a cluster secret; make one "
                            "with \"flotilla secret new FILE\", copy it to every node and give "
                            "--secret-file FILE",
                            flag, text);
    }
    char ip[NET_IP_TEXT_MAX];
    (void)net_ip_format(ret_addr, ip);
    if (strcmp(ip, "0.0.0.0") == 0 || strcmp(ip, "::") == 0) {
        return err_note_set(note, ERR_BAD_INPUT,
                            "--%s: %s is no address that another node can dial: give the one that "
                            "this machine has in its network",
                            flag, text);
    }
    return ERR_OK;
}

static enum err plan_one_peer(const struct config *config, struct bytes text, struct node_cfg *cfg,
                              struct err_note *note)
{
    size_t equals = bytes_find(text, '=');
    uint64_t id = 0;
    char peer[NODE_ADDR_MAX];
    if (equals == text.len || text_parse_u64(bytes_of(text.data, equals), &id) != ERR_OK ||
        id == 0 || id > NODE_ID_MAX ||
        bytes_to_cstr(bytes_from(text, equals + 1), peer, sizeof(peer)) != ERR_OK) {
        return err_note_set(note, ERR_BAD_INPUT, "--peers: \"%.*s\" is not like 1=127.0.0.1:8300",
                            BYTES_PRINT(text));
    }
    struct net_addr addr;
    enum err err = plan_node_address(config, "peers", peer, &addr, note);
    if (err != ERR_OK) {
        return err;
    }
    if (cfg->peer_count == NODE_PEERS_MAX) {
        return err_note_set(note, ERR_BAD_INPUT, "--peers: a cluster begins with 1, 3 or 5 nodes");
    }
    for (uint32_t i = 0; i < cfg->peer_count; i++) {
        if (cfg->peers[i].id == id || strcmp(cfg->peers[i].peer_addr, peer) == 0) {
            return err_note_set(note, ERR_BAD_INPUT,
                                "--peers: node %u or address %s is there twice", (unsigned)id,
                                peer);
        }
    }
    struct node_peer_cfg *to = &cfg->peers[cfg->peer_count++];
    to->id = (raft_node_id)id;
    memcpy(to->peer_addr, peer, sizeof(to->peer_addr));
    return ERR_OK;
}

static enum err plan_own_peer(const struct node_cfg *cfg, struct err_note *note)
{
    for (uint32_t i = 0; i < cfg->peer_count; i++) {
        if (cfg->peers[i].id != cfg->id) {
            continue;
        }
        if (strcmp(cfg->peers[i].peer_addr, cfg->peer_addr) == 0) {
            return ERR_OK;
        }
        return err_note_set(note, ERR_BAD_INPUT,
                            "--peers says that node %u is at %s, --peer-listen %s", cfg->id,
                            cfg->peers[i].peer_addr, cfg->peer_addr);
    }
    return err_note_set(note, ERR_BAD_INPUT, "--peers does not name this node (--id %u)", cfg->id);
}

static enum err plan_peers(const struct config *config, struct node_cfg *cfg, struct err_note *note)
{
    if (config->peers == NULL) {
        cfg->peer_count = 1;
        cfg->peers[0].id = cfg->id;
        memcpy(cfg->peers[0].peer_addr, cfg->peer_addr, sizeof(cfg->peer_addr));
        return ERR_OK;
    }
    struct bytes rest = bytes_of_str(config->peers);
    enum err err = ERR_OK;
    bool more = true;
    while (more && err == ERR_OK) {
        size_t comma = bytes_find(rest, ',');
        err = plan_one_peer(config, bytes_of(rest.data, comma), cfg, note);
        more = comma < rest.len;
        rest = more ? bytes_from(rest, comma + 1) : rest;
    }
    if (err != ERR_OK) {
        return err;
    }
    if (cfg->peer_count != 1 && cfg->peer_count != 3 && cfg->peer_count != 5) {
        return err_note_set(note, ERR_BAD_INPUT,
                            "--peers: a cluster begins with 1, 3 or 5 nodes, not with %u",
                            cfg->peer_count);
    }
    return plan_own_peer(cfg, note);
}

static enum err plan_text(const char *flag, const char *text, char *dest, size_t size,
                          struct err_note *note)
{
    if (text[0] == '\0') {
        return err_note_set(note, ERR_BAD_INPUT, "--%s is empty", flag);
    }
    if (bytes_to_cstr(bytes_of_str(text), dest, size) != ERR_OK) {
        return err_note_set(note, ERR_BAD_INPUT, "--%s: \"%.40s...\" is longer than %zu bytes",
                            flag, text, size - 1);
    }
    return ERR_OK;
}

/* Names are shown by DNS too. */
static enum err plan_name(const char *flag, const char *text, char *dest, struct err_note *note)
{
    enum err err = plan_text(flag, text, dest, NODE_NAME_MAX, note);
    if (err == ERR_OK && text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                           "0123456789-_.")] != '\0') {
        return err_note_set(note, ERR_BAD_INPUT,
                            "--%s: \"%s\": only letters, digits, - _ and . are allowed", flag,
                            text);
    }
    return err;
}

static enum err plan_texts(const struct config *config, struct node_cfg *cfg, struct err_note *note)
{
    char name[NODE_NAME_MAX];
    (void)snprintf(name, sizeof(name), "n%u", cfg->id);
    if (config->data == NULL) {
        return err_note_set(note, ERR_BAD_INPUT,
                            "--data DIR is missing: where the node keeps everything");
    }
    enum err err = plan_text("data", config->data, cfg->data_dir, sizeof(cfg->data_dir) - 32, note);
    if (err == ERR_OK) {
        err = plan_name("name", config->name == NULL ? name : config->name, cfg->name, note);
    }
    if (err == ERR_OK) {
        err = plan_name("datacenter", config->datacenter, cfg->datacenter, note);
    }
    return err;
}

static enum err plan_addresses(const struct config *config, struct server_plan *plan,
                               struct err_note *note)
{
    struct net_addr peer;
    enum err err = plan_door(config, "http", config->http, &plan->http, note);
    if (err == ERR_OK) {
        err = plan_door(config, "gateway", config->gateway, &plan->gateway, note);
    }
    if (err == ERR_OK) {
        err = plan_node_address(config, "peer-listen", config->peer_listen, &peer, note);
    }
    if (err != ERR_OK) {
        return err;
    }
    if (net_addr_eq(&plan->http, &plan->gateway) || net_addr_eq(&plan->http, &peer) ||
        net_addr_eq(&plan->gateway, &peer)) {
        return err_note_set(note, ERR_BAD_INPUT,
                            "--http, --gateway and --peer-listen need three different addresses");
    }
    (void)net_addr_format(&plan->http, plan->node.http_addr);
    (void)net_addr_format(&plan->gateway, plan->node.gateway_addr);
    (void)net_addr_format(&peer, plan->node.peer_addr);
    return ERR_OK;
}

static enum err plan_words(const struct config *config, struct server_plan *plan,
                           struct err_note *note)
{
    enum loop_backend backend = LOOP_BACKEND_AUTO;
    if (loop_backend_parse(bytes_of_str(config->loop), &backend) != ERR_OK) {
        return err_note_set(note, ERR_BAD_INPUT, "--loop: \"%s\" is not auto, uring or epoll",
                            config->loop);
    }
    plan->node.loop_backend = (int)backend;
    if (log_level_parse(bytes_of_str(config->log_level), &plan->log_level) != ERR_OK) {
        return err_note_set(note, ERR_BAD_INPUT,
                            "--log-level: \"%s\" is not debug, info, warn or error",
                            config->log_level);
    }
    plan->secret_file = config->secret_file;
    plan->access_log = strcmp(config->access_log, "off") == 0 ? NULL : config->access_log;
    return ERR_OK;
}

enum err config_plan(const struct config *config, struct server_plan *ret_plan,
                     struct err_note *note)
{
    if (config->id == 0 || config->id > NODE_ID_MAX) {
        return err_note_set(note, ERR_BAD_INPUT, "--id: a node's number is from 1 to %d",
                            NODE_ID_MAX);
    }
    if (config->edges > NODE_EDGES_MAX) {
        return err_note_set(note, ERR_BAD_INPUT, "--edges: at most %d", NODE_EDGES_MAX);
    }
    struct server_plan plan = {
        .node = {.id = (raft_node_id)config->id, .edge_count = (uint32_t)config->edges}};
    enum err err = plan_texts(config, &plan.node, note);
    if (err == ERR_OK) {
        err = plan_words(config, &plan, note);
    }
    if (err == ERR_OK) {
        err = plan_addresses(config, &plan, note);
    }
    if (err == ERR_OK) {
        err = plan_peers(config, &plan.node, note);
    }
    if (err == ERR_OK) {
        *ret_plan = plan;
    }
    return err;
}
