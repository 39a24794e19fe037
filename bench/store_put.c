/* Benchmark of io/store: CPU microseconds per random put in batches, per read, per row of a
 * snapshot.
 *
 * Usage: store_put [DIRECTORY, default .] [ROWS, default 200000]. Works in a new directory below it
 * and removes it. Keys are 16 random bytes out of ROWS, values 100 bytes. One line per case: what,
 * batch, operations, seconds, operations per second, CPU microseconds per operation (user and
 * system of this process). The disk is not waited for: durability is the WAL's. */
#include "check/check.h"
#include "rnd/rnd.h"
#include "store/snapshot_file.h"
#include "store/store.h"
#include "text/text.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum {
    GROUP = 1,
    VALUE_BYTES = 100,
    PATH_BYTES = 512
};

struct bench {
    struct store *store;
    struct snapshot_dir *snapshots;
    struct rnd rnd;
    uint64_t rows;
    uint64_t index;
    struct snapshot_info written;
};

struct lap {
    double wall_s;
    double cpu_s;
};

static double seconds_of(clockid_t clock)
{
    struct timespec now;
    CHECK(clock_gettime(clock, &now) == 0);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static struct lap lap_now(void)
{
    return (struct lap){seconds_of(CLOCK_MONOTONIC), seconds_of(CLOCK_PROCESS_CPUTIME_ID)};
}

static void print_lap(const char *what, uint64_t batch, uint64_t count, struct lap from)
{
    struct lap now = lap_now();
    double wall = now.wall_s - from.wall_s;
    double cpu = now.cpu_s - from.cpu_s;
    printf("%-34s %7llu %9llu %8.2f s %10.0f /s %8.2f us\n", what, (unsigned long long)batch,
           (unsigned long long)count, wall, (double)count / wall, cpu * 1e6 / (double)count);
}

static struct bytes random_key(struct bench *b, uint8_t dest[16])
{
    /* The same key for the same number: spread over the tree by a multiplication. */
    uint64_t number = rnd_below(&b->rnd, b->rows);
    put_u64(dest, number * 0x9e3779b97f4a7c15u);
    put_u64(dest + 8, number);
    return bytes_of(dest, 16);
}

static void commit(struct bench *b, struct table_txn *txn)
{
    CHECK(table_set_applied(txn, ++b->index, 0) == ERR_OK);
    CHECK(table_txn_finish(txn) == ERR_OK);
    CHECK(store_write_commit(b->store, NULL) == ERR_OK);
}

/* As applied commands do it: with digest and the old row. */
static void put_rows(struct bench *b, const char *what, uint64_t batch, uint64_t count)
{
    struct lap from = lap_now();
    for (uint64_t done = 0; done < count; done += batch) {
        struct table_txn txn;
        CHECK(store_write_begin(b->store, NULL) == ERR_OK);
        store_write_tables(b->store, GROUP, &txn);
        for (uint64_t i = 0; i < batch; i++) {
            uint8_t key[16];
            uint8_t value[VALUE_BYTES] = {0};
            put_u64(value, done + i + b->index);
            CHECK(table_put(&txn, TABLE_KV, random_key(b, key), bytes_of(value, sizeof(value))) ==
                  ERR_OK);
        }
        commit(b, &txn);
    }
    print_lap(what, batch, count, from);
}

/* The backend alone: what LMDB and the space accounting cost. */
static void put_raw(struct bench *b, uint64_t batch, uint64_t count)
{
    struct lap from = lap_now();
    for (uint64_t done = 0; done < count; done += batch) {
        struct table_txn txn;
        CHECK(store_write_begin(b->store, NULL) == ERR_OK);
        store_write_tables(b->store, GROUP + 1, &txn);
        for (uint64_t i = 0; i < batch; i++) {
            uint8_t key[16];
            uint8_t stored[TABLE_STORED_KEY_MAX];
            uint8_t value[VALUE_BYTES] = {0};
            size_t len;
            bool is_long;
            put_u64(value, done + i);
            CHECK(table_key_encode(txn.group, TABLE_KV, random_key(b, key), stored, &len,
                                   &is_long) == ERR_OK);
            CHECK(txn.backend->put(txn.self, bytes_of(stored, len),
                                   bytes_of(value, sizeof(value))) == ERR_OK);
        }
        CHECK(store_write_commit(b->store, NULL) == ERR_OK);
    }
    print_lap("put, backend only", batch, count, from);
}

static void read_rows(struct bench *b, uint64_t per_snapshot, uint64_t count)
{
    struct store_reader *reader = NULL;
    CHECK(store_reader_new(b->store, &reader) == ERR_OK);
    struct lap from = lap_now();
    uint64_t found = 0;
    for (uint64_t done = 0; done < count; done += per_snapshot) {
        struct table_txn view;
        CHECK(store_read_begin(reader) == ERR_OK);
        store_read_tables(reader, GROUP, &view);
        for (uint64_t i = 0; i < per_snapshot; i++) {
            uint8_t key[16];
            struct bytes value;
            found += table_get(&view, TABLE_KV, random_key(b, key), &value) == ERR_OK ? 1 : 0;
        }
        store_read_end(reader);
    }
    print_lap("get, snapshot per batch", per_snapshot, count, from);
    CHECK(found > 0);
    store_reader_free(reader);
}

static void scan_rows(struct bench *b)
{
    struct store_reader *reader = NULL;
    struct table_txn view;
    struct table_scan scan;
    uint64_t count = 0;
    CHECK(store_reader_new(b->store, &reader) == ERR_OK);
    struct lap from = lap_now();
    CHECK(store_read_begin(reader) == ERR_OK);
    store_read_tables(reader, GROUP, &view);
    enum err err = table_scan(&scan, &view, TABLE_KV, bytes_of(NULL, 0));
    for (; err == ERR_OK; err = table_scan_next(&scan)) {
        count++;
    }
    table_scan_end(&scan);
    print_lap("scan, rows", count, count, from);
    store_reader_free(reader);
}

static void snapshot_there_and_back(struct bench *b)
{
    struct store_reader *reader = NULL;
    struct table_txn view;
    struct raft_snapshot_meta meta = {.index = b->index, .term = 1};
    struct snapshot_info info;
    CHECK(store_reader_new(b->store, &reader) == ERR_OK);
    CHECK(store_read_begin(reader) == ERR_OK);
    store_read_tables(reader, GROUP, &view);
    struct lap from = lap_now();
    CHECK(snapshot_write(b->snapshots, &view, &meta, NULL, &info, NULL) == ERR_OK);
    print_lap("snapshot written, rows", info.rows, info.rows, from);
    store_reader_free(reader);
    from = lap_now();
    CHECK(snapshot_verify(b->snapshots, info.name, &info, NULL) == ERR_OK);
    print_lap("snapshot verified, rows", info.rows, info.rows, from);
    from = lap_now();
    CHECK(snapshot_load(b->snapshots, info.name, b->store, &info, NULL) == ERR_OK);
    print_lap("snapshot loaded, rows", info.rows, info.rows, from);
}

static void print_size(struct bench *b)
{
    struct store_stats stats;
    struct rusage usage;
    store_stats(b->store, &stats);
    CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
    printf("state: %.1f MiB in use, %.1f MiB on the disk; page faults: %ld minor, %ld major\n",
           (double)stats.used_bytes / 1048576, (double)stats.allocated_bytes / 1048576,
           usage.ru_minflt, usage.ru_majflt);
}

static void remove_files(const char *path)
{
    DIR *listing = opendir(path);
    CHECK(listing != NULL);
    for (const struct dirent *entry = readdir(listing); entry != NULL; entry = readdir(listing)) {
        (void)unlinkat(dirfd(listing), entry->d_name, 0);
    }
    (void)closedir(listing);
    CHECK(rmdir(path) == 0);
}

static void run(struct bench *b)
{
    printf("%-34s %7s %9s %10s %13s %11s\n", "what", "batch", "count", "wall", "per second",
           "CPU each");
    put_rows(b, "put, filling an empty store", 1000, b->rows);
    put_rows(b, "put, replacing", 1000, b->rows);
    put_rows(b, "put, replacing", 100, b->rows);
    put_rows(b, "put, replacing", 10, b->rows / 4);
    put_rows(b, "put, replacing", 1, b->rows / 20);
    put_raw(b, 1000, b->rows);
    put_raw(b, 1000, b->rows);
    read_rows(b, 1, b->rows);
    read_rows(b, 100, b->rows);
    scan_rows(b);
    snapshot_there_and_back(b);
    print_size(b);
}

int main(int argc, char **argv)
{
    struct bench b = {.rows = 200000};
    char root[PATH_BYTES];
    char state[PATH_BYTES + 16];
    char snapshots[PATH_BYTES + 16];
    struct store_cfg cfg;
    struct err_note note = {""};
    bool trusted;
    if (argc > 2 && (text_parse_u64(bytes_of_str(argv[2]), &b.rows) != ERR_OK || b.rows < 10000)) {
        (void)fprintf(stderr, "usage: store_put [DIRECTORY] [ROWS, at least 10000]\n");
        return 2;
    }
    b.rows -= b.rows % 20000 == 0 || b.rows < 20000 ? 0 : b.rows % 20000;
    (void)snprintf(root, sizeof(root), "%s/store_put.XXXXXX", argc > 1 ? argv[1] : ".");
    CHECK(mkdtemp(root) != NULL);
    (void)snprintf(state, sizeof(state), "%s/state", root);
    (void)snprintf(snapshots, sizeof(snapshots), "%s/snapshots", root);
    rnd_init(&b.rnd, 1);
    store_cfg_init(&cfg);
    if (store_open(state, &cfg, &b.store, &trusted, &note) != ERR_OK ||
        snapshot_dir_open(snapshots, &b.snapshots, &note) != ERR_OK) {
        (void)fprintf(stderr, "store_put: %s\n", note.text);
        return 1;
    }
    run(&b);
    CHECK(store_close(b.store, false, NULL) == ERR_OK);
    snapshot_dir_close(b.snapshots);
    remove_files(state);
    remove_files(snapshots);
    CHECK(rmdir(root) == 0);
    return 0;
}
