/* Every penalty in a whole run, with every rule that has a size; svt, which acts between the steps,
 * stopped and resumed at every step. */
#include "tiny_run.h"
#include "reg.h"
#include <math.h>

static void stages_of(char *text, size_t size, const char *reg, const char *select)
{
    snprintf(text, size,
        "stages:\n"
        "  - {name: shrink, steps: 12, reg: %s, lambda_reg: 0.05, svt_steps: 5}\n"
        "  - {name: pick, select: %s, budget: 0.6}\n"
        "  - {name: tune, steps: 4}\n",
        reg, select);
}

static void test_every_penalty_trains(void **state)
{
    (void)state;
    static const char *const rules[] = {"budget", "uniform", "random", "tail-norm"};
    unsigned runs = 0;
    for (uint32_t i = 0; dart_reg_at(i); i++, runs++) {
        char stages[512];
        const char *rule = rules[i % 4];
        stages_of(stages, sizeof stages, dart_reg_at(i)->name, rule);
        dart_recipe *recipe = tiny_recipe(tiny_path(dart_reg_at(i)->name), stages);
        if (i % 2) tiny_set(recipe, "reg_weighting", "price");
        tiny_watch w = {0};
        dart_result result = {0};
        if (tiny_train(recipe, &w, &result) != DART_OK)
            fail_msg("%s: %s", dart_reg_at(i)->name, dart_error_text());
        assert_true(isfinite(result.final_loss));
        assert_int_equal(result.rows, 3);
        uint64_t before = result.row[0].compressed_params, after = result.row[2].compressed_params;
        if (strcmp(rule, "tail-norm")) assert_true((double)after <= 0.6 * (double)before);
        if (!strcmp(rule, "budget") || !strcmp(rule, "random"))
            assert_true((double)after >= 0.59 * (double)before);
        dart_recipe_free(recipe);
    }
    printf("%u penalties trained\n", runs);
    assert_true(runs >= 8);
}

static void test_svt_resumes(void **state)
{
    (void)state;
    char stages[512];
    tiny_watch whole = {0};
    dart_result result = {0};
    unsigned resumed = 0;
    stages_of(stages, sizeof stages, "svt", "threshold");
    dart_recipe *recipe = tiny_recipe(tiny_path("whole"), stages);
    assert_int_equal(tiny_train(recipe, &whole, &result), DART_OK);
    dart_recipe_free(recipe);
    for (uint64_t stop = 1; stop < whole.total; stop++, resumed++) {
        tiny_watch w = {.stop_at = stop};
        recipe = tiny_recipe(tiny_path("part"), stages);
        assert_int_equal(tiny_train(recipe, &w, &result), DART_INTERRUPTED);
        tiny_set(recipe, "resume", "true");
        w = (tiny_watch){0};
        if (tiny_train(recipe, &w, &result) != DART_OK) fail_msg("%s", dart_error_text());
        dart_recipe_free(recipe);
        tiny_assert_same("whole", "part", "metrics.jsonl");
        tiny_assert_same("whole", "part", "spectra.jsonl");
        char last[64];
        snprintf(last, sizeof last, "checkpoints/step-%08llu/model.safetensors",
            (unsigned long long)whole.total);
        tiny_assert_same("whole", "part", last);
        assert_int_equal(dart_remove_tree(tiny_path("part")), DART_OK);
    }
    printf("%u runs with svt stopped and resumed bit for bit\n", resumed);
    assert_true(resumed >= 15);
}

static void test_a_size_below_the_minimum(void **state)
{
    (void)state;
    tiny_watch w = {0};
    dart_result result = {0};
    dart_recipe *recipe = tiny_recipe(tiny_path("small"),
        "stages:\n  - {name: warm, steps: 2}\n  - {name: pick, select: budget, budget: 7}\n");
    assert_int_equal(tiny_train(recipe, &w, &result), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "below the minimum of"));
    dart_recipe_free(recipe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_penalty_trains),
        cmocka_unit_test(test_svt_resumes), cmocka_unit_test(test_a_size_below_the_minimum)};
    return cmocka_run_group_tests(tests, tiny_set_up, tiny_tear_down);
}
