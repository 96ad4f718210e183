/* Values that are to act whatever a recipe's stages say: flags and the environment; and recipes
 * over recipes. */
#include "names.h"
#include "recipe_impl.h"
#include <stdio.h>
#include <string.h>

static const char *stage_name_at(const void *recipe, uint32_t index)
{
    const dart_recipe *r = recipe;
    return index < r->stages ? r->stage[index].name : NULL;
}

/* "shrink.lambda_reg" names a key of a stage, "model.layers" and "layers" one of the recipe. */
static const char *stage_key(const char *key, char stage[64])
{
    const char *dot = strchr(key, '.');
    if (!dot || dot == key || dot - key >= 64) return NULL;
    snprintf(stage, 64, "%.*s", (int)(dot - key), key);
    return dart_recipe_is_section(stage) ? NULL : dot + 1;
}

dart_status dart_recipe_shadowed(const dart_recipe *recipe, int key)
{
    const char *name = dart_recipe_row_at(key)->option.key;
    if (!strcmp(name, "max_steps") || !recipe->stages) return DART_OK;
    for (uint32_t i = 0; i < recipe->stages; i++)
        if (recipe->stage[i].value[key])
            return dart_fail(DART_INPUT, "stage '%s' has its own %s; write %s.%s",
                recipe->stage[i].name, name, recipe->stage[i].name, name);
    if (strcmp(name, "epochs")) return DART_OK;
    return dart_fail(DART_INPUT, "the recipe's stages say how long they are; write %s.epochs",
        recipe->stage[0].name);
}

/* max_steps bounds the whole run: above the sum of its stages it would do nothing. How long a stage
 * of epochs is depends on the data, which are not known here. */
static dart_status bound_acts(const dart_recipe *recipe, int key, const char *value)
{
    dart_settings set;
    long long total = 0;
    const char *last = NULL;
    for (uint32_t i = 0; i < recipe->stages; i++) {
        const dart_recipe_stage *stage = &recipe->stage[i];
        if (stage->value[dart_recipe_key("epochs")]) return DART_OK;
        if (!stage->value[key]) continue;
        dart_recipe_parse(key, stage->value[key], &set);
        total += set.max_steps;
        if (set.max_steps) last = stage->name;
    }
    DART_TRY(dart_recipe_value(key, value));
    dart_recipe_parse(key, value, &set);
    if (!last || set.max_steps <= total) return DART_OK;
    return dart_fail(DART_INPUT,
        "the recipe's stages come to %lld steps, and max_steps %s is only a bound on them; write "
        "%s.max_steps",
        total, value, last);
}

static dart_status override_stage(
    dart_recipe *recipe, const char *name, const char *inner, const char *value)
{
    const int key = dart_recipe_key(inner);
    if (key < 0) return dart_recipe_unknown(DART_USAGE, "key of a stage", inner);
    if (strcmp(dart_recipe_row_at(key)->option.section, "stage"))
        return dart_fail(DART_USAGE, "%s holds for the whole run, not for a stage", inner);
    DART_TRY(dart_recipe_value(key, value));
    const char *own = dart_recipe_row_at(key)->option.key;
    for (uint32_t i = 0; i < recipe->stages; i++) {
        if (strcmp(recipe->stage[i].name, name)) continue;
        /* The bound on the whole run would take back what a longer stage asks for. */
        if (!strcmp(own, "max_steps") || !strcmp(own, "epochs"))
            DART_TRY(dart_recipe_set(recipe, "max_steps", "0"));
        return dart_recipe_stage_set(recipe, &recipe->stage[i], own, value);
    }
    if (recipe->stages)
        return dart_name_unknown(DART_USAGE, "stage", name, stage_name_at, recipe, "");
    /* Its stages are not known yet. */
    if (recipe->pendings == DART_RECIPE_PENDING)
        return dart_fail(DART_USAGE, "more than %d keys of stages", DART_RECIPE_PENDING);
    const char *whole = dart_arena_printf(&recipe->arena, "%s.%s", name, inner);
    const char *copy = dart_arena_strdup(&recipe->arena, value);
    if (!whole || !copy) return DART_MEMORY;
    recipe->pending[recipe->pendings][0] = whole;
    recipe->pending[recipe->pendings++][1] = copy;
    return DART_OK;
}

