/* Runs the cases: many launches to a program, their tensors side by side in one buffer with guard
 * words between them, once on the device and once on the oracle. */
#include "cases.h"
#include "clock.h"
#include "geometry.h"
#include "rng.h"
#include <assert.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Slices start at multiples of ALIGN words (256 bytes of the smallest word) or more. GUARD is a
 * quiet NaN. */
enum {
    ARENA = 1 << 21,
    CASES = 192,
    TENSORS = 4 * CASES,
    ALIGN = 64,
    GUARDS = 64,
    NORMALS = 65521
};
#define GUARD(place) (UINT32_C(0x7fc00001) + (uint32_t)(place) % 0x3ffff0)
#define NAN_WORD UINT32_C(0x7fc00000)

const uint32_t dart_suite_sizes[5] = {1, 3, 31, 33, 257};

typedef struct tensor {
    uint64_t start, words;
    bool integer;          /* words are i32 or plain bits, f32 otherwise */
    uint64_t every, first; /* compared: the first `first` of every `every` words */
} tensor;

typedef struct test_case {
    char name[112];
    dart_launch launch, oracle_launch;
    double tolerance;
    uint32_t tensor[DART_MAX_BUFS]; /* index into suite.tensors */
    uint32_t tensors;
    uint64_t arena_end;
} test_case;

struct suite {
    dart_device *device, *oracle;
    const dart_suite_options *options;
    dart_suite_result *result;
    dart_status status; /* the first error; nothing more is run after it */
    dart_buffer arena[2], oracle_arena;
    uint32_t *before, *after; /* the device's arena, bit by bit */
    uint64_t *oracle_words;   /* doubles or int64 */
    float *normals;
    test_case cases[CASES];
    uint32_t count;
    tensor tensors[TENSORS];
    uint32_t tensor_count;
    uint64_t used; /* words of the arena */
    dart_launch list[CASES];
    uint64_t numbered; /* cases so far; seeds their inputs */
    uint32_t batches;
    uint64_t draws;
};

/* ---- building cases ---- */

static uint64_t align_words(const suite *s)
{
    uint64_t own = s->device->caps.offset_align / s->device->caps.word;
    return own > ALIGN ? own : ALIGN;
}

static test_case *current(suite *s)
{
    return &s->cases[s->count];
}

static void run_batch(suite *s);

/* Leaves three quarters of the arena to the next case. */
static void make_room(suite *s)
{
    if (s->count == CASES || s->tensor_count > TENSORS - DART_MAX_BUFS || s->used > ARENA / 4)
        run_batch(s);
}

void dart_suite_case(
    suite *s, dart_kernel kernel, const void *params, double tolerance, const char *format, ...)
{
    make_room(s);
    test_case *c = current(s);
    memset(c, 0, sizeof *c);
    c->launch.kernel = kernel;
    memcpy(c->launch.param, params, dart_kernel_info_of(kernel)->param_bytes);
    c->tolerance = tolerance;
    va_list args;
    va_start(args, format);
    vsnprintf(c->name, sizeof c->name, format, args);
    va_end(args);
    s->numbered++;
}

void dart_suite_mode(suite *s, const char *tune, uint32_t value)
{
    test_case *c = current(s);
    const dart_kernel_info *info = dart_kernel_info_of(c->launch.kernel);
    for (uint32_t t = 0; t < info->tunes; t++)
        if (strcmp(info->tune_name[t], tune) == 0) c->launch.tune[t] = value;
}

static uint32_t *new_tensor(suite *s, uint64_t words, bool integer)
{
    test_case *c = current(s);
    uint64_t start = dart_round_up(s->used + GUARDS, align_words(s));
    assert(start + words + GUARDS <= ARENA && c->tensors < DART_MAX_BUFS);
    s->used = start + words + GUARDS;
    s->tensors[s->tensor_count] =
        (tensor){.start = start, .words = words, .integer = integer, .every = 1, .first = 1};
    c->tensor[c->tensors++] = s->tensor_count++;
    return s->before + start;
}

