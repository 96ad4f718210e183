/* A launch beside the oracle. */
#include "trial.h"
#include "batch.h"
#include "cases_packed.h"
#include "extent.h"
#include "geometry.h"
#include "halves.h"
#include "rng.h"
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Words before and behind each tensor that nothing may change. */
enum { GUARDS = 64 };
#define GUARD_WORD UINT32_C(0x7fc0beef)

typedef struct operand {
    uint32_t same;      /* the operand with the very slice that stands before it; else its own */
    uint64_t words;     /* that the launch reaches */
    uint32_t *before;   /* owned (words): what it holds at first; floats or integers */
    double *wanted;     /* owned (words), of what is written: by the oracle */
    uint32_t *first;    /* owned (words), of what is written: by the first form */
    dart_buffer buffer; /* GUARDS more at either end */
    bool integer, written;
    uint32_t
        halves; /* its words are two numbers of 16 bits of this kind (halves.h); 0: they are not */
} operand;

struct dart_suite_trial {
    dart_device *device; /* borrowed */
    uint64_t guards;     /* words, so that slices are aligned */
    dart_launch launch;  /* as it came */
    operand of[DART_MAX_BUFS];
    double bound;
    bool has_first;
};

/* ---- inputs ---- */

typedef struct filler {
    double bound;
    uint32_t integers; /* bit b: operand b holds integers */
    void (*fill)(
        const dart_launch *launch, operand *of, uint64_t seed); /* NULL: normal numbers do */
} filler;

static void fill_packed(const dart_launch *launch, operand *of, uint64_t seed)
{
    const gemm_packed_params *p = (const gemm_packed_params *)launch->param;
    for (uint64_t i = 0; i < of[1].words; i += 4) {
        uint32_t word[4];
        dart_philox(seed, DART_STREAM_TEST, i, word);
        for (uint64_t j = i; j < of[1].words && j < i + 4; j++) of[1].before[j] = word[j - i];
    }
    if (of[1].words >= (uint64_t)p->n * p->pitch)
        dart_suite_pack(
            of[1].before, (dart_packed)launch->tune[DART_GEMM_PACKED_FORMAT], p->n, p->k);
}

/* All keys are seen, but for those that `causal` hides. */
static void fill_attention(const dart_launch *launch, operand *of, uint64_t seed)
{
    const attention_params *p = (const attention_params *)launch->param;
    (void)seed;
    for (uint64_t i = 0; i < of[1].words; i++) of[1].before[i] = p->masked == 1 ? p->span : 0;
}

/* Numbers of queries that see all keys; their largest score and sum are near those of normal
 * numbers. */
static void fill_attention_dx(const dart_launch *launch, operand *of, uint64_t seed)
{
    const attention_dx_params *p = (const attention_dx_params *)launch->param;
    const uint64_t queries = (uint64_t)p->batch * p->time * p->heads;
    const float about[4] = {4, (float)(exp(3.5) / p->span), 0, (float)p->span};
    (void)seed;
    if (of[1].words >= p->rows_at + 4 * queries)
        for (uint64_t i = 0; i < 4 * queries; i++)
            memcpy(&of[1].before[p->rows_at + i], &about[i % 4], sizeof *about);
}

static void fill_labels(const dart_launch *launch, operand *of, uint64_t seed)
{
    const cross_entropy_params *p = (const cross_entropy_params *)launch->param;
    for (uint64_t i = 0; i < of[1].words; i++)
        of[1].before[i] = (uint32_t)(dart_uniform(seed, DART_STREAM_TEST, i) * p->valid);
}

static const filler fillers[DART_KERNELS] = {
    [DART_K_gemm] = {SUITE_PRODUCT, 0, NULL},
    [DART_K_gemm_packed] = {SUITE_PRODUCT, 1 << 1, fill_packed},
    [DART_K_attention] = {SUITE_SOFTMAX, 1 << 1, fill_attention},
    [DART_K_attention_dx] = {SUITE_GRADIENT, 0, fill_attention_dx},
    [DART_K_softmax] = {SUITE_SOFTMAX, 0, NULL},
    [DART_K_softmax_dx] = {SUITE_GRADIENT, 0, NULL},
    [DART_K_norm] = {SUITE_ELEMENT, 0, NULL},
    [DART_K_norm_dx] = {SUITE_GRADIENT, 0, NULL},
    [DART_K_cross_entropy] = {SUITE_SOFTMAX, 1 << 1, fill_labels},
};

