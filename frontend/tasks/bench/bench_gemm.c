/* The gemm test of dart_bench: a few products that a tensor-train GPT is made of, through the gemm
 * kernel itself. */
#include "bench.h"
#include "geometry.h"
#include "rng.h"
#include "stop.h"
#include <math.h>
#include <stdlib.h>

static const struct {
    const char *what;
    bool ta, tb;
    uint32_t m, n, k, batch;
} shapes[] = {
    {"square NN 512x512x512", false, false, 512, 512, 512, 1},
    {"down NT 1024x16x256", false, true, 1024, 16, 256, 1},
    {"up NT 1024x256x16", false, true, 1024, 256, 16, 1},
    {"gradient TN 16x256x1024", true, false, 16, 256, 1024, 1},
    {"attention NT 32 x 128x128x64", false, true, 128, 128, 64, 32},
};
enum { SHAPES = sizeof shapes / sizeof *shapes, COPIES = 8 };
_Static_assert(SHAPES <= (int)DART_BENCH_CASES, "one case of the reference a shape");

static float *random_words(uint64_t count, uint64_t seed)
{
    float *out = dart_calloc(count, sizeof *out);
    for (uint64_t i = 0; out && i < count; i++)
        out[i] = (float)(2 * dart_uniform(seed, DART_STREAM_TEST, i) - 1);
    return out;
}

static dart_launch gemm_launch(uint32_t s, const dart_buffer buffer[3])
{
    uint32_t m = shapes[s].m, n = shapes[s].n, k = shapes[s].k, batch = shapes[s].batch;
    dart_launch launch = {.kernel = DART_K_gemm, .wait = true};
    gemm_params *p = (gemm_params *)launch.param;
    *p = (gemm_params){.m = m,
        .n = n,
        .k = k,
        .lda = shapes[s].ta ? m : k,
        .ldb = shapes[s].tb ? k : n,
        .ldc = n,
        .batch0 = batch,
        .batch1 = 1,
        .batch2 = 1,
        .a0 = m * k,
        .b0 = k * n,
        .c0 = m * n,
        .alpha = 1.0f};
    launch.tune[DART_GEMM_TA] = shapes[s].ta;
    launch.tune[DART_GEMM_TB] = shapes[s].tb;
    uint64_t words[3] = {(uint64_t)m * k * batch, (uint64_t)k * n * batch, (uint64_t)m * n * batch};
    for (int i = 0; i < 3; i++) launch.buf[i] = (dart_slice){buffer[i], 0, words[i]};
    return launch;
}

static dart_status run_shape(const dart_bench_call *call, uint32_t s, dart_bench_row *row)
{
    dart_device *device = call->device;
    const uint32_t repeats = call->options->repeats;
    dart_status status = DART_OK;
    dart_buffer buffer[3] = {0};
    dart_program *program = NULL;
    float *host[2] = {NULL, NULL}, *c = NULL;
    double *seconds = dart_calloc(repeats, sizeof *seconds);
    dart_launch launch = gemm_launch(s, buffer), list[COPIES];
    for (int i = 0; i < 2; i++)
        host[i] = random_words(launch.buf[i].words, 10 * s + (uint64_t)i + 1);
    c = dart_calloc(launch.buf[2].words, sizeof *c);
    if (!seconds || !host[0] || !host[1] || !c) DART_GOTO(DART_MEMORY);
    uint64_t before = device->bytes_allocated;
    for (int i = 0; i < 3; i++)
        DART_GOTO(dart_device_alloc(device, DART_MEM_DEVICE, launch.buf[i].words, &buffer[i]));
    row->actual_bytes = device->bytes_allocated - before;
    for (int i = 0; i < 2; i++)
        DART_GOTO(dart_device_write_f32(device, buffer[i], 0, launch.buf[i].words, host[i]));
    launch = gemm_launch(s, buffer);
    DART_GOTO(dart_launch_geometry(&device->caps, &launch));
    for (int i = 0; i < COPIES; i++) list[i] = launch;
    DART_GOTO(dart_device_build(device, list, COPIES, &program));
    DART_GOTO(dart_device_run(device, program, NULL)); /* warm-up */
    uint64_t submits = device->submits;
    for (uint32_t r = 0; r < repeats; r++) {
        DART_GOTO(dart_stop_asked());
        double start = dart_seconds();
        DART_GOTO(dart_device_run(device, program, NULL));
        seconds[r] = (dart_seconds() - start) / COPIES;
    }
    double work = 2e-9 * shapes[s].m * shapes[s].n * shapes[s].k * shapes[s].batch;
    double median = dart_bench_median(seconds, repeats, work, &row->sd);
    row->ms = 1e3 * median;
    row->gflops = work / median;
    row->launches = COPIES;
    row->submits = (uint32_t)((device->submits - submits) / repeats);
    DART_GOTO(dart_device_read_f32(device, buffer[2], 0, launch.buf[2].words, c));
    row->difference = dart_bench_reference_compare(call->reference, s, c, launch.buf[2].words);
done:
    dart_device_drop(device, program);
    for (int i = 0; i < 3; i++) dart_device_free(device, buffer[i]);
    free(host[0]);
    free(host[1]);
    free(c);
    free(seconds);
    return status;
}

static dart_status run(const dart_bench_call *call)
{
    for (uint32_t s = 0; s < SHAPES; s++) {
        dart_bench_row *row = dart_bench_row_new(call, &dart_bench_gemm, shapes[s].what);
        if (!row) break;
        DART_TRY(run_shape(call, s, row));
    }
    return DART_OK;
}

const dart_bench_test dart_bench_gemm = {.name = "gemm",
    .help = "matrix products that a tensor-train GPT is made of",
    .columns = "test what device gflops sd ms actual_bytes launches submits difference",
    .footnote = "medians, after a warm-up; ± is the standard deviation of GFLOP/s.\nDifference: of "
                "each element, relative to the largest.",
    .compares = true,
    .run = run};
