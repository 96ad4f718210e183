/* Ranks chosen, chains cut, and the smaller model. */
#include "cut.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

dart_status dart_model_copy_new(const dart_model_config *config,
    const uint32_t (*ranks)[DART_MAX_CORES + 1], dart_model_copy *out)
{
    *out = (dart_model_copy){0};
    DART_TRY(dart_model_new(config, ranks, &out->model));
    out->param = dart_calloc(out->model->param_words, sizeof *out->param);
    out->frozen = dart_calloc_aligned(out->model->frozen_words, sizeof *out->frozen);
    if (out->param && out->frozen) return DART_OK;
    dart_model_copy_free(out);
    return DART_MEMORY;
}

void dart_model_copy_free(dart_model_copy *copy)
{
    dart_model_free(copy->model);
    free(copy->param);
    free(copy->frozen);
    *copy = (dart_model_copy){0};
}

static dart_status cut_new(const dart_model *model, dart_cut *out)
{
    *out = (dart_cut){0};
    out->ranks = dart_calloc(model->weights, sizeof *out->ranks);
    out->cut = dart_calloc(model->weights, sizeof *out->cut);
    out->error = dart_calloc(model->weights, sizeof *out->error);
    out->bound = dart_calloc(model->weights, sizeof *out->bound);
    if (!out->ranks || !out->cut || !out->error || !out->bound) return DART_MEMORY;
    for (uint32_t w = 0; w < model->weights; w++)
        out->error[w] = out->bound[w] = model->weight[w].layout.bonds ? 0 : NAN;
    return DART_OK;
}

void dart_cut_free(dart_cut *cut)
{
    free(cut->ranks);
    free(cut->cut);
    free(cut->error);
    free(cut->bound);
    *cut = (dart_cut){0};
}

static void take_ranks(const dart_model *model, const dart_spectra *s, uint32_t w, dart_cut *out)
{
    const dart_chain *chain = &s->chain[w];
    const uint32_t bonds = model->weight[w].layout.bonds;
    if (model->weight[w].weight.ranks[0] == DART_RANKS_LOST) /* since long */
        out->ranks[w][0] = DART_RANKS_LOST;
    for (uint32_t k = 0; bonds && k <= chain->cores; k++) out->ranks[w][k] = chain->rank[k];
    for (uint32_t k = 1; k <= bonds; k++) out->after += chain->rank[k];
}

/* What chain w, which was cut, has lost. A cut projects the tensor at one bond after the other onto
 * what it keeps of it, so the square of the norm falls by that of the error; and each step takes at
 * most the tail that the bond had before all of them. */
static dart_status measure(const dart_spectra *s, uint32_t w, dart_cut *out)
{
    const dart_chain *chain = &s->chain[w];
    double all = 0, tails = 0;
    for (uint32_t i = 0; i < s->bonds; i++) {
        const dart_bond *bond = &s->bond[i];
        if (bond->weight != w) continue;
        all = 0; /* every bond's squares add up to those of the weight */
        for (uint32_t r = 0; r < bond->rank; r++) {
            const double square = bond->sigma[r] * bond->sigma[r];
            all += square;
            if (r >= chain->rank[bond->index + 1]) tails += square;
        }
    }
    const double norm = dart_chain_norm(chain);
    if (isnan(norm)) return DART_MEMORY;
    if (!(all > 0)) return DART_OK;
    const double left = norm / sqrt(all);
    out->error[w] = left < 1 ? sqrt((1 - left) * (1 + left)) : 0;
    out->bound[w] = sqrt(tails / all);
    return DART_OK;
}

