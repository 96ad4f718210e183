/* Submissions in flight: their order, their failures, what waits for them; and on real devices the
 * same bits as one after the other, whatever is written meanwhile. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include "geometry.h"
#include "spy.h"
#include "vulkan/validation.h"
#include <stdio.h>
#include <stdlib.h>

enum { N = 3000, ROUNDS = 40 };

#define OK(call) assert_int_equal((call), DART_OK)

enum map_row {
#define MAP(name, ...) MAP_##name,
#include "map_ops.def"
#undef MAP
};

static dart_launch map_launch(
    const dart_device *device, enum map_row op, dart_buffer a, dart_buffer b, dart_buffer y)
{
    dart_launch launch = {.kernel = DART_K_map, .wait = true};
    map_params params = {.n = N, .bdiv = 1, .bmod = N, .s = 2, .t = 1};
    memcpy(launch.param, &params, sizeof params);
    launch.tune[DART_MAP_OP] = op;
    launch.buf[0] = (dart_slice){a, 0, N};
    launch.buf[1] = (dart_slice){b, 0, N};
    launch.buf[2] = (dart_slice){y, 0, N};
    OK(dart_launch_geometry(&device->caps, &launch));
    return launch;
}

/* sum += in, and its double beside it: what a step does to parameters, inputs and metrics. */
typedef struct work {
    dart_device *device;
    dart_buffer in, sum, twice;
    dart_program *program;
} work;

static void open_work(dart_device *device, work *w)
{
    w->device = device;
    OK(dart_device_alloc(device, DART_MEM_HOST, N, &w->in));
    OK(dart_device_alloc(device, DART_MEM_DEVICE, N, &w->sum));
    OK(dart_device_alloc(device, DART_MEM_HOST, N, &w->twice));
    const dart_launch list[] = {map_launch(device, MAP_add, w->sum, w->in, w->sum),
        map_launch(device, MAP_affine, w->sum, w->sum, w->twice)};
    OK(dart_device_build(device, list, 2, &w->program));
}

static void close_work(work *w)
{
    dart_device_drop(w->device, w->program);
    dart_device_free(w->device, w->in);
    dart_device_free(w->device, w->sum);
    dart_device_free(w->device, w->twice);
}

static work spied_work(void)
{
    dart_device *device;
    work w;
    OK(dart_device_open("null", NULL, &device));
    open_work(device, &w);
    spy_on(device);
    return w;
}

/* What a step waits for is what is said, and nothing else. */
static void test_order(void **state)
{
    (void)state;
    work w = spied_work();
    float word = 1, got[3] = {0};
    uint64_t ticket[3];
    const dart_fetch fetch[] = {
        {w.twice, 5, 1, &got[0]}, {w.twice, 0, 1, &got[1]}, {w.twice, N - 1, 1, &got[2]}};
    OK(dart_device_write_f32(w.device, w.in, 0, 1, &word));
    OK(dart_device_submit(w.device, w.program, &fetch[0], 1, &ticket[0]));
    OK(dart_device_write_f32(w.device, w.in, 0, 1, &word)); /* the first is at work */
    OK(dart_device_submit(w.device, w.program, &fetch[1], 1, &ticket[1]));
    spy_saw("wsws");
    OK(dart_device_wait(w.device, ticket[0]));
    spy_saw("l");
    assert_true(got[0] == 1 && got[1] == 0);
    OK(dart_device_wait(w.device, ticket[0])); /* over: nobody is asked */
    spy_saw("");
    OK(dart_device_submit(w.device, w.program, &fetch[2], 1, &ticket[2]));
    OK(dart_device_write_f32(w.device, w.in, 0, 1, &word)); /* two are at work */
    spy_saw("slw");
    assert_true(got[1] == 2 && got[2] == 0);
    OK(dart_device_wait(w.device, ticket[2]));
    spy_saw("l");
    assert_true(got[2] == 3);
    for (int i = 0; i < 3; i++) OK(dart_device_submit(w.device, w.program, NULL, 0, &ticket[i]));
    spy_saw("ssls");
    OK(dart_device_read_f32(w.device, w.sum, 0, 1, &word));
    spy_saw("llr");
    OK(dart_device_submit(w.device, w.program, NULL, 0, &ticket[0]));
    OK(dart_device_run(w.device, w.program, NULL));
    spy_saw("ssll");
    double seconds[2];
    OK(dart_device_submit(w.device, w.program, NULL, 0, &ticket[0]));
    OK(dart_device_run(w.device, w.program, seconds));
    spy_saw("sl");
    OK(dart_device_submit(w.device, w.program, NULL, 0, &ticket[0]));
    dart_device_free(w.device, w.sum);
    spy_saw("slf");
    OK(dart_device_submit(w.device, w.program, NULL, 0, &ticket[0]));
    dart_device_drop(w.device, w.program);
    spy_saw("sld");
    dart_device_close(w.device);
}