bool dart_suite_trial_can(dart_kernel kernel)
{
    return fillers[kernel].bound > 0;
}

static void fill_normal(operand *o, uint32_t number, uint64_t seed, const float *normals)
{
    uint64_t from = (seed * 7919 + number * 104729ull) % NORMALS;
    for (uint64_t i = 0; i < o->words; i++) {
        memcpy(&o->before[i], &normals[from], sizeof *normals);
        if (++from == NORMALS) from = 0;
    }
}

static void fill_halves(operand *o, uint32_t number, uint64_t seed)
{
    for (uint64_t i = 0; i < o->words; i += 4) {
        uint32_t word[4];
        dart_philox(seed + number, DART_STREAM_TEST, i, word);
        for (uint64_t j = i; j < o->words && j < i + 4; j++)
            o->before[j] = dart_suite_half_word(o->halves, word[j - i]);
    }
}

/* ---- tensors ---- */

static bool same_slice(const dart_slice *a, const dart_slice *b)
{
    return a->buffer == b->buffer && a->offset == b->offset && a->words == b->words;
}

uint64_t dart_suite_trial_words(const dart_launch *launch)
{
    uint64_t words[DART_MAX_BUFS], sum = 0;
    dart_launch_extent(launch, words);
    for (uint32_t b = 0; b < launch->buffers; b++)
        if (!dart_add_u64(sum, words[b], &sum)) return UINT64_MAX;
    return sum;
}

/* The kind of 16 bits that buffer b of a launch has, by the mode of its name. */
static uint32_t half_kind(const dart_launch *launch, uint32_t b)
{
    const dart_kernel_info *info = dart_kernel_info_of(launch->kernel);
    for (uint32_t t = 0; t < info->tunes; t++) {
        const char *name = info->tune_name[t];
        if (tolower((unsigned char)name[0]) == info->buffer_name[b][0] && !strcmp(name + 1, "H"))
            return launch->tune[t];
    }
    return 0;
}

static void describe(dart_suite_trial *t)
{
    const dart_launch *launch = &t->launch;
    const dart_kernel_info *info = dart_kernel_info_of(launch->kernel);
    uint64_t words[DART_MAX_BUFS];
    dart_launch_extent(launch, words);
    for (uint32_t b = 0; b < launch->buffers; b++) {
        operand *o = &t->of[b];
        o->same = b;
        for (uint32_t i = b; i-- > 0;)
            if (same_slice(&launch->buf[i], &launch->buf[b])) o->same = t->of[i].same;
        o = &t->of[o->same];
        o->words = words[b] > o->words ? words[b] : o->words;
        if (!o->words) o->words = 1; /* a mask that nobody reads */
        o->written |= (info->access[b] & DART_OUT) != 0;
        o->integer |= fillers[launch->kernel].integers >> b & 1;
        if (dart_launch_halves(launch, b)) o->halves = half_kind(launch, b);
        o->integer |= o->halves != 0;
    }
}

static dart_status make_inputs(dart_suite_trial *t, uint64_t seed)
{
    const filler *f = &fillers[t->launch.kernel];
    float *normals = dart_calloc(NORMALS, sizeof *normals);
    if (!normals) return DART_MEMORY;
    for (uint32_t i = 0; i < NORMALS; i++)
        normals[i] = (float)dart_normal(seed, DART_STREAM_TEST, i);
    dart_status status = DART_OK;
    for (uint32_t b = 0; b < t->launch.buffers && status == DART_OK; b++) {
        operand *o = &t->of[b];
        if (o->same != b) continue;
        o->before = dart_calloc(o->words, sizeof *o->before);
        if (!o->before) status = DART_MEMORY;
        if (o->before && !o->integer) fill_normal(o, b, seed, normals);
        if (o->before && o->halves) fill_halves(o, b, seed);
    }
    free(normals);
    if (status == DART_OK && f->fill) f->fill(&t->launch, t->of, seed);
    return status;
}

