/* Tests of io/store's snapshot files: what is written comes back, and nothing damaged is
 * believed. */
#include "store/snapshot_file.h"

#include "crc/crc32c.h"
#include "rnd/rnd.h"
#include "store_test.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

enum {
    GROUP = 3,
    OTHER_GROUP = 4,
    INDEX = 1000,
    TERM = 5,
    FILE_MAX = 1 << 20
};

struct fixture {
    char root[SCRATCH_PATH_MAX];
    char state_dir[SCRATCH_PATH_MAX + 8];
    char snap_dir[SCRATCH_PATH_MAX + 8];
    struct snapshot_dir *dir;
    struct table_mem *mem;
    struct table_txn txn;
};

static int set_up(void **state)
{
    struct fixture *f = test_calloc(1, sizeof(*f));
    scratch_make(f->root);
    (void)snprintf(f->state_dir, sizeof(f->state_dir), "%s/state", f->root);
    (void)snprintf(f->snap_dir, sizeof(f->snap_dir), "%s/snaps", f->root);
    assert_int_equal(snapshot_dir_open(f->snap_dir, &f->dir, NULL), ERR_OK);
    f->mem = table_mem_new();
    table_txn_init(&f->txn, table_mem_backend(), f->mem, GROUP, false);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    table_mem_free(f->mem);
    snapshot_dir_close(f->dir);
    scratch_remove(f->root);
    test_free(f);
    return 0;
}

static struct raft_snapshot_meta meta_at(uint64_t index, uint64_t term)
{
    struct raft_snapshot_meta meta = {.index = index, .term = term, .config_index = 1};
    meta.config.count = 3;
    meta.config.joint = index % 2 == 0;
    for (uint32_t i = 0; i < 3; i++) {
        meta.config.members[i] =
            (struct raft_member){.node = i + 1, .role = RAFT_VOTER, .storage_id = 0x100 + i};
        meta.config.members[i].role_old = meta.config.joint ? RAFT_VOTER : RAFT_NOT_A_MEMBER;
    }
    return meta;
}

/* Rows of every kind: short, long and very long keys, empty and large values. */
static void put_mixed_rows(struct table_txn *txn, uint32_t count)
{
    static uint8_t value[20000];
    for (uint32_t i = 0; i < count; i++) {
        uint8_t key[1200];
        size_t key_len = i % 7 == 3 ? 600 + i % 500 : 8 + i % 20;
        memset(key, 'k', sizeof(key));
        put_u32_be(key + key_len - 4, i * 2654435761u);
        size_t value_len = i % 50 == 9 ? sizeof(value) : i % 30;
        memset(value, (int)(i % 251), value_len);
        assert_int_equal(
            table_put(txn, TABLE_KV, bytes_of(key, key_len), bytes_of(value, value_len)), ERR_OK);
    }
}

static void finish_at(struct table_txn *txn, uint64_t index)
{
    assert_int_equal(table_set_applied(txn, index, 0), ERR_OK);
    assert_int_equal(table_txn_finish(txn), ERR_OK);
}

static struct snapshot_info write_at(struct fixture *f, uint64_t index, uint64_t term)
{
    struct raft_snapshot_meta meta = meta_at(index, term);
    struct snapshot_info info;
    struct err_note note = {""};
    finish_at(&f->txn, index);
    enum err err = snapshot_write(f->dir, &f->txn, &meta, NULL, &info, &note);
    if (err != ERR_OK) {
        fail_msg("snapshot_write: %s", note.text);
    }
    return info;
}

/* A file of some hundred bytes: few rows, three members. */
static struct snapshot_info write_small(struct fixture *f)
{
    for (int i = 0; i < 8; i++) {
        char text[16];
        (void)snprintf(text, sizeof(text), "key-%d", i);
        put_text(&f->txn, text, "value");
    }
    return write_at(f, INDEX, TERM);
}

static size_t read_snap(struct fixture *f, const char *name, uint8_t *dest, size_t size)
{
    char path[2 * SCRATCH_PATH_MAX + 8];
    (void)snprintf(path, sizeof(path), "%s/%s", f->snap_dir, name);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    ssize_t n = read(fd, dest, size);
    assert_true(n >= 0);
    close(fd);
    return (size_t)n;
}

static void write_snap(struct fixture *f, const char *name, const uint8_t *data, size_t len)
{
    char path[2 * SCRATCH_PATH_MAX + 8];
    (void)snprintf(path, sizeof(path), "%s/%s", f->snap_dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), (ssize_t)len);
    close(fd);
}

static size_t count_files(struct fixture *f, const char *suffix)
{
    DIR *listing = opendir(f->snap_dir);
    assert_non_null(listing);
    size_t count = 0;
    for (const struct dirent *entry = readdir(listing); entry != NULL; entry = readdir(listing)) {
        size_t len = strlen(entry->d_name);
        size_t tail = strlen(suffix);
        count += len >= tail && entry->d_name[0] != '.' &&
                 strcmp(entry->d_name + len - tail, suffix) == 0;
    }
    closedir(listing);
    return count;
}

static void expect_same_info(const struct snapshot_info *a, const struct snapshot_info *b)
{
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->group, b->group);
    assert_int_equal(a->meta.index, b->meta.index);
    assert_int_equal(a->meta.term, b->meta.term);
    assert_int_equal(a->meta.config_index, b->meta.config_index);
    assert_int_equal(a->meta.config.count, b->meta.config.count);
    assert_int_equal(a->meta.config.joint, b->meta.config.joint);
    for (uint32_t i = 0; i < a->meta.config.count; i++) {
        assert_int_equal(a->meta.config.members[i].node, b->meta.config.members[i].node);
        assert_int_equal(a->meta.config.members[i].storage_id,
                         b->meta.config.members[i].storage_id);
        assert_int_equal(a->meta.config.members[i].role_old, b->meta.config.members[i].role_old);
    }
    assert_int_equal(a->digest.low, b->digest.low);
    assert_int_equal(a->digest.high, b->digest.high);
    assert_int_equal(a->rows, b->rows);
    assert_int_equal(a->size_bytes, b->size_bytes);
}