/* ---- where the data come from ---- */

/* Keys that name data, only one of which says what they are, and the key that belongs to it. */
static const struct {
    const char *key, *part;
} sources[] = {{"dataset", NULL}, {"text", NULL}, {"examples", "valid_examples"},
    {"source_text", "target_text"}};
enum { SOURCES = sizeof sources / sizeof *sources };

/* Other data take the place of those that a file or a stored recipe names. `kept`: a part that came
 * with them. */
static void forget_sources(dart_recipe *recipe, int but, bool kept)
{
    for (int i = 0; i < SOURCES; i++) {
        if (i != but) dart_recipe_unset(recipe, sources[i].key);
        if (sources[i].part && (i != but || !kept)) dart_recipe_unset(recipe, sources[i].part);
    }
}

static dart_status override_source(dart_recipe *recipe, int row, const char *value)
{
    const char *key = dart_recipe_row_at(row)->option.key;
    for (int i = 0; i < SOURCES && *value; i++) {
        if (strcmp(sources[i].key, key)) continue;
        for (int k = 0; k < SOURCES; k++)
            if (k != i && recipe->over[dart_recipe_key(sources[k].key)])
                return dart_fail(DART_USAGE,
                    "%s and %s both say what the data are; give one of them", sources[k].key, key);
        const char *part = sources[i].part;
        forget_sources(recipe, i, part && recipe->over[dart_recipe_key(part)]);
    }
    recipe->over[row] = *value;
    return DART_OK;
}

dart_status dart_recipe_override(dart_recipe *recipe, const char *key, const char *value)
{
    char stage[64];
    const char *inner = stage_key(key, stage);
    if (inner) return override_stage(recipe, stage, inner, value);
    const char *dot = strchr(key, '.');
    if (dot) key = dot + 1; /* behind a section */
    const int row = dart_recipe_key(key);
    if (row >= 0) DART_TRY(dart_recipe_shadowed(recipe, row));
    if (row >= 0 && row == dart_recipe_key("max_steps")) DART_TRY(bound_acts(recipe, row, value));
    if (row >= 0) DART_TRY(override_source(recipe, row, value));
    return dart_recipe_set(recipe, key, value);
}

dart_status dart_recipe_settle(dart_recipe *recipe)
{
    const uint32_t count = recipe->pendings;
    recipe->pendings = 0;
    for (uint32_t i = 0; i < count; i++)
        DART_TRY(dart_recipe_override(recipe, recipe->pending[i][0], recipe->pending[i][1]));
    return DART_OK;
}

/* ---- one recipe over another ---- */

dart_status dart_recipe_overlay(dart_recipe *recipe, const dart_recipe *over)
{
    for (int i = 0; i < SOURCES; i++)
        if (*over->value[dart_recipe_key(sources[i].key)]) {
            forget_sources(recipe, -1, false);
            break;
        }
    for (int i = 0; i < dart_recipe_rows(); i++)
        if (over->given[i])
            DART_TRY(dart_recipe_set(recipe, dart_recipe_row_at(i)->option.key, over->value[i]));
    for (uint32_t i = 0; i < over->pendings; i++)
        DART_TRY(dart_recipe_override(recipe, over->pending[i][0], over->pending[i][1]));
    if (!over->stages) return DART_OK;
    recipe->stages = over->stages;
    for (uint32_t s = 0; s < over->stages; s++) {
        recipe->stage[s] = (dart_recipe_stage){0};
        recipe->stage[s].name = dart_arena_strdup(&recipe->arena, over->stage[s].name);
        if (!recipe->stage[s].name) return DART_MEMORY;
        for (int i = 0; i < dart_recipe_rows(); i++) {
            if (!over->stage[s].value[i]) continue;
            recipe->stage[s].value[i] = dart_arena_strdup(&recipe->arena, over->stage[s].value[i]);
            if (!recipe->stage[s].value[i]) return DART_MEMORY;
        }
    }
    return DART_OK;
}

dart_status dart_recipe_copy(const dart_recipe *recipe, dart_recipe **out)
{
    DART_TRY(dart_recipe_new(out));
    dart_status status = dart_recipe_overlay(*out, recipe);
    if (status != DART_OK) {
        dart_recipe_free(*out);
        *out = NULL;
    }
    return status;
}
