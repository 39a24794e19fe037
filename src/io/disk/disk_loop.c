/* A real directory: blocking calls as they are, asynchronous ones through io/loop; see disk/disk.h.
 *
 * Place: io. Everything goes through one descriptor of the directory (openat, renameat), so that
 * the directory may be moved while it is open. */
#include "disk/disk.h"

#include "check/check.h"
#include "mem/mem.h"
#include "process/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_NAME "lock"

struct disk_loop {
    struct disk base;
    struct loop *loop;
    int dir_fd;
    struct process_lock lock;
    bool read_only; /* disk_look_open: nothing may change */
};

struct real_file {
    struct disk_file base;
    int fd;
};

static struct disk_loop *disk_of(struct disk *disk)
{
    return CONTAINER_OF(disk, struct disk_loop, base);
}

static struct real_file *file_of(struct disk_file *file)
{
    return CONTAINER_OF(file, struct real_file, base);
}

static enum err failed(struct err_note *note, const char *what, const char *name, int error)
{
    return err_note_set(note, err_from_errno(error), "%s %s: %s", what, name,
                        strerrordesc_np(error));
}

static void name_set(struct disk_file *file, const char *name)
{
    enum err err = bytes_to_cstr(bytes_of_str(name), file->name, sizeof(file->name));
    CHECK(err == ERR_OK);
}

static enum err real_list(struct disk *disk, disk_list_fn *each, void *context,
                          struct err_note *note)
{
    int fd = openat(disk_of(disk)->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        int error = errno;
        if (fd >= 0) {
            close(fd);
        }
        return failed(note, "open", "the data directory", error);
    }
    errno = 0;
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        bool is_file = entry->d_type == DT_REG || entry->d_type == DT_UNKNOWN;
        if (is_file && strlen(entry->d_name) < DISK_NAME_MAX) {
            each(context, entry->d_name);
        }
        errno = 0;
    }
    int error = errno;
    closedir(dir);
    return error == 0 ? ERR_OK : failed(note, "list", "the data directory", error);
}

static enum err real_open(struct disk *disk, const char *name, bool create,
                          struct disk_file **ret_file, struct err_note *note)
{
    bool read_only = disk_of(disk)->read_only;
    CHECK(!create || !read_only);
    int flags =
        (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOFOLLOW | (create ? O_CREAT | O_EXCL : 0);
    int fd = openat(disk_of(disk)->dir_fd, name, flags, 0600);
    if (fd < 0) {
        return failed(note, create ? "create" : "open", name, errno);
    }
    struct real_file *file = mem_alloc(sizeof(*file));
    file->base.disk = disk;
    file->fd = fd;
    name_set(&file->base, name);
    *ret_file = &file->base;
    return ERR_OK;
}

static void real_close(struct disk_file *file)
{
    struct real_file *real = file_of(file);
    close(real->fd);
    mem_free(real);
}

static enum err real_size(struct disk_file *file, uint64_t *ret_bytes, struct err_note *note)
{
    struct stat status;
    if (fstat(file_of(file)->fd, &status) != 0) {
        return failed(note, "stat", file->name, errno);
    }
    *ret_bytes = (uint64_t)status.st_size;
    return ERR_OK;
}

static enum err real_read(struct disk_file *file, uint64_t offset, void *dest, size_t size,
                          size_t *ret_got, struct err_note *note)
{
    size_t done = 0;
    while (done < size) {
        ssize_t got =
            pread(file_of(file)->fd, (uint8_t *)dest + done, size - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return failed(note, "read", file->name, errno);
        }
        if (got == 0) {
            break;
        }
        done += (size_t)got;
    }
    *ret_got = done;
    return ERR_OK;
}

static enum err real_write(struct disk_file *file, uint64_t offset, struct bytes from,
                           struct err_note *note)
{
    size_t done = 0;
    CHECK(!disk_of(file->disk)->read_only);
    while (done < from.len) {
        ssize_t put =
            pwrite(file_of(file)->fd, from.data + done, from.len - done, (off_t)(offset + done));
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put <= 0) {
            return failed(note, "write", file->name, put < 0 ? errno : EIO);
        }
        done += (size_t)put;
    }
    return ERR_OK;
}

static enum err real_sync(struct disk_file *file, struct err_note *note)
{
    if (fdatasync(file_of(file)->fd) != 0) {
        return failed(note, "fdatasync", file->name, errno);
    }
    return ERR_OK;
}

static enum err real_remove(struct disk *disk, const char *name, struct err_note *note)
{
    CHECK(!disk_of(disk)->read_only);
    if (unlinkat(disk_of(disk)->dir_fd, name, 0) != 0) {
        return failed(note, "remove", name, errno);
    }
    return ERR_OK;
}

