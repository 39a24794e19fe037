/* flotilla status: asks every node that the member table names, and shows who does not answer.
 *
 * Any node gives the list of members; each row then comes from the node itself, so that it is what
 * that node says, and a node that is gone is seen to be gone. */
#include "cli/cli_priv.h"
#include "grid/grid.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    OTHER_TIMEOUT_S = 2
};

static const char TARGET[] = "/v1/flotilla/status";
static const char OTHER_CLUSTER[] = "it belongs to another cluster";
static const struct bytes NO_BODY = {NULL, 0};

/* The status of a member; NULL: it does not answer, and why. */
static json_t *ask_member(const struct cli_work *work, const json_t *member, struct err_note *note)
{
    struct client other;
    struct http_reply reply;
    json_t *status = NULL;
    const char *addr = client_text(member, "http_address");
    if (client_open_other(&work->client, bytes_of_str(addr), &other) != CLIENT_OK) {
        (void)err_note_set(note, ERR_BAD_INPUT, "its address \"%s\" is unreadable", addr);
        return NULL;
    }
    other.timeout_s = OTHER_TIMEOUT_S;
    if (client_try(&other, HTTP1_METHOD_GET, bytes_of_str(TARGET), NO_BODY, &reply, note) !=
        ERR_OK) {
        return NULL;
    }
    if (reply.status != 200 || client_parse(buf_bytes(&reply.body), &status) != ERR_OK) {
        (void)err_note_set(note, ERR_BAD_INPUT, "it answers %u", reply.status);
    }
    http_reply_done(&reply);
    return status;
}

/* A directory of another cluster at a member's address: it answers, but not for this cluster. */
static bool is_of_other_cluster(const json_t *first, const json_t *status)
{
    const char *ours = client_text(first, "cluster_id");
    const char *theirs = client_text(status, "cluster_id");
    bool both_belong = strtoull(ours, NULL, 16) != 0 && strtoull(theirs, NULL, 16) != 0;
    return both_belong && strcmp(ours, theirs) != 0;
}

/* Adds {"member": .., "status": .. or null, "error": ..} per member; the asked node's own status is
 * not asked for again. Counts those that answered. */
static json_t *ask_all(const struct cli_work *work, json_t *first)
{
    json_t *rows = json_array();
    const json_t *members = json_object_get(first, "members");
    uint64_t self = client_number(json_object_get(first, "node"), "id");
    for (size_t i = 0; i < json_array_size(members); i++) {
        json_t *member = json_array_get(members, i);
        struct err_note note = {{0}};
        json_t *status = client_number(member, "id") == self ? json_incref(first)
                                                             : ask_member(work, member, &note);
        if (status != NULL && is_of_other_cluster(first, status)) {
            (void)err_note_set(&note, ERR_MISMATCH, "%s", OTHER_CLUSTER);
            json_decref(status);
            status = NULL;
        }
        json_t *row = json_object();
        (void)json_object_set(row, "member", member);
        (void)json_object_set_new(row, "status", status == NULL ? json_null() : status);
        (void)json_object_set_new(row, "error",
                                  status == NULL ? json_string(note.text) : json_null());
        (void)json_array_append_new(rows, row);
    }
    return rows;
}

/* The commit index of whoever is furthest. */
static uint64_t newest_commit(const json_t *rows)
{
    uint64_t newest = 0;
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *status = json_object_get(json_array_get(rows, i), "status");
        uint64_t commit = client_number(json_object_get(status, "indices"), "commit");
        newest = commit > newest ? commit : newest;
    }
    return newest;
}

/* The leader of the highest term that somebody knows; NULL: none. */
static const json_t *find_leader(const json_t *rows, uint64_t *ret_term)
{
    const json_t *leader = NULL;
    *ret_term = 0;
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *status = json_object_get(json_array_get(rows, i), "status");
        const json_t *known = json_object_get(status, "leader");
        uint64_t term = client_number(status, "term");
        if (json_is_object(known) && (leader == NULL || term > *ret_term)) {
            leader = known;
        }
        *ret_term = term > *ret_term ? term : *ret_term;
    }
    return leader;
}

