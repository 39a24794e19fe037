/* Exploration: the nodes' states, messages and steps that are known, each with a number.
 *
 * A state is kept as the arena's words that are not zero. Two states are one when their hashes
 * are equal; the audit takes states that came with a known hash and other bytes, and runs the
 * known steps from them: they must do the same. */
#include "explore.h"

#include "check/check.h"
#include "map/map.h"
#include "mem/mem.h"

#include <string.h>

enum {
    AUDIT_MAX = 4096 /* states kept for the audit */
};

/* hash -> number, open addressing; number 0 is free. */
struct index {
    uint64_t *hashes;
    uint32_t *numbers;
    size_t cap;
    size_t count;
};

struct twin {
    uint32_t local; /* the state that has its hash */
    size_t image;
};

static struct {
    bool audit;
    struct ex_local *locals;
    size_t local_cap;
    uint32_t local_count;
    struct index local_index;
    struct ex_msg *messages;
    uint64_t (*message_hashes)[EX_PERMS];
    size_t message_cap;
    size_t message_hash_cap;
    uint32_t message_count;
    struct index message_index;
    struct ex_step *steps;
    size_t step_cap;
    uint32_t step_count;
    struct index step_index;
    uint32_t *words; /* images: count, then (place, low half, high half) */
    size_t word_cap;
    size_t word_count;
    struct twin twins[AUDIT_MAX];
    uint32_t twin_count;
    uint64_t twins_seen;
    uint64_t steps_audited;
} t;

void *ex_grow(void *array, size_t *cap, size_t needed, size_t item_bytes)
{
    if (needed <= *cap) {
        return array;
    }
    size_t larger = *cap < 1024 ? 1024 : *cap + *cap / 2;
    *cap = larger > needed ? larger : needed;
    return mem_resize(array, *cap * item_bytes);
}

/* ---- index --------------------------------------------------------------------------------- */

static void index_init(struct index *x, size_t cap)
{
    *x = (struct index){.cap = cap};
    x->hashes = mem_alloc_array(cap, sizeof(x->hashes[0]));
    x->numbers = mem_alloc_array(cap, sizeof(x->numbers[0]));
}

static size_t index_place(const struct index *x, uint64_t hash)
{
    size_t at = hash & (x->cap - 1);
    while (x->numbers[at] != 0 && x->hashes[at] != hash) {
        at = (at + 1) & (x->cap - 1);
    }
    return at;
}

static uint32_t index_find(const struct index *x, uint64_t hash)
{
    return x->numbers[index_place(x, hash)];
}

static void index_add(struct index *x, uint64_t hash, uint32_t number)
{
    if (x->count * 3 > x->cap * 2) {
        struct index larger;
        index_init(&larger, x->cap * 2);
        for (size_t i = 0; i < x->cap; i++) {
            if (x->numbers[i] != 0) {
                index_add(&larger, x->hashes[i], x->numbers[i]);
            }
        }
        mem_free(x->hashes);
        mem_free(x->numbers);
        *x = larger;
    }
    size_t at = index_place(x, hash);
    x->hashes[at] = hash;
    x->numbers[at] = number;
    x->count++;
}

/* ---- images -------------------------------------------------------------------------------- */

static size_t image_save(void)
{
    size_t words = ex_arena_bytes() / sizeof(uint64_t);
    size_t image = t.word_count;
    t.words = ex_grow(t.words, &t.word_cap, image + 1 + 3 * words, sizeof(t.words[0]));
    size_t at = image + 1;
    for (size_t i = 0; i < words; i++) {
        uint64_t word;
        memcpy(&word, ex_arena + i * sizeof(word), sizeof(word));
        if (word != 0) {
            t.words[at++] = (uint32_t)i;
            t.words[at++] = (uint32_t)word;
            t.words[at++] = (uint32_t)(word >> 32);
        }
    }
    t.words[image] = (uint32_t)((at - image - 1) / 3);
    t.word_count = at;
    return image;
}

static void image_load(size_t image)
{
    memset(ex_arena, 0, ex_arena_bytes());
    const uint32_t *from = &t.words[image + 1];
    for (uint32_t i = 0; i < t.words[image]; i++, from += 3) {
        uint64_t word = (uint64_t)from[2] << 32 | from[1];
        memcpy(ex_arena + from[0] * sizeof(word), &word, sizeof(word));
    }
}

static bool images_equal(size_t a, size_t b)
{
    size_t words = 1 + 3 * (size_t)t.words[a];
    return t.words[a] == t.words[b] &&
           memcmp(&t.words[a], &t.words[b], words * sizeof(t.words[0])) == 0;
}

/* ---- states and messages ------------------------------------------------------------------- */

static void keep_twin(uint32_t local)
{
    size_t image = image_save();
    if (images_equal(image, t.locals[local].image)) {
        t.word_count = image;
        return;
    }
    /* Among all that were seen each is kept with equal chance. */
    t.twins_seen++;
    uint64_t place = t.twin_count;
    if (t.twin_count == AUDIT_MAX) {
        place = hash_u64(t.twins_seen) % t.twins_seen;
        if (place >= AUDIT_MAX) {
            t.word_count = image;
            return;
        }
    } else {
        t.twin_count++;
    }
    t.twins[place] = (struct twin){.local = local, .image = image};
}

