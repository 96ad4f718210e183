/* The checked calls of backend.c refuse what is wrong, with a sentence that says what; limit
 * profiles hold; threads of the host share work without loss. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include "backend.h"
#include "threads.h"

enum { WORDS = 4096 };

typedef struct fixture {
    dart_device *device;
    dart_buffer a, b;
} fixture;

static fixture open_fixture(const char *id, const char *limits)
{
    fixture f;
    const dart_limits *profile = limits ? dart_limits_find(limits) : NULL;
    assert_true(!limits || profile);
    assert_int_equal(dart_device_open(id, profile, &f.device), DART_OK);
    assert_int_equal(dart_device_alloc(f.device, DART_MEM_DEVICE, WORDS, &f.a), DART_OK);
    assert_int_equal(dart_device_alloc(f.device, DART_MEM_HOST, WORDS, &f.b), DART_OK);
    return f;
}

/* y = a + a over 64 words; right in every field. */
static dart_launch right_launch(const fixture *f)
{
    const dart_kernel_info *info = dart_kernel_info_of(DART_K_map);
    dart_launch launch = {.kernel = DART_K_map,
        .buffers = info->buffers,
        .tunes = info->tunes,
        .param_bytes = info->param_bytes,
        .groups = {1, 1, 1}};
    memcpy(launch.tune, info->tune_default, sizeof launch.tune);
    launch.tune[DART_MAP_OP] = 3; /* add */
    map_params p = {.n = 64, .bdiv = 1, .bmod = 64};
    memcpy(launch.param, &p, sizeof p);
    launch.buf[0] = launch.buf[1] = (dart_slice){f->a, 0, 64};
    launch.buf[2] = (dart_slice){f->b, 128, 64};
    return launch;
}

/* The launch stands second in its list, and the sentence must say so, name the kernel and hold
 * `words`. */
static void refuse(const fixture *f, dart_launch wrong, const char *words)
{
    dart_launch list[2] = {right_launch(f), wrong};
    dart_program *program;
    assert_int_equal(dart_device_build(f->device, list, 2, &program), DART_FAILED);
    assert_null(program);
    const char *text = dart_error_text();
    if (!strstr(text, "launch 1") || !strstr(text, words)) fail_msg("the sentence is: %s", text);
    if ((unsigned)wrong.kernel < DART_KERNELS)
        assert_non_null(strstr(text, dart_kernel_info_of(wrong.kernel)->name));
}

#define REFUSE(words, change)                                                                      \
    do {                                                                                           \
        dart_launch l = right_launch(&f);                                                          \
        change;                                                                                    \
        refuse(&f, l, words);                                                                      \
    } while (0)

static void wrong_launches_are_refused(void **state)
{
    (void)state;
    fixture f = open_fixture("null", "emu-floor");
    dart_launch right = right_launch(&f);
    dart_program *program;
    assert_int_equal(dart_device_build(f.device, &right, 1, &program), DART_OK);
    assert_int_equal(dart_device_run(f.device, program, NULL), DART_OK);
    dart_device_drop(f.device, program);
    assert_int_equal(dart_device_build(f.device, &right, 0, &program), DART_FAILED);

    REFUSE("does not exist", l.kernel = DART_KERNELS);
    REFUSE("buffers", l.buffers = 2);
    REFUSE("parameters", l.param_bytes += 4);
    REFUSE("tune", l.tunes--);
    REFUSE("groups[1] is 0", l.groups[1] = 0);
    REFUSE("groups[0] is 65536", l.groups[0] = 65536);
    REFUSE("256 invocations", l.tune[0] = 256);
    REFUSE("0 invocations", l.tune[1] = 0);
    REFUSE("0 words", l.buf[2].words = 0);
    REFUSE("not allocated", l.buf[0].buffer = 0);
    REFUSE("not allocated", l.buf[0].buffer = 77);
    REFUSE("past the end", l.buf[0].offset = WORDS);
    REFUSE("past the end", l.buf[0].words = UINT64_MAX);
    REFUSE("multiple of 256", l.buf[2].offset = 100);
    REFUSE("reach 65 words", l.param[0] = 65);
    REFUSE("b: its parameters", (l.tune[DART_MAP_BC] = 2, l.param[2] = 65)); /* bmod */
    REFUSE("overlap", l.buf[2] = ((dart_slice){f.a, 0, 128}));
    REFUSE("overlap", (l.buf[0].words = 256, l.buf[2] = (dart_slice){f.a, 128, 64}));

    dart_launch in_place = right;
    in_place.buf[2] = in_place.buf[0];
    assert_int_equal(dart_device_build(f.device, &in_place, 1, &program), DART_OK);
    dart_device_drop(f.device, program);

    dart_device_free(f.device, f.b);
    assert_int_equal(dart_device_build(f.device, &right, 1, &program), DART_FAILED);
    assert_non_null(strstr(dart_error_text(), "not allocated"));
    dart_device_close(f.device);
}

