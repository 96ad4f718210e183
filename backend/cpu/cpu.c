/* The CPU backend's functions, of the devices "cpu" and "cpu64". Buffers are plain memory; a
 * program is the launches with their pointers resolved and one scratch area that the largest launch
 * needs. */
#include "clock.h"
#include "isa.h"
#include "join.h"
#include "threads.h"
#include "triangle.h"
#include <cblas.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_BUFFERS = 4096, MAX_THREADS = 256, ALIGN = 256 };

typedef struct cpu_device {
    dart_device base;
    cpu_pool *pool;
    const cpu_kernel *const *kernels; /* (DART_KERNELS) */
    void *buffer[MAX_BUFFERS];        /* handle 0 is none */
    void *
        block[MAX_BUFFERS]; /* what calloc gave: the buffer begins at its first multiple of ALIGN */
} cpu_device;

struct dart_program {
    uint32_t count;
    char *scratch;
    cpu_work work[];
};

extern const cpu_kernel *const dart_cpu_f64_kernels[DART_KERNELS];

static void processor_name(char *out, size_t size)
{
    snprintf(out, size, "CPU");
    /* Without memory: it is among the names that a device is known by. */
    int file = open("/proc/cpuinfo", O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    char text[4096];
    ssize_t got = read(file, text, sizeof text - 1);
    close(file);
    text[got > 0 ? got : 0] = 0;
    const char *line = strstr(text, "\nmodel name"), *colon = line ? strchr(line, ':') : NULL;
    if (!colon) return;
    colon += 1 + strspn(colon + 1, " ");
    snprintf(out, size, "%.*s", (int)strcspn(colon, "\n"), colon);
}

static uint32_t thread_count(void)
{
    uint32_t count = dart_host_threads();
    return count > MAX_THREADS ? MAX_THREADS : count;
}

static void fill_caps(dart_caps *caps, const char *isa, uint32_t word)
{
    processor_name(caps->name, sizeof caps->name);
    const char *config = openblas_get_config(); /* "OpenBLAS 0.3.21 NO_LAPACKE ..." */
    const char *end = strchr(config, ' ');
    end = end ? strchr(end + 1, ' ') : NULL;
    snprintf(caps->driver, sizeof caps->driver, "%.*s, %s kernels",
        (int)(end ? (size_t)(end - config) : strlen(config)), config, isa);
    snprintf(caps->api, sizeof caps->api, "C11 threads");
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    caps->memory = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
    caps->max_alloc = caps->memory;
    caps->max_binding = caps->memory;
    for (int d = 0; d < 3; d++) caps->max_groups[d] = UINT32_MAX;
    caps->max_invocations = 1024;
    caps->max_shared = 65536;
    caps->max_buffers = DART_MAX_BUFS;
    caps->max_params = DART_MAX_PARAM_BYTES;
    caps->offset_align = ALIGN;
    caps->word = word;
    caps->on_cpu = true;
}

static dart_status open_device(const char *isa, const cpu_kernel *const *kernels, uint32_t word,
    const dart_limits *limits, dart_device **out_device)
{
    cpu_device *device = dart_calloc(1, sizeof *device);
    if (!device) return DART_MEMORY;
    openblas_set_num_threads(1); /* our own threads call it, on parts of fixed size */
    device->kernels = kernels;
    fill_caps(&device->base.caps, isa, word);
    device->base.caps.threads = thread_count();
    dart_caps_limit(&device->base.caps, limits);
    dart_status status = dart_cpu_pool_open(device->base.caps.threads, &device->pool);
    if (status != DART_OK) {
        free(device);
        return status;
    }
    *out_device = &device->base;
    return DART_OK;
}

static dart_status open_single(uint32_t index, const dart_limits *limits, dart_device **out_device)
{
    const dart_cpu_isa *isa;
    if (index) return DART_FAILED;
    DART_TRY(dart_cpu_isa_choose(getenv("DART_CPU_ISA"), &isa));
    return open_device(isa->name, isa->kernels, sizeof(float), limits, out_device);
}

static dart_status open_double(uint32_t index, const dart_limits *limits, dart_device **out_device)
{
    if (index) return DART_FAILED;
    return open_device("f64", dart_cpu_f64_kernels, sizeof(double), limits, out_device);
}

static void close_device(dart_device *base)
{
    cpu_device *device = (cpu_device *)base;
    dart_cpu_pool_close(device->pool);
    for (int b = 0; b < MAX_BUFFERS; b++) free(device->block[b]);
    free(device);
}

static dart_status free_handle(const cpu_device *device, dart_buffer *out)
{
    dart_buffer b = 1;
    while (b < MAX_BUFFERS && device->buffer[b]) b++;
    if (b == MAX_BUFFERS)
        return dart_fail(DART_MEMORY, "the CPU device has at most %d buffers", MAX_BUFFERS - 1);
    *out = b;
    return DART_OK;
}

static dart_status alloc_buffer(
    dart_device *base, dart_mem kind, uint64_t words, dart_buffer *out_buffer)
{
    (void)kind;
    cpu_device *device = (cpu_device *)base;
    dart_buffer b = 0;
    DART_TRY(free_handle(device, &b));
    size_t bytes = (size_t)dart_round_up(words * base->caps.word, ALIGN);
    /* Large blocks of calloc are pages that the system zeroes when they are first touched: a
     * selection that remakes all buffers does not write them all first. */
    char *memory = calloc(1, bytes + ALIGN);
    if (!memory)
        return dart_fail(
            DART_MEMORY, "out of memory: a buffer of %.1f MiB", (double)bytes / 0x1p20);
    dart_huge_pages(memory, bytes + ALIGN);
    device->block[b] = memory;
    device->buffer[b] = memory + (ALIGN - (uintptr_t)memory % ALIGN) % ALIGN;
    *out_buffer = b;
    return DART_OK;
}

static dart_status share_buffer(
    dart_device *base, uint64_t words, float *data, dart_buffer *out_buffer)
{
    (void)words;
    cpu_device *device = (cpu_device *)base;
    DART_TRY(free_handle(device, out_buffer));
    device->buffer[*out_buffer] = data;
    return DART_OK;
}

static void free_buffer(dart_device *base, dart_buffer buffer)
{
    cpu_device *device = (cpu_device *)base;
    free(device->block[buffer]);
    device->block[buffer] = device->buffer[buffer] = NULL;
}

static void *word_at(const cpu_device *device, dart_buffer buffer, uint64_t offset)
{
    return (char *)device->buffer[buffer] + offset * device->base.caps.word;
}

static dart_status write_words(
    dart_device *base, dart_buffer buffer, uint64_t offset, uint64_t words, const void *data)
{
    cpu_device *device = (cpu_device *)base;
    void *to = word_at(device, buffer, offset);
    if (to != data) memcpy(to, data, (size_t)words * base->caps.word);
    return DART_OK;
}

static dart_status read_words(
    dart_device *base, dart_buffer buffer, uint64_t offset, uint64_t words, void *data)
{
    cpu_device *device = (cpu_device *)base;
    memcpy(data, word_at(device, buffer, offset), (size_t)words * base->caps.word);
    return DART_OK;
}

static dart_status build_program(
    dart_device *base, const dart_launch *list, uint32_t count, dart_program **out_program)
{
    cpu_device *device = (cpu_device *)base;
    dart_program *program = dart_calloc(1, sizeof *program + count * sizeof(cpu_work));
    if (!program) return DART_MEMORY;
    program->count = count;
    uint64_t scratch = 0;
    for (uint32_t i = 0; i < count; i++) {
        const dart_launch *launch = &list[i];
        cpu_work *work = &program->work[i];
        work->kernel = launch->kernel;
        work->threads = base->caps.threads;
        memcpy(work->tune, launch->tune, sizeof work->tune);
        memcpy(work->param, launch->param, sizeof work->param);
        for (uint32_t b = 0; b < launch->buffers; b++)
            work->buf[b] = word_at(device, launch->buf[b].buffer, launch->buf[b].offset);
        device->kernels[work->kernel]->plan(work);
        uint64_t bytes = work->shared_bytes + work->slot_bytes * base->caps.threads;
        if (bytes > scratch) scratch = bytes;
    }
    dart_status status = dart_cpu_triangles(list, program->work, count);
    if (status == DART_OK) status = dart_cpu_join(device->kernels, list, program->work, count);
    if (status != DART_OK) {
        free(program);
        return status;
    }
    if (scratch) {
        program->scratch = aligned_alloc(64, (size_t)dart_round_up(scratch, 64));
        if (!program->scratch) {
            free(program);
            return dart_fail(DART_MEMORY, "out of memory: %.1f MiB of scratch for a program",
                (double)scratch / 0x1p20);
        }
        for (uint32_t i = 0; i < count; i++) program->work[i].scratch = program->scratch;
    }
    *out_program = program;
    return DART_OK;
}

/* seconds: NULL, or an entry a launch. */
static void run_program(dart_device *base, const dart_program *program, double *seconds)
{
    cpu_device *device = (cpu_device *)base;
    base->submits++;
    for (uint32_t i = 0; i < program->count; i++) {
        const cpu_work *work = &program->work[i];
        const cpu_kernel *kernel = device->kernels[work->kernel];
        double start = seconds ? dart_seconds() : 0;
        dart_cpu_pool_run(device->pool, kernel, work, 0);
        if (work->tasks[1]) dart_cpu_pool_run(device->pool, kernel, work, 1);
        if (seconds) seconds[i] = dart_seconds() - start;
    }
}

/* All of it at once: the caller's thread is one of those that compute (NOTES.md). */
static dart_status submit_program(
    dart_device *base, dart_program *program, const dart_fetch *fetch, uint32_t fetches)
{
    (void)fetch, (void)fetches;
    run_program(base, program, NULL);
    return DART_OK;
}

static dart_status time_program(dart_device *base, dart_program *program, double *seconds)
{
    run_program(base, program, seconds);
    return DART_OK;
}

static void drop_program(dart_device *base, dart_program *program)
{
    (void)base;
    free(program->scratch);
    free(program);
}

#define BACKEND(title, opener, sharer)                                                             \
    {                                                                                              \
        .name = title, .open = opener, .close = close_device, .alloc = alloc_buffer,               \
        .share = sharer, .free = free_buffer, .write = write_words, .read = read_words,            \
        .build = build_program, .submit = submit_program, .time = time_program,                    \
        .drop = drop_program                                                                       \
    }
extern const dart_backend dart_backend_cpu, dart_backend_cpu64;
const dart_backend dart_backend_cpu = BACKEND("cpu", open_single, share_buffer);
const dart_backend dart_backend_cpu64 = BACKEND("cpu64", open_double, NULL);
