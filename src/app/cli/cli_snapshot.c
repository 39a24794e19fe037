/* flotilla snapshot inspect: are these snapshot files whole, and what is in them.
 *
 * Place: app/cli, over io/store's reader: the checks are those that a node makes before it takes
 * anything from a file. Each file is read once for the verdict and the counts, and once more to
 * list rows: no row is shown before the whole file is verified. Nothing is made or removed. */
#include "cli/cli_dump.h"
#include "cli/cli_priv.h"
#include "grid/grid.h"
#include "mem/mem.h"
#include "store/snapshot_file.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    ROWS_DEFAULT = 1000,
    NAMES_MAX = 4096,
    TABLES_MAX = 256 /* a table's number is one byte */
};

struct table_sum {
    uint64_t rows;
    uint64_t key_bytes;
    uint64_t value_bytes;
};

struct inspection {
    struct cli_dump dump;
    struct cli_files_options options;
    struct snapshot_dir *dir;
    const char *path; /* of the directory */
    char (*names)[SNAPSHOT_NAME_MAX];
    size_t name_count;
    size_t left_out; /* names beyond NAMES_MAX */
    struct table_sum sums[TABLES_MAX];
    uint64_t matched; /* rows of this file that the prefix lets through */
    uint64_t shown;
    size_t whole;
    size_t bad;
};