/* ---- there and back ------------------------------------------------------------------------- */

static void expect_loaded(struct store *store, const struct snapshot_info *info)
{
    struct store_reader *reader = NULL;
    struct table_txn view;
    struct table_digest kept;
    uint64_t applied = 0;
    uint64_t rows = 0;
    assert_int_equal(store_reader_new(store, &reader), ERR_OK);
    assert_int_equal(store_read_begin(reader), ERR_OK);
    store_read_tables(reader, info->group, &view);
    assert_int_equal(table_applied(&view, &applied), ERR_OK);
    assert_int_equal(applied, info->meta.index);
    struct table_digest sum = digest_of_rows(&view, &rows);
    assert_int_equal(table_digest(&view, &kept), ERR_OK);
    assert_int_equal(rows, info->rows);
    assert_int_equal(sum.low, info->digest.low);
    assert_int_equal(sum.high, info->digest.high);
    assert_int_equal(kept.low, info->digest.low);
    assert_int_equal(kept.high, info->digest.high);
    store_reader_free(reader);
}

static void rows_of_all_kinds_go_there_and_back(void **state)
{
    struct fixture *f = *state;
    struct snapshot_info loaded;
    put_mixed_rows(&f->txn, 3000);
    struct snapshot_info info = write_at(f, INDEX, TERM);
    assert_true(info.size_bytes > 4 * 256 * 1024); /* several chunks */
    struct store *store = open_store(f->state_dir, false);
    assert_int_equal(snapshot_load(f->dir, info.name, store, &loaded, NULL), ERR_OK);
    expect_same_info(&loaded, &info);
    expect_loaded(store, &info);
    close_store(store, true);
    close_store(open_store(f->state_dir, true), true);
}

static void hundred_thousand_rows_go_from_store_to_store(void **state)
{
    struct fixture *f = *state;
    struct store *store = open_store(f->state_dir, false);
    struct store_reader *reader = NULL;
    struct table_txn txn;
    for (uint32_t i = 0; i < 100000;) {
        write_begin(store, GROUP, &txn);
        for (uint32_t end = i + 10000; i < end; i++) {
            uint8_t key[8];
            put_u64_be(key, i * 0x9e3779b97f4a7c15u);
            assert_int_equal(table_put(&txn, TABLE_KV, bytes_of(key, 8), bytes_of(key, 8)), ERR_OK);
        }
        assert_int_equal(table_set_applied(&txn, i, 0), ERR_OK);
        write_commit(store, &txn);
    }
    struct raft_snapshot_meta meta = meta_at(100000, TERM);
    struct snapshot_info info;
    struct snapshot_info loaded;
    assert_int_equal(store_reader_new(store, &reader), ERR_OK);
    assert_int_equal(store_read_begin(reader), ERR_OK);
    store_read_tables(reader, GROUP, &txn);
    assert_int_equal(snapshot_write(f->dir, &txn, &meta, NULL, &info, NULL), ERR_OK);
    store_reader_free(reader);
    close_store(store, false);
    assert_true(info.rows >= 100000);
    store = open_store(f->state_dir, false);
    assert_int_equal(snapshot_load(f->dir, info.name, store, &loaded, NULL), ERR_OK);
    expect_loaded(store, &info);
    close_store(store, false);
}

static void same_rows_give_the_same_bytes_from_any_backend(void **state)
{
    struct fixture *f = *state;
    static uint8_t from_mem[8 << 20];
    static uint8_t from_store[8 << 20];
    struct snapshot_info loaded;
    put_mixed_rows(&f->txn, 2000);
    struct snapshot_info info = write_at(f, INDEX, TERM);
    size_t len = read_snap(f, info.name, from_mem, sizeof(from_mem));
    struct store *store = open_store(f->state_dir, false);
    assert_int_equal(snapshot_load(f->dir, info.name, store, &loaded, NULL), ERR_OK);
    struct store_reader *reader = NULL;
    struct table_txn view;
    assert_int_equal(store_reader_new(store, &reader), ERR_OK);
    assert_int_equal(store_read_begin(reader), ERR_OK);
    store_read_tables(reader, GROUP, &view);
    assert_int_equal(snapshot_write(f->dir, &view, &info.meta, NULL, &loaded, NULL), ERR_OK);
    store_reader_free(reader);
    close_store(store, false);
    assert_int_equal(read_snap(f, info.name, from_store, sizeof(from_store)), len);
    assert_memory_equal(from_mem, from_store, len);
}

static void largest_row_fits(void **state)
{
    struct fixture *f = *state;
    uint8_t *value = test_calloc(1, TABLE_VALUE_MAX);
    uint8_t key[TABLE_KEY_MAX];
    struct snapshot_info loaded;
    memset(key, 'k', sizeof(key));
    assert_int_equal(
        table_put(&f->txn, TABLE_KV, bytes_of(key, sizeof(key)), bytes_of(value, TABLE_VALUE_MAX)),
        ERR_OK);
    struct snapshot_info info = write_at(f, INDEX, TERM);
    struct store *store = open_store(f->state_dir, false);
    assert_int_equal(snapshot_load(f->dir, info.name, store, &loaded, NULL), ERR_OK);
    expect_loaded(store, &info);
    close_store(store, false);
    test_free(value);
}

