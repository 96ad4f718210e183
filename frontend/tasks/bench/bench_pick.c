/* The pick test of dart_bench: what a selection costs beyond spectra and cut, with the programs of
 * the stage after it made anew, as in a run. */
#include "bench.h"
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
    double *beyond;                        /* [repeats] */
    dart_device *device;                   /* owned: no kernel of it is older than the trial */
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
    free(t->beyond);
}

static dart_status trial_open(const dart_bench_call *call, trial *t)
{
    dart_session_options how;
    DART_TRY(dart_bench_subject(call, &t->of));
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
    t->beyond = dart_calloc(call->options->repeats, sizeof *t->beyond);
    if (!t->ranks || !t->beyond) return DART_MEMORY;
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

static dart_status measure(trial *t, dart_bench_row *row)
{
    dart_run *run = &t->run;
    double svd, beyond, begin;
    DART_TRY(restore(t));
    row->launches_before = step_launches(run->session);
    run->stage[0].set.reg = t->after;
    begin = dart_seconds();
    DART_TRY(dart_run_pick(run, &run->stage[0].set, &svd));
    DART_TRY(dart_run_bind(run));
    t->beyond[row->runs] = beyond = dart_seconds() - begin - svd;
    const dart_program_times *times = &run->session->times;
    if (times->kernels_made > row->kernels_made) row->kernels_made = times->kernels_made;
    if (row->runs++ && 1e3 * beyond >= row->beyond_svd_ms) return DART_OK;
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

static dart_bench_row *new_row(const dart_bench_call *call, const trial *t, const char *kind)
{
    const dart_model *model = t->of.model;
    dart_bench_row *row = dart_bench_row_new(call, &dart_bench_pick, "");
    if (!row) return NULL;
    row->selection = kind;
    row->layers = model->config.layers + model->config.enc_layers;
    snprintf(row->penalty, sizeof row->penalty, "%s", t->after ? t->after->name : "none");
    for (uint32_t w = 0; w < model->weights; w++) row->bonds += model->weight[w].layout.bonds;
    return row;
}

/* The first selection on a device, each time on one just opened; then on the last of those to the
 * same ranks and to others. */
static dart_status selections(const dart_bench_call *call, trial *t, uint64_t seed)
{
    static const char *const kinds[] = {"first", "same ranks", "other ranks"};
    char id[32];
    dart_device_id(call->device, id);
    for (int kind = 0; kind < 3; kind++) {
        dart_bench_row *row = new_row(call, t, kinds[kind]);
        if (!row) return DART_OK;
        for (uint32_t r = 0; r < call->options->repeats; r++) {
            DART_TRY(dart_stop_asked());
            t->run.bundle.set.seed = (int64_t)(kind == 2 ? seed + 1 + r : seed);
            if (kind == 0) DART_TRY(device_open(t, id));
            DART_TRY(measure(t, row));
        }
        row->sd_ms = 1e3 * dart_spread_of(t->beyond, row->runs).sd;
        row->median_ms = 1e3 * dart_median(t->beyond, row->runs);
    }
    return DART_OK;
}

/* On devices of its own, where no kernel was made before: the call's device only says which. */
static dart_status run(const dart_bench_call *call)
{
    dart_status status = DART_OK;
    trial t = {0};
    DART_GOTO(trial_open(call, &t));
    const uint64_t seed = (uint64_t)t.of.set.seed;
    const dart_reg *const after[] = {NULL, t.trained};
    for (int i = 0; i < (t.trained ? 2 : 1); i++) {
        t.after = after[i];
        DART_GOTO(selections(call, &t, seed));
    }
done:
    trial_close(&t);
    return status;
}

const dart_bench_test dart_bench_pick = {.name = "pick",
    .help = "what a selection of ranks costs",
    .columns = "test device layers bonds penalty selection runs svd_ms graphs_ms paths_ms plan_ms "
               "program_ms copies_ms beyond_svd_ms median_ms sd_ms kernels_made kernels_found "
               "launches_before launches",
    .footnote =
        "milliseconds of the fastest; median and deviation of all are of \"beyond SVD\": what a "
        "selection takes without spectra and cut on the host. Copies: parameters to and from the "
        "device, the old programs freed.\nRanks are drawn at random. First: on a device where only "
        "the programs before it were made, opened anew each time; then to the same ranks, then to "
        "others. Launches: of a training step.",
    .run = run};
