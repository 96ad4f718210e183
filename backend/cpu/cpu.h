/* Inside of the CPU backend. Its files are compiled twice, in single and (DART_F64) in double
 * precision; CPU(x) keeps the symbols of the two apart. */
#ifndef DART_CPU_H
#define DART_CPU_H

#include "backend.h"

#ifdef DART_F64
#define CPU(name) dart_cpu64_##name
typedef double real;
typedef int64_t integer;
typedef uint64_t bits;
#else
#define CPU(name) dart_cpu_##name
typedef float real;
typedef int32_t integer;
typedef uint32_t bits;
#endif

/* A loop whose iterations touch distinct elements: `y` may be the very array `x`, element by
 * element. */
#define SIMD _Pragma("omp simd")
#define PRAGMA(text) _Pragma(#text)
#define SIMD_SUM(variable) PRAGMA(omp simd reduction(+ : variable))
#define SIMD_MAX(variable) PRAGMA(omp simd reduction(max : variable))

/* A launch as it is replayed. `tasks` is set by the kernel's plan from the launch alone. */
typedef struct cpu_work {
    dart_kernel kernel;
    uint32_t tasks[2]; /* of two phases, one after the other; the second may be 0 */
    uint32_t split[4]; /* how the kernel cut its work; its own meaning */
    uint32_t tune[DART_MAX_TUNE];
    uint32_t param[DART_MAX_PARAM_BYTES / 4];
    void *buf[DART_MAX_BUFS];
    char *scratch;         /* of the program; launches run one by one, so all share it */
    uint64_t slot_bytes;   /* scratch of one thread starts at slot * slot_bytes */
    uint64_t shared_bytes; /* or scratch of the launch, at its start */
} cpu_work;

typedef struct cpu_kernel {
    void (*plan)(cpu_work *work);
    void (*task)(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot);
} cpu_kernel;

#define K(name) extern const cpu_kernel CPU(kernel_##name);
#include "kernels_list.inc"
#undef K

/* The parameters and buffers of a launch by type. */
#define PARAM(kernel) const kernel##_params *p = (const kernel##_params *)(const void *)work->param
#define REALS(slot) ((real *)work->buf[slot])
#define INTEGERS(slot) ((const integer *)work->buf[slot])

/* Items in a task such that it touches about `words` words. */
static inline uint32_t cpu_share(uint64_t words, uint64_t words_per_item)
{
    if (!words_per_item || words_per_item >= words) return 1;
    return (uint32_t)(words / words_per_item);
}

static inline uint32_t cpu_parts(uint64_t items, uint64_t per)
{
    return (uint32_t)((items + per - 1) / per);
}

static inline uint64_t cpu_least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* Threads. run() calls task(work, phase, 0..tasks-1, slot) on all of them and returns when all is
 * done. */
typedef struct cpu_pool cpu_pool;
dart_status CPU(pool_open)(uint32_t threads, cpu_pool **out_pool);
void CPU(pool_close)(cpu_pool *pool);
void CPU(pool_run)(cpu_pool *pool, const cpu_kernel *kernel, const cpu_work *work, uint32_t phase);

#endif
