/* Steps and evaluations: what they read is written, their programs are given to the device, and
 * their results are taken, one after the other or with one at work while the next is prepared. */
#include "parts.h"
#include "stop.h"
#include <stdlib.h>
#include <string.h>

dart_status dart_steps_room(dart_session *session)
{
    const uint64_t labels = session->model->config.labels, rows = dart_part_rows(session);
    session->rows = dart_calloc(rows, sizeof *session->rows);
    if (labels) {
        session->scores = dart_calloc(rows * labels, sizeof *session->scores);
        session->confusion = dart_calloc(labels * labels, sizeof *session->confusion);
        if (!session->scores || !session->confusion) return DART_MEMORY;
    }
    for (int i = 0; i < DART_IN_FLIGHT; i++) {
        dart_session_flight *flight = &session->flight[i];
        flight->row = dart_calloc(rows * dart_part_row_words(session), sizeof *flight->row);
        flight->labels = dart_calloc(rows, sizeof *flight->labels);
        if (labels) flight->score = dart_calloc(rows * labels, sizeof *flight->score);
        if (!flight->row || !flight->labels || (labels && !flight->score)) return DART_MEMORY;
    }
    return session->rows ? DART_OK : DART_MEMORY;
}

void dart_steps_free(dart_session *session)
{
    for (int i = 0; i < DART_IN_FLIGHT; i++) {
        free(session->flight[i].row);
        free(session->flight[i].score);
        free(session->flight[i].labels);
    }
    free(session->rows);
    free(session->scores);
    free(session->confusion);
}

dart_status dart_steps_none(const dart_session *session, const char *doing)
{
    if (!session->flying) return DART_OK;
    return dart_fail(DART_FAILED,
        "a step is in flight on the session: its result has to be taken before %s", doing);
}

/* Gives a part to the device, which fetches behind it. *out_ticket: 0 where it is over already, as
 * with somebody who watches, for whom it runs launch by launch. */
static dart_status give(const dart_session *session, int part, const dart_fetch *fetch,
    uint32_t fetches, uint64_t *out_ticket)
{
    const dart_graph_program *program = dart_shapes_program(session, part);
    const dart_session_watch *watch = &session->watch;
    if (!watch->ran) return dart_program_submit(program, fetch, fetches, out_ticket);
    *out_ticket = 0;
    double *seconds = dart_calloc(dart_plan_stats_of(program->plan)->launches, sizeof *seconds);
    if (!seconds) return DART_MEMORY;
    dart_status status = dart_program_run(program, seconds);
    if (status == DART_OK) status = watch->ran(watch->user, dart_part_name(part), program, seconds);
    free(seconds);
    for (uint32_t i = 0; status == DART_OK && i < fetches; i++)
        status = dart_device_read_f32(
            session->device, fetch[i].buffer, fetch[i].offset, fetch[i].words, fetch[i].data);
    return status;
}

static dart_status land(const dart_session *session, uint64_t ticket)
{
    return ticket ? dart_device_wait(session->device, ticket) : DART_OK;
}

dart_status dart_session_replay(const dart_session *session, int part)
{
    uint64_t ticket;
    DART_TRY(dart_steps_none(session, "running a part of it again"));
    DART_TRY(give(session, part, NULL, 0, &ticket));
    return land(session, ticket);
}

/* ---- steps ---- */

/* The scalars of a step that learns from so many tokens. */
static dart_status write_block(dart_session *session, const dart_step_scalars *s, uint64_t tokens)
{
    const dart_session_options *o = &session->options;
    float fscal[DART_FSCAL_WORDS] = {0};
    fscal[DART_FSCAL_RATE] = (float)s->lr;
    o->optim->block(&o->optim_options, (double)s->adam_step, fscal + DART_FSCAL_CORRECT1);
    fscal[DART_FSCAL_MICRO] = (float)(1.0 / o->accumulation);
    fscal[DART_FSCAL_PENALTY] = (float)s->penalty;
    /* Batches of sentences have different numbers of words: the step's loss is the mean over all.
     */
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
    return dart_device_write_f32(
        session->device, session->memory.buffer[DART_REGION_FSCAL], 0, DART_FSCAL_WORDS, fscal);
}

/* What names the masks of dropout of batch `at`. */
static dart_status write_place(dart_session *session, const dart_step_scalars *s, uint64_t at)
{
    const int32_t iscal[DART_ISCAL_WORDS] = {[DART_ISCAL_STEP] = (int32_t)(uint32_t)at,
        [DART_ISCAL_SEED_LOW] = (int32_t)(uint32_t)s->seed,
        [DART_ISCAL_SEED_HIGH] = (int32_t)(uint32_t)(s->seed >> 32)};
    return dart_device_write_i32(
        session->device, session->memory.buffer[DART_REGION_ISCAL], 0, DART_ISCAL_WORDS, iscal);
}

static dart_status submit(dart_session *session, dart_stream *stream, const dart_step_scalars *s,
    dart_session_flight *flight)
{
    const uint32_t micros = session->options.accumulation;
    const dart_buffer *buffer = session->memory.buffer;
    const dart_fetch fetch[] = {{buffer[DART_REGION_METRIC], 0, DART_METRIC_WORDS, flight->metric},
        {buffer[DART_REGION_FSCAL], DART_FSCAL_NORM, 1, &flight->norm}};
    dart_input input;
    flight->tokens = flight->rows = 0;
    if (micros == 1) { /* its batch is made once */
        DART_TRY(dart_input_load(session, stream, s->step, true, &input));
        flight->tokens = input.tokens;
        flight->rows = input.rows;
    } else {
        for (uint32_t m = 0; m < micros; m++)
            flight->tokens += dart_input_count(stream, s->step * micros + m);
    }
    DART_TRY(write_block(session, s, flight->tokens));
    for (uint32_t m = 0; m < micros; m++) {
        const uint64_t at = s->step * micros + m;
        DART_TRY(write_place(session, s, at));
        if (micros > 1) {
            DART_TRY(dart_input_load(session, stream, at, true, &input));
            flight->rows += input.rows;
        }
        DART_TRY(give(session, m ? DART_PART_MORE : DART_PART_STEP, fetch, micros == 1 ? 2 : 0,
            &flight->ticket));
    }
    return micros > 1 ? give(session, DART_PART_UPDATE, fetch, 2, &flight->ticket) : DART_OK;
}

