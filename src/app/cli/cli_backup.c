/* flotilla snapshot save and restore: a backup over the API, and a new cluster made of one.
 *
 * Place: app/cli. Save streams GET /v1/snapshot into FILE.part, verifies every byte of it with the
 * reader that a node uses, and only then gives it its name. Restore is offline, over node/recover:
 * why, see docs/adr/0006-backup-and-restore.md. Memory is bounded in both: one piece. */
#include "cli/cli_dump.h"
#include "cli/cli_priv.h"
#include "disk/disk.h"
#include "loop/loop.h"
#include "mem/mem.h"
#include "process/process.h"
#include "recover/recover.h"
#include "store/snapshot_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    SAVE_TIMEOUT_S = 3600,
    PATH_BYTES = 1024,
    COPY_BYTES = 256 * 1024,
    META_GROUP = 1,
    NODE_MAX = 255
};

/* ---- a file in its directory ----------------------------------------------------------------- */

struct place {
    char directory[PATH_BYTES];
    char base[SNAPSHOT_NAME_MAX];
};

/* ERR_TOO_LARGE: the path, or the name in it. */
static enum err place_of(const char *path, struct place *ret_place)
{
    const char *slash = strrchr(path, '/');
    struct bytes directory = slash == NULL ? BYTES_LITERAL(".")
                             : slash == path
                                 ? BYTES_LITERAL("/")
                                 : bytes_of((const uint8_t *)path, (size_t)(slash - path));
    const char *base = slash == NULL ? path : slash + 1;
    enum err err = bytes_to_cstr(directory, ret_place->directory, sizeof(ret_place->directory));
    if (err == ERR_OK) {
        err = bytes_to_cstr(bytes_of_str(base), ret_place->base, sizeof(ret_place->base));
    }
    return err == ERR_OK ? ERR_OK : ERR_TOO_LARGE;
}

static enum err find_applied(void *context, enum table_id table, struct bytes key,
                             struct bytes value)
{
    struct recover_backup *backup = context;
    uint64_t index = 0;
    clk_ms time_ms = 0;
    if (table == TABLE_META && table_applied_row(key, value, &index, &time_ms)) {
        backup->time_ms = time_ms;
    }
    return ERR_OK;
}

/* Reads every byte of it. */
static enum err verify(const struct place *place, struct recover_backup *backup,
                       struct snapshot_info *ret_info, struct err_note *note)
{
    struct snapshot_rows rows = {.row = find_applied, .context = backup};
    struct snapshot_dir *dir = NULL;
    enum err err = snapshot_dir_look(place->directory, &dir, note);
    if (err == ERR_OK) {
        err = snapshot_read_rows(dir, place->base, &rows, ret_info, note);
    }
    snapshot_dir_close(dir);
    return err;
}

/* ---- save ------------------------------------------------------------------------------------ */

static enum err take_piece(void *context, struct bytes piece)
{
    const int *fd = context;
    while (piece.len > 0) {
        ssize_t written = write(*fd, piece.data, piece.len);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written < 0) {
            return err_from_errno(errno);
        }
        piece = bytes_from(piece, (size_t)written);
    }
    return ERR_OK;
}

static int download(const struct client *client, bool stale, int fd)
{
    struct http_reply reply = {0};
    struct err_note note = {{0}};
    struct http_call call = {.addr = client->addr,
                             .method = HTTP1_METHOD_GET,
                             .target = stale ? BYTES_LITERAL("/v1/snapshot?stale")
                                             : BYTES_LITERAL("/v1/snapshot"),
                             .timeout = CLK_S(client->timeout_s),
                             .take = take_piece,
                             .take_context = &fd};
    enum err err = http_call(&call, &reply, &note);
    if (err != ERR_OK) {
        bool own = err == ERR_NO_SPACE || err == ERR_IO;
        return client_fail(client, own ? CLIENT_FAILED : CLIENT_UNREACHABLE, "%s", note.text);
    }
    int code = reply.status / 100 == 2 ? CLIENT_OK : client_refused(client, &reply);
    http_reply_done(&reply);
    return code;
}