static void a_binding_beyond_the_limit_is_refused(void **state)
{
    (void)state;
    dart_device *device;
    dart_buffer big;
    assert_int_equal(dart_device_open("null", dart_limits_find("emu-floor"), &device), DART_OK);
    assert_int_equal(dart_device_alloc(device, DART_MEM_DEVICE, 1u << 26, &big), DART_OK);
    fixture f = {device, big, big};
    dart_launch launch = right_launch(&f);
    launch.buf[0] = launch.buf[1] = launch.buf[2] = (dart_slice){big, 0, (1u << 25) + 1};
    dart_program *program;
    assert_int_equal(dart_device_build(device, &launch, 1, &program), DART_FAILED);
    assert_non_null(strstr(dart_error_text(), "binds at most 134217728"));
    for (int b = 0; b < 3; b++) launch.buf[b].words--;
    assert_int_equal(dart_device_build(device, &launch, 1, &program), DART_OK);
    dart_device_drop(device, program);
    dart_device_close(device);
}

static void work_group_memory_beyond_the_limit_is_refused(void **state)
{
    (void)state;
    const dart_limits small = {.name = "small", .max_shared = 255};
    dart_device *device;
    dart_buffer buffer;
    assert_int_equal(dart_device_open("null", &small, &device), DART_OK);
    assert_int_equal(dart_device_alloc(device, DART_MEM_DEVICE, WORDS, &buffer), DART_OK);
    const dart_kernel_info *info = dart_kernel_info_of(DART_K_softmax);
    dart_launch launch = {.kernel = DART_K_softmax,
        .buffers = info->buffers,
        .tunes = info->tunes,
        .param_bytes = info->param_bytes,
        .groups = {1, 1, 1},
        .buf = {{buffer, 0, 64}, {buffer, 64, 64}}};
    memcpy(launch.tune, info->tune_default, sizeof launch.tune); /* 64 floats */
    dart_program *program;
    assert_int_equal(dart_device_build(device, &launch, 1, &program), DART_FAILED);
    assert_non_null(strstr(dart_error_text(), "256 bytes of work-group memory"));
    launch.tune[0] = 63;
    assert_int_equal(dart_device_build(device, &launch, 1, &program), DART_OK);
    dart_device_drop(device, program);
    dart_device_close(device);
}

static void wrong_copies_are_refused(void **state)
{
    (void)state;
    fixture f = open_fixture("cpu", NULL);
    float data[4] = {1, 2, 3, 4}, back[4];
    assert_int_equal(dart_device_write_f32(f.device, f.a, WORDS - 4, 4, data), DART_OK);
    assert_int_equal(dart_device_write_f32(f.device, f.a, WORDS - 3, 4, data), DART_FAILED);
    assert_non_null(strstr(dart_error_text(), "past its end at 4096"));
    assert_int_equal(dart_device_write_f32(f.device, f.a, UINT64_MAX, 4, data), DART_FAILED);
    assert_int_equal(dart_device_read_f32(f.device, f.a, WORDS - 4, 4, back), DART_OK);
    assert_memory_equal(data, back, sizeof data);
    assert_int_equal(dart_device_read_f32(f.device, f.a + 100, 0, 4, back), DART_FAILED);
    dart_device_free(f.device, f.a);
    assert_int_equal(dart_device_read_f32(f.device, f.a, 0, 4, back), DART_FAILED);
    assert_non_null(strstr(dart_error_text(), "no such buffer"));
    dart_device_close(f.device);
}

