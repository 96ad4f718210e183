/* Runs the chosen tests on the chosen devices and prints one table with the backends
 * side by side. */
#include "bench.h"
#include "c_locale.h"
#include "names.h"
#include "setup.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *test_name(const void *context, uint32_t index)
{
    (void)context;
    return dart_bench_tests[index] ? dart_bench_tests[index]->name : NULL;
}

static dart_status find_test(const char *name, const dart_bench_test **out)
{
    const dart_bench_test *const *test = dart_bench_tests;
    while (*test && strcmp((*test)->name, name) != 0) test++;
    *out = *test;
    return *test ? DART_OK : dart_name_unknown(DART_USAGE, "test", name, test_name, NULL, "");
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

/* One test on one device. What fails becomes a note in its row: the other devices of the comparison
 * are still wanted. */
static dart_status run_device(
    const dart_bench_test *test, const char *id, const dart_limits *limits, dart_bench_call call)
{
    const uint32_t first = call.rows->count;
    dart_settings set;
    dart_recipe_settings(call.recipe, &set);
    DART_TRY(dart_device_open(id, limits, &call.device));
    dart_device_watch(call.device, set.watchdog);
    dart_status status = test->run(&call);
    const bool ends = status == DART_USAGE || status == DART_INPUT || status == DART_INTERRUPTED;
    if (status != DART_OK && !ends) {
        dart_bench_row *row = call.rows->count > first ? &call.rows->row[call.rows->count - 1]
                                                       : dart_bench_row_new(&call, test, "");
        if (row) snprintf(row->note, sizeof row->note, "%s", dart_error_text());
    }
    dart_device_close(call.device);
    return ends ? status : DART_OK;
}

/* One test on all devices; cpu first, as the others are compared with it. */
static dart_status run_devices(const dart_bench_test *test, const name_list *devices,
    const dart_limits *limits, dart_bench_call call)
{
    dart_bench_reference reference = {0};
    const bool compares = call.options->reference && test->compares;
    dart_status status = DART_OK;
    call.reference = &reference;
    for (int pass = 0; pass < 2; pass++) {
        bool had_cpu = false;
        for (uint32_t i = 0; i <= devices->count; i++) {
            /* pass 0 is cpu alone, asked for or not; pass 1 the others */
            bool extra = i == devices->count;
            const char *id = extra ? "cpu" : devices->name[i];
            bool is_cpu = strcmp(id, "cpu") == 0;
            if (is_cpu != (pass == 0) || (extra && (had_cpu || !compares))) continue;
            had_cpu = had_cpu || is_cpu;
            const uint32_t first = call.rows->count;
            DART_GOTO(run_device(test, id, limits, call));
            if (extra) call.rows->count = first; /* measured only to compare with */
        }
    }
done:
    dart_bench_reference_free(&reference);
    return status;
}

/* ---- all of it ---- */

static dart_status print(const dart_bench_rows *rows, const dart_bench_options *options, FILE *out)
{
    if (!strcmp(options->format, "json")) return dart_bench_json(rows, options->repeats, out);
    if (!strcmp(options->format, "csv"))
        dart_bench_csv(rows, out);
    else
        dart_bench_markdown(rows, options->repeats, out);
    return DART_OK;
}

static dart_status run(const dart_recipe *recipe, const dart_bench_options *options, FILE *out)
{
    static const char *const formats[] = {"md", "json", "csv", NULL};
    const char *const *format = formats;
    const uint32_t repeats = options->repeats;
    name_list tests, devices;
    const dart_bench_test *test[16];
    char limits[64] = "";
    while (*format && strcmp(*format, options->format) != 0) format++;
    if (!*format)
        return dart_name_unknown(
            DART_USAGE, "output format", options->format, dart_name_of_list, formats, "");
    if (repeats == 0 || repeats > DART_BENCH_REPEATS)
        return dart_fail(
            DART_USAGE, "%" PRIu32 " repeats; give 1 to %d", repeats, DART_BENCH_REPEATS);
    DART_TRY(split(options->tests, "tests", &tests));
    for (uint32_t i = 0; i < tests.count; i++) DART_TRY(find_test(tests.name[i], &test[i]));
    DART_TRY(dart_recipe_get(recipe, "limits", limits, sizeof limits));
    DART_TRY(list_devices(options->devices, limits, &devices));
    dart_bench_rows *rows = dart_calloc(1, sizeof *rows);
    if (!rows) return DART_MEMORY;
    const dart_bench_call call = {.recipe = recipe, .options = options, .rows = rows};
    dart_status status = DART_OK;
    for (uint32_t i = 0; i < tests.count; i++)
        DART_GOTO(run_devices(test[i], &devices, *limits ? dart_limits_find(limits) : NULL, call));
    status = print(rows, options, out);
done:
    free(rows);
    return status;
}

dart_status dart_bench_print(
    const dart_recipe *recipe, const dart_bench_options *options, FILE *out)
{
    locale_t before = dart_locale_enter();
    dart_status status = run(recipe, options, out);
    dart_locale_leave(before);
    return status;
}
