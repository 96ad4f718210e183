/* fma_rate: eight chains of vectors as wide as the processor has them, so that none waits for
 * another. */
#include "kernel.h"
#include <string.h>

#if defined __AVX512F__
enum { BYTES = 64 };
#elif defined __AVX__
enum { BYTES = 32 };
#else
enum { BYTES = 16 };
#endif
enum { LANES = BYTES / sizeof(real), CHAINS = 8, STEPS = 4, PER_TASK = 64 * LANES };

typedef real vector __attribute__((vector_size(BYTES)));

static void plan(cpu_work *work)
{
    PARAM(fma_rate);
    work->tasks[0] = cpu_parts(p->n, PER_TASK);
}

static vector chains(vector x, uint32_t rounds, real a, real b)
{
    vector c[CHAINS];
    _Pragma("GCC unroll 8") for (int j = 0; j < CHAINS; j++) c[j] = x + (real)j;
    for (uint32_t r = 0; r < rounds; r++)
        _Pragma("GCC unroll 4") for (int s = 0; s < STEPS; s++)
            _Pragma("GCC unroll 8") for (int j = 0; j < CHAINS; j++) c[j] = c[j] * a + b;
    return ((c[0] + c[1]) + (c[2] + c[3])) + ((c[4] + c[5]) + (c[6] + c[7]));
}

static void task(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot)
{
    (void)phase, (void)slot;
    PARAM(fma_rate);
    const real *x = REALS(0);
    real *y = REALS(1);
    const uint64_t first = (uint64_t)index * PER_TASK, end = cpu_least(p->n, first + PER_TASK);
    for (uint64_t i = first; i < end; i += LANES) {
        const size_t bytes = (size_t)cpu_least(LANES, end - i) * sizeof *x;
        vector v = {0};
        memcpy(&v, x + i, bytes);
        v = chains(v, p->rounds, p->a, p->b);
        memcpy(y + i, &v, bytes);
    }
}

const cpu_kernel CPU(kernel_fma_rate) = {plan, task};
