/* cross_entropy, cross_entropy_dx: logits against integer labels; columns from `valid` on are
 * padding. */
#include "vmath.h"

static void plan(cpu_work *work)
{
    PARAM(cross_entropy);
    work->split[0] = cpu_share(16384, p->cols);
    work->tasks[0] = cpu_parts(p->rows, work->split[0]);
}

static void task(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot)
{
    (void)phase, (void)slot;
    PARAM(cross_entropy);
    uint64_t per = work->split[0], end = cpu_least(p->rows, (index + 1) * per);
    for (uint64_t r = index * per; r < end; r++) {
        const real *x = REALS(0) + r * p->cols;
        integer label = INTEGERS(1)[r];
        real most = x[0], sum = 0;
        SIMD_MAX(most) for (uint64_t j = 0; j < p->valid; j++) most = x[j] > most ? x[j] : most;
        SIMD_SUM(sum) for (uint64_t j = 0; j < p->valid; j++) sum += cpu_exp(x[j] - most);
        real all = most + cpu_log(sum), *stats = REALS(2) + 2 * r, smoothing = p->smoothing;
        stats[0] = all;
        stats[1] = label >= 0 && (uint64_t)label < p->valid ? all - x[label] : 0;
        if (smoothing > 0 && label >= 0 && (uint64_t)label < p->valid) {
            real below = 0;
            SIMD_SUM(below) for (uint64_t j = 0; j < p->valid; j++) below += most - x[j];
            below = below / (real)p->valid + all - most;
            stats[1] = (1 - smoothing) * stats[1] + smoothing * below;
        }
    }
}

const cpu_kernel CPU(kernel_cross_entropy) = {plan, task};

static void plan_dx(cpu_work *work)
{
    PARAM(cross_entropy_dx);
    work->split[0] = cpu_share(16384, p->cols);
    work->tasks[0] = cpu_parts(p->rows, work->split[0]);
}

static void task_dx(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot)
{
    (void)phase, (void)slot;
    PARAM(cross_entropy_dx);
    uint64_t per = work->split[0], end = cpu_least(p->rows, (index + 1) * per);
    for (uint64_t r = index * per; r < end; r++) {
        const real *x = REALS(0) + r * p->cols;
        real *dx = REALS(3) + r * p->cols, all = REALS(1)[2 * r], scale = p->scale;
        real flat = (real)p->smoothing / (real)p->valid, keep = 1 - (real)p->smoothing;
        integer label = INTEGERS(2)[r];
        uint64_t live = label >= 0 && (uint64_t)label < p->valid ? p->valid : 0;
        SIMD for (uint64_t j = 0; j < live; j++) dx[j] = scale * (cpu_exp(x[j] - all) - flat);
        for (uint64_t j = live; j < p->cols; j++) dx[j] = 0;
        if (live) dx[label] -= scale * keep;
    }
}

const cpu_kernel CPU(kernel_cross_entropy_dx) = {plan_dx, task_dx};
