/* The peak test: what the roofs are, with their deviations. */
#include "bench.h"
#include "stats.h"
#include <stdlib.h>

static const struct {
    const char *what, *unit;
    double scale;
    bool time; /* seconds of one, not how many a second */
} kinds[DART_PROBES] = {[DART_PROBE_FMA] = {"FMA, f32", "GFLOP/s", 1e-9, false},
    [DART_PROBE_COPY] = {"copy", "GB/s", 1e-9, false},
    [DART_PROBE_LAUNCH] = {"launch", "us", 1e6, true},
    [DART_PROBE_SUBMIT] = {"submit", "us", 1e6, true}};

static dart_status open_probe(dart_bench_job *job, bool *out_there)
{
    *out_there = job->index < DART_PROBES;
    if (!*out_there) return DART_OK;
    dart_probe *probe = job->state = dart_calloc(1, sizeof *probe);
    if (!probe) return DART_MEMORY;
    snprintf(job->row.what, sizeof job->row.what, "%s", kinds[job->index].what);
    snprintf(job->row.unit, sizeof job->row.unit, "%s", kinds[job->index].unit);
    DART_TRY(dart_probe_new(job->call.device, (dart_probe_kind)job->index, probe));
    job->per = 1;
    return DART_OK;
}

static dart_status sample(dart_bench_job *job, double *out_seconds)
{
    return dart_probe_run(job->state, out_seconds);
}

static dart_status finish(dart_bench_job *job)
{
    const dart_probe *probe = job->state;
    dart_bench_row *row = &job->row;
    double rate[DART_BENCH_REPEATS];
    for (uint32_t i = 0; i < row->samples; i++)
        rate[i] =
            kinds[job->index].time ? row->seconds[i] / probe->work : probe->work / row->seconds[i];
    for (uint32_t i = 0; i < row->samples; i++) rate[i] *= kinds[job->index].scale;
    const double done = 1e-3 * row->ms;
    row->rate = kinds[job->index].scale *
                (kinds[job->index].time ? done / probe->work : probe->work / done);
    row->sd = row->samples > 1 ? dart_spread_of(rate, row->samples).sd : 0;
    return DART_OK;
}

static void close_probe(dart_bench_job *job)
{
    if (job->state) dart_probe_free(job->state);
    free(job->state);
    job->state = NULL;
}

const dart_bench_test dart_bench_peak = {.name = "peak",
    .help =
        "what the device does at best: products that are added, words copied (read and written), "
        "a launch, a submission",
    .columns =
        "test what grid device backend device_name driver rate sd unit first_ms ms ms_min ms_max",
    .footnote = "Medians of runs, after a warm-up. FMA: eight chains of products and sums in each "
                "invocation, in vectors where those are spelled out. Launch: one of 64 words that "
                "waits for the one before. Submit: a program of one, from the call until it is "
                "done.",
    .plain = true,
    .warm_ups = 2,
    .open = open_probe,
    .sample = sample,
    .finish = finish,
    .close = close_probe};
