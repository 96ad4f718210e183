/* Results as JSON and back: the same again; other devices', other kernels', hostile ones; through
 * files where there is a device. */
#include "backend/tuned_lab.h"
#include "tuning.h"
#include <string.h>

static const dart_backend named = {.name = "vulkan"};
static dart_device device;
static char *text; /* of two classes */

static void ok(dart_status status)
{
    if (status != DART_OK) fail_msg("%s", dart_error_text());
}

static char *text_of(const dart_tuned *tuned)
{
    json_t *body;
    ok(dart_tuned_json(&device, tuned, &body));
    char *out = json_dumps(body, JSON_INDENT(1));
    json_decref(body);
    assert_non_null(out);
    return out;
}

/* Trials of all candidates of two kernels, with every state. */
static void put_all(dart_tuned *tuned)
{
    dart_launch launch[2] = {lab_gemm(1000, 16, 256, 0, 1)};
    assert_true(lab_launch(12, &launch[1])); /* rows */
    for (int l = 0; l < 2; l++) {
        dart_form form[DART_MOST_CANDIDATES];
        dart_trial trial[DART_MOST_CANDIDATES + 1];
        dart_class class;
        ok(dart_launch_geometry(&device.caps, &launch[l]));
        assert_true(dart_class_of(&launch[l], &class));
        const dart_form shipped = dart_form_of(&launch[l]);
        const uint32_t count = dart_candidates_of(&device.caps, &class, form);
        assert_true(count > 2);
        trial[0] = lab_trial(&launch[l], &shipped, DART_TRIAL_SHIPPED);
        for (uint32_t i = 0; i < count; i++) {
            const uint32_t state = i ? 1 + i % 4 : (uint32_t)DART_TRIAL_CHOSEN;
            trial[i + 1] = lab_trial(&launch[l], &form[i],
                i && state == DART_TRIAL_CHOSEN ? DART_TRIAL_SLOWER : (dart_trial_state)state);
            trial[i + 1].same_bits = i % 2;
            trial[i + 1].seconds *= 1 + i;
            if (trial[i + 1].state == DART_TRIAL_WRONG) trial[i + 1].error = INFINITY;
            if (trial[i + 1].state == DART_TRIAL_UNMADE)
                trial[i + 1].seconds = trial[i + 1].error = NAN;
        }
        ok(dart_tuned_put(tuned, &device.caps, trial, count + 1ul));
    }
}

static int begin(void **state)
{
    dart_tuned *tuned;
    if (lab_begin(state)) return -1;
    device = (dart_device){.backend = &named, .caps = lab_caps(LAB_GPU)};
    ok(dart_tuned_open(&device, &tuned));
    put_all(tuned);
    text = text_of(tuned);
    ok(dart_tuned_clear(tuned));
    dart_tuned_close(tuned);
    return 0;
}

static int end(void **state)
{
    free(text);
    return lab_end(state);
}

static dart_status parse(const char *given, bool force, size_t *out_count)
{
    dart_trial *trial;
    const dart_status status =
        dart_tuned_parse(&device, given, strlen(given), "a file", force, &trial, out_count);
    if (status != DART_OK) {
        assert_null(trial);
        assert_int_equal(*out_count, 0);
        assert_non_null(strstr(dart_error_text(), "a file"));
    }
    free(trial);
    return status;
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    dart_trial *trial;
    dart_tuned *tuned;
    size_t count;
    ok(dart_tuned_parse(&device, text, strlen(text), "a file", false, &trial, &count));
    ok(dart_tuned_open(&device, &tuned));
    assert_null(dart_tuned_at(tuned, 0));
    ok(dart_tuned_put(tuned, &device.caps, trial, count));
    char *again = text_of(tuned);
    assert_string_equal(again, text);
    free(again);
    free(trial);
    ok(dart_tuned_clear(tuned));
    dart_tuned_close(tuned);
}

