/* The tests step, steps, fwd, bwd and opt: the recipe's model on random tokens, through the session
 * that training uses. */
#include "bench.h"
#include "extent.h"
#include "fresh.h"
#include "run.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef enum measured { STEP, STEPS, FORWARD, BACKWARD, UPDATE } measured;
enum { ROW = 8 }; /* steps of a run of STEPS, in flight as in training */

/* What a measurement needs, opened and closed together. */
typedef struct subject {
    const dart_bundle *of;
    measured what;
    dart_session *session;
    dart_fresh_words words;
    float *losses; /* of all steps, the warm-up's too */
    float *values; /* gradients, or moments */
} subject;

static void close_subject(dart_bench_job *job)
{
    subject *s = job->state;
    if (!s) return;
    dart_session_free(s->session);
    dart_fresh_words_free(&s->words);
    free(s->losses);
    free(s->values);
    free(s);
    job->state = NULL;
}

/* ---- what a run costs ---- */

static uint32_t times_of(const subject *s, int part)
{
    const uint32_t more = s->session->options.accumulation - 1;
    switch (s->what) {
    case STEP:
    case STEPS:
        return part == DART_PART_MORE ? more : part == DART_PART_STEP || part == DART_PART_UPDATE;
    case FORWARD:
        return part == DART_PART_EVAL;
    case BACKWARD:
        return part == DART_PART_STEP;
    default:
        return part == DART_PART_UPDATE;
    }
}

static void part_work(const subject *s, int part, double *flops, double *bytes)
{
    uint32_t count;
    const dart_plan *plan = s->session->part[part].plan;
    *flops = *bytes = 0;
    if (!plan) return;
    const dart_launch *list = dart_plan_launches(plan, &count);
    for (uint32_t i = 0; i < count; i++) {
        *flops += dart_launch_flops(&list[i]);
        *bytes += dart_launch_bytes(&list[i], s->session->device->caps.word);
    }
}

static void plan_figures(dart_bench_job *job, const subject *s)
{
    dart_bench_row *row = &job->row;
    uint64_t arena = 0, regions = 0;
    double flops, bytes;
    for (int p = 0; p < DART_PARTS; p++) {
        if (!s->session->part[p].plan) continue;
        const dart_plan_stats *stats = dart_plan_stats_of(s->session->part[p].plan);
        const uint32_t times = times_of(s, p);
        arena = stats->planned_words > arena ? stats->planned_words : arena;
        regions = stats->region_words > regions ? stats->region_words : regions;
        row->launches += times * stats->launches;
        row->barriers += times * stats->barriers;
        part_work(s, p, &flops, &bytes);
        job->flops += times * flops;
        job->bytes += times * bytes;
    }
    if (s->what == BACKWARD) { /* the forward pass is taken off */
        const dart_plan_stats *stats = dart_plan_stats_of(s->session->part[DART_PART_EVAL].plan);
        part_work(s, DART_PART_EVAL, &flops, &bytes);
        row->launches -= row->launches > stats->launches ? stats->launches : row->launches;
        row->barriers -= row->barriers > stats->barriers ? stats->barriers : row->barriers;
        job->flops = fmax(job->flops - flops, 0);
        job->bytes = fmax(job->bytes - bytes, 0);
    }
    row->planned_bytes = (arena + regions) * s->session->device->caps.word;
}

/* ---- runs ---- */

static uint32_t steps_of(const subject *s)
{
    return s->what == STEPS ? ROW : 1;
}

/* Gradients are compared at the very same parameters: their first update is none. */
static dart_status submit(subject *s, uint32_t i)
{
    const dart_settings *set = &s->of->set;
    const double lr = s->what == BACKWARD ? 0 : set->learning_rate;
    const dart_step_scalars scalars = {.seed = (uint64_t)set->seed,
        .step = i,
        .adam_step = i + 1,
        .lr = lr,
        .penalty = s->session->options.reg ? set->lambda_reg * lr : 0};
    return dart_session_submit(s->session, &s->words.stream, &scalars);
}

static dart_status step(subject *s, uint32_t i, dart_step_result *out)
{
    DART_TRY(submit(s, i));
    return dart_session_take(s->session, out);
}

