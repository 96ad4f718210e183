/* Tables of results: each column has one name everywhere, names of earlier versions are read, what
 * is no number stays none, a point in every locale. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "comma_locale.h"
#include "results.h"
#include <math.h>

static char folder[64];

static int set_up(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/dart-results-XXXXXX");
    return !mkdtemp(folder);
}

static int tear_down(void **state)
{
    (void)state;
    return dart_remove_tree(folder) != DART_OK;
}

static const char *in(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static dart_table_row full_row(void)
{
    dart_table_row row = {.name = "after tuning",
        .params = 2639592,
        .compressed_params = 56040,
        .dense_params = 1572864,
        .chain_params = 1ull << 52,
        .trained_params = 56810,
        .resident_bytes = UINT64_C(4294967296),
        .compression = 1572864.0 / 56040,
        .rank_min = 2,
        .rank_max = 16,
        .rank_mean = 9.7,
        .valid_ppl = 222.42,
        .test_ppl = 1.0 / 3,
        .tokens_per_s = 13368.4,
        .seconds = 123.45,
        .test_bleu = 31.25,
        .valid_top1 = 0.25,
        .test_top1 = 0.375,
        .valid_top5 = 0.5,
        .test_top5 = 0.625,
        .bleu_sentences = 1000,
        .texts = 277,
        .valid_accuracy = 0.75,
        .test_accuracy = 0.625,
        .valid_f1 = 0.5,
        .test_f1 = 0.125,
        .valid_matthews = -0.25,
        .test_matthews = 1,
        .effective_rank = 5.125};
    return row;
}

static void test_columns(void **state)
{
    (void)state;
    const dart_columns all = dart_table_columns;
    for (size_t i = 0; i < all.count; i++) {
        const char *key = all.column[i].field.key;
        assert_ptr_equal(dart_table_find(key), &all.column[i]); /* no key twice, no former one */
        assert_true(!all.column[i].needs || dart_columns_find(all, all.column[i].needs));
        assert_true(*all.column[i].help);
    }
    static const char *const former[][2] = {{"parameters", "params"},
        {"compressed_parameters", "compressed_params"}, {"dense_parameters", "dense_params"},
        {"valid_perplexity", "valid_ppl"}, {"test_perplexity", "test_ppl"},
        {"tokens_per_second", "tokens_per_s"}, {"bleu", "test_bleu"}};
    for (size_t i = 0; i < sizeof former / sizeof *former; i++)
        assert_string_equal(dart_table_find(former[i][0])->field.key, former[i][1]);
    assert_null(dart_table_find("perplexity"));
    assert_null(dart_table_find(""));
}

static void test_cells(void **state)
{
    (void)state;
    static const char *const want[][3] = {{"model", "after tuning", "dense"},
        {"parameters", "2,639,592", "999"}, {"compressed", "56,040", "-"},
        {"trained", "56,810", "-"}, {"ratio", "28.07", "-"}, {"ranks", "2/9.7/16", "-"},
        {"effective rank", "5.12", "-"}, {"valid ppl", "222.42", "-"},
        {"test ppl", "0.33", "1,234,567.00"}, {"test BLEU", "31.25", "-"},
        {"valid accuracy", "0.7500", "-"}, {"test accuracy", "0.6250", "-"},
        {"valid F1", "0.5000", "-"}, {"test F1", "0.1250", "-"}, {"valid Matthews", "-0.2500", "-"},
        {"test Matthews", "1.0000", "-"}, {"tokens/s", "13,368", "0"}, {"seconds", "123.5", "0.0"}};
    enum { CELLS = sizeof want / sizeof *want };
    const dart_table_row rows[2] = {full_row(),
        {.name = "dense", .params = 999, .compression = 1, .valid_ppl = NAN, .test_ppl = 1234567}};
    for (uint32_t c = 0; c < CELLS; c++) {
        assert_string_equal(dart_table_heading(c), want[c][0]);
        for (int r = 0; r < 2; r++) {
            char text[128];
            dart_table_cell(&rows[r], c, text);
            assert_string_equal(text, want[c][1 + r]);
        }
    }
    assert_null(dart_table_heading(CELLS));
    /* figures that no table of ours has */
    static const struct {
        double value;
        int digits;
        const char *text;
    } figures[] = {{-123456.75, 1, "-123,456.8"}, {-999, 0, "-999"}, {3.14e-7, -1, "3.1e-07"},
        {INFINITY, 2, "-"}, {1e300, 2, "1.00e+300"}, {0, 0, "0"}};
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) {
        char text[64];
        dart_figure_text(figures[i].value, figures[i].digits, text);
        assert_string_equal(text, figures[i].text);
    }
}

static bool same(const dart_table_row *a, const dart_table_row *b)
{
    for (size_t i = 0; i < dart_table_columns.count; i++) {
        const dart_column *c = &dart_table_columns.column[i];
        double x = dart_columns_value(dart_table_columns, c, a);
        double y = dart_columns_value(dart_table_columns, c, b);
        if (x != y && !(isnan(x) && isnan(y))) return false;
    }
    return !strcmp(a->name, b->name);
}

