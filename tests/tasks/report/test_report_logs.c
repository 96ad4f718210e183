/* The report and the exports of logs that are damaged, empty, long, old or odd; files beside the
 * page; TensorBoard records against known ones; nothing depends on the locale. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "comma_locale.h"
#include "report_page.h"
#include <time.h>
#include <unistd.h>

static void test_odd_logs(void **state)
{
    (void)state;
    /* damaged lines in the middle, a last line without its end, losses that are no numbers */
    assert_int_equal(dart_mkdirs(in("odd")), DART_OK);
    put(in("odd/metrics.jsonl"),
        "{\"step\":1,\"stage\":\"a <b>\",\"loss\":3,\"lr\":0.1}\nrubbish\n"
        "{\"step\":2,\"stage\":\"a <b>\",\"loss\":null,\"lr\":0.1}\n[1]\n"
        "{\"step\":3,\"stage\":\"a <b>\",\"loss\":2,\"lr\":0.1}\n{\"step\":4,\"sta");
    char *page = page_of(in("odd"));
    assert_non_null(strstr(page, "metrics.jsonl: 3 of 6 lines are damaged and left out."));
    assert_non_null(strstr(page, "1 losses are not finite"));
    assert_non_null(strstr(page, "recipe.yaml is missing."));
    assert_non_null(strstr(page, "The run has not finished: its log ends at step 3."));
    assert_non_null(strstr(page, "There are no results yet"));
    assert_non_null(strstr(page, "a &lt;b&gt;"));
    assert_null(strstr(page, "a <b>"));
    assert_non_null(strstr(chart(page, "Loss"), "data-points=\"2\""));
    free(page);
    /* no line at all; one step */
    assert_int_equal(dart_mkdirs(in("empty")), DART_OK);
    put(in("empty/metrics.jsonl"), "");
    page = page_of(in("empty"));
    assert_non_null(strstr(page, "nothing was trained yet"));
    assert_int_equal(count_of(page, "<svg"), 0);
    free(page);
    put(in("empty/metrics.jsonl"), "{\"step\":1,\"stage\":\"a\",\"loss\":3.5,\"lr\":0}\n");
    page = page_of(in("empty"));
    assert_non_null(strstr(chart(page, "Loss"), "data-points=\"1\""));
    assert_null(strstr(page, "nan"));
    free(page);
    /* a run that was stopped */
    put(in("empty/metrics.jsonl"),
        "{\"step\":0,\"stage\":\"a\",\"event\":\"stage\",\"steps\":50,\"reg\":\"none\"}\n"
        "{\"step\":1,\"stage\":\"a\",\"loss\":3.5}\n");
    page = page_of(in("empty"));
    assert_non_null(strstr(page, "has not finished: its log ends at step 1."));
    free(page);
    /* gates, and a key that the report does not know */
    put(in("empty/metrics.jsonl"), "{\"step\":1,\"stage\":\"a\",\"gate\":\"x\",\"gate_size\":0.9,"
                                   "\"gate_words\":90,\"gate_target\":0.5}\n"
                                   "{\"step\":2,\"stage\":\"a\",\"gate\":\"x\",\"gate_size\":0.7,"
                                   "\"gate_words\":70,\"gate_target\":0.5}\n"
                                   "{\"step\":2,\"stage\":\"a\",\"new_thing\":3}\n");
    page = page_of(in("empty"));
    const char *gates = chart(page, "Expected size of the gated layers");
    assert_int_equal(count_of(gates, "data-points=\"2\""), 2);
    assert_non_null(strstr(gates, "<title>gate_target</title>"));
    assert_non_null(strstr(chart(page, "new_thing"), "data-points=\"1\""));
    free(page);
    /* a log of an earlier version: no events */
    assert_int_equal(dart_mkdirs(in("old")), DART_OK);
    put(in("old/metrics.jsonl"), "{\"step\":1,\"stage\":\"a\",\"loss\":3.5}\n");
    put(in("old/spectra.jsonl"),
        "{\"step\":1,\"weight\":\"blocks.0.q\",\"bond\":0,\"sigma\":[3,2,1]}\n"
        "{\"step\":9,\"weight\":\"blocks.0.q\",\"bond\":0,\"sigma\":[3,0]}\n");
    page = page_of(in("old"));
    assert_non_null(strstr(page, "written by an earlier version"));
    assert_int_equal(count_of(page, "class=\"rk\""), 2);
    assert_int_equal(count_of(page, "class=\"heat\""), 1);
    assert_null(strstr(page, "nan"));
    free(page);
}

