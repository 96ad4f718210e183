/* Matrices as the chains of their methods: what each rank would keep, and the chain at given ranks.
 * Nearness may be that of the outputs instead of the entries: with C = R R^T the covariance of a
 * layer's inputs, ||(W - W') R|| is the error of its outputs. Or that of the loss: with G = L L^T
 * the second moments of its gradients by the outputs, half of ||L^T (W - W') R||^2 is by how much
 * it rises, where inputs and gradients are independent (Martens and Grosse 2015, K-FAC). */
#ifndef DART_DECOMPOSE_H
#define DART_DECOMPOSE_H

#include "chain.h"
#include "method.h"

/* The lower triangle R (n,n) with R R^T = C, the symmetric C (n,n) of which the lower half is read.
 * Where C has no inverse in rounding, a part of its mean diagonal is added to the diagonal, the
 * smallest of 1e-8, 1e-7 ... that is enough; *out_damping says which, 0: none. INPUT: C is not
 * finite, or zero. Caller frees *out. */
DART_NODISCARD dart_status dart_metric_root(
    uint32_t n, const double *covariance, double **out, double *out_damping);

/* What nearness is measured with: lower triangles, borrowed; NULL: the identity. */
typedef struct dart_metric {
    const double *in;  /* R (in, in) */
    const double *out; /* L (out, out); of weights whose rows are not padded */
} dart_metric;
/* Singular values of every bond of the chain of W = base (out, in), descending, sigma[k] malloc'ed
 * of min(left, right) values: those of L^T W R where one bond has all output digits on its left,
 * there. For bonds between input digits C is replaced by the product of its partial traces, one a
 * digit, for those between output digits G; for chains of mixed digits both everywhere. */
DART_NODISCARD dart_status dart_decompose_spectra(const dart_weight *weight,
    const dart_layout *layout, const float *base, dart_metric metric,
    double *sigma[DART_CHAIN_MAX]);
/* W's chain at the layout's ranks into the tensors, which hold initial values, bonds balanced. */
DART_NODISCARD dart_status dart_decompose(const dart_weight *weight, const dart_layout *layout,
    const float *base, dart_metric metric, float *const *tensor);
/* ||L^T (W' - W) R||, W' (out, in) instead of W; out_whole (may be NULL): ||L^T W R||. */
DART_NODISCARD dart_status dart_decompose_error(const dart_weight *weight, const float *base,
    const float *instead, dart_metric metric, double *out, double *out_whole);

#endif
