/* Runs the chosen tests on the chosen devices and prints one table with the backends
 * side by side. */
#include "bench.h"
#include "names.h"
#include "setup.h"
#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double *seconds, uint32_t n, double work, double *out_sd)
{
    double sum = 0, squares = 0;
    for (uint32_t i = 0; i < n; i++) {
        double rate = work / seconds[i];
        sum += rate;
        squares += rate * rate;
    }
    double mean = sum / n, variance = squares / n - mean * mean;
    *out_sd = n > 1 && variance > 0 ? sqrt(variance * n / (n - 1)) : 0;
    qsort(seconds, n, sizeof *seconds, by_value);
    return n % 2 ? seconds[n / 2] : 0.5 * (seconds[n / 2 - 1] + seconds[n / 2]);
}

bench_row *bench_row_new(bench_rows *rows, const char *test, const char *what, const char *device)
{
    if (rows->count == BENCH_MAX_ROWS) return NULL;
    bench_row *row = &rows->row[rows->count++];
    *row = (bench_row){.ms = NAN, .tokens_per_s = NAN, .sd = NAN, .gflops = NAN, .difference = NAN};
    snprintf(row->test, sizeof row->test, "%s", test);
    snprintf(row->what, sizeof row->what, "%s", what);
    snprintf(row->device, sizeof row->device, "%s", device);
    return row;
}

void bench_reference_free(bench_reference *reference)
{
    for (int i = 0; i < 16; i++) free(reference->value[i]);
    *reference = (bench_reference){0};
}

double bench_reference_compare(
    bench_reference *reference, uint32_t index, const float *value, uint64_t count)
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

/* ---- which tests on which devices ---- */

typedef struct name_list {
    char name[16][32];
    uint32_t count;
} name_list;

static dart_status split(const char *text, const char *what, name_list *out)
{
    out->count = 0;
    while (*text) {
        size_t n = strcspn(text, ",");
        if (n == 0 || n >= sizeof out->name[0] || out->count == 16)
            return dart_fail(DART_USAGE, "bad list of %s at '%s'", what, text);
        memcpy(out->name[out->count], text, n);
        out->name[out->count++][n] = 0;
        text += n + (text[n] == ',');
    }
    return out->count ? DART_OK : dart_fail(DART_USAGE, "the list of %s is empty", what);
}

static dart_status list_devices(const char *devices, const char *limits, name_list *out)
{
    if (strcmp(devices, "all") != 0) return split(devices, "devices", out);
    dart_device_info *info = NULL;
    size_t count = 0;
    DART_TRY(dart_device_infos(limits, &info, &count));
    out->count = 0;
    for (size_t i = 0; i < count && out->count < 16; i++) {
        if (info[i].usable)
            snprintf(out->name[out->count++], sizeof out->name[0], "%s", info[i].id);
    }
    free(info);
    return DART_OK;
}

static dart_status run_test(const char *test, const dart_recipe *recipe,
    const dart_bench_options *options, dart_device *device, bench_reference *reference,
    bench_rows *rows)
{
    if (strcmp(test, "gemm") == 0) return bench_gemm(device, options->repeats, reference, rows);
    if (strcmp(test, "pick") == 0) return bench_pick(recipe, options, device, rows);
    if (strcmp(test, "infer") == 0) return bench_infer(recipe, options, device, reference, rows);
    return bench_model(recipe, options, device, strcmp(test, "eval") == 0, reference, rows);
}

/* One test on all devices; cpu first, as the others are compared with it. What fails on one device
 * becomes a note in its row: the other columns of the comparison are still wanted. */
