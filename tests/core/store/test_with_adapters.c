/* Adapters beside a pretrained model: logits equal those of transformers and PEFT on every device;
 * scales, several of them, and what is refused. Model, adapter and logits were made by
 * tests/interop/adapters.py --golden. */
#include "backend.h"
#include "bundle.h"
#include "failing_alloc.h"
#include "file.h"
#include "tiny_run.h"
#include <dart.h>
#include <math.h>

static const char base[] = DART_SOURCE_DIR "/tests/core/store/peft/base";
static const char adapter[] = DART_SOURCE_DIR "/tests/core/store/peft/adapter";
static const int32_t ids[] = {3, 17, 250, 4, 4, 99, 0, 211};
enum { IDS = sizeof ids / sizeof *ids, VOCAB = 256 };

static void ok(dart_status status)
{
    if (status != DART_OK) fail_msg("%s", dart_error_text());
}

static dart_recipe *with(const char *list, const char *key, const char *value)
{
    dart_recipe *recipe;
    ok(dart_recipe_new(&recipe));
    tiny_set(recipe, "device", "cpu");
    if (list) tiny_set(recipe, "adapter", list);
    if (key) tiny_set(recipe, key, value);
    return recipe;
}

static void logits_of(const char *path, const char *list, const char *device, float *out)
{
    dart_llm *llm;
    dart_context *context;
    dart_recipe *recipe = with(list, "device", device);
    ok(dart_llm_open(
        path, &(dart_llm_options){.size = sizeof(dart_llm_options), .overrides = recipe}, &llm));
    ok(dart_context_new(llm, NULL, &context));
    for (int i = 0; i < IDS; i++) {
        ok(dart_context_feed(context, &ids[i], 1));
        memcpy(out + i * VOCAB, dart_context_logits(context), VOCAB * sizeof *out);
    }
    dart_context_free(context);
    dart_llm_close(llm);
    dart_recipe_free(recipe);
}

static double error_of(const float *got, const float *expected)
{
    double error = 0, most = 0;
    for (int i = 0; i < IDS * VOCAB; i++) {
        error = fmax(error, fabs((double)got[i] - expected[i]));
        most = fmax(most, fabs((double)expected[i]));
    }
    return error / most;
}

/* Instead of a path the name of a folder where data sets and models are kept. */
static void names(void **state)
{
    (void)state;
    static float by_path[IDS * VOCAB], by_name[IDS * VOCAB];
    dart_llm *llm;
    dart_recipe *recipe = with(NULL, "base", "base");
    char value[1024];
    setenv("DART_DATA", DART_SOURCE_DIR "/tests/core/store/peft", 1);
    assert_true(dart_llm_pretrained("base") && dart_llm_pretrained(base));
    assert_false(dart_llm_pretrained("adapter"));
    assert_false(dart_llm_pretrained("nowhere"));
    assert_false(dart_llm_pretrained("../peft/base"));
    assert_false(dart_llm_pretrained(""));
    assert_false(dart_llm_pretrained(NULL));
    logits_of(base, adapter, "cpu", by_path);
    logits_of("base", adapter, "cpu", by_name);
    assert_memory_equal(by_path, by_name, sizeof by_path);
    ok(dart_base_resolve(recipe));
    ok(dart_recipe_get(recipe, "base", value, sizeof value));
    assert_string_equal(value, base);
    dart_recipe_free(recipe);
    /* the folder that DART_DATA is itself has another name */
    setenv("DART_DATA", DART_SOURCE_DIR "/tests/core/store/peft/base", 1);
    assert_false(dart_llm_pretrained("other"));
    assert_int_equal(dart_llm_open("other", NULL, &llm), DART_INPUT);
    assert_true(dart_llm_pretrained("base"));
    unsetenv("DART_DATA");
}

static void logits_equal_those_of_peft(void **state)
{
    (void)state;
    static const char *const devices[] = {"cpu", "vulkan:0", "opencl:0"};
    char *data;
    size_t size;
    static float got[IDS * VOCAB];
    ok(dart_file_read(DART_SOURCE_DIR "/tests/core/store/peft/logits.bin", &data, &size));
    assert_int_equal(size, 2 * sizeof got);
    const float *adapted = (const float *)data, *plain = adapted + IDS * VOCAB;
    assert_true(error_of(plain, adapted) > 0.1);
    for (int d = 0; d < 3; d++) {
        dart_device *device;
        if (dart_device_open(devices[d], NULL, &device) != DART_OK) {
            print_message("%s is not on this machine\n", devices[d]);
            assert_true(d > 0);
            continue;
        }
        dart_device_close(device);
        logits_of(base, adapter, devices[d], got);
        const double error = error_of(got, adapted);
        logits_of(base, NULL, devices[d], got);
        print_message("%s: largest error %.1e, without the adapter %.1e\n", devices[d], error,
            error_of(got, plain));
        assert_true(error < 1e-4 && error_of(got, plain) < 1e-4);
    }
    free(data);
}

