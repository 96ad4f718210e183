/* map: a loop per row of map_ops.def and per way of finding b. */
#include "vmath.h"

#define EXP(x) cpu_exp(x)
#define SQRT(x) cpu_sqrt(x)
#define LOG(x) cpu_log(x)
#define NORMAL_CDF(x) cpu_normal_cdf(x)
#define ABS(x) ((x) < 0 ? -(x) : (x))
#define MAXF(x, y) ((x) > (y) ? (x) : (y))
#define MINF(x, y) ((x) < (y) ? (x) : (y))
#define SELECT(cond, x, y) ((cond) ? (x) : (y))
#define GELU_ARG(x) ((real)0.79788456080286535588 * ((x) + (real)0.044715 * (x) * (x) * (x)))

/* y[i] = f(a[i], b[i * b_step]), b_step 0 or 1. */
typedef void loop(
    uint64_t n, const real *a_, const real *b_, uint64_t b_step, real *y, real s, real t);

#define MAP(name, arity, expression, da, db)                                                       \
    static void map_##name(                                                                        \
        uint64_t n, const real *a_, const real *b_, uint64_t b_step, real *y, real s, real t)      \
    {                                                                                              \
        (void)s, (void)t;                                                                          \
        if (arity == 2 && !b_step) {                                                               \
            const real b = *b_;                                                                    \
            SIMD for (uint64_t i = 0; i < n; i++)                                                  \
            {                                                                                      \
                const real a = a_[i];                                                              \
                (void)a, (void)b;                                                                  \
                y[i] = (real)(expression);                                                         \
            }                                                                                      \
        } else {                                                                                   \
            SIMD for (uint64_t i = 0; i < n; i++)                                                  \
            {                                                                                      \
                const real a = a_[i], b = arity == 2 ? b_[i] : a;                                  \
                (void)a, (void)b;                                                                  \
                y[i] = (real)(expression);                                                         \
            }                                                                                      \
        }                                                                                          \
    }
#include "map_ops.def"
#undef MAP

static loop *const loops[] = {
#define MAP(name, ...) map_##name,
#include "map_ops.def"
#undef MAP
};

static const bool two_operands[] = {
#define MAP(name, arity, ...) (arity) == 2,
#include "map_ops.def"
#undef MAP
};

enum { PER_TASK = 16384 };

static void plan(cpu_work *work)
{
    PARAM(map);
    work->tasks[0] = cpu_parts(p->n, PER_TASK);
}

static void task(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot)
{
    (void)phase, (void)slot;
    PARAM(map);
    loop *run = loops[work->tune[DART_MAP_OP]];
    uint64_t i = (uint64_t)index * PER_TASK, end = cpu_least(p->n, i + PER_TASK);
    const real *a = REALS(0), *b = REALS(1);
    real *y = REALS(2);
    uint32_t kind = work->tune[DART_MAP_BC];
    if (kind == 0 || !two_operands[work->tune[DART_MAP_OP]]) {
        run(end - i, a + i, b + i, 1, y + i, p->s, p->t);
        return;
    }
    if (p->bmod == 1) { /* one number for all */
        run(end - i, a + i, b, 0, y + i, p->s, p->t);
        return;
    }
    uint64_t div = kind == 1 ? 1 : p->bdiv;
    while (i < end) { /* a run: b walks along a row, or stays */
        uint64_t j = i / div % p->bmod;
        uint64_t next = div == 1 ? i + p->bmod - j : (i / div + 1) * div;
        uint64_t n = cpu_least(next, end) - i;
        run(n, a + i, b + j, div == 1, y + i, p->s, p->t);
        i += n;
    }
}

const cpu_kernel CPU(kernel_map) = {plan, task};
