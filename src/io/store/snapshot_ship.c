/* Snapshot files: reading one in pieces for a peer, and putting one together from a peer's pieces.
 *
 * Place: io/store. What arrives is a plain copy of the file; its own checksums are what is trusted,
 * at the end. A part that was cut by a crash is therefore harmless: it is resumed, and refused at
 * the end if its bytes are not those of the offer. */
#include "store/snapshot_file.h"

#include "store/snapshot_priv.h"
#include "store/store_priv.h"

#include "check/check.h"
#include "mem/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    SOURCE_MAGIC = 0x534e5352,
    SINK_MAGIC = 0x534e534b
};

struct snapshot_source {
    uint32_t magic;
    int fd;
    uint64_t size;
};

struct snapshot_sink {
    uint32_t magic;
    int fd;
    struct snapshot_dir *dir; /* borrowed */
    struct snapshot_offer offer;
    uint64_t offset;
    bool failed; /* a write failed: the bytes at the end are uncertain */
    char part[SNAPSHOT_NAME_MAX];
};

/* ---- sending --------------------------------------------------------------------------------- */

enum err snapshot_source_open(struct snapshot_dir *dir, const char *name,
                              struct snapshot_source **ret_source)
{
    int fd = openat(dir->fd, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    struct stat st;
    if (fstat(fd, &st) != 0) {
        enum err err = err_from_errno(errno);
        (void)close(fd);
        return err;
    }
    struct snapshot_source *source = mem_alloc(sizeof(*source));
    source->magic = SOURCE_MAGIC;
    source->fd = fd;
    source->size = (uint64_t)st.st_size;
    *ret_source = source;
    return ERR_OK;
}

uint64_t snapshot_source_size(const struct snapshot_source *source)
{
    CHECK(source->magic == SOURCE_MAGIC);
    return source->size;
}

enum err snapshot_source_read(struct snapshot_source *source, uint64_t offset, uint8_t *dest,
                              size_t len, size_t *ret_len)
{
    CHECK(source->magic == SOURCE_MAGIC);
    return fs_read_at(source->fd, dest, len, offset, ret_len);
}

void snapshot_source_close(struct snapshot_source *source)
{
    if (source == NULL) {
        return;
    }
    CHECK(source->magic == SOURCE_MAGIC);
    (void)close(source->fd);
    source->magic = 0;
    mem_free(source);
}

/* ---- receiving ------------------------------------------------------------------------------- */

/* Opens the part and finds out how much of it is there; more than the offer is nothing of it. */
static enum err open_part(struct snapshot_sink *sink)
{
    sink->fd = openat(sink->dir->fd, sink->part, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (sink->fd < 0) {
        return err_from_errno(errno);
    }
    struct stat st;
    if (fstat(sink->fd, &st) != 0) {
        return err_from_errno(errno);
    }
    sink->offset = (uint64_t)st.st_size;
    if (sink->offset > sink->offer.size_bytes) {
        sink->offset = 0;
    }
    if (ftruncate(sink->fd, (off_t)sink->offset) != 0 ||
        lseek(sink->fd, (off_t)sink->offset, SEEK_SET) < 0) {
        return err_from_errno(errno);
    }
    return ERR_OK;
}

enum err snapshot_sink_open(struct snapshot_dir *dir, const struct snapshot_offer *offer,
                            uint64_t max_bytes, struct snapshot_sink **ret_sink,
                            struct err_note *note)
{
    CHECK(offer->group != 0);
    if (offer->size_bytes > max_bytes) {
        return err_note_set(note, ERR_TOO_LARGE, "a peer offers a snapshot of %llu bytes",
                            (unsigned long long)offer->size_bytes);
    }
    struct snapshot_sink *sink = mem_alloc(sizeof(*sink));
    sink->magic = SINK_MAGIC;
    sink->fd = -1;
    sink->dir = dir;
    sink->offer = *offer;
    snapshot_name(offer->group, offer->index, offer->term, SNAPSHOT_PART_SUFFIX, sink->part);
    enum err err = snapshot_remove_parts(dir, offer->group, sink->part);
    if (err == ERR_OK) {
        err = open_part(sink);
    }
    if (err != ERR_OK) {
        err =
            err_note_set(note, err, "%s/%s: cannot open: %s", dir->path, sink->part, err_text(err));
        snapshot_sink_close(sink);
        return err;
    }
    *ret_sink = sink;
    return ERR_OK;
}

uint64_t snapshot_sink_offset(const struct snapshot_sink *sink)
{
    CHECK(sink->magic == SINK_MAGIC);
    return sink->offset;
}

enum err snapshot_sink_write(struct snapshot_sink *sink, uint64_t offset, struct bytes chunk,
                             struct err_note *note)
{
    CHECK(sink->magic == SINK_MAGIC);
    if (offset != sink->offset || sink->failed) {
        return err_note_set(note, ERR_CONFLICT, "%s: offset %llu came, %llu is next", sink->part,
                            (unsigned long long)offset, (unsigned long long)sink->offset);
    }
    if (chunk.len > sink->offer.size_bytes - sink->offset) {
        return err_note_set(note, ERR_TOO_LARGE, "%s: more bytes came than were offered",
                            sink->part);
    }
    enum err err = fs_write_all(sink->fd, chunk.data, chunk.len);
    if (err != ERR_OK) {
        sink->failed = true;
        return err_note_set(note, err, "%s/%s: cannot write: %s", sink->dir->path, sink->part,
                            err_text(err));
    }
    sink->offset += chunk.len;
    return ERR_OK;
}

/* The whole file, against itself and against the offer. */
static enum err check_part(struct snapshot_sink *sink, struct snapshot_info *ret_info,
                           struct err_note *note)
{
    enum err err = snapshot_scan(sink->dir, sink->part, NULL, ret_info, note);
    if (err != ERR_OK) {
        return err;
    }
    if (ret_info->group != sink->offer.group || ret_info->meta.index != sink->offer.index ||
        ret_info->meta.term != sink->offer.term) {
        return err_note_set(note, ERR_CORRUPT, "%s: this is not the snapshot that was offered",
                            sink->part);
    }
    return ERR_OK;
}

enum err snapshot_sink_finish(struct snapshot_sink *sink, struct snapshot_info *ret_info,
                              struct err_note *note)
{
    CHECK(sink->magic == SINK_MAGIC);
    if (sink->offset != sink->offer.size_bytes || sink->failed) {
        return err_note_set(note, ERR_INCOMPLETE, "%s: bytes are missing", sink->part);
    }
    struct snapshot_info info;
    enum err err = fs_sync(sink->fd);
    if (err != ERR_OK) {
        return err_note_set(note, err, "%s: cannot sync: %s", sink->part, err_text(err));
    }
    err = check_part(sink, &info, note);
    if (err == ERR_CORRUPT || err == ERR_MISMATCH) {
        (void)unlinkat(sink->dir->fd, sink->part, 0);
        sink->failed = true;
    }
    if (err != ERR_OK) {
        return err;
    }
    snapshot_name(info.group, info.meta.index, info.meta.term, "", info.name);
    err = snapshot_publish(sink->dir, sink->part, info.name);
    if (err != ERR_OK) {
        return err_note_set(note, err, "%s: cannot rename: %s", sink->part, err_text(err));
    }
    *ret_info = info;
    return ERR_OK;
}

void snapshot_sink_close(struct snapshot_sink *sink)
{
    if (sink == NULL) {
        return;
    }
    CHECK(sink->magic == SINK_MAGIC);
    if (sink->fd >= 0) {
        (void)close(sink->fd);
    }
    sink->magic = 0;
    mem_free(sink);
}
