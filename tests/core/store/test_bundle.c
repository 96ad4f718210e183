/* Models from files: what is in a bundle, what overrides may do, which checkpoint is taken when the
 * newest cannot be loaded, and that no failed allocation is taken for a damaged file. */
#include "bundle.h"
#include "failing_alloc.h"
#include "safetensors.h"
#include "tiny_run.h"
#include <math.h>

static int set_up(void **state)
{
    if (tiny_set_up(state)) return 1;
    tiny_watch w = {0};
    dart_result result;
    dart_recipe *recipe = tiny_recipe(tiny_path("run"),
        "stages:\n  - {name: gates, max_steps: 10, reg: hard-concrete, budget: 0.7}\n"
        "  - {name: more, max_steps: 3, reg: hard-concrete, budget: 0.7}\n");
    tiny_set(recipe, "save_steps", "5");
    tiny_set(recipe, "save_total_limit", "9");
    dart_status status = tiny_train(recipe, &w, &result);
    dart_recipe_free(recipe);
    return status != DART_OK;
}

static void expect(dart_status got, dart_status wanted, const char *says)
{
    if (got != wanted || !strstr(dart_error_text(), says))
        fail_msg(
            "status %d, wanted %d with '%s': %s", (int)got, (int)wanted, says, dart_error_text());
}

static void open_path(const char *name, const dart_recipe *over, dart_bundle *out)
{
    if (dart_bundle_open(tiny_path(name), over, (dart_note){0}, out) != DART_OK)
        fail_msg("%s", dart_error_text());
}

/* The newest step of a run and that step by itself are one model; gates are in the cores. */
static void test_open(void **state)
{
    (void)state;
    dart_bundle run, step;
    dart_safetensors file;
    open_path("run", NULL, &run);
    open_path("run/checkpoints/step-00000013", NULL, &step);
    const dart_model *model = run.model;
    assert_false(model->config.gate.on);
    assert_int_equal(model->param_words, step.model->param_words);
    assert_memory_equal(run.param, step.param, model->param_words * sizeof(float));
    assert_int_equal(run.set.d_model, 16);
    assert_int_equal(run.vocab->size, model->config.vocab);
    assert_int_equal(run.source_vocab->size, 0);
    /* tensors without a bond are those of the file; a gate masks some core to other values */
    assert_int_equal(
        dart_safetensors_open(tiny_path("run/checkpoints/step-00000013/model.safetensors"), &file),
        DART_OK);
    assert_true(dart_file_exists(tiny_path("run/checkpoints/step-00000013/model.json")));
    unsigned same = 0, masked = 0;
    for (uint32_t p = 0; p < model->params; p++) {
        const dart_st_tensor *t = dart_safetensors_find(&file, model->param[p].name);
        assert_non_null(t);
        bool equal = !memcmp(t->data, run.param + model->param[p].offset, t->bytes);
        if (model->param[p].weight < 0) assert_true(equal);
        same += equal;
        masked += !equal;
    }
    assert_true(same > 5 && masked > 0);
    dart_safetensors_close(&file);
    dart_bundle_free(&run);
    dart_bundle_free(&step);
}

/* What is part of the model stays; all else may be given anew. */
static void test_overrides(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"heads", "1"}, {"act", "relu"}, {"rank", "2"}, {"linear", "dense"}, {"bias", "false"}};
    static const char *const good[][2] = {
        {"heads", "2"}, {"dropout", "1e-1"}, {"batch_size", "2"}, {"device", "null"}};
    dart_bundle bundle;
    dart_recipe *over;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(dart_recipe_new(&over), DART_OK);
        tiny_set(over, bad[i][0], bad[i][1]);
        expect(dart_bundle_open(tiny_path("run"), over, (dart_note){0}, &bundle), DART_INPUT,
            "is part of the model");
        assert_non_null(strstr(dart_error_text(), bad[i][0]));
        dart_bundle_free(&bundle);
        dart_recipe_free(over);
    }
    assert_int_equal(dart_recipe_new(&over), DART_OK);
    for (int i = 0; i < 4; i++) tiny_set(over, good[i][0], good[i][1]);
    open_path("run", over, &bundle);
    assert_int_equal(bundle.set.batch_size, 2);
    assert_string_equal(bundle.set.device, "null");
    dart_bundle_free(&bundle);
    dart_recipe_free(over);
}

