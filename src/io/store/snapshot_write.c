/* Snapshot files: writing one from a read-only view.
 *
 * Place: io/store. Works on any table backend. Runs on a background thread: everything here
 * blocks. */
#include "store/snapshot_file.h"

#include "store/snapshot_priv.h"
#include "store/store_priv.h"

#include "check/check.h"
#include "crc/crc32c.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum {
    /* Written bytes are pushed to the disk after so many, so that the last fsync is short and the
     * WAL's syncs never wait behind the whole file. */
    PUSH_BYTES = 2 * 1024 * 1024
};

struct output {
    int fd;
    uint64_t size;
    uint64_t pushed;
    uint32_t crc;
    uint32_t rows_in_chunk;
    struct buf chunk; /* room for the chunk's header, then the payload */
    struct snapshot_trailer trailer;
};

static enum err put_bytes(struct output *out, struct bytes slice)
{
    enum err err = fs_write_all(out->fd, slice.data, slice.len);
    if (err != ERR_OK) {
        return err;
    }
    out->size += slice.len;
    if (out->size - out->pushed >= PUSH_BYTES) {
        /* Only a hint: the fsync at the end decides. */
        (void)sync_file_range(out->fd, (off_t)out->pushed, (off_t)(out->size - out->pushed),
                              SYNC_FILE_RANGE_WRITE);
        out->pushed = out->size;
    }
    return ERR_OK;
}

static enum err put_checked(struct output *out, struct bytes slice)
{
    out->crc = crc32c(out->crc, slice.data, slice.len);
    return put_bytes(out, slice);
}

static enum err chunk_begin(struct output *out)
{
    static const uint8_t room[SNAPSHOT_CHUNK_HEADER];
    buf_clear(&out->chunk);
    out->rows_in_chunk = 0;
    return buf_append(&out->chunk, bytes_of(room, sizeof(room)));
}

static enum err chunk_end(struct output *out)
{
    if (out->rows_in_chunk == 0) {
        return ERR_OK;
    }
    struct bytes payload = bytes_from(buf_bytes(&out->chunk), SNAPSHOT_CHUNK_HEADER);
    struct snapshot_chunk header = {.number = out->trailer.chunks,
                                    .rows = out->rows_in_chunk,
                                    .payload_len = (uint32_t)payload.len,
                                    .payload_crc = crc32c(0, payload.data, payload.len)};
    snapshot_chunk_encode(&header, out->chunk.data);
    out->trailer.chunks++;
    out->trailer.payload_bytes += payload.len;
    enum err err = put_checked(out, buf_bytes(&out->chunk));
    return err == ERR_OK ? chunk_begin(out) : err;
}

static enum err put_row(struct output *out, struct bytes key, struct bytes value)
{
    enum err err = table_digest_add_stored(&out->trailer.digest, key, value);
    if (err != ERR_OK) {
        return err;
    }
    struct writer w = writer_of(&out->chunk);
    write_blob(&w, bytes_from(key, SNAPSHOT_GROUP_BYTES));
    write_blob(&w, value);
    if (w.err != ERR_OK) {
        return w.err == ERR_FULL ? ERR_CORRUPT : w.err; /* no such row can have been put */
    }
    out->rows_in_chunk++;
    out->trailer.rows++;
    return out->chunk.len >= SNAPSHOT_CHUNK_BYTES ? chunk_end(out) : ERR_OK;
}

static enum err put_rows(struct output *out, struct table_txn *view, const atomic_bool *cancel)
{
    uint8_t raw[SNAPSHOT_GROUP_BYTES];
    put_u32_be(raw, view->group);
    struct bytes prefix = bytes_of(raw, sizeof(raw));
    struct bytes key;
    struct bytes value;
    enum err err = view->backend->seek(view->self, 0, prefix, &key, &value);
    while (err == ERR_OK && bytes_has_prefix(key, prefix)) {
        if (cancel != NULL && atomic_load_explicit(cancel, memory_order_relaxed)) {
            return ERR_CANCELED;
        }
        err = put_row(out, key, value);
        if (err == ERR_OK) {
            err = view->backend->next(view->self, 0, &key, &value);
        }
    }
    return err == ERR_NOT_FOUND ? ERR_OK : err;
}

