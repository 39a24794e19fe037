/* Marks for AddressSanitizer: memory that an arena or a pool holds but has not handed out.
 *
 * Place: base/mem only. Without them a use after arena_reset or pool_put would go unseen, because
 * the memory was never freed. They compile to nothing in builds without the sanitizer. */
#ifndef MEM_MEM_PRIV_H
#define MEM_MEM_PRIV_H

#if defined(__has_feature)
#    if __has_feature(address_sanitizer)
#        define MEM_SANITIZED 1
#    endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#    define MEM_SANITIZED 1
#endif

#if defined(MEM_SANITIZED)
#    include <sanitizer/asan_interface.h>
#    define MEM_FORBID(memory, size) __asan_poison_memory_region((memory), (size))
#    define MEM_ALLOW(memory, size)  __asan_unpoison_memory_region((memory), (size))
#else
#    define MEM_FORBID(memory, size) ((void)(memory), (void)(size))
#    define MEM_ALLOW(memory, size)  ((void)(memory), (void)(size))
#endif

#endif