static dart_status open(dart_bench_job *job, measured what)
{
    subject *s = dart_calloc(1, sizeof *s);
    dart_session_options options;
    dart_step_result result;
    job->state = s;
    if (!s) return DART_MEMORY;
    s->what = what;
    DART_TRY(dart_bench_subject(&job->call, &s->of));
    dart_bench_subject_row(job, s->of);
    const dart_model *model = s->of->model;
    DART_TRY(dart_session_options_from(&s->of->set, model->config.vocab, &options));
    options.train = what != FORWARD;
    if (options.train && options.activations != DART_F32) {
        const size_t used = strlen(job->row.dtype);
        snprintf(job->row.dtype + used, sizeof job->row.dtype - used, "+%s",
            dart_dtype_name(options.activations));
    }
    options.eval = what == FORWARD || what == BACKWARD;
    options.logits = false;
    if (what == BACKWARD || what == UPDATE) options.accumulation = 2; /* an update of its own */
    snprintf(job->row.shape, sizeof job->row.shape, "%" PRIu32 " x %" PRIu32, options.batch,
        options.time);
    DART_TRY(dart_session_new(job->call.device, NULL, model, &options, &s->session));
    plan_figures(job, s);
    const uint32_t steps = steps_of(s);
    job->per = job->replays = steps;
    job->flops *= steps;
    job->bytes *= steps;
    job->tokens = (double)steps * options.batch * options.time * options.accumulation;
    if (what == BACKWARD) job->tokens = (double)options.batch * options.time;
    if (what == UPDATE) job->tokens = 0;
    s->losses =
        dart_calloc((size_t)steps * (job->call.repeats + job->test->warm_ups), sizeof *s->losses);
    s->values = dart_calloc(model->param_words + 1, sizeof *s->values);
    if (!s->losses || !s->values) return DART_MEMORY;
    DART_TRY(dart_fresh_words_new(s->of, &s->session->options, what == FORWARD, &s->words));
    DART_TRY(dart_session_write(s->session, s->of->param, s->of->frozen, NULL));
    /* inputs, and gradients to work on */
    return what == BACKWARD || what == UPDATE ? step(s, 0, &result) : DART_OK;
}

static dart_status open_step(dart_bench_job *job, bool *there)
{
    *there = job->index == 0;
    return *there ? open(job, STEP) : DART_OK;
}

static dart_status open_steps(dart_bench_job *job, bool *there)
{
    *there = job->index == 0;
    return *there ? open(job, STEPS) : DART_OK;
}

static dart_status open_fwd(dart_bench_job *job, bool *there)
{
    *there = job->index == 0;
    return *there ? open(job, FORWARD) : DART_OK;
}

static dart_status open_bwd(dart_bench_job *job, bool *there)
{
    *there = job->index == 0;
    return *there ? open(job, BACKWARD) : DART_OK;
}

static dart_status open_opt(dart_bench_job *job, bool *there)
{
    *there = job->index == 0;
    return *there ? open(job, UPDATE) : DART_OK;
}

static dart_status sample_step(dart_bench_job *job, double *out_seconds)
{
    subject *s = job->state;
    dart_step_result result;
    const uint32_t steps = steps_of(s), first = job->runs * steps;
    const double begin = dart_seconds();
    for (uint32_t taken = 0, given = 0; taken < steps; taken++) {
        while (given < steps && s->session->flying < job->call.device->flight)
            DART_TRY(submit(s, first + given++));
        DART_TRY(dart_session_take(s->session, &result));
        s->losses[first + taken] = result.loss;
    }
    *out_seconds = dart_seconds() - begin;
    return DART_OK;
}

static dart_status sample_fwd(dart_bench_job *job, double *out_seconds)
{
    subject *s = job->state;
    double nll;
    uint64_t tokens;
    const double begin = dart_seconds();
    DART_TRY(dart_session_eval(s->session, &s->words.stream, &nll, &tokens));
    *out_seconds = dart_seconds() - begin;
    job->tokens = (double)tokens;
    job->row.loss = nll / (double)tokens;
    if (job->runs == 0)
        dart_bench_differ(job, 0, s->session->rows,
            (uint64_t)s->session->options.batch * s->session->options.time);
    return DART_OK;
}

static dart_status timed(const subject *s, int part, double *out)
{
    const double begin = dart_seconds();
    DART_TRY(dart_session_replay(s->session, part));
    *out = dart_seconds() - begin;
    return DART_OK;
}

/* Values of a region, as many as there are parameters. */
static dart_status compare(dart_bench_job *job, dart_region region)
{
    subject *s = job->state;
    const uint64_t words = s->of->model->param_words;
    if (!s->session->memory.words[region]) return DART_OK; /* an optimizer without state */
    DART_TRY(dart_memory_read(&s->session->memory, job->call.device, region, 0, words, s->values));
    dart_bench_differ(job, 0, s->values, words);
    return DART_OK;
}

/* Loss and gradients, less the forward pass just before. */
static dart_status sample_bwd(dart_bench_job *job, double *out_seconds)
{
    const subject *s = job->state;
    double forward, both;
    DART_TRY(timed(s, DART_PART_EVAL, &forward));
    DART_TRY(timed(s, DART_PART_STEP, &both));
    *out_seconds = fmax(both - forward, 1e-9);
    return job->runs ? DART_OK : compare(job, DART_REGION_GRAD);
}

