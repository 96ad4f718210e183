/* Chains of cores on the host in f64: canonical form, bond spectra, cutting, rounding, TT-SVD,
 * through LAPACK. A chain is TT, TT-matrix (row and column digit merged) or LoRA (two cores). Core
 * k is (r_k, n_k, r_{k+1}) row-major. Formulas: Oseledets 2011. */
#ifndef DART_CHAIN_H
#define DART_CHAIN_H

#include "mem.h"

enum { DART_CHAIN_MAX = 14 };

typedef struct dart_chain {
    uint32_t cores;
    uint32_t n[DART_CHAIN_MAX];
    uint32_t rank[DART_CHAIN_MAX + 1]; /* rank[0] = rank[cores] = 1 */
    double *core[DART_CHAIN_MAX];      /* owned */
} dart_chain;

DART_NODISCARD dart_status dart_chain_new(
    uint32_t cores, const uint32_t *n, const uint32_t *rank, dart_chain *out);
DART_NODISCARD dart_status dart_chain_copy(const dart_chain *chain, dart_chain *out);
void dart_chain_free(dart_chain *chain); /* zeroes it */
uint64_t dart_chain_words(const dart_chain *chain);

/* Dense tensor (n_0 x ... x n_{D-1}), caller frees. */
DART_NODISCARD dart_status dart_chain_dense(const dart_chain *chain, double **out);
/* TT-SVD with relative error epsilon (Frobenius) and rank cap (0: none). Values below 1e-7 of the
 * largest may be left out where the cap is low. */
DART_NODISCARD dart_status dart_chain_from_dense(const double *dense, uint32_t cores,
    const uint32_t *n, double epsilon, uint32_t max_rank, dart_chain *out);
/* Cores < center left-orthogonal, > center right-orthogonal. The tensor is unchanged. */
DART_NODISCARD dart_status dart_chain_canonical(dart_chain *chain, uint32_t center);
/* Singular values of every bond, spectrum[k] has rank[k+1] values for bond k (between core k and
 * k+1), descending (zeros where the cores cannot carry the rank); each array is malloc'ed (caller
 * frees). The chain is not changed. */
DART_NODISCARD dart_status dart_chain_spectra(
    const dart_chain *chain, double *spectrum[DART_CHAIN_MAX]);
/* Cuts the bonds to new_rank[k] (bond k, 1 <= new_rank <= rank): orthogonalise, truncate by SVD,
 * and leave the chain balanced (sqrt of the singular values to either side). Truncation is optimal
 * bond by bond. A bond that its neighbours' new ranks cannot carry (r_k > n_k r_{k+1}) ends lower
 * than asked: read chain->rank afterwards. */
DART_NODISCARD dart_status dart_chain_cut(dart_chain *chain, const uint32_t *new_rank);
/* The same tensor with its bonds balanced, as after a cut, but that values below 1e-7 of a bond's
 * largest are lost. Ranks that the cores cannot carry fall. */
DART_NODISCARD dart_status dart_chain_balance(dart_chain *chain);
/* Rounding to relative error epsilon; ranks fall. */
DART_NODISCARD dart_status dart_chain_round(dart_chain *chain, double epsilon);
/* Sum of two chains of the same n (ranks add up). */
DART_NODISCARD dart_status dart_chain_add(
    const dart_chain *a, const dart_chain *b, dart_chain *out);
/* Soft-thresholding bond by bond: sigma -> max(sigma - t, 0), with t = share times the mean of the
 * bond's singular values that are above rounding (0 <= share <= 1). Ranks, and as nearly as
 * possible the gauge, stay: see align. */
DART_NODISCARD dart_status dart_chain_shrink(dart_chain *chain, double share);
/* The same tensor in another gauge: rotates the bonds of a balanced chain to bring its cores close
 * to those of `like` (which has at least its ranks; missing ones are filled with zeros), and gives
 * the cores' norms the proportions of like's. What was learnt about single entries of like's cores
 * (Adam's moments) then still holds. */
DART_NODISCARD dart_status dart_chain_align(dart_chain *chain, const dart_chain *like);
double dart_chain_norm(const dart_chain *chain);
/* Both sides of a bond merged: left (prod n_<=k, r), right (r, prod n_>k): LoRA export. Caller
 * frees. */
DART_NODISCARD dart_status dart_chain_halves(
    const dart_chain *chain, uint32_t bond, double **out_left, double **out_right);

#endif
