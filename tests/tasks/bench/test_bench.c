/* Bench: every test of the registry has its columns, rows and a table; what is not measured is
 * empty, null or "-"; a point in every locale. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "bench.h"
#include "comma_locale.h"
#include <math.h>

/* What dart_bench prints for a tiny model; freed by the caller. */
static char *bench(const char *test, const char *format)
{
    static const char *const sets[][2] = {{"layers", "1"}, {"d_model", "16"}, {"heads", "2"},
        {"context", "8"}, {"batch_size", "2"}, {"vocab_size", "20"}, {"rank", "2"}};
    const dart_bench_options options = {
        .devices = "cpu", .tests = test, .format = format, .repeats = 2, .reference = true};
    dart_recipe *recipe;
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_int_equal(dart_recipe_new(&recipe), DART_OK);
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        assert_int_equal(dart_recipe_set(recipe, sets[i][0], sets[i][1]), DART_OK);
    if (dart_bench_print(recipe, &options, out) != DART_OK) fail_msg("%s", dart_error_text());
    dart_recipe_free(recipe);
    fclose(out);
    return text;
}

static unsigned words(const char *text)
{
    unsigned n = 1;
    for (; *text; text++) n += *text == ' ';
    return n;
}

/* A row as each test makes it: all that its columns name, under the names of the registry. */
static void test_registry(void **state)
{
    (void)state;
    unsigned tests = 0, rows = 0;
    for (const dart_bench_test *const *t = dart_bench_tests; *t; t++, tests++) {
        for (const dart_bench_test *const *u = dart_bench_tests; u < t; u++)
            assert_string_not_equal((*u)->name, (*t)->name);
        char *text = bench((*t)->name, "json"), keys[1024];
        json_t *body = json_loads(text, 0, NULL), *list = json_object_get(body, "results"), *row;
        size_t i;
        assert_true(json_array_size(list) > 0);
        json_array_foreach(list, i, row)
        {
            assert_string_equal(json_string_value(json_object_get(row, "test")), (*t)->name);
            assert_string_equal(json_string_value(json_object_get(row, "note")), "");
            assert_string_equal(json_string_value(json_object_get(row, "device")), "cpu");
            assert_int_equal(json_object_size(row), words((*t)->columns) + 2);
            snprintf(keys, sizeof keys, "%s", (*t)->columns);
            for (char *key = strtok(keys, " "); key; key = strtok(NULL, " "))
                if (!json_object_get(row, key)) fail_msg("%s has no column %s", (*t)->name, key);
            rows++;
        }
        json_decref(body);
        free(text);
        text = bench((*t)->name, "md");
        assert_non_null(strstr(text, (*t)->help));
        assert_non_null(strstr(text, (*t)->footnote));
        free(text);
    }
    printf("%u tests, %u rows\n", tests, rows);
    assert_int_equal(tests, 5);
}

/* Fields of a line of CSV; quotes are respected. */
static unsigned fields(const char *line, const char *end)
{
    unsigned n = 1;
    bool quoted = false;
    for (; line < end; line++) {
        quoted ^= *line == '"';
        n += *line == ',' && !quoted;
    }
    return n;
}

static void test_csv(void **state)
{
    (void)state;
    for (int comma = 0; comma < 2; comma++) {
        if (comma && !comma_locale()) {
            comma_locale_leave();
            skip();
        }
        char *text = bench("step,gemm,infer,pick", "csv"), *line = text, *end;
        unsigned want = 0, lines = 0;
        for (; (end = strchr(line, '\n')); line = end + 1, lines++) {
            if (!lines) want = fields(line, end);
            if (fields(line, end) != want) fail_msg("%.*s", (int)(end - line), line);
        }
        assert_true(want > 30 && lines > 10);
        assert_non_null(strstr(text, "\ngemm,square NN 512x512x512,,,,cpu,,,,,,,"));
        assert_null(strstr(text, "nan"));
        free(text);
    }
    comma_locale_leave();
}

