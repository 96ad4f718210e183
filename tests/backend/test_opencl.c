/* The OpenCL driver: recorded programs, timing, the cache of compiled kernels (also damaged), and a
 * machine without a driver. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "backend.h"
#include "file.h"
#include "geometry.h"
#include "submissions.h"
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { N = 5000, LAUNCHES = 200 };

enum map_row {
#define MAP(name, ...) MAP_##name,
#include "map_ops.def"
#undef MAP
};

static char cache[] = "/tmp/dart-opencl-XXXXXX";

static dart_device *open_or_skip(const dart_limits *limits)
{
    dart_device *device = NULL;
    dart_status status = dart_device_open("opencl:0", limits, &device);
    if (status == DART_DEVICE || status == DART_USAGE) {
        print_message("skipped: %s\n", dart_error_text());
        skip();
    }
    assert_int_equal(status, DART_OK);
    return device;
}

static dart_launch map_launch(
    const dart_caps *caps, enum map_row op, dart_buffer a, dart_buffer b, dart_buffer y)
{
    dart_launch launch = {.kernel = DART_K_map, .wait = true};
    map_params params = {.n = N, .bdiv = 1, .bmod = N, .s = 2, .t = 1};
    memcpy(launch.param, &params, sizeof params);
    launch.tune[DART_MAP_OP] = op;
    launch.buf[0] = (dart_slice){a, 0, N};
    launch.buf[1] = (dart_slice){b, 0, N};
    launch.buf[2] = (dart_slice){y, 0, N};
    assert_int_equal(dart_launch_geometry(caps, &launch), DART_OK);
    return launch;
}

/* y = 2 x + 1; x = y - x (= x + 1); again and again: a launch out of order shows in the sum. */
static void check_chain(dart_device *device, int runs, bool timed)
{
    static dart_launch list[LAUNCHES];
    static float data[N];
    static double seconds[LAUNCHES];
    dart_buffer x, y;
    dart_program *program;
    assert_int_equal(dart_device_alloc(device, DART_MEM_DEVICE, N, &x), DART_OK);
    assert_int_equal(dart_device_alloc(device, DART_MEM_HOST, N, &y), DART_OK);
    assert_int_equal(dart_device_read_f32(device, y, 0, N, data), DART_OK);
    for (int i = 0; i < N; i++) assert_true(data[i] == 0); /* zeroed */
    for (int i = 0; i < N; i++) data[i] = (float)(i % 1000);
    assert_int_equal(dart_device_write_f32(device, x, 0, N, data), DART_OK);
    for (int i = 0; i < LAUNCHES; i += 2) {
        list[i] = map_launch(&device->caps, MAP_affine, x, x, y);
        list[i + 1] = map_launch(&device->caps, MAP_sub, y, x, x);
    }
    assert_int_equal(dart_device_build(device, list, LAUNCHES, &program), DART_OK);
    uint64_t submits = device->submits;
    for (int run = 0; run < runs; run++)
        assert_int_equal(
            dart_device_run(device, program, timed && run == runs - 1 ? seconds : NULL), DART_OK);
    if (device->caps.submit_s <= 0) assert_int_equal(device->submits - submits, runs);
    assert_int_equal(dart_device_read_f32(device, x, 0, N, data), DART_OK);
    for (int i = 0; i < N; i++) assert_true(data[i] == (float)(i % 1000 + runs * LAUNCHES / 2));
    double total = 0;
    for (int i = 0; timed && i < LAUNCHES; i++) {
        assert_true(seconds[i] >= 0 && seconds[i] < 10);
        total += seconds[i];
    }
    assert_true(!timed || total > 0);
    dart_device_drop(device, program);
    dart_device_free(device, x);
    dart_device_free(device, y);
}

static void launches_run_in_order(void **state)
{
    (void)state;
    dart_device *device = open_or_skip(NULL);
    check_chain(device, 5, false);
    check_chain(device, 3, true);
    dart_device_close(device);
    device = open_or_skip(dart_limits_find("emu-floor"));
    assert_true(device->caps.max_invocations <= 128 && device->caps.simd == 0);
    check_chain(device, 2, false);
    dart_device_close(device);
}

static void submissions_end_in_time(void **state)
{
    (void)state;
    dart_device *device = open_or_skip(dart_limits_find("emu-pi4"));
    check_submissions(device, LAUNCHES, check_chain);
    dart_device_close(device);
}

/* A device that is the host's processor works in an array of the host, whatever a profile makes of
 * it: what a launch writes is there, no buffer of its own is made, and the array outlives it. */
