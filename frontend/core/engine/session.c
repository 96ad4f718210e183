/* Regions, programs and the calls that run them. */
#include "clock.h"
#include "parts.h"
#include "stop.h"
#include "upload.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool wanted(const dart_session_options *o, int part)
{
    switch (part) {
    case DART_PART_STEP:
        return o->train;
    case DART_PART_MORE:
    case DART_PART_UPDATE:
        return o->train && o->accumulation > 1;
    case DART_PART_EVAL:
        return o->eval;
    case DART_PART_COVARIANCE:
        return o->covariance != NULL;
    default:
        return o->logits;
    }
}

/* The words of parameters and their state, and where they are cut: graphs are planned for that. */
static dart_status lay_out(dart_session *session, const dart_caps *caps)
{
    const dart_model *model = session->model;
    const dart_session_options *o = &session->options;
    uint64_t *words = session->memory.words;
    words[DART_REGION_PARAM] = model->param_words;
    words[DART_REGION_FROZEN] = model->frozen_words;
    words[DART_REGION_GRAD] = o->train ? model->param_words : 0;
    words[DART_REGION_PENALTY] = o->train && o->reg && o->reg->penalty ? model->param_words : 0;
    words[DART_REGION_MOMENT] = o->train ? o->optim->states * model->param_words : 0;
    DART_TRY(dart_model_cut(model, caps, &session->memory));
    return o->train ? dart_memory_cut_moments(&session->memory, caps, o->optim->states) : DART_OK;
}

static dart_status allocate(dart_session *session)
{
    const dart_model *model = session->model;
    const dart_session_options *o = &session->options;
    uint64_t *words = session->memory.words;
    const uint64_t labels = model->config.labels;
    uint64_t rows = dart_part_rows(session);
    uint64_t logits = (uint64_t)o->time * session->logit_columns;
    uint64_t output = dart_covariance_words(&session->covariances);
    session->memory.frozen = o->frozen;
    words[DART_REGION_TABLE] = model->table_words;
    if (model->config.gate.on)
        words[DART_REGION_TABLE] = model->gate_table + model->gate_floats + model->gate_ints;
    if (dart_part_pads(o)) {
        uint64_t floats, ints;
        DART_TRY(dart_model_chains_size(model, &floats, &ints));
        if (ints) words[DART_REGION_TABLE] = dart_model_chains_at(model) + floats + ints;
    }
    words[DART_REGION_INPUT] = dart_model_input_words(model, o->batch, o->time);
    words[DART_REGION_ISCAL] = DART_ISCAL_WORDS;
    words[DART_REGION_FSCAL] = o->covariance ? dart_covariance_fscal(o) : DART_FSCAL_WORDS;
    words[DART_REGION_METRIC] = DART_METRIC_WORDS;
    if (rows > output) output = rows;
    if (labels) output = dart_part_scores(session) + rows * labels;
    words[DART_REGION_OUTPUT] = logits > output ? logits : output;
    DART_TRY(dart_memory_new(&session->memory, session->device));
    if (o->eval) session->rows = dart_calloc(rows, sizeof *session->rows);
    if (o->logits) session->logits = dart_calloc(logits, sizeof *session->logits);
    if (o->eval && labels) {
        session->scores = dart_calloc(rows * labels, sizeof *session->scores);
        session->confusion = dart_calloc(labels * labels, sizeof *session->confusion);
        if (!session->scores || !session->confusion) return DART_MEMORY;
    }
    return (o->eval && !session->rows) || (o->logits && !session->logits) ? DART_MEMORY : DART_OK;
}

/* Two tables of the model, of their sizes in floats and ints, behind each other from `at` on. */
static dart_status write_lists(dart_session *session, uint64_t at, uint64_t floats, uint64_t ints,
    dart_status (*fill)(const dart_model *model, float *floats, int32_t *ints))
{
    dart_buffer table = session->memory.buffer[DART_REGION_TABLE];
    dart_status status = DART_OK;
    float *f = dart_calloc(floats, sizeof *f);
    int32_t *i = dart_calloc(ints, sizeof *i);
    if (!f || !i) {
        status = DART_MEMORY;
        goto done;
    }
    DART_GOTO(fill(session->model, f, i));
    DART_GOTO(dart_device_write_f32(session->device, table, at, floats, f));
    DART_GOTO(dart_device_write_i32(session->device, table, at + floats, ints, i));
done:
    free(f);
    free(i);
    return status;
}