/* Written and read: the same doubles to the last bit, NaN and infinities as no number. */
static void check_round_trip(void)
{
    dart_table_row rows[3] = {full_row(), full_row(), {.name = "TT rounded, not trained"}};
    rows[1].test_ppl = INFINITY;
    rows[1].valid_ppl = NAN;
    rows[1].bleu_sentences = 0;
    rows[1].test_bleu = 0;
    rows[1].texts = 0;
    rows[1].valid_accuracy = rows[1].test_accuracy = rows[1].valid_f1 = 0;
    rows[1].test_f1 = rows[1].valid_matthews = rows[1].test_matthews = 0;
    assert_int_equal(
        dart_table_save(in("table.json"), rows, 3, "per word over \"a text\" of \xff"), DART_OK);
    dart_table_row *read;
    uint32_t count;
    char *protocol;
    assert_int_equal(dart_table_load(in("table.json"), &read, &count, &protocol), DART_OK);
    assert_int_equal(count, 3);
    assert_string_equal(protocol, "per word over \"a text\" of \xef\xbf\xbd");
    rows[1].test_ppl = NAN;
    for (int i = 0; i < 3; i++) assert_true(same(&rows[i], &read[i]));
    assert_ptr_equal(dart_table_last(read, count), &read[1]);
    assert_null(dart_table_last(&read[2], 1));
    free(read);
    free(protocol);
}

static void test_round_trip(void **state)
{
    (void)state;
    char *text;
    size_t size;
    check_round_trip();
    assert_int_equal(dart_file_read(in("table.json"), &text, &size), DART_OK);
    assert_non_null(strstr(text, "\"test_ppl\": null"));
    assert_non_null(strstr(text, "\"rank_mean\": 9.6999999999999993"));
    const char *first = strstr(text, "test_bleu");
    assert_non_null(first);
    assert_null(strstr(first + 1, "test_bleu")); /* not measured: not there */
    free(text);
}

static void test_locale(void **state)
{
    (void)state;
    char *with, *without;
    size_t size;
    if (!comma_locale()) {
        comma_locale_leave();
        skip();
    }
    check_round_trip();
    assert_int_equal(dart_file_read(in("table.json"), &with, &size), DART_OK);
    char cell[128];
    const dart_table_row row = full_row();
    dart_table_cell(&row, 5, cell);
    comma_locale_leave();
    check_round_trip();
    assert_int_equal(dart_file_read(in("table.json"), &without, &size), DART_OK);
    assert_string_equal(with, without);
    assert_string_equal(cell, "2/9.7/16");
    free(with);
    free(without);
}

static void test_earlier_versions(void **state)
{
    (void)state;
    static const char *const texts[] = {
        /* table.json without chain_params, effective rank and number of sentences */
        "[{\"name\": \"TT\", \"params\": 12, \"compressed_params\": 5, \"dense_params\": 40,"
        "\"compression\": 8, \"rank_min\": 1, \"rank_mean\": 1.5, \"rank_max\": 2,"
        "\"valid_ppl\": 9.5, \"test_ppl\": 8.5, \"tokens_per_s\": 7, \"seconds\": 3,"
        "\"test_bleu\": 12.5}]",
        /* the names of train --json */
        "[{\"name\": \"TT\", \"parameters\": 12, \"compressed_parameters\": 5,"
        "\"dense_parameters\": 40, \"compression\": 8, \"rank_min\": 1, \"rank_mean\": 1.5,"
        "\"rank_max\": 2, \"valid_perplexity\": 9.5, \"test_perplexity\": 8.5,"
        "\"tokens_per_second\": 7, \"seconds\": 3, \"test_bleu\": 12.5}]"};
    const dart_table_row want = {.name = "TT",
        .params = 12,
        .compressed_params = 5,
        .dense_params = 40,
        .compression = 8,
        .rank_min = 1,
        .rank_mean = 1.5,
        .rank_max = 2,
        .valid_ppl = 9.5,
        .test_ppl = 8.5,
        .tokens_per_s = 7,
        .seconds = 3,
        .test_bleu = 12.5,
        .bleu_sentences = 1,
        .effective_rank = NAN};
    for (int i = 0; i < 2; i++) {
        dart_table_row *read;
        uint32_t count;
        char *protocol;
        assert_int_equal(dart_file_write_sync(in("old.json"), texts[i], strlen(texts[i])), DART_OK);
        assert_int_equal(dart_table_load(in("old.json"), &read, &count, &protocol), DART_OK);
        assert_int_equal(count, 1);
        assert_string_equal(protocol, "");
        assert_true(same(read, &want));
        free(read);
        free(protocol);
    }
}

