/* Snapshot files: checking one from the first to the last byte, and handing out its rows.
 *
 * Place: io/store. Bytes from the disk are never believed before their checksum; what the checksums
 * cover is still checked for order, counts and bounds. */
#include "store/snapshot_priv.h"

#include "store/store_priv.h"

#include "check/check.h"
#include "crc/crc32c.h"
#include "mem/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* A file being read. The payload buffer is as large as the largest chunk so far. */
struct input {
    int fd;
    uint64_t size;
    uint64_t at;
    uint32_t crc; /* of everything read so far, but the trailer */
    raft_group_id group;
    struct snapshot_trailer seen;
    struct buf payload;
    uint8_t last_key[TABLE_STORED_KEY_MAX];
    size_t last_key_len;
    const char *problem; /* what is wrong with the file */
    uint64_t piece;      /* where the header, chunk or trailer begins that it is wrong with */
};

static enum err corrupt(struct input *in, const char *problem)
{
    in->problem = problem;
    return ERR_CORRUPT;
}

static enum err take(struct input *in, void *dest, size_t len)
{
    if (len > in->size - in->at) {
        return corrupt(in, "it ends too early");
    }
    size_t got = 0;
    enum err err = fs_read_at(in->fd, dest, len, in->at, &got);
    if (err == ERR_OK && got < len) {
        err = corrupt(in, "it ends too early");
    }
    in->at += got;
    return err;
}

/* ret_in->problem says why it cannot be opened. */
static enum err open_input(struct snapshot_dir *dir, const char *name, struct input *ret_in)
{
    int fd = openat(dir->fd, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        ret_in->problem = strerrordesc_np(errno);
        return err_from_errno(errno);
    }
    struct stat st;
    if (fstat(fd, &st) != 0) {
        enum err err = err_from_errno(errno);
        (void)close(fd);
        return err;
    }
    *ret_in = (struct input){.fd = fd, .size = (uint64_t)st.st_size};
    buf_init(&ret_in->payload, SNAPSHOT_PAYLOAD_MAX);
    return ERR_OK;
}

static void close_input(struct input *in)
{
    buf_done(&in->payload);
    (void)close(in->fd);
}

static enum err read_header(struct input *in, struct snapshot_info *info)
{
    uint8_t raw[SNAPSHOT_HEADER_MAX];
    size_t got = 0;
    enum err err = fs_read_at(in->fd, raw, sizeof(raw), 0, &got);
    if (err != ERR_OK) {
        return err;
    }
    size_t len = 0;
    err = snapshot_header_decode(bytes_of(raw, got), &info->group, &info->meta, &len);
    if (err == ERR_MISMATCH) {
        in->problem = "its format is of another version of this program";
    } else if (err != ERR_OK) {
        in->problem = "its header is damaged";
    } else {
        in->group = info->group;
        in->at = len;
        in->crc = crc32c(0, raw, len);
        info->size_bytes = in->size;
    }
    return err;
}

/* One row off the payload: ascending order is what makes a key unique. */
static enum err take_row(struct input *in, struct reader *r, struct bytes *ret_key,
                         struct bytes *ret_value)
{
    struct bytes key = read_blob(r, TABLE_STORED_KEY_MAX - SNAPSHOT_GROUP_BYTES);
    struct bytes value = read_blob(r, SNAPSHOT_ROW_MAX);
    if (!reader_ok(r) || key.len == 0) {
        return corrupt(in, "a row is malformed");
    }
    struct bytes last = bytes_of(in->last_key, in->last_key_len);
    if (in->last_key_len > 0 && bytes_cmp(bytes_from(last, SNAPSHOT_GROUP_BYTES), key) >= 0) {
        return corrupt(in, "its rows are out of order");
    }
    put_u32_be(in->last_key, in->group);
    memcpy(in->last_key + SNAPSHOT_GROUP_BYTES, key.data, key.len);
    in->last_key_len = SNAPSHOT_GROUP_BYTES + key.len;
    *ret_key = bytes_of(in->last_key, in->last_key_len);
    *ret_value = value;
    return ERR_OK;
}