dart_status dart_cut_choose(const dart_model *model, const dart_select *rule,
    const dart_select_options *options, dart_spectra *s, dart_cut *out)
{
    dart_status status = DART_OK;
    DART_TRY(cut_new(model, out));
    uint32_t *chosen = dart_calloc(s->bonds, sizeof *chosen);
    if (!chosen) return DART_MEMORY;
    if (s->bonds) DART_GOTO(rule->choose(s->bond, s->bonds, options, chosen));
    for (uint32_t i = 0; i < s->bonds; i++) {
        out->before += s->bond[i].rank;
        if (chosen[i] < s->bond[i].rank) out->cut[s->bond[i].weight] = true;
    }
    for (uint32_t i = 0, w = 0; w < model->weights; w++) {
        const uint32_t bonds = model->weight[w].layout.bonds;
        if (bonds && !chosen[i]) {
            out->ranks[w][0] = DART_RANKS_LOST;
            out->error[w] = out->bound[w] = 1;
            out->lost++;
        } else {
            if (out->cut[w]) DART_GOTO(dart_chain_cut(&s->chain[w], chosen + i));
            if (out->cut[w]) DART_GOTO(measure(s, w, out));
            take_ranks(model, s, w, out);
        }
        i += bonds;
    }
done:
    free(chosen);
    return status;
}

dart_status dart_cut_round(const dart_model *model, double epsilon, dart_spectra *s, dart_cut *out)
{
    DART_TRY(cut_new(model, out));
    for (uint32_t i = 0; i < s->bonds; i++) out->before += s->bond[i].rank;
    for (uint32_t w = 0; w < model->weights; w++) {
        out->cut[w] = model->weight[w].layout.bonds > 0;
        if (out->cut[w]) DART_TRY(dart_chain_round(&s->chain[w], epsilon));
        if (out->cut[w]) DART_TRY(measure(s, w, out));
        take_ranks(model, s, w, out);
    }
    return DART_OK;
}

/* Core `b` of the new model from the cut chain; false: it is no core of a chain that was cut. */
static bool from_chain(const dart_model *to, const dart_param *b, const dart_spectra *s,
    const bool *cut, float *target)
{
    if (b->weight < 0 || !cut[b->weight]) return false;
    const dart_layout *layout = &to->weight[b->weight].layout;
    const uint32_t core = (uint32_t)b->tensor - layout->chain_first;
    if ((uint32_t)b->tensor < layout->chain_first || core >= layout->chain_cores) return false;
    const double *exact = s->chain[b->weight].core[core];
    const uint64_t words = dart_shape_words(&b->shape);
    for (uint64_t i = 0; i < words; i++) target[i] = (float)exact[i];
    return true;
}

dart_status dart_cut_apply(const dart_model *model, const float *param, const float *frozen,
    const dart_spectra *s, const dart_cut *cut, dart_model_copy *out)
{
    dart_model_config config = model->config;
    config.gate = (dart_gate_config){0};
    DART_TRY(dart_model_copy_new(&config, (const uint32_t(*)[DART_MAX_CORES + 1]) cut->ranks, out));
    /* The old model has chains that were lost beside what the new one has, and gates behind it. */
    for (uint32_t p = 0, q = 0; p < out->model->params; p++, q++) {
        const dart_param *b = &out->model->param[p];
        q = dart_param_next(model, q, b->name);
        const dart_param *a = &model->param[q];
        float *target = (b->region == DART_REGION_FROZEN ? out->frozen : out->param) + b->offset;
        const float *source = (a->region == DART_REGION_FROZEN ? frozen : param) + a->offset;
        if (!from_chain(out->model, b, s, cut->cut, target))
            memcpy(target, source, (size_t)dart_param_words(b) * sizeof *target);
    }
    return DART_OK;
}

double dart_cut_words(const dart_model *model, uint32_t most)
{
    double words = 0;
    for (uint32_t w = 0; w < model->weights; w++) {
        const dart_model_weight *weight = &model->weight[w];
        const uint32_t *rank = weight->weight.ranks, cores = weight->layout.chain_cores;
        const dart_param *core = &model->param[weight->first_param + weight->layout.chain_first];
        for (uint32_t k = 0; weight->layout.bonds && k < cores; k++) {
            uint64_t left = rank[k] < most ? rank[k] : most;
            uint64_t right = rank[k + 1] < most ? rank[k + 1] : most;
            uint64_t present = (uint64_t)rank[k] * rank[k + 1];
            words += (double)(dart_shape_words(&core[k].shape) / present * left * right);
        }
    }
    return words;
}
