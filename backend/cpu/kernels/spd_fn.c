/* spd_fn: functions of symmetric positive semi-definite matrices, by LAPACK in double precision in
 * both builds. */
#include "kernel.h"
#include <cblas.h>
#include <lapacke.h>
#include <math.h>
#include <string.h>

enum { ROOT, POWER, TRACE };

static uint64_t lwork_of(uint64_t n)
{
    /* dsyev wants (block + 2) n, where 32 is LAPACK's block for dsytrd; dsyevr 26 n and 12 n whole
     * numbers, which fit beside */
    return 34 * n + 64;
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

/* Of S (n,n), symmetric, rows `step` apart: vectors as rows, values ascending. `other` (n,n) is
 * scratch. Where QR iteration does not converge, by relatively robust representations. */
static lapack_int decompose(const real *s, uint64_t step, uint64_t n, double *vectors,
    double *other, double *values, double *work)
{
    const lapack_int order = (lapack_int)n;
    lapack_int *whole = (lapack_int *)(void *)(work + 26 * n), found = 0, info = 1;
    for (int again = 0; again < 2 && info > 0; again++) {
        double *a = again ? other : vectors;
        bool finite = true;
        for (uint64_t i = 0; i < n; i++)
            for (uint64_t j = 0; j < n; j++) {
                a[i * n + j] = 0.5 * ((double)s[i * step + j] + (double)s[j * step + i]);
                finite &= isfinite(a[i * n + j]);
            }
        if (!finite) return -1;
        /* Column-major and row-major are the same for a symmetric matrix; eigenvectors come as
         * columns, which are our rows. */
        info = again ? LAPACKE_dsyevr_work(LAPACK_COL_MAJOR, 'V', 'A', 'U', order, a, order, 0, 0,
                           0, 0, 0, &found, values, vectors, order, whole, work,
                           (lapack_int)(26 * n), whole + 2 * n, (lapack_int)(10 * n))
                     : LAPACKE_dsyev_work(LAPACK_COL_MAJOR, 'V', 'U', order, a, order, values, work,
                           (lapack_int)lwork_of(n));
    }
    return info;
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

/* Rows and columns before those at the end that are all zero, as padding is; at least one. */
static uint64_t live_of(const real *s, uint64_t n)
{
    uint64_t live = n;
    for (bool zero = true; live > 1; live--) {
        for (uint64_t i = 0; i < n && zero; i++)
            zero = s[(live - 1) * n + i] == 0 && s[i * n + live - 1] == 0;
        if (!zero) break;
    }
    return live;
}

static void task(const cpu_work *work, uint32_t phase, uint32_t index, uint32_t slot)
{
    (void)phase;
    PARAM(spd_fn);
    const uint64_t all = p->n, words = all * all;
    const real *s = REALS(0) + index * words;
    const uint64_t n = live_of(s, all);
    double *vectors = cpu_slot(work, slot);
    double *scaled = vectors + words, *result = scaled + words, *values = result + words;
    real *y = REALS(2) + index * words;
    uint32_t op = work->tune[DART_SPD_FN_OP];
    lapack_int info = decompose(s, all, n, vectors, scaled, values, values + n);
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
    if (n < all) memset(y, 0, words * sizeof *y);
    for (uint64_t i = 0; i < n; i++)
        for (uint64_t j = 0; j < n; j++) y[i * all + j] = (real)result[i * n + j];
    for (uint64_t i = n; i < all; i++)
        y[i * all + i] = (real)function(op, 0, mu2, (double)p->power);
}

const cpu_kernel CPU(kernel_spd_fn) = {plan, task};
