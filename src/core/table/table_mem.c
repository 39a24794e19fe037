/* The in-memory backend of tables: a skip list of stored rows, with one level of undo.
 *
 * Place: core; used by tests and by the simulator in the place of io/store.
 *
 * Invariants:
 *   1. The list at level 0 holds all rows in byte order; the list at level n is a subsequence of
 *      that at level n - 1.
 *   2. A row's height comes from a hash of its key: the same rows give the same list.
 *   3. Every change adds one to `changes`: a cursor that saw another number seeks its last key
 *      again.
 *
 * Source: Pugh, "Skip lists: a probabilistic alternative to balanced trees" (1990). */
#include "table/table.h"

#include "check/check.h"
#include "map/map.h"
#include "mem/mem.h"

enum {
    HEIGHT_MAX = 20,
};

struct row {
    uint8_t *value; /* owned */
    size_t value_len;
    uint32_t key_len;
    uint32_t height;
    struct row *next[]; /* height links, then the key */
};

/* One change that abort takes back: the row as it was before. */
struct undo {
    struct undo *older;
    uint8_t *value; /* owned; NULL: there was no such row */
    size_t value_len;
    size_t key_len;
    uint8_t key[];
};

struct cursor {
    struct row *at; /* valid while changes == seen */
    uint64_t seen;
    struct buf key; /* of the last row given */
};

struct table_mem {
    struct row *first[HEIGHT_MAX];
    size_t count;
    uint64_t changes;
    bool in_txn;
    struct undo *undo;
    struct cursor cursors[TABLE_CURSORS];
};

static uint8_t *row_key_data(struct row *row)
{
    return (uint8_t *)&row->next[row->height];
}

static struct bytes row_key(struct row *row)
{
    return bytes_of(row_key_data(row), row->key_len);
}

static uint32_t height_of(struct bytes key)
{
    uint64_t hash = hash_bytes((struct hash_seed){1, 2}, key);
    /* A quarter of each level reaches the next. */
    uint32_t height = 1 + (uint32_t)__builtin_ctzll(hash | (1ull << 62)) / 2;
    return height < HEIGHT_MAX ? height : HEIGHT_MAX;
}

static uint8_t *copy_of(struct bytes slice)
{
    uint8_t *copy = mem_alloc(slice.len + 1);
    if (slice.len > 0) {
        memcpy(copy, slice.data, slice.len);
    }
    return copy;
}

struct table_mem *table_mem_new(void)
{
    struct table_mem *mem = mem_alloc(sizeof(*mem));
    for (size_t i = 0; i < TABLE_CURSORS; i++) {
        buf_init(&mem->cursors[i].key, TABLE_STORED_KEY_MAX);
    }
    return mem;
}

static void undo_forget(struct table_mem *mem)
{
    while (mem->undo != NULL) {
        struct undo *undo = mem->undo;
        mem->undo = undo->older;
        mem_free(undo->value);
        mem_free(undo);
    }
}

static void row_free(struct row *row)
{
    mem_free(row->value);
    mem_free(row);
}

void table_mem_free(struct table_mem *mem)
{
    if (mem == NULL) {
        return;
    }
    undo_forget(mem);
    struct row *row = mem->first[0];
    while (row != NULL) {
        struct row *next = row->next[0];
        row_free(row);
        row = next;
    }
    for (size_t i = 0; i < TABLE_CURSORS; i++) {
        buf_done(&mem->cursors[i].key);
    }
    mem_free(mem);
}

/* The first row with a key >= key, or NULL; links[n] becomes the link at level n that leads
 * there. */
static struct row *find(struct table_mem *mem, struct bytes key, struct row **links[HEIGHT_MAX])
{
    struct row **level_links = mem->first;
    for (size_t level = HEIGHT_MAX; level-- > 0;) {
        while (level_links[level] != NULL && bytes_cmp(row_key(level_links[level]), key) < 0) {
            level_links = level_links[level]->next;
        }
        links[level] = &level_links[level];
    }
    return *links[0];
}

static struct row *find_exact(struct table_mem *mem, struct bytes key,
                              struct row **links[HEIGHT_MAX])
{
    struct row *row = find(mem, key, links);
    return row != NULL && bytes_eq(row_key(row), key) ? row : NULL;
}

/* Remembers how the row of this key is now (NULL: absent). */
static void remember(struct table_mem *mem, struct bytes key, const struct row *row)
{
    if (!mem->in_txn) {
        return;
    }
    struct undo *undo = mem_alloc(sizeof(*undo) + key.len);
    undo->older = mem->undo;
    undo->key_len = key.len;
    memcpy(undo->key, key.data, key.len);
    if (row != NULL) {
        undo->value = copy_of(bytes_of(row->value, row->value_len));
        undo->value_len = row->value_len;
    }
    mem->undo = undo;
}

