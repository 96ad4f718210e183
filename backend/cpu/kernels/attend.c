/* cache_write, attend: new keys and values into a cache, and attention of new queries over it. */
#include "vmath.h"
#include <string.h>

/* split[0]: (batch, time) rows of a task. */
static void plan_write(cpu_work *work)
{
    PARAM(cache_write);
    work->split[0] = cpu_share(16384, p->cols);
    work->tasks[0] = cpu_parts((uint64_t)p->batch * p->time, work->split[0]);
}

static void task_write(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot)
{
    (void)phase, (void)slot;
    PARAM(cache_write);
    const uint64_t n = p->cols, per = work->split[0], rows = (uint64_t)p->batch * p->time;
    const uint64_t end = cpu_least(rows, (index + 1) * per), half = p->batch * n * p->span;
    const integer first = INTEGERS(2)[0];
    for (uint64_t r = index * per; r < end; r++) {
        const integer t = first + (integer)(r % p->time);
        if (first < 0 || t >= (integer)p->span) continue;
        real *to = REALS(3) + (r / p->time * p->span + (uint64_t)t) * n;
        memcpy(to, REALS(0) + r * n, n * sizeof *to);
        memcpy(to + half, REALS(1) + r * n, n * sizeof *to);
    }
}

const cpu_kernel CPU(kernel_cache_write) = {plan_write, task_write};

/* split[0]: queries of a task. A query reads at most 2 span dim words of the cache. */
static void plan(cpu_work *work)
{
    PARAM(attend);
    work->split[0] = cpu_share(32768, (uint64_t)p->span * p->dim);
    work->tasks[0] = cpu_parts((uint64_t)p->batch * p->time * p->heads, work->split[0]);
    work->slot_bytes = p->span * sizeof(real);
}

static real dot(const real *a, const real *b, uint64_t n)
{
    real sum = 0;
    SIMD_SUM(sum) for (uint64_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

static void task(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot)
{
    (void)phase;
    PARAM(attend);
    const uint64_t n = p->dim, per = work->split[0], stride = (uint64_t)p->kv * n;
    const uint64_t rows = (uint64_t)p->batch * p->time * p->heads, group = p->heads / p->kv;
    const uint64_t end = cpu_least(rows, (index + 1) * per), half = p->batch * p->span * stride;
    real *weight = cpu_slot(work, slot);
    for (uint64_t r = index * per; r < end; r++) {
        const uint64_t h = r % p->heads, t = r / p->heads % p->time, b = r / p->heads / p->time;
        const uint64_t seen = cpu_least((uint64_t)INTEGERS(2)[0] + t + 1, p->span);
        const real *q = REALS(0) + r * n;
        const real *key = REALS(1) + b * p->span * stride + h / group * n, *value = key + half;
        real *y = REALS(3) + r * n, scale = p->scale, sum = 0;
        for (uint64_t j = 0; j < seen; j++) weight[j] = scale * dot(q, key + j * stride, n);
        real most = weight[0];
        SIMD_MAX(most)
        for (uint64_t j = 0; j < seen; j++) most = weight[j] > most ? weight[j] : most;
        SIMD_SUM(sum) for (uint64_t j = 0; j < seen; j++)
        {
            real e = cpu_exp(weight[j] - most);
            weight[j] = e;
            sum += e;
        }
        const real inverse = 1 / sum;
        memset(y, 0, n * sizeof *y);
        for (uint64_t j = 0; j < seen; j++) {
            const real w = weight[j] * inverse, *v = value + j * stride;
            SIMD for (uint64_t d = 0; d < n; d++) y[d] += w * v[d];
        }
    }
}

const cpu_kernel CPU(kernel_attend) = {plan, task};