static void test_no_run(void **state)
{
    (void)state;
    assert_int_equal(dart_mkdirs(in("nothing")), DART_OK);
    refused(in("nothing"), "is no run directory: it has no metrics.jsonl");
    refused(in("not-there"), "there is no run directory");
    put(in("file"), "x");
    refused(in("file"), "is no run directory");
    const char *runs[DART_RECORD_MAX_RUNS + 1];
    for (size_t i = 0; i <= DART_RECORD_MAX_RUNS; i++) runs[i] = in("run");
    assert_int_equal(dart_report(runs, DART_RECORD_MAX_RUNS + 1, in("page.html")), DART_USAGE);
}

/* 100,000 steps: the page stays small and is made in seconds, and a single outlier is still seen.
 */
static void test_long(void **state)
{
    (void)state;
    assert_int_equal(fixture_run(in("long"), 100000), 0);
    struct timespec a, b;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
    char *page = page_of(in("long"));
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
    double seconds = (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
    printf("100,000 steps: %.2f s, page of %zu bytes\n", seconds, strlen(page));
    assert_true(strlen(page) < 1000000);
    assert_true(seconds < 30);
    free(page);

    FILE *f = fopen(in("long/metrics.jsonl"), "a");
    for (int i = 0; i < 1000; i++)
        fprintf(f, "{\"step\":%d,\"loss\":%g}\n", 100001 + i, i == 500 ? 77.0 : 2.0);
    fclose(f);
    page = page_of(in("long"));
    /* the highest tick of the loss axis is beyond the outlier's neighbours */
    assert_non_null(strstr(chart(page, "Loss"), ">60</text>"));
    /* at most four points a pixel column (392 of them) */
    const char *at = strstr(chart(page, "Loss"), "data-points=\"");
    long points = strtol(at + 13, NULL, 10);
    assert_in_range(points, 700, 4 * 393);
    free(page);
}

static void hex(const char *text, uint8_t *out)
{
    for (size_t i = 0; text[2 * i]; i++) {
        unsigned byte;
        sscanf(text + 2 * i, "%2x", &byte);
        out[i] = (uint8_t)byte;
    }
}

/* Records that TensorFlow's own writer made. */
static void test_records(void **state)
{
    (void)state;
    static const char *const known[2] = {
        "1800000000000000a37f4b2209000000000000f03f1a0d627261696e2e4576656e743a3286bf577a",
        "1b000000000000001a0d9e1309000000000000f03f10ac022a0d0a0b0a046c6f737315000020404fbc4ddb"};
    for (int i = 0; i < 2; i++) {
        uint8_t expected[64];
        char *data;
        size_t size;
        FILE *f = open_memstream(&data, &size);
        if (i == 0)
            assert_int_equal(dart_report_event_version(f, 1), DART_OK);
        else
            assert_int_equal(dart_report_event_scalar(f, 1, 300, "loss", 2.5), DART_OK);
        fclose(f);
        hex(known[i], expected);
        assert_int_equal(size, strlen(known[i]) / 2);
        assert_memory_equal(data, expected, size);
        free(data);
    }
}

static void test_pictures(void **state)
{
    (void)state;
    static const char *const names[] = {"loss", "perplexity", "learning-rate",
        "spectra-blocks.0.attn.q", "penalty-relative-to-the-loss-penalty-loss"};
    char first[400], second[400]; /* in() has eight turns */
    strcpy(first, in("run"));
    strcpy(second, in("other"));
    const char *runs[2] = {first, second};
    assert_int_equal(dart_report_pictures(runs, 1, in("pictures")), DART_OK);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[500], *text;
        size_t size;
        snprintf(path, sizeof path, "%s/%s.svg", in("pictures"), names[i]);
        if (dart_file_read(path, &text, &size) != DART_OK) fail_msg("%s", dart_error_text());
        assert_int_equal(strncmp(text, "<svg xmlns=", 11), 0);
        assert_int_equal(count_of(text, "<svg"), count_of(text, "</svg>"));
        assert_int_equal(count_of(text, "class=\"heat\""), i == 3 ? 2 : 0);
        free(text);
    }
    assert_int_equal(dart_report_pictures(runs, 2, in("overlays")), DART_OK);
    assert_true(dart_file_exists(in("overlays/training-loss-running-mean.svg")));
    put(in("a-file"), "x");
    assert_int_equal(dart_report_pictures(runs, 1, in("a-file")), DART_IO);
}

