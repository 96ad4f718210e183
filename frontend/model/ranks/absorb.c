/* Gates into cores. */
#include "absorb.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

const dart_gate *dart_gate_of(const dart_model *model, const dart_model_gate *gate)
{
    return model->config.gate.trained ? gate->reg->gate : NULL;
}

/* One row of the (bonds, stride) matrix of candidates; NULL where entries are indices. */
static const uint32_t *row(const uint32_t *levels, const dart_model *model, uint32_t b)
{
    return levels ? levels + (uint64_t)b * model->gate_stride : NULL;
}

static int descending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* Entries of driven gates are claims themselves: sorted within their bonds. */
static double *claims_of(const dart_model *model, const float *entry)
{
    const uint64_t words = (uint64_t)model->bonds * model->gate_stride;
    double *claims = dart_calloc(words, sizeof *claims);
    for (uint64_t i = 0; claims && i < words; i++) claims[i] = entry[i];
    for (uint32_t b = 0; claims && b < model->bonds; b++)
        qsort(claims + (uint64_t)b * model->gate_stride, dart_gates_entries(model, b),
            sizeof *claims, descending);
    return claims;
}

/* Ranks that evaluation keeps, one a bond. */
static dart_status keep_counts(const dart_model *model, const dart_model_gate *g,
    const float *entry, const uint32_t *levels, const uint32_t *entries, uint32_t *out)
{
    const dart_gate *gate = dart_gate_of(model, g);
    double *expected = dart_calloc(model->bonds, sizeof *expected);
    uint32_t *most = dart_calloc(model->bonds, sizeof *most);
    double *claims = gate->driven ? claims_of(model, entry) : NULL;
    dart_status status = expected && most && (claims || !gate->driven) ? DART_OK : DART_MEMORY;
    for (uint32_t b = 0; status == DART_OK && b < model->bonds; b++)
        expected[b] = gate->expect(entry + (uint64_t)b * model->gate_stride, entries[b],
            row(levels, model, b), &out[b], &most[b]);
    if (status == DART_OK)
        status = dart_gate_fit(model->bond, model->bonds, expected, claims, most, levels, entries,
            model->gate_stride, g->min_rank, g->target, out);
    free(claims);
    free(expected);
    free(most);
    return status;
}

dart_status dart_gate_decide(const dart_model *model, const dart_model_gate *g, const float *param,
    const float *frozen, float *mask, uint32_t *counts)
{
    const dart_gate *gate = dart_gate_of(model, g);
    const uint64_t words = (uint64_t)model->bonds * model->gate_stride;
    const float *entry = param + model->param_words - words;
    dart_status status = DART_OK;
    uint32_t *entries = dart_calloc(model->bonds, sizeof *entries), *levels = NULL;
    double *norms = NULL;
    if (model->config.gate.candidates) levels = dart_calloc(words, sizeof *levels);
    if (gate->scaled) norms = dart_calloc(words, sizeof *norms);
    if (!entries || (model->config.gate.candidates && !levels) || (gate->scaled && !norms)) {
        status = DART_MEMORY;
        goto done;
    }
    for (uint32_t b = 0; b < model->bonds; b++) {
        entries[b] = dart_gates_entries(model, b);
        if (levels)
            dart_gates_candidates(model->bond[b].rank, model->config.gate.candidates,
                levels + (uint64_t)b * model->gate_stride);
    }
    DART_GOTO(keep_counts(model, g, entry, levels, entries, counts));
    for (uint32_t b = 0; b < model->bonds; b++) {
        uint64_t at = (uint64_t)b * model->gate_stride;
        gate->mask(entry + at, entries[b], row(levels, model, b), counts[b], mask + at);
    }
    if (!norms) goto done;
    dart_gates_norms_host(model, param, norms);
    for (uint64_t i = 0; i < words; i++) {
        double scale = frozen[model->gate_scale_at + i];
        if (scale > 0 && norms[i] > 0) mask[i] = (float)(mask[i] * scale / sqrt(norms[i]));
    }
done:
    free(entries);
    free(levels);
    free(norms);
    return status;
}

dart_status dart_gate_absorb(const dart_model *model, const dart_model_gate *gate,
    const float *param, const float *frozen, float **out, uint32_t **out_counts)
{
    const uint64_t words = (uint64_t)model->bonds * model->gate_stride;
    dart_status status = DART_OK;
    float *mask = dart_calloc(words, sizeof *mask);
    uint32_t *counts = dart_calloc(model->bonds, sizeof *counts);
    int32_t *place = dart_calloc(model->bonded_words, sizeof *place);
    *out = dart_calloc(model->param_words, sizeof **out);
    if (!mask || !counts || !place || !*out) {
        status = DART_MEMORY;
        goto done;
    }
    DART_GOTO(dart_gate_decide(model, gate, param, frozen, mask, counts));
    dart_gates_positions(model, false, place);
    memcpy(*out, param, model->param_words * sizeof **out);
    for (uint64_t i = 0; i < model->bonded_words; i++)
        if (place[i] >= 0) (*out)[i] *= mask[place[i]];
    if (out_counts) {
        *out_counts = counts;
        counts = NULL;
    }
done:
    free(mask);
    free(counts);
    free(place);
    if (status != DART_OK) {
        free(*out);
        *out = NULL;
    }
    return status;
}

static uint64_t fewer(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

dart_status dart_gate_change(const dart_model *model, const dart_gate_config *gate,
    const float *param, const float *frozen, dart_model_copy *out)
{
    dart_model_config config = model->config;
    config.gate = *gate;
    uint32_t(*ranks)[DART_MAX_CORES + 1] = dart_calloc(model->weights, sizeof *ranks);
    if (!ranks) return DART_MEMORY;
    for (uint32_t w = 0; w < model->weights; w++)
        memcpy(ranks[w], model->weight[w].weight.ranks, sizeof ranks[w]);
    dart_status status =
        dart_model_copy_new(&config, (const uint32_t(*)[DART_MAX_CORES + 1]) ranks, out);
    free(ranks);
    DART_TRY(status);
    /* Gates lie behind all others, so offsets stay. */
    const uint64_t words = fewer(model->param_words, out->model->param_words);
    const uint64_t fixed = fewer(model->frozen_words, out->model->frozen_words);
    memcpy(out->param, param, words * sizeof *param);
    if (fixed) memcpy(out->frozen, frozen, fixed * sizeof *frozen);
    return DART_OK;
}

dart_status dart_gate_spectra(const dart_model *model, const dart_model_gate *gate,
    const float *param, const float *frozen, dart_spectra *out)
{
    float *absorbed = NULL;
    *out = (dart_spectra){0};
    if (dart_gate_of(model, gate))
        DART_TRY(dart_gate_absorb(model, gate, param, frozen, &absorbed, NULL));
    dart_status status = dart_spectra_compute(model, absorbed ? absorbed : param, frozen, out);
    free(absorbed);
    return status;
}
