/* A run of ours as what another run begins with: the recipe's key `init_from`. The model, its ranks
 * and its values are the other run's; data, steps and penalties are the new one's. */
#ifndef DART_ORIGIN_H
#define DART_ORIGIN_H

#include "bundle.h"

/* dart_base_resolve, and before it, with `init_from` (or a `base` that is a run directory or a
 * checkpoint of ours): sets what that run's recipe says of the model, its absolute path, and the
 * defaults of fine-tuning: no penalty, no selection, a learning rate of 1e-3. Keys that were given
 * stay. INPUT: no such run; a key that was given and is another in it, but for dropout, a context
 * of rotary positions, and whether what is no network is trained (dense, frozen, train_vectors). */
DART_NODISCARD dart_status dart_origin_resolve(dart_recipe *recipe);
/* Ranks as dart_bundle_model takes them; caller frees *out. */
DART_NODISCARD dart_status dart_origin_ranks(
    const dart_bundle *origin, uint32_t (**out)[DART_MAX_CORES + 1]);
/* The values of all tensors. INPUT: the models have other tensors. */
DART_NODISCARD dart_status dart_origin_take(const dart_bundle *origin, dart_bundle *to);

#endif
