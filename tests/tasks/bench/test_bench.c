/* Bench: every test of the registry has its columns, rows and a table; what is not measured is
 * empty, null or "-"; a point in every locale; wrong results are failures. */
#include "bench_lab.h"
#include "comma_locale.h"
#include <math.h>

static unsigned words(const char *text)
{
    unsigned n = 1;
    for (; *text; text++) n += *text == ' ';
    return n;
}

static void check_row(const dart_bench_test *test, const json_t *row)
{
    char keys[1024];
    const char *name = json_string_value(json_object_get(row, "test"));
    assert_int_equal(strncmp(name, test->name, strlen(test->name)), 0);
    assert_string_equal(json_string_value(json_object_get(row, "note")), "");
    assert_string_equal(json_string_value(json_object_get(row, "device")), "cpu");
    assert_int_equal(json_array_size(json_object_get(row, "samples_ms")), 2);
    assert_false(json_boolean_value(json_object_get(row, "wrong")));
    assert_int_equal(json_object_size(row), words(test->columns) + 3 + test->compares);
    snprintf(keys, sizeof keys, "%s", test->columns);
    for (char *key = strtok(keys, " "); key; key = strtok(NULL, " "))
        if (!json_object_get(row, key)) fail_msg("%s has no column %s", test->name, key);
}

/* A row as each test makes it: all that its columns name, under the names of the registry. */
static void test_registry(void **state)
{
    (void)state;
    unsigned tests = 0, rows = 0;
    for (const dart_bench_test *const *t = dart_bench_tests; *t; t++, tests++) {
        for (const dart_bench_test *const *u = dart_bench_tests; u < t; u++)
            assert_string_not_equal((*u)->name, (*t)->name);
        assert_ptr_equal(dart_bench_find((*t)->name, strlen((*t)->name)), *t);
        const dart_bench_options options = tiny_options((*t)->name, "json");
        json_t *body = bench_json(&options), *list = json_object_get(body, "results"), *row;
        size_t i;
        assert_true(json_array_size(list) > 0);
        json_array_foreach(list, i, row)
        {
            check_row(*t, row);
            rows++;
        }
        static const char *const about[] = {"version", "commit", "date", "processor", "system"};
        for (size_t k = 0; k < sizeof about / sizeof *about; k++)
            if (!*json_string_value(json_object_get(body, about[k]))) fail_msg("no %s", about[k]);
        assert_int_equal(json_array_size(json_object_get(body, "devices")), 1);
        json_decref(body);
    }
    printf("%u tests, %u rows\n", tests, rows);
    assert_int_equal(tests, 12);
    assert_true(rows > 40);
    assert_ptr_equal(dart_bench_find("eval", 4), &dart_bench_fwd);
}

/* Two devices that differ by rounding, all tests: no line is wider than a terminal, what does not
 * vary stands above. */
static void test_tables(void **state)
{
    (void)state;
    unsigned lines = 0;
    dart_bench_options options =
        tiny_options("step,steps,fwd,bwd,opt,infer,contract,op,peak", "md");
    options.devices = "cpu,cpu64";
    char *text = bench_of(&options);
    if (widest(text) > 100) fail_msg("a line of %zu characters:\n%s", widest(text), text);
    for (const char *at = text; *at; at++) lines += *at == '\n';
    assert_non_null(strstr(text, "commit "));
    assert_non_null(strstr(text, "model gpt 1 x 16"));
    assert_non_null(strstr(text, "| step  | cpu    |"));
    assert_non_null(strstr(text, "| bwd   | cpu64  |"));
    printf("%u lines\n", lines);
    assert_true(lines > 100);
    free(text);
    text = bench("step", "md");
    assert_non_null(strstr(text, dart_bench_step.help));
    assert_null(strstr(text, "| device")); /* there is only one */
    free(text);
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
        assert_true(want > 40 && lines > 10);
        assert_non_null(strstr(text, "\ngemm,NN 512x512x512,,"));
        assert_non_null(strstr(text, ",version,commit,date,processor,system\r\n"));
        assert_null(strstr(text, "nan"));
        free(text);
    }
    comma_locale_leave();
}

/* Figures that are none, and texts of drivers. */
static dart_bench_rows odd_rows(void)
{
    dart_bench_rows rows = {.row = calloc(2, sizeof *rows.row), .count = 2};
    const double nothing = NAN;
    assert_non_null(rows.row);
    for (int i = 0; i < 2; i++) {
        dart_bench_row *row = &rows.row[i];
        *row = (dart_bench_row){.selection = "",
            .sd = INFINITY,
            .ms = i ? 1234.5 : nothing,
            .gflops = nothing,
            .tolerance = nothing,
            .difference = i ? 3.14e-7 : nothing};
        double *const others[] = {&row->peak_percent, &row->gb_per_s, &row->copy_percent,
            &row->first_ms, &row->ms_min, &row->ms_max, &row->loss, &row->host_us};
        for (size_t k = 0; k < sizeof others / sizeof *others; k++) *others[k] = nothing;
        row->actual_bytes = i ? 3 << 19 : 0;
        row->launches = i ? 7 : 0;
        strcpy(row->test, "gemm:NN1x1x1");
        strcpy(row->what, i ? "an 'o' | b" : "a \"b\" | c");
        strcpy(row->device, "cpu");
        if (!i) strcpy(row->note, "it, broke\xff");
    }
    return rows;
}

