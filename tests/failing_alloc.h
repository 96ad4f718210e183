/* Allocations of the whole program that fail at will. For one file of a program: it takes the place
 * of malloc. Sanitizers bring their own; there nothing fails. */
#ifndef FAILING_ALLOC_H
#define FAILING_ALLOC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>

/* The allocation number `fail_at` from now on fails, or all from that one on; 0: none. */
static atomic_ulong allocations, fail_at;
static atomic_bool fail_all;
static atomic_long live; /* blocks that are not freed yet */
#ifndef __SANITIZE_ADDRESS__
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);
void __libc_free(void *memory);

static bool fails(void)
{
    unsigned long at = atomic_load(&fail_at), n = atomic_fetch_add(&allocations, 1) + 1;
    return at && (n == at || (n > at && atomic_load(&fail_all)));
}

static void *counted(void *memory)
{
    if (memory) atomic_fetch_add(&live, 1);
    return memory;
}

void *malloc(size_t size)
{
    return fails() ? NULL : counted(__libc_malloc(size));
}
void *calloc(size_t count, size_t size)
{
    return fails() ? NULL : counted(__libc_calloc(count, size));
}
void *realloc(void *memory, size_t size)
{
    if (fails()) return NULL;
    return memory ? __libc_realloc(memory, size) : counted(__libc_realloc(memory, size));
}
void *aligned_alloc(size_t alignment, size_t size)
{
    return fails() ? NULL : counted(__libc_memalign(alignment, size));
}
void free(void *memory)
{
    if (memory) atomic_fetch_sub(&live, 1);
    __libc_free(memory);
}
#endif

static void start_failing(unsigned long at, bool all)
{
    atomic_store(&allocations, 0);
    atomic_store(&fail_all, all);
    atomic_store(&fail_at, at);
}

static unsigned long stop_failing(void)
{
    atomic_store(&fail_at, 0);
    return atomic_load(&allocations);
}

static inline long live_blocks(void)
{
    return atomic_load(&live);
}

#endif
