/* Bond spectra of a whole model: parameters to chains in f64, and what is measured on them. */
#include "spectra.h"
#include <math.h>
#include <stdlib.h>

void dart_spectra_free(dart_spectra *s)
{
    for (uint32_t w = 0; w < s->weights; w++) {
        if (s->chain) dart_chain_free(&s->chain[w]);
        for (int k = 0; s->sigma && k < DART_CHAIN_MAX; k++) free(s->sigma[w][k]);
    }
    free(s->chain);
    free(s->sigma);
    free(s->bond);
    *s = (dart_spectra){0};
}

/* The core's own index, between ranks rank[0] and rank[1]. */
static uint32_t mode_of(const dart_param *core, const uint32_t *rank)
{
    return (uint32_t)(dart_shape_words(&core->shape) / ((uint64_t)rank[0] * rank[1]));
}

dart_status dart_spectra_chain(
    const dart_model *model, uint32_t w, const float *param, const float *frozen, dart_chain *out)
{
    const dart_model_weight *weight = &model->weight[w];
    const dart_param *core = &model->param[weight->first_param + weight->layout.chain_first];
    uint32_t cores = weight->layout.chain_cores, n[DART_CHAIN_MAX] = {0};
    const uint32_t *rank = weight->weight.ranks;
    for (uint32_t k = 0; k < cores; k++) n[k] = mode_of(&core[k], rank + k);
    DART_TRY(dart_chain_new(cores, n, rank, out));
    for (uint32_t k = 0; k < cores; k++) {
        const float *from =
            (core[k].region == DART_REGION_FROZEN ? frozen : param) + core[k].offset;
        uint64_t words = dart_shape_words(&core[k].shape);
        for (uint64_t i = 0; i < words; i++) {
            out->core[k][i] = from[i];
            if (isfinite(from[i])) continue;
            dart_chain_free(out);
            return dart_fail(DART_DIVERGED,
                "training diverged: %s has values that are not finite; try a smaller "
                "--learning-rate or more --warmup-steps",
                core[k].name);
        }
    }
    return DART_OK;
}

dart_status dart_bonds_of(const dart_model *model, dart_bond **out, uint32_t *out_count)
{
    uint32_t total = 0, at = 0;
    for (uint32_t w = 0; w < model->weights; w++) total += model->weight[w].layout.bonds;
    *out_count = total;
    *out = dart_calloc(total, sizeof **out);
    if (!*out) return DART_MEMORY;
    for (uint32_t w = 0; w < model->weights; w++) {
        const dart_model_weight *weight = &model->weight[w];
        const uint32_t bonds = weight->layout.bonds, *rank = weight->weight.ranks;
        const bool spare = dart_layout_spare(&weight->weight, &weight->layout);
        const dart_param *core = &model->param[weight->first_param + weight->layout.chain_first];
        for (uint32_t k = 0; k < bonds; k++, at++)
            (*out)[at] = (dart_bond){.weight = w,
                .index = k,
                .rank = rank[k + 1],
                .spare = spare,
                .left_n = mode_of(&core[k], rank + k),
                .right_n = mode_of(&core[k + 1], rank + k + 1),
                .left_bond = k ? (int)at - 1 : -1,
                .right_bond = k + 1 < bonds ? (int)at + 1 : -1};
    }
    return DART_OK;
}

dart_status dart_spectra_compute(
    const dart_model *model, const float *param, const float *frozen, dart_spectra *s)
{
    *s = (dart_spectra){.weights = model->weights};
    DART_TRY(dart_bonds_of(model, &s->bond, &s->bonds));
    s->chain = dart_calloc(model->weights, sizeof *s->chain);
    s->sigma = dart_calloc(model->weights, sizeof *s->sigma);
    if (!s->chain || !s->sigma) return DART_MEMORY;
    for (uint32_t i = 0; i < s->bonds; i++) {
        const uint32_t w = s->bond[i].weight;
        if (!s->bond[i].index) {
            DART_TRY(dart_spectra_chain(model, w, param, frozen, &s->chain[w]));
            DART_TRY(dart_chain_spectra(&s->chain[w], s->sigma[w]));
        }
        s->bond[i].sigma = s->sigma[w][s->bond[i].index];
    }
    return DART_OK;
}
