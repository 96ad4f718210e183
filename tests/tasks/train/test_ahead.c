/* Two steps in flight: the same bits, logs and checkpoints as with one after the other, whatever a
 * run does between its steps; inputs of a step are written while the one before is at work; what
 * reads or changes a model waits for all that is in flight. */
#include "run.h"
#include "spy.h"
#include "tiny_run.h"

typedef struct kind {
    const char *name;
    const char *stages;
    const char *set[6][2];
} kind;

static const kind kinds[] = {
    {"plain", "stages:\n  - {name: train, max_steps: 23}\n", {{"save_steps", "9"}}},
    {"everything",
        "stages:\n"
        "  - {name: warm, max_steps: 6}\n"
        "  - {name: shrink, max_steps: 12, reg: bond-nuclear, lambda_reg: 0.05, rank_steps: 5}\n"
        "  - {name: pick, select: threshold, threshold: 0.2}\n"
        "  - {name: tune, max_steps: 9}\n",
        {{"eval_steps", "5"}, {"spectra_steps", "7"}, {"save_steps", "4"},
            {"gradient_accumulation_steps", "3"}, {"logging_steps", "2"}}},
    {"proximal",
        "stages:\n"
        "  - {name: shrink, max_steps: 14, reg: svt, lambda_reg: 0.1}\n"
        "  - {name: pick, select: threshold}\n"
        "  - {name: tune, max_steps: 6, early_stopping_patience: 2}\n",
        {{"eval_steps", "3"}, {"load_best", "true"}}},
    {"gates",
        "stages:\n"
        "  - {name: warm, max_steps: 4}\n"
        "  - {name: choose, max_steps: 10, reg: hard-concrete, target_size: 0.7}\n"
        "  - {name: pick, select: gates}\n"
        "  - {name: tune, max_steps: 4}\n",
        {{"eval_steps", "6"}}},
    {"growing",
        "stages:\n"
        "  - {name: grow, max_steps: 12, select: increlora, budget: 3000, grow_steps: 3}\n"
        "  - {name: tune, max_steps: 6}\n",
        {{"linear", "lora"}, {"eval_steps", "5"}}},
    {"profiled", "stages:\n  - {name: train, max_steps: 14}\n", {{"profile", "true"}}},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static dart_recipe *recipe_of(const kind *k, const char *device, const char *out)
{
    dart_recipe *recipe = tiny_recipe(tiny_path(out), k->stages);
    tiny_set(recipe, "device", device);
    for (int i = 0; i < 6 && k->set[i][0]; i++) tiny_set(recipe, k->set[i][0], k->set[i][1]);
    return recipe;
}

/* flight: "1" or "2" steps; stop_at: 0, or the step after which it is stopped, and resumed. */
static uint64_t run_kind(
    const kind *k, const char *device, const char *flight, uint64_t stop_at, const char *out)
{
    dart_result result;
    tiny_watch w = {.stop_at = stop_at};
    dart_recipe *recipe = recipe_of(k, device, out);
    assert_int_equal(setenv("DART_IN_FLIGHT", flight, 1), 0);
    dart_status status = tiny_train(recipe, &w, &result);
    if (stop_at) {
        assert_int_equal(status, DART_INTERRUPTED);
        assert_true(w.steps == stop_at || w.steps == stop_at + 1); /* what was in flight is kept */
        tiny_set(recipe, "resume", "true");
        w = (tiny_watch){0};
        status = tiny_train(recipe, &w, &result);
    }
    if (status != DART_OK) fail_msg("%s on %s: %s", k->name, device, dart_error_text());
    assert_int_equal(unsetenv("DART_IN_FLIGHT"), 0);
    dart_recipe_free(recipe);
    return result.steps;
}

static bool present(const char *id)
{
    dart_device *device;
    if (dart_device_open(id, NULL, &device) != DART_OK) return false;
    dart_device_close(device);
    return true;
}

static void compare_files(const char *a, const char *b, uint64_t step)
{
    static const char *const logs[] = {"metrics.jsonl", "spectra.jsonl"};
    static const char *const files[] = {"model.safetensors", "optimizer.safetensors", "state.json"};
    char name[96], path[400];
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s/%s", tiny_folder, a, logs[i]);
        if (i == 0 || dart_file_exists(path)) tiny_assert_same(a, b, logs[i]);
    }
    for (int i = 0; i < 2; i++) {
        snprintf(
            name, sizeof name, "checkpoints/step-%08llu/%s", (unsigned long long)step, files[i]);
        tiny_assert_same(a, b, name);
    }
}

/* stopped: so many of the kinds are also stopped and resumed. */
static void compare(const char *device, unsigned stopped, unsigned stride)
{
    char one[64], two[64];
    if (!present(device)) {
        printf("skipped: %s\n", dart_error_text());
        return;
    }
    for (unsigned k = 0; k < KINDS; k++) {
        snprintf(one, sizeof one, "%s-%.3s-1", kinds[k].name, device);
        snprintf(two, sizeof two, "%s-%.3s-2", kinds[k].name, device);
        const uint64_t steps = run_kind(&kinds[k], device, "1", 0, one);
        assert_int_equal(run_kind(&kinds[k], device, "2", 0, two), steps);
        compare_files(one, two, steps);
        for (uint64_t at = 1 + k; k < stopped && at + 1 < steps; at += stride) {
            snprintf(two, sizeof two, "%s-%.3s-stop-%d", kinds[k].name, device, (int)at);
            assert_int_equal(run_kind(&kinds[k], device, "2", at, two), steps);
            compare_files(one, two, steps);
        }
    }
}

static void test_cpu(void **state)
{
    (void)state;
    compare("cpu", KINDS, 7);
}

