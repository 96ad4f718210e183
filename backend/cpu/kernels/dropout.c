/* dropout and uniform: Philox-4x32-10 (Salmon et al., SC 2011) in vector form; the words equal
 * Random123's. */
#include "kernel.h"

enum {
    BLOCK = 16,
    PER_TASK = 16384
}; /* counters in a block; elements in a task, a multiple of 4 BLOCK */

static void plan(cpu_work *work)
{
    PARAM(dropout);
    work->tasks[0] = cpu_parts(p->n, PER_TASK);
}

/* BLOCK consecutive counters from `first`; word[4 q + j] is word j of counter q. */
static void words_of(
    uint32_t first, const uint32_t rest[3], uint32_t k0, uint32_t k1, uint32_t *word)
{
    uint32_t c0[BLOCK], c1[BLOCK], c2[BLOCK], c3[BLOCK];
    for (uint32_t q = 0; q < BLOCK; q++) {
        c0[q] = first + q;
        c1[q] = rest[0];
        c2[q] = rest[1];
        c3[q] = rest[2];
    }
    for (int round = 0; round < 10; round++) {
        SIMD for (uint32_t q = 0; q < BLOCK; q++)
        {
            uint64_t a = (uint64_t)c0[q] * 0xD2511F53u, b = (uint64_t)c2[q] * 0xCD9E8D57u;
            c0[q] = (uint32_t)(b >> 32) ^ c1[q] ^ k0;
            c2[q] = (uint32_t)(a >> 32) ^ c3[q] ^ k1;
            c1[q] = (uint32_t)b;
            c3[q] = (uint32_t)a;
        }
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    for (uint32_t q = 0; q < BLOCK; q++) {
        word[4 * q] = c0[q];
        word[4 * q + 1] = c1[q];
        word[4 * q + 2] = c2[q];
        word[4 * q + 3] = c3[q];
    }
}

static void task(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot)
{
    (void)phase, (void)slot;
    PARAM(dropout);
    const integer *step = INTEGERS(1);
    const uint32_t rest[3] = {(uint32_t)step[DART_ISCAL_STEP], p->stream, 3};
    uint32_t k0 = (uint32_t)step[DART_ISCAL_SEED_LOW];
    uint32_t k1 = (uint32_t)step[DART_ISCAL_SEED_HIGH], word[4 * BLOCK];
    const real *x = REALS(0), keep = p->keep_scale;
    real *y = REALS(2);
    uint64_t i = (uint64_t)index * PER_TASK, end = cpu_least(p->n, i + PER_TASK);
    for (; i < end; i += 4 * BLOCK) {
        uint64_t n = cpu_least(end - i, 4 * BLOCK);
        words_of((uint32_t)(i / 4), rest, k0, k1, word);
        if (work->tune[DART_DROPOUT_ADD])
            for (uint64_t j = 0; j < n; j++)
                y[i + j] = (word[j] >= p->threshold ? x[i + j] * keep : 0) + REALS(3)[i + j];
        else
            for (uint64_t j = 0; j < n; j++)
                y[i + j] = word[j] >= p->threshold ? x[i + j] * keep : 0;
    }
}

const cpu_kernel CPU(kernel_dropout) = {plan, task};

static void plan_uniform(cpu_work *work)
{
    PARAM(uniform);
    work->tasks[0] = cpu_parts(p->n, PER_TASK);
}

static void task_uniform(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot)
{
    (void)phase, (void)slot;
    PARAM(uniform);
    const integer *step = INTEGERS(0);
    const uint32_t rest[3] = {(uint32_t)step[DART_ISCAL_STEP], p->stream, 5};
    uint32_t k0 = (uint32_t)step[DART_ISCAL_SEED_LOW];
    uint32_t k1 = (uint32_t)step[DART_ISCAL_SEED_HIGH], word[4 * BLOCK];
    real *y = REALS(1);
    uint64_t i = (uint64_t)index * PER_TASK, end = cpu_least(p->n, i + PER_TASK);
    for (; i < end; i += 4 * BLOCK) {
        uint64_t n = cpu_least(end - i, 4 * BLOCK);
        words_of((uint32_t)(i / 4), rest, k0, k1, word);
        for (uint64_t j = 0; j < n; j++)
            y[i + j] = ((real)(word[j] >> 9) + (real)0.5) * (real)0x1p-23;
    }
}

const cpu_kernel CPU(kernel_uniform) = {plan_uniform, task_uniform};
