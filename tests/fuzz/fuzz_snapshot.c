/* Fuzz target: no bytes in a snapshot file crash its readers, and they agree about it.
 *
 * The first byte of the input chooses: the rest is a file as it is, or one whose checksums, lengths
 * and counts are put right first (random bytes alone would never get past a checksum). Checked: the
 * verdicts of the verifier, of the tool's reader and of the receiver are the same; what is taken
 * can be loaded into a store, with the digest that the file says. */
#include "crc/crc32c.h"
#include "store/snapshot_file.h"
#include "store/store.h"

#include "check/check.h"
#include "mem/mem.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    /* docs/disk-format.md */
    HEADER_FIXED = 48,
    CHUNK_HEADER = 24,
    TRAILER = 48,
    GROUP_AT = 16,
    INDEX_AT = 24,
    TERM_AT = 32,
    FILE_MAX = 1 << 20
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- putting a file right -------------------------------------------------------------------- */

/* What the chunks say when they are read as the reader does. */
struct right {
    uint8_t *file;
    size_t len;
    size_t at;
    uint32_t chunks;
    uint64_t rows;
    uint64_t payload;
    struct table_digest digest;
};

static bool right_header(struct right *right)
{
    if (right->len < HEADER_FIXED + 4 + TRAILER) {
        return false;
    }
    uint32_t config = get_u32(right->file + 20) % 256;
    if (config > right->len - HEADER_FIXED - 4 - TRAILER) {
        return false;
    }
    memcpy(right->file, "FLOTSNAP", 8);
    right->at = HEADER_FIXED + config + 4;
    put_u32(right->file + 8, 1);
    put_u32(right->file + 12, (uint32_t)right->at);
    put_u32(right->file + 20, config);
    put_u32(right->file + right->at - 4, crc32c(0, right->file, right->at - 4));
    return true;
}

/* Adds the rows that a payload holds, as far as they can be read, to the digest. */
static uint32_t count_rows(struct right *right, struct bytes payload)
{
    struct reader r = reader_of(payload);
    uint32_t rows = 0;
    uint8_t key[TABLE_STORED_KEY_MAX];
    put_u32_be(key, get_u32(right->file + GROUP_AT));
    while (reader_left(&r) > 0) {
        struct bytes tail = read_blob(&r, sizeof(key) - 4);
        struct bytes value = read_blob(&r, FILE_MAX);
        if (!reader_ok(&r)) {
            break;
        }
        if (tail.len > 0) {
            memcpy(key + 4, tail.data, tail.len);
        }
        /* What is no row of a table is the reader's to refuse. */
        if (table_digest_add_stored(&right->digest, bytes_of(key, 4 + tail.len), value) != ERR_OK) {
            break;
        }
        rows++;
    }
    return rows;
}

static void right_chunks(struct right *right)
{
    while (right->len - right->at >= CHUNK_HEADER + TRAILER) {
        uint8_t *head = right->file + right->at;
        size_t left = right->len - right->at - CHUNK_HEADER - TRAILER;
        uint32_t len = get_u32(head + 12);
        /* The last chunk takes what is left. */
        len = len > left ? (uint32_t)left : len;
        uint32_t rows = count_rows(right, bytes_of(head + CHUNK_HEADER, len));
        memcpy(head, "CHNK", 4);
        put_u32(head + 4, right->chunks);
        put_u32(head + 8, rows);
        put_u32(head + 12, len);
        put_u32(head + 16, crc32c(0, head + CHUNK_HEADER, len));
        put_u32(head + 20, crc32c(0, head, 20));
        right->chunks++;
        right->rows += rows;
        right->payload += len;
        right->at += CHUNK_HEADER + len;
    }
}

static void right_trailer(struct right *right)
{
    uint8_t *tail = right->file + right->len - TRAILER;
    memcpy(tail, "TAIL", 4);
    put_u32(tail + 4, right->chunks);
    put_u64(tail + 8, right->rows);
    put_u64(tail + 16, right->payload);
    put_u64(tail + 24, right->digest.low);
    put_u64(tail + 32, right->digest.high);
    put_u32(tail + 40, crc32c(0, right->file, right->len - TRAILER));
    put_u32(tail + 44, crc32c(0, tail, 44));
}

static void put_right(uint8_t *file, size_t len)
{
    struct right right = {.file = file, .len = len};
    if (right_header(&right)) {
        right_chunks(&right);
        right_trailer(&right);
    }
}

/* ---- reading --------------------------------------------------------------------------------- */

struct place {
    char path[64];
    char state[80];
    struct snapshot_dir *dir;
    struct store *store;
};

static struct place place;

static void remove_all(void)
{
    static const char *const names[] = {"data.mdb", "lock.mdb", "clean"};
    char path[192];
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", place.state, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(place.state);
    if (rmdir(place.path) != 0) {
        (void)fprintf(stderr, "%s stays\n", place.path);
    }
}

