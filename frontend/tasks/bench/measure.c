/* Rows, medians, and results that are compared between devices. */
#include "bench.h"
#include "stats.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

dart_bench_row *dart_bench_row_new(
    const dart_bench_call *call, const dart_bench_test *test, const char *what)
{
    dart_bench_rows *rows = call->rows;
    if (rows->count == DART_BENCH_ROWS) return NULL;
    dart_bench_row *row = &rows->row[rows->count++];
    *row = (dart_bench_row){.tokens_per_s = NAN,
        .sd = NAN,
        .best = NAN,
        .ms = NAN,
        .longest_submit_ms = NAN,
        .ms_per_token = NAN,
        .floor_ms = NAN,
        .gflops = NAN,
        .mflop = NAN,
        .bytes_read = NAN,
        .difference = NAN,
        .selection = "",
        .svd_ms = NAN,
        .graphs_ms = NAN,
        .paths_ms = NAN,
        .plan_ms = NAN,
        .program_ms = NAN,
        .copies_ms = NAN,
        .beyond_svd_ms = NAN,
        .median_ms = NAN,
        .sd_ms = NAN};
    snprintf(row->test, sizeof row->test, "%s", test->name);
    snprintf(row->what, sizeof row->what, "%s", what);
    dart_device_id(call->device, row->device);
    return row;
}

double dart_bench_median(double *seconds, uint32_t n, double work, double *out_sd)
{
    double rate[DART_BENCH_REPEATS];
    for (uint32_t i = 0; i < n; i++) rate[i] = work / seconds[i];
    *out_sd = n > 1 ? dart_spread_of(rate, n).sd : 0;
    return dart_median(seconds, n);
}

void dart_bench_reference_free(dart_bench_reference *reference)
{
    for (int i = 0; i < DART_BENCH_CASES; i++) free(reference->value[i]);
    *reference = (dart_bench_reference){0};
}

double dart_bench_reference_compare(
    dart_bench_reference *reference, uint32_t index, const float *value, uint64_t count)
{
    if (!reference->value[index]) {
        reference->value[index] = dart_calloc(count, sizeof *value);
        if (!reference->value[index]) return NAN;
        memcpy(reference->value[index], value, count * sizeof *value);
        reference->count[index] = count;
        return 0;
    }
    if (reference->count[index] != count) return NAN;
    double largest = 0, difference = 0;
    for (uint64_t i = 0; i < count; i++) {
        double a = reference->value[index][i], d = fabs(a - value[i]);
        largest = fmax(largest, fabs(a));
        difference = d > difference || isnan(d) ? d : difference;
    }
    return largest > 0 ? difference / largest : difference;
}