static void test_refused(void **state)
{
    (void)state;
    work w = spied_work();
    float word[N];
    uint64_t ticket;
    dart_fetch fetch[DART_FETCHES + 1];
    for (int i = 0; i <= DART_FETCHES; i++) fetch[i] = (dart_fetch){w.sum, 0, 1, word};
    const struct {
        const char *says;
        dart_fetch fetch;
    } wrong[] = {{"past its end", {w.sum, N, 1, word}}, {"0 words", {w.sum, 0, 0, word}},
        {"no such buffer", {w.sum + 9, 0, 1, word}}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(
            dart_device_submit(w.device, w.program, &wrong[i].fetch, 1, &ticket), DART_FAILED);
        assert_int_equal(ticket, 0);
        assert_non_null(strstr(dart_error_text(), wrong[i].says));
    }
    assert_int_equal(
        dart_device_submit(w.device, w.program, fetch, DART_FETCHES + 1, &ticket), DART_FAILED);
    assert_int_equal(dart_device_submit(w.device, NULL, NULL, 0, &ticket), DART_FAILED);
    assert_int_equal(dart_device_wait(w.device, 0), DART_FAILED);
    assert_int_equal(dart_device_wait(w.device, 1), DART_FAILED);
    spy_saw("");
    OK(dart_device_submit(w.device, w.program, fetch, DART_FETCHES, &ticket));
    OK(dart_device_wait(w.device, ticket));
    close_work(&w);
    dart_device_close(w.device);
}

static void says(dart_status status, const char *text)
{
    assert_int_equal(status, DART_DEVICE);
    if (strcmp(dart_error_text(), text)) fail_msg("the sentence is: %s", dart_error_text());
}

/* A device that is lost in flight is told to whoever waits for what it took along. */
static void test_lost(void **state)
{
    (void)state;
    work w = spied_work();
    uint64_t first, second, third;
    float word;
    spy.fails_at = 2;
    OK(dart_device_submit(w.device, w.program, NULL, 0, &first));
    OK(dart_device_submit(w.device, w.program, NULL, 0, &second));
    OK(dart_device_wait(w.device, first));
    OK(dart_device_submit(w.device, w.program, NULL, 0, &third));
    says(dart_device_wait(w.device, third), "submission 2 was lost");
    spy_saw("sslsl");
    (void)dart_fail(DART_FAILED, "another");
    says(dart_device_wait(w.device, second), "submission 2 was lost");
    OK(dart_device_wait(w.device, first));
    /* where it is some other call that waits */
    spy.fails_at = 4;
    OK(dart_device_submit(w.device, w.program, NULL, 0, &first));
    says(dart_device_read_f32(w.device, w.sum, 0, 1, &word), "submission 4 was lost");
    OK(dart_device_read_f32(w.device, w.sum, 0, 1, &word));
    says(dart_device_wait(w.device, first), "submission 4 was lost");
    /* a caller that frees keeps its own sentence */
    spy.fails_at = 5;
    OK(dart_device_submit(w.device, w.program, NULL, 0, &first));
    (void)dart_fail(DART_INPUT, "the reason");
    dart_device_free(w.device, w.twice);
    assert_string_equal(dart_error_text(), "the reason");
    says(dart_device_wait(w.device, first), "submission 5 was lost");
    /* and a submission that fails takes along what is in flight */
    OK(dart_device_submit(w.device, w.program, NULL, 0, &first));
    spy.refuses = true;
    spy.over = spy.given;
    says(dart_device_submit(w.device, w.program, NULL, 0, &second), "the queue is gone");
    assert_int_equal(second, 0);
    says(dart_device_wait(w.device, first), "the queue is gone");
    dart_device_drop(w.device, w.program);
    dart_device_close(w.device);
}