/* `text` with the first `from` as `to`. */
static char *with(const char *from, const char *to)
{
    char *at = strstr(text, from), *out = malloc(strlen(text) + strlen(to) + 1);
    assert_non_null(out);
    if (!at) fail_msg("no %s in the text", from);
    sprintf(out, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    return out;
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    static const char *const changes[][2] = {{"dart-llm tuning 1", "dart-llm tuning 9"},
        {"\"classes\": [", "\"others\": ["}, {"\"gemm\"", "\"adamw\""}, {"\"gemm\"", "\"norm\""},
        {"\"gemm\"", "\"\\u0000\""}, {"\"gemm\"", "7"}, {"\"TA\": 0", "\"TA\": -1"},
        {"\"TA\": 0", "\"TA\": 0.5"}, {"\"TA\": 0", "\"TX\": 0"},
        {"\"TA\": 0", "\"TX\": 0, \"TA\": 0"}, {"\"m\": 1024", "\"m\": 0"},
        {"\"m\": 1024", "\"m\": 99999999999999"}, {"\"m\": 1024", "\"m\": \"1024\""},
        {"\"m\": 1024", "\"m\": 8"}, {"\"state\": \"chosen\"", "\"state\": \"fastest\""},
        {"\"state\": \"slower\"", "\"state\": \"chosen\""},
        {"\"variant\": \"shared\"", "\"variant\": \"shard\""},
        {"\"WGX\": 16", "\"WGX\": 1000000000"}, {"\"WGX\": 16", "\"WGX\": 17"},
        {"\"WGX\": 16", "\"WGX\": 4294967312"}, {"\"seconds\": 0.001", "\"seconds\": null"},
        {"\"seconds\": 0.001", "\"seconds\": -1.0"}, {"\"seconds\": 0.001", "\"seconds\": \"1.0\""},
        {"\"bound\": ", "\"bond\": "}, {"\"error\": 1e-14", "\"error\": 1"},
        {"\"forms\": [", "\"forms\": 1, \"f\": ["}, {"\"texts\": \"", "\"texts\": \"0"}};
    size_t count;
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        char *bad = with(changes[i][0], changes[i][1]);
        if (parse(bad, false, &count) == DART_OK) fail_msg("%s is taken", changes[i][1]);
        assert_true(strlen(dart_error_text()) > 20);
        free(bad);
    }
    static const char *const texts[] = {
        "", "[]", "{}", "null", "{\"format\": \"dart-llm tuning 1\"}"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        for (int force = 0; force < 2; force++)
            assert_int_equal(parse(texts[i], force, &count), DART_INPUT);
}

static void every_end_that_is_cut_is_refused(void **state)
{
    (void)state;
    size_t count;
    char *part = strdup(text);
    assert_non_null(part);
    for (size_t n = strlen(text) - 3; n > 0; n -= n > 97 ? 97 : n) {
        part[n] = 0;
        assert_int_equal(parse(part, n % 2, &count), DART_INPUT);
    }
    free(part);
}

static void others_files_need_force(void **state)
{
    (void)state;
    static const char *const changes[][2] = {{"\"vulkan\"", "\"opencl\""},
        {"\"a device\"", "\"another\""}, {"\"its driver\"", "\"a newer one\""},
        {"\"an API\"", "\"another API\""}, {"\"program\": \"", "\"program\": \"9"}};
    size_t all, count;
    ok(parse(text, false, &all));
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        char *other = with(changes[i][0], changes[i][1]);
        assert_int_equal(parse(other, false, &count), DART_INPUT);
        assert_non_null(strstr(dart_error_text(), "--force"));
        ok(parse(other, true, &count));
        assert_int_equal(count, all);
        free(other);
    }
    /* of other kernels: that class is left out */
    char *at = strstr(text, "\"texts\": \"");
    char *stale = with("\"texts\": \"", "\"texts\": \"");
    char *digit = &stale[at - text + 10];
    *digit = *digit == '0' ? '1' : '0';
    assert_int_equal(parse(stale, false, &count), DART_INPUT);
    assert_non_null(strstr(dart_error_text(), "tune again"));
    ok(parse(stale, true, &count));
    assert_true(count > 0 && count < all);
    free(stale);
    /* and what this device does not allow */
    const dart_caps caps = device.caps;
    device.caps = lab_caps(LAB_MESA);
    assert_int_equal(parse(text, false, &count), DART_INPUT);
    ok(parse(text, true, &count)); /* of the rows; no form of gemm is left */
    assert_true(count >= 2 && count < all);
    device.caps = caps;
}

static void files_go_out_and_in(void **state)
{
    (void)state;
    char path[128], *read;
    size_t size;
    uint32_t classes;
    dart_device *real;
    dart_tuned *tuned;
    dart_recipe *recipe;
    if (dart_device_open("opencl:0", NULL, &real) != DART_OK) skip();
    ok(dart_device_tuned(real, &tuned));
    snprintf(path, sizeof path, "%s/out.json", lab_cache);
    ok(dart_recipe_new(&recipe));
    ok(dart_recipe_set(recipe, "device", "opencl:0"));
    ok(dart_recipe_set(recipe, "force", "true"));
    assert_int_equal(dart_tune_export(recipe, path), DART_INPUT); /* nothing yet */
    assert_false(dart_file_exists(path));

    dart_form form[DART_MOST_CANDIDATES];
    dart_launch launch = lab_gemm(300, 64, 64, 0, 0);
    dart_class class;
    ok(dart_launch_geometry(&real->caps, &launch));
    assert_true(dart_class_of(&launch, &class));
    assert_true(dart_candidates_of(&real->caps, &class, form) > 0);
    const dart_trial trial = lab_trial(&launch, &form[0], DART_TRIAL_CHOSEN);
    ok(dart_tuned_put(tuned, &real->caps, &trial, 1));
    dart_device_close(real);

    assert_int_equal(dart_tune_export(recipe, "/nonexistent/out.json"), DART_IO);
    ok(dart_tune_export(recipe, path));
    ok(dart_tune_clear(recipe));
    ok(dart_tune_import(recipe, path, false, &classes));
    assert_int_equal(classes, 1);
    ok(dart_file_read(path, &read, &size));
    assert_non_null(strstr(read, "\"pthread"));
    memcpy(strstr(read, "\"pthread"), "\"p_hread", 8);
    ok(dart_file_write_atomic(path, read, size));
    free(read);
    assert_int_equal(dart_tune_import(recipe, path, false, &classes), DART_INPUT);
    assert_int_equal(classes, 0);
    dart_tuning *kept;
    ok(dart_tune_kept(recipe, &kept)); /* as it was */
    assert_int_equal(dart_tuning_result(kept)->chosen, 1);
    dart_tuning_free(kept);
    ok(dart_tune_import(recipe, path, true, NULL));
    assert_int_equal(dart_tune_import(recipe, "/nonexistent", false, NULL), DART_INPUT);
    ok(dart_tune_clear(recipe));
    dart_recipe_free(recipe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(every_end_that_is_cut_is_refused),
        cmocka_unit_test(others_files_need_force),
        cmocka_unit_test(files_go_out_and_in),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
