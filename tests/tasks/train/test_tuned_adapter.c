/* Fine-tuning that goes on from an adapter that PEFT trained: it begins at the adapter's function,
 * learns, is stopped and goes on bit for bit without the adapter's folder, and its result stands
 * beside the base as an adapter itself, as a run and as a folder of PEFT's. */
#include "bundle.h"
#include "pretrained_lab.h"
#include <math.h>

static const char peft_base[] = DART_SOURCE_DIR "/tests/core/store/peft/base";
static const char peft_adapter[] = DART_SOURCE_DIR "/tests/core/store/peft/adapter";

static dart_recipe *going_on(const char *adapter, const char *out)
{
    dart_recipe *recipe = tuning("lora", "cpu", out);
    set(recipe, "base", peft_base);
    set(recipe, "tokenizer", peft_base);
    if (adapter) set(recipe, "adapter", adapter);
    return recipe;
}

static void copy_adapter(const char *to)
{
    static const char *const names[] = {"adapter_config.json", "adapter_model.safetensors"};
    assert_int_equal(dart_mkdirs(to), DART_OK);
    for (int i = 0; i < 2; i++) {
        char path[400], *data;
        size_t size;
        snprintf(path, sizeof path, "%s/%s", peft_adapter, names[i]);
        assert_int_equal(dart_file_read(path, &data, &size), DART_OK);
        snprintf(path, sizeof path, "%s/%s", to, names[i]);
        assert_int_equal(dart_file_write_sync(path, data, size), DART_OK);
        free(data);
    }
}

static double valid_nll(const char *path, const char *adapter)
{
    dart_recipe *over;
    dart_llm *llm;
    dart_eval_result result = {.size = sizeof result};
    assert_int_equal(dart_recipe_new(&over), DART_OK);
    set(over, "device", "cpu");
    if (adapter) set(over, "adapter", adapter);
    if (path == peft_base) {
        set(over, "examples", examples_path);
        set(over, "context", "16");
    }
    if (dart_llm_open(path,
            &(dart_llm_options){.size = sizeof(dart_llm_options), .overrides = over},
            &llm) != DART_OK)
        fail_msg("%s", dart_error_text());
    dart_recipe_free(over);
    if (dart_llm_evaluate(llm, NULL, &result) != DART_OK) fail_msg("%s", dart_error_text());
    dart_llm_close(llm);
    return result.valid_nll;
}

static void goes_on(void **state)
{
    (void)state;
    char whole[256], part[256], mine[256], peft[256];
    snprintf(whole, sizeof whole, "%s", in("whole"));
    snprintf(part, sizeof part, "%s", in("part"));
    snprintf(mine, sizeof mine, "%s", in("mine"));
    snprintf(peft, sizeof peft, "%s", in("peft"));
    const double plain = valid_nll(peft_base, NULL), before = valid_nll(peft_base, peft_adapter);
    assert_true(fabs(plain - before) > 1e-2);
    watch w = {0};
    dart_result result;
    dart_recipe *recipe = going_on(peft_adapter, whole);
    if (train(recipe, &w, &result) != DART_OK) fail_msg("%s", dart_error_text());
    dart_recipe_free(recipe);
    assert_non_null(strstr(w.text, "6 weights, ranks 3 to 5"));
    const double after = valid_nll(whole, NULL);
    print_message("base %.4f, adapter %.4f, trained on %.4f\n", plain, before, after);
    assert_true(after < before);

    /* no step at all: the adapter's function */
    recipe = going_on(peft_adapter, in("still"));
    set(recipe, "max_steps", "1");
    set(recipe, "lr", "0");
    w = (watch){0};
    if (train(recipe, &w, &result) != DART_OK) fail_msg("%s", dart_error_text());
    dart_recipe_free(recipe);
    assert_true(fabs(valid_nll(in("still"), NULL) - before) < 1e-6 * before);

    copy_adapter(mine);
    recipe = going_on(mine, part);
    w = (watch){.stop_at = 9};
    assert_int_equal(train(recipe, &w, NULL), DART_INTERRUPTED);
    dart_recipe_free(recipe);
    assert_int_equal(dart_remove_tree(mine), DART_OK);
    assert_int_equal(dart_recipe_new(&recipe), DART_OK);
    set(recipe, "out", part);
    set(recipe, "resume", "true");
    w = (watch){0};
    if (train(recipe, &w, NULL) != DART_OK) fail_msg("%s", dart_error_text());
    dart_recipe_free(recipe);
    assert_same_run(whole, part);

    /* the run, and what is exported of it, beside the base */
    assert_true(fabs(valid_nll(peft_base, whole) - after) < 1e-5 * after);
    dart_export_result exported = {.size = sizeof exported};
    const dart_export_options o = {.size = sizeof o, .format = "peft", .out = peft};
    if (dart_export(whole, NULL, &o, NULL, &exported) != DART_OK) fail_msg("%s", dart_error_text());
    assert_true(fabs(valid_nll(peft_base, peft) - after) < 1e-5 * after);
    char both[600];
    snprintf(both, sizeof both, "%s=0.25,%s=0.75", whole, peft);
    assert_true(fabs(valid_nll(peft_base, both) - after) < 1e-5 * after);
}