static enum err real_rename(struct disk *disk, struct disk_file *file, const char *to,
                            struct err_note *note)
{
    int dir_fd = disk_of(disk)->dir_fd;
    CHECK(!disk_of(disk)->read_only);
    if (renameat(dir_fd, file->name, dir_fd, to) != 0) {
        return failed(note, "rename", file->name, errno);
    }
    name_set(file, to);
    return ERR_OK;
}

static enum err real_sync_dir(struct disk *disk, struct err_note *note)
{
    if (fsync(disk_of(disk)->dir_fd) != 0) {
        return failed(note, "fsync", "the data directory", errno);
    }
    return ERR_OK;
}

static void on_file_done(struct file_op *file_op, enum err err, size_t bytes)
{
    struct disk_op *op = CONTAINER_OF(file_op, struct disk_op, file_op);
    op->os_errno = file_op->os_errno;
    op->on_done(op, err, bytes);
}

static enum file_op_kind file_kind(enum disk_op_kind kind)
{
    switch (kind) {
    case DISK_READ:
        return FILE_READ;
    case DISK_WRITE:
        return FILE_WRITE;
    case DISK_WRITE_DURABLE:
        return FILE_WRITE_DURABLE;
    case DISK_SYNC:
        return FILE_SYNC;
    case DISK_SYNC_DIR:
        return FILE_SYNC_ALL;
    }
    CHECK_UNREACHABLE();
}

static void real_start(struct disk *disk, struct disk_op *op)
{
    struct disk_loop *real = disk_of(disk);
    CHECK(real->loop != NULL);
    op->file_op.kind = file_kind(op->kind);
    op->file_op.fd = op->kind == DISK_SYNC_DIR ? real->dir_fd : file_of(op->file)->fd;
    op->file_op.offset = op->offset;
    op->file_op.iov = op->iov;
    op->file_op.iov_count = op->iov_count;
    op->file_op.on_done = on_file_done;
    file_start(real->loop, &op->file_op);
}

static const struct disk_ops real_ops = {
    .list = real_list,
    .open = real_open,
    .close = real_close,
    .size = real_size,
    .read = real_read,
    .write = real_write,
    .sync = real_sync,
    .remove = real_remove,
    .rename = real_rename,
    .sync_dir = real_sync_dir,
    .start = real_start,
};

static enum err dir_open(const char *path, bool create, int *ret_fd, struct err_note *note)
{
    if (create && mkdir(path, 0700) != 0 && errno != EEXIST) {
        return err_note_set(note, err_from_errno(errno), "make the data directory %s: %s", path,
                            strerrordesc_np(errno));
    }
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno == ENOTDIR) {
        return err_note_set(note, ERR_BAD_INPUT, "the data directory %s is not a directory", path);
    }
    if (fd < 0) {
        return err_note_set(note, err_from_errno(errno), "open the data directory %s: %s", path,
                            strerrordesc_np(errno));
    }
    *ret_fd = fd;
    return ERR_OK;
}

enum err disk_loop_open(struct loop *loop, const char *path, bool create,
                        struct disk_loop **ret_disk, struct err_note *note)
{
    struct buf lock_path;
    buf_init(&lock_path, 8192);
    enum err err = buf_printf(&lock_path, "%s/%s%c", path, LOCK_NAME, 0);
    if (err != ERR_OK) {
        return err_note_set(note, ERR_TOO_LARGE, "the data directory's path is too long");
    }
    int dir_fd = -1;
    err = dir_open(path, create, &dir_fd, note);
    struct process_lock lock = {.fd = -1};
    if (err == ERR_OK) {
        err = process_lock_take(&lock, (const char *)lock_path.data, note);
    }
    buf_done(&lock_path);
    if (err != ERR_OK) {
        if (dir_fd >= 0) {
            close(dir_fd);
        }
        return err;
    }
    struct disk_loop *disk = mem_alloc(sizeof(*disk));
    disk->base.ops = &real_ops;
    disk->loop = loop;
    disk->dir_fd = dir_fd;
    disk->lock = lock;
    *ret_disk = disk;
    return ERR_OK;
}

enum err disk_look_open(const char *path, struct disk_loop **ret_disk, long *ret_holder,
                        struct err_note *note)
{
    int dir_fd = -1;
    enum err err = dir_open(path, false, &dir_fd, note);
    if (err != ERR_OK) {
        return err;
    }
    *ret_holder = process_lock_holder(dir_fd, LOCK_NAME);
    struct disk_loop *disk = mem_alloc(sizeof(*disk));
    disk->base.ops = &real_ops;
    disk->dir_fd = dir_fd;
    disk->lock.fd = -1;
    disk->read_only = true;
    *ret_disk = disk;
    return ERR_OK;
}

void disk_loop_close(struct disk_loop *disk)
{
    if (disk != NULL) {
        process_lock_release(&disk->lock);
        close(disk->dir_fd);
        mem_free(disk);
    }
}

struct disk *disk_loop_base(struct disk_loop *disk)
{
    return &disk->base;
}
