/* The Vulkan driver: recorded programs with barriers, splitting, timing, staging, silent validation
 * layers, and a machine without a driver. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "backend.h"
#include "file.h"
#include "geometry.h"
#include "submissions.h"
#include "suite.h"
#include "vulkan/validation.h"
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { N = 5000, LAUNCHES = 200 };

/* Rows of map_ops.def, found by name so that the table may grow. */
enum map_row {
#define MAP(name, ...) MAP_##name,
#include "map_ops.def"
#undef MAP
};

static dart_device *open_or_skip(const dart_limits *limits)
{
    dart_device *device = NULL;
    dart_status status = dart_device_open("vulkan:0", limits, &device);
    if (status != DART_OK) {
        print_message("skipped: %s\n", dart_error_text());
        skip();
    }
    return device;
}

static dart_launch map_launch(const dart_caps *caps, enum map_row op, dart_buffer a, dart_buffer b,
    dart_buffer y, float s, float t)
{
    dart_launch launch = {.kernel = DART_K_map, .wait = true};
    map_params params = {.n = N, .bdiv = 1, .bmod = N, .s = s, .t = t};
    memcpy(launch.param, &params, sizeof params);
    launch.tune[DART_MAP_OP] = op;
    launch.buf[0] = (dart_slice){a, 0, N};
    launch.buf[1] = (dart_slice){b, 0, N};
    launch.buf[2] = (dart_slice){y, 0, N};
    assert_int_equal(dart_launch_geometry(caps, &launch), DART_OK);
    return launch;
}

/* y = 2 x + 1; x = y - x (= x + 1); again and again: one missing barrier shows in the sum. */
static void make_chain(
    dart_device *device, dart_buffer x, dart_buffer y, dart_launch list[LAUNCHES])
{
    for (int i = 0; i < LAUNCHES; i += 2) {
        list[i] = map_launch(&device->caps, MAP_affine, x, x, y, 2, 1);
        list[i + 1] = map_launch(&device->caps, MAP_sub, y, x, x, 0, 0);
    }
}

