/* Bundles: from files to a model in memory, and from one model to the next. */
#include "bundle.h"
#include "file.h"
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

dart_status dart_bundle_model(
    dart_bundle *bundle, const uint32_t (*ranks)[DART_MAX_CORES + 1], const dart_gate_config *gate)
{
    dart_model_config config;
    dart_model_copy made;
    DART_TRY(dart_config_for(&bundle->set, bundle->vocab, bundle->source_vocab, &config));
    config.of_base = *bundle->set.base != 0;
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
    for (uint32_t p = 0; p < from->model->params; p++) {
        const dart_param *a = &from->model->param[p], *b = &to->model->param[p];
        if (a->of_base)
            memcpy(to->frozen + b->offset, from->frozen + a->offset,
                dart_shape_words(&a->shape) * sizeof *to->frozen);
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

/* ---- from files ---- */

static dart_status load_vocabs(const dart_checkpoint *checkpoint, dart_bundle *out)
{
    out->stored = dart_calloc(2, sizeof *out->stored);
    if (!out->stored) return DART_MEMORY;
    out->vocab = &out->stored[0];
    out->source_vocab = &out->stored[1];
    DART_TRY(dart_vocab_load(checkpoint, "vocab.json", &out->stored[0]));
    if (!dart_checkpoint_find(checkpoint, "vocab_source.json")) return DART_OK;
    return dart_vocab_load(checkpoint, "vocab_source.json", &out->stored[1]);
}

typedef struct loading {
    dart_bundle *out;
    const dart_recipe *overrides; /* where else the base is; may be NULL */
    const char *run;              /* the run directory; NULL: a checkpoint was named */
    dart_note note;
} loading;

static dart_status load_recipe(const dart_checkpoint *checkpoint, dart_recipe **out)
{
    char path[sizeof checkpoint->path + 32];
    snprintf(path, sizeof path, "%s/recipe.yaml", checkpoint->path);
    DART_TRY(dart_recipe_new(out));
    return dart_recipe_load(*out, path);
}

/* Everything, as it was saved. */
static dart_status load_one(const loading *l, const dart_checkpoint *checkpoint)
{
    dart_bundle *out = l->out;
    const dart_recipe *overrides = l->overrides;
    json_t *state;
    dart_bundle_free(out); /* what a newer one left */
    DART_TRY(load_recipe(checkpoint, &out->recipe));
    if (overrides && dart_recipe_has(overrides, "base")) {
        char base[512];
        DART_TRY(dart_recipe_get(overrides, "base", base, sizeof base));
        DART_TRY(dart_recipe_set(out->recipe, "base", base));
    }
    dart_recipe_settings(out->recipe, &out->set);
    DART_TRY(load_vocabs(checkpoint, out));
    DART_TRY(dart_state_parse(checkpoint, &state));
    dart_status status = dart_bundle_read(out, checkpoint, state);
    json_decref(state);
    return status == DART_OK ? dart_bundle_strip(out, NULL) : status;
}

/* Whether the best model is to be taken instead of the newest. */
static dart_status wants_best(const loading *l, const dart_checkpoint *newest, bool *out)
{
    dart_settings set;
    dart_recipe *recipe = NULL;
    dart_status status = load_recipe(newest, &recipe);
    if (status == DART_OK && l->overrides) status = dart_recipe_overlay(recipe, l->overrides);
    if (status == DART_OK) {
        dart_recipe_settings(recipe, &set);
        *out = set.load_best;
    }
    dart_recipe_free(recipe);
    return status;
}

/* The step that the newest checkpoint calls the best, where its model is wanted. A finished run's
 * newest checkpoint holds that model itself. */
static dart_status load_best(const loading *l, const dart_checkpoint *newest, bool *out_done)
{
    json_t *state;
    dart_checkpoint best;
    bool wanted = false;
    *out_done = false;
    DART_TRY(dart_state_parse(newest, &state));
    json_t *entry = json_object_get(state, "best");
    const json_int_t step = json_integer_value(json_object_get(entry, "step"));
    const double nll = dart_json_number(entry, "nll");
    const bool finished = json_integer_value(json_object_get(state, "finished")) != 0;
    json_decref(state);
    if (step < 1) return DART_OK;
    DART_TRY(wants_best(l, newest, &wanted));
    if (!wanted) return DART_OK;
    if (!finished && (uint64_t)step != newest->step) {
        char root[sizeof newest->path + 32];
        snprintf(root, sizeof root, "%s/checkpoints", l->run);
        dart_status status = dart_checkpoint_at(root, (uint64_t)step, &best);
        if (status == DART_OK) status = load_one(l, &best);
        dart_checkpoint_close(&best);
        *out_done = status == DART_OK;
        if (status == DART_INPUT) {
            dart_note_line(l->note, "%s; the newest one is taken instead", dart_error_text());
            return DART_OK;
        }
        DART_TRY(status);
    }
    dart_note_line(l->note,
        "%s: the model of step %" JSON_INTEGER_FORMAT ", the best validation loss (%.4f)", l->run,
        step, nll);
    return DART_OK;
}

/* dart_checkpoint_load */
static dart_status load(void *user, const dart_checkpoint *checkpoint)
{
    const loading *l = user;
    bool done = false;
    if (l->run) DART_TRY(load_best(l, checkpoint, &done));
    return done ? DART_OK : load_one(l, checkpoint);
}

/* Whether the option says what the model is. */
static bool of_the_model(const dart_option *option)
{
    if (!strcmp(option->key, "base")) return false; /* it was read; its numbers are compared */
    return !strcmp(option->section, "model") || !strcmp(option->section, "method") ||
           !strcmp(option->key, "shared_vocab");
}

/* What the user gives now, over what was stored. */
static dart_status override(const char *path, const dart_recipe *given, dart_bundle *out)
{
    char stored[512], now[512];
    dart_recipe *mixed;
    dart_status status = DART_OK;
    DART_TRY(dart_recipe_copy(out->recipe, &mixed));
    DART_GOTO(dart_recipe_overlay(mixed, given));
    for (uint32_t i = 0; dart_option_at(i); i++) {
        const dart_option *option = dart_option_at(i);
        if (!of_the_model(option)) continue;
        DART_GOTO(dart_recipe_get(out->recipe, option->key, stored, sizeof stored));
        DART_GOTO(dart_recipe_get(mixed, option->key, now, sizeof now));
        if (dart_recipe_same_value((int)i, stored, now)) continue;
        status = dart_fail(DART_INPUT,
            "%s is part of the model in %s, where it is %s; it cannot be %s here", option->key,
            path, stored, now);
        goto done;
    }
    dart_recipe_free(out->recipe);
    out->recipe = mixed;
    mixed = NULL;
    dart_recipe_settings(out->recipe, &out->set);
done:
    dart_recipe_free(mixed);
    return status;
}

/* A pretrained model as it is: nothing is adapted, its context as long as it goes. */
static dart_status open_base(const char *path, const dart_recipe *overrides, dart_bundle *out)
{
    DART_TRY(dart_recipe_new(&out->recipe));
    if (overrides) DART_TRY(dart_recipe_overlay(out->recipe, overrides));
    DART_TRY(dart_recipe_set(out->recipe, "base", path));
    DART_TRY(dart_recipe_set(out->recipe, "linear", "frozen"));
    DART_TRY(dart_base_resolve(out->recipe));
    dart_recipe_settings(out->recipe, &out->set);
    out->stored = dart_calloc(2, sizeof *out->stored);
    if (!out->stored) return DART_MEMORY;
    out->vocab = &out->stored[0];
    out->source_vocab = &out->stored[1];
    DART_TRY(dart_tokenizer_for(&out->set, &out->stored[0]));
    DART_TRY(dart_bundle_model(out, NULL, NULL));
    return dart_bundle_begin(out);
}

dart_status dart_bundle_open(
    const char *path, const dart_recipe *overrides, dart_note note, dart_bundle *out)
{
    dart_checkpoint checkpoint = {0};
    loading l = {out, overrides, NULL, note};
    char inner[4096 + 32];
    dart_status status;
    *out = (dart_bundle){0};
    if (dart_base_found(path)) return open_base(path, overrides, out);
    if (snprintf(inner, sizeof inner, "%s/manifest.json", path) >= 4096)
        return dart_fail(DART_INPUT, "the path %.200s... is too long", path);
    if (dart_file_exists(inner)) {
        status = dart_checkpoint_open(path, &checkpoint);
        if (status == DART_OK) status = load(&l, &checkpoint);
    } else {
        snprintf(inner, sizeof inner, "%s/checkpoints", path);
        if (!dart_file_exists(inner))
            return dart_fail(DART_INPUT,
                "%s is neither a run directory nor a checkpoint (the path that train printed), nor "
                "a "
                "pretrained model (a folder with config.json, a .gguf file, a .bin of llama2.c)",
                path);
        l.run = path;
        status = dart_checkpoint_newest(inner, note, load, &l, &checkpoint);
    }
    dart_checkpoint_close(&checkpoint);
    if (status == DART_OK && overrides) status = override(path, overrides, out);
    return status;
}
