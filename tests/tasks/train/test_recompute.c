/* gradient_checkpointing: the same bits at the end of a run as without it, on every device, for
 * every kind of model and stage, and much less memory for a step. */
#include "inspect.h"
#include "tiny_run.h"

static const struct {
    const char *name, *stages, *set[8][2];
} cases[] = {
    {"gpt", "", {{"layers", "3"}, {"max_steps", "12"}, {"select", "none"}}},
    {"llama", "",
        {{"layers", "2"}, {"arch", "llama"}, {"heads", "4"}, {"kv_heads", "2"}, {"qk_norm", "true"},
            {"linear", "lora"}, {"max_steps", "12"}, {"select", "none"}}},
    {"gates",
        "stages:\n  - {name: choose, max_steps: 8, reg: hard-concrete, target_size: 0.6}\n"
        "  - {name: pick, select: gates}\n  - {name: tune, max_steps: 4}\n",
        {{"layers", "2"}}},
    {"penalty", "stages:\n  - {name: shrink, max_steps: 8, reg: log-det, lambda_reg: 0.1}\n",
        {{"layers", "2"}, {"gradient_accumulation_steps", "2"}, {"embedding", "tt-embedding"}}},
};

static const char *train(int which, const char *device, const char *on)
{
    static char name[2][64];
    char *run = name[*on == 't'];
    tiny_watch w = {0};
    dart_result result;
    snprintf(run, sizeof *name, "%s-%.3s-%s", cases[which].name, device, on);
    dart_recipe *recipe = tiny_recipe(tiny_path(run), cases[which].stages);
    for (int i = 0; i < 8 && cases[which].set[i][0]; i++)
        tiny_set(recipe, cases[which].set[i][0], cases[which].set[i][1]);
    tiny_set(recipe, "device", device);
    tiny_set(recipe, "gradient_checkpointing", on);
    if (tiny_train(recipe, &w, &result) != DART_OK) fail_msg("%s: %s", run, dart_error_text());
    dart_recipe_free(recipe);
    return run;
}

static void compare(int which, const char *device)
{
    const char *plain = train(which, device, "false"), *again = train(which, device, "true");
    char file[64];
    bool found = false;
    for (int step = 1; step <= 12; step++) {
        snprintf(file, sizeof file, "%s/checkpoints/step-%08d", plain, step);
        if (!dart_file_exists(tiny_path(file))) continue;
        snprintf(file, sizeof file, "checkpoints/step-%08d/model.safetensors", step);
        tiny_assert_same(plain, again, file);
        snprintf(file, sizeof file, "checkpoints/step-%08d/optimizer.safetensors", step);
        tiny_assert_same(plain, again, file);
        found = true;
    }
    assert_true(found);
}

static void test_cpu(void **state)
{
    (void)state;
    for (int i = 0; i < (int)(sizeof cases / sizeof *cases); i++) compare(i, "cpu");
}

static void test_vulkan(void **state)
{
    (void)state;
    compare(0, "vulkan:0");
}

static void test_opencl(void **state)
{
    (void)state;
    compare(0, "opencl:0");
}

/* Sentence pairs: encoder, cross attention, decoder. */
static void test_translation(void **state)
{
    (void)state;
    char source[300], target[300];
    FILE *a = fopen(strcpy(source, tiny_path("a.txt")), "w");
    FILE *b = fopen(strcpy(target, tiny_path("b.txt")), "w");
    assert_true(a && b);
    for (int i = 0; i < 200; i++) {
        fprintf(a, "w%d x%d y%d\n", i % 7, i % 5, i % 3);
        fprintf(b, "y%d x%d w%d\n", i % 3, i % 5, i % 7);
    }
    assert_int_equal(fclose(a) | fclose(b), 0);
    for (int on = 0; on < 2; on++) {
        tiny_watch w = {0};
        dart_result result;
        dart_recipe *recipe = tiny_recipe(tiny_path(on ? "pairs-on" : "pairs-off"), "");
        const char *const set[][2] = {{"text", ""}, {"arch", "encoder-decoder"},
            {"source_text", source}, {"target_text", target}, {"layers", "2"}, {"min_count", "1"},
            {"max_steps", "6"}, {"select", "none"},
            {"gradient_checkpointing", on ? "true" : "false"}};
        for (size_t i = 0; i < sizeof set / sizeof *set; i++)
            tiny_set(recipe, set[i][0], set[i][1]);
        if (tiny_train(recipe, &w, &result) != DART_OK) fail_msg("%s", dart_error_text());
        dart_recipe_free(recipe);
    }
    tiny_assert_same("pairs-off", "pairs-on", "checkpoints/step-00000006/model.safetensors");
}

/* MiB that a step needs beside the regions. */
static double peak(const char *layers, const char *on)
{
    static const char *const set[][2] = {{"d_model", "64"}, {"heads", "4"}, {"context", "64"},
        {"batch_size", "8"}, {"level", "byte"}};
    dart_recipe *recipe = tiny_recipe(tiny_path("unused"), "");
    for (size_t i = 0; i < sizeof set / sizeof *set; i++) tiny_set(recipe, set[i][0], set[i][1]);
    tiny_set(recipe, "layers", layers);
    tiny_set(recipe, "gradient_checkpointing", on);
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    assert_int_equal(dart_inspect_print(recipe, NULL, "memory", false, out), DART_OK);
    fclose(out);
    const char *at = strstr(text, "planned peak ");
    assert_non_null(at);
    const double mib = strtod(at + strlen("planned peak "), NULL);
    free(text);
    dart_recipe_free(recipe);
    return mib;
}

static void test_memory(void **state)
{
    (void)state;
    const double plain = peak("8", "false"), again = peak("8", "true");
    const double plain_more = peak("16", "false"), again_more = peak("16", "true");
    printf("a step of 8 and 16 layers: %.1f and %.1f MiB, with gradient_checkpointing %.1f and "
           "%.1f\n",
        plain, plain_more, again, again_more);
    assert_true(again < 0.3 * plain);
    /* a layer more costs what enters it, 8 x 64 x 64 words, and the products of its cores */
    assert_true(again_more - again < 8 * 0.125 * 1.2);
    assert_true(plain_more - plain > 8 * 1.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cpu), cmocka_unit_test(test_vulkan),
        cmocka_unit_test(test_opencl), cmocka_unit_test(test_translation),
        cmocka_unit_test(test_memory)};
    return cmocka_run_group_tests(tests, tiny_set_up, tiny_tear_down);
}