static enum err read_rows(struct input *in, uint32_t rows, const struct snapshot_visitor *visitor)
{
    struct reader r = reader_of(buf_bytes(&in->payload));
    for (uint32_t i = 0; i < rows; i++) {
        struct bytes key;
        struct bytes value;
        enum err err = take_row(in, &r, &key, &value);
        if (err == ERR_OK && table_digest_add_stored(&in->seen.digest, key, value) != ERR_OK) {
            err = corrupt(in, "a row is not one of a table");
        }
        if (err == ERR_OK && visitor != NULL) {
            err = visitor->row(visitor->context, key, value);
        }
        if (err != ERR_OK) {
            return err;
        }
    }
    return reader_left(&r) == 0 ? ERR_OK : corrupt(in, "a chunk has bytes behind its rows");
}

static enum err read_chunk(struct input *in, const uint8_t raw[SNAPSHOT_CHUNK_HEADER],
                           const struct snapshot_visitor *visitor)
{
    struct snapshot_chunk chunk;
    if (snapshot_chunk_decode(raw, &chunk) != ERR_OK) {
        return corrupt(in, "a chunk's header is damaged");
    }
    if (chunk.number != in->seen.chunks || chunk.rows == 0) {
        return corrupt(in, "a chunk is missing or out of place");
    }
    if (chunk.payload_len > in->size - in->at) {
        return corrupt(in, "it ends too early");
    }
    buf_clear(&in->payload);
    enum err err = buf_reserve(&in->payload, chunk.payload_len);
    if (err == ERR_OK) {
        err = take(in, in->payload.data, chunk.payload_len);
    }
    if (err != ERR_OK) {
        return err;
    }
    in->payload.len = chunk.payload_len;
    if (crc32c(0, in->payload.data, in->payload.len) != chunk.payload_crc) {
        return corrupt(in, "a chunk's rows are damaged");
    }
    in->crc = crc32c(in->crc, raw, SNAPSHOT_CHUNK_HEADER);
    in->crc = crc32c(in->crc, in->payload.data, in->payload.len);
    in->seen.chunks++;
    in->seen.rows += chunk.rows;
    in->seen.payload_bytes += chunk.payload_len;
    return read_rows(in, chunk.rows, visitor);
}

static bool same_digest(const struct table_digest *a, const struct table_digest *b)
{
    return a->low == b->low && a->high == b->high;
}

/* The last SNAPSHOT_TRAILER bytes against what was seen before them. */
static enum err read_trailer(struct input *in, struct snapshot_trailer *ret_trailer)
{
    uint8_t raw[SNAPSHOT_TRAILER];
    in->piece = in->at;
    enum err err = take(in, raw, sizeof(raw));
    if (err != ERR_OK) {
        return err;
    }
    if (snapshot_trailer_decode(raw, ret_trailer) != ERR_OK) {
        return corrupt(in, "its trailer is damaged");
    }
    return ERR_OK;
}

static enum err check_trailer(struct input *in, const struct snapshot_trailer *trailer)
{
    if (trailer->chunks != in->seen.chunks || trailer->rows != in->seen.rows ||
        trailer->payload_bytes != in->seen.payload_bytes) {
        return corrupt(in, "its counts are wrong");
    }
    if (trailer->file_crc != in->crc) {
        return corrupt(in, "its checksum is wrong");
    }
    if (!same_digest(&trailer->digest, &in->seen.digest)) {
        return corrupt(in, "its rows do not have its digest");
    }
    return ERR_OK;
}

