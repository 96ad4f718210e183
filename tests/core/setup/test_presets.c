/* Published configurations: their keys are those of recipes, give way to what a user says, and give
 * models of the published sizes exactly those numbers of trained parameters. */
#include "recipe.h"
#include "setup.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void ok(dart_status status)
{
    if (status != DART_OK) fail_msg("%s", dart_error_text());
}

/* Trained numbers of the weights that have a method of their own. */
static uint64_t trained(const char *preset, const char *const *keys)
{
    dart_recipe *recipe;
    dart_settings set;
    dart_model_config config;
    dart_model *model;
    uint64_t words = 0;
    ok(dart_recipe_new(&recipe));
    for (; *keys; keys += 2) ok(dart_recipe_set(recipe, keys[0], keys[1]));
    ok(dart_recipe_preset(recipe, preset));
    dart_recipe_settings(recipe, &set);
    ok(dart_config_from(&set, 100, &config));
    ok(dart_model_new(&config, NULL, &model));
    for (uint32_t w = 0; w < model->weights; w++) {
        const dart_model_weight *of = &model->weight[w];
        if (of->layout.bonds) words += dart_layout_words(&of->layout, false);
        assert_true(of->layout.bonds || strcmp(of->weight.method->name, "dense") ||
                    (int)w == model->embedding || (int)w == model->head);
    }
    dart_model_free(model);
    dart_recipe_free(recipe);
    return words;
}

static void sizes_are_the_published_ones(void **state)
{
    (void)state;
    static const char *const roberta[] = {"layers", "12", "d_model", "768", "heads", "12", NULL};
    static const char *const llama3_8b[] = {"arch", "llama", "layers", "32", "d_model", "4096",
        "heads", "32", "kv_heads", "8", "d_ff", "14336", NULL};
    static const char *const llama3_70b[] = {"arch", "llama", "layers", "80", "d_model", "8192",
        "heads", "64", "kv_heads", "8", "d_ff", "28672", NULL};
    static const char *const llama3_1b[] = {"arch", "llama", "layers", "16", "d_model", "2048",
        "heads", "32", "kv_heads", "8", "d_ff", "8192", NULL};
    static const char *const llama2_7b[] = {
        "arch", "llama", "layers", "32", "d_model", "4096", "heads", "32", "d_ff", "11008", NULL};
    static const struct {
        const char *preset, *const *keys;
        uint64_t words;
    } rows[] = {
        {"tt-lora-roberta-base", roberta, 12 * 2 * 736},
        {"tt-lora-llama-3.1-8b", llama3_8b, 212480},
        /* v has 1,024 outputs there, without a published shape: 8*8*16 and 32*16*16, and the mode
         * of 8 carries a rank of 8 */
        {"tt-lora-llama-3.1-70b", llama3_70b,
            80 * (3920 + (8 * 8 + 8 * 8 * 10 + (16 + 32 + 16) * 100 + 16 * 10))},
        {"tt-lora-llama-3.2-1b", llama3_1b, 16 * (960 + 1160)},
        {"loretta-rep-roberta-base", roberta, 12 * 2 * 2 * 580},
        {"loretta-adp-roberta-base", roberta, 12 * 2 * 2 * 780},
        /* 1,100 each, but for the rank that the mode of 4 at an end cannot carry */
        {"loretta-adp-llama-2-7b", llama2_7b, 32 * 2 * 2 * (1100 - 24)},
        /* 800 each, but for the ranks that a mode of 4 cannot carry */
        {"loretta-rep-llama-2-7b", llama2_7b, 32 * 2 * 2 * (800 - 24)},
        {"qdota", llama2_7b, 0}, /* shapes and ranks are not published */
    };
    uint32_t presets = 0;
    for (; dart_preset_at(presets, NULL); presets++) {
        const char *from;
        assert_string_equal(dart_preset_at(presets, &from), rows[presets].preset);
        assert_true(strlen(from) > 8);
        const uint64_t words = trained(rows[presets].preset, rows[presets].keys);
        if (rows[presets].words && words != rows[presets].words)
            fail_msg("%s: %llu", rows[presets].preset, (unsigned long long)words);
    }
    assert_int_equal(presets, sizeof rows / sizeof *rows);
}

static void what_was_given_stays(void **state)
{
    (void)state;
    dart_recipe *recipe;
    char value[256];
    ok(dart_recipe_new(&recipe));
    ok(dart_recipe_set(recipe, "lr", "7e-3"));
    ok(dart_recipe_preset(recipe, "tt-lora-llama-3.2-1b"));
    ok(dart_recipe_get(recipe, "learning_rate", value, sizeof value));
    assert_string_equal(value, "7e-3");
    ok(dart_recipe_get(recipe, "batch_size", value, sizeof value));
    assert_string_equal(value, "32");
    assert_int_equal(dart_recipe_preset(recipe, "tt-lora-roberta"), DART_USAGE);
    assert_non_null(strstr(dart_error_text(), "did you mean 'tt-lora-roberta-base'?"));
    dart_recipe_free(recipe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_the_published_ones), cmocka_unit_test(what_was_given_stays)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
