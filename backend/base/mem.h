/* Arenas (many small allocations freed together) and checked sizes. An arena is one lifetime: a run
 * or a stage. Nothing here is used inside a training step. */
#ifndef DART_MEM_H
#define DART_MEM_H

#include "status.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct dart_arena {
    struct dart_arena_block *head; /* owned */
} dart_arena;

/* Zero-initialise a dart_arena to open it. Memory is zeroed and 64-byte aligned. Returns NULL when
 * out of memory (and records the sentence). */
void *dart_arena_alloc(dart_arena *arena, size_t bytes);
char *dart_arena_strdup(dart_arena *arena, const char *text);
char *dart_arena_printf(dart_arena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void dart_arena_free(dart_arena *arena); /* frees all; the arena may be used again */
#define DART_NEW(arena, type, count) ((type *)dart_arena_alloc_n((arena), (count), sizeof(type)))
void *dart_arena_alloc_n(dart_arena *arena, size_t count, size_t size); /* overflow-checked */

/* Heap with the same contract (zeroed, sentence on failure, overflow-checked); free with free(). */
void *dart_calloc(size_t count, size_t size);
/* The same, 64-byte aligned, as drivers want memory of the host that they work in. */
void *dart_calloc_aligned(size_t count, size_t size);
/* Asks the system for large pages inside memory that has not been touched yet: a page fault for 2
 * MiB instead of 4 KiB. Memory behaves as before; a no-op where the system has no such pages. */
void dart_huge_pages(void *memory, size_t bytes);
/* Grows *array (elements of `size` bytes) so that it holds `need`; doubles. New elements are zero.
 */
dart_status dart_grow(void **array, size_t *capacity, size_t need, size_t size);

static inline bool dart_mul_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool dart_add_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}
static inline uint64_t dart_round_up(uint64_t x, uint64_t multiple)
{
    return (x + multiple - 1) / multiple * multiple;
}

/* Number of heap allocations made through this header and by counted drivers since start; a test
 * asserts that it does not move inside a training step. */
uint64_t dart_alloc_count(void);

#endif
