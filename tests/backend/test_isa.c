/* The instruction sets of the CPU backend's kernels: which there are, which one is taken, and what
 * is said about those that cannot be. The suite runs once in each (tests/extra.cmake). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "isa.h"

static void tables_are_whole(void **state)
{
    (void)state;
    assert_non_null(dart_cpu_isa_at(0));
    assert_string_equal(dart_cpu_isa_at(0)->name, "baseline");
    assert_true(dart_cpu_isa_at(0)->supported());
    for (uint32_t i = 0; dart_cpu_isa_at(i); i++) {
        const dart_cpu_isa *isa = dart_cpu_isa_at(i);
        print_message("%s: %s\n", isa->name, isa->supported() ? "yes" : "not on this processor");
        for (int k = 0; k < DART_KERNELS; k++) {
            assert_non_null(isa->kernels[k]);
            assert_true(isa->kernels[k]->plan && isa->kernels[k]->task);
            for (uint32_t j = 0; j < i; j++)
                assert_true(isa->kernels[k]->task != dart_cpu_isa_at(j)->kernels[k]->task);
        }
    }
}

static void the_most_is_taken(void **state)
{
    (void)state;
    const dart_cpu_isa *most = NULL, *got;
    for (uint32_t i = 0; dart_cpu_isa_at(i); i++)
        if (dart_cpu_isa_at(i)->supported()) most = dart_cpu_isa_at(i);
    assert_int_equal(dart_cpu_isa_choose(NULL, &got), DART_OK);
    assert_ptr_equal(got, most);
    assert_int_equal(dart_cpu_isa_choose("", &got), DART_OK);
    assert_ptr_equal(got, most);
}

static void the_device_says_which(void **state)
{
    (void)state;
    for (uint32_t i = 0; dart_cpu_isa_at(i); i++) {
        const dart_cpu_isa *isa = dart_cpu_isa_at(i);
        char text[64];
        dart_device *device;
        setenv("DART_CPU_ISA", isa->name, 1);
        dart_status status = dart_device_open("cpu", NULL, &device);
        if (isa->supported()) {
            assert_int_equal(status, DART_OK);
            snprintf(text, sizeof text, ", %s kernels", isa->name);
            assert_non_null(strstr(device->caps.driver, text));
            dart_device_close(device);
        } else {
            assert_int_equal(status, DART_DEVICE);
            snprintf(text, sizeof text, "lacks what the kernels %s need", isa->name);
            assert_non_null(strstr(dart_error_text(), text));
        }
    }
    unsetenv("DART_CPU_ISA");
}

static void unknown_ones_are_named(void **state)
{
    (void)state;
    dart_device *device;
    setenv("DART_CPU_ISA", "baselin", 1);
    assert_int_equal(dart_device_open("cpu", NULL, &device), DART_USAGE);
    assert_null(device);
    assert_non_null(strstr(dart_error_text(),
        "unknown instruction set in DART_CPU_ISA 'baselin'; known are baseline"));
    assert_non_null(strstr(dart_error_text(), "did you mean 'baseline'?"));
    assert_int_equal(dart_device_open("cpu64", NULL, &device), DART_OK); /* has one set only */
    assert_non_null(strstr(device->caps.driver, ", f64 kernels"));
    dart_device_close(device);
    unsetenv("DART_CPU_ISA");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_whole),
        cmocka_unit_test(the_most_is_taken),
        cmocka_unit_test(the_device_says_which),
        cmocka_unit_test(unknown_ones_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
