/* Bond spectra of a whole model: parameters to chains in f64, and what is measured on them. */
#include "spectra.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

void dart_spectra_free(dart_spectra *s, uint32_t weights)
{
    for (uint32_t w = 0; w < weights; w++) {
        if (s->chain) dart_chain_free(&s->chain[w]);
        for (int k = 0; s->sigma && k < DART_CHAIN_MAX; k++) free(s->sigma[w][k]);
    }
    free(s->chain);
    free(s->sigma);
    free(s->bond);
}

static const dart_param *core_param(const dart_run *run, uint32_t w, uint32_t k)
{
    const dart_model_weight *weight = &run->model->weight[w];
    return &run->model->param[weight->first_param + weight->layout.chain_first + k];
}

/* The chain of weight w from the host copies; params: PARAM, gates multiplied in. */
static dart_status chain_of(const dart_run *run, const float *params, uint32_t w, dart_chain *out)
{
    const dart_model_weight *weight = &run->model->weight[w];
    uint32_t cores = weight->layout.chain_cores, n[DART_CHAIN_MAX] = {0};
    const uint32_t *rank = weight->weight.ranks;
    for (uint32_t k = 0; k < cores; k++)
        n[k] = (uint32_t)(dart_shape_words(&core_param(run, w, k)->shape) /
                          ((uint64_t)rank[k] * rank[k + 1]));
    DART_TRY(dart_chain_new(cores, n, rank, out));
    for (uint32_t k = 0; k < cores; k++) {
        const dart_param *param = core_param(run, w, k);
        const float *from =
            (param->region == DART_REGION_FROZEN ? run->frozen : params) + param->offset;
        uint64_t words = dart_shape_words(&param->shape);
        for (uint64_t i = 0; i < words; i++) out->core[k][i] = from[i];
    }
    return DART_OK;
}

dart_status dart_run_chain(const dart_run *run, uint32_t w, dart_chain *out)
{
    return chain_of(run, run->param, w, out);
}

static dart_status compute(const dart_run *run, const float *params, dart_spectra *s)
{
    const dart_model *model = run->model;
    uint32_t total = 0;
    for (uint32_t w = 0; w < model->weights; w++) total += model->weight[w].layout.bonds;
    s->chain = dart_calloc(model->weights, sizeof *s->chain);
    s->sigma = dart_calloc(model->weights, sizeof *s->sigma);
    s->bond = dart_calloc(total, sizeof *s->bond);
    if (!s->chain || !s->sigma || !s->bond) return DART_MEMORY;
    for (uint32_t w = 0; w < model->weights; w++) {
        uint32_t bonds = model->weight[w].layout.bonds;
        if (!bonds) continue;
        dart_chain *chain = &s->chain[w];
        DART_TRY(chain_of(run, params, w, chain));
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

dart_status dart_spectra_compute(const dart_run *run, dart_spectra *s)
{
    float *absorbed = NULL;
    *s = (dart_spectra){0};
    if (run->gate.config.trained) DART_TRY(dart_run_gate_absorbed(run, &absorbed, NULL));
    dart_status status = compute(run, absorbed ? absorbed : run->param, s);
    free(absorbed);
    return status;
}

void dart_spectra_move(const dart_model *from, const float *from_param, const float *from_frozen,
    const dart_spectra *s, const bool *cut, const dart_model *to, float *param, float *frozen)
{
    /* Gates, if one of the two has any, come last. */
    uint32_t params = from->params < to->params ? from->params : to->params;
    for (uint32_t p = 0; p < params; p++) {
        const dart_param *a = &from->param[p], *b = &to->param[p];
        float *target = (b->region == DART_REGION_FROZEN ? frozen : param) + b->offset;
        const float *source =
            (a->region == DART_REGION_FROZEN ? from_frozen : from_param) + a->offset;
        uint64_t words = dart_shape_words(&b->shape);
        const dart_layout *layout = b->weight >= 0 ? &to->weight[b->weight].layout : NULL;
        uint32_t core = layout ? (uint32_t)b->tensor - layout->chain_first : 0;
        if (layout && cut[b->weight] && (uint32_t)b->tensor >= layout->chain_first &&
            core < layout->chain_cores) {
            const double *exact = s->chain[b->weight].core[core];
            for (uint64_t i = 0; i < words; i++) target[i] = (float)exact[i];
        } else {
            memcpy(target, source, (size_t)words * sizeof *target);
        }
    }
}

/* Effective rank of one bond by the stage's measure; 0 where all singular values are. */
static double effective(const dart_bond *bond, const dart_settings *set)
{
    double first = bond->rank ? bond->sigma[0] : 0, sum = 0, entropy = 0;
    uint32_t count = 0;
    if (!(first > 0)) return 0;
    for (uint32_t i = 0; i < bond->rank; i++) {
        double s = bond->sigma[i] / first;
        sum += s * s;
        count += s > set->threshold;
    }
    if (!strcmp(set->rank_measure, "count")) return count;
    if (!strcmp(set->rank_measure, "stable")) return sum;
    for (uint32_t i = 0; i < bond->rank; i++) {
        double s = bond->sigma[i] / first, p = s * s / sum;
        if (p > 0) entropy -= p * log(p);
    }
    return exp(entropy);
}

dart_status dart_run_effective_rank(dart_run *run, const dart_settings *set, double *out)
{
    dart_spectra s;
    dart_status status = DART_OK;
    double sum = 0;
    *out = 0;
    DART_TRY(dart_session_read(run->session, run->param, NULL));
    DART_GOTO(dart_spectra_compute(run, &s));
    for (uint32_t i = 0; i < s.bonds; i++) sum += effective(&s.bond[i], set);
    if (s.bonds) *out = sum / s.bonds;
done:
    dart_spectra_free(&s, run->model->weights);
    return status;
}
