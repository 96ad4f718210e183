/* The roofs of devices: figures that a device has, none of one that computes nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "peak.h"
#include <math.h>
#include <stdio.h>

static void test_peaks(void **state)
{
    (void)state;
    static const char *const ids[] = {"cpu", "opencl:0", "vulkan:0"};
    unsigned measured = 0;
    for (int i = 0; i < 3; i++) {
        dart_device *device;
        dart_peak p;
        if (dart_device_open(ids[i], NULL, &device) != DART_OK) continue;
        const uint64_t before = device->bytes_allocated;
        assert_int_equal(dart_peak_measure(device, &p), DART_OK);
        printf("%s: %.1f GFLOP/s, %.1f GB/s, launch %.2f us, submit %.1f us\n", ids[i],
            1e-9 * p.flops, 1e-9 * p.bytes, 1e6 * p.launch_s, 1e6 * p.submit_s);
        /* wide bounds: from a slow board to anything that there is */
        assert_true(p.flops > 1e7 && p.flops < 1e15);
        assert_true(p.bytes > 1e6 && p.bytes < 1e14);
        assert_true(p.launch_s > 0 && p.launch_s < 0.1 && p.submit_s > 0 && p.submit_s < 1);
        assert_int_equal(device->bytes_allocated, before);
        dart_device_close(device);
        measured++;
    }
    assert_true(measured >= 1);
}

/* Loops that a device ends are short enough: the work that is counted is done. */
static void test_work(void **state)
{
    (void)state;
    dart_device *device;
    dart_probe probe;
    assert_int_equal(dart_device_open("cpu", NULL, &device), DART_OK);
    assert_int_equal(dart_probe_new(device, DART_PROBE_FMA, &probe), DART_OK);
    float y[8];
    double seconds;
    assert_int_equal(dart_probe_run(&probe, &seconds), DART_OK);
    assert_int_equal(dart_device_read_f32(device, probe.buffer[1], 0, 8, y), DART_OK);
    for (int i = 0; i < 8; i++) assert_true(fabs(y[i] - 8 * 0.5) < 1e-5); /* x = x / 2 + 1 / 4 */
    assert_true(seconds > 0 && probe.work > 0);
    dart_probe_free(&probe);
    dart_device_close(device);
}

static void test_none(void **state)
{
    (void)state;
    dart_device *device;
    dart_peak p;
    assert_int_equal(dart_device_open("null", NULL, &device), DART_OK);
    assert_int_equal(dart_peak_measure(device, &p), DART_OK);
    assert_true(isnan(p.flops) && isnan(p.bytes) && isnan(p.launch_s) && isnan(p.submit_s));
    assert_true(isnan(dart_peak_seconds(&p, 1, 1)));
    dart_device_close(device);
    p = (dart_peak){.flops = 100, .bytes = 10};
    assert_true(dart_peak_seconds(&p, 50, 1) == 0.5 && dart_peak_seconds(&p, 50, 20) == 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_peaks),
        cmocka_unit_test(test_work),
        cmocka_unit_test(test_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
