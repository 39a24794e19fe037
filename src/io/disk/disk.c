/* What both implementations of a directory share: dispatch, and operations made of others.
 *
 * Place: io. Invariant: a file appears under its final name only when its content is complete and
 * synced (disk_replace, disk_create_filled). */
#include "disk/disk.h"

#include "check/check.h"

#include <stdio.h>

enum {
    FILL_CHUNK_BYTES = 64 * 1024
};

static void name_check(const char *name)
{
    CHECK(name[0] != '\0' && strlen(name) < DISK_NAME_MAX);
    CHECK(strchr(name, '/') == NULL);
}

enum err disk_list(struct disk *disk, disk_list_fn *each, void *context, struct err_note *note)
{
    return disk->ops->list(disk, each, context, note);
}

enum err disk_open(struct disk *disk, const char *name, struct disk_file **ret_file,
                   struct err_note *note)
{
    name_check(name);
    return disk->ops->open(disk, name, false, ret_file, note);
}

enum err disk_create(struct disk *disk, const char *name, struct disk_file **ret_file,
                     struct err_note *note)
{
    name_check(name);
    return disk->ops->open(disk, name, true, ret_file, note);
}

static enum err fill(struct disk_file *file, uint64_t size_bytes, struct err_note *note)
{
    static const uint8_t zeros[FILL_CHUNK_BYTES];
    for (uint64_t at = 0; at < size_bytes;) {
        uint64_t left = size_bytes - at;
        size_t chunk = left < sizeof(zeros) ? (size_t)left : sizeof(zeros);
        enum err err = disk_write(file, at, bytes_of(zeros, chunk), note);
        if (err != ERR_OK) {
            return err;
        }
        at += chunk;
    }
    return disk_sync(file, note);
}

enum err disk_create_filled(struct disk *disk, const char *name, uint64_t size_bytes,
                            struct disk_file **ret_file, struct err_note *note)
{
    CHECK(size_bytes > 0);
    struct disk_file *file = NULL;
    enum err err = disk_create(disk, name, &file, note);
    if (err != ERR_OK) {
        return err;
    }
    err = fill(file, size_bytes, note);
    if (err != ERR_OK) {
        disk_close(file);
        if (disk_remove(disk, name, NULL) != ERR_OK) {
            return err_note_wrap(note, err, "%s could not be removed again", name);
        }
        return err;
    }
    *ret_file = file;
    return ERR_OK;
}

void disk_close(struct disk_file *file)
{
    if (file != NULL) {
        file->disk->ops->close(file);
    }
}

enum err disk_size(struct disk_file *file, uint64_t *ret_bytes, struct err_note *note)
{
    return file->disk->ops->size(file, ret_bytes, note);
}

enum err disk_read(struct disk_file *file, uint64_t offset, void *dest, size_t size,
                   size_t *ret_got, struct err_note *note)
{
    return file->disk->ops->read(file, offset, dest, size, ret_got, note);
}

static enum err read_to_end(struct disk_file *file, struct buf *to, struct err_note *note)
{
    uint64_t size = 0;
    enum err err = disk_size(file, &size, note);
    if (err != ERR_OK) {
        return err;
    }
    if (size > to->max || buf_reserve(to, (size_t)size) != ERR_OK) {
        return err_note_set(note, ERR_FULL, "%s has %llu bytes, more than is allowed", file->name,
                            (unsigned long long)size);
    }
    size_t got = 0;
    if (size > 0) {
        err = disk_read(file, 0, to->data + to->len, (size_t)size, &got, note);
    }
    if (err == ERR_OK) {
        to->len += got;
    }
    return err;
}

enum err disk_read_all(struct disk *disk, const char *name, struct buf *to, struct err_note *note)
{
    struct disk_file *file = NULL;
    enum err err = disk_open(disk, name, &file, note);
    if (err != ERR_OK) {
        return err;
    }
    err = read_to_end(file, to, note);
    disk_close(file);
    return err;
}

enum err disk_write(struct disk_file *file, uint64_t offset, struct bytes from,
                    struct err_note *note)
{
    return file->disk->ops->write(file, offset, from, note);
}

enum err disk_sync(struct disk_file *file, struct err_note *note)
{
    return file->disk->ops->sync(file, note);
}

enum err disk_remove(struct disk *disk, const char *name, struct err_note *note)
{
    name_check(name);
    return disk->ops->remove(disk, name, note);
}

enum err disk_rename(struct disk_file *file, const char *to, struct err_note *note)
{
    name_check(to);
    return file->disk->ops->rename(file->disk, file, to, note);
}

enum err disk_sync_dir(struct disk *disk, struct err_note *note)
{
    return disk->ops->sync_dir(disk, note);
}

static enum err write_and_rename(struct disk_file *file, const char *name, struct bytes content,
                                 struct err_note *note)
{
    enum err err = disk_write(file, 0, content, note);
    if (err == ERR_OK) {
        err = disk_sync(file, note);
    }
    if (err == ERR_OK) {
        err = disk_rename(file, name, note);
    }
    return err;
}

enum err disk_replace(struct disk *disk, const char *name, struct bytes content,
                      struct err_note *note)
{
    char temporary[DISK_NAME_MAX];
    int length = snprintf(temporary, sizeof(temporary), "%s.tmp", name);
    CHECK(length > 0 && length < DISK_NAME_MAX);

    enum err err = disk_remove(disk, temporary, note);
    if (err != ERR_OK && err != ERR_NOT_FOUND) {
        return err;
    }
    struct disk_file *file = NULL;
    err = disk_create(disk, temporary, &file, note);
    if (err != ERR_OK) {
        return err;
    }
    err = write_and_rename(file, name, content, note);
    disk_close(file);
    return err == ERR_OK ? disk_sync_dir(disk, note) : err;
}

void disk_start(struct disk *disk, struct disk_op *op)
{
    CHECK(op->on_done != NULL);
    CHECK(op->kind == DISK_SYNC_DIR || op->file->disk == disk);
    disk->ops->start(disk, op);
}
