/* The disk in memory; see mem_disk.h.
 *
 * Each name leads to an inode; an inode has `seen` (what readers get), `safe` (what survives for
 * certain) and the writes between the two, in order of their start. Names are kept twice in the
 * same way: `seen` in each entry, and a list of changes that are not synced. */
#include "mem_disk.h"

#include "check/check.h"
#include "heap/heap.h"
#include "mem/mem.h"
#include "rnd/rnd.h"

#include <errno.h>
#include <stdio.h>

enum {
    NAMES_MAX = 256
};

struct unsynced {
    struct list link;
    uint64_t order;
    uint64_t offset;
    size_t size;
    bool completed; /* a sync that starts now covers it */
    bool doomed;    /* a sync failed: seen, but never durable */
    uint8_t bytes[];
};

struct inode {
    struct list link;
    unsigned refs; /* names (seen and safe) and handles */
    struct buf seen;
    struct buf safe;
    struct list writes;
};

/* A directory at one moment. */
struct name_entry {
    char name[DISK_NAME_MAX];
    struct inode *inode;
};

struct name_table {
    size_t count;
    struct name_entry entries[NAMES_MAX]; /* ascending */
};

struct mem_file {
    struct disk_file base;
    struct list link;
    struct inode *inode;
};

/* An operation under way. */
struct flight {
    struct heap_node node;
    struct list link;
    struct disk_op *op;
    struct unsynced *write;
    uint64_t covers; /* a sync makes writes of lower order durable */
};

struct mem_disk {
    struct disk base;
    struct rnd rnd;
    struct name_table seen;
    struct name_table safe;
    struct list inodes;
    struct list files;
    struct list flights;
    struct heap due;
    clk_ns now;
    clk_ns latency_low;
    clk_ns latency_high;
    clk_ns stalled_until;
    uint64_t next_order;
    uint64_t space_max;
    int fail_after[MEM_DISK_FAULTS]; /* -1: never */
    struct mem_disk_stats stats;
};

static struct mem_disk *disk_of(struct disk *disk)
{
    return CONTAINER_OF(disk, struct mem_disk, base);
}

static struct mem_file *file_of(struct disk_file *file)
{
    return CONTAINER_OF(file, struct mem_file, base);
}

/* ---- inodes and names ------------------------------------------------------------------------ */

static struct inode *inode_new(struct mem_disk *disk)
{
    struct inode *inode = mem_alloc(sizeof(*inode));
    buf_init(&inode->seen, SIZE_MAX / 2);
    buf_init(&inode->safe, SIZE_MAX / 2);
    list_init(&inode->writes);
    list_push_back(&disk->inodes, &inode->link);
    return inode;
}

static void inode_forget_writes(struct inode *inode)
{
    struct list *link;
    while ((link = list_pop_front(&inode->writes)) != NULL) {
        mem_free(CONTAINER_OF(link, struct unsynced, link));
    }
}

static void inode_unref(struct inode *inode)
{
    CHECK(inode->refs > 0);
    if (--inode->refs == 0) {
        list_remove(&inode->link);
        inode_forget_writes(inode);
        buf_done(&inode->seen);
        buf_done(&inode->safe);
        mem_free(inode);
    }
}

static void put_bytes(struct buf *to, uint64_t offset, struct bytes from)
{
    size_t end = (size_t)offset + from.len;
    if (end > to->len) {
        enum err err = buf_reserve(to, end - to->len);
        CHECK(err == ERR_OK);
        memset(to->data + to->len, 0, end - to->len);
        to->len = end;
    }
    if (from.len > 0) {
        memcpy(to->data + offset, from.data, from.len);
    }
}

static struct name_entry *name_find(struct name_table *table, const char *name)
{
    for (size_t i = 0; i < table->count; i++) {
        if (strcmp(table->entries[i].name, name) == 0) {
            return &table->entries[i];
        }
    }
    return NULL;
}

