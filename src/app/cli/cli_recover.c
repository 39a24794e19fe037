/* flotilla recover: a cluster that has lost its majority for good goes on with one survivor.
 *
 * Place: app/cli, over node/recover. Without --i-accept-data-loss it reads and reports; with it,
 * the same report is printed from the locked directory before anything is written. */
#include "cli/cli_dump.h"
#include "cli/cli_priv.h"
#include "disk/disk.h"
#include "loop/loop.h"
#include "mem/mem.h"
#include "process/process.h"
#include "recover/recover.h"
#include "store/store.h"

#include <stdio.h>
#include <unistd.h>

enum {
    META_GROUP = 1,
    PATH_BYTES = 1024
};

struct recovery {
    const struct cli_call *call;
    struct cli_recover_options options;
    struct cli_dump dump;
    struct recover_report report;
};

/* ---- what is known --------------------------------------------------------------------------- */

/* What the state had applied at a clean stop; 0: the node was killed, and the state tells nothing.
 * Without its mark the state is not opened: that would begin a new one. */
static raft_index applied_of(const char *data)
{
    char path[PATH_BYTES];
    (void)snprintf(path, sizeof(path), "%s/state/clean", data);
    if (access(path, R_OK) != 0) {
        return 0;
    }
    (void)snprintf(path, sizeof(path), "%s/state", data);
    struct store_cfg cfg;
    store_cfg_init(&cfg);
    struct store *store = NULL;
    struct store_reader *reader = NULL;
    bool trusted = false;
    uint64_t applied = 0;
    if (store_open(path, &cfg, &store, &trusted, NULL) != ERR_OK) {
        return 0;
    }
    if (trusted && store_reader_new(store, &reader) == ERR_OK &&
        store_read_begin(reader) == ERR_OK) {
        struct table_txn txn;
        store_read_tables(reader, META_GROUP, &txn);
        if (table_applied(&txn, &applied) != ERR_OK) {
            applied = 0;
        }
    }
    store_reader_free(reader);
    return store_close(store, trusted, NULL) == ERR_OK ? applied : 0;
}

/* ---- the report ------------------------------------------------------------------------------ */

/* The other members, and what this node was itself. */
static void say_members(struct recovery *self, const struct recover_group *group)
{
    const struct identity *identity = &self->report.identity;
    char members[CLI_SHOWN_MAX];
    const struct raft_member *own = NULL;
    cli_dump_text(&self->dump, "  members, by entry %llu    voters %s%s\n",
                  (unsigned long long)group->config_index,
                  cli_dump_members(&group->config, members),
                  group->config.joint ? " (a change was under way)" : "");
    cli_dump_text(&self->dump, "  given up for good       ");
    for (uint32_t i = 0; i < group->config.count; i++) {
        const struct raft_member *member = &group->config.members[i];
        if (member->node == identity->node_id) {
            own = member;
        } else {
            cli_dump_text(&self->dump, " %u", member->node);
        }
    }
    cli_dump_text(&self->dump, "\n");
    if (own == NULL || own->storage_id != identity->storage_id) {
        cli_dump_text(&self->dump, "  CAUTION: this disk was no member: it may lack much\n");
    } else if (own->role != RAFT_VOTER) {
        cli_dump_text(&self->dump, "  CAUTION: this node did not vote: entries may have been "
                                   "acknowledged without it\n");
    }
}

static void say_group(struct recovery *self, const struct recover_group *group)
{
    cli_dump_text(&self->dump, "Group %u\n", group->group);
    say_members(self, group);
    cli_dump_text(&self->dump, "  last entry               %llu of term %llu; highest term %llu\n",
                  (unsigned long long)group->last, (unsigned long long)group->last_term,
                  (unsigned long long)group->term);
    cli_dump_text(&self->dump, "  certainly committed      up to entry %llu\n",
                  (unsigned long long)group->committed);
    cli_dump_text(
        &self->dump,
        "  perhaps committed        %llu entries behind it: they are kept and become committed\n",
        (unsigned long long)(group->last - group->committed));
    cli_dump_text(&self->dump,
                  "  perhaps lost             whatever came after entry %llu and was acknowledged "
                  "without this disk\n",
                  (unsigned long long)group->last);
}