/* A step that is whole by its checksums, with one file in other words. */
static void rewrite(uint64_t step, const char *name, const char *text)
{
    dart_checkpoint c;
    assert_int_equal(dart_checkpoint_open(tiny_path("run/checkpoints/step-00000013"), &c), DART_OK);
    for (uint32_t i = 0; i < c.files; i++) {
        if (strcmp(c.file[i].name, name)) continue;
        free(c.file[i].data);
        c.file[i].data = strdup(text);
        c.file[i].size = strlen(text);
    }
    assert_int_equal(dart_checkpoint_write(tiny_path("run/checkpoints"), step, c.file, c.files, 99,
                         DART_CHECKPOINT_NONE, (dart_note){0}),
        DART_OK);
    dart_checkpoint_close(&c);
}

static void test_falls_back(void **state)
{
    (void)state;
    tiny_watch w = {0};
    dart_bundle sound, bundle;
    open_path("run", NULL, &sound);
    rewrite(90, "trainer_state.json", "{\"format\": 1, \"data\": \"x\"}");
    rewrite(91, "recipe.yaml", "layers: none\n");
    rewrite(92, "vocab.json", "{}");
    assert_int_equal(
        dart_bundle_open(tiny_path("run"), NULL, (dart_note){tiny_note, &w}, &bundle), DART_OK);
    static const char *const told[] = {"step-00000090 does not fit the recipe", "layers needs",
        "step-00000092 has no readable vocab.json"};
    for (int i = 0; i < 3; i++) assert_non_null(strstr(w.notes, told[i]));
    assert_memory_equal(sound.param, bundle.param, sound.model->param_words * sizeof *sound.param);
    dart_bundle_free(&sound);
    dart_bundle_free(&bundle);
    /* Asked for by itself it is refused. */
    expect(
        dart_bundle_open(tiny_path("run/checkpoints/step-00000092"), NULL, (dart_note){0}, &bundle),
        DART_INPUT, "vocab.json");
    dart_bundle_free(&bundle);
    expect(dart_bundle_open(tiny_path("nothing"), NULL, (dart_note){0}, &bundle), DART_INPUT,
        "neither a run directory");
}

/* Every allocation of opening a model fails once, and then with all that follow: out of memory is
 * said, or the model is the same one; nothing is told of a damaged checkpoint. */
static void test_memory(void **state)
{
    (void)state;
    dart_bundle sound, bundle;
    tiny_watch w = {0};
    open_path("run/checkpoints/step-00000013", NULL, &sound);
    start_failing(0, false);
    open_path("run/checkpoints/step-00000013", NULL, &bundle);
    const unsigned long all = stop_failing();
    dart_bundle_free(&bundle);
    unsigned trials = 0, refused = 0;
    for (unsigned long k = 1; k <= all; k += 1 + all / 700)
        for (int on = 0; on < 2; on++, trials++) {
            start_failing(k, on);
            dart_status status = dart_bundle_open(tiny_path("run/checkpoints/step-00000013"), NULL,
                (dart_note){tiny_note, &w}, &bundle);
            stop_failing();
            if (status == DART_OK)
                assert_memory_equal(
                    sound.param, bundle.param, sound.model->param_words * sizeof *sound.param);
            else if (status != DART_MEMORY)
                fail_msg("allocation %lu of %lu%s: status %d: %s", k, all, on ? " on" : "",
                    (int)status, dart_error_text());
            refused += status == DART_MEMORY;
            dart_bundle_free(&bundle);
        }
    printf("%u of %u failed allocations said so, no other harm\n", refused, trials);
#ifndef __SANITIZE_ADDRESS__
    assert_true(refused > trials / 2);
#endif
    assert_string_equal(w.notes, "");
    dart_bundle_free(&sound);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_open),
        cmocka_unit_test(test_overrides), cmocka_unit_test(test_falls_back),
        cmocka_unit_test(test_memory)};
    return cmocka_run_group_tests(tests, set_up, tiny_tear_down);
}
