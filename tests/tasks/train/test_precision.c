/* precision: runs whose activations have 16 bits learn as those in f32 do, on every device, go on
 * from a checkpoint bit for bit, and need less memory. */
#include "backend.h"
#include "inspect.h"
#include "tiny_run.h"
#include <math.h>

/* Large enough that activations are rounded, small enough for every device. */
static dart_recipe *recipe_for(const char *run, const char *device, const char *precision)
{
    static const char *const set[][2] = {{"d_model", "64"}, {"heads", "2"}, {"context", "64"},
        {"batch_size", "16"}, {"layers", "2"}, {"level", "byte"}, {"linear_modes", "0"},
        {"rank", "8"}, {"select", "none"}, {"reg", "none"}, {"learning_rate", "3e-3"}};
    dart_recipe *recipe = tiny_recipe(tiny_path(run), "");
    for (size_t i = 0; i < sizeof set / sizeof *set; i++) tiny_set(recipe, set[i][0], set[i][1]);
    tiny_set(recipe, "device", device);
    tiny_set(recipe, "precision", precision);
    return recipe;
}

static double train(
    const char *run, const char *device, const char *precision, const char *const set[][2])
{
    tiny_watch w = {0};
    dart_result result;
    dart_recipe *recipe = recipe_for(run, device, precision);
    for (int i = 0; set[i][0]; i++) tiny_set(recipe, set[i][0], set[i][1]);
    if (tiny_train(recipe, &w, &result) != DART_OK) fail_msg("%s: %s", run, dart_error_text());
    dart_recipe_free(recipe);
    assert_true(result.rows > 0);
    return log(result.row[result.rows - 1].valid_ppl);
}

static const char *const kinds[][3][2] = {
    {{"max_steps", "40"}, {NULL}},
    {{"max_steps", "40"}, {"linear", "dense"}, {NULL}},
};

static void test_learns(void **state)
{
    (void)state;
    for (int k = 0; k < 2; k++) {
        char run[3][16] = {"f32-", "f16-", "bf16-"};
        double loss[3];
        for (int i = 0; i < 3; i++) {
            const char *const precision[] = {"f32", "f16", "bf16"};
            run[i][strlen(run[i])] = (char)('0' + k);
            loss[i] = train(run[i], "cpu", precision[i], kinds[k]);
        }
        printf("validation loss in f32 %.5f, f16 %.5f, bf16 %.5f\n", loss[0], loss[1], loss[2]);
        assert_true(loss[0] < 3);
        assert_true(loss[1] != loss[0] && fabs(loss[1] / loss[0] - 1) < 0.002);
        assert_true(loss[2] != loss[1] && fabs(loss[2] / loss[0] - 1) < 0.01);
    }
}

static void test_devices(void **state)
{
    (void)state;
    static const char *const few[][2] = {{"max_steps", "6"}, {NULL}};
    static const char *const names[] = {"vulkan:0", "opencl:0"};
    for (int half = 0; half < 2; half++) {
        const char *precision = half ? "bf16" : "f16";
        const double wanted = train(half ? "cpu-b" : "cpu-h", "cpu", precision, few);
        for (int d = 0; d < 2; d++) {
            dart_device *device;
            char run[32];
            if (dart_device_open(names[d], NULL, &device) != DART_OK) {
                printf("%s is not on this machine: %s\n", names[d], dart_error_text());
                continue;
            }
            dart_device_close(device);
            snprintf(run, sizeof run, "%.6s-%s", names[d], precision);
            const double loss = train(run, names[d], precision, few);
            printf("%s %s: %.6f, cpu %.6f\n", names[d], precision, loss, wanted);
            assert_true(fabs(loss / wanted - 1) < 1e-3);
        }
    }
}

static void test_resume(void **state)
{
    (void)state;
    static const char *const steps[][2] = {{"max_steps", "9"}, {"save_steps", "3"}, {NULL}};
    static const char *const files[] = {"checkpoints/step-00000009/model.safetensors",
        "checkpoints/step-00000009/optimizer.safetensors"};
    (void)train("whole", "cpu", "bf16", steps);
    for (uint64_t k = 2; k < 9; k += 3) {
        char run[16];
        tiny_watch w = {.stop_at = k};
        dart_result result;
        snprintf(run, sizeof run, "part-%d", (int)k);
        dart_recipe *recipe = recipe_for(run, "cpu", "bf16");
        for (int i = 0; steps[i][0]; i++) tiny_set(recipe, steps[i][0], steps[i][1]);
        assert_int_equal(tiny_train(recipe, &w, &result), DART_INTERRUPTED);
        tiny_set(recipe, "resume", "true");
        w = (tiny_watch){0};
        tiny_set(recipe, "precision", "f16"); /* another run */
        assert_int_equal(tiny_train(recipe, &w, &result), DART_INPUT);
        assert_non_null(strstr(dart_error_text(), "precision"));
        tiny_set(recipe, "precision", "bf16");
        if (tiny_train(recipe, &w, &result) != DART_OK) fail_msg("%s", dart_error_text());
        dart_recipe_free(recipe);
        for (int i = 0; i < 2; i++) tiny_assert_same("whole", run, files[i]);
    }
}

/* MiB that a step needs beside the regions. */
static double peak(const char *precision, const char *again)
{
    dart_recipe *recipe = recipe_for("unused", "null", precision);
    char *text = NULL;
    size_t size;
    tiny_set(recipe, "layers", "8");
    tiny_set(recipe, "gradient_checkpointing", again);
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    if (dart_inspect_print(recipe, NULL, "memory", false, out) != DART_OK)
        fail_msg("%s", dart_error_text());
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
    const double whole = peak("f32", "false"), half = peak("f16", "false");
    printf("a step of 8 layers: %.1f MiB, in 16 bits %.1f\n", whole, half);
    assert_true(half < 0.7 * whole);
    assert_true(peak("bf16", "false") == half);
    assert_true(peak("bf16", "true") <= peak("f32", "true"));
}

/* What is too large for f16 stops the run, which says what helps; bf16 holds as much as f32. */
static void test_too_large(void **state)
{
    (void)state;
    static const char *const precisions[] = {"f16", "bf16"};
    for (int i = 0; i < 2; i++) {
        tiny_watch w = {0};
        dart_result result;
        dart_recipe *recipe = recipe_for("large", "cpu", precisions[i]);
        tiny_set(recipe, "max_steps", "9");
        tiny_set(recipe, "learning_rate", "1e6");
        tiny_set(recipe, "force", "true");
        assert_int_equal(tiny_train(recipe, &w, &result), DART_DIVERGED);
        assert_true((strstr(dart_error_text(), "65,504") != NULL) == (i == 0));
        dart_recipe_free(recipe);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_learns),
        cmocka_unit_test(test_devices), cmocka_unit_test(test_resume),
        cmocka_unit_test(test_memory), cmocka_unit_test(test_too_large)};
    return cmocka_run_group_tests(tests, tiny_set_up, tiny_tear_down);
}
