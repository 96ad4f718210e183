/* Status sentences, arenas, heap, log. */
#include "log.h"
#include "mem.h"
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static _Thread_local char error_text[1024];
static _Thread_local char error_place[160];
static dart_log_fn log_to;
static void *log_user;
static int log_level;
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_uint_fast64_t allocations;

dart_status dart_fail_at(const char *file, int line, dart_status code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error_text, sizeof error_text, format, args);
    va_end(args);
    /* Sentences quote files of strangers, which must not move a terminal's cursor. */
    for (char *c = error_text; *c; c++)
        if ((unsigned char)*c < 32 || *c == 127) *c = *c == '\n' || *c == '\t' ? ' ' : '?';
    const char *base = strrchr(file, '/');
    snprintf(error_place, sizeof error_place, "%s:%d", base ? base + 1 : file, line);
    dart_log(2, "%s: %s", error_place, error_text);
    return code;
}

const char *dart_last_error(void)
{
    return error_text;
}

const char *dart_error_place(void)
{
    return error_place;
}

const char *dart_status_text(dart_status code)
{
    switch (code) {
#define X(name, value, text)                                                                       \
    case DART_##name:                                                                              \
        return text;
        DART_STATUS_MAP(X)
#undef X
    }
    return "unknown status";
}

const char *dart_version(void)
{
    return DART_VERSION;
}

uint32_t dart_version_number(void)
{
    return DART_VERSION_NUMBER;
}

void dart_set_log(dart_log_fn log, void *user, int level)
{
    pthread_mutex_lock(&log_lock);
    log_to = log;
    log_user = user;
    log_level = log ? level : 0;
    pthread_mutex_unlock(&log_lock);
}

void dart_log(int level, const char *format, ...)
{
    char line[2048];
    va_list args;
    if (level > log_level) return;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    pthread_mutex_lock(&log_lock);
    if (log_to)
        log_to(log_user, level, line);
    else
        fprintf(stderr, "%s\n", line);
    pthread_mutex_unlock(&log_lock);
}

typedef struct dart_arena_block {
    struct dart_arena_block *next;
    size_t size, used;
} block;

enum { BLOCK_BYTES = 1 << 16, ALIGN = 64 };

void *dart_arena_alloc(dart_arena *arena, size_t bytes)
{
    if (bytes > SIZE_MAX - 2 * ALIGN) {
        (void)dart_fail(DART_MEMORY, "out of memory: %zu bytes asked for", bytes);
        return NULL;
    }
    bytes = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    block *head = arena->head;
    if (!head || head->size - head->used < bytes) {
        size_t size = bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES;
        head = aligned_alloc(ALIGN, ALIGN + size);
        if (!head) {
            (void)dart_fail(DART_MEMORY, "out of memory: %zu bytes asked for", size);
            return NULL;
        }
        atomic_fetch_add(&allocations, 1);
        *head = (block){.next = arena->head, .size = size};
        arena->head = head;
    }
    void *result = (char *)head + ALIGN + head->used;
    head->used += bytes;
    return memset(result, 0, bytes);
}

void *dart_arena_alloc_n(dart_arena *arena, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes)) bytes = SIZE_MAX;
    return dart_arena_alloc(arena, bytes);
}

char *dart_arena_strdup(dart_arena *arena, const char *text)
{
    size_t n = strlen(text) + 1;
    char *copy = dart_arena_alloc(arena, n);
    return copy ? memcpy(copy, text, n) : NULL;
}

char *dart_arena_printf(dart_arena *arena, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    const int bytes = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = bytes < 0 ? NULL : dart_arena_alloc(arena, (size_t)bytes + 1);
    if (!text) return NULL;
    va_start(args, format);
    vsnprintf(text, (size_t)bytes + 1, format, args);
    va_end(args);
    return text;
}

void dart_arena_free(dart_arena *arena)
{
    for (block *b = arena->head; b;) {
        block *next = b->next;
        free(b);
        b = next;
    }
    arena->head = NULL;
}

void dart_huge_pages(void *memory, size_t bytes)
{
#ifdef MADV_HUGEPAGE
    const uintptr_t page = (uintptr_t)2 << 20, at = (uintptr_t)memory;
    const uintptr_t begin = (at + page - 1) & ~(page - 1), end = (at + bytes) & ~(page - 1);
    if (end > begin) (void)madvise((char *)memory + (begin - at), end - begin, MADV_HUGEPAGE);
#else
    (void)memory;
    (void)bytes;
#endif
}

void *dart_calloc(size_t count, size_t size)
{
    void *memory = calloc(count ? count : 1, size ? size : 1);
    atomic_fetch_add(&allocations, 1);
    if (!memory)
        (void)dart_fail(DART_MEMORY, "out of memory: %zu x %zu bytes asked for", count, size);
    else
        dart_huge_pages(memory, count * size);
    return memory;
}

void *dart_calloc_aligned(size_t count, size_t size)
{
    size_t bytes = 0;
    void *memory = NULL;
    if (!__builtin_mul_overflow(count, size, &bytes) && bytes <= SIZE_MAX - ALIGN)
        memory = aligned_alloc(ALIGN, dart_round_up(bytes ? bytes : 1, ALIGN));
    atomic_fetch_add(&allocations, 1);
    if (!memory) {
        (void)dart_fail(DART_MEMORY, "out of memory: %zu x %zu bytes asked for", count, size);
        return NULL;
    }
    dart_huge_pages(memory, bytes);
    return memset(memory, 0, bytes);
}

dart_status dart_grow(void **array, size_t *capacity, size_t need, size_t size)
{
    if (need <= *capacity) return DART_OK;
    size_t wanted = *capacity ? *capacity : 16;
    while (wanted < need) wanted *= 2;
    size_t bytes;
    if (__builtin_mul_overflow(wanted, size, &bytes))
        return dart_fail(DART_MEMORY, "out of memory: %zu x %zu bytes asked for", wanted, size);
    char *grown = realloc(*array, bytes);
    atomic_fetch_add(&allocations, 1);
    if (!grown) return dart_fail(DART_MEMORY, "out of memory: %zu bytes asked for", bytes);
    memset(grown + *capacity * size, 0, bytes - *capacity * size);
    *array = grown;
    *capacity = wanted;
    return DART_OK;
}

uint64_t dart_alloc_count(void)
{
    return atomic_load(&allocations);
}
