/* The trainer of the public interface: step by step, resumed, from tokens in memory. */
#include "data.h"
#include "whole_run.h"
#include <math.h>

/* logs: also what was measured on the way. */
static void same_run(const char *a, const char *b, bool logs)
{
    static const char *const files[] = {"checkpoints/step-00000021/model.safetensors",
        "checkpoints/step-00000021/optimizer.safetensors", "metrics.jsonl", "spectra.jsonl"};
    for (size_t i = 0; i < (logs ? 4 : 2); i++) tiny_assert_same(a, b, files[i]);
}

/* One step after the other, with evaluations between them, is the whole training bit for bit. */
static void test_steps(void **state)
{
    (void)state;
    tiny_watch watch = {0};
    dart_trainer *trainer;
    dart_recipe *recipe = tiny_recipe(tiny_path("steps"), STAGES);
    const dart_hooks hooks = {
        .size = sizeof hooks, .user = &watch, .progress = tiny_progress, .note = tiny_note};
    dart_step step = {.size = sizeof step};
    dart_eval_result e = {.size = sizeof e}, last = {.size = sizeof last};
    unsigned picks = 0;
    ok(dart_trainer_new(recipe, NULL, &hooks, &trainer));
    refused(dart_trainer_save(trainer, NULL), DART_USAGE, "no step was made");
    assert_int_equal(dart_result_rows(dart_trainer_result(trainer)), 0);
    for (uint64_t n = 1; n <= 21; n++) {
        assert_false(dart_trainer_done(trainer));
        ok(dart_trainer_step(trainer, &step));
        assert_int_equal(step.step, n);
        assert_int_equal(step.steps, 21);
        assert_int_equal(step.tokens, n * 4 * 8);
        assert_true(isfinite(step.loss) && step.lr > 0 && step.grad_norm > 0 && step.seconds > 0);
        assert_string_equal(step.stage, n <= 12 ? "shrink" : "pick");
        assert_true(n <= 12 ? step.lambda > 0 : step.lambda == 0);
        assert_true(isnan(step.valid_ppl));
        assert_int_equal(watch.steps, n);
        picks += step.selected;
        if (n == 12) assert_true(step.selected);
        if (n == 5) ok(dart_trainer_evaluate(trainer, &e));
    }
    assert_int_equal(picks, 1);
    assert_true(step.done && dart_trainer_done(trainer));
    refused(dart_trainer_step(trainer, &step), DART_USAGE, "is done");
    ok(dart_trainer_evaluate(trainer, &last));
    assert_true(last.valid_ppl < e.valid_ppl);
    assert_string_equal(last.protocol.unit, "word");
    const dart_result *result = dart_trainer_result(trainer);
    assert_int_equal(dart_result_rows(result), 3);
    assert_true(dart_result_row(result, 2)->valid_ppl == last.valid_ppl);
    assert_int_equal(dart_result_steps(result), 21);
    const char *path;
    ok(dart_trainer_save(trainer, &path));
    assert_string_equal(path, tiny_path("steps/checkpoints/step-00000021"));
    handle_text json = {0};
    ok(dart_result_json(result, handle_take, &json));
    assert_non_null(strstr(json.text, "after tuning"));
    free(json.text);
    dart_trainer_free(trainer);
    dart_recipe_free(recipe);
    same_run("whole", "steps", true);
}

/* Left after some steps and gone on with, the same again; a finished one is done at once. */
static void test_resume(void **state)
{
    (void)state;
    dart_trainer *trainer;
    dart_recipe *recipe = tiny_recipe(tiny_path("part"), STAGES);
    dart_step step = {.size = sizeof step};
    const char *path;
    ok(dart_trainer_new(recipe, NULL, NULL, &trainer));
    for (int n = 0; n < 14; n++) ok(dart_trainer_step(trainer, NULL));
    assert_int_equal(dart_result_rows(dart_trainer_result(trainer)), 2);
    ok(dart_trainer_save(trainer, &path));
    handle_text text;
    ok(handle_generate(path, "the", 3, NULL, &text)); /* a model like any other */
    free(text.text);
    dart_trainer_free(trainer);
    tiny_set(recipe, "resume", "true");
    ok(dart_trainer_new(recipe, NULL, NULL, &trainer));
    ok(dart_trainer_step(trainer, &step));
    assert_int_equal(step.step, 15);
    while (!dart_trainer_done(trainer)) ok(dart_trainer_step(trainer, NULL));
    assert_int_equal(dart_result_rows(dart_trainer_result(trainer)), 3);
    dart_trainer_free(trainer);
    same_run("whole", "part", true);
    ok(dart_trainer_new(recipe, NULL, NULL, &trainer));
    assert_true(dart_trainer_done(trainer));
    assert_int_equal(dart_result_rows(dart_trainer_result(trainer)), 3);
    refused(dart_trainer_step(trainer, &step), DART_USAGE, "is done");
    refused(dart_trainer_evaluate(trainer, &(dart_eval_result){.size = sizeof(dart_eval_result)}),
        DART_USAGE, "open the model");
    dart_trainer_free(trainer);
    dart_recipe_free(recipe);
}

