/* Runs a batch: many launches to a program, once on the device and once on the oracle, and compares
 * output by output. */
#include "batch.h"
#include "halves.h"
#include "stop.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

/* A quiet NaN that says where it stands. */
#define GUARD(place) (UINT32_C(0x7fc00001) + (uint32_t)(place) % 0x3ffff0)

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
            for (uint32_t place = 0; t->halves && place < 2; place++) {
                const double want = dart_suite_half_number(t->halves, (uint32_t)wanted, place);
                const double d = dart_suite_half_number(t->halves, bits, place) - want;
                if (!isfinite(d)) return INFINITY;
                error += d * d;
                norm += want * want;
            }
            if (t->halves) continue;
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
    kernel->by_variant[c->launch.variant]++;
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

void dart_suite_batch_run(suite *s)
{
    if (s->status == DART_OK) s->status = dart_stop_asked();
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