/* Runs the chain `runs` times on fresh buffers and checks every word; timed in the last run. */
static void check_chain(dart_device *device, int runs, bool timed)
{
    static dart_launch list[LAUNCHES];
    static float data[N];
    static double seconds[LAUNCHES];
    dart_buffer x, y;
    dart_program *program;
    assert_int_equal(dart_device_alloc(device, DART_MEM_DEVICE, N, &x), DART_OK);
    assert_int_equal(dart_device_alloc(device, DART_MEM_DEVICE, N, &y), DART_OK);
    assert_int_equal(dart_device_read_f32(device, y, 0, N, data), DART_OK);
    for (int i = 0; i < N; i++) assert_true(data[i] == 0); /* zeroed */
    for (int i = 0; i < N; i++) data[i] = (float)(i % 1000);
    assert_int_equal(dart_device_write_f32(device, x, 0, N, data), DART_OK);
    make_chain(device, x, y, list);
    assert_int_equal(dart_device_build(device, list, LAUNCHES, &program), DART_OK);
    for (int run = 0; run < runs; run++) {
        bool last = run + 1 == runs;
        memset(seconds, 0, sizeof seconds);
        assert_int_equal(dart_device_run(device, program, timed && last ? seconds : NULL), DART_OK);
    }
    memset(data, 0, sizeof data);
    assert_int_equal(dart_device_read_f32(device, x, 0, N, data), DART_OK);
    for (int i = 0; i < N; i++) assert_true(data[i] == (float)(i % 1000 + runs * LAUNCHES / 2));
    double sum = 0;
    for (int i = 0; i < LAUNCHES; i++) {
        assert_true(seconds[i] >= 0 && seconds[i] < 10);
        sum += seconds[i];
    }
    if (timed) assert_true(sum > 0);
    dart_device_drop(device, program);
    dart_device_free(device, x);
    dart_device_free(device, y);
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
            dart_launch list[] = {map_launch(&device->caps, MAP_affine, x, x, y, 2, 1),
                map_launch(&device->caps, MAP_copy, y, y, x, 0, 0)};
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

static void replays_and_times(void **state)
{
    (void)state;
    dart_device *device = open_or_skip(NULL);
    check_chain(device, 1, false);
    check_chain(device, 2, false);
    uint64_t before = device->submits;
    check_chain(device, 3, true);
    /* zeroing and copies may add their own where memory is not mapped */
    if (device->caps.on_cpu) assert_int_equal(device->submits - before, 3);
    dart_device_close(device);
}

static void submissions_end_in_time(void **state)
{
    (void)state;
    dart_device *device = open_or_skip(dart_limits_find("emu-pi4"));
    check_submissions(device, LAUNCHES, check_chain);
    dart_device_close(device);
}

static void staging_path(void **state)
{
    (void)state;
    setenv("DART_VULKAN_STAGING", "1", 1);
    dart_device *device = open_or_skip(NULL);
    uint64_t before = device->submits;
    check_chain(device, 2, false);
    assert_true(device->submits - before > 2); /* copies were submitted too */
    /* More than one piece of the staging buffer, at an odd offset. */
    enum { WORDS = 2500000, AT = 3 };
    float *data = test_malloc(WORDS * sizeof(float)), *back = test_malloc(WORDS * sizeof(float));
    for (int i = 0; i < WORDS; i++) data[i] = (float)i;
    dart_buffer big;
    assert_int_equal(dart_device_alloc(device, DART_MEM_DEVICE, WORDS + AT, &big), DART_OK);
    assert_int_equal(dart_device_write_f32(device, big, AT, WORDS, data), DART_OK);
    assert_int_equal(dart_device_read_f32(device, big, AT, WORDS, back), DART_OK);
    assert_memory_equal(data, back, WORDS * sizeof(float));
    assert_int_equal(dart_device_read_f32(device, big, 0, AT, back), DART_OK);
    for (int i = 0; i < AT; i++) assert_true(back[i] == 0);
    test_free(data);
    test_free(back);
    dart_device_close(device); /* frees `big` */
    unsetenv("DART_VULKAN_STAGING");
}

/* Memory that is mapped but in no cache of the host: what is read much of is copied first. */
static void uncached_memory_is_read_by_copies(void **state)
{
    (void)state;
    enum { WORDS = 2500000, FEW = 100, AT = 64 };
    setenv("DART_VULKAN_STAGING", "reads", 1);
    dart_device *device = open_or_skip(NULL);
    check_chain(device, 2, false);
    float *data = test_malloc(WORDS * sizeof(float)), *back = test_calloc(WORDS, sizeof(float));
    for (int i = 0; i < WORDS; i++) data[i] = (float)i;
    dart_buffer big;
    assert_int_equal(dart_device_alloc(device, DART_MEM_DEVICE, WORDS + AT, &big), DART_OK);
    uint64_t before = device->submits;
    assert_int_equal(dart_device_write_f32(device, big, AT, WORDS, data), DART_OK);
    assert_int_equal(dart_device_read_f32(device, big, AT, FEW, back), DART_OK);
    assert_int_equal(device->submits, before);
    assert_memory_equal(data, back, FEW * sizeof(float));
    assert_int_equal(dart_device_read_f32(device, big, AT, WORDS, back), DART_OK);
    assert_memory_equal(data, back, WORDS * sizeof(float));
    assert_int_equal(device->submits - before, 3); /* pieces of 4 MiB */
    test_free(data);
    test_free(back);
    dart_device_close(device);
    unsetenv("DART_VULKAN_STAGING");
}

static dart_device *open_validated_or_skip(const dart_limits *limits)
{
    setenv("DART_VULKAN_VALIDATION", "1", 1);
    dart_device *device = open_or_skip(limits);
    if (!dart_vulkan_validation_active()) {
        dart_device_close(device);
        unsetenv("DART_VULKAN_VALIDATION");
        print_message("skipped: VK_LAYER_KHRONOS_validation is not installed\n");
        skip();
    }
    return device;
}

static void validation_is_silent(void **state)
{
    (void)state;
    dart_device *device = open_validated_or_skip(NULL);
    uint64_t before = dart_vulkan_validation_messages();
    check_chain(device, 2, true);
    dart_device_close(device);
    setenv("DART_VULKAN_STAGING", "1", 1);
    device = open_or_skip(dart_limits_find("emu-pi4"));
    check_chain(device, 2, true);
    unsetenv("DART_VULKAN_STAGING");
    assert_int_equal(dart_vulkan_validation_messages(), before);

    /* The layers do look: a list without its barriers is reported. */
    dart_buffer x, y;
    dart_launch list[2];
    dart_program *program;
    assert_int_equal(dart_device_alloc(device, DART_MEM_DEVICE, N, &x), DART_OK);
    assert_int_equal(dart_device_alloc(device, DART_MEM_DEVICE, N, &y), DART_OK);
    list[0] = map_launch(&device->caps, MAP_affine, x, x, y, 2, 1);
    list[1] = map_launch(&device->caps, MAP_copy, y, y, x, 0, 0);
    list[1].wait = false;
    print_message("a hazard on purpose, the next message belongs to it:\n");
    assert_int_equal(dart_device_build(device, list, 2, &program), DART_OK);
    assert_int_equal(dart_device_run(device, program, NULL), DART_OK);
    uint64_t after = dart_vulkan_validation_messages();
    assert_true(after > before);
    dart_device_drop(device, program);
    dart_device_close(device);
    assert_int_equal(dart_vulkan_validation_messages(), after);
    unsetenv("DART_VULKAN_VALIDATION");
}

/* Every kernel under the layers, and with the copies of a discrete GPU. */
static void suite_under_validation(void **state)
{
    (void)state;
    static dart_suite_result result;
    dart_suite_options options = {.seed = 2};
    uint64_t before = dart_vulkan_validation_messages();
    setenv("DART_VULKAN_STAGING", "1", 1);
    dart_device *device = open_validated_or_skip(dart_limits_find("emu-floor"));
    assert_int_equal(dart_suite_run(device, &options, &result), DART_OK);
    dart_device_close(device);
    unsetenv("DART_VULKAN_STAGING");
    unsetenv("DART_VULKAN_VALIDATION");
    print_message("%u cases under the validation layers, %u failed, %llu messages\n",
        result.executed, result.failed,
        (unsigned long long)(dart_vulkan_validation_messages() - before));
    assert_true(result.executed >= 1500);
    assert_int_equal(result.failed, 0);
    assert_int_equal(dart_vulkan_validation_messages(), before);
}

static void run_chain_on_a_fresh_device(void)
{
    dart_device *device = open_or_skip(NULL);
    check_chain(device, 1, false);
    dart_device_close(device);
}

/* A damaged pipeline cache is ignored and replaced; a folder that cannot be written is no error. */
static void cache_on_disk(void **state)
{
    (void)state;
    char folder[] = "/tmp/dart-vulkan-test-XXXXXX", pattern[128];
    const char *old = getenv("XDG_CACHE_HOME");
    char *kept = old ? strdup(old) : NULL;
    assert_non_null(mkdtemp(folder));
    setenv("XDG_CACHE_HOME", folder, 1);
    run_chain_on_a_fresh_device();
    snprintf(pattern, sizeof pattern, "%s/dart-llm/vulkan-*.bin", folder);
    glob_t found;
    assert_int_equal(glob(pattern, 0, NULL, &found), 0);
    assert_int_equal(found.gl_pathc, 1);
    char *first, *second;
    size_t first_size, second_size;
    assert_int_equal(dart_file_read(found.gl_pathv[0], &first, &first_size), DART_OK);
    first[first_size - 1] ^= 1;
    assert_int_equal(dart_file_write_sync(found.gl_pathv[0], first, first_size), DART_OK);
    run_chain_on_a_fresh_device();
    assert_int_equal(dart_file_read(found.gl_pathv[0], &second, &second_size), DART_OK);
    assert_true(second_size != first_size || memcmp(first, second, first_size) != 0);
    free(first);
    free(second);
    globfree(&found);
    assert_int_equal(dart_remove_tree(folder), DART_OK);
    setenv("XDG_CACHE_HOME", "/proc/none", 1);
    run_chain_on_a_fresh_device();
    if (kept)
        setenv("XDG_CACHE_HOME", kept, 1);
    else
        unsetenv("XDG_CACHE_HOME");
    free(kept);
}

static void refuses_what_does_not_fit(void **state)
{
    (void)state;
    dart_device *device = open_or_skip(NULL);
    dart_buffer buffer;
    assert_int_equal(
        dart_device_alloc(device, DART_MEM_DEVICE, (uint64_t)1 << 60, &buffer), DART_MEMORY);
    assert_true(strlen(dart_error_text()) > 20);
    dart_device_close(device);
    assert_int_not_equal(dart_device_open("vulkan:63", NULL, &device), DART_OK);
    assert_int_equal(dart_backend_find("vulkan")->open(63, NULL, &device), DART_FAILED);
}

/* This test's own answer to `argument` with these drivers, in a process of its own, because the
 * loader reads its environment once. */
static void ask_another(const char *drivers, const char *family, const char *argument)
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        setenv("VK_DRIVER_FILES", drivers, 1);
        setenv("VK_ICD_FILENAMES", drivers, 1);
        setenv("RADV_FORCE_FAMILY", family, 1);
        execl("/proc/self/exe", "test_vulkan", argument, (char *)NULL);
        _exit(99);
    }
    int result = 0;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_true(WIFEXITED(result));
    assert_int_equal(WEXITSTATUS(result), 0);
}