static void empty_group_has_a_snapshot_too(void **state)
{
    struct fixture *f = *state;
    struct snapshot_info info = write_at(f, INDEX, TERM);
    struct snapshot_info seen;
    assert_int_equal(snapshot_verify(f->dir, info.name, &seen, NULL), ERR_OK);
    expect_same_info(&seen, &info);
}

static void load_replaces_the_rows_of_its_group_only(void **state)
{
    struct fixture *f = *state;
    struct snapshot_info loaded;
    put_text(&f->txn, "key", "from the snapshot");
    struct snapshot_info info = write_at(f, INDEX, TERM);
    struct store *store = open_store(f->state_dir, false);
    for (uint32_t group = GROUP - 1; group <= GROUP + 1; group++) {
        put_committed(store, group, "key", "old", 1);
        put_committed(store, group, "gone", "old", 2);
    }
    assert_int_equal(snapshot_load(f->dir, info.name, store, &loaded, NULL), ERR_OK);
    expect_loaded(store, &info);
    expect_committed(store, GROUP, "key", "from the snapshot");
    expect_committed(store, GROUP, "gone", NULL);
    expect_committed(store, GROUP - 1, "gone", "old");
    expect_committed(store, GROUP + 1, "gone", "old");
    close_store(store, true);
    close_store(open_store(f->state_dir, true), true);
}

/* ---- looking --------------------------------------------------------------------------------- */

/* Rows that a look gives, put into tables of their own. */
static enum err copy_row(void *context, enum table_id table, struct bytes key, struct bytes value)
{
    struct table_txn *copy = context;
    assert_non_null(table_name(table));
    /* The digest's own row is made by the copy itself. */
    return table == TABLE_META ? ERR_OK : table_put(copy, table, key, value);
}

static void looking_gives_every_row_with_its_full_key(void **state)
{
    struct fixture *f = *state;
    struct snapshot_dir *looking = NULL;
    struct snapshot_info seen;
    struct table_mem *mem = table_mem_new();
    struct table_txn copy;
    struct table_digest digest;
    put_mixed_rows(&f->txn, 300); /* keys of both stored forms */
    struct snapshot_info info = write_at(f, INDEX, TERM);
    table_txn_init(&copy, table_mem_backend(), mem, GROUP, false);
    struct snapshot_rows rows = {.row = copy_row, .context = &copy};
    assert_int_equal(snapshot_dir_look(f->snap_dir, &looking, NULL), ERR_OK);
    assert_int_equal(snapshot_read_rows(looking, info.name, &rows, &seen, NULL), ERR_OK);
    expect_same_info(&seen, &info);
    assert_int_equal(table_digest(&copy, &digest), ERR_OK);
    assert_int_equal(digest.low, info.digest.low);
    assert_int_equal(digest.high, info.digest.high);
    char name[SNAPSHOT_NAME_MAX];
    snapshot_name_of(&seen, name);
    assert_string_equal(name, info.name);
    snapshot_dir_close(looking);
    table_mem_free(mem);
}

static void count_name(void *context, const char *name)
{
    size_t *counts = context;
    counts[snapshot_name_kind(name)]++;
}

