/* cross_entropy: logits against integer labels, with their gradient where it is wanted; columns
 * from `valid` on are padding. */
#include "vmath.h"

/* A part of a row at a time: what is far below the largest of a whole vocabulary would be lost one
 * by one beside it. */
enum { TOGETHER = 256 };

/* The sum of exp(x[j] - most); y, where it is not NULL, becomes these exponentials, and may be x.
 */
INLINE real sum_of_exp(const real *x, uint64_t n, real most, real *y)
{
    double sum = 0;
    for (uint64_t from = 0; from < n; from += TOGETHER) {
        const uint64_t end = cpu_least(n, from + TOGETHER);
        real part = 0;
        SIMD_SUM(part) for (uint64_t j = from; j < end; j++)
        {
            const real e = cpu_exp(x[j] - most);
            if (y) y[j] = e;
            part += e;
        }
        sum += part;
    }
    return (real)sum;
}

static void plan(cpu_work *work)
{
    PARAM(cross_entropy);
    work->split[0] = cpu_share(16384, p->cols);
    work->tasks[0] = cpu_parts(p->rows, work->split[0]);
}

/* dx holds exponentials whose sum is `sum`. */
static void gradient(const cross_entropy_params *p, integer label, real sum, real *dx)
{
    const real scale = p->scale, shrink = scale / sum;
    const real flat = scale * ((real)p->smoothing / (real)p->valid);
    const real keep = 1 - (real)p->smoothing;
    const uint64_t live = label >= 0 && (uint64_t)label < p->valid ? p->valid : 0;
    SIMD for (uint64_t j = 0; j < live; j++) dx[j] = shrink * dx[j] - flat;
    for (uint64_t j = live; j < p->cols; j++) dx[j] = 0;
    if (live) dx[label] -= scale * keep;
}

/* The largest logit less the label's, a part of it the mean of what all are below the largest. */
static real below_most(const cross_entropy_params *p, const real *x, integer label, real most)
{
    const real smoothing = p->smoothing, loss = most - x[label];
    if (!(smoothing > 0)) return loss;
    real below = 0;
    SIMD_SUM(below) for (uint64_t j = 0; j < p->valid; j++) below += most - x[j];
    return (1 - smoothing) * loss + smoothing * (below / (real)p->valid);
}

/* The other valid columns that are not below the label's. */
static real rank_of(const cross_entropy_params *p, const real *x, integer label)
{
    const real mine = x[label];
    real count = -1;
    SIMD_SUM(count) for (uint64_t j = 0; j < p->valid; j++) count += x[j] >= mine ? 1 : 0;
    return count;
}

static void task(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot)
{
    (void)phase, (void)slot;
    PARAM(cross_entropy);
    const bool grad = work->tune[DART_CROSS_ENTROPY_GRAD] != 0;
    const bool rank = work->tune[DART_CROSS_ENTROPY_RANK] != 0;
    uint64_t per = work->split[0], end = cpu_least(p->rows, (index + 1) * per);
    for (uint64_t r = index * per; r < end; r++) {
        const real *x = REALS(0) + r * p->cols;
        const integer label = INTEGERS(1)[r];
        real *dx = grad ? REALS(3) + r * p->cols : NULL; /* may be x */
        real most = x[0];
        SIMD_MAX(most) for (uint64_t j = 0; j < p->valid; j++) most = x[j] > most ? x[j] : most;
        const bool counts = label >= 0 && (uint64_t)label < p->valid;
        const real below = counts ? below_most(p, x, label, most) : 0;
        const real before = counts && rank ? rank_of(p, x, label) : (real)p->valid;
        const real sum =
            grad ? sum_of_exp(x, p->valid, most, dx) : sum_of_exp(x, p->valid, most, NULL);
        const real all = cpu_log(sum);
        REALS(2)[r] = most + all;
        REALS(2)[p->rows + r] = counts ? below + all : 0;
        if (rank) REALS(2)[2ull * p->rows + r] = before;
        if (grad) gradient(p, label, sum, dx);
    }
}

const cpu_kernel CPU(kernel_cross_entropy) = {plan, task};
