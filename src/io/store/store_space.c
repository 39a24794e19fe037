/* Disk space ahead of LMDB: no page of the map is touched before it has a block on the disk.
 *
 * Place: io/store, private. The bound is explained at struct store_space. A bound that is too high
 * costs disk space that the state will use later; one that is too low would be a SIGBUS on a full
 * disk, so the commit checks it against what LMDB really took. */
#include "store/store_priv.h"

#include "check/check.h"

enum {
    SPACE_COMMIT_PAGES = 64,    /* the free list's own tree, and the two meta pages */
    SPACE_FREE_LIST_PART = 256, /* page numbers per page of free list: half of what fits */
    SPACE_DELETE_PATHS = 3      /* a merge touches the neighbours */
};

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void space_begin(struct store_space *space, const MDB_stat *stat, uint64_t pages_in_use)
{
    space->base = pages_in_use;
    space->branches_before = stat->ms_branch_pages;
    space->leaves_before = stat->ms_leaf_pages;
    space->tree_pages = stat->ms_branch_pages + stat->ms_leaf_pages;
    space->branches_touched = 0;
    space->leaves_touched = 0;
    space->grown = 0;
    space->large = 0;
}

/* First page after all that the transaction can have taken once it has done one more operation. */
static uint64_t pages_needed(const struct store_space *space, const MDB_stat *stat)
{
    uint64_t taken = least(space->branches_touched, space->branches_before) +
                     least(space->leaves_touched, space->leaves_before) + space->grown +
                     space->large;
    /* Every level may split, some twice, and the tree may get a new root. */
    uint64_t splits = 2 * ((uint64_t)stat->ms_depth + 2);
    return space->base + taken + splits + SPACE_COMMIT_PAGES +
           (space->base + taken) / SPACE_FREE_LIST_PART;
}

static enum err extend_to(struct store_space *space, uint64_t pages)
{
    enum err err = fs_allocate(space->fd, space->allocated_pages * space->page_bytes,
                               pages * space->page_bytes, space->base * space->page_bytes);
    if (err == ERR_OK) {
        space->allocated_pages = pages;
    }
    return err;
}

static enum err reserve(struct store_space *space, const MDB_stat *stat)
{
    uint64_t need = pages_needed(space, stat);
    if (need <= space->allocated_pages) {
        return ERR_OK;
    }
    /* The bound may pass the map although LMDB would not: LMDB itself watches that limit. */
    need = least(need, space->map_pages);
    if (need <= space->allocated_pages) {
        return ERR_OK;
    }
    uint64_t steps = (need + space->step_pages - 1) / space->step_pages;
    enum err err = extend_to(space, least(steps * space->step_pages, space->map_pages));
    if (err == ERR_NO_SPACE) {
        /* The last blocks of a disk are less than a step. */
        err = extend_to(space, need);
    }
    return err;
}

enum err space_reserve_put(struct store_space *space, const MDB_stat *stat, size_t value_len)
{
    CHECK(space->page_bytes > 0);
    space->branches_touched += stat->ms_depth;
    space->leaves_touched += 1;
    if (value_len > space->page_bytes / 4) {
        /* 16 bytes of page header; a node over half a page is moved out of the tree. */
        space->large += (value_len + 16 + space->page_bytes - 1) / space->page_bytes;
    }
    return reserve(space, stat);
}

enum err space_reserve_del(struct store_space *space, const MDB_stat *stat)
{
    CHECK(space->page_bytes > 0);
    space->branches_touched += SPACE_DELETE_PATHS * (uint64_t)stat->ms_depth;
    space->leaves_touched += SPACE_DELETE_PATHS;
    return reserve(space, stat);
}

void space_note_growth(struct store_space *space, const MDB_stat *stat)
{
    uint64_t now = stat->ms_branch_pages + stat->ms_leaf_pages;
    if (now > space->tree_pages) {
        space->grown += now - space->tree_pages;
    }
    space->tree_pages = now;
}
