/* The stages of recipes that have none of their own. */
#include "rank_options.h"
#include "reg.h"
#include "select.h"
#include "stages.h"
#include "tiny_run.h"

/* `train --dataset PTB --epochs 50 --lambda_reg 0.01 --threshold 0.1` as written. */
static void test_derived_stages(void **state)
{
    (void)state;
    static const char *const flags[][2] = {
        {"dataset", "PTB"}, {"epochs", "50"}, {"lambda_reg", "0.01"}, {"threshold", "0.1"}};
    dart_recipe *recipe;
    dart_stage stage[DART_MAX_STAGES];
    uint32_t stages;
    assert_int_equal(dart_recipe_new(&recipe), DART_OK);
    for (int i = 0; i < 4; i++)
        assert_int_equal(dart_recipe_set(recipe, flags[i][0], flags[i][1]), DART_OK);
    assert_int_equal(dart_recipe_expand(recipe), DART_OK);
    assert_int_equal(dart_recipe_stages(recipe, 7261, stage, &stages), DART_OK);
    assert_int_equal(stages, 4);
    const char *names[] = {"warmup", "shrink", "pick", "tune"};
    for (int i = 0; i < 4; i++) assert_string_equal(stage[i].name, names[i]);
    assert_int_equal(stage[0].steps, 4538); /* round(5 * 7261 / 8) */
    assert_int_equal(stage[1].steps, 27229);
    assert_int_equal(stage[3].steps, 13614);
    assert_string_equal(stage[1].set.reg->name, "bond-nuclear");
    assert_null(stage[0].set.reg);
    assert_null(stage[3].set.reg);
    assert_true(stage[2].pick);
    assert_true(dart_settings_option(&stage[2].set, &dart_row_threshold) == 0.1);
    assert_true(stage[1].set.lambda_reg == 0.01);
    dart_recipe *again;
    assert_int_equal(dart_recipe_save(recipe, tiny_path("derived.yaml")), DART_OK);
    assert_int_equal(dart_recipe_new(&again), DART_OK);
    assert_int_equal(dart_recipe_load(again, tiny_path("derived.yaml")), DART_OK);
    assert_null(dart_recipe_difference(recipe, again));
    dart_recipe_free(again);
    dart_recipe_free(recipe);

    assert_int_equal(dart_recipe_new(&recipe), DART_OK);
    assert_int_equal(dart_recipe_set(recipe, "linear", "dense"), DART_OK);
    assert_int_equal(dart_recipe_set(recipe, "max_steps", "12"), DART_OK);
    assert_int_equal(dart_recipe_expand(recipe), DART_OK);
    assert_int_equal(dart_recipe_stages(recipe, 100, stage, &stages), DART_OK);
    assert_int_equal(stages, 1);
    assert_int_equal(stage[0].steps, 12);
    assert_false(stage[0].pick);
    dart_recipe_free(recipe);
}

/* Whatever their shares, the stages come to the steps that were asked for. */
static void test_every_step(void **state)
{
    (void)state;
    static const char *const rules[] = {"threshold", "gumbel", "none", "increlora"};
    for (int i = 0; i < 4; i++)
        for (unsigned steps = 1; steps < 24; steps++) {
            char text[8];
            dart_stage stage[DART_MAX_STAGES];
            uint32_t count;
            uint64_t total = 0;
            snprintf(text, sizeof text, "%u", steps);
            dart_recipe *recipe = tiny_recipe(tiny_path("steps"), "");
            tiny_set(recipe, "select", rules[i]);
            tiny_set(recipe, "max_steps", text);
            assert_int_equal(dart_recipe_expand(recipe), DART_OK);
            assert_int_equal(dart_recipe_stages(recipe, 1000, stage, &count), DART_OK);
            for (uint32_t s = 0; s < count; s++) total += stage[s].steps;
            assert_int_equal(total, steps);
            dart_recipe_free(recipe);
        }
}

/* Without stages, the rules make their own. */
static void test_expand(void **state)
{
    static const char *const rules[][2] = {{"gates", "hard-concrete"}, {"gumbel", "gumbel"}};
    (void)state;
    for (int i = 0; i < 2; i++) {
        dart_stage stage[DART_MAX_STAGES];
        uint32_t count;
        dart_recipe *recipe = tiny_recipe(tiny_path("expand"), "");
        tiny_set(recipe, "select", rules[i][0]);
        tiny_set(recipe, "max_steps", "100");
        assert_int_equal(dart_recipe_expand(recipe), DART_OK);
        assert_int_equal(dart_recipe_stages(recipe, 1000, stage, &count), DART_OK);
        assert_int_equal(count, 5);
        static const char *const names[] = {"warmup", "shrink", "choose", "pick", "tune"};
        for (uint32_t s = 0; s < 5; s++) assert_string_equal(stage[s].name, names[s]);
        assert_string_equal(stage[1].set.reg->name, "bond-nuclear");
        assert_string_equal(stage[2].set.reg->name, rules[i][1]);
        assert_string_equal(stage[3].set.select->name, rules[i][0]);
        assert_null(stage[4].set.reg);
        assert_true(stage[2].steps > 0 && stage[1].steps > 0);
        dart_recipe_free(recipe);
    }
}

/* Ranks that grow need no selection in between. */
static void test_growing(void **state)
{
    (void)state;
    dart_stage stage[DART_MAX_STAGES];
    uint32_t count;
    dart_recipe *recipe = tiny_recipe(tiny_path("growing"), "");
    tiny_set(recipe, "select", "increlora");
    tiny_set(recipe, "max_steps", "100");
    tiny_set(recipe, "tune_fraction", "0.4");
    tiny_set(recipe, "warmup_steps", "5");
    assert_int_equal(dart_recipe_expand(recipe), DART_OK);
    assert_int_equal(dart_recipe_stages(recipe, 1000, stage, &count), DART_OK);
    assert_int_equal(count, 2);
    assert_string_equal(stage[0].name, "grow");
    assert_string_equal(stage[1].name, "tune");
    assert_true(stage[0].grows && !stage[0].pick && stage[0].steps == 60);
    assert_true(!stage[1].grows && !stage[1].pick && stage[1].steps == 40);
    assert_null(stage[0].set.reg);
    assert_null(stage[1].set.select);
    assert_true(stage[0].set.warmup_steps == 5 && stage[1].set.warmup_steps == 0);
    dart_recipe_free(recipe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_derived_stages),
        cmocka_unit_test(test_every_step), cmocka_unit_test(test_expand),
        cmocka_unit_test(test_growing)};
    return cmocka_run_group_tests(tests, tiny_set_up, tiny_tear_down);
}
