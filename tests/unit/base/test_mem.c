/* Tests of base/mem: the heap, arenas, pools. */
#include "mem/mem.h"

#include "death.h"
#include "rnd/rnd.h"
#include "test.h"

#include <string.h>

static bool all_zero(const void *memory, size_t size)
{
    const uint8_t *bytes = memory;
    for (size_t i = 0; i < size; i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    return true;
}

static void allocations_are_zeroed(void **state)
{
    (void)state;
    void *one = mem_alloc(1000);
    void *many = mem_alloc_array(10, 100);
    assert_true(all_zero(one, 1000));
    assert_true(all_zero(many, 1000));
    mem_free(one);
    mem_free(many);
    mem_free(NULL);
}

static void aligned_allocations_are_aligned_and_zeroed(void **state)
{
    (void)state;
    for (size_t alignment = 16; alignment <= 4096; alignment *= 2) {
        void *memory = mem_alloc_aligned(alignment, 100);
        assert_int_equal((uintptr_t)memory % alignment, 0);
        assert_true(all_zero(memory, 100));
        mem_free(memory);
    }
}

static void an_array_of_nothing_can_be_freed(void **state)
{
    (void)state;
    void *nothing = mem_alloc_array(0, 8);
    assert_non_null(nothing);
    mem_free(nothing);
}

static void resize_keeps_the_content(void **state)
{
    (void)state;
    uint8_t *memory = mem_resize(NULL, 4);
    memcpy(memory, "abcd", 4);
    memory = mem_resize(memory, 4000);
    assert_memory_equal(memory, "abcd", 4);
    memory = mem_resize(memory, 2);
    assert_memory_equal(memory, "ab", 2);
    mem_free(memory);
}

static void copies_are_terminated(void **state)
{
    (void)state;
    char *text = mem_strdup("hello");
    assert_string_equal(text, "hello");
    char *slice = mem_dup_bytes(bytes_from(BYTES_LITERAL("hello"), 3));
    assert_string_equal(slice, "lo");
    char *empty = mem_dup_bytes((struct bytes){NULL, 0});
    assert_string_equal(empty, "");
    mem_free(text);
    mem_free(slice);
    mem_free(empty);
}

static void allocate_nothing(void *size)
{
    mem_free(mem_alloc(*(size_t *)size));
}

static void allocate_overflowing_array(void *size)
{
    mem_free(mem_alloc_array(*(size_t *)size, 16));
}

static void misuse_and_overflow_abort(void **state)
{
    (void)state;
    size_t size = 0;
    assert_aborts(allocate_nothing, &size, "size > 0");
    size = SIZE_MAX / 8;
    assert_aborts(allocate_overflowing_array, &size, "out of memory");
}

static void arena_objects_are_aligned_and_do_not_overlap(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 256, 100000);
    uint8_t *objects[200];
    for (size_t i = 0; i < 200; i++) {
        objects[i] = arena_alloc(&arena, i);
        assert_int_equal((uintptr_t)objects[i] % 16, 0);
        memset(objects[i], (int)i, i);
    }
    for (size_t i = 0; i < 200; i++) {
        for (size_t k = 0; k < i; k++) {
            assert_int_equal(objects[i][k], i);
        }
    }
    arena_done(&arena);
}

static void arena_refuses_what_passes_its_max(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 64, 128);
    assert_null(arena_alloc(&arena, 129));
    volatile size_t huge = SIZE_MAX; /* hidden from the compiler, which would refuse it */
    assert_null(arena_alloc(&arena, huge));
    assert_non_null(arena_alloc(&arena, 100));
    assert_null(arena_alloc(&arena, 17));
    assert_non_null(arena_alloc(&arena, 16));
    assert_null(arena_alloc(&arena, 1));
    arena_reset(&arena);
    assert_non_null(arena_alloc(&arena, 128));
    arena_done(&arena);
}

static void a_warm_arena_reuses_its_memory(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 1024, 100000);
    void *first[20];
    for (size_t i = 0; i < 20; i++) {
        first[i] = arena_alloc(&arena, 500);
    }
    arena_reset(&arena);
    for (size_t i = 0; i < 20; i++) {
        assert_ptr_equal(arena_alloc(&arena, 500), first[i]);
    }
    arena_done(&arena);
}

/* Bytes that the arena holds, found by walking its lists as arena.c lays them out. */
static size_t chunks_held(const struct arena *arena)
{
    size_t count = 0;
    const void *chunk = arena->first;
    while (chunk != NULL) {
        count++;
        memcpy(&chunk, chunk, sizeof(chunk));
    }
    return count;
}

