/* What the driver of the CPU backend and its kernels share. The driver is compiled once, the
 * kernels once per instruction set and once in double precision: nothing here depends on the
 * precision. */
#ifndef DART_CPU_H
#define DART_CPU_H

#include "backend.h"
#include "step_block.h"

/* A launch as it is replayed. `tasks` is set by the kernel's plan, in which order numbers are
 * summed by the launch alone. */
typedef struct cpu_work {
    dart_kernel kernel;
    uint32_t threads;  /* that will share the tasks */
    uint32_t tasks[2]; /* of two phases, one after the other; the second may be 0 */
    /* The side of squares in a buffer of which nothing above the diagonal counts: it is zero, or,
     * in what a product makes, not read. 0: all counts. Of gemm and softmax_dx. */
    uint32_t lower[3];
    uint32_t split[4]; /* how the kernel cut its work; its own meaning */
    uint32_t tune[DART_MAX_TUNE];
    uint32_t param[DART_MAX_PARAM_BYTES / 4];
    void *buf[DART_MAX_BUFS];
    char *scratch;               /* of the program; launches run one by one, so all share it */
    uint64_t shared_bytes;       /* of the launch, at its start: a multiple of 64 where */
    uint64_t slot_bytes;         /* each thread has scratch behind it (cpu_slot) */
    const struct cpu_work *next; /* a launch that this one's tasks do as well; it has none left */
} cpu_work;

typedef struct cpu_kernel {
    void (*plan)(cpu_work *work);
    void (*task)(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot);
    /* Can one launch do what `first` and then `next` do, if nothing between them hinders it? And
     * makes `next` that launch. NULL: never. */
    bool (*joins)(const cpu_work *first, const cpu_work *next);
    void (*join)(cpu_work *first, cpu_work *next);
} cpu_kernel;

/* The scratch that a thread has to itself. */
static inline void *cpu_slot(const cpu_work *work, uint32_t slot)
{
    return work->scratch + work->shared_bytes + slot * work->slot_bytes;
}

/* Threads. run() calls task(work, phase, 0..tasks-1, slot) on all of them and returns when all is
 * done. */
typedef struct cpu_pool cpu_pool;
DART_NODISCARD dart_status dart_cpu_pool_open(uint32_t threads, cpu_pool **out_pool);
void dart_cpu_pool_close(cpu_pool *pool);
void dart_cpu_pool_run(
    cpu_pool *pool, const cpu_kernel *kernel, const cpu_work *work, uint32_t phase);

#endif
