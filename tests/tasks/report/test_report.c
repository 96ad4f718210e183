/* The report: every picture has the data of the logs, of one run, of several, of a sweep. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "report_page.h"
#include <zlib.h>

static void test_page(void **state)
{
    (void)state;
    char *page = page_of(in("run"));
    /* nothing from outside, no script */
    assert_null(strstr(page, "<script"));
    assert_int_equal(
        count_of(page, "http"), count_of(page, "xmlns=\"http://www.w3.org/2000/svg\""));
    assert_null(strstr(page, "src="));
    assert_null(strstr(page, "@import"));
    assert_int_equal(count_of(page, "url("), 0);
    /* each chart has a point a step */
    static const char *const titles[] = {"Learning rate", "Gradient norm before clipping",
        "Penalty strength λ", "Penalty", "Penalty relative to the loss: λ penalty / loss",
        "Speed of each step"};
    for (size_t i = 0; i < sizeof titles / sizeof *titles; i++)
        assert_non_null(strstr(chart(page, titles[i]), "data-points=\"20\""));
    const char *loss = chart(page, "Loss");
    assert_int_equal(count_of(loss, "data-points=\"20\""), 2); /* each step, mean */
    assert_int_equal(count_of(loss, "<circle"), 2 + 1);        /* validation, legend */
    assert_non_null(strstr(loss, ">shrink</text>"));
    assert_non_null(strstr(loss, ">pick</text>"));
    assert_non_null(strstr(loss, ">tune</text>"));
    assert_non_null(strstr(chart(page, "Perplexity"), "validation: 20, 18.1741"));
    assert_non_null(strstr(chart(page, "Mean rank of the bonds"), "effective rank"));
    /* four bonds, each with its columns, the chosen rank and the title */
    assert_int_equal(count_of(page, "class=\"heat\""), 4);
    assert_int_equal(count_of(page, "data-rows=\"8\""), 2);
    assert_int_equal(count_of(page, "data-rows=\"6\""), 2);
    assert_int_equal(count_of(page, "threshold chose rank 3 at step 10"), 2);
    assert_int_equal(count_of(page, "threshold chose rank 2 at step 10"), 2);
    assert_int_equal(count_of(page, "bond 1: rank 8 → 3"), 2);
    /* rank maps: two layers x two bonds, before and after */
    assert_int_equal(count_of(page, "class=\"rk\""), 8);
    assert_int_equal(count_of(page, "core sizes 8 and 64\">8</td>"), 2);
    assert_int_equal(count_of(page, "core sizes 64 and 8\">2</td>"), 2);
    assert_non_null(strstr(page, "After pick (threshold), step 10"));
    assert_non_null(strstr(page, "<td>8 to 3, 6 to 2</td><td>3184 to 424</td><td>0.2500</td>"
                                 "<td>0.3750</td>"));
    /* modules: 2 * (8*8 + 8*64*6 + 6*8) before, 2 * (8*3 + 3*64*2 + 2*8) after, 2 * 4096 dense */
    const char *bars = chart(page, "Parameters by module");
    assert_non_null(strstr(bars, "8192 dense"));
    assert_non_null(strstr(bars, "6368 before"));
    assert_non_null(strstr(bars, "848 after"));
    assert_non_null(strstr(bars, "9.7 times smaller"));
    /* table, recipe, device, commands; nothing is reported missing */
    assert_non_null(strstr(page, "<td>3,480</td>"));
    assert_non_null(strstr(page, "d_model: 64"));
    assert_non_null(strstr(page, "cpu (a processor; a driver; an API)"));
    assert_non_null(strstr(page, "dart-llm eval --model-path"));
    assert_null(strstr(page, "class=\"notes\""));
    assert_null(strstr(page, "nan"));
    free(page);
}

/* ---- the pixels of a heat map ---- */

static int digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

static size_t from_base64(const char *text, uint8_t *out)
{
    size_t n = 0;
    uint32_t bits = 0;
    int have = 0;
    for (; digit(*text) >= 0; text++) {
        bits = bits << 6 | (uint32_t)digit(*text);
        have += 6;
        if (have >= 8) out[n++] = (uint8_t)(bits >> (have -= 8));
    }
    return n;
}

