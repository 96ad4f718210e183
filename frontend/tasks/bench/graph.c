/* A small graph as a case: planned, bound to regions of its own, replayed. */
#include "bench.h"
#include "extent.h"
#include "rng.h"
#include <math.h>
#include <stdlib.h>

enum { MOST = 64 };
static const double run_s = 0.005; /* that a run should take where it can */

dart_status dart_bench_graph_bind(dart_bench_job *job, dart_bench_graph *state, dart_graph *graph,
    const dart_program_options *options, double per)
{
    dart_device *device = job->call.device;
    uint32_t count;
    DART_TRY(dart_program_plan(&state->program, graph, &device->caps, options, NULL));
    const dart_plan_stats *stats = dart_plan_stats_of(state->program.plan);
    const dart_launch *list = dart_plan_launches(state->program.plan, &count);
    for (uint32_t i = 0; i < count; i++) {
        job->flops += dart_launch_flops(&list[i]);
        job->bytes += dart_launch_bytes(&list[i], device->caps.word);
    }
    const double one = dart_peak_seconds(job->call.peak, job->flops, job->bytes);
    state->again = !(one > 0) || job->hidden ? 1 : (uint32_t)fmin(fmax(ceil(run_s / one), 1), MOST);
    job->per = per * state->again;
    job->replays = state->again;
    job->flops *= state->again;
    job->bytes *= state->again;
    job->row.launches = stats->launches;
    job->row.barriers = stats->barriers;
    job->row.planned_bytes = (stats->planned_words + stats->region_words) * device->caps.word;
    DART_TRY(dart_memory_new(&state->memory, device));
    return dart_program_bind(&state->program, device, &state->memory, NULL, NULL);
}

dart_status dart_bench_graph_sample(
    dart_bench_job *job, dart_bench_graph *state, double *out_seconds)
{
    const uint32_t again = job->runs ? state->again : 1; /* the first run is compared */
    const double begin = dart_seconds();
    for (uint32_t i = 0; i < again; i++) DART_TRY(dart_program_run(&state->program, NULL));
    *out_seconds = (dart_seconds() - begin) * state->again / again;
    return DART_OK;
}

dart_status dart_bench_graph_profile(
    dart_bench_job *job, dart_bench_graph *state, dart_profile *out)
{
    double *seconds = dart_calloc(job->row.launches, sizeof *seconds);
    if (!seconds) return DART_MEMORY;
    dart_status status = dart_program_run(&state->program, seconds);
    if (status == DART_OK)
        status = dart_profile_add(
            out, job->test->name, &state->program, job->call.device->caps.word, seconds);
    free(seconds);
    return status;
}

dart_status dart_bench_graph_compare(dart_bench_job *job, dart_bench_graph *state, uint32_t index)
{
    dart_slice slice;
    DART_TRY(dart_program_slice(&state->program, index, &slice));
    float *value = dart_calloc(slice.words, sizeof *value);
    if (!value) return DART_MEMORY;
    dart_status status =
        dart_device_read_f32(job->call.device, slice.buffer, slice.offset, slice.words, value);
    if (status == DART_OK) dart_bench_differ(job, index, value, slice.words);
    free(value);
    return status;
}

void dart_bench_graph_close(dart_bench_job *job, dart_bench_graph *state)
{
    dart_program_free(&state->program);
    dart_memory_free(&state->memory, job->call.device);
}

dart_status dart_bench_random(dart_bench_job *job, const dart_memory *memory, dart_region region,
    uint64_t offset, uint64_t words, uint64_t seed, double low, double high)
{
    float *value = dart_calloc(words, sizeof *value);
    if (!value) return DART_MEMORY;
    for (uint64_t i = 0; i < words; i++)
        value[i] = (float)(low + (high - low) * dart_uniform(seed, DART_STREAM_TEST, i));
    dart_status status = dart_memory_write(memory, job->call.device, region, offset, words, value);
    free(value);
    return status;
}
