/* The infer test of dart_bench: reading a prompt and making tokens one by one, with the model's
 * weights in each form, beside its dense twin. */
#include "bench.h"
#include "bundle.h"
#include "infer.h"
#include "rng.h"
#include "setup.h"
#include "stop.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_dense(const dart_model *model)
{
    for (uint32_t w = 0; w < model->weights; w++)
        if (model->weight[w].compressed) return false;
    return true;
}

/* ---- what a token cannot do without ---- */

/* Bytes that one token reads: all weights but rows of the table that are not looked up, and the
 * keys and values of `seen` tokens. */
static double bytes_per_token(const dart_infer *infer, double seen)
{
    const dart_model *m = infer->model;
    const dart_forms *f = &infer->decoder.forms;
    double words = (double)f->words;
    for (uint32_t g = 0; g < f->table.groups; g++) {
        const dart_table_group *group = &f->table.group[g];
        double row = (double)dart_shape_words(&group->shape);
        bool shared =
            m->head == m->embedding && f->part[f->form[m->head].first].offset[0] == group->offset;
        if (group->rows && !shared) words -= row * group->rows;
        if (group->rows) words += row;
    }
    if (m->positions >= 0) words -= (double)(m->config.context - 1) * m->config.d_model;
    words += seen / infer->context * (double)infer->decoder.cache_words;
    return words * infer->device->caps.word;
}

/* Bytes a second at which the device reads a buffer of `words`: sums of squares, again and again.
 */
static dart_status bandwidth(dart_device *device, uint64_t words, double *out)
{
    enum { PASSES = 16, RUNS = 7 };
    dart_status status = DART_OK;
    dart_graph *graph = NULL;
    dart_graph_program program = {0};
    dart_memory memory = {0};
    const dart_program_options as_built = {.as_built = true}; /* the optimizer makes them one */
    const uint32_t n = (uint32_t)(words < 1 << 14 ? 1 << 14 : words > 1 << 26 ? 1 << 26 : words);
    double best = INFINITY;
    DART_GOTO(dart_graph_new(&graph));
    dart_node x = dart_leaf(graph, "x", DART_F32, DART_SHAPE(n), DART_REGION_FORM, 0);
    for (int i = 0; i < PASSES; i++) (void)dart_sumsq_all(graph, x);
    DART_GOTO(dart_program_plan(&program, graph, &device->caps, &as_built, NULL));
    memory.words[DART_REGION_FORM] = n;
    DART_GOTO(dart_memory_new(&memory, device));
    DART_GOTO(dart_program_bind(&program, device, &memory, NULL, NULL));
    for (int i = 0; i < RUNS; i++) {
        double begin = dart_seconds();
        DART_GOTO(dart_program_run(&program, NULL));
        best = fmin(best, dart_seconds() - begin);
    }
    *out = (double)PASSES * n * device->caps.word / best;
done:
    dart_program_free(&program);
    dart_memory_free(&memory, device);
    return status;
}

/* ---- measuring ---- */

typedef struct trial {
    const dart_bench_call *call;
    const dart_bundle *subject;
    const char *model, *weights;
    dart_infer_weights how;
    uint32_t index; /* of the variant, in the reference */
} trial;

/* "pp512" or "tg128" */
static dart_bench_row *new_row(const trial *t, const char *test, uint32_t tokens)
{
    char what[32];
    snprintf(what, sizeof what, "%s%" PRIu32, test, tokens);
    dart_bench_row *row = dart_bench_row_new(t->call, &dart_bench_infer, what);
    if (!row) return NULL;
    snprintf(row->model, sizeof row->model, "%s", t->model);
    snprintf(row->weights, sizeof row->weights, "%s", t->weights);
    return row;
}

static void figures(const dart_infer *infer, int part, uint32_t tokens, dart_bench_row *row)
{
    const dart_plan_stats *stats = dart_plan_stats_of(infer->part[part].program.plan);
    uint64_t compressed, dense;
    dart_model_count(infer->model, &row->params, &compressed, &dense);
    const dart_infer_memory memory = dart_infer_memory_of(infer);
    row->weight_bytes = memory.weights;
    row->cache_bytes = memory.cache;
    row->arena_bytes = memory.arena;
    row->resident_bytes = memory.total;
    row->launches = stats->launches;
    row->barriers = stats->barriers;
    row->mflop = 1e-6 * stats->flops / tokens;
}

static dart_status prompt_run(dart_infer *infer, const trial *t, const int32_t *token, uint32_t n,
    double *seconds, dart_bench_row *row)
{
    const uint32_t repeats = t->call->options->repeats;
    for (uint32_t r = 0; r <= repeats; r++) { /* the first one warms up */
        DART_TRY(dart_stop_asked());
        double begin = dart_seconds();
        dart_infer_reset(infer);
        DART_TRY(dart_infer_feed(infer, token, n));
        if (r) seconds[r - 1] = dart_seconds() - begin;
    }
    double median = dart_bench_median(seconds, repeats, n, &row->sd);
    row->best = n / seconds[0]; /* sorted */
    row->tokens_per_s = n / median;
    row->ms_per_token = 1e3 * median / n;
    row->difference =
        dart_bench_reference_compare(t->call->reference, t->index, infer->logits, infer->columns);
    return DART_OK;
}

