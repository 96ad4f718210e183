/* The pick test of dart_bench: what a selection costs beyond spectra and cut, with the programs of
 * the stage after it made anew, as in a run. */
#include "bench.h"
#include "fresh.h"
#include "rank_options.h"
#include "run.h"
#include "stats.h"
#include "select.h"
#include "stop.h"
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Ranks that differ everywhere are what batches of launches like least, and a fresh model has no
 * spectra to choose by. */
static const char rule[] = "random";
static const double part = 0.5;

typedef struct trial {
    dart_bundle of;
    dart_corpus corpus;                    /* only sizes of vocabularies */
    uint32_t (*ranks)[DART_MAX_CORES + 1]; /* before the selection */
    const dart_reg *trained, *after;       /* penalties before and after it; NULL: none */
    int kind;                              /* of kinds */
    uint64_t seed;
    dart_device *device; /* owned: no kernel of it is older than the trial */
    dart_run run;
} trial;

static void device_close(trial *t)
{
    dart_run_unbind(&t->run);
    dart_device_close(t->device);
    t->run.device = t->device = NULL;
}

static dart_status device_open(trial *t, const char *id)
{
    const char *limits = t->of.set.limits;
    device_close(t);
    DART_TRY(dart_device_open(id, *limits ? dart_limits_find(limits) : NULL, &t->device));
    t->run.device = t->device;
    return DART_OK;
}

static void trial_close(trial *t)
{
    device_close(t);
    dart_run_free(&t->run);
    dart_bundle_free(&t->of);
    free(t->ranks);
}

static dart_status trial_open(const dart_bench_call *call, trial *t)
{
    dart_session_options how;
    DART_TRY(dart_fresh_open(call->recipe, call->options->model_path, &t->of));
    const dart_model *model = t->of.model;
    dart_settings *set = &t->of.set;
    uint32_t bonds = 0;
    for (uint32_t w = 0; w < model->weights; w++) bonds += model->weight[w].layout.bonds;
    if (!bonds)
        return dart_fail(DART_INPUT,
            "the model has no ranks to select: its layers are %s, not tensor trains",
            set->linear->name);
    DART_TRY(dart_session_options_from(set, model->config.vocab, &how));
    t->trained = how.reg && how.reg->penalty ? set->reg : NULL;
    set->ordered_dropout = 0;
    set->select = dart_select_find(rule);
    if (!(dart_settings_option(set, &dart_row_budget) > 0))
        dart_settings_set_option(set, &dart_row_budget, part);
    t->corpus.vocab.size = model->config.vocab;
    t->corpus.source_vocab.size = model->config.source_vocab;
    t->ranks = dart_calloc(model->weights, sizeof *t->ranks);
    if (!t->ranks) return DART_MEMORY;
    for (uint32_t w = 0; w < model->weights; w++)
        for (uint32_t k = 0; model->weight[w].layout.bonds && k <= DART_MAX_CORES; k++)
            t->ranks[w][k] = model->weight[w].weight.ranks[k];
    t->run.bundle.set = *set;
    t->run.stages = 1;
    t->run.stage[0] = (dart_stage){.set = *set, .steps = 1};
    t->run.bundle.vocab = &t->corpus.vocab;
    t->run.bundle.source_vocab = &t->corpus.source_vocab;
    for (int i = 0; i < DART_LOGS; i++) { /* a selection writes its lines as in a run */
        t->run.metrics.file[i] = tmpfile();
        if (!t->run.metrics.file[i])
            return dart_fail(DART_IO, "cannot make a temporary file: %s", strerror(errno));
    }
    return DART_OK;
}

/* The model as it was, in a session with its penalty: what a selection finds. */
static dart_status restore(trial *t)
{
    const dart_model *model = t->of.model;
    dart_run *run = &t->run;
    DART_TRY(dart_run_model(run, (const uint32_t(*)[DART_MAX_CORES + 1]) t->ranks));
    memcpy(run->bundle.param, t->of.param, (size_t)model->param_words * sizeof *run->bundle.param);
    memcpy(
        run->bundle.frozen, t->of.frozen, (size_t)model->frozen_words * sizeof *run->bundle.frozen);
    run->stage[0].set.reg = t->trained;
    return dart_run_bind(run);
}

static uint32_t step_launches(const dart_session *session)
{
    const uint32_t times[DART_PARTS] = {[DART_PART_STEP] = 1,
        [DART_PART_MORE] = session->options.accumulation - 1,
        [DART_PART_UPDATE] = 1};
    uint32_t launches = 0;
    for (int p = 0; p < DART_PARTS; p++)
        if (times[p] && session->part[p].plan)
            launches += times[p] * dart_plan_stats_of(session->part[p].plan)->launches;
    return launches;
}

