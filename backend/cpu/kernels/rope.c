/* rope: rotary positions, half-split. */
#include "kernel.h"

/* split[0]: (batch, time) positions of a task. */
static void plan(cpu_work *work)
{
    PARAM(rope);
    work->split[0] = cpu_share(16384, (uint64_t)p->heads * p->dim);
    work->tasks[0] = cpu_parts((uint64_t)p->batch * p->time, work->split[0]);
}

static void task(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot)
{
    (void)phase, (void)slot;
    PARAM(rope);
    uint64_t half = p->dim / 2, per = work->split[0], rows = (uint64_t)p->batch * p->time;
    uint64_t end = cpu_least(rows, (index + 1) * per);
    real sign = p->sign;
    for (uint64_t r = index * per; r < end; r++) {
        const real *angle = REALS(1) + r % p->time * p->dim;
        for (uint64_t h = 0; h < p->heads; h++) {
            const real *x = REALS(0) + (r * p->heads + h) * p->dim;
            real *y = REALS(2) + (r * p->heads + h) * p->dim;
            SIMD for (uint64_t i = 0; i < half; i++)
            {
                real low = x[i], high = x[i + half], c = angle[2 * i], s = sign * angle[2 * i + 1];
                y[i] = low * c - high * s;
                y[i + half] = high * c + low * s;
            }
        }
    }
}

const cpu_kernel CPU(kernel_rope) = {plan, task};
