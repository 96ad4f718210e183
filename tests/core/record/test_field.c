/* Lines of the logs: the same bytes as ever, sound JSON whatever the texts and figures hold, a
 * point in every locale. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "comma_locale.h"
#include "field.h"
#include "metrics.h"
#include <math.h>

static char folder[64];

static int set_up(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/dart-field-XXXXXX");
    return !mkdtemp(folder);
}

static int tear_down(void **state)
{
    (void)state;
    return dart_remove_tree(folder) != DART_OK;
}

/* What one of the logs holds; freed by the caller. */
static char *read_log(const char *name)
{
    char path[128], *text;
    size_t size;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_int_equal(dart_file_read(path, &text, &size), DART_OK);
    return text;
}

/* Every kind of line once. */
static void write_logs(const char *stage, const char *weight)
{
    static const uint64_t start[DART_LOGS] = {0};
    static const uint32_t n[3] = {8, 64, 8}, was[4] = {1, 8, 6, 1}, now[4] = {1, 3, 2, 1};
    static const double sigma[3] = {1.25, 1.0 / 3, 1e-9};
    dart_metrics m;
    assert_int_equal(dart_metrics_open(folder, start, &m), DART_OK);
    const dart_metrics_weight w = {weight, "tt", 3, n, was, now, 4096, 3184, 432, 0.25, NAN};
    dart_metrics_ranks(&m, 0, stage, "threshold", &w);
    dart_metrics_stage(&m, 0, stage, 50, "bond-nuclear", 0.01);
    dart_metrics_step(&m, 1, stage, 4.0, 0.1, 1.5, 2.0, 0.01, 64);
    dart_metrics_rank(&m, 1, stage, "entropy", 2.5);
    const dart_gate_log gate = {"gumbel", 0.5, 100, 0.25, 1, 0.125, 2, NAN, 0.75};
    dart_metrics_gate(&m, 1, stage, &gate);
    dart_metrics_eval(&m, 1, stage, "valid", 1.5, exp(1.5));
    dart_metrics_eval(&m, 1, stage, "test", 1.25, exp(1.25));
    dart_metrics_bleu(&m, 1, stage, 12.5);
    dart_metrics_end(&m, 1, stage);
    dart_metrics_timing(&m, 1, 1234.5678, 0.25);
    dart_metrics_pick_timing(&m, 1, 0.5, 0.25, 0.125, 3, 4);
    dart_metrics_device(&m, 1, "cpu", "a \"processor\"", "driver\\1", "API");
    dart_metrics_spectrum(&m, 1, weight, 1, sigma, 3);
    dart_metrics_close(&m);
}