static struct inode *name_inode(const struct name_table *table, const char *name)
{
    for (size_t i = 0; i < table->count; i++) {
        if (strcmp(table->entries[i].name, name) == 0) {
            return table->entries[i].inode;
        }
    }
    return NULL;
}

static void name_remove(struct name_table *table, const char *name)
{
    struct name_entry *entry = name_find(table, name);
    if (entry != NULL) {
        size_t after = table->count - 1 - (size_t)(entry - table->entries);
        inode_unref(entry->inode);
        memmove(entry, entry + 1, after * sizeof(*entry));
        table->count--;
    }
}

static void name_set(struct name_table *table, const char *name, struct inode *inode)
{
    inode->refs++;
    name_remove(table, name);
    CHECK(table->count < NAMES_MAX);
    size_t at = 0;
    while (at < table->count && strcmp(table->entries[at].name, name) < 0) {
        at++;
    }
    struct name_entry *entry = &table->entries[at];
    memmove(entry + 1, entry, (table->count - at) * sizeof(*entry));
    memset(entry, 0, sizeof(*entry));
    enum err err = bytes_to_cstr(bytes_of_str(name), entry->name, sizeof(entry->name));
    CHECK(err == ERR_OK);
    entry->inode = inode;
    table->count++;
}

static void names_clear(struct name_table *table)
{
    while (table->count > 0) {
        name_remove(table, table->entries[table->count - 1].name);
    }
}

static void names_copy(struct name_table *to, const struct name_table *from)
{
    /* Held meanwhile: the two tables may share inodes that nobody else has. */
    for (size_t i = 0; i < from->count; i++) {
        from->entries[i].inode->refs++;
    }
    names_clear(to);
    *to = *from;
}

/* ---- faults ---------------------------------------------------------------------------------- */

static bool strikes(struct mem_disk *disk, enum mem_disk_fault fault)
{
    int *left = &disk->fail_after[fault];
    if (*left < 0) {
        return false;
    }
    return (*left)-- == 0;
}

static enum err refuse(struct err_note *note, enum err err, const char *what, const char *name)
{
    const char *why = err == ERR_NO_SPACE    ? "no space left on device"
                      : err == ERR_NOT_FOUND ? "no such file"
                      : err == ERR_EXISTS    ? "it exists already"
                                             : "input/output error";
    return err_note_set(note, err, "%s %s: %s", what, name, why);
}

static bool space_for(const struct mem_disk *disk, const struct inode *inode, uint64_t end)
{
    uint64_t used = 0;
    LIST_FOREACH (link, &disk->inodes) {
        used += CONTAINER_OF(link, struct inode, link)->seen.len;
    }
    return end <= inode->seen.len || used + (end - inode->seen.len) <= disk->space_max;
}

/* ---- writes and syncs ------------------------------------------------------------------------ */

/* What has been written is seen at once; it becomes safe by a sync. */
static struct unsynced *write_begin(struct mem_disk *disk, struct inode *inode, uint64_t offset,
                                    size_t size)
{
    struct unsynced *write = mem_alloc(sizeof(*write) + size);
    write->order = disk->next_order++;
    write->offset = offset;
    write->size = size;
    list_push_back(&inode->writes, &write->link);
    disk->stats.writes++;
    disk->stats.bytes_written += size;
    return write;
}

static void write_show(struct inode *inode, const struct unsynced *write)
{
    put_bytes(&inode->seen, write->offset, bytes_of(write->bytes, write->size));
}

static void write_settle(struct inode *inode, struct unsynced *write)
{
    put_bytes(&inode->safe, write->offset, bytes_of(write->bytes, write->size));
    list_remove(&write->link);
    mem_free(write);
}

/* Makes completed writes of a lower order durable. */
static void sync_before(struct inode *inode, uint64_t order)
{
    LIST_FOREACH_SAFE (link, after, &inode->writes) {
        struct unsynced *write = CONTAINER_OF(link, struct unsynced, link);
        if (write->completed && !write->doomed && write->order < order) {
            write_settle(inode, write);
        }
    }
}

