#include "lapack.h"
#include "mem.h"
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
