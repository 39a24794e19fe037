/* The secret's file: who may read it, what may be in it, how it is replaced. See secret.h. */
#include "secret/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static enum err fail(const char *path, int cause, struct err_note *note)
{
    return err_note_set(note, err_from_errno(cause), "secret file %.120s: %s", path,
                        strerrordesc_np(cause));
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Of the open file, so that nobody changes it between the look and the reading. */
static enum err check_owner(int fd, const char *path, struct err_note *note)
{
    struct stat stat;
    if (fstat(fd, &stat) != 0) {
        return fail(path, errno, note);
    }
    if (!S_ISREG(stat.st_mode)) {
        return err_note_set(note, ERR_DENIED, "secret file %.120s: it is not a plain file", path);
    }
    if (stat.st_uid != geteuid()) {
        return err_note_set(note, ERR_DENIED,
                            "secret file %.120s belongs to user %u, this process runs as %u: give "
                            "it to that user (chown)",
                            path, stat.st_uid, geteuid());
    }
    if ((stat.st_mode & 0177) != 0) {
        return err_note_set(note, ERR_DENIED,
                            "secret file %.120s has mode %04o, others could read it: do chmod 600 "
                            "on it; if they have, replace the secret",
                            path, stat.st_mode & 07777);
    }
    return ERR_OK;
}

static enum err read_text(int fd, const char *path, struct buf *to, struct err_note *note)
{
    ssize_t got = 1;
    while (got > 0 && to->len < SECRET_FILE_BYTES_MAX) {
        enum err err = buf_reserve(to, SECRET_FILE_BYTES_MAX - to->len);
        CHECK(err == ERR_OK); /* its max */
        got = read(fd, to->data + to->len, SECRET_FILE_BYTES_MAX - to->len);
        if (got < 0) {
            return fail(path, errno, note);
        }
        to->len += (size_t)got;
    }
    return to->len < SECRET_FILE_BYTES_MAX
               ? ERR_OK
               : err_note_set(note, ERR_BAD_INPUT,
                              "secret file %.120s is too long: it has one secret in a line, or two",
                              path);
}

static enum err parse_lines(struct bytes text, struct secret_ring *ring, struct err_note *note)
{
    while (text.len > 0) {
        size_t end = bytes_find(text, '\n');
        struct bytes line = bytes_of(text.data, end);
        text = bytes_from(text, end < text.len ? end + 1 : end);
        if (ring->count == SECRET_RING_MAX) {
            return err_note_set(note, ERR_BAD_INPUT, "more than two lines");
        }
        enum err err = secret_parse(line, &ring->at[ring->count], note);
        if (err != ERR_OK) {
            return err_note_wrap(note, err, "line %u", ring->count + 1);
        }
        ring->count++;
    }
    if (ring->count == 0) {
        return err_note_set(note, ERR_BAD_INPUT,
                            "it is empty: make a secret with \"flotilla secret new\"");
    }
    if (ring->count == 2 && memcmp(&ring->at[0], &ring->at[1], sizeof(ring->at[0])) == 0) {
        return err_note_set(note, ERR_BAD_INPUT, "both lines are the same secret");
    }
    return ERR_OK;
}

enum err secret_file_read(const char *path, struct secret_ring *ret_ring, struct err_note *note)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return fail(path, errno, note);
    }
    struct secret_ring ring = {0};
    struct buf text;
    buf_init(&text, SECRET_FILE_BYTES_MAX);
    enum err err = check_owner(fd, path, note);
    if (err == ERR_OK) {
        err = read_text(fd, path, &text, note);
    }
    if (err == ERR_OK) {
        err = parse_lines(buf_bytes(&text), &ring, note);
        if (err != ERR_OK) {
            (void)err_note_wrap(note, err, "secret file %.120s", path);
        }
    }
    if (text.data != NULL) {
        explicit_bzero(text.data, text.cap);
    }
    buf_done(&text);
    (void)close(fd);
    if (err == ERR_OK) {
        *ret_ring = ring;
    }
    secret_forget(&ring);
    return err;
}

/* ---- writing --------------------------------------------------------------------------------- */

static enum err write_all(int fd, const char *text, size_t len)
{
    while (len > 0) {
        ssize_t wrote = write(fd, text, len);
        if (wrote < 0) {
            return err_from_errno(errno);
        }
        text += wrote;
        len -= (size_t)wrote;
    }
    return fsync(fd) == 0 ? ERR_OK : err_from_errno(errno);
}

/* The directory's entry is durable too. */
static enum err sync_directory(const char *path)
{
    char dir[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t len = slash == NULL ? 0 : (size_t)(slash - path) + 1;
    if (len >= sizeof(dir)) {
        return ERR_TOO_LARGE;
    }
    memcpy(dir, path, len);
    memcpy(dir + len, len == 0 ? "." : "", len == 0 ? 2 : 1);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    enum err err = fsync(fd) == 0 ? ERR_OK : err_from_errno(errno);
    (void)close(fd);
    return err;
}

static enum err write_new(const char *path, const struct secret_ring *ring, struct err_note *note)
{
    CHECK(ring->count >= 1 && ring->count <= SECRET_RING_MAX);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return fail(path, errno, note);
    }
    enum err err = ERR_OK;
    for (uint32_t i = 0; i < ring->count && err == ERR_OK; i++) {
        char line[SECRET_TEXT_MAX + 1];
        secret_format(&ring->at[i], line);
        size_t len = strlen(line);
        line[len] = '\n';
        err = write_all(fd, line, len + 1);
        explicit_bzero(line, sizeof(line));
    }
    if (close(fd) != 0 && err == ERR_OK) {
        err = err_from_errno(errno);
    }
    if (err != ERR_OK) {
        (void)unlink(path);
        return err_note_set(note, err, "secret file %.120s: %s", path, err_text(err));
    }
    return ERR_OK;
}

enum err secret_file_new(const char *path, const struct secret_ring *ring, struct err_note *note)
{
    enum err err = write_new(path, ring, note);
    return err == ERR_OK ? sync_directory(path) : err;
}

enum err secret_file_replace(const char *path, const struct secret_ring *ring,
                             struct err_note *note)
{
    char fresh[PATH_MAX];
    if (snprintf(fresh, sizeof(fresh), "%s.new", path) >= (int)sizeof(fresh)) {
        return err_note_set(note, ERR_TOO_LARGE, "the path of the secret file is too long");
    }
    if (unlink(fresh) != 0 && errno != ENOENT) { /* of an attempt that was cut off */
        return fail(fresh, errno, note);
    }
    enum err err = write_new(fresh, ring, note);
    if (err != ERR_OK) {
        return err;
    }
    if (rename(fresh, path) != 0) {
        int cause = errno;
        (void)unlink(fresh);
        return fail(path, cause, note);
    }
    return sync_directory(path);
}
