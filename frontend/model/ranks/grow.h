/* Higher ranks for a model: how much the loss depends on each bond, and the larger model, which
 * computes the same. The model that grows stays as it is. */
#ifndef DART_GROW_H
#define DART_GROW_H

#include "cut.h"

/* Of every bond of the model (out[bonds], in the order of dart_bonds_of):
 *   sum over k of |<L_k, dL_k>| / sqrt(words of L_k * words of R_k),
 * with L_k the entries of the core on the left with index k of the bond, dL_k their gradient, R_k
 * those on the right. <L_k, dL_k> = <R_k, dR_k> is the first-order change of the loss without index
 * k, in any gauge that scales the two sides. param, gradient: host f32 in PARAM's layout. -1 where
 * a core beside the bond is not trained. */
void dart_grow_sensitivity(
    const dart_model *model, const float *param, const float *gradient, double *out);

/* A model with these ranks, one a bond, none below the present one; without gates. What both have
 * keeps its bits. Of a new index the entries of the core on the left are zero, so that the function
 * is the same, and those on the right random, as large as that core's are at root mean square.
 * step: names the random numbers. INPUT: a rank that the chain cannot have. */
DART_NODISCARD dart_status dart_grow_apply(const dart_model *model, const float *param,
    const float *frozen, const uint32_t *ranks, uint64_t seed, uint64_t step, dart_model_copy *out);
/* What an optimizer keeps of PARAM's words, for the larger model; out: zeros, which entries of new
 * indices keep. */
void dart_grow_moment(const dart_model *from, const dart_model *to, const float *was, float *out);

#endif
