/* A run of ours as what another run begins with. */
#include "origin.h"
#include "file.h"
#include "recipe_impl.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Whether both are ways to have a matrix as it is: the tensor is the same one. */
static bool both_whole(const char *a, const char *b)
{
    return (!strcmp(a, "dense") || !strcmp(a, "frozen")) &&
           (!strcmp(b, "dense") || !strcmp(b, "frozen"));
}

/* What is part of the model and yet may be another one in the run that goes on. */
static bool may_differ(const dart_recipe *stored, const char *key, const char *was, const char *now)
{
    char arch[32], pos[32];
    if (!strcmp(key, "dropout") || !strcmp(key, "train_vectors")) return true;
    if (!strcmp(key, "embedding") || !strcmp(key, "head") || !strcmp(key, "linear"))
        return both_whole(was, now);
    if (strcmp(key, "context") != 0) return false;
    if (dart_recipe_get(stored, "arch", arch, sizeof arch) != DART_OK ||
        dart_recipe_get(stored, "pos", pos, sizeof pos) != DART_OK)
        return false;
    return !strcmp(pos, "rope") || (!strcmp(pos, "auto") && !strcmp(arch, "llama"));
}

/* All that the stored recipe says of the model. */
static dart_status take_model(dart_recipe *recipe, const dart_recipe *stored, const char *path)
{
    char was[DART_RECIPE_TEXT], now[DART_RECIPE_TEXT];
    for (uint32_t i = 0; dart_option_at(i); i++) {
        const dart_option *option = dart_option_at(i);
        const bool base = !strcmp(option->key, "base");
        /* Adapters that the run began with are part of its values by now. */
        if (!strcmp(option->key, "adapter")) continue;
        if (!base && !dart_bundle_option(option)) continue;
        DART_TRY(dart_recipe_get(stored, option->key, was, sizeof was));
        if (!dart_recipe_has(recipe, option->key)) {
            DART_TRY(dart_recipe_set(recipe, option->key, was));
            continue;
        }
        DART_TRY(dart_recipe_get(recipe, option->key, now, sizeof now));
        if (base) continue; /* it may lie elsewhere by now; its numbers are compared */
        if (dart_recipe_same_value((int)i, was, now) || may_differ(stored, option->key, was, now))
            continue;
        return dart_fail(DART_INPUT,
            "%s is part of the model in %s, where it is %s; a run that goes on from it cannot have "
            "%s",
            option->key, path, *was ? was : "empty", now);
    }
    return DART_OK;
}

/* `base` may name a run of ours too. */
static dart_status find_path(dart_recipe *recipe, char path[DART_RECIPE_TEXT])
{
    char base[DART_RECIPE_TEXT], inner[DART_RECIPE_TEXT + 32];
    DART_TRY(dart_recipe_get(recipe, "init_from", path, DART_RECIPE_TEXT));
    if (*path) return DART_OK;
    DART_TRY(dart_recipe_get(recipe, "base", base, sizeof base));
    snprintf(inner, sizeof inner, "%s/recipe.yaml", base);
    if (!*base || dart_base_found(base) || !dart_file_exists(inner)) return DART_OK;
    strcpy(path, base);
    dart_recipe_unset(recipe, "base");
    return DART_OK;
}

static dart_status prefer(dart_recipe *recipe, const char *key, const char *value)
{
    return dart_recipe_has(recipe, key) ? DART_OK : dart_recipe_set(recipe, key, value);
}

dart_status dart_origin_resolve(dart_recipe *recipe)
{
    char path[DART_RECIPE_TEXT], inner[DART_RECIPE_TEXT + 32], whole[PATH_MAX];
    dart_recipe *stored;
    DART_TRY(find_path(recipe, path));
    if (!*path) return dart_base_resolve(recipe);
    DART_TRY(dart_recipe_get(recipe, "adapter", inner, sizeof inner));
    if (*inner)
        return dart_fail(DART_INPUT,
            "an adapter stands beside a pretrained model, and %s is a run; leave out one of both",
            path);
    snprintf(inner, sizeof inner, "%s/recipe.yaml", path);
    if (!dart_file_exists(inner) || !realpath(path, whole))
        return dart_fail(DART_INPUT,
            "%s is no run to begin with: it has no recipe.yaml; a run directory or a checkpoint is "
            "expected",
            path);
    DART_TRY(dart_recipe_new(&stored));
    dart_status status = dart_recipe_load(stored, inner);
    if (status == DART_OK) status = take_model(recipe, stored, path);
    dart_recipe_free(stored);
    DART_TRY(status);
    DART_TRY(dart_recipe_set(recipe, "init_from", whole));
    DART_TRY(prefer(recipe, "learning_rate", "1e-3"));
    DART_TRY(prefer(recipe, "reg", "none"));
    DART_TRY(prefer(recipe, "select", "none"));
    return dart_base_resolve(recipe);
}

static float *values_of(const dart_bundle *b, const dart_param *param)
{
    return (param->region == DART_REGION_FROZEN ? b->frozen : b->param) + param->offset;
}

static const dart_param *find(const dart_model *model, const char *name)
{
    for (uint32_t p = 0; p < model->params; p++)
        if (!strcmp(model->param[p].name, name)) return &model->param[p];
    return NULL;
}

dart_status dart_origin_ranks(const dart_bundle *origin, uint32_t (**out)[DART_MAX_CORES + 1])
{
    const dart_model *model = origin->model;
    *out = dart_calloc(model->weights, sizeof **out);
    if (!*out) return DART_MEMORY;
    for (uint32_t w = 0; w < model->weights; w++)
        memcpy((*out)[w], model->weight[w].weight.ranks, sizeof **out);
    return DART_OK;
}

dart_status dart_origin_take(const dart_bundle *origin, dart_bundle *to)
{
    for (uint32_t p = 0; p < to->model->params; p++) {
        const dart_param *own = &to->model->param[p], *from = find(origin->model, own->name);
        if (!from || own->type != from->type || !dart_shape_equal(&own->shape, &from->shape))
            return dart_fail(
                DART_INPUT, "%s has no tensor %s of this shape", to->set.init_from, own->name);
        memcpy(values_of(to, own), values_of(origin, from), dart_param_words(own) * sizeof(float));
    }
    return DART_OK;
}
