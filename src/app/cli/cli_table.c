/* All commands with their help. */
#include "cli/cli_table.h"

#include "cli/cli_priv.h"
#include "config/config.h"
#include "dev/dev.h"

/* clang-format off */
static const struct flag FLAGS_COMMON[] = {CLI_FLAGS_COMMON};
static const struct flag FLAGS_READ[] = {CLI_FLAG_STALE, CLI_FLAGS_COMMON};
static const struct flag FLAGS_PUT[] = {
    {"flags", FLAG_NUMBER, "N", "a number kept with the value (default 0)",
     offsetof(struct cli_options, flags)},
    CLI_FLAGS_COMMON};
static const struct flag FLAGS_CAS[] = {
    {"index", FLAG_NUMBER, "N", "ModifyIndex that the key must have; 0: it must not be there",
     offsetof(struct cli_options, index)},
    CLI_FLAGS_COMMON};
static const struct flag FLAGS_DELETE[] = {
    {"recurse", FLAG_SWITCH, NULL, "all keys with this prefix",
     offsetof(struct cli_options, recurse)},
    {"index", FLAG_NUMBER, "N", "only if the key has this ModifyIndex",
     offsetof(struct cli_options, index)},
    CLI_FLAGS_COMMON};
static const struct flag FLAGS_ROUTE_ADD[] = {
    {"service", FLAG_TEXT, "NAME", "the service that answers (required)",
     offsetof(struct cli_options, service)},
    {"host", FLAG_TEXT, "HOST,...", "shop.example.com, '*.example.com' or '*' (default '*')",
     offsetof(struct cli_options, host)},
    {"path", FLAG_TEXT, "/PREFIX", "path elements at the beginning (default /)",
     offsetof(struct cli_options, path)},
    {"id", FLAG_TEXT, "ID", "name of the route (default made of the rest)",
     offsetof(struct cli_options, id)},
    CLI_FLAGS_COMMON};
static const struct flag FLAGS_WAL_DUMP[] = {
    {"data", FLAG_TEXT, "DIR", "data directory of a node (required)",
     offsetof(struct cli_files_options, data)},
    {"group", FLAG_NUMBER, "N", "records of this group only",
     offsetof(struct cli_files_options, group)},
    {"from", FLAG_NUMBER, "INDEX", "entries, truncations and snapshot marks from this index on",
     offsetof(struct cli_files_options, from)},
    {"to", FLAG_NUMBER, "INDEX", "and up to this index", offsetof(struct cli_files_options, to)},
    {"limit", FLAG_NUMBER, "N", "print at most N records; all are checked",
     offsetof(struct cli_files_options, limit)},
    {"payload", FLAG_SWITCH, NULL, "print what the records contain",
     offsetof(struct cli_files_options, payload)},
    {"json", FLAG_SWITCH, NULL, "print JSON, one object per line",
     offsetof(struct cli_files_options, json)}};
static const struct flag FLAGS_SNAPSHOT_INSPECT[] = {
    {"rows", FLAG_SWITCH, NULL, "list the keys", offsetof(struct cli_files_options, rows)},
    {"prefix", FLAG_TEXT, "P", "only keys that begin so (with --rows)",
     offsetof(struct cli_files_options, prefix)},
    {"limit", FLAG_NUMBER, "N", "list at most N keys of a file (default 1000)",
     offsetof(struct cli_files_options, limit)},
    {"json", FLAG_SWITCH, NULL, "print JSON, one object per line",
     offsetof(struct cli_files_options, json)}};
static const struct flag FLAGS_SNAPSHOT_SAVE[] = {
    {"timeout", FLAG_NUMBER, "SECONDS", "for the whole transfer (default 3600)",
     offsetof(struct cli_options, timeout_s)},
    {"addr", FLAG_TEXT, "HOST:PORT", "node to ask (default FLOTILLA_ADDR, then 127.0.0.1:8500)",
     offsetof(struct cli_options, addr)},
    CLI_FLAG_STALE};
static const struct flag FLAGS_SNAPSHOT_RESTORE[] = {
    {"data", FLAG_TEXT, "DIR", "an empty or new directory: the node's data (required)",
     offsetof(struct cli_recover_options, data)},
    {"id", FLAG_NUMBER, "N", "number of the node, 1 to 255 (required)",
     offsetof(struct cli_recover_options, id)}};
static const struct flag FLAGS_RECOVER[] = {
    {"data", FLAG_TEXT, "DIR", "data directory of the surviving node (required)",
     offsetof(struct cli_recover_options, data)},
    {"i-accept-data-loss", FLAG_SWITCH, NULL, "do it; without this it only reports",
     offsetof(struct cli_recover_options, accept)}};

#define FLAGS_OF(rows) &(const struct flag_table){rows, sizeof(rows) / sizeof((rows)[0])}
#define NO_FLAGS &(const struct flag_table){NULL, 0}

