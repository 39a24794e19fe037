/* A disk in memory, with faults: what the tests of the log and the simulator run on.
 *
 * Place: tests. Implements io/disk/disk.h. Time is the test's: an operation that was started gets a
 * due time (time of the last mem_disk_advance + a latency drawn from the seed) and completes in
 * mem_disk_advance or mem_disk_step, in order of due time, then of start. Blocking operations take
 * no time.
 *
 * Durability is modelled as disk.h promises it: each file has the bytes that readers see, the bytes
 * that would survive for certain, and the list of writes between the two; names likewise. A crash
 * decides, for each write of that list, which of its sectors survive. */
#ifndef MEM_DISK_H
#define MEM_DISK_H

#include "clk/clk.h"
#include "disk/disk.h"

struct mem_disk;

/* Owned by the caller. Without latency (0..0) at first. */
struct mem_disk *mem_disk_new(uint64_t seed);
/* Frees files and contents; operations under way are forgotten. Accepts NULL. */
void mem_disk_free(struct mem_disk *disk);
struct disk *mem_disk_base(struct mem_disk *disk);
/* A second disk with the same files, unsynced writes and names; without operations, faults or open
 * handles. */
struct mem_disk *mem_disk_clone(const struct mem_disk *disk, uint64_t seed);

/* ---- time ------------------------------------------------------------------------------------ */

void mem_disk_latency(struct mem_disk *disk, clk_ns low, clk_ns high);
/* Nothing completes before `until`: a slow or hanging disk. */
void mem_disk_stall(struct mem_disk *disk, clk_ns until);
/* Operations that were started and have not completed. */
size_t mem_disk_pending(const struct mem_disk *disk);
/* When the next one completes; CLK_NEVER: none. */
clk_ns mem_disk_deadline(const struct mem_disk *disk);
/* Completes everything that is due, also what callbacks start meanwhile. */
void mem_disk_advance(struct mem_disk *disk, clk_ns now);
/* Completes the next one, due or not; false when there is none. */
bool mem_disk_step(struct mem_disk *disk);
/* Steps until nothing is under way; false after `steps_max` steps. */
bool mem_disk_drain(struct mem_disk *disk, size_t steps_max);

/* ---- crashes --------------------------------------------------------------------------------- */

enum mem_disk_crash_kind {
    MEM_DISK_KILLED,    /* the process dies, the system does not: writes are there, unsynced */
    MEM_DISK_LOST,      /* power fails: nothing unsynced survives */
    MEM_DISK_TORN_512,  /* power fails: each unsynced sector of 512 bytes survives or not */
    MEM_DISK_TORN_4096, /* the same with 4 KiB sectors */
    MEM_DISK_CRASH_KINDS
};

/* Operations under way are forgotten without a callback, open handles become invalid. Names
 * that were not synced survive or not by the seed (KILLED: all; LOST: none). */
void mem_disk_crash(struct mem_disk *disk, enum mem_disk_crash_kind kind);
/* Power fails; of the unsynced writes exactly the first `bytes` bytes survive, in order of their
 * start; names as in the order they were changed, all. For trying every crash point. */
void mem_disk_crash_prefix(struct mem_disk *disk, uint64_t bytes);
/* Bytes in unsynced writes: the crash points there are. */
uint64_t mem_disk_unsynced_bytes(const struct mem_disk *disk);

/* ---- damage: of both what is seen and what survives ------------------------------------------ */

/* All four return false when there is no such file or byte. */
bool mem_disk_flip(struct mem_disk *disk, const char *name, uint64_t offset, unsigned bit);
bool mem_disk_overwrite(struct mem_disk *disk, const char *name, uint64_t offset,
                        struct bytes with);
bool mem_disk_truncate(struct mem_disk *disk, const char *name, uint64_t size);
bool mem_disk_forget(struct mem_disk *disk, const char *name);
/* What a reader of the file sees; borrowed until the file changes. data NULL: no such file. */
struct bytes mem_disk_content(const struct mem_disk *disk, const char *name);
/* Puts a file there, durable. */
void mem_disk_put(struct mem_disk *disk, const char *name, struct bytes content);
/* The position-th name in ascending order, or NULL; borrowed until names change. */
const char *mem_disk_name(const struct mem_disk *disk, size_t position);

/* ---- errors ---------------------------------------------------------------------------------- */

enum mem_disk_fault {
    MEM_DISK_FAULT_READ,  /* EIO */
    MEM_DISK_FAULT_WRITE, /* EIO after a part was written */
    MEM_DISK_FAULT_SYNC,  /* EIO; as on Linux the unsynced bytes are seen, and never durable */
    MEM_DISK_FAULT_NAME,  /* EIO from create, rename, remove, sync of the directory */
    MEM_DISK_FAULTS
};

/* The operation of that kind after `skip` others fails (blocking ones count too); -1: none. */
void mem_disk_fail(struct mem_disk *disk, enum mem_disk_fault fault, int skip);
/* How many bytes all files together may have; writes beyond it fail with ERR_NO_SPACE. */
void mem_disk_space(struct mem_disk *disk, uint64_t bytes_max);

struct mem_disk_stats {
    uint64_t reads;
    uint64_t writes;
    uint64_t syncs;
    uint64_t dir_syncs;
    uint64_t bytes_written;
};

struct mem_disk_stats mem_disk_stats(const struct mem_disk *disk);

#endif