/* The system forgets which bytes were not written: they stay visible and are never tried again. */
static void sync_fails(struct inode *inode)
{
    LIST_FOREACH (link, &inode->writes) {
        CONTAINER_OF(link, struct unsynced, link)->doomed = true;
    }
}

/* ---- blocking operations --------------------------------------------------------------------- */

static enum err mem_list(struct disk *base, disk_list_fn *each, void *context,
                         struct err_note *note)
{
    struct mem_disk *disk = disk_of(base);
    if (strikes(disk, MEM_DISK_FAULT_NAME)) {
        return refuse(note, ERR_IO, "list", "the directory");
    }
    for (size_t i = 0; i < disk->seen.count; i++) {
        each(context, disk->seen.entries[i].name);
    }
    return ERR_OK;
}

static enum err mem_open(struct disk *base, const char *name, bool create,
                         struct disk_file **ret_file, struct err_note *note)
{
    struct mem_disk *disk = disk_of(base);
    struct inode *inode = name_inode(&disk->seen, name);
    if (inode == NULL && !create) {
        return refuse(note, ERR_NOT_FOUND, "open", name);
    }
    if (create) {
        if (inode != NULL) {
            return refuse(note, ERR_EXISTS, "create", name);
        }
        if (strikes(disk, MEM_DISK_FAULT_NAME)) {
            return refuse(note, ERR_IO, "create", name);
        }
        inode = inode_new(disk);
        name_set(&disk->seen, name, inode);
    }
    struct mem_file *file = mem_alloc(sizeof(*file));
    file->base.disk = base;
    file->inode = inode;
    inode->refs++;
    list_push_back(&disk->files, &file->link);
    enum err err = bytes_to_cstr(bytes_of_str(name), file->base.name, sizeof(file->base.name));
    CHECK(err == ERR_OK);
    *ret_file = &file->base;
    return ERR_OK;
}

static void mem_close(struct disk_file *base)
{
    struct mem_file *file = file_of(base);
    list_remove(&file->link);
    inode_unref(file->inode);
    mem_free(file);
}

static enum err mem_size(struct disk_file *file, uint64_t *ret_bytes, struct err_note *note)
{
    (void)note;
    *ret_bytes = file_of(file)->inode->seen.len;
    return ERR_OK;
}

static size_t read_at(const struct inode *inode, uint64_t offset, void *dest, size_t size)
{
    if (offset >= inode->seen.len) {
        return 0;
    }
    size_t left = inode->seen.len - (size_t)offset;
    size_t got = size < left ? size : left;
    if (got > 0) {
        memcpy(dest, inode->seen.data + offset, got);
    }
    return got;
}

static enum err mem_read(struct disk_file *file, uint64_t offset, void *dest, size_t size,
                         size_t *ret_got, struct err_note *note)
{
    struct mem_disk *disk = disk_of(file->disk);
    disk->stats.reads++;
    if (strikes(disk, MEM_DISK_FAULT_READ)) {
        return refuse(note, ERR_IO, "read", file->name);
    }
    *ret_got = read_at(file_of(file)->inode, offset, dest, size);
    return ERR_OK;
}

static enum err mem_write(struct disk_file *file, uint64_t offset, struct bytes from,
                          struct err_note *note)
{
    struct mem_disk *disk = disk_of(file->disk);
    struct inode *inode = file_of(file)->inode;
    bool fails = strikes(disk, MEM_DISK_FAULT_WRITE);
    if (!space_for(disk, inode, offset + from.len)) {
        return refuse(note, ERR_NO_SPACE, "write", file->name);
    }
    size_t size = fails ? from.len / 2 : from.len;
    struct unsynced *write = write_begin(disk, inode, offset, size);
    if (size > 0) {
        memcpy(write->bytes, from.data, size);
    }
    write->completed = true;
    write_show(inode, write);
    return fails ? refuse(note, ERR_IO, "write", file->name) : ERR_OK;
}