/* A selection cuts ranks that began as the adapter's. */
static void ranks_are_found(void **state)
{
    (void)state;
    watch w = {0};
    dart_result result;
    dart_recipe *recipe = going_on(peft_adapter, in("found"));
    set(recipe, "select", "budget");
    set(recipe, "budget", "0.5");
    if (train(recipe, &w, &result) != DART_OK) fail_msg("%s", dart_error_text());
    dart_recipe_free(recipe);
    assert_true(result.row[0].rank_max == 5);
    assert_true(result.row[result.rows - 1].rank_max <= 5 &&
                result.row[result.rows - 1].rank_mean < result.row[0].rank_mean);
    assert_true(
        fabs(valid_nll(in("found"), NULL) - log(result.row[result.rows - 1].valid_ppl)) < 1e-5);
}

/* Runs that no LoRA pair holds are refused as adapters. */
static void runs_that_are_none(void **state)
{
    (void)state;
    static const char *const cases[][4] = {{"dense", "train_vectors", "true", "trained"},
        {"dota", "rank", "2", "export the run first"},
        {"lora", "use_dora", "true", "export the run first"},
        {"loretta-adp", "rank", "2", "adapter.down.bias too"}};
    for (int i = 0; i < 4; i++) {
        watch w = {0};
        dart_bundle b;
        dart_recipe *recipe = tuning(cases[i][0], "cpu", in(cases[i][0]));
        set(recipe, "base", peft_base);
        set(recipe, "tokenizer", peft_base);
        set(recipe, "max_steps", "1");
        set(recipe, cases[i][1], cases[i][2]);
        if (train(recipe, &w, NULL) != DART_OK) fail_msg("%s", dart_error_text());
        dart_recipe_free(recipe);
        assert_int_equal(dart_recipe_new(&recipe), DART_OK);
        set(recipe, "adapter", in(cases[i][0]));
        expect(dart_bundle_open(peft_base, recipe, (dart_note){0}, &b), DART_INPUT, cases[i][3]);
        dart_bundle_free(&b);
        dart_recipe_free(recipe);
    }
    /* of another base */
    watch w = {0};
    dart_bundle b;
    dart_recipe *recipe = tuning("lora", "cpu", in("elsewhere"));
    set(recipe, "max_steps", "1");
    if (train(recipe, &w, NULL) != DART_OK) fail_msg("%s", dart_error_text());
    dart_recipe_free(recipe);
    assert_int_equal(dart_recipe_new(&recipe), DART_OK);
    set(recipe, "adapter", in("elsewhere"));
    const dart_status status = dart_bundle_open(peft_base, recipe, (dart_note){0}, &b);
    if (status != DART_INPUT) fail_msg("status %d: %s", (int)status, dart_error_text());
    dart_bundle_free(&b);
    dart_recipe_free(recipe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(goes_on), cmocka_unit_test(ranks_are_found),
        cmocka_unit_test(runs_that_are_none)};
    return cmocka_run_group_tests(tests, set_up_base, tear_down);
}
