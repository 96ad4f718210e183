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

dart_status dart_spectra_chain(
    const dart_model *model, uint32_t w, const float *param, const float *frozen, dart_chain *out)
{
    const dart_model_weight *weight = &model->weight[w];
    const dart_param *core = &model->param[weight->first_param + weight->layout.chain_first];
    uint32_t cores = weight->layout.chain_cores, n[DART_CHAIN_MAX] = {0};
    const uint32_t *rank = weight->weight.ranks;
    for (uint32_t k = 0; k < cores; k++)
        n[k] = (uint32_t)(dart_shape_words(&core[k].shape) / ((uint64_t)rank[k] * rank[k + 1]));
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

dart_status dart_spectra_compute(
    const dart_model *model, const float *param, const float *frozen, dart_spectra *s)
{
    uint32_t total = 0;
    *s = (dart_spectra){.weights = model->weights};
    for (uint32_t w = 0; w < model->weights; w++) total += model->weight[w].layout.bonds;
    s->chain = dart_calloc(model->weights, sizeof *s->chain);
    s->sigma = dart_calloc(model->weights, sizeof *s->sigma);
    s->bond = dart_calloc(total, sizeof *s->bond);
    if (!s->chain || !s->sigma || !s->bond) return DART_MEMORY;
    for (uint32_t w = 0; w < model->weights; w++) {
        uint32_t bonds = model->weight[w].layout.bonds;
        if (!bonds) continue;
        dart_chain *chain = &s->chain[w];
        DART_TRY(dart_spectra_chain(model, w, param, frozen, chain));
        DART_TRY(dart_chain_spectra(chain, s->sigma[w]));
        for (uint32_t k = 0; k < bonds; k++) {
            int at = (int)s->bonds;
            s->bond[s->bonds++] = (dart_bond){.weight = w,
                .index = k,
                .rank = chain->rank[k + 1],
                .sigma = s->sigma[w][k],
                .left_n = chain->n[k],
                .right_n = chain->n[k + 1],
                .left_bond = k ? at - 1 : -1,
                .right_bond = k + 1 < bonds ? at + 1 : -1};
        }
    }
    return DART_OK;
}
