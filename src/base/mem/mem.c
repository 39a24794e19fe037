/* The process heap: allocation that never fails, because failing is fatal.
 *
 * Place: base. Nothing else of the program calls malloc and its family. */
#include "mem/mem.h"

#include "check/check.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static _Noreturn void out_of_memory(size_t size)
{
    char text[96];
    int length =
        snprintf(text, sizeof(text), "out of memory: %zu bytes could not be allocated\n", size);
    if (length > 0 && write(STDERR_FILENO, text, (size_t)length) < 0) {
        /* Nobody is left to be told. */
    }
    abort();
}

void *mem_alloc(size_t size)
{
    CHECK(size > 0);
    void *memory = calloc(1, size);
    if (memory == NULL) {
        out_of_memory(size);
    }
    return memory;
}

void *mem_alloc_aligned(size_t alignment, size_t size)
{
    CHECK(size > 0);
    CHECK(alignment >= 16 && (alignment & (alignment - 1)) == 0);
    if (size > SIZE_MAX - alignment) {
        out_of_memory(size);
    }
    /* C17 7.22.3.1: portable sizes are multiples of the alignment. */
    size_t rounded = (size + alignment - 1) & ~(alignment - 1);
    void *memory = aligned_alloc(alignment, rounded);
    if (memory == NULL) {
        out_of_memory(size);
    }
    return memset(memory, 0, rounded);
}

void *mem_alloc_array(size_t count, size_t size)
{
    size_t product;
    if (__builtin_mul_overflow(count, size, &product)) {
        out_of_memory(SIZE_MAX);
    }
    return mem_alloc(product == 0 ? 1 : product);
}

void *mem_resize(void *old, size_t size)
{
    CHECK(size > 0);
    void *memory = realloc(old, size);
    if (memory == NULL) {
        out_of_memory(size);
    }
    return memory;
}

char *mem_strdup(const char *text)
{
    return mem_dup_bytes(bytes_of_str(text));
}

char *mem_dup_bytes(struct bytes slice)
{
    CHECK(slice.len < SIZE_MAX);
    char *copy = mem_resize(NULL, slice.len + 1);
    if (slice.len > 0) {
        memcpy(copy, slice.data, slice.len);
    }
    copy[slice.len] = '\0';
    return copy;
}

void mem_free(void *memory)
{
    free(memory);
}