static enum err put_header(struct output *out, raft_group_id group,
                           const struct raft_snapshot_meta *meta)
{
    struct buf header;
    buf_init(&header, SNAPSHOT_HEADER_MAX);
    enum err err = snapshot_header_encode(group, meta, &header);
    if (err == ERR_OK) {
        err = put_checked(out, buf_bytes(&header));
    }
    buf_done(&header);
    return err;
}

static enum err put_trailer(struct output *out)
{
    uint8_t raw[SNAPSHOT_TRAILER];
    out->trailer.file_crc = out->crc;
    snapshot_trailer_encode(&out->trailer, raw);
    return put_bytes(out, bytes_of(raw, sizeof(raw)));
}

static enum err put_all(struct output *out, struct table_txn *view,
                        const struct raft_snapshot_meta *meta, const atomic_bool *cancel)
{
    struct table_digest kept;
    enum err err = table_digest(view, &kept);
    if (err == ERR_OK) {
        err = put_header(out, view->group, meta);
    }
    if (err == ERR_OK) {
        err = chunk_begin(out);
    }
    if (err == ERR_OK) {
        err = put_rows(out, view, cancel);
    }
    if (err == ERR_OK) {
        err = chunk_end(out);
    }
    if (err == ERR_OK &&
        (kept.low != out->trailer.digest.low || kept.high != out->trailer.digest.high)) {
        err = ERR_CORRUPT;
    }
    if (err == ERR_OK) {
        err = put_trailer(out);
    }
    if (err == ERR_OK) {
        err = fs_sync(out->fd);
    }
    return err;
}

/* Creates the temporary file, fills and syncs it; the file is left to the caller in every case. */
static enum err write_temp(struct snapshot_dir *dir, const char *temp, struct output *out,
                           struct table_txn *view, const struct raft_snapshot_meta *meta,
                           const atomic_bool *cancel)
{
    out->fd = openat(dir->fd, temp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (out->fd < 0) {
        return err_from_errno(errno);
    }
    buf_init(&out->chunk, SNAPSHOT_CHUNK_HEADER + SNAPSHOT_PAYLOAD_MAX);
    enum err err = put_all(out, view, meta, cancel);
    buf_done(&out->chunk);
    (void)close(out->fd);
    return err;
}

enum err snapshot_write(struct snapshot_dir *dir, struct table_txn *view,
                        const struct raft_snapshot_meta *meta, const atomic_bool *cancel,
                        struct snapshot_info *ret_info, struct err_note *note)
{
    CHECK(view->cursors_in_use == 0);
    CHECK(meta->index > 0);
    uint64_t applied = 0;
    enum err err = table_applied(view, &applied);
    if (err == ERR_OK && applied != meta->index) {
        err = ERR_CONFLICT;
    }
    struct snapshot_info info = {.group = view->group, .meta = *meta};
    snapshot_name(view->group, meta->index, meta->term, "", info.name);
    if (err != ERR_OK) {
        return err_note_set(note, err, "%s: cannot begin at applied index %llu: %s", info.name,
                            (unsigned long long)applied, err_text(err));
    }
    char temp[SNAPSHOT_NAME_MAX];
    snapshot_name(view->group, meta->index, meta->term, SNAPSHOT_TEMP_SUFFIX, temp);
    struct output out = {.fd = -1};
    err = write_temp(dir, temp, &out, view, meta, cancel);
    if (err == ERR_OK) {
        err = snapshot_publish(dir, temp, info.name);
    }
    if (err != ERR_OK) {
        (void)unlinkat(dir->fd, temp, 0);
        const char *why =
            err == ERR_CORRUPT ? "the state disagrees with its digest" : err_text(err);
        return err_note_set(note, err, "%s/%s: cannot write: %s", dir->path, info.name, why);
    }
    info.digest = out.trailer.digest;
    info.rows = out.trailer.rows;
    info.size_bytes = out.size;
    *ret_info = info;
    return ERR_OK;
}
