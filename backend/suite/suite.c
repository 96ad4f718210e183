/* Runs every generator of cases on a device and counts. */
#include "batch.h"
#include "clock.h"
#include "rng.h"
#include <string.h>

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
        if (options->kernel && strcmp(options->kernel, name) != 0) continue;
        s->numbered = s->draws = 0; /* no kernel's inputs depend on the cases of others */
        generators[k](s);
    }
    dart_suite_batch_run(s);
    dart_status status = s->status;
    for (int i = 0; i < 2; i++) dart_device_free(device, s->arena[i]);
    dart_device_close(s->oracle);
    dart_arena_free(&memory);
    out_result->seconds = dart_seconds() - start;
    return status;
}
