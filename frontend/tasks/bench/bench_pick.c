/* The pick test of dart_bench: what a selection costs beyond spectra and cut, with the programs of
 * the stage after it made anew, as in a run. */
#include "bench.h"
#include "rank_options.h"
#include "run.h"
#include "select.h"
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
    bench_subject of;
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
    bench_subject_close(&t->of);
    free(t->ranks);
    free(t->beyond);
}

static dart_status trial_open(
    const dart_recipe *recipe, const dart_bench_options *options, trial *t)
{
    dart_session_options how;
    DART_TRY(bench_subject_open(recipe, options->model_path, &t->of));
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
    t->beyond = dart_calloc(options->repeats, sizeof *t->beyond);
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

static dart_status measure(trial *t, bench_pick_row *row)
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
    if (times->kernels_made > row->made) row->made = times->kernels_made;
    if (row->runs++ && 1e3 * beyond >= row->beyond) return DART_OK;
    row->found = times->kernels_found;
    row->launches = step_launches(run->session);
    row->svd = 1e3 * svd;
    row->graph = 1e3 * times->graph;
    row->paths = 1e3 * times->optimize;
    row->plan = 1e3 * times->plan;
    row->build = 1e3 * times->build;
    row->beyond = 1e3 * beyond;
    row->copies = row->beyond - row->graph - row->paths - row->plan - row->build;
    return DART_OK;
}

static bench_pick_row *new_row(
    bench_rows *rows, const trial *t, const char *kind, const char *device)
{
    const dart_model *model = t->of.model;
    if (rows->picks == BENCH_MAX_ROWS) return NULL;
    bench_pick_row *row = &rows->pick[rows->picks++];
    *row = (bench_pick_row){
        .kind = kind, .layers = model->config.layers + model->config.enc_layers, .sd = NAN};
    snprintf(row->device, sizeof row->device, "%s", device);
    snprintf(row->penalty, sizeof row->penalty, "%s", t->after ? t->after->name : "none");
    for (uint32_t w = 0; w < model->weights; w++) row->bonds += model->weight[w].layout.bonds;
    return row;
}

/* In milliseconds. */
static double deviation(const double *seconds, uint32_t n)
{
    double sum = 0, squares = 0;
    if (n < 2) return NAN;
    for (uint32_t i = 0; i < n; i++) sum += seconds[i];
    for (uint32_t i = 0; i < n; i++) squares += pow(seconds[i] - sum / n, 2);
    return 1e3 * sqrt(squares / (n - 1));
}

/* The first selection on a device, each time on one just opened; then on the last of those to the
 * same ranks and to others. */
static dart_status selections(
    trial *t, const char *device, uint32_t repeats, uint64_t seed, bench_rows *rows)
{
    static const char *const kinds[] = {"first", "same ranks", "other ranks"};
    dart_status status = DART_OK;
    double rates; /* the deviation that bench_median gives is of 1 / seconds */
    for (int kind = 0; kind < 3; kind++) {
        bench_pick_row *row = new_row(rows, t, kinds[kind], device);
        if (!row) return DART_OK;
        for (uint32_t r = 0; r < repeats && status == DART_OK; r++) {
            t->run.bundle.set.seed = (int64_t)(kind == 2 ? seed + 1 + r : seed);
            if (kind == 0) status = device_open(t, device);
            if (status == DART_OK) status = measure(t, row);
        }
        if (status != DART_OK) { /* bench.c says why, in a row of its own */
            rows->picks--;
            return status;
        }
        row->sd = deviation(t->beyond, row->runs);
        row->median = 1e3 * bench_median(t->beyond, row->runs, 1, &rates);
    }
    return DART_OK;
}

dart_status bench_pick(const dart_recipe *recipe, const dart_bench_options *options,
    const dart_device *device, bench_rows *rows)
{
    dart_status status = DART_OK;
    trial t = {0};
    char id[32];
    dart_device_id(device, id);
    DART_GOTO(trial_open(recipe, options, &t));
    const uint64_t seed = (uint64_t)t.of.set.seed;
    const dart_reg *const after[] = {NULL, t.trained};
    for (int i = 0; i < (t.trained ? 2 : 1); i++) {
        t.after = after[i];
        DART_GOTO(selections(&t, id, options->repeats, seed, rows));
    }
done:
    trial_close(&t);
    return status;
}