float *dart_suite_normal(suite *s, uint64_t words, double mean, double deviation)
{
    float *data = (float *)new_tensor(s, words, false);
    uint64_t from = (s->numbered * 7919 + current(s)->tensors * 104729) % NORMALS;
    for (uint64_t i = 0; i < words; i++) {
        data[i] = (float)(mean + deviation * (double)s->normals[from]);
        if (++from == NORMALS) from = 0;
    }
    return data;
}

float *dart_suite_output(suite *s, uint64_t words)
{
    uint32_t *data = new_tensor(s, words, false);
    for (uint64_t i = 0; i < words; i++) data[i] = NAN_WORD;
    return (float *)data;
}

int32_t *dart_suite_integers(suite *s, uint64_t words)
{
    return (int32_t *)dart_suite_bits_output(s, words);
}

uint32_t *dart_suite_bits(suite *s, uint64_t words)
{
    uint32_t *data = new_tensor(s, words, true);
    for (uint64_t i = 0; i < words; i += 4) {
        uint32_t word[4];
        dart_philox(s->options->seed, DART_STREAM_TEST + s->numbered, i, word);
        for (uint64_t j = i; j < words && j < i + 4; j++) data[j] = word[j - i];
    }
    return data;
}

uint32_t *dart_suite_bits_output(suite *s, uint64_t words)
{
    uint32_t *data = new_tensor(s, words, true);
    memset(data, 0, words * sizeof *data);
    return data;
}

void dart_suite_same(suite *s, uint32_t slot)
{
    test_case *c = current(s);
    c->tensor[c->tensors++] = c->tensor[slot];
}

void dart_suite_compare(suite *s, uint64_t every, uint64_t n)
{
    test_case *c = current(s);
    tensor *t = &s->tensors[c->tensor[c->tensors - 1]];
    t->every = every;
    t->first = n;
}

uint32_t dart_suite_random(suite *s, uint32_t n)
{
    uint32_t word[4];
    dart_philox(s->options->seed, DART_STREAM_TEST, s->draws++, word);
    return (uint32_t)(((uint64_t)word[0] * n) >> 32);
}

/* Where the case cannot run on the device it counts as skipped, with the reason, and its tensors
 * go. */
void dart_suite_done(suite *s)
{
    if (s->status != DART_OK) return;
    test_case *c = current(s);
    dart_suite_kernel *kernel = &s->result->kernel[c->launch.kernel];
    c->oracle_launch = c->launch;
    dart_status status = dart_launch_geometry(&s->device->caps, &c->launch);
    if (status == DART_DEVICE) {
        if (!s->result->skipped)
            snprintf(
                s->result->skip_reason, sizeof s->result->skip_reason, "%s", dart_error_text());
        s->result->skipped++;
        kernel->skipped++;
        return;
    }
    if (status == DART_OK) status = dart_launch_geometry(&s->oracle->caps, &c->oracle_launch);
    if (status != DART_OK) {
        s->status = status;
        return;
    }
    for (uint32_t b = 0; b < c->tensors; b++) {
        const tensor *t = &s->tensors[c->tensor[b]];
        c->launch.buf[b] = (dart_slice){.offset = t->start, .words = t->words};
        c->oracle_launch.buf[b] = (dart_slice){s->oracle_arena, t->start, t->words};
    }
    c->arena_end = s->used;
    s->count++;
}

/* ---- judging ---- */

/* Words that no tensor covers hold the guard. */
static void set_guards(suite *s)
{
    uint64_t at = 0;
    for (uint32_t i = 0; i <= s->tensor_count; i++) {
        uint64_t end = i < s->tensor_count ? s->tensors[i].start : s->used;
        for (; at < end; at++) s->before[at] = GUARD(at);
        if (i < s->tensor_count) at += s->tensors[i].words;
    }
}

static void widen(suite *s)
{
    double guard = NAN;
    for (uint64_t i = 0; i < s->used; i++) memcpy(&s->oracle_words[i], &guard, sizeof guard);
    for (uint32_t i = 0; i < s->tensor_count; i++) {
        const tensor *t = &s->tensors[i];
        for (uint64_t j = t->start; j < t->start + t->words; j++) {
            float value;
            memcpy(&value, &s->before[j], sizeof value);
            double wide = value;
            int64_t whole = (int32_t)s->before[j];
            if (t->integer)
                memcpy(&s->oracle_words[j], &whole, sizeof whole);
            else
                memcpy(&s->oracle_words[j], &wide, sizeof wide);
        }
    }
}

