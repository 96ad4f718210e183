/* Every case of gemm in forms that the shipped table does not choose here: test_gemm_forms [device
 * [limits]], lavapipe under emu-floor if none is given. A device that this machine does not have is
 * reported as skipped. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "form.h"
#include "suite.h"
#include <stdio.h>
#include <string.h>

typedef struct named_form {
    const char *name;
    uint32_t wgx, wgy, tm, tn, down;
    uint32_t least; /* cases that have to have it */
} named_form;

/* Tiles of 128 x 64, 64 x 128, 64 x 64, 32 x 128, 128 x 16, 16 x 128, and 128 x 128 and 64 x 64 by
 * 256 invocations, which not all profiles allow; which operand is read in fours. */
static const named_form forms[] = {
    {"pipelined", 8, 16, 8, 8, 0, 900},
    {"pipelined", 16, 8, 8, 8, 3, 80},
    {"pipelined", 16, 8, 8, 4, 1, 100},
    {"pipelined", 16, 8, 4, 8, 2, 100},
    {"pipelined", 4, 32, 4, 4, 3, 80},
    {"pipelined", 32, 4, 4, 4, 3, 80},
    {"pipelined", 16, 16, 8, 8, 3, 80},
    {"pipelined", 16, 16, 4, 4, 3, 80},
    {"broadcast", 64, 1, 8, 1, 0, 40},
    {"broadcast", 32, 1, 4, 1, 1, 30},
};

static const char *device_id = "vulkan:0", *limits_name = "emu-floor";

static void show(void *context, const char *text)
{
    uint32_t *shown = context;
    if ((*shown)++ < 10) print_message("  FAILED %s\n", text);
}

static void check_form(dart_device *device, const named_form *f)
{
    static dart_suite_result result;
    dart_form form = {.kernel = DART_K_gemm, .variant = dart_kernel_variant(DART_K_gemm, f->name)};
    uint32_t shown = 0;
    if (device->caps.max_invocations && f->wgx * f->wgy > device->caps.max_invocations) return;
    form.tune[0] = f->wgx;
    form.tune[1] = f->wgy;
    form.tune[DART_GEMM_TM] = f->tm;
    form.tune[DART_GEMM_TN] = f->tn;
    form.tune[DART_GEMM_VW] = 1;
    form.tune[DART_GEMM_DOWN] = f->down;
    const dart_suite_options options = {
        .seed = 3, .kernel = "gemm", .form = &form, .failure = show, .context = &shown};
    if (dart_suite_run(device, &options, &result) != DART_OK) fail_msg("%s", dart_error_text());
    const uint32_t had = result.kernel[DART_K_gemm].by_variant[form.variant];
    print_message("%s %s %s %ux%u TM %u TN %u DOWN %u: %u of %u cases, %u failed, worst %.2g\n",
        device_id, limits_name, f->name, f->wgx, f->wgy, f->tm, f->tn, f->down, had,
        result.executed, result.failed, result.kernel[DART_K_gemm].worst);
    assert_int_equal(result.failed, 0);
    assert_true(had >= f->least);
}

static void forms_agree_with_the_oracle(void **state)
{
    (void)state;
    dart_device *device;
    const dart_limits *limits;
    assert_int_equal(dart_limits_get(limits_name, &limits), DART_OK);
    const dart_status status = dart_device_open(device_id, limits, &device);
    if (status == DART_USAGE || status == DART_DEVICE) {
        print_message("%s skipped: %s\n", device_id, dart_error_text());
        skip();
    }
    assert_int_equal(status, DART_OK);
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) check_form(device, &forms[i]);
    dart_device_close(device);
}

int main(int count, char **argument)
{
    if (count > 1) device_id = argument[1];
    if (count > 2) limits_name = argument[2];
    const struct CMUnitTest tests[] = {cmocka_unit_test(forms_agree_with_the_oracle)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