static void set(struct table_mem *mem, struct bytes key, struct bytes value)
{
    struct row **links[HEIGHT_MAX];
    struct row *row = find_exact(mem, key, links);
    remember(mem, key, row);
    /* Copied first: the value may be borrowed from the row that it replaces. */
    uint8_t *copy = copy_of(value);
    mem->changes++;
    if (row != NULL) {
        mem_free(row->value);
    } else {
        uint32_t height = height_of(key);
        row = mem_alloc(sizeof(*row) + height * sizeof(row->next[0]) + key.len);
        row->height = height;
        row->key_len = (uint32_t)key.len;
        memcpy(row_key_data(row), key.data, key.len);
        for (size_t level = 0; level < height; level++) {
            row->next[level] = *links[level];
            *links[level] = row;
        }
        mem->count++;
    }
    row->value = copy;
    row->value_len = value.len;
}

static bool erase(struct table_mem *mem, struct bytes key)
{
    struct row **links[HEIGHT_MAX];
    struct row *row = find_exact(mem, key, links);
    if (row == NULL) {
        return false;
    }
    remember(mem, key, row);
    mem->changes++;
    for (size_t level = 0; level < row->height; level++) {
        CHECK(*links[level] == row);
        *links[level] = row->next[level];
    }
    mem->count--;
    row_free(row);
    return true;
}

struct table_mem *table_mem_clone(const struct table_mem *mem)
{
    CHECK(!mem->in_txn);
    struct table_mem *copy = table_mem_new();
    for (struct row *row = mem->first[0]; row != NULL; row = row->next[0]) {
        set(copy, row_key(row), bytes_of(row->value, row->value_len));
    }
    return copy;
}

void table_mem_begin(struct table_mem *mem)
{
    CHECK(!mem->in_txn);
    CHECK(mem->undo == NULL);
    mem->in_txn = true;
}

void table_mem_commit(struct table_mem *mem)
{
    CHECK(mem->in_txn);
    undo_forget(mem);
    mem->in_txn = false;
}

void table_mem_abort(struct table_mem *mem)
{
    CHECK(mem->in_txn);
    mem->in_txn = false;
    for (struct undo *undo = mem->undo; undo != NULL; undo = undo->older) {
        struct bytes key = bytes_of(undo->key, undo->key_len);
        if (undo->value != NULL) {
            set(mem, key, bytes_of(undo->value, undo->value_len));
        } else {
            (void)erase(mem, key);
        }
    }
    undo_forget(mem);
}

size_t table_mem_count(const struct table_mem *mem)
{
    return mem->count;
}

static enum err mem_get(void *self, struct bytes key, struct bytes *ret_value)
{
    struct row **links[HEIGHT_MAX];
    struct row *row = find_exact(self, key, links);
    if (row == NULL) {
        return ERR_NOT_FOUND;
    }
    *ret_value = bytes_of(row->value, row->value_len);
    return ERR_OK;
}

static enum err mem_put(void *self, struct bytes key, struct bytes value)
{
    CHECK(key.len > 0 && key.len <= TABLE_STORED_KEY_MAX);
    set(self, key, value);
    return ERR_OK;
}

static enum err mem_del(void *self, struct bytes key)
{
    return erase(self, key) ? ERR_OK : ERR_NOT_FOUND;
}

/* Puts the cursor on the row and gives it out. */
static enum err cursor_give(struct table_mem *mem, struct cursor *cursor, struct row *row,
                            struct bytes *ret_key, struct bytes *ret_value)
{
    if (row == NULL) {
        return ERR_NOT_FOUND;
    }
    cursor->at = row;
    cursor->seen = mem->changes;
    buf_clear(&cursor->key);
    *ret_key = row_key(row);
    *ret_value = bytes_of(row->value, row->value_len);
    return buf_append(&cursor->key, *ret_key);
}

static enum err mem_seek(void *self, int slot, struct bytes key, struct bytes *ret_key,
                         struct bytes *ret_value)
{
    CHECK(slot >= 0 && slot < TABLE_CURSORS);
    struct table_mem *mem = self;
    struct row **links[HEIGHT_MAX];
    struct row *row = find(mem, key, links);
    return cursor_give(mem, &mem->cursors[slot], row, ret_key, ret_value);
}

static enum err mem_next(void *self, int slot, struct bytes *ret_key, struct bytes *ret_value)
{
    CHECK(slot >= 0 && slot < TABLE_CURSORS);
    struct table_mem *mem = self;
    struct cursor *cursor = &mem->cursors[slot];
    struct row *row = cursor->at;
    CHECK(row != NULL);
    if (cursor->seen == mem->changes) {
        row = row->next[0];
    } else {
        struct row **links[HEIGHT_MAX];
        struct bytes last = buf_bytes(&cursor->key);
        row = find(mem, last, links);
        if (row != NULL && bytes_eq(row_key(row), last)) {
            row = row->next[0];
        }
    }
    return cursor_give(mem, cursor, row, ret_key, ret_value);
}

const struct table_backend *table_mem_backend(void)
{
    static const struct table_backend backend = {
        .get = mem_get,
        .put = mem_put,
        .del = mem_del,
        .seek = mem_seek,
        .next = mem_next,
    };
    return &backend;
}
