/* The entry cache: payloads that the apply thread still reads stay, whatever becomes of the log. */
#include "engine/engine_cache.h"
#include "test.h"

#include <string.h>

enum {
    PAYLOAD = 40000 /* two entries do not share a chunk */
};

static void append(struct engine_cache *cache, uint8_t fill)
{
    static uint8_t payload[PAYLOAD];
    memset(payload, fill, sizeof(payload));
    engine_cache_append(
        cache, &(struct cached_entry){
                   .term = 1, .payload = payload, .size = PAYLOAD, .kind = RAFT_ENTRY_COMMAND});
}

static void assert_holds(const uint8_t *payload, uint8_t fill)
{
    for (size_t i = 0; i < PAYLOAD; i++) {
        assert_int_equal(payload[i], fill);
    }
}

static void payloads_before_a_snapshot_stay_until_they_are_applied(void **state)
{
    (void)state;
    struct engine_cache cache;
    engine_cache_init(&cache, 0);
    append(&cache, 1);
    append(&cache, 2);
    const uint8_t *second = engine_cache_at(&cache, 2)->payload;
    engine_cache_reset(&cache, 10);
    for (uint8_t i = 0; i < 8; i++) {
        append(&cache, 100);
    }
    engine_cache_evict(&cache, 1, PAYLOAD); /* entry 1 is applied, entry 2 is not */
    assert_holds(second, 2);
    engine_cache_done(&cache);
}

static void payloads_before_a_snapshot_survive_a_cut_of_the_log_after_it(void **state)
{
    (void)state;
    struct engine_cache cache;
    engine_cache_init(&cache, 0);
    append(&cache, 1);
    const uint8_t *first = engine_cache_at(&cache, 1)->payload;
    engine_cache_reset(&cache, 10);
    append(&cache, 100);
    engine_cache_truncate(&cache, 11);
    append(&cache, 101);
    append(&cache, 102);
    assert_holds(first, 1);
    assert_holds(engine_cache_at(&cache, 12)->payload, 102);
    engine_cache_done(&cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(payloads_before_a_snapshot_stay_until_they_are_applied),
        cmocka_unit_test(payloads_before_a_snapshot_survive_a_cut_of_the_log_after_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
