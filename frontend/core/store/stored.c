/* A run's checkpoints as bundles: the one that was named, the newest, or the best. */
#include "bundle.h"
#include "file.h"
#include <stdio.h>
#include <string.h>

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

dart_status dart_bundle_stored(
    const char *path, const dart_recipe *overrides, dart_note note, dart_bundle *out)
{
    dart_checkpoint checkpoint = {0};
    loading l = {out, overrides, NULL, note};
    char inner[4096 + 32];
    dart_status status;
    *out = (dart_bundle){0};
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
                "a pretrained model (a folder with config.json, a .gguf file, a .bin of llama2.c, "
                "the name of one that datasets/fetch got)",
                path);
        l.run = path;
        status = dart_checkpoint_newest(inner, note, load, &l, &checkpoint);
    }
    dart_checkpoint_close(&checkpoint);
    return status;
}