static enum err mem_sync(struct disk_file *file, struct err_note *note)
{
    struct mem_disk *disk = disk_of(file->disk);
    disk->stats.syncs++;
    if (strikes(disk, MEM_DISK_FAULT_SYNC)) {
        sync_fails(file_of(file)->inode);
        return refuse(note, ERR_IO, "fdatasync", file->name);
    }
    sync_before(file_of(file)->inode, disk->next_order);
    return ERR_OK;
}

static enum err mem_remove(struct disk *base, const char *name, struct err_note *note)
{
    struct mem_disk *disk = disk_of(base);
    if (name_inode(&disk->seen, name) == NULL) {
        return refuse(note, ERR_NOT_FOUND, "remove", name);
    }
    if (strikes(disk, MEM_DISK_FAULT_NAME)) {
        return refuse(note, ERR_IO, "remove", name);
    }
    name_remove(&disk->seen, name);
    return ERR_OK;
}

static enum err mem_rename(struct disk *base, struct disk_file *file, const char *to,
                           struct err_note *note)
{
    struct mem_disk *disk = disk_of(base);
    if (strikes(disk, MEM_DISK_FAULT_NAME)) {
        return refuse(note, ERR_IO, "rename", file->name);
    }
    struct inode *inode = file_of(file)->inode;
    CHECK(name_inode(&disk->seen, file->name) == inode);
    name_set(&disk->seen, to, inode);
    name_remove(&disk->seen, file->name);
    enum err err = bytes_to_cstr(bytes_of_str(to), file->name, sizeof(file->name));
    CHECK(err == ERR_OK);
    return ERR_OK;
}

static enum err mem_sync_dir(struct disk *base, struct err_note *note)
{
    struct mem_disk *disk = disk_of(base);
    disk->stats.dir_syncs++;
    if (strikes(disk, MEM_DISK_FAULT_NAME)) {
        return refuse(note, ERR_IO, "fsync", "the directory");
    }
    names_copy(&disk->safe, &disk->seen);
    return ERR_OK;
}

/* ---- asynchronous operations ----------------------------------------------------------------- */

static size_t iov_total(const struct disk_op *op)
{
    size_t total = 0;
    for (int i = 0; i < op->iov_count; i++) {
        total += op->iov[i].iov_len;
    }
    return total;
}

static bool is_write(enum disk_op_kind kind)
{
    return kind == DISK_WRITE || kind == DISK_WRITE_DURABLE;
}

static void mem_start(struct disk *base, struct disk_op *op)
{
    struct mem_disk *disk = disk_of(base);
    struct flight *flight = mem_alloc(sizeof(*flight));
    flight->op = op;
    list_push_back(&disk->flights, &flight->link);
    clk_ns latency =
        disk->latency_high == 0 ? 0 : rnd_range(&disk->rnd, disk->latency_low, disk->latency_high);
    heap_set(&disk->due, &flight->node, disk->now + latency);
    if (is_write(op->kind)) {
        struct inode *inode = file_of(op->file)->inode;
        size_t size = iov_total(op);
        if (!space_for(disk, inode, op->offset + size)) {
            return; /* Without a write it completes with ERR_NO_SPACE. */
        }
        flight->write = write_begin(disk, inode, op->offset, size);
        size_t at = 0;
        for (int i = 0; i < op->iov_count; i++) {
            memcpy(flight->write->bytes + at, op->iov[i].iov_base, op->iov[i].iov_len);
            at += op->iov[i].iov_len;
        }
        write_show(inode, flight->write);
    } else if (op->kind == DISK_SYNC) {
        /* Only what had completed before the sync began is covered; see sync_before. */
        flight->covers = disk->next_order;
    }
}