dart_status dart_session_mask(dart_session *session, const float *mask)
{
    const dart_model *model = session->model;
    return dart_device_write_f32(session->device, session->memory.buffer[DART_REGION_TABLE],
        dart_gates_mask_at(model), (uint64_t)model->bonds * model->gate_stride, mask);
}

static void rope_table(const void *model, float *out)
{
    dart_model_table(model, out);
}

static dart_status write_table(dart_session *session)
{
    const dart_model *model = session->model;
    if (model->config.gate.on)
        DART_TRY(write_lists(
            session, model->gate_table, model->gate_floats, model->gate_ints, dart_gates_table));
    if (dart_part_pads(&session->options)) {
        uint64_t floats, ints;
        DART_TRY(dart_model_chains_size(model, &floats, &ints));
        if (ints)
            DART_TRY(write_lists(
                session, dart_model_chains_at(model), floats, ints, dart_model_chains_table));
    }
    return dart_memory_fill(&session->memory, session->device, DART_REGION_TABLE,
        model->table_words, rope_table, model);
}

/* Memory counts in powers of two, so that devices of about one size agree on every bit. */
static uint32_t chunk_rows(const dart_session_options *o, const dart_caps *caps, uint32_t vocab)
{
    const uint64_t all = dart_round_up((uint64_t)o->batch * o->time, 64);
    if (!o->chunk_grows || caps->on_cpu || !caps->memory || !vocab) return o->chunk_rows;
    uint64_t words = 1;
    while (words * 2 * 64 * caps->word <= caps->memory) words *= 2;
    uint64_t rows = words / vocab / 64 * 64;
    if (rows > all) rows = all;
    return rows > o->chunk_rows ? (uint32_t)rows : o->chunk_rows;
}

dart_status dart_session_new(dart_device *device, const dart_caps *caps, const dart_model *model,
    const dart_session_options *options, dart_session **out)
{
    dart_status status = DART_OK;
    dart_session *session = dart_calloc(1, sizeof *session);
    *out = NULL;
    if (!session) return DART_MEMORY;
    session->device = device;
    session->model = model;
    session->options = *options;
    if (device) caps = &device->caps;
    session->options.chunk_rows = chunk_rows(options, caps, model->config.vocab);
    DART_GOTO(lay_out(session, caps));
    for (int i = 0; i < DART_PARTS; i++)
        if (wanted(options, i)) DART_GOTO(dart_part_prepare(session, caps, i, &session->part[i]));
    DART_GOTO(dart_shapes_new(session, caps));
    if (device) {
        dart_graph_program *share = NULL;
        double begin = dart_seconds();
        DART_GOTO(allocate(session));
        DART_GOTO(write_table(session));
        session->times.build = dart_seconds() - begin;
        for (int i = 0; i < DART_PARTS; i++) {
            dart_graph_program *part = &session->part[i];
            if (!part->plan) continue;
            DART_GOTO(dart_program_bind(part, device, &session->memory, share, &session->times));
            if (!share) share = part;
        }
        DART_GOTO(dart_shapes_bind(session, share));
    }
    *out = session;
    session = NULL;
done:
    dart_session_free(session);
    return status;
}

void dart_session_free(dart_session *session)
{
    if (!session) return;
    dart_shapes_free(session->shapes);
    for (int i = 0; i < DART_PARTS; i++) dart_program_free(&session->part[i]);
    dart_memory_free(&session->memory, session->device);
    dart_covariances_free(&session->covariances);
    free(session->rows);
    free(session->logits);
    free(session->scores);
    free(session->confusion);
    free(session);
}

dart_status dart_session_write(
    dart_session *session, const float *param, const float *frozen, const float *moment)
{
    dart_device *device = session->device;
    const dart_memory *m = &session->memory;
    const uint64_t words = session->model->param_words;
    DART_TRY(dart_model_upload(session->model, device, m, param, frozen));
    if (moment && session->options.train)
        DART_TRY(dart_memory_write(
            m, device, DART_REGION_MOMENT, 0, session->options.optim->states * words, moment));
    return DART_OK;
}

dart_status dart_session_read(dart_session *session, float *param, float *moment)
{
    const dart_memory *m = &session->memory;
    const uint64_t words = session->model->param_words;
    DART_TRY(dart_memory_read(m, session->device, DART_REGION_PARAM, 0, words, param));
    if (!moment) return DART_OK;
    return dart_memory_read(
        m, session->device, DART_REGION_MOMENT, 0, session->options.optim->states * words, moment);
}

