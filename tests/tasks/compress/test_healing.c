/* Training on from a compressed model: ranks are cut, the loss recovers, a stop loses no bit. */
#include "compress_lab.h"
#include <math.h>

static const char *const begun[] = {"svd-uniform", "svd-found"};

static int set_up_compressed(void **state)
{
    if (set_up_models(state)) return 1;
    for (int i = 0; i < 2; i++)
        dart_compression_free(compressed(&(dart_compress_options){.method = "svd",
            .ranks = begun[i] + strlen("svd-"),
            .target = 1.5,
            .out = in(begun[i])}));
    return 0;
}

static dart_recipe *healing(const char *from, const char *out)
{
    const char *const keys[][2] = {{"base", from}, {"text", text_path}, {"device", "cpu"},
        {"out", out}, {"max_steps", "40"}, {"batch_size", "4"}, {"learning_rate", "1e-2"},
        {"warmup_steps", "2"}, {"save_steps", "9"}, {"eval_steps", "40"}};
    dart_recipe *recipe;
    assert_int_equal(dart_recipe_new(&recipe), DART_OK);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) set(recipe, keys[i][0], keys[i][1]);
    return recipe;
}

static double perplexity(const char *path)
{
    dart_eval_result r;
    dart_recipe *over;
    assert_int_equal(dart_recipe_new(&over), DART_OK);
    set(over, "text", text_path);
    set(over, "device", "cpu");
    if (handle_eval(path, over, &r) != DART_OK) fail_msg("%s: %s", path, dart_error_text());
    dart_recipe_free(over);
    return r.test_ppl;
}

static uint64_t chain_words(const char *path)
{
    dart_bundle run;
    uint64_t all, chains, dense;
    opened(path, NULL, &run);
    dart_model_count(run.model, &all, &chains, &dense);
    dart_bundle_free(&run);
    return chains;
}

/* Training begins with the function and the ranks of the run, cuts them, and recovers. */
static void healing_goes_on_from_the_run(void **state)
{
    (void)state;
    const char *from = in("svd-uniform"), *out = in("healed");
    watch w = {0};
    dart_result result;
    dart_recipe *recipe = healing(from, out);
    set(recipe, "reg", "bond-nuclear");
    set(recipe, "select", "budget");
    set(recipe, "budget", "0.7");
    if (train(recipe, &w, &result) != DART_OK) fail_msg("%s", dart_error_text());
    dart_recipe_free(recipe);
    const double before = perplexity(from), after = perplexity(out);
    if (!(after < 0.7 * before)) fail_msg("%g, before %g", after, before);
    assert_true(w.first > 0 && fabs(exp(w.first) / before - 1) < 0.5);
    const uint64_t was = chain_words(from), now = chain_words(out);
    assert_true((double)now <= 0.7 * (double)was && (double)now > 0.6 * (double)was);
    /* the run that it began with is as it was, and is not resumed */
    recipe = healing("", from);
    set(recipe, "resume", "true");
    set(recipe, "force", "true");
    expect(train(recipe, &w, NULL), DART_INPUT, "was not trained");
    dart_recipe_free(recipe);
}

/* Of a healed run too, embedding trained, and stopped and resumed as if it had not been. */
static void healing_is_resumed_bit_by_bit(void **state)
{
    (void)state;
    const char *const out[2] = {in("once"), in("twice")};
    for (int stopped = 0; stopped < 2; stopped++) {
        watch w = {.stop_at = stopped ? 13 : 0};
        dart_recipe *recipe = healing(in("healed"), out[stopped]);
        set(recipe, "embedding", "dense");
        set(recipe, "max_steps", "20");
        const dart_status status = train(recipe, &w, NULL);
        if (status != (stopped ? DART_INTERRUPTED : DART_OK)) fail_msg("%s", dart_error_text());
        if (stopped) {
            w = (watch){0};
            set(recipe, "resume", "true");
            if (train(recipe, &w, NULL) != DART_OK) fail_msg("%s", dart_error_text());
        }
        dart_recipe_free(recipe);
    }
    char path[256], *text[2];
    size_t size[2];
    for (int k = 0; k < 2; k++) {
        snprintf(path, sizeof path, "%s/checkpoints/step-00000020/model.safetensors", out[k]);
        if (!dart_file_exists(path))
            snprintf(path, sizeof path, "%s/checkpoints/step-20/model.safetensors", out[k]);
        if (dart_file_read(path, &text[k], &size[k]) != DART_OK) fail_msg("%s", dart_error_text());
    }
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(text[0], text[1], size[0]);
    free(text[0]);
    free(text[1]);
}

static void other_models_do_not_go_on(void **state)
{
    (void)state;
    static const char *const cases[][3] = {{"linear", "tt", "linear is part of the model"},
        {"layers", "3", "layers is part of the model"}, {"rank", "77", "rank is part of the model"},
        {"embedding", "lowrank", "embedding is part of the model"},
        {"dense_twin", "true", "no dense twin"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        watch w = {0};
        dart_recipe *recipe = healing(in("svd-found"), in("other"));
        set(recipe, cases[i][0], cases[i][1]);
        expect(train(recipe, &w, NULL), DART_INPUT, cases[i][2]);
        assert_false(dart_file_exists(in("other")));
        dart_recipe_free(recipe);
    }
    watch w = {0};
    dart_recipe *recipe = healing("", in("other"));
    set(recipe, "init_from", in("nothing"));
    expect(train(recipe, &w, NULL), DART_INPUT, "is no run to begin with");
    dart_recipe_free(recipe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(healing_goes_on_from_the_run),
        cmocka_unit_test(healing_is_resumed_bit_by_bit),
        cmocka_unit_test(other_models_do_not_go_on)};
    return cmocka_run_group_tests(tests, set_up_compressed, tear_down);
}