static enum err finish_write(struct mem_disk *disk, struct flight *flight, size_t *ret_bytes)
{
    struct disk_op *op = flight->op;
    if (flight->write == NULL) {
        op->os_errno = ENOSPC;
        return ERR_NO_SPACE;
    }
    if (strikes(disk, MEM_DISK_FAULT_WRITE)) {
        op->os_errno = EIO;
        flight->write->doomed = true;
        return ERR_IO;
    }
    flight->write->completed = true;
    *ret_bytes = flight->write->size;
    if (op->kind == DISK_WRITE_DURABLE) {
        disk->stats.syncs++;
        if (strikes(disk, MEM_DISK_FAULT_SYNC)) {
            sync_fails(file_of(op->file)->inode);
            op->os_errno = EIO;
            return ERR_IO;
        }
        write_settle(file_of(op->file)->inode, flight->write);
    }
    return ERR_OK;
}

static enum err finish_read(struct mem_disk *disk, struct disk_op *op, size_t *ret_bytes)
{
    disk->stats.reads++;
    if (strikes(disk, MEM_DISK_FAULT_READ)) {
        op->os_errno = EIO;
        return ERR_IO;
    }
    uint64_t offset = op->offset;
    for (int i = 0; i < op->iov_count; i++) {
        size_t got =
            read_at(file_of(op->file)->inode, offset, op->iov[i].iov_base, op->iov[i].iov_len);
        offset += got;
        *ret_bytes += got;
    }
    return ERR_OK;
}

static enum err finish_sync(struct mem_disk *disk, struct flight *flight)
{
    struct disk_op *op = flight->op;
    struct err_note note;
    enum err err;
    if (op->kind == DISK_SYNC_DIR) {
        err = mem_sync_dir(&disk->base, &note);
    } else {
        disk->stats.syncs++;
        err = strikes(disk, MEM_DISK_FAULT_SYNC) ? ERR_IO : ERR_OK;
        if (err == ERR_OK) {
            sync_before(file_of(op->file)->inode, flight->covers);
        } else {
            sync_fails(file_of(op->file)->inode);
        }
    }
    op->os_errno = err == ERR_OK ? 0 : EIO;
    return err;
}

static void finish(struct mem_disk *disk, struct flight *flight)
{
    struct disk_op *op = flight->op;
    heap_remove(&disk->due, &flight->node);
    list_remove(&flight->link);
    size_t bytes = 0;
    enum err err = ERR_OK;
    op->os_errno = 0;
    if (is_write(op->kind)) {
        err = finish_write(disk, flight, &bytes);
    } else if (op->kind == DISK_READ) {
        err = finish_read(disk, op, &bytes);
    } else {
        err = finish_sync(disk, flight);
    }
    mem_free(flight);
    op->on_done(op, err, bytes);
}

static const struct disk_ops mem_ops = {
    .list = mem_list,
    .open = mem_open,
    .close = mem_close,
    .size = mem_size,
    .read = mem_read,
    .write = mem_write,
    .sync = mem_sync,
    .remove = mem_remove,
    .rename = mem_rename,
    .sync_dir = mem_sync_dir,
    .start = mem_start,
};

/* ---- life ------------------------------------------------------------------------------------ */

struct mem_disk *mem_disk_new(uint64_t seed)
{
    struct mem_disk *disk = mem_alloc(sizeof(*disk));
    disk->base.ops = &mem_ops;
    rnd_init(&disk->rnd, seed);
    list_init(&disk->inodes);
    list_init(&disk->files);
    list_init(&disk->flights);
    heap_init(&disk->due);
    disk->next_order = 1;
    disk->space_max = UINT64_MAX;
    for (size_t i = 0; i < MEM_DISK_FAULTS; i++) {
        disk->fail_after[i] = -1;
    }
    return disk;
}

static void forget_handles(struct mem_disk *disk)
{
    struct list *link;
    while ((link = list_pop_front(&disk->flights)) != NULL) {
        struct flight *flight = CONTAINER_OF(link, struct flight, link);
        heap_remove(&disk->due, &flight->node);
        mem_free(flight);
    }
    while ((link = list_pop_front(&disk->files)) != NULL) {
        struct mem_file *file = CONTAINER_OF(link, struct mem_file, link);
        inode_unref(file->inode);
        mem_free(file);
    }
}

