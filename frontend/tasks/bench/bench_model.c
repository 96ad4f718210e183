/* The step and eval tests of dart_bench: the recipe's model on random tokens, through the session
 * that training uses. */
#include "bench.h"
#include "recipe.h"
#include "rng.h"
#include "run.h"
#include "stop.h"
#include <inttypes.h>
#include <stdlib.h>

enum { WARM_UP = 2 };

/* What a measurement needs, opened and closed together. */
typedef struct subject {
    dart_bundle of;
    dart_session *session;
    dart_stream stream;
    int32_t *tokens;
    dart_corpus pairs; /* of an encoder-decoder, instead of tokens */
    double *seconds;
    float *losses; /* of all steps, the warm-up's too */
} subject;

static void subject_close(subject *s)
{
    dart_session_free(s->session);
    dart_stream_free(&s->stream);
    dart_bundle_free(&s->of);
    dart_corpus_free(&s->pairs);
    free(s->tokens);
    free(s->seconds);
    free(s->losses);
}

static dart_status subject_open(const dart_bench_call *call, bool eval, subject *s)
{
    const uint32_t repeats = call->options->repeats;
    DART_TRY(dart_bench_subject(call, &s->of));
    const uint32_t vocab = s->of.model->config.vocab;
    dart_session_options options;
    DART_TRY(dart_session_options_from(&s->of.set, vocab, &options));
    options.train = !eval;
    options.eval = eval;
    options.logits = false;
    DART_TRY(
        dart_session_new(call->device, &call->device->caps, s->of.model, &options, &s->session));
    s->seconds = dart_calloc(repeats, sizeof *s->seconds);
    s->losses = dart_calloc(repeats + WARM_UP, sizeof *s->losses);
    if (!s->seconds || !s->losses) return DART_MEMORY;
    if (s->of.model->config.enc_layers) {
        DART_TRY(
            dart_corpus_random(&s->of.model->config, options.batch * (eval ? 1 : 4), &s->pairs));
        DART_TRY(
            dart_stream_pairs(&s->of.set, &s->pairs, eval ? DART_VALID : DART_TRAIN, &s->stream));
        return dart_session_write(s->session, s->of.param, s->of.frozen, NULL);
    }
    /* A few windows are enough: speed does not depend on what the tokens are. */
    uint64_t count = (uint64_t)options.batch * options.time * (eval ? 1 : 4);
    s->tokens = dart_calloc(count + 1, sizeof *s->tokens);
    if (!s->tokens) return DART_MEMORY;
    for (uint64_t i = 0; i <= count; i++) {
        uint32_t word[4];
        dart_philox((uint64_t)s->of.set.seed, DART_STREAM_TEST, i, word);
        s->tokens[i] = (int32_t)(word[0] % vocab);
    }
    DART_TRY(dart_stream_new(s->tokens, count + !eval, !eval, vocab, 0, options.batch, options.time,
        (uint64_t)s->of.set.seed, &s->stream));
    return dart_session_write(s->session, s->of.param, s->of.frozen, NULL);
}

/* Launches, FLOPs and planned bytes of one step (or one forward pass). */
static void plan_figures(const dart_session *session, dart_bench_row *row, double *out_flops)
{
    uint32_t times[DART_PARTS] = {[DART_PART_STEP] = 1,
        [DART_PART_MORE] = session->options.accumulation - 1,
        [DART_PART_UPDATE] = 1,
        [DART_PART_EVAL] = 1};
    uint64_t arena = 0, regions = 0;
    *out_flops = 0;
    for (int p = 0; p < DART_PARTS; p++) {
        if (!session->part[p].plan) continue;
        const dart_plan_stats *stats = dart_plan_stats_of(session->part[p].plan);
        arena = stats->planned_words > arena ? stats->planned_words : arena;
        regions = stats->region_words > regions ? stats->region_words : regions;
        row->launches += times[p] * stats->launches;
        *out_flops += times[p] * stats->flops;
    }
    row->planned_bytes = (arena + regions) * session->device->caps.word;
}