/* Twice a half is one; one minus one is none; the ranks are those of both. */
static void several_are_added(void **state)
{
    (void)state;
    static float one[IDS * VOCAB], plain[IDS * VOCAB], got[IDS * VOCAB];
    char list[1200];
    logits_of(base, adapter, "cpu", one);
    logits_of(base, NULL, "cpu", plain);
    snprintf(list, sizeof list, "%s=0.5,%s=.5", adapter, adapter);
    logits_of(base, list, "cpu", got);
    assert_true(error_of(got, one) < 1e-5);
    snprintf(list, sizeof list, "%s,%s=-1", adapter, adapter);
    logits_of(base, list, "cpu", got);
    assert_true(error_of(got, plain) < 1e-5);
    snprintf(list, sizeof list, "%s=0", adapter);
    logits_of(base, list, "cpu", got);
    assert_true(error_of(got, plain) < 1e-6);
    snprintf(list, sizeof list, "%s,%s", adapter, adapter);
    dart_recipe *recipe = with(list, NULL, NULL);
    dart_bundle b;
    tiny_watch w = {0};
    ok(dart_bundle_open(base, recipe, (dart_note){tiny_note, &w}, &b));
    assert_non_null(strstr(w.notes, "6 weights, ranks 6 to 10"));
    for (uint32_t i = 0; i < b.model->weights; i++) {
        const dart_weight *weight = &b.model->weight[i].weight;
        const bool is_q = !strcmp(weight->name, "blocks.1.attn.q");
        const bool adapted = strstr(weight->name, "attn.q") || strstr(weight->name, "attn.v") ||
                             strstr(weight->name, "mlp.down");
        assert_string_equal(weight->method->name, adapted ? "lora" : "frozen");
        /* an output side of 8 has no rank above 8 */
        if (adapted) assert_int_equal(weight->ranks[1], is_q ? 10 : 6);
    }
    dart_bundle_free(&b);
    dart_recipe_free(recipe);
}

/* The names of modules are Hugging Face's, whatever kind of file the base is. */
static void base_may_be_a_gguf_file(void **state)
{
    (void)state;
    static float one[IDS * VOCAB], got[IDS * VOCAB];
    char out[128], file[160];
    snprintf(out, sizeof out, "%s", tiny_path("gguf"));
    dart_export_result exported = {.size = sizeof exported};
    const dart_export_options o = {.size = sizeof o, .format = "gguf", .out = out};
    ok(dart_export(base, NULL, &o, NULL, &exported));
    snprintf(file, sizeof file, "%s/model.gguf", out);
    logits_of(base, adapter, "cpu", one);
    logits_of(file, adapter, "cpu", got);
    assert_true(error_of(got, one) < 1e-6);
}

/* A single adapter keeps PEFT's rank and scale, so that training goes on as there. */
static void settings_are_the_adapters(void **state)
{
    (void)state;
    dart_bundle b;
    char text[512];
    dart_recipe *recipe = with(adapter, NULL, NULL);
    ok(dart_bundle_open(base, recipe, (dart_note){0}, &b));
    assert_int_equal(b.set.rank, 3);
    static const char *const keys[][2] = {{"lora_alpha", "7"}, {"rslora", "true"},
        {"target_modules", "blocks.*.{mlp.down,attn.q,attn.v}"}, {"train_vectors", "false"}};
    for (int i = 0; i < 4; i++) {
        ok(dart_recipe_get(b.recipe, keys[i][0], text, sizeof text));
        assert_string_equal(text, keys[i][1]);
    }
    for (uint32_t p = 0; p < b.model->params; p++)
        if (b.model->param[p].region == DART_REGION_PARAM)
            assert_non_null(strstr(b.model->param[p].name, "lora_"));
    dart_bundle_free(&b);
    dart_recipe_free(recipe);
}