dart_status dart_session_submit(
    dart_session *session, dart_stream *stream, const dart_step_scalars *scalars)
{
    const uint32_t place = (session->oldest + session->flying) % DART_IN_FLIGHT;
    if (session->flying == DART_IN_FLIGHT)
        return dart_steps_none(session, "one more is submitted, of those that may be");
    DART_TRY(submit(session, stream, scalars, &session->flight[place]));
    session->flying++;
    return DART_OK;
}

dart_status dart_session_take(dart_session *session, dart_step_result *out)
{
    const dart_session_options *o = &session->options;
    const dart_session_flight *flight = &session->flight[session->oldest];
    if (!session->flying) return dart_fail(DART_FAILED, "no step was submitted to take");
    session->oldest = (session->oldest + 1) % DART_IN_FLIGHT;
    session->flying--;
    DART_TRY(land(session, flight->ticket));
    const float *metric = flight->metric, bad = metric[DART_METRIC_BAD];
    *out = (dart_step_result){.loss = metric[DART_METRIC_LOSS] / (float)o->accumulation,
        .grad_norm = flight->norm,
        .penalty = o->reg && o->reg->penalty ? metric[DART_METRIC_PENALTY] : 0,
        .gate_size = session->model->config.gate.trained ? metric[DART_METRIC_GATE] : 1,
        .bad = bad > 0 ? (uint64_t)bad : 0,
        .tokens = flight->tokens,
        .rows = flight->rows};
    return DART_OK;
}

dart_status dart_session_step(
    dart_session *session, dart_stream *stream, const dart_step_scalars *s, dart_step_result *out)
{
    DART_TRY(dart_steps_none(session, "the next one is made and waited for"));
    DART_TRY(dart_session_submit(session, stream, s));
    return dart_session_take(session, out);
}

/* ---- evaluations ---- */

/* The likeliest label of each text of a batch. */
static void count_labels(dart_session *session, const dart_session_flight *flight)
{
    const uint32_t labels = session->model->config.labels, batch = session->options.batch;
    memcpy(session->scores, flight->score, (size_t)batch * labels * sizeof *flight->score);
    for (uint32_t b = 0; b < batch; b++) {
        const float *score = flight->score + (size_t)b * labels;
        uint32_t best = 0;
        if (flight->labels[b] < 0) continue;
        for (uint32_t i = 1; i < labels; i++)
            if (score[i] > score[best]) best = i;
        session->confusion[(size_t)flight->labels[b] * labels + best]++;
    }
}

static dart_status give_batch(
    dart_session *session, dart_stream *stream, uint64_t at, dart_session_flight *flight)
{
    const uint64_t rows = dart_part_rows(session), labels = session->model->config.labels;
    const dart_buffer output = session->memory.buffer[DART_REGION_OUTPUT];
    const dart_fetch fetch[] = {{output, 0, rows * dart_part_row_words(session), flight->row},
        {output, dart_part_scores(session), session->options.batch * labels, flight->score}};
    dart_input input;
    DART_TRY(dart_input_load(session, stream, at, false, &input));
    memcpy(flight->labels, input.labels, rows * sizeof *flight->labels);
    flight->tokens = input.predicted;
    return give(session, DART_PART_EVAL, fetch, labels ? 2 : 1, &flight->ticket);
}

static dart_status take_batch(
    dart_session *session, const dart_session_flight *flight, double *nll, uint64_t *tokens)
{
    const uint64_t rows = dart_part_rows(session);
    DART_TRY(land(session, flight->ticket));
    const uint32_t words = dart_part_row_words(session);
    if (session->model->config.labels) count_labels(session, flight);
    for (uint64_t r = 0; r < rows; r++) {
        const float *row = flight->row + r * words;
        session->rows[r] = row[0];
        if (flight->labels[r] < 0) continue;
        *nll += row[0];
        if (words < 2) continue;
        session->top1 += row[1] < 1;
        session->top5 += row[1] < 5;
    }
    *tokens += flight->tokens;
    return DART_OK;
}

dart_status dart_session_eval(
    dart_session *session, dart_stream *stream, double *out_nll, uint64_t *out_tokens)
{
    const uint64_t labels = session->model->config.labels, batches = dart_input_batches(stream);
    const uint32_t most = session->device->flight;
    uint64_t taken = 0;
    DART_TRY(dart_steps_none(session, "an evaluation"));
    if (labels) memset(session->confusion, 0, labels * labels * sizeof *session->confusion);
    session->top1 = session->top5 = 0;
    *out_nll = 0;
    *out_tokens = 0;
    for (uint64_t at = 0; at < batches; at++) {
        DART_TRY(dart_stop_asked());
        if (at - taken == most)
            DART_TRY(take_batch(session, &session->flight[taken++ % most], out_nll, out_tokens));
        DART_TRY(give_batch(session, stream, at, &session->flight[at % most]));
    }
    while (taken < batches)
        DART_TRY(take_batch(session, &session->flight[taken++ % most], out_nll, out_tokens));
    return DART_OK;
}
