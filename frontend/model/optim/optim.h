/* Optimizer steps over the flat regions, appended to an update graph. */
#ifndef DART_OPTIM_H
#define DART_OPTIM_H

#include "ir.h"

typedef struct dart_adamw_options {
    double beta1, beta2, eps, decay;
    double
        max_norm; /* gradient norm clipped to this; 0: no clipping (the norm is still measured) */
    uint64_t others; /* words of PARAM behind these that another step updates */
} dart_adamw_options;

/* Gradient norm and clipping coefficient into FSCAL, then AdamW on PARAM [0, param_words): weight
 * decay on [0, decay_words) only. Reads GRAD, updates MOMENT (2, param_words + others). */
DART_NODISCARD dart_status dart_adamw_append(dart_graph *graph, uint64_t param_words,
    uint64_t decay_words, const dart_adamw_options *options);

#endif
