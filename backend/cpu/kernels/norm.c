/* norm, norm_dx, norm_dw: LayerNorm (KIND 0) and RMSNorm (KIND 1). */
#include "vmath.h"

typedef struct moments {
    real mean, rstd; /* mean is 0 for RMSNorm */
} moments;

static moments row_moments(const real *x, uint64_t n, bool rms, real eps)
{
    real sum = 0, squares = 0;
    if (!rms) SIMD_SUM(sum) for (uint64_t j = 0; j < n; j++) sum += x[j];
    real mean = sum / (real)n;
    SIMD_SUM(squares) for (uint64_t j = 0; j < n; j++) squares += (x[j] - mean) * (x[j] - mean);
    return (moments){mean, 1 / cpu_sqrt(squares / (real)n + eps)};
}

static void plan(cpu_work *work)
{
    PARAM(norm);
    work->split[0] = cpu_share(8192, p->cols);
    work->tasks[0] = cpu_parts(p->rows, work->split[0]);
}

static void task(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot)
{
    (void)phase, (void)slot;
    PARAM(norm);
    bool rms = work->tune[DART_NORM_KIND] != 0;
    const real *w = REALS(1), *b = REALS(2);
    uint64_t n = p->cols, per = work->split[0], end = cpu_least(p->rows, (index + 1) * per);
    for (uint64_t r = index * per; r < end; r++) {
        const real *x = REALS(0) + r * n;
        real *y = REALS(3) + r * n;
        moments m = row_moments(x, n, rms, p->eps);
        if (rms)
            SIMD for (uint64_t j = 0; j < n; j++) y[j] = x[j] * m.rstd * w[j];
        else
            SIMD for (uint64_t j = 0; j < n; j++) y[j] = (x[j] - m.mean) * m.rstd * w[j] + b[j];
    }
}

const cpu_kernel CPU(kernel_norm) = {plan, task};

static void plan_dx(cpu_work *work)
{
    PARAM(norm_dx);
    work->split[0] = cpu_share(8192, p->cols);
    work->tasks[0] = cpu_parts(p->rows, work->split[0]);
}

static void task_dx(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot)
{
    (void)phase, (void)slot;
    PARAM(norm_dx);
    bool rms = work->tune[DART_NORM_DX_KIND] != 0;
    const real *w = REALS(1);
    uint64_t n = p->cols, per = work->split[0], end = cpu_least(p->rows, (index + 1) * per);
    for (uint64_t r = index * per; r < end; r++) {
        const real *x = REALS(0) + r * n, *dy = REALS(2) + r * n;
        real *dx = REALS(3) + r * n, sum = 0, dot = 0;
        moments m = row_moments(x, n, rms, p->eps);
        PRAGMA(omp simd reduction(+ : sum, dot))
        for (uint64_t j = 0; j < n; j++) {
            real g = dy[j] * w[j];
            sum += g;
            dot += g * (x[j] - m.mean);
        }
        real mean_g = rms ? 0 : sum / (real)n, slope = dot * m.rstd * m.rstd / (real)n;
        if (work->tune[DART_NORM_DX_ADD])
            SIMD for (uint64_t j = 0; j < n; j++) dx[j] +=
                m.rstd * (dy[j] * w[j] - mean_g - (x[j] - m.mean) * slope);
        else
            SIMD for (uint64_t j = 0; j < n; j++) dx[j] =
                m.rstd * (dy[j] * w[j] - mean_g - (x[j] - m.mean) * slope);
    }
}

const cpu_kernel CPU(kernel_norm_dx) = {plan_dx, task_dx};

static void plan_dw(cpu_work *work)
{
    PARAM(norm_dw);
    work->tasks[0] = p->chunks;
}

static void task_dw(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot)
{
    (void)phase, (void)slot;
    PARAM(norm_dw);
    bool rms = work->tune[DART_NORM_DW_KIND] != 0;
    uint64_t n = p->cols, row = cpu_least((uint64_t)index * p->per, p->rows);
    uint64_t end = cpu_least(p->rows, row + p->per);
    real *dw = REALS(2) + (uint64_t)index * 2 * n, *db = dw + n;
    for (uint64_t j = 0; j < 2 * n; j++) dw[j] = 0;
    for (; row < end; row++) {
        const real *x = REALS(0) + row * n, *dy = REALS(1) + row * n;
        moments m = row_moments(x, n, rms, p->eps);
        SIMD for (uint64_t j = 0; j < n; j++)
        {
            dw[j] += dy[j] * (x[j] - m.mean) * m.rstd;
            db[j] += dy[j];
        }
    }
}

const cpu_kernel CPU(kernel_norm_dw) = {plan_dw, task_dw};
