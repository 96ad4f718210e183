/* softmax, softmax_lengths, softmax_starts, softmax_dx: row by row, over the visible columns only.
 */
#include "vmath.h"
#include <string.h>

/* split[0]: rows of a task. */
static void plan_rows(cpu_work *work, uint64_t rows, uint64_t cols)
{
    work->split[0] = cpu_share(16384, cols);
    work->tasks[0] = cpu_parts(rows, work->split[0]);
}

static void plan(cpu_work *work)
{
    PARAM(softmax);
    plan_rows(work, p->rows, p->cols);
}

static void softmax_row(const real *x, real *y, uint64_t seen, uint64_t cols, real scale)
{
    real most = scale * x[0], sum = 0;
    SIMD_MAX(most)
    for (uint64_t j = 0; j < seen; j++) most = scale * x[j] > most ? scale * x[j] : most;
    SIMD_SUM(sum) for (uint64_t j = 0; j < seen; j++)
    {
        real e = cpu_exp(scale * x[j] - most);
        y[j] = e;
        sum += e;
    }
    real inverse = 1 / sum;
    SIMD for (uint64_t j = 0; j < seen; j++) y[j] *= inverse;
    for (uint64_t j = seen; j < cols; j++) y[j] = 0;
}

static void task(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot)
{
    (void)phase, (void)slot;
    PARAM(softmax);
    bool causal = work->tune[DART_SOFTMAX_CAUSAL] != 0;
    uint64_t per = work->split[0], end = cpu_least(p->rows, (index + 1) * per);
    for (uint64_t r = index * per; r < end; r++) {
        uint64_t seen = causal ? r % p->time + 1 + p->cols - p->time : p->cols;
        softmax_row(REALS(0) + r * p->cols, REALS(1) + r * p->cols, seen, p->cols, p->scale);
    }
}

const cpu_kernel CPU(kernel_softmax) = {plan, task};

static void plan_lengths(cpu_work *work)
{
    PARAM(softmax_lengths);
    plan_rows(work, p->rows, p->cols);
}

static void task_lengths(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot)
{
    (void)phase, (void)slot;
    PARAM(softmax_lengths);
    bool causal = work->tune[DART_SOFTMAX_LENGTHS_CAUSAL] != 0;
    uint64_t per = work->split[0], end = cpu_least(p->rows, (index + 1) * per);
    for (uint64_t r = index * per; r < end; r++) {
        integer length = INTEGERS(1)[r / p->per];
        uint64_t seen = length > 0 ? cpu_least((uint64_t)length, p->cols) : 0;
        if (causal) seen = cpu_least(seen, r % p->time + 1 + p->cols - p->time);
        real *y = REALS(2) + r * p->cols;
        if (seen)
            softmax_row(REALS(0) + r * p->cols, y, seen, p->cols, p->scale);
        else
            memset(y, 0, p->cols * sizeof *y);
    }
}

const cpu_kernel CPU(kernel_softmax_lengths) = {plan_lengths, task_lengths};

static void plan_starts(cpu_work *work)
{
    PARAM(softmax_starts);
    plan_rows(work, p->rows, p->cols);
}

static void task_starts(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot)
{
    (void)phase, (void)slot;
    PARAM(softmax_starts);
    uint64_t per = work->split[0], end = cpu_least(p->rows, (index + 1) * per);
    for (uint64_t r = index * per; r < end; r++) {
        const uint64_t t = r % p->time, reach = t + 1 + p->cols;
        const uint64_t seen = reach > p->time ? cpu_least(reach - p->time, p->cols) : 0;
        const integer start = INTEGERS(1)[r / p->per * p->time + t];
        const uint64_t from = start > 0 ? cpu_least((uint64_t)start, seen) : 0;
        real *y = REALS(2) + r * p->cols;
        memset(y, 0, from * sizeof *y);
        if (seen > from)
            softmax_row(
                REALS(0) + r * p->cols + from, y + from, seen - from, p->cols - from, p->scale);
        else
            memset(y, 0, p->cols * sizeof *y);
    }
}

const cpu_kernel CPU(kernel_softmax_starts) = {plan_starts, task_starts};

static void plan_dx(cpu_work *work)
{
    PARAM(softmax_dx);
    plan_rows(work, p->rows, p->cols);
}

static void task_dx(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot)
{
    (void)phase, (void)slot;
    PARAM(softmax_dx);
    uint64_t per = work->split[0], end = cpu_least(p->rows, (index + 1) * per), n = p->cols;
    const uint64_t side = work->lower[0];
    for (uint64_t r = index * per; r < end; r++) {
        const real *y = REALS(0) + r * n, *dy = REALS(1) + r * n;
        const uint64_t seen = side ? r % side + 1 : n;
        real *ds = REALS(2) + r * n, dot = 0, scale = p->scale;
        SIMD_SUM(dot) for (uint64_t j = 0; j < seen; j++) dot += y[j] * dy[j];
        SIMD for (uint64_t j = 0; j < seen; j++) ds[j] = scale * y[j] * (dy[j] - dot);
        for (uint64_t j = seen; j < n; j++) ds[j] = 0;
    }
}

const cpu_kernel CPU(kernel_softmax_dx) = {plan_dx, task_dx};