static dart_status sample_opt(dart_bench_job *job, double *out_seconds)
{
    DART_TRY(timed(job->state, DART_PART_UPDATE, out_seconds));
    return job->runs ? DART_OK : compare(job, DART_REGION_MOMENT);
}

static dart_status finish_step(dart_bench_job *job)
{
    const subject *s = job->state;
    const uint32_t steps = job->runs * steps_of(s);
    dart_bench_differ(job, 0, s->losses, steps);
    job->row.loss = (double)s->losses[steps - 1];
    return DART_OK;
}

/* ---- launch by launch ---- */

static dart_status add(
    void *user, const char *name, const dart_graph_program *program, const double *seconds)
{
    dart_profile *profile = user;
    return dart_profile_add(profile, name, program, 4, seconds);
}

static dart_status profile(dart_bench_job *job, dart_profile *out)
{
    subject *s = job->state;
    dart_status status = DART_OK;
    dart_step_result result;
    double seconds;
    s->session->watch = (dart_session_watch){add, out};
    if (s->what == STEP || s->what == STEPS)
        status = step(s, job->runs * steps_of(s), &result);
    else
        status = s->what == FORWARD ? sample_fwd(job, &seconds)
                                    : dart_session_replay(s->session,
                                          s->what == UPDATE ? DART_PART_UPDATE : DART_PART_STEP);
    s->session->watch = (dart_session_watch){0};
    return status;
}

#define COLUMNS                                                                                    \
    "test model params method dtype shape grid device backend device_name driver tokens_per_s sd " \
    "first_ms ms ms_min ms_max gflops peak_percent gb_per_s copy_percent planned_bytes "           \
    "actual_bytes launches barriers submits longest_submit_ms host_us loss difference"

#define FOOTNOTE                                                                                   \
    "Medians, after a warm-up whose first run stands apart; ± is the deviation of tokens/s. %: "  \
    "of "                                                                                          \
    "what the device was measured to do. Host: processor time of the thread that calls. Loss: "    \
    "after "                                                                                       \
    "the two steps of the warm-up and those that were measured."

const dart_bench_test dart_bench_step = {.name = "step",
    .help = "a training step",
    .columns = COLUMNS,
    .footnote = FOOTNOTE,
    .differs = "of the losses of all steps, relative to the largest",
    .compares = true,
    .whole = true,
    .tolerance = 1e-3,
    .warm_ups = 2,
    .open = open_step,
    .sample = sample_step,
    .finish = finish_step,
    .profile = profile,
    .close = close_subject};

const dart_bench_test dart_bench_steps = {.name = "steps",
    .help = "training steps as a training makes them, the next one given to the device while one "
            "is at work",
    .columns = COLUMNS,
    .footnote = FOOTNOTE,
    .differs = "of the losses of all steps, relative to the largest",
    .compares = true,
    .whole = true,
    .tolerance = 1e-3,
    .warm_ups = 2,
    .open = open_steps,
    .sample = sample_step,
    .finish = finish_step,
    .profile = profile,
    .close = close_subject};

const dart_bench_test dart_bench_fwd = {.name = "fwd",
    .alias = "eval",
    .help = "the forward pass alone, as an evaluation makes it",
    .columns = COLUMNS,
    .footnote = FOOTNOTE,
    .differs = "of each token's loss, relative to the largest",
    .compares = true,
    .tolerance = 1e-4,
    .warm_ups = 2,
    .open = open_fwd,
    .sample = sample_fwd,
    .profile = profile,
    .close = close_subject};

const dart_bench_test dart_bench_bwd = {.name = "bwd",
    .help = "the backward pass: loss and gradients of a batch, less the forward pass of fwd, which "
            "runs before each of them; dropout counts here",
    .columns = COLUMNS,
    .footnote = FOOTNOTE,
    .differs = "of the gradients, relative to the largest",
    .compares = true,
    .tolerance = 1e-3,
    .warm_ups = 2,
    .open = open_bwd,
    .sample = sample_bwd,
    .profile = profile,
    .close = close_subject};

const dart_bench_test dart_bench_opt = {.name = "opt",
    .help = "penalty, clipping and the optimizer's update",
    .columns = COLUMNS,
    .footnote = FOOTNOTE,
    .differs = "of the first moments, relative to the largest",
    .compares = true,
    .tolerance = 1e-3,
    .warm_ups = 2,
    .open = open_opt,
    .sample = sample_opt,
    .profile = profile,
    .close = close_subject};