/* A table that a newer program made has a number only. */
static const char *table_shown(enum table_id table, char dest[24])
{
    const char *name = table_name(table);
    if (name != NULL) {
        return name;
    }
    (void)snprintf(dest, 24, "%u", (unsigned)table);
    return dest;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static enum err count_row(void *context, enum table_id table, struct bytes key, struct bytes value)
{
    struct inspection *at = context;
    struct table_sum *sum = &at->sums[(unsigned)table % TABLES_MAX];
    sum->rows++;
    sum->key_bytes += key.len;
    sum->value_bytes += value.len;
    return ERR_OK;
}

static enum err show_row(void *context, enum table_id table, struct bytes key, struct bytes value)
{
    struct inspection *at = context;
    const char *prefix = at->options.prefix == NULL ? "" : at->options.prefix;
    char shown[CLI_SHOWN_MAX];
    char number[24];
    const char *name = table_shown(table, number);
    if (!bytes_has_prefix(key, bytes_of_str(prefix))) {
        return ERR_OK;
    }
    at->matched++;
    if (at->shown >= at->options.limit) {
        return ERR_OK;
    }
    at->shown++;
    if (!at->dump.json) {
        cli_dump_text(&at->dump, "  %-12s %8zu  %s\n", name, value.len, cli_dump_shown(key, shown));
        return ERR_OK;
    }
    cli_dump_object(&at->dump, "row");
    json_out_field_str(&at->dump.out, "table", name);
    json_out_field_str(&at->dump.out, "key", cli_dump_shown(key, shown));
    json_out_key(&at->dump.out, "key_base64");
    json_out_base64(&at->dump.out, key);
    json_out_field_u64(&at->dump.out, "size", value.len);
    cli_dump_object_end(&at->dump);
    return ERR_OK;
}

static void show_rows(struct inspection *at, const char *name)
{
    struct snapshot_rows rows = {.row = show_row, .context = at};
    struct snapshot_info info;
    struct err_note note = {{0}};
    at->matched = 0;
    at->shown = 0;
    cli_dump_text(&at->dump, "\n  %-12s %8s  %s\n", "TABLE", "BYTES", "KEY");
    if (snapshot_read_rows(at->dir, name, &rows, &info, &note) != ERR_OK) {
        at->bad++;
        (void)cli_dump_fail(&at->dump, "%s", note.text);
    }
    if (at->matched > at->shown) {
        cli_dump_text(&at->dump, "  %llu more are not shown (--limit)\n",
                      (unsigned long long)(at->matched - at->shown));
    }
}

/* ---- one file -------------------------------------------------------------------------------- */

static void tables_text(struct inspection *at)
{
    static const char *const headings[] = {"TABLE", "ROWS", "KEY BYTES", "VALUE BYTES"};
    struct grid grid;
    struct buf text;
    char name[24];
    grid_init(&grid, 4, headings);
    for (unsigned table = 0; table < TABLES_MAX; table++) {
        const struct table_sum *sum = &at->sums[table];
        if (sum->rows > 0) {
            grid_cell(&grid, "%s", table_shown((enum table_id)table, name));
            grid_cell(&grid, "%llu", (unsigned long long)sum->rows);
            grid_cell(&grid, "%llu", (unsigned long long)sum->key_bytes);
            grid_cell(&grid, "%llu", (unsigned long long)sum->value_bytes);
        }
    }
    buf_init(&text, GRID_BYTES_MAX);
    if (grid_print(&grid, &text) == ERR_OK) {
        struct bytes left = buf_bytes(&text);
        while (left.len > 0) {
            size_t line = bytes_find(left, '\n');
            cli_dump_text(&at->dump, "  %.*s\n", (int)line, (const char *)left.data);
            left = bytes_from(left, line + 1);
        }
    }
    buf_done(&text);
    grid_done(&grid);
}

static void info_text(struct inspection *at, const struct snapshot_info *info)
{
    char members[CLI_SHOWN_MAX];
    cli_dump_text(&at->dump, "%s/%s: whole\n", at->path, info->name);
    cli_dump_text(&at->dump, "  group %u, up to entry %llu of term %llu\n", info->group,
                  (unsigned long long)info->meta.index, (unsigned long long)info->meta.term);
    cli_dump_text(&at->dump, "  members %s (configuration of entry %llu)\n",
                  cli_dump_members(&info->meta.config, members),
                  (unsigned long long)info->meta.config_index);
    cli_dump_text(&at->dump, "  %llu bytes, %llu rows, digest %016llx%016llx\n",
                  (unsigned long long)info->size_bytes, (unsigned long long)info->rows,
                  (unsigned long long)info->digest.high, (unsigned long long)info->digest.low);
    tables_text(at);
}

static void info_json(struct inspection *at, const struct snapshot_info *info)
{
    struct json_out *out = &at->dump.out;
    char text[33];
    cli_dump_object(&at->dump, "snapshot");
    json_out_field_str(out, "directory", at->path);
    json_out_field_str(out, "file", info->name);
    json_out_field_u64(out, "group", info->group);
    json_out_field_u64(out, "index", info->meta.index);
    json_out_field_u64(out, "term", info->meta.term);
    json_out_field_u64(out, "config_index", info->meta.config_index);
    cli_dump_members_json(&at->dump, &info->meta.config);
    json_out_field_u64(out, "bytes", info->size_bytes);
    json_out_field_u64(out, "rows", info->rows);
    (void)snprintf(text, sizeof(text), "%016llx%016llx", (unsigned long long)info->digest.high,
                   (unsigned long long)info->digest.low);
    json_out_field_str(out, "digest", text);
    cli_dump_object_end(&at->dump);
    for (unsigned table = 0; table < TABLES_MAX; table++) {
        const struct table_sum *sum = &at->sums[table];
        if (sum->rows > 0) {
            cli_dump_object(&at->dump, "table");
            json_out_field_str(out, "file", info->name);
            json_out_field_str(out, "table", table_shown((enum table_id)table, text));
            json_out_field_u64(out, "rows", sum->rows);
            json_out_field_u64(out, "key_bytes", sum->key_bytes);
            json_out_field_u64(out, "value_bytes", sum->value_bytes);
            cli_dump_object_end(&at->dump);
        }
    }
}

static void damaged(struct inspection *at, const char *name, const struct err_note *why)
{
    at->bad++;
    cli_dump_text(&at->dump, "DAMAGED: %s\n", why->text);
    if (at->dump.json) {
        cli_dump_object(&at->dump, "damage");
        json_out_field_str(&at->dump.out, "directory", at->path);
        json_out_field_str(&at->dump.out, "file", name);
        json_out_field_str(&at->dump.out, "why", why->text);
        cli_dump_object_end(&at->dump);
    }
}

/* A file that has a snapshot's name must have its own; what somebody copied under another name is
 * as good as its bytes. */
static enum err name_check(const struct inspection *at, const struct snapshot_info *info,
                           struct err_note *note)
{
    char name[SNAPSHOT_NAME_MAX];
    snapshot_name_of(info, name);
    if (snapshot_name_kind(info->name) != SNAPSHOT_NAME_FILE || strcmp(name, info->name) == 0) {
        return ERR_OK;
    }
    return err_note_set(note, ERR_CORRUPT, "%s/%s: the file says that it is %s", at->path,
                        info->name, name);
}

static void inspect_file(struct inspection *at, const char *name)
{
    struct snapshot_rows rows = {.row = count_row, .context = at};
    struct snapshot_info info;
    struct err_note note = {{0}};
    memset(at->sums, 0, sizeof(at->sums));
    enum err err = snapshot_read_rows(at->dir, name, &rows, &info, &note);
    if (err == ERR_OK) {
        err = name_check(at, &info, &note);
    }
    if (err == ERR_CORRUPT || err == ERR_MISMATCH) {
        damaged(at, name, &note);
        return;
    }
    if (err != ERR_OK) {
        at->bad++;
        (void)cli_dump_fail(&at->dump, "%s", note.text);
        return;
    }
    at->whole++;
    if (at->dump.json) {
        info_json(at, &info);
    } else {
        info_text(at, &info);
    }
    if (at->options.rows) {
        show_rows(at, name);
    }
}

/* ---- a directory ----------------------------------------------------------------------------- */

static void on_name(void *context, const char *name)
{
    struct inspection *at = context;
    enum snapshot_name_kind kind = snapshot_name_kind(name);
    if (kind == SNAPSHOT_NAME_UNFINISHED) {
        cli_dump_text(&at->dump, "%s/%s: passed over: being written or received, or left over\n",
                      at->path, name);
        if (at->dump.json) {
            cli_dump_object(&at->dump, "passed_over");
            json_out_field_str(&at->dump.out, "file", name);
            cli_dump_object_end(&at->dump);
        }
        return;
    }
    if (kind != SNAPSHOT_NAME_FILE) {
        return;
    }
    if (at->name_count == NAMES_MAX) {
        at->left_out++;
        return;
    }
    enum err err =
        bytes_to_cstr(bytes_of_str(name), at->names[at->name_count++], SNAPSHOT_NAME_MAX);
    CHECK(err == ERR_OK);
}

/* Fixed width: the order of names is that of groups and indices. */
static int name_order(const void *a, const void *b)
{
    return strcmp(a, b);
}

static int total(struct inspection *at)
{
    if (at->dump.json) {
        cli_dump_object(&at->dump, "total");
        json_out_field_u64(&at->dump.out, "whole", at->whole);
        json_out_field_u64(&at->dump.out, "damaged", at->bad);
        cli_dump_object_end(&at->dump);
    }
    cli_dump_text(&at->dump, "%sTotal: %zu whole, %zu damaged or unreadable\n",
                  at->whole + at->bad > 0 ? "\n" : "", at->whole, at->bad);
    return at->bad == 0 ? CLIENT_OK : CLIENT_FAILED;
}

/* may_be_empty: a node that has not needed a snapshot yet. */
static int inspect_dir(struct inspection *at, bool may_be_empty)
{
    at->names = mem_alloc_array(NAMES_MAX, sizeof(*at->names));
    enum err err = snapshot_each_name(at->dir, on_name, at);
    int code = CLIENT_OK;
    if (err != ERR_OK) {
        code = cli_dump_fail(&at->dump, "%s: %s", at->path, err_text(err));
    } else if (at->name_count == 0 && !may_be_empty) {
        code = cli_dump_fail(&at->dump, "%s has no snapshot files", at->path);
    } else {
        qsort(at->names, at->name_count, sizeof(*at->names), name_order);
        for (size_t i = 0; i < at->name_count; i++) {
            cli_dump_text(&at->dump, "%s", i > 0 ? "\n" : "");
            inspect_file(at, at->names[i]);
        }
        code = total(at);
    }
    if (at->left_out > 0) {
        code = cli_dump_fail(&at->dump, "%zu more files are not looked at", at->left_out);
    }
    mem_free(at->names);
    return code;
}

/* ---- the command ----------------------------------------------------------------------------- */

/* The type bits of its mode; 0 with errno when there is nothing. */
static mode_t type_of(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 ? status.st_mode & S_IFMT : 0;
}

static int open_dir(struct inspection *at, const char *path)
{
    struct err_note note = {{0}};
    at->path = path;
    if (snapshot_dir_look(path, &at->dir, &note) != ERR_OK) {
        return cli_dump_fail(&at->dump, "%s", note.text);
    }
    return CLIENT_OK;
}

static int inspect_path(struct inspection *at, const char *word)
{
    char path[PATH_MAX];
    int len = snprintf(path, sizeof(path), "%s/snapshots", word);
    if (len < 0 || (size_t)len >= sizeof(path)) {
        return cli_dump_fail(&at->dump, "the path is too long");
    }
    mode_t type = type_of(word);
    if (type != S_IFDIR && type != S_IFREG) {
        return cli_dump_fail(&at->dump, "%s: %s", word,
                             type == 0 ? strerrordesc_np(errno) : "neither file nor directory");
    }
    if (type == S_IFDIR) {
        bool is_data = type_of(path) == S_IFDIR;
        int code = open_dir(at, is_data ? path : word);
        return code == CLIENT_OK ? inspect_dir(at, is_data) : code;
    }
    path[strlen(word)] = '\0';
    char *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    const char *dir = slash == path ? "/" : ".";
    if (slash != NULL && slash != path) {
        *slash = '\0';
        dir = path;
    }
    int code = open_dir(at, dir);
    if (code == CLIENT_OK) {
        inspect_file(at, name);
        code = total(at);
    }
    return code;
}

int cli_snapshot_inspect(const struct cli_call *call)
{
    struct flag_words words;
    struct err_note note = {{0}};
    struct inspection at = {.options = {.limit = ROWS_DEFAULT}};
    enum err err =
        flags_read(*call->command->flags, call->argc, call->argv, &at.options, &words, &note);
    if (err != ERR_OK) {
        return cli_usage(call, "%s", note.text);
    }
    if (words.help) {
        return cli_help(call);
    }
    if (words.count != 1) {
        return cli_usage(call, "usage: %s %s", call->title, call->command->args);
    }
    if (at.options.prefix != NULL && !at.options.rows) {
        return cli_usage(call, "--prefix chooses rows: --rows --prefix %s", at.options.prefix);
    }
    cli_dump_init(&at.dump, call, at.options.json);
    int code = inspect_path(&at, words.at[0]);
    snapshot_dir_close(at.dir);
    return cli_dump_done(&at.dump, code);
}
