/* norm, norm_dx, norm_dw: LayerNorm (KIND 0) and RMSNorm (KIND 1). */
#include "halves.h"
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

/* Row r of n numbers, by way of `room` where they have 16 bits. */
static const real *row_of(uint32_t kind, void *x, uint64_t r, uint64_t n, real *room)
{
    if (!kind) return (const real *)x + r * n;
    numbers_of_halves(kind, x, r * n, n, room);
    return room;
}

/* Room for rows of 16 bits as numbers. */
static uint64_t room_for(uint64_t rows, uint64_t n)
{
    return rows * dart_round_up(n * sizeof(real), 64);
}

static void plan(cpu_work *work)
{
    PARAM(norm);
    work->split[0] = cpu_share(8192, p->cols);
    work->tasks[0] = cpu_parts(p->rows, work->split[0]);
    if (work->tune[DART_NORM_XH] || work->tune[DART_NORM_YH])
        work->slot_bytes = room_for(2, p->cols);
}

static void task(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot)
{
    (void)phase;
    PARAM(norm);
    bool rms = work->tune[DART_NORM_KIND] != 0;
    const uint32_t xh = work->tune[DART_NORM_XH], yh = work->tune[DART_NORM_YH];
    real *room = cpu_slot(work, slot);
    const real *w = REALS(1), *b = REALS(2);
    uint64_t n = p->cols, per = work->split[0], end = cpu_least(p->rows, (index + 1) * per);
    for (uint64_t r = index * per; r < end; r++) {
        const real *x = row_of(xh, work->buf[0], r, n, room);
        real *y = yh ? room + room_for(1, n) / sizeof(real) : REALS(3) + r * n;
        moments m = row_moments(x, n, rms, p->eps);
        if (rms)
            SIMD for (uint64_t j = 0; j < n; j++) y[j] = x[j] * m.rstd * w[j];
        else
            SIMD for (uint64_t j = 0; j < n; j++) y[j] = (x[j] - m.mean) * m.rstd * w[j] + b[j];
        if (yh) halves_of_numbers(yh, y, n, work->buf[3], r * n);
    }
}

const cpu_kernel CPU(kernel_norm) = {plan, task};

static void plan_dx(cpu_work *work)
{
    PARAM(norm_dx);
    work->split[0] = cpu_share(8192, p->cols);
    work->tasks[0] = cpu_parts(p->rows, work->split[0]);
    if (work->tune[DART_NORM_DX_XH]) work->slot_bytes = room_for(1, p->cols);
}

static void task_dx(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot)
{
    (void)phase;
    PARAM(norm_dx);
    bool rms = work->tune[DART_NORM_DX_KIND] != 0;
    const real *w = REALS(1);
    uint64_t n = p->cols, per = work->split[0], end = cpu_least(p->rows, (index + 1) * per);
    for (uint64_t r = index * per; r < end; r++) {
        const real *dy = REALS(2) + r * n;
        const real *x =
            row_of(work->tune[DART_NORM_DX_XH], work->buf[0], r, n, cpu_slot(work, slot));
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
    if (work->tune[DART_NORM_DW_XH]) work->slot_bytes = room_for(1, p->cols);
}

static void task_dw(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot)
{
    (void)phase;
    PARAM(norm_dw);
    bool rms = work->tune[DART_NORM_DW_KIND] != 0;
    uint64_t n = p->cols, row = cpu_least((uint64_t)index * p->per, p->rows);
    uint64_t end = cpu_least(p->rows, row + p->per);
    real *dw = REALS(2) + (uint64_t)index * 2 * n, *db = dw + n;
    for (uint64_t j = 0; j < 2 * n; j++) dw[j] = 0;
    for (; row < end; row++) {
        const real *dy = REALS(1) + row * n;
        const real *x =
            row_of(work->tune[DART_NORM_DW_XH], work->buf[0], row, n, cpu_slot(work, slot));
        moments m = row_moments(x, n, rms, p->eps);
        SIMD for (uint64_t j = 0; j < n; j++)
        {
            dw[j] += dy[j] * (x[j] - m.mean) * m.rstd;
            db[j] += dy[j];
        }
    }
}

const cpu_kernel CPU(kernel_norm_dw) = {plan_dw, task_dw};