/* ---- output ---- */

void bench_pick_markdown(const bench_rows *rows, FILE *out)
{
    if (!rows->picks) return;
    fprintf(out,
        "| device | layers | bonds | penalty after | selection | runs | SVD and cut ms | graphs | "
        "paths | plan | program | copies | beyond SVD | median | ± sd | kernels compiled | found | "
        "launches before | launches |\n"
        "| --- | ---: | ---: | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | "
        "---: | ---: | ---: | ---: | ---: | ---: |\n");
    for (uint32_t i = 0; i < rows->picks; i++) {
        const bench_pick_row *r = &rows->pick[i];
        fprintf(out, "| %s | %" PRIu32 " | %" PRIu32 " | %s | %s | %" PRIu32 " |", r->device,
            r->layers, r->bonds, r->penalty, r->kind, r->runs);
        const double ms[] = {
            r->svd, r->graph, r->paths, r->plan, r->build, r->copies, r->beyond, r->median, r->sd};
        for (size_t k = 0; k < sizeof ms / sizeof *ms; k++)
            fprintf(out, isnan(ms[k]) ? " - |" : " %.1f |", ms[k]);
        fprintf(out, " %" PRIu64 " | %" PRIu64 " | %" PRIu32 " | %" PRIu32 " |\n", r->made,
            r->found, r->launches_before, r->launches);
    }
    fputs("\nMilliseconds of the fastest run; median and deviation of all are of \"beyond SVD\": "
          "what a selection takes without spectra and cut on the host. Copies: parameters to and "
          "from the device, the old programs freed.\nRanks are drawn at random. First: on a device "
          "where only the programs before it were made, opened anew each time; then to the same "
          "ranks, then to "
          "others. Launches: of a training step.\n",
        out);
}

void bench_pick_csv(const bench_rows *rows, FILE *out)
{
    if (!rows->picks) return;
    fputs("device,layers,bonds,penalty,selection,runs,svd_ms,graphs_ms,paths_ms,plan_ms,program_ms,"
          "copies_ms,beyond_svd_ms,median_ms,sd_ms,kernels_made,kernels_found,launches_before,"
          "launches\n",
        out);
    for (uint32_t i = 0; i < rows->picks; i++) {
        const bench_pick_row *r = &rows->pick[i];
        fprintf(out,
            "%s,%" PRIu32 ",%" PRIu32 ",%s,%s,%" PRIu32
            ",%.6g,%.6g,%.6g,%.6g,%.6g,%.6g,%.6g,%.6g,%.6g,%" PRIu64 ",%" PRIu64 ",%" PRIu32
            ",%" PRIu32 "\n",
            r->device, r->layers, r->bonds, r->penalty, r->kind, r->runs, r->svd, r->graph,
            r->paths, r->plan, r->build, r->copies, r->beyond, r->median, r->sd, r->made, r->found,
            r->launches_before, r->launches);
    }
}

void bench_pick_json(const bench_rows *rows, json_t *list)
{
    for (uint32_t i = 0; i < rows->picks; i++) {
        const bench_pick_row *r = &rows->pick[i];
        json_array_append_new(list,
            json_pack("{s:s, s:s, s:i, s:i, s:s, s:s, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, "
                      "s:o, s:I, s:I, s:i, s:i}",
                "test", "pick", "device", r->device, "layers", (int)r->layers, "bonds",
                (int)r->bonds, "penalty", r->penalty, "selection", r->kind, "runs", (int)r->runs,
                "svd_ms", r->svd, "graphs_ms", r->graph, "paths_ms", r->paths, "plan_ms", r->plan,
                "program_ms", r->build, "copies_ms", r->copies, "beyond_svd_ms", r->beyond,
                "median_ms", r->median, "sd_ms", isfinite(r->sd) ? json_real(r->sd) : json_null(),
                "kernels_made", (json_int_t)r->made, "kernels_found", (json_int_t)r->found,
                "launches_before", (int)r->launches_before, "launches", (int)r->launches));
    }
}
