/* Training programs for batches of short sentences. Graphs are static, and most sentences are much
 * shorter than the longest: a few programs, each for sentences up to a part of the context, leave
 * most of the padding out. They share parameters and arena with the program of the full shape and
 * give the same step, because padding changes nothing. */
#include "parts.h"
#include "parallel.h"
#include <stdlib.h>
#include <string.h>

typedef struct shape {
    dart_model model;           /* the session's, but with a shorter source; owns nothing */
    dart_graph_program part[2]; /* DART_PART_STEP, DART_PART_MORE */
    uint32_t time;
} shape;

struct dart_shapes {
    uint32_t count, at; /* at: the shape of the batch in INPUT; count: the full one */
    shape *shape;       /* owned [count], from short to long */
    /* the batch without the padding that the shape saves; owned */
    int32_t *source, *target, *labels, *source_index, *target_index;
    uint32_t *cursor;
};

/* The session as the graphs of a shape see it. */
static dart_session view_of(const dart_session *session, const shape *s)
{
    dart_session view = *session;
    view.model = &s->model;
    view.options.time = s->time;
    return view;
}

static uint32_t part_of(uint32_t whole, uint32_t k, uint32_t n)
{
    uint32_t part = (uint32_t)(((uint64_t)whole * k + n - 1) / n);
    return part < 2 ? 2 : part;
}

static dart_status scratch(dart_shapes *shapes, const dart_session *session)
{
    const dart_model_config *c = &session->model->config;
    const size_t batch = session->options.batch;
    const size_t source = batch * c->source_context, target = batch * c->context;
    const uint32_t words = c->vocab > c->source_vocab ? c->vocab : c->source_vocab;
    shapes->source = dart_calloc(source, sizeof *shapes->source);
    shapes->target = dart_calloc(target, sizeof *shapes->target);
    shapes->labels = dart_calloc(target, sizeof *shapes->labels);
    shapes->source_index = dart_calloc(source + c->source_vocab + 1, sizeof(int32_t));
    shapes->target_index = dart_calloc(target + c->vocab + 1, sizeof(int32_t));
    shapes->cursor = dart_calloc(words, sizeof *shapes->cursor);
    return shapes->source && shapes->target && shapes->labels && shapes->source_index &&
                   shapes->target_index && shapes->cursor
               ? DART_OK
               : DART_MEMORY;
}

dart_status dart_shapes_new(dart_session *session, const dart_caps *caps)
{
    const dart_session_options *o = &session->options;
    const dart_model_config *c = &session->model->config;
    if (!c->enc_layers || !o->train || o->shapes < 2) return DART_OK;
    dart_shapes *shapes = session->shapes = dart_calloc(1, sizeof *shapes);
    if (!shapes) return DART_MEMORY;
    shapes->shape = dart_calloc(o->shapes - 1, sizeof *shapes->shape);
    if (!shapes->shape) return DART_MEMORY;
    for (uint32_t k = 1; k < o->shapes; k++) {
        shape *s = &shapes->shape[shapes->count++];
        s->model = *session->model;
        s->model.config.source_context = part_of(c->source_context, k, o->shapes);
        s->time = part_of(o->time, k, o->shapes);
        for (int p = 0; p < (o->accumulation > 1 ? 2 : 1); p++) {
            dart_session view = view_of(session, s);
            DART_TRY(dart_part_prepare(&view, caps, p, &s->part[p]));
        }
    }
    shapes->at = shapes->count;
    return scratch(shapes, session);
}

dart_status dart_shapes_bind(dart_session *session, const dart_graph_program *share)
{
    dart_shapes *shapes = session->shapes;
    for (uint32_t k = 0; shapes && k < shapes->count; k++)
        for (int p = 0; p < 2; p++) {
            dart_graph_program *part = &shapes->shape[k].part[p];
            if (!part->plan) continue;
            DART_TRY(
                dart_program_bind(part, session->device, &session->memory, share, &session->times));
        }
    return DART_OK;
}

void dart_shapes_free(dart_shapes *shapes)
{
    if (!shapes) return;
    for (uint32_t k = 0; shapes->shape && k < shapes->count; k++)
        for (int p = 0; p < 2; p++) dart_program_free(&shapes->shape[k].part[p]);
    free(shapes->shape);
    free(shapes->source);
    free(shapes->target);
    free(shapes->labels);
    free(shapes->source_index);
    free(shapes->target_index);
    free(shapes->cursor);
    free(shapes);
}

const dart_graph_program *dart_shapes_program(const dart_session *session, int part)
{
    const dart_shapes *shapes = session->shapes;
    if (!shapes || shapes->at == shapes->count) return &session->part[part];
    return &shapes->shape[shapes->at].part[part];
}

/* Rows of `from` words each, cut to `to`. */
static void narrow(const int32_t *in, uint32_t rows, uint32_t from, uint32_t to, int32_t *out)
{
    for (uint32_t r = 0; r < rows; r++)
        memcpy(out + (size_t)r * to, in + (size_t)r * from, to * sizeof *out);
}

/* The longest sentence of the batch: words of a source, labels of a target. */
static void longest(const dart_pair_batch *batch, uint32_t *source, uint32_t *target)
{
    *source = *target = 0;
    for (uint32_t b = 0; b < batch->batch; b++) {
        const int32_t *label = batch->labels + (size_t)b * batch->target_time;
        uint32_t labels = batch->target_time, words = (uint32_t)batch->source_length[b];
        while (labels && label[labels - 1] < 0) labels--;
        if (labels > *target) *target = labels;
        if (words > *source) *source = words;
    }
}

dart_status dart_shapes_load(
    dart_session *session, const dart_pair_batch *batch, uint32_t *out_time)
{
    dart_shapes *shapes = session->shapes;
    uint32_t source = 0, target = 0, k = 0;
    if (shapes) {
        longest(batch, &source, &target);
        while (k < shapes->count && (shapes->shape[k].model.config.source_context < source ||
                                        shapes->shape[k].time < target))
            k++;
        shapes->at = k;
    }
    *out_time = batch->target_time;
    if (!shapes || k == shapes->count) return dart_input_pairs(session, batch);
    const shape *s = &shapes->shape[k];
    const dart_model_config *c = &s->model.config;
    const uint32_t rows = batch->batch;
    dart_pair_batch cut = {.batch = rows,
        .source_time = c->source_context,
        .target_time = s->time,
        .source = shapes->source,
        .source_length = batch->source_length,
        .target = shapes->target,
        .labels = shapes->labels,
        .source_index = shapes->source_index,
        .target_index = shapes->target_index};
    narrow(batch->source, rows, batch->source_time, cut.source_time, cut.source);
    narrow(batch->target, rows, batch->target_time, cut.target_time, cut.target);
    narrow(batch->labels, rows, batch->target_time, cut.target_time, cut.labels);
    dart_scatter_index(
        cut.source, rows * cut.source_time, c->source_vocab, shapes->cursor, cut.source_index);
    dart_scatter_index(
        cut.target, rows * cut.target_time, c->vocab, shapes->cursor, cut.target_index);
    *out_time = s->time;
    dart_session view = view_of(session, s);
    return dart_input_pairs(&view, &cut);
}
