/* Regions, programs and values there and back. */
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
    const uint64_t each = rows * dart_part_row_words(session);
    if (each > output) output = each;
    if (labels) output = dart_part_scores(session) + rows * labels;
    words[DART_REGION_OUTPUT] = logits > output ? logits : output;
    DART_TRY(dart_memory_new(&session->memory, session->device));
    if (o->eval) DART_TRY(dart_steps_room(session));
    if (model->config.packed) {
        session->zeros = dart_calloc((uint64_t)o->batch * o->time, sizeof *session->zeros);
        if (!session->zeros) return DART_MEMORY;
    }
    if (o->logits) session->logits = dart_calloc(logits, sizeof *session->logits);
    return o->logits && !session->logits ? DART_MEMORY : DART_OK;
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
    DART_TRY(dart_steps_none(session, "changing its mask"));
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
    dart_steps_free(session);
    free(session->zeros);
    free(session->logits);
    free(session);
}

dart_status dart_session_write(
    dart_session *session, const float *param, const float *frozen, const float *moment)
{
    dart_device *device = session->device;
    const dart_memory *m = &session->memory;
    const uint64_t words = session->model->param_words;
    DART_TRY(dart_steps_none(session, "writing its parameters"));
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
    DART_TRY(dart_steps_none(session, "reading its parameters"));
    DART_TRY(dart_memory_read(m, session->device, DART_REGION_PARAM, 0, words, param));
    if (!moment) return DART_OK;
    return dart_memory_read(
        m, session->device, DART_REGION_MOMENT, 0, session->options.optim->states * words, moment);
}

dart_status dart_session_gradient(dart_session *session, float *out)
{
    DART_TRY(dart_steps_none(session, "reading its gradients"));
    return dart_memory_read(
        &session->memory, session->device, DART_REGION_GRAD, 0, session->model->param_words, out);
}

dart_status dart_session_logits(dart_session *session, const int32_t *tokens, const int32_t *index)
{
    const uint32_t time = session->options.time;
    DART_TRY(dart_steps_none(session, "asking for logits"));
    DART_TRY(dart_session_input(session, 1, time, tokens, NULL, index, NULL));
    DART_TRY(dart_program_run(&session->part[DART_PART_LOGITS], NULL));
    return dart_device_read_f32(session->device, session->memory.buffer[DART_REGION_OUTPUT], 0,
        (uint64_t)time * session->logit_columns, session->logits);
}

dart_status dart_session_covariance(dart_session *session, dart_stream *stream, uint64_t batches)
{
    dart_covariances *c = &session->covariances;
    DART_TRY(dart_steps_none(session, "measuring its inputs"));
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
