/* Ranks that move between weights before training: as many in all, more where the inputs of a
 * weight have more directions that count. */
#ifndef DART_SHARE_H
#define DART_SHARE_H

#include "cut.h"

/* What one weight may get: explained[i] is the part of its inputs' variance along direction i,
 * descending; `most` of them. */
typedef struct dart_share {
    const double *explained; /* borrowed */
    uint32_t most;           /* at least 1 */
} dart_share;
/* EVA's distribution (Paischer et al. 2024; PEFT lora/eva.py, _get_rank_distribution): the `total`
 * directions of all weights that explain most have a rank. Every weight keeps its first one, where
 * PEFT takes the adapter of a layer without any away: a chain has no rank 0. Of equal parts the
 * first weight's comes first. total: from count to the sum of `most`. */
void dart_share_ranks(const dart_share *of, uint32_t count, uint32_t total, uint32_t *ranks);

/* The model before its first step with other ranks ([weights], zeros: as they are): tensors of the
 * same size keep their bits, the others have first values from the seed. */
DART_NODISCARD dart_status dart_share_apply(const dart_model *model, const float *param,
    const float *frozen, const uint32_t *ranks, uint64_t seed, dart_model_copy *out);

#endif