/* Figures that are none, and texts of drivers. */
static void test_odd_rows(void **state)
{
    (void)state;
    dart_bench_rows *rows = dart_calloc(1, sizeof *rows);
    const double nothing = NAN;
    assert_non_null(rows);
    for (int i = 0; i < 2; i++) {
        dart_bench_row *row = &rows->row[rows->count++];
        *row = (dart_bench_row){.selection = "",
            .tokens_per_s = nothing,
            .sd = INFINITY,
            .ms = i ? 1234.5 : nothing,
            .gflops = nothing,
            .longest_submit_ms = nothing,
            .difference = i ? 3.14e-7 : nothing,
            .planned_bytes = i ? 3 << 19 : 0,
            .launches = i ? 7 : 0};
        strcpy(row->test, "step");
        strcpy(row->what, "a \"b\" | c");
        strcpy(row->device, "cpu");
        if (!i) strcpy(row->note, "it, broke\xff");
    }
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    dart_bench_csv(rows, out);
    fclose(out);
    assert_string_equal(text,
        "test,what,device,tokens_per_s,sd,ms,gflops,planned_bytes,actual_bytes,launches,submits,"
        "longest_submit_ms,"
        "difference,note\r\n"
        "step,\"a \"\"b\"\" | c\",cpu,,,,,0,0,0,0,,,\"it, broke\xff\"\r\n"
        "step,\"a \"\"b\"\" | c\",cpu,,,1234.5,,1572864,0,7,0,,3.14e-07,\r\n");
    free(text);
    out = open_memstream(&text, &size);
    dart_bench_markdown(rows, 5, out);
    fclose(out);
    assert_non_null(strstr(text,
        "| test | what | device | ms | planned MiB | launches | submits | difference from cpu |\n"
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |\n"
        "| step | a \"b\" \\| c | cpu | - | - | - | - | - |\n"
        "| step | a \"b\" \\| c | cpu | 1,234.500 | 1.5 | 7 | 0 | 3.1e-07 |\n"));
    assert_non_null(strstr(text, "\nstep a \"b\" | c on cpu: it, broke\xff\n"));
    free(text);
    out = open_memstream(&text, &size);
    assert_int_equal(dart_bench_json(rows, 5, out), DART_OK);
    fclose(out);
    json_t *body = json_loads(text, 0, NULL);
    const json_t *first = json_array_get(json_object_get(body, "results"), 0);
    assert_true(json_is_null(json_object_get(first, "sd")));
    assert_true(json_is_null(json_object_get(first, "difference")));
    assert_string_equal(json_string_value(json_object_get(first, "note")), "it, broke\xef\xbf\xbd");
    json_decref(body);
    free(text);
    free(rows);
}

/* The median of the times is kept, the deviation is of the rates. */
static void test_measure(void **state)
{
    (void)state;
    double seconds[] = {0.5, 0.25, 1}, sd;
    assert_true(dart_bench_median(seconds, 3, 10, &sd) == 0.5);
    assert_true(fabs(sd - sqrt((100 + 400 + 1600 - 70 * 70 / 3.0) / 2)) < 1e-12);
    assert_true(seconds[0] == 0.25);
    assert_true(dart_bench_median(seconds, 1, 10, &sd) == 0.25 && sd == 0);
    dart_bench_reference reference = {0};
    const float a[] = {1, -4, 2}, b[] = {1, -3, 2}, c[] = {1, NAN, 2};
    assert_true(dart_bench_reference_compare(&reference, 2, a, 3) == 0);
    assert_true(dart_bench_reference_compare(&reference, 2, b, 3) == 0.25);
    assert_true(isnan(dart_bench_reference_compare(&reference, 2, c, 3)));
    assert_true(isnan(dart_bench_reference_compare(&reference, 2, a, 2)));
    dart_bench_reference_free(&reference);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_registry),
        cmocka_unit_test(test_csv),
        cmocka_unit_test(test_odd_rows),
        cmocka_unit_test(test_measure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