/* The bytes that versions before wrote. */
static void check_logs(void)
{
    char *metrics = read_log("metrics.jsonl"), *timing = read_log("timing.jsonl");
    char *spectra = read_log("spectra.jsonl");
    assert_string_equal(metrics,
        "{\"step\":0,\"stage\":\"shrink\",\"event\":\"ranks\",\"rule\":\"threshold\","
        "\"weight\":\"q\",\"method\":\"tt\",\"n\":[8,64,8],\"ranks_before\":[8,6],"
        "\"ranks\":[3,2],\"dense_params\":4096,\"params_before\":3184,\"params\":432,"
        "\"cut_error\":0.25}\n"
        "{\"step\":0,\"stage\":\"shrink\",\"event\":\"stage\",\"steps\":50,"
        "\"reg\":\"bond-nuclear\",\"lambda_reg\":0.01}\n"
        "{\"step\":1,\"stage\":\"shrink\",\"loss\":4,\"lr\":0.1,\"grad_norm\":1.5,\"penalty\":2,"
        "\"lambda\":0.01,\"penalty_ratio\":0.005,\"tokens\":64}\n"
        "{\"step\":1,\"stage\":\"shrink\",\"effective_rank\":2.5,\"rank_measure\":\"entropy\"}\n"
        "{\"step\":1,\"stage\":\"shrink\",\"gate\":\"gumbel\",\"gate_size\":0.5,"
        "\"gate_words\":100,\"gate_target\":0.25,\"gate_weight\":1,\"gate_l1\":0.125,"
        "\"gate_l2\":2,\"gate_tau\":0.75}\n"
        "{\"step\":1,\"stage\":\"shrink\",\"valid_nll\":1.5,\"valid_ppl\":4.48168907}\n"
        "{\"step\":1,\"stage\":\"shrink\",\"test_nll\":1.25,\"test_ppl\":3.49034296}\n"
        "{\"step\":1,\"stage\":\"shrink\",\"test_bleu\":12.5}\n"
        "{\"step\":1,\"stage\":\"shrink\",\"event\":\"end\"}\n");
    assert_string_equal(timing,
        "{\"step\":1,\"tokens_per_s\":1234.57,\"seconds\":0.25}\n"
        "{\"step\":1,\"svd_s\":0.5,\"plan_s\":0.25,\"build_s\":0.125,\"kernels_made\":3,"
        "\"kernels_found\":4}\n"
        "{\"step\":1,\"event\":\"device\",\"device\":\"cpu\",\"name\":\"a \\\"processor\\\"\","
        "\"driver\":\"driver\\\\1\",\"api\":\"API\"}\n");
    assert_string_equal(
        spectra, "{\"step\":1,\"weight\":\"q\",\"bond\":1,\"sigma\":[1.25,0.333333,1e-09]}\n");
    free(metrics);
    free(timing);
    free(spectra);
}

static void test_bytes(void **state)
{
    (void)state;
    write_logs("shrink", "q");
    check_logs();
}

static void test_locale(void **state)
{
    (void)state;
    if (!comma_locale()) {
        comma_locale_leave();
        skip();
    }
    write_logs("shrink", "q");
    check_logs();
    char text[16];
    snprintf(text, sizeof text, "%g", 0.5); /* the program around has its own back */
    comma_locale_leave();
    assert_string_equal(text, "0,5");
}

/* Quotes, control bytes, letters of other scripts, bytes that are no UTF-8: names come back, or as
 * close as JSON can. */