void mem_disk_free(struct mem_disk *disk)
{
    if (disk == NULL) {
        return;
    }
    forget_handles(disk);
    names_clear(&disk->seen);
    names_clear(&disk->safe);
    CHECK(list_empty(&disk->inodes));
    heap_done(&disk->due);
    mem_free(disk);
}

struct disk *mem_disk_base(struct mem_disk *disk)
{
    return &disk->base;
}

static struct inode *inode_clone(struct mem_disk *to, const struct inode *from)
{
    struct inode *inode = inode_new(to);
    put_bytes(&inode->seen, 0, buf_bytes(&from->seen));
    put_bytes(&inode->safe, 0, buf_bytes(&from->safe));
    LIST_FOREACH (link, &from->writes) {
        const struct unsynced *write = CONTAINER_OF(link, struct unsynced, link);
        struct unsynced *copy = mem_alloc(sizeof(*copy) + write->size);
        memcpy(copy, write, sizeof(*copy) + write->size);
        list_push_back(&inode->writes, &copy->link);
    }
    return inode;
}

struct mem_disk *mem_disk_clone(const struct mem_disk *disk, uint64_t seed)
{
    struct mem_disk *copy = mem_disk_new(seed);
    copy->next_order = disk->next_order;
    LIST_FOREACH (link, &disk->inodes) {
        const struct inode *from = CONTAINER_OF(link, struct inode, link);
        struct inode *inode = inode_clone(copy, from);
        inode->refs = 1;
        for (size_t i = 0; i < disk->seen.count; i++) {
            if (disk->seen.entries[i].inode == from) {
                name_set(&copy->seen, disk->seen.entries[i].name, inode);
            }
        }
        for (size_t i = 0; i < disk->safe.count; i++) {
            if (disk->safe.entries[i].inode == from) {
                name_set(&copy->safe, disk->safe.entries[i].name, inode);
            }
        }
        inode_unref(inode);
    }
    return copy;
}

/* ---- time ------------------------------------------------------------------------------------ */

void mem_disk_latency(struct mem_disk *disk, clk_ns low, clk_ns high)
{
    CHECK(low <= high);
    disk->latency_low = low;
    disk->latency_high = high;
}

void mem_disk_stall(struct mem_disk *disk, clk_ns until)
{
    disk->stalled_until = until;
}

size_t mem_disk_pending(const struct mem_disk *disk)
{
    return disk->due.count;
}

clk_ns mem_disk_deadline(const struct mem_disk *disk)
{
    const struct heap_node *node = heap_min(&disk->due);
    if (node == NULL) {
        return CLK_NEVER;
    }
    return node->key > disk->stalled_until ? node->key : disk->stalled_until;
}

bool mem_disk_step(struct mem_disk *disk)
{
    struct heap_node *node = heap_min(&disk->due);
    if (node == NULL) {
        return false;
    }
    finish(disk, CONTAINER_OF(node, struct flight, node));
    return true;
}

void mem_disk_advance(struct mem_disk *disk, clk_ns now)
{
    CHECK(now >= disk->now);
    disk->now = now;
    /* What a callback starts without latency is due at once; such chains end because the owner's
     * do. */
    while (mem_disk_deadline(disk) <= now) {
        bool stepped = mem_disk_step(disk);
        CHECK(stepped);
    }
}

bool mem_disk_drain(struct mem_disk *disk, size_t steps_max)
{
    for (size_t i = 0; i < steps_max; i++) {
        if (!mem_disk_step(disk)) {
            return true;
        }
    }
    return mem_disk_pending(disk) == 0;
}

/* ---- crashes --------------------------------------------------------------------------------- */

