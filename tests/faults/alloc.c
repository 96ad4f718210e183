/* Loaded before the C library (LD_PRELOAD): the k-th allocation since the start of main fails,
 * once. Counted are those that the program or a library that can report a failure asks for,
 * directly or through the C library (strdup, fopen, opendir ...); the README names the ones that
 * are left out.
 *
 *   DART_FAULT_COMMAND  the sub-command (first argument of the program) whose process is meant
 *   DART_FAULT_AT       k, from 1; 0: only count
 *   DART_FAULT_REPORT   at exit, "<allocations> <failed>" goes to this file; behind the line come
 *                       the frames above the one that failed, where DART_FAULT_TRACE is set
 */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>
#include "mark.h"

enum { MOST_RANGES = 256, FRAMES = 32 };

/* The allocator itself, under names that nobody else overrides. */
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

typedef struct range {
    uintptr_t begin, end;
    bool counted; /* false: looked through, as the C library */
} range;

static range ranges[MOST_RANGES];
static unsigned range_count;
static atomic_ulong seen;
static unsigned long at;
static atomic_bool armed, failed;
static bool trace;
static const char *report;
static void *frames[FRAMES];
static int frame_count;
static _Thread_local bool inside;

static bool named(const char *path, const char *start)
{
    const char *slash = strrchr(path, '/');
    return !strncmp(slash ? slash + 1 : path, start, strlen(start));
}

static int note_object(struct dl_phdr_info *info, size_t size, void *user)
{
    static const char *const counted[] = {"libdart.", "libjansson.", "libyaml-", "libxxhash.",
        "libz.", "libutf8proc.", "libpcre2-8.", "liblapacke."};
    static const char *const through[] = {"libc.so", "libpthread.", "ld-linux", "dart_fault_"};
    (void)size;
    bool first = range_count == 0, mine = first, passed = false;
    (void)user;
    for (size_t i = 0; i < sizeof counted / sizeof *counted; i++)
        mine |= named(info->dlpi_name, counted[i]);
    for (size_t i = 0; i < sizeof through / sizeof *through; i++)
        passed |= named(info->dlpi_name, through[i]);
    for (int i = 0; (mine || passed) && i < info->dlpi_phnum && range_count < MOST_RANGES; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type != PT_LOAD || !(part->p_flags & PF_X)) continue;
        uintptr_t begin = info->dlpi_addr + part->p_vaddr;
        ranges[range_count++] = (range){begin, begin + part->p_memsz, mine};
    }
    return 0;
}

static const range *range_of(const void *address)
{
    for (unsigned i = 0; i < range_count; i++)
        if ((uintptr_t)address >= ranges[i].begin && (uintptr_t)address < ranges[i].end)
            return &ranges[i];
    return NULL;
}

/* Whether the first frame that is not the C library's belongs to what is counted. */
static bool is_counted(const void *caller)
{
    const range *from = range_of(caller);
    void *frame[FRAMES];
    if (!from || from->counted) return from != NULL;
    const int n = backtrace(frame, FRAMES);
    for (int i = 0; i < n; i++) {
        from = range_of(frame[i]);
        if (!from || from->counted) return from != NULL;
    }
    return false;
}

static bool fails(const void *caller)
{
    if (!atomic_load(&armed) || inside) return false;
    inside = true;
    bool result = is_counted(caller) && atomic_fetch_add(&seen, 1) + 1 == at;
    if (result) {
        atomic_store(&failed, true);
        if (trace) frame_count = backtrace(frames, FRAMES);
        errno = ENOMEM;
    }
    inside = false;
    return result;
}

#define CALLER __builtin_return_address(0)

void *malloc(size_t size)
{
    return fails(CALLER) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return fails(CALLER) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    return fails(CALLER) ? NULL : __libc_realloc(old, size);
}

void *reallocarray(void *old, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || fails(CALLER)) {
        errno = ENOMEM;
        return NULL;
    }
    return __libc_realloc(old, bytes);
}

void *memalign(size_t alignment, size_t size)
{
    return fails(CALLER) ? NULL : __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return fails(CALLER) ? NULL : __libc_memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
    void *memory = fails(CALLER) ? NULL : __libc_memalign(alignment, size);
    if (!memory) return ENOMEM;
    *out = memory;
    return 0;
}

/* ---- from main to exit ---- */

static int (*real_main)(int, char **, char **);

static int counted_main(int argc, char **argv, char **environment)
{
    const char *command = getenv("DART_FAULT_COMMAND"), *k = getenv("DART_FAULT_AT");
    void *frame[2];
    (void)prctl(DART_FAULT_MARK);
    if (argc < 2 || !command || strcmp(argv[1], command)) return real_main(argc, argv, environment);
    at = k ? strtoul(k, NULL, 10) : 0;
    report = getenv("DART_FAULT_REPORT");
    trace = getenv("DART_FAULT_TRACE") != NULL;
    (void)backtrace(frame, 2); /* loads the unwinder, which allocates */
    dl_iterate_phdr(note_object, NULL);
    atomic_store(&armed, true);
    return real_main(argc, argv, environment);
}

__attribute__((destructor)) static void write_report(void)
{
    char line[64];
    if (!atomic_exchange(&armed, false) || !report) return;
    int file = open(report, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    int n = snprintf(line, sizeof line, "%lu %d\n", atomic_load(&seen), (int)atomic_load(&failed));
    if (file < 0 || write(file, line, (size_t)n) != n) _exit(99);
    backtrace_symbols_fd(frames, frame_count, file);
    close(file);
}

int __libc_start_main(int (*main_function)(int, char **, char **), int argc, char **argv,
    int (*init)(int, char **, char **), void (*fini)(void), void (*rtld_fini)(void),
    void *stack_end);

int __libc_start_main(int (*main_function)(int, char **, char **), int argc, char **argv,
    int (*init)(int, char **, char **), void (*fini)(void), void (*rtld_fini)(void),
    void *stack_end)
{
    typedef int (*start)(int (*)(int, char **, char **), int, char **,
        int (*)(int, char **, char **), void (*)(void), void (*)(void), void *);
    start next = (start)(uintptr_t)dlsym(RTLD_NEXT, "__libc_start_main");
    real_main = main_function;
    return next(counted_main, argc, argv, init, fini, rtld_fini, stack_end);
}