static void what_is_refused(void **state)
{
    (void)state;
    char wrong[600], number[600];
    snprintf(wrong, sizeof wrong, "%s/nothing", tiny_folder);
    snprintf(number, sizeof number, "%s=much", adapter);
    const struct {
        const char *list, *key, *value, *says;
    } bad[] = {{wrong, NULL, NULL, "there is no adapter at"},
        {number, NULL, NULL, "the scale of an adapter"}, {",", NULL, NULL, "names no folder"},
        {base, NULL, NULL, "is neither a run directory"},
        {adapter, "rank", "4", "rank is 3 with the adapter"},
        {adapter, "lora_alpha", "3", "lora_alpha is 7 with the adapter"},
        {adapter, "linear", "tt-lora", "linear is lora with the adapter"},
        {adapter, "target_modules", "q_proj", "target_modules is blocks."},
        {adapter, "lora_init", "pissa", "lora_init is default with the adapter"},
        {adapter, "weights", "blocks.0.attn.q dense", "leave the adapted weights to it"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        dart_bundle b;
        dart_recipe *recipe = with(bad[i].list, bad[i].key, bad[i].value);
        const dart_status status = dart_bundle_open(base, recipe, (dart_note){0}, &b);
        if ((status != DART_INPUT && status != DART_USAGE) ||
            !strstr(dart_error_text(), bad[i].says))
            fail_msg("status %d, wanted '%s': %s", (int)status, bad[i].says, dart_error_text());
        dart_bundle_free(&b);
        dart_recipe_free(recipe);
    }
    /* without a base; beside a run */
    tiny_watch w = {0};
    dart_result result;
    dart_recipe *recipe = tiny_recipe(tiny_path("run"), "");
    tiny_set(recipe, "max_steps", "1");
    ok(tiny_train(recipe, &w, &result));
    dart_recipe_free(recipe);
    recipe = tiny_recipe(tiny_path("other"), "");
    tiny_set(recipe, "adapter", adapter);
    assert_int_equal(tiny_train(recipe, &w, &result), DART_USAGE);
    assert_non_null(strstr(dart_error_text(), "say which one with --base"));
    dart_recipe_free(recipe);
    recipe = with(adapter, NULL, NULL);
    dart_bundle b;
    assert_int_equal(dart_bundle_open(tiny_path("run"), recipe, (dart_note){0}, &b), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "give its base as the model"));
    dart_bundle_free(&b);
    dart_recipe_free(recipe);
    /* a run from scratch is no adapter */
    recipe = with(tiny_path("run"), NULL, NULL);
    assert_int_equal(dart_bundle_open(base, recipe, (dart_note){0}, &b), DART_INPUT);
    dart_bundle_free(&b);
    dart_recipe_free(recipe);
}

/* Every allocation fails once, and then with all that follow. */
static void memory(void **state)
{
    (void)state;
    char list[1200];
    dart_bundle bundle;
    unsigned trials = 0, refused = 0;
    snprintf(list, sizeof list, "%s,%s=0.5", adapter, adapter);
    dart_recipe *recipe = with(list, NULL, NULL);
    ok(dart_bundle_open(base, recipe, (dart_note){0}, &bundle));
    dart_bundle_free(&bundle);
    start_failing(0, false);
    ok(dart_bundle_open(base, recipe, (dart_note){0}, &bundle));
    const unsigned long all = stop_failing();
    dart_bundle_free(&bundle);
    for (unsigned long k = 1; k <= all; k += 1 + all / 300)
        for (int on = 0; on < 2; on++, trials++) {
            start_failing(k, on);
            dart_status status = dart_bundle_open(base, recipe, (dart_note){0}, &bundle);
            stop_failing();
            if (status != DART_OK && status != DART_MEMORY)
                fail_msg("allocation %lu of %lu%s: status %d: %s", k, all, on ? " on" : "",
                    (int)status, dart_error_text());
            refused += status == DART_MEMORY;
            dart_bundle_free(&bundle);
        }
    print_message("%u of %u failed allocations said so, no other harm\n", refused, trials);
#ifndef __SANITIZE_ADDRESS__
    assert_true(refused > trials / 2);
#endif
    dart_recipe_free(recipe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(names),
        cmocka_unit_test(logits_equal_those_of_peft), cmocka_unit_test(several_are_added),
        cmocka_unit_test(base_may_be_a_gguf_file), cmocka_unit_test(settings_are_the_adapters),
        cmocka_unit_test(what_is_refused), cmocka_unit_test(memory)};
    return cmocka_run_group_tests(tests, tiny_set_up, tiny_tear_down);
}