dart_status dart_session_gradient(dart_session *session, float *out)
{
    return dart_device_read_f32(session->device, session->memory.buffer[DART_REGION_GRAD], 0,
        session->model->param_words, out);
}

static dart_status run_part(const dart_session *session, int part)
{
    const dart_graph_program *program = dart_shapes_program(session, part);
    const dart_session_watch *watch = &session->watch;
    if (!watch->ran) return dart_program_run(program, NULL);
    double *seconds = dart_calloc(dart_plan_stats_of(program->plan)->launches, sizeof *seconds);
    if (!seconds) return DART_MEMORY;
    dart_status status = dart_program_run(program, seconds);
    if (status == DART_OK) status = watch->ran(watch->user, dart_part_name(part), program, seconds);
    free(seconds);
    return status;
}

dart_status dart_session_replay(const dart_session *session, int part)
{
    return run_part(session, part);
}

dart_status dart_session_step(
    dart_session *session, dart_stream *stream, const dart_step_scalars *s, dart_step_result *out)
{
    const dart_session_options *o = &session->options;
    const dart_memory *m = &session->memory;
    float fscal[DART_FSCAL_WORDS] = {0}, metric[DART_METRIC_WORDS];
    fscal[DART_FSCAL_RATE] = (float)s->lr;
    o->optim->block(&o->optim_options, (double)s->adam_step, fscal + DART_FSCAL_CORRECT1);
    fscal[DART_FSCAL_MICRO] = (float)(1.0 / o->accumulation);
    fscal[DART_FSCAL_PENALTY] = (float)s->penalty;
    /* Batches of sentences have different numbers of words: the step's loss is the mean over all.
     */
    uint64_t tokens = 0, rows = 0;
    for (uint32_t micro = 0; micro < o->accumulation; micro++)
        tokens += dart_input_count(stream, s->step * o->accumulation + micro);
    fscal[DART_FSCAL_SCALE] = (float)((double)o->accumulation / (double)tokens);
    fscal[DART_FSCAL_TAU] = (float)s->gate.tau;
    fscal[DART_FSCAL_WEIGHT] = (float)s->gate.weight;
    fscal[DART_FSCAL_L1] = (float)s->gate.l1;
    fscal[DART_FSCAL_L2] = (float)s->gate.l2;
    fscal[DART_FSCAL_TARGET] = (float)s->gate.target;
    fscal[DART_FSCAL_PUSH] = (float)s->gate.push;
    double gate_t = s->gate_step ? (double)s->gate_step : 1;
    fscal[DART_FSCAL_GATES + DART_FSCAL_RATE] = (float)s->gate_lr;
    o->optim->block(&o->optim_options, gate_t, fscal + DART_FSCAL_GATES + DART_FSCAL_CORRECT1);
    fscal[DART_FSCAL_GATES + DART_FSCAL_MULTIPLIER] = (float)(1.0 / o->accumulation);
    DART_TRY(dart_device_write_f32(
        session->device, m->buffer[DART_REGION_FSCAL], 0, DART_FSCAL_WORDS, fscal));
    for (uint32_t micro = 0; micro < o->accumulation; micro++) {
        uint64_t at = s->step * o->accumulation + micro;
        dart_input input;
        const int32_t iscal[DART_ISCAL_WORDS] = {[DART_ISCAL_STEP] = (int32_t)(uint32_t)at,
            [DART_ISCAL_SEED_LOW] = (int32_t)(uint32_t)s->seed,
            [DART_ISCAL_SEED_HIGH] = (int32_t)(uint32_t)(s->seed >> 32)};
        DART_TRY(dart_device_write_i32(
            session->device, m->buffer[DART_REGION_ISCAL], 0, DART_ISCAL_WORDS, iscal));
        DART_TRY(dart_input_load(session, stream, at, true, &input));
        DART_TRY(run_part(session, micro ? DART_PART_MORE : DART_PART_STEP));
        rows += input.rows;
    }
    if (o->accumulation > 1) DART_TRY(run_part(session, DART_PART_UPDATE));
    DART_TRY(dart_device_read_f32(
        session->device, m->buffer[DART_REGION_METRIC], 0, DART_METRIC_WORDS, metric));
    DART_TRY(dart_device_read_f32(
        session->device, m->buffer[DART_REGION_FSCAL], 0, DART_FSCAL_WORDS, fscal));
    float bad = metric[DART_METRIC_BAD];
    *out = (dart_step_result){.loss = metric[DART_METRIC_LOSS] / (float)o->accumulation,
        .grad_norm = fscal[DART_FSCAL_NORM],
        .penalty = o->reg && o->reg->penalty ? metric[DART_METRIC_PENALTY] : 0,
        .gate_size = session->model->config.gate.trained ? metric[DART_METRIC_GATE] : 1,
        .bad = bad > 0 ? (uint64_t)bad : 0,
        .tokens = tokens,
        .rows = rows};
    return DART_OK;
}