/* The part is whole and synced: verifies it, and gives it its name. */
static int publish(const struct client *client, const char *part, const char *path)
{
    struct place place;
    struct recover_backup backup = {.time_ms = 0};
    struct snapshot_info info = {0};
    struct err_note note = {{0}};
    enum err err = place_of(part, &place);
    if (err == ERR_OK) {
        err = verify(&place, &backup, &info, &note);
    }
    if (err != ERR_OK) {
        return client_fail(client, CLIENT_FAILED, "what came is not whole: %s", note.text);
    }
    int fd = open(place.directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && rename(part, path) == 0 && fsync(fd) == 0;
    int cause = errno;
    if (fd >= 0) {
        (void)close(fd);
    }
    if (!ok) {
        return client_fail(client, CLIENT_FAILED, "%s: %s", path, strerrordesc_np(cause));
    }
    (void)printf("%s: the state up to entry %llu of term %llu, %llu rows, %llu bytes\n", path,
                 (unsigned long long)info.meta.index, (unsigned long long)info.meta.term,
                 (unsigned long long)info.rows, (unsigned long long)info.size_bytes);
    return fflush(stdout) == 0 ? CLIENT_OK : CLIENT_FAILED;
}

static int save(const struct client *client, const char *path, bool stale)
{
    char part[PATH_BYTES];
    struct place place;
    int len = snprintf(part, sizeof(part), "%s.part", path);
    if (len < 0 || (size_t)len >= sizeof(part) || place_of(part, &place) != ERR_OK) {
        return client_fail(client, CLIENT_USAGE,
                           "the file's path or name is too long (name: at most %d bytes)",
                           SNAPSHOT_NAME_MAX - 6);
    }
    int fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        return client_fail(client, CLIENT_FAILED, "%s: %s", part, strerrordesc_np(errno));
    }
    int code = download(client, stale, fd);
    if (code == CLIENT_OK && fsync(fd) != 0) {
        code = client_fail(client, CLIENT_FAILED, "%s: %s", part, strerrordesc_np(errno));
    }
    (void)close(fd);
    if (code == CLIENT_OK) {
        code = publish(client, part, path);
    }
    if (code != CLIENT_OK) {
        (void)unlink(part);
    }
    return code;
}

int cli_snapshot_save(const struct cli_call *call)
{
    struct cli_options options = {.timeout_s = SAVE_TIMEOUT_S};
    struct flag_words words;
    struct err_note note = {{0}};
    struct client client;
    enum err err =
        flags_read(*call->command->flags, call->argc, call->argv, &options, &words, &note);
    if (err != ERR_OK) {
        return cli_usage(call, "%s", note.text);
    }
    if (words.help) {
        return cli_help(call);
    }
    if (words.count != 1) {
        return cli_usage(call, "usage: %s %s", call->title, call->command->args);
    }
    if (options.timeout_s == 0 || options.timeout_s > UINT32_MAX) {
        return cli_usage(call, "--timeout: at least 1 second");
    }
    int code = client_open(&client, call->title, options.addr, options.timeout_s);
    return code == CLIENT_OK ? save(&client, words.at[0], options.stale) : code;
}

/* ---- restore --------------------------------------------------------------------------------- */

/* Copies the file into the node's directory as if a leader had sent it: verified, synced, named. */
static enum err copy(const struct place *from, const char *data, const struct snapshot_info *info,
                     struct err_note *note)
{
    char path[PATH_BYTES];
    struct snapshot_dir *source_dir = NULL;
    struct snapshot_dir *dir = NULL;
    struct snapshot_source *source = NULL;
    struct snapshot_sink *sink = NULL;
    struct snapshot_info copied;
    struct snapshot_offer offer = {.group = info->group,
                                   .index = info->meta.index,
                                   .term = info->meta.term,
                                   .size_bytes = info->size_bytes};
    (void)snprintf(path, sizeof(path), "%s/snapshots", data);
    enum err err = snapshot_dir_look(from->directory, &source_dir, note);
    if (err == ERR_OK) {
        err = snapshot_source_open(source_dir, from->base, &source);
    }
    if (err == ERR_OK) {
        err = snapshot_dir_open(path, &dir, note);
    }
    if (err == ERR_OK) {
        err = snapshot_sink_open(dir, &offer, info->size_bytes, &sink, note);
    }
    uint8_t *piece = mem_alloc(COPY_BYTES);
    while (err == ERR_OK && snapshot_sink_offset(sink) < info->size_bytes) {
        uint64_t at = snapshot_sink_offset(sink);
        size_t len = 0;
        err = snapshot_source_read(source, at, piece, COPY_BYTES, &len);
        if (err == ERR_OK) {
            err = len > 0 ? snapshot_sink_write(sink, at, bytes_of(piece, len), note)
                          : ERR_INCOMPLETE;
        }
    }
    if (err == ERR_OK) {
        err = snapshot_sink_finish(sink, &copied, note);
    }
    mem_free(piece);
    snapshot_sink_close(sink);
    snapshot_source_close(source);
    snapshot_dir_close(dir);
    snapshot_dir_close(source_dir);
    return err;
}