static dart_status measure(trial *t, dart_bench_row *row, double *out_beyond)
{
    dart_run *run = &t->run;
    double svd, beyond, begin;
    DART_TRY(restore(t));
    row->launches_before = step_launches(run->session);
    run->stage[0].set.reg = t->after;
    begin = dart_seconds();
    DART_TRY(dart_run_pick(run, &run->stage[0].set, &svd));
    DART_TRY(dart_run_bind(run));
    *out_beyond = beyond = dart_seconds() - begin - svd;
    const dart_program_times *times = &run->session->times;
    if (times->kernels_made > row->kernels_made) row->kernels_made = times->kernels_made;
    if (1e3 * beyond >= row->beyond_svd_ms) return DART_OK;
    row->kernels_found = times->kernels_found;
    row->launches = step_launches(run->session);
    row->svd_ms = 1e3 * svd;
    row->graphs_ms = 1e3 * times->graph;
    row->paths_ms = 1e3 * times->optimize;
    row->plan_ms = 1e3 * times->plan;
    row->program_ms = 1e3 * times->build;
    row->beyond_svd_ms = 1e3 * beyond;
    row->copies_ms =
        row->beyond_svd_ms - row->graphs_ms - row->paths_ms - row->plan_ms - row->program_ms;
    return DART_OK;
}

static void release(void *kept)
{
    trial_close(kept);
    free(kept);
}

/* First: each time on a device just opened. Same and other ranks: on that, after it. */
enum { FIRST, SAME, OTHER, KINDS };
static const char *const kinds[KINDS] = {"first", "same ranks", "other ranks"};

/* On a device of its own, where no kernel was made before: the call's device only says which. It is
 * kept from one kind to the next. */
static dart_status open_pick(dart_bench_job *job, bool *out_there)
{
    dart_bench_row *row = &job->row;
    void **kept = job->call.kept;
    *out_there = job->index < 2 * KINDS;
    if (!*out_there) return DART_OK;
    if (!*kept) {
        *kept = dart_calloc(1, sizeof(trial));
        if (!*kept) return DART_MEMORY;
        const dart_status status = trial_open(&job->call, *kept);
        if (status != DART_OK) {
            release(*kept);
            *kept = NULL;
            return status;
        }
    }
    trial *t = job->state = *kept;
    *out_there = job->index < KINDS || t->trained;
    if (!*out_there) return DART_OK;
    const dart_model *model = t->of.model;
    t->kind = (int)(job->index % KINDS);
    t->after = job->index < KINDS ? NULL : t->trained;
    t->seed = (uint64_t)t->of.set.seed;
    job->per = 1;
    row->selection = kinds[t->kind];
    row->layers = model->config.layers + model->config.enc_layers;
    snprintf(row->penalty, sizeof row->penalty, "%s", t->after ? t->after->name : "none");
    for (uint32_t w = 0; w < model->weights; w++) row->bonds += model->weight[w].layout.bonds;
    row->beyond_svd_ms = INFINITY;
    return DART_OK;
}

static dart_status sample(dart_bench_job *job, double *out_seconds)
{
    char id[32];
    trial *t = job->state;
    t->run.bundle.set.seed = (int64_t)(t->kind == OTHER ? t->seed + 1 + job->runs : t->seed);
    if (t->kind == FIRST || !t->device)
        DART_TRY(device_open(t, dart_device_id(job->call.device, id)));
    return measure(t, &job->row, out_seconds);
}

static dart_status finish(dart_bench_job *job)
{
    dart_bench_row *row = &job->row;
    double beyond[DART_BENCH_REPEATS];
    memcpy(beyond, row->seconds, row->samples * sizeof *beyond);
    row->sd_ms = row->samples > 1 ? 1e3 * dart_spread_of(beyond, row->samples).sd : NAN;
    row->median_ms = 1e3 * dart_median(beyond, row->samples);
    return DART_OK;
}

const dart_bench_test dart_bench_pick = {.name = "pick",
    .help = "what a selection of ranks costs",
    .columns =
        "test grid device backend device_name driver layers bonds penalty selection runs svd_ms "
        "graphs_ms paths_ms plan_ms program_ms copies_ms beyond_svd_ms median_ms sd_ms "
        "kernels_made kernels_found launches_before launches",
    .footnote =
        "Milliseconds of the fastest; median and deviation of all are of \"beyond SVD\": what a "
        "selection takes without spectra and cut on the host. Copies: parameters to and from the "
        "device, the old programs freed. Ranks are drawn at random. First: on a device where only "
        "the programs before it were made, opened anew each time; then to the same ranks, and to "
        "others. Launches: of a training step.",
    .open = open_pick,
    .sample = sample,
    .finish = finish,
    .release = release};