static dart_status run_devices(const char *test, const dart_recipe *recipe,
    const dart_bench_options *options, const name_list *devices, const dart_limits *limits,
    bench_rows *rows)
{
    bench_reference reference = {0};
    const bool compares = options->reference && strcmp(test, "pick") != 0;
    dart_status status = DART_OK;
    for (int pass = 0; pass < 2; pass++) {
        bool had_cpu = false;
        for (uint32_t i = 0; i <= devices->count; i++) {
            /* pass 0 is cpu alone, asked for or not; pass 1 the others */
            bool extra = i == devices->count;
            const char *id = extra ? "cpu" : devices->name[i];
            bool is_cpu = strcmp(id, "cpu") == 0;
            if (is_cpu != (pass == 0) || (extra && (had_cpu || !compares))) continue;
            had_cpu = had_cpu || is_cpu;
            uint32_t first = rows->count, first_infer = rows->infers;
            dart_device *device = NULL;
            DART_GOTO(dart_device_open(id, limits, &device));
            status = run_test(test, recipe, options, device, &reference, rows);
            dart_device_close(device);
            if (status == DART_USAGE || status == DART_INPUT || status == DART_INTERRUPTED)
                goto done;
            if (status != DART_OK && rows->infers > first_infer) {
                status = DART_OK; /* the note is in the test's own row */
            } else if (status != DART_OK) {
                bench_row *row = rows->count > first ? &rows->row[rows->count - 1]
                                                     : bench_row_new(rows, test, "", id);
                if (row) snprintf(row->note, sizeof row->note, "%s", dart_error_text());
                status = DART_OK;
            }
            if (extra) { /* measured only to compare with */
                rows->count = first;
                rows->infers = first_infer;
            }
        }
    }
done:
    bench_reference_free(&reference);
    return status;
}

/* ---- output ---- */

static void cell(FILE *out, double value, const char *format)
{
    if (isnan(value))
        fputs(" - |", out);
    else
        fprintf(out, format, value);
}

static void print_markdown(const bench_rows *rows, uint32_t repeats, FILE *out)
{
    if (!rows->count) return;
    fprintf(out,
        "| test | what | device | tokens/s | ± sd | ms | GFLOP/s | planned MiB | actual MiB | "
        "launches | "
        "submits | difference from cpu |\n"
        "| --- | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n");
    for (uint32_t i = 0; i < rows->count; i++) {
        const bench_row *r = &rows->row[i];
        fprintf(out, "| %s | %s | %s |", r->test, r->what, r->device);
        cell(out, r->tokens_per_s, " %.0f |");
        cell(out, r->sd, isnan(r->tokens_per_s) ? " %.1f |" : " %.0f |");
        cell(out, r->ms, " %.3f |");
        cell(out, r->gflops, " %.1f |");
        cell(out, r->planned_bytes ? (double)r->planned_bytes / 1048576 : NAN, " %.1f |");
        cell(out, r->actual_bytes ? (double)r->actual_bytes / 1048576 : NAN, " %.1f |");
        cell(out, r->launches ? r->launches : NAN, " %.0f |");
        cell(out, r->launches ? r->submits : NAN, " %.0f |");
        cell(out, r->difference, " %.1e |");
        fputc('\n', out);
    }
    fprintf(out,
        "\nMedians of %" PRIu32
        " runs after a warm-up; ± is the standard deviation of tokens/s (of GFLOP/s "
        "for gemm).\nDifference: relative to the largest value; of the losses of all steps (step), "
        "of each token's "
        "loss (eval), of each element (gemm).\n",
        repeats);
    for (uint32_t i = 0; i < rows->count; i++) {
        const bench_row *r = &rows->row[i];
        if (*r->note) fprintf(out, "\n%s on %s: %s\n", r->test, r->device, r->note);
    }
}

static void print_csv(const bench_rows *rows, FILE *out)
{
    if (!rows->count) return;
    fputs("test,what,device,tokens_per_second,sd,ms,gflops,planned_bytes,actual_bytes,launches,"
          "submits,difference\n",
        out);
    for (uint32_t i = 0; i < rows->count; i++) {
        const bench_row *r = &rows->row[i];
        fprintf(out,
            "%s,\"%s\",%s,%.6g,%.6g,%.6g,%.6g,%" PRIu64 ",%" PRIu64 ",%" PRIu32 ",%" PRIu32
            ",%.6g\n",
            r->test, r->what, r->device, r->tokens_per_s, r->sd, r->ms, r->gflops, r->planned_bytes,
            r->actual_bytes, r->launches, r->submits, r->difference);
    }
}

static double profile_sum(const bench_row *row)
{
    double sum = 0;
    for (uint32_t k = 0; k < DART_KERNELS; k++) sum += row->kernel_ms[k];
    return sum;
}

static void print_profiles(const bench_rows *rows, FILE *out)
{
    for (uint32_t i = 0; i < rows->count; i++) {
        const bench_row *r = &rows->row[i];
        double sum = profile_sum(r);
        if (sum <= 0) continue;
        fprintf(out,
            "\n| %s on %s: kernel | launches | ms | share |\n| --- | ---: | ---: | ---: |\n",
            r->test, r->device);
        for (uint32_t k = 0; k < DART_KERNELS; k++) {
            if (r->kernel_launches[k])
                fprintf(out, "| %s | %" PRIu32 " | %.2f | %.1f %% |\n",
                    dart_kernel_info_of((dart_kernel)k)->name, r->kernel_launches[k],
                    r->kernel_ms[k], 100 * r->kernel_ms[k] / sum);
        }
    }
}