static dart_status token_run(dart_infer *infer, const trial *t, const int32_t *token, uint32_t n,
    double *seconds, double rate, dart_bench_row *row)
{
    const uint32_t repeats = t->call->options->repeats;
    for (uint32_t r = 0; r <= repeats; r++) {
        dart_infer_reset(infer);
        double begin = dart_seconds();
        for (uint32_t i = 0; i < n; i++) {
            DART_TRY(dart_stop_asked());
            DART_TRY(dart_infer_feed(infer, token + i, 1));
        }
        if (r) seconds[r - 1] = dart_seconds() - begin;
    }
    double median = dart_bench_median(seconds, repeats, n, &row->sd);
    row->best = n / seconds[0]; /* sorted */
    row->tokens_per_s = n / median;
    row->ms_per_token = 1e3 * median / n;
    row->bytes_read = bytes_per_token(infer, 0.5 * (n + 1));
    row->floor_ms = 1e3 * row->bytes_read / rate;
    row->difference = dart_bench_reference_compare(
        t->call->reference, t->index + 1, infer->logits, infer->columns);
    return DART_OK;
}

static dart_status one_trial(const trial *t, const int32_t *token, double *seconds)
{
    dart_status status = DART_OK;
    dart_infer *infer = NULL;
    double rate = NAN;
    dart_device *device = t->call->device;
    const dart_bench_options *options = t->call->options;
    const uint32_t context = t->subject->model->config.context;
    uint32_t prompt = options->prompt ? options->prompt : 512;
    uint32_t made = options->tokens ? options->tokens : 128;
    if (prompt > context) prompt = context;
    if (made > context) made = context;
    dart_bench_row *row = new_row(t, "pp", prompt);
    if (!row) return DART_OK;
    const dart_infer_options how = {.batch = 1, .weights = t->how};
    DART_GOTO(dart_infer_new(
        device, t->subject->model, &how, t->subject->param, t->subject->frozen, &infer));
    figures(infer, DART_INFER_PREFILL, infer->part[DART_INFER_PREFILL].time, row);
    DART_GOTO(prompt_run(infer, t, token, prompt, seconds, row));
    row = new_row(t, "tg", made);
    if (!row) goto done;
    figures(infer, DART_INFER_STEP, 1, row);
    DART_GOTO(bandwidth(device, infer->decoder.forms.words, &rate));
    status = token_run(infer, t, token, made, seconds, rate, row);
done:
    dart_infer_free(infer);
    return status;
}

static dart_status all_forms(
    const dart_bench_call *call, const dart_bundle *subject, const int32_t *token, double *seconds)
{
    static const struct {
        const char *name;
        dart_infer_weights how;
    } forms[] = {{"auto", DART_INFER_AUTO}, {"cores", DART_INFER_CORES},
        {"halves", DART_INFER_HALVES}, {"dense", DART_INFER_DENSE}};
    const dart_infer_weights asked = dart_infer_weights_from(subject->set.infer_weights);
    const char *model = subject->set.linear->name;
    trial t = {.call = call, .subject = subject, .model = model};
    for (uint32_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (asked != DART_INFER_AUTO && asked != forms[i].how) continue;
        t.weights = forms[i].name;
        t.how = forms[i].how;
        t.index = 2 * (1 + i);
        DART_TRY(one_trial(&t, token, seconds));
    }
    return DART_OK;
}

static dart_status run(const dart_bench_call *call)
{
    dart_status status = DART_OK;
    dart_bundle subject, twin = {0};
    int32_t *token = NULL;
    double *seconds = NULL;
    DART_GOTO(dart_bench_subject(call, &subject));
    const dart_model_config *c = &subject.model->config;
    if (c->enc_layers) { /* a note, so that the other tests go on */
        dart_bench_row *row = dart_bench_row_new(call, &dart_bench_infer, "");
        if (row)
            snprintf(row->note, sizeof row->note,
                "measures decoder-only models; this one has an encoder of %" PRIu32 " layers",
                c->enc_layers);
        goto done;
    }
    token = dart_calloc(c->context, sizeof *token);
    seconds = dart_calloc(call->options->repeats, sizeof *seconds);
    if (!token || !seconds) status = DART_MEMORY;
    DART_GOTO(status);
    for (uint32_t i = 0; i < c->context; i++)
        token[i] = (int32_t)(dart_uniform(1, DART_STREAM_TEST, i) * c->vocab);
    const bool dense = is_dense(subject.model);
    if (!dense) DART_GOTO(dart_bench_twin(&subject, &twin));
    const trial t = {.call = call,
        .subject = dense ? &subject : &twin,
        .model = dense ? subject.set.linear->name : "dense twin",
        .weights = "dense",
        .how = DART_INFER_DENSE};
    DART_GOTO(one_trial(&t, token, seconds));
    if (!dense) status = all_forms(call, &subject, token, seconds);
done:
    dart_bundle_free(&subject);
    dart_bundle_free(&twin);
    free(token);
    free(seconds);
    return status;
}

const dart_bench_test dart_bench_infer = {.name = "infer",
    .help = "a prompt, and tokens one by one",
    .columns = "test what model params weights device tokens_per_s sd best ms_per_token floor_ms "
               "mflop bytes_read launches barriers weight_bytes cache_bytes arena_bytes "
               "resident_bytes difference",
    .footnote =
        "medians, after a warm-up. pp: a prompt read in chunks; tg: tokens made one by one from an "
        "empty cache.\nFloor: the bytes that a token must read, at the rate at which this device "
        "reads a buffer as large as the weights.\nLaunches and barriers of one program: of a token "
        "(tg), of a chunk (pp). Difference: of the last logits, relative to the largest.",
    .compares = true,
    .run = run};
