/* Durable appends per second of the log on a real directory, by how many are outstanding at once.
 *
 * Usage: wal_append DIRECTORY [SECONDS]. Entries of 100 bytes in one group; each depth runs SECONDS
 * (1) on a fresh log that releases what is durable, so that segments are recycled as in a node.
 * `us/op` is processor time of this thread per append: the log, the loop and the kernel's side of
 * the writes. */
#include "disk/disk.h"
#include "loop/loop.h"
#include "mem/mem.h"
#include "metrics/metrics.h"
#include "text/text.h"
#include "wal/wal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    PAYLOAD_BYTES = 100,
    DEPTH_MAX = 4096,
    COMPACT_EVERY = 20000
};

struct bench {
    struct loop *loop;
    struct wal *wal;
    uint64_t appended;
    uint64_t durable;
    uint64_t compacted;
    clk_ns started[DEPTH_MAX]; /* by wal_seq modulo */
    struct metric_hist latency;
};

static clk_ns now_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return CLK_S((uint64_t)now.tv_sec) + (uint64_t)now.tv_nsec;
}

static void on_durable(void *context, uint64_t wal_seq)
{
    struct bench *bench = context;
    clk_ns now = now_ns(CLOCK_MONOTONIC);
    while (bench->durable < wal_seq) {
        bench->durable++;
        metric_hist_add(&bench->latency, (now - bench->started[bench->durable % DEPTH_MAX]) / 1000);
    }
}

static void on_failed(void *context, enum err err, const struct err_note *note)
{
    (void)context;
    (void)fprintf(stderr, "%s: %s\n", err_name(err), note->text);
    exit(1);
}

static void append(struct bench *bench, clk_ns now)
{
    static const uint8_t payload[PAYLOAD_BYTES] = {1, 2, 3};
    uint64_t number = bench->appended + 1;
    struct wal_entry entry = {.index = number,
                              .term = 1,
                              .kind = RAFT_ENTRY_COMMAND,
                              .payload = bytes_of(payload, sizeof(payload))};
    struct wal_write write = {.wal_seq = number, .group = 1, .entries = &entry, .entry_count = 1};
    if (wal_append(bench->wal, now, &write) == ERR_OK) {
        bench->appended = number;
        bench->started[number % DEPTH_MAX] = now_ns(CLOCK_MONOTONIC);
    }
}

static void compact(struct bench *bench, clk_ns now)
{
    if (bench->durable < bench->compacted + COMPACT_EVERY) {
        return;
    }
    struct raft_snapshot_meta meta = {.index = bench->durable, .term = 1, .config.count = 1};
    meta.config.members[0] = (struct raft_member){.node = 1, .role = RAFT_VOTER, .storage_id = 1};
    if (wal_compact(bench->wal, now, 1, &meta) == ERR_OK) {
        wal_release(bench->wal, 1, meta.index);
        bench->compacted = meta.index;
    }
}

static void run_depth(struct bench *bench, uint64_t depth, clk_ns length)
{
    memset(&bench->latency, 0, sizeof(bench->latency));
    uint64_t before = bench->durable;
    struct wal_stats stats = wal_stats(bench->wal);
    clk_ns begun = now_ns(CLOCK_MONOTONIC);
    clk_ns cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    clk_ns now = begun;
    while (now - begun < length) {
        while (bench->appended - bench->durable < depth) {
            append(bench, now);
        }
        compact(bench, now);
        wal_flush(bench->wal);
        loop_turn(bench->loop, CLK_S(1));
        now = now_ns(CLOCK_MONOTONIC);
    }
    uint64_t done = bench->durable - before;
    uint64_t writes = wal_stats(bench->wal).writes - stats.writes;
    cpu = now_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    double seconds = (double)(now - begun) / 1e9;
    printf("%6llu %12.0f %10.0f %8.1f %9llu %9llu %8.2f\n", (unsigned long long)depth,
           (double)done / seconds, (double)writes / seconds,
           (double)done / (double)(writes > 0 ? writes : 1),
           (unsigned long long)metric_hist_quantile(&bench->latency, 0.5),
           (unsigned long long)metric_hist_quantile(&bench->latency, 0.99),
           (double)cpu / 1e3 / (double)(done > 0 ? done : 1));
}