/* NMSE of a tensor against the oracle's; infinite for a NaN or a wrong infinity or, where bits are
 * compared, for any difference. */
static double distance(const suite *s, const tensor *t, bool exact)
{
    double error = 0, norm = 0;
    for (uint64_t i = 0; i < t->words; i++) {
        if (i % t->every >= t->first) continue;
        uint32_t bits = s->after[t->start + i];
        if (t->integer) {
            int64_t wanted;
            memcpy(&wanted, &s->oracle_words[t->start + i], sizeof wanted);
            if (bits != (uint32_t)wanted) return INFINITY;
            continue;
        }
        float got;
        double wanted;
        memcpy(&got, &bits, sizeof got);
        memcpy(&wanted, &s->oracle_words[t->start + i], sizeof wanted);
        if (exact && !((double)got == wanted)) return INFINITY;
        if (isinf(wanted)) {
            if ((double)got != wanted) return INFINITY;
            continue;
        }
        double d = (double)got - wanted;
        if (!isfinite(d)) return INFINITY;
        error += d * d;
        norm += wanted * wanted;
    }
    return norm > 0 ? error / norm : error;
}

static void fail_case(suite *s, const test_case *c, const char *what)
{
    s->result->failed++;
    s->result->kernel[c->launch.kernel].failed++;
    if (!s->options->failure) return;
    char text[512];
    snprintf(
        text, sizeof text, "%s %s: %s", dart_kernel_info_of(c->launch.kernel)->name, c->name, what);
    s->options->failure(s->options->context, text);
}

static bool is_written(const test_case *c, uint32_t number)
{
    const dart_kernel_info *info = dart_kernel_info_of(c->launch.kernel);
    for (uint32_t b = 0; b < c->tensors; b++)
        if (c->tensor[b] == number && (info->access[b] & DART_OUT)) return true;
    return false;
}

/* Guards between `from` and the end of the case, and its inputs. */
static bool is_damaged(const suite *s, const test_case *c, uint64_t from, char what[160])
{
    uint32_t first = c->tensor[0], last = first;
    for (uint32_t b = 0; b < c->tensors; b++)
        if (c->tensor[b] > last) last = c->tensor[b];
    for (uint64_t i = from; i < c->arena_end; i++) {
        if (s->after[i] == s->before[i]) continue;
        bool inside = false, written = false;
        for (uint32_t t = first; t <= last; t++)
            if (i >= s->tensors[t].start && i < s->tensors[t].start + s->tensors[t].words) {
                inside = true;
                written = is_written(c, t);
            }
        if (inside && written) continue;
        snprintf(what, 160, "%s changed, word %llu of its tensors",
            inside ? "an input was" : "memory outside the tensors was",
            (unsigned long long)(i - from));
        return true;
    }
    return false;
}

static void judge(suite *s, const test_case *c, uint64_t from)
{
    dart_suite_kernel *kernel = &s->result->kernel[c->launch.kernel];
    s->result->executed++;
    kernel->executed++;
    if (c->launch.variant) kernel->variants++;
    char what[160];
    if (is_damaged(s, c, from, what)) {
        fail_case(s, c, what);
        return;
    }
    double worst = 0;
    for (uint32_t b = 0; b < c->tensors; b++) {
        if (!is_written(c, c->tensor[b])) continue;
        double d = distance(s, &s->tensors[c->tensor[b]], c->tolerance == SUITE_EXACT);
        if (d > worst) worst = d;
    }
    if (worst > kernel->worst || !kernel->worst_case[0]) {
        kernel->worst = worst;
        kernel->tolerance = c->tolerance;
        snprintf(kernel->worst_case, sizeof kernel->worst_case, "%s", c->name);
    }
    if (worst <= c->tolerance) return;
    snprintf(what, sizeof what, "NMSE %.3g, the bound is %.3g", worst, c->tolerance);
    fail_case(s, c, what);
}

/* ---- running ---- */