static void settle_sectors(struct mem_disk *disk, struct inode *inode, const struct unsynced *write,
                           uint64_t sector)
{
    uint64_t at = write->offset;
    uint64_t end = write->offset + write->size;
    while (at < end) {
        uint64_t next = (at / sector + 1) * sector;
        next = next < end ? next : end;
        if (rnd_chance_ppm(&disk->rnd, 500000)) {
            put_bytes(&inode->safe, at,
                      bytes_of(write->bytes + (at - write->offset), (size_t)(next - at)));
        }
        at = next;
    }
}

static void crash_inode(struct mem_disk *disk, struct inode *inode, enum mem_disk_crash_kind kind)
{
    LIST_FOREACH (link, &inode->writes) {
        const struct unsynced *write = CONTAINER_OF(link, struct unsynced, link);
        if (kind == MEM_DISK_TORN_512) {
            settle_sectors(disk, inode, write, 512);
        } else if (kind == MEM_DISK_TORN_4096) {
            settle_sectors(disk, inode, write, 4096);
        }
    }
}

/* Readers see again what survived. */
static void reboot(struct mem_disk *disk)
{
    LIST_FOREACH (link, &disk->inodes) {
        struct inode *inode = CONTAINER_OF(link, struct inode, link);
        inode_forget_writes(inode);
        buf_clear(&inode->seen);
        put_bytes(&inode->seen, 0, buf_bytes(&inode->safe));
    }
    names_copy(&disk->seen, &disk->safe);
}

/* Unsynced names survive one by one: for each name on which the two tables differ, a coin. */
static void crash_names(struct mem_disk *disk)
{
    struct name_table *mix = mem_alloc(sizeof(*mix));
    names_copy(mix, &disk->safe);
    for (size_t i = 0; i < disk->safe.count; i++) {
        const struct name_entry *entry = &disk->safe.entries[i];
        struct inode *now = name_inode(&disk->seen, entry->name);
        if (now != entry->inode && rnd_chance_ppm(&disk->rnd, 500000)) {
            if (now == NULL) {
                name_remove(mix, entry->name);
            } else {
                name_set(mix, entry->name, now);
            }
        }
    }
    for (size_t i = 0; i < disk->seen.count; i++) {
        const struct name_entry *entry = &disk->seen.entries[i];
        if (name_inode(&disk->safe, entry->name) == NULL && rnd_chance_ppm(&disk->rnd, 500000)) {
            name_set(mix, entry->name, entry->inode);
        }
    }
    names_copy(&disk->safe, mix);
    names_clear(mix);
    mem_free(mix);
}

void mem_disk_crash(struct mem_disk *disk, enum mem_disk_crash_kind kind)
{
    CHECK(kind < MEM_DISK_CRASH_KINDS);
    forget_handles(disk);
    if (kind == MEM_DISK_KILLED) {
        /* The system goes on: writes that it had taken are seen, and a later sync makes them
         * durable. */
        LIST_FOREACH (link, &disk->inodes) {
            struct inode *inode = CONTAINER_OF(link, struct inode, link);
            LIST_FOREACH (write, &inode->writes) {
                CONTAINER_OF(write, struct unsynced, link)->completed = true;
            }
        }
        return;
    }
    LIST_FOREACH (link, &disk->inodes) {
        crash_inode(disk, CONTAINER_OF(link, struct inode, link), kind);
    }
    if (kind != MEM_DISK_LOST) {
        crash_names(disk);
    }
    reboot(disk);
}

/* The unsynced write with the lowest order from `order` on, and its inode; NULL: none. */
static const struct unsynced *next_write(const struct mem_disk *disk, uint64_t order,
                                         struct inode **ret_inode)
{
    const struct unsynced *best = NULL;
    LIST_FOREACH (link, &disk->inodes) {
        struct inode *inode = CONTAINER_OF(link, struct inode, link);
        LIST_FOREACH (at, &inode->writes) {
            const struct unsynced *write = CONTAINER_OF(at, struct unsynced, link);
            if (write->order >= order && (best == NULL || write->order < best->order)) {
                best = write;
                *ret_inode = inode;
            }
        }
    }
    return best;
}

