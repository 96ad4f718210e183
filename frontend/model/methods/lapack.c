#include "lapack.h"
#include "mem.h"
#include <cblas.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

dart_status dart_lapack_check(lapack_int info, const char *routine, const double *a, size_t words)
{
    if (info == 0) return DART_OK;
    if (info == LAPACK_WORK_MEMORY_ERROR || info == LAPACK_TRANSPOSE_MEMORY_ERROR)
        return dart_fail(DART_MEMORY, "LAPACK %s ran out of memory", routine);
    for (size_t i = 0; i < words; i++)
        if (!isfinite(a[i]))
            return dart_fail(DART_DIVERGED,
                "the cores of a chain have values that are not finite (found by LAPACK %s); try a "
                "smaller --learning-rate or more --warmup-steps",
                routine);
    return dart_fail(DART_FAILED,
        "LAPACK %s did not converge (code %d), although all values that it was given are finite",
        routine, (int)info);
}

dart_status dart_lapack_svd(
    uint32_t m, uint32_t n, const double *a, double *u, double *s, double *vt)
{
    dart_status status = DART_OK;
    const lapack_int rows = (lapack_int)m, columns = (lapack_int)n,
                     r = rows < columns ? rows : columns;
    const size_t words = (size_t)m * n;
    double *copy = dart_calloc(words, sizeof *copy), *rest = dart_calloc((size_t)r, sizeof *rest);
    if (!copy || !rest) {
        status = dart_fail(DART_MEMORY, "out of memory for the SVD of a %u x %u core", m, n);
        goto done;
    }
    memcpy(copy, a, words * sizeof *copy);
    lapack_int info =
        LAPACKE_dgesdd(LAPACK_ROW_MAJOR, 'S', rows, columns, copy, columns, s, u, r, vt, columns);
    if (info > 0) {
        memcpy(copy, a, words * sizeof *copy);
        info = LAPACKE_dgesvd(
            LAPACK_ROW_MAJOR, 'S', 'S', rows, columns, copy, columns, s, u, r, vt, columns, rest);
    }
    status = dart_lapack_check(info, info > 0 ? "dgesvd" : "dgesdd", a, words);
done:
    free(copy);
    free(rest);
    return status;
}

dart_status dart_lapack_orthonormal(uint32_t m, uint32_t n, double *a)
{
    const lapack_int rows = (lapack_int)m, columns = (lapack_int)n;
    const size_t words = (size_t)m * n;
    double *tau = dart_calloc(n, sizeof *tau);
    if (!tau) return dart_fail(DART_MEMORY, "out of memory for the QR of a %u x %u matrix", m, n);
    dart_status status = dart_lapack_check(
        LAPACKE_dgeqrf(LAPACK_ROW_MAJOR, rows, columns, a, columns, tau), "dgeqrf", a, words);
    if (status == DART_OK)
        status = dart_lapack_check(
            LAPACKE_dorgqr(LAPACK_ROW_MAJOR, rows, columns, columns, a, columns, tau), "dorgqr", a,
            words);
    free(tau);
    return status;
}

dart_status dart_lapack_eigen_top(uint32_t k, double *g, uint32_t r, double *value, double *z)
{
    lapack_int found = 0, *support = dart_calloc(2 * (size_t)r, sizeof *support);
    double *w = dart_calloc(k, sizeof *w), *ascending = dart_calloc((size_t)k * r, sizeof *w);
    dart_status status = support && w && ascending ? DART_OK : DART_MEMORY;
    if (status == DART_OK)
        status = dart_lapack_check(LAPACKE_dsyevr(LAPACK_ROW_MAJOR, 'V', 'I', 'U', (lapack_int)k, g,
                                       (lapack_int)k, 0, 0, (lapack_int)(k - r + 1), (lapack_int)k,
                                       0, &found, w, ascending, (lapack_int)r, support),
            "dsyevr", g, (size_t)k * k);
    for (uint32_t j = 0; status == DART_OK && j < r; j++) {
        value[j] = w[r - 1 - j];
        for (uint32_t i = 0; i < k; i++)
            z[(size_t)i * r + j] = ascending[(size_t)i * r + r - 1 - j];
    }
    free(support);
    free(w);
    free(ascending);
    return status;
}

dart_status dart_lapack_svd_top(
    uint32_t m, uint32_t n, const double *a, uint32_t r, double *u, double *s, double *vt)
{
    dart_status status = DART_OK;
    const bool wide = m <= n;
    const uint32_t k = wide ? m : n;
    double *g = dart_calloc((size_t)k * k, sizeof *g);
    double *z = wide ? u : dart_calloc((size_t)k * r, sizeof *z);
    if (!g || !z) {
        status = DART_MEMORY;
        goto done;
    }
    cblas_dsyrk(CblasRowMajor, CblasUpper, wide ? CblasNoTrans : CblasTrans, (int)k,
        (int)(wide ? n : m), 1, a, (int)n, 0, g, (int)k);
    DART_GOTO(dart_lapack_eigen_top(k, g, r, s, z));
    for (uint32_t j = r; j-- > 0;) s[j] = s[j] > 1e-14 * s[0] ? sqrt(s[j]) : 0;
    if (wide) { /* s vt = u^T a */
        cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (int)r, (int)n, (int)m, 1, u, (int)r,
            a, (int)n, 0, vt, (int)n);
        for (uint32_t j = 0; j < r; j++)
            cblas_dscal((int)n, s[j] > 0 ? 1 / s[j] : 0, vt + (size_t)j * n, 1);
    } else { /* u s = a v */
        cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)m, (int)r, (int)n, 1, a, (int)n,
            z, (int)r, 0, u, (int)r);
        for (uint32_t j = 0; j < r; j++) {
            cblas_dscal((int)m, s[j] > 0 ? 1 / s[j] : 0, u + j, (int)r);
            for (uint32_t i = 0; i < n; i++)
                vt[(size_t)j * n + i] = s[j] > 0 ? z[(size_t)i * r + j] : 0;
        }
    }
done:
    free(g);
    if (!wide) free(z);
    return status;
}
