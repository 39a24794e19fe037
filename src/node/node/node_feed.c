/* The feed's end on an edge: batches of results and changes, and the watches that they wake.
 *
 * Items in a batch, in index order:
 *   change:  1 | table u8 | deleted u8 | index u64 | key length u32 | key
 *   result:  2 | tag u64 | index u64 | duplicate u8 | err u8 | value u64 | reason length u8 |
 *   reason */
#include "check/check.h"
#include "mem/mem.h"
#include "node/node_priv.h"

enum {
    ITEM_CHANGE = 1,
    ITEM_RESULT = 2
};

/* ---- filling (apply thread) ------------------------------------------------------------------ */

void node_feed_put_change(struct batch *batch, const struct apply_change *change)
{
    struct writer w = writer_of(&batch->items);
    write_u8(&w, ITEM_CHANGE);
    write_u8(&w, (uint8_t)change->table);
    write_u8(&w, change->deleted ? 1 : 0);
    write_u64(&w, change->index);
    write_u32(&w, (uint32_t)change->key.len);
    write_raw(&w, change->key);
    CHECK(w.err == ERR_OK);
}

void node_feed_put_result(struct batch *batch, uint64_t tag, uint64_t index,
                          const struct machine_result *result)
{
    size_t reason_len = strlen(result->result.reason);
    CHECK(reason_len < APPLY_REASON_MAX);
    struct writer w = writer_of(&batch->items);
    write_u8(&w, ITEM_RESULT);
    write_u64(&w, tag);
    write_u64(&w, index);
    write_u8(&w, result->duplicate ? 1 : 0);
    write_u8(&w, (uint8_t)result->result.err);
    write_u64(&w, result->result.value);
    write_u8(&w, (uint8_t)reason_len);
    write_raw(&w, bytes_of(result->result.reason, reason_len));
    CHECK(w.err == ERR_OK);
}

/* ---- telling (edge thread) ------------------------------------------------------------------- */

/* The watches of one key or prefix. */
struct watch_set {
    struct map_node by_key;
    struct list prefix_link; /* in node_edge.prefix_sets, when prefix */
    struct list watches;
    enum table_id table;
    bool prefix;
    size_t key_len;
    uint8_t key[];
};

struct watch_key {
    enum table_id table;
    bool prefix;
    struct bytes key;
};

static uint64_t watch_hash(const struct node_edge *edge, const struct watch_key *wanted)
{
    return hash_bytes(edge->seed, wanted->key) ^
           hash_u64((uint64_t)wanted->table * 2 + (wanted->prefix ? 1 : 0));
}

static bool watch_eq(const struct map_node *node, const void *key)
{
    const struct watch_set *set = CONTAINER_OF_CONST(node, struct watch_set, by_key);
    const struct watch_key *wanted = key;
    return set->table == wanted->table && set->prefix == wanted->prefix &&
           bytes_eq(bytes_of(set->key, set->key_len), wanted->key);
}

static struct watch_set *find_set(const struct node_edge *edge, const struct watch_key *wanted)
{
    struct map_node *node = map_find(&edge->watch_sets, watch_hash(edge, wanted), watch_eq, wanted);
    return node == NULL ? NULL : CONTAINER_OF(node, struct watch_set, by_key);
}

static void free_if_empty(struct node_edge *edge, struct watch_set *set)
{
    if (list_empty(&set->watches)) {
        map_remove(&edge->watch_sets, &set->by_key);
        list_remove(&set->prefix_link);
        mem_free(set);
    }
}

/* Calls every watch that was there before the change; a callback may add and remove watches. */
static void tell_set(struct node_edge *edge, struct watch_set *set,
                     const struct apply_change *change)
{
    struct list told;
    list_init(&told);
    struct list keep; /* holds the set while its watches are being called */
    list_init(&keep);
    struct list *link = NULL;
    while ((link = list_pop_front(&set->watches)) != NULL) {
        list_push_back(&told, link);
        struct node_watch *watch = CONTAINER_OF(link, struct node_watch, link);
        if (watch->told < edge->changes_told) {
            watch->told = edge->changes_told;
            list_push_back(&set->watches, &keep);
            watch->changed(watch, change);
            list_remove(&keep);
        }
    }
    while ((link = list_pop_front(&told)) != NULL) {
        list_push_back(&set->watches, link);
    }
}

