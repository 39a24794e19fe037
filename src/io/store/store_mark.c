/* The clean mark: a small file that says "what lies beside me was complete and synced".
 *
 * Place: io/store, private. 40 bytes, little-endian:
 *    0  8  magic "FLOTCLN1"
 *    8  4  version, 1
 *   12  4  LMDB's page size in bytes
 *   16  8  number of LMDB's last transaction
 *   24  8  number of the last page in use
 *   32  4  zero
 *   36  4  crc32c of the 36 bytes before */
#include "store/store_priv.h"

#include "bytes/bytes.h"
#include "check/check.h"
#include "crc/crc32c.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum {
    MARK_BYTES = 40,
    MARK_VERSION = 1
};

#define MARK_NAME "clean"
#define MARK_TEMP "clean.tmp"

static const uint8_t mark_magic[8] = {'F', 'L', 'O', 'T', 'C', 'L', 'N', '1'};

_Static_assert(sizeof(mark_magic) + 3 * 4 + 2 * 8 + 4 == MARK_BYTES, "the mark's size is on disk");

enum err mark_read(int dir_fd, struct store_mark *ret_mark)
{
    int fd = openat(dir_fd, MARK_NAME, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    uint8_t raw[MARK_BYTES + 1];
    size_t len = 0;
    enum err err = fs_read_at(fd, raw, sizeof(raw), 0, &len);
    (void)close(fd);
    if (err != ERR_OK) {
        return err;
    }
    if (len != MARK_BYTES || memcmp(raw, mark_magic, sizeof(mark_magic)) != 0 ||
        get_u32(raw + 36) != crc32c(0, raw, 36)) {
        return ERR_CORRUPT;
    }
    if (get_u32(raw + 8) != MARK_VERSION) {
        return ERR_MISMATCH;
    }
    ret_mark->page_bytes = get_u32(raw + 12);
    ret_mark->last_txn = get_u64(raw + 16);
    ret_mark->last_page = get_u64(raw + 24);
    return ERR_OK;
}

static enum err write_temp(int dir_fd, const struct store_mark *mark)
{
    uint8_t raw[MARK_BYTES] = {0};
    memcpy(raw, mark_magic, sizeof(mark_magic));
    put_u32(raw + 8, MARK_VERSION);
    put_u32(raw + 12, mark->page_bytes);
    put_u64(raw + 16, mark->last_txn);
    put_u64(raw + 24, mark->last_page);
    put_u32(raw + 36, crc32c(0, raw, 36));
    int fd = openat(dir_fd, MARK_TEMP, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        return err_from_errno(errno);
    }
    enum err err = fs_write_all(fd, raw, sizeof(raw));
    if (err == ERR_OK) {
        err = fs_sync(fd);
    }
    (void)close(fd);
    return err;
}

enum err mark_write(int dir_fd, const struct store_mark *mark)
{
    CHECK(mark->page_bytes > 0);
    enum err err = write_temp(dir_fd, mark);
    if (err == ERR_OK && renameat(dir_fd, MARK_TEMP, dir_fd, MARK_NAME) != 0) {
        err = err_from_errno(errno);
    }
    if (err == ERR_OK) {
        err = fs_sync(dir_fd);
    }
    return err;
}

enum err mark_remove(int dir_fd)
{
    enum err err = fs_remove(dir_fd, MARK_NAME);
    if (err == ERR_OK) {
        err = fs_sync(dir_fd);
    }
    return err;
}