static void copies_convert_to_the_word_of_the_device(void **state)
{
    (void)state;
    enum { N = 1500 }; /* more than one piece of the conversion */
    static float single[N], single_back[N];
    static double wide[N], double_back[N];
    static int32_t whole[N];
    static int64_t whole_back[N];
    for (int i = 0; i < N; i++) {
        single[i] = 0.1f * (float)i;
        wide[i] = 0.1 * i;
        whole[i] = i - 700;
    }
    fixture f = open_fixture("cpu64", NULL);
    assert_int_equal(f.device->caps.word, 8);
    assert_int_equal(dart_device_write_f32(f.device, f.a, 3, N, single), DART_OK);
    assert_int_equal(dart_device_read_f32(f.device, f.a, 3, N, single_back), DART_OK);
    assert_memory_equal(single, single_back, sizeof single);
    assert_int_equal(dart_device_write_f64(f.device, f.a, 0, N, wide), DART_OK);
    assert_int_equal(dart_device_read_f64(f.device, f.a, 0, N, double_back), DART_OK);
    assert_memory_equal(wide, double_back, sizeof wide);
    assert_int_equal(dart_device_write_i32(f.device, f.a, 0, N, whole), DART_OK);
    assert_int_equal(dart_device_read(f.device, f.a, 0, N, whole_back), DART_OK);
    for (int i = 0; i < N; i++) assert_int_equal(whole_back[i], whole[i]);
    dart_device_close(f.device);
    f = open_fixture("cpu", NULL);
    assert_int_equal(dart_device_write_f64(f.device, f.a, 0, N, wide), DART_OK);
    assert_int_equal(dart_device_read_f64(f.device, f.a, 0, N, double_back), DART_OK);
    for (int i = 0; i < N; i++) assert_true(double_back[i] == (double)(float)wide[i]);
    dart_device_close(f.device);
}

static void memory_is_counted_and_limited(void **state)
{
    (void)state;
    dart_device *device;
    dart_buffer first, second;
    assert_int_equal(dart_device_open("null", dart_limits_find("emu-pi4"), &device), DART_OK);
    const uint64_t most = UINT64_C(1) << 28; /* words in 1 GiB */
    assert_int_equal(dart_device_alloc(device, DART_MEM_DEVICE, most - 100, &first), DART_OK);
    assert_int_equal(device->bytes_allocated, (most - 100) * 4);
    assert_int_equal(dart_device_alloc(device, DART_MEM_DEVICE, 101, &second), DART_MEMORY);
    assert_non_null(strstr(dart_error_text(), "1024.0 MiB"));
    assert_int_equal(dart_device_alloc(device, DART_MEM_DEVICE, 100, &second), DART_OK);
    dart_device_free(device, first);
    assert_int_equal(device->bytes_allocated, 400);
    assert_int_equal(device->bytes_peak, most * 4);
    assert_int_equal(dart_device_alloc(device, DART_MEM_DEVICE, 0, &first), DART_FAILED);
    assert_int_equal(dart_device_alloc(device, DART_MEM_DEVICE, UINT64_MAX, &first), DART_MEMORY);
    dart_device_close(device);
}

static void ids_name_devices(void **state)
{
    (void)state;
    static const char *const wrong[] = {"gpu", "", "cpu:1", "vulkan:", "vulkan:99", "vulkan:63",
        "opencl:-1", "opencl:0x0", "cpu64:0:0", "a-very-long-name-that-is-no-device-at-all:0"};
    dart_device *device;
    char id[32];
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        dart_status status = dart_device_open(wrong[i], NULL, &device);
        assert_null(device);
        /* A machine without a driver says so instead. */
        if (status != DART_DEVICE) assert_int_equal(status, DART_USAGE);
        if (status == DART_USAGE) assert_non_null(strstr(dart_error_text(), "cpu, null, cpu64"));
    }
    static const char *const names[] = {"cpu", "null", "cpu64", "cpu:0"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(dart_device_open(names[i], NULL, &device), DART_OK);
        size_t length = strcspn(names[i], ":");
        assert_memory_equal(dart_device_id(device, id), names[i], length);
        assert_int_equal(id[length], 0);
        dart_device_close(device);
    }
    assert_int_equal(dart_device_open("auto", NULL, &device), DART_OK);
    if (device->caps.on_cpu) assert_string_equal(device->backend->name, "cpu");
    dart_device_close(device);
    dart_device_close(NULL);
}

