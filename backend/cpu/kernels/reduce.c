/* reduce: sums of x, of squares, counts of numbers that are not finite, and largest magnitudes. */
#include "kernel.h"
#include <float.h>
#include <math.h>

#ifdef DART_F64
#define LARGEST DBL_MAX
#else
#define LARGEST FLT_MAX
#endif

enum { SUM, SQUARES, BAD, MAGNITUDE, INNER = 1024 };

static real magnitude(real x)
{
    return x < 0 ? -x : x;
}

/* split[0]: columns (inner) of a part; split[1]: rows (outer * chunks) of a task. */
static void plan(cpu_work *work)
{
    PARAM(reduce);
    work->split[0] = (uint32_t)cpu_least(p->inner, INNER);
    uint64_t rows = (uint64_t)p->outer * p->chunks;
    work->split[1] = cpu_share(16384, (uint64_t)p->per * work->split[0]);
    work->tasks[0] = cpu_parts(rows, work->split[1]) * cpu_parts(p->inner, work->split[0]);
}

static real along(const real *x, uint64_t n, uint32_t op)
{
    real r = 0;
    switch (op) {
    case SUM:
        SIMD_SUM(r) for (uint64_t i = 0; i < n; i++) r += x[i];
        break;
    case SQUARES:
        SIMD_SUM(r) for (uint64_t i = 0; i < n; i++) r += x[i] * x[i];
        break;
    case BAD:
        SIMD_SUM(r) for (uint64_t i = 0; i < n; i++) r += magnitude(x[i]) <= LARGEST ? 0 : 1;
        break;
    default:
        SIMD_MAX(r) for (uint64_t i = 0; i < n; i++) r = magnitude(x[i]) > r ? magnitude(x[i]) : r;
    }
    return r;
}

/* y[0..n) combines rows of x, `inner` apart. */
static void across(const real *x, uint64_t rows, uint64_t inner, real *y, uint64_t n, uint32_t op)
{
    for (uint64_t i = 0; i < n; i++) y[i] = 0;
    for (uint64_t r = 0; r < rows; r++, x += inner) switch (op) {
        case SUM:
            SIMD for (uint64_t i = 0; i < n; i++) y[i] += x[i];
            break;
        case SQUARES:
            SIMD for (uint64_t i = 0; i < n; i++) y[i] += x[i] * x[i];
            break;
        case BAD:
            SIMD for (uint64_t i = 0; i < n; i++) y[i] += magnitude(x[i]) <= LARGEST ? 0 : 1;
            break;
        default:
            SIMD for (uint64_t i = 0; i < n; i++) y[i] =
                magnitude(x[i]) > y[i] ? magnitude(x[i]) : y[i];
        }
}

static void task(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot)
{
    (void)phase, (void)slot;
    PARAM(reduce);
    uint32_t op = work->tune[DART_REDUCE_OP];
    uint64_t columns = cpu_parts(p->inner, work->split[0]), rows = (uint64_t)p->outer * p->chunks;
    uint64_t i0 = index % columns * work->split[0];
    uint64_t n = cpu_least(work->split[0], p->inner - i0);
    uint64_t row = index / columns * work->split[1], end = cpu_least(rows, row + work->split[1]);
    for (; row < end; row++) {
        uint64_t o = row / p->chunks, chunk = row % p->chunks, m0 = chunk * p->per;
        m0 = cpu_least(m0, p->mid);
        uint64_t mid = cpu_least(p->per, p->mid - m0);
        const real *x = REALS(0) + (o * p->mid + m0) * p->inner + i0;
        real *y = REALS(1) + o * p->apart + chunk * p->inner + i0;
        if (p->inner == 1)
            y[0] = along(x, mid, op);
        else
            across(x, mid, p->inner, y, n, op);
        for (uint64_t i = 0; i < n; i++) y[i] *= p->scale;
    }
}

const cpu_kernel CPU(kernel_reduce) = {plan, task};
