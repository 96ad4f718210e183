/* The infer test of dart_bench: reading a prompt and making tokens one by one, with the model's
 * weights in each form, beside its dense twin. */
#include "bench.h"
#include "bundle.h"
#include "infer.h"
#include "rng.h"
#include "setup.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_VOCAB = 10000 };

/* ---- the model that is measured ---- */

static dart_status from_run(const char *path, const dart_recipe *recipe, bench_subject *s)
{
    dart_bundle bundle;
    dart_status status = dart_bundle_open(path, recipe, (dart_note){0}, &bundle);
    if (status == DART_OK) {
        *s = (bench_subject){bundle.recipe, bundle.set, bundle.model, bundle.param, bundle.frozen};
        bundle.recipe = NULL;
        bundle.model = NULL;
        bundle.param = bundle.frozen = NULL;
    }
    dart_bundle_free(&bundle);
    return status;
}

static dart_status allocate_params(bench_subject *s)
{
    s->param = dart_calloc(s->model->param_words + 1, sizeof *s->param);
    s->frozen = dart_calloc(s->model->frozen_words + 1, sizeof *s->frozen);
    if (!s->param || !s->frozen) return DART_MEMORY;
    return dart_model_init(s->model, (uint64_t)s->set.seed, s->param, s->frozen);
}

dart_status bench_subject_open(
    const dart_recipe *recipe, const char *model_path, bench_subject *out)
{
    dart_model_config config;
    *out = (bench_subject){0};
    if (model_path && *model_path) return from_run(model_path, recipe, out);
    DART_TRY(dart_recipe_copy(recipe, &out->recipe));
    dart_recipe_settings(out->recipe, &out->set);
    uint32_t vocab = out->set.vocab_size ? (uint32_t)out->set.vocab_size : DEFAULT_VOCAB;
    DART_TRY(dart_config_from(&out->set, vocab, &config));
    DART_TRY(dart_model_new(&config, NULL, &out->model));
    return allocate_params(out);
}

void bench_subject_close(bench_subject *s)
{
    dart_model_free(s->model);
    dart_recipe_free(s->recipe);
    free(s->param);
    free(s->frozen);
    *s = (bench_subject){0};
}

static bool is_dense(const dart_model *model)
{
    for (uint32_t w = 0; w < model->weights; w++)
        if (model->weight[w].compressed) return false;
    return true;
}

/* The same model with dense weights, random: speed does not depend on their values. */
static dart_status twin_of(const bench_subject *of, bench_subject *out)
{
    dart_model_config config = of->model->config;
    *out = (bench_subject){.set = of->set};
    config.roles = 1;
    config.role[0] = (dart_role){.pattern = "*", .method = dart_method_find("dense")};
    DART_TRY(dart_model_new(&config, NULL, &out->model));
    return allocate_params(out);
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
    const bench_subject *subject;
    const char *model, *weights;
    dart_infer_weights how;
    const dart_bench_options *options;
    bench_reference *reference;
    uint32_t index; /* of the variant, in the reference */
} trial;

static bench_infer_row *new_row(
    bench_rows *rows, const trial *t, const char *device, char test, uint32_t tokens)
{
    if (rows->infers == BENCH_MAX_ROWS) return NULL;
    bench_infer_row *row = &rows->infer[rows->infers++];
    *row = (bench_infer_row){.tps = NAN,
        .sd = NAN,
        .best = NAN,
        .ms = NAN,
        .floor_ms = NAN,
        .difference = NAN,
        .tokens = tokens};
    snprintf(row->device, sizeof row->device, "%s", device);
    snprintf(row->model, sizeof row->model, "%s", t->model);
    snprintf(row->weights, sizeof row->weights, "%s", t->weights);
    snprintf(row->test, sizeof row->test, "%cp%" PRIu32, test, tokens);
    if (test == 't') row->test[1] = 'g';
    return row;
}

static void figures(const dart_infer *infer, int part, uint32_t tokens, bench_infer_row *row)
{
    const dart_plan_stats *stats = dart_plan_stats_of(infer->part[part].program.plan);
    uint64_t compressed, dense;
    dart_model_count(infer->model, &row->params, &compressed, &dense);
    row->memory = dart_infer_memory_of(infer);
    row->launches = stats->launches;
    row->barriers = stats->barriers;
    row->mflop = 1e-6 * stats->flops / tokens;
}

static dart_status prompt_run(
    dart_infer *infer, const trial *t, const int32_t *token, double *seconds, bench_infer_row *row)
{
    const uint32_t n = row->tokens, repeats = t->options->repeats;
    for (uint32_t r = 0; r <= repeats; r++) { /* the first one warms up */
        double begin = dart_seconds();
        dart_infer_reset(infer);
        DART_TRY(dart_infer_feed(infer, token, n));
        if (r) seconds[r - 1] = dart_seconds() - begin;
    }
    double median = bench_median(seconds, repeats, n, &row->sd);
    row->best = n / seconds[0]; /* sorted */
    row->tps = n / median;
    row->ms = 1e3 * median / n;
    row->difference =
        bench_reference_compare(t->reference, t->index, infer->logits, infer->columns);
    return DART_OK;
}