static void looking_tidies_nothing_up(void **state)
{
    struct fixture *f = *state;
    struct snapshot_dir *looking = NULL;
    struct snapshot_info seen;
    size_t counts[3] = {0};
    char name[SNAPSHOT_NAME_MAX + 8];
    struct snapshot_info info = write_small(f);
    (void)snprintf(name, sizeof(name), "%s.tmp", info.name);
    write_snap(f, name, (const uint8_t *)"half", 4);
    (void)snprintf(name, sizeof(name), "%s.part", info.name);
    write_snap(f, name, (const uint8_t *)"half", 4);
    write_snap(f, "snapshot-notes", (const uint8_t *)"text", 4);
    assert_int_equal(snapshot_dir_look(f->snap_dir, &looking, NULL), ERR_OK);
    assert_int_equal(snapshot_each_name(looking, count_name, counts), ERR_OK);
    assert_int_equal(counts[SNAPSHOT_NAME_FILE], 1);
    assert_int_equal(counts[SNAPSHOT_NAME_UNFINISHED], 2);
    assert_int_equal(counts[SNAPSHOT_NAME_OTHER], 3); /* the notes, "." and ".." */
    assert_int_equal(snapshot_read_rows(looking, name, NULL, &seen, NULL), ERR_CORRUPT);
    memset(name, 'x', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    assert_int_equal(snapshot_read_rows(looking, name, NULL, &seen, NULL), ERR_TOO_LARGE);
    snapshot_dir_close(looking);
    struct err_note note = {""};
    (void)snprintf(name, sizeof(name), "/no/such");
    assert_int_equal(snapshot_dir_look(name, &looking, &note), ERR_NOT_FOUND);
    assert_int_equal(snapshot_dir_look("/dev/null", &looking, &note), ERR_BAD_INPUT);
    assert_int_equal(count_files(f, ".tmp"), 1);
}

static void a_reason_says_which_part_of_the_file_is_bad(void **state)
{
    struct fixture *f = *state;
    static uint8_t image[FILE_MAX];
    struct snapshot_info seen;
    struct err_note note = {""};
    struct snapshot_info info = write_small(f);
    size_t len = read_snap(f, info.name, image, sizeof(image));
    image[len - 50] ^= 1; /* in the last row: before the 48 bytes of the trailer */
    write_snap(f, info.name, image, len);
    assert_int_equal(snapshot_verify(f->dir, info.name, &seen, &note), ERR_CORRUPT);
    char where[64];
    uint32_t header = get_u32(image + 12);
    (void)snprintf(where, sizeof(where), "in the part at byte %u of %zu", header, len);
    assert_non_null(strstr(note.text, where));
}

/* ---- refusals when writing ------------------------------------------------------------------ */

static void state_of_another_index_is_not_written(void **state)
{
    struct fixture *f = *state;
    struct raft_snapshot_meta meta = meta_at(INDEX + 1, TERM);
    struct snapshot_info info;
    finish_at(&f->txn, INDEX);
    assert_int_equal(snapshot_write(f->dir, &f->txn, &meta, NULL, &info, NULL), ERR_CONFLICT);
    assert_int_equal(count_files(f, ""), 0);
}

static void state_that_disagrees_with_its_digest_is_not_written(void **state)
{
    struct fixture *f = *state;
    struct raft_snapshot_meta meta = meta_at(INDEX, TERM);
    struct snapshot_info info;
    struct err_note note;
    uint8_t stored[TABLE_STORED_KEY_MAX];
    size_t len;
    bool is_long;
    put_text(&f->txn, "key", "value");
    finish_at(&f->txn, INDEX);
    assert_int_equal(
        table_key_encode(GROUP, TABLE_KV, BYTES_LITERAL("key"), stored, &len, &is_long), ERR_OK);
    assert_int_equal(
        f->txn.backend->put(f->txn.self, bytes_of(stored, len), BYTES_LITERAL("walue")), ERR_OK);
    assert_int_equal(snapshot_write(f->dir, &f->txn, &meta, NULL, &info, &note), ERR_CORRUPT);
    assert_non_null(strstr(note.text, "digest"));
    assert_int_equal(count_files(f, ""), 0);
}

static void cancelled_write_leaves_no_file(void **state)
{
    struct fixture *f = *state;
    struct raft_snapshot_meta meta = meta_at(INDEX, TERM);
    struct snapshot_info info;
    atomic_bool cancel = true;
    put_text(&f->txn, "key", "value");
    finish_at(&f->txn, INDEX);
    assert_int_equal(snapshot_write(f->dir, &f->txn, &meta, &cancel, &info, NULL), ERR_CANCELED);
    assert_int_equal(count_files(f, ""), 0);
}

/* ---- damage --------------------------------------------------------------------------------- */

static void file_cut_at_any_length_is_refused(void **state)
{
    struct fixture *f = *state;
    static uint8_t raw[FILE_MAX];
    struct snapshot_info info = write_small(f);
    struct snapshot_info seen;
    struct err_note note;
    size_t len = read_snap(f, info.name, raw, sizeof(raw));
    assert_int_equal(len, info.size_bytes);
    for (size_t cut = 0; cut < len; cut++) {
        write_snap(f, info.name, raw, cut);
        assert_int_equal(snapshot_verify(f->dir, info.name, &seen, &note), ERR_CORRUPT);
    }
    write_snap(f, info.name, raw, len);
    assert_int_equal(snapshot_verify(f->dir, info.name, &seen, &note), ERR_OK);
    expect_same_info(&seen, &info);
    raw[len] = 0;
    write_snap(f, info.name, raw, len + 1);
    assert_int_equal(snapshot_verify(f->dir, info.name, &seen, &note), ERR_CORRUPT);
}

static void any_flipped_bit_is_refused(void **state)
{
    struct fixture *f = *state;
    static uint8_t raw[FILE_MAX];
    struct snapshot_info info = write_small(f);
    struct snapshot_info seen;
    size_t len = read_snap(f, info.name, raw, sizeof(raw));
    for (size_t bit = 0; bit < 8 * len; bit++) {
        raw[bit / 8] ^= (uint8_t)(1u << bit % 8);
        write_snap(f, info.name, raw, len);
        assert_int_equal(snapshot_verify(f->dir, info.name, &seen, NULL), ERR_CORRUPT);
        raw[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

enum {
    /* Offsets in the file, as docs/disk-format.md has them. */
    AT_VERSION = 8,
    AT_HEADER_LEN = 12,
    CHUNK_HEADER = 24,
    TRAILER = 48
};

/* Puts right what protects the header, the only chunk and the trailer after bytes were changed. */
static void repair_checksums(uint8_t *raw, size_t len)
{
    size_t header = get_u32(raw + AT_HEADER_LEN);
    put_u32(raw + header - 4, crc32c(0, raw, header - 4));
    uint8_t *chunk = raw + header;
    size_t payload = get_u32(chunk + 12);
    put_u32(chunk + 16, crc32c(0, chunk + CHUNK_HEADER, payload));
    put_u32(chunk + 20, crc32c(0, chunk, 20));
    uint8_t *trailer = raw + len - TRAILER;
    put_u32(trailer + 40, crc32c(0, raw, len - TRAILER));
    put_u32(trailer + 44, crc32c(0, trailer, 44));
}

static void newer_version_is_told_from_damage(void **state)
{
    struct fixture *f = *state;
    static uint8_t raw[FILE_MAX];
    struct snapshot_info info = write_small(f);
    struct snapshot_info seen;
    struct err_note note;
    size_t len = read_snap(f, info.name, raw, sizeof(raw));
    put_u32(raw + AT_VERSION, 2);
    repair_checksums(raw, len);
    write_snap(f, info.name, raw, len);
    assert_int_equal(snapshot_verify(f->dir, info.name, &seen, &note), ERR_MISMATCH);
    assert_non_null(strstr(note.text, "version"));
}

static void rows_that_do_not_have_the_digest_are_refused(void **state)
{
    struct fixture *f = *state;
    static uint8_t raw[FILE_MAX];
    struct snapshot_info info = write_small(f);
    struct snapshot_info seen;
    struct err_note note;
    size_t len = read_snap(f, info.name, raw, sizeof(raw));
    raw[len - TRAILER - 1] ^= 1; /* the last value */
    repair_checksums(raw, len);
    write_snap(f, info.name, raw, len);
    assert_int_equal(snapshot_verify(f->dir, info.name, &seen, &note), ERR_CORRUPT);
    assert_non_null(strstr(note.text, "digest"));
}

static void rows_out_of_order_are_refused(void **state)
{
    struct fixture *f = *state;
    static uint8_t raw[FILE_MAX];
    struct snapshot_info info = write_small(f);
    struct snapshot_info seen;
    struct err_note note;
    size_t len = read_snap(f, info.name, raw, sizeof(raw));
    uint8_t *last = raw + len - TRAILER - 6 - 1; /* the last byte of the last key, "key-7" */
    assert_int_equal(*last, '7');
    *last = '5';
    repair_checksums(raw, len);
    write_snap(f, info.name, raw, len);
    assert_int_equal(snapshot_verify(f->dir, info.name, &seen, &note), ERR_CORRUPT);
    assert_non_null(strstr(note.text, "order"));
}

static void missing_or_swapped_chunks_are_refused(void **state)
{
    struct fixture *f = *state;
    static uint8_t raw[8 << 20];
    static uint8_t bad[8 << 20];
    put_mixed_rows(&f->txn, 3000);
    struct snapshot_info info = write_at(f, INDEX, TERM);
    struct snapshot_info seen;
    size_t len = read_snap(f, info.name, raw, sizeof(raw));
    assert_true(len < sizeof(raw));
    size_t header = get_u32(raw + AT_HEADER_LEN);
    size_t one = CHUNK_HEADER + get_u32(raw + header + 12);
    size_t two = CHUNK_HEADER + get_u32(raw + header + one + 12);

    memcpy(bad, raw, header);
    memcpy(bad + header, raw + header + one, two);
    memcpy(bad + header + two, raw + header, one);
    memcpy(bad + header + one + two, raw + header + one + two, len - header - one - two);
    write_snap(f, info.name, bad, len);
    assert_int_equal(snapshot_verify(f->dir, info.name, &seen, NULL), ERR_CORRUPT);

    memcpy(bad, raw, header + one);
    memcpy(bad + header + one, raw + header + one + two, len - header - one - two);
    write_snap(f, info.name, bad, len - two);
    assert_int_equal(snapshot_verify(f->dir, info.name, &seen, NULL), ERR_CORRUPT);
}

static void file_under_another_name_is_refused(void **state)
{
    struct fixture *f = *state;
    static uint8_t raw[FILE_MAX];
    struct snapshot_info info = write_small(f);
    struct snapshot_info seen;
    struct err_note note;
    size_t len = read_snap(f, info.name, raw, sizeof(raw));
    const char *other = "snapshot-00000004-00000000000003e8-0000000000000005";
    write_snap(f, other, raw, len);
    assert_int_equal(snapshot_verify(f->dir, other, &seen, &note), ERR_CORRUPT);
    assert_non_null(strstr(note.text, info.name));
    assert_int_equal(snapshot_verify(f->dir, "snapshot-none", &seen, &note), ERR_NOT_FOUND);
}

static void damaged_file_changes_nothing_when_loaded(void **state)
{
    struct fixture *f = *state;
    static uint8_t raw[FILE_MAX];
    struct snapshot_info info = write_small(f);
    struct snapshot_info seen;
    size_t len = read_snap(f, info.name, raw, sizeof(raw));
    raw[len / 2] ^= 0x10;
    write_snap(f, info.name, raw, len);
    struct store *store = open_store(f->state_dir, false);
    put_committed(store, GROUP, "key", "value", 1);
    assert_int_equal(snapshot_load(f->dir, info.name, store, &seen, NULL), ERR_CORRUPT);
    expect_committed(store, GROUP, "key", "value");
    close_store(store, true);
    close_store(open_store(f->state_dir, true), true);
}

static void load_that_fails_midway_leaves_no_trust(void **state)
{
    struct fixture *f = *state;
    struct store_cfg cfg = small_cfg();
    cfg.map_bytes = 1ULL << 20;
    struct store *store = NULL;
    struct snapshot_info seen;
    struct err_note note;
    bool trusted;
    put_mixed_rows(&f->txn, 3000);
    struct snapshot_info info = write_at(f, INDEX, TERM);
    assert_int_equal(store_open(f->state_dir, &cfg, &store, &trusted, NULL), ERR_OK);
    put_committed(store, GROUP, "key", "value", 1);
    assert_int_equal(snapshot_load(f->dir, info.name, store, &seen, &note), ERR_NO_SPACE);
    assert_non_null(strstr(note.text, info.name));
    assert_non_null(strstr(note.text, "limit"));
    close_store(store, true);
    close_store(open_store(f->state_dir, false), false);
}

static void half_loaded_group_reads_as_applied_index_0(void **state)
{
    struct fixture *f = *state;
    uint8_t *value = test_calloc(1, TABLE_VALUE_MAX);
    struct snapshot_info seen;
    for (uint8_t i = 0; i < 5; i++) { /* more than one transaction, more than the store takes */
        assert_int_equal(
            table_put(&f->txn, TABLE_KV, bytes_of(&i, 1), bytes_of(value, TABLE_VALUE_MAX)),
            ERR_OK);
    }
    test_free(value);
    struct snapshot_info info = write_at(f, INDEX, TERM);
    struct store_cfg cfg = small_cfg();
    cfg.map_bytes = 38ULL << 20;
    struct store *store = NULL;
    struct store_reader *reader = NULL;
    struct table_txn view;
    struct bytes row;
    uint64_t applied = 1;
    bool trusted;
    assert_int_equal(store_open(f->state_dir, &cfg, &store, &trusted, NULL), ERR_OK);
    put_committed(store, GROUP, "key", "value", 7);
    assert_int_equal(snapshot_load(f->dir, info.name, store, &seen, NULL), ERR_NO_SPACE);
    assert_int_equal(store_reader_new(store, &reader), ERR_OK);
    assert_int_equal(store_read_begin(reader), ERR_OK);
    store_read_tables(reader, GROUP, &view);
    assert_int_equal(table_applied(&view, &applied), ERR_OK);
    assert_int_equal(applied, 0);
    expect_text(&view, "key", NULL);
    uint8_t first = 0;
    assert_int_equal(table_get(&view, TABLE_KV, bytes_of(&first, 1), &row), ERR_OK);
    store_reader_free(reader);
    close_store(store, true);
    close_store(open_store(f->state_dir, false), false);
}

/* Waits until the child's load has taken the mark away: it has begun to change things. */
static void wait_for_no_mark(const char *dir)
{
    for (int i = 0; i < 10000 && file_exists(dir, "clean"); i++) {
        assert_int_equal(poll(NULL, 0, 1), 0);
    }
    assert_false(file_exists(dir, "clean"));
}

static void process_killed_in_a_load_leaves_no_trust(void **state)
{
    struct fixture *f = *state;
    put_mixed_rows(&f->txn, 5000);
    struct snapshot_info info = write_at(f, INDEX, TERM);
    for (int round = 0; round < 5; round++) {
        struct store *store = open_store(f->state_dir, false);
        put_committed(store, GROUP, "key", "value", 1);
        close_store(store, true);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            struct snapshot_info seen;
            store = open_store(f->state_dir, true);
            enum err err = snapshot_load(f->dir, info.name, store, &seen, NULL);
            while (err == ERR_OK) { /* the parent kills in any case */
                (void)pause();
            }
            _exit(1);
        }
        wait_for_no_mark(f->state_dir);
        assert_int_equal(poll(NULL, 0, round), 0); /* at different points of the load */
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, NULL, 0), child);
    }
    close_store(open_store(f->state_dir, false), false);
}

/* ---- the directory -------------------------------------------------------------------------- */

struct reports {
    int count;
    char last[SNAPSHOT_NAME_MAX];
    char why[ERR_NOTE_MAX];
};

static void note_report(void *context, const char *name, const struct err_note *why)
{
    struct reports *reports = context;
    reports->count++;
    (void)snprintf(reports->last, sizeof(reports->last), "%s", name);
    (void)snprintf(reports->why, sizeof(reports->why), "%s", why->text);
}

static void list_is_newest_first_and_of_one_group(void **state)
{
    struct fixture *f = *state;
    struct snapshot_info infos[8];
    size_t count = 0;
    (void)write_at(f, 20, 2);
    (void)write_at(f, 300, 2);
    (void)write_at(f, 100, 1);
    f->txn.group = OTHER_GROUP;
    (void)write_at(f, 900, 2);
    assert_int_equal(snapshot_list(f->dir, GROUP, NULL, 8, infos, &count), ERR_OK);
    assert_int_equal(count, 3);
    assert_int_equal(infos[0].meta.index, 300);
    assert_int_equal(infos[1].meta.index, 100);
    assert_int_equal(infos[2].meta.index, 20);
    assert_int_equal(snapshot_list(f->dir, GROUP, NULL, 2, infos, &count), ERR_OK);
    assert_int_equal(count, 2);
    assert_int_equal(infos[0].meta.index, 300);
    assert_int_equal(snapshot_list(f->dir, 77, NULL, 8, infos, &count), ERR_OK);
    assert_int_equal(count, 0);
}

static void damaged_files_are_passed_over_and_reported(void **state)
{
    struct fixture *f = *state;
    static uint8_t raw[FILE_MAX];
    struct reports reports = {0};
    const struct snapshot_report report = {.damaged = note_report, .context = &reports};
    struct snapshot_info infos[8];
    struct snapshot_info newest;
    size_t count = 0;
    put_text(&f->txn, "key", "value");
    struct snapshot_info old = write_at(f, 100, 1);
    struct snapshot_info mid = write_at(f, 200, 1);
    struct snapshot_info last = write_at(f, 300, 1);
    /* The newest has lost its end, the one before has a bit wrong in a row. */
    size_t len = read_snap(f, last.name, raw, sizeof(raw));
    write_snap(f, last.name, raw, len - 3);
    len = read_snap(f, mid.name, raw, sizeof(raw));
    raw[len - TRAILER - 1] ^= 4;
    write_snap(f, mid.name, raw, len);
    assert_int_equal(snapshot_list(f->dir, GROUP, &report, 8, infos, &count), ERR_OK);
    assert_int_equal(count, 2); /* only a whole reading finds the wrong bit */
    assert_int_equal(reports.count, 1);
    assert_string_equal(reports.last, last.name);
    assert_int_equal(snapshot_newest(f->dir, GROUP, &report, &newest), ERR_OK);
    expect_same_info(&newest, &old);
    assert_int_equal(reports.count, 3);
    assert_string_equal(reports.last, mid.name);
    assert_non_null(strstr(reports.why, mid.name));
    write_snap(f, old.name, raw, 0);
    assert_int_equal(snapshot_newest(f->dir, GROUP, NULL, &newest), ERR_NOT_FOUND);
}

static void prune_keeps_the_newest_whole_files(void **state)
{
    struct fixture *f = *state;
    static uint8_t raw[FILE_MAX];
    struct snapshot_info infos[8];
    size_t count = 0;
    (void)write_at(f, 100, 1);
    (void)write_at(f, 200, 1);
    (void)write_at(f, 300, 1);
    struct snapshot_info last = write_at(f, 400, 1);
    write_snap(f, last.name, raw, 10);
    f->txn.group = OTHER_GROUP;
    (void)write_at(f, 50, 1);
    /* What the log may need stays. */
    assert_int_equal(snapshot_prune(f->dir, GROUP, SNAPSHOT_KEEP, 100), ERR_OK);
    assert_int_equal(snapshot_list(f->dir, GROUP, NULL, 8, infos, &count), ERR_OK);
    assert_int_equal(count, 3);
    assert_int_equal(snapshot_prune(f->dir, GROUP, SNAPSHOT_KEEP, 101), ERR_OK);
    assert_int_equal(snapshot_list(f->dir, GROUP, NULL, 8, infos, &count), ERR_OK);
    assert_int_equal(count, 2);
    assert_int_equal(infos[0].meta.index, 300);
    assert_int_equal(infos[1].meta.index, 200);
    assert_int_equal(snapshot_list(f->dir, OTHER_GROUP, NULL, 8, infos, &count), ERR_OK);
    assert_int_equal(count, 1);
}

static void unfinished_files_are_cleaned_up_and_others_left_alone(void **state)
{
    struct fixture *f = *state;
    write_snap(f, "snapshot-00000003-0000000000000064-0000000000000001.tmp", (const uint8_t *)"cut",
               3);
    write_snap(f, "notes.tmp", (const uint8_t *)"mine", 4);
    write_snap(f, "snapshot-00000003-0000000000000064-0000000000000001x", (const uint8_t *)"odd",
               3);
    snapshot_dir_close(f->dir);
    f->dir = NULL;
    assert_int_equal(snapshot_dir_open(f->snap_dir, &f->dir, NULL), ERR_OK);
    assert_int_equal(count_files(f, ".tmp"), 1);
    assert_int_equal(count_files(f, ""), 2);
    struct snapshot_info newest;
    assert_int_equal(snapshot_newest(f->dir, GROUP, NULL, &newest), ERR_NOT_FOUND);
}

/* ---- from node to node ---------------------------------------------------------------------- */

/* A second directory, as on another node. */
static struct snapshot_dir *open_peer_dir(struct fixture *f)
{
    char path[2 * SCRATCH_PATH_MAX];
    struct snapshot_dir *dir = NULL;
    (void)snprintf(path, sizeof(path), "%s/peer", f->root);
    assert_int_equal(snapshot_dir_open(path, &dir, NULL), ERR_OK);
    return dir;
}

static struct snapshot_offer offer_of(const struct snapshot_info *info)
{
    return (struct snapshot_offer){.group = info->group,
                                   .index = info->meta.index,
                                   .term = info->meta.term,
                                   .size_bytes = info->size_bytes};
}

/* Sends from the sink's offset up to `until`, in chunks of `step`. */
static void send_until(struct snapshot_source *source, struct snapshot_sink *sink, uint64_t until,
                       size_t step)
{
    static uint8_t chunk[65536];
    assert_true(step <= sizeof(chunk));
    while (snapshot_sink_offset(sink) < until) {
        uint64_t at = snapshot_sink_offset(sink);
        size_t len = 0;
        assert_int_equal(snapshot_source_read(source, at, chunk, step, &len), ERR_OK);
        assert_true(len > 0);
        assert_int_equal(snapshot_sink_write(sink, at, bytes_of(chunk, len), NULL), ERR_OK);
    }
}

static void file_arrives_in_chunks_and_resumes(void **state)
{
    struct fixture *f = *state;
    put_mixed_rows(&f->txn, 2000);
    struct snapshot_info info = write_at(f, INDEX, TERM);
    struct snapshot_offer offer = offer_of(&info);
    struct snapshot_dir *peer = open_peer_dir(f);
    struct snapshot_source *source = NULL;
    struct snapshot_sink *sink = NULL;
    struct snapshot_info arrived;
    assert_int_equal(snapshot_source_open(f->dir, info.name, &source), ERR_OK);
    assert_int_equal(snapshot_source_size(source), info.size_bytes);
    /* The file may be pruned while it is sent. */
    struct snapshot_info later = write_at(f, INDEX + 1, TERM);
    assert_int_equal(snapshot_prune(f->dir, GROUP, 1, INDEX + 1), ERR_OK);
    assert_int_equal(snapshot_verify(f->dir, info.name, &arrived, NULL), ERR_NOT_FOUND);
    assert_int_equal(snapshot_verify(f->dir, later.name, &arrived, NULL), ERR_OK);

    assert_int_equal(snapshot_sink_open(peer, &offer, UINT64_MAX, &sink, NULL), ERR_OK);
    send_until(source, sink, info.size_bytes / 2, 10007);
    uint64_t reached = snapshot_sink_offset(sink);
    assert_int_equal(snapshot_sink_finish(sink, &arrived, NULL), ERR_INCOMPLETE);
    snapshot_sink_close(sink);
    assert_int_equal(snapshot_sink_open(peer, &offer, UINT64_MAX, &sink, NULL), ERR_OK);
    assert_int_equal(snapshot_sink_offset(sink), reached);
    send_until(source, sink, info.size_bytes, 65536);
    assert_int_equal(snapshot_sink_finish(sink, &arrived, NULL), ERR_OK);
    snapshot_sink_close(sink);
    expect_same_info(&arrived, &info);
    struct snapshot_info newest;
    assert_int_equal(snapshot_newest(peer, GROUP, NULL, &newest), ERR_OK);
    expect_same_info(&newest, &info);
    snapshot_source_close(source);
    snapshot_dir_close(peer);
}

static void wrong_chunks_are_refused(void **state)
{
    struct fixture *f = *state;
    struct snapshot_info info = write_small(f);
    struct snapshot_offer offer = offer_of(&info);
    struct snapshot_dir *peer = open_peer_dir(f);
    struct snapshot_sink *sink = NULL;
    struct err_note note;
    static uint8_t raw[FILE_MAX];
    size_t len = read_snap(f, info.name, raw, sizeof(raw));
    assert_int_equal(snapshot_sink_open(peer, &offer, len - 1, &sink, &note), ERR_TOO_LARGE);
    assert_int_equal(snapshot_sink_open(peer, &offer, len, &sink, &note), ERR_OK);
    assert_int_equal(snapshot_sink_write(sink, 1, bytes_of(raw, 10), &note), ERR_CONFLICT);
    assert_int_equal(snapshot_sink_write(sink, 0, bytes_of(raw, 10), &note), ERR_OK);
    assert_int_equal(snapshot_sink_write(sink, 0, bytes_of(raw, 10), &note), ERR_CONFLICT);
    assert_int_equal(snapshot_sink_write(sink, 10, bytes_of(raw, len - 9), &note), ERR_TOO_LARGE);
    assert_int_equal(snapshot_sink_offset(sink), 10);
    snapshot_sink_close(sink);
    snapshot_dir_close(peer);
}

static void file_that_is_not_what_was_offered_is_refused_and_removed(void **state)
{
    struct fixture *f = *state;
    struct snapshot_info info = write_small(f);
    struct snapshot_dir *peer = open_peer_dir(f);
    struct snapshot_info arrived;
    static uint8_t raw[FILE_MAX];
    size_t len = read_snap(f, info.name, raw, sizeof(raw));
    for (int round = 0; round < 2; round++) {
        struct snapshot_offer offer = offer_of(&info);
        struct snapshot_sink *sink = NULL;
        if (round == 0) {
            offer.index++;
        } else {
            raw[len / 2] ^= 1;
        }
        assert_int_equal(snapshot_sink_open(peer, &offer, len, &sink, NULL), ERR_OK);
        assert_int_equal(snapshot_sink_offset(sink), 0);
        assert_int_equal(snapshot_sink_write(sink, 0, bytes_of(raw, len), NULL), ERR_OK);
        assert_int_equal(snapshot_sink_finish(sink, &arrived, NULL), ERR_CORRUPT);
        snapshot_sink_close(sink);
        assert_int_equal(snapshot_sink_open(peer, &offer, len, &sink, NULL), ERR_OK);
        assert_int_equal(snapshot_sink_offset(sink), 0);
        snapshot_sink_close(sink);
        assert_int_equal(snapshot_newest(peer, GROUP, NULL, &arrived), ERR_NOT_FOUND);
    }
    snapshot_dir_close(peer);
}

static void part_of_another_offer_is_dropped(void **state)
{
    struct fixture *f = *state;
    struct snapshot_info info = write_small(f);
    struct snapshot_offer offer = offer_of(&info);
    struct snapshot_sink *sink = NULL;
    assert_int_equal(snapshot_sink_open(f->dir, &offer, UINT64_MAX, &sink, NULL), ERR_OK);
    assert_int_equal(snapshot_sink_write(sink, 0, BYTES_LITERAL("FLOT"), NULL), ERR_OK);
    snapshot_sink_close(sink);
    assert_int_equal(count_files(f, ".part"), 1);
    offer.index++;
    assert_int_equal(snapshot_sink_open(f->dir, &offer, UINT64_MAX, &sink, NULL), ERR_OK);
    assert_int_equal(snapshot_sink_offset(sink), 0);
    assert_int_equal(count_files(f, ".part"), 1);
    snapshot_sink_close(sink);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(rows_of_all_kinds_go_there_and_back),
        CASE(hundred_thousand_rows_go_from_store_to_store),
        CASE(same_rows_give_the_same_bytes_from_any_backend),
        CASE(largest_row_fits),
        CASE(empty_group_has_a_snapshot_too),
        CASE(load_replaces_the_rows_of_its_group_only),
        CASE(looking_gives_every_row_with_its_full_key),
        CASE(looking_tidies_nothing_up),
        CASE(a_reason_says_which_part_of_the_file_is_bad),
        CASE(state_of_another_index_is_not_written),
        CASE(state_that_disagrees_with_its_digest_is_not_written),
        CASE(cancelled_write_leaves_no_file),
        CASE(file_cut_at_any_length_is_refused),
        CASE(any_flipped_bit_is_refused),
        CASE(newer_version_is_told_from_damage),
        CASE(rows_that_do_not_have_the_digest_are_refused),
        CASE(rows_out_of_order_are_refused),
        CASE(missing_or_swapped_chunks_are_refused),
        CASE(file_under_another_name_is_refused),
        CASE(damaged_file_changes_nothing_when_loaded),
        CASE(load_that_fails_midway_leaves_no_trust),
        CASE(half_loaded_group_reads_as_applied_index_0),
        CASE(process_killed_in_a_load_leaves_no_trust),
        CASE(list_is_newest_first_and_of_one_group),
        CASE(damaged_files_are_passed_over_and_reported),
        CASE(prune_keeps_the_newest_whole_files),
        CASE(unfinished_files_are_cleaned_up_and_others_left_alone),
        CASE(file_arrives_in_chunks_and_resumes),
        CASE(wrong_chunks_are_refused),
        CASE(file_that_is_not_what_was_offered_is_refused_and_removed),
        CASE(part_of_another_offer_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
