/* What LAPACK's answers mean, and a decomposition that has a second way. */
#ifndef DART_LAPACK_H
#define DART_LAPACK_H

#include <lapacke.h>
#include <stddef.h>
#include "status.h"

/* OK for info 0. MEMORY; DIVERGED where the `words` values at `a`, which the routine was given, are
 * not all finite; FAILED where it did not succeed with finite values. */
DART_NODISCARD dart_status dart_lapack_check(
    lapack_int info, const char *routine, const double *a, size_t words);
/* a (m,n) = u (m,r) diag(s) vt (r,n), r = min(m,n), row by row, s descending; `a` is not changed.
 * By divide and conquer, where that does not converge by QR iteration. Errors as above. */
DART_NODISCARD dart_status dart_lapack_svd(
    uint32_t m, uint32_t n, const double *a, double *u, double *s, double *vt);
/* The r largest singular values s of a (m,n), with u (m,r) and vt (r,n), r <= min(m,n), through the
 * Gram matrix of the shorter side: for few of many, in a fraction of the time. A value below 1e-7
 * of the largest is lost in rounding, and is 0 with its vt. Errors as above. */
DART_NODISCARD dart_status dart_lapack_svd_top(
    uint32_t m, uint32_t n, const double *a, uint32_t r, double *u, double *s, double *vt);
/* The r largest eigenvalues of g (k,k), symmetric, of which the upper half is read and nothing
 * left, descending, and their vectors as columns of z (k,r). Errors as above. */
DART_NODISCARD dart_status dart_lapack_eigen_top(
    uint32_t k, double *g, uint32_t r, double *value, double *z);
/* a (m,n), m >= n: its columns become orthonormal, the first k of them spanning what the first k
 * did. Errors as above. */
DART_NODISCARD dart_status dart_lapack_orthonormal(uint32_t m, uint32_t n, double *a);

#endif