/* The likeliest label of each text of the batch that was just evaluated. */
static dart_status count_labels(dart_session *session, const int32_t *truth)
{
    const uint32_t labels = session->model->config.labels, batch = session->options.batch;
    DART_TRY(dart_device_read_f32(session->device, session->memory.buffer[DART_REGION_OUTPUT],
        dart_part_scores(session), (uint64_t)batch * labels, session->scores));
    for (uint32_t b = 0; b < batch; b++) {
        const float *score = session->scores + (size_t)b * labels;
        uint32_t best = 0;
        if (truth[b] < 0) continue;
        for (uint32_t i = 1; i < labels; i++)
            if (score[i] > score[best]) best = i;
        session->confusion[(size_t)truth[b] * labels + best]++;
    }
    return DART_OK;
}

dart_status dart_session_eval(
    dart_session *session, dart_stream *stream, double *out_nll, uint64_t *out_tokens)
{
    const uint64_t rows = dart_part_rows(session), labels = session->model->config.labels;
    if (labels) memset(session->confusion, 0, labels * labels * sizeof *session->confusion);
    *out_nll = 0;
    *out_tokens = 0;
    for (uint64_t at = 0; at < dart_input_batches(stream); at++) {
        dart_input input;
        DART_TRY(dart_stop_asked());
        DART_TRY(dart_input_load(session, stream, at, false, &input));
        DART_TRY(run_part(session, DART_PART_EVAL));
        DART_TRY(dart_device_read_f32(
            session->device, session->memory.buffer[DART_REGION_OUTPUT], 0, rows, session->rows));
        if (labels) DART_TRY(count_labels(session, input.labels));
        for (uint64_t r = 0; r < rows; r++)
            if (input.labels[r] >= 0) *out_nll += session->rows[r];
        *out_tokens += input.predicted;
    }
    return DART_OK;
}

dart_status dart_session_logits(dart_session *session, const int32_t *tokens, const int32_t *index)
{
    const uint32_t time = session->options.time;
    DART_TRY(dart_session_input(session, 1, time, tokens, NULL, index, NULL));
    DART_TRY(dart_program_run(&session->part[DART_PART_LOGITS], NULL));
    return dart_device_read_f32(session->device, session->memory.buffer[DART_REGION_OUTPUT], 0,
        (uint64_t)time * session->logit_columns, session->logits);
}

dart_status dart_session_covariance(dart_session *session, dart_stream *stream, uint64_t batches)
{
    dart_covariances *c = &session->covariances;
    for (uint64_t at = 0; at < batches; at++) {
        dart_input input;
        DART_TRY(dart_stop_asked());
        DART_TRY(dart_input_load(session, stream, at, true, &input));
        DART_TRY(dart_covariance_rows(session, input.labels));
        DART_TRY(dart_program_run(&session->part[DART_PART_COVARIANCE], NULL));
        DART_TRY(dart_covariance_add(session));
        c->rows += input.predicted;
    }
    return c->rows ? DART_OK
                   : dart_fail(DART_INPUT,
                         "covariance: %llu batches without any label: expected some text to learn",
                         (unsigned long long)batches);
}

dart_status dart_model_covariances(dart_device *device, const dart_model *model, const float *param,
    const float *frozen, dart_stream *stream, uint64_t batches, const bool *wanted,
    uint32_t gradient_rows, dart_covariances *out)
{
    const dart_session_options options = {.batch = stream->batch,
        .time = stream->time,
        .accumulation = 1,
        .chunk_rows = gradient_rows,
        .covariance = wanted,
        .gradients = gradient_rows > 0};
    dart_session *session = NULL;
    dart_status status = DART_OK;
    *out = (dart_covariances){0};
    DART_GOTO(dart_session_new(device, NULL, model, &options, &session));
    DART_GOTO(dart_session_write(session, param, frozen, NULL));
    DART_GOTO(dart_session_covariance(session, stream, batches));
    *out = session->covariances;
    session->covariances = (dart_covariances){0};
done:
    dart_session_free(session);
    return status;
}