static enum err scan_body(struct input *in, const struct snapshot_visitor *visitor,
                          struct snapshot_info *info)
{
    /* Which bytes are the trailer follows from the file's size alone: a damaged length cannot hide
     * it. */
    while (in->size - in->at > SNAPSHOT_TRAILER) {
        uint8_t raw[SNAPSHOT_CHUNK_HEADER];
        in->piece = in->at;
        enum err err = take(in, raw, sizeof(raw));
        if (err == ERR_OK) {
            err = read_chunk(in, raw, visitor);
        }
        if (err != ERR_OK) {
            return err;
        }
    }
    struct snapshot_trailer trailer;
    enum err err = read_trailer(in, &trailer);
    if (err == ERR_OK) {
        err = check_trailer(in, &trailer);
    }
    if (err == ERR_OK) {
        info->rows = trailer.rows;
        info->digest = trailer.digest;
    }
    return err;
}

static enum err note_file(struct err_note *note, enum err err, const struct snapshot_dir *dir,
                          const char *name, const struct input *in)
{
    if (err == ERR_OK) {
        return ERR_OK;
    }
    if (in->problem == NULL || in->fd < 0) {
        return err_note_set(note, err, "%s/%s: %s", dir->path, name,
                            in->problem == NULL ? err_text(err) : in->problem);
    }
    return err_note_set(note, err, "%s/%s: %s (in the part at byte %llu of %llu)", dir->path, name,
                        in->problem, (unsigned long long)in->piece, (unsigned long long)in->size);
}

enum err snapshot_scan(struct snapshot_dir *dir, const char *name,
                       const struct snapshot_visitor *visitor, struct snapshot_info *ret_info,
                       struct err_note *note)
{
    struct input in = {.fd = -1};
    struct snapshot_info info = {0};
    enum err err = bytes_to_cstr(bytes_of_str(name), info.name, sizeof(info.name));
    CHECK(err == ERR_OK);
    err = open_input(dir, name, &in);
    if (err != ERR_OK) {
        return note_file(note, err, dir, name, &in);
    }
    err = read_header(&in, &info);
    if (err == ERR_OK) {
        err = scan_body(&in, visitor, &info);
    }
    close_input(&in);
    if (err == ERR_OK) {
        *ret_info = info;
    }
    return note_file(note, err, dir, name, &in);
}

enum err snapshot_peek(struct snapshot_dir *dir, const char *name, struct snapshot_info *ret_info,
                       struct err_note *note)
{
    struct input in = {.fd = -1};
    struct snapshot_info info = {0};
    struct snapshot_trailer trailer = {0};
    enum err err = bytes_to_cstr(bytes_of_str(name), info.name, sizeof(info.name));
    CHECK(err == ERR_OK);
    err = open_input(dir, name, &in);
    if (err != ERR_OK) {
        return note_file(note, err, dir, name, &in);
    }
    err = read_header(&in, &info);
    if (err == ERR_OK && in.size - in.at < SNAPSHOT_TRAILER) {
        err = corrupt(&in, "it ends too early");
    }
    if (err == ERR_OK) {
        in.at = in.size - SNAPSHOT_TRAILER;
        err = read_trailer(&in, &trailer);
    }
    close_input(&in);
    if (err == ERR_OK) {
        info.rows = trailer.rows;
        info.digest = trailer.digest;
        *ret_info = info;
    }
    return note_file(note, err, dir, name, &in);
}

enum err snapshot_check_name(struct snapshot_dir *dir, const struct snapshot_info *info,
                             struct err_note *note)
{
    char name[SNAPSHOT_NAME_MAX];
    snapshot_name(info->group, info->meta.index, info->meta.term, "", name);
    if (strcmp(name, info->name) == 0) {
        return ERR_OK;
    }
    return err_note_set(note, ERR_CORRUPT, "%s/%s: the file says that it is %s", dir->path,
                        info->name, name);
}

enum err snapshot_verify(struct snapshot_dir *dir, const char *name, struct snapshot_info *ret_info,
                         struct err_note *note)
{
    struct snapshot_info info;
    enum err err = snapshot_scan(dir, name, NULL, &info, note);
    if (err == ERR_OK) {
        err = snapshot_check_name(dir, &info, note);
    }
    if (err == ERR_OK) {
        *ret_info = info;
    }
    return err;
}