static void test_texts(void **state)
{
    (void)state;
    static const struct {
        const char *text, *read;
    } cases[] = {{"a \"quoted\\ name", NULL}, {"tab\tline\nbell\a\x01\x1f", NULL},
        {"Gr\xc3\xb6\xc3\x9f\x65 \xe2\x88\x86 \xf0\x9f\x98\x80 \x7f", NULL},
        {"cut \xc3", "cut \xef\xbf\xbd"}, {"\xff\xfe", "\xef\xbf\xbd\xef\xbf\xbd"},
        {"long \xc0\xaf", "long \xef\xbf\xbd\xef\xbf\xbd"},
        {"\xed\xa0\x80!", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd!"},
        {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbd"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *want = cases[i].read ? cases[i].read : cases[i].text;
        write_logs(cases[i].text, cases[i].text);
        static const char *const files[] = {"metrics.jsonl", "spectra.jsonl"};
        for (int f = 0; f < 2; f++) {
            char *text = read_log(files[f]), *line = text, *end;
            unsigned lines = 0;
            for (; (end = strchr(line, '\n')); line = end + 1, lines++) {
                json_t *json = json_loadb(line, (size_t)(end - line), 0, NULL);
                assert_non_null(json);
                const char *key = f || !lines ? "weight" : "stage";
                assert_string_equal(json_string_value(json_object_get(json, key)), want);
                json_decref(json);
            }
            assert_int_equal(lines, f ? 1 : 9);
            free(text);
        }
    }
}

/* What is not finite is null and comes back as no number. */
static void test_not_finite(void **state)
{
    (void)state;
    static const uint64_t start[DART_LOGS] = {0};
    static const double bad[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3; i++) {
        dart_metrics m;
        assert_int_equal(dart_metrics_open(folder, start, &m), DART_OK);
        dart_metrics_step(&m, 1, "a", bad[i], bad[i], bad[i], bad[i], bad[i], 1);
        dart_metrics_timing(&m, 1, bad[i], bad[i]);
        dart_metrics_spectrum(&m, 1, "w", 0, &bad[i], 1);
        dart_metrics_close(&m);
        char *metrics = read_log("metrics.jsonl"), *timing = read_log("timing.jsonl");
        char *spectra = read_log("spectra.jsonl");
        assert_string_equal(metrics,
            "{\"step\":1,\"stage\":\"a\",\"loss\":null,\"lr\":null,\"grad_norm\":null,"
            "\"penalty\":null,\"lambda\":null,\"penalty_ratio\":null,\"tokens\":1}\n");
        assert_string_equal(timing, "{\"step\":1,\"tokens_per_s\":null,\"seconds\":null}\n");
        assert_string_equal(spectra, "{\"step\":1,\"weight\":\"w\",\"bond\":0,\"sigma\":[null]}\n");
        json_t *json = json_loads(metrics, 0, NULL);
        assert_true(isnan(dart_number_of(json_object_get(json, "loss"))));
        assert_true(isnan(dart_number_of(json_object_get(json, "missing"))));
        assert_true(dart_number_of(json_object_get(json, "tokens")) == 1);
        json_decref(json);
        free(metrics);
        free(timing);
        free(spectra);
    }
}

typedef struct sample {
    char name[16];
    const char *text;
    uint32_t count;
    uint64_t large;
    double value, rest;
} sample;
static const dart_field sample_fields[] = {DART_FIELD(sample, name), DART_FIELD(sample, text),
    DART_FIELD(sample, count), DART_FIELD(sample, large), DART_FIELD(sample, value),
    DART_FIELD_OPTIONAL(sample, rest, "rest")};

static void test_forms(void **state)
{
    (void)state;
    const sample samples[] = {
        {"a,b", "say \"x\"", 7, 1ull << 53, 0.1, 2}, {"", "", 0, 0, NAN, NAN}};
    static const char *const csv[] = {
        "\"a,b\",\"say \"\"x\"\"\",7,9007199254740992,0.1,2", ",,0,0,,"};
    static const char *const json[] = {"{\"name\": \"a,b\", \"text\": \"say \\\"x\\\"\", "
                                       "\"count\": 7, \"large\": 9007199254740992, "
                                       "\"value\": 0.1, \"rest\": 2.0}",
        "{\"name\": \"\", \"text\": \"\", \"count\": 0, \"large\": 0, \"value\": null}"};
    for (int i = 0; i < 2; i++) {
        char *text;
        size_t size;
        FILE *out = open_memstream(&text, &size);
        dart_field_csv(DART_FIELDS(sample_fields), &samples[i], 9, out);
        fclose(out);
        assert_string_equal(text, csv[i]);
        free(text);
        dart_status status = DART_OK;
        json_t *object = json_object();
        dart_field_json(DART_FIELDS(sample_fields), &samples[i], object, &status);
        assert_int_equal(status, DART_OK);
        text = json_dumps(object, JSON_REAL_PRECISION(9));
        assert_string_equal(text, json[i]);
        free(text);
        json_decref(object);
    }
    /* bytes that are no UTF-8 spoil no document */
    const sample bad = {.name = "\xff", .text = ""};
    dart_status status = DART_OK;
    json_t *object = json_object();
    dart_field_json(DART_FIELDS(sample_fields), &bad, object, &status);
    assert_int_equal(status, DART_OK);
    assert_string_equal(json_string_value(json_object_get(object, "name")), "\xef\xbf\xbd");
    json_decref(object);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_locale),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_not_finite),
        cmocka_unit_test(test_forms),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