static dart_trainer *from_memory(const char *out, const dart_corpus *corpus, bool named)
{
    dart_trainer *trainer;
    dart_recipe *recipe = tiny_recipe(out, STAGES);
    dart_tokens tokens = {
        .size = sizeof tokens, .vocab = corpus->vocab.size, .text = corpus->vocab.text};
    for (int i = 0; i < DART_SPLITS; i++) {
        tokens.tokens[i] = corpus->tokens[i];
        tokens.count[i] = corpus->count[i];
    }
    if (!named) tokens.text = NULL;
    ok(dart_trainer_new(recipe, &tokens, NULL, &trainer));
    dart_recipe_free(recipe);
    return trainer;
}

/* The text's own tokens from memory, with and without their words: the same weights. */
static void test_memory(void **state)
{
    (void)state;
    dart_corpus corpus;
    char path[128];
    snprintf(path, sizeof path, "%s/text.txt", tiny_folder);
    ok(dart_corpus_open(&(dart_corpus_options){.dataset = "", .text = path}, &corpus));
    for (int named = 0; named < 2; named++) {
        char *name = named ? "named" : "numbers", run[64];
        snprintf(run, sizeof run, "%s", tiny_path(name));
        dart_trainer *trainer = from_memory(run, &corpus, named);
        while (!dart_trainer_done(trainer)) ok(dart_trainer_step(trainer, NULL));
        assert_string_equal(
            dart_result_protocol(dart_trainer_result(trainer))->data, "tokens in memory");
        dart_trainer_free(trainer);
        /* without words no <eos> stands before the text that is evaluated */
        same_run("whole", name, named);
        handle_text text;
        ok(handle_generate(run, "", 4, NULL, &text));
        assert_true((strchr(text.text, '<') == NULL) == named);
        free(text.text);
    }
    dart_recipe *recipe = tiny_recipe(tiny_path("bad"), STAGES);
    dart_trainer *trainer;
    int32_t few[4] = {0, 1, 2, 1}, wrong[4] = {0, 1, 3, 1};
    static const char *const words[] = {"a", "b", "a"};
    dart_tokens t = {.size = sizeof t, .vocab = 3, .tokens = {few, few, few}, .count = {4, 4, 4}};
    refused(dart_trainer_new(recipe, &t, NULL, &trainer), DART_INPUT, "4"); /* below a window */
    t.tokens[1] = wrong;
    refused(dart_trainer_new(recipe, &t, NULL, &trainer), DART_INPUT, "validation token 2");
    t.tokens[1] = NULL;
    refused(dart_trainer_new(recipe, &t, NULL, &trainer), DART_INPUT, "at least 2");
    t.tokens[1] = few;
    t.text = words;
    refused(dart_trainer_new(recipe, &t, NULL, &trainer), DART_INPUT, "there twice");
    t.vocab = 0;
    refused(dart_trainer_new(recipe, &t, NULL, &trainer), DART_INPUT, "is empty");
    tiny_set(recipe, "arch", "encoder-decoder");
    refused(dart_trainer_new(recipe, &t, NULL, &trainer), DART_USAGE, "encoder-decoder");
    tiny_set(recipe, "out", "");
    refused(dart_trainer_new(recipe, &t, NULL, &trainer), DART_USAGE, "run directory");
    assert_null(trainer);
    dart_recipe_free(recipe);
    dart_corpus_free(&corpus);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, set_up_whole, tiny_tear_down);
}