static enum err found(const struct cli_recover_options *options, const struct place *place,
                      struct recover_backup *backup, uint64_t *ret_cluster, struct err_note *note)
{
    struct snapshot_info info = {0};
    struct loop_config cfg = {.backend = LOOP_BACKEND_EPOLL};
    struct loop *loop = NULL;
    struct disk_loop *disk = NULL;
    uint64_t random[2];
    process_random(random, sizeof(random));
    enum err err = verify(place, backup, &info, note);
    if (err == ERR_OK && (info.group != META_GROUP || info.meta.index == 0)) {
        err = err_note_set(note, ERR_BAD_INPUT, "the file is of group %u, entry %llu: no backup",
                           info.group, (unsigned long long)info.meta.index);
    }
    backup->meta = info.meta;
    if (err == ERR_OK) {
        err = loop_new(&cfg, &loop, note);
    }
    if (err == ERR_OK) {
        err = disk_loop_open(loop, options->data, true, &disk, note);
    }
    if (err == ERR_OK) {
        err = recover_is_empty(disk_loop_base(disk), note);
    }
    if (err == ERR_OK) {
        err = copy(place, options->data, &info, note);
    }
    if (err == ERR_OK) {
        err = recover_found(loop, disk_loop_base(disk), backup, random, ret_cluster, note);
    }
    disk_loop_close(disk);
    loop_free(loop);
    return err;
}

static int restore(const struct cli_call *call, const struct cli_recover_options *options,
                   const char *path)
{
    struct place place;
    struct recover_backup backup = {.node = (raft_node_id)options->id};
    struct err_note note = {{0}};
    uint64_t cluster = 0;
    if (place_of(path, &place) != ERR_OK) {
        return cli_usage(call, "the file's path or name is too long (name: at most %d bytes)",
                         SNAPSHOT_NAME_MAX - 1);
    }
    enum err err = found(options, &place, &backup, &cluster, &note);
    if (err != ERR_OK) {
        (void)fprintf(stderr, "%s: %s\n", call->title,
                      note.text[0] != '\0' ? note.text : err_text(err));
        return CLIENT_FAILED;
    }
    (void)printf("%s: node %u is the only voter of the new cluster %016llx, with the state up to "
                 "entry %llu. Start it:\n  flotilla server --id %u --data %s\n",
                 options->data, backup.node, (unsigned long long)cluster,
                 (unsigned long long)backup.meta.index, backup.node, options->data);
    return fflush(stdout) == 0 ? CLIENT_OK : CLIENT_FAILED;
}

int cli_snapshot_restore(const struct cli_call *call)
{
    struct cli_recover_options options = {.id = 0};
    struct flag_words words;
    struct err_note note = {{0}};
    enum err err =
        flags_read(*call->command->flags, call->argc, call->argv, &options, &words, &note);
    if (err != ERR_OK) {
        return cli_usage(call, "%s", note.text);
    }
    if (words.help) {
        return cli_help(call);
    }
    if (words.count != 1 || options.data == NULL) {
        return cli_usage(call, "usage: %s %s", call->title, call->command->args);
    }
    if (options.id == 0 || options.id > NODE_MAX) {
        return cli_usage(call, "which node? --id N, 1 to %d", NODE_MAX);
    }
    return restore(call, &options, words.at[0]);
}
