/* Recipes: values, stages, and what they resolve to. The table of options is in table.c, YAML in
 * recipe_yaml.c. */
#include "c_locale.h"
#include "recipe_impl.h"
#include "reg.h"
#include "select.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- recipes ---- */

dart_status dart_recipe_new(dart_recipe **out)
{
    *out = dart_calloc(1, sizeof **out);
    if (!*out) return DART_MEMORY;
    for (int i = 0; i < dart_recipe_rows(); i++)
        (*out)->value[i] = dart_recipe_row_at(i)->option.fallback;
    return DART_OK;
}

void dart_recipe_free(dart_recipe *recipe)
{
    if (!recipe) return;
    dart_arena_free(&recipe->arena);
    free(recipe);
}

dart_status dart_recipe_set(dart_recipe *recipe, const char *key, const char *value)
{
    int i = dart_recipe_key(key);
    if (i < 0) return dart_recipe_unknown(DART_USAGE, "option", key);
    DART_TRY(dart_recipe_value(i, value));
    const char *copy = dart_arena_strdup(&recipe->arena, dart_recipe_proper(i, value));
    if (!copy) return DART_MEMORY;
    recipe->value[i] = copy;
    recipe->given[i] = true;
    return DART_OK;
}

void dart_recipe_unset(dart_recipe *recipe, const char *key)
{
    const int i = dart_recipe_key(key);
    if (i < 0) return;
    recipe->value[i] = dart_option_at((uint32_t)i)->fallback;
    recipe->given[i] = false;
}

bool dart_recipe_has(const dart_recipe *recipe, const char *key)
{
    const int i = dart_recipe_key(key);
    return i >= 0 && recipe->given[i];
}

dart_status dart_recipe_get(const dart_recipe *recipe, const char *key, char *out, size_t size)
{
    int i = dart_recipe_key(key);
    if (i < 0) return dart_recipe_unknown(DART_USAGE, "option", key);
    if ((size_t)snprintf(out, size, "%s", recipe->value[i]) >= size)
        return dart_fail(DART_USAGE, "the value of %s is too long", key);
    return DART_OK;
}

void dart_recipe_settings(const dart_recipe *recipe, dart_settings *out)
{
    *out = (dart_settings){0};
    for (int i = 0; i < dart_recipe_rows(); i++) dart_recipe_parse(i, recipe->value[i], out);
    out->unlabelled = !strcmp(out->labels, "none");
    if (out->unlabelled) out->labels = "";
}

dart_status dart_recipe_stage_set(
    dart_recipe *recipe, dart_recipe_stage *stage, const char *key, const char *value)
{
    int i = dart_recipe_key(key);
    stage->value[i] = dart_arena_strdup(&recipe->arena, value);
    return stage->value[i] ? DART_OK : DART_MEMORY;
}

dart_status dart_recipe_stage_number(
    dart_recipe *recipe, dart_recipe_stage *stage, const char *key, double value)
{
    char text[64];
    locale_t before = dart_locale_enter();
    snprintf(text, sizeof text, value == floor(value) ? "%.0f" : "%.9g", value);
    dart_locale_leave(before);
    return dart_recipe_stage_set(recipe, stage, key, text);
}