static dart_status run_on_device(suite *s, dart_buffer arena)
{
    for (uint32_t i = 0; i < s->count; i++) {
        s->list[i] = s->cases[i].launch;
        for (uint32_t b = 0; b < s->list[i].buffers; b++) s->list[i].buf[b].buffer = arena;
    }
    dart_program *program = NULL;
    dart_status status = DART_OK;
    DART_GOTO(dart_device_write(s->device, arena, 0, s->used, s->before));
    DART_GOTO(dart_device_build(s->device, s->list, s->count, &program));
    DART_GOTO(dart_device_run(s->device, program, NULL));
    DART_GOTO(dart_device_read(s->device, arena, 0, s->used, s->after));
done:
    dart_device_drop(s->device, program);
    return status;
}

static dart_status run_on_oracle(suite *s)
{
    for (uint32_t i = 0; i < s->count; i++) s->list[i] = s->cases[i].oracle_launch;
    dart_program *program = NULL;
    dart_status status = DART_OK;
    DART_GOTO(dart_device_write(s->oracle, s->oracle_arena, 0, s->used, s->oracle_words));
    DART_GOTO(dart_device_build(s->oracle, s->list, s->count, &program));
    DART_GOTO(dart_device_run(s->oracle, program, NULL));
    DART_GOTO(dart_device_read(s->oracle, s->oracle_arena, 0, s->used, s->oracle_words));
done:
    dart_device_drop(s->oracle, program);
    return status;
}

static void run_batch(suite *s)
{
    if (s->status == DART_OK && s->count) {
        set_guards(s);
        widen(s);
        /* Both kinds of memory take turns. */
        s->status = run_on_device(s, s->arena[s->batches++ % 2]);
        if (s->status == DART_OK) s->status = run_on_oracle(s);
        uint64_t from = 0;
        for (uint32_t i = 0; i < s->count && s->status == DART_OK; i++) {
            judge(s, &s->cases[i], from);
            from = s->cases[i].arena_end;
        }
    }
    s->count = s->tensor_count = 0;
    s->used = 0;
}

static dart_status open_suite(suite *s, dart_arena *memory)
{
    s->before = DART_NEW(memory, uint32_t, ARENA);
    s->after = DART_NEW(memory, uint32_t, ARENA);
    s->oracle_words = DART_NEW(memory, uint64_t, ARENA);
    s->normals = DART_NEW(memory, float, NORMALS);
    if (!s->before || !s->after || !s->oracle_words || !s->normals) return DART_MEMORY;
    for (uint32_t i = 0; i < NORMALS; i++)
        s->normals[i] = (float)dart_normal(s->options->seed, DART_STREAM_TEST, i);
    DART_TRY(dart_device_open("cpu64", NULL, &s->oracle));
    DART_TRY(dart_device_alloc(s->oracle, DART_MEM_DEVICE, ARENA, &s->oracle_arena));
    DART_TRY(dart_device_alloc(s->device, DART_MEM_DEVICE, ARENA, &s->arena[0]));
    return dart_device_alloc(s->device, DART_MEM_HOST, ARENA, &s->arena[1]);
}

dart_status dart_suite_run(
    dart_device *device, const dart_suite_options *options, dart_suite_result *out_result)
{
    static void (*const generators[])(suite *) = {
#define K(name) [DART_K_##name] = dart_suite_cases_##name,
#include "kernels_list.inc"
#undef K
    };
    memset(out_result, 0, sizeof *out_result);
    if (device->caps.word != 4)
        return dart_fail(
            DART_FAILED, "the suite compares single-precision devices with the oracle");
    double start = dart_seconds();
    dart_arena memory = {0};
    suite *s = DART_NEW(&memory, suite, 1);
    if (!s) return DART_MEMORY;
    s->device = device;
    s->options = options;
    s->result = out_result;
    s->status = open_suite(s, &memory);
    for (int k = 0; k < DART_KERNELS && s->status == DART_OK; k++) {
        const char *name = dart_kernel_info_of((dart_kernel)k)->name;
        if (!options->kernel || strcmp(options->kernel, name) == 0) generators[k](s);
    }
    run_batch(s);
    dart_status status = s->status;
    for (int i = 0; i < 2; i++) dart_device_free(device, s->arena[i]);
    dart_device_close(s->oracle);
    dart_arena_free(&memory);
    out_result->seconds = dart_seconds() - start;
    return status;
}
