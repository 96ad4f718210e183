/* The stages that a recipe without any of its own stands for. */
#include "stages.h"
#include "recipe_impl.h"
#include "reg.h"
#include "select.h"
#include <math.h>

/* One derived stage: `part` of the epochs (or of the steps) behind `before` of them, with these
 * overrides. Where stages meet is rounded, not their lengths: so these add up to max_steps. */
static dart_status derive(dart_recipe *recipe, const dart_settings *set, const char *name,
    double before, double part, uint32_t count, const char *const (*overrides)[2])
{
    dart_recipe_stage *stage = &recipe->stage[recipe->stages++];
    const double all = (double)set->max_steps;
    *stage = (dart_recipe_stage){.name = name};
    if (set->max_steps)
        DART_TRY(dart_recipe_stage_number(
            recipe, stage, "max_steps", round((before + part) * all) - round(before * all)));
    else
        DART_TRY(dart_recipe_stage_number(recipe, stage, "epochs", part * set->epochs));
    for (uint32_t i = 0; i < count; i++)
        DART_TRY(dart_recipe_stage_set(recipe, stage, overrides[i][0], overrides[i][1]));
    return DART_OK;
}

/* The stages in which ranks fall, `rest` of the run. A rule that reads gates gets a stage with
 * them, after one with the penalty if there is one. */
static dart_status derive_falling(dart_recipe *recipe, const dart_settings *set, double rest)
{
    const dart_reg *reg = dart_settings_reg(set);
    const bool gated = reg && reg->gate, penalty = reg && !reg->gate;
    const double begin = set->warmup_fraction;
    const char *until = recipe->value[dart_recipe_key("until")];
    const char *shrink[5][2] = {
        {"lr_scheduler", "constant"}, {"warmup_steps", "0"}, {"until", until}};
    uint32_t count = 3;
    if (penalty) {
        shrink[count][0] = "reg";
        shrink[count++][1] = reg->name;
    }
    if (set->ordered_dropout > 0) {
        shrink[count][0] = "ordered_dropout";
        shrink[count++][1] = recipe->value[dart_recipe_key("ordered_dropout")];
    }
    const char *const choose[][2] = {{"lr_scheduler", "constant"}, {"warmup_steps", "0"},
        {"reg", gated ? reg->name : set->select->gate}};
    if (gated || set->select->gate) {
        bool first = !gated && count > 3;
        if (first) DART_TRY(derive(recipe, set, "shrink", begin, rest / 2, count, shrink));
        const double half = first ? rest / 2 : 0;
        return derive(recipe, set, "choose", begin + half, rest - half, 3, choose);
    }
    return derive(recipe, set, "shrink", begin, rest, count, shrink);
}

/* Ranks that grow: while they do, without a penalty that makes them fall, and with what they
 * became.
 */
static dart_status derive_growing(dart_recipe *recipe, const dart_settings *set)
{
    const double part = 1 - set->tune_fraction;
    const char *const grow[][2] = {{"lr_scheduler", "constant"}, {"select", set->select->name}};
    const char *const tune[][2] = {{"warmup_steps", "0"}};
    DART_TRY(derive(recipe, set, "grow", 0, part, 2, grow));
    if (set->tune_fraction > 0)
        DART_TRY(derive(recipe, set, "tune", part, set->tune_fraction, 1, tune));
    return DART_OK;
}

static dart_status expand(dart_recipe *recipe)
{
    if (recipe->stages) return DART_OK;
    dart_settings set;
    dart_recipe_settings(recipe, &set);
    const dart_reg *reg = dart_settings_reg(&set);
    const bool compress = dart_settings_compress(&set);
    if (!compress || !set.select) {
        /* There is no other stage that could stop early. */
        const char *const plain[][2] = {{"reg", reg ? reg->name : "none"},
            {"early_stopping_patience", recipe->value[dart_recipe_key("early_stopping_patience")]}};
        const uint32_t own = set.early_stopping_patience ? 2 : 1;
        return derive(recipe, &set, "train", 0, 1, reg && compress ? own : 0, plain);
    }
    if (set.warmup_fraction + set.tune_fraction > 1)
        return dart_fail(DART_INPUT, "warmup_fraction %g and tune_fraction %g are together above 1",
            set.warmup_fraction, set.tune_fraction);
    if (set.select->observe) return derive_growing(recipe, &set);
    const char *const warmup[][2] = {{"lr_scheduler", "constant"}};
    const char *const pick[][2] = {{"select", set.select->name}};
    double rest = 1 - set.warmup_fraction - set.tune_fraction;
    if (set.warmup_fraction > 0)
        DART_TRY(derive(recipe, &set, "warmup", 0, set.warmup_fraction, 1, warmup));
    if (rest > 0) DART_TRY(derive_falling(recipe, &set, rest));
    const double tuned = 1 - set.tune_fraction;
    DART_TRY(derive(recipe, &set, "pick", tuned, 0, 1, pick));
    if (set.tune_fraction > 0)
        DART_TRY(derive(recipe, &set, "tune", tuned, set.tune_fraction, 0, NULL));
    return DART_OK;
}

dart_status dart_recipe_expand(dart_recipe *recipe)
{
    DART_TRY(expand(recipe));
    return dart_recipe_settle(recipe);
}