static const char *condition_of(const json_t *status)
{
    if (json_is_true(json_object_get(status, "repairing"))) {
        return "repairing";
    }
    return json_is_true(json_object_get(status, "voter")) ? "voter" : "learner";
}

static void add_answered(struct grid *grid, const json_t *status, uint64_t newest)
{
    const json_t *indices = json_object_get(status, "indices");
    uint64_t applied = client_number(indices, "applied");
    grid_cell(grid, "%s", client_text(status, "role"));
    grid_cell(grid, "%s", condition_of(status));
    grid_cell(grid, "%llu", (unsigned long long)client_number(status, "term"));
    grid_cell(grid, "%llu", (unsigned long long)client_number(indices, "commit"));
    grid_cell(grid, "%llu", (unsigned long long)applied);
    grid_cell(grid, "%llu", (unsigned long long)(newest > applied ? newest - applied : 0));
    grid_cell(grid, "%.1f",
              (double)client_number(json_object_get(status, "wal"), "bytes") / (1024 * 1024));
    grid_cell(grid, "%s", client_text(json_object_get(status, "node"), "backend"));
}

static int print_rows(const struct cli_work *work, const json_t *rows)
{
    static const char *const HEADINGS[] = {"NODE",   "HTTP API", "ROLE", "MEMBER",  "TERM",
                                           "COMMIT", "APPLIED",  "LAG",  "WAL MIB", "BACKEND"};
    uint64_t term = 0;
    uint64_t newest = newest_commit(rows);
    const json_t *leader = find_leader(rows, &term);
    size_t answered = 0;
    struct grid grid;
    grid_init(&grid, 10, HEADINGS);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        const json_t *member = json_object_get(row, "member");
        const json_t *status = json_object_get(row, "status");
        grid_cell(&grid, "%s", client_text(member, "name"));
        grid_cell(&grid, "%s", client_text(member, "http_address"));
        if (json_is_object(status)) {
            answered++;
            add_answered(&grid, status, newest);
            continue;
        }
        bool other = strcmp(client_text(row, "error"), OTHER_CLUSTER) == 0;
        grid_cell(&grid, "%s", other ? "other cluster" : "unreachable");
        for (int blank = 0; blank < 7; blank++) {
            grid_cell(&grid, "-");
        }
    }
    struct buf text;
    buf_init(&text, GRID_BYTES_MAX);
    enum err err = buf_printf(&text, "leader %s, term %llu, %zu of %zu nodes answer\n",
                              leader == NULL ? "none" : client_text(leader, "name"),
                              (unsigned long long)term, answered, json_array_size(rows));
    if (err == ERR_OK) {
        err = grid_print(&grid, &text);
    }
    int code = err == ERR_OK ? client_print(&work->client, buf_bytes(&text)) : CLIENT_FAILED;
    buf_done(&text);
    grid_done(&grid);
    return code;
}

static bool has_leader(const json_t *rows)
{
    uint64_t term = 0;
    return find_leader(rows, &term) != NULL;
}

int cli_status(const struct cli_call *call)
{
    struct cli_work work;
    int code = cli_begin(call, 0, 0, &work);
    if (work.ended) {
        return code;
    }
    json_t *first = NULL;
    code = client_json(&work.client, bytes_of_str(TARGET), &first);
    if (code != CLIENT_OK) {
        return code;
    }
    json_t *rows = ask_all(&work, first);
    code = work.options.json ? client_print_json(&work.client, rows) : print_rows(&work, rows);
    if (code == CLIENT_OK && !has_leader(rows)) {
        code = client_fail(&work.client, CLIENT_FAILED,
                           "no leader: writes wait until a majority of the nodes is up");
    }
    json_decref(rows);
    json_decref(first);
    return code;
}
