/* The gemm test: products through the gemm kernel itself, those that a tensor-train GPT is made of,
 * and, where there is a GPU, those that fill one. */
#include "bench.h"
#include "extent.h"
#include "geometry.h"
#include "rng.h"
#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct shape {
    char what[48];
    bool ta, tb;
    uint32_t m, n, k, batch;
    uint32_t narrow; /* what matrix units may round A and B to: 0 nothing, 1 f16, 2 bf16 */
} shape;

/* Names are read: (batch x) m x n x k. */
static const char *const small[] = {
    "NN 512x512x512", "NT 1024x16x256", "NT 1024x256x16", "TN 16x256x1024", "NT 32x128x128x64"};
/* A square; the gradients of tensor-train cores and of a head; dense layers and attention of GPT-2,
 * batch 8. */
static const char *const large[] = {"NN 4096x4096x4096", "TN 32x768x8192", "NN 128x768x50257",
    "NT 8192x768x768", "NT 96x1024x1024x64"};
enum { SMALL = sizeof small / sizeof *small, LARGE = sizeof large / sizeof *large, MOST = 256 };
static const double run_s = 0.005; /* that a run should take where it can */

static dart_status bad_shape(const char *text)
{
    return dart_fail(DART_USAGE,
        "'%s' is no product: expected small, large, or like NN4096x4096x4096: whether each matrix "
        "is turned (N, T), then m x n x k, or batch x m x n x k; with +f16 or +bf16 behind it "
        "matrix units may round what they multiply",
        text);
}

static dart_status read_shape(const char *text, shape *out)
{
    uint32_t size[4], sizes = 0;
    const char *at = text;
    *out = (shape){0};
    for (int i = 0; i < 2; i++, at++) {
        const int turned = toupper((unsigned char)*at);
        if (turned != 'N' && turned != 'T') return bad_shape(text);
        *(i ? &out->tb : &out->ta) = turned == 'T';
    }
    while (*at == ' ') at++;
    for (;; at++) {
        char *end;
        const unsigned long value = strtoul(at, &end, 10);
        if (!isdigit((unsigned char)*at) || value == 0 || value > 1 << 20 || sizes == 4)
            return bad_shape(text);
        size[sizes++] = (uint32_t)value;
        at = end;
        if (*at != 'x') break;
    }
    const char *plus = at;
    if (sizes < 3) return bad_shape(text);
    if (*at) out->narrow = !strcmp(at, "+f16") ? 1 : !strcmp(at, "+bf16") ? 2 : 0;
    if (*at && !out->narrow) return bad_shape(text);
    out->batch = sizes == 4 ? size[0] : 1;
    out->m = size[sizes - 3];
    out->n = size[sizes - 2];
    out->k = size[sizes - 1];
    int used =
        snprintf(out->what, sizeof out->what, "%c%c ", out->ta ? 'T' : 'N', out->tb ? 'T' : 'N');
    if (sizes == 4)
        used +=
            snprintf(out->what + used, sizeof out->what - (size_t)used, "%" PRIu32 "x", size[0]);
    snprintf(out->what + used, sizeof out->what - (size_t)used,
        "%" PRIu32 "x%" PRIu32 "x%" PRIu32 "%s", out->m, out->n, out->k, plus);
    return DART_OK;
}

/* Which product is case `index`; *out_there false: there is none. */
static dart_status shape_at(const dart_bench_job *job, shape *out, bool *out_there)
{
    const char *given = job->call.argument;
    const bool only_small = given && !strcmp(given, "small"),
               only_large = given && !strcmp(given, "large");
    const char *text = NULL;
    uint32_t index = job->index;
    if (given && !only_small && !only_large) {
        text = index == 0 ? given : NULL;
    } else {
        if (only_large) index += SMALL;
        if (index < SMALL)
            text = small[index];
        else if (index < SMALL + LARGE && !only_small && (only_large || job->call.gpu))
            text = large[index - SMALL];
    }
    *out_there = text != NULL;
    return text ? read_shape(text, out) : DART_OK;
}

typedef struct product {
    shape shape;
    dart_buffer buffer[3];
    dart_program *program;
    float *c;
    uint64_t words[3];
} product;

static void close_product(dart_bench_job *job)
{
    product *p = job->state;
    if (!p) return;
    dart_device_drop(job->call.device, p->program);
    for (int i = 0; i < 3; i++) dart_device_free(job->call.device, p->buffer[i]);
    free(p->c);
    free(p);
    job->state = NULL;
}