uint64_t mem_disk_unsynced_bytes(const struct mem_disk *disk)
{
    uint64_t total = 0;
    struct inode *inode = NULL;
    for (const struct unsynced *write = next_write(disk, 0, &inode); write != NULL;
         write = next_write(disk, write->order + 1, &inode)) {
        total += write->size;
    }
    return total;
}

void mem_disk_crash_prefix(struct mem_disk *disk, uint64_t bytes)
{
    forget_handles(disk);
    struct inode *inode = NULL;
    for (const struct unsynced *write = next_write(disk, 0, &inode); write != NULL && bytes > 0;
         write = next_write(disk, write->order + 1, &inode)) {
        size_t part = write->size < bytes ? write->size : (size_t)bytes;
        put_bytes(&inode->safe, write->offset, bytes_of(write->bytes, part));
        bytes -= part;
    }
    names_copy(&disk->safe, &disk->seen);
    reboot(disk);
}

/* ---- damage ---------------------------------------------------------------------------------- */

bool mem_disk_flip(struct mem_disk *disk, const char *name, uint64_t offset, unsigned bit)
{
    struct inode *inode = name_inode(&disk->seen, name);
    if (inode == NULL || offset >= inode->seen.len) {
        return false;
    }
    uint8_t mask = (uint8_t)(1u << (bit & 7u));
    inode->seen.data[offset] ^= mask;
    if (offset < inode->safe.len) {
        inode->safe.data[offset] ^= mask;
    }
    return true;
}

bool mem_disk_overwrite(struct mem_disk *disk, const char *name, uint64_t offset, struct bytes with)
{
    struct inode *inode = name_inode(&disk->seen, name);
    if (inode == NULL) {
        return false;
    }
    put_bytes(&inode->seen, offset, with);
    put_bytes(&inode->safe, offset, with);
    return true;
}

bool mem_disk_truncate(struct mem_disk *disk, const char *name, uint64_t size)
{
    struct inode *inode = name_inode(&disk->seen, name);
    if (inode == NULL || size > inode->seen.len) {
        return false;
    }
    inode_forget_writes(inode);
    inode->seen.len = (size_t)size;
    inode->safe.len = inode->safe.len < size ? inode->safe.len : (size_t)size;
    return true;
}

bool mem_disk_forget(struct mem_disk *disk, const char *name)
{
    bool known = name_inode(&disk->seen, name) != NULL;
    name_remove(&disk->seen, name);
    name_remove(&disk->safe, name);
    return known;
}

struct bytes mem_disk_content(const struct mem_disk *disk, const char *name)
{
    const struct inode *inode = name_inode(&disk->seen, name);
    return inode == NULL ? (struct bytes){NULL, 0} : buf_bytes(&inode->seen);
}

void mem_disk_put(struct mem_disk *disk, const char *name, struct bytes content)
{
    struct inode *inode = inode_new(disk);
    put_bytes(&inode->seen, 0, content);
    put_bytes(&inode->safe, 0, content);
    name_set(&disk->seen, name, inode);
    name_set(&disk->safe, name, inode);
}

const char *mem_disk_name(const struct mem_disk *disk, size_t position)
{
    return position < disk->seen.count ? disk->seen.entries[position].name : NULL;
}

/* ---- errors ---------------------------------------------------------------------------------- */

void mem_disk_fail(struct mem_disk *disk, enum mem_disk_fault fault, int skip)
{
    CHECK(fault < MEM_DISK_FAULTS);
    disk->fail_after[fault] = skip;
}

void mem_disk_space(struct mem_disk *disk, uint64_t bytes_max)
{
    disk->space_max = bytes_max;
}

struct mem_disk_stats mem_disk_stats(const struct mem_disk *disk)
{
    return disk->stats;
}
