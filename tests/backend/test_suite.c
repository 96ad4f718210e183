/* The kernel suite on one device: test_suite [device [limits [watchdog]]]; "cpu" without limits
 * ("") if none is given; watchdog: milliseconds of a submission. A device that this machine does
 * not have is reported as skipped. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "suite.h"

enum { LEAST_CASES = 1500, LEAST_VARIANTS = 100, LEAST_DOTS = 50, SHOWN = 20 };

static const char *device_id = "cpu";
static const char *limits_name = "";
static double watchdog = -1;

static void show_failure(void *context, const char *text)
{
    uint32_t *shown = context;
    if ((*shown)++ < SHOWN) print_message("  FAILED %s\n", text);
}

static void every_kernel_agrees_with_the_oracle(void **state)
{
    (void)state;
    const dart_limits *limits = dart_limits_find(limits_name);
    assert_true(!*limits_name || limits);
    dart_device *device;
    dart_status status = dart_device_open(device_id, limits, &device);
    if (status == DART_USAGE || status == DART_DEVICE) {
        print_message("%s skipped: %s\n", device_id, dart_error_text());
        skip();
    }
    assert_int_equal(status, DART_OK);
    dart_device_watch(device, watchdog);
    const uint64_t submits = device->submits;
    uint32_t shown = 0;
    dart_suite_options options = {.seed = 1, .failure = show_failure, .context = &shown};
    static dart_suite_result result;
    status = dart_suite_run(device, &options, &result);
    if (status != DART_OK) print_message("%s\n", dart_error_text());
    assert_int_equal(status, DART_OK);
    print_message("%s (%s), limits %s: %u cases executed, %u failed, %u skipped, %.1f s\n",
        device_id, device->caps.name, limits ? limits_name : "none", result.executed, result.failed,
        result.skipped, result.seconds);
    if (result.skipped) print_message("  first skipped because: %s\n", result.skip_reason);
    for (int k = 0; k < DART_KERNELS; k++) {
        const dart_suite_kernel *kernel = &result.kernel[k];
        print_message("  %-18s %4u cases, worst NMSE %8.2g (bound %.0e): %s\n",
            dart_kernel_info_of((dart_kernel)k)->name, kernel->executed, kernel->worst,
            kernel->tolerance, kernel->worst_case);
        for (uint32_t v = 1; v < DART_MAX_VARIANTS; v++)
            if (kernel->by_variant[v])
                print_message("  %-18s %4u of these cases by %s.%s.k\n", "", kernel->by_variant[v],
                    dart_kernel_info_of((dart_kernel)k)->name,
                    dart_kernel_feature((dart_kernel)k, v));
        assert_true(kernel->executed > 0);
    }
    /* GPUs, and what a profile makes one, take the shared-memory form for products of some size
     * unless that memory is slow, V3D rows; processors with vectors that are spelled out take dot
     * products and panels */
    const bool gpu = !device->caps.on_cpu, vectors = device->caps.simd > 1;
    const bool v3d = gpu && device->caps.vendor == DART_VENDOR_BROADCOM;
    const bool shares = gpu && !vectors && !device->caps.slow_shared;
    /* a limit that few launches keep starts most of them in pieces */
    if (watchdog > 0) assert_true(device->submits - submits >= 3 * (uint64_t)result.executed);
    dart_device_close(device);
    assert_true(result.executed >= LEAST_CASES);
    const uint32_t *by = result.kernel[DART_K_gemm].by_variant;
    const uint32_t shared = by[dart_kernel_variant(DART_K_gemm, "shared")];
    const uint32_t dot = by[dart_kernel_variant(DART_K_gemm, "dot")];
    const uint32_t panel = by[dart_kernel_variant(DART_K_gemm, "panel")];
    const uint32_t rows = by[dart_kernel_variant(DART_K_gemm, "rows")];
    assert_true(shares ? shared >= LEAST_VARIANTS : shared == 0);
    assert_true(vectors ? dot >= LEAST_DOTS && panel >= LEAST_VARIANTS : dot + panel == 0);
    assert_true((v3d ? rows : by[0]) >= LEAST_VARIANTS && (v3d ? by[0] : rows) == 0);
    const dart_suite_kernel *packed = &result.kernel[DART_K_gemm_packed];
    const uint32_t block = packed->by_variant[dart_kernel_variant(DART_K_gemm_packed, "block")];
    assert_true(vectors ? block >= LEAST_VARIANTS : block == 0);
    assert_int_equal(result.failed, 0);
}

int main(int count, char **argument)
{
    if (count > 1) device_id = argument[1];
    if (count > 2) limits_name = argument[2];
    if (count > 3) watchdog = strtod(argument[3], NULL);
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_kernel_agrees_with_the_oracle)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
