/* The parameter update: adamw, axpy_scalar, clip. */
#include "vmath.h"

enum { PER_TASK = 16384 };

static void plan(cpu_work *work)
{
    PARAM(adamw);
    work->tasks[0] = cpu_parts(p->n, PER_TASK);
}

static void task(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot)
{
    (void)phase, (void)slot;
    PARAM(adamw);
    uint64_t from = (uint64_t)index * PER_TASK, n = cpu_least(PER_TASK, p->n - from);
    real *w = REALS(0) + from, *m = REALS(2) + from, *v = m + p->stride;
    const real *g = REALS(1) + from, *step = REALS(3);
    const real rate = step[DART_FSCAL_RATE], c1 = step[DART_FSCAL_CORRECT1];
    const real c2 = step[DART_FSCAL_CORRECT2], clip = step[DART_FSCAL_MULTIPLIER];
    const real b1 = p->beta1, b2 = p->beta2, eps = p->eps, decay = p->decay;
    SIMD for (uint64_t i = 0; i < n; i++)
    {
        real d = g[i] * clip;
        real first = b1 * m[i] + (1 - b1) * d;
        real second = b2 * v[i] + (1 - b2) * d * d;
        m[i] = first;
        v[i] = second;
        w[i] -= rate * (first * c1 / (cpu_sqrt(second * c2) + eps) + decay * w[i]);
    }
}

const cpu_kernel CPU(kernel_adamw) = {plan, task};

static void plan_axpy(cpu_work *work)
{
    PARAM(axpy_scalar);
    work->tasks[0] = cpu_parts(p->n, PER_TASK);
}

static void task_axpy(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot)
{
    (void)phase, (void)slot;
    PARAM(axpy_scalar);
    uint64_t from = (uint64_t)index * PER_TASK, n = cpu_least(PER_TASK, p->n - from);
    const real *x = REALS(0) + from, factor = p->a * REALS(1)[p->slot];
    real *y = REALS(2) + from;
    SIMD for (uint64_t i = 0; i < n; i++) y[i] += factor * x[i];
}

const cpu_kernel CPU(kernel_axpy_scalar) = {plan_axpy, task_axpy};

static void plan_clip(cpu_work *work)
{
    work->tasks[0] = 1;
}

static void task_clip(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot)
{
    (void)phase, (void)index, (void)slot;
    PARAM(clip);
    real *step = REALS(1), before = step[DART_FSCAL_MICRO];
    real norm = cpu_sqrt(REALS(0)[0]) * before;
    real c = p->max_norm > 0 ? p->max_norm / (norm + (real)1e-6) : 1;
    step[DART_FSCAL_MULTIPLIER] = (c > 1 ? 1 : c) * before;
    step[DART_FSCAL_NORM] = norm;
}

const cpu_kernel CPU(kernel_clip) = {plan_clip, task_clip};
