/* unpack: rows of a packed matrix as numbers (shaders/packed.def). */
#include "packed_numbers.h"

static void plan(cpu_work *work)
{
    PARAM(unpack);
    work->split[0] = cpu_share(16384, p->cols);
    work->tasks[0] = cpu_parts(p->rows, work->split[0]);
}

static void task(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot)
{
    (void)phase, (void)slot;
    PARAM(unpack);
    const bool by_id = work->tune[DART_UNPACK_BY_ID] != 0;
    uint64_t n = p->cols, per = work->split[0], end = cpu_least(p->rows, (index + 1) * per);
    for (uint64_t r = index * per; r < end; r++) {
        const integer id = by_id ? INTEGERS(0)[r] - (integer)p->first : (integer)r;
        real *y = REALS(2) + r * n;
        if (id >= 0 && (uint64_t)id < p->total)
            unpack_row(work->tune[DART_UNPACK_FORMAT], INTEGERS(1) + (uint64_t)id * p->pitch,
                p->codes, n, y);
        else if (p->first == 0)
            memset(y, 0, n * sizeof *y);
    }
}

const cpu_kernel CPU(kernel_unpack) = {plan, task};