static json_t *profile_json(const bench_row *row)
{
    json_t *object = json_object();
    for (uint32_t k = 0; k < DART_KERNELS; k++) {
        if (row->kernel_launches[k])
            json_object_set_new(object, dart_kernel_info_of((dart_kernel)k)->name,
                json_pack("{s:i, s:f}", "launches", (int)row->kernel_launches[k], "ms",
                    row->kernel_ms[k]));
    }
    return object;
}

static json_t *number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static dart_status print_json(const bench_rows *rows, uint32_t repeats, FILE *out)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < rows->count; i++) {
        const bench_row *r = &rows->row[i];
        json_array_append_new(list,
            json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:I, s:I, s:i, s:i, s:o, s:s, s:o}",
                "test", r->test, "what", r->what, "device", r->device, "tokens_per_second",
                number(r->tokens_per_s), "sd", number(r->sd), "ms", number(r->ms), "gflops",
                number(r->gflops), "planned_bytes", (json_int_t)r->planned_bytes, "actual_bytes",
                (json_int_t)r->actual_bytes, "launches", (int)r->launches, "submits",
                (int)r->submits, "difference", number(r->difference), "note", r->note, "kernels",
                profile_json(r)));
    }
    bench_infer_json(rows, list);
    bench_pick_json(rows, list);
    json_t *json = json_pack(
        "{s:s, s:i, s:o}", "version", DART_VERSION, "repeats", (int)repeats, "results", list);
    if (!json) return dart_fail(DART_MEMORY, "out of memory while making JSON");
    int failed = json_dumpf(json, out, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    json_decref(json);
    fputc('\n', out);
    return failed ? dart_fail(DART_IO, "cannot write the result") : DART_OK;
}

static const char *const formats[] = {"md", "json", "csv", NULL};
static const char *const all_tests[] = {"step", "gemm", "eval", "infer", "pick", NULL};

dart_status dart_bench_print(
    const dart_recipe *recipe, const dart_bench_options *options, FILE *out)
{
    uint32_t repeats = options->repeats;
    bool json = strcmp(options->format, "json") == 0, csv = strcmp(options->format, "csv") == 0;
    if (!json && !csv && strcmp(options->format, "md") != 0)
        return dart_name_unknown(
            DART_USAGE, "output format", options->format, dart_name_of_list, formats, "");
    if (repeats == 0 || repeats > BENCH_MAX_REPEATS)
        return dart_fail(
            DART_USAGE, "%" PRIu32 " repeats; give 1 to %d", repeats, BENCH_MAX_REPEATS);
    name_list tests, devices;
    DART_TRY(split(options->tests, "tests", &tests));
    for (uint32_t i = 0; i < tests.count; i++) {
        const char *const *known = all_tests;
        while (*known && strcmp(*known, tests.name[i]) != 0) known++;
        if (!*known)
            return dart_name_unknown(
                DART_USAGE, "test", tests.name[i], dart_name_of_list, all_tests, "");
    }
    char profile[64] = "";
    DART_TRY(dart_recipe_get(recipe, "limits", profile, sizeof profile));
    DART_TRY(list_devices(options->devices, profile, &devices));
    bench_rows *rows = dart_calloc(1, sizeof *rows);
    if (!rows) return DART_MEMORY;
    dart_status status = DART_OK;
    for (uint32_t i = 0; i < tests.count; i++)
        DART_GOTO(run_devices(tests.name[i], recipe, options, &devices,
            *profile ? dart_limits_find(profile) : NULL, rows));
    if (json) {
        status = print_json(rows, repeats, out);
    } else if (csv) {
        print_csv(rows, out);
        bench_infer_csv(rows, out);
        bench_pick_csv(rows, out);
    } else {
        print_markdown(rows, repeats, out);
        if (rows->count && rows->infers) fputc('\n', out);
        bench_infer_markdown(rows, repeats, out);
        if (rows->picks && (rows->count || rows->infers)) fputc('\n', out);
        bench_pick_markdown(rows, out);
        print_profiles(rows, out);
    }
done:
    free(rows);
    return status;
}
