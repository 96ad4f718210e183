/* spd_fn: functions of symmetric positive semi-definite matrices, by LAPACK in double precision in
 * both builds. */
#include "kernel.h"
#include <cblas.h>
#include <lapacke.h>
#include <math.h>

enum { ROOT, POWER, TRACE };

static uint64_t lwork_of(uint64_t n)
{
    return 34 * n + 64; /* dsyev wants (block + 2) n; 32 is LAPACK's block for dsytrd */
}

/* Scratch of a thread: vectors (n,n), scaled vectors (n,n), result (n,n), eigenvalues (n),
 * LAPACK's. */
static void plan(cpu_work *work)
{
    PARAM(spd_fn);
    uint64_t n = p->n;
    work->tasks[0] = p->batch;
    work->slot_bytes = dart_round_up((3 * n * n + n + lwork_of(n)) * sizeof(double), 64);
}

static double function(uint32_t op, double w, double mu2, double power)
{
    switch (op) {
    case ROOT:
        return sqrt(w);
    case POWER:
        return power == -0.5 ? 1 / sqrt(w + mu2) : pow(w + mu2, power);
    default:
        return power == 0 ? log1p(w / mu2) : pow(mu2, power) * expm1(power * log1p(w / mu2));
    }
}

static void task(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot)
{
    (void)phase;
    PARAM(spd_fn);
    uint64_t n = p->n, words = n * n;
    double *vectors = (double *)(void *)(work->scratch + slot * work->slot_bytes);
    double *scaled = vectors + words, *result = scaled + words, *values = result + words;
    const real *s = REALS(0) + index * words;
    real *y = REALS(2) + index * words;
    uint32_t op = work->tune[DART_SPD_FN_OP];
    for (uint64_t i = 0; i < n; i++)
        for (uint64_t j = 0; j < n; j++)
            vectors[i * n + j] = 0.5 * ((double)s[i * n + j] + (double)s[j * n + i]);
    /* Column-major and row-major are the same for a symmetric matrix; eigenvectors come as columns,
     * which are our rows. */
    lapack_int info = LAPACKE_dsyev_work(LAPACK_COL_MAJOR, 'V', 'U', (lapack_int)n, vectors,
        (lapack_int)n, values, values + n, (lapack_int)lwork_of(n));
    double largest = info == 0 && values[n - 1] > 0 ? values[n - 1] : 0;
    double mu2 = (double)p->mu * (double)p->mu * largest + (op == ROOT ? 0 : 1e-30), sum = 0;
    for (uint64_t v = 0; v < n; v++) {
        double w = info ? NAN : function(op, values[v] > 0 ? values[v] : 0, mu2, (double)p->power);
        sum += w;
        for (uint64_t i = 0; i < n; i++) scaled[v * n + i] = w * vectors[v * n + i];
    }
    if (op == TRACE) {
        y[0] = (real)sum;
        return;
    }
    cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)n, (int)n, (int)n, 1, vectors, (int)n,
        scaled, (int)n, 0, result, (int)n);
    for (uint64_t i = 0; i < words; i++) y[i] = (real)result[i];
}

const cpu_kernel CPU(kernel_spd_fn) = {plan, task};
