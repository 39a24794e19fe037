/* Snapshot files: their directory: what is there, what is the newest, what may go.
 *
 * Place: io/store. Names are ordered by (index, term); everything that is not a snapshot's name is
 * left alone. */
#include "store/snapshot_file.h"

#include "store/snapshot_priv.h"
#include "store/store_priv.h"

#include "check/check.h"
#include "mem/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum {
    CANDIDATES_MAX = 64 /* names per group that are looked at, the newest */
};

struct candidate {
    raft_index index;
    raft_term term;
};

struct candidates {
    size_t count;
    struct candidate items[CANDIDATES_MAX]; /* newest first */
};

static bool is_newer(raft_index index, raft_term term, const struct candidate *than)
{
    return index > than->index || (index == than->index && term > than->term);
}

/* Keeps the newest ones, in order. */
static void candidates_add(struct candidates *list, raft_index index, raft_term term)
{
    size_t at = list->count;
    while (at > 0 && is_newer(index, term, &list->items[at - 1])) {
        at--;
    }
    if (at == CANDIDATES_MAX) {
        return;
    }
    size_t moved = list->count - at;
    if (list->count == CANDIDATES_MAX) {
        moved--;
    } else {
        list->count++;
    }
    memmove(&list->items[at + 1], &list->items[at], moved * sizeof(list->items[0]));
    list->items[at] = (struct candidate){.index = index, .term = term};
}

static enum err open_listing(struct snapshot_dir *dir, DIR **ret_listing)
{
    int fd = openat(dir->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    DIR *listing = fdopendir(fd);
    if (listing == NULL) {
        enum err err = err_from_errno(errno);
        (void)close(fd);
        return err;
    }
    *ret_listing = listing;
    return ERR_OK;
}

static enum err find_candidates(struct snapshot_dir *dir, raft_group_id group,
                                struct candidates *ret_list)
{
    DIR *listing = NULL;
    enum err err = open_listing(dir, &listing);
    if (err != ERR_OK) {
        return err;
    }
    ret_list->count = 0;
    for (const struct dirent *entry = readdir(listing); entry != NULL; entry = readdir(listing)) {
        raft_group_id of_group;
        raft_index index;
        raft_term term;
        if (snapshot_name_parse(entry->d_name, "", &of_group, &index, &term) && of_group == group) {
            candidates_add(ret_list, index, term);
        }
    }
    (void)closedir(listing);
    return ERR_OK;
}

/* Removes the names with that suffix; of one group, or of all with group 0; but not the one to
 * keep. */
static enum err remove_suffix(struct snapshot_dir *dir, const char *suffix, raft_group_id group,
                              const char *keep)
{
    DIR *listing = NULL;
    enum err err = open_listing(dir, &listing);
    if (err != ERR_OK) {
        return err;
    }
    for (const struct dirent *entry = readdir(listing); entry != NULL; entry = readdir(listing)) {
        raft_group_id of_group;
        raft_index index;
        raft_term term;
        if (snapshot_name_parse(entry->d_name, suffix, &of_group, &index, &term) &&
            (group == 0 || of_group == group) &&
            (keep == NULL || strcmp(entry->d_name, keep) != 0)) {
            err = fs_remove(dir->fd, entry->d_name);
        }
        if (err != ERR_OK) {
            break;
        }
    }
    (void)closedir(listing);
    return err;
}

enum err snapshot_dir_open(const char *path, struct snapshot_dir **ret_dir, struct err_note *note)
{
    struct snapshot_dir *dir = mem_alloc(sizeof(*dir));
    dir->fd = -1;
    dir->path = mem_strdup(path);
    enum err err = fs_open_dir(path, &dir->fd);
    if (err == ERR_OK) {
        err = remove_suffix(dir, SNAPSHOT_TEMP_SUFFIX, 0, NULL);
    }
    if (err != ERR_OK) {
        snapshot_dir_close(dir);
        return err_note_set(note, err, "%s: cannot open the snapshot directory: %s", path,
                            err_text(err));
    }
    *ret_dir = dir;
    return ERR_OK;
}

void snapshot_dir_close(struct snapshot_dir *dir)
{
    if (dir == NULL) {
        return;
    }
    if (dir->fd >= 0) {
        (void)close(dir->fd);
    }
    mem_free(dir->path);
    mem_free(dir);
}

enum err snapshot_remove_parts(struct snapshot_dir *dir, raft_group_id group, const char *keep)
{
    CHECK(group != 0);
    return remove_suffix(dir, SNAPSHOT_PART_SUFFIX, group, keep);
}

enum err snapshot_publish(struct snapshot_dir *dir, const char *from, const char *name)
{
    if (renameat(dir->fd, from, dir->fd, name) != 0) {
        return err_from_errno(errno);
    }
    return fs_sync(dir->fd);
}

static void tell(const struct snapshot_report *report, const char *name, const struct err_note *why)
{
    if (report != NULL && report->damaged != NULL) {
        report->damaged(report->context, name, why);
    }
}

enum err snapshot_list(struct snapshot_dir *dir, raft_group_id group,
                       const struct snapshot_report *report, size_t max,
                       struct snapshot_info *ret_infos, size_t *ret_count)
{
    struct candidates list;
    enum err err = find_candidates(dir, group, &list);
    if (err != ERR_OK) {
        return err;
    }
    size_t count = 0;
    for (size_t i = 0; i < list.count && count < max; i++) {
        struct err_note note;
        char name[SNAPSHOT_NAME_MAX];
        snapshot_name(group, list.items[i].index, list.items[i].term, "", name);
        err = snapshot_peek(dir, name, &ret_infos[count], &note);
        if (err == ERR_OK) {
            err = snapshot_check_name(dir, &ret_infos[count], &note);
        }
        if (err == ERR_OK) {
            count++;
        } else if (err != ERR_NOT_FOUND) { /* pruned meanwhile */
            tell(report, name, &note);
        }
    }
    *ret_count = count;
    return ERR_OK;
}

enum err snapshot_newest(struct snapshot_dir *dir, raft_group_id group,
                         const struct snapshot_report *report, struct snapshot_info *ret_info)
{
    struct candidates list;
    enum err err = find_candidates(dir, group, &list);
    if (err != ERR_OK) {
        return err;
    }
    for (size_t i = 0; i < list.count; i++) {
        struct err_note note;
        char name[SNAPSHOT_NAME_MAX];
        snapshot_name(group, list.items[i].index, list.items[i].term, "", name);
        err = snapshot_verify(dir, name, ret_info, &note);
        if (err == ERR_OK) {
            return ERR_OK;
        }
        tell(report, name, &note);
    }
    return ERR_NOT_FOUND;
}

enum err snapshot_prune(struct snapshot_dir *dir, raft_group_id group, size_t keep,
                        raft_index floor)
{
    CHECK(keep > 0 && keep <= CANDIDATES_MAX);
    struct candidates list;
    enum err err = find_candidates(dir, group, &list);
    size_t whole = 0;
    for (size_t i = 0; err == ERR_OK && i < list.count; i++) {
        char name[SNAPSHOT_NAME_MAX];
        snapshot_name(group, list.items[i].index, list.items[i].term, "", name);
        if (whole >= keep && list.items[i].index < floor) {
            err = fs_remove(dir->fd, name);
            continue;
        }
        /* A damaged file counts for nothing, but may be looked at until better ones are newer. */
        struct snapshot_info info;
        whole += snapshot_peek(dir, name, &info, NULL) == ERR_OK ? 1 : 0;
    }
    return err;
}
