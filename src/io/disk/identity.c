/* The identity file; see disk/identity.h.
 *
 * Byte table (little-endian, 64 bytes):
 *    0  8  magic "FLTLIDNT"        24  8  cluster id        44 12  zero
 *    8  4  format                  32  8  boot count        56  4  zero
 *   12  4  zero                    40  4  node id           60  4  crc32c of bytes 0..59
 *   16  8  storage id */
#include "disk/identity.h"

#include "check/check.h"
#include "crc/crc32c.h"

#include <stdio.h>

enum {
    AT_FORMAT = 8,
    AT_STORAGE = 16,
    AT_CLUSTER = 24,
    AT_BOOT = 32,
    AT_NODE = 40,
    AT_CRC = 60
};

_Static_assert(AT_CRC + 4 == IDENTITY_BYTES, "the checksum is last");

static const char identity_magic[8] = {'F', 'L', 'T', 'L', 'I', 'D', 'N', 'T'};

static enum err identity_write(struct disk *disk, const struct identity *identity,
                               struct err_note *note)
{
    CHECK(identity->storage_id != 0 && identity->node_id != 0);
    uint8_t image[IDENTITY_BYTES] = {0};
    memcpy(image, identity_magic, sizeof(identity_magic));
    put_u32(image + AT_FORMAT, identity->format);
    put_u64(image + AT_STORAGE, identity->storage_id);
    put_u64(image + AT_CLUSTER, identity->cluster_id);
    put_u64(image + AT_BOOT, identity->boot_count);
    put_u32(image + AT_NODE, identity->node_id);
    put_u32(image + AT_CRC, crc32c(0, image, AT_CRC));
    return disk_replace(disk, IDENTITY_NAME, bytes_of(image, sizeof(image)), note);
}

static enum err identity_parse(struct bytes image, struct identity *ret_identity,
                               struct err_note *note)
{
    const uint8_t *p = image.data;
    if (image.len < AT_STORAGE || memcmp(p, identity_magic, sizeof(identity_magic)) != 0) {
        return err_note_set(note, ERR_CORRUPT,
                            "the file %s is not an identity: it is damaged or foreign",
                            IDENTITY_NAME);
    }
    /* The format is looked at before the checksum: a newer one may be longer. */
    uint32_t format = get_u32(p + AT_FORMAT);
    if (format > IDENTITY_FORMAT) {
        return err_note_set(note, ERR_MISMATCH,
                            "the data directory has format %u, this program reads up to %d", format,
                            IDENTITY_FORMAT);
    }
    if (image.len != IDENTITY_BYTES || get_u32(p + AT_CRC) != crc32c(0, p, AT_CRC)) {
        return err_note_set(note, ERR_CORRUPT, "the file %s is damaged (checksum)", IDENTITY_NAME);
    }
    struct identity identity = {.storage_id = get_u64(p + AT_STORAGE),
                                .cluster_id = get_u64(p + AT_CLUSTER),
                                .node_id = get_u32(p + AT_NODE),
                                .format = format,
                                .boot_count = get_u64(p + AT_BOOT)};
    if (identity.storage_id == 0 || identity.node_id == 0) {
        return err_note_set(note, ERR_CORRUPT, "the file %s has an empty id", IDENTITY_NAME);
    }
    *ret_identity = identity;
    return ERR_OK;
}

enum err identity_read(struct disk *disk, struct identity *ret_identity, struct err_note *note)
{
    struct buf image;
    buf_init(&image, 4096);
    enum err err = disk_read_all(disk, IDENTITY_NAME, &image, note);
    if (err == ERR_OK) {
        err = identity_parse(buf_bytes(&image), ret_identity, note);
    } else if (err == ERR_FULL) {
        err = err_note_set(note, ERR_CORRUPT, "the file %s is not an identity: it is too long",
                           IDENTITY_NAME);
    }
    buf_done(&image);
    return err;
}

static enum err identity_make(struct disk *disk, const struct identity_want *want, bool wal_present,
                              struct identity *ret_identity, struct err_note *note)
{
    if (wal_present) {
        return err_note_set(note, ERR_CORRUPT,
                            "the data directory has a log but no %s file: it is partial; wipe it "
                            "to join as a new disk",
                            IDENTITY_NAME);
    }
    if (want->node_id == 0) {
        return err_note_set(note, ERR_NOT_FOUND,
                            "the data directory is empty: say which node it is for");
    }
    CHECK(want->new_storage_id != 0);
    struct identity identity = {.storage_id = want->new_storage_id,
                                .cluster_id = want->cluster_id,
                                .node_id = want->node_id,
                                .format = IDENTITY_FORMAT};
    enum err err = identity_write(disk, &identity, note);
    if (err == ERR_OK) {
        *ret_identity = identity;
    }
    return err;
}

static enum err identity_compare(const struct identity *found, const struct identity_want *want,
                                 struct err_note *note)
{
    if (want->cluster_id != 0 && found->cluster_id != want->cluster_id) {
        return err_note_set(
            note, ERR_MISMATCH, "the data directory belongs to cluster %016llx, not to %016llx",
            (unsigned long long)found->cluster_id, (unsigned long long)want->cluster_id);
    }
    if (want->node_id != 0 && found->node_id != want->node_id) {
        return err_note_set(note, ERR_MISMATCH, "the data directory belongs to node %u, not to %u",
                            found->node_id, want->node_id);
    }
    return ERR_OK;
}

enum err identity_open(struct disk *disk, const struct identity_want *want, bool wal_present,
                       struct identity *ret_identity, struct err_note *note)
{
    struct identity found;
    enum err err = identity_read(disk, &found, note);
    if (err == ERR_NOT_FOUND) {
        return identity_make(disk, want, wal_present, ret_identity, note);
    }
    if (err == ERR_OK) {
        err = identity_compare(&found, want, note);
    }
    if (err != ERR_OK) {
        return err;
    }
    if (found.boot_count > 0 && !wal_present) {
        return err_note_set(note, ERR_CORRUPT,
                            "the data directory was started %llu times but its log is gone: it is "
                            "partial; wipe it to join as a new disk",
                            (unsigned long long)found.boot_count);
    }
    *ret_identity = found;
    return ERR_OK;
}

enum err identity_start(struct disk *disk, struct identity *identity, struct err_note *note)
{
    struct identity next = *identity;
    next.boot_count++;
    next.format = IDENTITY_FORMAT;
    enum err err = identity_write(disk, &next, note);
    if (err == ERR_OK) {
        *identity = next;
    }
    return err;
}

enum err identity_adopt(struct disk *disk, struct identity *identity, uint64_t cluster_id,
                        struct err_note *note)
{
    CHECK(cluster_id != 0 && identity->cluster_id == 0);
    struct identity next = *identity;
    next.cluster_id = cluster_id;
    enum err err = identity_write(disk, &next, note);
    if (err == ERR_OK) {
        *identity = next;
    }
    return err;
}

enum err identity_refound(struct disk *disk, struct identity *identity, uint64_t cluster_id,
                          struct err_note *note)
{
    CHECK(cluster_id != 0 && identity->cluster_id != 0 && cluster_id != identity->cluster_id);
    struct identity next = *identity;
    next.cluster_id = cluster_id;
    enum err err = identity_write(disk, &next, note);
    if (err == ERR_OK) {
        *identity = next;
    }
    return err;
}
