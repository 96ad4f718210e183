/* pack: numbers in 16 bits. */
#include "halves.h"

enum { PER_TASK = 32768 };

static void plan(cpu_work *work)
{
    PARAM(pack);
    work->tasks[0] = cpu_parts(p->n, PER_TASK);
}

static void task(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot)
{
    (void)phase, (void)slot;
    PARAM(pack);
    const uint32_t kind = work->tune[DART_PACK_FORMAT] + 1;
    const uint64_t i = (uint64_t)index * PER_TASK, end = cpu_least(p->n, i + PER_TASK);
    integer *w = work->buf[1];
    halves_of_numbers(kind, REALS(0) + i, end - i, w, i);
    if (end == p->n && p->n % 2) halves_of_numbers(kind, (const real[]){0}, 1, w, p->n);
}

const cpu_kernel CPU(kernel_pack) = {plan, task};
