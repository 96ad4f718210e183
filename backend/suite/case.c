/* Puts a case together: its launch, and its tensors in the arena with guard words between them. */
#include "batch.h"
#include "geometry.h"
#include "halves.h"
#include "rng.h"
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Slices start at multiples of ALIGN words (256 bytes of the smallest word) or more. */
enum { ALIGN = 64, GUARDS = 64 };
#define NAN_WORD UINT32_C(0x7fc00000)

const uint32_t dart_suite_sizes[5] = {1, 3, 31, 33, 257};

static uint64_t align_words(const suite *s)
{
    uint64_t own = s->device->caps.offset_align / s->device->caps.word;
    return own > ALIGN ? own : ALIGN;
}

static test_case *current(suite *s)
{
    return &s->cases[s->count];
}

/* Leaves three quarters of the arena to the next case. */
static void make_room(suite *s)
{
    if (s->count == CASES || s->tensor_count > TENSORS - DART_MAX_BUFS || s->used > ARENA / 4)
        dart_suite_batch_run(s);
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

uint32_t *dart_suite_halves(suite *s, uint64_t numbers, uint32_t kind)
{
    const uint64_t words = (numbers + 1) / 2;
    uint32_t *data = dart_suite_bits(s, words);
    for (uint64_t i = 0; i < words; i++) data[i] = dart_suite_half_word(kind, data[i]);
    s->tensors[s->tensor_count - 1].halves = kind;
    return data;
}

uint32_t *dart_suite_halves_output(suite *s, uint64_t numbers, uint32_t kind)
{
    const uint64_t words = (numbers + 1) / 2;
    uint32_t *data = dart_suite_bits_output(s, words);
    for (uint64_t i = 0; i < words; i++) data[i] = dart_suite_half_nan(kind);
    s->tensors[s->tensor_count - 1].halves = kind;
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
 * go; also where it cannot have the form that is wanted, which does not count. */
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
    const dart_form *form = s->options->form;
    if (form && form->kernel == (uint32_t)c->launch.kernel &&
        dart_launch_form(&s->device->caps, form, &c->launch) != DART_OK)
        return;
    c->arena_end = s->used;
    s->count++;
}