static void test_csv(void **state)
{
    (void)state;
    const char *runs[1] = {in("run")};
    char *text;
    size_t size;
    assert_int_equal(dart_report_csv(runs, 1, in("csv")), DART_OK);
    assert_int_equal(dart_file_read(in("csv/metrics.csv"), &text, &size), DART_OK);
    static const char head[] =
        "run,row,step,stage,loss,lr,grad_norm,penalty,lambda,penalty_ratio,tokens,valid_nll,"
        "valid_ppl\r\nrun,run,1,shrink,2.95122942,0.001,1.5,4,0.01,";
    assert_int_equal(strncmp(text, head, strlen(head)), 0);
    assert_int_equal(count_of(text, "\r\n"), 1 + 20 + 2);
    free(text);
    assert_int_equal(dart_file_read(in("csv/ranks.csv"), &text, &size), DART_OK);
    assert_non_null(strstr(text, "run,10,pick,threshold,blocks.1.attn.q,tt,2,6,2,0.25,0.375\r\n"));
    assert_int_equal(count_of(text, "\r\n"), 1 + 8);
    free(text);
    assert_int_equal(dart_file_read(in("csv/table.csv"), &text, &size), DART_OK);
    assert_int_equal(count_of(text, "\r\n"), 1 + 2);
    free(text);
    assert_int_equal(dart_file_read(in("csv/spectra.csv"), &text, &size), DART_OK);
    assert_true(count_of(text, "\r\n") > 2 * (8 + 6));
    free(text);
}

/* Figures of which no axis can be made: the page is there at once, without a figure that is none.
 */
static void test_extremes(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {{"1e308", "-1e308"}, {"5e-324", "1e-323"},
        {"1e17", "100000000000000016"}, {"1e300", "1e-300"}, {"-1e305", "2"}, {"0", "5e-324"}};
    assert_int_equal(dart_mkdirs(in("far")), DART_OK);
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char text[1000];
        const char *a = pairs[i][0], *b = pairs[i][1];
        snprintf(text, sizeof text,
            "{\"step\":%s,\"stage\":\"a\",\"loss\":%s,\"grad_norm\":%s,\"valid_ppl\":%s}\n"
            "{\"step\":%s,\"stage\":\"b\",\"loss\":%s,\"grad_norm\":%s,\"valid_ppl\":%s}\n"
            "{\"step\":3,\"stage\":\"b\",\"loss\":%s,\"grad_norm\":%s,\"valid_ppl\":1}\n",
            a, a, a, a, b, b, b, b, b, a);
        put(in("far/metrics.jsonl"), text);
        char *page = page_of(in("far"));
        const char *loss = chart(page, "Loss");
        assert_null(strstr(loss, "nan"));
        assert_null(strstr(loss, "inf"));
        assert_in_range(count_of(loss, "class=\"g\""), 1, 90);
        free(page);
    }
}

/* The page, the pictures, the event files and the tables are the same bytes in every locale. */
static void test_locale(void **state)
{
    (void)state;
    static const char *const files[] = {"%s/page.html", "%s/svg/loss.svg", "%s/csv/metrics.csv",
        "%s/csv/spectra.csv", "%s/csv/table.csv"};
    enum { FILES = sizeof files / sizeof *files };
    char *text[2][FILES];
    char dir[400]; /* in() has eight turns */
    snprintf(dir, sizeof dir, "%s/run", folder);
    const char *const run[] = {dir};
    for (int comma = 0; comma < 2; comma++) {
        if (comma && !comma_locale()) {
            comma_locale_leave();
            for (int f = 0; f < FILES; f++) free(text[0][f]);
            skip();
        }
        assert_int_equal(dart_report(run, 1, in("page.html")), DART_OK);
        assert_int_equal(dart_report_pictures(run, 1, in("svg")), DART_OK);
        assert_int_equal(dart_report_csv(run, 1, in("csv")), DART_OK);
        assert_int_equal(dart_report_tensorboard(run, 1, in("board")), DART_OK);
        for (int f = 0; f < FILES; f++) {
            char path[400];
            size_t size;
            snprintf(path, sizeof path, files[f], folder);
            assert_int_equal(dart_file_read(path, &text[comma][f], &size), DART_OK);
        }
    }
    comma_locale_leave();
    for (int f = 0; f < FILES; f++) {
        assert_string_equal(text[0][f], text[1][f]);
        free(text[0][f]);
        free(text[1][f]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_odd_logs),
        cmocka_unit_test(test_no_run),
        cmocka_unit_test(test_long),
        cmocka_unit_test(test_records),
        cmocka_unit_test(test_csv),
        cmocka_unit_test(test_pictures),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_locale),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