static void words_of_the_host_are_worked_in(void **state)
{
    (void)state;
    static _Alignas(64) float words[N + 64];
    static float back[N];
    for (int p = 0; p < 2; p++) {
        dart_device *device = open_or_skip(p ? dart_limits_find("emu-pi4") : NULL);
        for (int at = 0; at < 65; at += 64) { /* the second begins inside a page */
            dart_buffer x, y;
            dart_program *program;
            float *data = words + at;
            for (int i = 0; i < N; i++) data[i] = (float)i;
            assert_int_equal(dart_device_share(device, N, data, &x), DART_OK);
            assert_int_equal(dart_device_write_f32(device, x, 0, N, data), DART_OK);
            assert_int_equal(dart_device_alloc(device, DART_MEM_DEVICE, N, &y), DART_OK);
            dart_launch list[] = {map_launch(&device->caps, MAP_affine, x, x, y),
                map_launch(&device->caps, MAP_copy, y, y, x)};
            assert_int_equal(dart_device_build(device, list, 2, &program), DART_OK);
            assert_int_equal(dart_device_run(device, program, NULL), DART_OK);
            assert_int_equal(dart_device_read_f32(device, x, 0, N, back), DART_OK);
            for (int i = 0; i < N; i++) assert_true(back[i] == (float)(2 * i + 1));
            assert_memory_equal(back, data, sizeof back);
            dart_device_drop(device, program);
            dart_device_free(device, x);
            dart_device_free(device, y);
            assert_memory_equal(back, data, sizeof back);
        }
        dart_device_close(device);
    }
}

/* Of a driver that keeps no binaries itself: PoCL does, and works with ours as long as no other
 * process compiles the same. */
static dart_device *open_with_our_cache(void)
{
    dart_device *device = open_or_skip(NULL);
    device->caps.keeps_binaries = false;
    return device;
}

static void cached(glob_t *out)
{
    char pattern[128];
    snprintf(pattern, sizeof pattern, "%s/dart-llm/opencl/*.bin", cache);
    if (glob(pattern, 0, NULL, out) != 0) out->gl_pathc = 0;
}

static void binaries_of_pocl_are_left_to_it(void **state)
{
    (void)state;
    glob_t found;
    dart_device *device = open_or_skip(NULL);
    const bool pocl = strstr(device->caps.driver, "Portable Computing Language");
    check_chain(device, 1, false);
    dart_device_close(device);
    cached(&found);
    assert_int_equal(found.gl_pathc != 0, !pocl);
    if (found.gl_pathc) globfree(&found);
}

/* Every cached kernel gets one byte changed, then is cut: both times it is compiled afresh. */
static void a_damaged_cache_is_noticed(void **state)
{
    (void)state;
    dart_device *device = open_with_our_cache();
    check_chain(device, 1, false);
    dart_device_close(device);
    for (int damage = 0; damage < 2; damage++) {
        glob_t found;
        cached(&found);
        assert_int_not_equal(found.gl_pathc, 0);
        for (size_t i = 0; i < found.gl_pathc; i++) {
            char *data;
            size_t size;
            assert_int_equal(dart_file_read(found.gl_pathv[i], &data, &size), DART_OK);
            assert_true(size > 100);
            data[size / 2] = (char)(data[size / 2] ^ 64);
            assert_int_equal(
                dart_file_write_atomic(found.gl_pathv[i], data, damage ? size / 2 : size), DART_OK);
            free(data);
        }
        globfree(&found);
        device = open_with_our_cache();
        check_chain(device, 1, false);
        dart_device_close(device);
    }
}

static void too_much_memory_is_refused(void **state)
{
    (void)state;
    dart_device *device = open_or_skip(NULL);
    dart_buffer buffer;
    assert_int_equal(
        dart_device_alloc(device, DART_MEM_DEVICE, UINT64_MAX / 8, &buffer), DART_MEMORY);
    assert_true(strlen(dart_error_text()) > 20);
    dart_device_close(device);
}

/* In a child, since the loader reads its folder of drivers once. */
static void a_machine_without_a_driver_says_so(void **state)
{
    (void)state;
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        execl("/proc/self/exe", "test_opencl", "no-driver", (char *)NULL);
        _exit(99);
    }
    int result;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFEXITED(result));
    assert_int_equal(WEXITSTATUS(result), 0);
}

static int without_driver(void)
{
    setenv("OCL_ICD_VENDORS", "/nonexistent", 1);
    dart_device *device = NULL;
    dart_status status = dart_device_open("opencl:0", NULL, &device);
    return status == DART_DEVICE && strstr(dart_error_text(), "OpenCL") ? 0 : 1;
}

int main(int count, char **argument)
{
    if (count > 1 && strcmp(argument[1], "no-driver") == 0) return without_driver();
    if (!mkdtemp(cache)) return 1;
    setenv("XDG_CACHE_HOME", cache, 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(launches_run_in_order),
        cmocka_unit_test(submissions_end_in_time),
        cmocka_unit_test(words_of_the_host_are_worked_in),
        cmocka_unit_test(binaries_of_pocl_are_left_to_it),
        cmocka_unit_test(a_damaged_cache_is_noticed),
        cmocka_unit_test(too_much_memory_is_refused),
        cmocka_unit_test(a_machine_without_a_driver_says_so),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (dart_remove_tree(cache) != DART_OK) failed++;
    return failed;
}
