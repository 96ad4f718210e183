/* Programs: planned, bound, run; what they keep, what they share, and how they fail. */
#include "program.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <string.h>

#define OK(expr)                                                                                   \
    do {                                                                                           \
        if ((expr) != DART_OK) fail_msg("%s: %s", #expr, dart_error_text());                       \
    } while (0)

static dart_device *cpu(void)
{
    dart_device *device;
    OK(dart_device_open("cpu", NULL, &device));
    return device;
}

/* out = scale (x + y) of n words, twice written down; *out_twin is the second writing. */
static dart_graph *sum_graph(uint32_t n, double scale, dart_node *out, dart_node *out_twin)
{
    dart_graph *graph;
    OK(dart_graph_new(&graph));
    dart_node x = dart_leaf(graph, "x", DART_F32, DART_SHAPE(n), DART_REGION_PARAM, 0);
    dart_node y = dart_leaf(graph, "y", DART_F32, DART_SHAPE(n), DART_REGION_TABLE, 0);
    *out = dart_affine(graph, dart_add(graph, x, y), scale, 0);
    *out_twin = dart_affine(graph, dart_add(graph, x, y), scale, 0);
    dart_store(graph, dart_leaf(graph, "out", DART_F32, DART_SHAPE(n), DART_REGION_OUTPUT, 0),
        dart_mul(graph, *out, *out_twin));
    return graph;
}

static void count_up(const void *of, float *out)
{
    const uint32_t n = *(const uint32_t *)of;
    for (uint32_t i = 0; i < n; i++) {
        assert_true(out[i] == 0);
        out[i] = (float)i;
    }
}

static void runs_as_optimized_and_as_built(void **state)
{
    (void)state;
    const uint32_t n = 40;
    dart_device *device = cpu();
    dart_memory memory = {
        .words = {[DART_REGION_PARAM] = n, [DART_REGION_TABLE] = n, [DART_REGION_OUTPUT] = n}};
    float host[40], got[40];
    uint32_t launches[2];
    OK(dart_memory_new(&memory, device));
    for (uint32_t i = 0; i < n; i++) host[i] = 2.0F * (float)i;
    OK(dart_device_write_f32(device, memory.buffer[DART_REGION_PARAM], 0, n, host));
    OK(dart_memory_fill(&memory, device, DART_REGION_TABLE, n, count_up, &n));
    for (int as_built = 0; as_built < 2; as_built++) {
        dart_node keep[2];
        dart_graph *graph = sum_graph(n, 0.5, &keep[0], &keep[1]);
        const uint32_t nodes = dart_graph_count(graph);
        dart_graph_program program = {0};
        dart_program_times times = {.graph = 1};
        dart_slice slice[2];
        const dart_program_options options = {.as_built = as_built, .keeps = 2, .keep = keep};
        OK(dart_program_plan(&program, graph, &device->caps, &options, &times));
        assert_true(times.graph > 1 && times.optimize > 0 && times.plan > 0 && times.build == 0);
        assert_int_equal(dart_graph_count(program.graph) == nodes, as_built);
        OK(dart_program_bind(&program, device, &memory, NULL, &times));
        assert_true(times.build > 0);
        launches[as_built] = dart_plan_stats_of(program.plan)->launches;
        OK(dart_program_run(&program, NULL));
        for (uint32_t i = 0; i < 2; i++) {
            OK(dart_program_slice(&program, i, &slice[i]));
            OK(dart_device_read_f32(device, slice[i].buffer, slice[i].offset, n, got));
            for (uint32_t k = 0; k < n; k++) assert_true(got[k] == 1.5F * (float)k);
        }
        /* the optimizer makes the two writings one node, and kept nodes follow it */
        assert_int_equal(
            slice[0].buffer == slice[1].buffer && slice[0].offset == slice[1].offset, !as_built);
        OK(dart_device_read_f32(device, memory.buffer[DART_REGION_OUTPUT], 0, n, got));
        for (uint32_t k = 0; k < n; k++) assert_true(got[k] == 2.25F * (float)k * (float)k);
        dart_program_free(&program);
        assert_null(program.graph);
        assert_null(program.exec);
        dart_program_free(&program); /* empty: nothing happens */
    }
    assert_true(launches[1] > launches[0]);
    dart_memory_free(&memory, device);
    assert_int_equal(device->bytes_allocated, 0);
    dart_device_close(device);
}

/* The second program takes the first one's arena where it is large enough, and outlives it. */
static void arenas_are_shared(void **state)
{
    (void)state;
    const uint32_t n = 40;
    dart_device *device = cpu();
    dart_memory memory = {
        .words = {[DART_REGION_PARAM] = n, [DART_REGION_TABLE] = n, [DART_REGION_OUTPUT] = n}};
    dart_graph_program program[2] = {0};
    float got[40];
    OK(dart_memory_new(&memory, device));
    OK(dart_memory_fill(&memory, device, DART_REGION_TABLE, n, count_up, &n));
    for (int p = 0; p < 2; p++) {
        dart_node keep[2];
        dart_graph *graph = sum_graph(n, p + 1, &keep[0], &keep[1]);
        const dart_program_options options = {.keeps = 2, .keep = keep};
        OK(dart_program_plan(&program[p], graph, &device->caps, &options, NULL));
        const uint64_t before = device->bytes_allocated;
        OK(dart_program_bind(&program[p], device, &memory, p ? &program[0] : NULL, NULL));
        assert_int_equal(device->bytes_allocated > before, p == 0);
    }
    assert_true(dart_exec_shares(program[0].exec, program[1].exec));
    dart_program_free(&program[0]);
    OK(dart_program_run(&program[1], NULL));
    OK(dart_device_read_f32(device, memory.buffer[DART_REGION_OUTPUT], 0, n, got));
    for (uint32_t k = 0; k < n; k++) assert_true(got[k] == 4.0F * (float)k * (float)k);
    dart_program_free(&program[1]);
    dart_memory_free(&memory, device);
    assert_int_equal(device->bytes_allocated, 0);
    dart_device_close(device);
}

/* A program that was planned for a device without a profile is refused by one that has it, before
 * it runs; planned for it, its tensors are bound in parts. */
static void a_profile_is_kept_to(void **state)
{
    (void)state;
    enum { WORDS = 4096 };
    const dart_limits small = {.name = "small", .max_binding = 1024 * sizeof(float)};
    dart_device *device;
    OK(dart_device_open("cpu", &small, &device));
    const uint32_t n = WORDS;
    dart_memory memory = {
        .words = {[DART_REGION_PARAM] = n, [DART_REGION_TABLE] = n, [DART_REGION_OUTPUT] = n}};
    float got[WORDS];
    OK(dart_memory_new(&memory, device));
    OK(dart_memory_fill(&memory, device, DART_REGION_TABLE, n, count_up, &n));
    for (int keeps_to = 0; keeps_to < 2; keeps_to++) {
        dart_node unused[2];
        dart_graph *graph = sum_graph(n, 2, &unused[0], &unused[1]);
        dart_graph_program program = {0};
        const dart_program_options options = {0};
        dart_caps caps = device->caps;
        if (!keeps_to) caps.max_binding = 0;
        OK(dart_program_plan(&program, graph, &caps, &options, NULL));
        const dart_status status = dart_program_bind(&program, device, &memory, NULL, NULL);
        if (keeps_to) {
            OK(status);
            assert_true(dart_plan_stats_of(program.plan)->largest_binding_words <= 1024);
            OK(dart_program_run(&program, NULL));
            OK(dart_device_read_f32(device, memory.buffer[DART_REGION_OUTPUT], 0, n, got));
            for (uint32_t k = 0; k < n; k++) assert_true(got[k] == 4.0F * (float)k * (float)k);
        } else {
            assert_int_equal(status, DART_FAILED);
            assert_non_null(strstr(dart_error_text(), "the device binds at most 4096"));
        }
        dart_program_free(&program);
    }
    dart_memory_free(&memory, device);
    dart_device_close(device);
}

/* FROZEN in buffers of at most two tensors of 64 words, a longer one alone. */
static void frozen_words_lie_in_several_buffers(void **state)
{
    (void)state;
    static const uint64_t begins[] = {0, 64, 128, 256, 320};
    dart_device *device = cpu();
    dart_memory memory = {.words = {[DART_REGION_FROZEN] = 384, [DART_REGION_OUTPUT] = 64}};
    dart_memory whole = memory, long_one = memory;
    float host[384], got[64];
    for (int i = 0; i < 384; i++) host[i] = (float)i;
    OK(dart_memory_cut(&whole, &device->caps, DART_REGION_FROZEN, 5, begins)); /* it fits */
    assert_int_equal(whole.pieces, 0);
    device->caps.max_alloc = 128 * sizeof(float);
    OK(dart_memory_cut(&memory, &device->caps, DART_REGION_FROZEN, 5, begins));
    assert_int_equal(memory.pieces, 3);
    assert_int_equal(memory.piece[1].start, 128);
    assert_int_equal(memory.piece[2].start, 256);
    OK(dart_memory_new(&memory, device));
    for (uint32_t i = 0; i < 5; i++) {
        dart_slice at;
        const uint64_t words = (i < 4 ? begins[i + 1] : 384) - begins[i];
        OK(dart_memory_slice(&memory, DART_REGION_FROZEN, begins[i], words, &at));
        assert_int_equal(at.buffer, memory.piece[i < 2 ? 0 : i < 3 ? 1 : 2].buffer);
        OK(dart_device_write_f32(device, at.buffer, at.offset, words, host + begins[i]));
    }
    dart_graph *graph;
    dart_graph_program program = {0};
    OK(dart_graph_new(&graph));
    dart_node sum = 0;
    for (uint32_t i = 0; i < 6; i++) {
        dart_node x =
            dart_leaf(graph, "x", DART_F32, DART_SHAPE(64), DART_REGION_FROZEN, 64ull * i);
        sum = sum ? dart_add(graph, sum, dart_affine(graph, x, 2, i)) : x;
    }
    dart_store(graph, dart_leaf(graph, "o", DART_F32, DART_SHAPE(64), DART_REGION_OUTPUT, 0), sum);
    OK(dart_program_plan(
        &program, graph, &device->caps, &(dart_program_options){.memory = &memory}, NULL));
    OK(dart_program_bind(&program, device, &memory, NULL, NULL));
    OK(dart_program_run(&program, NULL));
    OK(dart_device_read_f32(device, memory.buffer[DART_REGION_OUTPUT], 0, 64, got));
    for (int k = 0; k < 64; k++) assert_true(got[k] == (float)(11 * k + 2 * 960 + 15));
    dart_program_free(&program);
    dart_slice at;
    assert_int_equal(dart_memory_slice(&memory, DART_REGION_FROZEN, 64, 65, &at), DART_FAILED);
    assert_non_null(strstr(dart_error_text(), "lie in two buffers"));
    assert_int_equal(dart_memory_slice(&memory, DART_REGION_FROZEN, 320, 65, &at), DART_FAILED);
    dart_memory_free(&memory, device);
    assert_int_equal(device->bytes_allocated, 0);
    /* a tensor that is longer than a buffer */
    OK(dart_memory_cut(&long_one, &device->caps, DART_REGION_FROZEN, 2, begins));
    assert_int_equal(dart_memory_new(&long_one, device), DART_MEMORY);
    dart_memory_free(&long_one, device);
    device->caps.max_alloc = sizeof(float);
    long_one.words[DART_REGION_FROZEN] = 2000;
    uint64_t many[2000];
    for (uint64_t i = 0; i < 2000; i++) many[i] = i;
    assert_int_equal(
        dart_memory_cut(&long_one, &device->caps, DART_REGION_FROZEN, 2000, many), DART_MEMORY);
    assert_non_null(strstr(dart_error_text(), "base_dtype"));
    assert_int_equal(device->bytes_allocated, 0);
    dart_device_close(device);
}

static void failures_name_their_reason(void **state)
{
    (void)state;
    dart_device *device = cpu();
    dart_graph_program program = {0};
    dart_memory memory = {0};
    dart_node keep[2];
    /* a builder failed */
    dart_graph *graph = sum_graph(8, 1, &keep[0], &keep[1]);
    dart_node wide = dart_leaf(graph, "wide", DART_F32, DART_SHAPE(9), DART_REGION_PARAM, 8);
    (void)dart_add(graph, keep[0], wide);
    dart_status status = dart_program_plan(&program, graph, &device->caps, NULL, NULL);
    assert_int_equal(status, DART_FAILED);
    assert_non_null(strstr(dart_error_text(), "add"));
    dart_program_free(&program);
    /* a node to keep that is not there, optimized or not */
    for (int as_built = 0; as_built < 2; as_built++) {
        graph = sum_graph(8, 1, &keep[0], &keep[1]);
        keep[1] = 1000;
        const dart_program_options options = {.as_built = as_built, .keeps = 2, .keep = keep};
        assert_int_equal(
            dart_program_plan(&program, graph, &device->caps, &options, NULL), DART_FAILED);
        assert_non_null(strstr(dart_error_text(), "1000"));
        dart_program_free(&program);
    }
    /* does not fit */
    dart_caps caps = device->caps;
    caps.memory = 64;
    graph = sum_graph(8, 1, &keep[0], &keep[1]);
    assert_int_equal(dart_program_plan(&program, graph, &caps, NULL, NULL), DART_MEMORY);
    dart_program_free(&program);
    /* a region that is too small, and one that was not allocated */
    graph = sum_graph(8, 1, &keep[0], &keep[1]);
    OK(dart_program_plan(&program, graph, &device->caps, NULL, NULL));
    memory.words[DART_REGION_PARAM] = 7;
    OK(dart_memory_new(&memory, device));
    for (int r = 0; r < 2; r++) {
        assert_int_equal(dart_program_bind(&program, device, &memory, NULL, NULL), DART_FAILED);
        assert_non_null(strstr(dart_error_text(), "region \"param\""));
        memory.words[DART_REGION_PARAM] = 0;
    }
    dart_program_free(&program);
    dart_memory_free(&memory, device);
    /* more than the machine can address */
    memory.words[DART_REGION_CACHE] = UINT64_MAX / 2;
    assert_int_equal(dart_memory_new(&memory, device), DART_MEMORY);
    dart_memory_free(&memory, device);
    memory.words[DART_REGION_TABLE] = 4;
    OK(dart_memory_new(&memory, device));
    const uint32_t n = 5;
    assert_int_not_equal(
        dart_memory_fill(&memory, device, DART_REGION_TABLE, n, count_up, &n), DART_OK);
    dart_memory_free(&memory, device);
    assert_int_equal(device->bytes_allocated, 0);
    dart_device_close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_as_optimized_and_as_built),
        cmocka_unit_test(arenas_are_shared),
        cmocka_unit_test(a_profile_is_kept_to),
        cmocka_unit_test(frozen_words_lie_in_several_buffers),
        cmocka_unit_test(failures_name_their_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