/* The tensor with its guards, as it is at first. */
static dart_status write_operand(const dart_suite_trial *t, const operand *o)
{
    uint32_t guard[256];
    const uint64_t ends[2] = {0, t->guards + o->words};
    for (size_t i = 0; i < sizeof guard / sizeof *guard; i++) guard[i] = GUARD_WORD;
    for (int end = 0; end < 2; end++)
        DART_TRY(dart_device_write(t->device, o->buffer, ends[end], t->guards, guard));
    return dart_device_write(t->device, o->buffer, t->guards, o->words, o->before);
}

static dart_status make_buffers(dart_suite_trial *t)
{
    const uint64_t align = t->device->caps.offset_align / t->device->caps.word;
    t->guards = align > GUARDS ? align : GUARDS;
    if (t->guards > 256)
        return dart_fail(DART_DEVICE, "%s wants slices at multiples of %llu bytes",
            t->device->caps.name, (unsigned long long)t->device->caps.offset_align);
    for (uint32_t b = 0; b < t->launch.buffers; b++) {
        operand *o = &t->of[b];
        if (o->same != b) continue;
        DART_TRY(
            dart_device_alloc(t->device, DART_MEM_DEVICE, o->words + 2 * t->guards, &o->buffer));
        DART_TRY(write_operand(t, o));
    }
    return DART_OK;
}

/* ---- the oracle ---- */

static dart_status write_oracle(dart_device *oracle, dart_buffer buffer, const operand *o)
{
    return o->integer ? dart_device_write_i32(
                            oracle, buffer, 0, o->words, (const int32_t *)(const void *)o->before)
                      : dart_device_write_f32(
                            oracle, buffer, 0, o->words, (const float *)(const void *)o->before);
}

static dart_status run_oracle(dart_suite_trial *t)
{
    dart_device *oracle = NULL;
    dart_program *program = NULL;
    dart_buffer buffer[DART_MAX_BUFS] = {0};
    dart_launch launch = t->launch;
    dart_status status;
    DART_GOTO(dart_device_open("cpu64", NULL, &oracle));
    for (uint32_t b = 0; b < launch.buffers; b++) {
        const operand *o = &t->of[t->of[b].same];
        if (t->of[b].same == b) {
            DART_GOTO(dart_device_alloc(oracle, DART_MEM_DEVICE, o->words, &buffer[b]));
            DART_GOTO(write_oracle(oracle, buffer[b], o));
        }
        launch.buf[b] = (dart_slice){buffer[t->of[b].same], 0, o->words};
    }
    DART_GOTO(dart_launch_geometry(&oracle->caps, &launch));
    DART_GOTO(dart_device_build(oracle, &launch, 1, &program));
    DART_GOTO(dart_device_run(oracle, program, NULL));
    for (uint32_t b = 0; b < launch.buffers; b++) {
        operand *o = &t->of[b];
        if (o->same != b || !o->written) continue;
        o->wanted = dart_calloc(o->words, sizeof *o->wanted);
        o->first = dart_calloc(o->words, sizeof *o->first);
        if (!o->wanted || !o->first) DART_GOTO(DART_MEMORY);
        DART_GOTO(dart_device_read(oracle, buffer[b], 0, o->words, o->wanted));
    }
done:
    if (oracle) dart_device_drop(oracle, program);
    dart_device_close(oracle);
    return status;
}

dart_status dart_suite_trial_new(
    dart_device *device, const dart_launch *launch, uint64_t seed, dart_suite_trial **out)
{
    dart_status status = DART_OK;
    *out = NULL;
    if (!dart_suite_trial_can(launch->kernel))
        return dart_fail(DART_FAILED, "there are no inputs for kernel %s",
            dart_kernel_info_of(launch->kernel)->name);
    dart_suite_trial *t = dart_calloc(1, sizeof *t);
    if (!t) return DART_MEMORY;
    t->device = device;
    t->launch = *launch;
    t->bound = fillers[launch->kernel].bound;
    if (launch->kernel == DART_K_gemm && launch->tune[DART_GEMM_NARROW])
        t->bound = SUITE_ROUNDED(launch->tune[DART_GEMM_NARROW]);
    describe(t);
    for (uint32_t b = 0; b < launch->buffers; b++)
        if (t->of[b].halves && t->of[b].written)
            t->bound = fmax(t->bound, SUITE_HALVES(t->of[b].halves));
    DART_GOTO(make_inputs(t, seed));
    DART_GOTO(make_buffers(t));
    DART_GOTO(run_oracle(t));
    *out = t;
    return DART_OK;
done:
    dart_suite_trial_free(t);
    return status;
}

