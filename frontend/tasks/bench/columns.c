/* All tests have one table of columns, printed as Markdown, CSV or JSON; a test names those that it
 * fills. Names and units are those of llama-bench where it has the figure. */
#include "bench.h"
#include "column.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MIB 0x1p20
#define PLACE(key) DART_FIELD(dart_bench_row, key)
static const dart_column columns[] = {
    {PLACE(test), "test", NULL, "the test", 0, 0, NULL},
    {PLACE(what), "what", NULL, "what was measured; pp: a prompt, tg: single tokens", 0, 0, NULL},
    {PLACE(model), "model", NULL, "method of the linear layers", 0, 0, NULL},
    {PLACE(params), "params", NULL, "parameters", 0, 0, "params"},
    {PLACE(weights), "weights", NULL, "the form that the weights are in", 0, 0, NULL},
    {PLACE(device), "device", NULL, "the device", 0, 0, NULL},
    {PLACE(layers), "layers", NULL, "layers of the model", 0, 0, "layers"},
    {PLACE(bonds), "bonds", NULL, "ranks that are selected", 0, 0, "bonds"},
    {PLACE(penalty), "penalty after", NULL, "of the stage that follows", 0, 0, NULL},
    {PLACE(selection), "selection", NULL, "which ranks it comes to", 0, 0, NULL},
    {PLACE(runs), "runs", NULL, "runs that were measured", 0, 0, "runs"},
    {PLACE(tokens_per_s), "t/s", NULL, "tokens a second, median", 0, 1, NULL},
    {PLACE(sd), "± sd", NULL, "deviation of t/s, or of GFLOP/s", 0, 1, NULL},
    {PLACE(best), "best", NULL, "t/s of the fastest run", 0, 1, NULL},
    {PLACE(ms), "ms", NULL, "milliseconds, median", 0, 3, NULL},
    {PLACE(ms_per_token), "ms/token", NULL, "milliseconds of a token, median", 0, 4, NULL},
    {PLACE(floor_ms), "floor ms", NULL, "of reading what a token must read", 0, 4, NULL},
    {PLACE(gflops), "GFLOP/s", NULL, "billions of operations a second", 0, 1, NULL},
    {PLACE(mflop), "MFLOP", NULL, "millions of operations of a token", 0, 2, NULL},
    {PLACE(bytes_read), "MiB read", NULL, "what a token must read", MIB, 2, "bytes_read"},
    {PLACE(svd_ms), "SVD and cut ms", NULL, "spectra, rule and cut on the host", 0, 1, NULL},
    {PLACE(graphs_ms), "graphs", NULL, "milliseconds", 0, 1, NULL},
    {PLACE(paths_ms), "paths", NULL, "milliseconds", 0, 1, NULL},
    {PLACE(plan_ms), "plan", NULL, "milliseconds", 0, 1, NULL},
    {PLACE(program_ms), "program", NULL, "milliseconds", 0, 1, NULL},
    {PLACE(copies_ms), "copies", NULL, "milliseconds", 0, 1, NULL},
    {PLACE(beyond_svd_ms), "beyond SVD", NULL, "milliseconds of the fastest run", 0, 1, NULL},
    {PLACE(median_ms), "median", NULL, "of beyond SVD, milliseconds", 0, 1, NULL},
    {PLACE(sd_ms), "± sd ms", NULL, "of beyond SVD", 0, 1, NULL},
    {PLACE(kernels_made), "kernels compiled", NULL, "the most of a run", 0, 0, NULL},
    {PLACE(kernels_found), "found", NULL, "kernels that were there already", 0, 0, NULL},
    {PLACE(planned_bytes), "planned MiB", NULL, "of the plan", MIB, 1, "planned_bytes"},
    {PLACE(actual_bytes), "actual MiB", NULL, "that the device counted", MIB, 1, "actual_bytes"},
    {PLACE(weight_bytes), "weights MiB", NULL, "forms of the weights", MIB, 2, "launches"},
    {PLACE(cache_bytes), "cache MiB", NULL, "keys and values", MIB, 2, "launches"},
    {PLACE(arena_bytes), "arena MiB", NULL, "intermediate values", MIB, 2, "launches"},
    {PLACE(resident_bytes), "resident MiB", NULL, "all of it", MIB, 2, "launches"},
    {PLACE(launches_before), "launches before", NULL, "of a training step", 0, 0, "launches"},
    {PLACE(launches), "launches", NULL, "of a step, or of a program", 0, 0, "launches"},
    {PLACE(submits), "submits", NULL, "of a step", 0, 0, "launches"},
    {PLACE(longest_submit_ms), "longest, ms", NULL, "the longest submission, milliseconds", 0, 1,
        NULL},
    {PLACE(barriers), "barriers", NULL, "of a program", 0, 0, "launches"},
    {PLACE(difference), "difference from cpu", NULL, "relative to the largest", 0, -1, NULL},
    {PLACE(note), NULL, NULL, "why there are no figures", 0, 0, NULL},
};
#undef PLACE
enum { COLUMNS = sizeof columns / sizeof *columns };