static void test_vulkan(void **state)
{
    (void)state;
    compare("vulkan:0", 2, 8);
}

static void test_opencl(void **state)
{
    (void)state;
    compare("opencl:0", 2, 8);
}

/* A run on the spied device as far as its first step. */
static void open_spied(
    const kind *k, dart_recipe **recipe, dart_result *result, dart_training *t, dart_run *run)
{
    const dart_hooks hooks = {0};
    *recipe = recipe_of(k, "null", "spied");
    tiny_set(*recipe, "force", "true");
    if (dart_training_open(*recipe, NULL, &hooks, result, t, run) != DART_OK)
        fail_msg("%s", dart_error_text());
    spy_on(run->device);
    run->ahead = true;
}

/* What is asked of a device in `steps` steps, writes as one. */
static void saw(dart_run *run, unsigned steps, const char *expected)
{
    char seen[256] = "";
    size_t n = 0;
    for (unsigned i = 0; i < steps; i++) {
        if (dart_run_next(run) != DART_OK) fail_msg("%s", dart_error_text());
        for (size_t c = 0; c < spy.length; c++)
            if (spy.text[c] != 'w' || !n || seen[n - 1] != 'w') seen[n++] = spy.text[c];
        seen[n++] = ' ';
        spy.text[spy.length = 0] = 0;
    }
    seen[n] = 0;
    if (strcmp(seen, expected)) fail_msg("asked: %s; expected: %s", seen, expected);
}

/* Submissions and inputs of the next step come before the wait for the last; before a checkpoint
 * and the end of a stage nothing is in flight. */
static void test_overlap(void **state)
{
    (void)state;
    dart_recipe *recipe;
    dart_result result;
    dart_training t;
    dart_run run;
    const kind plain = {"plain", "stages:\n  - {name: train, max_steps: 9}\n",
        {{"save_steps", "4"}, {"eval_selections", "false"}}};
    open_spied(&plain, &recipe, &result, &t, &run);
    /* steps 1 to 3, each but the first given one before; 4 with a checkpoint behind it; 5 anew */
    saw(&run, 5, "wswsl wsl wsl lrr wswsl ");
    run.ahead = false;
    saw(&run, 2, "l wsl ");
    dart_training_close(&t, &run);
    dart_recipe_free(recipe);
    const kind parts = {"parts", "stages:\n  - {name: train, max_steps: 9}\n",
        {{"gradient_accumulation_steps", "2"}, {"save_steps", "0"}}};
    open_spied(&parts, &recipe, &result, &t, &run);
    /* a part waits for the last but one: step 1 is over before step 2 has its update */
    saw(&run, 2, "wswslslwslwsls lwslwsls ");
    dart_training_close(&t, &run);
    dart_recipe_free(recipe);
}

/* A step that fails in flight is told by its number, after the results of those before. */
static void test_lost(void **state)
{
    (void)state;
    dart_recipe *recipe;
    dart_result result;
    dart_training t;
    dart_run run;
    open_spied(&kinds[0], &recipe, &result, &t, &run);
    spy.fails_at = 3;
    for (int i = 0; i < 2; i++) assert_int_equal(dart_run_next(&run), DART_OK);
    assert_int_equal(dart_run_next(&run), DART_DEVICE);
    assert_string_equal(dart_error_text(), "step 3: submission 3 was lost");
    assert_int_equal(run.step, 2);
    dart_training_close(&t, &run);
    dart_recipe_free(recipe);
}

/* Whoever asks a session for something else while a step is in flight is refused. */
static void test_refused(void **state)
{
    (void)state;
    dart_recipe *recipe;
    dart_result result;
    dart_training t;
    dart_run run;
    double nll;
    uint64_t tokens;
    dart_step_result step;
    dart_step_scalars scalars = {.adam_step = 1};
    open_spied(&kinds[0], &recipe, &result, &t, &run);
    dart_session *s = run.session;
    assert_int_equal(dart_session_take(s, &step), DART_FAILED);
    for (int i = 0; i < DART_IN_FLIGHT; i++)
        assert_int_equal(dart_session_submit(s, &run.train, &scalars), DART_OK);
    assert_int_equal(dart_session_submit(s, &run.train, &scalars), DART_FAILED);
    assert_int_equal(dart_session_step(s, &run.train, &scalars, &step), DART_FAILED);
    assert_int_equal(dart_session_read(s, run.bundle.param, NULL), DART_FAILED);
    assert_non_null(strstr(dart_error_text(), "a step is in flight"));
    assert_int_equal(dart_session_write(s, run.bundle.param, NULL, NULL), DART_FAILED);
    assert_int_equal(dart_session_gradient(s, run.bundle.param), DART_FAILED);
    assert_int_equal(dart_session_eval(s, &run.valid, &nll, &tokens), DART_FAILED);
    assert_int_equal(dart_session_replay(s, DART_PART_STEP), DART_FAILED);
    assert_int_equal(dart_run_save(&run), DART_FAILED);
    for (int i = 0; i < DART_IN_FLIGHT; i++) {
        assert_int_equal(dart_session_take(s, &step), DART_OK);
        assert_true(step.loss == (float)(i + 1)); /* each the result of its own submission */
    }
    assert_int_equal(dart_session_read(s, run.bundle.param, NULL), DART_OK);
    dart_training_close(&t, &run);
    dart_recipe_free(recipe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_overlap), cmocka_unit_test(test_lost),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_cpu), cmocka_unit_test(test_vulkan),
        cmocka_unit_test(test_opencl)};
    return cmocka_run_group_tests(tests, tiny_set_up, tiny_tear_down);
}