static void settle(struct bench *bench)
{
    wal_seal(bench->wal);
    while (!wal_idle(bench->wal)) {
        loop_turn(bench->loop, CLK_S(1));
    }
}

static enum err set_up(struct bench *bench, struct disk *disk, struct err_note *note)
{
    struct wal_config config = wal_config_default(1);
    struct wal_callbacks callbacks = {
        .on_durable = on_durable, .on_failed = on_failed, .context = bench};
    enum err err = wal_create(disk, &config, note);
    return err == ERR_OK ? wal_open(disk, &config, &callbacks, &bench->wal, note) : err;
}

/* What the disk gives to anybody: one small write after the other, each synced. */
static enum err run_floor(struct disk *disk, clk_ns length, struct err_note *note)
{
    enum {
        STEP = PAYLOAD_BYTES + WAL_RECORD_HEADER_BYTES
    };

    static const uint8_t bytes[STEP] = {1};
    struct disk_file *file = NULL;
    enum err err = disk_create_filled(disk, "wal-floor", WAL_SEGMENT_BYTES_DEFAULT, &file, note);
    clk_ns begun = now_ns(CLOCK_MONOTONIC);
    uint64_t done = 0;
    while (err == ERR_OK && now_ns(CLOCK_MONOTONIC) - begun < length) {
        uint64_t offset = done * STEP % (WAL_SEGMENT_BYTES_DEFAULT - STEP);
        err = disk_write(file, offset, bytes_of(bytes, sizeof(bytes)), note);
        if (err == ERR_OK) {
            err = disk_sync(file, note);
        }
        done++;
    }
    double seconds = (double)(now_ns(CLOCK_MONOTONIC) - begun) / 1e9;
    printf("%6s %12.0f   (pwrite and fdatasync, blocking)\n", "floor", (double)done / seconds);
    disk_close(file);
    return err;
}

static void remove_segment(void *context, const char *name)
{
    if (strncmp(name, "wal-", 4) == 0 && disk_remove(context, name, NULL) != ERR_OK) {
        (void)fprintf(stderr, "%s stays\n", name);
    }
}

int main(int argc, char **argv)
{
    static const uint64_t depths[] = {1, 8, 64, 512, 4095};
    uint64_t seconds = 1;
    if (argc < 2 || (argc > 2 && text_parse_u64(bytes_of_str(argv[2]), &seconds) != ERR_OK)) {
        (void)fprintf(stderr, "usage: wal_append DIRECTORY [SECONDS]\n");
        return 2;
    }
    struct bench *bench = mem_alloc(sizeof(*bench));
    struct loop_config loop_config = {.backend = LOOP_BACKEND_AUTO};
    struct disk_loop *disk = NULL;
    struct err_note note = {""};
    enum err err = loop_new(&loop_config, &bench->loop, &note);
    if (err == ERR_OK) {
        err = disk_loop_open(bench->loop, argv[1], true, &disk, &note);
    }
    if (err == ERR_OK) {
        err = set_up(bench, disk_loop_base(disk), &note);
    }
    if (err != ERR_OK) {
        (void)fprintf(stderr, "%s: %s\n", err_name(err), note.text);
        return 1;
    }
    printf("%s, %d bytes\n%6s %12s %10s %8s %9s %9s %8s\n", loop_backend_name(bench->loop),
           PAYLOAD_BYTES, "depth", "appends/s", "syncs/s", "per sync", "p50 us", "p99 us", "us/op");
    err = run_floor(disk_loop_base(disk), CLK_S(seconds), &note);
    for (size_t i = 0; err == ERR_OK && i < sizeof(depths) / sizeof(depths[0]); i++) {
        run_depth(bench, depths[i], CLK_S(seconds));
        settle(bench);
    }
    struct wal_stats stats = wal_stats(bench->wal);
    printf("segments: %llu filled, %llu recycled, %llu waits\n",
           (unsigned long long)stats.segments_made, (unsigned long long)stats.segments_recycled,
           (unsigned long long)stats.rotation_waits);
    wal_free(bench->wal);
    if (err == ERR_OK) {
        err = disk_list(disk_loop_base(disk), remove_segment, disk_loop_base(disk), &note);
    }
    disk_loop_close(disk);
    loop_free(bench->loop);
    mem_free(bench);
    return err == ERR_OK ? 0 : 1;
}
