/* The kernel suite on a device, and the cached verdict that training asks for. */
#include "selftest.h"
#include "file.h"
#include "json.h"
#include "suite.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* <cache>/selftest-<hash of device, driver, version of this program>.json */
static dart_status verdict_path(const dart_device *device, char out[1200])
{
    char dir[1024], id[32], key[512];
    DART_TRY(dart_cache_dir(dir, sizeof dir));
    int n = snprintf(key, sizeof key, "%s|%s|%s|%s|%s", dart_device_id(device, id),
        device->caps.name, device->caps.driver, device->caps.api, DART_VERSION);
    snprintf(out, 1200, "%s/selftest-%016llx.json", dir,
        (unsigned long long)XXH3_64bits(key, (size_t)n));
    return DART_OK;
}

static dart_status verdict_write(const dart_device *device, const dart_selftest_result *result)
{
    char path[1200], id[32];
    DART_TRY(verdict_path(device, path));
    json_t *json =
        json_pack("{s:s, s:s, s:s, s:i, s:i, s:i, s:s}", "device", dart_device_id(device, id),
            "name", device->caps.name, "driver", device->caps.driver, "cases", (int)result->cases,
            "failed", (int)result->failed, "skipped", (int)result->skipped, "worst", result->worst);
    char *text = json ? json_dumps(json, JSON_INDENT(2)) : NULL;
    json_decref(json);
    if (!text) return dart_fail(DART_MEMORY, "out of memory while keeping the selftest's verdict");
    dart_status status = dart_file_write_atomic(path, text, strlen(text));
    free(text);
    return status;
}

/* Verdicts are a cache: one that cannot be read counts as none. */
dart_status dart_selftest_gate(const dart_device *device, bool force)
{
    char path[1200], id[32], why[DART_JSON_WHY], *text = NULL;
    size_t size;
    json_t *json = NULL;
    if (force || verdict_path(device, path) != DART_OK || !dart_file_exists(path)) return DART_OK;
    dart_status status = dart_file_read(path, &text, &size);
    if (status == DART_OK) status = dart_json_parse(text, size, path, why, &json);
    free(text);
    if (status == DART_MEMORY) return status;
    json_int_t failed = json_integer_value(json_object_get(json, "failed"));
    json_int_t cases = json_integer_value(json_object_get(json, "cases"));
    json_decref(json);
    if (failed == 0) return DART_OK;
    return dart_fail(DART_DEVICE,
        "%s failed %lld of %lld kernel cases in its selftest, so its results cannot be trusted; "
        "update the driver and "
        "run dart-llm selftest --device %s again, or give --force",
        dart_device_id(device, id), (long long)failed, (long long)cases, id);
}

static void print_failure(void *context, const char *text)
{
    fprintf(context, "%s\n", text);
}

static void print_kernels(const dart_suite_result *suite, FILE *out)
{
    fprintf(out, "%-18s %8s %8s %8s  %-10s %s\n", "kernel", "executed", "failed", "skipped",
        "worst NMSE", "case");
    for (uint32_t k = 0; k < DART_KERNELS; k++) {
        const dart_suite_kernel *kernel = &suite->kernel[k];
        fprintf(out, "%-18s %8" PRIu32 " %8" PRIu32 " %8" PRIu32 "  %-10.1e %s\n",
            dart_kernel_info_of((dart_kernel)k)->name, kernel->executed, kernel->failed,
            kernel->skipped, kernel->worst, kernel->worst_case);
    }
    if (suite->skipped) fprintf(out, "skipped: %s\n", suite->skip_reason);
    fprintf(out, "%.1f seconds\n", suite->seconds);
}

dart_status dart_selftest_print(
    const char *device_id, const char *limits_name, FILE *out, dart_selftest_result *result)
{
    const dart_limits *limits;
    *result = (dart_selftest_result){0};
    DART_TRY(dart_limits_get(limits_name, &limits));
    dart_device *device = NULL;
    DART_TRY(dart_device_open(device_id, limits, &device));
    dart_status status = DART_OK;
    dart_suite_result *suite = dart_calloc(1, sizeof *suite);
    if (!suite) DART_GOTO(DART_MEMORY);
    dart_suite_options options = {.seed = 1, .failure = out ? print_failure : NULL, .context = out};
    DART_GOTO(dart_suite_run(device, &options, suite));
    if (out) print_kernels(suite, out);
    result->cases = suite->executed;
    result->failed = suite->failed;
    result->skipped = suite->skipped;
    double closest =
        -1; /* worst: the case that comes closest to its tolerance, or misses it most */
    for (uint32_t k = 0; k < DART_KERNELS; k++) {
        const dart_suite_kernel *kernel = &suite->kernel[k];
        double part = kernel->tolerance > 0 ? kernel->worst / kernel->tolerance : kernel->worst;
        if (!kernel->executed || part <= closest) continue;
        closest = part;
        result->worst_nmse = kernel->worst;
        snprintf(result->worst, sizeof result->worst, "%s: %.70s",
            dart_kernel_info_of((dart_kernel)k)->name, kernel->worst_case);
    }
    /* A verdict under a limit profile says nothing about the device itself. */
    if (!limits) status = verdict_write(device, result);
done:
    free(suite);
    dart_device_close(device);
    return status;
}
