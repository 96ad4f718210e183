/* The infer test: reading a prompt and making tokens one by one, behind `depth` tokens that are
 * kept already, with the model's weights in each form, beside its dense twin. */
#include "bench.h"
#include "extent.h"
#include "infer.h"
#include "rng.h"
#include "setup.h"
#include "stop.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct trial {
    dart_infer *infer;
    const dart_bundle *of;
    int32_t *token; /* owned [context] */
    bool single;    /* one by one */
    uint32_t tokens, depth;
    double rate; /* bytes a second at which the weights could be read */
} trial;

static void close_trial(dart_bench_job *job)
{
    trial *t = job->state;
    if (!t) return;
    dart_infer_free(t->infer);
    free(t->token);
    free(t);
    job->state = NULL;
}

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

static const struct {
    const char *name;
    dart_infer_weights how;
} forms[] = {{"auto", DART_INFER_AUTO}, {"cores", DART_INFER_CORES}, {"halves", DART_INFER_HALVES},
    {"dense", DART_INFER_DENSE}};
enum { FORMS = sizeof forms / sizeof *forms };

/* The dense twin first, then the model in each form that is asked for; a dense model only so. */
static dart_status variant_at(const dart_bench_call *call, uint32_t index, const dart_bundle **of,
    dart_infer_weights *how, dart_bench_row *row, bool *out_there)
{
    const dart_bundle *subject;
    DART_TRY(dart_bench_subject(call, &subject));
    const bool dense = is_dense(subject->model);
    const dart_infer_weights asked = dart_infer_weights_from(subject->set.infer_weights);
    *out_there = true;
    *of = subject;
    *how = DART_INFER_DENSE;
    snprintf(row->weights, sizeof row->weights, "dense");
    if (index == 0) return dense ? DART_OK : dart_bench_twin(call, of);
    for (uint32_t i = 0; i < FORMS && !dense; i++) {
        if (asked != DART_INFER_AUTO && asked != forms[i].how) continue;
        if (--index > 0) continue;
        *how = forms[i].how;
        snprintf(row->weights, sizeof row->weights, "%s", forms[i].name);
        return DART_OK;
    }
    *out_there = false;
    return DART_OK;
}

static void figures(dart_bench_job *job, const trial *t, int part)
{
    dart_bench_row *row = &job->row;
    const dart_infer *infer = t->infer;
    const dart_infer_part *p = &infer->part[part];
    const dart_plan_stats *stats = dart_plan_stats_of(p->program.plan);
    const dart_infer_memory memory = dart_infer_memory_of(infer);
    uint32_t count;
    const dart_launch *list = dart_plan_launches(p->program.plan, &count);
    double flops = 0, bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        flops += dart_launch_flops(&list[i]);
        bytes += dart_launch_bytes(&list[i], infer->device->caps.word);
    }
    const double programs = ceil((double)t->tokens / p->time);
    job->flops = programs * flops;
    job->bytes = programs * bytes;
    row->weight_bytes = memory.weights;
    row->cache_bytes = memory.cache;
    row->arena_bytes = memory.arena;
    row->resident_bytes = memory.total;
    row->launches = stats->launches;
    row->barriers = stats->barriers;
    row->mflop = 1e-6 * flops / p->time;
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static dart_status check(const dart_bench_call *call, const dart_model_config *c)
{
    if (c->enc_layers)
        return dart_fail(DART_FAILED,
            "measures decoder-only models; this one has an encoder of %" PRIu32 " layers",
            c->enc_layers);
    if (call->depth >= c->context)
        return dart_fail(DART_INPUT,
            "a depth of %" PRIu32 " leaves no room in a context of %" PRIu32, call->depth,
            c->context);
    return DART_OK;
}