static void open_once(void)
{
    struct store_cfg cfg;
    bool trusted = false;
    if (place.dir != NULL) {
        return;
    }
    (void)snprintf(place.path, sizeof(place.path), "/tmp/fuzz-snapshot-XXXXXX");
    CHECK(mkdtemp(place.path) != NULL);
    (void)atexit(remove_all);
    enum err err = snapshot_dir_open(place.path, &place.dir, NULL);
    CHECK(err == ERR_OK);
    (void)snprintf(place.state, sizeof(place.state), "%s/state", place.path);
    store_cfg_init(&cfg);
    cfg.map_bytes = (uint64_t)256 << 20;
    cfg.step_bytes = (uint64_t)1 << 20;
    err = store_open(place.state, &cfg, &place.store, &trusted, NULL);
    CHECK(err == ERR_OK);
}

static void save(const char *name, const uint8_t *file, size_t len)
{
    char path[192];
    (void)snprintf(path, sizeof(path), "%s/%s", place.path, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK(fd >= 0);
    CHECK(len == 0 || write(fd, file, len) == (ssize_t)len);
    (void)close(fd);
}

static void forget(const char *name)
{
    char path[192];
    (void)snprintf(path, sizeof(path), "%s/%s", place.path, name);
    (void)unlink(path);
}

struct count {
    uint64_t rows;
};

static enum err count_row(void *context, enum table_id table, struct bytes key, struct bytes value)
{
    struct count *count = context;
    CHECK(table != 0 && key.len <= TABLE_KEY_MAX && value.len <= TABLE_VALUE_MAX);
    count->rows++;
    return ERR_OK;
}

static void load(const struct snapshot_info *info)
{
    struct snapshot_info loaded;
    enum err err = snapshot_load(place.dir, info->name, place.store, &loaded, NULL);
    if (err != ERR_OK) {
        /* What the group's own rows about itself say is not the reader's business. */
        CHECK(err == ERR_CORRUPT || err == ERR_TOO_LARGE);
        return;
    }
    CHECK(loaded.rows == info->rows);
    struct store_reader *reader = NULL;
    err = store_reader_new(place.store, &reader);
    CHECK(err == ERR_OK);
    err = store_read_begin(reader);
    CHECK(err == ERR_OK);
    struct table_txn txn;
    struct table_digest digest;
    store_read_tables(reader, info->group, &txn);
    err = table_digest(&txn, &digest);
    CHECK(err == ERR_OK);
    CHECK(digest.low == info->digest.low && digest.high == info->digest.high);
    store_reader_free(reader);
}

/* The receiver's way: what was offered, in two pieces. */
static enum err receive(const uint8_t *file, size_t len)
{
    struct snapshot_offer offer = {.group = get_u32(file + GROUP_AT),
                                   .index = get_u64(file + INDEX_AT),
                                   .term = get_u64(file + TERM_AT),
                                   .size_bytes = len};
    struct snapshot_sink *sink = NULL;
    enum err err = snapshot_sink_open(place.dir, &offer, FILE_MAX, &sink, NULL);
    CHECK(err == ERR_OK);
    size_t half = len / 2;
    uint64_t from = snapshot_sink_offset(sink);
    CHECK(from == 0);
    err = snapshot_sink_write(sink, 0, bytes_of(file, half), NULL);
    CHECK(err == ERR_OK);
    err = snapshot_sink_write(sink, half, bytes_of(file + half, len - half), NULL);
    CHECK(err == ERR_OK);
    struct snapshot_info info;
    err = snapshot_sink_finish(sink, &info, NULL);
    snapshot_sink_close(sink);
    if (err == ERR_OK) {
        load(&info);
        forget(info.name);
    }
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char name[] = "anything";
    if (size == 0 || size > FILE_MAX) {
        return 0;
    }
    open_once();
    size_t len = size - 1;
    uint8_t *file = mem_alloc(len + 1);
    memcpy(file, data + 1, len);
    if ((data[0] & 1u) != 0) {
        put_right(file, len);
    }
    save(name, file, len);
    struct snapshot_info info;
    struct count count = {0};
    struct snapshot_rows rows = {.row = count_row, .context = &count};
    enum err err = snapshot_read_rows(place.dir, name, &rows, &info, NULL);
    CHECK(err != ERR_OK || count.rows == info.rows);
    if (len >= HEADER_FIXED && get_u32(file + GROUP_AT) != 0 && get_u64(file + INDEX_AT) != 0) {
        enum err received = receive(file, len);
        CHECK((received == ERR_OK) == (err == ERR_OK));
    }
    forget(name);
    mem_free(file);
    return 0;
}