/* The number of the state in the arena. */
static uint32_t local_of_arena(bool twins)
{
    uint64_t hash = ex_node_hash(0);
    uint32_t known = index_find(&t.local_index, hash);
    if (known != 0) {
        if (twins) {
            keep_twin(known);
        }
        return known;
    }
    uint32_t number = ++t.local_count;
    t.locals = ex_grow(t.locals, &t.local_cap, (size_t)number + 1, sizeof(t.locals[0]));
    struct ex_local *local = &t.locals[number];
    *local = (struct ex_local){.image = image_save()};
    for (uint32_t perm = 0; perm < EX_PERMS; perm++) {
        local->hash[perm] = ex_node_hash(perm);
    }
    ex_node_facts(&local->facts);
    index_add(&t.local_index, hash, number);
    return number;
}

static uint32_t message_of(const struct ex_msg *msg)
{
    uint64_t hash = ex_msg_hash(msg, 0);
    uint32_t known = index_find(&t.message_index, hash);
    if (known != 0) {
        return known;
    }
    uint32_t number = ++t.message_count;
    size_t needed = (size_t)number + 1;
    t.messages = ex_grow(t.messages, &t.message_cap, needed, sizeof(t.messages[0]));
    t.message_hashes =
        ex_grow(t.message_hashes, &t.message_hash_cap, needed, sizeof(t.message_hashes[0]));
    t.messages[number] = *msg;
    for (uint32_t perm = 0; perm < EX_PERMS; perm++) {
        t.message_hashes[number][perm] = ex_msg_hash(msg, perm);
    }
    index_add(&t.message_index, hash, number);
    return number;
}

void ex_table_init(bool audit)
{
    t.audit = audit;
    index_init(&t.local_index, 1 << 16);
    index_init(&t.message_index, 1 << 12);
    index_init(&t.step_index, 1 << 18);
}

uint32_t ex_local_first(raft_node_id self)
{
    ex_node_first(self);
    return local_of_arena(false);
}

const struct ex_local *ex_local_at(uint32_t local)
{
    CHECK(local > 0 && local <= t.local_count);
    return &t.locals[local];
}

const struct ex_msg *ex_message_at(uint32_t message)
{
    CHECK(message > 0 && message <= t.message_count);
    return &t.messages[message];
}

uint64_t ex_message_hash(uint32_t message, uint32_t perm)
{
    return t.message_hashes[message][perm];
}

/* ---- steps --------------------------------------------------------------------------------- */

static struct ex_step execute(size_t image, uint32_t from, struct ex_input input, bool twins)
{
    image_load(image);
    struct ex_outcome out;
    ex_node_step(input, &out);
    struct ex_step step = {.from = from,
                           .to = from,
                           .input = input,
                           .violation = out.violation,
                           .refused = out.refused,
                           .sent_count = (uint8_t)out.sent_count};
    if (!out.refused) {
        step.to = local_of_arena(twins);
    }
    for (uint32_t i = 0; i < out.sent_count; i++) {
        step.sent[i] = message_of(&out.sent[i]);
    }
    return step;
}

const struct ex_step *ex_step_of(uint32_t local, struct ex_input input)
{
    uint64_t key = hash_u64((uint64_t)local << 32 | (uint64_t)input.kind << 28 | input.arg);
    uint32_t number = index_find(&t.step_index, key);
    if (number == 0) {
        struct ex_step step = execute(t.locals[local].image, local, input, t.audit);
        number = ++t.step_count;
        t.steps = ex_grow(t.steps, &t.step_cap, (size_t)number + 1, sizeof(t.steps[0]));
        step.next = t.locals[local].first_step;
        t.locals[local].first_step = number;
        t.steps[number] = step;
        index_add(&t.step_index, key, number);
    }
    return &t.steps[number];
}

static bool same_step(const struct ex_step *a, const struct ex_step *b)
{
    return a->to == b->to && a->refused == b->refused && a->violation == b->violation &&
           a->sent_count == b->sent_count &&
           memcmp(a->sent, b->sent, a->sent_count * sizeof(a->sent[0])) == 0;
}

uint64_t ex_table_audit(void)
{
    uint64_t wrong = 0;
    for (uint32_t i = 0; i < t.twin_count; i++) {
        const struct twin *twin = &t.twins[i];
        for (uint32_t s = t.locals[twin->local].first_step; s != 0; s = t.steps[s].next) {
            struct ex_step known = t.steps[s];
            struct ex_step again = execute(twin->image, twin->local, known.input, false);
            t.steps_audited++;
            wrong += same_step(&known, &again) ? 0 : 1;
        }
    }
    return wrong;
}

void ex_table_numbers(FILE *to)
{
    fprintf(to, "  %u states of single nodes, %u messages, %u steps executed by the core\n",
            t.local_count, t.message_count, t.step_count);
    if (t.audit) {
        fprintf(to, "  audit: %llu steps run again from %u other states with a known hash\n",
                (unsigned long long)t.steps_audited, t.twin_count);
    }
}