static void say(struct recovery *self)
{
    const struct identity *identity = &self->report.identity;
    cli_dump_text(&self->dump, "%s: node %u of cluster %016llx, disk %016llx\n", self->options.data,
                  identity->node_id, (unsigned long long)identity->cluster_id,
                  (unsigned long long)identity->storage_id);
    if (self->report.torn) {
        cli_dump_text(&self->dump, "An unfinished write at the end of the log is cut off: nobody "
                                   "was told of it\n");
    }
    for (uint32_t i = 0; i < self->report.group_count; i++) {
        say_group(self, &self->report.groups[i]);
    }
}

/* ---- the two ways ---------------------------------------------------------------------------- */

static enum err look(struct recovery *self, struct disk *disk, struct err_note *note)
{
    enum err err = recover_look(disk, applied_of(self->options.data), &self->report, note);
    if (err == ERR_OK && !recover_is_needed(&self->report)) {
        err = err_note_set(note, ERR_EXISTS, "node %u is the only member already: just start it",
                           self->report.identity.node_id);
    }
    return err;
}

static int dry_run(struct recovery *self)
{
    struct err_note note = {{0}};
    struct disk_loop *disk = NULL;
    long holder = 0;
    enum err err = disk_look_open(self->options.data, &disk, &holder, &note);
    if (err == ERR_OK && holder != 0) {
        err = err_note_set(&note, ERR_IN_USE, "process %ld runs on this directory: stop it first",
                           holder);
    }
    if (err == ERR_OK) {
        err = look(self, disk_loop_base(disk), &note);
    }
    disk_loop_close(disk);
    if (err != ERR_OK) {
        return cli_dump_fail(&self->dump, "%s: %s", self->options.data, note.text);
    }
    say(self);
    cli_dump_text(&self->dump,
                  "\nNothing was changed. If the nodes that are given up are gone for good, and no "
                  "survivor has a later last entry\n(compare their reports: first the term, then "
                  "the entry), run again with --i-accept-data-loss.\n");
    return CLIENT_FAILED;
}

static enum err do_it(struct recovery *self, struct loop *loop, struct err_note *note)
{
    struct disk_loop *disk = NULL;
    uint64_t random = 0;
    uint64_t cluster_id = 0;
    enum err err = disk_loop_open(loop, self->options.data, false, &disk, note);
    if (err != ERR_OK) {
        return err;
    }
    err = look(self, disk_loop_base(disk), note);
    if (err == ERR_OK) {
        say(self);
        process_random(&random, sizeof(random));
        err = recover_write(loop, disk_loop_base(disk), &self->report, random, &cluster_id, note);
    }
    disk_loop_close(disk);
    if (err == ERR_OK) {
        cli_dump_text(&self->dump,
                      "\nDone: node %u is the only voter of the new cluster %016llx. Start it; it "
                      "leads at once.\nWipe the other nodes' directories before they join: with "
                      "their old data they are refused.\n",
                      self->report.identity.node_id, (unsigned long long)cluster_id);
    }
    return err;
}

static int recover(struct recovery *self)
{
    struct err_note note = {{0}};
    struct loop *loop = NULL;
    struct loop_config cfg = {.backend = LOOP_BACKEND_EPOLL};
    enum err err = loop_new(&cfg, &loop, &note);
    if (err == ERR_OK) {
        err = do_it(self, loop, &note);
    }
    loop_free(loop);
    return err == ERR_OK ? CLIENT_OK
                         : cli_dump_fail(&self->dump, "%s: %s", self->options.data, note.text);
}

int cli_recover(const struct cli_call *call)
{
    struct recovery *self = mem_alloc(sizeof(*self));
    struct flag_words words;
    struct err_note note = {{0}};
    int code = CLIENT_OK;
    enum err err =
        flags_read(*call->command->flags, call->argc, call->argv, &self->options, &words, &note);
    if (err != ERR_OK) {
        code = cli_usage(call, "%s", note.text);
    } else if (words.help) {
        code = cli_help(call);
    } else if (words.count > 0) {
        code = cli_usage(call, "\"%s\" is one word too many", words.at[0]);
    } else if (self->options.data == NULL) {
        code = cli_usage(call, "which directory? --data DIR");
    } else {
        cli_dump_init(&self->dump, call, false);
        code = cli_dump_done(&self->dump, self->options.accept ? recover(self) : dry_run(self));
    }
    mem_free(self);
    return code;
}