static dart_status open_trial(dart_bench_job *job, bool *out_there)
{
    const dart_bench_call *call = &job->call;
    const dart_bundle *of, *subject;
    dart_infer_weights weights;
    dart_bench_row *row = &job->row;
    *out_there = false;
    DART_TRY(dart_bench_subject(call, &subject));
    const dart_model_config *c = &subject->model->config;
    if (c->enc_layers && job->index) return DART_OK; /* one note, so that other tests go on */
    DART_TRY(check(call, c));
    DART_TRY(variant_at(call, job->index / 2, &of, &weights, row, out_there));
    if (!*out_there) return DART_OK;
    trial *t = job->state = dart_calloc(1, sizeof *t);
    if (!t) return DART_MEMORY;
    t->of = of;
    t->single = job->index % 2;
    t->depth = call->depth;
    const uint32_t asked =
        t->single ? (call->tokens ? call->tokens : 128) : (call->prompt ? call->prompt : 512);
    t->tokens = least(asked, c->context - t->depth);
    snprintf(row->what, sizeof row->what, "%s%" PRIu32, t->single ? "tg" : "pp", t->tokens);
    if (t->depth) {
        const size_t used = strlen(row->what);
        snprintf(row->what + used, sizeof row->what - used, " @ d%" PRIu32, t->depth);
    }
    dart_bench_subject_row(job, of);
    if (of != subject) snprintf(row->method, sizeof row->method, "dense twin");
    t->token = dart_calloc(c->context, sizeof *t->token);
    if (!t->token) return DART_MEMORY;
    for (uint32_t i = 0; i < c->context; i++)
        t->token[i] = (int32_t)(dart_uniform(1, DART_STREAM_TEST, i) * c->vocab);
    const dart_infer_options how = {.batch = 1, .weights = weights};
    DART_TRY(dart_infer_new(call->device, of->model, &how, of->param, of->frozen, &t->infer));
    job->per = 1;
    job->tokens = t->tokens;
    figures(job, t, t->single ? DART_INFER_STEP : DART_INFER_PREFILL);
    t->rate = NAN;
    return t->single && !job->hidden
               ? bandwidth(call->device, t->infer->decoder.forms.words, &t->rate)
               : DART_OK;
}

static dart_status sample(dart_bench_job *job, double *out_seconds)
{
    trial *t = job->state;
    dart_infer *infer = t->infer;
    dart_infer_reset(infer);
    if (t->depth) DART_TRY(dart_infer_feed(infer, t->token, t->depth));
    const int32_t *token = t->token + t->depth;
    const double begin = dart_seconds();
    for (uint32_t i = 0; i < t->tokens && t->single; i++) {
        DART_TRY(dart_stop_asked());
        DART_TRY(dart_infer_feed(infer, token + i, 1));
    }
    if (!t->single) DART_TRY(dart_infer_feed(infer, token, t->tokens));
    *out_seconds = dart_seconds() - begin;
    if (job->runs == 0) dart_bench_differ(job, 0, infer->logits, infer->columns);
    return DART_OK;
}

static dart_status finish(dart_bench_job *job)
{
    const trial *t = job->state;
    dart_bench_row *row = &job->row;
    if (!t->single) return DART_OK;
    row->bytes_read = bytes_per_token(t->infer, t->depth + 0.5 * (t->tokens + 1));
    row->floor_ms = 1e3 * row->bytes_read / t->rate;
    return DART_OK;
}

/* One program: of a token, or of a chunk. */
static dart_status profile(dart_bench_job *job, dart_profile *out)
{
    trial *t = job->state;
    const dart_graph_program *program =
        &t->infer->part[t->single ? DART_INFER_STEP : DART_INFER_PREFILL].program;
    double *seconds = dart_calloc(job->row.launches, sizeof *seconds);
    if (!seconds) return DART_MEMORY;
    dart_status status = dart_program_run(program, seconds);
    if (status == DART_OK)
        status = dart_profile_add(
            out, t->single ? "token" : "chunk", program, job->call.device->caps.word, seconds);
    free(seconds);
    return status;
}

const dart_bench_test dart_bench_infer = {.name = "infer",
    .help = "a prompt, and tokens one by one",
    .columns = "test what model params method weights dtype grid device backend device_name driver "
               "tokens_per_s sd best first_ms ms ms_min ms_max ms_per_token floor_ms gflops "
               "peak_percent gb_per_s copy_percent mflop bytes_read launches barriers submits "
               "host_us weight_bytes cache_bytes arena_bytes resident_bytes actual_bytes "
               "difference",
    .footnote = "Medians, after a warm-up. pp: a prompt read in chunks; tg: tokens made one by "
                "one; @ d: behind so many that are kept already. Neither tokenizing nor sampling. "
                "Floor: the bytes that a token must read, at the rate at which this device reads "
                "a buffer as large as the weights. Launches and barriers of one program: of a "
                "token (tg), of a chunk (pp).",
    .differs = "of the last logits, relative to the largest",
    .compares = true,
    .tolerance = 1e-3,
    .warm_ups = 1,
    .open = open_trial,
    .sample = sample,
    .finish = finish,
    .profile = profile,
    .close = close_trial};