static char *printed(
    dart_status (*print)(const dart_bench_machine *, const dart_bench_rows *, FILE *),
    const dart_bench_rows *rows)
{
    const dart_bench_machine machine = {
        .version = "1", .commit = "c", .date = "d", .processor = "it's", .system = "s"};
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_int_equal(print(&machine, rows, out), DART_OK);
    fclose(out);
    return text;
}

static dart_status json_alone(
    const dart_bench_machine *machine, const dart_bench_rows *rows, FILE *out)
{
    return dart_bench_json(machine, rows, NULL, out);
}

static void test_odd_rows(void **state)
{
    (void)state;
    dart_bench_rows rows = odd_rows();
    char *text = printed(dart_bench_csv, &rows);
    assert_non_null(strstr(text, "\r\ngemm:NN1x1x1,\"a \"\"b\"\" | c\",,cpu,,,,,,,,,,,,,0,0,0,,"
                                 "\"it, broke\xff\",1,c,d,it's,s\r\n"));
    assert_non_null(strstr(text, ",1234.5,"));
    free(text);
    text = printed(dart_bench_markdown, &rows);
    assert_non_null(strstr(text, "| a \"b\" \\| c  |"));
    assert_non_null(strstr(text, "1,234.500 |"));
    assert_non_null(strstr(text, "\ngemm:NN1x1x1 a \"b\" | c on cpu: it, broke\xff\n"));
    free(text);
    text = printed(json_alone, &rows);
    json_t *body = json_loads(text, 0, NULL);
    const json_t *first = json_array_get(json_object_get(body, "results"), 0);
    assert_true(json_is_null(json_object_get(first, "sd")));
    assert_true(json_is_null(json_object_get(first, "difference")));
    assert_string_equal(json_string_value(json_object_get(first, "note")), "it, broke\xef\xbf\xbd");
    json_decref(body);
    free(text);
    text = printed(dart_bench_sql, &rows);
    assert_int_equal(
        strncmp(text, "CREATE TABLE IF NOT EXISTS bench (\n  \"version\" TEXT,", 50), 0);
    assert_non_null(strstr(text, "\nINSERT INTO bench VALUES ('1', 'c', 'd', 'it''s', 's', "
                                 "'gemm:NN1x1x1', 'an ''o'' | b', "));
    assert_non_null(strstr(text, ", 1234.5, "));
    assert_non_null(strstr(text, ", NULL, "));
    free(text);
    text = printed(dart_bench_jsonl, &rows);
    unsigned lines = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"), lines++) {
        json_t *one = json_loads(line, 0, NULL);
        assert_string_equal(json_string_value(json_object_get(one, "processor")), "it's");
        json_decref(one);
    }
    assert_int_equal(lines, 2);
    free(text);
    free(rows.row);
}

/* A device that computes nothing is fast and wrong: all is printed, and the call fails. */
static void test_wrong(void **state)
{
    (void)state;
    dart_bench_options options = tiny_options("fwd,gemm:NT8x8x8", "json");
    options.devices = "null";
    dart_status status;
    char *text = bench_text(&options, &status);
    assert_int_equal(status, DART_FAILED);
    assert_non_null(strstr(dart_error_text(), "2 of 2 rows differ from cpu"));
    json_t *body = json_loads(text, 0, NULL), *row;
    size_t i;
    json_array_foreach(json_object_get(body, "results"), i, row)
        assert_true(json_boolean_value(json_object_get(row, "wrong")));
    assert_int_equal(i, 2);
    json_decref(body);
    free(text);
    options.reference = false; /* nothing to compare with but itself */
    free(bench_of(&options));
    options.format = "md";
    options.reference = true;
    text = bench_text(&options, &status);
    assert_non_null(strstr(text, "WRONG"));
    free(text);
}

static void refused(dart_bench_options options, dart_status want, const char *words_of_it)
{
    dart_status status;
    free(bench_text(&options, &status));
    if (status != want || !strstr(dart_error_text(), words_of_it))
        fail_msg("status %d: %s", status, dart_error_text());
}

static void test_refused(void **state)
{
    (void)state;
    refused(tiny_options("stpe", "md"), DART_USAGE, "did you mean 'step'");
    refused(tiny_options("step:x", "md"), DART_USAGE, "nothing behind a colon");
    refused(tiny_options("op:sotfmax", "md"), DART_USAGE, "did you mean 'softmax'");
    refused(tiny_options("op:cache_write", "md"), DART_INPUT, "launches no op cache_write");
    refused(tiny_options("gemm:NX4x4x4", "md"), DART_USAGE, "is no product");
    refused(tiny_options("gemm:NN4x4", "md"), DART_USAGE, "is no product");
    refused(tiny_options("gemm:NN4x4x4+f8", "md"), DART_USAGE, "is no product");
    refused(tiny_options("gemm:NN4x4x4x4x4", "md"), DART_USAGE, "is no product");
    refused(tiny_options("gemm:NN4x0x4", "md"), DART_USAGE, "is no product");
    refused(tiny_options("step", "xml"), DART_USAGE, "output format");
    dart_bench_options options = tiny_options("step", "md");
    options.compare = "/there/is/none.json";
    refused(options, DART_INPUT, "there is no file");
    options = tiny_options("step", "md");
    options.trace = "t.json";
    refused(options, DART_USAGE, "--profile");
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
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_csv),
        cmocka_unit_test(test_odd_rows),
        cmocka_unit_test(test_wrong),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_measure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
