/* Bundles: a model in memory, and from one model to the next. */
#include "bundle.h"
#include "setup.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void dart_bundle_free(dart_bundle *bundle)
{
    dart_model_free(bundle->model);
    free(bundle->param);
    free(bundle->frozen);
    for (int i = 0; bundle->stored && i < 2; i++) dart_vocab_free(&bundle->stored[i]);
    free(bundle->stored);
    dart_recipe_free(bundle->recipe);
    *bundle = (dart_bundle){0};
}

void dart_bundle_adopt(dart_bundle *bundle, dart_model_copy *copy)
{
    dart_model_free(bundle->model);
    free(bundle->param);
    free(bundle->frozen);
    bundle->model = copy->model;
    bundle->param = copy->param;
    bundle->frozen = copy->frozen;
    *copy = (dart_model_copy){0};
}

dart_status dart_bundle_config(const dart_bundle *bundle, dart_model_config *out)
{
    DART_TRY(dart_config_for(&bundle->set, bundle->vocab, bundle->source_vocab, out));
    out->of_base = *bundle->set.base != 0;
    return dart_base_types(&bundle->set, out);
}

dart_status dart_bundle_model(
    dart_bundle *bundle, const uint32_t (*ranks)[DART_MAX_CORES + 1], const dart_gate_config *gate)
{
    dart_model_config config;
    dart_model_copy made;
    DART_TRY(dart_bundle_config(bundle, &config));
    if (gate) config.gate = *gate;
    DART_TRY(dart_model_copy_new(&config, ranks, &made));
    dart_bundle_adopt(bundle, &made);
    return DART_OK;
}

dart_status dart_bundle_begin(dart_bundle *bundle)
{
    const dart_settings *set = &bundle->set;
    DART_TRY(dart_model_init(bundle->model, (uint64_t)set->seed, bundle->param, bundle->frozen));
    if (!*set->base) return DART_OK;
    return dart_base_fill(set->base, bundle->model, bundle->param, bundle->frozen, &bundle->base);
}

dart_status dart_bundle_strip(dart_bundle *bundle, uint32_t **out_counts)
{
    dart_model_copy without;
    float *absorbed = NULL;
    if (out_counts) *out_counts = NULL;
    if (!bundle->model->config.gate.on) return DART_OK;
    if (dart_gate_of(bundle->model, &bundle->gate))
        DART_TRY(dart_gate_absorb(
            bundle->model, &bundle->gate, bundle->param, bundle->frozen, &absorbed, out_counts));
    dart_status status = dart_gate_change(bundle->model, &(dart_gate_config){0},
        absorbed ? absorbed : bundle->param, bundle->frozen, &without);
    free(absorbed);
    if (status == DART_OK) {
        dart_bundle_adopt(bundle, &without);
        bundle->gate = (dart_model_gate){0};
    } else if (out_counts) {
        free(*out_counts);
        *out_counts = NULL;
    }
    return status;
}

dart_status dart_bundle_spectra(const dart_bundle *bundle, dart_spectra *out)
{
    return dart_gate_spectra(bundle->model, &bundle->gate, bundle->param, bundle->frozen, out);
}

/* What a model with other ranks has of the base: the tensors that are not stored. They are made
 * from the model as it was at its beginning, since some methods take from the base what their
 * first ranks hold. */
static void take_base(const dart_model_copy *from, dart_bundle *to)
{
    for (uint32_t p = 0, q = 0; p < to->model->params && !to->model->param[p].gate; p++, q++) {
        const dart_param *b = &to->model->param[p];
        q = dart_param_next(from->model, q, b->name);
        const dart_param *a = &from->model->param[q];
        if (a->of_base)
            memcpy(to->frozen + b->offset, from->frozen + a->offset,
                dart_param_words(a) * sizeof *to->frozen);
    }
}

static dart_status check_base(const dart_bundle *bundle, json_t *state, const char *path)
{
    const char *hash = json_string_value(json_object_get(state, "base"));
    if (hash && !strcmp(hash, bundle->base.hash)) return DART_OK;
    return dart_fail(DART_INPUT,
        "%s is not the model that was fine-tuned in %s: its numbers are others; give that one with "
        "--base",
        bundle->set.base, path);
}

dart_status dart_bundle_read(dart_bundle *bundle, const dart_checkpoint *checkpoint, json_t *state)
{
    dart_gate_config gate;
    dart_model_copy first = {0};
    uint32_t(*ranks)[DART_MAX_CORES + 1] = NULL;
    dart_status status = DART_OK;
    DART_TRY(dart_gate_read(state, checkpoint->path, &gate, &bundle->gate));
    /* The fresh model says which weights have ranks; only they tell on which bonds gates lie. */
    DART_TRY(dart_bundle_model(bundle, NULL, NULL));
    ranks = dart_calloc(bundle->model->weights, sizeof *ranks);
    if (!ranks) return DART_MEMORY;
    DART_GOTO(dart_ranks_read(state, bundle->model, checkpoint->path, ranks));
    if (*bundle->set.base) {
        DART_GOTO(dart_bundle_begin(bundle));
        DART_GOTO(check_base(bundle, state, checkpoint->path));
        first = (dart_model_copy){bundle->model, bundle->param, bundle->frozen};
        bundle->model = NULL;
        bundle->param = bundle->frozen = NULL;
    }
    DART_GOTO(dart_bundle_model(bundle, (const uint32_t(*)[DART_MAX_CORES + 1]) ranks, &gate));
    if (first.model) take_base(&first, bundle);
    const dart_values values = {"", bundle->param, bundle->frozen};
    status = dart_values_unpack(bundle->model, checkpoint, "model.safetensors", &values, 1);
done:
    dart_model_copy_free(&first);
    free(ranks);
    return status;
}