static const struct cli_command COMMANDS[] = {
    {"dev", "", "run a cluster of real nodes on this machine",
     "Every node is a process of its own, with its data in DIR/nK/ (flotilla.pid, flotilla.log).\n"
     "Node k listens on the base ports + 10*(k-1): 8500 HTTP API and Consul API, 8080 gateway,\n"
     "8300 other nodes. Ctrl-C stops everything in order; a node that dies is started again.\n",
     "  flotilla dev --nodes 3 --demo\n"
     "  flotilla dev --nodes 3 --data ./cluster         keeps the data\n"
     "  flotilla dev --nodes 3 --demo --exit-after 20   takes the tour by itself; 0: all held\n"
     "  kill -9 $(cat ./cluster/n1/flotilla.pid)        what it is made to survive\n",
     &DEV_FLAGS, cli_dev},
    {"server", "--data DIR", "run one node",
     "Stops in order on SIGTERM and SIGINT; kill -9 is safe too. SIGHUP opens the access log\n"
     "anew. Exit codes: 0 stopped as asked; 1 could not start, or stopped by itself (a failed or\n"
     "full disk); 2 wrong settings. In this version every address must be on loopback.\n",
     "  flotilla server --data /var/lib/flotilla\n"
     "  flotilla server --config node1.yaml --log-level debug\n"
     "  flotilla server --id 1 --data ./n1 \\\n"
     "      --peers 1=127.0.0.1:8300,2=127.0.0.1:8310,3=127.0.0.1:8320\n"
     "\n"
     "  node1.yaml:   id: 1\n"
     "                data: /var/lib/flotilla\n"
     "                peers: [1=127.0.0.1:8300, 2=127.0.0.1:8310, 3=127.0.0.1:8320]\n",
     &CONFIG_FLAGS, cli_server},
    {"status", "", "who leads, and how every node is",
     "Asks every member itself. LAG is how many committed entries the node has not applied yet.\n"
     "Exit code 1 when nobody leads.\n",
     "  flotilla status\n"
     "  flotilla status --json --addr 127.0.0.1:8510\n",
     FLAGS_OF(FLAGS_COMMON), cli_status},
    {"members", "", "the member table: addresses, states, versions", "",
     "  flotilla members\n",
     FLAGS_OF(FLAGS_COMMON), cli_members},
    {"kv get", "KEY", "print a value",
     "Exit code 1 when there is no such key. With --json its row: Value is base64.\n",
     "  flotilla kv get greeting\n"
     "  flotilla kv get config/db --json\n"
     "  flotilla kv get greeting --stale        from this node, even without a leader\n",
     FLAGS_OF(FLAGS_READ), cli_kv_get},
    {"kv put", "KEY VALUE", "write a value; done means on the disks of a majority",
     "VALUE: a word, - for standard input, @FILE for a file.\n",
     "  flotilla kv put greeting hello\n"
     "  flotilla kv put config/db @db.json --flags 7\n"
     "  date | flotilla kv put now -\n",
     FLAGS_OF(FLAGS_PUT), cli_kv_put},
    {"kv cas", "KEY VALUE", "write a value if nobody did meanwhile",
     "Exit code 1 when the key has another index; then nothing was written.\n",
     "  flotilla kv cas lock me --index 0       only if there is no such key\n"
     "  flotilla kv get lock --json             ModifyIndex, say 17\n"
     "  flotilla kv cas lock you --index 17\n",
     FLAGS_OF(FLAGS_CAS), cli_kv_cas},
    {"kv delete", "KEY", "delete a key, or all under a prefix",
     "Deleting what is not there is a success.\n",
     "  flotilla kv delete greeting\n"
     "  flotilla kv delete config/ --recurse\n",
     FLAGS_OF(FLAGS_DELETE), cli_kv_delete},
    {"kv ls", "[PREFIX]", "list keys", "",
     "  flotilla kv ls\n"
     "  flotilla kv ls config/ --json\n",
     FLAGS_OF(FLAGS_READ), cli_kv_ls},
    {"services", "[NAME]", "services and their instances", "",
     "  flotilla services\n"
     "  flotilla services hello                 its instances, and what failing checks say\n",
     FLAGS_OF(FLAGS_READ), cli_services},
    {"route add", "--service NAME", "send requests of a host and path to a service",
     "Takes effect on all gateways within milliseconds. The most exact host wins, then the longest\n"
     "path; the same id again replaces the route.\n",
     "  flotilla route add --host '*' --path / --service hello\n"
     "  flotilla route add --host shop.example.com --path /api --service cart --id cart\n",
     FLAGS_OF(FLAGS_ROUTE_ADD), cli_route_add},
    {"route rm", "ID", "remove a route", "",
     "  flotilla route rm cart\n",
     FLAGS_OF(FLAGS_COMMON), cli_route_rm},
    {"route ls", "", "list the routes", "",
     "  flotilla route ls\n",
     FLAGS_OF(FLAGS_READ), cli_route_ls},
    {"wal dump", "--data DIR", "print and check a node's write-ahead log",
     "Reads only: no lock, no repair. What it calls damaged is what the node would find at its next\n"
     "start (docs/disk-format.md). Of a running node the newest records may be missing. Filters\n"
     "choose what is printed; everything is read, and damage is always said. With --json: objects\n"
     "of type directory, record, damage, torn or end, group, total.\n"
     "Exit codes: 0 whole, or only torn at its end; 1 damaged or unreadable; 2 wrong command line.\n",
     "  flotilla wal dump --data /var/lib/flotilla --limit 0     only the verdict and the summary\n"
     "  flotilla wal dump --data ./n1 --group 1 --from 100 --to 120 --payload\n"
     "  flotilla wal dump --data ./n1 --json | grep '\"command\":\"kv_put\"'\n",
     FLAGS_OF(FLAGS_WAL_DUMP), cli_wal_dump},
    {"snapshot inspect", "FILE_OR_DIR", "check snapshot files and show what is in them",
     "FILE_OR_DIR: a snapshot file, a directory of such files, or a node's data directory. Reads\n"
     "only, and every byte: checksums, order, counts, digest. With --json: objects of type\n"
     "snapshot, table, row, damage, passed_over, total.\n"
     "Exit codes: 0 whole; 1 damaged, unreadable or not there; 2 wrong command line.\n",
     "  flotilla snapshot inspect /var/lib/flotilla\n"
     "  flotilla snapshot inspect ./n1/snapshots --rows --prefix config/ --limit 50\n"
     "  flotilla snapshot inspect ./n1 --json | grep '\"type\":\"table\"'\n",
     FLAGS_OF(FLAGS_SNAPSHOT_INSPECT), cli_snapshot_inspect},
    {"secret new", "[FILE]", "make the cluster's secret: 256 random bits",
     "Into FILE (new, mode 600), or to standard output. Whoever has the secret is a node of the\n"
     "cluster: it is generated, never thought up; pass-phrases are refused.\n",
     "  flotilla secret new /etc/flotilla/secret\n"
     "  flotilla server --data /var/lib/flotilla --secret-file /etc/flotilla/secret ...\n",
     NO_FLAGS, cli_secret_new},
    {"secret rotate", "FILE add|switch|drop", "take one step of replacing the cluster's secret",
     "add: a new secret in line 2, accepted by whoever has the file. switch: it becomes line 1, the\n"
     "one that nodes dial with. drop: line 2, now the old one, goes (before the switch: the rotation\n"
     "is called off). After each step the file is copied to every node and every server gets SIGHUP;\n"
     "no connection is refused on the way. The file is replaced at once or not at all.\n",
     "  flotilla secret rotate /etc/flotilla/secret add\n"
     "  flotilla secret rotate /etc/flotilla/secret switch\n"
     "  flotilla secret rotate /etc/flotilla/secret drop\n",
     NO_FLAGS, cli_secret_rotate},
    {"snapshot save", "FILE", "back the cluster's state up to a file",
     "From any node, while everybody works. Holds every write that was acknowledged before the\n"
     "command began; with --stale what the node knows, even without a leader. FILE gets its name\n"
     "when it is whole, verified and on the disk.\n"
     "Exit codes: 0 done; 1 failed, no FILE; 2 wrong command line; 3 the server did not answer.\n",
     "  flotilla snapshot save backup.snap\n"
     "  flotilla snapshot save /backup/$(date +%F).snap --addr 127.0.0.1:8510\n"
     "  flotilla snapshot inspect backup.snap\n",
     FLAGS_OF(FLAGS_SNAPSHOT_SAVE), cli_snapshot_save},
    {"snapshot restore", "FILE --data DIR --id N", "begin a new cluster with a backup",
     "Offline: makes the data directory of the only voter of a new cluster. Start it with flotilla\n"
     "server --data DIR --id N; the others join with empty directories. Nodes of the old cluster\n"
     "are refused. Indices go on from the backup's (docs/operations.md, \"Backup and restore\").\n"
     "Exit codes: 0 done; 1 refused or failed; 2 wrong command line.\n",
     "  flotilla snapshot restore backup.snap --data /var/lib/flotilla --id 1\n",
     FLAGS_OF(FLAGS_SNAPSHOT_RESTORE), cli_snapshot_restore},
    {"recover", "--data DIR", "go on with one survivor when the majority is lost for good",
     "Offline: the node must be stopped. Without --i-accept-data-loss nothing is changed and the\n"
     "exit code is 1: read what may be lost. Of several survivors take the one with the highest\n"
     "term of its last entry, then the latest last entry. The node becomes the only voter of a new\n"
     "cluster with its data; nodes of the old one are refused until their directories are wiped\n"
     "(docs/operations.md, \"Disaster recovery\").\n"
     "Exit codes: 0 recovered; 1 only reported, or refused; 2 wrong command line.\n",
     "  flotilla recover --data /var/lib/flotilla\n"
     "  flotilla recover --data /var/lib/flotilla --i-accept-data-loss\n",
     FLAGS_OF(FLAGS_RECOVER), cli_recover},
    {"version", "", "print the version", "",
     "  flotilla version\n",
     FLAGS_OF(FLAGS_COMMON), cli_version},
};

/* clang-format on */

size_t cli_command_count(void)
{
    return sizeof(COMMANDS) / sizeof(COMMANDS[0]);
}

const struct cli_command *cli_command_at(size_t number)
{
    CHECK(number < cli_command_count());
    return &COMMANDS[number];
}