static dart_device *open_or_null(const char *id, const char *limits)
{
    dart_device *device = NULL;
    if (dart_device_open(id, limits ? dart_limits_find(limits) : NULL, &device) == DART_OK)
        return device;
    print_message("skipped: %s\n", dart_error_text());
    return NULL;
}

/* in[i] of a round; short writes and long ones, the same words twice, words that overlap. */
static void write_round(const work *w, int round, float *kept)
{
    for (int i = 0; i < N; i++) kept[i] = (float)((i * 7 + round * 13) % 32);
    const float wrong = -77;
    OK(dart_device_write_f32(w->device, w->in, 10, 1, &wrong));
    OK(dart_device_write_f32(w->device, w->in, 10, 1, &wrong));  /* the same words */
    OK(dart_device_write_f32(w->device, w->in, 0, N / 2, kept)); /* over them */
    for (int i = N / 2; i < N; i += 100)
        OK(dart_device_write_f32(w->device, w->in, i, 100, kept + i));
    if (round % 9 == 0)
        for (int i = 0; i < 150; i++) OK(dart_device_write_f32(w->device, w->in, i, 1, kept + i));
}

/* Rounds with two in flight give what arithmetic says, each fetch that of its own round. */
static void check_rounds(dart_device *device)
{
    static float in[N], sum[N], twice[2][N], head[2][3], back[N];
    work w;
    uint64_t ticket[2] = {0};
    open_work(device, &w);
    static float expected[2][N];
    memset(sum, 0, sizeof sum);
    for (int round = 0; round <= ROUNDS; round++) {
        const int k = round % 2;
        if (round < ROUNDS) {
            write_round(&w, round, in);
            for (int i = 0; i < N; i++) {
                sum[i] += in[i];
                expected[k][i] = 2 * sum[i] + 1;
            }
            const dart_fetch fetch[] = {{w.twice, 0, N, twice[k]}, {w.sum, N - 3, 3, head[k]}};
            OK(dart_device_submit(device, w.program, fetch, round % 5 ? 2 : 1, &ticket[k]));
        }
        if (round == 0) continue;
        OK(dart_device_wait(device, ticket[!k]));
        assert_memory_equal(twice[!k], expected[!k], sizeof *twice);
        if ((round - 1) % 5)
            for (int i = 0; i < 3; i++) assert_true(2 * head[!k][i] + 1 == expected[!k][N - 3 + i]);
    }
    /* a read sees all that was submitted, and a write behind a submission comes behind it */
    OK(dart_device_submit(device, w.program, NULL, 0, &ticket[0]));
    for (int i = 0; i < N; i++) sum[i] += in[i];
    static const float zeros[N];
    OK(dart_device_write_f32(device, w.sum, 0, N, zeros));
    OK(dart_device_read_f32(device, w.twice, 0, N, back));
    for (int i = 0; i < N; i++) assert_true(back[i] == 2 * sum[i] + 1);
    OK(dart_device_read_f32(device, w.sum, 0, N, back));
    assert_memory_equal(back, zeros, sizeof back);
    /* words of a buffer that goes before they are used */
    OK(dart_device_submit(device, w.program, NULL, 0, &ticket[0]));
    OK(dart_device_write_f32(device, w.in, 0, N, in));
    close_work(&w);
}

