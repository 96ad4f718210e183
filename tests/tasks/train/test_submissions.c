/* watchdog: where a step is cut into submissions, and launches into pieces, changes no bit; nor
 * does it where buffers lie. */
#include "tiny_run.h"

static const char *train(const char *device, const char *watchdog)
{
    static char name[8][64];
    static int calls;
    char *run = name[calls % 8];
    tiny_watch w = {0};
    dart_result result;
    snprintf(run, sizeof *name, "cut-%d-%.3s-%s", calls++, device, watchdog);
    dart_recipe *recipe = tiny_recipe(tiny_path(run),
        "stages:\n  - {name: shrink, max_steps: 6, reg: log-det, lambda_reg: 0.1}\n"
        "  - {name: pick, select: threshold}\n  - {name: tune, max_steps: 4}\n");
    tiny_set(recipe, "layers", "2");
    tiny_set(recipe, "device", device);
    tiny_set(recipe, "watchdog", watchdog);
    tiny_set(recipe, "gradient_accumulation_steps", "2");
    if (tiny_train(recipe, &w, &result) != DART_OK) fail_msg("%s: %s", run, dart_error_text());
    dart_recipe_free(recipe);
    return run;
}

static void compare(const char *device)
{
    static const char *const files[] = {"checkpoints/step-00000010/model.safetensors",
        "checkpoints/step-00000010/optimizer.safetensors"};
    /* any time; the default; every piece of work alone */
    const char *whole = train(device, "0"), *plain = train(device, "-1");
    const char *cut = train(device, "0.02");
    for (int i = 0; i < 2; i++) {
        tiny_assert_same(whole, plain, files[i]);
        tiny_assert_same(whole, cut, files[i]);
    }
}

static void test_vulkan(void **state)
{
    (void)state;
    compare("vulkan:0");
}

/* As on a device with a memory of its own: what the host writes is copied in and out by programs.
 */
static void test_vulkan_apart(void **state)
{
    (void)state;
    const char *plain = train("vulkan:0", "0");
    assert_int_equal(setenv("DART_VULKAN_STAGING", "1", 1), 0);
    const char *apart = train("vulkan:0", "0.05");
    assert_int_equal(unsetenv("DART_VULKAN_STAGING"), 0);
    tiny_assert_same(plain, apart, "checkpoints/step-00000010/model.safetensors");
}

static void test_opencl(void **state)
{
    (void)state;
    compare("opencl:0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_vulkan),
        cmocka_unit_test(test_vulkan_apart), cmocka_unit_test(test_opencl)};
    return cmocka_run_group_tests(tests, tiny_set_up, tiny_tear_down);
}