static dart_status one(subject *s, bool eval, uint32_t i, double *out_tokens)
{
    if (eval) {
        double nll;
        uint64_t tokens;
        DART_TRY(dart_session_eval(s->session, &s->stream, &nll, &tokens));
        s->losses[i] = (float)(nll / (double)tokens);
        *out_tokens = (double)tokens;
        return DART_OK;
    }
    dart_step_scalars scalars = {.seed = (uint64_t)s->of.set.seed,
        .step = i,
        .adam_step = i + 1,
        .lr = s->of.set.learning_rate,
        .penalty = s->session->options.reg ? s->of.set.lambda_reg * s->of.set.learning_rate : 0};
    dart_step_result result;
    DART_TRY(dart_session_step(s->session, &s->stream, &scalars, &result));
    s->losses[i] = result.loss;
    const dart_session_options *o = &s->session->options;
    *out_tokens = (double)o->batch * o->time * o->accumulation;
    return DART_OK;
}

/* Replays each program of a step once more with a clock around every launch. */
static dart_status profile(const dart_session *session, dart_bench_row *row)
{
    for (int p = 0; p < DART_PARTS; p++) {
        if (!session->part[p].exec) continue;
        uint32_t count;
        const dart_launch *list = dart_plan_launches(session->part[p].plan, &count);
        double *seconds = dart_calloc(count, sizeof *seconds);
        if (!seconds) return DART_MEMORY;
        dart_status status = dart_program_run(&session->part[p], seconds);
        for (uint32_t i = 0; i < count && status == DART_OK; i++) {
            row->kernel_ms[list[i].kernel] += 1e3 * seconds[i];
            row->kernel_launches[list[i].kernel]++;
        }
        free(seconds);
        DART_TRY(status);
    }
    return DART_OK;
}

static dart_status run(const dart_bench_call *call, const dart_bench_test *test, bool eval)
{
    const uint32_t repeats = call->options->repeats;
    dart_device *device = call->device;
    subject s = {0};
    double tokens = 0, flops = 0;
    uint64_t before = device->bytes_allocated;
    dart_bench_row *row = dart_bench_row_new(call, test, "");
    if (!row) return DART_OK;
    dart_status status = DART_OK;
    DART_GOTO(subject_open(call, eval, &s));
    snprintf(row->what, sizeof row->what, "%s, %" PRId64 " layers, d %" PRId64 ", rank %" PRId64,
        s.of.set.linear->name, s.of.set.layers, s.of.set.d_model, s.of.set.rank);
    plan_figures(s.session, row, &flops);
    row->actual_bytes = device->bytes_allocated - before;
    for (uint32_t i = 0; i < WARM_UP; i++) DART_GOTO(one(&s, eval, i, &tokens));
    uint64_t submits = device->submits;
    device->longest_submit_s = 0;
    for (uint32_t r = 0; r < repeats; r++) {
        DART_GOTO(dart_stop_asked());
        double start = dart_seconds();
        DART_GOTO(one(&s, eval, WARM_UP + r, &tokens));
        s.seconds[r] = dart_seconds() - start;
    }
    row->submits = (uint32_t)((device->submits - submits) / repeats);
    if (device->longest_submit_s > 0) row->longest_submit_ms = 1e3 * device->longest_submit_s;
    double median = dart_bench_median(s.seconds, repeats, tokens, &row->sd);
    row->ms = 1e3 * median;
    row->tokens_per_s = tokens / median;
    row->gflops = 1e-9 * flops / median;
    row->difference =
        eval ? dart_bench_reference_compare(call->reference, 0, s.session->rows,
                   (uint64_t)s.session->options.batch * s.session->options.time)
             : dart_bench_reference_compare(call->reference, 0, s.losses, WARM_UP + repeats);
    if (call->options->profile) status = profile(s.session, row);
done:
    subject_close(&s);
    return status;
}

static dart_status run_step(const dart_bench_call *call)
{
    return run(call, &dart_bench_step, false);
}

static dart_status run_eval(const dart_bench_call *call)
{
    return run(call, &dart_bench_eval, true);
}

#define COLUMNS                                                                                    \
    "test what device tokens_per_s sd ms gflops planned_bytes actual_bytes launches submits "      \
    "longest_submit_ms difference"

const dart_bench_test dart_bench_step = {.name = "step",
    .help = "a training step",
    .columns = COLUMNS,
    .footnote =
        "medians, after a warm-up; ± is the standard deviation of tokens/s.\nDifference: of "
        "the losses of all steps, relative to the largest.",
    .compares = true,
    .run = run_step};

const dart_bench_test dart_bench_eval = {.name = "eval",
    .help = "the forward pass alone",
    .columns = COLUMNS,
    .footnote =
        "medians, after a warm-up; ± is the standard deviation of tokens/s.\nDifference: of "
        "each token's loss, relative to the largest.",
    .compares = true,
    .run = run_eval};
