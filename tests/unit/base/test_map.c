/* Tests of base/map: the hash map against a naive model, and the hash functions. */
#include "map/map.h"

#include "death.h"
#include "rnd/rnd.h"
#include "test.h"

#include <string.h>

struct item {
    struct map_node node;
    uint64_t key;
    bool present;
};

enum {
    KEYS = 500
};

static bool item_eq(const struct map_node *node, const void *key)
{
    const uint64_t *wanted = key;
    return ((const struct item *)(const void *)node)->key == *wanted;
}

static struct item *find(const struct map *map, uint64_t hash, uint64_t key)
{
    return (struct item *)(void *)map_find(map, hash, item_eq, &key);
}

/* Random insertions and removals; after each, one key is looked up; at times, all are counted. */
static void compare_with_model(uint64_t hash_mask)
{
    static struct item items[KEYS];
    memset(items, 0, sizeof(items));
    struct map map;
    map_init(&map, 0);
    struct rnd rnd;
    rnd_init(&rnd, 42);
    size_t count = 0;
    for (int step = 0; step < 20000; step++) {
        uint64_t key = rnd_below(&rnd, KEYS);
        struct item *item = &items[key];
        item->key = key;
        if (item->present) {
            map_remove(&map, &item->node);
            count--;
        } else {
            map_insert(&map, &item->node, hash_u64(key) & hash_mask);
            count++;
        }
        item->present = !item->present;
        assert_int_equal(map.count, count);
        assert_true(map.count <= map.bucket_count);
        uint64_t asked = rnd_below(&rnd, KEYS);
        struct item *found = find(&map, hash_u64(asked) & hash_mask, asked);
        assert_ptr_equal(found, items[asked].present ? &items[asked] : NULL);
    }
    size_t seen = 0;
    MAP_FOREACH (node, &map) {
        assert_true(((struct item *)(void *)node)->present);
        seen++;
    }
    assert_int_equal(seen, count);
    map_done(&map);
}

static void the_map_agrees_with_a_naive_model(void **state)
{
    (void)state;
    compare_with_model(UINT64_MAX);
}

static void colliding_hashes_are_told_apart_by_key(void **state)
{
    (void)state;
    compare_with_model(7);
    compare_with_model(0);
}

static void a_zeroed_map_is_an_empty_map(void **state)
{
    (void)state;
    struct map map = {0};
    assert_null(find(&map, 1, 1));
    assert_null(map_next(&map, NULL));
    struct item item = {.key = 7};
    map_insert(&map, &item.node, 99);
    assert_ptr_equal(find(&map, 99, 7), &item);
    map_done(&map);
    map_done(&map);
    map_done(NULL);
}

static void expected_objects_cause_no_growth(void **state)
{
    (void)state;
    static struct item items[100];
    struct map map;
    map_init(&map, 100);
    struct map_node **buckets = map.buckets;
    for (size_t i = 0; i < 100; i++) {
        map_insert(&map, &items[i].node, i);
    }
    assert_ptr_equal(map.buckets, buckets);
    map_done(&map);
}

static void remove_a_stranger(void *argument)
{
    struct map *map = argument;
    struct item stranger = {.node = {.hash = 1}};
    map_remove(map, &stranger.node);
}

static void removing_what_is_not_in_the_map_aborts(void **state)
{
    (void)state;
    struct map map;
    map_init(&map, 0);
    assert_aborts(remove_a_stranger, &map, "count > 0");
    struct item item = {.key = 1};
    map_insert(&map, &item.node, 1);
    assert_aborts(remove_a_stranger, &map, "*at == node");
    map_done(&map);
}

/* Computed by another implementation of SipHash-1-3 (CPython's bytes hash) under an all-zero key,
 * for the first n bytes of 00 01 02 ... */
static void siphash_agrees_with_another_implementation(void **state)
{
    (void)state;
    static const uint64_t expected[] = {
        0x68a914128e01e473, 0x010bac45c41e3669, 0x4d4c9a4a8ef6e0ad, 0x7cc43f98813e4dbd,
        0x5abe2169dff36275, 0xe3c25f87624f1cdb, 0x2f098ab0c751325a, 0xead411e67ebe2eea,
        0x75927f9d95124362, 0xaf9f77a65ab51a1d, 0xfe64ce8b6617fcff, 0xa6baf4fb0f9fe1c2,
        0xa0cf3211850f8e0d, 0x7f86049379fbfe67, 0xf30eb725bb91c9ea, 0x8972188433a5c5b7,
        0x4883c49a2c009c1d, 0xadc2c0b63044067d, 0x091f4a3329f87d19, 0x639e355ae68c0100,
        0xb17bef2cb5213239, 0xf8aeb1066236ccfe, 0x37332b1389daa4ff, 0x31185a47af932f3a,
    };
    uint8_t input[64];
    for (size_t i = 0; i < sizeof(input); i++) {
        input[i] = (uint8_t)i;
    }
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        uint64_t hash = hash_bytes((struct hash_seed){0, 0}, bytes_of(input, i + 1));
        assert_true(hash == expected[i]);
    }
}

static void siphash_uses_both_halves_of_its_seed(void **state)
{
    (void)state;
    static const uint8_t input[] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
    struct bytes slice = bytes_of(input, sizeof(input));
    assert_true(hash_bytes((struct hash_seed){0x41f6394f25dd9b43, 0xc64ae48da2032d08}, slice) ==
                0x9db4800c196517fb);
    uint64_t base = hash_bytes((struct hash_seed){1, 2}, slice);
    assert_true(base != hash_bytes((struct hash_seed){1, 3}, slice));
    assert_true(base != hash_bytes((struct hash_seed){0, 2}, slice));
    assert_true(base != hash_bytes((struct hash_seed){2, 1}, slice));
    assert_true(base == hash_bytes((struct hash_seed){1, 2}, slice));
}

static void slices_that_differ_in_length_or_a_bit_hash_apart(void **state)
{
    (void)state;
    struct hash_seed seed = {11, 22};
    uint8_t input[40] = {0};
    uint64_t seen[41];
    for (size_t len = 0; len <= sizeof(input); len++) {
        seen[len] = hash_bytes(seed, bytes_of(input, len));
        for (size_t other = 0; other < len; other++) {
            assert_true(seen[len] != seen[other]);
        }
    }
    for (size_t bit = 0; bit < sizeof(input) * 8; bit++) {
        input[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        int changed = __builtin_popcountll(hash_bytes(seed, bytes_of(input, 40)) ^ seen[40]);
        assert_in_range(changed, 10, 54);
        input[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    assert_true(hash_bytes(seed, (struct bytes){NULL, 0}) == seen[0]);
}

static void sequential_integers_spread_over_buckets(void **state)
{
    (void)state;
    unsigned buckets[64] = {0};
    for (uint64_t i = 0; i < 6400; i++) {
        buckets[hash_u64(i << 32) % 64]++;
    }
    for (size_t i = 0; i < 64; i++) {
        assert_in_range(buckets[i], 50, 150);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_map_agrees_with_a_naive_model),
        cmocka_unit_test(colliding_hashes_are_told_apart_by_key),
        cmocka_unit_test(a_zeroed_map_is_an_empty_map),
        cmocka_unit_test(expected_objects_cause_no_growth),
        cmocka_unit_test(removing_what_is_not_in_the_map_aborts),
        cmocka_unit_test(siphash_agrees_with_another_implementation),
        cmocka_unit_test(siphash_uses_both_halves_of_its_seed),
        cmocka_unit_test(slices_that_differ_in_length_or_a_bit_hash_apart),
        cmocka_unit_test(sequential_integers_spread_over_buckets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
