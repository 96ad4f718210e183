/* What was measured before beside what is measured now; pictures of it. */
#include "bench_lab.h"
#include "file.h"
#include "report.h"

static void write_file(const char *path, const char *text)
{
    assert_int_equal(dart_file_write_atomic(path, text, strlen(text)), DART_OK);
}

static const char dir[] = DART_BINARY_DIR "/bench-compare";

static void test_compare(void **state)
{
    (void)state;
    char path[512];
    snprintf(path, sizeof path, "%s/old.json", dir);
    assert_int_equal(dart_mkdirs(dir), DART_OK);
    dart_bench_options options = tiny_options("step,gemm:NN8x8x8", "json");
    options.repeats = 3;
    char *text = bench_of(&options);
    /* as if everything had taken a thousand times as long; one row is another one */
    json_t *body = json_loads(text, 0, NULL), *list = json_object_get(body, "results"), *row, *ms;
    size_t i, k;
    json_array_foreach(list, i, row)
    {
        json_t *samples = json_object_get(row, "samples_ms");
        json_array_foreach(samples, k, ms)
            json_array_set_new(samples, k, json_real(1000 * json_number_value(ms)));
        if (i) json_object_set_new(row, "what", json_string("NN 9x9x9"));
    }
    free(text);
    text = json_dumps(body, 0);
    write_file(path, text);
    free(text);
    json_decref(body);

    options.compare = path;
    options.format = "md";
    text = bench_of(&options);
    assert_non_null(strstr(text, "against "));
    assert_non_null(strstr(text, "faster"));
    assert_non_null(strstr(text, "\n1 rows have no row there"));
    assert_true(widest(strstr(text, "\n| test ")) <= 100);
    free(text);
    options.format = "json";
    body = bench_json(&options);
    list = json_object_get(body, "compare");
    assert_int_equal(json_array_size(list), 1);
    row = json_array_get(list, 0);
    assert_true(json_real_value(json_object_get(row, "ratio")) > 50);
    assert_string_equal(json_string_value(json_object_get(row, "verdict")), "faster");
    assert_int_equal(json_array_size(json_object_get(row, "confidence_95")), 2);
    json_decref(body);

    static const char *const bad[] = {"", "{", "[]", "{\"results\": 3}", "null"};
    for (i = 0; i < sizeof bad / sizeof *bad; i++) {
        dart_status status;
        write_file(path, bad[i]);
        free(bench_text(&options, &status));
        if (status != DART_INPUT) fail_msg("'%s': %d %s", bad[i], status, dart_error_text());
    }
    /* the same rows without samples */
    options.compare = NULL;
    text = bench_of(&options);
    for (char *at = text; (at = strstr(at, "samples_ms"));) *at = 'S';
    write_file(path, text);
    free(text);
    options.compare = path;
    options.format = "md";
    text = bench_of(&options);
    assert_non_null(strstr(text, "against "));
    assert_non_null(strstr(strstr(text, "against "), "| step "));
    assert_null(strstr(text, "nan"));
    free(text);
    /* rows of other versions, and what is no row */
    write_file(path, "{\"results\": [1, {}, {\"test\": \"step\", \"samples_ms\": [\"x\", -1]}]}");
    free(bench_of(&options));
}

static bool is_picture(const char *name)
{
    char path[512], *text;
    size_t size;
    snprintf(path, sizeof path, "%s/pictures/%s", dir, name);
    if (!dart_file_exists(path)) return false;
    assert_int_equal(dart_file_read(path, &text, &size), DART_OK);
    const bool whole = !strncmp(text, "<svg ", 5) && !strcmp(text + size - 7, "</svg>\n");
    assert_null(strstr(text, "nan"));
    free(text);
    return whole;
}

static void test_pictures(void **state)
{
    (void)state;
    char path[512], json[512], html[512], *text;
    size_t size;
    snprintf(path, sizeof path, "%s/pictures", dir);
    snprintf(json, sizeof json, "%s/now.json", dir);
    snprintf(html, sizeof html, "%s/now.html", dir);
    dart_bench_options options = tiny_options("step,gemm:NN64x64x64,peak", "json");
    options.svg = path;
    text = bench_of(&options);
    assert_true(is_picture("roofline.svg"));
    assert_true(is_picture("tokens-a-second.svg"));
    assert_true(is_picture("gflop-a-second.svg"));
    write_file(json, text);
    free(text);
    const char *const one[] = {json};
    if (dart_report(one, 1, html) != DART_OK) fail_msg("%s", dart_error_text());
    assert_int_equal(dart_file_read(html, &text, &size), DART_OK);
    assert_non_null(strstr(text, "Roofline"));
    assert_non_null(strstr(text, "<td>NN 64x64x64</td>"));
    free(text);
    assert_int_equal(dart_remove_tree(path), DART_OK);
    if (dart_report_pictures(one, 1, path) != DART_OK) fail_msg("%s", dart_error_text());
    assert_true(is_picture("roofline.svg"));
    write_file(json, "{\"results\": []}");
    assert_int_equal(dart_report(one, 1, html), DART_INPUT);
    write_file(json, "{\"devices\": [{}, {\"device\": \"a\", \"peak_gflops\": -1}], \"results\": "
                     "[{}, 3, {\"device\": \"a\", \"gflops\": 1e300, \"gb_per_s\": 1e-300}]}");
    if (dart_report(one, 1, html) != DART_OK) fail_msg("%s", dart_error_text());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compare),
        cmocka_unit_test(test_pictures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