static void without_a_driver(void **state)
{
    (void)state;
    ask_another("/nonexistent/driver.json", "", "--without-driver");
}

/* AMD's compiler without an AMD device: opened far enough to say so, and left in one piece. */
static void driver_that_only_compiles(void **state)
{
    (void)state;
    static const char radv[] = "/usr/share/vulkan/icd.d/radeon_icd.x86_64.json";
    if (!dart_file_exists(radv)) {
        print_message("skipped: no %s\n", radv);
        skip();
    }
    ask_another(radv, "navi21", "--compiles-only");
}

static int open_compiler(void)
{
    dart_device *device;
    dart_status status = dart_device_open("vulkan:0", NULL, &device);
    printf("a compiler: %s\n", dart_error_text());
    fflush(NULL);
    /* at once: what its driver holds cannot be given back, and leak checkers would tell */
    _exit(status == DART_DEVICE && strstr(dart_error_text(), "compiles only") ? 0 : 1);
}

static int open_without_driver(void)
{
    dart_device *device;
    dart_status status = dart_device_open("vulkan:0", NULL, &device);
    printf("without a driver: %s\n", dart_error_text());
    if (status != DART_DEVICE || !strstr(dart_error_text(), "driver")) return 1;
    return dart_backend_find("vulkan")->open(1, NULL, &device) == DART_FAILED ? 0 : 2;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--without-driver") == 0) return open_without_driver();
    if (argc > 1 && strcmp(argv[1], "--compiles-only") == 0) return open_compiler();
    if (!dart_backend_find("vulkan")) {
        printf("skipped: this build has no Vulkan backend\n");
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replays_and_times),
        cmocka_unit_test(words_of_the_host_are_worked_in),
        cmocka_unit_test(submissions_end_in_time),
        cmocka_unit_test(staging_path),
        cmocka_unit_test(uncached_memory_is_read_by_copies),
        cmocka_unit_test(validation_is_silent),
        cmocka_unit_test(suite_under_validation),
        cmocka_unit_test(cache_on_disk),
        cmocka_unit_test(refuses_what_does_not_fit),
        cmocka_unit_test(without_a_driver),
        cmocka_unit_test(driver_that_only_compiles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
