/* map: a loop per row of map_ops.def and per way of finding b. */
#include "halves.h"
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

enum { PER_TASK = 16384, ROOM = 1024 };

static void plan(cpu_work *work)
{
    PARAM(map);
    work->tasks[0] = cpu_parts(p->n, PER_TASK);
}

/* Places at .. at + n of a buffer as numbers, by way of `room` where they have 16 bits. */
static const real *numbers(uint32_t kind, void *of, uint64_t at, uint64_t n, real *room)
{
    if (!kind) return (const real *)of + at;
    numbers_of_halves(kind, of, at, n, room);
    return room;
}

/* n places of y and a from i on; b goes along from j on, or stays there. */
static void places(const cpu_work *work, uint64_t i, uint64_t j, uint64_t n, bool along)
{
    PARAM(map);
    loop *run = loops[work->tune[DART_MAP_OP]];
    const uint32_t ah = work->tune[DART_MAP_AH], bh = work->tune[DART_MAP_BH];
    const uint32_t yh = work->tune[DART_MAP_YH];
    const bool two = two_operands[work->tune[DART_MAP_OP]];
    if (!ah && !bh && !yh) {
        run(n, REALS(0) + i, REALS(1) + j, along, REALS(2) + i, p->s, p->t);
        return;
    }
    for (uint64_t end = i + n, m; i < end; i += m, j += along ? m : 0) {
        real a_room[ROOM], b_room[ROOM], y_room[ROOM];
        m = cpu_least(end - i, ROOM);
        const real *a = numbers(ah, work->buf[0], i, m, a_room);
        const real *b = two ? numbers(bh, work->buf[1], j, along ? m : 1, b_room) : a;
        run(m, a, b, along, yh ? y_room : REALS(2) + i, p->s, p->t);
        if (yh) halves_of_numbers(yh, y_room, m, work->buf[2], i);
    }
}

static void task(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot)
{
    (void)phase, (void)slot;
    PARAM(map);
    uint64_t i = (uint64_t)index * PER_TASK, end = cpu_least(p->n, i + PER_TASK);
    uint32_t kind = work->tune[DART_MAP_BC];
    if (kind == 0 || !two_operands[work->tune[DART_MAP_OP]]) {
        places(work, i, i, end - i, true);
        return;
    }
    if (p->bmod == 1) { /* one number for all */
        places(work, i, 0, end - i, false);
        return;
    }
    uint64_t div = kind == 1 ? 1 : p->bdiv;
    while (i < end) { /* a run: b walks along a row, or stays */
        uint64_t j = i / div % p->bmod;
        uint64_t next = div == 1 ? i + p->bmod - j : (i / div + 1) * div;
        uint64_t n = cpu_least(next, end) - i;
        places(work, i, j, n, div == 1);
        i += n;
    }
}

const cpu_kernel CPU(kernel_map) = {plan, task};