static dart_status token_run(dart_infer *infer, const trial *t, const int32_t *token,
    double *seconds, double rate, bench_infer_row *row)
{
    const uint32_t n = row->tokens, repeats = t->options->repeats;
    for (uint32_t r = 0; r <= repeats; r++) {
        dart_infer_reset(infer);
        double begin = dart_seconds();
        for (uint32_t i = 0; i < n; i++) DART_TRY(dart_infer_feed(infer, token + i, 1));
        if (r) seconds[r - 1] = dart_seconds() - begin;
    }
    double median = bench_median(seconds, repeats, n, &row->sd);
    row->best = n / seconds[0]; /* sorted */
    row->tps = n / median;
    row->ms = 1e3 * median / n;
    row->bytes = bytes_per_token(infer, 0.5 * (n + 1));
    row->floor_ms = 1e3 * row->bytes / rate;
    row->difference =
        bench_reference_compare(t->reference, t->index + 1, infer->logits, infer->columns);
    return DART_OK;
}

static dart_status one_trial(
    const trial *t, dart_device *device, const int32_t *token, double *seconds, bench_rows *rows)
{
    dart_status status = DART_OK;
    dart_infer *infer = NULL;
    char id[32];
    double rate = NAN;
    const uint32_t context = t->subject->model->config.context;
    uint32_t prompt = t->options->prompt ? t->options->prompt : 512;
    uint32_t made = t->options->tokens ? t->options->tokens : 128;
    if (prompt > context) prompt = context;
    if (made > context) made = context;
    bench_infer_row *row = new_row(rows, t, dart_device_id(device, id), 'p', prompt);
    if (!row) return DART_OK;
    const dart_infer_options how = {.batch = 1, .weights = t->how};
    DART_GOTO(dart_infer_new(
        device, t->subject->model, &how, t->subject->param, t->subject->frozen, &infer));
    figures(infer, DART_INFER_PREFILL, infer->part[DART_INFER_PREFILL].time, row);
    DART_GOTO(prompt_run(infer, t, token, seconds, row));
    row = new_row(rows, t, dart_device_id(device, id), 't', made);
    if (!row) goto done;
    figures(infer, DART_INFER_STEP, 1, row);
    DART_GOTO(bandwidth(device, infer->decoder.forms.words, &rate));
    status = token_run(infer, t, token, seconds, rate, row);
done:
    if (status != DART_OK && row) snprintf(row->note, sizeof row->note, "%s", dart_error_text());
    dart_infer_free(infer);
    return status;
}

dart_status bench_infer(const dart_recipe *recipe, const dart_bench_options *options,
    dart_device *device, bench_reference *reference, bench_rows *rows)
{
    static const char *const forms[] = {"auto", "cores", "halves", "dense"};
    static const dart_infer_weights how[] = {
        DART_INFER_AUTO, DART_INFER_CORES, DART_INFER_HALVES, DART_INFER_DENSE};
    dart_status status = DART_OK;
    bench_subject subject, twin = {0};
    int32_t *token = NULL;
    double *seconds = NULL;
    DART_GOTO(bench_subject_open(recipe, options->model_path, &subject));
    const dart_model_config *c = &subject.model->config;
    if (c->enc_layers) { /* a note, so that the other tests go on */
        char id[32];
        bench_row *row = bench_row_new(rows, "infer", "", dart_device_id(device, id));
        if (row)
            snprintf(row->note, sizeof row->note,
                "measures decoder-only models; this one has an encoder of %" PRIu32 " layers",
                c->enc_layers);
        goto done;
    }
    token = dart_calloc(c->context, sizeof *token);
    seconds = dart_calloc(options->repeats, sizeof *seconds);
    if (!token || !seconds) status = DART_MEMORY;
    DART_GOTO(status);
    for (uint32_t i = 0; i < c->context; i++)
        token[i] = (int32_t)(dart_uniform(1, DART_STREAM_TEST, i) * c->vocab);
    trial t = {.subject = &subject,
        .model = subject.set.linear->name,
        .options = options,
        .reference = reference};
    if (is_dense(subject.model)) {
        t.weights = "dense";
        t.how = DART_INFER_DENSE;
        status = one_trial(&t, device, token, seconds, rows);
        goto done;
    }
    DART_GOTO(twin_of(&subject, &twin));
    t.subject = &twin;
    t.model = "dense twin";
    t.weights = "dense";
    t.how = DART_INFER_DENSE;
    DART_GOTO(one_trial(&t, device, token, seconds, rows));
    t.subject = &subject;
    t.model = subject.set.linear->name;
    for (int i = 0; i < 4; i++) {
        const dart_infer_weights asked = dart_infer_weights_from(subject.set.infer_weights);
        if (asked != DART_INFER_AUTO && asked != how[i]) continue;
        t.weights = forms[i];
        t.how = how[i];
        t.index = 2 * (uint32_t)(1 + i);
        DART_GOTO(one_trial(&t, device, token, seconds, rows));
    }
done:
    bench_subject_close(&subject);
    bench_subject_close(&twin);
    free(token);
    free(seconds);
    return status;
}