static void check_device(const char *id, const char *limits, double watch_ms)
{
    dart_device *device = open_or_null(id, limits);
    if (!device) return;
    dart_device_watch(device, watch_ms);
    check_rounds(device);
    check_rounds(device);
    dart_device_close(device);
}

/* Long writes: more than what is made room for at once, and more than is ever kept. */
static void check_long(const char *id)
{
    enum { LONG = 6000000 };
    dart_device *device = open_or_null(id, NULL);
    if (!device) return;
    work w;
    dart_buffer big;
    uint64_t ticket;
    float *data = test_malloc(LONG * sizeof *data), *back = test_malloc(LONG * sizeof *back);
    open_work(device, &w);
    OK(dart_device_alloc(device, DART_MEM_HOST, LONG, &big));
    const uint64_t size[] = {100, 300000, 1000000, LONG, 5};
    for (size_t k = 0; k < sizeof size / sizeof *size; k++) {
        for (uint64_t i = 0; i < size[k]; i++) data[i] = (float)(i % 1000 + k);
        OK(dart_device_submit(device, w.program, NULL, 0, &ticket));
        OK(dart_device_write_f32(device, big, 0, size[k], data));
        OK(dart_device_submit(device, w.program, NULL, 0, &ticket));
        OK(dart_device_read_f32(device, big, 0, size[k], back));
        assert_memory_equal(data, back, size[k] * sizeof *data);
    }
    test_free(data);
    test_free(back);
    close_work(&w);
    dart_device_close(device);
}

static void test_cpu(void **state)
{
    (void)state;
    check_device("cpu", NULL, -1);
    check_long("cpu");
}

static void test_vulkan(void **state)
{
    (void)state;
    check_device("vulkan:0", NULL, -1);
    check_device("vulkan:0", "emu-pi4", -1);
    check_device("vulkan:0", "emu-pi4", 1e-6); /* a submission a piece, measured */
    check_long("vulkan:0");
    assert_int_equal(setenv("DART_VULKAN_STAGING", "1", 1), 0);
    check_device("vulkan:0", "emu-pi4", 1e-3);
    check_device("vulkan:0", NULL, -1);
    check_long("vulkan:0");
    assert_int_equal(setenv("DART_VULKAN_STAGING", "reads", 1), 0);
    check_device("vulkan:0", NULL, -1);
    assert_int_equal(unsetenv("DART_VULKAN_STAGING"), 0);
}

/* The layers, which know what is at work and which copies race, have nothing to say. */
static void test_validation(void **state)
{
    (void)state;
    assert_int_equal(setenv("DART_VULKAN_VALIDATION", "1", 1), 0);
    dart_device *device = open_or_null("vulkan:0", NULL);
    if (!device || !dart_vulkan_validation_active()) {
        print_message("skipped: no device, or VK_LAYER_KHRONOS_validation is not installed\n");
    } else {
        const uint64_t before = dart_vulkan_validation_messages();
        check_rounds(device); /* the layers stay as long as a device is open */
        check_device("vulkan:0", "emu-pi4", 1e-3);
        assert_int_equal(setenv("DART_VULKAN_STAGING", "1", 1), 0);
        check_device("vulkan:0", NULL, -1);
        check_long("vulkan:0");
        assert_int_equal(unsetenv("DART_VULKAN_STAGING"), 0);
        dart_device_close(device);
        assert_int_equal(dart_vulkan_validation_messages(), before);
        device = NULL;
    }
    dart_device_close(device);
    assert_int_equal(unsetenv("DART_VULKAN_VALIDATION"), 0);
}

static void test_opencl(void **state)
{
    (void)state;
    check_device("opencl:0", NULL, -1);
    check_device("opencl:0", "emu-pi4", -1); /* command buffers, where the driver has them */
    check_device("opencl:0", "emu-pi4", 1e-6);
    check_long("opencl:0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_order), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_lost), cmocka_unit_test(test_cpu), cmocka_unit_test(test_vulkan),
        cmocka_unit_test(test_validation), cmocka_unit_test(test_opencl)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