static dart_launch gemm_launch(const product *p)
{
    const shape *s = &p->shape;
    dart_launch launch = {.kernel = DART_K_gemm, .wait = true};
    *(gemm_params *)(void *)launch.param = (gemm_params){.m = s->m,
        .n = s->n,
        .k = s->k,
        .lda = s->ta ? s->m : s->k,
        .ldb = s->tb ? s->k : s->n,
        .ldc = s->n,
        .batch0 = s->batch,
        .batch1 = 1,
        .batch2 = 1,
        .a0 = s->m * s->k,
        .b0 = s->k * s->n,
        .c0 = s->m * s->n,
        .alpha = 1.0f,
        .scale_a = 1,
        .scale_b = 1};
    launch.tune[DART_GEMM_NARROW] = s->narrow;
    launch.tune[DART_GEMM_TA] = s->ta;
    launch.tune[DART_GEMM_TB] = s->tb;
    for (int i = 0; i < 3; i++) launch.buf[i] = (dart_slice){p->buffer[i], 0, p->words[i]};
    launch.buf[3] = launch.buf[0]; /* nothing is added */
    return launch;
}

static dart_status fill(dart_bench_job *job, dart_buffer buffer, uint64_t words, uint64_t seed)
{
    float *host = dart_calloc(words, sizeof *host);
    if (!host) return DART_MEMORY;
    for (uint64_t i = 0; i < words; i++)
        host[i] = (float)(2 * dart_uniform(seed, DART_STREAM_TEST, i) - 1);
    dart_status status = dart_device_write_f32(job->call.device, buffer, 0, words, host);
    free(host);
    return status;
}

/* So many that a run takes long enough by what the device can do. */
static uint32_t copies_for(const dart_bench_job *job, double flops, double bytes)
{
    const double one = dart_peak_seconds(job->call.peak, flops, bytes);
    return !(one > 0) || job->hidden ? 1 : (uint32_t)fmin(fmax(ceil(run_s / one), 1), MOST);
}

static dart_status open_product(dart_bench_job *job, bool *out_there)
{
    shape s;
    DART_TRY(shape_at(job, &s, out_there));
    if (!*out_there) return DART_OK;
    dart_device *device = job->call.device;
    product *p = job->state = dart_calloc(1, sizeof *p);
    if (!p) return DART_MEMORY;
    p->shape = s;
    snprintf(job->row.what, sizeof job->row.what, "%s", s.what);
    /* rounding to 11 and 8 bits: 3e-4 and 3e-3 of the largest where many are rounded */
    if (s.narrow) job->row.tolerance = s.narrow == 1 ? 1e-3 : 1e-2;
    p->words[0] = (uint64_t)s.m * s.k * s.batch;
    p->words[1] = (uint64_t)s.k * s.n * s.batch;
    p->words[2] = (uint64_t)s.m * s.n * s.batch;
    for (int i = 0; i < 3; i++) {
        const uint64_t most = device->caps.max_binding;
        if (most && p->words[i] * device->caps.word > most)
            return dart_fail(DART_MEMORY, "a matrix of %.1f MiB; the device binds %.1f at most",
                (double)(p->words[i] * device->caps.word) / 0x1p20, (double)most / 0x1p20);
    }
    p->c = dart_calloc(p->words[2], sizeof *p->c);
    if (!p->c) return DART_MEMORY;
    for (int i = 0; i < 3; i++)
        DART_TRY(dart_device_alloc(device, DART_MEM_DEVICE, p->words[i], &p->buffer[i]));
    for (int i = 0; i < 2; i++)
        DART_TRY(fill(job, p->buffer[i], p->words[i], 10 * (uint64_t)i + 1));
    dart_launch list[MOST] = {gemm_launch(p)};
    DART_TRY(dart_launch_geometry(&device->caps, list));
    job->flops = dart_launch_flops(list);
    job->bytes = dart_launch_bytes(list, device->caps.word);
    const uint32_t copies = copies_for(job, job->flops, job->bytes);
    for (uint32_t i = 1; i < copies; i++) list[i] = list[0];
    job->per = copies;
    job->flops *= copies;
    job->bytes *= copies;
    job->row.launches = copies;
    job->row.barriers = copies - 1;
    return dart_device_build(device, list, copies, &p->program);
}

static dart_status sample(dart_bench_job *job, double *out_seconds)
{
    const product *p = job->state;
    const double begin = dart_seconds();
    DART_TRY(dart_device_run(job->call.device, p->program, NULL));
    *out_seconds = dart_seconds() - begin;
    if (job->runs) return DART_OK;
    DART_TRY(dart_device_read_f32(job->call.device, p->buffer[2], 0, p->words[2], p->c));
    dart_bench_differ(job, 0, p->c, p->words[2]);
    return DART_OK;
}

const dart_bench_test dart_bench_gemm = {.name = "gemm",
    .help =
        "matrix products: those of a tensor-train GPT, and where there is a GPU those that fill "
        "one",
    .argument = "small, large, or NN4096x4096x4096, with +f16 or +bf16 in matrix units",
    .columns = "test what grid device backend device_name driver gflops sd peak_percent gb_per_s "
               "copy_percent first_ms ms ms_min ms_max actual_bytes launches submits difference",
    .footnote = "Medians of one product, after a warm-up; ± is the deviation of GFLOP/s. Products "
                "are launched one behind the other until a run takes milliseconds.",
    .differs = "of each element, relative to the largest",
    .plain = true,
    .compares = true,
    .tolerance = 1e-4,
    .warm_ups = 2,
    .open = open_product,
    .sample = sample,
    .close = close_product};
