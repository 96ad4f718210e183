/* Rows, medians, and results that are compared between devices. */
#include "bench.h"
#include "stats.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void no_figures(dart_bench_row *row)
{
    double *const figures[] = {&row->tokens_per_s, &row->sd, &row->best, &row->ms, &row->ms_min,
        &row->ms_max, &row->first_ms, &row->ms_per_token, &row->floor_ms, &row->gflops, &row->mflop,
        &row->gb_per_s, &row->peak_percent, &row->copy_percent, &row->bytes_read, &row->rate,
        &row->longest_submit_ms, &row->host_us, &row->loss, &row->difference, &row->tolerance,
        &row->svd_ms, &row->graphs_ms, &row->paths_ms, &row->plan_ms, &row->program_ms,
        &row->copies_ms, &row->beyond_svd_ms, &row->median_ms, &row->sd_ms};
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++) *figures[i] = NAN;
}

void dart_bench_row_begin(dart_bench_job *job)
{
    dart_bench_row *row = &job->row;
    const dart_bench_call *call = &job->call;
    const dart_device *device = call->device;
    *row = (dart_bench_row){.selection = ""};
    no_figures(row);
    snprintf(row->test, sizeof row->test, "%s%s%s", job->test->name, call->argument ? ":" : "",
        call->argument ? call->argument : "");
    snprintf(row->grid, sizeof row->grid, "%s", call->grid);
    dart_device_id(device, row->device);
    snprintf(row->backend, sizeof row->backend, "%s", device->backend->name);
    snprintf(row->device_name, sizeof row->device_name, "%s", device->caps.name);
    snprintf(row->driver, sizeof row->driver, "%s", device->caps.driver);
    snprintf(row->dtype, sizeof row->dtype, "%s", device->caps.word == 8 ? "f64" : "f32");
    if (job->test->compares) row->tolerance = job->test->tolerance;
}

void dart_bench_row_end(dart_bench_job *job)
{
    dart_bench_row *row = &job->row;
    const uint32_t n = row->samples;
    double seconds[DART_BENCH_REPEATS];
    if (!n) return;
    memcpy(seconds, row->seconds, n * sizeof *seconds);
    const double median =
        dart_bench_median(seconds, n, job->tokens > 0 ? job->tokens : 1e-9 * job->flops, &row->sd);
    row->runs = n;
    row->ms = 1e3 * median / job->per;
    row->ms_min = 1e3 * seconds[0] / job->per; /* sorted */
    row->ms_max = 1e3 * seconds[n - 1] / job->per;
    row->first_ms /= job->per;
    if (job->tokens > 0) {
        row->tokens_per_s = job->tokens / median;
        row->best = job->tokens / seconds[0];
        row->ms_per_token = 1e3 * median / job->tokens;
    }
    for (uint32_t i = 0; i < n; i++) row->seconds[i] /= job->per; /* as others will compare them */
    if (job->flops > 0) row->gflops = 1e-9 * job->flops / median;
    if (job->bytes > 0) row->gb_per_s = 1e-9 * job->bytes / median;
}

void dart_bench_rows_parts(dart_bench_rows *rows, const dart_bench_machine *machine)
{
    for (size_t i = 0; i < rows->count; i++) {
        dart_bench_row *row = &rows->row[i];
        for (uint32_t k = 0; k < machine->places; k++) {
            const dart_peak *peak = &machine->place[k].peak;
            if (strcmp(machine->place[k].id, row->device) != 0) continue;
            row->peak_percent = 1e11 * row->gflops / peak->flops;
            row->copy_percent = 1e11 * row->gb_per_s / peak->bytes;
            if (!row->profile) continue;
            row->profile->roof_flops = peak->flops;
            row->profile->roof_bytes = peak->bytes;
        }
    }
}

void dart_bench_rows_free(dart_bench_rows *rows)
{
    for (size_t i = 0; i < rows->count; i++) {
        free(rows->row[i].seconds);
        if (rows->row[i].profile) dart_profile_free(rows->row[i].profile);
        free(rows->row[i].profile);
    }
    free(rows->row);
    *rows = (dart_bench_rows){0};
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
    for (int i = 0; i < DART_BENCH_RESULTS; i++) free(reference->value[i]);
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

void dart_bench_differ(dart_bench_job *job, uint32_t index, const float *value, uint64_t count)
{
    const double found = dart_bench_reference_compare(job->call.reference, index, value, count);
    double *kept = &job->row.difference;
    if (index == 0 || isnan(found) || found > *kept) *kept = found;
}

bool dart_bench_wrong(const dart_bench_row *row)
{
    return row->samples && isfinite(row->tolerance) && !(row->difference <= row->tolerance);
}