static void profiles_cap_every_field(void **state)
{
    (void)state;
    static const char *const names[] = {
        "emu-floor", "emu-pi4", "emu-pi5", "emu-mali", "emu-adreno", "emu-intel"};
    for (uint32_t i = 0; i < 6; i++) {
        const dart_limits *l = dart_limits_find(names[i]);
        assert_non_null(l);
        assert_ptr_equal(l, dart_limits_at(i));
        dart_caps caps = {.memory = UINT64_MAX,
            .max_binding = UINT64_MAX,
            .max_groups = {UINT32_MAX, 5, UINT32_MAX},
            .max_invocations = 4096,
            .max_shared = 1 << 20,
            .max_buffers = 100,
            .max_params = 4096,
            .offset_align = 4,
            .subgroup = 32,
            .storage16 = true,
            .arith16 = true,
            .matrix = {{16, 16, 16}, {8, 16, 16}}};
        dart_caps_limit(&caps, l);
        assert_int_equal(caps.max_invocations, l->max_invocations);
        assert_int_equal(caps.max_shared, l->max_shared);
        assert_int_equal(caps.max_buffers, l->max_buffers);
        assert_int_equal(caps.max_binding, l->max_binding);
        assert_int_equal(caps.max_params, 128);
        assert_int_equal(caps.offset_align, l->offset_align);
        assert_int_equal(caps.max_groups[0], 65535);
        assert_int_equal(caps.max_groups[1], 5);
        assert_int_equal(caps.subgroup, l->no_subgroup ? 0 : 32);
        assert_int_equal(caps.arith16, !l->no_arith16);
        assert_int_equal(caps.matrix[0].m, l->matrix ? 16 : 0);
        assert_int_equal(caps.matrix[1].m, l->matrix ? 8 : 0);
        assert_true(caps.memory == (l->memory ? l->memory : UINT64_MAX));
    }
    assert_null(dart_limits_at(7));
    assert_null(dart_limits_find("emu-none"));
    const dart_limits *got = dart_limits_at(0);
    assert_int_equal(dart_limits_get(NULL, &got), DART_OK);
    assert_null(got);
    assert_int_equal(dart_limits_get("", &got), DART_OK);
    assert_null(got);
    assert_int_equal(dart_limits_get("emu-pi4", &got), DART_OK);
    assert_ptr_equal(got, dart_limits_find("emu-pi4"));
    assert_int_equal(dart_limits_get("emu-pi", &got), DART_USAGE);
    assert_null(got);
    assert_string_equal(dart_error_text(),
        "unknown limit profile 'emu-pi'; known are emu-floor, emu-pi4, emu-pi5, emu-mali, "
        "emu-adreno, emu-intel, emu-matrix; did you mean 'emu-pi4'?");
    dart_caps unknown = {0}; /* no limit known: the profile's holds */
    dart_caps_limit(&unknown, dart_limits_find("emu-floor"));
    assert_int_equal(unknown.max_invocations, 128);
}

enum { ITEMS = 1000 };

static void visit(void *context, uint32_t i)
{
    atomic_uint *visits = context;
    visits[i]++;
}

static void every_item_is_worked_on_once(void **state)
{
    (void)state;
    static const char *const threads[] = {"1", "3", "99"};
    static const uint32_t counts[] = {0, 1, 2, ITEMS};
    static atomic_uint visits[ITEMS];
    for (size_t t = 0; t < 3; t++) {
        setenv("DART_THREADS", threads[t], 1);
        assert_int_equal(dart_host_threads(), atoi(threads[t]));
        for (size_t c = 0; c < 4; c++) {
            memset(visits, 0, sizeof visits);
            dart_for_each(counts[c], visit, visits);
            for (uint32_t i = 0; i < ITEMS; i++) assert_int_equal(visits[i], i < counts[c]);
        }
    }
    unsetenv("DART_THREADS");
    assert_true(dart_host_threads() >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_launches_are_refused),
        cmocka_unit_test(a_binding_beyond_the_limit_is_refused),
        cmocka_unit_test(work_group_memory_beyond_the_limit_is_refused),
        cmocka_unit_test(wrong_copies_are_refused),
        cmocka_unit_test(copies_convert_to_the_word_of_the_device),
        cmocka_unit_test(memory_is_counted_and_limited),
        cmocka_unit_test(ids_name_devices),
        cmocka_unit_test(profiles_cap_every_field),
        cmocka_unit_test(every_item_is_worked_on_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