dart_status dart_recipe_stages(const dart_recipe *recipe, uint64_t windows,
    dart_stage out[DART_MAX_STAGES], uint32_t *out_count)
{
    static const char *const own[] = {"reg", "select", "epochs", "max_steps", "until",
        "ordered_dropout", "early_stopping_patience"};
    enum { REG, SELECT, EPOCHS, STEPS, UNTIL, ORDERED, PATIENCE, OWN };
    uint64_t total = 0;
    for (uint32_t s = 0; s < recipe->stages; s++) {
        const dart_recipe_stage *stage = &recipe->stage[s];
        dart_settings *set = &out[s].set;
        const char *given[OWN];
        for (int i = 0; i < OWN; i++) given[i] = stage->value[dart_recipe_key(own[i])];
        dart_recipe_settings(recipe, set);
        for (int i = 0; i < dart_recipe_rows(); i++)
            if (stage->value[i]) dart_recipe_parse(i, stage->value[i], set);
        /* A stage has a penalty, a selection or a trigger only if it says so itself. */
        if (!given[REG] && !stage->value[dart_recipe_key("lambda_reg")]) set->reg = NULL;
        if (!given[SELECT]) set->select = NULL;
        if (!given[UNTIL]) set->until = DART_UNTIL_STEPS;
        if (!given[ORDERED]) set->ordered_dropout = 0;
        /* Ranks that fall are paid for with validation loss. */
        if (!given[PATIENCE] && (set->reg || set->ordered_dropout > 0))
            set->early_stopping_patience = 0;
        if (stage->value[dart_recipe_key("lambda_schedule")] && set->lambda_warmup == 0 &&
            set->lambda_schedule != DART_LAMBDA_CONSTANT)
            return dart_fail(DART_INPUT,
                "stage '%s' has lambda_schedule %s and no lambda_warmup to say how long lambda "
                "rises",
                stage->name, stage->value[dart_recipe_key("lambda_schedule")]);
        snprintf(out[s].name, sizeof out[s].name, "%s", stage->name);
        out[s].grows = set->select && set->select->observe;
        out[s].pick = set->select && !out[s].grows;
        double steps = 0;
        if (given[STEPS] && set->max_steps)
            steps = (double)set->max_steps;
        else if (given[EPOCHS])
            steps = round(set->epochs * (double)windows /
                          ((double)set->batch_size * (double)set->gradient_accumulation_steps));
        if (given[EPOCHS] && !(given[STEPS] && set->max_steps) && set->epochs > 0 && steps < 1)
            steps = 1;
        if (!given[EPOCHS] && !given[STEPS] && !out[s].pick)
            return dart_fail(
                DART_INPUT, "stage '%s' has neither epochs nor steps nor select", stage->name);
        if (steps > 1e12)
            return dart_fail(
                DART_INPUT, "stage '%s' has %.3g steps; use fewer epochs", stage->name, steps);
        out[s].steps = (uint64_t)steps;
        total += out[s].steps;
    }
    /* max_steps of the recipe bounds the whole run; longer stages shrink in proportion. */
    dart_settings all;
    dart_recipe_settings(recipe, &all);
    if (all.max_steps && total > (uint64_t)all.max_steps) {
        uint64_t done = 0, before = 0;
        for (uint32_t s = 0; s < recipe->stages; s++) {
            before += out[s].steps;
            uint64_t until =
                (uint64_t)llround((double)before / (double)total * (double)all.max_steps);
            out[s].steps = until - done;
            done = until;
        }
    }
    *out_count = recipe->stages;
    if (!total)
        return dart_fail(DART_INPUT, "the recipe has no training steps; give epochs or max_steps");
    return DART_OK;
}

const char *dart_recipe_difference(const dart_recipe *a, const dart_recipe *b)
{
    for (int i = 0; i < dart_recipe_rows(); i++)
        if (strcmp(dart_recipe_row_at(i)->option.section, "run") &&
            !dart_recipe_same_value(i, a->value[i], b->value[i]))
            return dart_recipe_row_at(i)->option.key;
    if (a->stages != b->stages) return "stages";
    for (uint32_t s = 0; s < a->stages; s++)
        for (int i = 0; i < dart_recipe_rows(); i++) {
            const char *x = a->stage[s].value[i], *y = b->stage[s].value[i];
            if (!x != !y || (x && !dart_recipe_same_value(i, x, y))) return "stages";
        }
    return NULL;
}

dart_status dart_recipe_twin(dart_recipe *recipe)
{
    static const char *const roles[] = {"linear", "embedding", "head"};
    for (int i = 0; i < 3; i++) DART_TRY(dart_recipe_set(recipe, roles[i], "dense"));
    DART_TRY(dart_recipe_set(recipe, "weights", ""));
    DART_TRY(dart_recipe_set(recipe, "dense_twin", "false"));
    uint32_t kept = 0;
    int select = dart_recipe_key("select"), reg = dart_recipe_key("reg");
    int lambda = dart_recipe_key("lambda_reg"), until = dart_recipe_key("until");
    int epochs = dart_recipe_key("epochs"), steps = dart_recipe_key("max_steps");
    for (uint32_t s = 0; s < recipe->stages; s++) {
        dart_recipe_stage stage = recipe->stage[s];
        bool trains = stage.value[epochs] || stage.value[steps];
        stage.value[select] = stage.value[reg] = stage.value[lambda] = NULL;
        stage.value[until] = stage.value[dart_recipe_key("ordered_dropout")] = NULL;
        if (trains) recipe->stage[kept++] = stage;
    }
    recipe->stages = kept;
    return DART_OK;
}