static const dart_bench_test *test_of(const dart_bench_row *row)
{
    const dart_bench_test *const *test = dart_bench_tests;
    while (strcmp((*test)->name, row->test) != 0) test++;
    return *test;
}

static dart_columns columns_of(const dart_bench_test *test)
{
    return (dart_columns){columns, COLUMNS, test->columns};
}

/* ---- Markdown ---- */

static void profile(const dart_bench_row *row, FILE *out)
{
    double sum = 0;
    for (uint32_t k = 0; k < DART_KERNELS; k++) sum += row->kernel_ms[k];
    if (sum <= 0) return;
    fprintf(out, "\n| %s on %s: kernel | launches | ms | share |\n| --- | ---: | ---: | ---: |\n",
        row->test, row->device);
    for (uint32_t k = 0; k < DART_KERNELS; k++)
        if (row->kernel_launches[k])
            fprintf(out, "| %s | %" PRIu32 " | %.2f | %.1f %% |\n",
                dart_kernel_info_of((dart_kernel)k)->name, row->kernel_launches[k],
                row->kernel_ms[k], 100 * row->kernel_ms[k] / sum);
}

/* Rows of one test stand together. */
static uint32_t rows_of_test(const dart_bench_rows *rows, uint32_t first)
{
    uint32_t n = 0;
    while (first + n < rows->count && test_of(&rows->row[first + n]) == test_of(&rows->row[first]))
        n++;
    return n;
}

void dart_bench_markdown(const dart_bench_rows *rows, uint32_t repeats, FILE *out)
{
    for (uint32_t i = 0, n; i < rows->count; i += n) {
        const dart_bench_row *first = &rows->row[i];
        const dart_bench_test *test = test_of(first);
        n = rows_of_test(rows, i);
        if (i) fputc('\n', out);
        dart_columns_markdown(columns_of(test), (dart_rows){first, n, sizeof *first}, out);
        fprintf(out, "\n%s: %s. Of %" PRIu32 " runs: %s\n", test->name, test->help, repeats,
            test->footnote);
        for (const dart_bench_row *r = first; r < first + n; r++)
            if (*r->note)
                fprintf(out, "\n%s%s%s on %s: %s\n", r->test, *r->what ? " " : "", r->what,
                    r->device, r->note);
        for (const dart_bench_row *r = first; r < first + n; r++) profile(r, out);
    }
}

/* ---- CSV and JSON ---- */

void dart_bench_csv(const dart_bench_rows *rows, FILE *out)
{
    char keys[4096] = "note";
    for (uint32_t i = 0; i < rows->count; i += rows_of_test(rows, i)) {
        const char *more = test_of(&rows->row[i])->columns;
        const size_t used = strlen(keys);
        if (!strstr(keys, more)) snprintf(keys + used, sizeof keys - used, " %s", more);
    }
    const dart_columns all = {columns, COLUMNS, keys};
    dart_columns_csv(all, (dart_rows){NULL, 0, 0}, out); /* the heading */
    for (const dart_bench_row *row = rows->row; row < rows->row + rows->count; row++) {
        const dart_columns own = columns_of(test_of(row));
        const char *before = "";
        for (const dart_column *c = columns; c < columns + COLUMNS; c++) {
            if (!dart_columns_have(all, c)) continue;
            fputs(before, out);
            before = ",";
            /* what the test does not measure is empty, not 0 */
            if (dart_columns_have(own, c) || !strcmp(c->field.key, "note"))
                dart_columns_csv_field(all, c, row, 9, out);
        }
        fputs("\r\n", out);
    }
}

static json_t *kernels_json(const dart_bench_row *row, dart_status *status)
{
    json_t *object = json_object();
    for (uint32_t k = 0; k < DART_KERNELS; k++) {
        if (!row->kernel_launches[k]) continue;
        json_t *one = json_object();
        dart_json_set(one, "launches", json_integer(row->kernel_launches[k]), status);
        dart_json_set(one, "ms", dart_json_real(row->kernel_ms[k]), status);
        dart_json_set(object, dart_kernel_info_of((dart_kernel)k)->name, one, status);
    }
    return object;
}

dart_status dart_bench_json(const dart_bench_rows *rows, uint32_t repeats, FILE *out)
{
    dart_status status = DART_OK;
    char *text;
    json_t *body = json_object(), *list = json_array();
    for (uint32_t i = 0; i < rows->count; i++) {
        const dart_bench_row *row = &rows->row[i];
        json_t *object = dart_columns_json(columns_of(test_of(row)), row, &status);
        dart_json_set(object, "note", dart_json_text(row->note), &status);
        dart_json_set(object, "kernels", kernels_json(row, &status), &status);
        dart_json_add(list, object, &status);
    }
    dart_json_set(body, "version", json_string(DART_VERSION), &status);
    dart_json_set(body, "repeats", json_integer(repeats), &status);
    dart_json_set(body, "results", list, &status);
    DART_TRY(dart_json_write(
        body, status, JSON_INDENT(2) | JSON_REAL_PRECISION(9), "the results", &text));
    const bool failed = fprintf(out, "%s\n", text) < 0;
    free(text);
    return failed ? dart_fail(DART_IO, "cannot write the result") : DART_OK;
}