/* Whatever stands in a file: no figure is made up, no count overflows. */
static void test_damaged(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "{}", "[", "7", "[1", "\xff", "[{\"name\": 1}"};
    dart_table_row *read, row;
    uint32_t count;
    char *protocol;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(dart_file_write_sync(in("bad.json"), bad[i], strlen(bad[i])), DART_OK);
        assert_int_equal(dart_table_load(in("bad.json"), &read, &count, &protocol), DART_INPUT);
        assert_null(read);
        assert_null(protocol);
    }
    json_t *odd = json_loads("{\"name\": 3, \"params\": -1, \"compressed_params\": 1e300,"
                             "\"rank_max\": 1e12, \"valid_ppl\": \"8\", \"test_ppl\": null,"
                             "\"seconds\": [1], \"unknown\": {}}",
        0, NULL);
    dart_table_row_read(odd, &row);
    json_decref(odd);
    assert_string_equal(row.name, "");
    assert_true(!row.params && !row.compressed_params && !row.rank_max);
    assert_true(isnan(row.valid_ppl) && isnan(row.test_ppl) && isnan(row.seconds));
    /* a list with things in it that are no rows, and a text that is no list of rows at all */
    static const char mixed[] = "[1, {\"name\": \"TT\", \"params\": 5}, null]";
    assert_int_equal(dart_file_write_sync(in("bad.json"), mixed, strlen(mixed)), DART_OK);
    assert_int_equal(dart_table_load(in("bad.json"), &read, &count, &protocol), DART_OK);
    assert_true(count == 1 && read->params == 5);
    free(read);
    free(protocol);
}

/* Tables that programs and people read: CSV, Markdown, JSON have one set of names. */
static void test_outputs(void **state)
{
    (void)state;
    const dart_table_row rows[2] = {full_row(), {.name = "dense | twin", .params = 999}};
    const dart_rows both = {rows, 2, sizeof *rows};
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    dart_columns_csv(dart_table_columns, both, out);
    fclose(out);
    assert_string_equal(text,
        "name,params,compressed_params,dense_params,chain_params,trained_params,compression,"
        "rank_min,rank_mean,rank_max,effective_rank,valid_ppl,test_ppl,valid_top1,test_top1,"
        "valid_top5,test_top5,bleu_sentences,test_bleu,"
        "texts,"
        "valid_accuracy,test_accuracy,valid_f1,test_f1,valid_matthews,test_matthews,tokens_per_s,"
        "seconds,resident_bytes\r\n"
        "after "
        "tuning,2639592,56040,1572864,4503599627370496,56810,28.0668094,2,9.7,16,5.125,222.42,"
        "0.333333333,0.25,0.375,0.5,0.625,1000,31.25,277,0.75,0.625,0.5,0.125,-0.25,1,13368.4,123."
        "45,4294967296\r\n"
        "dense | twin,999,0,0,0,,0,0,0,0,0,0,0,,,,,,,,,,,,,,0,0,\r\n");
    free(text);
    out = open_memstream(&text, &size);
    dart_columns_markdown(dart_table_columns, (dart_rows){rows + 1, 1, sizeof *rows}, out);
    fclose(out);
    assert_string_equal(text, "| model | parameters | valid ppl | test ppl | tokens/s | seconds |\n"
                              "| --- | ---: | ---: | ---: | ---: | ---: |\n"
                              "| dense \\| twin | 999 | 0.00 | 0.00 | 0 | 0.0 |\n");
    free(text);
    assert_int_equal(dart_table_json(rows, 2, &text), DART_OK);
    json_t *list = json_loads(text, 0, NULL);
    free(text);
    assert_int_equal(json_array_size(list), 2);
    assert_int_equal(json_object_size(json_array_get(list, 0)), dart_table_columns.count);
    assert_int_equal(json_object_size(json_array_get(list, 1)), dart_table_columns.count - 15);
    json_decref(list);
}

/* The README's table of results has the headings that the program prints. */
static void test_readme(void **state)
{
    (void)state;
    char *text;
    size_t size;
    unsigned found = 0;
    assert_int_equal(dart_file_read(DART_SOURCE_DIR "/README.md", &text, &size), DART_OK);
    char *line = strstr(text, " valid ppl "), *end = line ? strchr(line, '\n') : NULL;
    assert_non_null(end);
    while (line > text && line[-1] != '\n') line--;
    *end = 0;
    for (char *cell = strtok(line, "|"); cell; cell = strtok(NULL, "|")) {
        cell += strspn(cell, " \n");
        cell[strcspn(cell, "\n")] = 0;
        for (size_t n = strlen(cell); n && cell[n - 1] == ' '; n--) cell[n - 1] = 0;
        if (!*cell) continue;
        bool known = false;
        for (uint32_t c = 0; dart_table_heading(c); c++)
            known |= !strcmp(dart_table_heading(c), cell);
        if (!known) fail_msg("README.md has a column '%s', the program has none", cell);
        found++;
    }
    assert_true(found >= 6);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_columns),
        cmocka_unit_test(test_cells),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_locale),
        cmocka_unit_test(test_earlier_versions),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_outputs),
        cmocka_unit_test(test_readme),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
