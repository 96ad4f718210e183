/* Inside this room only: what adopt() of methods is made of. The chain is term 0 of the network; a
 * frozen rest, if there is one, tensor 0. */
#ifndef DART_ADOPT_H
#define DART_ADOPT_H

#include "chain.h"
#include "method.h"

/* dart_method.adopt by decomposition: the chain gets the TT-SVD of W at the weight's ranks, bonds
 * balanced, divided by the term's scale; the frozen matrix what is left of W. */
DART_NODISCARD dart_status dart_adopt_chain(const dart_weight *weight, const dart_layout *layout,
    const float *base, float *const *tensor, double *out_error);
/* W's TT-SVD at the weight's ranks, as far as W has them. To be freed also after a failure. */
DART_NODISCARD dart_status dart_adopt_decompose(
    const dart_weight *weight, const dart_layout *layout, const float *base, dart_chain *out);
/* The cores are there: the frozen matrix gets W - scale * chain, of the values that the cores have
 * in f32. Without one only the error is measured. */
DART_NODISCARD dart_status dart_adopt_rest(const dart_weight *weight, const dart_layout *layout,
    const float *base, float *const *tensor, double *out_error);

/* Cores into tensors, each times `factor`. A bond of lower rank than the layout's: its missing
 * indices get zeros on their left, and keep their initial values on their right, so that they add
 * nothing and can be trained. */
void dart_adopt_cores(const dart_weight *weight, const dart_layout *layout, const dart_chain *chain,
    double factor, float *const *tensor);

#endif