static uint32_t big(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static void test_heat_pixels(void **state)
{
    (void)state;
    static uint8_t png[1 << 16], raw[1 << 16];
    char *page = page_of(in("run"));
    const char *heat = strstr(page, "class=\"heat\"");
    assert_non_null(heat);
    const char *uri = strstr(heat, "base64,");
    size_t size = from_base64(uri + 7, png), rows = 0;
    assert_memory_equal(png, "\x89PNG\r\n\x1a\n", 8);
    uint32_t width = 0, height = 0;
    for (size_t at = 8; at + 12 <= size;) {
        uint32_t length = big(png + at);
        assert_int_equal(big(png + at + 8 + length), crc32(0, png + at + 4, length + 4));
        if (!memcmp(png + at + 4, "IHDR", 4))
            width = big(png + at + 8), height = big(png + at + 12);
        if (!memcmp(png + at + 4, "IDAT", 4)) {
            uLongf n = sizeof raw;
            assert_int_equal(uncompress(raw, &n, png + at + 8, length), Z_OK);
            rows = n / (width + 1);
        }
        at += 12 + length;
    }
    assert_int_equal(height, 8);
    assert_int_equal(rows, height);
    /* The scale ends where the smallest ratio lies, in halves: index 7 of the last whole spectrum
     * (step 10) is 10^-(7 * 0.25), so at -2. First column: step 3, slope 0.1 + 0.3 * 3 / 20. */
    const double low = -2, slope = 0.1 + 0.3 * 3 / 20;
    unsigned cut = 0, checked = 0;
    for (uint32_t y = 0; y < height; y++) {
        const uint8_t *row = raw + y * (width + 1) + 1;
        int expected = 1 + (int)lround(63 * (1 - -(double)y * slope / low));
        assert_in_range(row[0], expected - 1, expected + 1);
        if (y) assert_true(row[0] < raw[(y - 1) * (width + 1) + 1]); /* darker downwards */
        if (row[width - 1] == 0) cut++; /* at the end only three are left */
        checked++;
    }
    assert_int_equal(checked, 8);
    assert_int_equal(cut, 5);
    free(page);
}

/* Lightness of the ramp rises, so that it is read in grey too. */
static void test_colours(void **state)
{
    (void)state;
    double last = -1;
    for (int i = 0; i <= 63; i++) {
        uint8_t rgb[3];
        dart_report_colour(i / 63.0, rgb);
        double luma = 0.2126 * pow(rgb[0] / 255.0, 2.2) + 0.7152 * pow(rgb[1] / 255.0, 2.2) +
                      0.0722 * pow(rgb[2] / 255.0, 2.2);
        assert_true(luma > last);
        last = luma;
    }
    assert_true(last > 0.8);
}

static void test_several(void **state)
{
    (void)state;
    const char *runs[3] = {in("run"), in("other"), in("sub/run")};
    assert_int_equal(fixture_run(runs[2], 30), 0);
    char *page, path[500];
    size_t size;
    snprintf(path, sizeof path, "%s/recipe.yaml", runs[1]);
    put(path,
        "model:\n  layers: 2\n  d_model: 128\nmethod:\n  linear: 'tt'\ndata:\n  dataset: 'ptb'\n"
        "stages:\n  - {name: 'all', max_steps: 40}\n");
    snprintf(path, sizeof path, "%s/table.json", runs[1]);
    put(path, "[{\"name\":\"TT\",\"params\":9000,\"compressed_params\":5000,\"dense_params\":8192,"
              "\"compression\":1.6,\"rank_max\":8,\"valid_ppl\":15,\"test_ppl\":16}]");
    assert_int_equal(dart_report(runs, 3, in("page.html")), DART_OK);
    assert_int_equal(dart_file_read(in("page.html"), &page, &size), DART_OK);
    const char *loss = chart(page, "Training loss (running mean)");
    assert_int_equal(count_of(loss, "<path class=\"l s"), 3 + 3); /* lines, legend */
    assert_non_null(strstr(loss, "data-points=\"40\"><title>other</title>"));
    /* two runs called "run": told apart by the folder above */
    assert_non_null(strstr(loss, "<title>sub/run</title>"));
    const char *front = chart(page, "Size of the compressed layers against perplexity (test)");
    assert_int_equal(count_of(front, "<circle"), 3 + 3);
    assert_non_null(strstr(front, "other: 5000, 16"));
    assert_non_null(strstr(front, "data-points=\"2\"><title>front</title>"));
    assert_non_null(strstr(page, "<td class=\"tx\">d_model</td><td class=\"tx\">64</td><td "
                                 "class=\"tx\">128</td><td class=\"tx\">64</td>"));
    assert_null(strstr(page, "<td class=\"tx\">layers</td>")); /* the same in all */
    assert_non_null(strstr(page, "<td class=\"tx\">stages</td>"));
    free(page);
}

/* Translation: a column, BLEU over the steps, and size against BLEU with the better one on top. */
static void test_bleu(void **state)
{
    (void)state;
    static const double bleu[3] = {31.5, 28.25, 30};
    static const int params[3] = {9000, 3000, 5000};
    char name[3][400], path[500], text[400], *page;
    const char *runs[3];
    size_t size;
    for (int i = 0; i < 3; i++) {
        const uint64_t offset[DART_LOGS] = {0};
        dart_metrics m;
        snprintf(name[i], sizeof name[i], "%s/bleu-%d", folder, i);
        runs[i] = name[i];
        assert_int_equal(dart_mkdirs(runs[i]), DART_OK);
        assert_int_equal(dart_metrics_open(runs[i], offset, &m), DART_OK);
        dart_metrics_step(&m, 1, "all", 3, 1e-3, 1, 0, 0, 100);
        dart_metrics_bleu(&m, 1, "all", bleu[i] - 20);
        dart_metrics_bleu(&m, 2, "all", bleu[i]);
        dart_metrics_end(&m, 2, "all");
        dart_metrics_close(&m);
        snprintf(path, sizeof path, "%s/table.json", runs[i]);
        snprintf(text, sizeof text,
            "[{\"name\":\"TT\",\"params\":%d,\"compressed_params\":%d,\"dense_params\":9999,"
            "\"compression\":2,\"valid_ppl\":9,\"test_ppl\":8,\"test_bleu\":%g}]",
            params[i], params[i] / 2, bleu[i]);
        put(path, text);
    }
    assert_int_equal(dart_report(runs, 3, in("page.html")), DART_OK);
    assert_int_equal(dart_file_read(in("page.html"), &page, &size), DART_OK);
    static const char title[] = "BLEU of the test split";
    const char *c = chart(page, title);
    assert_int_equal(count_of(c, "<circle"), 3 * 2 + 3);
    assert_non_null(strstr(c, "bleu-0: 1, 11.5"));
    assert_non_null(strstr(c, "bleu-1: 2, 28.25"));
    c = chart(page, "Size of the model against BLEU (test)");
    assert_int_equal(count_of(c, "<circle"), 3 + 3);
    assert_non_null(strstr(c, "bleu-2: 5000, 30"));
    assert_non_null(strstr(c, "data-points=\"3\"><title>front</title>"));
    chart(page, "Size of the compressed layers against BLEU (test)");
    chart(page, "Size of the compressed layers against perplexity (test)");
    assert_non_null(strstr(page, ">test BLEU</th>"));
    assert_non_null(strstr(page, "<td>28.25</td>"));
    assert_null(strstr(page, "test_bleu")); /* no chart without a title of its own */
    free(page);
    /* one run; one without BLEU beside it: no size to compare */
    page = page_of(runs[0]);
    assert_int_equal(count_of(chart(page, title), "<circle"), 2);
    free(page);
    const char *two[2] = {runs[0], in("run")};
    assert_int_equal(dart_report(two, 2, in("page.html")), DART_OK);
    assert_int_equal(dart_file_read(in("page.html"), &page, &size), DART_OK);
    assert_null(strstr(page, "against BLEU"));
    assert_int_equal(count_of(chart(page, title), "<circle"), 2);
    free(page);
    page = page_of(in("run"));
    assert_null(strstr(page, "BLEU"));
    assert_null(strstr(page, "How it was measured")); /* its table does not say */
    free(page);
    /* a run that is smaller and better than the others is the whole front */
    put(path, "[{\"name\":\"TT\",\"params\":1000,\"compressed_params\":500,\"dense_params\":9999,"
              "\"valid_ppl\":9,\"test_ppl\":8,\"test_bleu\":40}]");
    assert_int_equal(dart_report(runs, 3, in("page.html")), DART_OK);
    assert_int_equal(dart_file_read(in("page.html"), &page, &size), DART_OK);
    assert_non_null(strstr(chart(page, "Size of the model against BLEU (test)"),
        "data-points=\"1\"><title>front</title>"));
    free(page);
}

static void test_sweep(void **state)
{
    (void)state;
    assert_int_equal(dart_mkdirs(in("sweep")), DART_OK);
    put(in("sweep/results.csv"),
        "run,seed,\"shrink.lambda\",select,compressed_params,test_ppl,protocol,status\r\n"
        "a,1,0.01,budget,1000,100,by words,done\r\nb,2,0.01,budget,1000,104,by words,done\r\n"
        "c,1,0.02,budget,500,120,by words,done\r\ne,1,0.02,energy,700,90,by words,done\r\n"
        "d,1,0.03,budget,,,,\"failed, \"\"why\"\"\"\r\n");
    char *page = page_of(in("sweep"));
    const char *c = chart(page, "Size against perplexity (mean and standard deviation)");
    /* a line a rule, a point a lambda: 500 and 1000 for the one, 700 for the other; legend */
    assert_int_equal(count_of(c, "<circle"), 3 + 2);
    assert_non_null(strstr(c, "select budget: 1000, 102"));
    assert_non_null(strstr(c, "select budget: 500, 120"));
    assert_non_null(strstr(c, "select energy: 700, 90"));
    assert_non_null(strstr(c, "data-points=\"2\"><title>select budget</title>"));
    assert_int_equal(count_of(c, "h8m-4 0V"), 1); /* only one group has a spread */
    assert_non_null(strstr(page, "<td>failed, &quot;why&quot;</td>"));
    assert_int_equal(count_of(page, "<p>How it was measured: by words.</p>"), 1);
    assert_int_equal(count_of(page, "by words"), 1); /* not a column of its own */
    free(page);
    put(in("sweep/results.csv"), "run,test_ppl,protocol\na,1,by words\nb,2,by letters\n");
    page = page_of(in("sweep"));
    assert_non_null(strstr(page, "<p>a: by words.</p>\n<p>b: by letters.</p>"));
    free(page);
    put(in("sweep/results.csv"), "a,b\n1\n");
    refused(in("sweep"), "results.csv:2 has 1 fields, its heading has 2");
    put(in("sweep/results.csv"), "a,b\n");
    refused(in("sweep"), "has no results yet");
}

/* ---- charts on their own ---- */

static void test_scatter(void **state)
{
    (void)state;
    const double x[3] = {1e3, 1e4, 1e5}, y[3] = {90, NAN, 80}, low[3] = {88, 0, 79},
                 high[3] = {93, 0, 82};
    const dart_report_series s[2] = {{.name = "found & <uniform>",
                                         .x = x,
                                         .y = y,
                                         .count = 3,
                                         .low = low,
                                         .high = high,
                                         .points = true},
        {.name = "line", .x = x, .y = high, .count = 3}};
    const dart_report_chart c = {.title = "Size",
        .x_name = "parameters",
        .y_name = "perplexity",
        .log_x = true,
        .series = s,
        .series_count = 2};
    char *text;
    size_t size;
    FILE *f = open_memstream(&text, &size);
    dart_report_chart_svg(&c, f);
    fclose(f);
    assert_int_equal(strncmp(text, "<svg xmlns=", 11), 0);
    assert_non_null(strstr(text, "<style>"));
    assert_non_null(strstr(text, "found &amp; &lt;uniform&gt;"));
    assert_int_equal(count_of(text, "<circle"), 2 + 1); /* NaN is left out; legend */
    assert_int_equal(count_of(text, "h8m-4 0V"), 2);
    assert_non_null(strstr(text, ">10k</text>"));
    assert_null(strstr(text, "nan"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_page),
        cmocka_unit_test(test_heat_pixels),
        cmocka_unit_test(test_colours),
        cmocka_unit_test(test_several),
        cmocka_unit_test(test_bleu),
        cmocka_unit_test(test_sweep),
        cmocka_unit_test(test_scatter),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