void dart_suite_trial_free(dart_suite_trial *trial)
{
    if (!trial) return;
    for (uint32_t b = 0; b < DART_MAX_BUFS; b++) {
        dart_device_free(trial->device, trial->of[b].buffer);
        free(trial->of[b].before);
        free(trial->of[b].wanted);
        free(trial->of[b].first);
    }
    free(trial);
}

void dart_suite_trial_place(const dart_suite_trial *trial, dart_launch *launch)
{
    for (uint32_t b = 0; b < launch->buffers; b++) {
        const operand *o = &trial->of[trial->of[b].same];
        launch->buf[b] = (dart_slice){o->buffer, trial->guards, o->words};
    }
}

/* ---- judging ---- */

static double distance(const operand *o, const uint32_t *got)
{
    double error = 0, norm = 0;
    for (uint64_t i = 0; i < 2 * o->words && o->halves; i++) {
        int64_t word; /* the oracle's words are as long as its numbers */
        memcpy(&word, &o->wanted[i / 2], sizeof word);
        const double want = dart_suite_half_number(o->halves, (uint32_t)word, i % 2);
        const double d = dart_suite_half_number(o->halves, got[i / 2], i % 2) - want;
        if (!isfinite(d)) return INFINITY;
        error += d * d;
        norm += want * want;
    }
    for (uint64_t i = 0; i < o->words && !o->halves; i++) {
        float value;
        memcpy(&value, &got[i], sizeof value);
        const double d = (double)value - o->wanted[i];
        if (!isfinite(d)) return INFINITY;
        error += d * d;
        norm += o->wanted[i] * o->wanted[i];
    }
    return norm > 0 ? error / norm : error;
}

static dart_status judge(dart_suite_trial *t, operand *o, uint32_t *got, dart_suite_verdict *out)
{
    const uint64_t words = o->words + 2 * t->guards;
    bool damaged = false;
    DART_TRY(dart_device_read(t->device, o->buffer, 0, words, got));
    for (uint64_t i = 0; i < t->guards; i++)
        damaged |= got[i] != GUARD_WORD || got[words - 1 - i] != GUARD_WORD;
    const double error = damaged ? INFINITY : distance(o, got + t->guards);
    out->error = fmax(out->error, error);
    if (!t->has_first) memcpy(o->first, got + t->guards, o->words * sizeof *got);
    out->same_bits &= memcmp(o->first, got + t->guards, o->words * sizeof *got) == 0;
    return DART_OK;
}

dart_status dart_suite_trial_check(
    dart_suite_trial *trial, dart_program *program, dart_suite_verdict *out)
{
    uint64_t most = 0;
    dart_status status = DART_OK;
    *out = (dart_suite_verdict){.same_bits = true, .bound = trial->bound};
    for (uint32_t b = 0; b < trial->launch.buffers; b++)
        if (trial->of[b].words > most) most = trial->of[b].words;
    uint32_t *got = dart_calloc(most + 2 * trial->guards, sizeof *got);
    if (!got) return DART_MEMORY;
    for (uint32_t b = 0; b < trial->launch.buffers; b++)
        if (trial->of[b].wanted) DART_GOTO(write_operand(trial, &trial->of[b]));
    DART_GOTO(dart_device_run(trial->device, program, NULL));
    for (uint32_t b = 0; b < trial->launch.buffers; b++)
        if (trial->of[b].wanted) DART_GOTO(judge(trial, &trial->of[b], got, out));
    trial->has_first = true;
    out->right = out->error <= out->bound;
done:
    free(got);
    return status;
}
