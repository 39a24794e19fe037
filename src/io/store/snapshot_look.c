/* Snapshot files for people who look into them; see store/snapshot_file.h.
 *
 * Place: io/store. The reading and every check are those of snapshot_scan; here is only what a node
 * must not do: open a directory without tidying it, and read a file of any name. */
#include "store/snapshot_file.h"

#include "store/snapshot_priv.h"

#include "mem/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum err snapshot_dir_look(const char *path, struct snapshot_dir **ret_dir, struct err_note *note)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        enum err err = errno == ENOTDIR ? ERR_BAD_INPUT : err_from_errno(errno);
        return err_note_set(note, err, "%s: %s", path, strerrordesc_np(errno));
    }
    struct snapshot_dir *dir = mem_alloc(sizeof(*dir));
    dir->fd = fd;
    dir->path = mem_strdup(path);
    *ret_dir = dir;
    return ERR_OK;
}

enum err snapshot_each_name(struct snapshot_dir *dir, void (*each)(void *context, const char *name),
                            void *context)
{
    int fd = openat(dir->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *listing = fd < 0 ? NULL : fdopendir(fd);
    if (listing == NULL) {
        enum err err = err_from_errno(errno);
        if (fd >= 0) {
            (void)close(fd);
        }
        return err;
    }
    errno = 0;
    for (const struct dirent *entry = readdir(listing); entry != NULL; entry = readdir(listing)) {
        each(context, entry->d_name);
        errno = 0;
    }
    int error = errno;
    (void)closedir(listing);
    return error == 0 ? ERR_OK : err_from_errno(error);
}

static enum err on_row(void *context, struct bytes key, struct bytes value)
{
    const struct snapshot_rows *rows = context;
    enum table_id table;
    struct bytes full;
    enum err err = table_split_stored(key, value, &table, &full, &value);
    return err == ERR_OK ? rows->row(rows->context, table, full, value) : err;
}

enum err snapshot_read_rows(struct snapshot_dir *dir, const char *name,
                            const struct snapshot_rows *rows, struct snapshot_info *ret_info,
                            struct err_note *note)
{
    if (strlen(name) >= SNAPSHOT_NAME_MAX) {
        return err_note_set(note, ERR_TOO_LARGE, "%.40s...: no snapshot has so long a name", name);
    }
    struct snapshot_rows copy = {0};
    struct snapshot_visitor visitor = {.row = on_row, .context = &copy};
    if (rows != NULL) {
        copy = *rows;
    }
    return snapshot_scan(dir, name, rows == NULL ? NULL : &visitor, ret_info, note);
}

void snapshot_name_of(const struct snapshot_info *info, char dest[SNAPSHOT_NAME_MAX])
{
    snapshot_name(info->group, info->meta.index, info->meta.term, "", dest);
}

enum snapshot_name_kind snapshot_name_kind(const char *name)
{
    raft_group_id group;
    raft_index index;
    raft_term term;
    if (snapshot_name_parse(name, "", &group, &index, &term)) {
        return SNAPSHOT_NAME_FILE;
    }
    bool unfinished = snapshot_name_parse(name, SNAPSHOT_TEMP_SUFFIX, &group, &index, &term) ||
                      snapshot_name_parse(name, SNAPSHOT_PART_SUFFIX, &group, &index, &term);
    return unfinished ? SNAPSHOT_NAME_UNFINISHED : SNAPSHOT_NAME_OTHER;
}