static void tell_change(struct node_edge *edge, const struct apply_change *change)
{
    edge->changes_told++;
    struct watch_key wanted = {change->table, false, change->key};
    struct watch_set *set = find_set(edge, &wanted);
    if (set != NULL) {
        tell_set(edge, set, change);
        free_if_empty(edge, set);
    }
    LIST_FOREACH_SAFE (link, after, &edge->prefix_sets) {
        set = CONTAINER_OF(link, struct watch_set, prefix_link);
        if (set->table == change->table &&
            bytes_has_prefix(change->key, bytes_of(set->key, set->key_len))) {
            tell_set(edge, set, change);
            after = set->prefix_link.next; /* callbacks may have changed the list */
            free_if_empty(edge, set);
        }
    }
}

static bool read_change(struct reader *in, struct apply_change *change)
{
    change->table = (enum table_id)read_u8(in);
    change->deleted = read_u8(in) != 0;
    change->index = read_u64(in);
    uint32_t len = read_u32(in);
    change->key = read_raw(in, len);
    return reader_ok(in);
}

static bool read_result(struct reader *in, uint64_t *ret_tag, struct node_result *ret_result)
{
    *ret_tag = read_u64(in);
    *ret_result = (struct node_result){.index = read_u64(in)};
    ret_result->duplicate = read_u8(in) != 0;
    ret_result->verdict.err = (enum err)read_u8(in);
    ret_result->verdict.value = read_u64(in);
    struct bytes reason = read_raw(in, read_u8(in));
    if (!reader_ok(in)) {
        return false;
    }
    memcpy(ret_result->verdict.reason, reason.data, reason.len);
    return true;
}

void node_feed_tell(struct node_edge *edge, const struct batch *batch)
{
    struct reader in = reader_of(buf_bytes(&batch->items));
    while (reader_left(&in) > 0) {
        if (read_u8(&in) == ITEM_CHANGE) {
            struct apply_change change;
            CHECK(read_change(&in, &change));
            tell_change(edge, &change);
        } else {
            uint64_t tag = 0;
            struct node_result result;
            CHECK(read_result(&in, &tag, &result));
            node_feed_result(edge, tag, &result);
        }
    }
}

/* ---- watches --------------------------------------------------------------------------------- */

enum err node_watch_add(struct node_edge *edge, struct node_watch *watch, enum table_id table,
                        struct bytes key, bool prefix)
{
    CHECK(watch->changed != NULL && watch->set == NULL);
    if (edge->watch_count >= EDGE_WATCHES_MAX) {
        return ERR_FULL;
    }
    struct watch_key wanted = {table, prefix, key};
    struct watch_set *set = find_set(edge, &wanted);
    if (set == NULL) {
        set = mem_alloc(sizeof(*set) + key.len);
        set->table = table;
        set->prefix = prefix;
        set->key_len = key.len;
        if (key.len > 0) {
            memcpy(set->key, key.data, key.len);
        }
        list_init(&set->watches);
        list_init(&set->prefix_link);
        map_insert(&edge->watch_sets, &set->by_key, watch_hash(edge, &wanted));
        if (prefix) {
            list_push_back(&edge->prefix_sets, &set->prefix_link);
        }
    }
    watch->set = set;
    watch->told = edge->changes_told;
    list_push_back(&set->watches, &watch->link);
    edge->watch_count++;
    return ERR_OK;
}

void node_watch_remove(struct node_edge *edge, struct node_watch *watch)
{
    struct watch_set *set = watch->set;
    if (set == NULL) {
        return;
    }
    watch->set = NULL;
    list_remove(&watch->link);
    edge->watch_count--;
    free_if_empty(edge, set);
}
