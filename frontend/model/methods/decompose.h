/* Matrices as the chains of their methods: what each rank would keep, and the chain at given ranks.
 * Nearness may be that of the outputs instead of the entries: with C = R R^T the covariance of a
 * layer's inputs, ||(W - W') R|| is the error of its outputs. */
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

/* Singular values of every bond of the chain of W = base (out, in), descending, sigma[k] malloc'ed
 * of min(left, right) values. root: R (in, in), or NULL for plain nearness. The values are those of
 * ||(W - W') R|| where one bond has all output digits on its left: there and left of it. For bonds
 * between input digits C is replaced by the product of its partial traces, one a digit. */
DART_NODISCARD dart_status dart_decompose_spectra(const dart_weight *weight,
    const dart_layout *layout, const float *base, const double *root,
    double *sigma[DART_CHAIN_MAX]);
/* W's chain at the layout's ranks into the tensors, which hold initial values, bonds balanced. */
DART_NODISCARD dart_status dart_decompose(const dart_weight *weight, const dart_layout *layout,
    const float *base, const double *root, float *const *tensor);
/* ||(W' - W) R|| / ||W R||, W' (out, in) instead of W. */
DART_NODISCARD dart_status dart_decompose_error(const dart_weight *weight, const float *base,
    const float *instead, const double *root, double *out);

#endif
