/* Where the time of programs goes: sums that agree, a trace that programs read; a training step
 * that is timed gives the bits that it would have given. */
#include "bench_lab.h"
#include "file.h"
#include <math.h>

static const char dir[] = DART_BINARY_DIR "/bench-profile";

static double sum_of(const json_t *list, const char *key)
{
    size_t i;
    json_t *one;
    double sum = 0;
    json_array_foreach(list, i, one) sum += json_number_value(json_object_get(one, key));
    return sum;
}

static void check_profile(const json_t *profile, double launches)
{
    static const char *const bys[] = {"kernel", "op", "layer", "place"};
    const double ms = json_number_value(json_object_get(profile, "ms"));
    assert_true(ms > 0);
    for (int by = 0; by < 4; by++) {
        const json_t *list = json_object_get(profile, bys[by]);
        assert_true(fabs(sum_of(list, "ms") - ms) < 1e-6 * ms);
        assert_true(sum_of(list, "launches") == launches);
        for (size_t i = 1; i < json_array_size(list); i++) /* by falling time */
            assert_true(json_number_value(json_object_get(json_array_get(list, i - 1), "ms")) >=
                        json_number_value(json_object_get(json_array_get(list, i), "ms")));
    }
    assert_true(sum_of(json_object_get(profile, "op"), "gflop") > 0);
    assert_true(sum_of(json_object_get(profile, "op"), "mib") > 0);
}

/* Events in the order of the launches, none before the one before has ended. */
static void check_trace(const char *path, double launches)
{
    char *text;
    size_t size, i;
    json_t *event;
    double end = 0;
    unsigned count = 0;
    assert_int_equal(dart_file_read(path, &text, &size), DART_OK);
    json_t *body = json_loads(text, 0, NULL);
    assert_non_null(body);
    json_array_foreach(json_object_get(body, "traceEvents"), i, event)
    {
        const char *kind = json_string_value(json_object_get(event, "ph"));
        if (strcmp(kind, "X") != 0) continue;
        const double ts = json_number_value(json_object_get(event, "ts"));
        const double last = json_number_value(json_object_get(event, "dur"));
        if (json_integer_value(json_object_get(event, "pid")) != 1) continue;
        assert_true(ts >= end - 1e-3 && last >= 0);
        end = ts + last;
        count++;
    }
    printf("%s: %u events\n", path, count);
    assert_true(count == launches);
    json_decref(body);
    free(text);
}

static void test_bench(void **state)
{
    (void)state;
    static const char *const tests[] = {
        "step", "fwd", "bwd", "opt", "contract", "attention", "infer"};
    char path[512];
    snprintf(path, sizeof path, "%s/trace.json", dir);
    assert_int_equal(dart_mkdirs(dir), DART_OK);
    for (size_t t = 0; t < sizeof tests / sizeof *tests; t++) {
        dart_bench_options options = tiny_options(tests[t], "json");
        options.profile = true;
        options.trace = path;
        json_t *body = bench_json(&options), *list = json_object_get(body, "results");
        const json_t *row = json_array_get(list, 0), *profile = json_object_get(row, "profile");
        double launches = json_number_value(json_object_get(row, "launches"));
        if (!strcmp(tests[t], "bwd")) launches = sum_of(json_object_get(profile, "op"), "launches");
        check_profile(profile, launches);
        check_trace(path, launches);
        json_decref(body);
    }
    dart_bench_options options = tiny_options("step", "md");
    options.profile = true;
    char *text = bench_of(&options);
    assert_non_null(strstr(text, "\n| kernel on cpu | launches |"));
    assert_non_null(strstr(text, "\n| layer on cpu | launches |"));
    assert_non_null(strstr(text, "| blocks.0 |"));
    free(text);
}

/* The losses of a short training run. */
static void train(const char *out, const char *profile, double losses[12])
{
    char text[512], path[512], *lines;
    size_t size, count = 0;
    snprintf(text, sizeof text, "%s/text.txt", dir);
    FILE *file = fopen(text, "w");
    assert_non_null(file);
    for (int i = 0; i < 400; i++) fprintf(file, "the cat %d sat on mat %d\n", i % 7, i % 5);
    fclose(file);
    const char *const sets[][2] = {{"text", text}, {"layers", "1"}, {"d_model", "16"},
        {"heads", "2"}, {"context", "8"}, {"batch_size", "2"}, {"rank", "2"}, {"max_steps", "12"},
        {"device", "cpu"}, {"out", out}, {"profile", profile}, {"force", "true"}};
    dart_recipe *recipe;
    dart_result *result;
    assert_int_equal(dart_recipe_new(&recipe), DART_OK);
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        assert_int_equal(dart_recipe_set(recipe, sets[i][0], sets[i][1]), DART_OK);
    if (dart_train(recipe, NULL, &result) != DART_OK) fail_msg("%s", dart_last_error());
    dart_result_free(result);
    dart_recipe_free(recipe);
    snprintf(path, sizeof path, "%s/metrics.jsonl", out);
    assert_int_equal(dart_file_read(path, &lines, &size), DART_OK);
    for (char *line = strtok(lines, "\n"); line; line = strtok(NULL, "\n")) {
        json_t *one = json_loads(line, 0, NULL);
        const json_t *loss = json_object_get(one, "loss");
        if (loss && count < 12) losses[count++] = json_number_value(loss);
        json_decref(one);
    }
    free(lines);
    assert_int_equal(count, 12);
}

static void test_train(void **state)
{
    (void)state;
    double plain[12], timed[12];
    char out[2][512], path[600], *text;
    size_t size;
    for (int i = 0; i < 2; i++) {
        snprintf(out[i], sizeof out[i], "%s/run-%d", dir, i);
        assert_int_equal(dart_remove_tree(out[i]), DART_OK);
    }
    train(out[0], "false", plain);
    train(out[1], "true", timed);
    assert_memory_equal(plain, timed, sizeof plain);
    snprintf(path, sizeof path, "%s/profile.json", out[0]);
    assert_false(dart_file_exists(path));
    snprintf(path, sizeof path, "%s/profile.json", out[1]);
    assert_int_equal(dart_file_read(path, &text, &size), DART_OK);
    json_t *profile = json_loads(text, 0, NULL);
    free(text);
    const double launches = sum_of(json_object_get(profile, "op"), "launches");
    assert_true(launches > 50);
    check_profile(profile, launches);
    json_decref(profile);
    snprintf(path, sizeof path, "%s/trace.json", out[1]);
    check_trace(path, launches);
    snprintf(path, sizeof path, "%s/profile.md", out[1]);
    assert_true(dart_file_exists(path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bench),
        cmocka_unit_test(test_train),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