static void an_arena_holds_no_more_than_it_promises(void **state)
{
    (void)state;
    struct rnd rnd;
    rnd_init(&rnd, 12);

    enum {
        CHUNK = 256,
        MAX = 4096
    };
    struct arena arena;
    arena_init(&arena, CHUNK, MAX);
    for (int round = 0; round < 500; round++) {
        uint64_t largest = rnd_range(&rnd, 1, 2 * CHUNK);
        while (arena_alloc(&arena, rnd_range(&rnd, 1, largest)) != NULL) {
            assert_true(arena.used <= MAX);
        }
        assert_true(chunks_held(&arena) * CHUNK <= 2 * MAX + CHUNK);
        arena_reset(&arena);
        assert_null(arena.large);
        assert_int_equal(arena.used, 0);
    }
    arena_done(&arena);
}

static void arena_copies_slices_also_empty_ones(void **state)
{
    (void)state;
    struct arena arena;
    arena_init(&arena, 64, 64);
    uint8_t *copy = arena_dup(&arena, BYTES_LITERAL("abc"));
    assert_memory_equal(copy, "abc", 3);
    assert_non_null(arena_dup(&arena, (struct bytes){NULL, 0}));
    uint8_t large[100] = {0};
    assert_null(arena_dup(&arena, bytes_of(large, sizeof(large))));
    arena_done(&arena);
    arena_done(NULL);
}

static void pool_recycles_objects(void **state)
{
    (void)state;
    struct pool pool;
    pool_init(&pool, 40, 10, 1);
    void *a = pool_get(&pool);
    void *b = pool_get(&pool);
    assert_ptr_not_equal(a, b);
    pool_put(&pool, a);
    pool_put(&pool, b);
    assert_int_equal(pool.cached, 1);
    assert_ptr_equal(pool_get(&pool), a);
    assert_int_equal(pool.cached, 0);
    pool_put(&pool, a);
    pool_put(&pool, NULL);
    pool_done(&pool);
}

static void pool_refuses_more_than_its_live_max(void **state)
{
    (void)state;
    struct pool pool;
    pool_init(&pool, 1, 2, 2);
    void *a = pool_get(&pool);
    void *b = pool_get(&pool);
    assert_null(pool_get(&pool));
    pool_put(&pool, a);
    assert_ptr_equal(pool_get(&pool), a);
    pool_put(&pool, a);
    pool_put(&pool, b);
    pool_done(&pool);
}

static void finish_pool_with_live_objects(void *argument)
{
    (void)argument;
    struct pool pool;
    pool_init(&pool, 8, 2, 2);
    (void)pool_get(&pool);
    pool_done(&pool);
}

static void a_pool_is_not_finished_while_objects_are_out(void **state)
{
    (void)state;
    assert_aborts(finish_pool_with_live_objects, NULL, "live == 0");
}

#if defined(__SANITIZE_ADDRESS__)
#    define SANITIZED 1
#elif defined(__has_feature)
#    if __has_feature(address_sanitizer)
#        define SANITIZED 1
#    endif
#endif

static void use_after_arena_reset(void *argument)
{
    struct arena *arena = argument;
    volatile uint8_t *object = arena_alloc(arena, 100);
    arena_reset(arena);
    object[50] = 1;
}

static void use_after_pool_put(void *argument)
{
    (void)argument;
    struct pool pool;
    pool_init(&pool, 64, 2, 2);
    volatile uint8_t *object = pool_get(&pool);
    pool_put(&pool, (void *)(uintptr_t)object);
    object[32] = 1;
}

static void use_beyond_arena_object(void *argument)
{
    struct arena *arena = argument;
    volatile size_t size = 20;
    volatile uint8_t *object = arena_alloc(arena, size);
    object[20] = 1;
}

static void a_late_use_is_seen_by_the_sanitizer(void **state)
{
    (void)state;
#if defined(SANITIZED)
    struct arena arena;
    arena_init(&arena, 1024, 4096);
    assert_dies(use_after_arena_reset, &arena, "use-after-poison");
    assert_dies(use_after_pool_put, NULL, "use-after-poison");
    assert_dies(use_beyond_arena_object, &arena, "use-after-poison");
    arena_done(&arena);
#else
    (void)use_after_arena_reset;
    (void)use_after_pool_put;
    (void)use_beyond_arena_object;
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allocations_are_zeroed),
        cmocka_unit_test(aligned_allocations_are_aligned_and_zeroed),
        cmocka_unit_test(an_array_of_nothing_can_be_freed),
        cmocka_unit_test(resize_keeps_the_content),
        cmocka_unit_test(copies_are_terminated),
        cmocka_unit_test(misuse_and_overflow_abort),
        cmocka_unit_test(arena_objects_are_aligned_and_do_not_overlap),
        cmocka_unit_test(arena_refuses_what_passes_its_max),
        cmocka_unit_test(a_warm_arena_reuses_its_memory),
        cmocka_unit_test(an_arena_holds_no_more_than_it_promises),
        cmocka_unit_test(arena_copies_slices_also_empty_ones),
        cmocka_unit_test(pool_recycles_objects),
        cmocka_unit_test(pool_refuses_more_than_its_live_max),
        cmocka_unit_test(a_pool_is_not_finished_while_objects_are_out),
        cmocka_unit_test(a_late_use_is_seen_by_the_sanitizer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
