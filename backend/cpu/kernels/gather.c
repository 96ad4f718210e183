/* gather and scatter: rows of a table by integer ids, and the gradient. */
#include "kernel.h"
#include <string.h>

static void plan(cpu_work *work)
{
    PARAM(gather);
    work->split[0] = cpu_share(16384, p->cols);
    work->tasks[0] = cpu_parts(p->rows, work->split[0]);
}

/* Rows of one word, as chains are padded with. */
static void single_words(const cpu_work *work, uint64_t from, uint64_t end)
{
    PARAM(gather);
    const integer *ids = INTEGERS(0);
    const real *w = REALS(1);
    real *y = REALS(2);
    for (uint64_t r = from; r < end; r++) {
        const uint64_t id = (uint64_t)(ids[r] - (integer)p->first);
        if (id < p->vocab)
            y[r] = w[id];
        else if (p->first == 0)
            y[r] = 0;
    }
}

static void task(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot)
{
    (void)phase, (void)slot;
    PARAM(gather);
    uint64_t n = p->cols, per = work->split[0], end = cpu_least(p->rows, (index + 1) * per);
    if (n == 1) {
        single_words(work, index * per, end);
        return;
    }
    for (uint64_t r = index * per; r < end; r++) {
        integer id = INTEGERS(0)[r] - (integer)p->first;
        real *y = REALS(2) + r * n;
        if (id >= 0 && (uint64_t)id < p->vocab)
            memcpy(y, REALS(1) + (uint64_t)id * n, n * sizeof *y);
        else if (p->first == 0)
            memset(y, 0, n * sizeof *y);
    }
}

const cpu_kernel CPU(kernel_gather) = {plan, task};

static void plan_back(cpu_work *work)
{
    PARAM(scatter);
    work->split[0] = cpu_share(16384, p->cols);
    work->tasks[0] = cpu_parts(p->count, work->split[0]);
}

static void task_back(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot)
{
    (void)phase, (void)slot;
    PARAM(scatter);
    const integer *start = INTEGERS(0), *place = start + p->vocab + 1;
    uint64_t n = p->cols, per = work->split[0], end = cpu_least(p->count, (index + 1) * per);
    for (uint64_t v = index * per; v < end; v++) {
        real *dw = REALS(2) + v * n;
        if (work->tune[DART_SCATTER_ADD] == 0) memset(dw, 0, n * sizeof *dw);
        for (integer j = start[p->first + v]; j < start[p->first + v + 1]; j++) {
            const real *dy = REALS(1) + (uint64_t)place[j] * n;
            SIMD for (uint64_t c = 0; c < n; c++) dw[c] += dy[c];
        }
    }
}

const cpu_kernel CPU(kernel_scatter) = {plan_back, task_back};
